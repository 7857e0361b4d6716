#include "tools/bench/subject.h"

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/env.h"
#include "base/error.h"
#include "tools/bench/clock.h"
#include "tools/bench/files.h"
#include "tools/text.h"

#include "base/banned.h"

enum { LOAD_BATCH = 1000 };

plsm_status subject_open(struct subject *subject, const struct errand *errand, const char *directory, const char *name,
                         uint64_t cache_bytes)
{
    const struct row_options *row = &errand->suite->plan->row;
    struct buf options = {0};
    bool is_volatile = errand->contender->promise == PROMISE_VOLATILE;
    *subject = (struct subject){
        .errand = errand, .durability = is_volatile ? PLSM_VOLATILE : PLSM_NONE, .batch_max = row->batch};
    if (snprintf(subject->path, sizeof subject->path, "%s/%s", directory, name) >= (int)sizeof subject->path)
        return fail(PLSM_INVALID, "%s: the path is too long", directory);
    plsm_status status =
        buf_printf(&options, "engine=%s,cache_size=%llu%s%s", errand->contender->engine,
                   (unsigned long long)cache_bytes, row->options ? "," : "", row->options ? row->options : "");
    if (status == PLSM_OK)
        status = buf_append(&options, "", 1);
    if (status == PLSM_OK)
        status = plsm_open(subject->path, PLSM_CREATE, (const char *)options.data, &subject->db);
    buf_free(&options);
    if (status == PLSM_OK && !(subject->batch = plsm_batch_create()))
        status = fail(PLSM_NO_MEMORY, "no memory for a batch");
    return status;
}

plsm_status subject_close(struct subject *subject)
{
    plsm_status status = subject->db ? subject_push(subject) : PLSM_OK;
    plsm_value_free(&subject->value);
    for (uint32_t i = 0; subject->values && i < SUBJECT_MANY; i++)
        plsm_value_free(&subject->values[i]);
    mem_free(subject->values);
    subject->values = NULL;
    plsm_batch_destroy(subject->batch);
    plsm_status closed = subject->db ? plsm_close(subject->db) : PLSM_OK;
    subject->db = NULL;
    subject->batch = NULL;
    return status == PLSM_OK ? closed : status;
}

/* --- single operations ------------------------------------------------------------------------------------------- */

plsm_status subject_push(struct subject *subject)
{
    if (subject->pending == 0)
        return PLSM_OK;
    subject->pending = 0;
    plsm_status status = plsm_write(subject->db, subject->batch, subject->durability);
    plsm_batch_clear(subject->batch);
    return status;
}

static plsm_status add(struct subject *subject, plsm_slice key, plsm_slice value, uint32_t most)
{
    TRY(plsm_batch_put(subject->batch, PLSM_NAMES, key, (plsm_slice){0}, value));
    return ++subject->pending >= most ? subject_push(subject) : PLSM_OK;
}

plsm_status subject_put(struct subject *subject, plsm_slice key, plsm_slice value)
{
    if (subject->errand->contender->promise == PROMISE_BATCH)
        return add(subject, key, value, subject->batch_max);
    return plsm_put(subject->db, key, value, subject->durability);
}

plsm_status subject_settle(struct subject *subject)
{
    TRY(subject_push(subject));
    clock_wait_until_idle();
    return PLSM_OK;
}

double subject_files(const struct subject *subject)
{
    return (double)files_bytes(subject->path);
}

/* --- many of them ------------------------------------------------------------------------------------------------ */

plsm_status subject_load(struct subject *subject, const struct data *data, bool fast)
{
    uint8_t buffer[SHAPE_MADE_MAX];
    for (uint64_t i = 0; i < data->keys; i++) {
        plsm_slice key = data_key(data, data_scattered(data, i), buffer), value = data_value(data, key, 0);
        TRY(fast ? add(subject, key, value, LOAD_BATCH) : subject_put(subject, key, value));
    }
    return subject_push(subject);
}

plsm_status subject_overwrite(struct subject *subject, const struct data *data, uint64_t count, uint64_t seed)
{
    uint8_t buffer[SHAPE_MADE_MAX];
    struct random random;
    random_seed(&random, seed);
    for (uint64_t i = 0; i < count; i++) {
        plsm_slice key = data_key(data, random_below(&random, data->keys), buffer);
        TRY(subject_put(subject, key, data_value(data, key, 1)));
    }
    return subject_push(subject);
}

/* Whether an answer is right. */
static inline plsm_status judge(const struct data *data, plsm_slice key, plsm_status status, plsm_slice value)
{
    char quoted[128];
    if (__builtin_expect(status == PLSM_OK && data_version(data, key, value) >= 0, 1))
        return PLSM_OK;
    if (status != PLSM_OK && status != PLSM_NOT_FOUND)
        return status;
    return fail(PLSM_CORRUPT, "wrong answer: key %s %s", text_quote(quoted, sizeof quoted, key),
                status == PLSM_OK ? "has another value than was written" : "is there and was not found");
}

plsm_status subject_read_one(struct subject *subject, const struct data *data, uint64_t index)
{
    uint8_t buffer[SHAPE_MADE_MAX];
    plsm_slice key = data_key(data, index, buffer);
    plsm_status status = subject_get(subject, key);
    return judge(data, key, status, subject->value.value);
}

plsm_status subject_read(struct subject *subject, const struct data *data, uint64_t count, uint64_t seed)
{
    struct random random;
    random_seed(&random, seed);
    for (uint64_t i = 0; i < count; i++)
        TRY(subject_read_one(subject, data, random_below(&random, data->keys)));
    return PLSM_OK;
}

plsm_status subject_read_many(struct subject *subject, const struct data *data, uint64_t count, uint64_t seed)
{
    uint8_t buffers[SUBJECT_MANY][SHAPE_MADE_MAX];
    plsm_slice keys[SUBJECT_MANY];
    plsm_status statuses[SUBJECT_MANY];
    struct random random;
    if (!subject->values && !(subject->values = mem_zalloc(SUBJECT_MANY * sizeof *subject->values)))
        return fail(PLSM_NO_MEMORY, "no memory for %d values", SUBJECT_MANY);
    random_seed(&random, seed);
    for (uint64_t left = count; left > 0;) {
        uint32_t some = left < SUBJECT_MANY ? (uint32_t)left : SUBJECT_MANY;
        for (uint32_t i = 0; i < some; i++)
            keys[i] = data_key(data, random_below(&random, data->keys), buffers[i]);
        TRY(plsm_multi_get(subject->db, NULL, keys, some, subject->values, statuses));
        for (uint32_t i = 0; i < some; i++)
            TRY(judge(data, keys[i], statuses[i], subject->values[i].value));
        left -= some;
    }
    return PLSM_OK;
}

plsm_status subject_read_all(struct subject *subject, const struct data *data)
{
    for (uint64_t i = 0; i < data->keys; i++)
        TRY(subject_read_one(subject, data, data_shuffled(data, i)));
    return PLSM_OK;
}

plsm_status subject_run(const struct errand *errand, const char *directory, uint64_t cache_bytes,
                        subject_measure *measure, double *figures)
{
    const struct row_options *row = &errand->suite->plan->row;
    struct subject subject = {0};
    struct data data = {0};
    plsm_status status = data_init(&data, row->shape, errand->job->keys, 0, row->value_bytes, row->seed);
    if (status == PLSM_OK)
        status = subject_open(&subject, errand, directory, "store", cache_bytes);
    if (status == PLSM_OK)
        status = measure(&subject, &data, figures);
    plsm_status closed = subject_close(&subject);
    data_free(&data);
    return status == PLSM_OK ? closed : status;
}

/* --- time -------------------------------------------------------------------------------------------------------- */

void stopwatch_start(struct stopwatch *watch)
{
    watch->cpu_ns = clock_process_cpu_ns();
    watch->wall_ns = env_now_ns(env_posix());
}

double stopwatch_wall_ns(const struct stopwatch *watch)
{
    return (double)(env_now_ns(env_posix()) - watch->wall_ns);
}

double stopwatch_cpu_ns(const struct stopwatch *watch)
{
    return (double)(clock_process_cpu_ns() - watch->cpu_ns);
}
