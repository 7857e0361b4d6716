/* Reads of many keys in one call, in benchmarks. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/bytes.h"
#include "store/plsm.h"
#include "tests/harness/temporary.h"
#include "tools/bench/adapter.h"
#include "tools/bench/worker.h"
#include "base/banned.h"

enum { KEYS = 1000, BATCH = 30, OPS = 100, LAST = OPS % BATCH };

static struct {
    struct data data;
    uint64_t calls, reads, singles;
    uint64_t wrong; /* the answer that is, counted from 1; 0: none */
    bool absent;    /* keys are asked for that are not there */
} fake;

static plsm_status fake_get(void *session, plsm_slice key, plsm_slice *value)
{
    (void)session;
    fake.singles++;
    *value = data_value(&fake.data, key, 0);
    return PLSM_OK;
}

static plsm_status fake_get_many(void *session, const plsm_slice *keys, uint32_t count, plsm_slice *values,
                                 plsm_status *statuses)
{
    (void)session;
    ck_assert_uint_eq(count, ++fake.calls * BATCH > OPS ? LAST : BATCH);
    for (uint32_t i = 0; i < count; i++) {
        bool is_wrong = ++fake.reads == fake.wrong;
        values[i] = data_value(&fake.data, keys[i], 0);
        values[i].size -= is_wrong && !fake.absent;
        statuses[i] = fake.absent != is_wrong ? PLSM_NOT_FOUND : PLSM_OK;
    }
    return PLSM_OK;
}

static const struct adapter engine = {.name = "fake", .get = fake_get, .get_many = fake_get_many};
static const struct adapter single = {.name = "fake", .get = fake_get};

static void set_up(void)
{
    memset(&fake, 0, sizeof fake);
    ck_assert_int_eq(data_init(&fake.data, "random", KEYS, 0, 100, 1), PLSM_OK);
}

static void tear_down(void)
{
    data_free(&fake.data);
}

static plsm_status run(const char *workload, const struct adapter *adapter, uint32_t batch, struct histogram *latency)
{
    struct worker worker = {.engine = adapter,
                            .data = &fake.data,
                            .workload = workload_find(workload),
                            .latency = latency,
                            .ops = OPS,
                            .batch = batch,
                            .workers = 1};
    random_seed(&worker.random, 5);
    return worker_run(&worker);
}

START_TEST(reads_go_by_as_many_keys_as_a_batch_has)
{
    static const char *const names[] = {"readrandom", "readhot", "readzipf", "readabsent"};
    static struct histogram latency;
    fake.absent = _i == 3;
    histogram_reset(&latency);
    ck_assert_int_eq(run(names[_i], &engine, BATCH, &latency), PLSM_OK);
    ck_assert_uint_eq(fake.calls, OPS / BATCH + 1);
    ck_assert_uint_eq(fake.reads, OPS);
    ck_assert_uint_eq(fake.singles, 0);
    ck_assert_uint_eq(histogram_count(&latency), OPS / BATCH); /* the last call is of too few */
}
END_TEST

START_TEST(reads_go_one_by_one_without_a_batch_or_a_call_for_many)
{
    ck_assert_int_eq(run("readrandom", &engine, 1, NULL), PLSM_OK);
    ck_assert_int_eq(run("readrandom", &single, BATCH, NULL), PLSM_OK);
    ck_assert_uint_eq(fake.calls, 0);
    ck_assert_uint_eq(fake.singles, 2 * OPS);
}
END_TEST

/* A row says of how many records its calls are. */
START_TEST(rows_tell_how_many_a_call_is_of)
{
    static const char *const reads[] = {"readrandom", "readabsent", "readhot", "readzipf"};
    struct row_options row = {.engine = &single, .batch = BATCH};
    for (size_t i = 0; i < sizeof reads / sizeof *reads; i++) {
        row.workload = workload_find(reads[i]);
        row.engine = &single;
        ck_assert_uint_eq(row_batch(&row), 1);
        row.engine = &engine;
        ck_assert_uint_eq(row_batch(&row), BATCH);
    }
    row.engine = &single;
    row.workload = workload_find("overwrite");
    ck_assert_uint_eq(row_batch(&row), BATCH);
    row.workload = workload_find("mixed");
    ck_assert_uint_eq(row_batch(&row), BATCH);
}
END_TEST

START_TEST(a_wrong_answer_of_many_is_told)
{
    static const uint64_t wrong[] = {1, BATCH, BATCH + 1, OPS};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        fake.calls = fake.reads = 0;
        fake.wrong = wrong[i];
        fake.absent = _i;
        ck_assert_int_eq(run(fake.absent ? "readabsent" : "readrandom", &engine, BATCH, NULL), PLSM_CORRUPT);
    }
}
END_TEST

/* More and fewer keys than in the call before, some of them not there. */
START_TEST(engines_read_many)
{
    static const uint32_t counts[] = {3, 200, 7};
    char *directory = temporary_create(), path[512];
    struct adapter_options options = {.keys = KEYS, .value_bytes = 100, .threads = 1, .cache_bytes = 8 << 20};
    for (int e = 0; adapters[e]; e++) {
        void *db = NULL, *session = NULL;
        const struct adapter *adapter = adapters[e];
        if (!adapter->get_many || adapter->lack())
            continue;
        snprintf(path, sizeof path, "%s/%s", directory, adapter->name);
        ck_assert_int_eq(adapter->open(path, &options, &db), PLSM_OK);
        ck_assert_int_eq(adapter->session(db, &session), PLSM_OK);
        uint8_t buffers[200][SHAPE_MADE_MAX];
        plsm_slice keys[200], values[200];
        plsm_status statuses[200];
        for (uint32_t i = 0; i < 200; i++) {
            keys[i] = data_key(&fake.data, i, buffers[i]);
            const struct adapter_record record = {.key = keys[i], .value = data_value(&fake.data, keys[i], 0)};
            if (i % 5)
                ck_assert_int_eq(adapter->write(session, &record, 1), PLSM_OK);
        }
        for (size_t c = 0; c < sizeof counts / sizeof *counts; c++) {
            ck_assert_int_eq(adapter->get_many(session, keys, counts[c], values, statuses), PLSM_OK);
            for (uint32_t i = 0; i < counts[c]; i++) {
                ck_assert_int_eq(statuses[i], i % 5 ? PLSM_OK : PLSM_NOT_FOUND);
                ck_assert(i % 5 == 0 || slice_equal(values[i], data_value(&fake.data, keys[i], 0)));
            }
        }
        adapter->session_end(session);
        ck_assert_int_eq(adapter->close(db), PLSM_OK);
    }
    temporary_destroy(directory);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("tools/bench many");
    TCase *all = tcase_create("all");
    tcase_add_checked_fixture(all, set_up, tear_down);
    tcase_add_loop_test(all, reads_go_by_as_many_keys_as_a_batch_has, 0, 4);
    tcase_add_test(all, reads_go_one_by_one_without_a_batch_or_a_call_for_many);
    tcase_add_test(all, rows_tell_how_many_a_call_is_of);
    tcase_add_loop_test(all, a_wrong_answer_of_many_is_told, 0, 2);
    tcase_add_test(all, engines_read_many);
    tcase_set_timeout(all, 60);
    suite_add_tcase(suite, all);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
