/* The machine's limits: what a memory access, a copy, a checksum and a call of the kernel cost here, so that figures of
 * stores can be read as multiples of them. */
#ifndef TOOLS_BENCH_FLOOR_H
#define TOOLS_BENCH_FLOOR_H

#include <stddef.h>
#include <stdint.h>

#include "tools/bench/bench.h"

enum floor_kind {
    FLOOR_L2,           /* dependent loads that miss the first-level cache and hit the second */
    FLOOR_L3,           /* hit the third */
    FLOOR_L3_16,        /* the same, 16 chains at once: per load */
    FLOOR_DRAM,         /* miss all caches; pages of 4 KiB */
    FLOOR_DRAM_16,      /* likewise, 16 chains */
    FLOOR_DRAM_HUGE,    /* as FLOOR_DRAM with huge pages, where the kernel gives them */
    FLOOR_DRAM_HUGE_16, /* likewise */
    FLOOR_COPY,         /* memcpy between buffers larger than the caches */
    FLOOR_CHECKSUM,     /* XXH3-64 of 4 KiB in the cache */
    FLOOR_WRITE,        /* a write call of 128 bytes at the end of a file */
    FLOOR_MAP_NEW,      /* 128 bytes copied into a mapped file whose pages were never written */
    FLOOR_MAP_AGAIN,    /* whose pages were */
    FLOOR_SYNC,         /* 128 bytes written over others and fdatasync, one after the other */
    FLOOR_READ,         /* a read call of 4 KiB that the page cache has, at random */
    FLOOR_READ_DIRECT,  /* past the page cache (O_DIRECT), at random */
    FLOOR_CLOCK,        /* reading the monotonic clock */
    FLOOR_COUNT         /* not a floor: how many there are */
};

extern const struct floor_line {
    const char *name, *about;
} floor_lines[FLOOR_COUNT]; /* names end in the unit */

struct floors {
    double values[FLOOR_COUNT]; /* negative: cannot be measured here */
};

/* Measures all, each for about `effort_ns` (of work that has no natural end), with chains and files of `bytes` bytes
 * (at least 1 MiB); makes a file in `directory` and leaves it there. PLSM_NO_MEMORY, PLSM_IO, PLSM_NO_SPACE. */
plsm_status floor_measure(const char *directory, uint64_t bytes, uint64_t effort_ns, struct floors *out);

enum { FLOOR_LINE = 64 }; /* bytes of a cache line, and of a node of a chain */
/* Makes a chain of bytes / FLOOR_LINE nodes in `memory`: each begins with the address of the next one, in random order,
 * and following them comes by every node once before it returns to the first. */
void floor_make_chain(void *memory, size_t bytes, uint64_t seed);

/* What a dependent load from DRAM takes, in ns, with huge pages where there are some: measured in a process of its own.
 * The floor of a read that touches one thing which is not in a cache. */
plsm_status floor_dram_miss(double *ns);

/* What the device takes, in ns by the clock, for 4 KiB read at random past the page cache from a new file of `bytes`
 * bytes, but at least 1 MiB and at most 4 GiB, by each of `threads` threads at once: the floor of reading a page that
 * is nowhere in memory. -1: the file system has no direct reads, is in memory itself, or has no space for the file. The
 * file, which must not be there before, is removed again. PLSM_IO, PLSM_NO_MEMORY. */
plsm_status floor_device_read(const char *path, uint64_t bytes, uint32_t threads, double *ns);
/* The same for 128 bytes and fdatasync, one after the other, over space that was written and synced before, so that
 * nothing else has to be written with them: the floor of a synced write. -1: there is no space for the file. */
plsm_status floor_device_sync(const char *path, double *ns);

/* `plsm bench floor`. */
enum tool_exit bench_floor(const struct tool *tool, const struct bench_plan *plan);

#endif
