/* The model of a level: which of its runs may hold a key.
 *
 * Of each run's largest key it keeps eight bytes, behind the prefix that all keys of the level share, as a number; a
 * straight line through the first and the last of these numbers predicts how many of them are below a key's, and the
 * largest error of that prediction, which is known when the line is drawn, bounds the search around it. (Interpolation
 * search with a proven bound: Kraska et al., "The Case for Learned Index Structures", SIGMOD 2018, of one line.) So the
 * answer is exact for every key whose eight bytes differ from the bounds'; where they are equal, the bounds themselves
 * decide, from there on.
 *
 * Together with the models of the runs it answers level -> run -> page by arithmetic. When the level changes only this
 * top is made anew (microseconds for thousands of runs): the models below it belong to the runs and go on with them. */
#ifndef LSM_ROUTER_H
#define LSM_ROUTER_H

#include "lsm/run.h"

struct router;

/* Makes a router over `count` runs in key order; *out is NULL when there are fewer than two or it would take more than
 * `bytes_max`: then binary search serves. PLSM_NO_MEMORY. */
plsm_status router_create(struct run *const *runs, size_t count, uint64_t bytes_max, struct router **out);
void router_ref(struct router *router);
void router_unref(struct router *router); /* accepts NULL */
/* How many runs end before `key`, or fewer: those from there on whose largest key has the same eight bytes may too. */
size_t router_find(const struct router *router, plsm_slice key);
uint64_t router_bytes(const struct router *router); /* of memory */
/* What it is made of: as of a linear model with a run in the place of a page. */
void router_get_info(const struct router *router, struct model_info *out);

#endif
