/* The record log in space taken in advance: zeros behind the end, holes of zeros, and reading beside the writer. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "base/env_memory.h"
#include "tests/harness/reclog_plan.h"

#include "base/banned.h"

enum { FILE_MAX = 20000 };

/* The whole file as a reader sees it. */
static size_t seen(struct env *env, uint8_t *bytes)
{
    struct env_file *file = NULL;
    size_t size = 0;
    ck_assert_int_eq(env_open(env, RECLOG_PLAN_PATH, ENV_READ, &file), PLSM_OK);
    ck_assert_int_eq(env_read_some(file, 0, bytes, FILE_MAX, &size), PLSM_OK);
    ck_assert_uint_lt(size, FILE_MAX);
    env_close(file);
    return size;
}

static plsm_status read_status(struct env *env, const struct reclog_plan *plan, uint64_t *records)
{
    struct reclog_result result;
    plsm_status status = reclog_plan_read(env, RECLOG_PLAN_PATH, plan, &result);
    *records = result.records;
    return status;
}

START_TEST(zeros_are_the_end)
{
    struct env *env = env_memory_create(1);
    struct reclog_plan plan;
    uint8_t bytes[FILE_MAX];
    reclog_plan_small_mapped_log(env, &plan, false);
    size_t size = seen(env, bytes);
    ck_assert_uint_eq(size, 4096);
    reclog_plan_check(env, &plan, 6, false, false);
    /* Whatever else stands there is a tear, unless it stands where a record begins and proves something. */
    for (size_t at = plan.offsets[6]; at < size; at += 5) {
        bytes[at] = 0x40;
        reclog_plan_put_file(env, bytes, size);
        reclog_plan_check(env, &plan, 6, true, false);
        bytes[at] = 0;
    }
    /* A clean close takes them away. */
    reclog_plan_small_mapped_log(env, &plan, true);
    ck_assert_uint_eq(seen(env, bytes), plan.offsets[6] + RECLOG_PLAN_RECORD);
    reclog_plan_check(env, &plan, 6, false, true);
    env_memory_destroy(env);
}
END_TEST

/* Pages that did not reach the disk read as zeros, each by itself: every hole over whole or partial records. */
START_TEST(holes)
{
    struct env *env = env_memory_create(1);
    struct reclog_plan plan;
    uint8_t bytes[FILE_MAX], holed[FILE_MAX];
    reclog_plan_small_mapped_log(env, &plan, false);
    size_t size = seen(env, bytes);
    for (size_t from = RECLOG_PLAN_HEADERS; from < plan.offsets[6]; from += 4)
        for (size_t to = from + 4; to <= plan.offsets[6]; to += 12) {
            memcpy(holed, bytes, size);
            memset(holed + from, 0, to - from);
            size_t record = 0; /* the first that is hit: one that is zeros there anyway is not */
            while (record < 6 && memcmp(holed + plan.offsets[record], bytes + plan.offsets[record],
                                        plan.offsets[record + 1] - plan.offsets[record]) == 0)
                record++;
            reclog_plan_put_file(env, holed, size);
            uint64_t records;
            plsm_status status = read_status(env, &plan, &records);
            ck_assert_uint_eq(records, record);
            /* Records 0 and 1 were synced; the records from 2 on, which prove it, are whole unless hit. */
            bool proven = record < 2 && to < plan.offsets[6] - RECLOG_PLAN_RECORD - 8;
            if (record >= 2)
                ck_assert_int_eq(status, PLSM_OK);
            else if (proven)
                ck_assert_int_eq(status, PLSM_CORRUPT);
        }
    env_memory_destroy(env);
}
END_TEST

/* What a spare log held stands behind the end, as whole records of its own: none of them is one of the new log, and
 * none proves or hides a damage. */
START_TEST(what_it_held_is_no_record)
{
    struct env *env = env_memory_create(1);
    struct reclog_plan plan;
    uint8_t bytes[2 * FILE_MAX], holed[2 * FILE_MAX];
    struct env_file *file = NULL;
    uint64_t records;
    size_t size = 0;
    reclog_plan_small_log_over(env, &plan, false);
    ck_assert_int_eq(env_open(env, RECLOG_PLAN_PATH, ENV_READ, &file), PLSM_OK);
    ck_assert_int_eq(env_read_some(file, 0, bytes, sizeof bytes, &size), PLSM_OK);
    env_close(file);
    ck_assert_uint_lt(size, sizeof bytes);
    ck_assert_uint_gt(size, plan.offsets[6] + 10000);
    reclog_plan_check(env, &plan, 6, true, false);
    for (size_t at = RECLOG_PLAN_HEADERS; at < plan.offsets[6]; at++) { /* a bit of each byte is wrong */
        size_t record = 0;
        while (at >= plan.offsets[record + 1])
            record++;
        memcpy(holed, bytes, size);
        holed[at] ^= (uint8_t)(1 << at % 8);
        reclog_plan_put_file(env, holed, size);
        plsm_status status = read_status(env, &plan, &records);
        ck_assert_uint_eq(records, record);
        ck_assert_int_eq(status, record < 2 ? PLSM_CORRUPT : PLSM_OK); /* those were synced, others prove it */
    }
    reclog_plan_small_log_over(env, &plan, true);
    ck_assert_uint_eq(seen(env, bytes), plan.offsets[6] + RECLOG_PLAN_RECORD);
    reclog_plan_check(env, &plan, 6, false, true);
    env_memory_destroy(env);
}
END_TEST

/* A crash before the header was synced leaves zeros only; zeros in place of the header in front of records is damage.
 */
START_TEST(headers)
{
    struct env *env = env_memory_create(1);
    struct reclog_plan plan;
    uint8_t bytes[FILE_MAX], zeros[FILE_MAX] = {0};
    uint64_t records;
    reclog_plan_small_mapped_log(env, &plan, false);
    size_t size = seen(env, bytes);
    reclog_plan_put_file(env, zeros, size);
    reclog_plan_check(env, &plan, 0, true, false);
    memcpy(zeros, bytes, 20); /* a part of the first copy */
    reclog_plan_put_file(env, zeros, size);
    reclog_plan_check(env, &plan, 0, true, false);
    memset(bytes, 0, RECLOG_PLAN_HEADERS);
    reclog_plan_put_file(env, bytes, size);
    ck_assert_int_eq(read_status(env, &plan, &records), PLSM_CORRUPT);
    ck_assert_uint_eq(records, 0);
    env_memory_destroy(env);
}
END_TEST

/* --- beside the writer -------------------------------------------------------------------------------------------- */

static struct {
    const struct env_ops *ops;
    uint64_t from, to; /* bytes that the first read saw too early */
    unsigned reads;
} late;

static plsm_status late_read(struct env_file *file, uint64_t offset, void *data, size_t size, size_t *got)
{
    plsm_status status = late.ops->read(file, offset, data, size, got);
    if (late.reads++ == 0)
        for (uint64_t at = late.from; at < late.to; at++)
            if (at >= offset && at - offset < *got)
                ((uint8_t *)data)[at - offset] = 0;
    return status;
}

/* A read copies the front of the file, then the writer appends, syncs and appends again, then it copies the rest: the
 * front is older than what proves that it was synced. That is not damage. */
START_TEST(a_late_front_is_read_again)
{
    struct env *env = env_memory_create(1);
    struct reclog_plan plan;
    reclog_plan_small_mapped_log(env, &plan, false);
    late.ops = env->ops;
    struct env_ops ops = *env->ops;
    ops.read = late_read;
    env->ops = &ops;
    for (size_t record = 0; record < 2; record++) {
        late.from = plan.offsets[record];
        late.to = plan.offsets[2];
        late.reads = 0;
        reclog_plan_check(env, &plan, 6, false, false);
        ck_assert_uint_ge(late.reads, 2);
    }
    /* What was not synced is not missed: it ends there. */
    late.from = plan.offsets[2];
    late.to = plan.offsets[3];
    late.reads = 0;
    reclog_plan_check(env, &plan, 2, true, false);
    env->ops = late.ops;
    env_memory_destroy(env);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("reclog, mapped");
    TCase *tests = tcase_create("reclog_mapped");
    tcase_set_timeout(tests, 120);
    tcase_add_test(tests, zeros_are_the_end);
    tcase_add_test(tests, holes);
    tcase_add_test(tests, headers);
    tcase_add_test(tests, what_it_held_is_no_record);
    tcase_add_test(tests, a_late_front_is_read_again);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_set_fork_status(runner, CK_NOFORK);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? 1 : 0;
}
