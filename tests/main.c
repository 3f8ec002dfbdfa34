/* SPDX-License-Identifier: Apache-2.0
 *
 * Runs all CUnit suites, or those named on the command line.
 */
#include <CUnit/Basic.h>
#include <stdio.h>
#include <string.h>

extern CU_SuiteInfo *const all_suites[]; /* made by the build from tests/<module>_test.c */

static int wanted(const char *name, int argc, char **argv)
{
    for (int i = 1; i < argc; i++)
        if (!strcmp(argv[i], name)) return 1;
    return argc == 1;
}

int main(int argc, char **argv)
{
    int found = 0;
    if (CU_initialize_registry() != CUE_SUCCESS) return 2;
    for (size_t i = 0; all_suites[i]; i++) {
        CU_SuiteInfo rows[2] = {*all_suites[i], CU_SUITE_INFO_NULL};
        if (!wanted(rows[0].pName, argc, argv)) continue;
        found++;
        if (CU_register_suites(rows) != CUE_SUCCESS) {
            fprintf(stderr, "%s: %s\n", rows[0].pName, CU_get_error_msg());
            return 2;
        }
    }
    if (!found) {
        fprintf(stderr, "no such suite\n");
        return 2;
    }
    CU_basic_set_mode(CU_BRM_VERBOSE);
    CU_basic_run_tests();
    unsigned failed = CU_get_number_of_failures() + CU_get_number_of_suites_failed();
    CU_cleanup_registry();
    return failed ? 1 : 0;
}
