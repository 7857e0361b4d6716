/* The append log: what to merge, hints that cannot be used, deletions through merges, snapshots, damage, bytes that are
 * anything. What it has in common with other engines is in tests/store and tests/crash. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/checksum.h"
#include "base/env_memory.h"
#include "base/error.h"
#include "base/random.h"
#include "log/append_hint.h"
#include "log/append_policy.h"

#include "base/banned.h"

enum { KEYS = 300 };

static struct env *env;

static void setup(void)
{
    env = env_memory_create(1);
}

static void teardown(void)
{
    env_memory_destroy(env);
}

#define must(call) ck_assert_msg((call) == PLSM_OK, "%s: %s", #call, plsm_message())

static struct append_options options(void)
{
    struct append_options o;
    append_options_default(&o);
    o.env = env;
    o.create = true;
    o.segment_size = 64 << 10;
    o.background = false;
    o.merge_garbage_ppm = 1000000; /* merges are asked for */
    return o;
}

static struct append *open_log(void)
{
    struct append *db = NULL;
    struct append_options o = options();
    must(append_open("/s", &o, &db));
    return db;
}

static plsm_slice key_of(unsigned i, char out[16])
{
    snprintf(out, 16, "\1key%05u", i);
    return slice_of(out);
}

static void change(struct append *db, enum batch_kind kind, unsigned from, unsigned to, const char *value)
{
    struct batch batch = {0};
    char key[16], end[16];
    key_of(from, key);
    plsm_slice content = kind == BATCH_DELETE_RANGE ? key_of(to, end) : value ? slice_of(value) : slice(NULL, 0);
    must(batch_add(&batch, kind, 1, slice_of(key + 1), slice(NULL, 0), content));
    must(append_write(db, &batch, NULL, NULL, false));
    batch_free(&batch);
}

static void put(struct append *db, unsigned i, const char *value)
{
    change(db, BATCH_PUT, i, 0, value);
}

/* NULL: it is absent. */
static void expect_at(struct append *db, const struct append_snapshot *snapshot, unsigned i, const char *value)
{
    struct append_value found = {0};
    char key[16];
    plsm_status status = append_get(db, snapshot, key_of(i, key), 0, &found);
    if (value) {
        ck_assert_msg(status == PLSM_OK, "%s: %s: %s", key, plsm_status_name(status), plsm_message());
        ck_assert_msg(slice_equal(found.value, slice_of(value)), "%s has another value", key);
    } else {
        ck_assert_msg(status == PLSM_NOT_FOUND, "%s: %s instead of not found", key, plsm_status_name(status));
    }
    mem_free(found.memory);
}

static void expect(struct append *db, unsigned i, const char *value)
{
    expect_at(db, NULL, i, value);
}

struct wanted {
    const char *name;
    uint64_t value;
};

static void find_statistic(void *arg, const char *name, bool is_real, uint64_t integer, double real)
{
    struct wanted *wanted = arg;
    (void)real;
    if (!is_real && strcmp(name, wanted->name) == 0)
        wanted->value = integer;
}

static uint64_t statistic_of(struct append *db, const char *name)
{
    struct wanted wanted = {name, UINT64_MAX};
    append_statistics(db, find_statistic, &wanted);
    ck_assert_msg(wanted.value != UINT64_MAX, "no statistic %s", name);
    return wanted.value;
}

/* --- policy ------------------------------------------------------------------------------------------------------- */

#define MIB(n) ((uint64_t)(n) << 20)

START_TEST(what_is_merged)
{
    static const struct {
        struct merge_candidate list[10];
        size_t count;
        uint32_t garbage_ppm;
        bool all;
        size_t chosen[10], chosen_count;
    } cases[] = {
        {.count = 0, .garbage_ppm = 500000},
        {{{MIB(64), MIB(20)}, {MIB(64), MIB(60)}, {MIB(64), MIB(30)}, {MIB(64), MIB(10)}},
         4,
         500000,
         false,
         {3, 0, 2},
         3},
        {{{MIB(64), MIB(31)}, {MIB(64), MIB(31)}, {MIB(64), MIB(31)}}, 3, 500000, false, {0, 1}, 2},
        {{{MIB(64), MIB(40)}, {MIB(64), MIB(64)}}, 2, 500000, false, {0}, 0},
        {{{MIB(64), MIB(40)}, {MIB(64), MIB(64)}}, 2, 500000, true, {0}, 1},
        {{{MIB(200), MIB(90)}, {MIB(64), 0}}, 2, 500000, false, {1}, 1}, /* together they would not fit */
        {{{MIB(1), MIB(1)}, {MIB(2), MIB(2)}, {MIB(64), MIB(64)}}, 3, 500000, false, {0}, 0}, /* few small ones */
        {{{MIB(2), MIB(2)}, {MIB(1), MIB(1)}, {MIB(64), MIB(64)}}, 3, 500000, true, {1, 0}, 2},
        {{{700, 0}, {700, 0}, {700, 0}, {700, 0}, {700, 0}, {700, 0}, {700, 0}, {700, 0}},
         8,
         500000,
         false,
         {0, 1, 2, 3, 4, 5, 6, 7},
         8},
        {{{700, 0}}, 1, 500000, true, {0}, 0}, /* alone it becomes no smaller */
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        size_t out[MERGE_CHOSEN_MAX];
        struct merge_limits limits = {MIB(64), UINT64_MAX, cases[i].garbage_ppm};
        size_t count = merge_choose(cases[i].list, cases[i].count, &limits, cases[i].all, out);
        ck_assert_msg(count == cases[i].chosen_count, "case %zu: %zu chosen", i, count);
        for (size_t k = 0; k < count; k++)
            ck_assert_msg(out[k] == cases[i].chosen[k], "case %zu: place %zu is %zu", i, k, out[k]);
    }
    static struct merge_candidate many[1000];
    size_t out[MERGE_CHOSEN_MAX];
    for (size_t i = 0; i < 1000; i++)
        many[i] = (struct merge_candidate){MIB(64), i % 7 * 1000};
    struct merge_limits limits = {MIB(64), UINT64_MAX, 500000};
    ck_assert_uint_eq(merge_choose(many, 1000, &limits, false, out), MERGE_CHOSEN_MAX);
}
END_TEST

START_TEST(what_to_merge_where_there_is_little_room)
{
    static const struct merge_candidate list[] = {{MIB(64), MIB(20)}, {MIB(64), MIB(10)}, {MIB(64), 0}, {700, 600}};
    static const struct {
        uint64_t room;
        size_t chosen[4], chosen_count;
    } cases[] = {{MIB(30), {2, 1, 0}, 3}, {MIB(29), {2, 1}, 2}, {MIB(10), {2, 1}, 2}, {MIB(9), {2}, 1}, {0, {2}, 1}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        size_t out[MERGE_CHOSEN_MAX];
        struct merge_limits limits = {MIB(64), cases[i].room, 500000};
        size_t count = merge_choose(list, 4, &limits, false, out);
        ck_assert_msg(count == cases[i].chosen_count, "case %zu: %zu chosen", i, count);
        for (size_t k = 0; k < count; k++)
            ck_assert_msg(out[k] == cases[i].chosen[k], "case %zu: place %zu is %zu", i, k, out[k]);
    }
}
END_TEST

START_TEST(when_merges_begin)
{
    static const struct {
        unsigned hour, from, to;
        bool open;
    } cases[] = {{0, 0, 0, true},  {13, 5, 5, true},  {4, 3, 4, false}, {3, 3, 4, true},
                 {2, 3, 4, false}, {23, 22, 4, true}, {3, 22, 4, true}, {4, 22, 4, false}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        ck_assert_msg(merge_window_open(86400 * 20000 + 3600 * cases[i].hour + 3599, cases[i].from, cases[i].to) ==
                          cases[i].open,
                      "case %zu", i);
}
END_TEST

/* --- hints -------------------------------------------------------------------------------------------------------- */

/* Several segments with puts, overwrites, deletions of keys and of a range. */
/* Writers slow down before they must stop. */
START_TEST(how_long_writers_rest)
{
    enum { MS = 1000000, MIB = 1 << 20 };
    static const struct {
        uint64_t now_ns, bytes;
        unsigned waiting;
        uint64_t seal_ns, due_ns, rest_ns, due_after_ns;
    } cases[] = {
        {10 * MS, MIB, PACE_FROM - 1, 4 * MS, 15 * MS, 0, 0},
        {10 * MS, MIB, PACE_FROM, 4 * MS, 0, 2 * MS, 12 * MS},
        {10 * MS, MIB / 2, 3, 4 * MS, 0, 2 * MS, 12 * MS},
        {12 * MS + MS / 10, MIB / 16, 3, 4 * MS, 12 * MS, 0, 12 * MS + MS / 10 + MS / 4},
        {10 * MS, MIB / 16, 3, 4 * MS, 11 * MS, MS + MS / 4, 11 * MS + MS / 4},
        {10 * MS, MIB, PACE_STOP, 4 * MS, 0, PACE_REST_MOST_NS, 42 * MS},
        {10 * MS, MIB, PACE_STOP + 7, 4 * MS, 0, PACE_REST_MOST_NS, 42 * MS},
        {10 * MS, UINT64_C(512) * MIB, 4, 50 * MS, 0, PACE_REST_MOST_NS, 1010 * MS},
        {10 * MS, MIB, 4, 0, 0, 0, 10 * MS},
        {UINT64_MAX / 2, UINT64_MAX, 5, UINT64_MAX, 0, PACE_REST_MOST_NS, UINT64_MAX / 2 + 1000 * MS},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint64_t due_ns = cases[i].due_ns;
        uint64_t rest_ns = pace_rest_ns(cases[i].now_ns, cases[i].bytes, cases[i].waiting, cases[i].seal_ns, &due_ns);
        ck_assert_msg(rest_ns == cases[i].rest_ns && due_ns == cases[i].due_after_ns, "case %zu: %lu, %lu", i,
                      (unsigned long)rest_ns, (unsigned long)due_ns);
    }
}
END_TEST

static void fill(struct append *db)
{
    for (unsigned i = 0; i < KEYS; i++)
        put(db, i, "first");
    must(append_flush(db));
    for (unsigned i = 0; i < KEYS; i += 3)
        put(db, i, "second");
    for (unsigned i = 1; i < KEYS; i += 30)
        change(db, BATCH_DELETE, i, 0, NULL);
    must(append_flush(db));
    change(db, BATCH_DELETE_RANGE, 100, 120, NULL);
    put(db, 110, "third");
    must(append_flush(db));
}

static const char *filled(unsigned i)
{
    if (i >= 100 && i < 120)
        return i == 110 ? "third" : NULL;
    return i % 30 == 1 ? NULL : i % 3 == 0 ? "second" : "first";
}

static void expect_filled(struct append *db)
{
    uint64_t count = 0, there = 0;
    for (unsigned i = 0; i < KEYS; i++) {
        expect(db, i, filled(i));
        there += filled(i) != NULL;
    }
    struct append_iterator *it = NULL;
    must(append_iterator_create(db, NULL, slice(NULL, 0), slice(NULL, 0), 0, &it));
    for (const struct append_shown *e = append_iterator_first(it); e; e = append_iterator_next(it))
        count++;
    must(append_iterator_status(it));
    append_iterator_destroy(it);
    ck_assert_uint_eq(count, there);
    ck_assert_uint_eq(statistic_of(db, "store.keys"), there);
    must(append_check(db, NULL, NULL, NULL));
}

static void path_of(const char *kind, unsigned number, char out[64])
{
    snprintf(out, 64, "/s/%s-%06u", kind, number);
}

START_TEST(hints_that_cannot_be_used)
{
    uint8_t *bytes = NULL;
    size_t size = 0;
    char path[64], other[64];
    struct append *db = open_log();
    fill(db);
    must(append_close(db));
    db = open_log();
    ck_assert_uint_eq(statistic_of(db, "log.hints_used"), 3);
    ck_assert_uint_eq(statistic_of(db, "log.segments_scanned"), 0);
    expect_filled(db);
    must(append_close(db));
    for (unsigned round = 0; round < 60; round++) { /* each way, and damage in many places */
        unsigned number = 1 + round % 3, way = round % 5;
        path_of("hint", number, path);
        path_of("hint", 1 + (round + 1) % 3, other);
        must(env_memory_content(env, path, &bytes, &size));
        if (way == 0) {
            must(env_remove(env, path));
        } else if (way == 1) { /* the hint of another segment */
            uint8_t *from = NULL;
            size_t other_size = 0;
            struct env_file *file = NULL;
            must(env_memory_content(env, other, &from, &other_size));
            uint8_t *copy = malloc(other_size);
            memcpy(copy, from, other_size);
            must(env_open(env, path, ENV_APPEND, &file));
            must(env_append(file, copy, other_size));
            env_close(file);
            free(copy);
        } else if (way == 2) { /* cut short */
            struct env_file *file = NULL;
            uint8_t *copy = malloc(size);
            memcpy(copy, bytes, size);
            must(env_open(env, path, ENV_APPEND, &file));
            must(env_append(file, copy, round * 7 % size));
            env_close(file);
            free(copy);
        } else {
            bytes[(round * 131 + 8) % size] ^= (uint8_t)(1 << round % 8);
        }
        db = open_log();
        uint64_t unused = statistic_of(db, "log.hints_missing") + statistic_of(db, "log.hints_damaged") +
                          statistic_of(db, "log.hints_foreign");
        ck_assert_uint_eq(unused, 1);
        ck_assert_uint_eq(statistic_of(db, way == 0   ? "log.hints_missing"
                                           : way == 1 ? "log.hints_foreign"
                                                      : "log.hints_damaged"),
                          1);
        ck_assert_uint_eq(statistic_of(db, "log.segments_scanned"), 1);
        expect_filled(db);
        must(append_close(db)); /* and the hint is there again */
    }
    db = open_log();
    ck_assert_uint_eq(statistic_of(db, "log.hints_used"), 3);
    must(append_close(db));
}
END_TEST

static void note_line(void *arg, const char *line)
{
    (void)line;
    ++*(unsigned *)arg;
}

START_TEST(damage_is_told)
{
    uint8_t *bytes = NULL;
    size_t size = 0;
    char path[64];
    struct append *db = open_log();
    struct append_options o = options();
    fill(db);
    must(append_close(db));
    path_of("segment", 1, path);
    must(env_memory_content(env, path, &bytes, &size));
    struct random r;
    random_seed(&r, 5);
    for (unsigned round = 0; round < 40; round++) {
        size_t at = 700 + random_below(&r, size - 700);
        bytes[at] ^= 0x10;
        unsigned lines = 0, wrong = 0;
        must(append_open("/s", &o, &db)); /* by its hint */
        ck_assert_int_eq(append_check(db, note_line, NULL, &lines), PLSM_CORRUPT);
        ck_assert_uint_gt(lines, 0);
        for (unsigned i = 0; i < KEYS; i++) { /* no wrong answer */
            struct append_value found = {0};
            char key[16];
            plsm_status status = append_get(db, NULL, key_of(i, key), 0, &found);
            ck_assert(status == PLSM_OK || status == PLSM_NOT_FOUND || status == PLSM_CORRUPT);
            wrong += status == PLSM_CORRUPT;
            if (status == PLSM_OK)
                ck_assert(filled(i) && slice_compare(found.value, slice_of(filled(i))) == 0);
            else if (status == PLSM_NOT_FOUND)
                ck_assert_ptr_null(filled(i));
            mem_free(found.memory);
        }
        ck_assert_uint_le(wrong, 2);
        must(append_close(db));
        bytes[at] ^= 0x10;
    }
    bytes[size / 2] ^= 1; /* without a hint nothing is known of it */
    path_of("hint", 1, path);
    must(env_remove(env, path));
    ck_assert_int_eq(append_open("/s", &o, &db), PLSM_CORRUPT);
    bytes[size / 2] ^= 1;
    db = open_log();
    expect_filled(db);
    must(append_close(db));
    path_of("segment", 2, path);
    must(env_rename(env, path, "/moved"));
    ck_assert_int_eq(append_open("/s", &o, &db), PLSM_CORRUPT);
    ck_assert_ptr_nonnull(strstr(plsm_message(), "missing"));
    must(env_rename(env, "/moved", path));
    db = open_log();
    expect_filled(db);
    must(append_close(db));
}
END_TEST

/* --- merges ------------------------------------------------------------------------------------------------------- */

/* Merges the segment with this number alone. */
static void merge_one(struct append *db, uint64_t number)
{
    struct segment *victim = NULL;
    for (size_t i = 0; i < db->segment_count; i++)
        if (db->segments[i]->number == number)
            victim = db->segments[i];
    ck_assert_ptr_nonnull(victim);
    mutex_lock(&db->merge_lock);
    must(merge_segments(db, &victim, 1));
    append_garbage_collect(db);
    mutex_unlock(&db->merge_lock);
}

static void remove_hints(void)
{
    char path[64];
    for (unsigned i = 1; i < 40; i++) {
        path_of("hint", i, path);
        env_remove(env, path);
    }
}

START_TEST(deletions_last_as_long_as_they_hide_something)
{
    struct append *db = open_log();
    fill(db); /* segments 1 to 3 */
    merge_one(db, 2);
    merge_one(db, 3);
    ck_assert_uint_gt(statistic_of(db, "log.bytes_tombstones"), 0); /* 1 still has what they hide */
    expect_filled(db);
    for (unsigned way = 0; way < 2; way++) {
        must(append_close(db));
        if (way)
            remove_hints();
        db = open_log();
        expect_filled(db);
    }
    must(append_compact(db));
    ck_assert_uint_eq(statistic_of(db, "log.bytes_tombstones"), 0);
    expect_filled(db);
    must(append_close(db));
    remove_hints();
    db = open_log();
    expect_filled(db);
    merge_one(db, db->segments[0]->number); /* and again, when nothing is dead */
    expect_filled(db);
    must(append_close(db));
}
END_TEST

START_TEST(snapshots_keep_what_they_see)
{
    struct append *db = open_log();
    fill(db);
    struct append_snapshot *snapshot = append_snapshot_create(db);
    for (unsigned i = 0; i < KEYS; i++)
        put(db, i, "later");
    change(db, BATCH_DELETE_RANGE, 0, KEYS, NULL);
    must(append_compact(db));
    put(db, 7, "last");
    must(append_compact(db));
    for (unsigned i = 0; i < KEYS; i++) {
        expect_at(db, snapshot, i, filled(i));
        expect(db, i, i == 7 ? "last" : NULL);
    }
    ck_assert_uint_gt(statistic_of(db, "log.keys_versioned"), 0);
    append_snapshot_destroy(db, snapshot);
    must(append_compact(db));
    ck_assert_uint_eq(statistic_of(db, "log.keys_versioned"), 0);
    ck_assert_uint_eq(statistic_of(db, "store.keys"), 1);
    ck_assert_uint_lt(statistic_of(db, "store.bytes_live"), 64);
    must(append_close(db));
    db = open_log();
    for (unsigned i = 0; i < KEYS; i++)
        expect(db, i, i == 7 ? "last" : NULL);
    must(append_close(db));
}
END_TEST

/* Who got a place from the directory may read there until it leaves the epoch, whatever is merged meanwhile. */
START_TEST(places_stay_for_who_has_them)
{
    struct append *db = open_log();
    struct append_memory memory = {0};
    struct append_entry e;
    bool in_memory = false;
    char key[16];
    put(db, 1, "value");
    must(append_flush(db));
    put(db, 2, "value");
    epoch_enter(db->epoch);
    append_place place = directory_place(db, key_tree_find(db->tree, key_of(1, key)), UINT64_MAX);
    must(append_compact(db));
    ck_assert(directory_place(db, key_tree_find(db->tree, key_of(1, key)), UINT64_MAX) != place);
    ck_assert(segment_at(db, place) != NULL);
    must(segment_read(db, place, key_of(1, key), false, &memory, &e, &in_memory));
    ck_assert(slice_equal(e.value, slice_of("value")));
    epoch_exit(db->epoch);
    mem_free(memory.bytes);
    epoch_reclaim(db->epoch);
    ck_assert(segment_at(db, place) == NULL);
    must(append_close(db));
}
END_TEST

/* A merge with a snapshot copies old versions: their deletions must stay beside them. */
START_TEST(old_versions_that_were_copied_stay_hidden)
{
    struct append *db = open_log();
    put(db, 1, "old");
    put(db, 2, "old");
    must(append_flush(db));
    struct append_snapshot *snapshot = append_snapshot_create(db);
    change(db, BATCH_DELETE, 1, 0, NULL);
    change(db, BATCH_DELETE_RANGE, 2, 3, NULL);
    must(append_compact(db));
    expect_at(db, snapshot, 1, "old");
    append_snapshot_destroy(db, snapshot);
    must(append_close(db));
    remove_hints();
    db = open_log();
    expect(db, 1, NULL);
    expect(db, 2, NULL);
    must(append_close(db));
}
END_TEST

START_TEST(what_has_expired_goes_and_hides_what_was_before)
{
    struct batch batch = {0};
    struct append *db = open_log();
    env_memory_set_wall_s(env, 1000000);
    put(db, 1, "before");
    must(append_flush(db));
    must(batch_add_timed(&batch, BATCH_PUT, 1, slice_of("key00001"), slice(NULL, 0), slice_of("timed"), 1000010));
    must(append_write(db, &batch, NULL, NULL, false));
    batch_free(&batch);
    must(append_flush(db));
    expect(db, 1, "timed");
    env_memory_set_wall_s(env, 1000010);
    expect(db, 1, NULL);
    merge_one(db, 2);
    ck_assert_uint_eq(statistic_of(db, "log.expired"), 1);
    ck_assert_uint_eq(statistic_of(db, "store.keys"), 0);
    must(append_close(db));
    env_memory_set_wall_s(env, 1000000); /* the clock is set back */
    db = open_log();
    expect(db, 1, NULL);
    must(append_close(db));
}
END_TEST

/* --- bytes that are anything -------------------------------------------------------------------------------------- */

START_TEST(any_bytes_are_an_entry_or_none)
{
    struct random r;
    random_seed(&r, env_now_ns(env_posix()));
    for (unsigned round = 0; round < 20000; round++) {
        struct buf buf = {0};
        struct append_entry e;
        uint8_t bytes[2000];
        size_t size = random_below(&r, 1500);
        for (size_t i = 0; i < size; i++)
            bytes[i] = (uint8_t)random_next(&r);
        struct batch_change put_it = {.kind = BATCH_PUT,
                                      .timed = true,
                                      .expires_s = round % 2,
                                      .key = slice("key", 3),
                                      .meta = slice("meta", round % 5),
                                      .value = slice(bytes, size)};
        must(append_entry_add(&buf, &put_it, round, 7, 8 * round));
        ck_assert(append_entry_read(buf_slice(&buf), 7, 8 * round, true, &e));
        ck_assert(slice_equal(e.value, put_it.value) && slice_equal(e.meta, put_it.meta) && e.size == buf.size);
        ck_assert(!append_entry_read(buf_slice(&buf), 7, 8 * round + 8, true, &e));
        size_t at = random_below(&r, e.head_size + size); /* the padding of a large value may be anything */
        buf.data[at] ^= (uint8_t)(1 + random_below(&r, 255));
        ck_assert(!append_entry_read(buf_slice(&buf), 7, 8 * round, true, &e));
        size_t cut = random_below(&r, buf.size);
        uint8_t *exact = malloc(cut + 1);
        memcpy(exact, buf.data, cut);
        append_entry_parse(slice(exact, cut), &e);
        append_entry_read(slice(exact, cut), 7, 8 * round, true, &e);
        free(exact);
        buf_free(&buf);
    }
}
END_TEST

/* Hints whose checksums are right and whose content is not: loading ends with an error or a store in bounds. */
START_TEST(any_bytes_are_a_hint_or_none)
{
    uint8_t *bytes = NULL;
    size_t size = 0;
    char path[64];
    struct append *db = open_log();
    struct append_options o = options();
    fill(db);
    must(append_close(db));
    struct random r;
    random_seed(&r, env_now_ns(env_posix()));
    o.read_only = true;
    for (unsigned round = 0; round < 600; round++) {
        path_of("hint", 1 + round % 3, path);
        must(env_memory_content(env, path, &bytes, &size));
        uint8_t *good = malloc(size);
        memcpy(good, bytes, size);
        size_t at = round % 4 ? 160 + random_below(&r, size - 160) : 40 + random_below(&r, 100);
        bytes[at] = (uint8_t)random_next(&r);
        put_u64(bytes + 144, checksum(bytes + 160, size - 160, get_u64(bytes + 32)));
        put_u64(bytes + 152, checksum(bytes, 152, get_u64(bytes + 24)));
        if (append_open("/s", &o, &db) == PLSM_OK) {
            for (unsigned i = 0; i < KEYS; i++) {
                struct append_value found = {0};
                char key[16];
                append_get(db, NULL, key_of(i, key), 0, &found);
                mem_free(found.memory);
            }
            append_close(db);
        }
        memcpy(bytes, good, size);
        free(good);
    }
    db = open_log();
    expect_filled(db);
    must(append_close(db));
}
END_TEST

/* Two keys of a hint that are in the wrong order, or the same. */
START_TEST(keys_of_hints_out_of_order)
{
    uint8_t *bytes = NULL;
    size_t size = 0;
    char path[64];
    for (unsigned round = 0; round < 2; round++) {
        struct append *db = open_log();
        struct append_options o = options();
        must(append_compact(db));
        put(db, 1, "value");
        put(db, 2, "value");
        must(append_flush(db));
        uint64_t number = db->segments[db->segment_count - 2]->number;
        must(append_close(db));
        path_of("hint", (unsigned)number, path);
        must(env_memory_content(env, path, &bytes, &size));
        uint8_t *second = memchr(bytes + size - 8, 8, 8); /* it shares 8 bytes with "\1key0000", and "2" follows */
        ck_assert(second && second[1] == 1 && second[2] == '2');
        second[2] = round ? '1' : '0';
        put_u64(bytes + 144, checksum(bytes + 160, size - 160, get_u64(bytes + 32)));
        put_u64(bytes + 152, checksum(bytes, 152, get_u64(bytes + 24)));
        ck_assert_int_eq(append_open("/s", &o, &db), PLSM_CORRUPT);
        env_memory_destroy(env);
        env = env_memory_create(round + 2);
    }
}
END_TEST

/* Keys are looked up while changes in front of them are not made yet: each must find what those have made. By turns the
 * same few keys come again and again, and leaves (of 64 keys) are split and go. */
START_TEST(changes_of_a_batch_are_made_in_order)
{
    enum { FEW = 8, SOME = 1000, MOST = 200, ROUNDS = 400 };
    static const enum batch_kind kinds[] = {BATCH_PUT, BATCH_PUT, BATCH_DELETE, BATCH_DELETE_RANGE};
    struct append *db = open_log();
    struct random random;
    char values[SOME][16] = {{0}}; /* "": it is absent */
    random_seed(&random, 7);
    for (unsigned round = 0; round < ROUNDS; round++) {
        struct batch batch = {0};
        uint64_t among = round % 2 ? FEW : SOME;
        for (uint64_t left = 1 + random_below(&random, MOST); left > 0; left--) {
            enum batch_kind kind = kinds[random_below(&random, 4)];
            unsigned from = (unsigned)random_below(&random, among), to = from + 1 + (unsigned)random_below(&random, 4);
            char key[16], end[16], value[16] = "";
            key_of(from, key);
            if (kind == BATCH_PUT)
                snprintf(value, sizeof value, "%u of %u", (unsigned)left, round);
            for (unsigned i = from; i < SOME && i < (kind == BATCH_DELETE_RANGE ? to : from + 1); i++)
                memcpy(values[i], value, sizeof value);
            must(batch_add(&batch, kind, 1, slice_of(key + 1), slice(NULL, 0),
                           kind == BATCH_DELETE_RANGE ? key_of(to, end) : slice_of(value)));
        }
        must(append_write(db, &batch, NULL, NULL, false));
        batch_free(&batch);
        for (unsigned i = 0; i < SOME; i++)
            expect(db, i, values[i][0] ? values[i] : NULL);
    }
    uint64_t keys = 0, bytes_live = statistic_of(db, "store.bytes_live");
    for (unsigned i = 0; i < SOME; i++)
        keys += values[i][0] != 0;
    ck_assert_uint_gt(keys, SOME / 4);
    ck_assert_uint_eq(statistic_of(db, "store.keys"), keys);
    must(append_close(db));
    db = open_log(); /* counts all anew */
    ck_assert_uint_eq(statistic_of(db, "store.keys"), keys);
    ck_assert_uint_eq(statistic_of(db, "store.bytes_live"), bytes_live);
    for (unsigned i = 0; i < SOME; i++)
        expect(db, i, values[i][0] ? values[i] : NULL);
    must(append_close(db));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("append");
    TCase *all = tcase_create("all");
    tcase_set_timeout(all, 120);
    tcase_add_checked_fixture(all, setup, teardown);
    tcase_add_test(all, what_is_merged);
    tcase_add_test(all, what_to_merge_where_there_is_little_room);
    tcase_add_test(all, when_merges_begin);
    tcase_add_test(all, how_long_writers_rest);
    tcase_add_test(all, hints_that_cannot_be_used);
    tcase_add_test(all, damage_is_told);
    tcase_add_test(all, deletions_last_as_long_as_they_hide_something);
    tcase_add_test(all, snapshots_keep_what_they_see);
    tcase_add_test(all, places_stay_for_who_has_them);
    tcase_add_test(all, old_versions_that_were_copied_stay_hidden);
    tcase_add_test(all, what_has_expired_goes_and_hides_what_was_before);
    tcase_add_test(all, changes_of_a_batch_are_made_in_order);
    tcase_add_test(all, any_bytes_are_an_entry_or_none);
    tcase_add_test(all, any_bytes_are_a_hint_or_none);
    tcase_add_test(all, keys_of_hints_out_of_order);
    suite_add_tcase(suite, all);
    SRunner *runner = srunner_create(suite);
    srunner_set_fork_status(runner, CK_NOFORK);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
