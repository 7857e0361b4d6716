/* plsm check: everything read and verified. Findings go to stdout (they are the result), the progress to stderr. */
#include "tools/progress.h"
#include "tools/text.h"
#include "tools/tool.h"

#include "base/banned.h"

struct check {
    struct progress progress;
    uint64_t problems, bytes;
};

static void report(void *arg, const char *line)
{
    struct check *check = arg;
    if (check->progress.shown) /* the line below it is redrawn at the next update */
        fputs("\r\033[K", stderr);
    check->problems++;
    tool_write(line, strlen(line));
    tool_write("\n", 1);
}

static void advance(void *arg, uint64_t done, uint64_t all)
{
    struct check *check = arg;
    check->bytes = done;
    check->progress.total = all;
    progress_update(&check->progress, done);
}

static enum tool_exit run(struct tool *tool, int argc, char **argv)
{
    enum tool_exit code = TOOL_OK;
    if (!tool_plain_options(tool, argc, argv, 1, 1, &code))
        return code;
    plsm *db = NULL;
    struct check check = {0};
    const char *options = tool->options.size ? (const char *)tool->options.data : NULL;
    /* Damage that keeps the store from opening is a finding too, not a failure to look. */
    plsm_status status = plsm_options_check(options);
    if (status == PLSM_OK)
        status = plsm_open(argv[optind], PLSM_READ, options, &db);
    if (status == PLSM_CORRUPT) {
        report(&check, plsm_message());
        return TOOL_NEGATIVE;
    }
    if (status != PLSM_OK) {
        tool_error(tool, status);
        return status == PLSM_INVALID ? TOOL_USAGE : TOOL_ERROR;
    }
    progress_start(&check.progress, "check", 0, true);
    status = plsm_check(db, report, advance, &check);
    progress_end(&check.progress);
    if (status == PLSM_OK && check.problems == 0) {
        char size[TEXT_NUMBER_SIZE], line[96];
        int length = snprintf(line, sizeof line, "%s checked, no problems\n", text_bytes(size, check.bytes));
        tool_write(line, (size_t)length);
    } else if (status == PLSM_OK || status == PLSM_CORRUPT) {
        if (check.problems == 0)
            report(&check, plsm_message());
        tool_say(tool, "%s: %llu problems", argv[optind], (unsigned long long)check.problems);
        code = TOOL_NEGATIVE;
    } else {
        code = tool_error(tool, status);
    }
    return tool_close(tool, db, code);
}

const struct command command_check = {
    .name = "check",
    .arguments = "STORE",
    .summary = "Reads everything and checks it",
    .help =
        "Every checksum, the order of keys, indexes, models and filters; one line per problem. Exit code 1 when there\n"
        "is any. Works beside a running mount.\n\n"
        "Example:\n  plsm check /var/lib/words\n",
    .run = run,
};
