# Every way to write ids, and results in the order of the lines.
printf '\357\273\277# comment\r\n1 2 3\r\n\r\n4,5\t,6 # more\n1 2 | 3\n7\n' > ids.txt
status graphrun encoder.onnxtxt --input ids.txt
status graphrun encoder.onnxtxt --input ids.txt --batch 1 --fetch sum
echo '1 2 3' | status graphrun run encoder.onnxtxt --input - --fetch sum
printf '1 2\n1 8 2\n3\n' > high.txt
status graphrun encoder.onnxtxt --input high.txt
bad() {
    printf "$1" > bad.txt
    status graphrun encoder.onnxtxt --input bad.txt
}
bad '1 2\n\n2x\n'
bad '1e5\n'
bad '+3\n'
bad '1\0002\n'
bad '99999999999999999999\n'
bad '1 | 2 | 3\n'
bad '# nothing\n'
bad ''
bad '\377\3761\000'
status graphrun encoder.onnxtxt --input missing.txt
status graphrun encoder.onnxtxt --input .
status graphrun encoder.onnxtxt --input ids.txt --input ids.txt
