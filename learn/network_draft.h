/* What the parts of training share: network_train.c has the whole of it. Private to them. */
#ifndef LEARN_NETWORK_DRAFT_H
#define LEARN_NETWORK_DRAFT_H

#include <stdint.h>

#include "learn/network.h"

/* The borders' codes, ascending and distinct, and where they should be. */
struct network_points {
    uint64_t *codes;
    double *pages;
    uint32_t count;
    double *errors, *sums; /* scratch of the descent; one more of `sums` */
};

/* A network in floating point. Places are numbers of points, with a fraction for codes between two of them: so one
 * step is as much where codes are dense as where they are far apart. Unit i climbs from levels[i] to levels[i + 1]
 * while the code goes from starts[i] to ends[i]; units may overlap. levels[0] is the bias. */
struct network_draft {
    uint32_t units;
    double error; /* the largest over the points, in pages, or a bound for it */
    double starts[NETWORK_UNITS_MAX], ends[NETWORK_UNITS_MAX], levels[NETWORK_UNITS_MAX + 1];
};

/* How far code a is above code b, not below it. Conversion of signed numbers is one instruction, that of unsigned ones
 * a branch. */
static inline double network_gap(uint64_t a, uint64_t b)
{
    uint64_t d = a - b;
    return d >> 62 ? 4 * (double)(int64_t)(d >> 2) : (double)(int64_t)d;
}

/* The code at a place; below that of the next point. */
static inline uint64_t network_code_at(const struct network_points *p, double place)
{
    uint32_t i = (uint32_t)place;
    if (i >= p->count - 1)
        return p->codes[p->count - 1];
    uint64_t steps = (uint64_t)(network_gap(p->codes[i + 1], p->codes[i]) * (place - i)),
             most = p->codes[i + 1] - p->codes[i] - 1;
    return p->codes[i] + (steps < most ? steps : most); /* in front of the next point, however that was rounded */
}

/* The scratch memory of a search; needs no setting up. */
struct network_search;
size_t network_search_size(void);

/* Finds the nearest draft of at most units_max units that a search comes to (network_search.c). */
void network_search(struct network_search *s, const struct network_points *p, unsigned units_max,
                    struct network_draft *out);

/* Improves a draft, which has units, by gradient descent (network_descent.c). */
void network_descend(struct network_points *p, struct network_draft *best);

#endif
