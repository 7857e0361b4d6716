/* What alloc.c and alloc_large.c share. */
#ifndef BASE_ALLOC_PRIVATE_H
#define BASE_ALLOC_PRIVATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    SMALL_PAGE = 4096,
    HUGE_PAGE = 2 << 20,
    LARGE_LEAST = 64 << 10,   /* from here on allocations come from alloc_large.c */
    LARGE_SHARED = 1 << 20, /* up to here they share huge pages with others */
};

static inline size_t small_page_round(size_t size)
{
    return (size + SMALL_PAGE - 1) & ~(size_t)(SMALL_PAGE - 1);
}

/* `size` bytes (a multiple of SMALL_PAGE) from the kernel, zeroed, aligned to SMALL_PAGE or HUGE_PAGE; the latter are
 * advised to use huge pages. NULL: no memory. */
void *map_pages(size_t size, size_t alignment);

/* At least `size` bytes, aligned to SMALL_PAGE; with `zeroed` they are zeros. NULL: no memory, or built with
 * AddressSanitizer, which finds more in what malloc gives. */
void *large_alloc(size_t size, bool zeroed);
/* Gives back what large_alloc gave; false: it is not from there. */
bool large_free(void *memory);
/* Makes a mapping of its own larger without copying it, mostly in another place; NULL: it is none, or there is no
 * memory, and all is as it was. */
void *large_grow(void *memory, size_t size);
/* Bytes that are usable there; 0: not from large_alloc. */
size_t large_size(const void *memory);

#endif
