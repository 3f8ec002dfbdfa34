/* SPDX-License-Identifier: Apache-2.0
 *
 * graphrun generate: go on from sequences of token ids.
 */
#include "engine.h"
#include "ids.h"
#include "json.h"
#include <stdlib.h>

typedef struct job {
    engine e;
    const char *input;
    gr_generate_options o;
    double temperature, top_p, length_penalty;
    int64_t seed, batch, repeat;
    int64_t *eos;
    bool json;
    cli_ids ids;
} job;

static void read_prompts(job *j)
{
    cli_file *file;
    gr_err err;
    const char *name = strcmp(j->input, "-") ? j->input : "standard input";
    if (!cli_file_open(j->input, true, &file, &err)) cli_die(CLI_EXIT_FAILURE, "%s", err.text);
    bool ok = cli_ids_parse(file, &j->ids, &err) || cli_fail_context(&err, "%s", cli_show(name));
    cli_file_drop(file);
    if (!ok) cli_die(CLI_EXIT_FAILURE, "%s", err.text);
    if (!j->ids.line_count) cli_die(CLI_EXIT_FAILURE, "%s: it holds no token ids", cli_show(name));
}

static void read_eos(const cli_command *self, job *j, const cli_list *words)
{
    j->eos = cli_array(words->n, sizeof *j->eos);
    for (size_t i = 0; i < words->n; i++) {
        const char *wrong = cli_id_parse(words->items[i], strlen(words->items[i]), &j->eos[i]);
        if (wrong) cli_usage(self, "--eos '%s' is %s", cli_show(words->items[i]), wrong);
    }
    j->o.eos = j->eos;
    j->o.eos_count = words->n;
}

static void print(const job *j, const gr_sequence *results, size_t n, const gr_generate_info *info)
{
    cli_text out = {0};
    cli_json json = {&out, true};
    if (j->json) json_open(&json, NULL, '{');
    if (j->json) json_open(&json, "sequences", '[');
    for (size_t i = 0; i < n; i++) {
        if (j->json) json_open(&json, NULL, '[');
        for (size_t k = 0; k < results[i].count; k++) {
            if (j->json)
                json_int(&json, NULL, results[i].ids[k]);
            else
                cli_add(&out, "%s%lld", k ? " " : "", (long long)results[i].ids[k]);
        }
        if (j->json)
            json_close(&json, ']');
        else
            cli_add(&out, "\n");
    }
    if (j->json) {
        json_close(&json, ']');
        json_int(&json, "prompt_tokens", info->prompt_tokens);
        json_int(&json, "new_tokens", info->new_tokens);
        json_int(&json, "steps", info->steps);
        json_number(&json, "prompt_seconds", info->prompt_seconds);
        json_number(&json, "step_seconds", info->step_seconds);
        json_number(&json, "least_step_seconds", info->least_step_seconds);
        json_int(&json, "cache_bytes", (int64_t)info->cache_bytes);
        json_text(&json, "cache", info->in_place ? "in place" : info->cached ? "copied" : "none");
        json_close(&json, '}');
        cli_add(&out, "\n");
    }
    cli_flush(&out);
    cli_text_free(&out);
}

static void report(const gr_generate_info *info)
{
    const double steps = info->steps > 0 ? (double)info->steps : 1;
    cli_note("%lld tokens after %lld: prompts %.0f tokens/s, then %.2f ms for a step, %.1f tokens/s; cache %s%s",
             (long long)info->new_tokens, (long long)info->prompt_tokens,
             info->prompt_seconds > 0 ? (double)info->prompt_tokens / info->prompt_seconds : 0,
             info->step_seconds * 1e3 / steps,
             info->step_seconds > 0 ? (double)info->new_tokens / info->step_seconds : 0,
             info->cached ? cli_bytes(info->cache_bytes) : "none",
             info->in_place ? ", in place" : info->cached ? ", copied in each step" : "");
}

static gr_generator *generator;

static void generate(job *j)
{
    const size_t n = j->ids.line_count;
    gr_sequence *prompts = cli_array(n, sizeof *prompts), *results = cli_array(n, sizeof *results);
    gr_generate_info info;
    gr_err err;
    for (size_t i = 0; i < n; i++)
        prompts[i] = (gr_sequence){j->ids.ids + j->ids.lines[i].first, (size_t)j->ids.lines[i].length};
    for (int64_t i = 0; i < j->repeat || i == 0; i++)
        if (gr_generator_run(generator, prompts, n, &j->o, results, &err) != GR_OK) engine_die(&j->e, &err);
    gr_generator_info(generator, &info);
    print(j, results, n, &info);
    if (!j->json) report(&info);
    free(prompts);
    free(results);
}

static void start(job *j, const char *path)
{
    gr_err err;
    if (!engine_load(&j->e, path, &err)) engine_die(&j->e, &err);
    const gr_session_options options = {.struct_size = sizeof options,
                                        .threads = (int)(j->e.threads > 4096 ? 4096 : j->e.threads),
                                        .max_memory = j->e.max_memory,
                                        .precision = engine_precision(&j->e)};
    if (gr_generator_create(j->e.model, &options, &generator, &err) != GR_OK) engine_die(&j->e, &err);
}

static int run(const cli_command *self, int argc, char **argv)
{
    job j = {.temperature = 1, .top_p = 1, .length_penalty = 1};
    cli_list names = {0}, eos = {0};
    j.o.struct_size = sizeof j.o;
    const cli_option options[] = {
        {"--input", "FILE", CLI_WORD, &j.input, "token ids, one prompt per line; - is standard input", 0},
        {"--max-new-tokens", "N", CLI_INT, &j.o.max_new_tokens, "stop after so many (default 20)", 1},
        {"--eos", "ID", CLI_WORDS, &eos, "a token that ends a sequence; repeatable", 0},
        {"--num-beams", "N", CLI_INT, &j.o.num_beams, "beam search with so many beams (default 1: none)", 1},
        {"--length-penalty", "X", CLI_REAL, &j.length_penalty, "rank beams by log probability / length ^ X (default 1)", 0},
        {"--do-sample", NULL, CLI_FLAG, &j.o.do_sample, "draw tokens at random instead of taking the likeliest", 0},
        {"--temperature", "X", CLI_REAL, &j.temperature, "divide logits by X before drawing (default 1)", 0},
        {"--top-k", "N", CLI_INT, &j.o.top_k, "draw from the N likeliest only (0: all)", 0},
        {"--top-p", "X", CLI_REAL, &j.top_p, "draw from the fewest whose probabilities make up X (default 1)", 0},
        {"--seed", "N", CLI_INT, &j.seed, "one seed, one result (default 0)", 0},
        {"--batch", "N", CLI_INT, &j.batch, "prompts that run together (default 16)", 1},
        {"--repeat", "N", CLI_INT, &j.repeat, "generate N times and show the last, with weights packed and shapes known", 1},
        {"--copy-cache", NULL, CLI_FLAG, &j.o.copy_cache, "let the graph copy keys and values in every step, to compare", 0},
        {"--json", NULL, CLI_FLAG, &j.json, "print JSON, figures included", 0},
        {"--quiet", NULL, CLI_FLAG, &cli_quiet, "print the ids and nothing else", 0},
        {"--precision", "WHAT", CLI_WORD, &j.e.precision, "f32 (default), bf16, int8 or auto, as for run", 0},
        {"--threads", "N", CLI_INT, &j.e.threads, "threads to run with (0: what affinity and cgroup allow)", 0},
        {"--max-memory", "BYTES", CLI_SIZE, &j.e.max_memory, "limit for activations and outputs of one run, as 512M or 2G", 0},
        {0}};
    cli_parse(self, options, argc, argv, &names);
    if (names.n != 1) cli_usage(self, "give one model");
    if (!j.input) cli_usage(self, "give prompts with --input");
    if (j.temperature <= 0) cli_usage(self, "--temperature must be greater than 0");
    if (j.top_p <= 0) cli_usage(self, "--top-p must be greater than 0");
    if (j.o.num_beams > 1 && j.o.do_sample) cli_usage(self, "--num-beams and --do-sample exclude each other");
    read_eos(self, &j, &eos);
    j.o.temperature = (float)j.temperature;
    j.o.top_p = (float)j.top_p;
    j.o.length_penalty = (float)j.length_penalty;
    j.o.seed = (uint64_t)j.seed;
    j.o.max_batch = (size_t)j.batch;
    read_prompts(&j);
    start(&j, names.items[0]);
    generate(&j);
    gr_generator_free(generator);
    engine_close(&j.e);
    cli_ids_free(&j.ids);
    free(j.eos);
    free(eos.items);
    free(names.items);
    return CLI_EXIT_OK;
}

const cli_command cli_generate_command = {
    "generate", run, "go on from token ids with a causal language model",
    "graphrun generate MODEL --input ids.txt [--max-new-tokens N] [options]",
    "Prints the tokens that follow each prompt, one line of ids per prompt. Models may take and give keys and\n"
    "values of past tokens (past_key_values and present, in one file with or without a branch for the first\n"
    "run); what is a cache is seen from the graph, not from names. A cache grows in place where only attention\n"
    "reads it. Without a cache the whole sequence runs again for every token."};
