/* Memory from the system, with a way for tests to make the n-th allocation fail. Every room allocates through these. */
#ifndef BASE_ALLOC_H
#define BASE_ALLOC_H

#include <stddef.h>
#include <stdint.h>

/* malloc, calloc, realloc, free; NULL when there is no memory (or the test hook says so). mem_free accepts NULL. */
void *mem_alloc(size_t size) __attribute__((malloc, warn_unused_result));
void *mem_zalloc(size_t size) __attribute__((malloc, warn_unused_result));
void *mem_realloc(void *old, size_t size) __attribute__((warn_unused_result));
void mem_free(void *memory);

/* `size` zeroed bytes straight from the kernel, aligned to 2 MiB when `size` is at least that, and advised to use huge
 * pages (they are worth about 1.5x on the read path: shared facts, section 1). Pages are resident only once touched.
 * Give back with mem_unmap and the same size. NULL when there is no memory. */
void *mem_map(size_t size) __attribute__((warn_unused_result));
void mem_unmap(void *memory, size_t size);
/* Makes whole pages (4 KiB) inside of such memory what they were at first: zeros, and not resident. */
void mem_discard(void *memory, size_t size);

/* Test hook: from now on the n-th allocation of this process (1 is the next) fails, once; 0 switches it off.
 * mem_count() tells how many allocations were made since the last mem_fail_at(). */
void mem_fail_at(uint64_t nth);
uint64_t mem_count(void);

#endif
