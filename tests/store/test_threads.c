/* Writers, readers and maintenance on one store at once.
 *
 * Each writer owns a group of keys and writes one number to all of them in one batch, over and over, sometimes deleting
 * them all, sometimes by a bulk load. Whoever reads a snapshot must see one number in the whole group (or none of its
 * keys), never less than what was acknowledged before the snapshot was taken, and the same by gets and by scans. All
 * writers also count on one shared key with compare-and-set: no increment may be lost. Flushes, compactions and syncs
 * go on meanwhile.
 *
 * THREADS_SECONDS: how long, per environment. */
#include <check.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/bytes.h"
#include "base/env_memory.h"
#include "store/internal.h"
#include "tests/harness/engines.h"
#include "tests/harness/pool.h"
#include "tests/harness/temporary.h"

#include "base/banned.h"

#define OPTIONS "buffer_size=128K,file_size=128K,size_ratio=3,l0_compact=2,manifest_size=8K,cache_size=256K,index="

enum { WRITERS = 2, READERS = 2, GROUP = 25, VALUE = 300, THREADS = WRITERS + READERS + 1 };

struct shared {
    struct env *env;
    const char *path, *options;
    plsm *db;
    atomic_bool stop;
    _Atomic uint64_t acknowledged[WRITERS]; /* the last number each writer's batches have reached */
    _Atomic uint64_t increments;            /* that succeeded */
    _Atomic uint64_t snapshots_read, deletions_seen;
    _Atomic(const char *) wrong; /* the first thing that was */
};

struct worker {
    struct shared *shared;
    unsigned number;
    struct env_thread *thread;
};

static void say_wrong(struct shared *shared, const char *what)
{
    const char *none = NULL;
    atomic_compare_exchange_strong(&shared->wrong, &none, what);
    atomic_store(&shared->stop, true);
}

static bool good(struct shared *shared, plsm_status status, const char *what)
{
    if (status != PLSM_OK) {
        fprintf(stderr, "%s: %s (%s)\n", what, plsm_status_name(status), plsm_message());
        say_wrong(shared, what);
    }
    return status == PLSM_OK;
}

/* Keys of a group: some are prefixes of others, and other groups' keys lie between them. */
static plsm_slice group_key(unsigned writer, unsigned i, char *buffer)
{
    int size = snprintf(buffer, 64, "%c%.*s/w%u", 'a' + (char)(i % 5), (int)(i / 5), "xxxxxxxx", writer);
    return slice(buffer, (size_t)size);
}

static void fill_value(uint8_t value[VALUE], uint64_t number)
{
    for (size_t at = 0; at + 8 <= VALUE; at += 8)
        put_u64(value + at, number);
}

/* --- writers ------------------------------------------------------------------------------------------------------ */

static void increment(struct shared *shared, plsm_value *value)
{
    plsm_slice key = slice_of("shared counter");
    if (!good(shared, plsm_get(shared->db, NULL, key, value), "get of the counter"))
        return;
    uint64_t number = get_u64(value->value.data), next = number + 1;
    plsm_batch *batch = plsm_batch_create();
    plsm_batch_if_equal(batch, PLSM_NAMES, key, slice(&number, sizeof number));
    plsm_batch_put(batch, PLSM_NAMES, key, slice(NULL, 0), slice(&next, sizeof next));
    plsm_status status = plsm_write(shared->db, batch, PLSM_NONE);
    plsm_batch_destroy(batch);
    if (status == PLSM_OK)
        atomic_fetch_add(&shared->increments, 1);
    else if (status != PLSM_CONFLICT)
        good(shared, status, "compare-and-set");
}

/* The group in one bulk load; its keys ascend by their letter, then by their length. */
static plsm_status load_group(plsm *db, unsigned writer, plsm_slice value)
{
    plsm_bulk *bulk = NULL;
    char buffer[64];
    plsm_status status = plsm_bulk_create(db, &bulk);
    for (unsigned n = 0; n < GROUP && status == PLSM_OK; n++)
        status = plsm_bulk_put(bulk, PLSM_NAMES, group_key(writer, n / 5 + n % 5 * 5, buffer), slice(NULL, 0), value);
    if (status == PLSM_OK)
        status = plsm_bulk_finish(bulk);
    plsm_bulk_destroy(bulk);
    return status;
}

static void run_writer(void *arg)
{
    struct worker *worker = arg;
    struct shared *shared = worker->shared;
    plsm_batch *batch = plsm_batch_create();
    plsm_value value = {0};
    for (uint64_t number = 1; !atomic_load(&shared->stop); number++) {
        uint8_t bytes[VALUE] = {0};
        char buffer[64];
        fill_value(bytes, number);
        plsm_batch_clear(batch);
        for (unsigned i = 0; i < GROUP; i++) {
            plsm_slice key = group_key(worker->number, i, buffer);
            if (number % 10 == 9)
                plsm_batch_delete(batch, PLSM_NAMES, key);
            else
                plsm_batch_put(batch, PLSM_NAMES, key, slice(NULL, 0), slice(bytes, 8 + (number * i) % (VALUE - 8)));
        }
        bool load = number % 32 == 5 && shared->db->engine->bulk_create;
        plsm_status status = load ? load_group(shared->db, worker->number, slice(bytes, VALUE))
                                  : plsm_write(shared->db, batch, number % 64 ? PLSM_NONE : PLSM_SYNC);
        if (!good(shared, status, "batch or bulk load"))
            break;
        atomic_store(&shared->acknowledged[worker->number], number);
        increment(shared, &value);
    }
    plsm_value_free(&value);
    plsm_batch_destroy(batch);
}

/* --- readers ------------------------------------------------------------------------------------------------------ */

/* What a reader has learned of a group: 0 keys, or all with one number. */
struct seen {
    unsigned keys;
    uint64_t number;
    bool torn;
};

static void see(struct seen *seen, plsm_slice value)
{
    uint64_t number = value.size >= 8 ? get_u64(value.data) : 0;
    seen->torn = seen->torn || (seen->keys > 0 && seen->number != number);
    seen->number = number;
    seen->keys++;
}

static bool judge(struct shared *shared, const struct seen *seen, uint64_t at_least, const char *what)
{
    if (seen->torn || (seen->keys != 0 && seen->keys != GROUP)) {
        fprintf(stderr, "%s: %u keys of the group, number %lu%s\n", what, seen->keys, (unsigned long)seen->number,
                seen->torn ? ", not all the same" : "");
        say_wrong(shared, "a batch was seen in part");
        return false;
    }
    if (seen->keys == GROUP && seen->number < at_least) {
        say_wrong(shared, "a snapshot is older than what was acknowledged before it");
        return false;
    }
    if (seen->keys == 0)
        atomic_fetch_add(&shared->deletions_seen, 1);
    return true;
}

static bool read_by_gets(struct shared *shared, plsm_snapshot *snapshot, unsigned writer, uint64_t at_least,
                         plsm_value *value)
{
    struct seen seen = {0};
    plsm_read_options options = {.snapshot = snapshot};
    for (unsigned i = 0; i < GROUP; i++) {
        char buffer[64];
        plsm_status status = plsm_get(shared->db, &options, group_key(writer, i, buffer), value);
        if (status == PLSM_OK)
            see(&seen, value->value);
        else if (status != PLSM_NOT_FOUND)
            return good(shared, status, "get");
    }
    return judge(shared, &seen, at_least, "gets");
}

static bool read_by_scan(struct shared *shared, plsm_snapshot *snapshot, bool forward, const uint64_t at_least[WRITERS])
{
    struct seen seen[WRITERS] = {{0}};
    plsm_read_options options = {.snapshot = snapshot};
    plsm_iterator *it = NULL;
    if (!good(shared, plsm_iterator_create(shared->db, &options, slice_of("a"), slice_of("d"), &it), "iterator"))
        return false;
    for (forward ? plsm_iterator_first(it) : plsm_iterator_last(it); plsm_iterator_valid(it);
         forward ? plsm_iterator_next(it) : plsm_iterator_previous(it)) {
        plsm_slice key = plsm_iterator_key(it);
        see(&seen[(((const char *)key.data)[key.size - 1] - '0') % WRITERS], plsm_iterator_value(it));
    }
    bool passed = good(shared, plsm_iterator_status(it), "scan");
    plsm_iterator_destroy(it);
    for (unsigned writer = 0; writer < WRITERS && passed; writer++) {
        /* [a, d) holds the keys that begin with a, b and c: three fifths of each group. */
        seen[writer].keys += seen[writer].keys == GROUP / 5 * 3 ? GROUP / 5 * 2 : 0;
        passed = judge(shared, &seen[writer], at_least[writer], forward ? "scan" : "scan backward");
    }
    return passed;
}

static void run_reader(void *arg)
{
    struct worker *worker = arg;
    struct shared *shared = worker->shared;
    plsm_value value = {0};
    uint64_t at_least[WRITERS];
    for (unsigned round = worker->number; !atomic_load(&shared->stop); round++) {
        for (unsigned writer = 0; writer < WRITERS; writer++)
            at_least[writer] = atomic_load(&shared->acknowledged[writer]);
        plsm_snapshot *snapshot = plsm_snapshot_create(shared->db);
        bool passed = true;
        /* Twice: the snapshot must not change while others write. */
        for (int pass = 0; pass < 2 && passed; pass++) {
            passed = read_by_scan(shared, snapshot, (round + (unsigned)pass) % 2, at_least);
            for (unsigned writer = 0; writer < WRITERS && passed; writer++)
                passed = read_by_gets(shared, snapshot, writer, at_least[writer], &value);
        }
        plsm_snapshot_destroy(shared->db, snapshot);
        atomic_fetch_add(&shared->snapshots_read, 1);
    }
    plsm_value_free(&value);
}

static void run_maintenance(void *arg)
{
    struct worker *worker = arg;
    struct shared *shared = worker->shared;
    for (unsigned round = 0; !atomic_load(&shared->stop); round++) {
        switch (round % 4) {
        case 0:
            good(shared, plsm_flush(shared->db), "flush");
            break;
        case 1:
            good(shared, plsm_compact(shared->db, slice_of("b"), slice_of("d")), "compact of a range");
            break;
        case 2:
            good(shared, plsm_sync(shared->db), "sync");
            break;
        default:
            good(shared, plsm_compact(shared->db, slice(NULL, 0), slice(NULL, 0)), "compact");
        }
        env_sleep_ns(shared->env, 5000000);
    }
}

/* --- the run ------------------------------------------------------------------------------------------------------ */

static void verify_end(struct shared *shared)
{
    plsm_value value = {0};
    ck_assert_int_eq(plsm_close(shared->db), PLSM_OK);
    ck_assert_msg(plsm_open_env(shared->env, shared->path, 0, shared->options, &shared->db) == PLSM_OK, "%s",
                  plsm_message());
    ck_assert_int_eq(plsm_get(shared->db, NULL, slice_of("shared counter"), &value), PLSM_OK);
    ck_assert_uint_eq(get_u64(value.value.data), atomic_load(&shared->increments));
    for (unsigned writer = 0; writer < WRITERS; writer++)
        ck_assert(read_by_gets(shared, NULL, writer, atomic_load(&shared->acknowledged[writer]), &value));
    plsm_value_free(&value);
    ck_assert_msg(plsm_check(shared->db, NULL, NULL, NULL) == PLSM_OK, "%s", plsm_message());
    ck_assert_int_eq(plsm_close(shared->db), PLSM_OK);
}

static void run_threads(struct env *env, const char *path, const char *options)
{
    struct shared *shared = calloc(1, sizeof *shared);
    *shared = (struct shared){.env = env, .path = path, .options = options};
    ck_assert_msg(plsm_open_env(env, path, PLSM_CREATE, options, &shared->db) == PLSM_OK, "%s", plsm_message());
    uint64_t zero = 0;
    ck_assert_int_eq(plsm_put(shared->db, slice_of("shared counter"), slice(&zero, sizeof zero), PLSM_NONE), PLSM_OK);
    struct worker workers[THREADS];
    for (unsigned i = 0; i < THREADS; i++) {
        void (*run)(void *arg) = i < WRITERS ? run_writer : i < WRITERS + READERS ? run_reader : run_maintenance;
        workers[i] = (struct worker){.shared = shared, .number = i < WRITERS ? i : i - WRITERS};
        ck_assert_int_eq(env_thread_start(env_posix(), run, &workers[i], &workers[i].thread), PLSM_OK);
    }
    uint64_t end = env_now_ns(env_posix()) + setting("THREADS_SECONDS", 3) * UINT64_C(1000000000);
    while (!atomic_load(&shared->stop) && env_now_ns(env_posix()) < end)
        env_sleep_ns(env_posix(), 20000000);
    atomic_store(&shared->stop, true);
    for (unsigned i = 0; i < THREADS; i++)
        env_thread_join(workers[i].thread);
    const char *wrong = atomic_load(&shared->wrong);
    printf("threads: %lu + %lu batches, %lu snapshots read (%lu groups seen deleted), %lu increments; %s\n",
           (unsigned long)atomic_load(&shared->acknowledged[0]), (unsigned long)atomic_load(&shared->acknowledged[1]),
           (unsigned long)atomic_load(&shared->snapshots_read), (unsigned long)atomic_load(&shared->deletions_seen),
           (unsigned long)atomic_load(&shared->increments), options);
    ck_assert_msg(wrong == NULL, "%s", wrong);
    ck_assert_uint_gt(atomic_load(&shared->snapshots_read), 0);
    ck_assert_uint_gt(atomic_load(&shared->acknowledged[0]), 0);
    verify_end(shared);
    free(shared);
}

START_TEST(test_posix)
{
    char *directory = temporary_create(), path[4200];
    snprintf(path, sizeof path, "%s/store", directory);
    run_threads(env_posix(), path, OPTIONS "learned");
    temporary_destroy(directory);
}
END_TEST

START_TEST(test_memory)
{
    struct env *env = env_memory_create(1);
    run_threads(env, "/store", _i ? OPTIONS "classic" : OPTIONS "traditional");
    env_memory_destroy(env);
}
END_TEST

/* The batches of a group go into runs at once, its deletions do not. */
START_TEST(test_spilled)
{
    struct env *env = env_memory_create(3);
    run_threads(env, "/store", OPTIONS "learned,spill_above=4K");
    env_memory_destroy(env);
}
END_TEST

/* Other engines. */
START_TEST(test_engine)
{
    char options[400];
    char *directory = temporary_create(), path[4200];
    snprintf(path, sizeof path, "%s/store", directory);
    snprintf(options, sizeof options, "%s,background=1", test_engines[_i].options);
    run_threads(env_posix(), path, options);
    temporary_destroy(directory);
}
END_TEST

/* Models come and go: each one that is made room for is retired while others are asked. */
START_TEST(test_simulated)
{
    struct env *env = env_memory_create(2);
    run_threads(env, "/store", OPTIONS "learned,sim=nvme,sim_cache=128K,sim_sleep=1,model_cache=2");
    env_memory_destroy(env);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("threads");
    TCase *tcase = tcase_create("together");
    tcase_set_timeout(tcase, 600);
    tcase_add_test(tcase, test_posix);
    tcase_add_loop_test(tcase, test_memory, 0, 2);
    tcase_add_test(tcase, test_simulated);
    tcase_add_test(tcase, test_spilled);
    tcase_add_loop_test(tcase, test_engine, 1, (int)TEST_ENGINES);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_set_fork_status(runner, CK_NOFORK);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
