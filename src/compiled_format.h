/* SPDX-License-Identifier: Apache-2.0
 *
 * The bytes of a compiled model, in the machine's own order. Contents come first, each packed weight on pages of its own;
 * behind them "the tail": the document, tables, and text that the tables point into. One checksum covers header and
 * tail. Contents have another, which only gr_model_check_compiled looks at: that reads all of them.
 */
#ifndef GR_COMPILED_FORMAT_H
#define GR_COMPILED_FORMAT_H

#include <stddef.h>
#include <stdint.h>

#define GR_COMPILED_MAGIC "graphrun plan\n\032"
enum { GR_COMPILED_FORMAT = 3, GR_COMPILED_ORDER = 0x01020304, GR_COMPILED_PAGE = 4096, GR_COMPILED_ALIGN = 64 };
#define GR_COMPILED_NONE UINT64_MAX
enum { GR_COMPILED_FUSED = 1, GR_COMPILED_STRICT = 2 };

typedef struct gr_compiled_header {
    char magic[16]; /* with the NUL */
    uint32_t format, order;
    uint64_t checksum; /* 0 while it is computed */
    uint64_t contents; /* checksum of what stands between the first page and the tail */
    uint64_t file_size;
    uint64_t doc_offset, doc_size; /* the tail begins with the document */
    uint64_t packs_offset, pack_count;
    uint64_t sources_offset, source_count; /* files with plain weights, the model first; none if it stands for itself */
    uint64_t text_offset, text_size;       /* strings with NUL; to the end of the file */
    uint32_t flags, precision;
    char maker[256]; /* library and kernels that packs are good for */
} gr_compiled_header;

typedef struct gr_compiled_pack_row {
    uint64_t value, kernel, beside[2]; /* in the text; beside may be GR_COMPILED_NONE */
    int64_t rows, cols, row, col;
    uint64_t offset, size;
    int64_t form, dtype;
} gr_compiled_pack_row;

typedef struct gr_compiled_source_row {
    uint64_t location; /* in the text; relative to the folder of the file */
    uint64_t size;
    int64_t modified; /* ns; where that differs, the hash of the contents decides */
    uint64_t hash;
} gr_compiled_source_row;

/* Differs whenever one word of eight bytes does. Large memory is read by all threads. */
uint64_t gr_compiled_hash(uint64_t seed, const void *data, size_t size);
/* Library and kernels of this process. */
void gr_compiled_maker(char *text, size_t room);

#endif
