/* Compaction policy: collecting value logs.
 *
 * A compaction writes values anew that it meets in value logs of which too much is garbage (output.c). What is left of
 * such a value log may be pointed to by runs that nothing else compacts: those are rewritten for it, where they are,
 * since nothing but their pointers is to change; in level 0 too, where what is written keeps the seq_max of the run and
 * so its age. With the last of them the value log goes.
 *
 * Example: separate_garbage 0.5; of value log 7, which has 100 MiB, runs 12 and 13, neighbours on level 3, point to
 * 30 MiB and run 20 on level 1 to 10: runs 12 and 13 are rewritten (30 MiB into a new value log), then run 20 (10 MiB),
 * then 7 goes. */
#include "lsm/compaction.h"

#include "base/error.h"
#include "base/banned.h"

enum { TOGETHER_MAX = 16 }; /* runs of one compaction: what it gathers need not end in a file for each */

static bool points_into(const struct run *run, uint64_t log)
{
    for (size_t i = 0; i < run->facts.values_count; i++)
        if (run->facts.values[i].log == log)
            return true;
    return false;
}

static bool points_into_wasteful(const struct version *version, const struct run *run, uint32_t ppm)
{
    for (size_t i = 0; i < run->facts.values_count; i++)
        if (version_values_wasteful(version_values_of(version, run->facts.values[i].log), ppm))
            return true;
    return false;
}

/* The value log with most garbage among those that have too much; NULL: none has. */
static const struct version_values *most_wasteful(const struct version *version, uint32_t ppm)
{
    const struct version_values *worst = NULL;
    for (size_t i = 0; i < version->values_count; i++) {
        const struct version_values *v = &version->values[i];
        if (version_values_wasteful(v, ppm) && (!worst || version_garbage_bytes(v) > version_garbage_bytes(worst)))
            worst = v;
    }
    return worst;
}

bool compaction_pick_values(const struct version *version, const struct lsm_options *options, struct compaction *out,
                            plsm_status *status)
{
    uint32_t ppm = options->separate_garbage_ppm;
    const struct version_values *worst = most_wasteful(version, ppm);
    *out = (struct compaction){0};
    *status = PLSM_OK;
    if (!worst)
        return false;
    unsigned l = LSM_LEVELS - 1;
    size_t at = 0, count = 1;
    for (;; l--) { /* live bytes are those that some run points to: it is found */
        const struct level *level = &version->levels[l];
        for (at = 0; at < level->count && !points_into(level->runs[at], worst->log->number);)
            at++;
        if (at < level->count || l == 0)
            break;
    }
    const struct level *level = &version->levels[l];
    INVARIANT(at < level->count);
    while (l > 0 && count < TOGETHER_MAX && at + count < level->count &&
           points_into_wasteful(version, level->runs[at + count], ppm))
        count++;
    *status = compaction_begin(version, out);
    if (*status != PLSM_OK)
        return true;
    out->level = out->output_level = l;
    compaction_add_level(out, l, level->runs + at, count);
    return true;
}
