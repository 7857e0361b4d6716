/* What the requirements are judged by. */
#ifndef TOOLS_BENCH_FINDINGS_H
#define TOOLS_BENCH_FINDINGS_H

#include "base/histogram.h"
#include "tools/bench/stores.h"
#include "tools/bench/verify.h"

enum { FINDINGS_ROWS_MAX = 256, FINDINGS_SLOW_MS = 100 };

struct findings {
    const struct compare_plan *plan;
    struct compare_row rows[FINDINGS_ROWS_MAX]; /* of a comparison */
    size_t row_count;
    unsigned levels; /* of the store that was compared */

    struct histogram find_file, find_page; /* ns of one prediction, all levels */

    /* Training of all files anew, reading them included; of the file that took longest. */
    uint64_t files, train_ns_longest, train_bytes_longest;
    uint64_t update_ns_longest; /* until a thousand new keys are a run with a model, and the level's is renewed */

    struct verify_counts verified; /* before, behind and between all that follows, together */
    uint64_t problems;             /* that a check of the whole store found */

    /* Reads while keys are written, runs compacted and models trained, all the time. */
    uint64_t busy_reads, busy_failed, busy_slow, busy_ns_longest, busy_updates;
    double busy_seconds;

    /* Ways in which models were damaged or lost. */
    unsigned scenarios, survived;
    char first_failure[320]; /* empty: none */
};

/* Fills in all but the rows: makes a store of its own in `directory`. */
plsm_status findings_measure(struct findings *f, const struct data *data, const char *directory);

/* The row of an operation in a mode; NULL: there is none. */
const struct compare_row *findings_row(const struct findings *f, const char *operation, const char *mode);

/* --- parts (findings_busy.c, findings_damage.c) --- */

/* Reads beside a writer that compacts and trains. */
plsm_status findings_busy(struct findings *f, const struct stores *stores);
/* Damages the models of the store, opens it, asks. */
plsm_status findings_damage(struct findings *f, struct stores *stores);
/* Looks up keys in all modes of stores that are open, and adds the counts. */
plsm_status findings_verify(struct findings *f, const struct stores *stores, uint64_t lookups);

#endif
