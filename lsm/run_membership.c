/* What tells whether a run may hold a key: loading it. */
#include "lsm/run.h"

#include "base/alloc.h"
#include "base/error.h"
#include "base/banned.h"

static void free_filter(struct run_filter *f)
{
    if (!f)
        return;
    struct mem_account *before = mem_account_use(f->account);
    buf_free(&f->bytes);
    mem_free(f);
    mem_account_use(before);
}

static void free_membership(struct run_membership *m)
{
    if (!m)
        return;
    struct mem_account *before = mem_account_use(m->account);
    buf_free(&m->bytes);
    mem_free(m);
    mem_account_use(before);
}

static void filter_retired(struct epoch_node *node)
{
    free_filter((struct run_filter *)((char *)node - offsetof(struct run_filter, node)));
}

static void membership_retired(struct epoch_node *node)
{
    free_membership((struct run_membership *)((char *)node - offsetof(struct run_membership, node)));
}

void run_membership_retire(struct run *run, struct run_body *body)
{
    mutex_lock(&run->loading); /* a membership that is being loaded points into the filter */
    struct run_membership *membership = atomic_exchange(&body->membership, NULL);
    struct run_filter *filter = atomic_exchange(&body->filter, NULL);
    mutex_unlock(&run->loading);
    if (membership)
        epoch_retire(run->context->epoch, &membership->node, membership_retired);
    if (filter)
        epoch_retire(run->context->epoch, &filter->node, filter_retired);
    simulated_changed(run->context->simulated);
}

void run_membership_drop(struct run_body *body)
{
    free_filter(atomic_load(&body->filter));
    free_membership(atomic_load(&body->membership));
}

uint64_t run_membership_bytes(const struct run_body *body)
{
    const struct run_filter *filter = atomic_load_explicit(&body->filter, memory_order_acquire);
    const struct run_membership *membership = atomic_load_explicit(&body->membership, memory_order_acquire);
    return (filter ? filter->bytes.size : 0) + (membership ? membership->bytes.size : 0);
}

static plsm_status load_filter(struct run_body *body, struct run_filter **out)
{
    struct run_filter *f = mem_zalloc(sizeof *f);
    if (!f)
        return fail(PLSM_NO_MEMORY, "no memory for a filter");
    f->account = mem_account_now();
    plsm_status status = run_read_block(body, &body->footer.blocks[RUN_FILTER], "filter", &f->bytes);
    if (status == PLSM_OK) {
        status = filter_open(buf_slice(&f->bytes), &f->filter);
        if (status != PLSM_OK)
            status = fail_context(status, env_path(body->file));
    }
    if (status != PLSM_OK) {
        free_filter(f);
        f = NULL;
    }
    *out = f;
    return status;
}

/* Under run->loading. */
static plsm_status filter_at_hand(struct run_body *body, const struct filter **out)
{
    struct run_filter *f = atomic_load_explicit(&body->filter, memory_order_acquire);
    *out = NULL;
    if (body->footer.blocks[RUN_FILTER].size == 0)
        return PLSM_OK;
    if (!f) {
        TRY(load_filter(body, &f));
        atomic_store_explicit(&body->filter, f, memory_order_release);
    }
    *out = &f->filter;
    return PLSM_OK;
}

plsm_status run_filter(struct run *run, struct run_body *body, const struct filter **out)
{
    struct run_filter *loaded = atomic_load_explicit(&body->filter, memory_order_acquire);
    if (loaded) {
        *out = &loaded->filter;
        return PLSM_OK;
    }
    struct mem_account *before = budget_enter(run->context->budget, BUDGET_FILTERS);
    mutex_lock(&run->loading);
    plsm_status status = filter_at_hand(body, out);
    mutex_unlock(&run->loading);
    budget_leave(before);
    return status;
}

/* The membership that was made for this run. PLSM_NOT_FOUND: there is none, or none that can be used. */
static plsm_status load_own(const struct run *run, struct run_body *body, struct run_membership *m)
{
    const struct run_block_place *place = &body->footer.membership;
    const struct filter *filter = NULL;
    if (place->size == 0 || run->context->index != LSM_LEARNED)
        return PLSM_NOT_FOUND;
    plsm_status status = run_read_block(body, place, "membership", &m->bytes);
    if (status == PLSM_OK && membership_kind_of(buf_slice(&m->bytes)) == MEMBERSHIP_FUSE)
        status = filter_at_hand(body, &filter);
    if (status == PLSM_OK)
        status = membership_open(buf_slice(&m->bytes), filter, &m->membership);
    if (status == PLSM_CORRUPT || status == PLSM_VERSION || status == PLSM_IO) {
        counter_add(run->context->counters, COUNT_MEMBERSHIP_FALLBACK, 1);
        buf_free(&m->bytes);
        status = PLSM_NOT_FOUND;
    }
    return status;
}

/* Under run->loading. */
static plsm_status load_membership(const struct run *run, struct run_body *body, struct run_membership **out)
{
    const struct filter *filter = NULL;
    struct run_membership *m = mem_zalloc(sizeof *m);
    if (!m)
        return fail(PLSM_NO_MEMORY, "no memory for a filter");
    m->account = mem_account_now();
    plsm_status status = load_own(run, body, m);
    if (status == PLSM_NOT_FOUND) {
        status = filter_at_hand(body, &filter);
        m->none = !filter;
        if (filter)
            membership_of_filter(filter, &m->membership);
    }
    if (status != PLSM_OK) {
        free_membership(m);
        m = NULL;
    }
    *out = m;
    return status;
}

plsm_status run_membership(struct run *run, struct run_body *body, struct run_membership **out)
{
    plsm_status status = PLSM_OK;
    *out = atomic_load_explicit(&body->membership, memory_order_acquire);
    if (__builtin_expect(*out != NULL, 1))
        return PLSM_OK;
    struct mem_account *before = budget_enter(run->context->budget, BUDGET_FILTERS);
    mutex_lock(&run->loading);
    *out = atomic_load_explicit(&body->membership, memory_order_acquire);
    if (!*out) {
        status = load_membership(run, body, out);
        if (status == PLSM_OK) {
            atomic_store_explicit(&body->membership, *out, memory_order_release);
            simulated_changed(run->context->simulated);
        }
    }
    mutex_unlock(&run->loading);
    budget_leave(before);
    return status;
}
