/* The table over the young runs: no false negatives ever, false positives and sizes as promised, and after every step
 * the order inside it that the searches rely on. */
#include <check.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/random.h"
#include "learn/young.h"
#include "learn/young_private.h"

#include "base/banned.h"

enum { SEED = 20261120, PIECE = GROUP * LANES /* entries that the smallest table has lanes for */ };

/* For inner loops: ck_assert writes into a pipe each time. */
#define CHECK(condition)                                                                                               \
    do {                                                                                                               \
        if (!(condition))                                                                                              \
            ck_abort_msg("line %d: %s does not hold", __LINE__, #condition);                                           \
    } while (0)

/* --- the inside ----------------------------------------------------------------------------------------------------*/

/* What there must be of overflow bits, and of entries of each slot. */
struct inside {
    uint32_t *overflow;
    uint64_t entries[YOUNG_SLOTS];
};

static struct inside look_inside(const struct young *young)
{
    struct inside in = {.overflow = calloc(young->bucket_count, sizeof *in.overflow)};
    for (uint32_t number = 0; number < young->bucket_count; number++) {
        for (unsigned lane = 0; lane < LANES; lane++) {
            uint32_t fingerprint = fingerprint_at(&young->buckets[number], lane);
            uint32_t tag = tag_at(&young->buckets[number], lane);
            if (!fingerprint)
                continue;
            uint64_t spread = spread_of(fingerprint);
            uint32_t home = number ^ distance(spread, tag >> STEP_SHIFT);
            CHECK(home / GROUP == number / GROUP);
            for (unsigned step = 0; step < tag >> STEP_SHIFT; step++)
                in.overflow[home ^ distance(spread, step)] |= overflow_bit(spread);
            in.entries[tag & SLOT_MASK]++;
        }
    }
    return in;
}

/* Every entry can be reached, and the counts are right. `swept`: no overflow bit is set without need. */
static void check_inside(const struct young *young, bool swept)
{
    struct inside in = look_inside(young);
    struct young_counts counts;
    uint64_t entries = 0;
    young_count(young, &counts);
    for (uint32_t number = 0; number < young->bucket_count; number++) {
        uint32_t set = overflow_of(&young->buckets[number]);
        CHECK((in.overflow[number] & ~set) == 0);
        CHECK(!swept || in.overflow[number] == set);
    }
    for (unsigned slot = 0; slot < YOUNG_SLOTS; slot++) {
        CHECK(in.entries[slot] == (counts.slots >> slot & 1 ? young->slot_entries[slot] : 0));
        entries += in.entries[slot];
    }
    ck_assert_uint_eq(entries, counts.entries);
    ck_assert_uint_eq(counts.capacity, (uint64_t)young->bucket_count * LANES);
    ck_assert_double_eq(counts.load, (double)entries / (double)counts.capacity);
    uint64_t design = counts.capacity * 86 / 100;
    ck_assert_uint_eq(young_room(young), entries < design ? design - entries : 0);
    free(in.overflow);
}

/* --- a model: the hashes of each slot ------------------------------------------------------------------------------*/

struct model {
    struct young *young, *portable; /* the same, but for how it is searched */
    uint64_t *hashes[YOUNG_SLOTS];
    size_t counts[YOUNG_SLOTS];
    uint64_t slots;
};

static void model_create(struct model *m, uint64_t entries)
{
    *m = (struct model){.young = young_create(entries), .portable = young_create(entries)};
    ck_assert(m->young && m->portable);
    young_use_portable(m->portable);
}

static void model_destroy(struct model *m)
{
    for (unsigned slot = 0; slot < YOUNG_SLOTS; slot++)
        free(m->hashes[slot]);
    young_destroy(m->young);
    young_destroy(m->portable);
}

static uint64_t model_find(const struct model *m, uint64_t hash)
{
    uint64_t found = young_find(m->young, hash);
    CHECK(found == young_find(m->portable, hash));
    CHECK((found & ~m->slots) == 0);
    return found;
}

static void model_check(const struct model *m, bool swept)
{
    for (unsigned slot = 0; slot < YOUNG_SLOTS; slot++)
        for (size_t i = 0; i < m->counts[slot]; i++)
            if (!(young_find(m->young, m->hashes[slot][i]) >> slot & 1))
                ck_abort_msg("slot %u: hash %zu of %zu is denied", slot, i, m->counts[slot]);
    check_inside(m->young, swept);
    struct young_counts counts;
    young_count(m->young, &counts);
    ck_assert_uint_eq(counts.slots, m->slots);
    ck_assert_int_eq(memcmp(m->young->buckets, m->portable->buckets, counts.capacity / LANES * sizeof(struct bucket)),
                     0);
}

/* Takes over `hashes`. */
static bool model_insert(struct model *m, unsigned slot, uint64_t *hashes, size_t count)
{
    bool room = young_insert(m->young, slot, hashes, count);
    ck_assert(young_insert(m->portable, slot, hashes, count) == room);
    if (!room) {
        free(hashes);
        return false;
    }
    m->hashes[slot] = hashes;
    m->counts[slot] = count;
    m->slots |= UINT64_C(1) << slot;
    return true;
}

static void model_remove(struct model *m, uint64_t slots)
{
    young_remove(m->young, slots);
    young_remove(m->portable, slots);
    for (uint64_t left = slots & m->slots; left; left &= left - 1) {
        unsigned slot = (unsigned)__builtin_ctzll(left);
        free(m->hashes[slot]);
        m->hashes[slot] = NULL;
        m->counts[slot] = 0;
    }
    m->slots &= ~slots;
}

static uint64_t *random_hashes(struct random *r, size_t count)
{
    uint64_t *hashes = malloc((count + 1) * sizeof *hashes);
    for (size_t i = 0; i < count; i++)
        hashes[i] = random_next(r);
    return hashes;
}

/* A run as a flush or a compaction makes it: new keys, keys of other runs, versions of one key side by side. */
static uint64_t *make_run(const struct model *m, struct random *r, size_t count)
{
    uint64_t *hashes = random_hashes(r, count);
    uint64_t others = random_below(r, 3) * 40, versions = random_below(r, 3) * 20; /* percent */
    for (size_t i = 0; i < count; i++) {
        unsigned other = (unsigned)random_below(r, YOUNG_SLOTS);
        if (i > 0 && random_below(r, 100) < versions)
            hashes[i] = hashes[i - 1];
        else if (m->counts[other] && random_below(r, 100) < others)
            hashes[i] = m->hashes[other][random_below(r, m->counts[other])];
        else if (random_below(r, 1000) == 0) /* few fingerprints in few buckets */
            hashes[i] = (random_below(r, 3) << 62) + random_below(r, 3);
    }
    return hashes;
}

START_TEST(random_runs_against_a_model)
{
    uint64_t seed = SEED + (uint64_t)_i;
    struct random r;
    struct model m;
    unsigned refused = 0;
    printf("young: seed %" PRIu64 "\n", seed);
    random_seed(&r, seed);
    model_create(&m, 1 + random_below(&r, 40000));
    uint64_t lanes = (uint64_t)m.young->bucket_count * LANES;
    for (unsigned step = 0; step < 120; step++) {
        unsigned slot = (unsigned)random_below(&r, YOUNG_SLOTS);
        bool swept = false;
        /* Up to 30 % at once: so it is nearly full most of the time, and full at times. */
        size_t count = random_below(&r, 8) ? random_below(&r, lanes * 3 / 10) : random_below(&r, 3);
        if (m.slots >> slot & 1) {
            uint64_t also = random_next(&r) & random_next(&r) & random_next(&r) & random_next(&r);
            model_remove(&m, UINT64_C(1) << slot | (random_below(&r, 3) ? 0 : also));
            swept = true;
        } else if (!model_insert(&m, slot, make_run(&m, &r, count), count)) {
            refused++;
            swept = true;
            if (refused % 3 == 0)
                model_remove(&m, random_next(&r));
        }
        model_check(&m, swept);
        for (int i = 0; i < 1000; i++)
            model_find(&m, random_next(&r));
    }
    ck_assert_uint_gt(refused, 0);
    model_remove(&m, UINT64_MAX);
    model_check(&m, true);
    ck_assert_uint_eq(young_room(m.young), lanes * 86 / 100);
    model_destroy(&m);
}
END_TEST

/* --- figures -------------------------------------------------------------------------------------------------------*/

static uint64_t probes_further(const struct young *young)
{
    struct young_counts counts;
    young_count(young, &counts);
    return counts.probes_further;
}

/* Of absent keys: false positives and probes of a second line. */
static void check_rates(const struct young *young, struct random *r, const char *when)
{
    enum { PROBES = 4000000 };
    uint64_t positives = 0, further = probes_further(young);
    for (int i = 0; i < PROBES; i++)
        positives += young_find(young, random_next(r)) != 0;
    double rate = 100.0 * (double)positives / PROBES;
    double second = 100.0 * (double)(probes_further(young) - further) / PROBES;
    printf("young: %s: false positives %.4f %%, probes further %.2f %%\n", when, rate, second);
    ck_assert_double_lt(rate, 0.030); /* 17.2 / 65535 = 0.026 %; 0.030 is six standard deviations more */
    ck_assert_double_gt(rate, 0.022);
    ck_assert_double_lt(second, 4.0);
}

START_TEST(figures_at_the_design_load)
{
    enum { ENTRIES = 200000, RUNS = 10 };
    struct young *young = young_create(ENTRIES);
    struct young_counts counts;
    struct random r;
    random_seed(&r, SEED);
    ck_assert(young);
    uint64_t room = young_room(young);
    ck_assert_uint_ge(room, ENTRIES);
    ck_assert_uint_lt((young_memory(young) - sizeof(struct young)) * 8, room * 30);
    for (unsigned turn = 0; turn < 4 * RUNS; turn++) { /* several generations: nothing may get worse */
        young_remove(young, UINT64_C(1) << turn % RUNS);
        uint64_t *hashes = random_hashes(&r, room / RUNS);
        ck_assert(young_insert(young, turn % RUNS, hashes, room / RUNS));
        free(hashes);
        if (turn == RUNS - 1)
            check_rates(young, &r, "first filling");
    }
    check_rates(young, &r, "fourth generation");
    check_inside(young, false);
    young_count(young, &counts);
    ck_assert_double_gt(counts.load, 0.859);
    ck_assert_uint_eq(counts.slots, (1u << RUNS) - 1);
    young_remove(young, counts.slots);
    uint64_t further = probes_further(young);
    for (int i = 0; i < 100000; i++)
        CHECK(young_find(young, random_next(&r)) == 0);
    ck_assert_uint_eq(probes_further(young), further);
    young_destroy(young);
}
END_TEST

START_TEST(room_for_all_that_was_asked_for)
{
    static const uint64_t asked[] = {0, 1, 17612, 17613, 50000, 123456, 1000000, 1700001};
    struct random r;
    random_seed(&r, SEED);
    for (unsigned i = 0; i < sizeof asked / sizeof *asked; i++) {
        struct young *young = young_create(asked[i]);
        ck_assert(young);
        ck_assert_uint_ge(young_room(young), asked[i]);
        ck_assert_uint_lt(young_room(young), asked[i] + asked[i] / 16 + PIECE);
        ck_assert_uint_eq(young_room(young), young_size(young));
        uint64_t *hashes = random_hashes(&r, young_room(young));
        ck_assert(young_insert(young, (unsigned)i, hashes, young_room(young)));
        /* All of it, but for hashes with equal homes and fingerprints: about 128 pairs of a million. */
        ck_assert_uint_lt(young_room(young), 20 + asked[i] / 5000);
        free(hashes);
        young_destroy(young);
    }
}
END_TEST

/* --- full, and keys in many runs -----------------------------------------------------------------------------------*/

START_TEST(a_full_table_refuses_and_stays_whole)
{
    struct model m;
    struct random r;
    struct young_counts before, after;
    random_seed(&r, SEED);
    model_create(&m, 1);
    unsigned slot = 0;
    while (model_insert(&m, slot, random_hashes(&r, PIECE / 50), PIECE / 50))
        slot++;
    young_count(m.young, &before);
    printf("young: full at %.3f\n", before.load);
    ck_assert_double_gt(before.load, 0.95);
    ck_assert_uint_eq(before.slots, (UINT64_C(1) << slot) - 1);
    model_check(&m, true);
    /* Again and again, also far more than there are lanes; other slots are not touched. */
    for (int i = 0; i < 5; i++)
        ck_assert(!model_insert(&m, YOUNG_SLOTS - 1, random_hashes(&r, 2 * PIECE), 2 * PIECE));
    young_count(m.young, &after);
    ck_assert_uint_eq(after.entries, before.entries);
    ck_assert_uint_eq(after.slots, before.slots);
    ck_assert_uint_eq(young_room(m.young), 0);
    model_check(&m, true);
    /* After a removal there is room again. */
    model_remove(&m, 0x3f);
    ck_assert(model_insert(&m, slot, random_hashes(&r, PIECE / 20), PIECE / 20));
    model_check(&m, false);
    model_destroy(&m);
}
END_TEST

/* Updates of the same keys: each in `copies` runs. */
START_TEST(keys_in_several_runs)
{
    static const struct {
        unsigned copies;
        double load_min;
    } rows[] = {{2, 0.93}, {4, 0.90}, {8, 0.86}, {16, 0.70}};
    for (unsigned i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct model m;
        struct random r;
        struct young_counts counts;
        random_seed(&r, SEED + i);
        model_create(&m, 1);
        size_t count = PIECE / YOUNG_SLOTS;
        uint64_t *keys = NULL;
        bool room = true;
        for (unsigned slot = 0; slot < YOUNG_SLOTS && room; slot++) {
            if (slot % rows[i].copies == 0) {
                free(keys);
                keys = random_hashes(&r, count);
            }
            uint64_t *hashes = malloc(count * sizeof *hashes);
            memcpy(hashes, keys, count * sizeof *hashes);
            room = model_insert(&m, slot, hashes, count);
        }
        model_check(&m, !room);
        young_count(m.young, &counts);
        printf("young: each key in %u runs: full at %.3f\n", rows[i].copies, counts.load);
        ck_assert_double_gt(counts.load, rows[i].load_min);
        free(keys);
        model_destroy(&m);
    }
}
END_TEST

START_TEST(keys_in_all_runs)
{
    enum { KEYS = 10 }; /* each fills three buckets and more: where two meet there may be no room */
    struct model m;
    struct random r;
    random_seed(&r, SEED);
    model_create(&m, 1);
    uint64_t *keys = random_hashes(&r, KEYS);
    for (unsigned slot = 0; slot < YOUNG_SLOTS; slot++) {
        uint64_t *hashes = malloc(KEYS * sizeof *hashes);
        memcpy(hashes, keys, KEYS * sizeof *hashes);
        ck_assert(model_insert(&m, slot, hashes, KEYS));
    }
    for (int i = 0; i < KEYS; i++)
        CHECK(model_find(&m, keys[i]) == UINT64_MAX);
    model_check(&m, false);
    model_remove(&m, UINT64_C(0x5555555555555555));
    for (int i = 0; i < KEYS; i++)
        CHECK(model_find(&m, keys[i]) == UINT64_C(0xaaaaaaaaaaaaaaaa));
    model_check(&m, true);
    free(keys);
    model_destroy(&m);
}
END_TEST

/* --- repeated hashes, reuse, odd ones ------------------------------------------------------------------------------*/

START_TEST(repeated_hashes_cost_one_entry)
{
    struct young *young = young_create(1);
    struct young_counts counts;
    struct random r;
    random_seed(&r, SEED);
    uint64_t *hashes = random_hashes(&r, 100000);
    for (unsigned i = 0; i < 100000; i++)
        hashes[i] = hashes[0];
    ck_assert(young_insert(young, 0, hashes, 100000));
    young_count(young, &counts);
    ck_assert_uint_eq(counts.entries, 1);
    for (unsigned i = 0; i < 100000; i++)
        hashes[i] = i < 1000 ? random_next(&r) : hashes[i % 1000]; /* far apart */
    ck_assert(young_insert(young, 1, hashes, 100000));
    young_count(young, &counts);
    ck_assert_uint_le(counts.entries, 1001);
    ck_assert_uint_ge(counts.entries, 999);
    check_inside(young, false);
    free(hashes);
    young_destroy(young);
}
END_TEST

START_TEST(slots_are_used_again)
{
    enum { KEYS = 2000 };
    struct model m;
    struct random r;
    random_seed(&r, SEED);
    model_create(&m, 1);
    uint64_t *old = random_hashes(&r, KEYS);
    for (int turn = 0; turn < 200; turn++) {
        unsigned slot = (unsigned)random_below(&r, 8);
        uint64_t *hashes = random_hashes(&r, KEYS), denied = 0;
        model_remove(&m, UINT64_C(1) << slot);
        for (int i = 0; i < KEYS; i++)
            CHECK(!(model_find(&m, old[i]) >> slot & 1));
        memcpy(old, hashes, KEYS * sizeof *old);
        ck_assert(model_insert(&m, slot, hashes, KEYS));
        for (int i = 0; i < KEYS; i++)
            denied += !(model_find(&m, old[i]) >> slot & 1);
        ck_assert_uint_eq(denied, 0);
    }
    model_check(&m, false);
    free(old);
    model_destroy(&m);
}
END_TEST

START_TEST(borders)
{
    static const uint64_t odd[] = {0,
                                   1,
                                   0xffff,
                                   0x10000,
                                   0xffff0000,
                                   UINT64_C(0xffffffff00000000),
                                   UINT64_MAX,
                                   UINT64_MAX - 0xffff,
                                   UINT64_C(1) << 63};
    enum { ODD = sizeof odd / sizeof *odd };
    struct model m;
    model_create(&m, 50000);
    for (unsigned slot = 0; slot < YOUNG_SLOTS; slot += 63) {
        uint64_t *hashes = malloc(sizeof odd);
        memcpy(hashes, odd, sizeof odd);
        ck_assert(model_insert(&m, slot, hashes, ODD));
    }
    for (unsigned i = 0; i < ODD; i++) {
        young_prefetch(m.young, odd[i]);
        ck_assert_uint_eq(model_find(&m, odd[i]), UINT64_C(1) << 63 | 1);
    }
    model_check(&m, false);
    ck_assert(model_insert(&m, 5, malloc(8), 0)); /* a run without keys is in use too */
    model_check(&m, false);
    model_remove(&m, 0);
    model_remove(&m, 1 << 6 | 1 << 5); /* one that is not in use does not matter */
    model_check(&m, true);
    model_destroy(&m);
    young_destroy(NULL);
}
END_TEST

START_TEST(no_memory)
{
    mem_fail_at(1);
    ck_assert_ptr_null(young_create(1000));
    ck_assert_uint_eq(mem_count(), 1);
    mem_fail_at(0);
    ck_assert_ptr_null(young_create(UINT64_MAX));
    ck_assert_ptr_null(young_create(UINT64_MAX / 100));
    ck_assert_ptr_null(young_create(UINT64_C(80) << 30));
    struct young *young = young_create(1000);
    ck_assert_uint_eq(young_memory(young), sizeof(struct young) + (64 << 10));
    young_destroy(young);
}
END_TEST

/* --- smaller tables ------------------------------------------------------------------------------------------------*/

/* What was in a table is in each smaller one, in the same slots, and can be taken out and entered there as before. */
static void check_smaller(struct model *m, struct young *smaller, struct random *r)
{
    struct young_counts before, after;
    struct model s = *m;
    young_count(m->young, &before);
    young_count(smaller, &after);
    ck_assert_uint_eq(after.slots, before.slots);
    ck_assert_uint_le(after.entries, before.entries);
    ck_assert_uint_ge(after.entries, before.entries - 20 - before.entries / 5000); /* homes that have become equal */
    check_inside(smaller, true);
    for (unsigned slot = 0; slot < YOUNG_SLOTS; slot++)
        for (size_t i = 0; s.slots >> slot & 1 && i < s.counts[slot]; i++)
            CHECK(young_find(smaller, s.hashes[slot][i]) >> slot & 1);
    uint64_t positives = 0;
    enum { PROBES = 100000 };
    for (int i = 0; i < PROBES; i++)
        positives += young_find(smaller, random_next(r)) != 0;
    ck_assert_uint_lt(positives, PROBES * 4 / 10000); /* 0.026 % at the design load */
    unsigned gone = (unsigned)__builtin_ctzll(s.slots), kept = 63 - (unsigned)__builtin_clzll(s.slots);
    young_remove(smaller, UINT64_C(1) << gone);
    ck_assert(young_insert(smaller, gone, s.hashes[kept], s.counts[kept]));
    for (size_t i = 0; i < s.counts[kept]; i++)
        CHECK((young_find(smaller, s.hashes[kept][i]) >> gone & young_find(smaller, s.hashes[kept][i]) >> kept) & 1);
    check_inside(smaller, false);
}

START_TEST(smaller_tables)
{
    enum { ENTRIES = 2000000, RUNS = 5, EACH = 40000 };
    /* The table has 114 pieces, 6 * 19 of 17612.8 entries: what it can be divided by is 2, 3, 6, 19 and more. */
    static const struct {
        uint64_t entries, pieces;
    } cases[] = {{1000000, 57}, {660000, 38}, {400000, 38}, {334000, 19}, {200000, 19}, {0, 0}};
    struct random r;
    struct model m;
    random_seed(&r, SEED);
    model_create(&m, ENTRIES);
    for (unsigned run = 0; run < RUNS; run++) {
        uint64_t *hashes = random_hashes(&r, EACH);
        ck_assert(model_insert(&m, run * 7, hashes, EACH));
    }
    ck_assert_uint_eq(m.young->bucket_count, 114 * GROUP);
    ck_assert_ptr_null(young_shrink(m.young, young_size(m.young)));
    ck_assert_ptr_null(young_shrink(m.young, young_size(m.young) / 2 + 1));
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        for (int portable = 0; portable < 2; portable++) {
            struct young *smaller = young_shrink(portable ? m.portable : m.young, cases[i].entries);
            if (cases[i].pieces == 0) { /* there must be room for what is in it */
                ck_assert_ptr_null(smaller);
                continue;
            }
            ck_assert_ptr_nonnull(smaller);
            ck_assert_uint_eq(smaller->bucket_count, cases[i].pieces * GROUP);
            ck_assert_uint_ge(young_size(smaller), cases[i].entries);
            check_smaller(&m, smaller, &r);
            young_destroy(smaller);
        }
    }
    mem_fail_at(1);
    ck_assert_ptr_null(young_shrink(m.young, 334000));
    mem_fail_at(0);
    model_check(&m, false);
    model_destroy(&m);
}
END_TEST

/* A table that is sparse can be divided from the size on from which that is asked for, 1 MiB, and is hardly larger for
 * it. */
START_TEST(all_sizes_can_be_divided)
{
    const uint64_t per_piece = GROUP * LANES * 86 / 100;
    for (uint64_t pieces = 1; pieces < 400; pieces++) {
        struct young *young = young_create(pieces * per_piece);
        ck_assert_ptr_nonnull(young);
        uint64_t made = young->bucket_count / GROUP;
        ck_assert_uint_ge(made, pieces);
        ck_assert_uint_le(made - pieces, pieces / 16);
        struct young *smaller = pieces < 16 ? NULL : young_shrink(young, young_size(young) * 3 / 8);
        ck_assert_msg(pieces < 16 || smaller, "%" PRIu64 " pieces cannot be divided", made);
        young_destroy(smaller);
        young_destroy(young);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("young");
    TCase *answers = tcase_create("answers"), *figures = tcase_create("figures"), *rest = tcase_create("rest");
    tcase_set_timeout(answers, 240);
    tcase_set_timeout(figures, 120);
    tcase_set_timeout(rest, 120);
    tcase_add_loop_test(answers, random_runs_against_a_model, 0, 12);
    tcase_add_test(figures, figures_at_the_design_load);
    tcase_add_test(figures, room_for_all_that_was_asked_for);
    tcase_add_test(rest, a_full_table_refuses_and_stays_whole);
    tcase_add_test(rest, keys_in_several_runs);
    tcase_add_test(rest, keys_in_all_runs);
    tcase_add_test(rest, repeated_hashes_cost_one_entry);
    tcase_add_test(rest, slots_are_used_again);
    tcase_add_test(rest, borders);
    tcase_add_test(rest, no_memory);
    tcase_add_test(rest, smaller_tables);
    tcase_add_test(rest, all_sizes_can_be_divided);
    suite_add_tcase(suite, answers);
    suite_add_tcase(suite, figures);
    suite_add_tcase(suite, rest);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
