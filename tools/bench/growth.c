/* For each size and engine one store is loaded, in a process of its own, and read and written in turn. */
#include "tools/bench/growth.h"

#include <unistd.h>

#include "base/alloc.h"
#include "base/error.h"
#include "tools/bench/csv.h"
#include "tools/bench/files.h"
#include "tools/bench/report.h"
#include "tools/plot.h"
#include "tools/text.h"

#include "base/banned.h"

static const char *const names[] = {"readrandom", "readabsent", "readseq", "overwrite"};
static const char *const titles[] = {"get", "get, absent", "scan, per entry", "put"};
enum { WORKLOADS = sizeof names / sizeof *names };
static const uint64_t OPS_MAX = 1000000; /* of each workload, unless told otherwise: enough for steady figures */

uint32_t growth_sizes(uint64_t most, uint64_t sizes[GROWTH_SIZES_MAX])
{
    uint32_t count = 0;
    for (uint64_t decade = 100000; decade < most && count + 2 < GROWTH_SIZES_MAX; decade *= 10) {
        sizes[count++] = decade;
        if (3 * decade < most)
            sizes[count++] = 3 * decade;
    }
    sizes[count++] = most;
    return count;
}

/* As much as the data, so that size is measured and not the cache; half of the machine's memory at most. */
static uint64_t cache_for(const struct bench_plan *plan, uint64_t keys)
{
    uint64_t memory = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE) / 2;
    uint64_t data = keys * (plan->row.value_bytes + 40) * 3 / 2;
    uint64_t cache = data > plan->row.cache_bytes ? data : plan->row.cache_bytes;
    return cache < memory || memory < plan->row.cache_bytes ? cache : memory;
}

struct growth {
    const struct bench_plan *plan;
    const struct workload *workloads[WORKLOADS];
    uint64_t sizes[GROWTH_SIZES_MAX];
    uint32_t size_count;
    struct row_result results[GROWTH_SIZES_MAX][BENCH_VARIANTS_MAX][WORKLOADS];
};

static struct row_options options_of(const struct growth *growth, uint32_t size, uint32_t variant)
{
    struct row_options row = bench_row(growth->plan, variant);
    row.keys = growth->sizes[size];
    row.cache_bytes = cache_for(growth->plan, row.keys);
    uint64_t most = row.ops ? row.ops : OPS_MAX;
    row.ops = row.keys < most ? row.keys : most;
    return row;
}

static void tell(const struct growth *growth, uint32_t size, uint32_t variant, FILE *csv)
{
    struct row_options row = options_of(growth, size, variant);
    const struct row_result *results = growth->results[size][variant];
    if (!growth->plan->json && size == 0 && variant == 0)
        tool_print("%-12s %-18s %11s %11s %11s %11s %9s %9s %9s  (CPU ns per operation)\n", "keys", "engine", titles[0],
                   titles[1], "scan", titles[3], "write x", "space x", "resident");
    if (!growth->plan->json) {
        char memory[TEXT_NUMBER_SIZE];
        tool_print("%-12llu %-18s", (unsigned long long)row.keys, report_engine(&row));
        for (int w = 0; w < WORKLOADS; w++)
            tool_print(" %11.1f", results[w].cpu_ns_per_op);
        tool_print(" %9.2f %9.2f %9s\n", results[WORKLOADS - 1].write_amplification, results[0].space_amplification,
                   text_bytes(memory, (uint64_t)results[0].resident_bytes));
        tool_flush();
    }
    for (int w = 0; w < WORKLOADS; w++) {
        row.workload = growth->workloads[w];
        if (growth->plan->json)
            report_json(&row, &results[w]);
        if (csv)
            report_csv_row(csv, titles[w], &row, &results[w]);
    }
    if (csv)
        fflush(csv);
}

/* Four small pictures, a line for each engine. */
static plsm_status make_script(const struct growth *growth, struct buf *script)
{
    const struct bench_plan *plan = growth->plan;
    for (uint32_t v = 0; v < plan->variant_count; v++) {
        TRY(buf_printf(script, "$engine%u << EOD\n", v));
        for (uint32_t s = 0; s < growth->size_count; s++) {
            TRY(buf_printf(script, "%llu", (unsigned long long)growth->sizes[s]));
            for (int w = 0; w < WORKLOADS; w++)
                TRY(buf_printf(script, " %.1f", growth->results[s][v][w].cpu_ns_per_op));
            TRY(buf_printf(script, "\n"));
        }
        TRY(buf_printf(script, "EOD\n"));
    }
    TRY(buf_printf(script, "set multiplot layout 2,2\nset logscale x\nset grid\nset yrange [0:*]\nset xlabel 'keys'\n"
                           "set ylabel 'CPU ns'\nset key outside\n"));
    for (int w = 0; w < WORKLOADS; w++) {
        TRY(buf_printf(script, "set title '%s'\nplot ", titles[w]));
        for (uint32_t v = 0; v < plan->variant_count; v++) {
            struct row_options row = bench_row(plan, v);
            TRY(buf_printf(script, "%s$engine%u using 1:%d with linespoints title '%s'", v ? ", " : "", v, w + 2,
                           report_engine(&row)));
        }
        TRY(buf_printf(script, "\n"));
    }
    return buf_printf(script, "unset multiplot\n");
}

static enum tool_exit draw(const struct tool *tool, const struct growth *growth)
{
    struct buf script = {0};
    return gnuplot_draw_made(tool, growth->plan->plot, 1600, 1000, make_script(growth, &script), &script);
}

static void tell_conditions(const struct growth *growth)
{
    const struct row_options *row = &growth->plan->row;
    char cache[TEXT_NUMBER_SIZE];
    report_machine("");
    tool_print(
        "conditions: keys of the shape %s, values of %u bytes, loaded in random order; then up to %llu operations "
        "of each kind on\n  one store, by %u thread%s, in the order of the columns (before them all keys were read "
        "at random); caches of %s, or as\n  large as the data, up to half of the memory; log on, sync off, no "
        "compression; CPU of the whole process, of puts until the\n  background is done; write x: bytes written for "
        "each one put; space x: bytes of files "
        "over bytes of keys and values, after the gets\n\n",
        row->shape, row->value_bytes, (unsigned long long)(row->ops ? row->ops : OPS_MAX), row->threads,
        row->threads > 1 ? "s" : "", text_bytes(cache, row->cache_bytes));
    tool_flush();
}

static plsm_status measure(struct growth *growth, FILE *csv)
{
    const struct bench_plan *plan = growth->plan;
    if (csv)
        report_csv_head(csv);
    for (uint32_t size = 0; size < growth->size_count; size++)
        for (uint32_t v = 0; v < plan->variant_count; v++) {
            struct row_options row = options_of(growth, size, v);
            TRY(row_run_series(&row, growth->workloads, WORKLOADS, growth->results[size][v]));
            tell(growth, size, v, csv);
        }
    if (csv)
        fputc('\n', csv);
    return PLSM_OK;
}

static plsm_status check_room(const struct bench_plan *plan)
{
    /* Pages of a B+tree are half full at worst; a tree's compaction holds its input and output; logs. */
    return files_need(rows_directory(plan->directory),
                      plan->keys_max * (plan->row.value_bytes + 40) * 3 + (UINT64_C(512) << 20));
}

enum tool_exit bench_growth(const struct tool *tool, const struct bench_plan *plan)
{
    struct growth *growth = mem_zalloc(sizeof *growth);
    if (!growth)
        return tool_error(tool, fail(PLSM_NO_MEMORY, "no memory for figures"));
    FILE *csv = NULL;
    growth->plan = plan;
    growth->size_count = growth_sizes(plan->keys_max, growth->sizes);
    for (int w = 0; w < WORKLOADS; w++)
        growth->workloads[w] = workload_find(names[w]);
    enum tool_exit code = plan->plot ? gnuplot_possible(tool, plan->plot) : TOOL_OK;
    plsm_status status = check_room(plan);
    if (code == TOOL_OK && status != PLSM_OK)
        code = tool_error(tool, status);
    if (code == TOOL_OK)
        code = csv_open(tool, plan->csv, &csv);
    if (code == TOOL_OK) {
        if (!plan->json)
            tell_conditions(growth);
        status = measure(growth, csv);
        code = status == PLSM_OK ? TOOL_OK : tool_error(tool, status);
    }
    if (code == TOOL_OK && plan->plot)
        code = draw(tool, growth);
    code = csv_close(tool, plan->csv, csv, code);
    mem_free(growth);
    return tool_output_end(tool, code);
}
