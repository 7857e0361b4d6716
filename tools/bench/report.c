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

void report_json(const struct row_options *options, const struct row_result *result)
{
    char line[1024], index[64] = "null", pages[32] = "null";
    if (options->index)
        snprintf(index, sizeof index, "\"%s\"", options->index);
    if (result->pages_per_op >= 0)
        snprintf(pages, sizeof pages, "%.4f", result->pages_per_op);
    int size = snprintf(line, sizeof line,
                        "{\"workload\":\"%s\",\"engine\":\"%s\",\"index\":%s,\"keys\":%llu,\"value_bytes\":%u,"
                        "\"batch\":%u,\"threads\":%u,\"sync\":%s,\"key_type\":\"%s\",\"cache_bytes\":%llu,\"ops\":%llu,"
                        "\"ops_per_s\":%.0f,\"cpu_ns_per_op\":%.1f,\"p50_ns\":%.0f,\"p99_ns\":%.0f,"
                        "\"pages_per_op\":%s}\n",
                        options->workload->name, options->engine->name, index, (unsigned long long)options->keys,
                        options->value_bytes, options->batch, options->threads, options->sync ? "true" : "false",
                        options->shape, (unsigned long long)options->cache_bytes, (unsigned long long)result->ops,
                        result->ops_per_s, result->cpu_ns_per_op, result->p50_ns, result->p99_ns, pages);
    put_line(line, size);
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
    put_line(line, snprintf(line, sizeof line, "%-12s %-18s %8s %8s %12s %12s %10s %10s %10s\n", "workload", "engine",
                            "batch", "threads", "ops/s", "CPU ns/op", "p50 ns", "p99 ns", "pages/op"));
}

void report_table_row(const struct row_options *options, const struct row_result *result)
{
    char line[256], pages[32] = "mapped";
    if (result->pages_per_op >= 0)
        snprintf(pages, sizeof pages, "%.3f", result->pages_per_op);
    put_line(line, snprintf(line, sizeof line, "%-12s %-18s %8u %8u %12.0f %12.1f %10.0f %10.0f %10s\n",
                            options->workload->name, report_engine(options), options->batch, options->threads,
                            result->ops_per_s, result->cpu_ns_per_op, result->p50_ns, result->p99_ns, pages));
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
