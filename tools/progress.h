/* A progress line on stderr, for people only: nothing is written unless stderr is a terminal and the work has lasted
 * over a second. */
#ifndef TOOLS_PROGRESS_H
#define TOOLS_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

struct progress {
    const char *what; /* static: "load" */
    uint64_t total;   /* 0: not known */
    uint64_t start_ns, next_ns, done;
    bool in_bytes; /* sizes are bytes, otherwise records */
    bool enabled, shown;
};

void progress_start(struct progress *progress, const char *what, uint64_t total, bool in_bytes);
/* `done` of the total; cheap, call it often. */
void progress_update(struct progress *progress, uint64_t done);
/* Takes the line away again. May be called more than once. */
void progress_end(struct progress *progress);
/* Since progress_start, never 0. */
double progress_seconds(const struct progress *progress);

#endif
