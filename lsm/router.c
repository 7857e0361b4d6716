/* The model of a level. */
#include "lsm/router.h"

#include "base/alloc.h"
#include "base/error.h"
#include "base/banned.h"

/* The line: numbers from `first` on, cut at `range`, moved up to the top of 64 bits so that small ranges lose nothing,
 * times `slope`, of which SLOPE_BITS bits are a fraction. */
enum { SLOPE_BITS = 20 };

struct router {
    _Atomic uint32_t references;
    struct mem_account *account;
    unsigned up;
    uint64_t first, range, slope;
    size_t count, error; /* largest difference between the line and what is right, for any key */
    uint8_t *prefix;     /* behind the numbers */
    size_t prefix_size;
    uint64_t ends[]; /* per run */
};

static inline uint64_t number_of(plsm_slice key, size_t prefix)
{
    return key_head(slice((const uint8_t *)key.data + prefix, key.size - prefix));
}

/* Never descending. */
static inline size_t predict(const struct router *r, uint64_t number)
{
    uint64_t x = number > r->first ? number - r->first : 0;
    x = (x < r->range ? x : r->range) << r->up;
    return (size_t)((uint64_t)((unsigned __int128)x * r->slope >> 64) >> SLOPE_BITS);
}

static size_t distance(size_t a, size_t b)
{
    return a < b ? b - a : a - b;
}

/* For all numbers behind end i - 1 up to end i the answer is i; the line does not descend, so these two bound it. */
static void draw_line(struct router *r)
{
    r->first = r->ends[0];
    r->range = r->ends[r->count - 1] - r->first;
    if (r->range > 0) {
        r->up = (unsigned)__builtin_clzll(r->range);
        r->slope = (uint64_t)(((unsigned __int128)(r->count - 1) << (64 + SLOPE_BITS)) / (r->range << r->up));
    }
    for (size_t i = 0; i < r->count; i++) {
        if (i > 0 && r->ends[i] == r->ends[i - 1])
            continue; /* no number has this answer */
        size_t below = i > 0 ? distance(predict(r, r->ends[i - 1] + 1), i) : 0,
               here = distance(predict(r, r->ends[i]), i);
        r->error = below > r->error ? below : r->error;
        r->error = here > r->error ? here : r->error;
    }
    /* Behind the last end the answer is `count`, one more than the line says: never less than its last error + 1. */
    size_t behind = distance(predict(r, UINT64_MAX), r->count);
    r->error = behind > r->error ? behind : r->error;
}

plsm_status router_create(struct run *const *runs, size_t count, uint64_t bytes_max, struct router **out)
{
    *out = NULL;
    if (count < 2)
        return PLSM_OK;
    plsm_slice smallest = runs[0]->facts.smallest;
    size_t prefix = slice_common(smallest, runs[count - 1]->facts.largest);
    size_t size = sizeof(struct router) + count * sizeof(uint64_t) + prefix;
    if (size > bytes_max)
        return PLSM_OK;
    struct mem_account *before = budget_enter(runs[0]->context->budget, BUDGET_INDEX);
    struct router *r = mem_zalloc(size);
    if (r)
        r->account = mem_account_now();
    budget_leave(before);
    if (!r)
        return fail(PLSM_NO_MEMORY, "no memory for the model of a level");
    atomic_init(&r->references, 1);
    r->count = count;
    r->prefix = (uint8_t *)(r->ends + count);
    r->prefix_size = prefix;
    memcpy(r->prefix, smallest.data, prefix);
    for (size_t i = 0; i < count; i++)
        r->ends[i] = number_of(runs[i]->facts.largest, prefix);
    draw_line(r);
    *out = r;
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
    struct mem_account *before = mem_account_use(router->account);
    mem_free(router);
    mem_account_use(before);
}

size_t router_find(const struct router *r, plsm_slice key)
{
    plsm_slice prefix = slice(r->prefix, r->prefix_size);
    if (__builtin_expect(!slice_starts_with(key, prefix), 0))
        return slice_compare(key, prefix) < 0 ? 0 : r->count;
    uint64_t number = number_of(key, r->prefix_size);
    size_t about = predict(r, number);
    size_t low = about > r->error ? about - r->error : 0;
    size_t high = about + r->error < r->count ? about + r->error : r->count;
    const uint64_t *base = r->ends + low;
    for (size_t left = high - low; left > 0;) { /* how many ends are below `number` */
        size_t half = (left + 1) / 2;
        base += base[half - 1] < number ? half : 0;
        left -= half;
    }
    return (size_t)(base - r->ends);
}

uint64_t router_bytes(const struct router *router)
{
    return sizeof *router + router->count * sizeof router->ends[0] + router->prefix_size;
}

void router_get_info(const struct router *router, struct model_info *out)
{
    *out = (struct model_info){.type = MODEL_LINEAR,
                               .pages = (uint32_t)router->count,
                               .segments = 1,
                               .dimensions = sizeof router->ends[0],
                               .parameters = 4,
                               .error_pages = (uint32_t)router->error,
                               .training_samples = router->count,
                               .training_accuracy_ppm = 1000000,
                               .validation_accuracy_ppm = 1000000,
                               .metadata_bytes = sizeof *router + router->prefix_size,
                               .memory_bytes = router_bytes(router)};
}
