/* Simulated I/O of a tree whose pages are known: the memory that index and filters take away, on either side, and that
 * the tree itself is as without it. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/env_memory.h"
#include "tests/harness/paged_tree.h"

#include "base/banned.h"

enum { READS = 60, MANY = 20 };

START_TEST(index_and_filters_take_room)
{
    plsm_slice none = {0};
    char text[64];
    paged.env = env_memory_create(1);
    struct lsm_options o = paged_options((enum lsm_index)_i);
    paged_open(&o);
    ck_assert_uint_eq(paged_account(SIM_ACTUAL).metadata_bytes + paged_account(SIM_TRADITIONAL).metadata_bytes, 0);
    paged_fill(PAGED_BIG);
    ck_assert_uint_eq(paged_account(SIM_ACTUAL).metadata_bytes + paged_account(SIM_TRADITIONAL).metadata_bytes,
                      0); /* not open */
    uint64_t before = 0;
    for (unsigned round = 0; round < 4; round++) {
        paged_get(paged_key(7, text), PLSM_OK);
        struct run_body *body = paged_body(paged_run(0));
        const struct run_traditional *t = NULL;
        ck_assert_int_eq(run_traditional(paged_run(0), body, &t), PLSM_OK);
        ck_assert_uint_eq(t->bytes, fences_memory(t->fences) + body->footer.blocks[RUN_FILTER].size);
        uint64_t actual = paged_account(SIM_ACTUAL).metadata_bytes,
                 traditional = paged_account(SIM_TRADITIONAL).metadata_bytes;
        ck_assert_uint_eq(
            (uint64_t)paged_statistic("learn.bytes.index") + (uint64_t)paged_statistic("learn.bytes.filter"), actual);
        ck_assert_uint_eq(traditional, before + t->bytes);
        if (_i == LSM_LEARNED)
            ck_assert_uint_lt(actual, traditional);
        else
            ck_assert_uint_eq(actual, traditional);
        before = traditional;
        if (round < 3)
            paged_fill(PAGED_BIG);
    }
    ck_assert_int_eq(lsm_compact(paged.db, none, none), PLSM_OK); /* one run, not open yet */
    ck_assert_uint_eq(paged_account(SIM_TRADITIONAL).metadata_bytes, 0);
    ck_assert_uint_eq(paged_account(SIM_ACTUAL).metadata_bytes, 0);
    paged_stop();
}
END_TEST

/* Models that come and go, and fences that a model does not make superfluous after all. */
START_TEST(what_is_in_memory_is_followed)
{
    char text[64];
    struct fences *fences = NULL;
    paged.env = env_memory_create(1);
    struct lsm_options o = paged_options(LSM_LEARNED);
    for (unsigned i = 0; i < LSM_GROUPS; i++)
        o.groups[i].cache = 1;
    paged_open(&o);
    paged_fill(PAGED_BIG);
    paged_put(slice_of("\2apart"), slice_of("a run of one page"));
    ck_assert_int_eq(lsm_flush(paged.db), PLSM_OK);
    uint64_t large = 0, small = 0;
    for (unsigned round = 0; round < 2; round++) {
        paged_get(paged_key(3, text), PLSM_OK);
        large = paged_account(SIM_ACTUAL).metadata_bytes;
        ck_assert_uint_eq(large, (uint64_t)paged_statistic("learn.bytes.index") +
                                     (uint64_t)paged_statistic("learn.bytes.filter"));
        paged_get(slice_of("\2apart"), PLSM_OK);
        small = paged_account(SIM_ACTUAL).metadata_bytes;
        ck_assert_uint_eq(small, (uint64_t)paged_statistic("learn.bytes.index") +
                                     (uint64_t)paged_statistic("learn.bytes.filter"));
    }
    ck_assert_uint_lt(small, large);
    ck_assert_int_eq(run_fences(paged_run(1), paged_body(paged_run(1)), &fences), PLSM_OK);
    ck_assert_uint_eq(paged_account(SIM_ACTUAL).metadata_bytes, small + fences_memory(fences));
    paged_stop();
}
END_TEST

/* A cache in which data has room beside the models, but not beside the fences. */
START_TEST(a_smaller_index_leaves_more_room)
{
    enum { ROUNDS = 5 };
    unsigned keys[READS];
    char text[64];
    paged.env = env_memory_create(1);
    struct lsm_options o = paged_options(LSM_LEARNED);
    paged_open(&o);
    paged_fill(PAGED_BIG);
    paged_get(paged_key(0, text), PLSM_OK);
    uint64_t learned = paged_account(SIM_ACTUAL).metadata_bytes,
             traditional = paged_account(SIM_TRADITIONAL).metadata_bytes;
    ck_assert_int_eq(lsm_close(paged.db), PLSM_OK);
    ck_assert_uint_gt(traditional, learned);
    uint64_t room = (traditional - learned) / PAGE_SIZE;
    ck_assert_uint_gt(room, 2);
    o.simulation.cache_bytes = learned + (uint64_t)READS * PAGE_SIZE;
    paged_open(&o);
    paged_choose(keys, READS);
    paged_get(paged_key(keys[0], text), PLSM_OK);
    (void)paged_account(SIM_ACTUAL);
    lsm_statistics_reset(paged.db);
    for (unsigned round = 0; round < ROUNDS; round++)
        for (unsigned i = 0; i < READS; i++)
            paged_get(paged_key(keys[i], text), PLSM_OK);
    ck_assert_uint_eq(paged_account(SIM_ACTUAL).totals.reads, READS - 1);
    ck_assert_uint_ge(paged_account(SIM_TRADITIONAL).totals.reads, READS - 1 + (ROUNDS - 1) * room);
    ck_assert(paged_statistic("sim.saved_read_ms") > 0);
    ck_assert(paged_statistic("sim.saved_percent") > 0 && paged_statistic("sim.saved_percent") < 100);
    ck_assert(paged_statistic("sim.traditional_reads") > paged_statistic("sim.reads"));
    paged_stop();
}
END_TEST

/* What is loaded for the traditional side alone is none of the mode's memory, and the mode's own counters stay. */
START_TEST(the_other_side_is_not_counted)
{
    double index[2], filter[2], hits[2];
    char text[64], texts[MANY][64];
    plsm_slice keys[MANY];
    plsm_status statuses[MANY];
    struct lsm_value values[MANY] = {0};
    for (unsigned simulate = 0; simulate < 2; simulate++) {
        paged.env = env_memory_create(1);
        struct lsm_options o = paged_options(LSM_LEARNED);
        o.simulate = simulate;
        paged_open(&o);
        paged_fill(PAGED_SMALL);
        for (unsigned i = 0; i < PAGED_KEYS; i += 7)
            paged_get(paged_key(i, text), PLSM_OK);
        for (unsigned i = 0; i < MANY; i++)
            keys[i] = paged_key(i, texts[i]);
        ck_assert_int_eq(lsm_multi_get(paged.db, NULL, keys, MANY, false, values, statuses), PLSM_OK);
        ck_assert_ptr_null(atomic_load(&paged_body(paged_run(0))->fences));
        ck_assert(paged_statistic("sim.reads") > 0 || !simulate);
        ck_assert_str_eq(lsm_simulated_device(paged.db), simulate ? "own" : "off");
        index[simulate] = paged_statistic("learn.bytes.index");
        filter[simulate] = paged_statistic("learn.bytes.filter");
        hits[simulate] = paged_statistic("cache.hits");
        ck_assert_double_eq(paged_statistic("learn.bytes.index"), index[simulate]);
        paged_stop();
    }
    ck_assert_double_eq(index[0], index[1]);
    ck_assert_double_eq(filter[0], filter[1]);
    ck_assert_double_eq(hits[0], hits[1]);
    for (unsigned i = 0; i < MANY; i++)
        lsm_value_free(&values[i]);
}
END_TEST

START_TEST(damage_and_want_of_memory_change_no_answer)
{
    char text[64];
    paged.env = env_memory_create(1);
    struct lsm_options o = paged_options(LSM_LEARNED);
    paged_start(&o);
    struct run_body *body = paged_body(paged_run(0));
    struct run_block_place *place = &body->footer.blocks[RUN_FENCES];
    place->checksum ^= 1;
    run_traditional_free(atomic_exchange(&body->traditional, NULL));
    for (unsigned i = 0; i < READS; i++)
        paged_get(paged_key(i, text), PLSM_OK);
    ck_assert_uint_gt(paged_account(SIM_ACTUAL).totals.reads, 0);
    ck_assert_uint_eq(paged_account(SIM_TRADITIONAL).totals.reads, 0);
    place->checksum ^= 1;
    paged_stop();
}
END_TEST

START_TEST(figures_are_checked)
{
    paged.env = env_memory_create(1);
    struct lsm_options o = paged_options(LSM_LEARNED);
    o.simulation.queue_depth = 0;
    ck_assert_int_eq(lsm_open("/s", &o, &paged.db), PLSM_INVALID);
    o.simulate = false;
    paged_start(&o);
    ck_assert_double_eq(paged_statistic("sim.reads"), 0);
    paged_stop();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("simulated memory");
    TCase *tcase = tcase_create("memory");
    tcase_set_timeout(tcase, 120);
    tcase_add_loop_test(tcase, index_and_filters_take_room, 0, 2);
    tcase_add_test(tcase, what_is_in_memory_is_followed);
    tcase_add_test(tcase, a_smaller_index_leaves_more_room);
    tcase_add_test(tcase, the_other_side_is_not_counted);
    tcase_add_test(tcase, damage_and_want_of_memory_change_no_answer);
    tcase_add_test(tcase, figures_are_checked);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
