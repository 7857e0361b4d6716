/* Zipf-distributed ranks: rank k of 1..n with a probability proportional to 1 / k^s. By rejection-inversion (W.
 * Hormann and G. Derflinger, "Rejection-inversion to generate variates from monotone discrete distributions",
 * 1996): exact, with no table and no setup that grows with n. */
#ifndef TOOLS_BENCH_ZIPF_H
#define TOOLS_BENCH_ZIPF_H

#include "base/random.h"

struct zipf {
    uint64_t n;
    double s, h_first, h_last, accept;
};

/* n at least 1, s above 0. */
void zipf_init(struct zipf *zipf, uint64_t n, double s);
/* A rank in [0, n): 0 is the most frequent. */
uint64_t zipf_next(const struct zipf *zipf, struct random *random);

#endif
