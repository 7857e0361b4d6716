#include "store_fixture.h"

#include <stdio.h>

#include "base/alloc.h"
#include "base/random.h"

#include "base/banned.h"

const struct test_engine *fixture_engine = &test_engines[0];

bool fixture_is_tree(void)
{
    return fixture_engine == &test_engines[0];
}

const char *fixture_options(const char *more)
{
    static char texts[8][512];
    static unsigned turn;
    char *text = texts[turn++ % 8];
    snprintf(text, sizeof texts[0], "%s%s%s", fixture_engine->options, more ? "," : "", more ? more : "");
    return text;
}

plsm *fixture_open(struct env *env, plsm_open_flags flags, const char *options)
{
    plsm *db = NULL;
    assert_ok(plsm_open_env(env, "/s", flags, options ? options : fixture_options(NULL), &db));
    return db;
}

void fixture_put(plsm *db, const char *key, const char *value)
{
    assert_ok(plsm_put(db, slice_of(key), slice_of(value), PLSM_NONE));
}

void fixture_expect(plsm *db, const char *key, const char *value)
{
    fixture_expect_at(db, NULL, key, value);
}

void fixture_expect_at(plsm *db, const plsm_snapshot *snapshot, const char *key, const char *value)
{
    plsm_read_options options = {.snapshot = snapshot};
    plsm_value found = {0};
    plsm_status status = plsm_get(db, &options, slice_of(key), &found);
    if (!value) {
        ck_assert_msg(status == PLSM_NOT_FOUND, "%s: %s", key, plsm_status_name(status));
    } else {
        ck_assert_msg(status == PLSM_OK, "%s: %s: %s", key, plsm_status_name(status), plsm_message());
        ck_assert_msg(slice_equal(found.value, slice_of(value)), "%s: %.*s instead of %s", key, (int)found.value.size,
                      (const char *)found.value.data, value);
        ck_assert_uint_eq(found.size, strlen(value));
    }
    plsm_value_free(&found);
}

static uint64_t count_if(plsm *db, plsm_keyspace keyspace, bool markers_only)
{
    plsm_read_options options = {.keyspace = keyspace};
    plsm_iterator *it = NULL;
    uint64_t count = 0;
    assert_ok(plsm_iterator_create(db, &options, slice(NULL, 0), slice(NULL, 0), &it));
    for (plsm_iterator_first(it); plsm_iterator_valid(it); plsm_iterator_next(it)) {
        plsm_slice key = plsm_iterator_key(it);
        const char *bytes = key.data;
        count += !markers_only || (bytes[0] == INTERNAL_PREFIX && !slice_equal(key, slice("\0id", 3)));
    }
    assert_ok(plsm_iterator_status(it));
    plsm_iterator_destroy(it);
    return count;
}

uint64_t fixture_count(plsm *db, plsm_keyspace keyspace)
{
    return count_if(db, keyspace, false);
}

uint64_t fixture_markers(plsm *db)
{
    return count_if(db, PLSM_INTERNAL, true);
}

static void print_line(void *arg, const char *line)
{
    (void)arg;
    fprintf(stderr, "check: %s\n", line);
}

void fixture_check(plsm *db)
{
    assert_ok(plsm_check(db, print_line, NULL, NULL));
}

uint8_t *fixture_read(plsm *db, const plsm_read_options *options, const char *key, size_t *size)
{
    plsm_value found = {0};
    plsm_status status = plsm_get(db, options, slice_of(key), &found);
    *size = (size_t)found.size;
    plsm_value_free(&found);
    if (status == PLSM_NOT_FOUND)
        return NULL;
    assert_ok(status);
    uint8_t *data = mem_alloc(*size + 1);
    ck_assert_ptr_nonnull(data);
    size_t done = 0, got = 1;
    while (got > 0) {
        size_t part = 300007 < *size + 1 - done ? 300007 : *size + 1 - done;
        assert_ok(plsm_read(db, options, slice_of(key), done, data + done, part, &got));
        done += got;
        if (done > *size)
            break;
    }
    ck_assert_uint_eq(done, *size);
    return data;
}

void fixture_fill(uint8_t *data, size_t size, uint64_t seed)
{
    struct random random;
    random_seed(&random, seed);
    for (size_t i = 0; i < size; i += 8) {
        uint64_t word = random_next(&random);
        memcpy(data + i, &word, size - i < 8 ? size - i : 8);
    }
}

static int run_suite(const char *name, const TTest *const *tests, size_t count)
{
    Suite *suite = suite_create(name);
    TCase *cases = tcase_create(name);
    tcase_set_timeout(cases, 300);
    for (size_t i = 0; i < count; i++)
        tcase_add_test(cases, tests[i]);
    suite_add_tcase(suite, cases);
    SRunner *runner = srunner_create(suite);
    srunner_set_fork_status(runner, CK_NOFORK);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed;
}

int fixture_run(const char *name, const TTest *const *tests, size_t count)
{
    return run_suite(name, tests, count) != 0;
}

int fixture_run_engines(const char *name, const TTest *const *tests, size_t count)
{
    char label[64];
    int failed = 0;
    for (unsigned i = 0; i < TEST_ENGINES; i++) {
        if (!test_engine_wanted(&test_engines[i]))
            continue;
        fixture_engine = &test_engines[i];
        snprintf(label, sizeof label, "%s, %s", name, fixture_engine->name);
        failed += run_suite(label, tests, count);
    }
    return failed != 0;
}
