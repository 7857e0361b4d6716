/* Batches: all or nothing, in order, with conditions on the state before. */
#include "../harness/store_fixture.h"

#include "base/alloc.h"

#include "base/banned.h"

static struct env *env;
static plsm *db;
static plsm_batch *batch;

static void start(void)
{
    env = env_memory_create(1);
    db = fixture_open(env, PLSM_CREATE, NULL);
    batch = plsm_batch_create();
    ck_assert_ptr_nonnull(batch);
}

static void stop(void)
{
    plsm_batch_destroy(batch);
    fixture_check(db);
    assert_ok(plsm_close(db));
    env_memory_destroy(env);
}

static void add_put(const char *key, const char *value)
{
    assert_ok(plsm_batch_put(batch, PLSM_NAMES, slice_of(key), slice_of("m"), slice_of(value)));
}

static void add_delete(const char *key)
{
    assert_ok(plsm_batch_delete(batch, PLSM_NAMES, slice_of(key)));
}

static void add_move(const char *from, const char *to)
{
    assert_ok(plsm_batch_move(batch, slice_of(from), slice_of(to)));
}

static void add_meta(const char *key, const char *meta)
{
    assert_ok(plsm_batch_set_meta(batch, slice_of(key), slice_of(meta)));
}

static void write_batch(plsm_status expected)
{
    assert_status(plsm_write(db, batch, PLSM_NONE), expected);
    plsm_batch_clear(batch);
    ck_assert_uint_eq(plsm_batch_count(batch), 0);
    ck_assert_uint_eq(plsm_batch_bytes(batch), 0);
}

static void expect_meta(const char *key, const char *meta)
{
    plsm_value found = {0};
    assert_ok(plsm_get(db, NULL, slice_of(key), &found));
    ck_assert_msg(slice_equal(found.meta, slice_of(meta)), "%s: meta %.*s instead of %s", key, (int)found.meta.size,
                  (const char *)found.meta.data, meta);
    plsm_value_free(&found);
}

static void put_large(const char *key, size_t size, uint64_t seed)
{
    uint8_t *data = mem_alloc(size);
    fixture_fill(data, size, seed);
    assert_ok(plsm_put(db, slice_of(key), slice(data, size), PLSM_NONE));
    mem_free(data);
}

static void expect_large(const char *key, size_t size, uint64_t seed)
{
    size_t got = 0;
    uint8_t *expected = mem_alloc(size), *data = fixture_read(db, NULL, key, &got);
    fixture_fill(expected, size, seed);
    ck_assert_ptr_nonnull(data);
    ck_assert_uint_eq(got, size);
    ck_assert(memcmp(data, expected, size) == 0);
    mem_free(expected);
    mem_free(data);
}

START_TEST(order)
{
    start();
    add_put("a", "1");
    add_put("a", "2");
    add_put("b", "1");
    add_delete("b");
    add_delete("c");
    add_put("c", "3");
    ck_assert_uint_eq(plsm_batch_count(batch), 6);
    write_batch(PLSM_OK);
    fixture_expect(db, "a", "2");
    fixture_expect(db, "b", NULL);
    fixture_expect(db, "c", "3");
    expect_meta("a", "m");
    write_batch(PLSM_OK); /* empty */
    stop();
}
END_TEST

START_TEST(conditions)
{
    start();
    fixture_put(db, "there", "old");
    add_put("there", "new");
    add_put("x", "1");
    assert_ok(plsm_batch_if_absent(batch, PLSM_NAMES, slice_of("there")));
    write_batch(PLSM_EXISTS);
    fixture_expect(db, "there", "old");
    fixture_expect(db, "x", NULL);

    /* The state before the batch counts: a put of the key in the same batch does not matter. */
    add_put("fresh", "1");
    assert_ok(plsm_batch_if_absent(batch, PLSM_NAMES, slice_of("fresh")));
    assert_ok(plsm_batch_if_equal(batch, PLSM_NAMES, slice_of("there"), slice_of("old")));
    add_put("there", "new");
    write_batch(PLSM_OK);
    fixture_expect(db, "fresh", "1");
    fixture_expect(db, "there", "new");

    static const char *const wrong[] = {"old", "", "newer", "ne"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        add_put("y", "1");
        assert_ok(plsm_batch_if_equal(batch, PLSM_NAMES, slice_of("there"), slice_of(wrong[i])));
        write_batch(PLSM_CONFLICT);
    }
    assert_ok(plsm_batch_if_equal(batch, PLSM_NAMES, slice_of("absent"), slice_of("")));
    add_put("y", "1");
    write_batch(PLSM_CONFLICT);
    fixture_expect(db, "y", NULL);

    /* Conditions alone, and in another keyspace: "there" is absent among the internal keys. */
    assert_ok(plsm_batch_if_absent(batch, PLSM_INTERNAL, slice_of("there")));
    write_batch(PLSM_OK);
    stop();
}
END_TEST

START_TEST(conditions_on_large_values)
{
    start();
    put_large("big", 300000, 1);
    add_put("x", "1");
    assert_ok(plsm_batch_if_absent(batch, PLSM_NAMES, slice_of("big")));
    write_batch(PLSM_EXISTS);
    add_put("x", "1");
    assert_ok(plsm_batch_if_equal(batch, PLSM_NAMES, slice_of("big"), slice_of("")));
    write_batch(PLSM_CONFLICT);
    fixture_expect(db, "x", NULL);
    stop();
}
END_TEST

START_TEST(moves)
{
    start();
    fixture_put(db, "a", "A");
    add_move("a", "b");
    write_batch(PLSM_OK);
    fixture_expect(db, "a", NULL);
    fixture_expect(db, "b", "A");

    /* A put, then a move of it, then a move of that; and the source is put anew. */
    add_put("p", "P");
    add_move("p", "q");
    add_move("q", "r");
    add_put("q", "Q");
    ck_assert_uint_eq(plsm_batch_count(batch), 4);
    write_batch(PLSM_OK);
    fixture_expect(db, "p", NULL);
    fixture_expect(db, "q", "Q");
    fixture_expect(db, "r", "P");
    expect_meta("r", "m");

    /* Exchange of two through a third. */
    add_move("b", "t");
    add_move("r", "b");
    add_move("t", "r");
    write_batch(PLSM_OK);
    fixture_expect(db, "b", "P");
    fixture_expect(db, "r", "A");
    fixture_expect(db, "t", NULL);

    /* Onto itself: nothing. What is deleted or moved away before is not there. */
    add_move("b", "b");
    write_batch(PLSM_OK);
    fixture_expect(db, "b", "P");
    add_delete("b");
    add_move("b", "c");
    write_batch(PLSM_CONFLICT);
    add_move("b", "c");
    add_move("b", "d");
    write_batch(PLSM_CONFLICT);
    add_move("nothing", "nothing");
    write_batch(PLSM_CONFLICT);
    fixture_expect(db, "b", "P");
    fixture_expect(db, "c", NULL);
    stop();
}
END_TEST

START_TEST(metas)
{
    start();
    fixture_put(db, "a", "A");
    add_meta("a", "first");
    write_batch(PLSM_OK);
    fixture_expect(db, "a", "A");
    expect_meta("a", "first");

    add_put("n", "N");
    add_meta("n", "second");
    add_move("n", "o");
    add_meta("o", "third");
    add_meta("a", "");
    write_batch(PLSM_OK);
    fixture_expect(db, "o", "N");
    expect_meta("o", "third");
    expect_meta("a", "");

    add_put("z", "Z");
    add_meta("n", "gone");
    write_batch(PLSM_CONFLICT);
    fixture_expect(db, "z", NULL);
    stop();
}
END_TEST

START_TEST(large_values_move_and_retire)
{
    start();
    put_large("big", 400000, 1);
    put_large("other", 200000, 2);
    ck_assert_uint_eq(fixture_count(db, PLSM_INODES), 2);
    ck_assert_uint_eq(fixture_count(db, PLSM_EXTENTS), 4 + 2);

    add_meta("big", "meta");
    add_move("big", "big2");
    add_move("big2", "other"); /* replaces a large value */
    add_put("big", "small");
    write_batch(PLSM_OK);
    fixture_expect(db, "big", "small");
    fixture_expect(db, "big2", NULL);
    expect_large("other", 400000, 1);
    expect_meta("other", "meta");
    ck_assert_uint_eq(fixture_count(db, PLSM_INODES), 1);
    ck_assert_uint_eq(fixture_count(db, PLSM_EXTENTS), 4);
    ck_assert_uint_eq(fixture_markers(db), 0);

    /* Replaced twice in one batch: retired once. Then by a plain put, and by a delete. */
    add_put("other", "1");
    add_put("other", "2");
    add_delete("other");
    write_batch(PLSM_OK);
    ck_assert_uint_eq(fixture_count(db, PLSM_EXTENTS), 0);
    put_large("x", 200000, 3);
    fixture_put(db, "x", "tiny");
    ck_assert_uint_eq(fixture_count(db, PLSM_EXTENTS), 0);
    put_large("x", 200000, 4);
    put_large("x", 300000, 5);
    expect_large("x", 300000, 5);
    ck_assert_uint_eq(fixture_count(db, PLSM_EXTENTS), 3);
    assert_ok(plsm_delete(db, slice_of("x"), PLSM_SYNC));
    ck_assert_uint_eq(fixture_count(db, PLSM_EXTENTS), 0);
    ck_assert_uint_eq(fixture_count(db, PLSM_INODES), 0);
    ck_assert_uint_eq(fixture_markers(db), 0);

    /* Deleted and moved onto in one batch that fails: nothing is retired. */
    put_large("x", 200000, 6);
    add_delete("x");
    add_move("missing", "y");
    write_batch(PLSM_CONFLICT);
    expect_large("x", 200000, 6);
    stop();
}
END_TEST

struct written {
    uint64_t bytes;
    unsigned found;
};

static void take_written(void *arg, const plsm_statistic *statistic)
{
    struct written *written = arg;
    if (!statistic->is_integer || strcmp(statistic->name, "io.write_bytes") != 0)
        return;
    written->bytes = statistic->integer;
    written->found++;
}

static uint64_t written_bytes(void)
{
    struct written written = {0};
    plsm_statistics(db, take_written, &written);
    ck_assert_uint_eq(written.found, 1);
    return written.bytes;
}

/* An entry gets a meta and another key, as at each rename in a mount. */
START_TEST(metas_and_moves)
{
    enum { SIZE = 100000 };
    start();
    put_large("a", SIZE, 1);
    fixture_put(db, "b", "B");
    uint64_t before = written_bytes();
    add_meta("a", "first");
    add_move("a", "b"); /* over another */
    write_batch(PLSM_OK);
    uint64_t bytes = written_bytes() - before;
    ck_assert_uint_lt(bytes, SIZE + SIZE / 2);          /* not twice */
    if (strcmp(fixture_engine->name, "hybridlog") != 0) /* which counts it later, when it has left memory */
        ck_assert_uint_ge(bytes, SIZE);
    fixture_expect(db, "a", NULL);
    expect_large("b", SIZE, 1);
    expect_meta("b", "first");

    add_meta("b", "second");
    add_move("b", "c");
    add_meta("c", "third");
    add_move("c", "d");
    add_meta("d", "fourth");
    add_move("d", "d"); /* stays */
    write_batch(PLSM_OK);
    fixture_expect(db, "b", NULL);
    fixture_expect(db, "c", NULL);
    expect_large("d", SIZE, 1);
    expect_meta("d", "fourth");

    /* One moves that is not the one whose meta changes; and something comes between. */
    fixture_put(db, "e", "E");
    add_meta("e", "fifth");
    add_move("d", "f");
    add_meta("f", "sixth");
    add_put("f", "F");
    add_move("f", "g");
    write_batch(PLSM_OK);
    fixture_expect(db, "e", "E");
    expect_meta("e", "fifth");
    fixture_expect(db, "g", "F");
    expect_meta("g", "m");

    put_large("large", 300000, 2);
    add_meta("large", "seventh");
    add_move("large", "e");
    write_batch(PLSM_OK);
    expect_large("e", 300000, 2);
    expect_meta("e", "seventh");

    add_meta("absent", "m");
    add_move("absent", "e");
    write_batch(PLSM_CONFLICT);
    expect_meta("e", "seventh");
    stop();
}
END_TEST

START_TEST(limits)
{
    start();
    static uint8_t key[PLSM_KEY_MAX + 1], value[PLSM_INLINE_MAX + 1];
    memset(key, 'k', sizeof key);
    plsm_slice longest = slice(key, PLSM_KEY_MAX), above = slice(key, PLSM_KEY_MAX + 1), none = slice(NULL, 0);
    assert_status(plsm_put(db, none, none, PLSM_NONE), PLSM_INVALID);
    assert_status(plsm_put(db, above, none, PLSM_NONE), PLSM_TOO_LARGE);
    assert_status(plsm_delete(db, none, PLSM_NONE), PLSM_INVALID);
    assert_status(plsm_batch_put(batch, PLSM_NAMES, above, none, none), PLSM_TOO_LARGE);
    assert_status(plsm_batch_put(batch, PLSM_NAMES, longest, slice(key, 256), none), PLSM_TOO_LARGE);
    assert_status(plsm_batch_put(batch, PLSM_NAMES, longest, none, slice(value, sizeof value)), PLSM_TOO_LARGE);
    assert_status(plsm_batch_put(batch, 9, longest, none, none), PLSM_INVALID);
    assert_status(plsm_batch_put(batch, PLSM_EXTENTS, longest, none, none), PLSM_INVALID);
    assert_status(plsm_batch_put(batch, PLSM_INTERNAL, slice("\0id", 3), none, none), PLSM_INVALID);
    assert_status(plsm_batch_delete(batch, PLSM_INTERNAL, slice("\0orphan", 7)), PLSM_INVALID);
    assert_status(plsm_batch_move(batch, slice_of("a"), above), PLSM_TOO_LARGE);
    assert_status(plsm_batch_move(batch, none, slice_of("a")), PLSM_INVALID);
    assert_status(plsm_batch_set_meta(batch, slice_of("a"), slice(key, 256)), PLSM_TOO_LARGE);
    assert_status(plsm_batch_if_absent(batch, PLSM_NAMES, none), PLSM_INVALID);
    ck_assert_uint_eq(plsm_batch_count(batch), 0);

    assert_ok(plsm_batch_put(batch, PLSM_NAMES, longest, slice(key, 255), slice(value, PLSM_INLINE_MAX)));
    assert_ok(plsm_batch_put(batch, PLSM_INTERNAL, slice_of("root"), none, slice_of("r")));
    write_batch(PLSM_OK);
    plsm_value found = {0};
    assert_ok(plsm_get(db, NULL, longest, &found));
    ck_assert_uint_eq(found.value.size, PLSM_INLINE_MAX);
    ck_assert_uint_eq(found.meta.size, 255);
    ck_assert(!found.large);
    assert_ok(plsm_get(db, &(plsm_read_options){.no_value = true}, longest, &found));
    ck_assert_uint_eq(found.value.size, 0);
    ck_assert_uint_eq(found.size, PLSM_INLINE_MAX);
    assert_ok(plsm_get(db, &(plsm_read_options){.keyspace = PLSM_INTERNAL}, slice_of("root"), &found));
    assert_status(plsm_get(db, NULL, slice_of("root"), &found), PLSM_NOT_FOUND);
    assert_status(plsm_get(db, NULL, above, &found), PLSM_TOO_LARGE);
    assert_status(plsm_get(db, NULL, none, &found), PLSM_INVALID);
    plsm_value_free(&found);
    stop();
}
END_TEST

static void add_range(const char *from, const char *to)
{
    assert_ok(plsm_batch_delete_range(batch, PLSM_NAMES, slice_of(from), slice_of(to)));
}

/* A range stands in its place among the other changes, moves and changes of meta too. */
START_TEST(ranges_in_order)
{
    start();
    fixture_put(db, "a", "0");
    fixture_put(db, "b", "0");
    fixture_put(db, "c", "0");
    add_put("b1", "1");
    add_move("a", "b2");
    add_range("b", "c");
    add_put("b3", "1");
    add_move("c", "b4");
    write_batch(PLSM_OK);
    const char *const gone[] = {"a", "b", "b1", "b2", "c"};
    for (size_t i = 0; i < sizeof gone / sizeof *gone; i++)
        fixture_expect(db, gone[i], NULL);
    fixture_expect(db, "b3", "1");
    fixture_expect(db, "b4", "0");
    add_range("b", "c");
    add_move("b3", "d"); /* of a key that the range before it deletes */
    write_batch(PLSM_CONFLICT);
    add_range("b", "c");
    add_meta("b4", "n");
    write_batch(PLSM_CONFLICT);
    fixture_expect(db, "b4", "0");
    add_range("b4", "b4"); /* none */
    add_range("c", "b");
    ck_assert_uint_eq(plsm_batch_count(batch), 0);
    assert_ok(plsm_delete_range(db, slice_of(""), slice_of("b4"), PLSM_NONE));
    fixture_expect(db, "b3", NULL);
    fixture_expect(db, "b4", "0");
    assert_ok(plsm_delete_range(db, slice_of(""), slice_of(""), PLSM_SYNC));
    ck_assert_uint_eq(fixture_count(db, PLSM_NAMES), 0);
    assert_status(plsm_batch_delete_range(batch, PLSM_EXTENTS, slice_of("a"), slice_of("")), PLSM_INVALID);
    assert_status(plsm_batch_delete_range(batch, PLSM_INTERNAL, slice_of(""), slice_of("b")), PLSM_INVALID);
    assert_ok(plsm_batch_delete_range(batch, PLSM_INTERNAL, slice_of("a"), slice_of("")));
    write_batch(PLSM_OK);
    stop();
}
END_TEST

/* Extents of large values in a range are given back, under short keys and under the longest, and where the batch itself
 * moved them there; those outside stay. */
START_TEST(ranges_retire_large_values)
{
    start();
    static uint8_t value[PLSM_INLINE_MAX + 5], key[PLSM_KEY_MAX];
    plsm_slice large = slice(value, sizeof value), longest = slice(key, sizeof key);
    fixture_fill(value, sizeof value, 5);
    memset(key, 'm', sizeof key);
    assert_ok(plsm_put(db, slice_of("a"), large, PLSM_NONE));
    assert_ok(plsm_put(db, slice_of("l"), large, PLSM_NONE));
    assert_ok(plsm_put(db, slice_of("m"), large, PLSM_NONE));
    assert_ok(plsm_put(db, longest, large, PLSM_NONE));
    assert_ok(plsm_put(db, slice_of("z"), large, PLSM_NONE));
    uint64_t pieces = fixture_count(db, PLSM_EXTENTS);
    add_move("a", "n"); /* into the range */
    add_meta("l", "n");
    add_put("m", "small"); /* retires the large one by itself */
    add_range("l", "o");
    add_range("l", "p"); /* nothing is left to retire */
    add_put("l", "again");
    write_batch(PLSM_OK);
    fixture_expect(db, "l", "again");
    ck_assert_uint_eq(fixture_count(db, PLSM_NAMES), 2);
    ck_assert_uint_eq(fixture_count(db, PLSM_EXTENTS), pieces / 5);
    ck_assert_uint_eq(fixture_markers(db), 0);
    assert_ok(plsm_delete_range(db, slice_of("a"), slice_of(""), PLSM_NONE));
    ck_assert_uint_eq(fixture_count(db, PLSM_EXTENTS), 0);
    ck_assert_uint_eq(fixture_markers(db), 0);
    stop();
}
END_TEST

/* A crash behind any call leaves all of a batch or nothing of it. */
START_TEST(atomic)
{
    start();
    fixture_put(db, "a", "0");
    assert_ok(plsm_sync(db));
    uint64_t from = env_memory_calls(env);
    add_put("b", "1");
    add_move("a", "c");
    add_put("d", "1");
    write_batch(PLSM_OK);
    assert_ok(plsm_sync(db));
    uint64_t to = env_memory_calls(env);
    ck_assert_uint_lt(from, to);
    unsigned old = 0, new = 0;
    for (uint64_t call = from; call <= to; call++) {
        for (int kind = 0; kind < ENV_CRASH_COUNT; kind++) {
            for (uint64_t seed = 1; seed <= 8; seed++) {
                struct env *image = env_memory_crash(env, call, kind, seed);
                plsm *reopened = fixture_open(image, 0, NULL);
                plsm_value found = {0};
                bool done = plsm_get(reopened, NULL, slice_of("d"), &found) == PLSM_OK;
                plsm_value_free(&found);
                fixture_expect(reopened, "a", done ? NULL : "0");
                fixture_expect(reopened, "b", done ? "1" : NULL);
                fixture_expect(reopened, "c", done ? "0" : NULL);
                fixture_expect(reopened, "d", done ? "1" : NULL);
                ck_assert(done || call < to);
                old += !done;
                new += done;
                assert_ok(plsm_close(reopened));
                env_memory_destroy(image);
            }
        }
    }
    ck_assert_uint_gt(old, 0);
    ck_assert_uint_gt(new, 0);
    stop();
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {order,
                                  conditions,
                                  conditions_on_large_values,
                                  moves,
                                  metas,
                                  metas_and_moves,
                                  limits,
                                  large_values_move_and_retire,
                                  atomic,
                                  ranges_in_order,
                                  ranges_retire_large_values};
    return fixture_run_engines("batch", tests, sizeof tests / sizeof tests[0]);
}
