/* One row of bench-mount: the same system call, or few, over many files of 100 bytes, by some threads at once, each in
 * a directory of its own.
 *
 *     rows ROW DIRECTORY THREADS FILES     prints operations and seconds
 *
 * FILES is for each thread. Rows that read or change files need a `create` before them. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/banned.h"

enum { FILE_BYTES = 100 };

struct task {
    const struct row *row;
    const char *directory;
    long thread, files;
    pthread_t id;
};

static void check(int result, const char *what, const char *path)
{
    if (result < 0) {
        fprintf(stderr, "%s %s: %s\n", what, path, strerror(errno));
        exit(1);
    }
}

static void name_file(const struct task *task, char kind, long i, char *out, size_t size)
{
    snprintf(out, size, "%s/t%ld/%c%07ld", task->directory, task->thread, kind, i);
}

static void write_new(const char *path, int and_sync)
{
    char content[FILE_BYTES];
    memset(content, 'x', sizeof content);
    int fd = open(path, O_CREAT | O_EXCL | O_WRONLY, 0644);
    check(fd, "create", path);
    check(write(fd, content, sizeof content) == sizeof content ? 0 : -1, "write", path);
    if (and_sync)
        check(fsync(fd), "fsync", path);
    check(close(fd), "close", path);
}

static void do_create(const struct task *task, long i)
{
    char path[4096];
    name_file(task, 'f', i, path, sizeof path);
    write_new(path, 0);
}

static void do_create_fsync(const struct task *task, long i)
{
    char path[4096];
    name_file(task, 's', i, path, sizeof path);
    write_new(path, 1);
}

static void do_read(const struct task *task, long i)
{
    char path[4096], content[4096];
    name_file(task, 'f', i, path, sizeof path);
    int fd = open(path, O_RDONLY);
    check(fd, "open", path);
    check(read(fd, content, sizeof content) >= FILE_BYTES ? 0 : -1, "read", path);
    check(close(fd), "close", path);
}

static void do_stat(const struct task *task, long i)
{
    char path[4096];
    struct stat st;
    name_file(task, 'f', i, path, sizeof path);
    check(stat(path, &st), "stat", path);
}

static void do_append(const struct task *task, long i)
{
    char path[4096];
    name_file(task, 'f', i, path, sizeof path);
    int fd = open(path, O_WRONLY | O_APPEND);
    check(fd, "open", path);
    check(write(fd, "abc", 3) == 3 ? 0 : -1, "append", path);
    check(close(fd), "close", path);
}

static void do_rename(const struct task *task, long i)
{
    char from[4096], to[4096];
    name_file(task, 'f', 2 * i, from, sizeof from);
    name_file(task, 'f', 2 * i + 1, to, sizeof to);
    check(rename(from, to), "rename", from);
}

static void do_unlink(const struct task *task, long i)
{
    char path[4096];
    name_file(task, 'f', 2 * i + 1, path, sizeof path);
    check(unlink(path), "unlink", path);
}

static const struct row {
    const char *name;
    void (*one)(const struct task *task, long i);
    int per_pair; /* half as many operations as files */
} rows[] = {
    {"create", do_create, 0},
    {"read", do_read, 0},
    {"stat", do_stat, 0},
    {"append", do_append, 0},
    {"rename", do_rename, 1},
    {"unlink", do_unlink, 1},
    {"create_fsync", do_create_fsync, 0},
};

static void *run(void *arg)
{
    struct task *task = arg;
    long count = task->row->per_pair ? task->files / 2 : task->files;
    for (long i = 0; i < count; i++)
        task->row->one(task, i);
    return NULL;
}

static double seconds(void)
{
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return (double)at.tv_sec + (double)at.tv_nsec / 1e9;
}

int main(int argc, char **argv)
{
    const struct row *row = NULL;
    struct task tasks[64];
    for (size_t i = 0; argc == 5 && i < sizeof rows / sizeof rows[0]; i++)
        if (strcmp(rows[i].name, argv[1]) == 0)
            row = &rows[i];
    long threads = row ? strtol(argv[3], NULL, 10) : 0, files = row ? strtol(argv[4], NULL, 10) : 0;
    if (!row || threads < 1 || threads > 64 || files < 2) {
        fprintf(stderr, "usage: rows ROW DIRECTORY THREADS FILES\n");
        return 1;
    }
    for (long i = 0; i < threads; i++) {
        char path[4096];
        snprintf(path, sizeof path, "%s/t%ld", argv[2], i);
        if (mkdir(path, 0755) != 0 && errno != EEXIST)
            check(-1, "mkdir", path);
        tasks[i] = (struct task){.row = row, .directory = argv[2], .thread = i, .files = files};
    }
    double start = seconds();
    for (long i = 0; i < threads; i++)
        if (pthread_create(&tasks[i].id, NULL, run, &tasks[i]) != 0)
            return 1;
    for (long i = 0; i < threads; i++)
        pthread_join(tasks[i].id, NULL);
    printf("%ld %.6f\n", threads * (row->per_pair ? files / 2 : files), seconds() - start);
    return 0;
}
