/* The record log: round trips, every damage, crashes after every call, failures of every call. */
#include <check.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/checksum.h"
#include "base/env_fault.h"
#include "base/env_memory.h"
#include "base/error.h"
#include "base/random.h"
#include "lsm/reclog.h"

#include "base/banned.h"

#define MAGIC "PLSMtest"
#define PATH "/log"
enum { HEADERS = 544, RECORD = 32, RECORDS_MAX = 64 };

/* --- what a log is expected to hold ------------------------------------------------------------------------------- */

/* Record i has the user field 1000 + i and a payload that follows from i and its size. */
struct plan {
    size_t count, sizes[RECORDS_MAX];
    uint64_t offsets[RECORDS_MAX + 1]; /* the last one: the end */
};

static size_t padded(size_t size)
{
    return (size + 7) / 8 * 8;
}

static void fill(uint8_t *to, size_t i, size_t size)
{
    struct random r;
    random_seed(&r, i * 1000003 + size);
    for (size_t at = 0; at < size; at += 8) {
        uint64_t word = random_next(&r);
        memcpy(to + at, &word, size - at < 8 ? size - at : 8);
    }
}

static plsm_status add(struct reclog_writer *w, struct plan *plan, size_t size)
{
    size_t i = plan->count;
    uint8_t *payload = malloc(size + 1);
    fill(payload, i, size);
    /* In parts: the first byte, nothing, the rest. */
    plsm_slice parts[] = {{payload, size > 0}, {NULL, 0}, {payload + (size > 0), size - (size > 0)}};
    uint64_t offset = reclog_size(w);
    plsm_status status = reclog_append(w, 1000 + i, parts, 3);
    free(payload);
    if (status == PLSM_OK) {
        plan->offsets[i] = offset;
        plan->sizes[i] = size;
        plan->offsets[i + 1] = offset + RECORD + padded(size);
        plan->count++;
        ck_assert_uint_eq(reclog_size(w), plan->offsets[i + 1]);
    } else {
        ck_assert_uint_eq(reclog_size(w), offset);
    }
    return status;
}

static struct reclog_writer *create(struct env *env, const char *path)
{
    struct reclog_writer *w;
    ck_assert_int_eq(reclog_create(env, path, MAGIC, &w), PLSM_OK);
    ck_assert_uint_eq(reclog_size(w), HEADERS);
    ck_assert_uint_eq(reclog_synced(w), HEADERS);
    return w;
}

/* --- reading and comparing ---------------------------------------------------------------------------------------- */

struct seen {
    const struct plan *plan;
    size_t count;
    plsm_status answer; /* what the callback returns at record `stop` */
    size_t stop;
};

static plsm_status see(void *arg, uint64_t user, plsm_slice payload, uint64_t offset)
{
    struct seen *seen = arg;
    size_t i = seen->count++;
    ck_assert_uint_lt(i, seen->plan->count);
    ck_assert_uint_eq(user, 1000 + i);
    ck_assert_uint_eq(offset, seen->plan->offsets[i]);
    ck_assert_uint_eq(payload.size, seen->plan->sizes[i]);
    uint8_t *want = malloc(payload.size + 1);
    fill(want, i, payload.size);
    ck_assert(slice_equal(payload, slice(want, payload.size)));
    free(want);
    return seen->answer != PLSM_OK && i == seen->stop ? seen->answer : PLSM_OK;
}

/* Reads; whatever is handed out must be the plan's first records. */
static plsm_status read_log(struct env *env, const char *path, const struct plan *plan, struct reclog_result *result)
{
    struct seen seen = {.plan = plan};
    plsm_status status = reclog_read(env, path, MAGIC, see, &seen, result);
    ck_assert_uint_eq(result->records, seen.count);
    if (status == PLSM_CORRUPT)
        ck_assert_ptr_nonnull(strstr(plsm_message(), path));
    return status;
}

static void check_records(struct env *env, const struct plan *plan, size_t count, bool torn, bool closed)
{
    struct reclog_result result;
    plsm_status status = read_log(env, PATH, plan, &result);
    ck_assert_msg(status == PLSM_OK, "%s", plsm_message());
    ck_assert_uint_eq(result.records, count);
    ck_assert_int_eq(result.torn, torn);
    ck_assert_int_eq(result.closed, closed);
}

static void check_corrupt(struct env *env, const struct plan *plan, size_t damaged)
{
    struct reclog_result result;
    ck_assert_int_eq(read_log(env, PATH, plan, &result), PLSM_CORRUPT);
    ck_assert_uint_eq(result.records, damaged);
    ck_assert_uint_eq(result.end, plan->offsets[damaged]);
    char offset[32];
    snprintf(offset, sizeof offset, "offset %llu", (unsigned long long)plan->offsets[damaged]);
    ck_assert_ptr_nonnull(strstr(plsm_message(), offset));
}

static void content(struct env *env, uint8_t **data, size_t *size)
{
    ck_assert_int_eq(env_memory_content(env, PATH, data, size), PLSM_OK);
}

static void put_file(struct env *env, const void *data, size_t size)
{
    struct env_file *file;
    ck_assert_int_eq(env_open(env, PATH, ENV_APPEND, &file), PLSM_OK);
    ck_assert_int_eq(env_append(file, data, size), PLSM_OK);
    env_close(file);
}

/* A small log of 6 records: 0 and 1 synced, 2 to 5 not unless it is closed. */
static void small_log(struct env *env, struct plan *plan, bool clean)
{
    static const size_t sizes[] = {5, 40, 0, 16, 33, 7};
    *plan = (struct plan){0};
    struct reclog_writer *w = create(env, PATH);
    for (size_t i = 0; i < 6; i++) {
        ck_assert_int_eq(add(w, plan, sizes[i]), PLSM_OK);
        if (i == 1) {
            ck_assert_int_eq(reclog_sync(w), PLSM_OK);
            ck_assert_uint_eq(reclog_synced(w), reclog_size(w));
        }
    }
    if (clean)
        ck_assert_int_eq(reclog_close_clean(w), PLSM_OK);
    else
        reclog_close(w);
}

/* --- round trips -------------------------------------------------------------------------------------------------- */

START_TEST(round_trip)
{
    static const size_t sizes[] = {
        0, 1, 7, 8, 9, 100, 4096, (1 << 20) - 32, 1 << 20, 3000, (3 << 20) + 5, 12, 0, (1 << 20) + 1, 9 << 20, 64, 31};
    bool posix = _i & 1, clean = _i & 2;
    char directory[] = "/tmp/plsm-reclog-XXXXXX", path[64] = PATH;
    if (posix) {
        ck_assert_ptr_nonnull(mkdtemp(directory));
        snprintf(path, sizeof path, "%s/log", directory);
    }
    struct env *env = posix ? env_posix() : env_memory_create(1);
    struct plan plan = {0};
    struct reclog_writer *w = create(env, path);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        ck_assert_int_eq(add(w, &plan, sizes[i]), PLSM_OK);
    ck_assert_uint_eq(reclog_synced(w), HEADERS);
    if (clean)
        ck_assert_int_eq(reclog_close_clean(w), PLSM_OK);
    else
        reclog_close(w);

    struct reclog_result result;
    ck_assert_int_eq(read_log(env, path, &plan, &result), PLSM_OK);
    uint64_t end = plan.offsets[plan.count];
    ck_assert_uint_eq(result.records, plan.count);
    ck_assert_uint_eq(result.end, clean ? end + RECORD : end);
    ck_assert_uint_eq(result.size, result.end);
    ck_assert_uint_eq(result.synced, clean ? end : HEADERS);
    ck_assert(!result.torn);
    ck_assert_int_eq(result.closed, clean);

    struct seen seen = {.plan = &plan, .answer = PLSM_CONFLICT, .stop = 3};
    ck_assert_int_eq(reclog_read(env, path, MAGIC, see, &seen, &result), PLSM_CONFLICT);
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
    struct plan none = {.offsets = {HEADERS}};
    struct reclog_result result;
    ck_assert_int_eq(read_log(env, PATH, &none, &result), PLSM_NOT_FOUND);
    put_file(env, "", 0);
    check_records(env, &none, 0, true, false);
    reclog_close(create(env, PATH));
    check_records(env, &none, 0, false, false);
    ck_assert_int_eq(reclog_close_clean(create(env, PATH)), PLSM_OK);
    check_records(env, &none, 0, false, true);
    reclog_close(NULL);
    ck_assert_int_eq(reclog_close_clean(NULL), PLSM_OK);

    struct seen seen = {.plan = &none};
    ck_assert_int_eq(reclog_read(env, PATH, "PLSMelse", see, &seen, &result), PLSM_CORRUPT);
    ck_assert_ptr_nonnull(strstr(plsm_message(), "PLSMelse"));
    ck_assert_ptr_nonnull(strstr(plsm_message(), MAGIC));

    /* A later version, rightly written. */
    uint8_t *data;
    size_t size;
    content(env, &data, &size);
    put_u32(data + 8, 7);
    put_u64(data + 24, checksum(data, 24, 0));
    ck_assert_int_eq(read_log(env, PATH, &none, &result), PLSM_VERSION);
    ck_assert_ptr_nonnull(strstr(plsm_message(), PATH));
    ck_assert_ptr_nonnull(strstr(plsm_message(), "version 7"));
    ck_assert_ptr_nonnull(strstr(plsm_message(), "version 1"));
    env_memory_destroy(env);
}
END_TEST

START_TEST(too_large)
{
    struct env *env = env_memory_create(1);
    struct reclog_writer *w = create(env, PATH);
    uint8_t byte = 0;
    plsm_slice parts[] = {{&byte, 1}, {&byte, RECLOG_PAYLOAD_MAX}}; /* refused before it is read */
    ck_assert_int_eq(reclog_append(w, 0, parts, 2), PLSM_TOO_LARGE);
    struct plan plan = {0};
    ck_assert_int_eq(add(w, &plan, 3), PLSM_OK);
    reclog_close(w);
    check_records(env, &plan, 1, false, false);
    env_memory_destroy(env);
}
END_TEST

/* --- damage ------------------------------------------------------------------------------------------------------- */

/* Every byte of a closed log, with several masks: nothing is ever missing without an error. */
START_TEST(flips_of_a_closed_log)
{
    static const uint8_t masks[] = {0x01, 0x80, 0xff, 0x24};
    struct env *env = env_memory_create(1);
    struct plan plan;
    small_log(env, &plan, true);
    uint8_t *data;
    size_t size;
    content(env, &data, &size);
    ck_assert_uint_eq(size, plan.offsets[6] + RECORD);
    check_records(env, &plan, 6, false, true);
    for (size_t at = 0; at < size; at++) {
        for (size_t i = 0; i < sizeof masks; i++) {
            data[at] ^= masks[i];
            size_t record = 0;
            while (record < 6 && plan.offsets[record + 1] <= at)
                record++;
            if (at < HEADERS)
                check_records(env, &plan, 6, false, true);
            else if (record < 6)
                check_corrupt(env, &plan, record);
            else
                check_records(env, &plan, 6, true, false);
            data[at] ^= masks[i];
        }
    }
    /* Both headers; and bytes behind the end. */
    struct reclog_result result;
    data[17] ^= 1;
    data[512 + 30] ^= 1;
    ck_assert_int_eq(read_log(env, PATH, &plan, &result), PLSM_CORRUPT);
    ck_assert_uint_eq(result.records, 0);
    data[17] ^= 1;
    data[512 + 30] ^= 1;
    uint8_t *longer = calloc(1, size + 16);
    memcpy(longer, data, size);
    put_file(env, longer, size + 16);
    ck_assert_int_eq(read_log(env, PATH, &plan, &result), PLSM_CORRUPT);
    ck_assert_uint_eq(result.records, 6);
    free(longer);
    env_memory_destroy(env);
}
END_TEST

START_TEST(cut_at_every_length)
{
    struct env *env = env_memory_create(1);
    struct plan plan;
    small_log(env, &plan, _i);
    uint8_t *data, whole[2000];
    size_t size;
    content(env, &data, &size);
    ck_assert_uint_le(size, sizeof whole);
    memcpy(whole, data, size);
    for (size_t length = 0; length <= size; length++) {
        put_file(env, whole, length);
        size_t records = 0;
        while (records < 6 && plan.offsets[records + 1] <= length)
            records++;
        bool at_border = length >= HEADERS && (length == plan.offsets[records] || length == plan.offsets[6] + RECORD);
        check_records(env, &plan, records, !at_border, _i && length == size);
    }
    env_memory_destroy(env);
}
END_TEST

/* Records 0 and 1 were synced, the later ones prove it; damage to these is a tear, whatever follows them. */
START_TEST(damage_around_the_synced_offset)
{
    struct env *env = env_memory_create(1);
    struct plan plan;
    small_log(env, &plan, false);
    uint8_t *data;
    size_t size;
    content(env, &data, &size);
    for (size_t at = HEADERS; at < size; at++) {
        data[at] ^= 0x10;
        size_t record = 0;
        while (plan.offsets[record + 1] <= at)
            record++;
        if (record < 2)
            check_corrupt(env, &plan, record);
        else
            check_records(env, &plan, record, true, false);
        data[at] ^= 0x10;
    }
    /* Lost sectors read as zeros. */
    memset(data + plan.offsets[1], 0, plan.offsets[4] - plan.offsets[1]);
    check_corrupt(env, &plan, 1);
    memset(data + plan.offsets[1], 0, size - plan.offsets[1]);
    check_records(env, &plan, 1, true, false);
    env_memory_destroy(env);
}
END_TEST

/* Bytes of an older log at the same place, and a copy of a record inside a value, are never records. */
START_TEST(salted)
{
    struct env *env = env_memory_create(1);
    struct plan plan;
    small_log(env, &plan, true);
    uint8_t *data, old[2000];
    size_t size, old_size;
    content(env, &data, &old_size);
    memcpy(old, data, old_size);
    small_log(env, &plan, true);
    content(env, &data, &size);
    ck_assert_uint_eq(size, old_size);
    ck_assert_int_ne(memcmp(data, old, HEADERS), 0);
    for (size_t record = 0; record < 6; record++) {
        uint8_t mixed[2000];
        memcpy(mixed, data, size);
        memcpy(mixed + plan.offsets[record], old + plan.offsets[record], size - plan.offsets[record]);
        put_file(env, mixed, size);
        check_records(env, &plan, record, true, false);
        small_log(env, &plan, true);
        content(env, &data, &size);
    }

    /* A record of this very log at another place. */
    struct reclog_writer *w = create(env, PATH);
    plan = (struct plan){0};
    ck_assert_int_eq(add(w, &plan, 24), PLSM_OK);
    ck_assert_int_eq(add(w, &plan, 24), PLSM_OK);
    reclog_close(w);
    content(env, &data, &size);
    memcpy(data + plan.offsets[1], data + plan.offsets[0], RECORD + 24);
    check_records(env, &plan, 1, true, false);

    /* Record 0 whole as the payload of another, which is then damaged. */
    w = create(env, PATH);
    plan = (struct plan){0};
    ck_assert_int_eq(add(w, &plan, 24), PLSM_OK);
    content(env, &data, &size);
    uint8_t copy[RECORD + 24];
    memcpy(copy, data + HEADERS, sizeof copy);
    plsm_slice part = slice(copy, sizeof copy);
    ck_assert_int_eq(reclog_append(w, 1001, &part, 1), PLSM_OK);
    reclog_close(w);
    content(env, &data, &size);
    ck_assert_int_eq(memcmp(data + plan.offsets[1] + RECORD, copy, sizeof copy), 0);
    data[plan.offsets[1] + 9] ^= 1;
    check_records(env, &plan, 1, true, false);
    env_memory_destroy(env);
}
END_TEST

/* A damaged record in front of much that is none: the scan behind it crosses windows, and finds the proof at the end.
 */
START_TEST(proof_far_behind)
{
    struct env *env = env_memory_create(1);
    struct plan plan = {0};
    struct reclog_writer *w = create(env, PATH);
    ck_assert_int_eq(add(w, &plan, 100), PLSM_OK);
    ck_assert_int_eq(add(w, &plan, (3 << 20) + 3), PLSM_OK);
    ck_assert_int_eq(add(w, &plan, (2 << 20) + 3), PLSM_OK);
    ck_assert_int_eq(reclog_sync(w), PLSM_OK);
    ck_assert_int_eq(add(w, &plan, 1), PLSM_OK);
    reclog_close(w);
    uint8_t *data;
    size_t size;
    content(env, &data, &size);
    data[plan.offsets[1] + 12] ^= 1; /* its length cannot be believed */
    data[plan.offsets[2] + 2000] ^= 1;
    check_corrupt(env, &plan, 1);
    data[plan.offsets[3] + 32] ^= 1; /* the proof itself */
    check_records(env, &plan, 1, true, false);
    env_memory_destroy(env);
}
END_TEST

/* --- crashes ------------------------------------------------------------------------------------------------------ */

enum { CRASH_CALLS_MAX = 200 };

START_TEST(crash_after_every_call)
{
    uint64_t seed = 50 + (uint64_t)_i;
    printf("reclog: crash seed %llu\n", (unsigned long long)seed);
    struct random r;
    random_seed(&r, seed);
    struct env *env = env_memory_create(seed);
    struct plan plan = {0};
    size_t promised[CRASH_CALLS_MAX] = {0};
    uint64_t named, last = 0; /* from call `named` on the file is there */
    struct reclog_writer *w = create(env, PATH);
    ck_assert_int_eq(env_sync_dir(env, "/"), PLSM_OK);
    named = env_memory_calls(env);
    while (plan.count < 40) {
        ck_assert_int_eq(add(w, &plan, random_below(&r, 4) ? random_below(&r, 100) : random_below(&r, 3000)), PLSM_OK);
        if (random_below(&r, 5) == 0) {
            ck_assert_int_eq(reclog_sync(w), PLSM_OK);
            last = env_memory_calls(env);
            promised[last] = plan.count;
        }
    }
    ck_assert_int_eq(reclog_close_clean(w), PLSM_OK);
    uint64_t calls = env_memory_calls(env);
    ck_assert_uint_lt(calls, CRASH_CALLS_MAX);
    promised[calls] = plan.count;

    size_t least = 0;
    for (uint64_t call = 0; call <= calls; call++) {
        if (promised[call])
            least = promised[call];
        for (int kind = 0; kind < ENV_CRASH_COUNT; kind++) {
            struct env *after = env_memory_crash(env, call, (enum env_crash)kind, seed + call);
            ck_assert_ptr_nonnull(after);
            struct reclog_result result;
            plsm_status status = read_log(after, PATH, &plan, &result);
            if (status == PLSM_NOT_FOUND)
                ck_assert_uint_lt(call, named);
            else
                ck_assert_msg(status == PLSM_OK, "call %d, kind %d: %s", (int)call, kind, plsm_message());
            ck_assert_uint_ge(result.records, least);
            ck_assert(!result.closed || result.records == plan.count);
            env_memory_destroy(after);
        }
    }
    env_memory_destroy(env);
}
END_TEST

/* --- failing calls ------------------------------------------------------------------------------------------------ */

START_TEST(append_fails_and_goes_on)
{
    static const enum env_fault faults[] = {ENV_FAULT_IO, ENV_FAULT_NO_SPACE, ENV_FAULT_SHORT};
    struct env *memory = env_memory_create(1), *env = env_fault_create(memory);
    struct plan plan = {0};
    struct reclog_writer *w = create(env, PATH);
    unsigned failures = 0;
    for (size_t i = 0; i < 60; i++) {
        enum env_fault fault = faults[i % 3];
        env_fault_arm(env, ENV_CALL_APPEND, 1, fault, false);
        plsm_status status = add(w, &plan, 100 + i);
        ck_assert(env_fault_fired(env));
        env_fault_disarm(env);
        if (fault == ENV_FAULT_SHORT) {
            ck_assert_int_eq(status, PLSM_OK);
        } else {
            ck_assert_int_eq(status, fault == ENV_FAULT_IO ? PLSM_IO : PLSM_NO_SPACE);
            ck_assert_ptr_nonnull(strstr(plsm_message(), PATH));
            failures++;
        }
        ck_assert(!reclog_broken(w));
        check_records(env, &plan, plan.count, false, false);
    }
    ck_assert_uint_eq(failures, 40);
    ck_assert_int_eq(reclog_sync(w), PLSM_OK);
    ck_assert_int_eq(reclog_close_clean(w), PLSM_OK);
    check_records(env, &plan, 20, false, true);
    env_fault_destroy(env);
    env_memory_destroy(memory);
}
END_TEST

/* The append fails and so does cutting back; or a sync fails. Either way nothing more is written. */
START_TEST(broken_for_good)
{
    struct env *memory = env_memory_create(1), *env = env_fault_create(memory);
    struct plan plan = {0};
    struct reclog_writer *w = create(env, PATH);
    ck_assert_int_eq(add(w, &plan, 10), PLSM_OK);
    if (_i) {
        env_fault_arm(env, ENV_CALL_SYNC, 1, ENV_FAULT_IO, false);
        ck_assert_int_eq(reclog_sync(w), PLSM_IO);
        ck_assert_uint_eq(reclog_synced(w), HEADERS);
    } else {
        env_fault_arm(env, ENV_CALL_ANY, 1, ENV_FAULT_IO, true);
        ck_assert_int_eq(add(w, &plan, 1000), PLSM_IO);
    }
    env_fault_disarm(env);
    ck_assert(reclog_broken(w));
    ck_assert_int_eq(add(w, &plan, 1), PLSM_READ_ONLY);
    ck_assert_ptr_nonnull(strstr(plsm_message(), PATH));
    ck_assert_ptr_nonnull(strstr(plsm_message(), "injected"));
    ck_assert_int_eq(reclog_sync(w), PLSM_READ_ONLY);
    ck_assert_uint_eq(env_fault_calls(env, ENV_CALL_ANY), 0);
    ck_assert_int_eq(reclog_close_clean(w), PLSM_READ_ONLY);
    struct reclog_result result;
    ck_assert_int_eq(read_log(env, PATH, &plan, &result), PLSM_OK);
    ck_assert_uint_eq(result.records, 1);
    env_fault_destroy(env);
    env_memory_destroy(memory);
}
END_TEST

/* Every call of creating, closing and reading fails once; every allocation too. */
START_TEST(every_call_fails)
{
    struct env *memory = env_memory_create(1), *env = env_fault_create(memory);
    struct plan plan;
    small_log(memory, &plan, true);
    struct reclog_result result;
    plsm_status status = PLSM_IO;
    for (uint64_t nth = 1; status != PLSM_OK; nth++) {
        env_fault_arm(env, ENV_CALL_ANY, nth, ENV_FAULT_IO, false);
        status = read_log(env, PATH, &plan, &result);
        ck_assert_int_eq(status == PLSM_IO, env_fault_fired(env));
    }
    env_fault_disarm(env);
    status = PLSM_NO_MEMORY;
    for (uint64_t nth = 1; status != PLSM_OK; nth++) {
        mem_fail_at(nth);
        status = read_log(env, PATH, &plan, &result);
        mem_fail_at(0);
        ck_assert(status == PLSM_OK || status == PLSM_NO_MEMORY);
    }
    struct plan none = {.offsets = {HEADERS}};
    struct reclog_writer *w = NULL;
    for (uint64_t nth = 1; nth < 20; nth++) {
        ck_assert_int_eq(env_remove(memory, PATH), PLSM_OK);
        env_fault_arm(env, ENV_CALL_ANY, nth, ENV_FAULT_IO, false);
        status = reclog_create(env, PATH, MAGIC, &w);
        ck_assert_int_eq(status == PLSM_OK, w != NULL);
        if (status == PLSM_OK)
            status = reclog_close_clean(w);
        ck_assert_int_eq(status == PLSM_IO, env_fault_fired(env));
        env_fault_disarm(env);
        status = read_log(env, PATH, &none, &result);
        ck_assert(status == PLSM_OK || (status == PLSM_NOT_FOUND && nth == 1));
        mem_fail_at(nth);
        status = reclog_create(env, PATH, MAGIC, &w);
        mem_fail_at(0);
        ck_assert(status == PLSM_OK || (status == PLSM_NO_MEMORY && !w));
        reclog_close(w);
        if (status != PLSM_OK)
            put_file(memory, "", 0);
    }
    w = create(env, PATH);
    plan = (struct plan){0};
    mem_fail_at(1);
    ck_assert_int_eq(add(w, &plan, 10), PLSM_NO_MEMORY);
    mem_fail_at(0);
    ck_assert_int_eq(add(w, &plan, 10), PLSM_OK);
    reclog_close(w);
    check_records(env, &plan, 1, false, false);
    env_fault_destroy(env);
    env_memory_destroy(memory);
}
END_TEST

/* --- syncing beside appending ------------------------------------------------------------------------------------- */

static _Atomic bool appended_all;

static void *sync_often(void *arg)
{
    struct reclog_writer *w = arg;
    while (!atomic_load(&appended_all)) {
        uint64_t before = reclog_size(w);
        if (reclog_sync(w) != PLSM_OK || reclog_synced(w) < before || reclog_synced(w) > reclog_size(w))
            abort();
    }
    return NULL;
}

START_TEST(sync_beside_append)
{
    struct env *env = env_memory_create(1);
    struct reclog_writer *w = create(env, PATH);
    struct plan plan = {0};
    pthread_t threads[2];
    atomic_store(&appended_all, false);
    for (int i = 0; i < 2; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, sync_often, w), 0);
    while (plan.count < RECORDS_MAX)
        ck_assert_int_eq(add(w, &plan, 2000), PLSM_OK);
    atomic_store(&appended_all, true);
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    ck_assert_int_eq(reclog_close_clean(w), PLSM_OK);
    check_records(env, &plan, RECORDS_MAX, false, true);
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
    tcase_add_loop_test(tests, crash_after_every_call, 0, 4);
    tcase_add_test(tests, append_fails_and_goes_on);
    tcase_add_loop_test(tests, broken_for_good, 0, 2);
    tcase_add_test(tests, every_call_fails);
    tcase_add_test(tests, sync_beside_append);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_set_fork_status(runner, CK_NOFORK);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? 1 : 0;
}
