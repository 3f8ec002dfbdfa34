#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Write ONNX's node tests into a folder, for tests/conformance_test.c.

    make_cases.py FOLDER

FOLDER/<case> holds model.onnx and test_data_set_0/{input,output}_<i>.pb as ONNX's own generator lays them out, and
case.txt: the tolerances of the case, and what its inputs and outputs are ("tensor", "sequence", "optional", or "none"
for an empty optional), and "random" if the expected values are drawn without a seed. FOLDER/cases.txt lists the cases below a line that names the version of onnx. A folder that has
it, of this version, is left alone.
"""
import os
import shutil
import sys
import warnings

import onnx
from onnx import TensorProto, numpy_helper

VERSION = "1.23.0"  # the one that manifest.txt is about
HEAD = f"# onnx {VERSION}, layout 2\n"  # count the layout up when what is written here changes

# Expected values that are themselves further from the exact result than the tolerances of their case.
TOLERANCES = {
    # rounded to float16 after every step of Softmax, which is two units in the last place off in the end
    "test_attention_4d_causal_fp16_expanded": {"rtol": 2.0**-9},
    # zeros of an inverse transform with float32 noise of 2e-7 on them
    "test_dft_inverse": {"atol": 1e-6},
    "test_dft_inverse_opset19": {"atol": 1e-6},
}


def write(path, data):
    with open(path, "wb") as f:
        f.write(data)


def message(value, info):
    """A value of the case as the message that its declared type asks for, and the name of its kind."""
    if info.type.HasField("sequence_type"):
        return numpy_helper.from_list(value, info.name), "sequence"
    if info.type.HasField("optional_type"):
        return numpy_helper.from_optional(value, info.name), "none" if value is None else "optional"
    if isinstance(value, TensorProto):
        return value, "tensor"
    return numpy_helper.from_array(value, info.name), "tensor"


def write_values(folder, role, values, infos):
    kinds = []
    for i, value in enumerate(values):
        proto, kind = message(value, infos[i])
        write(os.path.join(folder, f"{role}_{i}.pb"), proto.SerializeToString())
        kinds.append(kind)
    return f"{role}s {' '.join(kinds)}\n"


def write_case(folder, case):
    graph = case.model.graph
    write(os.path.join(folder, "model.onnx"), case.model.SerializeToString())
    if len(case.data_sets) != 1:
        raise SystemExit(f"make_cases.py: {case.name} has {len(case.data_sets)} data sets, expected one")
    inputs, outputs = case.data_sets[0]
    data = os.path.join(folder, "test_data_set_0")
    os.mkdir(data)
    limits = {"rtol": case.rtol, "atol": case.atol} | TOLERANCES.get(case.name, {})
    text = f"rtol {limits['rtol']!r}\natol {limits['atol']!r}\n"
    text += write_values(data, "input", inputs, graph.input)
    text += write_values(data, "output", outputs, graph.output)
    if case.name.startswith("test_bernoulli"):
        text += "random\n"
    write(os.path.join(folder, "case.txt"), text.encode())


def main():
    if len(sys.argv) != 2:
        raise SystemExit("usage: make_cases.py FOLDER")
    if onnx.__version__ != VERSION:
        raise SystemExit(f"make_cases.py: found onnx {onnx.__version__}, the manifest is about {VERSION}")
    top = os.path.normpath(sys.argv[1])
    index = os.path.join(top, "cases.txt")
    if os.path.exists(index):
        with open(index, encoding="utf-8") as f:
            if f.readline() == HEAD:
                return
    elif os.path.exists(top):
        raise SystemExit(f"make_cases.py: {top} is there already and holds something else")
    warnings.simplefilter("ignore", RuntimeWarning)  # cases divide by zero on purpose
    from onnx.backend.test.case.node import collect_testcases

    cases = sorted(collect_testcases(None), key=lambda case: case.name)
    part = top + ".part"
    shutil.rmtree(part, ignore_errors=True)
    os.makedirs(part)
    for case in cases:
        folder = os.path.join(part, case.name)
        os.mkdir(folder)
        write_case(folder, case)
    write(os.path.join(part, "cases.txt"), (HEAD + "".join(case.name + "\n" for case in cases)).encode())
    shutil.rmtree(top, ignore_errors=True)
    os.rename(part, top)
    print(f"{len(cases)} cases in {top}")


if __name__ == "__main__":
    main()
