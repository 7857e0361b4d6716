/* plsm_locate: where a lookup would look. Both modes name the same file and, for keys that are there, the same page. */
#include "../harness/store_fixture.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/banned.h"

enum { KEYS = 4000 };

static const char small[] = "buffer_size=64K,file_size=64K,background=0";

static plsm_slice key_of(int number, char buffer[32])
{
    return slice(buffer, (size_t)snprintf(buffer, 32, "key%08d", number * 7));
}

static void load(struct env *env)
{
    char buffer[32], value[101] = "";
    memset(value, 'v', 100);
    plsm *db = fixture_open(env, PLSM_CREATE, small);
    for (int i = 0; i < KEYS; i++)
        assert_ok(plsm_put(db, key_of(i, buffer), slice(value, 100), PLSM_NONE));
    assert_ok(plsm_compact(db, slice("", 0), slice("", 0)));
    assert_ok(plsm_put(db, slice_of("key00000000"), slice_of("new"), PLSM_NONE)); /* a young file with two keys */
    assert_ok(plsm_put(db, slice_of("key99999999"), slice_of("new"), PLSM_NONE));
    assert_ok(plsm_flush(db));
    assert_ok(plsm_close(db));
}

/* The last level that holds anything: everything was compacted into it. */
static unsigned last_level(plsm *db)
{
    plsm_place place;
    char buffer[32];
    for (unsigned level = 6; level > 0; level--)
        if (plsm_locate(db, key_of(1, buffer), level, false, &place) == PLSM_OK)
            return level;
    ck_abort_msg("the key is on no level");
}

static plsm *open_mode(struct env *env, const char *mode)
{
    char options[64];
    snprintf(options, sizeof options, "index=%s", mode);
    return fixture_open(env, PLSM_READ, options);
}

START_TEST(modes_agree_about_keys_that_are_there)
{
    struct env *env = env_memory_create(1);
    char buffer[32];
    plsm_place one = {0}, other = {0}, before = {0};
    unsigned files = 0, pages = 0;
    load(env);
    plsm *learned = open_mode(env, "learned"), *traditional = open_mode(env, "traditional");
    unsigned last = last_level(learned);
    for (int i = 0; i < KEYS; i++) {
        plsm_slice key = key_of(i, buffer);
        assert_ok(plsm_locate(learned, key, last, true, &one));
        assert_ok(plsm_locate(traditional, key, last, true, &other));
        ck_assert_uint_eq(one.file, other.file);
        ck_assert_uint_eq(one.page, other.page);
        ck_assert(!other.by_model);
        ck_assert(one.file != before.file || one.page >= before.page); /* keys ascend, so do pages of a file */
        files += one.file != before.file;
        pages += one.file != before.file || one.page != before.page;
        before = one;
        assert_ok(plsm_locate(learned, key, last, false, &other));
        ck_assert_uint_eq(one.file, other.file);
        ck_assert_uint_eq(other.page, 0);
    }
    ck_assert_uint_gt(files, 3);
    ck_assert_uint_gt(pages, KEYS / 50);
    assert_ok(plsm_close(learned));
    assert_ok(plsm_close(traditional));
    env_memory_destroy(env);
}
END_TEST

START_TEST(what_is_nowhere)
{
    struct env *env = env_memory_create(1);
    char buffer[32];
    plsm_place place = {.file = 1};
    load(env);
    plsm *db = open_mode(env, _i ? "learned" : "traditional");
    unsigned last = last_level(db);
    assert_ok(plsm_locate(db, key_of(KEYS / 2, buffer), 0, true, &place)); /* the young file spans it */
    ck_assert_uint_ne(place.file, 0);
    ck_assert_int_eq(plsm_locate(db, slice_of("a"), 0, true, &place), PLSM_NOT_FOUND);
    ck_assert_int_eq(plsm_locate(db, slice_of("a"), last, true, &place), PLSM_NOT_FOUND);
    ck_assert_int_eq(plsm_locate(db, slice_of("z"), last, false, &place), PLSM_NOT_FOUND);
    ck_assert_int_eq(plsm_locate(db, key_of(1, buffer), last + 1, true, &place), PLSM_NOT_FOUND); /* an empty level */
    ck_assert_int_eq(plsm_locate(db, key_of(1, buffer), 1000, true, &place), PLSM_NOT_FOUND);
    ck_assert_int_eq(plsm_locate(db, slice("", 0), last, true, &place), PLSM_INVALID);
    ck_assert_uint_eq(place.file, 0);
    char *large = calloc(1, PLSM_KEY_MAX + 1);
    ck_assert_ptr_nonnull(large);
    ck_assert_int_eq(plsm_locate(db, slice(large, PLSM_KEY_MAX + 1), last, true, &place), PLSM_TOO_LARGE);
    free(large);
    assert_ok(plsm_close(db));
    env_memory_destroy(env);
}
END_TEST

/* What is in memory, on level 0, on the last level, deleted, and behind a deletion of a range. */
START_TEST(finds_where_a_key_stands)
{
    struct env *env = env_memory_create(1);
    char buffer[32];
    plsm_found found;
    plsm_place place;
    load(env);
    plsm *db = fixture_open(env, 0, _i ? "index=learned,background=0" : "index=traditional,background=0");
    unsigned last = last_level(db);
    for (int i = 1; i < KEYS; i += 7) {
        assert_ok(plsm_find(db, key_of(i, buffer), &found));
        assert_ok(plsm_locate(db, key_of(i, buffer), last, true, &place));
        ck_assert(!found.in_memory);
        ck_assert_uint_eq(found.level, last);
        ck_assert_uint_eq(found.file, place.file);
        ck_assert_uint_eq(found.page, place.page);
        ck_assert_uint_eq(found.predicted, place.page);
        ck_assert_int_eq(found.by_model, place.by_model);
    }
    assert_ok(plsm_find(db, key_of(0, buffer), &found)); /* overwritten in the young file */
    ck_assert_uint_eq(found.level, 0);
    assert_ok(plsm_put(db, key_of(5, buffer), slice_of("newer"), PLSM_NONE));
    assert_ok(plsm_find(db, key_of(5, buffer), &found));
    ck_assert(found.in_memory);
    assert_ok(plsm_delete(db, key_of(6, buffer), PLSM_NONE));
    ck_assert_int_eq(plsm_find(db, key_of(6, buffer), &found), PLSM_NOT_FOUND);
    assert_ok(plsm_delete_range(db, slice_of("key00000070"), slice_of("key00000700"), PLSM_NONE));
    ck_assert_int_eq(plsm_find(db, key_of(50, buffer), &found), PLSM_NOT_FOUND);
    assert_ok(plsm_flush(db));
    ck_assert_int_eq(plsm_find(db, key_of(6, buffer), &found), PLSM_NOT_FOUND);
    ck_assert_int_eq(plsm_find(db, key_of(50, buffer), &found), PLSM_NOT_FOUND);
    assert_ok(plsm_find(db, key_of(5, buffer), &found));
    ck_assert(!found.in_memory);
    ck_assert_uint_eq(found.level, 0);
    ck_assert_int_eq(plsm_find(db, slice_of("zzz"), &found), PLSM_NOT_FOUND);
    ck_assert_int_eq(plsm_find(db, slice("", 0), &found), PLSM_INVALID);
    assert_ok(plsm_close(db));
    env_memory_destroy(env);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("locate");
    TCase *tests = tcase_create("locate");
    tcase_add_test(tests, modes_agree_about_keys_that_are_there);
    tcase_add_loop_test(tests, what_is_nowhere, 0, 2);
    tcase_add_loop_test(tests, finds_where_a_key_stands, 0, 2);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
