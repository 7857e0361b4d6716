#include "store/ranges.h"

#include <string.h>

#include "base/alloc.h"
#include "base/error.h"

#include "base/banned.h"

void ranges_free(struct ranges *set)
{
    mem_free(set->items);
    *set = (struct ranges){0};
}

plsm_status ranges_reserve(struct ranges *set)
{
    /* Either operation makes at most one range more than there were. */
    if (set->count < set->capacity)
        return PLSM_OK;
    size_t capacity = set->capacity ? 2 * set->capacity : 4;
    struct range *items = mem_realloc(set->items, capacity * sizeof *items);
    if (!items)
        return fail(PLSM_NO_MEMORY, "no memory for %zu ranges of extents", capacity);
    set->items = items;
    set->capacity = capacity;
    return PLSM_OK;
}

/* The first range that ends at or behind `number` (ends are exclusive: it may only touch). */
static size_t first_touching(const struct ranges *set, uint64_t number)
{
    size_t low = 0, high = set->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (set->items[middle].end < number)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* Replaces items [from, to) by `count` (0 to 2) others. */
static void splice(struct ranges *set, size_t from, size_t to, const struct range *others, size_t count)
{
    INVARIANT(set->count - (to - from) + count <= set->capacity);
    memmove(set->items + from + count, set->items + to, (set->count - to) * sizeof *set->items);
    for (size_t i = 0; i < count; i++)
        set->items[from + i] = others[i];
    set->count = set->count - (to - from) + count;
}

void ranges_add(struct ranges *set, uint64_t start, uint64_t end)
{
    if (start >= end)
        return;
    INVARIANT(set->count < set->capacity);
    size_t from = first_touching(set, start), to = from;
    struct range joined = {start, end};
    for (; to < set->count && set->items[to].start <= end; to++) {
        if (set->items[to].start < joined.start)
            joined.start = set->items[to].start;
        if (set->items[to].end > joined.end)
            joined.end = set->items[to].end;
    }
    splice(set, from, to, &joined, 1);
}

void ranges_remove(struct ranges *set, uint64_t start, uint64_t end)
{
    if (start >= end || set->count == 0)
        return;
    size_t from = first_touching(set, start);
    if (from < set->count && set->items[from].end == start)
        from++; /* touches only */
    size_t to = from;
    struct range left[2];
    size_t count = 0;
    for (; to < set->count && set->items[to].start < end; to++) {
        if (set->items[to].start < start)
            left[count++] = (struct range){set->items[to].start, start};
        if (set->items[to].end > end)
            left[count++] = (struct range){end, set->items[to].end};
    }
    splice(set, from, to, left, count);
}

bool ranges_has(const struct ranges *set, uint64_t number)
{
    size_t at = first_touching(set, number + 1);
    return at < set->count && set->items[at].start <= number;
}

uint64_t ranges_total(const struct ranges *set)
{
    uint64_t total = 0;
    for (size_t i = 0; i < set->count; i++)
        total += set->items[i].end - set->items[i].start;
    return total;
}
