# Equal models; the same renamed and in another order; a weight, a constant, an operator, an input that differ.
sed 's/word = /w = /; s/Add (word, type)/Add (w, t)/; s/type = /t = /; s/"word.weight"/"a"/; s/("word.weight"/("a"/' \
    encoder.onnxtxt | awk '/w = Gather/ {held = $0; next} {print} /t = Gather/ {print held}' > renamed.onnxtxt
sed 's/0.5, 0.5/0.5, 0.75/' encoder.onnxtxt > weight.onnxtxt
sed 's/= Mul/= Add/' encoder.onnxtxt > operator.onnxtxt
sed 's/keepdims = 0/keepdims = 1/; s/batch, 2\] sum/batch, 1, 2] sum/' encoder.onnxtxt > attribute.onnxtxt
printf '1 2 | 3\n4 5 6 7\n' > ids.txt
status graphrun compare encoder.onnxtxt encoder.onnxtxt
status graphrun compare encoder.onnxtxt renamed.onnxtxt --input ids.txt
status graphrun diff encoder.onnxtxt renamed.onnxtxt
status graphrun compare encoder.onnxtxt weight.onnxtxt --input ids.txt
status graphrun compare renamed.onnxtxt operator.onnxtxt --input ids.txt --all
status graphrun compare encoder.onnxtxt attribute.onnxtxt --input ids.txt --json
status graphrun compare encoder.onnxtxt weight.onnxtxt --input ids.txt --atol 1
status graphrun compare encoder.onnxtxt --against raw | sed 's,^[0-9].* values,N values,'
graphrun encoder.onnxtxt --input ids.txt --output saved.npz --quiet
for model in encoder weight; do
    status graphrun compare $model.onnxtxt saved.npz --input ids.txt
done

for model in weight operator attribute; do
    status graphrun diff encoder.onnxtxt $model.onnxtxt
done
status graphrun diff renamed.onnxtxt weight.onnxtxt --json
sed 's/by hand/by machine/' encoder.onnxtxt > producer.onnxtxt
status graphrun diff encoder.onnxtxt producer.onnxtxt
status graphrun diff encoder.onnxtxt producer.onnxtxt --graph
graphrun print weight.onnxtxt --textconv --elide 4

status graphrun compare encoder.onnxtxt
status graphrun compare encoder.onnxtxt --against itself
status graphrun compare encoder.onnxtxt missing.onnxtxt
status graphrun compare encoder.onnxtxt weight.onnxtxt --level best
status graphrun compare encoder.onnxtxt weight.onnxtxt --input other=ids.txt
status graphrun compare encoder.onnxtxt add.onnxtxt
status graphrun diff encoder.onnxtxt
status graphrun diff encoder.onnxtxt ids.txt
graphrun compare --help
graphrun diff --help
