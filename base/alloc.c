/* Memory from the system, accounts of it, and the test hook that makes an allocation fail. */
#include "base/alloc.h"

#include <malloc.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/alloc_private.h"

#include "base/banned.h"

/* --- the test hook ------------------------------------------------------------------------------------------------ */

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

/* --- accounts ----------------------------------------------------------------------------------------------------- */

static _Thread_local struct mem_account *charged;

struct mem_account *mem_account_use(struct mem_account *account)
{
    struct mem_account *before = charged;
    charged = account;
    return before;
}

struct mem_account *mem_account_now(void)
{
    return charged;
}

void mem_account_add(struct mem_account *account, int64_t bytes)
{
    atomic_fetch_add_explicit(&account->bytes, bytes, memory_order_relaxed);
    if (account->changed)
        account->changed(account);
}

static void charge(int64_t bytes)
{
    if (__builtin_expect(charged != NULL, 0))
        mem_account_add(charged, bytes);
}

/* What an allocation really takes. Not on the way of those who charge nobody. */
static size_t size_of(void *memory)
{
    size_t size = large_size(memory);
    return size ? size : malloc_usable_size(memory);
}

/* Charges for what was allocated, if it was. */
static void *charge_for(void *memory)
{
    if (__builtin_expect(charged != NULL, 0) && memory)
        charge((int64_t)size_of(memory));
    return memory;
}

/* --- allocating --------------------------------------------------------------------------------------------------- */

/* Up to here malloc of glibc gives a thread what it has freed itself, without a lock. calloc (before 2.41) and realloc
 * always lock an arena, which may be another thread's, and a thread that finds it locked goes to sleep. */
enum { SMALL_MOST = 1032, SLACK_MOST = 32 };

/* Not refused and not charged. */
static void *allocate(size_t size, bool zeroed)
{
    void *memory = size >= LARGE_LEAST ? large_alloc(size, zeroed) : NULL;
    if (memory)
        return memory;
    size = size ? size : 1; /* size 0 gives memory too: NULL means failure only */
    if (!zeroed || size > SMALL_MOST)
        return zeroed ? calloc(1, size) : malloc(size);
    memory = malloc(size);
    __asm__ volatile("" : "+r"(memory)); /* or the compiler makes a calloc of this */
    return memory ? memset(memory, 0, size) : NULL;
}

static void release(void *memory)
{
    if (!large_free(memory))
        free(memory);
}

void *mem_alloc(size_t size)
{
    return refused() ? NULL : charge_for(allocate(size, false));
}

void *mem_zalloc(size_t size)
{
    return refused() ? NULL : charge_for(allocate(size, true));
}

/* Is a realloc to at most SMALL_MOST. */
static void *resize_small(void *old, size_t size)
{
    size_t had = malloc_usable_size(old);
    if (size <= had && had - size < SLACK_MOST)
        return old;
    void *fresh = malloc(size ? size : 1);
    if (!fresh)
        return NULL;
    memcpy(fresh, old, size < had ? size : had);
    free(old);
    return fresh;
}

void *mem_realloc(void *old, size_t size)
{
    if (refused())
        return NULL;
    if (!old)
        return charge_for(allocate(size, false));
    size_t large = large_size(old), before = charged || size >= LARGE_LEAST || large ? size_of(old) : 0;
    void *fresh = old;
    if (size <= SMALL_MOST && !large)
        fresh = resize_small(old, size);
    else if (size < LARGE_LEAST && !large)
        fresh = realloc(old, size);
    else if (!large || size > large || size < large / 2) {
        fresh = size > large ? large_grow(old, size) : NULL;
        if (!fresh && (fresh = allocate(size, false)) != NULL) {
            memcpy(fresh, old, size < before ? size : before);
            release(old);
        }
    }
    if (fresh && charged)
        charge((int64_t)size_of(fresh) - (int64_t)before);
    return fresh;
}

void mem_free(void *memory)
{
    if (!memory)
        return;
    int64_t size = __builtin_expect(charged != NULL, 0) ? (int64_t)size_of(memory) : 0;
    release(memory);
    charge(-size);
}

/* --- from the kernel ---------------------------------------------------------------------------------------------- */

void *map_pages(size_t size, size_t alignment)
{
    /* The kernel aligns to small pages only: ask for more and give back what sticks out on both sides. */
    size_t slack = alignment - SMALL_PAGE;
    uint8_t *raw = mmap(NULL, size + slack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (raw == MAP_FAILED)
        return NULL;
    if (slack == 0)
        return raw;
    size_t before = -(uintptr_t)raw & (alignment - 1);
    if (before > 0)
        munmap(raw, before);
    if (slack > before)
        munmap(raw + before + size, slack - before);
    madvise(raw + before, size, MADV_HUGEPAGE); /* advice: a kernel without huge pages is only slower */
    return raw + before;
}

void *mem_map(size_t size)
{
    if (size == 0 || size > SIZE_MAX / 2 || refused())
        return NULL;
    size = small_page_round(size);
    void *memory = map_pages(size, size >= HUGE_PAGE ? HUGE_PAGE : SMALL_PAGE);
    if (memory)
        charge((int64_t)size);
    return memory;
}

void mem_unmap(void *memory, size_t size)
{
    if (!memory)
        return;
    munmap(memory, small_page_round(size));
    charge(-(int64_t)small_page_round(size));
}

void mem_small_pages(void *memory, size_t size)
{
    madvise(memory, size, MADV_NOHUGEPAGE);
}

void mem_discard(void *memory, size_t size)
{
    madvise(memory, size, MADV_DONTNEED); /* cannot fail for memory of ours; if it did, it would only stay resident */
}
