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
# What only other rows need is not counted.
for which in first 0,1 0,1,2,3; do
    graphrun profile tree/bert-tiny --shape 1x4 --runs 1 --positions $which --json | grep -o '"flops": [0-9.e+]*' | tail -1
done
graphrun bench tree/bert-tiny --shape 2x4 --runs 1 --positions last | tail -1 | cut -d ' ' -f 1
graphrun bench tree/bert-tiny --shape 1x4 --positions 4 2>&1 | tail -1
status graphrun profile tree/bert-tiny --positions mask:3
