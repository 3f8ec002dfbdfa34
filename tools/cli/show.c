/* SPDX-License-Identifier: Apache-2.0 */
#include "show.h"
#include <math.h>
#include <stdlib.h>

/* What fits a screen beside the rest. */
#define TOP_DEFAULT    5
#define SCREEN_ROWS    40
#define SCREEN_SHOWN   12
#define TOP_CLASSES    100 /* --top-k is cut to this */
#define VOCABULARY_MIN 4096

int64_t show_elements(const gr_tensor_view *v)
{
    int64_t n = 1;
    for (int i = 0; i < v->rank; i++) n *= v->dims[i];
    return n;
}

show_range show_range_of(const gr_tensor_view *v)
{
    show_range r = {INFINITY, -INFINITY, 0, 0, 0, 0};
    int64_t n = show_elements(v);
    double sum = 0;
    for (int64_t i = 0; i < n; i++) {
        double x = cli_value(v->type, v->data, i);
        if (isnan(x)) {
            r.nan++;
        } else if (isinf(x)) {
            r.infinite++;
        } else {
            r.min = x < r.min ? x : r.min, r.max = x > r.max ? x : r.max;
            r.finite++, sum += x;
        }
    }
    r.mean = r.finite ? sum / (double)r.finite : 0;
    return r;
}

static void add_value(cli_text *out, const gr_tensor_view *v, int64_t i)
{
    double x = cli_value(v->type, v->data, i);
    if (v->type == GR_BOOL)
        cli_add(out, x != 0 ? "true" : "false");
    else if (v->type == GR_UINT64)
        cli_add(out, "%llu", (unsigned long long)cli_integer(v->type, v->data, i));
    else if (cli_is_int(v->type))
        cli_add(out, "%lld", (long long)cli_integer(v->type, v->data, i));
    else if (isnan(x))
        cli_add(out, "nan");
    else
        cli_add(out, "%.5g", x);
}

static void add_values(cli_text *out, const gr_tensor_view *v, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        if (n > 8 && i == 3) {
            cli_add(out, " …");
            i = n - 3;
        }
        cli_add(out, i ? " " : "");
        add_value(out, v, i);
    }
}

/* ---- The likeliest ids ---- */

typedef struct ranked {
    int64_t id;
    double p;
} ranked;

/* The k greatest of `classes` values from `first` on, ties by id, with softmax over all; 0 if one is NaN. */
static int64_t rank(const gr_tensor_view *v, int64_t first, int64_t classes, int64_t k, ranked *out)
{
    int64_t n = 0;
    double max = -INFINITY, sum = 0;
    for (int64_t i = 0; i < classes; i++) {
        double x = cli_value(v->type, v->data, first + i);
        if (isnan(x)) return 0;
        max = x > max ? x : max;
        if (n == k && x <= out[n - 1].p) continue;
        int64_t at = n < k ? n++ : n - 1;
        for (; at > 0 && out[at - 1].p < x; at--) out[at] = out[at - 1];
        out[at] = (ranked){i, x};
    }
    if (!isfinite(max)) return 0;
    for (int64_t i = 0; i < classes; i++) sum += exp(cli_value(v->type, v->data, first + i) - max);
    for (int64_t i = 0; i < n; i++) out[i].p = exp(out[i].p - max) / sum;
    return n;
}

/* Logits are told by their name, or by a last dimension that only a vocabulary has. */
static int64_t top_count(const char *name, const gr_tensor_view *v, const show_options *o)
{
    if (o->top_k == 0 || v->rank < 1 ||
        !(v->type == GR_FLOAT || v->type == GR_DOUBLE || v->type == GR_FLOAT16 || v->type == GR_BFLOAT16))
        return 0;
    int64_t classes = v->dims[v->rank - 1], k = o->top_k > 0 ? o->top_k : TOP_DEFAULT;
    bool logits = strstr(name, "logits") || strstr(name, "prediction");
    bool span = strstr(name, "start_") || strstr(name, "end_");
    if (classes < 2 || (o->positions_last && !span) || (!logits && classes < VOCABULARY_MIN)) return 0;
    if (k > TOP_CLASSES) k = TOP_CLASSES;
    return k < classes ? k : classes;
}

static void add_probability(cli_text *out, double p) { cli_add(out, p >= 0.0005 ? "%.4f" : "%.1e", p); }

static void show_top(cli_text *out, const gr_tensor_view *v, int64_t k, const show_options *o)
{
    int64_t classes = v->dims[v->rank - 1], rows = show_elements(v) / (classes ? classes : 1);
    bool all = o->top_k > 0 || rows <= SCREEN_ROWS, one = v->rank == 1;
    ranked *best = cli_array((size_t)k, sizeof *best);
    for (int64_t r = 0; r < rows; r++) {
        if (!all && r == SCREEN_SHOWN) {
            cli_add(out, "    … %lld positions more; --top-k shows all\n", (long long)(rows - SCREEN_SHOWN));
            break;
        }
        const int64_t place = o->at ? o->at[r] : r;
        cli_add(out, one ? "   " : "    %4lld", (long long)place);
        if (!one && v->rank == 2 && o->ids && place < o->id_count) cli_add(out, " %6lld", (long long)o->ids[place]);
        cli_add(out, " →");
        int64_t n = rank(v, r * classes, classes, k, best);
        if (!n) cli_add(out, " not finite");
        for (int64_t i = 0; i < n; i++) {
            cli_add(out, "%s %lld ", i ? " ·" : "", (long long)best[i].id);
            add_probability(out, best[i].p);
        }
        cli_add(out, "\n");
    }
    free(best);
}

/* A line for the sequence, and one for each item. */
static void show_sequence(cli_text *out, const char *name, const gr_tensor_view *v, const show_options *o)
{
    size_t n = v->size / sizeof *v;
    cli_add(out, "  %-*s  %s\n", o->name_width, cli_show(name), cli_view_text(v).s);
    for (size_t i = 0; i < n; i++) {
        char item[32];
        show_options each = *o;
        each.top_k = 0;
        snprintf(item, sizeof item, "[%zu]", i);
        show_tensor(out, item, (const gr_tensor_view *)v->data + i, &each);
    }
}

void show_tensor(cli_text *out, const char *name, const gr_tensor_view *v, const show_options *o)
{
    if (v->rank < 0) {
        show_sequence(out, name, v, o);
        return;
    }
    int64_t n = show_elements(v), k = top_count(name, v, o);
    cli_add(out, "  %-*s  %s", o->name_width, cli_show(name), cli_shape(v->type, v->rank, v->dims));
    if (v->type == GR_STRING) {
        cli_add(out, "\n");
        return;
    }
    if (n > 1) {
        show_range r = show_range_of(v);
        if (r.finite && v->type != GR_BOOL) cli_add(out, "  %.5g … %.5g", r.min, r.max);
        if (r.nan) cli_add(out, "  %lld not a number", (long long)r.nan);
        if (r.infinite) cli_add(out, "  %lld infinite", (long long)r.infinite);
    }
    cli_add(out, n ? "  : " : "  empty");
    add_values(out, v, n);
    cli_add(out, "\n");
    if (k) show_top(out, v, k, o);
}

static void json_values(cli_json *j, const char *key, const gr_tensor_view *v, int64_t from, int64_t to)
{
    json_open(j, key, '[');
    for (int64_t i = from; i < to; i++) {
        if (v->type == GR_BOOL)
            json_bool(j, NULL, cli_integer(v->type, v->data, i) != 0);
        else if (cli_is_int(v->type))
            json_int(j, NULL, cli_integer(v->type, v->data, i));
        else
            json_number(j, NULL, cli_value(v->type, v->data, i));
    }
    json_close(j, ']');
}

static void show_json_sequence(cli_json *j, const char *name, const gr_tensor_view *v, const show_options *o)
{
    show_options each = *o;
    each.top_k = 0;
    json_open(j, NULL, '{');
    json_text(j, "name", name);
    json_text(j, "type", gr_dtype_name(v->type));
    json_bool(j, "empty", v->rank == GR_VIEW_EMPTY);
    json_open(j, "items", '[');
    for (size_t i = 0; i < v->size / sizeof *v; i++)
        show_json(j, NULL, (const gr_tensor_view *)v->data + i, &each);
    json_close(j, ']');
    json_close(j, '}');
}

void show_json(cli_json *j, const char *name, const gr_tensor_view *v, const show_options *o)
{
    if (v->rank < 0) {
        show_json_sequence(j, name, v, o);
        return;
    }
    int64_t n = show_elements(v), k = top_count(name, v, o);
    json_open(j, NULL, '{');
    json_text(j, "name", name);
    json_text(j, "type", gr_dtype_name(v->type));
    json_dims(j, "shape", v->rank, v->dims);
    if (n && v->type != GR_STRING) {
        show_range r = show_range_of(v);
        json_number(j, "min", r.finite ? r.min : NAN);
        json_number(j, "max", r.finite ? r.max : NAN);
        json_number(j, "mean", r.finite ? r.mean : NAN);
        json_int(j, "nan", r.nan);
        json_int(j, "infinite", r.infinite);
        json_values(j, "first", v, 0, n < 8 ? n : 8);
        json_values(j, "last", v, n < 8 ? 0 : n - 8, n);
    }
    if (k) {
        int64_t classes = v->dims[v->rank - 1], rows = show_elements(v) / classes;
        ranked *best = cli_array((size_t)k, sizeof *best);
        json_open(j, "top", '[');
        for (int64_t r = 0; r < rows; r++) {
            int64_t found = rank(v, r * classes, classes, k, best);
            json_open(j, NULL, '[');
            for (int64_t i = 0; i < found; i++) {
                json_open(j, NULL, '{');
                json_int(j, "id", best[i].id);
                json_number(j, "p", best[i].p);
                json_close(j, '}');
            }
            json_close(j, ']');
        }
        json_close(j, ']');
        free(best);
    }
    json_close(j, '}');
}
