/* Logs (ENV_LOG): what every environment must do alike, and what a crash leaves behind their end. */
#include <check.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/env_fault.h"
#include "base/env_memory.h"
#include "base/error.h"
#include "base/random.h"

#include "base/banned.h"

enum { ALL = 3 << 20 };

struct ground {
    struct env *env, *memory, *fault;
    char path[80], directory[64];
};

static void ground_create(struct ground *ground, int kind)
{
    *ground = (struct ground){.env = env_posix(), .directory = "/tmp/plsm-env-log-XXXXXX"};
    if (kind == 0) {
        ck_assert_ptr_nonnull(mkdtemp(ground->directory));
        snprintf(ground->path, sizeof ground->path, "%s/log", ground->directory);
        return;
    }
    ground->env = ground->memory = env_memory_create(1);
    if (kind == 2)
        ground->env = ground->fault = env_fault_create(ground->memory);
    snprintf(ground->path, sizeof ground->path, "/log");
}

static void ground_destroy(struct ground *ground)
{
    if (!ground->memory) {
        unlink(ground->path);
        rmdir(ground->directory);
    }
    env_fault_destroy(ground->fault);
    env_memory_destroy(ground->memory);
}

static uint8_t *random_bytes(uint64_t seed)
{
    uint8_t *bytes = malloc(ALL);
    struct random random;
    random_seed(&random, seed);
    for (size_t i = 0; i < ALL; i++)
        bytes[i] = (uint8_t)(1 + random_below(&random, 255)); /* no zeros */
    return bytes;
}

/* What a reader sees: `size` bytes of ours, then zeros. */
static void check_reader(struct ground *ground, const uint8_t *bytes, size_t size)
{
    struct env_file *file = NULL;
    static uint8_t back[ALL + (8 << 20)];
    uint64_t seen = 0;
    size_t got = 0;
    ck_assert_int_eq(env_open(ground->env, ground->path, ENV_READ, &file), PLSM_OK);
    ck_assert_int_eq(env_size(file, &seen), PLSM_OK);
    ck_assert_uint_ge(seen, size);
    ck_assert_uint_le(seen, sizeof back);
    ck_assert_int_eq(env_read_some(file, 0, back, sizeof back, &got), PLSM_OK);
    ck_assert_uint_eq(got, seen);
    ck_assert(memcmp(back, bytes, size) == 0);
    for (size_t i = size; i < seen; i++)
        ck_assert_int_eq(back[i], 0);
    env_close(file);
}

/* Pieces of all sizes, those that are copied and those that are written, mixed and in rows. */
START_TEST(appends_are_read_back)
{
    struct ground ground;
    ground_create(&ground, _i);
    uint8_t *bytes = random_bytes(3), *back = malloc(ALL);
    struct env_file *file = NULL;
    struct random random;
    uint64_t size = 0;
    size_t done = 0, got = 0;
    random_seed(&random, 4);
    ck_assert_int_eq(env_open(ground.env, ground.path, ENV_LOG, &file), PLSM_OK);
    for (unsigned row = 0; done < ALL - (1 << 20); row++)
        for (unsigned i = 0; i < 100; i++) {
            size_t most = row % 3 == 0 ? 300 : row % 3 == 1 ? 5000 : random_below(&random, 8) ? 2048 : 200000;
            size_t piece = random_below(&random, most);
            piece = piece < ALL - done ? piece : ALL - done;
            ck_assert_int_eq(env_append(file, bytes + done, piece), PLSM_OK);
            done += piece;
            if (i % 50 == 0)
                ck_assert_int_eq(env_sync(file), PLSM_OK);
        }
    ck_assert_int_eq(env_size(file, &size), PLSM_OK);
    ck_assert_uint_eq(size, done);
    ck_assert_int_eq(env_read_some(file, 0, back, ALL, &got), PLSM_OK); /* its own handle sees no zeros */
    ck_assert_uint_eq(got, done);
    ck_assert(memcmp(back, bytes, done) == 0);
    check_reader(&ground, bytes, done);

    ck_assert_int_eq(env_truncate(file, done + 1), PLSM_INVALID);
    ck_assert_int_eq(env_truncate(file, 1000), PLSM_OK);
    for (unsigned i = 0; i < 2; i++) {
        struct env_file *reader = NULL;
        ck_assert_int_eq(env_open(ground.env, ground.path, ENV_READ, &reader), PLSM_OK);
        ck_assert_int_eq(env_size(reader, &size), PLSM_OK);
        ck_assert_uint_eq(size, 1000 + 24 * i); /* exactly */
        check_reader(&ground, bytes, 1000 + 24 * i);
        env_close(reader);
        ck_assert_int_eq(env_append(file, bytes + 1000 + 24 * i, 24), PLSM_OK);
    }
    env_close(file);
    free(bytes);
    free(back);
    ground_destroy(&ground);
}
END_TEST

/* What was appended is there when the process is killed at once. */
START_TEST(appends_outlive_the_process)
{
    struct ground ground;
    ground_create(&ground, 0);
    uint8_t *bytes = random_bytes(5);
    pid_t child = fork();
    if (child == 0) {
        struct env_file *file = NULL;
        plsm_status status = env_open(ground.env, ground.path, ENV_LOG, &file);
        for (size_t at = 0; status == PLSM_OK && at < 700000; at += 700)
            status = env_append(file, bytes + at, 700);
        raise(status == PLSM_OK ? SIGKILL : SIGTERM);
    }
    int status = 0;
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    check_reader(&ground, bytes, 700000);
    free(bytes);
    ground_destroy(&ground);
}
END_TEST

/* The number of the line "NAME: NUMBER" of a file in /proc; 0: there is none. */
static uint64_t proc_number(const char *path, const char *name)
{
    FILE *file = fopen(path, "r");
    size_t size = strlen(name);
    char line[100];
    uint64_t number = 0;
    while (file && fgets(line, sizeof line, file))
        if (strncmp(line, name, size) == 0 && line[size] == ':')
            number = strtoull(line + size + 1, NULL, 10);
    if (file)
        fclose(file);
    return number;
}

/* Memory of this process that shows files, in bytes. */
static uint64_t files_resident(void)
{
    return proc_number("/proc/self/status", "RssFile") * 1024;
}

/* One that is longer than what is mapped at once: all is there, and no more of it is shown than was taken last. */
START_TEST(a_long_log_takes_little_memory)
{
    enum { PIECE = 2048, PIECES = (150 << 20) / PIECE, SHOWN_MAX = 12 << 20 };
    struct ground ground;
    ground_create(&ground, 0);
    uint8_t piece[PIECE] = {0};
    struct env_file *file = NULL;
    uint64_t before = files_resident(), shown_max = 0;
    ck_assert_int_eq(env_open(ground.env, ground.path, ENV_LOG, &file), PLSM_OK);
    for (uint64_t i = 0; i < PIECES; i++) {
        put_u64(piece, i + 1);
        put_u64(piece + PIECE - 8, i + 1);
        ck_assert_int_eq(env_append(file, piece, PIECE), PLSM_OK);
        uint64_t shown = i % 1000 ? 0 : files_resident();
        shown_max = shown > shown_max ? shown : shown_max;
    }
    ck_assert_uint_le(shown_max, before + SHOWN_MAX);
    for (uint64_t i = 0; i < PIECES; i++) {
        ck_assert_int_eq(env_read(file, i * PIECE, piece, PIECE), PLSM_OK);
        ck_assert(get_u64(piece) == i + 1 && get_u64(piece + PIECE - 8) == i + 1);
    }
    env_close(file);
    ground_destroy(&ground);
}
END_TEST

/* No space can be taken in advance, then none at all: errors, no signal, and everything in front is there. */
START_TEST(a_limit_is_an_error)
{
    struct ground ground;
    ground_create(&ground, 0);
    uint8_t *bytes = random_bytes(6);
    enum { LIMIT = 700000 + 13 }; /* between two takings, and on no border */
    pid_t child = fork();
    if (child == 0) {
        struct env_file *file = NULL;
        struct rlimit limit = {LIMIT, LIMIT};
        signal(SIGXFSZ, SIG_IGN);
        setrlimit(RLIMIT_FSIZE, &limit);
        plsm_status status = env_open(ground.env, ground.path, ENV_LOG, &file);
        size_t done = 0;
        for (; status == PLSM_OK && done < ALL; done += status == PLSM_OK ? 100 : 0)
            status = env_append(file, bytes + done, 100);
        bool good = status != PLSM_OK && done == LIMIT / 100 * 100 && env_truncate(file, done) == PLSM_OK &&
                    env_append(file, bytes + done, 10) == PLSM_OK;
        _exit(good ? 0 : 1);
    }
    int status = 0;
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    check_reader(&ground, bytes, LIMIT / 100 * 100 + 10);
    free(bytes);
    ground_destroy(&ground);
}
END_TEST

/* What is written over a file stands in front of what it held; a second name keeps it as it is. */
START_TEST(written_over)
{
    struct ground ground;
    ground_create(&ground, _i);
    uint8_t *old = random_bytes(7), *fresh = random_bytes(8), *back = malloc(ALL);
    struct env_file *file = NULL, *reader = NULL;
    enum { OLD = (2 << 20) + 777, PIECE = 100 };
    char second[100];
    uint64_t size = 0;
    size_t got = 0;
    snprintf(second, sizeof second, "%s-2", ground.path);
    ck_assert_int_eq(env_open(ground.env, ground.path, ENV_LOG_OVER, &file), PLSM_NOT_FOUND);
    ck_assert_int_eq(env_open(ground.env, ground.path, ENV_APPEND, &file), PLSM_OK);
    ck_assert_int_eq(env_append(file, old, OLD), PLSM_OK);
    env_close(file);
    ck_assert_int_eq(env_link(ground.env, ground.path, second), PLSM_OK);
    ck_assert_int_eq(env_open(ground.env, ground.path, ENV_LOG_OVER, &file), PLSM_EXISTS);
    ck_assert_int_eq(env_remove(ground.env, second), PLSM_OK);
    plsm_status status = env_open(ground.env, ground.path, ENV_LOG_OVER, &file);
    if (status == PLSM_UNSUPPORTED && !ground.memory) { /* this file system is none for it */
        ck_assert_ptr_nonnull(strstr(plsm_message(), "gains nothing"));
        goto done;
    }
    ck_assert_int_eq(status, PLSM_OK);
    ck_assert_int_eq(env_size(file, &size), PLSM_OK);
    ck_assert_uint_eq(size, 0); /* to its own handle it is empty */
    for (size_t at = 0, step = 0; at < OLD + 5000; at += PIECE, step++) {
        if (step % 1009 == 0) { /* seen by a reader: in front, behind the middle, and where it has grown */
            ck_assert_int_eq(env_open(ground.env, ground.path, ENV_READ, &reader), PLSM_OK);
            ck_assert_int_eq(env_read_some(reader, 0, back, ALL, &got), PLSM_OK);
            ck_assert_uint_ge(got, at > OLD ? at : OLD);
            ck_assert(memcmp(back, fresh, at) == 0);
            ck_assert(at >= OLD || memcmp(back + at, old + at, OLD - at) == 0);
            env_close(reader);
        }
        ck_assert_int_eq(env_append(file, fresh + at, PIECE), PLSM_OK);
        if (step % 2003 == 0)
            ck_assert_int_eq(env_sync(file), PLSM_OK);
    }
    ck_assert_int_eq(env_truncate(file, 3 * PIECE), PLSM_OK);
    check_reader(&ground, fresh, 3 * PIECE); /* nothing of what it held */
done:
    env_close(file);
    free(old);
    free(fresh);
    free(back);
    ground_destroy(&ground);
}
END_TEST

/* --- crashes ------------------------------------------------------------------------------------------------------ */

static size_t size_after(struct env *env, enum env_crash kind, uint64_t seed, bool *zeros)
{
    struct env *image = env_memory_crash(env, env_memory_calls(env), kind, seed);
    uint8_t *data = NULL;
    size_t size = 0;
    ck_assert_int_eq(env_memory_content(image, "/log", &data, &size), PLSM_OK);
    *zeros = size > 0 && data[size - 1] == 0;
    env_memory_destroy(image);
    return size;
}

START_TEST(zeros_behind_the_end)
{
    struct env *env = env_memory_create(1);
    struct env_file *file = NULL;
    char text[600];
    bool zeros = false;
    memset(text, 'x', sizeof text);
    ck_assert_int_eq(env_open(env, "/log", ENV_LOG, &file), PLSM_OK);
    ck_assert_int_eq(env_sync_dir(env, "/"), PLSM_OK);
    ck_assert_int_eq(env_append(file, text, 600), PLSM_OK);
    ck_assert_int_eq(env_sync(file), PLSM_OK);
    ck_assert_int_eq(env_append(file, text, 500), PLSM_OK);
    ck_assert_uint_eq(size_after(env, ENV_CRASH_KEEP, 1, &zeros), 4096);
    for (int kind = ENV_CRASH_DROP; kind < ENV_CRASH_COUNT; kind++) {
        unsigned with = 0, without = 0;
        for (uint64_t seed = 0; seed < 60; seed++) {
            size_t size = size_after(env, (enum env_crash)kind, seed, &zeros);
            with += size == 4096;
            without += size < 4096;
            ck_assert(size == 4096 || (size >= 600 && size <= 1100));
        }
        ck_assert_uint_gt(with, 10);
        ck_assert_uint_gt(without, 10);
    }
    /* Cut, but not synced: they may come back. Then not. */
    ck_assert_int_eq(env_truncate(file, 1100), PLSM_OK);
    ck_assert_uint_eq(size_after(env, ENV_CRASH_KEEP, 1, &zeros), 1100);
    unsigned with = 0;
    for (uint64_t seed = 0; seed < 60; seed++)
        with += size_after(env, ENV_CRASH_TORN, seed, &zeros) == 4096;
    ck_assert_uint_gt(with, 10);
    ck_assert_int_eq(env_sync(file), PLSM_OK);
    for (uint64_t seed = 0; seed < 60; seed++)
        for (int kind = 0; kind < ENV_CRASH_COUNT; kind++)
            ck_assert_uint_eq(size_after(env, (enum env_crash)kind, seed, &zeros), 1100);
    env_close(file);
    env_memory_destroy(env);
}
END_TEST

/* After a power loss each unsynced sector is the new or the old one; after the death of the process all is there. */
START_TEST(written_over_and_lost)
{
    enum { OLD = 5000, SYNCED = 700, WRITTEN = 3000, SECTOR = 512 };
    struct env *env = env_memory_create(1);
    struct env_file *file = NULL;
    char old[OLD], fresh[WRITTEN];
    memset(old, 'o', sizeof old);
    memset(fresh, 'n', sizeof fresh);
    ck_assert_int_eq(env_open(env, "/log", ENV_APPEND, &file), PLSM_OK);
    ck_assert_int_eq(env_append(file, old, OLD), PLSM_OK);
    ck_assert_int_eq(env_sync(file), PLSM_OK);
    env_close(file);
    ck_assert_int_eq(env_sync_dir(env, "/"), PLSM_OK);
    ck_assert_int_eq(env_open(env, "/log", ENV_LOG_OVER, &file), PLSM_OK);
    ck_assert_int_eq(env_append(file, fresh, SYNCED), PLSM_OK);
    ck_assert_int_eq(env_sync(file), PLSM_OK);
    ck_assert_int_eq(env_append(file, fresh, WRITTEN - SYNCED), PLSM_OK);
    for (int kind = 0; kind < ENV_CRASH_COUNT; kind++) {
        unsigned lost = 0, kept = 0;
        for (uint64_t seed = 0; seed < 60; seed++) {
            struct env *image = env_memory_crash(env, env_memory_calls(env), (enum env_crash)kind, seed);
            uint8_t *data = NULL;
            size_t size = 0;
            ck_assert_int_eq(env_memory_content(image, "/log", &data, &size), PLSM_OK);
            ck_assert_uint_eq(size, OLD);
            for (size_t i = 0; i < SYNCED; i++)
                ck_assert_int_eq(data[i], 'n');
            for (size_t i = SYNCED; i < WRITTEN && kind != ENV_CRASH_TORN; i++) { /* torn: garbage too */
                lost += data[i] == 'o';
                kept += data[i] == 'n';
                ck_assert(data[i] == 'o' || data[i] == 'n');
            }
            for (size_t i = WRITTEN; i < OLD; i++)
                ck_assert_int_eq(data[i], 'o');
            env_memory_destroy(image);
        }
        ck_assert_int_eq(lost > 0, kind == ENV_CRASH_DROP || kind == ENV_CRASH_REORDER);
        ck_assert_int_eq(kept > 0, kind == ENV_CRASH_KEEP || kind == ENV_CRASH_REORDER);
    }
    env_close(file);
    env_memory_destroy(env);
}
END_TEST

/* What the process gave to write to devices, as the kernel counts it; 0: it does not. */
static uint64_t bytes_written(void)
{
    return proc_number("/proc/self/io", "write_bytes");
}

/* Each record is synced: that writes the page that it is on, or two, not more that the kernel keeps together. */
START_TEST(a_sync_writes_what_was_appended)
{
    enum { SYNCS = 200, RECORD = 100 };
    struct ground ground;
    struct env_file *file = NULL;
    uint8_t *bytes = random_bytes(5);
    ground_create(&ground, 0);
    ck_assert_int_eq(env_open(ground.env, ground.path, ENV_LOG, &file), PLSM_OK);
    uint64_t before = bytes_written();
    for (int i = 0; i < SYNCS; i++) {
        ck_assert_int_eq(env_append(file, bytes + i * RECORD, RECORD), PLSM_OK);
        ck_assert_int_eq(env_sync(file), PLSM_OK);
    }
    ck_assert_uint_le(bytes_written() - before, SYNCS * 4096 * 2);
    check_reader(&ground, bytes, SYNCS * RECORD);
    env_close(file);
    free(bytes);
    ground_destroy(&ground);
}
END_TEST

/* Whether some of a file is only promised its space so far. */
static bool awaits_space(const char *path)
{
    enum { EXTENTS = 64 };
    struct fiemap *map = calloc(1, sizeof *map + EXTENTS * sizeof map->fm_extents[0]);
    bool awaits = false;
    int fd = open(path, O_RDONLY);
    ck_assert_ptr_nonnull(map);
    map->fm_length = FIEMAP_MAX_OFFSET;
    map->fm_extent_count = EXTENTS;
    ck_assert_int_eq(ioctl(fd, FS_IOC_FIEMAP, map), 0);
    for (uint32_t i = 0; i < map->fm_mapped_extents; i++)
        awaits |= map->fm_extents[i].fe_flags & FIEMAP_EXTENT_DELALLOC;
    close(fd);
    free(map);
    return awaits;
}

/* Large pieces have their space before they are written: of a log some more, of another file no more than they need. */
START_TEST(large_pieces_take_their_space)
{
    enum { PIECE = 300000, PIECES = 5 };
    static const enum env_open_flags flags[] = {ENV_APPEND, ENV_LOG, ENV_LOG};
    struct ground ground;
    struct statfs system;
    struct stat seen;
    ground_create(&ground, 0);
    uint8_t *bytes = random_bytes(9);
    bool ext4 = statfs(ground.directory, &system) == 0 && system.f_type == EXT4_SUPER_MAGIC;
    for (unsigned way = 0; way < 3; way++) {
        struct env_file *file = NULL;
        ck_assert_int_eq(env_open(ground.env, ground.path, flags[way], &file), PLSM_OK);
        for (size_t i = 0; i < PIECES; i++) {
            plsm_slice halves[] = {slice(bytes + i * PIECE, PIECE / 2),
                                   slice(bytes + i * PIECE + PIECE / 2, PIECE / 2)};
            ck_assert_int_eq(way == 2 ? env_append_pieces(file, halves, 2) : env_append(file, bytes + i * PIECE, PIECE),
                             PLSM_OK);
        }
        ck_assert(!ext4 || !awaits_space(ground.path));
        ck_assert_int_eq(stat(ground.path, &seen), 0);
        ck_assert(!ext4 || (seen.st_size > PIECES * PIECE) == (flags[way] == ENV_LOG));
        ck_assert(flags[way] == ENV_LOG || seen.st_blocks * 512 < PIECES * PIECE + 8 * 4096);
        check_reader(&ground, bytes, PIECES * PIECE);
        ck_assert_int_eq(env_truncate(file, PIECE), PLSM_OK);
        ck_assert_int_eq(stat(ground.path, &seen), 0);
        ck_assert_int_eq(seen.st_size, PIECE);
        ck_assert(seen.st_blocks * 512 < PIECE + 8 * 4096);
        env_close(file);
    }
    free(bytes);
    ground_destroy(&ground);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("env, logs");
    TCase *tests = tcase_create("env_log");
    tcase_set_timeout(tests, 120);
    tcase_add_loop_test(tests, appends_are_read_back, 0, 3);
    tcase_add_test(tests, appends_outlive_the_process);
    tcase_add_test(tests, a_long_log_takes_little_memory);
    tcase_add_test(tests, a_limit_is_an_error);
    tcase_add_test(tests, zeros_behind_the_end);
    tcase_add_loop_test(tests, written_over, 0, 3);
    tcase_add_test(tests, written_over_and_lost);
    tcase_add_test(tests, a_sync_writes_what_was_appended);
    tcase_add_test(tests, large_pieces_take_their_space);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_set_fork_status(runner, CK_NOFORK);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? 1 : 0;
}
