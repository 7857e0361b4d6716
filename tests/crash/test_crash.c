/* Crashes after every storage call.
 *
 * One workload of puts, batches, deletes, flushes, compactions and reopens is run on env_memory and recorded: how many
 * storage calls, writes and promises there were after each operation. Then, for every call and every kind of crash, the
 * image such a crash leaves is opened, compared with the model, written to, and opened again.
 *
 * What must hold: the store opens without an error; it shows the state after some prefix of the writes, so no batch in
 * halves; the prefix holds every acknowledged write when only the process died, and every synced one after power loss.
 *
 * CRASH_SEED another workload; CRASH_STRIDE=n every n-th call only; CRASH_CALL=c and CRASH_KIND=k one crash alone;
 * CK_RUN_CASE=learned, traditional, classic, tiered, lazy, values, ttl, spilled, background or engines
 * (TEST_ENGINE=name). */
#include <check.h>
#include <stdlib.h>

#include "base/env_memory.h"
#include "base/random.h"
#include "store/internal.h"
#include "tests/harness/engines.h"
#include "tests/harness/pool.h"
#include "tests/harness/replay.h"
#include "tests/harness/statistic.h"

#include "base/banned.h"

#define STORE "/store"
#define COMMON ",buffer_size=64K,file_size=64K,size_ratio=2,l0_compact=2,manifest_size=4K,cache_size=64K"

#define PACKED ",compression=zstd,compression_page=8K,compression_dictionary=1K"

enum {
    CALLS_MIN = 2000, /* of the recorded workload */
    OPERATIONS_MAX = 20000,
    CHUNK = 16,          /* crash points of one child process */
    RECOVERY_STRIDE = 23 /* every how many calls the recovery is crashed too */
};

static const char *const kind_names[ENV_CRASH_COUNT] = {"keep", "drop", "torn", "reorder"};

/* The situation after an operation. */
struct mark {
    uint64_t calls, writes, promised; /* promised: writes that survive power loss */
};

struct recording {
    char image_options[300]; /* without threads, so that an image gives the same again and again */
    uint64_t seed, stride;
    struct env *env;
    struct model *model;
    struct op *ops;
    struct mark *marks;                          /* marks[0]: after the open; marks[i + 1]: after operation i */
    size_t count;                                /* operations */
    unsigned flushes, compactions, loads, moves; /* that did something */
    uint64_t split, sorted_runs; /* parts of merges beyond the first of each, and sorted runs, at most */
    uint64_t spilled;            /* batches, since the last opening, at most */
};

/* --- recording ---------------------------------------------------------------------------------------------------- */

static bool promises(const struct op *op, bool wrote)
{
    bool write = op->kind <= OP_DELETE_RANGE || op->kind == OP_BATCH_WRITE;
    return op->kind == OP_SYNC || op->kind == OP_REOPEN || (write && wrote && op->sync) ||
           ((op->kind == OP_BULK || op->kind == OP_MOVE_PREFIX) && wrote);
}

/* What the merges were like. */
static void look_inside(struct recording *recording, plsm *db)
{
    if (db->engine != &engine_lsm)
        return;
    struct lsm *tree = db->tree;
    uint64_t merges = (uint64_t)statistic(tree, "lsm.compactions"), runs = (uint64_t)statistic(tree, "lsm.sorted_runs");
    uint64_t split = (uint64_t)statistic(tree, "lsm.compaction_parts") - merges;
    uint64_t spilled = (uint64_t)statistic(tree, "lsm.spilled_batches");
    recording->spilled = spilled > recording->spilled ? spilled : recording->spilled;
    recording->split = split > recording->split ? split : recording->split;
    recording->sorted_runs = runs > recording->sorted_runs ? runs : recording->sorted_runs;
}

static void record(struct recording *recording, const char *options, uint64_t seed, bool background)
{
    char recorded[300];
    bool tree = !strstr(options, "engine="); /* of the tree it is known what such a list does */
    snprintf(recorded, sizeof recorded, "%s,background=%d", options, background);
    *recording = (struct recording){.seed = seed, .stride = setting("CRASH_STRIDE", 1)};
    snprintf(recording->image_options, sizeof recording->image_options, "%s,background=0", options);
    recording->env = env_memory_create(seed);
    recording->model = model_create();
    recording->ops = workload_create(&workload_writes, seed, OPERATIONS_MAX);
    recording->marks = calloc(OPERATIONS_MAX + 1, sizeof *recording->marks);
    struct replay replay = {.clock = recording->env};
    ck_assert_msg(replay_start(&replay, recording->env, STORE, recorded, recording->model), "%s", replay.failure);
    struct mark mark = {.calls = env_memory_calls(recording->env)};
    recording->marks[0] = mark;
    while (mark.calls < CALLS_MIN && recording->count < OPERATIONS_MAX) {
        const struct op *op = &recording->ops[recording->count];
        ck_assert_msg(replay_step(&replay, op), "seed %lu, operation %zu: %s", (unsigned long)seed, recording->count,
                      replay.failure);
        bool worked = env_memory_calls(recording->env) > mark.calls + 2;
        recording->flushes += op->kind == OP_FLUSH && worked;
        recording->compactions += op->kind == OP_COMPACT && worked;
        look_inside(recording, replay.db);
        bool wrote = model_now(recording->model) > mark.writes;
        recording->loads += op->kind == OP_BULK && wrote;
        recording->moves += op->kind == OP_MOVE_PREFIX && wrote;
        mark.calls = env_memory_calls(recording->env);
        mark.writes = model_now(recording->model);
        if (promises(op, wrote))
            mark.promised = mark.writes;
        recording->marks[++recording->count] = mark;
    }
    ck_assert_msg(replay_step(&replay, &(struct op){.kind = OP_SCAN}), "%s", replay.failure);
    replay_destroy(&replay);
    ck_assert_uint_ge(mark.calls, CALLS_MIN);
    if (tree) {
        ck_assert_uint_ge(recording->flushes, 3);
        ck_assert_uint_ge(recording->compactions, 3);
        ck_assert_uint_gt(recording->split, 0);
        ck_assert_uint_ge(recording->loads, 2);
        ck_assert_uint_ge(recording->moves, 2);
        ck_assert_uint_ge(recording->spilled, strstr(options, "spill_above") ? 5 : 0);
    }
    printf("crash: %zu operations, %lu writes, %lu storage calls, %u flushes, %u compactions asked for, %u bulk loads, "
           "%u moved prefixes, %lu spilled batches, %lu parts, %lu sorted runs, seed %lu, %s\n",
           recording->count, (unsigned long)mark.writes, (unsigned long)mark.calls, recording->flushes,
           recording->compactions, recording->loads, recording->moves, (unsigned long)recording->spilled,
           (unsigned long)recording->split, (unsigned long)recording->sorted_runs, (unsigned long)seed, recorded);
}

static void forget(struct recording *recording)
{
    env_memory_destroy(recording->env);
    model_destroy(recording->model);
    free(recording->ops);
    free(recording->marks);
}

/* --- one crash ---------------------------------------------------------------------------------------------------- */

/* Which moments a crash behind `call` may show. `must_exist`: the creation of the store had been acknowledged. */
struct legal {
    uint64_t low, high;
    bool must_exist;
    size_t op; /* operations acknowledged */
};

static struct legal legal_after(const struct recording *recording, uint64_t call, enum env_crash kind)
{
    if (call < recording->marks[0].calls)
        return (struct legal){0};
    size_t i = 0;
    while (i < recording->count && recording->marks[i + 1].calls <= call)
        i++;
    const struct mark *mark = &recording->marks[i];
    /* In the middle of an operation: its write may be there already. */
    bool middle = call > mark->calls && i < recording->count;
    return (struct legal){.low = kind == ENV_CRASH_KEEP ? mark->writes : mark->promised,
                          .high = middle ? mark[1].writes : mark->writes,
                          .must_exist = true,
                          .op = i};
}

static uint64_t mix(uint64_t a, uint64_t b)
{
    uint64_t state = a * UINT64_C(0x9e3779b97f4a7c15) + b;
    return splitmix64(&state);
}

static void count_run(void *arg, const char *name)
{
    *(uint64_t *)arg += strncmp(name, "run-", 4) == 0;
}

/* What a crash has left of flushes, compactions and bulk loads is gone behind an open. */
static bool no_orphans(struct replay *replay, struct env *image)
{
    if (replay->db->engine != &engine_lsm)
        return true;
    uint64_t files = 0, known = (uint64_t)statistic(replay->db->tree, "store.files");
    plsm_status status = env_list(image, STORE, count_run, &files);
    if (status != PLSM_OK || files != known)
        snprintf(replay->failure, sizeof replay->failure, "%lu files of runs behind the open, %lu are known",
                 (unsigned long)files, (unsigned long)known);
    return status == PLSM_OK && files == known;
}

/* Opens an image and finds its moment, which it makes the newest of replay's fresh model; the whole state must fit. */
static bool open_image(struct replay *replay, const struct recording *recording, struct env *image, struct legal legal,
                       uint64_t *moment)
{
    struct model *model = model_create();
    model_set_clock(model, model_clock(recording->model), 1);
    replay->must_exist = legal.must_exist;
    replay->clock = image;
    if (!replay_start(replay, image, STORE, recording->image_options, model) || !no_orphans(replay, image))
        return false;
    *moment = find_moment(replay->db, recording->model, legal.low, legal.high, replay->failure, sizeof replay->failure);
    if (*moment == UINT64_MAX)
        return false;
    model_copy_state(replay->model, recording->model, *moment);
    return replay_step(replay, &(struct op){.kind = OP_SCAN});
}

static void close_image(struct replay *replay)
{
    replay_destroy(replay);
    model_destroy(replay->model);
}

/* The recovery of an image crashes too, after every one of its calls. */
static bool crash_recovery(const struct recording *recording, struct env *image, uint64_t calls, struct legal legal,
                           uint64_t seed, char *failure, size_t size)
{
    legal.low = legal.low < legal.high ? legal.low : legal.high;
    for (uint64_t call = 0; call <= calls; call++) {
        enum env_crash kind = (enum env_crash)(mix(seed, call) % ENV_CRASH_COUNT);
        struct env *second = env_memory_crash(image, call, kind, mix(seed, call + 1));
        struct replay replay = {0};
        uint64_t moment;
        bool passed = open_image(&replay, recording, second, legal, &moment);
        if (!passed)
            snprintf(failure, size, "second crash (%s) behind call %lu of the recovery: %.700s", kind_names[kind],
                     (unsigned long)call, replay.failure);
        close_image(&replay);
        env_memory_destroy(second);
        if (!passed)
            return false;
    }
    return true;
}

/* What is done with a recovered store: it takes writes, and they are there again behind a reopen, and behind a power
 * loss as far as they were synced. The last one is. */
static bool use_image(struct replay *replay, struct env *image, uint64_t seed)
{
    const struct op ops[] = {
        {.kind = OP_PUT, .key = 2, .size = 700, .seed = (uint32_t)seed | 1},
        {.kind = OP_BATCH_PUT, .key = 4, .size = 30, .meta_size = 9, .seed = (uint32_t)seed | 1},
        {.kind = OP_BATCH_DELETE, .key = 16},
        {.kind = OP_BATCH_WRITE},
        {.kind = seed % 8 == 0 ? OP_FLUSH : OP_SYNC},
        {.kind = OP_PUT, .key = 5, .size = 50, .seed = (uint32_t)seed | 3, .sync = 1},
        {.kind = OP_SCAN},
    };
    for (size_t i = 0; i < sizeof ops / sizeof *ops; i++)
        if (!replay_step(replay, &ops[i]))
            return false;
    if (seed % 2 == 0)
        return replay_step(replay, &(struct op){.kind = OP_REOPEN}) &&
               replay_step(replay, &(struct op){.kind = OP_SCAN});
    enum env_crash kind = (enum env_crash)(seed / 2 % ENV_CRASH_COUNT);
    struct env *second = env_memory_crash(image, env_memory_calls(image), kind, seed);
    struct replay again = {.must_exist = true, .clock = second};
    bool passed = replay_start(&again, second, STORE, replay->options, replay->model) &&
                  replay_step(&again, &(struct op){.kind = OP_SCAN});
    if (!passed)
        snprintf(replay->failure, sizeof replay->failure,
                 "crash (%s) behind synced writes to the recovered store: %.700s", kind_names[kind], again.failure);
    replay_destroy(&again);
    env_memory_destroy(second);
    return passed;
}

static bool crash_once(const struct recording *recording, uint64_t call, enum env_crash kind, char *failure,
                       size_t size)
{
    uint64_t seed = mix(recording->seed, call * ENV_CRASH_COUNT + kind), moment;
    struct legal legal = legal_after(recording, call, kind);
    struct env *image = env_memory_crash(recording->env, call, kind, seed);
    struct replay replay = {0};
    bool passed = open_image(&replay, recording, image, legal, &moment);
    uint64_t recovery_calls = env_memory_calls(image);
    passed = passed && use_image(&replay, image, seed);
    char text[1024];
    snprintf(text, sizeof text, "%s", replay.failure);
    if (passed && call % RECOVERY_STRIDE == 0) {
        struct legal weaker = legal;
        if (kind == ENV_CRASH_KEEP) /* what the dead process had not synced may still be lost with the power */
            weaker.low = legal_after(recording, call, ENV_CRASH_DROP).low;
        weaker.must_exist = legal.must_exist;
        passed = crash_recovery(recording, image, recovery_calls, weaker, seed, text, sizeof text);
    }
    if (!passed) {
        char what[200] = "nothing";
        if (call > 0)
            env_memory_describe(recording->env, call, what, sizeof what);
        snprintf(failure, size,
                 "CRASH_SEED=%lu CRASH_CALL=%lu CRASH_KIND=%d (%s, behind \"%s\", %zu operations done): %.700s",
                 (unsigned long)recording->seed, (unsigned long)call, (int)kind, kind_names[kind], what, legal.op,
                 text);
    }
    close_image(&replay);
    env_memory_destroy(image);
    return passed;
}

/* --- all crashes -------------------------------------------------------------------------------------------------- */

struct chunk {
    const struct recording *recording;
    uint64_t from, to;
};

static enum verdict crash_chunk(void *arg, char *failure, size_t size)
{
    const struct chunk *chunk = arg;
    unsigned long only_call = setting("CRASH_CALL", UINT64_MAX), only_kind = setting("CRASH_KIND", ENV_CRASH_COUNT);
    for (uint64_t call = chunk->from; call < chunk->to; call++) {
        if (only_call != UINT64_MAX ? call != only_call : call % chunk->recording->stride != 0)
            continue;
        for (enum env_crash kind = 0; kind < ENV_CRASH_COUNT; kind++)
            if ((only_kind == ENV_CRASH_COUNT || kind == only_kind) &&
                !crash_once(chunk->recording, call, kind, failure, size))
                return VERDICT_FAILED;
    }
    return VERDICT_PASSED;
}

static void crash_everywhere(const char *options, uint64_t seed, uint64_t stride, bool background)
{
    struct recording recording;
    record(&recording, options, seed, background);
    recording.stride *= stride;
    struct pool *pool = pool_create(0);
    uint64_t calls = env_memory_calls(recording.env);
    for (uint64_t from = 0; from <= calls; from += CHUNK * recording.stride) {
        struct chunk chunk = {&recording, from, from + CHUNK * recording.stride};
        chunk.to = chunk.to > calls + 1 ? calls + 1 : chunk.to;
        char label[100];
        snprintf(label, sizeof label, "crashes behind calls %lu to %lu", (unsigned long)chunk.from,
                 (unsigned long)chunk.to - 1);
        pool_start(pool, crash_chunk, &chunk, 300, label);
    }
    unsigned failures = pool_wait(pool);
    pool_destroy(pool);
    forget(&recording);
    ck_assert_msg(failures == 0, "%u groups of crash points failed (options %s)", failures, options);
}

START_TEST(test_crash_learned)
{
    crash_everywhere("index=learned" COMMON, setting("CRASH_SEED", 27), 1, false);
}
END_TEST

/* What is on disk hardly differs, but that runs are compressed: fewer points, another workload. */
START_TEST(test_crash_traditional)
{
    crash_everywhere("index=traditional,filter_bits=4,log=written" PACKED COMMON, setting("CRASH_SEED", 21), 5, false);
}
END_TEST

/* Merges that stay in level 0, and such that go from there to the last level. */
START_TEST(test_crash_tiered)
{
    crash_everywhere("index=learned,policy=tiered,runs_per_level=2,runs_last_level=3" COMMON, setting("CRASH_SEED", 27),
                     12, false);
}
END_TEST

START_TEST(test_crash_lazy)
{
    crash_everywhere("index=learned,policy=lazy,compact_threads=3" COMMON, setting("CRASH_SEED", 26), 12, false);
}
END_TEST

START_TEST(test_crash_classic)
{
    crash_everywhere("index=classic" COMMON, setting("CRASH_SEED", 24), 5, false);
}
END_TEST

/* Values in value logs, which are collected early. */
START_TEST(test_crash_values)
{
    crash_everywhere("index=learned,separate_above=16,separate_garbage=0.2" COMMON, setting("CRASH_SEED", 25), 9,
                     false);
}
END_TEST

/* Puts expire unless they say otherwise: what a crash finds has expired in logs, in runs, and in the middle of the
 * deletion of large values. */
START_TEST(test_crash_ttl)
{
    crash_everywhere("index=learned,ttl=4" COMMON, setting("CRASH_SEED", 28), 12, false);
}
END_TEST

/* Nearly all batches go into runs at once, whose values go into value logs. */
START_TEST(test_crash_spilled)
{
    crash_everywhere("index=learned,spill_above=2K,separate_above=1000" COMMON, setting("CRASH_SEED", 122), 3, false);
}
END_TEST

/* Flushes and compactions run beside the writes, so several logs are behind each other, synced or not. Each recording
 * is another one: here a seed alone does not repeat a failure. */
START_TEST(test_crash_background)
{
    crash_everywhere("index=learned" COMMON, setting("CRASH_SEED", 22), 3, true);
}
END_TEST

/* Other engines, which few calls are made by for as many writes. */
START_TEST(test_crash_engine)
{
    if (test_engine_wanted(&test_engines[_i]))
        crash_everywhere(test_engines[_i].options, setting("CRASH_SEED", 30 + (unsigned)_i), 9, false);
}
END_TEST

/* With threads, which prepare, seal and save while writes go on: as above, a seed alone does not repeat a failure. */
START_TEST(test_crash_engine_background)
{
    if (test_engine_wanted(&test_engines[_i]))
        crash_everywhere(test_engines[_i].options, setting("CRASH_SEED", 40 + (unsigned)_i), 31, true);
}
END_TEST

/* A case of its own each, so that CK_RUN_CASE can choose one. */
static void add_case(Suite *suite, const char *name, const TTest *test)
{
    TCase *tcase = tcase_create(name);
    tcase_set_timeout(tcase, 3600);
    tcase_add_test(tcase, test);
    suite_add_tcase(suite, tcase);
}

int main(void)
{
    Suite *suite = suite_create("crash");
    add_case(suite, "learned", test_crash_learned);
    add_case(suite, "traditional", test_crash_traditional);
    add_case(suite, "classic", test_crash_classic);
    add_case(suite, "tiered", test_crash_tiered);
    add_case(suite, "lazy", test_crash_lazy);
    add_case(suite, "values", test_crash_values);
    add_case(suite, "ttl", test_crash_ttl);
    add_case(suite, "spilled", test_crash_spilled);
    add_case(suite, "background", test_crash_background);
    TCase *engines = tcase_create("engines");
    tcase_set_timeout(engines, 3600);
    tcase_add_loop_test(engines, test_crash_engine, 1, (int)TEST_ENGINES);
    tcase_add_loop_test(engines, test_crash_engine_background, 1, (int)TEST_ENGINES);
    suite_add_tcase(suite, engines);
    SRunner *runner = srunner_create(suite);
    srunner_set_fork_status(runner, CK_NOFORK);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
