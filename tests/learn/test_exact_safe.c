/* Exact sets where something is wrong: keys out of order, damaged bytes, no memory. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/random.h"
#include "learn/exact.h"
#include "learn/exact_format.h"
#include "tests/harness/number_keys.h"

#include "base/banned.h"

enum { SEED = 20250311 };

START_TEST(order_is_checked)
{
    static const struct {
        const char *before, *key;
        plsm_status expected;
    } rows[] = {
        {"N0005", "N0005", PLSM_INVALID}, {"N0005", "N0004", PLSM_INVALID},  {"N0005", "M0009", PLSM_INVALID},
        {"N0005", "N000", PLSM_INVALID},  {"N0005", "", PLSM_INVALID},       {"N0005", "N0006", PLSM_OK},
        {"N0005", "N00050", PLSM_OK},     {"N0005", "N000x", PLSM_OK},       {"N0005", "N00/x", PLSM_INVALID},
        {"N0005", "O0000", PLSM_OK},      {"N0005", "O", PLSM_OK},           {"N0005", "N", PLSM_INVALID},
        {"N0005", "N00", PLSM_INVALID},   {"N0005", "M00050", PLSM_INVALID}, {"N0005", "N00048", PLSM_INVALID},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        for (unsigned sampled = 0; sampled < 2; sampled++) {
            struct exact_builder *b = exact_builder_create(KEY_LIST_ANY_SIZE);
            char key[20];
            for (unsigned n = 0; n < 2000 && sampled; n++) {
                snprintf(key, sizeof key, "A%04u", n);
                if (exact_builder_add(b, slice_of(key), n > 0 ? 1 : 0) != PLSM_OK)
                    ck_abort_msg("%s", plsm_message());
            }
            ck_assert_int_eq(exact_builder_add(b, slice_of(rows[i].before), 0), PLSM_OK);
            size_t shared = slice_common(slice_of(rows[i].before), slice_of(rows[i].key));
            plsm_status status = exact_builder_add(b, slice_of(rows[i].key), shared);
            ck_assert_msg(status == rows[i].expected, "row %zu, %u: %s", i, sampled, plsm_status_name(status));
            ck_assert(status == PLSM_OK || !exact_builder_alive(b));
            exact_builder_destroy(b);
        }
}
END_TEST

/* --- damage and lack of memory ------------------------------------------------------------------------------------ */

/* Opens bytes that may be damaged, copied to their very size for ASan, and asks. True when they were opened. */
static bool try_open(const uint8_t *bytes, size_t size, const struct key_list *keys, struct random *random)
{
    uint8_t *copy = malloc(size + !size);
    struct exact set;
    memcpy(copy, bytes, size);
    plsm_status status = exact_open(slice(copy, size), &set);
    if (status != PLSM_OK && status != PLSM_CORRUPT)
        ck_abort_msg("%s", plsm_message());
    for (unsigned i = 0; status == PLSM_OK && i < 40; i++) {
        uint8_t key[200];
        struct exact_info info;
        plsm_slice whole = key_list_at(keys, random_below(random, keys->count));
        memcpy(key, whole.data, whole.size);
        key[random_below(random, whole.size)] ^= (uint8_t)(i % 2 ? 0 : random_next(random));
        plsm_slice asked = slice(key, whole.size - (i % 4 == 3 ? random_below(random, whole.size) : 0));
        for (unsigned path = 0; path < 2; path++, exact_use_portable(&set)) {
            exact_prefetch(&set, asked);
            exact_contains(&set, asked);
            exact_has_prefix(&set, asked);
        }
        if (i == 0)
            exact_get_info(&set, &info);
    }
    free(copy);
    return status == PLSM_OK;
}

START_TEST(damage_is_harmless)
{
    static const enum number_shape shapes[] = {NUMBERS_MISSING_1,   NUMBERS_MISSING_10,    NUMBERS_MISSING_75,
                                               NUMBERS_SERIES_TEXT, NUMBERS_SERIES_MARKED, NUMBERS_CLUSTERS,
                                               NUMBERS_HEX_LOWER};
    struct random random;
    random_seed(&random, SEED + (uint64_t)_i);
    struct key_list keys = {0};
    struct buf bytes = {0};
    key_list_fill(&keys, shapes[_i], 4000, SEED);
    ck_assert(key_list_build(&keys, KEY_LIST_ANY_SIZE, &bytes));
    for (size_t at = 0; at < bytes.size; at++) {
        uint8_t whole = bytes.data[at];
        unsigned step = at < EXACT_HEADER_SIZE ? 1 : 1 + (unsigned)random_below(&random, 500);
        for (unsigned value = (unsigned)random_below(&random, step); value < 256; value += step) {
            bytes.data[at] = (uint8_t)value;
            bool opened = try_open(bytes.data, bytes.size, &keys, &random);
            if (opened && value != whole && (at == 0 || (at >= EXACT_RESERVED && at < EXACT_HEADER_SIZE)))
                ck_abort_msg("byte %zu may not be %u", at, value);
        }
        bytes.data[at] = whole;
    }
    for (size_t size = 0; size < bytes.size; size += 1 + size / 50)
        if (try_open(bytes.data, size, &keys, &random))
            ck_abort_msg("opened when cut to %zu bytes", size);
    for (unsigned round = 0; round < 3000; round++) {
        uint8_t *copy = malloc(bytes.size);
        memcpy(copy, bytes.data, bytes.size);
        for (uint64_t changes = 1 + random_below(&random, 4); changes > 0; changes--) {
            size_t at = random_below(&random, random_below(&random, 2) ? EXACT_HEADER_SIZE : bytes.size);
            copy[at] = random_below(&random, 2) ? (uint8_t)random_next(&random) : random_below(&random, 2) ? 0 : 0xff;
        }
        try_open(copy, bytes.size, &keys, &random);
        free(copy);
    }
    free(bytes.data);
    key_list_free(&keys);
}
END_TEST

static plsm_status build_with_failure(const struct key_list *keys, uint64_t nth, struct buf *out, bool *done)
{
    bool built = true;
    plsm_status status = PLSM_OK;
    mem_fail_at(nth);
    struct exact_builder *b = exact_builder_create(20);
    for (size_t i = 0; b && status == PLSM_OK && i < keys->count; i++)
        status = exact_builder_add(b, key_list_at(keys, i), key_list_shared(keys, i));
    if (b && status == PLSM_OK)
        status = exact_builder_finish(b, out, &built);
    *done = mem_count() < nth;
    mem_fail_at(0);
    ck_assert(!b || status == PLSM_OK || !exact_builder_alive(b));
    exact_builder_destroy(b);
    return b ? status : PLSM_NO_MEMORY;
}

START_TEST(failed_allocations_are_reported)
{
    static const enum number_shape shapes[] = {NUMBERS_MISSING_10, NUMBERS_SERIES_TEXT, NUMBERS_MISSING_75};
    for (unsigned s = 0; s < 3; s++) {
        struct key_list keys = {0};
        key_list_fill(&keys, shapes[s], 5000, SEED);
        bool done = false;
        for (uint64_t nth = 1; !done; nth++) {
            struct buf out = {0};
            ck_assert_int_eq(buf_append(&out, "x", 1), PLSM_OK);
            plsm_status status = build_with_failure(&keys, nth, &out, &done);
            ck_assert_int_eq(status, done ? PLSM_OK : PLSM_NO_MEMORY);
            ck_assert((out.size > 1) == done && out.data[0] == 'x');
            buf_free(&out);
        }
        key_list_free(&keys);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("exact safe");
    TCase *safe = tcase_create("safe");
    printf("seed %d\n", SEED);
    tcase_set_timeout(safe, 240);
    tcase_add_test(safe, order_is_checked);
    tcase_add_loop_test(safe, damage_is_harmless, 0, 7);
    tcase_add_test(safe, failed_allocations_are_reported);
    suite_add_tcase(suite, safe);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
