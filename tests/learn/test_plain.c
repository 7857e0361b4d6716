/* What index=classic has in the place of fences and filters: plain fences, a Bloom filter. Exact, as often wrong as
 * promised, harmless when damaged. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/random.h"
#include "learn/blocked.h"
#include "learn/bloom.h"
#include "learn/fences.h"
#include "learn/filter.h"
#include "learn/plain_fences.h"
#include "tests/harness/key_sets.h"

#include "base/banned.h"

enum { SEED = 20240607, BLOOM_HEADER = 24 };

/* --- fences ------------------------------------------------------------------------------------------------------- */

static plsm_status add(void *arg, plsm_slice last, plsm_slice first)
{
    return fences_builder_add(arg, last, first);
}

static plsm_status build_fences(const struct key_set *set, struct buf *out)
{
    struct fences_builder *b = fences_builder_create_plain();
    if (!b)
        return PLSM_NO_MEMORY;
    plsm_status status = key_set_borders(set, add, b);
    if (status == PLSM_OK)
        status = fences_builder_finish(b, out);
    fences_builder_destroy(b);
    return status;
}

static void check_fences(const struct fences *fences, const struct key_set *set)
{
    uint8_t near[9000];
    struct random random;
    random_seed(&random, SEED);
    ck_assert_uint_eq(fences_pages(fences), set->page_count);
    for (size_t i = 0; i < set->count; i++) {
        if (i > 0 && slice_equal(set->keys[i], set->keys[i - 1]))
            continue;
        if (fences_find(fences, set->keys[i]) != set->pages[i])
            ck_abort_msg("key %zu is on page %u, not %u", i, set->pages[i], fences_find(fences, set->keys[i]));
    }
    for (size_t i = 0; i < 2 * set->count + 100; i++) {
        plsm_slice key = slice(near, key_set_mutate(set, &random, near, sizeof near));
        struct page_range expected = key_set_expected(set, key);
        uint32_t page = fences_find(fences, key);
        if (page < expected.low || page > expected.high)
            ck_abort_msg("mutation %zu: page %u instead of %u to %u", i, page, expected.low, expected.high);
    }
    ck_assert_uint_eq(fences_find(fences, (plsm_slice){0}), 0);
}

START_TEST(fences_are_exact)
{
    static const size_t counts[] = {1, 2, 3, 17, 4000};
    for (unsigned c = 0; c < 5; c++) {
        for (unsigned keys = 1; keys <= 40; keys += 13) {
            struct key_set *set = key_set_create((enum key_shape)_i, counts[c], keys, SEED + c);
            struct buf bytes = {0};
            struct fences *fences = NULL;
            ck_assert_int_eq(build_fences(set, &bytes), PLSM_OK);
            ck_assert_msg(fences_open(buf_slice(&bytes), &fences) == PLSM_OK, "%s", plsm_message());
            ck_assert_uint_ge(fences_memory(fences), bytes.size);
            memset(bytes.data, 0xee, bytes.size); /* it has a copy */
            check_fences(fences, set);
            fences_close(fences);
            buf_free(&bytes);
            key_set_destroy(set);
        }
    }
}
END_TEST

/* A key whose versions fill pages 1 to 3 is found on page 1, and one right behind it on page 3 or 4. */
START_TEST(a_key_over_many_pages_is_found_on_its_first)
{
    struct fences_builder *b = fences_builder_create_plain();
    struct fences *fences = NULL;
    struct buf bytes = {0};
    ck_assert_int_eq(fences_builder_add(b, (plsm_slice){0}, slice_of("a")), PLSM_OK);
    ck_assert_int_eq(fences_builder_add(b, slice_of("b"), slice_of("key")), PLSM_OK);
    ck_assert_int_eq(fences_builder_add(b, slice_of("key"), slice_of("key")), PLSM_OK);
    ck_assert_int_eq(fences_builder_add(b, slice_of("key"), slice_of("key")), PLSM_OK);
    ck_assert_int_eq(fences_builder_add(b, slice("key\0", 4), slice("key\0a", 5)), PLSM_OK);
    ck_assert_int_eq(fences_builder_add(b, slice_of("z"), slice_of("y")), PLSM_INVALID);
    ck_assert_int_eq(fences_builder_finish(b, &bytes), PLSM_OK);
    ck_assert_int_eq(fences_open(buf_slice(&bytes), &fences), PLSM_OK);
    ck_assert_uint_eq(fences_pages(fences), 5);
    ck_assert_uint_eq(fences_find(fences, slice_of("a")), 0);
    ck_assert_uint_eq(fences_find(fences, slice_of("kez")), 4);
    ck_assert_uint_eq(fences_find(fences, slice_of("key")), 1);
    ck_assert_uint_eq(fences_find(fences, slice("key\0", 4)), 3);
    ck_assert_uint_eq(fences_find(fences, slice("key\0a", 5)), 4);
    fences_close(fences);
    fences_builder_destroy(b);
    buf_free(&bytes);
}
END_TEST

/* Opens fences that may be damaged, copied to their very size for ASan: refused, or answers with a page. */
static bool try_fences(const uint8_t *bytes, size_t size, const struct key_set *set)
{
    uint8_t *copy = malloc(size + !size);
    struct fences *fences = NULL;
    memcpy(copy, bytes, size);
    plsm_status status = fences_open(slice(copy, size), &fences);
    free(copy);
    if ((status != PLSM_OK && status != PLSM_CORRUPT) || (fences != NULL) != (status == PLSM_OK))
        ck_abort_msg("damaged fences: %s", plsm_status_name(status));
    for (size_t i = 0; fences && i < set->count; i += 3)
        if (fences_find(fences, set->keys[i]) >= fences_pages(fences))
            ck_abort_msg("an answer beyond the last page");
    fences_close(fences);
    return status == PLSM_OK;
}

START_TEST(damaged_fences_are_harmless)
{
    static const enum key_shape shapes[] = {KEYS_RANDOM, KEYS_NESTED, KEYS_VERSIONS, KEYS_PATHS};
    struct key_set *set = key_set_create(shapes[_i], 120, 5, SEED);
    struct buf bytes = {0};
    struct random random;
    random_seed(&random, SEED + (uint64_t)_i);
    ck_assert_int_eq(build_fences(set, &bytes), PLSM_OK);
    size_t offsets_end = 8 + 4 * ((size_t)set->page_count + 1);
    for (size_t at = 0; at < bytes.size; at++) {
        uint8_t whole = bytes.data[at];
        for (unsigned value = 0; value < 256; value++) {
            bytes.data[at] = (uint8_t)value;
            bool opened = try_fences(bytes.data, bytes.size, set);
            bool fixed = at < 12 || (at >= offsets_end - 4 && at < offsets_end); /* nothing else fits there */
            if (opened && fixed && value != whole)
                ck_abort_msg("byte %zu may not be %u", at, value);
        }
        bytes.data[at] = whole;
    }
    for (size_t size = 0; size < bytes.size; size++)
        ck_assert(!try_fences(bytes.data, size, set));
    for (int round = 0; round < 20000; round++) {
        uint8_t *copy = malloc(bytes.size);
        memcpy(copy, bytes.data, bytes.size);
        for (uint64_t i = 1 + random_below(&random, 6); i > 0; i--)
            copy[random_below(&random, bytes.size)] = (uint8_t)random_next(&random);
        try_fences(copy, bytes.size, set);
        free(copy);
    }
    buf_free(&bytes);
    key_set_destroy(set);
}
END_TEST

/* --- Bloom filters ------------------------------------------------------------------------------------------------ */

static uint64_t *random_hashes(size_t count, uint64_t seed)
{
    uint64_t *hashes = malloc((count + 1) * sizeof *hashes);
    struct random random;
    random_seed(&random, seed);
    for (size_t i = 0; i < count; i++)
        hashes[i] = random_next(&random);
    return hashes;
}

/* Builds, opens by itself and as any filter of a run, and checks that nothing is denied. */
static struct bloom build_bloom(const uint64_t *hashes, size_t count, struct buf *out)
{
    struct bloom bloom;
    struct filter filter;
    ck_assert_int_eq(bloom_build(hashes, count, out), PLSM_OK);
    ck_assert_msg(bloom_open(buf_slice(out), &bloom) == PLSM_OK, "%s", plsm_message());
    ck_assert_int_eq(filter_open(buf_slice(out), &filter), PLSM_OK);
    ck_assert_uint_eq(bloom.keys, count);
    ck_assert_uint_eq(filter.keys, count);
    ck_assert_uint_eq(filter_missing(&filter, hashes, count), 0);
    for (size_t i = 0; i < count; i++) {
        filter_prefetch(&filter, hashes[i]);
        if (!bloom_may_contain(&bloom, hashes[i]) || !filter_may_contain(&filter, hashes[i]))
            ck_abort_msg("%zu keys: number %zu is denied", count, i);
    }
    return bloom;
}

START_TEST(nothing_is_denied)
{
    for (size_t count = 0; count <= 2000; count += count < 70 ? 1 : 191) {
        uint64_t *hashes = random_hashes(count, SEED + count);
        struct buf bytes = {0};
        build_bloom(hashes, count, &bytes);
        size_t bits = count == 0 ? 0 : count < 7 ? 64 : (10 * count + 7) / 8 * 8;
        ck_assert_uint_eq(bytes.size, BLOOM_HEADER + bits / 8);
        buf_free(&bytes);
        free(hashes);
    }
    static const uint64_t extremes[] = {0, UINT64_MAX, 1, UINT64_C(1) << 63, UINT64_MAX - 1};
    struct buf bytes = {0};
    build_bloom(extremes, 5, &bytes);
    buf_free(&bytes);
}
END_TEST

START_TEST(an_empty_filter_says_no)
{
    struct buf bytes = {0};
    struct filter filter;
    struct bloom bloom = build_bloom(NULL, 0, &bytes);
    ck_assert_int_eq(filter_open(buf_slice(&bytes), &filter), PLSM_OK);
    for (uint64_t i = 0; i < 1000; i++) {
        ck_assert(!bloom_may_contain(&bloom, i * 0x9e3779b97f4a7c15u));
        ck_assert(!filter_may_contain(&filter, i * 0x9e3779b97f4a7c15u));
    }
    buf_free(&bytes);
}
END_TEST

/* (1 - (1 - 1/m)^(7 n))^7 with m = 10 n is 0.82 %; double hashing adds little from some thousand keys on. */
START_TEST(false_positives_are_as_promised)
{
    static const size_t counts[] = {10000, 200000, 2000000};
    enum { PROBES = 2000000 };
    size_t count = counts[_i];
    uint64_t *hashes = random_hashes(count, SEED), positives = 0;
    struct buf bytes = {0};
    struct bloom bloom = build_bloom(hashes, count, &bytes);
    struct random random;
    random_seed(&random, SEED + 1);
    for (uint64_t i = 0; i < PROBES; i++)
        positives += bloom_may_contain(&bloom, random_next(&random));
    double percent = 100.0 * (double)positives / PROBES;
    printf("Bloom filter of %zu keys: %.3f %% false positives\n", count, percent);
    ck_assert_msg(percent > 0.75 && percent < 0.90, "%zu keys: %.3f %% false positives", count, percent);
    buf_free(&bytes);
    free(hashes);
}
END_TEST

/* --- the blocked filter ------------------------------------------------------------------------------------------- */

/* Without vector instructions the same comes out, and nothing that is missing is overlooked. */
static void check_portable(const uint64_t *hashes, size_t count, unsigned bits_per_key, plsm_slice built)
{
    struct buf other = {0};
    struct blocked blocked;
    blocked_use_portable(true);
    ck_assert_int_eq(blocked_build(hashes, count, bits_per_key, &other), PLSM_OK);
    ck_assert(slice_equal(buf_slice(&other), built));
    for (size_t byte = 32; byte < other.size && byte < 64; byte++) /* the bits of some keys go */
        other.data[byte] &= 0x5a;
    ck_assert_int_eq(blocked_open(buf_slice(&other), &blocked), PLSM_OK);
    size_t missing = blocked_missing(&blocked, hashes, count);
    blocked_use_portable(false);
    ck_assert_uint_eq(blocked_missing(&blocked, hashes, count), missing);
    size_t denied = 0;
    for (size_t i = 0; i < count; i++)
        denied += !blocked_may_contain(&blocked, hashes[i]);
    ck_assert_uint_eq(missing, denied);
    buf_free(&other);
}

static void build_blocked(const uint64_t *hashes, size_t count, unsigned bits_per_key, struct buf *out)
{
    struct blocked blocked;
    struct filter filter;
    ck_assert_int_eq(blocked_build(hashes, count, bits_per_key, out), PLSM_OK);
    ck_assert_msg(blocked_open(buf_slice(out), &blocked) == PLSM_OK, "%s", plsm_message());
    ck_assert_int_eq(filter_open(buf_slice(out), &filter), PLSM_OK);
    ck_assert_uint_eq(filter.keys, count);
    ck_assert_uint_eq(blocked_missing(&blocked, hashes, count), 0);
    if (count)
        check_portable(hashes, count, bits_per_key, buf_slice(out));
    ck_assert_uint_eq(filter_missing(&filter, hashes, count), 0);
    for (size_t i = 0; i < count; i++) {
        filter_prefetch(&filter, hashes[i]);
        const uint8_t *place = blocked_place(&blocked, hashes[i]);
        if (!blocked_may_contain(&blocked, hashes[i]) || !filter_may_contain(&filter, hashes[i]) || place < out->data ||
            place + 32 > out->data + out->size)
            ck_abort_msg("%zu keys: number %zu is denied", count, i);
    }
}

START_TEST(nothing_is_denied_by_blocks)
{
    for (size_t count = 0; count <= 2000; count += count < 70 ? 1 : 191) {
        uint64_t *hashes = random_hashes(count, SEED + count);
        for (unsigned bits = BLOCKED_BITS_MIN; bits <= BLOCKED_BITS_MAX; bits += 4) {
            struct buf bytes = {0};
            build_blocked(hashes, count, bits, &bytes);
            ck_assert_uint_eq(bytes.size, 32 + (count * bits + 255) / 256 * 32);
            buf_free(&bytes);
        }
        free(hashes);
    }
    static const uint64_t extremes[] = {0, UINT64_MAX, 1, UINT64_C(1) << 63, UINT64_MAX - 1};
    struct buf bytes = {0};
    build_blocked(extremes, 5, 8, &bytes);
    bytes.size = 0;
    build_blocked(NULL, 0, 8, &bytes);
    struct filter filter;
    ck_assert_int_eq(filter_open(buf_slice(&bytes), &filter), PLSM_OK);
    for (uint64_t i = 0; i < 1000; i++) {
        filter_prefetch(&filter, i * 0x9e3779b97f4a7c15u);
        ck_assert(!filter_may_contain(&filter, i * 0x9e3779b97f4a7c15u));
    }
    buf_free(&bytes);
}
END_TEST

/* Expected, keys per block following Poisson's law: 3.3 %, 0.54 %, 0.13 %, 0.016 %. */
START_TEST(false_positives_of_blocks)
{
    static const struct {
        unsigned fingerprint_bits, bits;
        double percent_min, percent_max;
    } rows[] = {{4, 8, 3.1, 3.5}, {8, 12, 0.48, 0.6}, {11, 16, 0.11, 0.15}, {16, 24, 0.01, 0.025}};
    enum { COUNT = 200000, PROBES = 2000000 };
    uint64_t *hashes = random_hashes(COUNT, SEED);
    uint64_t positives = 0;
    struct buf bytes = {0};
    struct blocked blocked;
    struct random random;
    ck_assert_uint_eq(blocked_bits_for(rows[_i].fingerprint_bits), rows[_i].bits);
    build_blocked(hashes, COUNT, rows[_i].bits, &bytes);
    ck_assert_int_eq(blocked_open(buf_slice(&bytes), &blocked), PLSM_OK);
    random_seed(&random, SEED + 1);
    for (uint64_t i = 0; i < PROBES; i++)
        positives += blocked_may_contain(&blocked, random_next(&random));
    double percent = 100.0 * (double)positives / PROBES;
    printf("blocked filter of %u bits per key: %.4f %% false positives\n", rows[_i].bits, percent);
    ck_assert_msg(percent > rows[_i].percent_min && percent < rows[_i].percent_max, "%.4f %% false positives", percent);
    buf_free(&bytes);
    free(hashes);
}
END_TEST

/* --- damage ------------------------------------------------------------------------------------------------------- */

static bool try_blocked(const uint8_t *bytes, size_t size)
{
    uint8_t *copy = malloc(size + !size);
    struct blocked blocked;
    struct random random;
    random_seed(&random, SEED);
    memcpy(copy, bytes, size);
    plsm_status status = blocked_open(slice(copy, size), &blocked);
    if (status != PLSM_OK && status != PLSM_CORRUPT)
        ck_abort_msg("a damaged filter: %s", plsm_status_name(status));
    for (int i = 0; status == PLSM_OK && i < 100; i++)
        blocked_may_contain(&blocked, i == 0 ? UINT64_MAX : random_next(&random));
    free(copy);
    return status == PLSM_OK;
}

static bool try_bloom(const uint8_t *bytes, size_t size)
{
    uint8_t *copy = malloc(size + !size);
    struct bloom bloom;
    struct random random;
    random_seed(&random, SEED);
    memcpy(copy, bytes, size);
    plsm_status status = bloom_open(slice(copy, size), &bloom);
    if (status != PLSM_OK && status != PLSM_CORRUPT)
        ck_abort_msg("a damaged filter: %s", plsm_status_name(status));
    for (int i = 0; status == PLSM_OK && i < 100; i++)
        bloom_may_contain(&bloom, random_next(&random));
    if (status == PLSM_OK)
        bloom_may_contain(&bloom, UINT64_MAX);
    free(copy);
    return status == PLSM_OK;
}

START_TEST(damaged_filters_are_harmless)
{
    static const size_t counts[] = {0, 1, 300};
    for (unsigned c = 0; c < 3; c++) {
        uint64_t *hashes = random_hashes(counts[c], SEED);
        struct buf bytes = {0};
        build_bloom(hashes, counts[c], &bytes);
        for (size_t at = 0; at < bytes.size; at++) {
            uint8_t whole = bytes.data[at];
            for (unsigned value = 0; value < 256; value++) {
                bytes.data[at] = (uint8_t)value;
                bool opened = try_bloom(bytes.data, bytes.size);
                bool free_to_change = (at >= 8 && at < 16) || at >= BLOOM_HEADER; /* keys, bits */
                if (opened && !free_to_change && value != whole)
                    ck_abort_msg("byte %zu may not be %u", at, value);
            }
            bytes.data[at] = whole;
        }
        for (size_t size = 0; size < bytes.size; size++)
            ck_assert(!try_bloom(bytes.data, size));
        buf_free(&bytes);
        free(hashes);
    }
}
END_TEST

START_TEST(damaged_blocks_are_harmless)
{
    static const size_t counts[] = {0, 1, 30};
    for (unsigned c = 0; c < 3; c++) {
        uint64_t *hashes = random_hashes(counts[c], SEED);
        struct buf bytes = {0};
        build_blocked(hashes, counts[c], 12, &bytes);
        for (size_t at = 0; at < bytes.size; at++) {
            uint8_t whole = bytes.data[at];
            for (unsigned value = 0; value < 256; value++) {
                bytes.data[at] = (uint8_t)value;
                bool opened = try_blocked(bytes.data, bytes.size);
                bool free_to_change = (at >= 8 && at < 16) || at >= 32; /* keys, bits */
                if (opened && !free_to_change && value != whole)
                    ck_abort_msg("byte %zu may not be %u", at, value);
            }
            bytes.data[at] = whole;
        }
        for (size_t size = 0; size < bytes.size; size++)
            ck_assert(!try_blocked(bytes.data, size));
        buf_free(&bytes);
        free(hashes);
    }
}
END_TEST

START_TEST(failed_allocations_are_reported)
{
    struct key_set *set = key_set_create(KEYS_PATHS, 2000, 5, SEED);
    uint64_t *hashes = random_hashes(2000, SEED);
    bool done = false;
    for (uint64_t nth = 1; !done; nth++) {
        struct buf fences_bytes = {0}, bloom_bytes = {0};
        struct fences *fences = NULL;
        mem_fail_at(nth);
        plsm_status status = build_fences(set, &fences_bytes);
        if (status == PLSM_OK)
            status = fences_open(buf_slice(&fences_bytes), &fences);
        if (status == PLSM_OK)
            status = bloom_build(hashes, 2000, &bloom_bytes);
        done = mem_count() < nth;
        mem_fail_at(0);
        ck_assert_int_eq(status, done ? PLSM_OK : PLSM_NO_MEMORY);
        if (done)
            check_fences(fences, set);
        fences_close(fences);
        buf_free(&fences_bytes);
        buf_free(&bloom_bytes);
    }
    free(hashes);
    key_set_destroy(set);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("plain");
    TCase *fences = tcase_create("fences"), *bloom = tcase_create("bloom"), *safe = tcase_create("safe");
    tcase_set_timeout(fences, 120);
    tcase_set_timeout(bloom, 120);
    tcase_set_timeout(safe, 240);
    tcase_add_loop_test(fences, fences_are_exact, 0, KEY_SHAPE_COUNT);
    tcase_add_test(fences, a_key_over_many_pages_is_found_on_its_first);
    tcase_add_test(bloom, nothing_is_denied);
    tcase_add_test(bloom, an_empty_filter_says_no);
    tcase_add_loop_test(bloom, false_positives_are_as_promised, 0, 3);
    tcase_add_test(bloom, nothing_is_denied_by_blocks);
    tcase_add_loop_test(bloom, false_positives_of_blocks, 0, 4);
    tcase_add_loop_test(safe, damaged_fences_are_harmless, 0, 4);
    tcase_add_test(safe, damaged_filters_are_harmless);
    tcase_add_test(safe, damaged_blocks_are_harmless);
    tcase_add_test(safe, failed_allocations_are_reported);
    suite_add_tcase(suite, fences);
    suite_add_tcase(suite, bloom);
    suite_add_tcase(suite, safe);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
