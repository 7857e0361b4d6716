/* The record log: round trips and damage. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/checksum.h"
#include "base/env_memory.h"
#include "tests/harness/reclog_plan.h"

#include "base/banned.h"

static void check_corrupt(struct env *env, const struct reclog_plan *plan, size_t damaged)
{
    struct reclog_result result;
    ck_assert_int_eq(reclog_plan_read(env, RECLOG_PLAN_PATH, plan, &result), PLSM_CORRUPT);
    ck_assert_uint_eq(result.records, damaged);
    ck_assert_uint_eq(result.end, plan->offsets[damaged]);
    char offset[32];
    snprintf(offset, sizeof offset, "offset %llu", (unsigned long long)plan->offsets[damaged]);
    ck_assert_ptr_nonnull(strstr(plsm_message(), offset));
}

static void content(struct env *env, uint8_t **data, size_t *size)
{
    ck_assert_int_eq(env_memory_content(env, RECLOG_PLAN_PATH, data, size), PLSM_OK);
}

/* --- round trips -------------------------------------------------------------------------------------------------- */

START_TEST(round_trip)
{
    static const size_t sizes[] = {
        0, 1, 7, 8, 9, 100, 4096, (1 << 20) - 32, 1 << 20, 3000, (3 << 20) + 5, 12, 0, (1 << 20) + 1, 9 << 20, 64, 31};
    bool posix = _i & 1, clean = _i & 2;
    char directory[] = "/tmp/plsm-reclog-XXXXXX", path[64] = RECLOG_PLAN_PATH;
    if (posix) {
        ck_assert_ptr_nonnull(mkdtemp(directory));
        snprintf(path, sizeof path, "%s/log", directory);
    }
    struct env *env = posix ? env_posix() : env_memory_create(1);
    struct reclog_plan plan = {0};
    struct reclog_writer *w = reclog_plan_create(env, path);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        ck_assert_int_eq(reclog_plan_add(w, &plan, sizes[i]), PLSM_OK);
    ck_assert_uint_eq(reclog_synced(w), RECLOG_PLAN_HEADERS);
    uint64_t written = reclog_salt(w);
    if (clean)
        ck_assert_int_eq(reclog_close_clean(w), PLSM_OK);
    else
        reclog_close(w);

    struct reclog_result result;
    ck_assert_int_eq(reclog_plan_read(env, path, &plan, &result), PLSM_OK);
    uint64_t end = plan.offsets[plan.count];
    ck_assert_uint_eq(result.records, plan.count);
    ck_assert_uint_eq(result.end, clean ? end + RECLOG_PLAN_RECORD : end);
    ck_assert_uint_eq(result.size, result.end);
    ck_assert_uint_eq(result.synced, clean ? end : RECLOG_PLAN_HEADERS);
    ck_assert(!result.torn);
    ck_assert_int_eq(result.closed, clean);

    struct env_file *file = NULL;
    uint64_t salt = 0;
    ck_assert_int_eq(env_open(env, path, ENV_READ, &file), PLSM_OK);
    ck_assert_int_eq(reclog_read_salt(file, RECLOG_PLAN_MAGIC, &salt), PLSM_OK);
    ck_assert(salt == result.salt && salt == written);
    ck_assert_int_eq(reclog_read_salt(file, "PLSMelse", &salt), PLSM_CORRUPT);
    env_close(file);

    struct reclog_seen seen = {.plan = &plan, .answer = PLSM_CONFLICT, .stop = 3};
    ck_assert_int_eq(reclog_read(env, path, RECLOG_PLAN_MAGIC, reclog_plan_see, &seen, &result), PLSM_CONFLICT);
    ck_assert_uint_eq(seen.count, 4);
    if (posix) {
        unlink(path);
        rmdir(directory);
    } else {
        env_memory_destroy(env);
    }
}
END_TEST

START_TEST(empty_missing_foreign)
{
    struct env *env = env_memory_create(1);
    struct reclog_plan none = {.offsets = {RECLOG_PLAN_HEADERS}};
    struct reclog_result result;
    ck_assert_int_eq(reclog_plan_read(env, RECLOG_PLAN_PATH, &none, &result), PLSM_NOT_FOUND);
    reclog_plan_put_file(env, "", 0);
    reclog_plan_check(env, &none, 0, true, false);
    reclog_close(reclog_plan_create(env, RECLOG_PLAN_PATH));
    reclog_plan_check(env, &none, 0, false, false);
    ck_assert_int_eq(reclog_close_clean(reclog_plan_create(env, RECLOG_PLAN_PATH)), PLSM_OK);
    reclog_plan_check(env, &none, 0, false, true);
    reclog_close(NULL);
    ck_assert_int_eq(reclog_close_clean(NULL), PLSM_OK);

    struct reclog_seen seen = {.plan = &none};
    ck_assert_int_eq(reclog_read(env, RECLOG_PLAN_PATH, "PLSMelse", reclog_plan_see, &seen, &result), PLSM_CORRUPT);
    ck_assert_ptr_nonnull(strstr(plsm_message(), "PLSMelse"));
    ck_assert_ptr_nonnull(strstr(plsm_message(), RECLOG_PLAN_MAGIC));

    /* A later version, rightly written. */
    uint8_t *data;
    size_t size;
    content(env, &data, &size);
    put_u32(data + 8, 7);
    put_u64(data + 24, checksum(data, 24, 0));
    ck_assert_int_eq(reclog_plan_read(env, RECLOG_PLAN_PATH, &none, &result), PLSM_VERSION);
    ck_assert_ptr_nonnull(strstr(plsm_message(), RECLOG_PLAN_PATH));
    ck_assert_ptr_nonnull(strstr(plsm_message(), "version 7"));
    ck_assert_ptr_nonnull(strstr(plsm_message(), "version 1 to 4"));
    env_memory_destroy(env);
}
END_TEST

START_TEST(too_large)
{
    struct env *env = env_memory_create(1);
    struct reclog_writer *w = reclog_plan_create(env, RECLOG_PLAN_PATH);
    uint8_t byte = 0;
    plsm_slice parts[] = {{&byte, 1}, {&byte, RECLOG_PAYLOAD_MAX}}; /* refused before it is read */
    ck_assert_int_eq(reclog_append(w, 0, parts, 2), PLSM_TOO_LARGE);
    struct reclog_plan plan = {0};
    ck_assert_int_eq(reclog_plan_add(w, &plan, 3), PLSM_OK);
    reclog_close(w);
    reclog_plan_check(env, &plan, 1, false, false);
    env_memory_destroy(env);
}
END_TEST

/* --- damage ------------------------------------------------------------------------------------------------------- */

/* Every byte of a closed log, with several masks: nothing is ever missing without an error. */
START_TEST(flips_of_a_closed_log)
{
    static const uint8_t masks[] = {0x01, 0x80, 0xff, 0x24};
    struct env *env = env_memory_create(1);
    struct reclog_plan plan;
    reclog_plan_small_log(env, &plan, true);
    uint8_t *data;
    size_t size;
    content(env, &data, &size);
    ck_assert_uint_eq(size, plan.offsets[6] + RECLOG_PLAN_RECORD);
    reclog_plan_check(env, &plan, 6, false, true);
    for (size_t at = 0; at < size; at++) {
        for (size_t i = 0; i < sizeof masks; i++) {
            data[at] ^= masks[i];
            size_t record = 0;
            while (record < 6 && plan.offsets[record + 1] <= at)
                record++;
            if (at < RECLOG_PLAN_HEADERS)
                reclog_plan_check(env, &plan, 6, false, true);
            else if (record < 6)
                check_corrupt(env, &plan, record);
            else
                reclog_plan_check(env, &plan, 6, true, false);
            data[at] ^= masks[i];
        }
    }
    /* Both headers; and bytes behind the end. */
    struct reclog_result result;
    data[17] ^= 1;
    data[512 + 30] ^= 1;
    ck_assert_int_eq(reclog_plan_read(env, RECLOG_PLAN_PATH, &plan, &result), PLSM_CORRUPT);
    ck_assert_uint_eq(result.records, 0);
    data[17] ^= 1;
    data[512 + 30] ^= 1;
    uint8_t *longer = calloc(1, size + 16); /* zeros: of a mapped log that was not cut */
    memcpy(longer, data, size);
    reclog_plan_put_file(env, longer, size + 16);
    reclog_plan_check(env, &plan, 6, false, true);
    longer[size + 15] = 1;
    reclog_plan_put_file(env, longer, size + 16);
    ck_assert_int_eq(reclog_plan_read(env, RECLOG_PLAN_PATH, &plan, &result), PLSM_CORRUPT);
    ck_assert_uint_eq(result.records, 6);
    free(longer);
    env_memory_destroy(env);
}
END_TEST

START_TEST(cut_at_every_length)
{
    struct env *env = env_memory_create(1);
    struct reclog_plan plan;
    reclog_plan_small_log(env, &plan, _i);
    uint8_t *data, whole[2000];
    size_t size;
    content(env, &data, &size);
    ck_assert_uint_le(size, sizeof whole);
    memcpy(whole, data, size);
    for (size_t length = 0; length <= size; length++) {
        reclog_plan_put_file(env, whole, length);
        size_t records = 0;
        while (records < 6 && plan.offsets[records + 1] <= length)
            records++;
        bool at_border = length >= RECLOG_PLAN_HEADERS &&
                         (length == plan.offsets[records] || length == plan.offsets[6] + RECLOG_PLAN_RECORD);
        reclog_plan_check(env, &plan, records, !at_border, _i && length == size);
    }
    env_memory_destroy(env);
}
END_TEST

/* Records 0 and 1 were synced, the later ones prove it; damage to these is a tear, whatever follows them. */
START_TEST(damage_around_the_synced_offset)
{
    struct env *env = env_memory_create(1);
    struct reclog_plan plan;
    reclog_plan_small_log(env, &plan, false);
    uint8_t *data;
    size_t size;
    content(env, &data, &size);
    for (size_t at = RECLOG_PLAN_HEADERS; at < size; at++) {
        data[at] ^= 0x10;
        size_t record = 0;
        while (plan.offsets[record + 1] <= at)
            record++;
        if (record < 2)
            check_corrupt(env, &plan, record);
        else
            reclog_plan_check(env, &plan, record, true, false);
        data[at] ^= 0x10;
    }
    /* Lost sectors read as zeros. */
    memset(data + plan.offsets[1], 0, plan.offsets[4] - plan.offsets[1]);
    check_corrupt(env, &plan, 1);
    memset(data + plan.offsets[1], 0, size - plan.offsets[1]); /* nothing is left that could prove it */
    reclog_plan_check(env, &plan, 1, false, false);
    env_memory_destroy(env);
}
END_TEST

/* Bytes of an older log at the same place, and a copy of a record inside a value, are never records. */
START_TEST(salted)
{
    struct env *env = env_memory_create(1);
    struct reclog_plan plan;
    reclog_plan_small_log(env, &plan, true);
    uint8_t *data, old[2000];
    size_t size, old_size;
    content(env, &data, &old_size);
    memcpy(old, data, old_size);
    reclog_plan_small_log(env, &plan, true);
    content(env, &data, &size);
    ck_assert_uint_eq(size, old_size);
    ck_assert_int_ne(memcmp(data, old, RECLOG_PLAN_HEADERS), 0);
    for (size_t record = 0; record < 6; record++) {
        uint8_t mixed[2000];
        memcpy(mixed, data, size);
        memcpy(mixed + plan.offsets[record], old + plan.offsets[record], size - plan.offsets[record]);
        reclog_plan_put_file(env, mixed, size);
        reclog_plan_check(env, &plan, record, true, false);
        reclog_plan_small_log(env, &plan, true);
        content(env, &data, &size);
    }

    /* A record of this very log at another place. */
    struct reclog_writer *w = reclog_plan_create(env, RECLOG_PLAN_PATH);
    plan = (struct reclog_plan){0};
    ck_assert_int_eq(reclog_plan_add(w, &plan, 24), PLSM_OK);
    ck_assert_int_eq(reclog_plan_add(w, &plan, 24), PLSM_OK);
    reclog_close(w);
    content(env, &data, &size);
    memcpy(data + plan.offsets[1], data + plan.offsets[0], RECLOG_PLAN_RECORD + 24);
    reclog_plan_check(env, &plan, 1, true, false);

    /* Record 0 whole as the payload of another, which is then damaged. */
    w = reclog_plan_create(env, RECLOG_PLAN_PATH);
    plan = (struct reclog_plan){0};
    ck_assert_int_eq(reclog_plan_add(w, &plan, 24), PLSM_OK);
    content(env, &data, &size);
    uint8_t copy[RECLOG_PLAN_RECORD + 24];
    memcpy(copy, data + RECLOG_PLAN_HEADERS, sizeof copy);
    plsm_slice part = slice(copy, sizeof copy);
    ck_assert_int_eq(reclog_append(w, 1001, &part, 1), PLSM_OK);
    reclog_close(w);
    content(env, &data, &size);
    ck_assert_int_eq(memcmp(data + plan.offsets[1] + RECLOG_PLAN_RECORD, copy, sizeof copy), 0);
    data[plan.offsets[1] + 9] ^= 1;
    reclog_plan_check(env, &plan, 1, true, false);
    env_memory_destroy(env);
}
END_TEST

/* A damaged record in front of much that is none: the scan behind it crosses windows, and finds the proof at the end.
 */
START_TEST(proof_far_behind)
{
    struct env *env = env_memory_create(1);
    struct reclog_plan plan = {0};
    struct reclog_writer *w = reclog_plan_create(env, RECLOG_PLAN_PATH);
    ck_assert_int_eq(reclog_plan_add(w, &plan, 100), PLSM_OK);
    ck_assert_int_eq(reclog_plan_add(w, &plan, (3 << 20) + 3), PLSM_OK);
    ck_assert_int_eq(reclog_plan_add(w, &plan, (2 << 20) + 3), PLSM_OK);
    ck_assert_int_eq(reclog_sync(w), PLSM_OK);
    ck_assert_int_eq(reclog_plan_add(w, &plan, 1), PLSM_OK);
    reclog_close(w);
    uint8_t *data;
    size_t size;
    content(env, &data, &size);
    data[plan.offsets[1] + 12] ^= 1; /* its length cannot be believed */
    data[plan.offsets[2] + 2000] ^= 1;
    check_corrupt(env, &plan, 1);
    data[plan.offsets[3] + 32] ^= 1; /* the proof itself */
    reclog_plan_check(env, &plan, 1, true, false);
    env_memory_destroy(env);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("reclog");
    TCase *tests = tcase_create("reclog");
    tcase_set_timeout(tests, 120);
    tcase_add_loop_test(tests, round_trip, 0, 4);
    tcase_add_test(tests, empty_missing_foreign);
    tcase_add_test(tests, too_large);
    tcase_add_test(tests, flips_of_a_closed_log);
    tcase_add_loop_test(tests, cut_at_every_length, 0, 2);
    tcase_add_test(tests, damage_around_the_synced_offset);
    tcase_add_test(tests, salted);
    tcase_add_test(tests, proof_far_behind);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_set_fork_status(runner, CK_NOFORK);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? 1 : 0;
}
