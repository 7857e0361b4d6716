/* Keys in order beside the index. */
#include "log/hybrid_private.h"

#include "base/banned.h"

enum { LIVES = 0, NOTED = 1 }; /* words of nodes; NOTED: among the dead */

plsm_status key_order_add(struct key_order *order, plsm_slice key)
{
    if (key_tree_find(order->tree, key) || key_tree_add(order->tree, key, LIVES))
        return PLSM_OK;
    return fail(PLSM_NO_MEMORY, "no memory for a key of %zu bytes", key.size);
}

void key_order_note_dead(struct key_order *order, plsm_slice key, bool absent)
{
    uint8_t size[sizeof(uint16_t)];
    struct key_node *node = key_tree_find(order->tree, key);
    if (node ? atomic_load_explicit(&node->word, memory_order_relaxed) == NOTED : !absent)
        return;
    put_u16(size, (uint16_t)key.size);
    if (buf_reserve(&order->dead, sizeof size + key.size) != PLSM_OK)
        return;
    (void)buf_append(&order->dead, size, sizeof size);
    (void)buf_append(&order->dead, key.data, key.size);
    if (node)
        atomic_store_explicit(&node->word, NOTED, memory_order_relaxed);
}

static bool is_dead(struct hybrid *db, plsm_slice key)
{
    struct found found;
    return find_record(db, moment_now(db), key_hash(key.data, key.size), key, &found) == PLSM_OK &&
           (!found.record || record_sizes(found.record).kind == BATCH_DELETE);
}

void key_order_drop_dead(struct hybrid *db, struct key_order *order, uint64_t most)
{
    if (order->dead.size == 0 || db->snapshots)
        return;
    for (; order->dead_done < order->dead.size && most > 0; most--) {
        const uint8_t *at = order->dead.data + order->dead_done;
        plsm_slice key = slice(at + sizeof(uint16_t), get_u16(at));
        struct key_node *node = key_tree_find(order->tree, key);
        order->dead_done += sizeof(uint16_t) + key.size;
        if (!node)
            continue;
        atomic_store_explicit(&node->word, LIVES, memory_order_relaxed);
        if (is_dead(db, key))
            (void)key_tree_remove(order->tree, node);
    }
    if (order->dead_done == order->dead.size)
        order->dead.size = order->dead_done = 0;
}

void key_order_free(struct key_order *order)
{
    key_tree_destroy(order->tree);
    buf_free(&order->dead);
    order->tree = NULL;
    order->dead_done = 0;
}

uint64_t key_order_bytes(const struct key_order *order)
{
    int64_t bytes = atomic_load_explicit(&((struct key_order *)(uintptr_t)order)->memory.bytes, memory_order_relaxed);
    return (uint64_t)bytes + order->dead.capacity;
}
