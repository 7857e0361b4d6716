/* The tree by itself: what the store-wide tests do not reach. Many versions of a key over many pages, models that are
 * wrong, damaged or from the future, pages on both sides of a cache, readers beside a writer. All in memory. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/checksum.h"
#include "base/env_memory.h"
#include "base/random.h"
#include "lsm/db.h"
#include "tests/harness/statistic.h"
#include "base/banned.h"

enum { KEYS = 4000 };

static struct env *env;

static struct lsm_options options(enum lsm_index index)
{
    struct lsm_options o;
    lsm_options_default(&o);
    o.env = env;
    o.create = true;
    o.index = index;
    o.buffer_size = 64 << 20;
    o.cache_size = 64 << 10; /* 16 pages: most lookups evict */
    o.background = 0;
    return o;
}

static struct lsm *open_tree(const struct lsm_options *o, const char *path)
{
    struct lsm *db = NULL;
    ck_assert_msg(lsm_open(path, o, &db) == PLSM_OK, "%s", plsm_message());
    return db;
}

static plsm_slice key_of(unsigned i, char *text)
{
    snprintf(text, 64, "\1key-%07u", i * 3);
    return slice_of(text);
}

static void put(struct lsm *db, plsm_slice key, plsm_slice value)
{
    struct batch batch = {0};
    ck_assert_int_eq(batch_add(&batch, BATCH_PUT, *(const uint8_t *)key.data,
                               slice((const uint8_t *)key.data + 1, key.size - 1), (plsm_slice){0}, value),
                     PLSM_OK);
    ck_assert_msg(lsm_write(db, &batch, NULL, NULL, false) == PLSM_OK, "%s", plsm_message());
    batch_free(&batch);
}

/* KEYS keys with a value that tells key and `tag`; flushed to one run. */
static void fill(struct lsm *db, const char *tag)
{
    char text[64], value[128];
    for (unsigned i = 0; i < KEYS; i++) {
        int size = snprintf(value, sizeof value, "%s-%u-", tag, i);
        memset(value + size, 'v', sizeof value - (size_t)size);
        put(db, key_of(i, text), slice(value, sizeof value));
    }
    ck_assert_int_eq(lsm_flush(db), PLSM_OK);
}

static void check_all(struct lsm *db, const char *tag)
{
    struct lsm_value value = {0};
    char text[64], expected[64];
    for (unsigned i = 0; i < KEYS; i++) {
        plsm_slice key = key_of(i, text);
        int size = snprintf(expected, sizeof expected, "%s-%u-", tag, i);
        ck_assert_msg(lsm_get(db, NULL, key, false, &value) == PLSM_OK, "%s: %s", text, plsm_message());
        ck_assert(memcmp(value.value.data, expected, (size_t)size) == 0);
        text[key.size - 1] ^= 1; /* one beside it: absent */
        ck_assert_int_eq(lsm_get(db, NULL, key, false, &value), PLSM_NOT_FOUND);
    }
    lsm_value_free(&value);
}

/* Seeks everywhere, both ways, against the known keys. */
static void check_seeks(struct lsm *db)
{
    struct lsm_iterator *it = NULL;
    char text[64], other[64];
    ck_assert_int_eq(lsm_iterator_create(db, NULL, (plsm_slice){0}, (plsm_slice){0}, &it), PLSM_OK);
    for (unsigned i = 0; i < KEYS; i += 7) {
        plsm_slice key = key_of(i, text);
        lsm_iterator_seek(it, key);
        ck_assert(lsm_iterator_valid(it) && slice_equal(lsm_iterator_entry(it)->key, key));
        lsm_iterator_seek_before(it, key);
        ck_assert_int_eq(lsm_iterator_valid(it), i > 0);
        if (i > 0)
            ck_assert(slice_equal(lsm_iterator_entry(it)->key, key_of(i - 1, other)));
        text[key.size - 1]++; /* between two keys */
        lsm_iterator_seek(it, key);
        ck_assert_int_eq(lsm_iterator_valid(it), i + 1 < KEYS);
        if (i + 1 < KEYS)
            ck_assert(slice_equal(lsm_iterator_entry(it)->key, key_of(i + 1, other)));
    }
    lsm_iterator_destroy(it);
}

/* The first run of the tree. */
static struct run *first_run(struct lsm *db)
{
    for (unsigned level = 0; level < LSM_LEVELS; level++)
        if (db->version->levels[level].count)
            return db->version->levels[level].runs[0];
    return NULL;
}

/* Where the model block of the only run of a closed store is. */
static uint8_t *model_block(const char *path, size_t *size, char *run_file, size_t run_file_size)
{
    uint8_t *data = NULL;
    size_t file_size = 0;
    snprintf(run_file, run_file_size, "%s/run-00000001", path);
    ck_assert_int_eq(env_memory_content(env, run_file, &data, &file_size), PLSM_OK);
    const struct run_footer *footer = (const struct run_footer *)(const void *)(data + file_size - sizeof *footer);
    *size = footer->blocks[RUN_MODEL].size;
    ck_assert_uint_gt(*size, 0);
    return data + footer->blocks[RUN_MODEL].offset;
}

/* A store with one run, written in learned mode. */
static void make_store(const char *path)
{
    struct lsm_options o = options(LSM_LEARNED);
    struct lsm *db = open_tree(&o, path);
    fill(db, "plain");
    ck_assert_int_eq(lsm_close(db), PLSM_OK);
}

static void check_store(const char *path, bool fallback)
{
    struct lsm_options o = options(LSM_LEARNED);
    struct lsm *db = open_tree(&o, path);
    check_all(db, "plain");
    check_seeks(db);
    ck_assert_msg((statistic(db, "learn.fallbacks") > 0) == fallback, "fallbacks: %f",
                  statistic(db, "learn.fallbacks"));
    ck_assert_int_eq(lsm_close(db), PLSM_OK);
}

START_TEST(good_model)
{
    env = env_memory_create(1);
    make_store("/s");
    struct lsm_options o = options(LSM_LEARNED);
    struct lsm *db = open_tree(&o, "/s");
    check_all(db, "plain");
    struct run_body *body = NULL;
    ck_assert_int_eq(run_open(first_run(db), &body), PLSM_OK);
    ck_assert_ptr_nonnull(body->model);
    ck_assert_ptr_null(atomic_load(&body->fences)); /* never needed */
    ck_assert_double_eq(statistic(db, "learn.block.accuracy"), 1.0);
    ck_assert_int_eq(lsm_close(db), PLSM_OK);
    check_store("/s", false);
    env_memory_destroy(env);
}
END_TEST

/* A model that was damaged, cut out or comes from the future: the fences serve, and it is counted. */
START_TEST(unusable_model)
{
    char run_file[64];
    size_t size = 0;
    env = env_memory_create(2);
    make_store("/s");
    uint8_t *block = model_block("/s", &size, run_file, sizeof run_file);
    if (_i == 0)
        block[size / 2] ^= 0x10;
    else if (_i == 1)
        memset(block, 0, size);
    else {
        put_u32(block + 4, 77); /* the version */
        put_u64(block + size - 8, checksum(block, size - 8, 0));
    }
    check_store("/s", true);
    env_memory_destroy(env);
}
END_TEST

/* What serves in place of the filter was damaged, or comes from the future: the filter serves, and it is counted. */
START_TEST(unusable_membership)
{
    char run_file[64];
    uint8_t *data = NULL;
    size_t size = 0;
    env = env_memory_create(9);
    make_store("/s");
    model_block("/s", &size, run_file, sizeof run_file);
    ck_assert_int_eq(env_memory_content(env, run_file, &data, &size), PLSM_OK);
    const struct run_footer *footer = (const struct run_footer *)(const void *)(data + size - sizeof *footer);
    ck_assert_uint_gt(footer->membership.size, 0); /* the keys are dense numbers */
    uint8_t *block = data + footer->membership.offset;
    if (_i == 1)
        block[footer->membership.size / 2] ^= 0x10;
    struct lsm_options o = options(LSM_LEARNED);
    struct lsm *db = open_tree(&o, "/s");
    check_all(db, "plain");
    check_seeks(db);
    ck_assert_double_eq(statistic(db, "filter.fallbacks"), _i);
    ck_assert_double_eq(statistic(db, "filter.files.exact"), 1 - _i);
    ck_assert_int_eq(lsm_check(db, NULL, NULL, NULL), _i ? PLSM_CORRUPT : PLSM_OK);
    ck_assert_int_eq(lsm_close(db), PLSM_OK);
    env_memory_destroy(env);
}
END_TEST

/* Models that are wrong and have a right checksum: bytes changed, the checksum made to fit. No key may be hidden. */
START_TEST(wrong_model)
{
    char run_file[64];
    uint8_t saved[1 << 16];
    size_t size = 0;
    unsigned wrong = 0;
    struct random r;
    env = env_memory_create(3);
    random_seed(&r, 3);
    make_store("/s");
    for (int round = 0; round < 200; round++) {
        struct model *model = NULL;
        uint8_t *block = model_block("/s", &size, run_file, sizeof run_file);
        ck_assert_uint_le(size, sizeof saved);
        memcpy(saved, block, size);
        for (int i = 0; i < 4; i++)
            block[64 + random_below(&r, size - 72)] ^= (uint8_t)(1 + random_below(&r, 255));
        put_u64(block + size - 8, checksum(block, size - 8, 0));
        if (model_open(slice(block, size), &model) == PLSM_OK) {
            struct lsm_options o = options(LSM_LEARNED);
            struct lsm *db = open_tree(&o, "/s");
            check_all(db, "plain");
            check_seeks(db);
            wrong += statistic(db, "learn.fallbacks") > 0 || statistic(db, "learn.block.accuracy") < 1.0;
            ck_assert_int_eq(lsm_close(db), PLSM_OK);
        }
        model_close(model);
        memcpy(model_block("/s", &size, run_file, sizeof run_file), saved, size);
    }
    ck_assert_msg(wrong > 20, "only %u of 200 changes made the model wrong", wrong);
    env_memory_destroy(env);
}
END_TEST

/* One key with thousands of versions, each held by a snapshot: they fill many pages, between two other keys. */
START_TEST(many_versions)
{
    enum { VERSIONS = 3000 };
    static struct lsm_snapshot *snapshots[VERSIONS];
    struct lsm_value value = {0};
    char text[64], number[64];
    env = env_memory_create(4);
    struct lsm_options o = options((enum lsm_index)_i);
    struct lsm *db = open_tree(&o, "/s");
    fill(db, "plain");
    plsm_slice key = key_of(KEYS / 2, text);
    for (unsigned i = 0; i < VERSIONS; i++) {
        snprintf(number, sizeof number, "%u", i);
        put(db, key, slice_of(number));
        snapshots[i] = lsm_snapshot_create(db);
    }
    for (int round = 0; round < 2; round++) { /* flushed apart from the rest, then merged with it */
        ck_assert_int_eq(round ? lsm_compact(db, (plsm_slice){0}, (plsm_slice){0}) : lsm_flush(db), PLSM_OK);
        ck_assert_msg(lsm_check(db, NULL, NULL, NULL) == PLSM_OK, "%s", plsm_message());
        for (unsigned i = 0; i < VERSIONS; i += 13) {
            snprintf(number, sizeof number, "%u", i);
            ck_assert_int_eq(lsm_get(db, snapshots[i], key, false, &value), PLSM_OK);
            ck_assert(slice_equal(value.value, slice_of(number)));
            struct lsm_iterator *it = NULL;
            char other[64];
            ck_assert_int_eq(lsm_iterator_create(db, snapshots[i], (plsm_slice){0}, (plsm_slice){0}, &it), PLSM_OK);
            lsm_iterator_seek(it, key);
            ck_assert(lsm_iterator_valid(it) && slice_equal(lsm_iterator_entry(it)->value, slice_of(number)));
            lsm_iterator_next(it);
            ck_assert(lsm_iterator_valid(it) && slice_equal(lsm_iterator_entry(it)->key, key_of(KEYS / 2 + 1, other)));
            lsm_iterator_previous(it);
            ck_assert(lsm_iterator_valid(it) && slice_equal(lsm_iterator_entry(it)->value, slice_of(number)));
            lsm_iterator_previous(it);
            ck_assert(lsm_iterator_valid(it) && slice_equal(lsm_iterator_entry(it)->key, key_of(KEYS / 2 - 1, other)));
            lsm_iterator_destroy(it);
        }
    }
    for (unsigned i = 0; i < VERSIONS; i++)
        lsm_snapshot_destroy(db, snapshots[i]);
    put(db, key, slice_of("last"));
    ck_assert_int_eq(lsm_compact(db, (plsm_slice){0}, (plsm_slice){0}), PLSM_OK);
    ck_assert_double_eq(statistic(db, "store.keys"), KEYS); /* all old versions are gone */
    lsm_value_free(&value);
    ck_assert_int_eq(lsm_close(db), PLSM_OK);
    env_memory_destroy(env);
}
END_TEST

/* Where there is a level below the result of a merge, its runs end where runs of that one do: none of them overlaps two
 * runs above it, which would both be merged with it. */
START_TEST(runs_end_where_lower_ones_do)
{
    struct lsm_options o = options(LSM_LEARNED);
    struct lsm_bulk *bulk = NULL;
    char text[64], value[400] = {0};
    env = o.env = env_memory_create(6);
    o.buffer_size = 512 << 10;
    o.file_size = 64 << 10;
    o.l0_compact = 2;
    struct lsm *db = open_tree(&o, "/s");
    ck_assert_int_eq(lsm_bulk_create(db, &bulk), PLSM_OK);
    for (unsigned i = 0; i < KEYS; i++)
        ck_assert_int_eq(lsm_bulk_put(bulk, BATCH_PUT, key_of(i, text), slice(NULL, 0), slice(value, sizeof value), 0),
                         PLSM_OK);
    ck_assert_int_eq(lsm_bulk_finish(bulk, NULL, NULL), PLSM_OK);
    lsm_bulk_destroy(bulk);
    for (unsigned i = 0; i < 3; i++) { /* the first is moved to level 1 as it is */
        for (unsigned j = i; j < KEYS; j += 8)
            put(db, key_of(j, text), slice(value, sizeof value));
        ck_assert_int_eq(lsm_flush(db), PLSM_OK);
    }
    const struct level *upper = &db->version->levels[1], *lower = &db->version->levels[2];
    ck_assert_uint_eq(db->version->levels[0].count, 0);
    ck_assert_uint_gt(upper->count, 2);
    ck_assert_uint_gt(lower->count, upper->count);
    for (size_t i = 0; i < lower->count; i++) {
        size_t overlapped = 0;
        for (size_t j = 0; j < upper->count; j++)
            overlapped += run_overlaps(upper->runs[j], lower->runs[i]->facts.smallest, lower->runs[i]->facts.largest);
        ck_assert_uint_eq(overlapped, 1);
    }
    ck_assert_msg(lsm_check(db, NULL, NULL, NULL) == PLSM_OK, "%s", plsm_message());
    ck_assert_int_eq(lsm_close(db), PLSM_OK);
    env_memory_destroy(env);
}
END_TEST

/* A reader beside the writer keeps what it saw, also when the writer compacts everything away under it. */
START_TEST(reader_beside_writer)
{
    struct lsm_options o = options(LSM_LEARNED), reading = options(LSM_LEARNED);
    env = env_memory_create(5);
    o.env = reading.env = env;
    reading.read_only = true;
    reading.create = false;
    struct lsm *db = open_tree(&o, "/s"), *second = NULL;
    fill(db, "first");
    ck_assert_int_eq(lsm_open("/s", &o, &second), PLSM_LOCKED);
    put(db, slice_of("\1unflushed"), slice_of("yes"));
    struct lsm *reader = open_tree(&reading, "/s");
    struct lsm_value value = {0};
    ck_assert_int_eq(lsm_get(reader, NULL, slice_of("\1unflushed"), false, &value), PLSM_OK);
    fill(db, "second");
    ck_assert_int_eq(lsm_compact(db, (plsm_slice){0}, (plsm_slice){0}), PLSM_OK);
    check_all(reader, "first");
    check_all(db, "second");
    struct batch batch = {0};
    ck_assert_int_eq(batch_add(&batch, BATCH_DELETE, 1, slice_of("x"), (plsm_slice){0}, (plsm_slice){0}), PLSM_OK);
    ck_assert_int_eq(lsm_write(reader, &batch, NULL, NULL, false), PLSM_READ_ONLY);
    batch_free(&batch);
    ck_assert_int_eq(lsm_close(reader), PLSM_OK);
    reader = open_tree(&reading, "/s");
    check_all(reader, "second");
    ck_assert_int_eq(lsm_close(reader), PLSM_OK);
    ck_assert_int_eq(lsm_close(db), PLSM_OK);
    lsm_value_free(&value);
    env_memory_destroy(env);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("tree");
    TCase *tcase = tcase_create("tree");
    tcase_set_timeout(tcase, 300);
    tcase_add_test(tcase, good_model);
    tcase_add_loop_test(tcase, unusable_model, 0, 3);
    tcase_add_loop_test(tcase, unusable_membership, 0, 2);
    tcase_add_test(tcase, wrong_model);
    tcase_add_loop_test(tcase, many_versions, LSM_TRADITIONAL, LSM_CLASSIC + 1);
    tcase_add_test(tcase, runs_end_where_lower_ones_do);
    tcase_add_test(tcase, reader_beside_writer);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_set_fork_status(runner, CK_NOFORK);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
