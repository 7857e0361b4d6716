/* Times at which entries expire. See expiry.h. */
#include "lsm/expiry.h"

#include <stdlib.h>

#include "base/random.h"
#include "base/banned.h"

void expiry_sample_add(struct expiry_sample *sample, uint64_t expires_s)
{
    uint64_t at = sample->count++;
    if (at >= EXPIRY_SAMPLE)
        at = splitmix64(&sample->random) % sample->count;
    if (at < EXPIRY_SAMPLE)
        sample->times_s[at] = expires_s;
}

static int compare_times(const void *a, const void *b)
{
    uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;
    return left < right ? -1 : left > right;
}

uint64_t expiry_due_s(struct expiry_sample *sample, uint64_t entries)
{
    uint64_t sampled = sample->count < EXPIRY_SAMPLE ? sample->count : EXPIRY_SAMPLE, half = (entries + 1) / 2;
    if (sample->count < half || sampled == 0)
        return 0;
    qsort(sample->times_s, (size_t)sampled, sizeof sample->times_s[0], compare_times);
    uint64_t at = (uint64_t)((double)half / (double)sample->count * (double)sampled + 0.999);
    return sample->times_s[at > sampled ? sampled - 1 : at - 1];
}
