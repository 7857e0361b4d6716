/* Conversion of a store to another engine.
 *
 * What crashes leave of one that is to take the place of the old store, STORE:
 *   STORE.converting   the new store, not whole yet or not in its place yet; once STORE is the new one (its engine
 *                      tells), the old one
 *   STORE.old          the old store, kept
 * The two change names in one step, so STORE is whole at any time. Where the file system cannot do that it is renamed
 * to STORE.old and the new one to STORE, and a crash between the two leaves no STORE, but both whole. */
#ifndef STORE_CONVERT_H
#define STORE_CONVERT_H

#include "base/env.h"
#include "store/plsm.h"

/* plsm_convert in any environment, for tests. */
plsm_status convert_in(struct env *env, const char *path, const plsm_convert_options *options, plsm_convert_info *out);

#endif
