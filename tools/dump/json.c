/* SPDX-License-Identifier: Apache-2.0
 *
 * A view as JSON, all of it; docs/graphdump-json.md is its description. Nodes, values and modules refer to each other
 * by their places in the lists, so that a name is written once.
 */
#include "json.h"
#include "dump.h"
#include "ops/op.h"
#include "stats.h"
#include <stdlib.h>

enum { VERSION = 1, LONGEST_LIST = 256 };

static void next_line(cli_json *j, dump_sink *s)
{
    cli_add(j->out, "\n");
    dump_spill(s);
}

static void put_index(cli_json *j, const char *key, uint32_t index)
{
    if (index == GR_VIEW_NONE)
        json_text(j, key, NULL);
    else
        json_int(j, key, index);
}

static void put_indices(cli_json *j, const char *key, const uint32_t *items, size_t n)
{
    json_open(j, key, '[');
    for (size_t i = 0; i < n; i++) put_index(j, NULL, items[i]);
    json_close(j, ']');
}

/* ---- values ---- */

static void put_shape(cli_json *j, const gr_view *w, const gr_type *t)
{
    if (t->kind != GR_KIND_TENSOR || t->rank < 0) {
        json_text(j, "shape", NULL);
        return;
    }
    json_open(j, "shape", '[');
    for (int i = 0; i < t->rank; i++) {
        const char *text = t->dims[i].expr ? gr_sym_text(w->graph->syms, t->dims[i]) : NULL;
        if (!text)
            json_int(j, NULL, t->dims[i].k);
        else
            json_text(j, NULL, text[0] == '?' ? NULL : text);
    }
    json_close(j, ']');
}

static void put_stats(cli_json *j, const gr_tensor *t)
{
    dump_stats s;
    if (!dump_stats_of(t, &s)) return;
    json_open(j, "stats", '{');
    json_number(j, "least", s.least);
    json_number(j, "greatest", s.greatest);
    json_number(j, "mean", s.mean);
    json_number(j, "deviation", s.deviation);
    json_int(j, "not_finite", s.odd);
    json_close(j, '}');
}

static void put_plan(cli_json *j, const gr_plan_value_info *p)
{
    static const char *const places[] = {[GR_PLAN_UNUSED] = "none",
                                         [GR_PLAN_CONST] = "constant",
                                         [GR_PLAN_INPUT] = "input",
                                         [GR_PLAN_BLOCK] = "block",
                                         [GR_PLAN_DYNAMIC] = "dynamic"};
    json_open(j, "memory", '{');
    json_text(j, "place", places[p->place]);
    if (p->place == GR_PLAN_BLOCK) {
        json_int(j, "offset", (int64_t)p->offset);
        json_int(j, "size", (int64_t)p->size);
        json_int(j, "first_step", (int64_t)p->first);
        json_int(j, "last_step", (int64_t)p->last);
    }
    json_close(j, '}');
}

static void put_value(cli_json *j, const gr_view *w, const gr_view_value *v, const dump_options *o)
{
    static const char *const kinds[] = {"input", "constant", "result"};
    const gr_tensor *shape = v->plan.tensor, *konst = v->value->konst;
    json_open(j, NULL, '{');
    json_text(j, "name", v->value->name);
    json_text(j, "kind", kinds[v->kind]);
    json_text(j, "type", gr_dtype_name(v->value->type.dtype));
    put_shape(j, w, &v->value->type);
    if (shape) json_dims(j, "shape_here", shape->rank, shape->dims);
    if (shape)
        json_int(j, "bytes", (int64_t)shape->size);
    else if (konst)
        json_int(j, "bytes", (int64_t)konst->size);
    put_index(j, "maker", v->maker);
    json_bool(j, "output", v->output);
    if (v->kind == GR_VIEW_RESULT) json_bool(j, "folded", v->folded);
    if (v->kind == GR_VIEW_CONSTANT) json_bool(j, "parameter", v->parameter);
    if (o->stats && v->parameter) put_stats(j, konst);
    if (w->level == GR_VIEW_PLAN) put_plan(j, &v->plan);
    json_close(j, '}');
}

/* ---- nodes ---- */

static void put_string(cli_json *j, const char *key, gr_bytes_view s)
{
    char *text = cli_strndup(s.data, s.size); /* up to a NUL, which no string of JSON made from C has */
    json_text(j, key, text);
    free(text);
}

static const char *kind_of_attr(gr_attr_type t)
{
    switch (t) {
    case GR_ATTR_TENSOR: return "tensor";
    case GR_ATTR_GRAPH: return "graph";
    case GR_ATTR_TENSORS: return "tensors";
    case GR_ATTR_GRAPHS: return "graphs";
    case GR_ATTR_SPARSE: return "sparse tensor";
    case GR_ATTR_SPARSES: return "sparse tensors";
    case GR_ATTR_TYPE: return "type";
    case GR_ATTR_TYPES: return "types";
    case GR_ATTR_UNDEFINED: return "undefined";
    default: return "list";
    }
}

static void put_attr(cli_json *j, const gr_attr *a)
{
    bool list = a->type == GR_ATTR_FLOATS || a->type == GR_ATTR_INTS || a->type == GR_ATTR_STRINGS;
    if (list && a->count <= LONGEST_LIST) {
        json_open(j, a->name, '[');
        for (size_t i = 0; i < a->count; i++) {
            if (a->type == GR_ATTR_FLOATS)
                json_number(j, NULL, (double)a->floats[i]);
            else if (a->type == GR_ATTR_INTS)
                json_int(j, NULL, a->ints[i]);
            else
                put_string(j, NULL, a->strings[i]);
        }
        json_close(j, ']');
        return;
    }
    switch (a->type) {
    case GR_ATTR_FLOAT: json_number(j, a->name, (double)a->f); break;
    case GR_ATTR_INT: json_int(j, a->name, a->i); break;
    case GR_ATTR_STRING: put_string(j, a->name, a->s); break;
    default: /* what is too much to be told here is named by its kind */
        json_open(j, a->name, '{');
        json_text(j, "kind", kind_of_attr(a->type));
        json_close(j, '}');
    }
}

static void put_node(cli_json *j, const gr_view *w, const gr_view_node *n)
{
    json_open(j, NULL, '{');
    json_text(j, "name", n->node->name ? n->node->name : "");
    json_text(j, "op", n->node->op->name);
    json_text(j, "domain", n->domain);
    json_int(j, "module", n->module);
    put_index(j, "part", n->part);
    put_indices(j, "inputs", n->in, n->node->nin);
    put_indices(j, "outputs", n->out, n->node->nout);
    json_open(j, "attributes", '{');
    for (size_t i = 0; i < n->node->attrs.count; i++) put_attr(j, &n->node->attrs.items[i]);
    json_close(j, '}');
    json_int(j, "parameters", n->parameters);
    if (w->plan) {
        json_bool(j, "runs", n->runs);
        json_number(j, "work", n->work);
        json_number(j, "share", w->work > 0 ? n->work / w->work : 0);
        json_number(j, "bytes", n->bytes);
    }
    if (w->level == GR_VIEW_PLAN) {
        json_text(j, "kernel", n->kernel);
        json_int(j, "scratch", (int64_t)n->scratch);
    }
    json_close(j, '}');
}

static void put_module(cli_json *j, const gr_view *w, const gr_view_module *m)
{
    json_open(j, NULL, '{');
    json_text(j, "name", m->name);
    put_index(j, "parent", m->parent);
    json_int(j, "nodes", m->nodes);
    json_int(j, "parameters", m->parameters);
    if (w->plan) {
        json_number(j, "work", m->work);
        json_number(j, "share", w->work > 0 ? m->work / w->work : 0);
    }
    json_close(j, '}');
}

/* ---- parts, and the nodes of the file ---- */

static void put_part(cli_json *j, const gr_part *p)
{
    static const char *const kinds[] = {[GR_PART_EMBEDDINGS] = "embeddings", [GR_PART_MASK] = "mask",
                                        [GR_PART_LAYER] = "layer",           [GR_PART_NORM] = "norm",
                                        [GR_PART_POOLER] = "pooler",         [GR_PART_HEAD] = "head"};
    json_open(j, NULL, '{');
    json_text(j, "name", p->name);
    json_text(j, "kind", kinds[p->kind]);
    json_int(j, "nodes", (int64_t)p->nnodes);
    json_close(j, '}');
}

static void put_origin(cli_json *j, const gr_origin *o, const uint32_t *index)
{
    json_open(j, NULL, '{');
    json_text(j, "name", o->source->name);
    json_text(j, "op", o->source->op);
    json_text(j, "fate", gr_fate_name(o->fate));
    put_index(j, "into", o->into ? index[o->into->id] : GR_VIEW_NONE);
    json_close(j, '}');
}

static void put_origins(cli_json *j, const gr_view *w, dump_sink *s)
{
    uint32_t *index = cli_array(w->graph->nnodes, sizeof *index);
    memset(index, 0xff, w->graph->nnodes * sizeof *index);
    for (size_t i = 0; i < w->node_count; i++) index[w->nodes[i].node->id] = (uint32_t)i;
    json_open(j, "origins", '[');
    for (size_t i = 0; i < w->origins.count; i++, next_line(j, s)) put_origin(j, &w->origins.items[i], index);
    json_close(j, ']');
    free(index);
}

static void put_head(cli_json *j, const gr_view *w, const dump_options *o)
{
    json_int(j, "graphdump", VERSION);
    json_text(j, "model", o->model);
    json_text(j, "graph", w->graph->name ? w->graph->name : "");
    json_int(j, "opset", w->graph->opset);
    json_text(j, "level", o->level);
    json_text(j, "shape", o->shape);
    json_bool(j, "part", w->part);
    json_int(j, "parameters", w->parameters);
    if (w->plan)
        json_number(j, "work", w->work);
    else
        json_text(j, "work_missing", w->work_missing);
    if (w->level == GR_VIEW_PLAN) json_int(j, "memory", (int64_t)w->block);
    put_indices(j, "inputs", w->inputs, w->input_count);
    put_indices(j, "outputs", w->outputs, w->output_count);
}

bool dump_json(const gr_view *view, const dump_options *options, dump_sink *sink, gr_err *err)
{
    (void)err;
    cli_json j = {&sink->text, true};
    json_open(&j, NULL, '{');
    put_head(&j, view, options);
    json_open(&j, "modules", '[');
    for (size_t i = 0; i < view->module_count; i++, next_line(&j, sink)) put_module(&j, view, &view->modules[i]);
    json_close(&j, ']');
    json_open(&j, "parts", '[');
    for (size_t i = 0; i < view->outline.nparts; i++, next_line(&j, sink)) put_part(&j, &view->outline.parts[i]);
    json_close(&j, ']');
    json_open(&j, "values", '[');
    for (size_t i = 0; i < view->value_count; i++, next_line(&j, sink)) put_value(&j, view, &view->values[i], options);
    json_close(&j, ']');
    json_open(&j, "nodes", '[');
    for (size_t i = 0; i < view->node_count; i++, next_line(&j, sink)) put_node(&j, view, &view->nodes[i]);
    json_close(&j, ']');
    if (view->level != GR_VIEW_RAW) put_origins(&j, view, sink);
    json_close(&j, '}');
    cli_add(j.out, "\n");
    return true;
}
