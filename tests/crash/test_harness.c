/* The tools of the crash and model tests, tested: what they must find, they find. */
#include <check.h>
#include <stdlib.h>
#include <unistd.h>

#include "tests/harness/model.h"
#include "tests/harness/pool.h"
#include "tests/harness/shrink.h"

#include "base/banned.h"

/* --- the key space ------------------------------------------------------------------------------------------------ */

START_TEST(test_key_space)
{
    workload_init();
    size_t longest = 0, prefixes = 0;
    for (unsigned rank = 0; rank < WORKLOAD_KEYS; rank++) {
        unsigned number = workload_at_rank(rank);
        plsm_slice key = workload_key(number);
        ck_assert_uint_eq(workload_rank(number), rank);
        ck_assert_uint_eq(workload_lower_bound(workload_keyspace(number), key), rank);
        ck_assert(key.size >= 1 && key.size <= PLSM_KEY_MAX);
        longest = key.size > longest ? key.size : longest;
        if (rank > 0 && workload_keyspace(workload_at_rank(rank - 1)) == workload_keyspace(number)) {
            plsm_slice before = workload_key(workload_at_rank(rank - 1));
            ck_assert_int_lt(slice_compare(before, key), 0);
            prefixes += slice_starts_with(key, before);
        }
    }
    ck_assert_uint_eq(longest, PLSM_KEY_MAX);
    ck_assert_uint_gt(prefixes, 50); /* otherwise it is not the awkward space it claims to be */
}
END_TEST

START_TEST(test_same_seed_same_list)
{
    struct op *a = workload_create(&workload_everything, 5, 500), *b = workload_create(&workload_everything, 5, 500);
    struct op *c = workload_create(&workload_everything, 6, 500);
    ck_assert_int_eq(memcmp(a, b, 500 * sizeof *a), 0);
    ck_assert_int_ne(memcmp(a, c, 500 * sizeof *a), 0);
    free(a);
    free(b);
    free(c);
}
END_TEST

/* --- the model ---------------------------------------------------------------------------------------------------- */

static void put(struct model *model, unsigned key, uint32_t seed)
{
    model_apply(model, &(struct change){key, {.present = true, .size = 8, .seed = seed}}, 1);
}

/* What a store would answer whose entry of a key is this. */
static struct observed seen(uint32_t seed, uint8_t bytes[8])
{
    workload_fill(seed, bytes, 8);
    return (struct observed){.found = true, .value = slice(bytes, 8), .size = 8};
}

/* Keys 0 and 1 have these seeds (0: absent), all others are absent. */
static uint64_t search(const struct model *model, uint64_t low, uint64_t high, uint32_t first, uint32_t second)
{
    struct model_search *search = model_search_create(model, low, high);
    unsigned culprit;
    uint8_t bytes[8];
    for (unsigned key = 0; key < WORKLOAD_KEYS; key++) {
        uint32_t seed = key == 0 ? first : key == 1 ? second : 0;
        struct observed observed = seed ? seen(seed, bytes) : (struct observed){0};
        model_search_add(search, key, &observed);
    }
    return model_search_finish(search, &culprit);
}

START_TEST(test_search)
{
    struct model *model = model_create();
    struct change both[2] = {{0, {.present = true, .size = 8, .seed = 3}},
                             {1, {.present = true, .size = 8, .seed = 4}}};
    put(model, 0, 1);            /* moment 1 */
    put(model, 1, 2);            /* moment 2 */
    model_apply(model, both, 2); /* moment 3 */
    ck_assert_uint_eq(search(model, 0, 3, 0, 0), 0);
    ck_assert_uint_eq(search(model, 0, 3, 1, 0), 1);
    ck_assert_uint_eq(search(model, 0, 3, 1, 2), 2);
    ck_assert_uint_eq(search(model, 0, 3, 3, 4), 3);
    ck_assert_uint_eq(search(model, 0, 3, 3, 2), UINT64_MAX); /* half of a batch */
    ck_assert_uint_eq(search(model, 0, 3, 0, 2), UINT64_MAX); /* a later write without an earlier one */
    ck_assert_uint_eq(search(model, 0, 3, 9, 2), UINT64_MAX); /* nobody's value */
    ck_assert_uint_eq(search(model, 2, 3, 1, 0), UINT64_MAX); /* older than what was promised */
    ck_assert_uint_eq(search(model, 0, 2, 3, 4), UINT64_MAX); /* newer than what was ever written */
    model_destroy(model);
}
END_TEST

static bool explained(struct model *model, uint32_t first, uint32_t second)
{
    uint8_t bytes[8];
    bool possible = true;
    model_explain_begin(model);
    for (unsigned key = 0; key < 2; key++) {
        uint32_t seed = key == 0 ? first : second;
        struct observed observed = seed ? seen(seed, bytes) : (struct observed){0};
        possible = model_explain(model, key, &observed) && possible;
    }
    return possible;
}

START_TEST(test_failed_writes)
{
    const struct change both[2] = {{0, {.present = true, .size = 8, .seed = 3}},
                                   {1, {.present = true, .size = 8, .seed = 4}}};
    static const struct {
        uint32_t first, second;
        bool possible, whole;
    } cases[] = {
        {1, 2, true, true},   /* the failed batch did not happen */
        {3, 4, true, true},   /* it did */
        {3, 2, true, false},  /* half of it did */
        {1, 4, true, false},  /* the other half */
        {1, 0, false, false}, /* an acknowledged write is gone */
        {7, 2, false, false}, /* a value from nowhere */
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct model *model = model_create();
        put(model, 0, 1);
        put(model, 1, 2);
        model_apply_failed(model, both, 2);
        bool possible = explained(model, cases[i].first, cases[i].second);
        ck_assert_msg(possible == cases[i].possible, "case %zu", i);
        if (possible) {
            ck_assert_msg(model_settle(model) == cases[i].whole, "case %zu", i);
            ck_assert_uint_eq(model_get(model, 0, model_now(model))->seed, cases[i].first);
            ck_assert_uint_eq(model_get(model, 1, model_now(model))->seed, cases[i].second);
        }
        model_destroy(model);
    }
    /* What was acknowledged behind a failed write hides it. */
    struct model *model = model_create();
    model_apply_failed(model, both, 2);
    put(model, 0, 5);
    ck_assert(!explained(model, 3, 4));
    ck_assert(explained(model, 5, 4));
    ck_assert(model_settle(model));
    model_destroy(model);
}
END_TEST

START_TEST(test_plan)
{
    struct model *model = model_create();
    struct change changes[MODEL_CHANGES];
    size_t count;
    put(model, 0, 1);
    const struct op move[] = {{.kind = OP_BATCH_PUT, .key = 2, .size = 3, .seed = 8},
                              {.kind = OP_BATCH_MOVE, .key = 2, .other = 4},
                              {.kind = OP_BATCH_MOVE, .key = 0, .other = 2}};
    ck_assert_int_eq(model_plan(model, move, 3, changes, &count), PLSM_OK);
    model_apply(model, changes, count);
    ck_assert(!model_get(model, 0, 2)->present);
    ck_assert_uint_eq(model_get(model, 2, 2)->seed, 1);
    ck_assert_uint_eq(model_get(model, 4, 2)->seed, 8);
    ck_assert(model_get(model, 0, 1)->present); /* the older moment stays */
    ck_assert_int_eq(model_plan(model, move + 2, 1, changes, &count), PLSM_CONFLICT);
    const struct op conditions[] = {{.kind = OP_BATCH_IF_ABSENT, .key = 2}, {.kind = OP_BATCH_IF_EQUAL, .key = 0}};
    ck_assert_int_eq(model_plan(model, conditions, 1, changes, &count), PLSM_EXISTS);
    ck_assert_int_eq(model_plan(model, conditions + 1, 1, changes, &count), PLSM_CONFLICT);
    model_destroy(model);
}
END_TEST

START_TEST(test_cursor)
{
    struct model *model = model_create();
    struct model_cursor cursor;
    put(model, 0, 1);  /* "a" */
    put(model, 16, 1); /* "aaa" */
    put(model, 8, 1);  /* "aa", behind the moment of the cursor */
    model_cursor_open(&cursor, model, 2, PLSM_NAMES, slice(NULL, 0), slice(NULL, 0));
    ck_assert(!model_cursor_valid(&cursor));
    model_cursor_first(&cursor);
    ck_assert_uint_eq(model_cursor_key(&cursor), 0);
    model_cursor_next(&cursor);
    ck_assert_uint_eq(model_cursor_key(&cursor), 16);
    model_cursor_next(&cursor);
    ck_assert(!model_cursor_valid(&cursor));
    model_cursor_seek(&cursor, slice("aa", 2));
    ck_assert_uint_eq(model_cursor_key(&cursor), 16);
    model_cursor_seek_before(&cursor, slice("aaa", 3));
    ck_assert_uint_eq(model_cursor_key(&cursor), 0);
    model_cursor_seek_before(&cursor, slice("a", 1));
    ck_assert(!model_cursor_valid(&cursor));
    model_cursor_open(&cursor, model, 3, PLSM_NAMES, slice("aa", 2), slice("aaa", 3));
    model_cursor_last(&cursor);
    ck_assert_uint_eq(model_cursor_key(&cursor), 8);
    model_cursor_seek(&cursor, slice("", 0));
    ck_assert_uint_eq(model_cursor_key(&cursor), 8);
    ck_assert(model_has_prefix(model, slice("aaa", 3), 2));
    ck_assert(!model_has_prefix(model, slice("aaa", 3), 1));
    model_destroy(model);
}
END_TEST

/* --- children and shrinking --------------------------------------------------------------------------------------- */

static enum verdict job(void *arg, char *failure, size_t size)
{
    switch (*(const int *)arg) {
    case 0:
        return VERDICT_PASSED;
    case 1:
        snprintf(failure, size, "the reason");
        return VERDICT_FAILED;
    case 2:
        abort();
    case 3:
        for (;;)
            pause();
    default:
        return VERDICT_BEYOND;
    }
}

START_TEST(test_pool)
{
    char failure[200];
    int passes = 0, fails = 1, crashes = 2, hangs = 3, beyond = 4;
    ck_assert(pool_alone(job, &passes, 10, failure, sizeof failure));
    ck_assert(!pool_alone(job, &fails, 10, failure, sizeof failure));
    ck_assert_str_eq(failure, "the reason");
    ck_assert(!pool_alone(job, &crashes, 10, failure, sizeof failure));
    ck_assert(!pool_alone(job, &hangs, 1, failure, sizeof failure));
    ck_assert_ptr_nonnull(strstr(failure, "too long"));
    struct pool *pool = pool_create(3);
    for (int i = 0; i < 10; i++)
        pool_start(pool, job, i == 7 ? &beyond : &passes, 10, "a job");
    ck_assert_uint_eq(pool_wait(pool), 0);
    ck_assert(pool_beyond(pool));
    ck_assert(!pool_beyond(pool));
    pool_start(pool, job, &fails, 10, "(this line belongs to a test that passes)");
    ck_assert_uint_eq(pool_wait(pool), 1);
    pool_destroy(pool);
}
END_TEST

/* Needs a put of key 3 and behind it a get of key 3. */
static bool pair_fails(void *arg, const struct op *ops, size_t count)
{
    bool put_seen = false;
    ++*(unsigned *)arg;
    for (size_t i = 0; i < count; i++) {
        put_seen = put_seen || (ops[i].kind == OP_PUT && ops[i].key == 3);
        if (put_seen && ops[i].kind == OP_GET && ops[i].key == 3)
            return true;
    }
    return false;
}

START_TEST(test_shrink)
{
    unsigned tries = 0;
    struct op *ops = workload_create(&workload_everything, 7, 1000);
    ops[400] = (struct op){.kind = OP_PUT, .key = 3, .size = 5000, .sync = 1};
    ops[900] = (struct op){.kind = OP_GET, .key = 3};
    size_t count = shrink(ops, 1000, pair_fails, &tries, 30);
    ck_assert_uint_eq(count, 2);
    ck_assert(ops[0].kind == OP_PUT && ops[0].key == 3 && ops[0].size == 0);
    ck_assert(ops[1].kind == OP_GET && ops[1].key == 3);
    ck_assert_uint_lt(tries, 200);
    free(ops);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("harness");
    TCase *tcase = tcase_create("tools");
    tcase_set_timeout(tcase, 120);
    tcase_add_test(tcase, test_key_space);
    tcase_add_test(tcase, test_same_seed_same_list);
    tcase_add_test(tcase, test_search);
    tcase_add_test(tcase, test_failed_writes);
    tcase_add_test(tcase, test_plan);
    tcase_add_test(tcase, test_cursor);
    tcase_add_test(tcase, test_pool);
    tcase_add_test(tcase, test_shrink);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_set_fork_status(runner, CK_NOFORK);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
