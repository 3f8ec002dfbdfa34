#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Plant one fault in a model and let `graphrun compare` name the node, in many trials.

    compare_faults.py GRAPHRUN MODEL... [--trials N] [--seed N] [--verbose]

Each trial takes one of the models and one kind of fault: an element of a weight, a whole weight, its columns permuted,
an epsilon, a scale, an activation, a bias dropped, the fill of a mask. Every second trial also renames all that is
inside the faulty model and shuffles its nodes. A trial is right if compare exits 1 and names the node that reads what
was changed; an unchanged copy, renamed and shuffled, must exit 0, and `graphrun diff` must find nothing in it. N
trials per model; exits 1 if one is wrong.
"""
import argparse
import json
import os
import random
import subprocess
import sys
import tempfile

import numpy as np
import onnx
from onnx import numpy_helper


class Fault(Exception):
    """The model has no place for this fault."""


def constants(model):
    """Name -> (array, setter) of float initializers and Constant nodes."""
    found = {}
    for tensor in model.graph.initializer:
        if tensor.data_type == onnx.TensorProto.FLOAT:
            found[tensor.name] = (numpy_helper.to_array(tensor), tensor)
    for node in model.graph.node:
        if node.op_type == "Constant" and node.attribute and node.attribute[0].name == "value":
            tensor = node.attribute[0].t
            if tensor.data_type == onnx.TensorProto.FLOAT:
                found[node.output[0]] = (numpy_helper.to_array(tensor), tensor)
    return found


def put(tensor, array):
    name = tensor.name
    tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(array.astype(np.float32)), name))


def readers(model, name):
    return [node for node in model.graph.node if name in node.input]


def pick(rng, items):
    if not items:
        raise Fault
    return rng.choice(items)


def weights(model):
    """Weights of which every element matters to every run: none that a Gather picks rows from."""
    result = []
    for name, (array, tensor) in constants(model).items():
        users = readers(model, name)
        if array.size >= 16 and users and all(u.op_type in ("MatMul", "Gemm", "Add", "Mul", "LayerNormalization") for u in users):
            result.append((name, array, tensor))
    return result


def named(nodes):
    return {"nodes": [n.name for n in nodes]}


def element(model, rng):
    name, array, tensor = pick(rng, weights(model))
    array = array.copy()
    array.flat[rng.randrange(array.size)] += max(0.5, float(np.abs(array).max()))
    put(tensor, array)
    return named(readers(model, name))


def whole(model, rng):
    name, array, tensor = pick(rng, [w for w in weights(model) if np.abs(w[1]).max() > 1e-3])
    put(tensor, array * 1.01)
    return named(readers(model, name))


def permuted(model, rng):
    name, array, tensor = pick(rng, [w for w in weights(model) if w[1].ndim == 2])
    put(tensor, array[:, np.random.RandomState(rng.randrange(1000)).permutation(array.shape[1])])
    return named(readers(model, name))


def epsilon(model, rng):
    places = [n for n in model.graph.node if n.op_type == "LayerNormalization"]
    scalars = []
    for name, (array, tensor) in constants(model).items():
        if array.size == 1 and 0 < float(array.flat[0]) <= 1e-4:
            scalars += [(name, tensor)] if any(u.op_type == "Add" for u in readers(model, name)) else []
    choice = pick(rng, places + scalars)
    if isinstance(choice, tuple):
        put(choice[1], np.full(numpy_helper.to_array(choice[1]).shape, 1e-2))
        return named(readers(model, choice[0]))
    for attribute in list(choice.attribute):
        if attribute.name == "epsilon":
            choice.attribute.remove(attribute)
    choice.attribute.append(onnx.helper.make_attribute("epsilon", 1e-2))
    return named([choice])


def scale(model, rng):
    places = []
    for name, (array, tensor) in constants(model).items():
        if array.size == 1 and 0.05 < abs(float(array.flat[0])) < 100:
            users = readers(model, name)
            if users and all(u.op_type in ("Mul", "Div") for u in users):
                places.append((name, array, tensor))
    name, array, tensor = pick(rng, places)
    put(tensor, array * 1.05)
    return named(readers(model, name))


def activation(model, rng):
    other = {"Erf": "Tanh", "Tanh": "Erf", "Relu": "Sigmoid", "Gelu": "Relu", "Sigmoid": "Tanh"}
    node = pick(rng, [n for n in model.graph.node if n.op_type in other and not n.domain])
    node.op_type = other[node.op_type]
    del node.attribute[:]
    return named([node])


def dropped_bias(model, rng):
    vectors = {name for name, (array, _) in constants(model).items() if array.ndim == 1 and array.size >= 16 and np.abs(array).max() > 1e-3}
    outputs = {o.name for o in model.graph.output}
    places = [n for n in model.graph.node if n.op_type == "Add" and n.output[0] not in outputs and len(vectors & set(n.input)) == 1]
    node = pick(rng, places)
    source = [i for i in node.input if i not in vectors][0]
    for reader in model.graph.node:
        for i, name in enumerate(reader.input):
            if name == node.output[0]:
                reader.input[i] = source
    model.graph.node.remove(node)
    return {"missing": node.name}


def mask_fill(model, rng):
    places = [(n, a, t) for n, (a, t) in constants(model).items() if a.size == 1 and float(a.flat[0]) <= -1e4]
    name, array, tensor = pick(rng, places)
    put(tensor, np.full(array.shape, -1.5))
    return named(readers(model, name))


FAULTS = [element, whole, permuted, epsilon, scale, activation, dropped_bias, mask_fill]


def respell(model, rng):
    """Rename all that is inside and shuffle the nodes; returns new node name -> old one."""
    graph = model.graph
    kept = {v.name for v in graph.input} | {v.name for v in graph.output} | {""}
    inner = sorted({n for node in graph.node for n in list(node.output)} | {t.name for t in graph.initializer})
    numbers = list(range(len(inner)))
    rng.shuffle(numbers)
    new = {name: "v%d" % k for name, k in zip(inner, numbers) if name not in kept}
    names = {}
    for tensor in graph.initializer:
        tensor.name = new.get(tensor.name, tensor.name)
    order = list(graph.node)
    for i, node in enumerate(order):
        if any(a.type in (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS) for a in node.attribute):
            raise Fault
        names["n%d" % i] = node.name
        node.name = "n%d" % i
        for list_ in (node.input, node.output):
            for k, name in enumerate(list_):
                list_[k] = new.get(name, name)
    ready = {v.name for v in graph.input} | {t.name for t in graph.initializer} | {""}
    left, shuffled = [n for n in order], []
    while left:
        able = [n for n in left if all(i in ready for i in n.input)]
        node = rng.choice(able)
        left.remove(node)
        shuffled.append(node)
        ready |= set(node.output)
    copies = [onnx.NodeProto.FromString(n.SerializeToString()) for n in shuffled]
    del graph.node[:]
    graph.node.extend(copies)
    del graph.value_info[:]
    tensors = [onnx.TensorProto.FromString(t.SerializeToString()) for t in graph.initializer]
    rng.shuffle(tensors)
    del graph.initializer[:]
    graph.initializer.extend(tensors)
    return names


def name_all(model):
    for i, node in enumerate(model.graph.node):
        node.name = node.name or "%s_%d" % (node.op_type, i)


def run(graphrun, *args):
    done = subprocess.run([graphrun, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    return done.returncode, done.stdout, done.stderr


def judge(expected, names, out):
    """None if the right node is named, else what is."""
    found = json.loads(out)
    if "first" not in found:
        return "no divergence"
    if "missing" in expected:
        gone = [n["name"] for n in found["only_a"]]
        return None if gone == [expected["missing"]] else "missing %s" % gone
    first = found["first"]["node"]["name"]
    return None if names.get(first, first) in expected["nodes"] else "node %s (%s)" % (names.get(first, first), found["first"]["node"]["op"])


def trial(graphrun, path, folder, rng, fault, rename):
    a, b = os.path.join(folder, "a.onnx"), os.path.join(folder, "b.onnx")
    model = onnx.load(path)
    name_all(model)
    onnx.save(model, a)
    expected = fault(model, rng) if fault else None
    names = respell(model, rng) if rename else {}
    onnx.save(model, b)
    code, out, err = run(graphrun, "compare", a, b, "--json")
    if code not in (0, 1):
        return err.strip()
    if fault:
        return judge(expected, names, out) if code == 1 else "no divergence, expected %s" % expected
    changed = run(graphrun, "diff", a, b)
    return "a divergence where there is none" if code else changed[1] + changed[2] if changed[0] else None


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("graphrun")
    parser.add_argument("models", nargs="+")
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--verbose", action="store_true")
    args = parser.parse_args()
    right = total = 0
    for path in args.models:
        if os.path.isdir(path):
            path = os.path.join(path, "model.onnx")
        with tempfile.TemporaryDirectory() as folder:
            for i in range(-1, args.trials):
                for attempt in range(len(FAULTS)):
                    rng = random.Random("%d %d %d" % (args.seed, i, attempt))
                    fault = None if i < 0 else FAULTS[(i + attempt) % len(FAULTS)]
                    try:
                        wrong = trial(args.graphrun, path, folder, rng, fault, i < 0 or i % 2 == 1)
                        break
                    except Fault:
                        wrong = None
                else:
                    continue
                total += 1
                right += wrong is None
                kind = fault.__name__ if fault else "unchanged"
                if wrong or args.verbose:
                    print("%s  %s, trial %d, %s: %s" % ("WRONG" if wrong else "ok   ", path, i, kind, wrong or "named"))
    print("%d of %d named rightly" % (right, total))
    return right != total


if __name__ == "__main__":
    sys.exit(main())
