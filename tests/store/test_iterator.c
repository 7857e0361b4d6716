/* Iterators over keyspaces and bounds, snapshots, and reading beside a writer. */
#include "../harness/store_fixture.h"

#include <stdio.h>

#include "base/alloc.h"
#include "base/random.h"

#include "base/banned.h"

/* Puts key=value in a keyspace. */
static void put_in(plsm *db, plsm_keyspace keyspace, const char *key, const char *value)
{
    plsm_batch *batch = plsm_batch_create();
    assert_ok(plsm_batch_put(batch, keyspace, slice_of(key), slice(NULL, 0), slice_of(value)));
    assert_ok(plsm_write(db, batch, PLSM_NONE));
    plsm_batch_destroy(batch);
}

/* The keys that an iterator meets, each followed by a space; in `text`. */
static const char *walk(plsm *db, const plsm_read_options *options, const char *from, const char *to, bool backward)
{
    static char text[4096];
    size_t size = 0;
    plsm_iterator *it = NULL;
    assert_ok(plsm_iterator_create(db, options, slice_of(from), slice_of(to), &it));
    ck_assert(!plsm_iterator_valid(it));
    (backward ? plsm_iterator_last : plsm_iterator_first)(it);
    while (plsm_iterator_valid(it)) {
        plsm_slice key = plsm_iterator_key(it);
        ck_assert_uint_lt(size + key.size + 2, sizeof text);
        memcpy(text + size, key.data, key.size);
        size += key.size;
        text[size++] = ' ';
        (backward ? plsm_iterator_previous : plsm_iterator_next)(it);
    }
    assert_ok(plsm_iterator_status(it));
    plsm_iterator_destroy(it);
    text[size] = '\0';
    return text;
}

START_TEST(keyspaces_and_bounds)
{
    struct env *env = env_memory_create(1);
    plsm *db = fixture_open(env, PLSM_CREATE, NULL);
    static const char *const keys[] = {"a", "ab", "b", "b/1", "b/2", "c", "\xff\xff"};
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++)
        fixture_put(db, keys[i], "v");
    put_in(db, PLSM_INODES, "inode", "i");
    put_in(db, PLSM_INTERNAL, "aa", "x");
    put_in(db, PLSM_INTERNAL, "zz", "x");
    for (int round = 0; round < 2; round++) { /* from the memtable, then from runs */
        plsm_read_options internal = {.keyspace = PLSM_INTERNAL}, inodes = {.keyspace = PLSM_INODES};
        ck_assert_str_eq(walk(db, NULL, "", "", false), "a ab b b/1 b/2 c \xff\xff ");
        ck_assert_str_eq(walk(db, NULL, "", "", true), "\xff\xff c b/2 b/1 b ab a ");
        ck_assert_str_eq(walk(db, NULL, "ab", "c", false), "ab b b/1 b/2 ");
        ck_assert_str_eq(walk(db, NULL, "ab", "c", true), "b/2 b/1 b ab ");
        ck_assert_str_eq(walk(db, NULL, "aba", "", false), "b b/1 b/2 c \xff\xff ");
        ck_assert_str_eq(walk(db, NULL, "x", "y", false), "");
        ck_assert_str_eq(walk(db, NULL, "c", "b", false), "");
        ck_assert_str_eq(walk(db, &internal, "", "", false), "aa zz ");
        ck_assert_str_eq(walk(db, &internal, "", "b", true), "aa ");
        ck_assert_str_eq(walk(db, &inodes, "", "", true), "inode ");
        assert_ok(plsm_flush(db));
    }
    plsm_iterator *it = NULL;
    assert_ok(plsm_iterator_create(db, NULL, slice_of("ab"), slice_of("c"), &it));
    plsm_iterator_seek(it, slice_of("a")); /* before the bounds */
    ck_assert(slice_equal(plsm_iterator_key(it), slice_of("ab")));
    plsm_iterator_seek(it, slice(NULL, 0));
    ck_assert(slice_equal(plsm_iterator_key(it), slice_of("ab")));
    plsm_iterator_seek(it, slice_of("b/"));
    ck_assert(slice_equal(plsm_iterator_key(it), slice_of("b/1")));
    plsm_iterator_seek_before(it, slice_of("b/"));
    ck_assert(slice_equal(plsm_iterator_key(it), slice_of("b")));
    plsm_iterator_seek_before(it, slice_of("ab"));
    ck_assert(!plsm_iterator_valid(it));
    plsm_iterator_seek_before(it, slice_of("z"));
    ck_assert(slice_equal(plsm_iterator_key(it), slice_of("b/2")));
    plsm_iterator_seek(it, slice_of("c"));
    ck_assert(!plsm_iterator_valid(it));
    assert_ok(plsm_iterator_status(it));
    static const uint8_t long_key[PLSM_KEY_MAX + 1];
    plsm_iterator_seek(it, slice(long_key, sizeof long_key));
    ck_assert(!plsm_iterator_valid(it));
    assert_status(plsm_iterator_status(it), PLSM_TOO_LARGE);
    plsm_iterator_first(it);
    ck_assert(plsm_iterator_valid(it));
    assert_ok(plsm_iterator_status(it));
    plsm_iterator_destroy(it);
    assert_status(plsm_iterator_create(db, &(plsm_read_options){.keyspace = 7}, slice(NULL, 0), slice(NULL, 0), &it),
                  PLSM_INVALID);

    bool has = false;
    assert_ok(plsm_has_prefix(db, NULL, slice_of("b/"), &has));
    ck_assert(has);
    assert_ok(plsm_has_prefix(db, NULL, slice_of("c/"), &has));
    ck_assert(!has);
    assert_ok(plsm_has_prefix(db, NULL, slice(NULL, 0), &has));
    ck_assert(has);
    fixture_check(db);
    assert_ok(plsm_close(db));
    env_memory_destroy(env);
}
END_TEST

START_TEST(snapshots_hold_large_values)
{
    enum { SIZE = 500000 };
    struct env *env = env_memory_create(1);
    plsm *db = fixture_open(env, PLSM_CREATE, NULL);
    uint8_t *data = mem_alloc(SIZE), *again;
    size_t size = 0;
    fixture_fill(data, SIZE, 1);
    assert_ok(plsm_put(db, slice_of("big"), slice(data, SIZE), PLSM_NONE));
    fixture_put(db, "small", "old");
    plsm_snapshot *snapshot = plsm_snapshot_create(db);
    plsm_read_options at = {.snapshot = snapshot};
    assert_ok(plsm_delete(db, slice_of("big"), PLSM_NONE));
    fixture_put(db, "small", "new");
    fixture_put(db, "later", "x");
    assert_ok(plsm_flush(db));
    assert_ok(plsm_compact(db, slice(NULL, 0), slice(NULL, 0)));

    ck_assert_ptr_null(fixture_read(db, NULL, "big", &size));
    again = fixture_read(db, &at, "big", &size);
    ck_assert_uint_eq(size, SIZE);
    ck_assert(memcmp(again, data, SIZE) == 0);
    mem_free(again);
    plsm_value found = {0};
    assert_ok(plsm_get(db, &at, slice_of("small"), &found));
    ck_assert(slice_equal(found.value, slice_of("old")));
    assert_status(plsm_get(db, &at, slice_of("later"), &found), PLSM_NOT_FOUND);
    plsm_value_free(&found);
    ck_assert_str_eq(walk(db, &at, "", "", false), "big small ");
    plsm_iterator *it = NULL;
    assert_ok(plsm_iterator_create(db, &at, slice(NULL, 0), slice(NULL, 0), &it));
    plsm_iterator_first(it);
    ck_assert(plsm_iterator_large(it));
    ck_assert_uint_eq(plsm_iterator_size(it), SIZE);
    ck_assert_uint_eq(plsm_iterator_value(it).size, 0);
    plsm_iterator_next(it);
    ck_assert(!plsm_iterator_large(it));
    ck_assert_uint_eq(plsm_iterator_size(it), 3);
    plsm_iterator_destroy(it);
    plsm_snapshot_destroy(db, snapshot);
    mem_free(data);
    fixture_check(db);
    assert_ok(plsm_close(db));
    env_memory_destroy(env);
}
END_TEST

START_TEST(read_only_beside_a_writer)
{
    struct env *env = env_memory_create(1);
    plsm *db = fixture_open(env, PLSM_CREATE, NULL), *second = NULL;
    size_t size = 0;
    enum { SIZE = 300000 };
    uint8_t *data = mem_alloc(SIZE), *again;
    fixture_fill(data, SIZE, 1);
    fixture_put(db, "a", "1");
    assert_ok(plsm_put(db, slice_of("big"), slice(data, SIZE), PLSM_SYNC));
    assert_status(plsm_open_env(env, "/s", 0, NULL, &second), PLSM_LOCKED);

    plsm *reader = fixture_open(env, PLSM_READ, NULL);
    fixture_put(db, "a", "2");
    fixture_put(db, "b", "2");
    assert_ok(plsm_delete(db, slice_of("big"), PLSM_SYNC));
    assert_ok(plsm_flush(db));
    assert_ok(plsm_compact(db, slice(NULL, 0), slice(NULL, 0)));
    /* The reader sees the moment at which it was opened. */
    fixture_expect(reader, "a", "1");
    fixture_expect(reader, "b", NULL);
    again = fixture_read(reader, NULL, "big", &size);
    ck_assert_uint_eq(size, SIZE);
    ck_assert(memcmp(again, data, SIZE) == 0);
    mem_free(again);
    plsm_edit *edit = NULL;
    size_t got = 0;
    assert_ok(plsm_edit_open(reader, slice_of("big"), 0, &edit));
    assert_ok(plsm_edit_read(edit, 1, data, SIZE, &got));
    ck_assert_uint_eq(got, SIZE - 1);
    assert_status(plsm_edit_write(edit, 0, "x", 1), PLSM_READ_ONLY);
    assert_status(plsm_edit_truncate(edit, 0), PLSM_READ_ONLY);
    assert_status(plsm_edit_commit(edit, slice(NULL, 0), PLSM_NONE), PLSM_READ_ONLY);
    plsm_edit_close(edit);

    uint64_t id = 0;
    plsm_batch *batch = plsm_batch_create();
    assert_ok(plsm_batch_put(batch, PLSM_NAMES, slice_of("a"), slice(NULL, 0), slice_of("3")));
    assert_status(plsm_write(reader, batch, PLSM_NONE), PLSM_READ_ONLY);
    assert_status(plsm_put(reader, slice_of("a"), slice_of("3"), PLSM_NONE), PLSM_READ_ONLY);
    assert_status(plsm_delete(reader, slice_of("a"), PLSM_NONE), PLSM_READ_ONLY);
    assert_status(plsm_edit_open(reader, slice_of("a"), PLSM_EDIT_NEW, &edit), PLSM_READ_ONLY);
    assert_status(plsm_new_id(reader, &id), PLSM_READ_ONLY);
    assert_status(plsm_sync(reader), PLSM_READ_ONLY);
    assert_status(plsm_flush(reader), PLSM_READ_ONLY);
    plsm_batch_destroy(batch);
    plsm_abilities abilities;
    plsm_get_abilities(reader, &abilities);
    ck_assert(abilities.read_only);
    plsm_get_abilities(db, &abilities);
    ck_assert(!abilities.read_only && abilities.snapshots && abilities.atomic_batches);
    ck_assert_str_eq(abilities.engine, fixture_engine->name);
    ck_assert_uint_eq(abilities.key_size_max, PLSM_KEY_MAX);
    assert_ok(plsm_close(reader));

    reader = fixture_open(env, PLSM_READ, NULL);
    fixture_expect(reader, "a", "2");
    fixture_expect(reader, "b", "2");
    fixture_expect(reader, "big", NULL);
    assert_ok(plsm_close(reader));
    assert_ok(plsm_close(db));
    mem_free(data);
    env_memory_destroy(env);
}
END_TEST

struct seen {
    unsigned count, texts;
    bool commits;
    char last[128];
};

static void note(void *arg, const plsm_statistic *statistic)
{
    struct seen *seen = arg;
    seen->count++;
    seen->texts += statistic->is_text;
    if (strcmp(statistic->name, "store.edit.large_commits") == 0)
        seen->commits = statistic->is_integer && statistic->integer == 1;
    ck_assert_str_ne(statistic->name, seen->last);
    snprintf(seen->last, sizeof seen->last, "%s", statistic->name);
}

START_TEST(statistics)
{
    static uint8_t data[200000];
    struct env *env = env_memory_create(1);
    plsm *db = fixture_open(env, PLSM_CREATE, NULL);
    struct seen seen = {0};
    assert_ok(plsm_put(db, slice_of("big"), slice(data, sizeof data), PLSM_NONE));
    plsm_statistics(db, note, &seen);
    ck_assert(seen.commits);
    ck_assert_uint_ge(seen.texts, fixture_is_tree() ? 4 : 1); /* engine; index, policy, simulated device */
    ck_assert_uint_gt(seen.count, 20);
    plsm_statistics_reset(db);
    seen = (struct seen){0};
    plsm_statistics(db, note, &seen);
    ck_assert(!seen.commits);
    assert_ok(plsm_close(db));
    env_memory_destroy(env);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {keyspaces_and_bounds, snapshots_hold_large_values, read_only_beside_a_writer,
                                  statistics};
    return fixture_run_engines("iterator", tests, sizeof tests / sizeof tests[0]);
}
