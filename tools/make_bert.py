#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Make a BERT of any size with random weights as an ONNX file, node for node as PyTorch's TorchScript exporter does.

Needs numpy and onnx only. The benchmark and the tests use it where a real export would need gigabytes of PyTorch:
weights that are stored outside the model are written as they are drawn, so a 3 GB model needs little memory.
The same seed gives the same weights whatever the storage, opset or number of layers.

    make_bert.py base.onnx                                        BERT-base: 12 layers, 768 wide
    make_bert.py large.onnx --size large --external-data          weights in large.onnx.data
    make_bert.py tiny.onnx --layers 2 --hidden 64 --heads 4 --intermediate 256 --vocab 1000 --head mlm --opset 14
"""
import argparse
import pathlib
import zlib

import numpy as np
import onnx
from onnx import TensorProto, helper

SIZES = {  # layers, hidden, heads, intermediate
    "tiny": (2, 128, 2, 512),
    "mini": (4, 256, 4, 1024),
    "small": (4, 512, 8, 2048),
    "minilm": (6, 384, 12, 1536),
    "base": (12, 768, 12, 3072),
    "large": (24, 1024, 16, 4096),
}
IR_VERSION = {11: 6, 12: 7, 13: 7, 14: 7, 15: 8, 16: 8, 17: 8, 18: 8, 19: 9, 20: 9}
PAGE = 4096  # external tensors start on a page, so that each can be mapped alone
EXTERNAL_MIN = 1024  # smaller tensors stay in the model, as exporters do
FLOAT_MIN = np.float32(np.finfo(np.float32).min)


class Weights:
    """Draws each tensor from its own generator and puts it into the model or a file beside it."""

    def __init__(self, path, seed, storage):
        self.folder, self.seed, self.storage = path.parent, seed, storage
        self.location = path.name + ".data"
        self.tensors, self.elements = [], 0
        self.file = open(self.folder / self.location, "wb") if storage == "one" else None

    def draw(self, source, shape, mean, std):
        """Normal numbers that depend on the seed and on `source`, the parameter's name in PyTorch."""
        rng = np.random.default_rng([self.seed, zlib.crc32(source.encode())])
        values = rng.standard_normal(shape, dtype=np.float32)
        values *= np.float32(std)
        values += np.float32(mean)
        return values

    def add(self, name, source, shape, mean=0.0, std=0.02, transposed=False):
        values = self.draw(source, shape, mean, std)
        if transposed:
            values = np.ascontiguousarray(values.T)
        tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=values.shape)
        self.elements += values.size
        if self.storage == "none" or values.nbytes < EXTERNAL_MIN:
            tensor.raw_data = values.tobytes()
        else:
            self.write_outside(tensor, values)
        self.tensors.append(tensor)
        return name

    def write_outside(self, tensor, values):
        if self.storage == "many":
            location, offset = tensor.name.replace("::", "__"), 0
            values.tofile(self.folder / location)
        else:
            location = self.location
            offset = self.file.seek(-(-self.file.tell() // PAGE) * PAGE)
            values.tofile(self.file)
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in (("location", location), ("offset", offset), ("length", values.nbytes)):
            tensor.external_data.add(key=key, value=str(value))

    def close(self):
        if self.file:
            self.file.close()


class Bert:
    """Builds the node list. Scopes are the module paths that TorchScript writes into the names."""

    def __init__(self, options, weights):
        self.o, self.w = options, weights
        self.nodes, self.used = [], {}
        self.prefix = "" if options.head == "none" else "bert."
        self.root = "" if options.head == "none" else "/bert"

    # -- nodes ---------------------------------------------------------------------------------------------------

    def unique(self, name):
        n = self.used.get(name, 0)
        self.used[name] = n + 1
        return f"{name}_{n}" if n else name

    def node(self, op, scope, *inputs, output=None, **attributes):
        name = self.unique(f"{scope}/{op}")
        output = output or f"{name}_output_0"
        self.nodes.append(helper.make_node(op, list(inputs), [output], name=name, **attributes))
        return output

    def constant(self, scope, value, dtype):
        array = np.asarray(value, dtype)
        kind = helper.np_dtype_to_tensor_dtype(array.dtype)
        tensor = helper.make_tensor("", kind, array.shape, array.tobytes(), raw=True)
        return self.node("Constant", scope, value=tensor)

    def ints(self, scope, value):
        return self.constant(scope, value, np.int64)

    def floats(self, scope, value):
        return self.constant(scope, value, np.float32)

    def unsqueeze(self, scope, x, axis):
        if self.o.opset >= 13:
            return self.node("Unsqueeze", scope, x, self.ints(scope, [axis]))
        return self.node("Unsqueeze", scope, x, axes=[axis])

    def dim_of(self, scope, x, axis):
        return self.node("Gather", scope, self.node("Shape", scope, x), self.ints(scope, axis), axis=0)

    # -- modules -------------------------------------------------------------------------------------------------

    def parameter(self, module, kind, *shape, **how):
        name = f"{module}.{kind}"
        return self.w.add(name, name.removeprefix("bert."), shape, **how)

    def matmul_weight(self, module, rows, columns):
        """A Linear's weight, transposed and renamed as the exporter's constant folding leaves it."""
        source = f"{module}.weight".removeprefix("bert.")
        name = self.unique("onnx::MatMul")
        return self.w.add(name, source, (columns, rows), std=self.o.std, transposed=True)

    def linear(self, scope, module, x, rows, columns):
        y = self.node("MatMul", scope, x, self.matmul_weight(module, rows, columns))
        return self.node("Add", scope, self.parameter(module, "bias", columns), y)

    def gemm(self, scope, module, x, rows, columns, output=None):
        weight = self.parameter(module, "weight", columns, rows, std=self.o.std)
        return self.node("Gemm", scope, x, weight, self.parameter(module, "bias", columns), output=output, alpha=1.0,
                         beta=1.0, transB=1)

    def layer_norm(self, scope, module, x, output=None):
        gamma = self.parameter(module, "weight", self.o.hidden, mean=1.0, std=0.1)
        beta = self.parameter(module, "bias", self.o.hidden, std=0.1)
        epsilon = 1e-12
        if self.o.opset >= 17:
            return self.node("LayerNormalization", scope, x, gamma, beta, output=output, axis=-1, epsilon=epsilon)
        centred = self.node("Sub", scope, x, self.node("ReduceMean", scope, x, axes=[-1]))
        square = self.node("Pow", scope, centred, self.floats(scope, 2))
        variance = self.node("ReduceMean", scope, square, axes=[-1])
        root = self.node("Sqrt", scope, self.node("Add", scope, variance, self.floats(scope, epsilon)))
        scaled = self.node("Mul", scope, self.node("Div", scope, centred, root), gamma)
        return self.node("Add", scope, scaled, beta, output=output)

    def gelu(self, scope, x):
        if self.o.opset >= 20:
            return self.node("Gelu", scope, x, approximate="none")
        erf = self.node("Erf", scope, self.node("Div", scope, x, self.floats(scope, np.sqrt(2))))
        product = self.node("Mul", scope, x, self.node("Add", scope, erf, self.floats(scope, 1)))
        return self.node("Mul", scope, product, self.floats(scope, 0.5))

    def embeddings(self):
        o, scope, module = self.o, f"{self.root}/embeddings", f"{self.prefix}embeddings"
        table = lambda name, rows: self.parameter(f"{module}.{name}_embeddings", "weight", rows, o.hidden, std=o.std)
        gather = lambda name, rows, ids: self.node("Gather", f"{scope}/{name}_embeddings", table(name, rows), ids)
        length = self.unsqueeze(scope, self.dim_of(scope, "input_ids", 1), 0)
        positions = self.node("Slice", scope, self.ints(scope, [range(o.positions)]), self.ints(scope, [0]), length,
                              self.ints(scope, [1]), self.ints(scope, [1]))
        words = gather("word", o.vocab, "input_ids")
        types = gather("token_type", o.types, "token_type_ids")
        total = self.node("Add", scope, self.node("Add", scope, words, types),
                          gather("position", o.positions, positions))
        return self.layer_norm(f"{scope}/LayerNorm", f"{module}.LayerNorm", total)

    def mask(self):
        scope = self.root
        mask = self.unsqueeze(scope, self.unsqueeze(scope, "attention_mask", 1), 2)
        mask = self.node("Sub", scope, self.floats(scope, 1), self.node("Cast", scope, mask, to=TensorProto.FLOAT))
        return self.node("Mul", scope, mask, self.floats(scope, FLOAT_MIN))

    def attention(self, scope, module, x, mask):
        o, width = self.o, self.o.hidden // self.o.heads
        batch = self.dim_of(scope, x, 0)

        def split(part, perm):
            y = self.linear(f"{scope}/{part}", f"{module}.{part}", x, o.hidden, o.hidden)
            shape = self.node("Concat", scope, self.unsqueeze(scope, batch, 0), self.ints(scope, [-1]),
                              self.ints(scope, [o.heads]), self.ints(scope, [width]), axis=0)
            return self.node("Transpose", scope, self.node("Reshape", scope, y, shape), perm=perm)

        query, key, value = split("query", [0, 2, 1, 3]), split("key", [0, 2, 3, 1]), split("value", [0, 2, 1, 3])
        scores = self.node("Div", scope, self.node("MatMul", scope, query, key), self.floats(scope, np.sqrt(width)))
        scores = self.node("Add", scope, scores, mask)
        scores = self.node("Softmax", scope, scores, axis=-1 if o.opset >= 13 else 3)
        context = self.node("Transpose", scope, self.node("MatMul", scope, scores, value), perm=[0, 2, 1, 3])
        leading = [self.unsqueeze(scope, self.dim_of(scope, context, axis), 0) for axis in (0, 1)]
        shape = self.node("Concat", scope, *leading, self.ints(scope, [o.hidden]), axis=0)
        return self.node("Reshape", scope, context, shape)

    def layer(self, index, x, mask, output=None):
        o = self.o
        scope, module = f"{self.root}/encoder/layer.{index}", f"{self.prefix}encoder.layer.{index}"

        def add_norm(part, y, residual, rows, output=None):
            at, of = f"{scope}/{part}", f"{module}.{part.replace('/', '.')}"
            y = self.linear(f"{at}/dense", f"{of}.dense", y, rows, o.hidden)
            y = self.node("Add", at, y, residual)
            return self.layer_norm(f"{at}/LayerNorm", f"{of}.LayerNorm", y, output)

        context = self.attention(f"{scope}/attention/self", f"{module}.attention.self", x, mask)
        x = add_norm("attention/output", context, x, o.hidden)
        y = self.linear(f"{scope}/intermediate/dense", f"{module}.intermediate.dense", x, o.hidden, o.intermediate)
        y = self.gelu(f"{scope}/intermediate/intermediate_act_fn", y)
        return add_norm("output", y, x, o.intermediate, output)

    def pooler(self, x, output=None):
        scope, module = f"{self.root}/pooler", f"{self.prefix}pooler"
        first = self.node("Gather", scope, x, self.ints(scope, 0), axis=1)
        y = self.gemm(f"{scope}/dense", f"{module}.dense", first, self.o.hidden, self.o.hidden)
        return self.node("Tanh", f"{scope}/activation", y, output=output)

    def masked_lm(self, x):
        """Transform, LayerNorm and the decoder, whose tied weight the exporter stores again, transposed."""
        o, scope, module = self.o, "/cls/predictions", "cls.predictions"
        y = self.linear(f"{scope}/transform/dense", f"{module}.transform.dense", x, o.hidden, o.hidden)
        y = self.gelu(f"{scope}/transform/transform_act_fn", y)
        y = self.layer_norm(f"{scope}/transform/LayerNorm", f"{module}.transform.LayerNorm", y)
        tied = self.w.add(self.unique("onnx::MatMul"), "embeddings.word_embeddings.weight", (o.vocab, o.hidden),
                          std=o.std, transposed=True)
        y = self.node("MatMul", f"{scope}/decoder", y, tied)
        self.node("Add", f"{scope}/decoder", self.parameter(module, "bias", o.vocab), y, output="logits")

    def build(self):
        o = self.o
        token = lambda name: helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "sequence"])
        result = lambda name, *dims: helper.make_tensor_value_info(name, TensorProto.FLOAT, dims)
        x, mask = self.embeddings(), self.mask()
        for i in range(o.layers):
            last = o.head == "none" and i == o.layers - 1
            x = self.layer(i, x, mask, "last_hidden_state" if last else None)
        if o.head == "none":
            self.pooler(x, "pooler_output")
            outputs = [result("last_hidden_state", "batch", "sequence", o.hidden),
                       result("pooler_output", "batch", o.hidden)]
        elif o.head == "mlm":
            self.masked_lm(x)
            outputs = [result("logits", "batch", "sequence", o.vocab)]
        else:
            self.gemm("/classifier", "classifier", self.pooler(x), o.hidden, o.labels, "logits")
            outputs = [result("logits", "batch", o.labels)]
        inputs = [token(n) for n in ("input_ids", "attention_mask", "token_type_ids")]
        graph = helper.make_graph(self.nodes, "main_graph", inputs, outputs, self.w.tensors)
        return helper.make_model(graph, producer_name="graphrun make_bert", ir_version=IR_VERSION[o.opset],
                                 opset_imports=[helper.make_opsetid("", o.opset)])


def parse_options(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=pathlib.Path, help="the .onnx file to write")
    parser.add_argument("--size", choices=SIZES, default="base", help="sets the four that follow (default: base)")
    for name in ("layers", "hidden", "heads", "intermediate"):
        parser.add_argument(f"--{name}", type=int)
    parser.add_argument("--vocab", type=int, default=30522)
    parser.add_argument("--positions", type=int, default=512)
    parser.add_argument("--types", type=int, default=2, help="token types")
    parser.add_argument("--labels", type=int, default=2, help="classes of --head cls")
    parser.add_argument("--head", choices=("none", "mlm", "cls"), default="none")
    parser.add_argument("--opset", type=int, choices=IR_VERSION, default=14)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--std", type=float, default=0.02, help="standard deviation of the matrices")
    parser.add_argument("--external-data", action="store_true", help="weights in OUTPUT.data")
    parser.add_argument("--many-files", action="store_true", help="weights in one file each")
    o = parser.parse_args(arguments)
    for name, value in zip(("layers", "hidden", "heads", "intermediate"), SIZES[o.size]):
        if getattr(o, name) is None:
            setattr(o, name, value)
    if min(o.layers, o.hidden, o.heads, o.intermediate, o.vocab, o.positions, o.types, o.labels) < 1:
        parser.error("sizes must be at least 1")
    if o.hidden % o.heads:
        parser.error(f"--hidden {o.hidden} is not a multiple of --heads {o.heads}")
    return o


def make(arguments=None):
    """Write the model; returns the number of parameters."""
    o = parse_options(arguments)
    o.output.parent.mkdir(parents=True, exist_ok=True)
    storage = "many" if o.many_files else "one" if o.external_data else "none"
    weights = Weights(o.output, o.seed, storage)
    try:
        onnx.save(Bert(o, weights).build(), o.output)
    finally:
        weights.close()
    return weights.elements


if __name__ == "__main__":
    print(f"{make():,} parameters")
