/* Runs of other stores on their way into this one. */
#ifndef LSM_INGEST_H
#define LSM_INGEST_H

#include "lsm/db.h"

/* Which entries are let in. */
struct ingest_rules {
    lsm_bulk_allow *allow;
    void *arg;
};
/* Copies the file of a run into the store and checks the copy; *out is it, with one reference, in no version yet and
 * not obsolete. Nothing stays of it after an error: PLSM_NOT_FOUND (no such file), PLSM_CORRUPT (no run, or a damaged
 * one), PLSM_VERSION, PLSM_INVALID (deletions, versions, or what `allow` refused), PLSM_NO_SPACE, PLSM_IO,
 * PLSM_NO_MEMORY. */
plsm_status ingest_run(struct lsm *db, const char *path, const struct ingest_rules *rules, struct run **out);

/* Reads a whole run that is in no version and checks all that can be checked, and that each entry is a put without
 * sequence number that `allow` lets pass (check.c). PLSM_CORRUPT with the first problem, or what `allow` returned. */
plsm_status check_foreign_run(struct lsm *db, struct run *run, lsm_bulk_allow *allow, void *arg);

#endif
