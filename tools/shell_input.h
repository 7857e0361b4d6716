/* Where the lines of `plsm shell` come from: a script on standard input, or somebody at a terminal. */
#ifndef TOOLS_SHELL_INPUT_H
#define TOOLS_SHELL_INPUT_H

#include "base/bytes.h"
#include "tools/shell_editor.h"

enum { SHELL_LINE_MAX = 16 << 20 }; /* bytes */

/* Lines as they come, without editing. Zero it to start, free it with shell_input_free. */
struct shell_input {
    bool interactive;            /* a prompt is written in front of waiting */
    struct shell_editor *editor; /* NULL: the lines are not edited. Owned */
    struct buf bytes;            /* read from standard input, */
    size_t at;                   /* of which so many have been handed out */
    size_t searched;             /* where to look on for a newline */
    bool ended, skipping;        /* standard input is at its end; within a line that is too long */
};

/* The next line, without its newline and a carriage return in front of that; valid until the next call. Hands on all
 * output before it waits, so that programs can talk to the shell through pipes. `remember`: for the history. */
enum shell_read shell_input_next(struct shell_input *input, const char *prompt, bool remember, plsm_slice *line);
void shell_input_free(struct shell_input *input);

/* From now on the key that interrupts does not end the process; shell_interrupted tells. */
void shell_interrupt_catch(void);
/* Whether it was pressed since shell_interrupt_clear. */
bool shell_interrupted(void);
void shell_interrupt_clear(void);

#endif
