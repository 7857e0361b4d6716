/* What the tree counts while it works. Each of the first COUNTER_STRIPES - 1 threads has a stripe of its own and adds
 * with a plain load and store (an atomic add costs 5 ns, and a lookup counts eight things); all further threads share
 * the last stripe and add atomically. */
#ifndef LSM_COUNTERS_H
#define LSM_COUNTERS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum {
    COUNT_LEVELS = 7, /* as many as LSM_LEVELS: some things are counted per level */
};

enum counter {
    COUNT_GETS, /* keys asked for */
    COUNT_GETS_FOUND,
    COUNT_MULTI_GETS,          /* calls of lsm_multi_get */
    COUNT_SCANS,               /* times an iterator was placed */
    COUNT_SCAN_ENTRIES,        /* steps of iterators */
    COUNT_FILTER_PROBES,       /* runs whose filter was asked, or the table of young runs for it */
    COUNT_YOUNG_PROBES,        /* of the table of young runs: one for all of them */
    COUNT_RUN_LOOKUPS,         /* lookups that reached the index of a run (its filter said maybe) */
    COUNT_MEMBERSHIP_FALLBACK, /* runs opened whose membership could not be used: their filter serves */
    COUNT_FILTER_MISSED,       /* it said no and the key was there: a bug; counted by checks, must stay 0 */
    COUNT_FOUND,               /* per level: the key was in the run */
    COUNT_FOUND_OTHERWISE = COUNT_FOUND + COUNT_LEVELS, /* per level, of those: not on the page that the model alone
                                                           named first, or there is no model */
    COUNT_MODEL_FALLBACK = COUNT_FOUND_OTHERWISE + COUNT_LEVELS, /* answered through the traditional index where a
                                                                    model should have: none usable, or not believed */
    COUNT_ROUTER_WRONG,     /* the model of a level named a run that does not enclose the key */
    COUNT_FILE_WRONG,       /* keys found in another run than the first whose index was asked */
    COUNT_LEVEL_WRONG,      /* keys found on another level than that of the first run whose index was asked */
    COUNT_UNFILTERED,       /* runs that were looked into without asking their filter */
    COUNT_UNFILTERED_FOUND, /* that had the key */
    COUNT_VALIDATED,        /* lookups done again the traditional way */
    COUNT_VALIDATION_WRONG, /* that had another answer: a bug; must stay 0 */
    COUNT_CACHE_HITS,
    COUNT_CACHE_MISSES,
    COUNT_GET_PAGES, /* pages that gets looked at, cached or not */
    COUNT_READS,     /* read calls to the environment, of runs and value logs */
    COUNT_READ_BYTES,
    COUNT_WRITES, /* append calls, of runs and value logs */
    COUNT_WRITE_BYTES,
    COUNT_CHANGES,    /* in batches that callers wrote */
    COUNT_LOG_WRITES, /* append calls of logs */
    COUNT_LOG_BYTES,  /* bytes of batches, so of keys, metas and values that callers wrote */
    COUNT_KEPT_BYTES, /* of values that stay in the log */
    COUNT_LOADED_BYTES, /* the same of bulk loads and batches that were spilled */
    COUNT_FLUSH_BYTES,
    COUNT_BULK_BYTES, /* of runs that these brought in */
    COUNT_COMPACT_BYTES, /* written by compactions */
    COUNT_COMPACT_READ_BYTES,
    COUNT_REWRITTEN_BYTES, /* of values that compactions took out of value logs that were mostly garbage */
    COUNT_FLUSHES,
    COUNT_BULK_LOADS,
    COUNT_SPILLS, /* batches that went into runs at once */
    COUNT_COMPACTIONS,
    COUNT_COMPACTIONS_BESIDE, /* of them: while a larger one was under way */
    COUNT_COMPACTION_PARTS, /* of them, each merged by itself */
    COUNT_TRIVIAL_MOVES,
    COUNT_RUNS_COVERED, /* runs that compactions did not read: range tombstones covered all of them */
    COUNT_EXPIRED,      /* puts that flushes and compactions left out, or made deletions, since their time had come */
    COUNT_SYNCS,      /* log syncs */
    COUNT_STALL_NS,   /* writers waited or were paced */
    COUNT_BUILD_NS,   /* flushes and compactions, all in all */
    COUNT_TRAIN_NS,   /* spent on building models */
    COUNT_TRAIN_KEYS, /* entries of the runs they were built for */
    COUNT_FILTER_NS,  /* spent on building filters */
    COUNT_FILTER_KEYS,
    COUNT_COMPRESS_NS, /* spent on packing pages; of dictionaries too */
    COUNT_COMPRESS_RAW_BYTES,
    COUNT_COMPRESS_STORED_BYTES,
    COUNT_UNPACKED, /* units of compressed runs that were unpacked */
    COUNT_UNPACKED_BYTES,
    COUNTERS
};

enum { COUNTER_STRIPES = 64 };

struct counters {
    struct counter_stripe {
        _Alignas(128) _Atomic uint64_t values[COUNTERS];
        bool shared; /* by several threads */
    } stripes[COUNTER_STRIPES];
};

void counters_init(struct counters *c); /* of zeroed memory */

/* The calling thread's stripe plus one; 0 before counter_stripe_take. */
extern _Thread_local unsigned counter_stripe;
void counter_stripe_take(void);
/* The calling thread lives shortly: it counts in the stripe that further threads share, and takes none away. */
void counter_stripe_share(void);

/* The calling thread's own: for those who count several things in a row. */
static inline struct counter_stripe *counters_mine(struct counters *c)
{
    if (__builtin_expect(counter_stripe == 0, 0))
        counter_stripe_take();
    return &c->stripes[counter_stripe - 1];
}

static inline void stripe_add(struct counter_stripe *stripe, unsigned which, uint64_t amount)
{
    _Atomic uint64_t *value = &stripe->values[which];
    if (__builtin_expect(!stripe->shared, 1))
        atomic_store_explicit(value, atomic_load_explicit(value, memory_order_relaxed) + amount, memory_order_relaxed);
    else
        atomic_fetch_add_explicit(value, amount, memory_order_relaxed);
}

static inline void counter_add(struct counters *c, unsigned which, uint64_t amount)
{
    stripe_add(counters_mine(c), which, amount);
}

uint64_t counter_read(const struct counters *c, unsigned which);
/* The sum over the levels, of what is counted per level. */
uint64_t counter_read_levels(const struct counters *c, unsigned which);
void counters_reset(struct counters *c);

#endif
