/* Looking keys up. */
#include "log/hybrid_private.h"

#include "base/alloc.h"

#include "base/banned.h"

enum { MANY_MAX = 128, AHEAD = 8, LINES_MAX = 16, TRIES = 3 };

/* Inside an epoch: a record of the disk, by the cache. */
static __attribute__((noinline)) plsm_status disk_record(struct hybrid *db, uint64_t address,
                                                         const struct hybrid_record **out)
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
    return_count(db, address);
    *out = (const struct hybrid_record *)(const void *)record->bytes;
    record_cache_insert(&db->cache, record); /* valid until the end of this epoch at least */
    return PLSM_OK;
}

plsm_status record_at(struct hybrid *db, uint64_t address, const struct hybrid_record **out)
{
    *out = memory_record(db, address);
    return __builtin_expect(*out != NULL, 1) ? PLSM_OK : disk_record(db, address, out);
}

/* The record of a place that was looked up before: in memory, or still to be found. */
struct place {
    uint64_t address;
    const struct hybrid_record *record; /* NULL: it is on disk, or there is none */
};

/* Goes down a chain from an address on. */
static inline __attribute__((always_inline)) plsm_status find_from(struct hybrid *db, struct moment moment,
                                                                   uint64_t address, plsm_slice key, struct found *out)
{
    const struct hybrid_record *record = memory_record(db, address);
    out->record = NULL;
    while (address >= moment.begin) {
        if (__builtin_expect(!record, 0))
            TRY(disk_record(db, address, &record));
        record_prefetch_behind(record);
        if (address < moment.at && slice_equal(record_key(record), key)) {
            *out = (struct found){record, address};
            return PLSM_OK;
        }
        if (__builtin_expect(record->previous >= address, 0))
            return fail(PLSM_CORRUPT, "%s: the record at address %llu of the log follows a later one; run plsm check",
                        db->path, (unsigned long long)address);
        address = record->previous;
        record = memory_previous(db, address);
    }
    return PLSM_OK;
}

plsm_status find_record_from(struct hybrid *db, struct moment moment, uint64_t address, plsm_slice key,
                             struct found *out)
{
    return find_from(db, moment, address, key, out);
}

static struct moment moment_of(const struct hybrid *db, const struct hybrid_snapshot *snapshot)
{
    return snapshot ? (struct moment){snapshot->at, snapshot->begin} : moment_now(db);
}

/* --- copying out -------------------------------------------------------------------------------------------------- */

static __attribute__((noinline)) plsm_status grow(struct hybrid_value *out, uint64_t size)
{
    size_t capacity = size < 256 ? 256 : (size_t)size;
    void *memory = mem_realloc(out->memory, capacity);
    if (!memory)
        return fail(PLSM_NO_MEMORY, "no memory for a value of %llu bytes", (unsigned long long)size);
    out->memory = memory;
    out->capacity = capacity;
    return PLSM_OK;
}

/* The first bytes of a room that a reader wants. */
static inline uint64_t wanted_bytes(struct record_sizes sizes, bool no_value)
{
    return sizes_payload(sizes) - (no_value && sizes.kind != BATCH_REFERENCE ? sizes.value : 0);
}

/* Copies what a record holds at one moment, and tells its sizes. */
static __attribute__((noinline)) plsm_status copy_room(const struct hybrid *db, const struct found *found,
                                                       bool no_value, struct hybrid_value *out,
                                                       struct record_sizes *sizes)
{
    const struct hybrid_record *record = found->record;
    _Atomic uint32_t *sequence = &((struct hybrid_record *)(uintptr_t)record)->sequence;
    for (bool can_change = true;;) {
        uint32_t before = atomic_load_explicit(sequence, memory_order_acquire);
        *sizes = record_sizes(record);
        uint64_t size = round_8(wanted_bytes(*sizes, no_value));
        if (__builtin_expect(out->capacity < size, 0))
            TRY(grow(out, size));
        words_read(out->memory, record->key + round_8(sizes->key), size);
        if (__builtin_expect(before % 2 == 0 && atomic_load_explicit(sequence, memory_order_relaxed) == before, 1) ||
            !can_change)
            return PLSM_OK;
        spin_pause();
        can_change = found->address >= address_of(&db->read_only); /* in a file there may be anything */
    }
}

static plsm_status empty(plsm_status status, struct hybrid_value *out)
{
    *out = (struct hybrid_value){.memory = out->memory, .capacity = out->capacity};
    return status;
}

/* The same of what is a put without meta that does not expire, as nearly all are, if there is memory for it and nobody
 * changes it now; false: it is not, and nothing is done. */
static inline bool hand_out_plain(const struct hybrid_record *record, struct hybrid_value *out)
{
    struct hybrid_record *shared = (struct hybrid_record *)(uintptr_t)record;
    uint32_t before = atomic_load_explicit(&shared->sequence, memory_order_acquire);
    uint64_t word = atomic_load_explicit(&shared->sizes, memory_order_acquire), size = (uint32_t)word;
    if (!sizes_plain(word) || before % 2 || out->capacity < round_8(size))
        return false;
    words_read(out->memory, record->key + round_8(word >> 32), round_8(size));
    if (atomic_load_explicit(&shared->sequence, memory_order_relaxed) != before)
        return false;
    out->value = slice(out->memory, size);
    out->meta = slice(out->memory, 0);
    out->value_size = size;
    out->expires_s = 0;
    out->kind = BATCH_PUT;
    return true;
}

/* Hands out what was found, or says that there is nothing. */
static plsm_status hand_out(const struct hybrid *db, const struct found *found, bool no_value, bool any,
                            struct hybrid_value *out)
{
    struct record_sizes sizes;
    if (!found->record)
        return empty(PLSM_NOT_FOUND, out);
    plsm_status status = copy_room(db, found, no_value, out, &sizes);
    if (__builtin_expect(status != PLSM_OK || sizes.kind == BATCH_DELETE, 0))
        return empty(status == PLSM_OK ? PLSM_NOT_FOUND : status, out);
    const uint8_t *bytes = out->memory;
    out->expires_s = 0;
    if (__builtin_expect(sizes.timed, 0)) {
        out->expires_s = get_u64(bytes);
        bytes += sizeof(uint64_t);
        if (out->expires_s != 0 && !any && out->expires_s <= now_s(db))
            return empty(PLSM_NOT_FOUND, out);
    }
    out->meta = slice(bytes, sizes.meta);
    out->value_size = sizes.value;
    out->kind = sizes.kind;
    out->value = slice(bytes + sizes.meta, sizes.value);
    if (__builtin_expect(no_value && sizes.kind != BATCH_REFERENCE, 0))
        out->value = slice(NULL, 0);
    return PLSM_OK;
}

plsm_status hybrid_get(struct hybrid *db, const struct hybrid_snapshot *snapshot, plsm_slice key, bool no_value,
                       bool any, struct hybrid_value *out)
{
    struct found found;
    uint64_t hash = key_hash(key.data, key.size);
    epoch_enter(db->epoch);
    struct moment moment = moment_of(db, snapshot); /* before the index, which leads to what counts from there on */
    plsm_status status = find_from(db, moment, index_find(&db->index, hash), key, &found);
    if (__builtin_expect(status != PLSM_OK, 0))
        status = empty(status, out);
    else if (no_value || !found.record || !hand_out_plain(found.record, out))
        status = hand_out(db, &found, no_value, any, out);
    epoch_exit(db->epoch);
    return status;
}

/* --- many keys ---------------------------------------------------------------------------------------------------- */

/* The rest of a record whose first lines are there. */
static inline void prefetch_rest(const struct hybrid_record *record)
{
    const uint8_t *at = (const uint8_t *)record;
    uint64_t size = record_size(record);
    size = size < LINES_MAX * CACHE_LINE ? size : LINES_MAX * CACHE_LINE;
    for (uint64_t line = 2 * CACHE_LINE; line < size; line += CACHE_LINE)
        __builtin_prefetch(at + line);
    __builtin_prefetch(at + size - 1);
}

/* One key, whose place is known. */
static inline plsm_status get_at(struct hybrid *db, struct moment moment, const struct place *place, plsm_slice key,
                                 bool no_value, struct hybrid_value *out)
{
    struct found found;
    if (place->record && place->address >= moment.begin && place->address < moment.at &&
        slice_equal(record_key(place->record), key)) {
        found = (struct found){place->record, place->address};
    } else {
        plsm_status status = find_record_from(db, moment, place->address, key, &found);
        if (__builtin_expect(status != PLSM_OK, 0))
            return empty(status, out);
    }
    if (!no_value && found.record && hand_out_plain(found.record, out))
        return PLSM_OK;
    return hand_out(db, &found, no_value, false, out);
}

/* Looks keys up in a pipeline, so that up to 3 * AHEAD misses of memory are waited for at once instead of one after the
 * other: of one key the line of the index is under way, of one AHEAD before it the record's first lines, of one before
 * that the rest of the record (software-pipelined prefetching: Chen, Ailamaki, Gibbons and Mowry, "Improving Hash Join
 * Performance through Prefetching", ICDE 2004; chains are hardly ever longer than one, so that stages of a fixed number
 * serve as well as state machines: Kocberber, Falsafi and Grot, "Asynchronous Memory Access Chaining", VLDB 2015). */
static plsm_status get_some(struct hybrid *db, const struct hybrid_snapshot *snapshot, const plsm_slice *keys,
                            size_t count, bool no_value, struct hybrid_value *outs, plsm_status *statuses)
{
    struct place places[MANY_MAX]; /* the address is the hash at first */
    plsm_status first = PLSM_OK;
    epoch_enter(db->epoch);
    struct moment moment = moment_of(db, snapshot); /* not before: nobody would wait for who knows of an older begin */
    for (size_t step = 0; step < count + 3 * AHEAD; step++) {
        size_t i = step;
        if (i < count) {
            places[i].address = key_hash(keys[i].data, keys[i].size);
            index_prefetch(&db->index, places[i].address);
        }
        i = step - AHEAD; /* below 0 is above all */
        if (i < count) {
            uint64_t address = index_find(&db->index, places[i].address);
            places[i] = (struct place){address, memory_record(db, address)};
            if (places[i].record)
                record_prefetch(places[i].record);
        }
        i = step - 2 * AHEAD;
        if (i < count && places[i].record)
            prefetch_rest(places[i].record);
        i = step - 3 * AHEAD;
        if (i < count) {
            statuses[i] = get_at(db, moment, &places[i], keys[i], no_value, &outs[i]);
            if (__builtin_expect(statuses[i] != PLSM_OK && statuses[i] != PLSM_NOT_FOUND && first == PLSM_OK, 0))
                first = statuses[i];
        }
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
        plsm_status status = get_some(db, NULL, keys, count, no_value, outs, statuses);
        if (before % 2 == 0 && atomic_load_explicit(&db->commits, memory_order_relaxed) == before)
            return status;
    }
    if (is_preparing(db))
        return get_some(db, NULL, keys, count, no_value, outs, statuses);
    struct hybrid_snapshot *snapshot = hybrid_snapshot_create(db);
    if (!snapshot) {
        for (size_t i = 0; i < count; i++)
            statuses[i] = PLSM_NO_MEMORY;
        return fail(PLSM_NO_MEMORY, "no memory for a snapshot");
    }
    plsm_status status = get_some(db, snapshot, keys, count, no_value, outs, statuses);
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
        return get_some(db, snapshot, keys, count, no_value, outs, statuses);
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
