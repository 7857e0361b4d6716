#include "tools/bench/verify.h"

#include <stdatomic.h>
#include <stdio.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/env.h"
#include "base/error.h"
#include "base/random.h"
#include "base/sync.h"
#include "tools/bench/probe.h"
#include "tools/progress.h"
#include "tools/tool.h"

#include "base/banned.h"

enum { CHUNK = PROBE_MANY_MAX, LOOK_NS = 50000000 };
static const uint64_t MINUTE_NS = UINT64_C(60000000000);

/* What all threads share. */
struct soak {
    const struct stores *stores;
    _Atomic uint64_t taken, lookups, present, wrong; /* taken: by a thread, to be looked up */
    uint64_t all;
    _Atomic uint32_t running;
    mutex lock;
    char first[256]; /* under the lock */
};

struct soaker {
    struct soak *soak;
    struct env_thread *handle;
    struct random random;
    struct questions questions;
    struct probe probe;
    uint64_t answers[CHUNK];
    plsm_status status; /* that kept it from going on */
    char message[256];
};

static void note_wrong(struct soak *soak, uint64_t count, const char *message)
{
    atomic_fetch_add(&soak->wrong, count);
    mutex_lock(&soak->lock);
    if (!soak->first[0])
        snprintf(soak->first, sizeof soak->first, "%s", message);
    mutex_unlock(&soak->lock);
}

/* --- questions ---------------------------------------------------------------------------------------------------- */

/* Kinds of absent keys: those of the shape, and a key that is there with one more byte, which sorts right behind it
 * and is no key of any shape. */
static plsm_status add_absent(struct soaker *s)
{
    const struct data *data = s->soak->stores->data;
    uint8_t buffer[SHAPE_KEY_MAX + 1];
    uint64_t way = random_below(&s->random, SHAPE_ABSENT_COUNT + 1);
    uint64_t count = way < SHAPE_ABSENT_COUNT ? shape_absent_count(data->set, (enum shape_absent)way) : 0;
    if (count > 0) {
        uint64_t index = random_below(&s->random, count);
        return questions_add(&s->questions, shape_absent(data->set, (enum shape_absent)way, index, buffer), 0);
    }
    plsm_slice key = data_key(data, random_below(&s->random, data->keys), buffer);
    if (key.data != buffer)
        memcpy(buffer, key.data, key.size);
    buffer[key.size] = 0;
    return questions_add(&s->questions, slice(buffer, key.size + 1), 0);
}

/* Half of the keys are there. */
static plsm_status fill(struct soaker *s, uint64_t count, uint64_t *present)
{
    const struct data *data = s->soak->stores->data;
    uint8_t buffer[SHAPE_MADE_MAX];
    questions_clear(&s->questions);
    *present = 0;
    while (s->questions.count < count) {
        if (random_below(&s->random, 2)) {
            plsm_slice key = data_key(data, random_below(&s->random, data->keys), buffer);
            TRY(questions_add_of(&s->questions, data, key, false));
            ++*present;
        } else {
            TRY(add_absent(s));
        }
    }
    questions_done(&s->questions);
    return PLSM_OK;
}

/* --- answers ------------------------------------------------------------------------------------------------------ */

static void ask(struct soaker *s, uint32_t mode, enum probe_kind kind)
{
    const struct stores *stores = s->soak->stores;
    const struct questions *q = &s->questions;
    const char *name = stores->plan->modes[mode];
    struct probe_time time;
    uint64_t wrong = 0;
    s->probe.db = stores->db[mode];
    if (probe_run(&s->probe, kind, q, s->answers, &time) != PLSM_OK) {
        note_wrong(s->soak, 1, plsm_message()); /* an error where there is a value, or where there is none */
        return;
    }
    for (uint64_t i = 0; i < q->count; i++)
        wrong += s->answers[i] != q->right[i];
    if (__builtin_expect(wrong == 0, 1))
        return;
    probe_compare(q, "what was written", q->right, name, s->answers);
    note_wrong(s->soak, wrong, plsm_message());
}

static plsm_status soak_chunk(struct soaker *s, uint64_t count)
{
    uint64_t present = 0;
    TRY(fill(s, count, &present));
    for (uint32_t mode = 0; mode < s->soak->stores->plan->mode_count; mode++) {
        ask(s, mode, PROBE_GET);
        ask(s, mode, PROBE_MANY_100);
    }
    atomic_fetch_add(&s->soak->present, present);
    atomic_fetch_add(&s->soak->lookups, count);
    return PLSM_OK;
}

static void soak_main(void *arg)
{
    struct soaker *s = arg;
    struct soak *soak = s->soak;
    while (s->status == PLSM_OK) {
        uint64_t at = atomic_fetch_add(&soak->taken, CHUNK);
        if (at >= soak->all)
            break;
        s->status = soak_chunk(s, soak->all - at < CHUNK ? soak->all - at : CHUNK);
    }
    snprintf(s->message, sizeof s->message, "%s", plsm_message());
    atomic_fetch_sub(&soak->running, 1);
}

/* --- threads ------------------------------------------------------------------------------------------------------ */

static plsm_status start(struct soak *soak, struct soaker *soakers, uint32_t threads)
{
    for (uint32_t t = 0; t < threads; t++) {
        soakers[t].soak = soak;
        random_seed(&soakers[t].random, soak->stores->data->seed * 1000003 + t);
        TRY(questions_init(&soakers[t].questions, CHUNK));
    }
    for (uint32_t t = 0; t < threads; t++) {
        atomic_fetch_add(&soak->running, 1);
        plsm_status status = env_thread_start(env_posix(), soak_main, &soakers[t], &soakers[t].handle);
        if (status != PLSM_OK) {
            atomic_fetch_sub(&soak->running, 1);
            return status;
        }
    }
    return PLSM_OK;
}

static void counts_of(struct soak *soak, struct verify_counts *counts)
{
    counts->lookups = atomic_load(&soak->lookups);
    counts->present = atomic_load(&soak->present);
    counts->absent = counts->lookups - counts->present;
    counts->wrong = atomic_load(&soak->wrong);
    mutex_lock(&soak->lock);
    memcpy(counts->first, soak->first, sizeof counts->first);
    mutex_unlock(&soak->lock);
}

/* Tells `tell` how far it is until all threads have ended. */
static void watch(struct soak *soak, void (*tell)(void *arg, const struct verify_counts *counts), void *arg)
{
    struct verify_counts counts = {0};
    while (atomic_load(&soak->running) > 0) {
        env_sleep_ns(env_posix(), LOOK_NS);
        counts_of(soak, &counts);
        if (tell)
            tell(arg, &counts);
    }
}

static plsm_status run(const struct stores *stores, uint64_t lookups, struct verify_counts *counts,
                       void (*tell)(void *arg, const struct verify_counts *counts), void *arg)
{
    uint32_t threads = stores->plan->threads;
    struct soak soak = {.stores = stores, .all = lookups};
    struct soaker *soakers = mem_zalloc(threads * sizeof *soakers);
    if (!soakers)
        return fail(PLSM_NO_MEMORY, "no memory for %u threads", threads);
    mutex_init(&soak.lock);
    plsm_status status = start(&soak, soakers, threads);
    if (status == PLSM_OK)
        watch(&soak, tell, arg);
    for (uint32_t t = 0; t < threads; t++) {
        env_thread_join(soakers[t].handle);
        if (status == PLSM_OK && soakers[t].status != PLSM_OK)
            status = fail(soakers[t].status, "%s", soakers[t].message);
        questions_free(&soakers[t].questions);
        probe_free(&soakers[t].probe);
    }
    counts_of(&soak, counts);
    mutex_destroy(&soak.lock);
    mem_free(soakers);
    return status;
}

plsm_status verify_stores(const struct stores *stores, uint64_t lookups, struct verify_counts *counts)
{
    return run(stores, lookups, counts, NULL, NULL);
}

/* --- for people and programs -------------------------------------------------------------------------------------- */

struct teller {
    const struct stores *stores;
    struct progress progress;
    uint64_t begun_ns, next_ns;
};

static void print_counts(const struct teller *t, const struct verify_counts *counts)
{
    const struct compare_plan *plan = t->stores->plan;
    double seconds = (double)(env_now_ns(env_posix()) - t->begun_ns) / 1e9;
    char line[768], modes[128] = "";
    for (uint32_t i = 0; i < plan->mode_count; i++)
        snprintf(modes + strlen(modes), sizeof modes - strlen(modes), plan->json ? "%s\"%s\"" : "%s%s",
                 i == 0       ? ""
                 : plan->json ? ","
                              : ", ",
                 plan->modes[i]);
    const char *form = plan->json ? "{\"shape\":\"%s\",\"keys\":%llu,\"operation\":\"verify\",\"modes\":[%s],"
                                    "\"seed\":%llu,\"threads\":%u,\"lookups\":%llu,\"present\":%llu,\"absent\":%llu,"
                                    "\"wrong\":%llu,\"of\":%llu,\"seconds\":%.1f}\n"
                                  : "verified %s, %llu keys in %s (seed %llu, %u threads), by get and multi_get: %llu "
                                    "lookups, %llu present, %llu absent, %llu wrong, of %llu; %.1f s\n";
    int size = snprintf(line, sizeof line, form, shape_of(t->stores->data->set)->name,
                        (unsigned long long)t->stores->data->keys, modes, (unsigned long long)t->stores->data->seed,
                        plan->threads, (unsigned long long)counts->lookups, (unsigned long long)counts->present,
                        (unsigned long long)counts->absent, (unsigned long long)counts->wrong,
                        (unsigned long long)plan->verify, seconds);
    tool_write(line, (size_t)size < sizeof line ? (size_t)size : sizeof line - 1);
    tool_flush();
}

/* A bar for people, a line a minute for a log. */
static void tell(void *arg, const struct verify_counts *counts)
{
    struct teller *t = arg;
    uint64_t now = env_now_ns(env_posix());
    progress_update(&t->progress, counts->lookups);
    if (t->progress.enabled || now < t->next_ns)
        return;
    t->next_ns = now + MINUTE_NS;
    print_counts(t, counts);
}

static plsm_status verify_loaded(struct stores *stores, uint64_t *wrong)
{
    struct verify_counts counts = {0};
    struct teller t = {.stores = stores, .begun_ns = env_now_ns(env_posix())};
    t.next_ns = t.begun_ns + MINUTE_NS;
    progress_start(&t.progress, "verify", stores->plan->verify, false);
    plsm_status status = run(stores, stores->plan->verify, &counts, tell, &t);
    progress_end(&t.progress);
    print_counts(&t, &counts);
    if (counts.wrong > 0)
        fprintf(stderr, "plsm bench: the first of them: %s\n", counts.first);
    *wrong += counts.wrong;
    return status;
}

plsm_status verify_set(const struct compare_plan *plan, const struct data *data, const char *directory, uint64_t *wrong)
{
    struct stores stores;
    stores_init(&stores, plan, data, directory);
    plsm_status status = stores_load(&stores);
    if (status == PLSM_OK)
        status = stores_open(&stores, NULL);
    if (status == PLSM_OK)
        status = verify_loaded(&stores, wrong);
    stores_free(&stores);
    return status;
}
