/* Entries that expire, as far as the tree does not see to them: when puts do that do not say so themselves, and the
 * extents of large values whose time has come. See expiry.c. */
#ifndef STORE_EXPIRY_H
#define STORE_EXPIRY_H

#include "store/internal.h"

/* Adds the note of a large value that expires: under which name it stands. */
plsm_status expiry_add_note(struct batch *batch, uint64_t expires_s, uint64_t id, plsm_slice name);
/* Whether that note is there and names `name`, in a snapshot. */
plsm_status expiry_has_note(plsm *db, const struct engine_snapshot *snapshot, uint64_t expires_s, uint64_t id,
                            plsm_slice name, bool *out);
/* After a note was written: from this second on there is something to do. */
void expiry_expect(plsm *db, uint64_t expires_s);
/* Deletes the large values whose time has come, if there are any. What fails is left to the next call. Outside of all
 * writes. */
void expiry_reap(plsm *db);
/* The same in front of a write: costs nothing where none expire. */
static inline void expiry_reap_due(plsm *db)
{
    if (__builtin_expect(atomic_load_explicit(&db->next_expiry_s, memory_order_relaxed) != UINT64_MAX, 0))
        expiry_reap(db);
}
/* Learns at a writable opening what there will be to do, and does what is due. What cannot be done now is tried again;
 * it is an error only of a store that turned read-only by it, or PLSM_NO_MEMORY. */
plsm_status expiry_recover(plsm *db);
/* How many notes are damaged, in a snapshot. */
plsm_status expiry_count_damaged(plsm *db, const struct engine_snapshot *snapshot, uint64_t *out);

/* A batch with the same changes as `batch`, where puts of names that do not say when they expire get the store's time;
 * to be freed. PLSM_NO_MEMORY. */
plsm_status expiry_default(const plsm *db, const struct batch *batch, struct batch *out);

#endif
