/* Compaction policy: collecting value logs.
 *
 * A compaction writes values anew that it meets in value logs of which too much is garbage (output.c). What is left of
 * such a value log may be pointed to by runs that nothing else compacts: those are rewritten for it, where they are,
 * since nothing but their pointers is to change; in level 0 too, where what is written keeps the seq_max of the run and
 * so its age. With the last of them the value log goes.
 *
 * Example: separate_garbage 0.5; of value log 7, which has 100 MiB, runs 12 and 13, neighbours on level 3, point to
 * 30 MiB and run 20 on level 1 to 10: runs 12 and 13 are rewritten (30 MiB into a new value log), then run 20 (10 MiB),
 * then 7 goes.
 *
 * Where the file system is nearly full there is no room for all of it at once: value logs are chosen that can be
 * emptied in what there is, and gone before the next ones are. */
#include "lsm/compaction.h"

#include <stdlib.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/number_list.h"
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

/* What of a value log the runs of a plan point to: bytes. */
static uint64_t bytes_pointed_to(const struct compaction *plan, uint64_t log)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < plan->run_count; i++)
        for (size_t j = 0; j < plan->runs[i]->facts.values_count; j++)
            if (plan->runs[i]->facts.values[j].log == log)
                bytes += plan->runs[i]->facts.values[j].bytes;
    return bytes;
}

/* Whether a value log is to be emptied, and within so many bytes can be. */
static bool may_go(const struct version_values *v, uint32_t ppm, uint64_t bytes)
{
    return version_values_wasteful(v, ppm) && v->live_bytes <= bytes;
}

/* The value log with most garbage among those; NULL: there is none. */
static const struct version_values *most_wasteful(const struct version *version, uint32_t ppm, uint64_t bytes)
{
    const struct version_values *worst = NULL;
    for (size_t i = 0; i < version->values_count; i++) {
        const struct version_values *v = &version->values[i];
        if (may_go(v, ppm, bytes) && (!worst || version_garbage_bytes(v) > version_garbage_bytes(worst)))
            worst = v;
    }
    return worst;
}

bool compaction_pick_values(const struct version *version, uint32_t ppm, uint64_t bytes, struct compaction *out,
                            plsm_status *status)
{
    const struct version_values *worst = most_wasteful(version, ppm, bytes);
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
    uint64_t left = bytes - worst->live_bytes, size = level->runs[at]->facts.file_size;
    if (size > left)
        return false;
    while (l > 0 && count < TOGETHER_MAX && at + count < level->count &&
           points_into_wasteful(version, level->runs[at + count], ppm)) {
        left -= size;
        size = level->runs[at + count]->facts.file_size;
        if (size > left)
            break;
        count++;
    }
    *status = compaction_begin(version, out);
    if (*status != PLSM_OK)
        return true;
    out->level = out->output_level = l;
    out->collects = worst->log->number;
    compaction_add_level(out, l, level->runs + at, count);
    return true;
}

/* --- which of them a merge empties -------------------------------------------------------------------------------- */

struct candidate {
    uint64_t log, bytes, garbage;
    bool first; /* the plan is for it */
};

/* More garbage for each byte first. */
static int by_gain(const void *a, const void *b)
{
    const struct candidate *x = a, *y = b;
    if (x->first != y->first)
        return x->first ? -1 : 1;
    double gain = (double)x->garbage * (double)y->bytes, other = (double)y->garbage * (double)x->bytes;
    if (gain != other)
        return gain > other ? -1 : 1;
    return x->log < y->log ? -1 : x->log > y->log;
}

plsm_status compaction_collect(const struct version *version, const struct compaction *plan, uint32_t ppm,
                               uint64_t bytes, struct collected *out)
{
    size_t count = 0;
    *out = (struct collected){0};
    if (version->values_count == 0)
        return PLSM_OK;
    struct candidate *candidates = mem_alloc(version->values_count * sizeof *candidates);
    out->logs = mem_alloc(version->values_count * sizeof *out->logs);
    if (!candidates || !out->logs) {
        mem_free(candidates);
        collected_free(out);
        return fail(PLSM_NO_MEMORY, "no memory for a compaction");
    }
    for (size_t i = 0; i < version->values_count; i++) {
        const struct version_values *v = &version->values[i];
        struct candidate c = {.log = v->log->number, .garbage = version_garbage_bytes(v)};
        c.first = c.log == plan->collects;
        if ((c.first || version_values_wasteful(v, ppm)) && (c.bytes = bytes_pointed_to(plan, c.log)) > 0)
            candidates[count++] = c;
    }
    qsort(candidates, count, sizeof *candidates, by_gain);
    for (size_t i = 0; i < count; i++)
        if (candidates[i].bytes <= bytes) {
            bytes -= candidates[i].bytes;
            out->logs[out->count++] = candidates[i].log;
        }
    qsort(out->logs, out->count, sizeof *out->logs, number_compare);
    mem_free(candidates);
    return PLSM_OK;
}

void collected_free(struct collected *collected)
{
    mem_free(collected->logs);
    *collected = (struct collected){0};
}

bool collected_has(const struct collected *collected, uint64_t log)
{
    return collected && collected->count > 0 &&
           bsearch(&log, collected->logs, collected->count, sizeof log, number_compare) != NULL;
}
