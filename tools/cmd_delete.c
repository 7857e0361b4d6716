/* plsm delete: keys, or a range of keys, in one batch. Deleting an absent key is no error of the store; here it is
 * told, as rm(1) does. A range may be empty. */
#include "base/error.h"
#include "tools/target.h"
#include "tools/text.h"

#include "base/banned.h"

/* Adds one key to the batch when it is there; otherwise says so and sets *absent. */
static plsm_status add(struct tool *tool, struct target *target, const char *argument, bool *absent)
{
    plsm_slice key = {0};
    plsm_status status = tool_key(tool, argument, 0, &key);
    if (status == PLSM_OK)
        status = target_has(target, key);
    if (status == PLSM_OK)
        return target_change(target, CHANGE_DELETE, key, (plsm_slice){0});
    if (status != PLSM_NOT_FOUND)
        return status;
    char quoted[256];
    tool_say(tool, "%s: no such key", text_quote(quoted, sizeof quoted, key));
    *absent = true;
    return PLSM_OK;
}

static plsm_status add_range(struct tool *tool, struct target *target, const char *first, const char *end)
{
    plsm_slice from = {0}, to = {0};
    TRY(tool_key(tool, first, 0, &from));
    TRY(tool_key(tool, end, 1, &to));
    return target_change(target, CHANGE_DELETE_RANGE, from, to);
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
    if (range && argc - optind == 1)
        return tool_usage(tool, "FROM and TO are missing");
    if (range && argc - optind == 2)
        return tool_usage(tool, "TO is missing");
    if (!tool_check_count(tool, argc - optind, range ? 3 : 2, range ? 3 : argc))
        return TOOL_USAGE;
    struct target target = {0};
    enum tool_exit code = target_open(tool, argv[optind], 0, &target);
    if (code != TOOL_OK)
        return code;
    plsm_status status = PLSM_OK;
    if (range)
        status = add_range(tool, &target, argv[optind + 1], argv[optind + 2]);
    for (int i = optind + 1; status == PLSM_OK && !range && i < argc; i++)
        status = add(tool, &target, argv[i], &absent);
    if (status == PLSM_OK)
        status = target_commit(&target, tool_durability(tool));
    code = status != PLSM_OK ? tool_error(tool, status) : absent ? TOOL_NEGATIVE : TOOL_OK;
    return target_close(tool, &target, code);
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
