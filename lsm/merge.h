/* Merging cursors into one ordered stream.
 *
 * Cursors are given newest source first. For equal keys the one given earlier wins: every source of the tree holds only
 * versions newer than those in the sources behind it, so no sequence numbers need to be compared.
 *
 * A binary heap of cursor numbers over cached 8-byte key heads; with one cursor left there is no merging at all. */
#ifndef LSM_MERGE_H
#define LSM_MERGE_H

#include "lsm/cursor.h"

struct merge {
    struct cursor *cursors;
    unsigned count;
    unsigned *heap, heap_count;
    bool backward;
    bool all_versions;
    plsm_status status; /* of the first cursor that failed; the stream then ends */
};

/* Takes an array of `count` opened cursors (not owned). PLSM_NO_MEMORY. */
plsm_status merge_init(struct merge *m, struct cursor *cursors, unsigned count, bool all_versions);
void merge_destroy(struct merge *m);

void merge_first(struct merge *m);
void merge_last(struct merge *m);
void merge_seek(struct merge *m, plsm_slice key);        /* then merge_next goes on */
void merge_seek_before(struct merge *m, plsm_slice key); /* then merge_previous goes on */
/* To the next key (with all_versions: to the next version). After first or seek. */
void merge_next(struct merge *m);
/* To the key before. After last or seek_before. */
void merge_previous(struct merge *m);
/* After a step forward: moves the cursors behind number `source` that stand below `key` to the first key >= key. */
void merge_skip(struct merge *m, unsigned source, plsm_slice key);
/* After a step backward: those that stand at or above `key` to the last key < key. */
void merge_skip_before(struct merge *m, unsigned source, plsm_slice key);
static inline bool merge_valid(const struct merge *m) { return m->heap_count > 0; }
/* The current version, deletions too; valid until the merge moves, its key until it moves twice. */
static inline const struct entry *merge_entry(const struct merge *m) { return &m->cursors[m->heap[0]].entry; }
/* Which cursor shows it. */
static inline unsigned merge_source(const struct merge *m) { return m->heap[0]; }

#endif
