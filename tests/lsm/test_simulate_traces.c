/* Simulated I/O on random traces: against a naive model, against a plain set, and from several threads. */
#include <check.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "lsm/page.h"
#include "lsm/simulate.h"
#include "tests/harness/simulate_model.h"
#include "tests/harness/sleepless.h"

#include "base/banned.h"

enum { SEED = 20261121 };

static struct sleepless sleepless;
static struct simulation *simulation;

/* Reading one block of it, not in a batch, costs RANDOM_NS or SEQUENTIAL_NS. */
static struct simulation_options device(uint64_t cache_blocks)
{
    return (struct simulation_options){.read_latency_us = 100,
                                       .request_overhead_ns = 2000,
                                       .queue_depth = 8,
                                       .sequential_discount_percent = 90,
                                       .read_bytes_per_s = UINT64_C(1000000000),
                                       .write_bytes_per_s = UINT64_C(500000000),
                                       .cache_bytes = cache_blocks * PAGE_SIZE};
}
enum { RANDOM_NS = 106096, SEQUENTIAL_NS = 14296 };

static void start(const struct simulation_options *options)
{
    sleepless_init(&sleepless);
    simulation = simulation_create(options, &sleepless.env);
    ck_assert_ptr_nonnull(simulation);
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

enum { TRACE_RUNS = 4, TRACE_BLOCKS = 60, TRACE_STEPS = 12000, TRACE_CURSORS = 6, TRACE_BATCH_MAX = 40 };

struct trace {
    struct random random;
    struct simulation_model model;
    struct simulation_place cursors[TRACE_CURSORS]; /* scans under way */
    struct simulation_place places[TRACE_BATCH_MAX];
};

static uint64_t draw(struct trace *t, uint64_t bound)
{
    return random_below(&t->random, bound);
}

/* Small block numbers more often than large ones. */
static struct simulation_place draw_place(struct trace *t, uint64_t block_count)
{
    return (struct simulation_place){
        .run = draw(t, TRACE_RUNS), .first_block = draw(t, 1 + draw(t, TRACE_BLOCKS)), .block_count = block_count};
}

static void trace_step(struct trace *t)
{
    enum simulation_side side = draw(t, SIM_SIDES);
    enum simulation_kind kind = SIM_POINT;
    uint64_t what = draw(t, 1000), count = 1;
    if (what < 600) {
        t->places[0] = draw_place(t, draw(t, 8) ? 1 : draw(t, 7));
    } else if (what < 800) {
        struct simulation_place *cursor = &t->cursors[draw(t, TRACE_CURSORS)];
        kind = SIM_SCAN;
        if (cursor->first_block >= TRACE_BLOCKS || draw(t, 20) == 0)
            *cursor = draw_place(t, 0);
        cursor->block_count = 1 + draw(t, 5);
        t->places[0] = *cursor;
        cursor->first_block += cursor->block_count;
    } else if (what < 970) {
        count = draw(t, TRACE_BATCH_MAX);
        for (uint64_t i = 0; i < count; i++)
            t->places[i] = draw_place(t, draw(t, 10) ? 1 : draw(t, 4));
    } else if (what < 980) {
        uint64_t run = draw(t, TRACE_RUNS);
        simulation_forget(simulation, run);
        simulation_model_forget(&t->model, run);
        return;
    } else if (what < 990) {
        uint64_t bytes = draw(t, 1 + t->model.options.cache_bytes * 5 / 4) >> draw(t, 8);
        simulation_set_metadata(simulation, side, bytes);
        simulation_model_set_metadata(&t->model, side, bytes);
        return;
    } else if (what < 998) {
        uint64_t bytes = draw(t, 100000);
        simulation_write(simulation, bytes);
        simulation_model_write(&t->model, bytes);
        return;
    } else {
        simulation_reset(simulation);
        simulation_model_reset(&t->model);
        return;
    }
    if (kind == SIM_POINT && (count != 1 || draw(t, 2)))
        simulation_read_batch(simulation, side, t->places, count);
    else
        simulation_read(simulation, side, t->places[0].run, t->places[0].first_block, t->places[0].block_count, kind);
    simulation_model_read(&t->model, side, t->places, count, kind);
}

/* Blocks of the cache; all blocks of the trace are 240 and a few more. */
static const uint64_t sizes[] = {0, 1, 2, 3, 17, 63, 64, 65, 66, 100, 150, 239, 240, 300};
enum { SIZES = sizeof sizes / sizeof *sizes };

START_TEST(random_traces_cost_what_the_model_says)
{
    static struct trace t;
    uint64_t blocks = sizes[_i];
    for (uint64_t seed = SEED; seed < SEED + 3; seed++) {
        struct simulation_options options = device(blocks);
        options.cache_bytes += blocks * 10; /* a part of a block is no block */
        t = (struct trace){0};
        random_seed(&t.random, seed);
        simulation_model_init(&t.model, &options);
        start(&options);
        for (unsigned step = 0; step < TRACE_STEPS; step++) {
            trace_step(&t);
            for (unsigned side = 0; side < SIM_SIDES; side++) {
                struct simulation_totals found = totals(side), expected = t.model.sides[side].totals;
                if (memcmp(&found, &expected, sizeof found) != 0)
                    ck_abort_msg("seed %" PRIu64 ", %" PRIu64 " blocks, step %u, side %u: %" PRIu64 " reads, %" PRIu64
                                 " sequential, %" PRIu64 " hits, %" PRIu64 " ns; the model has %" PRIu64 ", %" PRIu64
                                 ", %" PRIu64 ", %" PRIu64,
                                 seed, blocks, step, side, found.reads, found.sequential, found.hits, found.read_ns,
                                 expected.reads, expected.sequential, expected.hits, expected.read_ns);
            }
        }
        stop();
    }
}
END_TEST

/* A cache in which long clusters of the table form and dissolve, against a plain set: everything fits. */
START_TEST(nothing_is_lost_in_the_table)
{
    enum { RUNS = 50, BLOCKS = 400, STEPS = 200000 };
    static bool there[RUNS][BLOCKS];
    struct random random;
    random_seed(&random, SEED);
    struct simulation_options options = device(RUNS * BLOCKS);
    start(&options);
    memset(there, 0, sizeof there);
    for (unsigned step = 0; step < STEPS; step++) {
        uint64_t run = random_below(&random, RUNS), block = random_below(&random, BLOCKS);
        uint64_t hits = totals(SIM_ACTUAL).hits;
        simulation_read(simulation, SIM_ACTUAL, run << 32, block, 1, SIM_POINT);
        bool hit = totals(SIM_ACTUAL).hits > hits;
        ck_assert_msg(hit == there[run][block], "step %u", step);
        there[run][block] = true;
        if (random_below(&random, 500) == 0) {
            simulation_forget(simulation, run << 32);
            memset(there[run], 0, sizeof there[run]);
        }
    }
    stop();
}
END_TEST

enum { WORKERS = 4, WORK = 15000 };

struct worker {
    uint64_t seed, asked[SIM_SIDES], written;
};

static void work(void *arg)
{
    struct worker *worker = arg;
    struct random random;
    struct simulation_totals t;
    random_seed(&random, worker->seed);
    for (unsigned i = 0; i < WORK; i++) {
        enum simulation_side side = random_below(&random, SIM_SIDES);
        uint64_t run = random_below(&random, 5), block = random_below(&random, 200), what = random_below(&random, 100);
        struct simulation_place places[3] = {{run, block, 1}, {run + 1, block, 1}, {run, block + 7, 1}};
        if (what < 60) {
            simulation_read(simulation, side, run, block, 1, what % 2 ? SIM_POINT : SIM_SCAN);
            worker->asked[side]++;
        } else if (what < 85) {
            simulation_read_batch(simulation, side, places, 3);
            worker->asked[side] += 3;
        } else if (what < 95) {
            simulation_write(simulation, block);
            worker->written += block;
        } else if (what < 97) {
            simulation_set_metadata(simulation, side, block * PAGE_SIZE);
        } else if (what < 99) {
            simulation_totals(simulation, side, &t);
            if (t.random + t.sequential != t.reads)
                abort();
        } else {
            simulation_forget(simulation, run);
        }
    }
}

START_TEST(threads_do_not_lose_counts)
{
    struct simulation_options options = device(300);
    options.sleep = true;
    options.queue_depth = 1; /* so that what a block costs does not depend on its batch */
    struct worker workers[WORKERS] = {0};
    struct env_thread *threads[WORKERS] = {0};
    start(&options);
    for (uint64_t i = 0; i < WORKERS; i++) {
        workers[i].seed = SEED + i;
        ck_assert_int_eq(env_thread_start(env_posix(), work, &workers[i], &threads[i]), PLSM_OK);
    }
    for (unsigned i = 0; i < WORKERS; i++)
        env_thread_join(threads[i]);
    uint64_t charge = 0;
    for (unsigned side = 0; side < SIM_SIDES; side++) {
        struct simulation_totals t = totals(side);
        uint64_t asked = 0, written = 0;
        for (unsigned i = 0; i < WORKERS; i++) {
            asked += workers[i].asked[side];
            written += workers[i].written;
        }
        ck_assert_uint_eq(t.blocks + t.hits, asked);
        ck_assert_uint_eq(t.reads, t.blocks);
        ck_assert_uint_eq(t.write_bytes, written);
        ck_assert_uint_eq(t.read_ns, t.random * RANDOM_NS + t.sequential * SEQUENTIAL_NS);
        if (side == SIM_ACTUAL)
            charge = t.read_ns + t.write_ns;
    }
    ck_assert_uint_le(sleepless.slept_ns, charge);
    ck_assert_uint_gt(sleepless.slept_ns + SIMULATION_SLEEP_NS_MIN, charge);
    stop();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("simulate_traces");
    TCase *all = tcase_create("all");
    tcase_set_timeout(all, 240);
    tcase_add_loop_test(all, random_traces_cost_what_the_model_says, 0, SIZES);
    tcase_add_test(all, nothing_is_lost_in_the_table);
    tcase_add_test(all, threads_do_not_lose_counts);
    suite_add_tcase(suite, all);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
