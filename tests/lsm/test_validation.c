/* Lookups that are done again the traditional way: nothing is wrong when all is well, and when a filter lies, which it
 * is made to here, the lie is counted and the right answer given. */
#include <check.h>
#include <stdlib.h>

#include "base/checksum.h"
#include "base/env_memory.h"
#include "tests/harness/paged_tree.h"
#include "base/banned.h"

enum { EVERY = 1000000, MANY = 40 };

static void start(uint32_t ppm)
{
    paged.env = env_memory_create(1);
    struct lsm_options o = paged_options(LSM_LEARNED);
    o.validation_ppm = ppm;
    paged_start(&o);
}

/* A filter without keys takes the place of the run's, which lets it deny all of them. */
struct lie {
    struct run_membership membership, *before;
    struct filter filter;
};

static void tell_lie(struct lie *lie)
{
    static uint64_t nothing;
    *lie = (struct lie){.before = NULL};
    ck_assert_int_eq(filter_build(&nothing, 0, 8, &lie->membership.bytes), PLSM_OK);
    ck_assert_int_eq(filter_open(buf_slice(&lie->membership.bytes), &lie->filter), PLSM_OK);
    membership_of_filter(&lie->filter, &lie->membership.membership);
    char text[64];
    paged_get(paged_key(0, text), PLSM_OK); /* loads the true one */
    lie->before = atomic_exchange(&paged_body(paged_run(0))->membership, &lie->membership);
    ck_assert_ptr_nonnull(lie->before);
}

static void end_lie(struct lie *lie)
{
    atomic_store(&paged_body(paged_run(0))->membership, lie->before);
    buf_free(&lie->membership.bytes);
}

START_TEST(nothing_is_wrong)
{
    char text[64];
    start(EVERY);
    paged_put(paged_key(1, text), slice_of("newer"));
    for (unsigned i = 0; i < PAGED_KEYS; i++) {
        plsm_slice key = paged_key(i, text);
        paged_get(key, PLSM_OK);
        text[key.size - 1]++;
        paged_get(key, PLSM_NOT_FOUND);
    }
    ck_assert_uint_eq((uint64_t)paged_statistic("learn.validated"), 2 * PAGED_KEYS - 1); /* one was in the memtable */
    ck_assert_uint_eq((uint64_t)paged_statistic("learn.validation_wrong"), 0);
    paged_stop();
}
END_TEST

START_TEST(a_lie_is_found_out)
{
    char text[64];
    struct lie lie;
    start(EVERY);
    tell_lie(&lie);
    for (unsigned i = 0; i < 100; i++)
        paged_get(paged_key(i, text), PLSM_OK);
    ck_assert_uint_eq((uint64_t)paged_statistic("learn.validation_wrong"), 100);
    end_lie(&lie);
    paged_stop();
}
END_TEST

START_TEST(without_validation_it_is_not)
{
    char text[64];
    struct lie lie;
    start(0);
    tell_lie(&lie);
    for (unsigned i = 0; i < 100; i++)
        paged_get(paged_key(i, text), PLSM_NOT_FOUND); /* this is what the others are spared */
    ck_assert_uint_eq((uint64_t)paged_statistic("learn.validated"), 0);
    end_lie(&lie);
    paged_stop();
}
END_TEST

START_TEST(many_at_once_are_validated_too)
{
    char texts[MANY][64];
    plsm_slice keys[MANY];
    plsm_status statuses[MANY];
    struct lsm_value values[MANY] = {0};
    struct lie lie;
    start(EVERY);
    tell_lie(&lie);
    double before = paged_statistic("learn.validated");
    for (unsigned i = 0; i < MANY; i++)
        keys[i] = paged_key(7 * i, texts[i]);
    ck_assert_int_eq(lsm_multi_get(paged.db, NULL, keys, MANY, false, values, statuses), PLSM_OK);
    for (unsigned i = 0; i < MANY; i++) {
        ck_assert_int_eq(statuses[i], PLSM_OK);
        ck_assert_uint_eq(values[i].value.size, PAGED_SMALL);
        lsm_value_free(&values[i]);
    }
    ck_assert_uint_eq((uint64_t)(paged_statistic("learn.validated") - before), MANY);
    ck_assert_uint_eq((uint64_t)paged_statistic("learn.validation_wrong"), MANY);
    end_lie(&lie);
    paged_stop();
}
END_TEST

START_TEST(a_part_is_a_part)
{
    char text[64];
    start(EVERY / 4);
    for (unsigned round = 0; round < 5; round++)
        for (unsigned i = 0; i < PAGED_KEYS; i++)
            paged_get(paged_key(i, text), PLSM_OK);
    double share = paged_statistic("learn.validated") / (5 * PAGED_KEYS);
    ck_assert_msg(share > 0.23 && share < 0.27, "%f", share); /* 6 standard deviations */
    paged_stop();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("validation");
    TCase *tcase = tcase_create("validation");
    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, nothing_is_wrong);
    tcase_add_test(tcase, a_lie_is_found_out);
    tcase_add_test(tcase, without_validation_it_is_not);
    tcase_add_test(tcase, many_at_once_are_validated_too);
    tcase_add_test(tcase, a_part_is_a_part);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
