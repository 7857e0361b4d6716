/* The append log's entries and places: see append_format.c for the format. */
#ifndef LOG_APPEND_FORMAT_H
#define LOG_APPEND_FORMAT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/batch.h"
#include "base/bytes.h"

#define APPEND_SEGMENT_MAGIC "plsmseg1"
#define APPEND_SEGMENT_MAX (UINT64_C(2) << 30) /* bytes of a segment: offsets in places go so far */
#define APPEND_HEAD_NUMBERS_MAX (1u << 20)
/* No store comes to so many changes, or segments: what says so is damaged. Nothing is written to what has half as many,
 * so that none that was written is refused later. */
#define APPEND_SEQ_MAX (UINT64_C(1) << 62)
#define APPEND_NUMBER_MAX (UINT64_C(1) << 62)

enum {
    APPEND_RECORDS_AT = 544, /* offset of the first record of a segment, after which: */
    APPEND_RECORD_HEAD = 32, /* bytes in front of a record's payload (base/reclog.c) */
    APPEND_SLOTS = 1 << 16,
    APPEND_ENTRY_HEAD_MAX = 64, /* bytes of an entry in front of its key */
    APPEND_VALUE_APART = 1024,  /* values above have a checksum of their own */
};

/* A decoded entry; slices are where it was decoded from. */
struct append_entry {
    plsm_slice key, meta, value; /* of a deletion of a range: value is where it ends */
    uint64_t seq_delta, expires_s;
    uint64_t value_checksum; /* of values above APPEND_VALUE_APART */
    uint64_t value_size;     /* also where the value was cut off */
    enum batch_kind kind;
    size_t head_size;        /* bytes in front of the value */
    size_t size;             /* of all of it, with padding */
};

/* Appends an entry that is to stand at `offset` of a segment with this salt. PLSM_NO_MEMORY. */
plsm_status append_entry_add(struct buf *to, const struct batch_change *change, uint64_t seq_delta, uint64_t salt,
                             uint64_t offset);
/* Decodes an entry without looking at its checksums. `bytes` may end within the value. False: there is none. */
bool append_entry_parse(plsm_slice bytes, struct append_entry *out);
/* The same, with its checksums; that of a large value is not looked at without `with_value`. */
bool append_entry_read(plsm_slice bytes, uint64_t salt, uint64_t offset, bool with_value, struct append_entry *out);
/* The shortest way to the value of an entry, whose bytes these are, if it is a good one of `key`, a put without meta
 * that does not expire, and small; false: it is not all of that, and append_entry_read tells what it is. */
bool append_entry_plain(plsm_slice bytes, uint64_t salt, uint64_t offset, plsm_slice key, plsm_slice *value);

/* The first record of a segment. */
struct append_head {
    uint64_t store_id, number, salt, first_seq;
    bool merged;
    const uint8_t *numbers; /* coded: of the other segments that there were */
    size_t numbers_size, count;
};
enum { APPEND_HEAD_SIZE = 56 }; /* without the numbers */
/* `numbers` ascending. */
plsm_status append_head_add(struct buf *to, const struct append_head *head, const uint64_t *numbers, size_t count);
bool append_head_parse(plsm_slice payload, struct append_head *out);
/* The list of segments that a merge replaces. */
plsm_status append_numbers_add(struct buf *to, const uint64_t *numbers, size_t count);
/* Calls `each` for each number; false: these are no numbers. */
bool append_numbers_each(const uint8_t *at, const uint8_t *end, size_t count, void (*each)(void *arg, uint64_t number),
                         void *arg);
plsm_status append_replaces_add(struct buf *to, const uint64_t *numbers, size_t count);
bool append_replaces_parse(plsm_slice payload, const uint8_t **numbers, size_t *count);

/* Where an entry is, in a word:
 *   bit 0        0; with 1 the word is the address of versions (append_db.h)
 *   bits 1-18    size in units of 8 bytes
 *   bits 19-46   offset in its segment, likewise
 *   bits 47-62   slot of the segment
 *   bit 63       it expires
 * 0: nowhere. */
typedef uint64_t append_place;

static inline append_place append_place_of(unsigned slot, uint64_t offset, size_t size, bool timed)
{
    return (uint64_t)timed << 63 | (uint64_t)slot << 47 | (offset / 8) << 19 | (uint64_t)(size / 8) << 1;
}
static inline unsigned append_place_slot(append_place place) { return (unsigned)(place >> 47) & 0xffff; }
static inline uint64_t append_place_offset(append_place place) { return (place >> 19 & 0xfffffff) * 8; }
static inline size_t append_place_size(append_place place) { return (size_t)(place >> 1 & 0x3ffff) * 8; }
static inline bool append_place_timed(append_place place) { return place >> 63; }
enum { APPEND_ENTRY_MAX = ((1 << 18) - 1) * 8 };

#endif
