/* The options of a store: what they are where nothing is said, and what they may be. */
#include "base/error.h"
#include "lsm/db.h"
#include "base/banned.h"

void lsm_options_default(struct lsm_options *options)
{
    *options = (struct lsm_options){
        .index = LSM_LEARNED,
        .buffer_size = 64 << 20,
        .cache_size = 256 << 20,
        .size_ratio = 10,
        .file_size = 64 << 20,
        .deletions_compact = 50,
        .compact_threads = 2,
        .l0_compact = 4,
        .l0_slowdown = 8,
        .l0_stop = 20,
        .filter_bits = 8,
        .filter_young = true,
        .compression_page = 8 << 10,
        .compression_dictionary = 8 << 10,
        .background = 1,
        .manifest_size = 4 << 20,
        .log_mapped = true,
        .model_run_bytes = 1 << 10,
        .model_level_bytes = 10 << 10,
        .model_store_bytes = 100 << 10,
        .train_every = 1,
        .separate_above = 4 << 10,
        .separate_garbage_ppm = 500000,
        .verify_checksums = true,
    };
    for (unsigned i = 0; i < LSM_GROUPS; i++)
        options->groups[i] = (struct lsm_group_options){
            .model = LSM_MODEL_AUTO,
            .embed = true,
            .cache = 1000,
            .confidence = 800000,
            .error_bytes = 256 << 10,
            .update = true,
            .incremental = true,
            .batch = 1000,
            .batch_prediction = true,
        };
}

static plsm_status check_compression(const struct lsm_options *o)
{
    enum { DICTIONARY_MIN = 256, DICTIONARY_MAX = 64 << 10 };
    for (unsigned i = 0; i < LSM_GROUPS; i++)
        TRY(codec_available(o->groups[i].codec));
    if (o->compression_page < PAGE_SIZE || o->compression_page > UNIT_PAGE_MAX || o->compression_page % PAGE_SIZE)
        return fail(PLSM_INVALID, "compression_page must be a multiple of 4K up to %dK, not %u", UNIT_PAGE_MAX >> 10,
                    o->compression_page);
    if (o->compression_dictionary &&
        (o->compression_dictionary < DICTIONARY_MIN || o->compression_dictionary > DICTIONARY_MAX))
        return fail(PLSM_INVALID, "compression_dictionary must be 0 or between %d and %d, not %u", DICTIONARY_MIN,
                    DICTIONARY_MAX, o->compression_dictionary);
    return PLSM_OK;
}

plsm_status options_check(const struct lsm_options *o)
{
    if (o->buffer_size < 64 << 10 || o->file_size < 64 << 10)
        return fail(PLSM_INVALID, "buffer_size and file_size must be at least 64K");
    if (o->size_ratio < 2 || o->size_ratio > 64)
        return fail(PLSM_INVALID, "size_ratio must be between 2 and 64, not %u", o->size_ratio);
    if (o->compact_threads < 1 || o->compact_threads > LSM_COMPACT_THREADS_MAX || o->deletions_compact > 100)
        return fail(PLSM_INVALID,
                    "compact_threads must be between 1 and %d, not %u, and deletions_compact at most 100, not %u",
                    LSM_COMPACT_THREADS_MAX, o->compact_threads, o->deletions_compact);
    if (o->l0_compact < 1 || o->l0_compact > o->l0_slowdown || o->l0_slowdown > o->l0_stop)
        return fail(PLSM_INVALID, "l0_compact <= l0_slowdown <= l0_stop does not hold: %u, %u, %u", o->l0_compact,
                    o->l0_slowdown, o->l0_stop);
    if (o->filter_bits && (o->filter_bits < FILTER_BITS_MIN || o->filter_bits > FILTER_BITS_MAX))
        return fail(PLSM_INVALID, "filter_bits must be 0 or between %d and %d, not %u", FILTER_BITS_MIN,
                    FILTER_BITS_MAX, o->filter_bits);
    if (o->manifest_size < 4096)
        return fail(PLSM_INVALID, "manifest_size must be at least 4K");
    for (unsigned i = 0; i < LSM_GROUPS; i++)
        if (o->groups[i].error_bytes < PAGE_SIZE)
            return fail(PLSM_INVALID, "model_error must be at least %d", PAGE_SIZE);
    TRY(check_compression(o));
    return o->simulate ? simulation_options_check(&o->simulation) : PLSM_OK;
}
