/* The encoding of batches; the layout stands in batch.h. */
#include "base/batch.h"

#include "base/error.h"

#include "base/banned.h"

_Static_assert(BATCH_PUT == 0 && BATCH_DELETE == 1 && BATCH_REFERENCE == 2 && BATCH_DELETE_RANGE == 3 &&
                   BATCH_KIND_COUNT == 4,
               "kinds are stored in logs and runs: a new one needs a new number and a format version");

static uint8_t *put_bytes(uint8_t *to, plsm_slice bytes)
{
    copy_short(to, bytes.data, bytes.size);
    return to + bytes.size;
}

plsm_status batch_add(struct batch *batch, enum batch_kind kind, uint8_t keyspace, plsm_slice key, plsm_slice meta,
                      plsm_slice value)
{
    INVARIANT(kind < BATCH_KIND_COUNT && meta.size <= UINT8_MAX);
    size_t size = 1 + varint_size(key.size + 1) + 1 + key.size;
    if (kind != BATCH_DELETE)
        size += 1 + meta.size + varint_size(value.size) + value.size;
    TRY(buf_reserve(&batch->bytes, size));
    uint8_t *at = batch->bytes.data + batch->bytes.size;
    *at++ = (uint8_t)kind;
    at = put_varint(at, key.size + 1);
    *at++ = keyspace;
    at = put_bytes(at, key);
    if (kind != BATCH_DELETE) {
        *at++ = (uint8_t)meta.size;
        at = put_bytes(at, meta);
        at = put_varint(at, value.size);
        at = put_bytes(at, value);
    }
    INVARIANT(at == batch->bytes.data + batch->bytes.size + size);
    batch->bytes.size += size;
    batch->count++;
    batch->ranges += kind == BATCH_DELETE_RANGE;
    return PLSM_OK;
}

void batch_clear(struct batch *batch)
{
    batch->bytes.size = 0;
    batch->count = batch->ranges = 0;
}

void batch_free(struct batch *batch)
{
    buf_free(&batch->bytes);
    batch->count = batch->ranges = 0;
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

bool batch_next(const uint8_t **at, const uint8_t *end, struct batch_change *change)
{
    const uint8_t *from = *at;
    if (from == end || *from >= BATCH_KIND_COUNT)
        return false;
    enum batch_kind kind = (enum batch_kind) * from++;
    plsm_slice key = {0}, meta = {0}, value = {0};
    from = get_sized(from, end, &key);
    if (!from || key.size == 0) /* the keyspace byte is always there */
        return false;
    if (kind != BATCH_DELETE) {
        if (from == end || *from > (size_t)(end - from) - 1)
            return false;
        meta = slice(from + 1, *from);
        from = get_sized(from + 1 + meta.size, end, &value);
        if (!from)
            return false;
    }
    change->kind = kind;
    change->key = key;
    change->meta = meta;
    change->value = value;
    *at = from;
    return true;
}
