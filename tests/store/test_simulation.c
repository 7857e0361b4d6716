/* Simulated I/O from outside: which device options make, what the statistics say, that sleeping takes time. */
#include "../harness/store_fixture.h"

#include <stdio.h>
#include <string.h>

#include "lsm/db.h"

#include "base/banned.h"

#define SMALL "background=0,cache_size=1M,"

static const struct simulation_options *device_of(const plsm *db)
{
    return &((const struct lsm *)db->tree)->options.simulation;
}

struct wanted {
    const char *name;
    plsm_statistic found;
    char text[32];
};

static void find(void *arg, const plsm_statistic *statistic)
{
    struct wanted *wanted = arg;
    if (strcmp(statistic->name, wanted->name) != 0)
        return;
    wanted->found = *statistic;
    if (statistic->is_text)
        snprintf(wanted->text, sizeof wanted->text, "%s", statistic->text);
}

static uint64_t number(plsm *db, const char *name)
{
    struct wanted wanted = {.name = name};
    plsm_statistics(db, find, &wanted);
    ck_assert_msg(wanted.found.name != NULL, "%s is missing", name);
    ck_assert_msg(wanted.found.is_integer, "%s is no integer", name);
    return wanted.found.integer;
}

static void expect_profile(plsm *db, const char *profile)
{
    struct wanted wanted = {.name = "sim.profile"};
    plsm_statistics(db, find, &wanted);
    ck_assert(wanted.found.is_text);
    ck_assert_str_eq(wanted.text, profile);
}

START_TEST(options_make_devices)
{
    static const struct {
        const char *options, *profile;
        uint32_t latency_us, overhead_ns, depth, discount;
        uint64_t read, write, cache;
    } rows[] = {
        {SMALL "sim=nvme", "nvme", 51, 100, 128, 90, 3500000000, 1700000000, 1 << 20},
        {SMALL "sim=ssd", "ssd", 69, 700, 32, 73, 560000000, 530000000, 1 << 20},
        {SMALL "sim=hdd", "hdd", 11560, 0, 2, 99, 200000000, 200000000, 1 << 20},
        {SMALL "sim=cloud", "cloud", 677, 292000, 64, 97, 131072000, 131072000, 1 << 20},
        {SMALL "sim=hdd,sim_cache=64K", "hdd", 11560, 0, 2, 99, 200000000, 200000000, 64 << 10},
        {SMALL "sim=hdd,sim_cache=0,sim_latency_us=profile", "hdd", 11560, 0, 2, 99, 200000000, 200000000, 0},
        {SMALL "sim=hdd,sim_latency_us=5000", "own", 5000, 0, 2, 99, 200000000, 200000000, 1 << 20},
        {SMALL "sim_latency_us=5000,sim_queue_depth=32,sim=hdd", "own", 5000, 0, 32, 99, 200000000, 200000000, 1 << 20},
        {SMALL "sim=nvme,sim_overhead_ns=7,sim_discount_percent=0,sim_read_bandwidth=1G,sim_write_bandwidth=2M", "own",
         51, 7, 128, 0, 1 << 30, 2 << 20, 1 << 20},
        {SMALL "sim=own,sim_latency_us=1,sim_read_bandwidth=2000000,sim_write_bandwidth=3000000", "own", 1, 0, 1, 0,
         2000000, 3000000, 1 << 20},
        {SMALL "sim=own,sim_latency_us=0,sim_read_bandwidth=1T,sim_write_bandwidth=1T,sim_queue_depth=65536,"
               "sim_overhead_ns=60000000,sim_discount_percent=100,sim_cache=64M",
         "own", 0, 60000000, 65536, 100, UINT64_C(1) << 40, UINT64_C(1) << 40, 64 << 20},
    };
    struct env *env = env_memory_create(1);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) { /* one store: they may change from opening to opening */
        plsm *db = fixture_open(env, i == 0 ? PLSM_CREATE : i % 2 ? PLSM_READ : 0, rows[i].options);
        const struct simulation_options *d = device_of(db);
        ck_assert_msg(d->read_latency_us == rows[i].latency_us && d->request_overhead_ns == rows[i].overhead_ns &&
                          d->queue_depth == rows[i].depth && d->sequential_discount_percent == rows[i].discount &&
                          d->read_bytes_per_s == rows[i].read && d->write_bytes_per_s == rows[i].write &&
                          d->cache_bytes == rows[i].cache && !d->sleep,
                      "row %zu", i);
        expect_profile(db, rows[i].profile);
        assert_ok(plsm_close(db));
    }
    env_memory_destroy(env);
}
END_TEST

static void fill(plsm *db)
{
    char key[32], value[300];
    memset(value, 'v', sizeof value - 1);
    value[sizeof value - 1] = 0;
    for (unsigned i = 0; i < 2000; i++) {
        snprintf(key, sizeof key, "key%06u", i);
        fixture_put(db, key, value);
    }
    assert_ok(plsm_flush(db));
}

static void read_some(plsm *db, unsigned count)
{
    char key[32];
    plsm_value value = {0};
    for (unsigned i = 0; i < count; i++) {
        snprintf(key, sizeof key, "key%06u", i * i % 2000);
        assert_ok(plsm_get(db, NULL, slice_of(key), &value));
    }
    plsm_value_free(&value);
}

START_TEST(statistics_tell_both_sides)
{
    struct env *env = env_memory_create(1);
    for (int traditional = 0; traditional < 2; traditional++) {
        plsm *db = fixture_open(env, PLSM_CREATE,
                                traditional ? SMALL "sim=hdd,sim_cache=256K,index=traditional"
                                            : SMALL "sim=hdd,sim_cache=256K,index=learned,filter_young=0");
        fill(db);
        read_some(db, 300);
        ck_assert_uint_gt(number(db, "sim.random"), 50);
        ck_assert_uint_eq(number(db, "sim.reads"), number(db, "sim.random") + number(db, "sim.sequential"));
        ck_assert_uint_ge(number(db, "sim.blocks"), number(db, "sim.reads"));
        ck_assert_uint_gt(number(db, "sim.hits"), 0);
        ck_assert_uint_ge(number(db, "sim.read_ms"), 11 * number(db, "sim.random"));
        ck_assert_uint_gt(number(db, "sim.metadata_bytes"), 0);
        ck_assert_uint_gt(number(db, "sim.writes"), 2000);
        ck_assert_uint_gt(number(db, "sim.write_bytes"), 2000 * 300);
        ck_assert_uint_ge(number(db, "sim.write_ms"), 3);
        static const char *const names[] = {"reads", "random", "sequential", "blocks", "read_ms", "hits"};
        for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
            char one[64], other[64];
            snprintf(one, sizeof one, "sim.%s", names[i]);
            snprintf(other, sizeof other, "sim.traditional_%s", names[i]);
            uint64_t here = number(db, one), there = number(db, other);
            bool less = i == 0 || i == 3 || i == 4; /* a page that is not read may make the next one random */
            ck_assert_msg(traditional ? here == there : here <= there || !less, "%s: %lu, traditionally %lu", one,
                          (unsigned long)here, (unsigned long)there);
            plsm_statistics_reset(db);
            ck_assert_uint_eq(number(db, one) + number(db, other), 0);
            read_some(db, 300);
        }
        plsm_statistics_reset(db);
        ck_assert_uint_eq(number(db, "sim.writes") + number(db, "sim.write_bytes") + number(db, "sim.write_ms"), 0);
        ck_assert_uint_gt(number(db, "sim.metadata_bytes"), 0);
        assert_ok(plsm_close(db));
    }
    plsm *db = fixture_open(env, 0, SMALL "sim=off,sim_latency_us=100,sim_sleep=1"); /* without a device no effect */
    expect_profile(db, "off");
    read_some(db, 300);
    ck_assert_uint_eq(number(db, "sim.reads") + number(db, "sim.traditional_reads"), 0);
    assert_ok(plsm_close(db));
    env_memory_destroy(env);
}
END_TEST

/* No upper bound: other work on the machine may take any time. */
START_TEST(sleeping_takes_the_time_that_is_charged)
{
    enum { READS = 150, LATENCY_US = 200 };
    char options[300];
    struct env *env = env_memory_create(1);
    plsm *db = fixture_open(env, PLSM_CREATE, SMALL);
    fill(db);
    assert_ok(plsm_close(db));
    snprintf(options, sizeof options,
             SMALL "sim=own,sim_latency_us=%d,sim_read_bandwidth=1G,sim_write_bandwidth=1M,sim_cache=0,sim_sleep=1",
             LATENCY_US);
    db = fixture_open(env, 0, options);
    uint64_t start_ns = env_now_ns(env);
    read_some(db, READS);
    uint64_t took_ns = env_now_ns(env) - start_ns;
    ck_assert_uint_ge(number(db, "sim.read_ms"), READS * LATENCY_US / 1000);
    ck_assert_uint_ge(took_ns, (uint64_t)READS * LATENCY_US * 1000 - SIMULATION_SLEEP_NS_MIN);
    start_ns = env_now_ns(env);
    char value[20001];
    memset(value, 'v', sizeof value - 1);
    value[sizeof value - 1] = 0;
    fixture_put(db, "large", value);
    took_ns = env_now_ns(env) - start_ns;
    ck_assert_uint_ge(took_ns,
                      UINT64_C(10) * 1000 * 1000); /* 20,000 bytes at 1 MiB/s: 19 ms, less what was overslept */
    assert_ok(plsm_close(db));
    env_memory_destroy(env);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {options_make_devices, statistics_tell_both_sides,
                                  sleeping_takes_the_time_that_is_charged};
    return fixture_run("simulation", tests, sizeof tests / sizeof tests[0]);
}
