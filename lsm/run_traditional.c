/* What traditional mode keeps in memory of a run, for simulated I/O: what the body has anyway is shared, the rest is
 * loaded once. */
#include "lsm/run.h"

#include "base/alloc.h"
#include "base/error.h"
#include "base/banned.h"

void run_traditional_free(struct run_traditional *t)
{
    if (!t)
        return;
    fences_close(t->own_fences);
    buf_free(&t->own_filter_bytes);
    mem_free(t);
}

static plsm_status find_fences(const struct run *run, struct run_body *body, struct run_traditional *t)
{
    t->fences = atomic_load_explicit(&body->fences, memory_order_acquire);
    if (!t->fences) {
        TRY(run_read_fences(run, body, &t->own_fences));
        t->fences = t->own_fences;
    }
    t->bytes += fences_memory(t->fences);
    return PLSM_OK;
}

static plsm_status find_filter(const struct run *run, struct run_body *body, struct run_traditional *t)
{
    uint64_t size = body->footer.blocks[RUN_FILTER].size;
    if (size == 0)
        return PLSM_OK;
    t->bytes += size;
    const struct run_filter *loaded = atomic_load_explicit(&body->filter, memory_order_acquire);
    if (run->context->young) /* it may be retired when the run comes into the table */
        loaded = NULL;
    t->filter = loaded ? &loaded->filter : &t->own_filter;
    if (loaded)
        return PLSM_OK;
    TRY(run_read_block(body, &body->footer.blocks[RUN_FILTER], "filter", &t->own_filter_bytes));
    return filter_open(buf_slice(&t->own_filter_bytes), &t->own_filter);
}

plsm_status run_traditional(struct run *run, struct run_body *body, const struct run_traditional **out)
{
    struct run_traditional *t = atomic_load_explicit(&body->traditional, memory_order_acquire);
    plsm_status status = PLSM_OK;
    *out = t;
    if (t)
        return PLSM_OK;
    struct mem_account *before = budget_enter(run->context->budget, BUDGET_INDEX);
    mutex_lock(&run->loading);
    t = atomic_load_explicit(&body->traditional, memory_order_acquire);
    if (!t) {
        t = mem_zalloc(sizeof *t);
        status = t ? find_fences(run, body, t) : fail(PLSM_NO_MEMORY, "no memory to simulate traditional mode");
        if (status == PLSM_OK)
            status = find_filter(run, body, t);
        if (status == PLSM_OK) {
            atomic_store_explicit(&body->traditional, t, memory_order_release);
        } else {
            run_traditional_free(t);
            t = NULL;
        }
    }
    mutex_unlock(&run->loading);
    budget_leave(before);
    *out = t;
    return status;
}
