/* The journal of the file system in memory: what changes it and records that, what frees it, what describes it. */
#include "base/env_memory_journal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/banned.h"

/* Makes room for one more in an array. */
bool memory_grow(void **array, size_t count, size_t *capacity, size_t item_size)
{
    if (count < *capacity)
        return true;
    size_t wanted = *capacity ? *capacity * 2 : 16;
    void *larger = realloc(*array, wanted * item_size);
    if (!larger)
        return false;
    *array = larger;
    *capacity = wanted;
    return true;
}

const char *memory_last_component(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

static bool journal_reserve(struct memory_env *env)
{
    return memory_grow((void **)&env->journal, env->entry_count, &env->entry_capacity, sizeof *env->journal);
}

/* Room must have been reserved. The entry takes over its path. */
static void journal_push(struct memory_env *env, struct journal_entry entry)
{
    if (entry.path)
        entry.name = memory_last_component(entry.path);
    if (entry.path_to)
        entry.name_to = memory_last_component(entry.path_to);
    env->journal[env->entry_count++] = entry;
}

bool memory_record(struct memory_env *env, struct journal_entry entry, const char *path)
{
    if (!journal_reserve(env))
        return false;
    entry.path = strdup(path);
    entry.owns_path = true;
    if (!entry.path)
        return false;
    journal_push(env, entry);
    return true;
}

size_t memory_seen_size(size_t size)
{
    enum { STEP = 4096 };
    return (size + STEP) / STEP * STEP;
}

/* --- building blocks --- */

struct node *memory_add(struct memory_env *env, struct node *dir, const char *path, bool is_dir)
{
    struct node *node = calloc(1, sizeof *node);
    char *text = dir ? strdup(memory_last_component(path)) : NULL;
    if (!node || (dir && !text) ||
        !memory_grow((void **)&env->nodes, env->node_count, &env->node_capacity, sizeof *env->nodes) ||
        (dir && !memory_grow((void **)&dir->names, dir->name_count, &dir->name_capacity, sizeof *dir->names)) ||
        (dir &&
         !memory_record(
             env, (struct journal_entry){.op = is_dir ? JOURNAL_MAKE_DIR : JOURNAL_CREATE, .node = node, .dir = dir},
             path))) {
        free(node);
        free(text);
        return NULL;
    }
    node->id = env->node_count;
    node->is_dir = is_dir;
    node->parent = dir;
    env->nodes[env->node_count++] = node;
    node->links = 1;
    if (dir)
        dir->names[dir->name_count++] = (struct name){text, node};
    return node;
}

static struct storage *storage_create(struct memory_env *env)
{
    struct storage *storage = calloc(1, sizeof *storage);
    if (storage) {
        storage->older = env->storages;
        env->storages = storage;
    }
    return storage;
}

/* A storage for the file's content with room for `extra` bytes behind it. */
static struct storage *storage_for(struct memory_env *env, const struct node *file, size_t extra)
{
    struct storage *storage = file->content.storage;
    if (!storage || storage->size != file->content.size) {
        storage = storage_create(env);
        if (!storage)
            return NULL;
    }
    size_t needed = file->content.size + extra;
    if (needed > storage->capacity) {
        size_t capacity = storage->capacity * 2 > needed ? storage->capacity * 2 : needed;
        uint8_t *data = realloc(storage->data, capacity);
        if (!data)
            return NULL;
        storage->data = data;
        storage->capacity = capacity;
    }
    if (storage != file->content.storage && file->content.size > 0)
        memcpy(storage->data, file->content.storage->data, file->content.size);
    storage->size = file->content.size;
    return storage;
}

bool memory_append(struct memory_env *env, struct node *file, char *shared_path, const void *data, size_t size)
{
    if (!journal_reserve(env))
        return false;
    struct storage *storage = storage_for(env, file, size);
    if (!storage)
        return false;
    memcpy(storage->data + file->content.size, data, size);
    journal_push(env, (struct journal_entry){.op = JOURNAL_APPEND,
                                             .node = file,
                                             .storage = storage,
                                             .offset = file->content.size,
                                             .size = size,
                                             .path = shared_path});
    storage->size += size;
    file->content.storage = storage;
    file->content.size = storage->size;
    return true;
}

size_t memory_whole_size(const struct content *content)
{
    return content->size > content->under.size ? content->size : content->under.size;
}

/* Copies what there is of `size` bytes at *offset up to `end`; the offset and what is left behind them. */
static uint8_t *copy_up_to(const struct storage *storage, size_t end, size_t *offset, uint8_t *to, size_t *size)
{
    size_t part = *offset < end ? end - *offset : 0;
    part = part < *size ? part : *size;
    if (part > 0)
        memcpy(to, storage->data + *offset, part);
    *offset += part;
    *size -= part;
    return to + part;
}

void memory_copy(const struct content *content, size_t offset, uint8_t *to, size_t size)
{
    to = copy_up_to(content->storage, content->size, &offset, to, &size);
    to = copy_up_to(content->under.storage, content->under.size, &offset, to, &size);
    memset(to, 0, size);
}

bool memory_over(struct memory_env *env, struct node *file, const char *path)
{
    size_t size = memory_whole_size(&file->content);
    struct storage *under = storage_create(env);
    if (!under || !(under->data = malloc(size + 1)))
        return false;
    under->capacity = size + 1;
    under->size = size;
    memory_copy(&file->content, 0, under->data, size);
    struct journal_entry entry = {.op = JOURNAL_OVER, .node = file, .storage = under, .size = size};
    if (!memory_record(env, entry, path))
        return false;
    file->content.under = (struct under){under, size};
    return true;
}

bool memory_sync(struct memory_env *env, struct node *node, const char *path)
{
    enum journal_op op = node->is_dir ? JOURNAL_SYNC_DIR : JOURNAL_SYNC;
    return memory_record(env, (struct journal_entry){.op = op, .node = node}, path);
}

/* --- the whole --- */

void env_memory_destroy(struct env *base)
{
    struct memory_env *env = (struct memory_env *)base;
    if (!env)
        return;
    for (size_t i = 0; i < env->node_count; i++) {
        for (size_t j = 0; j < env->nodes[i]->name_count; j++)
            free(env->nodes[i]->names[j].text);
        free(env->nodes[i]->names);
        free(env->nodes[i]);
    }
    for (size_t i = 0; i < env->entry_count; i++) {
        if (env->journal[i].owns_path)
            free(env->journal[i].path);
        free(env->journal[i].path_to);
    }
    while (env->storages) {
        struct storage *storage = env->storages;
        env->storages = storage->older;
        free(storage->data);
        free(storage);
    }
    free(env->nodes);
    free(env->journal);
    mutex_destroy(&env->lock);
    free(env);
}

uint64_t env_memory_calls(struct env *base)
{
    struct memory_env *env = (struct memory_env *)base;
    mutex_lock(&env->lock);
    uint64_t calls = env->entry_count - env->base_count;
    mutex_unlock(&env->lock);
    return calls;
}

void env_memory_describe(struct env *base, uint64_t call, char *text, size_t size)
{
    static const char *const names[] = {
        [JOURNAL_CREATE] = "create",     [JOURNAL_EMPTY] = "empty",       [JOURNAL_APPEND] = "append",
        [JOURNAL_SYNC] = "sync",         [JOURNAL_TRUNCATE] = "truncate", [JOURNAL_RENAME] = "rename",
        [JOURNAL_REMOVE] = "remove",     [JOURNAL_MAKE_DIR] = "make_dir", [JOURNAL_SYNC_DIR] = "sync_dir",
        [JOURNAL_EXCHANGE] = "exchange", [JOURNAL_LINK] = "link",         [JOURNAL_OVER] = "open to write over",
    };
    struct memory_env *env = (struct memory_env *)base;
    mutex_lock(&env->lock);
    if (call == 0 || call > env->entry_count - env->base_count) {
        snprintf(text, size, "no call %" PRIu64, call);
    } else {
        const struct journal_entry *entry = &env->journal[env->base_count + call - 1];
        if (entry->op == JOURNAL_APPEND || entry->op == JOURNAL_TRUNCATE)
            snprintf(text, size, "%s %s %zu", names[entry->op], entry->path, entry->size);
        else
            snprintf(text, size, "%s %s%s%s", names[entry->op], entry->path, entry->path_to ? " " : "",
                     entry->path_to ? entry->path_to : "");
    }
    mutex_unlock(&env->lock);
}
