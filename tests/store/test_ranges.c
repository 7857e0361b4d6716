/* Sets of ranges against an array of flags; owners of ids. */
#include "../harness/store_fixture.h"

#include "base/random.h"
#include "store/ranges.h"

#include "base/banned.h"

enum { UNIVERSE = 64, STEPS = 20000 };

static void compare(const struct ranges *set, const bool flags[UNIVERSE], uint64_t seed, int step)
{
    uint64_t total = 0;
    for (uint64_t i = 0; i < UNIVERSE; i++) {
        total += flags[i];
        ck_assert_msg(ranges_has(set, i) == flags[i], "seed %llu, step %d: number %llu", (unsigned long long)seed, step,
                      (unsigned long long)i);
    }
    ck_assert_uint_eq(ranges_total(set), total);
    for (size_t i = 0; i < set->count; i++) {
        ck_assert_uint_lt(set->items[i].start, set->items[i].end);
        if (i > 0) /* disjoint, and not even touching */
            ck_assert_uint_lt(set->items[i - 1].end, set->items[i].start);
    }
}

START_TEST(against_flags)
{
    for (uint64_t seed = 1; seed <= 5; seed++) {
        struct random random;
        struct ranges set = {0};
        bool flags[UNIVERSE] = {0};
        random_seed(&random, seed);
        for (int step = 0; step < STEPS; step++) {
            uint64_t start = random_below(&random, UNIVERSE), end = start + random_below(&random, UNIVERSE / 4);
            bool add = random_below(&random, 2);
            if (end > UNIVERSE)
                end = UNIVERSE;
            assert_ok(ranges_reserve(&set));
            (add ? ranges_add : ranges_remove)(&set, start, end);
            for (uint64_t i = start; i < end; i++)
                flags[i] = add;
            compare(&set, flags, seed, step);
        }
        ranges_free(&set);
    }
}
END_TEST

START_TEST(sequential_is_one_range)
{
    struct ranges set = {0};
    for (uint64_t i = 0; i < 100000; i++) {
        assert_ok(ranges_reserve(&set));
        ranges_add(&set, i, i + 1);
    }
    ck_assert_uint_eq(set.count, 1);
    ck_assert_uint_le(set.capacity, 4);
    ranges_remove(&set, 0, UINT64_MAX);
    ck_assert_uint_eq(set.count, 0);
    ranges_remove(&set, 0, UINT64_MAX);
    ranges_free(&set);
}
END_TEST

START_TEST(owners)
{
    struct owners table;
    struct reference old = {.id = 70, .size = 5, .generation = 3, .extents = 1, .uniform = 3}, retired = {0};
    bool taken = false;
    owners_init(&table);
    ck_assert(owners_retire(&table, &old)); /* nobody has it: at once */
    assert_ok(owners_take(&table, 70, &taken));
    ck_assert(taken);
    assert_ok(owners_take(&table, 70, &taken));
    ck_assert(!taken);
    assert_ok(owners_take(&table, 70 + OWNER_BUCKETS, &taken)); /* the same bucket */
    ck_assert(taken);
    ck_assert_uint_eq(owners_count(&table), 2);
    ck_assert(!owners_retire(&table, &old)); /* later */
    ck_assert(!owners_release(&table, 70 + OWNER_BUCKETS, false, &retired));
    ck_assert(owners_release(&table, 70, true, &retired));
    ck_assert_mem_eq(&retired, &old, sizeof old);
    assert_ok(owners_take(&table, 70, &taken)); /* tainted */
    ck_assert(!taken);
    ck_assert(owners_retire(&table, &old));
    ck_assert_uint_eq(owners_count(&table), 0);
    owners_destroy(&table);
}
END_TEST

START_TEST(references)
{
    struct reference in = {.id = 0x0102030405060708, .size = 300000, .generation = 9, .extents = 3, .uniform = 9}, out;
    uint8_t bytes[REFERENCE_SIZE];
    reference_encode(&in, bytes);
    ck_assert_uint_eq(bytes[0], 8);
    ck_assert_uint_eq(bytes[7], 1);
    assert_ok(reference_decode(slice(bytes, sizeof bytes), &out));
    ck_assert_mem_eq(&in, &out, sizeof in);
    ck_assert(reference_is_dense(&in));
    assert_status(reference_decode(slice(bytes, sizeof bytes - 1), &out), PLSM_CORRUPT);
    static const struct reference bad[] = {
        {.id = 0, .size = 1, .generation = 1},
        {.id = 1, .size = 1, .generation = 0},
        {.id = 1, .size = PLSM_VALUE_MAX + 1, .generation = 1},
        {.id = 1, .size = 1, .generation = 1, .extents = 2},
        {.id = 1, .size = 1, .generation = 1, .extents = 1, .uniform = 2},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        reference_encode(&bad[i], bytes);
        assert_status(reference_decode(slice(bytes, sizeof bytes), &out), PLSM_CORRUPT);
    }
    ck_assert_uint_eq(extents_of(0), 0);
    ck_assert_uint_eq(extents_of(1), 1);
    ck_assert_uint_eq(extents_of(EXTENT_SIZE), 1);
    ck_assert_uint_eq(extents_of(EXTENT_SIZE + 1), 2);
    ck_assert_uint_eq(extents_of(PLSM_VALUE_MAX), PLSM_VALUE_MAX / EXTENT_SIZE);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {against_flags, sequential_is_one_range, owners, references};
    return fixture_run("ranges", tests, sizeof tests / sizeof tests[0]);
}
