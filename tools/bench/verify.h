/* `plsm bench compare --verify`: a differential soak. */
#ifndef TOOLS_BENCH_VERIFY_H
#define TOOLS_BENCH_VERIFY_H

#include "tools/bench/stores.h"

/* Looks up plan->verify keys that are there and that are not, of all kinds, mixed, in each mode, by plsm_get and by
 * plsm_multi_get, and compares status and value of each with what was written. Prints counts, in between too; *wrong
 * grows by the number of wrong answers, of which the first is told on stderr. Fails only where a store cannot be made
 * or opened. */
plsm_status verify_set(const struct compare_plan *plan, const struct data *data, const char *directory,
                       uint64_t *wrong);

/* The same on stores that are open; nothing is printed. */
struct verify_counts {
    uint64_t lookups, present, absent, wrong;
    char first[256]; /* the first wrong answer; empty: none */
};
plsm_status verify_stores(const struct stores *stores, uint64_t lookups, struct verify_counts *counts);

#endif
