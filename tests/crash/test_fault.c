/* Every storage call and every allocation fails once.
 *
 * A mixed workload runs on env_fault over env_memory. In front of each operation the process forks a child for each
 * call (or allocation) that the operation is going to make, and there that one fails: once, or it and all later ones.
 * The child goes on with the next operations, which may return errors but never a wrong answer; then the fault goes
 * away and the store is opened again: every acknowledged write is there, each failed one in whole or not at all.
 * Instead of a clean close some children have a power loss, which must leave what was promised.
 *
 * Short reads and appends are not errors: with them nothing at all may be seen.
 *
 * FAULT_SEED another workload; FAULT_STRIDE=n every n-th fault only; FAULT_OP, FAULT_TROUBLE and FAULT_NTH the one
 * fault that a report named. */
#include <check.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/env_fault.h"
#include "base/env_memory.h"
#include "tests/harness/engines.h"
#include "tests/harness/pool.h"
#include "tests/harness/replay.h"

#include "base/banned.h"

#define STORE "/store"
#define OPTIONS                                                                                                        \
    ",background=0,buffer_size=64K,file_size=64K,size_ratio=2,l0_compact=2,manifest_size=4K,cache_size=32K,memory=1M"
#define PACKED ",compression=zstd,compression_page=8K,compression_dictionary=1K"

enum {
    OPERATIONS = 420,
    OPERATIONS_BEHIND = 24, /* that go on behind the fault */
    CHILD_SECONDS = 60,
};
#define NONE (~1ul - 10) /* no operation: -1 is the open */

enum trouble { IO_ONCE, IO_STICKY, NO_SPACE_ONCE, NO_SPACE_STICKY, ALLOCATION, SHORT, TROUBLES };

static const char *const trouble_names[TROUBLES] = {
    "EIO", "EIO from here on", "ENOSPC", "ENOSPC from here on", "no memory", "short"};

/* Much happens in few operations: values near the buffer's size, so that many puts flush and compact. */
static const struct workload_profile profile = {
    .weight = {[OP_PUT] = 60,          [OP_DELETE] = 12,        [OP_DELETE_RANGE] = 4,
               [OP_BATCH_PUT] = 40,    [OP_BATCH_DELETE] = 10,  [OP_BATCH_DELETE_RANGE] = 4,
               [OP_BATCH_MOVE] = 4,    [OP_BATCH_SET_META] = 4, [OP_BATCH_LINK] = 6,
               [OP_BATCH_WRITE] = 14,  [OP_BULK] = 3,           [OP_MOVE_PREFIX] = 3,
               [OP_SYNC] = 3,          [OP_FLUSH] = 3,          [OP_COMPACT] = 3,
               [OP_REOPEN] = 3,        [OP_GET] = 20,           [OP_READ] = 4,
               [OP_HAS_PREFIX] = 4,    [OP_SNAPSHOT_OPEN] = 3,  [OP_SNAPSHOT_CLOSE] = 2,
               [OP_ITERATOR_OPEN] = 5, [OP_ITERATOR_FIRST] = 4, [OP_ITERATOR_LAST] = 4,
               [OP_ITERATOR_SEEK] = 4, [OP_ITERATOR_NEXT] = 10, [OP_ITERATOR_PREVIOUS] = 10,
               [OP_SCAN] = 1,          [OP_ADVANCE] = 5},
    .keys = 120,
    .sync_percent = 15,
    .life_percent = 30,
    .large_percent = 3,
    .value_max = 8 << 10,
};

/* What one operation asks of the world. */
struct needs {
    uint64_t calls[TROUBLES]; /* to which such a fault applies, at most */
};

struct state {
    const char *options;
    uint64_t seed;
    struct env *memory, *fault;
    struct model *model;
    struct replay replay;
    struct op *ops;
    struct needs needs[OPERATIONS + 1]; /* [0]: of the open; [i + 1]: of operation i */
    uint64_t promised;                  /* moment that survives power loss */
    /* the child at hand */
    size_t step;
    enum trouble trouble;
    uint64_t nth;
    bool trace;
};

static void setup(struct state *state, const char *options, uint64_t seed)
{
    *state = (struct state){.options = options, .seed = seed};
    state->memory = env_memory_create(seed);
    state->fault = env_fault_create(state->memory);
    state->model = model_create();
    state->replay.clock = state->memory;
    state->ops = workload_create(&profile, seed, OPERATIONS);
    ck_assert_ptr_nonnull(state->fault);
}

static void teardown(struct state *state)
{
    replay_destroy(&state->replay);
    env_fault_destroy(state->fault);
    env_memory_destroy(state->memory);
    model_destroy(state->model);
    free(state->ops);
}

/* Step 0 opens the store, step i + 1 is operation i. */
static bool do_step(struct state *state, size_t step)
{
    if (step == 0)
        return replay_start(&state->replay, state->fault, STORE, state->options, state->model);
    const struct op *op = &state->ops[step - 1];
    uint64_t writes = model_now(state->model), errors = state->replay.errors;
    bool passed = replay_step(&state->replay, op);
    bool durable = op->kind == OP_BULK || op->kind == OP_MOVE_PREFIX ||
                   (op->sync && (op->kind <= OP_DELETE_RANGE || op->kind == OP_BATCH_WRITE));
    bool wrote = model_now(state->model) > writes && durable;
    bool clean = state->replay.errors == errors && state->replay.db;
    if (clean && (wrote || op->kind == OP_SYNC || op->kind == OP_REOPEN))
        state->promised = model_now(state->model);
    if (state->trace) {
        workload_print_op(stderr, step - 1, op);
        fprintf(stderr, "       %s, now moment %lu (promised %lu), %lu errors so far, failed writes %zu %s\n",
                state->replay.errors == errors ? "done" : plsm_message(), (unsigned long)model_now(state->model),
                (unsigned long)state->promised, (unsigned long)state->replay.errors, model_failed_writes(state->model),
                state->replay.failure);
    }
    return passed;
}

static void start_counting(struct state *state)
{
    env_fault_disarm(state->fault);
    mem_fail_at(0);
}

static void stop_counting(struct state *state, struct needs *needs)
{
    uint64_t applies = env_fault_calls(state->fault, ENV_CALL_OPEN) + env_fault_calls(state->fault, ENV_CALL_APPEND) +
                       env_fault_calls(state->fault, ENV_CALL_RENAME) +
                       env_fault_calls(state->fault, ENV_CALL_MAKE_DIR);
    needs->calls[ALLOCATION] = mem_count();
    needs->calls[IO_ONCE] = needs->calls[IO_STICKY] = env_fault_calls(state->fault, ENV_CALL_ANY);
    needs->calls[NO_SPACE_ONCE] = needs->calls[NO_SPACE_STICKY] = applies;
    needs->calls[SHORT] = env_fault_calls(state->fault, ENV_CALL_READ) + env_fault_calls(state->fault, ENV_CALL_APPEND);
}

/* A run without faults, to learn how many calls each operation makes. The same run later makes the same calls. */
static void measure(const char *options, uint64_t seed, struct needs *needs)
{
    struct state *state = calloc(1, sizeof *state);
    setup(state, options, seed);
    uint64_t totals[TROUBLES] = {0};
    for (size_t step = 0; step <= OPERATIONS; step++) {
        start_counting(state);
        ck_assert_msg(do_step(state, step), "seed %lu, step %zu: %s", (unsigned long)seed, step, state->replay.failure);
        stop_counting(state, &needs[step]);
        for (int trouble = 0; trouble < TROUBLES; trouble++)
            totals[trouble] += needs[step].calls[trouble];
    }
    printf("fault: %d operations, %lu calls, %lu allocations, seed %lu, %s\n", OPERATIONS,
           (unsigned long)totals[IO_ONCE], (unsigned long)totals[ALLOCATION], (unsigned long)seed, options);
    ck_assert_uint_ge(totals[IO_ONCE], 500);
    teardown(state);
    free(state);
}

/* --- in the child ------------------------------------------------------------------------------------------------- */

static void arm(struct state *state)
{
    switch (state->trouble) {
    case IO_ONCE:
    case IO_STICKY:
        env_fault_arm(state->fault, ENV_CALL_ANY, state->nth, ENV_FAULT_IO, state->trouble == IO_STICKY);
        break;
    case NO_SPACE_ONCE:
    case NO_SPACE_STICKY:
        env_fault_arm(state->fault, ENV_CALL_ANY, state->nth, ENV_FAULT_NO_SPACE, state->trouble == NO_SPACE_STICKY);
        break;
    case SHORT:
        env_fault_arm(state->fault, ENV_CALL_ANY, state->nth, ENV_FAULT_SHORT, false);
        break;
    default:
        mem_fail_at(state->nth);
    }
}

/* Behind the power loss: each key shows something that was written behind the last promise, or what was promised. */
static bool survive_power_loss(struct state *state, char *failure, size_t size)
{
    struct env *image =
        env_memory_crash(state->memory, env_memory_calls(state->memory), ENV_CRASH_DROP, state->seed + state->nth);
    struct replay again = {.must_exist = state->replay.created, .clock = image};
    plsm_value value = {0};
    bool passed = replay_start(&again, image, STORE, state->options, state->model);
    if (!passed)
        snprintf(failure, size, "power loss behind the fault: %.700s", again.failure);
    for (unsigned key = 0; key < WORKLOAD_KEYS && passed; key++) {
        struct observed observed;
        plsm_status status = observe(again.db, key, &value, &observed);
        passed = status == PLSM_OK && model_possible(state->model, key, state->promised, &observed);
        const struct content *content = model_get(state->model, key, state->promised);
        if (!passed)
            snprintf(failure, size,
                     "power loss behind the fault: key %u is %s (%lu bytes); at the promised moment %lu of "
                     "%lu it was %s (%u bytes): %s",
                     key, observed.found ? "there" : "absent", (unsigned long)observed.size,
                     (unsigned long)state->promised, (unsigned long)model_now(state->model),
                     content->present ? "there" : "absent", content->size, status == PLSM_OK ? "" : plsm_message());
    }
    plsm_value_free(&value);
    replay_destroy(&again);
    env_memory_destroy(image);
    return passed;
}

/* The world is well again: the store opens and is right, takes a write, and is right again. */
static bool recover(struct state *state)
{
    const struct op ops[] = {
        {.kind = OP_REOPEN}, {.kind = OP_SCAN}, {.kind = OP_PUT, .key = 3, .size = 99, .seed = 12345, .sync = 1},
        {.kind = OP_REOPEN}, {.kind = OP_SCAN},
    };
    struct replay *replay = &state->replay;
    if (!replay_stop(replay))
        return false;
    replay->tolerant = false;
    for (size_t i = 0; i < sizeof ops / sizeof *ops; i++)
        if (!replay_step(replay, &ops[i]))
            return false;
    return replay_stop(replay);
}

static enum verdict fail_once(void *arg, char *failure, size_t size)
{
    struct state *state = arg;
    state->replay.tolerant = state->trouble != SHORT;
    state->trace = setting("FAULT_TRACE", 0);
    arm(state);
    bool passed = true;
    /* A power loss comes soon, before the next sync makes good what the fault did. */
    bool power_loss = state->trouble != SHORT && state->nth % 3 == 0;
    size_t step = state->step, end = step + 1 + (power_loss ? state->nth / 3 % 4 : OPERATIONS_BEHIND);
    for (; step < end && step <= OPERATIONS && passed; step++)
        passed = do_step(state, step);
    env_fault_disarm(state->fault);
    mem_fail_at(0);
    if (!passed)
        snprintf(failure, size, "operation %zd: %.700s", (ssize_t)step - 2, state->replay.failure);
    if (passed && power_loss)
        passed = survive_power_loss(state, failure, size);
    if (passed) {
        passed = recover(state);
        if (!passed)
            snprintf(failure, size, "behind the fault, at or after the reopen: %.700s", state->replay.failure);
    }
    teardown(state);
    return passed ? VERDICT_PASSED : VERDICT_FAILED;
}

/* --- all faults --------------------------------------------------------------------------------------------------- */

static void fail_everywhere(const char *options, uint64_t seed, uint64_t stride, unsigned first, unsigned last)
{
    struct state *state = calloc(1, sizeof *state);
    struct needs *needs = calloc(OPERATIONS + 1, sizeof *needs);
    measure(options, seed, needs);
    setup(state, options, seed);
    struct pool *pool = pool_create(0);
    uint64_t turn = 0, children = 0;
    unsigned long only = setting("FAULT_OP", NONE), only_trouble = setting("FAULT_TROUBLE", 0);
    unsigned long only_nth = setting("FAULT_NTH", 0);
    stride *= setting("FAULT_STRIDE", 1);
    for (size_t step = 0; step <= OPERATIONS; step++) {
        for (unsigned trouble = first; trouble <= last; trouble++) {
            for (uint64_t nth = 1; nth <= needs[step].calls[trouble]; nth++) {
                bool wanted = only == NONE ? turn++ % stride == 0
                                           : step == only + 1 && trouble == only_trouble && nth == only_nth;
                if (!wanted)
                    continue;
                state->step = step;
                state->trouble = (enum trouble)trouble;
                state->nth = nth;
                char label[150];
                snprintf(label, sizeof label,
                         "FAULT_SEED=%lu FAULT_OP=%zd FAULT_TROUBLE=%u FAULT_NTH=%lu (%s in kind %d)",
                         (unsigned long)seed, (ssize_t)step - 1, trouble, (unsigned long)nth, trouble_names[trouble],
                         step > 0 ? state->ops[step - 1].kind : -1);
                pool_start(pool, fail_once, state, CHILD_SECONDS, label);
                children++;
            }
        }
        ck_assert_msg(do_step(state, step), "%s", state->replay.failure);
    }
    unsigned failures = pool_wait(pool);
    printf("fault: %lu faults, %u failures\n", (unsigned long)children, failures);
    pool_destroy(pool);
    teardown(state);
    free(state);
    free(needs);
    ck_assert_msg(failures == 0, "%u faults were not survived (options %s)", failures, options);
}

START_TEST(test_storage)
{
    fail_everywhere("index=learned" OPTIONS, setting("FAULT_SEED", 30), 1, IO_ONCE, NO_SPACE_STICKY);
}
END_TEST

START_TEST(test_allocations)
{
    fail_everywhere("index=learned" OPTIONS, setting("FAULT_SEED", 31), 1, ALLOCATION, ALLOCATION);
}
END_TEST

/* Runs are compressed, so that what this takes memory for is among what fails; another policy. */
START_TEST(test_allocations_traditional)
{
    fail_everywhere("index=traditional,policy=tiered,runs_per_level=2,compact_threads=3" PACKED OPTIONS,
                    setting("FAULT_SEED", 32), 7, ALLOCATION, ALLOCATION);
}
END_TEST

/* Pages are expanded in memory of their own, fences and filters are others. */
START_TEST(test_classic)
{
    fail_everywhere("index=classic,log=written,policy=tiered,runs_per_level=2" OPTIONS, setting("FAULT_SEED", 35), 7,
                    IO_ONCE, NO_SPACE_STICKY);
    fail_everywhere("index=classic,policy=lazy" OPTIONS, setting("FAULT_SEED", 36), 7, ALLOCATION, ALLOCATION);
}
END_TEST

/* Values in value logs, which are collected early. */
START_TEST(test_values)
{
#define VALUES "index=learned,separate_above=16,separate_garbage=0.2" OPTIONS
    fail_everywhere(VALUES, setting("FAULT_SEED", 37), 17, IO_ONCE, NO_SPACE_STICKY);
    fail_everywhere(VALUES, setting("FAULT_SEED", 38), 17, ALLOCATION, ALLOCATION);
    fail_everywhere(VALUES, setting("FAULT_SEED", 39), 17, SHORT, SHORT);
}
END_TEST

/* Nearly all batches go into runs at once. */
START_TEST(test_spilled)
{
#define SPILLED "index=learned,spill_above=200,separate_above=1000" OPTIONS
    fail_everywhere(SPILLED, setting("FAULT_SEED", 90), 7, IO_ONCE, NO_SPACE_STICKY);
    fail_everywhere(SPILLED, setting("FAULT_SEED", 91), 7, ALLOCATION, ALLOCATION);
    fail_everywhere(SPILLED, setting("FAULT_SEED", 92), 17, SHORT, SHORT);
}
END_TEST

/* Other engines: each kind of trouble, thinned. */
START_TEST(test_engine)
{
    const char *options = test_engines[_i].options;
    uint64_t seed = setting("FAULT_SEED", 40 + 10 * (unsigned)_i);
    if (!test_engine_wanted(&test_engines[_i]))
        return;
    fail_everywhere(options, seed, 9, IO_ONCE, NO_SPACE_STICKY);
    fail_everywhere(options, seed + 1, 9, ALLOCATION, ALLOCATION);
    fail_everywhere(options, seed + 2, 9, SHORT, SHORT);
}
END_TEST

START_TEST(test_short)
{
    fail_everywhere("index=learned" OPTIONS, setting("FAULT_SEED", 33), 1, SHORT, SHORT);
}
END_TEST

/* Every read and append of a whole run is short. */
START_TEST(test_always_short)
{
    struct state *state = calloc(1, sizeof *state);
    setup(state, "index=learned" OPTIONS, setting("FAULT_SEED", 34));
    env_fault_arm(state->fault, ENV_CALL_ANY, 1, ENV_FAULT_SHORT, true);
    for (size_t step = 0; step <= OPERATIONS; step++)
        ck_assert_msg(do_step(state, step), "step %zu: %s", step, state->replay.failure);
    ck_assert(env_fault_fired(state->fault));
    ck_assert_msg(replay_step(&state->replay, &(struct op){.kind = OP_SCAN}), "%s", state->replay.failure);
    teardown(state);
    free(state);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("fault");
    TCase *tcase = tcase_create("every call");
    tcase_set_timeout(tcase, 3600);
    tcase_add_test(tcase, test_always_short);
    tcase_add_test(tcase, test_short);
    tcase_add_test(tcase, test_storage);
    tcase_add_test(tcase, test_allocations);
    tcase_add_test(tcase, test_allocations_traditional);
    tcase_add_test(tcase, test_classic);
    tcase_add_test(tcase, test_values);
    suite_add_tcase(suite, tcase);
    TCase *spilled = tcase_create("spilled");
    tcase_set_timeout(spilled, 3600);
    tcase_add_test(spilled, test_spilled);
    suite_add_tcase(suite, spilled);
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
