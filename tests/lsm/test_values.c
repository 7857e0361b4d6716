/* Values in value logs: pointers, what goes where, when value logs go, and what damage in them is told as. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/env_memory.h"
#include "base/random.h"
#include "lsm/compaction.h"
#include "lsm/db.h"
#include "lsm/separated.h"
#include "tests/harness/statistic.h"
#include "base/banned.h"

enum { KEYS = 600, VALUE_BYTES = 300 };

static struct env *env;

static struct lsm_options options(uint64_t above)
{
    struct lsm_options o;
    lsm_options_default(&o);
    o.env = env;
    o.create = true;
    o.buffer_size = 64 << 20;
    o.file_size = 64 << 10;
    o.l0_compact = 2;
    o.background = 0;
    o.separate_above = above;
    return o;
}

static struct lsm *open_tree(const struct lsm_options *o)
{
    struct lsm *db = NULL;
    ck_assert_msg(lsm_open("/t", o, &db) == PLSM_OK, "%s", plsm_message());
    return db;
}

static plsm_slice key_of(unsigned i, char *text)
{
    snprintf(text, 64, "\1key-%05u", i);
    return slice_of(text);
}

/* A value follows from its key and a tag; every third is small. */
static plsm_slice value_of(unsigned i, unsigned tag, uint8_t *bytes)
{
    struct random random;
    random_seed(&random, i * UINT64_C(1000) + tag);
    size_t size = i % 3 == 0 ? 10 : VALUE_BYTES;
    for (size_t at = 0; at < size; at++)
        bytes[at] = (uint8_t)random_next(&random);
    return slice(bytes, size);
}

static void put(struct lsm *db, unsigned i, unsigned tag)
{
    struct batch batch = {0};
    char text[64];
    uint8_t bytes[VALUE_BYTES];
    plsm_slice key = key_of(i, text);
    ck_assert_int_eq(batch_add(&batch, BATCH_PUT, *(const uint8_t *)key.data,
                               slice((const uint8_t *)key.data + 1, key.size - 1), slice("meta", i % 5),
                               value_of(i, tag, bytes)),
                     PLSM_OK);
    ck_assert_msg(lsm_write(db, &batch, NULL, NULL, false) == PLSM_OK, "%s", plsm_message());
    batch_free(&batch);
}

/* Every `step`th key from `first` on gets a value of this tag; flushed, and compacted when that is due. */
static void fill(struct lsm *db, unsigned first, unsigned step, unsigned tag)
{
    for (unsigned i = first; i < KEYS; i += step)
        put(db, i, tag);
    ck_assert_msg(lsm_flush(db) == PLSM_OK, "%s", plsm_message());
}

static void expect(plsm_slice key, unsigned i, unsigned tag, plsm_slice meta, plsm_slice value)
{
    char text[64];
    uint8_t bytes[VALUE_BYTES];
    ck_assert(slice_equal(key, key_of(i, text)));
    ck_assert_uint_eq(meta.size, i % 5);
    ck_assert(slice_equal(value, value_of(i, tag, bytes)));
}

/* Key i has the value of tags[i % 3]: by gets, together, and walking both ways. */
static void expect_all(struct lsm *db, const struct lsm_snapshot *snapshot, const unsigned tags[3])
{
    static struct lsm_value values[KEYS];
    static char texts[KEYS][64];
    plsm_slice keys[KEYS];
    plsm_status statuses[KEYS];
    struct lsm_iterator *it = NULL;
    struct lsm_pin pin;
    for (unsigned i = 0; i < KEYS; i++) {
        keys[i] = key_of(i, texts[i]);
        ck_assert_msg(lsm_get(db, snapshot, keys[i], false, &values[i]) == PLSM_OK, "%s", plsm_message());
        expect(keys[i], i, tags[i % 3], values[i].meta, values[i].value);
        ck_assert_msg(lsm_get_pinned(db, snapshot, keys[i], &pin) == PLSM_OK, "%s", plsm_message());
        expect(keys[i], i, tags[i % 3], pin.meta, pin.value);
        lsm_pin_release(db, &pin);
        ck_assert_int_eq(lsm_get(db, snapshot, keys[i], true, &values[i]), PLSM_OK);
        ck_assert_uint_eq(values[i].value.size, 0);
        ck_assert_uint_eq(values[i].value_size, i % 3 == 0 ? 10 : VALUE_BYTES);
        ck_assert_uint_eq(values[i].meta.size, i % 5);
    }
    ck_assert_msg(lsm_multi_get(db, snapshot, keys, KEYS, false, values, statuses) == PLSM_OK, "%s", plsm_message());
    for (unsigned i = 0; i < KEYS; i++) {
        ck_assert_int_eq(statuses[i], PLSM_OK);
        expect(keys[i], i, tags[i % 3], values[i].meta, values[i].value);
    }
    ck_assert_int_eq(lsm_iterator_create(db, snapshot, (plsm_slice){0}, (plsm_slice){0}, &it), PLSM_OK);
    lsm_iterator_first(it);
    for (unsigned i = 0; i < KEYS; i++, lsm_iterator_next(it)) {
        ck_assert_msg(lsm_iterator_valid(it), "%s", plsm_message());
        const struct entry *entry = lsm_iterator_entry(it);
        expect(entry->key, i, tags[i % 3], entry->meta, entry->value);
    }
    ck_assert(!lsm_iterator_valid(it));
    lsm_iterator_last(it);
    for (unsigned i = KEYS; i-- > 0; lsm_iterator_previous(it))
        expect(lsm_iterator_entry(it)->key, i, tags[i % 3], lsm_iterator_entry(it)->meta,
               lsm_iterator_entry(it)->value);
    lsm_iterator_destroy(it);
    ck_assert_int_eq(lsm_iterator_create_no_value(db, snapshot, (plsm_slice){0}, (plsm_slice){0}, &it), PLSM_OK);
    lsm_iterator_first(it);
    for (unsigned i = 0; i < KEYS; i++, lsm_iterator_next(it))
        ck_assert_uint_eq(lsm_iterator_entry(it)->value.size, i % 3 == 0 ? 10 : VALUE_BYTES);
    lsm_iterator_destroy(it);
    for (unsigned i = 0; i < KEYS; i++) {
        lsm_value_free(&values[i]);
        values[i] = (struct lsm_value){0};
    }
}

static void print_problem(void *arg, const char *line)
{
    (void)arg;
    printf("%s\n", line);
}

static uint64_t checked_bytes;

static void take_progress(void *arg, uint64_t done, uint64_t all)
{
    (void)arg;
    ck_assert_uint_ge(done, checked_bytes);
    ck_assert_uint_le(done, all);
    checked_bytes = done;
}

/* What is read in the end is all files, but for headers of value logs and what nothing points to. */
static void check(struct lsm *db)
{
    double unread = statistic(db, "values.garbage_bytes");
    unread += statistic(db, "values.files") * (double)sizeof(struct value_log_header);
    checked_bytes = 0;
    ck_assert_int_eq(lsm_check(db, print_problem, take_progress, NULL), PLSM_OK);
    ck_assert_uint_eq(checked_bytes, (uint64_t)(statistic(db, "store.bytes_disk") - unread));
}

static void count_name(void *arg, const char *name)
{
    *(unsigned *)arg += strncmp(name, "values-", 7) == 0;
}

static unsigned files(void)
{
    unsigned count = 0;
    ck_assert_int_eq(env_list(env, "/t", count_name, &count), PLSM_OK);
    return count;
}

/* --- parts -------------------------------------------------------------------------------------------------------- */

START_TEST(pointers)
{
    const struct value_pointer table[] = {{1, 40, 0, 0},
                                          {127, 128, 1, 1},
                                          {UINT32_MAX, UINT64_MAX, LSM_VALUE_MAX, LSM_VALUE_MAX},
                                          {UINT64_MAX, 1, 4096, 7}};
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        uint8_t bytes[VALUE_POINTER_BYTES_MAX + 1];
        struct value_pointer read;
        size_t size = value_pointer_write(bytes, &table[i]);
        ck_assert(value_pointer_read(slice(bytes, size), &read));
        ck_assert(read.log == table[i].log && read.offset == table[i].offset && read.size == table[i].size &&
                  read.stored == table[i].stored);
        for (size_t cut = 0; cut < size; cut++)
            ck_assert(!value_pointer_read(slice(bytes, cut), &read));
        bytes[size] = 0;
        ck_assert(!value_pointer_read(slice(bytes, size + 1), &read));
    }
    uint8_t bytes[VALUE_POINTER_BYTES_MAX];
    struct value_pointer large = {1, 40, LSM_VALUE_MAX + 1, 1}, longer = {1, 40, 99, 100};
    ck_assert(!value_pointer_read(slice(bytes, value_pointer_write(bytes, &large)), &large));
    ck_assert(!value_pointer_read(slice(bytes, value_pointer_write(bytes, &longer)), &longer));
}
END_TEST

/* A run that points into value logs, of 1,000 bytes of records each. */
struct line {
    unsigned level;
    const char *smallest, *largest;
    struct run_values values[2];
};

static struct version *make_version(struct run_context *context, const struct line *lines, size_t count, unsigned logs,
                                    plsm_status expected)
{
    struct edit edit = {0};
    struct version *empty = version_create(), *version = NULL;
    for (unsigned i = 1; i <= logs; i++)
        ck_assert_int_eq(edit_add_values(&edit, value_log_create(context, i, 0, 1040)), PLSM_OK);
    for (size_t i = 0; i < count; i++) {
        struct run_facts facts = {.number = 100 + i,
                                  .file_size = 4096,
                                  .entries = 10,
                                  .units = 1,
                                  .smallest = slice_of(lines[i].smallest),
                                  .largest = slice_of(lines[i].largest),
                                  .values = lines[i].values,
                                  .values_count = (lines[i].values[0].log > 0) + (lines[i].values[1].log > 0)};
        ck_assert_int_eq(edit_add(&edit, lines[i].level, run_create(context, &facts)), PLSM_OK);
    }
    ck_assert_int_eq(version_apply(empty, &edit, &version), expected);
    edit_free(&edit);
    version_unref(empty);
    return version;
}

START_TEST(counting)
{
    struct lsm_options context_options = {.buffer_size = 1 << 20};
    struct run_context context = {.options = &context_options};
    const struct line lines[] = {{1, "\1a", "\1b", {{1, 300}, {2, 1000}}}, {2, "\1a", "\1z", {{1, 200}, {4, 1}}}};
    struct version *version = make_version(&context, lines, 2, 4, PLSM_OK);
    ck_assert_uint_eq(version->values_count, 3); /* nothing points into 3: it is gone */
    ck_assert_ptr_null(version_values_of(version, 3));
    ck_assert_uint_eq(version_values_of(version, 1)->live_bytes, 500);
    ck_assert_uint_eq(version_garbage_bytes(version_values_of(version, 1)), 500);
    ck_assert_uint_eq(version_garbage_bytes(version_values_of(version, 2)), 0);
    ck_assert(version_values_wasteful(version_values_of(version, 1), 499999));
    ck_assert(!version_values_wasteful(version_values_of(version, 1), 500000));
    ck_assert(version_values_wasteful(version_values_of(version, 4), 998999));
    ck_assert(!version_values_wasteful(version_values_of(version, 4), 1000000));
    version_unref(version);
    const struct line strange[] = {{1, "\1a", "\1b", {{5, 10}}}};
    ck_assert_ptr_null(make_version(&context, strange, 1, 4, PLSM_CORRUPT)); /* does not exist */
    const struct line over[] = {{1, "\1a", "\1b", {{1, 600}}}, {1, "\1c", "\1d", {{1, 401}}}};
    ck_assert_ptr_null(make_version(&context, over, 2, 1, PLSM_CORRUPT)); /* has not so much */
}
END_TEST

START_TEST(picking)
{
    struct lsm_options context_options = {.buffer_size = 1 << 20};
    struct run_context context = {.options = &context_options};
    const struct {
        struct line lines[5];
        unsigned logs;
        bool needed;
        unsigned level, output_level;
        size_t upper;
        uint64_t first;
    } table[] = {
        {{{1, "\1a", "\1b", {{1, 500}}}}, 1, false, 0, 0, 0, 0},  /* half is not too much */
        {{{1, "\1a", "\1b", {{1, 499}}}}, 1, true, 1, 1, 1, 100}, /* where it is */
        {{{3, "\1a", "\1b", {{1, 1000}}}, {3, "\1c", "\1d", {{2, 100}}}, {3, "\1e", "\1f", {{2, 10}}}},
         2,
         true,
         3,
         3,
         2,
         101}, /* neighbours together */
        {{{3, "\1a", "\1b", {{2, 100}}}, {3, "\1c", "\1d", {{1, 1000}}}, {3, "\1e", "\1f", {{2, 10}}}},
         2,
         true,
         3,
         3,
         1,
         100}, /* but none over another */
        {{{2, "\1a", "\1b", {{1, 300}}}, {2, "\1c", "\1d", {{2, 100}}}}, 2, true, 2, 2, 1, 101}, /* most garbage */
        {{{0, "\1a", "\1b", {{1, 1}}}, {0, "\1e", "\1f", {{2, 1000}}}, {0, "\2a", "\2b", {{0, 0}}}},
         2,
         true,
         0,
         0,
         1,
         100}, /* in level 0 too */
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        struct lsm_options o = options(100);
        struct compaction c;
        plsm_status status = PLSM_OK;
        size_t count = 0;
        while (count < 5 && table[i].lines[count].smallest)
            count++;
        o.l0_compact = 4;
        struct version *version = make_version(&context, table[i].lines, count, table[i].logs, PLSM_OK);
        static const struct buf none[LSM_LEVELS];
        ck_assert_msg(compaction_pick(version, &o, none, 0, &c, &status) == table[i].needed, "line %zu", i);
        ck_assert_int_eq(status, PLSM_OK);
        if (table[i].needed) {
            ck_assert_msg(c.level == table[i].level && c.output_level == table[i].output_level &&
                              c.run_count == table[i].upper && c.source_count == 1 && !c.trivial &&
                              c.runs[0]->facts.number == table[i].first,
                          "line %zu", i);
        }
        compaction_free(&c);
        version_unref(version);
    }
}
END_TEST

/* Value logs have 1000 bytes, runs 4096. */
START_TEST(picking_within_room)
{
    struct lsm_options context_options = {.buffer_size = 1 << 20};
    struct run_context context = {.options = &context_options};
    const struct line lines[] = {{2, "\1a", "\1b", {{1, 300}}},
                                 {2, "\1c", "\1d", {{2, 100}, {3, 400}}},
                                 {2, "\1e", "\1f", {{3, 50}, {4, 1000}}}};
    const struct {
        uint64_t bytes;
        uint32_t ppm;
        uint64_t first; /* run; 0: none */
        uint64_t collects;
        size_t runs;
    } table[] = {
        {UINT64_MAX, 500000, 101, 2, 2}, /* 2 has most garbage */
        {UINT64_MAX, 910000, 0, 0, 0},   /* too little of it */
        {8292, 500000, 101, 2, 2},       /* 100 bytes and two runs */
        {8291, 500000, 101, 2, 1},       {4196, 500000, 101, 2, 1}, {4195, 500000, 0, 0, 0}, {99, 500000, 0, 0, 0},
    };
    struct version *version = make_version(&context, lines, 3, 4, PLSM_OK);
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        struct compaction c;
        plsm_status status = PLSM_OK;
        bool found = compaction_pick_values(version, table[i].ppm, table[i].bytes, &c, &status);
        ck_assert_int_eq(status, PLSM_OK);
        ck_assert_msg(found == (table[i].first > 0), "line %zu", i);
        if (found)
            ck_assert_msg(c.runs[0]->facts.number == table[i].first && c.run_count == table[i].runs &&
                              c.collects == table[i].collects && c.level == 2 && c.output_level == 2,
                          "line %zu: %zu runs from %lu", i, c.run_count, (unsigned long)c.runs[0]->facts.number);
        compaction_free(&c);
    }
    version_unref(version);
}
END_TEST

START_TEST(collecting_within_room)
{
    struct lsm_options context_options = {.buffer_size = 1 << 20};
    struct run_context context = {.options = &context_options};
    const struct line lines[] = {{2, "\1a", "\1b", {{1, 10}, {2, 300}}},
                                 {2, "\1c", "\1d", {{3, 400}, {4, 900}}},
                                 {2, "\1e", "\1f", {{5, 10}, {0, 0}}}};
    const struct {
        uint64_t bytes, collects;
        uint64_t logs[4];
        size_t count;
    } table[] = {
        {UINT64_MAX, 0, {1, 2, 3}, 3}, /* 4 is not wasteful, the plan does not point into 5 */
        {710, 0, {1, 2, 3}, 3},
        {709, 0, {1, 2}, 2},
        {410, 0, {1, 2}, 2},
        {309, 0, {1}, 1},
        {9, 0, {0}, 0},
        {410, 3, {1, 3}, 2}, /* first what the plan is for */
        {UINT64_MAX, 4, {1, 2, 3, 4}, 4},
    };
    struct version *version = make_version(&context, lines, 3, 5, PLSM_OK);
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        struct compaction plan;
        struct collected collected;
        ck_assert_int_eq(compaction_begin(version, &plan), PLSM_OK);
        plan.level = plan.output_level = 2;
        plan.collects = table[i].collects;
        compaction_add_level(&plan, 2, version->levels[2].runs, 2);
        ck_assert_int_eq(compaction_collect(version, &plan, 500000, table[i].bytes, &collected), PLSM_OK);
        ck_assert_msg(collected.count == table[i].count, "line %zu: %zu", i, collected.count);
        for (size_t j = 0; j < collected.count; j++)
            ck_assert_msg(collected.logs[j] == table[i].logs[j], "line %zu: log %lu", i,
                          (unsigned long)collected.logs[j]);
        for (uint64_t log = 1; log <= 5; log++) {
            bool listed = false;
            for (size_t j = 0; j < table[i].count; j++)
                listed |= table[i].logs[j] == log;
            ck_assert(collected_has(&collected, log) == listed);
        }
        collected_free(&collected);
        compaction_free(&plan);
    }
    ck_assert(!collected_has(NULL, 1));
    version_unref(version);
}
END_TEST

/* --- in a store --------------------------------------------------------------------------------------------------- */

START_TEST(separating)
{
    env = env_memory_create(1);
    struct lsm_options o = options(VALUE_BYTES);
    struct lsm *db = open_tree(&o);
    fill(db, 0, 1, 1);
    expect_all(db, NULL, (unsigned[]){1, 1, 1});
    check(db);
    double large = 2.0 * KEYS / 3;
    ck_assert_double_ge(statistic(db, "values.files"), 2); /* cut at file_size */
    ck_assert_double_ge(statistic(db, "values.bytes"), large * VALUE_BYTES);
    ck_assert_double_lt(statistic(db, "values.bytes"), large * (VALUE_BYTES + 40) + 1000);
    ck_assert_double_eq(statistic(db, "values.garbage_bytes"), 0);
    ck_assert_double_ge(statistic(db, "store.bytes_disk"), statistic(db, "values.bytes") + 4096);
    ck_assert_double_ge(statistic(db, "store.bytes_live"), large * VALUE_BYTES);
    /* A compaction moves pointers: it writes runs without those values. */
    ck_assert_int_eq(lsm_compact(db, (plsm_slice){0}, (plsm_slice){0}), PLSM_OK);
    fill(db, 0, 3, 2);
    ck_assert_int_eq(lsm_compact(db, (plsm_slice){0}, (plsm_slice){0}), PLSM_OK);
    ck_assert_double_gt(statistic(db, "lsm.compact_bytes"), 0);
    ck_assert_double_lt(statistic(db, "lsm.compact_bytes"), 100 << 10);
    ck_assert_double_eq(statistic(db, "values.rewritten_bytes"), 0);
    expect_all(db, NULL, (unsigned[]){2, 1, 1});
    ck_assert_int_eq(lsm_close(db), PLSM_OK);
    o.create = false;
    db = open_tree(&o);
    expect_all(db, NULL, (unsigned[]){2, 1, 1});
    check(db);
    ck_assert_int_eq(lsm_close(db), PLSM_OK);
    env_memory_destroy(env);
}
END_TEST

/* Overwriting makes garbage; beyond the limit what is left is written anew and the files go. */
START_TEST(collecting)
{
    env = env_memory_create(2);
    struct lsm_options o = options(100);
    o.separate_garbage_ppm = 600000;
    struct lsm *db = open_tree(&o);
    fill(db, 0, 1, 1);
    double bytes = statistic(db, "values.bytes");
    struct lsm_snapshot *snapshot = lsm_snapshot_create(db);
    struct lsm_iterator *it = NULL;
    ck_assert_int_eq(lsm_iterator_create(db, NULL, (plsm_slice){0}, (plsm_slice){0}, &it), PLSM_OK);
    fill(db, 1, 3, 2); /* half of the large ones: below the limit even without the snapshot */
    ck_assert_double_eq(statistic(db, "values.garbage_bytes"), 0);
    expect_all(db, NULL, (unsigned[]){1, 2, 1});
    expect_all(db, snapshot, (unsigned[]){1, 1, 1});
    lsm_snapshot_destroy(db, snapshot);
    ck_assert_int_eq(lsm_compact(db, (plsm_slice){0}, (plsm_slice){0}), PLSM_OK);
    fill(db, 0, 3, 2);
    ck_assert_int_eq(lsm_compact(db, (plsm_slice){0}, (plsm_slice){0}), PLSM_OK);
    ck_assert_double_gt(statistic(db, "values.garbage_bytes"), bytes * 0.45);
    ck_assert_double_eq(statistic(db, "values.rewritten_bytes"), 0);
    expect_all(db, NULL, (unsigned[]){2, 2, 1});
    fill(db, 5, 6, 3); /* half of the other half: three quarters of the old ones are garbage */
    put(db, 0, 4);
    ck_assert_int_eq(lsm_compact(db, (plsm_slice){0}, (plsm_slice){0}), PLSM_OK);
    fill(db, 0, KEYS, 4); /* collecting comes after a flush */
    ck_assert_double_gt(statistic(db, "values.rewritten_bytes"), bytes * 0.2);
    ck_assert_double_lt(statistic(db, "values.garbage_bytes"), bytes * 0.1);
    check(db);
    /* The iterator still reads the files it began with; then they go. */
    unsigned before = files();
    ck_assert_double_gt(before, statistic(db, "values.files"));
    lsm_iterator_first(it);
    for (unsigned i = 0; i < KEYS; i++, lsm_iterator_next(it))
        expect(lsm_iterator_entry(it)->key, i, 1, lsm_iterator_entry(it)->meta, lsm_iterator_entry(it)->value);
    lsm_iterator_destroy(it);
    ck_assert_int_eq(lsm_flush(db), PLSM_OK);
    ck_assert_double_eq(files(), statistic(db, "values.files"));
    ck_assert_uint_lt(files(), before);
    /* Without separation the values come back as their value logs are given up. */
    ck_assert_int_eq(lsm_close(db), PLSM_OK);
    o.separate_above = 0;
    o.separate_garbage_ppm = 0;
    db = open_tree(&o);
    fill(db, 0, 2, 5);
    fill(db, 1, 2, 5);
    ck_assert_int_eq(lsm_compact(db, (plsm_slice){0}, (plsm_slice){0}), PLSM_OK);
    fill(db, 0, 2, 5);
    expect_all(db, NULL, (unsigned[]){5, 5, 5});
    ck_assert_double_eq(statistic(db, "values.files"), 0);
    ck_assert_uint_eq(files(), 0);
    ck_assert_int_eq(lsm_close(db), PLSM_OK);
    env_memory_destroy(env);
}
END_TEST

static void put_text(struct lsm *db, unsigned i, plsm_slice value)
{
    struct batch batch = {0};
    char text[64];
    plsm_slice key = key_of(i, text);
    ck_assert_int_eq(batch_add(&batch, BATCH_PUT, *(const uint8_t *)key.data,
                               slice((const uint8_t *)key.data + 1, key.size - 1), slice("m", 1), value),
                     PLSM_OK);
    ck_assert_int_eq(lsm_write(db, &batch, NULL, NULL, false), PLSM_OK);
    batch_free(&batch);
}

/* Values that compress and, every fourth, that do not; read under other options than they were written with. */
START_TEST(compressing)
{
    enum { COUNT = 40, BYTES = 3000 };
    static uint8_t values[COUNT][BYTES];
    plsm_slice keys[COUNT];
    char texts[COUNT][64];
    static struct lsm_value outs[COUNT];
    plsm_status statuses[COUNT];
    for (enum codec codec = CODEC_LZ4; codec < CODECS; codec++) {
        if (codec_available(codec) != PLSM_OK)
            continue;
        env = env_memory_create(6 + codec);
        struct lsm_options o = options(1000);
        struct random random;
        random_seed(&random, codec);
        o.groups[LSM_GROUP_LAST].codec = codec;
        struct lsm *db = open_tree(&o);
        for (unsigned i = 0; i < COUNT; i++) {
            keys[i] = key_of(i, texts[i]);
            for (unsigned at = 0; at < BYTES; at++)
                values[i][at] = (uint8_t)(i % 4 == 0 ? random_next(&random) : at / 100 + i);
            put_text(db, i, slice(values[i], BYTES));
        }
        ck_assert_int_eq(lsm_flush(db), PLSM_OK);
        ck_assert_double_lt(statistic(db, "values.bytes"), COUNT * BYTES * 0.6);
        ck_assert_double_gt(statistic(db, "values.bytes"), COUNT * BYTES * 0.25);
        ck_assert_double_gt(statistic(db, "store.bytes_live"), COUNT * BYTES);
        check(db);
        ck_assert_int_eq(lsm_close(db), PLSM_OK);
        o.groups[LSM_GROUP_LAST].codec = CODEC_NONE;
        db = open_tree(&o);
        ck_assert_int_eq(lsm_multi_get(db, NULL, keys, COUNT, false, outs, statuses), PLSM_OK);
        for (unsigned i = 0; i < COUNT; i++) {
            ck_assert(slice_equal(outs[i].value, slice(values[i], BYTES)));
            ck_assert_int_eq(lsm_get(db, NULL, keys[i], false, &outs[0]), PLSM_OK);
            ck_assert(slice_equal(outs[0].value, slice(values[i], BYTES)));
            ck_assert(slice_equal(outs[0].meta, slice("m", 1)));
        }
        struct lsm_iterator *it = NULL;
        ck_assert_int_eq(lsm_iterator_create(db, NULL, (plsm_slice){0}, (plsm_slice){0}, &it), PLSM_OK);
        lsm_iterator_first(it);
        for (unsigned i = 0; i < COUNT; i++, lsm_iterator_next(it))
            ck_assert(slice_equal(lsm_iterator_entry(it)->value, slice(values[i], BYTES)));
        lsm_iterator_destroy(it);
        check(db);
        for (unsigned i = 0; i < COUNT; i++) {
            lsm_value_free(&outs[i]);
            outs[i] = (struct lsm_value){0};
        }
        ck_assert_int_eq(lsm_close(db), PLSM_OK);
        env_memory_destroy(env);
    }
}
END_TEST

/* Deleting everything leaves no value log, and nothing is read for it. */
START_TEST(deleting)
{
    env = env_memory_create(3);
    struct lsm_options o = options(100);
    struct lsm *db = open_tree(&o);
    fill(db, 0, 1, 1);
    struct batch batch = {0};
    char text[64];
    for (unsigned i = 0; i < KEYS; i++) {
        plsm_slice key = key_of(i, text);
        ck_assert_int_eq(batch_add(&batch, BATCH_DELETE, *(const uint8_t *)key.data,
                                   slice((const uint8_t *)key.data + 1, key.size - 1), (plsm_slice){0},
                                   (plsm_slice){0}),
                         PLSM_OK);
    }
    ck_assert_int_eq(lsm_write(db, &batch, NULL, NULL, false), PLSM_OK);
    batch_free(&batch);
    ck_assert_int_eq(lsm_compact(db, (plsm_slice){0}, (plsm_slice){0}), PLSM_OK);
    ck_assert_double_eq(statistic(db, "values.files"), 0);
    ck_assert_double_eq(statistic(db, "values.rewritten_bytes"), 0);
    ck_assert_uint_eq(files(), 0);
    ck_assert_int_eq(lsm_close(db), PLSM_OK);
    env_memory_destroy(env);
}
END_TEST

/* A reader beside the writer keeps what it reads, also what is given up meanwhile. */
START_TEST(beside_a_writer)
{
    env = env_memory_create(4);
    struct lsm_options o = options(100), reading = options(0);
    struct lsm *db = open_tree(&o);
    fill(db, 0, 1, 1);
    reading.create = false;
    reading.read_only = true;
    struct lsm *reader = open_tree(&reading);
    fill(db, 0, 1, 2);
    ck_assert_int_eq(lsm_compact(db, (plsm_slice){0}, (plsm_slice){0}), PLSM_OK);
    ck_assert_double_gt(files(), statistic(db, "values.files"));
    expect_all(reader, NULL, (unsigned[]){1, 1, 1});
    expect_all(db, NULL, (unsigned[]){2, 2, 2});
    ck_assert_int_eq(lsm_close(reader), PLSM_OK);
    ck_assert_int_eq(lsm_flush(db), PLSM_OK);
    ck_assert_double_eq(files(), statistic(db, "values.files"));
    ck_assert_int_eq(lsm_close(db), PLSM_OK);
    env_memory_destroy(env);
}
END_TEST

static void count_line(void *arg, const char *line)
{
    *(unsigned *)arg += strstr(line, "values-") && strstr(line, "offset");
}

static uint8_t *content(size_t *size, char *path)
{
    uint8_t *data = NULL;
    for (unsigned number = 1;; number++) {
        ck_assert_uint_lt(number, 1000);
        snprintf(path, 100, "/t/values-%08u", number);
        if (env_memory_content(env, path, &data, size) == PLSM_OK)
            return data;
    }
}

/* A flipped byte: the entry whose record it is in is told as damaged, naming file and offset; all others are read. */
START_TEST(damaged)
{
    env = env_memory_create(5);
    struct lsm_options o = options(100);
    struct lsm *db = open_tree(&o);
    struct lsm_value value = {0};
    struct lsm_iterator *it = NULL;
    char path[100], text[64];
    size_t size = 0;
    fill(db, 0, 1, 1);
    content(&size, path)[60] ^= 1; /* in the first record, of key 1 */
    plsm_slice keys[2] = {key_of(1, text), slice_of("\1key-00002")};
    ck_assert_int_eq(lsm_get(db, NULL, keys[0], false, &value), PLSM_CORRUPT);
    ck_assert_ptr_nonnull(strstr(plsm_message(), path));
    ck_assert_ptr_nonnull(strstr(plsm_message(), "offset 40"));
    ck_assert_int_eq(lsm_get(db, NULL, keys[0], true, &value), PLSM_OK); /* its size is known without */
    struct lsm_value values[2] = {{.capacity = 0}};
    plsm_status statuses[2];
    ck_assert_int_eq(lsm_multi_get(db, NULL, keys, 2, false, values, statuses), PLSM_CORRUPT);
    ck_assert_int_eq(statuses[0], PLSM_CORRUPT);
    ck_assert_int_eq(statuses[1], PLSM_OK);
    expect(keys[1], 2, 1, values[1].meta, values[1].value);
    ck_assert_int_eq(lsm_iterator_create(db, NULL, (plsm_slice){0}, (plsm_slice){0}, &it), PLSM_OK);
    lsm_iterator_first(it);
    ck_assert(lsm_iterator_valid(it)); /* key 0 is small */
    lsm_iterator_next(it);
    ck_assert(!lsm_iterator_valid(it));
    ck_assert_int_eq(lsm_iterator_status(it), PLSM_CORRUPT);
    lsm_iterator_next(it);
    ck_assert(!lsm_iterator_valid(it));
    lsm_iterator_seek(it, keys[1]); /* and goes on behind it */
    ck_assert(lsm_iterator_valid(it));
    ck_assert_int_eq(lsm_iterator_status(it), PLSM_OK);
    lsm_iterator_destroy(it);
    unsigned lines = 0;
    ck_assert_int_eq(lsm_check(db, count_line, NULL, &lines), PLSM_CORRUPT);
    ck_assert_uint_eq(lines, 1);
    content(&size, path)[60] ^= 1;
    check(db);
    lsm_value_free(&value);
    lsm_value_free(&values[0]);
    lsm_value_free(&values[1]);
    ck_assert_int_eq(lsm_close(db), PLSM_OK);
    /* A missing file is told at the opening. */
    ck_assert_int_eq(env_remove(env, path), PLSM_OK);
    ck_assert_int_eq(lsm_open("/t", &o, &db), PLSM_CORRUPT);
    ck_assert_ptr_nonnull(strstr(plsm_message(), path));
    env_memory_destroy(env);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {pointers,
                                  counting,
                                  picking,
                                  picking_within_room,
                                  collecting_within_room,
                                  separating,
                                  collecting,
                                  compressing,
                                  deleting,
                                  beside_a_writer,
                                  damaged};
    Suite *suite = suite_create("values");
    TCase *tcase = tcase_create("value logs");
    tcase_set_timeout(tcase, 300);
    for (size_t i = 0; i < sizeof tests / sizeof *tests; i++)
        tcase_add_test(tcase, tests[i]);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
