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
    struct engine_iterator *inner;
    plsm_status status; /* of this layer: a key above the limit, a damaged reference */
    bool valid;
    struct engine_entry entry;
    uint64_t size;
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
    plsm_status status = db->engine->iterator_create(db->tree, options_snapshot(options), key_slice(&first),
                                                     key_slice(&last), &it->inner);
    if (status) {
        mem_free(it);
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
    it->magic = 0;
    mem_free(it);
}

/* Looks at where the inner iterator has come to stand. */
static void settle(plsm_iterator *it)
{
    it->status = PLSM_OK;
    it->valid = it->engine->iterator_valid(it->inner);
    if (!it->valid)
        return;
    it->engine->iterator_entry(it->inner, &it->entry);
    it->size = it->entry.value.size;
    if (it->entry.kind == BATCH_REFERENCE) {
        struct reference reference;
        it->status = reference_decode(it->entry.value, &reference);
        it->valid = it->status == PLSM_OK;
        it->size = reference.size;
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
    it->engine->iterator_first(it->inner);
    settle(it);
}

void plsm_iterator_last(plsm_iterator *it)
{
    it->engine->iterator_last(it->inner);
    settle(it);
}

void plsm_iterator_seek(plsm_iterator *it, plsm_slice key)
{
    struct store_key whole;
    if (!sought(it, key, &whole))
        return;
    it->engine->iterator_seek(it->inner, key_slice(&whole));
    settle(it);
}

void plsm_iterator_seek_before(plsm_iterator *it, plsm_slice key)
{
    struct store_key whole;
    if (!sought(it, key, &whole))
        return;
    it->engine->iterator_seek_before(it->inner, key_slice(&whole));
    settle(it);
}

void plsm_iterator_next(plsm_iterator *it)
{
    if (!it->valid)
        return;
    it->engine->iterator_next(it->inner);
    settle(it);
}

void plsm_iterator_previous(plsm_iterator *it)
{
    if (!it->valid)
        return;
    it->engine->iterator_previous(it->inner);
    settle(it);
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
    return it->entry.kind == BATCH_REFERENCE ? slice(NULL, 0) : it->entry.value;
}

plsm_slice plsm_iterator_meta(const plsm_iterator *it)
{
    return it->entry.meta;
}

uint64_t plsm_iterator_size(const plsm_iterator *it)
{
    return it->size;
}

bool plsm_iterator_large(const plsm_iterator *it)
{
    return it->entry.kind == BATCH_REFERENCE;
}
