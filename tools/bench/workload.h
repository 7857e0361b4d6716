/* The workloads: one run of one workload on one engine in this process gives one row. */
#ifndef TOOLS_BENCH_WORKLOAD_H
#define TOOLS_BENCH_WORKLOAD_H

#include <stdbool.h>
#include <stdint.h>

#include "tools/bench/adapter.h"

/* How operations of a mixed workload are chosen: percent of each kind. */
struct workload_mix {
    unsigned read, update, insert, scan, read_modify_write; /* together 100 */
    bool latest;                                            /* new keys are the popular ones */
};

enum workload_kind {
    WORKLOAD_FILL,      /* writes all keys */
    WORKLOAD_OVERWRITE, /* writes keys that are there, at random */
    WORKLOAD_READ,      /* point reads of keys that are there */
    WORKLOAD_ABSENT,    /* point reads of keys that are not */
    WORKLOAD_ZIPF,      /* point reads, some keys far more often than others (s = 0.99, as YCSB) */
    WORKLOAD_SCAN,      /* everything in the order of keys; an operation is an entry */
    WORKLOAD_SEEK,      /* seeks a key that is there and reads SEEK_ENTRIES entries from it; an operation is all that */
    WORKLOAD_MIX,       /* YCSB (Cooper et al. 2010) */
};
enum { SEEK_ENTRIES = 10, MIX_SCAN_MAX = 100 };

struct workload {
    const char *name, *about;
    enum workload_kind kind;
    bool ordered; /* a fill in the order of keys */
    bool writes;
    struct workload_mix mix;
};

extern const struct workload workloads[];               /* ended by one without a name */
const struct workload *workload_find(const char *name); /* NULL: none of that name */

struct row_options {
    const struct workload *workload;
    const struct adapter *engine;
    const char *index;   /* of plsm; NULL for others */
    const char *options; /* of plsm; NULL: none */
    uint64_t keys, ops;  /* ops 0: as many as keys */
    uint64_t seed, cache_bytes;
    uint32_t value_bytes, batch, threads;
    bool sync;
    const char *shape; /* of the keys */
};

struct row_result {
    uint64_t ops;
    double ops_per_s;      /* while the threads of the workload ran */
    double cpu_ns_per_op;  /* of the whole process, until the work left in the background was done too */
    double p50_ns, p99_ns; /* of one call: for writes in batches, of a batch */
    double pages_per_op;   /* 4 KiB read from files by calls; negative: the engine maps its files */
};

/* Runs it in `directory`, which is empty. Wrong answers are errors (PLSM_CORRUPT). */
plsm_status workload_run(const struct row_options *options, const char *directory, struct row_result *result);

#endif
