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
    bool uniform;                                           /* no key is popular */
};

enum workload_kind {
    WORKLOAD_FILL,      /* writes all keys */
    WORKLOAD_OVERWRITE, /* writes keys that are there, at random */
    WORKLOAD_DELETE,    /* deletes keys that are there, each once, at random */
    WORKLOAD_READ,      /* point reads of keys that are there */
    WORKLOAD_ABSENT,    /* point reads of keys that are not */
    WORKLOAD_HOT,       /* point reads, HOT_READS percent of them of HOT_KEYS percent of the keys */
    WORKLOAD_ZIPF,      /* point reads, some keys far more often than others (s = 0.99, as YCSB) */
    WORKLOAD_SCAN,      /* everything in the order of keys; an operation is an entry */
    WORKLOAD_SEEK,      /* seeks a key that is there and reads SEEK_ENTRIES entries from it; an operation is all that */
    WORKLOAD_MIX,       /* YCSB (Cooper et al. 2010), and one where all keys are alike */
};
enum { SEEK_ENTRIES = 10, MIX_SCAN_MAX = 100, HOT_READS = 90, HOT_KEYS = 10 };
/* Latencies are of one call in so many: of every seek, and of every write of 16 records or more where all calls are
 * writes. The steps of a scan have a prime, so that those which are timed do not keep the same place in what an engine
 * reads, or hands out, at once. Inline, so that loops divide by what a compiler knows. */
static inline unsigned latency_every(enum workload_kind kind)
{
    return kind == WORKLOAD_SCAN ? 127 : kind == WORKLOAD_SEEK ? 1 : 16;
}

/* What is in memory when the operations of a workload that needs keys begin. */
enum cache_state {
    STATE_WARM,     /* opened anew, then all of it scanned, and read at random as many times as there are keys */
    STATE_REOPENED, /* opened anew; the page cache of the kernel has what it has */
    STATE_COLD,     /* the same, and the page cache has dropped the store's files, but for what some reads needed */
    STATE_COUNT     /* not a state: how many there are */
};
extern const char *const cache_state_names[STATE_COUNT];

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
    enum cache_state state;
};

/* All figures are doubles, so that row_median can take each by itself. */
struct row_result {
    double ops;
    double ops_per_s;     /* while the threads of the workload ran */
    double cpu_ns_per_op; /* of the whole process, until the work left in the background was done too */
    double p50_ns, p99_ns, p9999_ns, max_ns; /* of one call: for writes in batches, of a batch; see latency_every */
    double pages_per_op;        /* 4 KiB read from files by calls; negative: the engine maps its files */
    double disk_pages_per_op;   /* 4 KiB that came from a device, for calls or for maps; see clock_disk_bytes */
    double write_amplification; /* bytes written to files, until settled, over bytes of keys and values given to the
                                 * engine; negative: nothing was given */
    double space_amplification; /* bytes of the files at the end over bytes of keys and values there; negative: empty */
    double files_bytes, resident_bytes, anonymous_bytes; /* at the end; see clock_memory */
    double syncs_per_op;        /* calls that sync files, while the threads of the workload ran; see syncs.h */
    double device_ns;           /* what the device itself takes for what a row waits for, measured behind it: of a cold
                                 * one that only reads, a random 4 KiB of a file as large as the store, read past the
                                 * page cache by as many threads; of one with sync, a small write over others and
                                 * fdatasync, by one thread; negative: of another row, or it cannot be measured */
};
enum { ROW_FIGURES = sizeof(struct row_result) / sizeof(double) };

/* The figures of a result by number, for tables and files: names as in JSON rows. */
extern const char *const row_figure_names[ROW_FIGURES];
static inline double *row_figures(struct row_result *result)
{
    return &result->ops;
}

/* Records of one call: those of a batch, but 1 where all calls are reads and the engine is asked for one key after
 * another. */
uint32_t row_batch(const struct row_options *options);

/* What an operation, or a batch, took its thread over what the device itself takes; negative: that is not known. */
double row_device_times(const struct row_options *options, const struct row_result *result);

/* How many operations a workload has: those that are asked for, or as many as keys; deletions not more than keys. An
 * engine without order sorts all names for each seek or scan: so many that 20 million names are sorted, 10 at least. */
uint64_t workload_ops(const struct row_options *options, const struct workload *workload);

/* Runs it in `directory`, which is empty. Wrong answers are errors (PLSM_CORRUPT). */
plsm_status workload_run(const struct row_options *options, const char *directory, struct row_result *result);

enum { SERIES_MAX = 16 };
/* Loads one store and runs `count` (at most SERIES_MAX) workloads on it, one after the other; options->workload is not
 * looked at. None of them may be a fill, and what deletes or inserts comes last. */
plsm_status workload_series(const struct row_options *options, const struct workload *const *list, uint32_t count,
                            const char *directory, struct row_result *results);

#endif
