# Compiled models: the same results with and without the model beside them; stale, damaged and misused ones.
mkdir beside alone
cp tree/bert-tiny/model.onnx beside/model.onnx
printf '5 6 7 8\n9 10\n' > ids.txt
size() { sed 's/[0-9.]* [KM]iB/SIZE/g'; }
status graphrun compile beside/model.onnx -o beside/model.plan 2>&1 | size
status graphrun compile beside/model.onnx -o alone/model.plan --quiet
graphrun beside/model.onnx --input ids.txt > plain.txt
graphrun beside/model.plan --input ids.txt > beside.txt
graphrun alone/model.plan --input ids.txt > alone.txt
cmp plain.txt beside.txt && cmp plain.txt alone.txt && echo "the same results"
echo "== stale"
printf '\162\0' >> beside/model.onnx # one more field, which changes nothing
status graphrun beside/model.plan --input ids.txt > stale.txt
grep -v '^->' stale.txt | cmp plain.txt - && echo "the same results"
rm beside/model.onnx
status graphrun beside/model.plan --input ids.txt
echo "== damaged"
head -c 5000 alone/model.plan > short.plan
status graphrun short.plan --input ids.txt
status graphrun compile --check alone/model.plan
cp alone/model.plan bent.plan
printf 'x' | dd of=bent.plan bs=1 seek=9000 conv=notrunc status=none
status graphrun compile --check bent.plan
status graphrun compile --check tree/bert-tiny/model.onnx
status graphrun compile --check alone/model.plan -o x.plan
echo "== other options"
status graphrun alone/model.plan --input ids.txt --strict
status graphrun compile alone/model.plan -o again.plan
status graphrun compile tree/bert-tiny/model.onnx
status graphrun compile tree/bert-tiny/model.onnx -o x.plan --precision auto
cp tree/bert-tiny/model.onnx same.onnx
status graphrun compile same.onnx -o same.onnx
