/* Adding to a memtable by several writers, with what the others do chosen: between what an addition sees and its lock,
 * other lanes add keys that are made to be in its way. One thread, so every failure comes again. (Threads that really
 * run beside each other, which seldom meet there: test_memtable_race.) */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/random.h"
#include "tests/harness/pool.h"

static void interleave(void);
#define MEMTABLE_INTERLEAVE() interleave()
#include "lsm/memtable_lanes.c"

#include "base/banned.h"

enum { TABLES = 400, ADDITIONS = 60, KEY_ROOM = 12, KEYS_MAX = 2000, BESIDE_MAX = 60, ALL_MAX = 600 };

struct known {
    uint8_t key[KEY_ROOM];
    size_t size, count;
    uint64_t *seqs; /* in their order */
};

static struct {
    struct memtable *table;
    struct random random;
    struct known keys[KEYS_MAX];
    size_t count;
    uint64_t seq, seed, versions;
    plsm_slice at_hand; /* the key that is being added by lane `depth` - 1 */
    unsigned depth;     /* additions that are under way */
    uint64_t met;       /* interleavings */
} all;

static struct known *known_of(plsm_slice key)
{
    for (size_t i = 0; i < all.count; i++)
        if (slice_equal(slice(all.keys[i].key, all.keys[i].size), key))
            return &all.keys[i];
    ck_assert_uint_lt(all.count, KEYS_MAX);
    struct known *k = &all.keys[all.count++];
    *k = (struct known){.size = key.size};
    if (key.size)
        memcpy(k->key, key.data, key.size);
    return k;
}

static void note(plsm_slice key, uint64_t seq)
{
    struct known *k = known_of(key);
    k->seqs = realloc(k->seqs, (k->count + 1) * sizeof *k->seqs);
    size_t at = k->count++;
    for (; at > 0 && k->seqs[at - 1] > seq; at--)
        k->seqs[at] = k->seqs[at - 1];
    k->seqs[at] = seq;
    all.versions++;
}

/* Numbers go up and down: each is given once. */
static void add(unsigned lane, plsm_slice key)
{
    uint64_t seq = 1000000 + (++all.seq % 2 ? all.seq : -all.seq);
    struct entry entry = {.key = key, .value = key, .seq = seq};
    plsm_slice before = all.at_hand;
    all.at_hand = key;
    all.depth++;
    memtable_lane_add(all.table, lane, &entry);
    all.depth--;
    all.at_hand = before;
    note(key, seq);
}

/* A key that is in the way of the one at hand. */
static size_t related(uint8_t key[KEY_ROOM])
{
    size_t size = all.at_hand.size, cut = random_below(&all.random, size + 1);
    if (size)
        memcpy(key, all.at_hand.data, size);
    switch (random_below(&all.random, 4)) {
    case 0: /* the same */
        return size;
    case 1: /* what it begins with */
        return cut;
    case 2: /* one that begins with it, or with a part of it */
        while (cut < KEY_ROOM && random_below(&all.random, 3))
            key[cut++] = (uint8_t)random_below(&all.random, 3);
        return cut;
    default: /* a neighbour */
        if (size)
            key[random_below(&all.random, size)] = (uint8_t)random_below(&all.random, 256);
        return size;
    }
}

/* What others do: a few keys, or all at once that make a node full and replace it. */
static void interleave(void)
{
    uint8_t key[KEY_ROOM];
    if (all.depth >= MEMTABLE_LANES || all.seq > ALL_MAX || random_below(&all.random, 3))
        return;
    all.met++;
    if (random_below(&all.random, 3) == 0 && all.at_hand.size) {
        size_t at = random_below(&all.random, all.at_hand.size), count = random_below(&all.random, BESIDE_MAX);
        memcpy(key, all.at_hand.data, all.at_hand.size);
        for (size_t i = 0; i < count; i++) {
            key[at] = (uint8_t)random_below(&all.random, 256);
            add(all.depth, slice(key, at + 1));
        }
    } else {
        for (size_t count = 1 + random_below(&all.random, 3); count > 0; count--)
            add(all.depth, slice(key, related(key)));
    }
}

static plsm_status check_version(void *arg, struct entry *entry, bool newest)
{
    struct known *k = known_of(entry->key);
    size_t *left = arg;
    if (newest) {
        ck_assert_uint_eq(*left, 0);
        *left = k->count;
    }
    ck_assert_uint_gt(*left, 0);
    ck_assert_uint_eq(entry->seq, k->seqs[--*left]);
    ck_assert(slice_equal(entry->value, entry->key));
    all.versions--;
    return PLSM_OK;
}

/* Each key by itself at each of its numbers, then all of them. */
static void check_all(void)
{
    size_t left = 0;
    for (size_t i = 0; i < all.count; i++) {
        struct entry entry;
        struct known *k = &all.keys[i];
        for (size_t v = 0; v < k->count; v++) {
            ck_assert(memtable_get(all.table, slice(k->key, k->size), k->seqs[v], &entry));
            ck_assert_uint_eq(entry.seq, k->seqs[v]);
        }
    }
    ck_assert_int_eq(memtable_walk(all.table, check_version, &left), PLSM_OK);
    ck_assert_uint_eq(left, 0);
    ck_assert_uint_eq(all.versions, 0);
}

static void one_table(uint64_t seed)
{
    uint8_t key[KEY_ROOM];
    all.seed = seed;
    all.count = 0;
    all.seq = all.versions = 0;
    random_seed(&all.random, seed);
    all.table = memtable_create(NULL);
    for (unsigned lane = 0; lane < MEMTABLE_LANES; lane++)
        ck_assert_int_eq(memtable_lane_reserve(all.table, lane, 20000, 20000 * 2 * KEY_ROOM), PLSM_OK);
    for (unsigned i = 0; i < ADDITIONS; i++) {
        size_t size = random_below(&all.random, KEY_ROOM);
        for (size_t at = 0; at < size; at++)
            key[at] = (uint8_t)random_below(&all.random, 2);
        add(0, slice(key, size));
    }
    uint64_t versions = all.versions;
    for (unsigned lane = 0; lane < MEMTABLE_LANES; lane++)
        memtable_lane_end(all.table, lane);
    ck_assert_uint_eq(memtable_count(all.table), versions);
    check_all();
    memtable_unref(all.table);
    for (size_t i = 0; i < all.count; i++)
        free(all.keys[i].seqs);
}

START_TEST(others_in_the_way)
{
    unsigned tables = (unsigned)thinned(TABLES);
    for (unsigned i = 0; i < tables; i++)
        one_table(1 + i);
    printf("memtable: %llu additions of others met in %u tables\n", (unsigned long long)all.met, tables);
}
END_TEST

/* Room is reserved for all that all lanes may need, or for nothing. */
START_TEST(reservations)
{
    struct memtable *m = memtable_create(NULL);
    ck_assert_int_eq(memtable_lane_reserve(m, 0, SIZE_MAX, 1), PLSM_NO_MEMORY);
    ck_assert_int_eq(memtable_lane_reserve(m, 0, 1, SIZE_MAX), PLSM_NO_MEMORY);
    for (uint64_t nth = 1; nth <= 2; nth++) {
        mem_fail_at(nth);
        ck_assert_int_eq(memtable_lane_reserve(m, 1, 100, 1000), PLSM_NO_MEMORY);
        mem_fail_at(0);
        memtable_unref(m);
        m = memtable_create(NULL);
    }
    /* The first lane fills nodes so far that each addition of the second finds one full. */
    enum { NODES = 200, FULL = 48 };
    ck_assert_int_eq(memtable_lane_reserve(m, 0, NODES * FULL, NODES * FULL * 3), PLSM_OK);
    ck_assert_int_eq(memtable_lane_reserve(m, 1, NODES, NODES * 3), PLSM_OK);
    all.depth = MEMTABLE_LANES; /* nothing comes between */
    for (unsigned i = 0; i < NODES * (FULL + 1); i++) {
        unsigned node = i % NODES, lane = i / NODES == FULL;
        uint8_t key[] = {(uint8_t)(node >> 8), (uint8_t)node, (uint8_t)(i / NODES)};
        struct entry entry = {.key = slice(key, sizeof key), .seq = 1};
        memtable_lane_add(m, lane, &entry);
    }
    all.depth = 0;
    ck_assert_uint_eq(m->nodes[ART_256], NODES + 1); /* and the one above them */
    memtable_lane_end(m, 0);
    memtable_lane_end(m, 1);
    ck_assert_uint_eq(memtable_count(m), NODES * (FULL + 1));
    memtable_unref(m);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("memtable, lanes");
    TCase *tests = tcase_create("memtable_lanes");
    tcase_set_timeout(tests, 300);
    tcase_add_test(tests, others_in_the_way);
    tcase_add_test(tests, reservations);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_set_fork_status(runner, CK_NOFORK);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? 1 : 0;
}
