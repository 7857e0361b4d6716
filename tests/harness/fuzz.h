/* What fuzzers share: rounds that follow from a seed, run in groups by a pool of processes for some time.
 *
 * FUZZ_SEED (the time): of all rounds. FUZZ_ROUND: that one alone, in this process. FUZZ_SECONDS (60): how long. */
#ifndef TESTS_HARNESS_FUZZ_H
#define TESTS_HARNESS_FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* One round; false: `failure` says what is wrong. What is random in it follows from the two numbers. */
typedef bool fuzz_round(uint64_t seed, uint64_t round, char *failure, size_t size);

/* Runs rounds and says at the end how many of `what`. A round of a group that failed, crashed or hung is told with its
 * number. `round_seconds`: what one may take at most, and, twice, a group of them. Returns an exit code. */
int fuzz_run(const char *what, fuzz_round *run, unsigned group_rounds, unsigned round_seconds);

#endif
