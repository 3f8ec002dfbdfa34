# Files of outputs: rows per line, filled with zeros, and their lengths; read back by feeding them to a model.
printf '1 2\n3\n4 5 6\n' > ids.txt
status graphrun encoder.onnxtxt --input ids.txt --output out.npz --quiet
cat > show.onnxtxt <<'M'
<ir_version: 8, opset_import: ["" : 13]>
show (float[lines, longest, 2] last_hidden_state, int64[lines] lengths) => (float[lines, longest, 2] h, int64[lines] n)
{
    h = Identity (last_hidden_state)
    n = Identity (lengths)
}
M
status graphrun show.onnxtxt --input out.npz
status graphrun encoder.onnxtxt --input ids.txt --output folder --quiet
ls folder
status graphrun show.onnxtxt --input last_hidden_state=folder/last_hidden_state.npy --input lengths=folder/lengths.npy --fetch n
status graphrun encoder.onnxtxt --input ids.txt --output sum.npy --fetch sum --quiet
od -A n -c sum.npy | tr -d ' \n' | cut -c1-100
echo
echo "== a failing run leaves the old file, and nothing else"
cp out.npz before.npz
printf '1 2\n99\n' > bad.txt
status graphrun encoder.onnxtxt --input bad.txt --output out.npz --quiet
cmp out.npz before.npz && ls out.npz*
echo "== wrong ones"
status graphrun encoder.onnxtxt --input ids.txt --output out.npy
status graphrun encoder.onnxtxt --input ids.txt --output out.txt
status graphrun encoder.onnxtxt --input ids.txt --output no/such/folder/out.npz
status graphrun encoder.onnxtxt --input ids.txt --fetch nothing
graphrun encoder.onnxtxt --input ids.txt > /dev/full; echo "-> $?"
