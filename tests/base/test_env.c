/* What every environment must do alike: the POSIX one in a temporary directory, the one in memory, and the one with
 * faults (none armed) over memory. */
#include <check.h>
#include <ftw.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/env_fault.h"
#include "base/env_memory.h"
#include "base/error.h"
#include "base/random.h"

#include "base/banned.h"

enum { KINDS = 3 };

static char temporary[64];

static int remove_one(const char *path, const struct stat *status, int type, struct FTW *ftw)
{
    return remove(path);
}

/* Unchecked fixtures run outside of the forked test: the directory goes also when a test fails or crashes. */
static void make_temporary(void)
{
    snprintf(temporary, sizeof temporary, "/tmp/plsm-test-env-XXXXXX");
    if (!mkdtemp(temporary))
        abort();
}

static void remove_temporary(void)
{
    nftw(temporary, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* One environment and a directory in it. */
struct ground {
    struct env *env, *memory, *fault;
    char root[96];
};

static struct ground ground_create(int kind)
{
    struct ground ground = {0};
    if (kind == 0) {
        ground.env = env_posix();
        snprintf(ground.root, sizeof ground.root, "%s/%d", temporary, (int)getpid());
    } else {
        ground.env = ground.memory = env_memory_create(1);
        snprintf(ground.root, sizeof ground.root, "/store");
        if (kind == 2)
            ground.env = ground.fault = env_fault_create(ground.memory);
    }
    ck_assert_int_eq(env_make_dir(ground.env, ground.root), PLSM_OK);
    return ground;
}

static void ground_destroy(struct ground *ground)
{
    env_fault_destroy(ground->fault);
    env_memory_destroy(ground->memory);
}

/* A path below the root; good for the eight latest calls. */
static const char *at(const struct ground *ground, const char *name)
{
    static char paths[8][600];
    static unsigned turn;
    char *path = paths[turn++ % 8];
    snprintf(path, sizeof paths[0], "%s/%s", ground->root, name);
    return path;
}

static void write_file(const struct ground *ground, const char *name, const char *text)
{
    struct env_file *file = NULL;
    ck_assert_int_eq(env_open(ground->env, at(ground, name), ENV_APPEND, &file), PLSM_OK);
    ck_assert_int_eq(env_append(file, text, strlen(text)), PLSM_OK);
    env_close(file);
}

/* The content, or NULL when there is no such file; good until the next call. */
static const char *content(const struct ground *ground, const char *name)
{
    static char text[256];
    struct env_file *file = NULL;
    if (env_open(ground->env, at(ground, name), ENV_READ, &file) != PLSM_OK)
        return NULL;
    size_t got = 0;
    ck_assert_int_eq(env_read_some(file, 0, text, sizeof text - 1, &got), PLSM_OK);
    text[got] = '\0';
    env_close(file);
    return text;
}

struct names {
    char text[2048];
    unsigned count;
};

static void add_name(void *arg, const char *name)
{
    struct names *names = arg;
    size_t used = strlen(names->text);
    snprintf(names->text + used, sizeof names->text - used, "%s|", name);
    names->count++;
}

static struct names list(const struct ground *ground, const char *name)
{
    struct names names = {{0}, 0};
    ck_assert_int_eq(env_list(ground->env, at(ground, name), add_name, &names), PLSM_OK);
    return names;
}

START_TEST(files_are_written_and_read)
{
    struct ground ground = ground_create(_i);
    struct env_file *file = NULL, *reader = NULL;
    uint64_t size = 7;
    const char *path = at(&ground, "file");
    ck_assert_int_eq(env_open(ground.env, path, ENV_READ, &file), PLSM_NOT_FOUND);
    ck_assert_ptr_nonnull(strstr(plsm_message(), path));
    ck_assert_int_eq(env_open(ground.env, path, ENV_APPEND, &file), PLSM_OK);
    ck_assert_str_eq(env_path(file), path);
    ck_assert_int_eq(env_size(file, &size), PLSM_OK);
    ck_assert_uint_eq(size, 0);
    ck_assert_int_eq(env_open(ground.env, path, ENV_READ, &reader), PLSM_OK);

    /* Random pieces, read back through both handles while it grows. */
    enum { ALL = 300000 };
    uint8_t *all = malloc(ALL), *back = malloc(ALL);
    struct random random;
    random_seed(&random, 5);
    for (size_t i = 0; i < ALL; i++)
        all[i] = (uint8_t)random_next(&random);
    for (size_t done = 0; done < ALL;) {
        size_t now = random_below(&random, 20000);
        now = now < ALL - done ? now : ALL - done;
        ck_assert_int_eq(env_append(file, all + done, now), PLSM_OK);
        done += now;
        size_t from = random_below(&random, done + 1), part = random_below(&random, done - from + 1);
        ck_assert_int_eq(env_read(random_below(&random, 2) ? file : reader, from, back, part), PLSM_OK);
        ck_assert(part == 0 || memcmp(back, all + from, part) == 0);
        ck_assert_int_eq(env_size(reader, &size), PLSM_OK);
        ck_assert_uint_eq(size, done);
    }
    ck_assert_int_eq(env_sync(file), PLSM_OK);
    ck_assert_int_eq(env_sync(reader), PLSM_OK);

    /* Many pieces at once, some of them empty. */
    enum { PIECES = 150 };
    plsm_slice pieces[PIECES];
    size_t sum = 0;
    for (size_t i = 0; i < PIECES; i++) {
        pieces[i] = slice(all + sum, i % 7 ? random_below(&random, 2000) : 0);
        sum += pieces[i].size;
    }
    ck_assert_int_eq(env_append_pieces(file, pieces, PIECES), PLSM_OK);
    ck_assert_int_eq(env_append_pieces(file, pieces, 0), PLSM_OK);
    ck_assert_int_eq(env_append_pieces(reader, pieces, PIECES), PLSM_INVALID);
    ck_assert_int_eq(env_read(reader, ALL, back, sum), PLSM_OK);
    ck_assert_mem_eq(back, all, sum);
    ck_assert_int_eq(env_truncate(file, ALL), PLSM_OK);

    /* The end. */
    size_t got = 9;
    ck_assert_int_eq(env_read_some(reader, ALL - 10, back, 100, &got), PLSM_OK);
    ck_assert_uint_eq(got, 10);
    ck_assert_int_eq(env_read_some(reader, ALL + 5, back, 100, &got), PLSM_OK);
    ck_assert_uint_eq(got, 0);
    ck_assert_int_eq(env_read(reader, ALL - 10, back, 11), PLSM_CORRUPT);
    ck_assert_ptr_nonnull(strstr(plsm_message(), "299990"));
    ck_assert_ptr_nonnull(strstr(plsm_message(), path));

    /* Cutting. */
    ck_assert_int_eq(env_truncate(file, ALL + 1), PLSM_INVALID);
    ck_assert_int_eq(env_truncate(file, 1000), PLSM_OK);
    ck_assert_int_eq(env_append(file, "tail", 4), PLSM_OK);
    ck_assert_int_eq(env_read_some(reader, 0, back, ALL, &got), PLSM_OK);
    ck_assert_uint_eq(got, 1004);
    ck_assert_mem_eq(back, all, 1000);
    ck_assert_mem_eq(back + 1000, "tail", 4);
    ck_assert_int_eq(env_append(reader, "x", 1), PLSM_INVALID);
    ck_assert_int_eq(env_truncate(reader, 0), PLSM_INVALID);
    env_close(file);
    env_close(reader);
    env_close(NULL);

    /* Opening for append empties. */
    write_file(&ground, "file", "new");
    ck_assert_str_eq(content(&ground, "file"), "new");
    free(all);
    free(back);
    ground_destroy(&ground);
}
END_TEST

static bool kernel_has_rings(void)
{
#if defined(HAVE_LIBURING)
    enum { DEPTH = 64 };           /* of the real ones: one that is smaller may be had where they cannot */
    uint64_t parameters[32] = {0}; /* more than a struct io_uring_params */
    long ring = syscall(SYS_io_uring_setup, DEPTH, parameters);
    if (ring >= 0)
        close((int)ring);
    return ring >= 0;
#else
    return false;
#endif
}

/* What env_read_many would read one by one, were it left over, is read by the ring where there can be one. */
START_TEST(rings_read)
{
    enum { PIECES = 100, BLOCK = 512 };
    struct ground ground = ground_create(0);
    struct env_file *file = NULL;
    struct env_piece pieces[PIECES];
    static uint8_t bytes[PIECES * BLOCK], back[PIECES][BLOCK];
    char path[200];
    if (!kernel_has_rings()) {
        printf("left out: rings_read: no io_uring here\n");
        ground_destroy(&ground);
        return;
    }
    snprintf(path, sizeof path, "%s/ring", ground.root);
    for (unsigned i = 0; i < PIECES; i++)
        memset(bytes + i * BLOCK, (int)i, BLOCK);
    ck_assert_int_eq(env_open(ground.env, path, ENV_APPEND, &file), PLSM_OK);
    ck_assert_int_eq(env_append(file, bytes, sizeof bytes), PLSM_OK);
    env_close(file);
    ck_assert_int_eq(env_open(ground.env, path, ENV_READ, &file), PLSM_OK);
    for (unsigned i = 0; i < PIECES; i++)
        pieces[i] = (struct env_piece){
            .file = file, .offset = i * BLOCK, .data = back[i], .size = BLOCK, .status = PLSM_UNSUPPORTED};
    ground.env->ops->read_many(ground.env, pieces, PIECES);
    for (unsigned i = 0; i < PIECES; i++) {
        ck_assert_int_eq(pieces[i].status, PLSM_OK);
        ck_assert(back[i][0] == i && back[i][BLOCK - 1] == i);
    }
    env_close(file);
    ground_destroy(&ground);
}
END_TEST

/* Pieces of several files at once, in any order, more than a ring takes; one that does not exist fails alone. */
START_TEST(pieces_are_read_together)
{
    enum { FILES = 3, BLOCKS = 70, BLOCK = 512, PIECES = 200 };
    struct ground ground = ground_create(_i);
    struct env_file *files[FILES];
    static uint8_t back[PIECES][BLOCK];
    struct env_piece pieces[PIECES];
    struct random random;
    random_seed(&random, 7);
    for (unsigned f = 0; f < FILES; f++) {
        char path[200];
        uint8_t block[BLOCK];
        struct env_file *file = NULL;
        snprintf(path, sizeof path, "%s/pieces-%u", ground.root, f);
        ck_assert_int_eq(env_open(ground.env, path, ENV_APPEND, &file), PLSM_OK);
        for (unsigned b = 0; b < BLOCKS; b++) {
            memset(block, (int)(f * BLOCKS + b), BLOCK);
            ck_assert_int_eq(env_append(file, block, BLOCK), PLSM_OK);
        }
        env_close(file);
        ck_assert_int_eq(env_open(ground.env, path, ENV_READ, &files[f]), PLSM_OK);
    }
    ck_assert_int_eq(env_read_many(ground.env, pieces, 0), PLSM_OK);
    for (unsigned round = 0; round < 4; round++) {
        unsigned count = round == 0 ? 1 : PIECES, wrong = round == 3 ? 57 : PIECES;
        for (unsigned i = 0; i < count; i++)
            pieces[i] = (struct env_piece){.file = files[random_below(&random, FILES)],
                                           .offset = BLOCK * random_below(&random, BLOCKS),
                                           .data = back[i],
                                           .size = BLOCK};
        if (wrong < count)
            pieces[wrong].offset = BLOCK * BLOCKS - 10; /* over the end */
        ck_assert_int_eq(env_read_many(ground.env, pieces, count), wrong < count ? PLSM_CORRUPT : PLSM_OK);
        for (unsigned i = 0; i < count; i++) {
            unsigned f = pieces[i].file == files[1] ? 1 : pieces[i].file == files[2] ? 2 : 0;
            uint8_t expected = (uint8_t)(f * BLOCKS + pieces[i].offset / BLOCK);
            ck_assert_int_eq(pieces[i].status, i == wrong ? PLSM_CORRUPT : PLSM_OK);
            ck_assert(i == wrong || (back[i][0] == expected && back[i][BLOCK - 1] == expected));
        }
    }
    for (unsigned f = 0; f < FILES; f++)
        env_close(files[f]);
    ground_destroy(&ground);
}
END_TEST

START_TEST(names_are_changed)
{
    struct ground ground = ground_create(_i);
    struct env *env = ground.env;
    write_file(&ground, "a", "first");
    write_file(&ground, "b", "second");
    ck_assert_int_eq(env_rename(env, at(&ground, "a"), at(&ground, "b")), PLSM_OK);
    ck_assert_ptr_null(content(&ground, "a"));
    ck_assert_str_eq(content(&ground, "b"), "first");
    ck_assert_int_eq(env_rename(env, at(&ground, "a"), at(&ground, "c")), PLSM_NOT_FOUND);
    ck_assert_int_eq(env_rename(env, at(&ground, "b"), at(&ground, "b")), PLSM_OK);
    ck_assert_str_eq(content(&ground, "b"), "first");
    ck_assert_int_eq(env_link(env, at(&ground, "b"), at(&ground, "second")), PLSM_OK);
    ck_assert_int_eq(env_link(env, at(&ground, "b"), at(&ground, "second")), PLSM_EXISTS);
    ck_assert_int_eq(env_link(env, at(&ground, "c"), at(&ground, "third")), PLSM_NOT_FOUND);
    ck_assert_int_eq(env_rename(env, at(&ground, "b"), at(&ground, "c")), PLSM_OK);
    ck_assert_str_eq(content(&ground, "second"), "first");
    ck_assert_int_eq(env_remove(env, at(&ground, "second")), PLSM_OK);
    ck_assert_int_eq(env_rename(env, at(&ground, "c"), at(&ground, "b")), PLSM_OK);
    ck_assert_int_eq(env_make_dir(env, at(&ground, "dir")), PLSM_OK);
    ck_assert_int_eq(env_make_dir(env, at(&ground, "dir")), PLSM_EXISTS);
    ck_assert_int_eq(env_make_dir(env, at(&ground, "b")), PLSM_EXISTS);
    ck_assert_int_eq(env_make_dir(env, at(&ground, "no/dir")), PLSM_NOT_FOUND);
    ck_assert_int_eq(env_rename(env, at(&ground, "b"), at(&ground, "dir")), PLSM_IO);
    ck_assert_int_eq(env_rename(env, at(&ground, "dir"), at(&ground, "b")), PLSM_IO);
    ck_assert_int_eq(env_rename(env, at(&ground, "dir"), at(&ground, "dir/below")), PLSM_IO);
    ck_assert_int_eq(env_rename(env, at(&ground, "b"), at(&ground, "dir/b")), PLSM_OK);
    ck_assert_int_eq(env_remove(env, at(&ground, "dir")), PLSM_IO); /* not empty */
    write_file(&ground, "a", "again");
    ck_assert_int_eq(env_exchange(env, at(&ground, "a"), at(&ground, "dir")), PLSM_OK);
    ck_assert_str_eq(content(&ground, "dir"), "again");
    ck_assert_str_eq(content(&ground, "a/b"), "first");
    ck_assert_int_eq(env_exchange(env, at(&ground, "dir"), at(&ground, "a")), PLSM_OK);
    ck_assert_int_eq(env_exchange(env, at(&ground, "a"), at(&ground, "c")), PLSM_NOT_FOUND);
    ck_assert_int_eq(env_exchange(env, at(&ground, "c"), at(&ground, "a")), PLSM_NOT_FOUND);
    ck_assert_str_eq(content(&ground, "a"), "again");
    ck_assert_int_eq(env_rename(env, at(&ground, "dir"), at(&ground, "moved")), PLSM_OK);
    ck_assert_str_eq(content(&ground, "moved/b"), "first");
    ck_assert_int_eq(env_sync_dir(env, at(&ground, "moved")), PLSM_OK);
    ck_assert_int_eq(env_sync_dir(env, at(&ground, "dir")), PLSM_NOT_FOUND);
    ck_assert_int_eq(env_sync_dir(env, at(&ground, "moved/b")), PLSM_IO);
    struct names names = list(&ground, "moved");
    ck_assert_str_eq(names.text, "b|");
    ck_assert_int_eq(env_remove(env, at(&ground, "moved/b")), PLSM_OK);
    ck_assert_int_eq(env_remove(env, at(&ground, "moved/b")), PLSM_NOT_FOUND);
    ck_assert_uint_eq(list(&ground, "moved").count, 0);
    ck_assert_int_eq(env_remove(env, at(&ground, "moved")), PLSM_OK);
    ck_assert_int_eq(env_list(env, at(&ground, "moved"), add_name, &names), PLSM_NOT_FOUND);
    write_file(&ground, "plain", "");
    ck_assert_int_eq(env_list(env, at(&ground, "plain"), add_name, &names), PLSM_NOT_FOUND);
    struct env_file *file = NULL;
    ck_assert_int_eq(env_open(env, at(&ground, "plain/x"), ENV_APPEND, &file), PLSM_IO);
    char name[400] = {0};
    memset(name, 'n', 256);
    ck_assert_int_eq(env_open(env, at(&ground, name), ENV_APPEND, &file), PLSM_IO);
    name[255] = '\0';
    write_file(&ground, name, "long name");
    ck_assert_str_eq(content(&ground, name), "long name");
    ground_destroy(&ground);
}
END_TEST

START_TEST(open_files_outlive_their_names)
{
    struct ground ground = ground_create(_i);
    struct env_file *appended = NULL, *renamed = NULL;
    ck_assert_int_eq(env_open(ground.env, at(&ground, "gone"), ENV_APPEND, &appended), PLSM_OK);
    ck_assert_int_eq(env_append(appended, "abc", 3), PLSM_OK);
    ck_assert_int_eq(env_remove(ground.env, at(&ground, "gone")), PLSM_OK);
    ck_assert_int_eq(env_append(appended, "def", 3), PLSM_OK);
    char back[6];
    ck_assert_int_eq(env_read(appended, 0, back, 6), PLSM_OK);
    ck_assert_mem_eq(back, "abcdef", 6);
    write_file(&ground, "gone", "another");
    ck_assert_int_eq(env_read(appended, 0, back, 6), PLSM_OK);
    ck_assert_mem_eq(back, "abcdef", 6);
    ck_assert_int_eq(env_sync(appended), PLSM_OK);
    ck_assert_str_eq(content(&ground, "gone"), "another");

    ck_assert_int_eq(env_open(ground.env, at(&ground, "x"), ENV_APPEND, &renamed), PLSM_OK);
    ck_assert_int_eq(env_rename(ground.env, at(&ground, "x"), at(&ground, "gone")), PLSM_OK);
    ck_assert_int_eq(env_append(renamed, "through the old handle", 22), PLSM_OK);
    ck_assert_str_eq(content(&ground, "gone"), "through the old handle");
    env_close(appended);
    env_close(renamed);
    ground_destroy(&ground);
}
END_TEST

START_TEST(locks_exclude)
{
    struct ground ground = ground_create(_i);
    struct env *env = ground.env;
    const char *path = at(&ground, "LOCK");
    struct env_lock *a = NULL, *b = NULL, *c = NULL;
    ck_assert_int_eq(env_lock(env, path, 0, true, &a), PLSM_OK);
    ck_assert_int_eq(env_lock(env, path, 0, true, &b), PLSM_LOCKED);
    ck_assert_ptr_nonnull(strstr(plsm_message(), path));
    ck_assert_int_eq(env_lock(env, path, 0, false, &b), PLSM_LOCKED);
    ck_assert_int_eq(env_lock(env, path, 1, true, &b), PLSM_OK); /* another byte */
    env_unlock(b);
    ck_assert_int_eq(env_lock(env, path, 0, true, &b), PLSM_LOCKED); /* giving back one byte frees no other */
    env_unlock(a);
    ck_assert_int_eq(env_lock(env, path, 0, false, &a), PLSM_OK);
    ck_assert_int_eq(env_lock(env, path, 0, false, &b), PLSM_OK); /* shared */
    ck_assert_int_eq(env_lock(env, path, 0, true, &c), PLSM_LOCKED);
    env_unlock(a);
    ck_assert_int_eq(env_lock(env, path, 0, true, &c), PLSM_LOCKED);
    env_unlock(b);
    ck_assert_int_eq(env_lock(env, path, 0, true, &c), PLSM_OK);
    env_unlock(c);
    env_unlock(NULL);
    ck_assert_str_eq(content(&ground, "LOCK"), "");
    ck_assert_int_eq(env_lock(env, at(&ground, "no/LOCK"), 0, true, &c), PLSM_NOT_FOUND);
    ground_destroy(&ground);
}
END_TEST

static void *add_one(struct env_file **out, const struct ground *ground, const char *name)
{
    ck_assert_int_eq(env_open(ground->env, at(ground, name), ENV_READ, out), PLSM_OK);
    return *out;
}

static void note_thread(void *arg)
{
    sigset_t blocked;
    pthread_sigmask(SIG_BLOCK, NULL, &blocked);
    *(int *)arg = sigismember(&blocked, SIGTERM) + sigismember(&blocked, SIGINT) + sigismember(&blocked, SIGHUP);
}

START_TEST(time_threads_randomness_and_space)
{
    struct ground ground = ground_create(_i);
    struct env *env = ground.env;
    uint64_t start = env_now_ns(env);
    env_sleep_ns(env, 3000000);
    ck_assert_uint_ge(env_now_ns(env) - start, 3000000);
    ck_assert_uint_gt(env_wall_ns(env), UINT64_C(1600000000) * 1000000000);
    uint8_t one[67] = {0}, two[67] = {0};
    env_random(env, one, sizeof one);
    env_random(env, two, sizeof two);
    ck_assert_mem_ne(one, two, sizeof one);
    ck_assert_mem_ne(one + 59, (uint8_t[8]){0}, 8); /* up to its end */
    int blocked = 0;
    struct env_thread *thread = NULL;
    ck_assert_int_eq(env_thread_start(env, note_thread, &blocked, &thread), PLSM_OK);
    env_thread_join(thread);
    ck_assert_int_eq(blocked, 3);
    env_thread_join(NULL);
    struct env_space space = {0};
    ck_assert_int_eq(env_space(env, ground.root, &space), PLSM_OK);
    ck_assert_uint_gt(space.bytes_total, 0);
    ck_assert_uint_le(space.bytes_free, space.bytes_total);
    ground_destroy(&ground);
}
END_TEST

/* Every allocation fails in turn: an error, nothing leaked (ASan), and afterwards it works. */
START_TEST(allocations_may_fail)
{
    struct ground ground = ground_create(_i);
    write_file(&ground, "file", "text");
    uint64_t nth = 1;
    for (bool failed = true; failed; nth++) {
        struct env_file *file = NULL;
        struct env_lock *lock = NULL;
        struct env_thread *thread = NULL;
        int blocked = 0;
        const char *path = at(&ground, "file"), *lock_path = at(&ground, "LOCK");
        mem_fail_at(nth);
        plsm_status status = env_open(ground.env, path, ENV_READ, &file);
        if (status == PLSM_OK)
            status = env_lock(ground.env, lock_path, 0, true, &lock);
        if (status == PLSM_OK)
            status = env_thread_start(ground.env, note_thread, &blocked, &thread);
        failed = mem_count() >= nth;
        mem_fail_at(0);
        ck_assert_int_eq(status, failed ? PLSM_NO_MEMORY : PLSM_OK);
        env_close(file);
        env_unlock(lock);
        env_thread_join(thread);
    }
    ck_assert_uint_ge(nth, 4);
    ground_destroy(&ground);
}
END_TEST

/* --- the POSIX one's descriptors --- */

enum { FILES = ENV_DESCRIPTORS_MAX + 150, READS = 4000 };

static unsigned open_descriptors(void)
{
    struct names names = {{0}, 0};
    ck_assert_int_eq(env_list(env_posix(), "/proc/self/fd", add_name, &names), PLSM_OK);
    return names.count;
}

struct reading {
    struct env_file **files;
    uint64_t seed;
    unsigned wrong;
};

static void read_at_random(void *arg)
{
    struct reading *reading = arg;
    struct random random;
    random_seed(&random, reading->seed);
    for (unsigned i = 0; i < READS; i++) {
        uint64_t number = random_below(&random, FILES), back = 0;
        if (random_below(&random, 2))
            number %= 20; /* some are hot */
        if (env_read(reading->files[number], 8, &back, 8) != PLSM_OK || back != number)
            reading->wrong++;
    }
}

START_TEST(more_files_than_descriptors)
{
    struct ground ground = ground_create(0);
    static struct env_file *files[FILES];
    unsigned before = open_descriptors();
    for (uint64_t i = 0; i < FILES; i++) {
        char name[32];
        snprintf(name, sizeof name, "run-%06u", (unsigned)i);
        struct env_file *file = NULL;
        ck_assert_int_eq(env_open(ground.env, at(&ground, name), ENV_APPEND, &file), PLSM_OK);
        uint64_t words[2] = {~i, i};
        ck_assert_int_eq(env_append(file, words, sizeof words), PLSM_OK);
        env_close(file);
        add_one(&files[i], &ground, name);
        ck_assert_uint_le(open_descriptors() - before, ENV_DESCRIPTORS_MAX);
    }
    for (int round = 0; round < 3; round++)
        for (uint64_t i = 0; i < FILES; i++) {
            uint64_t back[2] = {0};
            ck_assert_int_eq(env_read(files[i], 0, back, 16), PLSM_OK);
            ck_assert_uint_eq(back[1], i);
        }
    ck_assert_uint_eq(open_descriptors() - before, ENV_DESCRIPTORS_MAX);
    enum { THREADS = 4 };
    struct reading readings[THREADS] = {0};
    struct env_thread *threads[THREADS] = {0};
    for (uint64_t i = 0; i < THREADS; i++) {
        readings[i] = (struct reading){files, i + 1, 0};
        ck_assert_int_eq(env_thread_start(ground.env, read_at_random, &readings[i], &threads[i]), PLSM_OK);
    }
    for (int i = 0; i < THREADS; i++) {
        env_thread_join(threads[i]);
        ck_assert_uint_eq(readings[i].wrong, 0);
    }
    for (int i = 0; i < FILES; i++)
        env_close(files[i]);
    ck_assert_uint_eq(open_descriptors(), before);
}
END_TEST

/* A path that now leads to another file is noticed when its descriptor has to be opened again. */
START_TEST(replaced_files_are_not_read_as_the_old_ones)
{
    struct ground ground = ground_create(0);
    static struct env_file *files[FILES];
    write_file(&ground, "victim", "old content");
    write_file(&ground, "other", "new content");
    write_file(&ground, "many", "many");
    struct env_file *victim = add_one(&victim, &ground, "victim");
    ck_assert_int_eq(env_rename(ground.env, at(&ground, "other"), at(&ground, "victim")), PLSM_OK);
    char back[11];
    ck_assert_int_eq(env_read(victim, 0, back, sizeof back), PLSM_OK);
    ck_assert_mem_eq(back, "old content", sizeof back);
    for (int i = 0; i < FILES; i++)
        add_one(&files[i], &ground, "many");
    for (int i = 0; i < 2 * FILES; i++) /* the clock hand passes twice: first it takes note of the read above */
        ck_assert_int_eq(env_read(files[i % FILES], 0, back, 4), PLSM_OK);
    ck_assert_int_eq(env_read(victim, 0, back, sizeof back), PLSM_IO);
    for (int i = 0; i < FILES; i++)
        env_close(files[i]);
    env_close(victim);
}
END_TEST

/* Of files that were only opened, the newest keep their descriptors: else a path that was replaced would show. */
START_TEST(recently_opened_files_keep_their_descriptors)
{
    struct ground ground = ground_create(0);
    static struct env_file *files[FILES], *later[100];
    write_file(&ground, "victim", "old content");
    write_file(&ground, "other", "new content");
    write_file(&ground, "many", "many");
    for (int i = 0; i < FILES; i++)
        add_one(&files[i], &ground, "many");
    struct env_file *victim = add_one(&victim, &ground, "victim");
    ck_assert_int_eq(env_rename(ground.env, at(&ground, "other"), at(&ground, "victim")), PLSM_OK);
    for (int i = 0; i < 100; i++)
        add_one(&later[i], &ground, "many");
    char back[11];
    ck_assert_int_eq(env_read(victim, 0, back, sizeof back), PLSM_OK);
    ck_assert_mem_eq(back, "old content", sizeof back);
    for (int i = 0; i < FILES; i++)
        env_close(files[i]);
    for (int i = 0; i < 100; i++)
        env_close(later[i]);
    env_close(victim);
}
END_TEST

START_TEST(files_are_private)
{
    struct ground ground = ground_create(0);
    struct stat status;
    struct env_lock *lock = NULL;
    umask(0);
    write_file(&ground, "file", "x");
    ck_assert_int_eq(env_make_dir(ground.env, at(&ground, "dir")), PLSM_OK);
    ck_assert_int_eq(env_lock(ground.env, at(&ground, "LOCK"), 0, true, &lock), PLSM_OK);
    ck_assert_int_eq(stat(at(&ground, "file"), &status), 0);
    ck_assert_uint_eq(status.st_mode & 07777, 0600);
    ck_assert_int_eq(stat(at(&ground, "LOCK"), &status), 0);
    ck_assert_uint_eq(status.st_mode & 07777, 0600);
    ck_assert_int_eq(stat(at(&ground, "dir"), &status), 0);
    ck_assert_uint_eq(status.st_mode & 07777, 0700);
    env_unlock(lock);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("env");
    TCase *all = tcase_create("all");
    tcase_set_timeout(all, 120);
    tcase_add_unchecked_fixture(all, make_temporary, remove_temporary);
    tcase_add_test(all, rings_read);
    tcase_add_loop_test(all, pieces_are_read_together, 0, KINDS);
    tcase_add_loop_test(all, files_are_written_and_read, 0, KINDS);
    tcase_add_loop_test(all, names_are_changed, 0, KINDS);
    tcase_add_loop_test(all, open_files_outlive_their_names, 0, KINDS);
    tcase_add_loop_test(all, locks_exclude, 0, KINDS);
    tcase_add_loop_test(all, time_threads_randomness_and_space, 0, KINDS);
    tcase_add_loop_test(all, allocations_may_fail, 0, KINDS);
    tcase_add_test(all, more_files_than_descriptors);
    tcase_add_test(all, replaced_files_are_not_read_as_the_old_ones);
    tcase_add_test(all, recently_opened_files_keep_their_descriptors);
    tcase_add_test(all, files_are_private);
    suite_add_tcase(suite, all);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
