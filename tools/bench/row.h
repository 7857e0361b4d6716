/* Rows in processes of their own, so that no engine's memory or threads touch another's figures, and their files in a
 * directory that is removed again, also after a failure or a signal. */
#ifndef TOOLS_BENCH_ROW_H
#define TOOLS_BENCH_ROW_H

#include "tools/bench/workload.h"

/* Where benchmarks make their stores: `parent`, or where that is NULL $TMPDIR or /tmp. */
const char *rows_directory(const char *parent);
/* Makes a new directory in `parent` (NULL: $TMPDIR or /tmp) for this process's rows, and takes care of signals. */
plsm_status rows_begin(const char *parent);
/* Runs work(arg, directory, result) in a child process, in a directory that is removed behind it, and brings back what
 * it put into the `result_size` (at most 2,048) bytes of `result`. Its status and message, or PLSM_IO when it was
 * killed. After a signal to this process it does not return: everything is removed, then the signal takes its
 * course. */
typedef plsm_status rows_work(void *arg, const char *directory, void *result);
plsm_status rows_apart(rows_work *work, void *arg, void *result, size_t result_size);
/* Runs one row so. */
plsm_status row_run(const struct row_options *options, struct row_result *result);
/* Runs several workloads on one store so: see workload_series. */
plsm_status row_run_series(const struct row_options *options, const struct workload *const *list, uint32_t count,
                           struct row_result *results);
void rows_end(void);
/* Removes a directory with all that is in it. */
void rows_remove(const char *path);

enum { ROW_REPEAT_MAX = 100 };
/* The median of `count` (1 to ROW_REPEAT_MAX) results of the same row, figure by figure. */
void row_median(const struct row_result *results, uint32_t count, struct row_result *median);

#endif
