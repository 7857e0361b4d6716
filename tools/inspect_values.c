/* plsm inspect values: how much of each value log is garbage. */
#include "tools/inspect.h"

#include "base/banned.h"

struct logs {
    struct outline outline;
    plsm_value_log_info all;
    uint64_t count;
};

static void tell_log(struct outline *o, const plsm_value_log_info *log)
{
    uint64_t garbage = log->bytes - log->live_bytes;
    outline_number(o, "bytes", log->bytes);
    outline_number(o, "live_bytes", log->live_bytes);
    outline_number(o, "garbage_bytes", garbage);
    outline_share(o, "garbage", (double)garbage, (double)log->bytes);
}

static void take_log(void *arg, const plsm_value_log_info *log)
{
    struct logs *logs = arg;
    outline_row(&logs->outline);
    outline_number(&logs->outline, "value_log", log->number);
    outline_number(&logs->outline, "runs", log->runs);
    tell_log(&logs->outline, log);
    outline_row_end(&logs->outline);
    logs->all.bytes += log->bytes;
    logs->all.live_bytes += log->live_bytes;
    logs->count++;
}

static plsm_status look(plsm *db, struct logs *logs, bool json)
{
    struct outline *o = &logs->outline;
    outline_start(o, json);
    if (json)
        outline_section(o, NULL, NULL);
    outline_list(o, "value_logs", "value logs");
    plsm_status status = plsm_inspect_values(db, take_log, logs);
    outline_list_end(o);
    outline_section(o, "all", "all");
    outline_number(o, "value_logs", logs->count);
    tell_log(o, &logs->all);
    outline_section_end(o);
    if (json)
        outline_section_end(o);
    return !outline_end(o) && status == PLSM_OK ? PLSM_NO_MEMORY : status;
}

static enum tool_exit run(struct tool *tool, int argc, char **argv)
{
    struct inspect_request request;
    struct logs logs = {0};
    enum tool_exit code = TOOL_OK;
    plsm *db = NULL;
    if (!inspect_begin(tool, argc, argv, 0, &request, &db, &code))
        return code;
    plsm_status status = look(db, &logs, request.json);
    if (status != PLSM_OK)
        code = tool_error(tool, status);
    return inspect_end(tool, db, code, false);
}

const struct command command_inspect_values = {
    .name = "inspect values",
    .arguments = "STORE",
    .summary = "Analyzes value logs, the files of large values",
    .help =
        "      --json         one JSON document\n\n"
        "runs: how many point into the value log; it goes with the last of them. garbage: of its bytes, those that\n"
        "no run points to. Above separate_garbage a compaction writes the rest anew.\n\n"
        "Example:\n  plsm inspect values /var/lib/pictures\n",
    .run = run,
};
