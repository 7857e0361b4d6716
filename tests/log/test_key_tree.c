/* The key tree: beside a sorted list, with keys of many shapes; filled in order; without memory; beside readers. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/env.h"
#include "base/error.h"
#include "base/random.h"
#include "log/key_tree.h"
#include "tests/harness/pool.h"

#include "base/banned.h"

enum { SHAPES = 7, KEYS = 3000, KEY_MOST = 9000 };

static uint64_t seed = 1;

struct keys {
    plsm_slice list[KEYS]; /* ascending, none twice */
    size_t count;
    uint8_t *bytes;
};

static size_t make_key(unsigned shape, struct random *r, uint64_t i, uint8_t *out)
{
    size_t size = 0;
    switch (shape) {
    case 0: /* counters */
        put_be64(out, i * 3);
        return 8;
    case 1: /* any 17 bytes */
        for (; size < 17; size++)
            out[size] = (uint8_t)random_next(r);
        return size;
    case 2: /* paths */
        return (size_t)snprintf((char *)out, 200, "\1home/somebody/projects/number%llu/src/file%llu.c",
                                (unsigned long long)random_below(r, 20), (unsigned long long)random_below(r, 1000));
    case 3: /* few letters, among them 0, and prefixes of each other */
        size = 1 + random_below(r, 12);
        for (size_t k = 0; k < size; k++)
            out[k] = (uint8_t)("\0\1\377"[random_below(r, 3)]);
        return size;
    case 4: /* long, alike but for the end */
        size = 300 + random_below(r, 3) * 4000;
        memset(out, 'x', size);
        put_be64(out + size - 8, random_below(r, 500));
        return size;
    case 5: /* alike in heads, different behind */
        memset(out, 'a', 20);
        put_be64(out + 12, random_next(r) & 0xffff);
        return 20;
    default: /* short */
        size = 1 + random_below(r, 3);
        for (size_t k = 0; k < size; k++)
            out[k] = (uint8_t)random_next(r);
        return size;
    }
}

static int by_key(const void *a, const void *b)
{
    return slice_compare(*(const plsm_slice *)a, *(const plsm_slice *)b);
}

static struct keys *make_keys(unsigned shape)
{
    struct keys *keys = calloc(1, sizeof *keys);
    struct random r;
    random_seed(&r, seed + shape);
    keys->bytes = malloc((size_t)KEYS * KEY_MOST);
    uint8_t *to = keys->bytes;
    for (size_t i = 0; i < KEYS; i++) {
        size_t size = make_key(shape, &r, i, to);
        keys->list[i] = slice(to, size);
        to += size;
    }
    qsort(keys->list, KEYS, sizeof *keys->list, by_key);
    for (size_t i = 0; i < KEYS; i++)
        if (i == 0 || slice_compare(keys->list[keys->count - 1], keys->list[i]) != 0)
            keys->list[keys->count++] = keys->list[i];
    return keys;
}

static void free_keys(struct keys *keys)
{
    free(keys->bytes);
    free(keys);
}

/* Nodes of keys that are there, NULL of others. */
static void compare(const struct key_tree *tree, const struct keys *keys, struct key_node *const *nodes,
                    struct random *r)
{
    ck_assert(key_tree_check(tree));
    for (size_t i = 0; i < keys->count; i++)
        ck_assert_ptr_eq(key_tree_find(tree, keys->list[i]), nodes[i]);
    struct key_node *got[100];
    for (unsigned round = 0; round < 200; round++) {
        size_t at = random_below(r, keys->count), most = 1 + random_below(r, 100);
        bool above = random_below(r, 2);
        size_t expected = at + above, n = key_tree_ascend(tree, keys->list[at], above, got, most);
        for (size_t i = 0; i < n; i++, expected++) {
            while (expected < keys->count && !nodes[expected])
                expected++;
            ck_assert_ptr_eq(got[i], nodes[expected]);
        }
        while (n == 0 && expected < keys->count)
            ck_assert_ptr_null(nodes[expected++]);
        expected = at;
        n = key_tree_descend(tree, keys->list[at], got, most);
        for (size_t i = 0; i < n; i++) {
            while (!nodes[expected - 1])
                expected--;
            ck_assert_ptr_eq(got[i], nodes[--expected]);
        }
        while (n == 0 && expected > 0)
            ck_assert_ptr_null(nodes[--expected]);
    }
}

static size_t walk_all(const struct key_tree *tree, bool down)
{
    struct key_node *got[7];
    plsm_slice at = {0};
    size_t count = 0;
    for (size_t n; (n = down ? key_tree_descend(tree, at, got, 7) : key_tree_ascend(tree, at, true, got, 7)) > 0;) {
        at = key_node_key(got[n - 1]);
        count += n;
    }
    return count;
}

START_TEST(a_tree_is_a_sorted_list)
{
    struct keys *keys = make_keys((unsigned)_i);
    struct key_node **nodes = calloc(keys->count, sizeof *nodes);
    struct epoch *epoch = epoch_create();
    struct mem_account account = {0};
    struct key_tree *tree = key_tree_create(epoch, &account);
    struct random r;
    random_seed(&r, seed);
    uint64_t there = 0;
    for (unsigned phase = 0; phase < 4; phase++) {
        /* mostly adding, mixed, mostly removing, all gone */
        unsigned adds = phase == 0 ? 90 : phase == 1 ? 50 : phase == 2 ? 15 : 0;
        for (unsigned i = 0; i < 2 * KEYS; i++) {
            size_t at = phase == 3 && i < keys->count ? i : random_below(&r, keys->count);
            bool add = random_below(&r, 100) < adds;
            if (add && !nodes[at]) {
                nodes[at] = key_tree_add(tree, keys->list[at], i);
                ck_assert_ptr_nonnull(nodes[at]);
                ck_assert_uint_eq(nodes[at]->word, i);
                there++;
            } else if (!add && nodes[at]) {
                ck_assert(key_tree_remove(tree, nodes[at]));
                nodes[at] = NULL;
                there--;
            }
        }
        ck_assert_uint_eq(key_tree_count(tree), there);
        compare(tree, keys, nodes, &r);
        ck_assert_uint_eq(walk_all(tree, false), there);
        ck_assert_uint_eq(walk_all(tree, true), there);
    }
    ck_assert_uint_eq(there, 0);
    for (size_t i = 0; i < keys->count; i++) /* in order, into an empty tree that was full */
        nodes[i] = key_tree_add(tree, keys->list[i], 7);
    compare(tree, keys, nodes, &r);
    key_tree_destroy(tree);
    epoch_destroy(epoch);
    ck_assert_int_eq(account.bytes, 0);
    free(nodes);
    free_keys(keys);
}
END_TEST

START_TEST(filling_is_adding)
{
    struct keys *keys = make_keys((unsigned)_i);
    struct random r;
    random_seed(&r, seed);
    static const size_t counts[] = {0, 1, 57, 58, 59, 1000, KEYS};
    for (unsigned c = 0; c < sizeof counts / sizeof *counts; c++) {
        size_t count = counts[c] < keys->count ? counts[c] : keys->count;
        struct key_node **nodes = calloc(keys->count, sizeof *nodes);
        struct epoch *epoch = epoch_create();
        struct key_tree *tree = key_tree_create(epoch, NULL);
        struct key_tree_builder *builder = key_tree_builder_create(tree);
        for (size_t i = 0; i < count; i++)
            nodes[i] = key_tree_builder_add(builder, keys->list[i], i);
        ck_assert(key_tree_builder_finish(builder));
        key_tree_builder_destroy(builder);
        compare(tree, keys, nodes, &r);
        for (size_t i = 0; i < keys->count; i++) /* and it changes as any other */
            if (i % 3 == 0 && nodes[i]) {
                ck_assert(key_tree_remove(tree, nodes[i]));
                nodes[i] = NULL;
            } else if (!nodes[i]) {
                nodes[i] = key_tree_add(tree, keys->list[i], i);
            }
        compare(tree, keys, nodes, &r);
        key_tree_destroy(tree);
        epoch_destroy(epoch);
        free(nodes);
    }
    free_keys(keys);
}
END_TEST

START_TEST(without_memory_nothing_changes)
{
    struct keys *keys = make_keys(2);
    struct key_node **nodes = calloc(keys->count, sizeof *nodes);
    struct random r;
    random_seed(&r, seed);
    struct mem_account account = {0};
    struct epoch *epoch = epoch_create();
    struct key_tree *tree = key_tree_create(epoch, &account);
    unsigned failures = 0;
    for (unsigned i = 0; i < 3 * KEYS; i++) {
        size_t at = random_below(&r, keys->count);
        mem_fail_at(1 + random_below(&r, 2));
        if (nodes[at] && random_below(&r, 3) == 0) {
            if (key_tree_remove(tree, nodes[at]))
                nodes[at] = NULL;
            else
                failures++;
        } else if (!nodes[at]) {
            nodes[at] = key_tree_add(tree, keys->list[at], i);
            failures += !nodes[at];
        }
        mem_fail_at(0);
    }
    ck_assert_uint_gt(failures, 5);
    compare(tree, keys, nodes, &r);
    key_tree_destroy(tree);
    epoch_destroy(epoch);
    ck_assert_int_eq(account.bytes, 0);
    free(nodes);
    for (uint64_t nth = 1;; nth++) { /* filling gives up cleanly */
        epoch = epoch_create();
        mem_fail_at(nth);
        tree = key_tree_create(epoch, &account);
        struct key_tree_builder *builder = tree ? key_tree_builder_create(tree) : NULL;
        bool good = builder != NULL;
        for (size_t i = 0; good && i < keys->count; i++)
            good = key_tree_builder_add(builder, keys->list[i], i) != NULL;
        good = good && key_tree_builder_finish(builder);
        mem_fail_at(0);
        key_tree_builder_destroy(builder);
        key_tree_destroy(tree);
        epoch_destroy(epoch);
        ck_assert_int_eq(account.bytes, 0);
        if (good)
            break;
    }
    free_keys(keys);
}
END_TEST

/* --- readers beside a writer -------------------------------------------------------------------------------------- */

static struct beside {
    struct keys *keys;
    struct epoch *epoch;
    struct key_tree *tree;
    atomic_bool stop;
    _Atomic uint64_t rounds;
} beside;

/* Every fifth key is there all the time. */
static void read_on(void *arg)
{
    struct random r;
    random_seed(&r, (uint64_t)(uintptr_t)arg + seed);
    const struct keys *keys = beside.keys;
    struct key_node *got[40];
    while (!atomic_load(&beside.stop)) {
        epoch_enter(beside.epoch);
        size_t at = random_below(&r, keys->count / 5) * 5;
        const struct key_node *node = key_tree_find(beside.tree, keys->list[at]);
        ck_assert(node && node->word == 5);
        plsm_slice from = keys->list[at];
        size_t next = at;
        for (unsigned i = 0; i < 5; i++) { /* ascending: none of those is missed, and all are in order */
            size_t n = key_tree_ascend(beside.tree, from, true, got, 40);
            for (size_t k = 0; k < n; k++) {
                ck_assert_int_lt(slice_compare(from, key_node_key(got[k])), 0);
                from = key_node_key(got[k]);
                if (next + 5 < keys->count && slice_compare(from, keys->list[next + 5]) >= 0) {
                    ck_assert_int_eq(slice_compare(from, keys->list[next + 5]), 0);
                    next += 5;
                }
            }
        }
        size_t n = key_tree_descend(beside.tree, keys->list[at], got, 40);
        for (size_t k = 0; k < n; k++)
            ck_assert_int_lt(slice_compare(key_node_key(got[k]), k ? key_node_key(got[k - 1]) : keys->list[at]), 0);
        epoch_exit(beside.epoch);
        atomic_fetch_add(&beside.rounds, 1);
    }
}

START_TEST(readers_see_what_is_there)
{
    enum { READERS = 2 };
    struct env_thread *threads[READERS];
    struct random r;
    random_seed(&r, seed);
    beside = (struct beside){.keys = make_keys((unsigned)_i), .epoch = epoch_create()};
    beside.tree = key_tree_create(beside.epoch, NULL);
    struct key_node **nodes = calloc(beside.keys->count, sizeof *nodes);
    for (size_t i = 0; i < beside.keys->count; i += 5)
        nodes[i] = key_tree_add(beside.tree, beside.keys->list[i], 5);
    for (uintptr_t i = 0; i < READERS; i++)
        ck_assert_int_eq(env_thread_start(env_posix(), read_on, (void *)i, &threads[i]), PLSM_OK);
    unsigned long steps = thinned(400000);
    for (unsigned i = 0; i < steps || beside.rounds < 200; i++) {
        size_t at = random_below(&r, beside.keys->count);
        if (at % 5 == 0)
            continue;
        if (nodes[at] && random_below(&r, 1000) < (i / 20000 % 2 ? 800u : 200u)) {
            ck_assert(key_tree_remove(beside.tree, nodes[at]));
            nodes[at] = NULL;
        } else if (!nodes[at]) {
            nodes[at] = key_tree_add(beside.tree, beside.keys->list[at], 1);
        }
    }
    atomic_store(&beside.stop, true);
    for (unsigned i = 0; i < READERS; i++)
        env_thread_join(threads[i]);
    compare(beside.tree, beside.keys, nodes, &r);
    key_tree_destroy(beside.tree);
    epoch_destroy(beside.epoch);
    free(nodes);
    free_keys(beside.keys);
}
END_TEST

int main(void)
{
    seed = env_now_ns(env_posix());
    printf("seed %llu\n", (unsigned long long)seed);
    Suite *suite = suite_create("key_tree");
    TCase *all = tcase_create("all");
    tcase_set_timeout(all, 120);
    tcase_add_loop_test(all, a_tree_is_a_sorted_list, 0, SHAPES);
    tcase_add_loop_test(all, filling_is_adding, 0, SHAPES);
    tcase_add_test(all, without_memory_nothing_changes);
    tcase_add_loop_test(all, readers_see_what_is_there, 1, 3);
    suite_add_tcase(suite, all);
    SRunner *runner = srunner_create(suite);
    srunner_set_fork_status(runner, CK_NOFORK);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
