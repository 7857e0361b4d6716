/* plsm tune: settings by a cost model, for a workload that is told or was observed. */
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

#include "base/error.h"
#include "tools/text.h"
#include "tools/tool.h"

#include "base/banned.h"

enum {
    LONG_PUTS = TOOL_LONG_FIRST,
    LONG_GETS,
    LONG_ABSENT,
    LONG_SCANS,
    LONG_SCAN_ENTRIES,
    LONG_ENTRIES,
    LONG_ENTRY_BYTES,
    LONG_MEMORY,
    LONG_DEVICE,
    LONG_STATS,
    LONG_JSON,
    SHOWN = 6,
    ENTRY_BYTES = 116 /* where nothing is told */
};

/* What is asked for; below 0: not told. */
struct request {
    double puts, present, absent, scans, scan_entries;
    uint64_t entries, entry_bytes, memory_bytes; /* 0: not told */
    const char *device, *stats;
    bool json;
};

static bool parse_share(const char *text, double *out)
{
    char *end = NULL;
    *out = strtod(text, &end);
    return *text && !*end && isfinite(*out) && *out >= 0;
}

/* The value of one option; false: it is not allowed. */
static bool take(struct request *r, int option, const char *text)
{
    double *shares[] = {&r->puts, &r->present, &r->absent, &r->scans, &r->scan_entries};
    if (option >= LONG_PUTS && option <= LONG_SCAN_ENTRIES)
        return parse_share(text, shares[option - LONG_PUTS]);
    switch (option) {
    case LONG_ENTRIES:
        return text_parse_number(text, 1000, &r->entries) && r->entries > 0;
    case LONG_ENTRY_BYTES:
        return text_parse_number(text, 1024, &r->entry_bytes) && r->entry_bytes > 0;
    case LONG_MEMORY:
        return text_parse_number(text, 1024, &r->memory_bytes) && r->memory_bytes > 0;
    case LONG_DEVICE:
        r->device = text;
        return true;
    default:
        r->stats = text;
        return true;
    }
}

/* --- what a store has counted ------------------------------------------------------------------------------------- */

struct observed {
    char engine[32]; /* of the store; empty: not told */
    double keys, bytes_live, lookups, found, scans, scan_entries, write_bytes, write_amplification;
};

static void take_line(struct observed *o, const char *name, double value)
{
    const struct {
        const char *name;
        double *value;
    } wanted[] = {{"store.keys", &o->keys},
                  {"store.bytes_live", &o->bytes_live},
                  {"io.gets", &o->lookups},
                  {"io.gets_found", &o->found},
                  {"io.scans", &o->scans},
                  {"io.scan_entries", &o->scan_entries},
                  {"io.write_bytes", &o->write_bytes},
                  {"lsm.write_amplification", &o->write_amplification}};
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++)
        if (strcmp(name, wanted[i].name) == 0)
            *wanted[i].value = value;
}

/* Reads "name value" lines, as `plsm stats` and DIR/.stats have them; "-": standard input. */
static plsm_status read_stats(const char *path, struct observed *o)
{
    char line[512], name[64];
    double value = 0;
    FILE *in = strcmp(path, "-") == 0 ? stdin : fopen(path, "re");
    if (!in)
        return fail_errno(errno, path, "open");
    while (fgets(line, sizeof line, in))
        if (sscanf(line, "store.engine %31s", o->engine) != 1 && sscanf(line, "%63s %lf", name, &value) == 2 &&
            isfinite(value) && value >= 0)
            take_line(o, name, value);
    bool failed = ferror(in);
    if (in != stdin)
        fclose(in);
    return failed ? fail(PLSM_IO, "%s: cannot be read", path) : PLSM_OK;
}

/* Fills in what was not told. Puts are those that the bytes written by users amount to. */
static plsm_status observe(struct request *r)
{
    struct observed o = {0};
    TRY(read_stats(r->stats, &o));
    if (o.engine[0] && strcmp(o.engine, "lsm") != 0)
        return fail(PLSM_UNSUPPORTED, "%s: is of a store of the engine %s: only lsm has something to choose", r->stats,
                    o.engine);
    if (o.keys < 1)
        return fail(PLSM_INVALID, "%s: is no statistics of a store that holds anything (store.keys)", r->stats);
    if (!r->entries)
        r->entries = (uint64_t)o.keys;
    if (!r->entry_bytes) /* what is in memory alone is not counted there */
        r->entry_bytes = o.bytes_live >= o.keys ? (uint64_t)(o.bytes_live / o.keys) : ENTRY_BYTES;
    double user_bytes = o.write_amplification > 0 ? o.write_bytes / o.write_amplification : 0;
    if (r->puts < 0)
        r->puts = user_bytes / (double)r->entry_bytes;
    if (r->present < 0)
        r->present = o.found;
    if (r->absent < 0)
        r->absent = o.lookups > o.found ? o.lookups - o.found : 0;
    if (r->scans < 0)
        r->scans = o.scans;
    if (r->scan_entries < 0 && o.scans > 0)
        r->scan_entries = o.scan_entries / o.scans;
    if (r->puts + r->present + r->absent <= 0 && r->scans <= 0)
        return fail(PLSM_INVALID, "%s: nothing was counted yet; tell the mix with --puts, --gets, --absent, --scans",
                    r->stats);
    return PLSM_OK;
}

static plsm_workload workload_of(const struct request *r)
{
    return (plsm_workload){.puts = fmax(r->puts, 0),
                           .present = fmax(r->present, 0),
                           .absent = fmax(r->absent, 0),
                           .scans = fmax(r->scans, 0),
                           .scan_entries = r->scan_entries < 0 ? 100 : r->scan_entries,
                           .entries = r->entries ? r->entries : 10000000,
                           .entry_bytes = r->entry_bytes ? r->entry_bytes : ENTRY_BYTES,
                           .memory_bytes = r->memory_bytes ? r->memory_bytes : UINT64_C(1) << 30,
                           .device = r->device ? r->device : "nvme"};
}

/* --- output ------------------------------------------------------------------------------------------------------- */

static void print_json(const plsm_workload *w, const plsm_setting *settings, size_t count)
{
    tool_print(
        "{\"puts\":%g,\"gets_present\":%g,\"gets_absent\":%g,\"scans\":%g,\"scan_entries\":%g,\"entries\":%" PRIu64
        ",\"entry_bytes\":%" PRIu64 ",\"memory_bytes\":%" PRIu64 ",\"device\":\"%s\",\"settings\":[",
        w->puts, w->present, w->absent, w->scans, w->scan_entries, w->entries, w->entry_bytes, w->memory_bytes,
        w->device);
    for (size_t i = 0; i < count; i++) {
        const plsm_setting *s = &settings[i];
        tool_print("%s{\"options\":\"%s\",\"mean_us\":%.4g,\"put_us\":%.4g,\"get_present_us\":%.4g,"
                   "\"get_absent_us\":%.4g,\"scan_us\":%.4g,\"write_amplification\":%.4g,\"pages_per_get\":%.4g,"
                   "\"sorted_runs\":%.4g}",
                   i ? "," : "", s->options, s->mean_us, s->put_us, s->present_us, s->absent_us, s->scan_us,
                   s->write_amplification, s->pages_per_get, s->sorted_runs);
    }
    tool_print("]}\n");
}

static void print_text(const plsm_workload *w, const plsm_setting *settings, size_t count)
{
    char entries[TEXT_NUMBER_SIZE], memory[TEXT_NUMBER_SIZE];
    double all = (w->puts + w->present + w->absent + w->scans) / 100;
    tool_print("%s\n\n", settings[0].options);
    tool_print("By a model, for %.3g %% puts, %.3g %% gets, %.3g %% absent gets, %.3g %% scans of %g on %s entries of "
               "%" PRIu64 " bytes, %s of memory, %s.\n\n",
               w->puts / all, w->present / all, w->absent / all, w->scans / all, w->scan_entries,
               text_count(entries, (double)w->entries), w->entry_bytes, text_bytes(memory, w->memory_bytes), w->device);
    tool_print("us per operation\n   mean    put    get absent   scan  written  pages   runs\n");
    for (size_t i = 0; i < count; i++) {
        const plsm_setting *s = &settings[i];
        tool_print("%7.3g%7.3g%7.3g%7.3g%7.3g%8.3gx%7.3g%7.3g  %s\n", s->mean_us, s->put_us, s->present_us,
                   s->absent_us, s->scan_us, s->write_amplification, s->pages_per_get, s->sorted_runs, s->options);
    }
}

static enum tool_exit tune(struct tool *tool, struct request *r)
{
    plsm_setting settings[SHOWN];
    size_t count = SHOWN;
    plsm_status status = r->stats ? observe(r) : PLSM_OK;
    plsm_workload workload = workload_of(r);
    if (status == PLSM_OK)
        status = plsm_tune(&workload, settings, &count);
    if (status != PLSM_OK)
        return tool_error(tool, status);
    (r->json ? print_json : print_text)(&workload, settings, count);
    return TOOL_OK;
}

static enum tool_exit run(struct tool *tool, int argc, char **argv)
{
    static const struct option longs[] = {{"puts", required_argument, NULL, LONG_PUTS},
                                          {"gets", required_argument, NULL, LONG_GETS},
                                          {"absent", required_argument, NULL, LONG_ABSENT},
                                          {"scans", required_argument, NULL, LONG_SCANS},
                                          {"scan-entries", required_argument, NULL, LONG_SCAN_ENTRIES},
                                          {"entries", required_argument, NULL, LONG_ENTRIES},
                                          {"entry-bytes", required_argument, NULL, LONG_ENTRY_BYTES},
                                          {"memory", required_argument, NULL, LONG_MEMORY},
                                          {"device", required_argument, NULL, LONG_DEVICE},
                                          {"stats", required_argument, NULL, LONG_STATS},
                                          {"json", no_argument, NULL, LONG_JSON},
                                          {NULL, 0, NULL, 0}};
    struct request request = {.puts = -1, .present = -1, .absent = -1, .scans = -1, .scan_entries = -1};
    int option = 0;
    while ((option = tool_next_option(tool, argc, argv, "", longs)) > 0) {
        if (option == LONG_JSON)
            request.json = true;
        else if (!take(&request, option, optarg))
            return tool_usage(tool, "--%s: '%s' is no number that is allowed here", longs[option - LONG_PUTS].name,
                              optarg);
    }
    if (option != TOOL_OPTION_END)
        return tool_option_exit(option);
    if (!tool_check_count(tool, argc - optind, 0, 0))
        return TOOL_USAGE;
    if (!request.stats && request.puts < 0 && request.present < 0 && request.absent < 0 && request.scans < 0)
        return tool_usage(tool, "the workload is missing: --puts, --gets, --absent, --scans, or --stats");
    return tune(tool, &request);
}

const struct command command_tune = {
    .name = "tune",
    .arguments = "",
    .summary = "Names the options that a workload would be cheapest under",
    .help =
        "For the engine lsm, by a cost model (Monkey, Dostoevsky) over policy, size_ratio, filter_bits, buffer_size\n"
        "and cache_size; it ranks settings and measures nothing. The first line of what it writes can be given to "
        "-o.\n\n"
        "      --puts, --gets, --absent, --scans=N   shares: puts, gets of keys that are there, of keys that are\n"
        "                       not, scans\n"
        "      --scan-entries=N entries of a scan (100)\n"
        "      --entries=N      in the store (10m)\n"
        "      --entry-bytes=N  key and value (116)\n"
        "      --memory=SIZE    for memtables, cache, filters and indexes (1g)\n"
        "      --device=NAME    nvme, ssd, hdd or cloud (nvme)\n"
        "      --stats=FILE     take what is not told from statistics: DIR/.stats of a mount, or - for plsm stats\n"
        "      --json           one JSON document\n\n"
        "Example:\n  plsm tune --stats=my-dir/.stats --scans=100 --memory=4g --device=ssd\n",
    .run = run,
};
