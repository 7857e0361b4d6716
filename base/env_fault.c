/* A backend that makes chosen calls fail. Locks and threads are the base's own and go back to it directly. */
#include "base/env_fault.h"

#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/random.h"
#include "base/sync.h"

#include "base/banned.h"

struct fault_env {
    struct env env;
    struct env *base;
    mutex lock; /* of what follows */
    bool armed, sticky, fired;
    enum env_call call;
    enum env_fault fault;
    uint64_t nth;
    uint64_t counts[ENV_CALL_COUNT];
    uint64_t armed_nth, fired_ever; /* over all armings; together they decide what a failing append leaves behind */
};

struct fault_file {
    struct env_file base;
    struct env_file *file;
    enum env_open_flags flags;
};

/* What is to happen to one call. */
struct verdict {
    bool fails;
    enum env_fault fault;
    size_t part; /* bytes that are read or appended all the same; below the size asked for */
};

static struct fault_env *fault_of(struct env *env)
{
    return (struct fault_env *)env;
}

static struct env *base_of(struct env *env)
{
    return fault_of(env)->base;
}

static bool applies(enum env_fault fault, enum env_call call, bool writes, size_t size)
{
    switch (fault) {
    case ENV_FAULT_NO_SPACE:
    case ENV_FAULT_QUOTA:
        return (call == ENV_CALL_OPEN && writes) || call == ENV_CALL_APPEND || call == ENV_CALL_RENAME ||
               call == ENV_CALL_MAKE_DIR;
    case ENV_FAULT_SHORT: /* of one byte nothing can be left away: 0 would mean the end */
        return (call == ENV_CALL_READ || call == ENV_CALL_APPEND) && size > 1;
    default:
        return true;
    }
}

/* How many bytes of a failing call are done. */
static size_t part_of(const struct fault_env *env, bool first, size_t size)
{
    /* Both, so that a test's loop over nth sees all ways, with one environment for all rounds or a new one for each. */
    uint64_t number = env->armed_nth + env->fired_ever, state = number;
    uint64_t any = splitmix64(&state);
    switch (env->fault) {
    case ENV_FAULT_SHORT:
        return 1 + (size_t)(any % (size - 1));
    case ENV_FAULT_NO_SPACE:
    case ENV_FAULT_QUOTA: /* the append that fills the disk; behind it there is no room for anything */
        return first ? (size_t)(any % size) : 0;
    default:
        return number % 2 ? 0 : (size_t)(any % size);
    }
}

/* Counts a call and says whether it is the one. */
static struct verdict judge(struct env *base, enum env_call call, bool writes, size_t size)
{
    struct fault_env *env = fault_of(base);
    struct verdict verdict = {0};
    mutex_lock(&env->lock);
    if (!env->armed) {
        env->counts[call]++;
    } else if (applies(env->fault, call, writes, size)) {
        env->counts[call]++;
        if (env->call == call || env->call == ENV_CALL_ANY) {
            bool first = env->nth == 1;
            verdict.fails = first || (env->sticky && env->nth == 0);
            env->nth -= env->nth > 0;
            if (verdict.fails) {
                env->fired = true;
                env->fired_ever++;
                verdict.fault = env->fault;
                verdict.part = size ? part_of(env, first, size) : 0;
            }
        }
    }
    mutex_unlock(&env->lock);
    return verdict;
}

static plsm_status injected(struct verdict verdict, const char *path, const char *what)
{
    static const int errors[] = {[ENV_FAULT_IO] = EIO, [ENV_FAULT_NO_SPACE] = ENOSPC, [ENV_FAULT_QUOTA] = EDQUOT};
    return fail_errno(errors[verdict.fault], path, what);
}

/* --- files --- */

static plsm_status fault_open(struct env *env, const char *path, enum env_open_flags flags, struct env_file **out)
{
    struct verdict verdict = judge(env, ENV_CALL_OPEN, flags != ENV_READ, 0);
    if (verdict.fails)
        return injected(verdict, path, "cannot open (injected fault)");
    struct fault_file *file = mem_zalloc(sizeof *file);
    if (!file)
        return fail(PLSM_NO_MEMORY, "%s: no memory to open it", path);
    plsm_status status = env_open(base_of(env), path, flags, &file->file);
    if (status != PLSM_OK) {
        mem_free(file);
        return status;
    }
    file->base.env = env;
    file->base.path = file->file->path;
    file->flags = flags;
    *out = &file->base;
    return PLSM_OK;
}

static struct env_file *inner(struct env_file *file)
{
    return ((struct fault_file *)file)->file;
}

static void fault_close(struct env_file *file)
{
    env_close(inner(file));
    mem_free(file);
}

static plsm_status fault_read(struct env_file *file, uint64_t offset, void *data, size_t size, size_t *got)
{
    struct verdict verdict = judge(file->env, ENV_CALL_READ, false, size);
    if (verdict.fails && verdict.fault != ENV_FAULT_SHORT)
        return injected(verdict, file->path, "cannot read (injected fault)");
    struct env_file *base = inner(file);
    return base->env->ops->read(base, offset, data, verdict.fails ? verdict.part : size, got);
}

static plsm_status fault_append(struct env_file *file, const void *data, size_t size, size_t *put)
{
    struct verdict verdict = judge(file->env, ENV_CALL_APPEND, true, size);
    struct env_file *base = inner(file);
    if (!verdict.fails || verdict.fault == ENV_FAULT_SHORT)
        return base->env->ops->append(base, data, verdict.fails ? verdict.part : size, put);
    if (((struct fault_file *)file)->flags != ENV_READ)
        (void)env_append(base, data, verdict.part); /* the call fails anyway */
    return injected(verdict, file->path, "cannot append (injected fault)");
}

static plsm_status fault_sync(struct env_file *file)
{
    struct verdict verdict = judge(file->env, ENV_CALL_SYNC, false, 0);
    return verdict.fails ? injected(verdict, file->path, "cannot sync its bytes to the disk (injected fault)")
                         : env_sync(inner(file));
}

static plsm_status fault_truncate(struct env_file *file, uint64_t size)
{
    struct verdict verdict = judge(file->env, ENV_CALL_TRUNCATE, true, 0);
    return verdict.fails ? injected(verdict, file->path, "cannot truncate (injected fault)")
                         : env_truncate(inner(file), size);
}

static plsm_status fault_size(struct env_file *file, uint64_t *size)
{
    return env_size(inner(file), size);
}

/* --- names --- */

static plsm_status fault_rename(struct env *env, const char *from, const char *to)
{
    struct verdict verdict = judge(env, ENV_CALL_RENAME, true, 0);
    return verdict.fails ? injected(verdict, from, "cannot rename (injected fault)")
                         : env_rename(base_of(env), from, to);
}

/* These count as renames: all give a file a name. */
static plsm_status fault_exchange(struct env *env, const char *one, const char *other)
{
    struct verdict verdict = judge(env, ENV_CALL_RENAME, true, 0);
    return verdict.fails ? injected(verdict, one, "cannot change names (injected fault)")
                         : env_exchange(base_of(env), one, other);
}

static plsm_status fault_link(struct env *env, const char *from, const char *to)
{
    struct verdict verdict = judge(env, ENV_CALL_RENAME, true, 0);
    return verdict.fails ? injected(verdict, from, "cannot link (injected fault)") : env_link(base_of(env), from, to);
}

static plsm_status fault_remove(struct env *env, const char *path)
{
    struct verdict verdict = judge(env, ENV_CALL_REMOVE, true, 0);
    return verdict.fails ? injected(verdict, path, "cannot remove (injected fault)") : env_remove(base_of(env), path);
}

static plsm_status fault_make_dir(struct env *env, const char *path)
{
    struct verdict verdict = judge(env, ENV_CALL_MAKE_DIR, true, 0);
    return verdict.fails ? injected(verdict, path, "cannot make this directory (injected fault)")
                         : env_make_dir(base_of(env), path);
}

static plsm_status fault_sync_dir(struct env *env, const char *path)
{
    struct verdict verdict = judge(env, ENV_CALL_SYNC_DIR, false, 0);
    return verdict.fails ? injected(verdict, path, "cannot sync this directory to the disk (injected fault)")
                         : env_sync_dir(base_of(env), path);
}

static plsm_status fault_list(struct env *env, const char *path, void (*each)(void *arg, const char *name), void *arg)
{
    struct verdict verdict = judge(env, ENV_CALL_LIST, false, 0);
    return verdict.fails ? injected(verdict, path, "cannot list this directory (injected fault)")
                         : env_list(base_of(env), path, each, arg);
}

/* --- passed through --- */

static plsm_status fault_space(struct env *env, const char *path, struct env_space *out)
{
    return env_space(base_of(env), path, out);
}

static plsm_status fault_lock(struct env *env, const char *path, unsigned slot, bool exclusive, struct env_lock **out)
{
    return env_lock(base_of(env), path, slot, exclusive, out);
}

static uint64_t fault_now_ns(struct env *env)
{
    return env_now_ns(base_of(env));
}

static uint64_t fault_cpu_ns(struct env *env)
{
    return env_cpu_ns(base_of(env));
}

static uint64_t fault_wall_ns(struct env *env)
{
    return env_wall_ns(base_of(env));
}

static void fault_sleep_ns(struct env *env, uint64_t ns)
{
    env_sleep_ns(base_of(env), ns);
}

static void fault_random(struct env *env, void *data, size_t size)
{
    env_random(base_of(env), data, size);
}

static plsm_status fault_thread_start(struct env *env, void (*run)(void *arg), void *arg, struct env_thread **out)
{
    return env_thread_start(base_of(env), run, arg, out);
}

static const struct env_ops fault_ops = {
    .open = fault_open,
    .close = fault_close,
    .read = fault_read,
    .append = fault_append,
    .sync = fault_sync,
    .truncate = fault_truncate,
    .size = fault_size,
    .rename = fault_rename,
    .exchange = fault_exchange,
    .link = fault_link,
    .remove = fault_remove,
    .make_dir = fault_make_dir,
    .sync_dir = fault_sync_dir,
    .list = fault_list,
    .space = fault_space,
    .lock = fault_lock,
    .unlock = env_unlock,
    .now_ns = fault_now_ns,
    .cpu_ns = fault_cpu_ns,
    .wall_ns = fault_wall_ns,
    .sleep_ns = fault_sleep_ns,
    .random = fault_random,
    .thread_start = fault_thread_start,
    .thread_join = env_thread_join,
};

struct env *env_fault_create(struct env *base)
{
    struct fault_env *env = mem_zalloc(sizeof *env);
    if (!env)
        return NULL;
    env->env.ops = &fault_ops;
    env->base = base;
    mutex_init(&env->lock);
    return &env->env;
}

void env_fault_destroy(struct env *base)
{
    if (!base)
        return;
    mutex_destroy(&fault_of(base)->lock);
    mem_free(base);
}

static void restart(struct fault_env *env)
{
    env->armed = env->fired = false;
    memset(env->counts, 0, sizeof env->counts);
}

void env_fault_arm(struct env *base, enum env_call call, uint64_t nth, enum env_fault fault, bool sticky)
{
    struct fault_env *env = fault_of(base);
    INVARIANT(nth > 0);
    mutex_lock(&env->lock);
    restart(env);
    env->armed = true;
    env->call = call;
    env->nth = env->armed_nth = nth;
    env->fault = fault;
    env->sticky = sticky;
    mutex_unlock(&env->lock);
}

void env_fault_disarm(struct env *base)
{
    struct fault_env *env = fault_of(base);
    mutex_lock(&env->lock);
    restart(env);
    mutex_unlock(&env->lock);
}

uint64_t env_fault_calls(struct env *base, enum env_call call)
{
    struct fault_env *env = fault_of(base);
    uint64_t calls = 0;
    mutex_lock(&env->lock);
    for (int i = 0; i < ENV_CALL_COUNT; i++)
        if (call == ENV_CALL_ANY || (enum env_call)i == call)
            calls += env->counts[i];
    mutex_unlock(&env->lock);
    return calls;
}

bool env_fault_fired(struct env *base)
{
    struct fault_env *env = fault_of(base);
    mutex_lock(&env->lock);
    bool fired = env->fired;
    mutex_unlock(&env->lock);
    return fired;
}
