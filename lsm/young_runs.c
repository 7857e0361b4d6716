/* Places in the tables over young runs. */
#include "lsm/young_runs.h"

#include "base/alloc.h"
#include "base/banned.h"

enum {
    ENTRIES_MIN = 1 << 14, /* of a table: the least that one takes */
    /* Times what the tables and the run at hand hold is the size of a new table, between: */
    GROWTH_LEAST = 2,
    GROWTH_MOST = 8,
    ROOM_MOST = 1 << 30, /* what a new table surely takes */
};

struct young_runs *young_runs_create(void)
{
    struct young_runs *y = mem_zalloc(sizeof *y);
    if (y)
        mutex_init(&y->lock);
    return y;
}

static struct young *table_create(const struct young_runs *y, uint64_t entries)
{
    struct mem_account *before = mem_account_use(y->account);
    struct young *table = young_create(entries);
    mem_account_use(before);
    return table;
}

static void table_destroy(const struct young_runs *y, struct young *table)
{
    struct mem_account *before = mem_account_use(y->account);
    young_destroy(table);
    mem_account_use(before);
}

void young_runs_destroy(struct young_runs *y)
{
    if (!y)
        return;
    for (unsigned t = 0; t < YOUNG_TABLES; t++)
        table_destroy(y, y->tables[t].table);
    mutex_destroy(&y->lock);
    mem_free(y);
}

void young_runs_need(struct young_runs *y, uint8_t place)
{
    struct young_table *t = &y->tables[place / YOUNG_SLOTS];
    atomic_fetch_add_explicit(&t->needed[place % YOUNG_SLOTS], 1, memory_order_relaxed);
}

void young_runs_release(struct young_runs *y, uint8_t place)
{
    struct young_table *t = &y->tables[place / YOUNG_SLOTS];
    unsigned slot = place % YOUNG_SLOTS;
    if (atomic_fetch_sub_explicit(&t->needed[slot], 1, memory_order_acq_rel) == 1)
        atomic_fetch_or_explicit(&t->idle, UINT64_C(1) << slot, memory_order_acq_rel);
}

/* Under lock. */
static void sweep(struct young_runs *y)
{
    uint64_t largest = 0, all_idle = 0;
    for (unsigned i = 0; i < YOUNG_TABLES; i++) {
        struct young_table *t = &y->tables[i];
        uint64_t idle = atomic_exchange_explicit(&t->idle, 0, memory_order_acq_rel);
        all_idle |= idle;
        largest = t->table && t->size > largest ? t->size : largest;
        if (!idle)
            continue;
        t->used &= ~idle;
        if (t->used)
            young_remove(t->table, idle);
    }
    for (unsigned i = 0; i < YOUNG_TABLES && all_idle; i++) {
        struct young_table *t = &y->tables[i];
        if (t->table && !t->used) {
            bool keep = t->size == largest; /* for the next run; the others only cost memory */
            table_destroy(y, t->table);
            t->table = keep ? table_create(y, t->size) : NULL; /* emptied, and given back until it is used */
        }
    }
}

void young_runs_sweep(struct young_runs *y)
{
    mutex_lock(&y->lock);
    sweep(y);
    mutex_unlock(&y->lock);
}

/* Under lock. */
static uint64_t room_in(const struct young_table *t)
{
    return t->table && t->used != UINT64_MAX ? young_room(t->table) : 0;
}

uint64_t young_runs_room(struct young_runs *y)
{
    uint64_t most = 0;
    mutex_lock(&y->lock);
    sweep(y);
    for (unsigned i = 0; i < YOUNG_TABLES; i++) {
        uint64_t room = y->tables[i].table ? room_in(&y->tables[i]) : ROOM_MOST;
        most = room > most ? room : most;
    }
    mutex_unlock(&y->lock);
    return most;
}

uint64_t young_runs_table_size(uint64_t present, uint64_t count, uint64_t expected)
{
    uint64_t entries = present + count, size = expected > present ? expected - present : 0;
    if (size < GROWTH_LEAST * entries)
        size = GROWTH_LEAST * entries;
    return size < GROWTH_MOST * entries ? size : GROWTH_MOST * entries;
}

/* A table with room, or a new one; NULL: neither. Under lock. */
static struct young_table *choose_table(struct young_runs *y, size_t count, uint64_t expected)
{
    struct young_table *best = NULL, *empty = NULL;
    uint64_t present = 0;
    for (unsigned i = 0; i < YOUNG_TABLES; i++) {
        struct young_table *t = &y->tables[i];
        if (!t->table) {
            empty = empty ? empty : t;
            continue;
        }
        struct young_counts counts;
        young_count(t->table, &counts);
        present += counts.entries;
        if (t->used != UINT64_MAX && room_in(t) >= count && (!best || t->size > best->size))
            best = t;
    }
    if (best || !empty)
        return best;
    uint64_t size = young_runs_table_size(present, count, expected);
    empty->size = size > ENTRIES_MIN ? size : ENTRIES_MIN;
    empty->used = 0;
    empty->table = table_create(y, empty->size);
    return empty->table ? empty : NULL;
}

uint8_t young_runs_enter(struct young_runs *y, const uint64_t *hashes, size_t count, uint64_t expected)
{
    uint8_t place = YOUNG_PLACE_NONE;
    mutex_lock(&y->lock);
    sweep(y);
    struct young_table *t = choose_table(y, count, expected);
    if (t) {
        unsigned slot = (unsigned)__builtin_ctzll(~t->used);
        if (young_insert(t->table, slot, hashes, count)) {
            t->used |= UINT64_C(1) << slot;
            atomic_store_explicit(&t->needed[slot], 1, memory_order_relaxed);
            place = (uint8_t)((t - y->tables) * YOUNG_SLOTS + slot);
        }
    }
    mutex_unlock(&y->lock);
    return place;
}

void young_runs_get_info(struct young_runs *y, struct young_runs_info *out)
{
    *out = (struct young_runs_info){0};
    mutex_lock(&y->lock);
    for (unsigned i = 0; i < YOUNG_TABLES; i++) {
        struct young_counts counts;
        if (!y->tables[i].table)
            continue;
        young_count(y->tables[i].table, &counts);
        out->tables++;
        out->runs += (uint64_t)__builtin_popcountll(counts.slots);
        out->entries += counts.entries;
        out->bytes += young_memory(y->tables[i].table);
        out->probes_further += counts.probes_further;
    }
    mutex_unlock(&y->lock);
}
