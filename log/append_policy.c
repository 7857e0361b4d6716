/* Which segments to merge, and how fast to write. See append_policy.h. */
#include "log/append_policy.h"

#include "base/banned.h"

enum { ALL_PPM = 1000000 / 32 };

/* In millionths of its size. */
static uint64_t garbage_of(const struct merge_candidate *c)
{
    uint64_t rest = c->kept + MERGE_OVERHEAD;
    return c->size > rest ? (c->size - rest) * 1000000 / c->size : 0;
}

/* Enters `i` where its rank, the higher the earlier, puts it; the last of too many falls out. */
static size_t enter(size_t *out, uint64_t *ranks, size_t count, size_t i, uint64_t rank)
{
    size_t at = count < MERGE_CHOSEN_MAX ? count : MERGE_CHOSEN_MAX - 1;
    if (count == MERGE_CHOSEN_MAX && ranks[at] >= rank)
        return count;
    for (; at > 0 && ranks[at - 1] < rank; at--) {
        ranks[at] = ranks[at - 1];
        out[at] = out[at - 1];
    }
    ranks[at] = rank;
    out[at] = i;
    return count < MERGE_CHOSEN_MAX ? count + 1 : count;
}

/* The first, and of the others those that fit beside it. */
static size_t fit(const struct merge_candidate *candidates, size_t *out, size_t count, uint64_t segment_size)
{
    uint64_t sum = 0;
    size_t kept = 0;
    for (size_t i = 0; i < count; i++) {
        uint64_t more = candidates[out[i]].kept;
        if (i > 0 && sum + more > segment_size)
            continue;
        sum += more;
        out[kept++] = out[i];
    }
    return kept;
}

size_t merge_choose(const struct merge_candidate *candidates, size_t count, const struct merge_limits *limits, bool all,
                    size_t *out)
{
    uint64_t ranks[MERGE_CHOSEN_MAX] = {0}, most = limits->segment_size;
    size_t chosen = 0;
    if (most > limits->room)
        most = limits->room;
    for (size_t i = 0; i < count; i++) {
        uint64_t garbage = garbage_of(&candidates[i]);
        if (garbage > (all ? ALL_PPM : limits->garbage_ppm) && candidates[i].kept <= limits->room)
            chosen = enter(out, ranks, chosen, i, garbage);
    }
    if (chosen > 0)
        return fit(candidates, out, chosen, most);
    for (size_t i = 0; i < count; i++)
        if (candidates[i].size < limits->segment_size / MERGE_SMALL_PART && candidates[i].kept <= limits->room)
            chosen = enter(out, ranks, chosen, i, UINT64_MAX - candidates[i].size);
    if (chosen < (all ? 2 : MERGE_SMALL_MANY))
        return 0;
    chosen = fit(candidates, out, chosen, most);
    return chosen < 2 ? 0 : chosen;
}

uint64_t pace_rest_ns(uint64_t now_ns, uint64_t bytes, unsigned waiting, uint64_t seal_ns, uint64_t *due_ns)
{
    const uint64_t behind_most_ns = 1000000000; /* large batches long ago are forgotten */
    if (waiting < PACE_FROM) {
        *due_ns = 0;
        return 0;
    }
    unsigned more = waiting - PACE_FROM < PACE_STOP - PACE_FROM ? waiting - PACE_FROM : PACE_STOP - PACE_FROM;
    double takes_ns = (double)bytes / (1 << 20) * (double)seal_ns * (double)(1u << more) / 2;
    uint64_t behind_ns = *due_ns > now_ns ? *due_ns - now_ns : 0;
    behind_ns += takes_ns < (double)behind_most_ns ? (uint64_t)takes_ns : behind_most_ns;
    behind_ns = behind_ns < behind_most_ns ? behind_ns : behind_most_ns;
    *due_ns = now_ns + behind_ns;
    if (behind_ns < PACE_REST_LEAST_NS)
        return 0;
    return behind_ns < PACE_REST_MOST_NS ? behind_ns : PACE_REST_MOST_NS;
}

bool merge_window_open(uint64_t now_s, uint32_t from_hour, uint32_t to_hour)
{
    uint32_t hour = (uint32_t)(now_s / 3600 % 24);
    if (from_hour == to_hour)
        return true;
    if (from_hour < to_hour)
        return hour >= from_hour && hour < to_hour;
    return hour >= from_hour || hour < to_hour;
}
