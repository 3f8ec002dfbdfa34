/* SPDX-License-Identifier: Apache-2.0
 *
 * Sequences and optionals as inputs and outputs of a session.
 */
#include "support.h"

static gr_err err;

#define HEAD "<ir_version: 10, opset_import: [\"\" : 18]> "
/* The items, one more behind them, and how many they were. */
#define APPEND                                                                                                         \
    HEAD "g (seq(float[N]) s, float[N] x) => (seq(float[N]) t, int64 n) { t = SequenceInsert (s, x)  n = SequenceLength (s) }"
#define SAME HEAD "g (seq(float[N]) s) => (seq(float[N]) t) { t = Identity (s) }"
/* What is there, or a default; and whether it was. */
#define DEFAULTED                                                                                                      \
    HEAD "g (optional(float[2]) o) => (float[2] y, bool has) <float[2] d = {7.0, 8.0}> {\n"                            \
         "  has = OptionalHasElement (o)\n"                                                                            \
         "  y = If (has) <then_branch = a () => (float[2] p) { p = OptionalGetElement (o) },"                          \
         "                else_branch = b () => (float[2] q) { q = Identity (d) }>\n}"
#define UNCHECKED HEAD "g (optional(float[2]) o) => (float[2] y) { y = OptionalGetElement (o) }"
#define NOTHING   HEAD "g (optional(float[2]) o) => (optional(float[2]) p) { p = Identity (o) }"

static float values[] = {1, 2, 3, 4, 5};
static const int64_t one[] = {1}, two[] = {2}, three[] = {3};
static gr_tensor_view items[] = {{GR_FLOAT, 1, two, values, 8}, {GR_FLOAT, 1, three, values + 2, 12}};

static gr_named_tensor sequence(const char *name, gr_tensor_view *views, size_t n)
{
    return (gr_named_tensor){name, {GR_FLOAT, GR_VIEW_SEQUENCE, NULL, views, n * sizeof *views}};
}

static const gr_tensor_view *item(const gr_named_tensor *out, size_t i) { return (gr_tensor_view *)out->tensor.data + i; }

static void test_append(void)
{
    running r;
    if (!open_text(APPEND, NULL, NULL, &r)) return;
    float x = 9;
    gr_named_tensor in[] = {sequence("s", items, 2), FLOATS("x", 1, one, &x)}, out[] = {WANTED("t"), WANTED("n")};
    for (size_t n = 3; n-- > 0;) { /* another length needs no other plan, and views of the last run count as none */
        in[0].tensor.size = n * sizeof *items;
        CHECK_OK(gr_session_run(r.session, in, 2, out, 2, &err));
        CU_ASSERT_EQUAL_FATAL(out[0].tensor.rank, GR_VIEW_SEQUENCE);
        CU_ASSERT_EQUAL_FATAL(out[0].tensor.size, (n + 1) * sizeof *items);
        CU_ASSERT_EQUAL(*(int64_t *)out[1].tensor.data, (int64_t)n);
        for (size_t i = 0; i < n; i++) {
            CU_ASSERT_EQUAL_FATAL(item(out, i)->size, items[i].size);
            CU_ASSERT_EQUAL(item(out, i)->dims[0], items[i].dims[0]);
            CU_ASSERT_EQUAL(memcmp(item(out, i)->data, items[i].data, items[i].size), 0);
        }
        CU_ASSERT_EQUAL(*(float *)item(out, n)->data, 9);
    }
    gr_memory_info info;
    gr_session_memory(r.session, &info);
    CU_ASSERT_EQUAL(info.plan_count, 1);
    close_running(&r);
}

static void test_identity(void)
{
    running r;
    if (!open_text(SAME, NULL, NULL, &r)) return;
    gr_named_tensor in = sequence("s", items, 2), out = WANTED("t");
    CHECK_OK(gr_session_run(r.session, &in, 1, &out, 1, &err));
    CU_ASSERT_EQUAL_FATAL(out.tensor.size, 2 * sizeof *items);
    CU_ASSERT_PTR_NOT_EQUAL(item(&out, 1)->data, items[1].data); /* the session's, not the caller's */
    CU_ASSERT_EQUAL(memcmp(item(&out, 1)->data, items[1].data, items[1].size), 0);
    close_running(&r);
}

static void test_optional(void)
{
    running r;
    if (!open_text(DEFAULTED, NULL, NULL, &r)) return;
    gr_named_tensor given = FLOATS("o", 1, two, values), empty = {"o", {.rank = GR_VIEW_EMPTY}};
    const struct {
        const gr_named_tensor *in;
        size_t n;
        float want;
    } runs[] = {{&given, 1, 1}, {&empty, 1, 7}, {NULL, 0, 7}, {&given, 1, 1}};
    for (size_t i = 0; i < sizeof runs / sizeof *runs; i++) {
        gr_named_tensor out[] = {WANTED("y"), WANTED("has")};
        CHECK_OK(gr_session_run(r.session, runs[i].in, runs[i].n, out, 2, &err));
        CU_ASSERT_EQUAL_FATAL(out[0].tensor.size, 8);
        CU_ASSERT_EQUAL(*(float *)out[0].tensor.data, runs[i].want);
        CU_ASSERT_EQUAL(*(uint8_t *)out[1].tensor.data, runs[i].want == 1);
    }
    close_running(&r);
}

static void test_empty(void)
{
    running r;
    gr_named_tensor out = WANTED("y");
    if (!open_text(UNCHECKED, NULL, NULL, &r)) return;
    CHECK_FAILS(gr_session_run(r.session, NULL, 0, &out, 1, &err), GR_EINPUT, "node 'y' (OptionalGetElement)");
    close_running(&r);
    if (!open_text(NOTHING, NULL, NULL, &r)) return;
    out = WANTED("p");
    CHECK_OK(gr_session_run(r.session, NULL, 0, &out, 1, &err));
    CU_ASSERT_EQUAL(out.tensor.rank, GR_VIEW_EMPTY);
    CU_ASSERT_PTR_NULL(out.tensor.data);
    close_running(&r);
}

static void test_kinds(void)
{
    running r;
    gr_value_info info;
    if (!open_text(APPEND, NULL, NULL, &r)) return;
    CU_ASSERT_EQUAL(gr_model_input(r.model, 0, &info), GR_OK);
    CU_ASSERT_TRUE(info.kind == GR_VALUE_SEQUENCE && info.type == GR_FLOAT && info.rank == 1 && !info.optional);
    CU_ASSERT_EQUAL(gr_model_output(r.model, 1, &info), GR_OK);
    CU_ASSERT_TRUE(info.kind == GR_VALUE_TENSOR && info.type == GR_INT64);
    close_running(&r);
    if (!open_text(NOTHING, NULL, NULL, &r)) return;
    CU_ASSERT_EQUAL(gr_model_input(r.model, 0, &info), GR_OK);
    CU_ASSERT_TRUE(info.kind == GR_VALUE_OPTIONAL && info.optional);
    CU_ASSERT_EQUAL(gr_model_output(r.model, 0, &info), GR_OK);
    CU_ASSERT_TRUE(info.kind == GR_VALUE_OPTIONAL && !info.optional);
    close_running(&r);
}

static void test_refused(void)
{
    running r;
    int64_t whole = 1;
    float x = 9, room[16];
    if (!open_text(APPEND, NULL, NULL, &r)) return;
    gr_tensor_view mixed[] = {items[0], {GR_INT64, 1, one, &whole, 8}}, wrong[] = {mixed[1]};
    gr_tensor_view nested[] = {{GR_FLOAT, GR_VIEW_SEQUENCE, NULL, items, sizeof items}};
    gr_named_tensor in[] = {sequence("s", mixed, 2), FLOATS("x", 1, one, &x)}, out = WANTED("t");
    CHECK_FAILS(gr_session_run(r.session, in, 2, &out, 1, &err), GR_EINPUT, "item 1 of input 's' is int64");
    in[0] = sequence("s", wrong, 1);
    CHECK_FAILS(gr_session_run(r.session, in, 2, &out, 1, &err), GR_EINPUT, "a sequence of int64, expected seq(float[N])");
    in[0] = sequence("s", nested, 1);
    CHECK_FAILS(gr_session_run(r.session, in, 2, &out, 1, &err), GR_EINPUT, "rank -2");
    in[0] = sequence("s", items, 2);
    in[0].tensor.size -= 1;
    CHECK_FAILS(gr_session_run(r.session, in, 2, &out, 1, &err), GR_EINPUT, "no array of views");
    in[0] = FLOATS("s", 1, one, &x);
    CHECK_FAILS(gr_session_run(r.session, in, 2, &out, 1, &err), GR_EINPUT, "input 's' is float[1]");
    in[0] = (gr_named_tensor){"s", {.rank = GR_VIEW_EMPTY}};
    CHECK_FAILS(gr_session_run(r.session, in, 2, &out, 1, &err), GR_EINPUT, "input 's' is empty");
    in[0] = sequence("s", items, 2);
    in[1] = sequence("x", items, 2);
    CHECK_FAILS(gr_session_run(r.session, in, 2, &out, 1, &err), GR_EINPUT, "input 'x' is a sequence of float");
    in[1] = FLOATS("x", 1, one, &x);
    out = (gr_named_tensor){"t", {.data = room, .size = sizeof room}};
    CHECK_FAILS(gr_session_run(r.session, in, 2, &out, 1, &err), GR_EINVAL, "is no tensor");
    close_running(&r);
}

static CU_TestInfo tests[] = {{"items in and out", test_append},
                              {"a sequence handed through", test_identity},
                              {"an optional, given and empty", test_optional},
                              {"an empty optional", test_empty},
                              {"kinds of inputs and outputs", test_kinds},
                              {"what does not fit", test_refused},
                              CU_TEST_INFO_NULL};
CU_SuiteInfo suite_sequence = {"sequence", NULL, NULL, NULL, NULL, tests};
