/* One writer, or three in lanes of their own, two readers and an iterator on one memtable; to be run under the thread
 * sanitizer too. */
#include <check.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "lsm/memtable.h"
#include "tests/harness/memtable_model.h"

#include "base/banned.h"

enum { RACE_KEYS = 6000, RACE_WRITES = 30000, LANES = 3, GROUP_MAX = 40 };

/* The writes are known beforehand: number s (from 1 on) writes key race.key_of[s] and tells so by `done`. Readers know
 * from that what they must see. */
static struct {
    struct memtable *table;
    struct memtable_model_key keys[RACE_KEYS]; /* in order; versions = the writes to it */
    unsigned key_of[RACE_WRITES + 1];
    unsigned distinct[RACE_WRITES + 1]; /* keys written by the first s writes */
    _Atomic uint64_t done;
    uint64_t seed;
    pthread_mutex_t turn; /* of who takes the next writes */
    uint64_t taken;       /* so many have been, or are being made; under `turn` */
} race;

static void race_prepare(uint64_t seed)
{
    struct random r;
    random_seed(&r, seed);
    struct memtable_model model = {0};
    static uint8_t key[MEMTABLE_MODEL_KEY_ROOM];
    while (model.count < RACE_KEYS) {
        struct entry entry = {.key = slice(key, memtable_model_make_key(&r, &model, key))};
        if (memtable_model_find(&model, entry.key) == model.count ||
            !slice_equal(memtable_model_slice(&model.keys[memtable_model_find(&model, entry.key)]), entry.key))
            memtable_model_add(&model, &entry);
    }
    memcpy(race.keys, model.keys, sizeof race.keys);
    free(model.keys);
    for (unsigned k = 0; k < RACE_KEYS; k++)
        race.keys[k].count = 0;
    for (uint64_t s = 1; s <= RACE_WRITES; s++) {
        unsigned k = race.key_of[s] = (unsigned)random_below(&r, RACE_KEYS);
        race.distinct[s] = race.distinct[s - 1] + !race.keys[k].count;
        race.keys[k].versions =
            realloc(race.keys[k].versions, (race.keys[k].count + 1) * sizeof(struct memtable_model_version));
        race.keys[k].versions[race.keys[k].count++].seq = s;
    }
    race.seed = seed;
    atomic_store(&race.done, 0);
    race.taken = 0;
    race.table = memtable_create(NULL);
}

static struct entry race_entry(uint64_t s, uint8_t value[24])
{
    memtable_model_content(s, value, 24);
    return (struct entry){.key = memtable_model_slice(&race.keys[race.key_of[s]]), .value = slice(value, 24), .seq = s};
}

static void *race_write(void *arg)
{
    for (uint64_t s = 1; s <= RACE_WRITES; s++) {
        uint8_t value[24];
        struct entry entry = race_entry(s, value);
        if (memtable_reserve(race.table, 1, entry.key.size + sizeof value) != PLSM_OK)
            abort();
        memtable_add(race.table, &entry);
        atomic_store_explicit(&race.done, s, memory_order_release);
    }
    return NULL;
}

static void await_done(uint64_t s)
{
    while (atomic_load_explicit(&race.done, memory_order_acquire) < s)
        sched_yield();
}

/* Takes the next writes and reserves for them; now and then to make them alone, when all others are done and nobody
 * else takes any. Returns how many, 0: there are none left. */
static unsigned take_writes(struct random *r, unsigned lane, uint64_t *first, bool *alone)
{
    pthread_mutex_lock(&race.turn);
    uint64_t left = RACE_WRITES - race.taken;
    unsigned count = 1 + (unsigned)random_below(r, GROUP_MAX);
    count = left < count ? (unsigned)left : count;
    if (count == 0) {
        pthread_mutex_unlock(&race.turn);
        return 0;
    }
    size_t bytes = 0;
    *first = race.taken + 1;
    race.taken += count;
    for (unsigned i = 0; i < count; i++)
        bytes += race.keys[race.key_of[*first + i]].size + 24;
    *alone = random_below(r, 8) == 0;
    if (*alone)
        await_done(*first - 1);
    if ((*alone ? memtable_reserve(race.table, count, bytes) : memtable_lane_reserve(race.table, lane, count, bytes)) !=
        PLSM_OK)
        abort();
    if (!*alone)
        pthread_mutex_unlock(&race.turn);
    return count;
}

/* Writes are made beside each other and done in order. */
static void *race_write_lane(void *arg)
{
    unsigned lane = *(const unsigned *)arg, count;
    uint64_t first;
    bool alone;
    struct random r;
    random_seed(&r, race.seed + lane);
    while ((count = take_writes(&r, lane, &first, &alone)) > 0) {
        for (uint64_t s = first; s < first + count; s++) {
            uint8_t value[24];
            struct entry entry = race_entry(s, value);
            if (alone)
                memtable_add(race.table, &entry);
            else
                memtable_lane_add(race.table, lane, &entry);
        }
        if (!alone)
            memtable_lane_end(race.table, lane);
        await_done(first - 1);
        atomic_store_explicit(&race.done, first + count - 1, memory_order_release);
        if (alone)
            pthread_mutex_unlock(&race.turn);
    }
    return NULL;
}

/* The write that a reader at `seq` must see of a key; 0 for none. */
static uint64_t race_expected(const struct memtable_model_key *k, uint64_t seq)
{
    uint64_t newest = 0;
    for (size_t i = 0; i < k->count && k->versions[i].seq <= seq; i++)
        newest = k->versions[i].seq;
    return newest;
}

static void race_check_entry(const struct entry *entry, uint64_t s)
{
    uint8_t value[24];
    memtable_model_content(s, value, sizeof value);
    if (entry->seq != s || !slice_equal(entry->value, slice(value, sizeof value)) ||
        !slice_equal(entry->key, memtable_model_slice(&race.keys[race.key_of[s]]))) {
        fprintf(stderr, "seed %llu: write %llu expected, %llu found\n", (unsigned long long)race.seed,
                (unsigned long long)s, (unsigned long long)entry->seq);
        abort();
    }
}

static void *race_get(void *arg)
{
    struct random r;
    random_seed(&r, race.seed + 77);
    for (uint64_t s = 0; s < RACE_WRITES;) {
        s = atomic_load_explicit(&race.done, memory_order_acquire);
        for (int i = 0; i < 50; i++) {
            const struct memtable_model_key *k = &race.keys[random_below(&r, RACE_KEYS)];
            uint64_t at = random_below(&r, s + 1), want = race_expected(k, at);
            struct entry entry;
            bool found = memtable_get(race.table, memtable_model_slice(k), at, &entry);
            if (found != (want != 0))
                abort();
            if (found)
                race_check_entry(&entry, want);
        }
    }
    return NULL;
}

/* One walk at the newest moment: all keys written by then, in order, each with the right version. */
static void race_walk(struct memtable_iterator *it, bool forward)
{
    uint64_t s = atomic_load_explicit(&race.done, memory_order_acquire);
    unsigned met = 0;
    plsm_slice previous = {0};
    bool any = false;
    (forward ? memtable_iterator_first : memtable_iterator_last)(it);
    for (; memtable_iterator_valid(it); (forward ? memtable_iterator_next : memtable_iterator_previous)(it)) {
        plsm_slice key = memtable_iterator_key(it);
        int order = slice_compare(previous, key);
        if (any && (forward ? order >= 0 : order <= 0))
            abort();
        previous = key;
        any = true;
        const void *cursor = NULL;
        struct entry entry;
        uint64_t newer = UINT64_MAX;
        while (memtable_iterator_version(it, &cursor, &entry)) {
            if (entry.seq >= newer)
                abort();
            newer = entry.seq;
            if (entry.seq > s)
                continue;
            race_check_entry(&entry, race_expected(&race.keys[race.key_of[entry.seq]], s));
            met++;
            break;
        }
    }
    if (it->failed || met != race.distinct[s])
        abort();
}

static void *race_iterate(void *arg)
{
    struct memtable_iterator it;
    memtable_iterator_init(&it, race.table);
    for (bool forward = true; atomic_load_explicit(&race.done, memory_order_acquire) < RACE_WRITES; forward = !forward)
        race_walk(&it, forward);
    race_walk(&it, true);
    race_walk(&it, false);
    memtable_iterator_destroy(&it);
    memtable_unref(race.table);
    return NULL;
}

static void race_free(void)
{
    for (unsigned k = 0; k < RACE_KEYS; k++) {
        free(race.keys[k].key);
        free(race.keys[k].versions);
    }
}

START_TEST(readers_beside_writer)
{
    race_prepare(4000 + (uint64_t)_i);
    printf("memtable: race seed %llu\n", (unsigned long long)race.seed);
    void *(*const runs[])(void *) = {race_write, race_get, race_get, race_iterate};
    pthread_t threads[4];
    memtable_ref(race.table);
    for (int i = 0; i < 4; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, runs[i], NULL), 0);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    memtable_unref(race.table);
    race_free();
}
END_TEST

struct counted {
    const struct memtable_model_key *key;
    size_t left; /* of its versions */
    uint64_t versions;
};

static plsm_status count_version(void *arg, struct entry *entry, bool newest)
{
    struct counted *counted = arg;
    const struct memtable_model_key *key = &race.keys[race.key_of[entry->seq]];
    ck_assert(newest == (counted->left == 0));
    if (newest)
        *counted = (struct counted){.key = key, .left = key->count, .versions = counted->versions};
    ck_assert_ptr_eq(counted->key, key);
    ck_assert_uint_eq(entry->seq, key->versions[--counted->left].seq);
    race_check_entry(entry, entry->seq);
    counted->versions++;
    return PLSM_OK;
}

START_TEST(writers_beside_each_other)
{
    race_prepare(5000 + (uint64_t)_i);
    printf("memtable: lanes, seed %llu\n", (unsigned long long)race.seed);
    pthread_t threads[LANES + 3];
    unsigned lanes[LANES];
    pthread_mutex_init(&race.turn, NULL);
    memtable_ref(race.table);
    for (unsigned i = 0; i < LANES; i++) {
        lanes[i] = i;
        ck_assert_int_eq(pthread_create(&threads[i], NULL, race_write_lane, &lanes[i]), 0);
    }
    void *(*const runs[])(void *) = {race_get, race_get, race_iterate};
    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(pthread_create(&threads[LANES + i], NULL, runs[i], NULL), 0);
    for (int i = 0; i < LANES + 3; i++)
        pthread_join(threads[i], NULL);
    struct counted counted = {0};
    ck_assert_int_eq(memtable_walk(race.table, count_version, &counted), PLSM_OK);
    ck_assert_uint_eq(counted.versions, RACE_WRITES);
    ck_assert_uint_eq(counted.left, 0);
    ck_assert_uint_eq(memtable_count(race.table), RACE_WRITES);
    memtable_unref(race.table);
    pthread_mutex_destroy(&race.turn);
    race_free();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("memtable, readers beside a writer");
    TCase *tests = tcase_create("memtable_race");
    tcase_set_timeout(tests, 300);
    tcase_add_loop_test(tests, readers_beside_writer, 0, 6);
    tcase_add_loop_test(tests, writers_beside_each_other, 0, 3);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_set_fork_status(runner, CK_NOFORK);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? 1 : 0;
}
