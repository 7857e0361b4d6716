/* The policy that follows the workload. See follow.h. */
#include "lsm/follow.h"

#include "base/error.h"
#include "base/banned.h"

#define CHEAPER 0.9 /* of what the present policy costs */

static const enum lsm_policy policies[] = {LSM_POLICY_LEVELED, LSM_POLICY_LAZY, LSM_POLICY_TIERED};
enum { POLICIES = sizeof policies / sizeof *policies };

plsm_status follow_first(const struct version *version, const struct lsm_options *options, uint64_t now_s,
                         enum lsm_policy *out)
{
    static const struct buf none[LSM_LEVELS];
    struct lsm_options o = *options;
    uint64_t least = UINT64_MAX;
    plsm_status status = PLSM_OK;
    *out = policies[0];
    for (int i = 0; i < POLICIES && status == PLSM_OK; i++) {
        struct compaction plan = {0};
        uint64_t bytes = 0;
        o.policy = policies[i];
        if (compaction_pick(version, &o, none, now_s, &plan, &status))
            for (size_t run = 0; run < plan.run_count; run++)
                bytes += plan.runs[run]->facts.file_size;
        if (bytes < least)
            *out = policies[i];
        least = bytes < least ? bytes : least;
        compaction_free(&plan);
    }
    return status;
}

static uint64_t since(uint64_t now, uint64_t before)
{
    return now >= before ? now - before : now;
}

static struct follow_totals since_look(const struct follow *follow, const struct follow_totals *now)
{
    return (struct follow_totals){.puts = since(now->puts, follow->at.puts),
                                  .lookups = since(now->lookups, follow->at.lookups),
                                  .found = since(now->found, follow->at.found),
                                  .scans = since(now->scans, follow->at.scans),
                                  .scan_entries = since(now->scan_entries, follow->at.scan_entries)};
}

bool follow_due(const struct follow *follow, const struct follow_totals *now, uint64_t entries)
{
    struct follow_totals fresh = since_look(follow, now);
    uint64_t ops = fresh.puts + fresh.lookups + fresh.scans + fresh.scan_entries;
    return ops >= FOLLOW_OPS_LEAST && ops >= entries / 4;
}

enum lsm_policy follow_look(struct follow *follow, const struct follow_totals *now, const struct lsm_options *options,
                            uint64_t entries, uint64_t bytes)
{
    struct follow_totals fresh = since_look(follow, now);
    follow->at = *now;
    follow->puts = follow->puts / 2 + (double)fresh.puts;
    follow->present = follow->present / 2 + (double)fresh.found;
    follow->absent = follow->absent / 2 + (double)since(fresh.lookups, fresh.found);
    follow->scans = follow->scans / 2 + (double)fresh.scans;
    follow->scan_entries = follow->scan_entries / 2 + (double)fresh.scan_entries;

    struct cost_workload workload = {.puts = follow->puts,
                                     .present = follow->present,
                                     .absent = follow->absent,
                                     .scans = follow->scans,
                                     .scan_entries = follow->scans > 0 ? follow->scan_entries / follow->scans : 0,
                                     .entries = entries,
                                     .entry_bytes = bytes / entries + 1,
                                     .device = options->simulation};
    enum lsm_policy cheapest = options->policy;
    struct cost cost, least;
    struct cost_setting setting = {.policy = options->policy,
                                   .size_ratio = options->size_ratio,
                                   .filter_bits = options->filter_bits,
                                   .buffer_bytes = options->buffer_size,
                                   .cache_bytes = options->cache_size};
    if (!options->simulate)
        INVARIANT(simulation_profile_find("nvme", &workload.device) == PLSM_OK);
    cost_of(&workload, &setting, &least);
    least.mean_us *= CHEAPER;
    for (int i = 0; i < POLICIES; i++) {
        setting.policy = policies[i];
        cost_of(&workload, &setting, &cost);
        if (setting.policy != options->policy && cost.mean_us < least.mean_us) {
            cheapest = setting.policy;
            least = cost;
        }
    }
    bool again = follow->wanted == cheapest;
    follow->wanted = cheapest;
    follow->changes += again && cheapest != options->policy;
    return again ? cheapest : options->policy;
}
