/* SPDX-License-Identifier: Apache-2.0
 *
 * Names of parts. A layer is called as its weights are if these agree and tell the layers of a single stack apart
 * ("transformer.h.3" of "model.transformer.h.3.mlp.c_fc.weight"), else by position. Names are a stranger's: only their
 * first bytes are looked at.
 */
#include "outline_walk.h"
#include <ctype.h>
#include <stdlib.h>

enum { ROOM = 128, KEPT = 3 };

/* The path up to the first component that is a number, without what comes before the last three; "" if there is none.
 * Separators are dots, in names of nodes slashes. */
static void numbered_prefix(const char *name, char *out)
{
    size_t start[ROOM], n = 0, at = 0;
    out[0] = 0;
    while (at < ROOM - 1 && name[at]) {
        size_t length = strcspn(name + at, "./");
        if (length >= ROOM - 1 - at) return;
        size_t digits = strspn(name + at, "0123456789");
        if (length) start[n++] = at;
        if (length && digits == length && n > 1) {
            size_t from = n > KEPT ? start[n - KEPT] : start[0];
            memcpy(out, name + from, at + length - from);
            out[at + length - from] = 0;
            for (char *c = out; *c; c++)
                if (*c == '/') *c = '.';
            return;
        }
        at += length + (name[at + length] != 0);
    }
}

static bool is_plain(const char *s)
{
    for (; *s; s++)
        if (!isalnum((unsigned char)*s) && !strchr("._-", *s)) return false;
    return true;
}

/* What more than half of the part's named weights, or of its nodes, say. */
static bool agreed(const gr_part *p, char *out)
{
    char other[ROOM];
    for (int nodes = 0; nodes < 2; nodes++) {
        size_t count = nodes ? p->nnodes : p->nweights, votes = 0, voters = 0;
        out[0] = 0;
        for (size_t i = 0; i < count; i++) { /* majority by pairing off, then counted */
            numbered_prefix(nodes ? p->nodes[i]->name : p->weights[i]->name, other);
            if (!*other || !is_plain(other)) continue;
            voters++;
            if (!votes) memcpy(out, other, ROOM);
            votes += !votes || !strcmp(out, other) ? 1 : (size_t)-1;
        }
        votes = 0;
        for (size_t i = 0; i < count; i++) {
            numbered_prefix(nodes ? p->nodes[i]->name : p->weights[i]->name, other);
            votes += *out && !strcmp(out, other);
        }
        if (votes * 2 > voters) return true;
    }
    return false;
}

static int64_t number_of(const char *name)
{
    const char *dot = strrchr(name, '.');
    return dot ? strtoll(dot + 1, NULL, 10) : -1;
}

/* Whether the layers' names differ from each other and from those of other parts: one path, numbers rising. */
static bool tell_apart(const gr_outline *o)
{
    static const char *const others[] = {"embeddings.", "mask.", "norm.", "pooler.", "head."};
    const gr_part *before = NULL;
    for (size_t i = 0; i < o->nparts; i++) {
        const gr_part *p = &o->parts[i];
        if (p->kind != GR_PART_LAYER) continue;
        if (!p->name) return false;
        for (size_t k = 0; k < sizeof others / sizeof *others; k++)
            if (!strncmp(p->name, others[k], strlen(others[k]))) return false;
        if (before && (p->stack != before->stack || number_of(p->name) <= number_of(before->name))) return false;
        before = p;
    }
    return true;
}

static bool name_layers(gr_outline *o, gr_arena *arena, int stacks)
{
    char text[ROOM];
    for (size_t i = 0; i < o->nparts; i++) {
        gr_part *p = &o->parts[i];
        if (p->kind != GR_PART_LAYER) continue;
        const char *stack = p->stack == 0 ? "encoder" : p->stack == stacks - 1 ? "decoder" : "stack";
        p->alias = p->stack == 0 || p->stack == stacks - 1
                       ? gr_arena_printf(arena, "%s.layer.%d", stack, p->index)
                       : gr_arena_printf(arena, "%s.%d.layer.%d", stack, p->stack, p->index);
        if (stacks == 1 && agreed(p, text) && !(p->name = gr_arena_strdup(arena, text))) return false;
        if (!p->alias) return false;
    }
    if (!tell_apart(o))
        for (size_t i = 0; i < o->nparts; i++)
            if (o->parts[i].kind == GR_PART_LAYER) o->parts[i].name = o->parts[i].alias;
    return true;
}

bool gr_outline_name(gr_outline *o, gr_arena *arena)
{
    static const char *const names[] = {"embeddings", "mask", "layer", "norm", "pooler", "head"};
    int stacks = 0;
    for (size_t i = 0; i < o->nparts; i++)
        if (o->parts[i].kind == GR_PART_LAYER && o->parts[i].stack >= stacks) stacks = o->parts[i].stack + 1;
    if (!name_layers(o, arena, stacks)) return false;
    int count = 0;
    for (size_t i = 0; i < o->nparts; i++) {
        gr_part *p = &o->parts[i];
        if (p->kind == GR_PART_LAYER) continue;
        count = i && o->parts[i - 1].kind == p->kind ? count + 1 : 0;
        const char *name = names[p->kind];
        p->name = count ? gr_arena_printf(arena, "%s.%d", name, count) : name;
        if (!p->name) return false;
    }
    return true;
}
