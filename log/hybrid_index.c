/* The index of the hybrid log; see hybrid_index.h. */
#include "log/hybrid_index.h"

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"

#include "base/banned.h"

enum {
    SLAB_BUCKETS = 1023, /* with their head 64 KiB */
    MOVE_BUCKETS = 16,   /* of the old table, at each change: done long before the new one is full */
    FULL_PER_BUCKET = 5, /* entries for each bucket at which the table grows: one bucket in eight has a further one */
    SPARE_LEAST = 64,    /* further buckets beside those that a write may need */
    BITS_MOST = INDEX_BITS_LEAST + INDEX_TAG_BITS,
};

/* Further buckets, in pieces. */
struct index_slab {
    _Alignas(64) struct index_slab *next;
    struct index_bucket buckets[SLAB_BUCKETS];
};

static uint64_t buckets_of(const struct index_table *table)
{
    return UINT64_C(1) << table->bits;
}

static void table_free(struct epoch_node *node)
{
    struct index_table *table = (struct index_table *)(void *)((uint8_t *)node - offsetof(struct index_table, node));
    while (table->slabs) {
        struct index_slab *next = table->slabs->next;
        mem_unmap(table->slabs, sizeof *table->slabs);
        table->slabs = next;
    }
    mem_unmap(table->buckets, sizeof *table->buckets << table->bits);
    mem_free(table);
}

static struct index_table *table_create(unsigned bits)
{
    struct index_table *table = mem_zalloc(sizeof *table);
    if (!table)
        return NULL;
    table->bits = bits;
    table->buckets = mem_map(sizeof *table->buckets << bits);
    if (!table->buckets) {
        mem_free(table);
        return NULL;
    }
    return table;
}

plsm_status index_create(struct hybrid_index *index, struct epoch *epoch, uint64_t keys)
{
    unsigned bits = INDEX_BITS_LEAST;
    while (bits < BITS_MOST && keys >> bits >= FULL_PER_BUCKET)
        bits++;
    *index = (struct hybrid_index){.epoch = epoch};
    struct index_table *table = table_create(bits);
    if (!table)
        return fail(PLSM_NO_MEMORY, "no memory for an index of %llu keys", (unsigned long long)keys);
    atomic_init(&index->table, table);
    return PLSM_OK;
}

void index_destroy(struct hybrid_index *index)
{
    struct index_table *table = atomic_load(&index->table);
    if (!table)
        return;
    if (atomic_load(&table->old))
        table_free(&atomic_load(&table->old)->node);
    table_free(&table->node);
    *index = (struct hybrid_index){.epoch = NULL};
}

uint64_t index_bytes(const struct hybrid_index *index)
{
    const struct index_table *table = atomic_load(&((struct hybrid_index *)(uintptr_t)index)->table);
    const struct index_table *old = atomic_load(&((struct index_table *)(uintptr_t)table)->old);
    uint64_t bytes = sizeof(struct index_bucket) << table->bits;
    for (const struct index_slab *slab = table->slabs; slab; slab = slab->next)
        bytes += sizeof *slab;
    return bytes + (old ? sizeof(struct index_bucket) << old->bits : 0);
}

/* More further buckets for a table. */
static bool add_slab(struct index_table *table)
{
    struct index_slab *slab = mem_map(sizeof *slab);
    if (!slab)
        return false;
    slab->next = table->slabs;
    table->slabs = slab;
    for (unsigned i = 0; i < SLAB_BUCKETS; i++) {
        atomic_store_explicit(&slab->buckets[i].next, table->spare, memory_order_relaxed);
        table->spare = &slab->buckets[i];
    }
    table->spare_count += SLAB_BUCKETS;
    return true;
}

static plsm_status reserve_buckets(struct index_table *table, uint64_t count)
{
    while (table->spare_count < count)
        if (!add_slab(table))
            return fail(PLSM_NO_MEMORY, "no memory for the index");
    return PLSM_OK;
}

static struct index_bucket *take_bucket(struct index_table *table)
{
    INVARIANT(table->spare_count > 0);
    struct index_bucket *bucket = table->spare;
    table->spare = atomic_load_explicit(&bucket->next, memory_order_relaxed);
    table->spare_count--;
    atomic_store_explicit(&bucket->next, NULL, memory_order_relaxed);
    return bucket;
}

/* Puts an entry where one of its tag stands, or into a free place. Further buckets come from `table`. */
static void bucket_put(struct hybrid_index *index, struct index_table *table, struct index_bucket *bucket,
                       uint64_t entry, uint64_t floor)
{
    _Atomic uint64_t *free_entry = NULL;
    for (;;) {
        for (unsigned i = 0; i < INDEX_ENTRIES; i++) {
            uint64_t there = atomic_load_explicit(&bucket->entries[i], memory_order_relaxed);
            bool is_used = there & INDEX_ADDRESS_MASK;
            if (is_used && (there & ~INDEX_ADDRESS_MASK) == (entry & ~INDEX_ADDRESS_MASK)) {
                atomic_store_explicit(&bucket->entries[i], entry, memory_order_release);
                return;
            }
            if (!free_entry && (!is_used || index_address(there) < floor))
                free_entry = &bucket->entries[i];
        }
        struct index_bucket *next = atomic_load_explicit(&bucket->next, memory_order_relaxed);
        if (!next && !free_entry) {
            next = take_bucket(table);
            atomic_store_explicit(&bucket->next, next, memory_order_release);
        }
        if (!next)
            break;
        bucket = next;
    }
    index->used += !(atomic_load_explicit(free_entry, memory_order_relaxed) & INDEX_ADDRESS_MASK);
    atomic_store_explicit(free_entry, entry, memory_order_release);
}

/* --- growing ------------------------------------------------------------------------------------------------------ */

/* Moves one bucket of the old table into two of the new one. That takes no more further buckets than it has. */
static void move_bucket(struct hybrid_index *index, struct index_table *table, const struct index_table *old,
                        uint64_t at, uint64_t floor)
{
    for (struct index_bucket *from = &old->buckets[at]; from; from = atomic_load(&from->next))
        for (unsigned i = 0; i < INDEX_ENTRIES; i++) {
            uint64_t entry = atomic_load_explicit(&from->entries[i], memory_order_relaxed);
            if (!(entry & INDEX_ADDRESS_MASK))
                continue;
            index->used--;
            if (index_address(entry) < floor)
                continue;
            uint64_t high = entry >> (INDEX_ADDRESS_BITS + old->bits - INDEX_BITS_LEAST) & 1;
            bucket_put(index, table, &table->buckets[at | high << old->bits], entry, floor);
        }
}

/* Further buckets that belong to one. */
static uint64_t further_buckets(struct index_bucket *bucket)
{
    uint64_t count = 0;
    while ((bucket = atomic_load_explicit(&bucket->next, memory_order_relaxed)) != NULL)
        count++;
    return count;
}

/* Moves up to `count` buckets, as far as there are further ones beside those that are promised. */
static void move_some(struct hybrid_index *index, struct index_table *table, uint64_t count, uint64_t floor)
{
    struct index_table *old = atomic_load_explicit(&table->old, memory_order_relaxed);
    uint64_t moved = atomic_load_explicit(&table->moved, memory_order_relaxed);
    for (; count > 0 && moved < buckets_of(old); count--, moved++) {
        if (table->spare_count < index->promised + further_buckets(&old->buckets[moved]))
            break;
        move_bucket(index, table, old, moved, floor);
    }
    atomic_store_explicit(&table->moved, moved, memory_order_release);
    if (moved < buckets_of(old))
        return;
    atomic_store_explicit(&table->old, NULL, memory_order_release);
    epoch_retire(index->epoch, &old->node, table_free);
}

static plsm_status grow(struct hybrid_index *index, uint64_t floor)
{
    struct index_table *table = atomic_load(&index->table);
    while (atomic_load(&table->old)) { /* hardly ever: the last growth should be over by now */
        uint64_t moved = atomic_load(&table->moved);
        TRY(reserve_buckets(table, index->promised + further_buckets(&atomic_load(&table->old)->buckets[moved])));
        move_some(index, table, 1, floor);
    }
    struct index_table *larger = table_create(table->bits + 1);
    if (!larger)
        return fail(PLSM_NO_MEMORY, "no memory for an index of twice the size");
    atomic_store(&larger->old, table);
    atomic_store_explicit(&index->table, larger, memory_order_release);
    return PLSM_OK;
}

plsm_status index_reserve(struct hybrid_index *index, uint64_t changes, uint64_t floor)
{
    struct index_table *table = atomic_load_explicit(&index->table, memory_order_relaxed);
    index->promised = 0;
    if (__builtin_expect(index->used + changes > buckets_of(table) * FULL_PER_BUCKET, 0) && table->bits < BITS_MOST) {
        TRY(grow(index, floor));
        table = atomic_load_explicit(&index->table, memory_order_relaxed);
    }
    if (__builtin_expect(table->spare_count < changes + SPARE_LEAST, 0))
        TRY(reserve_buckets(table, changes + SPARE_LEAST));
    index->promised = changes;
    return PLSM_OK;
}

void index_put(struct hybrid_index *index, uint64_t hash, uint64_t address, uint64_t floor)
{
    struct index_table *table = atomic_load_explicit(&index->table, memory_order_relaxed);
    struct index_bucket *bucket = &table->buckets[hash & (buckets_of(table) - 1)];
    if (__builtin_expect(atomic_load_explicit(&table->old, memory_order_relaxed) != NULL, 0)) {
        move_some(index, table, MOVE_BUCKETS, floor);
        struct index_table *old = atomic_load_explicit(&table->old, memory_order_relaxed);
        if (old && (hash & (buckets_of(old) - 1)) >= atomic_load_explicit(&table->moved, memory_order_relaxed))
            bucket = &old->buckets[hash & (buckets_of(old) - 1)];
    }
    bucket_put(index, table, bucket, index_tag(hash) | address / 8, floor);
    index->promised -= index->promised > 0;
}
