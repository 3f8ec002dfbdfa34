# SPDX-License-Identifier: Apache-2.0
"""The benchmark's models, with random weights, made once and kept in a folder: make(name, folder, size) gives the path.

`size` decides depth and width: `base` is what the rows are named after, `quick` has two layers of the same width, `tiny`
is for trying the benchmark itself.
"""
import dataclasses
import os
import sys
import pathlib

import numpy as np
import onnx
from onnx import TensorProto, helper

sys.path.append(str(pathlib.Path(__file__).resolve().parent.parent / "tools"))
import make_bert  # noqa: E402
import make_gpt2  # noqa: E402


@dataclasses.dataclass(frozen=True)
class Sizes:
    layers: int
    hidden: int
    heads: int
    vocabulary: int
    gpt2_vocabulary: int
    positions: int = 512

    def arguments(self, vocabulary):
        return ["--layers", str(self.layers), "--hidden", str(self.hidden), "--heads", str(self.heads),
                "--vocab", str(vocabulary)]


SIZES = {"base": Sizes(12, 768, 12, 30522, 50257), "quick": Sizes(2, 768, 12, 30522, 50257),
         "tiny": Sizes(2, 64, 4, 1000, 1000)}
SMALLER = {"base": Sizes(6, 384, 12, 30522, 0), "quick": Sizes(2, 384, 12, 30522, 0), "tiny": Sizes(2, 32, 4, 1000, 0)}
FFN = 4  # times the hidden size


def bert(path, sizes, *more):
    make_bert.make([os.fspath(path), *sizes.arguments(sizes.vocabulary), "--intermediate", str(FFN * sizes.hidden),
                    "--positions", str(sizes.positions), *more])


def quantise(path, source):
    from onnxruntime.quantization import QuantType, quantize_dynamic

    quantize_dynamic(source, path, weight_type=QuantType.QInt8)


def bare_products(path, sizes):
    """The matrix products of the layers and nothing else: what no engine can beat with its kernels."""
    h, width, rng = sizes.hidden, sizes.hidden // sizes.heads, np.random.default_rng(0)
    nodes, weights, outputs = [], [], []

    def product(a, b, to):
        nodes.append(helper.make_node("MatMul", [a, b], [to], name="/" + to))
        return to

    def weight(name, rows, columns):
        values = rng.standard_normal((rows, columns), np.float32) * np.float32(1 / np.sqrt(rows))
        weights.append(helper.make_tensor(name, TensorProto.FLOAT, values.shape, values.tobytes(), raw=True))
        return name

    x, query = "x", "query"
    for i in range(sizes.layers):
        outputs.append((product(x, weight(f"qkv.{i}", h, 3 * h), f"qkv_out.{i}"), ["tokens", 3 * h]))
        scores = product(query, "key", f"scores.{i}")
        query = product(scores, "value", f"context.{i}")
        x = product(x, weight(f"projection.{i}", h, h), f"projected.{i}")
        x = product(x, weight(f"up.{i}", h, FFN * h), f"wide.{i}")
        x = product(x, weight(f"down.{i}", FFN * h, h), f"narrow.{i}")
    heads = ["batch", sizes.heads, "sequence", width]
    outputs += [(x, ["tokens", h]), (query, heads)]
    info = lambda name, dims: helper.make_tensor_value_info(name, TensorProto.FLOAT, dims)
    inputs = [info("x", ["tokens", h]), info("query", heads), info("value", heads),
              info("key", ["batch", sizes.heads, width, "sequence"])]
    graph = helper.make_graph(nodes, "bare_products", inputs, [info(*o) for o in outputs], weights)
    onnx.save(helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 14)]), path)


def gpt2(path, sizes):
    make_gpt2.make([os.fspath(path), *sizes.arguments(sizes.gpt2_vocabulary)])


BUILDERS = {
    "bert": lambda path, size: bert(path, SIZES[size]),
    "bert-cls": lambda path, size: bert(path, SIZES[size], "--head", "cls"),
    "bert-mlm": lambda path, size: bert(path, SIZES[size], "--head", "mlm"),
    "bert-int8": lambda path, size: quantise(path, make("bert", path.parent, size)),
    "bert-products": lambda path, size: bare_products(path, SIZES[size]),
    "minilm": lambda path, size: bert(path, SMALLER[size]),
    "minilm-int8": lambda path, size: quantise(path, make("minilm", path.parent, size)),
    "gpt2": lambda path, size: gpt2(path, SIZES[size]),
}


def vocabulary(name, size):
    return SIZES[size].gpt2_vocabulary if name == "gpt2" else SIZES[size].vocabulary


def make(name, folder, size):
    path = folder / f"{name}-{size}.onnx"
    if not path.exists():
        part = folder / f"part-{path.name}"
        BUILDERS[name](part, size)
        part.rename(path)
    return path
