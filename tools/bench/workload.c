/* How a row is measured.
 *
 * Workloads that need keys load them first, in random order in batches of 1,000, untimed; the store is settled, closed,
 * opened again, settled, scanned and read at random, so that each engine reads from what it wrote to files and its
 * caches are warm. Then the threads run their operations. Work that writes is settled again, and its processor time
 * counts: what an engine defers it still has to do. Everything read is checked, and after writing the whole store is.
 */
#include "tools/bench/workload.h"

#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/env.h"
#include "base/error.h"
#include "base/histogram.h"
#include "tools/bench/clock.h"
#include "tools/bench/data.h"
#include "tools/bench/worker.h"

#include "base/banned.h"

const struct workload workloads[] = {
    {"fillseq", "writes all keys in their order", .kind = WORKLOAD_FILL, .ordered = true, .writes = true},
    {"fillrandom", "writes all keys in random order", .kind = WORKLOAD_FILL, .writes = true},
    {"overwrite", "writes keys that are there, at random", .kind = WORKLOAD_OVERWRITE, .writes = true},
    {"readrandom", "reads keys that are there, at random", .kind = WORKLOAD_READ},
    {"readseq", "reads everything in the order of keys", .kind = WORKLOAD_SCAN},
    {"readabsent", "reads keys that are not there", .kind = WORKLOAD_ABSENT},
    {"readzipf", "reads keys that are there, some far more often (Zipf, 0.99)", .kind = WORKLOAD_ZIPF},
    {"seekrandom", "seeks a key that is there and reads 10 entries", .kind = WORKLOAD_SEEK},
    {"ycsb-a", "50 % reads, 50 % updates", .kind = WORKLOAD_MIX, .writes = true, .mix = {.read = 50, .update = 50}},
    {"ycsb-b", "95 % reads, 5 % updates", .kind = WORKLOAD_MIX, .writes = true, .mix = {.read = 95, .update = 5}},
    {"ycsb-c", "reads only", .kind = WORKLOAD_MIX, .mix = {.read = 100}},
    {"ycsb-d", "95 % reads of the newest, 5 % inserts", .kind = WORKLOAD_MIX, .writes = true,
     .mix = {.read = 95, .insert = 5, .latest = true}},
    {"ycsb-e", "95 % scans of 1 to 100 entries, 5 % inserts", .kind = WORKLOAD_MIX, .writes = true,
     .mix = {.scan = 95, .insert = 5}},
    {"ycsb-f", "50 % reads, 50 % read-modify-writes", .kind = WORKLOAD_MIX, .writes = true,
     .mix = {.read = 50, .read_modify_write = 50}},
    {0},
};

const struct workload *workload_find(const char *name)
{
    for (const struct workload *w = workloads; w->name; w++)
        if (strcmp(w->name, name) == 0)
            return w;
    return NULL;
}

enum { LOAD_BATCH = 1000, PAGE_SIZE = 4096 };

struct run {
    const struct row_options *options;
    struct adapter_options engine_options;
    struct data data;
    char path[PATH_MAX];
    void *db;
    struct histogram latency; /* ns */
    uint64_t cpu_ns, wall_ns, read_bytes;
};

static plsm_status settle(struct run *run)
{
    TRY(run->options->engine->settle(run->db));
    clock_wait_until_idle();
    return PLSM_OK;
}

static plsm_status open_store(struct run *run)
{
    return run->options->engine->open(run->path, &run->engine_options, &run->db);
}

static plsm_status close_store(struct run *run)
{
    void *db = run->db;
    run->db = NULL;
    return db ? run->options->engine->close(db) : PLSM_OK;
}

/* Reads all entries and checks that they are `expected`, in order and right. */
static plsm_status check_all(struct run *run, uint64_t expected)
{
    struct worker worker = {.engine = run->options->engine, .data = &run->data};
    uint64_t count = 0;
    TRY(worker.engine->session(run->db, &worker.session));
    plsm_status status = worker_scan(&worker, (plsm_slice){0}, UINT64_MAX, &count);
    worker.engine->session_end(worker.session);
    if (status == PLSM_OK && count != expected)
        status = fail(PLSM_CORRUPT, "wrong answer: %llu entries in the store, not %llu", (unsigned long long)count,
                      (unsigned long long)expected);
    return status;
}

/* Runs a workload's operations over all keys once, untimed. */
static plsm_status run_once(struct run *run, const char *workload)
{
    struct worker worker = {.engine = run->options->engine,
                            .data = &run->data,
                            .batch = LOAD_BATCH,
                            .ops = run->data.keys,
                            .workload = workload_find(workload)};
    random_seed(&worker.random, run->data.seed + 1);
    TRY(worker.engine->session(run->db, &worker.session));
    plsm_status status = worker_run(&worker);
    worker.engine->session_end(worker.session);
    return status;
}

/* Every engine is opened anew behind the load: none may answer from what it happened to have in memory. Scans do not
 * fill every engine's cache, so as many random reads as there are keys do. */
static plsm_status load(struct run *run)
{
    TRY(run_once(run, "fillrandom"));
    TRY(settle(run));
    TRY(close_store(run));
    TRY(open_store(run));
    TRY(settle(run));
    TRY(check_all(run, run->data.keys));
    return run_once(run, "readrandom");
}

/* --- the threads ------------------------------------------------------------------------------------------------ */

struct thread {
    struct worker worker;
    struct env_thread *handle;
    atomic_int *go;
    plsm_status status;
    char message[512];
};

/* Threads are there before the clock starts, so their making is not measured. */
static void thread_main(void *arg)
{
    struct thread *thread = arg;
    while (!atomic_load(thread->go))
        env_sleep_ns(env_posix(), 100000);
    thread->status = worker_run(&thread->worker);
    snprintf(thread->message, sizeof thread->message, "%s", plsm_message());
}

/* The share of thread t of `all`, and where it begins. */
static uint64_t share(uint64_t all, uint32_t threads, uint32_t t, uint64_t *first)
{
    *first = all / threads * t + (t < all % threads ? t : all % threads);
    return all / threads + (t < all % threads);
}

static plsm_status start_threads(struct run *run, struct thread *threads, atomic_int *go, uint64_t ops)
{
    const struct row_options *options = run->options;
    for (uint32_t t = 0; t < options->threads; t++) {
        struct worker *worker = &threads[t].worker;
        *worker = (struct worker){.engine = options->engine,
                                  .workload = options->workload,
                                  .data = &run->data,
                                  .latency = &run->latency,
                                  .batch = options->batch,
                                  .number = t,
                                  .workers = options->threads};
        worker->ops = share(ops, options->threads, t, &worker->first);
        random_seed(&worker->random, options->seed * 1000003 + t);
        threads[t].go = go;
        TRY(options->engine->session(run->db, &worker->session));
    }
    for (uint32_t t = 0; t < options->threads; t++)
        TRY(env_thread_start(env_posix(), thread_main, &threads[t], &threads[t].handle));
    return PLSM_OK;
}

/* Runs the operations and measures; *inserted gets how many new keys were written. */
static plsm_status run_threads(struct run *run, uint64_t ops, uint64_t *inserted)
{
    const struct row_options *options = run->options;
    struct thread *threads = mem_zalloc(options->threads * sizeof *threads);
    if (!threads)
        return fail(PLSM_NO_MEMORY, "no memory for %u threads", options->threads);
    atomic_int go = 0;
    plsm_status status = start_threads(run, threads, &go, ops);
    uint64_t wall = env_now_ns(env_posix()), cpu = clock_process_cpu_ns();
    run->read_bytes = clock_read_bytes();
    atomic_store(&go, 1);
    for (uint32_t t = 0; t < options->threads; t++) {
        env_thread_join(threads[t].handle);
        if (status == PLSM_OK && threads[t].status != PLSM_OK)
            status = fail(threads[t].status, "%s", threads[t].message);
        *inserted += threads[t].worker.inserted;
    }
    run->wall_ns = env_now_ns(env_posix()) - wall;
    run->read_bytes = clock_read_bytes() - run->read_bytes;
    for (uint32_t t = 0; t < options->threads; t++)
        options->engine->session_end(threads[t].worker.session);
    if (status == PLSM_OK && options->workload->writes)
        status = settle(run);
    run->cpu_ns = clock_process_cpu_ns() - cpu;
    mem_free(threads);
    return status;
}

static plsm_status measure(struct run *run, struct row_result *result)
{
    const struct row_options *options = run->options;
    uint64_t ops = options->workload->kind == WORKLOAD_FILL || options->ops == 0 ? options->keys : options->ops;
    uint64_t inserted = 0;
    bool fill = options->workload->kind == WORKLOAD_FILL;
    TRY(open_store(run));
    if (!fill)
        TRY(load(run));
    TRY(run_threads(run, ops, &inserted));
    if (options->workload->writes)
        TRY(check_all(run, options->keys + inserted));
    *result = (struct row_result){
        .ops = ops,
        .ops_per_s = (double)ops / ((double)run->wall_ns / 1e9),
        .cpu_ns_per_op = (double)run->cpu_ns / (double)ops,
        .p50_ns = (double)histogram_quantile(&run->latency, 0.50),
        .p99_ns = (double)histogram_quantile(&run->latency, 0.99),
        .pages_per_op = options->engine->reads_by_calls ? (double)run->read_bytes / PAGE_SIZE / (double)ops : -1,
    };
    return PLSM_OK;
}

/* Keys that a mix may insert: twice as many as it should, so that chance does not exceed them. */
static uint64_t keys_to_insert(const struct row_options *options)
{
    uint64_t ops = options->ops ? options->ops : options->keys, insert = options->workload->mix.insert;
    return insert ? ops * insert / 50 + UINT64_C(1000) * options->threads : 0;
}

plsm_status workload_run(const struct row_options *options, const char *directory, struct row_result *result)
{
    struct run *run = mem_zalloc(sizeof *run);
    if (!run)
        return fail(PLSM_NO_MEMORY, "no memory for the benchmark");
    run->options = options;
    run->engine_options = (struct adapter_options){.keys = options->keys + options->ops,
                                                   .value_bytes = options->value_bytes,
                                                   .threads = options->threads,
                                                   .cache_bytes = options->cache_bytes,
                                                   .sync = options->sync,
                                                   .index = options->index,
                                                   .options = options->options};
    snprintf(run->path, sizeof run->path, "%s/store", directory);
    plsm_status status = data_init(&run->data, options->shape, options->keys, keys_to_insert(options),
                                   options->value_bytes, options->seed);
    if (status == PLSM_OK)
        status = measure(run, result);
    if (status == PLSM_OK)
        status = close_store(run);
    data_free(&run->data);
    mem_free(run);
    return status;
}
