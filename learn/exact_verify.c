/* Checking an exact set against what it was built from: a key that its own set denies would be lost. */
#include "learn/exact_build.h"
#include "learn/exact_format.h"

#include "base/banned.h"

static uint64_t missing_of_run(const struct exact_numbers *n, const struct exact_run *run, const struct exact *set,
                               uint64_t group)
{
    enum { EVEN_MIN = 16 }; /* fewer are quickly asked for one by one */
    struct exact_cursor c = exact_cursor_at_start(n, run);
    struct exact_look look = {0};
    uint64_t missing = 0, held = 0;
    for (; c.left > 0; exact_cursor_skip(&c, held ? held : 1)) {
        uint64_t number = run->start + c.next * run->step;
        /* Of a segment with gaps none are known at once. */
        bool gaps = number < look.below && look.segment.data_size > 0;
        held = gaps || c.in_token < EVEN_MIN
                   ? 0
                   : exact_group_holds_even(set, group, number, run->step * c.stride, c.in_token, &look);
        missing += held == 0 && !exact_group_holds_next(set, group, number, &look);
    }
    return missing;
}

uint64_t exact_count_missing(const struct exact_numbers *n, const struct exact *set)
{
    const struct exact_group *groups = (const void *)n->groups.data;
    const struct exact_run *runs = (const void *)n->runs.data;
    size_t group_count = n->groups.size / sizeof *groups, run_count = n->runs.size / sizeof *runs;
    uint64_t missing = 0;
    for (size_t i = 0; i < group_count; i++) {
        const uint8_t *prefix = n->prefixes.data + groups[i].prefix_at;
        size_t end = i + 1 < group_count ? groups[i + 1].first_run : run_count;
        uint64_t group = 0;
        bool there = exact_find_group(set, slice(prefix + n->common, groups[i].prefix_size - n->common), &group);
        for (size_t run = groups[i].first_run; run < end; run++)
            missing += there ? missing_of_run(n, &runs[run], set, group) : runs[run].count;
    }
    return missing;
}
