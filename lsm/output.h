/* The runs that flushes and compactions write: numbered, sized filters, entered into an edit. */
#ifndef LSM_OUTPUT_H
#define LSM_OUTPUT_H

#include "lsm/compaction.h"
#include "lsm/db.h"
#include "lsm/run_writer.h"
#include "lsm/value_log.h"

/* A flush or a compaction, to those who write its runs. */
struct output_job {
    bool train;             /* its runs are to be trained */
    uint32_t first;         /* number of the first of them; 0: there is none yet */
    uint64_t keys_expected; /* in a run of full size, about */
    uint64_t bytes;         /* of the sorted run that it makes, about */
    uint64_t oldest_s;      /* of what it writes, as in run_facts */
    bool merged;            /* it is a compaction */
    bool flush;             /* it is a flush */
};
void output_job_start(struct lsm *db, uint64_t bytes, uint64_t oldest_s, struct output_job *job);
/* The fingerprint bits of a filter by Monkey: for a run of `level` in a sorted run of `bytes`. By the level, and in
 * level 0, where sorted runs of all sizes are, by its logical level against that of the largest. Example: tiered, ratio
 * 10, filter_bits 8, buffer 64 MiB, 100 GiB on the last level: 16 for a memtable's run, 11 for one of 10 GiB. Pure. */
unsigned output_filter_bits(const struct version *version, const struct lsm_options *options, unsigned level,
                            uint64_t bytes);
/* Starts a run that is meant for `level`: takes a number, and filter bits. Any thread. */
plsm_status output_start(struct lsm *db, unsigned level, struct output_job *job, struct run_writer **out);

/* What one thread of a job separates; zero it to start. */
struct output_values {
    struct value_log_writer *writer; /* NULL: nothing yet */
    uint64_t bytes;                  /* of the value logs that are finished */
    struct buf record;               /* one that is written anew */
    const struct collected *collected; /* the value logs that are emptied; NULL: none */
};
/* Makes a put whose time has come by `now_s` the deletion that it stands for, and counts it. A reference stays: what it
 * leads to is given back by whoever deletes it. */
void output_expire(struct lsm *db, uint64_t now_s, struct entry *entry);
/* The same as output_add for an entry whose value is in a value log or large enough for one. */
plsm_status output_add_value(struct lsm *db, const struct version *version, struct output_values *values,
                             struct run_writer *writer, struct entry *entry, struct edit *edit);
/* Adds an entry to the run. Its value goes into a value log when it is large enough for that by the options; a value
 * that is in a value log of `version` (NULL: none is) that is collected is written anew. Value logs that
 * become full are added to the edit. Afterwards the value of *entry means nothing. */
static inline plsm_status output_add(struct lsm *db, const struct version *version, struct output_values *values,
                                     struct run_writer *writer, struct entry *entry, struct edit *edit)
{
    bool stays = !entry->separated && entry->value.size <= db->options.separate_above - 1; /* 0: none is too large */
    return stays ? run_writer_add(writer, entry) : output_add_value(db, version, values, writer, entry, edit);
}
/* Behind the last entry: what is left of the values goes into the edit. */
plsm_status output_values_finish(struct output_values *values, struct edit *edit);
/* Frees what is held; after a failure no file of it stays for long. */
void output_values_end(struct output_values *values);

/* Finishes the run and adds it to the edit; *bytes is the size of its file. Destroys the writer in any case; after a
 * failure no file of it stays for long. */
plsm_status output_finish(struct lsm *db, struct run_writer *writer, unsigned level, uint64_t seq_max,
                          struct edit *edit, uint64_t *bytes);

/* The range tombstones that go into the runs of a job, or of a part of its keys, in order of keys. */
struct output_ranges {
    const struct tombstones *list;
    size_t at;       /* those before are in runs */
    struct buf from; /* of the one at hand: so far it is in runs; empty: not at all */
};
/* From key `from` on (empty: all). The list must stay. PLSM_NO_MEMORY. */
plsm_status output_ranges_begin(struct output_ranges *o, const struct tombstones *list, plsm_slice from);
void output_ranges_free(struct output_ranges *o);
/* Adds to a run, whose keys begin with `byte`, all range tombstones of that byte up to key `to` (exclusive; empty: to
 * the end). */
plsm_status output_add_ranges(struct output_ranges *o, struct run_writer *writer, uint8_t byte, plsm_slice to);
/* Whether some are left to be written whose keys begin with a byte below `byte` and are below `to` (empty: open);
 * *first is the byte of the first. */
bool output_ranges_left(struct output_ranges *o, unsigned byte, plsm_slice to, uint8_t *first);

#endif
