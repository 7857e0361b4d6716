/* See plot.h. What gnuplot draws comes through its standard output, so a picture is there as a whole or not at all. */
#include "tools/plot.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <spawn.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/error.h"

#include "base/banned.h"

extern char **environ;

static bool has_suffix(const char *path, const char *suffix)
{
    size_t size = strlen(path), own = strlen(suffix);
    return size > own && strcmp(path + size - own, suffix) == 0;
}

/* Where PATH has gnuplot; false: nowhere. */
static bool find_gnuplot(char *out, size_t size)
{
    const char *path = getenv("PATH");
    while (path && *path) {
        size_t length = strcspn(path, ":");
        int written = snprintf(out, size, "%.*s/gnuplot", (int)length, path);
        if (length > 0 && written > 0 && (size_t)written < size && access(out, X_OK) == 0)
            return true;
        path += length + (path[length] == ':');
    }
    return false;
}

enum tool_exit gnuplot_possible(const struct tool *tool, const char *path)
{
    char gnuplot[PATH_MAX];
    if (!has_suffix(path, ".png") && !has_suffix(path, ".svg"))
        return tool_usage(tool, "--plot=%s: a picture is a .png or a .svg", path);
    if (find_gnuplot(gnuplot, sizeof gnuplot))
        return TOOL_OK;
    tool_say(tool, "--plot needs gnuplot, which is not in PATH (Debian: apt-get install gnuplot-nox)");
    return TOOL_ERROR;
}

plsm_status gnuplot_quote(struct buf *script, const char *text)
{
    TRY(buf_append(script, "'", 1));
    for (; *text; text++) {
        unsigned char byte = (unsigned char)*text;
        TRY(buf_append(script, byte == '\'' ? "''" : byte < 0x20 ? " " : text, byte == '\'' ? 2 : 1));
    }
    return buf_append(script, "'", 1);
}

/* Writes all of it; a gnuplot that ends early is told by its exit code. */
static void feed(int to, plsm_slice text)
{
    const char *at = text.data;
    while (text.size > 0) {
        ssize_t put = write(to, at, text.size);
        if (put < 0 && errno == EINTR)
            continue;
        if (put <= 0)
            return;
        at += put;
        text.size -= (size_t)put;
    }
}

/* Runs gnuplot with `head` and `script` on its standard input and its standard output into `output`; its exit code, or
 * -1 with errno set. */
static int run_gnuplot(int output, plsm_slice head, plsm_slice script)
{
    char gnuplot[PATH_MAX];
    char *const arguments[] = {(char[]){"gnuplot"}, (char[]){"-"}, NULL};
    posix_spawn_file_actions_t actions;
    int ends[2], status = 0;
    pid_t child = 0;
    if (!find_gnuplot(gnuplot, sizeof gnuplot)) {
        errno = ENOENT;
        return -1;
    }
    if (pipe2(ends, O_CLOEXEC) != 0)
        return -1;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, ends[0], STDIN_FILENO);
    posix_spawn_file_actions_adddup2(&actions, output, STDOUT_FILENO);
    int error = posix_spawn(&child, gnuplot, &actions, NULL, arguments, environ);
    posix_spawn_file_actions_destroy(&actions);
    close(ends[0]);
    if (error == 0) {
        feed(ends[1], head);
        feed(ends[1], script);
    }
    close(ends[1]);
    while (error == 0 && waitpid(child, &status, 0) < 0)
        error = errno == EINTR ? 0 : errno;
    errno = error;
    return error ? -1 : WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static void make_head(char *out, size_t size, const char *path, unsigned width, unsigned height)
{
    if (has_suffix(path, ".svg"))
        snprintf(out, size, "set terminal svg size %u,%u noenhanced background rgb 'white'\n", width, height);
    else /* the terminal with smooth lines is not in every gnuplot */
        snprintf(out, size,
                 "if (strstrt(GPVAL_TERMINALS, 'pngcairo')) set terminal pngcairo size %u,%u noenhanced; else set "
                 "terminal png size %u,%u noenhanced\n",
                 width, height, width, height);
}

enum tool_exit gnuplot_draw(const struct tool *tool, const char *path, unsigned width, unsigned height,
                            plsm_slice script)
{
    char head[512], temporary[PATH_MAX];
    if ((size_t)snprintf(temporary, sizeof temporary, "%s.part", path) >= sizeof temporary) {
        tool_say(tool, "%s: %s", path, strerror(ENAMETOOLONG));
        return TOOL_ERROR;
    }
    int output = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (output < 0) {
        tool_say(tool, "%s: %s", temporary, strerror(errno));
        return TOOL_ERROR;
    }
    make_head(head, sizeof head, path, width, height);
    int code = run_gnuplot(output, slice_of(head), script);
    if (code < 0)
        tool_say(tool, "gnuplot: %s", strerror(errno));
    else if (code > 0)
        tool_say(tool, "gnuplot failed with exit code %d; nothing was drawn", code);
    if (close(output) != 0 || (code == 0 && rename(temporary, path) != 0)) {
        tool_say(tool, "%s: %s", path, strerror(errno));
        code = -1;
    }
    if (code != 0)
        unlink(temporary);
    return code == 0 ? TOOL_OK : TOOL_ERROR;
}

enum tool_exit gnuplot_draw_made(const struct tool *tool, const char *path, unsigned width, unsigned height,
                                 plsm_status made, struct buf *script)
{
    enum tool_exit code =
        made == PLSM_OK ? gnuplot_draw(tool, path, width, height, buf_slice(script)) : tool_error(tool, made);
    buf_free(script);
    return code;
}
