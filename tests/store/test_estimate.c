/* The statistics store.keys and store.bytes_live of the tree, by value: what is counted while entries are in memory, in
 * runs, deleted in either, and never below what cannot be. */
#include <stdio.h>

#include "lsm/db.h"
#include "lsm/memtable_private.h"
#include "tests/harness/store_fixture.h"

#include "base/banned.h"

enum { KEYS = 1000, KEY_BYTES = 11, VALUE_BYTES = 100 };
#define OPTIONS "background=0,buffer_size=64M,l0_compact=40,l0_slowdown=50,l0_stop=60"

static struct env *env;
static plsm *db;

static void start(void)
{
    env = env_memory_create(1);
    db = fixture_open(env, PLSM_CREATE, OPTIONS);
}

static void stop(void)
{
    fixture_check(db);
    assert_ok(plsm_close(db));
    env_memory_destroy(env);
}

struct statistics {
    uint64_t keys, bytes_live;
};

static void take(void *arg, const plsm_statistic *statistic)
{
    struct statistics *s = arg;
    if (strcmp(statistic->name, "store.keys") == 0)
        s->keys = statistic->integer;
    if (strcmp(statistic->name, "store.bytes_live") == 0)
        s->bytes_live = statistic->integer;
}

static void expect(uint64_t keys)
{
    struct statistics s = {0};
    plsm_statistics(db, take, &s);
    ck_assert_uint_eq(s.keys, keys);
    double bytes = (double)(keys * (KEY_BYTES + 1 + VALUE_BYTES)); /* with the keyspace */
    if (keys > 0 && keys < 100) /* of so few, beside all that was deleted, the bytes are told less well */
        return;
    if ((double)s.bytes_live < 0.75 * bytes || (double)s.bytes_live > 1.25 * bytes)
        ck_abort_msg("%lu live bytes of %lu keys", (unsigned long)s.bytes_live, (unsigned long)keys);
}

static plsm_slice key_of(unsigned i, char *text)
{
    return slice(text, (size_t)snprintf(text, 32, "key/%07u", i * 7919 % 9999991));
}

static void put(unsigned from, unsigned end)
{
    uint8_t value[VALUE_BYTES];
    char text[32];
    for (unsigned i = from; i < end; i++) {
        fixture_fill(value, sizeof value, i);
        assert_ok(plsm_put(db, key_of(i, text), slice(value, sizeof value), PLSM_NONE));
    }
}

static void delete (unsigned from, unsigned end)
{
    char text[32];
    for (unsigned i = from; i < end; i++)
        assert_ok(plsm_delete(db, key_of(i, text), PLSM_NONE));
}

static void flush(void)
{
    assert_ok(plsm_flush(db));
}

START_TEST(in_memory)
{
    start();
    expect(0);
    put(0, KEYS);
    expect(KEYS);
    put(0, KEYS / 2); /* again */
    expect(KEYS);
    delete (KEYS / 2, KEYS);
    expect(KEYS / 2);
    delete (0, KEYS / 2);
    delete (0, KEYS / 2); /* again */
    expect(0);
    put(0, 10);
    expect(10);
    stop();
}
END_TEST

START_TEST(in_runs)
{
    start();
    put(0, KEYS);
    flush();
    expect(KEYS);
    delete (0, KEYS / 4);
    expect(KEYS - KEYS / 4);
    flush();
    expect(KEYS - KEYS / 4);
    put(KEYS, 2 * KEYS);
    expect(2 * KEYS - KEYS / 4);
    flush();
    expect(2 * KEYS - KEYS / 4);
    delete (KEYS / 4, 2 * KEYS);
    expect(0);
    flush();
    expect(0);
    put(0, KEYS);
    expect(KEYS);
    assert_ok(plsm_compact(db, slice(NULL, 0), slice(NULL, 0)));
    expect(KEYS);
    stop();
}
END_TEST

/* Deletions that hide nothing take no more away than there is below them, and nothing of what came later. */
START_TEST(deletions_of_nothing)
{
    start();
    delete (0, KEYS);
    expect(0);
    flush();
    put(KEYS, KEYS + 300);
    expect(300);
    flush();
    delete (KEYS, KEYS + 300);
    delete (2 * KEYS, 3 * KEYS);
    expect(0);
    flush();
    put(0, 200);
    expect(200);
    flush();
    expect(200);
    assert_ok(plsm_compact(db, slice(NULL, 0), slice(NULL, 0)));
    expect(200);
    stop();
}
END_TEST

static void put_beside(void *arg)
{
    unsigned from = *(unsigned *)arg;
    uint8_t value[VALUE_BYTES] = {0};
    char text[32];
    plsm_batch *batch = plsm_batch_create();
    for (unsigned i = from; i < from + 20 * KEYS; i += 50) { /* larger than what goes alone, so through lanes */
        plsm_batch_clear(batch);
        for (unsigned j = i; j < i + 50; j++)
            assert_ok(plsm_batch_put(batch, PLSM_NAMES, key_of(j, text), slice(NULL, 0), slice(value, sizeof value)));
        for (unsigned j = i; j < i + 50; j += 5)
            assert_ok(plsm_batch_delete(batch, PLSM_NAMES, key_of(j, text)));
        assert_ok(plsm_write(db, batch, PLSM_NONE));
    }
    plsm_batch_destroy(batch);
}

/* Entries that came into the memtable through lanes. */
static uint64_t through_lanes(void)
{
    const struct lsm *tree = (const struct lsm *)db->tree;
    uint64_t added = 0;
    for (unsigned i = 0; i < MEMTABLE_LANES; i++)
        added += atomic_load(&tree->active.table->lanes[i].added);
    return added;
}

/* Half of what one thread puts another one puts as well. Threads that never meet put it once more. */
START_TEST(of_several_writers)
{
    enum { ROUNDS = 20 };
    unsigned from[3] = {0, 10 * KEYS, 20 * KEYS};
    struct env_thread *threads[3];
    start();
    for (unsigned round = 0; round < ROUNDS && through_lanes() == 0; round++) {
        for (unsigned i = 0; i < 3; i++)
            assert_ok(env_thread_start(env_posix(), put_beside, &from[i], &threads[i]));
        for (unsigned i = 0; i < 3; i++)
            env_thread_join(threads[i]);
        expect(40 * KEYS * 4 / 5);
    }
    ck_assert_uint_gt(through_lanes(), 0);
    stop();
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {in_memory, in_runs, deletions_of_nothing, of_several_writers};
    return fixture_run("estimate", tests, sizeof tests / sizeof tests[0]);
}
