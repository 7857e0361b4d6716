/* Point lookups: the directory, then the entry. */
#include "base/error.h"
#include "log/append_db.h"
#include "base/banned.h"

enum { AHEAD = 16 }; /* keys under way at once */

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

static plsm_status reserve(struct append_value *out, size_t size)
{
    if (size <= out->capacity)
        return PLSM_OK;
    void *grown = mem_realloc(out->memory, size + 64);
    if (!grown)
        return fail(PLSM_NO_MEMORY, "no memory for a value of %zu bytes", size);
    out->memory = grown;
    out->capacity = size + 64;
    return PLSM_OK;
}

/* Reads the entry of a node into the caller's memory. Within the epoch. */
static plsm_status read_node(struct append *db, append_place place, plsm_slice key, unsigned flags,
                             struct append_value *out)
{
    struct append_entry e;
    bool in_memory = false;
    struct append_memory memory = {out->memory, out->capacity};
    plsm_status status = segment_read(db, place, key, flags & APPEND_NO_VALUE, &memory, &e, &in_memory);
    out->memory = memory.bytes;
    out->capacity = memory.capacity;
    TRY(status);
    if (is_expired(db, &e, flags))
        return PLSM_NOT_FOUND;
    /* Of references the value is wanted always: they are never so large that they were left unread. */
    bool wanted = !(flags & APPEND_NO_VALUE) || e.kind == BATCH_REFERENCE;
    plsm_slice value = wanted ? e.value : slice(NULL, 0), meta = e.meta;
    if (in_memory) {
        TRY(reserve(out, value.size + meta.size));
        uint8_t *to = out->memory;
        if (value.size)
            memcpy(to, value.data, value.size);
        if (meta.size)
            memcpy(to + value.size, meta.data, meta.size);
        value.data = to;
        meta.data = to + value.size;
    }
    out->value = value;
    out->meta = meta;
    out->value_size = e.value_size;
    out->expires_s = e.expires_s;
    out->kind = e.kind;
    return PLSM_OK;
}

static inline uint64_t seq_of(const struct append_snapshot *snapshot)
{
    return snapshot ? snapshot->seq : UINT64_MAX;
}

plsm_status append_get(struct append *db, const struct append_snapshot *snapshot, plsm_slice key, unsigned flags,
                       struct append_value *out)
{
    plsm_status status = PLSM_NOT_FOUND;
    append_count(db, APPEND_GETS, 1);
    epoch_enter(db->epoch);
    const struct key_node *node = key_tree_find(db->tree, key);
    append_place place = node ? directory_place(db, node, seq_of(snapshot)) : 0;
    if (place)
        status = read_node(db, place, key, flags, out);
    epoch_exit(db->epoch);
    if (status == PLSM_OK)
        append_count(db, APPEND_GETS_FOUND, 1);
    return status;
}

/* Fetches where the entry begins, and its second line. */
static void prefetch(const struct append *db, append_place place)
{
    const struct segment *s = segment_at(db, place);
    const uint8_t *map = atomic_load_explicit(&s->map, memory_order_acquire);
    uint64_t offset = append_place_offset(place);
    if (map && offset + append_place_size(place) <= s->map_size) {
        __builtin_prefetch(map + offset);
        __builtin_prefetch(map + offset + 64);
    }
}

/* A batch of keys goes through each step together, so that waiting for memory overlaps. Within the epoch. */
static plsm_status get_some(struct append *db, uint64_t seq, const plsm_slice *keys, size_t count, unsigned flags,
                            struct append_value *outs, plsm_status *statuses)
{
    uint64_t hashes[AHEAD];
    append_place places[AHEAD];
    plsm_status first = PLSM_OK;
    for (size_t i = 0; i < count; i++)
        hashes[i] = key_tree_hash(db->tree, keys[i]);
    for (size_t i = 0; i < count; i++) {
        const struct key_node *node = key_tree_find_hashed(db->tree, keys[i], hashes[i]);
        places[i] = node ? directory_place(db, node, seq) : 0;
        if (places[i])
            prefetch(db, places[i]);
    }
    for (size_t i = 0; i < count; i++) {
        statuses[i] = places[i] ? read_node(db, places[i], keys[i], flags, &outs[i]) : PLSM_NOT_FOUND;
        if (statuses[i] != PLSM_OK && statuses[i] != PLSM_NOT_FOUND && first == PLSM_OK)
            first = statuses[i];
        if (statuses[i] == PLSM_OK)
            append_count(db, APPEND_GETS_FOUND, 1);
    }
    return first;
}

plsm_status append_multi_get(struct append *db, const struct append_snapshot *snapshot, const plsm_slice *keys,
                             size_t count, unsigned flags, struct append_value *outs, plsm_status *statuses)
{
    struct append_snapshot moment;
    plsm_status first = PLSM_OK;
    if (!snapshot)
        directory_snapshot(db, &moment);
    uint64_t seq = snapshot ? snapshot->seq : moment.seq;
    append_count(db, APPEND_GETS, count);
    for (size_t from = 0; from < count; from += AHEAD) {
        size_t n = count - from < AHEAD ? count - from : AHEAD;
        epoch_enter(db->epoch);
        plsm_status status = get_some(db, seq, keys + from, n, flags, outs + from, statuses + from);
        epoch_exit(db->epoch);
        first = first == PLSM_OK ? status : first;
    }
    if (!snapshot)
        directory_forget(db, &moment);
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
    append_count(db, APPEND_GETS, 1);
    epoch_enter(db->epoch);
    const struct key_node *node = key_tree_find(db->tree, key);
    append_place place = node ? directory_place(db, node, seq_of(snapshot)) : 0;
    if (place)
        status = pin_place(db, place, key, out);
    epoch_exit(db->epoch);
    if (status == PLSM_OK)
        append_count(db, APPEND_GETS_FOUND, 1);
    return status;
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
