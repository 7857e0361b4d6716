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
#include <sys/sysmacros.h>
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

bool path_is_within(const char *path, const char *directory)
{
    size_t size = strcmp(directory, "/") == 0 ? 0 : strlen(directory);
    return strncmp(path, directory, size) == 0 && (path[size] == '/' || path[size] == 0);
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

/* One line of /proc/self/mountinfo; the texts are in the line. */
struct mount_line {
    char *directory, *source, *options; /* the last: of the superblock */
    bool is_plsm;
};

/* Lines are: id parent major:minor root mount-point options [fields...] - type source options (proc(5)). */
static bool parse_line(char *line, struct mount_line *out)
{
    char *field = line, *type = strstr(line, " - ");
    for (int i = 0; i < 4 && field; i++)
        field = strchr(field, ' ') ? strchr(field, ' ') + 1 : NULL;
    char *end = field ? strchr(field, ' ') : NULL;
    char *source = type ? strchr(type + 3, ' ') : NULL, *options = source ? strchr(source + 1, ' ') : NULL;
    if (!end || !options)
        return false;
    *end = *source = *options = 0;
    *out = (struct mount_line){field, source + 1, options + 1, strcmp(type + 3, "fuse.plsm") == 0};
    out->options[strcspn(out->options, "\n")] = 0;
    unescape(out->directory);
    unescape(out->source);
    return true;
}

/* Finds the topmost mount on `directory`, or, with `source` instead, a plsm mount of that store. What it says of it is
 * copied (allocated, to be freed with mem_free; NULL on failure): the superblock's options, or the directory. */
static char *find_mount(const char *directory, const char *source)
{
    FILE *file = fopen("/proc/self/mountinfo", "re");
    char *line = NULL;
    size_t capacity = 0;
    struct buf found = {0};
    struct mount_line m;
    while (file && getline(&line, &capacity, file) > 0) {
        if (!parse_line(line, &m) || (directory ? strcmp(m.directory, directory) : strcmp(m.source, source)) != 0)
            continue;
        if (!m.is_plsm && !directory)
            continue;
        const char *said = directory ? m.options : m.directory;
        buf_free(&found); /* what is mounted later covers this */
        if (m.is_plsm && buf_append(&found, said, strlen(said) + 1) != PLSM_OK)
            buf_free(&found);
    }
    free(line);
    if (file)
        fclose(file);
    return (char *)found.data;
}

static bool is_plsm_mount(const char *path)
{
    char *options = find_mount(path, NULL);
    mem_free(options);
    return options != NULL;
}

char *mountpoint_of_store(const char *store)
{
    return find_mount(NULL, store);
}

/* The beginning of a line of /proc/self/mountinfo. */
struct mount_ids {
    unsigned id, parent, major, minor;
};

/* Reads those of all mounts, one behind the other. */
static plsm_status read_ids(struct buf *out)
{
    FILE *file = fopen("/proc/self/mountinfo", "re");
    char *line = NULL;
    size_t capacity = 0;
    struct mount_ids ids;
    plsm_status status = file ? PLSM_OK : fail_errno(errno, "/proc/self/mountinfo", "open");
    while (status == PLSM_OK && getline(&line, &capacity, file) > 0)
        if (sscanf(line, "%u %u %u:%u", &ids.id, &ids.parent, &ids.major, &ids.minor) == 4)
            status = buf_append(out, &ids, sizeof ids);
    free(line);
    if (file)
        fclose(file);
    return status;
}

dev_t mountpoint_device(const char *directory)
{
    struct statx about;
    if (statx(AT_FDCWD, directory, AT_STATX_DONT_SYNC, 0, &about) != 0)
        return 0;
    return makedev(about.stx_dev_major, about.stx_dev_minor);
}

bool mountpoint_has_mounts(dev_t device)
{
    struct buf all = {0};
    bool has = device == 0 || read_ids(&all) != PLSM_OK;
    const struct mount_ids *ids = (const struct mount_ids *)(const void *)all.data;
    size_t count = all.size / sizeof *ids;
    for (size_t i = 0; i < count && !has; i++) {
        bool ours = makedev(ids[i].major, ids[i].minor) == device;
        for (size_t j = 0; ours && j < count && !has; j++)
            has = ids[j].parent == ids[i].id && ids[j].id != ids[i].id;
    }
    buf_free(&all);
    return has;
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

/* --- remount ------------------------------------------------------------------------------------------------------ */

static const struct mount_flag {
    const char *name;
    unsigned long flag;
    bool clears;
    unsigned long of_statvfs; /* the same in statvfs(3) */
} mount_flags[] = {
    {"nodev", MS_NODEV, false, ST_NODEV},       {"dev", MS_NODEV, true, 0},
    {"nosuid", MS_NOSUID, false, ST_NOSUID},    {"suid", MS_NOSUID, true, 0},
    {"noexec", MS_NOEXEC, false, ST_NOEXEC},    {"exec", MS_NOEXEC, true, 0},
    {"noatime", MS_NOATIME, false, ST_NOATIME}, {"sync", MS_SYNCHRONOUS, false, ST_SYNCHRONOUS},
    {"dirsync", MS_DIRSYNC, false, 0},
};

/* Whether the store was opened for reading only, which no remount can change: the control file tells. */
static bool store_is_read_only(const char *path)
{
    struct buf name = {0};
    char line[512];
    bool read_only = false;
    FILE *file = buf_printf(&name, "%s/.stats", path) == PLSM_OK && buf_append(&name, "", 1) == PLSM_OK
                     ? fopen((char *)name.data, "re")
                     : NULL;
    while (file && fgets(line, sizeof line, file))
        read_only = read_only || strcmp(line, "store.read_only 1\n") == 0;
    if (file)
        fclose(file);
    buf_free(&name);
    return read_only;
}

/* The flags that `list` changes in those of the mount. What the daemon has to do something for cannot be changed. */
static plsm_status new_flags(const char *path, const char *list, const char *super_options, unsigned long *flags)
{
    struct statvfs space;
    if (statvfs(path, &space) != 0)
        return fail_errno(errno, path, "mount point");
    *flags = strstr(super_options, "dirsync") ? MS_DIRSYNC : 0;
    for (size_t i = 0; i < sizeof mount_flags / sizeof mount_flags[0]; i++)
        if (space.f_flag & mount_flags[i].of_statvfs)
            *flags |= mount_flags[i].flag;
    unsigned long durable = *flags & (MS_SYNCHRONOUS | MS_DIRSYNC);
    while (*list) {
        size_t size = strcspn(list, ",");
        for (size_t i = 0; i < sizeof mount_flags / sizeof mount_flags[0]; i++)
            if (slice_equal(slice(list, size), slice_of(mount_flags[i].name)))
                *flags = mount_flags[i].clears ? *flags & ~mount_flags[i].flag : *flags | mount_flags[i].flag;
        list += size + (list[size] == ',');
    }
    if ((*flags & (MS_SYNCHRONOUS | MS_DIRSYNC)) != durable)
        return fail(PLSM_UNSUPPORTED, "%s: a remount cannot turn on sync or dirsync; unmount it and mount it again",
                    path);
    return PLSM_OK;
}

plsm_status mountpoint_remount(const char *directory, bool read_only, const char *list)
{
    char *path = NULL, *super_options = NULL;
    unsigned long flags = 0;
    TRY(absolute_path(directory, "mount point", &path));
    super_options = find_mount(path, NULL);
    plsm_status status = PLSM_OK;
    if (!super_options)
        status = fail(PLSM_NOT_FOUND, "%s: no plsm store is mounted there, so there is nothing to remount", directory);
    else if (geteuid() != 0)
        status = fail(PLSM_PERMISSION, "%s: only root can remount; unmount it and mount it again: fusermount3 -u %s",
                      directory, directory);
    else if (!read_only && store_is_read_only(path))
        status =
            fail(PLSM_READ_ONLY,
                 "%s: the store was opened read-only, which a remount cannot change; unmount it and mount it again",
                 directory);
    if (status == PLSM_OK)
        status = new_flags(path, list, super_options, &flags);
    if (status == PLSM_OK && mount(NULL, path, NULL, MS_REMOUNT | (read_only ? MS_RDONLY : 0) | flags, NULL) != 0)
        status = errno == EBUSY
                     ? fail(PLSM_LOCKED, "%s: cannot be made read-only: files are open for writing", directory)
                     : fail_errno(errno, directory, "remount");
    mem_free(path);
    mem_free(super_options);
    return status;
}
