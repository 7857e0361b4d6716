/* The escapes of records in text.
 *
 * A record in text is KEY, a tab, VALUE, a newline. Inside key and value these bytes are written as escapes:
 *   \t tab   \n newline   \\ backslash   \0 NUL   \xHH any byte, two hexadecimal digits
 * Written are \t, \n, \\, \0 and \xHH for the other control bytes (below 0x20, and 0x7f); bytes from 0x80 on stand for
 * themselves, so UTF-8 stays readable. Read is any of them for any byte, so what was written reads back exactly.
 * A line of changes (base/changes.h) may begin with a mark: a backslash and one of - ~ ! =, which no record holds. */
#ifndef BASE_TEXT_H
#define BASE_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"

/* Appends `bytes` to `out` with escapes. */
plsm_status text_escape(struct buf *out, plsm_slice bytes);

/* The longest prefix of `bytes`, escaped, that fits into `out` of `size` bytes with its terminator; what was cut is
 * shown by "..." at its end. For messages. `size` at least 16. Returns out. */
char *text_quote(char *out, size_t size, plsm_slice bytes);

enum text_event {
    TEXT_END,     /* the input is used up (an escape may be half read: text_unescape_complete) */
    TEXT_BYTES,   /* *bytes is a piece of the decoded text, valid until the next call */
    TEXT_TAB,     /* a bare tab */
    TEXT_NEWLINE, /* a bare newline */
    TEXT_MARK,    /* a backslash and the one of - ~ ! = that *bytes is: no escape, a mark at the head of a line */
    TEXT_BAD,     /* an escape that is none; the decoder must not be used further */
};

/* A decoder that takes its input in pieces cut anywhere. Zero it to start. */
struct text_unescape {
    int state;
    uint8_t byte;
};
/* Decodes on from *at, which it moves towards `end`. */
enum text_event text_unescape_next(struct text_unescape *decoder, const uint8_t **at, const uint8_t *end,
                                   plsm_slice *bytes);
bool text_unescape_complete(const struct text_unescape *decoder);

/* Decodes a whole argument; bare tabs and newlines stand for themselves. PLSM_INVALID with a message. Appends to
 * `out`. */
plsm_status text_unescape_all(struct buf *out, plsm_slice text);

#endif
