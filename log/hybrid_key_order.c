/* Keys in order beside the index. */
#include "log/hybrid_private.h"

#include "base/banned.h"

enum {
    LIVES = 0,             /* words of nodes */
    NOTED = 1,             /* among the dead */
    DRAINED_AT_ONCE = 256, /* while writers wait */
};

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

static plsm_slice dead_at(const struct buf *dead, size_t offset)
{
    const uint8_t *at = dead->data + offset;
    return slice(at + sizeof(uint16_t), get_u16(at));
}

static bool is_dead(struct hybrid *db, uint64_t head, plsm_slice key)
{
    struct found found;
    return find_record_from(db, moment_now(db), head, key, &found) == PLSM_OK &&
           (!found.record || record_sizes(found.record).kind == BATCH_DELETE);
}

/* Where more than half was looked at the rest comes to the front: fewer bytes move than go. */
static void forget_done(struct key_order *order)
{
    if (order->dead_done <= order->dead.size / 2)
        return;
    order->dead.size -= order->dead_done;
    memmove(order->dead.data, order->dead.data + order->dead_done, order->dead.size);
    order->dead_done = 0;
}

void key_order_drop_dead(struct hybrid *db, struct key_order *order, uint64_t most, bool may_read)
{
    if (order->dead.size == 0 || db->snapshots)
        return;
    for (; order->dead_done < order->dead.size && most > 0; most--) {
        plsm_slice key = dead_at(&order->dead, order->dead_done);
        uint64_t head = index_find(&db->index, key_hash(key.data, key.size));
        if (!may_read && head >= address_of(&db->begin) && head < address_of(&db->head))
            break;
        struct key_node *node = key_tree_find(order->tree, key);
        order->dead_done += sizeof(uint16_t) + key.size;
        if (!node)
            continue;
        atomic_store_explicit(&node->word, LIVES, memory_order_relaxed);
        if (is_dead(db, head, key))
            (void)key_tree_remove(order->tree, node);
    }
    forget_done(order);
}

/* Copies the next of the dead; false: there are none to look at. */
static bool copy_dead(struct hybrid *db, const struct key_order *order, struct buf *out)
{
    mutex_lock(&db->write_lock);
    size_t end = order->dead_done;
    for (unsigned i = 0; i < DRAINED_AT_ONCE && end < order->dead.size && !db->snapshots; i++)
        end += sizeof(uint16_t) + dead_at(&order->dead, end).size;
    bool any = end > order->dead_done &&
               buf_append(out, order->dead.data + order->dead_done, end - order->dead_done) == PLSM_OK;
    mutex_unlock(&db->write_lock);
    return any;
}

bool key_order_drain(struct hybrid *db, struct key_order *order)
{
    struct buf some = {0};
    struct found found;
    bool any = copy_dead(db, order, &some);
    for (size_t at = 0; at < some.size;) { /* what is on disk is in the cache of records then */
        plsm_slice key = dead_at(&some, at);
        epoch_enter(db->epoch);
        (void)find_record(db, moment_now(db), key_hash(key.data, key.size), key, &found);
        epoch_exit(db->epoch);
        at += sizeof(uint16_t) + key.size;
    }
    buf_free(&some);
    if (!any)
        return false;
    mutex_lock(&db->write_lock);
    epoch_enter(db->epoch);
    key_order_drop_dead(db, order, DRAINED_AT_ONCE, true);
    epoch_exit(db->epoch);
    any = order->dead.size > 0;
    mutex_unlock(&db->write_lock);
    return any;
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
