/* SPDX-License-Identifier: Apache-2.0
 *
 * Which axes of an output are rows of the batch and positions of a sequence. Declared names of dimensions decide where
 * they say something; exporters often invent one per output, and then the place and the size of the axis do.
 */
#include "feed.h"
#include <ctype.h>

static bool is_word(char c) { return isalnum((unsigned char)c) || c == '_' || c == '.'; }

/* Does an expression like "past_sequence + sequence" have the symbol as a term? */
static bool mentions(const char *expression, const char *symbol)
{
    size_t n = strlen(symbol);
    for (const char *at = expression; (at = strstr(at, symbol)); at++)
        if ((at == expression || !is_word(at[-1])) && !is_word(at[n])) return true;
    return false;
}

static bool is_batch(const gr_value_info *base, const gr_value_info *info, int axis)
{
    const gr_dim_info *a = &info->dims[axis], *b = &base->dims[0];
    if (a->value >= 0) return b->value == a->value;
    return a->symbol && b->symbol && !strcmp(a->symbol, b->symbol);
}

static int batch_axis(const feed *f, const gr_value_info *base, const gr_value_info *info, const gr_tensor_view *view)
{
    if (feed_rank(f) == 1 || view->rank == 0) return -1;
    bool declared = info && info->rank == view->rank;
    if (view->dims[0] == f->rows && (!declared || is_batch(base, info, 0))) return 0;
    /* A cache of keys and values in one tensor has the batch second. */
    if (declared && view->rank > 1 && view->dims[1] == f->rows && info->dims[0].value > 0 && is_batch(base, info, 1))
        return 1;
    bool open = !declared || info->dims[0].value < 0;
    return view->dims[0] == f->rows && open ? 0 : -1;
}

/* Where the names don't tell: [rows, positions, features] and [rows, heads, positions, positions or features]. */
static bool usual_place(int rank, int axis, const char *name)
{
    if (rank == 2) return axis == 1 && name && (strstr(name, "start") || strstr(name, "end_"));
    return rank == 3 ? axis == 1 : axis >= 2;
}

feed_layout feed_output_layout(const feed *f, const gr_value_info *info, const gr_tensor_view *view)
{
    feed_layout out = {-1, 0};
    if (f->base < 0) return out;
    const gr_value_info *base = &f->slots[f->base].info;
    if (base->rank < 1) return out;
    out.batch_axis = batch_axis(f, base, info, view);
    const gr_dim_info *length = &base->dims[feed_rank(f) - 1];
    if (!info || info->rank != view->rank || feed_rank(f) > base->rank) return out;
    for (int a = 0; a < view->rank && a < 32; a++) {
        const gr_dim_info *dim = &info->dims[a];
        if (a == out.batch_axis || (view->dims[a] != f->length && view->dims[a] != f->past + f->length)) continue;
        bool named = dim->value < 0 && dim->symbol && length->value < 0 && length->symbol;
        bool fixed = dim->value >= 0 && length->value < 0;
        bool is = named && mentions(dim->symbol, length->symbol);
        if (!is && !fixed) is = usual_place(view->rank, a, info->name);
        if (is) out.positions |= 1u << a;
    }
    return out;
}
