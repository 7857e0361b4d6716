/* Snapshots, and iterators over them. */
#include "base/alloc.h"
#include "log/hybrid_private.h"

#include "base/banned.h"

struct hybrid_snapshot *hybrid_snapshot_create(struct hybrid *db)
{
    struct hybrid_snapshot *snapshot = mem_zalloc(sizeof *snapshot);
    if (!snapshot)
        return NULL;
    write_lock_enter(db);
    snapshot->at = address_of(&db->tail);
    snapshot->begin = address_of(&db->begin);
    snapshot->commits = counted(&db->commits);
    make_read_only(db, snapshot->at);
    snapshot->next = db->snapshots;
    snapshot->link = &db->snapshots;
    if (snapshot->next)
        snapshot->next->link = &snapshot->next;
    db->snapshots = snapshot;
    write_lock_exit(db);
    return snapshot;
}

void hybrid_snapshot_destroy(struct hybrid *db, struct hybrid_snapshot *snapshot)
{
    if (!snapshot)
        return;
    write_lock_enter(db);
    *snapshot->link = snapshot->next;
    if (snapshot->next)
        snapshot->next->link = snapshot->link;
    write_lock_exit(db);
    mem_free(snapshot);
    if (db->thread && !atomic_exchange(&db->snapshot_gone, true))
        maintenance_wake(db);
}

enum {
    BYTES_OF_MOVE = 2048, /* of the log, that take as long to read through as it takes to look a name up in memory */
    MOVES_OF_READ = 64,   /* that a look at the disk takes as long as */
};

struct hybrid_iterator {
    struct hybrid *db;
    const struct hybrid_snapshot *snapshot;
    struct hybrid_snapshot *own_snapshot; /* the same, when none was given */
    bool no_value, any;
    uint64_t now_s; /* of its creation */
    plsm_status status;
    struct hybrid_entry entry;
    struct hybrid_value value; /* of it */
    struct hybrid_listing *listing;
    const struct live_entries *entries; /* of the listing */
    size_t position;                    /* entries->count: nowhere */

    /* Of a range without names, or of names that are in order: it goes by the ordered keys and looks each up. */
    const struct key_tree *order; /* NULL: it goes by the listing */
    bool by_names, stands;        /* by_names: the order is that of names */
    uint64_t moves_left;          /* looks at names, before a listing is cheaper */
    struct bound {
        size_t size;
        uint8_t bytes[HYBRID_KEY_MAX];
    } from, to, key; /* key: where it stands */
};

static plsm_slice bound_slice(const struct bound *bound)
{
    return slice(bound->bytes, bound->size);
}

/* A longer one than any key is as good as its beginning with more behind. */
static void bound_set(struct bound *bound, plsm_slice bytes)
{
    bound->size = bytes.size < sizeof bound->bytes ? bytes.size : sizeof bound->bytes;
    if (bound->size)
        memcpy(bound->bytes, bytes.data, bound->size);
}

static plsm_status take_listing(struct hybrid_iterator *it, plsm_slice from, plsm_slice to)
{
    TRY(listing_take(it->db, it->snapshot, from, to, &it->listing));
    it->entries = &it->listing->entries;
    it->position = it->entries->count;
    return PLSM_OK;
}

static const uint8_t names[] = {HYBRID_NAMES, HYBRID_NAMES + 1};

/* Whether no name can be in a range. */
static bool has_no_name(plsm_slice from, plsm_slice to)
{
    return (from.size > 0 && slice_compare(from, slice(names + 1, 1)) >= 0) ||
           (to.size > 0 && slice_compare(to, slice(names, 1)) <= 0);
}

/* Whether nothing but names can be. */
static bool has_names_only(plsm_slice from, plsm_slice to)
{
    return from.size > 0 && slice_compare(from, slice(names, 1)) >= 0 && to.size > 0 &&
           slice_compare(to, slice(names + 1, 1)) <= 0;
}

/* What the keys of a range are taken from. */
static plsm_status choose_way(struct hybrid_iterator *it, plsm_slice from, plsm_slice to)
{
    struct hybrid *db = it->db;
    if (has_no_name(from, to)) {
        it->order = db->others.tree;
        return PLSM_OK;
    }
    it->order = has_names_only(from, to) ? name_order_take(db, it->snapshot) : NULL;
    it->by_names = it->order != NULL;
    it->moves_left = (it->snapshot->at - it->snapshot->begin) / BYTES_OF_MOVE;
    return it->order ? PLSM_OK : take_listing(it, from, to);
}

plsm_status hybrid_iterator_create(struct hybrid *db, const struct hybrid_snapshot *snapshot, plsm_slice from,
                                   plsm_slice to, bool no_value, struct hybrid_iterator **out)
{
    *out = NULL;
    struct hybrid_iterator *it = mem_zalloc(sizeof *it);
    if (!it)
        return fail(PLSM_NO_MEMORY, "no memory for an iterator");
    it->db = db;
    it->no_value = no_value;
    it->now_s = now_s(db);
    it->snapshot = snapshot;
    if (has_names_only(from, to))
        name_order_make(db);
    if (!snapshot)
        it->snapshot = it->own_snapshot = hybrid_snapshot_create(db);
    plsm_status status = it->snapshot ? PLSM_OK : fail(PLSM_NO_MEMORY, "no memory for a snapshot");
    bound_set(&it->from, from);
    bound_set(&it->to, to);
    if (status == PLSM_OK)
        status = choose_way(it, from, to);
    if (status != PLSM_OK) {
        hybrid_iterator_destroy(it);
        return status;
    }
    *out = it;
    return PLSM_OK;
}

void hybrid_iterator_show_expired(struct hybrid_iterator *it)
{
    it->any = true;
}

void hybrid_iterator_destroy(struct hybrid_iterator *it)
{
    if (!it)
        return;
    listing_release(it->db, it->listing);
    if (it->by_names)
        name_order_release(it->db);
    hybrid_snapshot_destroy(it->db, it->own_snapshot);
    mem_free(it->value.memory);
    mem_free(it);
}

plsm_status hybrid_iterator_status(const struct hybrid_iterator *it)
{
    return it->status;
}

static plsm_status grow(struct hybrid_iterator *it, uint64_t size)
{
    if (it->value.capacity >= size)
        return PLSM_OK;
    void *memory = mem_realloc(it->value.memory, size);
    if (!memory)
        return fail(PLSM_NO_MEMORY, "no memory for a value of %llu bytes", (unsigned long long)size);
    it->value.memory = memory;
    it->value.capacity = size;
    return PLSM_OK;
}

/* --- names: what was collected ------------------------------------------------------------------------------------ */

/* Reads the value of a put, which was not collected. */
static plsm_status read_value(struct hybrid_iterator *it, const struct live_entry *at)
{
    const struct hybrid_record *record;
    uint64_t size = at->meta_size + (uint64_t)at->value_size;
    epoch_enter(it->db->epoch);
    plsm_status status = record_at(it->db, at->address, &record);
    if (status == PLSM_OK)
        status = grow(it, size);
    if (status == PLSM_OK && at->value_size)
        memcpy(it->value.memory, record_room(record) + (at->expires_s ? sizeof(uint64_t) : 0) + at->meta_size,
               at->value_size);
    epoch_exit(it->db->epoch);
    if (status == PLSM_OK)
        it->entry.value = slice(it->value.memory, at->value_size);
    return status;
}

static bool is_shown(const struct hybrid_iterator *it, const struct live_entry *at)
{
    return it->any || at->expires_s == 0 || at->expires_s > it->now_s;
}

/* Shows the entry at `position`, or nothing. */
static const struct hybrid_entry *show(struct hybrid_iterator *it, size_t position)
{
    it->status = PLSM_OK;
    it->position = position;
    if (position >= it->entries->count)
        return NULL;
    const struct live_entry *at = &it->entries->at[position];
    const uint8_t *meta = at->key + at->key_size;
    it->entry = (struct hybrid_entry){.key = slice(at->key, at->key_size),
                                      .meta = slice(meta, at->meta_size),
                                      .value = slice(NULL, at->value_size),
                                      .expires_s = at->expires_s,
                                      .kind = at->kind};
    if (at->kind == BATCH_REFERENCE)
        it->entry.value = slice(meta + at->meta_size, at->value_size);
    else if (!it->no_value)
        it->status = read_value(it, at);
    if (it->status == PLSM_OK)
        return &it->entry;
    it->position = it->entries->count;
    return NULL;
}

/* The first entry from a position on that is shown. */
static const struct hybrid_entry *forward(struct hybrid_iterator *it, size_t position)
{
    while (position < it->entries->count && !is_shown(it, &it->entries->at[position]))
        position++;
    return show(it, position);
}

/* The last one in front of a position. */
static const struct hybrid_entry *backward(struct hybrid_iterator *it, size_t position)
{
    while (position > 0 && !is_shown(it, &it->entries->at[position - 1]))
        position--;
    return show(it, position > 0 ? position - 1 : it->entries->count);
}

/* The position of the first key that is not less. */
static size_t lower_bound(const struct hybrid_iterator *it, plsm_slice key)
{
    size_t low = 0, high = it->entries->count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        const struct live_entry *at = &it->entries->at[middle];
        if (slice_compare(slice(at->key, at->key_size), key) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* --- other keys, or names in order: by the map -------------------------------------------------------------------- */

/* Counts what a look at a key has cost, whether it shows anything or not. `misses`: those of the cache before it; where
 * other threads miss meanwhile it is dearer than it was. */
static void charge(struct hybrid_iterator *it, const struct found *found, uint64_t misses)
{
    bool on_disk = found->record && found->address < address_of(&it->db->head);
    uint64_t moves = on_disk && counted(&it->db->counters.cache_misses) != misses ? MOVES_OF_READ : 1;
    it->moves_left -= moves < it->moves_left ? moves : it->moves_left;
}

/* Shows the entry of a key as it was at the moment of the iterator; false: there was none. Inside an epoch. */
static bool look_up(struct hybrid_iterator *it, plsm_slice key)
{
    const struct hybrid_snapshot *s = it->snapshot;
    struct found found;
    uint64_t misses = counted(&it->db->counters.cache_misses);
    it->status = find_record(it->db, (struct moment){s->at, s->begin}, key_hash(key.data, key.size), key, &found);
    charge(it, &found, misses);
    if (it->status != PLSM_OK || !found.record)
        return false;
    struct record_sizes sizes = record_sizes(found.record);
    const uint8_t *room = record_room(found.record);
    uint64_t payload = sizes_payload(sizes), expires_s = sizes.timed ? get_u64(room) : 0;
    if (sizes.kind == BATCH_DELETE || (!it->any && expires_s && expires_s <= it->now_s))
        return false;
    bool has_value = !it->no_value || sizes.kind == BATCH_REFERENCE;
    it->status = grow(it, payload);
    if (it->status != PLSM_OK)
        return false;
    if (payload > 0)
        memcpy(it->value.memory, room, has_value ? payload : payload - sizes.value);
    bound_set(&it->key, key);
    const uint8_t *meta = (const uint8_t *)it->value.memory + (sizes.timed ? sizeof(uint64_t) : 0);
    it->entry = (struct hybrid_entry){.key = bound_slice(&it->key),
                                      .meta = slice(meta, sizes.meta),
                                      .value = slice(has_value ? meta + sizes.meta : NULL, sizes.value),
                                      .expires_s = expires_s,
                                      .kind = sizes.kind};
    return true;
}

enum { NODES_AT_ONCE = 16 };

/* The first entry at or, with `above`, above a key. */
static const struct hybrid_entry *ascend(struct hybrid_iterator *it, plsm_slice key, bool above)
{
    struct key_node *nodes[NODES_AT_ONCE];
    it->stands = false;
    it->status = PLSM_OK;
    if (slice_compare(key, bound_slice(&it->from)) < 0) {
        key = bound_slice(&it->from);
        above = false;
    }
    epoch_enter(it->db->epoch);
    for (bool more = true; more && !it->stands && it->status == PLSM_OK;) {
        size_t count = key_tree_ascend(it->order, key, above, nodes, NODES_AT_ONCE);
        more = count > 0;
        for (size_t i = 0; i < count && more && !it->stands && it->status == PLSM_OK; i++) {
            key = key_node_key(nodes[i]);
            above = true;
            more = it->to.size == 0 || slice_compare(key, bound_slice(&it->to)) < 0;
            it->stands = more && look_up(it, key);
        }
    }
    epoch_exit(it->db->epoch);
    return it->stands ? &it->entry : NULL;
}

/* The last entry below a key; empty: of all. */
static const struct hybrid_entry *descend(struct hybrid_iterator *it, plsm_slice key)
{
    struct key_node *nodes[NODES_AT_ONCE];
    it->stands = false;
    it->status = PLSM_OK;
    if (it->to.size && (key.size == 0 || slice_compare(key, bound_slice(&it->to)) > 0))
        key = bound_slice(&it->to);
    epoch_enter(it->db->epoch);
    for (bool more = true; more && !it->stands && it->status == PLSM_OK;) {
        size_t count = key_tree_descend(it->order, key, nodes, NODES_AT_ONCE);
        more = count > 0;
        for (size_t i = 0; i < count && more && !it->stands && it->status == PLSM_OK; i++) {
            key = key_node_key(nodes[i]);
            more = slice_compare(key, bound_slice(&it->from)) >= 0;
            it->stands = more && look_up(it, key);
        }
    }
    epoch_exit(it->db->epoch);
    return it->stands ? &it->entry : NULL;
}

/* Goes by a listing from now on, where it has come so far that it looks like going through a large part of all. */
static void leave_order(struct hybrid_iterator *it)
{
    if (!it->by_names || !it->stands || it->moves_left > 0)
        return;
    if (take_listing(it, bound_slice(&it->from), bound_slice(&it->to)) != PLSM_OK) {
        it->moves_left = UINT64_MAX; /* it works on as it did */
        return;
    }
    it->position = lower_bound(it, bound_slice(&it->key));
    it->order = NULL;
    it->by_names = false;
    name_order_release(it->db);
}

/* --- the door ----------------------------------------------------------------------------------------------------- */

const struct hybrid_entry *hybrid_iterator_first(struct hybrid_iterator *it)
{
    return it->order ? ascend(it, bound_slice(&it->from), false) : forward(it, 0);
}

const struct hybrid_entry *hybrid_iterator_last(struct hybrid_iterator *it)
{
    return it->order ? descend(it, bound_slice(&it->to)) : backward(it, it->entries->count);
}

const struct hybrid_entry *hybrid_iterator_seek(struct hybrid_iterator *it, plsm_slice key)
{
    return it->order ? ascend(it, key, false) : forward(it, lower_bound(it, key));
}

const struct hybrid_entry *hybrid_iterator_seek_before(struct hybrid_iterator *it, plsm_slice key)
{
    if (it->order && key.size == 0) { /* nothing is below it */
        it->stands = false;
        return NULL;
    }
    return it->order ? descend(it, key) : backward(it, lower_bound(it, key));
}

const struct hybrid_entry *hybrid_iterator_next(struct hybrid_iterator *it)
{
    leave_order(it);
    if (it->order)
        return it->stands ? ascend(it, bound_slice(&it->key), true) : NULL;
    return it->position < it->entries->count ? forward(it, it->position + 1) : NULL;
}

const struct hybrid_entry *hybrid_iterator_previous(struct hybrid_iterator *it)
{
    leave_order(it);
    if (it->order)
        return it->stands ? descend(it, bound_slice(&it->key)) : NULL;
    return it->position < it->entries->count ? backward(it, it->position) : NULL;
}
