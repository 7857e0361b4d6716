/* What this process and its threads have used so far. */
#ifndef TOOLS_BENCH_CLOCK_H
#define TOOLS_BENCH_CLOCK_H

#include <stdint.h>

uint64_t clock_thread_cpu_ns(void);  /* processor time of the calling thread */
uint64_t clock_process_cpu_ns(void); /* of all threads */
/* Bytes that this process got from read calls so far, as the kernel counts them (0 where it does not). */
uint64_t clock_read_bytes(void);
/* Read calls that it made so far, likewise. */
uint64_t clock_read_calls(void);
/* Bytes that this process wrote to files so far: what write calls were given, or, where that is more, the pages that it
 * made dirty, as the kernel counts them for the device. The latter has what is written through maps in it, counts a
 * page that is written often between two write-backs once, and is 0 in file systems without a device. */
uint64_t clock_written_bytes(void);
/* Memory of this process that is resident: all of it, files that are mapped included, and what is no file's. */
struct clock_memory {
    uint64_t resident_bytes, anonymous_bytes;
};
struct clock_memory clock_memory(void);
/* Waits until the process has used next to no processor for 100 ms: background work is over, whatever the engine. */
void clock_wait_until_idle(void);

#endif
