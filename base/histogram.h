/* Latency histogram: log-linear buckets (16 per power of two, so values are kept within 6.25 %), any number of threads
 * add at once (relaxed atomics), after HdrHistogram (G. Tene). */
#ifndef BASE_HISTOGRAM_H
#define BASE_HISTOGRAM_H

#include <stdatomic.h>
#include <stdint.h>

enum { HISTOGRAM_BUCKETS = 16 * 61 };

struct histogram {
    _Atomic uint64_t counts[HISTOGRAM_BUCKETS];
    _Atomic uint64_t sum;
};

void histogram_add(struct histogram *h, uint64_t value);
uint64_t histogram_count(const struct histogram *h);
/* The smallest bucket top that at least `fraction` (0..1) of the values do not exceed; 0 when it is empty. */
uint64_t histogram_quantile(const struct histogram *h, double fraction);
uint64_t histogram_mean(const struct histogram *h);
void histogram_reset(struct histogram *h);

#endif
