/* Jobs in child processes, a few at a time: a job that crashes or hangs is a failure with a name, not the end of the
 * test, and a child is a perfect copy of the state in which it was forked.
 *
 * The process that forks must have a single thread. */
#ifndef TESTS_HARNESS_POOL_H
#define TESTS_HARNESS_POOL_H

#include <stdbool.h>
#include <stddef.h>

enum verdict { /* exit codes of the children: not 1 or 66, which sanitizers use */
    VERDICT_PASSED = 0,
    VERDICT_FAILED = 40, /* `failure` says why */
    VERDICT_BEYOND, /* passed, but there was nothing left to test: the enumeration is at its end */
};

/* Returns a verdict; a job must not leave threads behind. */
typedef enum verdict pool_job(void *arg, char *failure, size_t size);

struct pool;
/* `workers` jobs at once; 0: one per processor. */
struct pool *pool_create(unsigned workers);
void pool_destroy(struct pool *pool);
/* Waits for a free worker and starts a job, which is killed after `seconds`. The label names it when it fails. */
void pool_start(struct pool *pool, pool_job *job, void *arg, unsigned seconds, const char *label);
/* Waits for all jobs. Returns how many failed since pool_create. */
unsigned pool_wait(struct pool *pool);
/* Whether a job said VERDICT_BEYOND since the last call. */
bool pool_beyond(struct pool *pool);
unsigned pool_failures(const struct pool *pool);

/* One job alone; false: failed, and `failure` says why (also when it crashed or took too long). */
bool pool_alone(pool_job *job, void *arg, unsigned seconds, char *failure, size_t size);

/* A number from the environment, or `otherwise`. */
unsigned long setting(const char *name, unsigned long otherwise);
/* So many, or every TEST_THIN-th (1) of them: for what sanitizers make slow without seeing more in it. */
static inline unsigned long thinned(unsigned long count)
{
    return (count + setting("TEST_THIN", 1) - 1) / setting("TEST_THIN", 1);
}

#endif
