/* Compaction by sorted runs: tiered, lazy and what lies between. */
#include "lsm/compaction.h"

#include "base/alloc.h"
#include "base/error.h"
#include "base/banned.h"

struct tier_policy tier_policy(const struct lsm_options *options)
{
    uint32_t most = options->size_ratio - 1;
    struct tier_policy p = {.buffer_size = options->buffer_size,
                            .size_ratio = options->size_ratio,
                            .runs_per_level = options->policy == LSM_POLICY_LEVELED ? 1 : most,
                            .runs_last_level = options->policy == LSM_POLICY_TIERED ? most : 1};
    if (options->runs_per_level)
        p.runs_per_level = options->runs_per_level;
    if (options->runs_last_level)
        p.runs_last_level = options->runs_last_level;
    p.partial = options->policy == LSM_POLICY_LEVELED && p.runs_per_level == 1 && p.runs_last_level == 1;
    return p;
}

unsigned tier_level(const struct tier_policy *policy, uint64_t bytes)
{
    const uint64_t unit_max = UINT64_C(1) << 56;
    uint64_t unit = policy->buffer_size / policy->size_ratio;
    unsigned level = 0;
    /* Nearest as powers go: the border is at the square root of size_ratio times the unit. */
    while (unit < unit_max && (unsigned __int128)bytes * bytes > (unsigned __int128)unit * unit * policy->size_ratio) {
        unit *= policy->size_ratio;
        level++;
    }
    return level;
}

/* The sorted runs on one logical level, from `first` on; their bytes; and how many there may be. */
struct tier_group {
    size_t first, count;
    unsigned level;
    uint64_t bytes;
    unsigned most;
};

/* The group that begins with run `first`; what stands before it was on no deeper level than `least`. */
static struct tier_group group_from(const struct tier_policy *policy, const uint64_t *bytes, size_t count, size_t first,
                                    unsigned least)
{
    struct tier_group g = {.first = first, .level = tier_level(policy, bytes[first])};
    if (g.level < least)
        g.level = least;
    for (; first + g.count < count && tier_level(policy, bytes[first + g.count]) <= g.level; g.count++)
        g.bytes += bytes[first + g.count];
    g.most = first + g.count == count ? policy->runs_last_level : policy->runs_per_level;
    return g;
}

size_t tiers_pick(const struct tier_policy *policy, const uint64_t *bytes, size_t count, size_t *first)
{
    struct tier_group g = {0};
    size_t merged = 0;
    uint64_t sum = 0;
    *first = 0;
    for (size_t at = 0; at < count; at += g.count) {
        g = group_from(policy, bytes, count, at, g.level);
        bool joins = merged > 0 && tier_level(policy, sum) >= g.level && g.count + 1 > g.most;
        if (merged > 0 && !joins)
            break;
        if (!joins && g.count <= g.most)
            continue;
        if (!joins)
            *first = at;
        merged += g.count;
        sum += g.bytes;
    }
    return merged;
}

unsigned tiers_excess(const struct tier_policy *policy, const uint64_t *bytes, size_t count)
{
    struct tier_group g = {0};
    size_t excess = 0;
    for (size_t at = 0; at < count; at += g.count) {
        g = group_from(policy, bytes, count, at, g.level);
        excess += g.count > g.most ? g.count - g.most : 0;
    }
    return (unsigned)excess;
}

/* --- of a version ------------------------------------------------------------------------------------------------- */

/* The sorted runs of one first byte, newest first: `young` of level 0, then one per deeper level that holds any. */
struct tiers {
    uint8_t byte;
    size_t count, young;
    uint64_t *bytes;
    unsigned levels[LSM_LEVELS]; /* of those behind the young ones */
};

/* What of a deeper level begins with a byte: a range of its runs. */
static size_t runs_of_byte(const struct level *level, uint8_t byte, size_t *first)
{
    size_t behind = runs_reaching(level->runs, level->count, slice(&byte, 1), (uint64_t)byte << 56);
    while (behind < level->count && run_first_byte(level->runs[behind]) < byte)
        behind++; /* the range tombstones of one may end where the byte begins */
    *first = behind;
    while (behind < level->count && run_first_byte(level->runs[behind]) == byte)
        behind++;
    return behind - *first;
}

static void list_young(const struct version *version, struct tiers *t)
{
    const struct level *level = &version->levels[0];
    const struct run *before = NULL;
    for (size_t i = 0; i < level->count; i++) {
        const struct run *run = level->runs[i];
        if (run_first_byte(run) != t->byte)
            continue;
        t->count += !run_same_sorted(before, run);
        t->bytes[t->count - 1] += run->facts.file_size;
        before = run;
    }
    t->young = t->count;
}

/* bytes is allocated. */
static plsm_status list_tiers(const struct version *version, uint8_t byte, struct tiers *t)
{
    *t = (struct tiers){.byte = byte};
    t->bytes = mem_zalloc((version->levels[0].count + LSM_LEVELS) * sizeof *t->bytes);
    if (!t->bytes)
        return fail(PLSM_NO_MEMORY, "no memory for a compaction");
    list_young(version, t);
    for (unsigned l = 1; l < LSM_LEVELS; l++) {
        const struct level *level = &version->levels[l];
        size_t first = 0, count = runs_of_byte(level, byte, &first);
        for (size_t i = first; i < first + count; i++)
            t->bytes[t->count] += level->runs[i]->facts.file_size;
        if (count)
            t->levels[t->count++ - t->young] = l;
    }
    return PLSM_OK;
}

static unsigned lowest_level(const struct version *version)
{
    unsigned last = version_last_level(version);
    return last ? last : 1;
}

/* The plan to merge the sorted runs [first, first + count). */
static plsm_status plan_tiers(const struct version *version, const struct tiers *t, size_t first, size_t count,
                              struct compaction *out)
{
    const struct level *young = &version->levels[0];
    const struct run *before = NULL;
    size_t end = first + count, at = 0; /* behind the sorted run that is looked at */
    bool oldest = end == t->count;
    TRY(compaction_begin(version, out));
    out->level = first < t->young ? 0 : t->levels[first - t->young];
    out->output_level = oldest ? lowest_level(version) : end > t->young ? t->levels[end - 1 - t->young] : 0;
    for (size_t i = 0; i < young->count; i++) {
        if (run_first_byte(young->runs[i]) != t->byte)
            continue;
        at += !run_same_sorted(before, young->runs[i]);
        before = young->runs[i];
        if (at > first && at <= end)
            compaction_add_young(out, young->runs[i]);
    }
    for (at = first > t->young ? first : t->young; at < end; at++) {
        unsigned l = t->levels[at - t->young];
        size_t from = 0, of_byte = runs_of_byte(&version->levels[l], t->byte, &from);
        if (l != out->output_level)
            compaction_add_level(out, l, version->levels[l].runs + from, of_byte);
        else
            compaction_add_overlapped(version, out);
    }
    return PLSM_OK;
}

/* The oldest run of level 0 that begins with a byte, when it overlaps nothing below. A merge drops deletions, so one
 * that holds any is not moved. */
static struct run *find_movable(const struct version *version, uint8_t byte)
{
    const struct level *young = &version->levels[0];
    struct run *oldest = NULL;
    size_t first = 0;
    for (size_t i = 0; i < young->count; i++)
        if (run_first_byte(young->runs[i]) == byte)
            oldest = young->runs[i];
    bool movable = oldest && oldest->facts.deletions == 0 && oldest->facts.ranges == 0;
    for (unsigned l = 1; l < LSM_LEVELS && movable; l++)
        movable = version_overlapping(version, l, oldest->facts.smallest, oldest->facts.largest, &first) == 0;
    return movable ? oldest : NULL;
}

static plsm_status plan_move(const struct version *version, struct run *run, struct compaction *out)
{
    TRY(compaction_begin(version, out));
    out->output_level = lowest_level(version);
    out->trivial = true;
    compaction_add_young(out, run);
    return PLSM_OK;
}

/* Which first bytes level 0 holds. */
static void note_bytes(const struct version *version, bool present[256])
{
    for (size_t i = 0; i < version->levels[0].count; i++)
        present[run_first_byte(version->levels[0].runs[i])] = true;
}

/* Which sorted run of level 0 with its first byte `run` is in; their number: none. */
static size_t tier_of(const struct version *version, const struct run *run)
{
    const struct level *level = &version->levels[0];
    const struct run *before = NULL;
    size_t at = 0;
    for (size_t i = 0; i < level->count && before != run; i++) {
        if (run_first_byte(level->runs[i]) != run_first_byte(run))
            continue;
        at += !run_same_sorted(before, level->runs[i]);
        before = level->runs[i];
    }
    return before == run ? at - 1 : at;
}

/* How many of the sorted runs may be merged beside what is being merged (NULL: nothing): those that are newer, and only
 * such whose result stays in level 0, since a bulk load may come to lie on any other level meanwhile. */
static size_t newer_than(const struct version *version, const struct tiers *t, const struct compaction *inside)
{
    size_t count = t->count;
    if (inside)
        count = t->young < t->count ? t->young : t->count - 1;
    for (; inside; inside = inside->inside)
        for (size_t i = 0; i < inside->run_count; i++) {
            if (run_first_byte(inside->runs[i]) != t->byte)
                continue;
            size_t at = tier_of(version, inside->runs[i]); /* of a deeper level: behind those of level 0 */
            count = at < count ? at : count;
        }
    return count;
}

/* Picks among the sorted runs of one first byte; returns by how many they are too many. */
static unsigned pick_byte(const struct version *version, struct tier_policy policy, const struct compaction *inside,
                          const struct tiers *t, size_t *first, size_t *count)
{
    size_t free = newer_than(version, t, inside);
    if (free < t->count) /* none of them is on the last level */
        policy.runs_last_level = policy.runs_per_level;
    *count = tiers_pick(&policy, t->bytes, free, first);
    return tiers_excess(&policy, t->bytes, free);
}

bool tiers_compaction(const struct version *version, const struct lsm_options *options, const struct compaction *inside,
                      struct compaction *out, plsm_status *status)
{
    struct tier_policy policy = tier_policy(options);
    bool present[256] = {false}, found = false;
    unsigned most = 0;
    note_bytes(version, present);
    for (unsigned byte = 0; byte < 256 && !found && !inside && *status == PLSM_OK; byte++) {
        struct run *run = present[byte] ? find_movable(version, (uint8_t)byte) : NULL;
        found = run != NULL;
        if (found)
            *status = plan_move(version, run, out);
    }
    for (unsigned byte = 0; byte < 256 && !out->trivial && *status == PLSM_OK; byte++) {
        struct tiers t = {0};
        size_t first = 0, count = 0;
        if (!present[byte])
            continue;
        *status = list_tiers(version, (uint8_t)byte, &t);
        unsigned excess = *status == PLSM_OK ? pick_byte(version, policy, inside, &t, &first, &count) : 0;
        if (excess > most) {
            most = excess;
            found = true;
            compaction_free(out);
            *status = plan_tiers(version, &t, first, count, out);
        }
        mem_free(t.bytes);
    }
    return found || *status != PLSM_OK;
}

/* What a sorted run adds to a merge with the next newer one, which `run` is a part of: bytes. */
static uint64_t added_bytes(const struct version *version, const struct tiers *t, size_t at, const struct run *run)
{
    return at < t->young ? t->bytes[at] : version_overlapping_bytes(version, t->levels[at - t->young], run);
}

bool tiers_compaction_from(const struct version *version, const struct lsm_options *options, const struct run *run,
                           bool down, struct compaction *out, plsm_status *status)
{
    struct tiers t = {0};
    size_t at = tier_of(version, run), count = 0;
    *status = list_tiers(version, run_first_byte(run), &t);
    if (*status == PLSM_OK && (down || at + 1 == t.count))
        count = t.count - at;
    else if (*status == PLSM_OK &&
             added_bytes(version, &t, at + 1, run) <= t.bytes[at] * options->size_ratio + 2 * options->file_size)
        count = 2;
    if (count)
        *status = plan_tiers(version, &t, at, count, out);
    mem_free(t.bytes);
    return count > 0 || *status != PLSM_OK;
}

unsigned writers_depth(const struct version *version, const struct lsm_options *options)
{
    struct tier_policy policy = tier_policy(options);
    bool present[256] = {false};
    unsigned most = 0;
    if (policy.partial)
        return level0_depth(version);
    note_bytes(version, present);
    for (unsigned byte = 0; byte < 256; byte++) {
        struct tiers t = {0};
        if (!present[byte] || list_tiers(version, (uint8_t)byte, &t) != PLSM_OK) /* then nobody is slowed down */
            continue;
        unsigned excess = tiers_excess(&policy, t.bytes, t.count);
        most = excess > most ? excess : most;
        mem_free(t.bytes);
    }
    return most ? options->l0_compact - 1 + most : 0;
}
