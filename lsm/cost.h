/* What a workload would cost under a setting: a model, to choose settings by before anything is measured.
 *
 * Costs of the tree after Monkey (Dayan, Athanassoulis and Idreos, SIGMOD 2017: lookups cost the sum of the false
 * positive rates of all runs, so upper levels get more bits) and Dostoevsky (Dayan and Idreos, SIGMOD 2018: with K runs
 * per level and Z on the last, an entry is copied (T - 1) / (K + 1) times per level and (T - 1) / (Z + 1) times on the
 * last). The leveled policy of this engine merges single runs into levels, where an entry is copied 1 + T / 2 times on
 * its way into each below the first: of what they overlap half was overwritten or is yet to come. Times of the device
 * are those of lsm/simulate.h; those of the processor are rounded figures of this engine's benchmarks, the same for all
 * settings but for what they multiply.
 *
 * Against the engine (400,000 keys of 116 bytes, 1.6 M overwritten at random, buffers of 1 MiB, background=0) the
 * written bytes of leveled with ratio 2, 4 and 10 are 13 % above, 2 % below and 7 % above what was measured, tiered 4
 * and 10 3 and 17 % above, lazy 4 and 10 2 and 45 % above; pages per get are within 2 %. Where writers outrun the
 * threads behind them, leveled merges more runs of level 0 at once and writes two fifths to a half less.
 *
 * Assumed are keys asked for uniformly, a store that has grown to its size and is overwritten, and reads that wait one
 * for another: a model ranks settings, it does not foretell a benchmark. All functions are pure. */
#ifndef LSM_COST_H
#define LSM_COST_H

#include "lsm/lsm.h"

/* The shares need not add up to anything: only their relations count. */
struct cost_workload {
    double puts, present, absent; /* gets of keys that are there, and of keys that are not */
    double scans, scan_entries;
    uint64_t entries, entry_bytes; /* in the store; key and value */
    uint64_t memory_bytes;         /* of memtables, cache, filters and indexes together */
    struct simulation_options device;
};

struct cost_setting {
    enum lsm_policy policy;
    uint32_t size_ratio, filter_bits; /* bits of the last level */
    uint64_t buffer_bytes, cache_bytes;
};

struct cost {
    double put_us, get_us, absent_us, scan_us; /* of one operation */
    double mean_us;                            /* over the workload's mix */
    double write_amplification, pages_per_get, sorted_runs;
};

/* The cost of a setting, whatever memory it takes. Example: 10 M entries of 116 bytes, leveled, ratio 10, 64 MiB
 * buffers: two levels below level 0; a byte is written for the log, the flush, 1.5 times into level 1, and 1 + 3.3 / 2
 * into level 2: 6.2 times. */
void cost_of(const struct cost_workload *workload, const struct cost_setting *setting, struct cost *out);
/* What a setting leaves for the cache: memory_bytes without two memtables, filters and indexes; false: not even those
 * fit. */
bool cost_cache_bytes(const struct cost_workload *workload, const struct cost_setting *setting, uint64_t *out);

/* The `count` cheapest settings that fit the memory, cheapest first; returns how many there are, up to that. */
size_t cost_choose(const struct cost_workload *workload, struct cost_setting *settings, struct cost *costs,
                   size_t count);

#endif
