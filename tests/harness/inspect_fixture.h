/* What the tests of looking inside a store share: stores of known layout, and what is told of them gathered. */
#ifndef TESTS_INSPECT_FIXTURE_H
#define TESTS_INSPECT_FIXTURE_H

#include "tests/harness/store_fixture.h"

enum {
    INSPECT_MIDDLE = PLSM_INSPECT_ERRORS / 2, /* the bucket of answers that are right */
    INSPECT_COUNTERS = 20000,
    INSPECT_RUNS_MAX = 256,
};

/* All in one run; several levels of small ones. */
#define INSPECT_ONE_RUN "background=0,buffer_size=64M"
#define INSPECT_SMALL                                                                                                  \
    "background=0,buffer_size=64K,file_size=64K,cache_size=1M,l0_compact=2,l0_slowdown=4,l0_stop=6,model_batch=0"

struct inspect_runs {
    plsm_run_info list[INSPECT_RUNS_MAX]; /* their slices are not valid any more */
    unsigned count;
};

struct inspect_levels {
    plsm_level_info list[PLSM_INSPECT_LEVELS];
    unsigned count;
};

plsm_slice inspect_counter(unsigned number, char text[16]);
/* A store of the first `count` multiples of 3 in 8 digits: the numbers between are absent. */
plsm *inspect_counters(struct env *env, const char *options, unsigned count);

/* For plsm_inspect_runs and plsm_inspect_levels, with one of the structs. */
void inspect_take_run(void *arg, const plsm_run_info *run);
void inspect_take_level(void *arg, const plsm_level_info *level);
/* All runs of a store; valid until the next call. */
const struct inspect_runs *inspect_all_runs(plsm *db);
/* The one run of the names: the test fails when there is not one. */
const plsm_run_info *inspect_only_run(plsm *db);

#endif
