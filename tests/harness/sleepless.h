/* An environment in which nobody waits, for tests of what sleeps: only its clock and its sleep are there. */
#ifndef TESTS_HARNESS_SLEEPLESS_H
#define TESTS_HARNESS_SLEEPLESS_H

#include <stdatomic.h>

#include "base/env.h"

struct sleepless {
    struct env env;
    _Atomic uint64_t slept_ns, sleeps; /* what was asked for */
    uint64_t over_ns;                  /* each sleep takes that much longer */
};
void sleepless_init(struct sleepless *sleepless);

/* The clock of the calling thread: it goes on by sleeping alone. */
extern _Thread_local uint64_t sleepless_thread_ns;

#endif
