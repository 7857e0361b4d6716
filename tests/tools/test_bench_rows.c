/* Rows of benchmarks: what their workloads do, and the figures of the machine. */
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/bytes.h"
#include "base/env.h"
#include "base/error.h"
#include "store/plsm.h"
#include "tests/harness/temporary.h"
#include "tools/bench/adapter.h"
#include "tools/bench/billion.h"
#include "tools/bench/clock.h"
#include "tools/bench/files.h"
#include "tools/bench/floor.h"
#include "tools/bench/growth.h"
#include "tools/bench/report.h"
#include "tools/bench/row.h"
#include "tools/bench/worker.h"
#include "base/banned.h"

/* --- an engine that counts ---------------------------------------------------------------------------------------- */

enum { KEYS = 1000, OPS = 100000 };

/* What is wrong with an entry of a scan. */
enum fault {
    FAULT_SIZE,         /* a byte of the value is missing */
    FAULT_BYTE,         /* one of its first 8 bytes is another */
    FAULT_OTHER,        /* it is the value of another key */
    FAULT_AGAIN,        /* the entry before once more, right by itself */
    FAULT_SMALLER_HEAD, /* a smaller key with its value: the first 8 bytes tell, and the last 8 are greater */
    FAULT_SMALLER_TAIL, /* the same, but only the last 8 bytes tell */
    FAULT_COUNT
};

static struct {
    struct data data;
    uint64_t reads, writes, records, deletions, seeks, steps, bytes;
    uint64_t limits[MIX_SCAN_MAX + 1]; /* scans by their number of entries */
    uint64_t entries;                  /* of the scan under way */
    uint64_t wrong_entry;              /* of a scan, counted from 1; 0: none */
    enum fault fault;
    uint8_t key[16], wrong_key[16], wrong_value[100];
    bool removed[KEYS];
} fake;

static plsm_status fake_write(void *session, const struct adapter_record *records, uint32_t count)
{
    (void)session;
    fake.writes++;
    fake.records += count;
    for (uint32_t i = 0; i < count; i++) {
        fake.bytes += records[i].key.size + records[i].value.size;
        fake.deletions += records[i].deletion;
        ck_assert(records[i].deletion || data_version(&fake.data, records[i].key, records[i].value) >= 0);
    }
    return PLSM_OK;
}

static plsm_status fake_get(void *session, plsm_slice key, plsm_slice *value)
{
    (void)session;
    fake.reads++;
    *value = data_value(&fake.data, key, 1);
    return PLSM_OK;
}

/* Keys of a scan: the one sought, and its successors as numbers. */
static plsm_status fake_seek(void *session, plsm_slice from)
{
    (void)session;
    fake.seeks++;
    fake.entries = 0;
    ck_assert_uint_eq(from.size, sizeof fake.key);
    memcpy(fake.key, from.data, from.size);
    return PLSM_OK;
}

/* Hashes end near their last number so rarely that nothing is carried. */
static void add_to(uint8_t half[8], int number)
{
    put_be64(half, get_be64(half) + (uint64_t)number);
}

static void spoil(plsm_slice *key, plsm_slice *value)
{
    memcpy(fake.wrong_key, key->data, sizeof fake.wrong_key);
    if (fake.fault == FAULT_SIZE) {
        value->size--;
    } else if (fake.fault == FAULT_BYTE) {
        memcpy(fake.wrong_value, value->data, sizeof fake.wrong_value);
        fake.wrong_value[fake.entries % 8] ^= 0x10;
        value->data = fake.wrong_value;
    } else if (fake.fault == FAULT_OTHER) {
        add_to(fake.wrong_key + 8, 1);
        *value = data_value(&fake.data, slice(fake.wrong_key, sizeof fake.wrong_key), 0);
    } else {
        add_to(fake.wrong_key + 8, fake.fault == FAULT_AGAIN ? -1 : fake.fault == FAULT_SMALLER_TAIL ? -2 : 1);
        add_to(fake.wrong_key, fake.fault == FAULT_SMALLER_HEAD ? -1 : 0);
        *key = slice(fake.wrong_key, sizeof fake.wrong_key);
        *value = data_value(&fake.data, *key, 0);
    }
}

static bool fake_step(void *session, plsm_slice *key, plsm_slice *value)
{
    (void)session;
    if (fake.entries > 0)
        add_to(fake.key + 8, 1);
    fake.entries++;
    fake.steps++;
    *key = slice(fake.key, sizeof fake.key);
    *value = data_value(&fake.data, *key, 0);
    if (fake.entries == fake.wrong_entry)
        spoil(key, value);
    return true;
}

static plsm_status fake_scan_end(void *session)
{
    (void)session;
    ck_assert_uint_le(fake.entries, MIX_SCAN_MAX);
    fake.limits[fake.entries]++;
    return PLSM_OK;
}

static const struct adapter engine = {.name = "fake",
                                      .write = fake_write,
                                      .get = fake_get,
                                      .seek = fake_seek,
                                      .step = fake_step,
                                      .scan_end = fake_scan_end};

static void set_up(void)
{
    memset(&fake, 0, sizeof fake);
    ck_assert_int_eq(data_init(&fake.data, "random", KEYS, OPS, 100, 1), PLSM_OK);
}

static void tear_down(void)
{
    data_free(&fake.data);
}

static struct worker worker_of(const char *workload, uint32_t batch)
{
    struct worker worker = {.engine = &engine,
                            .data = &fake.data,
                            .workload = workload_find(workload),
                            .ops = OPS,
                            .batch = batch,
                            .workers = 1};
    ck_assert_ptr_nonnull(worker.workload);
    random_seed(&worker.random, 5);
    zipf_init(&worker.zipf, KEYS, 0.99);
    return worker;
}

/* Five standard deviations of a binomial share. */
static void assert_share(uint64_t count, double share, const char *what)
{
    double expected = share * OPS, deviation = sqrt(OPS * share * (1 - share));
    ck_assert_msg(fabs((double)count - expected) <= 5 * deviation, "%s: %llu of %d, not %.0f", what,
                  (unsigned long long)count, OPS, expected);
}

/* --- mixes -------------------------------------------------------------------------------------------------------- */

/* Shares of an operation that read, write and scan: Cooper et al. 2010, table 2. */
START_TEST(mixes_are_those_of_ycsb)
{
    static const struct {
        const char *name;
        double reads, records, seeks, inserts;
    } mixes[] = {
        {"ycsb-a", 0.5, 0.5, 0, 0},      {"ycsb-b", 0.95, 0.05, 0, 0},    {"ycsb-c", 1, 0, 0, 0},
        {"ycsb-d", 0.95, 0.05, 0, 0.05}, {"ycsb-e", 0, 0.05, 0.95, 0.05}, {"ycsb-f", 1, 0.5, 0, 0},
        {"mixed", 0.5, 0.5, 0, 0},
    };
    static const uint32_t batches[] = {1, 100};
    for (int b = 0; b < 2; b++) {
        tear_down();
        set_up();
        struct worker worker = worker_of(mixes[_i].name, batches[b]);
        ck_assert_int_eq(worker_run(&worker), PLSM_OK);
        assert_share(fake.reads, mixes[_i].reads, "reads");
        assert_share(fake.records, mixes[_i].records, "writes");
        assert_share(fake.seeks, mixes[_i].seeks, "scans");
        assert_share(worker.inserted, mixes[_i].inserts, "inserts");
        ck_assert_uint_eq(fake.writes, (fake.records + batches[b] - 1) / batches[b]);
        ck_assert_uint_eq(worker.given_bytes, fake.bytes);
        ck_assert_uint_eq(fake.deletions, 0);
        if (mixes[_i].seeks > 0) { /* 1 to 100 entries, all alike */
            uint64_t scans = fake.seeks, least = fake.limits[1], most = fake.limits[1];
            for (int n = 1; n <= MIX_SCAN_MAX; n++) {
                least = fake.limits[n] < least ? fake.limits[n] : least;
                most = fake.limits[n] > most ? fake.limits[n] : most;
            }
            ck_assert_uint_gt(least, scans / 100 * 8 / 10);
            ck_assert_uint_lt(most, scans / 100 * 12 / 10);
            ck_assert_uint_eq(fake.limits[0], 0);
        }
    }
}
END_TEST

START_TEST(a_wrong_entry_of_a_scan_is_told)
{
    static const uint64_t limits[] = {1, 2, 15, 16, 17, 33, 100};
    fake.fault = (enum fault)_i;
    for (size_t i = 0; i < sizeof limits / sizeof *limits; i++)
        for (uint64_t wrong = 0; wrong <= limits[i]; wrong++) {
            struct worker worker = worker_of("seekrandom", 1);
            uint64_t count = 0;
            uint8_t buffer[SHAPE_MADE_MAX];
            fake.wrong_entry = wrong;
            plsm_status status = worker_scan(&worker, data_key(&fake.data, 7, buffer), limits[i], &count);
            ck_assert_msg(status == (wrong ? PLSM_CORRUPT : PLSM_OK), "fault %d, entry %lu of %lu: %s", _i,
                          (unsigned long)wrong, (unsigned long)limits[i], plsm_status_name(status));
        }
}
END_TEST

START_TEST(one_call_in_so_many_is_timed)
{
    static const struct {
        const char *name;
        uint32_t batch;
        unsigned timed; /* of KEYS operations */
    } loops[] = {
        {"readrandom", 1, 63}, {"mixed", 1, 63},     {"ycsb-e", 20, 63},     {"seekrandom", 1, 1000},
        {"fillrandom", 1, 63}, {"overwrite", 10, 7}, {"fillrandom", 20, 50},
    };
    static struct histogram latency;
    uint8_t buffer[SHAPE_MADE_MAX];
    for (size_t i = 0; i < sizeof loops / sizeof *loops; i++) {
        struct worker worker = worker_of(loops[i].name, loops[i].batch);
        histogram_reset(&latency);
        worker.latency = &latency;
        worker.ops = KEYS;
        ck_assert_int_eq(worker_run(&worker), PLSM_OK);
        ck_assert_msg(histogram_count(&latency) == loops[i].timed, "%s, batch %u: %lu calls are timed, not %u",
                      loops[i].name, loops[i].batch, (unsigned long)histogram_count(&latency), loops[i].timed);
    }
    ck_assert_uint_eq(latency_every(WORKLOAD_READ), 16);
    ck_assert_uint_eq(latency_every(WORKLOAD_SEEK), 1);
    struct worker worker = worker_of("readseq", 1);
    histogram_reset(&latency);
    worker.latency = &latency;
    for (uint64_t scan = 0, count = 0; scan < 10; scan++)
        ck_assert_int_eq(worker_scan(&worker, data_key(&fake.data, scan, buffer), MIX_SCAN_MAX, &count), PLSM_OK);
    ck_assert_uint_eq(histogram_count(&latency), 10 * MIX_SCAN_MAX / latency_every(WORKLOAD_SCAN) + 1);
}
END_TEST

START_TEST(deletions_take_each_key_once_in_another_order)
{
    struct worker worker = worker_of("deleterandom", 7);
    uint64_t in_order = 0;
    worker.ops = KEYS;
    /* A read of what was deleted must not find it, and this engine finds everything. */
    ck_assert_int_eq(worker_run(&worker), PLSM_CORRUPT);
    ck_assert_uint_eq(fake.deletions, 7);
    for (uint64_t i = 0; i < KEYS; i++) {
        uint64_t index = data_shuffled(&fake.data, data_shuffled(&fake.data, i));
        ck_assert(!fake.removed[index]);
        fake.removed[index] = true;
        in_order += index == data_scattered(&fake.data, i);
    }
    ck_assert_uint_lt(in_order, 20);
}
END_TEST

/* --- which keys --------------------------------------------------------------------------------------------------- */

static void count_indexes(struct worker *worker, uint64_t counts[KEYS + OPS])
{
    memset(counts, 0, (KEYS + OPS) * sizeof *counts);
    for (int i = 0; i < OPS; i++) {
        uint64_t index = worker_next_index(worker);
        ck_assert_uint_lt(index, KEYS + OPS);
        counts[index]++;
    }
}

static uint64_t counts[KEYS + OPS];

/* Chi-squared over equally likely classes. */
static double unevenness(const uint64_t *of, uint64_t first, uint64_t count, double expected)
{
    double sum = 0;
    for (uint64_t i = first; i < first + count; i++) {
        double off = (double)of[data_shuffled(&fake.data, i)] - expected;
        sum += off * off / expected;
    }
    return sum;
}

START_TEST(hot_keys_are_a_tenth_and_get_nine_reads_of_ten)
{
    struct worker worker = worker_of("readhot", 1);
    const uint64_t hot = KEYS / 10;
    uint64_t hot_reads = 0;
    count_indexes(&worker, counts);
    for (uint64_t i = 0; i < hot; i++)
        hot_reads += counts[data_shuffled(&fake.data, i)];
    assert_share(hot_reads, 0.9, "reads of hot keys");
    /* All alike within both: 99 and 899 degrees of freedom, ten deviations (of sqrt(2 n)) above. */
    ck_assert_double_lt(unevenness(counts, 0, hot, 0.9 * OPS / (double)hot), 99 + 10 * sqrt(2 * 99));
    ck_assert_double_lt(unevenness(counts, hot, KEYS - hot, 0.1 * OPS / (double)(KEYS - hot)),
                        899 + 10 * sqrt(2 * 899));
}
END_TEST

START_TEST(a_hot_set_of_one_key_works)
{
    struct worker worker = worker_of("readhot", 1);
    struct data one = {0};
    ck_assert_int_eq(data_init(&one, "random", 1, 0, 100, 1), PLSM_OK);
    worker.data = &one;
    for (int i = 0; i < 1000; i++)
        ck_assert_uint_eq(worker_next_index(&worker), 0);
    data_free(&one);
}
END_TEST

START_TEST(uniform_reads_and_mixes_are_even)
{
    static const char *const names[] = {"readrandom", "mixed", "readabsent"};
    struct worker worker = worker_of(names[_i], 1);
    count_indexes(&worker, counts);
    ck_assert_double_lt(unevenness(counts, 0, KEYS, (double)OPS / KEYS), 999 + 10 * sqrt(2 * 999));
}
END_TEST

START_TEST(popular_keys_follow_zipf)
{
    static const char *const names[] = {"readzipf", "ycsb-a", "ycsb-e"};
    struct worker worker = worker_of(names[_i], 1);
    double weights = 0;
    for (int k = 1; k <= KEYS; k++)
        weights += pow(k, -0.99);
    count_indexes(&worker, counts);
    for (uint64_t rank = 0; rank < 10; rank++)
        assert_share(counts[data_shuffled(&fake.data, rank)], pow((double)rank + 1, -0.99) / weights, "a popular key");
}
END_TEST

/* The newest key first, then those inserted before it, then those that were loaded, from the last on. */
START_TEST(latest_keys_are_the_popular_ones)
{
    struct worker worker = worker_of("ycsb-d", 1);
    double weights = 0;
    worker.workers = 2;
    worker.number = 1;
    worker.inserted = 3;
    for (int k = 1; k <= KEYS; k++)
        weights += pow(k, -0.99);
    const uint64_t order[] = {KEYS + 5, KEYS + 3, KEYS + 1, KEYS - 1, KEYS - 2};
    count_indexes(&worker, counts);
    for (int rank = 0; rank < 5; rank++)
        assert_share(counts[order[rank]], pow(rank + 1, -0.99) / weights, "a new key");
    ck_assert_uint_eq(counts[KEYS] + counts[KEYS + 2] + counts[KEYS + 4] + counts[KEYS + 6], 0);
}
END_TEST

/* --- engines ------------------------------------------------------------------------------------------------------ */

/* Other people's libraries are not for sanitizers. */
static bool usable(const struct adapter *adapter)
{
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    if (adapter != &adapter_lsm)
        return false;
#endif
    return !adapter->lack();
}

/* A batch with puts and deletions, of keys that are there and are not; values above what plsm keeps in its tree. */
static void try_engine(const struct adapter *adapter, const char *path)
{
    struct adapter_options options = {
        .keys = 1000, .value_bytes = 200 << 10, .threads = 1, .cache_bytes = 8 << 20, .index = "learned"};
    void *db = NULL, *session = NULL;
    plsm_slice key = {0}, value = {0};
    static uint8_t large[200 << 10];
    memset(large, 'v', sizeof large);
    const struct adapter_record first[] = {{.key = slice_of("a"), .value = slice_of("1")},
                                           {.key = slice_of("b"), .value = slice_of("2")},
                                           {.key = slice_of("c"), .value = slice_of("")}};
    const struct adapter_record second[] = {{.key = slice_of("b"), .deletion = true},
                                            {.key = slice_of("x"), .deletion = true},
                                            {.key = slice_of("d"), .value = slice_of("4")}};
    const struct adapter_record third = {.key = slice_of("e"), .value = slice(large, sizeof large)};
    const struct adapter_record fourth = {.key = slice_of("a"), .deletion = true};
    const struct adapter_record fifth = {.key = slice_of("nothing"), .deletion = true};
    ck_assert_int_eq(adapter->open(path, &options, &db), PLSM_OK);
    ck_assert_int_eq(adapter->session(db, &session), PLSM_OK);
    ck_assert_int_eq(adapter->write(session, first, 3), PLSM_OK);
    ck_assert_int_eq(adapter->write(session, second, 3), PLSM_OK);
    ck_assert_int_eq(adapter->write(session, &third, 1), PLSM_OK);
    ck_assert_int_eq(adapter->write(session, &fourth, 1), PLSM_OK);
    ck_assert_int_eq(adapter->write(session, &fifth, 1), PLSM_OK);
    for (int round = 0; round < 2; round++) { /* as written, and opened anew */
        ck_assert_int_eq(adapter->get(session, slice_of("a"), &value), PLSM_NOT_FOUND);
        ck_assert_int_eq(adapter->get(session, slice_of("b"), &value), PLSM_NOT_FOUND);
        ck_assert_int_eq(adapter->get(session, slice_of("d"), &value), PLSM_OK);
        ck_assert(slice_equal(value, slice_of("4")));
        ck_assert_int_eq(adapter->get(session, slice_of("e"), &value), PLSM_OK);
        ck_assert(slice_equal(value, slice(large, sizeof large)));
        ck_assert_int_eq(adapter->seek(session, slice_of("b")), PLSM_OK);
        ck_assert(adapter->step(session, &key, &value));
        ck_assert(slice_equal(key, slice_of("c")) && value.size == 0);
        ck_assert(adapter->step(session, &key, &value));
        ck_assert(slice_equal(key, slice_of("d")));
        ck_assert(adapter->step(session, &key, &value));
        ck_assert(slice_equal(key, slice_of("e")) && slice_equal(value, slice(large, sizeof large)));
        ck_assert(!adapter->step(session, &key, &value));
        ck_assert_int_eq(adapter->scan_end(session), PLSM_OK);
        adapter->session_end(session);
        session = NULL;
        ck_assert_int_eq(adapter->settle(db), PLSM_OK);
        ck_assert_int_eq(adapter->close(db), PLSM_OK);
        ck_assert_int_eq(adapter->open(path, &options, &db), PLSM_OK);
        ck_assert_int_eq(adapter->session(db, &session), PLSM_OK);
    }
    adapter->session_end(session);
    ck_assert_int_eq(adapter->close(db), PLSM_OK);
}

START_TEST(engines_write_delete_and_scan)
{
    char path[512];
    char *directory = temporary_create();
    for (int i = 0; adapters[i]; i++) {
        snprintf(path, sizeof path, "%s/%s", directory, adapters[i]->name);
        if (usable(adapters[i]))
            try_engine(adapters[i], path);
    }
    temporary_destroy(directory);
}
END_TEST

/* Several workloads on one store, cold: what comes out is finite, and what was deleted is gone. */
START_TEST(a_series_is_measured_on_one_store)
{
    const struct workload *list[] = {workload_find("readrandom"), workload_find("overwrite"),
                                     workload_find("deleterandom")};
    struct row_options options = {.engine = &adapter_lsm,
                                  .index = "learned",
                                  .keys = 2000,
                                  .ops = 1500,
                                  .seed = 1,
                                  .cache_bytes = 1 << 20,
                                  .value_bytes = 50,
                                  .batch = 10,
                                  .threads = 2,
                                  .shape = "random",
                                  .state = _i ? STATE_COLD : STATE_WARM};
    struct row_result results[3];
    char *directory = temporary_create();
    ck_assert_int_eq(workload_series(&options, list, 3, directory, results), PLSM_OK);
    for (int i = 0; i < 3; i++) {
        const double *figures = row_figures(&results[i]);
        for (int f = 0; f < ROW_FIGURES; f++)
            ck_assert(isfinite(figures[f]));
        ck_assert_double_eq(results[i].ops, 1500);
        ck_assert_double_le(results[i].p50_ns, results[i].p99_ns);
        ck_assert_double_le(results[i].p99_ns, results[i].p9999_ns);
        ck_assert_double_le(results[i].p9999_ns, results[i].max_ns);
        ck_assert_double_gt(results[i].space_amplification, 0.9);
        ck_assert_double_gt(results[i].resident_bytes, 1 << 20);
    }
    ck_assert(_i || results[0].device_ns < 0); /* of a cold row, where there are direct reads */
    ck_assert_double_eq(results[1].device_ns, -1);
    ck_assert_double_lt(results[0].write_amplification, 0);
    ck_assert_double_ge(results[1].write_amplification, 1);                              /* the log at least */
    ck_assert_double_gt(results[2].space_amplification, results[1].space_amplification); /* a quarter of the keys */
    temporary_destroy(directory);
}
END_TEST

/* --- figures ------------------------------------------------------------------------------------------------------ */

START_TEST(medians_are_of_each_figure)
{
    struct row_result results[3], median;
    for (int i = 0; i < 3; i++)
        for (int f = 0; f < ROW_FIGURES; f++)
            row_figures(&results[i])[f] = (double)((i + f) % 3) + 10 * f;
    row_median(results, 3, &median);
    for (int f = 0; f < ROW_FIGURES; f++) {
        ck_assert_double_eq(row_figures(&median)[f], 10 * f + 1);
        ck_assert_ptr_nonnull(row_figure_names[f]);
    }
}
END_TEST

static int columns_of(const char *line, size_t size)
{
    int columns = 1;
    bool quoted = false;
    for (size_t i = 0; i < size; i++) {
        quoted ^= line[i] == '"';
        columns += line[i] == ',' && !quoted;
    }
    return columns;
}

START_TEST(csv_has_a_column_for_each_name)
{
    char *text = NULL;
    size_t size = 0;
    struct row_options options = {
        .workload = workload_find("fillseq"), .engine = &adapter_lmdb, .shape = "random", .batch = 1, .threads = 1};
    struct row_result result;
    for (int f = 0; f < ROW_FIGURES; f++)
        row_figures(&result)[f] = f % 2 ? -1 : f;
    FILE *out = open_memstream(&text, &size);
    ck_assert_ptr_nonnull(out);
    report_csv_head(out);
    report_csv_row(out, "a, title", &options, &result);
    fclose(out);
    const char *row = strchr(text, '\n');
    ck_assert_ptr_nonnull(row);
    ck_assert_int_eq(columns_of(text, (size_t)(row - text)), 12 + ROW_FIGURES);
    ck_assert_int_eq(columns_of(row + 1, strlen(row + 1)), 12 + ROW_FIGURES);
    free(text);
}
END_TEST

START_TEST(sizes_of_growth)
{
    static const struct {
        uint64_t most;
        uint32_t count;
        uint64_t sizes[8];
    } cases[] = {
        {10, 1, {10}},
        {100000, 1, {100000}},
        {100001, 2, {100000, 100001}},
        {300000, 2, {100000, 300000}},
        {1000000, 3, {100000, 300000, 1000000}},
        {100000000, 7, {100000, 300000, 1000000, 3000000, 10000000, 30000000, 100000000}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint64_t sizes[GROWTH_SIZES_MAX];
        ck_assert_uint_eq(growth_sizes(cases[i].most, sizes), cases[i].count);
        for (uint32_t s = 0; s < cases[i].count; s++)
            ck_assert_uint_eq(sizes[s], cases[i].sizes[s]);
    }
    uint64_t sizes[GROWTH_SIZES_MAX];
    ck_assert_uint_eq(sizes[growth_sizes(SHAPE_KEYS_MAX, sizes) - 1], SHAPE_KEYS_MAX);
}
END_TEST

/* --- the machine -------------------------------------------------------------------------------------------------- */

START_TEST(a_chain_comes_by_every_line_once)
{
    static const size_t lines[] = {1, 2, 3, 100, 4096};
    size_t count = lines[_i], followed = 0;
    uint8_t *memory = aligned_alloc(FLOOR_LINE, count * FLOOR_LINE), *seen = calloc(1, count);
    ck_assert(memory && seen);
    floor_make_chain(memory, count * FLOOR_LINE, 3);
    for (uint8_t *at = memory; !seen[(size_t)(at - memory) / FLOOR_LINE]; followed++) {
        ck_assert_uint_lt((size_t)(at - memory), count * FLOOR_LINE);
        ck_assert_uint_eq((size_t)(at - memory) % FLOOR_LINE, 0);
        seen[(size_t)(at - memory) / FLOOR_LINE] = 1;
        void *next = NULL;
        memcpy(&next, at, sizeof next);
        at = next;
    }
    ck_assert_uint_eq(followed, count);
    free(seen);
    free(memory);
}
END_TEST

START_TEST(floors_are_plausible)
{
    struct floors floors;
    char *directory = temporary_create();
    ck_assert_int_eq(floor_measure(directory, 1 << 20, 1000000, &floors), PLSM_OK);
    for (int i = 0; i < FLOOR_COUNT; i++) {
        ck_assert_ptr_nonnull(floor_lines[i].name);
        ck_assert_ptr_nonnull(floor_lines[i].about);
        ck_assert_msg(isfinite(floors.values[i]), "%s", floor_lines[i].name);
        ck_assert_msg(floors.values[i] > 0 || i == FLOOR_READ_DIRECT, "%s: %g", floor_lines[i].name, floors.values[i]);
    }
    temporary_destroy(directory);
}
END_TEST

START_TEST(files_are_measured_and_forgotten)
{
    enum { SIZE = 1 << 20 };
    char path[512], bytes[64] = "";
    char *directory = temporary_create();
    static uint8_t content[SIZE];
    size_t got = 0;
    struct env_file *file = NULL;
    memset(content, 7, SIZE);
    ck_assert_uint_eq(files_bytes(directory), 0);
    snprintf(path, sizeof path, "%s/inner", directory);
    ck_assert_int_eq(env_make_dir(env_posix(), path), PLSM_OK);
    snprintf(path, sizeof path, "%s/inner/file", directory);
    ck_assert_int_eq(env_open(env_posix(), path, ENV_APPEND, &file), PLSM_OK);
    ck_assert_int_eq(env_append(file, content, SIZE), PLSM_OK);
    uint64_t written = clock_written_bytes();
    ck_assert_uint_ge(written, SIZE);
    ck_assert_int_eq(files_forget(directory), PLSM_OK);
    ck_assert_uint_ge(files_bytes(directory), SIZE);
    ck_assert_uint_lt(files_bytes(directory), 2 * SIZE);
    ck_assert_int_eq(env_read_some(file, SIZE - 64, bytes, sizeof bytes, &got), PLSM_OK);
    ck_assert(got == sizeof bytes && memcmp(bytes, content, sizeof bytes) == 0);
    env_close(file);
    ck_assert_int_eq(files_need(directory, 1), PLSM_OK);
    ck_assert_int_eq(files_need(directory, UINT64_MAX), PLSM_NO_SPACE);
    ck_assert_uint_gt(billion_bytes(1000), 1000 * 16);
    temporary_destroy(directory);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("tools/bench");
    TCase *work = tcase_create("work"), *figures = tcase_create("figures");
    tcase_add_checked_fixture(work, set_up, tear_down);
    tcase_add_loop_test(work, mixes_are_those_of_ycsb, 0, 7);
    tcase_add_loop_test(work, a_wrong_entry_of_a_scan_is_told, 0, FAULT_COUNT);
    tcase_add_test(work, one_call_in_so_many_is_timed);
    tcase_add_test(work, deletions_take_each_key_once_in_another_order);
    tcase_add_test(work, hot_keys_are_a_tenth_and_get_nine_reads_of_ten);
    tcase_add_test(work, a_hot_set_of_one_key_works);
    tcase_add_loop_test(work, uniform_reads_and_mixes_are_even, 0, 3);
    tcase_add_loop_test(work, popular_keys_follow_zipf, 0, 3);
    tcase_add_test(work, latest_keys_are_the_popular_ones);
    tcase_add_test(figures, engines_write_delete_and_scan);
    tcase_add_loop_test(figures, a_series_is_measured_on_one_store, 0, 2);
    tcase_add_test(figures, medians_are_of_each_figure);
    tcase_add_test(figures, csv_has_a_column_for_each_name);
    tcase_add_test(figures, sizes_of_growth);
    tcase_add_loop_test(figures, a_chain_comes_by_every_line_once, 0, 5);
    tcase_add_test(figures, floors_are_plausible);
    tcase_add_test(figures, files_are_measured_and_forgotten);
    tcase_set_timeout(work, 120);
    tcase_set_timeout(figures, 240);
    suite_add_tcase(suite, work);
    suite_add_tcase(suite, figures);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
