/* Arrays of 64-bit hashes of keys. */
#include <string.h>

#include "learn/hashes.h"

#include "base/banned.h"

/* Least significant digit radix sort, 11 bits a pass. */
void hashes_sort(uint64_t *hashes, uint64_t *scratch, size_t count)
{
    size_t start[(1 << 11) + 1];
    for (unsigned shift = 0; shift < 66; shift += 11) {
        memset(start, 0, sizeof start);
        for (size_t i = 0; i < count; i++)
            start[((hashes[i] >> shift) & 0x7ff) + 1]++;
        for (size_t i = 0; i < 1 << 11; i++)
            start[i + 1] += start[i];
        for (size_t i = 0; i < count; i++)
            scratch[start[(hashes[i] >> shift) & 0x7ff]++] = hashes[i];
        uint64_t *swap = hashes;
        hashes = scratch;
        scratch = swap;
    }
    /* Six passes: the sorted array is where it was at the start. */
}

size_t hashes_drop_neighbours(uint64_t *hashes, size_t count)
{
    size_t kept = 1;
    while (kept < count && hashes[kept] != hashes[kept - 1])
        kept++;
    if (kept >= count)
        return count;
    for (size_t i = kept; i < count; i++)
        if (hashes[i] != hashes[kept - 1])
            hashes[kept++] = hashes[i];
    return kept;
}
