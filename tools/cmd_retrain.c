/* plsm retrain: models of runs that have none, or of all. */
#include "tools/progress.h"
#include "tools/target.h"

#include "base/banned.h"

static void advance(void *arg, uint64_t done, uint64_t all)
{
    struct progress *progress = arg;
    progress->total = all;
    progress_update(progress, done);
}

static enum tool_exit run(struct tool *tool, int argc, char **argv)
{
    static const struct option longs[] = {{"all", no_argument, NULL, 'a'}, {NULL, 0, NULL, 0}};
    bool all = false;
    int option = 0;
    while ((option = tool_next_option(tool, argc, argv, "a", longs)) > 0)
        all = true;
    if (option != TOOL_OPTION_END)
        return tool_option_exit(option);
    if (!tool_check_count(tool, argc - optind, 1, 1))
        return TOOL_USAGE;
    struct target target = {0};
    struct progress progress;
    enum tool_exit code = target_open(tool, argv[optind], 0, &target);
    if (code != TOOL_OK)
        return code;
    progress_start(&progress, "retrain", 0, true);
    plsm_status status =
        target.remote ? remote_retrain(target.remote, all) : plsm_retrain(target.db, all, advance, &progress);
    progress_end(&progress);
    if (status != PLSM_OK)
        code = tool_error(tool, status);
    return target_close(tool, &target, code);
}

const struct command command_retrain = {
    .name = "retrain",
    .arguments = "STORE",
    .summary = "Trains the models of runs that have none",
    .help =
        "Runs that were written in traditional mode or by another version, or whose model is damaged, are served by\n"
        "the traditional index. This reads their keys and gives them a model, in a file beside each; no data is\n"
        "rewritten.\n\n"
        "  -a, --all       all runs, also those that have a model\n\n"
        "What kind of model and how large is said by -o model=..., model_run_bytes=... and others: plsm create\n"
        "--help.\n\n"
        "Example:\n  plsm retrain /var/lib/words\n",
    .run = run,
};
