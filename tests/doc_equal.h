/* SPDX-License-Identifier: Apache-2.0
 *
 * Do two documents say the same?
 */
#ifndef DOC_EQUAL_H
#define DOC_EQUAL_H

#include "doc.h"

/* NULL if they do, else the name of the first thing that differs. Where tensors keep their data (in the file, beside
 * it, in memory) makes no difference. */
const char *doc_difference(const gr_doc *a, const gr_doc *b);

#endif
