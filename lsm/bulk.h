/* Bulk loads to those inside of the tree who fill them with more than a caller of lsm_bulk_* may. */
#ifndef LSM_BULK_H
#define LSM_BULK_H

#include "lsm/db.h"

/* What is spilled (spill.c). */
struct bulk_batch {
    uint64_t bytes, changes;     /* of all of it */
    const struct batch *ranges;  /* its deletions of ranges: older than what is added, and in the same edit */
    plsm_slice smallest, largest; /* of the keys that are added, if there are any */
};
/* A load of a batch, which stays as it is until the load is destroyed, as *of does. Errors as lsm_bulk_create. */
plsm_status bulk_create_of_batch(struct lsm *db, const struct bulk_batch *of, struct lsm_bulk **out);
/* Adds an entry of any kind, whose sequence number means nothing; its key comes behind those before. A large value goes
 * into a value log at once; *entry means nothing afterwards. Errors as lsm_bulk_put. */
plsm_status bulk_add(struct lsm_bulk *bulk, struct entry *entry);
/* Writes what is in memory to runs, and replaces the active memtable. The leader's. */
plsm_status bulk_flush_leading(struct lsm *db);
/* lsm_bulk_finish by the leader, while no write is under way. */
plsm_status bulk_finish_leading(struct lsm_bulk *bulk);

#endif
