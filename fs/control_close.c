/* Who closes a file of .plsm that is written: batch, or ctl. The kernel tells of each descriptor that is closed, also
 * of the copies that children inherit and that end with them, and of those that a shell makes for a moment. What this
 * writes
 *
 *     { echo ...; echo ... >&2; some-command; echo ...; } > .plsm/batch
 *
 * is one batch, so only that close counts with which the process that opened the file has no copy any more, as far as
 * it has one thread (with more, each of its closes), and the last one of all. And a process that a signal ended may
 * have written half of what it would; that of one that has not written, as "yes | head" ends yes, says nothing.
 *
 * Known from /proc; where that tells nothing (another PID namespace, not permitted) each close counts. A process that
 * executes a program waits for the answer to what that closes, and holds a lock meanwhile that most files of its /proc
 * ask for, stat and fd among them: then, and of others than who asks, only status may be read. */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "fs/control_private.h"
#include "base/banned.h"

enum { SIGNAL_MASK = 0x7f }; /* of an exit code as wait(2) gives it: 0: none ended it */

struct process {
    pid_t group;   /* the number of the process; what is asked for may be one of its threads */
    bool exiting;  /* it has no table of descriptors any more */
    bool executes; /* a program, of which nothing is loaded yet */
    bool alone;    /* it has one thread: while that waits for an answer, it does nothing else */
};

static bool read_text(pid_t pid, const char *name, char *text, size_t capacity)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%ld/%s", (long)pid, name);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t size = fd < 0 ? -1 : read(fd, text, capacity - 1);
    if (fd >= 0)
        close(fd);
    text[size > 0 ? size : 0] = 0;
    return size > 0;
}

/* A number of /proc/PID/status; -1: it is not there. */
static long read_number(const char *text, const char *name)
{
    const char *line = strstr(text, name);
    return line ? strtol(line + strlen(name), NULL, 10) : -1;
}

static bool read_process(pid_t pid, struct process *out)
{
    char text[4096];
    if (pid <= 0 || !read_text(pid, "status", text, sizeof text))
        return false;
    *out = (struct process){(pid_t)read_number(text, "\nTgid:"), read_number(text, "\nFDSize:") == 0,
                            read_number(text, "\nVmExe:") == 0, read_number(text, "\nThreads:") == 1};
    return out->group > 0;
}

/* The signal that ended a process that is ending; 0: there is none, or nobody may know. */
static int read_signal(pid_t pid)
{
    enum { STATE = 3, EXIT_CODE = 52 }; /* numbers of fields, as in proc(5) */
    char text[2048], *rest = NULL;
    if (!read_text(pid, "stat", text, sizeof text))
        return 0;
    char *field = strrchr(text, ')'); /* behind the name, in which anything may be */
    field = field ? strtok_r(field + 1, " ", &rest) : NULL;
    for (int number = STATE; field && number < EXIT_CODE; number++)
        field = strtok_r(NULL, " ", &rest);
    return field ? (int)strtol(field, NULL, 10) & SIGNAL_MASK : 0;
}

/* Whether what a link in /proc/PID/fd leads to is this file of this mount; where nobody knows, it is. The kernel
 * answers by what it has: what it would have to ask for, it would ask this daemon. */
static bool is_file(int directory, const char *name, dev_t device, uint64_t ino)
{
    struct statx about;
    return !device || statx(directory, name, AT_STATX_DONT_SYNC, STATX_INO, &about) != 0 ||
           (makedev(about.stx_dev_major, about.stx_dev_minor) == device && about.stx_ino == ino);
}

/* How many descriptors of a process are of a file of the mount with such an end of its path; -1: nobody tells. */
static long count_open(pid_t pid, plsm_slice end, dev_t device, uint64_t ino)
{
    char path[64], target[4096];
    long count = 0;
    snprintf(path, sizeof path, "/proc/%ld/fd", (long)pid);
    DIR *directory = opendir(path);
    if (!directory)
        return -1;
    for (struct dirent *entry = NULL; (entry = readdir(directory));) {
        ssize_t size = readlinkat(dirfd(directory), entry->d_name, target, sizeof target);
        if (size >= (ssize_t)end.size && memcmp(target + size - end.size, end.data, end.size) == 0 &&
            is_file(dirfd(directory), entry->d_name, device, ino))
            count++;
    }
    closedir(directory);
    return count;
}

pid_t control_process_of(pid_t pid)
{
    struct process process;
    return read_process(pid, &process) ? process.group : 0;
}

/* Whether the process that opened a file, and has one thread, has a copy of what it closes. */
static bool has_copy(struct control *control, const struct control_handle *handle)
{
    static const char batch[] = "/" CONTROL_DIRECTORY "/batch", ctl[] = "/" CONTROL_DIRECTORY "/ctl";
    plsm_slice end = slice_of(handle->kind == CONTROL_BATCH ? batch : ctl);
    struct attr attr;
    control_fixed_attr(control, handle->kind, slice(NULL, 0), &attr);
    long open = count_open(handle->opener, end, control->fs->device, attr.ino);
    return open >= 0 && open > (long)control_opened_beside(control, handle);
}

enum closing control_closing(struct control *control, const struct control_handle *handle, pid_t pid, pid_t *group)
{
    struct process process;
    *group = 0;
    if (!handle->opener || !read_process(pid, &process))
        return CLOSING;
    *group = process.group;
    if (process.exiting)
        return read_signal(pid) ? CLOSING_KILLED : process.group == handle->opener ? CLOSING : CLOSING_COPY;
    if (process.group != handle->opener)
        return CLOSING_COPY;
    return process.executes || (process.alone && has_copy(control, handle)) ? CLOSING_COPY : CLOSING;
}
