# graphdump: formats, levels, parts of a graph, wrong use.
status graphdump --help
graphdump encoder.onnxtxt --level raw
graphdump encoder.onnxtxt --level raw --shape 4x16 --color=always --depth 1
graphdump encoder.onnxtxt --level raw --stats | sed -n '/words\|word/p'
graphdump add.onnxtxt --level fused
graphdump encoder.onnxtxt --level raw --format text
graphdump encoder.onnxtxt --level raw --format text --constants 0 --focus masked --radius 1
graphdump encoder.onnxtxt --level raw --format text --focus last_hidden_state --radius 0 -o part.onnxtxt
graphrun info part.onnxtxt | grep 'puts'
graphdump encoder.onnxtxt --level raw --format dot
graphdump add.onnxtxt --level raw --format json
status graphdump
status graphdump add.onnxtxt encoder.onnxtxt
status graphdump missing.onnx
status graphdump add.onnxtxt --level row
status graphdump add.onnxtxt --format svg
status graphdump add.onnxtxt --color sometimes
status graphdump encoder.onnxtxt --shape 1x2x3x4
status graphdump encoder.onnxtxt --shape 1x2x3
status graphdump encoder.onnxtxt --focus nothing
status graphdump encoder.onnxtxt --radius -1
status graphdump add.onnxtxt -o missing/x
