graphrun explain near.onnxtxt --shape 2x3
graphrun explain near.onnxtxt --nodes --disable layer-norm,norm-parts | head -9
graphrun explain near.onnxtxt --json --shape 2x3
graphrun explain near.onnxtxt --expect gelu=1,layernorm=1 > /dev/null || echo "status $?"
graphrun explain near.onnxtxt --expect gelu=0,layernorm=1 > /dev/null && echo met
graphrun explain near.onnxtxt --expect gelu || echo "status $?"
graphrun explain near.onnxtxt --disable layernorm || echo "status $?"
graphrun explain near.onnxtxt --dump-after layer-norm
graphrun explain near.onnxtxt --stop-after 0 | head -3
graphrun explain near.onnxtxt --verify-each --shape 2x3 | grep "^verified *linear "
echo "== the graph after some of the passes"
for choice in "--stop-after 0" "--disable gelu" "--stop-after 1000000"; do
    echo "$choice: $(graphrun print tree/bert-tiny/model.onnx --optimized $choice | grep -c '= Erf ') Erf"
done
status graphrun print near.onnxtxt --stop-after 0
status graphrun print near.onnxtxt --optimized --disable layernorm
