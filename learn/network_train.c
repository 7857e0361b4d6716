/* Training a network: a search for where units should stand (network_search.c), gradient descent from there
 * (network_descent.c), then integers.
 *
 * What each is worth, as geometric means of the largest error over 15 kinds of keys with about 16,000 borders and 64
 * units: a search without overlaps 7.42 pages, with overlaps 6.86; 32 steps of descent from there 6.81, 400 steps 6.63.
 * Units at equal shares of the borders, as a network is commonly started, are off by 72 pages, after 32 steps of
 * descent by 41, after 400 by 25. So the search does the work, and descent gets the few steps that pay.
 *
 * Integers. Both networks, searched and descended, are quantised and asked for all points as readers will ask them;
 * the nearer one is kept. */
#include <assert.h>
#include <math.h>

#include "base/alloc.h"
#include "base/error.h"
#include "learn/network_draft.h"
#include "learn/network_format.h"

#include "base/banned.h"

enum {
    SAMPLE_BORDERS = 8192, /* that are trained on, where there are more: what bounds the time */
    BORDERS_PER_UNIT = 64, /* see network_units */
    UNITS_MIN = 8,         /* that may be used */
    UNITS_ALWAYS_FIT = 27, /* into NETWORK_SIZE_MAX, whatever their hinges are */
    GRID_STEPS = 64,       /* in the error that there is anyway: how fine starts and ends are kept */
};
static_assert(NETWORK_HEADER_SIZE + UNITS_ALWAYS_FIT * (NETWORK_UNIT_SIZE + 2 * VARINT_SIZE_MAX) <= NETWORK_SIZE_MAX,
              "they fit");

/* Everything that training needs memory for. */
struct training {
    struct network_points points;
    struct network_search *search;
    struct buf searched, descended; /* serialized */
};

unsigned network_units(uint32_t borders)
{
    uint32_t units = borders / BORDERS_PER_UNIT;
    return units < UNITS_MIN ? UNITS_MIN : units > NETWORK_UNITS_MAX ? NETWORK_UNITS_MAX : units;
}

/* --- points ------------------------------------------------------------------------------------------------------- */

static void add_point(struct network_points *p, uint64_t code, double page)
{
    /* With one key on a page, a code may belong to two borders; halfway is the best that can be done. */
    if (p->count > 0 && p->codes[p->count - 1] == code) {
        p->pages[p->count - 1] = (p->pages[p->count - 1] + page) / 2;
        return;
    }
    p->codes[p->count] = code;
    p->pages[p->count++] = page;
}

static void add_border(struct network_points *p, const struct plr_borders *borders, uint32_t border)
{
    add_point(p, borders->low[border], border + 1.0);
    add_point(p, borders->high[border], border + 1.0);
}

/* Adds those two borders between `from` and `to` that are farthest above and below a straight line from one to the
 * other: a network that is near to all four is near to those in between. */
static void add_farthest(struct network_points *p, const struct plr_borders *borders, uint32_t from, uint32_t to)
{
    uint64_t start = borders->high[from];
    double slope = to > from + 1 ? (to - from) / network_gap(borders->low[to], start) : 0, below = 0, above = 0;
    uint32_t lowest = from, highest = from;
    for (uint32_t i = from + 1; i < to; i++) {
        double page = i - from, low = network_gap(borders->low[i], start) * slope - page;
        double high = network_gap(borders->high[i], start) * slope - page;
        if (low < below) {
            below = low;
            lowest = i;
        }
        if (high > above) {
            above = high;
            highest = i;
        }
    }
    uint32_t first = lowest < highest ? lowest : highest, second = lowest < highest ? highest : lowest;
    if (first > from)
        add_border(p, borders, first);
    if (second > first)
        add_border(p, borders, second);
}

static void take_points(struct network_points *p, const struct plr_borders *borders)
{
    enum { INTERVALS = SAMPLE_BORDERS / 3 };
    if (borders->count <= SAMPLE_BORDERS) {
        for (uint32_t i = 0; i < borders->count; i++)
            add_border(p, borders, i);
        return;
    }
    uint32_t last = borders->count - 1, from = 0;
    add_border(p, borders, from);
    for (uint32_t i = 1; i < INTERVALS; i++) {
        uint32_t to = (uint32_t)((uint64_t)last * i / (INTERVALS - 1));
        add_farthest(p, borders, from, to);
        add_border(p, borders, to);
        from = to;
    }
}

/* --- integers ----------------------------------------------------------------------------------------------------- */

/* A unit as it is serialized. */
struct quantised {
    uint64_t hinge, run_steps;
    uint32_t weight;
    unsigned grid_shift, weight_shift;
};

/* The coarsest grid on which a unit that climbs `climb` pages over `run` codes does so by no more than `resolution`
 * pages a step. Worked example: 256 pages over 2^40 codes, to 1/32 of a page: 8,192 steps of 2^27 codes. */
static unsigned choose_grid(double climb, uint64_t run, double resolution)
{
    uint64_t step = climb > resolution ? (uint64_t)(network_gap(run, 0) / (climb / resolution)) : run;
    return step > 1 ? 63 - (unsigned)__builtin_clzll(step) : 0;
}

/* False: the unit adds nothing. */
static bool quantise_unit(const struct network_points *p, const struct network_draft *d, uint32_t unit,
                          struct quantised *out)
{
    double climb = d->levels[unit + 1] - d->levels[unit];
    if (climb <= 0)
        return false;
    /* What a weight of one code can be at most, and a little less. */
    double climb_max = ldexp(1, NETWORK_WEIGHT_BITS - NETWORK_FINE_BITS - 1);
    uint64_t start = network_code_at(p, d->starts[unit]), end = network_code_at(p, d->ends[unit]);
    uint64_t run_min = (uint64_t)(climb / climb_max) + 1, room = UINT64_MAX - start;
    uint64_t run = end - start > run_min ? end - start : run_min < room ? run_min : room;
    out->grid_shift = choose_grid(climb, run, d->error / GRID_STEPS);
    uint64_t half = ((uint64_t)1 << out->grid_shift) / 2;
    out->hinge = (start < UINT64_MAX - half ? start + half : start) >> out->grid_shift << out->grid_shift;
    uint64_t steps = run >> out->grid_shift, steps_max = UINT64_MAX >> out->grid_shift;
    out->run_steps = steps < steps_max ? steps + (steps << out->grid_shift != run) : steps_max;
    run = out->run_steps << out->grid_shift;
    run = run < UINT64_MAX - out->hinge ? run : UINT64_MAX - out->hinge;
    int exponent = 0;
    double input_max = (double)(run >> network_input_shift(run));
    double fraction = frexp(ldexp(climb, NETWORK_FINE_BITS) / input_max, &exponent);
    int shift = NETWORK_WEIGHT_BITS - exponent;
    shift = shift < 0 ? 0 : shift > NETWORK_WEIGHT_SHIFT_MAX ? NETWORK_WEIGHT_SHIFT_MAX : shift;
    double weight = round(ldexp(fraction, exponent + shift));
    out->weight = (uint32_t)fmin(weight, (1 << NETWORK_WEIGHT_BITS) - 1);
    out->weight_shift = (unsigned)shift;
    return out->weight > 0;
}

static plsm_status append_unit(const struct quantised *q, uint64_t hinge_before, struct buf *out)
{
    uint8_t bytes[NETWORK_UNIT_SIZE];
    bytes[0] = (uint8_t)q->grid_shift;
    put_u32(bytes + 1, q->weight | q->weight_shift << NETWORK_WEIGHT_BITS);
    TRY(buf_append(out, bytes, sizeof bytes));
    TRY(buf_append_varint(out, q->run_steps));
    return buf_append_varint(out, (q->hinge >> q->grid_shift) - (hinge_before >> q->grid_shift));
}

/* Replaces what is in `out`. */
static plsm_status quantise(const struct network_points *p, const struct network_draft *d, uint32_t borders,
                            struct buf *out)
{
    struct quantised units[NETWORK_UNITS_MAX];
    uint8_t header[NETWORK_HEADER_SIZE] = {0};
    uint32_t count = 0;
    for (uint32_t i = 0; i < d->units; i++) {
        struct quantised q;
        if (!quantise_unit(p, d, i, &q))
            continue;
        uint32_t at = count++;
        for (; at > 0 && units[at - 1].hinge > q.hinge; at--)
            units[at] = units[at - 1];
        units[at] = q;
    }
    put_u32(header, borders);
    header[4] = (uint8_t)count;
    put_u64(header + 8, (uint64_t)ldexp(d->levels[0], NETWORK_FINE_BITS));
    out->size = 0;
    TRY(buf_append(out, header, sizeof header));
    for (uint32_t i = 0; i < count; i++)
        TRY(append_unit(&units[i], i > 0 ? units[i - 1].hinge : 0, out));
    return PLSM_OK;
}

/* --- all of it ---------------------------------------------------------------------------------------------------- */

/* The largest error over the points, in pages, of serialized bytes as readers will read them. */
static plsm_status measure(const struct network_points *p, const struct buf *bytes, double *largest)
{
    struct network net;
    const uint8_t *at = bytes->data;
    *largest = 0;
    plsm_status status = network_parse(&at, bytes->data + bytes->size, &net);
    INVARIANT(status == PLSM_OK || status == PLSM_NO_MEMORY);
    TRY(status);
    for (uint32_t k = 0; k < p->count; k++) {
        double error = ldexp((double)network_position(&net, p->codes[k]), -NETWORK_FRACTION_BITS) - p->pages[k];
        *largest = fmax(*largest, fabs(error));
    }
    network_free(&net);
    return PLSM_OK;
}

static plsm_status prepare(struct training *t, const struct plr_borders *borders)
{
    size_t points = 2 * (size_t)(borders->count < SAMPLE_BORDERS ? borders->count : SAMPLE_BORDERS) + 1;
    t->points.codes = mem_alloc(points * sizeof *t->points.codes);
    t->points.pages = mem_alloc(points * sizeof *t->points.pages);
    t->points.errors = mem_alloc(points * sizeof *t->points.errors);
    t->points.sums = mem_alloc(points * sizeof *t->points.sums);
    t->search = mem_alloc(network_search_size());
    if (!t->points.codes || !t->points.pages || !t->points.errors || !t->points.sums || !t->search)
        return PLSM_NO_MEMORY;
    take_points(&t->points, borders);
    return PLSM_OK;
}

static void training_free(struct training *t)
{
    mem_free(t->points.codes);
    mem_free(t->points.pages);
    mem_free(t->points.errors);
    mem_free(t->points.sums);
    mem_free(t->search);
    buf_free(&t->searched);
    buf_free(&t->descended);
}

static plsm_status train(struct training *t, const struct plr_borders *borders, struct buf *out)
{
    struct network_draft draft;
    double searched = 0, descended = 0;
    TRY(prepare(t, borders));
    unsigned units_max = network_units(borders->count);
    network_search(t->search, &t->points, units_max, &draft);
    TRY(quantise(&t->points, &draft, borders->count, &t->searched));
    while (t->searched.size > NETWORK_SIZE_MAX) { /* hinges that are far apart and need many bits */
        units_max = (unsigned)(units_max * (size_t)NETWORK_SIZE_MAX / t->searched.size);
        units_max = units_max > UNITS_ALWAYS_FIT ? units_max : UNITS_ALWAYS_FIT;
        network_search(t->search, &t->points, units_max, &draft);
        TRY(quantise(&t->points, &draft, borders->count, &t->searched));
    }
    if (draft.units > 0)
        network_descend(&t->points, &draft);
    TRY(quantise(&t->points, &draft, borders->count, &t->descended));
    TRY(measure(&t->points, &t->searched, &searched));
    TRY(measure(&t->points, &t->descended, &descended));
    bool better = descended < searched && t->descended.size <= NETWORK_SIZE_MAX;
    const struct buf *best = better ? &t->descended : &t->searched;
    return buf_append(out, best->data, best->size);
}

plsm_status network_train(const struct plr_borders *borders, struct buf *out)
{
    struct training t = {0};
    plsm_status status = train(&t, borders, out);
    training_free(&t);
    return status ? fail(status, "learned index: no memory to train it") : PLSM_OK;
}
