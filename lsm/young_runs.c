/* Places in the tables over young runs. */
#include "lsm/young_runs.h"

#include "base/alloc.h"
#include "base/banned.h"

enum {
    ENTRIES_MIN = 1 << 14,  /* of a table: the least that one takes */
    SPARSE_PARTS = 4,       /* a table with a smaller part of the entries it was made for is sparse */
    SPARSE_LEAST = 1 << 20, /* bytes: smaller tables stay in the processor's cache however sparse they are, and
                               young_create does not see to it that they can be divided */
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
        table_destroy(y, young_runs_table(y, t));
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

/* Readers come to see what is entered from now on. */
static void table_set(struct young_table *t, struct young *table)
{
    atomic_store_explicit(&t->table, table, memory_order_release);
}

static struct young *table_of(const struct young_table *t)
{
    return atomic_load_explicit(&t->table, memory_order_relaxed);
}

/* Under lock. */
static void sweep(struct young_runs *y)
{
    uint64_t largest = 0, all_idle = 0;
    for (unsigned i = 0; i < YOUNG_TABLES; i++) {
        struct young_table *t = &y->tables[i];
        uint64_t idle = atomic_exchange_explicit(&t->idle, 0, memory_order_acq_rel);
        all_idle |= idle;
        uint64_t size = table_of(t) ? young_size(table_of(t)) : 0;
        largest = size > largest ? size : largest;
        if (!idle)
            continue;
        t->used &= ~idle;
        if (t->used)
            young_remove(table_of(t), idle);
    }
    for (unsigned i = 0; i < YOUNG_TABLES && all_idle; i++) {
        struct young_table *t = &y->tables[i];
        struct young *table = table_of(t);
        if (table && !t->used) {
            uint64_t size = young_size(table); /* the largest stays for the next run; the others only cost memory */
            table_destroy(y, table);           /* emptied, and given back until it is used */
            table_set(t, size == largest ? table_create(y, size) : NULL);
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
    return table_of(t) && t->used != UINT64_MAX ? young_room(table_of(t)) : 0;
}

uint64_t young_runs_room(struct young_runs *y)
{
    uint64_t most = 0;
    mutex_lock(&y->lock);
    sweep(y);
    for (unsigned i = 0; i < YOUNG_TABLES; i++) {
        uint64_t room = table_of(&y->tables[i]) ? room_in(&y->tables[i]) : ROOM_MOST;
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

/* Under lock. */
static uint64_t entries_in(const struct young_table *t)
{
    struct young_counts counts;
    young_count(table_of(t), &counts);
    return counts.entries;
}

/* A table with room, or a new one; NULL: neither. Under lock. */
static struct young_table *choose_table(struct young_runs *y, size_t count, uint64_t expected)
{
    struct young_table *best = NULL, *empty = NULL;
    uint64_t present = 0;
    for (unsigned i = 0; i < YOUNG_TABLES; i++) {
        struct young_table *t = &y->tables[i];
        if (!table_of(t)) {
            empty = empty ? empty : t;
            continue;
        }
        present += entries_in(t);
        if (room_in(t) >= count && t->used != UINT64_MAX &&
            (!best || young_size(table_of(t)) > young_size(table_of(best))))
            best = t;
    }
    if (best || !empty)
        return best;
    uint64_t size = young_runs_table_size(present, count, expected);
    empty->used = empty->sparse_ns = 0;
    table_set(empty, table_create(y, size > ENTRIES_MIN ? size : ENTRIES_MIN));
    return table_of(empty) ? empty : NULL;
}

/* Under lock. */
static bool is_sparse(const struct young_table *t, uint64_t expected)
{
    const struct young *table = table_of(t);
    if (!table || young_memory(table) < SPARSE_LEAST)
        return false;
    uint64_t most = young_size(table) / SPARSE_PARTS;
    return entries_in(t) < most && expected < most;
}

uint8_t young_runs_enter(struct young_runs *y, const uint64_t *hashes, size_t count, uint64_t expected)
{
    uint8_t place = YOUNG_PLACE_NONE;
    mutex_lock(&y->lock);
    sweep(y);
    struct young_table *t = choose_table(y, count, expected);
    if (t) {
        unsigned slot = (unsigned)__builtin_ctzll(~t->used);
        if (young_insert(table_of(t), slot, hashes, count)) {
            t->used |= UINT64_C(1) << slot;
            atomic_store_explicit(&t->needed[slot], 1, memory_order_relaxed);
            t->sparse_ns = is_sparse(t, expected) ? t->sparse_ns : 0;
            place = (uint8_t)((t - y->tables) * YOUNG_SLOTS + slot);
        }
    }
    mutex_unlock(&y->lock);
    return place;
}

/* --- tables that have become too large --- */

struct retired {
    struct epoch_node node; /* the first */
    struct young_runs *y;
    struct young *table;
};

static void retire_end(struct epoch_node *node)
{
    struct retired *r = (struct retired *)(void *)node;
    struct mem_account *before = mem_account_use(r->y->account);
    young_destroy(r->table);
    mem_free(r);
    mem_account_use(before);
}

/* Puts a smaller table in the place of a sparse one. False: there was no memory, or one that was put in the place of
 * another before cannot be divided again while it holds so much. Under lock. */
static bool shrink(struct young_runs *y, struct young_table *t, uint64_t expected)
{
    struct young *table = table_of(t), *smaller = NULL;
    uint64_t present = entries_in(t), wanted = present + present / 2;
    if (t->used == 0) { /* nobody can ask it */
        table_destroy(y, table);
        table_set(t, NULL);
        return true;
    }
    struct mem_account *before = mem_account_use(y->account);
    struct retired *r = mem_alloc(sizeof *r);
    if (r)
        smaller = young_shrink(table, wanted > expected ? wanted : expected);
    if (!smaller)
        mem_free(r);
    mem_account_use(before);
    if (!smaller)
        return false;
    *r = (struct retired){.y = y, .table = table};
    table_set(t, smaller);
    epoch_retire(y->epoch, &r->node, retire_end);
    return true;
}

bool young_runs_fit(struct young_runs *y, uint64_t expected, uint64_t now_ns)
{
    bool again = false;
    mutex_lock(&y->lock);
    sweep(y);
    for (unsigned i = 0; i < YOUNG_TABLES; i++) {
        struct young_table *t = &y->tables[i];
        if (!is_sparse(t, expected)) {
            t->sparse_ns = 0;
            continue;
        }
        if (!t->sparse_ns)
            t->sparse_ns = now_ns;
        again |= now_ns - t->sparse_ns < YOUNG_SPARSE_NS || shrink(y, t, expected);
    }
    mutex_unlock(&y->lock);
    return again;
}

void young_runs_get_info(struct young_runs *y, struct young_runs_info *out)
{
    *out = (struct young_runs_info){0};
    mutex_lock(&y->lock);
    for (unsigned i = 0; i < YOUNG_TABLES; i++) {
        const struct young *table = table_of(&y->tables[i]);
        struct young_counts counts;
        if (!table)
            continue;
        young_count(table, &counts);
        out->tables++;
        out->runs += (uint64_t)__builtin_popcountll(counts.slots);
        out->entries += counts.entries;
        out->bytes += young_memory(table);
        out->probes_further += counts.probes_further;
    }
    mutex_unlock(&y->lock);
}
