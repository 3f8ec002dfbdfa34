/* SPDX-License-Identifier: Apache-2.0
 *
 * graphrun, the command. A first word that is no command is a model to be run.
 */
#include "cli/args.h"
#include <stdlib.h>
#include <unistd.h>

static const cli_command *const commands[] = {&cli_run_command, &cli_info_command, &cli_verify_command,
                                              &cli_compare_command, &cli_diff_command,
                                              &cli_optimize_command, &cli_compile_command,
                                              &cli_bench_command, &cli_profile_command,
                                              &cli_plan_command, &cli_explain_command,  &cli_print_command,
                                              &cli_ops_command,
                                              &cli_heads_command, &cli_extract_command, &cli_generate_command};
#define COMMANDS (sizeof commands / sizeof *commands)

static const cli_command *find(const char *word)
{
    for (size_t i = 0; i < COMMANDS; i++)
        if (!strcmp(commands[i]->name, word)) return commands[i];
    return NULL;
}

static int overview(void)
{
    cli_text out = {0};
    cli_add(&out, "usage: graphrun MODEL --input ids.txt [options]\n       graphrun COMMAND ...\n\n"
                  "Runs exported BERT-family ONNX graphs on the CPU.\n\ncommands:\n");
    for (size_t i = 0; i < COMMANDS; i++) cli_add(&out, "  %-8s  %s\n", commands[i]->name, commands[i]->line);
    cli_add(&out, "\ngraphrun COMMAND --help tells more; graphrun --version names the versions.\n");
    cli_flush(&out);
    cli_text_free(&out);
    return CLI_EXIT_OK;
}

static int version(void)
{
    cli_text out = {0};
    cli_add(&out, "graphrun %s (oneDNN %s)\n", gr_version_string(), gr_onednn_version_string());
    cli_flush(&out);
    cli_text_free(&out);
    return CLI_EXIT_OK;
}

static _Noreturn void unknown(const char *word)
{
    const char *names[COMMANDS];
    for (size_t i = 0; i < COMMANDS; i++) names[i] = commands[i]->name;
    const char *near = cli_nearest(word, names, COMMANDS);
    if (near) cli_usage(NULL, "'%s' is neither a command nor a file; did you mean '%s'?", cli_show(word), near);
    cli_usage(NULL, "'%s' is neither a command nor a file", cli_show(word));
}

static int help(int argc, char **argv)
{
    static char ask[] = "--help";
    const cli_command *command = argc ? find(argv[0]) : NULL;
    if (!argc) return overview();
    if (!command) unknown(argv[0]);
    return command->run(command, 1, (char *[]){ask, NULL});
}

/* OpenMP's threads wait for each other by spinning, for milliseconds by default: beside another busy process that costs
 * far more than it saves. The runtime reads its settings when it is loaded, so they must be there before the start. */
static void wait_briefly(char **argv)
{
    char self[4096];
    if (getenv("OMP_WAIT_POLICY") || getenv("GOMP_SPINCOUNT")) return;
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    if (n <= 0 || setenv("GOMP_SPINCOUNT", "10000", 1)) return;
    self[n] = 0;
    execv(self, argv); /* if that fails, we go on as we are */
}

int main(int argc, char **argv)
{
    wait_briefly(argv);
    if (argc < 2) cli_usage(NULL, "give a model or a command");
    const char *word = argv[1];
    if (!strcmp(word, "--help") || !strcmp(word, "-h")) return overview();
    if (!strcmp(word, "--version") || !strcmp(word, "-V")) return version();
    if (!strcmp(word, "help")) return help(argc - 2, argv + 2);
    const cli_command *command = find(word);
    if (command) return command->run(command, argc - 2, argv + 2);
    if (word[0] != '-' && !strpbrk(word, "/.") && !cli_exists(word)) unknown(word);
    return cli_run_command.run(&cli_run_command, argc - 1, argv + 1);
}
