/* Looking inside a tree: what its runs are made of, how right its models are, where the time of lookups goes. For those
 * who study it; the structs are in base/inspect.h. Keys in them are whole internal keys.
 *
 * What is damaged is told in the structs, and looking goes on. Runs are opened as a lookup opens them; of their models
 * and filters copies are read that are nobody else's. */
#ifndef LSM_INSPECT_H
#define LSM_INSPECT_H

#include "base/inspect.h"
#include "base/status.h"

struct lsm;

/* Calls `each` for every run, level by level as lookups meet them. PLSM_NO_MEMORY. */
plsm_status lsm_inspect_runs(struct lsm *db, void (*each)(void *arg, const plsm_run_info *run), void *arg);

/* Calls `each` for every value log, by number. */
void lsm_inspect_values(struct lsm *db, void (*each)(void *arg, const plsm_value_log_info *log), void *arg);

/* Reads run `number`, asks its model, membership and filter for every key, and the latter two for absent ones: as many
 * as options->keys, made from keys of the run, and the misses that were sampled. `each` (may be NULL) gets every page.
 * PLSM_NOT_FOUND: there is no such run; PLSM_CORRUPT, PLSM_IO: of a page; PLSM_NO_MEMORY. */
plsm_status lsm_inspect_keys(struct lsm *db, uint64_t number, const plsm_inspect_options *options,
                             void (*each)(void *arg, const plsm_page_info *page), void *arg, plsm_keys_info *out);

/* Samples options->keys keys of all runs, each run's part by its entries, and asks models of runs and levels for them;
 * then looks up as many keys of the whole tree. `each` gets every level that holds a run. PLSM_NO_MEMORY, PLSM_CORRUPT,
 * PLSM_IO. */
plsm_status lsm_inspect_levels(struct lsm *db, const plsm_inspect_options *options,
                               void (*each)(void *arg, const plsm_level_info *level), void *arg, plsm_lookup_info *out);

/* Looks up options->keys keys, sampled from the whole tree or (options->absent) made from such and not there, step by
 * step with the time taken between steps, and all at once. These lookups count in the statistics. Errors as above. */
plsm_status lsm_inspect_profile(struct lsm *db, const plsm_inspect_options *options, plsm_profile *out);

#endif
