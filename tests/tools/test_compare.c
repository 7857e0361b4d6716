/* The comparison of modes: that it tells wrong answers, that its rounds are fair, its quartiles right, and that models
 * are damaged and mended as they should be. */
#include <check.h>
#include <math.h>
#include <stdlib.h>

#include "base/error.h"
#include "tests/harness/temporary.h"
#include "tools/bench/contest.h"
#include "tools/bench/damage.h"
#include "tools/bench/quantile.h"
#include "tools/bench/verify.h"
#include "base/banned.h"

/* --- arithmetic --------------------------------------------------------------------------------------------------- */

START_TEST(quartiles_lie_between_values_in_proportion)
{
    static const struct {
        size_t count;
        double values[6], first, median, third;
    } cases[] = {
        {1, {7}, 7, 7, 7},
        {2, {4, 2}, 2.5, 3, 3.5},
        {3, {3, 1, 2}, 1.5, 2, 2.5},
        {4, {4, 3, 2, 1}, 1.75, 2.5, 3.25},
        {5, {5, 1, 4, 2, 3}, 2, 3, 4},
        {6, {0, 0, 0, 0, 0, 100}, 0, 0, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        double values[6];
        memcpy(values, cases[i].values, sizeof values);
        struct quartiles q = quartiles_of(values, cases[i].count);
        ck_assert_double_eq_tol(q.first, cases[i].first, 1e-12);
        ck_assert_double_eq_tol(q.median, cases[i].median, 1e-12);
        ck_assert_double_eq_tol(q.third, cases[i].third, 1e-12);
        ck_assert_double_eq_tol(quantile(values, cases[i].count, 0.5), cases[i].median, 1e-12);
        ck_assert_double_le(quantile(values, cases[i].count, 0), quantile(values, cases[i].count, 1));
    }
}
END_TEST

/* In as many rounds as there are lanes each lane comes once at each place; and as often in front of another one as
 * behind it, over twice as many. */
START_TEST(lanes_take_turns)
{
    for (uint32_t lanes = 1; lanes <= CONTEST_LANES_MAX; lanes++) {
        uint32_t at[CONTEST_LANES_MAX][CONTEST_LANES_MAX] = {{0}}, before[CONTEST_LANES_MAX][CONTEST_LANES_MAX] = {{0}};
        for (uint32_t round = 0; round < 2 * lanes; round++) {
            bool seen[CONTEST_LANES_MAX] = {0};
            for (uint32_t place = 0; place < lanes; place++) {
                uint32_t lane = contest_order(lanes, round, place);
                ck_assert_uint_lt(lane, lanes);
                ck_assert(!seen[lane]);
                for (uint32_t other = 0; other < lanes; other++)
                    before[other][lane] += seen[other];
                seen[lane] = true;
                at[lane][place]++;
            }
        }
        for (uint32_t i = 0; i < lanes; i++)
            for (uint32_t j = 0; j < lanes; j++) {
                ck_assert_uint_eq(at[i][j], 2);
                ck_assert_uint_eq(before[i][j], before[j][i]);
            }
    }
}
END_TEST

/* --- answers ------------------------------------------------------------------------------------------------------ */

START_TEST(different_answers_are_told_with_their_key)
{
    struct questions q = {0};
    ck_assert_int_eq(questions_init(&q, 3), PLSM_OK);
    questions_clear(&q);
    ck_assert_int_eq(questions_add(&q, slice_of("apple"), 1), PLSM_OK);
    ck_assert_int_eq(questions_add(&q, slice_of("pear\n"), 2), PLSM_OK);
    ck_assert_int_eq(questions_add(&q, slice_of("plum"), 0), PLSM_OK);
    questions_done(&q);
    ck_assert(slice_equal(q.keys[1], slice_of("pear\n")));
    uint64_t same[3] = {1, 2, 0}, other_value[3] = {1, 3, 0}, missing[3] = {1, 0, 0}, extra[3] = {1, 2, 9};
    ck_assert_int_eq(probe_compare(&q, "learned", q.right, "traditional", same), PLSM_OK);
    ck_assert_int_eq(probe_compare(&q, "learned", same, "traditional", other_value), PLSM_CORRUPT);
    ck_assert_str_eq(plsm_message(), "wrong answer: learned and traditional have different values of the key pear\\n");
    ck_assert_int_eq(probe_compare(&q, "learned", same, "traditional", missing), PLSM_CORRUPT);
    ck_assert_str_eq(plsm_message(), "wrong answer: learned has the key pear\\n, traditional does not");
    ck_assert_int_eq(probe_compare(&q, "learned", same, "traditional", extra), PLSM_CORRUPT);
    ck_assert_str_eq(plsm_message(), "wrong answer: traditional has the key plum, learned does not");
    questions_free(&q);
}
END_TEST

START_TEST(digests_tell_values_apart)
{
    ck_assert_uint_ne(probe_digest(slice_of("")), 0);
    ck_assert_uint_ne(probe_digest(slice_of("a")), probe_digest(slice_of("b")));
    ck_assert_uint_ne(probe_digest(slice("\0", 1)), probe_digest(slice("\0\0", 2)));
}
END_TEST

/* --- stores ------------------------------------------------------------------------------------------------------- */

enum { KEYS = 5000, LOOKUPS = 20000 };

static char *directory;
static struct compare_plan plan;
static struct data data;
static struct stores stores;

static void set_up(void)
{
    directory = temporary_create();
    plan = (struct compare_plan){.modes = {"learned", "traditional"},
                                 .mode_count = 2,
                                 .batch = 100,
                                 .rounds = 3,
                                 .threads = 2,
                                 .ops = 500,
                                 .cache_bytes = 64 << 20,
                                 .options = "buffer_size=64K,file_size=64K"};
    ck_assert_int_eq(data_init(&data, "ycsb", KEYS, 0, 50, 1), PLSM_OK);
    stores_init(&stores, &plan, &data, directory);
    ck_assert_int_eq(stores_load(&stores), PLSM_OK);
}

static void tear_down(void)
{
    stores_free(&stores);
    data_free(&data);
    temporary_destroy(directory);
}

static void put_wrong(plsm_slice key, const char *value)
{
    plsm *db = NULL;
    ck_assert_int_eq(stores_open_one(&stores, "read", 0, 0, NULL, &db), PLSM_OK);
    ck_assert_int_eq(value ? plsm_put(db, key, slice_of(value), PLSM_NONE) : plsm_delete(db, key, PLSM_NONE), PLSM_OK);
    ck_assert_int_eq(plsm_close(db), PLSM_OK);
}

/* Whether a lookup of every key in a contest of a kind goes wrong; the message names the key then. */
static plsm_status contest_of(enum choice_kind choice_kind, enum probe_kind kind)
{
    struct choice choice;
    struct contest contest;
    uint32_t all[KEYS];
    for (uint32_t i = 0; i < KEYS; i++)
        all[i] = i;
    choice_init(&choice, choice_kind, &data, 1);
    choice.list = all;
    choice.list_count = KEYS;
    contest_init(&contest, &stores, "test", &kind, 1, &choice, 10 * KEYS);
    plsm_status status = contest_run(&contest);
    contest_free(&contest);
    return status;
}

START_TEST(right_stores_pass)
{
    struct verify_counts counts = {0};
    ck_assert_int_eq(stores_open(&stores, NULL), PLSM_OK);
    ck_assert_int_eq(verify_stores(&stores, LOOKUPS, &counts), PLSM_OK);
    ck_assert_uint_eq(counts.lookups, LOOKUPS);
    ck_assert_uint_eq(counts.present + counts.absent, LOOKUPS);
    ck_assert_uint_gt(counts.present, LOOKUPS / 3);
    ck_assert_uint_gt(counts.absent, LOOKUPS / 3);
    ck_assert_uint_eq(counts.wrong, 0);
    ck_assert_str_eq(counts.first, "");
    ck_assert_int_eq(contest_of(CHOICE_LIST, PROBE_GET), PLSM_OK);
    ck_assert_int_eq(contest_of(CHOICE_ZIPF, PROBE_MANY_16), PLSM_OK);
    ck_assert_int_eq(contest_of(CHOICE_ABSENT, PROBE_MANY_100), PLSM_OK);
}
END_TEST

/* Both modes read what was not written: a value that is another, a key that is gone, a key too many. */
START_TEST(wrong_answers_of_stores_are_counted_and_end_a_contest)
{
    static const char *const messages[] = {"different values of the key user", "what was written has the key user",
                                           "has the key user"};
    struct verify_counts counts = {0};
    uint8_t buffer[SHAPE_KEY_MAX];
    plsm_slice key = _i < 2 ? data_key(&data, 77, buffer) : shape_absent(data.set, SHAPE_ABSENT_OTHER, 77, buffer);
    put_wrong(key, _i == 1 ? NULL : "not what was written");
    ck_assert_int_eq(stores_open(&stores, NULL), PLSM_OK);
    ck_assert_int_eq(verify_stores(&stores, 10 * LOOKUPS, &counts), PLSM_OK);
    ck_assert_uint_gt(counts.wrong, 0);
    ck_assert_uint_eq(counts.wrong % 4, 0); /* a get and a multi_get in each of two modes */
    ck_assert_ptr_nonnull(strstr(counts.first, messages[_i]));
    enum choice_kind kind = _i < 2 ? CHOICE_LIST : CHOICE_ABSENT;
    ck_assert_int_eq(contest_of(kind, PROBE_GET), PLSM_CORRUPT);
    ck_assert_ptr_nonnull(strstr(plsm_message(), messages[_i]));
    ck_assert_int_eq(contest_of(kind, PROBE_MANY_100), PLSM_CORRUPT);
}
END_TEST

/* Modes with stores of their own, one of which is wrong: they differ, also in ranges, of which nothing is known. */
START_TEST(modes_that_differ_end_a_contest)
{
    uint8_t buffer[SHAPE_MADE_MAX];
    plsm *right = NULL;
    ck_assert_int_eq(stores_open(&stores, NULL), PLSM_OK);
    right = stores.db[0];
    stores.db[0] = NULL;
    stores_close(&stores);
    put_wrong(data_key(&data, 5, buffer), _i ? NULL : "not what was written");
    ck_assert_int_eq(stores_open(&stores, NULL), PLSM_OK);
    ck_assert_int_eq(plsm_close(stores.db[0]), PLSM_OK);
    stores.db[0] = right;
    ck_assert_int_eq(contest_of(CHOICE_LIST, PROBE_RANGE), PLSM_CORRUPT);
    ck_assert_ptr_nonnull(strstr(plsm_message(), "learned and traditional have different values"));
    ck_assert_int_eq(contest_of(CHOICE_LIST, PROBE_GET), PLSM_CORRUPT);
}
END_TEST

/* Keys by level: those of the lists are there, and the lists of a store with several levels are not of one alone. */
START_TEST(keys_are_found_on_their_level)
{
    struct level_keys levels = {0};
    struct stats *stats = malloc(sizeof *stats);
    unsigned filled = 0;
    ck_assert_ptr_nonnull(stats);
    ck_assert_int_eq(stores_open(&stores, NULL), PLSM_OK);
    ck_assert_int_eq(stores_classify(&stores, &levels), PLSM_OK);
    stats_read(stores.db[0], stats);
    for (unsigned level = 0; level < STATS_LEVELS_MAX; level++) {
        filled += levels.count[level] > 0;
        if (levels.count[level] > 0)
            ck_assert_double_gt(stats_of_level(stats, level, "files"), 0);
    }
    ck_assert_uint_gt(levels.count[0], 0);
    ck_assert_uint_ge(filled, 2);
    ck_assert_uint_ge(stats_levels(stats), filled);
    ck_assert(isnan(stats_get(stats, "no.such.name")));
    level_keys_free(&levels);
    free(stats);
}
END_TEST

/* --- damage ------------------------------------------------------------------------------------------------------- */

static void check_blocks(const char *path, const struct damage_list *known, bool same)
{
    struct damage_list now = {0};
    ck_assert_int_eq(damage_find(path, "run-", &now), PLSM_OK);
    ck_assert_uint_eq(now.count, same ? known->count : 0);
    for (size_t i = 0; i < now.count && same; i++) {
        bool found = false;
        for (size_t j = 0; j < known->count; j++)
            found = found || (strcmp(now.blocks[i].path, known->blocks[j].path) == 0 &&
                              now.blocks[i].size == known->blocks[j].size &&
                              memcmp(now.blocks[i].bytes, known->blocks[j].bytes, now.blocks[i].size) == 0);
        ck_assert(found);
    }
    damage_free(&now);
}

START_TEST(models_are_damaged_and_mended)
{
    char path[512];
    struct damage_list list = {0};
    struct verify_counts counts = {0};
    snprintf(path, sizeof path, "%s/read-learned", directory);
    ck_assert_int_eq(damage_find(path, "run-", &list), PLSM_OK);
    ck_assert_uint_gt(list.count, 2);
    ck_assert_int_eq(damage_apply(&list, (enum damage)_i, 1), PLSM_OK);
    if (_i < DAMAGE_VERSION)
        check_blocks(path, &list, false); /* none has a right checksum */
    ck_assert_int_eq(stores_open(&stores, NULL), PLSM_OK);
    ck_assert_int_eq(verify_stores(&stores, LOOKUPS, &counts), PLSM_OK);
    ck_assert_msg(counts.wrong == 0, "%s: %s", damage_name((enum damage)_i), counts.first);
    stores_close(&stores);
    ck_assert_int_eq(damage_mend(&list), PLSM_OK);
    check_blocks(path, &list, true);
    damage_free(&list);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("tools/compare");
    TCase *arithmetic = tcase_create("arithmetic"), *on_stores = tcase_create("stores");
    tcase_add_test(arithmetic, quartiles_lie_between_values_in_proportion);
    tcase_add_test(arithmetic, lanes_take_turns);
    tcase_add_test(arithmetic, different_answers_are_told_with_their_key);
    tcase_add_test(arithmetic, digests_tell_values_apart);
    tcase_add_checked_fixture(on_stores, set_up, tear_down);
    tcase_add_test(on_stores, right_stores_pass);
    tcase_add_loop_test(on_stores, wrong_answers_of_stores_are_counted_and_end_a_contest, 0, 3);
    tcase_add_loop_test(on_stores, modes_that_differ_end_a_contest, 0, 2);
    tcase_add_test(on_stores, keys_are_found_on_their_level);
    tcase_add_loop_test(on_stores, models_are_damaged_and_mended, 0, DAMAGES);
    tcase_set_timeout(on_stores, 120);
    suite_add_tcase(suite, arithmetic);
    suite_add_tcase(suite, on_stores);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
