/* `plsm bench stalls`: does an engine keep its pace when writes do not end? */
#ifndef TOOLS_BENCH_STALLS_H
#define TOOLS_BENCH_STALLS_H

#include "tools/bench/bench.h"

enum tool_exit bench_stalls(const struct tool *tool, const struct bench_plan *plan);

#endif
