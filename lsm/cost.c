/* The cost model. See cost.h. */
#include "lsm/cost.h"

#include "learn/filter.h"
#include "lsm/compaction.h"
#include "base/banned.h"

/* Nanoseconds of processor time, and bits of memory. */
#define PUT_NS 1000.0           /* log and memtable */
#define FLUSH_NS 5e6            /* syncs and records, whatever a flush writes */
#define MERGE_NS 400.0          /* an entry read, merged and written into a run, with filter and model */
#define GET_NS 250.0            /* memtables, views */
#define PROBE_NS 15.0           /* of a run's filter */
#define PAGE_NS 150.0           /* index, checksum and search of a page */
#define SEEK_NS 400.0           /* of an iterator into one sorted run */
#define SCAN_ENTRY_NS 30.0      /* a step of it, more where several runs are merged */
#define FILTER_BITS_RATIO 1.125 /* bits per key of a filter per bit of fingerprint */
#define INDEX_BITS 1.5          /* per key, learned: shared facts are 0.5 to 1.6 */

/* How the tree stands. Level 0 and the logical levels of the other policies are sums over their runs. */
struct shape {
    unsigned levels; /* below level 0 */
    double runs;     /* sorted runs, on average */
    double write_amplification;
    double rates, rates_above; /* sums of the false positive rates: of all runs; without one of the last level */
};

static double filter_rate(unsigned level, unsigned last, const struct cost_setting *s)
{
    if (s->filter_bits == 0)
        return 1.0;
    return 1.0 / (double)(1u << filter_bits_for_level(level, last, s->filter_bits, s->size_ratio));
}

/* Leveled: up to l0_compact runs in level 0, two on average; each deeper level one. */
static struct shape leveled(const struct lsm_options *options, const struct cost_setting *s, double data)
{
    struct shape shape = {.levels = 1, .runs = options->l0_compact / 2.0};
    double size = (double)level_bytes_max(options, 1), first = size, above = 0;
    for (; above + size < data && shape.levels + 1 < LSM_LEVELS; shape.levels++) {
        above += size;
        size *= s->size_ratio;
    }
    double last = data - above;
    shape.write_amplification = 2 + 1 + (shape.levels == 1 ? last : first) / first / 2;
    size = first;
    for (unsigned level = 2; level <= shape.levels; level++, size *= s->size_ratio)
        shape.write_amplification += 1 + (level == shape.levels ? last / size : s->size_ratio) / 2;
    shape.rates = shape.runs * filter_rate(0, shape.levels, s);
    for (unsigned level = 1; level <= shape.levels; level++)
        shape.rates += filter_rate(level, shape.levels, s);
    shape.rates_above = shape.rates - filter_rate(shape.levels, shape.levels, s);
    shape.runs += shape.levels;
    return shape;
}

/* Levels of up to K sorted runs, the last of up to Z: half of them on average, but one on the last. */
static struct shape tiered(const struct tier_policy *policy, const struct cost_setting *s, double data)
{
    struct shape shape = {.levels = 1};
    double size = (double)s->buffer_bytes * s->size_ratio;
    for (; size < data; size *= s->size_ratio)
        shape.levels++;
    double copies = s->size_ratio - 1.0, upper = policy->runs_per_level / 2.0,
           lower = (policy->runs_last_level + 1) / 2.0;
    /* The last level is not full: a merge into it copies less than it might, but at least what comes. */
    double last = copies / (policy->runs_last_level + 1), filled = last * data / size;
    shape.write_amplification = 2 + (shape.levels - 1) * copies / (policy->runs_per_level + 1) +
                                (filled > 1 ? filled
                                 : last > 1 ? 1
                                            : last);
    shape.runs = (shape.levels - 1) * upper + lower;
    for (unsigned level = 1; level < shape.levels; level++)
        shape.rates += upper * filter_rate(level, shape.levels, s);
    shape.rates += lower * filter_rate(shape.levels, shape.levels, s);
    shape.rates_above = shape.rates - filter_rate(shape.levels, shape.levels, s);
    return shape;
}

static struct shape shape_of(const struct cost_workload *w, const struct cost_setting *s)
{
    struct lsm_options options;
    lsm_options_default(&options);
    options.policy = s->policy;
    options.size_ratio = s->size_ratio;
    options.buffer_size = s->buffer_bytes;
    struct tier_policy policy = tier_policy(&options);
    double data = (double)w->entries * (double)w->entry_bytes;
    return policy.partial ? leveled(&options, s, data) : tiered(&policy, s, data);
}

void cost_of(const struct cost_workload *w, const struct cost_setting *s, struct cost *out)
{
    struct shape shape = shape_of(w, s);
    double data = (double)w->entries * (double)w->entry_bytes, bytes = (double)w->entry_bytes;
    double hit = data > 0 ? (double)s->cache_bytes / data : 1;
    double miss = hit < 1 ? 1 - hit : 0, rewrites = shape.write_amplification - 2;
    double random_ns = miss * (double)simulation_cost_ns(&w->device, 1, false, 1);
    double next_ns = miss * (double)simulation_cost_ns(&w->device, 1, true, 1);
    double write_ns = bytes * shape.write_amplification * 1e9 / (double)w->device.write_bytes_per_s +
                      bytes * rewrites * 1e9 / (double)w->device.read_bytes_per_s;
    double probes_ns = s->filter_bits ? shape.runs * PROBE_NS : 0;
    double pages = 1 + shape.rates_above;
    double scan_pages = w->scan_entries * bytes / PAGE_SIZE;
    *out = (struct cost){
        .write_amplification = shape.write_amplification, .pages_per_get = pages, .sorted_runs = shape.runs};
    out->put_us = (PUT_NS + FLUSH_NS * bytes / (double)s->buffer_bytes + MERGE_NS * (1 + rewrites) + write_ns) / 1000;
    out->get_us = (GET_NS + probes_ns + pages * (PAGE_NS + random_ns)) / 1000;
    out->absent_us = (GET_NS + probes_ns + shape.rates * (PAGE_NS + random_ns)) / 1000;
    out->scan_us = (shape.runs * (SEEK_NS + random_ns) + scan_pages * next_ns +
                    w->scan_entries * SCAN_ENTRY_NS * (1 + shape.runs / 10)) /
                   1000;
    double shares = w->puts + w->present + w->absent + w->scans;
    double sum =
        w->puts * out->put_us + w->present * out->get_us + w->absent * out->absent_us + w->scans * out->scan_us;
    out->mean_us = shares > 0 ? sum / shares : 0;
}

bool cost_cache_bytes(const struct cost_workload *w, const struct cost_setting *s, uint64_t *out)
{
    double bits = INDEX_BITS + FILTER_BITS_RATIO * s->filter_bits;
    double taken = 2.0 * (double)s->buffer_bytes + (double)w->entries * bits / 8;
    *out = taken <= (double)w->memory_bytes ? w->memory_bytes - (uint64_t)taken : 0;
    return taken <= (double)w->memory_bytes;
}

/* Keeps the cheapest. */
static size_t keep(const struct cost_setting *setting, const struct cost *cost, struct cost_setting *settings,
                   struct cost *costs, size_t kept, size_t count)
{
    size_t at = kept;
    while (at > 0 && costs[at - 1].mean_us > cost->mean_us)
        at--;
    if (at == count)
        return kept;
    kept += kept < count;
    for (size_t i = kept - 1; i > at; i--) {
        settings[i] = settings[i - 1];
        costs[i] = costs[i - 1];
    }
    settings[at] = *setting;
    costs[at] = *cost;
    return kept;
}

size_t cost_choose(const struct cost_workload *w, struct cost_setting *settings, struct cost *costs, size_t count)
{
    static const enum lsm_policy policies[] = {LSM_POLICY_LEVELED, LSM_POLICY_TIERED, LSM_POLICY_LAZY};
    static const uint32_t ratios[] = {2, 3, 4, 6, 8, 10, 16, 32}, bits[] = {0, 4, 6, 8, 10, 12, 16};
    const uint64_t mib = 1 << 20;
    size_t kept = 0;
    for (size_t p = 0; p < sizeof policies / sizeof *policies; p++)
        for (size_t r = 0; r < sizeof ratios / sizeof *ratios; r++)
            for (size_t b = 0; b < sizeof bits / sizeof *bits; b++)
                for (uint64_t buffer = 4 * mib; buffer <= 1024 * mib; buffer *= 2) {
                    struct cost_setting s = {
                        .policy = policies[p], .size_ratio = ratios[r], .filter_bits = bits[b], .buffer_bytes = buffer};
                    struct cost cost;
                    if ((s.size_ratio == 2 && s.policy != LSM_POLICY_LEVELED) /* one run per level: leveled again */
                        || !cost_cache_bytes(w, &s, &s.cache_bytes))
                        continue;
                    cost_of(w, &s, &cost);
                    kept = keep(&s, &cost, settings, costs, kept, count);
                }
    return kept;
}
