/* Versions of runs that are nowhere on a disk, for policies to look at. */
#ifndef TESTS_HARNESS_MADE_VERSION_H
#define TESTS_HARNESS_MADE_VERSION_H

#include "lsm/version.h"

struct made_run {
    unsigned level;
    const char *smallest, *largest;
    uint64_t bytes;
    uint64_t deletions;     /* of 100 entries, unless those are given */
    uint64_t entries;       /* 0: 100 */
    uint64_t seq, oldest_s; /* seq 0: the run's number */
};

/* Run i of the array gets number i + 1, and is opened by nobody. One reference. */
struct version *made_version(const struct made_run *runs, size_t count);
struct run *made_run(uint64_t number, const struct made_run *facts);

#endif
