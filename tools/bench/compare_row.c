/* Names in JSON and CSV rows are relied on by scripts: they may be added to, not changed. */
#include "tools/bench/compare_row.h"

#include <math.h>
#include <string.h>

#include "base/bytes.h"
#include "tools/text.h"
#include "tools/tool.h"

#include "base/banned.h"

static const char *const figure_names[FIGURES] = {
    [FIGURE_ROUNDS] = "rounds",
    [FIGURE_OPS] = "ops", /* in all rounds, per mode */
    [FIGURE_OPS_PER_S] = "ops_per_s",
    [FIGURE_WALL_NS] = "wall_ns_per_op", /* medians over the rounds, and quartiles */
    [FIGURE_WALL_Q1] = "wall_ns_q1",
    [FIGURE_WALL_Q3] = "wall_ns_q3",
    [FIGURE_CPU_NS] = "cpu_ns_per_op",
    [FIGURE_CPU_Q1] = "cpu_ns_q1",
    [FIGURE_CPU_Q3] = "cpu_ns_q3",
    [FIGURE_WALL_RATIO] = "wall_ratio", /* to `against`, of the same round: medians and quartiles */
    [FIGURE_WALL_RATIO_Q1] = "wall_ratio_q1",
    [FIGURE_WALL_RATIO_Q3] = "wall_ratio_q3",
    [FIGURE_CPU_RATIO] = "cpu_ratio",
    [FIGURE_CPU_RATIO_Q1] = "cpu_ratio_q1",
    [FIGURE_CPU_RATIO_Q3] = "cpu_ratio_q3",
    [FIGURE_PAGES] = "pages_per_op", /* looked at, cached or not */
    [FIGURE_READS] = "reads_per_op", /* read calls */
    [FIGURE_READ_BYTES] = "read_bytes_per_op",
    [FIGURE_HIT_RATE] = "cache_hit_rate",
    [FIGURE_LEVEL_ACCURACY] = "level_accuracy",
    [FIGURE_FILE_ACCURACY] = "file_accuracy",
    [FIGURE_BLOCK_ACCURACY] = "block_accuracy",
    [FIGURE_FALLBACK_RATE] = "fallback_rate",
    [FIGURE_FALSE_POSITIVE_RATE] = "false_positive_rate",
    [FIGURE_INDEX_BYTES] = "index_bytes",
    [FIGURE_FILTER_BYTES] = "filter_bytes",
    [FIGURE_CACHE_BYTES] = "cached_bytes",
    [FIGURE_MEMTABLE_BYTES] = "memtable_bytes",
    [FIGURE_MEMORY_BYTES] = "memory_bytes",
    [FIGURE_INDEX_BITS] = "index_bits_per_key",
    [FIGURE_FILTER_BITS] = "filter_bits_per_key",
    [FIGURE_FILE_MODEL_BYTES] = "file_model_bytes_max",
    [FIGURE_LEVEL_MODEL_BYTES] = "level_model_bytes_max",
    [FIGURE_STORE_MODEL_BYTES] = "store_model_bytes",
    [FIGURE_DISK_BYTES] = "disk_bytes",
    [FIGURE_FILES] = "files",
    [FIGURE_LEVELS] = "levels",
    [FIGURE_TRAIN_NS] = "train_ns_per_key",
    [FIGURE_TRAIN_SHARE] = "train_share", /* of all processor time of the writes */
    [FIGURE_FILTER_NS] = "filter_ns_per_key",
    [FIGURE_WRITE_AMPLIFICATION] = "write_amplification",
};

void compare_row_clear(struct compare_row *row)
{
    for (int i = 0; i < FIGURES; i++)
        row->figures[i] = NAN;
}

/* --- for programs ------------------------------------------------------------------------------------------------- */

static void put_line(struct buf *line)
{
    if (buf_append(line, "\n", 1) == PLSM_OK)
        tool_write(line->data, line->size);
    tool_flush(); /* rows take long: show each when it is there */
    buf_free(line);
}

void compare_row_json(const struct compare_row *row)
{
    struct buf line = {0};
    buf_printf(&line,
               "{\"shape\":\"%s\",\"keys\":%llu,\"value_bytes\":%u,\"seed\":%llu,\"cache_bytes\":%llu,"
               "\"operation\":\"%s\",\"mode\":\"%s\"",
               row->shape, (unsigned long long)row->keys, row->value_bytes, (unsigned long long)row->seed,
               (unsigned long long)row->cache_bytes, row->operation, row->mode);
    if (row->against)
        buf_printf(&line, ",\"against\":\"%s\"", row->against);
    for (int i = 0; i < FIGURES; i++)
        if (!isnan(row->figures[i]))
            buf_printf(&line, ",\"%s\":%.9g", figure_names[i], row->figures[i]);
    buf_append(&line, "}", 1);
    put_line(&line);
}

void compare_csv_head(FILE *out)
{
    fputs("shape,keys,value_bytes,seed,cache_bytes,operation,mode,against", out);
    for (int i = 0; i < FIGURES; i++)
        fprintf(out, ",%s", figure_names[i]);
    fputc('\n', out);
}

void compare_row_csv(const struct compare_row *row, FILE *out)
{
    fprintf(out, "%s,%llu,%u,%llu,%llu,%s,%s,%s", row->shape, (unsigned long long)row->keys, row->value_bytes,
            (unsigned long long)row->seed, (unsigned long long)row->cache_bytes, row->operation, row->mode,
            row->against ? row->against : "");
    for (int i = 0; i < FIGURES; i++)
        if (isnan(row->figures[i]))
            fputc(',', out);
        else
            fprintf(out, ",%.9g", row->figures[i]);
    fputc('\n', out);
}

/* --- for people --------------------------------------------------------------------------------------------------- */

enum form { FORM_NUMBER, FORM_ONE, FORM_THREE, FORM_PERCENT, FORM_BYTES, FORM_RANGE };

/* A column of a table; FORM_RANGE shows the figure and the next one. */
struct column {
    enum figure figure;
    enum form form;
    const char *title;
    int width;
};

static const struct column times[] = {
    {FIGURE_OPS, FORM_NUMBER, "ops", 9},
    {FIGURE_WALL_NS, FORM_ONE, "ns/op", 10},
    {FIGURE_CPU_NS, FORM_ONE, "CPU ns/op", 10},
    {FIGURE_CPU_RATIO, FORM_THREE, "CPU ratio", 9},
    {FIGURE_CPU_RATIO_Q1, FORM_RANGE, "quartiles", 13},
    {FIGURE_WALL_RATIO, FORM_THREE, "ns ratio", 8},
    {FIGURE_PAGES, FORM_THREE, "pages/op", 8},
    {FIGURE_READS, FORM_THREE, "reads/op", 8},
    {FIGURE_HIT_RATE, FORM_PERCENT, "cache hits", 10},
    {FIGURE_FALSE_POSITIVE_RATE, FORM_PERCENT, "false pos.", 10},
    {FIGURES, 0, NULL, 0},
};
static const struct column writes[] = {
    {FIGURE_OPS, FORM_NUMBER, "ops", 9},
    {FIGURE_OPS_PER_S, FORM_NUMBER, "ops/s", 9},
    {FIGURE_CPU_NS, FORM_ONE, "CPU ns/op", 10},
    {FIGURE_CPU_RATIO, FORM_THREE, "CPU ratio", 9},
    {FIGURE_CPU_RATIO_Q1, FORM_RANGE, "quartiles", 13},
    {FIGURE_WALL_RATIO, FORM_THREE, "ns ratio", 8},
    {FIGURE_TRAIN_NS, FORM_ONE, "train ns/key", 12},
    {FIGURE_TRAIN_SHARE, FORM_PERCENT, "training", 9},
    {FIGURE_FILTER_NS, FORM_ONE, "filter ns/key", 13},
    {FIGURE_WRITE_AMPLIFICATION, FORM_ONE, "write ampl.", 11},
    {FIGURES, 0, NULL, 0},
};
static const struct column memory[] = {
    {FIGURE_INDEX_BYTES, FORM_BYTES, "index", 10},
    {FIGURE_FILTER_BYTES, FORM_BYTES, "filters", 10},
    {FIGURE_CACHE_BYTES, FORM_BYTES, "cache", 10},
    {FIGURE_MEMTABLE_BYTES, FORM_BYTES, "memtables", 10},
    {FIGURE_INDEX_BITS, FORM_THREE, "index b/key", 11},
    {FIGURE_FILTER_BITS, FORM_THREE, "filter b/key", 12},
    {FIGURE_LEVEL_ACCURACY, FORM_PERCENT, "level", 9},
    {FIGURE_FILE_ACCURACY, FORM_PERCENT, "file", 9},
    {FIGURE_BLOCK_ACCURACY, FORM_PERCENT, "page", 9},
    {FIGURE_FALLBACK_RATE, FORM_PERCENT, "fallback", 9},
    {FIGURE_FILES, FORM_NUMBER, "files", 6},
    {FIGURES, 0, NULL, 0},
};
static const struct column *const tables[COMPARE_TABLES] = {
    [TABLE_TIMES] = times, [TABLE_WRITES] = writes, [TABLE_MEMORY] = memory};

static void show_figure(const struct compare_row *row, const struct column *column, char *out, size_t size)
{
    double figure = row->figures[column->figure];
    snprintf(out, size, "-");
    if (isnan(figure))
        return;
    switch (column->form) {
    case FORM_NUMBER:
        snprintf(out, size, "%.0f", figure);
        break;
    case FORM_ONE:
        snprintf(out, size, "%.1f", figure);
        break;
    case FORM_THREE:
        snprintf(out, size, "%.3f", figure);
        break;
    case FORM_PERCENT:
        snprintf(out, size, "%.3f %%", figure * 100);
        break;
    case FORM_BYTES: {
        char bytes[TEXT_NUMBER_SIZE];
        snprintf(out, size, "%s", text_bytes(bytes, (uint64_t)figure));
        break;
    }
    case FORM_RANGE:
        snprintf(out, size, "%.3f-%.3f", figure, row->figures[column->figure + 1]);
        break;
    }
}

void compare_table_head(enum compare_table table)
{
    struct buf line = {0};
    buf_printf(&line, "%-22s %-12s", "operation", "mode");
    for (const struct column *c = tables[table]; c->title; c++)
        buf_printf(&line, " %*s", c->width, c->title);
    put_line(&line);
}

void compare_row_table(const struct compare_row *row)
{
    struct buf line = {0};
    char text[64];
    buf_printf(&line, "%-22s %-12s", row->operation, row->mode);
    for (const struct column *c = tables[row->table]; c->title; c++) {
        show_figure(row, c, text, sizeof text);
        buf_printf(&line, " %*s", c->width, text);
    }
    put_line(&line);
}
