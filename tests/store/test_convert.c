/* Conversion between all engines: everything is there behind it; what is refused, fails or crashes leaves a whole store
 * at its place. */
#include <stdio.h>

#include "../harness/store_fixture.h"

#include "base/alloc.h"
#include "base/checksum.h"
#include "base/env_fault.h"
#include "store/convert.h"
#include "tests/harness/pool.h"

#include "base/banned.h"

enum { NOW = 1000, KEYS = 300, LARGE = 300000 };

static const struct test_engine *from, *to;

/* --- what is in a store ------------------------------------------------------------------------------------------- */

/* Of every entry of every keyspace, as the engine has it. */
static uint64_t digest_of_store(struct env *env, const char *path, uint64_t *entries)
{
    const uint8_t first = PLSM_NAMES, last = PLSM_INTERNAL + 1;
    plsm *db = NULL;
    struct engine_iterator *it = NULL;
    struct engine_entry entry;
    uint64_t digest = 1;
    *entries = 0;
    assert_ok(plsm_open_env(env, path, PLSM_READ, NULL, &db));
    assert_ok(db->engine->iterator_create(db->tree, NULL, slice(&first, 1), slice(&last, 1), false, &it));
    db->engine->iterator_show_expired(it);
    for (bool more = db->engine->iterator_first(it, &entry); more; more = db->engine->iterator_next(it, &entry)) {
        const plsm_slice parts[] = {entry.key, entry.meta, entry.value};
        for (size_t i = 0; i < 3; i++)
            digest = digest * UINT64_C(0x9e3779b97f4a7c15) + checksum(parts[i].data, parts[i].size, parts[i].size);
        digest = digest * 31 + entry.expires_s * 7 + entry.kind;
        ++*entries;
    }
    assert_ok(db->engine->iterator_status(it));
    db->engine->iterator_destroy(it);
    assert_ok(plsm_close(db));
    return digest;
}

static void engine_is(struct env *env, const char *path, const struct test_engine *engine)
{
    const struct engine *found = NULL;
    assert_ok(engine_of_store(env, path, &found));
    ck_assert_msg(found != NULL, "%s: there is no store", path);
    ck_assert_str_eq(found->name, engine->name);
}

static bool is_there(struct env *env, const char *path)
{
    const struct engine *found = NULL;
    assert_ok(engine_of_store(env, path, &found));
    return found != NULL;
}

/* All kinds of entries, some of them in files and some in logs. */
static void fill(plsm *db)
{
    static uint8_t large[LARGE];
    char key[PLSM_KEY_MAX + 1], meta[PLSM_META_MAX];
    uint64_t id = 0;
    plsm_batch *batch = plsm_batch_create();
    plsm_edit *edit = NULL;
    fixture_fill(large, sizeof large, 3);
    memset(meta, 'm', sizeof meta);
    for (unsigned i = 0; i < KEYS; i++) {
        snprintf(key, sizeof key, "key%05u", i * 7919 % KEYS);
        assert_ok(plsm_batch_put(batch, PLSM_NAMES, slice_of(key), slice(meta, i % 256), slice(large, i * 37 % 3000)));
        if (i == KEYS / 2) {
            assert_ok(plsm_write(db, batch, PLSM_NONE));
            plsm_batch_clear(batch);
            assert_ok(plsm_flush(db));
        }
    }
    assert_ok(plsm_batch_put(batch, PLSM_INODES, slice_of("inode"), slice(NULL, 0), slice_of("i")));
    assert_ok(plsm_batch_put(batch, PLSM_INTERNAL, slice_of("root"), slice_of("r"), slice(NULL, 0)));
    assert_ok(plsm_batch_put_expiring(batch, slice_of("expires"), slice(NULL, 0), slice_of("v"), NOW + 100));
    assert_ok(plsm_batch_delete(batch, PLSM_NAMES, slice_of("key00007")));
    assert_ok(plsm_batch_delete_range(batch, PLSM_NAMES, slice_of("key00100"), slice_of("key00110")));
    assert_ok(plsm_write(db, batch, PLSM_NONE));
    plsm_batch_clear(batch);
    assert_ok(plsm_put(db, slice_of("large"), slice(large, sizeof large), PLSM_NONE));
    assert_ok(plsm_put_expiring(db, slice_of("large that expires"), slice(large, sizeof large), NOW + 50, PLSM_NONE));
    assert_ok(plsm_edit_open(db, slice_of("sparse"), PLSM_EDIT_NEW, &edit));
    assert_ok(plsm_edit_truncate(edit, UINT64_C(1) << 33));
    assert_ok(plsm_edit_write(edit, UINT64_C(1) << 32, "x", 1));
    assert_ok(plsm_edit_commit(edit, slice_of("m"), PLSM_NONE));
    plsm_edit_close(edit);
    assert_ok(plsm_new_id(db, &id));
    assert_ok(plsm_batch_share(batch, slice_of("large"), id));
    assert_ok(plsm_batch_link(batch, id, slice_of("large too"), slice_of("shared")));
    assert_ok(plsm_write(db, batch, PLSM_NONE));
    plsm_batch_destroy(batch);
    memset(key, 'k', sizeof key);
    assert_ok(plsm_put(db, slice(key, PLSM_KEY_MAX), slice(large, PLSM_INLINE_MAX), PLSM_NONE));
}

/* A file system with the same files. */
static struct env *copy_of(struct env *env)
{
    struct env *copy = env_memory_crash(env, env_memory_calls(env), ENV_CRASH_KEEP, 1);
    ck_assert_ptr_nonnull(copy);
    return copy;
}

/* A store of the engine `from` at "/s", filled; its digest. */
static struct env *make_store(uint64_t *digest, uint64_t *entries)
{
    struct env *env = env_memory_create(1);
    env_memory_set_wall_s(env, NOW);
    fixture_engine = from;
    plsm *db = fixture_open(env, PLSM_CREATE, NULL);
    fill(db);
    assert_ok(plsm_close(db));
    *digest = digest_of_store(env, "/s", entries);
    return env;
}

static plsm_status convert(struct env *env, const char *path, const char *target, bool remove_old,
                           plsm_convert_info *info)
{
    plsm_convert_options options = {
        .engine = to->name, .options = to->options, .target = target, .remove_old = remove_old};
    return convert_in(env, path, &options, info);
}

/* Calls `each` for every ordered pair of engines. */
static void each_pair(void (*each)(void))
{
    for (unsigned i = 0; i < TEST_ENGINES; i++)
        for (unsigned j = 0; j < TEST_ENGINES; j++) {
            from = &test_engines[i];
            to = &test_engines[j];
            if (i != j && (test_engine_wanted(from) || test_engine_wanted(to)))
                each();
        }
}

/* --- what it does ------------------------------------------------------------------------------------------------- */

static void everything_pair(void)
{
    uint64_t digest = 0, entries = 0, others = 0, id = 0, next = 0;
    static plsm_convert_info info;
    plsm *db = NULL;
    struct env *env = make_store(&digest, &entries);
    assert_ok(convert(env, "/s/", NULL, false, &info));
    ck_assert_str_eq(info.engine, from->name);
    ck_assert_str_eq(info.old, "/s.old");
    ck_assert_uint_eq(info.entries, entries);
    ck_assert_uint_gt(info.bytes, 2 * LARGE);
    engine_is(env, "/s", to);
    engine_is(env, "/s.old", from);
    ck_assert(!is_there(env, "/s.converting"));
    ck_assert_uint_eq(digest_of_store(env, "/s", &others), digest);
    ck_assert_uint_eq(digest_of_store(env, "/s.old", &others), digest);
    fixture_engine = to;
    db = fixture_open(env, 0, NULL);
    fixture_check(db);
    assert_ok(plsm_new_id(db, &next));
    fixture_put(db, "new", "value");
    env_memory_set_wall_s(env, NOW + 50); /* the note of a large value has come along */
    fixture_put(db, "new", "again");
    fixture_expect(db, "large that expires", NULL);
    fixture_check(db);
    assert_ok(plsm_close(db));
    assert_ok(plsm_open_env(env, "/s.old", 0, from->options, &db));
    assert_ok(plsm_new_id(db, &id));
    ck_assert_uint_ge(next, id); /* what the old one has given is not given again */
    assert_ok(plsm_close(db));
    env_memory_destroy(env);
}

START_TEST(everything)
{
    each_pair(everything_pair);
}
END_TEST

static void places_pair(void)
{
    uint64_t digest = 0, entries = 0, others = 0;
    struct env *env = make_store(&digest, &entries);
    assert_ok(convert(env, "/s", "/new", false, NULL));
    engine_is(env, "/new", to);
    engine_is(env, "/s", from);
    ck_assert_uint_eq(digest_of_store(env, "/new", &others), digest);
    assert_ok(env_make_dir(env, "/empty"));
    assert_ok(convert(env, "/s", "/empty//", false, NULL));
    engine_is(env, "/empty", to);
    assert_ok(convert(env, "/s", NULL, true, NULL));
    engine_is(env, "/s", to);
    ck_assert(!is_there(env, "/s.old"));
    ck_assert_uint_eq(digest_of_store(env, "/s", &others), digest);
    env_memory_destroy(env);
}

START_TEST(places)
{
    each_pair(places_pair);
}
END_TEST

/* Small values that have expired stay behind; large ones, which leave a note, come along and are deleted there. */
static void expired_pair(void)
{
    uint64_t digest = 0, entries = 0;
    static plsm_convert_info info;
    struct env *env = make_store(&digest, &entries);
    env_memory_set_wall_s(env, NOW + 100);
    assert_ok(convert(env, "/s", NULL, false, &info));
    ck_assert_uint_eq(info.entries, entries - 1);
    fixture_engine = to;
    plsm *db = fixture_open(env, 0, NULL);
    fixture_expect(db, "expires", NULL);
    fixture_expect(db, "large that expires", NULL);
    ck_assert_uint_eq(fixture_markers(db), 0);
    fixture_check(db);
    assert_ok(plsm_close(db));
    env_memory_destroy(env);
}

START_TEST(expired)
{
    each_pair(expired_pair);
}
END_TEST

/* What a crash left to be finished is finished by the new store. */
static void unfinished_pair(void)
{
    struct env *env = env_memory_create(1);
    uint64_t entries = 0, others = 0;
    plsm_edit *edit = NULL;
    static uint8_t large[LARGE];
    fixture_engine = from;
    plsm *db = fixture_open(env, PLSM_CREATE, NULL);
    assert_ok(plsm_edit_open(db, slice_of("a"), PLSM_EDIT_NEW, &edit));
    for (unsigned i = 0; i < 20; i++)
        assert_ok(plsm_edit_write(edit, (uint64_t)i * LARGE, large, sizeof large));
    assert_ok(plsm_sync(db));
    struct env *image = env_memory_crash(env, env_memory_calls(env), ENV_CRASH_DROP, 1);
    plsm_edit_close(edit);
    assert_ok(plsm_close(db));
    env_memory_destroy(env);
    uint64_t digest = digest_of_store(image, "/s", &entries);
    ck_assert_uint_gt(entries, 10); /* pieces, and the mark of the edit */
    assert_ok(convert(image, "/s", NULL, false, NULL));
    ck_assert_uint_eq(digest_of_store(image, "/s", &others), digest);
    fixture_engine = to;
    db = fixture_open(image, 0, NULL);
    ck_assert_uint_eq(fixture_count(db, PLSM_EXTENTS), 0);
    ck_assert_uint_eq(fixture_markers(db), 0);
    fixture_check(db);
    assert_ok(plsm_close(db));
    env_memory_destroy(image);
}

START_TEST(unfinished)
{
    each_pair(unfinished_pair);
}
END_TEST

/* --- what is refused ---------------------------------------------------------------------------------------------- */

static void refused(struct env *env, uint64_t digest, plsm_status status, plsm_status expected)
{
    uint64_t entries = 0;
    ck_assert_msg(status == expected, "%s instead of %s: %s", plsm_status_name(status), plsm_status_name(expected),
                  plsm_message());
    ck_assert_uint_gt(strlen(plsm_message()), 10);
    engine_is(env, "/s", from);
    ck_assert_uint_eq(digest_of_store(env, "/s", &entries), digest);
}

static void refusals_pair(void)
{
    uint64_t digest = 0, entries = 0, calls = 0;
    plsm *db = NULL;
    struct env *env = make_store(&digest, &entries);
    plsm_convert_options options = {.engine = "none"};
    calls = env_memory_calls(env);
    refused(env, digest, convert_in(env, "/s", &options, NULL), PLSM_INVALID);
    options = (plsm_convert_options){.engine = from->name};
    refused(env, digest, convert_in(env, "/s", &options, NULL), PLSM_INVALID);
    options = (plsm_convert_options){.engine = to->name, .options = from->options};
    refused(env, digest, convert_in(env, "/s", &options, NULL), PLSM_INVALID);
    options.options = "colour=red";
    refused(env, digest, convert_in(env, "/s", &options, NULL), PLSM_INVALID);
    refused(env, digest, convert(env, "/none", NULL, false, NULL), PLSM_NO_STORE);
    refused(env, digest, convert(env, "", NULL, false, NULL), PLSM_INVALID);
    ck_assert_uint_eq(env_memory_calls(env), calls);
    assert_ok(env_make_dir(env, "/full"));
    assert_ok(env_make_dir(env, "/full/something"));
    refused(env, digest, convert(env, "/s", "/full", false, NULL), PLSM_EXISTS);
    refused(env, digest, convert(env, "/s", "/s", false, NULL), PLSM_EXISTS);
    refused(env, digest, convert(env, "/full", NULL, false, NULL), PLSM_NO_STORE);
    refused(env, digest, convert(env, "/s", "/s/new", false, NULL), PLSM_INVALID);
    refused(env, digest, convert(env, "//s", "/s/new/", false, NULL), PLSM_INVALID);
    refused(env, digest, convert(env, "/s", "/s/sub/new", false, NULL), PLSM_INVALID);
    ck_assert(!is_there(env, "/s/new") && !is_there(env, "/s/new.converting"));
    assert_ok(env_make_dir(env, "/s.old"));
    refused(env, digest, convert(env, "/s", NULL, false, NULL), PLSM_EXISTS);
    assert_ok(env_remove(env, "/s.old"));
    assert_ok(env_make_dir(env, "/s.converting"));
    refused(env, digest, convert(env, "/s", NULL, false, NULL), PLSM_EXISTS);
    assert_ok(env_remove(env, "/s.converting"));
    fixture_engine = from;
    db = fixture_open(env, 0, NULL);
    ck_assert_int_eq(convert(env, "/s", NULL, false, NULL), PLSM_LOCKED);
    assert_ok(plsm_close(db));
    refused(env, digest, PLSM_LOCKED, PLSM_LOCKED);
    ck_assert_int_eq(plsm_open_env(env, "/s", 0, to->options, &db), PLSM_INVALID);
    ck_assert_ptr_nonnull(strstr(plsm_message(), "plsm convert"));
    refused(env, digest, PLSM_INVALID, PLSM_INVALID);
    env_memory_destroy(env);
}

START_TEST(refusals)
{
    each_pair(refusals_pair);
}
END_TEST

/* --- failures and crashes ----------------------------------------------------------------------------------------- */

/* The store is whole, of either engine; it has become one of the new engine when the call said so. */
static void expect_whole(struct env *env, uint64_t digest, plsm_status status, uint64_t nth)
{
    uint64_t entries = 0;
    const struct engine *found = NULL;
    assert_ok(engine_of_store(env, "/s", &found));
    ck_assert_msg(found != NULL, "%s to %s, call %lu: no store", from->name, to->name, (unsigned long)nth);
    if (status == PLSM_OK)
        ck_assert_str_eq(found->name, to->name);
    else if (strcmp(found->name, to->name) == 0)
        ck_assert_ptr_nonnull(strstr(plsm_message(), "is converted"));
    ck_assert_uint_eq(digest_of_store(env, "/s", &entries), digest);
}

static void failures_pair(void)
{
    static const enum env_fault kinds[] = {ENV_FAULT_IO, ENV_FAULT_NO_SPACE, ENV_FAULT_SHORT};
    uint64_t digest = 0, entries = 0;
    struct env *filled = make_store(&digest, &entries);
    for (size_t kind = 0; kind < sizeof kinds / sizeof *kinds; kind++) {
        bool fired = true;
        for (uint64_t nth = 1; fired; nth += 11 * setting("TEST_THIN", 1)) {
            struct env *env = copy_of(filled), *fault = env_fault_create(env);
            env_fault_arm(fault, ENV_CALL_ANY, nth, kinds[kind], false);
            plsm_status status = convert(fault, "/s", NULL, nth % 2, NULL);
            fired = env_fault_fired(fault);
            env_fault_disarm(fault);
            ck_assert(status == PLSM_OK || (fired && kinds[kind] != ENV_FAULT_SHORT));
            expect_whole(env, digest, status, nth);
            env_fault_destroy(fault);
            env_memory_destroy(env);
        }
    }
    bool fired = true;
    for (uint64_t nth = 1; fired; nth += 37 * setting("TEST_THIN", 1)) {
        struct env *env = copy_of(filled);
        mem_fail_at(nth);
        plsm_status status = convert(env, "/s", NULL, false, NULL);
        fired = mem_count() >= nth;
        mem_fail_at(0);
        ck_assert(status == PLSM_OK || fired);
        expect_whole(env, digest, status, nth);
        if (status != PLSM_OK)
            ck_assert(!is_there(env, "/s.converting"));
        env_memory_destroy(env);
    }
    env_memory_destroy(filled);
}

START_TEST(failures)
{
    each_pair(failures_pair);
}
END_TEST

/* The first call behind which the new store may be at its place, or the old one elsewhere. */
static uint64_t swap_call(struct env *env, uint64_t from_call)
{
    char text[300];
    for (uint64_t call = from_call + 1;; call++) {
        env_memory_describe(env, call, text, sizeof text);
        ck_assert_msg(strncmp(text, "no call", 7) != 0, "nothing was renamed");
        if (strncmp(text, "exchange /s ", 12) == 0 || strncmp(text, "rename /s /s.old", 16) == 0)
            return call;
    }
}

/* Behind calls of a conversion, all of them around the swap; where names cannot be exchanged there may be no store at
 * its place, but then the old one has another name, and is whole. */
static void crashes_pair(void)
{
    for (int exchange = 1; exchange >= 0; exchange--) {
        uint64_t digest = 0, entries = 0;
        unsigned old = 0, new = 0, renamed = 0;
        struct env *env = make_store(&digest, &entries);
        const struct env_ops *all = env->ops;
        struct env_ops ops = *all;
        ops.exchange = exchange ? ops.exchange : NULL;
        env->ops = &ops;
        uint64_t first = env_memory_calls(env);
        assert_ok(convert(env, "/s", NULL, exchange, NULL));
        uint64_t last = env_memory_calls(env), swap = swap_call(env, first), end = swap + 12;
        env->ops = all;
        for (uint64_t call = first; call <= last;
             call += call + 5 >= swap && call < end ? 1 : 29 * setting("TEST_THIN", 1)) {
            if (call < swap && call + 29 * setting("TEST_THIN", 1) > swap && call + 5 < swap)
                call = swap - 5;
            for (int kind = 0; kind < ENV_CRASH_COUNT; kind++) {
                struct env *image = env_memory_crash(env, call, kind, call);
                const struct engine *found = NULL;
                assert_ok(engine_of_store(image, "/s", &found));
                ck_assert_msg(found || !exchange, "%s to %s, call %lu, kind %d: no store", from->name, to->name,
                              (unsigned long)call, kind);
                ck_assert_uint_eq(digest_of_store(image, found ? "/s" : "/s.old", &entries), digest);
                old += found && strcmp(found->name, from->name) == 0;
                new += found &&strcmp(found->name, to->name) == 0;
                renamed += !found;
                if (!found) {
                    ck_assert_int_eq(convert(image, "/s", NULL, false, NULL), PLSM_NO_STORE);
                    ck_assert_ptr_nonnull(strstr(plsm_message(), "/s.old"));
                }
                env_memory_destroy(image);
            }
        }
        ck_assert_uint_gt(old, 3);
        ck_assert_uint_gt(new, 3);
        ck_assert(exchange || renamed > 0);
        env_memory_destroy(env);
    }
}

START_TEST(crashes)
{
    each_pair(crashes_pair);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {everything, places, expired, unfinished, refusals, failures, crashes};
    return fixture_run("convert", tests, sizeof tests / sizeof tests[0]);
}
