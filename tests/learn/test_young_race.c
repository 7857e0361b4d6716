/* One writer and two readers on one table over young runs; to be run under the thread sanitizer too. The table is kept
 * so full that entries move all the time, away from home at inserts and back at removals. */
#include <check.h>
#include <inttypes.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/epoch.h"
#include "base/random.h"
#include "learn/young.h"
#include "learn/young_private.h"

#include "base/banned.h"

enum {
    READERS = 2,
    STANDING = 4,    /* slots 0 to 3 stay in use once they are */
    STEPS_WARM = 10, /* before they come, so that they find a full table */
    STEPS_MIN = 20,  /* and until RACE_MS have gone by */
    RACE_MS = 1000,
    HIDDEN = 32,       /* slots from here on: readers never know of them */
    HIDDEN_STEPS = 10, /* in each step: the writer need not wait for readers, as in the others */
    RUN_MAX = GROUP * LANES / 20,
};

/* What readers know, as a version of the tree. */
struct version {
    uint64_t slots;
    uint64_t *hashes[YOUNG_SLOTS]; /* shared by versions */
    size_t counts[YOUNG_SLOTS];
};

static struct {
    struct young *young;
    struct epoch *epoch;
    struct version *_Atomic version;
    atomic_bool done;
    _Atomic uint64_t probes;
    uint64_t seed;
} race;

/* The new version is what readers get from now on; waits until nobody has the old one. */
static void publish(struct version *fresh)
{
    struct version *old = atomic_exchange(&race.version, fresh);
    uint64_t epoch = epoch_advance(race.epoch);
    while (!epoch_quiescent(race.epoch, epoch))
        sched_yield();
    free(old);
}

static struct version *copy_version(void)
{
    struct version *fresh = malloc(sizeof *fresh);
    *fresh = *atomic_load(&race.version);
    return fresh;
}

/* Half of the keys are those of another run. */
static uint64_t *make_run(struct random *r, const struct version *version, size_t count)
{
    uint64_t *hashes = malloc(count * sizeof *hashes);
    unsigned other = (unsigned)random_below(r, HIDDEN);
    for (size_t i = 0; i < count; i++)
        hashes[i] = i % 2 && i < version->counts[other] ? version->hashes[other][i] : random_next(r);
    return hashes;
}

static bool insert_run(struct random *r, unsigned slot)
{
    struct version *fresh = copy_version();
    size_t count = 1 + random_below(r, RUN_MAX);
    uint64_t *hashes = make_run(r, fresh, count);
    if (!young_insert(race.young, slot, hashes, count)) {
        free(hashes);
        free(fresh);
        return false;
    }
    fresh->slots |= UINT64_C(1) << slot;
    fresh->hashes[slot] = hashes;
    fresh->counts[slot] = count;
    publish(fresh);
    return true;
}

static void remove_runs(uint64_t slots)
{
    uint64_t *gone[YOUNG_SLOTS] = {0};
    struct version *fresh = copy_version();
    for (unsigned slot = 0; slot < YOUNG_SLOTS; slot++) {
        if (slots >> slot & 1) {
            gone[slot] = fresh->hashes[slot];
            fresh->hashes[slot] = NULL;
            fresh->counts[slot] = 0;
        }
    }
    fresh->slots &= ~slots;
    publish(fresh);
    young_remove(race.young, slots);
    for (unsigned slot = 0; slot < YOUNG_SLOTS; slot++)
        free(gone[slot]);
}

static void hidden_step(struct random *r)
{
    unsigned slot = HIDDEN + (unsigned)random_below(r, YOUNG_SLOTS - HIDDEN);
    struct young_counts counts;
    young_count(race.young, &counts);
    if (counts.slots >> slot & 1) {
        young_remove(race.young, UINT64_C(1) << slot);
        return;
    }
    size_t count = 1 + random_below(r, RUN_MAX);
    uint64_t *hashes = make_run(r, atomic_load(&race.version), count);
    if (!young_insert(race.young, slot, hashes, count)) /* full: half of what is hidden goes */
        young_remove(race.young, random_next(r) << HIDDEN);
    free(hashes);
}

static uint64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static void *race_write(void *arg)
{
    struct random r;
    random_seed(&r, race.seed);
    uint64_t end = now_ms() + RACE_MS;
    for (unsigned step = 0; step < STEPS_MIN || now_ms() < end; step++) {
        unsigned slot = STANDING + (unsigned)random_below(&r, HIDDEN - STANDING);
        uint64_t slots = atomic_load(&race.version)->slots;
        if (step >= STEPS_WARM && slots % (1 << STANDING) != (1 << STANDING) - 1)
            slot = (unsigned)__builtin_ctzll(~slots); /* a standing one that is not in use yet */
        if (slots >> slot & 1)
            remove_runs(UINT64_C(1) << slot);
        else if (!insert_run(&r, slot)) /* full: about a quarter goes */
            remove_runs(slots & random_next(&r) & random_next(&r) & ~(uint64_t)((1 << STANDING) - 1));
        for (int i = 0; i < HIDDEN_STEPS; i++)
            hidden_step(&r);
    }
    atomic_store(&race.done, true);
    return NULL;
}

/* Any key of any run that the reader knows must be found; standing runs are asked for half of the time. */
static void *race_read(void *arg)
{
    struct random r;
    random_seed(&r, race.seed + 1 + (uint64_t)(uintptr_t)arg);
    uint64_t probes = 0;
    while (!atomic_load_explicit(&race.done, memory_order_relaxed)) {
        epoch_enter(race.epoch);
        const struct version *version = atomic_load_explicit(&race.version, memory_order_acquire);
        for (int i = 0; i < 200; i++) {
            unsigned slot = (unsigned)random_below(&r, random_next(&r) % 2 ? STANDING : HIDDEN);
            if (!(version->slots >> slot & 1))
                continue;
            uint64_t hash = version->hashes[slot][random_below(&r, version->counts[slot])];
            probes++;
            if (!(young_find(race.young, hash) >> slot & 1)) {
                fprintf(stderr, "seed %" PRIu64 ": slot %u: %016" PRIx64 " is denied\n", race.seed, slot, hash);
                abort();
            }
        }
        epoch_exit(race.epoch);
    }
    atomic_fetch_add(&race.probes, probes);
    return NULL;
}

START_TEST(readers_beside_writer)
{
    struct young_counts counts;
    pthread_t threads[READERS + 1];
    race.seed = 5000 + (uint64_t)_i;
    race.young = young_create(1);
    race.epoch = epoch_create();
    atomic_store(&race.version, calloc(1, sizeof(struct version)));
    atomic_store(&race.done, false);
    atomic_store(&race.probes, 0);
    if (_i % 2)
        young_use_portable(race.young);
    for (uintptr_t i = 0; i <= READERS; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, i ? race_read : race_write, (void *)i), 0);
    for (int i = 0; i <= READERS; i++)
        pthread_join(threads[i], NULL);
    young_count(race.young, &counts);
    printf("young: race seed %" PRIu64 ": %" PRIu64 " probes, %" PRIu64 " further, %" PRIu64 " sweeps moved entries\n",
           race.seed, atomic_load(&race.probes), counts.probes_further, atomic_load(&race.young->returns));
    ck_assert_uint_gt(atomic_load(&race.young->returns), 10);
    ck_assert_uint_gt(counts.probes_further, 0);
    remove_runs(UINT64_MAX >> (YOUNG_SLOTS - HIDDEN));
    young_remove(race.young, UINT64_MAX << HIDDEN);
    young_count(race.young, &counts);
    ck_assert_uint_eq(counts.entries, 0);
    publish(NULL);
    epoch_destroy(race.epoch);
    young_destroy(race.young);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("young, readers beside a writer");
    TCase *tests = tcase_create("young_race");
    tcase_set_timeout(tests, 300);
    tcase_add_loop_test(tests, readers_beside_writer, 0, 2);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_set_fork_status(runner, CK_NOFORK);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? 1 : 0;
}
