/* SPDX-License-Identifier: Apache-2.0
 *
 * Operators whose output can be made as large as one likes, by a number in the file or in an input, and numbers that mean
 * nothing: one sentence with the node and the number, and nothing allocated beyond the session's limit.
 */
#include "support.h"
#include <stdio.h>
#include <string.h>

#define HEAD "<ir_version: 10, opset_import: [\"\" : 20]> g "
#define HEAD21 "<ir_version: 10, opset_import: [\"\" : 21]> g "
#define HEAD23 "<ir_version: 10, opset_import: [\"\" : 23]> g "
#define X    "(float[2,3] x) => (float[?] y) "
#define S    "(float[2,3] x, int64[n] s) => (float[?] y) "
enum { LIMIT = 1 << 20 };

typedef struct blow_up {
    const char *op, *text;
    int count;
    int64_t s[4]; /* input s, if count is not 0 */
    const char *says;
} blow_up;

#define BIG 1000000000000
/* clang-format off */
static const blow_up cases[] = {
    {"Tile", HEAD X "<int64[2] r = {1000000000000, 1}> { y = Tile (x, r) }", 0, {0}, NULL},
    {"Tile", HEAD S "{ y = Tile (x, s) }", 2, {BIG, 3}, NULL},
    {"Tile", HEAD S "{ y = Tile (x, s) }", 2, {BIG, BIG * 100000}, NULL},
    {"Expand", HEAD X "<int64[3] r = {1000000000000, 2, 3}> { y = Expand (x, r) }", 0, {0}, NULL},
    {"Expand", HEAD S "{ y = Expand (x, s) }", 3, {BIG, 2, 3}, NULL},
    {"ConstantOfShape", HEAD S "{ y = ConstantOfShape (s) }", 2, {BIG, 3}, NULL},
    {"Range", HEAD "(int64 x, int64[n] s) => (int64[?] y) <int64[1] z = {0}, int64 o = {1}> { t = Squeeze (s, z)  y = Range (x, t, o) }", 1, {BIG}, NULL},
    {"Range", HEAD "(float[2,3] x) => (int64[?] y) <int64 a = {0}, int64 b = {1000000000000}, int64 o = {1}> { y = Range (a, b, o) }", 0, {0}, NULL},
    {"Pad", HEAD X "<int64[4] p = {0, 0, 1000000000, 7}> { y = Pad (x, p) }", 0, {0}, NULL},
    {"Pad", HEAD S "{ y = Pad (x, s) }", 4, {0, 0, BIG, 7}, NULL},
    {"OneHot", HEAD "(int64[5] x) => (float[?] y) <int64 d = {1000000000000}, float[2] v = {0, 1}> { y = OneHot (x, d, v) }", 0, {0}, NULL},
    {"MaxUnpool", HEAD "(float[1,1,2,2] x, int64[n] s) => (float[?] y) <int64[1,1,2,2] i = {0, 1, 2, 3}> { y = MaxUnpool <kernel_shape = [2, 2]> (x, i, s) }", 4, {1, 1, 1000000, 1000000}, NULL},
    {"CenterCropPad", HEAD S "{ y = CenterCropPad (x, s) }", 2, {BIG, 3}, NULL},
    {"HannWindow", HEAD "(float[2] x, int64[n] s) => (float[?] y) <int64[1] z = {0}> { t = Squeeze (s, z)  y = HannWindow (t) }", 1, {BIG}, NULL},
    {"Einsum", HEAD "(float[1000] x) => (float[?] y) { y = Einsum <equation = \"a,b,c->abc\"> (x, x, x) }", 0, {0}, NULL},
    {"MatMul", HEAD "(float[100000,1] x) => (float[?] y) { t = Transpose (x)  y = MatMul (x, t) }", 0, {0}, NULL},
    {"Mul", HEAD "(float[100000,1] x) => (float[?] y) { t = Transpose (x)  y = Mul (x, t) }", 0, {0}, NULL},
    {"ConvTranspose", HEAD "(float[1,1,50,50] x) => (float[?] y) <float[1,1,1,1] w = {1}> { y = ConvTranspose <strides = [1000000, 1000000]> (x, w) }", 0, {0}, NULL},
    {"Conv", HEAD "(float[1,1,5,5] x) => (float[?] y) <float[1,1,1,1] w = {1}> { y = Conv <pads = [1000000, 1000000, 1000000, 1000000]> (x, w) }", 0, {0}, NULL},
    {"DFT", HEAD "(float[1,10,1] x) => (float[?] y) <int64 n = {1000000000000}, int64 a = {1}> { y = DFT (x, n, a) }", 0, {0}, NULL},
    /* What grows from turn to turn. */
    {"Concat", HEAD X "<int64 n = {1000000000}, bool t = {1}> { y = Loop (n, t, x) <body = b (int64 i, bool c, float[?,3] p) => (bool d, float[?,3] q) "
     "{ d = Identity (c)  q = Concat <axis = 0> (p, p) }> }", 0, {0}, NULL},
    {"Loop", HEAD "(float[1000,10] x) => (float[?] y) <int64 n = {1000000000}, bool t = {1}> { y = Loop (n, t) <body = b (int64 i, bool c) => "
     "(bool d, float[1000,10] q) { d = Identity (c)  q = Neg (x) }> }", 0, {0}, NULL},
    {"Loop", HEAD "(float[1000] x) => (float[?] y) <int64 n = {1000000000}, bool t = {1}> { e = SequenceEmpty <dtype = 1> ()  q = Loop (n, t, e) <body = b "
     "(int64 i, bool c, seq(float[1000]) p) => (bool d, seq(float[1000]) r) { d = Identity (c)  r = SequenceInsert (p, x) }>  y = ConcatFromSequence <axis = 0> (q) }", 0, {0}, NULL},
    {"Loop", HEAD "(float[1] x) => (float[?] y) <int64 n = {1000000000}, bool t = {1}> { e = SequenceEmpty <dtype = 1> ()  q = Loop (n, t, e) <body = b "
     "(int64 i, bool c, seq(float[1]) p) => (bool d, seq(float[1]) r) { d = Identity (c)  r = SequenceInsert (p, x) }>  y = ConcatFromSequence <axis = 0> (q) }", 0, {0}, NULL},
    {"SplitToSequence", HEAD "(float[100000,1] x) => (float[?] y) { s = SplitToSequence <axis = 0> (x)  y = ConcatFromSequence <axis = 0> (s) }", 0, {0}, NULL},
    {0}};

static const blow_up wrong[] = {
    {"Gather", HEAD S "{ y = Gather (x, s) }", 1, {2}, "index 2 is out of range, expected -2 to 1"},
    {"Gather", HEAD S "{ y = Gather (x, s) }", 1, {-3}, "index -3 is out of range, expected -2 to 1"},
    {"GatherElements", HEAD "(float[2] x, int64[n] s) => (float[?] y) { y = GatherElements (x, s) }", 1, {-3}, "index -3 is out of range, expected -2 to 1"},
    {"GatherND", HEAD S "{ y = GatherND (x, s) }", 2, {1, 3}, "index 3 is out of range, expected -3 to 2"},
    {"GatherND", HEAD S "{ y = GatherND (x, s) }", 3, {0, 0, 0}, "indices have 3 entries each for data of rank 2"},
    {"ScatterElements", HEAD "(float[2] x, int64[n] s) => (float[?] y) { y = ScatterElements (x, s, x) }", 2, {0, 9}, "index 9 is out of range, expected -2 to 1"},
    {"ScatterND", HEAD S "<int64[1,1] i = {5}, float[1,3] u = {1, 2, 3}> { y = ScatterND (x, i, u) }", 1, {0}, "index 5 is out of range, expected -2 to 1"},
    {"ScatterND", HEAD S "{ y = ScatterND (x, s, x) }", 1, {0}, "updates have rank 2, expected 1"},
    {"Slice", HEAD S "<int64[1] a = {0}, int64[1] b = {2}> { y = Slice (x, a, b, a, s) }", 1, {0}, "a step is 0"},
    {"Slice", HEAD S "<int64[1] a = {0}, int64[1] b = {2}> { y = Slice (x, a, b, s) }", 1, {7}, "axis 7 is out of range for rank 2"},
    {"Range", HEAD "(int64 x, int64[n] s) => (int64[?] y) <int64[1] z = {0}, int64 o = {5}> { t = Squeeze (s, z)  y = Range (x, o, t) }", 1, {0}, "delta is 0"},
    {"Range", HEAD "(int64 x, int64[n] s) => (int64[?] y) <int64[1] z = {0}, int64 o = {1}> { t = Squeeze (s, z)  y = Range (x, t, o) }", 1, {1000000000000000}, "an output of 8000000000000000 bytes"},
    {"Range", HEAD "(int64 x, int64[n] s) => (int64[?] y) <int64[1] z = {0}, int64 a = {-9223372036854775807}, int64 o = {1}> { t = Squeeze (s, z)  y = Range (a, t, o) }", 1, {INT64_MAX}, "a range of 18446744073709551614 elements"},
    {"Reshape", HEAD S "{ y = Reshape (x, s) }", 2, {-1, -1}, "dimensions 0 and 1 of the shape are both -1"},
    {"Reshape", HEAD S "{ y = Reshape (x, s) }", 2, {4, -1}, "6 elements cannot be divided into 4 for the dimension -1"},
    {"Reshape", HEAD S "{ y = Reshape (x, s) }", 2, {-2, 3}, "dimension 0 of the shape is -2"},
    {"Reshape", HEAD S "{ y = Reshape (x, s) }", 2, {4611686018427387904, 4611686018427387904}, "the product of the dimensions is too large"},
    {"Reshape", HEAD S "{ y = Reshape (x, s) }", 4, {1, 2, 0, 3}, "dimension 2 of the shape is 0 but the input has rank 2"},
    {"Expand", HEAD S "{ y = Expand (x, s) }", 3, {4611686018427387904, 2, 3}, "output 0 would be too large"},
    {"Expand", HEAD S "{ y = Expand (x, s) }", 2, {-1, 3}, "dimension 0 of the shape is -1, expected 1 or 2"},
    {"Expand", HEAD S "{ y = Expand (x, s) }", 2, {5, 3}, "dimension 0 of the shape is 5, expected 1 or 2"},
    {"Tile", HEAD S "{ y = Tile (x, s) }", 2, {-1, 1}, "-1 repeats"},
    {"Tile", HEAD S "{ y = Tile (x, s) }", 1, {1}, "1 repeats for an input of rank 2"},
    {"ConstantOfShape", HEAD S "{ y = ConstantOfShape (s) }", 1, {-5}, "dimension 0 is -5"},
    {"ConstantOfShape", HEAD S "{ y = ConstantOfShape (s) }", 2, {1099511627776, 1099511627776}, "output 0 would be too large"},
    {"Pad", HEAD S "{ y = Pad (x, s) }", 4, {-3, 0, 0, 0}, "pads of -3 and 0 do not fit axis 0 of 2"},
    {"Pad", HEAD S "{ y = Pad (x, s) }", 2, {1, 1}, "2 pads for 2 axes"},
    {"TopK", HEAD S "{ y, i = TopK (x, s) }", 1, {4}, "k is 4, expected 0 to 3"},
    {"TopK", HEAD S "{ y, i = TopK (x, s) }", 1, {-1}, "k is -1, expected 0 to 3"},
    {"TopK", HEAD S "{ y, i = TopK <axis = 5> (x, s) }", 1, {1}, "axis 5 is out of range for rank 2"},
    {"Split", HEAD S "{ y, z = Split <axis = 1> (x, s) }", 2, {1, 1}, "the sizes add up to 2, the dimension is 3"},
    {"Split", HEAD S "{ y, z = Split <axis = 1> (x, s) }", 2, {-1, 4}, "part 0 has the size -1"},
    {"Split", HEAD S "{ y, z = Split <axis = 1> (x, s) }", 1, {3}, "1 sizes for 2 outputs"},
    {"OneHot", HEAD "(int64[5] x, int64[n] s) => (float[?] y) <float[2] v = {0, 1}> { y = OneHot (x, s, v) }", 1, {1000000000000}, "an output of 20000000000000 bytes"},
    {"OneHot", HEAD "(int64[5] x, int64[n] s) => (float[?] y) <float[2] v = {0, 1}> { y = OneHot (x, s, v) }", 1, {-1}, "a depth of -1"},
    {"Concat", HEAD "(float[2,3] x, float[3,2] s) => (float[?] y) { y = Concat <axis = 1> (x, s) }", 0, {0}, "dimensions 2 and 3 of axis 0 must be equal"},
    {"Unique", HEAD S "{ y = Unique <axis = 2> (x) }", 1, {0}, "axis 2 is out of range for rank 2"},
    {"CumSum", HEAD S "<int64[1] z = {0}> { t = Squeeze (s, z)  y = CumSum (x, t) }", 1, {-3}, "axis -3 is out of range for rank 2"},
    {"Einsum", HEAD "(float[2,3] x) => (float[?] y) { y = Einsum <equation = \"ij,jk->ik\"> (x) }", 0, {0}, "the equation has 2 terms, but there are 1 inputs"},
    {"Einsum", HEAD "(float[2,3] x) => (float[?] y) { y = Einsum <equation = \"ij->ijk->\"> (x) }", 0, {0}, "the equation has '->' behind its output"},
    {"Einsum", HEAD "(float[2,3] x) => (float[?] y) { y = Einsum <equation = \"ii\"> (x) }", 0, {0}, "dimension 3 of input 0 does not fit 2 of an input before it"},
    {"Einsum", HEAD "(float[2,3] x) => (float[?] y) { y = Einsum <equation = \"i1->i\"> (x) }", 0, {0}, "the equation has '1' where a letter, an ellipsis, ',' or '->' was expected"},
    {"BlackmanWindow", HEAD "(float[2] x, int64[n] s) => (float[?] y) <int64[1] z = {0}> { t = Squeeze (s, z)  y = BlackmanWindow (t) }", 1, {4611686018427387904}, "output 0 would be too large"},
    {"HammingWindow", HEAD "(float[2] x, int64[n] s) => (float[?] y) <int64[1] z = {0}> { t = Squeeze (s, z)  y = HammingWindow (t) }", 1, {-4}, "input 0 is -4"},
    {"DFT", HEAD "(float[1,10,1] x, int64[n] s) => (float[?] y) <int64[1] z = {0}, int64 a = {1}> { t = Squeeze (s, z)  y = DFT (x, t, a) }", 1, {2305843009213693952}, "output 0 would be too large"},
    {"DFT", HEAD "(float[1,10,1] x, int64[n] s) => (float[?] y) <int64[1] z = {0}, int64 n = {4}> { t = Squeeze (s, z)  y = DFT (x, n, t) }", 1, {9}, "axis 9 is out of range for rank 3"},
    {"STFT", HEAD "(float[1,16,1] x, int64[n] s) => (float[?] y) <int64[1] z = {0}, int64 l = {4}> { t = Squeeze (s, z)  y = STFT (x, t, , l) }", 1, {0}, "a step of 0 between frames"},
    {"MelWeightMatrix", HEAD "(float[2] x, int64[n] s) => (float[?] y) <int64[1] z = {0}, int64 r = {8000}, float lo = {0.0}, float hi = {4000.0}, int64 k = {16}> { t = Squeeze (s, z)  y = MelWeightMatrix (t, k, r, lo, hi) }", 1, {1000000000000}, "an output of 36000000000000 bytes"},
    {"Squeeze", HEAD S "{ y = Squeeze (x, s) }", 1, {0}, "dimension 0 is 2, only 1 can be squeezed"},
    {"Unsqueeze", HEAD S "{ y = Unsqueeze (x, s) }", 1, {9}, "axis 9 is out of range for rank 3"},
    {"Unsqueeze", HEAD S "{ y = Unsqueeze (x, s) }", 2, {0, 0}, "axis 0 is given twice"},
    {"Transpose", HEAD S "{ y = Transpose <perm = [0, 0]> (x) }", 1, {0}, "attribute 'perm' is not a permutation: 0 at position 1"},
    {"Flatten", HEAD S "{ y = Flatten <axis = 3> (x) }", 1, {0}, "axis 3 is out of range for rank 2"},
    {"ReduceSum", HEAD S "{ y = ReduceSum (x, s) }", 1, {2}, "axis 2 is out of range for rank 2"},
    {"Softmax", HEAD S "{ y = Softmax <axis = -3> (x) }", 1, {0}, "axis -3 is out of range for rank 2"},
    {"Div", HEAD "(int64[2] x, int64[n] s) => (int64[?] y) { y = Div (x, s) }", 1, {0}, "an integer is divided by zero"},
    {"Mod", HEAD "(int64[2] x, int64[n] s) => (int64[?] y) { y = Mod (x, s) }", 1, {0}, "an integer is divided by zero"},
    {"QuantizeLinear", HEAD "(float[2,3] x, int64[n] s) => (uint8[?] y) <float[2] k = {1.0, 1.0}> { y = QuantizeLinear <axis = 7> (x, k) }", 1, {0}, "axis 7 is out of range for rank 2"},
    {"DequantizeLinear", HEAD "(uint8[2,3] x) => (float[?] y) <float[2] k = {1.0, 1.0}> { y = DequantizeLinear <axis = 1> (x, k) }", 0, {0}, "input 1 has 2 elements, expected 3 as axis 1 of input 0"},
    {"MatMul", HEAD "(float[2,3] x) => (float[?] y) { y = MatMul (x, x) }", 0, {0}, "a product of matrices with 3 columns and 2 rows"},
    {"Gemm", HEAD "(float[2,3] x) => (float[?] y) { y = Gemm (x, x) }", 0, {0}, "a product of matrices with 3 columns and 2 rows"},
    {"Loop", HEAD "(float[2] x) => (float[?] y) <bool t = {1}> { y = Loop ( , t, x) <body = b (int64 i, bool c, float[2] p) => (bool d, float[2] q) { d = Identity (c)  q = Neg (p) }> }", 0, {0}, "the loops of the model have made 131072 turns, the limit"},
    {"Scan", HEAD "(float[2,3] x, float[3,2] s) => (float[?] y) { y = Scan <num_scan_inputs = 2, body = b (float[3] p, float[2] r) => (float[3] q) { q = Neg (p) }> (x, s) }", 0, {0}, "scanned inputs have lengths 2 and 3"},
    {"If", HEAD "(float[2] x, int64[n] s) => (float[?] y) { t = Cast <to = 9> (s)  y = If (t) <then_branch = a () => (float[2] p) { p = Neg (x) }, else_branch = b () => (float[2] q) { q = Abs (x) }> }", 2, {1, 1}, "its condition has 2 elements, expected 1"},
    {"SequenceAt", HEAD S "{ q = SequenceConstruct (x, x)  y = SequenceAt (q, s) }", 1, {2}, "position 2 in a sequence of 2"},
    {"SplitToSequence", HEAD S "<int64[1] z = {0}> { t = Squeeze (s, z)  q = SplitToSequence (x, t)  y = SequenceAt (q, z) }", 1, {0}, "a split size of 0"},
    {"ConcatFromSequence", HEAD S "{ q = SequenceEmpty <dtype = 1> ()  y = ConcatFromSequence <axis = 0> (q) }", 1, {0}, "the sequence is empty"},
    {"Conv", HEAD "(float[1,1,3,3] x) => (float[?] y) <float[1,1,5,5] w = {1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1}> { y = Conv (x, w) }", 0, {0}, "a window that reaches over 5 elements does not fit the 3 of axis 2"},
    {"Conv", HEAD "(float[1,1,3,3] x) => (float[?] y) <float[1,1,1,1] w = {1}> { y = Conv <strides = [0, 1]> (x, w) }", 0, {0}, "attribute 'strides' holds 0, expected 1 to 2147483647"},
    {"MaxPool", HEAD "(float[1,1,3,3] x) => (float[?] y) { y = MaxPool <kernel_shape = [2, 2], strides = [1, 0]> (x) }", 0, {0}, "attribute 'strides' holds 0, expected 1 to 2147483647"},
    {"AveragePool", HEAD "(float[1,1,3,3] x) => (float[?] y) { y = AveragePool <kernel_shape = [0, 2]> (x) }", 0, {0}, "attribute 'kernel_shape' holds 0, expected 1 to 2147483647"},
    {"DepthToSpace", HEAD "(float[1,4,1,1] x) => (float[?] y) { y = DepthToSpace <blocksize = 0> (x) }", 0, {0}, "attribute 'blocksize' is 0, expected 1 to 2147483647"},
    {"LayerNormalization", HEAD S "<float[2] w = {1, 1}> { y = LayerNormalization (x, w) }", 1, {0}, "dimension 2 of input 1 does not broadcast to 3 of input 0"},
    {"GroupNormalization", HEAD21 "(float[1,4,2] x) => (float[?] y) <float[4] w = {1, 1, 1, 1}> { y = GroupNormalization <num_groups = 0> (x, w, w) }", 0, {0}, "attribute 'num_groups' is 0, expected 1 to 9223372036854775807"},
    {"GroupNormalization", HEAD21 "(float[1,4,2] x) => (float[?] y) <float[4] w = {1, 1, 1, 1}> { y = GroupNormalization <num_groups = 3> (x, w, w) }", 0, {0}, "4 channels do not make up 3 equal groups"},
    {"Attention", HEAD23 "(float[1,2,6] x) => (float[?] y) { y = Attention <q_num_heads = 4, kv_num_heads = 4> (x, x, x) }", 0, {0}, "6 elements of input 0 do not make up 4 heads"},
    {"Attention", HEAD23 "(float[1,2,6] x) => (float[?] y) { y = Attention <q_num_heads = 0, kv_num_heads = 0> (x, x, x) }", 0, {0}, "attribute 'q_num_heads' is missing, which 3-D inputs need"},
    {"RandomNormal", HEAD "(float[1] x) => (float[?] y) { y = RandomNormal <shape = [1000000, 1000000]> () }", 0, {0}, "its output would take 4000000000000 bytes, the limit is 1048576"},
    {"SequenceMap", HEAD S "{ q = SequenceConstruct (x, x)  r = SequenceConstruct (x)  m = SequenceMap <body = b (float[2,3] p, float[2,3] o) => (float[2,3] u) { u = Add (p, o) }> (q, r)  y = ConcatFromSequence <axis = 0> (m) }", 1, {0}, "input 1 has 1 items, input 0 has 2"},
    {0}};
/* clang-format on */

static void check_case(const blow_up *c, bool passes)
{
    const gr_model_options raw = {.struct_size = sizeof raw, .no_passes = !passes};
    const gr_session_options options = {.struct_size = sizeof options, .max_memory = LIMIT};
    static const int64_t columns[] = {3, 2};
    static float data[100000];
    gr_err err = {0};
    running r = {0};
    gr_named_tensor in[2], out = WANTED("y");
    gr_value_info info;
    int64_t dims[GR_MAX_RANK], count = c->count;
    gr_status status = gr_model_load_memory(c->text, strlen(c->text), NULL, &raw, &r.model, &err);
    if (status == GR_OK) status = gr_session_create(r.model, &options, &r.session, &err);
    if (status == GR_OK) {
        gr_model_input(r.model, 0, &info);
        for (int d = 0; d < info.rank; d++) dims[d] = info.dims[d].value;
        in[0] = view_of("x", info.type, info.rank, dims, data);
        in[1] = INTS("s", 1, &count, (void *)(uintptr_t)c->s);
        if (!count && gr_model_input(r.model, 1, &info) == GR_OK) in[1] = FLOATS("s", 2, columns, data);
        status = gr_session_run(r.session, in, gr_model_input_count(r.model), &out, 1, &err);
    }
    CHECK_THAT(status == GR_ELIMIT || status == GR_EMODEL || status == GR_EINPUT ||
                   (c->says && status == GR_EUNSUPPORTED),
               "%s: %s: %s\n%s", c->op, gr_status_text(status), err.text, c->text);
    CHECK_THAT(strstr(err.text, "node '") && strstr(err.text, c->op) && !strchr(err.text, '\n') &&
                   (!c->says || strstr(err.text, c->says)),
               "%s: %s", c->op, err.text);
    close_running(&r);
}

static void check_all(const blow_up *c)
{
    for (; c->op; c++) {
        check_case(c, true);
        check_case(c, false);
    }
}

static void test_limits(void) { check_all(cases); }
static void test_wrong(void) { check_all(wrong); }

static CU_TestInfo tests[] = {
    {"outputs without end", test_limits}, {"numbers that mean nothing", test_wrong}, CU_TEST_INFO_NULL};
CU_SuiteInfo suite_limits = {"limits", NULL, NULL, NULL, NULL, tests};
