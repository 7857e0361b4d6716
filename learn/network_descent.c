/* Training a network, second part: gradient descent from what the search has found.
 *
 * Adam (Kingma and Ba, ICLR 2015) on everything at once - starts, ends and levels - with the 32-norm of the errors for
 * a loss, as it is the largest that counts. Every step looks at all points, and nothing is random. */
#include <math.h>

#include "learn/network_draft.h"

#include "base/banned.h"

enum { DESCENT_STEPS = 32 };

/* The first point behind a unit's start, and the first at or behind its end. */
struct span {
    uint64_t start;
    double per_code; /* what one code is of the unit's run */
    uint32_t first, behind;
};

static struct span span_of(const struct network_points *p, const struct network_draft *d, uint32_t unit)
{
    struct span span = {.start = network_code_at(p, d->starts[unit]),
                        .first = (uint32_t)d->starts[unit] + 1,
                        .behind = (uint32_t)ceil(d->ends[unit])};
    uint64_t end = network_code_at(p, d->ends[unit]);
    span.per_code = 1 / network_gap(end, span.start);
    return span;
}

/* Fills p->errors with position minus page; returns the largest. */
static double measure_draft(struct network_points *p, const struct network_draft *d)
{
    memset(p->errors, 0, p->count * sizeof *p->errors);
    memset(p->sums, 0, (p->count + 1) * sizeof *p->sums);
    for (uint32_t i = 0; i < d->units; i++) {
        struct span span = span_of(p, d, i);
        double climb = d->levels[i + 1] - d->levels[i], slope = climb * span.per_code;
        for (uint32_t k = span.first; k < span.behind; k++)
            p->errors[k] += network_gap(p->codes[k], span.start) * slope;
        p->sums[span.behind] += climb;
    }
    double position = d->levels[0], largest = 0;
    for (uint32_t k = 0; k < p->count; k++) {
        position += p->sums[k];
        p->errors[k] += position - p->pages[k];
        double size = fabs(p->errors[k]);
        largest = size > largest ? size : largest;
    }
    return largest;
}

/* The derivative of the loss by everything in a draft, divided by what Adam does not care for: a factor of its own for
 * each number. */
struct gradient {
    double starts[NETWORK_UNITS_MAX], ends[NETWORK_UNITS_MAX], levels[NETWORK_UNITS_MAX + 1];
};

/* From p->errors, which are replaced by how the loss pulls at them. */
static void derive(struct network_points *p, const struct network_draft *d, struct gradient *g)
{
    p->sums[p->count] = 0;
    for (uint32_t k = p->count; k-- > 0;) {
        double e = p->errors[k] / d->error, e2 = e * e, e4 = e2 * e2, e8 = e4 * e4;
        p->errors[k] = e * e2 * e4 * e8 * e8 * e8; /* e^31 */
        p->sums[k] = p->sums[k + 1] + p->errors[k];
    }
    *g = (struct gradient){.levels = {p->sums[0]}};
    for (uint32_t i = 0; i < d->units; i++) {
        struct span span = span_of(p, d, i);
        double climb = d->levels[i + 1] - d->levels[i], pull = 0, pull_by_height = 0;
        for (uint32_t k = span.first; k < span.behind; k++) {
            pull += p->errors[k];
            pull_by_height += p->errors[k] * (network_gap(p->codes[k], span.start) * span.per_code);
        }
        g->starts[i] = (pull_by_height - pull) * climb;
        g->ends[i] = -pull_by_height * climb;
        double by_climb = pull_by_height + p->sums[span.behind];
        g->levels[i] -= by_climb;
        g->levels[i + 1] += by_climb;
    }
}

/* Adam's running means of derivatives and of their squares: over about 10 steps both, as there are so few; they start
 * at 0, which makes the first steps smaller. */
struct moments {
    struct gradient mean, square;
};

static void adam(double *values, const double *derivatives, double *mean, double *square, uint32_t count, double rate)
{
    for (uint32_t i = 0; i < count; i++) {
        mean[i] = 0.9 * mean[i] + 0.1 * derivatives[i];
        square[i] = 0.9 * square[i] + 0.1 * derivatives[i] * derivatives[i];
        if (square[i] > 0)
            values[i] -= rate * mean[i] / sqrt(square[i]);
    }
}

/* What makes it monotone: a unit ends behind its start, and its weight is not negative. */
static void make_lawful(struct network_draft *d, double place_last)
{
    d->levels[0] = d->levels[0] > 0 ? d->levels[0] : 0;
    for (uint32_t i = 0; i < d->units; i++) {
        double *start = &d->starts[i], *end = &d->ends[i], *level = &d->levels[i];
        *start = fmin(fmax(*start, 0), place_last - 1);
        *end = fmin(fmax(*end, *start + 1), place_last);
        level[1] = fmax(level[1], level[0]);
    }
}

void network_descend(struct network_points *p, struct network_draft *best)
{
    struct network_draft d = *best;
    struct gradient g;
    struct moments m = {0};
    double place_last = p->count - 1.0;
    best->error = d.error = measure_draft(p, &d);
    /* Rates found by trial: steps of places as parts of a unit's share, of levels as parts of the error. */
    double place_rate = 0.0002 * place_last / d.units, level_rate = 0.01 * d.error;
    for (int step = 0; step < DESCENT_STEPS && d.error > 0; step++) {
        double left = 1 - (double)step / DESCENT_STEPS;
        derive(p, &d, &g);
        adam(d.starts, g.starts, m.mean.starts, m.square.starts, d.units, left * place_rate);
        adam(d.ends, g.ends, m.mean.ends, m.square.ends, d.units, left * place_rate);
        adam(d.levels, g.levels, m.mean.levels, m.square.levels, d.units + 1, left * level_rate);
        make_lawful(&d, place_last);
        d.error = measure_draft(p, &d);
        if (d.error < best->error)
            *best = d;
    }
}
