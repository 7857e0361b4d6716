/* Ribbons: no false negatives ever, false positives and sizes as promised, the same on every processor. */
#include <check.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/random.h"
#include "learn/ribbon_format.h"
#include "tests/harness/pool.h"

#include "base/banned.h"

enum { SEED = 20261121 };

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

/* Whether b has the hashes of a, each as often. Sorts b. */
static bool same_hashes(const uint64_t *a, uint64_t *b, size_t count)
{
    uint64_t *sorted = malloc((count + 1) * sizeof *sorted);
    if (count)
        memcpy(sorted, a, count * sizeof *sorted);
    qsort(sorted, count, sizeof *sorted, compare_hashes);
    qsort(b, count, sizeof *b, compare_hashes);
    bool same = count == 0 || memcmp(sorted, b, count * sizeof *b) == 0;
    free(sorted);
    return same;
}

static void all_are_found(const struct ribbon *ribbon, const uint64_t *hashes, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (!ribbon_may_contain(ribbon, hashes[i]))
            ck_abort_msg("%zu keys, %u bits: number %zu is denied", count, ribbon->bits, i);
    ck_assert_uint_eq(ribbon_missing(ribbon, hashes, count), 0);
}

/* Builds over a copy and checks that all are found, in both ways; the caller frees *out. */
static struct ribbon build(const uint64_t *hashes, size_t count, unsigned bits, struct buf *out)
{
    uint64_t *copy = malloc((count + 1) * sizeof *copy);
    struct ribbon ribbon, portable;
    if (count)
        memcpy(copy, hashes, count * sizeof *copy);
    ck_assert_int_eq(ribbon_build(copy, count, bits, out), PLSM_OK);
    ck_assert_msg(ribbon_open(buf_slice(out), &ribbon) == PLSM_OK, "%s", plsm_message());
    ck_assert_uint_eq(ribbon.bits, bits);
    ck_assert_uint_eq(ribbon.keys, count);
    portable = ribbon;
    portable.vectors = false;
    all_are_found(&ribbon, hashes, count);
    all_are_found(&portable, hashes, count);
    ck_assert_uint_eq(ribbon_missing(&ribbon, copy, count), 0);
    ck_assert(same_hashes(hashes, copy, count));
    free(copy);
    return ribbon;
}

START_TEST(nothing_is_denied_in_small_ribbons)
{
    for (size_t count = 0; count <= 1000; count += count < 80 ? 1 : setting("TEST_THIN", 1)) {
        for (unsigned bits = RIBBON_BITS_MIN; bits <= RIBBON_BITS_MAX; bits += count < 80 ? 1 : 5) {
            uint64_t *hashes = random_hashes(count, SEED + count);
            struct buf bytes = {0};
            build(hashes, count, bits, &bytes);
            buf_free(&bytes);
            free(hashes);
        }
    }
}
END_TEST

START_TEST(nothing_is_denied_in_large_ribbons)
{
    static const size_t counts[] = {1023, 4095, 4096, 4097, 20000, 60000, 133333, 500000, 3000000};
    size_t most = thinned(3000000);
    for (unsigned c = 0; c < sizeof counts / sizeof *counts && counts[c] <= most; c++) {
        uint64_t *hashes = random_hashes(counts[c], SEED + c);
        for (unsigned bits = 1 + c % 3; bits <= RIBBON_BITS_MAX; bits += counts[c] > 100000 ? 9 : 4) {
            struct buf bytes = {0};
            build(hashes, counts[c], bits, &bytes);
            buf_free(&bytes);
        }
        free(hashes);
    }
}
END_TEST

START_TEST(an_empty_ribbon_says_no)
{
    struct buf bytes = {0};
    struct ribbon ribbon = build(NULL, 0, 8, &bytes);
    ck_assert_uint_eq(bytes.size, RIBBON_HEADER_SIZE);
    for (uint64_t i = 0; i < 1000; i++)
        ck_assert(!ribbon_may_contain(&ribbon, i * 0x9e3779b97f4a7c15u));
    ck_assert_uint_eq(ribbon_missing(&ribbon, (uint64_t[]){1, 2, 3}, 3), 3);
    ribbon_prefetch(&ribbon, 1);
    buf_free(&bytes);
}
END_TEST

/* Weak hashes are mixed by the ribbon itself: counters, multiples of 2^32, equal low or high halves. */
START_TEST(hashes_need_not_be_random)
{
    for (unsigned shift = 0; shift <= 44; shift += 11) {
        uint64_t *hashes = malloc(100000 * sizeof *hashes);
        for (uint64_t i = 0; i < 100000; i++)
            hashes[i] = i << shift;
        struct buf bytes = {0};
        build(hashes, 100000, 8, &bytes);
        ck_assert_uint_lt(bytes.size, 100000 * 102 / 100);
        buf_free(&bytes);
        free(hashes);
    }
}
END_TEST

START_TEST(hashes_may_repeat)
{
    static const size_t counts[] = {2, 3, 10, 1000, 100000};
    for (unsigned c = 0; c < 5; c++) {
        size_t count = counts[c];
        for (size_t distinct = 1; distinct <= count; distinct = distinct * 7 + 2) {
            uint64_t *hashes = random_hashes(count, SEED);
            for (size_t i = 0; i < count; i++)
                hashes[i] = hashes[i % distinct];
            struct buf bytes = {0};
            build(hashes, count, 1 + c * 3, &bytes);
            buf_free(&bytes);
            free(hashes);
        }
    }
}
END_TEST

/* The hash that ribbon_mix turns into `mixed`, by undoing its steps in turn. */
static uint64_t unmix(uint64_t mixed)
{
    const uint64_t inverses[] = {0x9cb4b2f8129337dbu, 0x4f74430c22a54005u};
    for (int i = 0; i < 2; i++)
        mixed = (mixed ^ mixed >> 33) * inverses[i];
    return (mixed ^ mixed >> 33) - RIBBON_SEED;
}

/* Thousands of hashes that all start in one place of the first layer, which takes 64 of them. */
START_TEST(a_crowd_goes_to_the_next_layer)
{
    enum { KEYS = 20000, CROWD = 5000 };
    uint64_t *hashes = random_hashes(KEYS, SEED);
    for (uint64_t i = 0; i < CROWD; i++) {
        uint64_t mixed = UINT64_C(0x7123456700000000) + i * 7919;
        hashes[i] = unmix(mixed);
        ck_assert_uint_eq(ribbon_mix(hashes[i]), mixed);
    }
    struct buf bytes = {0};
    struct ribbon ribbon = build(hashes, KEYS, 7, &bytes);
    ck_assert_uint_ge(ribbon.layers[1].starts, CROWD * 9 / 10);
    buf_free(&bytes);
    /* And nothing else: the one place takes a few, the next layer nearly all. */
    ribbon = build(hashes, CROWD, 16, &bytes);
    ck_assert_uint_lt(bytes.size, CROWD * 2 * 23 / 10);
    buf_free(&bytes);
    free(hashes);
}
END_TEST

START_TEST(false_positives_are_as_promised)
{
    enum { KEYS = 100000, BATCH = 4096 };
    unsigned bits = (unsigned)_i;
    uint64_t *hashes = random_hashes(KEYS, SEED), probe[BATCH];
    struct buf bytes = {0};
    struct ribbon ribbon = build(hashes, KEYS, bits, &bytes);
    uint64_t probes = UINT64_C(2000) << bits >> (bits > 12 ? 2 : 0), positives = 0;
    struct random random;
    random_seed(&random, SEED + 1);
    probes = (probes + BATCH - 1) / BATCH * BATCH;
    for (uint64_t done = 0; done < probes; done += BATCH) {
        for (unsigned i = 0; i < BATCH; i++)
            probe[i] = random_next(&random);
        positives += BATCH - ribbon_missing(&ribbon, probe, BATCH);
    }
    /* Binomial: within five standard deviations, squared to stay with integers. */
    int64_t expected = (int64_t)(probes >> bits), away = (int64_t)positives - expected;
    ck_assert_msg(away * away <= 25 * expected, "%u bits: %" PRIu64 " of %" PRIu64 " instead of %" PRId64, bits,
                  positives, probes, expected);
    buf_free(&bytes);
    free(hashes);
}
END_TEST

START_TEST(size_is_as_promised)
{
    static const struct {
        size_t count;
        unsigned overhead_per_1000, bits_first; /* of the result bits, from so many of these on */
    } rows[] = {{1000, 400, 1}, {1000, 200, 5},  {10000, 60, 1}, {10000, 30, 5},
                {60000, 30, 1}, {500000, 16, 1}, {500000, 9, 7}, {2000000, 15, 1}};
    for (unsigned i = 0; i < sizeof rows / sizeof *rows; i++) {
        uint64_t *hashes = random_hashes(rows[i].count, SEED + i);
        for (unsigned bits = rows[i].bits_first; bits <= RIBBON_BITS_MAX; bits += rows[i].count > 100000 ? 5 : 1) {
            struct buf bytes = {0};
            ck_assert_int_eq(ribbon_build(hashes, rows[i].count, bits, &bytes), PLSM_OK);
            ck_assert_msg(bytes.size * 8 * 1000 <= rows[i].count * bits * (1000 + rows[i].overhead_per_1000),
                          "%zu keys, %u bits: %zu bytes", rows[i].count, bits, bytes.size);
            buf_free(&bytes);
        }
        free(hashes);
    }
}
END_TEST

/* With vector instructions and without: the same bytes, the same answers. */
START_TEST(every_processor_answers_alike)
{
    static const size_t counts[] = {30, 700, 9000};
    for (unsigned c = 0; c < 3; c++) {
        for (unsigned bits = RIBBON_BITS_MIN; bits <= RIBBON_BITS_MAX; bits++) {
            uint64_t *hashes = random_hashes(counts[c], SEED), *again = random_hashes(counts[c], SEED);
            uint64_t *others = random_hashes(5000, SEED + 1);
            struct buf a = {0}, b = {0};
            struct ribbon ribbon, portable;
            ck_assert_int_eq(ribbon_build(hashes, counts[c], bits, &a), PLSM_OK);
            ck_assert_int_eq(ribbon_build_with(again, counts[c], bits, false, &b), PLSM_OK);
            ck_assert(slice_equal(buf_slice(&a), buf_slice(&b)));
            ck_assert_int_eq(ribbon_open(buf_slice(&a), &ribbon), PLSM_OK);
            portable = ribbon;
            portable.vectors = false;
            size_t missing = 0;
            for (size_t i = 0; i < 5000; i++) {
                bool answer = ribbon_may_contain(&ribbon, others[i]);
                ck_assert(answer == ribbon_may_contain(&portable, others[i]));
                missing += !answer;
            }
            ck_assert_uint_eq(ribbon_missing(&ribbon, others, 5000), missing);
            ck_assert_uint_eq(ribbon_missing(&portable, others, 5000), missing);
            buf_free(&a);
            buf_free(&b);
            free(hashes);
            free(again);
            free(others);
        }
    }
}
END_TEST

START_TEST(what_cannot_be_built_is_refused)
{
    uint64_t hash = 1;
    struct buf bytes = {0};
    ck_assert_int_eq(ribbon_build(&hash, 1, 0, &bytes), PLSM_INVALID);
    ck_assert_int_eq(ribbon_build(&hash, 1, 17, &bytes), PLSM_INVALID);
    ck_assert_int_eq(ribbon_build(&hash, (size_t)1 << 29, 8, &bytes), PLSM_TOO_LARGE);
    ck_assert_uint_eq(bytes.size, 0);
    buf_free(&bytes);
}
END_TEST

/* Opens bytes that may be damaged, copied to their very size for ASan: an error, or answers without a stray read. */
static bool try_open(const uint8_t *bytes, size_t size)
{
    uint8_t *copy = malloc(size + !size);
    struct ribbon ribbon;
    struct random random;
    uint64_t probes[100];
    memcpy(copy, bytes, size);
    random_seed(&random, SEED);
    plsm_status status = ribbon_open(slice(copy, size), &ribbon);
    ck_assert(status == PLSM_OK || status == PLSM_CORRUPT);
    if (status == PLSM_OK) {
        size_t missing = 0;
        for (int i = 0; i < 100; i++) {
            probes[i] = random_next(&random);
            ribbon_prefetch(&ribbon, probes[i]);
            missing += !ribbon_may_contain(&ribbon, probes[i]);
        }
        ribbon.vectors = false;
        ck_assert_uint_eq(ribbon_missing(&ribbon, probes, 100), missing);
    }
    free(copy);
    return status == PLSM_OK;
}

START_TEST(damage_is_harmless)
{
    static const struct {
        size_t count;
        unsigned bits;
    } rows[] = {{0, 8}, {1, 1}, {9, 16}, {300, 3}, {700, 7}};
    for (unsigned r = 0; r < sizeof rows / sizeof *rows; r++) {
        uint64_t *hashes = random_hashes(rows[r].count, SEED);
        struct buf bytes = {0};
        build(hashes, rows[r].count, rows[r].bits, &bytes);
        for (size_t at = 0; at < bytes.size; at++) {
            uint8_t whole = bytes.data[at];
            for (unsigned value = 0; value < 256; value++) {
                bytes.data[at] = (uint8_t)value;
                bool opened = try_open(bytes.data, bytes.size);
                bool free_to_change = (at >= RIBBON_KEYS && at < RIBBON_BLOCKS) || at >= RIBBON_HEADER_SIZE;
                /* Without layers nothing depends on the number of bits; some sizes fit others by chance. */
                bool may_fit = at == RIBBON_BITS || at == RIBBON_LAYERS || at >= RIBBON_EXCEPTIONS;
                ck_assert_msg(free_to_change || value == whole || !opened || may_fit, "byte %zu may not be %u", at,
                              value);
                ck_assert(!free_to_change || opened);
            }
            bytes.data[at] = whole;
        }
        for (size_t size = 0; size < bytes.size; size++)
            ck_assert(!try_open(bytes.data, size));
        ck_assert_int_eq(buf_append(&bytes, "", 1), PLSM_OK);
        ck_assert(!try_open(bytes.data, bytes.size));
        buf_free(&bytes);
        free(hashes);
    }
}
END_TEST

/* Headers of random sizes, with as many random bytes behind them as they ask for. */
START_TEST(noise_is_harmless)
{
    struct random random;
    random_seed(&random, SEED);
    for (int round = 0; round < 3000; round++) {
        uint8_t bytes[RIBBON_HEADER_SIZE + 40000];
        uint32_t bits = 1 + (uint32_t)random_below(&random, RIBBON_BITS_MAX);
        uint32_t layers = (uint32_t)random_below(&random, RIBBON_LAYERS_MAX + 1);
        uint32_t exceptions = (uint32_t)random_below(&random, 50);
        size_t size = RIBBON_HEADER_SIZE + exceptions * sizeof(uint64_t);
        for (size_t i = 0; i < sizeof bytes; i += 8)
            put_u64(bytes + i, random_next(&random));
        memset(bytes, 0, RIBBON_HEADER_SIZE);
        bytes[0] = RIBBON_FORMAT;
        bytes[RIBBON_BITS] = (uint8_t)bits;
        bytes[RIBBON_LAYERS] = (uint8_t)layers;
        put_u32(bytes + RIBBON_EXCEPTIONS, exceptions);
        for (uint32_t i = 0; i < layers; i++) {
            uint32_t blocks = 2 + (uint32_t)random_below(&random, 40);
            put_u32(bytes + RIBBON_BLOCKS + 4 * i, blocks);
            size += ribbon_words_size(blocks, bits) + ribbon_codes_size(blocks);
        }
        if (size <= sizeof bytes)
            ck_assert(try_open(bytes, size));
        /* Sizes that are not there. */
        put_u32(bytes + RIBBON_BLOCKS, (uint32_t)random_next(&random));
        ck_assert(!try_open(bytes, sizeof bytes));
    }
}
END_TEST

START_TEST(failed_allocations_are_reported)
{
    static const size_t counts[] = {0, 5, 2000, 2000000}; /* the last needs mapped memory */
    uint64_t *hashes = random_hashes(2000000, SEED);
    for (unsigned c = 0; c < 4; c++) {
        bool done = false;
        for (uint64_t nth = 1; !done; nth++) {
            struct buf bytes = {0};
            ck_assert_int_eq(buf_append(&bytes, "before", 6), PLSM_OK);
            mem_fail_at(nth);
            plsm_status status = ribbon_build(hashes, counts[c], 2, &bytes);
            done = mem_count() < nth;
            mem_fail_at(0);
            ck_assert_int_eq(status, done ? PLSM_OK : PLSM_NO_MEMORY);
            ck_assert(done || bytes.size == 6);
            ck_assert(memcmp(bytes.data, "before", 6) == 0);
            buf_free(&bytes);
        }
    }
    free(hashes);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("ribbon");
    TCase *answers = tcase_create("answers"), *safe = tcase_create("safe");
    tcase_set_timeout(answers, 240);
    tcase_set_timeout(safe, 120);
    tcase_add_test(answers, nothing_is_denied_in_small_ribbons);
    tcase_add_test(answers, nothing_is_denied_in_large_ribbons);
    tcase_add_test(answers, an_empty_ribbon_says_no);
    tcase_add_test(answers, hashes_need_not_be_random);
    tcase_add_test(answers, hashes_may_repeat);
    tcase_add_test(answers, a_crowd_goes_to_the_next_layer);
    tcase_add_loop_test(answers, false_positives_are_as_promised, RIBBON_BITS_MIN, RIBBON_BITS_MAX + 1);
    tcase_add_test(answers, size_is_as_promised);
    tcase_add_test(answers, every_processor_answers_alike);
    tcase_add_test(safe, what_cannot_be_built_is_refused);
    tcase_add_test(safe, damage_is_harmless);
    tcase_add_test(safe, noise_is_harmless);
    tcase_add_test(safe, failed_allocations_are_reported);
    suite_add_tcase(suite, answers);
    suite_add_tcase(suite, safe);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
