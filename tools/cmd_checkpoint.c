/* plsm checkpoint: states of a store in a directory of checkpoints; plsm restore: a store made of one. */
#include <inttypes.h>
#include <stdio.h>
#include <time.h>

#include "tools/outline.h"
#include "tools/progress.h"
#include "tools/text.h"
#include "tools/tool.h"

#include "base/banned.h"

enum { LONG_NAME = TOOL_LONG_FIRST, LONG_COPY, LONG_LIST, LONG_REMOVE, LONG_CHECK, LONG_JSON, LONG_AT };

static void advance(void *arg, uint64_t done, uint64_t all)
{
    struct progress *progress = arg;
    progress->total = all;
    progress_update(progress, done);
}

/* --- lists -------------------------------------------------------------------------------------------------------- */

static void tell_row(void *arg, const plsm_checkpoint_info *info)
{
    struct outline *o = arg;
    outline_row(o);
    outline_text(o, "name", info->name);
    outline_moment(o, "time", info->time_ns);
    outline_text(o, "engine", info->engine);
    outline_number(o, "files", info->files);
    outline_number(o, "bytes", info->bytes);
    outline_row_end(o);
}

static plsm_status list_all(const char *directory, bool json)
{
    struct outline o;
    outline_start(&o, json);
    if (json)
        outline_section(&o, NULL, NULL);
    outline_list(&o, "checkpoints", NULL);
    plsm_status status = plsm_checkpoints(directory, tell_row, &o);
    outline_list_end(&o);
    if (json)
        outline_section_end(&o);
    return !outline_end(&o) && status == PLSM_OK ? PLSM_NO_MEMORY : status;
}

static void tell_problem(void *arg, const char *line)
{
    ++*(uint64_t *)arg;
    tool_print("%s\n", line);
}

static enum tool_exit check_all(const struct tool *tool, const char *directory, const char *name)
{
    uint64_t problems = 0;
    plsm_status status = plsm_checkpoint_check(directory, name, tell_problem, &problems);
    if (status != PLSM_OK && problems == 0)
        return tool_error(tool, status);
    return problems > 0 ? TOOL_NEGATIVE : TOOL_OK;
}

/* --- checkpoint --------------------------------------------------------------------------------------------------- */

struct request {
    const char *name, *removed;
    bool copy, list, check, json;
};

static void tell_written(const plsm_checkpoint_info *info)
{
    char all[TEXT_NUMBER_SIZE], copied[TEXT_NUMBER_SIZE], linked[TEXT_NUMBER_SIZE];
    tool_print("%s: %" PRIu64 " files, %s; new: %" PRIu64 " files, %s copied, %s linked\n", info->name, info->files,
               text_bytes(all, info->bytes), info->new_files, text_bytes(copied, info->copied_bytes),
               text_bytes(linked, info->linked_bytes));
}

static enum tool_exit write_one(struct tool *tool, const struct request *r, const char *store, const char *directory)
{
    struct progress progress;
    plsm_checkpoint_options options = {.name = r->name, .copy = r->copy, .progress = advance, .arg = &progress};
    plsm_checkpoint_info info;
    plsm *db = NULL;
    enum tool_exit code = tool_open(tool, store, 0, &db);
    if (code != TOOL_OK)
        return code;
    progress_start(&progress, "checkpoint", 0, true);
    plsm_status status = plsm_checkpoint(db, directory, &options, &info);
    progress_end(&progress);
    if (status == PLSM_OK)
        tell_written(&info);
    else
        code = tool_error(tool, status);
    return tool_close(tool, db, code);
}

static void take_option(struct request *r, int option)
{
    switch (option) {
    case LONG_NAME:
        r->name = optarg;
        break;
    case LONG_REMOVE:
        r->removed = optarg;
        break;
    case LONG_COPY:
        r->copy = true;
        break;
    case LONG_LIST:
        r->list = true;
        break;
    case LONG_CHECK:
        r->check = true;
        break;
    default:
        r->json = true;
    }
}

static enum tool_exit run(struct tool *tool, int argc, char **argv)
{
    static const struct option longs[] = {{"name", required_argument, NULL, LONG_NAME},
                                          {"copy", no_argument, NULL, LONG_COPY},
                                          {"list", no_argument, NULL, LONG_LIST},
                                          {"remove", required_argument, NULL, LONG_REMOVE},
                                          {"check", no_argument, NULL, LONG_CHECK},
                                          {"json", no_argument, NULL, LONG_JSON},
                                          {NULL, 0, NULL, 0}};
    struct request r = {0};
    int option = 0;
    plsm_status status = PLSM_OK;
    while ((option = tool_next_option(tool, argc, argv, "", longs)) > 0)
        take_option(&r, option);
    if (option != TOOL_OPTION_END)
        return tool_option_exit(option);
    int others = r.list + r.check + (r.removed != NULL);
    if (others > 1 || (others == 1 && r.copy) || (r.name && (r.list || r.removed)) || (r.json && !r.list))
        return tool_usage(tool, "these options do not go together");
    if (others && argc == optind)
        return tool_usage(tool, "DIRECTORY is missing");
    if (!tool_check_count(tool, argc - optind, others ? 1 : 2, others ? 1 : 2))
        return TOOL_USAGE;
    if (!others)
        return write_one(tool, &r, argv[optind], argv[optind + 1]);
    if (r.check)
        return check_all(tool, argv[optind], r.name);
    status = r.list ? list_all(argv[optind], r.json) : plsm_checkpoint_remove(argv[optind], r.removed);
    return status == PLSM_OK ? TOOL_OK : tool_error(tool, status);
}

const struct command command_checkpoint = {
    .name = "checkpoint",
    .arguments = "STORE DIRECTORY",
    .summary = "Keeps the state of a store in a directory of checkpoints",
    .help =
        "DIRECTORY holds any number of states; files that they have in common are there once, so a checkpoint takes\n"
        "what is new. On one file system files are linked, not copied. plsm restore makes a store of one.\n\n"
        "      --name=NAME     its name; the time by default, as 2026-11-27T10-30-00.123Z\n"
        "      --copy          copy: damage on the disk must not hit the store and its checkpoints at once\n\n"
        "or, with DIRECTORY alone:\n"
        "      --list          what is there, oldest first; with --json as a JSON document\n"
        "      --check         read everything and compare it with its SHA-256; with --name of one of them\n"
        "      --remove=NAME   remove one and the files that no other needs\n\n"
        "Of a store that is mounted: echo checkpoint DIRECTORY NAME > MOUNT/.plsm/ctl, see mount.plsm(8).\n\n"
        "Example:\n  plsm checkpoint /var/lib/words /backup/words\n",
    .run = run,
};

/* --- restore ------------------------------------------------------------------------------------------------------ */

/* "2026-11-27", "2026-11-27T10:30", "2026-11-27T10:30:00", each in UTC and with or without a Z, or "@SECONDS": the end
 * of that day, minute or second, so that what was made within it counts. */
static bool parse_time(const char *text, uint64_t *out_ns)
{
    static const struct {
        const char *format;
        uint64_t seconds;
    } forms[] = {{"%Y-%m-%dT%H:%M:%S", 1}, {"%Y-%m-%dT%H:%M", 60}, {"%Y-%m-%d", 86400}};
    uint64_t seconds = 0;
    if (*text == '@') {
        if (!text_parse_number(text + 1, 1000, &seconds) || seconds >= UINT64_MAX / 1000000000 - 1)
            return false;
        *out_ns = (seconds + 1) * 1000000000 - 1;
        return true;
    }
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        struct tm when = {0};
        const char *end = strptime(text, forms[i].format, &when);
        if (!end || (*end && strcmp(end, "Z") != 0))
            continue;
        time_t start = timegm(&when);
        if (start < 0)
            return false;
        *out_ns = ((uint64_t)start + forms[i].seconds) * 1000000000 - 1;
        return true;
    }
    return false;
}

static enum tool_exit run_restore(struct tool *tool, int argc, char **argv)
{
    static const struct option longs[] = {{"name", required_argument, NULL, LONG_NAME},
                                          {"at", required_argument, NULL, LONG_AT},
                                          {"copy", no_argument, NULL, LONG_COPY},
                                          {NULL, 0, NULL, 0}};
    struct progress progress;
    plsm_restore_options options = {.progress = advance, .arg = &progress};
    plsm_checkpoint_info info;
    int option = 0;
    while ((option = tool_next_option(tool, argc, argv, "", longs)) > 0) {
        if (option == LONG_NAME)
            options.name = optarg;
        else if (option == LONG_COPY)
            options.copy = true;
        else if (!parse_time(optarg, &options.time_ns))
            return tool_usage(tool, "--at=%s: no time such as 2026-11-27T10:30:00, 2026-11-27 or @1795775400", optarg);
    }
    if (option != TOOL_OPTION_END)
        return tool_option_exit(option);
    if (options.name && options.time_ns)
        return tool_usage(tool, "--name and --at exclude each other");
    if (!tool_check_count(tool, argc - optind, 2, 2))
        return TOOL_USAGE;
    progress_start(&progress, "restore", 0, true);
    plsm_status status = plsm_restore(argv[optind], &options, argv[optind + 1], &info);
    progress_end(&progress);
    if (status != PLSM_OK)
        return tool_error(tool, status);
    tell_written(&info);
    return TOOL_OK;
}

const struct command command_restore = {
    .name = "restore",
    .arguments = "DIRECTORY STORE",
    .summary = "Makes a store of a checkpoint",
    .help =
        "STORE must not be there, or be an empty directory. Every file is read and compared with its SHA-256: when\n"
        "one is missing or altered nothing is made.\n\n"
        "      --name=NAME     of this checkpoint; of the newest by default\n"
        "      --at=TIME       of the newest that is not younger: 2026-11-27T10:30:00, 2026-11-27 (UTC; the end of\n"
        "                      that second or day) or @SECONDS since 1970\n"
        "      --copy          copy instead of linking on one file system\n\n"
        "Example:\n  plsm restore --at=2026-11-26 /backup/words /var/lib/words-of-yesterday\n",
    .run = run_restore,
};
