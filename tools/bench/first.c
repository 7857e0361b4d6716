/* `plsm bench first`: the first table of the README. */
#include <unistd.h>

#include "tools/bench/bench.h"
#include "tools/bench/report.h"
#include "tools/bench/shapes.h"

#include "base/alloc.h"

#include "base/banned.h"

static const struct line {
    const char *title, *workload;
    uint32_t batch;
} lines[] = {
    {"sequential write, batches of 1,000", "fillseq", 1000},
    {"random write, batches of 1,000", "fillrandom", 1000},
    {"random write, one by one", "fillrandom", 1},
    {"random read", "readrandom", 1},
    {"absent read", "readabsent", 1},
    {"ordered scan", "readseq", 1},
};
enum { LINES = sizeof lines / sizeof *lines, REPEAT = 3 };

struct table {
    uint32_t repeat;
    struct row_result *results; /* [line][variant][repeat] */
};

static struct row_result *result_at(const struct bench_plan *plan, const struct table *table, int line,
                                    uint32_t variant)
{
    return table->results + ((size_t)line * plan->variant_count + variant) * table->repeat;
}

static struct row_options line_row(const struct bench_plan *plan, int line, uint32_t variant)
{
    struct row_options row = bench_row(plan, variant);
    row.workload = workload_find(lines[line].workload);
    row.batch = lines[line].batch;
    if (row.workload->ordered && !shape_find(row.shape)->ordered)
        row.shape = "decimal";
    return row;
}

static void print_conditions(const struct bench_plan *plan, uint32_t repeat)
{
    const struct row_options *row = &plan->row;
    tool_print("command: plsm bench first --engine=%s --keys=%llu --value-bytes=%u --threads=%u --repeat=%u "
               "--cache-bytes=%llu%s%s%s\n",
               plan->engines, (unsigned long long)row->keys, row->value_bytes, row->threads, repeat,
               (unsigned long long)row->cache_bytes, row->sync ? " --sync" : "", row->options ? " -o " : "",
               row->options ? row->options : "");
    report_machine("");
    tool_print(
        "conditions: keys of the shape %s (sequential writes: %s), incompressible values, no compression,\n"
        "  log on, sync %s, caches warm and larger than the data, write buffers of 64 MiB, medians of %u runs in "
        "turns\n"
        "  of all engines, each in a process of its own; CPU includes background work until it is done\n",
        row->shape, shape_find(row->shape)->ordered ? row->shape : "decimal", row->sync ? "on" : "off", repeat);
}

/* The first variant that is plsm in learned mode, to compare with; -1: there is none. */
static int find_learned(const struct bench_plan *plan)
{
    for (uint32_t v = 0; v < plan->variant_count; v++)
        if (plan->variants[v].index && strcmp(plan->variants[v].index, "learned") == 0)
            return (int)v;
    return -1;
}

/* The ratio is of processor time per operation, theirs to ours: above 1 we are faster. */
static void print_line(const struct bench_plan *plan, const struct table *table, int line, int learned)
{
    struct row_result ours = {0};
    if (learned >= 0)
        row_median(result_at(plan, table, line, (uint32_t)learned), table->repeat, &ours);
    for (uint32_t v = 0; v < plan->variant_count; v++) {
        struct row_options row = line_row(plan, line, v);
        struct row_result median;
        row_median(result_at(plan, table, line, v), table->repeat, &median);
        if (plan->json) {
            report_json(&row, &median);
            continue;
        }
        char ratio[32] = "";
        if (learned >= 0 && (int)v != learned)
            snprintf(ratio, sizeof ratio, "%.2fx", median.cpu_ns_per_op / ours.cpu_ns_per_op);
        tool_print("%-36s %-18s %12.0f %12.0f %10s\n", v == 0 ? lines[line].title : "", report_engine(&row),
                   median.cpu_ns_per_op, median.ops_per_s, ratio);
    }
}

enum tool_exit bench_first(const struct tool *tool, const struct bench_plan *plan)
{
    struct table table = {.repeat = plan->repeat_given ? plan->repeat : REPEAT};
    table.results = mem_zalloc((size_t)LINES * plan->variant_count * table.repeat * sizeof *table.results);
    plsm_status status = table.results ? PLSM_OK : PLSM_NO_MEMORY;
    if (status == PLSM_OK && !plan->json)
        print_conditions(plan, table.repeat);
    bool watched = isatty(STDERR_FILENO) == 1;
    uint32_t rows = table.repeat * LINES * plan->variant_count, done = 0;
    for (uint32_t repeat = 0; repeat < table.repeat; repeat++)
        for (int line = 0; line < LINES; line++)
            for (uint32_t v = 0; v < plan->variant_count && status == PLSM_OK; v++) {
                struct row_options row = line_row(plan, line, v);
                if (watched)
                    fprintf(stderr, "\r%u of %u: %s, %s\033[K", ++done, rows, lines[line].title, report_engine(&row));
                status = row_run(&row, result_at(plan, &table, line, v) + repeat);
            }
    if (watched)
        fputs("\r\033[K", stderr);
    if (status == PLSM_OK && !plan->json)
        tool_print("\n%-36s %-18s %12s %12s %10s\n", "", "", "CPU ns/op", "ops/s", "/ learned");
    for (int line = 0; line < LINES && status == PLSM_OK; line++)
        print_line(plan, &table, line, find_learned(plan));
    mem_free(table.results);
    return status == PLSM_OK ? TOOL_OK : tool_error(tool, status);
}
