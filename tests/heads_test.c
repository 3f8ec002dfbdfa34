/* SPDX-License-Identifier: Apache-2.0
 *
 * Task heads: every file of models/heads is found in itself, and the zoo's heads are named rightly.
 */
#include "inspect/heads.h"
#include "support.h"
#include "zoo.h"
#include <stdio.h>
#include <stdlib.h>

/* ---- the files ---- */

/* Each runs alone: it loads, and its outputs have the shapes that the file declares. */
static void test_files(void)
{
    int count = 0;
    for (const gr_head_file *f = gr_head_files; f->stem; f++, count++) {
        gr_err err = {0};
        gr_model *m = NULL;
        gr_value_info info;
        if (gr_model_load_memory(f->text, f->size, NULL, NULL, &m, &err) != GR_OK) FAIL("%s: %s", f->stem, err.text);
        else CU_ASSERT_EQUAL(gr_model_output(m, 0, &info), GR_OK);
        gr_model_free(m);
    }
    CU_ASSERT_TRUE(count >= 20);
}

/* ---- whole models ---- */

static bool summary_of(const char *path, char *out, size_t room)
{
    gr_err err = {0};
    gr_model *m = NULL;
    gr_heads h;
    gr_arena *arena = gr_arena_new();
    gr_status status = gr_model_load(path, NULL, &m, &err);
    if (status == GR_OK) status = gr_heads_find(m, arena, &h, &err);
    if (status != GR_OK) FAIL("%s: %s", path, err.text);
    if (status == GR_OK) snprintf(out, room, "%s", h.summary);
    for (size_t i = 0; status == GR_OK && i < h.nheads; i++)
        for (size_t k = 0; k < h.heads[i].nweights; k++) CU_ASSERT_PTR_NOT_NULL(h.heads[i].weights[k].value->konst);
    gr_arena_free(arena);
    gr_model_free(m);
    return status == GR_OK;
}

static void test_tree(void)
{
    static const struct { const char *model, *head; } want[] = {{"bert-tiny", "masked-lm"},
                                                                {"bert-tiny-cls", "sequence-classification"},
                                                                {"bert-tiny-encoder", "base model with pooler"},
                                                                {"gpt2-tiny", "causal-lm"}};
    for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
        char path[1024], got[512] = "";
        snprintf(path, sizeof path, GR_SOURCE_DIR "/models/%s/model.onnx", want[i].model);
        if (summary_of(path, got, sizeof got)) CU_ASSERT_STRING_EQUAL(got, want[i].head);
    }
}

/* What the zoo's column `head` stands for. Its base models may have a pooler, pooled embeddings or heads of their own. */
static bool is_right(const char *name, const char *column, bool loss, const char *got)
{
    static const struct { const char *column, *name; } words[] = {
        {"mlm", "masked-lm"}, {"clm", "causal-lm"}, {"nsp", "next-sentence"}, {"cls", "sequence-classification"},
        {"mc", "multiple-choice"}, {"tok", "token-classification"}, {"qa", "question-answering"},
        {"pretraining", "pretraining"}};
    char want[256] = "";
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (!strcmp(words[i].column, column)) snprintf(want, sizeof want, "%s%s", words[i].name, loss ? " + loss" : "");
    if (!strcmp(column, "pretraining") && strstr(name, "electra")) return !strcmp(got, "replaced-token-detection");
    if (!strncmp(name, "minilm", 6)) return !strcmp(got, "mean-pooling");
    if (strstr(name, "two_heads")) return !strcmp(got, "sequence-classification + token-classification");
    return *want ? !strcmp(got, want) : !strncmp(got, "base model", 10);
}

static void zoo_case(const char *name, const char *folder, const char *dtype, void *user)
{
    char path[1024], column[32], got[512] = "";
    int *wrong = user;
    (void)dtype;
    CU_ASSERT_TRUE_FATAL(zoo_cell(name, 2, column, sizeof column));
    snprintf(path, sizeof path, "%s/model.onnx", folder);
    if (!summary_of(path, got, sizeof got) || is_right(name, column, strstr(name, "_loss") != NULL, got)) return;
    ++*wrong;
    FAIL("%s is '%s', named '%s'", name, column, got);
}

static void test_zoo(void)
{
    int wrong = 0;
    if (!zoo_each(zoo_case, &wrong)) printf("(there is none) ");
    CU_ASSERT_EQUAL(wrong, 0);
}

static CU_TestInfo tests[] = {{"files", test_files}, {"models of this tree", test_tree}, {"zoo", test_zoo}, CU_TEST_INFO_NULL};
CU_SuiteInfo suite_heads = {"heads", NULL, NULL, NULL, NULL, tests};
