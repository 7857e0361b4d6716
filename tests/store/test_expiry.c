/* Entries that expire: who finds them until when, what stays hidden, what is given back. The time is the test's. */
#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "tests/harness/statistic.h"
#include "tests/harness/store_fixture.h"

#include "base/banned.h"

enum { NOW = 1000, LARGE = 400 << 10, PIECES = 4 };

static const char *const sets[] = {
    FIXTURE_OPTIONS,
    FIXTURE_OPTIONS ",index=classic",
    FIXTURE_OPTIONS ",index=traditional,policy=tiered",
    FIXTURE_OPTIONS ",separate_above=2,separate_garbage=0.2,validation_rate=0.5",
    FIXTURE_OPTIONS ",compression=lz4,cache_size=0",
};
enum { SETS = sizeof sets / sizeof *sets }; /* of the tree; the numbers behind them are other engines */

static struct env *env;
static plsm *db;
static const char *options;

static void start(const char *with)
{
    options = with;
    env = env_memory_create(1);
    env_memory_set_wall_s(env, NOW);
    db = fixture_open(env, PLSM_CREATE, options);
}

/* The options of a number. */
static const char *set_of(int number)
{
    fixture_engine = &test_engines[number < SETS ? 0 : number - SETS + 1];
    return number < SETS ? sets[number] : fixture_engine->options;
}

static void stop(void)
{
    fixture_check(db);
    assert_ok(plsm_close(db));
    env_memory_destroy(env);
}

static void reopen(void)
{
    assert_ok(plsm_close(db));
    db = fixture_open(env, 0, options);
}

static void put(const char *key, const char *value, uint64_t expires_s)
{
    assert_ok(plsm_put_expiring(db, slice_of(key), slice_of(value), expires_s, PLSM_NONE));
}

static void compact(void)
{
    assert_ok(plsm_compact(db, slice(NULL, 0), slice(NULL, 0)));
}

static uint64_t expiry_of(const char *key)
{
    plsm_value value = {0};
    plsm_pin pin;
    assert_ok(plsm_get(db, NULL, slice_of(key), &value));
    assert_ok(plsm_get_pinned(db, NULL, slice_of(key), &pin));
    uint64_t expires_s = value.expires_s;
    ck_assert_uint_eq(pin.expires_s, expires_s);
    plsm_pin_release(db, &pin);
    plsm_value_free(&value);
    return expires_s;
}

/* Whether every way of reading finds a key, or none does. */
static void expect_everywhere(const plsm_snapshot *snapshot, const char *key, bool there)
{
    plsm_read_options read = {.snapshot = snapshot};
    plsm_status expected = there ? PLSM_OK : PLSM_NOT_FOUND, status = PLSM_OK;
    plsm_slice name = slice_of(key);
    plsm_value value = {0};
    plsm_iterator *it = NULL;
    plsm_pin pin;
    uint8_t byte;
    size_t got;
    bool has;
    assert_status(plsm_get(db, &read, name, &value), expected);
    assert_status(plsm_get_pinned(db, &read, name, &pin), expected);
    plsm_pin_release(db, &pin);
    assert_ok(plsm_multi_get(db, &read, &name, 1, &value, &status));
    ck_assert_int_eq(status, expected);
    assert_status(plsm_read(db, &read, name, 0, &byte, 1, &got), expected);
    assert_ok(plsm_has_prefix(db, &read, name, &has));
    ck_assert_int_eq(has, there);
    assert_ok(plsm_iterator_create(db, &read, slice(NULL, 0), slice(NULL, 0), &it));
    plsm_iterator_seek(it, name);
    ck_assert_int_eq(plsm_iterator_valid(it) && slice_equal(plsm_iterator_key(it), name), there);
    bool met = false;
    for (plsm_iterator_last(it); plsm_iterator_valid(it); plsm_iterator_previous(it))
        met |= slice_equal(plsm_iterator_key(it), name);
    ck_assert_int_eq(met, there);
    plsm_iterator_destroy(it);
    plsm_value_free(&value);
}

/* Where the entries are: in memory, in runs, compacted, and opened again. */
static void move_down(unsigned stage)
{
    if (stage == 1)
        assert_ok(plsm_flush(db));
    if (stage == 2)
        compact();
    if (stage == 3)
        reopen();
}

START_TEST(found_until_its_second)
{
    start(set_of(_i));
    for (unsigned stage = 0; stage < 4; stage++) {
        uint64_t now_s = NOW + 100 * stage;
        env_memory_set_wall_s(env, now_s);
        fixture_put(db, "before", "stays");
        fixture_put(db, "key", "older");
        assert_ok(plsm_flush(db));
        put("key", "newer", now_s + 10);
        plsm_snapshot *snapshot = stage < 3 ? plsm_snapshot_create(db) : NULL;
        move_down(stage);
        ck_assert_uint_eq(expiry_of("key"), now_s + 10);
        env_memory_set_wall_s(env, now_s + 9);
        expect_everywhere(NULL, "key", true);
        expect_everywhere(snapshot, "key", true);
        env_memory_set_wall_s(env, now_s + 10);
        expect_everywhere(NULL, "key", false);
        expect_everywhere(snapshot, "key", false); /* it keeps what was written, not the time */
        compact();
        expect_everywhere(NULL, "key", false); /* nor does what was below come up */
        expect_everywhere(snapshot, "key", false);
        env_memory_set_wall_s(env, now_s + 5); /* the clock is set back: "older" is hidden still */
        plsm_value found = {0};
        plsm_status status = plsm_get(db, NULL, slice_of("key"), &found);
        if (fixture_is_tree()) /* which removes all that it compacts */
            assert_status(status, PLSM_NOT_FOUND);
        ck_assert(status == PLSM_NOT_FOUND || slice_equal(found.value, slice_of("newer")));
        plsm_value_free(&found);
        fixture_expect(db, "before", "stays");
        plsm_snapshot_destroy(db, snapshot);
    }
    if (fixture_is_tree())
        ck_assert_double_gt(statistic(db->tree, "lsm.expired"), 0);
    stop();
}
END_TEST

/* Also while what has expired since is removed, from files that are done and from the one that is written; and in a
 * snapshot that is older than the iterator. */
START_TEST(scans_go_by_their_beginning)
{
    enum { EARLY, EARLY_OF_SNAPSHOT, LATE, ITERATORS };
    plsm_iterator *its[ITERATORS];
    start(set_of(_i));
    put("a", "1", NOW + 5);
    put("b", "2", 0);
    assert_ok(plsm_flush(db));
    put("c", "3", NOW + 5);
    plsm_snapshot *snapshot = plsm_snapshot_create(db);
    plsm_read_options read = {.snapshot = snapshot};
    assert_ok(plsm_iterator_create(db, NULL, slice(NULL, 0), slice(NULL, 0), &its[EARLY]));
    assert_ok(plsm_iterator_create(db, &read, slice(NULL, 0), slice(NULL, 0), &its[EARLY_OF_SNAPSHOT]));
    env_memory_set_wall_s(env, NOW + 6);
    assert_ok(plsm_iterator_create(db, &read, slice(NULL, 0), slice(NULL, 0), &its[LATE]));
    for (unsigned round = 0; round < 2; round++) { /* the second one has what the first may have left */
        assert_ok(plsm_flush(db));
        compact();
        for (unsigned i = 0; i < ITERATORS; i++) {
            unsigned count = 0;
            for (plsm_iterator_first(its[i]); plsm_iterator_valid(its[i]); plsm_iterator_next(its[i]))
                count++;
            assert_ok(plsm_iterator_status(its[i]));
            ck_assert_uint_eq(count, i == LATE ? 1 : 3);
        }
    }
    for (unsigned i = 0; i < ITERATORS; i++)
        plsm_iterator_destroy(its[i]);
    plsm_snapshot_destroy(db, snapshot);
    compact();
    plsm_iterator *it = NULL;
    assert_ok(plsm_iterator_create(db, NULL, slice(NULL, 0), slice(NULL, 0), &it));
    plsm_iterator_first(it);
    ck_assert(plsm_iterator_valid(it) && slice_equal(plsm_iterator_key(it), slice_of("b")));
    plsm_iterator_destroy(it);
    stop();
}
END_TEST

static plsm_status set_meta(const char *key)
{
    plsm_batch *batch = plsm_batch_create();
    assert_ok(plsm_batch_set_meta(batch, slice_of(key), slice_of("m")));
    plsm_status status = plsm_write(db, batch, PLSM_NONE);
    plsm_batch_destroy(batch);
    return status;
}

static plsm_status move(const char *from, const char *to)
{
    plsm_batch *batch = plsm_batch_create();
    assert_ok(plsm_batch_move(batch, slice_of(from), slice_of(to)));
    plsm_status status = plsm_write(db, batch, PLSM_NONE);
    plsm_batch_destroy(batch);
    return status;
}

/* Moves and changes of meta keep the time, every other write decides it anew. */
START_TEST(writes)
{
    plsm_edit *edit = NULL;
    start(set_of(_i));
    put("key", "value", NOW + 10);
    assert_ok(set_meta("key"));
    ck_assert_uint_eq(expiry_of("key"), NOW + 10);
    assert_ok(move("key", "other"));
    ck_assert_uint_eq(expiry_of("other"), NOW + 10);
    fixture_expect(db, "key", NULL);
    fixture_put(db, "key", "again");
    ck_assert_uint_eq(expiry_of("key"), 0);
    assert_ok(plsm_edit_open(db, slice_of("other"), 0, &edit));
    env_memory_set_wall_s(env, NOW + 10);
    assert_status(set_meta("other"), PLSM_CONFLICT);
    assert_status(move("other", "third"), PLSM_CONFLICT);
    plsm_edit *late = NULL;
    assert_status(plsm_edit_open(db, slice_of("other"), 0, &late), PLSM_NOT_FOUND);
    plsm_batch *batch = plsm_batch_create();
    assert_ok(plsm_batch_if_equal(batch, PLSM_NAMES, slice_of("other"), slice_of("value")));
    assert_status(plsm_write(db, batch, PLSM_NONE), PLSM_CONFLICT);
    plsm_batch_clear(batch);
    assert_ok(plsm_batch_if_absent(batch, PLSM_NAMES, slice_of("other")));
    assert_ok(plsm_batch_put_expiring(batch, slice_of("now"), slice(NULL, 0), slice_of("x"), NOW + 10));
    assert_ok(plsm_batch_move(batch, slice_of("key"), slice_of("third")));
    assert_ok(plsm_write(db, batch, PLSM_NONE));
    fixture_expect(db, "now", NULL); /* its time had come when it was put */
    assert_ok(plsm_batch_move(batch, slice_of("third"), slice_of("fourth")));
    plsm_batch_clear(batch);
    assert_ok(plsm_batch_put_expiring(batch, slice_of("now"), slice(NULL, 0), slice_of("x"), NOW + 10));
    assert_ok(plsm_batch_move(batch, slice_of("now"), slice_of("fourth")));
    assert_status(plsm_write(db, batch, PLSM_NONE), PLSM_CONFLICT); /* in a batch, too */
    plsm_batch_destroy(batch);
    /* The edit keeps its content, and what it commits is a new value. */
    assert_ok(plsm_edit_write(edit, 5, "!", 1));
    assert_ok(plsm_edit_commit(edit, slice(NULL, 0), PLSM_NONE));
    fixture_expect(db, "other", "value!");
    ck_assert_uint_eq(expiry_of("other"), 0);
    plsm_edit_set_expires(edit, NOW + 20);
    assert_ok(plsm_edit_commit(edit, slice(NULL, 0), PLSM_NONE));
    ck_assert_uint_eq(expiry_of("other"), NOW + 20);
    plsm_edit_close(edit);
    stop();
}
END_TEST

START_TEST(option_ttl)
{
    char text[400];
    plsm_bulk *bulk = NULL;
    plsm_edit *edit = NULL;
    snprintf(text, sizeof text, "%s,ttl=60", set_of(_i));
    start(text);
    fixture_put(db, "put", "1");
    put("own", "1", NOW + 5);
    put("never", "1", 0);
    fixture_put(db, "directory/", "");
    plsm_batch *batch = plsm_batch_create();
    assert_ok(plsm_batch_put(batch, PLSM_NAMES, slice_of("batch"), slice_of("m"), slice_of("1")));
    assert_ok(plsm_batch_put(batch, PLSM_NAMES, slice_of("batch/"), slice_of("m"), slice_of("")));
    assert_ok(plsm_batch_put(batch, PLSM_INODES, slice_of("inode"), slice_of("m"), slice_of("1")));
    assert_ok(plsm_batch_put_expiring(batch, slice_of("timed"), slice_of("m"), slice_of("1"), 0));
    assert_ok(plsm_write(db, batch, PLSM_NONE));
    plsm_batch_destroy(batch);
    assert_ok(plsm_edit_open(db, slice_of("edit"), PLSM_EDIT_NEW, &edit));
    assert_ok(plsm_edit_write(edit, 0, "1", 1));
    assert_ok(plsm_edit_commit(edit, slice(NULL, 0), PLSM_NONE));
    plsm_edit_close(edit);
    if (fixture_is_tree()) {
        assert_ok(plsm_bulk_create(db, &bulk));
        assert_ok(plsm_bulk_put(bulk, PLSM_NAMES, slice_of("bulk"), slice(NULL, 0), slice_of("1")));
        assert_ok(plsm_bulk_put(bulk, PLSM_NAMES, slice_of("bulk/"), slice(NULL, 0), slice_of("1")));
        assert_ok(plsm_bulk_put_expiring(bulk, slice_of("bulk2"), slice(NULL, 0), slice_of("1"), NOW + 7));
        assert_ok(plsm_bulk_finish(bulk));
        plsm_bulk_destroy(bulk);
    }
    static const struct {
        const char *key;
        uint64_t expires_s;
    } expected[] = {{"put", NOW + 60},   {"own", NOW + 5}, {"never", 0},      {"directory/", 0},
                    {"batch", NOW + 60}, {"batch/", 0},    {"timed", 0},      {"edit", NOW + 60},
                    {"bulk", NOW + 60},  {"bulk/", 0},     {"bulk2", NOW + 7}};
    enum { EXPECTED = sizeof expected / sizeof *expected, BULK = 3 /* the last ones */ };
    for (size_t i = 0; i < (fixture_is_tree() ? EXPECTED : EXPECTED - BULK); i++)
        ck_assert_uint_eq(expiry_of(expected[i].key), expected[i].expires_s);
    plsm_read_options inodes = {.keyspace = PLSM_INODES};
    plsm_value value = {0};
    assert_ok(plsm_get(db, &inodes, slice_of("inode"), &value));
    ck_assert_uint_eq(value.expires_s, 0);
    plsm_value_free(&value);
    stop();
}
END_TEST

/* A run of which half has expired is compacted for that, wherever it is, and nothing else need be written. */
START_TEST(trigger)
{
    char key[32];
    start(set_of(_i));
    for (unsigned i = 0; i < 300; i++) {
        snprintf(key, sizeof key, "key%04u", i);
        put(key, "some value of some bytes", i % 3 ? NOW + 10 + i % 2 : 0);
    }
    compact();
    ck_assert_double_eq(statistic(db->tree, "lsm.expiring"), 200);
    env_memory_set_wall_s(env, NOW + 10);
    fixture_put(db, "zz", "1"); /* another keyspace's end: background=0 compacts behind a flush */
    assert_ok(plsm_flush(db));
    ck_assert_double_eq(statistic(db->tree, "lsm.expired"), 0); /* a third only */
    env_memory_set_wall_s(env, NOW + 11);
    fixture_put(db, "zz", "2");
    assert_ok(plsm_flush(db));
    ck_assert_double_eq(statistic(db->tree, "lsm.expired"), 200);
    ck_assert_double_eq(statistic(db->tree, "lsm.expiring"), 0);
    fixture_expect(db, "key0001", NULL);
    fixture_expect(db, "key0003", "some value of some bytes");
    ck_assert_uint_eq(fixture_count(db, PLSM_NAMES), 101);
    stop();
}
END_TEST

/* --- large values ------------------------------------------------------------------------------------------------- */

static void put_large(const char *key, uint64_t expires_s)
{
    uint8_t *data = mem_alloc(LARGE);
    fixture_fill(data, LARGE, 5);
    assert_ok(plsm_put_expiring(db, slice_of(key), slice(data, LARGE), expires_s, PLSM_NONE));
    mem_free(data);
}

static void expect_extents(uint64_t pieces, uint64_t notes)
{
    fixture_check(db);
    ck_assert_uint_eq(fixture_count(db, PLSM_EXTENTS), pieces);
    ck_assert_uint_eq(fixture_markers(db), notes);
}

START_TEST(large_values)
{
    start(set_of(_i));
    put_large("large", NOW + 10);
    ck_assert_uint_eq(expiry_of("large"), NOW + 10);
    put_large("kept", 0);
    expect_extents(2 * PIECES, 1);
    compact();
    env_memory_set_wall_s(env, NOW + 10);
    expect_everywhere(NULL, "large", false);
    expect_everywhere(NULL, "kept", true);
    expect_extents(2 * PIECES, 1); /* nobody wrote */
    fixture_put(db, "any", "1");
    expect_extents(PIECES, 0);
    ck_assert_uint_eq(atomic_load(&db->counters.expired), 1);
    put_large("large", NOW + 20);
    assert_ok(move("large", "moved"));
    assert_ok(set_meta("moved"));
    ck_assert_uint_eq(expiry_of("moved"), NOW + 20);
    env_memory_set_wall_s(env, NOW + 20);
    reopen(); /* does it, too */
    expect_everywhere(NULL, "moved", false);
    expect_extents(PIECES, 0);
    stop();
}
END_TEST

/* Whatever overwrites a large value that has expired and is not deleted yet gives its extents back. */
START_TEST(large_replaced)
{
    plsm_bulk *bulk = NULL;
    plsm_edit *edit = NULL;
    start(set_of(_i));
    for (unsigned way = 0; way < 6; way++) {
        if (way == 3 && !fixture_is_tree())
            continue;
        uint64_t now_s = NOW + 100 * way;
        env_memory_set_wall_s(env, now_s);
        put_large("large", now_s + 10);
        if (way == 4)
            assert_ok(plsm_edit_open(db, slice_of("large"), 0, &edit));
        env_memory_set_wall_s(env, now_s + 10);
        atomic_store(&db->next_expiry_s, UINT64_MAX); /* as if it expired behind the look, in front of the write */
        if (way == 0)
            fixture_put(db, "large", "small");
        if (way == 1)
            assert_ok(plsm_delete(db, slice_of("large"), PLSM_NONE));
        if (way == 2)
            assert_ok(plsm_delete_range(db, slice_of("l"), slice_of("m"), PLSM_NONE));
        if (way == 3) {
            assert_ok(plsm_bulk_create(db, &bulk));
            assert_ok(plsm_bulk_put(bulk, PLSM_NAMES, slice_of("large"), slice(NULL, 0), slice_of("1")));
            assert_ok(plsm_bulk_finish(bulk));
            plsm_bulk_destroy(bulk);
        }
        if (way == 4) { /* in place, and for ever from now on */
            assert_ok(plsm_edit_write(edit, 0, "!", 1));
            assert_ok(plsm_edit_commit(edit, slice(NULL, 0), PLSM_NONE));
            plsm_edit_close(edit);
            ck_assert_uint_eq(expiry_of("large"), 0);
            expect_extents(PIECES, 1); /* a note that is believed no more */
            assert_ok(plsm_delete(db, slice_of("large"), PLSM_NONE));
        }
        if (way == 5)
            put_large("large", now_s + 10); /* and what is put has expired at once */
        expect_extents(way == 5 ? PIECES : 0, way == 5 ? 2 : 1);
        reopen();
        expect_extents(0, 0);
        if (way > 0 && way != 3)
            fixture_expect(db, "large", NULL);
    }
    stop();
}
END_TEST

/* Writes a note, or deletes it, as no store does it. */
static void write_note(enum batch_kind kind, uint64_t expires_s, uint64_t id, plsm_slice name)
{
    uint8_t key[7 + 16] = {INTERNAL_PREFIX, 'e', 'x', 'p', 'i', 'r', 'e'};
    struct batch batch = {0};
    put_be64(key + 7, expires_s);
    put_be64(key + 15, id);
    assert_ok(batch_add(&batch, kind, PLSM_INTERNAL, slice(key, sizeof key), slice(NULL, 0), name));
    assert_ok(db->engine->write(db->tree, &batch, NULL, NULL, PLSM_NONE));
    batch_free(&batch);
}

static void note_line(void *arg, const char *line)
{
    *(bool *)arg |= strcmp(line, "200 notes of values that expire are damaged") == 0;
}

/* Notes that are damaged, more of them than one batch of deletions takes: the store opens, what other notes speak of
 * goes, and the check tells. */
START_TEST(damaged_notes)
{
    enum { DAMAGED = 200 };
    bool told = false;
    start(set_of(_i));
    for (unsigned i = 0; i < DAMAGED; i++)
        write_note(BATCH_PUT, NOW + 5, 1000 + i, slice(NULL, 0));
    put_large("large", NOW + 10);
    compact();
    env_memory_set_wall_s(env, NOW + 10);
    reopen();
    ck_assert_uint_eq(fixture_count(db, PLSM_EXTENTS), 0);
    ck_assert_uint_eq(atomic_load(&db->next_expiry_s), NOW + 70); /* and are tried again then */
    assert_status(plsm_check(db, note_line, NULL, &told), PLSM_CORRUPT);
    ck_assert(told);
    put_large("larger", NOW + 20);
    env_memory_set_wall_s(env, NOW + 20);
    fixture_put(db, "any", "1");
    ck_assert_uint_eq(fixture_count(db, PLSM_EXTENTS), 0);
    for (unsigned i = 0; i < DAMAGED; i++)
        write_note(BATCH_DELETE, NOW + 5, 1000 + i, slice(NULL, 0));
    stop();
}
END_TEST

/* A value that several names share lives for ever, whatever it was before. */
START_TEST(shared_values)
{
    static const char *const keys[] = {"small", "large"};
    start(set_of(_i));
    put("small", "1", NOW + 10);
    put_large("large", NOW + 10);
    for (size_t i = 0; i < 2; i++) {
        char other[16];
        uint64_t id = 0;
        plsm_batch *batch = plsm_batch_create();
        snprintf(other, sizeof other, "%s2", keys[i]);
        assert_ok(plsm_new_id(db, &id));
        assert_ok(plsm_batch_share(batch, slice_of(keys[i]), id));
        assert_ok(plsm_batch_link(batch, id, slice_of(other), slice(NULL, 0)));
        assert_ok(plsm_write(db, batch, PLSM_NONE));
        plsm_batch_destroy(batch);
        ck_assert_uint_eq(expiry_of(keys[i]), 0);
    }
    env_memory_set_wall_s(env, NOW + 10);
    expect_extents(PIECES, 1);
    reopen();
    for (size_t i = 0; i < 2; i++)
        expect_everywhere(NULL, keys[i], true);
    expect_extents(PIECES, 0);
    stop();
}
END_TEST

/* By the option ttl either: also when the edit was opened by the identifier, and has no key to go by. */
START_TEST(shared_edited)
{
    plsm_batch *batch = plsm_batch_create();
    plsm_edit *edit = NULL;
    uint64_t id = 0;
    char text[400];
    snprintf(text, sizeof text, "%s,ttl=10", set_of(_i));
    start(text);
    assert_ok(plsm_put(db, slice_of("a"), slice_of("1"), PLSM_NONE));
    assert_ok(plsm_new_id(db, &id));
    assert_ok(plsm_batch_share(batch, slice_of("a"), id));
    assert_ok(plsm_write(db, batch, PLSM_NONE));
    plsm_batch_destroy(batch);
    for (size_t size = 2; size <= LARGE; size += LARGE - 2) { /* small, then large */
        assert_ok(plsm_edit_open_shared(db, id, 0, &edit));
        assert_ok(plsm_edit_write(edit, size - 1, "z", 1));
        assert_ok(plsm_edit_commit(edit, slice(NULL, 0), PLSM_NONE));
        plsm_edit_close(edit);
        ck_assert_uint_eq(expiry_of("a"), 0);
    }
    env_memory_set_wall_s(env, NOW + 20);
    expect_everywhere(NULL, "a", true);
    stop();
}
END_TEST

/* An edit of a value that expires and is deleted meanwhile. */
START_TEST(large_edited)
{
    plsm_edit *edit = NULL;
    uint8_t byte = 0, first = 0;
    size_t got = 0;
    start(set_of(_i));
    put_large("large", NOW + 10);
    fixture_fill(&first, 1, 5);
    assert_ok(plsm_edit_open(db, slice_of("large"), 0, &edit));
    assert_ok(plsm_edit_write(edit, LARGE - 1, "!", 1));
    env_memory_set_wall_s(env, NOW + 10);
    fixture_put(db, "any", "1");
    fixture_expect(db, "large", NULL);
    assert_ok(plsm_edit_read(edit, 0, &byte, 1, &got));
    ck_assert(got == 1 && byte == first);
    assert_ok(plsm_edit_commit(edit, slice(NULL, 0), PLSM_NONE));
    plsm_edit_close(edit);
    assert_ok(plsm_read(db, NULL, slice_of("large"), LARGE - 1, &byte, 1, &got));
    ck_assert(got == 1 && byte == '!');
    expect_extents(PIECES, 0);
    stop();
}
END_TEST

/* Many at once: more than one batch of deletions. */
START_TEST(large_many)
{
    char key[32];
    start(set_of(_i));
    for (unsigned i = 0; i < 70; i++) {
        snprintf(key, sizeof key, "large%02u", i);
        plsm_edit *edit = NULL; /* holes take no space */
        assert_ok(plsm_edit_open(db, slice_of(key), PLSM_EDIT_NEW, &edit));
        assert_ok(plsm_edit_truncate(edit, LARGE));
        assert_ok(plsm_edit_write(edit, 0, "1", 1));
        plsm_edit_set_expires(edit, NOW + 10 + i % 2);
        assert_ok(plsm_edit_commit(edit, slice(NULL, 0), PLSM_NONE));
        plsm_edit_close(edit);
    }
    expect_extents(70, 70);
    env_memory_set_wall_s(env, NOW + 10);
    assert_ok(plsm_flush(db));
    expect_extents(35, 35);
    env_memory_set_wall_s(env, NOW + 11);
    compact();
    expect_extents(0, 0);
    stop();
}
END_TEST

/* A run of another store brings its times along. */
START_TEST(ingested)
{
    plsm_bulk *bulk = NULL;
    start(set_of(0));
    assert_ok(plsm_bulk_create(db, &bulk));
    assert_ok(plsm_bulk_put_expiring(bulk, slice_of("a"), slice(NULL, 0), slice_of("1"), NOW + 10));
    assert_ok(plsm_bulk_put(bulk, PLSM_NAMES, slice_of("b"), slice(NULL, 0), slice_of("1")));
    assert_ok(plsm_bulk_finish(bulk));
    plsm_bulk_destroy(bulk);
    plsm *other = NULL;
    assert_ok(plsm_close(db));
    assert_ok(plsm_open_env(env, "/t", PLSM_CREATE, FIXTURE_OPTIONS, &other));
    assert_ok(plsm_bulk_create(other, &bulk));
    char path[64];
    plsm_status status = PLSM_NOT_FOUND;
    for (unsigned number = 1; number < 20 && status == PLSM_NOT_FOUND; number++) {
        snprintf(path, sizeof path, "/s/run-%08u", number);
        status = plsm_bulk_add_file(bulk, path);
    }
    assert_ok(status);
    assert_ok(plsm_bulk_finish(bulk));
    plsm_bulk_destroy(bulk);
    db = other;
    ck_assert_uint_eq(expiry_of("a"), NOW + 10);
    ck_assert_double_eq(statistic(db->tree, "lsm.expiring"), 1);
    env_memory_set_wall_s(env, NOW + 10);
    fixture_expect(db, "a", NULL);
    fixture_expect(db, "b", "1");
    stop();
}
END_TEST

/* A reader beside the writer judges by its own look at the clock. */
START_TEST(read_only)
{
    plsm *reader = NULL;
    start(set_of(_i));
    put("a", "1", NOW + 10);
    put_large("large", NOW + 10);
    assert_ok(plsm_sync(db));
    assert_ok(plsm_open_env(env, "/s", PLSM_READ, options, &reader));
    fixture_expect(reader, "a", "1");
    env_memory_set_wall_s(env, NOW + 10);
    fixture_expect(reader, "a", NULL);
    fixture_expect(reader, "large", NULL);
    fixture_check(reader);
    assert_ok(plsm_close(reader));
    stop();
}
END_TEST

int main(void)
{
    const TTest *const loops[] = {found_until_its_second,
                                  scans_go_by_their_beginning,
                                  writes,
                                  option_ttl,
                                  large_values,
                                  large_replaced,
                                  damaged_notes,
                                  shared_values,
                                  large_edited,
                                  large_many,
                                  shared_edited,
                                  read_only};
    Suite *suite = suite_create("expiry");
    TCase *tcase = tcase_create("expiry");
    tcase_set_timeout(tcase, 120);
    for (size_t i = 0; i < sizeof loops / sizeof *loops; i++)
        tcase_add_loop_test(tcase, loops[i], 0, SETS + (int)TEST_ENGINES - 1);
    tcase_add_loop_test(tcase, trigger, 0, SETS);
    tcase_add_test(tcase, ingested);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_set_fork_status(runner, CK_NOFORK);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
