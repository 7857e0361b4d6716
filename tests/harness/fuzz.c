#include "tests/harness/fuzz.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "tests/harness/pool.h"
#include "base/banned.h"

enum { GROUPS_BACK = 8 /* that may have been under way when one failed */ };

struct group {
    fuzz_round *run;
    uint64_t seed, first, end;
};

static enum verdict run_group(void *arg, char *failure, size_t size)
{
    const struct group *group = arg;
    for (uint64_t round = group->first; round < group->end; round++)
        if (!group->run(group->seed, round, failure, size))
            return VERDICT_FAILED;
    return VERDICT_PASSED;
}

/* A round that crashes or hangs cannot tell its number: tries each alone. */
static void narrow(const struct group *group, unsigned round_seconds)
{
    for (uint64_t round = group->first; round < group->end; round++) {
        struct group one = {group->run, group->seed, round, round + 1};
        char failure[1024];
        if (!pool_alone(run_group, &one, round_seconds, failure, sizeof failure)) {
            fprintf(stderr, "FUZZ_SEED=%lu FUZZ_ROUND=%lu: %s\n", (unsigned long)group->seed, (unsigned long)round,
                    failure);
            return;
        }
    }
}

int fuzz_run(const char *what, fuzz_round *run, unsigned group_rounds, unsigned round_seconds)
{
    uint64_t seed = setting("FUZZ_SEED", (unsigned long)time(NULL));
    unsigned long only = setting("FUZZ_ROUND", ~0ul), seconds = setting("FUZZ_SECONDS", 60);
    if (only != ~0ul) {
        char failure[1024] = "";
        bool right = run(seed, only, failure, sizeof failure);
        printf("%s %s\n", right ? "passed" : "FAILED", failure);
        return right ? EXIT_SUCCESS : EXIT_FAILURE;
    }
    struct pool *pool = pool_create(0);
    struct group group = {.run = run, .seed = seed};
    time_t end = time(NULL) + (time_t)seconds;
    for (; time(NULL) < end && pool_failures(pool) == 0; group.first += group_rounds) {
        group.end = group.first + group_rounds;
        char label[120];
        snprintf(label, sizeof label, "FUZZ_SEED=%lu, rounds %lu to %lu", (unsigned long)seed,
                 (unsigned long)group.first, (unsigned long)group.end - 1);
        pool_start(pool, run_group, &group, round_seconds * 2, label);
    }
    unsigned failures = pool_wait(pool);
    pool_destroy(pool);
    uint64_t rounds = group.first, back = (uint64_t)GROUPS_BACK * group_rounds;
    if (failures > 0) { /* one of the last few: the pool was stopped by it */
        group.end = group.first;
        group.first = group.first > back ? group.first - back : 0;
        narrow(&group, round_seconds);
    }
    printf("%lu %s, %u failures, FUZZ_SEED=%lu\n", (unsigned long)rounds, what, failures, (unsigned long)seed);
    return failures > 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
