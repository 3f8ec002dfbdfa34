# The optimised model as a file, in three forms; where weights go; and what cannot be written.
cat > layer.onnxtxt <<'M'
<ir_version: 8, opset_import: ["" : 13], producer_name: "by hand", metadata_props: ["task": "none"]>
layer (float[rows, 2] x) => (float[rows, 2] y)
<float[2, 2] w = {1, 2, 3, 4}, float[2] b = {0.5, -0.5}, float[2] g = {1, 2}, float[2] c = {0, 1}, float eps = {1e-12}>
{
    p = MatMul (x, w)
    s = Add (p, b)
    r = Add (s, x)
    m = ReduceMean <axes = [-1]> (r)
    d = Sub (r, m)
    square = Mul (d, d)
    v = ReduceMean <axes = [-1]> (square)
    shifted = Add (v, eps)
    root = Sqrt (shifted)
    n = Div (d, root)
    z = Mul (n, g)
    y = Add (z, c)
}
M
status graphrun optimize layer.onnxtxt -o native.onnx
graphrun print native.onnx --elide 0
status graphrun optimize native.onnx -o again.onnx
cmp native.onnx again.onnx && echo "the same once more"
echo "== in ONNX's operators"
status graphrun optimize layer.onnxtxt --standard -o standard.onnx
graphrun print standard.onnx
echo "== in com.microsoft's"
status graphrun optimize layer.onnxtxt --contrib -o contrib.onnx
graphrun print contrib.onnx --elide 0
cat > embed.onnxtxt <<'M'
<ir_version: 8, opset_import: ["" : 17]>
embed (int64[batch, tokens] ids, int64[1, tokens] places, int32[batch, tokens] kinds) => (float[batch, tokens, 2] y)
<float[3, 2] words = {1, 2, 3, 4, 5, 6}, float[4, 2] rows = {0, 1, 1, 0, 2, 1, 1, 3}, float[2, 2] types = {1, 0, 0, 1},
 float[2] g = {1, 2}, float[2] c = {0, 1}>
{
    a = Gather (words, ids)
    b = Gather (rows, places)
    d = Add (a, b)
    e = Gather (types, kinds)
    f = Add (d, e)
    y = LayerNormalization <epsilon = 1e-12> (f, g, c)
}
M
status graphrun optimize embed.onnxtxt --contrib -o contrib.onnx
graphrun print contrib.onnx --elide 0
echo "== over itself, with the weights beside it"
cp native.onnx own.onnx
status graphrun optimize own.onnx -o own.onnx --external-data own.weights
ls own.*
echo "== what a fused operator stands for"
status graphrun print layer.onnxtxt --function graphrun.AddLayerNormalization
status graphrun print layer.onnxtxt --function graphrun.Attention
echo "== wrong ones"
mkdir folder
status graphrun optimize layer.onnxtxt -o folder
status graphrun optimize layer.onnxtxt -o no/such/folder/out.onnx
status graphrun optimize layer.onnxtxt
status graphrun optimize layer.onnxtxt --standard --contrib -o out.onnx
status graphrun optimize layer.onnxtxt -o out.onnx --external-data ../out.data
status graphrun optimize layer.onnxtxt -o out.onnx --external-data out.onnx
status graphrun optimize nothing.onnx -o out.onnx
echo "== a full disk leaves the old file, and nothing else"
cp native.onnx old.onnx
(trap '' XFSZ; ulimit -f 0; status graphrun optimize layer.onnxtxt --standard -o old.onnx) 2>&1 | cat
cmp native.onnx old.onnx && ls old.onnx*
