/* Groups of writes. See write_group.h. */
#include "lsm/write_group.h"

#include "base/batch.h"
#include "base/error.h"
#include "lsm/value_log.h"
#include "base/banned.h"

enum {
    AHEAD = 16, /* changes that are on their way into the memtable at a time */
    PACE = 4,   /* each takes a step when so many more have been added: long enough for memory to answer */
};

struct pending {
    struct batch_change change;
    struct memtable_approach approach;
};

/* Puts a pointer to a value that stays in the log into its place: into `bytes`. */
static void point(struct write_group *g, const struct batch_change *change, uint8_t *bytes, struct entry *entry)
{
    size_t head = sizeof(struct value_record_header) + change->key.size;
    if (change->kind != BATCH_PUT || !(g->recorded ? change->kept : change->value.size >= g->kept_above))
        return;
    struct value_pointer pointer = {.log = g->log, .size = change->value.size, .stored = change->value.size};
    pointer.offset = g->at + (uint64_t)((const uint8_t *)change->value.data - g->batch);
    pointer.offset += g->inserted;
    if (g->recorded)
        pointer.offset -= head;
    else
        g->inserted += head;
    entry->value = slice(bytes, value_pointer_write(bytes, &pointer));
    entry->separated = true;
}

static inline void add_entry(struct write_group *g, const struct entry *entry)
{
    if (g->lane == WRITE_GROUP_ALONE)
        memtable_add(g->table, entry);
    else
        memtable_lane_add(g->table, g->lane, entry);
    g->begun = true;
}

static inline struct entry entry_of(const struct write_group *g, const struct batch_change *change)
{
    return (struct entry){.key = change->key,
                          .meta = change->meta,
                          .value = change->value,
                          .seq = g->seq,
                          .expires_s = change->expires_s,
                          .kind = change->kind};
}

void write_group_add_one(struct write_group *g, const struct batch_change *change)
{
    struct entry entry = entry_of(g, change);
    add_entry(g, &entry);
}

static __attribute__((noinline)) void add_pointed(struct write_group *g, const struct batch_change *change)
{
    uint8_t pointer[VALUE_POINTER_BYTES_MAX];
    struct entry entry = entry_of(g, change);
    point(g, change, pointer, &entry);
    add_entry(g, &entry);
}

static inline void add_change(struct write_group *g, const struct batch_change *change)
{
    if (__builtin_expect(change->kind != BATCH_DELETE_RANGE, 1)) {
        if (__builtin_expect(g->keeps, 0))
            add_pointed(g, change);
        else
            write_group_add_one(g, change);
        return;
    }
    INVARIANT(g->lane == WRITE_GROUP_ALONE);
    g->seq += g->begun;
    memtable_add_range(g->table, change->key, change->value, g->seq, g->first);
    g->begun = true;
}

static bool in_order(const struct write_group *g)
{
    return g->lane == WRITE_GROUP_ALONE ? memtable_in_order(g->table) : memtable_lane_in_order(g->table, g->lane);
}

/* Lets those on the way take a step; not the one that comes next. */
static void approach(struct write_group *g, struct pending *ring, size_t added, size_t read)
{
    for (size_t distance = AHEAD - 1; distance < AHEAD; distance -= PACE) { /* wraps below 0 */
        struct pending *p = &ring[(added + distance) % AHEAD];
        if (added + distance < read && (p->approach.node || !p->approach.begun))
            memtable_approach(g->table, p->change.key, &p->approach);
    }
}

void write_group_add(struct write_group *g, plsm_slice batch)
{
    const uint8_t *at = batch.data, *end = at + batch.size;
    struct pending ring[AHEAD];
    size_t read = 0, added = 0;
    g->batch = at;
    g->inserted = 0;
    for (;;) {
        /* Keys that come in order find the way in the cache. */
        bool ahead = !in_order(g);
        if (read == added && !ahead) {
            struct entry put = {.seq = g->seq, .kind = BATCH_PUT};
            struct batch_change change;
            if (!g->keeps && batch_next_put(&at, end, &put.key, &put.value)) {
                add_entry(g, &put);
                continue;
            }
            if (!batch_next(&at, end, &change))
                break;
            add_change(g, &change);
            continue;
        }
        while (ahead && read < added + AHEAD && batch_next(&at, end, &ring[read % AHEAD].change))
            ring[read++ % AHEAD].approach = (struct memtable_approach){0};
        if (added == read)
            break;
        approach(g, ring, added, read);
        add_change(g, &ring[added++ % AHEAD].change);
    }
    INVARIANT(at == end);
    g->at += batch.size + g->inserted;
}

void write_group_end(struct write_group *g)
{
    if (g->lane == WRITE_GROUP_ALONE)
        memtable_publish_ranges(g->table);
    else
        memtable_lane_end(g->table, g->lane);
}
