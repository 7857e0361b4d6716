/* Filters: no false negatives ever, false positives as promised, and the policy that gives bits to levels. */
#include <check.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/random.h"
#include "learn/filter.h"

#include "base/banned.h"

enum { SEED = 20240607, HEADER = 32 };

static uint64_t *random_hashes(size_t count, uint64_t seed)
{
    uint64_t *hashes = malloc((count + 1) * sizeof *hashes);
    struct random random;
    random_seed(&random, seed);
    for (size_t i = 0; i < count; i++)
        hashes[i] = random_next(&random);
    return hashes;
}

static int compare_hashes(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* Whether `reordered`, as a build left it, holds the distinct ones of `hashes` in its first `keys` places. */
static bool same_hashes(const uint64_t *hashes, uint64_t *reordered, size_t count, size_t keys)
{
    size_t distinct = 0;
    uint64_t *sorted = malloc((count + 1) * sizeof *sorted);
    if (count)
        memcpy(sorted, hashes, count * sizeof *sorted);
    qsort(sorted, count, sizeof *sorted, compare_hashes);
    qsort(reordered, keys, sizeof *reordered, compare_hashes);
    for (size_t i = 0; i < count; i++)
        if (i == 0 || sorted[i] != sorted[i - 1])
            sorted[distinct++] = sorted[i];
    bool same = distinct == keys && (keys == 0 || memcmp(sorted, reordered, keys * sizeof *sorted) == 0);
    free(sorted);
    return same;
}

/* Builds over a copy and checks that all are found; the caller frees *out. */
static struct filter build(const uint64_t *hashes, size_t count, unsigned bits, struct buf *out)
{
    uint64_t *copy = malloc((count + 1) * sizeof *copy);
    struct filter filter;
    if (count)
        memcpy(copy, hashes, count * sizeof *copy);
    ck_assert_int_eq(filter_build(copy, count, bits, out), PLSM_OK);
    ck_assert_msg(filter_open(buf_slice(out), &filter) == PLSM_OK, "%s", plsm_message());
    ck_assert_uint_eq(filter.bits, bits);
    ck_assert_uint_eq(filter_missing(&filter, hashes, count), 0);
    ck_assert_uint_eq(filter_missing(&filter, copy, count), 0);
    ck_assert(count > 1000000 || same_hashes(hashes, copy, count, filter.keys));
    free(copy);
    for (size_t i = 0; i < count; i++)
        if (!filter_may_contain(&filter, hashes[i]))
            ck_abort_msg("%zu keys, %u bits: number %zu is denied", count, bits, i);
    return filter;
}

START_TEST(nothing_is_denied_in_small_filters)
{
    for (size_t count = 0; count <= 500; count++) {
        for (unsigned bits = FILTER_BITS_LEAST; bits <= FILTER_BITS_MAX; bits += count < 40 ? 1 : 3) {
            uint64_t *hashes = random_hashes(count, SEED + count);
            struct buf bytes = {0};
            struct filter filter = build(hashes, count, bits, &bytes);
            ck_assert_uint_eq(filter.keys, count);
            ck_assert_uint_ne(filter.segment_length == 0, count != 0); /* never the filter that says yes to all */
            buf_free(&bytes);
            free(hashes);
        }
    }
}
END_TEST

START_TEST(nothing_is_denied_in_large_filters)
{
    struct random random;
    random_seed(&random, SEED);
    for (int i = 0; i < 30; i++) {
        size_t count = random_below(&random, UINT64_C(1) << (9 + i % 12));
        count = i == 0 ? 1000000 : count;
        uint64_t *hashes = random_hashes(count, SEED + (uint64_t)i);
        struct buf bytes = {0};
        build(hashes, count, FILTER_BITS_LEAST + (unsigned)i % FILTER_BITS_MAX, &bytes);
        buf_free(&bytes);
        free(hashes);
    }
}
END_TEST

/* So many segments that a step of the sweep takes several, and so much scratch memory that it is mapped. */
START_TEST(nothing_is_denied_in_very_large_filters)
{
    enum { KEYS = 8000000 };
    uint64_t *hashes = random_hashes(KEYS, SEED);
    struct buf bytes = {0};
    struct filter filter = build(hashes, KEYS, 8, &bytes);
    ck_assert_uint_gt(filter.segment_count_length / filter.segment_length, 1024);
    ck_assert_uint_lt(bytes.size * 8, KEYS * UINT64_C(900) / 100);
    buf_free(&bytes);
    free(hashes);
}
END_TEST

START_TEST(size_is_as_promised)
{
    static const struct {
        size_t count, bits_per_1000_keys;
    } rows[] = {
        {1000, 11600},  {3000, 10700},  {10000, 10100}, {30000, 9750},  {60000, 9450},  {100000, 9350}, {200000, 9300},
        {400000, 9200}, {500000, 9100}, {510000, 9100}, {540000, 9100}, {550000, 9100}, {600000, 9100}, {1000000, 9100},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        uint64_t *hashes = random_hashes(rows[i].count, SEED);
        struct buf bytes = {0};
        build(hashes, rows[i].count, 8, &bytes);
        ck_assert_msg(bytes.size * 8 * 1000 <= rows[i].count * rows[i].bits_per_1000_keys, "%zu keys: %zu bytes",
                      rows[i].count, bytes.size);
        buf_free(&bytes);
        free(hashes);
    }
}
END_TEST

/* All together, hashes get the answers that they get one by one. */
START_TEST(missing_hashes_are_counted)
{
    uint64_t *hashes = random_hashes(700, SEED), *others = random_hashes(700, SEED + 1);
    for (unsigned bits = FILTER_BITS_MIN; bits <= FILTER_BITS_MAX; bits++) {
        struct buf bytes = {0};
        struct filter filter = build(hashes, 350, bits, &bytes);
        memcpy(others, hashes + 100, 350 * sizeof *others); /* members and strangers, half and half */
        size_t missing = 0;
        for (size_t count = 0; count <= 700; count++) {
            ck_assert_uint_eq(filter_missing(&filter, others, count), missing);
            missing += count < 700 && !filter_may_contain(&filter, others[count]);
        }
        ck_assert_uint_gt(missing, 300);
        buf_free(&bytes);
    }
    free(hashes);
    free(others);
}
END_TEST

START_TEST(an_empty_filter_says_no)
{
    struct buf bytes = {0};
    struct filter filter = build(NULL, 0, 8, &bytes);
    ck_assert_uint_eq(bytes.size, HEADER);
    for (uint64_t i = 0; i < 1000; i++)
        ck_assert(!filter_may_contain(&filter, i * 0x9e3779b97f4a7c15u));
    filter_prefetch(&filter, 1);
    ck_assert_uint_eq(filter_missing(&filter, (uint64_t[]){1, 2, 3}, 3), 3);
    /* The same without slots but with keys: what a build that found no seed would leave. */
    bytes.data[8] = 1;
    ck_assert_int_eq(filter_open(buf_slice(&bytes), &filter), PLSM_OK);
    ck_assert(filter_may_contain(&filter, 12345));
    ck_assert_uint_eq(filter_missing(&filter, (uint64_t[]){1, 2, 3}, 3), 0);
    buf_free(&bytes);
}
END_TEST

/* Weak hashes are mixed by the filter itself: counters, multiples of 2^32, equal low or high halves. */
START_TEST(hashes_need_not_be_random)
{
    for (unsigned shift = 0; shift <= 44; shift += 11) {
        uint64_t *hashes = malloc(100000 * sizeof *hashes);
        for (uint64_t i = 0; i < 100000; i++)
            hashes[i] = i << shift;
        struct buf bytes = {0};
        struct filter filter = build(hashes, 100000, 8, &bytes);
        ck_assert_uint_eq(filter.keys, 100000);
        ck_assert_uint_lt(bytes.size, 100000 * 10 / 8);
        buf_free(&bytes);
        free(hashes);
    }
}
END_TEST

START_TEST(repeated_hashes_count_once)
{
    static const size_t counts[] = {2, 3, 10, 1000, 100000};
    for (unsigned c = 0; c < 5; c++) {
        size_t count = counts[c];
        uint64_t *hashes = random_hashes(count, SEED);
        struct buf bytes = {0};
        for (size_t i = 1; i < count; i += 2) /* neighbours, as the versions of a key are */
            hashes[i] = hashes[i - 1];
        struct filter filter = build(hashes, count, 8, &bytes);
        ck_assert_uint_eq(filter.keys, (count + 1) / 2);
        buf_free(&bytes);
        for (size_t i = 0; i < count / 2; i++) /* far apart */
            hashes[count - 1 - i] = hashes[i];
        filter = build(hashes, count, 8, &bytes);
        ck_assert_uint_le(filter.keys, (count + 1) / 2);
        buf_free(&bytes);
        for (size_t i = 0; i < count; i++) /* so many that the users of a slot cannot be counted */
            hashes[i] = i % 3 * 1000;
        filter = build(hashes, count, 8, &bytes);
        ck_assert_uint_eq(filter.keys, count < 3 ? count : 3);
        buf_free(&bytes);
        for (size_t i = 0; i < count; i++)
            hashes[i] = 42;
        filter = build(hashes, count, 8, &bytes);
        ck_assert_uint_eq(filter.keys, 1);
        buf_free(&bytes);
        free(hashes);
    }
}
END_TEST

START_TEST(false_positives_are_as_promised)
{
    enum { KEYS = 100000 };
    unsigned bits = (unsigned)_i;
    uint64_t *hashes = random_hashes(KEYS, SEED);
    struct buf bytes = {0};
    struct filter filter = build(hashes, KEYS, bits, &bytes);
    /* So many probes that 15 % are more than five standard deviations. */
    uint64_t probes = UINT64_C(1200) << bits, positives = 0;
    struct random random;
    random_seed(&random, SEED + 1);
    for (uint64_t i = 0; i < probes; i++)
        positives += filter_may_contain(&filter, random_next(&random));
    double ratio = (double)positives / 1200;
    ck_assert_msg(ratio > 0.85 && ratio < 1.15, "%u bits: %.3f times 2^-%u", bits, ratio, bits);
    ck_assert_uint_lt(bytes.size * 8, KEYS * (uint64_t)bits * 122 / 100);
    buf_free(&bytes);
    free(hashes);
}
END_TEST

START_TEST(the_same_keys_give_the_same_bytes)
{
    uint64_t *hashes = random_hashes(5000, SEED), *again = random_hashes(5000, SEED);
    struct buf a = {0}, b = {0};
    ck_assert_int_eq(filter_build(hashes, 5000, 9, &a), PLSM_OK);
    ck_assert_int_eq(filter_build(again, 5000, 9, &b), PLSM_OK);
    ck_assert(slice_equal(buf_slice(&a), buf_slice(&b)));
    ck_assert_int_eq(filter_build(hashes, 5000, 0, &a), PLSM_INVALID);
    ck_assert_int_eq(filter_build(hashes, 5000, 17, &a), PLSM_INVALID);
    ck_assert_int_eq(filter_build(hashes, (size_t)1 << 29, 8, &a), PLSM_TOO_LARGE);
    buf_free(&a);
    buf_free(&b);
    free(hashes);
    free(again);
}
END_TEST

/* Opens bytes that may be damaged, copied to their very size for ASan: an error, or answers without a stray read. */
static bool try_open(const uint8_t *bytes, size_t size)
{
    uint8_t *copy = malloc(size + !size);
    struct filter filter;
    struct random random;
    memcpy(copy, bytes, size);
    random_seed(&random, SEED);
    plsm_status status = filter_open(slice(copy, size), &filter);
    ck_assert(status == PLSM_OK || status == PLSM_CORRUPT);
    bool alike = true;
    for (int i = 0; status == PLSM_OK && i < 300; i++) {
        uint64_t probe = random_next(&random);
        filter_prefetch(&filter, probe);
        alike &= filter_missing(&filter, &probe, 1) == !filter_may_contain(&filter, probe);
    }
    ck_assert(alike);
    free(copy);
    return status == PLSM_OK;
}

START_TEST(damage_is_harmless)
{
    static const size_t counts[] = {0, 1, 300};
    for (unsigned c = 0; c < 3; c++) {
        uint64_t *hashes = random_hashes(counts[c], SEED);
        struct buf bytes = {0};
        build(hashes, counts[c], 11, &bytes);
        for (size_t at = 0; at < bytes.size; at++) {
            uint8_t whole = bytes.data[at];
            for (unsigned value = 0; value < 256; value++) {
                bytes.data[at] = (uint8_t)value;
                bool opened = try_open(bytes.data, bytes.size);
                bool free_to_change = (at >= 8 && at < 24) || at >= HEADER; /* count, seed, fingerprints */
                ck_assert_msg(free_to_change || value == whole || !opened || at == 1 || (at >= 4 && at < 8) ||
                                  (at >= 24 && at < 28),
                              "byte %zu may not be %u", at, value);
            }
            bytes.data[at] = whole;
        }
        for (size_t size = 0; size < bytes.size; size++)
            ck_assert(!try_open(bytes.data, size));
        buf_free(&bytes);
        free(hashes);
    }
}
END_TEST

static void fail_each_allocation(uint64_t *hashes, size_t count)
{
    bool done = false;
    for (uint64_t nth = 1; !done; nth++) {
        struct buf bytes = {0};
        mem_fail_at(nth);
        plsm_status status = filter_build(hashes, count, 8, &bytes);
        done = mem_count() < nth;
        mem_fail_at(0);
        ck_assert_int_eq(status, done ? PLSM_OK : PLSM_NO_MEMORY);
        buf_free(&bytes);
    }
}

START_TEST(failed_allocations_are_reported)
{
    uint64_t *hashes = random_hashes(1500000, SEED);
    hashes[1999] = hashes[0]; /* the way through sorting as well */
    fail_each_allocation(hashes, 2000);
    fail_each_allocation(hashes, 1500000); /* mapped memory */
    free(hashes);
}
END_TEST

START_TEST(bits_follow_monkey)
{
    static const struct {
        unsigned level, last_level, bits_last, size_ratio, expected;
    } rows[] = {
        {0, 3, 8, 10, 16},
        {1, 3, 8, 10, 14},
        {2, 3, 8, 10, 11},
        {3, 3, 8, 10, 8}, /* the example in filter.h */
        {4, 3, 8, 10, 8}, /* below the last level: as the last */
        {0, 0, 8, 10, 8},
        {0, 1, 4, 2, 5},
        {0, 4, 4, 2, 8},
        {0, 6, 10, 4, 16},
        {2, 3, 9, 1, 9},
        {0, 3, 9, 0, 9},
        {0, 0, 1, 10, 4},
        {0, 0, 40, 10, 16},
        {0, 1, 8, UINT32_MAX, 16},
        {0, UINT32_MAX, 8, 2, 16},
        {0, UINT32_MAX, 8, UINT32_MAX, 16},
        {5, 6, 8, 8, 11},
        {4, 6, 8, 8, 14},
        {3, 6, 8, 8, 16},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        unsigned bits = filter_bits_for_level(rows[i].level, rows[i].last_level, rows[i].bits_last, rows[i].size_ratio);
        ck_assert_msg(bits == rows[i].expected, "row %zu: %u bits instead of %u", i, bits, rows[i].expected);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("filter");
    TCase *answers = tcase_create("answers"), *safe = tcase_create("safe"), *policy = tcase_create("policy");
    tcase_set_timeout(answers, 240);
    tcase_set_timeout(safe, 120);
    tcase_add_test(answers, nothing_is_denied_in_small_filters);
    tcase_add_test(answers, nothing_is_denied_in_large_filters);
    tcase_add_test(answers, nothing_is_denied_in_very_large_filters);
    tcase_add_test(answers, size_is_as_promised);
    tcase_add_test(answers, missing_hashes_are_counted);
    tcase_add_test(answers, an_empty_filter_says_no);
    tcase_add_test(answers, hashes_need_not_be_random);
    tcase_add_test(answers, repeated_hashes_count_once);
    tcase_add_loop_test(answers, false_positives_are_as_promised, FILTER_BITS_LEAST, FILTER_BITS_MAX + 1);
    tcase_add_test(answers, the_same_keys_give_the_same_bytes);
    tcase_add_test(safe, damage_is_harmless);
    tcase_add_test(safe, failed_allocations_are_reported);
    tcase_add_test(policy, bits_follow_monkey);
    suite_add_tcase(suite, answers);
    suite_add_tcase(suite, safe);
    suite_add_tcase(suite, policy);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
