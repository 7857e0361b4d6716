/* A reader beside the writer: whatever the writer does while the reader opens the store, the reader sees one state that
 * the store was in. */
#include <stdio.h>

#include "../harness/store_fixture.h"

#include "base/banned.h"

/* The memory environment, but that something happens at one of the times the directory is listed. */
static struct env *env;
static struct env_ops ops;
static struct env hooked = {&ops};
static unsigned lists, when; /* so far; at which it happens */
static void (*happens)(void);
static plsm *writer;

static plsm_status list(struct env *unused, const char *path, void (*each)(void *arg, const char *name), void *arg)
{
    if (++lists == when)
        happens();
    return env->ops->list(env, path, each, arg);
}

/* All that is opened belongs to the environment beneath. */
static plsm_status open_file(struct env *unused, const char *path, enum env_open_flags flags, struct env_file **out)
{
    return env->ops->open(env, path, flags, out);
}

static plsm_status space(struct env *unused, const char *path, struct env_space *out)
{
    return env->ops->space(env, path, out);
}

static plsm_status lock(struct env *unused, const char *path, unsigned slot, bool exclusive, struct env_lock **out)
{
    return env->ops->lock(env, path, slot, exclusive, out);
}

static uint64_t now_ns(struct env *unused)
{
    return env->ops->now_ns(env);
}

static uint64_t cpu_ns(struct env *unused)
{
    return env->ops->cpu_ns(env);
}

static uint64_t wall_ns(struct env *unused)
{
    return env->ops->wall_ns(env);
}

static void fill_random(struct env *unused, void *data, size_t size)
{
    env->ops->random(env, data, size);
}

static void hook(void (*what)(void), unsigned at)
{
    ops = (struct env_ops){.open = open_file,
                           .list = list,
                           .space = space,
                           .lock = lock,
                           .unlock = env->ops->unlock,
                           .close = env->ops->close,
                           .read = env->ops->read,
                           .size = env->ops->size,
                           .now_ns = now_ns,
                           .cpu_ns = cpu_ns,
                           .wall_ns = wall_ns,
                           .random = fill_random};
    lists = 0;
    when = at;
    happens = what;
}

static plsm *open_reader(void)
{
    plsm *reader = NULL;
    ck_assert_msg(plsm_open_env(&hooked, "/s", PLSM_READ, FIXTURE_OPTIONS, &reader) == PLSM_OK, "%s", plsm_message());
    return reader;
}

static void load_and_go_on(void)
{
    plsm_bulk *bulk = NULL;
    assert_ok(plsm_bulk_create(writer, &bulk));
    assert_ok(plsm_bulk_put(bulk, PLSM_NAMES, slice_of("b"), slice(NULL, 0), slice_of("loaded")));
    assert_ok(plsm_bulk_finish(bulk));
    plsm_bulk_destroy(bulk);
    fixture_put(writer, "c", "behind the load");
}

static bool is(plsm *db, const char *key, const char *value)
{
    plsm_value found = {0};
    plsm_status status = plsm_get(db, NULL, slice_of(key), &found);
    bool same = status == PLSM_OK && slice_equal(found.value, slice_of(value));
    plsm_value_free(&found);
    return same;
}

/* A bulk load is in no log: who has read the MANIFEST before it must not see what the logs hold behind it. */
START_TEST(test_bulk_load)
{
    env = env_memory_create(1);
    writer = fixture_open(env, PLSM_CREATE, NULL);
    fixture_put(writer, "b", "old");
    fixture_put(writer, "c", "old");
    assert_ok(plsm_flush(writer));
    hook(load_and_go_on, (unsigned)_i + 1);
    plsm *reader = open_reader();
    if (lists >= when)
        ck_assert(is(reader, "b", "loaded") == is(reader, "c", "behind the load"));
    ck_assert(is(reader, "b", "loaded") || is(reader, "b", "old"));
    ck_assert_uint_ge(lists, 2);
    assert_ok(plsm_close(reader));
    fixture_check(writer);
    assert_ok(plsm_close(writer));
    env_memory_destroy(env);
}
END_TEST

static void open_and_write(void)
{
    writer = fixture_open(env, 0, NULL);
    for (unsigned i = 0; i < 3; i++)
        assert_ok(plsm_put(writer, slice_of("after"), slice_of("2"), PLSM_SYNC));
}

/* The writer that died left a torn log; another opens, settles it and goes on, while the reader still reads what the
 * MANIFEST said before. */
START_TEST(test_torn_log)
{
    uint8_t *data = NULL;
    size_t size = 0;
    env = env_memory_create(2);
    writer = fixture_open(env, PLSM_CREATE, FIXTURE_OPTIONS ",log=written");
    for (unsigned i = 0; i < 3; i++)
        fixture_put(writer, "before", "1");
    struct env *crashed = env_memory_crash(env, env_memory_calls(env), ENV_CRASH_KEEP, 1);
    assert_ok(plsm_close(writer));
    env_memory_destroy(env);
    env = crashed;
    assert_ok(env_memory_content(env, "/s/log-00000001", &data, &size));
    data[size - 1] ^= 1; /* of the last record */
    hook(open_and_write, (unsigned)_i + 1);
    writer = NULL;
    plsm *reader = open_reader();
    ck_assert(is(reader, "before", "1"));
    assert_ok(plsm_close(reader));
    if (writer)
        assert_ok(plsm_close(writer));
    env_memory_destroy(env);
}
END_TEST

static void close_writer(void)
{
    assert_ok(plsm_close(writer));
    writer = NULL;
}

/* The log that was made ahead of its use goes when the writer closes, but not while a reader may yet read it. */
START_TEST(test_closing)
{
    static uint8_t value[1000];
    env = env_memory_create(3);
    writer = fixture_open(env, PLSM_CREATE, "background=1,buffer_size=256K");
    for (unsigned i = 0; i < 200; i++) { /* more than half of a memtable */
        char key[16];
        snprintf(key, sizeof key, "%06u", i);
        assert_ok(plsm_put(writer, slice_of(key), slice(value, sizeof value), PLSM_NONE));
    }
    env_sleep_ns(env, 200 * 1000 * 1000);
    hook(close_writer, (unsigned)_i + 1);
    plsm *reader = open_reader();
    ck_assert_uint_eq(fixture_count(reader, PLSM_NAMES), 200);
    assert_ok(plsm_close(reader));
    if (writer)
        assert_ok(plsm_close(writer));
    env_memory_destroy(env);
}
END_TEST

int main(void)
{
    enum { LISTS = 5 }; /* one more than the directory is listed, most often */
    Suite *suite = suite_create("reader beside");
    TCase *tcase = tcase_create("reader beside");
    tcase_set_timeout(tcase, 120);
    tcase_add_loop_test(tcase, test_bulk_load, 0, LISTS);
    tcase_add_loop_test(tcase, test_torn_log, 0, LISTS);
    tcase_add_loop_test(tcase, test_closing, 0, LISTS);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_set_fork_status(runner, CK_NOFORK);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? 1 : 0;
}
