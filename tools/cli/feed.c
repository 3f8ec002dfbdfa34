/* SPDX-License-Identifier: Apache-2.0
 *
 * Which input plays which part, and the tensors that are derived for it.
 */
#include "feed.h"
#include <ctype.h>
#include <stdlib.h>

/* ---- Parts by name ---- */

/* "serving_default_Input_Mask:0" and the like become "input_mask". */
static void plain_name(const char *name, char *out, size_t room)
{
    static const char prefix[] = "serving_default_";
    const char *slash = strrchr(name, '/');
    if (slash && slash[1]) name = slash + 1;
    if (!strncmp(name, prefix, sizeof prefix - 1)) name += sizeof prefix - 1;
    size_t n = 0;
    for (; *name && *name != ':' && n + 1 < room; name++) out[n++] = (char)tolower((unsigned char)*name);
    out[n] = 0;
}

static bool one_of(const char *name, const char *const *list)
{
    for (; *list; list++)
        if (!strcmp(name, *list)) return true;
    return false;
}

static bool starts_with(const char *name, const char *start) { return !strncmp(name, start, strlen(start)); }

static feed_role role_of(const gr_value_info *info)
{
    static const char *const ids[] = {"input_ids", "input_word_ids", "token_ids", "ids", "tokens", "input_tokens", 0};
    static const char *const masks[] = {"input_mask", "attn_mask", 0};
    static const char *const types[] = {"token_type_ids", "token_type_id", "segment_ids", "input_type_ids",
                                        "type_ids",       "token_types",   "segments",    0};
    static const char *const positions[] = {"position_ids", "positions", "input_position_ids", 0};
    static const char *const labels[] = {"label", "start_positions", "end_positions", "next_sentence_label", 0};
    char name[64];
    if (info->kind != GR_VALUE_TENSOR) return FEED_UNKNOWN;
    plain_name(info->name, name, sizeof name);
    bool whole = cli_is_int(info->type), small = whole || info->type == GR_BOOL || info->rank <= 2;
    if (whole && one_of(name, ids)) return FEED_IDS;
    if (small && (one_of(name, masks) || starts_with(name, "mask") || starts_with(name, "attention_mask")))
        return FEED_MASK;
    if (one_of(name, types)) return FEED_TYPES;
    if (one_of(name, positions)) return FEED_POSITIONS;
    if (whole && !strcmp(name, "cache_position")) return FEED_CACHE_POSITIONS;
    if (!strcmp(name, "use_cache_branch")) return FEED_USE_CACHE;
    if (cli_is_float(info->type) && info->rank >= 4 && starts_with(name, "past")) return FEED_CACHE;
    if (whole && (one_of(name, labels) || cli_ends_with(name, "labels") || starts_with(name, "unique_ids")))
        return FEED_LABELS;
    if (cli_is_float(info->type) && !strcmp(name, "head_mask")) return FEED_HEAD_MASK;
    return FEED_UNKNOWN;
}

/* ---- Settling ---- */

static int find_base(const feed *f)
{
    for (size_t i = 0; i < f->count; i++)
        if (f->slots[i].role == FEED_IDS) return (int)i;
    for (size_t i = 0; i < f->count; i++) {
        char name[64];
        plain_name(f->slots[i].info.name, name, sizeof name);
        if (f->slots[i].role == FEED_GIVEN &&
            (role_of(&f->slots[i].info) == FEED_IDS || !strcmp(name, "inputs_embeds")))
            return (int)i;
    }
    for (size_t i = 0; i < f->count; i++) {
        const gr_value_info *info = &f->slots[i].info;
        if (f->slots[i].role == FEED_UNKNOWN && info->kind == GR_VALUE_TENSOR && cli_is_int(info->type) && info->rank >= 1 && info->rank <= 3)
            return (int)i;
    }
    return -1;
}

static bool take_given(feed *f, cli_tensor *given, size_t count, gr_err *err)
{
    for (size_t g = 0; g < count; g++) {
        for (size_t i = 0; i < f->count; i++) {
            feed_slot *slot = &f->slots[i];
            if (!given[g].name || strcmp(given[g].name, slot->info.name)) continue;
            if (!cli_convert(&given[g], slot->info.type, err))
                return cli_fail_context(err, "input '%s'", cli_show(slot->info.name));
            slot->role = FEED_GIVEN, slot->given = &given[g];
        }
    }
    return true;
}

static int64_t fixed(const gr_value_info *info, int axis) { return axis < info->rank ? info->dims[axis].value : -1; }

static void settle_base(feed *f)
{
    f->batch_size = f->length_fixed = f->choices_fixed = -1;
    if (f->base < 0) return;
    const gr_value_info *info = &f->slots[f->base].info;
    int rank = feed_rank(f);
    f->length_fixed = fixed(info, rank - 1);
    if (rank > 1) f->batch_size = fixed(info, 0);
    if (rank > 2) f->choices_fixed = fixed(info, 1);
}

static void settle_cache(feed *f)
{
    for (size_t i = 0; i < f->count; i++) {
        feed_slot *slot = &f->slots[i];
        if (slot->info.rank < 4 || role_of(&slot->info) != FEED_CACHE) continue;
        f->past_given = slot->given != NULL;
        int64_t past = slot->given && slot->given->rank >= 4 ? slot->given->dims[slot->given->rank - 2]
                                                             : slot->info.dims[slot->info.rank - 2].value;
        f->past = past > 0 ? past : 0;
        return;
    }
}

static bool settle(feed *f, const gr_model *model, cli_tensor *given, size_t given_count, bool lines, gr_err *err)
{
    *f = (feed){.count = gr_model_input_count(model), .base = -1};
    f->slots = cli_array(f->count, sizeof *f->slots);
    f->inputs = cli_array(f->count, sizeof *f->inputs);
    for (size_t i = 0; i < f->count; i++) {
        if (gr_model_input(model, i, &f->slots[i].info) != GR_OK)
            return cli_fail(err, GR_EINVAL, "the model can't be described");
        f->slots[i].role = role_of(&f->slots[i].info);
    }
    if (!take_given(f, given, given_count, err)) return false;
    f->base = find_base(f);
    if (f->base >= 0 && f->slots[f->base].role == FEED_UNKNOWN) {
        if (lines)
            f->slots[f->base].role = FEED_IDS;
        else
            f->base = -1;
    }
    settle_base(f);
    settle_cache(f);
    for (size_t i = 0; i < f->count; i++) {
        if (role_of(&f->slots[i].info) == FEED_MASK) f->has_mask = true;
        if (f->slots[i].role == FEED_LABELS && !f->slots[i].info.optional) f->labels_derived = true;
    }
    return true;
}

bool feed_init_random(feed *f, const gr_model *model, cli_tensor *given, size_t given_count, gr_err *err)
{
    return settle(f, model, given, given_count, true, err);
}

bool feed_init(feed *f, const gr_model *model, cli_tensor *given, size_t given_count, bool lines, gr_err *err)
{
    if (!settle(f, model, given, given_count, lines, err)) return false;
    if (lines && (f->base < 0 || f->slots[f->base].role != FEED_IDS))
        return cli_fail(err, GR_EINPUT,
                        f->base < 0 ? "the model has no input for token ids" : "token ids are given twice");
    for (size_t i = 0; i < f->count; i++) {
        const feed_slot *slot = &f->slots[i];
        if (slot->role == FEED_GIVEN || slot->info.optional) continue;
        if (slot->role == FEED_IDS && !lines)
            return cli_fail(err, GR_EINPUT, "the model wants '%s', %s: give --input ids.txt or --input %s=FILE",
                            cli_show(slot->info.name), cli_declared(&slot->info), cli_show(slot->info.name));
        if (slot->role == FEED_UNKNOWN || f->base < 0)
            return cli_fail(err, GR_EINPUT, "the model wants '%s', %s: give --input %s=FILE", cli_show(slot->info.name),
                            cli_declared(&slot->info), cli_show(slot->info.name));
    }
    return true;
}

void feed_free(feed *f)
{
    for (size_t i = 0; i < f->count; i++) cli_tensor_free(&f->slots[i].made);
    free(f->slots);
    free(f->inputs);
    *f = (feed){0};
}

int feed_rank(const feed *f)
{
    if (f->base < 0) return 0;
    const gr_value_info *info = &f->slots[f->base].info;
    if (!cli_is_int(info->type)) return 2;
    return info->rank < 1 || info->rank > 3 ? 2 : info->rank;
}

/* ---- Making ---- */

static bool store(feed_slot *slot, int64_t i, int64_t value, gr_err *err)
{
    if (cli_store_integer(slot->info.type, slot->made.owned, i, value)) return true;
    return cli_fail(err, GR_EINPUT, "%lld does not fit into '%s', %s", (long long)value, cli_show(slot->info.name),
                    cli_declared(&slot->info));
}

/* `cells`: f->rows * f->choices of them. */
static bool make_rows(const feed *f, feed_slot *slot, const feed_cell *cells, gr_err *err)
{
    int rank = feed_rank(f);
    int64_t dims[3] = {f->rows, f->choices, f->length}, shape[3] = {f->rows, f->length};
    if (rank == 1) shape[0] = f->length;
    if (!cli_tensor_make(&slot->made, slot->info.type, rank, rank == 3 ? dims : shape, err)) return false;
    for (int64_t c = 0, i = 0; c < f->rows * f->choices; c++) {
        const feed_cell *cell = &cells[c];
        for (int64_t s = 0; s < f->length; s++, i++) {
            int64_t v = s >= cell->length ? f->pad : cell->ids ? cell->ids[s] : 0;
            if (slot->role == FEED_TYPES) v = s < cell->length && s >= cell->boundary;
            if (slot->role == FEED_POSITIONS) v = s + (f->past_given ? f->past : 0);
            if (!store(slot, i, v, err)) return false;
        }
    }
    return true;
}

static bool make_positions(const feed *f, feed_slot *slot, const feed_cell *cells, gr_err *err)
{
    bool one_row = slot->info.rank == 2 && slot->info.dims[0].value == 1 && f->rows > 1;
    if (slot->info.rank != 1 && !one_row) return make_rows(f, slot, cells, err);
    int64_t dims[2] = {1, f->length};
    if (!cli_tensor_make(&slot->made, slot->info.type, one_row ? 2 : 1, one_row ? dims : dims + 1, err)) return false;
    for (int64_t s = 0; s < f->length; s++)
        if (!store(slot, s, s + (f->past_given ? f->past : 0), err)) return false;
    return true;
}

/* A mask is one row per sequence, one matrix per sequence (the same row for each query), or just the lengths. */
static bool make_mask(const feed *f, feed_slot *slot, const feed_cell *cells, gr_err *err)
{
    int rank = slot->info.rank < 0 ? feed_rank(f) : slot->info.rank;
    int64_t keys = f->past + f->length, cell_count = f->rows * f->choices, repeat = 1;
    int64_t dims[4] = {f->rows, keys};
    if (rank == 1) dims[0] = feed_rank(f) == 1 ? keys : f->rows;
    if (rank == 3) dims[1] = feed_rank(f) == 3 ? f->choices : (repeat = f->length), dims[2] = keys;
    if (rank == 4) dims[1] = 1, dims[2] = slot->info.dims[2].value == 1 ? 1 : (repeat = f->length), dims[3] = keys;
    if (rank < 1 || rank > 4)
        return cli_fail(err, GR_EINPUT, "'%s', %s, can't be derived: give --input %s=FILE", cli_show(slot->info.name),
                        cli_declared(&slot->info), cli_show(slot->info.name));
    if (!cli_tensor_make(&slot->made, slot->info.type, rank, dims, err)) return false;
    if (rank == 1 && feed_rank(f) != 1) {
        for (int64_t c = 0; c < cell_count; c++)
            if (!store(slot, c, cells[c].length, err)) return false;
        return true;
    }
    for (int64_t c = 0, i = 0; c < cell_count; c++)
        for (int64_t r = 0; r < repeat; r++)
            for (int64_t k = 0; k < keys; k++, i++)
                if (!store(slot, i, k < f->past ? f->past_given : k - f->past < cells[c].length, err)) return false;
    return true;
}

static bool same_symbol(const gr_dim_info *a, const gr_dim_info *b)
{
    return a->value < 0 && b->value < 0 && a->symbol && b->symbol && !strcmp(a->symbol, b->symbol);
}

/* Declared dimensions, with the batch where the ids have it (or in the first open dimension), `open` in the others. */
static bool make_open(const feed *f, feed_slot *slot, int64_t open, gr_err *err)
{
    const gr_value_info *info = &slot->info;
    const gr_value_info *base = f->base < 0 ? NULL : &f->slots[f->base].info;
    int64_t dims[CLI_MAX_RANK];
    int batch = -1;
    if (info->rank < 0 || info->rank > CLI_MAX_RANK)
        return cli_fail(err, GR_EINPUT, "the shape of '%s' is not known: give --input %s=FILE", cli_show(info->name),
                        cli_show(info->name));
    for (int d = info->rank - 1; d >= 0; d--) {
        dims[d] = info->dims[d].value < 0 ? open : info->dims[d].value;
        if (base && base->rank > 0 && same_symbol(&info->dims[d], &base->dims[0])) batch = d;
    }
    for (int d = 0; d < info->rank && batch < 0; d++)
        if (info->dims[d].value < 0) batch = d;
    if (batch >= 0) dims[batch] = f->rows;
    return cli_tensor_make(&slot->made, info->type, info->rank, dims, err);
}

static bool make_slot(const feed *f, feed_slot *slot, const feed_cell *cells, gr_err *err)
{
    cli_tensor_free(&slot->made);
    switch (slot->role) {
    case FEED_IDS:
    case FEED_TYPES: return make_rows(f, slot, cells, err);
    case FEED_POSITIONS: return make_positions(f, slot, cells, err);
    case FEED_MASK: return make_mask(f, slot, cells, err);
    case FEED_CACHE: return make_open(f, slot, 0, err);
    case FEED_USE_CACHE: return make_open(f, slot, 1, err);
    case FEED_LABELS: return make_open(f, slot, f->length, err);
    case FEED_CACHE_POSITIONS: {
        if (!cli_tensor_make(&slot->made, slot->info.type, 1, &f->length, err)) return false;
        for (int64_t s = 0; s < f->length; s++)
            if (!store(slot, s, s + (f->past_given ? f->past : 0), err)) return false;
        return true;
    }
    case FEED_HEAD_MASK: {
        bool ok = make_open(f, slot, 1, err);
        for (int64_t i = 0; ok && i < slot->made.elements; i++) ok = store(slot, i, 1, err);
        return ok;
    }
    default: return true;
    }
}

static void add_input(feed *f, const feed_slot *slot, const cli_tensor *tensor)
{
    f->inputs[f->input_count++] = (gr_named_tensor){slot->info.name, cli_view(tensor)};
}

static bool make_all(feed *f, const feed_cell *cells, gr_err *err)
{
    f->input_count = 0;
    for (size_t i = 0; i < f->count; i++) {
        feed_slot *slot = &f->slots[i];
        if (slot->role == FEED_GIVEN && !slot->made.owned) {
            add_input(f, slot, slot->given);
        } else if (slot->role == FEED_GIVEN) {
            add_input(f, slot, &slot->made);
        } else if (!slot->info.optional && slot->role != FEED_UNKNOWN) {
            if (!make_slot(f, slot, cells, err)) return false;
            add_input(f, slot, &slot->made);
        }
    }
    return true;
}

/* The rows of a given tensor that belong to a batch; where its second dimension counts positions, cut or filled with
 * zeros to the length of the batch. */
static bool cut_given(const feed *f, feed_slot *slot, const size_t *order, size_t n, gr_err *err)
{
    const cli_tensor *t = slot->given;
    const gr_value_info *base = &f->slots[f->base].info;
    int64_t dims[CLI_MAX_RANK];
    cli_tensor_free(&slot->made);
    memcpy(dims, t->dims, sizeof dims);
    dims[0] = f->rows;
    bool positions = t->rank > 1 && slot->info.rank > 1 && feed_rank(f) == 2 && base->rank == 2 &&
                     (same_symbol(&slot->info.dims[1], &base->dims[1]) || dims[1] == f->length_fixed);
    if (positions) dims[1] = f->length;
    if (!cli_tensor_make(&slot->made, t->type, t->rank, dims, err)) return false;
    if (!t->elements || !slot->made.elements) return true;
    size_t from_row = t->size / (size_t)t->dims[0], to_row = slot->made.size / (size_t)f->rows;
    size_t bytes = from_row < to_row ? from_row : to_row;
    for (int64_t r = 0; r < f->rows; r++) {
        size_t row = order[(size_t)r < n ? (size_t)r : n - 1];
        memcpy((char *)slot->made.owned + (size_t)r * to_row, (const char *)t->data + row * from_row, bytes);
    }
    return true;
}

bool feed_lines(feed *f, const cli_ids *ids, const cli_item *items, const size_t *order, size_t n, size_t total,
                gr_err *err)
{
    f->rows = f->batch_size > 0 ? f->batch_size : (int64_t)n;
    f->choices = (int64_t)items[order[0]].lines;
    f->length = f->length_fixed;
    for (size_t i = 0; i < n && f->length_fixed < 0; i++)
        if (items[order[i]].length > f->length) f->length = items[order[i]].length;
    feed_cell *cells = cli_array((size_t)(f->rows * f->choices), sizeof *cells);
    for (int64_t c = 0; c < f->rows * f->choices; c++) {
        size_t row = (size_t)(c / f->choices);
        const cli_item *item =
            &items[order[row < n ? row : n - 1]]; /* rows that the model insists on repeat the last */
        const cli_line *line = &ids->lines[item->line + (size_t)(c % f->choices)];
        cells[c] = (feed_cell){ids->ids + line->first, line->length, line->boundary};
    }
    bool ok = true;
    for (size_t i = 0; ok && i < f->count; i++)
        if (f->slots[i].role == FEED_GIVEN && f->slots[i].given->rank > 0 &&
            f->slots[i].given->dims[0] == (int64_t)total)
            ok = cut_given(f, &f->slots[i], order, n, err);
    ok = ok && make_all(f, cells, err);
    free(cells);
    return ok;
}

static feed_cell *whole_cells(const feed *f)
{
    feed_cell *cells = cli_array((size_t)(f->rows * f->choices), sizeof *cells);
    for (int64_t c = 0; c < f->rows * f->choices; c++) cells[c] = (feed_cell){NULL, f->length, f->length};
    return cells;
}

bool feed_given(feed *f, gr_err *err)
{
    f->rows = f->choices = f->length = 1;
    if (f->base >= 0 && f->slots[f->base].given) {
        const cli_tensor *t = f->slots[f->base].given;
        bool embeddings = !cli_is_int(t->type);
        int rank = t->rank - embeddings;
        if (rank < 1) return cli_fail(err, GR_EINPUT, "input '%s' is a scalar", cli_show(f->slots[f->base].info.name));
        f->rows = rank > 1 ? t->dims[0] : 1;
        f->choices = rank > 2 ? t->dims[1] : 1;
        f->length = t->dims[rank - 1];
        int64_t cells;
        if (__builtin_mul_overflow(f->rows, f->choices, &cells) || cells > INT32_MAX)
            return cli_fail(err, GR_ELIMIT, "input '%s' has too many rows", cli_show(f->slots[f->base].info.name));
    }
    feed_cell *cells = whole_cells(f);
    bool ok = make_all(f, cells, err);
    free(cells);
    return ok;
}

/* A small generator of its own, so that every machine measures the same ids. */
static uint64_t next_random(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return *state >> 33;
}

/* Inputs that no rule derives: the batch in the first open dimension, the length in the others. */
static bool make_random(const feed *f, feed_slot *slot, uint64_t *state, gr_err *err)
{
    if (!make_open(f, slot, f->length, err)) return false;
    for (int64_t i = 0; i < slot->made.elements; i++) {
        double value = (double)next_random(state) / (double)(1u << 30) - 1;
        if (!cli_is_float(slot->info.type) ? !cli_store_integer(slot->info.type, slot->made.owned, i, value > 0)
                                           : !cli_store_float(slot->info.type, slot->made.owned, i, value))
            return cli_fail(err, GR_EUNSUPPORTED, "no random numbers for '%s', %s", cli_show(slot->info.name),
                            cli_declared(&slot->info));
    }
    return true;
}

bool feed_random(feed *f, int64_t rows, int64_t choices, int64_t length, int64_t vocabulary, gr_err *err)
{
    uint64_t state = f->seed + 1;
    int64_t total;
    f->rows = rows, f->choices = choices, f->length = length;
    if (__builtin_mul_overflow(rows, choices, &total) || __builtin_mul_overflow(total, length, &total) ||
        total > INT32_MAX)
        return cli_fail(err, GR_ELIMIT, "a shape of %lld x %lld x %lld is too large", (long long)rows,
                        (long long)choices, (long long)length);
    int64_t *ids = cli_array((size_t)total, sizeof *ids);
    for (int64_t i = 0; i < total; i++) ids[i] = (int64_t)(next_random(&state) % (uint64_t)vocabulary);
    feed_cell *cells = whole_cells(f);
    for (int64_t c = 0; c < rows * choices; c++) cells[c].ids = ids + c * length;
    bool ok = make_all(f, cells, err);
    for (size_t i = 0; ok && i < f->count; i++) {
        if (f->slots[i].role != FEED_UNKNOWN || f->slots[i].info.optional) continue;
        cli_tensor_free(&f->slots[i].made);
        ok = make_random(f, &f->slots[i], &state, err);
        if (ok) add_input(f, &f->slots[i], &f->slots[i].made);
    }
    free(cells);
    free(ids);
    return ok;
}
