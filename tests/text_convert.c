/* SPDX-License-Identifier: Apache-2.0
 *
 * text_convert IN OUT [MAX_ELEMENTS [DENSE_ABOVE]]: reads a model in either form and writes OUT as protobuf if its name
 * ends in .onnx, else as text. text_onnx.py compares what comes out with what onnx.parser and onnx.printer make.
 */
#include "doc.h"
#include <stdio.h>
#include <stdlib.h>

static bool to_file(void *user, const char *text, size_t size) { return fwrite(text, 1, size, user) == size; }

static gr_status print(const gr_doc *doc, const gr_text_options *options, const char *path, gr_err *err)
{
    FILE *file = fopen(path, "wb");
    if (!file) return gr_fail(err, GR_EIO, "'%s' cannot be written", path);
    gr_status status = gr_doc_print_text(doc, options, to_file, file, err);
    if (fclose(file) && status == GR_OK) status = gr_fail(err, GR_EIO, "'%s' cannot be written", path);
    return status;
}

int main(int argc, char **argv)
{
    gr_doc *doc;
    gr_err err;
    if (argc < 3) return 2;
    size_t n = strlen(argv[2]);
    gr_text_options options = {.max_elements = argc > 3 ? strtoull(argv[3], NULL, 10) : SIZE_MAX,
                               .dense_above = argc > 4 ? strtoull(argv[4], NULL, 10) : 0};
    gr_status status = gr_doc_load(argv[1], NULL, &doc, &err);
    if (status == GR_OK) {
        bool binary = n >= 5 && !strcmp(argv[2] + n - 5, ".onnx");
        status = binary ? gr_doc_save(doc, argv[2], &err) : print(doc, &options, argv[2], &err);
        gr_doc_free(doc);
    }
    if (status) fprintf(stderr, "%s\n", err.text);
    return status != GR_OK;
}
