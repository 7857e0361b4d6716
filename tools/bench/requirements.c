/* Sections 6 and 10 of the product requirements, each line with the figure that decides about it. What is asked of
 * RocksDB there is asked of this tree here: an SST file is a run, a block a page, level 7 the last level that holds
 * anything, and the traditional block index the traditional mode on the same files. */
#include "tools/bench/requirements.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>

#include "base/alloc.h"
#include "base/error.h"
#include "tools/bench/findings.h"
#include "tools/bench/report.h"
#include "tools/bench/row.h"

#include "base/banned.h"

enum outcome { NOT_MEASURABLE, NOT_MET, MET };

struct verdict {
    enum outcome outcome;
    char measured[320];
};

typedef void judge(const struct findings *f, double limit, struct verdict *out);

/* --- saying ------------------------------------------------------------------------------------------------------- */

static void conclude(struct verdict *out, bool met, const char *format, ...) __attribute__((format(printf, 3, 4)));
static void conclude(struct verdict *out, bool met, const char *format, ...)
{
    va_list arguments;
    out->outcome = met ? MET : NOT_MET;
    va_start(arguments, format);
    vsnprintf(out->measured, sizeof out->measured, format, arguments);
    va_end(arguments);
}

static void cannot(struct verdict *out, const char *why)
{
    out->outcome = NOT_MEASURABLE;
    snprintf(out->measured, sizeof out->measured, "%s", why);
}

static double percent(double ratio)
{
    return (ratio - 1) * 100;
}

static void add(struct verdict *out, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void add(struct verdict *out, const char *format, ...)
{
    size_t size = strlen(out->measured);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(out->measured + size, sizeof out->measured - size, format, arguments);
    va_end(arguments);
}

/* --- time beside the traditional mode ----------------------------------------------------------------------------- */

/* Adds one operation to a verdict that is as bad as its worst one: processor time decides, as waiting for a processor
 * is no property of an index. */
static void add_overhead(const struct findings *f, const char *operation, double limit, struct verdict *out)
{
    const struct compare_row *row = findings_row(f, operation, "learned");
    if (!row || isnan(row->figures[FIGURE_CPU_RATIO]))
        return;
    double cpu = percent(row->figures[FIGURE_CPU_RATIO]);
    add(out, "%s%s %+.1f %% CPU (%+.1f to %+.1f), %+.1f %% time", out->measured[0] ? "; " : "", operation, cpu,
        percent(row->figures[FIGURE_CPU_RATIO_Q1]), percent(row->figures[FIGURE_CPU_RATIO_Q3]),
        percent(row->figures[FIGURE_WALL_RATIO]));
    if (out->outcome == NOT_MEASURABLE)
        out->outcome = MET;
    if (cpu >= limit)
        out->outcome = NOT_MET;
}

static void end_overhead(struct verdict *out, const char *why_not)
{
    if (out->outcome == NOT_MEASURABLE)
        cannot(out, why_not);
}

static const char *const level_operations[] = {"get_level_0", "get_level_1", "get_level_2", "get_level_3",
                                               "get_level_4", "get_level_5", "get_level_6"};

static void judge_level0(const struct findings *f, double limit, struct verdict *out)
{
    add_overhead(f, level_operations[0], limit, out);
    end_overhead(out, "too few keys live on level 0 here");
}

static void judge_middle(const struct findings *f, double limit, struct verdict *out)
{
    for (unsigned level = 1; level + 1 < f->levels; level++)
        add_overhead(f, level_operations[level], limit, out);
    end_overhead(out, "too few keys live between the first level and the last here: take more --keys");
}

static void judge_bottom(const struct findings *f, double limit, struct verdict *out)
{
    if (f->levels > 1)
        add_overhead(f, level_operations[f->levels - 1], limit, out);
    end_overhead(out, "there is one level only: take more --keys");
}

static void judge_cross(const struct findings *f, double limit, struct verdict *out)
{
    add_overhead(f, "get_uniform", limit, out);
    add_overhead(f, "get_absent", limit, out);
    add_overhead(f, "range_100", limit, out);
    end_overhead(out, "nothing was compared");
}

static void judge_compaction(const struct findings *f, double limit, struct verdict *out)
{
    const struct compare_row *all = findings_row(f, "write_all", "learned");
    add_overhead(f, "compact", limit, out);
    if (all && out->outcome != NOT_MEASURABLE)
        add(out, "; all writes %+.1f %% CPU, training %.1f %% of it", percent(all->figures[FIGURE_CPU_RATIO]),
            100 * all->figures[FIGURE_TRAIN_SHARE]);
    end_overhead(out, "nothing was compared");
}

static void judge_latency(const struct findings *f, double limit, struct verdict *out)
{
    const struct compare_row *row = findings_row(f, "get_uniform", "learned");
    const struct compare_row *classic = findings_row(f, "get_uniform", "classic");
    if (!row) {
        cannot(out, "nothing was compared");
        return;
    }
    double better = -percent(row->figures[FIGURE_CPU_RATIO]);
    conclude(out, better >= limit, "get_uniform %+.1f %% CPU (%+.1f to %+.1f), %+.1f %% time", -better,
             percent(row->figures[FIGURE_CPU_RATIO_Q1]), percent(row->figures[FIGURE_CPU_RATIO_Q3]),
             percent(row->figures[FIGURE_WALL_RATIO]));
    if (classic)
        add(out, "; over classic %+.1f %% CPU, %+.1f %% time",
            percent(row->figures[FIGURE_CPU_NS] / classic->figures[FIGURE_CPU_NS]),
            percent(row->figures[FIGURE_WALL_NS] / classic->figures[FIGURE_WALL_NS]));
}

/* --- time as such ------------------------------------------------------------------------------------------------- */

static void judge_prediction(const struct histogram *h, double limit_ns, struct verdict *out)
{
    double p99 = (double)histogram_quantile(h, 0.99);
    if (histogram_count(h) == 0)
        cannot(out, "nothing was predicted");
    else
        conclude(out, p99 < limit_ns,
                 "median %.0f ns, 99 %% within %.0f ns, all within %.0f ns, of %llu, a clock in each",
                 (double)histogram_quantile(h, 0.5), p99, (double)histogram_quantile(h, 1),
                 (unsigned long long)histogram_count(h));
}

static void judge_find_file(const struct findings *f, double limit_ns, struct verdict *out)
{
    judge_prediction(&f->find_file, limit_ns, out);
}

static void judge_find_page(const struct findings *f, double limit_ns, struct verdict *out)
{
    judge_prediction(&f->find_page, limit_ns, out);
}

static void judge_training(const struct findings *f, double limit_s, struct verdict *out)
{
    const double usual_bytes = 64 << 20;
    double seconds = (double)f->train_ns_longest / 1e9, bytes = (double)f->train_bytes_longest;
    if (f->files == 0) {
        cannot(out, "no file was trained");
        return;
    }
    double usual = seconds * usual_bytes / bytes;
    conclude(out, usual < limit_s && seconds < limit_s,
             "%.4f s for a file of %.1f MiB, the longest of %llu, read from the disk; %.2f s per 64 MiB", seconds,
             bytes / (1 << 20), (unsigned long long)f->files, usual);
}

static void judge_update(const struct findings *f, double limit_s, struct verdict *out)
{
    double seconds = (double)f->update_ns_longest / 1e9;
    conclude(out, seconds < limit_s, "%.4f s until 1,000 new keys are a run with its model, and the level's is renewed",
             seconds);
}

/* --- memory ------------------------------------------------------------------------------------------------------- */

static void judge_bytes(const struct findings *f, enum figure figure, double limit, struct verdict *out)
{
    const struct compare_row *row = findings_row(f, "memory", "learned");
    if (row && !isnan(row->figures[figure]))
        conclude(out, row->figures[figure] < limit, "%.0f bytes", row->figures[figure]);
    else
        cannot(out, "nothing was measured");
}

static void judge_file_bytes(const struct findings *f, double limit, struct verdict *out)
{
    judge_bytes(f, FIGURE_FILE_MODEL_BYTES, limit, out);
}

static void judge_level_bytes(const struct findings *f, double limit, struct verdict *out)
{
    judge_bytes(f, FIGURE_LEVEL_MODEL_BYTES, limit, out);
}

static void judge_store_bytes(const struct findings *f, double limit, struct verdict *out)
{
    judge_bytes(f, FIGURE_STORE_MODEL_BYTES, limit, out);
}

static void judge_more_memory(const struct findings *f, bool cache, double limit, struct verdict *out)
{
    const struct compare_row *ours = findings_row(f, "memory", "learned");
    const struct compare_row *theirs = findings_row(f, "memory", "traditional");
    if (!ours || !theirs) {
        cannot(out, "nothing was compared");
        return;
    }
    const double *a = ours->figures, *b = theirs->figures;
    double own = a[FIGURE_INDEX_BYTES] + a[FIGURE_FILTER_BYTES] + a[FIGURE_MEMTABLE_BYTES];
    double other = b[FIGURE_INDEX_BYTES] + b[FIGURE_FILTER_BYTES] + b[FIGURE_MEMTABLE_BYTES];
    double more = percent(cache ? a[FIGURE_MEMORY_BYTES] / b[FIGURE_MEMORY_BYTES] : own / other);
    conclude(out, more < limit, "%+.2f %% (%s); index alone %.2f bits a key, traditional %.2f", more,
             cache ? "with the page cache, all pages in it" : "index, filters, memtables", a[FIGURE_INDEX_BITS],
             b[FIGURE_INDEX_BITS]);
}

static void judge_cache_memory(const struct findings *f, double limit, struct verdict *out)
{
    judge_more_memory(f, true, limit, out);
}

static void judge_all_memory(const struct findings *f, double limit, struct verdict *out)
{
    judge_more_memory(f, false, limit, out);
}

/* --- accuracy ----------------------------------------------------------------------------------------------------- */

static void judge_rate(const struct findings *f, const char *operation, enum figure figure, bool above, double limit,
                       struct verdict *out)
{
    const struct compare_row *row = findings_row(f, operation, "learned");
    if (!row || isnan(row->figures[figure])) {
        cannot(out, "nothing was found");
        return;
    }
    double value = row->figures[figure] * 100;
    conclude(out, above ? value > limit : value < limit, "%.4f %%", value);
}

static void judge_level_accuracy(const struct findings *f, double limit, struct verdict *out)
{
    judge_rate(f, "memory", FIGURE_LEVEL_ACCURACY, true, limit, out);
}

static void judge_file_accuracy(const struct findings *f, double limit, struct verdict *out)
{
    judge_rate(f, "memory", FIGURE_FILE_ACCURACY, true, limit, out);
}

static void judge_block_accuracy(const struct findings *f, double limit, struct verdict *out)
{
    judge_rate(f, "memory", FIGURE_BLOCK_ACCURACY, true, limit, out);
}

static void judge_fallback(const struct findings *f, double limit, struct verdict *out)
{
    judge_rate(f, "memory", FIGURE_FALLBACK_RATE, false, limit, out);
}

static void judge_stable_fallback(const struct findings *f, double limit, struct verdict *out)
{
    judge_rate(f, "get_zipf", FIGURE_FALLBACK_RATE, false, limit, out);
}

/* --- quality ------------------------------------------------------------------------------------------------------ */

static void judge_corruption(const struct findings *f, double limit, struct verdict *out)
{
    uint64_t lookups = f->verified.lookups + f->busy_reads;
    (void)limit;
    conclude(out, f->verified.wrong == 0 && f->problems == 0 && lookups > 0,
             "%llu wrong of %llu lookups compared with what was written, %llu problems found by a check of all%s%s",
             (unsigned long long)f->verified.wrong, (unsigned long long)lookups, (unsigned long long)f->problems,
             f->verified.first[0] ? "; the first: " : "", f->verified.first);
}

static void judge_uptime(const struct findings *f, double limit, struct verdict *out)
{
    double reads = (double)f->busy_reads, good = reads - (double)f->busy_failed - (double)f->busy_slow;
    double share = reads > 0 ? 100 * good / reads : 0;
    conclude(out, reads > 0 && share >= limit,
             "%.5f %% of %llu reads right and within %d ms, the slowest %.2f ms, beside %llu cycles of writing, "
             "compaction and training in %.1f s",
             share, (unsigned long long)f->busy_reads, FINDINGS_SLOW_MS, (double)f->busy_ns_longest / 1e6,
             (unsigned long long)f->busy_updates, f->busy_seconds);
}

static void judge_recovery(const struct findings *f, double limit, struct verdict *out)
{
    (void)limit;
    conclude(out, f->scenarios > 0 && f->survived == f->scenarios,
             "%u of %u: right answers and counted fallbacks with models damaged, lost, of another version, of other "
             "files, wrong%s%s",
             f->survived, f->scenarios, f->first_failure[0] ? "; the first failure: " : "", f->first_failure);
}

static void judge_adoption(const struct findings *f, double limit, struct verdict *out)
{
    (void)f, (void)limit;
    cannot(out, "no benchmark can tell");
}

/* --- the lines ---------------------------------------------------------------------------------------------------- */

static const struct line {
    const char *section, *requirement, *target;
    double limit;
    judge *judge;
} lines[] = {
    {"6.1", "level 0 access over traditional block indexes", "< 10 %", 10, judge_level0},
    {"6.1", "level 1-6 access, leveled compaction", "< 5 %", 5, judge_middle},
    {"6.1", "level 7 access, bottom level", "< 3 %", 3, judge_bottom},
    {"6.1", "queries across levels", "< 15 %", 15, judge_cross},
    {"6.2", "predicting the file", "< 1 ms", 1e6, judge_find_file},
    {"6.2", "predicting the block", "< 100 us", 1e5, judge_find_page},
    {"6.2", "training per file in compaction", "< 5 s", 5, judge_training},
    {"6.2", "incremental model update", "< 1 s", 1, judge_update},
    {"6.3", "metadata per file", "< 1 KB", 1024, judge_file_bytes},
    {"6.3", "model of a level", "< 10 KB", 10240, judge_level_bytes},
    {"6.3", "global model", "< 100 KB", 102400, judge_store_bytes},
    {"6.3", "cache overhead, additional memory", "< 5 %", 5, judge_cache_memory},
    {"6.4", "level predicted rightly", "> 95 %", 95, judge_level_accuracy},
    {"6.4", "file predicted rightly", "> 90 %", 90, judge_file_accuracy},
    {"6.4", "block predicted rightly", "> 85 %", 85, judge_block_accuracy},
    {"6.4", "queries that fall back", "< 5 %", 5, judge_fallback},
    {"10.1", "read latency improved", ">= 20 %", 20, judge_latency},
    {"10.1", "overhead on compaction", "< 5 %", 5, judge_compaction},
    {"10.1", "additional memory across levels", "< 10 %", 10, judge_all_memory},
    {"10.1", "file location predicted rightly", "> 90 %", 90, judge_file_accuracy},
    {"10.2", "corruption or loss in model updates", "none", 0, judge_corruption},
    {"10.2", "uptime during compaction", ">= 99.9 %", 99.9, judge_uptime},
    {"10.2", "fallback in stable workloads", "< 5 %", 5, judge_stable_fallback},
    {"10.2", "recovery from model failures", "all", 0, judge_recovery},
    {"10.3", "integration with RocksDB deployments", "done", 0, judge_adoption},
    {"10.3", "user feedback", "positive", 0, judge_adoption},
    {"10.3", "improvements validated in production", "done", 0, judge_adoption},
};
enum { LINES = sizeof lines / sizeof *lines };

/* Messages may quote keys. */
static void say_json_text(const char *text)
{
    for (; *text; text++) {
        if (*text == '"' || *text == '\\')
            tool_print("\\%c", *text);
        else
            tool_print((unsigned char)*text < 0x20 ? " " : "%c", *text);
    }
}

static void print_lines(const struct findings *f)
{
    static const char *const outcomes[] = {
        [NOT_MEASURABLE] = "not measurable here", [NOT_MET] = "not met", [MET] = "met"};
    unsigned counts[3] = {0};
    if (!f->plan->json)
        tool_print("%-4s %-46s %-10s %-20s %s\n", "", "requirement", "target", "verdict", "measured");
    for (int i = 0; i < LINES; i++) {
        const struct line *line = &lines[i];
        struct verdict verdict = {NOT_MEASURABLE, ""};
        line->judge(f, line->limit, &verdict);
        counts[verdict.outcome]++;
        if (f->plan->json) {
            tool_print(
                "{\"section\":\"%s\",\"requirement\":\"%s\",\"target\":\"%s\",\"verdict\":\"%s\",\"measured\":\"",
                line->section, line->requirement, line->target, outcomes[verdict.outcome]);
            say_json_text(verdict.measured);
            tool_print("\"}\n");
        } else {
            tool_print("%-4s %-46s %-10s %-20s %s\n", line->section, line->requirement, line->target,
                       outcomes[verdict.outcome], verdict.measured);
        }
    }
    if (!f->plan->json)
        tool_print("%u met, %u not met, %u not measurable here\n", counts[MET], counts[NOT_MET],
                   counts[NOT_MEASURABLE]);
}

/* --- in a process of its own -------------------------------------------------------------------------------------- */

static void keep_row(void *arg, const struct compare_row *row)
{
    struct findings *f = arg;
    if (f->row_count < FINDINGS_ROWS_MAX)
        f->rows[f->row_count++] = *row;
}

static void print_conditions(const struct findings *f, const struct data *data)
{
    const struct compare_plan *plan = f->plan;
    tool_print("plsm %s bench requirements\n", PLSM_VERSION_TEXT);
    report_machine("");
    tool_print(
        "%s: %llu keys, values of %u bytes, seed %llu; %u rounds of %llu operations in each mode; options: %s\n"
        "overheads are medians of ratios to traditional on the same files, quartiles in brackets; CPU decides\n\n",
        shape_of(data->set)->name, (unsigned long long)data->keys, data->value_bytes, (unsigned long long)data->seed,
        plan->rounds, (unsigned long long)plan->ops, plan->options ? plan->options : "none");
}

static plsm_status measure(struct findings *f, const char *directory)
{
    struct data data = {0};
    const struct compare_plan *plan = f->plan;
    plsm_status status = data_init(&data, plan->shapes, plan->keys[0], 0, plan->value_bytes, plan->seed);
    if (status == PLSM_OK && !plan->json)
        print_conditions(f, &data);
    if (status == PLSM_OK)
        status = compare_set(plan, &data, directory, keep_row, f);
    const struct compare_row *memory = findings_row(f, "memory", "learned");
    f->levels = memory ? (unsigned)memory->figures[FIGURE_LEVELS] : 0;
    if (status == PLSM_OK)
        status = findings_measure(f, &data, directory);
    data_free(&data);
    return status;
}

struct apart {
    const struct tool *tool;
    const struct compare_plan *plan;
};

static plsm_status work(void *arg, const char *directory, void *result)
{
    const struct apart *apart = arg;
    enum tool_exit *code = result;
    struct findings *f = mem_zalloc(sizeof *f);
    if (!f)
        return fail(PLSM_NO_MEMORY, "no memory for the requirements");
    f->plan = apart->plan;
    plsm_status status = measure(f, directory);
    if (status == PLSM_OK)
        print_lines(f);
    mem_free(f);
    *code = tool_output_end(apart->tool, TOOL_OK);
    return status;
}

enum tool_exit bench_requirements(const struct tool *tool, const struct compare_plan *plan)
{
    struct apart apart = {tool, plan};
    enum tool_exit code = TOOL_ERROR;
    plsm_status status = rows_apart(work, &apart, &code, sizeof code);
    return status == PLSM_OK ? code : tool_error(tool, status);
}
