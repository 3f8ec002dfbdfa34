# Logits with the likeliest ids, JSON, values inside the graph.
printf '0 1 2\n3\n' > ids.txt
status graphrun logits.onnxtxt --input ids.txt
status graphrun logits.onnxtxt --input ids.txt --top-k 1
status graphrun logits.onnxtxt --input ids.txt --top-k 0
status graphrun logits.onnxtxt --input ids.txt --top-k 2 --json
status graphrun encoder.onnxtxt --input ids.txt --fetch column --fetch sum
status graphrun encoder.onnxtxt --input ids.txt --fetch sum --json --no-passes
printf '1 nan -inf 2' > x.txt
status graphrun add.onnxtxt --input x=x.txt --input y=x.txt
status graphrun add.onnxtxt --input x=x.txt --input y=x.txt --json
awk 'BEGIN { for (i = 0; i < 50; i++) printf "%d ", i % 4; print "" }' > long.txt
graphrun logits.onnxtxt --input long.txt --top-k 1 | wc -l
graphrun logits.onnxtxt --input long.txt | wc -l
awk 'BEGIN { for (i = 0; i < 5000; i++) print i % 7, (i % 3 ? "" : 1) }' > many.txt
graphrun encoder.onnxtxt --input many.txt --fetch sum | tail -4
