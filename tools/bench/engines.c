/* `plsm bench contest`, and `plsm bench first`, which is a shorter one: rows of all engines. */
#include <unistd.h>

#include "tools/bench/bench.h"
#include "tools/bench/contest.h"
#include "tools/bench/csv.h"
#include "tools/bench/floor.h"
#include "tools/bench/report.h"
#include "tools/bench/row_spec.h"
#include "tools/bench/shapes.h"
#include "tools/plot.h"
#include "tools/text.h"

#include "base/alloc.h"
#include "base/error.h"

#include "base/banned.h"

const char bench_first_rows[] = "fillseq:batch=1000,fillrandom:batch=1000,fillrandom,readrandom,readabsent,readseq";
const char bench_contest_rows[] = "writes,batches,reads,states,mixes,sync,threads,values";

struct table {
    const struct bench_plan *plan;
    struct row_spec rows[ROW_SPECS_MAX];
    uint32_t row_count;
    struct row_result *results; /* [row][variant][repeat] */
    double dram_ns;             /* a dependent miss */
};

static struct row_result *result_at(const struct table *table, uint32_t row, uint32_t variant)
{
    const struct bench_plan *plan = table->plan;
    return table->results + ((size_t)row * plan->variant_count + variant) * plan->repeat;
}

static struct row_options options_of(const struct table *table, uint32_t row, uint32_t variant)
{
    struct row_options options = bench_row(table->plan, variant);
    row_spec_apply(&table->rows[row], &options);
    return options;
}

static void print_conditions(const struct bench_plan *plan)
{
    const struct row_options *row = &plan->row;
    tool_print(
        "command: plsm bench contest --engine=%s --rows=%s --keys=%llu --value-bytes=%u --threads=%u --repeat=%u "
        "--cache-bytes=%llu%s%s%s\n",
        plan->engines, plan->rows, (unsigned long long)row->keys, row->value_bytes, row->threads, plan->repeat,
        (unsigned long long)row->cache_bytes, row->sync ? " --sync" : "", row->options ? " -o " : "",
        row->options ? row->options : "");
    report_machine("");
    tool_print("conditions: keys of the shape %s (written in order: %s), incompressible values, no compression,\n"
               "  log on, sync %s where a row does not say otherwise, write buffers of 64 MiB, medians of %u runs in "
               "turns of\n"
               "  all engines, each in a process of its own; CPU includes background work until it is done\n",
               row->shape, shape_find(row->shape)->ordered ? row->shape : "decimal", row->sync ? "on" : "off",
               plan->repeat);
}

/* --- measuring ---------------------------------------------------------------------------------------------------- */

/* Who comes first changes from run to run. */
static plsm_status run_rows(struct table *table)
{
    const struct bench_plan *plan = table->plan;
    bool watched = isatty(STDERR_FILENO) == 1;
    uint32_t all = plan->repeat * table->row_count * plan->variant_count, done = 0;
    plsm_status status = PLSM_OK;
    for (uint32_t repeat = 0; repeat < plan->repeat; repeat++)
        for (uint32_t row = 0; row < table->row_count; row++)
            for (uint32_t place = 0; place < plan->variant_count && status == PLSM_OK; place++) {
                uint32_t v = contest_order(plan->variant_count, repeat, place);
                struct row_options options = options_of(table, row, v);
                if (watched)
                    fprintf(stderr, "\r%u of %u: %s, %s\033[K", ++done, all, table->rows[row].title,
                            report_engine(&options));
                status = row_run(&options, result_at(table, row, v) + repeat);
            }
    if (watched)
        fputs("\r\033[K", stderr);
    return status;
}

/* --- telling ------------------------------------------------------------------------------------------------------ */

/* What a line begins with: what its figures are of. */
#define TABLE_CONDITIONS "%-12s %-17s %6s %7u %6u %3u %-4s %-8s"
#define TABLE_TITLES "%-12s %-17s %6s %7s %6s %3s %-4s %-8s"

/* Whether calls are of as many records as those of learned mode, so that a ratio says something. */
static bool is_like_ours(const struct table *table, uint32_t row, uint32_t v)
{
    struct row_options theirs = options_of(table, row, v);
    struct row_options ours = options_of(table, row, (uint32_t)bench_learned(table->plan));
    return row_batch(&theirs) == row_batch(&ours);
}

static void print_line(const struct table *table, uint32_t row, uint32_t v, const struct row_result *median,
                       const struct row_result *ours)
{
    struct row_options options = options_of(table, row, v);
    char ratio[32] = "", memory[TEXT_NUMBER_SIZE], keys[TEXT_NUMBER_SIZE], write[REPORT_FIGURE_SIZE],
         space[REPORT_FIGURE_SIZE], device[REPORT_FIGURE_SIZE];
    if (ours && median != ours && is_like_ours(table, row, v))
        snprintf(ratio, sizeof ratio, "%.2fx", median->cpu_ns_per_op / ours->cpu_ns_per_op);
    report_ratio(device, "", row_device_times(&options, median));
    report_ratio(write, "", median->write_amplification);
    report_ratio(space, "", median->space_amplification);
    tool_print(TABLE_CONDITIONS " %11.0f %11.0f %10.0f %11.0f %8.1f %7.2f %7s %6s %6s %9s %8s\n",
               options.workload->name, report_engine(&options), text_count(keys, (double)options.keys),
               options.value_bytes, row_batch(&options), options.threads, options.sync ? "on" : "off",
               report_state(&options), median->cpu_ns_per_op, median->ops_per_s, median->p99_ns, median->p9999_ns,
               median->cpu_ns_per_op / table->dram_ns, median->disk_pages_per_op, device, write, space,
               text_bytes(memory, (uint64_t)median->resident_bytes), ratio);
}

static void tell_row(const struct table *table, uint32_t row, FILE *csv)
{
    const struct bench_plan *plan = table->plan;
    struct row_result medians[BENCH_VARIANTS_MAX];
    int learned = bench_learned(plan);
    for (uint32_t v = 0; v < plan->variant_count; v++)
        row_median(result_at(table, row, v), plan->repeat, &medians[v]);
    for (uint32_t v = 0; v < plan->variant_count; v++) {
        struct row_options options = options_of(table, row, v);
        if (plan->json)
            report_json(&options, &medians[v]);
        else
            print_line(table, row, v, &medians[v], learned >= 0 ? &medians[learned] : NULL);
        if (!csv)
            continue;
        report_csv_row(csv, table->rows[row].title, &options, &medians[v]);
        fprintf(csv, ",%.2f,", medians[v].cpu_ns_per_op / table->dram_ns);
        if (row_device_times(&options, &medians[v]) >= 0)
            fprintf(csv, "%.3f", row_device_times(&options, &medians[v]));
        if (learned >= 0 && is_like_ours(table, row, v))
            fprintf(csv, ",%.3f", medians[v].cpu_ns_per_op / medians[learned].cpu_ns_per_op);
        else
            fputc(',', csv);
    }
}

static void tell(const struct table *table, FILE *csv)
{
    if (!table->plan->json)
        tool_print(TABLE_TITLES " %11s %11s %10s %11s %8s %7s %7s %6s %6s %9s %8s\n", "workload", "engine", "keys",
                   "value", "batch", "thr", "sync", "cache", "CPU ns/op", "ops/s", "p99 ns", "p99.99 ns", "floors",
                   "disk/op", "device", "write", "space", "resident", "/learned");
    if (csv) {
        report_csv_head(csv);
        fputs(",floors,device_times,cpu_over_learned", csv);
    }
    for (uint32_t row = 0; row < table->row_count; row++)
        tell_row(table, row, csv);
    if (csv)
        fputc('\n', csv);
}

/* --- drawing ------------------------------------------------------------------------------------------------------ */

/* A group of bars for each row, a bar for each engine; time on a logarithmic axis, as rows differ a thousandfold. */
static plsm_status make_script(const struct table *table, struct buf *script)
{
    const struct bench_plan *plan = table->plan;
    TRY(buf_printf(script, "$data << EOD\nrow"));
    for (uint32_t v = 0; v < plan->variant_count; v++) {
        struct row_options options = bench_row(plan, v);
        TRY(buf_printf(script, " \"%s\"", report_engine(&options)));
    }
    for (uint32_t row = 0; row < table->row_count; row++) {
        TRY(buf_printf(script, "\n\"%s\"", table->rows[row].title));
        for (uint32_t v = 0; v < plan->variant_count; v++) {
            struct row_result median;
            row_median(result_at(table, row, v), plan->repeat, &median);
            TRY(buf_printf(script, " %.1f", median.cpu_ns_per_op));
        }
    }
    return buf_printf(script,
                      "\nEOD\nset title 'processor time per operation, at most %llu keys'\n"
                      "set ylabel 'ns (logarithmic)'\n"
                      "set style data histograms\nset style histogram clustered gap 1\nset style fill solid 0.8\n"
                      "set logscale y\nset grid y\nset xtics rotate by -35\nset key outside\n"
                      "plot for [i=2:%u] $data using i:xtic(1) title columnheader(i)\n",
                      (unsigned long long)plan->row.keys, plan->variant_count + 1);
}

static enum tool_exit draw(const struct tool *tool, const struct table *table)
{
    struct buf script = {0};
    const unsigned least = 1600, row = 20, bar = 6;
    unsigned width = table->row_count * (row + bar * table->plan->variant_count);
    return gnuplot_draw_made(tool, table->plan->plot, width > least ? width : least, 800, make_script(table, &script),
                             &script);
}

/* --- the command -------------------------------------------------------------------------------------------------- */

static plsm_status check_rows(const struct table *table)
{
    for (uint32_t row = 0; row < table->row_count; row++) {
        struct row_options options = options_of(table, row, 0);
        plsm_status status = row_options_check(&options);
        if (status != PLSM_OK)
            return fail_context(status, table->rows[row].title);
    }
    return PLSM_OK;
}

static enum tool_exit measure(const struct tool *tool, struct table *table, FILE *csv)
{
    const struct bench_plan *plan = table->plan;
    size_t results = (size_t)table->row_count * plan->variant_count * plan->repeat;
    table->results = mem_zalloc(results * sizeof *table->results);
    plsm_status status = table->results ? PLSM_OK : fail(PLSM_NO_MEMORY, "no memory for a table");
    if (status == PLSM_OK)
        status = floor_dram_miss(&table->dram_ns);
    if (status == PLSM_OK && !plan->json) {
        print_conditions(plan);
        tool_print(
            "floors: processor time over that of a dependent cache miss, %.0f ns; disk/op: 4 KiB that came from "
            "the disk;\n  device: time over that of the device alone, for as many reads of 4 KiB at random at "
            "once (cold rows), or for\n  writing over a few bytes and fdatasync (sync); write, space: bytes written, "
            "on disk, over those of keys and values\n\n",
            table->dram_ns);
    }
    if (status == PLSM_OK)
        status = run_rows(table);
    enum tool_exit code = status == PLSM_OK ? TOOL_OK : tool_error(tool, status);
    if (status == PLSM_OK)
        tell(table, csv);
    if (status == PLSM_OK && plan->plot)
        code = draw(tool, table);
    mem_free(table->results);
    return code;
}

enum tool_exit bench_contest(const struct tool *tool, const struct bench_plan *plan)
{
    struct table *table = mem_zalloc(sizeof *table);
    if (!table)
        return tool_error(tool, fail(PLSM_NO_MEMORY, "no memory for a table"));
    table->plan = plan;
    FILE *csv = NULL;
    enum tool_exit code = TOOL_OK;
    plsm_status status = row_specs_parse(plan->rows, table->rows, &table->row_count);
    if (status == PLSM_OK)
        status = check_rows(table);
    if (status != PLSM_OK)
        code = tool_usage(tool, "%s", plsm_message());
    if (code == TOOL_OK && plan->plot)
        code = gnuplot_possible(tool, plan->plot);
    if (code == TOOL_OK)
        code = csv_open(tool, plan->csv, &csv);
    if (code == TOOL_OK)
        code = measure(tool, table, csv);
    code = csv_close(tool, plan->csv, csv, code);
    mem_free(table);
    return tool_output_end(tool, code);
}
