/* plsm flush: what is in memory, into files. */
#include "tools/target.h"

#include "base/banned.h"

static enum tool_exit run(struct tool *tool, int argc, char **argv)
{
    enum tool_exit code = TOOL_OK;
    struct target target = {0};
    if (!tool_plain_options(tool, argc, argv, 1, 1, &code))
        return code;
    code = target_open(tool, argv[optind], 0, &target);
    if (code != TOOL_OK)
        return code;
    plsm_status status = target.remote ? remote_flush(target.remote) : plsm_flush(target.db);
    if (status != PLSM_OK)
        code = tool_error(tool, status);
    return target_close(tool, &target, code);
}

const struct command command_flush = {
    .name = "flush",
    .arguments = "STORE",
    .summary = "Writes what is in memory to the files of the store",
    .help = "With the engine lsm, from memory and log to a sorted run. It happens by itself when a buffer is full.\n\n"
            "Example:\n  plsm flush /var/lib/words\n",
    .writes = true,
    .run = run,
};
