/* The model of a level: which of its runs may hold a key.
 *
 * It is trained from the bounds of the runs, as the model of a run is from the borders between its pages, and exact in
 * the same way; together with the models of the runs it answers level -> run -> page by arithmetic. When the level
 * changes only this top is made anew (microseconds for thousands of runs): the models below it belong to the runs and
 * go on with them. */
#ifndef LSM_ROUTER_H
#define LSM_ROUTER_H

#include "lsm/run.h"

struct router;

/* Makes a router over runs in key order; *out is NULL when their bounds do not suit it or it would take more than
 * `bytes_max`: then binary search serves. PLSM_NO_MEMORY. */
plsm_status router_create(struct run *const *runs, size_t count, uint64_t bytes_max, struct router **out);
void router_ref(struct router *router);
void router_unref(struct router *router); /* accepts NULL */
/* The number of the run that holds `key`, if one of them does. */
size_t router_find(const struct router *router, plsm_slice key);
uint64_t router_bytes(const struct router *router); /* of memory */
/* What it is made of. */
void router_get_info(const struct router *router, struct model_info *out);

#endif
