/* plsm shell: commands for a store, typed at a terminal or read from a script. */
#include <locale.h>
#include <unistd.h>

#include "base/error.h"
#include "tools/shell.h"

#include "base/banned.h"

enum { LONG_ENGINE = TOOL_LONG_FIRST, LONG_INDEX, LONG_TIMING, LONG_BAIL };

/* --engine and --index are options of the store by another name. */
static bool add_option(struct tool *tool, const char *name, const char *value)
{
    char text[128];
    int size = snprintf(text, sizeof text, "%s=%s", name, value);
    if ((size_t)size >= sizeof text || strchr(value, ',')) {
        tool_usage(tool, "--%s: there is none of that name", name);
        return false;
    }
    if (tool_add_options(tool, text) == PLSM_OK)
        return true;
    tool_error(tool, PLSM_NO_MEMORY);
    return false;
}

static int read_options(struct tool *tool, int argc, char **argv, struct shell *shell, plsm_open_flags *flags)
{
    static const struct option longs[] = {{"create", no_argument, NULL, 'c'},
                                          {"engine", required_argument, NULL, LONG_ENGINE},
                                          {"index", required_argument, NULL, LONG_INDEX},
                                          {"timing", no_argument, NULL, LONG_TIMING},
                                          {"bail", no_argument, NULL, LONG_BAIL},
                                          {NULL, 0, NULL, 0}};
    int option = 0;
    while ((option = tool_next_option(tool, argc, argv, "c", longs)) > 0) {
        bool good = true;
        if (option == 'c')
            *flags = PLSM_CREATE;
        else if (option == LONG_TIMING)
            shell->timing = true;
        else if (option == LONG_BAIL)
            shell->bail = true;
        else
            good = add_option(tool, option == LONG_ENGINE ? "engine" : "index", optarg);
        if (!good)
            return TOOL_OPTION_BAD;
    }
    return option;
}

static plsm_status complete(void *arg, plsm_slice line, struct shell_completion *out)
{
    return shell_complete(arg, line, out);
}

struct about {
    char engine[32];
    uint64_t keys;
    bool counted;
};

static void note_about(void *arg, const plsm_statistic *statistic)
{
    struct about *about = arg;
    if (strcmp(statistic->name, "store.engine") == 0 && statistic->is_text)
        snprintf(about->engine, sizeof about->engine, "%s", statistic->text);
    if (strcmp(statistic->name, "store.keys") == 0 && statistic->is_integer) {
        about->keys = statistic->integer;
        about->counted = true;
    }
}

/* What somebody at a terminal sees first. */
static plsm_status greet(struct shell *shell)
{
    struct about about = {0};
    char keys[48] = "";
    TRY(shell_reader_open(shell));
    plsm_statistics(shell->db, note_about, &about);
    shell_index(shell, shell->index, sizeof shell->index);
    shell_reader_close(shell);
    if (about.counted)
        snprintf(keys, sizeof keys, ", about %llu keys", (unsigned long long)about.keys);
    tool_print("plsm " PLSM_VERSION_TEXT ": %s, engine %s%s%s. help lists the commands, exit ends.\n", shell->path,
               about.engine, keys, shell->target.remote ? ", mounted: changes go to its daemon" : "");
    return PLSM_OK;
}

static plsm_status set_up_terminal(struct shell *shell)
{
    const struct shell_editor_hooks hooks = {complete, shell};
    setlocale(LC_CTYPE, ""); /* for characters of several bytes in what is typed */
    shell_interrupt_catch();
    shell->input.interactive = true;
    TRY(greet(shell));
    shell->input.editor = shell_editor_create(&hooks);
    return PLSM_OK;
}

/* All lines until the end of input, `exit`, or the first error where that was asked for. */
static void read_lines(struct shell *shell)
{
    while (!shell->ended) {
        plsm_slice line = {0};
        char prompt[64] = "plsm> ";
        if (*shell->index)
            snprintf(prompt, sizeof prompt, "plsm (%s)> ", shell->index);
        switch (shell_input_next(&shell->input, prompt, true, &line)) {
        case SHELL_READ_LINE:
            shell->line_number++;
            shell_run(shell, line);
            break;
        case SHELL_READ_INTERRUPTED:
            tool_print("\n");
            break;
        case SHELL_READ_FAILED:
            shell->line_number++;
            shell_say(shell, "%s", plsm_message());
            shell->worst = TOOL_ERROR;
            shell->ended = shell->bail;
            break;
        case SHELL_READ_END:
            if (shell->interactive)
                tool_print("\n");
            return;
        }
    }
}

static enum tool_exit run(struct tool *tool, int argc, char **argv)
{
    struct shell shell = {.tool = tool};
    plsm_open_flags flags = 0;
    int option = read_options(tool, argc, argv, &shell, &flags);
    if (option != TOOL_OPTION_END)
        return tool_option_exit(option);
    if (!tool_check_count(tool, argc - optind, 1, 1))
        return TOOL_USAGE;
    shell.path = argv[optind];
    shell.options_size = tool->options.size;
    shell.interactive = isatty(STDIN_FILENO) == 1 && isatty(STDOUT_FILENO) == 1;
    enum tool_exit code = shell_open(&shell, flags);
    if (code != TOOL_OK)
        return code;
    plsm_status status = shell.interactive ? set_up_terminal(&shell) : PLSM_OK;
    if (status == PLSM_OK)
        read_lines(&shell);
    else
        shell.worst = tool_error(tool, status);
    shell_input_free(&shell.input);
    shell_words_free(&shell.words);
    plsm_value_free(&shell.value);
    code = shell.interactive && status == PLSM_OK ? TOOL_OK : shell.worst;
    return target_close(tool, &shell.target, code);
}

const struct command command_shell = {
    .name = "shell",
    .arguments = "STORE",
    .summary = "Takes commands for a store, at a terminal or from a script",
    .help =
        "At a terminal: with line editing, history, and completion by the tab key. Otherwise the lines of standard\n"
        "input are a script. 'help' in it lists the commands: put, get, range, remove, flush, stats, switch, reset,\n"
        "timing, exit, and p, g, r, d, l, s for 32-bit integers, the language of the course CS265.\n"
        "A command that fails is told, with its line, and the next one goes on; the exit code is 3 then, and 1 when\n"
        "only keys were not there. It is 0 after a session at a terminal.\n"
        "A store that is mounted is changed through its daemon, and read beside it.\n\n"
        "  -c, --create    make the store when there is none\n"
        "  --engine=NAME   as -o engine=NAME\n"
        "  --index=NAME    as -o index=NAME\n"
        "  --timing        tell on standard error how long each command takes, and what it reads and writes\n"
        "  --bail          end at the first command that fails\n\n"
        "Example:\n  plsm shell /var/lib/words\n  printf 'p 10 7\\ng 10\\nr 0 100\\n' | plsm shell --create "
        "/tmp/numbers\n",
    .writes = true,
    .run = run,
};
