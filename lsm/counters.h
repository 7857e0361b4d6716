/* What the tree counts while it works. Each of the first COUNTER_STRIPES - 1 threads has a stripe of its own and adds
 * with a plain load and store (an atomic add costs 5 ns, and a lookup counts eight things); all further threads share
 * the last stripe and add atomically. */
#ifndef LSM_COUNTERS_H
#define LSM_COUNTERS_H

#include <stdatomic.h>
#include <stdint.h>

enum counter {
    COUNT_GETS,               /* lsm_get calls */
    COUNT_GETS_FOUND,
    COUNT_RUN_LOOKUPS,        /* lookups that reached the index of a run (its filter said maybe) */
    COUNT_RUN_FOUND,          /* of those: the key was there */
    COUNT_FILTER_PROBES,
    COUNT_FILTER_NEGATIVES,   /* the filter said no */
    COUNT_FILTER_FALSE,       /* it said maybe and the key was not there */
    COUNT_FILTER_MISSED,      /* it said no and the key was there: a bug; counted by checks, must stay 0 */
    COUNT_MODEL_LOOKUPS,      /* positions asked of a model, in runs that are to be read with models */
    COUNT_MODEL_RIGHT,        /* the key was found on the page that arithmetic named first */
    COUNT_MODEL_WRONG,        /* found, but elsewhere */
    COUNT_MODEL_FALLBACK,     /* answered through the traditional index: no usable model, or it was not believed */
    COUNT_FILE_RIGHT,         /* lookups that found the key in the first run whose index they asked */
    COUNT_LEVEL_RIGHT,        /* lookups that found the key on the first level whose index they asked */
    COUNT_CACHE_HITS,
    COUNT_CACHE_MISSES,
    COUNT_GET_PAGES,          /* pages that gets looked at, cached or not */
    COUNT_READS,              /* read calls to the environment, of runs */
    COUNT_READ_BYTES,
    COUNT_WRITES,             /* append calls, of runs and logs */
    COUNT_WRITE_BYTES,
    COUNT_USER_BYTES,         /* bytes of keys, metas and values that were written by callers */
    COUNT_LOG_BYTES,
    COUNT_FLUSH_BYTES,
    COUNT_COMPACT_BYTES,      /* written by compactions */
    COUNT_COMPACT_READ_BYTES,
    COUNT_FLUSHES,
    COUNT_COMPACTIONS,
    COUNT_TRIVIAL_MOVES,
    COUNT_SYNCS,              /* log syncs */
    COUNT_STALL_NS,           /* writers waited or were paced */
    COUNT_TRAIN_NS,           /* spent on building models */
    COUNT_TRAIN_KEYS,         /* entries of the runs they were built for */
    COUNT_FILTER_NS,          /* spent on building filters */
    COUNTERS
};

enum { COUNTER_STRIPES = 64 };

struct counters {
    struct counter_stripe {
        _Alignas(128) _Atomic uint64_t values[COUNTERS];
    } stripes[COUNTER_STRIPES];
};

/* The calling thread's stripe plus one; 0 before counter_stripe_take. */
extern _Thread_local unsigned counter_stripe;
void counter_stripe_take(void);

static inline void counter_add(struct counters *c, enum counter which, uint64_t amount)
{
    if (__builtin_expect(counter_stripe == 0, 0))
        counter_stripe_take();
    _Atomic uint64_t *value = &c->stripes[counter_stripe - 1].values[which];
    if (__builtin_expect(counter_stripe < COUNTER_STRIPES, 1))
        atomic_store_explicit(value, atomic_load_explicit(value, memory_order_relaxed) + amount, memory_order_relaxed);
    else
        atomic_fetch_add_explicit(value, amount, memory_order_relaxed);
}

uint64_t counter_read(const struct counters *c, enum counter which);
void counters_reset(struct counters *c);

#endif
