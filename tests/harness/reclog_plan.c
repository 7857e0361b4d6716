/* The record log that tests write and compare with. */
#include "tests/harness/reclog_plan.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/random.h"

#include "base/banned.h"

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

plsm_status reclog_plan_add(struct reclog_writer *w, struct reclog_plan *plan, size_t size)
{
    size_t i = plan->count;
    uint8_t *room = malloc(RECLOG_ROOM_BEFORE + size + RECLOG_ROOM_BEHIND), *payload = room + RECLOG_ROOM_BEFORE;
    fill(payload, i, size);
    /* Every second one where it stands; the others in parts: the first byte, nothing, the rest. */
    plsm_slice parts[] = {{payload, size > 0}, {NULL, 0}, {payload + (size > 0), size - (size > 0)}};
    uint64_t offset = reclog_size(w);
    plsm_status status =
        i % 2 ? reclog_append_in_place(w, 1000 + i, payload, size) : reclog_append(w, 1000 + i, parts, 3);
    free(room);
    if (status == PLSM_OK) {
        plan->offsets[i] = offset;
        plan->sizes[i] = size;
        plan->offsets[i + 1] = offset + RECLOG_PLAN_RECORD + padded(size);
        plan->count++;
        ck_assert_uint_eq(reclog_size(w), plan->offsets[i + 1]);
    } else {
        ck_assert_uint_eq(reclog_size(w), offset);
    }
    return status;
}

static struct reclog_writer *create(struct env *env, const char *path, bool mapped)
{
    struct reclog_writer *w = NULL;
    plsm_status status = (mapped ? reclog_create_mapped : reclog_create)(env, path, RECLOG_PLAN_MAGIC, &w);
    ck_assert_msg(status == PLSM_OK, "%s", plsm_message());
    ck_assert_uint_eq(reclog_size(w), RECLOG_PLAN_HEADERS);
    ck_assert_uint_eq(reclog_synced(w), RECLOG_PLAN_HEADERS);
    return w;
}

struct reclog_writer *reclog_plan_create(struct env *env, const char *path)
{
    return create(env, path, false);
}

struct reclog_writer *reclog_plan_create_mapped(struct env *env, const char *path)
{
    return create(env, path, true);
}

void reclog_plan_make_spare(struct env *env)
{
    struct reclog_plan plan = {0};
    struct reclog_writer *w = reclog_plan_create_mapped(env, RECLOG_PLAN_SPARE);
    while (plan.count < RECLOG_PLAN_RECORDS_MAX)
        ck_assert_int_eq(reclog_plan_add(w, &plan, 50 + 13 * plan.count), PLSM_OK);
    ck_assert_int_eq(reclog_sync(w), PLSM_OK);
    reclog_close(w);
    ck_assert_int_eq(env_sync_dir(env, "/"), PLSM_OK);
}

struct reclog_writer *reclog_plan_create_over(struct env *env, const char *path)
{
    struct reclog_writer *w = NULL;
    reclog_plan_make_spare(env);
    ck_assert_int_eq(reclog_create_over(env, RECLOG_PLAN_SPARE, path, RECLOG_PLAN_MAGIC, &w), PLSM_OK);
    ck_assert_uint_eq(reclog_size(w), RECLOG_PLAN_HEADERS);
    ck_assert_uint_eq(reclog_synced(w), RECLOG_PLAN_HEADERS);
    return w;
}

plsm_status reclog_plan_see(void *arg, uint64_t user, plsm_slice payload, uint64_t offset)
{
    struct reclog_seen *seen = arg;
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

plsm_status reclog_plan_read(struct env *env, const char *path, const struct reclog_plan *plan,
                             struct reclog_result *result)
{
    struct reclog_seen seen = {.plan = plan};
    plsm_status status = reclog_read(env, path, RECLOG_PLAN_MAGIC, reclog_plan_see, &seen, result);
    ck_assert_uint_eq(result->records, seen.count);
    if (status == PLSM_CORRUPT)
        ck_assert_ptr_nonnull(strstr(plsm_message(), path));
    return status;
}

void reclog_plan_check(struct env *env, const struct reclog_plan *plan, size_t count, bool torn, bool closed)
{
    struct reclog_result result;
    plsm_status status = reclog_plan_read(env, RECLOG_PLAN_PATH, plan, &result);
    ck_assert_msg(status == PLSM_OK, "%s", plsm_message());
    ck_assert_uint_eq(result.records, count);
    ck_assert_int_eq(result.torn, torn);
    ck_assert_int_eq(result.closed, closed);
}

void reclog_plan_put_file(struct env *env, const void *data, size_t size)
{
    struct env_file *file;
    ck_assert_int_eq(env_open(env, RECLOG_PLAN_PATH, ENV_APPEND, &file), PLSM_OK);
    ck_assert_int_eq(env_append(file, data, size), PLSM_OK);
    env_close(file);
}

static void fill_small_log(struct reclog_writer *w, struct reclog_plan *plan, bool clean)
{
    static const size_t sizes[] = {5, 40, 0, 16, 33, 7};
    *plan = (struct reclog_plan){0};
    for (size_t i = 0; i < 6; i++) {
        ck_assert_int_eq(reclog_plan_add(w, plan, sizes[i]), PLSM_OK);
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

void reclog_plan_small_log(struct env *env, struct reclog_plan *plan, bool clean)
{
    fill_small_log(reclog_plan_create(env, RECLOG_PLAN_PATH), plan, clean);
}

void reclog_plan_small_mapped_log(struct env *env, struct reclog_plan *plan, bool clean)
{
    fill_small_log(reclog_plan_create_mapped(env, RECLOG_PLAN_PATH), plan, clean);
}

void reclog_plan_small_log_over(struct env *env, struct reclog_plan *plan, bool clean)
{
    fill_small_log(reclog_plan_create_over(env, RECLOG_PLAN_PATH), plan, clean);
}
