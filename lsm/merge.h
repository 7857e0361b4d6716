/* Merging cursors into one ordered stream.
 *
 * Cursors are given newest source first. For equal keys the one given earlier wins: every source of the tree holds only
 * versions newer than those in the sources behind it, so no sequence numbers need to be compared.
 *
 * A tree of losers (Knuth, volume 3, 5.4.1) over cached 8-byte key heads: the way from a leaf to the root is always the
 * same, and which of two is smaller decides no branch, as that could not be predicted: which of some runs comes next is
 * a coin toss. With one cursor left there is no merging at all. */
#ifndef LSM_MERGE_H
#define LSM_MERGE_H

#include "lsm/cursor.h"

struct merge {
    struct cursor *cursors;
    unsigned count, live; /* cursors; those that are valid: 0: the stream has ended */
    struct merge_node {
        uint64_t rank;   /* in the direction of travel the smaller one comes first: head, or its complement */
        unsigned cursor;
    } *nodes;            /* nodes[0] has won; the others lost: nodes[i] to one below nodes[i / 2]; leaves are behind */
    plsm_slice prefix;   /* all keys of all cursors begin with it: heads are of what is behind. A part of some key */
    bool backward;
    bool all_versions;
    plsm_status status;  /* of the first cursor that failed; the stream then ends */
};

/* Takes an array of `count` opened cursors (not owned). PLSM_NO_MEMORY. */
plsm_status merge_init(struct merge *m, struct cursor *cursors, unsigned count, bool all_versions);
void merge_destroy(struct merge *m);
/* No key of the merge that is at or above `bound` has a head below this. */
uint64_t merge_head_end(const struct merge *m, plsm_slice bound);

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
static inline bool merge_valid(const struct merge *m) { return m->live > 0; }
/* Which cursor shows the current version. */
static inline unsigned merge_source(const struct merge *m) { return m->nodes[0].cursor; }
static inline struct cursor *merge_cursor(const struct merge *m) { return &m->cursors[merge_source(m)]; }
/* That version, deletions too; valid until the merge moves, its key until it moves twice. */
static inline const struct entry *merge_entry(const struct merge *m) { return &merge_cursor(m)->entry; }

/* Entries that are a put of a key and a value, without meta or a time at which they expire. */
struct merge_ahead {
    uint8_t (*keys)[CURSOR_KEY_ROOM]; /* room for `most`: where the keys are copied to */
    struct key_value *out;           /* likewise: valid until the merge moves */
    unsigned most;
    uint64_t head_end; /* keys are to have smaller heads: see merge_head_end */
    bool moved; /* afterwards: the merge has left the key that was given last, and stands on something else, which may
                   also be an older version of that key; or has ended */
};
/* Goes forward from the entry that it shows as long as that is simple: no page is left, all are such entries, with
 * keys of up to CURSOR_KEY_ROOM bytes. Returns how many it gave; it stands on the last of them, but for `moved`. Not
 * with all_versions. */
unsigned merge_ahead(struct merge *m, struct merge_ahead *ahead);
/* After that has moved: to the first key that is not `shown`, the one that was given last. */
void merge_leave(struct merge *m, plsm_slice shown);

#endif
