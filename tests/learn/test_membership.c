/* What tells whether a run may hold a key: the right structure is chosen, no key is ever denied whatever it is,
 * templates turn away what does not look like the keys, and hostile bytes do no harm. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/checksum.h"
#include "base/error.h"
#include "base/random.h"
#include "learn/membership.h"
#include "tests/harness/key_sets.h"
#include "tests/harness/number_keys.h"
#include "tests/harness/path_trees.h"

#include "base/banned.h"

enum { SEED = 20261126, KEYS = 20000, BITS = 8, MISSES = 2000 };

/* What a builder gave. */
struct made {
    struct buf filter, membership;
    struct filter plain;
    struct membership_built built;
    struct membership opened;
};

static void made_free(struct made *m)
{
    buf_free(&m->filter);
    buf_free(&m->membership);
}

static plsm_status build(const struct membership_wish *wish, const plsm_slice *keys, size_t count, bool directories,
                         const plsm_slice *misses, size_t miss_count, struct made *out)
{
    struct membership_builder *b = membership_builder_create(wish);
    plsm_slice before = {0};
    plsm_status status = b ? PLSM_OK : PLSM_NO_MEMORY;
    *out = (struct made){0};
    for (size_t i = 0; status == PLSM_OK && i < count; i++) {
        status = membership_builder_add(b, keys[i], key_hash(keys[i].data, keys[i].size), slice_common(before, keys[i]),
                                        directories);
        before = keys[i];
    }
    if (status == PLSM_OK)
        status = membership_builder_finish(b, misses, miss_count, &out->filter, &out->membership, &out->built);
    membership_builder_destroy(b);
    return status;
}

static void open_made(struct made *m)
{
    ck_assert_int_eq(filter_open(buf_slice(&m->filter), &m->plain), PLSM_OK);
    if (m->membership.size == 0)
        membership_of_filter(&m->plain, &m->opened);
    else
        ck_assert_msg(membership_open(buf_slice(&m->membership), &m->plain, &m->opened) == PLSM_OK, "%s",
                      plsm_message());
}

static bool asked(const struct membership *m, plsm_slice key)
{
    struct partitioned_query query;
    membership_query_init(&query, key, key_hash(key.data, key.size));
    membership_prefetch(m, &query);
    return membership_may_contain(m, &query);
}

static void check_members(const struct made *m, const plsm_slice *keys, size_t count)
{
    ck_assert_uint_eq(m->built.missed, 0);
    for (size_t i = 0; i < count; i++) {
        if (!asked(&m->opened, keys[i]))
            ck_abort_msg("key %zu is denied by a membership of kind %s", i, membership_kind_name(m->opened.kind));
        if (!filter_may_contain(&m->plain, key_hash(keys[i].data, keys[i].size)))
            ck_abort_msg("key %zu is denied by the plain filter", i);
    }
}

static double share_passing(const struct membership *m, const plsm_slice *keys, size_t count)
{
    size_t passed = 0;
    for (size_t i = 0; i < count; i++)
        passed += asked(m, keys[i]);
    return (double)passed / (double)count;
}

START_TEST(numbers_are_exact)
{
    static const enum number_shape shapes[] = {NUMBERS_COUNTERS, NUMBERS_MISSING_10, NUMBERS_MISSING_75,
                                               NUMBERS_DECIMALS, NUMBERS_SERIES};
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++)
        for (int small = 0; small < 2; small++) {
            struct membership_wish wish = {.bits = BITS, .small = small, .tailored = true};
            struct key_list list = {0};
            struct made m;
            key_list_fill(&list, shapes[s], KEYS, SEED);
            plsm_slice *keys = malloc(list.count * sizeof *keys);
            for (size_t i = 0; i < list.count; i++)
                keys[i] = key_list_at(&list, i);
            ck_assert_int_eq(build(&wish, keys, list.count, false, NULL, 0, &m), PLSM_OK);
            ck_assert_int_eq(m.built.kind, MEMBERSHIP_EXACT);
            ck_assert_uint_lt(m.membership.size, m.filter.size);
            open_made(&m);
            check_members(&m, keys, list.count);
            made_free(&m);
            free(keys);
            key_list_free(&list);
        }
}
END_TEST

/* How many keys there will be is a hint: it saves allocations, and nothing else depends on it. */
START_TEST(expected_keys_are_a_hint)
{
    enum { MANY = 300000 };
    static const uint64_t expected[] = {0, MANY, 1000, MANY - 100000, UINT64_MAX};
    struct key_set *set = key_set_create(KEYS_RANDOM, MANY, 1, SEED);
    struct made made[sizeof expected / sizeof *expected];
    uint64_t allocations[sizeof expected / sizeof *expected];
    for (size_t i = 0; i < sizeof expected / sizeof *expected; i++) {
        struct membership_wish wish = {.bits = BITS, .keys = expected[i], .blocked = true};
        mem_fail_at(0);
        ck_assert_int_eq(build(&wish, set->keys, set->count, false, NULL, 0, &made[i]), PLSM_OK);
        allocations[i] = mem_count();
        ck_assert(slice_equal(buf_slice(&made[i].filter), buf_slice(&made[0].filter)));
    }
    ck_assert_uint_lt(allocations[1], allocations[0]);
    ck_assert_uint_eq(allocations[2], allocations[0]);
    for (size_t i = 0; i < sizeof expected / sizeof *expected; i++)
        made_free(&made[i]);
    key_set_destroy(set);
}
END_TEST

/* Where nothing is to be learned: the plain filter alone, or a ribbon, and no further bytes. */
START_TEST(random_keys_keep_the_filter)
{
    struct key_set *set = key_set_create(KEYS_RANDOM, KEYS, 1, SEED);
    struct key_set *others = key_set_create(KEYS_RANDOM, MISSES, 1, SEED + 1);
    struct membership_wish wishes[] = {{.bits = BITS, .tailored = true},
                                       {.bits = BITS, .small = true, .tailored = true},
                                       {.bits = BITS, .fuse_only = true, .small = true, .tailored = true}};
    static const enum membership_kind kinds[] = {MEMBERSHIP_FUSE, MEMBERSHIP_RIBBON, MEMBERSHIP_FUSE};
    for (int i = 0; i < 3; i++) {
        struct made m;
        ck_assert_int_eq(build(&wishes[i], set->keys, set->count, false, others->keys, others->count, &m), PLSM_OK);
        ck_assert_int_eq(m.built.kind, kinds[i]);
        ck_assert(!m.built.has_template);
        ck_assert_uint_eq(m.built.hashes, set->count);
        ck_assert((m.membership.size == 0) == (kinds[i] == MEMBERSHIP_FUSE));
        if (kinds[i] == MEMBERSHIP_RIBBON)
            ck_assert_uint_lt(m.membership.size, m.filter.size);
        open_made(&m);
        check_members(&m, set->keys, set->count);
        ck_assert_double_lt(share_passing(&m.opened, others->keys, others->count), 0.012);
        made_free(&m);
    }
    key_set_destroy(set);
    key_set_destroy(others);
}
END_TEST

/* Other sizes, or other bytes at the same places, are turned away without a filter; only where misses say so. */
START_TEST(templates_turn_away)
{
    struct random random;
    plsm_slice *keys = malloc(KEYS * sizeof *keys), *shorter = malloc(MISSES * sizeof *shorter),
               *marked = malloc(MISSES * sizeof *marked);
    uint8_t *bytes = malloc((KEYS + 2 * MISSES) * 24), *at = bytes;
    random_seed(&random, SEED);
    for (size_t i = 0; i < KEYS + 2 * MISSES; i++, at += 24) {
        put_be64(at, i);
        put_u64(at + 8, UINT64_C(0x4d41524b00000000) + (uint32_t)random_next(&random));
        put_u64(at + 16, random_next(&random));
        if (i < KEYS)
            keys[i] = slice(at, 24);
        else if (i < KEYS + MISSES)
            shorter[i - KEYS] = slice(at, 20);
        else {
            at[15] = 'm';
            marked[i - KEYS - MISSES] = slice(at, 24);
        }
    }
    struct membership_wish wish = {.bits = BITS, .tailored = true};
    for (int round = 0; round < 3; round++) {
        struct made m;
        const plsm_slice *misses = round == 0 ? shorter : round == 1 ? marked : NULL;
        ck_assert_int_eq(build(&wish, keys, KEYS, false, misses, misses ? MISSES : 0, &m), PLSM_OK);
        ck_assert(m.built.has_template == (round < 2));
        open_made(&m);
        check_members(&m, keys, KEYS);
        if (round < 2) {
            ck_assert(share_passing(&m.opened, shorter, MISSES) == 0);
            ck_assert(share_passing(&m.opened, marked, MISSES) == 0);
        }
        made_free(&m);
    }
    free(keys);
    free(shorter);
    free(marked);
    free(bytes);
}
END_TEST

struct trees {
    struct path_list keys, all, misses;
    struct buf classifier;
};

/* A run of one tree, misses of another. */
static struct trees trees_create(void)
{
    struct trees t = {.keys = path_list_create((struct path_tree){0, SEED}, KEYS, 1, SEED),
                      .all = path_list_create((struct path_tree){1, SEED + 1}, 4 * MISSES, 1, SEED + 1)};
    t.misses = path_list_without(&t.all, &t.keys);
    struct classifier_samples samples = {
        .keys = t.keys.keys, .misses = t.misses.keys, .key_count = 3000, .miss_count = 3000};
    ck_assert_int_eq(classifier_train(&samples, BITS, KEYS, &t.classifier), PLSM_OK);
    path_list_sort(&t.keys);
    return t;
}

static void trees_free(struct trees *t)
{
    path_list_free(&t->misses);
    path_list_free(&t->all);
    path_list_free(&t->keys);
    buf_free(&t->classifier);
}

START_TEST(foreign_paths_are_partitioned)
{
    struct trees t = trees_create();
    ck_assert_uint_gt(t.classifier.size, 0);
    for (int round = 0; round < 3; round++) { /* with classes and directories, with directories alone, with classes */
        struct membership_wish wish = {.bits = BITS, .tailored = true};
        struct made m;
        bool directories = round < 2;
        if (round != 1)
            wish.classifier = buf_slice(&t.classifier);
        ck_assert_int_eq(build(&wish, t.keys.keys, t.keys.count, directories, t.misses.keys + 3000, 1500, &m), PLSM_OK);
        ck_assert_msg(m.built.kind == MEMBERSHIP_PARTITIONED, "round %d: %s", round,
                      membership_kind_name(m.built.kind));
        ck_assert_uint_lt(m.membership.size, m.filter.size * 3 / 4);
        open_made(&m);
        check_members(&m, t.keys.keys, t.keys.count);
        ck_assert_double_lt(share_passing(&m.opened, t.misses.keys + 4500, t.misses.count - 4500), 0.02);
        made_free(&m);
    }
    trees_free(&t);
}
END_TEST

/* Every directory of every key, whatever serves; and most others not. */
START_TEST(directories_are_there)
{
    struct trees t = trees_create();
    for (int round = 0; round < 4; round++) {
        struct membership_wish wish = {
            .bits = BITS, .small = round == 1, .fuse_only = round == 2, .tailored = round == 3};
        struct made m;
        if (round == 3)
            wish.classifier = buf_slice(&t.classifier);
        ck_assert_int_eq(build(&wish, t.keys.keys, t.keys.count, true, t.misses.keys + 3000, round == 3 ? 1500 : 0, &m),
                         PLSM_OK);
        open_made(&m);
        for (size_t i = 0; i < t.keys.count; i++)
            for (size_t size = 1; size <= t.keys.keys[i].size; size++)
                if (((const uint8_t *)t.keys.keys[i].data)[size - 1] == '/')
                    ck_assert(membership_may_have_directory(&m.opened, slice(t.keys.keys[i].data, size),
                                                            key_hash(t.keys.keys[i].data, size)));
        unsigned passed = 0;
        for (unsigned i = 0; i < 10000; i++) {
            char name[32];
            int size = snprintf(name, sizeof name, "\x01no/such/place/%u/", i);
            passed += membership_may_have_directory(&m.opened, slice(name, (size_t)size), key_hash(name, (size_t)size));
        }
        ck_assert_uint_lt(passed, 200);
        made_free(&m);
    }
    trees_free(&t);
}
END_TEST

/* Bytes of every kind, damaged: refused, or answering; and refused where they are too short. */
START_TEST(damaged_bytes)
{
    struct trees t = trees_create();
    struct key_set *set = key_set_create(KEYS_RANDOM, 2000, 1, SEED);
    struct key_set *counters = key_set_create(KEYS_COUNTERS, 2000, 1, SEED);
    struct random random;
    random_seed(&random, SEED);
    for (int kind = 0; kind < 3; kind++) {
        struct membership_wish wish = {.bits = BITS, .small = kind == 0, .tailored = true};
        const struct key_set *keys = kind == 0 ? set : counters;
        struct made m;
        if (kind == 2)
            wish.classifier = buf_slice(&t.classifier);
        ck_assert_int_eq(kind == 2 ? build(&wish, t.keys.keys, t.keys.count, true, t.misses.keys + 3000, 1500, &m)
                                   : build(&wish, keys->keys, keys->count, false, NULL, 0, &m),
                         PLSM_OK);
        ck_assert_int_eq(filter_open(buf_slice(&m.filter), &m.plain), PLSM_OK);
        for (int i = 0; i < 3000; i++) {
            size_t size = random_below(&random, 4) ? m.membership.size : random_below(&random, m.membership.size);
            uint8_t *copy = malloc(size + 1);
            memcpy(copy, m.membership.data, size);
            for (uint64_t flips = random_below(&random, 4); size && flips > 0; flips--)
                copy[random_below(&random, random_below(&random, 2) ? size
                                           : size < 256             ? size
                                                        : 256)] ^= (uint8_t)(1 + random_below(&random, 255));
            struct membership opened;
            if (membership_open(slice(copy, size), &m.plain, &opened) == PLSM_OK)
                for (int j = 0; j < 20; j++) {
                    asked(&opened, t.misses.keys[j]);
                    asked(&opened, set->keys[j]);
                    asked(&opened, counters->keys[j]);
                }
            free(copy);
        }
        for (size_t size = 0; size < MEMBERSHIP_HEADER_SIZE; size++)
            ck_assert_int_eq(membership_open(slice(m.membership.data, size), &m.plain, &m.opened), PLSM_CORRUPT);
        put_u16(m.membership.data + 2, 2);
        ck_assert_int_eq(membership_open(buf_slice(&m.membership), &m.plain, &m.opened), PLSM_VERSION);
        made_free(&m);
    }
    key_set_destroy(set);
    key_set_destroy(counters);
    trees_free(&t);
}
END_TEST

START_TEST(without_memory)
{
    struct trees t = trees_create();
    struct membership_wish wish = {
        .bits = BITS, .classifier = buf_slice(&t.classifier), .small = true, .tailored = true};
    plsm_status status = PLSM_NO_MEMORY;
    for (uint64_t at = 1; status != PLSM_OK; at++) {
        struct made m;
        ck_assert_uint_lt(at, 10000);
        mem_fail_at(at);
        status = build(&wish, t.keys.keys, 3000, true, t.misses.keys + 3000, 1500, &m);
        mem_fail_at(0);
        ck_assert(status == PLSM_OK || status == PLSM_NO_MEMORY);
        made_free(&m);
    }
    trees_free(&t);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("membership");
    TCase *tests = tcase_create("membership");
    tcase_set_timeout(tests, 300);
    tcase_add_test(tests, expected_keys_are_a_hint);
    tcase_add_test(tests, numbers_are_exact);
    tcase_add_test(tests, random_keys_keep_the_filter);
    tcase_add_test(tests, templates_turn_away);
    tcase_add_test(tests, foreign_paths_are_partitioned);
    tcase_add_test(tests, directories_are_there);
    tcase_add_test(tests, damaged_bytes);
    tcase_add_test(tests, without_memory);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}
