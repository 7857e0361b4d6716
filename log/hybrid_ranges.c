/* Deletions of ranges, which become deletions of keys. */
#include "log/hybrid_private.h"

#include "base/banned.h"

static plsm_slice behind_keyspace(plsm_slice key)
{
    return slice((const uint8_t *)key.data + 1, key.size - 1);
}

static plsm_status add_deletion(struct batch *out, plsm_slice key)
{
    return batch_add(out, BATCH_DELETE, *(const uint8_t *)key.data, behind_keyspace(key), slice(NULL, 0),
                     slice(NULL, 0));
}

/* Deletes what is there, and what the batch itself has put before. */
static plsm_status expand_range(struct hybrid *db, const struct batch_change *range, struct batch *out)
{
    struct hybrid_iterator *it = NULL;
    size_t before = out->bytes.size;
    if (slice_compare(range->key, range->value) >= 0)
        return PLSM_OK;
    for (size_t offset = 0; offset < before;) { /* the bytes move when more are added */
        const uint8_t *at = out->bytes.data + offset;
        struct batch_change change;
        INVARIANT(batch_next(&at, out->bytes.data + before, &change));
        offset = (size_t)(at - out->bytes.data);
        if (change.kind != BATCH_DELETE && slice_compare(change.key, range->key) >= 0 &&
            slice_compare(change.key, range->value) < 0) {
            uint8_t key[HYBRID_KEY_MAX];
            memcpy(key, change.key.data, change.key.size);
            TRY(add_deletion(out, slice(key, change.key.size)));
        }
    }
    TRY(hybrid_iterator_create(db, NULL, range->key, range->value, true, &it));
    hybrid_iterator_show_expired(it);
    plsm_status status = PLSM_OK;
    for (const struct hybrid_entry *entry = hybrid_iterator_first(it); entry && status == PLSM_OK;
         entry = hybrid_iterator_next(it))
        status = add_deletion(out, entry->key);
    if (status == PLSM_OK)
        status = hybrid_iterator_status(it);
    hybrid_iterator_destroy(it);
    return status;
}

plsm_status hybrid_expand_ranges(struct hybrid *db, const struct batch *batch, struct batch *out)
{
    const uint8_t *at = batch->bytes.data, *end = at + batch->bytes.size;
    struct batch_change change;
    while (batch_next(&at, end, &change)) {
        uint8_t keyspace = *(const uint8_t *)change.key.data;
        plsm_slice key = behind_keyspace(change.key);
        if (change.kind == BATCH_DELETE_RANGE)
            TRY(expand_range(db, &change, out));
        else if (change.timed)
            TRY(batch_add_timed(out, change.kind, keyspace, key, change.meta, change.value, change.expires_s));
        else
            TRY(batch_add(out, change.kind, keyspace, key, change.meta, change.value));
    }
    return PLSM_OK;
}
