/* Memory from the system, with accounts of who has it and a way for tests to make the n-th allocation fail. Every room
 * allocates through these. */
#ifndef BASE_ALLOC_H
#define BASE_ALLOC_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

/* malloc, calloc, realloc, free; NULL when there is no memory (or the test hook says so). mem_free accepts NULL.
 * From 64 KiB on memory comes from huge pages (alloc_large.c). */
void *mem_alloc(size_t size) __attribute__((malloc, warn_unused_result));
void *mem_zalloc(size_t size) __attribute__((malloc, warn_unused_result));
void *mem_realloc(void *old, size_t size) __attribute__((warn_unused_result));
void mem_free(void *memory);

/* `size` zeroed bytes straight from the kernel, aligned to 2 MiB when `size` is at least that, and advised to use huge
 * pages (they are worth about 1.5x on the read path: shared facts, section 1). Pages are resident only once touched.
 * Give back with mem_unmap and the same size. NULL when there is no memory. */
void *mem_map(size_t size) __attribute__((warn_unused_result));
void mem_unmap(void *memory, size_t size);
/* Such memory, whole pages (4 KiB) of it, is not to be in huge ones. */
void mem_small_pages(void *memory, size_t size);
/* Makes whole pages (4 KiB) inside of such memory what they were at first: zeros, and not resident. */
void mem_discard(void *memory, size_t size);

/* An account of memory: while a thread uses one, all that it allocates, grows and frees is charged there, with the size
 * that it really takes. Whoever allocates an object under an account must free it under the same one. `changed` (may be
 * NULL) is called after each change, by the thread that made it, which may hold locks and be inside of epochs. */
struct mem_account {
    _Atomic int64_t bytes;
    void (*changed)(struct mem_account *account);
};
/* From now on this thread uses `account` (NULL: none). Returns the one it used before, which is to be used again at the
 * end of the same function: brackets nest. */
struct mem_account *mem_account_use(struct mem_account *account);
struct mem_account *mem_account_now(void); /* that it uses */
/* Charges for what was allocated elsewhere. */
void mem_account_add(struct mem_account *account, int64_t bytes);

/* Bytes of huge pages that this process has for mem_alloc and that nobody uses. */
uint64_t mem_unused(void);

/* Test hook: from now on the n-th allocation of this process (1 is the next) fails, once; 0 switches it off.
 * mem_count() tells how many allocations were made since the last mem_fail_at(). */
void mem_fail_at(uint64_t nth);
uint64_t mem_count(void);

#endif
