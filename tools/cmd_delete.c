/* plsm delete: keys, or a range of keys, in one batch. Deleting an absent key is no error of the store; here it is
 * told, as rm(1) does. A range may be empty. */
#include "base/error.h"
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

static plsm_status add_range(struct tool *tool, plsm_batch *batch, const char *first, const char *end)
{
    plsm_slice from = {0}, to = {0};
    TRY(tool_key(tool, first, 0, &from));
    TRY(tool_key(tool, end, 1, &to));
    return plsm_batch_delete_range(batch, PLSM_NAMES, from, to);
}

static enum tool_exit run(struct tool *tool, int argc, char **argv)
{
    static const struct option longs[] = {{"range", no_argument, NULL, 'r'}, {NULL, 0, NULL, 0}};
    bool range = false, absent = false;
    int option = 0;
    while ((option = tool_next_option(tool, argc, argv, "r", longs)) > 0)
        range = true;
    if (option != TOOL_OPTION_END)
        return tool_option_exit(option);
    if (!tool_check_count(tool, argc - optind, range ? 3 : 2, range ? 3 : argc))
        return TOOL_USAGE;
    plsm *db = NULL;
    enum tool_exit code = tool_open(tool, argv[optind], 0, &db);
    if (code != TOOL_OK)
        return code;
    plsm_batch *batch = plsm_batch_create();
    plsm_status status = batch ? PLSM_OK : PLSM_NO_MEMORY;
    if (status == PLSM_OK && range)
        status = add_range(tool, batch, argv[optind + 1], argv[optind + 2]);
    for (int i = optind + 1; status == PLSM_OK && !range && i < argc; i++)
        status = add(tool, db, batch, argv[i], &absent);
    if (status == PLSM_OK && plsm_batch_count(batch) > 0)
        status = plsm_write(db, batch, tool_durability(tool));
    plsm_batch_destroy(batch);
    code = status != PLSM_OK ? tool_error(tool, status) : absent ? TOOL_NEGATIVE : TOOL_OK;
    return tool_close(tool, db, code);
}

const struct command command_delete = {
    .name = "delete",
    .arguments = "STORE KEY... | --range STORE FROM TO",
    .summary = "Removes keys",
    .help =
        "All keys that are there are removed in one atomic step. Exit code 1 when any was not there.\n\n"
        "  -r, --range     all keys from FROM on (it included) up to TO (it not included), however many there are,\n"
        "                  in one step; an empty TO: to the end. None need be there\n"
        "  -e, --escaped   keys have escapes as scan writes them: \\t \\n \\\\ \\0 \\xHH\n\n"
        "Example:\n  plsm delete /var/lib/words greeting film\n  plsm delete --range /var/lib/words logs/2023 "
        "logs/2024\n",
    .writes = true,
    .run = run,
};
