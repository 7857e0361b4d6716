/* Rows are measured for the engines that a target names, in turns, and judged. What decides is processor time per
 * operation, background work included, except where an operation waits for a device: there it is operations a second.
 * Both are told. */
#include "tools/bench/targets.h"

#include <unistd.h>

#include "base/alloc.h"
#include "base/error.h"
#include "tools/bench/contest.h"
#include "tools/bench/floor.h"
#include "tools/bench/report.h"
#include "tools/bench/shapes.h"
#include "tools/text.h"

#include "base/banned.h"

enum place {
    READ,
    ABSENT,
    SCAN,
    FILL_BATCH,
    FILL_ONE,
    FILL_ORDERED,
    SYNC,
    YCSB_A,
    YCSB_B,
    YCSB_C,
    YCSB_F,
    YCSB_D,
    YCSB_E,
    LARGER,
    PLACES
};

/* One process each: a store, and workloads on it whose results come into the places from `first` on. */
static const struct job {
    enum place first;
    uint32_t count, batch, threads;
    const char *workloads[5];
    bool sync;
    unsigned ops_of, cache_of; /* takes the ops-th part of the operations, the cache-th part of the data as cache */
} jobs[] = {
    {READ, 3, 1, 1, {"readrandom", "readabsent", "readseq"}, false, 1, 0},
    {FILL_BATCH, 1, 1000, 1, {"fillrandom"}, false, 1, 0},
    {FILL_ONE, 1, 1, 1, {"fillrandom"}, false, 1, 0},
    {FILL_ORDERED, 1, 1000, 1, {"fillseq"}, false, 1, 0},
    {SYNC, 1, 1, 8, {"overwrite"}, true, 50, 0},
    {YCSB_A, 5, 1, 1, {"ycsb-a", "ycsb-b", "ycsb-c", "ycsb-f", "ycsb-d"}, false, 1, 0},
    {YCSB_E, 1, 1, 1, {"ycsb-e"}, false, 20, 0},
    {LARGER, 1, 1, 1, {"readrandom"}, false, 1, 10},
};
enum { JOBS = sizeof jobs / sizeof *jobs };

enum measure { BY_CPU, BY_SPEED, IN_MISSES, IN_SYNCS };

/* "best": the fastest of the others. Limits of IN_MISSES are upper ones; IN_SYNCS is told only. */
static const struct target {
    const char *about;
    enum place place;
    enum measure measure;
    const char *rival;
    double limit;
} targets[] = {
    {"point read in memory", READ, BY_CPU, "rocksdb", 6},
    {"point read in memory", READ, BY_CPU, "leveldb", 5},
    {"point read in memory", READ, BY_CPU, "lmdb", 3},
    {"point read, in dependent memory misses", READ, IN_MISSES, NULL, 2.5},
    {"absent read in memory", ABSENT, BY_CPU, "rocksdb", 8},
    {"random write, batches of 1,000", FILL_BATCH, BY_CPU, "rocksdb", 5},
    {"random write, batches of 1,000", FILL_BATCH, BY_CPU, "leveldb", 3},
    {"random write, batches of 1,000", FILL_BATCH, BY_CPU, "lmdb", 3},
    {"random put, one by one, sync off", FILL_ONE, BY_CPU, "rocksdb", 4},
    {"sequential write, batches of 1,000", FILL_ORDERED, BY_CPU, "lmdb", 2},
    {"synced puts of 8 writers", SYNC, BY_SPEED, "best", 1},
    {"synced puts of 8 writers, log syncs of a put", SYNC, IN_SYNCS, NULL, 0},
    {"scan, per entry", SCAN, BY_CPU, "lmdb", 2},
    {"scan, per entry", SCAN, BY_CPU, "leveldb", 7},
    {"YCSB A", YCSB_A, BY_CPU, "rocksdb", 3},
    {"YCSB B", YCSB_B, BY_CPU, "rocksdb", 3},
    {"YCSB C", YCSB_C, BY_CPU, "rocksdb", 3},
    {"YCSB D", YCSB_D, BY_CPU, "rocksdb", 3},
    {"YCSB E", YCSB_E, BY_CPU, "rocksdb", 3},
    {"YCSB F", YCSB_F, BY_CPU, "rocksdb", 3},
    {"point read, cache of a tenth of the data", LARGER, BY_CPU, "rocksdb", 1.3},
};
enum { TARGETS = sizeof targets / sizeof *targets };

struct measured {
    const struct bench_plan *plan;
    struct row_result *results; /* [variant][place][repeat] */
    double dram_ns;
};

static struct row_result *result_at(const struct measured *m, uint32_t variant, uint32_t place)
{
    return m->results + ((size_t)variant * PLACES + place) * m->plan->repeat;
}

static struct row_result median_of(const struct measured *m, uint32_t variant, enum place place)
{
    struct row_result median;
    row_median(result_at(m, variant, place), m->plan->repeat, &median);
    return median;
}

/* --- measuring --------------------------------------------------------------------------------------------------- */

static const uint64_t OPS_MAX = 1000000; /* unless told otherwise */

static struct row_options options_of(const struct bench_plan *plan, const struct job *job, uint32_t variant)
{
    struct row_options row = bench_row(plan, variant);
    uint64_t ops = row.ops ? row.ops : row.keys < OPS_MAX ? row.keys : OPS_MAX;
    uint64_t data = row.keys * (row.value_bytes + 16), cache = 2 * data;
    row.workload = workload_find(job->workloads[0]);
    row.batch = job->batch;
    row.threads = job->threads;
    row.sync = job->sync;
    row.ops = ops / job->ops_of > 0 ? ops / job->ops_of : 1;
    if (row.workload->ordered && !shape_find(row.shape)->ordered)
        row.shape = "decimal";
    if (job->cache_of)
        row.cache_bytes = data / job->cache_of;
    else
        row.cache_bytes = cache > row.cache_bytes ? cache : row.cache_bytes;
    return row;
}

static plsm_status run_variant(struct measured *m, const struct job *job, uint32_t variant, uint32_t repeat)
{
    const struct workload *list[sizeof job->workloads / sizeof *job->workloads];
    struct row_result results[sizeof job->workloads / sizeof *job->workloads];
    struct row_options row = options_of(m->plan, job, variant);
    for (uint32_t i = 0; i < job->count; i++)
        list[i] = workload_find(job->workloads[i]);
    TRY(row_run_series(&row, list, job->count, results));
    for (uint32_t i = 0; i < job->count; i++)
        result_at(m, variant, job->first + i)[repeat] = results[i];
    return PLSM_OK;
}

/* --- judging ----------------------------------------------------------------------------------------------------- */

struct verdict {
    bool known, met;
    double measured;
    char text[128];
};

/* The variant of an engine; -1: it is not here. */
static int variant_of(const struct bench_plan *plan, const char *engine)
{
    for (uint32_t v = 0; v < plan->variant_count; v++)
        if (strcmp(plan->variants[v].engine->name, engine) == 0)
            return (int)v;
    return -1;
}

static int best_rival(const struct measured *m, enum place place, int ours)
{
    int best = -1;
    double most = 0;
    for (uint32_t v = 0; v < m->plan->variant_count; v++) {
        double speed = median_of(m, v, place).ops_per_s;
        if ((int)v != ours && !m->plan->variants[v].engine->own && speed > most) {
            best = (int)v;
            most = speed;
        }
    }
    return best;
}

static void judge_ratio(const struct measured *m, const struct target *target, int ours, struct verdict *out)
{
    bool best = strcmp(target->rival, "best") == 0;
    int rival = best ? best_rival(m, target->place, ours) : variant_of(m->plan, target->rival);
    if (rival < 0) {
        snprintf(out->text, sizeof out->text, "no %s here", best ? "other engine" : target->rival);
        return;
    }
    struct row_result mine = median_of(m, (uint32_t)ours, target->place);
    struct row_result theirs = median_of(m, (uint32_t)rival, target->place);
    double cpu = theirs.cpu_ns_per_op / mine.cpu_ns_per_op, speed = mine.ops_per_s / theirs.ops_per_s;
    out->known = true;
    out->measured = target->measure == BY_SPEED ? speed : cpu;
    out->met = out->measured >= target->limit;
    snprintf(out->text, sizeof out->text, "CPU %.2fx (%.0f, %s %.0f ns), speed %.2fx", cpu, mine.cpu_ns_per_op,
             m->plan->variants[rival].engine->name, theirs.cpu_ns_per_op, speed);
}

static void judge(const struct measured *m, const struct target *target, struct verdict *out)
{
    int ours = bench_learned(m->plan);
    struct row_result mine = median_of(m, (uint32_t)ours, target->place);
    *out = (struct verdict){0};
    if (target->measure == IN_MISSES) {
        out->known = true;
        out->measured = mine.cpu_ns_per_op / m->dram_ns;
        out->met = out->measured <= target->limit;
        snprintf(out->text, sizeof out->text, "%.2f (%.0f ns of %.0f)", out->measured, mine.cpu_ns_per_op, m->dram_ns);
    } else if (target->measure == IN_SYNCS) {
        out->measured = mine.syncs_per_op;
        snprintf(out->text, sizeof out->text, "%.3f", out->measured);
    } else {
        judge_ratio(m, target, ours, out);
    }
}

/* "readrandom, 1000000 ops, cache 2.2 GiB": what a place was measured with, behind what holds for all of them. */
static void conditions_of(const struct measured *m, const struct job *job, enum place place, char *out, size_t size)
{
    char cache[TEXT_NUMBER_SIZE];
    struct row_options row = options_of(m->plan, job, (uint32_t)bench_learned(m->plan));
    const struct workload *workload = workload_find(job->workloads[place - job->first]);
    uint64_t ops = workload->kind == WORKLOAD_FILL ? row.keys : row.ops;
    snprintf(out, size, "%s, %llu ops, batch %u, %u thread%s, sync %s, cache %s", workload->name,
             (unsigned long long)ops, row.batch, row.threads, row.threads > 1 ? "s" : "", row.sync ? "on" : "off",
             text_bytes(cache, row.cache_bytes));
}

static void print_target(const struct measured *m, const struct job *job, const struct target *target,
                         const struct verdict *verdict)
{
    const struct bench_plan *plan = m->plan;
    char limit[64] = "told", conditions[160];
    const char *outcome = !verdict->known ? "-" : verdict->met ? "met" : "not met";
    if (target->measure == IN_MISSES)
        snprintf(limit, sizeof limit, "<= %.1f", target->limit);
    else if (target->measure != IN_SYNCS)
        snprintf(limit, sizeof limit, ">= %.1fx %s", target->limit, target->rival);
    conditions_of(m, job, target->place, conditions, sizeof conditions);
    if (plan->json)
        tool_print("{\"target\":\"%s\",\"limit\":\"%s\",\"measured\":%.4f,\"met\":%s,\"figures\":\"%s\","
                   "\"conditions\":\"%s\"}\n",
                   target->about, limit, verdict->measured,
                   !verdict->known ? "null"
                   : verdict->met  ? "true"
                                   : "false",
                   verdict->text, conditions);
    else
        tool_print("%-46s %-17s %-8s %-56s (%s)\n", target->about, limit, outcome, verdict->text, conditions);
}

static bool is_of(const struct target *target, const struct job *job)
{
    return target->place >= job->first && target->place < job->first + job->count;
}

/* Whether a target of the job looks at what this variant does: the others would only take their time. */
static bool is_needed(const struct bench_plan *plan, const struct job *job, uint32_t variant)
{
    const struct adapter *engine = plan->variants[variant].engine;
    if (engine->own)
        return (int)variant == bench_learned(plan);
    for (int i = 0; i < TARGETS; i++)
        if (is_of(&targets[i], job) && targets[i].rival &&
            (strcmp(targets[i].rival, engine->name) == 0 || strcmp(targets[i].rival, "best") == 0))
            return true;
    return false;
}

/* All engines that are needed in turns, again and again. */
static plsm_status run_job(struct measured *m, const struct job *job)
{
    const struct bench_plan *plan = m->plan;
    bool watched = isatty(STDERR_FILENO) == 1;
    uint32_t all = 0, done = 0;
    plsm_status status = PLSM_OK;
    for (uint32_t v = 0; v < plan->variant_count; v++)
        all += is_needed(plan, job, v) ? plan->repeat : 0;
    for (uint32_t repeat = 0; repeat < plan->repeat; repeat++)
        for (uint32_t place = 0; place < plan->variant_count && status == PLSM_OK; place++) {
            uint32_t v = contest_order(plan->variant_count, repeat, place);
            if (!is_needed(plan, job, v))
                continue;
            struct row_options row = bench_row(plan, v);
            if (watched)
                fprintf(stderr, "\r%u of %u: %s, %s\033[K", ++done, all, job->workloads[0], report_engine(&row));
            status = run_variant(m, job, v, repeat);
        }
    if (watched)
        fputs("\r\033[K", stderr);
    return status;
}

/* Each target is told when what it asks for has been measured: all of it takes long. */
static plsm_status run_jobs(struct measured *m)
{
    unsigned met = 0, known = 0;
    plsm_status status = PLSM_OK;
    if (!m->plan->json)
        tool_print("%-46s %-17s %-8s %-56s (%s)\n", "what", "target", "", "measured", "conditions");
    for (const struct job *job = jobs; job < jobs + JOBS && status == PLSM_OK; job++) {
        tool_flush();
        status = run_job(m, job);
        for (int i = 0; i < TARGETS && status == PLSM_OK; i++) {
            struct verdict verdict;
            if (!is_of(&targets[i], job))
                continue;
            judge(m, &targets[i], &verdict);
            print_target(m, job, &targets[i], &verdict);
            met += verdict.known && verdict.met;
            known += verdict.known;
        }
    }
    if (status == PLSM_OK && !m->plan->json)
        tool_print("%u of %u met\n", met, known);
    return status;
}

static void print_conditions(const struct measured *m)
{
    const struct bench_plan *plan = m->plan;
    char cache[TEXT_NUMBER_SIZE];
    struct row_options row = options_of(plan, &jobs[0], 0);
    report_machine("");
    tool_print("%llu keys of the shape %s, values of %u bytes, %llu operations a row (fills: all keys; synced: a "
               "fiftieth;\nYCSB E: a twentieth), caches of %s (a tenth of the data in the last row; the kernel's page "
               "cache is not\nlimited), log on, sync off, medians of %u runs in turns; a dependent miss: %.0f ns\n\n",
               (unsigned long long)row.keys, row.shape, row.value_bytes, (unsigned long long)row.ops,
               text_bytes(cache, row.cache_bytes), plan->repeat, m->dram_ns);
    tool_flush();
}

enum tool_exit bench_targets(const struct tool *tool, const struct bench_plan *plan)
{
    struct measured m = {.plan = plan};
    if (bench_learned(plan) < 0)
        return tool_usage(tool, "targets are those of plsm: --engine must have lsm");
    m.results = mem_zalloc((size_t)plan->variant_count * PLACES * plan->repeat * sizeof *m.results);
    plsm_status status = m.results ? PLSM_OK : fail(PLSM_NO_MEMORY, "no memory for figures");
    if (status == PLSM_OK)
        status = floor_dram_miss(&m.dram_ns);
    if (status == PLSM_OK && !plan->json)
        print_conditions(&m);
    if (status == PLSM_OK)
        status = run_jobs(&m);
    mem_free(m.results);
    return status == PLSM_OK ? tool_output_end(tool, TOOL_OK) : tool_error(tool, status);
}
