/* policy=auto: what is chosen from what was counted, and a store that follows. */
#include <check.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/env_memory.h"
#include "tests/harness/made_version.h"
#include "tests/harness/statistic.h"
#include "lsm/db.h"
#include "base/banned.h"

static const uint64_t mib = 1 << 20;

static struct lsm_options options_of(enum lsm_policy policy)
{
    struct lsm_options o;
    lsm_options_default(&o);
    o.policy = policy;
    o.buffer_size = o.file_size = mib;
    return o;
}

START_TEST(due)
{
    struct follow follow = {.at = {.puts = 1000, .lookups = 500, .found = 400, .scans = 7, .scan_entries = 70}};
    static const struct {
        struct follow_totals now;
        uint64_t entries;
        bool due;
    } table[] = {
        {{1000, 500, 400, 7, 70}, 1, false},
        {{20999, 500, 400, 7, 70}, 1, false},
        {{21000, 500, 400, 7, 70}, 1, true},
        {{21000, 500, 400, 7, 70}, 80000, true},
        {{21000, 500, 400, 7, 70}, 80004, false},
        {{6000, 5500, 5400, 5007, 5070}, 80000, true}, /* all kinds together */
        {{1000, 500, 400, 7, 69}, 1, false},           /* set back, and little since then */
        {{1000, 20000, 400, 7, 70}, 1, false},
        {{1000, 500, 400, 0, 20070}, 1, true},
        {{1000, 20500, 400, 7, 70}, 1, true},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        ck_assert_msg(follow_due(&follow, &table[i].now, table[i].entries) == table[i].due, "line %zu", i);
}
END_TEST

/* A mix goes on for `looks` looks: what is followed after each. */
static void expect(enum lsm_policy from, struct follow_totals mix, unsigned looks, const enum lsm_policy *expected)
{
    struct lsm_options o = options_of(from);
    struct follow follow = {.on = true, .wanted = from};
    struct follow_totals now = {0};
    uint64_t changes = 0;
    for (unsigned i = 0; i < looks; i++) {
        now.puts += mix.puts;
        now.lookups += mix.lookups;
        now.found += mix.found;
        now.scans += mix.scans;
        now.scan_entries += mix.scan_entries;
        enum lsm_policy before = o.policy;
        o.policy = follow_look(&follow, &now, &o, 1000000, 116000000);
        changes += o.policy != before;
        ck_assert_msg(o.policy == expected[i], "look %u: %d", i, o.policy);
        ck_assert_uint_eq(follow.changes, changes);
    }
}

START_TEST(mixes)
{
    const enum lsm_policy l = LSM_POLICY_LEVELED, t = LSM_POLICY_TIERED;
    const uint64_t many = 250000;
    expect(l, (struct follow_totals){.puts = many}, 4, (enum lsm_policy[]){l, t, t, t}); /* the example in follow.h */
    expect(t, (struct follow_totals){.puts = many}, 3, (enum lsm_policy[]){t, t, t});
    expect(t, (struct follow_totals){.scans = many, .scan_entries = 10 * many}, 3, (enum lsm_policy[]){t, l, l});
    expect(l, (struct follow_totals){.scans = many, .scan_entries = 10 * many}, 3, (enum lsm_policy[]){l, l, l});
}
END_TEST

/* What was seen long ago counts for less and less; one look that differs changes nothing. */
START_TEST(slowly)
{
    struct lsm_options o = options_of(LSM_POLICY_LEVELED);
    struct follow follow = {.on = true, .wanted = LSM_POLICY_LEVELED};
    struct follow_totals now = {0};
    for (unsigned i = 0; i < 20; i++) {
        now.scans += 250000;
        o.policy = follow_look(&follow, &now, &o, 1000000, 116000000);
    }
    ck_assert_int_eq(o.policy, LSM_POLICY_LEVELED);
    now.puts += 250000;
    o.policy = follow_look(&follow, &now, &o, 1000000, 116000000);
    ck_assert_int_eq(o.policy, LSM_POLICY_LEVELED);
    unsigned looks = 0;
    for (; o.policy == LSM_POLICY_LEVELED && looks < 20; looks++) {
        now.puts += 250000;
        o.policy = follow_look(&follow, &now, &o, 1000000, 116000000);
    }
    ck_assert_int_ne(o.policy, LSM_POLICY_LEVELED);
    ck_assert_uint_ge(looks, 1);
}
END_TEST

/* --- a store ------------------------------------------------------------------------------------------------------ */

static struct env *env;
static struct lsm *db;

static void open_store_with(uint32_t background)
{
    struct lsm_options o;
    lsm_options_default(&o);
    o.env = env;
    o.create = true;
    o.background = background;
    o.buffer_size = o.file_size = 64 << 10;
    o.size_ratio = 10;
    o.policy = LSM_POLICY_AUTO;
    ck_assert_int_eq(lsm_open("/s", &o, &db), PLSM_OK);
}

static void open_store(void)
{
    open_store_with(0);
}

static void add(struct batch *batch, unsigned number)
{
    char key[20];
    snprintf(key, sizeof key, "%08u", number);
    ck_assert_int_eq(batch_add(batch, BATCH_PUT, 1, slice_of(key), (plsm_slice){0}, slice_of("a value of a few bytes")),
                     PLSM_OK);
}

static void put(unsigned number)
{
    struct batch batch = {0};
    add(&batch, number);
    ck_assert_int_eq(lsm_write(db, &batch, NULL, NULL, false), PLSM_OK);
    batch_free(&batch);
}

enum { BATCH = 100 };

/* Puts the next BATCH of `keys` keys, in an order that is far from theirs. */
static void put_many(uint64_t from, unsigned keys)
{
    struct batch batch = {0};
    for (unsigned i = 0; i < BATCH; i++)
        add(&batch, (unsigned)((from + i) * 7919 % keys));
    ck_assert_int_eq(lsm_write(db, &batch, NULL, NULL, false), PLSM_OK);
    batch_free(&batch);
}

static uint64_t now(const char *name)
{
    return (uint64_t)statistic(db, name);
}

START_TEST(store_follows)
{
    enum { KEYS = 30000, ROUNDS = 12 };
    env = env_memory_create(1);
    open_store();
    ck_assert_uint_eq(now("lsm.runs_per_level"), 1);
    for (unsigned i = 0; i < ROUNDS * KEYS && now("lsm.policy_changes") == 0; i += BATCH)
        put_many(i, KEYS);
    ck_assert_uint_eq(now("lsm.policy_changes"), 1);
    ck_assert_uint_gt(now("lsm.runs_per_level"), 1);
    for (unsigned i = 0; i < 2 * KEYS; i += BATCH)
        put_many(i, KEYS);

    ck_assert_int_eq(lsm_close(db), PLSM_OK); /* it goes on with what its runs look like */
    open_store();
    ck_assert_uint_gt(now("lsm.runs_per_level"), 1);
    ck_assert_uint_eq(now("lsm.policy_changes"), 0);

    struct lsm_iterator *it = NULL;
    for (unsigned i = 0; i < ROUNDS && now("lsm.runs_per_level") > 1; i++) {
        ck_assert_int_eq(lsm_iterator_create(db, NULL, (plsm_slice){0}, (plsm_slice){0}, &it), PLSM_OK);
        unsigned entries = 0;
        for (unsigned j = 0; j < 20000; j++)
            lsm_iterator_first(it);
        for (; lsm_iterator_valid(it); lsm_iterator_next(it))
            entries++;
        ck_assert_uint_eq(entries, KEYS);
        lsm_iterator_destroy(it);
        for (unsigned j = 0; j < 3000; j += BATCH) /* without threads writers do what is due */
            put_many(j, KEYS);
    }
    ck_assert_uint_ge(now("lsm.policy_changes"), 1);
    ck_assert_uint_eq(now("lsm.runs_per_level"), 1);
    ck_assert_uint_eq(now("lsm.runs_last_level"), 1);
    ck_assert_int_eq(lsm_close(db), PLSM_OK);
    env_memory_destroy(env);
}
END_TEST

/* Puts count one by one also where batches hold many; those before the store was opened do not. */
START_TEST(large_batches)
{
    enum { KEYS = 30000, LARGE = 1000, BATCHES = 400 };
    struct batch batch = {0};
    env = env_memory_create(1);
    open_store();
    for (unsigned i = 0; i < BATCHES && now("lsm.policy_changes") == 0; i++) {
        batch_clear(&batch);
        for (unsigned j = 0; j < LARGE; j++)
            add(&batch, (unsigned)((uint64_t)(i * LARGE + j) * 7919 % KEYS));
        ck_assert_int_eq(lsm_write(db, &batch, NULL, NULL, false), PLSM_OK);
    }
    ck_assert_uint_eq(now("lsm.policy_changes"), 1);
    ck_assert_int_eq(lsm_close(db), PLSM_OK);
    open_store();
    for (unsigned i = 0; i < 3; i++) {
        put(i);
        ck_assert_int_eq(lsm_flush(db), PLSM_OK);
    }
    ck_assert_uint_eq(db->follow.at.puts, 0); /* no look yet */
    ck_assert_int_eq(lsm_close(db), PLSM_OK);
    batch_free(&batch);
    env_memory_destroy(env);
}
END_TEST

/* --- with threads: a policy is taken up beside whoever looks at it ------------------------------------------------ */

enum { THREAD_KEYS = 10000 };

static atomic_bool stop, scans;

/* Looks up and asks for statistics; scans once it is to. */
static void *look(void *arg)
{
    struct lsm_value value = {0};
    struct lsm_iterator *it = NULL;
    for (unsigned i = 0; !atomic_load(&stop); i++) {
        char key[20];
        snprintf(key, sizeof key, "\1%08u", i % THREAD_KEYS);
        plsm_status status = lsm_get(db, NULL, slice_of(key), false, &value);
        ck_assert(status == PLSM_OK || status == PLSM_NOT_FOUND);
        if (i % 64 == 0)
            now("lsm.runs_last_level");
        if (!atomic_load(&scans))
            continue;
        ck_assert_int_eq(lsm_iterator_create(db, NULL, (plsm_slice){0}, (plsm_slice){0}, &it), PLSM_OK);
        for (unsigned j = 0; j < 5000; j++)
            lsm_iterator_first(it);
        unsigned entries = 0;
        for (; lsm_iterator_valid(it); lsm_iterator_next(it))
            entries++;
        ck_assert_uint_eq(entries, THREAD_KEYS);
        lsm_iterator_destroy(it);
    }
    lsm_value_free(&value);
    return NULL;
}

START_TEST(threads)
{
    pthread_t looker;
    uint64_t puts = 0;
    env = env_memory_create(1);
    open_store_with(1);
    ck_assert_int_eq(pthread_create(&looker, NULL, look, NULL), 0);
    for (; puts < 12 * THREAD_KEYS; puts += BATCH)
        put_many(puts, THREAD_KEYS);
    atomic_store(&scans, true);
    for (unsigned i = 0; i < 30; i++) {
        put(i);
        ck_assert_int_eq(lsm_flush(db), PLSM_OK); /* the compactor looks up */
        usleep(20000);
    }
    atomic_store(&stop, true);
    pthread_join(looker, NULL);
    ck_assert_int_eq(lsm_close(db), PLSM_OK);
    env_memory_destroy(env);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("follow");
    TCase *tcase = tcase_create("follow");
    tcase_set_timeout(tcase, 120);
    tcase_add_test(tcase, due);
    tcase_add_test(tcase, mixes);
    tcase_add_test(tcase, slowly);
    tcase_add_test(tcase, store_follows);
    tcase_add_test(tcase, large_batches);
    tcase_add_test(tcase, threads);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
