/* plsm convert: a store of another engine, with everything in it. */
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tools/progress.h"
#include "tools/text.h"
#include "tools/tool.h"

#include "base/banned.h"

enum { LONG_TO = TOOL_LONG_FIRST, LONG_REMOVE_OLD };

static void advance(void *arg, uint64_t done, uint64_t all)
{
    struct progress *progress = arg;
    progress->total = all;
    progress_update(progress, done);
}

/* The new store is made by whoever runs this, so it would be the wrong one's. Symbolic links lead to where names are to
 * change. *path is the caller's to free. */
static enum tool_exit look_at_store(const struct tool *tool, const char *given, char **path, mode_t *mode)
{
    struct stat found;
    *path = realpath(given, NULL);
    if (!*path) /* who converts tells what is wrong */
        *path = strdup(given);
    if (!*path)
        return tool_error(tool, PLSM_NO_MEMORY);
    if (stat(*path, &found) != 0)
        return TOOL_OK;
    *mode = found.st_mode & 07777;
    if (found.st_uid == geteuid())
        return TOOL_OK;
    tool_say(tool, "%s: belongs to user %u: convert it as that one, or the new store would be another's", given,
             (unsigned)found.st_uid);
    return TOOL_ERROR;
}

static void tell_converted(const plsm_convert_info *info, const char *engine, const char *place, double seconds)
{
    char entries[TEXT_NUMBER_SIZE], bytes[TEXT_NUMBER_SIZE];
    tool_print("%s: %s entries, %s, from %s to %s in %.1f s\n", place, text_count(entries, (double)info->entries),
               text_bytes(bytes, info->bytes), info->engine, engine, seconds);
    if (info->old[0])
        tool_print("The old store is %s: remove it when you do not need it any more.\n", info->old);
}

/* The name of what is mounted cannot change; better told before everything is copied. */
static enum tool_exit look_for_mount(const struct tool *tool, const char *path)
{
    struct statx found;
    if (statx(AT_FDCWD, path, 0, STATX_TYPE, &found) != 0 || !(found.stx_attributes & STATX_ATTR_MOUNT_ROOT))
        return TOOL_OK;
    tool_say(tool, "%s: something is mounted there, so the new store cannot take its place: say where it is to be, NEW",
             path);
    return TOOL_ERROR;
}

static enum tool_exit convert(struct tool *tool, const char *store, plsm_convert_options *options)
{
    struct progress progress;
    char *path = NULL;
    mode_t mode = 0;
    plsm_convert_info info;
    enum tool_exit code = look_at_store(tool, store, &path, &mode);
    if (code == TOOL_OK && !options->target)
        code = look_for_mount(tool, path);
    if (code == TOOL_OK) {
        const char *place = options->target ? options->target : path;
        progress_start(&progress, "convert", 0, false);
        options->progress = advance;
        options->arg = &progress;
        plsm_status status = plsm_convert(path, options, &info);
        double seconds = progress_seconds(&progress);
        progress_end(&progress);
        if (status == PLSM_OK && chmod(place, mode) != 0)
            tool_say(tool, "%s: has not the permissions of %s", place, store);
        if (status == PLSM_OK)
            tell_converted(&info, options->engine, place, seconds);
        else
            code = tool_error(tool, status);
    }
    free(path);
    return code;
}

static enum tool_exit run(struct tool *tool, int argc, char **argv)
{
    static const struct option longs[] = {{"to", required_argument, NULL, LONG_TO},
                                          {"remove-old", no_argument, NULL, LONG_REMOVE_OLD},
                                          {NULL, 0, NULL, 0}};
    plsm_convert_options options = {0};
    int option = 0;
    while ((option = tool_next_option(tool, argc, argv, "", longs)) > 0) {
        if (option == LONG_TO)
            options.engine = optarg;
        else
            options.remove_old = true;
    }
    if (option != TOOL_OPTION_END)
        return tool_option_exit(option);
    if (!tool_check_count(tool, argc - optind, 1, 2))
        return TOOL_USAGE;
    if (!options.engine)
        return tool_usage(tool, "the engine is missing: --to=ENGINE");
    options.target = argv[optind + 1]; /* NULL when there is none */
    if (options.target && options.remove_old)
        return tool_usage(tool, "--remove-old is for a store that is replaced");
    options.options = tool->options.size ? (const char *)tool->options.data : NULL;
    enum tool_exit code = tool_check_options(tool);
    return code == TOOL_OK ? convert(tool, argv[optind], &options) : code;
}

const struct command command_convert = {
    .name = "convert",
    .arguments = "STORE [NEW]",
    .summary = "Makes a store of another engine of a store",
    .help =
        "Everything goes along: names, modes, owners, times, links, values of any size. The new store is made beside\n"
        "STORE, as STORE.converting, synced, read again and compared; then it takes the place of STORE, in one step,\n"
        "and the old one becomes STORE.old. So a crash at any time leaves a whole store. It takes the space of both.\n"
        "With NEW, which must not be there or be an empty directory, and not in a store, the new store is made\n"
        "there and STORE stays.\n"
        "Nobody else may write the store meanwhile. Checkpoints of the old store stay what they are.\n\n"
        "      --to=ENGINE      lsm, appendlog or hybridlog (see the option engine in plsm create --help)\n"
        "      --remove-old     remove the old store at the end\n\n"
        "With -o, options of the new store.\n\n"
        "Example:\n  plsm convert /var/lib/words --to=appendlog\n",
    .run = run,
};
