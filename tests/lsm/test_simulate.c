/* Simulated I/O: what a request costs, which requests there are, what they add up to. */
#include <check.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/random.h"
#include "lsm/page.h"
#include "lsm/simulate.h"
#include "tests/harness/sleepless.h"

#include "base/banned.h"

enum { SEED = 20261121 };
#define SECOND UINT64_C(1000000000)

/* The device of the worked example in simulate.h, with room for so many blocks. */
static struct simulation_options example(uint64_t cache_blocks)
{
    return (struct simulation_options){.read_latency_us = 100,
                                       .request_overhead_ns = 2000,
                                       .queue_depth = 8,
                                       .sequential_discount_percent = 90,
                                       .read_bytes_per_s = SECOND,
                                       .write_bytes_per_s = SECOND / 2,
                                       .cache_bytes = cache_blocks * PAGE_SIZE};
}

static struct sleepless sleepless;
static struct simulation *simulation;

static void start(const struct simulation_options *options)
{
    sleepless_init(&sleepless);
    simulation = simulation_create(options, &sleepless.env);
    ck_assert_ptr_nonnull(simulation);
}

static void start_blocks(uint64_t cache_blocks)
{
    struct simulation_options options = example(cache_blocks);
    start(&options);
}

static void stop(void)
{
    simulation_destroy(simulation);
    simulation = NULL;
}

static struct simulation_totals totals(enum simulation_side side)
{
    struct simulation_totals out;
    simulation_totals(simulation, side, &out);
    return out;
}

/* Reads on the actual side and tells what that was charged. */
static uint64_t charged(uint64_t run, uint64_t first, uint64_t count, enum simulation_kind kind)
{
    uint64_t before = totals(SIM_ACTUAL).read_ns;
    simulation_read(simulation, SIM_ACTUAL, run, first, count, kind);
    return totals(SIM_ACTUAL).read_ns - before;
}

/* --- the cost of a request --- */

enum { RANDOM_NS = 106096, SEQUENTIAL_NS = 14296 }; /* one block of the example */

START_TEST(costs_are_as_in_the_table)
{
    static const struct {
        const char *profile; /* NULL: the example */
        uint64_t blocks;
        bool sequential;
        uint64_t batch, expected;
    } rows[] = {
        {NULL, 1, false, 1, RANDOM_NS},      {NULL, 1, true, 1, SEQUENTIAL_NS},
        {NULL, 64, true, 1, 272344},         {NULL, 64, false, 1, 364144},
        {NULL, 1, false, 2, 56096},          {NULL, 1, false, 4, 31096},
        {NULL, 1, false, 7, 20381},                                      /* 100,000 / 7, rounded down */
        {NULL, 1, false, 8, 18596},          {NULL, 1, false, 9, 18596}, /* no more than 8 overlap */
        {NULL, 1, false, UINT64_MAX, 18596}, {NULL, 1, true, 8, 5546},
        {NULL, 0, false, 1, 102000},         {NULL, UINT64_C(1) << 40, false, 1, UINT64_C(4503599627472496)},
        {"nvme", 1, false, 1, 52270},        {"nvme", 1, true, 1, 6280},
        {"nvme", 64, true, 1, 80008},        {"nvme", 1, false, 16, 4457},
        {"ssd", 1, false, 1, 77014},         {"ssd", 1, false, 32, 10170},
        {"ssd", 1, true, 1, 26133},          {"hdd", 1, false, 1, 11580480},
        {"hdd", 1, false, 32, 5800480},      {"hdd", 64, true, 1, 1426320},
        {"cloud", 1, false, 1, 1000250},     {"cloud", 64, true, 1, 2029070},
        {"cloud", 1, false, 8, 407875},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct simulation_options options = example(0);
        if (rows[i].profile)
            ck_assert_int_eq(simulation_profile_find(rows[i].profile, &options), PLSM_OK);
        uint64_t cost = simulation_cost_ns(&options, rows[i].blocks, rows[i].sequential, rows[i].batch);
        ck_assert_msg(cost == rows[i].expected, "row %zu: %" PRIu64 " instead of %" PRIu64, i, cost, rows[i].expected);
    }
    struct simulation_options options = example(0);
    ck_assert_uint_eq(simulation_write_ns(&options, 0), 0);
    ck_assert_uint_eq(simulation_write_ns(&options, 1), 2);
    ck_assert_uint_eq(simulation_write_ns(&options, 1 << 20), 2097152);
}
END_TEST

/* What the header says the profiles were fitted to: reads of 4 KiB per second. */
START_TEST(profiles_agree_with_what_is_published)
{
    static const struct {
        const char *profile;
        uint64_t batch;
        double published;
    } rows[] = {
        {"nvme", 1, 19000}, {"nvme", 128, 600000}, {"ssd", 1, 13000},     {"ssd", 32, 98000},
        {"hdd", 1, 86.5},   {"cloud", 1, 1000},    {"cloud", 1000, 3000},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct simulation_options options = {0};
        ck_assert_int_eq(simulation_profile_find(rows[i].profile, &options), PLSM_OK);
        double per_s = 1e9 / (double)simulation_cost_ns(&options, 1, false, rows[i].batch);
        ck_assert_msg(per_s > rows[i].published * 0.985 && per_s < rows[i].published * 1.015, "%s, %" PRIu64 ": %.1f/s",
                      rows[i].profile, rows[i].batch, per_s);
    }
}
END_TEST

START_TEST(profiles_have_names)
{
    static const char *const names[] = {"nvme", "ssd", "hdd", "cloud"};
    for (unsigned i = 0; i < 4; i++) {
        struct simulation_options options = {.cache_bytes = 12345, .sleep = true};
        ck_assert_int_eq(simulation_profile_find(names[i], &options), PLSM_OK);
        ck_assert_uint_eq(options.cache_bytes, 12345);
        ck_assert(options.sleep);
        ck_assert_int_eq(simulation_options_check(&options), PLSM_OK);
        ck_assert_str_eq(simulation_profile_name(&options), names[i]);
        options.queue_depth++;
        ck_assert_str_eq(simulation_profile_name(&options), "own");
    }
    struct simulation_options options = example(7);
    ck_assert_int_eq(simulation_profile_find("floppy", &options), PLSM_INVALID);
    ck_assert_ptr_nonnull(strstr(plsm_message(), "floppy"));
    ck_assert_ptr_nonnull(strstr(plsm_message(), "nvme, ssd, hdd and cloud"));
    ck_assert_int_eq(simulation_profile_find("", &options), PLSM_INVALID);
    ck_assert_uint_eq(options.read_latency_us, 100); /* as they were */
}
END_TEST

START_TEST(figures_have_limits)
{
    struct simulation_options good = example(0), bad;
    ck_assert_int_eq(simulation_options_check(&good), PLSM_OK);
    static const struct {
        uint32_t latency, overhead, depth, discount;
        uint64_t read, write;
        plsm_status expected;
    } rows[] = {
        {0, 0, 1, 0, 1000000, 1000000, PLSM_OK},
        {60000000, 60000000, SIMULATION_QUEUE_DEPTH_MAX, 100, UINT64_MAX, UINT64_MAX, PLSM_OK},
        {60000001, 0, 1, 0, 1000000, 1000000, PLSM_INVALID},
        {0, 60000001, 1, 0, 1000000, 1000000, PLSM_INVALID},
        {0, 0, 0, 0, 1000000, 1000000, PLSM_INVALID},
        {0, 0, SIMULATION_QUEUE_DEPTH_MAX + 1, 0, 1000000, 1000000, PLSM_INVALID},
        {0, 0, 1, 101, 1000000, 1000000, PLSM_INVALID},
        {0, 0, 1, 0, 999999, 1000000, PLSM_INVALID},
        {0, 0, 1, 0, 1000000, 999999, PLSM_INVALID},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        bad = (struct simulation_options){.read_latency_us = rows[i].latency,
                                          .request_overhead_ns = rows[i].overhead,
                                          .queue_depth = rows[i].depth,
                                          .sequential_discount_percent = rows[i].discount,
                                          .read_bytes_per_s = rows[i].read,
                                          .write_bytes_per_s = rows[i].write};
        ck_assert_msg(simulation_options_check(&bad) == rows[i].expected, "row %zu", i);
    }
}
END_TEST

/* --- caches and streams --- */

START_TEST(hits_cost_nothing)
{
    start_blocks(100);
    ck_assert_uint_eq(charged(1, 10, 1, SIM_POINT), RANDOM_NS);
    ck_assert_uint_eq(charged(1, 10, 1, SIM_POINT), 0);
    ck_assert_uint_eq(charged(1, 10, 1, SIM_SCAN), 0);
    ck_assert_uint_eq(charged(2, 10, 1, SIM_POINT), RANDOM_NS); /* another run */
    struct simulation_totals actual = totals(SIM_ACTUAL), traditional = totals(SIM_TRADITIONAL);
    ck_assert_uint_eq(actual.hits, 2);
    ck_assert_uint_eq(actual.blocks, 2);
    ck_assert_uint_eq(actual.reads, 2);
    ck_assert_uint_eq(actual.random, 2);
    ck_assert_uint_eq(traditional.hits + traditional.blocks + traditional.reads + traditional.read_ns, 0);
    simulation_read(simulation, SIM_TRADITIONAL, 1, 10, 1, SIM_POINT); /* a cache of its own */
    ck_assert_uint_eq(totals(SIM_TRADITIONAL).read_ns, RANDOM_NS);
    ck_assert_uint_eq(charged(1, 10, 0, SIM_POINT), 0);
    ck_assert_uint_eq(totals(SIM_ACTUAL).hits, 2);
    stop();
}
END_TEST

START_TEST(scans_read_around_the_cache)
{
    start_blocks(100);
    ck_assert_uint_eq(charged(1, 0, 8, SIM_SCAN), RANDOM_NS + 7 * 4096);
    ck_assert_uint_eq(charged(1, 0, 8, SIM_SCAN), RANDOM_NS + 7 * 4096);
    ck_assert_uint_eq(charged(1, 3, 2, SIM_POINT), RANDOM_NS + 4096);
    ck_assert_uint_eq(charged(1, 0, 8, SIM_SCAN), RANDOM_NS + 7 * 4096); /* 3 and 4 are read along */
    ck_assert_uint_eq(charged(1, 2, 3, SIM_SCAN), RANDOM_NS);            /* 3 and 4 are spared */
    ck_assert_uint_eq(charged(1, 4, 3, SIM_SCAN), RANDOM_NS - 2000 - 100000 + 10200 + 4096);
    stop();
}
END_TEST

START_TEST(what_goes_on_is_sequential)
{
    start_blocks(100);
    ck_assert_uint_eq(charged(1, 50, 1, SIM_SCAN), RANDOM_NS);
    ck_assert_uint_eq(charged(1, 51, 1, SIM_SCAN), SEQUENTIAL_NS);
    ck_assert_uint_eq(charged(2, 52, 1, SIM_SCAN), RANDOM_NS); /* another run */
    ck_assert_uint_eq(charged(1, 52, 2, SIM_SCAN), SEQUENTIAL_NS + 4096);
    ck_assert_uint_eq(charged(1, 55, 1, SIM_SCAN), RANDOM_NS);     /* left one out */
    ck_assert_uint_eq(charged(1, 54, 1, SIM_SCAN), SEQUENTIAL_NS); /* the first stream is still there */
    ck_assert_uint_eq(charged(1, 53, 1, SIM_SCAN), RANDOM_NS);     /* backward */
    ck_assert_uint_eq(charged(2, 53, 1, SIM_SCAN), SEQUENTIAL_NS);
    ck_assert_uint_eq(charged(2, 54, 1, SIM_POINT), RANDOM_NS); /* a point read does not go on from a scan */
    ck_assert_uint_eq(charged(2, 55, 1, SIM_POINT), SEQUENTIAL_NS);
    ck_assert_uint_eq(charged(2, 56, 1, SIM_SCAN), SEQUENTIAL_NS); /* a scan goes on from a point read */
    ck_assert_uint_eq(charged(2, 57, 1, SIM_SCAN), SEQUENTIAL_NS);
    struct simulation_totals t = totals(SIM_ACTUAL);
    ck_assert_uint_eq(t.random, 5);
    ck_assert_uint_eq(t.sequential, 7);
    ck_assert_uint_eq(t.reads, 12);
    stop();
}
END_TEST

/* A larger cache must not make a scan dearer by the holes it leaves. */
START_TEST(cached_blocks_do_not_break_a_scan)
{
    start_blocks(100);
    for (uint64_t block = 0; block < 100; block += 2)
        simulation_read(simulation, SIM_ACTUAL, 1, block, 1, SIM_POINT);
    simulation_reset(simulation);
    for (uint64_t block = 1; block < 100; block++)
        simulation_read(simulation, SIM_ACTUAL, 1, block, 1, SIM_SCAN);
    struct simulation_totals t = totals(SIM_ACTUAL);
    ck_assert_uint_eq(t.random, 1);
    ck_assert_uint_eq(t.sequential, 49);
    ck_assert_uint_eq(t.hits, 49);
    ck_assert_uint_eq(t.read_ns, RANDOM_NS + 49 * SEQUENTIAL_NS);
    stop();
}
END_TEST

START_TEST(many_streams_are_followed)
{
    start_blocks(0);
    for (uint64_t round = 0; round < 3; round++)
        for (uint64_t run = 1; run <= SIMULATION_STREAMS; run++) {
            simulation_read(simulation, SIM_ACTUAL, run, 7 + round, 1, SIM_SCAN);
            simulation_read(simulation, SIM_ACTUAL, run, 1000 * round, 1, SIM_POINT); /* not in their way */
        }
    ck_assert_uint_eq(totals(SIM_ACTUAL).sequential, 2 * SIMULATION_STREAMS);
    simulation_reset(simulation);
    for (uint64_t round = 0; round < 3; round++) /* one more: each pushes out the one that comes next */
        for (uint64_t run = 100; run <= 100 + SIMULATION_STREAMS; run++)
            simulation_read(simulation, SIM_ACTUAL, run, 7 + round, 1, SIM_SCAN);
    ck_assert_uint_eq(totals(SIM_ACTUAL).sequential, 0);
    stop();
}
END_TEST

START_TEST(metadata_takes_from_the_cache)
{
    start_blocks(100);
    for (unsigned side = 0; side < SIM_SIDES; side++)
        for (uint64_t block = 0; block < 100; block++)
            simulation_read(simulation, side, 1, block, 1, SIM_POINT);
    ck_assert_uint_eq(totals(SIM_ACTUAL).blocks, 100);
    simulation_set_metadata(simulation, SIM_ACTUAL, 39 * PAGE_SIZE + 1); /* 40 blocks less */
    simulation_reset(simulation);
    for (unsigned side = 0; side < SIM_SIDES; side++)
        simulation_read(simulation, side, 1, 0, 100, SIM_SCAN);
    ck_assert_uint_eq(totals(SIM_TRADITIONAL).hits, 100); /* the other side keeps its blocks */
    ck_assert_uint_ge(totals(SIM_ACTUAL).blocks, 40);
    simulation_reset(simulation);
    for (uint64_t block = 0; block < 100; block++) /* scans change nothing, so: what is there, one by one */
        simulation_read(simulation, SIM_ACTUAL, 1, block, 1, SIM_SCAN);
    ck_assert_uint_eq(totals(SIM_ACTUAL).hits, 60);
    simulation_set_metadata(simulation, SIM_ACTUAL, 0); /* room again, but what is gone is gone */
    simulation_reset(simulation);
    for (unsigned round = 0; round < 2; round++)
        for (uint64_t block = 0; block < 100; block++)
            simulation_read(simulation, SIM_ACTUAL, 1, block, 1, SIM_POINT);
    ck_assert_uint_eq(totals(SIM_ACTUAL).hits, 160);
    /* No room for a whole block, down to none at all. */
    static const uint64_t too_much[] = {99 * PAGE_SIZE + 1, 100 * PAGE_SIZE, 100 * PAGE_SIZE + 1, UINT64_MAX};
    for (unsigned i = 0; i < 4; i++) {
        simulation_set_metadata(simulation, SIM_ACTUAL, 0);
        simulation_read(simulation, SIM_ACTUAL, 1, 5, 1, SIM_POINT);
        simulation_set_metadata(simulation, SIM_ACTUAL, too_much[i]);
        simulation_reset(simulation);
        for (unsigned round = 0; round < 2; round++)
            simulation_read(simulation, SIM_ACTUAL, 1, 5, 1, SIM_POINT);
        ck_assert_uint_eq(totals(SIM_ACTUAL).hits, 0);
    }
    stop();
}
END_TEST

/* What the comparison is for: the same reads, and a larger index on one side. */
START_TEST(a_smaller_index_saves_reads)
{
    enum { BLOCKS = 1000, READS = 40000 };
    start_blocks(500);
    struct random random;
    random_seed(&random, SEED);
    simulation_set_metadata(simulation, SIM_ACTUAL, 20 * PAGE_SIZE);
    simulation_set_metadata(simulation, SIM_TRADITIONAL, 200 * PAGE_SIZE);
    for (unsigned i = 0; i < READS; i++) {
        uint64_t block = random_below(&random, BLOCKS);
        simulation_read(simulation, SIM_ACTUAL, 1, block, 1, SIM_POINT);
        simulation_read(simulation, SIM_TRADITIONAL, 1, block, 1, SIM_POINT);
    }
    double actual = (double)totals(SIM_ACTUAL).reads / READS, other = (double)totals(SIM_TRADITIONAL).reads / READS;
    ck_assert_msg(actual > 0.50 && actual < 0.55, "%.3f, 480 of 1000 blocks have room", actual);
    ck_assert_msg(other > 0.68 && other < 0.73, "%.3f, 300 of 1000 blocks have room", other);
    stop();
}
END_TEST

START_TEST(removed_runs_are_forgotten)
{
    start_blocks(3000);
    for (unsigned side = 0; side < SIM_SIDES; side++)
        for (uint64_t block = 0; block < 1000; block++)
            for (uint64_t run = 1; run <= 3; run++)
                simulation_read(simulation, side, run, block, 1, SIM_POINT);
    simulation_read(simulation, SIM_ACTUAL, 2, 2000, 1, SIM_SCAN);
    simulation_forget(simulation, 2);
    simulation_forget(simulation, 77);                           /* never seen */
    ck_assert_uint_eq(charged(2, 2001, 1, SIM_SCAN), RANDOM_NS); /* its streams are gone too */
    simulation_reset(simulation);
    for (unsigned side = 0; side < SIM_SIDES; side++) {
        for (uint64_t run = 1; run <= 3; run++)
            for (uint64_t block = 0; block < 1000; block++)
                simulation_read(simulation, side, run, block, 1, SIM_POINT);
        struct simulation_totals t = totals(side);
        ck_assert_uint_eq(t.hits, 2000);
        ck_assert_uint_eq(t.blocks, 1000);
        ck_assert_uint_eq(t.random, 1);
        for (uint64_t run = 1; run <= 3; run++) /* what was removed made room, so all three fit again */
            simulation_read(simulation, side, run, 0, 1000, SIM_POINT);
        ck_assert_uint_eq(totals(side).hits, 5000);
    }
    stop();
}
END_TEST

START_TEST(batches_overlap)
{
    struct simulation_place places[40];
    for (uint64_t i = 0; i < 40; i++)
        places[i] = (struct simulation_place){.run = 1, .first_block = 10 * i, .block_count = 1};
    start_blocks(100);
    simulation_read_batch(simulation, SIM_ACTUAL, places, 0);
    ck_assert_uint_eq(totals(SIM_ACTUAL).reads, 0);
    simulation_read_batch(simulation, SIM_ACTUAL, places, 4);
    ck_assert_uint_eq(totals(SIM_ACTUAL).read_ns, 124384);
    ck_assert_uint_eq(totals(SIM_ACTUAL).reads, 4);
    simulation_reset(simulation);
    simulation_read_batch(simulation, SIM_ACTUAL, places, 6); /* four of them hit: only two overlap */
    ck_assert_uint_eq(totals(SIM_ACTUAL).read_ns, 2 * 56096);
    ck_assert_uint_eq(totals(SIM_ACTUAL).hits, 4);
    simulation_reset(simulation);
    simulation_read_batch(simulation, SIM_ACTUAL, places, 40);
    ck_assert_uint_eq(totals(SIM_ACTUAL).read_ns, 34 * 18596);
    simulation_reset(simulation);
    /* Wanted twice: read once. Then its neighbour: sequential. And one of several blocks. */
    places[0] = places[1] = (struct simulation_place){.run = 2, .first_block = 5, .block_count = 1};
    places[2] = (struct simulation_place){.run = 2, .first_block = 6, .block_count = 1};
    places[3] = (struct simulation_place){.run = 3, .first_block = 0, .block_count = 3};
    simulation_read_batch(simulation, SIM_ACTUAL, places, 4);
    struct simulation_options options = example(0);
    struct simulation_totals t = totals(SIM_ACTUAL);
    ck_assert_uint_eq(t.read_ns, simulation_cost_ns(&options, 1, false, 3) + simulation_cost_ns(&options, 1, true, 3) +
                                     simulation_cost_ns(&options, 3, false, 3));
    ck_assert_uint_eq(t.hits, 1);
    ck_assert_uint_eq(t.blocks, 5);
    ck_assert_uint_eq(t.random, 2);
    ck_assert_uint_eq(t.sequential, 1);
    ck_assert_uint_eq(totals(SIM_TRADITIONAL).reads, 0);
    stop();
}
END_TEST

START_TEST(writes_are_charged_to_both)
{
    start_blocks(10);
    for (unsigned i = 0; i < 1000; i++)
        simulation_write(simulation, 3);
    simulation_write(simulation, 0);
    simulation_write(simulation, 1 << 20);
    for (unsigned side = 0; side < SIM_SIDES; side++) {
        struct simulation_totals t = totals(side);
        ck_assert_uint_eq(t.writes, 1002);
        ck_assert_uint_eq(t.write_bytes, 3000 + (1 << 20));
        ck_assert_uint_eq(t.write_ns, 2 * t.write_bytes);
        ck_assert_uint_eq(t.reads + t.read_ns, 0);
    }
    simulation_read(simulation, SIM_ACTUAL, 1, 1, 1, SIM_POINT);
    simulation_reset(simulation);
    for (unsigned side = 0; side < SIM_SIDES; side++) {
        struct simulation_totals t = totals(side), zero = {0};
        ck_assert_mem_eq(&t, &zero, sizeof t);
    }
    ck_assert_uint_eq(charged(1, 1, 1, SIM_POINT), 0); /* caches and streams stay */
    ck_assert_uint_eq(charged(1, 2, 1, SIM_POINT), SEQUENTIAL_NS);
    stop();
}
END_TEST

/* --- sleeping, memory --- */

START_TEST(only_the_actual_side_sleeps)
{
    struct simulation_options options = example(100);
    start(&options);
    charged(1, 1, 1, SIM_POINT);
    simulation_write(simulation, 1 << 20);
    ck_assert_uint_eq(sleepless.sleeps, 0); /* unless asked to, nobody does */
    stop();
    options.sleep = true;
    start(&options);
    charged(1, 1, 1, SIM_POINT);
    ck_assert_uint_eq(sleepless.slept_ns, RANDOM_NS);
    ck_assert_uint_eq(sleepless.sleeps, 1);
    charged(1, 1, 1, SIM_POINT); /* a hit */
    simulation_read(simulation, SIM_TRADITIONAL, 1, 9, 1, SIM_POINT);
    ck_assert_uint_eq(sleepless.sleeps, 1);
    simulation_write(simulation, 1 << 20);
    ck_assert_uint_eq(sleepless.slept_ns, RANDOM_NS + 2097152);
    ck_assert_uint_eq(sleepless.sleeps, 2);
    /* Little is slept when it has become enough, not lost: four sequential blocks make more than 50 us. */
    for (uint64_t block = 2; block < 5; block++)
        charged(1, block, 1, SIM_POINT);
    ck_assert_uint_eq(sleepless.sleeps, 2);
    charged(1, 5, 1, SIM_POINT);
    ck_assert_uint_eq(sleepless.sleeps, 3);
    ck_assert_uint_eq(sleepless.slept_ns, RANDOM_NS + 2097152 + 4 * SEQUENTIAL_NS);
    for (unsigned i = 0; i < 25000; i++) /* 2 ns each */
        simulation_write(simulation, 1);
    ck_assert_uint_eq(sleepless.sleeps, 4);
    ck_assert_uint_eq(sleepless.slept_ns, RANDOM_NS + 2097152 + 4 * SEQUENTIAL_NS + 50000);
    simulation_reset(simulation);
    ck_assert_uint_eq(totals(SIM_ACTUAL).read_ns, 0);
    stop();
}
END_TEST

START_TEST(oversleeping_is_made_up_for)
{
    struct simulation_options options = example(0);
    options.sleep = true;
    start(&options);
    sleepless.over_ns = 70000;
    for (uint64_t block = 0; block < 1000; block++)
        simulation_read(simulation, SIM_ACTUAL, 1, 3 * block, 1, SIM_POINT);
    ck_assert_uint_ge(sleepless_thread_ns + SIMULATION_SLEEP_NS_MIN, totals(SIM_ACTUAL).read_ns);
    ck_assert_uint_le(sleepless_thread_ns, totals(SIM_ACTUAL).read_ns + sleepless.over_ns);
    stop();
    /* A process that was stopped for a minute: up to 1 ms of it counts. */
    start(&options);
    sleepless.over_ns = 60 * SECOND;
    simulation_write(simulation, 100000);
    sleepless.sleeps = sleepless.slept_ns = sleepless.over_ns = 0;
    for (unsigned i = 0; i < 104; i++)
        simulation_write(simulation, 5000); /* 10 us each */
    ck_assert_uint_eq(sleepless.sleeps, 0);
    simulation_write(simulation, 5000);
    ck_assert_uint_eq(sleepless.slept_ns, 50000);
    stop();
}
END_TEST

START_TEST(failed_allocations_are_reported)
{
    struct simulation_options options = example(100);
    bool done = false;
    simulation_destroy(NULL);
    for (unsigned round = 0; round < 2; round++, options.cache_bytes = 0, done = false) {
        uint64_t nth = 1;
        for (; !done; nth++) {
            mem_fail_at(nth);
            struct simulation *made = simulation_create(&options, &sleepless.env);
            done = mem_count() < nth;
            mem_fail_at(0);
            ck_assert_int_eq(made != NULL, done);
            simulation_destroy(made);
        }
        ck_assert_uint_eq(nth, round == 0 ? 7 : 3); /* 5 allocations, or 1 without caches */
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("simulate");
    TCase *cost = tcase_create("cost"), *sides = tcase_create("sides"), *rest = tcase_create("rest");
    tcase_add_test(cost, costs_are_as_in_the_table);
    tcase_add_test(cost, profiles_agree_with_what_is_published);
    tcase_add_test(cost, profiles_have_names);
    tcase_add_test(cost, figures_have_limits);
    tcase_add_test(sides, hits_cost_nothing);
    tcase_add_test(sides, scans_read_around_the_cache);
    tcase_add_test(sides, what_goes_on_is_sequential);
    tcase_add_test(sides, cached_blocks_do_not_break_a_scan);
    tcase_add_test(sides, many_streams_are_followed);
    tcase_add_test(sides, metadata_takes_from_the_cache);
    tcase_add_test(sides, a_smaller_index_saves_reads);
    tcase_add_test(sides, removed_runs_are_forgotten);
    tcase_add_test(sides, batches_overlap);
    tcase_add_test(sides, writes_are_charged_to_both);
    tcase_add_test(rest, only_the_actual_side_sleeps);
    tcase_add_test(rest, oversleeping_is_made_up_for);
    tcase_add_test(rest, failed_allocations_are_reported);
    suite_add_tcase(suite, cost);
    suite_add_tcase(suite, sides);
    suite_add_tcase(suite, rest);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
