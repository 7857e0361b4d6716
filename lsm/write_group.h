/* A group of writes on its way into a memtable: what a record of the log holds, one batch behind the other.
 *
 * All changes of a group share one sequence number, and a later one of the same key hides an earlier one; but a
 * deletion of a range takes the next number when something stands in front of it, and what follows it has that number
 * too. So it hides what came before it in its group, and not what comes behind (lsm/tombstones.h). Nobody reads between
 * the numbers of a group. Replaying a record takes the same way, so it gives the same numbers. */
#ifndef LSM_WRITE_GROUP_H
#define LSM_WRITE_GROUP_H

#include "lsm/memtable.h"

enum { WRITE_GROUP_ALONE = MEMTABLE_LANES }; /* no lane: nobody else adds to the memtable */

struct write_group {
    struct memtable *table;
    unsigned lane;
    uint64_t first, seq; /* of the group, which the log has; the last one given so far */
    bool begun;
    /* Values that stay in the log (kept.h); nothing of it counts unless `keeps`. */
    bool keeps;
    bool recorded;       /* the batches are the log's own, which mark what stays; else it is at least `kept_above` */
    size_t kept_above;
    uint64_t log;        /* its number as a value log */
    uint64_t at;         /* where the next batch begins in it */
    size_t inserted;     /* into the batch at hand so far */
    const uint8_t *batch;
};

/* `lane`: of the memtable, for a group that goes beside others and has no deletions of ranges; or WRITE_GROUP_ALONE. */
static inline void write_group_begin(struct write_group *g, struct memtable *table, unsigned lane, uint64_t first)
{
    *g = (struct write_group){.table = table, .lane = lane, .first = first, .seq = first};
}
/* The log, as a value log, holds the values of what is added from now on that are of `above` bytes and more: the record
 * that the batches are in has its payload at `at`, made by kept_record_make. */
static inline void write_group_keep(struct write_group *g, size_t above, uint64_t log, uint64_t at)
{
    g->keeps = true;
    g->kept_above = above;
    g->log = log;
    g->at = at;
}
/* The same of a batch that was read from there, at `at`. */
static inline void write_group_keep_recorded(struct write_group *g, uint64_t log, uint64_t at)
{
    write_group_keep(g, 0, log, at);
    g->recorded = true;
}
/* Adds a batch, of which everything has been checked, and for which room has been reserved. */
void write_group_add(struct write_group *g, plsm_slice batch);
/* The same of one change that is not a deletion of a range. */
void write_group_add_one(struct write_group *g, const struct batch_change *change);
/* Afterwards: readers at g->seq may come. */
void write_group_end(struct write_group *g);

#endif
