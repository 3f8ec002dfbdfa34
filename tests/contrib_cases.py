# SPDX-License-Identifier: Apache-2.0
"""Random nodes of com.microsoft for differential.py: ONNX Runtime's fused and quantised operators, with every input and
form of mask that its optimizer and quantizers write, and more."""
import ml_dtypes
import numpy as np


def makers(tools):
    """Functions that each give a case; `tools` is the module differential."""
    rng, data, shape, ints, some = tools.rng, tools.data, tools.shape, tools.ints, tools.some_constants
    f32 = np.float32

    def case(op, inputs, attrs=None, outputs=1, constant=(), **more):
        return tools.Case(op, inputs, attrs, outputs, constant, domain='com.microsoft', **more)

    def maybe(x, p=0.5):
        return x if rng.random() < p else None

    def scale(n=(), low=0.01, high=0.1):
        return data(f32, list(n), low, high)

    def codes(t, dims):
        limits = np.iinfo(t)
        return data(t, dims, limits.min, limits.max)

    def weights(t, dims):
        """Signed ones have 7 bits: ONNX Runtime's sums of two products saturate on CPUs without VNNI."""
        return data(t, dims, -63, 63) if t == np.int8 else codes(t, dims)

    def zero(t, n=()):
        return data(t, list(n), 0 if np.issubdtype(t, np.unsignedinteger) else -9, 20)

    def byte():
        return rng.choice([np.int8, np.uint8])

    def sizes():
        return rng.randint(1, 3), rng.choice([1, 2, 5, 9]), rng.choice([1, 2, 4]), rng.choice([2, 4, 8])

    def lengths(batch, total):
        return np.array([rng.randint(1, total) for _ in range(batch)], np.int32)

    def mask_of(batch, queries, total, causal):
        """Each query sees a key: among hidden ones differences are lost beside the -10000 that hides them."""
        ends = lengths(batch, total)
        starts = np.array([0 if causal else rng.randint(0, e - 1) for e in ends], np.int32)
        keys = np.array([[rng.randint(0, 1) for _ in range(total)] for _ in range(batch)], np.int32)
        keys[:, 0] = 1
        grid = np.array([rng.randint(0, 1) for _ in range(batch * queries * total)], np.int32).reshape(batch, queries, total)
        grid[:, :, 0] = 1
        return rng.choice([None, ends, keys, grid, np.concatenate([ends, starts])])

    def score_bias(batch, heads, queries, total):
        return maybe(data(f32, [rng.choice([1, batch]), rng.choice([1, heads]), queries, total]), 0.4)

    # ---- attention ----

    def attention():
        b, s, h, d = sizes()
        past = rng.choice([0, 0, 3])
        width = rng.choice([3, 8])
        attrs = {'num_heads': h, 'unidirectional': rng.randint(0, 1)}
        if rng.random() < 0.3:
            attrs['scale'] = 0.3
        if rng.random() < 0.3:
            attrs['mask_filter_value'] = -50.0
        cache = data(f32, [2, b, h, past, d], -1, 1) if past else None
        ins = [data(f32, [b, s, width], -1, 1), data(f32, [width, 3 * h * d], -1, 1), data(f32, [3 * h * d], -1, 1),
               mask_of(b, s, s + past, attrs['unidirectional']), cache, score_bias(b, h, s, s + past)]
        return case('Attention', ins, attrs, 2 if past or rng.random() < 0.2 else 1, constant=some(1) + [2])

    def multi_head():
        b, s, h, d = sizes()
        cross = rng.random() < 0.3
        total = rng.choice([1, 4, 7]) if cross else s
        past = 0 if cross else rng.choice([0, 0, 3])
        q, k, v = data(f32, [b, s, h * d]), data(f32, [b, total, h * d]), data(f32, [b, total, h * d])
        bias = maybe(data(f32, [3 * h * d]), 0.4)
        if cross and rng.random() < 0.4:
            k, v = data(f32, [b, h, total, d]), data(f32, [b, h, total, d])
        attrs = {'num_heads': h, 'unidirectional': 0 if cross else rng.randint(0, 1)}
        if rng.random() < 0.3:
            attrs['scale'] = 0.3
        mask = mask_of(b, s, total + past, attrs['unidirectional'])
        cache = [data(f32, [b, h, past, d]), data(f32, [b, h, past, d])] if past else [None, None]
        return case('MultiHeadAttention', [q, k, v, bias, mask, score_bias(b, h, s, total + past)] + cache, attrs,
                    3 if past else 1, constant=some(3))

    def group_query():
        b, s, kv, d = sizes()
        d *= 16 // d  # ONNX Runtime wants multiples of 16
        h, past = kv * rng.choice([1, 2, 3]), rng.choice([0, 4])
        if past:
            s = rng.choice([1, 1, 3])
        b = 1 if past and s > 1 else b
        total = past + s
        rotary = rng.random() < 0.5
        attrs = {'num_heads': h, 'kv_num_heads': kv, 'do_rotary': int(rotary)}
        if rotary:
            attrs['rotary_interleaved'] = rng.randint(0, 1)
        for name, value in (('scale', 0.3), ('softcap', 2.0), ('local_window_size', rng.randint(1, total))):
            if rng.random() < 0.25:
                attrs[name] = value
        angles = data(f32, [total + 2, d // 2], 0, 3)
        cache = [data(f32, [b, kv, past, d]), data(f32, [b, kv, past, d])] if past else [None, None]
        q, k, v = data(f32, [b, s, h * d]), data(f32, [b, s, kv * d]), data(f32, [b, s, kv * d])
        if rng.random() < 0.25:
            q, k, v = np.concatenate([q, k, v], -1), None, None
        ins = [q, k, v] + cache + [np.full([b], total - 1, np.int32), np.array(total, np.int32)]
        ins += [np.cos(angles), np.sin(angles)] if rotary else [None, None]
        ins += [None, score_bias(b, h, s, total), maybe(data(f32, [h]), 0.2)]
        return case('GroupQueryAttention', ins, attrs, 3)

    def quantised_attention():
        b, s, h, d = sizes()
        past, width, t, w = rng.choice([0, 0, 3]), rng.choice([3, 8]), np.uint8, byte()
        cache = data(f32, [2, b, h, past, d], -1, 1) if past else None
        causal = rng.randint(0, 1)
        mask = mask_of(b, s, s + past, causal)
        columns = rng.choice([[], [3 * h * d]])
        ins = [codes(t, [b, s, width]), weights(w, [width, 3 * h * d]), data(f32, [3 * h * d]),
               data(f32, [], 0.005, 0.01), data(f32, columns, 0.005, 0.01), mask, zero(t), zero(w, columns), cache]
        return case('QAttention', ins, {'num_heads': h, 'unidirectional': causal},
                    2 if past else 1, constant=[1, 2, 4, 7] if rng.random() < 0.7 else [])

    def rotary():
        b, s, h, d = sizes()
        rows, flat = s + 3, rng.random() < 0.6
        part = rng.random() < 0.3 and d > 2
        width = d // 2 if part else d
        attrs = {'interleaved': rng.randint(0, 1)}
        if part:
            attrs.update(num_heads=h, rotary_embedding_dim=width)
        angles = data(f32, [rows, width // 2], 0, 3)
        where = rng.choice([ints(rng.randint(0, 3)), np.array([[rng.randrange(rows) for _ in range(s)] for _ in range(b)])])
        x = data(f32, [b, s, h * d] if flat else [b, h, s, d])
        return case('RotaryEmbedding', [x, where, np.cos(angles), np.sin(angles)], attrs, constant=some(2, 3))

    # ---- norms and activations ----

    def embed():
        b, s, _, d = sizes()
        n = [5, s + 2, 3]
        tables = [data(f32, [k, d]) for k in n]
        segments = rng.random() < 0.7
        rows = lambda k: data(np.int32, [b, s], 0, k - 1)
        attrs = {'epsilon': 1e-5, 'mask_index_type': 1} if rng.random() < 0.5 else {}
        ins = [rows(5), rows(3) if segments else None, tables[0], tables[1], tables[2] if segments else None,
               data(f32, [d]), data(f32, [d]), maybe(data(np.int32, [b, s], 0, 1)),
               maybe(data(np.int64, [b, s], 0, s).astype(np.int32), 0.3)]
        return case('EmbedLayerNormalization', ins, attrs, rng.choice([2, 3]), constant=[2, 3, 4, 5, 6])

    def quantised_embed():
        b, s, _, d = sizes()
        t, segments = byte(), rng.random() < 0.7
        rows = lambda k: data(np.int32, [b, s], 0, k - 1)
        ins = [rows(5), rows(3) if segments else None, codes(t, [5, d]), codes(t, [s, d]),
               codes(t, [3, d]) if segments else None, codes(t, [d]), codes(t, [d]), maybe(data(np.int32, [b, s], 0, 1))]
        at = {2, 3, 4, 5, 6}
        one = lambda make: [make() if i != 4 or segments else None for i in sorted(at)]
        return case('QEmbedLayerNormalization', ins + one(scale) + one(lambda: zero(t)), {'epsilon': 1e-5}, 2,
                    constant=[2, 3, 4, 5, 6] + list(range(8, 18)))

    def skip_norm():
        b, s, _, d = sizes()
        skip = rng.choice([[b, s, d], [b, s, d], [1, s, d], [s, d]])
        wants = rng.choice([[1], [1, 0, 0, 1]])
        if rng.random() < 0.5:
            return case('SkipSimplifiedLayerNormalization', [data(f32, [b, s, d]), data(f32, skip), data(f32, [d]),
                                                             maybe(data(f32, [d]))], {'epsilon': 1e-4}, wants)
        return case('SkipLayerNormalization', [data(f32, [b, s, d]), data(f32, skip), data(f32, [d]),
                                               maybe(data(f32, [d])), maybe(data(f32, [d]))], {'epsilon': 1e-4}, wants)

    def simple_norm():
        dims = shape(1, 4, 0)
        axis = tools.axis_of(dims)
        return tools.Case('SimplifiedLayerNormalization', [data(f32, dims), data(f32, dims[axis % len(dims):])],
                          {'axis': axis, 'epsilon': 1e-4})

    def activation():
        op, dims = rng.choice(['Gelu', 'BiasGelu', 'FastGelu', 'QuickGelu']), shape(1, 4, 0)
        ins = [data(f32, dims)]
        if op == 'BiasGelu' or (op == 'FastGelu' and rng.random() < 0.5):
            ins.append(data(f32, dims[-1:]))
        return case(op, ins, {'alpha': rng.choice([1.0, 1.702])} if op == 'QuickGelu' else {}, constant=some(1))

    # ---- products ----

    def fused_matmul():
        op, rank = rng.choice(['FusedMatMul', 'TransposeMatMul']), rng.randint(2, 4)
        batch, m, k, n = [rng.randint(1, 3) for _ in range(rank - 2)], rng.randint(1, 9), rng.randint(1, 9), rng.randint(1, 9)
        ta, tb = rng.randint(0, 1), rng.randint(0, 1)
        a, b = batch + ([k, m] if ta else [m, k]), batch + ([n, k] if tb else [k, n])
        attrs = {'transA': ta, 'transB': tb, 'alpha': rng.choice([1.0, 0.25])}
        if op == 'FusedMatMul' and rank > 2:
            # The batch of such an operand stands behind its first matrix dimension.
            for name, x, last in (('transBatchA', a, (k, m)), ('transBatchB', b, (n, k))):
                if rng.random() < 0.3:
                    attrs[name] = 1
                    x[:] = x[rank - 2:rank - 1] + batch + x[rank - 1:]
        return case(op, [data(f32, a), data(f32, b)], attrs, constant=some(1))

    def fused_gemm():
        m, k, n, ta, tb = rng.randint(1, 9), rng.randint(1, 9), rng.randint(1, 9), rng.randint(0, 1), rng.randint(0, 1)
        attrs = {'transA': ta, 'transB': tb, 'alpha': rng.choice([1.0, 0.5]), 'beta': rng.choice([1.0, 2.0]),
                 'activation': rng.choice(['Relu', 'Tanh', 'Sigmoid', 'LeakyRelu'])}
        if attrs['activation'] == 'LeakyRelu':
            attrs['activation_alpha'] = 0.1
        return case('FusedGemm', [data(f32, [k, m] if ta else [m, k]), data(f32, [n, k] if tb else [k, n]),
                                  maybe(data(f32, rng.choice([[n], [m, n], [m, 1], [1]])))], attrs, constant=some(1))

    def dynamic_matmul():
        m, k, n, w = rng.randint(1, 9), rng.choice([1, 4, 17]), rng.choice([1, 8, 19]), byte()
        per = rng.choice([[1], [n]])
        ins = [data(f32, shape(0, 2, 0) + [m, k]), weights(w, [k, n]), scale(per), maybe(zero(w, per)), maybe(data(f32, [n]))]
        return case('DynamicQuantizeMatMul', ins, constant=[1, 2, 3, 4] if rng.random() < 0.7 else [])

    def to_float():
        m, k, n, t, w = rng.randint(1, 9), rng.choice([1, 4, 17]), rng.choice([1, 8, 19]), byte(), byte()
        per = rng.choice([[1], [n]])
        ins = [codes(t, shape(0, 2, 0) + [m, k]), weights(w, [k, n]), scale([1], 0.001, 0.01), scale(per, 0.001, 0.01), maybe(zero(t, [1])),
               maybe(zero(w, per)), maybe(data(f32, [n]))]
        return case('MatMulIntegerToFloat', ins, constant=[1, 3, 5, 6] if rng.random() < 0.7 else [])

    def q_gemm():
        m, k, n, t = rng.randint(1, 9), rng.choice([1, 4, 17]), rng.choice([1, 8, 19]), byte()
        w = np.int8 if t == np.int8 else byte()
        ta, tb, per, whole = rng.randint(0, 1), rng.randint(0, 1), rng.choice([[], [n]]), rng.random() < 0.7
        ins = [codes(t, [k, m] if ta else [m, k]), scale(), zero(t), weights(w, [n, k] if tb else [k, n]), scale(per),
               zero(w, per), maybe(data(np.int32, [n], -900, 900)), scale((), 9, 90) if whole else None,
               zero(t) if whole else None]
        return case('QGemm', ins, {'transA': ta, 'transB': tb, 'alpha': rng.choice([1.0, 0.5])},
                    constant=[3, 4, 5, 6] if rng.random() < 0.7 else [])

    def n_bits():
        bits, block = rng.choice([4, 4, 8]), rng.choice([16, 32, 64])
        k, n = rng.choice([16, 20, 64, 70]), rng.choice([1, 8, 19])
        blocks = -(-k // block)
        b = codes(np.uint8, [n, blocks, block * bits // 8])
        points = rng.choice([None, codes(np.uint8, [n, -(-blocks * bits // 8)]), data(f32, [n * blocks], 0, 15)])
        order = maybe(np.array([rng.randrange(blocks) for _ in range(k)], np.int32), 0.3)
        if order is not None:  # with them ONNX Runtime does not read packed zero points
            points = None
        attrs = {'K': k, 'N': n, 'bits': bits, 'block_size': block}
        return case('MatMulNBits', [data(f32, shape(0, 1, 0) + [rng.randint(1, 5), k], -1, 1), b,
                                    data(f32, [n, blocks], 0.01, 0.1), points, order, maybe(data(f32, [n]))], attrs,
                    constant=[1, 2, 3, 4, 5])

    def gather_blocks():
        t = rng.choice([ml_dtypes.int4, ml_dtypes.uint4, np.uint8])
        rows, width, block = rng.randint(2, 6), rng.choice([16, 32, 48, 64]), rng.choice([16, 32])
        bits = rng.choice([4, 8]) if t == np.uint8 else 4
        axis, packed = rng.choice([0, 0, 1]) if t != np.uint8 else 0, 8 // bits if t == np.uint8 else 1
        stored = np.array([rng.randint(0, 255 if t == np.uint8 else 7) for _ in range(rows * width // packed)])
        blocks = -(-width // block)
        n = -(-blocks // packed)
        points = maybe(np.array([rng.randint(0, 7) for _ in range(rows * n)]).astype(t).reshape(rows, n))
        index = np.array([rng.randrange([rows, width][axis]) for _ in range(4)]).reshape(rng.choice([[4], [2, 2]]))
        attrs = {'block_size': block, 'gather_axis': axis, 'quantize_axis': 1}
        if t == np.uint8:
            attrs['bits'] = bits
        return case('GatherBlockQuantized', [stored.astype(t).reshape(rows, width // packed), index,
                                             data(f32, [rows, blocks], 0.01, 0.1), points], attrs, constant=[0, 2, 3])

    # ---- operators on codes ----

    def q_binary():
        t, dims = byte(), shape(0, 4, 0)
        a, b = (dims, tools.repeated(dims))[::rng.choice([1, -1])]
        return case(rng.choice(['QLinearAdd', 'QLinearMul']), [codes(t, a), scale(), zero(t), codes(t, b), scale(),
                                                               zero(t), scale((), 0.03, 0.3), zero(t)], constant=some(3))

    def q_unary():
        op, t, dims = rng.choice(['QLinearSigmoid', 'QLinearLeakyRelu', 'QLinearSoftmax']), byte(), shape(1, 4, 0)
        attrs = {'alpha': 0.2} if op == 'QLinearLeakyRelu' else {'axis': -1, 'opset': 13} if op == 'QLinearSoftmax' else {}
        y = [np.array(1 / 256, f32), np.array(0 if t == np.uint8 else -128, t)] if op != 'QLinearLeakyRelu' else \
            [scale(), zero(t)]
        if op == 'QLinearSoftmax':
            attrs['axis'] = tools.axis_of(dims)
        return case(op, [codes(t, dims), scale(), zero(t)] + y, attrs, constant=[1, 2, 3, 4])

    def q_concat():
        t, dims = byte(), shape(1, 3, 0)
        axis = tools.axis_of(dims)
        ins = [scale(), zero(t)]
        for _ in range(rng.randint(1, 4)):
            d = list(dims)
            d[axis] = rng.randint(1, 4)
            ins += [codes(t, d), scale(), zero(t)]
        return case('QLinearConcat', ins, {'axis': axis}, constant=[i for i in range(len(ins)) if i < 2 or i % 3 != 2])

    def q_where():
        t, dims = byte(), shape(0, 3, 0)
        return case('QLinearWhere', [data(np.bool_, tools.repeated(dims)), codes(t, dims), scale(), zero(t),
                                     codes(t, tools.repeated(dims)), scale(), zero(t), scale(), zero(t)],
                    constant=[2, 3, 5, 6, 7, 8])

    def q_pool():
        t, last = byte(), rng.randint(0, 1)
        plane, c = [rng.randint(3, 8) for _ in range(rng.randint(1, 2))], rng.randint(1, 5)
        x = [rng.randint(1, 2)] + (plane + [c] if last else [c] + plane)
        ins = [codes(t, x), scale(), zero(t), scale(), zero(t)]
        if rng.random() < 0.4:
            return case('QLinearGlobalAveragePool', ins, {'channels_last': last}, constant=[1, 2, 3, 4])
        k = [rng.randint(1, 3) for _ in plane]
        attrs = {'kernel_shape': k, 'strides': [rng.randint(1, 2) for _ in plane], 'channels_last': last,
                 'pads': [rng.randint(0, n - 1) for n in k * 2], rng.choice(['count_include_pad', 'ceil_mode']): 1}
        return case('QLinearAveragePool', ins, attrs, constant=[1, 2, 3, 4])

    def quantize():
        t, dims = rng.choice([np.int8, np.uint8, np.int16, np.uint16]), shape(1, 4, 0)
        axis, along = tools.axis_of(dims), rng.random() < 0.5
        n = [dims[axis]] if along else []
        attrs = {'axis': axis} if along else {}
        if rng.random() < 0.5:
            return case('QuantizeLinear', [data(f32, dims, -5, 5), scale(n), zero(t, n)], attrs)
        return case('DequantizeLinear', [codes(t, dims), scale(n), zero(t, n)], attrs)

    return [attention, attention, multi_head, multi_head, group_query, group_query, quantised_attention, rotary, embed,
            quantised_embed, skip_norm, simple_norm, activation, fused_matmul, fused_gemm, dynamic_matmul, to_float, q_gemm,
            n_bits, gather_blocks, q_binary, q_unary, q_concat, q_where, q_pool, quantize]
