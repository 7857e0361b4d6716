/* Large batches, which go into runs at once. See spill.c. */
#ifndef LSM_SPILL_H
#define LSM_SPILL_H

#include "lsm/db.h"

/* From how many bytes on a batch is spilled, but for the values in it that would stay in the log: as many as a memtable
 * holds, or what is given instead of that; at least 1 MiB, below which the files that a spill makes and syncs cost more
 * than they save. Pure. Examples: buffer_size 64 MiB: 64 MiB; 64 KiB: 1 MiB; spill_above 4 KiB: 4 KiB. */
uint64_t spill_above(const struct lsm_options *options);
/* Whether there is so much in a batch beside such values. */
bool spill_is_worth(const struct lsm *db, const struct batch *batch);
static inline bool spill_is_due(const struct lsm *db, const struct batch *batch) /* accepts NULL */
{
    return batch && batch->bytes.size >= db->options.spill_above && spill_is_worth(db, batch);
}
/* Writes such a batch; afterwards it is durable. PLSM_NO_SPACE, PLSM_IO, PLSM_NO_MEMORY, PLSM_TOO_LARGE,
 * PLSM_READ_ONLY: nothing of it is there, or (of a durable write that failed at the last) the next opening tells. */
plsm_status spill_write(struct lsm *db, const struct batch *batch);
/* The same by the leader, of a batch that lsm_prepare made: others wait for all of it. */
plsm_status spill_leading(struct lsm *db, const struct batch *batch);

#endif
