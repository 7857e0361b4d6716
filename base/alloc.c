/* Memory from the system, and the test hook that makes an allocation fail. */
#include "base/alloc.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "base/banned.h"

enum { HUGE_PAGE = 2 << 20, PAGE = 4096 };

/* Counting shares one cache line among all threads, so it starts only with the first mem_fail_at: production pays for
 * one load of a line that nobody writes. */
static atomic_bool counting;
static _Atomic uint64_t allocations, failing;

static bool refused(void)
{
    if (__builtin_expect(!atomic_load_explicit(&counting, memory_order_relaxed), 1))
        return false;
    return atomic_fetch_add(&allocations, 1) + 1 == atomic_load(&failing);
}

void *mem_alloc(size_t size)
{
    return refused() ? NULL : malloc(size ? size : 1); /* size 0 gives memory too: NULL means failure only */
}

void *mem_zalloc(size_t size)
{
    return refused() ? NULL : calloc(1, size ? size : 1);
}

void *mem_realloc(void *old, size_t size)
{
    return refused() ? NULL : realloc(old, size ? size : 1);
}

void mem_free(void *memory)
{
    free(memory);
}

static size_t page_round(size_t size)
{
    return (size + PAGE - 1) & ~(size_t)(PAGE - 1);
}

void *mem_map(size_t size)
{
    if (size == 0 || size > SIZE_MAX / 2 || refused())
        return NULL;
    size = page_round(size);
    /* The kernel aligns to small pages only: ask for more and give back what sticks out on both sides. */
    size_t slack = size >= HUGE_PAGE ? HUGE_PAGE - PAGE : 0;
    uint8_t *raw = mmap(NULL, size + slack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (raw == MAP_FAILED)
        return NULL;
    if (slack == 0)
        return raw;
    size_t before = -(uintptr_t)raw & (HUGE_PAGE - 1);
    if (before > 0)
        munmap(raw, before);
    if (slack > before)
        munmap(raw + before + size, slack - before);
    madvise(raw + before, size, MADV_HUGEPAGE); /* advice: a kernel without huge pages is only slower */
    return raw + before;
}

void mem_unmap(void *memory, size_t size)
{
    if (memory)
        munmap(memory, page_round(size));
}

void mem_discard(void *memory, size_t size)
{
    madvise(memory, size, MADV_DONTNEED); /* cannot fail for memory of ours; if it did, it would only stay resident */
}

void mem_fail_at(uint64_t nth)
{
    atomic_store(&failing, 0);
    atomic_store(&allocations, 0);
    atomic_store(&failing, nth);
    atomic_store(&counting, true);
}

uint64_t mem_count(void)
{
    return atomic_load(&allocations);
}
