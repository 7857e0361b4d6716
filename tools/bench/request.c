/* One table says which options there are and which commands take them. Options are read first, in any order, and judged
 * when the command is known. */
#include "tools/bench/request.h"

#include "base/error.h"
#include "tools/bench/shapes.h"
#include "tools/text.h"

#include "base/banned.h"

enum {
    ROWS = 1 << REQUEST_ROWS,
    FIRST = 1 << REQUEST_FIRST,
    COMPARE = 1 << REQUEST_COMPARE,
    REQUIREMENTS = 1 << REQUEST_REQUIREMENTS,
    ENGINES = ROWS | FIRST,
    MODES = COMPARE | REQUIREMENTS,
    ALL = ENGINES | MODES,
};

/* Numbers stand in `numbers`, texts in `texts`, both at the place of the option in the table. */
static const struct bench_option {
    const char *name;
    unsigned takers;      /* commands */
    uint64_t base;        /* of suffixes of a number; 0: not a number */
    uint64_t least, most; /* of a number */
    bool flag;
} table[] = {
#define NUMBER(name, takers, base, least, most)                                                                        \
    {                                                                                                                  \
        name, takers, base, least, most, false                                                                         \
    }
#define TEXT(name, takers)                                                                                             \
    {                                                                                                                  \
        name, takers, 0, 0, 0, false                                                                                   \
    }
#define FLAG(name, takers)                                                                                             \
    {                                                                                                                  \
        name, takers, 0, 0, 0, true                                                                                    \
    }
#define MANY (UINT64_C(1) << 40)
    NUMBER("ops", ALL, 1000, 1, MANY),
    NUMBER("seed", ALL, 1000, 0, UINT32_MAX),
    NUMBER("cache-bytes", ALL, 1024, 0, MANY),
    NUMBER("value-bytes", ALL, 1024, 0, PLSM_INLINE_MAX),
    NUMBER("batch", ENGINES | COMPARE, 1000, 1, 1000000),
    NUMBER("threads", ENGINES | COMPARE, 1000, 1, 256),
    NUMBER("repeat", ENGINES, 1000, 1, ROW_REPEAT_MAX),
    NUMBER("rounds", MODES, 1000, 1, COMPARE_ROUNDS_MAX),
    NUMBER("verify", COMPARE, 1000, 1, MANY),
    TEXT("keys", ALL),
    TEXT("engine", ENGINES),
    TEXT("index", ROWS),
    TEXT("key-type", ENGINES),
    TEXT("shape", ENGINES | REQUIREMENTS),
    TEXT("shapes", COMPARE),
    TEXT("modes", COMPARE),
    TEXT("csv", COMPARE),
    TEXT("plot", COMPARE),
    TEXT("dir", ALL),
    FLAG("json", ALL),
};
enum { OPTIONS = sizeof table / sizeof *table };

struct given {
    bool is[OPTIONS];
    uint64_t numbers[OPTIONS];
    const char *texts[OPTIONS];
};

static int place_of(const char *name)
{
    for (int i = 0; i < OPTIONS; i++)
        if (strcmp(table[i].name, name) == 0)
            return i;
    INVARIANT(false);
    return -1;
}

static bool has(const struct given *given, const char *name)
{
    return given->is[place_of(name)];
}

static uint64_t number_or(const struct given *given, const char *name, uint64_t otherwise)
{
    int i = place_of(name);
    return given->is[i] ? given->numbers[i] : otherwise;
}

static const char *text_or(const struct given *given, const char *name, const char *otherwise)
{
    int i = place_of(name);
    return given->is[i] ? given->texts[i] : otherwise;
}

static bool read_number(const struct tool *tool, const char *name, const char *text, uint64_t base, uint64_t least,
                        uint64_t most, uint64_t *out)
{
    if (text_parse_number(text, base, out) && *out >= least && *out <= most)
        return true;
    tool_usage(tool, "--%s %s: not a number from %llu to %llu", name, text, (unsigned long long)least,
               (unsigned long long)most);
    return false;
}

/* All options; TOOL_OPTION_END when they were good. */
static int read_options(struct tool *tool, int argc, char **argv, struct given *given)
{
    struct option longs[OPTIONS + 1] = {{0}};
    for (int i = 0; i < OPTIONS; i++)
        longs[i] =
            (struct option){table[i].name, table[i].flag ? no_argument : required_argument, NULL, TOOL_LONG_FIRST + i};
    int option = 0;
    while ((option = tool_next_option(tool, argc, argv, "", longs)) > 0) {
        int i = option - TOOL_LONG_FIRST;
        const struct bench_option *o = &table[i];
        given->is[i] = true;
        given->texts[i] = optarg;
        if (o->base && !read_number(tool, o->name, optarg, o->base, o->least, o->most, &given->numbers[i]))
            return TOOL_OPTION_BAD;
    }
    return option;
}

/* --- what the rows are of: engines -------------------------------------------------------------------------------- */

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
static bool choose_variants(const struct tool *tool, struct bench_plan *plan, const char *index)
{
    const char *at = plan->engines;
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
                add_engine(plan, adapters[i], index);
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
        add_engine(plan, engine, index);
        if (!at[size])
            return true;
        at += size + 1;
    }
}

/* --- keys --------------------------------------------------------------------------------------------------------- */

static bool check_shape(const struct tool *tool, const char *option, const char *name)
{
    if (shape_find(name))
        return true;
    char names[256] = "";
    for (const struct shape *shape = shapes; shape->name; shape++)
        snprintf(names + strlen(names), sizeof names - strlen(names), "%s%s", shape == shapes ? "" : ", ", shape->name);
    tool_usage(tool, "--%s %s: not one of %s", option, name, names);
    return false;
}

/* The shape of the keys of rows. --key-type is an older name for two of them. */
static bool choose_shape(const struct tool *tool, const struct given *given, const struct workload *workload,
                         const char **out)
{
    const char *type = text_or(given, "key-type", "random");
    if (strcmp(type, "random") != 0 && strcmp(type, "decimal") != 0) {
        tool_usage(tool, "--key-type %s: not one of random, decimal", type);
        return false;
    }
    *out = text_or(given, "shape", type);
    if (!check_shape(tool, "shape", *out))
        return false;
    if (!workload || !workload->ordered || shape_find(*out)->ordered)
        return true;
    if (!has(given, "shape")) { /* random keys have no known order to be written in */
        *out = "decimal";
        return true;
    }
    tool_usage(tool, "%s: keys of the shape %s have no known order to be written in", workload->name, *out);
    return false;
}

/* "1m", or with `most` above 1 "1m,10m". */
static bool read_keys(const struct tool *tool, const char *text, uint32_t most, uint64_t *out, uint32_t *count)
{
    char piece[32];
    for (*count = 0;; text++) {
        size_t size = strcspn(text, ",");
        if (*count == most) {
            tool_usage(tool, "--keys: at most %u number%s", most, most > 1 ? "s" : "");
            return false;
        }
        snprintf(piece, sizeof piece, "%.*s", (int)(size < sizeof piece ? size : sizeof piece - 1), text);
        if (!read_number(tool, "keys", piece, 1000, 1, SHAPE_KEYS_MAX, &out[*count]))
            return false;
        ++*count;
        text += size;
        if (!*text)
            return true;
    }
}

/* --- commands ----------------------------------------------------------------------------------------------------- */

static bool read_engines(const struct tool *tool, const struct given *given, const char *workload,
                         struct request *request)
{
    struct bench_plan *plan = &request->plan;
    bool first = request->kind == REQUEST_FIRST;
    uint32_t count = 0;
    *plan = (struct bench_plan){
        .row = {.workload = first ? NULL : workload_find(workload),
                .ops = number_or(given, "ops", 0),
                .seed = number_or(given, "seed", 1),
                .cache_bytes = number_or(given, "cache-bytes", UINT64_C(1) << 30),
                .value_bytes = (uint32_t)number_or(given, "value-bytes", 100),
                .batch = (uint32_t)number_or(given, "batch", 1),
                .threads = (uint32_t)number_or(given, "threads", 1),
                .sync = tool->sync,
                .options = request->compare.options},
        .repeat = (uint32_t)number_or(given, "repeat", 1),
        .repeat_given = has(given, "repeat"),
        .json = has(given, "json"),
        .engines = text_or(given, "engine", first ? "all" : "lsm"),
    };
    return read_keys(tool, text_or(given, "keys", "1m"), 1, &plan->row.keys, &count) &&
           choose_shape(tool, given, plan->row.workload, &plan->row.shape) &&
           choose_variants(tool, plan, first ? "both" : text_or(given, "index", "learned"));
}

/* "learned,traditional": each known to the store, none twice. */
static bool read_modes(const struct tool *tool, const char *text, struct compare_plan *plan)
{
    static const char *const known[COMPARE_MODES_MAX] = {"learned", "traditional", "classic"};
    for (const char *at = text;; at++) {
        size_t size = strcspn(at, ",");
        char option[64];
        int mode = 0;
        while (mode < COMPARE_MODES_MAX && (strlen(known[mode]) != size || memcmp(known[mode], at, size) != 0))
            mode++;
        bool twice = false;
        for (uint32_t i = 0; i < plan->mode_count && mode < COMPARE_MODES_MAX; i++)
            twice = twice || plan->modes[i] == known[mode];
        if (mode == COMPARE_MODES_MAX || twice) {
            tool_usage(tool, "--modes %s: some of learned, traditional, classic, each once", text);
            return false;
        }
        snprintf(option, sizeof option, "index=%s", known[mode]);
        if (plsm_options_check(option) != PLSM_OK) {
            tool_usage(tool, "--modes %s: %s", known[mode], plsm_message());
            return false;
        }
        plan->modes[plan->mode_count++] = known[mode];
        at += size;
        if (!*at)
            return true;
    }
}

static bool check_shapes(const struct tool *tool, const char *list)
{
    char name[64];
    if (strcmp(list, "all") == 0)
        return true;
    for (const char *at = list;; at++) {
        size_t size = strcspn(at, ",");
        snprintf(name, sizeof name, "%.*s", (int)(size < sizeof name ? size : sizeof name - 1), at);
        if (!check_shape(tool, "shapes", name))
            return false;
        at += size;
        if (!*at)
            return true;
    }
}

/* Requirements are measured in every mode that there is. */
static const char *usual_modes(bool requirements)
{
    bool classic = requirements && plsm_options_check("index=classic") == PLSM_OK;
    return classic ? "learned,traditional,classic" : "learned,traditional";
}

static bool read_comparison(const struct tool *tool, const struct given *given, struct request *request)
{
    struct compare_plan *plan = &request->compare;
    bool requirements = request->kind == REQUEST_REQUIREMENTS;
    *plan = (struct compare_plan){
        .shapes = requirements ? text_or(given, "shape", "random") : text_or(given, "shapes", "random"),
        .value_bytes = (uint32_t)number_or(given, "value-bytes", 100),
        .batch = (uint32_t)number_or(given, "batch", 1000),
        .rounds = (uint32_t)number_or(given, "rounds", 31),
        .threads = (uint32_t)number_or(given, "threads", 1),
        .ops = number_or(given, "ops", 10000),
        .seed = number_or(given, "seed", 1),
        .cache_bytes = number_or(given, "cache-bytes", UINT64_C(1) << 30),
        .verify = number_or(given, "verify", 0),
        .options = plan->options,
        .csv = text_or(given, "csv", NULL),
        .plot = text_or(given, "plot", NULL),
        .json = has(given, "json"),
    };
    if (tool->sync) {
        tool_usage(tool, "--sync: not an option of compare and requirements");
        return false;
    }
    if (has(given, "threads") && plan->verify == 0) {
        tool_usage(tool, "--threads: of compare, only with --verify");
        return false;
    }
    if (plan->verify && (plan->csv || plan->plot)) {
        tool_usage(tool, "--verify measures nothing for --csv and --plot");
        return false;
    }
    return read_keys(tool, text_or(given, "keys", "1m"), requirements ? 1 : COMPARE_KEYS_MAX, plan->keys,
                     &plan->keys_count) &&
           read_modes(tool, text_or(given, "modes", usual_modes(requirements)), plan) &&
           check_shapes(tool, plan->shapes);
}

static enum request_kind kind_of(const char *command)
{
    if (strcmp(command, "compare") == 0)
        return REQUEST_COMPARE;
    if (strcmp(command, "requirements") == 0)
        return REQUEST_REQUIREMENTS;
    return strcmp(command, "first") == 0 ? REQUEST_FIRST : REQUEST_ROWS;
}

bool request_read(struct tool *tool, int argc, char **argv, struct request *request, enum tool_exit *code)
{
    struct given given = {{0}, {0}, {0}};
    int option = read_options(tool, argc, argv, &given);
    *request = (struct request){0};
    *code = TOOL_USAGE;
    if (option != TOOL_OPTION_END) {
        *code = tool_option_exit(option);
        return false;
    }
    if (argc - optind != 1) {
        tool_usage(tool, argc > optind ? "one workload at a time" : "the workload is missing");
        return false;
    }
    const char *command = argv[optind];
    request->kind = kind_of(command);
    if (request->kind == REQUEST_ROWS && !workload_find(command)) {
        tool_usage(tool, "%s: no such workload", command);
        return false;
    }
    for (int i = 0; i < OPTIONS; i++)
        if (given.is[i] && !(table[i].takers & 1u << request->kind)) {
            tool_usage(tool, "--%s: not an option of %s", table[i].name, command);
            return false;
        }
    const char *options = tool->options.size ? (const char *)tool->options.data : NULL;
    if (plsm_options_check(options) != PLSM_OK) {
        tool_usage(tool, "%s", plsm_message());
        return false;
    }
    request->compare.options = options;
    request->directory = text_or(&given, "dir", NULL);
    return request->kind == REQUEST_COMPARE || request->kind == REQUEST_REQUIREMENTS
               ? read_comparison(tool, &given, request)
               : read_engines(tool, &given, command, request);
}
