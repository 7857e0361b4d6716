/* Settings by the cost model of the tree. */
#include "store/tune.h"

#include <math.h>
#include <stdio.h>

#include "base/alloc.h"
#include "base/error.h"
#include "lsm/cost.h"

#include "base/banned.h"

static void tell(const struct cost_setting *s, const struct cost *c, plsm_setting *out)
{
    static const char *const policies[] = {
        [LSM_POLICY_LEVELED] = "leveled", [LSM_POLICY_TIERED] = "tiered", [LSM_POLICY_LAZY] = "lazy"};
    *out = (plsm_setting){.mean_us = c->mean_us,
                          .put_us = c->put_us,
                          .present_us = c->get_us,
                          .absent_us = c->absent_us,
                          .scan_us = c->scan_us,
                          .write_amplification = c->write_amplification,
                          .pages_per_get = c->pages_per_get,
                          .sorted_runs = c->sorted_runs};
    snprintf(out->options, sizeof out->options,
             "policy=%s,size_ratio=%u,filter_bits=%u,buffer_size=%lluM,cache_size=%lluM", policies[s->policy],
             s->size_ratio, s->filter_bits, (unsigned long long)(s->buffer_bytes >> 20),
             (unsigned long long)(s->cache_bytes >> 20));
}

plsm_status tree_tune(const plsm_workload *w, plsm_setting *settings, size_t *count)
{
    struct cost_workload workload = {.puts = w->puts,
                                     .present = w->present,
                                     .absent = w->absent,
                                     .scans = w->scans,
                                     .scan_entries = w->scan_entries,
                                     .entries = w->entries,
                                     .entry_bytes = w->entry_bytes,
                                     .memory_bytes = w->memory_bytes};
    const double shares[] = {w->puts, w->present, w->absent, w->scans, w->scan_entries};
    size_t wanted = *count;
    *count = 0;
    for (size_t i = 0; i < sizeof shares / sizeof *shares; i++)
        if (!isfinite(shares[i]) || shares[i] < 0)
            return fail(PLSM_INVALID, "the shares of a workload must be numbers from 0 up");
    if (w->puts + w->present + w->absent + w->scans <= 0 || w->entries == 0 || w->entry_bytes == 0)
        return fail(PLSM_INVALID, "a workload has operations, entries, and bytes in them");
    TRY(simulation_profile_find(w->device, &workload.device));
    struct cost_setting *chosen = mem_alloc((wanted + 1) * sizeof *chosen);
    struct cost *costs = mem_alloc((wanted + 1) * sizeof *costs);
    plsm_status status = chosen && costs ? PLSM_OK : fail(PLSM_NO_MEMORY, "no memory to compare settings");
    if (status == PLSM_OK)
        *count = cost_choose(&workload, chosen, costs, wanted);
    if (status == PLSM_OK && *count == 0 && wanted > 0)
        status = fail(PLSM_INVALID, "%llu bytes of memory are too few for any setting with %llu entries",
                      (unsigned long long)w->memory_bytes, (unsigned long long)w->entries);
    for (size_t i = 0; i < *count; i++)
        tell(&chosen[i], &costs[i], &settings[i]);
    mem_free(chosen);
    mem_free(costs);
    return status;
}

plsm_status plsm_tune(const plsm_workload *workload, plsm_setting *settings, size_t *count)
{
    return engine_lsm.tune(workload, settings, count);
}
