/* The append log with threads: batches become visible as one, beside merges, for every way of reading; and on files of
 * the machine, through mapped memory. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/env_memory.h"
#include "base/error.h"
#include "base/random.h"
#include "log/append_db.h"
#include "tests/harness/pool.h"
#include "tests/harness/temporary.h"

#include "base/banned.h"

enum { PAIRS = 200, READERS = 2, VALUE = 40 };

static struct shared {
    struct append *db;
    atomic_bool stop;
    _Atomic unsigned wrong; /* bit per way of reading */
    _Atomic uint64_t rounds;
} shared;

/* Keys of a pair are far from each other. */
static plsm_slice key_of(char which, uint64_t pair, char out[24])
{
    snprintf(out, 24, "\1%c%06llu", which, (unsigned long long)pair);
    return slice_of(out);
}

static uint64_t number_in(plsm_slice value)
{
    return value.size >= 8 ? get_u64(value.data) : UINT64_MAX;
}

static void wrong(unsigned way)
{
    atomic_fetch_or(&shared.wrong, 1u << way);
}

static uint64_t read_one(char which, uint64_t pair, const struct append_snapshot *snapshot)
{
    struct append_value found = {0};
    char key[24];
    plsm_status status = append_get(shared.db, snapshot, key_of(which, pair, key), 0, &found);
    uint64_t number = status == PLSM_OK ? number_in(found.value) : 0;
    if (status != PLSM_OK && status != PLSM_NOT_FOUND)
        wrong(0);
    mem_free(found.memory);
    return number;
}

static void read_many(uint64_t pair)
{
    char keys[2][24];
    plsm_slice slices[2] = {key_of('a', pair, keys[0]), key_of('z', pair, keys[1])};
    struct append_value values[2] = {0};
    plsm_status statuses[2];
    append_multi_get(shared.db, NULL, slices, 2, 0, values, statuses);
    if (statuses[0] != statuses[1] ||
        (statuses[0] == PLSM_OK && number_in(values[0].value) != number_in(values[1].value)))
        wrong(2);
    mem_free(values[0].memory);
    mem_free(values[1].memory);
}

static void scan(bool down)
{
    uint64_t first[PAIRS] = {0}, second[PAIRS] = {0};
    struct append_iterator *it = NULL;
    if (append_iterator_create(shared.db, NULL, slice(NULL, 0), slice(NULL, 0), 0, &it) != PLSM_OK) {
        wrong(3);
        return;
    }
    const struct append_shown *e = down ? append_iterator_last(it) : append_iterator_first(it);
    for (; e; e = down ? append_iterator_previous(it) : append_iterator_next(it)) {
        char key[24] = {0};
        memcpy(key, e->key.data, e->key.size);
        unsigned long pair = strtoul(key + 2, NULL, 10);
        (key[1] == 'a' ? first : second)[pair % PAIRS] = number_in(e->value);
    }
    if (append_iterator_status(it) != PLSM_OK || memcmp(first, second, sizeof first) != 0)
        wrong(4);
    append_iterator_destroy(it);
}

static void pin(uint64_t pair)
{
    struct append_pin found;
    char key[24];
    plsm_status status = append_get_pinned(shared.db, NULL, key_of('a', pair, key), &found);
    if (status == PLSM_NOT_FOUND)
        return;
    if (status != PLSM_OK) {
        wrong(5);
        return;
    }
    uint64_t before = number_in(found.value);
    read_many(pair + 1 < PAIRS ? pair + 1 : 0);
    if (number_in(found.value) != before)
        wrong(5);
    append_unpin(shared.db, &found);
}

static void read_on(void *arg)
{
    struct random r;
    random_seed(&r, (uint64_t)(uintptr_t)arg + 1);
    while (!atomic_load(&shared.stop)) {
        uint64_t pair = random_below(&r, PAIRS);
        uint64_t a = read_one('a', pair, NULL), z = read_one('z', pair, NULL);
        if (z < a && z != 0) /* later is newer; 0: it was deleted meanwhile */
            wrong(1);
        read_many(pair);
        pin(pair);
        if (random_below(&r, 8) == 0)
            scan(random_below(&r, 2));
        struct append_snapshot *snapshot = append_snapshot_create(shared.db);
        a = read_one('a', pair, snapshot);
        z = read_one('z', pair, snapshot);
        bool some = false;
        append_has_prefix(shared.db, snapshot, slice("\1", 1), &some);
        if (a != z)
            wrong(6);
        append_snapshot_destroy(shared.db, snapshot);
        atomic_fetch_add(&shared.rounds, 1);
    }
}

static void merge_on(void *arg)
{
    (void)arg;
    while (!atomic_load(&shared.stop)) {
        if (append_compact(shared.db) != PLSM_OK)
            wrong(7);
        env_sleep_ns(env_posix(), 2000000);
    }
}

static void write_pair(struct random *r, uint64_t number)
{
    uint8_t value[VALUE] = {0};
    char key[24];
    struct batch batch = {0};
    uint64_t pair = random_below(r, PAIRS);
    put_u64(value, number);
    for (unsigned i = 0; i < 2; i++) {
        key_of(i ? 'z' : 'a', pair, key);
        plsm_slice rest = slice_of(key + 1);
        if (number % 10 == 0)
            batch_add(&batch, BATCH_DELETE, 1, rest, slice(NULL, 0), slice(NULL, 0));
        else
            batch_add(&batch, BATCH_PUT, 1, rest, slice(NULL, 0), slice(value, sizeof value));
    }
    if (append_write(shared.db, &batch, NULL, NULL, number % 500 == 0) != PLSM_OK)
        wrong(8);
    batch_free(&batch);
}

static void run(struct env *env, const char *path, unsigned long writes)
{
    struct env_thread *threads[READERS + 1];
    struct append_options o;
    append_options_default(&o);
    o.env = env;
    o.create = true;
    o.segment_size = 64 << 10;
    o.merge_garbage_ppm = 300000;
    memset(&shared, 0, sizeof shared);
    ck_assert_int_eq(append_open(path, &o, &shared.db), PLSM_OK);
    for (uintptr_t i = 0; i <= READERS; i++)
        ck_assert_int_eq(env_thread_start(env_posix(), i < READERS ? read_on : merge_on, (void *)i, &threads[i]),
                         PLSM_OK);
    struct random r;
    random_seed(&r, 9);
    for (uint64_t i = 1; i <= writes || atomic_load(&shared.rounds) < 50; i++)
        write_pair(&r, i);
    atomic_store(&shared.stop, true);
    for (unsigned i = 0; i <= READERS; i++)
        env_thread_join(threads[i]);
    ck_assert_msg(shared.wrong == 0, "ways of reading that went wrong: %#x: %s", (unsigned)shared.wrong,
                  plsm_message());
    ck_assert_int_eq(append_check(shared.db, NULL, NULL, NULL), PLSM_OK);
    uint64_t before[PAIRS];
    for (uint64_t i = 0; i < PAIRS; i++)
        before[i] = read_one('a', i, NULL);
    ck_assert_int_eq(append_close(shared.db), PLSM_OK);
    ck_assert_int_eq(append_open(path, &o, &shared.db), PLSM_OK);
    for (uint64_t i = 0; i < PAIRS; i++)
        ck_assert(read_one('a', i, NULL) == before[i] && read_one('z', i, NULL) == before[i]);
    ck_assert_int_eq(append_close(shared.db), PLSM_OK);
}

START_TEST(in_memory)
{
    struct env *env = env_memory_create(3);
    run(env, "/s", thinned(6000));
    env_memory_destroy(env);
}
END_TEST

START_TEST(on_files)
{
    char *directory = temporary_create();
    char path[4096];
    snprintf(path, sizeof path, "%s/s", directory);
    run(env_posix(), path, thinned(20000));
    temporary_destroy(directory);
}
END_TEST

/* --- statistics --------------------------------------------------------------------------------------------------- */

static _Atomic uint64_t begun, ended; /* writes */

static void write_on(void *arg)
{
    struct random r;
    random_seed(&r, 11);
    while (!atomic_load(&shared.stop)) {
        atomic_fetch_add(&begun, 1);
        write_pair(&r, 1);
        atomic_fetch_add(&ended, 1);
    }
}

static void take_changes(void *arg, const char *name, bool is_real, uint64_t integer, double real)
{
    if (strcmp(name, "log.changes") == 0)
        *(uint64_t *)arg = integer;
}

/* What was written before a reset is not told behind it, whatever is written meanwhile. */
START_TEST(resets_beside_writes_are_not_lost)
{
    enum { CHANGES = 2 };
    unsigned long resets = thinned(1000000);
    struct env_thread *writer = NULL;
    struct env *env = env_memory_create(4);
    struct append_options o;
    append_options_default(&o);
    o.env = env;
    o.create = true;
    o.segment_size = 64 << 10;
    o.background = false; /* which would have writers wait for merges */
    memset(&shared, 0, sizeof shared);
    ck_assert_int_eq(append_open("/s", &o, &shared.db), PLSM_OK);
    ck_assert_int_eq(env_thread_start(env_posix(), write_on, NULL, &writer), PLSM_OK);
    for (unsigned long i = 0; i < resets; i++) {
        uint64_t told = UINT64_MAX, before = atomic_load(&ended);
        append_statistics_reset(shared.db);
        append_statistics(shared.db, take_changes, &told);
        ck_assert_uint_le(told, CHANGES * (atomic_load(&begun) - before));
    }
    atomic_store(&shared.stop, true);
    env_thread_join(writer);
    ck_assert_uint_eq(shared.wrong, 0);
    ck_assert_int_eq(append_close(shared.db), PLSM_OK);
    env_memory_destroy(env);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("append_threads");
    TCase *all = tcase_create("all");
    tcase_set_timeout(all, 120);
    tcase_add_test(all, in_memory);
    tcase_add_test(all, on_files);
    tcase_add_test(all, resets_beside_writes_are_not_lost);
    suite_add_tcase(suite, all);
    SRunner *runner = srunner_create(suite);
    srunner_set_fork_status(runner, CK_NOFORK);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
