#include "tools/bench/csv.h"

#include <errno.h>

#include "base/error.h"

#include "base/banned.h"

enum tool_exit csv_open(const struct tool *tool, const char *path, FILE **out)
{
    *out = NULL;
    if (!path)
        return TOOL_OK;
    *out = fopen(path, "w");
    return *out ? TOOL_OK : tool_error(tool, fail_errno(errno, path, "write"));
}

enum tool_exit csv_close(const struct tool *tool, const char *path, FILE *file, enum tool_exit so_far)
{
    if (!file)
        return so_far;
    bool failed = ferror(file) != 0;
    if (fclose(file) != 0 || failed)
        return so_far == TOOL_OK ? tool_error(tool, fail_errno(errno ? errno : EIO, path, "write")) : so_far;
    return so_far;
}
