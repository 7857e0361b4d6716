/* The page cache while it is resized: alone, step by step, and beside readers, pins and dying runs (to be run under the
 * thread sanitizer too). */
#include <check.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/random.h"
#include "lsm/cache.h"
#include "lsm/page.h"

#include "base/banned.h"

#define MIB (UINT64_C(1) << 20)

/* Looks a page up, and brings it in where it is not. False: the cache had no room. */
static bool use_page(struct cache *cache, cache_slot *slots, uint32_t page, bool *right)
{
    const uint8_t *memory = cache_lookup(cache, &slots[page]);
    uint32_t number = 0;
    *right = true;
    if (!memory) {
        uint8_t *frame = cache_take(cache, &number);
        if (!frame)
            return false;
        for (size_t at = 0; at < PAGE_SIZE; at += 256)
            put_u32(frame + at, page);
        memory = cache_publish(cache, &slots[page], number);
    }
    for (size_t at = 0; at < PAGE_SIZE; at += 256)
        *right = *right && get_u32(memory + at) == page;
    return true;
}

static unsigned cached(const cache_slot *slots, unsigned count)
{
    unsigned found = 0;
    for (unsigned i = 0; i < count; i++)
        found += atomic_load(&slots[i]) != 0;
    return found;
}

enum { PAGES = 9000 };
static cache_slot slots[PAGES];

/* Small pages below 128 MiB, huge ones above: memory comes and goes in whole granules. */
START_TEST(shrinks_and_grows)
{
    uint64_t most = _i ? 160 * MIB : 16 * MIB, granule = _i ? 2 * MIB : 32 << 10;
    struct epoch *epoch = epoch_create();
    struct cache *cache = cache_create_elastic(most, 16 << 10, epoch);
    bool right;
    static const unsigned sizes[] = {100, 50, 75, 3, 0, 100, 40}; /* percent */
    memset((void *)slots, 0, sizeof slots);
    for (size_t step = 0; step < sizeof sizes / sizeof sizes[0]; step++) {
        uint64_t bytes = most / 4 * sizes[step] / 100;
        cache_resize(cache, bytes);
        ck_assert_uint_le(cache_resident(cache), bytes + most / 50);
        for (unsigned i = 0; i < PAGES; i++) {
            epoch_enter(epoch);
            use_page(cache, slots, i, &right);
            ck_assert(right);
            epoch_exit(epoch);
        }
        ck_assert_uint_le(cache_resident(cache), bytes + most / 50);
        ck_assert_uint_le(cache_bytes(cache), bytes);
        uint64_t expected = bytes > granule ? (bytes - granule) * 9 / 10 : 0;
        expected = expected < PAGES * PAGE_SIZE * UINT64_C(9) / 10 ? expected : PAGES * PAGE_SIZE * UINT64_C(9) / 10;
        expected = expected > 40 * PAGE_SIZE ? expected - 40 * PAGE_SIZE : 0;
        ck_assert_uint_ge((uint64_t)cached(slots, PAGES) * PAGE_SIZE, expected);
    }
    cache_forget(cache, slots, PAGES);
    cache_destroy(cache);
    epoch_destroy(epoch);
}
END_TEST

/* What is pinned stays as it is, above the limit too, whether or not its run lives; then its memory goes as well. */
START_TEST(pins_above_the_limit)
{
    struct epoch *epoch = epoch_create();
    struct cache *cache = cache_create_elastic(16 * MIB, 16 << 10, epoch);
    uint32_t numbers[2] = {0};
    const uint8_t *pages[2] = {NULL};
    bool right;
    memset((void *)slots, 0, sizeof slots);
    for (unsigned i = 0; i < 3000; i++) {
        epoch_enter(epoch);
        ck_assert(use_page(cache, slots, i, &right));
        epoch_exit(epoch);
    }
    for (unsigned i = 0; i < 2; i++) {
        pages[i] = cache_pin(cache, &slots[2000 + i], &numbers[i]);
        ck_assert_ptr_nonnull(pages[i]);
    }
    cache_forget(cache, &slots[2001], 1); /* the second's run is gone */
    atomic_store(&slots[2001], 0);
    cache_resize(cache, MIB);
    cache_resize(cache, MIB);
    ck_assert_uint_le(cache_resident(cache), 2 * MIB);
    for (unsigned i = 3000; i < 6000; i++) {
        epoch_enter(epoch);
        use_page(cache, slots, i, &right);
        epoch_exit(epoch);
    }
    for (unsigned i = 0; i < 2; i++) {
        ck_assert_uint_eq(get_u32(pages[i]), 2000 + i);
        ck_assert_uint_eq(atomic_load(&slots[2000 + i]), 0);
        cache_unpin(cache, numbers[i]);
    }
    uint64_t before = cache_resident(cache);
    cache_resize(cache, MIB);
    ck_assert_uint_lt(cache_resident(cache), before);
    cache_resize(cache, 16 * MIB);
    for (unsigned i = 0; i < 3000; i++) {
        epoch_enter(epoch);
        ck_assert(use_page(cache, slots, i, &right) && right);
        epoch_exit(epoch);
    }
    cache_forget(cache, slots, PAGES);
    cache_destroy(cache);
    epoch_destroy(epoch);
}
END_TEST

/* --- beside readers ----------------------------------------------------------------------------------------------- */

enum { READERS = 3, RUNS = 8, RUN_PAGES = 300, ROUNDS = 30000 };

/* A run as the tree would have it: slots that readers find by a pointer, until it is retired. */
struct run {
    struct epoch_node node;
    struct cache *cache;
    cache_slot slots[RUN_PAGES];
};

static struct {
    struct cache *cache;
    struct epoch *epoch;
    struct run *_Atomic runs[RUNS];
    atomic_bool stop, wrong;
    _Atomic uint64_t hits;
} race;

static void run_free(struct epoch_node *node)
{
    struct run *run = (struct run *)(void *)node;
    cache_forget(run->cache, run->slots, RUN_PAGES);
    free(run);
}

static struct run *run_create(void)
{
    struct run *run = calloc(1, sizeof *run);
    run->cache = race.cache;
    return run;
}

static void *reader(void *arg)
{
    struct random random;
    random_seed(&random, (uintptr_t)arg);
    for (unsigned round = 0; round < ROUNDS && !atomic_load(&race.stop); round++) {
        uint32_t page = (uint32_t)random_below(&random, random_below(&random, 2) ? 30 : RUN_PAGES), number = 0;
        bool right = true;
        epoch_enter(race.epoch);
        struct run *run = atomic_load_explicit(&race.runs[random_below(&random, RUNS)], memory_order_acquire);
        if (use_page(race.cache, run->slots, page, &right))
            atomic_fetch_add(&race.hits, 1);
        const uint8_t *pinned = round % 64 == 0 ? cache_pin(race.cache, &run->slots[page], &number) : NULL;
        epoch_exit(race.epoch);
        for (unsigned i = 0; pinned && i < 100; i++)
            right = right && get_u32(pinned + i % 16 * 256) == page;
        if (pinned)
            cache_unpin(race.cache, number);
        if (!right)
            atomic_store(&race.wrong, true);
    }
    return NULL;
}

static void *resizer(void *arg)
{
    struct random random;
    random_seed(&random, 99);
    while (!atomic_load(&race.stop)) {
        struct timespec pause = {0, 200000};
        cache_resize(race.cache, random_below(&random, 9 * MIB));
        struct run *old = atomic_exchange(&race.runs[random_below(&random, RUNS)], run_create());
        epoch_retire(race.epoch, &old->node, run_free);
        nanosleep(&pause, NULL);
    }
    return arg;
}

START_TEST(beside_readers)
{
    pthread_t readers[READERS], other;
    race.epoch = epoch_create();
    race.cache = cache_create_elastic(8 * MIB, 16 << 10, race.epoch);
    for (unsigned i = 0; i < RUNS; i++)
        atomic_store(&race.runs[i], run_create());
    pthread_create(&other, NULL, resizer, NULL);
    for (uintptr_t i = 0; i < READERS; i++)
        pthread_create(&readers[i], NULL, reader, (void *)(i + 1));
    for (unsigned i = 0; i < READERS; i++)
        pthread_join(readers[i], NULL);
    atomic_store(&race.stop, true);
    pthread_join(other, NULL);
    ck_assert(!atomic_load(&race.wrong));
    ck_assert_uint_gt(atomic_load(&race.hits), READERS * ROUNDS / 4);
    cache_resize(race.cache, 0);
    ck_assert_uint_eq(cache_bytes(race.cache), 0);
    ck_assert_uint_le(cache_resident(race.cache), MIB / 4); /* but for what is known of each page */
    for (unsigned i = 0; i < RUNS; i++)
        epoch_retire(race.epoch, &atomic_load(&race.runs[i])->node, run_free);
    epoch_destroy(race.epoch);
    cache_destroy(race.cache);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("cache");
    TCase *tcase = tcase_create("cache");
    tcase_set_timeout(tcase, 300);
    tcase_add_loop_test(tcase, shrinks_and_grows, 0, 2);
    tcase_add_test(tcase, pins_above_the_limit);
    tcase_add_test(tcase, beside_readers);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
