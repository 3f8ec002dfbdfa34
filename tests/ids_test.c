/* SPDX-License-Identifier: Apache-2.0
 *
 * Files of token ids, and batches of them.
 */
#include "cli_case.h"
#include "hostile.h"
#include "ids.h"
#include <CUnit/CUnit.h>
#include <stdlib.h>

/* ---- ids ---- */

static bool parse_ids(const void *data, size_t size, cli_ids *out, gr_err *err)
{
    cli_file *file = file_of(data, size);
    bool ok = cli_ids_parse(file, out, err);
    cli_file_drop(file);
    return ok;
}

static void test_ids_good(void)
{
    gr_err err = {.text = ""};
    cli_ids ids;
    static const char text[] =
        "\xef\xbb\xbf# three lines\r\n101, 7592 102\r\n\n  \t\n5,6|7 # pair\n-1 007\t9223372036854775807";
    CU_ASSERT_FATAL(parse_ids(text, sizeof text - 1, &ids, &err));
    CU_ASSERT_EQUAL(ids.line_count, 3);
    CU_ASSERT_EQUAL(ids.lines[0].number, 2);
    CU_ASSERT_EQUAL(ids.lines[0].length, 3);
    CU_ASSERT_EQUAL(ids.lines[0].boundary, 3);
    CU_ASSERT_EQUAL(ids.lines[1].number, 5);
    CU_ASSERT_EQUAL(ids.lines[1].boundary, 2);
    CU_ASSERT_EQUAL(ids.lines[1].length, 3);
    CU_ASSERT(ids.lines[0].paragraph != ids.lines[1].paragraph);
    CU_ASSERT(ids.lines[1].paragraph == ids.lines[2].paragraph);
    CU_ASSERT_EQUAL(ids.ids[6], -1);
    CU_ASSERT_EQUAL(ids.ids[7], 7);
    CU_ASSERT_EQUAL(ids.ids[8], INT64_MAX);
    cli_ids_free(&ids);
}

static void test_ids_bad(void)
{
    static const struct {
        const char *text;
        size_t size;
        const char *says;
    } bad[] = {
        {"1 2x 3", 6, "'2x' is no whole number"},
        {"1\n2\n1e5", 7, "line 3: '1e5'"},
        {"+3", 2, "'+3'"},
        {"-", 1, "'-'"},
        {"--1", 3, "'--1'"},
        {"0x10", 4, "'0x10'"},
        {"1.0", 3, "'1.0'"},
        {"9223372036854775808", 19, "out of the range"},
        {"-9223372036854775809", 20, "out of the range"},
        {"1 \0 2", 5, "line 1: there is a NUL byte"},
        {"12\0", 3, "NUL"},
        {"1 | 2 | 3", 9, "second '|'"},
        {"|", 1, "no ids around"},
        {"", 0, "no ids"},
        {"# nothing\n\n", 11, "no ids"},
        {"1 \xef\xbb\xbf"
         "2",
         6, "line 1"},
        {"\xff\xfe"
         "1\0",
         4, "line 1"},
        {"1\x1b[2J", 5, "\\x1b"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        gr_err err = {.text = ""};
        cli_ids ids;
        CU_ASSERT(!parse_ids(bad[i].text, bad[i].size, &ids, &err));
        CHECK_SAYS(bad[i].says);
    }
}

static void test_ids_long(void)
{
    enum { COUNT = 1000000 };
    gr_err err = {.text = ""};
    cli_ids ids;
    char *text = malloc(2 * COUNT);
    for (size_t i = 0; i < COUNT; i++) memcpy(text + 2 * i, "7 ", 2);
    CU_ASSERT_FATAL(parse_ids(text, 2 * COUNT, &ids, &err));
    CU_ASSERT_EQUAL(ids.lines[0].length, COUNT);
    cli_ids_free(&ids);
    memset(text, '1', 2 * COUNT); /* one token of two million digits */
    CU_ASSERT(!parse_ids(text, 2 * COUNT, &ids, &err));
    CHECK_SAYS("out of the range");
    CU_ASSERT(strlen(err.text) < 200);
    free(text);
}

static void test_batches(void)
{
    static const cli_item items[] = {{0, 1, 9}, {1, 1, 3}, {2, 1, 9}, {3, 1, 4}, {4, 1, 3}, {5, 1, 100}};
    size_t order[6], starts[7];
    cli_batch_rules rules = {2, 1000, false};
    CU_ASSERT_EQUAL(cli_batches(items, 6, &rules, order, starts), 3);
    static const size_t sorted[] = {1, 4, 3, 0, 2, 5};
    CU_ASSERT(!memcmp(order, sorted, sizeof sorted));
    CU_ASSERT(starts[1] == 2 && starts[2] == 4 && starts[3] == 6);

    rules = (cli_batch_rules){32, 1000, true};
    CU_ASSERT_EQUAL(cli_batches(items, 6, &rules, order, starts), 4);
    rules = (cli_batch_rules){32, 12, false}; /* 3 + 3 + 4 fit 3 x 4; 9 alone; 100 is over and alone */
    CU_ASSERT_EQUAL(cli_batches(items, 6, &rules, order, starts), 4);
    CU_ASSERT(starts[1] == 3 && starts[2] == 4 && starts[3] == 5);
}

static CU_TestInfo tests[] = {
    {"ids: good and odd", test_ids_good},
    {"ids: bad", test_ids_bad},
    {"ids: long", test_ids_long},
    {"batches", test_batches},
    CU_TEST_INFO_NULL,
};

CU_SuiteInfo suite_ids = {"ids", NULL, NULL, NULL, NULL, tests};
