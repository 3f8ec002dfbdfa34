/* SPDX-License-Identifier: Apache-2.0
 *
 * Packs that several threads ask for at once are made once, and all get the same.
 */
#include "exec/packs.h"
#include "support.h"
#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

enum { ASKERS = 4, KEYS = 40, FLOATS_OF_ONE = 16 };

static float weights[KEYS][FLOATS_OF_ONE];

typedef struct asker {
    gr_packs *packs;
    pthread_barrier_t *start;
    _Atomic int *made;
    const gr_pack *got[KEYS];
} asker;

typedef struct making {
    int key;
    _Atomic int *made;
} making;

static bool make(void *user, gr_pack *pack)
{
    const making *m = user;
    m->made[m->key]++;
    nanosleep(&(struct timespec){.tv_nsec = 200000}, NULL); /* so that the others ask meanwhile */
    pack->size = sizeof weights[m->key];
    if (!gr_pack_alloc(pack)) return false;
    memcpy(pack->data, weights[m->key], pack->size);
    return true;
}

static void *ask(void *user)
{
    asker *a = user;
    pthread_barrier_wait(a->start);
    for (int i = 0; i < KEYS; i++) {
        const gr_pack_key key = {
            .data = weights[i], .dtype = GR_FLOAT, .rows = FLOATS_OF_ONE, .cols = 1, .layout = "test"};
        a->got[i] = gr_packs_get(a->packs, &key, 0, make, &(making){i, a->made});
    }
    return NULL;
}

static void test_made_once(void)
{
    _Atomic int made[KEYS] = {0};
    asker askers[ASKERS];
    pthread_t threads[ASKERS];
    pthread_barrier_t start;
    gr_packs *packs = gr_packs_new(NULL);
    CU_ASSERT_PTR_NOT_NULL_FATAL(packs);
    for (int i = 0; i < KEYS; i++) weights[i][0] = (float)i;
    pthread_barrier_init(&start, NULL, ASKERS);
    for (int i = 0; i < ASKERS; i++) {
        askers[i] = (asker){.packs = packs, .start = &start, .made = made};
        CU_ASSERT_EQUAL_FATAL(pthread_create(&threads[i], NULL, ask, &askers[i]), 0);
    }
    for (int i = 0; i < ASKERS; i++) pthread_join(threads[i], NULL);
    for (int k = 0; k < KEYS; k++) {
        CU_ASSERT_EQUAL(made[k], 1);
        CU_ASSERT_PTR_NOT_NULL_FATAL(askers[0].got[k]);
        CU_ASSERT_EQUAL(*(const float *)askers[0].got[k]->data, (float)k);
        for (int i = 1; i < ASKERS; i++) CU_ASSERT_PTR_EQUAL(askers[i].got[k], askers[0].got[k]);
    }
    CU_ASSERT_TRUE(gr_packs_bytes(packs) < 2 * KEYS * (sizeof weights[0] + 64));
    pthread_barrier_destroy(&start);
    gr_packs_free(packs);
}

static CU_TestInfo tests[] = {{"made once", test_made_once}, CU_TEST_INFO_NULL};
CU_SuiteInfo suite_packs = {"packs", NULL, NULL, NULL, NULL, tests};
