/* One list of operations, many option sets, one history.
 *
 * The list is seeded: writes and batches, reads, snapshots and iterators that stay open over flushes, compactions and
 * overwrites, reopens. It is replayed under random options, in all index modes and with a change of mode at each
 * reopen, on memory and on a real directory, with flush and compaction inside the calls or in threads beside them, some
 * with simulated I/O. Every answer must be the model's, so all runs give the same history; and where traditional mode
 * simulates, both sides must have been charged the same. A failing list shrinks to one in which nothing can be left
 * out, and is printed.
 *
 * MODEL_SEED another list; MODEL_OPS its length; MODEL_SETS how many option sets; MODEL_SET=n that one alone;
 * MODEL_THREADS=1 only those with threads; MODEL_LISTS how many more lists; TEST_ENGINE=name: of the other engines that
 * one alone. */
#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/env_memory.h"
#include "base/random.h"
#include "store/internal.h"
#include "tests/harness/engines.h"
#include "tests/harness/pool.h"
#include "tests/harness/replay.h"
#include "tests/harness/shrink.h"
#include "tests/harness/temporary.h"

#include "base/banned.h"

enum { RUN_SECONDS = 300, SHRINK_SECONDS = 120 };

/* The last way changes the mode at each reopen, so that runs of all modes come together. */
enum { MODES = 3, WAYS = MODES + 1, LEARNED = 1 };
static const char *const modes[MODES] = {"traditional", "learned", "classic"};

struct run {
    char options[MODES][800];
    unsigned way; /* which of them; MODES: one after the other */
    bool posix, background;
    bool equal_sides;                 /* of the simulated I/O */
    const struct test_engine *engine; /* another than the tree, and its own options; NULL: the tree */
    uint64_t seed;
    const struct op *ops;
    size_t count;
};

static unsigned long pick(struct random *random, const unsigned long *from, size_t count)
{
    return from[random_below(random, count)];
}
#define PICK(random, ...)                                                                                              \
    pick((random), (const unsigned long[]){__VA_ARGS__},                                                               \
         sizeof((const unsigned long[]){__VA_ARGS__}) / sizeof(unsigned long))

/* What only learned mode has. */
static void choose_learned(struct random *random, char *text, size_t size)
{
    static const char *const filters[] = {"auto", "auto", "small", "fuse", "blocked"};
    static const char *const models[] = {"auto", "auto", "linear", "plr", "neural", "trie", "none", "none/trie/plr"};
    snprintf(text, size,
             ",filter=%s,filter_young=%lu,model=%s,model_embed=%lu,model_cache=%lu,model_update=%lu,train_every=%lu,"
             "model_incremental=%lu,model_batch=%lu,multi_get=%lu,multi_get_max=%lu,validation_rate=%s",
             filters[random_below(random, 5)], PICK(random, 0, 1, 1), models[random_below(random, 8)],
             PICK(random, 0, 1, 1), PICK(random, 0, 1, 3, 1000), PICK(random, 0, 1, 1, 1), PICK(random, 1, 1, 2, 5),
             PICK(random, 0, 1), PICK(random, 0, 1, 100), PICK(random, 0, 1, 1), PICK(random, 1, 7, 100),
             random_below(random, 3) ? "0" : "0.3");
}

/* Half of the sets have none. Each mode chooses by itself, so that with changing modes codecs change too. */
static void choose_compression(struct random *random, char *options, size_t size)
{
    static const char *const codecs[] = {"lz4", "zstd", "zstd", "none/lz4/zstd", "lz4/zstd/none", "zstd/none/lz4"};
    size_t used = strlen(options);
    if (random_below(random, 2))
        snprintf(options + used, size - used, ",compression=%s,compression_page=%luK,compression_dictionary=%lu",
                 codecs[random_below(random, 6)], PICK(random, 4, 8, 16, 32), PICK(random, 0, 256, 1024, 8192));
}

static const char *options_at(const struct run *run, unsigned reopens)
{
    return run->options[run->way < MODES ? run->way : reopens % MODES];
}

/* The policy differs between the modes, so that one that changes the mode at each reopen changes it too. */
static void choose_policy(struct random *random, char *text, size_t size)
{
    static const char *const policies[] = {"leveled", "tiered", "auto", "lazy"};
    size_t used = strlen(text);
    snprintf(text + used, size - used,
             ",policy=%s,runs_per_level=%lu,runs_last_level=%lu,deletions_compact=%lu,compact_age=%lu,"
             "compact_threads=%lu",
             policies[random_below(random, 4)], PICK(random, 0, 0, 0, 1, 2, 5), PICK(random, 0, 0, 0, 1, 3),
             PICK(random, 0, 1, 50, 100), PICK(random, 0, 0, 0, 1, 3600), PICK(random, 1, 2, 2, 3, 16));
}

/* Those of another engine: its own sets one after the other. */
static void choose_engine_options(struct run *run, struct random *random, unsigned long number)
{
    unsigned sets = 0;
    while (sets < TEST_ENGINE_SETS && run->engine->sets[sets])
        sets++;
    run->background = number % 3 == 2;
    run->posix = number % 6 == 5;
    run->way = 0;
    const char *more = sets ? run->engine->sets[number % sets] : "";
    char ttl[32] = "";
    if (number % 5 == 3 && !run->posix)
        snprintf(ttl, sizeof ttl, ",ttl=%lu", PICK(random, 1, 5, 20, 100));
    snprintf(run->options[0], sizeof run->options[0], "%s%s%s%s,background=%d", run->engine->options, *more ? "," : "",
             more, ttl, run->background);
}

/* Option set number `number`; two of every three run without threads, where a failure can be repeated exactly. */
static void choose_options(struct run *run, uint64_t seed, unsigned long number, unsigned way)
{
    struct random random;
    random_seed(&random, seed ^ number * 7919);
    if (run->engine) {
        choose_engine_options(run, &random, number);
        return;
    }
    run->background = number % 3 == 2;
    run->posix = number % 6 == 5;
    unsigned long l0_compact = PICK(&random, 1, 2, 3, 4, 8);
    run->way = way;
    snprintf(run->options[0], sizeof run->options[0],
             "index=%s,background=%d,buffer_size=%luK,file_size=%luK,size_ratio=%lu,l0_compact=%lu,l0_slowdown=%lu,"
             "l0_stop=%lu,cache_size=%luK,filter_bits=%lu,manifest_size=%luK,log=%s",
             modes[0], run->background, PICK(&random, 64, 64, 65, 100, 256, 1024),
             PICK(&random, 64, 65, 128, 500, 4096), PICK(&random, 2, 3, 4, 10, 64), l0_compact,
             l0_compact + PICK(&random, 0, 1, 4), l0_compact + PICK(&random, 5, 8, 20),
             PICK(&random, 0, 0, 1, 16, 64, 1024, 32768), PICK(&random, 0, 4, 5, 8, 11, 16),
             PICK(&random, 4, 4, 5, 64, 1024), random_below(&random, 3) ? "mapped" : "written");
    if (number % 3 == 1) { /* a budget too small, or one that is felt */
        size_t used = strlen(run->options[0]);
        snprintf(run->options[0] + used, sizeof run->options[0] - used, ",memory=%luK",
                 PICK(&random, 1024, 1024, 3000, 8192));
    }
    if (random_below(&random, 3)) {
        size_t used = strlen(run->options[0]);
        snprintf(run->options[0] + used, sizeof run->options[0] - used, ",separate_above=%lu,separate_garbage=%s",
                 PICK(&random, 1, 16, 16, 100, 1000, 4000, 100000),
                 (const char *[]){"0", "0.1", "0.5", "0.5", "0.9", "1"}[random_below(&random, 6)]);
    }
    if (number % 5 == 3 && !run->posix) { /* its time cannot be set, so nobody knows the second of a put */
        size_t used = strlen(run->options[0]);
        snprintf(run->options[0] + used, sizeof run->options[0] - used, ",ttl=%lu", PICK(&random, 1, 5, 20, 100));
    }
    if (random_below(&random, 2)) {
        size_t used = strlen(run->options[0]);
        snprintf(run->options[0] + used, sizeof run->options[0] - used, ",spill_above=%lu",
                 PICK(&random, 1, 300, 3000, 40000));
    }
    bool simulate = random_below(&random, 2);
    run->equal_sides = simulate && way < MODES && way != LEARNED && !run->background;
    if (simulate) {
        size_t used = strlen(run->options[0]);
        snprintf(run->options[0] + used, sizeof run->options[0] - used, ",sim=nvme,sim_cache=%luK",
                 PICK(&random, 0, 4, 64, 1024, 32768));
    }
    for (unsigned mode = 1; mode < MODES; mode++)
        snprintf(run->options[mode], sizeof run->options[mode], "index=%s%s", modes[mode],
                 strchr(run->options[0], ','));
    for (unsigned mode = 0; mode < MODES; mode++)
        choose_policy(&random, run->options[mode], sizeof run->options[mode]);
    size_t size = strlen(run->options[LEARNED]);
    if (number % 4 != 0) /* the rest as it comes */
        choose_learned(&random, run->options[LEARNED] + size, sizeof run->options[LEARNED] - size);
    for (unsigned mode = 0; mode < MODES; mode++)
        choose_compression(&random, run->options[mode], sizeof run->options[mode]);
}

static void describe(const struct run *run, char *text, size_t size)
{
    snprintf(text, size, "%s%s%s", options_at(run, 0), run->way < MODES ? "" : ", another index at each reopen",
             run->posix ? ", real directory" : "");
}

enum { FIGURES = 7 };
static const char *const figures[FIGURES] = {"reads", "random",  "sequential",    "blocks",
                                             "hits",  "read_ms", "metadata_bytes"};

/* What either side of the simulated I/O was charged. */
static void take_figure(void *arg, const plsm_statistic *statistic)
{
    uint64_t(*sides)[2] = arg;
    char one[64], other[64];
    for (size_t i = 0; i < FIGURES; i++) {
        snprintf(one, sizeof one, "sim.%s", figures[i]);
        snprintf(other, sizeof other, "sim.traditional_%s", figures[i]);
        if (strcmp(statistic->name, one) == 0)
            sides[i][0] = statistic->integer;
        if (strcmp(statistic->name, other) == 0)
            sides[i][1] = statistic->integer;
    }
}

static bool sides_are_equal(plsm *db, char *failure, size_t size)
{
    uint64_t sides[FIGURES][2] = {{0}};
    plsm_statistics(db, take_figure, sides);
    for (size_t i = 0; i < FIGURES; i++)
        if (sides[i][0] != sides[i][1]) {
            snprintf(failure, size, "sim.%s is %lu, and %lu on the traditional side", figures[i],
                     (unsigned long)sides[i][0], (unsigned long)sides[i][1]);
            return false;
        }
    return true;
}

static void take_wrong(void *arg, const plsm_statistic *statistic)
{
    if (strcmp(statistic->name, "learn.validation_wrong") == 0)
        *(uint64_t *)arg = statistic->integer;
}

/* Validation puts the right answer in the place of a wrong one; but there should be none. */
static bool answers_were_valid(plsm *db, char *failure, size_t size)
{
    if (db->engine != &engine_lsm)
        return true;
    uint64_t wrong = UINT64_MAX;
    plsm_statistics(db, take_wrong, &wrong);
    if (wrong > 0)
        snprintf(failure, size, "validation found %lu wrong answers", (unsigned long)wrong);
    return wrong == 0;
}

static enum verdict run_list(void *arg, char *failure, size_t size)
{
    const struct run *run = arg;
    struct env *memory = run->posix ? NULL : env_memory_create(run->seed);
    struct replay replay = {.compact_beside = run->background, .clock = memory};
    char *directory = run->posix ? temporary_create() : NULL;
    char path[4200];
    snprintf(path, sizeof path, "%s/store", directory ? directory : "");
    struct model *model = model_create();
    bool passed = replay_start(&replay, memory ? memory : env_posix(), path, options_at(run, 0), model);
    size_t at = 0;
    unsigned reopens = 0;
    for (; at < run->count && passed; at++) {
        if (run->ops[at].kind == OP_REOPEN)
            replay.options = options_at(run, ++reopens);
        passed = replay_step(&replay, &run->ops[at]);
    }
    passed = passed && replay_step(&replay, &(struct op){.kind = OP_SCAN});
    if (passed && run->equal_sides)
        passed = sides_are_equal(replay.db, replay.failure, sizeof replay.failure);
    passed = passed && answers_were_valid(replay.db, replay.failure, sizeof replay.failure);
    replay.options = options_at(run, ++reopens);
    passed = passed && replay_step(&replay, &(struct op){.kind = OP_REOPEN});
    passed = passed && replay_step(&replay, &(struct op){.kind = OP_SCAN});
    if (!passed)
        snprintf(failure, size, "operation %zu of %zu: %.800s", at ? at - 1 : 0, run->count, replay.failure);
    replay_destroy(&replay);
    model_destroy(model);
    env_memory_destroy(memory);
    temporary_destroy(directory);
    return passed ? VERDICT_PASSED : VERDICT_FAILED;
}

static bool still_fails(void *arg, const struct op *ops, size_t count)
{
    struct run run = *(const struct run *)arg;
    run.ops = ops;
    run.count = count;
    char failure[1024];
    /* With threads about, a failure shows only now and then. */
    for (int tries = run.background ? 3 : 1; tries > 0; tries--)
        if (!pool_alone(run_list, &run, RUN_SECONDS, failure, sizeof failure))
            return true;
    return false;
}

static void report_smallest(struct run *run)
{
    struct op *ops = malloc((run->count + 1) * sizeof *ops);
    if (!ops)
        abort();
    memcpy(ops, run->ops, run->count * sizeof *ops);
    size_t count = shrink(ops, run->count, still_fails, run, SHRINK_SECONDS);
    char failure[1024] = "(not every time)";
    struct run smallest = *run;
    smallest.ops = ops;
    smallest.count = count;
    pool_alone(run_list, &smallest, RUN_SECONDS, failure, sizeof failure);
    char text[500];
    describe(run, text, sizeof text);
    fprintf(stderr, "smallest failing list, with %s:\n", text);
    workload_print(stderr, ops, count);
    fprintf(stderr, "fails with: %s\n", failure);
    free(ops);
}

/* The first failing run of the given sets, to be shrunk. */
static void find_and_shrink(struct run *run, unsigned long first, unsigned long last)
{
    for (unsigned long set = first; set < last; set++) {
        for (unsigned way = 0; way < (run->engine ? 1 : WAYS); way++) {
            choose_options(run, run->seed, set, way);
            if (still_fails(run, run->ops, run->count)) {
                report_smallest(run);
                return;
            }
        }
    }
}

START_TEST(test_options)
{
    uint64_t seed = setting("MODEL_SEED", 40);
    size_t count = setting("MODEL_OPS", 1500);
    unsigned long sets = setting("MODEL_SETS", 200), only = setting("MODEL_SET", ~0ul);
    bool only_threads = setting("MODEL_THREADS", 0);
    struct op *ops = workload_create(&workload_everything, seed, count);
    struct run run = {.seed = seed, .ops = ops, .count = count};
    struct pool *pool = pool_create(0);
    unsigned long first = only == ~0ul ? 0 : only, last = only == ~0ul ? sets : only + 1, set = first;
    for (; set < last && pool_failures(pool) == 0; set++) {
        for (unsigned way = 0; way < WAYS; way++) {
            choose_options(&run, seed, set, way);
            if (only_threads && !run.background)
                continue;
            char label[900], text[800];
            describe(&run, text, sizeof text);
            snprintf(label, sizeof label, "MODEL_SEED=%lu MODEL_OPS=%zu MODEL_SET=%lu (%s)", (unsigned long)seed, count,
                     set, text);
            pool_start(pool, run_list, &run, RUN_SECONDS, label);
        }
    }
    unsigned failures = pool_wait(pool);
    pool_destroy(pool);
    if (failures > 0)
        find_and_shrink(&run, set > first + 4 ? set - 4 : first, set);
    free(ops);
    ck_assert_msg(failures == 0, "%u runs gave a wrong answer", failures);
    printf("model: %zu operations under %lu option sets in %d modes and between them, seed %lu\n", count, last - first,
           MODES, (unsigned long)seed);
}
END_TEST

/* Other engines: lists under sets of options of their own. */
START_TEST(test_engine)
{
    enum { SETS = 6 };
    const struct test_engine *engine = &test_engines[_i];
    uint64_t seed = setting("MODEL_SEED", 60 + 10 * (unsigned)_i);
    size_t count = setting("MODEL_OPS", 1500);
    unsigned long lists = test_engine_wanted(engine) ? 1 + setting("MODEL_SETS", 200) / 40 : 0;
    bool only_threads = setting("MODEL_THREADS", 0);
    struct pool *pool = pool_create(0);
    for (unsigned long list = 0; list < lists && pool_failures(pool) == 0; list++) {
        struct op *ops = workload_create(&workload_everything, seed + list, count);
        struct run run = {.seed = seed + list, .ops = ops, .count = count, .engine = engine};
        for (unsigned long set = 0; set < SETS; set++) {
            char label[900], text[800];
            choose_options(&run, run.seed, set, 0);
            if (only_threads && !run.background)
                continue;
            describe(&run, text, sizeof text);
            snprintf(label, sizeof label, "TEST_ENGINE=%s, list of seed %lu (%s)", engine->name,
                     (unsigned long)run.seed, text);
            pool_start(pool, run_list, &run, RUN_SECONDS, label);
        }
        if (pool_wait(pool) > 0)
            find_and_shrink(&run, 0, SETS);
        free(ops);
    }
    ck_assert_uint_eq(pool_failures(pool), 0);
    pool_destroy(pool);
}
END_TEST

/* More lists, each under a few sets. */
START_TEST(test_lists)
{
    uint64_t seed = setting("MODEL_SEED", 40) * 1000;
    size_t count = setting("MODEL_OPS", 1500) * 2;
    unsigned long lists = setting("MODEL_LISTS", 20);
    struct pool *pool = pool_create(0);
    for (unsigned long list = 0; list < lists && pool_failures(pool) == 0; list++) {
        struct op *ops = workload_create(&workload_everything, seed + list, count);
        struct run run = {.seed = seed + list, .ops = ops, .count = count};
        for (unsigned long set = 0; set < 2; set++) {
            choose_options(&run, run.seed, set, (unsigned)(2 * list + set) % WAYS);
            char label[900], text[800];
            describe(&run, text, sizeof text);
            snprintf(label, sizeof label, "list of seed %lu (%s)", (unsigned long)run.seed, text);
            pool_start(pool, run_list, &run, RUN_SECONDS, label);
        }
        if (pool_wait(pool) > 0)
            find_and_shrink(&run, 0, 2);
        free(ops);
    }
    ck_assert_uint_eq(pool_failures(pool), 0);
    pool_destroy(pool);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("model");
    TCase *tcase = tcase_create("one history");
    tcase_set_timeout(tcase, 3600);
    tcase_add_test(tcase, test_options);
    tcase_add_test(tcase, test_lists);
    suite_add_tcase(suite, tcase);
    TCase *engines = tcase_create("engines");
    tcase_set_timeout(engines, 3600);
    tcase_add_loop_test(engines, test_engine, 1, (int)TEST_ENGINES);
    suite_add_tcase(suite, engines);
    SRunner *runner = srunner_create(suite);
    srunner_set_fork_status(runner, CK_NOFORK);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
