/* Identifiers: never twice, not across opens, crashes or threads. */
#include "../harness/store_fixture.h"

#include <stdlib.h>

#include "base/alloc.h"

#include "base/banned.h"

START_TEST(across_opens)
{
    struct env *env = env_memory_create(1);
    uint64_t last = UINT64_C(1) << 16;
    for (int round = 0; round < 4; round++) {
        plsm *db = fixture_open(env, round == 0 ? PLSM_CREATE : 0, NULL);
        for (int i = 0; i < 5000; i++) { /* more than a reservation */
            uint64_t id = 0;
            assert_ok(plsm_new_id(db, &id));
            ck_assert_uint_gt(id, last);
            last = id;
        }
        assert_ok(plsm_close(db));
    }
    ck_assert_uint_lt(last, (UINT64_C(1) << 16) + 4 * 3 * 4096); /* the counter is not wasted either */
    env_memory_destroy(env);
}
END_TEST

START_TEST(across_crashes)
{
    enum { GIVEN = 9000, STEP = 1500 };
    struct env *env = env_memory_create(1);
    plsm *db = fixture_open(env, PLSM_CREATE, NULL);
    struct {
        uint64_t calls, id;
    } marks[GIVEN / STEP];
    uint64_t id = 0;
    for (int i = 0; i < GIVEN; i++) {
        assert_ok(plsm_new_id(db, &id));
        if (i % STEP == STEP - 1) {
            marks[i / STEP].calls = env_memory_calls(env);
            marks[i / STEP].id = id;
        }
        if (i % 100 == 0)
            fixture_put(db, "k", "v");
    }
    for (size_t i = 0; i < GIVEN / STEP; i++) {
        for (int kind = 0; kind < ENV_CRASH_COUNT; kind++) {
            for (uint64_t seed = 1; seed <= 4; seed++) {
                struct env *image = env_memory_crash(env, marks[i].calls, kind, seed);
                plsm *reopened = fixture_open(image, 0, NULL);
                assert_ok(plsm_new_id(reopened, &id));
                ck_assert_msg(id > marks[i].id, "crash %d, seed %llu: %llu was given before", kind,
                              (unsigned long long)seed, (unsigned long long)id);
                assert_ok(plsm_close(reopened));
                env_memory_destroy(image);
            }
        }
    }
    assert_ok(plsm_close(db));
    env_memory_destroy(env);
}
END_TEST

enum { THREADS = 4, EACH = 6000 };

struct taker {
    plsm *db;
    uint64_t ids[EACH];
};

static void take(void *arg)
{
    struct taker *taker = arg;
    for (int i = 0; i < EACH; i++)
        assert_ok(plsm_new_id(taker->db, &taker->ids[i]));
}

static int compare(const void *a, const void *b)
{
    uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;
    return (left > right) - (left < right);
}

START_TEST(across_threads)
{
    struct env *env = env_memory_create(1);
    plsm *db = fixture_open(env, PLSM_CREATE, NULL);
    struct taker *takers = mem_zalloc(THREADS * sizeof *takers);
    struct env_thread *threads[THREADS] = {0};
    uint64_t *all = mem_alloc(THREADS * EACH * sizeof *all);
    for (int i = 0; i < THREADS; i++) {
        takers[i].db = db;
        assert_ok(env_thread_start(env, take, &takers[i], &threads[i]));
    }
    for (int i = 0; i < THREADS; i++) {
        env_thread_join(threads[i]);
        memcpy(all + i * EACH, takers[i].ids, sizeof takers[i].ids);
    }
    qsort(all, THREADS * EACH, sizeof *all, compare);
    for (int i = 1; i < THREADS * EACH; i++)
        ck_assert_uint_lt(all[i - 1], all[i]);
    mem_free(all);
    mem_free(takers);
    assert_ok(plsm_close(db));
    env_memory_destroy(env);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {across_opens, across_crashes, across_threads};
    return fixture_run_engines("ids", tests, sizeof tests / sizeof tests[0]);
}
