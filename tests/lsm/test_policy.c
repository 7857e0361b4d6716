/* Policies of the tree: pure functions, by tables. */
#include <check.h>
#include <stdlib.h>

#include "base/space.h"
#include "lsm/db.h"
#include "tests/harness/made_version.h"
#include "base/banned.h"

/* A version of the runs given as level, smallest, largest, bytes, deletions of 100 entries. Level 0: later lines are
 * newer. */
struct line {
    unsigned level;
    const char *smallest, *largest;
    uint64_t bytes, deletions;
};

static struct version *make_version(const struct line *lines, size_t count)
{
    struct made_run runs[24] = {{0}};
    for (size_t i = 0; i < count; i++)
        runs[i] = (struct made_run){.level = lines[i].level,
                                    .smallest = lines[i].smallest,
                                    .largest = lines[i].largest,
                                    .bytes = lines[i].bytes,
                                    .deletions = lines[i].deletions};
    return made_version(runs, count);
}

static struct lsm_options options(void)
{
    struct lsm_options o;
    lsm_options_default(&o);
    o.buffer_size = 1 << 20;
    o.l0_compact = 2;
    o.size_ratio = 10;
    return o;
}

START_TEST(level_sizes)
{
    struct lsm_options o = options();
    o.buffer_size = 64 << 20;
    o.l0_compact = 4;
    const uint64_t mib = 1 << 20;
    ck_assert_uint_eq(level_bytes_max(&o, 1), 256 * mib);
    ck_assert_uint_eq(level_bytes_max(&o, 2), 2560 * mib);
    ck_assert_uint_eq(level_bytes_max(&o, 3), 25600 * mib);
    o.size_ratio = 64;
    o.buffer_size = UINT64_C(1) << 40;
    ck_assert_uint_eq(level_bytes_max(&o, 6), UINT64_MAX); /* no overflow */
}
END_TEST

START_TEST(pacing)
{
    const struct {
        unsigned depth, slowdown, stop;
        uint64_t bytes, ns;
    } table[] = {
        {0, 8, 20, 1 << 20, 0},
        {7, 8, 20, 1 << 20, 0},
        {8, 8, 20, 64 << 10, 976562},    /* 64 MiB/s */
        {14, 8, 20, 64 << 10, 1923076},  /* halfway: 32.5 MiB/s */
        {19, 8, 20, 64 << 10, 10000000}, /* 6.25 MiB/s */
        {20, 8, 20, 16 << 10, 15625000}, /* 1 MiB/s */
        {20, 8, 20, 1 << 20, 20000000},  /* never more than 20 ms */
        {99, 8, 20, 1, 953},
        {8, 8, 8, 1 << 10, 976562}, /* no room between slowdown and stop: the slowest */
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        ck_assert_msg(pacing_ns(table[i].depth, table[i].slowdown, table[i].stop, table[i].bytes) == table[i].ns,
                      "line %zu: %llu", i,
                      (unsigned long long)pacing_ns(table[i].depth, table[i].slowdown, table[i].stop, table[i].bytes));
}
END_TEST

START_TEST(queue_pacing)
{
    const uint64_t ms = 1000 * 1000, mib = 1 << 20;
    const struct {
        uint64_t bytes, room, expected, passed, ns;
    } table[] = {
        {64 << 10, 32 * mib, 200 * ms, 100 * ms, 195312},
        {64 << 10, 32 * mib, 0, 100 * ms, 0},       /* nothing is known */
        {0, 32 * mib, 200 * ms, 0, 0},              /* nothing was written */
        {mib, mib, 16 * ms, 0, 16 * ms},            /* all of the time for all of the room */
        {mib, 4 * mib, 16 * ms, 8 * ms, 2 * ms},    /* half of it for a quarter */
        {mib, 4 * mib, 16 * ms, 15 * ms, ms / 2},   /* an eighth at least */
        {mib, 4 * mib, 16 * ms, 1000 * ms, ms / 2}, /* overdue */
        {mib, 0, 16 * ms, 0, 20 * ms},              /* no room: never more than 20 ms */
        {UINT64_C(1) << 40, 1, UINT64_MAX, 0, 20 * ms},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        ck_assert_msg(
            queue_pacing_ns(table[i].bytes, table[i].room, table[i].expected, table[i].passed) == table[i].ns,
            "line %zu: %llu", i,
            (unsigned long long)queue_pacing_ns(table[i].bytes, table[i].room, table[i].expected, table[i].passed));
}
END_TEST

/* What is picked: numbers of runs (lines count from 1), upper ones first. */
struct expected {
    bool needed;
    unsigned level;
    size_t upper, lower;
    bool trivial;
    uint64_t first;
};

static void expect_counts(const struct compaction *c, size_t upper, size_t lower)
{
    size_t uppers = 0, lowers = 0;
    for (size_t i = 0; i < c->source_count; i++) {
        bool below = c->sources[i].level > c->level;
        uppers += below ? 0 : c->sources[i].count;
        lowers += below ? c->sources[i].count : 0;
    }
    ck_assert_uint_eq(uppers, upper);
    ck_assert_uint_eq(lowers, lower);
    ck_assert_uint_eq(c->run_count, upper + lower);
}

static void expect(const struct line *lines, size_t count, const struct buf *cursors, struct expected e)
{
    static const struct buf none[LSM_LEVELS];
    struct lsm_options o = options();
    struct version *version = make_version(lines, count);
    struct compaction c;
    plsm_status status = PLSM_OK;
    bool needed = compaction_pick(version, &o, cursors ? cursors : none, 0, &c, &status);
    ck_assert_int_eq(status, PLSM_OK);
    ck_assert_int_eq(needed, e.needed);
    if (needed) {
        ck_assert_uint_eq(c.level, e.level);
        ck_assert_uint_eq(c.output_level, e.level + 1);
        expect_counts(&c, e.upper, e.lower);
        ck_assert_int_eq(c.trivial, e.trivial);
        ck_assert_uint_eq(c.runs[0]->facts.number, e.first);
    }
    compaction_free(&c);
    version_unref(version);
}

START_TEST(picking)
{
    const uint64_t mib = 1 << 20;
    const struct line quiet[] = {{0, "\1a", "\1z", mib, 0}, {1, "\1a", "\1z", mib, 0}};
    expect(quiet, 2, NULL, (struct expected){.needed = false});
    /* Two overlapping young runs over one below: all three, newest first. */
    const struct line young[] = {
        {0, "\1a", "\1m", mib, 0}, {0, "\1c", "\1z", mib, 0}, {1, "\1b", "\1d", mib, 0}, {1, "\1zz", "\1zzz", mib, 0}};
    expect(young, 4, NULL, (struct expected){true, 0, 2, 1, false, 2});
    /* The oldest overlaps nothing below: it alone moves, whatever is above it. */
    const struct line sequence[] = {{0, "\3a", "\3b", mib, 0}, {0, "\3a", "\3d", mib, 0}, {1, "\3x", "\3z", mib, 0}};
    expect(sequence, 3, NULL, (struct expected){true, 0, 1, 0, true, 1});
    /* With deletions in it, arriving on the last level, it must be merged. */
    const struct line deleting[] = {{0, "\3a", "\3b", mib, 7}, {0, "\3a", "\3d", mib, 0}};
    expect(deleting, 2, NULL, (struct expected){true, 0, 2, 0, false, 2});
    /* Runs of different first bytes do not add up. */
    const struct line apart[] = {{0, "\1a", "\1b", mib, 0}, {0, "\3a", "\3b", mib, 0}};
    expect(apart, 2, NULL, (struct expected){.needed = false});
    /* Level 1 holds 2 MiB at most here: the run that overlaps least for its size goes. */
    const struct line full[] = {{1, "\1a", "\1c", 2 * mib, 0},
                                {1, "\1d", "\1f", mib, 0},
                                {1, "\1g", "\1i", mib, 0},
                                {2, "\1a", "\1e", mib, 0},
                                {2, "\1h", "\1z", mib, 0}};
    expect(full, 5, NULL, (struct expected){true, 1, 1, 1, false, 1});
    expect(full + 1, 4, NULL, (struct expected){.needed = false});
    /* Nothing is full, but a run above the last level is mostly deletions. */
    const struct line dense[] = {{1, "\1a", "\1c", 1000, 51}, {2, "\1b", "\1z", 1000, 0}};
    expect(dense, 2, NULL, (struct expected){true, 1, 1, 1, false, 1});
    const struct line light[] = {{1, "\1a", "\1c", 1000, 50}, {2, "\1b", "\1z", 1000, 0}};
    expect(light, 2, NULL, (struct expected){.needed = false});
}
END_TEST

/* Of runs that overlap alike the first behind the cursor goes; not all runs of a level are compared. */
START_TEST(picking_in_turn)
{
    enum { RUNS = 20 };
    const uint64_t mib = 1 << 20;
    char keys[RUNS][3];
    struct line lines[RUNS + 1];
    for (unsigned i = 0; i < RUNS; i++) {
        memcpy(keys[i], (char[]){1, (char)('a' + i), 0}, 3);
        lines[i] = (struct line){1, keys[i], keys[i], mib, 0};
    }
    lines[RUNS] = (struct line){2, "\1a", "\1s", mib, 0}; /* all but the last */
    struct buf cursors[LSM_LEVELS] = {{0}};
    expect(lines, RUNS + 1, NULL, (struct expected){true, 1, 1, 1, false, 1});
    ck_assert_int_eq(buf_append(&cursors[1], "\1c", 2), PLSM_OK);
    expect(lines, RUNS + 1, cursors, (struct expected){true, 1, 1, 1, false, 4});
    cursors[1].data[1] = 'd'; /* the last one is the 16th behind it */
    expect(lines, RUNS + 1, cursors, (struct expected){true, 1, 1, 0, true, 20});
    cursors[1].data[1] = 'q'; /* behind all but three */
    expect(lines, RUNS + 1, cursors, (struct expected){true, 1, 1, 0, true, 20});
    cursors[1].data[1] = 't'; /* behind all: starts again */
    expect(lines, RUNS + 1, cursors, (struct expected){true, 1, 1, 1, false, 1});
    lines[5].deletions = 13; /* of 100: it does not wait for those that overlap less */
    cursors[1].data[1] = 'd';
    expect(lines, RUNS + 1, cursors, (struct expected){true, 1, 1, 1, false, 6});
    lines[5].deletions = 12;
    expect(lines, RUNS + 1, cursors, (struct expected){true, 1, 1, 0, true, 20});
    buf_free(&cursors[1]);
}
END_TEST

START_TEST(picking_a_range)
{
    const struct line lines[] = {{0, "\1a", "\1c", 10, 0},
                                 {0, "\1x", "\1z", 10, 0},
                                 {0, "\2a", "\2b", 10, 0},
                                 {1, "\1b", "\1d", 10, 0},
                                 {1, "\1y", "\1z", 10, 0}};
    struct version *version = make_version(lines, 5);
    struct compaction c;
    plsm_status status = PLSM_OK;
    /* Level 0: all of the first byte, since a newer run must not be overtaken by an older one. */
    ck_assert(compaction_pick_range(version, 0, slice_of("\1a"), slice_of("\1b"), &c, &status));
    ck_assert_int_eq(status, PLSM_OK);
    expect_counts(&c, 2, 2);
    compaction_free(&c);
    ck_assert(compaction_pick_range(version, 1, slice_of("\1y"), slice_of("\1yy"), &c, &status));
    expect_counts(&c, 1, 0);
    ck_assert_uint_eq(c.runs[0]->facts.number, 5);
    compaction_free(&c);
    ck_assert(!compaction_pick_range(version, 1, slice_of("\1e"), slice_of("\1f"), &c, &status));
    ck_assert(!compaction_pick_range(version, 2, slice_of("\1a"), slice_of("\1f"), &c, &status));
    version_unref(version);
}
END_TEST

START_TEST(room_that_is_kept)
{
    const uint64_t mib = 1 << 20;
    const struct {
        uint64_t total, unflushed, file, merge, deleting, writing;
    } table[] = {
        {64 * mib, mib, mib, 5 * mib, 3 * mib, 9 * mib}, /* as in space.h */
        {64 * mib, 0, mib, 60 * mib, 2 * mib, 19 * mib}, /* a quarter of it at most is kept for merges */
        {1024 * 1024 * mib, 128 * mib, 64 * mib, 512 * mib, 132 * mib, 708 * mib},
        {0, 7, 1, 1, 7, 8},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        struct space_kept kept = space_kept(table[i].total, table[i].unflushed, table[i].file, table[i].merge);
        ck_assert_msg(kept.deleting == table[i].deleting && kept.writing == table[i].writing, "line %zu: %lu %lu", i,
                      (unsigned long)kept.deleting, (unsigned long)kept.writing);
    }
    ck_assert_uint_eq(space_fit(64 * mib, 4096 * mib), 64 * mib);
    ck_assert_uint_eq(space_fit(64 * mib, 64 * mib), mib);
    ck_assert_uint_eq(space_fit(100, 64 * mib), 100);
    ck_assert_uint_eq(space_fit(64 * mib, mib), 64 << 10);
    ck_assert_uint_eq(space_fit(64 * mib, 0), 64 * mib);
    ck_assert_uint_eq(space_kept_share(64 * mib, 0), 16);
    ck_assert_uint_eq(space_kept_share(64 * mib, 1024 * 1024 * mib), 16);
    ck_assert_uint_eq(space_kept_share(64 * mib, 64 * 1024 * mib), 16);
    ck_assert_uint_eq(space_kept_share(64 * mib, 8 * 1024 * mib), 2);
    ck_assert_uint_eq(space_kept_share(64 * mib, 4 * 1024 * mib), 1);
    ck_assert_uint_eq(space_kept_share(64 << 10, mib), 1);
    ck_assert_uint_eq(space_look_every(64 * mib), 256 << 10);
    ck_assert_uint_eq(space_look_every(1024 * mib), mib);
}
END_TEST

START_TEST(room_of_merges)
{
    const uint64_t mib = 1 << 20;
    const struct line lines[] = {{0, "\1a", "\1z", 4 * mib, 0},
                                 {1, "\1a", "\1f", 2 * mib, 0},
                                 {1, "\1g", "\1z", 2 * mib, 0},
                                 {2, "\1a", "\1z", 40 * mib, 0}};
    struct lsm_options o = options();
    o.file_size = mib;
    struct version *version = make_version(lines, 4);
    ck_assert_uint_eq(compaction_room(version, &o), 13 * mib); /* as in compaction.h */
    o.file_size = 100 * mib;
    ck_assert_uint_eq(compaction_room(version, &o), 140 * mib); /* no more than there is below */
    o.policy = LSM_POLICY_TIERED;
    ck_assert_uint_eq(compaction_room(version, &o), 8 * mib);
    version_unref(version);
    version = make_version(lines, 3);
    o = options();
    ck_assert_uint_eq(compaction_room(version, &o), 8 * mib);
    version_unref(version);
}
END_TEST

/* Runs have 100 entries each, but for one. */
START_TEST(what_merges_write_at_least)
{
    const struct {
        uint64_t newer, older, bytes, least;
    } table[] = {{400, 1000, 100 << 10, 61440}, {1000, 1000, 100 << 10, 0}, {2000, 1000, 100 << 10, 0}};
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        const struct made_run runs[] = {
            {.level = 1, .smallest = "\1a", .largest = "\1z", .bytes = 10, .entries = table[i].newer},
            {.level = 2, .smallest = "\1a", .largest = "\1z", .bytes = table[i].bytes, .entries = table[i].older}};
        struct version *version = made_version(runs, 2);
        struct compaction plan;
        ck_assert_int_eq(compaction_begin(version, &plan), PLSM_OK);
        compaction_add_level(&plan, 1, version->levels[1].runs, 1);
        compaction_add_level(&plan, 2, version->levels[2].runs, 1);
        ck_assert_uint_eq(compaction_bytes_least(&plan), table[i].least);
        compaction_free(&plan);
        version_unref(version);
    }
}
END_TEST

START_TEST(merging_less_at_once)
{
    const struct line lines[] = {{1, "\1a", "\1b", 10, 0}, {1, "\1c", "\1d", 10, 0}, {1, "\1e", "\1f", 10, 0},
                                 {1, "\1g", "\1h", 10, 0}, {2, "\1a", "\1d", 10, 0}, {2, "\1g", "\1z", 10, 0}};
    const struct {
        uint64_t bytes;
        size_t upper, lower;
    } table[] = {{60, 4, 2}, {59, 2, 1}, {30, 2, 1}, {29, 1, 1}, {0, 1, 1}};
    struct version *version = make_version(lines, 6);
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        struct compaction c;
        plsm_status status = PLSM_OK;
        ck_assert(compaction_pick_range(version, 1, slice_of("\1a"), slice_of("\1z"), &c, &status));
        expect_counts(&c, 4, 2);
        ck_assert_int_eq(compaction_limit(version, table[i].bytes, &c), PLSM_OK);
        expect_counts(&c, table[i].upper, table[i].lower);
        ck_assert_uint_eq(c.runs[0]->facts.number, 1);
        ck_assert(c.level == 1 && c.output_level == 2);
        compaction_free(&c);
    }
    version_unref(version);
}
END_TEST

/* Where a run of a bulk load goes. */
START_TEST(loading)
{
    const uint64_t mib = 1 << 20; /* level 1 may hold 2 MiB, level 2 20, level 3 200 */
    const struct line lines[] = {{0, "\1a", "\1c", mib, 0},
                                 {1, "\1f", "\1h", mib, 0},
                                 {1, "\1m", "\1p", mib / 2, 0},
                                 {2, "\1c", "\1g", mib, 0},
                                 {2, "\1t", "\1z", mib, 0}};
    struct lsm_options o = options();
    struct version *version = make_version(lines, 5), *empty = version_create();
    const struct {
        const struct version *version;
        uint64_t bytes;
        unsigned level;
    } sizes[] = {
        {empty, 0, 1},
        {empty, 2 * mib, 1},
        {empty, 2 * mib + 1, 2},
        {empty, 21 * mib, 3},
        {version, mib / 4, 2},
        {version, 18 * mib, 2},
        {version, 18 * mib + 1, 3},
        {version, 201 * mib, 4},
        {empty, 1 << 30, 4},
        {empty, UINT64_MAX / 2, LSM_LEVELS - 1},
    };
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        ck_assert_msg(bulk_level_for(sizes[i].version, &o, sizes[i].bytes) == sizes[i].level, "size %zu: %u", i,
                      bulk_level_for(sizes[i].version, &o, sizes[i].bytes));
    const struct {
        const char *smallest, *largest;
        unsigned deepest, merging; /* a compaction from q to s goes into that level */
        unsigned level;
    } table[] = {
        {"\1i", "\1l", 2, 0, 2}, {"\1i", "\1l", 3, 0, 3},   {"\1i", "\1l", 1, 0, 1}, {"\1i", "\1m", 2, 0, 0},
        {"\1x", "\1y", 2, 0, 1}, {"\1b", "\1b", 3, 0, 0},   {"\1d", "\1e", 3, 0, 1}, {"\1g", "\1g", 3, 0, 0},
        {"\1r", "\1r", 2, 2, 1}, {"\1r", "\1r", 3, 2, 3},   {"\1r", "\1r", 1, 1, 0}, {"\1i", "\1q", 2, 2, 0},
        {"\1s", "\1s", 2, 2, 1}, {"\1sa", "\1sb", 2, 2, 2}, {"\1a", "\1z", 2, 2, 0}, {"\3a", "\3z", 6, 0, 6},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        struct merging merging = {table[i].merging, slice_of("\1q"), slice_of("\1s")};
        unsigned level =
            bulk_level(version, &merging, table[i].deepest, slice_of(table[i].smallest), slice_of(table[i].largest));
        ck_assert_msg(level == table[i].level, "line %zu: %u", i, level);
    }
    const struct run_facts deletes = {.entries = 9, .deletions = 1}, puts = {.entries = 9};
    ck_assert_uint_eq(bulk_deepest(version, 3, &puts), 3);
    ck_assert_uint_eq(bulk_deepest(version, 3, &deletes), 1);
    ck_assert_uint_eq(bulk_deepest(version, 0, &deletes), 0);
    ck_assert_uint_eq(bulk_deepest(empty, 1, &deletes), 0);
    version_unref(version);
    version_unref(empty);
}
END_TEST

START_TEST(versions)
{
    const struct line lines[] = {{1, "\1a", "\1c", 10, 0}, {1, "\1d", "\1f", 10, 0}, {1, "\1h", "\1k", 10, 0}};
    struct version *version = make_version(lines, 3), *next = NULL;
    const struct {
        const char *from, *to;
        size_t first, count;
    } table[] = {{"\1a", "\1z", 0, 3}, {"\1c", "\1d", 0, 2}, {"\1g", "\1g", 2, 0},
                 {"\1f", "\1h", 1, 2}, {"\1l", "\1z", 3, 0}, {"\1", "\1", 0, 0}};
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        size_t first = 99,
               count = version_overlapping(version, 1, slice_of(table[i].from), slice_of(table[i].to), &first);
        ck_assert_uint_eq(count, table[i].count);
        ck_assert_uint_eq(first, table[i].first);
    }
    struct edit overlapping = {0}, absent = {0};
    ck_assert_int_eq(edit_add(&overlapping, 1, made_run(9, &(struct made_run){.smallest = "\1c", .largest = "\1c"})),
                     PLSM_OK);
    ck_assert_int_eq(version_apply(version, &overlapping, &next), PLSM_CORRUPT);
    ck_assert_int_eq(edit_remove(&absent, 1, 77), PLSM_OK);
    ck_assert_int_eq(version_apply(version, &absent, &next), PLSM_CORRUPT);
    edit_free(&overlapping);
    edit_free(&absent);
    version_unref(version);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("policy");
    TCase *tcase = tcase_create("policy");
    tcase_add_test(tcase, level_sizes);
    tcase_add_test(tcase, pacing);
    tcase_add_test(tcase, queue_pacing);
    tcase_add_test(tcase, picking);
    tcase_add_test(tcase, picking_in_turn);
    tcase_add_test(tcase, picking_a_range);
    tcase_add_test(tcase, room_that_is_kept);
    tcase_add_test(tcase, room_of_merges);
    tcase_add_test(tcase, what_merges_write_at_least);
    tcase_add_test(tcase, merging_less_at_once);
    tcase_add_test(tcase, loading);
    tcase_add_test(tcase, versions);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
