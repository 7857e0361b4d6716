/* A directory of checkpoints: its lists, its lock, and what is garbage in it. */
#include "store/checkpoint.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/error.h"

#include "base/banned.h"

#define SUFFIX ".checkpoint"
enum { LIST_BYTES_MAX = 64 << 20 };

plsm_status checkpoint_path(char *out, const char *directory, const char *name)
{
    if ((size_t)snprintf(out, CHECKPOINT_PATH, "%s/%s", directory, name) >= CHECKPOINT_PATH)
        return fail(PLSM_INVALID, "%.100s...: the path is too long", directory);
    return PLSM_OK;
}

plsm_status checkpoint_content_path(const struct checkpoint_directory *d, const char *digest, char *out)
{
    char name[DIGEST_TEXT + 8];
    snprintf(name, sizeof name, "files/%s", digest);
    return checkpoint_path(out, d->path, name);
}

plsm_status checkpoint_write(struct env *env, const char *path, plsm_slice text)
{
    struct env_file *file = NULL;
    TRY(env_open(env, path, ENV_APPEND, &file));
    plsm_status status = env_append(file, text.data, text.size);
    if (status == PLSM_OK)
        status = env_sync(file);
    env_close(file);
    return status;
}

/* --- names in a directory ----------------------------------------------------------------------------------------- */

struct names {
    char **list;
    size_t count, capacity;
    plsm_status status;
};

static void take_name(void *arg, const char *name)
{
    struct names *names = arg;
    if (names->status != PLSM_OK)
        return;
    if (names->count == names->capacity) {
        size_t capacity = names->capacity ? 2 * names->capacity : 16;
        char **grown = mem_realloc(names->list, capacity * sizeof *grown);
        if (grown) {
            names->list = grown;
            names->capacity = capacity;
        }
    }
    size_t size = strlen(name) + 1;
    char *copy = names->count < names->capacity ? mem_alloc(size) : NULL;
    if (copy)
        names->list[names->count++] = memcpy(copy, name, size);
    else
        names->status = fail(PLSM_NO_MEMORY, "no memory to list a directory");
}

static void names_free(struct names *names)
{
    for (size_t i = 0; i < names->count; i++)
        mem_free(names->list[i]);
    mem_free(names->list);
    *names = (struct names){0};
}

static plsm_status names_read(struct env *env, const char *path, struct names *out)
{
    *out = (struct names){0};
    plsm_status status = env_list(env, path, take_name, out);
    if (status == PLSM_OK)
        status = out->status;
    if (status != PLSM_OK)
        names_free(out);
    return status;
}

/* --- lists -------------------------------------------------------------------------------------------------------- */

/* Reads a list of NAME.checkpoint; what it says of its name must agree. */
static plsm_status read_list(struct env *env, const char *path, const char *file_name, struct checkpoint_list *out)
{
    struct env_file *file = NULL;
    struct buf text = {0};
    uint64_t size = 0;
    *out = (struct checkpoint_list){0};
    plsm_status status = env_open(env, path, ENV_READ, &file);
    if (status == PLSM_OK)
        status = env_size(file, &size);
    if (status == PLSM_OK && size > LIST_BYTES_MAX)
        status = fail(PLSM_CORRUPT, "%s: is too large for a list of a checkpoint", path);
    if (status == PLSM_OK)
        status = buf_reserve(&text, size + 1);
    if (status == PLSM_OK)
        status = env_read(file, 0, text.data, size);
    if (status == PLSM_OK)
        status = checkpoint_list_decode(slice(text.data, size), path, out);
    if (status == PLSM_OK && strncmp(out->name, file_name, strlen(file_name) - strlen(SUFFIX)) != 0)
        status = fail(PLSM_CORRUPT, "%s: is the list of a checkpoint of another name, %s", path, out->name);
    if (status != PLSM_OK)
        checkpoint_list_free(out);
    env_close(file);
    buf_free(&text);
    return status;
}

static bool is_list(const char *name)
{
    size_t size = strlen(name), suffix = strlen(SUFFIX);
    return size > suffix && strcmp(name + size - suffix, SUFFIX) == 0;
}

static bool is_ours(const char *name)
{
    return is_list(name) || strcmp(name, "LOCK") == 0 || strcmp(name, "files") == 0 || strcmp(name, "scratch") == 0;
}

static int by_time(const void *a, const void *b)
{
    const struct checkpoint_list *x = a, *y = b;
    return x->time_ns != y->time_ns ? (x->time_ns > y->time_ns) - (x->time_ns < y->time_ns) : strcmp(x->name, y->name);
}

/* A list that cannot be read does not hide the others. */
static plsm_status read_lists(struct checkpoint_directory *d, const struct names *names)
{
    char path[CHECKPOINT_PATH];
    for (size_t i = 0; i < names->count; i++) {
        if (!is_list(names->list[i]))
            continue;
        TRY(checkpoint_path(path, d->path, names->list[i]));
        struct checkpoint_list *list = &d->lists[d->count];
        plsm_status status = read_list(d->env, path, names->list[i], list);
        if (status == PLSM_NO_MEMORY)
            return status;
        if (status == PLSM_OK) {
            d->count++;
        } else {
            d->damaged = status;
            snprintf(d->message, sizeof d->message, "%s", plsm_message());
        }
    }
    if (d->count > 1)
        qsort(d->lists, d->count, sizeof *d->lists, by_time);
    return PLSM_OK;
}

/* --- the directory ------------------------------------------------------------------------------------------------ */

static plsm_status make_dir(struct env *env, const char *path)
{
    plsm_status status = env_make_dir(env, path);
    return status == PLSM_EXISTS ? PLSM_OK : status;
}

/* Makes what is missing in a directory that has nothing else in it. */
static plsm_status make_parts(struct checkpoint_directory *d, const struct names *names)
{
    char path[CHECKPOINT_PATH];
    for (size_t i = 0; i < names->count; i++)
        if (!is_ours(names->list[i]))
            return fail(PLSM_INVALID,
                        "%s: holds %s, so it is no directory of checkpoints: choose an empty or a new one", d->path,
                        names->list[i]);
    TRY(checkpoint_path(path, d->path, "files"));
    TRY(make_dir(d->env, path));
    TRY(checkpoint_path(path, d->path, "scratch"));
    return make_dir(d->env, path);
}

static plsm_status open_directory(struct checkpoint_directory *d, bool create)
{
    char path[CHECKPOINT_PATH];
    struct names names = {0};
    if (create)
        TRY(make_dir(d->env, d->path));
    TRY(names_read(d->env, d->path, &names));
    plsm_status status = create ? make_parts(d, &names) : PLSM_OK;
    if (status == PLSM_OK)
        status = checkpoint_path(path, d->path, "LOCK");
    if (status == PLSM_OK)
        status = env_lock(d->env, path, 0, create, &d->lock);
    if (status == PLSM_LOCKED)
        status = fail(PLSM_LOCKED, "%s: another process writes a checkpoint or removes one there", d->path);
    else if (!create) /* it may be on a disk that cannot be written to */
        status = PLSM_OK;
    names_free(&names);
    if (status == PLSM_OK)
        status = names_read(d->env, d->path, &names); /* as they are under the lock */
    if (status == PLSM_OK) {
        d->lists = mem_zalloc((names.count + 1) * sizeof *d->lists);
        status = d->lists ? read_lists(d, &names) : fail(PLSM_NO_MEMORY, "no memory for lists of checkpoints");
    }
    names_free(&names);
    return status;
}

plsm_status checkpoint_directory_open(struct env *env, const char *path, bool create, struct checkpoint_directory *out)
{
    *out = (struct checkpoint_directory){.env = env, .path = path};
    plsm_status status = open_directory(out, create);
    if (status != PLSM_OK)
        checkpoint_directory_close(out);
    return status;
}

void checkpoint_directory_close(struct checkpoint_directory *d)
{
    for (size_t i = 0; i < d->count; i++)
        checkpoint_list_free(&d->lists[i]);
    mem_free(d->lists);
    env_unlock(d->lock);
    *d = (struct checkpoint_directory){0};
}

const struct checkpoint_list *checkpoint_directory_find(const struct checkpoint_directory *d, const char *name)
{
    for (size_t i = 0; i < d->count; i++)
        if (strcmp(d->lists[i].name, name) == 0)
            return &d->lists[i];
    return NULL;
}

/* --- garbage ------------------------------------------------------------------------------------------------------ */

static int compare_texts(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The digests of all lists, sorted. *out is owned by the caller. */
static plsm_status all_digests(const struct checkpoint_directory *d, const char ***out, size_t *count)
{
    size_t most = 0;
    *count = 0;
    for (size_t i = 0; i < d->count; i++)
        most += d->lists[i].count;
    *out = mem_alloc((most + 1) * sizeof **out);
    if (!*out)
        return fail(PLSM_NO_MEMORY, "no memory to look for contents that are not needed");
    for (size_t i = 0; i < d->count; i++)
        for (size_t j = 0; j < d->lists[i].count; j++)
            (*out)[(*count)++] = d->lists[i].files[j].digest;
    qsort(*out, *count, sizeof **out, compare_texts);
    return PLSM_OK;
}

static plsm_status remove_all(struct checkpoint_directory *d, const char *part, const char *const *kept, size_t count)
{
    char path[CHECKPOINT_PATH], name[CHECKPOINT_FILE_NAME + 16];
    struct names names = {0};
    TRY(checkpoint_path(path, d->path, part));
    TRY(names_read(d->env, path, &names));
    plsm_status status = PLSM_OK;
    for (size_t i = 0; i < names.count && status == PLSM_OK; i++) {
        const char *wanted = names.list[i];
        if (count > 0 && bsearch(&wanted, kept, count, sizeof *kept, compare_texts))
            continue;
        snprintf(name, sizeof name, "%s/%s", part, names.list[i]);
        status = checkpoint_path(path, d->path, name);
        if (status == PLSM_OK)
            status = env_remove(d->env, path);
    }
    names_free(&names);
    return status;
}

plsm_status checkpoint_directory_clean(struct checkpoint_directory *d)
{
    const char **kept = NULL;
    size_t count = 0;
    INVARIANT(d->lock && d->damaged == PLSM_OK);
    plsm_status status = all_digests(d, &kept, &count);
    if (status == PLSM_OK)
        status = remove_all(d, "files", kept, count);
    if (status == PLSM_OK)
        status = remove_all(d, "scratch", NULL, 0);
    mem_free(kept);
    return status;
}
