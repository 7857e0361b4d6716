/* The record log: crashes after every call, failures of every call, syncing beside appending. */
#include <check.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/env_fault.h"
#include "base/env_memory.h"
#include "base/random.h"
#include "tests/harness/reclog_plan.h"

#include "base/banned.h"

/* --- crashes ------------------------------------------------------------------------------------------------------ */

enum { CRASH_CALLS_MAX = 200 };

enum { CREATORS = 3, OVER = 2 };
static struct reclog_writer *(*const creators[CREATORS])(struct env *, const char *) = {
    reclog_plan_create, reclog_plan_create_mapped, reclog_plan_create_over};

START_TEST(crash_after_every_call)
{
    uint64_t seed = 50 + (uint64_t)_i;
    printf("reclog: crash seed %llu\n", (unsigned long long)seed);
    struct random r;
    random_seed(&r, seed);
    struct env *env = env_memory_create(seed);
    struct reclog_plan plan = {0};
    size_t promised[CRASH_CALLS_MAX] = {0};
    uint64_t named, last = 0; /* from call `named` on the file is there */
    struct reclog_writer *w = creators[_i % CREATORS](env, RECLOG_PLAN_PATH);
    ck_assert_int_eq(env_sync_dir(env, "/"), PLSM_OK);
    named = env_memory_calls(env);
    while (plan.count < 40) {
        ck_assert_int_eq(
            reclog_plan_add(w, &plan, random_below(&r, 4) ? random_below(&r, 100) : random_below(&r, 3000)), PLSM_OK);
        if (random_below(&r, 5) == 0) {
            ck_assert_int_eq(reclog_sync(w), PLSM_OK);
            last = env_memory_calls(env);
            promised[last] = plan.count;
        }
    }
    ck_assert_int_eq(reclog_close_clean(w), PLSM_OK);
    uint64_t calls = env_memory_calls(env);
    ck_assert_uint_lt(calls, CRASH_CALLS_MAX);
    promised[calls] = plan.count;

    size_t least = 0;
    for (uint64_t call = 0; call <= calls; call++) {
        if (promised[call])
            least = promised[call];
        for (int kind = 0; kind < ENV_CRASH_COUNT; kind++) {
            struct env *after = env_memory_crash(env, call, (enum env_crash)kind, seed + call);
            ck_assert_ptr_nonnull(after);
            struct reclog_result result;
            plsm_status status = reclog_plan_read(after, RECLOG_PLAN_PATH, &plan, &result);
            if (status == PLSM_NOT_FOUND)
                ck_assert_uint_lt(call, named);
            else
                ck_assert_msg(status == PLSM_OK, "call %d, kind %d: %s", (int)call, kind, plsm_message());
            ck_assert_uint_ge(result.records, least);
            /* Whole appends, and zeros or nothing behind; or what the file held before. */
            if (kind == ENV_CRASH_KEEP && call >= named && _i % CREATORS != OVER)
                ck_assert(!result.torn);
            ck_assert(!result.closed || result.records == plan.count);
            env_memory_destroy(after);
        }
    }
    env_memory_destroy(env);
}
END_TEST

/* --- failing calls ------------------------------------------------------------------------------------------------ */

START_TEST(append_fails_and_goes_on)
{
    static const enum env_fault faults[] = {ENV_FAULT_IO, ENV_FAULT_NO_SPACE, ENV_FAULT_QUOTA, ENV_FAULT_SHORT};
    static const plsm_status statuses[] = {PLSM_IO, PLSM_NO_SPACE, PLSM_QUOTA, PLSM_OK};
    struct env *memory = env_memory_create(1), *env = env_fault_create(memory);
    struct reclog_plan plan = {0};
    struct reclog_writer *w = (_i ? reclog_plan_create_mapped : reclog_plan_create)(env, RECLOG_PLAN_PATH);
    unsigned failures = 0;
    for (size_t i = 0; i < 60; i++) {
        enum env_fault fault = faults[i % 4];
        env_fault_arm(env, ENV_CALL_APPEND, 1, fault, false);
        plsm_status status = reclog_plan_add(w, &plan, 100 + i);
        ck_assert(env_fault_fired(env));
        env_fault_disarm(env);
        ck_assert_int_eq(status, statuses[i % 4]);
        if (fault != ENV_FAULT_SHORT) {
            ck_assert_ptr_nonnull(strstr(plsm_message(), RECLOG_PLAN_PATH));
            failures++;
        }
        ck_assert(!reclog_broken(w));
        reclog_plan_check(env, &plan, plan.count, false, false);
    }
    ck_assert_uint_eq(failures, 45);
    ck_assert_int_eq(reclog_sync(w), PLSM_OK);
    ck_assert_int_eq(reclog_close_clean(w), PLSM_OK);
    reclog_plan_check(env, &plan, plan.count, false, true);
    env_fault_destroy(env);
    env_memory_destroy(memory);
}
END_TEST

/* The append fails and so does cutting back; or a sync fails. Either way nothing more is written. */
START_TEST(broken_for_good)
{
    struct env *memory = env_memory_create(1), *env = env_fault_create(memory);
    struct reclog_plan plan = {0};
    struct reclog_writer *w = reclog_plan_create(env, RECLOG_PLAN_PATH);
    ck_assert_int_eq(reclog_plan_add(w, &plan, 10), PLSM_OK);
    if (_i) {
        env_fault_arm(env, ENV_CALL_SYNC, 1, ENV_FAULT_IO, false);
        ck_assert_int_eq(reclog_sync(w), PLSM_IO);
        ck_assert_uint_eq(reclog_synced(w), RECLOG_PLAN_HEADERS);
    } else {
        env_fault_arm(env, ENV_CALL_ANY, 1, ENV_FAULT_IO, true);
        ck_assert_int_eq(reclog_plan_add(w, &plan, 1000), PLSM_IO);
    }
    env_fault_disarm(env);
    ck_assert(reclog_broken(w));
    ck_assert_int_eq(reclog_plan_add(w, &plan, 1), PLSM_READ_ONLY);
    ck_assert_ptr_nonnull(strstr(plsm_message(), RECLOG_PLAN_PATH));
    ck_assert_ptr_nonnull(strstr(plsm_message(), "injected"));
    ck_assert_int_eq(reclog_sync(w), PLSM_READ_ONLY);
    ck_assert_uint_eq(env_fault_calls(env, ENV_CALL_ANY), 0);
    ck_assert_int_eq(reclog_close_clean(w), PLSM_READ_ONLY);
    struct reclog_result result;
    ck_assert_int_eq(reclog_plan_read(env, RECLOG_PLAN_PATH, &plan, &result), PLSM_OK);
    ck_assert_uint_eq(result.records, 1);
    env_fault_destroy(env);
    env_memory_destroy(memory);
}
END_TEST

/* Every call of creating, closing and reading fails once; every allocation too. */
START_TEST(every_call_fails)
{
    struct env *memory = env_memory_create(1), *env = env_fault_create(memory);
    struct reclog_plan plan;
    reclog_plan_small_log(memory, &plan, true);
    struct reclog_result result;
    plsm_status status = PLSM_IO;
    for (uint64_t nth = 1; status != PLSM_OK; nth++) {
        env_fault_arm(env, ENV_CALL_ANY, nth, ENV_FAULT_IO, false);
        status = reclog_plan_read(env, RECLOG_PLAN_PATH, &plan, &result);
        ck_assert_int_eq(status == PLSM_IO, env_fault_fired(env));
    }
    env_fault_disarm(env);
    status = PLSM_NO_MEMORY;
    for (uint64_t nth = 1; status != PLSM_OK; nth++) {
        mem_fail_at(nth);
        status = reclog_plan_read(env, RECLOG_PLAN_PATH, &plan, &result);
        mem_fail_at(0);
        ck_assert(status == PLSM_OK || status == PLSM_NO_MEMORY);
    }
    struct reclog_plan none = {.offsets = {RECLOG_PLAN_HEADERS}};
    struct reclog_writer *w = NULL;
    for (uint64_t nth = 1; nth < 20; nth++) {
        ck_assert_int_eq(env_remove(memory, RECLOG_PLAN_PATH), PLSM_OK);
        env_fault_arm(env, ENV_CALL_ANY, nth, ENV_FAULT_IO, false);
        status = (_i ? reclog_create_mapped : reclog_create)(env, RECLOG_PLAN_PATH, RECLOG_PLAN_MAGIC, &w);
        ck_assert_int_eq(status == PLSM_OK, w != NULL);
        if (status == PLSM_OK)
            status = reclog_close_clean(w);
        ck_assert_int_eq(status == PLSM_IO, env_fault_fired(env));
        env_fault_disarm(env);
        status = reclog_plan_read(env, RECLOG_PLAN_PATH, &none, &result);
        ck_assert(status == PLSM_OK || (status == PLSM_NOT_FOUND && nth == 1));
        mem_fail_at(nth);
        status = reclog_create(env, RECLOG_PLAN_PATH, RECLOG_PLAN_MAGIC, &w);
        mem_fail_at(0);
        ck_assert(status == PLSM_OK || (status == PLSM_NO_MEMORY && !w));
        reclog_close(w);
        if (status != PLSM_OK)
            reclog_plan_put_file(memory, "", 0);
    }
    w = reclog_plan_create(env, RECLOG_PLAN_PATH);
    plan = (struct reclog_plan){0};
    enum { NOT_SMALL = 2000 }; /* small ones need no memory */
    mem_fail_at(1);
    ck_assert_int_eq(reclog_plan_add(w, &plan, NOT_SMALL), PLSM_NO_MEMORY);
    mem_fail_at(0);
    ck_assert_int_eq(reclog_plan_add(w, &plan, NOT_SMALL), PLSM_OK);
    reclog_close(w);
    reclog_plan_check(env, &plan, 1, false, false);
    env_fault_destroy(env);
    env_memory_destroy(memory);
}
END_TEST

/* Making a log out of a spare one fails at every call: one of the two is there, whole, and a log can be made anew. */
START_TEST(making_over_fails)
{
    plsm_status status = PLSM_IO;
    for (uint64_t nth = 1; status != PLSM_OK; nth++) {
        struct env *memory = env_memory_create(1), *env = env_fault_create(memory);
        struct reclog_plan none = {.offsets = {RECLOG_PLAN_HEADERS}};
        struct reclog_writer *w = NULL;
        struct reclog_result result;
        reclog_plan_make_spare(memory);
        if (_i)
            mem_fail_at(nth);
        else
            env_fault_arm(env, ENV_CALL_ANY, nth, ENV_FAULT_IO, false);
        status = reclog_create_over(env, RECLOG_PLAN_SPARE, RECLOG_PLAN_PATH, RECLOG_PLAN_MAGIC, &w);
        ck_assert_int_eq(status == PLSM_OK, w != NULL);
        mem_fail_at(0);
        env_fault_disarm(env);
        bool made = reclog_plan_read(memory, RECLOG_PLAN_PATH, &none, &result) == PLSM_OK;
        ck_assert(!made || result.records == 0);
        ck_assert(made || env_remove(memory, RECLOG_PLAN_SPARE) == PLSM_OK);
        reclog_close(w);
        w = reclog_plan_create_mapped(memory, RECLOG_PLAN_PATH);
        reclog_close(w);
        reclog_plan_check(memory, &none, 0, false, false);
        env_fault_destroy(env);
        env_memory_destroy(memory);
        ck_assert_uint_lt(nth, 20);
    }
}
END_TEST

/* --- syncing beside appending ------------------------------------------------------------------------------------- */

static _Atomic bool appended_all;

static void *sync_often(void *arg)
{
    struct reclog_writer *w = arg;
    while (!atomic_load(&appended_all)) {
        uint64_t before = reclog_size(w);
        if (reclog_sync(w) != PLSM_OK || reclog_synced(w) < before || reclog_synced(w) > reclog_size(w))
            abort();
    }
    return NULL;
}

START_TEST(sync_beside_append)
{
    struct env *env = env_memory_create(1);
    struct reclog_writer *w = reclog_plan_create(env, RECLOG_PLAN_PATH);
    struct reclog_plan plan = {0};
    pthread_t threads[2];
    atomic_store(&appended_all, false);
    for (int i = 0; i < 2; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, sync_often, w), 0);
    while (plan.count < RECLOG_PLAN_RECORDS_MAX)
        ck_assert_int_eq(reclog_plan_add(w, &plan, 2000), PLSM_OK);
    atomic_store(&appended_all, true);
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    ck_assert_int_eq(reclog_close_clean(w), PLSM_OK);
    reclog_plan_check(env, &plan, RECLOG_PLAN_RECORDS_MAX, false, true);
    env_memory_destroy(env);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("reclog, crashes and failures");
    TCase *tests = tcase_create("reclog_faults");
    tcase_set_timeout(tests, 120);
    tcase_add_loop_test(tests, crash_after_every_call, 0, 12);
    tcase_add_loop_test(tests, append_fails_and_goes_on, 0, 2);
    tcase_add_loop_test(tests, broken_for_good, 0, 2);
    tcase_add_loop_test(tests, every_call_fails, 0, 2);
    tcase_add_loop_test(tests, making_over_fails, 0, 2);
    tcase_add_test(tests, sync_beside_append);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_set_fork_status(runner, CK_NOFORK);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? 1 : 0;
}
