graphrun info encoder.onnxtxt | grep -v '^steps' | sed '/^ /{/\(int64\|float\)\[/!d}'
graphrun info add.onnxtxt --json --no-passes
graphrun print add.onnxtxt
