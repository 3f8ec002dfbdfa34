/* SPDX-License-Identifier: Apache-2.0
 *
 * What is done to the scores of an attention between the product and the softmax: masks that are added, or put in place
 * of scores.
 */
#ifndef GR_MASKS_H
#define GR_MASKS_H

#include "match.h"

enum { GR_MAX_MASKS = 6 };

typedef struct gr_mask_step { /* from the scores outwards */
    gr_value *add;            /* added, or */
    gr_value *cond;           /* chosen by a condition (truth values, or 0 and 1), or neither: */
    bool floor;               /* nothing is below the lowest float */
    bool negative;            /* subtracted instead */
    double fill;
    bool fill_if;  /* the fill is taken where the condition holds */
    double factor; /* everything so far is multiplied by it afterwards */
    int rank;      /* of the scores there */
} gr_mask_step;

typedef struct gr_masks {
    int n;
    gr_mask_step steps[GR_MAX_MASKS]; /* the outermost first */
    bool whole;                       /* batch and heads are one axis that is not looked into */
    bool alone;                       /* one of them has the meaning noted only if there is no other */
    const gr_node *split;             /* the Reshape of scores from batch and heads as one axis to two; may be NULL */
    const gr_node *culprit;           /* why something that looks like a mask is none; NULL: nothing did */
    const char *why;
} gr_masks;

/* The value under a mask, or NULL; the mask is noted. `which` operand is taken for the scores, `factor` is what the
 * whole is multiplied by afterwards. */
gr_value *gr_mask_under(gr_masks *m, gr_value *v, int which, double factor);
/* Whether the masks noted can be built as one that is added; else culprit and why are set. */
bool gr_masks_fit(gr_masks *m, const gr_node *softmax);
/* What the masks come to when they are added to scores. NULL with *ok: none. */
gr_value *gr_mask_build(gr_build *b, const gr_masks *m, bool *ok);

#endif
