/* Entries that expire.
 *
 * The tree hides an entry from the second on that it carries, and drops it when it is compacted. That is enough for
 * small values. A large value has a record and extents besides, which only the store can give back: so the tree leaves
 * expired references where they are, hidden from all but those who ask for them, and the store deletes them, as it
 * deletes any large value: name, record and an orphan's marker in one batch, the pieces afterwards (extents.c).
 *
 * To find them there is a note for each, in the order in which they expire:
 *
 *   keyspace    key                                  value
 *   internal    "\0expire", be64 second, be64 id     the name
 *
 * It is in the batch that writes the reference, and in that of a move of the name, which has it name the new one. It is
 * not deleted when the reference goes or gets another time: a note is believed only where its name still holds its id
 * with its time, which is looked at when no write can come between, and goes when that second comes. So it is a hint of
 * what is to be deleted, and no answer depends on it: what is damaged about it, or about the name that it speaks of, is
 * for plsm check to tell. The note stays then, is tried again every minute, and keeps nothing else from happening.
 *
 * Who looks: every write, sync, flush, compaction, opening and close, where the earliest note's second has come.
 * Without notes that is one comparison. Nothing is found by readers meanwhile. */
#include "store/expiry.h"

#include "base/alloc.h"
#include "store/batch.h"

#include "base/banned.h"

enum {
    NOTE_PREFIX_SIZE = 7,
    NOTE_KEY_SIZE = NOTE_PREFIX_SIZE + 16,
    REAP_NOTES = 64, /* of one batch */
    RETRY_S = 60,
};

static const char note_prefix[NOTE_PREFIX_SIZE] = {INTERNAL_PREFIX, 'e', 'x', 'p', 'i', 'r', 'e'};
static const plsm_slice nothing = {NULL, 0};

static plsm_slice note_key(uint8_t out[NOTE_KEY_SIZE], uint64_t expires_s, uint64_t id)
{
    memcpy(out, note_prefix, NOTE_PREFIX_SIZE);
    put_be64(out + NOTE_PREFIX_SIZE, expires_s);
    put_be64(out + NOTE_PREFIX_SIZE + 8, id);
    return slice(out, NOTE_KEY_SIZE);
}

plsm_status expiry_add_note(struct batch *batch, uint64_t expires_s, uint64_t id, plsm_slice name)
{
    uint8_t key[NOTE_KEY_SIZE];
    return batch_add(batch, BATCH_PUT, PLSM_INTERNAL, note_key(key, expires_s, id), nothing, name);
}

plsm_status expiry_has_note(plsm *db, const struct engine_snapshot *snapshot, uint64_t expires_s, uint64_t id,
                            plsm_slice name, bool *out)
{
    uint8_t key[NOTE_KEY_SIZE];
    struct store_key whole;
    struct engine_value value = {0};
    key_join(&whole, PLSM_INTERNAL, note_key(key, expires_s, id));
    plsm_status status = db->engine->get(db->tree, snapshot, key_slice(&whole), false, &value);
    *out = status == PLSM_OK && slice_equal(value.value, name);
    engine_value_free(&value);
    return status == PLSM_NOT_FOUND ? PLSM_OK : status;
}

void expiry_expect(plsm *db, uint64_t expires_s)
{
    uint64_t next_s = atomic_load(&db->next_expiry_s);
    while (expires_s < next_s && !atomic_compare_exchange_weak(&db->next_expiry_s, &next_s, expires_s))
        continue;
}

/* --- deleting --------------------------------------------------------------------------------------------------- */

/* Notes that are due, and what is made of them. */
struct reaping {
    plsm *db;
    uint64_t now_s;
    uint8_t keys[REAP_NOTES][NOTE_KEY_SIZE]; /* the last of a round is where the next one goes on */
    size_t count;
    bool damaged; /* a note was passed over */
    struct batch batch;
    struct retired retired;
    struct engine_value note, value;
};

/* What a note holds cannot be a name. */
static bool is_damaged(plsm_slice note)
{
    return note.size == 0 || note.size > PLSM_KEY_MAX;
}

/* The entry under a name is the one that a note speaks of: it goes. PLSM_CORRUPT: one of the two is damaged, or cannot
 * be read; nothing was added to the batch. */
static plsm_status delete_noted(struct reaping *r, const uint8_t *note)
{
    plsm *db = r->db;
    struct store_key name;
    struct reference reference;
    if (is_damaged(r->note.value))
        return fail(PLSM_CORRUPT, "the note of a value that expires is damaged; run plsm check");
    key_join(&name, PLSM_NAMES, r->note.value);
    plsm_status status = db->engine->get_any(db->tree, NULL, key_slice(&name), true, &r->value);
    if (status != PLSM_OK)
        return status == PLSM_NOT_FOUND ? PLSM_OK : status;
    if (r->value.kind != BATCH_REFERENCE || r->value.expires_s != get_be64(note + NOTE_PREFIX_SIZE))
        return PLSM_OK;
    TRY(reference_decode(r->value.value, &reference));
    if (reference.id != get_be64(note + NOTE_PREFIX_SIZE + 8))
        return PLSM_OK;
    TRY(batch_add(&r->batch, BATCH_DELETE, PLSM_NAMES, r->note.value, nothing, nothing));
    return retire_in_batch(&reference, &r->batch, &r->retired);
}

/* Is an engine_prepare. */
static plsm_status prepare(void *arg, const struct batch **batch)
{
    struct reaping *r = arg;
    batch_clear(&r->batch);
    r->retired.count = 0;
    for (size_t i = 0; i < r->count; i++) {
        struct store_key key;
        key_join(&key, PLSM_INTERNAL, slice(r->keys[i], NOTE_KEY_SIZE));
        plsm_status status = r->db->engine->get(r->db->tree, NULL, key_slice(&key), false, &r->note);
        if (status == PLSM_NOT_FOUND) /* another thread was here */
            continue;
        if (status == PLSM_OK)
            status = delete_noted(r, r->keys[i]);
        if (status == PLSM_CORRUPT) {
            r->damaged = true;
            continue;
        }
        TRY(status);
        TRY(batch_add(&r->batch, BATCH_DELETE, PLSM_INTERNAL, slice(r->keys[i], NOTE_KEY_SIZE), nothing, nothing));
    }
    *batch = &r->batch;
    return PLSM_OK;
}

/* Where all notes are. */
static void note_bounds(struct store_key *from, struct store_key *to)
{
    key_join(from, PLSM_INTERNAL, slice(note_prefix, NOTE_PREFIX_SIZE));
    *to = *from;
    to->bytes[to->size - 1]++; /* a letter: no carry */
}

/* Finds the first notes that are due, behind those of the round before; *next_s is the second of the first that is not,
 * UINT64_MAX when there is none. */
static plsm_status find_due(struct reaping *r, uint64_t *next_s)
{
    const struct engine *engine = r->db->engine;
    struct engine_iterator *it = NULL;
    struct engine_entry entry;
    struct store_key from, to;
    note_bounds(&from, &to);
    if (r->count > 0) /* the first key behind it */
        key_join(&from, PLSM_INTERNAL, slice(r->keys[r->count - 1], NOTE_KEY_SIZE));
    if (r->count > 0)
        from.bytes[from.size++] = 0;
    r->count = 0;
    *next_s = UINT64_MAX;
    TRY(engine->iterator_create(r->db->tree, NULL, key_slice(&from), key_slice(&to), false, &it));
    for (bool more = engine->iterator_first(it, &entry); more && r->count < REAP_NOTES;
         more = engine->iterator_next(it, &entry)) {
        if (entry.key.size != 1 + NOTE_KEY_SIZE)
            continue; /* plsm check tells */
        const uint8_t *key = (const uint8_t *)entry.key.data + 1;
        if (get_be64(key + NOTE_PREFIX_SIZE) > r->now_s) {
            *next_s = get_be64(key + NOTE_PREFIX_SIZE);
            break;
        }
        memcpy(r->keys[r->count++], key, NOTE_KEY_SIZE);
    }
    plsm_status status = engine->iterator_status(it);
    engine->iterator_destroy(it);
    return status;
}

static plsm_status reap_some(struct reaping *r, uint64_t *next_s)
{
    TRY(find_due(r, next_s));
    if (r->count == 0)
        return PLSM_OK;
    TRY(r->db->engine->write(r->db->tree, NULL, prepare, r, PLSM_NONE));
    atomic_fetch_add_explicit(&r->db->counters.expired, r->retired.count, memory_order_relaxed);
    retire_finish(r->db, &r->retired);
    return PLSM_OK;
}

static plsm_status reap(plsm *db)
{
    struct reaping *r = mem_zalloc(sizeof *r);
    if (!r)
        return fail(PLSM_NO_MEMORY, "no memory to delete values that have expired");
    r->db = db;
    r->now_s = plsm_now_s(db);
    /* What is noted from here on is expected by whoever notes it; what was before is found. */
    uint64_t before_s = atomic_exchange(&db->next_expiry_s, UINT64_MAX), next_s = UINT64_MAX;
    plsm_status status = PLSM_OK;
    do
        status = reap_some(r, &next_s);
    while (status == PLSM_OK && r->count == REAP_NOTES);
    if (status == PLSM_CORRUPT)
        next_s = r->now_s + RETRY_S;
    else if (status != PLSM_OK)
        next_s = before_s < r->now_s ? before_s : r->now_s; /* the next call */
    else if (r->damaged && next_s > r->now_s + RETRY_S)
        next_s = r->now_s + RETRY_S;
    expiry_expect(db, next_s);
    batch_free(&r->batch);
    mem_free(r->retired.items);
    engine_value_free(&r->note);
    engine_value_free(&r->value);
    mem_free(r);
    return status;
}

void expiry_reap(plsm *db)
{
    if (atomic_load_explicit(&db->next_expiry_s, memory_order_relaxed) > plsm_now_s(db) ||
        atomic_exchange(&db->reaping, true))
        return;
    (void)reap(db);
    atomic_store(&db->reaping, false);
}

plsm_status expiry_recover(plsm *db)
{
    plsm_status status = reap(db);
    return status == PLSM_NO_MEMORY || db->engine->is_read_only(db->tree) ? status : PLSM_OK;
}

plsm_status expiry_count_damaged(plsm *db, const struct engine_snapshot *snapshot, uint64_t *out)
{
    const struct engine *engine = db->engine;
    struct engine_iterator *it = NULL;
    struct engine_entry entry;
    struct store_key from, to;
    note_bounds(&from, &to);
    *out = 0;
    TRY(engine->iterator_create(db->tree, snapshot, key_slice(&from), key_slice(&to), false, &it));
    for (bool more = engine->iterator_first(it, &entry); more; more = engine->iterator_next(it, &entry))
        *out += entry.key.size != 1 + NOTE_KEY_SIZE || is_damaged(entry.value);
    plsm_status status = engine->iterator_status(it);
    engine->iterator_destroy(it);
    return status;
}

/* --- what the store says ---------------------------------------------------------------------------------------- */

struct lifetime lifetime_by_ttl(const plsm *db, plsm_slice name)
{
    const uint8_t *bytes = name.data;
    bool directory = bytes[name.size - 1] == '/';
    return (struct lifetime){.timed = true, .expires_s = directory ? 0 : plsm_now_s(db) + db->options.ttl};
}

plsm_status expiry_default(const plsm *db, const struct batch *batch, struct batch *out)
{
    const uint8_t *at = batch->bytes.data, *end = at + batch->bytes.size;
    struct batch_change change;
    while (batch_next(&at, end, &change)) {
        uint8_t keyspace = *(const uint8_t *)change.key.data;
        plsm_slice key = slice((const uint8_t *)change.key.data + 1, change.key.size - 1);
        struct lifetime lifetime = {change.timed, change.expires_s};
        if (!change.timed && change.kind == BATCH_PUT && keyspace == PLSM_NAMES)
            lifetime = store_lifetime(db, key);
        TRY(lifetime.timed
                ? batch_add_timed(out, change.kind, keyspace, key, change.meta, change.value, lifetime.expires_s)
                : batch_add(out, change.kind, keyspace, key, change.meta, change.value));
    }
    INVARIANT(at == end);
    return PLSM_OK;
}

uint64_t plsm_now_s(const plsm *db)
{
    return env_wall_ns(db->env) / 1000000000;
}
