/* Rows of a table, as text: "fillrandom:batch=1000,readrandom:state=cold,overwrite:sync:threads=8:ops=20k". A word may
 * also be the name of a group, which stands for its rows. */
#ifndef TOOLS_BENCH_ROW_SPEC_H
#define TOOLS_BENCH_ROW_SPEC_H

#include "tools/bench/workload.h"

enum { ROW_SPECS_MAX = 64, ROW_TITLE_SIZE = 96 };

struct row_spec {
    char title[ROW_TITLE_SIZE]; /* the text of the row */
    const struct workload *workload;
    bool has_batch, has_threads, has_value_bytes, has_ops, has_keys, has_bytes, has_state, has_sync;
    uint32_t batch, threads, value_bytes;
    uint64_t ops, keys, bytes;
    enum cache_state state;
};

extern const struct row_group {
    const char *name, *rows;
} row_groups[]; /* ended by one without a name */

/* Reads rows separated by commas: a group, or a workload and then any of :batch=N :threads=N :value-bytes=N :ops=N
 * :keys=N :bytes=N :state=S :sync. PLSM_INVALID, with a message that names the row: an unknown workload or setting, a
 * number that is none or out of bounds, a title that is too long, or more than ROW_SPECS_MAX rows. */
plsm_status row_specs_parse(const char *text, struct row_spec rows[ROW_SPECS_MAX], uint32_t *count);
/* Puts what the row says over the options of all rows. Keys written in their order get a shape that has one. With
 * :bytes=N there are no more keys than have N bytes with their values, but one at least. */
void row_spec_apply(const struct row_spec *row, struct row_options *options);
/* Checks values and batches together, as the engines' limits are: PLSM_INVALID. */
plsm_status row_options_check(const struct row_options *options);

#endif
