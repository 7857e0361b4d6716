/* Files of figures. */
#ifndef TOOLS_BENCH_CSV_H
#define TOOLS_BENCH_CSV_H

#include "tools/tool.h"

/* Opens `path` to be written anew; NULL opens nothing. Says what went wrong and returns TOOL_ERROR. */
enum tool_exit csv_open(const struct tool *tool, const char *path, FILE **out);
/* Closes it (NULL: nothing). Returns so_far, or, where that was TOOL_OK and something could not be written, TOOL_ERROR
 * after saying so. */
enum tool_exit csv_close(const struct tool *tool, const char *path, FILE *file, enum tool_exit so_far);

#endif
