# Only some tokens of each line; the others are not computed.
printf '1 2 3 4\n5 3 7\n3\n' > lines.txt
status graphrun tree/bert-tiny --input lines.txt --positions last --top-k 1
status graphrun tree/bert-tiny --input lines.txt --positions mask:3 --top-k 1
status graphrun tree/bert-tiny --input lines.txt --positions mask:3 --top-k 1 --batch 1
status graphrun tree/gpt2-tiny --input lines.txt --positions 0 --top-k 1
status graphrun tree/bert-tiny-encoder --input lines.txt --positions 0,2
status graphrun tree/bert-tiny-encoder --input lines.txt --positions first
status graphrun tree/bert-tiny --input lines.txt --positions mask:4
status graphrun tree/bert-tiny --input lines.txt --positions 1-2
