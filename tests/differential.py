#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Random models of one node against ONNX Runtime: element types, broadcasting, attributes, empty tensors and scalars.

    differential.py GRAPHRUN [--seed N] [--count N] [--contrib] [--only OP] [--keep DIR]

Each case is written in ONNX's layout of test data with ONNX Runtime's outputs and given to `graphrun verify`. What ONNX
Runtime does not run is not compared. The suite runs a fixed seed; by hand a large --count finds more.

Left out, and checked by ONNX's node tests and tests/ops instead:
- what opset 21 of ONNX Runtime does not have: RMSNormalization, Swish, SwiGLU, LinearAttention, FlexAttention,
  TensorScatter, BitCast, CumProd, CausalConvWithState; GatedRelativePositionBias and QLinearReduceMean of com.microsoft,
  for which it has no kernel on CPUs;
- random numbers, Dropout and Bernoulli: its generator is another one;
- graphs inside nodes, sequences and optionals: a random node of them is a random program;
- windows, transforms and filters (DFT, STFT, windows, MelWeightMatrix), losses, batch, instance and group norms, the rarer
  pools and rearrangements (MaxUnpool, LpPool, Col2Im, DepthToSpace, ReverseSequence, Compress, Unique and the like): a
  few parameters make all of their cases, and the node tests have those;
- NaN and infinities, and integers that overflow: the standard leaves them open, and results differ by kernel."""
import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

import contrib_cases

OPSET = 21
FLOATS = [np.float32, np.float64, np.float16]
SIGNED = [np.int8, np.int16, np.int32, np.int64]
UNSIGNED = [np.uint8, np.uint16, np.uint32, np.uint64]
INTS = SIGNED + UNSIGNED
NUMBERS = FLOATS + INTS
ALL = NUMBERS + [np.bool_]
rng = random.Random()


def data(dtype, shape, low=-4.0, high=4.0):
    n = int(np.prod(shape, dtype=np.int64))
    if dtype == np.bool_:
        return np.array([rng.random() < 0.5 for _ in range(n)], dtype).reshape(shape)
    if np.issubdtype(dtype, np.floating):
        return np.array([rng.uniform(low, high) for _ in range(n)]).astype(dtype).reshape(shape)
    low = max(int(low), 0) if np.issubdtype(dtype, np.unsignedinteger) else int(low)
    return np.array([rng.randint(low, max(low, int(high))) for _ in range(n)], dtype).reshape(shape)


def shape(least=0, most=4, empty=0.08):
    return [0 if rng.random() < empty else rng.choice([1, 2, 3, 5, 8, 17]) for _ in range(rng.randint(least, most))]


def repeated(dims):
    """A shape that broadcasts to dims."""
    out = [1 if rng.random() < 0.3 else d for d in dims]
    return out[rng.randint(0, len(out)) if rng.random() < 0.4 else 0:]


def ints(*v):
    return np.array(v, np.int64)


class Case:
    def __init__(self, op, inputs, attrs=None, outputs=1, constant=(), domain=''):
        self.op, self.inputs, self.attrs = op, inputs, attrs or {}
        self.outputs = outputs if isinstance(outputs, list) else [1] * outputs
        self.constant, self.domain = set(constant), domain


def axis_of(dims):
    return rng.randrange(-len(dims), len(dims))


def some_constants(*numbers):
    return [i for i in numbers if rng.random() < 0.6]


# ---- makers: each gives a case ----

def unary():
    op, low, high, types = rng.choice(
        [(o, -4, 4, FLOATS) for o in 'Exp Erf Tanh Sigmoid Sin Cos Floor Ceil Round Softplus Softsign Elu Selu LeakyRelu '
         'HardSigmoid HardSwish Gelu Mish ThresholdedRelu Celu Atan Sinh Reciprocal'.split()] +
        [(o, 0.01, 9, FLOATS) for o in 'Log Sqrt'.split()] + [(o, -0.9, 0.9, FLOATS) for o in 'Asin Acos Atanh'.split()] +
        [(o, -9, 9, FLOATS + SIGNED) for o in 'Abs Neg Sign Relu'.split()] + [('Not', 0, 1, [np.bool_]),
         ('BitwiseNot', -9, 9, INTS), ('Identity', -9, 9, ALL), ('IsNaN', -9, 9, FLOATS)])
    attrs = {'approximate': rng.choice(['none', 'tanh'])} if op == 'Gelu' else {}
    if op in ('Elu', 'LeakyRelu', 'Celu', 'ThresholdedRelu'):
        attrs['alpha'] = rng.choice([0.1, 1.0, 1.7])
    return Case(op, [data(rng.choice(types), shape(), low, high)], attrs)


def binary():
    op, types = rng.choice(
        [(o, NUMBERS) for o in 'Add Sub Mul Max Min Less LessOrEqual Greater GreaterOrEqual'.split()] +
        [('Div', NUMBERS), ('Pow', FLOATS + [np.int32, np.int64]), ('Mod', INTS), ('Equal', ALL), ('And', [np.bool_]),
         ('Or', [np.bool_]), ('Xor', [np.bool_]), ('BitwiseAnd', INTS), ('BitwiseOr', INTS), ('BitwiseXor', INTS),
         ('PRelu', FLOATS)])
    t, dims = rng.choice(types), shape()
    a, b = data(t, dims, -9, 9), data(t, repeated(dims), -9, 9)
    if op in ('Div', 'Mod'):
        b = np.where(b == 0, np.array(1, t), b).astype(t)
    if op == 'Pow':
        a, b = data(t, dims, 0.1 if t in FLOATS else 0, 4), data(t, repeated(dims), 0, 3)
    if op not in ('PRelu',) and rng.random() < 0.5:
        a, b = (a, b) if op in ('Div', 'Mod', 'Pow') else (b, a)
    attrs = {'fmod': 1} if op == 'Mod' and rng.random() < 0.4 else {}
    return Case(op, [a, b], attrs, constant=some_constants(0, 1)[:1])


def variadic():
    dims, t = shape(), rng.choice(FLOATS + [np.int32, np.int64])
    op = rng.choice(['Max', 'Min', 'Sum', 'Mean'])
    t = t if op in ('Max', 'Min') else rng.choice([np.float32, np.float64])
    return Case(op, [data(t, repeated(dims)) for _ in range(rng.randint(1, 4))])


def where():
    dims, t = shape(), rng.choice(ALL)
    return Case('Where', [data(np.bool_, repeated(dims)), data(t, repeated(dims)), data(t, repeated(dims))])


def clip():
    t = rng.choice(NUMBERS)
    low = data(t, [], 0, 1) if rng.random() < 0.7 else None
    high = data(t, [], 2, 3) if rng.random() < 0.7 else None
    return Case('Clip', [data(t, shape(), -9, 9), low, high], constant=some_constants(1, 2))


def reduction():
    op = rng.choice('ReduceSum ReduceMean ReduceMax ReduceMin ReduceProd ReduceL1 ReduceL2 ReduceSumSquare ReduceLogSum '
                    'ReduceLogSumExp'.split())
    t = rng.choice([np.float32, np.float64, np.int32, np.int64] if 'Log' not in op and op != 'ReduceL2' else
                   [np.float32, np.float64])
    dims = shape(empty=0.05 if op in ('ReduceSum', 'ReduceSumSquare', 'ReduceL1', 'ReduceL2') else 0)
    picked = [a - (len(dims) if rng.random() < 0.3 else 0) for a in range(len(dims)) if rng.random() < 0.5]
    attrs = {'keepdims': rng.randint(0, 1)}
    if rng.random() < 0.3:
        attrs['noop_with_empty_axes'] = rng.randint(0, 1)
    x = data(t, dims, 0.1 if t in FLOATS else 1, 2 if op != 'ReduceProd' else 1.2)
    return Case(op, [x, ints(*picked)] if picked or rng.random() < 0.5 else [x], attrs, constant=some_constants(1))


def arg():
    dims = shape(1, 4, 0)
    attrs = {'axis': axis_of(dims), 'keepdims': rng.randint(0, 1), 'select_last_index': rng.randint(0, 1)}
    return Case(rng.choice(['ArgMax', 'ArgMin']), [data(rng.choice([np.float32, np.int32, np.float64]), dims)], attrs)


def along():
    dims, t = shape(1, 4), rng.choice(FLOATS)
    return Case(rng.choice(['Softmax', 'LogSoftmax', 'Hardmax']), [data(t, dims)], {'axis': axis_of(dims)})


def cumsum():
    dims = shape(1, 4)
    return Case('CumSum', [data(rng.choice([np.float32, np.float64, np.int32, np.int64]), dims), np.array(axis_of(dims))],
                {'exclusive': rng.randint(0, 1), 'reverse': rng.randint(0, 1)}, constant=some_constants(1))


def concat():
    dims, t = shape(1, 4), rng.choice(ALL)
    axis = axis_of(dims)
    parts = []
    for _ in range(rng.randint(1, 4)):
        d = list(dims)
        d[axis] = rng.randint(0, 4)
        parts.append(data(t, d))
    return Case('Concat', parts, {'axis': axis})


def split():
    dims, t = shape(1, 4), rng.choice(ALL)
    axis = axis_of(dims)
    if rng.random() < 0.5:
        n = rng.randint(1, 3)
        return Case('Split', [data(t, dims)], {'axis': axis, 'num_outputs': n}, n) if dims[axis] >= n * n else concat()
    sizes, left = [], dims[axis]
    while left > 0 or not sizes:
        sizes.append(rng.randint(0, left))
        left -= sizes[-1]
        if len(sizes) == 4:
            sizes[-1] += left
            left = 0
    return Case('Split', [data(t, dims), ints(*sizes)], {'axis': axis}, len(sizes), constant=some_constants(1))


def slices():
    dims, t = shape(1, 4), rng.choice(ALL)
    axes = rng.sample(range(len(dims)), rng.randint(1, len(dims)))
    starts = [rng.choice([rng.randint(-20, 20), 0, -1, 2**62, -2**62]) for _ in axes]
    steps = [rng.choice([1, 1, 2, 3, -1, -2]) for _ in axes]
    # Backwards to the greatest number is nowhere by the standard, and the whole way for ONNX Runtime.
    ends = [rng.choice([rng.randint(-20, 20), 2**63 - 1 if s > 0 else 3, -2**63 + 1]) for s in steps]
    axes = [a - (len(dims) if rng.random() < 0.3 else 0) for a in axes]
    return Case('Slice', [data(t, dims), ints(*starts), ints(*ends), ints(*axes), ints(*steps)],
                constant=[1, 2, 3, 4] if rng.random() < 0.6 else [])


def index(shape_, n):
    return np.array([rng.randint(-n, n - 1) for _ in range(int(np.prod(shape_, dtype=np.int64)))], np.int64).reshape(shape_)


def gather():
    dims, t = shape(1, 4, 0), rng.choice(ALL)
    axis, op = axis_of(dims), rng.choice(['Gather', 'GatherElements', 'GatherND'])
    x = data(t, dims)
    if op == 'Gather':
        i = index(shape(0, 2), dims[axis])
        return Case(op, [x, i if rng.random() < 0.5 else i.astype(np.int32)], {'axis': axis}, constant=some_constants(0, 1))
    if op == 'GatherElements':
        return Case(op, [x, index([rng.randint(0 if a != axis % len(dims) else 1, d) for a, d in enumerate(dims)], dims[axis])],
                    {'axis': axis})
    depth = rng.randint(1, len(dims))
    return Case(op, [x, np.stack([index(s, dims[k]) for s in [shape(0, 2)] for k in range(depth)], -1)])


def scatter():
    dims, t = shape(1, 4, 0), rng.choice([np.float32, np.float64, np.int32, np.int64])
    x, reduction_ = data(t, dims), rng.choice(['none', 'add', 'mul', 'max', 'min'])
    if rng.random() < 0.5:
        axis = axis_of(dims)
        d = [rng.randint(0, n) for n in dims]
        i = index(d, dims[axis])
        if reduction_ == 'none':  # which of two writes wins is not defined
            d[axis] = min(d[axis], 1)
            i = index(d, dims[axis])
        return Case('ScatterElements', [x, i, data(t, d)], {'axis': axis, 'reduction': reduction_})
    depth, n = rng.randint(1, len(dims)), 1 if reduction_ == 'none' else rng.randint(0, 4)
    i = np.stack([index([n], dims[k]) for k in range(depth)], -1)
    return Case('ScatterND', [x, i, data(t, [n] + dims[depth:])], {'reduction': reduction_})


def reshape():
    dims, t = shape(), rng.choice(ALL)
    n = int(np.prod(dims, dtype=np.int64))
    if rng.random() < 0.4 and dims:
        op, k = rng.choice([('Flatten', 0), ('Transpose', 0)])
        if op == 'Flatten':
            return Case(op, [data(t, dims)], {'axis': rng.randint(-len(dims), len(dims))})
        return Case(op, [data(t, dims)], {'perm': rng.sample(range(len(dims)), len(dims))})
    target = rng.choice([[n], [1, n], [n, 1, 1], [-1]] + ([[0] * len(dims)] if dims else []) if n else [list(dims)])
    attrs = {'allowzero': 1} if 0 in dims and n == 0 else {}
    return Case('Reshape', [data(t, dims), ints(*target)], attrs, constant=some_constants(1))


def squeeze():
    dims, t = shape(), rng.choice(ALL)
    if rng.random() < 0.5:
        ones = [a for a, d in enumerate(dims) if d == 1]
        axes = [a - (len(dims) if rng.random() < 0.4 else 0) for a in ones if rng.random() < 0.7]
        return Case('Squeeze', [data(t, dims), ints(*axes)] if axes else [data(t, dims)], constant=some_constants(1))
    k = rng.randint(1, 2)
    axes = rng.sample(range(len(dims) + k), k)
    return Case('Unsqueeze', [data(t, dims), ints(*[a - (len(dims) + k if rng.random() < 0.4 else 0) for a in axes])],
                constant=some_constants(1))


def repeat():
    dims, t = shape(), rng.choice([np.float32, np.int64, np.int32, np.bool_, np.float64, np.uint8])
    if rng.random() < 0.5:
        return Case('Expand', [data(t, repeated(dims)), ints(*dims)], constant=some_constants(1))
    return Case('Tile', [data(t, dims), ints(*[rng.randint(0, 3) for _ in dims])], constant=some_constants(1))


def pad():
    dims, t = shape(1, 4, 0), rng.choice([np.float32, np.float64, np.int32, np.int64, np.bool_])
    mode = rng.choice(['constant', 'reflect', 'edge', 'wrap'])
    low = {'constant': -1, 'reflect': 0, 'edge': 0, 'wrap': 0}[mode]
    most = [3 if mode in ('constant', 'edge') else max(0, d - 1) for d in dims]
    pads = [rng.randint(low if d > 2 else 0, min(3, m)) for m, d in zip(most, dims)] * 2
    ins = [data(t, dims), ints(*pads)]
    if mode == 'constant' and rng.random() < 0.5:
        ins.append(data(t, []))
    return Case('Pad', ins, {'mode': mode}, constant=some_constants(1, 2))


def trilu():
    x = data(rng.choice([np.float32, np.int64, np.bool_, np.float64]), shape(2, 4))
    return Case('Trilu', [x, np.array(rng.randint(-5, 5))] if rng.random() < 0.7 else [x], {'upper': rng.randint(0, 1)})


def one_hot():
    depth, t = rng.randint(1, 6), rng.choice([np.float32, np.int64])
    i = index(shape(1, 3), depth)
    return Case('OneHot', [i, np.array(depth, np.int64), data(t, [2])], {'axis': rng.randint(-i.ndim - 1, i.ndim)},
                constant=some_constants(1))


def top_k():
    dims = shape(1, 3, 0)
    axis = axis_of(dims)
    n = int(np.prod(dims))
    x = np.array(rng.sample(range(n), n), rng.choice([np.float32, np.int64, np.float64])).reshape(dims)
    return Case('TopK', [x, ints(rng.randint(0, dims[axis]))], {'axis': axis, 'largest': rng.randint(0, 1)}, 2,
                constant=some_constants(1))


def cast():
    a, b = rng.choice(ALL), rng.choice(ALL)
    low = 0 if b in UNSIGNED + [np.uint8] or a in UNSIGNED else -100
    return Case('Cast', [data(a, shape(), low, 100)], {'to': helper.np_dtype_to_tensor_dtype(np.dtype(b))})


def matmul():
    t = rng.choice([np.float32, np.float32, np.float64, np.int32, np.int64])
    batch, m, k, n = shape(0, 2), rng.choice([1, 2, 7, 33]), rng.choice([1, 3, 16, 65]), rng.choice([1, 2, 17, 40])
    a = rng.choice([repeated(batch) + [m, k], [k]])
    b = rng.choice([repeated(batch) + [k, n], [k, n], [k]])
    return Case('MatMul', [data(t, a), data(t, b)], constant=some_constants(1))


def gemm():
    t, m, k, n = rng.choice([np.float32, np.float64]), *[rng.choice([0, 1, 2, 7, 33]) for _ in range(3)]
    ta, tb = rng.randint(0, 1), rng.randint(0, 1)
    c = rng.choice([None, [], [1], [n], [m, n], [m, 1], [1, n]])
    ins = [data(t, [k, m] if ta else [m, k]), data(t, [n, k] if tb else [k, n])] + ([data(t, c)] if c is not None else [])
    return Case('Gemm', ins, {'transA': ta, 'transB': tb, 'alpha': rng.choice([1.0, 0.5]), 'beta': rng.choice([1.0, -2.0])},
                constant=some_constants(1, 2) if c is not None else some_constants(1))


def einsum():
    sizes = {l: rng.choice([1, 2, 3, 7]) for l in 'bhijkd'}
    eq = rng.choice(['bhid,bhjd->bhij', 'bhij,bhjd->bhid', 'ij,jk->ik', 'ij->ji', 'ij->', 'i,j->ij', 'bij,bjk->bik', 'ii->i',
                     'bid,hd->bhi', 'ij,ij->i', 'b...d,d->b...', 'bi,bj,bk->ijk', 'hij,j->hi'])
    if eq[:2] == 'ii':
        ins = [data(np.float32, [3, 3])]
    else:
        ins = [data(np.float32, [sizes[l] for l in part.replace('...', 'ij')]) for part in eq.split('->')[0].split(',')]
    return Case('Einsum', ins, {'equation': eq})


def norm():
    dims, t = shape(1, 4, 0), rng.choice([np.float32, np.float64])
    axis = axis_of(dims)
    tail = dims[axis % len(dims):]
    ins = [data(t, dims), data(t, tail)] + ([data(t, tail)] if rng.random() < 0.7 else [])
    return Case('LayerNormalization', ins, {'axis': axis, 'epsilon': rng.choice([1e-5, 1e-3])}, constant=some_constants(1))


def quantize():
    dims, t = shape(1, 4, 0), rng.choice([np.int8, np.uint8])
    axis = axis_of(dims)
    per_axis = rng.random() < 0.5
    n = [dims[axis]] if per_axis else []
    scale, zero = data(np.float32, n, 0.1, 1), data(t, n, 0, 9)
    if rng.random() < 0.5:
        return Case('QuantizeLinear', [data(np.float32, dims, -50, 50), scale, zero], {'axis': axis})
    return Case('DequantizeLinear', [data(t, dims, -100, 100), scale, zero], {'axis': axis})


def integer_product():
    m, k, n, a, b = rng.choice([1, 5, 33]), rng.choice([1, 4, 67]), rng.choice([1, 8, 19]), rng.choice([np.int8, np.uint8]), \
        rng.choice([np.int8, np.uint8])
    ins = [data(a, shape(0, 1, 0) + [m, k], -128, 127), data(b, [k, n], -128, 127)]
    if rng.random() < 0.7:
        ins += [data(a, [], 0, 20), data(b, rng.choice([[], [n]]), 0, 20)]
    return Case('MatMulInteger', ins, constant=some_constants(1))


def convolution():
    d, groups = rng.randint(1, 2), rng.choice([1, 1, 2])
    cin, cout, k = groups * rng.randint(1, 3), groups * rng.randint(1, 3), [rng.randint(1, 3) for _ in range(d)]
    x = data(np.float32, [rng.randint(1, 2), cin] + [rng.randint(5, 9) for _ in range(d)])
    attrs = {'strides': [rng.randint(1, 2) for _ in range(d)], 'pads': [rng.randint(0, 2) for _ in range(2 * d)],
             'dilations': [rng.randint(1, 2) for _ in range(d)]}
    if rng.random() < 0.5:
        ins = [x, data(np.float32, [cout, cin // groups] + k)] + ([data(np.float32, [cout])] if rng.random() < 0.5 else [])
        return Case('Conv', ins, dict(attrs, group=groups), constant=some_constants(1))
    attrs['pads'] = [min(p, kk - 1) for p, kk in zip(attrs['pads'], k * 2)]
    op = rng.choice(['AveragePool', 'MaxPool'])
    if op == 'AveragePool':
        attrs['count_include_pad'] = rng.randint(0, 1)
    return Case(op, [x], dict(attrs, kernel_shape=k, ceil_mode=rng.randint(0, 1)))


def shapes():
    dims = shape()
    if rng.random() < 0.5:
        return Case('Shape', [data(rng.choice([np.float32, np.bool_]), dims)],
                    {'start': rng.randint(-5, 5), 'end': rng.randint(-5, 5)})
    return Case(rng.choice(['Size', 'NonZero']), [data(np.float32, dims).round()])


MAKERS = [unary, unary, unary, binary, binary, binary, variadic, where, clip, reduction, reduction, arg, along, cumsum, concat,
          split, slices, slices, gather, scatter, reshape, squeeze, repeat, pad, trilu, one_hot, top_k, cast, cast, matmul,
          matmul, gemm, einsum, norm, quantize, integer_product, convolution, shapes]


# ---- cases as files ----

def model_of(case):
    names = ['' if x is None else f'x{i}' for i, x in enumerate(case.inputs)]
    while names and not names[-1]:
        names.pop()
    outs = [f'y{i}' if wanted else '' for i, wanted in enumerate(case.outputs)]
    node = helper.make_node(case.op, names, outs, domain=case.domain, **case.attrs)
    fed, constants = [], []
    for i, x in enumerate(case.inputs):
        if x is None or not names[i:]:
            continue
        if i in case.constant:
            constants.append(numpy_helper.from_array(x, names[i]))
            continue
        kind = helper.np_dtype_to_tensor_dtype(x.dtype)
        dims = [f'd{i}_{k}' if rng.random() < 0.5 else d for k, d in enumerate(x.shape)]
        fed.append((helper.make_tensor_value_info(names[i], kind, dims), x))
    graph = helper.make_graph([node], 'g', [f for f, _ in fed],
                              [helper.make_tensor_value_info(o, TensorProto.UNDEFINED, None) for o in outs if o], constants)
    for o in graph.output:
        o.ClearField('type')
    model = helper.make_model(graph, ir_version=10,
                              opset_imports=[helper.make_opsetid('', OPSET), helper.make_opsetid('com.microsoft', 1)])
    inferred = onnx.shape_inference.infer_shapes(model)
    for o, known in zip(model.graph.output, inferred.graph.output):
        if known.type.tensor_type.elem_type:
            o.type.tensor_type.elem_type = known.type.tensor_type.elem_type
    return model, [x for _, x in fed]


def write_case(folder, case):
    """False if ONNX Runtime does not run it."""
    try:
        model, fed = model_of(case)
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.log_severity_level = 4
        options.intra_op_num_threads = 1
        session = onnxruntime.InferenceSession(model.SerializeToString(), options, ['CPUExecutionProvider'])
        outputs = session.run(None, {v.name: x for v, x in zip(model.graph.input, fed)})
    except Exception:  # ONNX Runtime's exceptions have no common class
        return False
    data_set = os.path.join(folder, 'test_data_set_0')
    os.makedirs(data_set)
    onnx.save(model, os.path.join(folder, 'model.onnx'))
    for kind, values, infos in (('input', fed, model.graph.input), ('output', outputs, model.graph.output)):
        for i, (x, info) in enumerate(zip(values, infos)):
            onnx.save_tensor(numpy_helper.from_array(np.asarray(x), info.name), os.path.join(data_set, f'{kind}_{i}.pb'))
    return True


def run(program, folders, tolerance):
    """Name -> why, of the cases that are wrong."""
    wrong = {}
    for at in range(0, len(folders), 200):
        r = subprocess.run([program, 'verify', '--json', '--atol', tolerance, '--rtol', tolerance] + folders[at:at + 200],
                           capture_output=True, text=True)
        for case in json.loads(r.stdout)['cases']:
            if case['result'] != 'ok':
                wrong[case['case']] = case.get('reason') or json.dumps(case['sets'])
    return wrong


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('program')
    parser.add_argument('--seed', type=int, default=1)
    parser.add_argument('--count', type=int, default=600)
    parser.add_argument('--contrib', action='store_true')
    parser.add_argument('--only')
    parser.add_argument('--keep', help='write the cases here and leave them')
    args = parser.parse_args()
    rng.seed(args.seed)
    makers = contrib_cases.makers(sys.modules[__name__]) if args.contrib else MAKERS
    root = args.keep or tempfile.mkdtemp()
    plain, half, skipped, texts = [], [], 0, {}
    for i in range(args.count):
        case = rng.choice(makers)()
        name = f'{i:06}_{case.op}'
        folder = os.path.join(root, name)
        if args.only and case.op != args.only:
            continue
        if not write_case(folder, case):
            skipped += 1
            continue
        texts[name] = f'{case.op}({", ".join("-" if x is None else f"{x.dtype}{list(x.shape)}" for x in case.inputs)}) {case.attrs}'
        is_half = any(x is not None and x.dtype == np.float16 for x in case.inputs) or case.attrs.get('to') == 10
        (half if is_half else plain).append(folder)
    wrong = run(args.program, plain, '2e-5')
    wrong.update(run(args.program, half, '5e-3'))
    for name, why in sorted(wrong.items()):
        print(f'{name}: {texts.get(name)}\n    {why[:400]}')
    print(f'{len(plain) + len(half)} cases compared, {skipped} that ONNX Runtime does not run, {len(wrong)} differ')
    if not args.keep:
        shutil.rmtree(root)
    return 1 if wrong or not plain else 0


if __name__ == '__main__':
    sys.exit(main())
