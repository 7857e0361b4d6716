/* Which batches pass where space is low, and that it is looked at. */
#include <check.h>
#include <stdlib.h>

#include "base/bytes.h"
#include "base/env_memory.h"
#include "base/error.h"
#include "log/room.h"

#include "base/banned.h"

static const plsm_slice nothing = {NULL, 0};

static struct batch batch_of(unsigned puts, size_t value_size, bool deletes, bool range)
{
    static const uint8_t value[128 << 10];
    struct batch batch = {0};
    for (unsigned i = 0; i < puts; i++)
        ck_assert_int_eq(batch_add(&batch, BATCH_PUT, 1, slice_of("put"), nothing, slice(value, value_size)), PLSM_OK);
    if (deletes)
        ck_assert_int_eq(batch_add(&batch, BATCH_DELETE, 1, slice_of("key"), nothing, nothing), PLSM_OK);
    if (range)
        ck_assert_int_eq(batch_add(&batch, BATCH_DELETE_RANGE, 1, slice_of("a"), nothing, slice_of("\1b")), PLSM_OK);
    return batch;
}

START_TEST(what_passes)
{
    static const struct {
        unsigned puts;
        size_t value_size;
        bool deletes, range, passes;
    } rows[] = {
        {1, 0, false, false, false},       {1, 100, false, false, false},     {0, 0, true, false, true},
        {0, 0, false, true, true},         {1, 128 << 10, true, false, true}, /* a rename */
        {3, 128 << 10, true, true, false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct batch batch = batch_of(rows[i].puts, rows[i].value_size, rows[i].deletes, rows[i].range);
        struct room room = {.low = true, .spare_bytes = 1 << 20};
        ck_assert_int_eq(room_check(&room, "store", &batch), rows[i].passes ? PLSM_OK : PLSM_NO_SPACE);
        room.spare_bytes = batch.bytes.size; /* nothing passes then */
        ck_assert_int_eq(room_check(&room, "store", &batch), PLSM_NO_SPACE);
        room.low = false;
        ck_assert_int_eq(room_check(&room, "store", &batch), PLSM_OK);
        batch_free(&batch);
    }
}
END_TEST

START_TEST(what_is_kept)
{
    static const struct {
        uint64_t total, unwritten, segment, writing, deleting;
    } rows[] = {
        {UINT64_C(64) << 20, 2 << 20, 1 << 20, 7 << 20, 3 << 20}, /* as in room.h */
        {UINT64_C(1) << 40, 0, 64 << 20, 68 << 20, 1 << 20},
        {10 << 20, 0, 64 << 20, 1 << 20, (10 << 20) / 64}, /* shares of a small one */
        {0, 5, 64 << 20, 5, 5},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct room_kept kept = room_kept(rows[i].total, rows[i].unwritten, rows[i].segment);
        ck_assert_uint_eq(kept.writing, rows[i].writing);
        ck_assert_uint_eq(kept.deleting, rows[i].deleting);
    }
}
END_TEST

START_TEST(room_for_merges)
{
    struct env *env = env_memory_create(1);
    struct env_file *file = NULL;
    static const uint8_t bytes[1 << 20];
    uint64_t room = 0;
    ck_assert_int_eq(env_make_dir(env, "/s"), PLSM_OK);
    env_memory_set_capacity(env, UINT64_C(64) << 20);
    ck_assert_int_eq(env_open(env, "/s/f", ENV_APPEND, &file), PLSM_OK);
    for (unsigned i = 0; i < 60; i++)
        ck_assert_int_eq(env_append(file, bytes, sizeof bytes), PLSM_OK);
    ck_assert_int_eq(room_for_merge(env, "/s", 0, &room), PLSM_OK);
    ck_assert_uint_eq(room, 3 << 20);
    ck_assert_int_eq(room_for_merge(env, "/s", 1 << 20, &room), PLSM_OK);
    ck_assert_uint_eq(room, 2 << 20);
    ck_assert_int_eq(room_for_merge(env, "/s", 50 << 20, &room), PLSM_OK);
    ck_assert_uint_eq(room, 2 << 20); /* half of what is free at least */
    ck_assert_int_eq(space_refuse_merge("/s"), PLSM_NO_SPACE);
    env_close(file);
    env_memory_destroy(env);
}
END_TEST

START_TEST(looks)
{
    struct env *env = env_memory_create(1); /* says that 1 TiB is free */
    struct room room = {.low = true};
    ck_assert_int_eq(env_make_dir(env, "/s"), PLSM_OK);
    ck_assert_int_eq(room_look(&room, env, "/s", 0, 1 << 20), PLSM_OK);
    ck_assert(!room.low);
    room.since_bytes = 100;
    ck_assert_int_eq(room_look(&room, env, "/s", 0, 1 << 20), PLSM_OK);
    ck_assert_uint_eq(room.since_bytes, 100); /* not yet again */
    room.since_bytes = 2 << 20;
    ck_assert_int_eq(room_look(&room, env, "/s", 0, 1 << 20), PLSM_OK);
    ck_assert_uint_eq(room.since_bytes, 0);
    env_memory_destroy(env);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("room");
    TCase *tcase = tcase_create("room");
    tcase_add_test(tcase, what_passes);
    tcase_add_test(tcase, what_is_kept);
    tcase_add_test(tcase, room_for_merges);
    tcase_add_test(tcase, looks);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_set_fork_status(runner, CK_NOFORK);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
