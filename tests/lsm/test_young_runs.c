/* The table over young runs in a tree: places follow runs through flushes, compactions, moves and openings; whatever is
 * read, the answer is that of a list of keys. */
#include <check.h>
#include <inttypes.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/env_memory.h"
#include "base/error.h"
#include "base/random.h"
#include "base/checksum.h"
#include "lsm/cursor.h"
#include "lsm/db.h"
#include "tests/harness/statistic.h"
#include "tests/harness/pool.h"

#include "base/banned.h"

enum {
    KEYS = 20000,
    KEY_SIZE = 17,
    PRESENT_PERCENT = 60,
    ROUNDS = 12,
    WAIT_MS = 20000,
};

static struct env *env;

static struct lsm_options options(bool background)
{
    struct lsm_options o;
    lsm_options_default(&o);
    o.env = env;
    o.create = true;
    o.background = background;
    o.buffer_size = 64 << 10;
    o.file_size = 64 << 10;
    o.size_ratio = 3;
    o.l0_compact = 3;
    o.cache_size = 1 << 20;
    return o;
}

static struct lsm *open_tree(const struct lsm_options *o)
{
    struct lsm *db = NULL;
    ck_assert_msg(lsm_open("/s", o, &db) == PLSM_OK, "%s", plsm_message());
    return db;
}

/* Keys that no exact set can hold, of two levels of directories: \1, then "abcdef/ghijklmno". */
static plsm_slice key_of(uint64_t seed, unsigned number, uint8_t *out)
{
    uint64_t state = seed + number, random = splitmix64(&state), more = splitmix64(&state);
    out[0] = LSM_DIRECTORY_BYTE;
    for (int i = 1; i < KEY_SIZE; i++) {
        out[i] = (uint8_t)('a' + random % 24);
        random = i == 8 ? more : random / 24;
    }
    out[6] = '/';
    return slice(out, KEY_SIZE);
}

struct keys {
    uint64_t seed;
    uint32_t values[KEYS]; /* 0: not there */
};

static void write_some(struct lsm *db, struct keys *keys, struct random *random, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        unsigned number = (unsigned)random_below(random, KEYS);
        uint8_t bytes[KEY_SIZE], value[40] = {0};
        struct batch batch = {0};
        bool put = random_below(random, 100) < PRESENT_PERCENT;
        keys->values[number] = put ? (uint32_t)random_next(random) | 1 : 0;
        put_u32(value, keys->values[number]);
        plsm_slice key = key_of(keys->seed, number, bytes);
        ck_assert_int_eq(batch_add(&batch, put ? BATCH_PUT : BATCH_DELETE, bytes[0],
                                   slice((const uint8_t *)key.data + 1, key.size - 1), (plsm_slice){0},
                                   put ? slice(value, sizeof value) : (plsm_slice){0}),
                         PLSM_OK);
        ck_assert_msg(lsm_write(db, &batch, NULL, NULL, false) == PLSM_OK, "%s", plsm_message());
        batch_free(&batch);
    }
}

static void is_right(const struct keys *keys, unsigned number, plsm_status status, const struct lsm_value *value)
{
    uint32_t expected = keys->values[number];
    ck_assert_msg(status == (expected ? PLSM_OK : PLSM_NOT_FOUND), "seed %llu, key %u: status %d (%s)",
                  (unsigned long long)keys->seed, number, (int)status, plsm_message());
    if (expected)
        ck_assert_uint_eq(get_u32(value->value.data), expected);
}

static void check_all(struct lsm *db, const struct keys *keys, struct random *random)
{
    enum { MANY = 100 };
    static struct lsm_value values[MANY];
    static uint8_t bytes[MANY][KEY_SIZE];
    plsm_slice many[MANY];
    unsigned numbers[MANY];
    plsm_status statuses[MANY];
    for (unsigned number = 0; number < KEYS; number += 1 + (unsigned)random_below(random, 3)) {
        plsm_slice key = key_of(keys->seed, number, bytes[0]);
        is_right(keys, number, lsm_get(db, NULL, key, false, &values[0]), &values[0]);
    }
    for (unsigned round = 0; round < 50; round++) {
        for (unsigned i = 0; i < MANY; i++) {
            numbers[i] = (unsigned)random_below(random, KEYS);
            many[i] = key_of(keys->seed, numbers[i], bytes[i]);
        }
        ck_assert_int_eq(lsm_multi_get(db, NULL, many, MANY, false, values, statuses), PLSM_OK);
        for (unsigned i = 0; i < MANY; i++)
            is_right(keys, numbers[i], statuses[i], &values[i]);
    }
    for (unsigned number = 0; number < KEYS; number += 11) {
        bool there = false;
        plsm_slice directory = slice(key_of(keys->seed, number, bytes[0]).data, 7);
        ck_assert_int_eq(lsm_has_prefix(db, NULL, directory, &there), PLSM_OK);
        if (keys->values[number])
            ck_assert(there);
    }
    for (unsigned i = 0; i < MANY; i++)
        lsm_value_free(&values[i]);
    memset(values, 0, sizeof values);
}

/* Runs above the last level; with `placed` only those in the table. */
static unsigned young(struct lsm *db, bool placed)
{
    unsigned count = 0;
    mutex_lock(&db->edit_lock);
    const struct version *version = db->version;
    for (unsigned level = 0; level == 0 || level < version->last; level++)
        for (size_t i = 0; i < version->levels[level].count; i++)
            count += !placed || version->levels[level].places[i] != YOUNG_PLACE_NONE;
    mutex_unlock(&db->edit_lock);
    return count;
}

/* Looks keys up until the runs that were there at opening have been adopted, which many lookups pay for. */
static void wait_for_adoption(struct lsm *db, const struct keys *keys, struct random *random)
{
    for (int waited_ms = 0; young(db, true) < young(db, false); waited_ms += 100) {
        ck_assert_msg(waited_ms < WAIT_MS, "%u of %u young runs are in the table; tables: %.0f bytes, %.0f keys",
                      young(db, true), young(db, false), statistic(db, "filter.young.bytes"),
                      statistic(db, "filter.young.keys"));
        check_all(db, keys, random);
        env_sleep_ns(env, 100 * 1000 * 1000);
    }
}

static void grow(bool background, uint64_t seed)
{
    static struct keys keys;
    struct random random;
    struct lsm_options o = options(background);
    memset(&keys, 0, sizeof keys);
    keys.seed = seed;
    random_seed(&random, seed);
    env = env_memory_create(seed);
    o.env = env;
    struct lsm *db = open_tree(&o);
    unsigned most = 0;
    double probes = 0;
    for (unsigned round = 0; round < ROUNDS; round++) {
        write_some(db, &keys, &random, 3000);
        check_all(db, &keys, &random);
        most = young(db, true) > most ? young(db, true) : most;
        probes += statistic(db, "filter.young.probes");
        if (round % 4 == 3) {
            ck_assert_int_eq(lsm_close(db), PLSM_OK);
            db = open_tree(&o);
            check_all(db, &keys, &random);
            if (background)
                wait_for_adoption(db, &keys, &random);
            check_all(db, &keys, &random);
        }
    }
    ck_assert_uint_gt(db->version->last, 1);
    ck_assert_uint_gt(most, 3);
    ck_assert(probes > 0);
    ck_assert_int_eq(lsm_compact(db, (plsm_slice){0}, (plsm_slice){0}), PLSM_OK);
    check_all(db, &keys, &random);
    ck_assert_uint_eq(young(db, true), 0);
    ck_assert_msg(lsm_check(db, NULL, NULL, NULL) == PLSM_OK, "%s", plsm_message());
    young_runs_sweep(db->young);
    ck_assert(statistic(db, "filter.young.keys") == 0);
    ck_assert_int_eq(lsm_close(db), PLSM_OK);
    env_memory_destroy(env);
}

START_TEST(places_follow_runs)
{
    grow(false, 100 + (uint64_t)_i);
}
END_TEST

START_TEST(with_threads)
{
    grow(true, 200 + (uint64_t)_i);
}
END_TEST

/* A few runs of level 0 that all have the same keys: their models are asked before the table is, once keys are mostly
 * found there. The newest run that has a key decides, also where it deletes it, and also when it was
 * just written and has not been loaded yet. */
START_TEST(few_runs_of_level_0)
{
    static struct keys keys;
    struct random random;
    struct lsm_value value = {0};
    uint8_t bytes[KEY_SIZE];
    memset(&keys, 0, sizeof keys);
    keys.seed = 300 + (uint64_t)_i;
    random_seed(&random, keys.seed);
    env = env_memory_create(keys.seed);
    struct lsm_options o = options(false);
    o.buffer_size = 4 << 20;
    o.l0_compact = 8;
    o.l0_slowdown = 12;
    struct lsm *db = open_tree(&o);
    write_some(db, &keys, &random, KEYS);
    ck_assert_int_eq(lsm_compact(db, (plsm_slice){0}, (plsm_slice){0}), PLSM_OK);
    for (unsigned run = 1; run <= 5; run++) {
        write_some(db, &keys, &random, KEYS / 2);
        ck_assert_int_eq(lsm_flush(db), PLSM_OK);
        ck_assert_uint_eq(db->version->levels[0].count, run);
        ck_assert_uint_eq(db->version->levels[0].outside, 0);
        for (unsigned i = 0; i < 2 * KEYS; i++) {
            /* Stretches of keys that are there, most of which level 0 has, and stretches of any. */
            unsigned number = (unsigned)random_below(&random, KEYS);
            while (i % 1000 < 700 && !keys.values[number])
                number = (number + 1) % KEYS;
            is_right(&keys, number, lsm_get(db, NULL, key_of(keys.seed, number, bytes), false, &value), &value);
        }
        check_all(db, &keys, &random);
    }
    lsm_value_free(&value);
    ck_assert_int_eq(lsm_close(db), PLSM_OK);
    env_memory_destroy(env);
}
END_TEST

/* What is held for long keeps its answers: a view of an old version, while its runs leave the table one by one. */
START_TEST(an_old_view_keeps_its_places)
{
    static struct keys keys, now;
    struct random random;
    env = env_memory_create(7);
    struct lsm_options o = options(false);
    memset(&keys, 0, sizeof keys);
    keys.seed = 7;
    random_seed(&random, 7);
    struct lsm *db = open_tree(&o);
    write_some(db, &keys, &random, 6000);
    struct view *view = view_acquire(db);
    ck_assert_ptr_nonnull(view->version->young);
    now = keys;
    for (int round = 0; round < 3; round++) {
        write_some(db, &now, &random, 4000);
        ck_assert_int_eq(lsm_compact(db, (plsm_slice){0}, (plsm_slice){0}), PLSM_OK);
        young_runs_sweep(db->young);
    }
    /* Every key of every run of the old version is still found in the table. */
    for (unsigned level = 0; level < LSM_LEVELS; level++)
        for (size_t i = 0; i < view->version->levels[level].count; i++) {
            const struct level *l = &view->version->levels[level];
            struct cursor_options walk = {.seq = SEQ_MAX};
            struct cursor cursor = {0};
            if (l->places[i] == YOUNG_PLACE_NONE)
                continue;
            ck_assert_int_eq(cursor_open_runs(&cursor, &l->runs[i], 1, &walk), PLSM_OK);
            for (cursor_first(&cursor); cursor.valid; cursor_next(&cursor)) {
                struct young_places found;
                uint64_t hash = key_hash(cursor.entry.key.data, cursor.entry.key.size);
                young_runs_find(view->version->young, &view->version->in_table, hash, &found);
                ck_assert(young_places_has(&found, l->places[i]));
            }
            cursor_close(&cursor);
        }
    view_release(view);
    check_all(db, &now, &random);
    ck_assert_int_eq(lsm_close(db), PLSM_OK);
    env_memory_destroy(env);
}
END_TEST

/* More runs than one table has room for, then more than all tables have: the rest is asked by itself. */
START_TEST(places_run_out)
{
    enum { HASHES = 5000, RUNS = YOUNG_TABLES * YOUNG_SLOTS + 5 };
    static uint64_t hashes[HASHES];
    static uint8_t places[RUNS];
    struct random random;
    struct young_runs *y = young_runs_create();
    struct young_runs_info info;
    unsigned placed = 0;
    random_seed(&random, 1);
    for (unsigned run = 0; run < RUNS; run++) {
        for (unsigned i = 0; i < HASHES; i++)
            hashes[i] = random_next(&random);
        places[run] = young_runs_enter(y, hashes, HASHES, 0);
        placed += places[run] != YOUNG_PLACE_NONE;
    }
    young_runs_get_info(y, &info);
    ck_assert_uint_eq(info.tables, YOUNG_TABLES);
    ck_assert_uint_eq(info.runs, placed);
    ck_assert_uint_gt(placed, 10);
    ck_assert_uint_eq(places[RUNS - 1], YOUNG_PLACE_NONE);
    ck_assert_uint_lt(young_runs_room(y), HASHES);
    for (unsigned run = 0; run < RUNS; run++)
        if (places[run] != YOUNG_PLACE_NONE)
            young_runs_release(y, places[run]);
    ck_assert_uint_gt(young_runs_room(y), HASHES);
    young_runs_get_info(y, &info);
    ck_assert_uint_eq(info.tables, 1);
    ck_assert_uint_eq(info.entries, 0);
    ck_assert_uint_ne(young_runs_enter(y, hashes, HASHES, 0), YOUNG_PLACE_NONE);
    young_runs_destroy(y);
}
END_TEST

/* Where it is known how many keys will come, many runs find room (without: 35, see above). */
START_TEST(as_many_as_expected)
{
    enum { HASHES = 5000, RUNS = 2 * YOUNG_SLOTS };
    static uint64_t hashes[HASHES];
    struct random random;
    struct young_runs *y = young_runs_create();
    random_seed(&random, 2);
    for (unsigned run = 0; run < RUNS; run++) {
        for (unsigned i = 0; i < HASHES; i++)
            hashes[i] = random_next(&random);
        ck_assert_uint_gt(young_runs_room(y), HASHES);
        ck_assert_msg(young_runs_enter(y, hashes, HASHES, HASHES * RUNS * 5 / 4) != YOUNG_PLACE_NONE, "run %u", run);
    }
    young_runs_destroy(y);
}
END_TEST

START_TEST(sizes_of_tables)
{
    static const struct {
        uint64_t present, count, expected, size;
    } cases[] = {
        {0, 500, 30000, 4000},      {0, 500, 3000, 3000},       {0, 500, 0, 1000},       {0, 500, 9000, 4000},
        {4000, 500, 30000, 26000},  {4000, 500, 300000, 36000}, {4000, 500, 1000, 9000}, {17000, 500, 90000, 73000},
        {17000, 500, 30000, 35000}, {17000, 500, 17000, 35000},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        ck_assert_uint_eq(young_runs_table_size(cases[i].present, cases[i].count, cases[i].expected), cases[i].size);
}
END_TEST

/* --- tables that have become too large -----------------------------------------------------------------------------*/

enum { LARGE = 850000 }; /* hashes: tables that can be divided by 6 */

static uint64_t *random_hashes(struct random *random, size_t count)
{
    uint64_t *hashes = malloc(count * sizeof *hashes);
    ck_assert_ptr_nonnull(hashes);
    for (size_t i = 0; i < count; i++)
        hashes[i] = random_next(random);
    return hashes;
}

static uint64_t bytes_of(struct young_runs *y)
{
    struct young_runs_info info;
    young_runs_get_info(y, &info);
    return info.bytes;
}

static struct young_runs *create_charged(struct mem_account *account, struct epoch *epoch)
{
    struct young_runs *y = young_runs_create();
    ck_assert_ptr_nonnull(y);
    y->account = account;
    y->epoch = epoch;
    return y;
}

static void is_found(const struct young_runs *y, uint8_t place, const uint64_t *hashes, size_t count)
{
    struct young_places of = {0}, found;
    of.slots[place / YOUNG_SLOTS] = UINT64_C(1) << place % YOUNG_SLOTS;
    size_t denied = 0;
    for (size_t i = 0; i < count; i++) {
        young_runs_find(y, &of, hashes[i], &found);
        denied += !young_places_has(&found, place);
    }
    ck_assert_uint_eq(denied, 0);
}

/* A table that has become too large becomes small again: once it has been for a while, when no more is expected, and
 * not while a reader can be at the old one, which is charged for until then. */
START_TEST(a_sparse_table_shrinks)
{
    enum { SMALL = LARGE / 10 };
    const uint64_t second = 1000 * 1000 * 1000;
    struct mem_account account = {0};
    struct random random;
    random_seed(&random, 11);
    struct epoch *epoch = epoch_create();
    struct young_runs *y = create_charged(&account, epoch);
    uint64_t *large = random_hashes(&random, LARGE), *small = random_hashes(&random, SMALL);
    uint8_t many = young_runs_enter(y, large, LARGE, LARGE), few = young_runs_enter(y, small, SMALL, LARGE);
    uint64_t before = bytes_of(y);
    ck_assert(!young_runs_fit(y, 0, second));
    young_runs_release(y, many);
    ck_assert(young_runs_fit(y, 0, 10 * second));
    ck_assert(young_runs_fit(y, 0, 12 * second - 1));
    ck_assert(!young_runs_fit(y, LARGE, 13 * second)); /* so much will come */
    ck_assert(young_runs_fit(y, 0, 14 * second));
    young_runs_enter(y, large, LARGE / 2, 0); /* and so much has come */
    ck_assert(!young_runs_fit(y, 0, 17 * second));
    young_runs_release(y, many); /* the same place */
    ck_assert(young_runs_fit(y, SMALL, 20 * second));
    ck_assert_uint_eq(bytes_of(y), before);
    epoch_enter(epoch);
    ck_assert(young_runs_fit(y, SMALL, 22 * second));
    uint64_t after = bytes_of(y);
    printf("young: %" PRIu64 " bytes became %" PRIu64 "\n", before, after);
    ck_assert_uint_lt(after, before / 4);
    epoch_reclaim(epoch);
    ck_assert_int_ge(atomic_load(&account.bytes), (int64_t)(before + after));
    is_found(y, few, small, SMALL);
    epoch_exit(epoch);
    epoch_reclaim(epoch);
    ck_assert_int_lt(atomic_load(&account.bytes), (int64_t)(after + (64 << 10)));
    ck_assert(!young_runs_fit(y, SMALL, 30 * second));
    is_found(y, few, small, SMALL);
    uint8_t next = young_runs_enter(y, large, SMALL, SMALL); /* there is room for as much again */
    is_found(y, next, large, SMALL);
    ck_assert_uint_eq(bytes_of(y), after);
    young_runs_destroy(y);
    epoch_destroy(epoch);
    ck_assert_int_eq(atomic_load(&account.bytes), 0);
    free(large);
    free(small);
}
END_TEST

/* One that is empty goes; where there is no memory everything stays, and it is not tried again at once. */
START_TEST(an_empty_table_goes)
{
    struct mem_account account = {0};
    struct random random;
    random_seed(&random, 12);
    struct epoch *epoch = epoch_create();
    struct young_runs *y = create_charged(&account, epoch);
    uint64_t *hashes = random_hashes(&random, LARGE);
    uint8_t many = young_runs_enter(y, hashes, LARGE, 0), few = young_runs_enter(y, hashes, 1000, 0);
    young_runs_release(y, many);
    ck_assert(young_runs_fit(y, 0, 1));
    uint64_t before = bytes_of(y);
    for (uint64_t nth = 1; nth <= 2; nth++) {
        mem_fail_at(nth);
        ck_assert(!young_runs_fit(y, 0, 1 + YOUNG_SPARSE_NS));
        mem_fail_at(0);
        ck_assert_uint_eq(bytes_of(y), before);
        is_found(y, few, hashes, 1000);
    }
    young_runs_release(y, few);
    ck_assert(young_runs_fit(y, 0, 1 + YOUNG_SPARSE_NS));
    ck_assert_uint_eq(bytes_of(y), 0);
    ck_assert_int_eq(atomic_load(&account.bytes), 0);
    ck_assert_uint_ne(young_runs_enter(y, hashes, 1000, 0), YOUNG_PLACE_NONE);
    young_runs_destroy(y);
    epoch_destroy(epoch);
    free(hashes);
}
END_TEST

/* A tree looks after that by itself, with threads also when nothing is written any more. */
START_TEST(a_tree_shrinks_its_table)
{
    static struct keys keys;
    struct random random;
    bool background = _i;
    env = env_memory_create(13);
    struct lsm_options o = options(background);
    memset(&keys, 0, sizeof keys);
    keys.seed = 13;
    random_seed(&random, 13);
    struct lsm *db = open_tree(&o);
    uint64_t *hashes = random_hashes(&random, LARGE);
    young_runs_release(db->young, young_runs_enter(db->young, hashes, LARGE, 0));
    free(hashes);
    uint64_t before = bytes_of(db->young);
    write_some(db, &keys, &random, 6000);
    for (int waited_ms = 0; waited_ms < WAIT_MS && bytes_of(db->young) == before; waited_ms += 100) {
        env_sleep_ns(env, 100 * 1000 * 1000);
        if (!background)
            write_some(db, &keys, &random, 300);
    }
    ck_assert_uint_lt(bytes_of(db->young), before / 4);
    check_all(db, &keys, &random);
    ck_assert_int_eq(lsm_close(db), PLSM_OK);
    env_memory_destroy(env);
}
END_TEST

/* Tables grow and shrink all the time beside readers, flushes and compactions. (The tree looks after them by a clock of
 * its own, so that some shrink at once.) */
static struct {
    struct lsm *db;
    const struct keys *stay; /* nobody changes these any more */
    atomic_bool done;
    uint64_t seed;
    _Atomic uint64_t read, shrunk;
} churn;

static void *churn_read(void *arg)
{
    struct random random;
    struct lsm_value value = {0};
    uint8_t bytes[KEY_SIZE];
    random_seed(&random, churn.seed + (uint64_t)(uintptr_t)arg);
    while (!atomic_load_explicit(&churn.done, memory_order_relaxed)) {
        unsigned number = (unsigned)random_below(&random, KEYS);
        uint32_t expected = churn.stay->values[number];
        plsm_status status = lsm_get(churn.db, NULL, key_of(churn.stay->seed, number, bytes), false, &value);
        INVARIANT(status == (expected ? PLSM_OK : PLSM_NOT_FOUND));
        INVARIANT(!expected || get_u32(value.value.data) == expected);
        atomic_fetch_add_explicit(&churn.read, 1, memory_order_relaxed);
    }
    lsm_value_free(&value);
    return NULL;
}

static void *churn_sizes(void *arg)
{
    struct random random;
    random_seed(&random, churn.seed);
    uint64_t *hashes = random_hashes(&random, LARGE), now_ns = 1;
    while (!atomic_load_explicit(&churn.done, memory_order_relaxed)) {
        uint8_t place = young_runs_enter(churn.db->young, hashes, LARGE, 0);
        if (place != YOUNG_PLACE_NONE)
            young_runs_release(churn.db->young, place);
        uint64_t before = bytes_of(churn.db->young);
        for (int i = 0; i < 2; i++)
            young_runs_fit(churn.db->young, 0, now_ns += YOUNG_SPARSE_NS);
        churn.shrunk += bytes_of(churn.db->young) < before;
        epoch_reclaim(churn.db->epoch);
        sched_yield();
    }
    free(hashes);
    return NULL;
}

START_TEST(shrinks_beside_readers_and_flushes)
{
    enum { CHANGES = 4, SHRINKS_LEAST = 5 };
    const uint64_t limit_ns = UINT64_C(300) * 1000 * 1000 * 1000;
    static struct keys keys, moving; /* of other names */
    struct random random;
    pthread_t threads[3];
    memset(&keys, 0, sizeof keys);
    memset(&moving, 0, sizeof moving);
    churn.seed = keys.seed = 500 + (uint64_t)_i;
    random_seed(&random, keys.seed);
    env = env_memory_create(keys.seed);
    struct lsm_options o = options(true);
    o.env = env;
    churn.db = open_tree(&o);
    churn.stay = &keys;
    atomic_store(&churn.done, false);
    atomic_store(&churn.read, 0);
    atomic_store(&churn.shrunk, 0);
    write_some(churn.db, &keys, &random, KEYS);
    moving.seed = keys.seed + 1000000;
    for (uintptr_t i = 0; i < 3; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, i ? churn_read : churn_sizes, (void *)i), 0);
    const uint64_t end_ns = env_now_ns(env) + limit_ns;
    /* While runs of the tree hold all tables, only more flushes and compactions make room for one that can shrink. */
    for (unsigned round = 0; round < CHANGES || atomic_load(&churn.shrunk) < SHRINKS_LEAST; round++) {
        write_some(churn.db, &moving, &random, 4000);
        if (env_now_ns(env) > end_ns)
            break;
    }
    atomic_store(&churn.done, true);
    for (int i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
    printf("young: churn seed %" PRIu64 ": %" PRIu64 " reads, %" PRIu64 " tables shrank\n", churn.seed,
           atomic_load(&churn.read), atomic_load(&churn.shrunk));
    ck_assert_uint_ge(atomic_load(&churn.shrunk), SHRINKS_LEAST);
    check_all(churn.db, &keys, &random);
    check_all(churn.db, &moving, &random);
    ck_assert_int_eq(lsm_close(churn.db), PLSM_OK);
    env_memory_destroy(env);
}
END_TEST

/* Runs that find no room at first are adopted once there is some. */
START_TEST(room_comes_back)
{
    enum { HASHES = 40000, MANY = YOUNG_TABLES * YOUNG_SLOTS };
    static struct keys keys;
    static uint64_t hashes[HASHES];
    uint8_t places[MANY];
    unsigned count = 0;
    struct random random;
    env = env_memory_create(8);
    struct lsm_options o = options(true);
    o.l0_compact = o.l0_slowdown = 40; /* no compaction, which would enter new runs */
    o.l0_stop = 50;
    memset(&keys, 0, sizeof keys);
    keys.seed = 8;
    random_seed(&random, 8);
    struct lsm *db = open_tree(&o);
    write_some(db, &keys, &random, 9000);
    ck_assert_int_eq(lsm_flush(db), PLSM_OK);
    ck_assert_int_eq(lsm_close(db), PLSM_OK);
    db = open_tree(&o);
    for (size_t size = HASHES; size > 0; size /= 2) /* larger ones first, then what fits in the gaps */
        for (bool found = true; found && count < MANY; count += found) {
            for (unsigned i = 0; i < size; i++)
                hashes[i] = random_next(&random);
            places[count] = young_runs_enter(db->young, hashes, size, 0);
            found = places[count] != YOUNG_PLACE_NONE;
        }
    for (int i = 0; i < 3; i++) {
        check_all(db, &keys, &random);
        env_sleep_ns(env, 500 * 1000 * 1000);
    }
    ck_assert_uint_gt(young(db, false), 0);
    ck_assert_uint_eq(young(db, true), 0);
    for (unsigned i = 0; i < count; i++)
        young_runs_release(db->young, places[i]);
    write_some(db, &keys, &random, 1000);
    ck_assert_int_eq(lsm_flush(db), PLSM_OK); /* whereupon it is looked at again */
    wait_for_adoption(db, &keys, &random);
    check_all(db, &keys, &random);
    ck_assert_int_eq(lsm_close(db), PLSM_OK);
    env_memory_destroy(env);
}
END_TEST

/* Runs that are adopted share one table, which is made for all of them: for their directories, too. */
START_TEST(one_table_for_keys_and_directories)
{
    static struct keys keys;
    struct random random;
    struct young_runs_info info;
    env = env_memory_create(10);
    struct lsm_options o = options(true);
    o.buffer_size = o.file_size = 4 << 20;
    o.l0_compact = o.l0_slowdown = 40; /* no compaction */
    o.l0_stop = 50;
    memset(&keys, 0, sizeof keys);
    keys.seed = 10;
    random_seed(&random, 10);
    struct lsm *db = open_tree(&o);
    for (int run = 0; run < 4; run++) {
        write_some(db, &keys, &random, 7000);
        ck_assert_int_eq(lsm_flush(db), PLSM_OK);
    }
    ck_assert_int_eq(lsm_close(db), PLSM_OK);
    db = open_tree(&o);
    ck_assert_uint_eq(young(db, false), 4);
    wait_for_adoption(db, &keys, &random);
    young_runs_get_info(db->young, &info);
    ck_assert_uint_eq(info.tables, 1);
    ck_assert_int_eq(lsm_close(db), PLSM_OK);
    env_memory_destroy(env);
}
END_TEST

/* The table is not asked for keys outside of the bounds of all runs in it, and is for those at the bounds. */
START_TEST(bounds_of_the_table)
{
    static const struct {
        const char *key;
        bool there;
        uint64_t probes;
    } cases[] = {
        {"\1a", false, 0},       {"\1k", false, 0}, {"\1kaaaaaaa", true, 1},  {"\1m", false, 1},
        {"\1paaaaaaa", true, 1}, {"\1q", false, 0}, {"\1paaaaaab", false, 1}, /* heads are compared: 8 bytes */
    };
    env = env_memory_create(9);
    struct lsm_options o = options(true);
    struct lsm *db = open_tree(&o);
    struct batch batch = {0};
    for (const char *c = "kmp"; *c; c++) {
        char key[] = "?aaaaaaa";
        key[0] = *c;
        ck_assert_int_eq(batch_add(&batch, BATCH_PUT, 1, slice_of(key), (plsm_slice){0}, slice_of(key)), PLSM_OK);
    }
    ck_assert_int_eq(lsm_write(db, &batch, NULL, NULL, false), PLSM_OK);
    ck_assert_int_eq(lsm_flush(db), PLSM_OK);
    ck_assert_uint_eq(young(db, true), 1);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct lsm_value value = {0};
        lsm_statistics_reset(db);
        ck_assert_int_eq(lsm_get(db, NULL, slice_of(cases[i].key), false, &value),
                         cases[i].there ? PLSM_OK : PLSM_NOT_FOUND);
        ck_assert_msg(counter_read(&db->counters, COUNT_YOUNG_PROBES) == cases[i].probes, "key %s", cases[i].key);
        lsm_value_free(&value);
    }
    batch_free(&batch);
    ck_assert_int_eq(lsm_close(db), PLSM_OK);
    env_memory_destroy(env);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("young runs");
    TCase *tests = tcase_create("young runs");
    tcase_set_timeout(tests, 600);
    tcase_add_loop_test(tests, places_follow_runs, 0, (int)thinned(3));
    tcase_add_loop_test(tests, with_threads, 0, 2);
    tcase_add_loop_test(tests, few_runs_of_level_0, 0, 2);
    tcase_add_test(tests, an_old_view_keeps_its_places);
    tcase_add_test(tests, places_run_out);
    tcase_add_test(tests, as_many_as_expected);
    tcase_add_test(tests, sizes_of_tables);
    tcase_add_test(tests, a_sparse_table_shrinks);
    tcase_add_test(tests, an_empty_table_goes);
    tcase_add_loop_test(tests, a_tree_shrinks_its_table, 0, 2);
    tcase_add_loop_test(tests, shrinks_beside_readers_and_flushes, 0, 2);
    tcase_add_test(tests, room_comes_back);
    tcase_add_test(tests, one_table_for_keys_and_directories);
    tcase_add_test(tests, bounds_of_the_table);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}
