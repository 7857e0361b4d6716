/* The subcommand `bench`: which rows to run. */
#ifndef TOOLS_BENCH_BENCH_H
#define TOOLS_BENCH_BENCH_H

#include "tools/bench/row.h"
#include "tools/tool.h"

enum { BENCH_VARIANTS_MAX = 16 };

struct bench_plan {
    struct row_options row; /* of every row; engine and index come from the variants */
    struct {
        const struct adapter *engine;
        const char *index;
    } variants[BENCH_VARIANTS_MAX];
    uint32_t variant_count, repeat;
    bool json;
    const char *engines; /* as on the command line */
    bool repeat_given;
};

/* The options of a variant's rows. */
struct row_options bench_row(const struct bench_plan *plan, uint32_t variant);

/* The rows behind the table in the README: all workloads and engines interleaved, medians of plan->repeat runs. */
enum tool_exit bench_first(const struct tool *tool, const struct bench_plan *plan);

#endif
