/* One table says which options there are and which commands take them. Options are read first, in any order, and judged
 * when the command is known. */
#include "tools/bench/request.h"

#include "base/error.h"
#include "tools/bench/distribution.h"
#include "tools/bench/row_spec.h"
#include "tools/bench/shapes.h"
#include "tools/bench/suite.h"
#include "tools/text.h"

#include "base/banned.h"

enum {
    ROWS = 1 << REQUEST_ROWS,
    FIRST = 1 << REQUEST_FIRST,
    CONTEST = 1 << REQUEST_CONTEST,
    FLOOR = 1 << REQUEST_FLOOR,
    STALLS = 1 << REQUEST_STALLS,
    GROWTH = 1 << REQUEST_GROWTH,
    BILLION = 1 << REQUEST_BILLION,
    TARGETS = 1 << REQUEST_TARGETS,
    COMPARE = 1 << REQUEST_COMPARE,
    REQUIREMENTS = 1 << REQUEST_REQUIREMENTS,
    OWN = 1 << REQUEST_ENGINES,
    TABLES = ROWS | FIRST | CONTEST,
    ENGINES = TABLES | STALLS | GROWTH,
    MODES = COMPARE | REQUIREMENTS,
    STORES = ENGINES | BILLION | TARGETS | MODES | OWN,
    ALL = STORES | FLOOR,
};

/* What a command takes where the command line does not say. */
static const struct bench_command {
    const char *name;
    enum request_kind kind;
    const char *engines, *index;
    uint32_t repeat;
    const char *keys;
    uint32_t batch, threads;
} commands[] = {
    {"first", REQUEST_FIRST, "rivals", "both", 3, "1m", 1, 1},
    {"contest", REQUEST_CONTEST, "all", "learned", 3, "1m", 1, 1},
    {"floor", REQUEST_FLOOR, "lsm", "learned", 1, "1m", 1, 1},
    {"stalls", REQUEST_STALLS, "lsm,rocksdb", "learned", 1, "10m", 1, 1},
    {"growth", REQUEST_GROWTH, "rivals", "learned", 1, "1m", 1, 1},
    {"billion", REQUEST_BILLION, "lsm", "learned", 1, "1g", 1, 1},
    {"targets", REQUEST_TARGETS, "rivals", "learned", 1, "10m", 1, 1},
    {"engines", REQUEST_ENGINES, "plsm", "learned", 3, "100,10k,1m", 100, 2},
    {"compare", REQUEST_COMPARE, NULL, NULL, 1, "1m", 1, 1},
    {"requirements", REQUEST_REQUIREMENTS, NULL, NULL, 1, "1m", 1, 1},
};
static const struct bench_command one_workload = {NULL, REQUEST_ROWS, "lsm", "learned", 1, "1m", 1, 1};

static const struct bench_command *command_of(const char *name)
{
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
        if (strcmp(commands[i].name, name) == 0)
            return &commands[i];
    return &one_workload;
}

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
    NUMBER("ops", STORES & ~STALLS, 1000, 1, MANY),
    NUMBER("seed", STORES, 1000, 0, UINT32_MAX),
    NUMBER("cache-bytes", STORES, 1024, 0, MANY),
    NUMBER("value-bytes", ENGINES | TARGETS | MODES | OWN, 1024, 0, 1 << 20),
    NUMBER("batch", TABLES | STALLS | COMPARE | OWN, 1000, 1, 1000000),
    NUMBER("threads", ENGINES | COMPARE | OWN, 1000, 1, 256),
    NUMBER("repeat", TABLES | TARGETS | OWN, 1000, 1, ROW_REPEAT_MAX),
    NUMBER("rounds", MODES, 1000, 1, COMPARE_ROUNDS_MAX),
    NUMBER("verify", COMPARE, 1000, 1, MANY),
    NUMBER("minutes", STALLS, 1000, 1, 100000),
    NUMBER("seconds", STALLS, 1000, 1, 1000000),
    NUMBER("max-keys", GROWTH | OWN, 1000, 10, SHAPE_KEYS_MAX),
    NUMBER("memory-bytes", FLOOR, 1024, 1 << 20, MANY),
    TEXT("keys", STORES & ~GROWTH),
    TEXT("engine", ENGINES | TARGETS | OWN),
    TEXT("index", ROWS | CONTEST | STALLS | GROWTH),
    TEXT("key-type", TABLES),
    TEXT("shape", ENGINES | TARGETS | REQUIREMENTS | OWN),
    TEXT("shapes", COMPARE),
    TEXT("modes", COMPARE),
    TEXT("rows", CONTEST),
    TEXT("state", ROWS | CONTEST),
    TEXT("parts", OWN),
    TEXT("csv", FIRST | CONTEST | STALLS | GROWTH | COMPARE | OWN),
    TEXT("plot", FIRST | CONTEST | STALLS | GROWTH | COMPARE | OWN),
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

/* --- what the rows are of: engines ------------------------------------------------------------------------------- */

/* Once, also where it was asked for by itself and as one of a group. */
static void add_variant(struct bench_plan *plan, const struct adapter *engine, const char *index)
{
    for (size_t i = 0; i < plan->variant_count; i++)
        if (plan->variants[i].engine == engine && plan->variants[i].index == index)
            return;
    if (plan->variant_count == BENCH_VARIANTS_MAX)
        return;
    plan->variants[plan->variant_count].engine = engine;
    plan->variants[plan->variant_count++].index = index;
}

static void add_engine(struct bench_plan *plan, const struct adapter *engine, const char *index)
{
    if (!engine->has_index) {
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

/* Words for several engines. */
static const struct engine_group {
    const char *name;
    bool lsm, own, others; /* has lsm; plsm's further engines; those of others */
} groups[] = {
    {"all", true, true, true},
    {"plsm", true, true, false},
    {"rivals", true, false, true},
};

static const struct engine_group *group_of(const char *name, size_t size)
{
    for (size_t i = 0; i < sizeof groups / sizeof *groups; i++)
        if (slice_equal(slice(groups[i].name, strlen(groups[i].name)), slice(name, size)))
            return &groups[i];
    return NULL;
}

static bool in_group(const struct engine_group *group, const struct adapter *engine)
{
    return engine == &adapter_lsm ? group->lsm : engine->own ? group->own : group->others;
}

static void add_group(const struct tool *tool, struct bench_plan *plan, const struct engine_group *group,
                      const char *index)
{
    for (int i = 0; adapters[i]; i++) {
        if (!in_group(group, adapters[i]))
            continue;
        const char *lack = adapters[i]->lack();
        if (lack)
            tool_say(tool, "left out: %s: %s", adapters[i]->name, lack);
        else
            add_engine(plan, adapters[i], index);
    }
}

/* An engine asked for by name must be usable. */
static bool add_named(const struct tool *tool, struct bench_plan *plan, const char *name, size_t size,
                      const char *index)
{
    const struct adapter *engine = adapter_find(name, size);
    if (!engine) {
        tool_usage(tool,
                   "--engine %.*s: not one of lsm, appendlog, hybridlog, rocksdb, leveldb, lmdb, wiredtiger, nor "
                   "all, plsm or rivals",
                   (int)size, name);
        return false;
    }
    const char *lack = engine->lack();
    if (lack)
        tool_usage(tool, "--engine %s: %s", engine->name, lack);
    else
        add_engine(plan, engine, index);
    return !lack;
}

/* The modes of plsm are variants of their own, as if they were two engines. Fills the variants from "lsm,rocksdb"; a
 * name may be that of a group, of which an engine that is missing is named and left out. */
static bool choose_variants(const struct tool *tool, struct bench_plan *plan, const char *index)
{
    if (strcmp(index, "learned") != 0 && strcmp(index, "traditional") != 0 && strcmp(index, "classic") != 0 &&
        strcmp(index, "both") != 0 && strcmp(index, "all3") != 0) {
        tool_usage(tool, "--index %s: not one of learned, traditional, classic, both, all3", index);
        return false;
    }
    for (const char *at = plan->engines;; at++) {
        size_t size = strcspn(at, ",");
        const struct engine_group *group = group_of(at, size);
        if (group)
            add_group(tool, plan, group, index);
        else if (!add_named(tool, plan, at, size, index))
            return false;
        at += size;
        if (!*at)
            return true;
    }
}

/* --- keys -------------------------------------------------------------------------------------------------------- */

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

/* --- commands ---------------------------------------------------------------------------------------------------- */

static bool read_state(const struct tool *tool, const struct given *given, enum cache_state *out)
{
    const char *name = text_or(given, "state", cache_state_names[STATE_WARM]);
    for (int state = 0; state < STATE_COUNT; state++)
        if (strcmp(name, cache_state_names[state]) == 0) {
            *out = (enum cache_state)state;
            return true;
        }
    tool_usage(tool, "--state %s: not one of warm, reopened, cold", name);
    return false;
}

/* Seconds of stalls: minutes are what people say, tests are shorter. */
static bool read_seconds(const struct tool *tool, const struct given *given, uint64_t *out)
{
    *out = has(given, "seconds") ? number_or(given, "seconds", 0) : 60 * number_or(given, "minutes", 10);
    if (!has(given, "seconds") || !has(given, "minutes"))
        return true;
    tool_usage(tool, "--seconds and --minutes: one of them");
    return false;
}

static bool check_row(const struct tool *tool, const struct row_options *row)
{
    if (row_options_check(row) == PLSM_OK)
        return true;
    tool_usage(tool, "%s", plsm_message());
    return false;
}

/* What `plsm bench engines` does not take, although other commands do. */
static bool check_own(const struct tool *tool, const struct bench_plan *plan)
{
    for (uint32_t v = 0; v < plan->variant_count; v++)
        if (!plan->variants[v].engine->own) {
            tool_usage(tool, "engines: %s is none of plsm's own engines", plan->variants[v].engine->name);
            return false;
        }
    for (uint32_t i = 0; i < plan->key_count; i++)
        if (plan->key_list[i] < HOTSET_RANGES || plan->key_list[i] > SUITE_KEYS_MAX) {
            tool_usage(tool, "--keys: of engines, from %d to %d", HOTSET_RANGES, SUITE_KEYS_MAX);
            return false;
        }
    if (plan->row.value_bytes > PLSM_INLINE_MAX) {
        tool_usage(tool, "--value-bytes: at most %u here", PLSM_INLINE_MAX);
        return false;
    }
    if (suite_parts_check(plan->parts))
        return true;
    tool_usage(tool, "--parts %s: some of %s", plan->parts, suite_parts);
    return false;
}

/* Ten times the most keys of the other parts, as long as that is not more than 10 million. */
static uint64_t scaling_end(const struct bench_plan *plan)
{
    uint64_t most = 0, enough = 10000000;
    for (uint32_t i = 0; i < plan->key_count; i++)
        most = plan->key_list[i] > most ? plan->key_list[i] : most;
    return most >= enough ? most : 10 * most > enough ? enough : 10 * most;
}

static bool read_engines(const struct tool *tool, const struct given *given, const char *name, struct request *request)
{
    struct bench_plan *plan = &request->plan;
    const struct bench_command *command = command_of(name);
    *plan = (struct bench_plan){
        .row = {.workload = workload_find(name),
                .ops = number_or(given, "ops", 0),
                .seed = number_or(given, "seed", 1),
                .cache_bytes = number_or(given, "cache-bytes", UINT64_C(1) << 30),
                .value_bytes = (uint32_t)number_or(given, "value-bytes", 100),
                .batch = (uint32_t)number_or(given, "batch", command->batch),
                .threads = (uint32_t)number_or(given, "threads", command->threads),
                .sync = tool->sync,
                .options = request->compare.options},
        .repeat = (uint32_t)number_or(given, "repeat", command->repeat),
        .json = has(given, "json"),
        .engines = text_or(given, "engine", command->engines),
        .rows = text_or(given, "rows", request->kind == REQUEST_FIRST ? bench_first_rows : bench_contest_rows),
        .csv = text_or(given, "csv", NULL),
        .plot = text_or(given, "plot", NULL),
        .directory = request->directory,
        .keys_max = number_or(given, "max-keys", 100000000),
        .keys_text = text_or(given, "keys", command->keys),
        .parts = text_or(given, "parts", NULL),
        .memory_bytes = number_or(given, "memory-bytes", 0),
    };
    if (has(given, "state") && plan->row.workload && plan->row.workload->kind == WORKLOAD_FILL) {
        tool_usage(tool, "--state: %s begins with an empty store", name);
        return false;
    }
    if (tool->sync && !((TABLES | STALLS) & 1u << request->kind)) {
        tool_usage(tool, "--sync: not an option of %s", name);
        return false;
    }
    bool own = request->kind == REQUEST_ENGINES;
    bool good = read_keys(tool, plan->keys_text, own ? BENCH_KEYS_MAX : 1, plan->key_list, &plan->key_count);
    plan->row.keys = plan->key_list[0];
    if (good && own && !has(given, "max-keys"))
        plan->keys_max = scaling_end(plan);
    return good && read_state(tool, given, &plan->row.state) && read_seconds(tool, given, &plan->seconds) &&
           check_row(tool, &plan->row) && choose_shape(tool, given, plan->row.workload, &plan->row.shape) &&
           choose_variants(tool, plan, text_or(given, "index", command->index)) && (!own || check_own(tool, plan));
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
    if (plan->value_bytes > PLSM_INLINE_MAX) {
        tool_usage(tool, "--value-bytes: at most %u here", PLSM_INLINE_MAX);
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
    request->kind = command_of(command)->kind;
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
