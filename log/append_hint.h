/* Hints: what a segment holds, in the order of keys. The format stands in append_hint.c.
 *
 * Hints only save time. A hint that is missing, damaged or of another segment is made anew by reading the segment. */
#ifndef LOG_APPEND_HINT_H
#define LOG_APPEND_HINT_H

#include "log/append_db.h"

/* What is told of a segment beside its entries. */
struct hint_facts {
    uint64_t store_id, number, salt, first_seq;
    uint64_t end;               /* of its records */
    uint64_t seq_min, seq_max;  /* UINT64_MAX and 0: it has no entries */
    uint64_t tombstones;        /* bytes of deletions */
    uint64_t points, ranges;    /* keys; deletions of ranges */
    uint64_t number_count, replace_count;
};

/* A hint in memory; zero before the first use. */
struct hint {
    struct hint_facts facts;
    struct env_file *file; /* mapped */
    atomic_bool *lost;     /* a page of that */
    uint8_t *memory;       /* or read, or made */
    const uint8_t *numbers, *replaces, *ranges, *points, *end;
};
void hint_free(struct hint *hint);
/* Whether what was read of it so far is what it holds. PLSM_IO: it is mapped, and a page of it was lost. */
plsm_status hint_whole(const struct hint *hint);

/* How reading a segment from its start ended. */
struct segment_scan {
    bool has_head; /* otherwise it was never used */
    bool merged;   /* a merge wrote it */
    bool closed;   /* cleanly */
    bool synced;   /* entries in it were, as it says itself */
};
/* Makes a hint by reading the segment. PLSM_CORRUPT: it is damaged; PLSM_VERSION, PLSM_IO, PLSM_NO_MEMORY. */
plsm_status hint_make(struct append *db, uint64_t number, struct hint *out, struct segment_scan *scan);
/* Writes it beside its segment and syncs it. */
plsm_status hint_write(struct append *db, const struct hint *hint);
/* Reads the hint of segment `number`, whose head has `salt` and `store_id`. PLSM_NOT_FOUND: there is none;
 * PLSM_CONFLICT: it is of another segment; PLSM_CORRUPT, PLSM_VERSION, PLSM_IO, PLSM_NO_MEMORY. */
plsm_status hint_read(struct append *db, uint64_t number, uint64_t salt, uint64_t store_id, struct hint *out);
/* The same where the head of the segment cannot be read: whatever salt and store_id are. */
plsm_status hint_read_any(struct append *db, uint64_t number, struct hint *out);

/* Walks the keys. Zero it to start with `at` at hint->points; free `key`. */
struct hint_cursor {
    const struct hint *hint;
    const uint8_t *at;
    struct buf key;
    uint64_t seq, offset;
    size_t size;
    enum batch_kind kind;
    bool timed;
};
/* PLSM_NOT_FOUND: there are no more; PLSM_CORRUPT, PLSM_NO_MEMORY. */
plsm_status hint_next(struct hint_cursor *cursor);

struct hint_range {
    plsm_slice from, to;
    uint64_t seq;
};
/* *at starts at hint->ranges. False: there are no more, and *at is hint->points, or it is damaged. */
bool hint_next_range(const struct hint *hint, const uint8_t **at, struct hint_range *out);

#endif
