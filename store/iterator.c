/* Iterators: a range of one keyspace is a range of the tree whose keys all start with that byte. */
#include "base/alloc.h"
#include "base/bytes.h"
#include "store/internal.h"

#include "base/banned.h"

#define ITERATOR_MAGIC 0x69746572u

struct plsm_iterator {
    uint32_t magic;
    plsm_keyspace keyspace;
    const struct engine *engine;
    void *tree;
    struct engine_iterator *inner;
    bool no_value;
    /* The moment that is walked through. With no_value references under long keys are read again, at that moment: so an
     * iterator that was given no snapshot has one of its own. Else NULL. */
    const struct engine_snapshot *snapshot;
    struct engine_snapshot *own_snapshot;
    plsm_status status; /* of this layer: a key above the limit, a damaged reference */
    bool valid;
    struct engine_entry entry;
    uint64_t size, stored;
};

plsm_status plsm_iterator_create(plsm *db, const plsm_read_options *options, plsm_slice from, plsm_slice to,
                                 plsm_iterator **out)
{
    INVARIANT(db->magic == STORE_MAGIC);
    struct store_key first, last;
    plsm_keyspace keyspace = options_keyspace(options);
    TRY(bound_check(keyspace, from));
    TRY(bound_check(keyspace, to));
    key_join(&first, keyspace, from);
    /* An open end is where the next keyspace starts. */
    key_join(&last, to.size ? keyspace : keyspace + 1, to);
    plsm_iterator *it = mem_zalloc(sizeof *it);
    if (!it)
        return fail(PLSM_NO_MEMORY, "no memory for an iterator");
    it->magic = ITERATOR_MAGIC;
    it->keyspace = keyspace;
    it->engine = db->engine;
    it->tree = db->tree;
    it->no_value = options && options->no_value;
    it->snapshot = options_snapshot(options);
    plsm_status status = PLSM_OK;
    if (it->no_value && !it->snapshot) {
        it->snapshot = it->own_snapshot = db->engine->snapshot_create(db->tree);
        if (!it->snapshot)
            status = fail(PLSM_NO_MEMORY, "no memory for a snapshot");
    }
    if (status == PLSM_OK)
        status = db->engine->iterator_create(db->tree, it->snapshot, key_slice(&first), key_slice(&last), it->no_value,
                                             &it->inner);
    if (status) {
        plsm_iterator_destroy(it);
        return status;
    }
    *out = it;
    return PLSM_OK;
}

void plsm_iterator_destroy(plsm_iterator *it)
{
    if (!it)
        return;
    INVARIANT(it->magic == ITERATOR_MAGIC);
    it->engine->iterator_destroy(it->inner);
    if (it->own_snapshot)
        it->engine->snapshot_destroy(it->tree, it->own_snapshot);
    it->magic = 0;
    mem_free(it);
}

/* Finds the sizes of a large value. */
static plsm_status read_size(plsm_iterator *it)
{
    struct reference reference = {0};
    struct engine_value value = {0};
    plsm_status status = PLSM_OK;
    plsm_slice bytes = it->entry.value;
    if (it->no_value && it->entry.key.size > ENGINE_KEY_WHOLE) {
        status = it->engine->get(it->tree, it->snapshot, it->entry.key, false, &value);
        bytes = value.value;
    }
    if (status == PLSM_OK)
        status = reference_decode(bytes, &reference);
    it->size = reference.size;
    it->stored = stored_of(reference.extents, reference.size);
    engine_value_free(&value);
    return status;
}

/* After a move, which has found an entry or none. */
static inline void settle(plsm_iterator *it, bool found)
{
    it->status = PLSM_OK;
    it->valid = found;
    it->size = it->stored = it->entry.value.size;
    if (found && __builtin_expect(it->entry.kind == BATCH_REFERENCE, 0)) {
        it->status = read_size(it);
        it->valid = it->status == PLSM_OK;
    }
}

/* Joins a key to be sought; false when it is above the limit. */
static bool sought(plsm_iterator *it, plsm_slice key, struct store_key *out)
{
    it->status = bound_check(it->keyspace, key);
    if (it->status) {
        it->valid = false;
        return false;
    }
    key_join(out, it->keyspace, key);
    return true;
}

void plsm_iterator_first(plsm_iterator *it)
{
    settle(it, it->engine->iterator_first(it->inner, &it->entry));
}

void plsm_iterator_last(plsm_iterator *it)
{
    settle(it, it->engine->iterator_last(it->inner, &it->entry));
}

void plsm_iterator_seek(plsm_iterator *it, plsm_slice key)
{
    struct store_key whole;
    if (!sought(it, key, &whole))
        return;
    settle(it, it->engine->iterator_seek(it->inner, key_slice(&whole), &it->entry));
}

void plsm_iterator_seek_before(plsm_iterator *it, plsm_slice key)
{
    struct store_key whole;
    if (!sought(it, key, &whole))
        return;
    settle(it, it->engine->iterator_seek_before(it->inner, key_slice(&whole), &it->entry));
}

void plsm_iterator_next(plsm_iterator *it)
{
    if (!it->valid)
        return;
    settle(it, it->engine->iterator_next(it->inner, &it->entry));
}

void plsm_iterator_previous(plsm_iterator *it)
{
    if (!it->valid)
        return;
    settle(it, it->engine->iterator_previous(it->inner, &it->entry));
}

bool plsm_iterator_valid(const plsm_iterator *it)
{
    return it->valid;
}

plsm_status plsm_iterator_status(const plsm_iterator *it)
{
    return it->status ? it->status : it->engine->iterator_status(it->inner);
}

plsm_slice plsm_iterator_key(const plsm_iterator *it)
{
    return slice((const uint8_t *)it->entry.key.data + 1, it->entry.key.size - 1);
}

plsm_slice plsm_iterator_value(const plsm_iterator *it)
{
    return it->no_value || it->entry.kind == BATCH_REFERENCE ? slice(NULL, 0) : it->entry.value;
}

plsm_slice plsm_iterator_meta(const plsm_iterator *it)
{
    return it->entry.meta;
}

uint64_t plsm_iterator_size(const plsm_iterator *it)
{
    return it->size;
}

uint64_t plsm_iterator_stored(const plsm_iterator *it)
{
    return it->stored;
}

bool plsm_iterator_large(const plsm_iterator *it)
{
    return it->entry.kind == BATCH_REFERENCE;
}
