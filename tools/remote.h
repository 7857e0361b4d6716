/* A store that a daemon has mounted: what commands ask of it goes through its socket (base/wire.h). */
#ifndef TOOLS_REMOTE_H
#define TOOLS_REMOTE_H

#include "base/changes.h"
#include "store/plsm.h"

struct remote;

/* PLSM_NOT_FOUND: there is no socket, or nobody listens; PLSM_PERMISSION, PLSM_VERSION, PLSM_IO, PLSM_NO_MEMORY. */
plsm_status remote_open(const char *store, struct remote **out);
void remote_close(struct remote *remote); /* accepts NULL; what was not committed is forgotten */

/* All fail with what the daemon says, or PLSM_IO when it is gone. */

/* Adds to the batch, which goes over in large pieces. */
plsm_status remote_change(struct remote *remote, const struct change *change);
plsm_status remote_commit(struct remote *remote, plsm_durability durability);
/* A value of any size. */
plsm_status remote_edit_open(struct remote *remote, plsm_slice key);
plsm_status remote_edit_write(struct remote *remote, plsm_slice bytes);
plsm_status remote_edit_commit(struct remote *remote, plsm_durability durability);
plsm_status remote_has(struct remote *remote, plsm_slice key); /* PLSM_NOT_FOUND */
plsm_status remote_flush(struct remote *remote);
plsm_status remote_compact(struct remote *remote, plsm_slice from, plsm_slice to);
plsm_status remote_retrain(struct remote *remote, bool all);

#endif
