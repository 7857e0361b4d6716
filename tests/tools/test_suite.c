/* What `plsm bench engines` is made of: the distributions of seed 003 and its figures, and who wins. */
#include <check.h>
#include <math.h>
#include <stdlib.h>

#include "tools/bench/distribution.h"
#include "tools/bench/published.h"
#include "tools/bench/suite_report.h"
#include "tools/bench/victim.h"
#include "base/error.h"
#include "base/banned.h"

/* --- distributions ----------------------------------------------------------------------------------------------- */

enum { ITEMS = 100, DRAWS = 1000000 };

/* Counts of many draws against what they should be: with 99 degrees of freedom chi-squared is above 170, and below 45,
 * with a chance of about 1e-5 each. Seeds are fixed. */
static double chi_squared(const uint64_t *counts, const double *weights)
{
    double all = 0, sum = 0;
    for (int i = 0; i < ITEMS; i++)
        all += weights[i];
    for (int i = 0; i < ITEMS; i++) {
        double expected = DRAWS * weights[i] / all, off = (double)counts[i] - expected;
        sum += off * off / expected;
    }
    return sum;
}

START_TEST(draws_follow_their_laws)
{
    enum distribution_kind kind = (enum distribution_kind)_i;
    uint64_t counts[ITEMS] = {0};
    double weights[ITEMS];
    struct distribution d;
    distribution_init(&d, kind, ITEMS, 5);
    for (int i = 0; i < DRAWS; i++) {
        uint64_t item = distribution_next(&d);
        ck_assert_uint_lt(item, ITEMS);
        counts[item]++;
    }
    /* Over whole rounds every range of HotSet is hot equally often. */
    for (int i = 0; i < ITEMS; i++)
        weights[i] = kind == DISTRIBUTION_ZIPFIAN ? pow(i + 1, -0.99) : 1;
    double off = chi_squared(counts, weights);
    ck_assert_msg(off < 170, "%s: chi-squared %g", distribution_names[kind], off);
    if (kind != DISTRIBUTION_HOTSET) /* its rounds are even by construction */
        ck_assert_msg(off > 45, "%s: chi-squared %g is too good to be random", distribution_names[kind], off);
}
END_TEST

START_TEST(a_hot_range_has_nine_draws_of_ten_and_then_the_next_is_hot)
{
    struct distribution d;
    distribution_init(&d, DISTRIBUTION_HOTSET, 1003, 9);
    uint64_t hits[HOTSET_RANGES] = {0}, others[HOTSET_RANGES] = {0};
    for (uint32_t turn = 0; turn < 10000; turn++)
        for (uint32_t i = 0; i < HOTSET_DRAWS; i++) {
            uint64_t item = distribution_next(&d);
            uint32_t range = 0, hot = turn % HOTSET_RANGES;
            while (item >= hotset_begin(1003, range + 1))
                range++;
            ck_assert_uint_lt(range, HOTSET_RANGES);
            range == hot ? hits[hot]++ : others[range]++;
        }
    for (int range = 0; range < HOTSET_RANGES; range++) { /* five standard deviations and more */
        ck_assert_msg(llabs((long long)hits[range] - 180000) < 1000, "%d: %llu hot draws", range,
                      (unsigned long long)hits[range]);
        ck_assert_msg(llabs((long long)others[range] - 20000) < 800, "%d: %llu cold draws", range,
                      (unsigned long long)others[range]);
    }
}
END_TEST

START_TEST(hot_ranges_differ_by_one_item_at_most)
{
    static const uint64_t begins[HOTSET_RANGES + 1] = {0, 3, 6, 8, 10, 12};
    for (uint32_t range = 0; range <= HOTSET_RANGES; range++) {
        ck_assert_uint_eq(hotset_begin(12, range), begins[range]);
        ck_assert_uint_eq(hotset_begin(HOTSET_RANGES, range), range);
    }
}
END_TEST

START_TEST(a_seed_gives_the_same_draws_again)
{
    struct distribution one, other;
    distribution_init(&one, (enum distribution_kind)_i, 10000, 3);
    distribution_init(&other, (enum distribution_kind)_i, 10000, 3);
    for (int i = 0; i < 1000; i++)
        ck_assert_uint_eq(distribution_next(&one), distribution_next(&other));
}
END_TEST

/* --- published figures ------------------------------------------------------------------------------------------- */

START_TEST(published_figures_are_found_by_engine_and_cell)
{
    ck_assert_str_eq(published_engine("lsm"), "LSMTree");
    ck_assert_str_eq(published_engine("appendlog"), "AppendLog");
    ck_assert_ptr_null(published_engine("rocksdb"));
    ck_assert_double_eq(published_s("lsm", 100, DISTRIBUTION_ZIPFIAN, false), 0.741);
    ck_assert_double_eq(published_s("lsm", 1000000, DISTRIBUTION_UNIFORM, true), 10.555);
    ck_assert_double_eq(published_s("hybridlog", 10000, DISTRIBUTION_HOTSET, true), 2.377);
    ck_assert_double_eq(published_s("appendlog", 1000000, DISTRIBUTION_HOTSET, false), 3.266);
    ck_assert_double_nan(published_s("lsm", 1000, DISTRIBUTION_ZIPFIAN, false));
    ck_assert_double_nan(published_s("rocksdb", 100, DISTRIBUTION_ZIPFIAN, false));
}
END_TEST

/* --- winners ----------------------------------------------------------------------------------------------------- */

START_TEST(spreads_leave_out_what_is_not_known)
{
    double values[] = {3, NAN, 1, 2, NAN}, unknown[] = {NAN, NAN};
    struct spread spread = spread_of(values, 5), none = spread_of(unknown, 2);
    ck_assert_double_eq(spread.least, 1);
    ck_assert_double_eq(spread.median, 2);
    ck_assert_double_eq(spread.most, 3);
    ck_assert_double_nan(none.median);
}
END_TEST

static const struct winner_case {
    struct spread spreads[3];
    uint32_t count;
    bool more;
    int best, second;
    double factor; /* 0: NAN */
    bool clear;
} winner_cases[] = {
    {{{9, 10, 11}, {11.5, 12, 14}, {25, 30, 40}}, 3, false, 0, 1, 1.2, true},
    {{{9, 10, 11.5}, {11.5, 12, 14}, {25, 30, 40}}, 3, false, 0, 1, 1.2, false},     /* runs touch */
    {{{10, 10, 10}, {10.5, 10.5, 10.5}, {30, 30, 30}}, 3, false, 0, 1, 1.05, false}, /* too close */
    {{{9, 10, 11}, {11.5, 12, 14}, {25, 30, 40}}, 3, true, 2, 1, 2.5, true},
    {{{NAN, NAN, NAN}, {1, 1, 1}, {NAN, NAN, NAN}}, 3, false, 1, -1, 0, false},
    {{{NAN, NAN, NAN}, {NAN, NAN, NAN}}, 2, true, -1, -1, 0, false},
    {{{0, 0, 0}, {2, 2, 2}}, 2, false, 0, 1, 0, true}, /* nothing is better than something, by no factor */
    {{{5, 5, 5}, {5, 5, 5}}, 2, false, 0, 1, 1, false},
    {{{1, 1, 1}}, 1, true, 0, -1, 0, false},
};

START_TEST(winners_are_those_of_the_table)
{
    const struct winner_case *c = &winner_cases[_i];
    struct winner winner = winner_of(c->spreads, c->count, c->more);
    ck_assert_int_eq(winner.best, c->best);
    ck_assert_int_eq(winner.second, c->second);
    ck_assert_int_eq(winner.clear, c->clear);
    if (c->factor > 0)
        ck_assert_double_eq_tol(winner.factor, c->factor, 1e-9);
    else
        ck_assert_double_nan(winner.factor);
}
END_TEST

START_TEST(ratios_have_geometric_means)
{
    const double even[] = {2, 0.5}, some[] = {NAN, 8, 2}, none[] = {NAN};
    ck_assert_double_eq_tol(mean_of_ratios(even, 2), 1, 1e-12);
    ck_assert_double_eq_tol(mean_of_ratios(some, 3), 4, 1e-12);
    ck_assert_double_nan(mean_of_ratios(none, 1));
    ck_assert_double_eq(behind(20, 10, false), 2);
    ck_assert_double_eq(behind(10, 20, true), 2);
    ck_assert_double_nan(behind(0, 10, false));
    ck_assert_double_nan(behind(NAN, 10, false));
}
END_TEST

/* --- standings --------------------------------------------------------------------------------------------------- */

enum { PUT, GET, TOLD, RATE, CASE_FIGURES };
static const struct suite_figure case_figures[CASE_FIGURES] = {
    {"put", "ns", BETTER_LESS, WORK_WRITE_MANY},
    {"get", "ns", BETTER_LESS, WORK_READ},
    {"told", "ns", BETTER_NEITHER, WORK_READ},
    {"rate", "/s", BETTER_MORE, WORK_THREADS},
};

static void set(struct suite *suite, uint32_t job, uint32_t contender, const double figures[CASE_FIGURES])
{
    for (uint32_t f = 0; f < CASE_FIGURES; f++)
        suite_values(suite, &suite->jobs[job], contender, f)[0] = figures[f];
}

/* Two engines, one of them under two promises, and two jobs: with few keys and with many. */
START_TEST(standings_follow_from_figures_of_those_who_promise_the_same)
{
    struct bench_plan plan = {.repeat = 1};
    struct suite *suite = calloc(1, sizeof *suite);
    struct standing s;
    ck_assert_ptr_nonnull(suite);
    suite->plan = &plan;
    suite->values = calloc(2 * SUITE_CONTENDERS_MAX * SUITE_FIGURES_MAX, sizeof(double));
    ck_assert_ptr_nonnull(suite->values);
    suite->contenders[0] = (struct contender){"lsm", PROMISE_EACH};
    suite->contenders[1] = (struct contender){"lsm", PROMISE_BATCH};
    suite->contenders[2] = (struct contender){"hybridlog", PROMISE_EACH};
    suite->contender_count = 3;
    suite_add(suite, &(struct suite_job){.figures = case_figures, .figure_count = CASE_FIGURES, .keys = 10000});
    suite_add(suite, &(struct suite_job){.figures = case_figures, .figure_count = CASE_FIGURES, .keys = 10001});
    set(suite, 0, 0, (double[]){100, 100, 1, 10});
    set(suite, 0, 1, (double[]){1, 1, 1, 1000});
    set(suite, 0, 2, (double[]){50, 400, 9, 20});
    set(suite, 1, 0, (double[]){100, 100, 1, NAN});
    set(suite, 1, 1, (double[]){1, 1, 1, 1000});
    set(suite, 1, 2, (double[]){300, 50, 9, 10});
    suite_standing(suite, WORK_WRITE_FEW, &s);
    ck_assert_uint_eq(s.figures, 1);
    ck_assert_int_eq(s.best, 2);
    ck_assert_int_eq(s.second, 0);
    ck_assert_double_eq_tol(s.behind[0], 2, 1e-9);
    ck_assert_double_nan(s.behind[1]);
    suite_standing(suite, WORK_WRITE_MANY, &s);
    ck_assert_int_eq(s.best, 0);
    ck_assert_double_eq_tol(s.behind[2], 3, 1e-9);
    suite_standing(suite, WORK_READ, &s); /* 1 and 2 for the one, 4 and 1 for the other */
    ck_assert_uint_eq(s.figures, 2);
    ck_assert_double_eq_tol(s.behind[0], sqrt(2), 1e-9);
    ck_assert_double_eq_tol(s.behind[2], 2, 1e-9);
    suite_standing(suite, WORK_THREADS, &s); /* more is better; one has no figure of the second job */
    ck_assert_int_eq(s.best, 2);
    ck_assert_double_eq_tol(s.behind[0], 2, 1e-9);
    suite_standing(suite, WORK_MEMORY, &s);
    ck_assert_uint_eq(s.figures, 0);
    ck_assert_int_eq(s.best, -1);
    free(suite->values);
    free(suite);
}
END_TEST

START_TEST(parts_are_chosen_by_name)
{
    ck_assert(suite_wants(NULL, "table"));
    ck_assert(suite_wants("table", "table"));
    ck_assert(suite_wants("listing,table,space", "table"));
    ck_assert(!suite_wants("listing,tables", "table"));
    ck_assert(!suite_wants("listing,tab", "table"));
    ck_assert(suite_parts_check(NULL));
    ck_assert(suite_parts_check("table,integers,scaling,threads,listing,flush,space,recovery,checkpoint"));
    ck_assert(!suite_parts_check(""));
    ck_assert(!suite_parts_check("table,"));
    ck_assert(!suite_parts_check("table,frob"));
}
END_TEST

START_TEST(figures_are_told_with_three_digits)
{
    char text[FIGURE_TEXT_SIZE];
    ck_assert_str_eq(suite_figure_text(text, NAN), "-");
    ck_assert_str_eq(suite_figure_text(text, 0), "0");
    ck_assert_str_eq(suite_figure_text(text, 0.12345), "0.123");
    ck_assert_str_eq(suite_figure_text(text, 1.2345), "1.23");
    ck_assert_str_eq(suite_figure_text(text, 12.345), "12.3");
    ck_assert_str_eq(suite_figure_text(text, 12345.6), "12346");
}
END_TEST

/* --- who is killed ----------------------------------------------------------------------------------------------- */

static plsm_status give(const void *arg, double *figure)
{
    *figure = *(const double *)arg * 2;
    return PLSM_OK;
}

static plsm_status give_up(const void *arg, double *figure)
{
    (void)figure;
    return fail(PLSM_NO_SPACE, "no room for %g", *(const double *)arg);
}

static plsm_status die(const void *arg, double *figure)
{
    (void)arg, (void)figure;
    abort();
}

START_TEST(what_a_victim_says_is_brought_back)
{
    double number = 21, figure = 0;
    ck_assert_int_eq(victim_run(give, &number, &figure), PLSM_OK);
    ck_assert_double_eq(figure, 42);
    ck_assert_int_eq(victim_run(give_up, &number, &figure), PLSM_NO_SPACE);
    ck_assert_str_eq(plsm_message(), "no room for 21");
    ck_assert_int_eq(victim_run(die, &number, &figure), PLSM_IO);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("bench engines");
    TCase *draws = tcase_create("draws"), *figures = tcase_create("figures");
    tcase_set_timeout(draws, 60);
    tcase_set_timeout(figures, 60);
    tcase_add_loop_test(draws, draws_follow_their_laws, 0, DISTRIBUTIONS);
    tcase_add_test(draws, a_hot_range_has_nine_draws_of_ten_and_then_the_next_is_hot);
    tcase_add_test(draws, hot_ranges_differ_by_one_item_at_most);
    tcase_add_loop_test(draws, a_seed_gives_the_same_draws_again, 0, DISTRIBUTIONS);
    tcase_add_test(figures, published_figures_are_found_by_engine_and_cell);
    tcase_add_test(figures, spreads_leave_out_what_is_not_known);
    tcase_add_loop_test(figures, winners_are_those_of_the_table, 0, sizeof winner_cases / sizeof *winner_cases);
    tcase_add_test(figures, ratios_have_geometric_means);
    tcase_add_test(figures, standings_follow_from_figures_of_those_who_promise_the_same);
    tcase_add_test(figures, parts_are_chosen_by_name);
    tcase_add_test(figures, figures_are_told_with_three_digits);
    tcase_add_test(figures, what_a_victim_says_is_brought_back);
    suite_add_tcase(suite, draws);
    suite_add_tcase(suite, figures);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
