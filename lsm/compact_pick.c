/* Compaction policy: leveled. What to compact next, and how much to slow writers down; all pure functions. */
#include "lsm/db.h"

#include "base/alloc.h"
#include "base/error.h"
#include "base/banned.h"

uint64_t level_bytes_max(const struct lsm_options *options, unsigned level)
{
    uint64_t bytes = options->buffer_size * options->l0_compact;
    for (unsigned i = 1; i < level; i++)
        bytes = bytes > UINT64_MAX / options->size_ratio ? UINT64_MAX : bytes * options->size_ratio;
    return bytes;
}

static uint8_t first_byte(const struct run *run)
{
    return *(const uint8_t *)run->facts.smallest.data;
}

/* The first key byte of which level 0 has most runs; *depth is how many. */
static uint8_t deepest_byte(const struct version *version, unsigned *depth)
{
    unsigned counts[256] = {0};
    uint8_t deepest = 0;
    const struct level *level = &version->levels[0];
    *depth = 0;
    for (size_t i = 0; i < level->count; i++) {
        uint8_t byte = first_byte(level->runs[i]);
        if (++counts[byte] > *depth) {
            *depth = counts[byte];
            deepest = byte;
        }
    }
    return deepest;
}

unsigned level0_depth(const struct version *version)
{
    unsigned depth = 0;
    deepest_byte(version, &depth);
    return depth;
}

void compaction_free(struct compaction *c)
{
    mem_free(c->runs);
    *c = (struct compaction){0};
}

/* Adds to a compaction whose upper runs are chosen what they overlap on the level below. */
static plsm_status add_lower(const struct version *version, struct compaction *c)
{
    plsm_slice smallest = c->runs[0]->facts.smallest, largest = c->runs[0]->facts.largest;
    for (size_t i = 1; i < c->upper_count; i++) {
        const struct run_facts *facts = &c->runs[i]->facts;
        if (slice_compare(facts->smallest, smallest) < 0)
            smallest = facts->smallest;
        if (slice_compare(facts->largest, largest) > 0)
            largest = facts->largest;
    }
    size_t first = 0, count = version_overlapping(version, c->output_level, smallest, largest, &first);
    if (count) {
        struct run **grown = mem_realloc(c->runs, (c->upper_count + count) * sizeof *grown);
        if (!grown)
            return fail(PLSM_NO_MEMORY, "no memory for a compaction");
        c->runs = grown;
        memcpy(c->runs + c->upper_count, version->levels[c->output_level].runs + first, count * sizeof *grown);
    }
    c->lower_count = count;
    /* Deletions that arrive on the last level are dropped by a merge only. */
    c->trivial = c->upper_count == 1 && count == 0 &&
                 (c->runs[0]->facts.deletions == 0 || c->output_level < version_last_level(version));
    return PLSM_OK;
}

/* Level 0: all runs with the deepest first byte, or the oldest of them alone when it can just be moved down. */
static plsm_status pick_level0(const struct version *version, struct compaction *out)
{
    const struct level *level = &version->levels[0];
    unsigned depth = 0;
    size_t first = 0;
    uint8_t byte = deepest_byte(version, &depth);
    struct run *oldest = NULL;
    out->runs = mem_alloc(depth * sizeof(struct run *));
    if (!out->runs)
        return fail(PLSM_NO_MEMORY, "no memory for a compaction");
    for (size_t i = 0; i < level->count; i++) /* newest first */
        if (first_byte(level->runs[i]) == byte)
            out->runs[out->upper_count++] = oldest = level->runs[i];
    if (version_overlapping(version, 1, oldest->facts.smallest, oldest->facts.largest, &first) == 0 &&
        oldest->facts.deletions == 0) {
        out->runs[0] = oldest;
        out->upper_count = 1;
    }
    return add_lower(version, out);
}

/* A deeper level: the first run behind the level's cursor, in turn. */
static plsm_status pick_turn(const struct version *version, const struct buf *cursor, struct compaction *out)
{
    const struct level *level = &version->levels[out->level];
    size_t at = 0;
    while (at < level->count && cursor->size && slice_compare(level->runs[at]->facts.smallest, buf_slice(cursor)) <= 0)
        at++;
    out->runs = mem_alloc(sizeof(struct run *));
    if (!out->runs)
        return fail(PLSM_NO_MEMORY, "no memory for a compaction");
    out->runs[out->upper_count++] = level->runs[at < level->count ? at : 0];
    return add_lower(version, out);
}

/* A run of which more than half are deletions, above the last level: they make scans slow until they are gone. */
static bool find_deletions(const struct version *version, struct compaction *out)
{
    for (unsigned l = 1; l < version_last_level(version); l++)
        for (size_t i = 0; i < version->levels[l].count; i++) {
            struct run *run = version->levels[l].runs[i];
            if (run->facts.deletions * 2 <= run->facts.entries)
                continue;
            out->runs = mem_alloc(sizeof *out->runs);
            if (!out->runs)
                return false;
            out->level = l;
            out->output_level = l + 1;
            out->runs[out->upper_count++] = run;
            return true;
        }
    return false;
}

bool compaction_pick(const struct version *version, const struct lsm_options *options, const struct buf *cursors,
                     struct compaction *out, plsm_status *status)
{
    double best = 1.0;
    unsigned best_level = LSM_LEVELS;
    *out = (struct compaction){0};
    *status = PLSM_OK;
    for (unsigned level = 0; level + 1 < LSM_LEVELS; level++) {
        double score = level == 0 ? (double)level0_depth(version) / options->l0_compact
                                  : (double)version->levels[level].bytes / (double)level_bytes_max(options, level);
        if (score > best || (level == 0 && score >= best)) {
            best = score;
            best_level = level;
        }
    }
    if (best_level < LSM_LEVELS) {
        out->level = best_level;
        out->output_level = best_level + 1;
        *status = best_level == 0 ? pick_level0(version, out) : pick_turn(version, &cursors[best_level], out);
    } else if (find_deletions(version, out)) {
        *status = add_lower(version, out);
    } else {
        return false;
    }
    if (*status != PLSM_OK)
        compaction_free(out);
    return true;
}

bool compaction_pick_range(const struct version *version, unsigned level, plsm_slice from, plsm_slice to,
                           struct compaction *out, plsm_status *status)
{
    const struct level *l = &version->levels[level];
    *out = (struct compaction){.level = level, .output_level = level + 1};
    *status = PLSM_OK;
    if (l->count == 0)
        return false;
    out->runs = mem_alloc(l->count * sizeof *out->runs);
    if (!out->runs) {
        *status = fail(PLSM_NO_MEMORY, "no memory for a compaction");
        return true;
    }
    bool wanted[256] = {false};
    for (size_t i = 0; i < l->count; i++)
        wanted[first_byte(l->runs[i])] |= run_overlaps(l->runs[i], from, to);
    for (size_t i = 0; i < l->count; i++) /* level 0: older runs below must not be overtaken, so all of the byte */
        if (level == 0 ? wanted[first_byte(l->runs[i])] : run_overlaps(l->runs[i], from, to))
            out->runs[out->upper_count++] = l->runs[i];
    if (out->upper_count)
        *status = add_lower(version, out);
    if (!out->upper_count || *status != PLSM_OK)
        compaction_free(out);
    return out->upper_count > 0 || *status != PLSM_OK;
}

uint64_t pacing_ns(unsigned depth, unsigned slowdown, unsigned stop, uint64_t bytes)
{
    const double fastest = 64.0 * 1024 * 1024, slowest = 1.0 * 1024 * 1024; /* bytes a second */
    const uint64_t longest_ns = 20 * 1000 * 1000;
    if (depth < slowdown)
        return 0;
    double fraction = stop > slowdown ? (double)(depth - slowdown) / (stop - slowdown) : 1.0;
    if (fraction > 1.0)
        fraction = 1.0;
    double rate = fastest - (fastest - slowest) * fraction, ns = (double)bytes / rate * 1e9;
    return ns > (double)longest_ns ? longest_ns : (uint64_t)ns;
}
