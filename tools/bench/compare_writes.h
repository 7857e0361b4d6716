/* Writing in each mode: a store per mode, background threads and all. */
#ifndef TOOLS_BENCH_COMPARE_WRITES_H
#define TOOLS_BENCH_COMPARE_WRITES_H

#include "tools/bench/stores.h"

/* The mode that ratios are over: traditional where it is among them, otherwise the last. */
const char *compare_reference(const struct compare_plan *plan);

/* Reads every key in every open mode, in random order; PLSM_CORRUPT when any answer is wrong. */
plsm_status compare_read_all(const struct stores *stores);

/* Writes all keys in slices in turns, then rewrites and compacts in rounds; gives the rows, made from `base`. Every
 * slice ends when the background threads have nothing left to do, and their processor time counts. */
plsm_status compare_writes(const struct stores *stores, const struct compare_row *base,
                           void (*each)(void *arg, const struct compare_row *row), void *arg);

#endif
