/* `plsm bench requirements`: each performance requirement and success criterion of the product, measured. */
#ifndef TOOLS_BENCH_REQUIREMENTS_H
#define TOOLS_BENCH_REQUIREMENTS_H

#include "tools/bench/compare.h"

/* All of it, in a process of its own, between rows_begin and rows_end. */
enum tool_exit bench_requirements(const struct tool *tool, const struct compare_plan *plan);

#endif
