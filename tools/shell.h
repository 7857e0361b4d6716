/* What the parts of `plsm shell` share: the session, the table of its commands, and what these are made of. */
#ifndef TOOLS_SHELL_H
#define TOOLS_SHELL_H

#include "tools/shell_input.h"
#include "tools/shell_words.h"
#include "tools/target.h"

struct shell {
    struct tool *tool;
    const char *path;     /* of the store */
    struct target target; /* the store, or the daemon that has it mounted */
    plsm *db;             /* to read from while a command runs: the store, or it opened beside the daemon */
    struct shell_input input;
    size_t options_size;  /* of the options that were given; `switch` adds to them */
    uint64_t line_number; /* of a script */
    char index[32];       /* in use, see shell_index */
    bool interactive;     /* somebody sits at a terminal */
    bool timing, bail;
    bool ended;              /* no further line is read */
    enum tool_exit worst;    /* of all commands so far */
    struct shell_words words; /* of the line that runs */
    plsm_value value;
};

/* What a word behind a command may be, for completion. */
enum shell_argument { SHELL_ANYTHING, SHELL_KEY, SHELL_FILE, SHELL_COMMAND, SHELL_WORD };

struct shell_command {
    const char *name, *arguments, *summary;
    unsigned least, most; /* words behind its name */
    bool reads;           /* it needs shell->db */
    bool rest;            /* what follows is one argument with all its spaces, unless it stands in quotes */
    enum shell_argument takes[2]; /* as its first and second argument */
    const char *choices;          /* of SHELL_WORD: each followed by a bar */
    /* Does it; the arguments are words 1 and up. PLSM_NOT_FOUND: the key is not there, which is no failure. */
    plsm_status (*run)(struct shell *shell, const struct shell_words *words);
};

extern const struct shell_command shell_words_table[], shell_course_table[]; /* each ends with a NULL name */
const struct shell_command *shell_command_find(plsm_slice name); /* NULL: none */

/* Runs one line. Errors are told and kept in shell->worst. */
void shell_run(struct shell *shell, plsm_slice line);
void shell_say(struct shell *shell, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Opens the store, or finds the daemon; as target_open. */
enum tool_exit shell_open(struct shell *shell, plsm_open_flags flags);
/* Opens shell->db for reading beside a daemon; with the store itself it is there already. */
plsm_status shell_reader_open(struct shell *shell);
void shell_reader_close(struct shell *shell);
/* The index in use, or "" where the engine has none. Needs shell->db. */
void shell_index(struct shell *shell, char *out, size_t size);

/* Candidates for the last word of a line. */
plsm_status shell_complete(struct shell *shell, plsm_slice line, struct shell_completion *out);

/* --- timing ------------------------------------------------------------------------------------------------------- */

enum { SHELL_COUNTS = 5 };
struct shell_timing {
    uint64_t start_ns;
    uint64_t counts[SHELL_COUNTS]; /* of the engine, in front of the command */
};
void shell_timing_start(struct shell *shell, struct shell_timing *timing);
/* Writes to standard error how long it took and what the store did meanwhile. */
void shell_timing_end(struct shell *shell, const struct shell_timing *timing);

#endif
