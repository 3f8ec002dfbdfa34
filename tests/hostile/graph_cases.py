# SPDX-License-Identifier: Apache-2.0
"""Graphs: numbers at their ends, empty shapes, cycles, growth, loops, names and versions."""
from frame import *

I63, N63 = (1 << 63) - 1, -(1 << 63)
XI, YO = value("x", FLOAT, (2, 3)), value("y", FLOAT)
POSITIVE = np.maximum(X, 0)
UNIT = np.ones(1, np.float32)


def i64(*v):
    return np.array(v, np.int64)


def scalar(v):
    return np.array(v, np.int64)


def with_inits(nodes, dtype=FLOAT, version=17, inputs=None, **inits):
    return simple(nodes, inputs, [value("y", dtype)], [tensor(k, v) for k, v in inits.items()], version)


def end_cases():
    g = "7-ends"

    def both(name, verdict, op, version=17, expect=None, dtype=FLOAT, out=("y",), attrs=b"", data=X, kw=None, **inits):
        """The node on a fed x, with its other inputs once as constants and once fed as well."""
        n = node(op, ["x"] + list(inits), out, attrs=attrs, **(kw or {}))
        x = np.asarray(data)
        xi = value("x", DTYPES[x.dtype.str[1:]], x.shape)
        expect = None if expect is None else {"y": np.asarray(expect)}
        add(g, name, verdict, simple([n], [xi], [value("y", dtype)], [tensor(k, v) for k, v in inits.items()], version), {"x": x}, expect)
        add(g, name + "-folded", verdict, simple([n], [], [value("y", dtype)], [tensor("x", x)] + [tensor(k, v) for k, v in inits.items()], version), None, expect)
        if inits:
            fed = [value(k, DTYPES[v.dtype.str[1:]], v.shape) for k, v in inits.items()]
            add(g, name + "-fed", verdict, simple([n], [xi] + fed, [value("y", dtype)], [], version), {"x": x, **inits}, expect)

    ends = {"max": I63, "min": N63, "2-32": 1 << 32, "2-32-1": (1 << 32) + 1, "2": 2, "-3": -3, "neg-2-32": -(1 << 32)}
    for key, axis in ends.items():
        for op in ("Softmax", "LogSoftmax"):
            both(f"{op}-axis-{key}", "refuse", op, kw={"axis": axis})
        refused(g, f"Concat-axis-{key}", simple([node("Concat", ["x", "x"], axis=axis)]), {"x": X})
        refused(g, f"Split-axis-{key}", simple([node("Split", ["x"], ["y"], axis=axis)]), {"x": X})
        both(f"Gather-axis-{key}", "refuse", "Gather", kw={"axis": axis}, i=i64(0))
        both(f"GatherElements-axis-{key}", "refuse", "GatherElements", kw={"axis": axis}, i=np.zeros((1, 1), np.int64))
        both(f"Squeeze-axis-{key}", "refuse", "Squeeze", a=i64(axis))
        both(f"ReduceSum-axis-{key}", "refuse", "ReduceSum", a=i64(axis))
        refused(g, f"ReduceMean-axis-{key}", simple([node("ReduceMean", ["x"], axes=[axis])]), {"x": X})
        refused(g, f"LayerNormalization-axis-{key}", with_inits([node("LayerNormalization", ["x", "s"], axis=axis)], s=UNIT), {"x": X})
        both(f"CumSum-axis-{key}", "refuse", "CumSum", a=scalar(axis))
        refused(g, f"ArgMax-axis-{key}", simple([node("ArgMax", ["x"], axis=axis)], dtype=INT64), {"x": X})
        refused(g, f"TopK-axis-{key}", with_inits([node("TopK", ["x", "k"], ["y", "i"], axis=axis)], k=i64(1)), {"x": X})
        both(f"Slice-axis-{key}", "refuse", "Slice", s=i64(0), e=i64(1), a=i64(axis))
    for key, axis in (("max", I63), ("min", N63), ("2-32", 1 << 32), ("4", 4), ("-5", -5)):
        both(f"Unsqueeze-axis-{key}", "refuse", "Unsqueeze", a=i64(axis))
        refused(g, f"Flatten-axis-{key}", simple([node("Flatten", ["x"], axis=axis)]), {"x": X})
    both("Unsqueeze-twice", "refuse", "Unsqueeze", a=i64(0, 0))
    both("Unsqueeze-twice-negative", "refuse", "Unsqueeze", a=i64(0, -4))
    both("Squeeze-not-one", "refuse", "Squeeze", a=i64(0))
    for key, to in (("2-32-1", (1 << 32) + 1), ("zero", 0), ("99", 99), ("max", I63), ("negative", -1)):
        refused(g, f"Cast-to-{key}", simple([node("Cast", ["x"], to=to)]), {"x": X})
    refused(g, "Cast-to-string", simple([node("Cast", ["x"], to=8)], dtype=STRING), {"x": X})
    for key, v in (("2-32-17", (1 << 32) + 17), ("max", I63), ("zero", 0), ("minus", -1), ("99", 99), ("min", N63)):
        refused(g, f"opset-{key}", simple([node("Relu", ["x"])], version=v), {"x": X})
    refused(g, "opset-1", simple([node("Relu", ["x"]), node("Erf", ["x"], ["z"])], version=1), {"x": X})
    for i, perm in enumerate(([0, 0], [0], [0, 1, 2], [0, 2], [-1, 0], [1, I63], [N63, 0], [1 << 32, 1])):
        refused(g, f"perm-{i}", simple([node("Transpose", ["x"], perm=perm)]), {"x": X})
    for i, (s, e, a, st, want) in enumerate((
            ((N63,), (I63,), (1,), (1,), X), ((I63,), (N63,), (1,), (-1,), X[:, ::-1]), ((-1,), (N63,), (1,), (N63,), X[:, 2:]),
            ((0,), (I63,), (1,), (I63,), X[:, :1]), ((I63,), (I63,), (0,), (1,), X[2:]), ((5,), (2,), (1,), (1,), X[:, 3:]),
            ((2,), (-4,), (1,), (-1,), X[:, ::-1]), ((-100,), (100,), (-1,), (2,), X[:, ::2]))):
        both(f"Slice-ends-{i}", "run", "Slice", expect=want, s=i64(*s), e=i64(*e), a=i64(*a), t=i64(*st))
    both("Slice-step-0", "refuse", "Slice", s=i64(0), e=i64(1), a=i64(0), t=i64(0))
    both("Slice-lists-differ", "refuse", "Slice", s=i64(0, 0), e=i64(1), a=i64(0))
    both("Slice-axis-twice", "any", "Slice", s=i64(0, 0), e=i64(1, 1), a=i64(1, 1))
    both("Slice-too-many", "refuse", "Slice", s=i64(0, 0, 0), e=i64(1, 1, 1))
    for i, s in enumerate(((-1, -1), (-2, 3), (0, 0, 0), (4, 2), (I63,), (N63,), (-1, 4), (1 << 32, 1 << 32), (-1, 0), (7,), (2, 3, 0), (1 << 62, 4, 6))):
        if i == 8:
            continue
        both(f"Reshape-{i}", "refuse", "Reshape", s=i64(*s))
    both("Reshape-zero", "run", "Reshape", expect=X, s=i64(0, -1))
    both("Reshape-minus-and-zero", "run", "Reshape", expect=X, s=i64(-1, 0))
    both("Reshape-minus-all", "run", "Reshape", expect=X.reshape(-1), s=i64(-1))
    both("Reshape-empty", "run", "Reshape", expect=np.zeros((0, 3), np.float32), data=np.zeros((0, 3), np.float32), s=i64(0, 3))
    both("Reshape-empty-minus", "any", "Reshape", data=np.zeros((0, 3), np.float32), s=i64(0, -1))
    both("Reshape-allowzero", "run", "Reshape", expect=np.zeros((0, 5), np.float32), data=np.zeros((0, 3), np.float32), kw={"allowzero": 1}, s=i64(0, 5))
    both("Reshape-shape-2d", "refuse", "Reshape", s=np.array([[2, 3]]))
    for i, s in enumerate(((-1, 3), (2, -3), (N63,), (2, 2), (5, 3))):
        both(f"Expand-{i}", "refuse", "Expand", s=i64(*s))
    both("Expand-smaller", "run", "Expand", expect=X, s=i64(1, 1))
    both("Expand-0", "run", "Expand", expect=np.zeros((0, 2, 3), np.float32), s=i64(0, 1, 1))
    both("Expand-0-of-one", "run", "Expand", data=np.ones((1, 3), np.float32), expect=np.zeros((0, 3), np.float32), s=i64(0, 3))
    for i, r in enumerate(((-1, 1), (1,), (1, 1, 1), (N63, 1), (1, -1))):
        both(f"Tile-{i}", "refuse", "Tile", r=i64(*r))
    both("Tile-0", "run", "Tile", expect=np.zeros((0, 3), np.float32), r=i64(0, 1))
    for i, p in enumerate(((0, 0, I63, 0), (-3, 0, 0, 0), (0, 0, N63, 0), (1, 1), (0, 0, 0), (0, -9, 0, 0))):
        both(f"Pad-{i}", "refuse", "Pad", p=i64(*p))
    both("Pad-negative", "run", "Pad", expect=X[:, 1:], p=i64(0, -1, 0, 0))
    both("Pad-all", "run", "Pad", expect=X[:, :0], p=i64(0, -1, 0, -2))
    both("Pad-mode", "refuse", "Pad", kw={"mode": "sideways"}, p=i64(0, 0, 0, 0))
    both("Pad-reflect-too-far", "any", "Pad", kw={"mode": "reflect"}, p=i64(9, 0, 0, 0))
    for i, s in enumerate(((1, 1), (4, -1), (-1, 4), (3, 1), (I63, I63), (0, 2))):
        refused(g, f"Split-sizes-{i}", with_inits([node("Split", ["x", "s"], ["y", "z"], axis=1)], s=i64(*s)), {"x": X})
    refused(g, "Split-sizes-one", with_inits([node("Split", ["x", "s"], ["y", "z"], axis=1)], s=i64(3)), {"x": X})
    runs(g, "Split-zero", with_inits([node("Split", ["x", "s"], ["y", "z"], axis=1)], s=i64(3, 0)), {"x": X}, {"y": X})
    refused(g, "Split-num-outputs", simple([node("Split", ["x"], ["y", "z"], axis=1, num_outputs=3)], version=18), {"x": X})
    refused(g, "Split-num-outputs-0", simple([node("Split", ["x"], ["y"], axis=1, num_outputs=0)], version=18), {"x": X})
    for key, i in (("3", 3), ("-4", -4), ("max", I63), ("min", N63), ("2-32", 1 << 32)):
        both(f"Gather-index-{key}", "refuse", "Gather", kw={"axis": 1}, i=i64(i))
        both(f"GatherElements-index-{key}", "refuse", "GatherElements", kw={"axis": 1}, i=i64(i).reshape(1, 1))
        both(f"GatherND-index-{key}", "refuse", "GatherND", i=i64(0, i))
        both(f"ScatterElements-index-{key}", "refuse", "ScatterElements", kw={"axis": 1}, i=i64(i).reshape(1, 1), u=np.ones((1, 1), np.float32))
        both(f"ScatterND-index-{key}", "refuse", "ScatterND", i=i64(0, i).reshape(1, 2), u=UNIT)
    both("Gather-index-minus", "run", "Gather", kw={"axis": 1}, expect=X[:, [-1, -3]], i=i64(-1, -3))
    both("Gather-index-int32", "run", "Gather", kw={"axis": 1}, expect=X[:, [2]], i=np.array([2], np.int32))
    both("GatherND-too-deep", "refuse", "GatherND", i=i64(0, 0, 0))
    both("GatherND-empty-index", "any", "GatherND", i=np.zeros((2, 0), np.int64))
    both("ScatterND-updates", "refuse", "ScatterND", i=i64(0).reshape(1, 1), u=UNIT)
    for key, k in (("4", 4), ("minus", -1), ("max", I63), ("min", N63), ("2-32-1", (1 << 32) + 1)):
        both(f"TopK-{key}", "refuse", "TopK", out=("y", "i"), k=i64(k))
    both("TopK-0", "run", "TopK", out=("y", "i"), expect=X[:, :0], k=i64(0))
    for key, k in (("min", N63), ("max", I63), ("2-32", 1 << 32), ("-2-32", -(1 << 32))):
        both(f"Trilu-{key}", "run", "Trilu", expect=X if k < 0 else X * 0, k=scalar(k))
        both(f"Trilu-lower-{key}", "run", "Trilu", kw={"upper": 0}, expect=X * 0 if k < 0 else X, k=scalar(k))
    both("OneHot-depth-minus", "refuse", "OneHot", data=i64(0), d=scalar(-1), v=np.array([0, 1], np.float32))
    both("OneHot-outside", "run", "OneHot", data=i64(N63, I63, 5, -6, 1, -1), expect=np.array([[0] * 4, [0] * 4, [0] * 4, [0] * 4, [0, 1, 0, 0], [0, 0, 0, 1]], np.float32), d=scalar(4), v=np.array([0, 1], np.float32))
    least, minus = np.array([N63, 7], np.int64), np.array([-1, -2], np.int64)
    for op in ("Div", "Mod"):
        both(f"{op}-least", "any", op, data=least, dtype=INT64, b=minus)
        both(f"{op}-least-32", "any", op, data=np.array([-(1 << 31), 7], np.int32), dtype=INT32, b=minus.astype(np.int32))
        both(f"{op}-zero", "any", op, data=least, dtype=INT64, b=minus * 0)
        both(f"{op}-zero-u8", "any", op, data=np.array([1, 2], np.uint8), dtype=UINT8, b=np.zeros(2, np.uint8))
    both("Mod-fmod", "run", "Mod", kw={"fmod": 1}, expect=np.fmod(X, 2), b=np.array(2, np.float32))
    both("Neg-least", "any", "Neg", data=least, dtype=INT64)
    both("Abs-least", "any", "Abs", data=least, dtype=INT64)
    both("Mul-wraps", "run", "Mul", data=least, dtype=INT64, expect=least * 3, b=i64(3))
    both("Add-wraps", "run", "Add", data=least, dtype=INT64, expect=least + np.int64(-5), b=i64(-5))
    both("Pow-int", "any", "Pow", data=i64(2, -3), dtype=INT64, b=i64(-1, 63))
    odd = np.array([np.nan, np.inf, -np.inf, 1e30, -1e30, 3.7], np.float32)
    for to in (INT8, UINT8, INT32, INT64, 12, 13, BOOL, FLOAT16, 16, 17, 22):
        add(g, f"Cast-odd-{to}", "any", simple([node("Cast", ["x"], to=to)], [value("x", FLOAT, (6,))], [value("y", to)], version=21), {"x": odd})
        add(g, f"Cast-odd-folded-{to}", "any", simple([node("Cast", ["x"], to=to)], [], [value("y", to)], [tensor("x", odd)], version=21))
    both("Range-delta-0", "refuse", "Range", data=scalar(0), dtype=INT64, b=scalar(5), c=scalar(0))
    both("Range-ends", "refuse", "Range", data=scalar(N63), dtype=INT64, b=scalar(I63), c=scalar(1))
    both("Range-ends-large-step", "run", "Range", data=scalar(N63), dtype=INT64, expect=i64(N63, -1, I63 - 1), b=scalar(I63), c=scalar(I63))
    both("Range-back", "run", "Range", data=scalar(3), dtype=INT64, expect=i64(), b=scalar(5), c=scalar(-1))
    both("Range-nan", "any", "Range", data=np.array(np.nan, np.float32), b=np.array(5, np.float32), c=np.array(1, np.float32))
    both("Range-inf", "refuse", "Range", data=np.array(0, np.float32), b=np.array(np.inf, np.float32), c=np.array(1, np.float32))
    both("Range-tiny-step", "refuse", "Range", data=np.array(0, np.float32), b=np.array(1, np.float32), c=np.array(1e-38, np.float32))
    q = np.array([1, 2, 3], np.uint8)
    both("DequantizeLinear-scale-0", "run", "DequantizeLinear", data=q, expect=np.zeros(3, np.float32), s=np.array(0, np.float32))
    both("QuantizeLinear-scale-0", "any", "QuantizeLinear", dtype=UINT8, s=np.array(0, np.float32), z=np.array(0, np.uint8))
    both("QuantizeLinear-nan", "any", "QuantizeLinear", dtype=UINT8, data=odd, s=np.array(np.nan, np.float32), z=np.array(0, np.uint8))
    both("DynamicQuantizeLinear-odd", "any", "DynamicQuantizeLinear", dtype=UINT8, data=odd, out=("y", "s", "z"))
    both("DynamicQuantizeLinear-0", "any", "DynamicQuantizeLinear", dtype=UINT8, data=X * 0, out=("y", "s", "z"))
    both("DequantizeLinear-scale-shape", "refuse", "DequantizeLinear", data=q.reshape(1, 3), s=np.ones(2, np.float32))
    refused(g, "LayerNormalization-scale", with_inits([node("LayerNormalization", ["x", "s"])], s=np.ones(2, np.float32)), {"x": X})
    refused(g, "Gemm-shapes", with_inits([node("Gemm", ["x", "w"])], w=np.ones((2, 2), np.float32)), {"x": X})
    refused(g, "MatMul-shapes", with_inits([node("MatMul", ["x", "w"])], w=np.ones((2, 2), np.float32)), {"x": X})
    refused(g, "MatMul-scalar", with_inits([node("MatMul", ["x", "w"])], w=np.array(1, np.float32)), {"x": X})
    refused(g, "Add-shapes", with_inits([node("Add", ["x", "w"])], w=np.ones((2, 2), np.float32)), {"x": X})
    refused(g, "Where-shapes", with_inits([node("Where", ["c", "x", "w"])], c=np.array([True]), w=np.ones((2, 2), np.float32)), {"x": X})
    refused(g, "Concat-shapes", with_inits([node("Concat", ["x", "w"], axis=1)], w=np.ones((3, 2), np.float32)), {"x": X})
    refused(g, "Concat-ranks", with_inits([node("Concat", ["x", "w"], axis=0)], w=np.ones(3, np.float32)), {"x": X})
    for i, e in enumerate(("ij,jk", "ij->ik", "ijk->i", "ij->iij", "i,j->ij", "->", "ij->i1", "ij" * 40, "ij,jk->ik,", "...ij->...jj", "i" * 300000, "ij->IJ")):
        add(g, f"Einsum-{i}", "any" if i in (3, 11) else "refuse", simple([node("Einsum", ["x"], equation=e)]), {"x": X})
    runs(g, "Einsum-spaces", simple([node("Einsum", ["x"], equation=" i j -> j i ")]), {"x": X}, {"y": X.T})


def empty_cases():
    g = "8-empty"
    e = np.zeros

    def one(name, op, expect, data=X, version=17, out=("y",), dtype=FLOAT, verdict="run", kw=None, **inits):
        n = node(op, ["x"] + list(inits), out, **(kw or {}))
        x = np.asarray(data)
        want = None if expect is None else {"y": np.asarray(expect)}
        add(g, name, verdict, simple([n], [value("x", DTYPES[x.dtype.str[1:]], x.shape)], [value("y", dtype)], [tensor(k, v) for k, v in inits.items()], version), {"x": x}, want)
        symbols = [value("x", DTYPES[x.dtype.str[1:]], [f"d{i}" for i in range(x.ndim)])]
        add(g, name + "-open", verdict, simple([n], symbols, [value("y", dtype)], [tensor(k, v) for k, v in inits.items()], version), {"x": x}, want)
        add(g, name + "-folded", verdict, simple([n], [], [value("y", dtype)], [tensor("x", x)] + [tensor(k, v) for k, v in inits.items()], version), None, want)

    f = np.float32
    one("MatMul-k0", "MatMul", e((2, 4), f), e((2, 0), f), w=e((0, 4), f))
    one("MatMul-m0", "MatMul", e((0, 4), f), e((0, 3), f), w=np.ones((3, 4), f))
    one("MatMul-n0", "MatMul", e((2, 0), f), X, w=e((3, 0), f))
    one("MatMul-batch-0", "MatMul", e((0, 2, 4), f), e((0, 2, 3), f), w=np.ones((3, 4), f))
    one("MatMul-k0-batch", "MatMul", e((5, 2, 4), f), e((5, 2, 0), f), w=e((5, 0, 4), f))
    one("MatMul-vectors-0", "MatMul", np.float32(0), e(0, f), w=e(0, f))
    one("MatMul-k0-f64", "MatMul", e((2, 4)), e((2, 0)), dtype=DOUBLE, w=e((0, 4)))
    one("MatMulInteger-k0", "MatMulInteger", e((2, 4), np.int32), e((2, 0), np.uint8), dtype=INT32, w=e((0, 4), np.uint8))
    one("Gemm-k0", "Gemm", np.tile(f([1, 2, 3]), (2, 1)), e((2, 0), f), w=e((0, 3), f), c=f([1, 2, 3]))
    one("Gemm-k0-no-c", "Gemm", e((2, 3), f), e((2, 0), f), w=e((0, 3), f))
    one("Linear-k0", "MatMul", e((1, 2, 4), f), e((1, 2, 0), f), w=e((0, 4), f))
    runs(g, "Linear-k0-bias", with_inits([node("MatMul", ["x", "w"], ["z"]), node("Add", ["z", "b"])], inputs=[value("x", FLOAT, ("n", 0))], w=e((0, 4), f), b=f([1, 2, 3, 4])),
         {"x": e((2, 0), f)}, {"y": np.tile(f([1, 2, 3, 4]), (2, 1))})
    one("Softmax-0", "Softmax", e((2, 0), f), e((2, 0), f))
    one("Softmax-rows-0", "Softmax", e((0, 3), f), e((0, 3), f))
    one("LogSoftmax-0", "LogSoftmax", e((2, 0), f), e((2, 0), f))
    one("ReduceSum-0", "ReduceSum", e((1, 3), f), e((0, 3), f), a=i64(0))
    one("ReduceSum-all-0", "ReduceSum", e((1, 1), f), e((0, 3), f))
    one("ReduceSum-other-0", "ReduceSum", e((0, 1), f), e((0, 3), f), a=i64(1))
    one("ReduceSum-noop", "ReduceSum", X, X, kw={"noop_with_empty_axes": 1}, a=i64())
    one("ReduceSum-empty-axes", "ReduceSum", X.sum(keepdims=True), X, a=i64())
    one("ReduceProd-0", "ReduceProd", np.ones((1, 3), f), e((0, 3), f), kw={"axes": [0]}, verdict="any")
    one("ReduceMean-0", "ReduceMean", None, e((0, 3), f), kw={"axes": [0]}, verdict="any")
    one("ReduceMax-0", "ReduceMax", None, e((0, 3), f), kw={"axes": [0]}, verdict="any")
    one("ArgMax-0", "ArgMax", None, e((0, 3), f), kw={"axis": 0}, dtype=INT64, verdict="any")
    one("ArgMax-other-0", "ArgMax", e((0, 1), np.int64), e((0, 3), f), kw={"axis": 1}, dtype=INT64)
    one("LayerNormalization-0", "LayerNormalization", e((0, 3), f), e((0, 3), f), s=np.ones(3, f))
    one("LayerNormalization-width-0", "LayerNormalization", None, e((2, 0), f), verdict="any", s=e(0, f))
    one("Concat-0", "Concat", X, e((0, 3), f), kw={"axis": 0}, w=X)
    one("Gather-0", "Gather", e((0, 3), f), X, i=e(0, np.int64))
    one("Gather-from-0", "Gather", e((0, 3), f), e((0, 3), f), i=e(0, np.int64))
    one("Gather-from-0-index", "Gather", None, e((0, 3), f), verdict="refuse", i=i64(0))
    one("Transpose-0", "Transpose", e((3, 0), f), e((0, 3), f))
    one("Add-0", "Add", e((0, 3), f), e((0, 3), f), w=np.ones((1, 3), f))
    one("Add-0-1", "Add", e((0, 3), f), e((0, 1), f), w=np.ones((1, 3), f))
    one("Where-0", "Where", e((0, 3), f), e((0, 1), bool), a=np.ones((1, 3), f), b=np.ones((1, 1), f))
    one("Slice-0", "Slice", X[:0], X, s=i64(0), e=i64(0))
    one("Expand-0", "Expand", e((4, 0), f), e((1, 0), f), s=i64(4, 1))
    one("NonZero-0", "NonZero", e((2, 0), np.int64), e((0, 3), f), dtype=INT64)
    one("NonZero-none", "NonZero", e((2, 0), np.int64), X * 0, dtype=INT64)
    one("CumSum-0", "CumSum", e((0, 3), f), e((0, 3), f), a=scalar(0))
    one("TopK-0", "TopK", e((0, 2), f), e((0, 3), f), out=("y", "i"), k=i64(2))
    one("Split-0", "Split", e((0, 3), f), e((0, 3), f), out=("y", "z"), kw={"axis": 0})
    one("Shape-0", "Shape", i64(0, 3), e((0, 3), f), dtype=INT64)
    one("Size-0", "Size", scalar(0), e((0, 3), f), dtype=INT64)
    one("OneHot-0", "OneHot", e((0, 4), f), e(0, np.int64), d=scalar(4), v=f([0, 1]))
    one("Einsum-0", "Einsum", e((2, 4), f), e((2, 0), f), kw={"equation": "ij,jk->ik"}, w=e((0, 4), f))
    one("Cast-0", "Cast", e((0, 3), np.int64), e((0, 3), f), kw={"to": 7}, dtype=INT64)
    one("Flatten-0", "Flatten", e((0, 3), f), e((0, 3), f))
    s = np.array(-2.0, f)
    for op, want in (("Relu", f(0)), ("Neg", f(2)), ("Erf", None), ("Identity", s), ("Transpose", s), ("Exp", None)):
        one(f"scalar-{op}", op, want, s)
    one("scalar-Add", "Add", f(-1), s, w=f(1))
    one("scalar-ReduceSum", "ReduceSum", s, s)
    one("scalar-ReduceMean", "ReduceMean", s, s)
    one("scalar-Reshape", "Reshape", f([-2]), s, s=i64(-1))
    one("to-scalar", "Reshape", s, f([[-2]]), s=i64())
    one("scalar-Unsqueeze", "Unsqueeze", f([-2]), s, a=i64(0))
    one("to-scalar-Squeeze", "Squeeze", s, f([[-2]]))
    one("scalar-Expand", "Expand", np.full((2, 2), -2, f), s, s=i64(2, 2))
    one("scalar-index", "Gather", X[1], X, i=scalar(1))
    one("scalar-Gather", "Gather", None, s, verdict="refuse", i=scalar(0))
    one("scalar-Softmax", "Softmax", None, s, verdict="any")
    one("scalar-Concat", "Concat", None, s, verdict="refuse", kw={"axis": 0}, w=s)
    one("scalar-Slice", "Slice", None, s, verdict="refuse", s=i64(0), e=i64(1))
    one("scalar-Split", "Split", None, s, verdict="refuse")
    one("scalar-Shape", "Shape", i64(), s, dtype=INT64)
    one("scalar-ConstantOfShape", "ConstantOfShape", f(0), i64())
    one("rank-8", "Transpose", np.arange(8, dtype=f).reshape(1, 1, 2, 1, 2, 1, 2, 1), np.arange(8, dtype=f).reshape(1, 2, 1, 2, 1, 2, 1, 1), kw={"perm": [0, 7, 1, 2, 3, 4, 5, 6]})
    runs(g, "absent-outputs", simple([node("Split", ["x"], ["", "y", ""], axis=1), node("TopK", ["x", "k"], ["", ""])], inits=[ints("k", 1)]), {"x": X}, {"y": X[:, 1:2]})
    runs(g, "absent-output-LayerNormalization", with_inits([node("LayerNormalization", ["x", "s"], ["y", "", ""])], s=np.ones(3, f)), {"x": X})
    runs(g, "absent-output-Dropout", simple([node("Dropout", ["x"], ["y", ""])]), {"x": X}, {"y": X})
    runs(g, "absent-inputs-at-end", simple([node("Slice", ["x", "s", "e", "", ""])], inits=[ints("s", 0), ints("e", 1)]), {"x": X}, {"y": X[:1]})
    runs(g, "only-input-is-output", model(graph([], [XI], [value("x", FLOAT, (2, 3))])), {"x": X}, {"x": X})
    runs(g, "only-constant", model(graph([], [], [value("c")], [tensor("c", X)])), None, {"c": X})
    add(g, "no-outputs", "any", model(graph([node("Relu", ["x"])], [XI], [])), {"x": X})
    refused(g, "nothing", model(b""))

    million, trillion = 1000000, 10 ** 12
    def too_large(name, nodes, inputs=None, feed=None, dtype=FLOAT, version=17, verdict="refuse", **inits):
        add(g, name, verdict, simple(nodes, inputs if inputs is not None else [value("x", FLOAT, (1,))], [value("y", dtype)], [tensor(k, np.asarray(v)) for k, v in inits.items()], version), {"x": UNIT} if feed is None else feed)

    too_large("10-12-Expand", [node("Expand", ["x", "s"])], s=i64(million, million))
    too_large("10-12-Tile", [node("Tile", ["x", "s"])], s=i64(trillion))
    too_large("10-12-Pad", [node("Pad", ["x", "s"])], s=i64(0, trillion))
    too_large("10-12-ConstantOfShape", [node("ConstantOfShape", ["s"])], [], {}, s=i64(million, million))
    too_large("10-12-ConstantOfShape-int8", [node("ConstantOfShape", ["s"], value=Tensor(tensor("", np.ones(1, np.int8))))], [], {}, INT8, s=i64(million, million))
    too_large("2-64-ConstantOfShape", [node("ConstantOfShape", ["s"])], [], {}, s=i64(1 << 32, 1 << 32))
    too_large("2-62-Expand", [node("Expand", ["x", "s"])], s=i64((1 << 62) + 80))
    too_large("10-12-Range", [node("Range", ["a", "b", "c"])], [], {}, INT64, a=scalar(0), b=scalar(trillion), c=scalar(1))
    too_large("10-12-OneHot", [node("OneHot", ["i", "d", "v"])], [], {}, i=i64(0), d=scalar(trillion), v=np.array([0, 1], f))
    too_large("10-12-Add", [node("Add", ["a", "b"])], [value("a", FLOAT, ("n", 1)), value("b", FLOAT, (1, "m"))], {"a": e((million, 1), f), "b": e((1, million), f)})
    too_large("10-12-MatMul", [node("MatMul", ["a", "b"])], [value("a", FLOAT, ("n", 1)), value("b", FLOAT, (1, "m"))], {"a": e((million, 1), f), "b": e((1, million), f)})
    too_large("10-12-Einsum", [node("Einsum", ["a", "b"], equation="i,j->ij")], [value("a", FLOAT, ("n",)), value("b", FLOAT, ("m",))], {"a": e(million, f), "b": e(million, f)})
    too_large("10-12-Expand-fed", [node("Expand", ["x", "s"])], [value("x", FLOAT, (1,)), value("s", INT64, (2,))], {"x": UNIT, "s": i64(million, million)})
    too_large("10-12-ConstantOfShape-fed", [node("ConstantOfShape", ["s"])], [value("s", INT64, ("n",))], {"s": i64(million, million)})
    too_large("2-64-ConstantOfShape-fed", [node("ConstantOfShape", ["s"])], [value("s", INT64, ("n",))], {"s": i64(1 << 32, 1 << 32)})
    too_large("10-12-Range-fed", [node("Range", ["a", "b", "c"])], [value("a", INT64, ()), value("b", INT64, ()), value("c", INT64, ())], {"a": scalar(0), "b": scalar(trillion), "c": scalar(1)}, INT64)
    too_large("10-12-Tile-fed", [node("Tile", ["x", "s"])], [value("x", FLOAT, (1,)), value("s", INT64, (1,))], {"x": UNIT, "s": i64(trillion)})
    too_large("10-12-Expand-twice", [node("Expand", ["x", "s"], ["z"]), node("Expand", ["z", "t"])], s=i64(million, 1), t=i64(1, million))
    too_large("10-12-inside", [node("Expand", ["x", "s"], ["z"]), node("ReduceSum", ["z"])], s=i64(million, million))
    too_large("10-12-only-shape", [node("Expand", ["x", "s"], ["z"]), node("Shape", ["z"])], dtype=INT64, verdict="any", s=i64(million, million))
    too_large("10-12-unused", [node("Expand", ["x", "s"], ["z"]), node("Relu", ["x"])], verdict="any", s=i64(million, million))
    too_large("10-12-of-dynamic", [node("NonZero", ["x"], ["n"]), node("Shape", ["n"], ["m"]), node("Mul", ["m", "s"], ["t"]), node("ConstantOfShape", ["t"])], s=i64(million, million))
    too_large("scan-of-dims", [node("Expand", ["x", "s"], ["z"]), node("Transpose", ["z"])], s=i64(*[1000] * 8))


def chain(n, op="Relu", **kw):
    return [node(op, ["x" if i == 0 else f"v{i}"], ["y" if i == n - 1 else f"v{i + 1}"], **kw) for i in range(n)]


def doubling(n, first="x", op="Add", **kw):
    return [node(op, [first if i == 0 else f"v{i}"] * 2, ["y" if i == n - 1 else f"v{i + 1}"], **kw) for i in range(n)]


def doubling_functions(n):
    out = []
    for i in range(n):
        callee = {"op": f"F{i + 1}", "domain": "f"} if i < n - 1 else {"op": "Relu"}
        out.append(function(f"F{i}", ["a"], ["c"], [node(inputs=["a"], outputs=["b"], **callee), node(inputs=["b"], outputs=["c"], **callee)]))
    return out


def branch(nodes, out, **kw):
    return graph(nodes, [], [value(out)], **kw)


def growth_cases():
    g = "9-growth"
    cond = [tensor("c", np.array(True))]
    call = [node("F0", ["x"], domain="f")]
    refused(g, "cycle-1", simple([node("Add", ["x", "y"])]), {"x": X})
    refused(g, "cycle-2", simple([node("Add", ["x", "b"], ["a"]), node("Relu", ["a"], ["b"]), node("Relu", ["b"])]), {"x": X})
    refused(g, "cycle-unused", simple([node("Relu", ["b"], ["a"]), node("Relu", ["a"], ["b"]), node("Relu", ["x"])]), {"x": X})
    refused(g, "cycle-long", lambda: simple([node("Add", ["x", "v99999"], ["v1"])] + [node("Relu", [f"v{i}"], [f"v{i + 1}"]) for i in range(1, 99999)] + [node("Relu", ["v99999"])]), {"x": X})
    refused(g, "cycle-through-if", simple([node("If", ["c"], ["y"], then_branch=branch([node("Relu", ["y"], ["t"])], "t"), else_branch=branch([], "x"))], inits=cond), {"x": X})
    refused(g, "cycle-through-if-2", simple([node("Neg", ["y"], ["z"]), node("If", ["c"], ["y"], then_branch=branch([node("Relu", ["z"], ["t"])], "t"), else_branch=branch([], "x"))], inits=cond), {"x": X})
    refused(g, "cycle-inside-if", simple([node("If", ["c"], ["y"], then_branch=branch([node("Add", ["x", "u"], ["t"]), node("Relu", ["t"], ["u"])], "t"), else_branch=branch([], "x"))], inits=cond), {"x": X})
    refused(g, "function-calls-itself", simple(call, functions=[function("F0", ["a"], ["b"], [node("F0", ["a"], ["b"], domain="f")])]), {"x": X})
    refused(g, "functions-call-each-other", simple(call, functions=[function("F0", ["a"], ["b"], [node("F1", ["a"], ["b"], domain="f")]), function("F1", ["a"], ["b"], [node("F0", ["a"], ["b"], domain="f")])]), {"x": X})
    inner = branch([node("F0", ["a"], ["t"], domain="f")], "t")
    hidden = function("F0", ["a"], ["b"], [node("Constant", [], ["c"], value=Tensor(tensor("", np.array(False)))), node("If", ["c"], ["b"], then_branch=inner, else_branch=branch([node("Relu", ["a"], ["t"])], "t"))])
    refused(g, "function-calls-itself-in-if", simple(call, functions=[hidden]), {"x": X})
    add(g, "function-calls-itself-unused", "any", simple([node("Relu", ["x"])], functions=[function("F0", ["a"], ["b"], [node("F0", ["a"], ["b"], domain="f")])]), {"x": X})
    runs(g, "functions-doubling-10", simple(call, functions=doubling_functions(10)), {"x": X}, {"y": POSITIVE})
    for n in (25, 40, 60):
        refused(g, f"functions-doubling-{n}", simple(call, functions=doubling_functions(n)), {"x": X})
    wide = [function(f"F{i}", ["a"], ["b"], [node(f"F{i + 1}", ["a"], [f"b{j}" if j else "b"], domain="f") for j in range(500)]) for i in range(4)]
    refused(g, "functions-500-wide", simple(call, functions=wide + [function("F4", ["a"], ["b"], [node("Relu", ["a"], ["b"])])]), {"x": X})
    empty = [function(f"F{i}", ["a"], ["b"], [node(f"F{i + 1}", ["a"], ["b"], domain="f"), node(f"F{i + 1}", ["a"], ["d"], domain="f")]) for i in range(60)]
    refused(g, "functions-doubling-to-nothing", simple(call, functions=empty + [function("F60", ["a"], ["a"], [])]), {"x": X})
    names = [f"i{k}" for k in range(50000)]
    add(g, "function-many-inputs-many-calls", "any", lambda: simple([node("F0", ["x"], [f"v{i}"], domain="f") for i in range(50000)] + [node("Relu", ["x"])], functions=[function("F0", names, ["b"], [node("Relu", ["i0"], ["b"])])]), {"x": X})
    add(g, "function-many-names-many-calls", "any", lambda: simple([node("F0", ["x"], [f"v{i}"], domain="f") for i in range(50000)] + [node("Relu", ["x"])], functions=[function("F0", ["a"], ["b"], [node("Sum", ["a"] * 20000, ["b"])])]), {"x": X})
    add(g, "function-many-imports-many-calls", "any", lambda: simple([node("F0", ["x"], [f"v{i}"], domain="f") for i in range(50000)] + [node("Relu", ["x"])], functions=[function("F0", ["a"], ["b"], [node("Relu", ["a"], ["b"])], opsets=[opset(17)] + [opset(1, f"d{i}") for i in range(4000)])]), {"x": X})
    add(g, "function-long-label", "any", lambda: simple([node("F0", ["x"], name="n" * 1000000, domain="f")], functions=[function("F0", ["a"], ["b"], [node("Relu", ["a"], [f"t{i}"]) for i in range(3000)] + [node("Relu", ["a"], ["b"])])]), {"x": X})
    add(g, "function-long-inner", "any", lambda: simple([node("F0", ["x"], [f"v{i}"], domain="f") for i in range(2000)] + [node("Relu", ["x"])], functions=[function("F0", ["a"], ["b"], [node("Relu", ["a"], ["t" * 1000000]), node("Relu", ["a"], ["b"])])]), {"x": X})
    add(g, "function-with-subgraph-many-calls", "any", lambda: simple([node("F0", ["x"], [f"v{i}"], domain="f") for i in range(20000)] + [node("Relu", ["x"])], functions=[function("F0", ["a"], ["b"], [node("Constant", [], ["c"], value=Tensor(tensor("", np.array(True)))), node("If", ["c"], ["b"], then_branch=graph([node("Relu", ["a"], ["t"])], [], [value("t")], [tensor(f"w{i}", UNIT) for i in range(2000)]), else_branch=branch([], "a"))])]), {"x": X})
    runs(g, "add-doubling-60", simple(doubling(60)), {"x": X}, {"y": X * np.float32(2 ** 60)})
    runs(g, "concat-doubling-8", simple(doubling(8, op="Concat", axis=0)), {"x": X}, {"y": np.tile(X, (256, 1))})
    refused(g, "concat-doubling-40", simple(doubling(40, op="Concat", axis=0)), {"x": X})
    refused(g, "concat-doubling-70", simple(doubling(70, op="Concat", axis=0)), {"x": X})
    refused(g, "concat-doubling-40-open", simple(doubling(40, op="Concat", axis=0), [value("x", FLOAT, ("n", 3))]), {"x": X})
    refused(g, "concat-doubling-40-constant", simple(doubling(40, op="Concat", axis=0), [], inits=[tensor("x", X)]))
    refused(g, "concat-doubling-40-dynamic", simple([node("NonZero", ["x"], ["n"])] + doubling(40, "n", op="Concat", axis=1), dtype=INT64), {"x": X})
    refused(g, "concat-1000-chained", simple([node("Concat", ["x" if i == 0 else f"v{i}"] * 1000, ["y" if i == 5 else f"v{i + 1}"], axis=0) for i in range(6)]), {"x": X})
    refused(g, "tile-chained", simple([node("Tile", ["x" if i == 0 else f"v{i}", "r"], ["y" if i == 19 else f"v{i + 1}"]) for i in range(20)], inits=[ints("r", 100, 1)]), {"x": X})
    shape = [node("Shape", ["x"], ["s"])]
    for op in ("Mul", "Add", "Mod", "Div", "Max", "Sub"):
        add(g, f"shape-doubling-{op}", "any", simple(shape + doubling(100, "s", op), [value("x", FLOAT, ("n", "m"))], dtype=INT64), {"x": X})
    tangled = shape + [node("Gather", ["s", "zero"], ["n"])]
    last = "n"
    for i in range(90):
        tangled += [node("Div", [last, "three"], [f"q{i}"]), node("Mod", [last, "five"], [f"r{i}"]), node("Add", [f"q{i}", f"r{i}"], [f"n{i}"])]
        last = f"n{i}"
    add(g, "shape-tangled", "run", with_inits(tangled + [node("Add", [last, "three"])], INT64, inputs=[value("x", FLOAT, ("n", "m"))], zero=i64(0), three=i64(3), five=i64(5)), {"x": X})
    add(g, "shape-polynomials", "any", with_inits(shape + [node("Concat", ["s"] * 500, ["s0"], axis=0)] + [node("Mul" if i % 2 else "Add", [f"s{i}", f"s{i}"], [f"s{i + 1}"]) for i in range(2000)] + [node("Identity", ["s2000"])], INT64, inputs=[value("x", FLOAT, ("n", "m"))]), {"x": X})
    add(g, "shape-long-lists", "any", lambda: with_inits(shape + [node("Concat", ["s"] * 500, ["s0"], axis=0)] + [node("Add", ["s0", "k"], [f"z{i}"]) for i in range(60000)] + [node("Identity", ["s0"])], INT64, inputs=[value("x", FLOAT, ("n", "m"))], k=i64(1)), {"x": X})


def body(nodes, outs, ins=("i", "c"), types=(INT64, BOOL)):
    return graph(nodes, [value(n, t) for n, t in zip(ins, types)], [value(o, t) for o, t in outs])


def loop_cases():
    g = "10-loops"
    trip, true = tensor("m", scalar(I63)), tensor("t", np.array(True))
    same = [node("Identity", ["c"], ["d"])]

    def loop(name, verdict, nodes, outs, ins=("i", "c"), types=(INT64, BOOL), given=("m", "t"), out=("y",), inits=(), x=X, expect=None, dtype=FLOAT, extra=()):
        add(g, name, verdict, simple([node("Loop", given, out, body=body(nodes, outs, ins, types)), *extra], dtype=dtype, inits=[trip, true, *inits]), {"x": x}, expect)

    carried = dict(ins=("i", "c", "a"), types=(INT64, BOOL, FLOAT), given=("m", "t", "x"))
    loop("endless", "refuse", same + [node("Neg", ["a"], ["b"])], [("d", BOOL), ("b", FLOAT)], **carried)
    loop("endless-no-trip", "refuse", same + [node("Neg", ["a"], ["b"])], [("d", BOOL), ("b", FLOAT)], **{**carried, "given": ("", "t", "x")})
    loop("endless-no-condition", "refuse", same + [node("Neg", ["a"], ["b"])], [("d", BOOL), ("b", FLOAT)], **{**carried, "given": ("", "", "x")})
    loop("endless-condition-passed", "refuse", [node("Neg", ["a"], ["b"])], [("c", BOOL), ("b", FLOAT)], **carried)
    loop("growing-concat", "refuse", same + [node("Concat", ["a", "a"], ["b"], axis=0)], [("d", BOOL), ("b", FLOAT)], **carried)
    loop("growing-concat-slowly", "refuse", same + [node("Concat", ["a", "x"], ["b"], axis=0)], [("d", BOOL), ("b", FLOAT)], **carried)
    loop("growing-scan", "refuse", same + [node("Identity", ["a"], ["b"]), node("Neg", ["a"], ["s"])], [("d", BOOL), ("b", FLOAT), ("s", FLOAT)], out=("z", "y"), **carried)
    loop("growing-scan-unused", "refuse", same + [node("Identity", ["a"], ["b"]), node("Expand", ["a", "k"], ["s"])], [("d", BOOL), ("b", FLOAT), ("s", FLOAT)], out=("y",), inits=[ints("k", 1000, 2, 3)], **carried)
    inner = node("Loop", ["m", "t", "a"], ["b"], body=body([node("Identity", ["c2"], ["d2"]), node("Neg", ["a2"], ["b2"])], [("d2", BOOL), ("b2", FLOAT)], ("i2", "c2", "a2"), (INT64, BOOL, FLOAT)))
    loop("nested-endless", "refuse", same + [inner], [("d", BOOL), ("b", FLOAT)], **carried)
    inner = node("Loop", ["k", "t", "a"], ["b"], body=body([node("Identity", ["c2"], ["d2"]), node("Neg", ["a2"], ["b2"])], [("d2", BOOL), ("b2", FLOAT)], ("i2", "c2", "a2"), (INT64, BOOL, FLOAT)))
    loop("nested-10-5", "refuse", same + [inner], [("d", BOOL), ("b", FLOAT)], inits=[tensor("k", scalar(100000))], **carried)
    small = dict(carried, given=("k", "t", "x"), inits=[tensor("k", scalar(1000))])
    loop("1000-turns", "run", same + [node("Neg", ["a"], ["b"])], [("d", BOOL), ("b", FLOAT)], expect={"y": X}, **small)
    for key, n, want in (("0", 0, X), ("minus", -5, X), ("3", 3, -X)):
        loop(f"turns-{key}", "run", same + [node("Neg", ["a"], ["b"])], [("d", BOOL), ("b", FLOAT)], expect={"y": want}, **dict(carried, given=("k", "t", "x"), inits=[tensor("k", scalar(n))]))
    loop("condition-false", "run", same + [node("Neg", ["a"], ["b"])], [("d", BOOL), ("b", FLOAT)], expect={"y": X}, **dict(carried, given=("m", "f", "x"), inits=[tensor("f", np.array(False))]))
    loop("condition-ends", "run", [node("Less", ["i", "k"], ["d"]), node("Neg", ["a"], ["b"])], [("d", BOOL), ("b", FLOAT)], expect={"y": X}, inits=[tensor("k", scalar(5))], **dict(carried, given=("m", "", "x")))
    loop("scan-3", "run", same + [node("Identity", ["a"], ["b"]), node("Neg", ["a"], ["s"])], [("d", BOOL), ("b", FLOAT), ("s", FLOAT)], out=("z", "y"), expect={"y": np.stack([-X] * 3)}, **dict(carried, given=("k", "t", "x"), inits=[tensor("k", scalar(3))]))
    loop("scan-0", "any", same + [node("Identity", ["a"], ["b"]), node("Neg", ["a"], ["s"])], [("d", BOOL), ("b", FLOAT), ("s", FLOAT)], out=("z", "y"), **dict(carried, given=("k", "t", "x"), inits=[tensor("k", scalar(0))]))
    loop("scan-shapes-differ", "refuse", same + [node("Concat", ["a", "a"], ["b"], axis=0), node("Neg", ["a"], ["s"])], [("d", BOOL), ("b", FLOAT), ("s", FLOAT)], out=("z", "y"), **dict(carried, given=("k", "t", "x"), inits=[tensor("k", scalar(3))]))
    loop("body-too-few-outputs", "refuse", same, [("d", BOOL)], **carried)
    loop("body-no-outputs", "refuse", same, [], **carried)
    loop("body-too-few-inputs", "refuse", same + [node("Neg", ["x"], ["b"])], [("d", BOOL), ("b", FLOAT)], ins=("i", "c"), types=(INT64, BOOL), given=("m", "t", "x"))
    loop("body-too-many-inputs", "refuse", same + [node("Neg", ["a"], ["b"])], [("d", BOOL), ("b", FLOAT)], **dict(carried, given=("m", "t")))
    loop("too-many-node-outputs", "refuse", same + [node("Neg", ["a"], ["b"])], [("d", BOOL), ("b", FLOAT)], out=("y", "z", "w"), **carried)
    loop("condition-float", "refuse", [node("Neg", ["a"], ["b"])], [("b", FLOAT), ("b", FLOAT)], **carried)
    loop("trip-float", "refuse", same + [node("Neg", ["a"], ["b"])], [("d", BOOL), ("b", FLOAT)], **dict(carried, given=("k", "t", "x"), inits=[tensor("k", np.array(3, np.float32))]))
    loop("trip-two", "refuse", same + [node("Neg", ["a"], ["b"])], [("d", BOOL), ("b", FLOAT)], **dict(carried, given=("k", "t", "x"), inits=[tensor("k", i64(3, 4))]))
    loop("body-reads-nothing", "refuse", same + [node("Neg", ["nothing"], ["b"])], [("d", BOOL), ("b", FLOAT)], **carried)
    refused(g, "no-body", simple([node("Loop", ["m", "t", "x"])], inits=[trip, true]), {"x": X})
    refused(g, "body-int", simple([node("Loop", ["m", "t", "x"], body=3)], inits=[trip, true]), {"x": X})
    refused(g, "body-empty", simple([node("Loop", ["m", "t", "x"], body=b"")], inits=[trip, true]), {"x": X})
    add(g, "body-type-changes", "refuse", simple([node("Loop", ["k", "t", "x"], body=body(same + [node("Cast", ["a"], ["b"], to=7)], [("d", BOOL), ("b", INT64)], ("i", "c", "a"), (INT64, BOOL, FLOAT)))], inits=[tensor("k", scalar(3)), true]), {"x": X})
    scan = graph([node("Add", ["s", "e"], ["t"]), node("Neg", ["e"], ["u"])], [value("s"), value("e")], [value("t"), value("u")])
    init = [tensor("z", np.zeros(3, np.float32))]
    runs(g, "scan", simple([node("Scan", ["z", "x"], ["y", "w"], body=scan, num_scan_inputs=1)], inits=init), {"x": X}, {"y": X.sum(0)})
    for key, kw in (("inputs-0", {"num_scan_inputs": 0}), ("inputs-9", {"num_scan_inputs": 9}), ("inputs-max", {"num_scan_inputs": I63}), ("inputs-minus", {"num_scan_inputs": -1}),
                    ("axis", {"num_scan_inputs": 1, "scan_input_axes": [5]}), ("axis-min", {"num_scan_inputs": 1, "scan_input_axes": [N63]}), ("axes-many", {"num_scan_inputs": 1, "scan_output_axes": [I63]})):
        refused(g, f"scan-{key}", simple([node("Scan", ["z", "x"], ["y", "w"], body=scan, **kw)], inits=init), {"x": X})
    runs(g, "scan-0", simple([node("Scan", ["z", "x"], ["y", "w"], body=scan, num_scan_inputs=1)], [value("x", FLOAT, ("n", 3))], inits=init), {"x": X[:0]}, {"y": np.zeros(3, np.float32)})


growth_cases()
loop_cases()
end_cases()
empty_cases()
