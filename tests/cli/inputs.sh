# Inputs by name, in every format.
printf '1 2.5 -3e2\n' > x.txt
printf '# type double\n.5 1 1\n' > y.txt
status graphrun add.onnxtxt --input x=x.txt --input y=y.txt
status graphrun add.onnxtxt --input x=x.txt --input y=y.txt --output z.npz --quiet
status graphrun add.onnxtxt --input x=x.txt --input y=z.npz
status graphrun add.onnxtxt --input x=x.txt --input y=y.txt --output z.npy --quiet
status graphrun add.onnxtxt --input x=z.npy --input y=z.npy
# A TensorProto named y: dims 3, float, raw data 1 2 4.
printf '\010\003\020\001\102\001y\112\014\000\000\200\077\000\000\000\100\000\000\200\100' > y.pb
status graphrun add.onnxtxt --input x=x.txt --input y.pb
echo "== wrong ones"
status graphrun add.onnxtxt --input x=x.txt
status graphrun add.onnxtxt --input x=x.txt --input z.npy
status graphrun add.onnxtxt --input x=x.txt --input z.npz
status graphrun add.onnxtxt --input x=x.txt --input x=y.txt --input y=y.txt
status graphrun add.onnxtxt --input xx=x.txt
status graphrun add.onnxtxt --input x=missing.npy
printf '1 2' > short.txt
status graphrun add.onnxtxt --input x=x.txt --input y=short.txt
printf '1 2x' > bad.txt
status graphrun add.onnxtxt --input x=bad.txt --input y=y.txt
printf '1.5' > half.txt
status graphrun encoder.onnxtxt --input input_ids=half.txt
printf '1 2 3' > whole.txt
status graphrun encoder.onnxtxt --input input_ids=whole.txt --fetch sum
cp x.txt bad.npy
status graphrun add.onnxtxt --input x=bad.npy --input y=y.txt
cp x.txt bad.npz
status graphrun add.onnxtxt --input x=bad.npz --input y=y.txt
printf '\223NUMPY\001\000\377\377{' > bomb.npy
status graphrun add.onnxtxt --input x=bomb.npy --input y=y.txt
printf '\223NUMPY\001\000\065\000{"descr":"|O","fortran_order":False,"shape":(3,)}    ' > object.npy
status graphrun add.onnxtxt --input x=object.npy --input y=y.txt
cp y.pb bad.pb; printf '\377' >> bad.pb
status graphrun add.onnxtxt --input x=x.txt --input bad.pb
