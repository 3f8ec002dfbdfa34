#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Make a GPT-2 of any size with random weights as an ONNX file, node for node as PyTorch's TorchScript exporter does.

Needs numpy and onnx only. With a cache (the default) keys and values come in as past_key_values.N.key and .value and
go out as present.N.key and .value, as in optimum's with-past export.

    make_gpt2.py gpt2.onnx                                      GPT-2: 12 layers, 768 wide, 124 million parameters
    make_gpt2.py tiny.onnx --layers 2 --hidden 32 --heads 4 --vocab 100 --positions 40
    make_gpt2.py merged.onnx --form merged --layers 2 ...       with and without a past in the branches of one If
"""
import argparse
import pathlib

import numpy as np
import onnx
from onnx import TensorProto, helper

from make_bert import FLOAT_MIN, IR_VERSION, Bert, Weights


class Gpt2(Bert):
    """One decoder; with `past` it takes and extends a cache."""

    def __init__(self, options, weights, past):
        super().__init__(options, weights)
        self.prefix, self.root, self.past = "", "/transformer", past

    def conv1d(self, scope, module, x, rows, columns):
        shape = [self.unsqueeze(scope, self.dim_of(scope, x, axis), 0) for axis in (0, 1)]
        flat = self.node("Reshape", scope, x, self.ints(scope, [-1, rows]))
        weight = self.parameter(module, "weight", rows, columns, std=self.o.std)
        y = self.node("Gemm", scope, flat, weight, self.parameter(module, "bias", columns), alpha=1.0, beta=1.0)
        return self.node("Reshape", scope, y, self.node("Concat", scope, *shape, self.ints(scope, [columns]), axis=0))

    def gelu(self, scope, x):
        cube = self.node("Mul", scope, self.node("Pow", scope, x, self.floats(scope, 3)), self.floats(scope, 0.044715))
        inner = self.node("Mul", scope, self.node("Add", scope, x, cube), self.floats(scope, np.sqrt(2 / np.pi)))
        tanh = self.node("Add", scope, self.node("Tanh", scope, inner), self.floats(scope, 1))
        return self.node("Mul", scope, self.node("Mul", scope, x, self.floats(scope, 0.5)), tanh)

    def slice(self, scope, x, start, end, axis):
        return self.node("Slice", scope, x, start, end, self.ints(scope, [axis]), self.ints(scope, [1]))

    def lengths(self):
        """[1] tensors: of the past, of the new tokens, of both."""
        scope, zero = self.root, None
        new = self.unsqueeze(scope, self.dim_of(scope, "input_ids", 1), 0)
        if not self.past:
            zero = self.ints(scope, [0])
            return zero, new, new
        past = self.unsqueeze(scope, self.dim_of(scope, "past_key_values.0.key", 2), 0)
        return past, new, self.node("Add", scope, past, new)

    def position_rows(self):
        if self.o.position_ids:
            return "position_ids"
        scope = self.root
        first, last = (self.node("Squeeze", scope, n) for n in (self.start, self.end))
        return self.unsqueeze(scope, self.node("Range", scope, first, last, self.ints(scope, 1)), 0)

    def padding(self):
        scope = self.root
        mask = self.unsqueeze(scope, self.unsqueeze(scope, "attention_mask", 1), 2)
        mask = self.node("Sub", scope, self.floats(scope, 1), self.node("Cast", scope, mask, to=TensorProto.FLOAT))
        return self.node("Mul", scope, mask, self.floats(scope, FLOAT_MIN))

    def attend(self, index, scope, module, x, mask):
        o, width = self.o, self.o.hidden // self.o.heads
        y = self.conv1d(f"{scope}/c_attn", f"{module}.c_attn", x, o.hidden, 3 * o.hidden)
        names = [self.unique(f"{scope}/Split_output") for _ in range(3)]
        self.nodes.append(helper.make_node("Split", [y, self.ints(scope, [o.hidden] * 3)], names, axis=2))

        def heads(x):
            shape = [self.unsqueeze(scope, self.dim_of(scope, x, axis), 0) for axis in (0, 1)]
            shape = self.node("Concat", scope, *shape, self.ints(scope, [o.heads]), self.ints(scope, [width]), axis=0)
            return self.node("Transpose", scope, self.node("Reshape", scope, x, shape), perm=[0, 2, 1, 3])

        query, key, value = (heads(n) for n in names)
        if self.past:
            key = self.node("Concat", scope, f"past_key_values.{index}.key", key, axis=-2, output=f"present.{index}.key")
            value = self.node("Concat", scope, f"past_key_values.{index}.value", value, axis=-2,
                              output=f"present.{index}.value")
        else:
            for kind, x in (("key", key), ("value", value)):
                if o.form != "plain":
                    self.node("Identity", scope, x, output=f"present.{index}.{kind}")
        scores = self.node("MatMul", scope, query, self.node("Transpose", scope, key, perm=[0, 1, 3, 2]))
        scores = self.node("Div", scope, scores, self.floats(scope, np.sqrt(width)))
        scores = self.node("Where", scope, self.causal, scores, self.floats(scope, FLOAT_MIN))
        scores = self.node("Softmax", scope, self.node("Add", scope, scores, mask), axis=-1)
        context = self.node("Transpose", scope, self.node("MatMul", scope, scores, value), perm=[0, 2, 1, 3])
        leading = [self.unsqueeze(scope, self.dim_of(scope, context, axis), 0) for axis in (0, 1)]
        shape = self.node("Concat", scope, *leading, self.ints(scope, [o.hidden]), axis=0)
        context = self.node("Reshape", scope, context, shape)
        return self.conv1d(f"{scope}/c_proj", f"{module}.c_proj", context, o.hidden, o.hidden)

    def body(self):
        """Nodes from input_ids to logits and the cache."""
        o, root = self.o, self.root
        self.start, _, self.end = self.lengths()
        words = self.node("Gather", root, self.parameter("wte", "weight", o.vocab, o.hidden, std=o.std), "input_ids")
        places = self.node("Gather", root, self.parameter("wpe", "weight", o.positions, o.hidden, std=o.std),
                           self.position_rows())
        x, mask = self.node("Add", root, words, places), self.padding()
        tril = np.tril(np.ones((1, 1, o.positions, o.positions), bool))
        rows = self.slice(root, self.constant(root, tril, bool), self.start, self.end, 2)
        self.causal = self.slice(root, rows, self.ints(root, [0]), self.end, 3)
        for i in range(o.layers):
            scope, module = f"{root}/h.{i}", f"h.{i}"
            y = self.layer_norm(f"{scope}/ln_1", f"{module}.ln_1", x)
            x = self.node("Add", scope, self.attend(i, f"{scope}/attn", f"{module}.attn", y, mask), x)
            y = self.layer_norm(f"{scope}/ln_2", f"{module}.ln_2", x)
            y = self.conv1d(f"{scope}/mlp/c_fc", f"{module}.mlp.c_fc", y, o.hidden, o.intermediate)
            y = self.gelu(f"{scope}/mlp/act", y)
            y = self.conv1d(f"{scope}/mlp/c_proj", f"{module}.mlp.c_proj", y, o.intermediate, o.hidden)
            x = self.node("Add", scope, x, y)
        x = self.layer_norm(f"{root}/ln_f", "ln_f", x)
        tied = self.w.add("lm_head", "wte.weight", (o.vocab, o.hidden), std=o.std, transposed=True)
        self.node("MatMul", "/lm_head", x, tied, output="logits")
        return self.nodes


def values(o, past, total):
    """Declared inputs and outputs."""
    tensor, width = helper.make_tensor_value_info, o.hidden // o.heads
    inputs = [tensor("input_ids", TensorProto.INT64, ["batch", "sequence"]),
              tensor("attention_mask", TensorProto.INT64, ["batch", total])]
    if o.position_ids:
        inputs.append(tensor("position_ids", TensorProto.INT64, ["batch", "sequence"]))
    outputs = [tensor("logits", TensorProto.FLOAT, ["batch", "sequence", o.vocab])]
    for i in range(o.layers):
        for kind in ("key", "value"):
            if past:
                inputs.append(tensor(f"past_key_values.{i}.{kind}", TensorProto.FLOAT, ["batch", o.heads, "past", width]))
            if o.form != "plain":
                outputs.append(tensor(f"present.{i}.{kind}", TensorProto.FLOAT, ["batch", o.heads, total, width]))
    return inputs, outputs


def merged(o, weights):
    """Both forms as branches of If; initializers are shared, as optimum leaves them."""
    branches, tensors = [], {}
    for past in (True, False):
        nodes = Gpt2(o, weights, past).body()
        tensors.update({t.name: t for t in weights.tensors})
        weights.tensors = []
        _, outputs = values(o, past, "past + sequence")
        branches.append(helper.make_graph(nodes, "with_past" if past else "no_past", [], outputs))
    inputs, outputs = values(o, True, "past + sequence")
    inputs.append(helper.make_tensor_value_info("use_cache_branch", TensorProto.BOOL, [1]))
    node = helper.make_node("If", ["use_cache_branch"], [v.name for v in outputs], name="optimum::if",
                            then_branch=branches[0], else_branch=branches[1])
    return helper.make_graph([node], "merged", inputs, outputs, list(tensors.values()))


def make(arguments=None):
    """Write the model; returns the number of parameters drawn."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=pathlib.Path, help="the .onnx file to write")
    for name, size in (("layers", 12), ("hidden", 768), ("heads", 12), ("vocab", 50257), ("positions", 1024)):
        parser.add_argument(f"--{name}", type=int, default=size)
    parser.add_argument("--form", choices=("past", "plain", "merged"), default="past", help="plain: without a cache")
    parser.add_argument("--no-position-ids", dest="position_ids", action="store_false",
                        help="positions follow from the past's length")
    parser.add_argument("--opset", type=int, choices=[v for v in IR_VERSION if v >= 13], default=14)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--std", type=float, default=0.02, help="standard deviation of the matrices")
    o = parser.parse_args(arguments)
    if o.hidden % o.heads:
        parser.error(f"--hidden {o.hidden} is not a multiple of --heads {o.heads}")
    o.head, o.intermediate = "clm", 4 * o.hidden
    weights = Weights(o.output, o.seed, "none")
    if o.form == "merged":
        graph = merged(o, weights)
    else:
        past = o.form == "past"
        nodes = Gpt2(o, weights, past).body()
        graph = helper.make_graph(nodes, "main_graph", *values(o, past, "past + sequence" if past else "sequence"),
                                  weights.tensors)
    model = helper.make_model(graph, producer_name="graphrun make_gpt2", ir_version=IR_VERSION[o.opset],
                              opset_imports=[helper.make_opsetid("", o.opset)])
    onnx.save(model, o.output)
    return weights.elements


if __name__ == "__main__":
    print(f"{make():,} parameters")
