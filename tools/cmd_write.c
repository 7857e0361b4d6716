/* plsm write: one batch, with deletions and conditions. */
#include <errno.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/error.h"
#include "tools/target.h"

#include "base/banned.h"

enum { INPUT_SIZE = 1 << 20 };

static plsm_status add(void *arg, const struct change *change)
{
    return target_change(arg, change->kind, change->key, change->value);
}

/* Reads all of stdin into the batch. */
static plsm_status read_changes(struct target *target)
{
    struct change_parser parser = {.size_max = PLSM_INLINE_MAX};
    uint8_t *input = mem_alloc(INPUT_SIZE);
    plsm_status status = input ? PLSM_OK : fail(PLSM_NO_MEMORY, "no memory for input");
    while (status == PLSM_OK) {
        ssize_t got = read(STDIN_FILENO, input, INPUT_SIZE);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            status = fail_errno(errno, "standard input", "read");
        if (got <= 0)
            break;
        status = changes_parse(&parser, slice(input, (size_t)got), add, target);
    }
    if (status == PLSM_OK)
        status = changes_parse_end(&parser, add, target);
    changes_free(&parser);
    mem_free(input);
    return status;
}

static enum tool_exit run(struct tool *tool, int argc, char **argv)
{
    enum tool_exit code = TOOL_OK;
    struct target target = {0};
    if (!tool_plain_options(tool, argc, argv, 1, 1, &code))
        return code;
    code = target_open(tool, argv[optind], 0, &target);
    if (code != TOOL_OK)
        return code;
    plsm_status status = read_changes(&target);
    if (status == PLSM_OK)
        status = target_commit(&target, tool_durability(tool));
    if (status == PLSM_EXISTS || status == PLSM_CONFLICT) {
        tool_error(tool, status);
        code = TOOL_NEGATIVE;
    } else if (status != PLSM_OK) {
        code = tool_error(tool, status);
    }
    return target_close(tool, &target, code);
}

const struct command command_write = {
    .name = "write",
    .arguments = "STORE",
    .summary = "Makes the changes on standard input in one step",
    .help = "All or none, also across a crash. One change a line, made in this order:\n"
            "  KEY<tab>VALUE     put\n"
            "  \\-KEY             delete\n"
            "  \\~FROM<tab>TO     delete the keys in [FROM, TO); an empty TO: to the end\n"
            "  \\!KEY             only if KEY is absent\n"
            "  \\=KEY<tab>VALUE   only if KEY has this value\n"
            "with the escapes \\t \\n \\\\ \\0 \\xHH. Exit code 1 when a condition does not hold: then nothing was "
            "changed.\n"
            "Values have at most 128 KiB, all together 512 MiB.\n\n"
            "Example:\n  printf '\\\\=next\\t7\\nnext\\t8\\njob/7\\tdone\\n' | plsm write /var/lib/words\n",
    .writes = true,
    .run = run,
};
