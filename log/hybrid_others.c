/* Keys that are no names, in order beside the index. */
#include "log/hybrid_private.h"

#include "base/banned.h"

void others_note_dead(struct hybrid *db, plsm_slice key)
{
    uint8_t size[sizeof(uint16_t)];
    put_u16(size, (uint16_t)key.size);
    if (buf_reserve(&db->dead_others, sizeof size + key.size) != PLSM_OK)
        return;
    (void)buf_append(&db->dead_others, size, sizeof size);
    (void)buf_append(&db->dead_others, key.data, key.size);
}

void others_drop_dead(struct hybrid *db)
{
    const uint8_t *at = db->dead_others.data, *end = at + db->dead_others.size;
    if (db->snapshots)
        return;
    while (at < end) {
        struct found found;
        plsm_slice key = slice(at + sizeof(uint16_t), get_u16(at));
        struct key_node *node = key_tree_find(db->others, key);
        at += sizeof(uint16_t) + key.size;
        if (node && find_record(db, moment_now(db), key_hash(key.data, key.size), key, &found) == PLSM_OK &&
            (!found.record || record_sizes(found.record).kind == BATCH_DELETE))
            (void)key_tree_remove(db->others, node);
    }
    db->dead_others.size = 0;
}

plsm_status others_add(struct hybrid *db, plsm_slice key)
{
    if (key_tree_find(db->others, key) || key_tree_add(db->others, key, 0))
        return PLSM_OK;
    return fail(PLSM_NO_MEMORY, "no memory for a key of %zu bytes", key.size);
}
