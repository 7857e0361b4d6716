/* What this process and its threads have used so far. */
#ifndef TOOLS_BENCH_CLOCK_H
#define TOOLS_BENCH_CLOCK_H

#include <stdint.h>

uint64_t clock_thread_cpu_ns(void);  /* processor time of the calling thread */
uint64_t clock_process_cpu_ns(void); /* of all threads */
/* Bytes that this process got from read calls so far, as the kernel counts them (0 where it does not). */
uint64_t clock_read_bytes(void);
/* Waits until the process has used next to no processor for 100 ms: background work is over, whatever the engine. */
void clock_wait_until_idle(void);

#endif
