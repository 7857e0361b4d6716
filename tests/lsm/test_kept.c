/* Values that stay in the write-ahead log: which do, how they are read from a memtable and behind its flush, and what
 * becomes of the log. Crashes and failures of all kinds: tests/crash, whose option sets have them. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/env_fault.h"
#include "base/env_memory.h"
#include "base/random.h"
#include "lsm/kept.h"
#include "tests/harness/statistic.h"
#include "base/banned.h"

enum { KEYS = 200, ABOVE = 16, KEPT = 16 * ABOVE };

static struct env *env;

static struct lsm_options options(void)
{
    struct lsm_options o;
    lsm_options_default(&o);
    o.env = env;
    o.create = true;
    o.buffer_size = 64 << 20;
    o.l0_compact = 2;
    o.background = 0;
    o.separate_above = ABOVE;
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

/* Of key i under a tag: sizes around what makes a value stay, small ones, and a few large ones. */
static size_t size_of(unsigned i, unsigned tag)
{
    static const size_t sizes[] = {0, 10, KEPT - 1, KEPT, KEPT + 1, 5000, 3 * KEPT, 70000};
    return sizes[(i + tag) % (sizeof sizes / sizeof *sizes)];
}

static plsm_slice value_of(unsigned i, unsigned tag, uint8_t *bytes)
{
    struct random random;
    random_seed(&random, i * UINT64_C(1000) + tag);
    size_t size = size_of(i, tag);
    for (size_t at = 0; at < size; at++)
        bytes[at] = (uint8_t)random_next(&random);
    return slice(bytes, size);
}

static void add(struct batch *batch, unsigned i, unsigned tag)
{
    static uint8_t bytes[70000];
    char text[64];
    plsm_slice key = key_of(i, text), rest = slice((const uint8_t *)key.data + 1, key.size - 1);
    plsm_slice value = value_of(i, tag, bytes), meta = slice("meta", i % 5);
    plsm_status status = i % 7 ? batch_add(batch, BATCH_PUT, 1, rest, meta, value)
                               : batch_add_timed(batch, BATCH_PUT, 1, rest, meta, value, UINT64_C(1) << 40);
    ck_assert_int_eq(status, PLSM_OK);
}

/* Keys [first, end) get values of a tag, so many in one batch. */
static void fill(struct lsm *db, unsigned first, unsigned end, unsigned tag, unsigned together)
{
    struct batch batch = {0};
    for (unsigned i = first; i < end; i++) {
        add(&batch, i, tag);
        if (batch.count < together && i + 1 < end)
            continue;
        ck_assert_msg(lsm_write(db, &batch, NULL, NULL, false) == PLSM_OK, "%s", plsm_message());
        batch_clear(&batch);
    }
    batch_free(&batch);
}

static void expect(plsm_slice key, unsigned i, unsigned tag, plsm_slice meta, plsm_slice value)
{
    static uint8_t bytes[70000];
    char text[64];
    ck_assert(slice_equal(key, key_of(i, text)));
    ck_assert_uint_eq(meta.size, i % 5);
    ck_assert(slice_equal(value, value_of(i, tag, bytes)));
}

/* All keys have the value of their tag: by gets, pinned, together, and walking both ways. */
static void expect_all(struct lsm *db, const struct lsm_snapshot *snapshot, const unsigned *tags)
{
    static struct lsm_value values[KEYS];
    static char texts[KEYS][64];
    plsm_slice keys[KEYS];
    plsm_status statuses[KEYS];
    struct lsm_iterator *it = NULL;
    struct lsm_pin pin;
    for (unsigned i = 0; i < KEYS; i++) {
        keys[i] = key_of(i, texts[i]);
        ck_assert_msg(lsm_get(db, snapshot, keys[i], false, &values[i]) == PLSM_OK, "%u: %s", i, plsm_message());
        expect(keys[i], i, tags[i], values[i].meta, values[i].value);
        ck_assert_uint_eq(values[i].expires_s, i % 7 ? 0 : UINT64_C(1) << 40);
        ck_assert_msg(lsm_get_pinned(db, snapshot, keys[i], &pin) == PLSM_OK, "%s", plsm_message());
        expect(keys[i], i, tags[i], pin.meta, pin.value);
        lsm_pin_release(db, &pin);
        ck_assert_int_eq(lsm_get(db, snapshot, keys[i], true, &values[i]), PLSM_OK);
        ck_assert_uint_eq(values[i].value.size, 0);
        ck_assert_uint_eq(values[i].value_size, size_of(i, tags[i]));
    }
    ck_assert_msg(lsm_multi_get(db, snapshot, keys, KEYS, false, values, statuses) == PLSM_OK, "%s", plsm_message());
    for (unsigned i = 0; i < KEYS; i++)
        expect(keys[i], i, tags[i], values[i].meta, values[i].value);
    ck_assert_int_eq(lsm_iterator_create(db, snapshot, (plsm_slice){0}, (plsm_slice){0}, &it), PLSM_OK);
    lsm_iterator_first(it);
    for (unsigned i = 0; i < KEYS; i++, lsm_iterator_next(it)) {
        ck_assert_msg(lsm_iterator_valid(it), "%s", plsm_message());
        expect(lsm_iterator_entry(it)->key, i, tags[i], lsm_iterator_entry(it)->meta, lsm_iterator_entry(it)->value);
    }
    lsm_iterator_last(it);
    for (unsigned i = KEYS; i-- > 0; lsm_iterator_previous(it))
        expect(lsm_iterator_entry(it)->key, i, tags[i], lsm_iterator_entry(it)->meta, lsm_iterator_entry(it)->value);
    lsm_iterator_destroy(it);
    ck_assert_int_eq(lsm_iterator_create_no_value(db, snapshot, (plsm_slice){0}, (plsm_slice){0}, &it), PLSM_OK);
    lsm_iterator_first(it);
    for (unsigned i = 0; i < KEYS; i++, lsm_iterator_next(it))
        ck_assert_uint_eq(lsm_iterator_entry(it)->value.size, size_of(i, tags[i]));
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

static void check(struct lsm *db)
{
    ck_assert_int_eq(lsm_check(db, print_problem, NULL, NULL), PLSM_OK);
}

static void flush(struct lsm *db)
{
    ck_assert_msg(lsm_flush(db) == PLSM_OK, "%s", plsm_message());
}

static void reopen(struct lsm **db, struct lsm_options *o)
{
    ck_assert_msg(lsm_close(*db) == PLSM_OK, "%s", plsm_message());
    o->create = false;
    *db = open_tree(o);
}

struct names {
    unsigned logs, values;
};

static void count_name(void *arg, const char *name)
{
    struct names *names = arg;
    names->logs += strncmp(name, "log-", 4) == 0 && !strstr(name, ".tmp"); /* without the spare one */
    names->values += strncmp(name, "values-", 7) == 0;
}

static struct names count_names(void)
{
    struct names names = {0};
    ck_assert_int_eq(env_list(env, "/t", count_name, &names), PLSM_OK);
    return names;
}

static void set_tags(unsigned *tags, unsigned first, unsigned end, unsigned tag)
{
    for (unsigned i = first; i < end; i++)
        tags[i] = tag;
}

/* Bytes of values of these keys that stay in the log. */
static uint64_t kept_bytes(unsigned first, unsigned end, unsigned tag)
{
    uint64_t bytes = 0;
    for (unsigned i = first; i < end; i++)
        bytes += size_of(i, tag) >= KEPT ? size_of(i, tag) : 0;
    return bytes;
}

/* --- policies ----------------------------------------------------------------------------------------------------- */

START_TEST(policies)
{
    const struct {
        uint64_t separate_above;
        enum codec codec;
        size_t above;
    } above[] = {{4 << 10, CODEC_NONE, 64 << 10},
                 {1, CODEC_NONE, 16},
                 {16, CODEC_NONE, 256},
                 {32 << 10, CODEC_NONE, 64 << 10},
                 {64 << 10, CODEC_NONE, 64 << 10},
                 {65 << 10, CODEC_NONE, 65 << 10},
                 {1 << 20, CODEC_NONE, 1 << 20},
                 {0, CODEC_NONE, SIZE_MAX},
                 {4 << 10, CODEC_LZ4, SIZE_MAX}};
    for (size_t i = 0; i < sizeof above / sizeof *above; i++) {
        struct lsm_options o;
        lsm_options_default(&o);
        o.separate_above = above[i].separate_above;
        o.groups[LSM_GROUP_LAST].codec = above[i].codec;
        ck_assert_msg(kept_above(&o) == above[i].above, "line %zu: %zu", i, kept_above(&o));
    }
    const struct {
        uint64_t live, bytes;
        uint32_t ppm;
        bool worth;
    } worth[] = {
        {80, 100, 200000, true},   {79, 100, 200000, false},  {50, 100, 1000000, true},
        {49, 100, 1000000, false}, {100, 100, 0, true},       {99, 100, 0, false},
        {0, 0, 500000, true},      {101, 100, 500000, false}, {UINT64_C(3) << 40, UINT64_C(4) << 40, 250000, true}};
    for (size_t i = 0; i < sizeof worth / sizeof *worth; i++)
        ck_assert_msg(kept_is_worth(worth[i].live, worth[i].bytes, worth[i].ppm) == worth[i].worth, "line %zu", i);
}
END_TEST

/* --- in a store --------------------------------------------------------------------------------------------------- */

/* Written one by one and together, read from memory, from runs, and after each way to open the store. */
START_TEST(written_once)
{
    unsigned tags[KEYS] = {0};
    const unsigned together[] = {1, 3, KEYS};
    env = env_memory_create(1);
    struct lsm_options o = options();
    struct lsm *db = open_tree(&o);
    fill(db, 0, KEYS, 0, together[_i]);
    expect_all(db, NULL, tags);
    ck_assert_double_eq(statistic(db, "values.kept_bytes"), (double)kept_bytes(0, KEYS, 0));
    ck_assert_double_lt(statistic(db, "lsm.memtable_bytes"), (double)kept_bytes(0, KEYS, 0) / 4);
    flush(db);
    expect_all(db, NULL, tags);
    check(db);
    ck_assert_double_lt(statistic(db, "lsm.write_amplification"), 1.2);
    ck_assert_double_eq(statistic(db, "values.files"), 2); /* the log, and what is too small to stay in it */
    ck_assert_double_lt(statistic(db, "values.garbage_bytes"), statistic(db, "values.bytes") * 0.05);
    struct names names = count_names();
    ck_assert(names.logs == 1 && names.values == 2);
    reopen(&db, &o);
    expect_all(db, NULL, tags);
    check(db);
    fill(db, 10, 50, 1, together[_i]); /* stays in the log at the close, since it is little */
    set_tags(tags, 10, 50, 1);
    reopen(&db, &o);
    expect_all(db, NULL, tags);
    flush(db);
    expect_all(db, NULL, tags);
    ck_assert_int_eq(lsm_compact(db, (plsm_slice){0}, (plsm_slice){0}), PLSM_OK);
    expect_all(db, NULL, tags);
    check(db);
    ck_assert_int_eq(lsm_close(db), PLSM_OK);
    env_memory_destroy(env);
}
END_TEST

/* Many in the log at the close make it a value log: the next opening neither reads nor writes them again. */
START_TEST(closed_with_many)
{
    unsigned tags[KEYS] = {0};
    env = env_memory_create(8);
    struct lsm_options o = options();
    o.buffer_size = 4 << 20;
    struct lsm *db = open_tree(&o);
    fill(db, 0, KEYS, 0, 1);
    ck_assert_double_lt(statistic(db, "lsm.memtable_bytes"), (double)(o.buffer_size / 8));
    reopen(&db, &o);
    ck_assert_double_eq(statistic(db, "lsm.flush_bytes"), 0);
    ck_assert_double_ge(statistic(db, "values.bytes"), (double)kept_bytes(0, KEYS, 0));
    expect_all(db, NULL, tags);
    check(db);
    ck_assert_int_eq(lsm_close(db), PLSM_OK);
    env_memory_destroy(env);
}
END_TEST

/* The MANIFEST may name a log as a value log although closing was told that it could not be synced: the log has the
 * length that it says, whatever closing does with it afterwards. */
START_TEST(closing_fails)
{
    unsigned tags[KEYS] = {0};
    bool fired = true;
    for (unsigned nth = 1; fired; nth++) {
        struct env *memory = env_memory_create(1);
        env = env_fault_create(memory);
        struct lsm_options o = options();
        o.buffer_size = 4 << 20;
        struct lsm *db = open_tree(&o);
        fill(db, 0, KEYS, 0, KEYS);
        env_fault_arm(env, ENV_CALL_SYNC, nth, ENV_FAULT_IO, false);
        (void)lsm_close(db); /* may tell of the failure */
        fired = env_fault_fired(env);
        env_fault_disarm(env);
        ck_assert(fired || nth > 3);
        o.create = false;
        db = open_tree(&o);
        expect_all(db, NULL, tags);
        check(db);
        ck_assert_int_eq(lsm_close(db), PLSM_OK);
        env_fault_destroy(env);
        env_memory_destroy(memory);
    }
}
END_TEST

/* Views that were there before a flush go on reading from the log, which is there until they end. */
START_TEST(older_views)
{
    unsigned tags[KEYS] = {0}, newer[KEYS];
    env = env_memory_create(2);
    struct lsm_options o = options();
    struct lsm *db = open_tree(&o);
    struct lsm_iterator *it = NULL;
    fill(db, 0, KEYS, 0, 1);
    struct lsm_snapshot *snapshot = lsm_snapshot_create(db);
    ck_assert_int_eq(lsm_iterator_create(db, NULL, (plsm_slice){0}, (plsm_slice){0}, &it), PLSM_OK);
    fill(db, 0, KEYS, 1, 2);
    set_tags(newer, 0, KEYS, 1);
    expect_all(db, NULL, newer);
    expect_all(db, snapshot, tags);
    for (unsigned turn = 0; turn < 3; turn++) {
        flush(db);
        ck_assert_int_eq(lsm_compact(db, (plsm_slice){0}, (plsm_slice){0}), PLSM_OK);
        expect_all(db, NULL, newer);
        expect_all(db, snapshot, tags);
        fill(db, 0, KEYS, 2 + turn, 5);
        set_tags(newer, 0, KEYS, 2 + turn);
    }
    lsm_iterator_first(it);
    for (unsigned i = 0; i < KEYS; i++, lsm_iterator_next(it)) {
        ck_assert_msg(lsm_iterator_valid(it), "%s", plsm_message());
        expect(lsm_iterator_entry(it)->key, i, 0, lsm_iterator_entry(it)->meta, lsm_iterator_entry(it)->value);
    }
    unsigned logs = count_names().logs;
    ck_assert_uint_gt(logs, 1);
    lsm_iterator_destroy(it);
    lsm_snapshot_destroy(db, snapshot);
    flush(db);
    flush(db);
    ck_assert_uint_lt(count_names().logs, logs);
    expect_all(db, NULL, newer);
    check(db);
    ck_assert_int_eq(lsm_close(db), PLSM_OK);
    env_memory_destroy(env);
}
END_TEST

/* A log of which most is overwritten, or small, is not kept: what lives of it is copied. What is deleted before it is
 * flushed leaves no file. */
START_TEST(not_worth_it)
{
    unsigned tags[KEYS] = {0};
    env = env_memory_create(3);
    struct lsm_options o = options();
    struct lsm *db = open_tree(&o);
    for (unsigned tag = 0; tag < 4; tag++)
        fill(db, 0, KEYS, tag, 1);
    set_tags(tags, 0, KEYS, 3);
    flush(db);
    ck_assert_double_ge(statistic(db, "values.files"), 1);
    ck_assert_double_eq(statistic(db, "values.garbage_bytes"), 0);
    expect_all(db, NULL, tags);
    check(db);
    struct batch batch = {0};
    fill(db, 0, KEYS, 4, 1);
    ck_assert_int_eq(batch_add(&batch, BATCH_DELETE_RANGE, 1, slice("key", 3), (plsm_slice){0}, slice("\1kez", 4)),
                     PLSM_OK);
    ck_assert_int_eq(lsm_write(db, &batch, NULL, NULL, false), PLSM_OK);
    batch_free(&batch);
    flush(db);
    ck_assert_int_eq(lsm_compact(db, (plsm_slice){0}, (plsm_slice){0}), PLSM_OK);
    flush(db);
    ck_assert_double_eq(statistic(db, "values.files"), 0);
    ck_assert_uint_eq(count_names().values, 0);
    ck_assert_int_eq(lsm_close(db), PLSM_OK);
    env_memory_destroy(env);
}
END_TEST

/* Garbage in a log that became a value log is collected as in any other. */
START_TEST(collected)
{
    unsigned tags[KEYS] = {0};
    env = env_memory_create(4);
    struct lsm_options o = options();
    struct lsm *db = open_tree(&o);
    fill(db, 0, KEYS, 0, 1);
    flush(db);
    double bytes = statistic(db, "values.bytes");
    for (unsigned tag = 8; tag <= 24; tag += 8) { /* of the same sizes */
        fill(db, 0, KEYS * 3 / 4, tag, 4);
        set_tags(tags, 0, KEYS * 3 / 4, tag);
        flush(db);
        ck_assert_int_eq(lsm_compact(db, (plsm_slice){0}, (plsm_slice){0}), PLSM_OK);
        flush(db);
    }
    fill(db, 0, 1, 32, 1);
    set_tags(tags, 0, 1, 32);
    flush(db);
    ck_assert_double_gt(statistic(db, "values.rewritten_bytes"), bytes * 0.2);
    ck_assert_double_lt(statistic(db, "values.bytes"), bytes * 1.7);
    expect_all(db, NULL, tags);
    check(db);
    ck_assert_int_eq(lsm_close(db), PLSM_OK);
    env_memory_destroy(env);
}
END_TEST

/* Where no file can have a second name. */
START_TEST(without_links)
{
    unsigned tags[KEYS] = {0};
    struct env *memory = env_memory_create(5);
    env = env_fault_create(memory);
    struct lsm_options o = options();
    struct lsm *db = open_tree(&o);
    fill(db, 0, KEYS, 0, 1);
    env_fault_arm(env, ENV_CALL_RENAME, 1, ENV_FAULT_IO, false); /* links are counted with renames */
    flush(db);
    ck_assert(env_fault_fired(env));
    env_fault_disarm(env);
    expect_all(db, NULL, tags);
    check(db);
    ck_assert_double_gt(statistic(db, "lsm.write_amplification"), 1.9);
    ck_assert_double_eq(statistic(db, "values.garbage_bytes"), 0);
    ck_assert_int_eq(lsm_close(db), PLSM_OK);
    env_fault_destroy(env);
    env_memory_destroy(memory);
}
END_TEST

/* Beside the writer: what a reader sees points into logs that are written, and flushed, meanwhile. */
START_TEST(reader_beside)
{
    unsigned tags[KEYS] = {0}, newer[KEYS];
    env = env_memory_create(6);
    struct lsm_options o = options(), read = options();
    struct lsm *db = open_tree(&o);
    read.read_only = true;
    read.create = false;
    fill(db, 0, KEYS / 2, 0, 1);
    flush(db);
    fill(db, KEYS / 2, KEYS, 0, 3);
    struct lsm *reader = open_tree(&read);
    expect_all(reader, NULL, tags);
    ck_assert_double_lt(statistic(reader, "lsm.memtable_bytes"), (double)kept_bytes(KEYS / 2, KEYS, 0) / 4);
    fill(db, 0, KEYS, 1, 1);
    set_tags(newer, 0, KEYS, 1);
    expect_all(reader, NULL, tags);
    struct lsm *second = open_tree(&read);
    flush(db);
    ck_assert_int_eq(lsm_compact(db, (plsm_slice){0}, (plsm_slice){0}), PLSM_OK);
    flush(db);
    expect_all(reader, NULL, tags);
    expect_all(second, NULL, newer);
    expect_all(db, NULL, newer);
    ck_assert_int_eq(lsm_close(reader), PLSM_OK);
    ck_assert_int_eq(lsm_close(second), PLSM_OK);
    ck_assert_int_eq(lsm_close(db), PLSM_OK);
    env_memory_destroy(env);
}
END_TEST

/* A byte of a value is damaged: an error that names the file, from the memtable and from a run; never wrong bytes. */
START_TEST(damage)
{
    char text[64], path[64];
    struct lsm_value value = {0};
    env = env_memory_create(7);
    struct lsm_options o = options();
    struct lsm *db = open_tree(&o);
    unsigned key = 7; /* its value is the largest */
    fill(db, key, key + 1, 0, 1);
    for (int flushed = 0; flushed < 2; flushed++) {
        uint8_t *data = NULL;
        size_t size = 0;
        unsigned number = 0;
        do
            snprintf(path, sizeof path, flushed ? "/t/values-%08u" : "/t/log-%08u", ++number);
        while (env_memory_content(env, path, &data, &size) != PLSM_OK);
        ck_assert_uint_gt(size, 70000);
        data[35000] ^= 1;
        ck_assert_int_eq(lsm_get(db, NULL, key_of(key, text), false, &value), PLSM_CORRUPT);
        ck_assert_ptr_nonnull(strstr(plsm_message(), path));
        data[35000] ^= 1;
        ck_assert_int_eq(lsm_get(db, NULL, key_of(key, text), false, &value), PLSM_OK);
        flush(db);
    }
    lsm_value_free(&value);
    ck_assert_int_eq(lsm_close(db), PLSM_OK);
    env_memory_destroy(env);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("kept");
    TCase *tests = tcase_create("kept");
    tcase_set_timeout(tests, 120);
    tcase_add_test(tests, policies);
    tcase_add_loop_test(tests, written_once, 0, 3);
    tcase_add_test(tests, closed_with_many);
    tcase_add_test(tests, closing_fails);
    tcase_add_test(tests, older_views);
    tcase_add_test(tests, not_worth_it);
    tcase_add_test(tests, collected);
    tcase_add_test(tests, without_links);
    tcase_add_test(tests, reader_beside);
    tcase_add_test(tests, damage);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
