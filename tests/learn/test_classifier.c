/* Classifiers: what is seen of a key, that reading computes what training saw, that they learn where there is something
 * to learn and say so where there is not, and that no bytes make them stray. */
#include <check.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/random.h"
#include "learn/classifier.h"
#include "learn/features.h"
#include "tests/harness/path_trees.h"

#include "base/banned.h"

enum { SEED = 20261126, SAMPLES = 4000, RUN_KEYS = 200000 };

static size_t count_features(const char *key, unsigned kinds)
{
    uint16_t cells[FEATURES_MAX];
    size_t count = features_list(slice_of(key), kinds, cells);
    for (size_t i = 0; i < count; i++)
        ck_assert_uint_lt(cells[i], 1 << FEATURE_CELL_BITS);
    return count;
}

START_TEST(features_are_the_pieces_of_a_key)
{
    static const struct {
        const char *key;
        size_t heads, tokens, pairs;
    } rows[] = {
        {"", 0, 0, 0},
        {"a", 0, 1, 0},
        {"ab", 1, 1, 1},
        {"abcdefgh", 5, 1, 7},
        {"abcdefghijk", 5, 1, 10},
        {"abcdefghijkl", 6, 1, 11},
        {"usr/share", 5, 2, 8},
        {"usr/share/", 5, 2, 9},
        {"/usr", 3, 2, 3}, /* the empty token in front of a border counts */
        {"usr/share/doc/x-1.2/README.gz", 10, 8, 28},
        {"user:0012:name", 6, 3, 13},
        {"\xc3\xa4\xc3\xb6/\xc3\xbc", 4, 2, 6},
        {"0123456789abcdef0123456789abcdef0123456789", 11, 1, 41},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        size_t heads = count_features(rows[i].key, FEATURE_HEADS), tokens = count_features(rows[i].key, FEATURE_TOKENS);
        size_t pairs = count_features(rows[i].key, FEATURE_PAIRS);
        ck_assert_msg(heads == rows[i].heads && tokens == rows[i].tokens && pairs == rows[i].pairs,
                      "\"%s\": %zu heads, %zu tokens, %zu pairs", rows[i].key, heads, tokens, pairs);
        ck_assert_uint_eq(count_features(rows[i].key, FEATURE_KINDS_ALL), heads + tokens + pairs);
    }
}
END_TEST

/* A token is the same feature wherever it stands, and not the same as a longer one with the same start. */
START_TEST(a_token_is_known_again)
{
    uint16_t a[FEATURES_MAX], b[FEATURES_MAX];
    ck_assert_uint_eq(features_list(slice_of("one/changelog/three"), FEATURE_TOKENS, a), 3);
    ck_assert_uint_eq(features_list(slice_of("another-changelog"), FEATURE_TOKENS, b), 2);
    ck_assert_uint_eq(a[1], b[1]);
    ck_assert_uint_eq(features_list(slice_of("another-changelogs"), FEATURE_TOKENS, b), 2);
    ck_assert_uint_ne(a[1], b[1]);
}
END_TEST

/* Keys of every size with every byte, copied to their very size for ASan. */
static uint8_t *random_key(struct random *random, size_t size)
{
    static const char usual[] = "abcxyzABCXYZ0189/.-_:@[`{\x7f\x80\xff";
    uint8_t *bytes = malloc(size + !size);
    bool text = random_below(random, 2);
    for (size_t i = 0; i < size; i++)
        bytes[i] = (uint8_t)(text ? (uint64_t)usual[random_below(random, sizeof usual - 1)] : random_next(random));
    return bytes;
}

START_TEST(borders_are_the_same_both_ways)
{
    struct random random;
    random_seed(&random, SEED);
    for (int i = 0; i < 20000; i++) {
        size_t size = random_below(&random, FEATURE_KEY_SIZE_MAX + 1);
        uint8_t *bytes = random_key(&random, size < FEATURE_BLOCK ? FEATURE_BLOCK : size);
        for (size_t first = 0; first < size; first += 64) {
            uint64_t expected = 0, portable = feature_borders_portable(bytes, size, first);
            for (size_t at = first; at < size && at < first + 64; at++) {
                uint8_t byte = bytes[at], lower = byte | 0x20;
                bool border = byte < 128 && !(byte >= '0' && byte <= '9') && !(lower >= 'a' && lower <= 'z');
                expected |= (uint64_t)border << (at - first);
            }
            ck_assert_uint_eq(portable, expected);
#if defined(__SSE2__)
            ck_assert_uint_eq(feature_borders_sse2(bytes, size, first), expected);
#endif
        }
        free(bytes);
    }
}
END_TEST

START_TEST(a_score_is_the_sum_of_the_listed_cells)
{
    struct random random;
    random_seed(&random, SEED);
    uint8_t *weights = random_key(&random, (1 << FEATURE_CELL_BITS) / 2);
    for (int i = 0; i < 20000; i++) {
        size_t size = random_below(&random, 300);
        unsigned kinds = (unsigned)random_below(&random, FEATURE_KINDS_ALL + 1);
        unsigned cell_bits = 10 + (unsigned)random_below(&random, 4);
        uint8_t *bytes = random_key(&random, size);
        uint16_t cells[FEATURES_MAX];
        size_t count = features_list(slice(bytes, size), kinds, cells);
        ck_assert_uint_le(count, FEATURES_MAX);
        int32_t expected = 0;
        for (size_t k = 0; k < count; k++) {
            unsigned cell = cells[k] & ((1u << cell_bits) - 1);
            expected += feature_weights[cell % 2 ? weights[cell / 2] >> 4 : weights[cell / 2] & 15];
        }
        ck_assert_int_eq(features_score(slice(bytes, size), kinds, weights, cell_bits), expected);
        if (size > CLASSIFIER_KEY_SIZE_MAX) /* what is behind does not count: misses are remembered without it */
            ck_assert_int_eq(features_score(slice(bytes, CLASSIFIER_KEY_SIZE_MAX), kinds, weights, cell_bits),
                             expected);
        free(bytes);
    }
    free(weights);
}
END_TEST

START_TEST(the_longest_lists_fit)
{
    uint8_t slashes[200], alternating[200];
    uint16_t cells[FEATURES_MAX];
    memset(slashes, '/', sizeof slashes);
    for (size_t i = 0; i < sizeof alternating; i++)
        alternating[i] = i % 2 ? 'a' : '/';
    ck_assert_uint_le(features_list(slice(slashes, 200), FEATURE_KINDS_ALL, cells), FEATURES_MAX);
    ck_assert_uint_le(features_list(slice(alternating, 200), FEATURE_KINDS_ALL, cells), FEATURES_MAX);
}
END_TEST

/* --- training --- */

/* A sample of keys and misses of one kind. */
struct sample {
    struct path_list keys, misses;
};

static struct sample foreign_sample(void)
{
    return (struct sample){path_list_create((struct path_tree){0, SEED}, SAMPLES, 1, SEED),
                           path_list_create((struct path_tree){1, SEED + 1}, SAMPLES, 1, SEED + 1)};
}

static void sample_free(struct sample *sample)
{
    path_list_free(&sample->keys);
    path_list_free(&sample->misses);
}

static void train(const struct sample *sample, unsigned bits, uint64_t run_keys, struct buf *out)
{
    struct classifier_samples samples = {sample->keys.keys, sample->misses.keys, sample->keys.count,
                                         sample->misses.count};
    ck_assert_msg(classifier_train(&samples, bits, run_keys, out) == PLSM_OK, "%s", plsm_message());
}

/* Means of the classes of fresh keys and misses tell whether the order of classes is right. */
START_TEST(it_tells_misses_from_keys)
{
    struct sample sample = foreign_sample();
    struct path_list keys = path_list_create((struct path_tree){0, SEED}, 20000, 1, SEED + 2);
    struct path_list misses = path_list_create((struct path_tree){1, SEED + 1}, 20000, 1, SEED + 3);
    struct buf bytes = {0};
    struct classifier classifier;
    train(&sample, 8, RUN_KEYS, &bytes);
    ck_assert_uint_gt(bytes.size, 0);
    ck_assert_uint_le(bytes.size, CLASSIFIER_SIZE_MAX);
    ck_assert_msg(classifier_open(buf_slice(&bytes), &classifier) == PLSM_OK, "%s", plsm_message());
    size_t first = 0, last = 0;
    for (size_t i = 0; i < keys.count; i++)
        first += classifier_class(&classifier, keys.keys[i]) == 0;
    for (size_t i = 0; i < misses.count; i++)
        last += classifier_class(&classifier, misses.keys[i]) == classifier.classes - 1;
    ck_assert_msg(first > keys.count / 2 && last > misses.count / 2, "%zu of %zu keys first, %zu of %zu misses last",
                  first, keys.count, last, misses.count);
    buf_free(&bytes);
    path_list_free(&keys);
    path_list_free(&misses);
    sample_free(&sample);
}
END_TEST

START_TEST(the_same_samples_give_the_same_bytes)
{
    struct sample sample = foreign_sample();
    struct buf a = {0}, b = {0};
    ck_assert_int_eq(buf_append(&b, "front", 5), PLSM_OK); /* what is in the buffer stays */
    train(&sample, 8, RUN_KEYS, &a);
    train(&sample, 8, RUN_KEYS, &b);
    ck_assert_uint_eq(b.size, a.size + 5);
    ck_assert(memcmp(b.data, "front", 5) == 0 && memcmp(b.data + 5, a.data, a.size) == 0);
    buf_free(&a);
    buf_free(&b);
    sample_free(&sample);
}
END_TEST

START_TEST(a_smaller_run_gets_a_smaller_classifier)
{
    struct sample sample = foreign_sample();
    struct buf large = {0}, small = {0}, tiny = {0};
    train(&sample, 8, 1000000, &large);
    train(&sample, 8, 5000, &small);
    train(&sample, 8, 100, &tiny);
    ck_assert_uint_gt(large.size, small.size);
    ck_assert_uint_gt(small.size, 0);
    ck_assert_uint_eq(tiny.size, 0);
    buf_free(&large);
    buf_free(&small);
    buf_free(&tiny);
    sample_free(&sample);
}
END_TEST

/* Keys that carry nothing to learn: random bytes, hex digits, decimals, and two draws of one tree. */
static size_t meaningless_key(unsigned kind, struct random *random, uint8_t *out)
{
    if (kind == 0) {
        for (unsigned i = 0; i < 16; i++)
            out[i] = (uint8_t)random_next(random);
        return 16;
    }
    if (kind == 1)
        return (size_t)snprintf((char *)out, 40, "%016" PRIx64 "%016" PRIx64, random_next(random), random_next(random));
    return (size_t)snprintf((char *)out, 40, "user%012" PRIu64, random_next(random) >> 25);
}

START_TEST(nothing_is_learned_where_there_is_nothing)
{
    for (unsigned kind = 0; kind < 3; kind++) {
        uint8_t *bytes = malloc(2 * SAMPLES * 40);
        plsm_slice *keys = malloc(2 * SAMPLES * sizeof *keys);
        struct random random;
        random_seed(&random, SEED + kind);
        for (size_t i = 0; i < 2 * SAMPLES; i++)
            keys[i] = slice(bytes + 40 * i, meaningless_key(kind, &random, bytes + 40 * i));
        struct classifier_samples samples = {keys, keys + SAMPLES, SAMPLES, SAMPLES};
        for (unsigned bits = 4; bits <= 16; bits += 4) {
            struct buf out = {0};
            ck_assert_int_eq(classifier_train(&samples, bits, 1000000, &out), PLSM_OK);
            ck_assert_msg(out.size == 0, "kind %u, %u bits: a classifier of %zu bytes", kind, bits, out.size);
            buf_free(&out);
        }
        free(keys);
        free(bytes);
    }
    struct sample halves = {path_list_create((struct path_tree){0, SEED}, SAMPLES, 1, SEED),
                            path_list_create((struct path_tree){0, SEED}, SAMPLES, 1, SEED + 1)};
    struct buf out = {0};
    train(&halves, 8, 1000000, &out);
    ck_assert_uint_eq(out.size, 0);
    sample_free(&halves);
}
END_TEST

START_TEST(limits_are_kept)
{
    struct sample sample = foreign_sample();
    struct buf out = {0};
    struct classifier_samples samples = {sample.keys.keys, sample.misses.keys, SAMPLES, SAMPLES};
    ck_assert_int_eq(classifier_train(&samples, 3, RUN_KEYS, &out), PLSM_INVALID);
    ck_assert_int_eq(classifier_train(&samples, 17, RUN_KEYS, &out), PLSM_INVALID);
    samples.key_count = CLASSIFIER_SAMPLES_MAX + 1;
    ck_assert_int_eq(classifier_train(&samples, 8, RUN_KEYS, &out), PLSM_INVALID);
    samples = (struct classifier_samples){sample.keys.keys, sample.misses.keys, SAMPLES, CLASSIFIER_SAMPLES_MIN - 1};
    ck_assert_int_eq(classifier_train(&samples, 8, RUN_KEYS, &out), PLSM_OK);
    samples = (struct classifier_samples){NULL, NULL, 0, 0};
    ck_assert_int_eq(classifier_train(&samples, 8, RUN_KEYS, &out), PLSM_OK);
    ck_assert_uint_eq(out.size, 0);
    samples = (struct classifier_samples){sample.keys.keys, sample.misses.keys, SAMPLES, CLASSIFIER_SAMPLES_MIN};
    ck_assert_int_eq(classifier_train(&samples, 8, 0, &out), PLSM_OK);
    ck_assert_uint_eq(out.size, 0);
    for (unsigned bits = 4; bits <= 16; bits++) { /* whatever it decides, what it writes can be read */
        struct classifier classifier;
        train(&sample, bits, RUN_KEYS, &out);
        ck_assert(out.size == 0 || classifier_open(buf_slice(&out), &classifier) == PLSM_OK);
        out.size = 0;
    }
    buf_free(&out);
    sample_free(&sample);
}
END_TEST

/* Equal samples on both sides, empty keys, one key many times: nothing to learn, nothing to fall over. */
START_TEST(strange_samples_are_survived)
{
    plsm_slice *keys = malloc(SAMPLES * sizeof *keys);
    struct buf out = {0};
    for (unsigned kind = 0; kind < 3; kind++) {
        for (size_t i = 0; i < SAMPLES; i++)
            keys[i] = kind == 0 ? slice(NULL, 0) : slice_of(kind == 1 || i % 2 ? "same/key" : "other/key");
        struct classifier_samples samples = {keys, keys, SAMPLES, SAMPLES};
        ck_assert_int_eq(classifier_train(&samples, 8, RUN_KEYS, &out), PLSM_OK);
        ck_assert_uint_eq(out.size, 0);
    }
    buf_free(&out);
    free(keys);
}
END_TEST

/* --- safety --- */

/* Opens bytes that may be damaged, copied to their very size for ASan: an error, or classes that are there. */
static bool try_open(const uint8_t *bytes, size_t size)
{
    uint8_t *copy = malloc(size + !size);
    struct classifier classifier;
    struct random random;
    memcpy(copy, bytes, size);
    random_seed(&random, SEED);
    plsm_status status = classifier_open(slice(copy, size), &classifier);
    ck_assert(status == PLSM_OK || status == PLSM_CORRUPT);
    for (int i = 0; status == PLSM_OK && i < 40; i++) {
        size_t key_size = random_below(&random, 200);
        uint8_t *key = random_key(&random, key_size);
        ck_assert_uint_lt(classifier_class(&classifier, slice(key, key_size)), classifier.classes);
        free(key);
    }
    free(copy);
    return status == PLSM_OK;
}

START_TEST(damage_is_harmless)
{
    enum { HEADER = 4 };
    struct sample sample = foreign_sample();
    struct buf bytes = {0};
    struct random random;
    random_seed(&random, SEED);
    train(&sample, 8, 20000, &bytes);
    ck_assert(try_open(bytes.data, bytes.size));
    size_t weights_at = HEADER + 4 * (size_t)bytes.data[3];
    for (size_t at = 0; at < bytes.size; at += at < weights_at ? 1 : 37) {
        uint8_t whole = bytes.data[at];
        for (unsigned value = 0; value < 256; value++) {
            bytes.data[at] = (uint8_t)value;
            bool opened = try_open(bytes.data, bytes.size);
            bool free_to_change = at == 1 || at >= HEADER; /* kinds, thresholds while they ascend, weights */
            ck_assert_msg(free_to_change || value == whole || !opened, "byte %zu may not be %u", at, value);
        }
        bytes.data[at] = whole;
    }
    for (size_t size = 0; size < bytes.size; size++)
        ck_assert(!try_open(bytes.data, size));
    put_u32(bytes.data + HEADER, INT32_MAX);
    ck_assert(bytes.data[3] == 1 || !try_open(bytes.data, bytes.size));
    for (int i = 0; i < 2000; i++) {
        for (size_t at = 0; at < bytes.size; at++)
            bytes.data[at] = (uint8_t)random_next(&random);
        try_open(bytes.data, bytes.size);
    }
    buf_free(&bytes);
    sample_free(&sample);
}
END_TEST

START_TEST(failed_allocations_are_reported)
{
    struct sample sample = foreign_sample();
    struct classifier_samples samples = {sample.keys.keys, sample.misses.keys, 1000, 1000};
    bool done = false;
    for (uint64_t nth = 1; !done; nth++) {
        struct buf bytes = {0};
        mem_fail_at(nth);
        plsm_status status = classifier_train(&samples, 8, RUN_KEYS, &bytes);
        done = mem_count() < nth;
        mem_fail_at(0);
        ck_assert_int_eq(status, done ? PLSM_OK : PLSM_NO_MEMORY);
        ck_assert_uint_eq(bytes.size == 0, !done);
        buf_free(&bytes);
    }
    sample_free(&sample);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("classifier");
    TCase *features = tcase_create("features"), *training = tcase_create("training"), *safe = tcase_create("safe");
    tcase_set_timeout(features, 60);
    tcase_set_timeout(training, 120);
    tcase_set_timeout(safe, 240);
    tcase_add_test(features, features_are_the_pieces_of_a_key);
    tcase_add_test(features, a_token_is_known_again);
    tcase_add_test(features, borders_are_the_same_both_ways);
    tcase_add_test(features, a_score_is_the_sum_of_the_listed_cells);
    tcase_add_test(features, the_longest_lists_fit);
    tcase_add_test(training, it_tells_misses_from_keys);
    tcase_add_test(training, the_same_samples_give_the_same_bytes);
    tcase_add_test(training, a_smaller_run_gets_a_smaller_classifier);
    tcase_add_test(training, nothing_is_learned_where_there_is_nothing);
    tcase_add_test(training, limits_are_kept);
    tcase_add_test(training, strange_samples_are_survived);
    tcase_add_test(safe, damage_is_harmless);
    tcase_add_test(safe, failed_allocations_are_reported);
    suite_add_tcase(suite, features);
    suite_add_tcase(suite, training);
    suite_add_tcase(suite, safe);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
