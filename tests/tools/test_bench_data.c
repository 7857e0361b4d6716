/* What the benchmarks are made of: the Zipf distribution, keys, values and the shuffle. */
#include <check.h>
#include <math.h>
#include <stdlib.h>

#include "tools/bench/data.c"
#include "tools/bench/zipf.c"
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
    struct data data = {.keys = sizes[_i / 3], .seed = (uint64_t)_i % 3};
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
}
END_TEST

static int compare_keys(const void *a, const void *b)
{
    return memcmp(a, b, DATA_KEY_SIZE);
}

START_TEST(keys_are_unique_and_absent_ones_differ)
{
    enum { COUNT = 20000 };
    static uint8_t keys[2 * COUNT][DATA_KEY_SIZE];
    struct data data = {0};
    ck_assert_int_eq(data_init(&data, COUNT, 100, _i == 1, 3), PLSM_OK);
    for (uint64_t i = 0; i < COUNT; i++) {
        data_key(&data, i, keys[i]);
        if (_i == 1 && i > 0) /* decimal keys come in the order of their indexes */
            ck_assert_int_lt(compare_keys(keys[i - 1], keys[i]), 0);
        data_absent_key(&data, i, keys[COUNT + i]);
    }
    qsort(keys, 2 * COUNT, DATA_KEY_SIZE, compare_keys);
    for (int i = 1; i < 2 * COUNT; i++)
        ck_assert_int_lt(compare_keys(keys[i - 1], keys[i]), 0);
    data_free(&data);
}
END_TEST

START_TEST(values_tell_keys_and_versions_apart)
{
    struct data data = {0};
    uint8_t key[DATA_KEY_SIZE], other[DATA_KEY_SIZE];
    unsigned mistaken = 0;
    ck_assert_int_eq(data_init(&data, 1000, 100, false, 1), PLSM_OK);
    for (uint64_t i = 0; i < 1000; i++) {
        data_key(&data, i, key);
        data_key(&data, i + 1, other);
        plsm_slice name = slice(key, sizeof key);
        for (unsigned version = 0; version < 2; version++) {
            plsm_slice value = data_value(&data, key, version);
            ck_assert_uint_eq(value.size, 100);
            ck_assert_int_eq(data_version(&data, name, value), (int)version);
            ck_assert_int_eq(data_version(&data, name, slice(value.data, 99)), -1);
            mistaken += data_version(&data, slice(other, sizeof other), value) >= 0;
        }
    }
    ck_assert_uint_le(mistaken, 1); /* chance: 2000 times 2 in a million */
    data_free(&data);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("tools/bench");
    TCase *tests = tcase_create("data");
    tcase_add_loop_test(tests, zipf_has_the_exact_distribution, 0, 4);
    tcase_add_test(tests, zipf_at_the_edges);
    tcase_add_loop_test(tests, shuffle_is_a_bijection, 0, 30);
    tcase_add_loop_test(tests, keys_are_unique_and_absent_ones_differ, 0, 2);
    tcase_add_test(tests, values_tell_keys_and_versions_apart);
    tcase_set_timeout(tests, 120);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
