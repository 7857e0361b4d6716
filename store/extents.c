/* Large values: how they lie in the tree, and why no crash and no other edit can spoil one.
 *
 * Keys and values (be64: big-endian, so that they sort as numbers):
 *
 *   keyspace    key                                      value
 *   names       the user's key                           kind BATCH_REFERENCE: struct reference (value.h); meta as
 *                                                        usual
 *   inodes      be64 id                                  the same reference: what is published of this id
 *   extents     be64 id, be64 index, be64 ~generation    bytes [index * 128 KiB, ...) of the value, at most 128 KiB;
 *                                                        what is missing at the end of a piece, or a whole piece, is
 *                                                        zeros
 *   internal    "\0edit", be64 id, be64 generation       u64: no piece of that generation has a lower index
 *   internal    "\0orphan", be64 id                      the reference that was published last
 *
 * Ids and generations come from one counter (plsm_new_id): each is given once, and later ones are larger. ~generation
 * makes the newest piece of an index the first one, so a seek to (id, index, ~published) finds the newest published
 * one.
 *
 * The life of a value. An edit (edit.c) writes pieces under a generation of its own, never under a published one:
 *   fresh     the value is new, was small, or was truncated to nothing: a new id, which nothing refers to yet;
 *   in place  the id of the published value, of which the pieces that are not written again stay as they are.
 * The marker of the edit is in the same batch as its first piece. Commit is one atomic batch: the name and the record
 * get the new reference; the pieces that were rewritten or truncated away are deleted; the marker is deleted. Removing
 * the last reference (delete, overwriting, a move onto the key) deletes the record and puts the orphan's marker in the
 * same batch; afterwards the pieces are deleted in batches of bounded size, the marker with the last.
 *
 * What must never happen is that a reader takes a piece that was not published for the value it reads. Claim: in every
 * state of the tree (and so in every snapshot, and after every crash, since the tree keeps a prefix of its batches), if
 * a published reference (id, g) exists, then for each index the newest piece with a generation <= g is the published
 * one, or there is none and the index is a hole. Proof, by induction over the batches:
 *   1. Only the edit that owns an id (owners.c: at most one) writes pieces of it, under one generation h at a time,
 *      fresh from the counter, hence h > g for every g published before. Others that want to write copy to a fresh id.
 *   2. Taking an owned id: after taking it the edit reads the record in the newest state and goes on only when it still
 *      is the reference it was opened on. Publishing an id and deleting its record happen in the batches of its owner,
 *      or in a batch that makes it an orphan. So while it is owned, the record either stays or is gone for good.
 *   3. Pieces of h are invisible to readers of g < h. They end in one of three ways: (a) commit publishes h, and the
 *      same batch deletes all older pieces of the indices that h has or that lie behind the new end, so the claim holds
 *      for h; (b) the edit is closed: they are deleted before the id is given up, so the next owner starts clean; when
 *      deleting fails, the id is tainted and has no owner any more until the next open; (c) a crash: the marker was
 *      written with or before the first of them, and is still there, as only (a) and (b) delete it; the next writable
 *      open deletes every piece of (id, h) before it lets anybody write.
 *   So whenever an id is taken, all its pieces are <= its published generation and all are published; later generations
 *   are larger than any that were abandoned, and none of those is left.
 *   4. A commit in place is refused, under the engine's write serialisation, when the key does not refer to the id any
 *      more (it was moved, deleted or overwritten): then the edit copies what it has to a fresh id. So no two names
 * ever share an id.
 *   5. Retiring: pieces <= the retired generation are deleted, so a running edit's are not; and while the id is owned,
 *      that waits for its owner (its base stays readable). So there are none of a running edit by then, and the pieces
 *      of a very large value may go by a deletion of all that is under the id. Other readers hold a snapshot, in which
 *      pieces are entries like all others.
 * Nothing leaks: a piece belongs to a record, to a marker of an edit, or to the marker of an orphan (tests count them).
 */
#include "store/extents.h"

#include "base/alloc.h"
#include "base/bytes.h"

#include "base/banned.h"

enum {
    EXTENT_KEY_SIZE = 24,
    INDEX_KEY_SIZE = 17, /* keyspace, id, index */
    DELETE_BATCH = 4096, /* deletions in one batch: about 130 KB of log */
    /* Pieces of an orphan, from where on one deletion of their range is cheaper: a memtable copies the ranges it has
     * with each new one, 64 bytes for each, while the deletion of one piece takes about 100; so with as many orphans as
     * fill a memtable by that both cost the same at about 500 pieces. */
    RETIRE_RANGE_MIN = 1024,
    EDIT_PREFIX_SIZE = 5,
    ORPHAN_PREFIX_SIZE = 7,
};

static const char edit_prefix[EDIT_PREFIX_SIZE] = {INTERNAL_PREFIX, 'e', 'd', 'i', 't'};
static const char orphan_prefix[ORPHAN_PREFIX_SIZE] = {INTERNAL_PREFIX, 'o', 'r', 'p', 'h', 'a', 'n'};

/* --- keys ------------------------------------------------------------------------------------------------------- */

static plsm_slice extent_key(uint8_t out[EXTENT_KEY_SIZE], uint64_t id, uint64_t index, uint64_t generation)
{
    put_be64(out, id);
    put_be64(out + 8, index);
    put_be64(out + 16, ~generation);
    return slice(out, EXTENT_KEY_SIZE);
}

static plsm_slice edit_key(uint8_t out[EDIT_PREFIX_SIZE + 16], uint64_t id, uint64_t generation)
{
    memcpy(out, edit_prefix, EDIT_PREFIX_SIZE);
    put_be64(out + EDIT_PREFIX_SIZE, id);
    put_be64(out + EDIT_PREFIX_SIZE + 8, generation);
    return slice(out, EDIT_PREFIX_SIZE + 16);
}

static plsm_slice orphan_key(uint8_t out[ORPHAN_PREFIX_SIZE + 8], uint64_t id)
{
    memcpy(out, orphan_prefix, ORPHAN_PREFIX_SIZE);
    put_be64(out + ORPHAN_PREFIX_SIZE, id);
    return slice(out, ORPHAN_PREFIX_SIZE + 8);
}

static const plsm_slice nothing = {NULL, 0};

plsm_status extents_add_put(struct batch *batch, uint64_t id, uint64_t index, uint64_t generation, plsm_slice bytes)
{
    uint8_t key[EXTENT_KEY_SIZE];
    INVARIANT(bytes.size <= EXTENT_SIZE);
    return batch_add(batch, BATCH_PUT, PLSM_EXTENTS, extent_key(key, id, index, generation), nothing, bytes);
}

plsm_status extents_add_delete(struct batch *batch, uint64_t id, uint64_t index, uint64_t generation)
{
    uint8_t key[EXTENT_KEY_SIZE];
    return batch_add(batch, BATCH_DELETE, PLSM_EXTENTS, extent_key(key, id, index, generation), nothing, nothing);
}

plsm_status extents_add_record(struct batch *batch, const struct reference *reference)
{
    uint8_t id[8], bytes[REFERENCE_SIZE];
    put_be64(id, reference->id);
    reference_encode(reference, bytes);
    return batch_add(batch, BATCH_PUT, PLSM_INODES, slice(id, sizeof id), nothing, slice(bytes, sizeof bytes));
}

plsm_status extents_add_marker(struct batch *batch, uint64_t id, uint64_t generation, uint64_t lowest)
{
    uint8_t key[EDIT_PREFIX_SIZE + 16], bytes[8];
    put_u64(bytes, lowest);
    return batch_add(batch, BATCH_PUT, PLSM_INTERNAL, edit_key(key, id, generation), nothing,
                     slice(bytes, sizeof bytes));
}

plsm_status extents_delete_marker(struct batch *batch, uint64_t id, uint64_t generation)
{
    uint8_t key[EDIT_PREFIX_SIZE + 16];
    return batch_add(batch, BATCH_DELETE, PLSM_INTERNAL, edit_key(key, id, generation), nothing, nothing);
}

plsm_status extents_add_orphan(struct batch *batch, const struct reference *reference)
{
    uint8_t id[8], key[ORPHAN_PREFIX_SIZE + 8], bytes[REFERENCE_SIZE];
    put_be64(id, reference->id);
    TRY(batch_add(batch, BATCH_DELETE, PLSM_INODES, slice(id, sizeof id), nothing, nothing));
    reference_encode(reference, bytes);
    return batch_add(batch, BATCH_PUT, PLSM_INTERNAL, orphan_key(key, reference->id), nothing,
                     slice(bytes, sizeof bytes));
}

/* --- reading ---------------------------------------------------------------------------------------------------- */

plsm_status extents_published(plsm *db, uint64_t id, struct reference *out)
{
    uint8_t bytes[8];
    struct store_key key;
    struct engine_value value = {0};
    put_be64(bytes, id);
    key_join(&key, PLSM_INODES, slice(bytes, sizeof bytes));
    plsm_status status = db->engine->get(db->tree, NULL, key_slice(&key), false, &value);
    if (status == PLSM_OK)
        status = reference_decode(value.value, out);
    engine_value_free(&value);
    return status;
}

static plsm_status get_exactly(plsm *db, const struct engine_snapshot *snapshot, uint64_t id, uint64_t index,
                               uint64_t generation, struct engine_value *out)
{
    uint8_t key[1 + EXTENT_KEY_SIZE];
    key[0] = PLSM_EXTENTS;
    extent_key(key + 1, id, index, generation);
    plsm_status status = db->engine->get(db->tree, snapshot, slice(key, sizeof key), false, out);
    if (status == PLSM_OK && (out->kind != BATCH_PUT || out->value.size > EXTENT_SIZE))
        return fail(PLSM_CORRUPT, "extent %llu of id %llu is no extent; run plsm check", (unsigned long long)index,
                    (unsigned long long)id);
    return status;
}

static plsm_status missing(uint64_t id, uint64_t index, uint64_t generation)
{
    return fail(PLSM_CORRUPT, "extent %llu of id %llu, generation %llu, is missing; run plsm check",
                (unsigned long long)index, (unsigned long long)id, (unsigned long long)generation);
}

plsm_status extents_get(plsm *db, uint64_t id, uint64_t index, uint64_t generation, struct engine_value *out)
{
    plsm_status status = get_exactly(db, NULL, id, index, generation, out);
    return status == PLSM_NOT_FOUND ? missing(id, index, generation) : status;
}

/* Takes the value of an iterator's entry, which must be a piece. */
static plsm_status copy_entry(const struct engine_entry *entry, struct engine_value *out)
{
    if (entry->key.size != 1 + EXTENT_KEY_SIZE || entry->kind != BATCH_PUT || entry->value.size > EXTENT_SIZE)
        return fail(PLSM_CORRUPT, "an entry with a key of %zu bytes among the extents is none; run plsm check",
                    entry->key.size);
    if (out->capacity < entry->value.size) {
        void *memory = mem_realloc(out->memory, entry->value.size);
        if (!memory)
            return fail(PLSM_NO_MEMORY, "no memory for an extent of %zu bytes", entry->value.size);
        out->memory = memory;
        out->capacity = entry->value.size;
    }
    if (entry->value.size)
        memcpy(out->memory, entry->value.data, entry->value.size);
    out->value = slice(out->memory, entry->value.size);
    out->meta = nothing;
    out->value_size = entry->value.size;
    out->kind = entry->kind;
    return PLSM_OK;
}

/* The newest piece of an index that is not newer than the published generation. The iterator lives for one piece only:
 * one that is kept would pin a memtable for as long as a file is open. */
static plsm_status find_newest(plsm *db, const struct engine_snapshot *snapshot, const struct reference *reference,
                               uint64_t index, struct engine_value *out, bool *found)
{
    uint8_t from[1 + EXTENT_KEY_SIZE], to[1 + EXTENT_KEY_SIZE];
    struct engine_iterator *it = NULL;
    from[0] = to[0] = PLSM_EXTENTS;
    extent_key(from + 1, reference->id, index, reference->generation);
    extent_key(to + 1, reference->id, index + 1, UINT64_MAX);
    struct engine_entry entry;
    TRY(db->engine->iterator_create(db->tree, snapshot, slice(from, sizeof from), slice(to, sizeof to), false, &it));
    *found = db->engine->iterator_first(it, &entry);
    plsm_status status = *found ? copy_entry(&entry, out) : db->engine->iterator_status(it);
    db->engine->iterator_destroy(it);
    return status;
}

plsm_status extents_load(plsm *db, const struct engine_snapshot *snapshot, const struct reference *reference,
                         uint64_t index, struct engine_value *out, bool *found)
{
    *found = false;
    if (reference->extents == 0 || index >= extents_of(reference->size))
        return PLSM_OK;
    if (!reference->uniform)
        return find_newest(db, snapshot, reference, index, out, found);
    plsm_status status = get_exactly(db, snapshot, reference->id, index, reference->uniform, out);
    if (status == PLSM_NOT_FOUND)
        return reference_is_dense(reference) ? missing(reference->id, index, reference->uniform) : PLSM_OK;
    *found = status == PLSM_OK;
    return status;
}

plsm_status extents_read(plsm *db, const struct engine_snapshot *snapshot, const struct reference *reference,
                         uint64_t offset, uint8_t *data, size_t size)
{
    struct engine_value value = {0};
    plsm_status status = PLSM_OK;
    while (size > 0 && status == PLSM_OK) {
        size_t from = (size_t)(offset % EXTENT_SIZE);
        size_t part = size < EXTENT_SIZE - from ? size : EXTENT_SIZE - from;
        bool found = false;
        status = extents_load(db, snapshot, reference, offset / EXTENT_SIZE, &value, &found);
        size_t there = found && value.value.size > from ? value.value.size - from : 0;
        if (there > part)
            there = part;
        if (there > 0)
            memcpy(data, (const uint8_t *)value.value.data + from, there);
        memset(data + there, 0, part - there);
        offset += part;
        data += part;
        size -= part;
    }
    engine_value_free(&value);
    return status;
}

static plsm_status has_internal(plsm *db, const struct engine_snapshot *snapshot, plsm_slice name, bool *out)
{
    struct store_key key;
    struct engine_value value = {0};
    key_join(&key, PLSM_INTERNAL, name);
    plsm_status status = db->engine->get(db->tree, snapshot, key_slice(&key), true, &value);
    engine_value_free(&value);
    *out = status == PLSM_OK;
    return status == PLSM_NOT_FOUND ? PLSM_OK : status;
}

plsm_status extents_has_markers(plsm *db, const struct engine_snapshot *snapshot, uint64_t id, uint64_t generation,
                                bool *edit, bool *orphan)
{
    uint8_t key[EDIT_PREFIX_SIZE + 16];
    TRY(has_internal(db, snapshot, edit_key(key, id, generation), edit));
    return has_internal(db, snapshot, orphan_key(key, id), orphan);
}

/* --- walking over pieces ---------------------------------------------------------------------------------------- */

static plsm_status bad_key(size_t size)
{
    return fail(PLSM_CORRUPT, "a key of %zu bytes among the extents; run plsm check", size);
}

/* The whole internal key in front of all pieces of an id with that index and higher ones. */
static void index_key(uint8_t out[INDEX_KEY_SIZE], uint64_t id, uint64_t index)
{
    out[0] = PLSM_EXTENTS;
    put_be64(out + 1, id);
    put_be64(out + 9, index);
}

/* Calls `each` for the pieces of an id with index in [from, to), in the newest state. */
static plsm_status walk(plsm *db, uint64_t id, uint64_t from, uint64_t to,
                        plsm_status (*each)(void *arg, uint64_t index, uint64_t generation), void *arg)
{
    uint8_t first[INDEX_KEY_SIZE], last[INDEX_KEY_SIZE];
    struct engine_iterator *it = NULL;
    index_key(first, id, from);
    index_key(last, id, to);
    TRY(db->engine->iterator_create(db->tree, NULL, slice(first, sizeof first), slice(last, sizeof last), true, &it));
    plsm_status status = PLSM_OK;
    struct engine_entry entry;
    for (bool more = db->engine->iterator_first(it, &entry); more && status == PLSM_OK;
         more = db->engine->iterator_next(it, &entry)) {
        const uint8_t *key = entry.key.data;
        if (entry.key.size != 1 + EXTENT_KEY_SIZE)
            status = bad_key(entry.key.size);
        else
            status = each(arg, get_be64(key + 9), ~get_be64(key + 17));
    }
    if (status == PLSM_OK)
        status = db->engine->iterator_status(it);
    db->engine->iterator_destroy(it);
    return status;
}

plsm_status extents_next_run(plsm *db, const struct engine_snapshot *snapshot, const struct reference *reference,
                             uint64_t from, uint64_t limit, uint64_t *start, uint64_t *end)
{
    uint8_t first[INDEX_KEY_SIZE], last[INDEX_KEY_SIZE];
    struct engine_iterator *it = NULL;
    struct engine_entry entry;
    uint64_t pieces = extents_of(reference->size);
    if (limit > pieces)
        limit = pieces;
    *start = *end = UINT64_MAX;
    if (from >= limit || reference->extents == 0)
        return PLSM_OK;
    if (reference->extents == pieces) {
        *start = from;
        *end = limit;
        return PLSM_OK;
    }
    index_key(first, reference->id, from);
    index_key(last, reference->id, limit);
    TRY(db->engine->iterator_create(db->tree, snapshot, slice(first, sizeof first), slice(last, sizeof last), true,
                                    &it));
    plsm_status status = PLSM_OK;
    for (bool more = db->engine->iterator_first(it, &entry); more && status == PLSM_OK;
         more = db->engine->iterator_next(it, &entry)) {
        const uint8_t *key = entry.key.data;
        if (entry.key.size != 1 + EXTENT_KEY_SIZE) {
            status = bad_key(entry.key.size);
            break;
        }
        uint64_t index = get_be64(key + 9), generation = ~get_be64(key + 17);
        if (generation > reference->generation)
            continue; /* staged by the edit in progress */
        if (*start == UINT64_MAX)
            *start = index;
        else if (index > *end)
            break;
        *end = index + 1;
    }
    if (status == PLSM_OK)
        status = db->engine->iterator_status(it);
    db->engine->iterator_destroy(it);
    return status;
}

struct superseding {
    const struct reference *reference;
    struct batch *batch;
    uint64_t *deleted;
};

static plsm_status supersede(void *arg, uint64_t index, uint64_t generation)
{
    struct superseding *s = arg;
    if (generation > s->reference->generation)
        return PLSM_OK;
    ++*s->deleted;
    return extents_add_delete(s->batch, s->reference->id, index, generation);
}

/* Supersedes [from, to): by counting where the keys are known, else by looking. */
static plsm_status supersede_range(plsm *db, struct superseding *s, uint64_t from, uint64_t to)
{
    uint64_t end = extents_of(s->reference->size);
    if (to > end)
        to = end;
    if (from >= to || s->reference->extents == 0)
        return PLSM_OK;
    if (!reference_is_dense(s->reference))
        return walk(db, s->reference->id, from, to, supersede, s);
    for (uint64_t index = from; index < to; index++)
        TRY(supersede(s, index, s->reference->uniform));
    return PLSM_OK;
}

plsm_status extents_add_superseded(plsm *db, const struct reference *reference, uint64_t limit,
                                   const struct ranges *rewritten, struct batch *batch, uint64_t *deleted)
{
    struct superseding s = {reference, batch, deleted};
    *deleted = 0;
    for (size_t i = 0; i < rewritten->count && rewritten->items[i].start < limit; i++) {
        uint64_t end = rewritten->items[i].end;
        TRY(supersede_range(db, &s, rewritten->items[i].start, end < limit ? end : limit));
    }
    return supersede_range(db, &s, limit, UINT64_MAX);
}

/* --- deleting in bounded batches -------------------------------------------------------------------------------- */

struct deletion {
    plsm *db;
    uint64_t id;
    uint64_t from_generation, to_generation; /* both inclusive */
    struct batch batch;
};

/* Refused where the function of an update closes an edit: the markers are left to the next open. */
static plsm_status deletion_write(struct deletion *d)
{
    plsm_status status = refuse_writes(d->db);
    if (status == PLSM_OK)
        status = d->db->engine->write(d->db->tree, &d->batch, NULL, NULL, PLSM_NONE);
    batch_clear(&d->batch);
    return status;
}

static plsm_status deletion_add(void *arg, uint64_t index, uint64_t generation)
{
    struct deletion *d = arg;
    if (generation < d->from_generation || generation > d->to_generation)
        return PLSM_OK;
    TRY(extents_add_delete(&d->batch, d->id, index, generation));
    atomic_fetch_add_explicit(&d->db->reclaimable, EXTENT_SIZE, memory_order_relaxed);
    return d->batch.count < DELETE_BATCH ? PLSM_OK : deletion_write(d);
}

plsm_status extents_abandon(plsm *db, uint64_t id, uint64_t generation, const struct ranges *touched)
{
    struct deletion d = {.db = db, .id = id, .from_generation = generation, .to_generation = generation};
    plsm_status status = PLSM_OK;
    for (size_t i = 0; i < touched->count; i++)
        for (uint64_t at = touched->items[i].start; status == PLSM_OK && at < touched->items[i].end; at++)
            status = deletion_add(&d, at, generation);
    if (status == PLSM_OK)
        status = extents_delete_marker(&d.batch, id, generation);
    if (status == PLSM_OK)
        status = deletion_write(&d);
    batch_free(&d.batch);
    return status;
}

/* Adds the deletion of all pieces of an orphan. Nobody has taken its id, and whoever takes it finds no record and
 * writes none; what an abandoned edit may have left there is to go, too. */
static plsm_status add_range(struct deletion *d, const struct reference *reference)
{
    uint8_t from[8], to[9] = {PLSM_EXTENTS};
    put_be64(from, reference->id);
    put_be64(to + 1, reference->id + 1);
    atomic_fetch_add_explicit(&d->db->reclaimable, reference->extents * EXTENT_SIZE, memory_order_relaxed);
    return batch_add(&d->batch, BATCH_DELETE_RANGE, PLSM_EXTENTS, slice(from, sizeof from), nothing,
                     slice(to, sizeof to));
}

static plsm_status retire(plsm *db, const struct reference *reference)
{
    struct deletion d = {.db = db, .id = reference->id, .to_generation = reference->generation};
    uint8_t key[ORPHAN_PREFIX_SIZE + 8];
    plsm_status status = PLSM_OK;
    if (reference->extents >= RETIRE_RANGE_MIN) {
        status = add_range(&d, reference);
    } else if (reference_is_dense(reference)) {
        for (uint64_t index = 0; status == PLSM_OK && index < reference->extents; index++)
            status = deletion_add(&d, index, reference->uniform);
    } else if (reference->extents > 0) {
        status = walk(db, reference->id, 0, UINT64_MAX, deletion_add, &d);
    }
    if (status == PLSM_OK)
        status = batch_add(&d.batch, BATCH_DELETE, PLSM_INTERNAL, orphan_key(key, reference->id), nothing, nothing);
    if (status == PLSM_OK)
        status = deletion_write(&d);
    batch_free(&d.batch);
    return status;
}

void extents_retire(plsm *db, const struct reference *reference)
{
    bool done = retire(db, reference) == PLSM_OK;
    atomic_fetch_add_explicit(done ? &db->counters.retired : &db->counters.retire_failures, 1, memory_order_relaxed);
}

/* --- after a crash ---------------------------------------------------------------------------------------------- */

static plsm_status recover_edit(plsm *db, const struct engine_entry *entry)
{
    const uint8_t *key = (const uint8_t *)entry->key.data + 1 + EDIT_PREFIX_SIZE;
    if (entry->key.size != 1 + EDIT_PREFIX_SIZE + 16 || entry->value.size != 8)
        return fail(PLSM_CORRUPT, "the marker of an unfinished edit is damaged; run plsm check");
    uint64_t id = get_be64(key), generation = get_be64(key + 8);
    struct deletion d = {.db = db, .id = id, .from_generation = generation, .to_generation = generation};
    plsm_status status = walk(db, id, get_u64(entry->value.data), UINT64_MAX, deletion_add, &d);
    if (status == PLSM_OK)
        status = extents_delete_marker(&d.batch, id, generation);
    if (status == PLSM_OK)
        status = deletion_write(&d);
    batch_free(&d.batch);
    db->counters.recovered_edits += status == PLSM_OK;
    return status;
}

static plsm_status recover_orphan(plsm *db, const struct engine_entry *entry)
{
    struct reference reference;
    TRY(reference_decode(entry->value, &reference));
    TRY(retire(db, &reference));
    db->counters.recovered_orphans++;
    return PLSM_OK;
}

/* Calls `each` for the internal keys that start with `prefix`. The iterator sees the moment of its creation: what
 * `each` deletes does not disturb it. */
static plsm_status each_marker(plsm *db, const char *prefix, size_t prefix_size,
                               plsm_status (*each)(plsm *db, const struct engine_entry *entry))
{
    struct store_key from, to;
    struct engine_iterator *it = NULL;
    key_join(&from, PLSM_INTERNAL, slice(prefix, prefix_size));
    to = from;
    to.bytes[to.size - 1]++; /* a letter: no carry */
    TRY(db->engine->iterator_create(db->tree, NULL, key_slice(&from), key_slice(&to), false, &it));
    plsm_status status = PLSM_OK;
    struct engine_entry entry;
    for (bool more = db->engine->iterator_first(it, &entry); more && status == PLSM_OK;
         more = db->engine->iterator_next(it, &entry))
        status = each(db, &entry);
    if (status == PLSM_OK)
        status = db->engine->iterator_status(it);
    db->engine->iterator_destroy(it);
    return status;
}

/* Whether any large value is published. */
static plsm_status has_records(plsm *db, bool *out)
{
    const uint8_t from = PLSM_INODES, to = PLSM_INODES + 1;
    struct engine_iterator *it = NULL;
    struct engine_entry entry;
    TRY(db->engine->iterator_create(db->tree, NULL, slice(&from, 1), slice(&to, 1), false, &it));
    *out = db->engine->iterator_first(it, &entry);
    plsm_status status = db->engine->iterator_status(it);
    db->engine->iterator_destroy(it);
    return status;
}

plsm_status extents_recover(plsm *db)
{
    bool references = false;
    TRY(each_marker(db, edit_prefix, EDIT_PREFIX_SIZE, recover_edit));
    TRY(each_marker(db, orphan_prefix, ORPHAN_PREFIX_SIZE, recover_orphan));
    TRY(has_records(db, &references));
    atomic_store(&db->references, references);
    atomic_store(&db->references_awaited, references);
    return PLSM_OK;
}
