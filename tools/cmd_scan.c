/* plsm scan: a range of keys, either way. */
#include <locale.h>
#include <unistd.h>

#include "tools/records.h"
#include "tools/text.h"

#include "base/banned.h"

struct scan {
    plsm_slice from, to; /* empty: open */
    bool reverse;
    uint64_t limit;
    struct records records;
};

static plsm_status scan(struct scan *s)
{
    const plsm_read_options options = {.no_value = s->records.keys_only};
    plsm_iterator *it = NULL;
    bool stopped = false;
    plsm_status status = plsm_iterator_create(s->records.db, &options, s->from, s->to, &it);
    if (status != PLSM_OK)
        return status;
    if (s->reverse)
        plsm_iterator_last(it);
    else
        plsm_iterator_first(it);
    for (uint64_t n = 0; n < s->limit && status == PLSM_OK && !stopped && plsm_iterator_valid(it); n++) {
        status = records_write(&s->records, it, &stopped);
        if (s->reverse)
            plsm_iterator_previous(it);
        else
            plsm_iterator_next(it);
    }
    if (status == PLSM_OK)
        status = plsm_iterator_status(it);
    plsm_iterator_destroy(it);
    return status;
}

/* Reads the options into *s and *prefix; TOOL_OPTION_END when the run goes on. */
static int read_options(struct tool *tool, int argc, char **argv, struct scan *s, const char **prefix)
{
    static const struct option longs[] = {
        {"keys-only", no_argument, NULL, 'k'},    {"reverse", no_argument, NULL, 'r'},
        {"limit", required_argument, NULL, 'n'},  {"null", no_argument, NULL, '0'},
        {"prefix", required_argument, NULL, 'p'}, {NULL, 0, NULL, 0},
    };
    int option = 0;
    while ((option = tool_next_option(tool, argc, argv, "krn:p:0", longs)) > 0) {
        switch (option) {
        case 'k':
            s->records.keys_only = true;
            break;
        case 'r':
            s->reverse = true;
            break;
        case '0':
            s->records.null = true;
            break;
        case 'p':
            *prefix = optarg;
            break;
        default:
            if (text_parse_number(optarg, 1000, &s->limit))
                break;
            tool_usage(tool, "--limit %s: not a number", optarg);
            return TOOL_OPTION_BAD;
        }
    }
    return option;
}

/* Decodes FROM and TO, or makes them from the prefix. */
static plsm_status read_bounds(struct tool *tool, int count, char **arguments, const char *prefix, struct scan *s)
{
    plsm_status status = PLSM_OK;
    if (prefix) {
        status = tool_key(tool, prefix, 0, &s->from);
        if (status == PLSM_OK)
            status = tool_prefix_end(s->from, &tool->keys[1]);
        s->to = buf_slice(&tool->keys[1]);
        return status;
    }
    if (count > 0)
        status = tool_key(tool, arguments[0], 0, &s->from);
    if (status == PLSM_OK && count > 1)
        status = tool_key(tool, arguments[1], 1, &s->to);
    return status;
}

static enum tool_exit run(struct tool *tool, int argc, char **argv)
{
    struct scan s = {.limit = UINT64_MAX};
    const char *prefix = NULL;
    int option = read_options(tool, argc, argv, &s, &prefix);
    if (option != TOOL_OPTION_END)
        return tool_option_exit(option);
    int count = argc - optind;
    if (!tool_check_count(tool, count, 1, 3))
        return TOOL_USAGE;
    if (prefix && count > 1)
        return tool_usage(tool, "--prefix and FROM exclude each other");
    if (read_bounds(tool, count - 1, argv + optind + 1, prefix, &s) != PLSM_OK)
        return tool_usage(tool, "%s", plsm_message());
    enum tool_exit code = tool_open(tool, argv[optind], PLSM_READ, &s.records.db);
    if (code != TOOL_OK)
        return code;
    if (isatty(STDOUT_FILENO) && !s.records.null) {
        setlocale(LC_CTYPE, "");
        s.records.shown = true;
    }
    plsm_status status = scan(&s);
    if (status != PLSM_OK)
        code = tool_error(tool, status);
    records_free(&s.records);
    return tool_close(tool, s.records.db, code);
}

const struct command command_scan = {
    .name = "scan",
    .arguments = "STORE [FROM [TO]]",
    .summary = "Lists keys and values in the order of keys",
    .help =
        "Keys from FROM on (it included) up to TO (it not included), one record a line: KEY, a tab, VALUE, with the\n"
        "escapes \\t \\n \\\\ \\0 \\xHH.\n\n"
        "  -k, --keys-only   only the keys\n"
        "  -r, --reverse     from the last to the first\n"
        "  -n, --limit N     at most N records\n"
        "  -p, --prefix P    only keys that start with P\n"
        "  -0, --null        KEY NUL VALUE NUL, without escapes\n"
        "  -e, --escaped     FROM, TO and P have escapes\n\n"
        "Example:\n  plsm scan --prefix etc/ --limit 10 /var/lib/words\n",
    .run = run,
};
