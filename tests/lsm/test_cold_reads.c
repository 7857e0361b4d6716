/* Keys that are asked for together and are not in memory: their pages are read together too, in calls that can have all
 * of them under way at once. */
#include <stdio.h>

#include "base/env_memory.h"
#include "tests/harness/store_fixture.h"

#include "base/banned.h"

enum { KEYS = 4000, TOGETHER = 64 };

static uint64_t calls, read_together;

/* Leaves all to be read one by one. */
static void count_pieces(struct env *env, struct env_piece *pieces, size_t count)
{
    (void)env, (void)pieces;
    calls++;
    read_together += count;
}

static plsm_slice key_of(unsigned i, char *text)
{
    return slice(text, (size_t)snprintf(text, 32, "key/%06u", i));
}

START_TEST(pages_are_read_together)
{
    static const char *const options[] = {"background=0,cache_size=16M,index=learned",
                                          "background=0,cache_size=16M,index=traditional"};
    struct env *env = env_memory_create(1);
    struct env_ops ops = *env->ops;
    uint8_t value[200];
    char text[32];
    ops.read_many = count_pieces;
    env->ops = &ops;
    plsm *db = fixture_open(env, PLSM_CREATE, options[_i]);
    for (unsigned i = 0; i < KEYS; i++) {
        fixture_fill(value, sizeof value, i);
        assert_ok(plsm_put(db, key_of(i, text), slice(value, sizeof value), PLSM_NONE));
    }
    assert_ok(plsm_flush(db));
    assert_ok(plsm_close(db));
    db = fixture_open(env, 0, options[_i]);
    char texts[TOGETHER][32];
    plsm_slice keys[TOGETHER];
    static plsm_value values[TOGETHER];
    plsm_status statuses[TOGETHER];
    for (unsigned i = 0; i < TOGETHER; i++)
        keys[i] = key_of(i * (KEYS / TOGETHER), texts[i]); /* each on a page of its own */
    calls = read_together = 0;
    assert_ok(plsm_multi_get(db, NULL, keys, TOGETHER, values, statuses));
    for (unsigned i = 0; i < TOGETHER; i++) {
        fixture_fill(value, sizeof value, i * (KEYS / TOGETHER));
        ck_assert(statuses[i] == PLSM_OK && slice_equal(values[i].value, slice(value, sizeof value)));
        plsm_value_free(&values[i]);
    }
    ck_assert_uint_ge(read_together, TOGETHER * 3 / 4);
    ck_assert_uint_le(calls, TOGETHER / 8);
    assert_ok(plsm_close(db));
    env_memory_destroy(env);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("cold_reads");
    TCase *tcase = tcase_create("cold_reads");
    tcase_add_loop_test(tcase, pages_are_read_together, 0, 2);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
