# Going on from token ids; figures vary, so --quiet leaves them out.
printf '3 5 7 9\n1 2 3 # comment\n42\n' > prompts.txt
for form in past merged plain; do
    status graphrun generate tree/decoder-$form --input prompts.txt --max-new-tokens 8 --quiet
done
status graphrun generate tree/decoder-past --input prompts.txt --max-new-tokens 8 --quiet --copy-cache --batch 1
status graphrun generate tree/decoder-past --input prompts.txt --max-new-tokens 8 --quiet --num-beams 3 --eos 30
echo '3 5 7 9' | status graphrun generate tree/decoder-past --input - --max-new-tokens 8 --quiet --do-sample --seed 7 --top-k 5
echo '3 5' | graphrun generate tree/decoder-past --input - --max-new-tokens 3 --json | sed "s/_seconds\": [0-9.e-]*/_seconds\": N/g"
status graphrun generate tree/bert-tiny --input prompts.txt
status graphrun generate tree/bert-tiny-encoder --input prompts.txt
status graphrun generate encoder.onnxtxt --input prompts.txt
echo '3 500' | status graphrun generate tree/decoder-past --input - --quiet
status graphrun generate tree/decoder-past
status graphrun generate tree/decoder-past --input prompts.txt --eos x
status graphrun generate tree/decoder-past --input prompts.txt --num-beams 2 --do-sample
: > empty.txt
status graphrun generate tree/decoder-past --input empty.txt
