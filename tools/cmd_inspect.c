/* plsm inspect: analyzers of runs, levels, compactions and lookups, a file each. */
#include <stdlib.h>

#include "tools/inspect.h"
#include "tools/text.h"

#include "base/banned.h"

enum { LONG_RUN = TOOL_LONG_FIRST, LONG_ALL, LONG_JSON, LONG_PLOT, LONG_KEYS, LONG_SEED, LONG_ABSENT };

static const struct option *options_of(unsigned accepts, struct option *out)
{
    size_t count = 0;
    out[count++] = (struct option){"json", no_argument, NULL, LONG_JSON};
    if (accepts & INSPECT_PLOT)
        out[count++] = (struct option){"plot", required_argument, NULL, LONG_PLOT};
    if (accepts & INSPECT_RUNS) {
        out[count++] = (struct option){"run", required_argument, NULL, LONG_RUN};
        out[count++] = (struct option){"all", no_argument, NULL, LONG_ALL};
    }
    if (accepts & INSPECT_KEYS) {
        out[count++] = (struct option){"keys", required_argument, NULL, LONG_KEYS};
        out[count++] = (struct option){"seed", required_argument, NULL, LONG_SEED};
    }
    if (accepts & INSPECT_ABSENT)
        out[count++] = (struct option){"absent", no_argument, NULL, LONG_ABSENT};
    out[count] = (struct option){0};
    return out;
}

static bool parse_number(const struct tool *tool, const char *name, uint64_t least, uint64_t most, uint64_t *out)
{
    if (text_parse_number(optarg, 1000, out) && *out >= least && *out <= most)
        return true;
    tool_usage(tool, "--%s=%s: not a number from %llu to %llu", name, optarg, (unsigned long long)least,
               (unsigned long long)most);
    return false;
}

static bool take_option(const struct tool *tool, int option, struct inspect_request *request)
{
    enum { KEYS_MAX = 10000000 };
    switch (option) {
    case LONG_RUN:
        request->one = true;
        return parse_number(tool, "run", 1, UINT64_MAX, &request->run);
    case LONG_ALL:
        request->all = true;
        return true;
    case LONG_JSON:
        request->json = true;
        return true;
    case LONG_PLOT:
        request->plot = optarg;
        return true;
    case LONG_KEYS:
        return parse_number(tool, "keys", 1, KEYS_MAX, &request->options.keys);
    case LONG_SEED:
        return parse_number(tool, "seed", 0, UINT64_MAX, &request->options.seed);
    default:
        request->options.absent = true;
        return true;
    }
}

bool inspect_begin(struct tool *tool, int argc, char **argv, unsigned accepts, struct inspect_request *request,
                   plsm **db, enum tool_exit *code)
{
    struct option longs[8];
    int option = 0;
    *request = (struct inspect_request){0};
    *code = TOOL_USAGE;
    options_of(accepts, longs);
    while ((option = tool_next_option(tool, argc, argv, "", longs)) > 0)
        if (!take_option(tool, option, request))
            return false;
    if (option != TOOL_OPTION_END) {
        *code = tool_option_exit(option);
        return false;
    }
    if (!tool_check_count(tool, argc - optind, 1, 1))
        return false;
    if (request->one && request->all) {
        tool_usage(tool, "--run and --all exclude each other");
        return false;
    }
    if (accepts & INSPECT_RUNS && request->plot && !request->one) {
        tool_usage(tool, "--plot draws one run: say which with --run");
        return false;
    }
    request->store = argv[optind];
    *code = request->plot ? gnuplot_possible(tool, request->plot) : TOOL_OK;
    if (*code == TOOL_OK)
        *code = tool_open(tool, request->store, PLSM_READ, db);
    return *code == TOOL_OK;
}

enum tool_exit inspect_end(const struct tool *tool, plsm *db, enum tool_exit code, bool problems)
{
    code = tool_close(tool, db, code);
    return code == TOOL_OK && problems ? TOOL_NEGATIVE : code;
}

const char *inspect_keyspace(unsigned keyspace)
{
    switch (keyspace) {
    case PLSM_NAMES:
        return "names";
    case PLSM_INODES:
        return "inodes";
    case PLSM_EXTENTS:
        return "extents";
    case PLSM_INTERNAL:
        return "internal";
    default:
        return "unknown";
    }
}

/* --- problems ----------------------------------------------------------------------------------------------------- */

bool inspect_problem(const plsm_run_info *run, unsigned which, const char **part, const char **problem)
{
    const struct {
        const char *name, *problem;
    } parts[] = {
        {"run", run->problem},
        {"model file", run->model_file.problem},
        {"model", run->model_block.problem},
        {"fences", run->fences.problem},
        {"filter", run->filter.problem},
        {"membership", run->membership.problem},
    };
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
        if (*parts[i].problem && which-- == 0) {
            *part = parts[i].name;
            *problem = parts[i].problem;
            return true;
        }
    return false;
}

bool inspect_damaged(const plsm_run_info *run)
{
    return run->damaged || run->model_file.damaged || run->model_block.damaged || run->fences.damaged ||
           run->filter.damaged || run->membership.damaged;
}

/* --- which analyzer ----------------------------------------------------------------------------------------------- */

static enum tool_exit run(struct tool *tool, int argc, char **argv)
{
    static const struct {
        const char *name;
        const struct command *command;
    } kinds[] = {
        {"run", &command_inspect_run},
        {"level", &command_inspect_level},
        {"compaction", &command_inspect_compaction},
        {"profile", &command_inspect_profile},
        {"values", &command_inspect_values},
    };
    for (size_t i = 0; argc > 1 && i < sizeof kinds / sizeof kinds[0]; i++)
        if (strcmp(argv[1], kinds[i].name) == 0) {
            char name[64]; /* what getopt calls us in its messages */
            tool->command = kinds[i].command;
            snprintf(name, sizeof name, "plsm %s", tool->command->name);
            argv[1] = name;
            return tool->command->run(tool, argc - 1, argv + 1);
        }
    int option = tool_next_option(tool, argc, argv, "", NULL);
    if (option != TOOL_OPTION_END)
        return tool_option_exit(option);
    if (optind == argc)
        return tool_usage(tool, "what to inspect is missing: run, level, compaction, profile or values");
    return tool_usage(tool, "'%s' is none of run, level, compaction, profile, values", argv[optind]);
}

const struct command command_inspect = {
    .name = "inspect",
    .arguments = "run|level|compaction|profile|values STORE",
    .summary = "Analyzes runs, levels, compactions, lookups and value logs",
    .help =
        "  run          what each run is made of; with --run or --all: where its model errs, what its filter passes\n"
        "  level        models, filters and accuracy per level\n"
        "  compaction   what training and filters cost when runs were written\n"
        "  profile      where the time of a lookup goes\n"
        "  values       how much of each value log is garbage\n\n"
        "Each shows text or, with --json, one JSON document, and all but values draw a picture with --plot=FILE.png\n"
        "or FILE.svg (by gnuplot). 'plsm inspect run --help' and so on tell more. All work beside a running mount.\n"
        "Exit code 1 when something is damaged or wrong.\n\n"
        "Example:\n  plsm inspect run --all /var/lib/words\n",
    .run = run,
};
