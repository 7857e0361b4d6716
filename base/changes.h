/* Changes to a store as lines of text: what `plsm write` and the mount's .plsm/batch take.
 *
 *   KEY tab VALUE      put                              (as in `plsm dump`)
 *   \-KEY              delete
 *   \~FROM tab TO      delete the keys in [FROM, TO); an empty TO: to the end
 *   \!KEY              condition: the key must be absent
 *   \=KEY tab VALUE    condition: the key must have this value
 *
 * each ending in a newline, which the last one may lack. Keys and values have the escapes of base/text.h. No record
 * begins with one of these marks, as a backslash in front of a record's first byte is an escape. */
#ifndef BASE_CHANGES_H
#define BASE_CHANGES_H

#include "base/bytes.h"
#include "base/text.h"

enum change_kind { CHANGE_PUT, CHANGE_DELETE, CHANGE_DELETE_RANGE, CHANGE_IF_ABSENT, CHANGE_IF_EQUAL };

struct change {
    enum change_kind kind;
    plsm_slice key, value; /* of a range: its bounds; valid during the call that hands it out */
};

/* Which kind a mark (TEXT_MARK) begins, and whether a tab follows its key. */
enum change_kind change_kind_of(uint8_t mark);
bool change_has_value(enum change_kind kind);

/* The state between two pieces of text, which may be cut anywhere. Zero it to start; free it with changes_free. */
struct change_parser {
    struct text_unescape decoder;
    struct buf key, value;
    enum change_kind kind;
    bool begun, in_value;
    size_t size_max; /* bytes that a key or a value may have; 0: no limit */
    uint64_t lines;  /* whole ones so far */
};

/* Hands every change that `text` completes to `each`, and ends at the first status of it that is not PLSM_OK.
 * PLSM_INVALID: a line that is none, with a message that numbers it; PLSM_TOO_LARGE; PLSM_NO_MEMORY. After a failure
 * the
 * parser can only be freed. */
plsm_status changes_parse(struct change_parser *parser, plsm_slice text,
                          plsm_status (*each)(void *arg, const struct change *change), void *arg);
/* The end of the text: completes a last line without a newline. */
plsm_status changes_parse_end(struct change_parser *parser,
                              plsm_status (*each)(void *arg, const struct change *change), void *arg);
void changes_free(struct change_parser *parser); /* leaves it zeroed */

#endif
