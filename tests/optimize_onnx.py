#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Check optimised models with onnx and ONNX Runtime.

    optimize_onnx.py GRAPHRUN FOLDER [NAME...]

For every FOLDER/NAME/model.onnx (all of them without names) `graphrun optimize` writes the standard and the contrib
form. Both must pass onnx.checker and have the inputs and outputs of the model, and ONNX Runtime must compute from them
what it computes from the model, on the model's own test data, to 1e-4 of each output's range (for weights in float;
sums in 16 bits move with their order).

Cases that ONNX Runtime cannot run as they are, and those in which it quantises what it sees, are skipped.
"""
import glob
import os
import subprocess
import sys
import tempfile

import numpy
import onnx
import onnx.numpy_helper
import onnxruntime

TOLERANCE = {onnx.TensorProto.FLOAT: 1e-4, onnx.TensorProto.FLOAT16: 1e-2, onnx.TensorProto.BFLOAT16: 1e-1}
# A batch's scale depends on every number before it there: other roundings move whole results.
QUANTISED = {"DynamicQuantizeLinear", "QuantizeLinear", "DynamicQuantizeMatMul", "QAttention", "MatMulNBits",
             "QLinearMatMul", "MatMulInteger", "DequantizeLinear", "DynamicQuantizeLSTM", "QLinearAdd", "GatherBlockQuantized"}


def read_inputs(folder):
    inputs = {}
    for path in sorted(glob.glob(os.path.join(folder, "test_data_set_0", "input_*.pb"))):
        with open(path, "rb") as file:
            tensor = onnx.TensorProto.FromString(file.read())
        inputs[tensor.name] = onnx.numpy_helper.to_array(tensor)
    return inputs


def run(path, inputs):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    wanted = {i.name for i in session.get_inputs()}
    return session.run(None, {name: value for name, value in inputs.items() if name in wanted})


def difference(got, want):
    """Greatest difference to the range of the wanted values; infinite where kinds differ."""
    if got.shape != want.shape or got.dtype != want.dtype:
        return float("inf")
    if not want.size:
        return 0.0
    if want.dtype.kind not in "f":
        return 0.0 if (got == want).all() else float("inf")
    got, want = got.astype(numpy.float64), want.astype(numpy.float64)
    if (numpy.isnan(got) != numpy.isnan(want)).any():
        return float("inf")
    same = (got == want) | numpy.isnan(want)
    finite = want[numpy.isfinite(want)]
    scale = max(1.0, float(numpy.abs(finite).max()) if finite.size else 1.0)
    with numpy.errstate(invalid="ignore"):
        return float(numpy.where(same, 0, numpy.abs(got - want)).max()) / scale


def signature(values):
    return [(v.name, v.type.tensor_type.elem_type,
             [d.dim_value if d.HasField("dim_value") else d.dim_param for d in v.type.tensor_type.shape.dim])
            for v in values]


def check_form(graphrun, form, source, model, inputs, want, folder):
    path = os.path.join(folder, form + ".onnx")
    done = subprocess.run([graphrun, "optimize", source, "-o", path, "--" + form, "--quiet"], capture_output=True,
                          text=True)
    if done.returncode:
        return done.stderr.strip()
    onnx.checker.check_model(path)
    saved = onnx.load(path, load_external_data=False)
    weights = {i.name for i in model.graph.initializer}
    own = [i for i in model.graph.input if i.name not in weights]
    if signature(saved.graph.input) != signature(own):
        return "the inputs are %s, not %s" % (signature(saved.graph.input), signature(own))
    if [o.name for o in saved.graph.output] != [o.name for o in model.graph.output]:
        return "the outputs have other names"
    if any(n.domain == "graphrun" for n in saved.graph.node):
        return "an operator of graphrun's domain is left"
    worst = max([difference(g, w) for g, w in zip(run(path, inputs), want)], default=0.0)
    tolerance = max([TOLERANCE.get(i.data_type, 0) for i in model.graph.initializer], default=1e-4)
    return "differs by %.2g" % worst if not worst <= tolerance else ""


def check(graphrun, folder):
    source = os.path.join(folder, "model.onnx")
    model = onnx.load(source, load_external_data=False)
    nodes = list(model.graph.node) + [n for f in model.functions for n in f.node]
    if any(n.op_type in QUANTISED for n in nodes):
        return "skipped: quantised", []
    inputs = read_inputs(folder)
    try:
        want = run(source, inputs)
    except Exception as error:  # what a peer cannot load is no case
        return "skipped: ONNX Runtime: %s" % str(error).splitlines()[0][:80], []
    wrong = []
    with tempfile.TemporaryDirectory() as scratch:
        for form in ("standard", "contrib"):
            try:
                what = check_form(graphrun, form, source, model, inputs, want, scratch)
            except Exception as error:
                what = str(error).strip()[:300]
            if what:
                wrong.append("%s: %s" % (form, what))
    return "", wrong


def main():
    graphrun, root, names = sys.argv[1], sys.argv[2], sys.argv[3:]
    names = names or sorted(os.path.basename(os.path.dirname(p)) for p in glob.glob(os.path.join(root, "*/model.onnx")))
    good = skipped = 0
    failed = []
    for name in names:
        why, wrong = check(graphrun, os.path.join(root, name))
        if why:
            skipped += 1
            print("%s: %s" % (name, why))
        elif wrong:
            failed.append(name)
            print("%s: %s" % (name, "; ".join(wrong)))
        else:
            good += 1
        sys.stdout.flush()
    print("%d good, %d skipped, %d wrong" % (good, skipped, len(failed)))
    return 1 if failed or not good else 0


if __name__ == "__main__":
    sys.exit(main())
