#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Integer nodes of quantised models against ONNX Runtime and against exact sums.

    quantised_nodes.py GRAPHRUN FOLDER...

Each FOLDER holds model.onnx and test_data_set_0; those of models without such nodes are passed over. ONNX Runtime runs the model without graph optimisations and gives all
inner values. Every node that makes integers becomes a model of its own, with ONNX Runtime's inputs and outputs as test
data, and `graphrun verify --strict --atol 0` must agree in every integer. ONNX Runtime's products may saturate: on
CPUs without VNNI they add pairs of products in 16 bits. What NumPy sums in 64 bits decides: where ONNX Runtime differs
from that, the exact sum is what is expected."""
import json
import os
import subprocess
import sys
import tempfile

import numpy as np
import onnx
import onnxruntime
from onnx import helper, numpy_helper

OPS = {'MatMulInteger', 'ConvInteger', 'QLinearMatMul', 'QLinearConv', 'QuantizeLinear', 'DynamicQuantizeLinear',
       'QLinearAdd', 'QLinearMul', 'QGemm'}


def session(model):
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(model.SerializeToString(), options, ['CPUExecutionProvider'])


def inner_values(folder):
    """The model, and every value that ONNX Runtime has for its first set of data."""
    model = onnx.load(os.path.join(folder, 'model.onnx'))
    graph = model.graph
    if not any(node.op_type in OPS for node in graph.node):
        return model, {}
    known = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
    wanted = [n for node in graph.node if node.op_type in OPS for n in list(node.input) + list(node.output) if n]
    fed = {}
    for i, info in enumerate(x for x in graph.input if x.name not in known):
        tensor = onnx.load_tensor(os.path.join(folder, 'test_data_set_0', f'input_{i}.pb'))
        fed[tensor.name or info.name] = numpy_helper.to_array(tensor)
    known.update(fed)
    names = [n for n in dict.fromkeys(wanted) if n not in known]
    if names:
        del graph.output[:]
        graph.output.extend(helper.make_empty_tensor_value_info(n) for n in names)
        known.update(zip(names, session(model).run(names, fed)))
    return model, known


def exact(node, values):
    """The outputs of a product with sums of 64 bits, or None for other nodes."""
    x = [values[n] if n else None for n in node.input]
    if node.op_type != 'MatMulInteger':
        return None
    a, b = x[0].astype(np.int64), x[1].astype(np.int64)
    za = x[2].astype(np.int64) if len(x) > 2 and x[2] is not None else np.int64(0)
    zb = x[3].astype(np.int64) if len(x) > 3 and x[3] is not None else np.int64(0)
    return [((a - (za[..., None] if np.ndim(za) else za)) @ (b - zb)).astype(np.int32)]


def write_case(folder, model, node, values, outputs):
    single = onnx.NodeProto()
    single.CopyFrom(node)
    inputs = list(dict.fromkeys(n for n in node.input if n))
    made = [(n, v) for n, v in zip(node.output, outputs) if n]
    info = lambda n, v: helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(v.dtype), v.shape)
    graph = helper.make_graph([single], 'g', [info(n, values[n]) for n in inputs], [info(n, v) for n, v in made])
    data = os.path.join(folder, 'test_data_set_0')
    os.makedirs(data)
    onnx.save(helper.make_model(graph, ir_version=model.ir_version, opset_imports=model.opset_import),
              os.path.join(folder, 'model.onnx'))
    for kind, items in (('input', [(n, values[n]) for n in inputs]), ('output', made)):
        for i, (name, v) in enumerate(items):
            onnx.save_tensor(numpy_helper.from_array(np.asarray(v), name), os.path.join(data, f'{kind}_{i}.pb'))


def verify(program, folders):
    wrong = []
    for at in range(0, len(folders), 200):
        # Floats beside the integers (the scale of DynamicQuantizeLinear) may differ in their last bits.
        r = subprocess.run([program, 'verify', '--strict', '--json', '--atol', '0', '--rtol', '1e-6'] + folders[at:at + 200],
                           capture_output=True, text=True, check=False)
        wrong += [c for c in json.loads(r.stdout)['cases'] if c['result'] != 'ok']
    return wrong


def main():
    if len(sys.argv) < 3:
        sys.exit('usage: quantised_nodes.py GRAPHRUN FOLDER...')
    folders, models, integers, saturated = [], 0, 0, []
    with tempfile.TemporaryDirectory() as top:
        for source in map(os.path.normpath, sys.argv[2:]):
            model, values = inner_values(source)
            count = 0
            for i, node in enumerate(model.graph.node):
                if node.op_type not in OPS:
                    continue
                outputs = [values[n] for n in node.output if n]
                sums = exact(node, values)
                if sums and not np.array_equal(sums[0], outputs[0]):
                    saturated.append((source, node.name, int((sums[0] != outputs[0]).sum())))
                folders.append(os.path.join(top, f'{os.path.basename(source)}_{i}'))
                write_case(folders[-1], model, node, values, sums or outputs)
                integers += sum(v.size for v in outputs if not np.issubdtype(v.dtype, np.floating))
                count += 1
            models += count > 0
        wrong = verify(sys.argv[1], folders)
    for source, name, n in saturated:
        print(f'{os.path.basename(source)}: {n} sums of {name} saturate in ONNX Runtime')
    for c in wrong:
        print(f"{c['case']}: {c.get('reason') or json.dumps(c['sets'])[:300]}")
    print(f'{models} models, {len(folders)} nodes, {integers} integers: {len(wrong)} nodes differ; '
          f'{len(saturated)} nodes whose sums ONNX Runtime saturates')
    sys.exit(bool(wrong) or not folders)


if __name__ == '__main__':
    main()
