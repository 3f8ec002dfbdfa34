/* SPDX-License-Identifier: Apache-2.0
 *
 * What ways of respelling a model are made of: looking at the nodes of its main graph and adding some.
 */
#ifndef TEST_SPELLER_H
#define TEST_SPELLER_H

#include "graph/ir.h"

typedef struct speller {
    gr_doc *doc;
    gr_doc_graph *g;
    const gr_graph *types;
    int64_t opset;
    uint32_t *seed;
    size_t capnodes, capinit;
    int fresh;
    bool broke; /* out of memory */
} speller;

/* One way: look at node `at`, and change something there or not. */
typedef struct spelling {
    const char *name;
    bool (*apply)(speller *s, size_t at);
} spelling;
enum { MORE_SPELLINGS = 16 };
extern const spelling more_spellings[];
extern const size_t more_spellings_count;
/* Let a stretch of nodes become a function of the model, called in its place. The names of nodes and values stay. */
void spell_wrap(speller *s);

uint32_t spell_below(speller *s, size_t n);
void *spell_room_for(speller *s, size_t bytes);
const char *spell_new_name(speller *s);
gr_attr spell_ints_attr(speller *s, const char *name, size_t n, const int64_t *v);
/* A node of one output before node `at`, whose name is returned. Pointers to nodes are stale afterwards. */
const char *spell_add_node(speller *s, size_t at, const char *op, size_t nin, const char *const *in,
                           const gr_attr *attr);
const char *spell_add_init(speller *s, gr_doc_tensor t);
const char *spell_add_const(speller *s, gr_dtype dtype, int rank, int64_t count, const void *data, size_t size);

gr_doc_node *spell_node_at(speller *s, size_t at);
bool spell_is_op(const gr_doc_node *n, const char *op);
gr_doc_tensor *spell_init_of(speller *s, const char *name);
/* The type of a value that the file has; NULL for new ones and what is no tensor. */
const gr_type *spell_type_of(speller *s, const char *name);
/* A float constant with one element. */
bool spell_scalar_of(speller *s, const char *name, float *out);
/* Let an input of a node come through what `through` puts before it. */
bool spell_insert(speller *s, size_t at, const char *(*through)(speller *, size_t, const char *, const gr_type *));

#endif
