/* Batches sorted by key against a sort of the plainest kind: keys of all lengths, with shared beginnings, that are
 * prefixes of others, with zeros where others end, and many times the same. BATCH_ORDER_SEED: other ones. */
#include "lsm/batch_order.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/random.h"
#include "lsm/lsm.h"
#include "tests/harness/pool.h"

#include "base/banned.h"

enum { ROUNDS = 300, CHANGES_MAX = 3000 };

enum shape { MIXED, LONG, FEW, NUMBERS, ZEROS, SHAPES };

struct expected {
    struct batch_change change;
    uint32_t at;
};

static int by_key(const void *a, const void *b)
{
    const struct expected *x = a, *y = b;
    int order = slice_compare(x->change.key, y->change.key);
    return order ? order : (x->at < y->at) - (x->at > y->at);
}

static size_t make_key(struct random *random, enum shape shape, uint8_t *key)
{
    size_t size = 0;
    switch (shape) {
    case LONG: /* long beginnings that are shared by all, and ends that differ late */
        size = 300 + random_below(random, 30);
        memset(key, 'L', size);
        key[250 + random_below(random, 50)] = (uint8_t)random_below(random, 256);
        return size;
    case FEW:
        return (size_t)snprintf((char *)key, 64, "%u", (unsigned)random_below(random, 5));
    case NUMBERS:
        return (size_t)snprintf((char *)key, 64, "user%010u", (unsigned)random_below(random, 1000000));
    case ZEROS: /* each a prefix of others, of lengths around those of pieces */
        size = 1 + random_below(random, 30);
        memset(key, 0, size);
        if (random_below(random, 3) == 0)
            key[random_below(random, size)] = 1;
        return size;
    default:
        size = 1 + random_below(random, 20);
        for (size_t i = 0; i < size; i++)
            key[i] = (uint8_t)("\0a\xff"[random_below(random, 3)]);
        return size;
    }
}

static void fill(struct random *random, enum shape shape, size_t changes, struct batch *batch)
{
    static uint8_t key[LSM_KEY_MAX];
    for (size_t i = 0; i < changes; i++) {
        size_t size = make_key(random, shape, key);
        uint8_t keyspace = (uint8_t)(1 + (random_below(random, 10) == 0));
        uint64_t kind = random_below(random, 10);
        plsm_slice none = {NULL, 0},
                   value = slice(key, random_below(random, size < LSM_META_MAX ? size + 1 : LSM_META_MAX));
        if (kind == 0)
            ck_assert_int_eq(batch_add(batch, BATCH_DELETE, keyspace, slice(key, size), none, none), PLSM_OK);
        else if (kind == 1)
            ck_assert_int_eq(batch_add(batch, BATCH_DELETE_RANGE, keyspace, slice(key, size), none, value), PLSM_OK);
        else if (kind == 2)
            ck_assert_int_eq(batch_add_timed(batch, BATCH_PUT, keyspace, slice(key, size), value, value, i * i),
                             PLSM_OK);
        else
            ck_assert_int_eq(batch_add(batch, BATCH_PUT, keyspace, slice(key, size), none, value), PLSM_OK);
    }
}

/* The same batch, sorted: what is in order already must be told as it is. */
static void sort_batch(const struct expected *sorted, size_t count, struct batch *out)
{
    for (size_t i = 0; i < count; i++) {
        const struct batch_change *c = &sorted[i].change;
        const uint8_t *key = c->key.data;
        ck_assert_int_eq(batch_add(out, c->kind, key[0], slice(key + 1, c->key.size - 1), c->meta, c->value), PLSM_OK);
    }
}

static size_t sort_plainly(const struct batch *batch, struct expected *out)
{
    const uint8_t *from = batch->bytes.data, *at = from, *end = at + batch->bytes.size;
    struct batch_change change;
    size_t count = 0, kept = 0;
    for (; batch_next(&at, end, &change); from = at)
        if (change.kind != BATCH_DELETE_RANGE)
            out[count++] = (struct expected){change, (uint32_t)(from - batch->bytes.data)};
    qsort(out, count, sizeof *out, by_key);
    for (size_t i = 0; i < count; i++)
        if (i == 0 || !slice_equal(out[i].change.key, out[kept - 1].change.key))
            out[kept++] = out[i];
    return kept;
}

static void compare(const struct batch *batch, const struct expected *expected, size_t count, bool offsets)
{
    struct batch_order order;
    struct batch_change change;
    plsm_slice smallest, largest;
    uint32_t at = 0;
    size_t i = 0;
    ck_assert_int_eq(batch_order_start(batch, &order), PLSM_OK);
    ck_assert(offsets || !order.places);
    if (count > 0) {
        batch_order_bounds(&order, &smallest, &largest);
        ck_assert(slice_equal(smallest, expected[0].change.key));
        ck_assert(slice_equal(largest, expected[count - 1].change.key));
    }
    for (; batch_order_next(&order, &change, &at); i++) {
        bool same = i < count && slice_equal(change.key, expected[i].change.key) &&
                    change.kind == expected[i].change.kind && slice_equal(change.value, expected[i].change.value);
        if (!same || (offsets && at != expected[i].at)) /* libcheck writes a file for each assertion */
            ck_abort_msg("change %zu of %zu is another", i, count);
    }
    ck_assert_uint_eq(i, count);
    batch_order_end(&order);
}

START_TEST(as_a_plain_sort)
{
    unsigned long seed = setting("BATCH_ORDER_SEED", 1);
    struct random random;
    struct expected *expected = calloc(CHANGES_MAX, sizeof *expected);
    random_seed(&random, seed);
    printf("batch order: seed %lu\n", seed);
    for (unsigned round = 0; round < ROUNDS; round++) {
        struct batch batch = {0}, sorted = {0};
        size_t most = round % 3 ? 40 : CHANGES_MAX;
        fill(&random, (enum shape)(round % SHAPES), random_below(&random, most), &batch);
        size_t count = sort_plainly(&batch, expected);
        compare(&batch, expected, count, true);
        sort_batch(expected, count, &sorted);
        compare(&sorted, expected, count, false);
        batch_free(&batch);
        batch_free(&sorted);
    }
    free(expected);
}
END_TEST

START_TEST(without_memory)
{
    struct batch batch = {0};
    struct batch_order order;
    plsm_slice none = {NULL, 0};
    ck_assert_int_eq(batch_add(&batch, BATCH_DELETE, 1, slice("b", 1), none, none), PLSM_OK);
    ck_assert_int_eq(batch_add(&batch, BATCH_DELETE, 1, slice("a", 1), none, none), PLSM_OK);
    mem_fail_at(1);
    ck_assert_int_eq(batch_order_start(&batch, &order), PLSM_NO_MEMORY);
    mem_fail_at(0);
    batch_free(&batch);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("batch order");
    TCase *tests = tcase_create("batch order");
    tcase_set_timeout(tests, 120);
    tcase_add_test(tests, as_a_plain_sort);
    tcase_add_test(tests, without_memory);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
