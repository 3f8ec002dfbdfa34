#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Break an export in many ways, each at one known node, and ask `graphrun explain` which node broke it.

    explain_breaks.py GRAPHRUN MODEL...

Each mutation of the first fusion of its kind must be answered by a near miss or a remark that names the node.
"""
import json
import subprocess
import sys
import tempfile

import numpy as np
import onnx
from onnx import helper, numpy_helper


class Graph:
    """A model with its nodes by output, constants by name, and readers by value."""

    def __init__(self, path):
        self.model = onnx.load(path)
        self.g = self.model.graph
        self.maker = {o: n for n in self.g.node for o in n.output}
        self.const = {t.name: numpy_helper.to_array(t) for t in self.g.initializer}
        for n in self.g.node:
            if n.op_type == "Constant" and n.attribute[0].name == "value":
                self.const[n.output[0]] = numpy_helper.to_array(n.attribute[0].t)

    def readers(self, value):
        return [n for n in self.g.node if value in n.input]

    def by_op(self, op):
        return [n for n in self.g.node if n.op_type == op]

    def scalar(self, value):
        a = self.const.get(value)
        return float(a.reshape(-1)[0]) if a is not None and a.size == 1 else None

    def constant(self, array):
        name = f"mutant_{len(self.g.initializer)}"
        self.g.initializer.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    def number(self, node, x):
        """Let a node read another number in place of its constant."""
        for i, name in enumerate(node.input):
            if self.scalar(name) is not None:
                node.input[i] = self.constant(np.array(x, np.float32))
                return True
        return False

    def between(self, node, slot, op, **attrs):
        """Put a node of one input before an input of another."""
        name = f"mutant_{op}_{len(self.g.node)}"
        made = helper.make_node(op, [node.input[slot]], [name], name=name, **attrs)
        node.input[slot] = name
        self.g.node.insert(list(self.g.node).index(node), made)
        return made

    def output(self, value):
        self.g.output.append(helper.make_tensor_value_info(value, onnx.TensorProto.FLOAT, None))

    def extra_reader(self, value):
        self.g.node.append(helper.make_node("Exp", [value], [value + "_extra"], name="mutant_reader"))
        self.output(value + "_extra")


def up(g, node, op):
    """The reader of a node's output with that operator."""
    return next((n for n in g.readers(node.output[0]) if n.op_type == op), None)


def gelu(g):
    """Erf and its neighbours: divide, erf, add, product, halve; None if the export has no Erf in that form."""
    for erf in g.by_op("Erf"):
        inner, add = g.maker.get(erf.input[0]), up(g, erf, "Add")
        mul = add and up(g, add, "Mul")
        halve = mul and up(g, mul, "Mul")
        if halve and inner is not None and inner.op_type in ("Div", "Mul") and any(
                g.scalar(i) == 0.5 for i in halve.input):
            return inner, erf, add, mul, halve
    return None


def norm(g):
    """The parts of the first layer norm written out."""
    for sqrt in g.by_op("Sqrt"):
        add = g.maker.get(sqrt.input[0])
        if add is None or add.op_type != "Add":
            continue
        var = next((g.maker[i] for i in add.input if i in g.maker and g.maker[i].op_type == "ReduceMean"), None)
        square = var is not None and g.maker.get(var.input[0])
        div = up(g, sqrt, "Div")
        if not square or not div or square.op_type != "Pow":
            continue
        sub = g.maker[div.input[0]]
        mean = g.maker.get(sub.input[1])
        mul = up(g, div, "Mul")
        bias = mul and up(g, mul, "Add")
        if bias and sub.op_type == "Sub" and mean is not None and mean.op_type == "ReduceMean":
            return dict(mean=mean, sub=sub, square=square, var=var, add=add, sqrt=sqrt, div=div, mul=mul, bias=bias)
    return None


def set_axes(g, node, axes):
    for a in node.attribute:
        if a.name == "axes":
            a.CopyFrom(helper.make_attribute("axes", axes))
            return
    node.input[1] = g.constant(np.array(axes, np.int64))


def gelu_mutations():
    def on(what, change):
        def mutate(g):
            parts = gelu(g)
            if not parts:
                return None
            node = dict(zip(("inner", "erf", "add", "mul", "halve"), parts))[what]
            return change(g, node) or [node]
        return mutate

    yield "gelu: factor", on("halve", lambda g, n: g.number(n, 0.6) and None)
    yield "gelu: summand", on("add", lambda g, n: g.number(n, 2.0) and None)
    yield "gelu: root", on("inner", lambda g, n: g.number(n, 1.3) and None)
    yield "gelu: add replaced", on("add", lambda g, n: setattr(n, "op_type", "Sub"))
    yield "gelu: cast inside", on("add", lambda g, n: [g.between(n, 0, "Cast", to=onnx.TensorProto.DOUBLE),
                                                       g.between(n, 0, "Cast", to=onnx.TensorProto.FLOAT)])
    yield "gelu: sign inside", on("add", lambda g, n: [g.between(n, 0, "Neg")])
    yield "gelu: erf is read", on("erf", lambda g, n: g.extra_reader(n.output[0]))
    yield "gelu: product is an output", on("mul", lambda g, n: g.output(n.output[0]))
    yield "gelu: another x", on("mul", lambda g, n: [n, g.between(n, 0 if g.maker[n.input[1]].op_type == "Add" else 1, "Abs")])


def norm_mutations():
    def on(what, change):
        def mutate(g):
            parts = norm(g)
            return (change(g, parts[what]) or [parts[what]]) if parts else None
        return mutate

    def exchange(g, n):
        n.input[0], n.input[1] = n.input[1], n.input[0]

    yield "norm: exponent", on("square", lambda g, n: g.number(n, 3.0) and None)
    yield "norm: epsilon", on("add", lambda g, n: g.number(n, 0.1) and None)
    yield "norm: axis of the mean", on("mean", lambda g, n: set_axes(g, n, [1]))
    yield "norm: axis of the variance", on("var", lambda g, n: set_axes(g, n, [1]))
    yield "norm: both axes", on("var", lambda g, n: set_axes(g, n, [1, 2]))
    yield "norm: difference exchanged", on("sub", exchange)
    yield "norm: quotient exchanged", on("div", exchange)
    yield "norm: root replaced", on("sqrt", lambda g, n: setattr(n, "op_type", "Abs"))
    yield "norm: variance is a maximum", on("var", lambda g, n: setattr(n, "op_type", "ReduceMax"))
    yield "norm: cast inside", on("mul", lambda g, n: [g.between(n, 0, "Cast", to=onnx.TensorProto.DOUBLE),
                                                       g.between(n, 0, "Cast", to=onnx.TensorProto.FLOAT)])
    yield "norm: deviation is read", on("sub", lambda g, n: g.extra_reader(n.output[0]))
    yield "norm: root is an output", on("sqrt", lambda g, n: g.output(n.output[0]))
    yield "norm: scale is a scalar", on("mul", lambda g, n: n.input.__setitem__(1, g.constant(np.array(1.5, np.float32))))
    yield "norm: bias is a difference", on("bias", lambda g, n: setattr(n, "op_type", "Sub"))


def explain(program, model):
    with tempfile.NamedTemporaryFile(suffix=".onnx") as f:
        onnx.save(model, f.name)
        r = subprocess.run([program, "explain", f.name, "--json", "--shape", "1x8"], capture_output=True, text=True)
    if r.returncode:
        return None, r.stderr.strip()
    report = json.loads(r.stdout)
    return report["near_misses"] + report["remarks"], ""


def main():
    program, paths = sys.argv[1], sys.argv[2:]
    tried = wrong = 0
    for path in paths:
        for name, mutate in [*gelu_mutations(), *norm_mutations()]:
            g = Graph(path)
            nodes = mutate(g)
            if nodes is None:
                continue
            tried += 1
            told, trouble = explain(program, g.model)
            names = {n.name or n.output[0] for n in nodes}
            if told is None or not any(m["node"] in names or any(f"'{x}'" in m["why"] for x in names) for m in told):
                wrong += 1
                print(f"{path}: {name}: expected {sorted(names)}, got {trouble or [m['why'] for m in told][:3]}")
    print(f"{tried} mutations, {wrong} not explained")
    return 1 if wrong or tried < 20 else 0


if __name__ == "__main__":
    sys.exit(main())
