/* These calls stand in front of those of the C library, for this program and for libraries that it loads: they count,
 * and do what they are asked for. */
#include "tools/bench/syncs.h"

#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/banned.h"

#define IN_FRONT __attribute__((visibility("default")))

_Static_assert(sizeof(long) == sizeof(off_t), "an offset is one argument of a system call");

static _Atomic uint64_t syncs;

static void count_one(void)
{
    atomic_fetch_add_explicit(&syncs, 1, memory_order_relaxed);
}

IN_FRONT int fdatasync(int file)
{
    count_one();
    return (int)syscall(SYS_fdatasync, file);
}

IN_FRONT int fsync(int file)
{
    count_one();
    return (int)syscall(SYS_fsync, file);
}

IN_FRONT int msync(void *memory, size_t size, int flags)
{
    if (flags & MS_SYNC)
        count_one();
    return (int)syscall(SYS_msync, memory, size, flags);
}

IN_FRONT ssize_t pwritev2(int file, const struct iovec *pieces, int count, off_t offset, int flags)
{
    const long high = 0; /* half of an offset, where a long is too short for it */
    if (flags & (RWF_SYNC | RWF_DSYNC))
        count_one();
    return syscall(SYS_pwritev2, file, pieces, count, (long)offset, high, flags);
}

uint64_t syncs_count(void)
{
    return atomic_load_explicit(&syncs, memory_order_relaxed);
}
