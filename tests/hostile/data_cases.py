# SPDX-License-Identifier: Apache-2.0
"""External data, and what tensors claim."""
import os
from frame import *

W = np.array([1, 2, 3], np.float32)
DATA = W.tobytes()
ADD = [node("Add", ["x", "w"])]


def link(target):
    return lambda path: os.symlink(target, path)


def external_cases():
    g = "5-external"

    def m(**entries):
        return simple(ADD, inits=[external("w", FLOAT, (3,), **entries)])

    def ok(name, data, files, **more):
        runs(g, name, data, {"x": X}, {"y": X + W}, files=files, **more)

    def bad(name, data, files=None, **more):
        refused(g, name, data, {"x": X}, files=files or {"w.bin": DATA}, **more)

    ok("beside", m(location="w.bin"), {"w.bin": DATA})
    ok("offset", m(location="w.bin", offset=5, length=12), {"w.bin": b"12345" + DATA + b"tail"})
    ok("no-length", m(location="w.bin", offset=5), {"w.bin": b"12345" + DATA + b"tail"})
    ok("subfolder", m(location="a/b/w.bin"), {"a/b/w.bin": DATA})
    ok("dot-slash", m(location="./w.bin"), {"w.bin": DATA})
    ok("dots-in-name", m(location="..w..bin.."), {"..w..bin..": DATA})
    ok("checksum", m(location="w.bin", checksum="abcdef", basepath="x"), {"w.bin": DATA})
    ok("leading-zeros", m(location="w.bin", offset="0005", length="00012"), {"w.bin": b"12345" + DATA})
    args = ["run", "sub/model.onnx", "--input", "x=x.npy"]
    runs(g, "other-working-directory", m(location="w.bin"), expect={"y": X + W}, file="sub/model.onnx", args=args,
         files={"sub/w.bin": DATA, "w.bin": b"\0" * 12, "x.npy": npy(X)})
    refused(g, "only-in-working-directory", m(location="w.bin"), file="sub/model.onnx", args=args,
            files={"w.bin": DATA, "x.npy": npy(X)})
    runs(g, "hugging-face-cache", None, expect={"y": X + W}, args=["run", "snapshots/1/model.onnx", "--input", "x=x.npy"],
         file="unused", files={"unused": b"", "blobs/aa": m(location="model.onnx_data"), "blobs/bb": DATA, "x.npy": npy(X),
                               "snapshots/1/model.onnx": link("../../blobs/aa"), "snapshots/1/model.onnx_data": link("../../blobs/bb")})
    runs(g, "hugging-face-folder", None, expect={"y": X + W}, args=["run", "snapshots/1/onnx/model.onnx", "--input", "x=x.npy"],
         file="unused", files={"unused": b"", "blobs/aa": m(location="model.onnx_data"), "blobs/bb": DATA, "x.npy": npy(X),
                               "snapshots/1/onnx/model.onnx": link("../../../blobs/aa"), "snapshots/1/onnx/model.onnx_data": link("../../../blobs/bb")})
    runs(g, "model-is-link", None, expect={"y": X + W}, args=["run", "a/model.onnx", "--input", "x=x.npy"], file="unused",
         files={"unused": b"", "b/m": m(location="w.bin"), "b/w.bin": DATA, "x.npy": npy(X), "a/model.onnx": link("../b/m")})
    ok("link-inside", m(location="w.bin"), {"sub/real": DATA, "w.bin": link("sub/real")})
    ok("folder-link-inside", m(location="l/w.bin"), {"sub/w.bin": DATA, "l": link("sub")})
    runs(g, "folder-reached-by-link", None, expect={"y": X + W}, args=["run", "l/model.onnx", "--input", "x=x.npy"], file="unused",
         files={"unused": b"", "d/model.onnx": m(location="w.bin"), "d/w.bin": DATA, "x.npy": npy(X), "l": link("d")})
    runs(g, "scalar", simple([node("Add", ["x", "w"])], inits=[external("w", FLOAT, (), location="w.bin", length=4)]), {"x": X}, {"y": X + 1}, files={"w.bin": DATA})
    runs(g, "shape", simple([node("Reshape", ["x", "s"])], inits=[external("s", INT64, (2,), location="s.bin")]), {"x": X},
         {"y": X.reshape(3, 2)}, files={"s.bin": np.array([3, 2], np.int64).tobytes()})
    runs(g, "constant-node", simple([node("Constant", [], ["w"], value=Tensor(external("", FLOAT, (3,), location="w.bin"))), *ADD]), {"x": X}, {"y": X + W}, files={"w.bin": DATA})
    runs(g, "bool", simple([node("Where", ["c", "x", "w"])], inits=[external("c", BOOL, (3,), location="c.bin"), tensor("w", W)]), {"x": X},
         {"y": np.where([True, False, True], X, W)}, files={"c.bin": b"\2\0\1"})
    runs(g, "empty-tensor", simple([node("Concat", ["x", "w"], axis=0)], inits=[external("w", FLOAT, (0, 3), location="w.bin", length=0)]), {"x": X}, {"y": X}, files={"w.bin": b""})
    runs(g, "many-tensors", lambda: simple([node("Sum", ["x"] + [f"w{i}" for i in range(3000)])], inits=[external(f"w{i}", FLOAT, (3,), location="w.bin", offset=4 * i) for i in range(3000)]),
         {"x": X}, files={"w.bin": np.zeros(4000, np.float32).tobytes()})
    bad("absolute", m(location="/etc/passwd"))
    bad("absolute-slashes", m(location="//etc/passwd"))
    for i, up in enumerate(("../w.bin", "sub/../w.bin", "sub/../../w.bin", "..", "./../w.bin", "sub/..", "a/.././w.bin")):
        bad(f"up-{i}", m(location=up), {"w.bin": DATA, "sub/w.bin": DATA, "a/w.bin": DATA})
    bad("empty-location", m(location=""))
    bad("no-location", simple(ADD, inits=[external("w", FLOAT, (3,), offset=0)]))
    bad("no-entries", simple(ADD, inits=[tensor("w", None, FLOAT, (3,), extra=num(14, 1))]))
    bad("folder", m(location="sub"), {"sub/w.bin": DATA})
    bad("dot", m(location="."))
    bad("slash-at-end", m(location="w.bin/"))
    bad("nul", m(location="w.bin\0x"))
    bad("nul-link", m(location="w.bin\0/../../x"))
    bad("newline", m(location="w\n.bin"))
    bad("backslash-up", m(location="..\\w.bin"))
    bad("missing", m(location="v.bin"))
    bad("case", m(location="W.BIN"))
    bad("percent", m(location="%n%n%s"))
    bad("url", m(location="http://localhost/w.bin"))
    bad("file-url", m(location="file:///etc/passwd"))
    bad("long", m(location="a" * 100000))
    bad("long-path", m(location="a/" * 3000 + "w.bin"))
    bad("fifo", m(location="w.bin"), {"w.bin": lambda p: os.mkfifo(p)})
    bad("device", m(location="w.bin"), {"w.bin": link("/dev/zero")})
    bad("proc", m(location="w.bin"), {"w.bin": link("/proc/self/mem")})
    bad("link-out", m(location="w.bin"), {"w.bin": link("/etc/passwd")})
    bad("link-out-up", None, {"unused": b"", "m/model.onnx": m(location="w.bin"), "w.bin": DATA, "m/w.bin": link("../w.bin"), "x.npy": npy(X)}, file="unused", args=["run", "m/model.onnx", "--input", "x=x.npy"])
    bad("folder-link-out", None, {"unused": b"", "m/model.onnx": m(location="l/w.bin"), "o/w.bin": DATA, "m/l": link("../o"), "x.npy": npy(X)}, file="unused", args=["run", "m/model.onnx", "--input", "x=x.npy"])
    bad("sibling-prefix", None, {"unused": b"", "m/model.onnx": m(location="w.bin"), "m2/w.bin": DATA, "m/w.bin": link("../m2/w.bin"), "x.npy": npy(X)}, file="unused", args=["run", "m/model.onnx", "--input", "x=x.npy"])
    bad("target-subfolder", None, {"unused": b"", "s/model.onnx": link("../b/aa"), "b/aa": m(location="w.bin"), "b/deep/w": DATA, "s/w.bin": link("../b/deep/w"), "x.npy": npy(X)}, file="unused", args=["run", "s/model.onnx", "--input", "x=x.npy"])
    bad("link-loop", m(location="w.bin"), {"w.bin": link("w.bin")})
    bad("link-dangling", m(location="w.bin"), {"w.bin": link("nothing")})
    bad("too-short", m(location="w.bin"), {"w.bin": DATA[:11]})
    bad("empty-file", m(location="w.bin"), {"w.bin": b""})
    for i, off in enumerate(("4", "12", "13", "-1", "+0", " 0", "0 ", "0x0", "1e0", "0.0", "", "18446744073709551604",
                             "18446744073709551616", "9223372036854775807", "99999999999999999999999", "0\n", "\u0660", "0\0")):
        bad(f"offset-{i}", m(location="w.bin", offset=off))
    for i, length in enumerate(("11", "13", "-12", "+12", " 12", "12 ", "0xc", "1.2e1", "", "0", "18446744073709551628", "12\0", "4294967308")):
        bad(f"length-{i}", m(location="w.bin", length=length))
    bad("offset-length-wrap", m(location="w.bin", offset="18446744073709551610", length=12))
    bad("huge-claim", simple(ADD, inits=[external("w", FLOAT, (1 << 40,), location="w.bin")]))
    bad("wrapping-claim", simple(ADD, inits=[external("w", FLOAT, ((1 << 62) + 3,), location="w.bin")]))
    bad("and-raw", simple(ADD, inits=[external("w", FLOAT, (3,), location="w.bin") + blob(9, DATA)]))
    bad("and-float-data", simple(ADD, inits=[external("w", FLOAT, (3,), location="w.bin") + blob(4, DATA)]))
    bad("strings", simple([node("Relu", ["x"])], inits=[external("w", STRING, (3,), location="w.bin")]))
    bad("location-kind", simple(ADD, inits=[tensor("w", W, extra=num(14, 7))]))
    bad("location-kind-64-bit", simple(ADD, inits=[tensor("w", W, extra=num(14, 1 << 32))]))
    bad("location-twice", simple(ADD, inits=[external("w", FLOAT, (3,), location="w.bin") + blob(13, blob(1, "location") + blob(2, "v.bin"))]))
    runs(g, "entries-but-default-location", simple(ADD, inits=[tensor("w", W, extra=blob(13, blob(1, "location") + blob(2, "/etc/passwd")))]), {"x": X}, {"y": X + W})
    text = '<ir_version: 8, opset_import: ["" : 17]> g (float[2,3] x) => (float[2,3] y) <float[3] w = ["location": "%s"]> { y = Add(x, w) }'
    add(g, "text-beside", "run", text % "w.bin", {"x": X}, {"y": X + W}, files={"w.bin": DATA}, file="model.onnxtxt")
    add(g, "text-up", "refuse", text % "../w.bin", {"x": X}, files={"w.bin": DATA}, file="model.onnxtxt")
    add(g, "text-absolute", "refuse", text % "/etc/passwd", {"x": X}, file="model.onnxtxt")


def claim_cases():
    g = "6-claims"

    def w(t):
        return simple(ADD, inits=[t])

    def bad(name, t):
        refused(g, name, w(t), {"x": X})

    bad("wrap-62", tensor("w", None, FLOAT, ((1 << 62) + 80,), raw=b"\0" * 320))
    bad("wrap-32-32", tensor("w", None, FLOAT, (1 << 32, 1 << 32), raw=b""))
    bad("wrap-to-3", tensor("w", None, FLOAT, ((1 << 62) + 1, 3), raw=DATA))
    bad("negative-pair", tensor("w", None, FLOAT, (-40, -8), raw=b"\0" * 1280))
    bad("negative", tensor("w", None, FLOAT, (-3,), raw=DATA))
    bad("minus-one", tensor("w", None, FLOAT, (-1,), raw=DATA))
    bad("huge", tensor("w", None, FLOAT, (10 ** 12,), raw=DATA))
    bad("huge-no-data", tensor("w", None, FLOAT, (10 ** 12,)))
    bad("huge-int4", tensor("w", None, 22, (1 << 62,), raw=DATA))
    bad("bits-wrap", tensor("w", None, DOUBLE, (1 << 58,), raw=DATA))
    bad("short", tensor("w", None, FLOAT, (3,), raw=DATA[:-1]))
    bad("long", tensor("w", None, FLOAT, (3,), raw=DATA + b"\0"))
    bad("no-data", tensor("w", None, FLOAT, (3,)))
    bad("raw-and-float", tensor("w", None, FLOAT, (3,), raw=DATA, extra=blob(4, DATA)))
    bad("float-and-int", tensor("w", None, FLOAT, (3,), extra=blob(4, DATA) + blob(7, b"\1\2\3")))
    bad("wrong-field", tensor("w", None, FLOAT, (3,), extra=blob(7, b"\1\2\3")))
    bad("too-many-floats", tensor("w", None, FLOAT, (3,), extra=blob(4, DATA + DATA)))
    bad("too-few-floats", tensor("w", None, FLOAT, (3,), extra=blob(4, DATA[:8])))
    bad("undefined-type", tensor("w", None, 0, (3,), raw=DATA))
    bad("unknown-type", tensor("w", None, 99, (3,), raw=DATA))
    bad("negative-type", tensor("w", None, -1, (3,), raw=DATA))
    bad("segment", tensor("w", W, extra=blob(3, num(1, 0) + num(2, 3))))
    bad("string-raw", tensor("w", None, STRING, (3,), raw=DATA))
    bad("rank-100", tensor("w", None, FLOAT, (1,) * 100, raw=DATA[:4]))
    add(g, "zero-and-huge", "any", w(tensor("w", None, FLOAT, (0, 1 << 62, 1 << 62), raw=b"")), {"x": X})
    add(g, "int8-out-of-range", "any", simple([node("Cast", ["w"], to=1)], inits=[tensor("w", None, INT8, (1,), extra=blob(5, varint(300)))]))
    bad("int32-out-of-range", tensor("w", None, INT32, (1,), extra=blob(5, varint(1 << 40))))

    def folds(name, nodes, inits, expect, dtype=FLOAT, version=21):
        runs(g, name, model(graph(nodes, [], [value("y", dtype)], inits), version), None, {"y": np.asarray(expect)})

    folds("zero-dim", [node("Concat", ["w", "v"], axis=0)], [tensor("w", None, FLOAT, (0,)), tensor("v", W)], W)
    folds("scalar-raw", [node("Add", ["w", "w"])], [tensor("w", None, FLOAT, (), raw=DATA[:4])], np.float32(2))
    folds("bool-2", [node("Cast", ["w"], to=7)], [tensor("w", None, BOOL, (3,), raw=b"\2\0\xff")], np.array([1, 0, 1]), INT64)
    folds("bool-2-not", [node("Not", ["w"])], [tensor("w", None, BOOL, (3,), raw=b"\2\0\xff")], np.array([False, True, False]), BOOL)
    folds("bool-2-equal", [node("Equal", ["w", "v"])], [tensor("w", None, BOOL, (2,), raw=b"\2\4"), tensor("v", np.array([True, True]))], np.array([True, True]), BOOL)
    folds("bool-int32-data", [node("Cast", ["w"], to=7)], [tensor("w", None, BOOL, (3,), extra=blob(5, varint(256) + varint(0) + varint(-1)))], np.array([1, 0, 1]), INT64)
    folds("int4-odd", [node("Cast", ["w"], to=7)], [tensor("w", None, 22, (3,), raw=b"\x21\xff")], np.array([1, 2, -1]), INT64)
    folds("half-bits", [node("Cast", ["w"], to=1)], [tensor("w", None, FLOAT16, (2,), extra=blob(5, varint(0x3C00) + varint(0xC000)))], np.array([1, -2], np.float32))
    folds("int64-field", [node("Neg", ["w"])], [tensor("w", None, INT64, (2,), extra=blob(7, varint(5) + varint(-(1 << 62))))], np.array([-5, 1 << 62]), INT64)
    folds("uint32-field", [node("Cast", ["w"], to=7)], [tensor("w", None, 12, (1,), extra=blob(11, varint((1 << 32) - 1)))], np.array([(1 << 32) - 1]), INT64)
    folds("double-field", [node("Neg", ["w"])], [tensor("w", None, DOUBLE, (1,), extra=blob(10, np.array([2.5]).tobytes()))], np.array([-2.5]), DOUBLE)
    runs(g, "unused-strings", simple([node("Relu", ["x"])], inits=[tensor("w", None, STRING, (2,), extra=blob(6, "a") + blob(6, "b"))]), {"x": X}, {"y": np.maximum(X, 0)})
    runs(g, "unused-complex", simple([node("Relu", ["x"])], inits=[tensor("w", None, 14, (1,), raw=b"\0" * 8)]), {"x": X}, {"y": np.maximum(X, 0)})

    def sparse(values, indices, dims):
        return blob(1, values) + blob(2, indices) + blob(3, b"".join(varint(d) for d in dims))

    def sp(s):
        return model(graph(ADD, [value("x", FLOAT, (2, 3))], [value("y", FLOAT)], extra=blob(15, s)))

    runs(g, "sparse", sp(sparse(tensor("w", W[:1]), ints("", 4), (2, 3))), {"x": X}, {"y": X + np.array([[0, 0, 0], [0, 1, 0]], np.float32)})
    runs(g, "sparse-coordinates", sp(sparse(tensor("w", W[:1]), tensor("", np.array([[1, 2]])), (2, 3))), {"x": X}, {"y": X + np.array([[0, 0, 0], [0, 0, 1]], np.float32)})
    runs(g, "sparse-empty", sp(sparse(tensor("w", W[:0]), tensor("", np.zeros(0, np.int64)), (2, 3))), {"x": X}, {"y": X})
    for name, s in (("index-high", sparse(tensor("w", W[:1]), ints("", 6), (2, 3))), ("index-negative", sparse(tensor("w", W[:1]), ints("", -1), (2, 3))),
                    ("index-min", sparse(tensor("w", W[:1]), ints("", -(1 << 63)), (2, 3))), ("coordinate-high", sparse(tensor("w", W[:1]), tensor("", np.array([[0, 3]])), (2, 3))),
                    ("dims-huge", sparse(tensor("w", W[:1]), ints("", 0), (1 << 20, 1 << 20))), ("dims-wrap", sparse(tensor("w", W[:1]), ints("", 0), (1 << 32, 1 << 32))),
                    ("dims-negative", sparse(tensor("w", W[:1]), ints("", 0), (-2, -3))), ("count", sparse(tensor("w", W), ints("", 0), (2, 3))),
                    ("index-type", sparse(tensor("w", W[:1]), tensor("", np.array([0], np.int32)), (2, 3))), ("no-values", blob(2, ints("", 0)) + blob(3, b"\2\3"))):
        refused(g, f"sparse-{name}", sp(s), {"x": X})


external_cases()
claim_cases()
