/* Turning a plsm_batch into plain changes while no other write can come between; see resolve.c. */
#ifndef STORE_RESOLVE_H
#define STORE_RESOLVE_H

#include "store/batch.h"
#include "store/internal.h"

/* Where a key was last changed by this batch: open addressing by the hash of the key. */
struct overlay_slot {
    uint64_t hash;
    uint64_t place; /* offset of the change in `out`, plus 1; 0: empty */
};

struct overlay {
    struct overlay_slot *slots;
    size_t count, capacity; /* capacity is a power of two */
};

void overlay_clear(struct overlay *overlay);

struct resolve {
    plsm *db;
    const plsm_batch *in;
    bool look;             /* what is replaced may be a reference */
    struct batch out;      /* the plain changes, when they differ from in->changes */
    struct overlay overlay;
    struct buf ranges; /* of u64: the places of deletions of ranges of names in `out`, plus 1, in order */
    struct retired retired;
    struct engine_value value; /* of the last look into the tree */
};

/* Is an engine_prepare; `arg` is a struct resolve with the first three members set and the rest zero. */
plsm_status resolve_prepare(void *arg, const struct batch **batch);
void resolve_free(struct resolve *resolve);

/* A name does not hold the reference `value` any more: adds to `out` what retires its extents, or takes a link from
 * its shared value. For other batches that replace what names hold: of the struct only `db` is set, the rest zero, and
 * it is called under the engine's write serialisation. `value` may lie in `out`. */
plsm_status resolve_let_go(struct resolve *resolve, plsm_slice value);

/* Whether a batch needs resolve_prepare at all. */
static inline bool resolve_is_needed(const plsm_batch *batch, bool look)
{
    return batch_special_count(batch) > 0 || batch_condition_count(batch) > 0 || (look && batch->names);
}

#endif
