/* Simulated I/O of a tree whose pages are known: what each kind of call is charged, to the nanosecond, on either side.
 */
#include <check.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/checksum.h"
#include "base/env_memory.h"
#include "tests/harness/paged_tree.h"

#include "base/banned.h"

enum { READS = 60, MANY = 20 };

static uint64_t cost(uint64_t blocks, bool sequential, uint64_t batch)
{
    return simulation_cost_ns(&paged_device, blocks, sequential, batch);
}

/* --- lookups --- */

START_TEST(present_keys_are_a_random_read_each)
{
    unsigned keys[READS];
    char text[64];
    paged.env = env_memory_create(1);
    struct lsm_options o = paged_options((enum lsm_index)_i);
    paged_start(&o);
    paged_choose(keys, READS);
    for (unsigned i = 0; i < READS; i++)
        paged_get(paged_key(keys[i], text), PLSM_OK);
    paged_charged(READS, 0, 0, READS * cost(1, false, 1));
    for (unsigned i = 0; i < READS; i++)
        paged_get(paged_key(keys[i], text), PLSM_OK);
    paged_charged(0, 0, READS, 0);
    paged_stop();
}
END_TEST

START_TEST(without_a_cache_each_read_is_charged)
{
    unsigned keys[READS];
    char text[64];
    paged.env = env_memory_create(1);
    struct lsm_options o = paged_options((enum lsm_index)_i);
    o.simulation.cache_bytes = 0;
    paged_start(&o);
    paged_choose(keys, READS);
    for (unsigned round = 0; round < 3; round++) {
        for (unsigned i = 0; i < READS; i++)
            paged_get(paged_key(keys[i], text), PLSM_OK);
        paged_charged(READS, 0, 0, READS * cost(1, false, 1));
    }
    paged_stop();
}
END_TEST

/* Those that the filter denies: with 16 bits, practically all. */
START_TEST(absent_keys_are_free)
{
    char text[64];
    unsigned denied = 0;
    paged.env = env_memory_create(1);
    struct lsm_options o = paged_options((enum lsm_index)_i);
    paged_start(&o);
    const struct filter *filter = NULL;
    ck_assert_int_eq(run_filter(paged_run(0), paged_body(paged_run(0)), &filter), PLSM_OK);
    for (unsigned i = 0; i + 1 < PAGED_KEYS; i++) {
        plsm_slice key = paged_key(i, text);
        text[key.size - 1]++;
        if (filter_may_contain(filter, key_hash(key.data, key.size)))
            continue;
        paged_get(key, PLSM_NOT_FOUND);
        denied++;
    }
    ck_assert_uint_gt(denied, PAGED_KEYS - 10);
    paged_charged(0, 0, 0, 0);
    paged_stop();
}
END_TEST

START_TEST(memtables_are_free)
{
    char text[64];
    paged.env = env_memory_create(1);
    struct lsm_options o = paged_options((enum lsm_index)_i);
    paged_start(&o);
    for (unsigned i = 0; i < READS; i++) {
        paged_put(paged_key(i, text), slice_of("new"));
        paged_get(paged_key(i, text), PLSM_OK);
    }
    paged_charged(0, 0, 0, 0);
    paged_stop();
}
END_TEST

START_TEST(keys_asked_for_together_are_a_batch)
{
    unsigned numbers[MANY];
    char texts[MANY][64];
    plsm_slice keys[MANY];
    plsm_status statuses[MANY];
    struct lsm_value values[MANY] = {0};
    paged.env = env_memory_create(1);
    struct lsm_options o = paged_options((enum lsm_index)(_i / 2));
    for (unsigned i = 0; i < LSM_GROUPS; i++)
        o.groups[i].batch_prediction = _i % 2;
    paged_start(&o);
    paged_choose(numbers, MANY);
    for (unsigned i = 0; i < MANY; i++)
        keys[i] = paged_key(numbers[i], texts[i]);
    for (unsigned round = 0; round < 2; round++) {
        ck_assert_int_eq(lsm_multi_get(paged.db, NULL, keys, MANY, false, values, statuses), PLSM_OK);
        paged_charged(round ? 0 : MANY, 0, round ? MANY : 0, round ? 0 : MANY * cost(1, false, _i % 2 ? MANY : 1));
    }
    for (unsigned i = 0; i < MANY; i++)
        lsm_value_free(&values[i]);
    paged_stop();
}
END_TEST

/* A membership of the learned mode that knows more than the traditional filter, and one that knows less. */
START_TEST(sides_may_have_different_filters)
{
    char text[64];
    static const uint64_t nothing = 0;
    struct run_membership other = {.none = true};
    struct run_membership *before = NULL;
    struct filter filter;
    paged.env = env_memory_create(1);
    struct lsm_options o = paged_options(LSM_LEARNED);
    o.filter_bits = _i ? 16 : 0;
    paged_start(&o);
    struct run_body *body = paged_body(paged_run(0));
    if (!_i) {
        ck_assert_int_eq(filter_build((uint64_t *)(uintptr_t)&nothing, 0, 8, &other.bytes), PLSM_OK);
        ck_assert_int_eq(filter_open(buf_slice(&other.bytes), &filter), PLSM_OK);
        membership_of_filter(&filter, &other.membership);
        other.none = false;
    }
    before = atomic_exchange(&body->membership, &other);
    unsigned keys[READS];
    paged_choose(keys, READS);
    for (unsigned i = 0; i < READS; i++) {
        plsm_slice key = paged_key(keys[i], text);
        text[key.size - 1]--; /* behind another key of the same page, or in front of it */
        paged_get(key, PLSM_NOT_FOUND);
    }
    struct simulation_totals actual = paged_account(SIM_ACTUAL).totals,
                             traditional = paged_account(SIM_TRADITIONAL).totals;
    ck_assert_uint_eq(actual.reads > 0, _i == 1);
    ck_assert_uint_eq(traditional.blocks + traditional.hits, _i ? 0 : READS); /* one page each */
    atomic_store(&body->membership, before);
    buf_free(&other.bytes);
    paged_stop();
}
END_TEST

/* --- walks --- */

/* A page alone, then 4, 16, 64, 64 ... as the cursor reads ahead. */
static void walk_cost(uint32_t units, uint64_t *requests, uint64_t *ns)
{
    uint32_t ahead = 1;
    *requests = 0;
    *ns = 0;
    for (uint32_t at = 0; at < units; at += ahead) {
        ahead = at == 0 ? 1 : ahead < 64 ? 4 * ahead : 64;
        *ns += cost(at + ahead < units ? ahead : units - at, at > 0, 1);
        ++*requests;
    }
}

static void walk(bool no_value)
{
    struct lsm_iterator *it = NULL;
    plsm_slice none = {0};
    ck_assert_int_eq((no_value ? lsm_iterator_create_no_value : lsm_iterator_create)(paged.db, NULL, none, none, &it),
                     PLSM_OK);
    for (lsm_iterator_first(it); lsm_iterator_valid(it); lsm_iterator_next(it))
        ;
    ck_assert_int_eq(lsm_iterator_status(it), PLSM_OK);
    lsm_iterator_destroy(it);
}

START_TEST(scans_are_sequential_and_read_ahead)
{
    uint64_t requests = 0, ns = 0;
    paged.env = env_memory_create(1);
    struct lsm_options o = paged_options((enum lsm_index)_i);
    paged_start(&o);
    uint32_t units = paged_run(0)->facts.units;
    walk_cost(units, &requests, &ns);
    ck_assert_uint_ge(requests, 5);
    walk(false);
    ck_assert_uint_eq(paged_account(SIM_ACTUAL).totals.blocks, units);
    paged_charged(1, requests - 1, 0, ns);
    walk(true); /* the first page is in memory now: it came by a point read; and here the stream of the scan ends */
    ck_assert_uint_eq(paged_account(SIM_ACTUAL).totals.hits, 1);
    ck_assert_uint_eq(paged_account(SIM_ACTUAL).totals.blocks, units - 1);
    ck_assert_uint_eq(paged_account(SIM_TRADITIONAL).totals.read_ns, paged_account(SIM_ACTUAL).totals.read_ns);
    paged_stop();
}
END_TEST

START_TEST(scans_go_over_runs)
{
    uint64_t blocks = 0;
    struct lsm_iterator *it = NULL;
    plsm_slice none = {0};
    paged.env = env_memory_create(1);
    struct lsm_options o = paged_options((enum lsm_index)_i);
    o.file_size = 64 << 10;
    paged_start(&o);
    for (char space = 3; space < 10; space++) { /* runs of one page: one ends where the first byte changes */
        char key[2] = {space, 'k'};
        paged_put(slice(key, 2), slice_of("alone"));
    }
    paged_fill(PAGED_SMALL); /* two runs that overlap, to be merged */
    ck_assert_int_eq(lsm_compact(paged.db, none, none), PLSM_OK);
    const struct level *level = &paged.db->version->levels[1];
    ck_assert_uint_gt(level->count, 12);
    for (size_t i = 0; i < level->count; i++)
        blocks += level->runs[i]->facts.units;
    lsm_statistics_reset(paged.db);
    walk(false);
    for (unsigned side = 0; side < SIM_SIDES; side++) {
        struct simulation_totals t = paged_account(side).totals;
        ck_assert_uint_eq(t.blocks, blocks);
        ck_assert_uint_eq(t.random, level->count);
    }
    lsm_statistics_reset(paged.db);
    ck_assert_int_eq(lsm_iterator_create(paged.db, NULL, none, none, &it), PLSM_OK);
    for (lsm_iterator_last(it); lsm_iterator_valid(it); lsm_iterator_previous(it)) /* nothing reads ahead backward */
        ;
    lsm_iterator_destroy(it);
    for (unsigned side = 0; side < SIM_SIDES; side++) {
        struct simulation_totals t = paged_account(side).totals;
        ck_assert_uint_ge(t.blocks + t.hits, blocks);
        ck_assert_uint_gt(t.random, level->count);
    }
    paged_stop();
}
END_TEST

/* A seek reads the page of its key; what is read behind it is sequential. */
START_TEST(seeks_read_one_page)
{
    unsigned keys[READS];
    char text[64];
    struct lsm_iterator *it = NULL;
    plsm_slice none = {0};
    paged.env = env_memory_create(1);
    struct lsm_options o = paged_options((enum lsm_index)_i);
    paged_start(&o);
    paged_choose(keys, READS);
    ck_assert_int_eq(lsm_iterator_create(paged.db, NULL, none, none, &it), PLSM_OK);
    for (unsigned i = 0; i < READS; i++) {
        lsm_iterator_seek(it, paged_key(keys[i], text));
        ck_assert(lsm_iterator_valid(it));
    }
    paged_charged(READS, 0, 0, READS * cost(1, false, 1));
    uint32_t unit = paged_unit(0);
    lsm_iterator_seek(it, paged_key(0, text));
    for (unsigned i = 1; paged_unit(i) <= unit + 1; i++)
        lsm_iterator_next(it);
    paged_charged(1, 1, 0, cost(1, false, 1) + cost(4, true, 1));
    lsm_iterator_destroy(it);
    paged_stop();
}
END_TEST

/* A value of 5 blocks and some bytes: its page has 6. */
START_TEST(large_values_are_one_request)
{
    static uint8_t large[21000];
    char text[64];
    struct lsm_iterator *it = NULL;
    plsm_slice none = {0};
    paged.env = env_memory_create(1);
    struct lsm_options o = paged_options((enum lsm_index)_i);
    o.separate_above = 0; /* they have pages of their own */
    paged_start(&o);
    paged_put(slice_of("\2large"), slice(large, sizeof large));
    ck_assert_int_eq(lsm_flush(paged.db), PLSM_OK);
    lsm_statistics_reset(paged.db);
    ck_assert_int_eq(lsm_get(paged.db, NULL, slice_of("\2large"), true, &paged.value), PLSM_OK);
    ck_assert_uint_eq(paged.value.value_size, sizeof large);
    paged_charged(1, 0, 0, cost(1, false, 1)); /* without the value, the first block */
    paged_get(slice_of("\2large"), PLSM_OK);
    paged_charged(0, 1, 1, cost(5, true, 1)); /* the other five, behind it */
    paged_put(slice_of("\2larger"), slice(large, sizeof large));
    ck_assert_int_eq(lsm_flush(paged.db), PLSM_OK);
    lsm_statistics_reset(paged.db);
    ck_assert_int_eq(lsm_iterator_create(paged.db, NULL, slice_of("\2larger"), none, &it), PLSM_OK);
    lsm_iterator_seek(it, slice_of("\2larger"));
    ck_assert(lsm_iterator_valid(it) && lsm_iterator_entry(it)->value.size == sizeof large);
    paged_charged(1, 1, 1,
                  cost(1, false, 1) + cost(5, true, 1)); /* the seek looks at keys only; then the entry is shown */
    lsm_iterator_destroy(it);
    paged_get(paged_key(0, text), PLSM_OK);
    paged_charged(1, 0, 0, cost(1, false, 1));
    paged_stop();
}
END_TEST

/* --- what works on the store --- */

static uint64_t blocks_of(const struct run *run)
{
    return run->facts.units; /* all of one block */
}

START_TEST(compactions_are_charged_to_both)
{
    plsm_slice none = {0};
    char text[64];
    paged.env = env_memory_create(1);
    struct lsm_options o = paged_options((enum lsm_index)_i);
    paged_start(&o);
    for (unsigned i = 0; i < PAGED_KEYS; i += 2)
        paged_put(paged_key(i, text), slice_of("newer"));
    ck_assert_int_eq(lsm_flush(paged.db), PLSM_OK);
    lsm_statistics_reset(paged.db);
    uint64_t blocks = blocks_of(paged_run(0)) + blocks_of(paged_run(1)), old = paged_run(1)->facts.number;
    paged_get(paged_key(1, text), PLSM_OK);
    paged_charged(1, 0, 0, cost(1, false, 1));
    ck_assert_int_eq(lsm_compact(paged.db, none, none), PLSM_OK);
    for (unsigned side = 0; side < SIM_SIDES; side++) {
        struct simulation_totals t = paged_account(side).totals;
        ck_assert_uint_eq(t.blocks, blocks - 1); /* the page in memory is the first that is wanted of its run */
        ck_assert_uint_eq(t.hits, 1);
        ck_assert_uint_eq(t.random, 1); /* the other run is gone on with from the page that was read */
        ck_assert_uint_le(t.sequential, blocks / 64 + 2);
        ck_assert_uint_gt(t.write_bytes, blocks / 2 * PAGE_SIZE);
        ck_assert_uint_eq(t.write_ns, 2 * t.write_bytes);
    }
    /* The run is gone, and its page. */
    lsm_statistics_reset(paged.db);
    struct simulation *simulation = paged.db->context.simulated->simulation;
    epoch_reclaim(paged.db->epoch);
    simulation_read(simulation, SIM_ACTUAL, old, 1, 1, SIM_POINT);
    simulation_read(simulation, SIM_TRADITIONAL, old, 1, 1, SIM_POINT);
    paged_charged(1, 0, 0, cost(1, false, 1));
    paged_stop();
}
END_TEST

START_TEST(training_is_not_traditional)
{
    paged.env = env_memory_create(1);
    struct lsm_options o = paged_options(LSM_LEARNED);
    paged_start(&o);
    ck_assert_int_eq(lsm_retrain(paged.db, true, NULL, NULL), PLSM_OK);
    ck_assert_uint_eq(paged_account(SIM_ACTUAL).totals.blocks, blocks_of(paged_run(0)));
    ck_assert_uint_eq(paged_account(SIM_TRADITIONAL).totals.blocks, 0);
    ck_assert_int_eq(lsm_check(paged.db, NULL, NULL, NULL), PLSM_OK);
    ck_assert_uint_eq(paged_account(SIM_TRADITIONAL).totals.blocks, blocks_of(paged_run(0)));
    paged_stop();
}
END_TEST

static void add_size(void *arg, const char *name)
{
    char path[4096];
    uint8_t *data = NULL;
    size_t size = 0;
    snprintf(path, sizeof path, "/s/%s", name);
    if (strcmp(name, "LOCK") != 0 && env_memory_content(paged.env, path, &data, &size) == PLSM_OK)
        *(uint64_t *)arg += size;
}

/* Runs, logs, the MANIFEST and models in files of their own, as long as none was removed: all that is in the directory.
 */
START_TEST(what_is_written_is_charged)
{
    uint64_t bytes = 0;
    paged.env = env_memory_create(1);
    struct lsm_options o = paged_options((enum lsm_index)(_i / 2));
    for (unsigned i = 0; i < LSM_GROUPS; i++)
        o.groups[i].embed = _i % 2;
    paged_open(&o);
    struct lsm_snapshot *snapshot = lsm_snapshot_create(paged.db);
    struct env_lock *pin = NULL; /* so that no file is removed */
    ck_assert_int_eq(env_lock(paged.env, "/s/LOCK", LOCK_PIN, false, &pin), PLSM_OK);
    paged_fill(PAGED_SMALL);
    paged_fill(PAGED_SMALL);
    paged_put(slice_of("\2last"), slice_of("in the log"));
    ck_assert_int_eq(lsm_compact(paged.db, (plsm_slice){0}, (plsm_slice){0}), PLSM_OK);
    ck_assert_int_eq(env_list(paged.env, "/s", add_size, &bytes), PLSM_OK);
    for (unsigned side = 0; side < SIM_SIDES; side++) {
        struct simulation_totals t = paged_account(side).totals;
        ck_assert_uint_eq(t.write_bytes, bytes);
        ck_assert_uint_eq(t.write_ns, 2 * bytes);
        ck_assert_uint_gt(t.writes, 2 * PAGED_KEYS);
    }
    lsm_snapshot_destroy(paged.db, snapshot);
    env_unlock(pin);
    paged_stop();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("simulated costs");
    TCase *tcase = tcase_create("costs");
    tcase_set_timeout(tcase, 120);
    tcase_add_loop_test(tcase, present_keys_are_a_random_read_each, 0, 2);
    tcase_add_loop_test(tcase, without_a_cache_each_read_is_charged, 0, 2);
    tcase_add_loop_test(tcase, absent_keys_are_free, 0, 2);
    tcase_add_loop_test(tcase, memtables_are_free, 0, 2);
    tcase_add_loop_test(tcase, keys_asked_for_together_are_a_batch, 0, 4);
    tcase_add_loop_test(tcase, sides_may_have_different_filters, 0, 2);
    tcase_add_loop_test(tcase, scans_are_sequential_and_read_ahead, 0, 2);
    tcase_add_loop_test(tcase, scans_go_over_runs, 0, 2);
    tcase_add_loop_test(tcase, seeks_read_one_page, 0, 2);
    tcase_add_loop_test(tcase, large_values_are_one_request, 0, 2);
    tcase_add_loop_test(tcase, compactions_are_charged_to_both, 0, 2);
    tcase_add_test(tcase, training_is_not_traditional);
    tcase_add_loop_test(tcase, what_is_written_is_charged, 0, 4);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
