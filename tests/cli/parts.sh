# Heads, and parts as models of their own.
cls=tree/bert-tiny-cls/model.onnx
status graphrun heads $cls
graphrun heads $cls --json | head -c 200; echo
status graphrun heads tree/gpt2-tiny/model.onnx
status graphrun heads tree/bert-tiny-encoder/model.onnx
status graphrun heads add.onnxtxt
status graphrun extract $cls --list
status graphrun extract $cls --part encoder.layer.1 -o layer.onnx
graphrun info layer.onnx | grep -A3 -E '^(inputs|outputs)'
status graphrun extract $cls --from pooler --to head -o head.onnxtxt
graphrun info head.onnxtxt | grep -A1 -E '^(inputs|outputs|steps)'
status graphrun extract $cls --part sequence-classification -o task.onnx
graphrun info task.onnx | grep -A1 -E '^(inputs|outputs)'
status graphrun extract $cls --from encoder.layer.1 --to embeddings -o x.onnx
status graphrun extract $cls --from input_ids --to logits -o x.onnx
status graphrun extract $cls --part encoder.layer.9 -o x.onnx
status graphrun extract $cls --to nowhere -o x.onnx
status graphrun extract $cls --to /bert/encoder/layer.0/attention/self/MatMul_output_0 -o x.onnx
status graphrun extract $cls --raw --to /bert/encoder/layer.0/attention/self/MatMul_output_0 -o scores.onnx
graphrun info scores.onnx | grep -E '^outputs'
status graphrun extract $cls --part pooler --to logits -o x.onnx
status graphrun extract $cls --part pooler
ls x.onnx 2>&1
