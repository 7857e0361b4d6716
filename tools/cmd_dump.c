/* plsm dump: everything, in the form that load takes. */
#include <unistd.h>

#include "tools/progress.h"
#include "tools/records.h"

#include "base/banned.h"

static void find_keys(void *arg, const plsm_statistic *statistic)
{
    if (strcmp(statistic->name, "store.keys") == 0 && statistic->is_integer)
        *(uint64_t *)arg = statistic->integer;
}

static plsm_status dump(struct records *records, struct progress *progress)
{
    plsm_iterator *it = NULL;
    bool stopped = false;
    plsm_status status = plsm_iterator_create(records->db, NULL, (plsm_slice){0}, (plsm_slice){0}, &it);
    if (status != PLSM_OK)
        return status;
    uint64_t count = 0;
    for (plsm_iterator_first(it); status == PLSM_OK && !stopped && plsm_iterator_valid(it); plsm_iterator_next(it)) {
        status = records_write(records, it, &stopped);
        progress_update(progress, ++count);
    }
    if (status == PLSM_OK)
        status = plsm_iterator_status(it);
    plsm_iterator_destroy(it);
    return status;
}

static enum tool_exit run(struct tool *tool, int argc, char **argv)
{
    static const struct option longs[] = {{"null", no_argument, NULL, '0'}, {NULL, 0, NULL, 0}};
    struct records records = {0};
    int option = 0;
    while ((option = tool_next_option(tool, argc, argv, "0", longs)) == '0')
        records.null = true;
    if (option != TOOL_OPTION_END)
        return tool_option_exit(option);
    if (!tool_check_count(tool, argc - optind, 1, 1))
        return TOOL_USAGE;
    enum tool_exit code = tool_open(tool, argv[optind], PLSM_READ, &records.db);
    if (code != TOOL_OK)
        return code;
    uint64_t keys = 0; /* for the progress only: 0 where the store does not know its number */
    struct progress progress;
    plsm_statistics(records.db, find_keys, &keys);
    progress_start(&progress, "dump", keys, false);
    /* A progress line amid the records themselves would help nobody. */
    progress.enabled = progress.enabled && !isatty(STDOUT_FILENO);
    plsm_status status = dump(&records, &progress);
    progress_end(&progress);
    if (status != PLSM_OK)
        code = tool_error(tool, status);
    records_free(&records);
    return tool_close(tool, records.db, code);
}

const struct command command_dump = {
    .name = "dump",
    .arguments = "STORE",
    .summary = "Writes all keys and values as records that load reads",
    .help =
        "One record a line: KEY, a tab, VALUE, with the escapes \\t \\n \\\\ \\0 \\xHH; exact for any bytes. Modes,\n"
        "owners and times of files written through a mount are not part of it: to keep those, copy files. Nor are the\n"
        "times at which values expire; what has expired is left out.\n\n"
        "  -0, --null   KEY NUL VALUE NUL, without escapes; an error when a key or value holds a NUL byte\n\n"
        "Example:\n  plsm dump /var/lib/words | gzip > words.gz\n",
    .run = run,
};
