#include "fs/escape.h"

#include <string.h>

#include "base/bytes.h"
#include "base/error.h"
#include "base/banned.h"

/* A synthetic directory takes the shortest beginning of the piece that shows in at least PIECE_SHOWN_MIN bytes. One
 * more raw byte adds at most 3, so with the final '%' it has PIECE_SIZE_MIN to PIECE_SIZE_MAX bytes. */
enum { PIECE_SHOWN_MIN = 240, PIECE_SIZE_MIN = 241, PIECE_SIZE_MAX = 243 };

static const char beside_suffix[] = "2F."; /* what follows its '%' */

/* Escapes that are the whole name: what follows the first '%', and what it stands for. */
static const struct whole {
    const char *shown, *raw;
    bool only_in_root;
} wholes[] = {
    {"2E", ".", false},        {"2E.", "..", false},      {"2Estats", ".stats", true},
    {"2Eplsm", ".plsm", true}, {"2F%value", NULL, false}, /* NAME_VALUE, stands for no piece */
};

/* The bytes behind a '%' at `at`, and behind all "25" that follow it. *stack: how many those were. */
static plsm_slice behind_percent(plsm_slice name, size_t at, size_t *stack)
{
    const char *bytes = name.data;
    for (*stack = 0, at++; name.size - at >= 2 && memcmp(bytes + at, "25", 2) == 0; at += 2)
        ++*stack;
    return slice(bytes + at, name.size - at);
}

static const struct whole *find_whole(plsm_slice rest, bool in_root)
{
    for (size_t i = 0; i < sizeof wholes / sizeof wholes[0]; i++)
        if ((in_root || !wholes[i].only_in_root) && slice_equal(rest, slice_of(wholes[i].shown)))
            return &wholes[i];
    return NULL;
}

/* What a '%' at `at` of a name begins. Escapes of the whole name, or of its end, are looked for unless `body`. */
enum escape { ESCAPE_NONE, ESCAPE_NUL, ESCAPE_WHOLE, ESCAPE_BESIDE };
static enum escape find_escape(plsm_slice name, size_t at, bool in_root, bool body, size_t *stack)
{
    plsm_slice rest = behind_percent(name, at, stack);
    if (slice_starts_with(rest, slice_of("00")))
        return ESCAPE_NUL;
    if (!body && at == 0 && find_whole(rest, in_root))
        return ESCAPE_WHOLE;
    if (!body && slice_equal(rest, slice_of(beside_suffix)))
        return ESCAPE_BESIDE;
    return ESCAPE_NONE;
}

/* Shows `raw` in `out` (if not NULL); returns the size, also when that is above `room`, where it stops writing. */
static size_t encode(plsm_slice raw, bool in_root, bool body, char *out, size_t room)
{
    const char *bytes = raw.data;
    size_t size = 0, stack = 0;
    if (!body)
        for (size_t i = 0; i < sizeof wholes / sizeof wholes[0]; i++)
            if (wholes[i].raw && (in_root || !wholes[i].only_in_root) && slice_equal(raw, slice_of(wholes[i].raw))) {
                size = strlen(wholes[i].shown) + 1;
                if (out && size <= room) {
                    out[0] = '%';
                    memcpy(out + 1, wholes[i].shown, size - 1);
                }
                return size;
            }
    for (size_t i = 0; i < raw.size; i++) {
        char text[3] = {bytes[i]};
        size_t text_size = 1;
        if (bytes[i] == 0)
            memcpy(text, "%00", text_size = 3);
        else if (bytes[i] == '%' && find_escape(raw, i, in_root, body, &stack) != ESCAPE_NONE)
            memcpy(text, "%25", text_size = 3);
        if (out && size + text_size <= room)
            memcpy(out + size, text, text_size);
        size += text_size;
    }
    return size;
}

/* Reads what `encode` wrote. `out` has room for shown.size bytes. */
static size_t decode(plsm_slice shown, bool in_root, bool body, uint8_t *out)
{
    const char *bytes = shown.data;
    size_t size = 0, stack = 0;
    for (size_t i = 0; i < shown.size; i++) {
        enum escape escape = bytes[i] == '%' ? find_escape(shown, i, in_root, body, &stack) : ESCAPE_NONE;
        const struct whole *whole =
            escape == ESCAPE_WHOLE && stack == 0 ? find_whole(slice(bytes + 1, shown.size - 1), in_root) : NULL;
        if (escape != ESCAPE_NONE && stack > 0) {
            out[size++] = '%';
            i += 2; /* drops one "25"; what follows it is taken as it is, it cannot begin an escape */
        } else if (escape == ESCAPE_NUL) {
            out[size++] = 0;
            i += 2;
        } else if (whole && whole->raw) {
            memcpy(out, whole->raw, strlen(whole->raw));
            return strlen(whole->raw);
        } else { /* an escape where none can be, as in "x%2F.%2F.": shown otherwise when encoded, so it is refused */
            out[size++] = (uint8_t)bytes[i];
        }
    }
    return size;
}

void escape_decode(plsm_slice shown, bool in_root, struct raw_name *out)
{
    const char *bytes = shown.data;
    INVARIANT(shown.size > 0 && shown.size <= NAME_SIZE_MAX);
    size_t suffix = strlen(beside_suffix) + 1;
    out->kind = NAME_PLAIN;
    out->size = 0;
    if (slice_equal(shown, slice_of(NAME_OF_VALUE))) {
        out->kind = NAME_VALUE;
        return;
    }
    if (shown.size >= PIECE_SIZE_MIN && shown.size <= PIECE_SIZE_MAX && bytes[shown.size - 1] == '%') {
        out->kind = NAME_PIECE;
        out->size = decode(slice(bytes, shown.size - 1), in_root, true, out->bytes);
        return;
    }
    if (shown.size >= suffix && memcmp(bytes + shown.size - suffix, "%2F.", suffix) == 0) {
        out->kind = NAME_BESIDE;
        shown.size -= suffix;
    }
    if (shown.size > 0)
        out->size = decode(shown, in_root, false, out->bytes);
}

/* Whether all of a piece can be shown in one name of `size` bytes. */
static bool fits(size_t size, char last, bool beside)
{
    if (beside)
        return size + sizeof beside_suffix <= NAME_SIZE_MAX;
    return size <= NAME_SIZE_MAX && !(size >= PIECE_SIZE_MIN && size <= PIECE_SIZE_MAX && last == '%');
}

void escape_encode(plsm_slice piece, bool in_root, bool beside, struct shown_name *out)
{
    const char *bytes = piece.data;
    INVARIANT(piece.size > 0 || beside);
    out->size = encode(piece, in_root, false, out->bytes, NAME_SIZE_MAX);
    out->raw_size = piece.size;
    out->kind = beside ? NAME_BESIDE : NAME_PLAIN;
    if (fits(out->size, piece.size ? bytes[piece.size - 1] : 0, beside)) {
        if (beside) {
            out->bytes[out->size] = '%';
            memcpy(out->bytes + out->size + 1, beside_suffix, sizeof beside_suffix);
            out->size += sizeof beside_suffix;
        }
        out->bytes[out->size] = 0;
        return;
    }
    /* 240 shown bytes need at least 80 raw ones; from there on try each length. */
    size_t raw_size = PIECE_SHOWN_MIN / 3;
    while (encode(slice(bytes, raw_size), in_root, true, NULL, 0) < PIECE_SHOWN_MIN)
        raw_size++;
    INVARIANT(raw_size < piece.size);
    out->kind = NAME_PIECE;
    out->raw_size = raw_size;
    out->size = encode(slice(bytes, raw_size), in_root, true, out->bytes, NAME_SIZE_MAX);
    out->bytes[out->size++] = '%';
    out->bytes[out->size] = 0;
}

bool escape_cut_at(plsm_slice piece, bool in_root, bool beside, size_t at)
{
    const char *bytes = piece.data;
    struct shown_name shown;
    for (size_t done = 0; done < at && done < piece.size; done += shown.raw_size) {
        /* Only the first cut is in the root; what follows is in a synthetic directory, where no name is reserved. */
        escape_encode(slice(bytes + done, piece.size - done), in_root && done == 0, beside, &shown);
        if (shown.kind != NAME_PIECE)
            return false;
        if (done + shown.raw_size == at)
            return true;
    }
    return false;
}
