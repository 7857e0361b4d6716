/* Random puts for as long as asked, in a closed loop: each thread writes the next batch when the last one returned, and
 * each call is timed. A second that stalls shows as few operations and a long maximum. Keys are drawn from --keys of
 * them, so the store is filled and then overwritten. The engines run one after the other, each in a process of its
 * own; at the end the store is settled and everything in it checked. */
#include "tools/bench/stalls.h"

#include <limits.h>
#include <stdatomic.h>
#include <sys/mman.h>

#include "base/alloc.h"
#include "base/env.h"
#include "base/error.h"
#include "base/histogram.h"
#include "tools/bench/clock.h"
#include "tools/bench/csv.h"
#include "tools/bench/files.h"
#include "tools/bench/report.h"
#include "tools/bench/worker.h"
#include "tools/plot.h"
#include "tools/progress.h"
#include "tools/text.h"

#include "base/banned.h"

enum { P50, P99, P9999, LONGEST, QUANTILES };
static const double quantiles[QUANTILES] = {0.5, 0.99, 0.9999, 1};
static const char *const quantile_names[QUANTILES] = {"p50_ns", "p99_ns", "p9999_ns", "max_ns"};

/* Of a second, or of all of them. */
struct pace {
    double ops, latency_ns[QUANTILES];
};

/* In memory that the measuring process shares with us. */
struct stalls {
    struct pace all;
    double cpu_ns_per_op, write_amplification, space_amplification, resident_bytes;
    struct pace seconds[];
};

struct writer {
    const struct row_options *options;
    const struct data *data;
    void *db;
    struct histogram *latency;
    atomic_int *stop;
    _Atomic uint64_t *written; /* records, of all writers */
    uint64_t given_bytes;
    struct random random;
    struct env_thread *thread;
    plsm_status status;
    char message[512];
};

/* --- one engine, in its process ----------------------------------------------------------------------------------- */

static plsm_status write_on(struct writer *writer, void *session, struct adapter_record *records,
                            uint8_t (*keys)[SHAPE_MADE_MAX])
{
    const struct row_options *options = writer->options;
    while (!atomic_load_explicit(writer->stop, memory_order_relaxed)) {
        for (uint32_t i = 0; i < options->batch; i++) {
            uint64_t index = random_below(&writer->random, writer->data->keys);
            plsm_slice key = data_key(writer->data, index, keys[i]);
            records[i] = (struct adapter_record){.key = key, .value = data_value(writer->data, key, index & 1)};
            writer->given_bytes += key.size + records[i].value.size;
        }
        uint64_t begun = env_now_ns(env_posix());
        TRY(options->engine->write(session, records, options->batch));
        histogram_add(writer->latency, env_now_ns(env_posix()) - begun);
        atomic_fetch_add_explicit(writer->written, options->batch, memory_order_relaxed);
    }
    return PLSM_OK;
}

static void writer_main(void *arg)
{
    struct writer *writer = arg;
    void *session = NULL;
    struct adapter_record *records = mem_zalloc(writer->options->batch * sizeof *records);
    uint8_t(*keys)[SHAPE_MADE_MAX] = mem_alloc((size_t)writer->options->batch * SHAPE_MADE_MAX);
    writer->status = records && keys ? PLSM_OK : fail(PLSM_NO_MEMORY, "no memory for a batch");
    if (writer->status == PLSM_OK)
        writer->status = writer->options->engine->session(writer->db, &session);
    if (writer->status == PLSM_OK)
        writer->status = write_on(writer, session, records, keys);
    writer->options->engine->session_end(session);
    snprintf(writer->message, sizeof writer->message, "%s", plsm_message());
    mem_free(keys);
    mem_free(records);
}

static void pace_of(const struct histogram *latency, double ops, struct pace *out)
{
    out->ops = ops;
    for (int q = 0; q < QUANTILES; q++)
        out->latency_ns[q] = (double)histogram_quantile(latency, quantiles[q]);
}

/* What was added to a histogram since `seen` was its copy, which this brings up to date. */
static void take_difference(const struct histogram *latency, struct histogram *seen, struct histogram *out)
{
    for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
        uint64_t count = atomic_load_explicit(&latency->counts[i], memory_order_relaxed);
        atomic_store_explicit(&out->counts[i], count - seen->counts[i], memory_order_relaxed);
        atomic_store_explicit(&seen->counts[i], count, memory_order_relaxed);
    }
}

struct stage {
    const struct bench_plan *plan;
    struct row_options options;
    struct stalls *out;
    struct data data;
    void *db;
    struct histogram latency, seen, second;
    _Atomic uint64_t written;
    atomic_int stop;
    uint64_t given_bytes;
    struct writer *writers;
};

static plsm_status start_writers(struct stage *stage)
{
    for (uint32_t t = 0; t < stage->options.threads; t++) {
        struct writer *writer = &stage->writers[t];
        *writer = (struct writer){.options = &stage->options,
                                  .data = &stage->data,
                                  .db = stage->db,
                                  .latency = &stage->latency,
                                  .stop = &stage->stop,
                                  .written = &stage->written};
        random_seed(&writer->random, stage->options.seed * 1000003 + t);
        TRY(env_thread_start(env_posix(), writer_main, writer, &writer->thread));
    }
    return PLSM_OK;
}

static plsm_status stop_writers(struct stage *stage)
{
    plsm_status status = PLSM_OK;
    atomic_store(&stage->stop, 1);
    for (uint32_t t = 0; t < stage->options.threads && stage->writers[t].thread; t++) {
        struct writer *writer = &stage->writers[t];
        env_thread_join(writer->thread);
        stage->given_bytes += writer->given_bytes;
        if (status == PLSM_OK && writer->status != PLSM_OK)
            status = fail(writer->status, "%s", writer->message);
    }
    return status;
}

/* Looks on, second by second. */
static void watch(struct stage *stage)
{
    struct progress progress;
    uint64_t begun = env_now_ns(env_posix()), written = 0;
    progress_start(&progress, report_engine(&stage->options), stage->plan->seconds, false);
    for (uint64_t second = 0; second < stage->plan->seconds; second++) {
        uint64_t due = begun + (second + 1) * 1000000000, now = env_now_ns(env_posix());
        if (now < due)
            env_sleep_ns(env_posix(), due - now);
        uint64_t so_far = atomic_load(&stage->written);
        take_difference(&stage->latency, &stage->seen, &stage->second);
        pace_of(&stage->second, (double)(so_far - written), &stage->out->seconds[second]);
        written = so_far;
        progress_update(&progress, second + 1);
    }
    progress_end(&progress);
}

/* Which of the two values a key has at last is not known: either is right. */
static plsm_status check_all(struct stage *stage, uint64_t *count)
{
    struct worker worker = {.engine = stage->options.engine, .data = &stage->data};
    TRY(worker.engine->session(stage->db, &worker.session));
    plsm_status status = worker_scan(&worker, (plsm_slice){0}, UINT64_MAX, count);
    worker.engine->session_end(worker.session);
    if (status == PLSM_OK && (*count > stage->data.keys || (*count == 0 && atomic_load(&stage->written) > 0)))
        status = fail(PLSM_CORRUPT, "wrong answer: %llu entries in the store", (unsigned long long)*count);
    return status;
}

static plsm_status run_stage(struct stage *stage, const char *path)
{
    struct stalls *out = stage->out;
    uint64_t cpu = clock_process_cpu_ns(), files = 0, count = 0, written_bytes = clock_written_bytes();
    plsm_status status = start_writers(stage);
    if (status == PLSM_OK)
        watch(stage);
    plsm_status stopped = stop_writers(stage);
    TRY(status);
    TRY(stopped);
    TRY(stage->options.engine->settle(stage->db));
    clock_wait_until_idle();
    double records = (double)atomic_load(&stage->written);
    pace_of(&stage->latency, records, &out->all);
    out->cpu_ns_per_op = records > 0 ? (double)(clock_process_cpu_ns() - cpu) / records : -1;
    out->write_amplification =
        stage->given_bytes ? (double)(clock_written_bytes() - written_bytes) / (double)stage->given_bytes : -1;
    out->resident_bytes = (double)clock_memory().resident_bytes;
    files = files_bytes(path);
    TRY(check_all(stage, &count));
    double entry = records > 0 ? (double)stage->given_bytes / records : 0;
    out->space_amplification = count > 0 ? (double)files / (entry * (double)count) : -1;
    return PLSM_OK;
}

static plsm_status work(void *arg, const char *directory, void *result)
{
    struct stage *stage = arg;
    const struct row_options *options = &stage->options;
    char path[PATH_MAX];
    struct adapter_options engine_options = {.keys = options->keys,
                                             .value_bytes = options->value_bytes,
                                             .threads = options->threads,
                                             .cache_bytes = options->cache_bytes,
                                             .sync = options->sync,
                                             .index = options->index,
                                             .options = options->options};
    (void)result;
    snprintf(path, sizeof path, "%s/store", directory);
    /* Levels, what is being compacted, and logs. */
    TRY(files_need(directory, options->keys * (options->value_bytes + 64) * 4 + (UINT64_C(1) << 30)));
    plsm_status status = data_init(&stage->data, options->shape, options->keys, 0, options->value_bytes, options->seed);
    stage->writers = mem_zalloc(options->threads * sizeof *stage->writers);
    if (status == PLSM_OK && !stage->writers)
        status = fail(PLSM_NO_MEMORY, "no memory for %u threads", options->threads);
    if (status == PLSM_OK)
        status = options->engine->open(path, &engine_options, &stage->db);
    if (status == PLSM_OK)
        status = run_stage(stage, path);
    if (status == PLSM_OK)
        status = options->engine->close(stage->db);
    mem_free(stage->writers);
    data_free(&stage->data);
    return status;
}

/* --- all of them -------------------------------------------------------------------------------------------------- */

static size_t stalls_size(const struct bench_plan *plan)
{
    return sizeof(struct stalls) + plan->seconds * sizeof(struct pace);
}

static plsm_status run_engine(const struct bench_plan *plan, uint32_t variant, struct stalls *out)
{
    char nothing = 0;
    struct stage *stage = mem_zalloc(sizeof *stage);
    if (!stage)
        return fail(PLSM_NO_MEMORY, "no memory for a benchmark");
    stage->plan = plan;
    stage->options = bench_row(plan, variant);
    stage->out = out;
    plsm_status status = rows_apart(work, stage, &nothing, sizeof nothing);
    if (status != PLSM_OK)
        status = fail_context(status, report_engine(&stage->options));
    mem_free(stage);
    return status;
}

static double slowest_second(const struct bench_plan *plan, const struct stalls *stalls)
{
    double least = stalls->seconds[0].ops;
    for (uint64_t second = 1; second < plan->seconds; second++)
        least = stalls->seconds[second].ops < least ? stalls->seconds[second].ops : least;
    return least;
}

/* What plsm should hold under a load that lasts: no writer waits longer at the 99.99th percentile. */
static const double LONGEST_MS = 50;

static bool holds(const struct stalls *s)
{
    return s->all.latency_ns[P9999] <= LONGEST_MS * 1e6;
}

/* Others are told without a verdict. */
static bool is_judged(const struct bench_plan *plan, uint32_t variant)
{
    return (int)variant == bench_learned(plan);
}

static void print_json(const struct bench_plan *plan, uint32_t variant, const struct stalls *s)
{
    struct row_options options = bench_row(plan, variant), *row = &options;
    tool_print(
        "{\"workload\":\"stalls\",\"engine\":\"%s\",\"index\":%s%s%s,\"keys\":%llu,\"value_bytes\":%u,\"batch\":%u,"
        "\"threads\":%u,\"sync\":%s,\"seconds\":%llu,\"ops\":%.0f,\"ops_per_s\":%.0f,\"slowest_ops_per_s\":%.0f,"
        "\"cpu_ns_per_op\":%.1f,",
        row->engine->name, row->index ? "\"" : "", row->index ? row->index : "null", row->index ? "\"" : "",
        (unsigned long long)row->keys, row->value_bytes, row->batch, row->threads, row->sync ? "true" : "false",
        (unsigned long long)plan->seconds, s->all.ops, s->all.ops / (double)plan->seconds, slowest_second(plan, s),
        s->cpu_ns_per_op);
    for (int q = 0; q < QUANTILES; q++)
        tool_print("\"%s\":%.0f,", quantile_names[q], s->all.latency_ns[q]);
    tool_print("\"write_amplification\":%.4f,\"space_amplification\":%.4f,\"resident_bytes\":%.0f,"
               "\"p9999_ns_limit\":%.0f,\"met\":%s}\n",
               s->write_amplification, s->space_amplification, s->resident_bytes, LONGEST_MS * 1e6,
               !is_judged(plan, variant) ? "null"
               : holds(s)                ? "true"
                                         : "false");
}

static void print_stalls(const struct bench_plan *plan, uint32_t variant, const struct stalls *s)
{
    struct row_options row = bench_row(plan, variant);
    char memory[TEXT_NUMBER_SIZE];
    if (plan->json) {
        print_json(plan, variant, s);
        return;
    }
    if (variant == 0)
        tool_print("%-18s %6s %3s %-4s %11s %11s %10s %10s %10s %11s %12s %7s %7s %9s\n", "engine", "batch", "thr",
                   "sync", "ops/s", "slowest s", "CPU ns/op", "p50 ns", "p99 ns", "p99.99 ns", "max ns", "write x",
                   "space x", "resident");
    tool_print("%-18s %6u %3u %-4s %11.0f %11.0f %10.1f %10.0f %10.0f %11.0f %12.0f %7.2f %7.2f %9s\n",
               report_engine(&row), row.batch, row.threads, row.sync ? "on" : "off", s->all.ops / (double)plan->seconds,
               slowest_second(plan, s), s->cpu_ns_per_op, s->all.latency_ns[P50], s->all.latency_ns[P99],
               s->all.latency_ns[P9999], s->all.latency_ns[LONGEST], s->write_amplification, s->space_amplification,
               text_bytes(memory, (uint64_t)s->resident_bytes));
    if (is_judged(plan, variant))
        tool_print("%-18s 99.99th percentile of a write at most %.0f ms: %s\n", "", LONGEST_MS,
                   holds(s) ? "met" : "not met");
    tool_flush();
}

/* The last columns are of the engine's whole run. */
static void write_csv(FILE *csv, const struct bench_plan *plan, uint32_t variant, const struct stalls *s)
{
    struct row_options row = bench_row(plan, variant);
    if (variant == 0) {
        fputs("engine,index,second,ops", csv);
        for (int q = 0; q < QUANTILES; q++)
            fprintf(csv, ",%s", quantile_names[q]);
        fputs(",keys,value_bytes,batch,threads,sync,cpu_ns_per_op,write_amplification,space_amplification,"
              "resident_bytes,met\n",
              csv);
    }
    for (uint64_t second = 0; second < plan->seconds; second++) {
        fprintf(csv, "%s,%s,%llu,%.0f", row.engine->name, row.index ? row.index : "", (unsigned long long)second + 1,
                s->seconds[second].ops);
        for (int q = 0; q < QUANTILES; q++)
            fprintf(csv, ",%.0f", s->seconds[second].latency_ns[q]);
        fprintf(csv, ",%llu,%u,%u,%u,%d,%.1f,%.4f,%.4f,%.0f,%s\n", (unsigned long long)row.keys, row.value_bytes,
                row.batch, row.threads, row.sync, s->cpu_ns_per_op, s->write_amplification, s->space_amplification,
                s->resident_bytes,
                !is_judged(plan, variant) ? ""
                : holds(s)                ? "1"
                                          : "0");
    }
    fflush(csv);
}

/* Adds the lines of one engine to a picture. */
static plsm_status add_lines(struct buf *script, const struct bench_plan *plan, uint32_t variant,
                             const struct stalls *s)
{
    TRY(buf_printf(script, "$engine%u << EOD\n", variant));
    for (uint64_t second = 0; second < plan->seconds; second++)
        TRY(buf_printf(script, "%llu %.0f\n", (unsigned long long)second + 1, s->seconds[second].ops));
    return buf_printf(script, "EOD\n");
}

static plsm_status end_script(struct buf *script, const struct bench_plan *plan)
{
    TRY(buf_printf(script, "set title 'random puts, a point a second'\nset xlabel 's'\nset ylabel 'puts a second'\n"
                           "set yrange [0:*]\nset grid\nset key outside\nplot "));
    for (uint32_t v = 0; v < plan->variant_count; v++) {
        struct row_options row = bench_row(plan, v);
        TRY(buf_printf(script, "%s$engine%u with lines linewidth 2 title '%s'", v ? ", " : "", v, report_engine(&row)));
    }
    return buf_printf(script, "\n");
}

static enum tool_exit run_all(const struct tool *tool, const struct bench_plan *plan, struct stalls *stalls, FILE *csv,
                              struct buf *script)
{
    plsm_status status = PLSM_OK;
    if (!plan->json)
        report_machine("");
    for (uint32_t v = 0; v < plan->variant_count && status == PLSM_OK; v++) {
        memset(stalls, 0, stalls_size(plan));
        status = run_engine(plan, v, stalls);
        if (status != PLSM_OK)
            break;
        print_stalls(plan, v, stalls);
        if (csv)
            write_csv(csv, plan, v, stalls);
        if (plan->plot)
            status = add_lines(script, plan, v, stalls);
    }
    if (status == PLSM_OK && plan->plot)
        status = end_script(script, plan);
    if (status != PLSM_OK)
        return tool_error(tool, status);
    return plan->plot ? gnuplot_draw(tool, plan->plot, 1600, 800, buf_slice(script)) : TOOL_OK;
}

enum tool_exit bench_stalls(const struct tool *tool, const struct bench_plan *plan)
{
    struct buf script = {0};
    FILE *csv = NULL;
    enum tool_exit code = plan->plot ? gnuplot_possible(tool, plan->plot) : TOOL_OK;
    size_t size = stalls_size(plan);
    struct stalls *stalls = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (stalls == MAP_FAILED)
        return tool_error(tool, fail(PLSM_NO_MEMORY, "no memory for %llu seconds", (unsigned long long)plan->seconds));
    if (code == TOOL_OK)
        code = csv_open(tool, plan->csv, &csv);
    if (code == TOOL_OK)
        code = run_all(tool, plan, stalls, csv, &script);
    code = csv_close(tool, plan->csv, csv, code);
    munmap(stalls, size);
    buf_free(&script);
    return tool_output_end(tool, code);
}
