/* Which jobs there are, and running them. */
#include "tools/bench/suite.h"

#include <math.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/error.h"
#include "tools/bench/contest.h"
#include "tools/bench/csv.h"
#include "tools/bench/files.h"
#include "tools/bench/subject.h"
#include "tools/bench/suite_report.h"

#include "base/banned.h"

const char *const promise_names[PROMISES] = {"each", "batch", "volatile"};

const char *const work_names[WORKS] = {
    [WORK_NONE] = "",
    [WORK_WRITE_FEW] = "writing few keys again and again",
    [WORK_WRITE_MANY] = "writing many keys",
    [WORK_READ] = "reading keys that are there",
    [WORK_ABSENT] = "asking for keys that are not there",
    [WORK_LIST] = "listing in order, ranges",
    [WORK_THREADS] = "one thread and several",
    [WORK_FLUSH] = "writing with frequent flushes",
    [WORK_OPEN] = "opening again, also after a crash",
    [WORK_CHECKPOINT] = "checkpoints",
    [WORK_PAUSE] = "short pauses during checkpoints",
    [WORK_MEMORY] = "little memory",
    [WORK_SPACE] = "little space on disk",
};

static const struct {
    const char *name;
    void (*add)(struct suite *suite);
} parts[] = {
    {"table", suite_add_table},     {"integers", suite_add_integers}, {"scaling", suite_add_scaling},
    {"threads", suite_add_threads}, {"listing", suite_add_listing},   {"flush", suite_add_flush},
    {"space", suite_add_space},     {"recovery", suite_add_recovery}, {"checkpoint", suite_add_checkpoint},
};
enum { PARTS = sizeof parts / sizeof *parts };
const char suite_parts[] = "table, integers, scaling, threads, listing, flush, space, recovery, checkpoint";

bool suite_wants(const char *list, const char *part)
{
    size_t size = strlen(part);
    for (const char *at = list; at; at = strchr(at, ',')) {
        at += *at == ',';
        if (strcspn(at, ",") == size && memcmp(at, part, size) == 0)
            return true;
    }
    return !list;
}

bool suite_parts_check(const char *list)
{
    for (const char *at = list; at; at = strchr(at, ',')) {
        int part = 0;
        at += *at == ',';
        size_t size = strcspn(at, ",");
        while (part < PARTS && (strlen(parts[part].name) != size || memcmp(parts[part].name, at, size) != 0))
            part++;
        if (part == PARTS)
            return false;
    }
    return true;
}

/* --- the figures ------------------------------------------------------------------------------------------------- */

double *suite_values(const struct suite *suite, const struct suite_job *job, uint32_t contender, uint32_t figure)
{
    size_t place = ((size_t)(job - suite->jobs) * SUITE_CONTENDERS_MAX + contender) * SUITE_FIGURES_MAX + figure;
    return suite->values + place * suite->plan->repeat;
}

struct spread suite_spread(const struct suite *suite, const struct suite_job *job, uint32_t contender, uint32_t figure)
{
    double values[ROW_REPEAT_MAX];
    memcpy(values, suite_values(suite, job, contender, figure), suite->plan->repeat * sizeof *values);
    return spread_of(values, suite->plan->repeat);
}

bool suite_has(const struct suite_job *job, const struct contender *contender)
{
    return job->all || contender->promise == PROMISE_EACH;
}

enum work suite_work(const struct suite_job *job, const struct suite_figure *figure)
{
    const uint64_t few = 10000;
    return figure->work == WORK_WRITE_MANY && job->keys <= few ? WORK_WRITE_FEW : figure->work;
}

const char *contender_name(const struct contender *contender)
{
    static const char *const endings[PROMISES] = {"", ", batches", ", volatile"};
    static char names[4][64];
    static unsigned turn;
    char *name = names[turn++ % 4];
    snprintf(name, sizeof names[0], "%s%s", contender->engine, endings[contender->promise]);
    return name;
}

uint64_t suite_keys(const struct suite *suite)
{
    uint64_t most = 0;
    for (uint32_t i = 0; i < suite->plan->key_count; i++)
        most = suite->plan->key_list[i] > most ? suite->plan->key_list[i] : most;
    return most;
}

/* --- jobs -------------------------------------------------------------------------------------------------------- */

struct suite_job *suite_add(struct suite *suite, const struct suite_job *job)
{
    INVARIANT(suite->job_count < SUITE_JOBS_MAX && job->figure_count <= SUITE_FIGURES_MAX);
    suite->jobs[suite->job_count] = *job;
    return &suite->jobs[suite->job_count++];
}

/* Whether an engine has volatile writes, as a store of it tells. */
static plsm_status ask_abilities(void *arg, const char *directory, void *result)
{
    struct subject subject = {0};
    plsm_abilities abilities = {0};
    plsm_status status = subject_open(&subject, arg, directory, "store", 0);
    if (status == PLSM_OK)
        plsm_get_abilities(subject.db, &abilities);
    *(bool *)result = abilities.volatile_writes;
    plsm_status closed = subject_close(&subject);
    return status == PLSM_OK ? closed : status;
}

static plsm_status add_contenders(struct suite *suite, const char *engine)
{
    bool has[PROMISES] = {[PROMISE_EACH] = true, [PROMISE_BATCH] = suite->plan->row.batch > 1};
    struct contender plain = {.engine = engine, .promise = PROMISE_EACH};
    struct errand errand = {.suite = suite, .contender = &plain};
    plsm_status status = rows_apart(ask_abilities, &errand, &has[PROMISE_VOLATILE], sizeof(bool));
    if (status != PLSM_OK)
        return fail_context(status, engine);
    suite->has_volatile = suite->has_volatile || has[PROMISE_VOLATILE];
    for (int promise = 0; promise < PROMISES; promise++) {
        if (!has[promise])
            continue;
        INVARIANT(suite->contender_count < SUITE_CONTENDERS_MAX);
        suite->contenders[suite->contender_count++] =
            (struct contender){.engine = engine, .promise = (enum promise)promise};
    }
    return PLSM_OK;
}

static plsm_status work(void *arg, const char *directory, void *result)
{
    const struct errand *errand = arg;
    return errand->job->run(errand, directory, result);
}

/* What an engine cannot do stays untold. */
static plsm_status run_one(struct suite *suite, const struct suite_job *job, uint32_t c, uint32_t repeat)
{
    double figures[SUITE_FIGURES_MAX];
    char what[160];
    struct errand errand = {suite, job, &suite->contenders[c]};
    for (uint32_t f = 0; f < SUITE_FIGURES_MAX; f++)
        figures[f] = NAN;
    plsm_status status = rows_apart(work, &errand, figures, sizeof figures);
    for (uint32_t f = 0; f < job->figure_count; f++)
        suite_values(suite, job, c, f)[repeat] = figures[f];
    snprintf(what, sizeof what, "%s, %s, %s", contender_name(errand.contender), job->part, job->label);
    return status == PLSM_OK || status == PLSM_UNSUPPORTED ? PLSM_OK : fail_context(status, what);
}

/* All contenders in turns, again and again; who comes first changes. */
static plsm_status run_job(struct suite *suite, const struct suite_job *job)
{
    const struct bench_plan *plan = suite->plan;
    bool watched = isatty(STDERR_FILENO) == 1;
    plsm_status status = PLSM_OK;
    for (uint32_t repeat = 0; repeat < plan->repeat; repeat++)
        for (uint32_t place = 0; place < suite->contender_count && status == PLSM_OK; place++) {
            uint32_t c = contest_order(suite->contender_count, repeat, place);
            if (!suite_has(job, &suite->contenders[c]))
                continue;
            if (watched)
                fprintf(stderr, "\rjob %td of %u, run %u of %u: %s, %s, %s\033[K", job - suite->jobs + 1,
                        suite->job_count, repeat + 1, plan->repeat, job->part, job->label,
                        contender_name(&suite->contenders[c]));
            status = run_one(suite, job, c, repeat);
        }
    if (watched)
        fputs("\r\033[K", stderr);
    return status;
}

/* --- the command ------------------------------------------------------------------------------------------------- */

/* Keys and values three times over, a checkpoint of them, logs. */
static plsm_status check_room(const struct suite *suite)
{
    const struct bench_plan *plan = suite->plan;
    uint64_t most = suite_keys(suite) > plan->keys_max ? suite_keys(suite) : plan->keys_max;
    return files_need(rows_directory(plan->directory), most * (plan->row.value_bytes + 64) * 4 + (UINT64_C(512) << 20));
}

static plsm_status prepare(struct suite *suite)
{
    const struct bench_plan *plan = suite->plan;
    for (uint32_t v = 0; v < plan->variant_count; v++)
        TRY(add_contenders(suite, plan->variants[v].engine->name));
    for (int part = 0; part < PARTS; part++)
        if (suite_wants(plan->parts, parts[part].name))
            parts[part].add(suite);
    size_t count = (size_t)suite->job_count * SUITE_CONTENDERS_MAX * SUITE_FIGURES_MAX * plan->repeat;
    suite->values = mem_alloc(count * sizeof *suite->values);
    if (!suite->values)
        return fail(PLSM_NO_MEMORY, "no memory for figures");
    for (size_t i = 0; i < count; i++)
        suite->values[i] = NAN;
    return check_room(suite);
}

static plsm_status run_jobs(struct suite *suite, FILE *csv)
{
    const char *part = "";
    if (!suite->plan->json)
        suite_tell_conditions(suite);
    for (const struct suite_job *job = suite->jobs; job < suite->jobs + suite->job_count; job++) {
        TRY(run_job(suite, job));
        suite_tell_job(suite, job, strcmp(part, job->part) != 0, csv);
        part = job->part;
    }
    if (!suite->plan->json) {
        suite_tell_conclusion(suite);
        suite_tell_limits(suite);
    }
    return PLSM_OK;
}

enum tool_exit bench_engines(const struct tool *tool, const struct bench_plan *plan)
{
    FILE *csv = NULL;
    struct suite *suite = mem_zalloc(sizeof *suite);
    if (!suite)
        return tool_error(tool, fail(PLSM_NO_MEMORY, "no memory for figures"));
    suite->plan = plan;
    enum tool_exit code = plan->plot ? suite_plot_possible(tool, plan->plot) : TOOL_OK;
    plsm_status status = prepare(suite);
    if (code == TOOL_OK && status != PLSM_OK)
        code = tool_error(tool, status);
    if (code == TOOL_OK)
        code = csv_open(tool, plan->csv, &csv);
    if (code == TOOL_OK) {
        status = run_jobs(suite, csv);
        code = status == PLSM_OK ? TOOL_OK : tool_error(tool, status);
    }
    if (code == TOOL_OK && plan->plot)
        code = suite_plot(tool, suite);
    code = csv_close(tool, plan->csv, csv, code);
    mem_free(suite->values);
    mem_free(suite);
    return tool_output_end(tool, code);
}
