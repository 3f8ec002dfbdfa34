/* SPDX-License-Identifier: Apache-2.0
 *
 * Operators whose output can be made as large as one likes, by a number in the file or in an input: one sentence with
 * the node and what it would take, and nothing allocated beyond the session's limit.
 */
#include "support.h"
#include <stdio.h>
#include <string.h>

#define HEAD "<ir_version: 10, opset_import: [\"\" : 20]> g "
#define X    "(float[2,3] x) => (float[?] y) "
#define S    "(float[2,3] x, int64[n] s) => (float[?] y) "
enum { LIMIT = 1 << 20 };

typedef struct blow_up {
    const char *op, *text;
    int count;
    int64_t s[4]; /* input s, if count is not 0 */
} blow_up;

#define BIG 1000000000000
/* clang-format off */
static const blow_up cases[] = {
    {"Tile", HEAD X "<int64[2] r = {1000000000000, 1}> { y = Tile (x, r) }", 0, {0}},
    {"Tile", HEAD S "{ y = Tile (x, s) }", 2, {BIG, 3}},
    {"Tile", HEAD S "{ y = Tile (x, s) }", 2, {BIG, BIG * 100000}},
    {"Expand", HEAD X "<int64[3] r = {1000000000000, 2, 3}> { y = Expand (x, r) }", 0, {0}},
    {"Expand", HEAD S "{ y = Expand (x, s) }", 3, {BIG, 2, 3}},
    {"ConstantOfShape", HEAD S "{ y = ConstantOfShape (s) }", 2, {BIG, 3}},
    {"Range", HEAD "(int64 x, int64[n] s) => (int64[?] y) <int64[1] z = {0}, int64 o = {1}> { t = Squeeze (s, z)  y = Range (x, t, o) }", 1, {BIG}},
    {"Range", HEAD "(float[2,3] x) => (int64[?] y) <int64 a = {0}, int64 b = {1000000000000}, int64 o = {1}> { y = Range (a, b, o) }", 0, {0}},
    {"Pad", HEAD X "<int64[4] p = {0, 0, 1000000000, 7}> { y = Pad (x, p) }", 0, {0}},
    {"Pad", HEAD S "{ y = Pad (x, s) }", 4, {0, 0, BIG, 7}},
    {"OneHot", HEAD "(int64[5] x) => (float[?] y) <int64 d = {1000000000000}, float[2] v = {0, 1}> { y = OneHot (x, d, v) }", 0, {0}},
    {"MaxUnpool", HEAD "(float[1,1,2,2] x, int64[n] s) => (float[?] y) <int64[1,1,2,2] i = {0, 1, 2, 3}> { y = MaxUnpool <kernel_shape = [2, 2]> (x, i, s) }", 4, {1, 1, 1000000, 1000000}},
    {"CenterCropPad", HEAD S "{ y = CenterCropPad (x, s) }", 2, {BIG, 3}},
    {"HannWindow", HEAD "(float[2] x, int64[n] s) => (float[?] y) <int64[1] z = {0}> { t = Squeeze (s, z)  y = HannWindow (t) }", 1, {BIG}},
    {"Einsum", HEAD "(float[1000] x) => (float[?] y) { y = Einsum <equation = \"a,b,c->abc\"> (x, x, x) }", 0, {0}},
    {"MatMul", HEAD "(float[100000,1] x) => (float[?] y) { t = Transpose (x)  y = MatMul (x, t) }", 0, {0}},
    {"Mul", HEAD "(float[100000,1] x) => (float[?] y) { t = Transpose (x)  y = Mul (x, t) }", 0, {0}},
    {"ConvTranspose", HEAD "(float[1,1,50,50] x) => (float[?] y) <float[1,1,1,1] w = {1}> { y = ConvTranspose <strides = [1000000, 1000000]> (x, w) }", 0, {0}},
    {"Conv", HEAD "(float[1,1,5,5] x) => (float[?] y) <float[1,1,1,1] w = {1}> { y = Conv <pads = [1000000, 1000000, 1000000, 1000000]> (x, w) }", 0, {0}},
    {"DFT", HEAD "(float[1,10,1] x) => (float[?] y) <int64 n = {1000000000000}, int64 a = {1}> { y = DFT (x, n, a) }", 0, {0}},
    /* What grows from turn to turn. */
    {"Concat", HEAD X "<int64 n = {1000000000}, bool t = {1}> { y = Loop (n, t, x) <body = b (int64 i, bool c, float[?,3] p) => (bool d, float[?,3] q) "
     "{ d = Identity (c)  q = Concat <axis = 0> (p, p) }> }", 0, {0}},
    {"Loop", HEAD "(float[1000,10] x) => (float[?] y) <int64 n = {1000000000}, bool t = {1}> { y = Loop (n, t) <body = b (int64 i, bool c) => "
     "(bool d, float[1000,10] q) { d = Identity (c)  q = Neg (x) }> }", 0, {0}},
    {"Loop", HEAD "(float[1000] x) => (float[?] y) <int64 n = {1000000000}, bool t = {1}> { e = SequenceEmpty <dtype = 1> ()  q = Loop (n, t, e) <body = b "
     "(int64 i, bool c, seq(float[1000]) p) => (bool d, seq(float[1000]) r) { d = Identity (c)  r = SequenceInsert (p, x) }>  y = ConcatFromSequence <axis = 0> (q) }", 0, {0}},
    {"Loop", HEAD "(float[1] x) => (float[?] y) <int64 n = {1000000000}, bool t = {1}> { e = SequenceEmpty <dtype = 1> ()  q = Loop (n, t, e) <body = b "
     "(int64 i, bool c, seq(float[1]) p) => (bool d, seq(float[1]) r) { d = Identity (c)  r = SequenceInsert (p, x) }>  y = ConcatFromSequence <axis = 0> (q) }", 0, {0}},
    {"SplitToSequence", HEAD "(float[100000,1] x) => (float[?] y) { s = SplitToSequence <axis = 0> (x)  y = ConcatFromSequence <axis = 0> (s) }", 0, {0}},
    {0}};
/* clang-format on */

static void check_case(const blow_up *c, bool passes)
{
    const gr_model_options raw = {.struct_size = sizeof raw, .no_passes = !passes};
    const gr_session_options options = {.struct_size = sizeof options, .max_memory = LIMIT};
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
        status = gr_session_run(r.session, in, c->count ? 2 : 1, &out, 1, &err);
    }
    CHECK_THAT(status == GR_ELIMIT || status == GR_EMODEL || status == GR_EINPUT, "%s: %s: %s\n%s", c->op,
               gr_status_text(status), err.text, c->text);
    CHECK_THAT(strstr(err.text, "node '") && strstr(err.text, c->op) && !strchr(err.text, '\n'), "%s: %s", c->op,
               err.text);
    close_running(&r);
}

static void test_limits(void)
{
    for (const blow_up *c = cases; c->op; c++) {
        check_case(c, true);
        check_case(c, false);
    }
}

static CU_TestInfo tests[] = {{"outputs without end", test_limits}, CU_TEST_INFO_NULL};
CU_SuiteInfo suite_limits = {"limits", NULL, NULL, NULL, NULL, tests};
