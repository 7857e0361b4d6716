/* See tool.h. Messages name the subcommand first, so that in a pipeline it is clear who speaks. */
#include "tools/tool.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>

#include "base/error.h"
#include "tools/text.h"

#include "base/banned.h"

/* --- command line ------------------------------------------------------------------------------------------------- */

void tool_help(const struct command *command, FILE *out)
{
    fprintf(out, "Usage: plsm %s [options]%s%s\n%s.\n\n%s", command->name, *command->arguments ? " " : "",
            command->arguments, command->summary, command->help);
    fputs("\nOptions of every subcommand:\n"
          "  -o OPTIONS   options of the store, NAME=VALUE,... (plsm create --help lists them)\n",
          out);
    if (command->writes)
        fputs("      --sync   each write survives power loss before the next begins\n", out);
    fputs("  -h, --help   this text\n", out);
}

enum tool_exit tool_usage(const struct tool *tool, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fprintf(stderr, "plsm %s: ", tool->command->name);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fprintf(stderr, "\nUsage: plsm %s [options]%s%s\nTry 'plsm %s --help'.\n", tool->command->name,
            *tool->command->arguments ? " " : "", tool->command->arguments, tool->command->name);
    return TOOL_USAGE;
}

/* Joined with commas, and a terminator behind the end. */
plsm_status tool_add_options(struct tool *tool, const char *text)
{
    struct buf *options = &tool->options;
    if (options->size > 0)
        options->data[options->size - 1] = ',';
    return buf_append(options, text, strlen(text) + 1);
}

int tool_next_option(struct tool *tool, int argc, char **argv, const char *shorts, const struct option *longs)
{
    /* One table for getopt: the common options first, then the subcommand's own. */
    enum { OWN_MAX = 40 };
    struct option all[OWN_MAX + 5] = {{"options", required_argument, NULL, 'o'},
                                      {"help", no_argument, NULL, 'h'},
                                      {"escaped", no_argument, NULL, 'e'}};
    char letters[64];
    size_t count = 3;
    if (tool->command->writes)
        all[count++] = (struct option){"sync", no_argument, NULL, TOOL_LONG_SYNC};
    for (; longs && longs->name; longs++) {
        INVARIANT(count < OWN_MAX + 4);
        all[count++] = *longs;
    }
    snprintf(letters, sizeof letters, "o:he%s", shorts);
    for (;;) {
        int option = getopt_long(argc, argv, letters, all, NULL);
        switch (option) {
        case 'o':
            if (tool_add_options(tool, optarg) == PLSM_OK)
                break;
            tool_error(tool, PLSM_NO_MEMORY);
            return TOOL_OPTION_BAD;
        case 'e':
            tool->escaped = true;
            break;
        case TOOL_LONG_SYNC:
            tool->sync = true;
            break;
        case 'h':
            tool_help(tool->command, stdout);
            return TOOL_OPTION_HELP;
        case '?': /* getopt has said which */
            fprintf(stderr, "Try 'plsm %s --help'.\n", tool->command->name);
            return TOOL_OPTION_BAD;
        default:
            return option;
        }
    }
}

/* Names the first argument that is missing as the usage line does: "KEY" of "STORE KEY... | --range STORE FROM TO". */
static void tell_missing(const struct tool *tool, int count)
{
    const char *word = tool->command->arguments;
    for (; count > 0 && *word; count--) {
        word += strcspn(word, " ");
        word += strspn(word, " ");
    }
    int size = (int)strspn(word, "ABCDEFGHIJKLMNOPQRSTUVWXYZ");
    if (size == 5 && strncmp(word, "STORE", 5) == 0)
        tool_usage(tool, "the store is missing");
    else if (size > 0)
        tool_usage(tool, "%.*s is missing", size, word);
    else
        tool_usage(tool, "an argument is missing");
}

bool tool_check_count(const struct tool *tool, int count, int least, int most)
{
    if (count < least)
        tell_missing(tool, count);
    else if (count > most)
        tool_usage(tool, "too many arguments");
    return count >= least && count <= most;
}

bool tool_plain_options(struct tool *tool, int argc, char **argv, int least, int most, enum tool_exit *exit_code)
{
    int option = tool_next_option(tool, argc, argv, "", NULL);
    if (option != TOOL_OPTION_END)
        *exit_code = tool_option_exit(option);
    else if (tool_check_count(tool, argc - optind, least, most))
        return true;
    else
        *exit_code = TOOL_USAGE;
    return false;
}

plsm_status tool_key(struct tool *tool, const char *argument, int slot, plsm_slice *key)
{
    if (!tool->escaped) {
        *key = slice_of(argument);
        return PLSM_OK;
    }
    struct buf *decoded = &tool->keys[slot];
    decoded->size = 0;
    TRY(text_unescape_all(decoded, slice_of(argument)));
    *key = buf_slice(decoded);
    return PLSM_OK;
}

plsm_status tool_prefix_end(plsm_slice prefix, struct buf *out)
{
    out->size = 0;
    plsm_status status = buf_append(out, prefix.data, prefix.size);
    while (out->size > 0 && out->data[out->size - 1] == 0xff)
        out->size--;
    if (status == PLSM_OK && out->size > 0)
        out->data[out->size - 1]++;
    return status;
}

/* --- errors ------------------------------------------------------------------------------------------------------- */

void tool_say(const struct tool *tool, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fprintf(stderr, "plsm %s: ", tool->command->name);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
}

enum tool_exit tool_error(const struct tool *tool, plsm_status status)
{
    const char *message = plsm_message();
    if (status == PLSM_NO_MEMORY || !*message)
        message = plsm_status_name(status);
    tool_say(tool, "%s", message);
    return TOOL_ERROR;
}

/* --- the store ---------------------------------------------------------------------------------------------------- */

static const char *options_of(const struct tool *tool)
{
    return tool->options.size ? (const char *)tool->options.data : NULL;
}

enum tool_exit tool_check_options(const struct tool *tool)
{
    plsm_status status = plsm_options_check(options_of(tool));
    if (status == PLSM_OK)
        return TOOL_OK;
    tool_error(tool, status);
    fputs("The options are listed by 'plsm create --help'.\n", stderr);
    return TOOL_USAGE;
}

enum tool_exit tool_open(const struct tool *tool, const char *path, plsm_open_flags flags, plsm **db)
{
    /* Checked before anything is touched, and told apart: a wrong option is a wrong command line. */
    enum tool_exit code = tool_check_options(tool);
    if (code != TOOL_OK)
        return code;
    plsm_status status = plsm_open(path, flags, options_of(tool), db);
    if (status == PLSM_OK)
        return TOOL_OK;
    tool_error(tool, status);
    if (status == PLSM_LOCKED)
        fprintf(stderr,
                "The store is in use by another process, a mount or another plsm, and one process writes at a time.\n"
                "End that one (a mount: fusermount3 -u DIR) and try again. Through a mount work put, delete, load,\n"
                "write, shell, flush, compact and retrain, and checkpoints by its .plsm/ctl; beside any writer get,\n"
                "scan, dump, stats, check and inspect.\n");
    return TOOL_ERROR;
}

enum tool_exit tool_close(const struct tool *tool, plsm *db, enum tool_exit so_far)
{
    plsm_status status = plsm_close(db);
    return status == PLSM_OK ? so_far : so_far == TOOL_OK ? tool_error(tool, status) : so_far;
}

plsm_durability tool_durability(const struct tool *tool)
{
    return tool->sync ? PLSM_SYNC : PLSM_NONE;
}

/* --- output ------------------------------------------------------------------------------------------------------- */

/* Kept until the end, as stdio keeps its error flag but forgets the reason. */
static int output_error; /* errno of the first failed write to stdout */

bool tool_write(const void *data, size_t size)
{
    if (output_error)
        return false;
    if (size > 0 && fwrite(data, 1, size, stdout) != size)
        output_error = errno ? errno : EIO;
    return output_error == 0;
}

bool tool_print(const char *format, ...)
{
    va_list arguments;
    if (output_error)
        return false;
    va_start(arguments, format);
    if (vfprintf(stdout, format, arguments) < 0)
        output_error = errno ? errno : EIO;
    va_end(arguments);
    return output_error == 0;
}

bool tool_flush(void)
{
    if (!output_error && fflush(stdout) != 0)
        output_error = errno ? errno : EIO;
    return output_error == 0;
}

enum tool_exit tool_output_end(const struct tool *tool, enum tool_exit so_far)
{
    if (!output_error && (fflush(stdout) != 0 || ferror(stdout)))
        output_error = errno ? errno : EIO;
    if (!output_error)
        return so_far;
    if (output_error == EPIPE) {
        /* main ignores SIGPIPE only when it was not ignored before: now that the store is closed, end as others do. */
        struct sigaction action = {0};
        sigaction(SIGPIPE, NULL, &action);
        if (action.sa_handler != SIG_IGN) {
            signal(SIGPIPE, SIG_DFL);
            raise(SIGPIPE);
        }
    }
    tool_say(tool, "standard output: %s", strerror(output_error));
    return TOOL_ERROR;
}
