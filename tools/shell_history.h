/* The lines that were typed, kept from one session of `plsm shell` to the next.
 *
 * A file of plain lines, the oldest first: $XDG_STATE_HOME/plsm/history, ~/.local/state/plsm/history where that is not
 * set (as the XDG Base Directory Specification has it). Only its owner may read it, as it shows keys and values. Each
 * line is appended as it is typed, so shells that run at the same time do not take each other's lines away. */
#ifndef TOOLS_SHELL_HISTORY_H
#define TOOLS_SHELL_HISTORY_H

#include "base/bytes.h"

enum { SHELL_HISTORY_LINES = 1000 };

struct shell_history;

/* Opens the file, makes it and its directories where they are missing, and calls `each` for the newest
 * SHELL_HISTORY_LINES lines, the oldest first; the file is cut to these when it has twice as many. NULL: there is no
 * such place, or it cannot be written; then there is no history. */
struct shell_history *shell_history_open(void (*each)(void *arg, const char *line), void *arg);
/* Lines with newlines or NULs are left out. Accepts NULL, as shell_history_close does. */
void shell_history_add(struct shell_history *history, plsm_slice line);
void shell_history_close(struct shell_history *history);

#endif
