# SPDX-License-Identifier: Apache-2.0
"""The wire: depth, amplification, agreement with protobuf, strings."""
from frame import *

RELU = node("Relu", ["x"])
POSITIVE = np.maximum(X, 0)
XI, YO = value("x", FLOAT, (2, 3)), value("y", FLOAT)


def nested_if(depth, kind="If"):
    """y = x through `depth` If nodes, each in the branch of the one before."""
    inner = graph([node("Relu", ["x"], ["r"])], [], [value("r", FLOAT)], name="leaf")
    for level in range(depth):
        out = f"v{level}"
        n = node(kind, ["c"], [out], then_branch=inner, else_branch=graph([], [], [value("x", FLOAT)]))
        inner = graph([n], [], [value(out, FLOAT)])
    top = node(kind, ["c"], ["y"], then_branch=inner, else_branch=graph([], [], [value("x", FLOAT)]))
    return simple([top], inits=[tensor("c", np.array(True))])


def deep_bytes(depth, field):
    data = b""
    for _ in range(depth):
        data = blob(field, data)
    return data


def nested_graphs(depth):
    data = b""
    for _ in range(depth):
        data = blob(1, blob(4, "If") + blob(5, blob(1, "then_branch") + blob(6, data) + num(20, 5)))
    return model(data)


def nested_type(depth):
    t = tensor_type(FLOAT)
    for _ in range(depth):
        t = blob(4, blob(1, t))
    return t


def depth_cases():
    g = "1-depth"
    for n in (1, 10, 28):
        runs(g, f"if-{n}", nested_if(n), {"x": X}, {"y": POSITIVE})
    for n in (40, 200, 2000):
        refused(g, f"if-{n}", lambda n=n: nested_if(n), {"x": X})
    refused(g, "graphs-20000", lambda: nested_graphs(20000), {"x": X})
    runs(g, "unknown-field-deep", simple([RELU]) + blob(999, deep_bytes(20000, 1)), {"x": X}, {"y": POSITIVE})
    runs(g, "unknown-field-deep-in-node", simple([RELU + blob(99, deep_bytes(5000, 5))]), {"x": X}, {"y": POSITIVE})
    runs(g, "group-1", simple([RELU]) + tag(50, 3) + num(1, 5) + tag(50, 4), {"x": X}, {"y": POSITIVE})
    runs(g, "group-50", simple([RELU]) + tag(50, 3) * 50 + tag(50, 4) * 50, {"x": X}, {"y": POSITIVE})
    refused(g, "group-200000", simple([RELU]) + tag(50, 3) * 200000 + tag(50, 4) * 200000, {"x": X})
    refused(g, "group-open", simple([RELU]) + tag(50, 3), {"x": X})
    refused(g, "group-crossed", simple([RELU]) + tag(50, 3) + tag(51, 3) + tag(50, 4) + tag(51, 4), {"x": X})
    runs(g, "type-10", model(graph([RELU], [XI], [YO], infos=[value("z", type=nested_type(10))])), {"x": X}, {"y": POSITIVE})
    for n in (200, 50000):
        refused(g, f"type-{n}", lambda n=n: model(graph([RELU], [XI], [YO], infos=[value("z", type=nested_type(n))])), {"x": X})
    refused(g, "type-deep-in-attribute", model(graph([node("Optional", [], ["y"], attrs=blob(5, blob(1, "type") + blob(14, nested_type(3000)) + num(20, 13)))], [], [YO])))
    refused(g, "function-body-deep", lambda: model(graph([node("F", ["x"], domain="f")], [XI], [YO]),
            functions=[function("F", ["x"], ["y"], [node("If", ["c"], ["y"], then_branch=deep_bytes(9000, 1))])]), {"x": X})
    text = "<ir_version: 8, opset_import: [\"\" : 17]> g (float[2,3] x) => (float[2,3] y) { y = If(c) <then_branch = "
    add(g, "text-graphs-5000", "refuse", text + "g () => () { y = If(c) <then_branch = " * 5000, file="model.onnxtxt")
    add(g, "text-types-5000", "refuse", "<ir_version: 8, opset_import: [\"\" : 17]> g (" + "seq(" * 5000 + "float" + ")" * 5000 + " x) => (float y) { y = Relu(x) }", file="model.onnxtxt")


def amplification_cases():
    g = "2-amplification"
    for name, field in (("nodes", 1), ("inputs", 11), ("initializers", 5), ("value-infos", 13), ("sparse", 15), ("outputs", 12)):
        add(g, f"empty-{name}", "any" if field == 13 else "refuse", lambda f=field: model(graph([RELU], [XI], [YO], extra=blob(f, b"") * 300000)), {"x": X})
        add(g, f"empty-{name}-4m", "any" if field == 13 else "refuse", lambda f=field: model(graph([RELU], [XI], [YO], extra=blob(f, b"") * 4000000)), {"x": X})
    add(g, "empty-attributes", "refuse", lambda: simple([node("Relu", ["x"], attrs=blob(5, b"") * 300000)]))
    add(g, "empty-attributes-4m", "refuse", lambda: simple([node("Relu", ["x"], attrs=blob(5, b"") * 4000000)]))
    add(g, "empty-names", "refuse", lambda: simple([node("Relu", ["x"] + [""] * 2000000, ["y"])]))
    add(g, "empty-output-names", "refuse", lambda: simple([node("Relu", ["x"], ["y"] + [""] * 2000000)]))
    add(g, "empty-strings-attribute", "any", lambda: simple([node("Relu", ["x"], attrs=blob(5, blob(1, "a") + blob(9, b"") * 3000000 + num(20, 8)))]), {"x": X})
    add(g, "empty-metadata", "any", lambda: simple([RELU]) + blob(14, b"") * 3000000, {"x": X})
    add(g, "empty-functions", "any", lambda: simple([RELU]) + blob(25, b"") * 2000000, {"x": X})
    add(g, "empty-opsets", "any", lambda: simple([RELU]) + blob(8, b"") * 2000000, {"x": X})
    add(g, "empty-training", "run", lambda: simple([RELU]) + blob(20, b"") * 2000000, {"x": X}, {"y": POSITIVE})
    add(g, "empty-dims", "any", lambda: model(graph([RELU], [value("x", type=blob(1, num(1, 1) + blob(2, blob(1, b"") * 3000000)))], [YO])), {"x": X})
    add(g, "tensor-dims", "any", lambda: simple([RELU], inits=[tensor("w", None, FLOAT, (), extra=blob(1, b"\1" * 3000000) + blob(9, b"abcd"))]), {"x": X})
    add(g, "tensor-empty-refs", "any", lambda: simple([RELU], inits=[tensor("w", None, FLOAT, (0,), extra=blob(4, b"") * 2000000)]), {"x": X})
    add(g, "tensor-alternating-refs", "any", lambda: simple([RELU], inits=[tensor("w", None, FLOAT, (1000000,), extra=(fixed32(4, 1) + num(77, 1)) * 1000000)]), {"x": X})
    add(g, "attribute-ints-varint", "any", lambda: simple([node("Relu", ["x"], attrs=blob(5, blob(1, "a") + blob(8, b"\1" * 6000000) + num(20, 7)))]), {"x": X})
    add(g, "split-message", "any", lambda: num(1, 8) + blob(8, opset(17)) + blob(7, graph([RELU], [XI], [YO])) + blob(7, b"") * 1000000, {"x": X})
    add(g, "split-message-deep", "any", lambda: num(1, 8) + blob(8, opset(17)) + blob(7, graph([RELU], [], [YO]) + blob(11, blob(1, "x") + blob(2, tensor_type(FLOAT, (2, 3))) + blob(2, blob(1, blob(2, b""))) * 100000)), {"x": X})


def agreement_cases():
    g = "3-protobuf"
    head = num(1, 8) + blob(8, opset(17))
    body = graph([RELU], [XI], [YO])

    def ok(name, data, **more):
        runs(g, name, data, {"x": X}, {"y": POSITIVE}, **more)

    def bad(name, data):
        refused(g, name, data, {"x": X})

    ok("plain", head + blob(7, body))
    ok("reversed", blob(7, body) + blob(8, opset(17)) + num(1, 8))
    ok("ir-twice", num(1, 0) + num(1, 99) + head + blob(7, body))
    bad("ir-twice-bad-last", head + blob(7, body) + num(1, 0))
    ok("graph-split", head + blob(7, many(1, [RELU]) + many(11, [XI])) + blob(7, many(12, [YO]) + blob(2, "g")))
    ok("graph-split-interleaved", blob(7, many(1, [RELU])) + head + blob(7, many(11, [XI])) + blob(7, many(12, [YO])))
    ok("type-split", head + blob(7, graph([RELU], [blob(1, "x") + blob(2, blob(1, num(1, 1))) + blob(2, blob(1, blob(2, shape_of((2, 3)))))], [YO])))
    ok("shape-split", head + blob(7, graph([RELU], [blob(1, "x") + blob(2, blob(1, num(1, 1) + blob(2, shape_of((2,))) + blob(2, shape_of((3,)))))], [YO])))
    ok("padded", num(1, 8, 3) + blob(8, opset(17), 4) + blob(7, body, 3))
    ok("padded-tags", b"\x88\x80\x00" + varint(8) + blob(8, opset(17)) + b"\xba\x80\x80\x00" + varint(len(body)) + body)
    bad("padded-11-bytes", num(1, 8, 10) + blob(8, opset(17)) + blob(7, body))
    bad("varint-endless", head + blob(7, body) + tag(1, 0) + b"\xff" * 20)
    ok("varint-ten-bytes", num(1, 8, 9) + blob(8, opset(17)) + blob(7, body))
    ok("unknown-fields", head + num(1000, 5) + blob(1001, b"junk") + fixed32(1002, 1.0) + tag(1003, 1) + b"12345678" +
       blob(7, body + num(99, 1)))
    ok("unknown-in-node", simple([RELU + num(77, 3) + blob(78, b"\xff\xff")]))
    ok("known-with-other-wire-type", head + fixed32(1, 1.0) + num(7, 5) + blob(7, body + num(1, 3)))
    ok("op-type-twice", simple([blob(4, "Nonsense") + node("Relu", ["x"])]))
    bad("op-type-twice-bad-last", simple([node("Relu", ["x"]) + blob(4, "Nonsense")]))
    ok("name-twice", head + blob(7, graph([RELU], [blob(1, "q") + XI], [YO])))
    ok("oneof-last", head + blob(7, graph([RELU], [blob(1, "x") + blob(2, blob(4, blob(1, tensor_type(7))) + tensor_type(FLOAT, (2, 3)))], [YO])))
    bad("oneof-sequence-last", head + blob(7, graph([RELU], [blob(1, "x") + blob(2, tensor_type(FLOAT, (2, 3)) + blob(4, blob(1, tensor_type(7))))], [YO])))
    ok("dim-oneof-last", head + blob(7, graph([RELU], [blob(1, "x") + blob(2, blob(1, num(1, 1) + blob(2, blob(1, num(1, 7) + blob(2, "n")) + blob(1, blob(2, "m") + num(1, 3)))))], [YO])))
    w = np.array([1, 2, 3], np.float32)
    sum_with = [node("Add", ["x", "w"])]

    def with_w(name, t, expect=X + w):
        runs(g, name, simple(sum_with, inits=[t]), {"x": X}, {"y": expect})

    def without_w(name, t):
        refused(g, name, simple(sum_with, inits=[t]), {"x": X})

    with_w("dims-packed", blob(1, varint(3)) + num(2, 1) + blob(8, "w") + blob(9, w.tobytes()))
    with_w("dims-two-runs", blob(1, varint(1)) + blob(1, varint(3)) + num(2, 1) + blob(8, "w") + blob(9, w.tobytes()))
    with_w("dims-mixed", num(1, 1) + blob(1, b"") + blob(1, varint(3)) + num(2, 1) + blob(8, "w") + blob(9, w.tobytes()))
    with_w("float-packed", tensor("w", None, FLOAT, (3,), extra=blob(4, w.tobytes())))
    with_w("float-unpacked", tensor("w", None, FLOAT, (3,), extra=b"".join(fixed32(4, v) for v in w)))
    with_w("float-pieces", tensor("w", None, FLOAT, (3,), extra=blob(4, w[:1].tobytes()) + fixed32(4, 2) + blob(4, b"") + blob(4, w[2:].tobytes())))
    without_w("float-packed-cut", tensor("w", None, FLOAT, (3,), extra=blob(4, w.tobytes()[:11])))
    with_w("raw-twice", tensor("w", None, FLOAT, (3,), extra=blob(9, b"abc") + blob(9, w.tobytes())))
    with_w("type-twice", num(2, 7) + tensor("w", w))
    without_w("type-twice-bad-last", tensor("w", w) + num(2, 7))
    for pad in range(1, 4):
        with_w(f"raw-unaligned-{pad}", tensor("w" , None, FLOAT, (3,), extra=blob(12, "d" * pad) + blob(9, w.tobytes())))
    runs(g, "ints-packed", simple([node("Transpose", ["x"], attrs=blob(5, blob(1, "perm") + blob(8, b"\1\0") + num(20, 7)))]), {"x": X}, {"y": X.T})
    runs(g, "ints-two-runs", simple([node("Transpose", ["x"], attrs=blob(5, blob(1, "perm") + blob(8, b"\1") + num(8, 0) + num(20, 7)))]), {"x": X}, {"y": X.T})
    bad("ints-packed-cut", simple([node("Transpose", ["x"], attrs=blob(5, blob(1, "perm") + blob(8, b"\1\x80") + num(20, 7)))]))
    runs(g, "i-twice", simple([node("Softmax", ["x"], attrs=blob(5, blob(1, "axis") + num(3, 9) + num(3, 1) + num(20, 2)))]), {"x": X})
    bad("attribute-without-type", simple([node("Softmax", ["x"], attrs=blob(5, blob(1, "axis") + num(3, 1)))]))
    runs(g, "attribute-without-type-ir-1", simple([node("Softmax", ["x"], attrs=blob(5, blob(1, "axis") + num(3, 1)))], ir=1), {"x": X})
    bad("attribute-type-99", simple([node("Softmax", ["x"], attrs=blob(5, blob(1, "axis") + num(3, 1) + num(20, 99)))]))
    bad("attribute-type-64-bit", simple([node("Softmax", ["x"], attrs=blob(5, blob(1, "axis") + num(3, 1) + num(20, (1 << 32) + 2)))]))
    bad("attribute-two-values", simple([node("Softmax", ["x"], attrs=blob(5, blob(1, "axis") + num(3, 1) + fixed32(2, 1.0) + num(20, 2)))]))
    bad("attribute-no-name", simple([node("Softmax", ["x"], attrs=blob(5, num(3, 1) + num(20, 2)))]))
    bad("elem-type-64-bit", model(graph([RELU], [value("x", type=blob(1, num(1, (1 << 32) + 1)))], [YO])))
    without_w("data-type-64-bit", tensor("w", None, (1 << 32) + 1, (3,), raw=w.tobytes()))
    whole = head + blob(7, body)
    for part in range(0, len(whole), max(1, len(whole) // 14)):
        bad(f"cut-{part}", whole[:part])
    bad("tag-zero", whole + b"\0\0")
    bad("wire-type-6", whole + bytes([(9 << 3) | 6]) + b"\1")
    bad("wire-type-7", whole + bytes([(9 << 3) | 7]) + b"\1")
    bad("end-group-alone", whole + tag(9, 4))
    bad("tag-too-large", whole + varint((1 << 35) | 2) + b"\0")
    bad("length-negative", whole + tag(9, 2) + varint((1 << 64) - 1))
    bad("length-2g", whole + tag(9, 2) + varint(1 << 31))
    bad("length-one-too-long", head + tag(7, 2) + varint(len(body) + 1) + body)
    bad("inner-length-too-long", head + blob(7, tag(1, 2) + varint(200) + RELU))
    for name, data in (("empty", b""), ("one-byte", b"\x08"), ("zeros", b"\0" * 1000000), ("ones", b"\xff" * 1000000),
                       ("text", b"hello world\n"), ("html", b"<!DOCTYPE html><html><body>404</body></html>"),
                       ("lfs", b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 12\n"),
                       ("zip", b"PK\3\4" + b"\0" * 40), ("gzip", b"\x1f\x8b\x08" + b"\0" * 40), ("npy", npy(X)),
                       ("safetensors", b"\x10\0\0\0\0\0\0\0{\"a\":{}}      "), ("json", b"{\"a\": 1}"), ("elf", b"\177ELF" + b"\2" * 60),
                       ("pickle", b"\x80\4\x95" + b"\0" * 30), ("bom-text", b"\xef\xbb\xbfhello")):
        bad(f"file-{name}", data)
    rng = np.random.default_rng(5)
    for i in range(12):
        bad(f"noise-{i}", rng.integers(0, 256, 50 + 400 * i, dtype=np.uint8).tobytes())
    def make_fifo(path):
        import os
        os.mkfifo(path)
    def make_loop(path):
        import os
        os.symlink(os.path.basename(path), path)
    def make_folder(path):
        import os
        os.makedirs(path)
    def make_null(path):
        import os
        os.symlink("/dev/zero", path)
    for name, make in (("fifo", make_fifo), ("link-loop", make_loop), ("empty-folder", make_folder), ("device", make_null)):
        refused(g, f"file-{name}", make)
    add(g, "file-missing", "refuse", b"", args=["run", "absent.onnx"], file="other")


ODD_NAMES = {"newline": "a\nb", "quote": "a'b\"c", "backslash": "a\\nb", "control": "a\x01\x02\x1b[31mb", "format": "%n%s%n%x%100000d",
             "markup": "<b>&amp;</b>", "spaces": "  ", "unicode": "größe-日本-\U0001F600", "rtl": "a\u202eb",
             "long": "n" * 1000000, "long-odd": "\n'" * 300000, "dot": ".", "slash": "/a/../b", "dash": "-x", "equals": "a=b"}


def string_cases():
    g = "4-strings"
    refused(g, "op-nul", simple([node("Relu\0x", ["x"])]), {"x": X})
    refused(g, "op-nul-first", simple([node("\0Relu", ["x"])]), {"x": X})
    refused(g, "op-space", simple([node("Relu ", ["x"])]), {"x": X})
    refused(g, "op-case", simple([node("relu", ["x"])]), {"x": X})
    refused(g, "op-empty", simple([node("", ["x"])]), {"x": X})
    refused(g, "domain-nul", simple([node("Relu", ["x"], domain="\0")]), {"x": X})
    refused(g, "domain-nul-after", simple([node("Relu", ["x"], domain="ai.onnx\0z")]), {"x": X})
    refused(g, "domain-space", simple([node("Relu", ["x"], domain=" ")]), {"x": X})
    refused(g, "import-nul-only", model(graph([RELU], [XI], [YO]), opsets=[opset(17, "\0")]), {"x": X})
    runs(g, "domain-ai-onnx", simple([node("Relu", ["x"], domain="ai.onnx")]), {"x": X}, {"y": POSITIVE})
    runs(g, "import-ai-onnx", model(graph([RELU], [XI], [YO]), opsets=[opset(17, "ai.onnx")]), {"x": X}, {"y": POSITIVE})
    runs(g, "names-with-nul", simple([node("Neg", ["x"], ["a\0x"]), node("Relu", ["x"], ["a\0y"]), node("Add", ["a\0x", "a\0y"])]),
         {"x": X}, {"y": POSITIVE - X})
    refused(g, "name-nul-undefined", simple([node("Neg", ["x"], ["a"]), node("Relu", ["a\0"])]), {"x": X})
    refused(g, "attribute-nul", simple([node("Concat", ["x", "x"], attrs=blob(5, blob(1, "axis\0") + num(3, 0) + num(20, 2)))]), {"x": X})
    refused(g, "string-attribute-nul", simple([node("Gelu", ["x"], attrs=blob(5, blob(1, "approximate") + blob(4, "tanh\0") + num(20, 3)))], version=20), {"x": X})
    for key, odd in ODD_NAMES.items():
        runs(g, f"value-{key}", simple([node("Neg", ["x"], [odd]), node("Neg", [odd], ["y"])]), {"x": X}, {"y": X})
        runs(g, f"node-{key}", simple([node("Relu", ["x"], name=odd)]), {"x": X}, {"y": POSITIVE})
        refused(g, f"bad-node-{key}", simple([node("Transpose", ["x"], name=odd, perm=[7, 7])]), {"x": X})
        refused(g, f"bad-op-{key}", simple([node("Q" + odd, ["x"])]), {"x": X})
        refused(g, f"bad-domain-{key}", simple([node("Relu", ["x"], domain="d" + odd)]), {"x": X})
        refused(g, f"bad-input-{key}", simple([node("Relu", [odd + "?"], name=odd)]), {"x": X})
        refused(g, f"missing-input-{key}", simple([node("Add", ["x", odd])], [XI, value(odd, FLOAT, (2, 3))]), {"x": X})
        runs(g, f"graph-name-{key}", model(graph([RELU], [XI], [YO], name=odd) + blob(10, odd), extra=blob(2, odd) + blob(3, odd) + blob(6, odd)), {"x": X}, {"y": POSITIVE})
        refused(g, f"bad-tensor-{key}", simple([RELU], inits=[tensor(odd, None, FLOAT, (3,), raw=b"ab")]), {"x": X})
        refused(g, f"bad-attribute-{key}", simple([node("Relu", ["x"], attrs=blob(5, blob(1, odd) + num(20, 99)))]), {"x": X})
        runs(g, f"dimension-{key}", simple([RELU], [value("x", FLOAT, (odd, 3))]), {"x": X}, {"y": POSITIVE})
    for key, odd in {"broken": b"\xff\xfe", "cut": b"a\xe2\x82", "surrogate": b"\xed\xa0\x80", "overlong": b"\xc1\x81"}.items():
        odd = odd.decode("utf-8", "surrogateescape")
        runs(g, f"utf8-value-{key}", simple([node("Neg", ["x"], [odd]), node("Neg", [odd], ["y"])]), {"x": X}, {"y": X})
        refused(g, f"utf8-op-{key}", simple([node("Relu" + odd, ["x"])]), {"x": X})
    add(g, "utf8-c080", "any", simple([node("Neg", ["x"], [b"a\xc0\x80".decode("utf-8", "surrogateescape")]), RELU]))


depth_cases()
amplification_cases()
agreement_cases()
string_cases()
