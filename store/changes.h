/* Changes as lines and frames bring them (base/changes.h, base/wire.h), put into a batch: what the commands and the
 * mount have in common on top of plsm.h. */
#ifndef STORE_CHANGES_H
#define STORE_CHANGES_H

#include "base/changes.h"
#include "store/plsm.h"

/* Adds a change of the names, or a condition on them. Errors as the function of plsm.h for its kind. */
plsm_status changes_add(plsm_batch *batch, const struct change *change);

#endif
