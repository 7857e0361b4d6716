/* The options of a store: "name=value,name=value", read by a table that also writes the help text. */
#ifndef STORE_OPTIONS_H
#define STORE_OPTIONS_H

#include <stdint.h>

#include "store/plsm.h"

enum store_engine { STORE_ENGINE_AUTO, STORE_ENGINE_LSM, STORE_ENGINE_APPENDLOG, STORE_ENGINE_HYBRIDLOG };
enum store_index { STORE_INDEX_TRADITIONAL, STORE_INDEX_LEARNED, STORE_INDEX_CLASSIC };
enum store_sim { STORE_SIM_OFF, STORE_SIM_NVME, STORE_SIM_SSD, STORE_SIM_HDD, STORE_SIM_CLOUD, STORE_SIM_OWN };
enum store_log { STORE_LOG_MAPPED, STORE_LOG_WRITTEN };
/* Of an option that has a word for "as something else says". */
#define STORE_NOT_GIVEN UINT64_MAX
/* Options of models may differ between level 0, the levels between, and the last level. */
enum { STORE_GROUPS = 3 };

#define STORE_MEMORY_LEAST (UINT64_C(1) << 20) /* less is no budget that anything fits into */

/* All are u64 so that one table can fill them; their meaning stands in that table (options.c). */
struct store_options {
    uint64_t engine; /* enum store_engine */
    uint64_t index;  /* enum store_index */
    uint64_t memory, buffer_size, spill_above, cache_size, size_ratio, file_size;
    uint64_t buffer_size_given, cache_size_given; /* 1: by the user, not by default */
    uint64_t policy;                              /* enum lsm_policy */
    uint64_t runs_per_level, runs_last_level, deletions_compact, compact_age, ttl, compact_threads;
    uint64_t l0_compact, l0_slowdown, l0_stop;
    uint64_t filter_bits, filter, filter_young, background, manifest_size;
    uint64_t log;                 /* enum store_log */
    uint64_t redo;
    uint64_t separate_above, separate_garbage /* parts per million */;
    uint64_t merge_garbage /* parts per million */, merge_from, merge_to;
    uint64_t base_fpr;            /* parts per million; 0: by filter_bits */
    uint64_t model[STORE_GROUPS]; /* enum lsm_model */
    uint64_t model_embed[STORE_GROUPS], model_cache[STORE_GROUPS], model_update[STORE_GROUPS];
    uint64_t model_incremental[STORE_GROUPS], model_batch[STORE_GROUPS];
    uint64_t model_confidence[STORE_GROUPS]; /* parts per million */
    uint64_t model_error[STORE_GROUPS], multi_get[STORE_GROUPS];
    uint64_t compression[STORE_GROUPS]; /* enum codec */
    uint64_t compression_page, compression_dictionary;
    uint64_t model_run_bytes, model_level_bytes, model_store_bytes;
    uint64_t train_every, validation_rate /* parts per million */, multi_get_max;
    uint64_t sim; /* enum store_sim */
    uint64_t sim_latency_us, sim_overhead_ns, sim_queue_depth, sim_discount_percent; /* or STORE_NOT_GIVEN */
    uint64_t sim_read_bandwidth, sim_write_bandwidth;                                /* bytes per s, or that */
    uint64_t sim_cache;                                                              /* bytes, or that */
    uint64_t sim_sleep;
};

/* Fills in the defaults, then what `text` (may be NULL) says. PLSM_INVALID names the offending option. */
plsm_status store_options_parse(const char *text, struct store_options *out);

const char *store_index_name(const struct store_options *options);
const char *store_policy_name(const struct store_options *options);

#endif
