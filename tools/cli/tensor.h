/* SPDX-License-Identifier: Apache-2.0
 *
 * Tensors of the command line: what came out of a file or was derived, and the file formats they are kept in.
 */
#ifndef CLI_TENSOR_H
#define CLI_TENSOR_H

#include "cli.h"

#define CLI_MAX_RANK 32

typedef struct cli_tensor {
    char *name; /* owned; NULL if the file has none */
    gr_dtype type;
    int rank;
    int64_t dims[CLI_MAX_RANK];
    int64_t elements;
    size_t size;
    const void *data; /* in `owned` or in `file` */
    void *owned;
    cli_file *file;
    struct cli_tensor *items; /* of a sequence: rank is GR_VIEW_SEQUENCE then, and `owned` has their views */
    size_t count;
} cli_tensor;

/* A view that borrows the tensor. */
gr_tensor_view cli_view(const cli_tensor *tensor);
/* Zeroed memory of its own. False if the shape is impossible or there is no memory. */
bool cli_tensor_make(cli_tensor *out, gr_dtype type, int rank, const int64_t *dims, gr_err *err);
void cli_tensor_free(cli_tensor *tensor);

/* Element i as a number, for every numeric type (complex: the real part). Cheap enough for summaries. */
double cli_value(gr_dtype type, const void *data, int64_t i);
bool cli_is_float(gr_dtype type);
bool cli_is_int(gr_dtype type); /* bool not included */
/* Element i of an integer or bool tensor. uint64 above INT64_MAX wraps. */
int64_t cli_integer(gr_dtype type, const void *data, int64_t i);
/* Store a value in element i; false if the type can't hold it. Integers of 8 bits and more, bool, floats of 16 and
 * more. */
bool cli_store_integer(gr_dtype type, void *data, int64_t i, int64_t value);
bool cli_store_float(gr_dtype type, void *data, int64_t i, double value);

/* Make the tensor one of another type, in place: integers to integers that hold every value, anything to floats. */
bool cli_convert(cli_tensor *tensor, gr_dtype type, gr_err *err);

/* "int64[batch, sequence]" of a declaration, "float[1, 8]" of a tensor. Lives until the end of the full expression. */
typedef struct cli_shape_text {
    char s[320];
} cli_shape_text;
cli_shape_text cli_shape_of(gr_dtype type, int rank, const int64_t *dims);
cli_shape_text cli_declared_of(const gr_value_info *info);
/* "float[1, 8]", "seq(float) of 3", "optional, empty". */
cli_shape_text cli_view_text(const gr_tensor_view *view);
#define cli_shape(type, rank, dims) (cli_shape_of((type), (rank), (dims)).s)
#define cli_declared(info)          (cli_declared_of(info).s)

/* ---- .npy: `file` holds the bytes data[0..size) and is kept alive by the tensor. ---- */

bool cli_npy_parse(cli_file *file, const uint8_t *data, size_t size, cli_tensor *out, gr_err *err);
/* The header that belongs before the elements; false for types that numpy lacks. */
bool cli_npy_header(gr_dtype type, int rank, const int64_t *dims, cli_text *out);
/* The type in which a tensor is written to .npy: itself, or the nearest that numpy has (bfloat16 becomes float). */
gr_dtype cli_npy_type(gr_dtype type);

/* ---- .npz: members are named without ".npy". ---- */

/* Bytes that the compressed members of one archive may unfold to, unless --max-memory says otherwise. */
#define CLI_INFLATE_MAX ((size_t)256 << 20)
bool cli_npz_parse(cli_file *file, size_t max_inflated, cli_tensor **out, size_t *count, gr_err *err);

/* Writing: begin, for each member add with the parts of its contents in order, end. Forward only. */
typedef struct cli_zip {
    cli_out *out;
    uint64_t offset, members;
    cli_text directory;
} cli_zip;
/* `emit` sends the contents by `put`; it is called twice, for the checksum and for the file. */
typedef bool (*cli_put_fn)(void *to, const void *data, size_t size, gr_err *err);
typedef bool (*cli_emit_fn)(const void *what, cli_put_fn put, void *to, gr_err *err);
bool cli_zip_add(cli_zip *zip, const char *name, cli_emit_fn emit, const void *what, gr_err *err);
bool cli_zip_end(cli_zip *zip, gr_err *err);

/* ---- ONNX TensorProto; SequenceProto or OptionalProto for values of these kinds. ---- */

bool cli_pb_parse_as(cli_file *file, gr_value_kind kind, cli_tensor *out, gr_err *err);
bool cli_pb_parse(cli_file *file, const uint8_t *data, size_t size, cli_tensor *out, gr_err *err);
void cli_pb_write(const char *name, const gr_tensor_view *tensor, cli_text *out);

/* ---- Numbers as text: one row per line, "# shape 2x3" and "# type float" in comments. ---- */

/* `type`: what the model wants, GR_UNDEFINED if not known. rank: declared, -1 if not known. */
bool cli_numbers_parse(const cli_file *file, gr_dtype type, int rank, cli_tensor *out, gr_err *err);

/* Every tensor of a file, by its ending: .npz, .npy, .pb, else numbers as text. */
typedef struct cli_read_options {
    gr_dtype type;
    int rank;
    size_t max_inflated;
    bool pipes;
    gr_value_kind kind; /* of a .pb */
} cli_read_options;
bool cli_tensors_read(const char *path, const cli_read_options *options, cli_tensor **out, size_t *count, gr_err *err);

#endif
