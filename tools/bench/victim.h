/* A process that writes a store and is killed, so that what is left can be opened by others. */
#ifndef TOOLS_BENCH_VICTIM_H
#define TOOLS_BENCH_VICTIM_H

#include "base/status.h"

/* Runs work(arg, figure) in a child process, and ends it with SIGKILL when that is done: nothing is closed but what it
 * closed itself. Brings back its status, message and *figure (0 at first), or PLSM_IO where it ended otherwise. To be
 * called while no store is open in this process; the child does not outlive it. */
typedef plsm_status victim_work(const void *arg, double *figure);
plsm_status victim_run(victim_work *work, const void *arg, double *figure);

#endif
