/* SPDX-License-Identifier: Apache-2.0
 *
 * How far a result is from what was expected.
 */
#ifndef CLI_COMPARE_H
#define CLI_COMPARE_H

#include "tensor.h"

typedef struct compare_limits {
    double atol, rtol; /* an infinite atol leaves floats to the cosine; whole numbers must then be equal */
    double cosine;     /* least cosine of each row (last axis); below -1: not asked for */
} compare_limits;

typedef struct compare_result {
    bool ok;
    double error;  /* the greatest absolute one; infinite if one side alone is NaN or infinite */
    int64_t at;    /* flat index of the element that exceeds its tolerance by most, else of the greatest error */
    double cosine; /* least over the rows; 1 for empty or equal ones */
    char why[256]; /* other type or shape, or empty */
} compare_result;

/* Within the tolerance is a == b, both NaN, or |a - b| <= atol + rtol |b| with b as expected; whole numbers have no
 * rtol. */
/* The same for sequences, item by item, and empty optionals too. */
compare_result compare_values(const gr_tensor_view *got, const gr_tensor_view *expected, const compare_limits *limits);
compare_result compare_tensors(const gr_tensor_view *got, const gr_tensor_view *expected, const compare_limits *limits);

#endif
