/* SPDX-License-Identifier: Apache-2.0
 *
 * The tour of graphrun.h as a complete program: load a model, run it on one sentence, print shape and first values of
 * its first output. Every integer input that is not the mask or the ids gets zeros.
 */
#include <graphrun.h>
#include <stdio.h>
#include <string.h>

enum { TOKENS = 6, MAX_INPUTS = 4, SHOWN = 4 };

static int fail(const gr_err *err)
{
    fprintf(stderr, "api_example: %s\n", err->text);
    return 1;
}

static int run(gr_model *model, gr_session *session, gr_err *err)
{
    static int64_t ids[TOKENS] = {101, 2023, 2003, 1037, 2742, 102}, ones[TOKENS] = {1, 1, 1, 1, 1, 1}, zeros[TOKENS];
    const int64_t dims[] = {1, TOKENS};
    gr_named_tensor in[MAX_INPUTS], out;
    gr_value_info info;
    size_t count = gr_model_input_count(model);
    if (count > MAX_INPUTS || gr_model_output(model, 0, &info) != GR_OK) {
        fprintf(stderr, "api_example: the model is not of the kind that this example is about\n");
        return 1;
    }
    memset(&out, 0, sizeof out);
    out.name = info.name; /* data stays NULL: the session owns the result until its next run */
    for (size_t i = 0; i < count; i++) {
        int64_t *data = zeros;
        gr_model_input(model, i, &info);
        if (!strcmp(info.name, "input_ids")) data = ids;
        if (!strcmp(info.name, "attention_mask")) data = ones;
        in[i].name = info.name;
        in[i].tensor = (gr_tensor_view){GR_INT64, 2, dims, data, sizeof ids};
    }
    if (gr_session_run(session, in, count, &out, 1, err) != GR_OK) return fail(err);
    printf("%s: %s[", out.name, gr_dtype_name(out.tensor.type));
    for (int i = 0; i < out.tensor.rank; i++) printf("%s%lld", i ? ", " : "", (long long)out.tensor.dims[i]);
    printf("]\n");
    for (size_t i = 0; out.tensor.type == GR_FLOAT && i < SHOWN && i < out.tensor.size / sizeof(float); i++)
        printf("%g\n", (double)((const float *)out.tensor.data)[i]);
    return 0;
}

int main(int argc, char **argv)
{
    gr_err err;
    gr_model *model = NULL;
    gr_session *session = NULL;
    int code = 1;
    if (argc != 2) {
        fprintf(stderr, "usage: api_example MODEL\n");
        return 2;
    }
    if (gr_model_load(argv[1], NULL, &model, &err) != GR_OK || gr_session_create(model, NULL, &session, &err) != GR_OK)
        fail(&err);
    else
        code = run(model, session, &err);
    gr_session_free(session);
    gr_model_free(model);
    return code;
}
