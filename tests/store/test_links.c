/* Values that several names share: what reads, batches, edits, bulk loads and plsm_check make of them. */
#include "../harness/store_fixture.h"

#include "base/alloc.h"
#include "base/bytes.h"
#include "store/shared.h"

#include "base/banned.h"

enum { LARGE = 300000 };

static const plsm_slice none;
static struct env *env;
static plsm *db;
static uint64_t id;

static void start(void)
{
    env = env_memory_create(1);
    db = fixture_open(env, PLSM_CREATE, NULL);
    assert_ok(plsm_new_id(db, &id));
}

static void stop(void)
{
    fixture_check(db);
    assert_ok(plsm_close(db));
    env_memory_destroy(env);
}

static void reopen(void)
{
    fixture_check(db);
    assert_ok(plsm_close(db));
    db = fixture_open(env, 0, NULL);
}

/* Shares `from` (unless it is NULL) under `shared` and links `to` to it. */
static plsm_status link_as(uint64_t shared, const char *from, const char *to, const char *meta)
{
    plsm_batch *batch = plsm_batch_create();
    if (from)
        assert_ok(plsm_batch_share(batch, slice_of(from), shared));
    assert_ok(plsm_batch_link(batch, shared, slice_of(to), slice_of(meta)));
    plsm_status status = plsm_write(db, batch, PLSM_NONE);
    plsm_batch_destroy(batch);
    return status;
}

static void put(const char *key, const char *value)
{
    assert_ok(plsm_put(db, slice_of(key), slice_of(value), PLSM_NONE));
}

static void put_large(const char *key, uint64_t seed)
{
    uint8_t *data = mem_alloc(LARGE);
    fixture_fill(data, LARGE, seed);
    assert_ok(plsm_put(db, slice_of(key), slice(data, LARGE), PLSM_NONE));
    mem_free(data);
}

static void assert_large(const char *key, uint64_t seed, size_t size)
{
    uint8_t *data = mem_alloc(LARGE);
    size_t got = 0;
    fixture_fill(data, LARGE, seed);
    uint8_t *found = fixture_read(db, NULL, key, &got);
    ck_assert_uint_eq(got, size);
    ck_assert_mem_eq(found, data, size < LARGE ? size : LARGE);
    mem_free(found);
    mem_free(data);
}

/* What each way to read a key gives. `names` 0: there is no such key. */
static void assert_key(const char *key, const char *value, const char *meta, uint32_t names)
{
    plsm_value all[3] = {0};
    plsm_status statuses[3];
    plsm_slice keys[3] = {slice_of("no such key"), slice_of(key), slice_of(key)};
    plsm_read_options no_value = {.no_value = true};
    plsm_pin pin;
    char part[100];
    size_t got = 0;
    plsm_status expected = names ? PLSM_OK : PLSM_NOT_FOUND;
    assert_ok(plsm_multi_get(db, NULL, keys, 3, all, statuses));
    assert_status(statuses[0], PLSM_NOT_FOUND);
    for (int i = 0; i < 3; i++) {
        if (i == 0)
            assert_status(plsm_get(db, NULL, slice_of(key), &all[0]), expected);
        else
            assert_status(statuses[i], expected);
        if (!names)
            continue;
        ck_assert(slice_equal(all[i].value, slice_of(value)));
        ck_assert(slice_equal(all[i].meta, slice_of(meta)));
        ck_assert_uint_eq(all[i].names, names);
        ck_assert_uint_eq(all[i].size, strlen(value));
    }
    assert_status(plsm_get(db, &no_value, slice_of(key), &all[0]), expected);
    assert_status(plsm_get_pinned(db, NULL, slice_of(key), &pin), expected);
    if (names) {
        ck_assert_uint_eq(all[0].size, strlen(value));
        ck_assert(slice_equal(pin.value, slice_of(value)) && slice_equal(pin.meta, slice_of(meta)));
        plsm_pin_release(db, &pin);
        assert_ok(plsm_read(db, NULL, slice_of(key), 1, part, sizeof part, &got));
        ck_assert(slice_equal(slice(part, got), slice_of(value + 1)));
    }
    for (int i = 0; i < 3; i++)
        plsm_value_free(&all[i]);
}

START_TEST(every_way_to_read)
{
    start();
    put("a", "content");
    assert_key("a", "content", "", 1);
    assert_ok(link_as(id, "a", "dir/b", "meta"));
    for (int round = 0; round < 3; round++) {
        assert_key("a", "content", "meta", 2);
        assert_key("dir/b", "content", "meta", 2);
        for (int no_value = 0; no_value < 2; no_value++) {
            plsm_read_options options = {.no_value = no_value};
            plsm_iterator *it = NULL;
            int seen = 0;
            assert_ok(plsm_iterator_create(db, &options, none, none, &it));
            for (plsm_iterator_first(it); plsm_iterator_valid(it); plsm_iterator_next(it), seen++) {
                ck_assert_uint_eq(plsm_iterator_size(it), 7);
                ck_assert_uint_eq(plsm_iterator_names(it), 2);
                ck_assert_uint_eq(plsm_iterator_shared(it), id);
                ck_assert(slice_equal(plsm_iterator_meta(it), slice_of("meta")));
                ck_assert(slice_equal(plsm_iterator_value(it), no_value ? none : slice_of("content")));
            }
            assert_ok(plsm_iterator_status(it));
            ck_assert_int_eq(seen, 2);
            plsm_iterator_destroy(it);
        }
        if (round == 0)
            assert_ok(plsm_flush(db));
        else
            reopen();
    }
    stop();
}
END_TEST

START_TEST(a_name_is_taken_away)
{
    start();
    put("a", "1");
    assert_ok(link_as(id, "a", "b", "m"));
    assert_ok(link_as(id, NULL, "c", "m"));
    assert_ok(link_as(id, NULL, "d", "n"));
    assert_key("a", "1", "n", 4);
    put("a", "2"); /* a value of its own */
    assert_key("a", "2", "", 1);
    assert_key("b", "1", "n", 3);
    assert_ok(plsm_delete(db, slice_of("b"), PLSM_NONE));
    assert_key("b", "", "", 0);
    assert_key("c", "1", "n", 2);
    plsm_batch *batch = plsm_batch_create();
    assert_ok(plsm_batch_move(batch, slice_of("a"), slice_of("c"))); /* over a link */
    assert_ok(plsm_batch_move(batch, slice_of("d"), slice_of("e"))); /* of a link */
    assert_ok(plsm_write(db, batch, PLSM_NONE));
    assert_key("c", "2", "", 1);
    assert_key("e", "1", "n", 1);
    ck_assert_uint_eq(fixture_count(db, PLSM_INODES), 1);
    assert_ok(link_as(id, NULL, "f", "o"));
    plsm_batch_clear(batch);
    assert_ok(plsm_batch_set_meta(batch, slice_of("f"), slice_of("p"))); /* of both */
    assert_ok(plsm_batch_move(batch, slice_of("f"), slice_of("g")));
    assert_ok(plsm_write(db, batch, PLSM_NONE));
    assert_key("e", "1", "p", 2);
    assert_key("f", "", "", 0);
    assert_key("g", "1", "p", 2);
    plsm_batch_clear(batch);
    assert_ok(plsm_batch_set_meta(batch, slice_of("g"), slice_of("q")));
    assert_ok(plsm_batch_move(batch, slice_of("g"), slice_of("e"))); /* over another of its names */
    assert_ok(plsm_write(db, batch, PLSM_NONE));
    plsm_batch_destroy(batch);
    assert_key("e", "1", "q", 1);
    assert_ok(link_as(id, NULL, "f", "o"));
    assert_ok(plsm_delete_range(db, slice_of("e"), slice_of("g"), PLSM_NONE));
    ck_assert_uint_eq(fixture_count(db, PLSM_INODES), 0);
    ck_assert_uint_eq(fixture_count(db, PLSM_NAMES), 1);
    assert_status(link_as(id, NULL, "f", "o"), PLSM_CONFLICT);
    stop();
}
END_TEST

START_TEST(within_one_batch)
{
    start();
    plsm_batch *batch = plsm_batch_create();
    assert_ok(plsm_batch_put(batch, PLSM_NAMES, slice_of("a"), slice_of("m"), slice_of("v")));
    assert_ok(plsm_batch_share(batch, slice_of("a"), id));
    assert_ok(plsm_batch_link(batch, id, slice_of("b"), slice_of("n")));
    assert_ok(plsm_batch_link(batch, id, slice_of("b"), slice_of("o"))); /* again: still two */
    assert_ok(plsm_batch_link(batch, id, slice_of("c"), slice_of("p")));
    assert_ok(plsm_batch_set_meta(batch, slice_of("b"), slice_of("q")));
    assert_ok(plsm_batch_delete(batch, PLSM_NAMES, slice_of("a")));
    assert_ok(plsm_write(db, batch, PLSM_NONE));
    assert_key("a", "", "", 0);
    assert_key("b", "v", "q", 2);
    assert_key("c", "v", "q", 2);
    plsm_batch_clear(batch);
    assert_ok(plsm_batch_link(batch, id, slice_of("d"), slice_of("r")));
    assert_ok(plsm_batch_delete_range(batch, PLSM_NAMES, slice_of("b"), slice_of("e"))); /* also what it has made */
    assert_ok(plsm_write(db, batch, PLSM_NONE));
    ck_assert_uint_eq(fixture_count(db, PLSM_NAMES), 0);
    ck_assert_uint_eq(fixture_count(db, PLSM_INODES), 0);
    plsm_batch_destroy(batch);
    stop();
}
END_TEST

START_TEST(refused)
{
    uint64_t other = 0;
    uint8_t long_meta[PLSM_META_MAX] = {0};
    start();
    assert_ok(plsm_new_id(db, &other));
    put("a", "v");
    put("b", "w");
    assert_status(link_as(id, "no such key", "c", ""), PLSM_CONFLICT);
    assert_ok(link_as(id, "a", "c", ""));
    assert_status(link_as(other, "a", "d", ""), PLSM_CONFLICT); /* has another identifier */
    assert_status(link_as(id, "b", "d", ""), PLSM_CONFLICT);    /* is the identifier of another value */
    plsm_batch *batch = plsm_batch_create();
    assert_status(plsm_batch_link(batch, 0, slice_of("d"), none), PLSM_INVALID);
    assert_status(plsm_batch_link(batch, id, slice_of("d"), slice(long_meta, PLSM_META_SHARED_MAX + 1)),
                  PLSM_TOO_LARGE);
    assert_ok(plsm_batch_link(batch, id, slice_of("d"), slice(long_meta, PLSM_META_SHARED_MAX)));
    assert_ok(plsm_write(db, batch, PLSM_NONE));
    plsm_batch_clear(batch);
    assert_ok(plsm_batch_set_meta(batch, slice_of("d"), slice(long_meta, PLSM_META_MAX)));
    assert_status(plsm_write(db, batch, PLSM_NONE), PLSM_TOO_LARGE);
    plsm_batch_clear(batch);
    assert_ok(plsm_batch_set_meta_shared(batch, other, slice_of("m")));
    assert_status(plsm_write(db, batch, PLSM_NONE), PLSM_CONFLICT);
    plsm_batch_clear(batch);
    assert_ok(plsm_batch_if_equal(batch, PLSM_NAMES, slice_of("c"), slice_of("v")));
    assert_ok(plsm_batch_set_meta_shared(batch, id, slice_of("m")));
    assert_ok(plsm_write(db, batch, PLSM_NONE));
    plsm_batch_destroy(batch);
    assert_key("a", "v", "m", 3);
    assert_key("b", "w", "", 1);
    stop();
}
END_TEST

static void commit(plsm_edit *edit, const char *meta)
{
    assert_ok(plsm_edit_commit(edit, slice_of(meta), PLSM_NONE));
}

START_TEST(edits_reach_all_names)
{
    plsm_edit *edit = NULL, *fresh = NULL;
    start();
    put("a", "0123456789");
    assert_ok(link_as(id, "a", "b", "m"));
    assert_ok(plsm_edit_open(db, slice_of("b"), 0, &edit));
    assert_ok(plsm_edit_write(edit, 3, "xyz", 3));
    commit(edit, "n");
    assert_key("a", "012xyz6789", "n", 2);
    assert_ok(plsm_delete(db, slice_of("b"), PLSM_NONE)); /* the edit is of the value, not of the key */
    assert_ok(plsm_edit_truncate(edit, 4));
    commit(edit, "o");
    assert_key("a", "012x", "o", 1);
    assert_key("b", "", "", 0);
    assert_ok(plsm_edit_open_shared(db, id, PLSM_EDIT_NEW, &fresh));
    assert_ok(plsm_edit_write(fresh, 0, "new", 3));
    commit(fresh, "p");
    assert_key("a", "new", "p", 1);
    plsm_edit_close(fresh);
    assert_ok(plsm_delete(db, slice_of("a"), PLSM_NONE));
    assert_status(plsm_edit_commit(edit, none, PLSM_NONE), PLSM_CONFLICT);
    plsm_edit_close(edit);
    assert_status(plsm_edit_open_shared(db, id, 0, &edit), PLSM_NOT_FOUND);
    stop();
}
END_TEST

START_TEST(large_values)
{
    plsm_edit *edit = NULL, *second = NULL;
    start();
    put_large("a", 1);
    assert_ok(plsm_edit_open(db, slice_of("a"), 0, &edit)); /* while it has one name */
    assert_ok(link_as(id, "a", "b", "m"));
    assert_large("b", 1, LARGE);
    plsm_edit_set_shared(edit, id);
    assert_ok(plsm_edit_write(edit, LARGE, "+", 1)); /* in place: both names still refer to the same extents */
    commit(edit, "n");
    ck_assert_uint_eq(atomic_load(&db->counters.copies), 0);
    assert_large("a", 1, LARGE + 1);
    assert_large("b", 1, LARGE + 1);
    assert_ok(plsm_edit_open(db, slice_of("b"), 0, &second)); /* the first has its extents: this one copies */
    assert_ok(plsm_edit_truncate(second, LARGE - 1));
    commit(second, "o");
    assert_large("a", 1, LARGE - 1);
    plsm_edit_close(second);
    plsm_edit_close(edit);
    reopen();
    put_large("b", 2); /* takes this name away */
    assert_large("a", 1, LARGE - 1);
    assert_large("b", 2, LARGE);
    assert_ok(plsm_edit_open(db, slice_of("a"), 0, &edit));
    assert_ok(plsm_edit_truncate(edit, 5)); /* small again */
    commit(edit, "p");
    assert_large("a", 1, 5);
    plsm_edit_close(edit);
    put_large("c", 3);
    assert_ok(plsm_new_id(db, &id));
    assert_ok(link_as(id, "c", "d", "m"));
    plsm_batch *batch = plsm_batch_create();
    assert_ok(plsm_batch_move(batch, slice_of("c"), slice_of("e")));
    assert_ok(plsm_batch_delete(batch, PLSM_NAMES, slice_of("d")));
    assert_ok(plsm_batch_delete(batch, PLSM_NAMES, slice_of("a")));
    assert_ok(plsm_write(db, batch, PLSM_NONE));
    plsm_batch_destroy(batch);
    assert_large("e", 3, LARGE);
    fixture_check(db);
    assert_ok(plsm_delete_range(db, none, none, PLSM_NONE));
    ck_assert_uint_eq(fixture_count(db, PLSM_EXTENTS), 0);
    ck_assert_uint_eq(fixture_count(db, PLSM_INODES), 0);
    ck_assert_uint_eq(fixture_markers(db), 0);
    stop();
}
END_TEST

/* An edit opened on a plain key that becomes shared meanwhile, and is not told: its commit is a put. */
START_TEST(commit_over_a_link)
{
    plsm_edit *small = NULL, *large = NULL;
    start();
    put("a", "small");
    put_large("b", 1);
    assert_ok(plsm_edit_open(db, slice_of("a"), 0, &small));
    assert_ok(plsm_edit_open(db, slice_of("b"), 0, &large));
    assert_ok(plsm_edit_write(large, 0, "?", 1));
    assert_ok(link_as(id, "a", "c", ""));
    assert_ok(plsm_new_id(db, &id));
    assert_ok(link_as(id, "b", "d", ""));
    assert_ok(plsm_edit_write(small, 0, "S", 1));
    commit(small, "m");
    commit(large, "m");
    assert_key("a", "Small", "m", 1);
    assert_key("c", "small", "", 1);
    assert_large("d", 1, LARGE);
    plsm_edit_close(small);
    plsm_edit_close(large);
    stop();
}
END_TEST

START_TEST(read_by_identifier)
{
    uint8_t *data = mem_alloc(LARGE), *part = mem_alloc(LARGE);
    size_t got = 0;
    fixture_fill(data, LARGE, 1);
    for (int large = 0; large < 2; large++) {
        size_t size = large ? LARGE : 10;
        start();
        assert_status(plsm_read_shared(db, NULL, id, 0, part, 1, &got), PLSM_NOT_FOUND);
        assert_ok(plsm_put(db, slice_of("a"), slice(data, size), PLSM_NONE));
        assert_ok(link_as(id, "a", "b", "m"));
        plsm_snapshot *snapshot = plsm_snapshot_create(db);
        plsm_read_options then = {.snapshot = snapshot};
        assert_ok(plsm_read_shared(db, NULL, id, 3, part, LARGE, &got));
        ck_assert_uint_eq(got, size - 3);
        ck_assert_mem_eq(part, data + 3, got);
        plsm_edit *edit = NULL;
        assert_ok(plsm_edit_open_shared(db, id, PLSM_EDIT_NEW, &edit));
        assert_ok(plsm_edit_write(edit, 0, "other", 5));
        assert_ok(plsm_edit_commit(edit, slice_of("m"), PLSM_NONE));
        plsm_edit_close(edit);
        assert_ok(plsm_read_shared(db, NULL, id, 0, part, LARGE, &got));
        ck_assert(slice_equal(slice(part, got), slice_of("other")));
        assert_ok(plsm_delete_range(db, none, none, PLSM_NONE));
        assert_ok(plsm_flush(db));
        assert_status(plsm_read_shared(db, NULL, id, 0, part, 1, &got), PLSM_NOT_FOUND);
        for (size_t at = 0; at <= size; at += size / 5) {
            assert_ok(plsm_read_shared(db, &then, id, at, part, LARGE, &got));
            ck_assert_uint_eq(got, size - at);
            ck_assert_mem_eq(part, data + at, got);
        }
        plsm_snapshot_destroy(db, snapshot);
        stop();
    }
    mem_free(part);
    mem_free(data);
}
END_TEST

START_TEST(bulk_load_over_links)
{
    plsm_bulk *bulk = NULL;
    start();
    if (!db->engine->bulk_create) {
        assert_status(plsm_bulk_create(db, &bulk), PLSM_UNSUPPORTED);
        stop();
        return;
    }
    put("a", "v");
    assert_ok(link_as(id, "a", "b", "m"));
    assert_ok(link_as(id, NULL, "c", "m"));
    assert_ok(plsm_bulk_create(db, &bulk));
    assert_ok(plsm_bulk_put(bulk, PLSM_NAMES, slice_of("a"), none, slice_of("1")));
    assert_ok(plsm_bulk_put(bulk, PLSM_NAMES, slice_of("b"), none, slice_of("2")));
    assert_ok(plsm_bulk_finish(bulk));
    plsm_bulk_destroy(bulk);
    assert_key("a", "1", "", 1);
    assert_key("c", "v", "m", 1);
    stop();
}
END_TEST

struct reports {
    int lines;
    char text[1000];
};

static void report(void *arg, const char *line)
{
    struct reports *reports = arg;
    reports->lines++;
    strncat(reports->text, line, sizeof reports->text - strlen(reports->text) - 1);
}

/* Writes what the public door would not, and expects plsm_check to find it. */
static void assert_found(enum batch_kind kind, plsm_keyspace keyspace, plsm_slice key, plsm_slice meta,
                         plsm_slice value, const char *expected)
{
    struct batch batch = {0};
    struct reports reports = {0};
    start();
    put("a", "v");
    id = UINT64_C(0x0102030405060708);
    assert_ok(link_as(id, "a", "b", "m"));
    assert_ok(batch_add(&batch, kind, (uint8_t)keyspace, key, meta, value));
    assert_ok(db->engine->write(db->tree, &batch, NULL, NULL, PLSM_NONE));
    batch_free(&batch);
    assert_status(plsm_check(db, report, NULL, &reports), PLSM_CORRUPT);
    ck_assert_msg(strstr(reports.text, expected), "\"%s\" instead of \"%s\"", reports.text, expected);
    assert_ok(plsm_close(db));
    env_memory_destroy(env);
}

START_TEST(check_finds)
{
    plsm_slice key = slice("\x01\x02\x03\x04\x05\x06\x07\x08\xff", 9), three = slice("\3\0\0\0m", 5);
    plsm_slice link = slice("\x08\x07\x06\x05\x04\x03\x02\x01", 8);
    plsm_slice wrong = slice("\x09\x07\x06\x05\x04\x03\x02\x01", 8);
    assert_found(BATCH_DELETE, PLSM_INODES, key, none, none, "which is missing");
    assert_found(BATCH_DELETE, PLSM_NAMES, slice_of("a"), none, none, "1 names link to it instead of 2");
    assert_found(BATCH_PUT, PLSM_INODES, key, three, slice_of("v"), "2 names link to it instead of 3");
    assert_found(BATCH_PUT, PLSM_INODES, key, slice("\2\0", 2), slice_of("v"), "damaged meta");
    assert_found(BATCH_REFERENCE, PLSM_NAMES, slice_of("c"), none, link, "3 names link to it instead of 2");
    assert_found(BATCH_REFERENCE, PLSM_NAMES, slice_of("c"), none, wrong, "which is missing");
}
END_TEST

/* A link without its value, or with a damaged one, is an error to those who read it, and no crash. */
START_TEST(damaged)
{
    struct batch batch = {0};
    plsm_value value = {0};
    plsm_iterator *it = NULL;
    plsm_pin pin;
    plsm_edit *edit = NULL;
    uint8_t key[SHARED_KEY_SIZE];
    start();
    put("a", "v");
    assert_ok(link_as(id, "a", "b", "m"));
    for (int round = 0; round < 2; round++) {
        plsm_slice whole = shared_key(key, id), own = slice(key + 1, whole.size - 1);
        batch_clear(&batch);
        assert_ok(batch_add(&batch, round ? BATCH_DELETE : BATCH_PUT, PLSM_INODES, own, slice("\0\0", 2), none));
        assert_ok(db->engine->write(db->tree, &batch, NULL, NULL, PLSM_NONE));
        assert_status(plsm_get(db, NULL, slice_of("a"), &value), PLSM_CORRUPT);
        assert_status(plsm_get_pinned(db, NULL, slice_of("a"), &pin), PLSM_CORRUPT);
        assert_status(plsm_edit_open(db, slice_of("a"), 0, &edit), PLSM_CORRUPT);
        assert_status(plsm_delete(db, slice_of("a"), PLSM_NONE), PLSM_CORRUPT);
        assert_ok(plsm_iterator_create(db, NULL, none, none, &it));
        plsm_iterator_first(it);
        ck_assert(!plsm_iterator_valid(it));
        assert_status(plsm_iterator_status(it), PLSM_CORRUPT);
        plsm_iterator_destroy(it);
    }
    batch_free(&batch);
    plsm_value_free(&value);
    assert_ok(plsm_close(db));
    env_memory_destroy(env);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {
        every_way_to_read,
        a_name_is_taken_away,
        within_one_batch,
        refused,
        edits_reach_all_names,
        large_values,
        commit_over_a_link,
        read_by_identifier,
        bulk_load_over_links,
        check_finds,
        damaged,
    };
    return fixture_run_engines("links", tests, sizeof tests / sizeof tests[0]);
}
