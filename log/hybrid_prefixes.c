/* Counted directories; see hybrid_prefixes.h. Open addressing with linear probing over pointers: what is there stays
 * until the table is made anew, so a reader's probe never misses what was there when it began. */
#include "log/hybrid_prefixes.h"

#include <stddef.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/checksum.h"
#include "base/error.h"

#include "base/banned.h"

enum { SLOTS_LEAST = 256 };

struct prefix {
    struct epoch_node node;
    uint64_t hash;
    _Atomic uint64_t live, timed;
    uint32_t size;
    uint8_t bytes[];
};

struct prefix_table {
    struct epoch_node node;
    uint64_t slots, used; /* slots: a power of two */
    uint64_t bytes;       /* of all prefixes */
    _Atomic(struct prefix *) at[];
};

static struct prefix_table *table_create(uint64_t slots)
{
    struct prefix_table *table = mem_zalloc(sizeof *table + slots * sizeof table->at[0]);
    if (table)
        table->slots = slots;
    return table;
}

static void table_free(struct epoch_node *node)
{
    mem_free((uint8_t *)node - offsetof(struct prefix_table, node));
}

static void prefix_free(struct epoch_node *node)
{
    mem_free((uint8_t *)node - offsetof(struct prefix, node));
}

plsm_status prefixes_create(struct hybrid_prefixes *prefixes, struct epoch *epoch)
{
    struct prefix_table *table = table_create(SLOTS_LEAST);
    *prefixes = (struct hybrid_prefixes){.epoch = epoch};
    if (!table)
        return fail(PLSM_NO_MEMORY, "no memory to count directories");
    atomic_init(&prefixes->table, table);
    return PLSM_OK;
}

void prefixes_destroy(struct hybrid_prefixes *prefixes)
{
    struct prefix_table *table = atomic_load(&prefixes->table);
    for (uint64_t i = 0; table && i < table->slots; i++)
        mem_free(atomic_load(&table->at[i]));
    mem_free(table);
    *prefixes = (struct hybrid_prefixes){.epoch = NULL};
}

static struct prefix_table *table_of(const struct hybrid_prefixes *prefixes)
{
    return atomic_load_explicit(&((struct hybrid_prefixes *)(uintptr_t)prefixes)->table, memory_order_acquire);
}

uint64_t prefixes_bytes(const struct hybrid_prefixes *prefixes)
{
    const struct prefix_table *table = table_of(prefixes);
    return sizeof *table + table->slots * sizeof table->at[0] + table->bytes;
}

/* The slot where a prefix stands or would. */
static _Atomic(struct prefix *) *slot_of(struct prefix_table *table, uint64_t hash, plsm_slice bytes)
{
    for (uint64_t i = hash & (table->slots - 1);; i = (i + 1) & (table->slots - 1)) {
        const struct prefix *there = atomic_load_explicit(&table->at[i], memory_order_acquire);
        if (!there || (there->hash == hash && slice_equal(slice(there->bytes, there->size), bytes)))
            return &table->at[i];
    }
}

/* The next prefix of a key behind *size bytes, the *depth-th; false: there is none that is counted. */
static bool next_prefix(plsm_slice key, size_t *size, unsigned *depth)
{
    const uint8_t *bytes = key.data, *slash = memchr(bytes + *size, '/', key.size - *size);
    if (!slash || *depth == PREFIX_DEPTH_MAX)
        return false;
    *size = (size_t)(slash - bytes) + 1;
    ++*depth;
    return true;
}

plsm_status prefixes_trim(struct hybrid_prefixes *prefixes, uint64_t more)
{
    struct prefix_table *table = table_of(prefixes);
    uint64_t live = 0;
    if (table->used + more <= table->slots / 2)
        return PLSM_OK;
    for (uint64_t i = 0; i < table->slots; i++) {
        struct prefix *prefix = atomic_load_explicit(&table->at[i], memory_order_relaxed);
        live += prefix && atomic_load_explicit(&prefix->live, memory_order_relaxed) > 0;
    }
    uint64_t slots = SLOTS_LEAST;
    while (slots < 4 * live + 2 * more)
        slots *= 2;
    struct prefix_table *fresh = table_create(slots);
    if (!fresh)
        return fail(PLSM_NO_MEMORY, "no memory to count directories");
    for (uint64_t i = 0; i < table->slots; i++) {
        struct prefix *prefix = atomic_load_explicit(&table->at[i], memory_order_relaxed);
        if (prefix && atomic_load_explicit(&prefix->live, memory_order_relaxed) > 0) {
            atomic_store_explicit(slot_of(fresh, prefix->hash, slice(prefix->bytes, prefix->size)), prefix,
                                  memory_order_relaxed);
            fresh->used++;
            fresh->bytes += sizeof *prefix + prefix->size;
        }
    }
    atomic_store_explicit(&prefixes->table, fresh, memory_order_release);
    for (uint64_t i = 0; i < table->slots; i++) {
        struct prefix *prefix = atomic_load_explicit(&table->at[i], memory_order_relaxed);
        if (prefix && atomic_load_explicit(&prefix->live, memory_order_relaxed) == 0)
            epoch_retire(prefixes->epoch, &prefix->node, prefix_free);
    }
    epoch_retire(prefixes->epoch, &table->node, table_free);
    return PLSM_OK;
}

plsm_status prefixes_reserve(struct hybrid_prefixes *prefixes, plsm_slice key)
{
    size_t size = 0;
    unsigned depth = 0;
    while (next_prefix(key, &size, &depth)) {
        struct prefix_table *table = table_of(prefixes);
        uint64_t hash = key_hash(key.data, size);
        _Atomic(struct prefix *) *slot = slot_of(table, hash, slice(key.data, size));
        if (atomic_load_explicit(slot, memory_order_relaxed))
            continue;
        struct prefix *prefix = mem_alloc(sizeof *prefix + size);
        if (!prefix)
            return fail(PLSM_NO_MEMORY, "no memory to count a directory");
        *prefix = (struct prefix){.hash = hash, .size = (uint32_t)size};
        memcpy(prefix->bytes, key.data, size);
        atomic_store_explicit(slot, prefix, memory_order_release);
        table->used++;
        table->bytes += sizeof *prefix + size;
    }
    return PLSM_OK;
}

bool prefixes_count(struct hybrid_prefixes *prefixes, plsm_slice key, int live, int timed)
{
    size_t size = 0;
    unsigned depth = 0;
    bool all = true;
    while (next_prefix(key, &size, &depth)) {
        struct prefix *prefix = atomic_load_explicit(
            slot_of(table_of(prefixes), key_hash(key.data, size), slice(key.data, size)), memory_order_relaxed);
        if (!prefix || (live < 0 && atomic_load_explicit(&prefix->live, memory_order_relaxed) == 0)) {
            all = false;
            continue;
        }
        if (timed)
            atomic_fetch_add_explicit(&prefix->timed, (uint64_t)(int64_t)timed, memory_order_release);
        if (live)
            atomic_fetch_add_explicit(&prefix->live, (uint64_t)(int64_t)live, memory_order_release);
    }
    return all;
}

bool prefixes_get(const struct hybrid_prefixes *prefixes, plsm_slice bytes, struct prefix_count *out)
{
    size_t size = 0;
    unsigned depth = 0;
    *out = (struct prefix_count){0};
    while (next_prefix(bytes, &size, &depth))
        ;
    if (size < bytes.size)
        return false;
    struct prefix *prefix = atomic_load_explicit(slot_of(table_of(prefixes), key_hash(bytes.data, bytes.size), bytes),
                                                 memory_order_acquire);
    if (prefix)
        *out = (struct prefix_count){atomic_load_explicit(&prefix->live, memory_order_acquire),
                                     atomic_load_explicit(&prefix->timed, memory_order_acquire)};
    return true;
}

void prefixes_each(const struct hybrid_prefixes *prefixes,
                   void (*each)(void *arg, plsm_slice prefix, struct prefix_count count), void *arg)
{
    const struct prefix_table *table = table_of(prefixes);
    for (uint64_t i = 0; i < table->slots; i++) {
        const struct prefix *prefix = atomic_load_explicit(&table->at[i], memory_order_acquire);
        struct prefix_count count = {0};
        if (prefix)
            count = (struct prefix_count){atomic_load_explicit(&prefix->live, memory_order_acquire),
                                          atomic_load_explicit(&prefix->timed, memory_order_acquire)};
        if (count.live > 0)
            each(arg, slice(prefix->bytes, prefix->size), count);
    }
}
