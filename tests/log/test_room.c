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
        struct room room = {.low = true};
        ck_assert_int_eq(room_check(&room, "store", &batch), rows[i].passes ? PLSM_OK : PLSM_NO_SPACE);
        room.low = false;
        ck_assert_int_eq(room_check(&room, "store", &batch), PLSM_OK);
        batch_free(&batch);
    }
}
END_TEST

START_TEST(looks)
{
    struct env *env = env_memory_create(1); /* says that 1 TiB is free */
    struct room room = {.low = true};
    ck_assert_int_eq(env_make_dir(env, "/s"), PLSM_OK);
    ck_assert_int_eq(room_look(&room, env, "/s", 1 << 20), PLSM_OK);
    ck_assert(!room.low);
    room.since_bytes = 100;
    ck_assert_int_eq(room_look(&room, env, "/s", 1 << 20), PLSM_OK);
    ck_assert_uint_eq(room.since_bytes, 100); /* not yet again */
    room.since_bytes = 2 << 20;
    ck_assert_int_eq(room_look(&room, env, "/s", 1 << 20), PLSM_OK);
    ck_assert_uint_eq(room.since_bytes, 0);
    env_memory_destroy(env);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("room");
    TCase *tcase = tcase_create("room");
    tcase_add_test(tcase, what_passes);
    tcase_add_test(tcase, looks);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_set_fork_status(runner, CK_NOFORK);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
