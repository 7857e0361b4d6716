/* The command line of `plsm bench`: which engines, which workload, how large. */
#include "tools/bench/bench.h"

#include "base/error.h"
#include "tools/bench/report.h"
#include "tools/text.h"

#include "base/banned.h"

enum {
    LONG_ENGINE = TOOL_LONG_FIRST,
    LONG_INDEX,
    LONG_KEYS,
    LONG_VALUE_BYTES,
    LONG_BATCH,
    LONG_THREADS,
    LONG_OPS,
    LONG_SEED,
    LONG_CACHE_BYTES,
    LONG_REPEAT,
    LONG_KEY_TYPE,
    LONG_DIR,
    LONG_JSON,
};

/* Everything a command line may hold, before it is checked as a whole. */
struct request {
    struct bench_plan plan;
    const char *index, *key_type, *directory;
};

struct row_options bench_row(const struct bench_plan *plan, uint32_t variant)
{
    struct row_options row = plan->row;
    row.engine = plan->variants[variant].engine;
    row.index = plan->variants[variant].index;
    return row;
}

static void add_variant(struct bench_plan *plan, const struct adapter *engine, const char *index)
{
    if (plan->variant_count == BENCH_VARIANTS_MAX)
        return;
    plan->variants[plan->variant_count].engine = engine;
    plan->variants[plan->variant_count++].index = index;
}

static void add_engine(struct bench_plan *plan, const struct adapter *engine, const char *index)
{
    if (engine != &adapter_lsm) {
        add_variant(plan, engine, NULL);
        return;
    }
    bool all3 = strcmp(index, "all3") == 0, both = all3 || strcmp(index, "both") == 0;
    if (both || strcmp(index, "learned") == 0)
        add_variant(plan, engine, "learned");
    if (both || strcmp(index, "traditional") == 0)
        add_variant(plan, engine, "traditional");
    if (all3 || strcmp(index, "classic") == 0)
        add_variant(plan, engine, "classic");
}

/* The modes of plsm are variants of their own, as if they were two engines. Fills the variants from "lsm,rocksdb" or
 * "all". An engine asked for by name must be usable; with "all" a missing one is named and left out. */
static bool choose_variants(const struct tool *tool, struct request *request)
{
    const char *index = request->index, *at = request->plan.engines;
    if (strcmp(index, "learned") != 0 && strcmp(index, "traditional") != 0 && strcmp(index, "classic") != 0 &&
        strcmp(index, "both") != 0 && strcmp(index, "all3") != 0) {
        tool_usage(tool, "--index %s: not one of learned, traditional, classic, both, all3", index);
        return false;
    }
    if (strcmp(at, "all") == 0) {
        for (int i = 0; adapters[i]; i++) {
            const char *lack = adapters[i]->lack();
            if (lack)
                tool_say(tool, "left out: %s: %s", adapters[i]->name, lack);
            else
                add_engine(&request->plan, adapters[i], index);
        }
        return true;
    }
    for (;;) {
        size_t size = strcspn(at, ",");
        const struct adapter *engine = adapter_find(at, size);
        if (!engine) {
            tool_usage(tool, "--engine %.*s: not one of lsm, rocksdb, leveldb, lmdb, all", (int)size, at);
            return false;
        }
        const char *lack = engine->lack();
        if (lack) {
            tool_usage(tool, "--engine %s: %s", engine->name, lack);
            return false;
        }
        add_engine(&request->plan, engine, index);
        if (!at[size])
            return true;
        at += size + 1;
    }
}

/* A number within [least, most] into *out. */
static bool read_number(const struct tool *tool, const char *name, uint64_t base, uint64_t least, uint64_t most,
                        uint64_t *out)
{
    if (text_parse_number(optarg, base, out) && *out >= least && *out <= most)
        return true;
    tool_usage(tool, "--%s %s: not a number from %llu to %llu", name, optarg, (unsigned long long)least,
               (unsigned long long)most);
    return false;
}

static bool read_numeric_option(const struct tool *tool, struct bench_plan *plan, int option)
{
    const uint64_t many = UINT64_C(1) << 40;
    uint64_t small = 0;
    bool good = true;
    switch (option) {
    case LONG_KEYS:
        return read_number(tool, "keys", 1000, 1, many, &plan->row.keys);
    case LONG_OPS:
        return read_number(tool, "ops", 1000, 1, many, &plan->row.ops);
    case LONG_SEED:
        return read_number(tool, "seed", 1000, 0, UINT32_MAX, &plan->row.seed);
    case LONG_CACHE_BYTES:
        return read_number(tool, "cache-bytes", 1024, 0, many, &plan->row.cache_bytes);
    case LONG_VALUE_BYTES:
        good = read_number(tool, "value-bytes", 1024, 0, PLSM_INLINE_MAX, &small);
        plan->row.value_bytes = (uint32_t)small;
        return good;
    case LONG_BATCH:
        good = read_number(tool, "batch", 1000, 1, 1000000, &small);
        plan->row.batch = (uint32_t)small;
        return good;
    case LONG_THREADS:
        good = read_number(tool, "threads", 1000, 1, 256, &small);
        plan->row.threads = (uint32_t)small;
        return good;
    default:
        good = read_number(tool, "repeat", 1000, 1, ROW_REPEAT_MAX, &small);
        plan->repeat = (uint32_t)small;
        plan->repeat_given = true;
        return good;
    }
}

/* All options; TOOL_OPTION_END when they were good. */
static int read_options(struct tool *tool, int argc, char **argv, struct request *request)
{
    static const struct option longs[] = {
        {"engine", required_argument, NULL, LONG_ENGINE},
        {"index", required_argument, NULL, LONG_INDEX},
        {"keys", required_argument, NULL, LONG_KEYS},
        {"value-bytes", required_argument, NULL, LONG_VALUE_BYTES},
        {"batch", required_argument, NULL, LONG_BATCH},
        {"threads", required_argument, NULL, LONG_THREADS},
        {"ops", required_argument, NULL, LONG_OPS},
        {"seed", required_argument, NULL, LONG_SEED},
        {"cache-bytes", required_argument, NULL, LONG_CACHE_BYTES},
        {"repeat", required_argument, NULL, LONG_REPEAT},
        {"key-type", required_argument, NULL, LONG_KEY_TYPE},
        {"dir", required_argument, NULL, LONG_DIR},
        {"json", no_argument, NULL, LONG_JSON},
        {NULL, 0, NULL, 0},
    };
    int option = 0;
    while ((option = tool_next_option(tool, argc, argv, "", longs)) > 0) {
        switch (option) {
        case LONG_ENGINE:
            request->plan.engines = optarg;
            break;
        case LONG_INDEX:
            request->index = optarg;
            break;
        case LONG_KEY_TYPE:
            request->key_type = optarg;
            break;
        case LONG_DIR:
            request->directory = optarg;
            break;
        case LONG_JSON:
            request->plan.json = true;
            break;
        default:
            if (!read_numeric_option(tool, &request->plan, option))
                return TOOL_OPTION_BAD;
            break;
        }
    }
    return option;
}

/* What single options cannot know: the workload, and options that depend on it. */
static bool check_request(const struct tool *tool, struct request *request, const char *workload)
{
    struct row_options *row = &request->plan.row;
    bool first = strcmp(workload, "first") == 0;
    row->workload = first ? NULL : workload_find(workload);
    if (!first && !row->workload) {
        tool_usage(tool, "%s: no such workload", workload);
        return false;
    }
    if (strcmp(request->key_type, "random") != 0 && strcmp(request->key_type, "decimal") != 0) {
        tool_usage(tool, "--key-type %s: not one of random, decimal", request->key_type);
        return false;
    }
    /* Only decimal keys have a known order to be written in. */
    row->decimal = strcmp(request->key_type, "decimal") == 0 || (row->workload && row->workload->ordered);
    row->sync = tool->sync;
    row->options = tool->options.size ? (const char *)tool->options.data : NULL;
    if (plsm_options_check(row->options) != PLSM_OK) {
        tool_usage(tool, "%s", plsm_message());
        return false;
    }
    if (!request->plan.engines)
        request->plan.engines = first ? "all" : "lsm";
    if (first)
        request->index = "both";
    return choose_variants(tool, request);
}

/* One workload: variants interleaved, so that what disturbs the machine disturbs all alike. */
static enum tool_exit run_plan(const struct tool *tool, const struct bench_plan *plan)
{
    struct row_result results[BENCH_VARIANTS_MAX][ROW_REPEAT_MAX];
    if (!plan->json)
        report_table_head();
    for (uint32_t repeat = 0; repeat < plan->repeat; repeat++) {
        for (uint32_t v = 0; v < plan->variant_count; v++) {
            struct row_options row = bench_row(plan, v);
            plsm_status status = row_run(&row, &results[v][repeat]);
            if (status != PLSM_OK)
                return tool_error(tool, status);
            if (repeat + 1 < plan->repeat)
                continue;
            struct row_result median;
            row_median(results[v], plan->repeat, &median);
            if (plan->json)
                report_json(&row, &median);
            else
                report_table_row(&row, &median);
        }
    }
    return TOOL_OK;
}

static enum tool_exit run(struct tool *tool, int argc, char **argv)
{
    struct request request = {
        .plan = {.row = {.keys = 1000000,
                         .value_bytes = 100,
                         .batch = 1,
                         .threads = 1,
                         .seed = 1,
                         .cache_bytes = UINT64_C(1) << 30},
                 .repeat = 1},
        .index = "learned",
        .key_type = "random",
    };
    int option = read_options(tool, argc, argv, &request);
    if (option != TOOL_OPTION_END)
        return tool_option_exit(option);
    if (argc - optind != 1)
        return tool_usage(tool, argc > optind ? "one workload at a time" : "the workload is missing");
    if (!check_request(tool, &request, argv[optind]))
        return TOOL_USAGE;
    plsm_status status = rows_begin(request.directory);
    if (status != PLSM_OK)
        return tool_error(tool, status);
    enum tool_exit code = request.plan.row.workload ? run_plan(tool, &request.plan) : bench_first(tool, &request.plan);
    rows_end();
    return code;
}

const struct command command_bench = {
    .name = "bench",
    .arguments = "WORKLOAD",
    .summary = "Measures plsm and, where they are installed, its rivals",
    .help =
        "WORKLOAD is one of\n"
        "  fillseq fillrandom     writes all keys, in their order or at random\n"
        "  overwrite              writes keys that are there, at random\n"
        "  readrandom readzipf    reads keys that are there, alike or some far more often\n"
        "  readabsent             reads keys that are not there\n"
        "  readseq                reads everything in the order of keys; an operation is an entry\n"
        "  seekrandom             seeks a key and reads 10 entries; an operation is all that\n"
        "  ycsb-a ... ycsb-f      the mixes of the Yahoo! Cloud Serving Benchmark\n"
        "  first                  the table of the README: all engines, six rows, medians of 3\n"
        "All but fills load their keys first, untimed. Everything read is checked; a wrong answer is an error.\n\n"
        "      --engine E[,E]     lsm (default), rocksdb, leveldb, lmdb, or all\n"
        "      --index I          of lsm: learned (default), traditional, classic, both (the first two), all3\n"
        "      --keys N           keys in the store (1m); N may end in k, m, g\n"
        "      --ops N            operations (as many as keys)\n"
        "      --value-bytes B    bytes of a value (100); keys have 16\n"
        "      --batch B          records of one write (1)\n"
        "      --threads T        (1)\n"
        "      --key-type T       random (default) or decimal; fillseq has decimal ones\n"
        "      --cache-bytes B    each engine's cache (1g)\n"
        "      --repeat R         runs of each row, in turns; medians are shown (1)\n"
        "      --seed S           of keys, values and choices (1)\n"
        "      --dir D            where the stores are made and removed again ($TMPDIR or /tmp)\n"
        "      --json             one JSON object per row instead of a table\n\n"
        "CPU time counts the whole process, background threads included, until they are idle. Latencies are of one\n"
        "call (a whole batch where there are batches). pages_per_op: 4 KiB got from files by read calls.\n\n"
        "Example:\n  plsm bench readrandom --engine=all --index=both --keys=1m --json\n",
    .writes = true,
    .run = run,
};
