/* Looking keys up. */
#include "log/hybrid_private.h"

#include "base/alloc.h"

#include "base/banned.h"

enum { MANY_MAX = 128, PREFETCH_LINES = 3, TRIES = 3 };

/* Inside an epoch: a record of the disk, by the cache. */
static plsm_status disk_record(struct hybrid *db, uint64_t address, const struct hybrid_record **out)
{
    *out = record_cache_find(&db->cache, address);
    if (*out) {
        count_add(&db->counters.cache_hits, 1);
        return PLSM_OK;
    }
    struct cached_record *record = NULL;
    struct hybrid_segment *segment = hybrid_segments_find(hybrid_segments_of(db), address);
    count_add(&db->counters.cache_misses, 1);
    if (!segment)
        return fail(PLSM_CORRUPT, "%s: no segment holds address %llu of the log; run plsm check", db->path,
                    (unsigned long long)address);
    TRY(hybrid_segment_read_record(segment, address, &record));
    count_add(&db->counters.reads, 1);
    count_add(&db->counters.read_bytes, record->size);
    *out = (const struct hybrid_record *)(const void *)record->bytes;
    record_cache_insert(&db->cache, record); /* valid until the end of this epoch at least */
    return PLSM_OK;
}

plsm_status record_at(struct hybrid *db, uint64_t address, const struct hybrid_record **out)
{
    *out = memory_record(db, address);
    return __builtin_expect(*out != NULL, 1) ? PLSM_OK : disk_record(db, address, out);
}

static inline bool has_key(const struct hybrid_record *record, plsm_slice key)
{
    return record_sizes(record).key == key.size && memcmp(record->key, key.data, key.size) == 0;
}

plsm_status find_record(struct hybrid *db, struct moment moment, uint64_t hash, plsm_slice key, struct found *out)
{
    uint64_t address = index_find(&db->index, hash);
    out->record = NULL;
    while (address >= moment.begin) {
        const struct hybrid_record *record;
        TRY(record_at(db, address, &record));
        if (address < moment.at && has_key(record, key)) {
            *out = (struct found){record, address};
            return PLSM_OK;
        }
        if (__builtin_expect(record->previous >= address, 0))
            return fail(PLSM_CORRUPT, "%s: the record at address %llu of the log follows a later one; run plsm check",
                        db->path, (unsigned long long)address);
        address = record->previous;
    }
    return PLSM_OK;
}

static struct moment moment_of(const struct hybrid *db, const struct hybrid_snapshot *snapshot)
{
    return snapshot ? (struct moment){snapshot->at, snapshot->begin} : moment_now(db);
}

/* --- copying out -------------------------------------------------------------------------------------------------- */

static plsm_status grow(struct hybrid_value *out, uint64_t size)
{
    if (__builtin_expect(out->capacity >= size, 1))
        return PLSM_OK;
    size_t capacity = size < 256 ? 256 : (size_t)size;
    void *memory = mem_realloc(out->memory, capacity);
    if (!memory)
        return fail(PLSM_NO_MEMORY, "no memory for a value of %llu bytes", (unsigned long long)size);
    out->memory = memory;
    out->capacity = capacity;
    return PLSM_OK;
}

/* The first bytes of a room that a reader wants. */
static uint64_t wanted_bytes(struct record_sizes sizes, bool no_value)
{
    return sizes_payload(sizes) - (no_value && sizes.kind != BATCH_REFERENCE ? sizes.value : 0);
}

/* There may be no memory for nothing. */
static void copy_some(void *to, const void *from, uint64_t size)
{
    if (size > 0)
        memcpy(to, from, size);
}

/* Copies what a record holds at one moment; `can_change` where it may be changed meanwhile. */
static plsm_status copy_room(const struct hybrid_record *record, bool can_change, bool no_value,
                             struct hybrid_value *out, struct record_sizes *sizes)
{
    _Atomic uint32_t *sequence = &((struct hybrid_record *)(uintptr_t)record)->sequence;
    const uint8_t *room = record_room(record);
    for (;;) {
        uint32_t before = atomic_load_explicit(sequence, memory_order_acquire);
        *sizes = record_sizes(record);
        uint64_t size = wanted_bytes(*sizes, no_value);
        TRY(grow(out, round_8(size)));
        if (!can_change) {
            copy_some(out->memory, room, size);
            return PLSM_OK;
        }
        if (before % 2 == 0) {
            words_read(out->memory, room, round_8(size));
            if (atomic_load_explicit(sequence, memory_order_relaxed) == before)
                return PLSM_OK;
        }
        spin_pause();
    }
}

/* Hands out what was found, or says that there is nothing. */
static plsm_status hand_out(const struct hybrid *db, const struct found *found, bool no_value, bool any,
                            struct hybrid_value *out)
{
    struct record_sizes sizes;
    if (!found->record)
        return PLSM_NOT_FOUND;
    bool can_change = found->address >= address_of(&db->read_only);
    TRY(copy_room(found->record, can_change, no_value, out, &sizes));
    if (sizes.kind == BATCH_DELETE)
        return PLSM_NOT_FOUND;
    const uint8_t *bytes = out->memory;
    out->expires_s = sizes.timed ? get_u64(bytes) : 0;
    if (__builtin_expect(out->expires_s != 0, 0) && !any && out->expires_s <= now_s(db))
        return PLSM_NOT_FOUND;
    bytes += sizes.timed ? sizeof(uint64_t) : 0;
    out->meta = slice(bytes, sizes.meta);
    out->value_size = sizes.value;
    out->kind = sizes.kind;
    if (!no_value || sizes.kind == BATCH_REFERENCE)
        out->value = slice(bytes + sizes.meta, sizes.value);
    return PLSM_OK;
}

static void empty(struct hybrid_value *out)
{
    *out = (struct hybrid_value){.memory = out->memory, .capacity = out->capacity};
}

plsm_status hybrid_get(struct hybrid *db, const struct hybrid_snapshot *snapshot, plsm_slice key, bool no_value,
                       bool any, struct hybrid_value *out)
{
    struct found found;
    empty(out);
    epoch_enter(db->epoch);
    plsm_status status = find_record(db, moment_of(db, snapshot), key_hash(key.data, key.size), key, &found);
    if (status == PLSM_OK)
        status = hand_out(db, &found, no_value, any, out);
    epoch_exit(db->epoch);
    return status;
}

/* --- many keys ---------------------------------------------------------------------------------------------------- */

/* Has the lines of all keys under way before the first is looked at: of the index, then of the records. */
static void prefetch(struct hybrid *db, const plsm_slice *keys, uint64_t *hashes, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        hashes[i] = key_hash(keys[i].data, keys[i].size);
        index_prefetch(&db->index, hashes[i]);
    }
    for (size_t i = 0; i < count; i++) {
        uint64_t address = index_find(&db->index, hashes[i]);
        const struct hybrid_record *record = address ? memory_record(db, address) : NULL;
        for (unsigned line = 0; record && line < PREFETCH_LINES; line++)
            __builtin_prefetch((const uint8_t *)record + line * 64);
    }
}

static plsm_status get_some(struct hybrid *db, struct moment moment, const plsm_slice *keys, size_t count,
                            bool no_value, struct hybrid_value *outs, plsm_status *statuses)
{
    uint64_t hashes[MANY_MAX];
    plsm_status first = PLSM_OK;
    epoch_enter(db->epoch);
    prefetch(db, keys, hashes, count);
    for (size_t i = 0; i < count; i++) {
        struct found found;
        empty(&outs[i]);
        statuses[i] = find_record(db, moment, hashes[i], keys[i], &found);
        if (statuses[i] == PLSM_OK)
            statuses[i] = hand_out(db, &found, no_value, false, &outs[i]);
        if (first == PLSM_OK && statuses[i] != PLSM_NOT_FOUND)
            first = statuses[i];
    }
    epoch_exit(db->epoch);
    return first;
}

/* All in one moment: where a batch was applied meanwhile it is done again, at last by a snapshot. */
static plsm_status get_at_once(struct hybrid *db, const plsm_slice *keys, size_t count, bool no_value,
                               struct hybrid_value *outs, plsm_status *statuses)
{
    for (unsigned i = 0; i < TRIES && !is_preparing(db); i++) {
        uint64_t before = atomic_load_explicit(&db->commits, memory_order_acquire);
        plsm_status status = get_some(db, moment_now(db), keys, count, no_value, outs, statuses);
        if (before % 2 == 0 && atomic_load_explicit(&db->commits, memory_order_relaxed) == before)
            return status;
    }
    if (is_preparing(db))
        return get_some(db, moment_now(db), keys, count, no_value, outs, statuses);
    struct hybrid_snapshot *snapshot = hybrid_snapshot_create(db);
    if (!snapshot) {
        for (size_t i = 0; i < count; i++)
            statuses[i] = PLSM_NO_MEMORY;
        return fail(PLSM_NO_MEMORY, "no memory for a snapshot");
    }
    plsm_status status = get_some(db, moment_of(db, snapshot), keys, count, no_value, outs, statuses);
    hybrid_snapshot_destroy(db, snapshot);
    return status;
}

plsm_status hybrid_multi_get(struct hybrid *db, const struct hybrid_snapshot *snapshot, const plsm_slice *keys,
                             size_t count, bool no_value, struct hybrid_value *outs, plsm_status *statuses)
{
    plsm_status first = PLSM_OK;
    INVARIANT(count <= MANY_MAX);
    if (count == 0)
        return first;
    if (snapshot)
        return get_some(db, moment_of(db, snapshot), keys, count, no_value, outs, statuses);
    return get_at_once(db, keys, count, no_value, outs, statuses);
}

/* --- prefixes ----------------------------------------------------------------------------------------------------- */

/* By the counts: 1 yes, 0 no, -1 they do not tell. */
static int counted_prefix(const struct hybrid *db, plsm_slice prefix)
{
    const uint8_t *bytes = prefix.data;
    struct prefix_count count;
    if (bytes[0] != HYBRID_NAMES)
        return -1;
    if (prefix.size == 1)
        count = (struct prefix_count){address_of(&db->names), address_of(&db->names_timed)};
    else if (bytes[prefix.size - 1] != '/' || !prefixes_get(&db->prefixes, prefix, &count))
        return -1;
    if (count.live == 0)
        return 0;
    return count.live > count.timed ? 1 : -1;
}

/* The same, of a moment at which no batch is half applied. */
static int counted_at_once(struct hybrid *db, plsm_slice prefix)
{
    int answer = -1;
    bool done = false;
    epoch_enter(db->epoch);
    for (unsigned i = 0; i < TRIES && !done; i++) {
        uint64_t before = atomic_load_explicit(&db->commits, memory_order_acquire);
        answer = counted_prefix(db, prefix);
        done = before % 2 == 0 && atomic_load_explicit(&db->commits, memory_order_relaxed) == before;
    }
    epoch_exit(db->epoch);
    if (done)
        return answer;
    write_lock_enter(db);
    answer = counted_prefix(db, prefix);
    write_lock_exit(db);
    return answer;
}

/* The first key behind all that start with a prefix; empty: there is none. Written into `out`, of the prefix's size. */
static plsm_slice prefix_end(plsm_slice prefix, uint8_t *out)
{
    size_t size = prefix.size;
    memcpy(out, prefix.data, size);
    while (size > 0 && out[size - 1] == UINT8_MAX)
        size--;
    if (size > 0)
        out[size - 1]++;
    return slice(out, size);
}

plsm_status hybrid_has_prefix(struct hybrid *db, const struct hybrid_snapshot *snapshot, plsm_slice prefix, bool *out)
{
    uint8_t end[HYBRID_KEY_MAX];
    struct hybrid_iterator *it = NULL;
    if (!snapshot) {
        int answer = counted_at_once(db, prefix);
        *out = answer > 0;
        if (answer >= 0)
            return PLSM_OK;
    }
    TRY(hybrid_iterator_create(db, snapshot, prefix, prefix_end(prefix, end), true, &it));
    *out = hybrid_iterator_first(it) != NULL;
    plsm_status status = hybrid_iterator_status(it);
    hybrid_iterator_destroy(it);
    return status;
}
