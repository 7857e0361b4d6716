/* The encoding of batches; the layout stands in batch.h. */
#include "base/batch.h"

#include "base/error.h"

#include "base/banned.h"

_Static_assert(BATCH_PUT == 0 && BATCH_DELETE == 1 && BATCH_REFERENCE == 2 && BATCH_DELETE_RANGE == 3 &&
                   BATCH_KIND_COUNT == 4,
               "kinds are stored in logs and runs: a new one needs a new number and a format version");

/* In each of its two callers by itself: what is not timed is not to ask for it. */
static inline __attribute__((always_inline)) plsm_status add(struct batch *batch, struct batch_change *change,
                                                             uint8_t keyspace)
{
    struct buf *bytes = &batch->bytes;
    size_t most = BATCH_CHANGE_BYTES + change->key.size + change->meta.size + change->value.size;
    if (__builtin_expect(bytes->capacity - bytes->size < most, 0))
        TRY(buf_reserve(bytes, most));
    bytes->size += batch_encode(bytes->data + bytes->size, keyspace, change);
    batch->count++;
    batch->ranges += change->kind == BATCH_DELETE_RANGE;
    if (change->value.size > batch->value_max)
        batch->value_max = change->value.size;
    return PLSM_OK;
}

plsm_status batch_add(struct batch *batch, enum batch_kind kind, uint8_t keyspace, plsm_slice key, plsm_slice meta,
                      plsm_slice value)
{
    INVARIANT(kind < BATCH_KIND_COUNT && meta.size <= UINT8_MAX);
    struct batch_change change = {.kind = kind, .key = key, .meta = meta, .value = value};
    return add(batch, &change, keyspace);
}

plsm_status batch_add_timed(struct batch *batch, enum batch_kind kind, uint8_t keyspace, plsm_slice key,
                            plsm_slice meta, plsm_slice value, uint64_t expires_s)
{
    INVARIANT((kind == BATCH_PUT || kind == BATCH_REFERENCE) && meta.size <= UINT8_MAX);
    struct batch_change change = {
        .kind = kind, .timed = true, .expires_s = expires_s, .key = key, .meta = meta, .value = value};
    return add(batch, &change, keyspace);
}

void batch_clear(struct batch *batch)
{
    batch->bytes.size = 0;
    batch->count = batch->ranges = 0;
    batch->value_max = 0;
}

void batch_free(struct batch *batch)
{
    buf_free(&batch->bytes);
    batch->count = batch->ranges = 0;
    batch->value_max = 0;
}

/* Reads a varint size and that many bytes; returns the byte behind them, or NULL when they are not there. */
static inline const uint8_t *get_sized(const uint8_t *from, const uint8_t *end, plsm_slice *bytes)
{
    uint64_t size = 0;
    from = get_varint(from, end, &size);
    if (!from || size > (uint64_t)(end - from))
        return NULL;
    *bytes = slice(from, (size_t)size);
    return from + size;
}

/* The same for a value with what BATCH_KEPT puts in front of it. */
static const uint8_t *get_kept(const uint8_t *from, const uint8_t *end, size_t key_size, plsm_slice *bytes)
{
    uint64_t size = 0, before = BATCH_KEPT_BYTES + key_size;
    from = get_varint(from, end, &size);
    if (!from || before > (uint64_t)(end - from) || size > (uint64_t)(end - from) - before)
        return NULL;
    *bytes = slice(from + before, (size_t)size);
    return from + before + size;
}

bool batch_next(const uint8_t **at, const uint8_t *end, struct batch_change *change)
{
    const uint8_t *from = *at;
    if (from == end)
        return false;
    enum batch_kind kind = (enum batch_kind) * from++;
    plsm_slice key = {0}, meta = {0}, value = {0};
    uint64_t expires_s = 0;
    bool timed = false, kept = false;
    if (__builtin_expect(kind >= BATCH_KIND_COUNT, 0)) {
        timed = kind & BATCH_TIMED;
        kept = kind & BATCH_KEPT;
        kind &= ~(unsigned)(BATCH_TIMED | BATCH_KEPT);
        if (kind != BATCH_PUT && (kept || kind != BATCH_REFERENCE))
            return false;
        from = timed ? get_varint(from, end, &expires_s) : from;
        if (!from)
            return false;
    }
    from = get_sized(from, end, &key);
    if (!from || key.size == 0) /* the keyspace byte is always there */
        return false;
    if (kind != BATCH_DELETE) {
        if (from == end || *from > (size_t)(end - from) - 1)
            return false;
        meta = slice(from + 1, *from);
        from =
            kept ? get_kept(from + 1 + meta.size, end, key.size, &value) : get_sized(from + 1 + meta.size, end, &value);
        if (!from)
            return false;
    }
    change->kind = kind;
    change->timed = timed;
    change->kept = kept;
    change->expires_s = expires_s;
    change->key = key;
    change->meta = meta;
    change->value = value;
    *at = from;
    return true;
}

enum { SMALL_BATCH_BYTES = 256 << 10 }; /* a rename of the largest value that is one entry is smaller */

bool batch_frees_space(const struct batch *batch)
{
    struct batch_change change;
    const uint8_t *at = batch->bytes.data, *end = at + batch->bytes.size;
    bool puts = false, deletes = false;
    while (batch_next(&at, end, &change)) {
        bool deletion = change.kind == BATCH_DELETE || change.kind == BATCH_DELETE_RANGE;
        puts |= !deletion;
        deletes |= deletion;
    }
    return !puts || (deletes && batch->bytes.size <= SMALL_BATCH_BYTES);
}
