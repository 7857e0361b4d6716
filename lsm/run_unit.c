/* Pages of compressed runs: units read from the file and unpacked. */
#include "lsm/run.h"

#include "base/alloc.h"
#include "base/error.h"
#include "base/banned.h"

static uint64_t seed_of(const struct run *run, const struct run_body *body, uint32_t unit)
{
    return run->facts.salt ^ run_unit_offset(body, unit);
}

static plsm_status check(struct run *run, struct run_body *body, uint32_t unit, const uint8_t *stored,
                         size_t *page_size)
{
    if (unit_check(stored, run_unit_bytes(body, unit), seed_of(run, body, unit), run->context->verify_checksums,
                   page_size) != PLSM_OK)
        return run_page_corrupt(run, unit);
    return PLSM_OK;
}

static plsm_status unpack(struct run *run, struct run_body *body, uint32_t unit, struct codec_context *context,
                          const uint8_t *stored, uint8_t *page, size_t page_size)
{
    counter_add(run->context->counters, COUNT_UNPACKED, 1);
    counter_add(run->context->counters, COUNT_UNPACKED_BYTES, page_size);
    plsm_status status =
        unit_unpack(context, dictionary_codec(body->dictionary), stored, run_unit_bytes(body, unit), page, page_size);
    return status == PLSM_CORRUPT ? run_page_corrupt(run, unit) : status;
}

plsm_status run_unit_take(struct run *run, struct run_body *body, uint32_t unit, struct codec_context *context,
                          const uint8_t *stored, const uint8_t **page, uint8_t **heap)
{
    struct cache *cache = run->context->cache;
    size_t page_size = 0;
    uint32_t number = 0;
    *heap = NULL;
    TRY(check(run, body, unit, stored, &page_size));
    /* As in runs that are not compressed, an entry too large for a page of its run is not kept in the cache. */
    uint8_t *memory = unit_is_split(stored) ? NULL : cache_take_sized(cache, page_size, &number);
    if (!memory)
        memory = *heap = mem_alloc(page_size);
    if (!memory)
        return fail(PLSM_NO_MEMORY, "no memory to read a page of %zu bytes", page_size);
    plsm_status status = unpack(run, body, unit, context, stored, memory, page_size);
    if (status != PLSM_OK) {
        if (number)
            cache_drop(cache, number);
        mem_free(*heap);
        *heap = NULL;
        return status;
    }
    *page = number ? cache_publish(cache, &body->slots[unit], number) : memory;
    return PLSM_OK;
}

plsm_status run_unit_unpack(struct run *run, struct run_body *body, uint32_t unit, const uint8_t *stored,
                            uint8_t **memory, size_t *capacity)
{
    size_t page_size = 0;
    TRY(check(run, body, unit, stored, &page_size));
    if (page_size > *capacity) {
        uint8_t *grown = mem_realloc(*memory, page_size);
        if (!grown)
            return fail(PLSM_NO_MEMORY, "no memory to read a page of %zu bytes", page_size);
        *memory = grown;
        *capacity = page_size;
    }
    struct codec_context *context = compression_take(run->context->compression);
    if (!context)
        return fail(PLSM_NO_MEMORY, "no memory to read a page");
    plsm_status status = unpack(run, body, unit, context, stored, *memory, page_size);
    compression_give(run->context->compression, context);
    return status;
}

/* The first block of a unit that is surely split. *complete: it is all that is needed. */
static plsm_status read_head(struct run *run, struct run_body *body, uint32_t unit, struct page_hold *hold,
                             bool *complete)
{
    TRY(run_read_counted(run, body, run_unit_offset(body, unit), hold->own, PAGE_SIZE));
    if (unit_head(hold->own, seed_of(run, body, unit), run->context->verify_checksums, complete) != PLSM_OK)
        return run_page_corrupt(run, unit);
    hold->page = hold->own;
    return PLSM_OK;
}

plsm_status run_page_unpack(struct run *run, struct run_body *body, uint32_t unit, bool head_only,
                            struct page_hold *hold)
{
    size_t size = run_unit_bytes(body, unit);
    bool complete = false;
    if (size > UNIT_BYTES_MAX)
        return run_page_corrupt(run, unit);
    if (head_only && run_unit_is_large(body, unit))
        TRY(read_head(run, body, unit, hold, &complete));
    if (complete)
        return PLSM_OK;
    struct codec_context *context = compression_take(run->context->compression);
    uint8_t *stored = context ? codec_scratch(context, size) : NULL;
    plsm_status status = stored ? run_read_counted(run, body, run_unit_offset(body, unit), stored, size)
                                : fail(PLSM_NO_MEMORY, "no memory to read a page of %zu bytes", size);
    if (status == PLSM_OK)
        status = run_unit_take(run, body, unit, context, stored, &hold->page, &hold->heap);
    compression_give(run->context->compression, context);
    return status;
}
