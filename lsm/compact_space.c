/* Compaction policy: how much room merges need, and smaller ones where there is little. */
#include "lsm/compaction.h"

#include "base/error.h"
#include "base/banned.h"

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

uint64_t compaction_room(const struct version *version, const struct lsm_options *options)
{
    const struct level *levels = version->levels;
    uint64_t most = levels[0].bytes + levels[1].bytes;
    if (!tier_policy(options).partial)
        return least(most, (uint64_t)options->size_ratio * options->buffer_size);
    for (unsigned level = 1; level + 1 < LSM_LEVELS; level++) {
        uint64_t below = least(levels[level + 1].bytes, (options->size_ratio + 2) * options->file_size);
        if (levels[level].count > 0 && below > 0 && below + options->file_size > most)
            most = below + options->file_size;
    }
    return most;
}

uint64_t compaction_bytes_least(const struct compaction *plan)
{
    uint64_t newer = 0, entries = 0, bytes = 0;
    size_t at = 0;
    for (size_t i = 0; i < plan->source_count; i++) {
        newer += entries;
        entries = bytes = 0;
        for (size_t j = 0; j < plan->sources[i].count; j++, at++) {
            const struct run_facts *facts = &plan->runs[at]->facts;
            if (facts->ranges > 0 || facts->versions || facts->expiring > 0)
                return 0;
            entries += facts->entries;
            bytes += facts->file_size;
        }
    }
    return entries > newer ? (uint64_t)((double)bytes / (double)entries * (double)(entries - newer)) : 0;
}

static uint64_t bytes_of(const struct compaction *plan)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < plan->run_count; i++)
        bytes += plan->runs[i]->facts.file_size;
    return bytes;
}

plsm_status compaction_limit(const struct version *version, uint64_t bytes, struct compaction *plan)
{
    unsigned level = plan->level, output_level = plan->output_level;
    size_t count = plan->sources[0].count;
    while (level > 0 && output_level > level && count > 1 && bytes_of(plan) > bytes) {
        size_t first = 0;
        const struct level *upper = &version->levels[level];
        while (upper->runs[first] != plan->runs[0])
            first++;
        compaction_free(plan);
        TRY(compaction_begin(version, plan));
        plan->level = level;
        plan->output_level = output_level;
        count /= 2;
        compaction_add_level(plan, level, upper->runs + first, count);
        compaction_add_overlapped(version, plan);
    }
    return PLSM_OK;
}
