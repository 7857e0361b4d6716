/* What the benchmarks are made of: the Zipf distribution, keys, values and the shuffle. */
#include <check.h>
#include <math.h>
#include <stdlib.h>

#include "tools/bench/data.h"
#include "tools/bench/zipf.h"
#include "base/banned.h"

/* --- Zipf ------------------------------------------------------------------------------------------------------- */

enum { RANKS = 100, DRAWS = 1000000 };

/* Counts of many draws against the exact probabilities: chi-squared with 99 degrees of freedom is above 170 with a
 * chance of about 1e-5; a generator that is a few percent off at one popular rank is far above. Seeds are fixed. */
START_TEST(zipf_has_the_exact_distribution)
{
    static const double exponents[] = {0.5, 0.99, 1.0, 1.2};
    double s = exponents[_i], weights = 0, chi_squared = 0;
    static uint64_t counts[RANKS];
    struct random random;
    struct zipf zipf;
    memset(counts, 0, sizeof counts);
    random_seed(&random, 42);
    zipf_init(&zipf, RANKS, s);
    for (int i = 0; i < DRAWS; i++) {
        uint64_t rank = zipf_next(&zipf, &random);
        ck_assert_uint_lt(rank, RANKS);
        counts[rank]++;
    }
    for (int k = 1; k <= RANKS; k++)
        weights += pow(k, -s);
    for (int k = 1; k <= RANKS; k++) {
        double expected = DRAWS * pow(k, -s) / weights, off = (double)counts[k - 1] - expected;
        chi_squared += off * off / expected;
    }
    ck_assert_msg(chi_squared < 170, "s = %g: chi-squared %g", s, chi_squared);
    ck_assert_msg(chi_squared > 45, "s = %g: chi-squared %g is too good to be random", s, chi_squared);
}
END_TEST

START_TEST(zipf_at_the_edges)
{
    struct random random;
    struct zipf zipf;
    random_seed(&random, 7);
    zipf_init(&zipf, 1, 0.99);
    for (int i = 0; i < 1000; i++)
        ck_assert_uint_eq(zipf_next(&zipf, &random), 0);
    const uint64_t many = UINT64_C(1) << 40;
    uint64_t largest = 0;
    zipf_init(&zipf, many, 0.99);
    for (int i = 0; i < 100000; i++) {
        uint64_t rank = zipf_next(&zipf, &random);
        ck_assert_uint_lt(rank, many);
        largest = rank > largest ? rank : largest;
    }
    ck_assert_uint_gt(largest, many / 10); /* the tail is reached: about 8 % of the weight is behind it */
}
END_TEST

/* --- keys and values -------------------------------------------------------------------------------------------- */

START_TEST(shuffle_is_a_bijection)
{
    static const uint64_t sizes[] = {1, 2, 3, 4, 5, 1000, 1023, 1024, 1025, 65537};
    struct data data = {0};
    ck_assert_int_eq(data_init(&data, "random", sizes[_i / 3], 0, 0, (uint64_t)_i % 3), PLSM_OK);
    uint8_t *seen = calloc(1, data.keys);
    ck_assert_ptr_nonnull(seen);
    uint64_t in_place = 0;
    for (uint64_t i = 0; i < data.keys; i++) {
        uint64_t index = data_shuffled(&data, i);
        ck_assert_uint_lt(index, data.keys);
        ck_assert_msg(!seen[index], "%llu keys, seed %llu: %llu comes twice", (unsigned long long)data.keys,
                      (unsigned long long)data.seed, (unsigned long long)index);
        seen[index] = 1;
        in_place += index == i;
    }
    if (data.keys >= 1000)
        ck_assert_uint_lt(in_place, data.keys / 50);
    free(seen);
    data_free(&data);
}
END_TEST

enum { COUNT = 20000, MORE = 1000, GENERATED = 9 }; /* shapes that need no file come first */

struct stored {
    size_t size;
    uint8_t bytes[SHAPE_KEY_MAX];
};

static int compare_keys(const void *a, const void *b)
{
    const struct stored *one = a, *other = b;
    return slice_compare(slice(one->bytes, one->size), slice(other->bytes, other->size));
}

static void store(struct stored *to, plsm_slice key)
{
    to->size = key.size;
    memcpy(to->bytes, key.data, key.size);
}

/* Keys that are loaded, keys that are inserted later, and absent ones, of every shape that needs no file. */
START_TEST(keys_are_unique_and_absent_ones_differ)
{
    const struct shape *shape = &shapes[_i];
    struct data data = {0};
    uint8_t made[SHAPE_MADE_MAX], buffer[SHAPE_KEY_MAX];
    struct stored *keys = calloc(COUNT + MORE, sizeof *keys);
    ck_assert_ptr_nonnull(keys);
    ck_assert_ptr_null(shape->file);
    ck_assert_int_eq(data_init(&data, shape->name, COUNT, MORE, 100, 3), PLSM_OK);
    for (uint64_t i = 0; i < COUNT + MORE; i++)
        store(&keys[i], data_key(&data, i, made));
    for (uint64_t i = 1; i < COUNT && shape->ordered; i++)
        ck_assert_int_lt(compare_keys(&keys[i - 1], &keys[i]), 0);
    qsort(keys, COUNT + MORE, sizeof *keys, compare_keys);
    for (uint64_t i = 1; i < COUNT + MORE; i++)
        ck_assert_int_lt(compare_keys(&keys[i - 1], &keys[i]), 0);
    for (uint64_t i = 0; i < COUNT; i++) {
        struct stored absent;
        store(&absent, data_absent_key(&data, i, buffer));
        ck_assert_ptr_null(bsearch(&absent, keys, COUNT + MORE, sizeof *keys, compare_keys));
    }
    free(keys);
    data_free(&data);
}
END_TEST

/* Neighbours in the order of indexes are neighbours among keys, or are not, as the shape says. */
START_TEST(random_order_is_random_for_every_shape)
{
    struct data data = {0};
    uint8_t one[SHAPE_MADE_MAX], other[SHAPE_MADE_MAX];
    uint64_t ascents = 0;
    ck_assert_int_eq(data_init(&data, shapes[_i].name, COUNT, 0, 100, 5), PLSM_OK);
    for (uint64_t i = 1; i < COUNT; i++)
        ascents += slice_compare(data_key(&data, data_scattered(&data, i - 1), one),
                                 data_key(&data, data_scattered(&data, i), other)) < 0;
    /* Of random numbers half of the steps go up, give or take sqrt(COUNT / 12) = 41. */
    ck_assert_uint_gt(ascents, COUNT / 2 - 300);
    ck_assert_uint_lt(ascents, COUNT / 2 + 300);
    data_free(&data);
}
END_TEST

START_TEST(values_tell_keys_and_versions_apart)
{
    struct data data = {0};
    uint8_t one[SHAPE_MADE_MAX], two[SHAPE_MADE_MAX];
    unsigned mistaken = 0;
    ck_assert_int_eq(data_init(&data, shapes[_i].name, 1000, 1, 100, 1), PLSM_OK);
    for (uint64_t i = 0; i < 1000; i++) {
        plsm_slice name = data_key(&data, i, one), other = data_key(&data, i + 1, two);
        for (unsigned version = 0; version < 2; version++) {
            plsm_slice value = data_value(&data, name, version);
            ck_assert_uint_eq(value.size, 100);
            ck_assert_int_eq(data_version(&data, name, value), (int)version);
            ck_assert_int_eq(data_version(&data, name, slice(value.data, 99)), -1);
            mistaken += data_version(&data, other, value) >= 0;
        }
    }
    ck_assert_uint_le(mistaken, 1); /* chance: 2,000 times 2 in 131,072 */
    data_free(&data);
}
END_TEST

/* What a value is judged by is not read from where it was made. */
START_TEST(values_of_all_sizes_are_judged)
{
    static const uint32_t sizes[] = {0, 1, 3, 7, 8, 9, 100, 5000};
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
        struct data data = {0};
        uint8_t buffer[SHAPE_MADE_MAX], bytes[5000];
        ck_assert_int_eq(data_init(&data, _i ? "hex" : "random", 1000, 1, sizes[s], 7 + (uint64_t)_i), PLSM_OK);
        for (uint64_t i = 0; i < 1000; i++) {
            plsm_slice key = data_key(&data, i, buffer), value = data_value(&data, key, i % 2);
            if (value.size > 0)
                memcpy(bytes, value.data, value.size);
            int version = data_version(&data, key, slice(bytes, value.size));
            ck_assert_int_ge(version, 0);
            ck_assert(value.size < 8 || version == (int)(i % 2)); /* of few bytes both versions may be the same */
            if (value.size < 8)
                continue;
            bytes[i % 8] ^= (uint8_t)(1 << i % 7);
            ck_assert_int_eq(data_version(&data, key, slice(bytes, value.size)), -1);
        }
        data_free(&data);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("tools/bench");
    TCase *tests = tcase_create("data");
    tcase_add_loop_test(tests, values_of_all_sizes_are_judged, 0, 2);
    tcase_add_loop_test(tests, zipf_has_the_exact_distribution, 0, 4);
    tcase_add_test(tests, zipf_at_the_edges);
    tcase_add_loop_test(tests, shuffle_is_a_bijection, 0, 30);
    tcase_add_loop_test(tests, keys_are_unique_and_absent_ones_differ, 0, GENERATED);
    tcase_add_loop_test(tests, random_order_is_random_for_every_shape, 0, GENERATED);
    tcase_add_loop_test(tests, values_tell_keys_and_versions_apart, 0, GENERATED);
    tcase_set_timeout(tests, 120);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
