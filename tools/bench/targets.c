/* Rows are measured for the engines that a target names, in turns, and judged. What decides is processor time per
 * operation, background work included, except where an operation waits for a device: there it is operations a second.
 * Both are told. What takes many minutes by itself has commands of its own, which are named at the end. */
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
    COLD,
    PAGES,
    PAGES_ABSENT,
    PLACES
};

/* Of cache_of. */
enum { TWICE_THE_DATA = 0, NO_CACHE = -1 };
/* Cold reads are of one in so many keys, so that hardly any finds its page in memory because of one before it. */
enum { COLD_OF_KEYS = 500 };

/* One process each: a store, and workloads on it whose results come into the places from `first` on. */
static const struct job {
    enum place first;
    uint32_t count, batch, threads;
    const char *workloads[5];
    bool sync;
    unsigned ops_of, keys_of; /* takes this part of the operations, for at most one in so many keys (0: any) */
    int cache_of;             /* takes this part of the data as cache */
    enum cache_state state;
} jobs[] = {
    {READ, 3, 1, 1, {"readrandom", "readabsent", "readseq"}, false, 1, 0, 0, STATE_WARM},
    {FILL_BATCH, 1, 1000, 1, {"fillrandom"}, false, 1, 0, 0, STATE_WARM},
    {FILL_ONE, 1, 1, 1, {"fillrandom"}, false, 1, 0, 0, STATE_WARM},
    {FILL_ORDERED, 1, 1000, 1, {"fillseq"}, false, 1, 0, 0, STATE_WARM},
    {SYNC, 1, 1, 8, {"overwrite"}, true, 50, 0, 0, STATE_WARM},
    {YCSB_A, 5, 1, 1, {"ycsb-a", "ycsb-b", "ycsb-c", "ycsb-f", "ycsb-d"}, false, 1, 0, 0, STATE_WARM},
    {YCSB_E, 1, 1, 1, {"ycsb-e"}, false, 20, 0, 0, STATE_WARM},
    {LARGER, 1, 1, 1, {"readrandom"}, false, 1, 0, 10, STATE_WARM},
    {COLD, 1, 1, 1, {"readrandom"}, false, 1, COLD_OF_KEYS, 10, STATE_COLD},
    /* Each read gets what it needs by calls, which count it also where the kernel has the page by then. */
    {PAGES, 2, 1, 1, {"readrandom", "readabsent"}, false, 50, 0, NO_CACHE, STATE_COLD},
};
enum { JOBS = sizeof jobs / sizeof *jobs };

enum measure {
    BY_CPU,     /* processor time of the rival over ours */
    BY_SPEED,   /* our operations a second over those of the rival */
    BY_WRITING, /* bytes written for each byte, ours over the rival's: at most */
    PER_SECOND, /* operations: at least */
    IN_MISSES,  /* processor time in dependent misses: at most */
    IN_DEVICE,  /* time over that of the device itself: at most */
    IN_PAGES,   /* read by an operation: at most */
    IN_MS,      /* 99.99th percentile of one call: at most */
    BY_SYNCS,   /* calls that sync, ours over those of the one who makes the fewest: at most */
};

/* "best": the best of the others, by that measure. */
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
    {"point read (seed 004)", READ, PER_SECOND, NULL, 3e6},
    {"absent read in memory", ABSENT, BY_CPU, "rocksdb", 8},
    {"random write, batches of 1,000", FILL_BATCH, BY_CPU, "rocksdb", 5},
    {"random write, batches of 1,000", FILL_BATCH, BY_CPU, "leveldb", 3},
    {"random write, batches of 1,000", FILL_BATCH, BY_CPU, "lmdb", 3},
    {"random write, batches (seed 004)", FILL_BATCH, PER_SECOND, NULL, 2.5e6},
    {"random load, written for each byte", FILL_BATCH, BY_WRITING, "rocksdb", 1},
    {"random put, one by one, sync off", FILL_ONE, BY_CPU, "rocksdb", 4},
    {"random put, one by one, 99.99th percentile", FILL_ONE, IN_MS, NULL, 50},
    {"sequential write, batches of 1,000", FILL_ORDERED, BY_CPU, "lmdb", 2},
    {"sequential write, batches (seed 004)", FILL_ORDERED, PER_SECOND, NULL, 5e6},
    {"synced puts of 8 writers", SYNC, BY_SPEED, "best", 1},
    {"synced puts of 8 writers, syncs of a put", SYNC, BY_SYNCS, "best", 1},
    {"scan, per entry", SCAN, BY_CPU, "lmdb", 2},
    {"scan, per entry", SCAN, BY_CPU, "leveldb", 7},
    {"scan, entries (seed 004)", SCAN, PER_SECOND, NULL, 1e7},
    {"YCSB A", YCSB_A, BY_CPU, "rocksdb", 3},
    {"YCSB B", YCSB_B, BY_CPU, "rocksdb", 3},
    {"YCSB C", YCSB_C, BY_CPU, "rocksdb", 3},
    {"YCSB D", YCSB_D, BY_CPU, "rocksdb", 3},
    {"YCSB E", YCSB_E, BY_CPU, "rocksdb", 3},
    {"YCSB F", YCSB_F, BY_CPU, "rocksdb", 3},
    {"point read, cache of a tenth of the data", LARGER, BY_CPU, "rocksdb", 1.3},
    {"the same, page cache cold", COLD, BY_SPEED, "rocksdb", 1.3},
    {"the same, in reads of the device alone", COLD, IN_DEVICE, NULL, 1.2},
    {"cold point read without a cache, pages", PAGES, IN_PAGES, NULL, 1.01},
    {"the same of absent keys, pages", PAGES_ABSENT, IN_PAGES, NULL, 0.01},
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
    row.state = job->state;
    ops /= job->ops_of;
    if (job->keys_of && ops > row.keys / job->keys_of)
        ops = row.keys / job->keys_of;
    row.ops = ops > 0 ? ops : 1;
    if (row.workload->ordered && !shape_find(row.shape)->ordered)
        row.shape = "decimal";
    if (job->cache_of != TWICE_THE_DATA)
        row.cache_bytes = job->cache_of == NO_CACHE ? 0 : data / (uint64_t)job->cache_of;
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

static int best_rival(const struct measured *m, const struct target *target)
{
    int best = -1;
    double most = 0;
    for (uint32_t v = 0; v < m->plan->variant_count; v++) {
        struct row_result theirs = median_of(m, v, target->place);
        double good = target->measure == BY_SYNCS ? 1 / theirs.syncs_per_op : theirs.ops_per_s;
        if (!m->plan->variants[v].engine->own && good > most) {
            best = (int)v;
            most = good;
        }
    }
    return best;
}

/* Who writes durably syncs: where none were counted, it was in a way that is not. */
static void judge_syncs(const struct row_result *mine, const struct row_result *theirs, const char *name,
                        const struct target *target, struct verdict *out)
{
    out->known = mine->syncs_per_op > 0 && theirs->syncs_per_op > 0;
    if (!out->known) {
        snprintf(out->text, sizeof out->text, "not known: syncs of %s are not counted",
                 mine->syncs_per_op > 0 ? name : "plsm");
        return;
    }
    out->measured = mine->syncs_per_op / theirs->syncs_per_op;
    out->met = out->measured <= target->limit;
    snprintf(out->text, sizeof out->text, "%.2fx (%.3f, %s %.3f)", out->measured, mine->syncs_per_op, name,
             theirs->syncs_per_op);
}

static void judge_ratio(const struct measured *m, const struct target *target, int ours, struct verdict *out)
{
    bool best = strcmp(target->rival, "best") == 0;
    int rival = best ? best_rival(m, target) : variant_of(m->plan, target->rival);
    if (rival < 0) {
        snprintf(out->text, sizeof out->text, "could not be measured: no %s here",
                 best ? "other engine" : target->rival);
        return;
    }
    struct row_result mine = median_of(m, (uint32_t)ours, target->place);
    struct row_result theirs = median_of(m, (uint32_t)rival, target->place);
    const char *name = m->plan->variants[rival].engine->name;
    out->known = true;
    if (target->measure == BY_WRITING) {
        out->measured = mine.write_amplification / theirs.write_amplification;
        out->met = out->measured <= target->limit;
        snprintf(out->text, sizeof out->text, "%.2fx (%.2f, %s %.2f; on disk %.2f, %.2f)", out->measured,
                 mine.write_amplification, name, theirs.write_amplification, mine.space_amplification,
                 theirs.space_amplification);
        return;
    }
    if (target->measure == BY_SYNCS) {
        judge_syncs(&mine, &theirs, name, target, out);
        return;
    }
    double cpu = theirs.cpu_ns_per_op / mine.cpu_ns_per_op, speed = mine.ops_per_s / theirs.ops_per_s;
    out->measured = target->measure == BY_SPEED ? speed : cpu;
    out->met = out->measured >= target->limit;
    snprintf(out->text, sizeof out->text, "CPU %.2fx (%.0f, %s %.0f ns), speed %.2fx", cpu, mine.cpu_ns_per_op, name,
             theirs.cpu_ns_per_op, speed);
}

/* A figure of ours that may have a limit from above; what is negative could not be measured. */
static void judge_most(const struct target *target, double figure, struct verdict *out)
{
    out->known = figure >= 0;
    out->measured = figure;
    out->met = out->known && figure <= target->limit;
}

static void judge_alone(const struct measured *m, const struct target *target, int ours, struct verdict *out)
{
    struct row_result mine = median_of(m, (uint32_t)ours, target->place);
    char *text = out->text;
    size_t size = sizeof out->text;
    switch (target->measure) {
    case IN_MISSES:
        judge_most(target, mine.cpu_ns_per_op / m->dram_ns, out);
        snprintf(text, size, "%.2f (%.0f ns of %.0f)", out->measured, mine.cpu_ns_per_op, m->dram_ns);
        break;
    case IN_DEVICE: /* by one thread */
        judge_most(target, mine.device_ns > 0 ? 1e9 / mine.ops_per_s / mine.device_ns : -1, out);
        snprintf(text, size, "%.2f (%.1f us of %.1f)", out->measured, 1e6 / mine.ops_per_s, mine.device_ns / 1e3);
        break;
    case IN_PAGES:
        judge_most(target, mine.pages_per_op, out);
        snprintf(text, size, "%.4f (from the disk %.4f)", mine.pages_per_op, mine.disk_pages_per_op);
        break;
    case IN_MS:
        judge_most(target, mine.p9999_ns / 1e6, out);
        snprintf(text, size, "%.3f ms (p99 %.3f, longest %.1f)", out->measured, mine.p99_ns / 1e6, mine.max_ns / 1e6);
        break;
    default: /* PER_SECOND */
        out->known = true;
        out->measured = mine.ops_per_s;
        out->met = mine.ops_per_s >= target->limit;
        snprintf(text, size, "%.2f M/s", mine.ops_per_s / 1e6);
        break;
    }
    if (!out->known)
        snprintf(text, size, "could not be measured");
}

static void judge(const struct measured *m, const struct target *target, struct verdict *out)
{
    int ours = bench_learned(m->plan);
    *out = (struct verdict){0};
    if (target->rival)
        judge_ratio(m, target, ours, out);
    else
        judge_alone(m, target, ours, out);
}

static void limit_text(const struct target *target, char *out, size_t size)
{
    switch (target->measure) {
    case BY_CPU:
    case BY_SPEED:
        snprintf(out, size, ">= %.1fx %s", target->limit, target->rival);
        break;
    case BY_WRITING:
    case BY_SYNCS:
        snprintf(out, size, "<= %.1fx %s", target->limit, target->rival);
        break;
    case PER_SECOND:
        snprintf(out, size, ">= %.1f M/s", target->limit / 1e6);
        break;
    case IN_MS:
        snprintf(out, size, "<= %.0f ms", target->limit);
        break;
    default:
        snprintf(out, size, "<= %.*f", target->measure == IN_PAGES ? 2 : 1, target->limit);
        break;
    }
}

/* "readrandom, 1000000 ops, ...": what a place was measured with, behind what holds for all of them, and what our
 * engine took for it. */
static void conditions_of(const struct measured *m, const struct job *job, enum place place, char *out, size_t size)
{
    char cache[TEXT_NUMBER_SIZE], memory[TEXT_NUMBER_SIZE], write[REPORT_FIGURE_SIZE], space[REPORT_FIGURE_SIZE];
    uint32_t ours = (uint32_t)bench_learned(m->plan);
    struct row_options row = options_of(m->plan, job, ours);
    struct row_result mine = median_of(m, ours, place);
    row.workload = workload_find(job->workloads[place - job->first]);
    uint64_t ops = row.workload->kind == WORKLOAD_FILL ? row.keys : row.ops;
    report_ratio(write, "-", mine.write_amplification);
    report_ratio(space, "-", mine.space_amplification);
    snprintf(out, size,
             "%s, %llu ops, batch %u, %u thread%s, sync %s, cache %s, %s; write x %s, space x %s, resident %s",
             row.workload->name, (unsigned long long)ops, row.batch, row.threads, row.threads > 1 ? "s" : "",
             row.sync ? "on" : "off", text_bytes(cache, row.cache_bytes), report_state(&row), write, space,
             text_bytes(memory, (uint64_t)mine.resident_bytes));
}

static void print_target(const struct measured *m, const struct job *job, const struct target *target,
                         const struct verdict *verdict)
{
    const struct bench_plan *plan = m->plan;
    char limit[64], conditions[256], measured[32] = "null";
    const char *outcome = !verdict->known ? "-" : verdict->met ? "met" : "not met";
    limit_text(target, limit, sizeof limit);
    conditions_of(m, job, target->place, conditions, sizeof conditions);
    if (verdict->known)
        snprintf(measured, sizeof measured, "%.4f", verdict->measured);
    if (plan->json)
        tool_print("{\"target\":\"%s\",\"limit\":\"%s\",\"measured\":%s,\"met\":%s,\"figures\":\"%s\","
                   "\"conditions\":\"%s\"}\n",
                   target->about, limit, measured,
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
        tool_print("%u of %u met\nBy commands of their own: stalls over ten minutes (plsm bench stalls), 10^9 entries "
                   "(plsm bench billion), time against\nthe number of keys (plsm bench growth), the requirements of "
                   "learned mode (plsm bench requirements), plsm's other\nengines (plsm bench engines)\n",
                   met, known);
    return status;
}

static void print_conditions(const struct measured *m)
{
    const struct bench_plan *plan = m->plan;
    char cache[TEXT_NUMBER_SIZE];
    struct row_options row = options_of(plan, &jobs[0], 0);
    report_machine("");
    tool_print("%llu keys of the shape %s, values of %u bytes, %llu operations a row (fills: all keys; synced: a "
               "fiftieth;\nYCSB E: a twentieth; cold: of one in %d keys; pages: a fiftieth),\ncaches of %s (a tenth "
               "of the data in the last rows, where the kernel's page cache is not limited, or cold;\nnone where pages "
               "are counted), log on, sync off, medians of %u runs in turns; a dependent miss: %.0f ns\n\n",
               (unsigned long long)row.keys, row.shape, row.value_bytes, (unsigned long long)row.ops, COLD_OF_KEYS,
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
