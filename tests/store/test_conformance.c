/* Every promise of plsm.h that is not tested by itself elsewhere, on every engine: opening, reading, limits, ranges,
 * snapshots and iterators under change, what an engine may lack. Elsewhere, on every engine too: batches (test_batch),
 * bounds and readers (test_iterator), edits (test_edit*), links, expiry, pins, identifiers, checkpoints, threads. */
#include "../harness/store_fixture.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/random.h"

#include "base/banned.h"

static const plsm_slice none;
static struct env *env;
static plsm *db;

static void start(void)
{
    env = env_memory_create(1);
    db = fixture_open(env, PLSM_CREATE, NULL);
}

static void stop(void)
{
    fixture_check(db);
    assert_ok(plsm_close(db));
    env_memory_destroy(env);
}

static void reopen(void)
{
    assert_ok(plsm_close(db));
    db = fixture_open(env, 0, NULL);
}

static void compact(void)
{
    assert_ok(plsm_compact(db, none, none));
}

/* Where entries are: in memory; in files; compacted; opened again. */
enum { STAGES = 4 };
static void settle(unsigned stage)
{
    if (stage == 1)
        assert_ok(plsm_flush(db));
    if (stage == 2)
        compact();
    if (stage == 3)
        reopen();
}

/* --- opening ------------------------------------------------------------------------------------------------------ */

static plsm_status open_with(plsm_open_flags flags, const char *more, plsm **out)
{
    return plsm_open_env(env, "/s", flags, fixture_options(more), out);
}

START_TEST(opening)
{
    plsm *second = NULL;
    plsm_abilities abilities;
    env = env_memory_create(1);
    assert_status(open_with(0, NULL, &db), PLSM_NO_STORE);
    assert_status(open_with(PLSM_READ, NULL, &db), PLSM_NO_STORE);
    assert_status(open_with(PLSM_CREATE, "colour=red", &db), PLSM_INVALID);
    assert_status(open_with(PLSM_CREATE | PLSM_READ, NULL, &db), PLSM_INVALID);
    assert_status(open_with(PLSM_EXCLUSIVE, NULL, &db), PLSM_INVALID);
    ck_assert_uint_eq(env_memory_calls(env), 0); /* nothing was touched */
    assert_ok(open_with(PLSM_CREATE | PLSM_EXCLUSIVE, NULL, &db));
    assert_status(open_with(0, NULL, &second), PLSM_LOCKED);
    assert_status(open_with(PLSM_CREATE, NULL, &second), PLSM_LOCKED);
    plsm_get_abilities(db, &abilities);
    ck_assert_str_eq(abilities.engine, fixture_engine->name);
    ck_assert_uint_eq(abilities.key_size_max, PLSM_KEY_MAX);
    ck_assert_uint_eq(abilities.value_size_max, PLSM_VALUE_MAX);
    ck_assert(!abilities.read_only && abilities.atomic_batches);
    ck_assert_uint_eq(abilities.ttl_s, 0);
    assert_ok(plsm_close(db));
    assert_status(open_with(PLSM_CREATE | PLSM_EXCLUSIVE, NULL, &db), PLSM_EXISTS);
    assert_ok(open_with(PLSM_CREATE, "ttl=5", &db));
    plsm_get_abilities(db, &abilities);
    ck_assert_uint_eq(abilities.ttl_s, 5);
    assert_ok(plsm_close(db));
    assert_ok(plsm_open_env(env, "/s", 0, NULL, &db)); /* what it is, it says itself */
    plsm_get_abilities(db, &abilities);
    ck_assert_str_eq(abilities.engine, fixture_engine->name);
    assert_ok(plsm_close(db));
    for (unsigned i = 0; i < TEST_ENGINES; i++)
        if (&test_engines[i] != fixture_engine) {
            assert_status(plsm_open_env(env, "/s", PLSM_CREATE, test_engines[i].options, &db), PLSM_INVALID);
            ck_assert_ptr_nonnull(strstr(plsm_message(), "plsm convert"));
        }
    assert_ok(plsm_close(NULL));
    env_memory_destroy(env);
}
END_TEST

/* --- reading ------------------------------------------------------------------------------------------------------ */

/* Sizes around all that an engine may store in another way. */
static const uint32_t sizes[] = {0,    1,    2,    7,     127,   128,   255,   256,   1000,   4000,   4095,
                                 4096, 4097, 8191, 16384, 32767, 65535, 65536, 65537, 130000, 131071, PLSM_INLINE_MAX};
enum { SIZES = sizeof sizes / sizeof *sizes };

START_TEST(values_of_all_sizes)
{
    static uint8_t data[PLSM_INLINE_MAX + SIZES], part[PLSM_INLINE_MAX];
    char key[32];
    plsm_value found = {0};
    plsm_pin pin;
    size_t got = 0;
    start();
    fixture_fill(data, sizeof data, 3);
    for (unsigned round = 0; round < STAGES; round++) {
        for (unsigned i = 0; i < SIZES && round == 0; i++) {
            snprintf(key, sizeof key, "size %06u", sizes[i]);
            assert_ok(plsm_put(db, slice_of(key), slice(data + i, sizes[i]), PLSM_NONE));
        }
        settle(round);
        for (unsigned i = 0; i < SIZES; i++) {
            plsm_read_options no_value = {.no_value = true};
            plsm_slice expected = slice(data + i, sizes[i]);
            snprintf(key, sizeof key, "size %06u", sizes[i]);
            assert_ok(plsm_get(db, NULL, slice_of(key), &found));
            ck_assert(slice_equal(found.value, expected));
            ck_assert(found.size == sizes[i] && found.stored == sizes[i] && !found.large && found.names == 1);
            ck_assert(found.shared == 0 && found.expires_s == 0 && found.meta.size == 0);
            assert_ok(plsm_get(db, &no_value, slice_of(key), &found));
            ck_assert(found.value.size == 0 && found.size == sizes[i]);
            assert_ok(plsm_get_pinned(db, NULL, slice_of(key), &pin));
            ck_assert(slice_equal(pin.value, expected) && pin.size == sizes[i] && !pin.large);
            plsm_pin_release(db, &pin);
            for (uint64_t at = 0; at <= sizes[i] + 1u; at += 1 + sizes[i] / 3) {
                size_t left = at < sizes[i] ? sizes[i] - (size_t)at : 0;
                assert_ok(plsm_read(db, NULL, slice_of(key), at, part, 1000, &got));
                ck_assert_uint_eq(got, left < 1000 ? left : 1000);
                ck_assert_mem_eq(part, data + i + at, got);
            }
        }
    }
    assert_ok(plsm_put(db, slice_of("large"), slice(data, sizeof data), PLSM_NONE));
    assert_ok(plsm_get(db, NULL, slice_of("large"), &found));
    ck_assert(found.large && found.size == sizeof data && found.value.size == 0);
    assert_ok(plsm_read(db, NULL, slice_of("large"), sizeof data - 3, part, sizeof part, &got));
    ck_assert_uint_eq(got, 3);
    assert_ok(plsm_read(db, NULL, slice_of("large"), sizeof data + 3, part, sizeof part, &got));
    ck_assert_uint_eq(got, 0);
    plsm_value_free(&found);
    stop();
}
END_TEST

/* Keys of all sizes and bytes, each a prefix of the next or with the ends of the alphabet in it. */
START_TEST(keys_of_all_sizes)
{
    static uint8_t key[PLSM_KEY_MAX + 1];
    static const uint16_t lengths[] = {1, 2, 3, 127, 128, 254, 255, 256, 1000, 3499, 3500, 3501, 4096, 8191, 8192};
    static const uint8_t fills[] = {0, 1, '/', 0x7f, 0xff};
    plsm_value found = {0};
    start();
    for (unsigned round = 0; round < STAGES; round++) {
        for (unsigned f = 0; f < sizeof fills; f++) {
            memset(key, fills[f], sizeof key);
            for (unsigned i = 0; i < sizeof lengths / sizeof *lengths; i++) {
                plsm_slice name = slice(key, lengths[i]);
                uint16_t value = (uint16_t)(lengths[i] + f);
                if (round == 0)
                    assert_ok(plsm_put(db, name, slice(&value, sizeof value), PLSM_NONE));
                assert_ok(plsm_get(db, NULL, name, &found));
                ck_assert(slice_equal(found.value, slice(&value, sizeof value)));
                assert_status(plsm_get(db, NULL, slice(key, lengths[i] > 7000 ? 8000 : lengths[i] + 500u), &found),
                              PLSM_NOT_FOUND);
            }
        }
        settle(round);
    }
    plsm_iterator *it = NULL;
    unsigned count = 0, longest = 0;
    assert_ok(plsm_iterator_create(db, NULL, none, none, &it));
    uint8_t *last = mem_zalloc(PLSM_KEY_MAX);
    plsm_slice before = none;
    for (plsm_iterator_first(it); plsm_iterator_valid(it); plsm_iterator_next(it), count++) {
        plsm_slice now = plsm_iterator_key(it);
        ck_assert(slice_compare(before, now) < 0);
        memcpy(last, now.data, now.size);
        before = slice(last, now.size);
        longest += now.size == PLSM_KEY_MAX;
    }
    ck_assert_uint_eq(count, sizeof fills * (sizeof lengths / sizeof *lengths));
    ck_assert_uint_eq(longest, sizeof fills);
    plsm_iterator_destroy(it);
    mem_free(last);
    plsm_value_free(&found);
    stop();
}
END_TEST

START_TEST(many_at_once)
{
    enum { MANY = 400 };
    static char names[MANY][16];
    static uint8_t long_key[PLSM_KEY_MAX + 1];
    plsm_slice keys[MANY];
    static plsm_value values[MANY];
    static plsm_status statuses[MANY];
    start();
    for (unsigned i = 0; i < 300; i += 2) {
        snprintf(names[0], sizeof names[0], "k%04u", i);
        fixture_put(db, names[0], names[0]);
    }
    plsm_snapshot *snapshot = plsm_snapshot_create(db);
    plsm_read_options then = {.snapshot = snapshot};
    fixture_put(db, "k0000", "changed");
    memset(values, 0, sizeof values);
    for (unsigned round = 0; round < 3; round++) {
        settle(round);
        for (unsigned i = 0; i < MANY; i++) {
            snprintf(names[i], sizeof names[i], "k%04u", i * 7 % MANY); /* in no order, and some twice */
            keys[i] = slice_of(i % 50 == 49 ? "k0000" : names[i]);
        }
        keys[5] = none;
        keys[6] = slice(long_key, sizeof long_key);
        assert_status(plsm_multi_get(db, round == 1 ? &then : NULL, keys, MANY, values, statuses), PLSM_INVALID);
        for (unsigned i = 0; i < MANY; i++) {
            unsigned number = i % 50 == 49 ? 0 : i * 7 % MANY;
            plsm_status expected = i == 5   ? PLSM_INVALID
                                   : i == 6 ? PLSM_TOO_LARGE
                                            : (number < 300 && number % 2 == 0 ? PLSM_OK : PLSM_NOT_FOUND);
            ck_assert_int_eq(statuses[i], expected);
            if (expected == PLSM_OK)
                ck_assert(
                    slice_equal(values[i].value, number == 0 ? slice_of(round == 1 ? "k0000" : "changed") : keys[i]));
        }
        keys[5] = keys[6] = slice_of("k0002");
        assert_ok(plsm_multi_get(db, NULL, keys, MANY, values, statuses));
        assert_ok(plsm_multi_get(db, NULL, keys, 0, values, statuses));
    }
    for (unsigned i = 0; i < MANY; i++)
        plsm_value_free(&values[i]);
    plsm_snapshot_destroy(db, snapshot);
    stop();
}
END_TEST

static void expect_prefix(const plsm_snapshot *snapshot, const char *prefix, bool expected)
{
    bool has = !expected;
    plsm_read_options options = {.snapshot = snapshot};
    assert_ok(plsm_has_prefix(db, &options, slice_of(prefix), &has));
    ck_assert_msg(has == expected, "prefix \"%s\"", prefix);
}

START_TEST(prefixes)
{
    bool has = false;
    static uint8_t long_key[PLSM_KEY_MAX + 1];
    start();
    expect_prefix(NULL, "", false);
    fixture_put(db, "a/b/c", "1");
    fixture_put(db, "ab", "1");
    fixture_put(db, "d/", "");
    plsm_snapshot *before = plsm_snapshot_create(db);
    assert_ok(plsm_delete(db, slice_of("a/b/c"), PLSM_NONE));
    fixture_put(db, "e/f", "1");
    for (unsigned round = 0; round < 3; round++) {
        settle(round);
        static const char *const there[] = {"", "a", "ab", "d", "d/", "e", "e/", "e/f"};
        static const char *const absent[] = {"a/", "a/b", "a/b/c", "abc", "b", "d/x", "e/f/", "f", "\xff"};
        for (size_t i = 0; i < sizeof there / sizeof *there; i++)
            expect_prefix(NULL, there[i], true);
        for (size_t i = 0; i < sizeof absent / sizeof *absent; i++)
            expect_prefix(NULL, absent[i], false);
        expect_prefix(before, "a/b/", true);
        expect_prefix(before, "e", false);
    }
    assert_status(plsm_has_prefix(db, NULL, slice(long_key, sizeof long_key), &has), PLSM_TOO_LARGE);
    plsm_snapshot_destroy(db, before);
    stop();
}
END_TEST

/* --- against a model ---------------------------------------------------------------------------------------------- */

enum { UNIVERSE = 3000, STEPS = 12000, SEEN = 6 };

/* Values by key and version; 0: absent. */
static uint32_t versions[UNIVERSE];

static plsm_slice number_key(unsigned number, char text[24])
{
    return slice(text, (size_t)snprintf(text, 24, "%u/%04u", number % 7, number));
}

static unsigned number_of(plsm_slice key)
{
    char text[24] = "";
    memcpy(text, key.data, key.size < 23 ? key.size : 23);
    return (unsigned)strtoul(text + 2, NULL, 10);
}

static size_t version_value(unsigned number, uint32_t version, uint8_t out[2000])
{
    size_t size = (number * 31 + version * 17) % 61 == 0 ? 1900 : (number + version) % 120;
    fixture_fill(out, size, number * UINT64_C(1000003) + version);
    return size;
}

static void expect_version(const plsm_read_options *options, unsigned number, uint32_t version)
{
    uint8_t expected[2000];
    char text[24];
    plsm_value found = {0};
    plsm_status status = plsm_get(db, options, number_key(number, text), &found);
    if (version == 0) {
        ck_assert_msg(status == PLSM_NOT_FOUND, "key %s: %s", text, plsm_status_name(status));
    } else {
        ck_assert_msg(status == PLSM_OK, "key %s, version %u: %s", text, version, plsm_status_name(status));
        ck_assert(slice_equal(found.value, slice(expected, version_value(number, version, expected))));
    }
    plsm_value_free(&found);
}

/* The whole store, or a snapshot, forwards or backwards. */
static void expect_versions(const plsm_read_options *options, const uint32_t *all, bool backwards)
{
    unsigned count = 0, there = 0;
    plsm_iterator *it = NULL;
    assert_ok(plsm_iterator_create(db, options, none, none, &it));
    (backwards ? plsm_iterator_last : plsm_iterator_first)(it);
    while (plsm_iterator_valid(it)) {
        uint8_t expected[2000];
        unsigned number = number_of(plsm_iterator_key(it));
        ck_assert_uint_lt(number, UNIVERSE);
        ck_assert_uint_gt(all[number], 0);
        ck_assert(slice_equal(plsm_iterator_value(it), slice(expected, version_value(number, all[number], expected))));
        count++;
        (backwards ? plsm_iterator_previous : plsm_iterator_next)(it);
    }
    assert_ok(plsm_iterator_status(it));
    plsm_iterator_destroy(it);
    for (unsigned i = 0; i < UNIVERSE; i++)
        there += all[i] > 0;
    ck_assert_uint_eq(count, there);
}

/* Snapshots that are taken and dropped in any order see their moment, whatever is written, flushed and compacted. */
START_TEST(snapshots)
{
    static uint32_t then[SEEN][UNIVERSE];
    plsm_snapshot *handles[SEEN] = {0};
    uint8_t value[2000];
    char text[24], end[24];
    struct random random;
    random_seed(&random, 11);
    memset(versions, 0, sizeof versions);
    start();
    for (uint32_t step = 1; step <= STEPS; step++) {
        unsigned number = (unsigned)random_below(&random, random_below(&random, 2) ? UNIVERSE : 100);
        uint64_t what = random_below(&random, 1000);
        unsigned slot = (unsigned)random_below(&random, SEEN);
        if (what < 800) {
            size_t size = version_value(number, step, value);
            assert_ok(plsm_put(db, number_key(number, text), slice(value, size), what < 4 ? PLSM_SYNC : PLSM_NONE));
            versions[number] = step;
        } else if (what < 980) {
            assert_ok(plsm_delete(db, number_key(number, text), PLSM_NONE));
            versions[number] = 0;
        } else if (what < 984) { /* of one remainder, so neighbours are 7 apart */
            assert_ok(plsm_delete_range(db, number_key(number, text), number_key(number + 70, end), PLSM_NONE));
            for (unsigned i = number; i < number + 70 && i < UNIVERSE; i += 7)
                versions[i] = 0;
        } else if (what < 992) {
            plsm_snapshot_destroy(db, handles[slot]);
            handles[slot] = plsm_snapshot_create(db);
            ck_assert_ptr_nonnull(handles[slot]);
            memcpy(then[slot], versions, sizeof versions);
        } else if (what < 994 && handles[slot]) {
            expect_versions(&(plsm_read_options){.snapshot = handles[slot]}, then[slot], what == 993);
        } else if (what == 995) {
            assert_ok(plsm_flush(db));
        } else if (what == 996 && step % 3 == 0) {
            compact();
        }
        expect_version(NULL, number, versions[number]);
        if (handles[slot])
            expect_version(&(plsm_read_options){.snapshot = handles[slot]}, number, then[slot][number]);
    }
    for (unsigned i = 0; i < SEEN; i++) {
        if (handles[i])
            expect_versions(&(plsm_read_options){.snapshot = handles[i]}, then[i], i % 2);
        plsm_snapshot_destroy(db, handles[i]);
    }
    for (unsigned stage = 0; stage < STAGES; stage++) {
        settle(stage);
        expect_versions(NULL, versions, stage % 2);
    }
    stop();
}
END_TEST

/* An iterator stays at its moment, both ways, over everything that happens behind its back. */
START_TEST(iterators_stay)
{
    enum { COUNT = 500 };
    char key[24];
    plsm_iterator *it = NULL;
    start();
    for (unsigned i = 0; i < COUNT; i++) {
        snprintf(key, sizeof key, "%06u", i * 2);
        fixture_put(db, key, key);
    }
    assert_ok(plsm_iterator_create(db, NULL, slice_of("000100"), slice_of("000900"), &it));
    plsm_iterator_seek(it, slice_of("000501"));
    for (unsigned i = 0; i < COUNT; i++) { /* all overwritten, with new ones between */
        snprintf(key, sizeof key, "%06u", i * 2);
        assert_ok(plsm_put(db, slice_of(key), slice_of("other"), PLSM_NONE));
        snprintf(key, sizeof key, "%06u", i * 2 + 1);
        assert_ok(plsm_put(db, slice_of(key), slice_of("new"), PLSM_NONE));
    }
    for (unsigned stage = 0; stage < 3; stage++) {
        settle(stage);
        if (stage == 1)
            assert_ok(plsm_delete_range(db, none, none, PLSM_NONE));
        ck_assert(slice_equal(plsm_iterator_key(it), slice_of("000502")));
        for (unsigned i = 504; i < 900; i += 2) {
            plsm_iterator_next(it);
            snprintf(key, sizeof key, "%06u", i);
            ck_assert(slice_equal(plsm_iterator_key(it), slice_of(key)));
            ck_assert(slice_equal(plsm_iterator_value(it), slice_of(key)));
        }
        plsm_iterator_next(it);
        ck_assert(!plsm_iterator_valid(it));
        plsm_iterator_last(it);
        for (unsigned i = 898; i > 100; i -= 2) {
            snprintf(key, sizeof key, "%06u", i);
            ck_assert(slice_equal(plsm_iterator_key(it), slice_of(key)));
            plsm_iterator_previous(it);
        }
        ck_assert(slice_equal(plsm_iterator_key(it), slice_of("000100")));
        plsm_iterator_previous(it);
        ck_assert(!plsm_iterator_valid(it));
        assert_ok(plsm_iterator_status(it));
        plsm_iterator_seek_before(it, slice_of("000503")); /* turns round where it is */
    }
    plsm_iterator_next(it);
    plsm_iterator_previous(it);
    ck_assert(slice_equal(plsm_iterator_key(it), slice_of("000502")));
    plsm_iterator_destroy(it);
    ck_assert_uint_eq(fixture_count(db, PLSM_NAMES), 0);
    stop();
}
END_TEST

/* --- ranges, durability, maintenance ------------------------------------------------------------------------------ */

START_TEST(ranges)
{
    static const struct {
        const char *from, *to;
        unsigned low, high; /* what goes */
    } cases[] = {
        {"b", "e", 1, 4}, {"b", "b", 0, 0},   {"e", "b", 0, 0}, {"", "b", 0, 1}, {"g", "", 6, 8},
        {"", "", 0, 8},   {"bb", "dd", 2, 4}, {"x", "", 0, 0},  {"", "a", 0, 0}, {"h", "h\1", 7, 8},
    };
    char key[2] = "a";
    start();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        for (unsigned stage = 0; stage < 3; stage++) {
            for (*key = 'a'; *key <= 'h'; ++*key)
                fixture_put(db, key, key);
            settle(stage);
            plsm_snapshot *before = plsm_snapshot_create(db);
            plsm_read_options then = {.snapshot = before};
            assert_ok(plsm_delete_range(db, slice_of(cases[i].from), slice_of(cases[i].to), PLSM_NONE));
            for (unsigned again = 0; again < 2; again++) {
                for (unsigned n = 0; n < 8; n++) {
                    *key = (char)('a' + n);
                    fixture_expect(db, key, n >= cases[i].low && n < cases[i].high ? NULL : key);
                    plsm_value found = {0};
                    assert_ok(plsm_get(db, &then, slice_of(key), &found));
                    plsm_value_free(&found);
                }
                ck_assert_uint_eq(fixture_count(db, PLSM_NAMES), 8 - (cases[i].high - cases[i].low));
                settle(stage);
            }
            if (cases[i].high > cases[i].low) { /* and it does not hide what comes behind it */
                *key = (char)('a' + cases[i].low);
                fixture_put(db, key, "again");
                fixture_expect(db, key, "again");
            }
            plsm_snapshot_destroy(db, before);
        }
    }
    static uint8_t long_key[PLSM_KEY_MAX + 1];
    assert_status(plsm_delete_range(db, slice(long_key, sizeof long_key), none, PLSM_NONE), PLSM_TOO_LARGE);
    assert_status(plsm_delete_range(db, none, slice(long_key, sizeof long_key), PLSM_NONE), PLSM_TOO_LARGE);
    stop();
}
END_TEST

/* PLSM_NONE survives the process, in order; PLSM_SYNC and plsm_sync survive power loss with all before. */
START_TEST(durability)
{
    char key[16];
    start();
    for (unsigned i = 0; i < 60; i++) {
        snprintf(key, sizeof key, "%02u", i);
        assert_ok(plsm_put(db, slice_of(key), slice_of("v"), i % 20 == 10 ? PLSM_SYNC : PLSM_NONE));
        if (i == 45)
            assert_ok(plsm_sync(db));
        unsigned synced = i >= 50 ? 51 : i >= 45 ? 46 : i >= 30 ? 31 : i >= 10 ? 11 : 0;
        for (int kind = 0; kind < ENV_CRASH_COUNT; kind++) {
            struct env *image = env_memory_crash(env, env_memory_calls(env), kind, i);
            plsm *after = NULL;
            plsm_status status = plsm_open_env(image, "/s", PLSM_CREATE, fixture_options(NULL), &after);
            assert_ok(status);
            unsigned count = (unsigned)fixture_count(after, PLSM_NAMES);
            ck_assert_uint_ge(count, kind == ENV_CRASH_KEEP ? i + 1 : synced);
            for (unsigned n = 0; n < count; n++) { /* the first ones */
                snprintf(key, sizeof key, "%02u", n);
                fixture_expect(after, key, "v");
            }
            assert_ok(plsm_close(after));
            env_memory_destroy(image);
        }
    }
    stop();
}
END_TEST

/* A number that is none of them is refused at every door, and nothing is changed. */
START_TEST(durabilities_are_checked)
{
    static const int wrong[] = {PLSM_VOLATILE + 1, 77, -1, INT_MAX, INT_MIN};
    static uint8_t large[PLSM_INLINE_MAX + 1];
    start();
    fixture_put(db, "a", "value");
    plsm_batch *batch = plsm_batch_create(), *empty = plsm_batch_create();
    plsm_edit *edit = NULL;
    assert_ok(plsm_batch_put(batch, PLSM_NAMES, slice_of("c"), none, none));
    assert_ok(plsm_edit_open(db, slice_of("d"), PLSM_EDIT_NEW, &edit));
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        plsm_durability none_such = (plsm_durability)wrong[i];
        assert_status(plsm_put(db, slice_of("a"), slice_of("new"), none_such), PLSM_INVALID);
        assert_status(plsm_put(db, slice_of("b"), slice(large, sizeof large), none_such), PLSM_INVALID);
        assert_status(plsm_put_expiring(db, slice_of("a"), slice_of("new"), 1, none_such), PLSM_INVALID);
        assert_status(plsm_delete(db, slice_of("a"), none_such), PLSM_INVALID);
        assert_status(plsm_delete_range(db, none, none, none_such), PLSM_INVALID);
        assert_status(plsm_write(db, batch, none_such), PLSM_INVALID);
        assert_status(plsm_write(db, empty, none_such), PLSM_INVALID);
        assert_status(plsm_edit_commit(edit, none, none_such), PLSM_INVALID);
    }
    fixture_expect(db, "a", "value");
    ck_assert_uint_eq(fixture_count(db, PLSM_NAMES), 1);
    assert_ok(plsm_edit_commit(edit, none, PLSM_NONE)); /* as if it had not been tried */
    ck_assert_uint_eq(fixture_count(db, PLSM_NAMES), 2);
    plsm_edit_close(edit);
    plsm_batch_destroy(empty);
    plsm_batch_destroy(batch);
    stop();
}
END_TEST

START_TEST(maintenance)
{
    static uint8_t long_key[PLSM_KEY_MAX + 1];
    char key[16];
    start();
    for (unsigned i = 0; i < 3000; i++) {
        snprintf(key, sizeof key, "%04u", i % 1000);
        assert_ok(plsm_put(db, slice_of(key), slice(long_key, 100), PLSM_NONE));
    }
    assert_ok(plsm_flush(db));
    assert_ok(plsm_flush(db)); /* nothing to do */
    assert_ok(plsm_compact(db, slice_of("0100"), slice_of("0200")));
    assert_ok(plsm_compact(db, slice_of("0200"), slice_of("0100")));
    assert_ok(plsm_compact(db, none, slice_of("0100")));
    assert_ok(plsm_compact(db, slice_of("0900"), none));
    assert_status(plsm_compact(db, slice(long_key, sizeof long_key), none), PLSM_TOO_LARGE);
    assert_ok(plsm_delete_range(db, slice_of("0500"), none, PLSM_NONE));
    compact();
    assert_ok(plsm_reclaim(db));
    assert_ok(plsm_sync(db));
    ck_assert_uint_eq(fixture_count(db, PLSM_NAMES), 500);
    stop();
}
END_TEST

/* --- what is told ------------------------------------------------------------------------------------------------- */

struct told {
    char names[600][64];
    unsigned count, wanted;
};

static void take_name(void *arg, const plsm_statistic *statistic)
{
    static const char *const wanted[] = {"store.engine", "store.keys", "store.bytes_live", "store.bytes_disk",
                                         "mem.bytes"};
    struct told *told = arg;
    ck_assert_uint_lt(told->count, 600);
    ck_assert(!statistic->is_text || statistic->text);
    for (unsigned i = 0; i < told->count; i++)
        ck_assert_str_ne(told->names[i], statistic->name);
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++)
        told->wanted += strcmp(statistic->name, wanted[i]) == 0;
    if (!fixture_is_tree())
        ck_assert_msg(strncmp(statistic->name, "lsm.", 4) != 0, "%s is of a tree", statistic->name);
    snprintf(told->names[told->count++], sizeof told->names[0], "%s", statistic->name);
}

START_TEST(statistics)
{
    static struct told told, again;
    start();
    fixture_put(db, "key", "value");
    plsm_statistics(db, take_name, &told);
    ck_assert_uint_eq(told.wanted, 5);
    plsm_statistics_reset(db);
    plsm_statistics(db, take_name, &again);
    ck_assert_uint_eq(told.count, again.count);
    ck_assert_mem_eq(told.names, again.names, sizeof told.names); /* in a stable order */
    told = again = (struct told){.count = 0};
    stop();
}
END_TEST

struct advance {
    uint64_t done, all, calls;
};

static void advance(void *arg, uint64_t done, uint64_t all)
{
    struct advance *a = arg;
    ck_assert_uint_ge(done, a->done);
    ck_assert_uint_le(done, all);
    *a = (struct advance){done, all, a->calls + 1};
}

START_TEST(checks)
{
    struct advance a = {0};
    static uint8_t large[300000];
    start();
    assert_ok(plsm_put(db, slice_of("large"), slice(large, sizeof large), PLSM_NONE));
    fixture_put(db, "small", "value");
    assert_ok(plsm_flush(db));
    assert_ok(plsm_check(db, NULL, advance, &a));
    ck_assert_uint_gt(a.calls, 0);
    ck_assert_uint_eq(a.done, a.all);
    plsm *reader = fixture_open(env, PLSM_READ, NULL);
    fixture_check(reader);
    assert_ok(plsm_close(reader));
    stop();
}
END_TEST

static void ignore_run(void *arg, const plsm_run_info *run) {}

static void ignore_level(void *arg, const plsm_level_info *level) {}

static void ignore_log(void *arg, const plsm_value_log_info *log) {}

/* What an engine lacks it says, with its name. */
static void maybe(plsm_status status)
{
    if (status == PLSM_UNSUPPORTED)
        ck_assert_msg(strstr(plsm_message(), fixture_engine->name) != NULL, "%s", plsm_message());
    else
        ck_assert_msg(status == PLSM_OK && fixture_is_tree(), "%s: %s", plsm_status_name(status), plsm_message());
}

START_TEST(what_may_be_lacking)
{
    plsm_place place;
    plsm_found found;
    plsm_lookup_info lookups;
    plsm_profile profile;
    plsm_bulk *bulk = NULL;
    start();
    fixture_put(db, "key", "value");
    assert_ok(plsm_flush(db));
    maybe(plsm_bulk_create(db, &bulk));
    plsm_bulk_destroy(bulk);
    maybe(plsm_retrain(db, true, NULL, NULL));
    maybe(plsm_locate(db, slice_of("key"), 0, true, &place));
    maybe(plsm_find(db, slice_of("key"), &found));
    maybe(plsm_inspect_runs(db, ignore_run, NULL));
    maybe(plsm_inspect_values(db, ignore_log, NULL));
    maybe(plsm_inspect_levels(db, NULL, ignore_level, NULL, &lookups));
    maybe(plsm_inspect_profile(db, NULL, &profile));
    stop();
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {opening,
                                  values_of_all_sizes,
                                  keys_of_all_sizes,
                                  many_at_once,
                                  prefixes,
                                  snapshots,
                                  iterators_stay,
                                  ranges,
                                  durability,
                                  durabilities_are_checked,
                                  maintenance,
                                  statistics,
                                  checks,
                                  what_may_be_lacking};
    return fixture_run_engines("conformance", tests, sizeof tests / sizeof tests[0]);
}
