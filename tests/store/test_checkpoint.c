/* Checkpoints: what a restored store holds, what a second one writes, what happens when files are damaged, when calls
 * fail, and when all of it crashes at any point. */
#include <stdio.h>

#include "../harness/store_fixture.h"

#include "base/alloc.h"
#include "base/env_fault.h"
#include "base/env_memory.h"
#include "store/checkpoint.h"
#include "tests/harness/temporary.h"

#include "base/banned.h"

#define TREE_OPTIONS "background=0,buffer_size=64K,file_size=64K,l0_compact=2"
#define OPTIONS (fixture_is_tree() ? TREE_OPTIONS : fixture_options(NULL))
#define DIRECTORY "/checkpoints"

enum { STATES = 4, KEYS = 300, LARGE = 40000, EXTENTS = 300000 };

static struct env *env;

static void setup(void)
{
    env = env_memory_create(1);
}

static void teardown(void)
{
    env_memory_destroy(env);
}

/* --- states ------------------------------------------------------------------------------------------------------- */

/* Writes state number `state` over the one before: small, large and very large values, deletions. */
static void write_state(plsm *db, unsigned state)
{
    static uint8_t large[EXTENTS];
    char key[32], value[32];
    for (unsigned i = state; i < KEYS; i += 1 + state) {
        snprintf(key, sizeof key, "key%05u", i);
        snprintf(value, sizeof value, "%u of state %u", i, state);
        fixture_put(db, key, value);
    }
    fixture_fill(large, sizeof large, state);
    assert_ok(plsm_put(db, slice_of("large"), slice(large, LARGE), PLSM_NONE));
    assert_ok(plsm_put(db, slice_of("very-large"), slice(large, sizeof large), PLSM_NONE));
    snprintf(key, sizeof key, "key%05u", state);
    assert_ok(plsm_delete(db, slice_of(key), PLSM_NONE));
    snprintf(value, sizeof value, "%u", state);
    fixture_put(db, "state", value);
}

/* The number of the state that a store is in; the test fails when it is in none. */
static unsigned expect_state(plsm *db)
{
    char key[32], value[32];
    size_t size = 0;
    uint8_t *text = fixture_read(db, NULL, "state", &size);
    ck_assert_uint_eq(size, 1);
    unsigned state = (unsigned)(*text - '0');
    mem_free(text);
    for (unsigned i = 0; i < KEYS; i++) {
        unsigned last = STATES;
        for (unsigned s = 0; s <= state; s++)
            last = i == s ? STATES + 1 : i >= s && (i - s) % (1 + s) == 0 ? s : last;
        snprintf(key, sizeof key, "key%05u", i);
        snprintf(value, sizeof value, "%u of state %u", i, last);
        fixture_expect(db, key, last < STATES ? value : NULL);
    }
    static uint8_t large[EXTENTS];
    fixture_fill(large, sizeof large, state);
    text = fixture_read(db, NULL, "large", &size);
    ck_assert(size == LARGE && memcmp(text, large, size) == 0);
    mem_free(text);
    text = fixture_read(db, NULL, "very-large", &size);
    ck_assert(size == EXTENTS && memcmp(text, large, size) == 0);
    mem_free(text);
    return state;
}

static plsm_status restore_named(struct env *from, const char *name, uint64_t time_ns, const char *path)
{
    plsm_restore_options options = {.name = name, .time_ns = time_ns};
    return restore_in(from, DIRECTORY, &options, path, NULL);
}

/* Restores and looks at it; the store must be sound, and good for writing. */
static unsigned restored_state(struct env *from, const char *name, uint64_t time_ns, const char *path)
{
    plsm *db = NULL;
    assert_ok(restore_named(from, name, time_ns, path));
    assert_ok(plsm_open_env(from, path, 0, OPTIONS, &db));
    unsigned state = expect_state(db);
    fixture_check(db);
    fixture_put(db, "new", "value");
    assert_ok(plsm_close(db));
    assert_ok(plsm_open_env(from, path, 0, OPTIONS, &db));
    fixture_expect(db, "new", "value");
    assert_ok(plsm_close(db));
    return state;
}

static plsm_checkpoint_info checkpoint(plsm *db, const char *name)
{
    plsm_checkpoint_options options = {.name = name};
    plsm_checkpoint_info info;
    assert_ok(plsm_checkpoint(db, DIRECTORY, &options, &info));
    return info;
}

START_TEST(states)
{
    char path[32], names[STATES][2];
    uint64_t times[STATES];
    plsm *db = fixture_open(env, PLSM_CREATE, OPTIONS);
    for (unsigned i = 0; i < STATES; i++) {
        write_state(db, i);
        snprintf(names[i], sizeof names[i], "%u", i);
        bool copy = i % 2;
        plsm_checkpoint_info info;
        assert_ok(plsm_checkpoint(db, DIRECTORY, &(plsm_checkpoint_options){.name = names[i], .copy = copy}, &info));
        times[i] = info.time_ns;
        ck_assert_uint_gt(copy ? info.copied_bytes : info.linked_bytes, 0);
        ck_assert(!copy || info.linked_bytes == 0);
        ck_assert_uint_gt(info.bytes, EXTENTS);
        if (i == 2) { /* one that goes on from an opening */
            assert_ok(plsm_close(db));
            db = fixture_open(env, 0, OPTIONS);
        }
        env_sleep_ns(env, 1000000000);
    }
    assert_ok(plsm_close(db));
    for (unsigned i = 0; i < STATES; i++) {
        snprintf(path, sizeof path, "/r%u", i);
        ck_assert_uint_eq(restored_state(env, names[i], 0, path), i);
        snprintf(path, sizeof path, "/t%u", i);
        ck_assert_uint_eq(restored_state(env, NULL, times[i], path), i);
    }
    ck_assert_uint_eq(restored_state(env, NULL, 0, "/newest"), STATES - 1);
    assert_status(restore_named(env, NULL, times[0] - 1, "/none"), PLSM_NOT_FOUND);
    assert_status(restore_named(env, "9", 0, "/none"), PLSM_NOT_FOUND);
    assert_status(restore_named(env, "1", 0, "/r0"), PLSM_EXISTS);
    assert_ok(checkpoint_check_in(env, DIRECTORY, NULL, NULL, NULL));
}
END_TEST

/* A checkpoint of what has not changed writes a list; removing others leaves what it needs. */
START_TEST(unchanged)
{
    plsm *db = fixture_open(env, PLSM_CREATE, OPTIONS);
    write_state(db, 0);
    checkpoint(db, "first");
    for (unsigned i = 0; i < 3; i++) {
        char name[2] = {(char)('a' + i), 0};
        plsm_checkpoint_info info = checkpoint(db, name);
        ck_assert_uint_eq(info.new_files, 0);
        ck_assert_uint_eq(info.copied_bytes, 0);
        assert_ok(plsm_close(db));
        db = fixture_open(env, 0, OPTIONS);
    }
    assert_ok(checkpoint_remove_in(env, DIRECTORY, "first"));
    assert_ok(checkpoint_remove_in(env, DIRECTORY, "b"));
    assert_status(checkpoint_remove_in(env, DIRECTORY, "b"), PLSM_NOT_FOUND);
    write_state(db, 1);
    checkpoint(db, "later");
    ck_assert_uint_eq(restored_state(env, "a", 0, "/r1"), 0);
    assert_ok(checkpoint_remove_in(env, DIRECTORY, "a"));
    ck_assert_uint_eq(restored_state(env, "c", 0, "/r2"), 0);
    ck_assert_uint_eq(restored_state(env, "later", 0, "/r3"), 1);
    assert_ok(plsm_close(db));
}
END_TEST

static void count_file(void *arg, const char *name)
{
    (void)name;
    ++*(unsigned *)arg;
}

START_TEST(removed_to_the_last)
{
    unsigned count = 0;
    plsm *db = fixture_open(env, PLSM_CREATE, OPTIONS);
    write_state(db, 0);
    checkpoint(db, "one");
    write_state(db, 1);
    checkpoint(db, "two");
    assert_ok(plsm_close(db));
    assert_ok(checkpoint_remove_in(env, DIRECTORY, "one"));
    assert_ok(checkpoint_remove_in(env, DIRECTORY, "two"));
    assert_ok(env_list(env, DIRECTORY "/files", count_file, &count));
    ck_assert_uint_eq(count, 0);
    assert_status(checkpoint_remove_in(env, "/nowhere", "one"), PLSM_NOT_FOUND);
}
END_TEST

/* --- refusals ----------------------------------------------------------------------------------------------------- */

START_TEST(refusals)
{
    static const char *const names[] = {"", ".", "..", ".a", "a/b", "a b", "\303\251"};
    struct env_lock *lock = NULL;
    plsm *db = fixture_open(env, PLSM_CREATE, OPTIONS);
    fixture_put(db, "key", "value");
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        assert_status(plsm_checkpoint(db, DIRECTORY, &(plsm_checkpoint_options){.name = names[i]}, NULL), PLSM_INVALID);
    assert_status(plsm_checkpoint(db, "/s", NULL, NULL), PLSM_INVALID); /* the store itself */
    assert_ok(plsm_checkpoint(db, DIRECTORY, NULL, NULL));
    assert_ok(plsm_checkpoint(db, DIRECTORY, NULL, NULL)); /* at the same moment: another name */
    checkpoint(db, "one");
    assert_status(plsm_checkpoint(db, DIRECTORY, &(plsm_checkpoint_options){.name = "one"}, NULL), PLSM_EXISTS);
    assert_ok(env_lock(env, DIRECTORY "/LOCK", 0, true, &lock));
    assert_status(plsm_checkpoint(db, DIRECTORY, NULL, NULL), PLSM_LOCKED);
    assert_status(restore_named(env, "one", 0, "/r"), PLSM_LOCKED);
    env_unlock(lock);
    assert_ok(plsm_close(db));
    db = fixture_open(env, PLSM_READ, OPTIONS);
    assert_status(plsm_checkpoint(db, DIRECTORY, NULL, NULL), PLSM_READ_ONLY);
    assert_ok(plsm_close(db));
}
END_TEST

/* --- damage ------------------------------------------------------------------------------------------------------- */

struct paths {
    char list[64][256];
    unsigned count;
    const char *directory;
};

static void note_path(void *arg, const char *name)
{
    struct paths *paths = arg;
    ck_assert_uint_lt(paths->count, 64);
    snprintf(paths->list[paths->count++], sizeof paths->list[0], "%s/%s", paths->directory, name);
}

static void expect_no_store(struct env *there, const char *path)
{
    unsigned count = 0;
    char beside[64];
    snprintf(beside, sizeof beside, "%s.restoring", path);
    assert_status(env_list(there, path, count_file, &count), PLSM_NOT_FOUND);
    assert_status(env_list(there, beside, count_file, &count), PLSM_NOT_FOUND);
}

static void count_line(void *arg, const char *line)
{
    ck_assert_uint_gt(strlen(line), 0);
    ++*(unsigned *)arg;
}

/* A byte altered, a file missing: an error that names it, and nothing made. */
START_TEST(damage)
{
    struct paths paths = {.directory = DIRECTORY "/files"};
    plsm *db = fixture_open(env, PLSM_CREATE, OPTIONS);
    write_state(db, 0);
    checkpoint(db, "one");
    assert_ok(plsm_close(db));
    assert_ok(env_list(env, DIRECTORY "/files", note_path, &paths));
    ck_assert_uint_ge(paths.count, fixture_is_tree() ? 4 : 2);
    snprintf(paths.list[paths.count++], sizeof paths.list[0], DIRECTORY "/one.checkpoint");
    for (unsigned i = 0; i < paths.count; i++) {
        uint8_t *data = NULL;
        size_t size = 0;
        unsigned lines = 0;
        assert_ok(env_memory_content(env, paths.list[i], &data, &size));
        for (size_t at = 0; at < size; at += 1 + size / 7) {
            data[at] ^= 0x20;
            plsm_status status = restore_named(env, "one", 0, "/r");
            ck_assert_msg(status == PLSM_CORRUPT, "%s, byte %zu: %s", paths.list[i], at, plsm_status_name(status));
            expect_no_store(env, "/r");
            data[at] ^= 0x20;
        }
        data[size - 1] ^= 1;
        assert_status(checkpoint_check_in(env, DIRECTORY, NULL, count_line, &lines), PLSM_CORRUPT);
        ck_assert_uint_eq(lines, 1);
        data[size - 1] ^= 1;
    }
    assert_ok(env_remove(env, paths.list[0]));
    assert_status(restore_named(env, "one", 0, "/r"), PLSM_CORRUPT);
    ck_assert(strstr(plsm_message(), paths.list[0]) != NULL);
    expect_no_store(env, "/r");
}
END_TEST

/* A damaged list does not hide others, but while it is there nobody knows what may be removed. */
START_TEST(damaged_list)
{
    uint8_t *data = NULL;
    size_t size = 0;
    unsigned count = 0;
    plsm *db = fixture_open(env, PLSM_CREATE, OPTIONS);
    write_state(db, 0);
    checkpoint(db, "one");
    write_state(db, 1);
    checkpoint(db, "two");
    assert_ok(env_memory_content(env, DIRECTORY "/one.checkpoint", &data, &size));
    data[size / 2] ^= 1;
    ck_assert_uint_eq(restored_state(env, "two", 0, "/r"), 1);
    assert_status(checkpoint_remove_in(env, DIRECTORY, "two"), PLSM_CORRUPT);
    assert_status(plsm_checkpoint(db, DIRECTORY, NULL, NULL), PLSM_CORRUPT);
    assert_status(checkpoints_in(env, DIRECTORY, (void (*)(void *, const plsm_checkpoint_info *))count_line, &count),
                  PLSM_CORRUPT);
    ck_assert_uint_eq(count, 1);
    assert_ok(plsm_close(db));
}
END_TEST

/* Texts that were never written by us. */
START_TEST(hostile_lists)
{
    struct checkpoint_list list = {.name = "name", .engine = "lsm", .time_ns = 7}, read;
    struct checkpoint_file file = {.size = 5, .identity = 9, .name = "run-1"};
    struct buf text = {0};
    memset(file.digest, 'a', DIGEST_TEXT - 1);
    assert_ok(checkpoint_list_add(&list, &file));
    assert_ok(checkpoint_list_encode(&list, &text));
    assert_ok(checkpoint_list_decode(buf_slice(&text), "list", &read));
    ck_assert_uint_eq(read.count, 1);
    ck_assert_str_eq(read.files[0].name, "run-1");
    ck_assert_uint_eq(read.files[0].size, 5);
    ck_assert_uint_eq(read.files[0].identity, 9);
    checkpoint_list_free(&read);
    for (size_t size = 0; size < text.size; size++)
        ck_assert_int_eq(checkpoint_list_decode(slice(text.data, size), "list", &read), PLSM_CORRUPT);
    static const char *const names[] = {"../run-1", ".", "a/b", ""};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) { /* with the right digest, and yet not taken */
        snprintf(list.files[0].name, sizeof list.files[0].name, "%s", names[i]);
        text.size = 0;
        assert_ok(checkpoint_list_encode(&list, &text));
        ck_assert_int_eq(checkpoint_list_decode(buf_slice(&text), "list", &read), PLSM_CORRUPT);
    }
    buf_free(&text);
    checkpoint_list_free(&list);
}
END_TEST

/* --- failures and crashes ----------------------------------------------------------------------------------------- */

/* The second checkpoint meets a failing call: it is there whole or not at all, the first one always. */
static void fail_at(uint64_t nth, enum env_fault kind, bool *fired)
{
    struct env *base = env_memory_create(2), *fault = env_fault_create(base);
    plsm *db = NULL;
    assert_ok(plsm_open_env(fault, "/s", PLSM_CREATE, OPTIONS, &db));
    write_state(db, 0);
    checkpoint(db, "one");
    write_state(db, 1);
    env_fault_arm(fault, ENV_CALL_ANY, nth, kind, false);
    plsm_status status = plsm_checkpoint(db, DIRECTORY, &(plsm_checkpoint_options){.name = "two"}, NULL);
    *fired = env_fault_fired(fault);
    env_fault_disarm(fault);
    ck_assert(status == PLSM_OK || *fired);
    (void)plsm_close(db);
    ck_assert_uint_eq(restored_state(base, "one", 0, "/r1"), 0);
    if (status == PLSM_OK)
        ck_assert_uint_eq(restored_state(base, "two", 0, "/r2"), 1);
    assert_ok(plsm_open_env(base, "/s", 0, OPTIONS, &db));
    assert_ok(plsm_checkpoint(db, DIRECTORY, &(plsm_checkpoint_options){.name = "three"}, NULL));
    assert_ok(plsm_close(db));
    ck_assert_uint_eq(restored_state(base, "three", 0, "/r3"), 1);
    env_fault_destroy(fault);
    env_memory_destroy(base);
}

START_TEST(failures)
{
    const enum env_fault kind = _i ? ENV_FAULT_NO_SPACE : ENV_FAULT_IO;
    bool fired = true;
    for (uint64_t nth = 1; fired; nth += fixture_is_tree() ? 3 : 11)
        fail_at(nth, kind, &fired);
}
END_TEST

/* The same for a restoration: the store is there whole, or not at all. */
START_TEST(failing_restorations)
{
    plsm *db = fixture_open(env, PLSM_CREATE, OPTIONS);
    write_state(db, 0);
    checkpoint(db, "one");
    assert_ok(plsm_close(db));
    struct env *fault = env_fault_create(env);
    bool fired = true;
    char path[32];
    for (uint64_t nth = 1; fired; nth++) {
        snprintf(path, sizeof path, "/r%u", (unsigned)nth);
        env_fault_arm(fault, ENV_CALL_ANY, nth, ENV_FAULT_IO, false);
        plsm_status status = restore_named(fault, "one", 0, path);
        fired = env_fault_fired(fault);
        env_fault_disarm(fault);
        ck_assert(status == PLSM_OK || fired);
        if (status == PLSM_OK || plsm_open_env(env, path, 0, OPTIONS, &db) == PLSM_OK) {
            if (status == PLSM_OK)
                assert_ok(plsm_open_env(env, path, 0, OPTIONS, &db));
            ck_assert_uint_eq(expect_state(db), 0);
            assert_ok(plsm_close(db));
        }
    }
    env_fault_destroy(fault);
}
END_TEST

/* Power is lost, or the process dies, behind any call of a checkpoint, of the removal of another, and of a restoration:
 * every list that is there is whole, and what had been written before is there. */
START_TEST(crashes)
{
    plsm *db = fixture_open(env, PLSM_CREATE, OPTIONS);
    write_state(db, 0);
    checkpoint(db, "one");
    uint64_t first = env_memory_calls(env);
    write_state(db, 1);
    checkpoint(db, "two");
    uint64_t written = env_memory_calls(env);
    assert_ok(checkpoint_remove_in(env, DIRECTORY, "one"));
    uint64_t removed = env_memory_calls(env);
    assert_ok(restore_named(env, "two", 0, "/r"));
    uint64_t all = env_memory_calls(env);
    assert_ok(plsm_close(db));
    unsigned seen = 0, step = fixture_is_tree() ? 5 : 17;
    for (uint64_t call = first; call <= all; call += call >= written ? 1 : step) {
        enum env_crash kind = (enum env_crash)(call % ENV_CRASH_COUNT);
        struct env *image = env_memory_crash(env, call, kind, call);
        plsm *restored = NULL;
        plsm_status one = restore_named(image, "one", 0, "/one"), two = restore_named(image, "two", 0, "/two");
        ck_assert_msg(one == PLSM_OK || (one == PLSM_NOT_FOUND && call >= written), "call %u of %u, kind %d: %s",
                      (unsigned)call, (unsigned)all, kind, plsm_message());
        ck_assert_msg(two == PLSM_OK || (two == PLSM_NOT_FOUND && call < written), "call %u of %u, kind %d: %s",
                      (unsigned)call, (unsigned)all, kind, plsm_message());
        if (one == PLSM_OK)
            ck_assert_uint_eq(restored_state(image, "one", 0, "/one-again"), 0);
        if (two == PLSM_OK)
            ck_assert_uint_eq(restored_state(image, "two", 0, "/two-again"), 1);
        if (call > removed && plsm_open_env(image, "/r", 0, OPTIONS, &restored) == PLSM_OK) {
            ck_assert_uint_eq(expect_state(restored), 1);
            assert_ok(plsm_close(restored));
        }
        seen += two == PLSM_OK;
        env_memory_destroy(image);
    }
    ck_assert_uint_gt(seen + step, all - written);
}
END_TEST

/* --- the real thing ----------------------------------------------------------------------------------------------- */

struct writer {
    plsm *db;
    _Atomic bool stop;
    plsm_status status;
};

static void write_on(void *arg)
{
    struct writer *w = arg;
    char key[16];
    for (unsigned i = 0; !atomic_load(&w->stop) && w->status == PLSM_OK; i++) {
        snprintf(key, sizeof key, "%010u", i);
        w->status = plsm_put(w->db, slice_of(key), slice_of(key), PLSM_NONE);
    }
}

/* Beside a writer: what a checkpoint holds are the first so many of its keys. Files are linked. */
START_TEST(beside_a_writer)
{
    enum { COUNT = 6 };
    char *parent = temporary_create();
    char store[256], directory[256], place[256], key[16];
    struct env_thread *thread = NULL;
    struct writer w = {0};
    uint64_t before = 0, linked = 0;
    snprintf(store, sizeof store, "%s/store", parent);
    snprintf(directory, sizeof directory, "%s/checkpoints", parent);
    const char *options = fixture_is_tree() ? "buffer_size=256K,file_size=256K" : fixture_options("background=1");
    assert_ok(plsm_open(store, PLSM_CREATE, options, &w.db));
    assert_ok(env_thread_start(env_posix(), write_on, &w, &thread));
    for (unsigned i = 0; i < COUNT; i++) {
        plsm_checkpoint_info info;
        char name[2] = {(char)('a' + i), 0};
        env_sleep_ns(env_posix(), 50000000);
        assert_ok(plsm_checkpoint(w.db, directory, &(plsm_checkpoint_options){.name = name, .copy = i % 2}, &info));
        linked += info.linked_bytes;
    }
    atomic_store(&w.stop, true);
    env_thread_join(thread);
    assert_ok(w.status);
    assert_ok(plsm_close(w.db));
    ck_assert_uint_gt(linked, 0);
    for (unsigned i = 0; i < COUNT; i++) {
        char name[2] = {(char)('a' + i), 0};
        plsm *db = NULL;
        plsm_iterator *it = NULL;
        uint64_t count = 0;
        snprintf(place, sizeof place, "%s/%s", parent, name);
        assert_ok(plsm_restore(directory, &(plsm_restore_options){.name = name, .copy = i == 0}, place, NULL));
        assert_ok(plsm_open(place, PLSM_READ, NULL, &db));
        assert_ok(plsm_iterator_create(db, NULL, (plsm_slice){0}, (plsm_slice){0}, &it));
        for (plsm_iterator_first(it); plsm_iterator_valid(it); plsm_iterator_next(it)) {
            snprintf(key, sizeof key, "%010u", (unsigned)count++);
            ck_assert(slice_equal(plsm_iterator_key(it), slice_of(key)));
        }
        assert_ok(plsm_iterator_status(it));
        plsm_iterator_destroy(it);
        assert_ok(plsm_close(db));
        ck_assert_uint_ge(count, before);
        before = count;
    }
    ck_assert_uint_gt(before, 0);
    temporary_destroy(parent);
}
END_TEST

static int run_engine(const struct test_engine *engine)
{
    char name[64];
    fixture_engine = engine;
    snprintf(name, sizeof name, "checkpoint, %s", engine->name);
    Suite *suite = suite_create(name);
    TCase *cases = tcase_create(name);
    tcase_set_timeout(cases, 300);
    tcase_add_checked_fixture(cases, setup, teardown);
    tcase_add_test(cases, states);
    tcase_add_test(cases, unchanged);
    tcase_add_test(cases, removed_to_the_last);
    tcase_add_test(cases, refusals);
    tcase_add_test(cases, damage);
    tcase_add_test(cases, damaged_list);
    tcase_add_test(cases, hostile_lists);
    tcase_add_loop_test(cases, failures, 0, 2);
    tcase_add_test(cases, failing_restorations);
    tcase_add_test(cases, crashes);
    tcase_add_test(cases, beside_a_writer);
    suite_add_tcase(suite, cases);
    SRunner *runner = srunner_create(suite);
    srunner_set_fork_status(runner, CK_NOFORK);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed;
}

int main(void)
{
    int failed = 0;
    for (unsigned i = 0; i < TEST_ENGINES; i++)
        failed += test_engine_wanted(&test_engines[i]) ? run_engine(&test_engines[i]) : 0;
    return failed != 0;
}
