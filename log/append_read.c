/* Point lookups: the directory, then the entry. */
#include "base/error.h"
#include "log/append_db.h"
#include "base/banned.h"

enum { AHEAD = 8, LINE = 64, LINES_MAX = 16 };

static _Thread_local unsigned stripe_plus_one;
static atomic_uint stripes_taken;

void append_count(struct append *db, enum append_counter which, uint64_t amount)
{
    if (stripe_plus_one == 0)
        stripe_plus_one = 1 + atomic_fetch_add(&stripes_taken, 1) % APPEND_STRIPES;
    atomic_fetch_add_explicit(&db->stripes[stripe_plus_one - 1].values[which], amount, memory_order_relaxed);
}

uint64_t append_counted(const struct append *db, enum append_counter which)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < APPEND_STRIPES; i++)
        sum += atomic_load_explicit(&db->stripes[i].values[which], memory_order_relaxed);
    return sum;
}

static inline bool is_expired(const struct append *db, const struct append_entry *e, unsigned flags)
{
    return e->expires_s > 0 && !(flags & APPEND_EXPIRED) && e->expires_s <= append_now_s(db);
}

/* Has an entry in memory under way: it is read from its beginning to its end. */
static inline void prefetch(const struct append *db, append_place place)
{
    const uint8_t *bytes = segment_bytes(segment_at(db, place), place);
    size_t size = append_place_size(place);
    if (!bytes)
        return;
    if (size > LINES_MAX * LINE)
        size = LINES_MAX * LINE;
    for (size_t at = 0; at < size; at += LINE)
        __builtin_prefetch(bytes + at);
    __builtin_prefetch(bytes + size - 1);
}

/* As read_node, of what nearly all entries are; false: it is not such a one, or out->memory is too small. */
static inline bool read_plain(struct append *db, append_place place, plsm_slice key, struct append_value *out)
{
    const struct segment *s = segment_at(db, place);
    const uint8_t *bytes = segment_bytes(s, place);
    plsm_slice value;
    if (!bytes ||
        !append_entry_plain(slice(bytes, append_place_size(place)), s->salt, append_place_offset(place), key, &value) ||
        value.size > out->capacity)
        return false;
    if (value.size)
        memcpy(out->memory, value.data, value.size);
    if (!env_map_whole(&s->lost))
        return false;
    out->value = slice(out->memory, value.size);
    out->meta = slice(out->memory, 0);
    out->value_size = value.size;
    out->expires_s = 0;
    out->kind = BATCH_PUT;
    return true;
}

/* Reads the entry of a node into the caller's memory. Within the epoch. */
static plsm_status read_node(struct append *db, append_place place, plsm_slice key, unsigned flags,
                             struct append_value *out)
{
    struct append_entry e;
    if (__builtin_expect(!(flags & APPEND_NO_VALUE), 1) && read_plain(db, place, key, out))
        return PLSM_OK;
    struct append_memory memory = {out->memory, out->capacity};
    plsm_status status = segment_copy(db, place, key, flags & APPEND_NO_VALUE, &memory, &e);
    out->memory = memory.bytes;
    out->capacity = memory.capacity;
    TRY(status);
    if (__builtin_expect(is_expired(db, &e, flags), 0))
        return PLSM_NOT_FOUND;
    out->value = e.value;
    out->meta = e.meta;
    out->value_size = e.value_size;
    out->expires_s = e.expires_s;
    out->kind = e.kind;
    return PLSM_OK;
}

static plsm_status empty(plsm_status status, struct append_value *out)
{
    *out = (struct append_value){.memory = out->memory, .capacity = out->capacity};
    return status;
}

static inline uint64_t seq_of(const struct append_snapshot *snapshot)
{
    return snapshot ? snapshot->seq : UINT64_MAX;
}

plsm_status append_get(struct append *db, const struct append_snapshot *snapshot, plsm_slice key, unsigned flags,
                       struct append_value *out)
{
    plsm_status status = PLSM_NOT_FOUND;
    epoch_enter(db->epoch);
    const struct key_node *node = key_tree_find(db->tree, key);
    append_place place = node ? directory_place(db, node, seq_of(snapshot)) : 0;
    if (place) {
        prefetch(db, place); /* all lines at once */
        status = read_node(db, place, key, flags, out);
    }
    epoch_exit(db->epoch);
    append_count(db, APPEND_GETS, 1);
    if (__builtin_expect(status == PLSM_OK, 1))
        return PLSM_OK;
    append_count(db, APPEND_GETS_MISSED, 1);
    return empty(status, out);
}

/* Looks keys up in a pipeline, so that up to 3 * AHEAD misses of memory are waited for at once: of one key the bucket
 * of the directory is under way, of one AHEAD before it the node, of one before that the entry (software-pipelined
 * prefetching: Chen, Ailamaki, Gibbons and Mowry, "Improving Hash Join Performance through Prefetching", ICDE 2004).
 * Within the epoch. */
static plsm_status get_some(struct append *db, uint64_t seq, const plsm_slice *keys, size_t count, unsigned flags,
                            struct append_value *outs, plsm_status *statuses)
{
    uint64_t at[APPEND_MANY]; /* hashes, then places */
    plsm_status first = PLSM_OK;
    for (size_t step = 0; step < count + 3 * AHEAD; step++) {
        size_t i = step;
        if (i < count)
            at[i] = key_tree_hash(db->tree, keys[i]);
        i = step - AHEAD; /* below 0 is above all */
        if (i < count)
            key_tree_prefetch(db->tree, at[i]);
        i = step - 2 * AHEAD;
        if (i < count) {
            const struct key_node *node = key_tree_find_hashed(db->tree, keys[i], at[i]);
            at[i] = node ? directory_place(db, node, seq) : 0;
            if (at[i])
                prefetch(db, at[i]);
        }
        i = step - 3 * AHEAD;
        if (i < count) {
            plsm_status status = at[i] ? read_node(db, at[i], keys[i], flags, &outs[i]) : PLSM_NOT_FOUND;
            if (__builtin_expect(status != PLSM_OK, 0)) {
                empty(status, &outs[i]);
                first = status != PLSM_NOT_FOUND && first == PLSM_OK ? status : first;
            }
            statuses[i] = status;
        }
    }
    return first;
}

plsm_status append_multi_get(struct append *db, const struct append_snapshot *snapshot, const plsm_slice *keys,
                             size_t count, unsigned flags, struct append_value *outs, plsm_status *statuses)
{
    struct append_snapshot moment;
    uint64_t missed = 0;
    INVARIANT(count <= APPEND_MANY);
    if (!snapshot)
        directory_snapshot(db, &moment);
    epoch_enter(db->epoch);
    plsm_status first = get_some(db, snapshot ? snapshot->seq : moment.seq, keys, count, flags, outs, statuses);
    epoch_exit(db->epoch);
    if (!snapshot)
        directory_forget(db, &moment);
    for (size_t i = 0; i < count; i++)
        missed += statuses[i] != PLSM_OK;
    append_count(db, APPEND_GETS, count);
    if (missed > 0)
        append_count(db, APPEND_GETS_MISSED, missed);
    return first;
}

static plsm_status pin_place(struct append *db, append_place place, plsm_slice key, struct append_pin *out)
{
    struct append_entry e;
    struct append_memory memory = {0};
    bool in_memory = false;
    plsm_status status = segment_read(db, place, key, false, &memory, &e, &in_memory);
    if (status == PLSM_OK && is_expired(db, &e, 0))
        status = PLSM_NOT_FOUND;
    if (status != PLSM_OK) {
        mem_free(memory.bytes);
        return status;
    }
    *out = (struct append_pin){.value = e.value, .meta = e.meta, .expires_s = e.expires_s, .kind = e.kind};
    if (in_memory) {
        struct segment *s = segment_at(db, place);
        segment_reference(s);
        out->held = APPEND_PIN_SEGMENT;
        out->holder = s;
    } else {
        out->held = APPEND_PIN_COPY;
        out->holder = memory.bytes;
    }
    return PLSM_OK;
}

plsm_status append_get_pinned(struct append *db, const struct append_snapshot *snapshot, plsm_slice key,
                              struct append_pin *out)
{
    plsm_status status = PLSM_NOT_FOUND;
    *out = (struct append_pin){0};
    epoch_enter(db->epoch);
    const struct key_node *node = key_tree_find(db->tree, key);
    append_place place = node ? directory_place(db, node, seq_of(snapshot)) : 0;
    if (place)
        status = pin_place(db, place, key, out);
    epoch_exit(db->epoch);
    append_count(db, APPEND_GETS, 1);
    if (__builtin_expect(status != PLSM_OK, 0))
        append_count(db, APPEND_GETS_MISSED, 1);
    return status;
}

bool append_pin_lost(const struct append_pin *pin)
{
    return pin->held == APPEND_PIN_SEGMENT && !env_map_whole(&((const struct segment *)pin->holder)->lost);
}

void append_unpin(struct append *db, struct append_pin *pin)
{
    if (pin->held == APPEND_PIN_SEGMENT)
        segment_release(pin->holder);
    else if (pin->held == APPEND_PIN_COPY)
        mem_free(pin->holder);
    *pin = (struct append_pin){0};
}

/* Whether there is an entry at a place whose time has not come; only those that expire are read. */
static plsm_status is_alive(struct append *db, append_place place, plsm_slice key, bool *out)
{
    struct append_entry e;
    struct append_memory memory = {0};
    bool in_memory = false;
    *out = place != 0;
    if (!place || !append_place_timed(place))
        return PLSM_OK;
    plsm_status status = segment_read(db, place, key, true, &memory, &e, &in_memory);
    *out = status == PLSM_OK && !is_expired(db, &e, 0);
    mem_free(memory.bytes);
    return status;
}

plsm_status append_has_prefix(struct append *db, const struct append_snapshot *snapshot, plsm_slice prefix, bool *out)
{
    enum { MANY = 32 };
    struct key_node *nodes[MANY];
    struct append_snapshot moment;
    plsm_slice from = prefix;
    bool above = false, more = true;
    plsm_status status = PLSM_OK;
    *out = false;
    if (!snapshot)
        directory_snapshot(db, &moment); /* one moment: else a key that is moved could be missed at both places */
    uint64_t seq = snapshot ? snapshot->seq : moment.seq;
    epoch_enter(db->epoch);
    while (more && !*out && status == PLSM_OK) {
        size_t n = key_tree_ascend(db->tree, from, above, nodes, MANY);
        more = n > 0;
        for (size_t i = 0; i < n && !*out && more && status == PLSM_OK; i++) {
            from = key_node_key(nodes[i]);
            more = slice_starts_with(from, prefix);
            if (more)
                status = is_alive(db, directory_place(db, nodes[i], seq), from, out);
        }
        above = true;
    }
    epoch_exit(db->epoch);
    if (!snapshot)
        directory_forget(db, &moment);
    return status;
}

struct append_snapshot *append_snapshot_create(struct append *db)
{
    struct append_snapshot *snapshot = mem_alloc(sizeof *snapshot);
    if (snapshot)
        directory_snapshot(db, snapshot);
    return snapshot;
}

void append_snapshot_destroy(struct append *db, struct append_snapshot *snapshot)
{
    if (!snapshot)
        return;
    directory_forget(db, snapshot);
    mem_free(snapshot);
}
