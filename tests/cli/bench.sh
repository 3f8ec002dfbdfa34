# Times differ; what is there doesn't.
graphrun bench encoder.onnxtxt --shape 1x2,3x4 --runs 3 | sed 's/[0-9][0-9.,]*/N/g; s/  */ /g; s/[KMG]iB/B/g; s/threads/thread/'
graphrun bench choices.onnxtxt --shape 2x3x4 --runs 1 --json | sed 's/: [0-9][-+.e0-9]*/: N/g; s/"[0-9]\.[0-9.]*"/"V"/g'
graphrun bench static.onnxtxt --runs 1 | tail -1 | cut -d ' ' -f 1
graphrun bench add.onnxtxt --runs 1 --shape 3 | tail -1 | cut -d ' ' -f 1
