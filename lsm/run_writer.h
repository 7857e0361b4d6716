/* Writing a run: entries in, a finished and synced file out. */
#ifndef LSM_RUN_WRITER_H
#define LSM_RUN_WRITER_H

#include "lsm/run.h"

struct run_writer;

/* What a run is to have. */
struct run_plan {
    unsigned level;
    enum lsm_group group;
    unsigned filter_bits;   /* 0: no filter */
    bool fuse_only;         /* the filter is the traditional one, and nothing serves in its place */
    bool small;             /* filters that are smaller and slower */
    bool young;             /* above the last level */
    bool tailored;          /* the filter may be made for what is asked for in vain */
    uint64_t keys_expected; /* about */
    bool train;             /* a model */
    uint64_t oldest_s;      /* as in run_facts */
    bool merged;            /* by a compaction */
    bool flush;             /* keys, metas and values stay where they are until the run is finished */
    bool blocked;           /* the filter is one that is made and asked fast, and larger */
    uint32_t job;           /* number of the first run of the same flush or compaction; 0: this is it */
};

/* Starts the file of run `number`. */
plsm_status run_writer_create(const struct run_context *context, uint64_t number, const struct run_plan *plan,
                              struct run_writer **out);
const struct run_plan *run_writer_plan(const struct run_writer *w);
/* Adds an entry: keys in order, versions of a key newest first. After an error only destroy may be called. */
plsm_status run_writer_add(struct run_writer *w, const struct entry *entry);
/* Adds a fragment of range tombstones, as far as it is to be kept (at least one deletion of it is), with these bounds:
 * in order; beside the entries. Bounds and deletions are copied. A run needs an entry: one that gets none before
 * run_writer_finish gets a deletion of the first key of its first fragment, which deletes nothing more. */
plsm_status run_writer_add_range(struct run_writer *w, const struct tombstone *t, plsm_slice from, plsm_slice to);
/* Bytes of finished pages so far. */
uint64_t run_writer_size(const struct run_writer *w);
uint64_t run_writer_entries(const struct run_writer *w); /* so far */
/* Writes indexes and footer and syncs the file (not the directory). *facts describes the run; its slices are valid
 * until the writer is destroyed. `seq_max` is recorded. At least one entry or range must have been added. */
plsm_status run_writer_finish(struct run_writer *w, uint64_t seq_max, struct run_facts *facts);
/* After that, until it is destroyed: what was entered into the filter (learn/membership.h), none without one; and what
 * serves in its place. */
const uint64_t *run_writer_hashes(const struct run_writer *w, size_t *count);
const struct membership_built *run_writer_membership(const struct run_writer *w);
/* Closes; removes the file when it was not finished. Accepts NULL. */
void run_writer_destroy(struct run_writer *w);

#endif
