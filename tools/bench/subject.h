/* A store under test by `plsm bench engines`, opened through plsm.h as any program opens one. */
#ifndef TOOLS_BENCH_SUBJECT_H
#define TOOLS_BENCH_SUBJECT_H

#include <limits.h>

#include "store/plsm.h"
#include "tools/bench/data.h"
#include "tools/bench/suite.h"

enum { SUBJECT_MANY = 100 }; /* keys of a plsm_multi_get: as many as an engine is asked for at a time by default */

struct subject {
    const struct errand *errand;
    plsm *db;
    char path[PATH_MAX];
    plsm_durability durability;
    plsm_batch *batch; /* of PROMISE_BATCH */
    uint32_t pending, batch_max;
    plsm_value value;
    plsm_value *values; /* SUBJECT_MANY, once they were needed */
};

/* Opens DIRECTORY/NAME, which is made where it is not there. `cache_bytes`: of the engine's cache, where it has one.
 * Close with subject_close, also after a failure. */
plsm_status subject_open(struct subject *subject, const struct errand *errand, const char *directory, const char *name,
                         uint64_t cache_bytes);
/* Writes what is pending and closes the store; accepts a zeroed struct and one that is closed. */
plsm_status subject_close(struct subject *subject);

/* Writes under the promise of the contender. */
plsm_status subject_put(struct subject *subject, plsm_slice key, plsm_slice value);
/* Writes what is pending of a batch. */
plsm_status subject_push(struct subject *subject);
/* subject->value has it. PLSM_NOT_FOUND. */
static inline plsm_status subject_get(struct subject *subject, plsm_slice key)
{
    return plsm_get(subject->db, NULL, key, &subject->value);
}
/* Writes what is pending, and waits until what is left in the background has been done. */
plsm_status subject_settle(struct subject *subject);
/* Bytes of its files. */
double subject_files(const struct subject *subject);

/* --- on keys and values of data.h, each call checked: PLSM_CORRUPT is a wrong answer ----------------------------- */

/* Writes all keys once in random order, in version 0: under the promise, or fast, in batches of 1,000. */
plsm_status subject_load(struct subject *subject, const struct data *data, bool fast);
/* Writes `count` keys drawn at random, in version 1. */
plsm_status subject_overwrite(struct subject *subject, const struct data *data, uint64_t count, uint64_t seed);
/* Reads `count` keys drawn at random. */
plsm_status subject_read(struct subject *subject, const struct data *data, uint64_t count, uint64_t seed);
/* The same by plsm_multi_get, SUBJECT_MANY keys a call. */
plsm_status subject_read_many(struct subject *subject, const struct data *data, uint64_t count, uint64_t seed);
/* Reads the key with this index. */
plsm_status subject_read_one(struct subject *subject, const struct data *data, uint64_t index);
/* Reads each key once. */
plsm_status subject_read_all(struct subject *subject, const struct data *data);

/* Keys and values as the plan says, a store in DIRECTORY/store, and `measure` on both. */
typedef plsm_status subject_measure(struct subject *subject, const struct data *data, double *figures);
plsm_status subject_run(const struct errand *errand, const char *directory, uint64_t cache_bytes,
                        subject_measure *measure, double *figures);

/* --- time -------------------------------------------------------------------------------------------------------- */

struct stopwatch {
    uint64_t wall_ns, cpu_ns;
};
void stopwatch_start(struct stopwatch *watch);
/* Since the start; CPU is of the whole process, background threads included. */
double stopwatch_wall_ns(const struct stopwatch *watch);
double stopwatch_cpu_ns(const struct stopwatch *watch);

#endif
