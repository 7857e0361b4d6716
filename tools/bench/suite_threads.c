/* Puts, lookups and both in half, by one thread and by several. */
#include <stdatomic.h>

#include "base/alloc.h"
#include "base/env.h"
#include "base/error.h"
#include "tools/bench/subject.h"

#include "base/banned.h"

enum { PUTS, GETS, MIXED, FIGURES };
enum { OPS_MAX = 1000000 };

static const struct suite_figure figures[FIGURES] = {
    [PUTS] = {"puts of keys that are there", "/s", BETTER_MORE, WORK_THREADS},
    [GETS] = {"gets", "/s", BETTER_MORE, WORK_THREADS},
    [MIXED] = {"puts and gets, half and half", "/s", BETTER_MORE, WORK_THREADS},
};

struct hand {
    struct subject subject; /* a copy: the store is one, values and batches are each thread's own */
    const struct data *data;
    struct env_thread *thread;
    atomic_int *go;
    uint64_t ops, seed;
    int figure;
    plsm_status status;
    char message[512];
};

static plsm_status work(struct hand *hand)
{
    if (hand->figure == PUTS)
        return subject_overwrite(&hand->subject, hand->data, hand->ops, hand->seed);
    if (hand->figure == GETS)
        return subject_read(&hand->subject, hand->data, hand->ops, hand->seed);
    for (uint64_t i = 0; i < hand->ops; i += 2) {
        TRY(subject_overwrite(&hand->subject, hand->data, 1, hand->seed + 2 * i));
        TRY(subject_read(&hand->subject, hand->data, 1, hand->seed + 2 * i + 1));
    }
    return PLSM_OK;
}

static void hand_main(void *arg)
{
    struct hand *hand = arg;
    while (!atomic_load(hand->go))
        env_sleep_ns(env_posix(), 100000);
    hand->status = work(hand);
    snprintf(hand->message, sizeof hand->message, "%s", plsm_message());
}

/* All threads together; *rate: operations a second. */
static plsm_status run_hands(const struct subject *subject, const struct data *data, int figure, struct hand *hands,
                             double *rate)
{
    const struct suite_job *job = subject->errand->job;
    const struct row_options *row = &subject->errand->suite->plan->row;
    uint64_t ops = row->ops ? row->ops : OPS_MAX;
    struct stopwatch watch;
    atomic_int go = 0;
    plsm_status status = PLSM_OK;
    for (uint32_t t = 0; t < job->threads; t++) {
        hands[t] = (struct hand){.subject = *subject,
                                 .data = data,
                                 .go = &go,
                                 .figure = figure,
                                 .ops = ops / job->threads,
                                 .seed = ((uint64_t)figure * 64 + t + 1) << 40};
        hands[t].subject.value = (plsm_value){0};
        hands[t].subject.batch = NULL;
        if (status == PLSM_OK)
            status = env_thread_start(env_posix(), hand_main, &hands[t], &hands[t].thread);
    }
    stopwatch_start(&watch);
    atomic_store(&go, 1);
    for (uint32_t t = 0; t < job->threads; t++) {
        env_thread_join(hands[t].thread);
        plsm_value_free(&hands[t].subject.value);
        if (status == PLSM_OK && hands[t].thread && hands[t].status != PLSM_OK)
            status = fail(hands[t].status, "%s", hands[t].message);
    }
    *rate = (double)(ops / job->threads * job->threads) / (stopwatch_wall_ns(&watch) / 1e9);
    return status;
}

static plsm_status measure(struct subject *subject, const struct data *data, double *out)
{
    struct hand *hands = mem_zalloc(subject->errand->job->threads * sizeof *hands);
    plsm_status status = hands ? subject_load(subject, data, true) : fail(PLSM_NO_MEMORY, "no memory for threads");
    if (status == PLSM_OK)
        status = subject_read_all(subject, data);
    for (int figure = 0; figure < FIGURES && status == PLSM_OK; figure++) {
        status = subject_settle(subject);
        if (status == PLSM_OK)
            status = run_hands(subject, data, figure, hands, &out[figure]);
    }
    mem_free(hands);
    return status;
}

static plsm_status run(const struct errand *errand, const char *directory, double *out)
{
    return subject_run(errand, directory, errand->suite->plan->row.cache_bytes, measure, out);
}

void suite_add_threads(struct suite *suite)
{
    uint32_t most = suite->plan->row.threads;
    for (uint32_t threads = 1;; threads = most) {
        struct suite_job *job = suite_add(
            suite, &(struct suite_job){.part = "threads",
                                       .about = "10^6 operations (or --ops) on keys that are there, all alike, "
                                                "shared among the threads; operations of all\nthreads per "
                                                "second of wall time",
                                       .figures = figures,
                                       .figure_count = FIGURES,
                                       .keys = suite_keys(suite),
                                       .threads = threads,
                                       .run = run});
        snprintf(job->label, sizeof job->label, "%u thread%s, %llu keys", threads, threads > 1 ? "s" : "",
                 (unsigned long long)job->keys);
        if (threads == most)
            return;
    }
}
