/* Names in JSON rows are relied on by scripts: they may be added to, not changed. */
#include "tools/bench/report.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include "base/env.h"
#include "tools/text.h"
#include "tools/tool.h"

#include "base/banned.h"

static void put_line(const char *line, int size)
{
    if (size > 0)
        tool_write(line, (size_t)size);
    tool_flush(); /* rows take long: show each when it is there */
}

const char *report_state(const struct row_options *options)
{
    return options->workload->kind == WORKLOAD_FILL ? "new" : cache_state_names[options->state];
}

/* How many entries an operation of a scan gives at least; 0: it scans nothing. */
static int entries_per_op(const struct row_options *options)
{
    enum workload_kind kind = options->workload->kind;
    return kind == WORKLOAD_SEEK ? SEEK_ENTRIES : kind == WORKLOAD_SCAN;
}

void report_figure(char out[REPORT_FIGURE_SIZE], const char *name, double value)
{
    bool rate = strstr(name, "amplification") || strstr(name, "per_op");
    if (value < 0)
        snprintf(out, REPORT_FIGURE_SIZE, "null");
    else
        snprintf(out, REPORT_FIGURE_SIZE, rate ? strcmp(name, "cpu_ns_per_op") == 0 ? "%.1f" : "%.4f" : "%.0f", value);
}

void report_json(const struct row_options *options, const struct row_result *result)
{
    char line[2048], index[64] = "null";
    struct row_result copy = *result;
    if (options->index)
        snprintf(index, sizeof index, "\"%s\"", options->index);
    int size = snprintf(line, sizeof line,
                        "{\"workload\":\"%s\",\"engine\":\"%s\",\"index\":%s,\"keys\":%llu,\"value_bytes\":%u,"
                        "\"batch\":%u,\"threads\":%u,\"sync\":%s,\"key_type\":\"%s\",\"cache_bytes\":%llu,"
                        "\"state\":\"%s\",\"entries_per_op\":%d,\"latency_every\":%u",
                        options->workload->name, options->engine->name, index, (unsigned long long)options->keys,
                        options->value_bytes, row_batch(options), options->threads, options->sync ? "true" : "false",
                        options->shape, (unsigned long long)options->cache_bytes, report_state(options),
                        entries_per_op(options), latency_every(options->workload->kind));
    for (int i = 0; i < ROW_FIGURES; i++) {
        char figure[REPORT_FIGURE_SIZE];
        report_figure(figure, row_figure_names[i], row_figures(&copy)[i]);
        size += snprintf(line + size, sizeof line - (size_t)size, ",\"%s\":%s", row_figure_names[i], figure);
    }
    size += snprintf(line + size, sizeof line - (size_t)size, "}\n");
    put_line(line, size);
}

void report_csv_head(FILE *out)
{
    fputs("row,workload,engine,index,keys,value_bytes,batch,threads,sync,key_type,cache_bytes,state", out);
    for (int i = 0; i < ROW_FIGURES; i++)
        fprintf(out, ",%s", row_figure_names[i]);
}

void report_csv_row(FILE *out, const char *title, const struct row_options *options, const struct row_result *result)
{
    struct row_result copy = *result;
    fprintf(out, "\n\"%s\",%s,%s,%s,%llu,%u,%u,%u,%d,%s,%llu,%s", title, options->workload->name, options->engine->name,
            options->index ? options->index : "", (unsigned long long)options->keys, options->value_bytes,
            row_batch(options), options->threads, options->sync, options->shape,
            (unsigned long long)options->cache_bytes, report_state(options));
    for (int i = 0; i < ROW_FIGURES; i++) {
        char figure[REPORT_FIGURE_SIZE];
        report_figure(figure, row_figure_names[i], row_figures(&copy)[i]);
        fprintf(out, ",%s", strcmp(figure, "null") == 0 ? "" : figure);
    }
}

const char *report_engine(const struct row_options *options)
{
    static char names[2][64];
    static int turn;
    char *name = names[turn ^= 1];
    snprintf(name, sizeof names[0], "%s%s%s", options->index ? "plsm" : options->engine->name,
             options->index ? " " : "", options->index ? options->index : "");
    return name;
}

void report_table_head(void)
{
    char line[256];
    put_line(line,
             snprintf(line, sizeof line,
                      "%-12s %-18s %7s %7s %4s %-8s %11s %10s %9s %9s %10s %10s %8s %8s %8s %7s %7s %9s\n", "workload",
                      "engine", "batch", "threads", "sync", "cache", "ops/s", "CPU ns/op", "p50 ns", "p99 ns",
                      "p99.99 ns", "max ns", "pages/op", "disk/op", "device x", "write x", "space x", "resident"));
}

void report_ratio(char out[REPORT_FIGURE_SIZE], const char *otherwise, double value)
{
    if (value < 0)
        snprintf(out, REPORT_FIGURE_SIZE, "%s", otherwise);
    else
        snprintf(out, REPORT_FIGURE_SIZE, "%.2f", value);
}

void report_table_row(const struct row_options *options, const struct row_result *result)
{
    char line[512], memory[TEXT_NUMBER_SIZE], pages[REPORT_FIGURE_SIZE], write[REPORT_FIGURE_SIZE],
        space[REPORT_FIGURE_SIZE], device[REPORT_FIGURE_SIZE];
    report_ratio(pages, "mapped", result->pages_per_op);
    report_ratio(write, "-", result->write_amplification);
    report_ratio(space, "-", result->space_amplification);
    report_ratio(device, "-", row_device_times(options, result));
    put_line(
        line,
        snprintf(line, sizeof line,
                 "%-12s %-18s %7u %7u %4s %-8s %11.0f %10.1f %9.0f %9.0f %10.0f %10.0f %8s %8.2f %8s %7s %7s %9s\n",
                 options->workload->name, report_engine(options), row_batch(options), options->threads,
                 options->sync ? "on" : "off", report_state(options), result->ops_per_s, result->cpu_ns_per_op,
                 result->p50_ns, result->p99_ns, result->p9999_ns, result->max_ns, pages, result->disk_pages_per_op,
                 device, write, space, text_bytes(memory, (uint64_t)result->resident_bytes)));
}

/* The value of the first line of a /proc file that starts with `name`, behind its colon. */
static void proc_value(const char *path, const char *name, char *out, size_t size)
{
    char line[512];
    FILE *file = fopen(path, "r");
    snprintf(out, size, "unknown");
    while (file && fgets(line, sizeof line, file)) {
        char *colon = strchr(line, ':');
        if (strncmp(line, name, strlen(name)) != 0 || !colon)
            continue;
        colon += 1 + strspn(colon + 1, " \t");
        snprintf(out, size, "%.*s", (int)strcspn(colon, "\n"), colon);
        break;
    }
    if (file)
        fclose(file);
}

void report_machine(const char *prefix)
{
    char model[128], memory[128], bytes[TEXT_NUMBER_SIZE], date[32], text[512];
    struct utsname name = {0};
    struct tm when = {0};
    time_t now = (time_t)(env_wall_ns(env_posix()) / 1000000000);
    proc_value("/proc/cpuinfo", "model name", model, sizeof model);
    proc_value("/proc/meminfo", "MemTotal", memory, sizeof memory);
    uname(&name);
    strftime(date, sizeof date, "%Y-%m-%d", gmtime_r(&now, &when));
    put_line(text, snprintf(text, sizeof text,
                            "%sprocessor: %s, %ld online\n%smemory: %s\n%skernel: %s %s\n%sdate: %s\n", prefix, model,
                            sysconf(_SC_NPROCESSORS_ONLN), prefix, text_bytes(bytes, strtoull(memory, NULL, 10) * 1024),
                            prefix, name.sysname, name.release, prefix, date));
}
