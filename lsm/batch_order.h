/* The changes of a batch in the order of their keys, each key once, by its last change. Nothing is copied: what is
 * sorted are 16 bytes for each change, and not even those where the keys come in order as they are. */
#ifndef LSM_BATCH_ORDER_H
#define LSM_BATCH_ORDER_H

#include "base/batch.h"

struct batch_order {
    const uint8_t *bytes, *at, *end; /* of the batch; `at`: where the next change stands when the keys are in order */
    struct batch_place {
        uint64_t word; /* a piece of the key: see batch_order.c */
        uint32_t at;   /* offset of the change */
    } *places;         /* NULL: the keys are in order */
    size_t count, next; /* changes but for deletions of ranges; of `places`: those before are done */
    plsm_slice last;    /* the key before */
};
/* Sorts the changes of a batch of less than 4 GiB, which must stay as it is; deletions of ranges are left out.
 * PLSM_NO_MEMORY. */
plsm_status batch_order_start(const struct batch *batch, struct batch_order *out);
/* The next change, and its offset in the batch. False: there is none. */
bool batch_order_next(struct batch_order *order, struct batch_change *change, uint32_t *at);
/* The smallest and the largest key; there must be one. */
void batch_order_bounds(const struct batch_order *order, plsm_slice *smallest, plsm_slice *largest);
void batch_order_end(struct batch_order *order); /* accepts a zeroed one */

#endif
