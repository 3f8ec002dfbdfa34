/* SPDX-License-Identifier: Apache-2.0
 *
 * A model with inputs made up for a shape: what the commands share that look at how a model runs and not at what it
 * says.
 */
#ifndef CLI_TRIAL_H
#define CLI_TRIAL_H

#include "engine.h"
#include "feed.h"
#include "run_inputs.h"

enum { TRIAL_SHAPES = 64 };

/* The option that sets trial.positions. */
#define TRIAL_POSITIONS(t)                                                                                             \
    {"--positions", "WHICH", CLI_WORD, &(t).positions,                                                                 \
     "of outputs by token only the rows of these positions of each sequence\nare wanted: first, last or numbers as "   \
     "0,3,7",                                                                                                          \
     0}

typedef struct trial {
    engine e;
    run_inputs in;
    feed f;
    double create_seconds;
    int64_t vocabulary; /* ids are below it */
    gr_named_tensor *outputs;
    size_t output_count;
    const char *positions; /* of outputs by token, those that are wanted, as in positions.h; NULL: all */
    int64_t *picks;
    size_t pick_cap;
    bool look;    /* leave a model whose operators are missing alone: `missing` says so then, and nothing is loaded */
    bool missing;
} trial;

/* Load, make ready and take what `inputs` (NAME=FILE) give; ends the process if that fails. */
void trial_open(trial *t, const cli_command *self, const char *path, const cli_list *inputs);
void trial_close(trial *t);
/* The shapes that `text` asks for ("1x8,4x128"), or `missing`, or the only one that the model has. Ends the process
 * with a usage error if it is no such list. */
size_t trial_shapes(const trial *t, const cli_command *self, const char *text, const char *missing, cli_sizes *shapes);
void trial_shape_text(const cli_sizes *s, char *out, size_t room);
/* Make random inputs of a shape. */
bool trial_feed(trial *t, const cli_sizes *shape, gr_err *err);
/* Run once with the inputs at hand; all outputs are wanted. */
bool trial_run(trial *t, double *seconds, gr_err *err);
/* The first run of a shape. */
bool trial_first(trial *t, const cli_sizes *shape, double *seconds, gr_err *err);
/* Plan for the inputs at hand. */
bool trial_prepare(trial *t, gr_err *err);

#endif
