/* Directories that stores are made in, beside their place first. */
#ifndef STORE_PLACE_H
#define STORE_PLACE_H

#include "base/env.h"

enum { PLACE_PATH = 4096 };

/* The path without slashes at its end, which would make a name inside of it. PLSM_INVALID: it is empty or too long. */
plsm_status place_of(const char *path, char out[PLACE_PATH]);
/* The place with a suffix. PLSM_INVALID: it is too long. */
plsm_status place_beside(const char *place, const char *suffix, char out[PLACE_PATH]);
/* Nothing is there, or an empty directory (which a rename replaces). PLSM_EXISTS: something is; PLSM_IO,
 * PLSM_PERMISSION. */
plsm_status place_check_empty(struct env *env, const char *place);
/* Whether something is there; a file counts, too. */
plsm_status place_is_taken(struct env *env, const char *place, bool *out);
/* Whether a place is in the directory of a store: in `store` by its name, or in that of any other by what is beside it.
 * PLSM_INVALID: it is. */
plsm_status place_check_outside(struct env *env, const char *place, const char *store);
/* Removes a directory with what is in it: files, and directories that are empty. PLSM_OK when it is not there. */
plsm_status place_remove(struct env *env, const char *place);

#endif
