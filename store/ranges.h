/* A set of numbers kept as sorted, disjoint, non-touching ranges: which extents an edit has written. Writing from one
 * end to the other is one range however long it gets. */
#ifndef STORE_RANGES_H
#define STORE_RANGES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

struct range {
    uint64_t start, end; /* [start, end) */
};

/* Zero it to start. */
struct ranges {
    struct range *items;
    size_t count, capacity;
};

void ranges_free(struct ranges *set); /* accepts a zeroed set */
/* Makes sure that the next add or cut cannot fail. */
plsm_status ranges_reserve(struct ranges *set);
/* Adds or removes [start, end). Room must have been reserved. */
void ranges_add(struct ranges *set, uint64_t start, uint64_t end);
void ranges_remove(struct ranges *set, uint64_t start, uint64_t end);
bool ranges_has(const struct ranges *set, uint64_t number);
uint64_t ranges_total(const struct ranges *set); /* how many numbers are in it */

#endif
