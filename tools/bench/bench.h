/* The subcommand `bench`: which rows to run. */
#ifndef TOOLS_BENCH_BENCH_H
#define TOOLS_BENCH_BENCH_H

#include "tools/bench/row.h"
#include "tools/tool.h"

enum { BENCH_VARIANTS_MAX = 16, BENCH_KEYS_MAX = 8 };

struct bench_plan {
    struct row_options row; /* of every row; engine and index come from the variants */
    struct {
        const struct adapter *engine;
        const char *index;
    } variants[BENCH_VARIANTS_MAX];
    uint32_t variant_count, repeat;
    bool json;
    const char *engines;   /* as on the command line */
    const char *rows;      /* of the contest */
    const char *csv, *plot; /* files to write (plot of engines: a directory); NULL: none */
    const char *directory; /* where stores are made, as on the command line; NULL: a default */
    uint64_t seconds;      /* of stalls, for each engine */
    uint64_t keys_max;     /* of growth, and of engines */
    uint64_t key_list[BENCH_KEYS_MAX]; /* of engines */
    uint32_t key_count;
    const char *keys_text; /* as on the command line */
    const char *parts;     /* of engines, likewise; NULL: all */
    uint64_t memory_bytes; /* of floor; 0: the default */
};

/* The options of a variant's rows. */
struct row_options bench_row(const struct bench_plan *plan, uint32_t variant);
/* The first variant that is plsm in learned mode, to compare with; -1: there is none. */
int bench_learned(const struct bench_plan *plan);

/* A table of rows, all engines in turns, medians of plan->repeat runs; a CSV file and a picture where asked for. */
enum tool_exit bench_contest(const struct tool *tool, const struct bench_plan *plan);
extern const char bench_first_rows[], bench_contest_rows[]; /* what it runs unless told otherwise */

#endif
