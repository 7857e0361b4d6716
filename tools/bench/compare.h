/* `plsm bench compare`: the modes of our own engine side by side, on the same data, in turns.
 *
 * Modes that can read the same store do: learned and traditional read one that was written in learned mode, opened
 * twice. Every operation is measured in rounds: a round runs the same slice of operations, the same keys in the same
 * order, in each mode, the order of the modes changing from round to round. A ratio is formed per round and the median
 * of the ratios told, so that what disturbs the machine, which does so for longer than a slice, disturbs both sides of
 * a ratio. All answers are compared with each other and with what was written; a difference is an error. */
#ifndef TOOLS_BENCH_COMPARE_H
#define TOOLS_BENCH_COMPARE_H

#include "tools/bench/compare_row.h"
#include "tools/bench/data.h"
#include "tools/tool.h"

enum { COMPARE_MODES_MAX = 3, COMPARE_KEYS_MAX = 16, COMPARE_ROUNDS_MAX = 1001 };

struct compare_plan {
    const char *modes[COMPARE_MODES_MAX]; /* values of the store's option index; static */
    uint32_t mode_count;
    const char *shapes;              /* "random,words", or "all" */
    uint64_t keys[COMPARE_KEYS_MAX]; /* one comparison for each shape and number */
    uint32_t keys_count;
    uint32_t value_bytes, batch, rounds, threads;
    uint64_t ops; /* of a slice */
    uint64_t seed, cache_bytes;
    uint64_t verify;        /* 0: measure; otherwise so many lookups are compared, unmeasured */
    const char *options;    /* of the store, or NULL */
    const char *csv, *plot; /* where to, or NULL */
    bool json;
};

/* All of it, in a process of its own, between rows_begin and rows_end. Rows are printed as they come. */
enum tool_exit bench_compare(const struct tool *tool, const struct compare_plan *plan);

/* Measures one set of keys in `directory`, which is empty, and gives the rows to `each`. PLSM_CORRUPT: a wrong answer,
 * the message names the key. */
plsm_status compare_set(const struct compare_plan *plan, const struct data *data, const char *directory,
                        void (*each)(void *arg, const struct compare_row *row), void *arg);

#endif
