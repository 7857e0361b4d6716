/* plsm stats: the statistics of the store, in the form of DIR/.stats. */
#include "tools/tool.h"

#include "base/banned.h"

/* Names are at most about 40 characters; longer ones just push their value to the right. */
void tool_print_statistic(void *arg, const plsm_statistic *statistic)
{
    const char *prefix = arg;
    if (prefix && strncmp(statistic->name, prefix, strlen(prefix)) != 0)
        return;
    char line[512];
    int size = 0;
    if (statistic->is_text)
        size = snprintf(line, sizeof line, "%-36s %s\n", statistic->name, statistic->text);
    else if (statistic->is_integer)
        size = snprintf(line, sizeof line, "%-36s %llu\n", statistic->name, (unsigned long long)statistic->integer);
    else
        size = snprintf(line, sizeof line, "%-36s %.6g\n", statistic->name, statistic->real);
    if (size > 0)
        tool_write(line, (size_t)size < sizeof line ? (size_t)size : sizeof line - 1);
}

static enum tool_exit run(struct tool *tool, int argc, char **argv)
{
    enum tool_exit code = TOOL_OK;
    if (!tool_plain_options(tool, argc, argv, 1, 1, &code))
        return code;
    plsm *db = NULL;
    code = tool_open(tool, argv[optind], PLSM_READ, &db);
    if (code != TOOL_OK)
        return code;
    plsm_statistics(db, tool_print_statistic, NULL);
    return tool_close(tool, db, TOOL_OK);
}

const struct command command_stats = {
    .name = "stats",
    .arguments = "STORE",
    .summary = "Shows what the store holds and how it does",
    .help =
        "One \"name value\" a line. Counters of events (cache.hits and the like) are those of this process, so they\n"
        "say little here; those of a running mount are in DIR/.stats.\n\n"
        "Example:\n  plsm stats /var/lib/words | grep ^lsm.level\n",
    .run = run,
};
