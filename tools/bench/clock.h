/* What this process and its threads have used so far. */
#ifndef TOOLS_BENCH_CLOCK_H
#define TOOLS_BENCH_CLOCK_H

#include <stdint.h>

uint64_t clock_thread_cpu_ns(void);  /* processor time of the calling thread */
uint64_t clock_process_cpu_ns(void); /* of all threads */
/* What kept the calling thread from its work, since it was looked at last; to be zeroed at first. */
struct clock_hold {
    uint64_t cpu_ns, queued_ns;
    uint64_t sleeps; /* times that it gave the processor up by itself */
    int file;        /* 0: not open yet; below: it cannot be */
};
void clock_hold_look(struct clock_hold *hold);
/* How much of `took_ns`, which have gone by since, it was held up by what it did: not by others on the processor, which
 * it waited for, nor, where it never slept, by a virtual machine that stood still. Looks. */
uint64_t clock_held_ns(struct clock_hold *hold, uint64_t took_ns);
void clock_hold_end(struct clock_hold *hold);
/* Bytes that this process got from read calls so far, as the kernel counts them (0 where it does not). */
uint64_t clock_read_bytes(void);
/* Read calls that it made so far, likewise. */
uint64_t clock_read_calls(void);
/* Bytes that were read from devices for it so far, because of calls or because of pages that are mapped, readahead
 * included; 0 where the kernel does not count them. */
uint64_t clock_disk_bytes(void);
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
