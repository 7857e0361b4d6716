/* One writer and one reader on a table over young runs, woven together at random: both are contexts of one thread, and
 * at each access to the table either may have to wait while the other goes on. So moments come up that threads hardly
 * ever meet. (Whether processors keep the order of accesses is not tested here; see test_young_race.c.) */
#include <check.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/random.h"

static void interleave(_Bool is_store);
#define YOUNG_INTERLEAVE(is_store) interleave(is_store)
/* Compiled again, with the interleaving; the ones in the library are not linked then. */
#include "learn/young.c"
#include "learn/young_sweep.c"

#include "base/banned.h"

enum {
    REGION = 64,       /* only entries all of whose buckets are among the first so many: so that everything meets */
    FINGERPRINTS = 64, /* at most: those that stay in the region */
    KNOWN = 8,         /* slots from 0 on that the reader may ask for */
    RUN_MAX = 100,
    STEPS_ALL = 8000,
    STACK = 256 << 10,
};

static struct {
    struct young *young;
    struct random random;
    ucontext_t writer, reader;
    bool woven, reading;
    uint64_t stint; /* accesses until the other side goes on */
    uint64_t hashes[KNOWN][RUN_MAX];
    unsigned counts[KNOWN]; /* 0: the reader does not know this slot */
    uint64_t probes, seed;
    uint32_t fingerprints[FINGERPRINTS];
    unsigned fingerprint_count;
    _Alignas(64) uint8_t stack[STACK];
} weave;

/* The reader may stop at any access, the writer at each store: between two of them nothing changes. Mostly for a short
 * time, at times for long. */
static void interleave(_Bool is_store)
{
    if (!weave.woven || (!weave.reading && !is_store) || weave.stint-- > 0)
        return;
    weave.stint = random_below(&weave.random, UINT64_C(1) << random_below(&weave.random, 8));
    weave.reading = !weave.reading;
    if (weave.reading)
        swapcontext(&weave.writer, &weave.reader);
    else
        swapcontext(&weave.reader, &weave.writer);
}

static void read_for_ever(void)
{
    for (;;) {
        unsigned slot = (unsigned)random_below(&weave.random, KNOWN);
        uint64_t hash = 0;
        if (weave.counts[slot] > 0) {
            hash = weave.hashes[slot][random_below(&weave.random, weave.counts[slot])];
            if (!(young_find(weave.young, hash) >> slot & 1)) {
                fprintf(stderr, "seed %" PRIu64 ": slot %u: %016" PRIx64 " is denied\n", weave.seed, slot, hash);
                abort();
            }
        }
        weave.probes++;
        interleave(false);
    }
}

/* Lets the reader end its probe: it may have begun with what it must not know any more. */
static void wait_for_reader(void)
{
    for (uint64_t probes = weave.probes; probes == weave.probes;) {
        weave.reading = true;
        swapcontext(&weave.writer, &weave.reader);
    }
}

static void find_fingerprints(void)
{
    weave.fingerprint_count = 0;
    for (uint32_t fingerprint = 1; fingerprint <= 0xffff && weave.fingerprint_count < FINGERPRINTS; fingerprint++) {
        uint64_t spread = spread_of(fingerprint);
        if ((distance(spread, 1) | distance(spread, 2) | distance(spread, 3)) < REGION)
            weave.fingerprints[weave.fingerprint_count++] = fingerprint;
    }
    ck_assert_uint_ge(weave.fingerprint_count, 8);
}

static uint64_t hash_in_region(void)
{
    uint64_t home = random_below(&weave.random, REGION);
    uint64_t hash = (home << 32) / weave.young->bucket_count + 1; /* the first that has this home, or the next */
    hash = hash << 32 | weave.fingerprints[random_below(&weave.random, weave.fingerprint_count)];
    INVARIANT(path_of(weave.young, hash).home == home);
    return hash;
}

static void writer_step(void)
{
    unsigned slot = (unsigned)random_below(&weave.random, YOUNG_SLOTS);
    unsigned count = 1 + (unsigned)random_below(&weave.random, RUN_MAX);
    uint64_t hashes[RUN_MAX];
    uint64_t slots = atomic_load(&weave.young->slots);
    if (slots >> slot & 1) {
        if (slot < KNOWN) {
            if (random_below(&weave.random, 4)) /* known ones stay for longer */
                return;
            weave.counts[slot] = 0;
            wait_for_reader();
        }
        young_remove(weave.young, UINT64_C(1) << slot);
        return;
    }
    for (unsigned i = 0; i < count; i++)
        hashes[i] = hash_in_region();
    if (!young_insert(weave.young, slot, hashes, count)) { /* full: half of what the reader does not know goes */
        young_remove(weave.young, random_next(&weave.random) << KNOWN);
    } else if (slot < KNOWN) {
        memcpy(weave.hashes[slot], hashes, sizeof hashes);
        weave.counts[slot] = count;
    }
}

START_TEST(woven_together)
{
    weave.seed = 7000 + (uint64_t)_i;
    random_seed(&weave.random, weave.seed);
    weave.young = young_create(1);
    ck_assert(weave.young);
    if (_i % 4 < 3)
        young_use_portable(weave.young); /* more places to stop at */
    memset(weave.counts, 0, sizeof weave.counts);
    weave.probes = weave.stint = 0;
    find_fingerprints();
    getcontext(&weave.reader);
    weave.reader.uc_stack.ss_sp = weave.stack;
    weave.reader.uc_stack.ss_size = STACK;
    makecontext(&weave.reader, read_for_ever, 0);
    weave.woven = true;
    for (unsigned step = 0; step < STEPS_ALL; step++)
        writer_step();
    weave.woven = false;
    struct young_counts counts;
    young_count(weave.young, &counts);
    printf("young: woven with seed %" PRIu64 ": %" PRIu64 " probes, %" PRIu64 " further, %" PRIu64 " returns\n",
           weave.seed, weave.probes, counts.probes_further, atomic_load(&weave.young->returns));
    ck_assert_uint_gt(counts.probes_further, weave.probes / 20);
    ck_assert_uint_gt(atomic_load(&weave.young->returns), STEPS_ALL / 20);
    young_destroy(weave.young);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("young, writer and reader woven");
    TCase *tests = tcase_create("young_weave");
    tcase_set_timeout(tests, 120);
    tcase_add_loop_test(tests, woven_together, 0, 8);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? 1 : 0;
}
