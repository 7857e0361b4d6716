/* What every subcommand of `plsm` shares: its table entry, options, exit codes, messages, opening the store, output. */
#ifndef TOOLS_TOOL_H
#define TOOLS_TOOL_H

#include <getopt.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "base/bytes.h"
#include "store/plsm.h"

#define PLSM_VERSION_TEXT "0.1.0"

/* Exit codes: part of the interface. */
enum tool_exit {
    TOOL_OK = 0,
    TOOL_NEGATIVE = 1, /* the key is not there; problems were found */
    TOOL_USAGE = 2,    /* the command line is wrong; nothing was done */
    TOOL_ERROR = 3,    /* it could not be done */
};

struct tool;

struct command {
    const char *name, *arguments, *summary;
    const char *help; /* options and an example, behind the usage line */
    bool writes;      /* has --sync */
    enum tool_exit (*run)(struct tool *tool, int argc, char **argv);
};

/* One run of a subcommand. */
struct tool {
    const struct command *command;
    struct buf options; /* all -o joined by commas, NUL-terminated; empty when there were none */
    bool sync, escaped;
    struct buf keys[2]; /* decoded arguments, see tool_key */
};

/* --- command line ------------------------------------------------------------------------------------------------- */

enum { TOOL_OPTION_END = -1, TOOL_OPTION_BAD = -2, TOOL_OPTION_HELP = -3 };
enum { TOOL_LONG_SYNC = 0x100, TOOL_LONG_FIRST }; /* long options of a subcommand without a letter start here */

/* The next option that the subcommand must handle itself (its letter or number); -o, -e, --sync and --help are handled
 * inside. `shorts` and `longs` (NULL-terminated, at most 40) are the subcommand's own. After TOOL_OPTION_BAD and
 * TOOL_OPTION_HELP everything has been said: leave with tool_option_exit. At TOOL_OPTION_END optind is the first
 * argument. */
int tool_next_option(struct tool *tool, int argc, char **argv, const char *shorts, const struct option *longs);
static inline enum tool_exit tool_option_exit(int option)
{
    return option == TOOL_OPTION_HELP ? TOOL_OK : TOOL_USAGE;
}
/* For subcommands without options of their own: handles all, true when the run goes on, otherwise *exit_code is
 * set. Also checks that `least` to `most` arguments are left. */
bool tool_plain_options(struct tool *tool, int argc, char **argv, int least, int most, enum tool_exit *exit_code);
/* Says what is wrong with the command line and returns TOOL_USAGE. */
enum tool_exit tool_usage(const struct tool *tool, const char *format, ...) __attribute__((format(printf, 2, 3)));
bool tool_check_count(const struct tool *tool, int count, int least, int most);
void tool_help(const struct command *command, FILE *out);

/* Adds options of the store, "NAME=VALUE,...", to those of -o: where one is given twice the last one counts. */
plsm_status tool_add_options(struct tool *tool, const char *text);

/* The bytes of a key argument: as they are or, with -e, with escapes decoded into tool->keys[slot]. */
plsm_status tool_key(struct tool *tool, const char *argument, int slot, plsm_slice *key);
/* The smallest key behind all keys that start with `prefix`: its last byte below 0xff raised by one, what follows cut.
 * "ab" -> "ac", "a\xff" -> "b", "\xff" -> empty (no bound). */
plsm_status tool_prefix_end(plsm_slice prefix, struct buf *out);

/* --- errors ------------------------------------------------------------------------------------------------------- */

/* "plsm SUBCOMMAND: TEXT" on stderr. */
void tool_say(const struct tool *tool, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The same with plsm_message() of a failed call (the name of the status where it has none); returns TOOL_ERROR. */
enum tool_exit tool_error(const struct tool *tool, plsm_status status);

/* --- the store ---------------------------------------------------------------------------------------------------- */

/* Checks the options of -o; says what is wrong. */
enum tool_exit tool_check_options(const struct tool *tool);
/* Opens with the options of -o. On failure says what to do and returns the exit code; TOOL_OK otherwise. */
enum tool_exit tool_open(const struct tool *tool, const char *path, plsm_open_flags flags, plsm **db);
/* Closes; its error counts when the work went well until then. */
enum tool_exit tool_close(const struct tool *tool, plsm *db, enum tool_exit so_far);
plsm_durability tool_durability(const struct tool *tool);

/* --- output ------------------------------------------------------------------------------------------------------- */

/* Writes to stdout; false when that failed (and then for good): stop and return tool_output_end. */
bool tool_write(const void *data, size_t size);
bool tool_print(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* A line of `plsm stats`, for plsm_statistics. `arg` is a string: of names that begin with it; NULL: of all. */
void tool_print_statistic(void *arg, const plsm_statistic *statistic);
/* Hands on what was written so far; likewise. */
bool tool_flush(void);
/* Flushes stdout and turns an output error into a message and TOOL_ERROR; a broken pipe ends the process by SIGPIPE
 * silently, as other tools do, but only from tool_main after the store is closed. */
enum tool_exit tool_output_end(const struct tool *tool, enum tool_exit so_far);

/* --- the subcommands ---------------------------------------------------------------------------------------------- */

extern const struct command command_create, command_get, command_put, command_delete, command_scan, command_load,
    command_ingest, command_tune, command_checkpoint, command_restore, command_dump, command_stats, command_check,
    command_compact, command_retrain, command_inspect, command_bench, command_write, command_flush, command_convert,
    command_shell;

#endif
