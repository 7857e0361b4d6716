/* Many threads on one store in a real directory, with flush and compaction in the background. */
#include "../harness/store_fixture.h"

#include <stdio.h>

#include "base/alloc.h"
#include "base/random.h"
#include "../harness/temporary.h"

#include "base/banned.h"

enum { THREADS = 4, ROUNDS = 60, SIZE_MAX_HERE = 400000 };

static const char tree_options[] = "buffer_size=1M,file_size=1M,cache_size=4M,l0_compact=2,l0_slowdown=6,l0_stop=12";

struct worker {
    plsm *db;
    int number;
    uint64_t seed;
};

static plsm *open_posix(const char *path)
{
    plsm *db = NULL;
    const char *options = fixture_is_tree() ? tree_options : fixture_options("background=1");
    assert_ok(plsm_open(path, PLSM_CREATE, options, &db));
    return db;
}

/* Each thread edits keys of its own; nothing of the others may be seen in them. */
static void edit_own(void *arg)
{
    struct worker *worker = arg;
    struct random random;
    random_seed(&random, worker->seed);
    uint8_t *content = mem_zalloc(SIZE_MAX_HERE), *data = mem_alloc(SIZE_MAX_HERE);
    char key[32];
    snprintf(key, sizeof key, "own/%d", worker->number);
    size_t size = 0;
    for (int round = 0; round < ROUNDS; round++) {
        plsm_edit *edit = NULL;
        bool fresh = round == 0 || random_below(&random, 4) == 0;
        size_t offset = (size_t)random_below(&random, SIZE_MAX_HERE), part = (size_t)random_below(&random, 200000), got;
        if (part > SIZE_MAX_HERE - offset)
            part = SIZE_MAX_HERE - offset;
        assert_ok(plsm_edit_open(worker->db, slice_of(key), fresh ? PLSM_EDIT_NEW : 0, &edit));
        if (fresh) {
            memset(content, 0, SIZE_MAX_HERE);
            size = 0;
        }
        fixture_fill(data, part, random_next(&random));
        assert_ok(plsm_edit_write(edit, offset, data, part));
        memcpy(content + offset, data, part);
        if (part > 0 && size < offset + part)
            size = offset + part;
        assert_ok(plsm_edit_commit(edit, slice(NULL, 0), round % 8 ? PLSM_NONE : PLSM_SYNC));
        plsm_edit_close(edit);
        assert_ok(plsm_read(worker->db, NULL, slice_of(key), 0, data, SIZE_MAX_HERE, &got));
        if (got != size || memcmp(data, content, size) != 0)
            ck_abort_msg("%s, seed %llu, round %d: %zu bytes instead of %zu, or others", key,
                         (unsigned long long)worker->seed, round, got, size);
    }
    mem_free(content);
    mem_free(data);
}

/* All threads put, delete, move and edit the same few keys: large and small values replace each other. Each value is
 * made of one repeated byte, so that a reader can tell a mixture. */
static void fight(void *arg)
{
    struct worker *worker = arg;
    struct random random;
    random_seed(&random, worker->seed);
    uint8_t *data = mem_alloc(SIZE_MAX_HERE);
    plsm_batch *batch = plsm_batch_create();
    for (int round = 0; round < 2 * ROUNDS; round++) {
        char key[2][16];
        for (int i = 0; i < 2; i++)
            snprintf(key[i], sizeof key[i], "shared/%d", (int)random_below(&random, 3));
        size_t size = (size_t)random_below(&random, SIZE_MAX_HERE), got = 0;
        plsm_edit *edit = NULL;
        plsm_status status = PLSM_OK;
        switch (random_below(&random, 6)) {
        case 0:
            memset(data, (int)random_below(&random, 256), size);
            assert_ok(plsm_put(worker->db, slice_of(key[0]), slice(data, size), PLSM_NONE));
            break;
        case 1:
            assert_ok(plsm_put(worker->db, slice_of(key[0]), slice_of("ssss"), PLSM_NONE));
            break;
        case 2:
            assert_ok(plsm_delete(worker->db, slice_of(key[0]), PLSM_NONE));
            break;
        case 3:
            plsm_batch_clear(batch);
            assert_ok(plsm_batch_move(batch, slice_of(key[0]), slice_of(key[1])));
            status = plsm_write(worker->db, batch, PLSM_NONE);
            if (status != PLSM_CONFLICT)
                assert_ok(status);
            break;
        case 4:
            status = plsm_edit_open(worker->db, slice_of(key[0]), 0, &edit);
            if (status == PLSM_NOT_FOUND)
                break;
            assert_ok(status);
            assert_ok(plsm_edit_read(edit, 0, data, 1, &got));
            memset(data, got ? data[0] : 7, SIZE_MAX_HERE);
            size = plsm_edit_size(edit);
            assert_ok(plsm_edit_write(edit, size / 2, data, SIZE_MAX_HERE - size / 2 < 9999 ? 1 : 9999));
            assert_ok(plsm_edit_commit(edit, slice(NULL, 0), PLSM_NONE));
            plsm_edit_close(edit);
            break;
        default:
            break;
        }
        status = plsm_read(worker->db, NULL, slice_of(key[1]), 0, data, SIZE_MAX_HERE, &got);
        if (status == PLSM_NOT_FOUND)
            continue;
        assert_ok(status);
        for (size_t i = 1; i < got; i++)
            if (data[i] != data[0])
                ck_abort_msg("%s, seed %llu: a mixture of values at %zu of %zu", key[1],
                             (unsigned long long)worker->seed, i, got);
    }
    plsm_batch_destroy(batch);
    mem_free(data);
}

/* Puts and deletes that start while no large value exists, against the first large ones. */
static void first_large(void *arg)
{
    struct worker *worker = arg;
    uint8_t *data = mem_zalloc(SIZE_MAX_HERE);
    for (int round = 0; round < 200; round++) {
        size_t size = worker->number == 0 && round % 50 == 25 ? 200000 : 10;
        assert_ok(plsm_put(worker->db, slice_of("contended"), slice(data, size), PLSM_NONE));
    }
    mem_free(data);
}

static void run_workers(plsm *db, void (*run)(void *arg), uint64_t seed)
{
    struct worker workers[THREADS];
    struct env_thread *threads[THREADS] = {0};
    for (int i = 0; i < THREADS; i++) {
        workers[i] = (struct worker){db, i, seed + (uint64_t)i};
        assert_ok(env_thread_start(env_posix(), run, &workers[i], &threads[i]));
    }
    for (int i = 0; i < THREADS; i++)
        env_thread_join(threads[i]);
}

static void run_in_directory(void (*run)(void *arg), uint64_t rounds)
{
    for (uint64_t seed = 1; seed <= rounds; seed++) {
        char *path = temporary_create();
        plsm *db = open_posix(path);
        run_workers(db, run, seed * 100);
        ck_assert_uint_eq(owners_count(&db->owners), 0);
        ck_assert_uint_eq(fixture_markers(db), 0);
        fixture_check(db);
        assert_ok(plsm_close(db));
        db = open_posix(path);
        ck_assert_uint_eq(db->counters.recovered_edits + db->counters.recovered_orphans, 0);
        fixture_check(db);
        assert_ok(plsm_close(db));
        temporary_destroy(path);
    }
}

/* An engine whose first write waits for a sign, as a writer that the scheduler has put aside. */
static struct engine slow_engine;
static const struct engine *quick_engine;
static _Atomic bool is_waiting, may_go_on;
static _Atomic int large_done;

static plsm_status slow_write(void *tree, const struct batch *batch, engine_prepare *prepare, void *arg,
                              plsm_durability durability)
{
    if (!atomic_exchange(&is_waiting, true))
        while (!atomic_load(&may_go_on))
            env_sleep_ns(env_posix(), 1000000);
    return quick_engine->write(tree, batch, prepare, arg, durability);
}

static void put_small(void *arg)
{
    assert_ok(plsm_put(arg, slice_of("k"), slice_of("small"), PLSM_NONE));
}

static void put_large_at(plsm *db, const char *key)
{
    static const uint8_t data[200000];
    assert_ok(plsm_put(db, slice_of(key), slice(data, sizeof data), PLSM_NONE));
    atomic_fetch_add(&large_done, 1);
}

static void put_large(void *arg)
{
    put_large_at(arg, "k");
}

static void put_other(void *arg)
{
    put_large_at(arg, "other");
}

/* A put that began while nothing large existed must not pass the first large value unseen: it would not retire it. Nor
 * the second, which comes while the first one waits. */
START_TEST(blind_writes_are_waited_for)
{
    char *path = temporary_create();
    plsm *db = open_posix(path);
    struct env_thread *small = NULL, *large = NULL, *other = NULL;
    plsm_value found = {0};
    quick_engine = db->engine;
    slow_engine = *quick_engine;
    slow_engine.write = slow_write;
    slow_engine.write_one = NULL;
    atomic_store(&is_waiting, false);
    atomic_store(&may_go_on, false);
    atomic_store(&large_done, 0);
    db->engine = &slow_engine;
    assert_ok(env_thread_start(env_posix(), put_small, db, &small));
    while (!atomic_load(&is_waiting))
        env_sleep_ns(env_posix(), 1000000);
    assert_ok(env_thread_start(env_posix(), put_other, db, &other));
    env_sleep_ns(env_posix(), UINT64_C(100) * 1000000);
    assert_ok(env_thread_start(env_posix(), put_large, db, &large));
    env_sleep_ns(env_posix(), UINT64_C(300) * 1000000);
    bool waited = atomic_load(&large_done) == 0;
    atomic_store(&may_go_on, true);
    env_thread_join(small);
    env_thread_join(other);
    env_thread_join(large);
    ck_assert(waited);
    assert_ok(plsm_get(db, NULL, slice_of("k"), &found));
    ck_assert(found.large);
    plsm_value_free(&found);
    fixture_check(db);
    db->engine = quick_engine;
    assert_ok(plsm_close(db));
    temporary_destroy(path);
}
END_TEST

START_TEST(edits_of_different_keys)
{
    run_in_directory(edit_own, 2);
}
END_TEST

START_TEST(everybody_on_the_same_keys)
{
    run_in_directory(fight, 3);
}
END_TEST

START_TEST(the_first_large_value)
{
    run_in_directory(first_large, 10);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {blind_writes_are_waited_for, edits_of_different_keys, everybody_on_the_same_keys,
                                  the_first_large_value};
    return fixture_run_engines("edit_threads", tests, sizeof tests / sizeof tests[0]);
}
