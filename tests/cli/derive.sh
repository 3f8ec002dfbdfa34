# What models want beside the ids.
printf '1 2\n3\n1 2 | 3 4\n' > ids.txt
echo "== fixed shapes"
status graphrun static.onnxtxt --input ids.txt
printf '1 2 3 4 5\n' > long.txt
status graphrun static.onnxtxt --input long.txt
echo "== an empty cache"
status graphrun cache.onnxtxt --input ids.txt
echo "== a cache that is given"
printf '# shape 1x1x2x2\n9 9 8 8\n' > past.txt
echo '5 6' | status graphrun cache.onnxtxt --input - --input past_key_values.0.key=past.txt
echo "== no mask: only lines of one length together"
status graphrun no_mask.onnxtxt --input ids.txt
echo "== choices"
printf '1 2\n3\n\n4 5\n6 7 7\n' > choices.txt
status graphrun choices.onnxtxt --input choices.txt
status graphrun choices.onnxtxt --input choices.txt --choices 4
status graphrun choices.onnxtxt --input choices.txt --choices 3
echo "== labels"
status graphrun labels.onnxtxt --input ids.txt
printf '1\n2\n3\n' > labels.txt
status graphrun labels.onnxtxt --input ids.txt --input labels=labels.txt
echo "== nothing to go by"
status graphrun encoder.onnxtxt
status graphrun add.onnxtxt
status graphrun add.onnxtxt --input ids.txt
