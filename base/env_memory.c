/* The environment in memory: the living file system and its journal. What a crash leaves: env_memory_crash.c.
 *
 * What changes it: env_memory_journal.c. */
#include "base/env_memory_journal.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"

#include "base/banned.h"

#define BYTES_TOTAL (UINT64_C(1) << 40) /* what `space` reports */
#define FILES_TOTAL (UINT64_C(1) << 20)
enum { BLOCK_BYTES = 4096 };

struct memory_file {
    struct env_file base;
    enum env_open_flags flags;
    struct node *node;
    char *journal_path; /* not ENV_READ: shared with the journal entry of its opening */
    char path[];
};

struct memory_lock {
    struct env_lock base;
    struct memory_lock *next;
    struct node *node;
    unsigned slot;
    bool exclusive;
};

static struct memory_env *memory_of(struct env *env)
{
    return (struct memory_env *)env;
}

static plsm_status no_memory(const char *path)
{
    return fail(PLSM_NO_MEMORY, "%s: no memory for the file system in memory", path);
}

/* --- names --- */

static struct name *find_name(const struct node *dir, const char *text, size_t size)
{
    for (size_t i = 0; i < dir->name_count; i++)
        if (strncmp(dir->names[i].text, text, size) == 0 && dir->names[i].text[size] == '\0')
            return &dir->names[i];
    return NULL;
}

static void drop_name(struct node *dir, struct name *name)
{
    if (--name->node->links == 0)
        name->node->parent = NULL;
    free(name->text);
    *name = dir->names[--dir->name_count];
}

/* Where a path leads. */
struct place {
    struct node *dir, *node; /* dir NULL: the root itself; node NULL: nothing has that name */
};

/* 0 or an errno value, as the kernel would answer. */
static int resolve(struct memory_env *env, const char *path, struct place *out)
{
    struct place at = {NULL, env->nodes[0]};
    for (const char *from = path; *from;) {
        size_t size = strcspn(from, "/");
        if (size > 255)
            return ENAMETOOLONG;
        if (size > 0) {
            if (!at.node)
                return ENOENT;
            if (!at.node->is_dir)
                return ENOTDIR;
            struct name *name = find_name(at.node, from, size);
            at = (struct place){at.node, name ? name->node : NULL};
        }
        from += size + (from[size] == '/');
    }
    *out = at;
    return 0;
}

/* For paths that name something to be changed: a last component is needed. */
static plsm_status resolve_name(struct memory_env *env, const char *path, const char *what, struct place *out)
{
    int error = resolve(env, path, out);
    if (!error && (!out->dir || *memory_last_component(path) == '\0'))
        error = EINVAL;
    return error ? fail_errno(error, path, what) : PLSM_OK;
}

/* --- files --- */

/* Finds the file to open, creates or empties it; *journal_path is the journal's copy of the path. Under the lock. */
static plsm_status open_node(struct memory_env *env, const char *path, enum env_open_flags flags, struct node **node,
                             char **journal_path)
{
    bool over = flags == ENV_LOG_OVER;
    const char *what = flags == ENV_READ ? "cannot open for reading" : "cannot create";
    struct place place = {0};
    TRY(resolve_name(env, path, what, &place));
    if (!place.node && (flags == ENV_READ || over))
        return fail_errno(ENOENT, path, what);
    if (place.node && place.node->is_dir)
        return fail_errno(EISDIR, path, what);
    *node = place.node;
    if (flags == ENV_READ)
        return PLSM_OK;
    if (!place.node) {
        *node = memory_add(env, place.dir, path, false);
        if (!*node)
            return no_memory(path);
    } else {
        if (over && place.node->links > 1)
            return fail(PLSM_EXISTS, "%s: is not written over: it has a second name", path);
        if (over ? !memory_over(env, place.node, path)
                 : !memory_record(env, (struct journal_entry){.op = JOURNAL_EMPTY, .node = place.node}, path))
            return no_memory(path);
        place.node->content.size = 0;
        if (!over)
            place.node->content.under = (struct under){0};
    }
    struct journal_entry *entry = &env->journal[env->entry_count - 1];
    (*node)->ahead = entry->ahead = flags != ENV_APPEND;
    *journal_path = entry->path;
    return PLSM_OK;
}

static plsm_status memory_open(struct env *base, const char *path, enum env_open_flags flags, struct env_file **out)
{
    struct memory_env *env = memory_of(base);
    TRY(env_check_flags(path, flags));
    size_t size = strlen(path) + 1;
    struct memory_file *file = mem_zalloc(sizeof *file + size);
    if (!file)
        return fail(PLSM_NO_MEMORY, "%s: no memory to open it", path);
    memcpy(file->path, path, size);
    file->base.env = base;
    file->base.path = file->path;
    file->flags = flags;
    mutex_lock(&env->lock);
    plsm_status status = open_node(env, path, flags, &file->node, &file->journal_path);
    if (status == PLSM_OK)
        file->node->handles++;
    mutex_unlock(&env->lock);
    if (status == PLSM_OK)
        *out = &file->base;
    else
        mem_free(file);
    return status;
}

static void memory_close(struct env_file *base)
{
    struct memory_env *env = memory_of(base->env);
    mutex_lock(&env->lock);
    ((struct memory_file *)base)->node->handles--;
    mutex_unlock(&env->lock);
    mem_free(base);
}

/* --- space --- */

static uint64_t blocks_of(uint64_t size)
{
    return (size + BLOCK_BYTES - 1) & ~(uint64_t)(BLOCK_BYTES - 1);
}

/* Under the lock. */
static uint64_t bytes_used(const struct memory_env *env)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < env->node_count; i++)
        if (env->nodes[i]->parent || env->nodes[i]->handles > 0)
            bytes += blocks_of(memory_whole_size(&env->nodes[i]->content));
    return bytes;
}

/* How many of `size` bytes fit behind the end of a file. Under the lock. */
static size_t bytes_fitting(const struct memory_env *env, const struct node *node, size_t size)
{
    if (env->capacity == 0)
        return size;
    uint64_t used = bytes_used(env), free_bytes = used < env->capacity ? env->capacity - used : 0;
    uint64_t fits = free_bytes + (blocks_of(memory_whole_size(&node->content)) - node->content.size);
    return size < fits ? size : (size_t)fits;
}

void env_memory_set_capacity(struct env *base, uint64_t bytes)
{
    struct memory_env *env = memory_of(base);
    mutex_lock(&env->lock);
    env->capacity = bytes;
    mutex_unlock(&env->lock);
}

/* The size of a file as its handle sees it. Under the lock. */
static size_t seen_size(const struct memory_file *file)
{
    const struct node *node = file->node;
    if (file->flags != ENV_READ)
        return node->content.size;
    size_t whole = memory_whole_size(&node->content), ahead = node->ahead ? memory_seen_size(node->content.size) : 0;
    return whole > ahead ? whole : ahead;
}

static plsm_status memory_read(struct env_file *base, uint64_t offset, void *data, size_t size, size_t *got)
{
    struct memory_file *file = (struct memory_file *)base;
    struct memory_env *env = memory_of(base->env);
    mutex_lock(&env->lock);
    const struct node *node = file->node;
    size_t seen = seen_size(file), left = offset < seen ? seen - (size_t)offset : 0;
    *got = size < left ? size : left;
    memory_copy(&node->content, (size_t)offset, data, *got);
    mutex_unlock(&env->lock);
    return PLSM_OK;
}

/* What is written once stays where it is as long as nothing is appended: not in a file that is ahead of its end. */
static plsm_status memory_map(struct env_file *base, uint64_t size, atomic_bool *lost, const void **out)
{
    struct memory_file *file = (struct memory_file *)base;
    struct memory_env *env = memory_of(base->env);
    mutex_lock(&env->lock);
    const struct node *node = file->node;
    bool can = file->flags == ENV_READ && !node->ahead && size > 0 && size <= node->content.size;
    *out = can ? node->content.storage->data : NULL;
    mutex_unlock(&env->lock);
    return can ? PLSM_OK : PLSM_UNSUPPORTED;
}

static plsm_status memory_file_append(struct env_file *base, const void *data, size_t size, size_t *put)
{
    struct memory_file *file = (struct memory_file *)base;
    struct memory_env *env = memory_of(base->env);
    if (file->flags == ENV_READ)
        return fail(PLSM_INVALID, "%s: cannot append: it is open for reading only", file->path);
    mutex_lock(&env->lock);
    size_t fits = bytes_fitting(env, file->node, size);
    bool full = fits == 0 && size > 0;
    bool done = !full && memory_append(env, file->node, file->journal_path, data, fits);
    mutex_unlock(&env->lock);
    *put = done ? fits : 0;
    if (full)
        return fail_errno(ENOSPC, file->path, "cannot append");
    return done ? PLSM_OK : no_memory(file->path);
}

static plsm_status memory_file_sync(struct env_file *base)
{
    struct memory_file *file = (struct memory_file *)base;
    struct memory_env *env = memory_of(base->env);
    mutex_lock(&env->lock);
    bool done = memory_sync(env, file->node, file->path);
    mutex_unlock(&env->lock);
    return done ? PLSM_OK : no_memory(file->path);
}

static plsm_status memory_truncate(struct env_file *base, uint64_t size)
{
    struct memory_file *file = (struct memory_file *)base;
    struct memory_env *env = memory_of(base->env);
    if (file->flags == ENV_READ)
        return fail(PLSM_INVALID, "%s: cannot truncate: it is open for reading only", file->path);
    plsm_status status = PLSM_OK;
    mutex_lock(&env->lock);
    if (size > file->node->content.size) {
        status =
            fail(PLSM_INVALID, "%s: cannot truncate %zu bytes to %" PRIu64, file->path, file->node->content.size, size);
    } else if (!memory_record(env,
                              (struct journal_entry){.op = JOURNAL_TRUNCATE, .node = file->node, .size = (size_t)size},
                              file->path)) {
        status = no_memory(file->path);
    } else {
        file->node->content.size = (size_t)size;
        file->node->content.under = (struct under){0};
        file->node->ahead = false;
    }
    mutex_unlock(&env->lock);
    return status;
}

static plsm_status memory_size(struct env_file *base, uint64_t *size)
{
    struct memory_env *env = memory_of(base->env);
    mutex_lock(&env->lock);
    *size = seen_size((struct memory_file *)base);
    mutex_unlock(&env->lock);
    return PLSM_OK;
}

/* --- directories --- */

static bool is_within(const struct node *node, const struct node *ancestor)
{
    while (node && node != ancestor)
        node = node->parent;
    return node == ancestor;
}

/* 0 or the errno value with which the kernel would refuse. */
static int rename_refused(const struct place *from, const struct place *to)
{
    if (!from->node)
        return ENOENT;
    if (from->node->is_dir && is_within(to->dir, from->node))
        return EINVAL;
    if (!to->node)
        return 0;
    if (to->node->is_dir && !from->node->is_dir)
        return EISDIR;
    if (!to->node->is_dir && from->node->is_dir)
        return ENOTDIR;
    return to->node->is_dir && to->node->name_count > 0 ? ENOTEMPTY : 0;
}

static plsm_status rename_node(struct memory_env *env, const char *from_path, const char *to_path)
{
    struct place from = {0}, to = {0};
    TRY(resolve_name(env, from_path, "cannot rename", &from));
    TRY(resolve_name(env, to_path, "cannot rename to it", &to));
    int error = rename_refused(&from, &to);
    if (error)
        return fail(fail_errno(error, from_path, "cannot rename"), "%s (to %s)", plsm_message(), to_path);
    if (from.node == to.node)
        return PLSM_OK;
    char *text = strdup(memory_last_component(to_path)), *path_to = strdup(to_path);
    if (!text || !path_to ||
        !memory_grow((void **)&to.dir->names, to.dir->name_count, &to.dir->name_capacity, sizeof *to.dir->names) ||
        !memory_record(
            env,
            (struct journal_entry){
                .op = JOURNAL_RENAME, .node = from.node, .dir = from.dir, .dir_to = to.dir, .path_to = path_to},
            from_path)) {
        free(text);
        free(path_to);
        return no_memory(from_path);
    }
    const char *name = memory_last_component(from_path), *name_to = memory_last_component(to_path);
    if (to.node)
        drop_name(to.dir, find_name(to.dir, name_to, strlen(name_to)));
    drop_name(from.dir, find_name(from.dir, name, strlen(name)));
    to.dir->names[to.dir->name_count++] = (struct name){text, from.node};
    from.node->links++;
    from.node->parent = to.dir;
    return PLSM_OK;
}

static plsm_status link_node(struct memory_env *env, const char *from_path, const char *to_path)
{
    struct place from = {0}, to = {0};
    TRY(resolve_name(env, from_path, "cannot link", &from));
    TRY(resolve_name(env, to_path, "cannot link to it", &to));
    if (!from.node || from.node->is_dir)
        return fail_errno(from.node ? EPERM : ENOENT, from_path, "cannot link");
    if (to.node)
        return fail(PLSM_EXISTS, "%s: cannot link to it: something is there already", to_path);
    char *text = strdup(memory_last_component(to_path)), *path_to = strdup(to_path);
    struct journal_entry entry = {
        .op = JOURNAL_LINK, .node = from.node, .dir = from.dir, .dir_to = to.dir, .path_to = path_to};
    if (!text || !path_to ||
        !memory_grow((void **)&to.dir->names, to.dir->name_count, &to.dir->name_capacity, sizeof *to.dir->names) ||
        !memory_record(env, entry, from_path)) {
        free(text);
        free(path_to);
        return no_memory(from_path);
    }
    to.dir->names[to.dir->name_count++] = (struct name){text, from.node};
    from.node->links++;
    return PLSM_OK;
}

static plsm_status memory_link(struct env *base, const char *from, const char *to)
{
    struct memory_env *env = memory_of(base);
    mutex_lock(&env->lock);
    plsm_status status = link_node(env, from, to);
    mutex_unlock(&env->lock);
    return status;
}

static plsm_status exchange_nodes(struct memory_env *env, const char *one_path, const char *other_path)
{
    struct place one = {0}, other = {0};
    TRY(resolve_name(env, one_path, "cannot change names", &one));
    TRY(resolve_name(env, other_path, "cannot change names with it", &other));
    if (!one.node || !other.node)
        return fail_errno(ENOENT, one.node ? other_path : one_path, "cannot change names");
    if (one.dir != other.dir)
        return fail(PLSM_UNSUPPORTED, "%s: changes names within its directory only", one_path);
    char *path_to = strdup(other_path);
    struct journal_entry entry = {
        .op = JOURNAL_EXCHANGE, .node = one.node, .node_to = other.node, .dir = one.dir, .path_to = path_to};
    if (!path_to || !memory_record(env, entry, one_path)) {
        free(path_to);
        return no_memory(one_path);
    }
    const char *name = memory_last_component(one_path), *name_to = memory_last_component(other_path);
    find_name(one.dir, name, strlen(name))->node = other.node;
    find_name(one.dir, name_to, strlen(name_to))->node = one.node;
    return PLSM_OK;
}

static plsm_status memory_exchange(struct env *base, const char *one, const char *other)
{
    struct memory_env *env = memory_of(base);
    mutex_lock(&env->lock);
    plsm_status status = exchange_nodes(env, one, other);
    mutex_unlock(&env->lock);
    return status;
}

static plsm_status memory_rename(struct env *base, const char *from, const char *to)
{
    struct memory_env *env = memory_of(base);
    mutex_lock(&env->lock);
    plsm_status status = rename_node(env, from, to);
    mutex_unlock(&env->lock);
    return status;
}

static plsm_status remove_node(struct memory_env *env, const char *path)
{
    struct place place = {0};
    TRY(resolve_name(env, path, "cannot remove", &place));
    if (!place.node)
        return fail_errno(ENOENT, path, "cannot remove");
    if (place.node->name_count > 0)
        return fail_errno(ENOTEMPTY, path, "cannot remove");
    struct journal_entry entry = {.op = JOURNAL_REMOVE, .node = place.node, .dir = place.dir};
    if (!memory_record(env, entry, path))
        return no_memory(path);
    const char *name = memory_last_component(path);
    drop_name(place.dir, find_name(place.dir, name, strlen(name)));
    return PLSM_OK;
}

static plsm_status memory_remove(struct env *base, const char *path)
{
    struct memory_env *env = memory_of(base);
    mutex_lock(&env->lock);
    plsm_status status = remove_node(env, path);
    mutex_unlock(&env->lock);
    return status;
}

static plsm_status make_dir_node(struct memory_env *env, const char *path)
{
    struct place place = {0};
    int error = resolve(env, path, &place);
    if (!error && place.node)
        return fail(PLSM_EXISTS, "%s: cannot make this directory: something is there already", path);
    TRY(resolve_name(env, path, "cannot make this directory", &place));
    return memory_add(env, place.dir, path, true) ? PLSM_OK : no_memory(path);
}

static plsm_status memory_make_dir(struct env *base, const char *path)
{
    struct memory_env *env = memory_of(base);
    mutex_lock(&env->lock);
    plsm_status status = make_dir_node(env, path);
    mutex_unlock(&env->lock);
    return status;
}

/* The directory that a path leads to. Under the lock. */
static plsm_status resolve_dir(struct memory_env *env, const char *path, int not_dir, const char *what,
                               struct node **out)
{
    struct place place = {0};
    int error = resolve(env, path, &place);
    if (error == ENOTDIR || (!error && place.node && !place.node->is_dir))
        error = not_dir;
    else if (!error && !place.node)
        error = ENOENT;
    *out = place.node;
    return error ? fail_errno(error, path, what) : PLSM_OK;
}

static plsm_status memory_sync_dir(struct env *base, const char *path)
{
    struct memory_env *env = memory_of(base);
    struct node *dir = NULL;
    mutex_lock(&env->lock);
    plsm_status status = resolve_dir(env, path, ENOTDIR, "cannot open this directory to sync it", &dir);
    if (status == PLSM_OK && !memory_sync(env, dir, path))
        status = no_memory(path);
    mutex_unlock(&env->lock);
    return status;
}

static plsm_status memory_list(struct env *base, const char *path, void (*each)(void *arg, const char *name), void *arg)
{
    struct memory_env *env = memory_of(base);
    struct node *dir = NULL;
    char **names = NULL;
    size_t count = 0;
    mutex_lock(&env->lock);
    plsm_status status = resolve_dir(env, path, ENOENT, "cannot list this directory", &dir);
    if (status == PLSM_OK && dir->name_count > 0) {
        /* Copied: `each` may call the environment. */
        names = calloc(dir->name_count, sizeof *names);
        if (!names)
            status = no_memory(path);
        for (; status == PLSM_OK && count < dir->name_count; count++) {
            names[count] = strdup(dir->names[count].text);
            if (!names[count])
                status = no_memory(path);
        }
    }
    mutex_unlock(&env->lock);
    for (size_t i = 0; i < count; i++) {
        if (status == PLSM_OK)
            each(arg, names[i]);
        free(names[i]);
    }
    free(names);
    return status;
}

static plsm_status memory_space(struct env *base, const char *path, struct env_space *out)
{
    struct memory_env *env = memory_of(base);
    mutex_lock(&env->lock);
    uint64_t bytes = bytes_used(env), files = 0, total = env->capacity ? env->capacity : BYTES_TOTAL;
    for (size_t i = 0; i < env->node_count; i++)
        files += env->nodes[i]->parent != NULL;
    mutex_unlock(&env->lock);
    *out = (struct env_space){total, bytes < total ? total - bytes : 0, FILES_TOTAL,
                              files < FILES_TOTAL ? FILES_TOTAL - files : 0};
    return PLSM_OK;
}

/* --- locks: real among the users of this environment, gone after a crash; only the making of the file is recorded ---
 */

static plsm_status lock_node(struct memory_env *env, const char *path, struct memory_lock *lock)
{
    struct place place = {0};
    TRY(resolve_name(env, path, "cannot open to lock it", &place));
    if (!place.node && !(place.node = memory_add(env, place.dir, path, false)))
        return no_memory(path);
    for (const struct memory_lock *held = env->locks; held; held = held->next)
        if (held->node == place.node && held->slot == lock->slot && (held->exclusive || lock->exclusive))
            return fail(PLSM_LOCKED, "%s: byte %u is locked by another open of the store", path, lock->slot);
    lock->node = place.node;
    lock->next = env->locks;
    env->locks = lock;
    return PLSM_OK;
}

static plsm_status memory_lock(struct env *base, const char *path, unsigned slot, bool exclusive, struct env_lock **out)
{
    struct memory_env *env = memory_of(base);
    struct memory_lock *lock = mem_zalloc(sizeof *lock);
    if (!lock)
        return fail(PLSM_NO_MEMORY, "%s: no memory to lock it", path);
    lock->base.env = base;
    lock->slot = slot;
    lock->exclusive = exclusive;
    mutex_lock(&env->lock);
    plsm_status status = lock_node(env, path, lock);
    mutex_unlock(&env->lock);
    if (status == PLSM_OK)
        *out = &lock->base;
    else
        mem_free(lock);
    return status;
}

static void memory_unlock(struct env_lock *base)
{
    struct memory_env *env = memory_of(base->env);
    mutex_lock(&env->lock);
    struct memory_lock **at = &env->locks;
    while (*at != (struct memory_lock *)base)
        at = &(*at)->next;
    *at = (*at)->next;
    mutex_unlock(&env->lock);
    mem_free(base);
}

/* --- time and threads are the machine's; randomness is the seed's --- */

static uint64_t memory_now_ns(struct env *env)
{
    return env_now_ns(env_posix());
}

static uint64_t memory_cpu_ns(struct env *env)
{
    return env_cpu_ns(env_posix());
}

static uint64_t memory_wall_ns(struct env *env)
{
    uint64_t seconds = atomic_load_explicit(&memory_of(env)->wall_s, memory_order_relaxed);
    return seconds ? seconds * 1000000000 : env_wall_ns(env_posix());
}

void env_memory_set_wall_s(struct env *env, uint64_t seconds)
{
    atomic_store_explicit(&memory_of(env)->wall_s, seconds, memory_order_relaxed);
}

static void memory_sleep_ns(struct env *env, uint64_t ns)
{
    env_sleep_ns(env_posix(), ns);
}

static void memory_random(struct env *base, void *data, size_t size)
{
    struct memory_env *env = memory_of(base);
    mutex_lock(&env->lock);
    for (size_t done = 0; done < size; done += 8) {
        uint64_t word = random_next(&env->random);
        memcpy((uint8_t *)data + done, &word, size - done < 8 ? size - done : 8);
    }
    mutex_unlock(&env->lock);
}

static plsm_status memory_thread_start(struct env *env, void (*run)(void *arg), void *arg, struct env_thread **out)
{
    return env_thread_start(env_posix(), run, arg, out); /* the thread is env_posix's to join */
}

static const struct env_ops memory_ops = {
    .open = memory_open,
    .close = memory_close,
    .read = memory_read,
    .map = memory_map,
    .append = memory_file_append,
    .sync = memory_file_sync,
    .truncate = memory_truncate,
    .size = memory_size,
    .rename = memory_rename,
    .exchange = memory_exchange,
    .link = memory_link,
    .remove = memory_remove,
    .make_dir = memory_make_dir,
    .sync_dir = memory_sync_dir,
    .list = memory_list,
    .space = memory_space,
    .lock = memory_lock,
    .unlock = memory_unlock,
    .now_ns = memory_now_ns,
    .cpu_ns = memory_cpu_ns,
    .wall_ns = memory_wall_ns,
    .sleep_ns = memory_sleep_ns,
    .random = memory_random,
    .thread_start = memory_thread_start,
    .thread_join = env_thread_join,
};

/* --- the environment itself --- */

struct env *env_memory_create(uint64_t seed)
{
    struct memory_env *env = calloc(1, sizeof *env);
    if (!env)
        return NULL;
    env->env.ops = &memory_ops;
    mutex_init(&env->lock);
    random_seed(&env->random, seed);
    if (!memory_add(env, NULL, "/", true)) {
        env_memory_destroy(&env->env);
        return NULL;
    }
    return &env->env;
}

plsm_status env_memory_content(struct env *base, const char *path, uint8_t **data, size_t *size)
{
    struct memory_env *env = memory_of(base);
    struct place place = {0};
    mutex_lock(&env->lock);
    int error = resolve(env, path, &place);
    if (!error)
        error = !place.node ? ENOENT : place.node->is_dir ? EISDIR : 0;
    if (!error) {
        *data = place.node->content.storage ? place.node->content.storage->data : NULL;
        *size = place.node->content.size;
    }
    mutex_unlock(&env->lock);
    return error ? fail_errno(error, path, "cannot show its content") : PLSM_OK;
}
