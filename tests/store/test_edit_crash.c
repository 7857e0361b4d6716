/* Crashes in the middle of edits: after every reopening each key holds exactly what was published at one moment between
 * the last synced write and the crash, nothing leaks, and what was abandoned stays invisible. */
#include "../harness/edit_model.h"
#include "../harness/pool.h"

#include <stdio.h>

#include "base/alloc.h"

#include "base/banned.h"

enum { STEPS = 250, CRASHES = 320, CRASHES_OTHERS = 80 /* of engines but the tree */, SIZE_MAX_HERE = 700000 };

static uint64_t recovered_edits, recovered_orphans;

struct moment {
    uint64_t calls; /* of storage, when the step had returned */
    bool synced;
    struct model_digest digest;
};

struct history {
    struct env *env;
    struct moment moments[STEPS + 1];
};

static void record(struct history *history, uint64_t seed, const char *options)
{
    struct edit_model model;
    history->env = env_memory_create(seed);
    plsm *db = fixture_open(history->env, PLSM_CREATE, options);
    assert_ok(plsm_sync(db));
    edit_model_create(&model, db, seed, SIZE_MAX_HERE);
    history->moments[0] = (struct moment){env_memory_calls(history->env), true, edit_model_digest(&model)};
    for (int step = 1; step <= STEPS; step++) {
        edit_model_step(&model);
        history->moments[step] =
            (struct moment){env_memory_calls(history->env), model.synced, edit_model_digest(&model)};
    }
    ck_assert_uint_gt(model.committed_large, 5); /* else this shows little */
    printf("edit crashes: seed %llu, %llu large commits, %llu copies, %llu retired\n", (unsigned long long)seed,
           (unsigned long long)model.committed_large, (unsigned long long)atomic_load(&db->counters.copies),
           (unsigned long long)atomic_load(&db->counters.retired));
    edit_model_destroy(&model);
    assert_ok(plsm_close(db));
}

/* Writes in place on what the crash left and publishes it: pieces of before the crash must not show. */
static void go_on(plsm *db)
{
    for (int i = 0; i < MODEL_KEYS; i++) {
        size_t size = 0, again = 0;
        uint8_t *before = fixture_read(db, NULL, edit_model_key(i), &size), *after;
        if (size <= EXTENT_SIZE) {
            mem_free(before);
            continue;
        }
        plsm_edit *edit = NULL;
        assert_ok(plsm_edit_open(db, slice_of(edit_model_key(i)), 0, &edit));
        before[size - 1] ^= 0x55;
        assert_ok(plsm_edit_write(edit, size - 1, before + size - 1, 1));
        assert_ok(plsm_edit_commit(edit, slice(NULL, 0), PLSM_SYNC));
        plsm_edit_close(edit);
        after = fixture_read(db, NULL, edit_model_key(i), &again);
        ck_assert_uint_eq(again, size);
        ck_assert(memcmp(before, after, size) == 0);
        mem_free(before);
        mem_free(after);
    }
}

static void crash_at(const struct history *history, uint64_t call, enum env_crash kind, uint64_t seed,
                     const char *options)
{
    struct env *image = env_memory_crash(history->env, call, kind, seed);
    ck_assert_ptr_nonnull(image);
    plsm *db = fixture_open(image, 0, options);
    struct model_digest found = edit_store_digest(db);
    int last = 0, first = 0;
    while (last < STEPS && history->moments[last].calls <= call)
        last++; /* the step that was under way may have been done */
    for (int step = 0; step < last || step == 0; step++)
        if (history->moments[step].synced && history->moments[step].calls <= call)
            first = step;
    if (kind == ENV_CRASH_KEEP) /* nothing that had returned is lost */
        first = last > 0 && history->moments[last].calls > call ? last - 1 : last;
    bool matches = false;
    for (int step = first; step <= last && !matches; step++)
        matches = memcmp(&found, &history->moments[step].digest, sizeof found) == 0;
    ck_assert_msg(matches, "crash after call %llu, kind %d, seed %llu: no moment of steps %d to %d is like it",
                  (unsigned long long)call, kind, (unsigned long long)seed, first, last);
    ck_assert_uint_eq(fixture_markers(db), 0);
    fixture_check(db);
    recovered_edits += db->counters.recovered_edits;
    recovered_orphans += db->counters.recovered_orphans;
    go_on(db);
    fixture_check(db);
    ck_assert_uint_eq(fixture_markers(db), 0);
    assert_ok(plsm_close(db));
    env_memory_destroy(image);
}

static void crash_all(uint64_t seed, const char *options)
{
    struct history *history = mem_zalloc(sizeof *history);
    record(history, seed, options);
    uint64_t from = history->moments[0].calls, to = history->moments[STEPS].calls;
    printf("edit crashes: seed %llu, calls %llu to %llu\n", (unsigned long long)seed, (unsigned long long)from,
           (unsigned long long)to);
    struct random random;
    random_seed(&random, seed);
    for (unsigned long i = 0; i < thinned(fixture_is_tree() ? CRASHES : CRASHES_OTHERS); i++)
        crash_at(history, from + random_below(&random, to - from + 1), (enum env_crash)(i % ENV_CRASH_COUNT),
                 seed * 1000 + (uint64_t)i, options);
    env_memory_destroy(history->env);
    mem_free(history);
}

START_TEST(crashes)
{
    for (uint64_t seed = 1; seed <= 4; seed++)
        crash_all(seed, NULL);
    for (uint64_t seed = 5; seed <= 8 && fixture_is_tree(); seed++)
        crash_all(seed, "background=0,index=traditional,buffer_size=4M");
    printf("edit crashes: recovered %llu edits and %llu orphans\n", (unsigned long long)recovered_edits,
           (unsigned long long)recovered_orphans);
    ck_assert_uint_gt(recovered_edits, fixture_is_tree() ? 20 : 5);
    ck_assert_uint_gt(recovered_orphans, fixture_is_tree() ? 5 : 0);
    recovered_edits = recovered_orphans = 0;
}
END_TEST

/* A volatile write over a large value, whose pieces then go: after the death of the process the one or the other value
 * is there, whole. */
START_TEST(volatile_writes_keep_what_they_replace)
{
    enum { SIZE = 300000 };
    static uint8_t large[4 * SIZE];
    struct env *env = env_memory_create(1);
    plsm *db = fixture_open(env, PLSM_CREATE, NULL);
    fixture_fill(large, sizeof large, 1);
    assert_ok(plsm_put(db, slice_of("stays"), slice(large, sizeof large), PLSM_SYNC));
    assert_ok(plsm_put(db, slice_of("put"), slice(large, SIZE), PLSM_SYNC));
    assert_ok(plsm_put(db, slice_of("deleted"), slice(large, SIZE), PLSM_SYNC));
    assert_ok(plsm_flush(db)); /* so that neither this nor compaction comes by itself */
    uint64_t from = env_memory_calls(env);
    assert_ok(plsm_put(db, slice_of("put"), slice_of("small"), PLSM_VOLATILE));
    assert_ok(plsm_delete(db, slice_of("deleted"), PLSM_VOLATILE));
    uint64_t to = env_memory_calls(env);
    for (uint64_t call = from; call <= to; call++) {
        struct env *image = env_memory_crash(env, call, ENV_CRASH_KEEP, call);
        plsm *after = fixture_open(image, 0, NULL);
        size_t size = 0;
        uint8_t *value = fixture_read(after, NULL, "put", &size);
        ck_assert(slice_equal(slice(value, size), slice_of("small")) ||
                  slice_equal(slice(value, size), slice(large, SIZE)));
        mem_free(value);
        fixture_check(after);
        ck_assert_uint_eq(fixture_markers(after), 0);
        assert_ok(plsm_close(after));
        env_memory_destroy(image);
    }
    assert_ok(plsm_close(db));
    env_memory_destroy(env);
}
END_TEST

/* --- values with so many pieces that one deletion of a range takes them ------------------------------------------- */

enum { MANY_PIECES = 1100 };

/* One byte in each piece. */
static void put_many_pieces(plsm *db, const char *key, uint64_t spread)
{
    plsm_edit *edit = NULL;
    assert_ok(plsm_edit_open(db, slice_of(key), PLSM_EDIT_NEW, &edit));
    for (uint64_t i = 0; i < MANY_PIECES; i++)
        assert_ok(plsm_edit_write(edit, i * spread * EXTENT_SIZE + 7, &(char){(char)('A' + i % 26)}, 1));
    assert_ok(plsm_edit_commit(edit, slice(NULL, 0), PLSM_SYNC));
    plsm_edit_close(edit);
}

static void expect_many_pieces(plsm *db, const plsm_read_options *options, const char *key, uint64_t spread)
{
    for (uint64_t i = 0; i < MANY_PIECES; i += 50) {
        char byte = 0;
        size_t got = 0;
        assert_ok(plsm_read(db, options, slice_of(key), i * spread * EXTENT_SIZE + 7, &byte, 1, &got));
        ck_assert_uint_eq(got, 1);
        ck_assert_int_eq(byte, (char)('A' + i % 26));
    }
}

/* The value that goes, and one with the next identifier, which stays. */
static void delete_many_pieces(bool dense, bool flushed)
{
    struct env *env = env_memory_create(1);
    plsm *db = fixture_open(env, PLSM_CREATE, NULL);
    uint64_t spread = dense ? 1 : 3;
    unsigned gone = 0, there = 0;
    put_many_pieces(db, "goes", spread);
    put_many_pieces(db, "stays", 1);
    if (flushed)
        assert_ok(plsm_flush(db));
    uint64_t from = env_memory_calls(env);
    plsm_snapshot *snapshot = plsm_snapshot_create(db);
    plsm_read_options before = {.snapshot = snapshot};
    assert_ok(plsm_delete(db, slice_of("goes"), PLSM_SYNC));
    assert_ok(plsm_flush(db));
    expect_many_pieces(db, &before, "goes", spread);
    plsm_snapshot_destroy(db, snapshot);
    assert_ok(plsm_compact(db, slice(NULL, 0), slice(NULL, 0)));
    ck_assert_uint_eq(fixture_count(db, PLSM_EXTENTS), MANY_PIECES);
    uint64_t to = env_memory_calls(env);
    assert_ok(plsm_close(db));
    for (uint64_t call = from; call <= to; call++) {
        struct env *image = env_memory_crash(env, call, (enum env_crash)(call % ENV_CRASH_COUNT), call);
        plsm_value value = {0};
        db = fixture_open(image, 0, NULL);
        bool is_gone = plsm_get(db, NULL, slice_of("goes"), &value) == PLSM_NOT_FOUND;
        plsm_value_free(&value);
        if (!is_gone)
            expect_many_pieces(db, NULL, "goes", spread);
        expect_many_pieces(db, NULL, "stays", 1);
        ck_assert_uint_eq(fixture_count(db, PLSM_EXTENTS), is_gone ? MANY_PIECES : 2 * MANY_PIECES);
        ck_assert_uint_eq(fixture_markers(db), 0);
        fixture_check(db);
        gone += is_gone;
        there += !is_gone;
        assert_ok(plsm_close(db));
        env_memory_destroy(image);
    }
    ck_assert_uint_gt(gone, 0);
    ck_assert_uint_gt(there, 0);
    env_memory_destroy(env);
}

START_TEST(many_pieces)
{
    for (int way = 0; way < 4; way++)
        delete_many_pieces(way & 1, way & 2);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {volatile_writes_keep_what_they_replace, crashes, many_pieces};
    return fixture_run_engines("edit_crash", tests, sizeof tests / sizeof tests[0]);
}
