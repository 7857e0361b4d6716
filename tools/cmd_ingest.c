/* Files of other stores into this one. */
#include "tools/tool.h"

#include "base/banned.h"

static enum tool_exit ingest(struct tool *tool, plsm *db, char **paths, int count)
{
    plsm_bulk *bulk = NULL;
    plsm_status status = plsm_bulk_create(db, &bulk);
    for (int i = 0; i < count && status == PLSM_OK; i++)
        status = plsm_bulk_add_file(bulk, paths[i]);
    if (status == PLSM_OK)
        status = plsm_bulk_finish(bulk);
    enum tool_exit code = status == PLSM_OK ? TOOL_OK : tool_error(tool, status);
    plsm_bulk_destroy(bulk);
    return code;
}

static enum tool_exit run(struct tool *tool, int argc, char **argv)
{
    static const struct option longs[] = {{"create", no_argument, NULL, 'c'}, {NULL, 0, NULL, 0}};
    bool create = false;
    int option = 0;
    while ((option = tool_next_option(tool, argc, argv, "c", longs)) > 0)
        create = true;
    if (option != TOOL_OPTION_END)
        return tool_option_exit(option);
    if (!tool_check_count(tool, argc - optind, 2, INT32_MAX))
        return TOOL_USAGE;
    plsm *db = NULL;
    enum tool_exit code = tool_open(tool, argv[optind], create ? PLSM_CREATE : 0, &db);
    if (code != TOOL_OK)
        return code;
    code = ingest(tool, db, argv + optind + 1, argc - optind - 1);
    return tool_close(tool, db, code);
}

const struct command command_ingest = {
    .name = "ingest",
    .arguments = "STORE FILE...",
    .summary = "Adds files that another store has written",
    .help =
        "FILE is run-NUMBER in the directory of another store, closed, without deletions and large values, such as\n"
        "one that load --sorted has filled. Each is copied and read through; their keys must ascend from file to\n"
        "file. All come in at once, newer than what is there, or none.\n\n"
        "  -c, --create   make the store when there is none\n\n"
        "Example:\n  plsm load --create --sorted part <part.tsv\n  plsm ingest /var/lib/words part/run-*\n",
    .writes = true,
    .run = run,
};
