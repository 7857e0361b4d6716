/* Memory that one build needs and gives back. Private to learn/. */
#ifndef LEARN_SCRATCH_H
#define LEARN_SCRATCH_H

#include <stddef.h>

#include "base/alloc.h"

/* From there on it is mapped: huge pages, and given back to the system at once. Below, the allocator keeps it for the
 * next build, which saves the page faults. */
enum { SCRATCH_MAPPED_MIN = 32 << 20 };

/* Zero it to start. */
struct scratch {
    void *memory;
    size_t size;
};

/* Accepts a zeroed one. */
static inline void scratch_free(struct scratch *s)
{
    if (s->size >= SCRATCH_MAPPED_MIN)
        mem_unmap(s->memory, s->size);
    else
        mem_free(s->memory);
    *s = (struct scratch){0};
}

/* `size` bytes in place of what it had, aligned for any type; NULL when there is no memory. */
static inline void *scratch_reserve(struct scratch *s, size_t size)
{
    scratch_free(s);
    s->memory = size >= SCRATCH_MAPPED_MIN ? mem_map(size) : mem_alloc(size);
    s->size = size;
    return s->memory;
}

#endif
