/* plsm compact: what the background does by itself in time, done now. */
#include "tools/target.h"

#include "base/banned.h"

static enum tool_exit run(struct tool *tool, int argc, char **argv)
{
    enum tool_exit code = TOOL_OK;
    if (!tool_plain_options(tool, argc, argv, 1, 3, &code))
        return code;
    plsm_slice bounds[2] = {{0}};
    for (int i = 0; optind + 1 + i < argc; i++)
        if (tool_key(tool, argv[optind + 1 + i], i, &bounds[i]) != PLSM_OK)
            return tool_usage(tool, "%s", plsm_message());
    struct target target = {0};
    code = target_open(tool, argv[optind], 0, &target);
    if (code != TOOL_OK)
        return code;
    plsm_status status = target.remote ? remote_compact(target.remote, bounds[0], bounds[1])
                                       : plsm_compact(target.db, bounds[0], bounds[1]);
    if (status != PLSM_OK)
        code = tool_error(tool, status);
    return target_close(tool, &target, code);
}

const struct command command_compact = {
    .name = "compact",
    .arguments = "STORE [FROM [TO]]",
    .summary = "Gives back the space of what was deleted and overwritten",
    .help =
        "Keys from FROM on (it included) up to TO (it not included); without bounds everything. With the engine lsm "
        "all\n"
        "runs of these keys are merged into the last level. It happens by itself in the background too, just later.\n\n"
        "  -e, --escaped   FROM and TO have escapes as scan writes them: \\t \\n \\\\ \\0 \\xHH\n\n"
        "Example:\n  plsm compact /var/lib/words\n",
    .writes = true,
    .run = run,
};
