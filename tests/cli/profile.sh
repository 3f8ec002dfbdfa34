# Times, speeds and kernels differ by machine; what is there doesn't.
graphrun plan encoder.onnxtxt --shape 1x2,3x4 | sed 's/[0-9][0-9.,]* [KMG]*iB/N B/g; s/[0-9][0-9]* B/N B/g; s/0\.00/N/'
graphrun plan encoder.onnxtxt --shape 3x4 --steps | tail -n +2 | awk '{ print $1, $2, $4 }'
graphrun plan encoder.onnxtxt --shape 3x4 --json | sed 's/bytes": [0-9]*/bytes": N/g'
graphrun profile encoder.onnxtxt --shape 3x4 --runs 2 --top 1 | sed 's/[0-9][0-9.,]*/N/g; s/  */ /g; s/threads/thread/' | head -5
graphrun profile encoder.onnxtxt --shape 3x4 --runs 2 --trace trace.json > /dev/null && tr '{' '\n' < trace.json | grep -c '"ph": "X"'
status graphrun profile encoder.onnxtxt --shape 1x2,3x4
status graphrun profile encoder.onnxtxt --shape 1x2 --trace missing/trace.json | tail -1
status graphrun plan encoder.onnxtxt --shape 100000000x100000000
