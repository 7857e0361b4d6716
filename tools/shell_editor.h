/* A line at a terminal, edited, with history and completion: by libedit, where the build has it. */
#ifndef TOOLS_SHELL_EDITOR_H
#define TOOLS_SHELL_EDITOR_H

#include "base/bytes.h"

enum shell_read {
    SHELL_READ_LINE,
    SHELL_READ_END,         /* of input, or nothing more can be written to standard output */
    SHELL_READ_INTERRUPTED, /* by the key that interrupts; what was typed is dropped */
    SHELL_READ_FAILED,      /* plsm_message() tells why; a line that is too long has been passed over */
};

/* What may stand in place of the word in front of the cursor. Zero it to start; the buffers are the caller's. */
struct shell_completion {
    size_t from;       /* where in the line that word begins */
    struct buf text;   /* what all candidates begin with, as it is written in a line */
    bool whole;        /* there is one candidate, and `text` is all of it: a space may follow */
    struct buf list;   /* the candidates as they are written, each with a NUL behind it; the first ones of many */
    size_t count;      /* of those in the list */
    bool more;         /* there are more */
    bool is_file_name; /* none of this: it is the name of a file that belongs here */
};

struct shell_editor;

struct shell_editor_hooks {
    /* Fills in `out` for the line up to the cursor. A failure is no candidate. */
    plsm_status (*complete)(void *arg, plsm_slice line, struct shell_completion *out);
    void *arg;
};

#ifdef HAVE_LIBEDIT
/* NULL: the terminal cannot do it, or there is no memory: then lines are read as they come. Reads the history
 * (tools/shell_history.h). */
struct shell_editor *shell_editor_create(const struct shell_editor_hooks *hooks);
void shell_editor_destroy(struct shell_editor *editor); /* accepts NULL */
/* The next line without its newline, valid until the next call. `remember`: it goes into the history. */
enum shell_read shell_editor_next(struct shell_editor *editor, const char *prompt, bool remember, plsm_slice *line);
#else
static inline struct shell_editor *shell_editor_create(const struct shell_editor_hooks *hooks)
{
    (void)hooks;
    return NULL;
}
static inline void shell_editor_destroy(struct shell_editor *editor)
{
    (void)editor;
}
static inline enum shell_read shell_editor_next(struct shell_editor *editor, const char *prompt, bool remember,
                                                plsm_slice *line)
{
    (void)editor, (void)prompt, (void)remember, (void)line;
    return SHELL_READ_END;
}
#endif

#endif
