/* plsm put: one value, from the command line or a stream. */
#include <errno.h>
#include <unistd.h>

#include "base/error.h"
#include "tools/target.h"
#include "tools/text.h"

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

/* Opens the value to be streamed. */
static plsm_status open_value(struct target *target, plsm_slice key, const struct life *life)
{
    if (life->given && !target->db)
        return fail(PLSM_UNSUPPORTED, "--ttl: a store that is mounted has the times of its mount (mount it with ttl=)");
    TRY(target_edit_open(target, key));
    if (life->given)
        plsm_edit_set_expires(target->edit, life->expires_s);
    return PLSM_OK;
}

/* An empty piece means the end: read_piece returns a short one only there. Streams the rest of stdin behind `piece`
 * into the key: it becomes visible as a whole, at the end. */
static plsm_status put_stream(struct target *target, plsm_slice key, struct buf *piece, const struct life *life,
                              plsm_durability durability)
{
    bool end = false;
    TRY(open_value(target, key, life));
    while (piece->size > 0) {
        TRY(target_edit_write(target, buf_slice(piece)));
        TRY(read_piece(piece, &end));
    }
    return target_edit_commit(target, durability);
}

static plsm_status put_value(struct target *target, plsm_slice key, plsm_slice value, const struct life *life,
                             plsm_durability durability)
{
    if (value.size > PLSM_INLINE_MAX || life->given) {
        TRY(open_value(target, key, life));
        TRY(target_edit_write(target, value));
        return target_edit_commit(target, durability);
    }
    TRY(target_change(target, CHANGE_PUT, key, value));
    return target_commit(target, durability);
}

/* Reads one piece first: what fits into the tree is put as it is, what does not is streamed. */
static plsm_status put_stdin(struct target *target, plsm_slice key, const struct life *life, plsm_durability durability)
{
    struct buf piece = {0};
    bool end = false;
    plsm_status status = read_piece(&piece, &end);
    if (status == PLSM_OK)
        status = piece.size <= PLSM_INLINE_MAX ? put_value(target, key, buf_slice(&piece), life, durability)
                                               : put_stream(target, key, &piece, life, durability);
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
    struct target target = {0};
    enum tool_exit code = target_open(tool, argv[optind], 0, &target);
    if (code != TOOL_OK)
        return code;
    life.expires_s = ttl && target.db ? plsm_now_s(target.db) + ttl : 0;
    plsm_status status = strcmp(value, "-") == 0
                             ? put_stdin(&target, key, &life, tool_durability(tool))
                             : put_value(&target, key, slice_of(value), &life, tool_durability(tool));
    if (status != PLSM_OK)
        code = tool_error(tool, status);
    return target_close(tool, &target, code);
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
