/* A batch: a list of changes that are made together or not at all. Its encoding is also the payload of a log record, so
 * that a batch goes from the caller to the log without being copied into another form.
 *
 * Encoding, one change after another:
 *   u8      kind (enum batch_kind), with BATCH_TIMED where the change says itself when what it puts expires, and in
 *           logs with BATCH_KEPT where the value is to be read from there
 *   varint  with BATCH_TIMED: that time, seconds since 1970; 0: never
 *   varint  key size, then the key: the keyspace byte, then the user's key
 *   for all but deletions of one key:
 *   u8      meta size, then meta
 *   varint  value size, then the value; with BATCH_KEPT between the two BATCH_KEPT_BYTES and the key once more, which
 *           make the value a record that can be read and verified by itself (lsm/value_log.c)
 *
 * A deletion of a range has the first key of the range as its key, no meta, and as its value the key at which the range
 * ends, exclusive, with its keyspace byte: the same one, or the next one alone for all that is left of the keyspace. */
#ifndef BASE_BATCH_H
#define BASE_BATCH_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"

/* Stored in logs and runs: values must not change. */
enum batch_kind {
    BATCH_PUT = 0,
    BATCH_DELETE = 1,
    BATCH_REFERENCE = 2, /* a put whose value is a reference to content kept elsewhere (store/value.h) */
    BATCH_DELETE_RANGE = 3, /* in batches and logs only: runs keep ranges apart (lsm/tombstones.h) */
    BATCH_KIND_COUNT
};

enum {
    BATCH_TIMED = 16, /* beside BATCH_PUT and BATCH_REFERENCE only */
    BATCH_KEPT = 32,  /* beside BATCH_PUT only, in logs of format version 4 on; never in a batch that a caller makes */
    BATCH_KEPT_BYTES = 24,
};

struct batch {
    struct buf bytes;
    uint32_t count; /* changes */
    uint32_t ranges; /* deletions of ranges among them */
    size_t value_max; /* size of the largest value */
    /* In front of and behind its bytes there is room that whoever logs it may write to: a record is made around them
     * then, without a copy. Never of what grows. */
    bool roomy;
};
enum { BATCH_ROOM_BEFORE = 32, BATCH_ROOM_BEHIND = 8 };

struct batch_change {
    enum batch_kind kind;
    bool timed;         /* it says when it expires, or that it never does */
    bool kept;          /* BATCH_KEPT: BATCH_KEPT_BYTES and the key stand in front of the value */
    uint64_t expires_s; /* since 1970; 0: never */
    plsm_slice key, meta, value; /* into the batch's bytes */
};

/* Appends one change. The key is given in two parts so that callers need not join the keyspace byte and the user's key.
 * Limits are the caller's to check. PLSM_NO_MEMORY leaves the batch as it was. Where it has room for BATCH_CHANGE_BYTES
 * and the bytes of key, meta and value its bytes are not moved, so that these may lie in it. */
plsm_status batch_add(struct batch *batch, enum batch_kind kind, uint8_t keyspace, plsm_slice key, plsm_slice meta,
                      plsm_slice value);
/* The same for a put or a reference that expires at a second since 1970 (0: never, whatever the store does with puts
 * that do not say). */
plsm_status batch_add_timed(struct batch *batch, enum batch_kind kind, uint8_t keyspace, plsm_slice key,
                            plsm_slice meta, plsm_slice value, uint64_t expires_s);
/* The encoding of one change of any kind, to where there is room for BATCH_CHANGE_BYTES and the bytes of key, meta and
 * value. The key of *change is the user's; afterwards *change is what batch_next tells of the encoding. Returns the
 * size. Inline: what callers know of a change beforehand costs nothing. */
enum { BATCH_CHANGE_BYTES = 3 + 3 * VARINT_SIZE_MAX }; /* kind, keyspace, size of meta, and the three numbers */
static inline __attribute__((always_inline)) size_t batch_encode(uint8_t *to, uint8_t keyspace,
                                                                 struct batch_change *change)
{
    uint8_t *at = to;
    *at++ = (uint8_t)(change->kind | (change->timed ? BATCH_TIMED : 0));
    if (change->timed)
        at = put_varint(at, change->expires_s);
    at = put_varint(at, change->key.size + 1);
    *at++ = keyspace;
    copy_short(at, change->key.data, change->key.size);
    change->key = slice(at - 1, change->key.size + 1);
    at += change->key.size - 1;
    if (change->kind == BATCH_DELETE)
        return (size_t)(at - to);
    *at++ = (uint8_t)change->meta.size;
    copy_short(at, change->meta.data, change->meta.size);
    change->meta.data = at;
    at = put_varint(at + change->meta.size, change->value.size);
    copy_short(at, change->value.data, change->value.size);
    change->value.data = at;
    return (size_t)(at - to) + change->value.size;
}
void batch_clear(struct batch *batch); /* empties it, keeps its memory */
void batch_free(struct batch *batch);

/* Walks an encoded batch: *at starts at bytes.data; returns true and fills *change while there is one, and moves *at
 * behind it. Returns false at the end, with *at == end, or with *at < end when the bytes are not a batch. */
bool batch_next(const uint8_t **at, const uint8_t *end, struct batch_change *change);

/* The same for what most changes are: a put without meta, of a short key, that does not say when it expires. Inline,
 * for who passes on at once what it is told: had that been written to memory as pieces, it would take longer to read it
 * from there as a whole than to decode it. False: it is no such put, or the end; nothing has moved, ask batch_next. */
static inline bool batch_next_put(const uint8_t **at, const uint8_t *end, plsm_slice *key, plsm_slice *value)
{
    const uint8_t *from = *at;
    size_t left = (size_t)(end - from), key_size = left > 2 ? from[1] : 0;
    uint64_t value_size = 0;
    if (key_size - 1 >= 127 || from[0] != BATCH_PUT || left < 4 + key_size || from[2 + key_size] != 0)
        return false;
    const uint8_t *bytes = get_varint(from + 3 + key_size, end, &value_size);
    if (!bytes || value_size > (uint64_t)(end - bytes))
        return false;
    *key = slice(from + 2, key_size);
    *value = slice(bytes, (size_t)value_size);
    *at = bytes + value_size;
    return true;
}

/* Whether a batch may be written where space is low. Deleting takes space first (a log record, later a file), so
 * engines keep some for it: without that a full disk could never be emptied again. Deletions pass, and small batches
 * with a deletion in them (a rename is one). */
bool batch_frees_space(const struct batch *batch);

#endif
