/* The MANIFEST: which runs and logs make up the store, as a log of edits.
 *
 * A MANIFEST file begins with a record that describes everything (a snapshot) and goes on with edits. A new one is made
 * at every opening for writing and when it grows above a size: written under a temporary name, synced, renamed to
 * manifest-NUMBER, the directory synced. The highest number there is counts; no other file points to it. */
#ifndef LSM_MANIFEST_H
#define LSM_MANIFEST_H

#include "lsm/version.h"

#define MANIFEST_MAGIC "PLSMMANI"

struct manifest;

/* What a MANIFEST says. */
struct manifest_state {
    struct version *version; /* a reference is held */
    uint64_t log_floor, next_number, seq;
    uint64_t store_id; /* random, made with the store: ties its logs to it */
};

/* Reads manifest-`number`. PLSM_CORRUPT, PLSM_VERSION, PLSM_IO, PLSM_NO_MEMORY. */
plsm_status manifest_read(struct run_context *context, uint64_t number, struct manifest_state *out);

/* Makes manifest-`number` with a snapshot of `state`; older ones are the caller's to remove. When it fails with *named
 * true, the new file may or may not be there under its name: then nothing may be appended to the old one any more,
 * since the next opening could read the new one. */
plsm_status manifest_create(const struct run_context *context, uint64_t number, const struct manifest_state *state,
                            struct manifest **out, bool *named);
/* A number that states have in common only when what a MANIFEST says of them is the same (XXH3-64). PLSM_NO_MEMORY. */
plsm_status manifest_identity(const struct manifest_state *state, uint64_t *out);
/* Appends an edit and syncs: on PLSM_OK it survives power loss. After a failure that leaves manifest_broken true nobody
 * knows whether it does; otherwise it is not there and may be tried again. */
plsm_status manifest_append(struct manifest *manifest, const struct edit *edit);
bool manifest_broken(const struct manifest *manifest);
uint64_t manifest_size(const struct manifest *manifest);
uint64_t manifest_number(const struct manifest *manifest);
/* Closes, recording that it was closed in order when `clean`; accepts NULL. */
plsm_status manifest_close(struct manifest *manifest, bool clean);

void manifest_path(const struct run_context *context, uint64_t number, char *path, size_t size);

#endif
