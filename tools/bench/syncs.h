/* How often anyone in this process synced files: plsm, or the library of a rival, which does not tell. */
#ifndef TOOLS_BENCH_SYNCS_H
#define TOOLS_BENCH_SYNCS_H

#include <stdint.h>

/* Calls so far of fdatasync and fsync, of msync that waits, and of pwritev2 that syncs what it writes. */
uint64_t syncs_count(void);

#endif
