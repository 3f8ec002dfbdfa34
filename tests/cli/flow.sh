# Many lines: the same results whatever the window and the number of streams, in the order of the lines.
awk 'BEGIN { for (i = 0; i < 700; i++) { n = 1 + (i * 37) % 40; s = ""; for (k = 0; k < n; k++) s = s " " (i * 13 + k * 101) % 3000; print s } }' > lines.txt
model=tree/bert-tiny-encoder
graphrun $model --input lines.txt --streams 1 > one.out
wc -l < one.out
for options in '' '--streams 2' '--streams 3 --threads 2' '--streams 2 --window 64' '--window 1' '--streams 2 --max-memory 64M' '--batch 7 --streams 2'; do
    graphrun $model --input lines.txt $options > other.out
    cmp one.out other.out && echo "the same with '$options'"
    graphrun $model --input - $options < lines.txt | cmp one.out - && echo "and from a pipe"
done
graphrun $model --input lines.txt --json --streams 1 > one.json
graphrun $model --input lines.txt --json --streams 3 --window 50 > other.json
cmp one.json other.json && echo 'the same as JSON'
graphrun $model --input lines.txt --quiet --output one.npz --streams 1
graphrun $model --input lines.txt --quiet --output other.npz --streams 3 --window 50
cmp one.npz other.npz && echo 'the same as .npz'

# The first line that is wrong is named; windows before it are printed, and no file is left behind.
(head -n 150 lines.txt; echo 1 2 9999; head -n 10 lines.txt; echo 9999) > high.txt
(head -n 150 lines.txt; echo 1 2x; head -n 100 lines.txt; echo 9999) > bad.txt
for streams in 1 3; do
    for file in high.txt bad.txt; do
        status graphrun $model --input $file --streams $streams --window 50 --output left.npz > out.txt 2> err.txt
        grep -c '^line' out.txt
        cat err.txt
    done
done
status graphrun $model --input high.txt --streams 3 --window 50 --json
ls left* 2> /dev/null
status graphrun $model --input lines.txt --streams 2 --max-memory 100K 2>&1 | sed 's/take [0-9]* bytes/take ... bytes/'
status graphrun $model --input lines.txt --streams 0
status graphrun $model --input lines.txt --streams 2000
status graphrun $model --input lines.txt --window 0
status graphrun $model --input lines.txt --streams 2 --precision auto

# A line is answered before the next one comes.
mkfifo in out
graphrun $model --input - --window 1 < in > out &
exec 3> in 4< out
echo '1 2 3' >&3
head -n 1 <&4
echo '4 5' >&3
exec 3>&-
sed -n '/^line 2/p' <&4
wait

# An interrupt ends the wait for lines.
mkfifo slow
(echo 1 2 3; exec sleep 60) > slow &
writer=$!
graphrun $model --input - --window 1 --output left.npz < slow > interrupted.txt &
reader=$!
for i in 1 2 3 4 5 6 7 8 9; do [ -s interrupted.txt ] || sleep $i; done
kill -TERM $reader
wait $reader
echo "-> $?"
kill $writer
ls left* 2> /dev/null
