/* One budget for all memory: the policy, and a store that keeps to it while it writes, compacts and reads. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/random.h"
#include "lsm/db.h"
#include "tests/harness/resident.h"
#include "tests/harness/statistic.h"
#include "tests/harness/temporary.h"

#include "base/banned.h"

#define MIB (UINT64_C(1) << 20)

START_TEST(shares)
{
    static const struct {
        uint64_t budget, others, cache;
    } caches[] = {{32 * MIB, 12 * MIB, 20 * MIB}, {32 * MIB, 40 * MIB, 2 * MIB}, {32 * MIB, 31 * MIB, 2 * MIB},
                  {32 * MIB, 0, 32 * MIB},        {32 * MIB, 32 * MIB, 2 * MIB}, {1600, 1499, 101}};
    for (size_t i = 0; i < sizeof caches / sizeof caches[0]; i++)
        ck_assert_uint_eq(budget_cache_bytes(caches[i].budget, caches[i].others), caches[i].cache);
    static const uint64_t buffers[][2] = {
        {32 * MIB, 2 * MIB}, {MIB, 64 << 10}, {MIB / 16, 64 << 10}, {1024 * MIB, 64 * MIB}, {9999 * MIB, 64 * MIB}};
    for (size_t i = 0; i < sizeof buffers / sizeof buffers[0]; i++)
        ck_assert_uint_eq(budget_buffer_bytes(buffers[i][0]), buffers[i][1]);
    ck_assert_uint_eq(budget_run_entries(32 * MIB), 65536);
    ck_assert_uint_eq(budget_run_entries(0), UINT64_MAX);
}
END_TEST

enum { KEYS = 250000, VALUE_BYTES = 100, READS = 150000, ITERATORS = 10, CHECK_EVERY = 5000 };

static unsigned keys_count(void)
{
    return SANITIZED ? KEYS / 10 : KEYS;
}

/* What a store has taken at most, so far. */
struct peak {
    uint64_t budget, resident_before;
    uint64_t total, resident, least_cache, users[BUDGET_USERS];
};

static void look(struct lsm *db, struct peak *peak)
{
    uint64_t total = budget_total(&db->budget), now = resident_bytes() - peak->resident_before;
    peak->total = total > peak->total ? total : peak->total;
    peak->resident = now > peak->resident ? now : peak->resident;
    for (unsigned i = 0; i < BUDGET_USERS; i++) {
        uint64_t used = budget_used(&db->budget, (enum budget_user)i);
        peak->users[i] = used > peak->users[i] ? used : peak->users[i];
    }
}

static plsm_slice key_of(uint64_t number, uint8_t key[17])
{
    uint64_t state = number;
    key[0] = 1;
    put_be64(key + 1, splitmix64(&state));
    put_be64(key + 9, number);
    return slice(key, 17);
}

static void fill(struct lsm *db, struct peak *peak)
{
    struct batch batch = {0};
    uint8_t key[17], value[VALUE_BYTES] = {0};
    for (unsigned i = 0; i < keys_count(); i++) {
        put_u64(value, i);
        key_of(i, key);
        ck_assert_int_eq(batch_add(&batch, BATCH_PUT, key[0], slice(key + 1, sizeof key - 1), (plsm_slice){0},
                                   slice(value, sizeof value)),
                         PLSM_OK);
        if (batch.count == 100) {
            ck_assert_int_eq(lsm_write(db, &batch, NULL, NULL, false), PLSM_OK);
            batch_clear(&batch);
        }
        if (i % CHECK_EVERY == 0)
            look(db, peak);
    }
    ck_assert_int_eq(lsm_write(db, &batch, NULL, NULL, false), PLSM_OK);
    batch_free(&batch);
}

static void read_all(struct lsm *db, struct peak *peak, struct random *random)
{
    struct lsm_value value = {0};
    uint8_t key[17];
    for (unsigned i = 0; i < READS / (SANITIZED ? 10 : 1); i++) {
        uint64_t number = random_below(random, keys_count());
        ck_assert_int_eq(lsm_get(db, NULL, key_of(number, key), false, &value), PLSM_OK);
        ck_assert_uint_eq(get_u64(value.value.data), number);
        if (i % CHECK_EVERY == 0)
            look(db, peak);
    }
    lsm_value_free(&value);
}

/* Within a twentieth, by what is charged and by what the system says. */
START_TEST(keeps_to_it)
{
    static const uint64_t budgets[] = {32 * MIB, 160 * MIB};
    char *path = temporary_create();
    struct lsm_options options;
    struct lsm *db = NULL;
    struct random random;
    random_seed(&random, 20261126);
    lsm_options_default(&options);
    options.env = env_posix();
    options.create = true;
    options.memory = options.cache_size = budgets[_i];
    options.buffer_size = 0;
    options.l0_stop = 8; /* level 0 does not grow without end where the disk is slow */
    options.l0_slowdown = 6;
    struct peak peak = {.budget = options.memory, .resident_before = resident_bytes()};
    ck_assert_int_eq(lsm_open(path, &options, &db), PLSM_OK);
    fill(db, &peak);
    read_all(db, &peak, &random);
    fill(db, &peak);
    struct lsm_iterator *its[ITERATORS];
    for (unsigned i = 0; i < ITERATORS; i++) {
        ck_assert_int_eq(lsm_iterator_create(db, NULL, (plsm_slice){0}, (plsm_slice){0}, &its[i]), PLSM_OK);
        lsm_iterator_first(its[i]);
        for (unsigned steps = 0; steps < 10000; steps++)
            lsm_iterator_next(its[i]);
        look(db, &peak);
    }
    ck_assert_uint_gt(budget_used(&db->budget, BUDGET_ITERATORS), SANITIZED ? 0 : ITERATORS * 16384);
    for (unsigned i = 0; i < ITERATORS; i++)
        lsm_iterator_destroy(its[i]);
    ck_assert_uint_eq(budget_used(&db->budget, BUDGET_ITERATORS), 0);
    read_all(db, &peak, &random);
    ck_assert_int_eq(lsm_compact(db, (plsm_slice){0}, (plsm_slice){0}), PLSM_OK);
    look(db, &peak);
    ck_assert_uint_eq(budget_used(&db->budget, BUDGET_COMPACTION), 0);
    ck_assert_int_eq((int64_t)statistic(db, "mem.budget"), (int64_t)options.memory);
    uint64_t sum = 0, bytes = 1;
    for (int i = 0; sum != bytes && i < 500; i++, env_sleep_ns(env_posix(), 10000000)) { /* threads may be at work */
        bytes = (uint64_t)statistic(db, "mem.bytes");
        sum = (uint64_t)(statistic(db, "mem.memtables") + statistic(db, "mem.cache") + statistic(db, "mem.filters") +
                         statistic(db, "mem.index") + statistic(db, "mem.iterators") + statistic(db, "mem.compaction") +
                         statistic(db, "mem.unused"));
    }
    ck_assert_uint_eq(bytes, sum);
    printf("budget %3llu MiB: at most %.1f charged, %.1f resident; memtables %.1f, filters %.1f, index %.1f, "
           "iterators %.1f, compaction %.1f\n",
           (unsigned long long)(options.memory / MIB), (double)peak.total / MIB, (double)peak.resident / MIB,
           (double)peak.users[0] / MIB, (double)peak.users[1] / MIB, (double)peak.users[2] / MIB,
           (double)peak.users[3] / MIB, (double)peak.users[4] / MIB);
    ck_assert_int_eq(lsm_close(db), PLSM_OK);
    ck_assert_uint_le(peak.total, options.memory + options.memory / 20);
    if (!SANITIZED)
        ck_assert_uint_le(peak.resident, options.memory + options.memory / 20);
    temporary_destroy(path);
}
END_TEST

/* A batch that fills the memtable many times over is flushed without a further write; and while it is in memory, what
 * is charged is what it takes, not what it might have taken. */
START_TEST(large_batch)
{
    enum { ENTRIES = 200000, BUDGET = 16 * MIB };
    char *path = temporary_create();
    struct lsm_options options;
    struct lsm *db = NULL;
    struct batch batch = {0};
    uint8_t key[17];
    lsm_options_default(&options);
    options.env = env_posix();
    options.create = true;
    options.memory = options.cache_size = BUDGET;
    options.buffer_size = 0;
    options.background = _i;
    ck_assert_int_eq(lsm_open(path, &options, &db), PLSM_OK);
    for (unsigned i = 0; i < ENTRIES; i++) {
        key_of(i, key);
        ck_assert_int_eq(batch_add(&batch, BATCH_PUT, key[0], slice(key + 1, sizeof key - 1), (plsm_slice){0},
                                   slice(key, sizeof key)),
                         PLSM_OK);
    }
    ck_assert_int_eq(lsm_write(db, &batch, NULL, NULL, false), PLSM_OK);
    uint64_t charged = budget_used(&db->budget, BUDGET_MEMTABLES); /* the flush may be under way */
    ck_assert_uint_le(charged, 128 * (uint64_t)ENTRIES + 4 * MIB);
    batch_free(&batch);
    for (int i = 0; i < 3000; i++, env_sleep_ns(env_posix(), 10000000)) /* nobody writes */
        if (statistic(db, "lsm.flushes") > 0 && statistic(db, "mem.bytes") <= BUDGET)
            break;
    ck_assert_double_ge(statistic(db, "lsm.flushes"), 1);
    ck_assert_double_le(statistic(db, "mem.bytes"), BUDGET + BUDGET / 20);
    ck_assert_int_eq(lsm_close(db), PLSM_OK);
    temporary_destroy(path);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("budget");
    TCase *tcase = tcase_create("budget");
    tcase_set_timeout(tcase, 600);
    tcase_add_test(tcase, shares);
    tcase_add_loop_test(tcase, keeps_to_it, 0, 2);
    tcase_add_loop_test(tcase, large_batch, 0, 2);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
