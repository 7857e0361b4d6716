/* plsm inspect compaction: what training and filters cost when the runs that exist were written. */
#include <math.h>
#include <stdlib.h>

#include "tools/inspect.h"

#include "base/alloc.h"
#include "base/error.h"

#include "base/banned.h"

/* Sums over runs: of one job, or of one level. */
struct cost {
    uint64_t job;
    unsigned level_last; /* they are on now, or some are above */
    bool merged;         /* a compaction wrote them */
    uint64_t runs, entries, file_bytes, write_us, train_us, filter_us;
    uint64_t model_bytes, model_entries; /* of runs with a model in them */
};

/* A model that was made after its run. */
struct retrained {
    uint64_t run, file_bytes, trained_wall_ns, entries;
    unsigned level;
    uint64_t train_ns;
    uint32_t validation_accuracy_ppm;
    bool beside; /* it serves; otherwise it cannot be used */
};

struct costs {
    struct buf jobs;      /* struct cost each */
    struct buf retrained; /* struct retrained each */
    struct cost levels[PLSM_INSPECT_LEVELS];
    uint64_t damaged;
    plsm_status status;
};

static void add(struct cost *sum, const plsm_run_info *run)
{
    bool trained = run->model_block.disk_bytes > 0;
    sum->merged |= run->merged;
    if (sum->runs == 0 || run->level > sum->level_last)
        sum->level_last = run->level;
    sum->runs++;
    sum->entries += run->entries;
    sum->file_bytes += run->file_bytes;
    sum->write_us += run->write_us;
    sum->train_us += run->train_us;
    sum->filter_us += run->filter_us;
    sum->model_bytes += run->model_block.disk_bytes;
    sum->model_entries += trained ? run->entries : 0;
}

static struct cost *jobs_of(const struct costs *c, size_t *count)
{
    *count = c->jobs.size / sizeof(struct cost);
    return (struct cost *)(void *)c->jobs.data;
}

/* The sums of a run's job; NULL: no memory. */
static struct cost *job_of(struct costs *c, uint64_t number)
{
    size_t count = 0;
    struct cost *jobs = jobs_of(c, &count), fresh = {.job = number};
    for (size_t i = 0; i < count; i++)
        if (jobs[i].job == number)
            return &jobs[i];
    if (buf_append(&c->jobs, &fresh, sizeof fresh) != PLSM_OK)
        return NULL;
    return jobs_of(c, &(size_t){0}) + count;
}

static plsm_status add_run(struct costs *c, const plsm_run_info *run)
{
    c->damaged += inspect_damaged(run);
    if (run->damaged)
        return PLSM_OK;
    struct cost *job = job_of(c, run->job);
    if (!job)
        return PLSM_NO_MEMORY;
    add(job, run);
    add(&c->levels[run->level], run);
    if (run->model_file.disk_bytes == 0)
        return PLSM_OK;
    struct retrained retrained = {.run = run->number,
                                  .level = run->level,
                                  .file_bytes = run->model_file.disk_bytes,
                                  .entries = run->entries,
                                  .beside = run->model.beside};
    if (retrained.beside) {
        retrained.trained_wall_ns = run->model.trained_wall_ns;
        retrained.train_ns = run->model.train_ns;
        retrained.validation_accuracy_ppm = run->model.validation_accuracy_ppm;
    }
    return buf_append(&c->retrained, &retrained, sizeof retrained);
}

static void take_run(void *arg, const plsm_run_info *run)
{
    struct costs *c = arg;
    if (c->status == PLSM_OK)
        c->status = add_run(c, run);
}

static int by_number(const void *a, const void *b)
{
    uint64_t first = ((const struct cost *)a)->job, second = ((const struct cost *)b)->job;
    return (first > second) - (first < second);
}

/* --- telling ------------------------------------------------------------------------------------------------------ */

static void tell_cost(struct outline *o, const struct cost *c)
{
    double write_us = (double)c->write_us, entries = (double)c->entries;
    outline_number(o, "runs", c->runs);
    outline_number(o, "entries", c->entries);
    outline_number(o, "file_bytes", c->file_bytes);
    outline_real(o, "write_s", write_us / 1e6, 3);
    outline_ratio(o, "write_ns_per_key", 1000 * write_us, entries, 1);
    outline_share(o, "train_share", (double)c->train_us, write_us);
    outline_ratio(o, "train_ns_per_key", 1000.0 * (double)c->train_us, entries, 1);
    outline_share(o, "filter_share", (double)c->filter_us, write_us);
    outline_ratio(o, "filter_ns_per_key", 1000.0 * (double)c->filter_us, entries, 1);
    outline_number(o, "model_bytes", c->model_bytes);
    outline_ratio(o, "model_bytes_per_key", (double)c->model_bytes, (double)c->model_entries, 4);
}

static void tell_jobs(struct outline *o, const struct costs *c)
{
    size_t count = 0;
    const struct cost *jobs = jobs_of(c, &count);
    outline_list(o, "jobs", "jobs: flushes and compactions, by the first run that each wrote; runs that exist");
    for (size_t i = 0; i < count; i++) {
        outline_row(o);
        outline_number(o, "job", jobs[i].job);
        outline_text(o, "by", jobs[i].merged ? "compaction" : "flush");
        outline_number(o, "level", jobs[i].level_last);
        tell_cost(o, &jobs[i]);
        outline_row_end(o);
    }
    outline_list_end(o);
}

static void tell_levels(struct outline *o, const struct costs *c)
{
    outline_list(o, "levels", "\nlevels");
    for (unsigned level = 0; level < PLSM_INSPECT_LEVELS; level++) {
        if (c->levels[level].runs == 0)
            continue;
        outline_row(o);
        outline_number(o, "level", level);
        tell_cost(o, &c->levels[level]);
        outline_row_end(o);
    }
    outline_list_end(o);
}

static void tell_retrained(struct outline *o, const struct costs *c)
{
    const struct retrained *list = (const struct retrained *)(const void *)c->retrained.data;
    outline_list(o, "retrained", "\nmodels in files of their own");
    for (size_t i = 0; i < c->retrained.size / sizeof *list; i++) {
        outline_row(o);
        outline_number(o, "run", list[i].run);
        outline_number(o, "level", list[i].level);
        outline_number(o, "file_bytes", list[i].file_bytes);
        outline_flag(o, "usable", list[i].beside);
        outline_moment(o, "trained", list[i].trained_wall_ns);
        outline_ratio(o, "train_ns_per_key", (double)list[i].train_ns, (double)list[i].entries, 1);
        outline_share(o, "validation_accuracy", list[i].validation_accuracy_ppm, list[i].beside ? 1e6 : 0);
        outline_row_end(o);
    }
    outline_list_end(o);
}

static bool tell(const struct costs *c, bool json)
{
    struct outline o;
    outline_start(&o, json);
    if (json)
        outline_section(&o, NULL, NULL);
    tell_jobs(&o, c);
    tell_levels(&o, c);
    tell_retrained(&o, c);
    if (json)
        outline_section_end(&o);
    return outline_end(&o);
}

/* --- the picture -------------------------------------------------------------------------------------------------- */

static plsm_status make_script(const struct costs *c, struct buf *script)
{
    size_t count = 0;
    const struct cost *jobs = jobs_of(c, &count);
    double share_end = 0, ns_end = 0;
    TRY(buf_printf(script, "$jobs << EOD\n"));
    for (size_t i = 0; i < count; i++) {
        double write_us = jobs[i].write_us ? (double)jobs[i].write_us : 1;
        double entries = jobs[i].entries ? (double)jobs[i].entries : 1;
        double train_us = (double)jobs[i].train_us, filter_us = (double)jobs[i].filter_us;
        share_end = fmax(share_end, 100 * fmax(train_us, filter_us) / write_us);
        ns_end = fmax(ns_end, 1000 * fmax(train_us, filter_us) / entries);
        TRY(buf_printf(script, "%llu %.4f %.4f %.2f %.2f\n", (unsigned long long)jobs[i].job, 100 * train_us / write_us,
                       100 * filter_us / write_us, 1000 * train_us / entries, 1000 * filter_us / entries));
    }
    return buf_printf(script,
                      "EOD\n"
                      "set grid\nset xlabel 'job: number of the first run it wrote'\nset key above\n"
                      "set xrange [%.1f:%.1f]\nset multiplot layout 2,1\n"
                      "set ylabel 'per cent of the time of writing'\nset yrange [0:%.6g]\n"
                      "plot $jobs using 1:2 with linespoints pt 7 title 'models', "
                      "$jobs using 1:3 with linespoints pt 5 title 'filters'\n"
                      "set ylabel 'ns per key'\nset yrange [0:%.6g]\n"
                      "plot $jobs using 1:4 with linespoints pt 7 title 'models', "
                      "$jobs using 1:5 with linespoints pt 5 title 'filters'\n"
                      "unset multiplot\n",
                      (double)jobs[0].job - 0.5, (double)jobs[count - 1].job + 0.5, gnuplot_axis_end(share_end),
                      gnuplot_axis_end(ns_end));
}

static enum tool_exit draw(const struct tool *tool, const struct costs *c, const char *path)
{
    enum { WIDTH = 900, HEIGHT = 700 };
    struct buf script = {0};
    if (c->jobs.size == 0) {
        tool_say(tool, "there are no runs to draw");
        return TOOL_ERROR;
    }
    return gnuplot_draw_made(tool, path, WIDTH, HEIGHT, make_script(c, &script), &script);
}

static enum tool_exit run(struct tool *tool, int argc, char **argv)
{
    struct inspect_request request;
    struct costs costs = {0};
    enum tool_exit code = TOOL_OK;
    plsm *db = NULL;
    if (!inspect_begin(tool, argc, argv, INSPECT_PLOT, &request, &db, &code))
        return code;
    plsm_status status = plsm_inspect_runs(db, take_run, &costs);
    if (status == PLSM_OK)
        status = costs.status;
    if (costs.jobs.size > 0)
        qsort(costs.jobs.data, costs.jobs.size / sizeof(struct cost), sizeof(struct cost), by_number);
    if (status == PLSM_OK && !tell(&costs, request.json))
        status = PLSM_NO_MEMORY;
    if (status != PLSM_OK)
        code = tool_error(tool, status);
    if (code == TOOL_OK && request.plot)
        code = draw(tool, &costs, request.plot);
    buf_free(&costs.jobs);
    buf_free(&costs.retrained);
    return inspect_end(tool, db, code, costs.damaged > 0);
}

const struct command command_inspect_compaction = {
    .name = "inspect compaction",
    .arguments = "STORE",
    .summary = "Analyzes what flushes and compactions spent on models and filters",
    .help =
        "      --json         one JSON document\n"
        "      --plot=FILE    the share of training in each job, as .png or .svg\n\n"
        "A job is one flush or compaction, known by the first run it wrote; its runs that exist are summed up. Times\n"
        "are processor time, kept in each run: all of writing it, and of that building its model and its filters. A\n"
        "job is called a flush while one of its runs is on level 0: a run that moved down as it was counts as of a\n"
        "compaction. Models in files of their own were made by retraining, or with model_embed=0.\n\n"
        "Example:\n  plsm inspect compaction /var/lib/words\n",
    .run = run,
};
