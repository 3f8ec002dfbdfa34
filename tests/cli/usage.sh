status graphrun
status graphrun inof
status graphrun frobnicate
status graphrun help frobnicate
status graphrun info
status graphrun info a b
status graphrun info --jsn a.onnx
status graphrun encoder.onnxtxt --batch
status graphrun encoder.onnxtxt --batch 0
status graphrun encoder.onnxtxt --batch 2x
status graphrun encoder.onnxtxt --batch=-1
status graphrun encoder.onnxtxt --max-memory 12Q
status graphrun encoder.onnxtxt --json=yes
status graphrun encoder.onnxtxt more
status graphrun encoder.onnxtxt --verbose everything
status graphrun bench encoder.onnxtxt --shape 1x8,
status graphrun bench encoder.onnxtxt --shape 0x8
status graphrun bench encoder.onnxtxt --shape 1x2x3
status graphrun verify
status graphrun ./no-such-file
status graphrun no-such.onnx --input ids.txt
echo 'this is no model' > bad.onnx
status graphrun bad.onnx --input ids.txt 2>&1 | sed 's/^\(graphrun: bad.onnx\).*/\1 .../'
status graphrun run bad.onnx --input ids.txt --precision f64
