/* Values under a pin: they stay as they are while everything about them is overwritten, flushed, compacted and evicted,
 * and a budget takes the cache's memory away. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/random.h"
#include "tests/harness/store_fixture.h"

#include "base/banned.h"

enum { KEYS = 800, PINS = 60, ROUNDS = 12000, BIG = 9000 };

static const char *const sets[] = {"index=learned",
                                   "index=traditional,memory=1M",
                                   "index=classic,cache_size=64K",
                                   "index=learned,cache_size=0",
                                   "index=learned,compression=lz4,compression_page=8K",
                                   "index=learned,memory=2M"};

struct held {
    plsm_pin pin;
    unsigned key;
    uint64_t version; /* 0: no pin */
};

static plsm_slice key_of(unsigned number, char *text)
{
    return slice(text, (size_t)snprintf(text, 32, "key/%06u", number));
}

/* Sizes around that of a page; the content tells key and version apart. */
static size_t value_of(unsigned number, uint64_t version, uint8_t *out)
{
    size_t size = number % 17 == 0 ? BIG : 20 + number * 7 % 300;
    fixture_fill(out, size, number * UINT64_C(1000003) + version);
    return size;
}

static void check_pin(const struct held *held)
{
    static uint8_t expected[BIG];
    size_t size = value_of(held->key, held->version, expected);
    ck_assert(!held->pin.large && held->pin.size == size);
    if (!slice_equal(held->pin.value, slice(expected, size)))
        ck_abort_msg("key %u, version %lu: the value under a pin changed", held->key, (unsigned long)held->version);
}

START_TEST(stay_as_they_are)
{
    static struct held pins[PINS];
    static uint64_t versions[KEYS];
    static uint8_t value[BIG];
    char options[300], text[32];
    struct random random;
    struct env *env = env_memory_create(1);
    int others = (int)(sizeof sets / sizeof sets[0]);
    fixture_engine = &test_engines[_i < others ? 0 : _i - others + 1];
    snprintf(options, sizeof options, "%s%s%s", fixture_engine->options, _i < others ? "," : "",
             _i < others ? sets[_i] : "");
    plsm *db = fixture_open(env, PLSM_CREATE, options);
    random_seed(&random, 7 + (uint64_t)_i);
    memset(pins, 0, sizeof pins);
    memset(versions, 0, sizeof versions);
    for (unsigned round = 1; round <= ROUNDS; round++) {
        unsigned number = (unsigned)random_below(&random, KEYS);
        struct held *held = &pins[random_below(&random, PINS)];
        if (random_below(&random, 3) == 0) {
            size_t size = value_of(number, round, value);
            assert_ok(plsm_put(db, key_of(number, text), slice(value, size), PLSM_NONE));
            versions[number] = round;
            continue;
        }
        if (held->version)
            check_pin(held);
        plsm_pin_release(db, &held->pin);
        *held = (struct held){.key = number, .version = versions[number]};
        assert_status(plsm_get_pinned(db, NULL, key_of(number, text), &held->pin),
                      held->version ? PLSM_OK : PLSM_NOT_FOUND);
        if (held->version)
            check_pin(held);
        if (round % 3000 == 0)
            assert_ok(plsm_compact(db, (plsm_slice){0}, (plsm_slice){0}));
    }
    for (unsigned i = 0; i < PINS; i++) {
        if (pins[i].version)
            check_pin(&pins[i]);
        plsm_pin_release(db, &pins[i].pin);
        plsm_pin_release(db, &pins[i].pin);
    }
    assert_ok(plsm_close(db));
    env_memory_destroy(env);
}
END_TEST

/* Large values are told as plsm_get tells them; what is not there, deleted or not allowed holds nothing; snapshots see
 * their moment. */
START_TEST(as_get)
{
    struct env *env = env_memory_create(1);
    fixture_engine = &test_engines[_i];
    plsm *db = fixture_open(env, PLSM_CREATE, NULL);
    plsm_pin pin;
    size_t size = PLSM_INLINE_MAX + 1;
    uint8_t *large = mem_zalloc(size);
    assert_ok(plsm_put(db, slice_of("large"), slice(large, size), PLSM_NONE));
    fixture_put(db, "small", "old");
    plsm_snapshot *snapshot = plsm_snapshot_create(db);
    plsm_read_options options = {.snapshot = snapshot};
    fixture_put(db, "small", "new");
    assert_ok(plsm_delete(db, slice_of("gone"), PLSM_NONE));
    assert_ok(plsm_get_pinned(db, NULL, slice_of("large"), &pin));
    ck_assert(pin.large && pin.size == size && pin.value.size == 0);
    plsm_pin_release(db, &pin);
    assert_ok(plsm_get_pinned(db, &options, slice_of("small"), &pin));
    ck_assert(slice_equal(pin.value, slice_of("old")));
    plsm_pin_release(db, &pin);
    assert_ok(plsm_get_pinned(db, NULL, slice_of("small"), &pin));
    ck_assert(slice_equal(pin.value, slice_of("new")));
    plsm_pin_release(db, &pin);
    assert_status(plsm_get_pinned(db, NULL, slice_of("gone"), &pin), PLSM_NOT_FOUND);
    plsm_pin_release(db, &pin);
    assert_status(plsm_get_pinned(db, NULL, (plsm_slice){0}, &pin), PLSM_INVALID);
    plsm_pin_release(db, &pin);
    plsm_snapshot_destroy(db, snapshot);
    assert_ok(plsm_close(db));
    mem_free(large);
    env_memory_destroy(env);
}
END_TEST

/* In the common case nothing is allocated. */
START_TEST(allocate_nothing)
{
    struct env *env = env_memory_create(1);
    fixture_engine = &test_engines[0];
    plsm *db = fixture_open(env, PLSM_CREATE, NULL);
    plsm_pin pin;
    fixture_put(db, "key", "value");
    for (unsigned flushed = 0; flushed < 2; flushed++) {
        assert_ok(plsm_get_pinned(db, NULL, slice_of("key"), &pin)); /* loads what must be */
        plsm_pin_release(db, &pin);
        mem_fail_at(0);
        assert_ok(plsm_get_pinned(db, NULL, slice_of("key"), &pin));
        ck_assert(slice_equal(pin.value, slice_of("value")));
        plsm_pin_release(db, &pin);
        ck_assert_uint_eq(mem_count(), 0);
        assert_ok(plsm_flush(db));
    }
    assert_ok(plsm_close(db));
    db = fixture_open(env, 0, FIXTURE_OPTIONS ",cache_size=0");
    assert_ok(plsm_get_pinned(db, NULL, slice_of("key"), &pin));
    plsm_pin_release(db, &pin);
    mem_fail_at(1); /* the copy */
    assert_status(plsm_get_pinned(db, NULL, slice_of("key"), &pin), PLSM_NO_MEMORY);
    plsm_pin_release(db, &pin);
    mem_fail_at(0);
    assert_ok(plsm_close(db));
    env_memory_destroy(env);
}
END_TEST

static void remove_one(void *directory, const char *name)
{
    char path[400];
    snprintf(path, sizeof path, "%s/%s", (const char *)directory, name);
    unlink(path);
}

/* The file that a pin points into is cut short. Public functions, on a real file system. */
START_TEST(know_of_a_lost_page)
{
    char directory[] = "/tmp/plsm-pins-XXXXXX", path[64];
    plsm *db = NULL;
    plsm_pin pin;
    plsm_value found = {0};
    signal(SIGBUS, SIG_DFL); /* sanitizers handle it */
    plsm_catch_lost_pages();
    ck_assert_ptr_nonnull(mkdtemp(directory));
    assert_ok(plsm_open(directory, PLSM_CREATE, "engine=appendlog", &db));
    fixture_put(db, "key", "value");
    assert_ok(plsm_get_pinned(db, NULL, slice_of("key"), &pin));
    ck_assert(slice_equal(pin.value, slice_of("value")));
    ck_assert(!plsm_pin_lost(db, &pin));
    snprintf(path, sizeof path, "%s/segment-000001", directory);
    ck_assert_int_eq(truncate(path, 0), 0);
    ck_assert_int_eq(*(const volatile char *)pin.value.data, 0);
    ck_assert(plsm_pin_lost(db, &pin));
    plsm_pin_release(db, &pin);
    ck_assert(!plsm_pin_lost(db, &pin));
    assert_status(plsm_get(db, NULL, slice_of("key"), &found), PLSM_CORRUPT);
    plsm_value_free(&found);
    plsm_close(db);
    env_list(env_posix(), directory, remove_one, directory);
    ck_assert_int_eq(rmdir(directory), 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("pins");
    TCase *tcase = tcase_create("pins");
    tcase_set_timeout(tcase, 300);
    tcase_add_loop_test(tcase, stay_as_they_are, 0, (int)(sizeof sets / sizeof sets[0] + TEST_ENGINES) - 1);
    tcase_add_loop_test(tcase, as_get, 0, (int)TEST_ENGINES);
    tcase_add_test(tcase, allocate_nothing);
    tcase_add_test(tcase, know_of_a_lost_page);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_set_fork_status(runner, CK_NOFORK);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
