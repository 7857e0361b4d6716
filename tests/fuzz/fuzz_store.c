/* Opens and reads mutated stores for a while: an error or the right answer, never a crash, never a hang.
 *
 * A few stores of each engine are made from seeded workloads. Each round mutates some places of a copy of one (bytes,
 * ranges, splices from other files and stores, cuts, growth), opens it, reads everything, writes a little, checks it,
 * closes it and opens it again. Rounds run in child processes, in groups; each is a pure function of FUZZ_SEED and its
 * number, which a failure names.
 *
 * FUZZ_SECONDS: how long (60); FUZZ_SEED; FUZZ_ROUND: that one alone, in this process, for a debugger; TEST_ENGINE. */
#include <stdlib.h>

#include "base/env_memory.h"
#include "base/random.h"
#include "store/internal.h"
#include "tests/harness/engines.h"
#include "tests/harness/fuzz.h"
#include "tests/harness/pool.h"
#include "tests/harness/replay.h"

#include "base/banned.h"

#define STORE "/store"
#define COMMON ",background=0,buffer_size=64K,file_size=64K,size_ratio=2,l0_compact=2,manifest_size=4K,cache_size=64K"

enum { SUBJECTS_MAX = 30, FILES_MAX = 64, GROUP = 64, MUTATIONS_MAX = 6, ROUND_SECONDS = 60 };

static const struct kind {
    const char *engine, *options;
} kinds[] = {
    {"lsm", "index=learned" COMMON},
    {"lsm", "index=traditional" COMMON},
    {"lsm", "index=classic" COMMON},
    {"lsm", "index=learned,compression=lz4" COMMON},
    {"lsm", "index=traditional,compression=zstd,compression_page=4K,compression_dictionary=256" COMMON},
    {"appendlog", "engine=appendlog,file_size=64K,merge_garbage=0.3,background=0"},
    {"appendlog", "engine=appendlog,file_size=64K,merge_garbage=0.05,log=written,background=0"},
    {"hybridlog", "engine=hybridlog,background=0,buffer_size=64K,file_size=64K,cache_size=64K"},
    {"hybridlog", "engine=hybridlog,background=0,buffer_size=256K,file_size=256K,cache_size=64K,separate_garbage=0.1"},
};
enum { KINDS = sizeof kinds / sizeof *kinds };

struct subject {
    const char *options;
    bool is_tree; /* of the engine lsm */
    struct env *env;
    uint64_t calls;
    struct model *model;
    char files[FILES_MAX][100];
    size_t file_count;
};

static struct subject subjects[SUBJECTS_MAX];
static unsigned subject_count;

/* --- the stores --------------------------------------------------------------------------------------------------- */

static void note_file(void *arg, const char *name)
{
    struct subject *subject = arg;
    if (subject->file_count < FILES_MAX)
        snprintf(subject->files[subject->file_count++], sizeof subject->files[0], STORE "/%s", name);
}

static void subject_create(struct subject *subject, const struct kind *kind, size_t count, unsigned number)
{
    *subject = (struct subject){
        .options = kind->options, .is_tree = strcmp(kind->engine, test_engines[0].name) == 0, .model = model_create()};
    struct env *env = env_memory_create(number);
    struct op *ops = workload_create(&workload_writes, 100 + number, count);
    struct replay replay = {.clock = env};
    bool passed = replay_start(&replay, env, STORE, subject->options, subject->model);
    for (size_t i = 0; i < count && passed; i++)
        passed = replay_step(&replay, &ops[i]);
    passed = passed && replay_step(&replay, &(struct op){.kind = number % 2 ? OP_SCAN : OP_FLUSH});
    if (!passed) {
        fprintf(stderr, "cannot make store %u: %s\n", number, replay.failure);
        exit(EXIT_FAILURE);
    }
    subject->env = env_memory_crash(env, env_memory_calls(env), ENV_CRASH_KEEP, 1);
    subject->calls = env_memory_calls(subject->env);
    replay_destroy(&replay);
    env_memory_destroy(env);
    free(ops);
    if (env_list(subject->env, STORE, note_file, subject) != PLSM_OK)
        exit(EXIT_FAILURE);
}

static void subjects_create(void)
{
    static const size_t operations[] = {40, 300, 1200};
    for (unsigned i = 0; i < 3 * KINDS; i++) {
        const struct kind *kind = &kinds[i % KINDS];
        if (test_engine_wanted(&(struct test_engine){.name = kind->engine}))
            subject_create(&subjects[subject_count++], kind, operations[i / KINDS], i);
    }
}
_Static_assert(3 * KINDS <= SUBJECTS_MAX, "there is room for all");

/* --- mutations ---------------------------------------------------------------------------------------------------- */

struct bytes {
    uint8_t *data;
    size_t size;
};

static struct bytes copy_of(struct env *env, const char *path, size_t extra)
{
    struct bytes bytes = {0};
    uint8_t *data;
    if (env_memory_content(env, path, &data, &bytes.size) != PLSM_OK)
        return (struct bytes){0};
    bytes.data = calloc(1, bytes.size + extra + 1);
    if (bytes.data && bytes.size > 0)
        memcpy(bytes.data, data, bytes.size);
    return bytes;
}

static void splice(struct bytes *bytes, struct random *random)
{
    const struct subject *from = &subjects[random_below(random, subject_count)];
    struct bytes other = copy_of(from->env, from->files[random_below(random, from->file_count)], 0);
    if (other.size > 0) {
        size_t source = random_below(random, other.size), target = random_below(random, bytes->size);
        /* Often at the same place and in whole pages: then more of it makes sense. */
        if (random_below(random, 2)) {
            source &= ~(size_t)4095;
            target &= ~(size_t)4095;
        }
        size_t size = random_below(random, 2) ? 4096 : 1 + random_below(random, 300);
        size = size < other.size - source ? size : other.size - source;
        size = size < bytes->size - target ? size : bytes->size - target;
        memcpy(bytes->data + target, other.data + source, size);
    }
    free(other.data);
}

/* `bytes` has room for 4,096 more. */
static void mutate(struct bytes *bytes, struct random *random)
{
    if (bytes->size == 0)
        return;
    /* Half of the time at the end, where footers and tails are. */
    size_t end = bytes->size < 512 ? bytes->size : 512;
    size_t at =
        random_below(random, 2) ? random_below(random, bytes->size) : bytes->size - 1 - random_below(random, end);
    size_t size = 1 + random_below(random, 64);
    size = size < bytes->size - at ? size : bytes->size - at;
    switch (random_below(random, 8)) {
    case 0:
    case 1:
        bytes->data[at] ^= (uint8_t)(1u << random_below(random, 8));
        break;
    case 2:
        bytes->data[at] = (uint8_t)random_next(random);
        break;
    case 3:
        memset(bytes->data + at, random_below(random, 2) ? 0xff : 0, size);
        break;
    case 4:
        memmove(bytes->data + random_below(random, bytes->size - size + 1), bytes->data + at, size);
        break;
    case 5:
        bytes->size = at;
        break;
    case 6:
        memset(bytes->data + bytes->size, (int)random_below(random, 256), size);
        bytes->size += size;
        break;
    default:
        splice(bytes, random);
    }
}

/* Whether a file is a segment of an append log that no merge has written and that has a head (log/append_format.c):
 * others are ready to be written to. */
static bool is_written(const struct subject *subject, const char *path)
{
    enum { LENGTH = 544 + 8, MERGED = 544 + 32 + 32 };
    uint8_t *data;
    size_t size;
    return strncmp(path, STORE "/segment-", sizeof STORE "/segment-" - 1) == 0 &&
           env_memory_content(subject->env, path, &data, &size) == PLSM_OK && size > MERGED && data[MERGED] == 0 &&
           get_u32(data + LENGTH) > 0;
}

/* Whether a file has what was written last: what is lost of it may not be missed. */
static bool is_log(const struct subject *subject, const char *path)
{
    if (strstr(path, subject->is_tree ? "log" : "redo"))
        return true;
    bool newest = is_written(subject, path);
    for (size_t i = 0; i < subject->file_count && newest; i++)
        newest = strcmp(subject->files[i], path) <= 0 || !is_written(subject, subject->files[i]);
    return newest;
}

/* Returns whether a log was touched: then older moments are legal. Of the engines whose files tell of each other what
 * is missing, one file is mutated only. */
static bool mutate_store(struct env *image, const struct subject *subject, struct random *random)
{
    bool log = false;
    const char *path = subject->files[random_below(random, subject->file_count)];
    for (uint64_t left = 1 + random_below(random, MUTATIONS_MAX); left > 0; left--) {
        if (subject->is_tree && random_below(random, 4) == 0)
            path = subject->files[random_below(random, subject->file_count)];
        struct bytes bytes = copy_of(image, path, 4096);
        if (bytes.data) {
            mutate(&bytes, random);
            struct env_file *file;
            if (env_open(image, path, ENV_APPEND, &file) != PLSM_OK)
                abort();
            if (bytes.size > 0 && env_append(file, bytes.data, bytes.size) != PLSM_OK)
                abort();
            env_close(file);
            log = log || is_log(subject, path);
            if (setting("FUZZ_ROUND", ~0ul) != ~0ul)
                printf("mutated %s, now %zu bytes\n", path, bytes.size);
        }
        free(bytes.data);
    }
    return log;
}

/* --- rounds ------------------------------------------------------------------------------------------------------- */

#define BEHIND "a key behind the damage"

/* Whether what was written behind the damage is there, or nothing can be told. */
static bool has_it_still(struct env *image, const char *options, char *failure, size_t size)
{
    plsm *db = NULL;
    plsm_value value = {0};
    if (plsm_open_env(image, STORE, 0, options, &db) != PLSM_OK)
        return true;
    plsm_status status = plsm_get(db, NULL, slice_of(BEHIND), &value);
    bool right = status == PLSM_OK ? slice_equal(value.value, slice_of("value")) : status != PLSM_NOT_FOUND;
    if (!right)
        snprintf(failure, size, "what was written behind the damage is lost");
    plsm_value_free(&value);
    plsm_close(db);
    return right;
}

static bool run_round(uint64_t seed, uint64_t round, char *failure, size_t size)
{
    struct random random;
    random_seed(&random, seed * UINT64_C(0x9e3779b97f4a7c15) + round);
    const struct subject *subject = &subjects[random_below(&random, subject_count)];
    struct env *image = env_memory_crash(subject->env, subject->calls, ENV_CRASH_KEEP, round);
    bool log = mutate_store(image, subject, &random);
    plsm *db = NULL;
    plsm_status status = plsm_open_env(image, STORE, random_below(&random, 4) ? 0 : PLSM_READ, subject->options, &db);
    uint64_t now = model_now(subject->model), moment = now;
    bool right = status != PLSM_OK;
    if (db) {
        char first[900] = "";
        right = verify_state(db, subject->model, moment, &status, first, sizeof first);
        /* What cannot be read fits any moment, so each older one has to be tried. */
        while (!right && log && moment-- > 0)
            right = verify_state(db, subject->model, moment, &status, failure, size);
        if (!right)
            snprintf(failure, size, "round %lu: %s", (unsigned long)round, first);
        bool put = plsm_put(db, slice_of(BEHIND), slice_of("value"), PLSM_SYNC) == PLSM_OK; /* may fail */
        plsm_check(db, NULL, NULL, NULL);
        plsm_compact(db, slice(NULL, 0), slice(NULL, 0));
        plsm_close(db);
        if (put && right)
            right = has_it_still(image, subject->options, failure, size);
    }
    env_memory_destroy(image);
    return right;
}

int main(void)
{
    subjects_create();
    return fuzz_run("mutated stores", run_round, GROUP, ROUND_SECONDS);
}
