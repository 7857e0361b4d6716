/* plsm get: one value as it is. Small ones come in one piece; large ones pass through one buffer, so that memory does
 * not grow with the value. */
#include "base/alloc.h"
#include "base/error.h"
#include "tools/text.h"
#include "tools/tool.h"

#include "base/banned.h"

enum { PIECE_SIZE = 256 << 10 };

/* Writes a large value piece by piece; a failing stdout ends it without an error of its own. */
static plsm_status write_pieces(plsm *db, plsm_slice key, uint64_t size)
{
    uint8_t *piece = mem_alloc(PIECE_SIZE);
    plsm_status status = piece ? PLSM_OK : PLSM_NO_MEMORY;
    for (uint64_t offset = 0; status == PLSM_OK && offset < size;) {
        size_t got = 0;
        status = plsm_read(db, NULL, key, offset, piece, PIECE_SIZE, &got);
        if (status != PLSM_OK)
            break;
        if (got == 0) /* the store said there is more: an endless loop must not be the answer */
            status = fail(PLSM_CORRUPT, "the value ends at byte %llu of %llu; run plsm check",
                          (unsigned long long)offset, (unsigned long long)size);
        else if (!tool_write(piece, got))
            break;
        offset += got;
    }
    mem_free(piece);
    return status;
}

static enum tool_exit run(struct tool *tool, int argc, char **argv)
{
    enum tool_exit code = TOOL_OK;
    if (!tool_plain_options(tool, argc, argv, 2, 2, &code))
        return code;
    plsm_slice key = {0};
    if (tool_key(tool, argv[optind + 1], 0, &key) != PLSM_OK)
        return tool_usage(tool, "KEY: %s", plsm_message());
    plsm *db = NULL;
    code = tool_open(tool, argv[optind], PLSM_READ, &db);
    if (code != TOOL_OK)
        return code;
    plsm_value value = {0};
    plsm_status status = plsm_get(db, NULL, key, &value);
    if (status == PLSM_OK) {
        if (value.large)
            status = write_pieces(db, key, value.size);
        else
            tool_write(value.value.data, value.value.size);
    }
    if (status == PLSM_NOT_FOUND) {
        char quoted[256];
        tool_say(tool, "%s: no such key in %s", text_quote(quoted, sizeof quoted, key), argv[optind]);
        code = TOOL_NEGATIVE;
    } else if (status != PLSM_OK) {
        code = tool_error(tool, status);
    }
    plsm_value_free(&value);
    return tool_close(tool, db, code);
}

const struct command command_get = {
    .name = "get",
    .arguments = "STORE KEY",
    .summary = "Writes the value of a key to standard output",
    .help = "Exactly the bytes of the value, nothing added. Exit code 1 when the key is not there.\n\n"
            "  -e, --escaped   KEY has escapes as scan writes them: \\t \\n \\\\ \\0 \\xHH\n\n"
            "Example:\n  plsm get /var/lib/words etc/motd\n",
    .run = run,
};
