/* SPDX-License-Identifier: Apache-2.0
 *
 * Reading and printing the texts of tests.
 */
#include "text_case.h"
#include <stdio.h>
#include <stdlib.h>

gr_err text_err;

bool text_append(void *user, const char *s, size_t n)
{
    text *t = user;
    if (t->n + n + 1 > t->room) {
        t->room = (t->n + n + 1) * 2;
        t->s = realloc(t->s, t->room);
        if (!t->s) abort();
    }
    memcpy(t->s + t->n, s, n);
    t->n += n;
    t->s[t->n] = 0;
    return true;
}

void text_add(text *t, const char *s) { text_append(t, s, strlen(s)); }

gr_doc *text_parse_bytes(const char *s, size_t n)
{
    gr_doc *doc = NULL;
    text_err.text[0] = 0;
    /* A copy of just these bytes, so that a sanitizer sees reads beyond them. */
    char *copy = malloc(n ? n : 1);
    if (!copy) abort();
    memcpy(copy, s, n);
    gr_status status = gr_doc_parse_text(copy, n, "test", &doc, &text_err);
    free(copy);
    CU_ASSERT(status ? !doc && status == text_err.status && text_err.text[0] : doc != NULL);
    return doc;
}

gr_doc *text_parse(const char *s)
{
    gr_doc *doc = text_parse_bytes(s, strlen(s));
    if (!doc) fprintf(stderr, "%s\n", text_err.text);
    return doc;
}

text text_print(const gr_doc *doc, const gr_text_options *options)
{
    text t = {0};
    CU_ASSERT_EQUAL(gr_doc_print_text(doc, options, text_append, &t, &text_err), GR_OK);
    return t;
}

text text_reprinted(const char *s, size_t n, const gr_text_options *options)
{
    text first = {0}, second = {0};
    gr_doc *doc = text_parse_bytes(s, n), *again = NULL;
    CU_ASSERT_PTR_NOT_NULL(doc);
    if (doc) first = text_print(doc, options);
    if (doc) again = text_parse_bytes(first.s, first.n);
    CU_ASSERT_PTR_NOT_NULL(again);
    if (again) {
        second = text_print(again, options);
        CU_ASSERT(first.n == second.n && !memcmp(first.s, second.s, first.n));
    } else {
        fprintf(stderr, "%s\n", text_err.text);
    }
    gr_doc_free(doc);
    gr_doc_free(again);
    free(second.s);
    if (!first.s) text_add(&first, "");
    return first;
}

void check_prints(const char *s, const char *wanted)
{
    text t = text_reprinted(s, strlen(s), NULL);
    bool found = strstr(t.s, wanted) != NULL;
    CU_ASSERT(found);
    if (!found) fprintf(stderr, "wanted: %s\nprinted: %s\n", wanted, t.s);
    free(t.s);
}

void check_node(const char *s)
{
    text t = {0};
    text_add(&t, MODEL("{ "));
    text_add(&t, s);
    text_add(&t, " }");
    check_prints(t.s, s);
    free(t.s);
}

void check_declaration(const char *s, const char *wanted)
{
    text t = {0};
    text_add(&t, MODEL("< "));
    text_add(&t, s);
    text_add(&t, " > { }");
    check_prints(t.s, wanted);
    free(t.s);
}

void check_refused(const char *s, gr_status status, const char *says)
{
    gr_doc *doc = text_parse_bytes(s, strlen(s));
    CU_ASSERT_PTR_NULL(doc);
    CU_ASSERT_EQUAL(text_err.status, status);
    bool found = strstr(text_err.text, says) != NULL;
    CU_ASSERT(found);
    if (!found) fprintf(stderr, "wanted: %s\ngot: %s\n", says, text_err.text);
    gr_doc_free(doc);
}

void check_value_refused(const char *declaration, const char *says)
{
    text t = {0};
    text_add(&t, MODEL("< "));
    text_add(&t, declaration);
    text_add(&t, " > { }");
    check_refused(t.s, GR_EFORMAT, says);
    free(t.s);
}

void check_node_refused(const char *node, const char *says)
{
    text t = {0};
    text_add(&t, MODEL("{ "));
    text_add(&t, node);
    text_add(&t, " }");
    check_refused(t.s, GR_EFORMAT, says);
    free(t.s);
}
