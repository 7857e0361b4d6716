/* The model of a level against a search from the first run on: bounds of many shapes, keys at, between and outside of
 * them. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/random.h"
#include "lsm/router.h"
#include "base/banned.h"

enum { RUNS_MAX = 300, KEY_MAX = 40, SEEDS = 120, KEYS = 3000 };

struct bounds {
    struct run runs[RUNS_MAX];
    struct run *list[RUNS_MAX];
    uint8_t keys[2 * RUNS_MAX][KEY_MAX];
    size_t sizes[2 * RUNS_MAX];
    size_t count;
};

enum shape { SPREAD, BUNCHED, LONG_PREFIX, SAME_HEADS, FEW_BYTES, SHAPES };

/* A key of a shape; keys of some shapes share eight bytes and more with many others. */
static size_t some_key(struct random *random, enum shape shape, uint8_t *out)
{
    static const char prefix[] = "usr/share/doc/";
    size_t at = 0, size = 1 + random_below(random, 16);
    if (shape == LONG_PREFIX)
        for (; at < sizeof prefix - 1; at++)
            out[at] = (uint8_t)prefix[at];
    if (shape == SAME_HEADS)
        for (uint8_t group = (uint8_t)random_below(random, 3); at < 9; at++)
            out[at] = group;
    if (shape == BUNCHED)
        for (; at < 3; at++)
            out[at] = random_below(random, 50) ? 7 : (uint8_t)random_below(random, 256);
    for (size_t end = at + size; at < end; at++)
        out[at] = (uint8_t)(shape == FEW_BYTES ? random_below(random, 2) : random_below(random, 256));
    return at;
}

static int by_key(const void *a, const void *b)
{
    return slice_compare(*(const plsm_slice *)a, *(const plsm_slice *)b);
}

static struct run_context context;

static void make_bounds(struct bounds *b, struct random *random, enum shape shape)
{
    plsm_slice keys[2 * RUNS_MAX];
    size_t wanted = 2 * (2 + random_below(random, RUNS_MAX - 1)), count = 0;
    for (size_t i = 0; i < wanted; i++)
        keys[i] = slice(b->keys[i], some_key(random, shape, b->keys[i]));
    qsort(keys, wanted, sizeof keys[0], by_key);
    for (size_t i = 0; i < wanted; i++) /* each once */
        if (count == 0 || !slice_equal(keys[count - 1], keys[i]))
            keys[count++] = keys[i];
    b->count = count / 2;
    for (size_t i = 0; i < b->count; i++) {
        struct run *run = b->list[i] = &b->runs[i];
        memset(run, 0, sizeof *run);
        run->context = &context;
        run->facts.smallest = keys[2 * i];
        run->facts.largest = keys[2 * i + 1];
        run->smallest_head = key_head(run->facts.smallest);
        run->largest_head = key_head(run->facts.largest);
    }
}

static bool same_number(const struct bounds *b, plsm_slice a, plsm_slice c)
{
    size_t prefix = slice_common(b->list[0]->facts.smallest, b->list[b->count - 1]->facts.largest);
    if (a.size < prefix || c.size < prefix)
        return false;
    return key_head(slice((const uint8_t *)a.data + prefix, a.size - prefix)) ==
           key_head(slice((const uint8_t *)c.data + prefix, c.size - prefix));
}

static void ask(const struct bounds *b, const struct router *router, plsm_slice key, uint64_t seed)
{
    size_t right = 0, found = router_find(router, key);
    while (right < b->count && slice_compare(b->list[right]->facts.largest, key) < 0)
        right++;
    ck_assert_msg(found <= right, "seed %lu: run %zu of %zu, should be %zu", (unsigned long)seed, found, b->count,
                  right);
    for (size_t i = found; i < right; i++)
        ck_assert_msg(same_number(b, b->list[i]->facts.largest, key), "seed %lu: run %zu of %zu, should be %zu",
                      (unsigned long)seed, found, b->count, right);
}

START_TEST(finds_what_a_scan_finds)
{
    static struct bounds b;
    struct random random;
    struct router *router = NULL;
    uint8_t bytes[KEY_MAX + 1];
    uint64_t seed = 7000 + (uint64_t)_i;
    random_seed(&random, seed);
    do
        make_bounds(&b, &random, (enum shape)(_i % SHAPES));
    while (b.count < 2);
    ck_assert_int_eq(router_create(b.list, b.count, 1 << 20, &router), PLSM_OK);
    ck_assert_ptr_nonnull(router);
    for (unsigned i = 0; i < KEYS; i++)
        ask(&b, router, slice(bytes, some_key(&random, (enum shape)random_below(&random, SHAPES), bytes)), seed);
    for (size_t i = 0; i < 2 * b.count; i++) { /* the bounds, one before and one behind each */
        plsm_slice bound = i % 2 ? b.list[i / 2]->facts.largest : b.list[i / 2]->facts.smallest;
        ask(&b, router, bound, seed);
        memcpy(bytes, bound.data, bound.size);
        bytes[bound.size] = 0;
        ask(&b, router, slice(bytes, bound.size + 1), seed);
        bytes[bound.size - 1]--;
        ask(&b, router, slice(bytes, bound.size), seed);
    }
    ask(&b, router, (plsm_slice){0}, seed);
    router_unref(router);
}
END_TEST

START_TEST(keeps_to_its_budget)
{
    static struct bounds b;
    struct random random;
    struct router *router = NULL;
    random_seed(&random, 1);
    make_bounds(&b, &random, SPREAD);
    ck_assert_int_eq(router_create(b.list, b.count, 1 << 20, &router), PLSM_OK);
    uint64_t bytes = router_bytes(router);
    router_unref(router);
    ck_assert_int_eq(router_create(b.list, b.count, bytes, &router), PLSM_OK);
    ck_assert_ptr_nonnull(router);
    router_unref(router);
    ck_assert_int_eq(router_create(b.list, b.count, bytes - 1, &router), PLSM_OK);
    ck_assert_ptr_null(router);
    ck_assert_int_eq(router_create(b.list, 1, 1 << 20, &router), PLSM_OK);
    ck_assert_ptr_null(router);
    mem_fail_at(1);
    ck_assert_int_eq(router_create(b.list, b.count, 1 << 20, &router), PLSM_NO_MEMORY);
    mem_fail_at(0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("router");
    TCase *tcase = tcase_create("router");
    tcase_set_timeout(tcase, 60);
    tcase_add_loop_test(tcase, finds_what_a_scan_finds, 0, SEEDS);
    tcase_add_test(tcase, keeps_to_its_budget);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
