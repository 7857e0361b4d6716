/* plsm create: an empty store, and the list of what a store can be told. */
#include <stdlib.h>

#include "tools/tool.h"

#include "base/banned.h"

static enum tool_exit run(struct tool *tool, int argc, char **argv)
{
    int option = tool_next_option(tool, argc, argv, "", NULL);
    if (option == TOOL_OPTION_HELP)
        printf("\nOptions of the store:\n%s", plsm_options_help());
    if (option != TOOL_OPTION_END)
        return tool_option_exit(option);
    if (!tool_check_count(tool, argc - optind, 1, 1))
        return TOOL_USAGE;
    plsm *db = NULL;
    enum tool_exit code = tool_open(tool, argv[optind], PLSM_CREATE | PLSM_EXCLUSIVE, &db);
    return code == TOOL_OK ? tool_close(tool, db, TOOL_OK) : code;
}

const struct command command_create = {
    .name = "create",
    .arguments = "STORE",
    .summary = "Makes an empty store",
    .help = "The directory STORE is made when it is missing; it is an error when it holds a store already.\n\n"
            "Example:\n  plsm create -o index=learned /var/lib/words\n",
    .writes = true,
    .run = run,
};
