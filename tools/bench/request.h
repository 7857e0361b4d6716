/* The command line of `plsm bench`. */
#ifndef TOOLS_BENCH_REQUEST_H
#define TOOLS_BENCH_REQUEST_H

#include "tools/bench/bench.h"
#include "tools/bench/compare.h"

enum request_kind {
    REQUEST_ROWS, /* one workload */
    REQUEST_FIRST,
    REQUEST_CONTEST,
    REQUEST_FLOOR,
    REQUEST_STALLS,
    REQUEST_GROWTH,
    REQUEST_BILLION,
    REQUEST_TARGETS,
    REQUEST_COMPARE,
    REQUEST_REQUIREMENTS,
    REQUEST_ENGINES,
};

struct request {
    enum request_kind kind;
    struct compare_plan compare; /* of REQUEST_COMPARE and REQUEST_REQUIREMENTS */
    struct bench_plan plan;      /* of the others */
    const char *directory;       /* where stores are made; NULL: a default */
};

/* Reads it. False: *code is the exit code, everything has been said. Texts point into argv and tool. */
bool request_read(struct tool *tool, int argc, char **argv, struct request *request, enum tool_exit *code);

#endif
