/* `plsm bench targets`: what plsm should reach beside the other engines, measured. */
#ifndef TOOLS_BENCH_TARGETS_H
#define TOOLS_BENCH_TARGETS_H

#include "tools/bench/bench.h"

enum tool_exit bench_targets(const struct tool *tool, const struct bench_plan *plan);

#endif
