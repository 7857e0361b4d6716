/* plsm delete: keys in one batch. Deleting an absent key is no error of the store; here it is told, as rm(1) does. */
#include "tools/text.h"
#include "tools/tool.h"

#include "base/banned.h"

/* Adds one key to the batch when it is there; otherwise says so and sets *absent. */
static plsm_status add(struct tool *tool, plsm *db, plsm_batch *batch, const char *argument, bool *absent)
{
    plsm_slice key = {0};
    plsm_value value = {0};
    /* Whether it is there: the value itself, perhaps of gigabytes, is not wanted. */
    const plsm_read_options sizes_only = {.no_value = true};
    plsm_status status = tool_key(tool, argument, 0, &key);
    if (status == PLSM_OK)
        status = plsm_get(db, &sizes_only, key, &value);
    plsm_value_free(&value);
    if (status == PLSM_OK)
        return plsm_batch_delete(batch, PLSM_NAMES, key);
    if (status != PLSM_NOT_FOUND)
        return status;
    char quoted[256];
    tool_say(tool, "%s: no such key", text_quote(quoted, sizeof quoted, key));
    *absent = true;
    return PLSM_OK;
}

static enum tool_exit run(struct tool *tool, int argc, char **argv)
{
    enum tool_exit code = TOOL_OK;
    if (!tool_plain_options(tool, argc, argv, 2, argc, &code))
        return code;
    plsm *db = NULL;
    code = tool_open(tool, argv[optind], 0, &db);
    if (code != TOOL_OK)
        return code;
    bool absent = false;
    plsm_batch *batch = plsm_batch_create();
    plsm_status status = batch ? PLSM_OK : PLSM_NO_MEMORY;
    for (int i = optind + 1; status == PLSM_OK && i < argc; i++)
        status = add(tool, db, batch, argv[i], &absent);
    if (status == PLSM_OK && plsm_batch_count(batch) > 0)
        status = plsm_write(db, batch, tool_durability(tool));
    plsm_batch_destroy(batch);
    code = status != PLSM_OK ? tool_error(tool, status) : absent ? TOOL_NEGATIVE : TOOL_OK;
    return tool_close(tool, db, code);
}

const struct command command_delete = {
    .name = "delete",
    .arguments = "STORE KEY...",
    .summary = "Removes keys",
    .help = "All keys that are there are removed in one atomic step. Exit code 1 when any was not there.\n\n"
            "  -e, --escaped   keys have escapes as scan writes them: \\t \\n \\\\ \\0 \\xHH\n\n"
            "Example:\n  plsm delete /var/lib/words greeting film\n",
    .writes = true,
    .run = run,
};
