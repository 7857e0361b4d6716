/* Bulk loads: in order, all at once, newer than what was there, and nothing of one that was dropped. */
#include <stdio.h>

#include "../harness/store_fixture.h"

#include "base/alloc.h"
#include "tests/harness/statistic.h"

#include "base/banned.h"

enum { MANY = 20000 };

static struct env *env;
static plsm *db;
static plsm_bulk *bulk;

static void start(void)
{
    env = env_memory_create(1);
    db = fixture_open(env, PLSM_CREATE, NULL);
    assert_ok(plsm_bulk_create(db, &bulk));
}

static void stop(void)
{
    plsm_bulk_destroy(bulk);
    bulk = NULL;
    fixture_check(db);
    assert_ok(plsm_close(db));
    env_memory_destroy(env);
}

static void reopen(void)
{
    plsm_bulk_destroy(bulk);
    bulk = NULL;
    assert_ok(plsm_close(db));
    db = fixture_open(env, 0, NULL);
}

static void put(const char *key, const char *value)
{
    assert_ok(plsm_bulk_put(bulk, PLSM_NAMES, slice_of(key), slice_of("m"), slice_of(value)));
}

static void refuse(plsm_keyspace keyspace, plsm_slice key, plsm_slice value, plsm_status expected, const char *message)
{
    assert_status(plsm_bulk_put(bulk, keyspace, key, slice(NULL, 0), value), expected);
    ck_assert_msg(strstr(plsm_message(), message) != NULL, "%s", plsm_message());
}

/* The load under way is finished, and another begun. */
static void finish(void)
{
    assert_ok(plsm_bulk_finish(bulk));
    plsm_bulk_destroy(bulk);
    assert_ok(plsm_bulk_create(db, &bulk));
}

static void count_run(void *arg, const char *name)
{
    *(unsigned *)arg += strncmp(name, "run-", 4) == 0;
}

static unsigned files(void)
{
    unsigned count = 0;
    assert_ok(env_list(env, "/s", count_run, &count));
    return count;
}

static const char *number_key(unsigned i)
{
    static char key[32];
    snprintf(key, sizeof key, "key-%07u", i);
    return key;
}

static void put_many(unsigned from, unsigned to, const char *value)
{
    for (unsigned i = from; i < to; i++)
        put(number_key(i), value);
}

static double level_files(unsigned level)
{
    char name[32];
    snprintf(name, sizeof name, "lsm.level.%u.files", level);
    return statistic(db->tree, name);
}

START_TEST(test_order)
{
    start();
    uint8_t *large = mem_zalloc(PLSM_INLINE_MAX + 1);
    plsm_slice none = slice(NULL, 0), value = slice(large, PLSM_INLINE_MAX + 1);
    put("b", "1");
    refuse(PLSM_NAMES, slice_of("b"), none, PLSM_INVALID, "\"b\"");
    refuse(PLSM_NAMES, slice_of("a2"), none, PLSM_INVALID, "\"a2\"");
    refuse(PLSM_NAMES, none, none, PLSM_INVALID, "at least one byte");
    refuse(PLSM_NAMES, slice(large, PLSM_KEY_MAX + 1), none, PLSM_TOO_LARGE, "limit");
    refuse(PLSM_NAMES, slice_of("c"), value, PLSM_TOO_LARGE, "bulk load");
    refuse(PLSM_EXTENTS, slice_of("c"), none, PLSM_INVALID, "extents");
    refuse(PLSM_INTERNAL, slice("\0id", 3), none, PLSM_INVALID, "belong to the store");
    refuse((plsm_keyspace)9, slice_of("c"), none, PLSM_INVALID, "keyspace");
    put("c", "2");
    assert_ok(plsm_bulk_put(bulk, PLSM_INODES, slice_of("a"), none, slice_of("i"))); /* another keyspace */
    refuse(PLSM_NAMES, slice_of("d"), none, PLSM_INVALID, "\"d\"");
    fixture_expect(db, "b", NULL);
    finish();
    fixture_expect(db, "a2", NULL);
    fixture_expect(db, "b", "1");
    fixture_expect(db, "c", "2");
    fixture_expect(db, "d", NULL);
    ck_assert_uint_eq(fixture_count(db, PLSM_INODES), 1);
    mem_free(large);
    stop();
}
END_TEST

START_TEST(test_ends)
{
    start();
    assert_ok(plsm_bulk_finish(bulk)); /* nothing in it: nothing is done */
    ck_assert_uint_eq(files(), 0);
    put("a", "1");
    assert_ok(plsm_bulk_finish(bulk));
    assert_status(plsm_bulk_finish(bulk), PLSM_INVALID);
    assert_status(plsm_bulk_put(bulk, PLSM_NAMES, slice_of("b"), slice(NULL, 0), slice(NULL, 0)), PLSM_INVALID);
    reopen();
    fixture_expect(db, "a", "1");
    assert_ok(plsm_close(db));
    db = fixture_open(env, PLSM_READ, NULL);
    assert_status(plsm_bulk_create(db, &bulk), PLSM_READ_ONLY);
    ck_assert_ptr_null(bulk);
    stop();
}
END_TEST

/* Straight to the last level, in several files, each written once. */
START_TEST(test_straight_down)
{
    start();
    put_many(0, MANY, "a value of some forty bytes, more or less");
    finish();
    ck_assert_uint_eq((unsigned)level_files(0), 0);
    ck_assert_uint_eq((unsigned)level_files(1), 0); /* of 512 KiB */
    ck_assert_uint_gt((unsigned)level_files(2), 2);
    double user = MANY * (11.0 + 1 + 41), written = statistic(db->tree, "io.write_bytes");
    ck_assert_msg(written < 1.4 * user, "%.0f bytes written for %.0f", written, user);
    ck_assert_uint_eq((unsigned)statistic(db->tree, "lsm.bulk_loads"), 1);
    ck_assert_uint_eq((unsigned)statistic(db->tree, "lsm.compactions"), 0);
    put_many(MANY, 2 * MANY, "behind"); /* joins them */
    finish();
    ck_assert_uint_eq((unsigned)level_files(0), 0);
    for (unsigned i = 0; i < 2 * MANY; i += 371)
        fixture_expect(db, number_key(i), i < MANY ? "a value of some forty bytes, more or less" : "behind");
    ck_assert_uint_eq(fixture_count(db, PLSM_NAMES), 2 * MANY);
    reopen();
    ck_assert_uint_eq(fixture_count(db, PLSM_NAMES), 2 * MANY);
    stop();
}
END_TEST

START_TEST(test_dropped)
{
    start();
    fixture_put(db, "k", "old");
    put_many(0, MANY, "never to be seen: so many bytes that there are several files");
    ck_assert_uint_gt(files(), 1);
    fixture_expect(db, number_key(7), NULL);
    reopen();
    ck_assert_uint_eq(files(), 0);
    fixture_expect(db, "k", "old");
    ck_assert_uint_eq(fixture_count(db, PLSM_NAMES), 1);
    stop();
}
END_TEST

/* Newer than everything, wherever that is, and older than what comes after; compaction keeps it so. */
START_TEST(test_recency)
{
    start();
    static const char *const keys[] = {"a", "b", "c", "d", "e"};
    enum { KEYS = 5 };
    for (unsigned older = 0; older < 4; older++) { /* deep, on level 0, in memory, above a load */
        for (unsigned i = 0; i < KEYS; i++)
            fixture_put(db, keys[i], "old");
        assert_ok(plsm_delete(db, slice_of(keys[older]), PLSM_NONE));
        if (older == 0)
            assert_ok(plsm_compact(db, slice(NULL, 0), slice(NULL, 0)));
        if (older == 1)
            assert_ok(plsm_flush(db));
        put("b", "loaded");
        fixture_put(db, "b", "meanwhile"); /* the load counts from its end on */
        put("d", "loaded");
        finish();
        fixture_put(db, "d", "after");
        for (unsigned round = 0; round < 3; round++) {
            fixture_expect(db, "a", older == 0 ? NULL : "old");
            fixture_expect(db, "b", "loaded");
            fixture_expect(db, "c", older == 2 ? NULL : "old");
            fixture_expect(db, "d", "after");
            plsm_status status = round ? plsm_compact(db, slice(NULL, 0), slice(NULL, 0)) : plsm_flush(db);
            assert_ok(status);
        }
        reopen();
        fixture_expect(db, "b", "loaded");
        assert_ok(plsm_bulk_create(db, &bulk));
    }
    stop();
}
END_TEST

/* What older snapshots and iterators see does not change: not by the load, nor by compactions behind it. */
START_TEST(test_snapshots)
{
    start();
    put("a", "1"); /* of a load that older snapshots see in part of the levels */
    put("b", "1");
    finish();
    plsm_snapshot *first = plsm_snapshot_create(db);
    plsm_iterator *it = NULL;
    assert_ok(plsm_iterator_create(db, NULL, slice(NULL, 0), slice(NULL, 0), &it));
    put("b", "2");
    put("c", "2");
    finish();
    plsm_snapshot *second = plsm_snapshot_create(db);
    for (unsigned round = 0; round < 3; round++) {
        fixture_expect_at(db, first, "a", "1");
        fixture_expect_at(db, first, "b", "1");
        fixture_expect_at(db, first, "c", NULL);
        fixture_expect_at(db, second, "a", "1");
        fixture_expect_at(db, second, "b", "2");
        fixture_expect_at(db, second, "c", "2");
        fixture_expect_at(db, NULL, "b", round > 0 ? "3" : "2");
        plsm_iterator *old = NULL;
        plsm_read_options options = {.snapshot = first};
        assert_ok(plsm_iterator_create(db, &options, slice(NULL, 0), slice(NULL, 0), &old));
        plsm_iterator_last(old);
        ck_assert(plsm_iterator_valid(old) && slice_equal(plsm_iterator_key(old), slice_of("b")));
        ck_assert(slice_equal(plsm_iterator_value(old), slice_of("1")));
        plsm_iterator_destroy(old);
        if (round == 0) {
            put("b", "3");
            finish();
        }
        assert_ok(plsm_compact(db, slice(NULL, 0), slice(NULL, 0)));
    }
    plsm_iterator_last(it);
    ck_assert(slice_equal(plsm_iterator_key(it), slice_of("b")) && slice_equal(plsm_iterator_value(it), slice_of("1")));
    plsm_iterator_destroy(it);
    plsm_snapshot_destroy(db, first);
    plsm_snapshot_destroy(db, second);
    assert_ok(plsm_compact(db, slice(NULL, 0), slice(NULL, 0)));
    fixture_expect(db, "b", "3");
    stop();
}
END_TEST

/* Large values that a load replaces: their extents go, those of their neighbours stay. */
START_TEST(test_large_values)
{
    start();
    enum { SIZE = PLSM_INLINE_MAX * 3 };
    uint8_t *bytes = mem_alloc(SIZE);
    ck_assert_ptr_nonnull(bytes);
    fixture_fill(bytes, SIZE, 5);
    assert_ok(plsm_put(db, slice_of("b"), slice(bytes, SIZE), PLSM_NONE));
    assert_ok(plsm_put(db, slice_of("c"), slice(bytes, SIZE), PLSM_NONE));
    ck_assert_uint_eq(fixture_count(db, PLSM_EXTENTS), 6);
    put("a", "small");
    put("b", "small");
    put("d", "small");
    finish();
    fixture_expect(db, "b", "small");
    ck_assert_uint_eq(fixture_count(db, PLSM_EXTENTS), 3);
    ck_assert_uint_eq(fixture_markers(db), 0);
    size_t size = 0;
    uint8_t *found = fixture_read(db, NULL, "c", &size);
    ck_assert(found && size == SIZE && memcmp(found, bytes, SIZE) == 0);
    mem_free(found);
    mem_free(bytes);
    reopen();
    ck_assert_uint_eq(fixture_count(db, PLSM_EXTENTS), 3);
    stop();
}
END_TEST

/* A range that was deleted before hides nothing of a load, wherever the deletion is, and one that is deleted later all
 * of it. */
START_TEST(test_deleted_ranges)
{
    static const char *const loaded[] = {"c", "d", "e"};
    start();
    fixture_put(db, "a", "1");
    fixture_put(db, "z", "1");
    assert_ok(plsm_flush(db));
    assert_ok(
        plsm_delete_range(db, slice_of("b"), slice_of("y"), PLSM_NONE)); /* in the memtable, without a key there */
    for (unsigned i = 0; i < 3; i++)
        put(loaded[i], "2");
    finish();
    for (unsigned step = 0; step < 4; step++) {
        for (unsigned i = 0; i < 3; i++)
            fixture_expect_at(db, NULL, loaded[i], "2");
        ck_assert_uint_eq(fixture_count(db, PLSM_NAMES), 5);
        if (step == 0)
            assert_ok(plsm_flush(db));
        else if (step == 1)
            reopen();
        else
            assert_ok(plsm_compact(db, slice(NULL, 0), slice(NULL, 0)));
    }
    assert_ok(plsm_delete_range(db, slice_of("b"), slice_of("y"), PLSM_NONE));
    ck_assert_uint_eq(fixture_count(db, PLSM_NAMES), 2);
    assert_ok(plsm_compact(db, slice(NULL, 0), slice(NULL, 0)));
    ck_assert_uint_eq(fixture_count(db, PLSM_NAMES), 2);
    stop();
}
END_TEST

/* Loads into gaps that compactions beside may be writing into; their threads are at it all the time. */
START_TEST(test_beside_compactions)
{
    enum { ROUNDS = 120, GAP = 1000, LOADED = 20 };
    env = env_memory_create(1);
    db = fixture_open(env, PLSM_CREATE,
                      "background=1,buffer_size=64K,file_size=64K,size_ratio=2,l0_compact=1,cache_size=1M");
    for (unsigned round = 0; round < ROUNDS; round++) {
        for (unsigned i = 0; i < ROUNDS; i++)
            fixture_put(db, number_key(i * GAP), "some value that is written again and again");
        unsigned from = (round * 7 % ROUNDS) * GAP + 1;
        assert_ok(plsm_bulk_create(db, &bulk));
        put_many(from, from + LOADED, "loaded");
        assert_ok(plsm_bulk_finish(bulk));
        plsm_bulk_destroy(bulk);
    }
    for (unsigned i = 0; i < ROUNDS * LOADED; i++)
        fixture_expect(db, number_key(i / LOADED * GAP + 1 + i % LOADED), "loaded");
    ck_assert_uint_eq(fixture_count(db, PLSM_NAMES), ROUNDS * (LOADED + 1));
    bulk = NULL;
    stop();
}
END_TEST

static void fill(const char *prefix, unsigned count)
{
    enum { VALUE = 1000 };
    uint8_t value[VALUE];
    for (unsigned i = 0; i < count; i++) {
        char key[32];
        snprintf(key, sizeof key, "%s%06u", prefix, i);
        fixture_fill(value, sizeof value, i);
        assert_ok(plsm_put(db, slice_of(key), slice(value, sizeof value), PLSM_NONE));
    }
}

/* Small old runs, then a large memtable with a newer version of a key of theirs, then a load that makes it due to merge
 * those runs: the merge is done before the memtable could be flushed, unless the load waits for that. */
static void load_and_merge(const char *policy)
{
    enum { SMALL = 3, LARGE = 12000, WAIT_NS = 10 * 1000 * 1000, WAITS = 1000 };
    char options[200];
    env = env_memory_create(1);
    snprintf(options, sizeof options, "background=1,buffer_size=16M,size_ratio=4,cache_size=1M,policy=%s", policy);
    db = fixture_open(env, PLSM_CREATE, options);
    fill("a", LARGE);
    assert_ok(plsm_flush(db));
    for (unsigned i = 0; i < SMALL; i++) {
        fixture_put(db, "a", "1");
        fixture_put(db, "b", "old");
        fixture_put(db, "z", "1");
        assert_ok(plsm_flush(db));
    }
    double merges = statistic(db->tree, "lsm.compactions");
    fixture_put(db, "b", "new");
    fill("c", LARGE);
    assert_ok(plsm_bulk_create(db, &bulk));
    put("m", "loaded");
    put("n", "loaded");
    assert_ok(plsm_bulk_finish(bulk));
    plsm_bulk_destroy(bulk);
    bulk = NULL;
    for (unsigned i = 0; i < WAITS && statistic(db->tree, "lsm.compactions") == merges; i++)
        env_sleep_ns(env, WAIT_NS);
    ck_assert_double_gt(statistic(db->tree, "lsm.compactions"), merges);
    assert_ok(plsm_flush(db));
    fixture_expect(db, "b", "new");
    fixture_expect(db, "m", "loaded");
    stop();
}

START_TEST(test_merges_of_loads)
{
    load_and_merge("tiered");
    load_and_merge("lazy");
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {test_order,          test_ends,           test_straight_down,
                                  test_dropped,        test_recency,        test_snapshots,
                                  test_large_values,   test_deleted_ranges, test_beside_compactions,
                                  test_merges_of_loads};
    return fixture_run("bulk", tests, sizeof tests / sizeof *tests);
}
