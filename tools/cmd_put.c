/* plsm put: one value, from the command line or a stream. */
#include <errno.h>
#include <unistd.h>

#include "base/error.h"
#include "tools/text.h"
#include "tools/tool.h"

#include "base/banned.h"

enum { PIECE_SIZE = 256 << 10 };
_Static_assert(PIECE_SIZE > PLSM_INLINE_MAX, "one piece tells whether a value is large");

/* Reads stdin until `buf` has PIECE_SIZE bytes or it ends. */
static plsm_status read_piece(struct buf *piece, bool *end)
{
    TRY(buf_reserve(piece, PIECE_SIZE));
    piece->size = 0;
    while (piece->size < PIECE_SIZE && !*end) {
        ssize_t got = read(STDIN_FILENO, piece->data + piece->size, PIECE_SIZE - piece->size);
        if (got < 0 && errno != EINTR)
            return fail_errno(errno, "standard input", "read");
        if (got > 0)
            piece->size += (size_t)got;
        *end = got == 0;
    }
    return PLSM_OK;
}

/* When what is put expires. */
struct life {
    bool given;
    uint64_t expires_s;
};

static plsm_status put_value(plsm *db, plsm_slice key, plsm_slice value, const struct life *life,
                             plsm_durability durability)
{
    return life->given ? plsm_put_expiring(db, key, value, life->expires_s, durability)
                       : plsm_put(db, key, value, durability);
}

/* An empty piece means the end: read_piece returns a short one only there. Streams the rest of stdin behind `piece`
 * into the key: it becomes visible as a whole, at the end. */
static plsm_status put_stream(plsm *db, plsm_slice key, struct buf *piece, const struct life *life,
                              plsm_durability durability)
{
    plsm_edit *edit = NULL;
    uint64_t offset = 0;
    bool end = false;
    plsm_status status = plsm_edit_open(db, key, PLSM_EDIT_NEW, &edit);
    if (status == PLSM_OK && life->given)
        plsm_edit_set_expires(edit, life->expires_s);
    while (status == PLSM_OK && piece->size > 0) {
        status = plsm_edit_write(edit, offset, piece->data, piece->size);
        offset += piece->size;
        if (status == PLSM_OK)
            status = read_piece(piece, &end);
    }
    if (status == PLSM_OK)
        status = plsm_edit_commit(edit, (plsm_slice){0}, durability);
    plsm_edit_close(edit);
    return status;
}

/* Reads one piece first: what fits into the tree is put as it is, what does not is streamed. */
static plsm_status put_stdin(plsm *db, plsm_slice key, const struct life *life, plsm_durability durability)
{
    struct buf piece = {0};
    bool end = false;
    plsm_status status = read_piece(&piece, &end);
    if (status == PLSM_OK)
        status = piece.size <= PLSM_INLINE_MAX ? put_value(db, key, buf_slice(&piece), life, durability)
                                               : put_stream(db, key, &piece, life, durability);
    buf_free(&piece);
    return status;
}

static enum tool_exit run(struct tool *tool, int argc, char **argv)
{
    static const struct option longs[] = {{"ttl", required_argument, NULL, 't'}, {NULL, 0, NULL, 0}};
    struct life life = {0};
    uint64_t ttl = 0;
    int option = 0;
    while ((option = tool_next_option(tool, argc, argv, "t:", longs)) == 't') {
        if (!text_parse_number(optarg, 1000, &ttl) || ttl > UINT32_MAX)
            return tool_usage(tool, "--ttl %s: not a number of seconds", optarg);
        life.given = true;
    }
    if (option != TOOL_OPTION_END)
        return tool_option_exit(option);
    if (!tool_check_count(tool, argc - optind, 2, 3))
        return TOOL_USAGE;
    plsm_slice key = {0};
    if (tool_key(tool, argv[optind + 1], 0, &key) != PLSM_OK)
        return tool_usage(tool, "KEY: %s", plsm_message());
    const char *value = argc - optind == 3 ? argv[optind + 2] : "-";
    plsm *db = NULL;
    enum tool_exit code = tool_open(tool, argv[optind], 0, &db);
    if (code != TOOL_OK)
        return code;
    life.expires_s = ttl ? plsm_now_s(db) + ttl : 0;
    plsm_status status = strcmp(value, "-") == 0 ? put_stdin(db, key, &life, tool_durability(tool))
                                                 : put_value(db, key, slice_of(value), &life, tool_durability(tool));
    if (status != PLSM_OK)
        code = tool_error(tool, status);
    return tool_close(tool, db, code);
}

const struct command command_put = {
    .name = "put",
    .arguments = "STORE KEY [VALUE|-]",
    .summary = "Sets the value of a key",
    .help = "Without VALUE, or with -, the value is what standard input holds, of any size. The old value stays until\n"
            "the new one is complete. A VALUE that begins with - goes behind --.\n\n"
            "  -t, --ttl SECONDS   the value expires so many seconds from now; 0: never, whatever the option ttl says\n"
            "  -e, --escaped       KEY has escapes as scan writes them: \\t \\n \\\\ \\0 \\xHH\n\n"
            "Example:\n  plsm put /var/lib/words greeting hello\n  plsm put /var/lib/words film < film.mkv\n"
            "  plsm put --ttl 3600 /var/lib/words session 4711\n",
    .writes = true,
    .run = run,
};
