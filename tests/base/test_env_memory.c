/* What a crash leaves of the file system in memory. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/bytes.h"
#include "base/env_memory.h"
#include "base/error.h"
#include "base/random.h"

#include "base/banned.h"

enum { SEEDS = 60 };

static struct env_file *create(struct env *env, const char *path)
{
    struct env_file *file = NULL;
    ck_assert_int_eq(env_open(env, path, ENV_APPEND, &file), PLSM_OK);
    return file;
}

static void append(struct env_file *file, const char *text)
{
    ck_assert_int_eq(env_append(file, text, strlen(text)), PLSM_OK);
}

/* A file with durable name and content. */
static void write_synced(struct env *env, const char *dir, const char *path, const char *text)
{
    struct env_file *file = create(env, path);
    append(file, text);
    ck_assert_int_eq(env_sync(file), PLSM_OK);
    env_close(file);
    ck_assert_int_eq(env_sync_dir(env, dir), PLSM_OK);
}

/* A directory /s with a durable name. */
static struct env *create_env(void)
{
    struct env *env = env_memory_create(1);
    ck_assert_int_eq(env_make_dir(env, "/s"), PLSM_OK);
    ck_assert_int_eq(env_sync_dir(env, "/"), PLSM_OK);
    return env;
}

static struct env *crash(struct env *env, enum env_crash kind, uint64_t seed)
{
    struct env *image = env_memory_crash(env, env_memory_calls(env), kind, seed);
    ck_assert_ptr_nonnull(image);
    return image;
}

/* The content of a file, with a zero byte behind it; NULL when there is none. Good until the next but three calls. */
static const char *content_size(struct env *env, const char *path, size_t *size)
{
    static char texts[4][70000];
    static unsigned turn;
    char *text = texts[turn++ % 4];
    uint8_t *data = NULL;
    if (env_memory_content(env, path, &data, size) != PLSM_OK)
        return NULL;
    ck_assert_uint_lt(*size, sizeof texts[0]);
    if (*size)
        memcpy(text, data, *size);
    text[*size] = '\0';
    return text;
}

static const char *content(struct env *env, const char *path)
{
    size_t size = 0;
    return content_size(env, path, &size);
}

#define assert_content(env, path, text) ck_assert_pstr_eq(content(env, path), text)

/* After a crash of `kind`, `path` holds `text` (NULL: is absent), whatever the seed. */
static void assert_after(struct env *env, enum env_crash kind, const char *path, const char *text)
{
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        struct env *image = crash(env, kind, seed);
        assert_content(image, path, text);
        env_memory_destroy(image);
    }
}

/* --- bytes --- */

START_TEST(only_synced_bytes_survive_power_loss)
{
    struct env *env = create_env();
    write_synced(env, "/s", "/s/quiet", "quiet");
    struct env_file *file = create(env, "/s/log");
    ck_assert_int_eq(env_sync_dir(env, "/s"), PLSM_OK);
    append(file, "synced ");
    ck_assert_int_eq(env_sync(file), PLSM_OK);
    append(file, "and ");
    append(file, "more");
    assert_after(env, ENV_CRASH_KEEP, "/s/log", "synced and more");
    assert_after(env, ENV_CRASH_DROP, "/s/log", "synced ");
    for (int kind = 0; kind < ENV_CRASH_COUNT; kind++)
        assert_after(env, (enum env_crash)kind, "/s/quiet", "quiet");
    ck_assert_int_eq(env_sync(file), PLSM_OK);
    for (int kind = 0; kind < ENV_CRASH_COUNT; kind++)
        assert_after(env, (enum env_crash)kind, "/s/log", "synced and more");
    env_close(file);
    env_memory_destroy(env);
}
END_TEST

enum { OLD = 700, NEW = 5000 };

static struct env *torn_log(uint8_t *bytes)
{
    struct env *env = create_env();
    struct env_file *file = create(env, "/s/log");
    ck_assert_int_eq(env_sync_dir(env, "/s"), PLSM_OK);
    for (int i = 0; i < OLD + NEW; i++)
        bytes[i] = (uint8_t)(1 + i % 251); /* no zeros */
    ck_assert_int_eq(env_append(file, bytes, OLD), PLSM_OK);
    ck_assert_int_eq(env_sync(file), PLSM_OK);
    for (int i = 0; i < NEW; i += 500)
        ck_assert_int_eq(env_append(file, bytes + OLD + i, 500), PLSM_OK);
    env_close(file);
    return env;
}

START_TEST(torn_bytes_are_a_prefix)
{
    static uint8_t bytes[OLD + NEW];
    struct env *env = torn_log(bytes);
    unsigned whole = 0, nothing = 0, partial = 0, garbage = 0, inside_append = 0;
    for (uint64_t seed = 0; seed < 400; seed++) {
        struct env *image = crash(env, ENV_CRASH_TORN, seed);
        size_t size = 0;
        const char *text = content_size(image, "/s/log", &size);
        ck_assert_uint_ge(size, OLD);
        ck_assert_uint_le(size, OLD + NEW);
        size_t sector = size > OLD ? (size - 1) / 512 * 512 : OLD;
        size_t sure = sector > OLD ? sector : OLD;
        ck_assert_mem_eq(text, bytes, sure);
        garbage += size > sure && memcmp(text + sure, bytes + sure, size - sure) != 0;
        whole += size == OLD + NEW;
        nothing += size == OLD;
        partial += size > OLD && size < OLD + NEW;
        inside_append += (size - OLD) % 500 != 0;
        env_memory_destroy(image);
    }
    /* Every kind of tear occurs. */
    ck_assert_uint_gt(whole, 40);
    ck_assert_uint_gt(nothing, 40);
    ck_assert_uint_gt(partial, 40);
    ck_assert_uint_gt(garbage, 40);
    ck_assert_uint_gt(inside_append, 40);
    env_memory_destroy(env);
}
END_TEST

START_TEST(reordered_sectors_are_whole_or_zero)
{
    static uint8_t bytes[OLD + NEW];
    struct env *env = torn_log(bytes);
    unsigned lost_before_kept = 0;
    for (uint64_t seed = 0; seed < 400; seed++) {
        struct env *image = crash(env, ENV_CRASH_REORDER, seed);
        size_t size = 0;
        const char *text = content_size(image, "/s/log", &size);
        ck_assert_uint_ge(size, OLD);
        ck_assert_mem_eq(text, bytes, OLD);
        bool lost = false, kept_after = false;
        for (size_t from = OLD; from < size;) {
            size_t to = (from / 512 + 1) * 512 < size ? (from / 512 + 1) * 512 : size;
            bool kept = memcmp(text + from, bytes + from, to - from) == 0;
            for (size_t i = from; i < to && !kept; i++)
                ck_assert_int_eq(text[i], 0);
            kept_after |= kept && lost;
            lost |= !kept;
            from = to;
        }
        lost_before_kept += kept_after;
        env_memory_destroy(image);
    }
    ck_assert_uint_gt(lost_before_kept, 100);
    env_memory_destroy(env);
}
END_TEST

/* New bytes where durable ones had been cut off are as unsure as any. */
START_TEST(rewritten_sectors_may_be_lost)
{
    static char old[4097], new[4097];
    memset(old, 'o', 4096);
    memset(new, 'n', 4096);
    struct env *env = create_env();
    write_synced(env, "/s", "/s/file", old);
    struct env_file *file = create(env, "/s/file");
    append(file, new);
    env_close(file);
    unsigned lost = 0;
    for (uint64_t seed = 0; seed < 200; seed++) {
        struct env *image = crash(env, ENV_CRASH_REORDER, seed);
        size_t size = 0;
        const char *text = content_size(image, "/s/file", &size);
        lost += size > 512 && text[0] == 0 && text[511] == 0;
        env_memory_destroy(image);
    }
    ck_assert_uint_gt(lost, 20);
    env_memory_destroy(env);
}
END_TEST

START_TEST(cuts_may_be_undone)
{
    struct env *env = create_env();
    write_synced(env, "/s", "/s/file", "0123456789");
    struct env_file *file = create(env, "/s/file"); /* emptied */
    assert_after(env, ENV_CRASH_KEEP, "/s/file", "");
    assert_after(env, ENV_CRASH_DROP, "/s/file", "0123456789");
    append(file, "abcdef");
    assert_after(env, ENV_CRASH_KEEP, "/s/file", "abcdef");
    assert_after(env, ENV_CRASH_DROP, "/s/file", "0123456789");
    ck_assert_int_eq(env_truncate(file, 3), PLSM_OK);
    append(file, "XYZ");
    assert_after(env, ENV_CRASH_KEEP, "/s/file", "abcXYZ");
    unsigned seen_old = 0, seen_empty = 0, seen_new = 0;
    for (uint64_t seed = 0; seed < 400; seed++) {
        struct env *image = crash(env, ENV_CRASH_TORN, seed);
        const char *text = content(image, "/s/file");
        seen_old += strcmp(text, "0123456789") == 0;
        seen_empty += strcmp(text, "") == 0;
        seen_new += strcmp(text, "abcXYZ") == 0;
        env_memory_destroy(image);
    }
    ck_assert_uint_gt(seen_old, 0);
    ck_assert_uint_gt(seen_empty, 0);
    ck_assert_uint_gt(seen_new, 0);
    ck_assert_int_eq(env_sync(file), PLSM_OK);
    for (int kind = 0; kind < ENV_CRASH_COUNT; kind++)
        assert_after(env, (enum env_crash)kind, "/s/file", "abcXYZ");
    ck_assert_int_eq(env_truncate(file, 4), PLSM_OK);
    assert_after(env, ENV_CRASH_DROP, "/s/file", "abcXYZ");
    assert_after(env, ENV_CRASH_KEEP, "/s/file", "abcX");
    env_close(file);
    env_memory_destroy(env);
}
END_TEST

/* --- names --- */

START_TEST(syncing_a_file_does_not_sync_its_name)
{
    struct env *env = create_env();
    struct env_file *file = create(env, "/s/new");
    append(file, "text");
    ck_assert_int_eq(env_sync(file), PLSM_OK);
    env_close(file);
    assert_after(env, ENV_CRASH_KEEP, "/s/new", "text");
    assert_after(env, ENV_CRASH_DROP, "/s/new", NULL);
    ck_assert_int_eq(env_sync_dir(env, "/"), PLSM_OK); /* another directory */
    assert_after(env, ENV_CRASH_DROP, "/s/new", NULL);
    ck_assert_int_eq(env_sync_dir(env, "/s"), PLSM_OK);
    for (int kind = 0; kind < ENV_CRASH_COUNT; kind++)
        assert_after(env, (enum env_crash)kind, "/s/new", "text");
    env_memory_destroy(env);
}
END_TEST

START_TEST(syncing_a_name_does_not_sync_the_file)
{
    struct env *env = create_env();
    struct env_file *file = create(env, "/s/new");
    append(file, "text");
    ck_assert_int_eq(env_sync_dir(env, "/s"), PLSM_OK);
    assert_after(env, ENV_CRASH_DROP, "/s/new", "");
    env_close(file);
    env_memory_destroy(env);
}
END_TEST

START_TEST(renames_show_old_or_new)
{
    struct env *env = create_env();
    write_synced(env, "/s", "/s/CURRENT", "old");
    write_synced(env, "/s", "/s/temporary", "new");
    ck_assert_int_eq(env_rename(env, "/s/temporary", "/s/CURRENT"), PLSM_OK);
    assert_after(env, ENV_CRASH_KEEP, "/s/CURRENT", "new");
    assert_after(env, ENV_CRASH_KEEP, "/s/temporary", NULL);
    assert_after(env, ENV_CRASH_DROP, "/s/CURRENT", "old");
    assert_after(env, ENV_CRASH_DROP, "/s/temporary", "new");
    for (int kind = ENV_CRASH_TORN; kind <= ENV_CRASH_REORDER; kind++) {
        unsigned old = 0, new = 0;
        for (uint64_t seed = 0; seed < SEEDS; seed++) {
            struct env *image = crash(env, (enum env_crash)kind, seed);
            const char *current = content(image, "/s/CURRENT"), *temporary = content(image, "/s/temporary");
            if (strcmp(current, "old") == 0) {
                old++;
                ck_assert_pstr_eq(temporary, "new");
            } else {
                new ++;
                ck_assert_str_eq(current, "new");
                ck_assert_ptr_null(temporary);
            }
            env_memory_destroy(image);
        }
        ck_assert_uint_gt(old, 0);
        ck_assert_uint_gt(new, 0);
    }
    ck_assert_int_eq(env_sync_dir(env, "/s"), PLSM_OK);
    for (int kind = 0; kind < ENV_CRASH_COUNT; kind++) {
        assert_after(env, (enum env_crash)kind, "/s/CURRENT", "new");
        assert_after(env, (enum env_crash)kind, "/s/temporary", NULL);
    }
    env_memory_destroy(env);
}
END_TEST

START_TEST(exchanges_show_both_or_neither)
{
    struct env *env = create_env();
    write_synced(env, "/s", "/s/one", "1");
    write_synced(env, "/s", "/s/two", "2");
    ck_assert_int_eq(env_exchange(env, "/s/one", "/s/two"), PLSM_OK);
    ck_assert_int_eq(env_rename(env, "/s/two", "/s/three"), PLSM_OK);
    assert_after(env, ENV_CRASH_KEEP, "/s/one", "2");
    assert_after(env, ENV_CRASH_KEEP, "/s/three", "1");
    assert_after(env, ENV_CRASH_DROP, "/s/one", "1");
    assert_after(env, ENV_CRASH_DROP, "/s/two", "2");
    for (int kind = ENV_CRASH_TORN; kind <= ENV_CRASH_REORDER; kind++) {
        unsigned old = 0, new = 0;
        for (uint64_t seed = 0; seed < SEEDS; seed++) {
            struct env *image = crash(env, (enum env_crash)kind, seed);
            const char *one = content(image, "/s/one"), *two = content(image, "/s/two");
            const char *three = content(image, "/s/three");
            const char *first = one ? one : three; /* the rename alone may have survived */
            ck_assert(first && (two || three));
            old += strcmp(first, "1") == 0;
            new += strcmp(first, "2") == 0;
            env_memory_destroy(image);
        }
        ck_assert_uint_gt(old, 0);
        ck_assert_uint_gt(new, 0);
    }
    ck_assert_int_eq(env_sync_dir(env, "/s"), PLSM_OK);
    assert_after(env, ENV_CRASH_DROP, "/s/one", "2");
    assert_after(env, ENV_CRASH_DROP, "/s/two", NULL);
    /* Of a file with two names each is durable by itself. */
    ck_assert_int_eq(env_link(env, "/s/one", "/s/two"), PLSM_OK);
    assert_after(env, ENV_CRASH_KEEP, "/s/two", "2");
    assert_after(env, ENV_CRASH_DROP, "/s/two", NULL);
    ck_assert_int_eq(env_sync_dir(env, "/s"), PLSM_OK);
    ck_assert_int_eq(env_remove(env, "/s/one"), PLSM_OK);
    assert_after(env, ENV_CRASH_REORDER, "/s/two", "2");
    assert_after(env, ENV_CRASH_DROP, "/s/one", "2");
    env_memory_destroy(env);
}
END_TEST

/* The mistake that the layer is there to find: a rename made durable before the bytes were. */
START_TEST(renaming_an_unsynced_file_loses_its_bytes)
{
    struct env *env = create_env();
    write_synced(env, "/s", "/s/CURRENT", "old");
    struct env_file *file = create(env, "/s/temporary");
    append(file, "new");
    env_close(file);
    ck_assert_int_eq(env_rename(env, "/s/temporary", "/s/CURRENT"), PLSM_OK);
    ck_assert_int_eq(env_sync_dir(env, "/s"), PLSM_OK);
    assert_after(env, ENV_CRASH_DROP, "/s/CURRENT", "");
    env_memory_destroy(env);
}
END_TEST

START_TEST(removals_may_be_undone)
{
    struct env *env = create_env();
    write_synced(env, "/s", "/s/file", "text");
    ck_assert_int_eq(env_remove(env, "/s/file"), PLSM_OK);
    assert_after(env, ENV_CRASH_KEEP, "/s/file", NULL);
    assert_after(env, ENV_CRASH_DROP, "/s/file", "text");
    struct env_file *file = create(env, "/s/file"); /* another file of this name */
    append(file, "other");
    ck_assert_int_eq(env_sync(file), PLSM_OK);
    env_close(file);
    assert_after(env, ENV_CRASH_DROP, "/s/file", "text");
    ck_assert_int_eq(env_sync_dir(env, "/s"), PLSM_OK);
    assert_after(env, ENV_CRASH_DROP, "/s/file", "other");
    env_memory_destroy(env);
}
END_TEST

START_TEST(a_name_is_lost_with_its_directory)
{
    struct env *env = create_env();
    ck_assert_int_eq(env_make_dir(env, "/s/deep"), PLSM_OK);
    write_synced(env, "/s/deep", "/s/deep/file", "text");
    assert_after(env, ENV_CRASH_KEEP, "/s/deep/file", "text");
    assert_after(env, ENV_CRASH_DROP, "/s/deep/file", NULL);
    ck_assert_int_eq(env_sync_dir(env, "/s"), PLSM_OK);
    assert_after(env, ENV_CRASH_DROP, "/s/deep/file", "text");
    env_memory_destroy(env);
}
END_TEST

START_TEST(renames_between_directories_never_lose_the_file)
{
    static const char *const synced[] = {NULL, "/s/from", "/s/to"};
    for (int which = 0; which < 3; which++) {
        struct env *env = create_env();
        ck_assert_int_eq(env_make_dir(env, "/s/from"), PLSM_OK);
        ck_assert_int_eq(env_make_dir(env, "/s/to"), PLSM_OK);
        ck_assert_int_eq(env_sync_dir(env, "/s"), PLSM_OK);
        write_synced(env, "/s/from", "/s/from/x", "text");
        ck_assert_int_eq(env_rename(env, "/s/from/x", "/s/to/y"), PLSM_OK);
        if (synced[which])
            ck_assert_int_eq(env_sync_dir(env, synced[which]), PLSM_OK);
        for (int kind = 0; kind < ENV_CRASH_COUNT; kind++)
            for (uint64_t seed = 0; seed < SEEDS; seed++) {
                struct env *image = crash(env, (enum env_crash)kind, seed);
                const char *from = content(image, "/s/from/x"), *to = content(image, "/s/to/y");
                ck_assert(from || to);
                ck_assert(!from || strcmp(from, "text") == 0);
                ck_assert(!to || strcmp(to, "text") == 0);
                ck_assert(which == 0 || to); /* either directory's sync makes the new name durable */
                ck_assert(which != 1 || !from);
                env_memory_destroy(image);
            }
        env_memory_destroy(env);
    }
}
END_TEST

/* --- any workload, any crash point, against a plain model --- */

enum { NAMES = 6, INODES = 400, STEPS = 260, SIZE_MAX_MODEL = 3000 };

struct inode {
    uint8_t now[SIZE_MAX_MODEL], durable[SIZE_MAX_MODEL];
    size_t size, durable_size, stable; /* stable: the shortest it was since its last sync */
};

struct model { /* of one directory; -1: no such name */
    int names[NAMES], durable_names[NAMES];
    bool touched[NAMES]; /* since the directory was synced */
};

static struct inode inodes[INODES];

static const char *name_of(unsigned number)
{
    static char paths[2][32];
    static unsigned turn;
    char *path = paths[turn++ % 2];
    snprintf(path, sizeof paths[0], "/s/%u", number);
    return path;
}

/* One random change, to the environment and to the model alike. */
static void step(struct env *env, struct random *random, struct model *model, int *inode_count)
{
    unsigned a = (unsigned)random_below(random, NAMES), b = (unsigned)random_below(random, NAMES);
    int number = model->names[a];
    struct inode *inode = number >= 0 ? &inodes[number] : NULL;
    switch (random_below(random, inode ? 9 : 1)) {
    case 0: { /* create or empty */
        env_close(create(env, name_of(a)));
        if (!inode) {
            ck_assert_int_lt(*inode_count, INODES);
            model->names[a] = (*inode_count)++;
            inodes[model->names[a]] = (struct inode){0};
            model->touched[a] = true;
        } else {
            inode->size = inode->stable = 0;
        }
        break;
    }
    case 1:
        ck_assert_int_eq(env_remove(env, name_of(a)), PLSM_OK);
        model->names[a] = -1;
        model->touched[a] = true;
        break;
    case 2:
        ck_assert_int_eq(env_rename(env, name_of(a), name_of(b)), PLSM_OK);
        if (a != b) {
            model->names[b] = number;
            model->names[a] = -1;
            model->touched[a] = model->touched[b] = true;
        }
        break;
    case 3:
        ck_assert_int_eq(env_sync_dir(env, "/s"), PLSM_OK);
        memcpy(model->durable_names, model->names, sizeof model->names);
        memset(model->touched, 0, sizeof model->touched);
        break;
    case 4: {
        struct env_file *file = NULL;
        ck_assert_int_eq(env_open(env, name_of(a), ENV_READ, &file), PLSM_OK);
        ck_assert_int_eq(env_sync(file), PLSM_OK);
        env_close(file);
        memcpy(inode->durable, inode->now, sizeof inode->now);
        inode->durable_size = inode->stable = inode->size;
        break;
    }
    default: { /* write anew, with cuts and syncs between the appends */
        struct env_file *file = create(env, name_of(a));
        inode->size = inode->stable = 0;
        for (uint64_t pieces = 1 + random_below(random, 3); pieces > 0; pieces--) {
            size_t size = 1 + random_below(random, 900);
            for (size_t i = 0; i < size; i++)
                inode->now[inode->size + i] = (uint8_t)(1 + random_below(random, 255));
            ck_assert_int_eq(env_append(file, inode->now + inode->size, size), PLSM_OK);
            inode->size += size;
            if (random_below(random, 3) == 0) {
                ck_assert_int_eq(env_sync(file), PLSM_OK);
                memcpy(inode->durable, inode->now, sizeof inode->now);
                inode->durable_size = inode->stable = inode->size;
            }
            if (random_below(random, 4) == 0) {
                inode->size = random_below(random, inode->size + 1);
                ck_assert_int_eq(env_truncate(file, inode->size), PLSM_OK);
                inode->stable = inode->size < inode->stable ? inode->size : inode->stable;
            }
        }
        env_close(file);
    }
    }
}

static void check_image(struct env *image, enum env_crash kind, const struct model *model)
{
    for (unsigned i = 0; i < NAMES; i++) {
        size_t size = 0;
        const char *text = content_size(image, name_of(i), &size);
        bool keep = kind == ENV_CRASH_KEEP, drop = kind == ENV_CRASH_DROP;
        int number = keep ? model->names[i] : model->durable_names[i];
        if (!keep && !drop && model->touched[i])
            continue; /* either name is right */
        ck_assert_int_eq(text != NULL, number >= 0);
        if (!text)
            continue;
        const struct inode *inode = &inodes[number];
        if (keep || drop) {
            ck_assert_uint_eq(size, keep ? inode->size : inode->durable_size);
            ck_assert(size == 0 || memcmp(text, keep ? inode->now : inode->durable, size) == 0);
        } else {
            ck_assert_uint_ge(size, inode->stable);
            ck_assert(inode->stable == 0 || memcmp(text, inode->durable, inode->stable) == 0);
        }
    }
}

static void dump(struct env *env, char *text, size_t size)
{
    size_t used = 0;
    for (unsigned i = 0; i < NAMES; i++) {
        size_t got = 0;
        const char *bytes = content_size(env, name_of(i), &got);
        uint64_t sum = 0;
        for (size_t j = 0; bytes && j < got; j++)
            sum = sum * 31 + (uint8_t)bytes[j];
        used += (size_t)snprintf(text + used, size - used, "%d %zu %llu;", bytes != NULL, got, (unsigned long long)sum);
    }
}

START_TEST(any_workload_matches_the_model)
{
    uint64_t seed = 1000 + (uint64_t)_i; /* a failure's report ends with _i */
    struct env *env = create_env();
    struct random random;
    random_seed(&random, seed);
    struct model model = {0};
    memset(model.names, -1, sizeof model.names);
    memset(model.durable_names, -1, sizeof model.durable_names);
    int inode_count = 0;
    for (int i = 0; i < STEPS; i++) {
        step(env, &random, &model, &inode_count);
        for (int kind = 0; kind < ENV_CRASH_COUNT; kind++) {
            struct env *image = crash(env, (enum env_crash)kind, seed + (uint64_t)i);
            struct env *again = crash(env, (enum env_crash)kind, seed + (uint64_t)i);
            check_image(image, (enum env_crash)kind, &model);
            char text[1000], same[1000], after[1000];
            dump(image, text, sizeof text);
            dump(again, same, sizeof same);
            ck_assert_str_eq(text, same);
            env_memory_destroy(again);
            /* What a crash left is all durable: another crash at once changes nothing. */
            ck_assert_uint_eq(env_memory_calls(image), 0);
            again = crash(image, (enum env_crash)((kind + i) % ENV_CRASH_COUNT), 7);
            dump(again, after, sizeof after);
            ck_assert_str_eq(text, after);
            env_memory_destroy(again);
            env_memory_destroy(image);
        }
    }
    env_memory_destroy(env);
}
END_TEST

/* The image of an earlier moment is what a crash then would have left: later calls do not shine through. */
START_TEST(earlier_crash_points_do_not_see_later_calls)
{
    enum { POINTS = 120 };
    static char before[POINTS][ENV_CRASH_COUNT][1000];
    uint64_t calls[POINTS];
    struct env *env = create_env();
    struct random random;
    random_seed(&random, 77);
    struct model model = {0};
    memset(model.names, -1, sizeof model.names);
    memset(model.durable_names, -1, sizeof model.durable_names);
    int inode_count = 0;
    for (int i = 0; i < POINTS; i++) {
        step(env, &random, &model, &inode_count);
        calls[i] = env_memory_calls(env);
        for (int kind = 0; kind < ENV_CRASH_COUNT; kind++) {
            struct env *image = crash(env, (enum env_crash)kind, (uint64_t)i);
            dump(image, before[i][kind], sizeof before[i][kind]);
            env_memory_destroy(image);
        }
    }
    for (int i = 0; i < POINTS; i++)
        for (int kind = 0; kind < ENV_CRASH_COUNT; kind++) {
            char after[1000];
            struct env *image = env_memory_crash(env, calls[i], (enum env_crash)kind, (uint64_t)i);
            dump(image, after, sizeof after);
            ck_assert_str_eq(after, before[i][kind]);
            env_memory_destroy(image);
        }
    struct env *nothing = env_memory_crash(env, 0, ENV_CRASH_KEEP, 1);
    ck_assert_int_eq(env_sync_dir(nothing, "/s"), PLSM_NOT_FOUND);
    env_memory_destroy(nothing);
    env_memory_destroy(env);
}
END_TEST

/* --- the rest --- */

START_TEST(calls_are_described)
{
    struct env *env = create_env();
    struct env_file *file = create(env, "/s/log-000003");
    append(file, "four");
    ck_assert_int_eq(env_truncate(file, 2), PLSM_OK);
    ck_assert_int_eq(env_sync(file), PLSM_OK);
    env_close(file);
    env_close(create(env, "/s/log-000003"));
    ck_assert_int_eq(env_rename(env, "/s/log-000003", "/s/x"), PLSM_OK);
    ck_assert_int_eq(env_link(env, "/s/x", "/s/y"), PLSM_OK);
    ck_assert_int_eq(env_remove(env, "/s/x"), PLSM_OK);
    static const char *const lines[] = {
        "make_dir /s",
        "sync_dir /",
        "create /s/log-000003",
        "append /s/log-000003 4",
        "truncate /s/log-000003 2",
        "sync /s/log-000003",
        "empty /s/log-000003",
        "rename /s/log-000003 /s/x",
        "link /s/x /s/y",
        "remove /s/x",
    };
    enum { LINES = sizeof lines / sizeof lines[0] };
    ck_assert_uint_eq(env_memory_calls(env), LINES);
    char text[100];
    for (uint64_t i = 0; i < LINES; i++) {
        env_memory_describe(env, i + 1, text, sizeof text);
        ck_assert_str_eq(text, lines[i]);
    }
    env_memory_describe(env, LINES + 1, text, sizeof text);
    ck_assert_str_eq(text, "no call 11");
    env_memory_destroy(env);
}
END_TEST

START_TEST(failed_calls_are_not_recorded)
{
    struct env *env = create_env();
    uint64_t calls = env_memory_calls(env);
    struct env_file *file = NULL;
    ck_assert_int_eq(env_open(env, "/s/no", ENV_READ, &file), PLSM_NOT_FOUND);
    ck_assert_int_eq(env_remove(env, "/s/no"), PLSM_NOT_FOUND);
    ck_assert_int_eq(env_rename(env, "/s/no", "/s/yes"), PLSM_NOT_FOUND);
    ck_assert_int_eq(env_make_dir(env, "/s"), PLSM_EXISTS);
    ck_assert_uint_eq(env_memory_calls(env), calls);
    env_memory_destroy(env);
}
END_TEST

START_TEST(a_crash_frees_locks)
{
    struct env *env = create_env();
    struct env_lock *lock = NULL, *again = NULL;
    ck_assert_int_eq(env_lock(env, "/s/LOCK", 0, true, &lock), PLSM_OK);
    struct env *image = crash(env, ENV_CRASH_KEEP, 1);
    ck_assert_int_eq(env_lock(image, "/s/LOCK", 0, true, &again), PLSM_OK);
    env_unlock(again);
    env_unlock(lock);
    env_memory_destroy(image);
    env_memory_destroy(env);
}
END_TEST

START_TEST(randomness_follows_the_seed)
{
    uint8_t bytes[3][20];
    for (unsigned i = 0; i < 3; i++) {
        struct env *env = env_memory_create(i / 2);
        env_random(env, bytes[i], sizeof bytes[i]);
        env_memory_destroy(env);
    }
    ck_assert_mem_eq(bytes[0], bytes[1], sizeof bytes[0]);
    ck_assert_mem_ne(bytes[0], bytes[2], sizeof bytes[0]);
    env_memory_destroy(NULL);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("env_memory");
    TCase *all = tcase_create("all");
    tcase_set_timeout(all, 120);
    tcase_add_test(all, only_synced_bytes_survive_power_loss);
    tcase_add_test(all, torn_bytes_are_a_prefix);
    tcase_add_test(all, reordered_sectors_are_whole_or_zero);
    tcase_add_test(all, rewritten_sectors_may_be_lost);
    tcase_add_test(all, cuts_may_be_undone);
    tcase_add_test(all, syncing_a_file_does_not_sync_its_name);
    tcase_add_test(all, syncing_a_name_does_not_sync_the_file);
    tcase_add_test(all, renames_show_old_or_new);
    tcase_add_test(all, exchanges_show_both_or_neither);
    tcase_add_test(all, renaming_an_unsynced_file_loses_its_bytes);
    tcase_add_test(all, removals_may_be_undone);
    tcase_add_test(all, a_name_is_lost_with_its_directory);
    tcase_add_test(all, renames_between_directories_never_lose_the_file);
    tcase_add_loop_test(all, any_workload_matches_the_model, 0, 8);
    tcase_add_test(all, earlier_crash_points_do_not_see_later_calls);
    tcase_add_test(all, calls_are_described);
    tcase_add_test(all, failed_calls_are_not_recorded);
    tcase_add_test(all, a_crash_frees_locks);
    tcase_add_test(all, randomness_follows_the_seed);
    suite_add_tcase(suite, all);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
