/* See shell_history.h. Whatever fails here costs lines of the history, and nothing else: no error is told. */
#include "tools/shell_history.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"

#include "base/banned.h"

enum { FILE_BYTES_MAX = 16 << 20 }; /* of a larger file the end is read */

struct shell_history {
    int fd; /* appends */
};

/* Makes the directories of `path` behind its first `from` bytes, for their owner alone. */
static void make_directories(char *path, size_t from)
{
    for (char *slash = path + from; (slash = strchr(slash, '/')); slash++) {
        *slash = '\0';
        mkdir(path, 0700);
        *slash = '/';
    }
}

/* False: there is no place for it. */
static bool find_path(char path[PATH_MAX])
{
    const char *state = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
    size_t given = 1; /* directories below it are made where they are missing */
    int size = -1;
    if (state && *state == '/') {
        size = snprintf(path, PATH_MAX, "%s/plsm/history", state);
    } else if (home && *home == '/') {
        given = strlen(home);
        size = snprintf(path, PATH_MAX, "%s/.local/state/plsm/history", home);
    }
    if (size < 0 || size >= PATH_MAX)
        return false;
    make_directories(path, given);
    return true;
}

/* All of the file, or its end. */
static bool read_file(int fd, struct buf *out)
{
    struct stat file = {0};
    if (fstat(fd, &file) != 0 || !S_ISREG(file.st_mode))
        return false;
    off_t at = file.st_size > FILE_BYTES_MAX ? file.st_size - FILE_BYTES_MAX : 0;
    size_t size = (size_t)(file.st_size - at);
    if (buf_reserve(out, size + 1) != PLSM_OK)
        return false;
    while (out->size < size) {
        ssize_t got = pread(fd, out->data + out->size, size - out->size, at + (off_t)out->size);
        if (got <= 0)
            break;
        out->size += (size_t)got;
    }
    return true;
}

/* Where the newest SHELL_HISTORY_LINES lines of the text begin; *lines becomes how many it has in all. */
static size_t newest(const struct buf *text, size_t *lines)
{
    size_t from = 0;
    *lines = 0;
    for (size_t at = text->size; at > 0; at--) {
        if (text->data[at - 1] != '\n')
            continue;
        if (*lines == SHELL_HISTORY_LINES)
            from = at;
        ++*lines;
    }
    return from;
}

/* Puts a shorter file in place of it, and appends to that one from now on. */
static void cut(struct shell_history *history, const char *path, plsm_slice rest)
{
    char other[PATH_MAX + 8];
    snprintf(other, sizeof other, "%s.XXXXXX", path);
    int fd = mkostemp(other, O_APPEND | O_CLOEXEC); /* for its owner alone */
    if (fd < 0)
        return;
    if (write(fd, rest.data, rest.size) == (ssize_t)rest.size && rename(other, path) == 0) {
        close(history->fd);
        history->fd = fd;
        return;
    }
    unlink(other);
    close(fd);
}

static void tell_lines(char *at, char *end, void (*each)(void *arg, const char *line), void *arg)
{
    for (char *newline = NULL; at < end && (newline = memchr(at, '\n', (size_t)(end - at))); at = newline + 1) {
        *newline = '\0';
        if (*at)
            each(arg, at);
    }
}

struct shell_history *shell_history_open(void (*each)(void *arg, const char *line), void *arg)
{
    char path[PATH_MAX];
    struct buf text = {0};
    size_t lines = 0;
    if (!find_path(path))
        return NULL;
    int fd = open(path, O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    struct shell_history *history = fd < 0 ? NULL : mem_zalloc(sizeof *history);
    if (!history || !read_file(fd, &text)) {
        if (fd >= 0)
            close(fd);
        mem_free(history);
        buf_free(&text);
        return NULL;
    }
    history->fd = fd;
    fchmod(fd, 0600); /* also one that was made by other means */
    size_t from = newest(&text, &lines);
    if (lines >= 2 * SHELL_HISTORY_LINES)
        cut(history, path, slice(text.data + from, text.size - from));
    if (text.size > 0)
        tell_lines((char *)text.data + from, (char *)text.data + text.size, each, arg);
    buf_free(&text);
    return history;
}

void shell_history_add(struct shell_history *history, plsm_slice line)
{
    struct buf text = {0};
    if (!history || line.size == 0 || memchr(line.data, '\n', line.size) || memchr(line.data, '\0', line.size))
        return;
    if (buf_append(&text, line.data, line.size) == PLSM_OK && buf_append(&text, "\n", 1) == PLSM_OK) {
        /* In one call, so that lines of two shells do not mix. What is not written is forgotten. */
        ssize_t written = write(history->fd, text.data, text.size);
        (void)written;
    }
    buf_free(&text);
}

void shell_history_close(struct shell_history *history)
{
    if (!history)
        return;
    close(history->fd);
    mem_free(history);
}
