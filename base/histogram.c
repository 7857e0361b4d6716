/* Latency histogram. Bucket numbers: values below 16 have a bucket each; above, a value with its highest bit at e has
 * the 16 buckets from 16 * (e - 3), picked by the 4 bits below the highest. */
#include "base/histogram.h"

#include <math.h>

#include "base/banned.h"

enum { SUB_BITS = 4, SUB = 1 << SUB_BITS };
_Static_assert(HISTOGRAM_BUCKETS == SUB * (64 - SUB_BITS + 1), "every 64-bit value has a bucket");

static unsigned bucket_of(uint64_t value)
{
    if (value < SUB)
        return (unsigned)value;
    unsigned exponent = 63 - (unsigned)__builtin_clzll(value);
    return SUB * (exponent - SUB_BITS + 1) + (unsigned)(value >> (exponent - SUB_BITS) & (SUB - 1));
}

/* The largest value of a bucket. */
static uint64_t bucket_top(unsigned bucket)
{
    if (bucket < SUB)
        return bucket;
    unsigned shift = bucket / SUB - 1;
    return ((uint64_t)(SUB + bucket % SUB + 1) << shift) - 1; /* the last one wraps to UINT64_MAX, as it should */
}

void histogram_add(struct histogram *h, uint64_t value)
{
    atomic_fetch_add_explicit(&h->counts[bucket_of(value)], 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&h->sum, value, memory_order_relaxed);
}

uint64_t histogram_count(const struct histogram *h)
{
    uint64_t count = 0;
    for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++)
        count += atomic_load_explicit(&h->counts[i], memory_order_relaxed);
    return count;
}

uint64_t histogram_quantile(const struct histogram *h, double fraction)
{
    uint64_t count = histogram_count(h), seen = 0, top = 0;
    uint64_t needed = (uint64_t)ceil(fraction * (double)count);
    if (needed < 1)
        needed = 1;
    for (unsigned i = 0; i < HISTOGRAM_BUCKETS && seen < needed; i++) {
        uint64_t here = atomic_load_explicit(&h->counts[i], memory_order_relaxed);
        seen += here;
        if (here)
            top = bucket_top(i); /* the last filled one stands when a reset at the same time takes counts away */
    }
    return top;
}

uint64_t histogram_mean(const struct histogram *h)
{
    uint64_t count = histogram_count(h);
    return count ? atomic_load_explicit(&h->sum, memory_order_relaxed) / count : 0;
}

void histogram_reset(struct histogram *h)
{
    for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++)
        atomic_store_explicit(&h->counts[i], 0, memory_order_relaxed);
    atomic_store_explicit(&h->sum, 0, memory_order_relaxed);
}
