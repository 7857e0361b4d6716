/* Deletions of ranges in the tree, where their cost and their end matter: borders between runs, whole runs that nobody
 * reads any more, tombstones that go on the last level, iterators that do not step through what is deleted. Answers
 * under all histories are the matter of the model (tests/crash). All in memory. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/env_memory.h"
#include "base/random.h"
#include "lsm/db.h"
#include "tests/harness/statistic.h"
#include "base/banned.h"

enum { KEYS = 6000, VALUE = 100 };

static struct env *env;
static struct lsm *db;
static struct lsm_options opened;

static void open_tree(void)
{
    ck_assert_msg(lsm_open("/ranges", &opened, &db) == PLSM_OK, "%s", plsm_message());
}

static void start(void)
{
    env = env_memory_create(1);
    lsm_options_default(&opened);
    opened.env = env;
    opened.create = true;
    opened.background = 0;
    opened.file_size = 64 << 10; /* KEYS keys take about a dozen runs */
    open_tree();
}

static void stop(void)
{
    ck_assert_msg(lsm_check(db, NULL, NULL, NULL) == PLSM_OK, "%s", plsm_message());
    ck_assert_int_eq(lsm_close(db), PLSM_OK);
    env_memory_destroy(env);
}

static void reopen(void)
{
    ck_assert_int_eq(lsm_close(db), PLSM_OK);
    open_tree();
}

static plsm_slice key_of(unsigned i, char *text)
{
    snprintf(text, 32, "\1key-%07u", i);
    return slice_of(text);
}

static void add(struct batch *batch, enum batch_kind kind, plsm_slice key, plsm_slice value)
{
    const uint8_t *bytes = key.data;
    ck_assert_int_eq(batch_add(batch, kind, bytes[0], slice(bytes + 1, key.size - 1), (plsm_slice){0}, value), PLSM_OK);
}

static void write_batch(struct batch *batch)
{
    ck_assert_msg(lsm_write(db, batch, NULL, NULL, false) == PLSM_OK, "%s", plsm_message());
    batch_free(batch);
}

static void put_keys(unsigned from, unsigned to, char tag)
{
    char text[32], value[VALUE];
    struct batch batch = {0};
    memset(value, tag, sizeof value);
    for (unsigned i = from; i < to; i++)
        add(&batch, BATCH_PUT, key_of(i, text), slice(value, sizeof value));
    write_batch(&batch);
}

static void delete_keys(unsigned from, unsigned to)
{
    char first[32], end[32];
    struct batch batch = {0};
    add(&batch, BATCH_DELETE_RANGE, key_of(from, first), key_of(to, end));
    write_batch(&batch);
}

static void compact(void)
{
    ck_assert_msg(lsm_compact(db, (plsm_slice){0}, (plsm_slice){0}) == PLSM_OK, "%s", plsm_message());
}

/* All keys, merged into runs of file_size on level 1. */
static void fill(void)
{
    put_keys(0, KEYS, 'z');
    ck_assert_int_eq(lsm_flush(db), PLSM_OK);
    put_keys(0, KEYS, 'a');
    compact();
}

/* Every key but those in [from, to), which have `inside` (0: they are gone): by get, by multi_get, and both ways. */
static void expect(const struct lsm_snapshot *snapshot, unsigned from, unsigned to, char outside, char inside)
{
    char text[32];
    struct lsm_value value = {0};
    struct lsm_iterator *it = NULL;
    ck_assert_int_eq(lsm_iterator_create(db, snapshot, slice("\1", 1), slice("\2", 1), &it), PLSM_OK);
    lsm_iterator_first(it);
    for (unsigned i = 0; i < KEYS; i++) {
        char tag = i >= from && i < to ? inside : outside;
        plsm_slice key = key_of(i, text);
        plsm_status status = lsm_get(db, snapshot, key, false, &value), many = PLSM_OK;
        ck_assert_int_eq(status, tag ? PLSM_OK : PLSM_NOT_FOUND);
        if (tag)
            ck_assert_int_eq(*(const char *)value.value.data, tag);
        ck_assert_int_eq(lsm_multi_get(db, snapshot, &key, 1, false, &value, &many), PLSM_OK);
        ck_assert_int_eq(many, status);
        if (!tag)
            continue;
        ck_assert(lsm_iterator_valid(it) && slice_equal(lsm_iterator_entry(it)->key, key));
        lsm_iterator_next(it);
    }
    ck_assert(!lsm_iterator_valid(it));
    lsm_iterator_last(it);
    for (unsigned i = KEYS; i-- > 0;) {
        if (!(i >= from && i < to ? inside : outside))
            continue;
        ck_assert(lsm_iterator_valid(it) && slice_equal(lsm_iterator_entry(it)->key, key_of(i, text)));
        lsm_iterator_previous(it);
    }
    ck_assert(!lsm_iterator_valid(it));
    lsm_iterator_destroy(it);
    lsm_value_free(&value);
}

static uint64_t figure(const char *name)
{
    return (uint64_t)statistic(db, name);
}

/* Through memtable, log, level 0 and compactions, with a snapshot from before. */
START_TEST(a_range_stays_deleted_on_its_way_down)
{
    fill();
    struct lsm_snapshot *before = lsm_snapshot_create(db);
    delete_keys(1000, 5000);
    put_keys(2000, 2010, 'b');
    delete_keys(2000, 2010);
    expect(NULL, 1000, 5000, 'a', 0);
    expect(before, 0, 0, 'a', 0);
    ck_assert_int_eq(lsm_flush(db), PLSM_OK);
    expect(NULL, 1000, 5000, 'a', 0);
    expect(before, 0, 0, 'a', 0);
    compact(); /* the snapshot keeps all of it */
    ck_assert_uint_gt(figure("lsm.range_deletions"), 0);
    ck_assert_uint_eq(figure("lsm.files_covered"), 0);
    expect(NULL, 1000, 5000, 'a', 0);
    expect(before, 0, 0, 'a', 0);
    lsm_snapshot_destroy(db, before);
    reopen();
    expect(NULL, 1000, 5000, 'a', 0);
    put_keys(1500, 1501, 'a'); /* so that there is something to compact */
    delete_keys(1500, 1501);
    compact();
    expect(NULL, 1000, 5000, 'a', 0);
}
END_TEST

/* What is put behind a deletion, in a newer source and then merged with it, is not taken for older. */
START_TEST(what_came_behind_stays)
{
    fill();
    struct lsm_snapshot *before = lsm_snapshot_create(db); /* so that the tombstones are not settled */
    delete_keys(0, KEYS);
    ck_assert_int_eq(lsm_flush(db), PLSM_OK);
    put_keys(0, KEYS, 'b');
    ck_assert_int_eq(lsm_flush(db), PLSM_OK);
    expect(NULL, 0, KEYS, 0, 'b');
    compact();
    expect(NULL, 0, KEYS, 0, 'b');
    expect(before, 0, KEYS, 0, 'a');
    lsm_snapshot_destroy(db, before);
    reopen();
    expect(NULL, 0, KEYS, 0, 'b');
}
END_TEST

/* Runs that a tombstone covers wholly are dropped unread, and on the last level the tombstone goes too. */
START_TEST(covered_runs_are_not_read)
{
    fill();
    uint64_t files = figure("store.files");
    ck_assert_uint_gt(files, 8);
    delete_keys(500, 5500);
    lsm_statistics_reset(db);
    compact();
    ck_assert_uint_gt(figure("lsm.files_covered"), files / 2);
    ck_assert_uint_lt(figure("io.read_bytes"), 64 * PAGE_SIZE * 8);
    ck_assert_uint_eq(figure("lsm.range_deletions"), 0);
    expect(NULL, 500, 5500, 'a', 0);
    delete_keys(0, KEYS);
    compact();
    ck_assert_uint_eq(figure("store.files"), 0);
    expect(NULL, 0, KEYS, 0, 0);
}
END_TEST

/* A wide tombstone over many runs, with newer keys between: cut where runs end, whole again in the answer. */
START_TEST(tombstones_are_cut_where_runs_end)
{
    fill();
    struct lsm_snapshot *before = lsm_snapshot_create(db);
    delete_keys(100, 5900);
    compact();
    struct lsm_snapshot *between = lsm_snapshot_create(db);
    put_keys(0, KEYS, 'c');
    compact();
    ck_assert_uint_gt(figure("lsm.range_deletions"), 4); /* pieces in several runs */
    expect(NULL, 0, 0, 'c', 0);
    expect(between, 100, 5900, 'a', 0);
    expect(before, 0, 0, 'a', 0);
    lsm_snapshot_destroy(db, before);
    lsm_snapshot_destroy(db, between);
    put_keys(0, KEYS, 'd');
    compact();
    ck_assert_uint_eq(figure("lsm.range_deletions"), 0);
    expect(NULL, 0, 0, 'd', 0);
}
END_TEST

/* An iterator seeks over what is deleted: it reads a few pages, not all of them. */
START_TEST(iterators_seek_over_what_is_deleted)
{
    char text[32];
    struct lsm_iterator *it = NULL;
    fill();
    delete_keys(10, KEYS - 10);
    ck_assert_int_eq(lsm_flush(db), PLSM_OK);
    for (int way = 0; way < 2; way++) {
        reopen(); /* a cold cache */
        lsm_statistics_reset(db);
        ck_assert_int_eq(lsm_iterator_create(db, NULL, (plsm_slice){0}, (plsm_slice){0}, &it), PLSM_OK);
        way ? lsm_iterator_last(it) : lsm_iterator_first(it);
        for (unsigned i = 0; i < 20; i++) {
            unsigned at = i < 10 ? i : KEYS - 20 + i;
            ck_assert(lsm_iterator_valid(it));
            ck_assert(slice_equal(lsm_iterator_entry(it)->key, key_of(way ? KEYS - 1 - at : at, text)));
            way ? lsm_iterator_previous(it) : lsm_iterator_next(it);
        }
        ck_assert(!lsm_iterator_valid(it));
        lsm_iterator_destroy(it);
        ck_assert_uint_lt(figure("io.read_bytes"), KEYS * VALUE / 4);
    }
}
END_TEST

/* In order within a batch, and within a group of the log, also after a replay. */
START_TEST(order_within_a_batch)
{
    char text[32], end[32];
    struct batch batch = {0};
    put_keys(0, KEYS, 'a');
    add(&batch, BATCH_PUT, key_of(3, text), slice_of("before"));
    add(&batch, BATCH_DELETE_RANGE, key_of(0, text), key_of(10, end));
    add(&batch, BATCH_PUT, key_of(4, text), slice_of("x"));
    add(&batch, BATCH_DELETE_RANGE, key_of(4, text), key_of(5, end));
    add(&batch, BATCH_PUT, key_of(4, text), slice_of("behind"));
    write_batch(&batch);
    for (int round = 0; round < 4; round++) {
        struct lsm_value value = {0};
        for (unsigned i = 0; i < 12; i++)
            ck_assert_int_eq(lsm_get(db, NULL, key_of(i, text), false, &value),
                             i == 4 || i >= 10 ? PLSM_OK : PLSM_NOT_FOUND);
        ck_assert_int_eq(lsm_get(db, NULL, key_of(4, text), false, &value), PLSM_OK);
        ck_assert(slice_equal(value.value, slice_of("behind")));
        lsm_value_free(&value);
        if (round == 0)
            reopen();
        else if (round == 1)
            ck_assert_int_eq(lsm_flush(db), PLSM_OK);
        else
            compact();
    }
}
END_TEST

/* Keyspaces: a range with an open end stops in front of the next one, and runs of only tombstones are runs. */
START_TEST(open_ends_stop_at_the_keyspace)
{
    struct batch batch = {0};
    struct lsm_value value = {0};
    fill();
    add(&batch, BATCH_PUT, slice("\2\0", 2), slice_of("two"));
    add(&batch, BATCH_PUT, slice_of("\3x"), slice_of("three"));
    write_batch(&batch);
    compact();
    add(&batch, BATCH_DELETE_RANGE, slice("\1\0", 2), slice("\2", 1));
    add(&batch, BATCH_DELETE_RANGE, slice("\3\0", 2), slice("\4", 1));
    write_batch(&batch);
    for (int round = 0; round < 3; round++) {
        expect(NULL, 0, KEYS, 0, 0);
        ck_assert_int_eq(lsm_get(db, NULL, slice("\2\0", 2), false, &value), PLSM_OK);
        ck_assert_int_eq(lsm_get(db, NULL, slice_of("\3x"), false, &value), PLSM_NOT_FOUND);
        round == 0 ? (void)lsm_flush(db) : compact();
    }
    lsm_value_free(&value);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("ranges");
    TCase *tests = tcase_create("ranges");
    tcase_set_timeout(tests, 120);
    tcase_add_checked_fixture(tests, start, stop);
    tcase_add_test(tests, a_range_stays_deleted_on_its_way_down);
    tcase_add_test(tests, what_came_behind_stays);
    tcase_add_test(tests, covered_runs_are_not_read);
    tcase_add_test(tests, tombstones_are_cut_where_runs_end);
    tcase_add_test(tests, iterators_seek_over_what_is_deleted);
    tcase_add_test(tests, order_within_a_batch);
    tcase_add_test(tests, open_ends_stop_at_the_keyspace);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
