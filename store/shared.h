/* Values that several names share: hard links.
 *
 * Each of the names is an entry of kind BATCH_REFERENCE whose value is a link; its meta is empty:
 *
 *   offset  size
 *        0     8  identifier of the shared value, from plsm_new_id
 *
 * The value stands in the keyspace of inodes, under the key be64 identifier, u8 0xff. It is an entry as those of names
 * are: of kind BATCH_PUT with the content as its value, or of kind BATCH_REFERENCE with the reference to its extents
 * (value.h). Its meta is
 *
 *   offset  size
 *        0     4  names: how many entries link to it, at least 1
 *        4     -  the meta that callers see, at most SHARED_META_MAX bytes
 *
 * All numbers little-endian.
 *
 * An entry becomes shared, and gets a further name, by changes of a batch (plsm_batch_share, plsm_batch_link). A put, a
 * deletion, or a move onto a name takes that name away from the shared value, in the same batch; the last one removes
 * the value, and retires its extents as those of a name. Moving a name moves its link. With one name left a value stays
 * shared. Changes of meta, and commits of edits that were opened through a name, reach all names. As each of these is
 * one batch, no crash leaves a link without its value, a wrong count, or a value without a name; plsm_check counts.
 *
 * Who reads a name reads two entries, which must be of one moment: when the first one is a link, a snapshot is taken
 * and both are read from it. Links are references to those who write (db->references in write.c), so a store without
 * any pays nothing. */
#ifndef STORE_SHARED_H
#define STORE_SHARED_H

#include "store/internal.h"

enum { LINK_SIZE = 8, SHARED_KEY_SIZE = 1 + 8 + 1, SHARED_HEAD = 4, SHARED_META_MAX = PLSM_META_MAX - SHARED_HEAD };

_Static_assert(SHARED_META_MAX == (int)PLSM_META_SHARED_MAX, "the public header says it");

/* Which shared value an entry links to, and how many names that has; all zero: it links to none. */
struct sharing {
    uint64_t id;
    uint32_t names;
};

/* Whether what an entry of kind BATCH_REFERENCE holds is a link. */
static inline bool is_link(plsm_slice value)
{
    return value.size == LINK_SIZE;
}

void link_encode(uint64_t id, uint8_t out[LINK_SIZE]);
uint64_t link_decode(plsm_slice value);
/* The whole internal key of a shared value. */
plsm_slice shared_key(uint8_t out[SHARED_KEY_SIZE], uint64_t id);
/* Whether a whole internal key is one, and of which value. */
bool shared_key_decode(plsm_slice key, uint64_t *id);

/* Puts the meta of a shared value together; PLSM_TOO_LARGE. */
plsm_status shared_meta(uint8_t out[PLSM_META_MAX], uint32_t names, plsm_slice meta, plsm_slice *whole);
/* Takes it apart; PLSM_CORRUPT when it is none. */
plsm_status shared_meta_decode(uint64_t id, plsm_slice whole, uint32_t *names, plsm_slice *meta);

/* A link without its value. */
plsm_status shared_missing(uint64_t id);

/* Reads a shared value; out->meta is the callers'. PLSM_NOT_FOUND: no name is left. */
plsm_status shared_get(plsm *db, const struct engine_snapshot *snapshot, uint64_t id, bool no_value,
                       struct engine_value *out, struct sharing *sharing);
/* As the engine's `get`, but what is linked to is returned instead of a link. */
plsm_status shared_follow(plsm *db, const struct engine_snapshot *snapshot, plsm_slice key, bool no_value,
                          struct engine_value *out, struct sharing *sharing);
/* What comes behind the engine's `get`, which has found *out. */
plsm_status shared_follow_found(plsm *db, const struct engine_snapshot *snapshot, plsm_slice key, bool no_value,
                                struct engine_value *out, struct sharing *sharing);

#endif
