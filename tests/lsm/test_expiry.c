/* Times at which entries expire: what is made of a sample of them, and their form in batches. */
#include <check.h>
#include <stdlib.h>

#include "base/batch.h"
#include "base/status.h"
#include "lsm/entry.h"
#include "lsm/expiry.h"

#include "base/banned.h"

START_TEST(expired)
{
    static const struct {
        uint64_t expires_s, now_s;
        bool expired;
    } cases[] = {
        {0, 0, false},
        {0, 1, false},
        {0, UINT64_MAX, false},
        {1, 0, false},
        {1, 1, true},
        {10, 9, false},
        {10, 10, true},
        {10, 11, true},
        {UINT64_MAX, UINT64_MAX - 1, false},
        {UINT64_MAX, UINT64_MAX, true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct entry entry = {.expires_s = cases[i].expires_s};
        ck_assert_int_eq(entry_expired(&entry, cases[i].now_s), cases[i].expired);
    }
}
END_TEST

START_TEST(due)
{
    static const struct {
        uint64_t entries, count, times_s[8], due_s;
    } cases[] = {
        {10, 6, {40, 10, 30, 60, 50, 20}, 50}, /* as in expiry.h */
        {13, 6, {40, 10, 30, 60, 50, 20}, 0},
        {12, 6, {40, 10, 30, 60, 50, 20}, 60},
        {1, 1, {7}, 7},
        {2, 1, {7}, 7},
        {3, 1, {7}, 0},
        {8, 8, {1, 2, 3, 4, 5, 6, 7, 8}, 4},
        {5, 0, {0}, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct expiry_sample sample = {0};
        for (size_t j = 0; j < cases[i].count; j++)
            expiry_sample_add(&sample, cases[i].times_s[j]);
        ck_assert_uint_eq(expiry_due_s(&sample, cases[i].entries), cases[i].due_s);
    }
}
END_TEST

/* Of more than a sample holds the answer is about right. */
START_TEST(due_of_many)
{
    enum { MANY = 100000 };
    struct expiry_sample sample = {0};
    for (uint64_t i = 0; i < MANY; i++)
        expiry_sample_add(&sample, 1 + i * 7919 % MANY);
    uint64_t due_s = expiry_due_s(&sample, MANY);
    ck_assert_uint_ge(due_s, MANY * 35 / 100);
    ck_assert_uint_le(due_s, MANY * 65 / 100);
}
END_TEST

START_TEST(batches)
{
    static const uint64_t times_s[] = {0, 1, 127, 128, UINT32_MAX, UINT64_MAX};
    struct batch batch = {0};
    struct batch_change change;
    for (size_t i = 0; i < sizeof times_s / sizeof *times_s; i++)
        ck_assert_int_eq(batch_add_timed(&batch, i % 2 ? BATCH_REFERENCE : BATCH_PUT, 1, slice("key", 3), slice("m", 1),
                                         slice("value", 5), times_s[i]),
                         PLSM_OK);
    ck_assert_int_eq(batch_add(&batch, BATCH_DELETE, 1, slice("gone", 4), slice(NULL, 0), slice(NULL, 0)), PLSM_OK);
    const uint8_t *at = batch.bytes.data, *end = at + batch.bytes.size;
    for (size_t i = 0; i < sizeof times_s / sizeof *times_s; i++) {
        ck_assert(batch_next(&at, end, &change));
        ck_assert(change.timed && change.expires_s == times_s[i] && change.key.size == 4 && change.value.size == 5);
        ck_assert_int_eq(change.kind, i % 2 ? BATCH_REFERENCE : BATCH_PUT);
    }
    ck_assert(batch_next(&at, end, &change) && !change.timed && change.expires_s == 0 && change.kind == BATCH_DELETE);
    ck_assert(at == end);
    /* Cut anywhere, it is a batch up to there or none, and nothing is read behind. */
    for (size_t size = 0; size < batch.bytes.size; size++) {
        uint8_t *copy = malloc(size + 1);
        ck_assert_ptr_nonnull(copy);
        memcpy(copy, batch.bytes.data, size);
        at = copy;
        while (batch_next(&at, copy + size, &change))
            continue;
        ck_assert(at <= copy + size);
        free(copy);
    }
    batch_free(&batch);
}
END_TEST

/* Only puts may carry a time. */
START_TEST(refused)
{
    struct batch_change change;
    for (unsigned kind = 0; kind < 256; kind++) {
        uint8_t bytes[] = {(uint8_t)kind, 5, 2, 1, 'k', 0, 0};
        const uint8_t *at = bytes;
        bool known = kind == (BATCH_PUT | BATCH_TIMED) || kind == (BATCH_REFERENCE | BATCH_TIMED);
        if (kind >= BATCH_KIND_COUNT)
            ck_assert_int_eq(batch_next(&at, bytes + sizeof bytes, &change), known);
    }
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {expired, due, due_of_many, batches, refused};
    Suite *suite = suite_create("expiry");
    TCase *tcase = tcase_create("expiry");
    for (size_t i = 0; i < sizeof tests / sizeof *tests; i++)
        tcase_add_test(tcase, tests[i]);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_set_fork_status(runner, CK_NOFORK);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
