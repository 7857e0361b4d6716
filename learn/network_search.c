/* Training a network, first part: a search for where units should stand.
 *
 * For a given error, units are put down one behind the other, each reaching as far as a cone allows (as in
 * plr_train.c). But each may start before the one in front has ended, so that their slopes add, or later, on the flat
 * that it leaves; and may end at any height that its cone leaves. The few drafts that have come farthest are kept for
 * the next unit (a beam search). The error is found by bisection: the least for which the units suffice. */
#include <math.h>

#include "learn/network_draft.h"

#include "base/banned.h"

enum {
    SEARCH_WIDTH = 4,   /* drafts kept: 6 come 0.3 % nearer */
    SEARCH_STARTS = 4,  /* places to try for a unit's start */
    SEARCH_HEIGHTS = 3, /* slopes of its cone to try */
};

static const double error_enough_pages = 0.5; /* no reader has a use for less */

/* A draft in the making: its last unit, and which draft with one unit less it continues. */
struct stage {
    double start, end, level; /* `end` is a point */
    double alone_from;        /* from here on no other unit climbs */
    double slope;             /* pages per code */
    uint32_t before;
};

struct candidate {
    struct stage stage;
    double score; /* negative: taken */
};

struct network_search {
    struct stage kept[NETWORK_UNITS_MAX + 1][SEARCH_WIDTH]; /* by number of units */
    uint32_t kept_count;                                    /* of the last number of units */
    struct candidate candidates[SEARCH_WIDTH * SEARCH_STARTS * SEARCH_HEIGHTS];
    uint32_t candidate_count;
};

size_t network_search_size(void)
{
    return sizeof(struct network_search);
}

/* The place, at or behind `from`, where `page` is reached. */
static double place_of(const struct network_points *p, double from, double page)
{
    uint32_t low = (uint32_t)from, high = p->count - 1;
    while (low < high) { /* the last point at or below `page` */
        uint32_t middle = low + (high - low + 1) / 2;
        if (p->pages[middle] <= page)
            low = middle;
        else
            high = middle - 1;
    }
    double place = low;
    if (low + 1 < p->count && page > p->pages[low])
        place += (page - p->pages[low]) / (p->pages[low + 1] - p->pages[low]);
    return place > from ? place : from;
}

/* The slopes, in pages per code, with which another unit, climbing from `start` on, would keep the position within the
 * error of all points before point number `end`. */
struct cone {
    double low, high;
    uint32_t end;
};

static struct cone open_cone(const struct network_points *p, const struct stage *stage, double start, double error)
{
    struct cone cone = {0, INFINITY, (uint32_t)start + 1};
    uint64_t from = network_code_at(p, start);
    uint32_t stage_end = (uint32_t)stage->end;
    for (; cone.end < p->count; cone.end++) {
        double height = p->pages[cone.end] - stage->level;
        if (cone.end < stage_end) /* the unit before is still below its level */
            height += stage->slope * network_gap(p->codes[stage_end], p->codes[cone.end]);
        double per_code = 1 / network_gap(p->codes[cone.end], from);
        double low = (height - error) * per_code, high = (height + error) * per_code;
        low = low > cone.low ? low : cone.low;
        high = high < cone.high ? high : cone.high;
        if (low > high)
            break;
        cone.low = low;
        cone.high = high;
    }
    return cone;
}

/* Adds the ways to go on from kept draft number `before`: another unit may start while the one before still climbs, to
 * make up for where that ends too low; or at its end; or later, where that ends too high. */
static void extend(struct network_search *s, const struct network_points *p, const struct stage *stage, uint32_t before,
                   double error)
{
    /* How far the level of the unit before should be above the page at the start, in errors; the first is its end. */
    static const double above[SEARCH_STARTS] = {0, 0, -0.8, 0.5};
    for (unsigned i = 0; i < SEARCH_STARTS; i++) {
        double start = i == 0 ? stage->end : place_of(p, stage->alone_from, stage->level - above[i] * error);
        struct cone cone = open_cone(p, stage, start, error);
        double end = cone.end - 1;
        if (end <= stage->end || end <= start)
            continue;
        double run = network_gap(p->codes[cone.end - 1], network_code_at(p, start));
        for (unsigned height = 0; height < SEARCH_HEIGHTS; height++) {
            double slope = cone.low + (cone.high - cone.low) * height / (SEARCH_HEIGHTS - 1);
            struct stage next = {.start = start,
                                 .end = end,
                                 .level = stage->level + slope * run,
                                 .alone_from = fmax(start, stage->end),
                                 .slope = slope,
                                 .before = before};
            /* Found by trial: ends far behind, and few points over which the next unit cannot climb as well. */
            s->candidates[s->candidate_count++] = (struct candidate){next, 0.8 * end + 0.2 * next.alone_from};
        }
    }
}

static void keep_farthest(struct network_search *s, uint32_t units)
{
    s->kept_count = 0;
    while (s->kept_count < SEARCH_WIDTH) {
        struct candidate *best = NULL;
        for (struct candidate *c = s->candidates; c < s->candidates + s->candidate_count; c++)
            if (c->score >= 0 && (!best || c->score > best->score))
                best = c;
        if (!best)
            break;
        best->score = -1;
        s->kept[units][s->kept_count++] = best->stage;
    }
}

static void collect(const struct network_search *s, uint32_t units, uint32_t number, double error,
                    struct network_draft *out)
{
    out->units = units;
    out->error = error;
    for (uint32_t i = units; i > 0; i--) {
        const struct stage *stage = &s->kept[i][number];
        out->starts[i - 1] = stage->start;
        out->ends[i - 1] = stage->end;
        out->levels[i] = stage->level;
        number = stage->before;
    }
    out->levels[0] = s->kept[0][number].level;
}

/* Finds a draft of at most units_max units within `error` pages of all points; false, and no draft, when it finds
 * none. */
static bool search_within(struct network_search *s, const struct network_points *p, double error, uint32_t units_max,
                          struct network_draft *out)
{
    double first = p->pages[0], last = p->pages[p->count - 1];
    s->kept[0][0] = (struct stage){.level = first};
    s->kept[0][1] = (struct stage){.level = first + error / 2};
    s->kept[0][2] = (struct stage){.level = first > error / 2 ? first - error / 2 : 0};
    s->kept_count = 3;
    for (uint32_t units = 0;; units++) {
        s->candidate_count = 0;
        for (uint32_t i = 0; i < s->kept_count; i++) {
            const struct stage *stage = &s->kept[units][i];
            if (stage->level + error >= last || stage->end >= p->count - 1) {
                collect(s, units, i, error, out);
                return true;
            }
            extend(s, p, stage, i, error);
        }
        if (units == units_max || s->candidate_count == 0)
            return false;
        keep_farthest(s, units + 1);
    }
}

/* The nearest draft that bisection finds, to 5 %: descent gets about as much out of it again. */
void network_search(struct network_search *s, const struct network_points *p, unsigned units_max,
                    struct network_draft *out)
{
    *out = (struct network_draft){0};
    if (p->count == 0)
        return;
    double low = error_enough_pages, high = (p->pages[p->count - 1] - p->pages[0]) / 2;
    out->levels[0] = p->pages[0] + high; /* flat */
    out->error = high;
    if (high <= low || search_within(s, p, low, units_max, out))
        return;
    while (high > low * 1.05) {
        double middle = sqrt(low * high);
        if (search_within(s, p, middle, units_max, out))
            high = middle;
        else
            low = middle;
    }
}
