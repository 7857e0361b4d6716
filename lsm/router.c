/* The model of a level. */
#include "lsm/router.h"

#include "base/alloc.h"
#include "base/error.h"
#include "base/banned.h"

struct router {
    _Atomic uint32_t references;
    struct model *model;
    struct model_info info;
    size_t runs;
};

/* Tells the builder the bounds of a run as if they were the keys of a page. */
static plsm_status add_run(struct model_builder *b, const struct run *run, plsm_slice before)
{
    plsm_slice smallest = run->facts.smallest, largest = run->facts.largest;
    TRY(model_builder_key(b, smallest, slice_common(before, smallest)));
    if (!slice_equal(smallest, largest))
        TRY(model_builder_key(b, largest, slice_common(smallest, largest)));
    return model_builder_page(b, largest);
}

static plsm_status train(struct run *const *runs, size_t count, uint64_t bytes_max, struct buf *block, bool *built)
{
    /* Codes, not a trie: between the two bounds of a run it knows no key, and codes are exact there all the same. */
    struct model_wish wish = {
        .type = MODEL_PLR, .metadata_max = bytes_max, .bytes_max = bytes_max, .error_pages_max = UINT32_MAX};
    struct model_builder *b = model_builder_create();
    plsm_status status = b ? PLSM_OK : fail(PLSM_NO_MEMORY, "no memory for the model of a level");
    plsm_slice before = {0};
    for (size_t i = 0; i < count && status == PLSM_OK; i++) {
        status = add_run(b, runs[i], before);
        before = runs[i]->facts.largest;
    }
    if (status == PLSM_OK)
        status = model_builder_finish(b, &wish, count, 0, block, built);
    model_builder_destroy(b);
    return status;
}

plsm_status router_create(struct run *const *runs, size_t count, uint64_t bytes_max, struct router **out)
{
    struct buf block = {0};
    bool built = false;
    *out = NULL;
    if (count < 2)
        return PLSM_OK;
    struct router *router = mem_zalloc(sizeof *router);
    if (!router)
        return fail(PLSM_NO_MEMORY, "no memory for the model of a level");
    atomic_init(&router->references, 1);
    router->runs = count;
    plsm_status status = train(runs, count, bytes_max, &block, &built);
    if (status == PLSM_OK && built)
        status = model_open(buf_slice(&block), &router->model);
    if (router->model)
        model_get_info(router->model, &router->info);
    buf_free(&block);
    bool usable = router->model && router->info.type != MODEL_TRIE && router_bytes(router) <= bytes_max;
    if (status != PLSM_OK || !usable) {
        router_unref(router);
        return status;
    }
    *out = router;
    return PLSM_OK;
}

void router_ref(struct router *router)
{
    atomic_fetch_add_explicit(&router->references, 1, memory_order_relaxed);
}

void router_unref(struct router *router)
{
    if (!router || atomic_fetch_sub_explicit(&router->references, 1, memory_order_acq_rel) > 1)
        return;
    model_close(router->model);
    mem_free(router);
}

size_t router_find(const struct router *router, plsm_slice key)
{
    return model_find(router->model, key).page;
}

uint64_t router_bytes(const struct router *router)
{
    return sizeof *router + router->info.memory_bytes;
}

void router_get_info(const struct router *router, struct model_info *out)
{
    *out = router->info;
}
