/* The cost model: figures by hand, and that it chooses as one would. */
#include <check.h>
#include <math.h>
#include <stdlib.h>

#include "base/error.h"
#include "lsm/cost.h"

#include "base/banned.h"

static struct cost_workload workload(double puts, double present, double absent, double scans)
{
    struct cost_workload w = {.puts = puts,
                              .present = present,
                              .absent = absent,
                              .scans = scans,
                              .scan_entries = 100,
                              .entries = 10000000,
                              .entry_bytes = 116,
                              .memory_bytes = UINT64_C(512) << 20};
    INVARIANT(simulation_profile_find("nvme", &w.device) == PLSM_OK);
    return w;
}

START_TEST(figures)
{
    const uint64_t mib = 1 << 20;
    const struct {
        enum lsm_policy policy;
        uint32_t ratio, bits;
        uint64_t buffer, entries;
        double amplification, runs, pages;
    } table[] = {
        {LSM_POLICY_LEVELED, 10, 8, 64 * mib, 10000000, 6.16, 4, 1.00}, /* the example in cost.h */
        {LSM_POLICY_LEVELED, 10, 0, 64 * mib, 10000000, 6.16, 4, 4.00}, /* every run is looked into */
        {LSM_POLICY_LEVELED, 2, 8, mib, 400000, 8.9, 6, 1.00},
        {LSM_POLICY_LEVELED, 4, 8, mib, 400000, 8.3, 5, 1.00},
        {LSM_POLICY_TIERED, 4, 8, mib, 400000, 4.25, 5, 1.01},
        {LSM_POLICY_LAZY, 4, 8, mib, 400000, 4.54, 4, 1.00},
        {LSM_POLICY_LEVELED, 10, 8, 64 * mib, 1, 3.5, 3, 1.00}, /* all in one level */
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        struct cost_workload w = workload(1, 1, 1, 1);
        struct cost_setting s = {.policy = table[i].policy,
                                 .size_ratio = table[i].ratio,
                                 .filter_bits = table[i].bits,
                                 .buffer_bytes = table[i].buffer};
        struct cost c;
        w.entries = table[i].entries;
        cost_of(&w, &s, &c);
        ck_assert_msg(fabs(c.write_amplification - table[i].amplification) < 0.5, "line %zu: written %.2f", i,
                      c.write_amplification);
        ck_assert_msg(fabs(c.sorted_runs - table[i].runs) < 0.51, "line %zu: %.2f runs", i, c.sorted_runs);
        ck_assert_msg(fabs(c.pages_per_get - table[i].pages) < 0.02, "line %zu: %.3f pages", i, c.pages_per_get);
    }
}
END_TEST

START_TEST(memory)
{
    const uint64_t mib = 1 << 20;
    struct cost_workload w = workload(1, 1, 1, 1);
    struct cost_setting s = {.filter_bits = 8, .buffer_bytes = 64 * mib};
    uint64_t cache = 0;
    ck_assert(cost_cache_bytes(&w, &s, &cache));
    ck_assert_uint_eq(cache / mib, 512 - 128 - 13); /* 10.5 bits for each of 10 M keys */
    s.buffer_bytes = 256 * mib;
    ck_assert(!cost_cache_bytes(&w, &s, &cache));
    w.memory_bytes = 1;
    struct cost cost;
    ck_assert_uint_eq(cost_choose(&w, &s, &cost, 1), 0);
}
END_TEST

static struct cost_setting best(struct cost_workload w)
{
    struct cost_setting settings[5] = {{0}};
    struct cost costs[5];
    ck_assert_uint_eq(cost_choose(&w, settings, costs, 5), 5);
    for (size_t i = 1; i < 5; i++)
        ck_assert(costs[i - 1].mean_us <= costs[i].mean_us);
    return settings[0];
}

START_TEST(choices)
{
    struct cost_setting puts = best(workload(1, 0, 0, 0)), reads = best(workload(0, 90, 10, 0)),
                        scans = best(workload(1, 0, 0, 99));
    ck_assert_int_eq(puts.policy, LSM_POLICY_TIERED); /* fewest copies */
    ck_assert_uint_eq(puts.filter_bits, 0);           /* nobody asks */
    ck_assert_uint_gt(puts.buffer_bytes, reads.buffer_bytes);
    ck_assert_uint_gt(reads.filter_bits, 0);
    ck_assert_uint_gt(reads.cache_bytes, puts.cache_bytes);
    ck_assert_int_ne(scans.policy, LSM_POLICY_TIERED); /* fewest sorted runs */
    struct cost_workload absent = workload(1, 0, 99, 0);
    ck_assert_uint_ge(best(absent).filter_bits, 8);
    ck_assert(simulation_profile_find("hdd", &absent.device) == PLSM_OK); /* a page costs more: more bits */
    ck_assert_uint_ge(best(absent).filter_bits, 10);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("cost");
    TCase *tcase = tcase_create("cost");
    tcase_add_test(tcase, figures);
    tcase_add_test(tcase, memory);
    tcase_add_test(tcase, choices);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
