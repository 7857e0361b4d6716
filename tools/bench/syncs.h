/* How often files were synced by anyone in this process: by plsm, and by the libraries of its rivals, which tell nothing
 * about it. */
#ifndef TOOLS_BENCH_SYNCS_H
#define TOOLS_BENCH_SYNCS_H

#include <stdint.h>

/* Calls so far of fdatasync and fsync, of msync that waits, and of pwritev2 that syncs what it writes. */
uint64_t syncs_count(void);

#endif
