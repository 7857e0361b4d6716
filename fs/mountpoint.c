#include "fs/mountpoint.h"

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/banned.h"

plsm_status absolute_path(const char *given, const char *what, char **out)
{
    struct buf path = {0};
    size_t size = strlen(given);
    char *resolved = realpath(given, NULL);
    plsm_status status = PLSM_OK;
    if (resolved) {
        status = buf_append(&path, resolved, strlen(resolved) + 1);
    } else if (errno == ENOENT || errno == ENOTCONN || errno == EIO || errno == EACCES) {
        /* A store to be made, or a dead mount: only the directory it is in can be asked. */
        while (size > 1 && given[size - 1] == '/')
            size--;
        size_t name = size;
        while (name > 0 && given[name - 1] != '/')
            name--;
        char *parent = strndup(name ? given : ".", name ? name : 1);
        resolved = parent ? realpath(parent, NULL) : NULL;
        free(parent);
        if (resolved)
            status = buf_printf(&path, "%s/%.*s", strcmp(resolved, "/") == 0 ? "" : resolved, (int)(size - name),
                                given + name);
        if (resolved && status == PLSM_OK)
            status = buf_append(&path, "", 1);
    }
    if (!resolved)
        status = fail_errno(errno, given, what);
    free(resolved);
    if (status != PLSM_OK)
        buf_free(&path);
    *out = (char *)path.data;
    return status;
}

/* Undoes the escapes of /proc/self/mountinfo, \ooo, in place. */
static void unescape(char *text)
{
    char *to = text;
    for (const char *from = text; *from; to++) {
        if (from[0] == '\\' && from[1] >= '0' && from[1] <= '3' && from[2] && from[3]) {
            *to = (char)((from[1] - '0') << 6 | (from[2] - '0') << 3 | (from[3] - '0'));
            from += 4;
        } else {
            *to = *from++;
        }
    }
    *to = 0;
}

/* Whether the topmost mount on `path` is one of plsm. Lines are: id parent major:minor root mount-point options
 * [fields...] - type source options (proc(5)). */
static bool is_plsm_mount(const char *path)
{
    FILE *file = fopen("/proc/self/mountinfo", "re");
    char *line = NULL;
    size_t capacity = 0;
    bool found = false;
    while (file && getline(&line, &capacity, file) > 0) {
        char *field = line, *type = strstr(line, " - ");
        for (int i = 0; i < 4 && field; i++)
            field = strchr(field, ' ') ? strchr(field, ' ') + 1 : NULL;
        char *end = field ? strchr(field, ' ') : NULL;
        if (!end || !type)
            continue;
        *end = 0;
        unescape(field);
        if (strcmp(field, path) == 0)
            found = strncmp(type + 3, "fuse.plsm ", 10) == 0;
    }
    free(line);
    if (file)
        fclose(file);
    return found;
}

/* Takes away a mount that nobody answers any more. */
static void detach(const char *path)
{
    char *const argv[] = {(char *)"fusermount3", (char *)"-u", (char *)"-z", (char *)"-q",
                          (char *)"--",          (char *)path, NULL};
    char *const environment[] = {(char *)"PATH=/usr/bin:/bin:/usr/local/bin", NULL};
    pid_t child = 0;
    int status = 0;
    if (geteuid() == 0) {
        umount2(path, MNT_DETACH | UMOUNT_NOFOLLOW);
        return;
    }
    if (posix_spawnp(&child, "fusermount3", NULL, NULL, argv, environment) != 0)
        return;
    while (waitpid(child, &status, 0) < 0 && errno == EINTR)
        continue;
}

static plsm_status check_device(void)
{
    int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);
    if (fd >= 0) {
        close(fd);
        return PLSM_OK;
    }
    if (errno == ENOENT || errno == ENODEV || errno == ENXIO)
        return fail(PLSM_UNSUPPORTED,
                    "/dev/fuse is not there: load the module (modprobe fuse), or give a container the "
                    "device (--device /dev/fuse)");
    return fail(PLSM_PERMISSION,
                "/dev/fuse: %s: as an ordinary user have read and write access to it (mode 0666 is "
                "usual); a container needs --device /dev/fuse and CAP_SYS_ADMIN",
                strerror(errno));
}

plsm_status mountpoint_prepare(const char *directory, char **path)
{
    struct stat st;
    struct statvfs space;
    *path = NULL;
    TRY(absolute_path(directory, "mount point", path));
    /* Not stat: the kernel may have the attributes of a dead root, but asks the daemon for the space each time. */
    if (statvfs(*path, &space) != 0 && (errno == ENOTCONN || errno == ECONNABORTED))
        detach(*path);
    if (stat(*path, &st) != 0)
        return fail_errno(errno, directory, "mount point");
    if (!S_ISDIR(st.st_mode))
        return fail(PLSM_INVALID, "%s: the mount point is not a directory", directory);
    if (is_plsm_mount(*path))
        return fail(PLSM_EXISTS, "%s: a plsm store is mounted there already; unmount it first: fusermount3 -u %s",
                    directory, directory);
    return check_device();
}

plsm_status mountpoint_mount(const char *path, int (*mount)(void *arg, const char *path), void *arg)
{
    char said[512] = "";
    int collected = memfd_create("plsm-mount", MFD_CLOEXEC), old_stderr = -1;
    if (collected >= 0) {
        old_stderr = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
        dup2(collected, STDERR_FILENO);
    }
    int result = mount(arg, path);
    if (collected >= 0) {
        dup2(old_stderr, STDERR_FILENO);
        close(old_stderr);
        ssize_t got = pread(collected, said, sizeof said - 1, 0);
        close(collected);
        said[got > 0 ? got : 0] = 0;
    }
    if (result == 0)
        return PLSM_OK;
    size_t size = strlen(said);
    while (size > 0 && said[size - 1] == '\n')
        said[--size] = 0;
    for (char *c = said; *c; c++)
        if (*c == '\n')
            *c = ';';
    return fail(PLSM_PERMISSION, "%s: cannot mount: %s", path,
                said[0] ? said : "the kernel refused it (in a container: CAP_SYS_ADMIN is needed)");
}
