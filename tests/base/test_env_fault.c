/* Calls that fail on purpose. */
#include <check.h>
#include <stdlib.h>

#include "base/bytes.h"
#include "base/env_fault.h"
#include "base/env_memory.h"
#include "base/error.h"

#include "base/banned.h"

static struct env *memory, *env;

static void setup(void)
{
    memory = env_memory_create(1);
    env = env_fault_create(memory);
    ck_assert_int_eq(env_make_dir(env, "/s"), PLSM_OK);
    struct env_file *file = NULL;
    ck_assert_int_eq(env_open(env, "/s/file", ENV_APPEND, &file), PLSM_OK);
    ck_assert_int_eq(env_append(file, "0123456789", 10), PLSM_OK);
    env_close(file);
}

static void teardown(void)
{
    env_fault_destroy(env);
    env_memory_destroy(memory);
}

static void ignore_name(void *arg, const char *name) {}

/* One call of a kind, on names of its own number, so that each succeeds when it may. */
static plsm_status call(enum env_call kind, int number)
{
    char path[64], other[64];
    struct buf text = {0};
    ck_assert_int_eq(buf_printf(&text, "/s/%d-%d", (int)kind, number), PLSM_OK);
    memcpy(path, text.data, text.size);
    path[text.size] = '\0';
    memcpy(other, path, text.size);
    memcpy(other + text.size, "x", 2);
    buf_free(&text);
    struct env_file *file = NULL;
    plsm_status status = PLSM_OK;
    uint8_t bytes[100] = {0};
    size_t got = 0;
    if (kind == ENV_CALL_RENAME || kind == ENV_CALL_REMOVE) /* beneath the faults */
        ck_assert_int_eq(env_open(memory, path, ENV_APPEND, &file), PLSM_OK);
    env_close(file);
    file = NULL;
    switch (kind) {
    case ENV_CALL_OPEN:
        status = env_open(env, path, ENV_APPEND, &file);
        break;
    case ENV_CALL_READ:
    case ENV_CALL_APPEND:
    case ENV_CALL_SYNC:
    case ENV_CALL_TRUNCATE:
        ck_assert_int_eq(env_open(env, path, ENV_APPEND, &file), PLSM_OK);
        if (kind == ENV_CALL_READ)
            status = env_read_some(file, 0, bytes, 10, &got);
        else if (kind == ENV_CALL_APPEND)
            status = env_append(file, bytes, 100);
        else
            status = kind == ENV_CALL_SYNC ? env_sync(file) : env_truncate(file, 0);
        break;
    case ENV_CALL_RENAME:
        status = env_rename(env, path, other);
        break;
    case ENV_CALL_REMOVE:
        status = env_remove(env, path);
        break;
    case ENV_CALL_MAKE_DIR:
        status = env_make_dir(env, path);
        break;
    case ENV_CALL_SYNC_DIR:
        status = env_sync_dir(env, "/s");
        break;
    default:
        status = env_list(env, "/s", ignore_name, NULL);
    }
    env_close(file);
    return status;
}

START_TEST(nth_call_fails)
{
    enum env_call kind = (enum env_call)_i;
    for (uint64_t nth = 1; nth <= 4; nth++)
        for (int sticky = 0; sticky < 2; sticky++) {
            env_fault_arm(env, kind, nth, ENV_FAULT_IO, sticky);
            for (uint64_t i = 1; i <= 6; i++) {
                bool fails = i == nth || (sticky && i > nth);
                ck_assert_int_eq(call(kind, (int)(nth * 100 + i * 2) + sticky), fails ? PLSM_IO : PLSM_OK);
                ck_assert_int_eq(env_fault_fired(env), i >= nth);
                ck_assert(!fails || strstr(plsm_message(), "/s"));
                ck_assert_uint_eq(env_fault_calls(env, kind), i);
            }
            env_fault_disarm(env);
            ck_assert(!env_fault_fired(env));
            ck_assert_uint_eq(env_fault_calls(env, ENV_CALL_ANY), 0);
            ck_assert_int_eq(call(kind, (int)nth * 1000 + sticky), PLSM_OK);
        }
}
END_TEST

START_TEST(any_counts_all_kinds)
{
    env_fault_arm(env, ENV_CALL_ANY, 3, ENV_FAULT_IO, false);
    ck_assert_int_eq(env_make_dir(env, "/s/a"), PLSM_OK);
    ck_assert_int_eq(env_sync_dir(env, "/s"), PLSM_OK);
    ck_assert_int_eq(env_remove(env, "/s/a"), PLSM_IO);
    ck_assert_int_eq(env_remove(env, "/s/a"), PLSM_OK);
    ck_assert_uint_eq(env_fault_calls(env, ENV_CALL_ANY), 4);
    ck_assert_uint_eq(env_fault_calls(env, ENV_CALL_REMOVE), 2);
}
END_TEST

START_TEST(failed_calls_do_nothing)
{
    struct env_file *file = NULL;
    uint64_t calls = env_memory_calls(memory);
    env_fault_arm(env, ENV_CALL_ANY, 1, ENV_FAULT_IO, true);
    ck_assert_int_eq(env_open(env, "/s/new", ENV_APPEND, &file), PLSM_IO);
    ck_assert_int_eq(env_rename(env, "/s/file", "/s/new"), PLSM_IO);
    ck_assert_int_eq(env_remove(env, "/s/file"), PLSM_IO);
    ck_assert_int_eq(env_make_dir(env, "/s/dir"), PLSM_IO);
    ck_assert_int_eq(env_sync_dir(env, "/s"), PLSM_IO);
    ck_assert_uint_eq(env_memory_calls(memory), calls);
}
END_TEST

/* A failed sync leaves the bytes as unsynced as they were. */
START_TEST(failed_syncs_sync_nothing)
{
    struct env_file *file = NULL;
    ck_assert_int_eq(env_open(env, "/s/log", ENV_APPEND, &file), PLSM_OK);
    ck_assert_int_eq(env_sync_dir(env, "/s"), PLSM_OK);
    ck_assert_int_eq(env_sync_dir(env, "/"), PLSM_OK);
    ck_assert_int_eq(env_append(file, "text", 4), PLSM_OK);
    env_fault_arm(env, ENV_CALL_SYNC, 1, ENV_FAULT_IO, false);
    ck_assert_int_eq(env_sync(file), PLSM_IO);
    uint8_t *data = NULL;
    size_t size = 9;
    struct env *image = env_memory_crash(memory, env_memory_calls(memory), ENV_CRASH_DROP, 1);
    ck_assert_int_eq(env_memory_content(image, "/s/log", &data, &size), PLSM_OK);
    ck_assert_uint_eq(size, 0);
    env_memory_destroy(image);
    env_close(file);
}
END_TEST

static void failing_appends(enum env_fault fault, plsm_status status, unsigned *none, unsigned *part)
{
    static uint8_t bytes[1000];
    for (int i = 0; i < 1000; i++)
        bytes[i] = (uint8_t)i;
    for (int round = 0; round < 20; round++) {
        struct env_file *file = NULL;
        ck_assert_int_eq(env_open(env, "/s/log", ENV_APPEND, &file), PLSM_OK);
        env_fault_arm(env, ENV_CALL_APPEND, 1, fault, true);
        ck_assert_int_eq(env_append(file, bytes, sizeof bytes), status);
        uint64_t size = 0, later = 0;
        ck_assert_int_eq(env_size(file, &size), PLSM_OK);
        ck_assert_uint_lt(size, sizeof bytes);
        uint8_t *data = NULL;
        size_t got = 0;
        ck_assert_int_eq(env_memory_content(memory, "/s/log", &data, &got), PLSM_OK);
        ck_assert(size == 0 || memcmp(data, bytes, size) == 0);
        *none += size == 0;
        *part += size > 0;
        ck_assert_int_eq(env_append(file, bytes, sizeof bytes), status);
        ck_assert_int_eq(env_size(file, &later), PLSM_OK);
        ck_assert(fault == ENV_FAULT_IO || later == size); /* a full disk stays full */
        env_fault_disarm(env);
        ck_assert_int_eq(env_append(file, bytes, sizeof bytes), PLSM_OK);
        env_close(file);
    }
}

START_TEST(failed_appends_leave_none_or_part)
{
    unsigned none = 0, part = 0;
    failing_appends(ENV_FAULT_IO, PLSM_IO, &none, &part);
    none = part = 0;
    failing_appends(_i ? ENV_FAULT_QUOTA : ENV_FAULT_NO_SPACE, _i ? PLSM_QUOTA : PLSM_NO_SPACE, &none, &part);
    ck_assert_uint_gt(part, 15);
    struct env_file *file = NULL; /* single appends: with and without a part */
    none = part = 0;
    for (int i = 0; i < 20; i++) {
        ck_assert_int_eq(env_open(env, "/s/log", ENV_APPEND, &file), PLSM_OK);
        env_fault_arm(env, ENV_CALL_APPEND, 1, ENV_FAULT_IO, false);
        ck_assert_int_eq(env_append(file, "0123456789", 10), PLSM_IO);
        uint64_t size = 0;
        ck_assert_int_eq(env_size(file, &size), PLSM_OK);
        none += size == 0;
        part += size > 0;
        env_close(file);
    }
    ck_assert_uint_gt(none, 5);
    ck_assert_uint_gt(part, 5);
}
END_TEST

START_TEST(no_space_hits_what_needs_space)
{
    struct env_file *file = NULL, *reader = NULL;
    ck_assert_int_eq(env_open(env, "/s/log", ENV_APPEND, &file), PLSM_OK);
    env_fault_arm(env, ENV_CALL_ANY, 1, ENV_FAULT_NO_SPACE, true);
    ck_assert_int_eq(env_open(env, "/s/file", ENV_READ, &reader), PLSM_OK);
    char back[10];
    ck_assert_int_eq(env_read(reader, 0, back, 10), PLSM_OK);
    ck_assert_int_eq(env_sync(file), PLSM_OK);
    ck_assert_int_eq(env_truncate(file, 0), PLSM_OK);
    ck_assert_int_eq(env_sync_dir(env, "/s"), PLSM_OK);
    ck_assert_int_eq(env_list(env, "/s", ignore_name, NULL), PLSM_OK);
    ck_assert_uint_eq(env_fault_calls(env, ENV_CALL_ANY), 0); /* none of them is counted */
    ck_assert(!env_fault_fired(env));
    struct env_file *none = NULL;
    ck_assert_int_eq(env_open(env, "/s/new", ENV_APPEND, &none), PLSM_NO_SPACE);
    ck_assert_int_eq(env_append(file, "x", 1), PLSM_NO_SPACE);
    ck_assert_int_eq(env_rename(env, "/s/file", "/s/new"), PLSM_NO_SPACE);
    ck_assert_int_eq(env_make_dir(env, "/s/dir"), PLSM_NO_SPACE);
    ck_assert_int_eq(env_remove(env, "/s/log"), PLSM_OK);
    ck_assert_uint_eq(env_fault_calls(env, ENV_CALL_ANY), 4);
    env_close(file);
    env_close(reader);
}
END_TEST

/* With every call cut short the looping wrappers still move every byte. */
START_TEST(short_counts_are_looped_over)
{
    enum { SIZE = 3000 };
    uint8_t bytes[SIZE], back[SIZE] = {0};
    for (int i = 0; i < SIZE; i++)
        bytes[i] = (uint8_t)(i * 13);
    struct env_file *file = NULL;
    ck_assert_int_eq(env_open(env, "/s/log", ENV_APPEND, &file), PLSM_OK);
    env_fault_arm(env, ENV_CALL_ANY, 1, ENV_FAULT_SHORT, true);
    ck_assert_int_eq(env_append(file, bytes, SIZE), PLSM_OK);
    ck_assert_uint_gt(env_fault_calls(env, ENV_CALL_APPEND), 3);
    ck_assert_int_eq(env_read(file, 0, back, SIZE), PLSM_OK);
    ck_assert_uint_gt(env_fault_calls(env, ENV_CALL_READ), 3);
    ck_assert_mem_eq(back, bytes, SIZE);
    size_t got = 0;
    memset(back, 0, sizeof back);
    ck_assert_int_eq(env_read_some(file, 100, back, SIZE, &got), PLSM_OK);
    ck_assert_uint_eq(got, SIZE - 100);
    ck_assert_mem_eq(back, bytes + 100, got);
    ck_assert_int_eq(env_read(file, 100, back, SIZE), PLSM_CORRUPT);
    /* One short call, seen without the loop. */
    env_fault_arm(env, ENV_CALL_READ, 2, ENV_FAULT_SHORT, false);
    for (int i = 1; i <= 3; i++) {
        ck_assert_int_eq(env->ops->read(file, 0, back, 100, &got), PLSM_OK);
        ck_assert_int_eq(got < 100, i == 2);
        ck_assert_uint_gt(got, 0);
    }
    env_close(file);
}
END_TEST

START_TEST(a_limited_file_system_gets_full)
{
    enum { BLOCK = 4096 };
    static const uint8_t bytes[10 * BLOCK];
    struct env *limited = env_memory_create(1);
    struct env_space space;
    ck_assert_int_eq(env_make_dir(limited, "/s"), PLSM_OK);
    env_memory_set_capacity(limited, 8 * BLOCK);
    struct env_file *one = NULL, *other = NULL;
    ck_assert_int_eq(env_open(limited, "/s/one", ENV_APPEND, &one), PLSM_OK);
    ck_assert_int_eq(env_open(limited, "/s/other", ENV_APPEND, &other), PLSM_OK);
    ck_assert_int_eq(env_append(one, bytes, BLOCK + 1), PLSM_OK); /* two blocks */
    ck_assert_int_eq(env_space(limited, "/s", &space), PLSM_OK);
    ck_assert_uint_eq(space.bytes_total, 8 * BLOCK);
    ck_assert_uint_eq(space.bytes_free, 6 * BLOCK);
    ck_assert_int_eq(env_append(other, bytes, 7 * BLOCK), PLSM_NO_SPACE);
    uint64_t size = 0;
    ck_assert_int_eq(env_size(other, &size), PLSM_OK);
    ck_assert_uint_eq(size, 6 * BLOCK);                           /* what fits was appended */
    ck_assert_int_eq(env_append(one, bytes, BLOCK - 1), PLSM_OK); /* in the block it has */
    ck_assert_int_eq(env_append(one, bytes, 1), PLSM_NO_SPACE);
    ck_assert_int_eq(env_remove(limited, "/s/other"), PLSM_OK);
    ck_assert_int_eq(env_append(one, bytes, 1), PLSM_NO_SPACE); /* still open */
    env_close(other);
    ck_assert_int_eq(env_append(one, bytes, 1), PLSM_OK);
    ck_assert_int_eq(env_truncate(one, 0), PLSM_OK);
    ck_assert_int_eq(env_append(one, bytes, 8 * BLOCK), PLSM_OK);
    env_memory_set_capacity(limited, 0);
    ck_assert_int_eq(env_append(one, bytes, sizeof bytes), PLSM_OK);
    env_close(one);
    env_memory_destroy(limited);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("env_fault");
    TCase *all = tcase_create("all");
    tcase_set_timeout(all, 120);
    tcase_add_checked_fixture(all, setup, teardown);
    tcase_add_loop_test(all, nth_call_fails, 0, ENV_CALL_COUNT);
    tcase_add_test(all, any_counts_all_kinds);
    tcase_add_test(all, a_limited_file_system_gets_full);
    tcase_add_test(all, failed_calls_do_nothing);
    tcase_add_test(all, failed_syncs_sync_nothing);
    tcase_add_loop_test(all, failed_appends_leave_none_or_part, 0, 2);
    tcase_add_test(all, no_space_hits_what_needs_space);
    tcase_add_test(all, short_counts_are_looped_over);
    suite_add_tcase(suite, all);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
