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
    yield "norm: deviation is read", on("sub", lambda g, n: g.extra_reader(n.output[0]))
    yield "norm: root is an output", on("sqrt", lambda g, n: g.output(n.output[0]))


def passed(g, value, ops):
    """Back from a value through nodes of one input that matters; the nodes that were passed."""
    nodes = []
    while value in g.maker and g.maker[value].op_type in ops:
        n = g.maker[value]
        nodes.append(n)
        value = next((i for i in n.input if i not in g.const), n.input[0])
    return nodes, g.maker.get(value)


VIEWS = ("Transpose", "Reshape", "Mul", "Div", "Cast", "Where", "Add")


def attention(g, which):
    """Parts of the first or last attention: softmax, product of scores, context, the nodes around them."""
    softmaxes = [n for n in g.by_op("Softmax") if g.maker.get(n.input[0])]
    if not softmaxes:
        return None
    s = softmaxes[which]
    above, product = passed(g, s.input[0], ("Mul", "Div", "Add", "Where", "Cast", "Reshape"))
    if product is None or product.op_type != "MatMul":
        return None
    context, value = None, s
    for _ in range(4):
        readers = g.readers(value.output[0])
        context = next((n for n in readers if n.op_type == "MatMul"), None)
        if context or not readers:
            break
        value = readers[-1]
    if context is None:
        return None
    parts = dict(softmax=s, product=product, context=context)
    parts["mask"] = next((n for n in above if n.op_type == "Add"), None)
    for name, node, slot in (("q", product, 0), ("k", product, 1), ("v", context, 1)):
        chain, _ = passed(g, node.input[slot], ("Transpose", "Reshape", "Mul", "Div", "Cast"))
        parts[name + "_order"] = next((n for n in chain if n.op_type == "Transpose"), None)
        parts[name + "_split"] = next((n for n in chain if n.op_type == "Reshape"), None)
        parts[name + "_scale"] = next((n for n in chain if n.op_type in ("Mul", "Div")), None)
        dense = g.maker.get(parts[name + "_split"].input[0]) if parts[name + "_split"] is not None else None
        parts[name + "_bias"] = dense if dense is not None and dense.op_type == "Add" else None
    parts["scale"] = next((n for n in above if n.op_type in ("Mul", "Div")), None)
    merge = up(g, context, "Transpose")
    view = merge and up(g, merge, "Reshape")
    dense = view and (up(g, view, "MatMul") or up(g, view, "Gemm"))
    bias = dense and up(g, dense, "Add") if dense and dense.op_type == "MatMul" else dense
    parts.update(merge=merge, dense=dense, out_bias=bias if bias is not dense else None, residual=bias and up(g, bias, "Add"))
    return parts


def set_attr(node, name, value):
    kept = [a for a in node.attribute if a.name != name]
    del node.attribute[:]
    node.attribute.extend([*kept, helper.make_attribute(name, value)])


def perm(node):
    return list(next(a.ints for a in node.attribute if a.name == "perm"))


def times(g, node, slot, x):
    name = f"mutant_Mul_{len(g.g.node)}"
    made = helper.make_node("Mul", [node.input[slot], g.constant(np.array(x, np.float32))], [name], name=name)
    node.input[slot] = name
    g.g.node.insert(list(g.g.node).index(node), made)
    return made


def again(g, node):
    """The same Add once more behind it."""
    name = f"mutant_Add_{len(g.g.node)}"
    made = helper.make_node("Add", [name, node.input[1]], [node.output[0]], name=name)
    node.output[0] = name
    g.g.node.insert(list(g.g.node).index(node) + 1, made)
    return [made, node]


def scaled_weight(g, node, shape):
    """Another bias of another shape."""
    i = next(i for i, v in enumerate(node.input) if v in g.const)
    size = g.const[node.input[i]].size
    node.input[i] = g.constant(np.full(shape(size), 0.5, np.float32))


def attention_mutations():
    def on(what, change):
        def mutate(g, which):
            parts = attention(g, which)
            if not parts or parts.get(what) is None:
                return None
            done = change(g, parts[what])
            return None if done is False else done or [parts[what]]
        return [lambda g: mutate(g, 0), lambda g: mutate(g, -1)]

    def exchange_perm(i, k):
        def change(g, n):
            p = perm(n)
            if len(p) <= max(i, k):
                return False
            p[i], p[k] = p[k], p[i]
            set_attr(n, "perm", p)
        return change

    def resplit(g, n):
        shape = g.const.get(n.input[1])
        if shape is None or len(shape) != 4 or shape[2] <= 0 or shape[3] <= 0 or shape[3] % 2:
            return False
        n.input[1] = g.constant(np.array([shape[0], shape[1], shape[2] * 2, shape[3] // 2], np.int64))

    def replace(op):
        def change(_, n):
            n.op_type = op
            if op != "LogSoftmax" and op != "Hardmax":
                del n.attribute[:]
        return change

    def earlier(g, n):
        """A residual that reads another value of the same shape: the output of the first normalisation of all."""
        i = 0 if g.maker.get(n.input[0]) is not None and g.maker[n.input[0]].op_type in ("Add", "Mul", "LayerNormalization") else 1
        first = next((m for m in g.g.node if m.op_type in ("Add", "Gather") and m.output[0] not in n.input), None)
        if first is None:
            return False
        n.input[i] = first.output[0]

    cases = [
        ("order of queries", "q_order", exchange_perm(1, 2)),
        ("order of keys", "k_order", exchange_perm(1, 2)),
        ("keys are not transposed", "k_order", exchange_perm(2, 3)),
        ("order of values", "v_order", exchange_perm(2, 3)),
        ("order of the merge", "merge", exchange_perm(1, 3)),
        ("scale", "scale", lambda g, n: g.number(n, 3.0) and None),
        ("scale of queries", "q_scale", lambda g, n: g.number(n, 0.3) and None),
        ("scale of keys", "k_scale", lambda g, n: g.number(n, 0.3) and None),
        ("keys are scaled", "product", lambda g, n: [times(g, n, 1, 0.7)]),
        ("values are scaled", "context", lambda g, n: [times(g, n, 1, 0.7)]),
        ("scores are scaled after the mask", "softmax", lambda g, n: [times(g, n, 0, 0.7)]),
        ("probabilities are scaled", "context", lambda g, n: [times(g, n, 0, 0.7)]),
        ("mask twice", "mask", again),
        ("mask is a factor", "mask", lambda g, n: setattr(n, "op_type", "Mul")),
        ("mask is subtracted", "mask", lambda g, n: setattr(n, "op_type", "Sub")),
        ("axis of softmax", "softmax", lambda g, n: set_attr(n, "axis", 2)),
        ("softmax of heads", "softmax", lambda g, n: set_attr(n, "axis", 1)),
        ("logarithm", "softmax", replace("LogSoftmax")),
        ("greatest", "softmax", replace("Hardmax")),
        ("sigmoid", "softmax", replace("Sigmoid")),
        ("relu", "softmax", replace("Relu")),
        ("heads of queries", "q_split", resplit),
        ("heads of values", "v_split", resplit),
        ("scores are read", "product", lambda g, n: g.extra_reader(n.output[0])),
        ("context is read", "context", lambda g, n: g.extra_reader(n.output[0])),
        ("scores are an output", "product", lambda g, n: g.output(n.output[0])),
        ("context is an output", "context", lambda g, n: g.output(n.output[0])),
        ("operands exchanged", "context", lambda g, n: [times(g, n, 0, 1.0) and n, g.between(n, 0, "Abs")]),
        ("bias of one number", "q_bias", lambda g, n: scaled_weight(g, n, lambda size: [1])),
        ("bias of a matrix", "k_bias", lambda g, n: scaled_weight(g, n, lambda size: [1, 1, 1, size])),
        ("bias is a difference", "v_bias", lambda g, n: setattr(n, "op_type", "Sub")),
        ("bias of the output is a factor", "out_bias", lambda g, n: setattr(n, "op_type", "Mul")),
        ("sum is a difference", "residual", lambda g, n: setattr(n, "op_type", "Sub")),
        ("sum with another value", "residual", earlier),
        ("activation before the residual", "residual", lambda g, n: [g.between(n, 0, "Relu")]),
    ]
    for name, what, change in cases:
        for which, mutate in zip(("first", "last"), on(what, change)):
            yield f"attention ({which}): {name}", mutate


def other_mutations():
    """An operator in the place of another, somewhere."""
    def replaced(op, other, which):
        def mutate(g):
            nodes = g.by_op(op)
            if not nodes or (op == "Gelu" and other != "Relu"):
                return None
            n = nodes[which]
            n.op_type = other
            if other not in ("LogSoftmax", "Hardmax"):
                del n.attribute[:]
            return [n]
        return mutate

    for which in (0, -1):
        for op, other in (("Erf", "Tanh"), ("Erf", "Sigmoid"), ("Erf", "Abs"), ("Sqrt", "Abs"), ("Sqrt", "Exp"), ("Gelu", "Relu"),
                          ("Erf", "NoSuchOperator"), ("Softmax", "NoSuchOperator"), ("Sqrt", "NoSuchOperator"), ("Gelu", "NoSuchOperator")):
            yield f"{op} is {other} ({which})", replaced(op, other, which)

    def pooler(g):
        tanh = [n for n in g.by_op("Tanh") if not g.readers(n.output[0]) or n is g.by_op("Tanh")[-1]]
        return tanh[-1] if tanh else None

    def pool(change):
        def mutate(g):
            n = pooler(g)
            return None if n is None else change(g, n) or [n]
        return mutate

    yield "pooler: sigmoid", pool(lambda g, n: setattr(n, "op_type", "Sigmoid"))
    yield "pooler: sine", pool(lambda g, n: setattr(n, "op_type", "Sin"))

    def embeddings(change):
        def mutate(g):
            for n in g.by_op("Add"):
                makers = [g.maker.get(i) for i in n.input]
                if any(m is not None and m.op_type == "Gather" for m in makers):
                    return change(g, n) or [n]
            return None
        return mutate

    yield "embeddings: product", embeddings(lambda g, n: setattr(n, "op_type", "Mul"))
    yield "embeddings: difference", embeddings(lambda g, n: setattr(n, "op_type", "Sub"))
    yield "embeddings: maximum", embeddings(lambda g, n: setattr(n, "op_type", "Max"))
    yield "embeddings: absolute", embeddings(lambda g, n: [g.between(n, 0, "Abs")])


def quantised_mutations():
    def on(op, change):
        def mutate(g):
            nodes = [n for n in g.by_op(op) if all(i in g.const for i in n.input[1:])]
            if op == "DequantizeLinear":
                nodes = [n for n in nodes if n.input[0] in g.const and g.const[n.input[0]].ndim == 2 and g.readers(n.output[0])[0].op_type == "MatMul"]
            if not nodes:
                return None
            done = change(g, nodes[-1])
            return None if done is False else done or [nodes[-1]]
        return mutate

    def scale_shape(g, n):
        n.input[1] = g.constant(np.full([1, 1], 0.5, np.float32))

    def zero_shape(g, n):
        z = g.const[n.input[2]]
        n.input[2] = g.constant(np.zeros([3], z.dtype))

    def zero_type(g, n):
        z = g.const[n.input[2]]
        n.input[2] = g.constant(np.zeros(z.shape, np.uint8 if z.dtype == np.int8 else np.int8))

    yield "weights: shape of the scale", on("DequantizeLinear", scale_shape)
    yield "weights: shape of the zero point", on("DequantizeLinear", zero_shape)
    yield "weights: type of the zero point", on("DequantizeLinear", zero_type)
    yield "weights: axis", on("DequantizeLinear", lambda g, n: set_attr(n, "axis", 7))

    def integer(change):
        def mutate(g):
            nodes = [n for n in g.by_op("MatMulInteger") if n.input[1] in g.const]
            return change(g, nodes[-1]) if nodes else None
        return mutate

    def after(op):
        def change(g, n):
            cast = up(g, n, "Cast")
            mul = cast and up(g, cast, "Mul")
            if not mul:
                return None
            mul.op_type = op
            return [mul]
        return change

    def zero_point(g, n):
        if len(n.input) < 4 or n.input[3] not in g.const:
            return None
        n.input[3] = g.constant(np.zeros([5], g.const[n.input[3]].dtype))
        return [n]

    yield "integers: scale is added", integer(after("Add"))
    yield "integers: scale divides", integer(after("Div"))
    yield "integers: shape of the zero point", integer(zero_point)


def explain(program, model):
    with tempfile.NamedTemporaryFile(suffix=".onnx") as f:
        onnx.save(model, f.name)
        r = subprocess.run([program, "explain", f.name, "--json", "--shape", "1x8"], capture_output=True, text=True)
    if not r.stdout.startswith("{"):
        return None, r.stderr.strip()
    report = json.loads(r.stdout)
    if r.returncode != any(m["fusion"] == "operator" for m in report["near_misses"]):
        return None, f"exit code {r.returncode}"
    return report["near_misses"] + report["remarks"], ""


def main():
    program, paths = sys.argv[1], sys.argv[2:]
    tried = wrong = 0
    for path in paths:
        for name, mutate in [*gelu_mutations(), *norm_mutations(), *attention_mutations(), *other_mutations(),
                             *quantised_mutations()]:
            g = Graph(path)
            nodes = mutate(g)
            if nodes is None:
                continue
            tried += 1
            told, trouble = explain(program, g.model)
            names = {n.name or n.output[0] for n in nodes}
            named = told is None and any(f"'{x}'" in trouble for x in names)  # no such model can be: the reader says so
            if not named and not any(m["node"] in names or any(f"'{x}'" in m["why"] for x in names) for m in told or []):
                wrong += 1
                print(f"{path}: {name}: expected {sorted(names)}, got {trouble or [m['why'] for m in told][:3]}")
    print(f"{tried} mutations, {wrong} not explained")
    return 1 if wrong or tried < 20 else 0


if __name__ == "__main__":
    sys.exit(main())
