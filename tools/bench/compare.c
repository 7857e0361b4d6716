/* `plsm bench compare`: which sets of keys, and what becomes of the rows. */
#include "tools/bench/compare.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>

#include "base/alloc.h"
#include "base/error.h"
#include "tools/bench/compare_writes.h"
#include "tools/bench/plot.h"
#include "tools/bench/report.h"
#include "tools/bench/row.h"
#include "tools/bench/verify.h"
#include "tools/text.h"

#include "base/banned.h"

/* What a comparison is to give, in the process that measures. */
struct output {
    const struct tool *tool;
    const struct compare_plan *plan;
    FILE *csv;
    struct plot *plot;        /* NULL: none wished */
    enum compare_table table; /* that the last row was of; COMPARE_TABLES: none yet */
};

/* --- rows --------------------------------------------------------------------------------------------------------- */

static void take_row(void *arg, const struct compare_row *row)
{
    struct output *out = arg;
    if (out->csv) {
        compare_row_csv(row, out->csv);
        fflush(out->csv); /* what was measured so far is worth having */
    }
    if (out->plot)
        plot_add(out->plot, row);
    if (out->plan->json) {
        compare_row_json(row);
        return;
    }
    if (row->table != out->table) {
        static const char *const titles[COMPARE_TABLES] = {
            [TABLE_TIMES] = "", [TABLE_WRITES] = "\n", [TABLE_MEMORY] = ""};
        tool_print("%s", titles[row->table]);
        compare_table_head(row->table);
    }
    out->table = row->table;
    compare_row_table(row);
}

static void print_conditions(const struct compare_plan *plan)
{
    char cache[TEXT_NUMBER_SIZE];
    tool_print("plsm %s bench compare\n", PLSM_VERSION_TEXT);
    report_machine("");
    tool_print("modes:");
    for (uint32_t i = 0; i < plan->mode_count; i++)
        tool_print(" %s", plan->modes[i]);
    if (plan->verify) {
        tool_print("\n");
        return;
    }
    tool_print("; ratios are over %s, of the same round: below 1 is faster\n", compare_reference(plan));
    tool_print("rounds: %u of %llu operations in each mode, medians; cache: %s a mode; seed %llu; options: %s\n",
               plan->rounds, (unsigned long long)plan->ops, text_bytes(cache, plan->cache_bytes),
               (unsigned long long)plan->seed, plan->options ? plan->options : "none");
    tool_print(
        "a check of each answer, 5 to 10 ns, is in every figure; level_N: keys that live there; uncached: pages come "
        "from\nthe kernel's memory; small cache: a tenth of the data; put: with batches of %u records, CPU of all "
        "threads\n",
        plan->batch);
}

static void print_set(const struct compare_plan *plan, const struct data *data)
{
    if (plan->json)
        return;
    tool_print("\n%s: %llu keys, values of %u bytes%s\n", shape_of(data->set)->name, (unsigned long long)data->keys,
               data->value_bytes, plan->verify ? "" : "\n");
}

/* --- sets --------------------------------------------------------------------------------------------------------- */

/* A set that its shape cannot give, for want of a file or of lines in it, is named and left out where all shapes were
 * asked for, and an error where this one was. */
static plsm_status open_set(const struct output *out, const char *shape, uint64_t keys, struct data *data, bool *there)
{
    const struct compare_plan *plan = out->plan;
    plsm_status status = data_init(data, shape, keys, 0, plan->value_bytes, plan->seed);
    *there = status == PLSM_OK;
    if (strcmp(plan->shapes, "all") != 0 || (status != PLSM_NOT_FOUND && status != PLSM_INVALID))
        return status;
    tool_say(out->tool, "left out: %s with %llu keys: %s", shape, (unsigned long long)keys, plsm_message());
    return PLSM_OK;
}

static plsm_status run_set(struct output *out, const char *shape, uint64_t keys, const char *directory, uint64_t *wrong)
{
    struct data data = {0};
    bool there = false;
    plsm_status status = open_set(out, shape, keys, &data, &there);
    if (status == PLSM_OK && there) {
        out->table = COMPARE_TABLES;
        print_set(out->plan, &data);
        status = out->plan->verify ? verify_set(out->plan, &data, directory, wrong)
                                   : compare_set(out->plan, &data, directory, take_row, out);
    }
    data_free(&data);
    return status;
}

/* The name at *at in a list, or the next of all shapes; false behind the last. */
static bool next_shape(const struct compare_plan *plan, const char **at, uint32_t *number, char *name, size_t size)
{
    if (strcmp(plan->shapes, "all") == 0) {
        if (!shapes[*number].name)
            return false;
        snprintf(name, size, "%s", shapes[(*number)++].name);
        return true;
    }
    if (!**at)
        return false;
    size_t length = strcspn(*at, ",");
    snprintf(name, size, "%.*s", (int)length, *at);
    *at += length;
    *at += **at == ',';
    return true;
}

static plsm_status run_sets(struct output *out, const char *directory, uint64_t *wrong)
{
    const struct compare_plan *plan = out->plan;
    const char *at = plan->shapes;
    uint32_t number = 0, set = 0;
    char name[64];
    while (next_shape(plan, &at, &number, name, sizeof name))
        for (uint32_t i = 0; i < plan->keys_count; i++) {
            char own[PATH_MAX];
            int size = snprintf(own, sizeof own, "%s/set-%u", directory, set++);
            if (size >= (int)sizeof own || mkdir(own, 0700) < 0)
                return fail_errno(errno, directory, "make a directory in it");
            plsm_status status = run_set(out, name, plan->keys[i], own, wrong);
            rows_remove(own);
            if (status != PLSM_OK || !tool_flush()) /* nobody reads on */
                return status;
        }
    return PLSM_OK;
}

/* --- in a process of its own -------------------------------------------------------------------------------------- */

static plsm_status open_outputs(struct output *out)
{
    const struct compare_plan *plan = out->plan;
    if (plan->plot)
        TRY(plot_create(plan->plot, compare_reference(plan), &out->plot));
    if (!plan->csv)
        return PLSM_OK;
    out->csv = fopen(plan->csv, "w");
    if (!out->csv)
        return fail_errno(errno, plan->csv, "open");
    compare_csv_head(out->csv);
    return PLSM_OK;
}

static plsm_status close_outputs(struct output *out, plsm_status status)
{
    bool failed = out->csv && ferror(out->csv);
    if (out->csv && (fclose(out->csv) != 0 || failed) && status == PLSM_OK)
        status = fail_errno(errno, out->plan->csv, "write");
    if (out->plot && status == PLSM_OK)
        status = plot_draw(out->plot);
    plot_destroy(out->plot);
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
    struct output out = {.tool = apart->tool, .plan = apart->plan};
    uint64_t wrong = 0;
    plsm_status status = open_outputs(&out);
    if (status == PLSM_OK && !out.plan->json)
        print_conditions(out.plan);
    if (status == PLSM_OK)
        status = run_sets(&out, directory, &wrong);
    status = close_outputs(&out, status);
    *code = tool_output_end(apart->tool, wrong ? TOOL_NEGATIVE : TOOL_OK);
    return status;
}

enum tool_exit bench_compare(const struct tool *tool, const struct compare_plan *plan)
{
    struct apart apart = {tool, plan};
    enum tool_exit code = TOOL_ERROR;
    plsm_status status = rows_apart(work, &apart, &code, sizeof code);
    return status == PLSM_OK ? code : tool_error(tool, status);
}
