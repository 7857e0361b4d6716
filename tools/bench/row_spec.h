/* Rows of a table, as text: "fillrandom:batch=1000,readrandom:state=cold,overwrite:sync:threads=8:ops=20k". */
#ifndef TOOLS_BENCH_ROW_SPEC_H
#define TOOLS_BENCH_ROW_SPEC_H

#include "tools/bench/workload.h"

enum { ROW_SPECS_MAX = 64, ROW_TITLE_SIZE = 96 };

struct row_spec {
    char title[ROW_TITLE_SIZE]; /* the text of the row */
    const struct workload *workload;
    bool has_batch, has_threads, has_value_bytes, has_ops, has_state, has_sync;
    uint32_t batch, threads, value_bytes;
    uint64_t ops;
    enum cache_state state;
};

/* Reads rows separated by commas: a workload, then any of :batch=N :threads=N :value-bytes=N :ops=N :state=S :sync.
 * PLSM_INVALID, with a message that names the row: an unknown workload or setting, a number that is none or out of
 * bounds, a title that is too long, or more than ROW_SPECS_MAX rows. */
plsm_status row_specs_parse(const char *text, struct row_spec rows[ROW_SPECS_MAX], uint32_t *count);
/* Puts what the row says over the options of all rows. Keys written in their order get a shape that has one. */
void row_spec_apply(const struct row_spec *row, struct row_options *options);
/* Checks values and batches together, as the engines' limits are: PLSM_INVALID. */
plsm_status row_options_check(const struct row_options *options);

#endif
