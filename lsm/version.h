/* A version: which runs exist, on which level. Immutable and reference-counted; each flush and compaction makes the
 * next one from an edit. */
#ifndef LSM_VERSION_H
#define LSM_VERSION_H

#include "lsm/router.h"
#include "lsm/value_log.h"

enum {
    LSM_LEVELS = 7,
    YOUNG_PART = 16, /* a run of level 0 that is a larger part of the store is not young */
};

struct version {
    _Atomic uint32_t references;
    struct level {
        struct run **runs;     /* level 0: newest first, may overlap, but for those of one seq_max: parts of one
                                  sorted run; others: in key order, disjoint */
        uint8_t *places;       /* of each in the table over young runs, in this version; YOUNG_PLACE_NONE: not in it */
        size_t count, outside; /* runs; those without a place */
        size_t ranged;         /* runs with range tombstones */
        struct young_places in_table; /* the places of the others */
        uint64_t bytes;               /* of files */
        struct router *router;        /* the model of the level; NULL: none */
        uint64_t stale_pages;         /* that changed since there was one */
    } levels[LSM_LEVELS];
    unsigned last;                /* the deepest level that holds anything; 0 when there is none */
    size_t ranged;                /* runs with range tombstones, on all levels: mostly none, then nobody asks */
    struct young_runs *young;     /* NULL: no run of this version is in it */
    struct young_places in_table; /* of all levels */
    uint64_t young_head_min, young_head_max; /* heads of the bounds of the runs in it: it knows nothing beyond */
    uint64_t young_keys;          /* and directories, of the runs that have a place there or may get one */
    uint64_t young_bytes_max;     /* larger sorted runs of level 0 are not to be in it */
    struct version_values {
        struct value_log *log;
        uint64_t live_bytes; /* of records that runs of this version point to; the rest of them is garbage */
    } *values;               /* by number */
    size_t values_count;
};

/* A change from one version to the next, and of the store's counters: one MANIFEST record. */
struct edit {
    struct edit_added {
        unsigned level;
        struct run *run; /* a reference is held */
    } * added;
    size_t added_count, added_capacity;
    struct edit_removed {
        unsigned level;
        uint64_t number;
    } * removed;
    size_t removed_count, removed_capacity;
    struct value_log **values; /* added, by number; references are held. They go with the last run that points there */
    size_t values_count, values_capacity;
    uint64_t log_floor;   /* logs below are not needed any more; 0: unchanged */
    uint64_t next_number; /* run numbers from here on are free; 0: unchanged */
    uint64_t seq;         /* the largest sequence number in runs; 0: unchanged */
};

/* Takes over one reference to `run`, also on failure. PLSM_NO_MEMORY. */
plsm_status edit_add(struct edit *edit, unsigned level, struct run *run);
plsm_status edit_remove(struct edit *edit, unsigned level, uint64_t number);
/* Likewise. */
plsm_status edit_add_values(struct edit *edit, struct value_log *log);
void edit_free(struct edit *edit);
/* The edit did not come to be: the files of what it would have added go with the last reference. */
void edit_disown(const struct edit *edit);

struct version *version_create(void); /* empty, one reference; NULL: no memory */
void version_ref(struct version *version);
void version_unref(struct version *version); /* accepts NULL */
/* The version behind `base` after `edit`, with one reference. PLSM_CORRUPT when the edit removes a run that is not
 * there, makes runs of a level overlap, or adds a run that points into a value log that is not there. */
plsm_status version_apply(const struct version *base, const struct edit *edit, struct version **out);
/* How large a sorted run of level 0 may be for the table over young runs, in a store of `bytes`: a sixteenth of it, or
 * as large as a memtable makes it. The table takes three times the memory of a filter, and under the policies that
 * leave large runs in level 0 those hold most of the data. Example: buffer_size 64 MiB: 128 MiB up to 2 GiB, then 6 GiB
 * for 96 GiB. Pure. */
uint64_t version_young_bytes_max(uint64_t bytes, uint64_t buffer_size);
/* Whether a run of a level belongs into that table, unless it has better. */
bool version_is_young(const struct version *version, unsigned level, const struct run *run);
/* Makes the models of the levels that lack one, before the version is shown to anybody: all of them, or (`changed`) as
 * the options say how a change is followed. What exceeds the budgets is not made. PLSM_NO_MEMORY. */
plsm_status version_train(struct version *version, const struct lsm_options *options, bool changed);
/* A version was published: those runs of its last level that have a place among the young ones give it back. */
void version_settle(struct version *version);
/* Tells the runs of a version on which level they are; with `group` also to which group they belong, which only runs
 * that nobody has opened yet may be told. */
void version_tell_runs(struct version *version, bool group);
/* In which group of levels a level is. */
enum lsm_group version_group(const struct version *version, unsigned level);

/* The runs of a level that overlap [smallest, largest] (both inclusive): for levels below 0 the range
 * [*first, *first + returned). */
size_t version_overlapping(const struct version *version, unsigned level, plsm_slice smallest, plsm_slice largest,
                           size_t *first);
/* Bytes of those that overlap a run. */
uint64_t version_overlapping_bytes(const struct version *version, unsigned level, const struct run *run);
/* Counts the sorted runs of level 0 by their first byte; zero it to start. */
struct sorted_runs {
    unsigned counts[256];
    const struct run *before[256];
};
/* The next run of level 0, newest first; returns how many sorted runs there are of its byte by now. Parts of one sorted
 * run, such as a bulk load leaves in level 0, count once. */
unsigned sorted_runs_next(struct sorted_runs *seen, const struct run *run);
/* The largest number of sorted runs of level 0 whose keys begin with one byte: how many a read may have to look at. */
unsigned level0_depth(const struct version *version);
/* How many sorted runs a lookup may have to ask: deeper levels that hold anything, and in level 0 as many as the first
 * byte has of which there are most. */
unsigned version_sorted_runs(const struct version *version);
/* Bytes of the largest sorted run, with `values` also what it points to in value logs: the last level or, when that is
 * larger, those of level 0 with one seq_max. */
uint64_t version_largest_bytes(const struct version *version, bool values);
/* Of all runs. */
uint64_t version_entries(const struct version *version);
/* The value log of that number; NULL: there is none. */
const struct version_values *version_values_of(const struct version *version, uint64_t number);
static inline uint64_t version_garbage_bytes(const struct version_values *values)
{
    return value_log_bytes(values->log) - values->live_bytes;
}
/* Whether so much of a value log is garbage that the rest is worth being written anew: more than `ppm` millionths of
 * it. Example: 900 of 1,000 bytes are garbage: yes at 500,000, no at 900,000. */
static inline bool version_values_wasteful(const struct version_values *values, uint32_t ppm)
{
    return (double)version_garbage_bytes(values) * 1e6 > (double)value_log_bytes(values->log) * ppm;
}
static inline unsigned version_last_level(const struct version *version)
{
    return version->last;
}

#endif
