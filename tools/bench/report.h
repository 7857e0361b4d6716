/* Rows for people and for programs. */
#ifndef TOOLS_BENCH_REPORT_H
#define TOOLS_BENCH_REPORT_H

#include <stdio.h>

#include "tools/bench/workload.h"

/* One line, one JSON object, on stdout. */
void report_json(const struct row_options *options, const struct row_result *result);
/* A figure as JSON has it: "null" where there is none. */
enum { REPORT_FIGURE_SIZE = 32 };
void report_figure(char out[REPORT_FIGURE_SIZE], const char *name, double value);
/* A ratio as tables have it; `otherwise` where it is negative. */
void report_ratio(char out[REPORT_FIGURE_SIZE], const char *otherwise, double value);
/* What the caches hold when a row begins: a name of a state, or "new". */
const char *report_state(const struct row_options *options);
/* The same as lines of CSV, without the end of the line, so that columns can be added. */
void report_csv_head(FILE *out);
void report_csv_row(FILE *out, const char *title, const struct row_options *options, const struct row_result *result);
void report_table_head(void);
void report_table_row(const struct row_options *options, const struct row_result *result);
/* "plsm learned", "rocksdb": valid until the next call but one. */
const char *report_engine(const struct row_options *options);
/* Processor, memory, kernel and date, one a line, each after `prefix`. */
void report_machine(const char *prefix);

#endif
