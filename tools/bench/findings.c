#include "tools/bench/findings.h"

#include "base/env.h"
#include "base/error.h"
#include "base/random.h"
#include "tools/progress.h"

#include "base/banned.h"

enum { PREDICTIONS = 20000, UPDATES = 5, UPDATE_KEYS = 1000, VERIFIED_AT_ONCE = 200000 };

const struct compare_row *findings_row(const struct findings *f, const char *operation, const char *mode)
{
    for (size_t i = 0; i < f->row_count; i++)
        if (strcmp(f->rows[i].operation, operation) == 0 && strcmp(f->rows[i].mode, mode) == 0)
            return &f->rows[i];
    return NULL;
}

plsm_status findings_verify(struct findings *f, const struct stores *stores, uint64_t lookups)
{
    struct verify_counts counts = {0};
    TRY(verify_stores(stores, lookups, &counts));
    f->verified.lookups += counts.lookups;
    f->verified.present += counts.present;
    f->verified.absent += counts.absent;
    f->verified.wrong += counts.wrong;
    if (!f->verified.first[0])
        memcpy(f->verified.first, counts.first, sizeof counts.first);
    return PLSM_OK;
}

/* --- predictions -------------------------------------------------------------------------------------------------- */

static plsm_status time_prediction(plsm *db, plsm_slice key, unsigned level, bool page, struct histogram *out)
{
    plsm_place place;
    uint64_t begun = env_now_ns(env_posix());
    plsm_status status = plsm_locate(db, key, level, page, &place);
    uint64_t took = env_now_ns(env_posix()) - begun;
    if (status == PLSM_OK)
        histogram_add(out, took);
    return status == PLSM_NOT_FOUND ? PLSM_OK : status;
}

/* Each prediction is timed by itself, so that slow ones show; a reading of the clock is in each. */
static plsm_status time_predictions(struct findings *f, const struct stores *stores)
{
    uint8_t buffer[SHAPE_MADE_MAX];
    struct random random;
    random_seed(&random, stores->data->seed);
    for (int i = 0; i < PREDICTIONS; i++) {
        plsm_slice key = data_key(stores->data, random_below(&random, stores->data->keys), buffer);
        for (unsigned level = 0; level < f->levels; level++) {
            TRY(time_prediction(stores->db[0], key, level, false, &f->find_file));
            TRY(time_prediction(stores->db[0], key, level, true, &f->find_page));
        }
    }
    return PLSM_OK;
}

/* --- training ----------------------------------------------------------------------------------------------------- */

struct training {
    struct findings *f;
    uint64_t before_ns, before_bytes;
};

/* Called behind each file. */
static void note_file(void *arg, uint64_t done, uint64_t bytes)
{
    struct training *t = arg;
    uint64_t now = env_now_ns(env_posix());
    (void)bytes;
    t->f->files++;
    if (now - t->before_ns > t->f->train_ns_longest) {
        t->f->train_ns_longest = now - t->before_ns;
        t->f->train_bytes_longest = done - t->before_bytes;
    }
    t->before_ns = now;
    t->before_bytes = done;
}

static uint64_t any_key(const void *arg, uint64_t i)
{
    const struct data *data = arg;
    return data_shuffled(data, (i * 7919) % data->keys);
}

static plsm_status time_training(struct findings *f, const struct stores *stores)
{
    plsm *db = NULL;
    TRY(stores_open_one(stores, "read", 0, 0, NULL, &db));
    struct training training = {.f = f, .before_ns = env_now_ns(env_posix())};
    plsm_status status = plsm_retrain(db, true, note_file, &training);
    for (uint64_t i = 0; i < UPDATES && status == PLSM_OK; i++) {
        status = stores_write(stores, db, any_key, stores->data, i * UPDATE_KEYS, UPDATE_KEYS);
        uint64_t begun = env_now_ns(env_posix());
        if (status == PLSM_OK)
            status = plsm_flush(db);
        uint64_t took = env_now_ns(env_posix()) - begun;
        f->update_ns_longest = took > f->update_ns_longest ? took : f->update_ns_longest;
    }
    plsm_status closed = plsm_close(db);
    return status == PLSM_OK ? closed : status;
}

/* --- all of it ---------------------------------------------------------------------------------------------------- */

static void count_problem(void *arg, const char *line)
{
    struct findings *f = arg;
    (void)line;
    f->problems++;
}

static plsm_status check_store(struct findings *f, const struct stores *stores)
{
    plsm *db = NULL;
    TRY(stores_open_one(stores, "read", 0, PLSM_READ, NULL, &db));
    plsm_status status = plsm_check(db, count_problem, NULL, f);
    plsm_close(db);
    if (status == PLSM_CORRUPT && f->problems == 0)
        f->problems = 1;
    return status == PLSM_CORRUPT ? PLSM_OK : status;
}

static plsm_status open_and_verify(struct findings *f, struct stores *stores, bool predict)
{
    TRY(stores_open(stores, NULL));
    if (predict)
        TRY(time_predictions(f, stores));
    TRY(findings_verify(f, stores, VERIFIED_AT_ONCE));
    stores_close(stores);
    return PLSM_OK;
}

static plsm_status run(struct findings *f, struct stores *stores)
{
    TRY(stores_load(stores));
    TRY(open_and_verify(f, stores, true));
    TRY(time_training(f, stores));
    TRY(open_and_verify(f, stores, false));
    TRY(findings_busy(f, stores));
    TRY(check_store(f, stores));
    TRY(open_and_verify(f, stores, false));
    return findings_damage(f, stores);
}

plsm_status findings_measure(struct findings *f, const struct data *data, const char *directory)
{
    struct stores stores;
    struct progress progress;
    /* Only the two modes that share a store: what is asked here is whether models keep answers right. */
    struct compare_plan plan = *f->plan;
    plan.modes[0] = "learned";
    plan.modes[1] = "traditional";
    plan.mode_count = 2;
    stores_init(&stores, &plan, data, directory);
    progress_start(&progress, "training, and damaged models", 0, false);
    plsm_status status = run(f, &stores);
    progress_end(&progress);
    stores_free(&stores);
    return status;
}
