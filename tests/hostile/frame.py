# SPDX-License-Identifier: Apache-2.0
"""Protobuf written by hand, so that everything a file can say can be said, and the list of cases.

A case is a folder with a model and its input files, a verdict ("run" or "refuse"), and the arguments of the command.
"""
import numpy as np

CASES = []
FLOAT, UINT8, INT8, INT32, INT64, STRING, BOOL, FLOAT16, DOUBLE = 1, 2, 3, 6, 7, 8, 9, 10, 11
DTYPES = {"f4": FLOAT, "u1": UINT8, "i1": INT8, "u2": 4, "i2": 5, "i4": INT32, "i8": INT64, "b1": BOOL, "f2": FLOAT16,
          "f8": DOUBLE, "u4": 12, "u8": 13}
X = np.arange(6, dtype=np.float32).reshape(2, 3) - 2


class Case:
    def __init__(self, group, name, verdict, files, args, expect):
        self.group, self.name, self.verdict, self.files, self.args, self.expect = group, name, verdict, files, args, expect


def add(group, name, verdict, model, inputs=None, expect=None, files=None, args=None, file="model.onnx"):
    """`model`: bytes or a function that makes them. `inputs`: arrays by name, fed as .npy. `expect`: arrays by the
    outputs' names, or None for whatever comes out. `files`: more files by path: bytes, or functions of that path."""
    everything = dict(files or {})
    everything[file] = model
    command = ["run", file] if args is None else list(args)
    if args is None:
        for i, (key, value) in enumerate((inputs or {}).items()):
            everything[f"in{i}.npy"] = npy(value)
            command += ["--input", f"{key}=in{i}.npy"]
    CASES.append(Case(group, name, verdict, everything, command, expect))


def runs(group, name, model, inputs=None, expect=None, **more):
    add(group, name, "run", model, inputs, expect, **more)


def refused(group, name, model, inputs=None, **more):
    add(group, name, "refuse", model, inputs, **more)


def npy(array):
    import io
    out = io.BytesIO()
    np.save(out, np.asarray(array), allow_pickle=False)
    return out.getvalue()


# ---- the wire ----

def varint(value, pad=0):
    value &= (1 << 64) - 1
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    for _ in range(pad):
        out[-1] |= 0x80
        out.append(0)
    return bytes(out)


def tag(field, wire):
    return varint(field << 3 | wire)


def num(field, value, pad=0):
    return tag(field, 0) + varint(value, pad)


def fixed32(field, value):
    return tag(field, 5) + np.float32(value).tobytes()


def blob(field, data, pad=0):
    if isinstance(data, str):
        data = data.encode("utf-8", "surrogateescape")
    return tag(field, 2) + varint(len(data), pad) + data


def many(field, items):
    return b"".join(blob(field, i) for i in items)


# ---- ONNX's messages ----

def tensor(name, array=None, dtype=None, dims=None, raw=None, extra=b""):
    if array is not None:
        array = np.asarray(array)
        dtype = DTYPES[array.dtype.newbyteorder("=").str[1:]] if dtype is None else dtype
        dims = array.shape if dims is None else dims
        raw = array.tobytes() if raw is None else raw
    out = b"".join(num(1, d) for d in dims or ()) + num(2, dtype) + blob(8, name)
    return out + (blob(9, raw) if raw is not None else b"") + extra


def external(name, dtype, dims, **entries):
    pairs = b"".join(blob(13, blob(1, k) + blob(2, str(v))) for k, v in entries.items())
    return tensor(name, None, dtype, dims, extra=pairs + num(14, 1))


def shape_of(dims):
    return b"".join(blob(1, num(1, d) if isinstance(d, int) else blob(2, d) if d else b"") for d in dims)


def tensor_type(dtype, dims=None):
    return blob(1, num(1, dtype) + (blob(2, shape_of(dims)) if dims is not None else b""))


def value(name, dtype=FLOAT, dims=None, type=None):
    return blob(1, name) + blob(2, tensor_type(dtype, dims) if type is None else type)


def attr(name, v, kind=None):
    """An attribute with the type that its value in Python suggests; `kind` overrides the type's number."""
    if isinstance(v, bool) or isinstance(v, int):
        body, number = num(3, v), 2
    elif isinstance(v, float):
        body, number = fixed32(2, v), 1
    elif isinstance(v, str):
        body, number = blob(4, v), 3
    elif isinstance(v, Tensor):
        body, number = blob(5, v.data), 4
    elif isinstance(v, bytes):
        body, number = blob(6, v), 5
    elif v and isinstance(v[0], float):
        body, number = b"".join(fixed32(7, i) for i in v), 6
    elif v and isinstance(v[0], str):
        body, number = many(9, v), 8
    else:
        body, number = b"".join(num(8, i) for i in v), 7
    return blob(1, name) + body + num(20, number if kind is None else kind)


class Tensor:
    def __init__(self, data):
        self.data = data


def node(op, inputs=(), outputs=("y",), name="", domain="", attrs=b"", **kw):
    """`attrs`: fields already encoded; `kw`: attributes by name."""
    out = many(1, inputs) + many(2, outputs) + (blob(3, name) if name else b"") + blob(4, op)
    out += b"".join(blob(5, attr(k, v)) for k, v in kw.items()) + attrs
    return out + (blob(7, domain) if domain else b"")


def graph(nodes, inputs=(), outputs=(), inits=(), infos=(), name="g", extra=b""):
    return (many(1, nodes) + blob(2, name) + many(5, inits) + many(11, inputs) + many(12, outputs) + many(13, infos) +
            extra)


def opset(version, domain=""):
    return (blob(1, domain) if domain else b"") + num(2, version)


def model(g, version=17, ir=8, opsets=None, functions=(), extra=b""):
    opsets = [opset(version)] if opsets is None else opsets
    return num(1, ir) + blob(7, g) + many(8, opsets) + many(25, functions) + extra


def function(name, inputs, outputs, nodes, domain="f", version=17, attributes=(), defaults=(), opsets=None):
    opsets = [opset(version), opset(1, "f")] if opsets is None else opsets
    return (blob(1, name) + many(4, inputs) + many(5, outputs) + many(6, attributes) + many(7, nodes) +
            many(9, opsets) + blob(10, domain) + many(11, defaults))


def simple(nodes, inputs=None, outputs=None, inits=(), version=17, functions=(), dtype=FLOAT, **kw):
    """x float[2, 3] -> nodes -> y."""
    inputs = [value("x", FLOAT, (2, 3))] if inputs is None else inputs
    outputs = [value("y", dtype)] if outputs is None else outputs
    opsets = [opset(version)] + ([opset(1, "f")] if functions else [])
    return model(graph(nodes, inputs, outputs, inits), functions=functions, opsets=kw.pop("opsets", opsets), **kw)


def ints(name, *values):
    return tensor(name, np.array(values, np.int64))
