/* How a row is measured.
 *
 * Workloads that need keys load them first, in random order in batches of 1,000, untimed; the store is settled, closed,
 * opened again, settled, scanned and read at random, so that each engine reads from what it wrote to files and its
 * caches are warm (or hardly read from, where another state of the caches is asked for). Then the threads run their
 * operations. Work that writes is settled again, and its processor time counts: what an engine defers it still has to
 * do. Everything read is checked, and after writing the whole store is. */
#include "tools/bench/workload.h"

#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/env.h"
#include "base/error.h"
#include "base/histogram.h"
#include "store/plsm.h"
#include "tools/bench/clock.h"
#include "tools/bench/data.h"
#include "tools/bench/files.h"
#include "tools/bench/floor.h"
#include "tools/bench/syncs.h"
#include "tools/bench/worker.h"

#include "base/banned.h"

const char *const cache_state_names[STATE_COUNT] = {"warm", "reopened", "cold"};

const char *const row_figure_names[ROW_FIGURES] = {
    "ops",
    "ops_per_s",
    "cpu_ns_per_op",
    "p50_ns",
    "p99_ns",
    "p9999_ns",
    "max_ns",
    "pages_per_op",
    "disk_pages_per_op",
    "write_amplification",
    "space_amplification",
    "files_bytes",
    "resident_bytes",
    "anonymous_bytes",
    "syncs_per_op",
    "device_ns",
};

const struct workload workloads[] = {
    {"fillseq", "writes all keys in their order", .kind = WORKLOAD_FILL, .ordered = true, .writes = true},
    {"fillrandom", "writes all keys in random order", .kind = WORKLOAD_FILL, .writes = true},
    {"overwrite", "writes keys that are there, at random", .kind = WORKLOAD_OVERWRITE, .writes = true},
    {"deleterandom", "deletes keys that are there, at random", .kind = WORKLOAD_DELETE, .writes = true},
    {"readrandom", "reads keys that are there, at random", .kind = WORKLOAD_READ},
    {"readseq", "reads everything in the order of keys", .kind = WORKLOAD_SCAN},
    {"readhot", "reads keys that are there, 90 % of the time one of a tenth of them", .kind = WORKLOAD_HOT},
    {"readabsent", "reads keys that are not there", .kind = WORKLOAD_ABSENT},
    {"readzipf", "reads keys that are there, some far more often (Zipf, 0.99)", .kind = WORKLOAD_ZIPF},
    {"seekrandom", "seeks a key that is there and reads 10 entries", .kind = WORKLOAD_SEEK},
    {"mixed", "50 % reads, 50 % overwrites of keys that are there, at random", .kind = WORKLOAD_MIX, .writes = true,
     .mix = {.read = 50, .update = 50, .uniform = true}},
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

enum { LOAD_BATCH = 1000, LOAD_BATCH_BYTES = 16 << 20, PAGE_SIZE = 4096 };

struct run {
    const struct row_options *options;
    struct adapter_options engine_options;
    struct data data;
    char path[PATH_MAX];
    void *db;
    struct histogram latency; /* ns */
    uint64_t present;         /* keys in the store */
    /* Of the workload that was run last. */
    uint64_t cpu_ns, wall_ns, read_bytes, disk_bytes, written_bytes, given_bytes, syncs;
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

/* Reads all entries and checks that they are those that should be there, in order and right. */
static plsm_status check_all(struct run *run)
{
    struct worker worker = {.engine = run->options->engine, .data = &run->data};
    uint64_t count = 0;
    TRY(worker.engine->session(run->db, &worker.session));
    plsm_status status = worker_scan(&worker, (plsm_slice){0}, UINT64_MAX, &count);
    worker.engine->session_end(worker.session);
    if (status == PLSM_OK && count != run->present)
        status = fail(PLSM_CORRUPT, "wrong answer: %llu entries in the store, not %llu", (unsigned long long)count,
                      (unsigned long long)run->present);
    return status;
}

/* Values that are kept in extents do not go into batches, and batches of large ones are limited. */
static uint32_t load_batch(const struct row_options *options)
{
    if (options->value_bytes > PLSM_INLINE_MAX)
        return 1;
    uint32_t fit = LOAD_BATCH_BYTES / (options->value_bytes + 1);
    return fit < LOAD_BATCH ? fit : LOAD_BATCH;
}

/* Runs `ops` operations of a workload, untimed. */
static plsm_status run_untimed(struct run *run, const char *workload, uint32_t batch, uint64_t ops)
{
    struct worker worker = {.engine = run->options->engine,
                            .data = &run->data,
                            .batch = batch,
                            .ops = ops,
                            .workload = workload_find(workload)};
    random_seed(&worker.random, run->data.seed + 1);
    TRY(worker.engine->session(run->db, &worker.session));
    plsm_status status = worker_run(&worker);
    worker.engine->session_end(worker.session);
    return status;
}

/* What an opening reads or writes, of logs above all, shall not be in memory. What engines keep of indexes and filters
 * is: some read them when they open, some when they first need them. */
static plsm_status make_cold(struct run *run)
{
    const uint64_t first = 100;
    TRY(run_untimed(run, "readrandom", 1, first));
    TRY(run_untimed(run, "readabsent", 1, first));
    return files_forget(run->path);
}

static plsm_status reopen(struct run *run)
{
    TRY(settle(run));
    TRY(close_store(run));
    if (run->options->state == STATE_COLD)
        TRY(files_forget(run->path));
    TRY(open_store(run));
    TRY(settle(run));
    return run->options->state == STATE_COLD ? make_cold(run) : PLSM_OK;
}

/* Every engine is opened anew behind the load: none may answer from what it happened to have in memory. Scans do not
 * fill every engine's cache, so as many random reads as there are keys do. */
static plsm_status load(struct run *run)
{
    TRY(run_untimed(run, "fillrandom", load_batch(run->options), run->data.keys));
    run->present = run->data.keys;
    TRY(reopen(run));
    if (run->options->state != STATE_WARM)
        return PLSM_OK;
    TRY(check_all(run));
    return run_untimed(run, "readrandom", 1, run->data.keys);
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

/* The threads of one workload, and what they have done together. */
struct crew {
    const struct workload *workload;
    struct thread *threads;
    atomic_int go;
    uint64_t ops;
};

static plsm_status start_threads(struct run *run, struct crew *crew)
{
    const struct row_options *options = run->options;
    for (uint32_t t = 0; t < options->threads; t++) {
        struct worker *worker = &crew->threads[t].worker;
        *worker = (struct worker){.engine = options->engine,
                                  .workload = crew->workload,
                                  .data = &run->data,
                                  .latency = &run->latency,
                                  .batch = options->batch,
                                  .number = t,
                                  .workers = options->threads};
        worker->ops = share(crew->ops, options->threads, t, &worker->first);
        random_seed(&worker->random, options->seed * 1000003 + t);
        crew->threads[t].go = &crew->go;
        TRY(options->engine->session(run->db, &worker->session));
    }
    for (uint32_t t = 0; t < options->threads; t++)
        TRY(env_thread_start(env_posix(), thread_main, &crew->threads[t], &crew->threads[t].handle));
    return PLSM_OK;
}

static plsm_status end_threads(struct run *run, struct crew *crew)
{
    plsm_status status = PLSM_OK;
    for (uint32_t t = 0; t < run->options->threads; t++) {
        struct thread *thread = &crew->threads[t];
        env_thread_join(thread->handle);
        if (status == PLSM_OK && thread->status != PLSM_OK)
            status = fail(thread->status, "%s", thread->message);
        run->present += thread->worker.inserted - thread->worker.deleted;
        run->given_bytes += thread->worker.given_bytes;
    }
    return status;
}

/* Runs the operations and measures. */
static plsm_status run_threads(struct run *run, const struct workload *workload, uint64_t ops)
{
    const struct row_options *options = run->options;
    struct crew crew = {.workload = workload, .ops = ops};
    crew.threads = mem_zalloc(options->threads * sizeof *crew.threads);
    if (!crew.threads)
        return fail(PLSM_NO_MEMORY, "no memory for %u threads", options->threads);
    histogram_reset(&run->latency);
    plsm_status status = start_threads(run, &crew);
    uint64_t read_bytes = clock_read_bytes(), written_bytes = clock_written_bytes(), disk_bytes = clock_disk_bytes();
    uint64_t syncs = syncs_count();
    uint64_t wall = env_now_ns(env_posix()), cpu = clock_process_cpu_ns();
    run->given_bytes = 0;
    atomic_store(&crew.go, 1);
    plsm_status ended = end_threads(run, &crew);
    status = status == PLSM_OK ? ended : status;
    run->wall_ns = env_now_ns(env_posix()) - wall;
    run->read_bytes = clock_read_bytes() - read_bytes;
    run->disk_bytes = clock_disk_bytes() - disk_bytes;
    run->syncs = syncs_count() - syncs;
    for (uint32_t t = 0; t < options->threads; t++)
        options->engine->session_end(crew.threads[t].worker.session);
    if (status == PLSM_OK && workload->writes)
        status = settle(run);
    run->cpu_ns = clock_process_cpu_ns() - cpu;
    run->written_bytes = clock_written_bytes() - written_bytes;
    mem_free(crew.threads);
    return status;
}

/* Bytes of a key and its value: keys of one set differ little, so some tell for all. */
static double entry_bytes(const struct data *data)
{
    enum { SAMPLE = 1000 };
    uint8_t buffer[SHAPE_MADE_MAX];
    uint64_t bytes = 0, count = data->keys < SAMPLE ? data->keys : SAMPLE;
    for (uint64_t i = 0; i < count; i++)
        bytes += data_key(data, data->keys / count * i, buffer).size;
    return (double)bytes / (double)count + data->value_bytes;
}

static bool reads_by_calls(const struct row_options *options)
{
    const char *with = options->engine->calls_with;
    return options->engine->reads_by_calls || (with && options->options && strstr(options->options, with));
}

static void tell(struct run *run, uint64_t ops, struct row_result *result)
{
    const struct row_options *options = run->options;
    struct clock_memory memory = clock_memory();
    double present_bytes = entry_bytes(&run->data) * (double)run->present, files = (double)files_bytes(run->path);
    *result = (struct row_result){
        .ops = (double)ops,
        .ops_per_s = (double)ops / ((double)run->wall_ns / 1e9),
        .cpu_ns_per_op = (double)run->cpu_ns / (double)ops,
        .p50_ns = (double)histogram_quantile(&run->latency, 0.50),
        .p99_ns = (double)histogram_quantile(&run->latency, 0.99),
        .p9999_ns = (double)histogram_quantile(&run->latency, 0.9999),
        .max_ns = (double)histogram_quantile(&run->latency, 1),
        .pages_per_op = reads_by_calls(options) ? (double)run->read_bytes / PAGE_SIZE / (double)ops : -1,
        .disk_pages_per_op = (double)run->disk_bytes / PAGE_SIZE / (double)ops,
        .write_amplification = run->given_bytes ? (double)run->written_bytes / (double)run->given_bytes : -1,
        .space_amplification = present_bytes > 0 ? files / present_bytes : -1,
        .files_bytes = files,
        .resident_bytes = (double)memory.resident_bytes,
        .anonymous_bytes = (double)memory.anonymous_bytes,
        .syncs_per_op = (double)run->syncs / (double)ops,
        .device_ns = -1,
    };
}

static bool reads_keys(const struct workload *workload)
{
    enum workload_kind kind = workload->kind;
    return kind == WORKLOAD_READ || kind == WORKLOAD_ABSENT || kind == WORKLOAD_HOT || kind == WORKLOAD_ZIPF;
}

uint32_t row_batch(const struct row_options *options)
{
    return reads_keys(options->workload) && !options->engine->get_many ? 1 : options->batch;
}

double row_device_times(const struct row_options *options, const struct row_result *result)
{
    double call_ns = 1e9 * options->threads / result->ops_per_s * (options->workload->writes ? options->batch : 1);
    return result->device_ns > 0 ? call_ns / result->device_ns : -1;
}

/* A cold row's files were synced before it, so the device has nothing else to do. */
static plsm_status measure_device(const struct run *run, const struct workload *workload, struct row_result *result)
{
    char path[PATH_MAX + 8];
    const struct row_options *options = run->options;
    snprintf(path, sizeof path, "%s.device", run->path);
    if (workload->writes)
        return options->sync ? floor_device_sync(path, &result->device_ns) : PLSM_OK;
    if (options->state != STATE_COLD)
        return PLSM_OK;
    return floor_device_read(path, (uint64_t)result->files_bytes, options->threads, &result->device_ns);
}

uint64_t workload_ops(const struct row_options *options, const struct workload *workload)
{
    const uint64_t names = 20000000;
    uint64_t ops = options->ops && workload->kind != WORKLOAD_FILL ? options->ops : options->keys;
    uint64_t sorted = names / options->keys > 10 ? names / options->keys : 10;
    bool scans = workload->kind == WORKLOAD_SEEK || workload->mix.scan > 0;
    if (workload->kind == WORKLOAD_DELETE && ops > options->keys)
        ops = options->keys;
    return options->engine->unordered && scans && ops > sorted ? sorted : ops;
}

/* Memory is told before the check of all that was written, which fills caches. */
static plsm_status measure(struct run *run, const struct workload *workload, struct row_result *result)
{
    const struct row_options *options = run->options;
    bool fill = workload->kind == WORKLOAD_FILL;
    uint64_t ops = workload_ops(options, workload);
    TRY(run_threads(run, workload, ops));
    if (fill)
        run->present = options->keys;
    tell(run, ops, result);
    TRY(measure_device(run, workload, result));
    return workload->writes ? check_all(run) : PLSM_OK;
}

/* Keys that a mix may insert: twice as many as it should, so that chance does not exceed them. */
static uint64_t keys_to_insert(const struct row_options *options, const struct workload *workload)
{
    uint64_t ops = options->ops ? options->ops : options->keys, insert = workload->mix.insert;
    return insert ? ops * insert / 50 + UINT64_C(1000) * options->threads : 0;
}

static plsm_status run_list(struct run *run, const struct workload *const *list, uint32_t count,
                            struct row_result *results)
{
    const struct row_options *options = run->options;
    uint64_t more = 0;
    for (uint32_t i = 0; i < count; i++)
        more += keys_to_insert(options, list[i]);
    TRY(data_init(&run->data, options->shape, options->keys, more, options->value_bytes, options->seed));
    TRY(open_store(run));
    if (list[0]->kind != WORKLOAD_FILL)
        TRY(load(run));
    for (uint32_t i = 0; i < count; i++) {
        if (i > 0 && options->state != STATE_WARM)
            TRY(reopen(run));
        TRY(measure(run, list[i], &results[i]));
    }
    return close_store(run);
}

plsm_status workload_series(const struct row_options *options, const struct workload *const *list, uint32_t count,
                            const char *directory, struct row_result *results)
{
    struct run *run = mem_zalloc(sizeof *run);
    if (!run)
        return fail(PLSM_NO_MEMORY, "no memory for the benchmark");
    run->options = options;
    run->engine_options = (struct adapter_options){.keys = options->keys + options->ops * count,
                                                   .value_bytes = options->value_bytes,
                                                   .threads = options->threads,
                                                   .cache_bytes = options->cache_bytes,
                                                   .sync = options->sync,
                                                   .index = options->index,
                                                   .options = options->options};
    snprintf(run->path, sizeof run->path, "%s/store", directory);
    plsm_status status = run_list(run, list, count, results);
    data_free(&run->data);
    mem_free(run);
    return status;
}

plsm_status workload_run(const struct row_options *options, const char *directory, struct row_result *result)
{
    return workload_series(options, &options->workload, 1, directory, result);
}
