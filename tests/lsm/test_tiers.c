/* Policies of sorted runs: the pure functions by tables, then trees that are written under each of them. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/env_memory.h"
#include "base/random.h"
#include "lsm/db.h"
#include "lsm/output.h"
#include "tests/harness/made_version.h"
#include "tests/harness/statistic.h"
#include "base/banned.h"

enum { SIZES_MAX = 16 };
static const uint64_t mib = 1 << 20;

/* --- tables ------------------------------------------------------------------------------------------------------- */

START_TEST(policies)
{
    const struct {
        enum lsm_policy policy;
        uint32_t per_level, last_level, ratio;
        struct tier_policy expected;
    } table[] = {
        {LSM_POLICY_LEVELED, 0, 0, 10, {64, 10, 1, 1, true}}, {LSM_POLICY_TIERED, 0, 0, 10, {64, 10, 9, 9, false}},
        {LSM_POLICY_LAZY, 0, 0, 10, {64, 10, 9, 1, false}},   {LSM_POLICY_LEVELED, 3, 0, 4, {64, 4, 3, 1, false}},
        {LSM_POLICY_LEVELED, 1, 1, 4, {64, 4, 1, 1, true}},   {LSM_POLICY_TIERED, 0, 2, 4, {64, 4, 3, 2, false}},
        {LSM_POLICY_TIERED, 1, 1, 4, {64, 4, 1, 1, false}},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        struct lsm_options o = {.policy = table[i].policy,
                                .buffer_size = 64,
                                .size_ratio = table[i].ratio,
                                .runs_per_level = table[i].per_level,
                                .runs_last_level = table[i].last_level};
        struct tier_policy p = tier_policy(&o), e = table[i].expected;
        ck_assert_msg(p.buffer_size == e.buffer_size && p.size_ratio == e.size_ratio &&
                          p.runs_per_level == e.runs_per_level && p.runs_last_level == e.runs_last_level &&
                          p.partial == e.partial,
                      "line %zu", i);
    }
}
END_TEST

START_TEST(logical_levels)
{
    struct tier_policy p = {.buffer_size = 64 * mib, .size_ratio = 10};
    const struct {
        uint64_t bytes;
        unsigned level;
    } table[] = {{0, 0},          {20 * mib, 0},          {21 * mib, 1},   {64 * mib, 1},
                 {202 * mib, 1},  {203 * mib, 2},         {640 * mib, 2},  {2023 * mib, 2},
                 {2024 * mib, 3}, {UINT64_C(1) << 40, 5}, {UINT64_MAX, 11}};
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        ck_assert_msg(tier_level(&p, table[i].bytes) == table[i].level, "line %zu: %u", i,
                      tier_level(&p, table[i].bytes));
}
END_TEST

START_TEST(sorted_runs)
{
    const struct {
        unsigned per_level, last_level;
        uint64_t bytes[SIZES_MAX];
        size_t first, count;
        unsigned excess;
    } table[] = {
        /* the examples: a T-th of the buffer is 1, levels 4, 16, 64 */
        {3, 1, {4, 4, 4, 16, 70}, 0, 0, 0},
        {3, 1, {4, 4, 4, 4, 16, 70}, 0, 4, 1},
        {3, 1, {4, 4, 4, 4, 16, 16, 16, 70}, 0, 8, 1},
        {3, 3, {4, 4, 4, 4, 16, 16, 16, 70}, 0, 7, 1},
        {3, 3, {4, 4, 4, 4, 16, 16, 16, 70, 70, 70}, 0, 10, 1},
        /* what merged to little does not go on */
        {3, 3, {1, 1, 1, 1, 16, 16, 16, 70}, 0, 4, 1},
        /* newer ones may wait where older ones are due */
        {3, 3, {4, 16, 16, 16, 16, 70}, 1, 4, 1},
        {3, 3, {4, 4, 4, 4, 4, 16, 16, 16, 16, 16, 70}, 0, 10, 4},
        /* a small run behind a large one is on its level */
        {3, 3, {4, 4, 16, 4, 4, 4}, 2, 4, 1},
        {3, 3, {16, 4, 4}, 0, 0, 0},
        /* one level alone is the last */
        {3, 1, {4, 4}, 0, 2, 1},
        {3, 3, {4, 4, 4}, 0, 0, 0},
        {3, 1, {4, 16, 16}, 1, 2, 1},
        {1, 1, {4, 16, 70}, 0, 0, 0},
        {1, 1, {4, 4, 16, 70}, 0, 2, 1},
        {1, 1, {8, 8, 16, 70}, 0, 3, 1},
        {3, 3, {5}, 0, 0, 0},
        {3, 3, {0}, 0, 0, 0},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        struct tier_policy p = {.buffer_size = 4,
                                .size_ratio = 4,
                                .runs_per_level = table[i].per_level,
                                .runs_last_level = table[i].last_level};
        size_t count = 0, first = 99;
        while (count < SIZES_MAX && table[i].bytes[count])
            count++;
        size_t merged = tiers_pick(&p, table[i].bytes, count, &first);
        ck_assert_msg(merged == table[i].count && (merged == 0 || first == table[i].first), "line %zu: %zu from %zu", i,
                      merged, first);
        ck_assert_msg(tiers_excess(&p, table[i].bytes, count) == table[i].excess, "line %zu: %u", i,
                      tiers_excess(&p, table[i].bytes, count));
    }
}
END_TEST

START_TEST(sizes)
{
    ck_assert_uint_eq(version_young_bytes_max(mib, 64 * mib), 128 * mib);
    ck_assert_uint_eq(version_young_bytes_max(2048 * mib, 64 * mib), 128 * mib);
    ck_assert_uint_eq(version_young_bytes_max(96 * 1024 * mib, 64 * mib), 6 * 1024 * mib);
    const struct {
        uint64_t bytes;
        uint32_t threads;
        size_t parts;
    } table[] = {{0, 2, 1}, {127, 2, 1}, {128, 2, 2}, {9999, 2, 2}, {9999, 1, 1}, {200, 8, 3}, {9999, 16, 16}};
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        struct lsm_options o = {.buffer_size = 64 * mib, .compact_threads = table[i].threads};
        struct run *run =
            made_run(1, &(struct made_run){.smallest = "\1a", .largest = "\1b", .bytes = table[i].bytes * mib});
        struct compaction c = {.runs = &run, .run_count = 1};
        ck_assert_uint_eq(compaction_parts(&c, &o), table[i].parts);
        run_unref(run);
    }
}
END_TEST

/* --- plans -------------------------------------------------------------------------------------------------------- */

static struct lsm_options plan_options(enum lsm_policy policy)
{
    struct lsm_options o;
    lsm_options_default(&o);
    o.policy = policy;
    o.buffer_size = o.file_size = mib;
    o.size_ratio = 4;
    o.l0_compact = 4;
    return o;
}

/* Numbers of the runs in a plan, sources divided by bars, and where it goes: "3 2|1 >1"; "" none. */
static void describe(const struct compaction *c, char *text, size_t size)
{
    size_t at = 0, run = 0;
    *text = 0;
    for (size_t i = 0; i < c->source_count; i++)
        for (size_t j = 0; j < c->sources[i].count; j++, run++)
            at += (size_t)snprintf(text + at, size - at, "%s%llu",
                                   j   ? " "
                                   : i ? "|"
                                       : "",
                                   (unsigned long long)c->runs[run]->facts.number);
    ck_assert_uint_eq(run, c->run_count);
    if (run)
        snprintf(text + at, size - at, " >%u%s", c->output_level, c->trivial ? " moved" : "");
}

static void expect_plan(const struct lsm_options *o, const struct made_run *runs, size_t count, uint64_t now_s,
                        const char *expected)
{
    static const struct buf none[LSM_LEVELS];
    struct version *version = made_version(runs, count);
    struct compaction c;
    plsm_status status = PLSM_OK;
    char text[200];
    bool needed = compaction_pick(version, o, none, now_s, &c, &status);
    ck_assert_int_eq(status, PLSM_OK);
    ck_assert_int_eq(needed, *expected != 0);
    describe(&c, text, sizeof text);
    ck_assert_str_eq(text, expected);
    compaction_free(&c);
    version_unref(version);
}
#define EXPECT_PLAN(o, now_s, expected, ...)                                                                           \
    expect_plan(&(o), (const struct made_run[]){__VA_ARGS__},                                                          \
                sizeof((const struct made_run[]){__VA_ARGS__}) / sizeof(struct made_run), now_s, expected)
#define YOUNG(from, to, size, ...)                                                                                     \
    {                                                                                                                  \
        .smallest = from, .largest = to, .bytes = size, __VA_ARGS__                                                    \
    }
#define DEEP(on, from, to, size, ...)                                                                                  \
    {                                                                                                                  \
        .level = on, .smallest = from, .largest = to, .bytes = size, __VA_ARGS__                                       \
    }

START_TEST(tiered_plans)
{
    struct lsm_options o = plan_options(LSM_POLICY_TIERED);
    /* The first run of a store has nothing below it. */
    EXPECT_PLAN(o, 0, "1 >1 moved", YOUNG("\1a", "\1z", mib));
    EXPECT_PLAN(o, 0, "", DEEP(1, "\1a", "\1z", mib), YOUNG("\1a", "\1z", mib));
    /* Deletions in it: not moved, and alone not merged either. */
    EXPECT_PLAN(o, 0, "", YOUNG("\1a", "\1z", mib, .deletions = 1));
    /* Four of one size, the oldest on the last level: into it. */
    EXPECT_PLAN(o, 0, "4|3|2|1 >1", DEEP(1, "\1a", "\1z", mib), YOUNG("\1a", "\1z", mib), YOUNG("\1b", "\1z", mib),
                YOUNG("\1a", "\1x", mib));
    /* Four over a larger one: they stay in level 0; an older run of level 0 between them and the last level too. */
    EXPECT_PLAN(o, 0, "5|4|3|2 >0", DEEP(1, "\1a", "\1z", 20 * mib), YOUNG("\1a", "\1z", mib), YOUNG("\1b", "\1z", mib),
                YOUNG("\1a", "\1x", mib), YOUNG("\1a", "\1x", mib));
    EXPECT_PLAN(o, 0, "6|5|4|3 >0", DEEP(1, "\1a", "\1z", 20 * mib), YOUNG("\1a", "\1z", 5 * mib),
                YOUNG("\1b", "\1z", mib), YOUNG("\1a", "\1x", mib), YOUNG("\1a", "\1x", mib), YOUNG("\1a", "\1x", mib));
    /* Parts of one sorted run are one source, in key order; other first bytes are left alone. */
    EXPECT_PLAN(o, 0, "6|3 4|2|1 >1", DEEP(1, "\1a", "\1z", mib), YOUNG("\1a", "\1z", mib),
                YOUNG("\1a", "\1m", mib / 2, .seq = 4), YOUNG("\1n", "\1z", mib / 2, .seq = 4),
                DEEP(1, "\2a", "\2z", mib), YOUNG("\1a", "\1x", mib), YOUNG("\2a", "\2x", mib));
    /* Only what is overlapped on the last level. */
    EXPECT_PLAN(o, 0, "5|4|3|1 >1", DEEP(1, "\1a", "\1c", mib), DEEP(1, "\1s", "\1z", 2), YOUNG("\1a", "\1d", mib),
                YOUNG("\1a", "\1d", mib), YOUNG("\1a", "\1d", mib));
    /* Beside all that is below, it moves, from the oldest on. */
    EXPECT_PLAN(o, 0, "2 >1 moved", DEEP(1, "\1a", "\1c", mib), YOUNG("\1d", "\1f", mib), YOUNG("\1d", "\1h", mib));
    /* A leveled store: its levels are sorted runs as they are. */
    EXPECT_PLAN(o, 0, "", DEEP(1, "\1a", "\1c", 4 * mib), DEEP(2, "\1a", "\1z", 16 * mib), YOUNG("\1a", "\1d", mib));
    EXPECT_PLAN(o, 0, "6|5|4|3 >0", DEEP(1, "\1a", "\1c", 4 * mib), DEEP(2, "\1a", "\1z", 16 * mib),
                YOUNG("\1a", "\1d", mib), YOUNG("\1a", "\1d", mib), YOUNG("\1a", "\1d", mib), YOUNG("\1a", "\1d", mib));
    /* Into level 1 with the runs on its logical level, but not into what is older. */
    EXPECT_PLAN(o, 0, "5|4|3|1 >1", DEEP(1, "\1a", "\1c", 4 * mib), DEEP(2, "\1a", "\1z", 99 * mib),
                YOUNG("\1a", "\1d", 4 * mib), YOUNG("\1a", "\1d", 4 * mib), YOUNG("\1a", "\1d", 4 * mib));
    /* All of it to the last level. */
    EXPECT_PLAN(o, 0, "5|4|1|2|3 >3", DEEP(1, "\1a", "\1c", 4 * mib), DEEP(2, "\1a", "\1d", 4 * mib),
                DEEP(3, "\1a", "\1z", 4 * mib), YOUNG("\1a", "\1d", 4 * mib), YOUNG("\1a", "\1d", 4 * mib));
}
END_TEST

/* Beside a merge that is under way. */
START_TEST(plans_beside)
{
    struct lsm_options o = plan_options(LSM_POLICY_TIERED);
    const struct made_run runs[] = {DEEP(1, "\1a", "\1z", 16 * mib), YOUNG("\1a", "\1z", 4 * mib),
                                    YOUNG("\1a", "\1z", 4 * mib),    YOUNG("\1a", "\1z", 4 * mib),
                                    YOUNG("\1a", "\1z", 4 * mib),    YOUNG("\1a", "\1z", mib),
                                    YOUNG("\1a", "\1z", mib),        YOUNG("\1a", "\1z", mib),
                                    YOUNG("\2a", "\2z", mib),        YOUNG("\1a", "\1z", mib)};
    struct compaction outer = {0}, inner = {0}, none = {0};
    plsm_status status = PLSM_OK;
    char text[200];
    struct version *before = made_version(runs, 9), *after = made_version(runs, 10);
    ck_assert(tiers_compaction(before, &o, NULL, &none, &status)); /* that of the other first byte */
    describe(&none, text, sizeof text);
    ck_assert_str_eq(text, "9 >1 moved");
    compaction_free(&none);
    version_unref(before);
    before = made_version(runs, 8);
    ck_assert(tiers_compaction(before, &o, NULL, &outer, &status));
    describe(&outer, text, sizeof text);
    ck_assert_str_eq(text, "5|4|3|2 >0");
    ck_assert(!tiers_compaction(before, &o, &outer, &inner, &status));
    for (size_t i = 0; i < outer.run_count; i++) /* they are in the newer version too */
        for (size_t j = 0; j < after->levels[0].count; j++)
            if (after->levels[0].runs[j]->facts.number == outer.runs[i]->facts.number)
                outer.runs[i] = after->levels[0].runs[j];
    ck_assert(tiers_compaction(after, &o, &outer, &inner, &status));
    describe(&inner, text, sizeof text);
    ck_assert_str_eq(text, "10|8|7|6 >0");
    inner.inside = &outer;
    ck_assert(!tiers_compaction(after, &o, &inner, &none, &status));
    ck_assert_int_eq(status, PLSM_OK);
    compaction_free(&outer);
    compaction_free(&inner);
    compaction_free(&none);
    version_unref(before);
    version_unref(after);
}
END_TEST

START_TEST(lazy_plans)
{
    struct lsm_options o = plan_options(LSM_POLICY_LAZY);
    /* One sorted run on the last logical level: the next that gets there is merged with it. */
    EXPECT_PLAN(o, 0, "2|1 >1", DEEP(1, "\1a", "\1z", mib), YOUNG("\1a", "\1z", mib));
    EXPECT_PLAN(o, 0, "", DEEP(1, "\1a", "\1z", 4 * mib), YOUNG("\1a", "\1z", mib), YOUNG("\1a", "\1z", mib));
    EXPECT_PLAN(o, 0, "5|4|3|2|1 >1", DEEP(1, "\1a", "\1z", 4 * mib), YOUNG("\1a", "\1z", mib),
                YOUNG("\1a", "\1z", mib), YOUNG("\1a", "\1z", mib), YOUNG("\1a", "\1z", mib));
    EXPECT_PLAN(o, 0, "5|4|3|2 >0", DEEP(1, "\1a", "\1z", 16 * mib), YOUNG("\1a", "\1z", mib), YOUNG("\1a", "\1z", mib),
                YOUNG("\1a", "\1z", mib), YOUNG("\1a", "\1z", mib));
}
END_TEST

START_TEST(deletions_and_age)
{
    struct lsm_options o = plan_options(LSM_POLICY_TIERED), leveled = plan_options(LSM_POLICY_LEVELED);
    o.compact_age_s = leveled.compact_age_s = 100;
#define YOUNG_DELETIONS YOUNG("\1a", "\1d", mib, .entries = 6000, .deletions = 4096, .oldest_s = 1000)
#define OLDER YOUNG("\1a", "\1z", 4 * mib, .oldest_s = 1000)
#define OLDEST DEEP(1, "\1a", "\1z", 16 * mib, .oldest_s = 1)
    /* With the next older sorted run when that is not much larger, else not at all. */
    EXPECT_PLAN(o, 1000, "3|2 >0", OLDEST, OLDER, YOUNG_DELETIONS);
    EXPECT_PLAN(o, 1000, "", OLDEST, YOUNG_DELETIONS);
    o.deletions_compact = 69;
    EXPECT_PLAN(o, 1000, "", OLDEST, OLDER, YOUNG_DELETIONS);
    o.deletions_compact = 68;
    EXPECT_PLAN(o, 1000, "3|2 >0", OLDEST, OLDER, YOUNG_DELETIONS);
    o.deletions_compact = 0;
    EXPECT_PLAN(o, 1000, "", OLDEST, OLDER, YOUNG_DELETIONS);
    o.deletions_compact = 50;
    /* The oldest of all loses them by itself. */
    EXPECT_PLAN(o, 1000, "1 >1", YOUNG_DELETIONS);
#define LEVEL1 DEEP(1, "\1a", "\1z", mib, .oldest_s = 1)
    EXPECT_PLAN(leveled, 1000, "3|2|1 >1", LEVEL1, OLDER, YOUNG_DELETIONS);
    EXPECT_PLAN(leveled, 1000, "", LEVEL1,
                YOUNG("\1a", "\1d", mib, .entries = 6000, .deletions = 4095, .oldest_s = 1000));
    /* Age: with all that is older; what is on the last level is left there. */
    EXPECT_PLAN(o, 1099, "", OLDEST, OLDER);
    EXPECT_PLAN(o, 1100, "2|1 >1", OLDEST, OLDER);
    EXPECT_PLAN(o, 1100, "2|1 >1", OLDEST, OLDER, YOUNG("\1a", "\1d", mib, .oldest_s = 1050));
    EXPECT_PLAN(o, 9999, "", OLDEST);
    EXPECT_PLAN(leveled, 1100, "2|1 >1", LEVEL1, OLDER);
    EXPECT_PLAN(leveled, 200, "1|2 >2", DEEP(1, "\1a", "\1b", 10, .oldest_s = 100), DEEP(2, "\1a", "\1c", 10));
    leveled.compact_age_s = 0;
    EXPECT_PLAN(leveled, UINT32_MAX, "", LEVEL1, OLDER);
}
END_TEST

START_TEST(slowing_writers_down)
{
    struct lsm_options o = plan_options(LSM_POLICY_TIERED);
    struct made_run runs[12] = {DEEP(1, "\1a", "\1z", UINT64_C(64) << 20)};
    const unsigned expected[] = {0, 0, 0, 0, 4, 5, 6, 7, 8, 9, 10, 11}; /* by runs in level 0 */
    for (size_t count = 1; count <= 12; count++) {
        struct version *version = made_version(runs, count);
        ck_assert_uint_eq(writers_depth(version, &o), expected[count - 1]);
        ck_assert_uint_eq(version_sorted_runs(version), count);
        version_unref(version);
        if (count < 12)
            runs[count] = (struct made_run)YOUNG("\1a", "\1z", mib);
    }
    o.policy = LSM_POLICY_LEVELED;
    struct version *version = made_version(runs, 12);
    ck_assert_uint_eq(writers_depth(version, &o), 11);
    version_unref(version);
}
END_TEST

START_TEST(filter_bits)
{
    struct lsm_options o = plan_options(LSM_POLICY_TIERED);
    o.buffer_size = 64 * mib;
    o.size_ratio = 10;
    const struct made_run runs[] = {DEEP(1, "\1a", "\1z", 100 * 1024 * mib)};
    struct version *version = made_version(runs, 1);
    ck_assert_uint_eq(output_filter_bits(version, &o, 0, 64 * mib), 16);
    ck_assert_uint_eq(output_filter_bits(version, &o, 0, 10 * 1024 * mib), 11);
    ck_assert_uint_eq(output_filter_bits(version, &o, 0, 100 * 1024 * mib), 8);
    ck_assert_uint_eq(output_filter_bits(version, &o, 1, 100 * 1024 * mib), 8);
    o.policy = LSM_POLICY_LEVELED; /* by levels */
    ck_assert_uint_eq(output_filter_bits(version, &o, 0, 100 * 1024 * mib), 11);
    version_unref(version);
}
END_TEST

/* --- trees -------------------------------------------------------------------------------------------------------- */

enum { KEYS = 20000, VALUE_BYTES = 100, ROUNDS = 6 };

static struct env *env;
static struct lsm *db;
static uint32_t values[KEYS]; /* what each key should hold; 0: nothing */

static struct lsm_options tree_options(enum lsm_policy policy, uint32_t size_ratio)
{
    struct lsm_options o;
    lsm_options_default(&o);
    o.env = env;
    o.create = true;
    o.policy = policy;
    o.size_ratio = size_ratio;
    o.buffer_size = o.file_size = 128 << 10;
    o.cache_size = 4 << 20;
    o.background = 0;
    return o;
}

static void open_tree(const struct lsm_options *o)
{
    ck_assert_msg(lsm_open("/s", o, &db) == PLSM_OK, "%s", plsm_message());
}

static void report_line(void *arg, const char *line)
{
    (void)arg;
    fprintf(stderr, "%s\n", line);
}

static void close_tree(void)
{
    ck_assert_msg(lsm_check(db, report_line, NULL, NULL) == PLSM_OK, "%s", plsm_message());
    ck_assert_int_eq(lsm_close(db), PLSM_OK);
    db = NULL;
}

/* Of two first bytes, which are compacted each by itself. */
static plsm_slice key_of(unsigned i, char *text)
{
    snprintf(text, 32, "%c%08u", 1 + (i >= KEYS / 2), i);
    return slice_of(text);
}

/* Value 0 deletes. */
static void write_key(unsigned i, uint32_t value)
{
    struct batch batch = {0};
    char text[32];
    uint8_t bytes[VALUE_BYTES];
    plsm_slice key = key_of(i, text);
    struct random random;
    random_seed(&random, value); /* not compressible, should that ever matter */
    for (size_t at = 0; at + 8 <= sizeof bytes; at += 8)
        put_u64(bytes + at, random_next(&random));
    put_u32(bytes, value);
    ck_assert_int_eq(batch_add(&batch, value ? BATCH_PUT : BATCH_DELETE, *(const uint8_t *)key.data,
                               slice((const uint8_t *)key.data + 1, key.size - 1), (plsm_slice){0},
                               value ? slice(bytes, sizeof bytes) : (plsm_slice){0}),
                     PLSM_OK);
    ck_assert_msg(lsm_write(db, &batch, NULL, NULL, false) == PLSM_OK, "%s", plsm_message());
    batch_free(&batch);
    values[i] = value;
}

static void overwrite(struct random *random, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        write_key((unsigned)random_below(random, KEYS),
                  random_below(random, 20) ? 1 + (uint32_t)random_below(random, 1 << 30) : 0);
}

/* Every key by a lookup, and all of them by an iterator. */
static void check_tree(void)
{
    struct lsm_value value = {0};
    struct lsm_iterator *it = NULL;
    char text[32];
    ck_assert_int_eq(lsm_iterator_create(db, NULL, (plsm_slice){0}, (plsm_slice){0}, &it), PLSM_OK);
    lsm_iterator_first(it);
    for (unsigned i = 0; i < KEYS; i++) {
        plsm_slice key = key_of(i, text);
        plsm_status status = lsm_get(db, NULL, key, false, &value);
        if (status != (values[i] ? PLSM_OK : PLSM_NOT_FOUND) || (values[i] && get_u32(value.value.data) != values[i]))
            ck_abort_msg("key %u: %s", i, plsm_status_name(status));
        if (!values[i])
            continue;
        if (!lsm_iterator_valid(it) || !slice_equal(lsm_iterator_entry(it)->key, key) ||
            get_u32(lsm_iterator_entry(it)->value.data) != values[i])
            ck_abort_msg("the iterator is not at key %u", i);
        lsm_iterator_next(it);
    }
    ck_assert(!lsm_iterator_valid(it));
    lsm_iterator_destroy(it);
    lsm_value_free(&value);
}

static void start(uint64_t seed, struct random *random)
{
    env = env_memory_create(seed);
    random_seed(random, seed);
    memset(values, 0, sizeof values);
}

/* The same overwrites under each policy: what they write and what they leave are as theory says. */
START_TEST(amplification)
{
    double written[3], space[3];
    for (unsigned policy = 0; policy < 3; policy++) {
        struct random random;
        start(7, &random);
        struct lsm_options o = tree_options((enum lsm_policy)policy, 6);
        open_tree(&o);
        for (unsigned round = 0; round < ROUNDS; round++)
            overwrite(&random, KEYS);
        written[policy] = statistic(db, "lsm.write_amplification");
        ck_assert_int_eq(lsm_flush(db), PLSM_OK);
        double bytes = statistic(db, "store.bytes_disk"), told = statistic(db, "lsm.space_amplification");
        unsigned runs = (unsigned)statistic(db, "lsm.sorted_runs");
        check_tree();
        ck_assert_int_eq(lsm_compact(db, (plsm_slice){0}, (plsm_slice){0}), PLSM_OK);
        ck_assert_uint_eq((unsigned)statistic(db, "lsm.sorted_runs"), 1);
        ck_assert(statistic(db, "lsm.space_amplification") == 1.0);
        space[policy] = bytes / statistic(db, "store.bytes_disk");
        printf("policy %u: write amplification %.2f, space amplification %.2f (%.2f over the largest run), %u sorted "
               "runs\n",
               policy, written[policy], space[policy], told, runs);
        check_tree();
        close_tree();
        env_memory_destroy(env);
    }
    ck_assert(written[LSM_POLICY_TIERED] < written[LSM_POLICY_LAZY]);
    ck_assert(written[LSM_POLICY_LAZY] < written[LSM_POLICY_LEVELED]);
    ck_assert(space[LSM_POLICY_TIERED] > space[LSM_POLICY_LEVELED]);
}
END_TEST

/* Keys in order are written once, under each policy. */
START_TEST(sequential_load)
{
    for (unsigned policy = 0; policy < 3; policy++) {
        struct random random;
        start(8, &random);
        struct lsm_options o = tree_options((enum lsm_policy)policy, 4);
        open_tree(&o);
        for (unsigned i = 0; i < KEYS; i++)
            write_key(i, i + 1);
        ck_assert_int_eq(lsm_flush(db), PLSM_OK);
        ck_assert(statistic(db, "lsm.compactions") == 0);
        ck_assert(statistic(db, "lsm.trivial_moves") > 10);
        ck_assert(statistic(db, "lsm.sorted_runs") <= 6);
        check_tree();
        close_tree();
        env_memory_destroy(env);
    }
}
END_TEST

/* A store goes from policy to policy, is right under each, and has the shape of the last one in the end. */
START_TEST(changing_policies)
{
    static const enum lsm_policy turns[] = {LSM_POLICY_LEVELED, LSM_POLICY_TIERED,  LSM_POLICY_LEVELED,
                                            LSM_POLICY_LAZY,    LSM_POLICY_TIERED,  LSM_POLICY_LAZY,
                                            LSM_POLICY_TIERED,  LSM_POLICY_LEVELED, LSM_POLICY_LEVELED};
    struct random random;
    start(9, &random);
    for (size_t i = 0; i < sizeof turns / sizeof turns[0]; i++) {
        struct lsm_options o = tree_options(turns[i], 4);
        open_tree(&o);
        check_tree();
        overwrite(&random, KEYS / 2);
        check_tree();
        if (turns[i] == LSM_POLICY_LEVELED)
            ck_assert_uint_lt(level0_depth(db->version), o.l0_compact);
        else
            ck_assert_uint_eq(writers_depth(db->version, &o), 0);
        close_tree();
    }
    env_memory_destroy(env);
}
END_TEST

/* Large runs in level 0 have filters of their own; the table over young runs stays small. */
START_TEST(young_table)
{
    struct random random;
    start(10, &random);
    struct lsm_options o = tree_options(LSM_POLICY_TIERED, 8);
    open_tree(&o);
    overwrite(&random, KEYS);
    uint64_t entries = 0, outside = 0;
    for (unsigned round = 0; round < 100 && outside < 2; round++) {
        overwrite(&random, KEYS / 10);
        entries = outside = 0;
        for (size_t i = 0; i < db->version->levels[0].count; i++) {
            const struct run *run = db->version->levels[0].runs[i];
            bool large = run->facts.file_size > db->version->young_bytes_max;
            ck_assert(!large || run->young_place == YOUNG_PLACE_NONE);
            entries += large ? 0 : run->facts.entries;
            outside += large;
        }
    }
    ck_assert_uint_ge(outside, 2);
    ck_assert(statistic(db, "filter.young.keys") <= (double)entries);
    check_tree();
    close_tree();
    open_tree(&o);
    check_tree();
    ck_assert_int_eq(adopt_pending(db), ADOPTION_DONE);
    for (size_t i = 0; i < db->version->levels[0].count; i++)
        ck_assert(db->version->levels[0].runs[i]->facts.file_size <= db->version->young_bytes_max ||
                  db->version->levels[0].runs[i]->young_place == YOUNG_PLACE_NONE);
    close_tree();
    env_memory_destroy(env);
}
END_TEST

/* While one first byte is merged, the other becomes due. Parts are merged in threads and beside each other. */
START_TEST(merges_beside)
{
    for (unsigned threads = 0; threads < 2; threads++) {
        struct random random;
        start(12, &random);
        struct lsm_options o = tree_options(LSM_POLICY_TIERED, 6);
        o.background = threads;
        o.compact_threads = 3;
        open_tree(&o);
        for (unsigned round = 0; round < 3; round++)
            overwrite(&random, KEYS);
        ck_assert_int_eq(lsm_flush(db), PLSM_OK);
        if (!threads)
            ck_assert(statistic(db, "lsm.compactions_beside") > 0);
        ck_assert(statistic(db, "lsm.compaction_parts") > statistic(db, "lsm.compactions"));
        check_tree();
        close_tree();
        env_memory_destroy(env);
    }
}
END_TEST

/* Deletions side by side do not stay in the way of scans, once they are flushed. */
START_TEST(dense_deletions)
{
    for (unsigned policy = 0; policy < 3; policy++) {
        struct random random;
        start(13, &random);
        struct lsm_options o = tree_options((enum lsm_policy)policy, 10);
        o.buffer_size = o.file_size = 1 << 20;
        open_tree(&o);
        for (unsigned i = 0; i < KEYS; i++)
            write_key(i, i + 1);
        ck_assert_int_eq(lsm_compact(db, (plsm_slice){0}, (plsm_slice){0}), PLSM_OK);
        for (unsigned i = 1000; i < 9000; i++)
            write_key(i, 0);
        ck_assert_int_eq(lsm_flush(db), PLSM_OK);
        bool worked = false;
        ck_assert_int_eq(compact_pending(db, false, &worked), PLSM_OK);
        for (unsigned level = 0; level < LSM_LEVELS; level++)
            for (size_t i = 0; i < db->version->levels[level].count; i++)
                ck_assert_uint_eq(db->version->levels[level].runs[i]->facts.deletions, 0);
        check_tree();
        close_tree();
        env_memory_destroy(env);
    }
}
END_TEST

/* Old data gets to the last level although nothing else asks for it, and deletions go. */
START_TEST(aging)
{
    for (unsigned policy = 0; policy < 3; policy++) {
        struct random random;
        bool worked = false;
        start(11, &random);
        struct lsm_options o = tree_options((enum lsm_policy)policy, 4);
        open_tree(&o);
        overwrite(&random, KEYS);
        for (unsigned i = 100; i < 200; i++)
            write_key(i, 0);
        ck_assert_int_eq(lsm_flush(db), PLSM_OK);
        ck_assert_int_eq(compact_pending(db, false, &worked), PLSM_OK);
        ck_assert(statistic(db, "lsm.sorted_runs") > 1);
        close_tree();
        o.compact_age_s = 1;
        open_tree(&o);
        env_sleep_ns(env, UINT64_C(2100000000));
        ck_assert_int_eq(compact_pending(db, false, &worked), PLSM_OK);
        ck_assert(worked);
        ck_assert(statistic(db, "lsm.sorted_runs") == 1);
        for (unsigned level = 0; level < LSM_LEVELS; level++)
            for (size_t i = 0; i < db->version->levels[level].count; i++)
                ck_assert_uint_eq(db->version->levels[level].runs[i]->facts.deletions, 0);
        ck_assert_int_eq(compact_pending(db, false, &worked), PLSM_OK);
        ck_assert(!worked);
        check_tree();
        close_tree();
        env_memory_destroy(env);
    }
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {
        policies,          logical_levels,    sorted_runs,          sizes,           tiered_plans,  plans_beside,
        lazy_plans,        deletions_and_age, slowing_writers_down, filter_bits,     amplification, sequential_load,
        changing_policies, young_table,       merges_beside,        dense_deletions, aging};
    Suite *suite = suite_create("tiers");
    TCase *tcase = tcase_create("tiers");
    tcase_set_timeout(tcase, 600);
    for (size_t i = 0; i < sizeof tests / sizeof tests[0]; i++)
        tcase_add_test(tcase, tests[i]);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
