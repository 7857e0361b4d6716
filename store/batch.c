/* Collecting a batch. Plain changes are encoded at once in the form that the log takes; moves, changes of meta and
 * conditions wait until the batch is written (resolve.c). */
#include "store/batch.h"

#include "base/alloc.h"
#include "store/shared.h"

#include "base/banned.h"

plsm_batch *plsm_batch_create(void)
{
    plsm_batch *batch = mem_zalloc(sizeof *batch);
    if (!batch) {
        fail(PLSM_NO_MEMORY, "no memory for a batch");
        return NULL;
    }
    batch->magic = BATCH_MAGIC;
    return batch;
}

void plsm_batch_destroy(plsm_batch *batch)
{
    if (!batch)
        return;
    INVARIANT(batch->magic == BATCH_MAGIC);
    batch_free(&batch->changes);
    buf_free(&batch->specials);
    buf_free(&batch->conditions);
    buf_free(&batch->bytes);
    batch->magic = 0;
    mem_free(batch);
}

void plsm_batch_clear(plsm_batch *batch)
{
    INVARIANT(batch->magic == BATCH_MAGIC);
    batch_clear(&batch->changes);
    batch->specials.size = batch->conditions.size = batch->bytes.size = 0;
    batch->names = batch->links = false;
}

size_t plsm_batch_count(const plsm_batch *batch)
{
    return batch->changes.count + batch_special_count(batch);
}

size_t plsm_batch_bytes(const plsm_batch *batch)
{
    return batch->changes.bytes.size + batch->bytes.size;
}

/* Room for one change more with `size` bytes of key, meta and value. */
static plsm_status check_room(const plsm_batch *batch, size_t size)
{
    INVARIANT(batch->magic == BATCH_MAGIC);
    enum { OVERHEAD = 2 + 3 * VARINT_SIZE_MAX };
    if (plsm_batch_bytes(batch) + size + OVERHEAD > PLSM_BATCH_MAX)
        return fail(PLSM_TOO_LARGE, "a batch holds at most %llu bytes; write it in parts",
                    (unsigned long long)PLSM_BATCH_MAX);
    if (plsm_batch_count(batch) == UINT32_MAX)
        return fail(PLSM_TOO_LARGE, "a batch holds at most %u changes; write it in parts", UINT32_MAX);
    return PLSM_OK;
}

static plsm_status check_meta(plsm_slice meta)
{
    if (meta.size > PLSM_META_MAX)
        return fail(PLSM_TOO_LARGE, "meta of %zu bytes: the limit is %u", meta.size, PLSM_META_MAX);
    return PLSM_OK;
}

static plsm_status check_value(plsm_slice value)
{
    if (value.size > PLSM_INLINE_MAX)
        return fail(
            PLSM_TOO_LARGE,
            "a value of %zu bytes: in a batch and in a bulk load the limit is %u; use plsm_put or plsm_edit_open",
            value.size, PLSM_INLINE_MAX);
    return PLSM_OK;
}

plsm_status batch_check_entry(plsm_slice meta, plsm_slice value)
{
    TRY(check_meta(meta));
    return check_value(value);
}

plsm_status plsm_batch_put(plsm_batch *batch, plsm_keyspace keyspace, plsm_slice key, plsm_slice meta, plsm_slice value)
{
    TRY(key_check_public(keyspace, key));
    TRY(batch_check_entry(meta, value));
    TRY(check_room(batch, key.size + meta.size + value.size));
    TRY(batch_add(&batch->changes, BATCH_PUT, (uint8_t)keyspace, key, meta, value));
    batch->names |= keyspace == PLSM_NAMES;
    return PLSM_OK;
}

plsm_status plsm_batch_put_expiring(plsm_batch *batch, plsm_slice key, plsm_slice meta, plsm_slice value,
                                    uint64_t expires_s)
{
    TRY(key_check_public(PLSM_NAMES, key));
    TRY(batch_check_entry(meta, value));
    TRY(check_room(batch, key.size + meta.size + value.size));
    TRY(batch_add_timed(&batch->changes, BATCH_PUT, PLSM_NAMES, key, meta, value, expires_s));
    batch->names = true;
    return PLSM_OK;
}

plsm_status plsm_batch_delete(plsm_batch *batch, plsm_keyspace keyspace, plsm_slice key)
{
    TRY(key_check_public(keyspace, key));
    TRY(check_room(batch, key.size));
    TRY(batch_add(&batch->changes, BATCH_DELETE, (uint8_t)keyspace, key, slice(NULL, 0), slice(NULL, 0)));
    batch->names |= keyspace == PLSM_NAMES;
    return PLSM_OK;
}

plsm_status plsm_batch_delete_range(plsm_batch *batch, plsm_keyspace keyspace, plsm_slice from, plsm_slice to)
{
    struct store_key end;
    TRY(bound_check(keyspace, from));
    TRY(bound_check(keyspace, to));
    if (from.size == 0)
        from = slice("", 1); /* the least key there can be */
    TRY(key_check_public(keyspace, from));
    if (to.size > 0 && slice_compare(from, to) >= 0)
        return PLSM_OK;
    /* An open end is where the next keyspace starts. */
    key_join(&end, to.size ? keyspace : keyspace + 1, to);
    TRY(check_room(batch, from.size + end.size));
    TRY(batch_add(&batch->changes, BATCH_DELETE_RANGE, (uint8_t)keyspace, from, slice(NULL, 0), key_slice(&end)));
    batch->names |= keyspace == PLSM_NAMES;
    return PLSM_OK;
}

static plsm_status add_special(plsm_batch *batch, enum special_kind kind, plsm_slice first, plsm_slice second)
{
    TRY(check_room(batch, first.size + second.size));
    TRY(buf_reserve(&batch->bytes, first.size + second.size));
    struct special special = {
        .kind = kind,
        .position = batch->changes.count,
        .first = batch->bytes.size,
        .second = batch->bytes.size + first.size,
        .first_size = (uint32_t)first.size,
        .second_size = (uint32_t)second.size,
    };
    TRY(buf_append(&batch->specials, &special, sizeof special));
    INVARIANT(buf_append(&batch->bytes, first.data, first.size) == PLSM_OK); /* room was reserved */
    INVARIANT(buf_append(&batch->bytes, second.data, second.size) == PLSM_OK);
    return PLSM_OK;
}

plsm_status plsm_batch_move(plsm_batch *batch, plsm_slice from, plsm_slice to)
{
    TRY(key_check_public(PLSM_NAMES, from));
    TRY(key_check_public(PLSM_NAMES, to));
    return add_special(batch, SPECIAL_MOVE, from, to);
}

plsm_status plsm_batch_set_meta(plsm_batch *batch, plsm_slice key, plsm_slice meta)
{
    TRY(key_check_public(PLSM_NAMES, key));
    TRY(check_meta(meta));
    return add_special(batch, SPECIAL_SET_META, key, meta);
}

/* Adds a change of a shared value: `second` is its identifier and then `meta`. */
static plsm_status add_shared(plsm_batch *batch, enum special_kind kind, plsm_slice key, uint64_t shared,
                              plsm_slice meta)
{
    uint8_t second[SPECIAL_ID_SIZE + SHARED_META_MAX];
    if (shared == 0)
        return fail(PLSM_INVALID, "no shared value has the identifier 0: take one from plsm_new_id");
    if (meta.size > SHARED_META_MAX)
        return fail(PLSM_TOO_LARGE, "meta of %zu bytes: the limit of a shared value is %d", meta.size, SHARED_META_MAX);
    put_u64(second, shared);
    if (meta.size)
        memcpy(second + SPECIAL_ID_SIZE, meta.data, meta.size);
    return add_special(batch, kind, key, slice(second, SPECIAL_ID_SIZE + meta.size));
}

plsm_status plsm_batch_share(plsm_batch *batch, plsm_slice key, uint64_t shared)
{
    TRY(key_check_public(PLSM_NAMES, key));
    TRY(add_shared(batch, SPECIAL_SHARE, key, shared, slice(NULL, 0)));
    batch->links = true;
    return PLSM_OK;
}

plsm_status plsm_batch_link(plsm_batch *batch, uint64_t shared, plsm_slice key, plsm_slice meta)
{
    TRY(key_check_public(PLSM_NAMES, key));
    TRY(add_shared(batch, SPECIAL_LINK, key, shared, meta));
    batch->links = true;
    return PLSM_OK;
}

plsm_status plsm_batch_set_meta_shared(plsm_batch *batch, uint64_t shared, plsm_slice meta)
{
    return add_shared(batch, SPECIAL_SET_META_SHARED, slice(NULL, 0), shared, meta);
}

static plsm_status add_condition(plsm_batch *batch, enum condition_kind kind, plsm_keyspace keyspace, plsm_slice key,
                                 plsm_slice value)
{
    TRY(key_check(keyspace, key));
    TRY(check_value(value));
    TRY(check_room(batch, key.size + value.size));
    TRY(buf_reserve(&batch->bytes, key.size + value.size));
    struct batch_condition added = {
        .kind = kind,
        .keyspace = (uint8_t)keyspace,
        .key_size = (uint32_t)key.size,
        .value_size = (uint32_t)value.size,
        .key = batch->bytes.size,
        .value = batch->bytes.size + key.size,
    };
    TRY(buf_append(&batch->conditions, &added, sizeof added));
    INVARIANT(buf_append(&batch->bytes, key.data, key.size) == PLSM_OK); /* room was reserved */
    INVARIANT(buf_append(&batch->bytes, value.data, value.size) == PLSM_OK);
    return PLSM_OK;
}

plsm_status plsm_batch_if_absent(plsm_batch *batch, plsm_keyspace keyspace, plsm_slice key)
{
    return add_condition(batch, CONDITION_ABSENT, keyspace, key, slice(NULL, 0));
}

plsm_status plsm_batch_if_equal(plsm_batch *batch, plsm_keyspace keyspace, plsm_slice key, plsm_slice value)
{
    return add_condition(batch, CONDITION_EQUAL, keyspace, key, value);
}

void plsm_batch_each(const plsm_batch *batch, void (*each)(void *arg, const plsm_change *change), void *arg)
{
    const uint8_t *at = batch->changes.bytes.data, *end = at + batch->changes.bytes.size;
    struct batch_change change;
    while (batch_next(&at, end, &change)) {
        const uint8_t *key = change.key.data, *to = change.value.data;
        plsm_change out = {.keyspace = key[0], .key = slice(key + 1, change.key.size - 1)};
        out.deletes = change.kind == BATCH_DELETE || change.kind == BATCH_DELETE_RANGE;
        out.is_range = change.kind == BATCH_DELETE_RANGE;
        if (out.is_range)
            out.to = slice(to + 1, change.value.size - 1);
        each(arg, &out);
    }
}
