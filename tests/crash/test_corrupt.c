/* Damaged files: an error or the right answer, never a wrong one, never a crash.
 *
 * A small store (a run, a log that was never closed, a MANIFEST; once also a value log; segments, hints, redo logs and
 * recovery points of the other engines) is made on env_memory. Then, in copies of it: each byte of each file is flipped
 * in turn, each file is cut at every length, each two pages of the run change places, each file is replaced by the same
 * file of another store, and each file is removed; of the other engines each file also changes places with each other
 * one, or is replaced by a copy of it. The copy is opened and read in full: every key by itself (present and absent),
 * forward, backward. In the other engines, which have checksums all over, plsm_check must find what opening does not.
 *
 * CORRUPT_STRIDE=n every n-th byte only (of the other engines every n * LOG_STRIDE-th; 0: each byte of all);
 * CORRUPT_AT=n that one alone. TEST_ENGINE. */
#include <check.h>
#include <stdlib.h>

#include "base/env_memory.h"
#include "base/random.h"
#include "store/internal.h"
#include "tests/harness/engines.h"
#include "tests/harness/pool.h"
#include "tests/harness/replay.h"

#include "base/banned.h"

#define STORE "/store"
#define COMMON ",background=0,buffer_size=64K,cache_size=0,filter_bits=8"
#define PACKED ",compression=zstd,compression_page=8K,compression_dictionary=256"

enum {
    FILES_MAX = 24,
    CHUNK = 128, /* damages tried by one process */
    PAGE = 4096,
    SYNCED_WRITES = 8,
    LOG_STRIDE = 7,
    RECORDS_AT = 544, /* of a segment of the append log; what is in front of that stands there twice, or is nothing */
};

enum damage { FLIP, CUT, REMOVE, FOREIGN, SWAP, EXCHANGE, COPY };

struct file {
    char path[100];
    size_t size;
    bool is_log;
};

struct subject {
    const char *options;
    bool is_tree; /* of the engine lsm */
    struct env *env;
    uint64_t calls;
    struct model *model;
    uint64_t flushed; /* moment up to which everything is in the run */
    struct file files[FILES_MAX];
    size_t file_count;
};

/* --- making the store --------------------------------------------------------------------------------------------- */

static void note_file(void *arg, const char *name)
{
    struct subject *subject = arg;
    if (subject->file_count < FILES_MAX) {
        struct file *file = &subject->files[subject->file_count++];
        snprintf(file->path, sizeof file->path, STORE "/%s", name);
    }
}

static int compare_files(const void *a, const void *b)
{
    return strcmp(((const struct file *)a)->path, ((const struct file *)b)->path);
}

static void step(struct replay *replay, struct op op)
{
    ck_assert_msg(replay_step(replay, &op), "%s", replay->failure);
}

/* Writes that only a log has, the last one not synced, so that the log itself says that all the others are. */
static void write_unflushed(struct replay *replay, uint32_t seed)
{
    for (unsigned i = 0; i < SYNCED_WRITES; i++) {
        step(replay, (struct op){.kind = OP_BATCH_PUT,
                                 .key = (uint16_t)(i * 3),
                                 .size = 40,
                                 .seed = seed + 100 + i,
                                 .meta_size = (uint8_t)i});
        step(replay, (struct op){.kind = OP_BATCH_DELETE, .key = (uint16_t)(i * 3 + 40)});
        step(replay, (struct op){.kind = OP_BATCH_WRITE, .sync = 1});
    }
    step(replay, (struct op){.kind = OP_PUT, .key = 60, .size = 10, .seed = seed + 200});
}

/* About three pages of entries in the run. */
static void write_store(struct replay *replay, struct subject *subject, uint32_t seed)
{
    for (unsigned i = 0; i < 48; i++)
        if (i % 8 != 6 || i == 6) /* one long key is enough: each fills a page */
            step(replay, (struct op){.kind = OP_PUT, .key = (uint16_t)i, .size = 20 + i * 5, .seed = seed + i});
    step(replay, (struct op){.kind = OP_DELETE, .key = 8});
    step(replay, (struct op){.kind = OP_FLUSH});
    subject->flushed = model_now(subject->model);
    write_unflushed(replay, seed);
}

/* Several segments, one of which a merge has written; then likewise writes that only the newest one or the redo log
 * has. */
static void write_log_store(struct replay *replay, struct subject *subject, uint32_t seed)
{
    for (unsigned part = 0; part < 4; part++) {
        for (unsigned i = part * 8; i < part * 8 + 24; i++)
            if (i % 8 != 6)
                step(replay, (struct op){.kind = OP_PUT, .key = (uint16_t)i, .size = 20 + i * 5, .seed = seed + i});
        step(replay, (struct op){.kind = OP_DELETE, .key = (uint16_t)(part * 8)});
        step(replay, (struct op){.kind = part == 2 ? OP_COMPACT : OP_FLUSH});
        if (part == 1 || part == 3)
            step(replay, (struct op){.kind = OP_REOPEN});
    }
    for (unsigned i = 0; i < 4; i++)
        step(replay, (struct op){.kind = OP_PUT, .key = (uint16_t)(i * 9), .size = 30, .seed = seed + 50 + i});
    step(replay, (struct op){.kind = OP_FLUSH});
    subject->flushed = model_now(subject->model);
    write_unflushed(replay, seed);
}

static void subject_create(struct subject *subject, const char *options, bool is_tree, uint32_t seed)
{
    *subject = (struct subject){.options = options, .is_tree = is_tree, .model = model_create()};
    struct env *env = env_memory_create(seed);
    struct replay replay = {.clock = env};
    ck_assert_msg(replay_start(&replay, env, STORE, options, subject->model), "%s", replay.failure);
    is_tree ? write_store(&replay, subject, seed) : write_log_store(&replay, subject, seed);
    /* As the death of the process would leave it: with a log to replay. */
    subject->env = env_memory_crash(env, env_memory_calls(env), ENV_CRASH_KEEP, 1);
    replay_destroy(&replay);
    env_memory_destroy(env);
    subject->calls = env_memory_calls(subject->env);
    ck_assert_int_eq(env_list(subject->env, STORE, note_file, subject), PLSM_OK);
    qsort(subject->files, subject->file_count, sizeof *subject->files, compare_files);
    for (size_t i = 0; i < subject->file_count; i++) {
        uint8_t *data;
        struct file *file = &subject->files[i];
        ck_assert_int_eq(env_memory_content(subject->env, file->path, &data, &file->size), PLSM_OK);
        file->is_log = strstr(file->path, is_tree ? "log" : "redo") != NULL;
    }
    /* Of an append log the newest segment is that which was written to. */
    for (size_t i = subject->file_count; i-- > 0;)
        if (strncmp(subject->files[i].path, STORE "/segment-", sizeof STORE "/segment-" - 1) == 0) {
            subject->files[i].is_log = true;
            break;
        }
}

static void subject_destroy(struct subject *subject)
{
    env_memory_destroy(subject->env);
    model_destroy(subject->model);
}

/* --- one damage --------------------------------------------------------------------------------------------------- */

struct job {
    struct subject *subject, *other;
    enum damage damage;
    size_t file, from, to;
};

static uint8_t flip_mask(size_t position)
{
    uint64_t state = position;
    uint8_t mask = (uint8_t)splitmix64(&state);
    return mask ? mask : 0xff;
}

/* Writes a file's first `size` bytes anew. */
static void rewrite(struct env *env, const char *path, const uint8_t *data, size_t size)
{
    struct env_file *file;
    if (env_open(env, path, ENV_APPEND, &file) != PLSM_OK || (size > 0 && env_append(file, data, size) != PLSM_OK))
        abort();
    env_close(file);
}

/* A copy of a file's content, which rewriting it would pull away. */
static uint8_t *content_copy(struct env *env, const char *path, size_t *size)
{
    uint8_t *data = NULL, *copy;
    if (env_memory_content(env, path, &data, size) != PLSM_OK || !(copy = malloc(*size + 1)))
        abort();
    if (*size > 0)
        memcpy(copy, data, *size);
    return copy;
}

static void swap_pages(uint8_t *data, size_t number, size_t pages)
{
    /* Pairs are numbered row by row: (0,1) (0,2) ... (1,2) ... */
    size_t first = 0;
    while (number >= pages - 1 - first)
        number -= pages - 1 - first++;
    uint8_t page[PAGE], *a = data + first * PAGE, *b = data + (first + 1 + number) * PAGE;
    memcpy(page, a, PAGE);
    memcpy(a, b, PAGE);
    memcpy(b, page, PAGE);
}

/* One file gets the content of another, and that gets its with `exchange`. */
static void change_files(struct env *image, const char *path, const char *other, bool exchange)
{
    size_t size, other_size;
    uint8_t *data = content_copy(image, path, &size), *others = content_copy(image, other, &other_size);
    rewrite(image, path, others, other_size);
    if (exchange)
        rewrite(image, other, data, size);
    free(data);
    free(others);
}

static void do_damage(const struct job *job, size_t position, struct env *image)
{
    const struct file *file = &job->subject->files[job->file];
    size_t size;
    uint8_t *data;
    switch (job->damage) {
    case FLIP:
        if (env_memory_content(image, file->path, &data, &size) != PLSM_OK)
            abort();
        data[position] ^= flip_mask(position);
        break;
    case CUT:
        data = content_copy(image, file->path, &size);
        rewrite(image, file->path, data, position);
        free(data);
        break;
    case REMOVE:
        if (env_remove(image, file->path) != PLSM_OK)
            abort();
        break;
    case FOREIGN:
        data = content_copy(job->other->env, job->other->files[job->file].path, &size);
        rewrite(image, file->path, data, size);
        free(data);
        break;
    case EXCHANGE:
    case COPY:
        change_files(image, file->path, job->subject->files[position].path, job->damage == EXCHANGE);
        break;
    default:
        data = content_copy(image, file->path, &size);
        swap_pages(data, position, size / PAGE);
        rewrite(image, file->path, data, size);
        free(data);
    }
}

/* The oldest moment that may show. Behind a flip the last write of the log may be lost: nothing says that it was
 * synced. From a log that was cut, replaced or is gone nothing can be told of what it held, save that the run was
 * older. */
static uint64_t oldest_legal(const struct job *job, size_t position)
{
    const struct subject *subject = job->subject;
    uint64_t now = model_now(subject->model);
    bool is_log = subject->files[job->file].is_log || (job->damage == EXCHANGE && subject->files[position].is_log);
    if (!is_log)
        return now;
    return job->damage == FLIP ? now - 1 : subject->flushed;
}

/* What was reported, as far as it is of a file. */
struct report {
    const char *name;
    bool named;
};

static void take_line(void *arg, const char *line)
{
    struct report *report = arg;
    report->named = report->named || strstr(line, report->name);
}

/* Whether a store that could be opened must be found to be damaged, with the file's name. */
static bool is_to_be_found(const struct job *job, size_t position, plsm_open_flags flags)
{
    const struct file *file = &job->subject->files[job->file];
    if (job->subject->is_tree || file->is_log || strstr(file->path, "LOCK") ||
        (job->damage == COPY && position == job->file)) /* which is none */
        return false;
    if (strstr(file->path, "hint")) /* a writer has made it anew, and a reader does without one that is missing */
        return flags & PLSM_READ && job->damage != REMOVE;
    return job->damage != FLIP || position >= RECORDS_AT;
}

/* Whether the error of an open says enough. */
static bool is_told(const struct job *job, plsm_status status)
{
    bool one = job->damage == FLIP || job->damage == CUT;
    if (plsm_message()[0] == '\0' || status == PLSM_NOT_FOUND || status >= PLSM_STATUS_COUNT)
        return false;
    if (job->subject->is_tree || status != PLSM_CORRUPT)
        return true;
    return strstr(plsm_message(), one ? job->subject->files[job->file].path : STORE) != NULL;
}

static bool damage_and_open(const struct job *job, size_t position, plsm_open_flags flags, char *failure, size_t size)
{
    struct subject *subject = job->subject;
    struct env *image = env_memory_crash(subject->env, subject->calls, ENV_CRASH_KEEP, position);
    do_damage(job, position, image);
    plsm *db = NULL;
    plsm_status status = plsm_open_env(image, STORE, flags, subject->options, &db);
    bool right = status != PLSM_OK && is_told(job, status);
    if (status != PLSM_OK && !right)
        snprintf(failure, size, "the open fails with %s and the message \"%s\"", plsm_status_name(status),
                 plsm_message());
    uint64_t oldest = oldest_legal(job, position);
    for (uint64_t moment = model_now(subject->model); db && !right && moment >= oldest; moment--)
        right = verify_state(db, subject->model, moment, &status, failure, size);
    bool must = db && is_to_be_found(job, position, flags);
    if (db && (must || position % 5 == 0)) { /* must come back, whatever it finds */
        struct report report = {.name = strrchr(subject->files[job->file].path, '/') + 1};
        status = plsm_check(db, take_line, NULL, &report);
        if (right && must && (status != PLSM_CORRUPT || !report.named)) {
            snprintf(failure, size, "the check does not find it: %s", plsm_status_name(status));
            right = false;
        }
    }
    plsm_close(db);
    env_memory_destroy(image);
    return right;
}

/* A tree is opened by a writer, as ever; others by a writer and by a reader, in turns where it is done often. */
static bool damage_once(const struct job *job, size_t position, size_t stride, char *failure, size_t size)
{
    bool often = job->damage == FLIP || job->damage == CUT;
    if (job->subject->is_tree)
        return damage_and_open(job, position, 0, failure, size);
    if (often)
        return damage_and_open(job, position, position / stride % 2 ? PLSM_READ : 0, failure, size);
    return damage_and_open(job, position, 0, failure, size) && damage_and_open(job, position, PLSM_READ, failure, size);
}

static size_t stride_of(const struct subject *subject, enum damage damage)
{
    size_t stride = setting("CORRUPT_STRIDE", 1);
    if (stride == 0 || (damage != FLIP && damage != CUT))
        return 1;
    return subject->is_tree ? stride : stride * LOG_STRIDE;
}

static enum verdict damage_range(void *arg, char *failure, size_t size)
{
    const struct job *job = arg;
    size_t stride = stride_of(job->subject, job->damage);
    unsigned long only = setting("CORRUPT_AT", ~0ul);
    for (size_t position = job->from; position < job->to; position++) {
        char why[800] = "";
        if ((only == ~0ul ? position % stride == 0 : position == only) &&
            !damage_once(job, position, stride, why, sizeof why)) {
            snprintf(failure, size, "CORRUPT_AT=%zu: %s", position, why);
            return VERDICT_FAILED;
        }
    }
    return VERDICT_PASSED;
}

/* --- all damage --------------------------------------------------------------------------------------------------- */

static size_t positions(const struct subject *subject, size_t file, enum damage damage)
{
    size_t size = subject->files[file].size, pages = size / PAGE;
    switch (damage) {
    case FLIP:
    case CUT:
        return size;
    case SWAP:
        return pages > 1 ? pages * (pages - 1) / 2 : 0;
    case EXCHANGE: /* with those in front */
        return subject->is_tree ? 0 : file;
    case COPY:
        return subject->is_tree ? 0 : subject->file_count;
    default:
        return 1;
    }
}

static void damage_everywhere(enum damage damage, const char *what)
{
    static const struct {
        const char *engine, *options;
        const char *files[2]; /* those whose names hold one of these */
    } modes[] = {
        {"lsm", "index=learned" COMMON, {"", ""}},
        {"lsm", "index=traditional" PACKED COMMON, {"", ""}},
        {"lsm", "index=classic" COMMON, {"", ""}},
        {"lsm", "index=learned,separate_above=60" PACKED COMMON, {"values", "manifest"}}, /* the others are as above */
        {"lsm", "index=learned,separate_above=4,separate_garbage=1" COMMON, {"values", "log"}}, /* values in logs */
        {"appendlog", "engine=appendlog,file_size=64K,merge_garbage=0.9,background=0", {"", ""}},
        {"hybridlog",
         "engine=hybridlog,background=0,buffer_size=64K,file_size=64K,cache_size=64K,separate_garbage=1",
         {"", ""}},
    };
    struct pool *pool = pool_create(0);
    size_t places = 0;
    for (size_t mode = 0; mode < sizeof modes / sizeof *modes; mode++) {
        struct subject subject, other;
        bool is_tree = strcmp(modes[mode].engine, test_engines[0].name) == 0;
        if (!test_engine_wanted(&(struct test_engine){.name = modes[mode].engine}))
            continue;
        subject_create(&subject, modes[mode].options, is_tree, 1);
        subject_create(&other, modes[mode].options, is_tree, 500000);
        ck_assert_uint_ge(subject.file_count, 3);
        ck_assert_uint_eq(subject.file_count, other.file_count);
        for (size_t file = 0; file < subject.file_count; file++) {
            if (!strstr(subject.files[file].path, modes[mode].files[0]) &&
                !strstr(subject.files[file].path, modes[mode].files[1]))
                continue;
            size_t end = positions(&subject, file, damage), chunk = CHUNK * stride_of(&subject, damage);
            places += end;
            for (size_t from = 0; from < end; from += chunk) {
                struct job job = {&subject, &other, damage, file, from, from + chunk < end ? from + chunk : end};
                char label[300];
                snprintf(label, sizeof label, "%s %s (%s), from %zu", what, subject.files[file].path,
                         modes[mode].options, from);
                pool_start(pool, damage_range, &job, 300, label);
            }
        }
        pool_wait(pool);
        subject_destroy(&subject);
        subject_destroy(&other);
    }
    unsigned failures = pool_failures(pool);
    pool_destroy(pool);
    printf("corrupt: %s %zu places tried\n", what, places);
    ck_assert_msg(failures == 0, "%s: %u ranges with a wrong answer", what, failures);
}

START_TEST(test_flip)
{
    damage_everywhere(FLIP, "a flipped byte in");
}
END_TEST

START_TEST(test_cut)
{
    damage_everywhere(CUT, "cut:");
}
END_TEST

START_TEST(test_remove)
{
    damage_everywhere(REMOVE, "removed:");
}
END_TEST

START_TEST(test_foreign)
{
    damage_everywhere(FOREIGN, "of another store:");
}
END_TEST

START_TEST(test_exchange)
{
    damage_everywhere(EXCHANGE, "another in its place, and the other way round:");
}
END_TEST

START_TEST(test_copy)
{
    damage_everywhere(COPY, "a copy of another:");
}
END_TEST

START_TEST(test_swap)
{
    damage_everywhere(SWAP, "pages exchanged in");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("corrupt");
    TCase *tcase = tcase_create("damage");
    tcase_set_timeout(tcase, 3600);
    tcase_add_test(tcase, test_remove);
    tcase_add_test(tcase, test_foreign);
    tcase_add_test(tcase, test_exchange);
    tcase_add_test(tcase, test_copy);
    tcase_add_test(tcase, test_swap);
    tcase_add_test(tcase, test_flip);
    tcase_add_test(tcase, test_cut);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_set_fork_status(runner, CK_NOFORK);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
