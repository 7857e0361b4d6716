/* Iterators: a range of one keyspace is a range of the tree whose keys all start with that byte. */
#include <stddef.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "store/shared.h"

#include "base/banned.h"

#define ITERATOR_MAGIC 0x69746572u

/* Few at first: most iterators take few steps. */
enum { AHEAD_MIN = 4, AHEAD_MAX = 32, MISSES_MAX = 16 };

struct plsm_iterator {
    uint32_t magic;
    plsm_keyspace keyspace;
    plsm *db;
    const struct engine *engine;
    void *tree;
    struct engine_iterator *inner;
    bool no_value;
    /* The moment that is walked through. With no_value references under long keys are read again at that moment, and
     * what links stand for is always: so an iterator that was given no snapshot has one of its own, with no_value or
     * while there may be references. Else NULL. */
    const struct engine_snapshot *snapshot;
    struct engine_snapshot *own_snapshot;
    plsm_status status; /* of this layer: a key above the limit, a damaged reference */
    bool valid;
    struct engine_entry entry;
    uint64_t size, stored;
    struct sharing sharing;     /* of an entry that is a link; then meta, value and kind of `entry` are */
    struct engine_value shared; /* those of this shared value */
    /* What the engine gave ahead: after a few steps forward one call of it serves many. */
    unsigned ahead_at, ahead_count; /* the next one; behind the last */
    unsigned ahead_most;            /* to ask for next */
    unsigned misses, pause;         /* how often it gave nothing, in a row; steps in which it is not asked */
    struct key_value ahead[AHEAD_MAX];
};

static plsm_status take_snapshot(plsm_iterator *it)
{
    it->snapshot = it->own_snapshot = it->engine->snapshot_create(it->tree);
    return it->snapshot ? PLSM_OK : fail(PLSM_NO_MEMORY, "no memory for a snapshot");
}

static plsm_status open_inner(plsm_iterator *it, plsm_slice first, plsm_slice last)
{
    plsm *db = it->db;
    bool references = atomic_load(&db->references) || db->read_only;
    if (!it->snapshot && (it->no_value || references))
        TRY(take_snapshot(it));
    TRY(it->engine->iterator_create(it->tree, it->snapshot, first, last, it->no_value, &it->inner));
    if (it->snapshot || !atomic_load(&db->references))
        return PLSM_OK; /* the flag is set before the first link is written: there is none at this iterator's moment */
    it->engine->iterator_destroy(it->inner);
    it->inner = NULL;
    TRY(take_snapshot(it));
    return it->engine->iterator_create(it->tree, it->snapshot, first, last, it->no_value, &it->inner);
}

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
    plsm_iterator *it = mem_alloc(sizeof *it);
    if (!it)
        return fail(PLSM_NO_MEMORY, "no memory for an iterator");
    memset(it, 0, offsetof(plsm_iterator, ahead));
    it->magic = ITERATOR_MAGIC;
    it->keyspace = keyspace;
    it->db = db;
    it->engine = db->engine;
    it->tree = db->tree;
    it->no_value = options && options->no_value;
    it->snapshot = options_snapshot(options);
    plsm_status status = open_inner(it, key_slice(&first), key_slice(&last));
    if (status) {
        plsm_iterator_destroy(it);
        return status;
    }
    *out = it;
    return PLSM_OK;
}

/* Forgets what was given ahead and not shown. The engine's iterator stands behind that, so it must be placed anew, or
 * not be used any more. */
static void drop_ahead(plsm_iterator *it)
{
    if (it->ahead_at < it->ahead_count)
        it->engine->iterator_unused(it->inner, it->ahead_count - it->ahead_at);
    it->ahead_at = it->ahead_count = 0;
    it->ahead_most = AHEAD_MIN;
}

void plsm_iterator_destroy(plsm_iterator *it)
{
    if (!it)
        return;
    INVARIANT(it->magic == ITERATOR_MAGIC);
    drop_ahead(it);
    it->engine->iterator_destroy(it->inner);
    if (it->own_snapshot)
        it->engine->snapshot_destroy(it->tree, it->own_snapshot);
    engine_value_free(&it->shared);
    it->magic = 0;
    mem_free(it);
}

/* Takes the shared value in place of the link to it. */
static plsm_status follow(plsm_iterator *it, uint64_t id)
{
    plsm_status status = shared_get(it->db, it->snapshot, id, it->no_value, &it->shared, &it->sharing);
    if (status != PLSM_OK)
        return status == PLSM_NOT_FOUND ? shared_missing(id) : status;
    it->entry.kind = it->shared.kind;
    it->entry.meta = it->shared.meta;
    it->entry.value = it->shared.value;
    it->size = it->stored = it->shared.value_size;
    return PLSM_OK;
}

/* Finds the size of a large value, and what a link stands for. */
static plsm_status read_reference(plsm_iterator *it)
{
    struct reference reference = {0};
    struct engine_value value = {0};
    plsm_status status = PLSM_OK;
    plsm_slice bytes = it->entry.value;
    if (it->no_value && it->entry.key.size > ENGINE_KEY_WHOLE) {
        status = it->engine->get_any(it->tree, it->snapshot, it->entry.key, false, &value);
        bytes = value.value;
    }
    if (status == PLSM_OK && is_link(bytes)) {
        status = follow(it, link_decode(bytes));
        bytes = it->entry.value;
    }
    if (status == PLSM_OK && it->entry.kind == BATCH_REFERENCE) {
        status = reference_decode(bytes, &reference);
        it->size = reference.size;
        it->stored = stored_of(reference.extents, reference.size);
    }
    engine_value_free(&value);
    return status;
}

/* After a move, which has found an entry or none. */
static inline void settle(plsm_iterator *it, bool found)
{
    it->status = PLSM_OK;
    it->valid = found;
    it->size = it->stored = it->entry.value.size;
    it->sharing.id = 0;
    if (found && __builtin_expect(it->entry.kind == BATCH_REFERENCE, 0)) {
        it->status = read_reference(it);
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
    drop_ahead(it);
    settle(it, it->engine->iterator_first(it->inner, &it->entry));
}

void plsm_iterator_last(plsm_iterator *it)
{
    drop_ahead(it);
    settle(it, it->engine->iterator_last(it->inner, &it->entry));
}

void plsm_iterator_seek(plsm_iterator *it, plsm_slice key)
{
    struct store_key whole;
    drop_ahead(it);
    if (!sought(it, key, &whole))
        return;
    settle(it, it->engine->iterator_seek(it->inner, key_slice(&whole), &it->entry));
}

void plsm_iterator_seek_before(plsm_iterator *it, plsm_slice key)
{
    struct store_key whole;
    drop_ahead(it);
    if (!sought(it, key, &whole))
        return;
    settle(it, it->engine->iterator_seek_before(it->inner, key_slice(&whole), &it->entry));
}

static inline void show_ahead(plsm_iterator *it)
{
    const struct key_value *next = &it->ahead[it->ahead_at++];
    it->entry.key = next->key;
    it->entry.value = next->value;
    it->size = it->stored = next->value.size;
}

/* Asks the engine for entries ahead, and shows the first; false: it has none to give. */
static bool look_ahead(plsm_iterator *it)
{
    if (!it->engine->iterator_ahead || it->pause > 0) {
        it->pause -= it->pause > 0;
        return false;
    }
    it->ahead_at = 0;
    it->ahead_count = (unsigned)it->engine->iterator_ahead(it->inner, it->ahead, it->ahead_most);
    if (it->ahead_count == 0) { /* once is what the end of a page costs */
        it->pause = it->misses;
        it->misses += it->misses < MISSES_MAX;
        return false;
    }
    it->misses = 0;
    it->ahead_most = it->ahead_most < AHEAD_MAX ? 2 * it->ahead_most : AHEAD_MAX;
    it->entry = (struct engine_entry){.kind = BATCH_PUT};
    it->status = PLSM_OK;
    it->sharing.id = 0;
    show_ahead(it);
    return true;
}

void plsm_iterator_next(plsm_iterator *it)
{
    if (__builtin_expect(it->ahead_at < it->ahead_count, 1)) {
        show_ahead(it);
        return;
    }
    if (!it->valid || look_ahead(it))
        return;
    settle(it, it->engine->iterator_next(it->inner, &it->entry));
}

void plsm_iterator_previous(plsm_iterator *it)
{
    struct store_key shown;
    if (!it->valid)
        return;
    if (it->ahead_at == it->ahead_count) {
        settle(it, it->engine->iterator_previous(it->inner, &it->entry));
        return;
    }
    shown.size = it->entry.key.size;
    memcpy(shown.bytes, it->entry.key.data, shown.size);
    drop_ahead(it);
    settle(it, it->engine->iterator_seek_before(it->inner, key_slice(&shown), &it->entry));
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

uint32_t plsm_iterator_names(const plsm_iterator *it)
{
    return it->sharing.id ? it->sharing.names : 1;
}

uint64_t plsm_iterator_shared(const plsm_iterator *it)
{
    return it->sharing.id;
}

uint64_t plsm_iterator_expires(const plsm_iterator *it)
{
    return it->entry.expires_s;
}
