/* What to compact next: the leveled policy, and what any policy does besides (deletions, age); how writers are slowed
 * down. All pure functions. */
#include "lsm/compaction.h"

#include "base/alloc.h"
#include "base/error.h"
#include "base/banned.h"

enum {
    CANDIDATES = 16,       /* runs of a level that are compared before one is merged */
    DELETES_MUCH = 8,      /* of so many entries one */
    DELETIONS_SLOW = 4096, /* in a run of level 0: stepping over so many costs a scan as much as reading from a disk */
};

uint64_t level_bytes_max(const struct lsm_options *options, unsigned level)
{
    uint64_t bytes = options->buffer_size * options->l0_compact;
    for (unsigned i = 1; i < level; i++)
        bytes = bytes > UINT64_MAX / options->size_ratio ? UINT64_MAX : bytes * options->size_ratio;
    return bytes;
}

/* --- plans -------------------------------------------------------------------------------------------------------- */

void compaction_free(struct compaction *c)
{
    mem_free(c->runs);
    mem_free(c->sources);
    *c = (struct compaction){0};
}

plsm_status compaction_begin(const struct version *version, struct compaction *out)
{
    size_t runs = 0;
    *out = (struct compaction){0};
    for (unsigned level = 0; level < LSM_LEVELS; level++)
        runs += version->levels[level].count;
    out->runs = mem_alloc(runs * sizeof *out->runs);
    out->sources = mem_alloc((version->levels[0].count + LSM_LEVELS) * sizeof *out->sources);
    if (out->runs && out->sources)
        return PLSM_OK;
    compaction_free(out);
    return fail(PLSM_NO_MEMORY, "no memory for a compaction");
}

/* Whether a run is a part of the same sorted run as those of the newest source. */
static bool continues(const struct compaction *c, const struct run *run)
{
    const struct compaction_source *s = c->source_count ? &c->sources[c->source_count - 1] : NULL;
    bool same = s && s->level == 0 && run_same_sorted(c->runs[c->run_count - 1], run);
    for (size_t i = 0; same && i < s->count; i++)
        same = !run_overlaps(c->runs[c->run_count - 1 - i], run->facts.smallest, run->facts.largest);
    return same;
}

void compaction_add_young(struct compaction *c, struct run *run)
{
    size_t at = c->run_count;
    if (!continues(c, run))
        c->sources[c->source_count++] = (struct compaction_source){0};
    struct compaction_source *s = &c->sources[c->source_count - 1];
    for (; at > c->run_count - s->count && slice_compare(c->runs[at - 1]->facts.smallest, run->facts.smallest) > 0;
         at--)
        c->runs[at] = c->runs[at - 1];
    c->runs[at] = run;
    c->run_count++;
    s->count++;
}

void compaction_add_level(struct compaction *c, unsigned level, struct run *const *runs, size_t count)
{
    if (count == 0)
        return;
    c->sources[c->source_count++] = (struct compaction_source){level, count};
    memcpy(c->runs + c->run_count, runs, count * sizeof *runs);
    c->run_count += count;
}

void compaction_add_overlapped(const struct version *version, struct compaction *c)
{
    plsm_slice smallest = c->runs[0]->facts.smallest, largest = c->runs[0]->facts.largest;
    for (size_t i = 1; i < c->run_count; i++) {
        const struct run_facts *facts = &c->runs[i]->facts;
        if (slice_compare(facts->smallest, smallest) < 0)
            smallest = facts->smallest;
        if (slice_compare(facts->largest, largest) > 0)
            largest = facts->largest;
    }
    size_t first = 0, count = version_overlapping(version, c->output_level, smallest, largest, &first);
    compaction_add_level(c, c->output_level, version->levels[c->output_level].runs + first, count);
}

static bool deletes(const struct run *run)
{
    return run->facts.deletions > 0 || run->facts.ranges > 0;
}

/* --- leveled ------------------------------------------------------------------------------------------------------ */

/* Adds to a compaction whose upper runs are chosen what they overlap on the level below. */
static void add_lower(const struct version *version, struct compaction *c)
{
    compaction_add_overlapped(version, c);
    /* Deletions that arrive on the last level are dropped by a merge only. */
    c->trivial = c->run_count == 1 && (!deletes(c->runs[0]) || c->output_level < version_last_level(version));
}

/* How urgent it is to compact level 0: 1 and more is due. *byte is the first byte whose runs are. Besides their number
 * their bytes count: runs that another policy merged may hold more than all that is below. */
static double level0_score(const struct version *version, const struct lsm_options *options, uint8_t *byte)
{
    struct sorted_runs seen = {0};
    uint64_t bytes[256] = {0};
    double best = 0;
    const struct level *level = &version->levels[0];
    for (size_t i = 0; i < level->count; i++) {
        uint8_t first = run_first_byte(level->runs[i]);
        bytes[first] += level->runs[i]->facts.file_size;
        double by_count = (double)sorted_runs_next(&seen, level->runs[i]) / options->l0_compact;
        double by_bytes = (double)bytes[first] / (2.0 * (double)level_bytes_max(options, 1));
        double score = by_count > by_bytes ? by_count : by_bytes;
        if (score > best) {
            best = score;
            *byte = first;
        }
    }
    return best;
}

/* Level 0: all runs with a first byte, or the oldest of them alone when it can just be moved down. */
static plsm_status plan_level0(const struct version *version, uint8_t byte, struct compaction *out)
{
    const struct level *level = &version->levels[0];
    size_t first = 0;
    struct run *oldest = NULL;
    TRY(compaction_begin(version, out));
    out->output_level = 1;
    for (size_t i = 0; i < level->count; i++) /* newest first */
        if (run_first_byte(level->runs[i]) == byte)
            compaction_add_young(out, oldest = level->runs[i]);
    if (version_overlapping(version, 1, oldest->facts.smallest, oldest->facts.largest, &first) == 0 &&
        !deletes(oldest)) {
        out->run_count = out->source_count = 0;
        compaction_add_young(out, oldest);
    }
    add_lower(version, out);
    return PLSM_OK;
}

/* One run of a deeper level into the next. */
static plsm_status plan_run(const struct version *version, unsigned level, size_t at, struct compaction *out)
{
    TRY(compaction_begin(version, out));
    out->level = level;
    out->output_level = level + 1;
    compaction_add_level(out, level, version->levels[level].runs + at, 1);
    add_lower(version, out);
    return PLSM_OK;
}

/* What merging a run of a deeper level writes besides: bytes of the next one for each of its own. Nothing where it
 * deletes much, for then more goes than is written: such runs are small and reach far, and would always be last. */
static double merge_share(const struct version *version, unsigned level, const struct run *run)
{
    const struct run_facts *facts = &run->facts;
    if (facts->ranges > 0 || facts->deletions > facts->entries / DELETES_MUCH)
        return 0;
    return (double)version_overlapping_bytes(version, level + 1, run) / (double)facts->file_size;
}

/* A deeper level: of the next runs behind the level's cursor, in turn, the one that takes least (as RocksDB's
 * kMinOverlappingRatio; of a few, since that is looked up under lock, and they save as much as all). */
static plsm_status plan_turn(const struct version *version, unsigned number, const struct buf *cursor,
                             struct compaction *out)
{
    const struct level *level = &version->levels[number];
    size_t at = 0, best = 0;
    double least = 0;
    while (at < level->count && cursor->size && slice_compare(level->runs[at]->facts.smallest, buf_slice(cursor)) <= 0)
        at++;
    for (size_t i = 0; i < level->count && i < CANDIDATES; i++) {
        size_t run = (at + i) % level->count;
        double share = merge_share(version, number, level->runs[run]);
        if (i == 0 || share < least) {
            least = share;
            best = run;
        }
    }
    return plan_run(version, number, best, out);
}

static bool pick_leveled(const struct version *version, const struct lsm_options *options, const struct buf *cursors,
                         struct compaction *out, plsm_status *status)
{
    uint8_t byte = 0;
    double best = level0_score(version, options, &byte);
    unsigned best_level = best >= 1.0 ? 0 : LSM_LEVELS;
    for (unsigned level = 1; level + 1 < LSM_LEVELS; level++) {
        double score = (double)version->levels[level].bytes / (double)level_bytes_max(options, level);
        if (score > 1.0 && score > best) {
            best = score;
            best_level = level;
        }
    }
    if (best_level == LSM_LEVELS)
        return false;
    *status =
        best_level == 0 ? plan_level0(version, byte, out) : plan_turn(version, best_level, &cursors[best_level], out);
    return true;
}

/* --- deletions and age -------------------------------------------------------------------------------------------- */

/* The compaction of one run above the last level because of what it holds; with `down` it is to get there in the end.
 * False: nothing is to be gained yet. */
static bool plan_for_run(const struct version *version, const struct lsm_options *options, unsigned level, size_t at,
                         bool down, struct compaction *out, plsm_status *status)
{
    const struct run *run = version->levels[level].runs[at];
    if (level > 0)
        *status = plan_run(version, level, at, out);
    else if (tier_policy(options).partial)
        *status = plan_level0(version, run_first_byte(run), out);
    else
        return tiers_compaction_from(version, options, run, down, out, status);
    return true;
}

/* A run above the last level that is mostly deletions: they make scans slow until they are gone, those of ranges also
 * keep what they hide from being given back. Few of them in level 0, beside other entries, are not worth a merge with
 * the larger level below. */
static bool pick_deletions(const struct version *version, const struct lsm_options *options, struct compaction *out,
                           plsm_status *status)
{
    if (options->deletions_compact == 0)
        return false;
    for (unsigned level = 0; level == 0 || level < version_last_level(version); level++)
        for (size_t i = 0; i < version->levels[level].count; i++) {
            const struct run_facts *f = &version->levels[level].runs[i]->facts;
            bool many = level > 0 || f->deletions >= DELETIONS_SLOW || f->ranges * 2 > f->entries;
            if (many && (f->deletions + f->ranges) * 100 > f->entries * options->deletions_compact &&
                plan_for_run(version, options, level, i, false, out, status))
                return true;
        }
    return false;
}

/* A run above the last level with data older than compact_age: its deletions are not to stay for ever. */
static bool pick_aged(const struct version *version, const struct lsm_options *options, uint64_t now_s,
                      struct compaction *out, plsm_status *status)
{
    if (options->compact_age_s == 0)
        return false;
    for (unsigned level = 0; level == 0 || level < version_last_level(version); level++)
        for (size_t i = 0; i < version->levels[level].count; i++)
            if (version->levels[level].runs[i]->facts.oldest_s + options->compact_age_s <= now_s)
                return plan_for_run(version, options, level, i, true, out, status);
    return false;
}

/* A run of which half has expired: rewritten where it is. What was below a put stays hidden by a deletion then, which
 * goes on its way as all deletions do. */
static bool pick_expired(const struct version *version, uint64_t now_s, struct compaction *out, plsm_status *status)
{
    for (unsigned level = 0; level < LSM_LEVELS; level++)
        for (size_t i = 0; i < version->levels[level].count; i++) {
            uint64_t due_s = version->levels[level].runs[i]->facts.due_s;
            if (due_s == 0 || due_s > now_s)
                continue;
            *status = compaction_begin(version, out);
            if (*status != PLSM_OK)
                return true;
            out->level = out->output_level = level;
            compaction_add_level(out, level, version->levels[level].runs + i, 1);
            return true;
        }
    return false;
}

bool compaction_pick(const struct version *version, const struct lsm_options *options, const struct buf *cursors,
                     uint64_t now_s, struct compaction *out, plsm_status *status)
{
    *out = (struct compaction){0};
    *status = PLSM_OK;
    bool partial = tier_policy(options).partial;
    bool found = (partial ? pick_leveled(version, options, cursors, out, status)
                          : tiers_compaction(version, options, NULL, out, status)) ||
                 pick_deletions(version, options, out, status) || pick_aged(version, options, now_s, out, status) ||
                 pick_expired(version, now_s, out, status) ||
                 compaction_pick_values(version, options->separate_garbage_ppm, UINT64_MAX, out, status);
    if (*status != PLSM_OK)
        compaction_free(out);
    return found;
}

bool compaction_pick_range(const struct version *version, unsigned level, plsm_slice from, plsm_slice to,
                           struct compaction *out, plsm_status *status)
{
    const struct level *l = &version->levels[level];
    bool wanted[256] = {false};
    *out = (struct compaction){0};
    *status = PLSM_OK;
    if (l->count == 0)
        return false;
    *status = compaction_begin(version, out);
    if (*status != PLSM_OK)
        return true;
    out->level = level;
    out->output_level = level + 1;
    for (size_t i = 0; i < l->count; i++)
        wanted[run_first_byte(l->runs[i])] |= run_overlaps(l->runs[i], from, to);
    for (size_t i = 0; i < l->count && level == 0; i++) /* older runs below must not be overtaken, so all of the byte */
        if (wanted[run_first_byte(l->runs[i])])
            compaction_add_young(out, l->runs[i]);
    if (level > 0) {
        size_t first = 0, count = version_overlapping(version, level, from, to, &first);
        compaction_add_level(out, level, l->runs + first, count);
    }
    if (out->run_count)
        add_lower(version, out);
    else
        compaction_free(out);
    return out->run_count > 0;
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

uint64_t queue_pacing_ns(uint64_t bytes, uint64_t room, uint64_t expected_ns, uint64_t passed_ns)
{
    const uint64_t longest_ns = 20 * 1000 * 1000;
    uint64_t least = expected_ns / 8, left = passed_ns < expected_ns ? expected_ns - passed_ns : 0;
    double ns = (double)bytes / (double)(room ? room : 1) * (double)(left > least ? left : least);
    return ns > (double)longest_ns ? longest_ns : (uint64_t)ns;
}
