/* Reads beside a writer: whether every answer is right and comes soon while models are trained and replaced. */
#include <stdatomic.h>
#include <stdio.h>

#include "base/env.h"
#include "base/error.h"
#include "base/random.h"
#include "tools/bench/findings.h"

#include "base/banned.h"

enum { WRITTEN_OF = 20, CYCLES = 2 };
static const uint64_t LASTING_NS = UINT64_C(3000000000), SLOW_NS = UINT64_C(1000000) * FINDINGS_SLOW_MS;

struct busy {
    const struct stores *stores;
    plsm *db;
    atomic_bool stop, ended;
    _Atomic uint64_t cycles;
    plsm_status status;
    char message[512];
};

static uint64_t in_random_order(const void *arg, uint64_t i)
{
    const struct data *data = arg;
    return data_shuffled(data, i % data->keys);
}

/* Some keys are written again as they are, all is merged, and every model is made anew. */
static plsm_status cycle(struct busy *busy, uint64_t number)
{
    const plsm_slice all = {0};
    uint64_t count = busy->stores->data->keys / WRITTEN_OF + 1;
    TRY(stores_write(busy->stores, busy->db, in_random_order, busy->stores->data, number * count, count));
    TRY(plsm_flush(busy->db));
    TRY(plsm_compact(busy->db, all, all));
    return plsm_retrain(busy->db, true, NULL, NULL);
}

static void write_on(void *arg)
{
    struct busy *busy = arg;
    for (uint64_t number = 0; !atomic_load(&busy->stop) && busy->status == PLSM_OK; number++) {
        busy->status = cycle(busy, number);
        atomic_fetch_add(&busy->cycles, 1);
    }
    snprintf(busy->message, sizeof busy->message, "%s", plsm_message());
    atomic_store(&busy->ended, true);
}

static void note_failed(struct findings *f, const char *what)
{
    f->busy_failed++;
    f->verified.wrong++;
    if (!f->verified.first[0])
        snprintf(f->verified.first, sizeof f->verified.first, "while models were trained: %s", what);
}

/* Every other key is one that is there. */
static void read_one(struct findings *f, struct busy *busy, struct random *random, plsm_value *value)
{
    uint8_t buffer[SHAPE_KEY_MAX];
    const struct data *data = busy->stores->data;
    uint64_t index = random_below(random, data->keys);
    bool absent = index % 2;
    plsm_slice key = absent ? data_absent_key(data, index, buffer) : data_key(data, index, buffer);
    uint64_t begun = env_now_ns(env_posix());
    plsm_status status = plsm_get(busy->db, NULL, key, value);
    uint64_t took = env_now_ns(env_posix()) - begun;
    f->busy_reads++;
    f->busy_slow += took > SLOW_NS;
    f->busy_ns_longest = took > f->busy_ns_longest ? took : f->busy_ns_longest;
    if (status != PLSM_OK && status != PLSM_NOT_FOUND)
        note_failed(f, plsm_message());
    else if ((status == PLSM_NOT_FOUND) != absent)
        note_failed(f, absent ? "a key that is not there was found" : "a key that is there was not found");
    else if (!absent && !slice_equal(value->value, data_value(data, key, 0)))
        note_failed(f, "a value is not what was written");
}

plsm_status findings_busy(struct findings *f, const struct stores *stores)
{
    struct busy busy = {.stores = stores};
    struct env_thread *thread = NULL;
    struct random random;
    plsm_value value = {0};
    random_seed(&random, stores->data->seed + 7);
    TRY(stores_open_one(stores, "read", 0, 0, NULL, &busy.db));
    uint64_t begun = env_now_ns(env_posix());
    plsm_status status = env_thread_start(env_posix(), write_on, &busy, &thread);
    while (status == PLSM_OK && !atomic_load(&busy.ended) &&
           (env_now_ns(env_posix()) - begun < LASTING_NS || atomic_load(&busy.cycles) < CYCLES))
        read_one(f, &busy, &random, &value);
    f->busy_seconds = (double)(env_now_ns(env_posix()) - begun) / 1e9;
    atomic_store(&busy.stop, true);
    env_thread_join(thread);
    f->busy_updates = atomic_load(&busy.cycles);
    if (status == PLSM_OK && busy.status != PLSM_OK)
        status = fail(busy.status, "%s", busy.message);
    plsm_value_free(&value);
    plsm_status closed = plsm_close(busy.db);
    return status == PLSM_OK ? closed : status;
}
