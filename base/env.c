/* The environment's whole-buffer calls: they pass on to the backend and loop over short counts. */
#include "base/env.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"

#include "base/banned.h"

plsm_status env_open(struct env *env, const char *path, enum env_open_flags flags, struct env_file **out)
{
    *out = NULL;
    return env->ops->open(env, path, flags, out);
}

plsm_status env_check_flags(const char *path, enum env_open_flags flags)
{
    if (flags == ENV_READ || flags == ENV_APPEND || flags == ENV_LOG || flags == ENV_LOG_OVER)
        return PLSM_OK;
    return fail(PLSM_INVALID, "%s: open flags %u are none of those in enum env_open_flags", path, (unsigned)flags);
}

void env_close(struct env_file *file)
{
    if (file)
        file->env->ops->close(file);
}

plsm_status env_read_some(struct env_file *file, uint64_t offset, void *data, size_t size, size_t *got)
{
    *got = 0;
    while (*got < size) {
        size_t now = 0;
        TRY(file->env->ops->read(file, offset + *got, (uint8_t *)data + *got, size - *got, &now));
        INVARIANT(now <= size - *got);
        if (now == 0)
            break;
        *got += now;
    }
    return PLSM_OK;
}

plsm_status env_read(struct env_file *file, uint64_t offset, void *data, size_t size)
{
    size_t got = 0;
    TRY(env_read_some(file, offset, data, size, &got));
    if (got < size)
        return fail(PLSM_CORRUPT,
                    "%s: %zu bytes wanted at offset %" PRIu64
                    ", but the file ends after %zu of them; it was cut short: "
                    "run plsm check, restore the file from a backup",
                    file->path, size, offset, got);
    return PLSM_OK;
}

plsm_status env_read_many(struct env *env, struct env_piece *pieces, size_t count)
{
    plsm_status first = PLSM_OK;
    for (size_t i = 0; i < count; i++)
        pieces[i].status = PLSM_UNSUPPORTED;
    if (env->ops->read_many && count > 1)
        env->ops->read_many(env, pieces, count);
    for (size_t i = 0; i < count; i++) {
        struct env_piece *p = &pieces[i];
        if (p->status == PLSM_UNSUPPORTED)
            p->status = env_read(p->file, p->offset, p->data, p->size);
        first = first == PLSM_OK ? p->status : first;
    }
    return first;
}

plsm_status env_map(struct env_file *file, uint64_t size, atomic_bool *lost, const void **out)
{
    *out = NULL;
    return file->env->ops->map ? file->env->ops->map(file, size, lost, out) : PLSM_UNSUPPORTED;
}

plsm_status env_append(struct env_file *file, const void *data, size_t size)
{
    size_t now = 0;
    plsm_status status = size ? file->env->ops->append(file, data, size, &now) : PLSM_OK;
    if (__builtin_expect(now == size, 1))
        return status;
    TRY(status);
    INVARIANT(now > 0);
    for (size_t done = now; done < size; done += now) {
        TRY(file->env->ops->append(file, (const uint8_t *)data + done, size - done, &now));
        INVARIANT(now > 0 && now <= size - done);
    }
    return PLSM_OK;
}

plsm_status env_append_synced(struct env_file *file, const void *data, size_t size)
{
    const uint8_t *at = data;
    if (!file->env->ops->append_synced) {
        TRY(env_append(file, data, size));
        return env_sync(file);
    }
    for (size_t put = 0; size > 0; at += put, size -= put)
        TRY(file->env->ops->append_synced(file, at, size, &put));
    return PLSM_OK;
}

plsm_status env_append_pieces(struct env_file *file, const plsm_slice *pieces, size_t count)
{
    size_t put = 0; /* of the first that is left */
    for (const plsm_slice *end = pieces + count; pieces < end;) {
        if (put > 0 || pieces->size == 0 || !file->env->ops->append_pieces) {
            TRY(env_append(file, (const uint8_t *)pieces->data + put, pieces->size - put));
            pieces++;
            put = 0;
            continue;
        }
        size_t whole = 1;
        while (pieces + whole < end && pieces[whole].size > 0)
            whole++;
        TRY(file->env->ops->append_pieces(file, pieces, whole, &put));
        INVARIANT(put > 0);
        while (pieces < end && put >= pieces->size)
            put -= pieces++->size;
    }
    return PLSM_OK;
}

plsm_status env_sync(struct env_file *file)
{
    return file->env->ops->sync(file);
}

plsm_status env_truncate(struct env_file *file, uint64_t size)
{
    return file->env->ops->truncate(file, size);
}

plsm_status env_size(struct env_file *file, uint64_t *size)
{
    return file->env->ops->size(file, size);
}

const char *env_path(const struct env_file *file)
{
    return file->path;
}

plsm_status env_rename(struct env *env, const char *from, const char *to)
{
    return env->ops->rename(env, from, to);
}

plsm_status env_exchange(struct env *env, const char *one, const char *other)
{
    return env->ops->exchange ? env->ops->exchange(env, one, other)
                              : fail(PLSM_UNSUPPORTED, "%s: names cannot be exchanged here", one);
}

plsm_status env_link(struct env *env, const char *from, const char *to)
{
    return env->ops->link ? env->ops->link(env, from, to)
                          : fail(PLSM_UNSUPPORTED, "%s: a file cannot have two names here", from);
}

plsm_status env_remove(struct env *env, const char *path)
{
    return env->ops->remove(env, path);
}

plsm_status env_make_dir(struct env *env, const char *path)
{
    return env->ops->make_dir(env, path);
}

plsm_status env_sync_dir(struct env *env, const char *path)
{
    return env->ops->sync_dir(env, path);
}

plsm_status env_sync_parent(struct env *env, const char *path)
{
    char parent[4096] = ".";
    size_t end = strlen(path);
    while (end > 1 && path[end - 1] == '/')
        end--;
    while (end > 0 && path[end - 1] != '/')
        end--;
    while (end > 1 && path[end - 1] == '/')
        end--;
    if (end >= sizeof parent)
        return fail(PLSM_INVALID, "%.100s...: the path is too long", path);
    if (end > 0) {
        memcpy(parent, path, end);
        parent[end] = 0;
    }
    return env_sync_dir(env, parent);
}

plsm_status env_list(struct env *env, const char *path, void (*each)(void *arg, const char *name), void *arg)
{
    return env->ops->list(env, path, each, arg);
}

uint64_t env_file_number(const char *name, const char *prefix, const char **rest)
{
    size_t size = strlen(prefix);
    if (strncmp(name, prefix, size) != 0 || !isdigit((unsigned char)name[size]))
        return 0;
    char *end = NULL;
    unsigned long long number = strtoull(name + size, &end, 10);
    *rest = end;
    return number;
}

plsm_status env_space(struct env *env, const char *path, struct env_space *out)
{
    return env->ops->space(env, path, out);
}

plsm_status env_lock(struct env *env, const char *path, unsigned slot, bool exclusive, struct env_lock **out)
{
    *out = NULL;
    return env->ops->lock(env, path, slot, exclusive, out);
}

void env_unlock(struct env_lock *lock)
{
    if (lock)
        lock->env->ops->unlock(lock);
}

uint64_t env_now_ns(struct env *env)
{
    return env->ops->now_ns(env);
}

uint64_t env_cpu_ns(struct env *env)
{
    return env->ops->cpu_ns(env);
}

uint64_t env_wall_ns(struct env *env)
{
    return env->ops->wall_ns(env);
}

void env_sleep_ns(struct env *env, uint64_t ns)
{
    env->ops->sleep_ns(env, ns);
}

void env_random(struct env *env, void *data, size_t size)
{
    env->ops->random(env, data, size);
}

plsm_status env_thread_start(struct env *env, void (*run)(void *arg), void *arg, struct env_thread **out)
{
    *out = NULL;
    return env->ops->thread_start(env, run, arg, out);
}

void env_thread_join(struct env_thread *thread)
{
    if (thread)
        thread->env->ops->thread_join(thread);
}
