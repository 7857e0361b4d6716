#include "fs/sync.h"

#include "base/alloc.h"
#include "base/env.h"
#include "fs/ops.h"
#include "fs/transport.h"
#include "base/banned.h"

struct sync_waiter {
    struct sync_waiter *next;
    fuse_req_t req; /* NULL: its thread waits, and owns this */
    struct transport_ticket ticket;
    bool done; /* sync lock; and how: */
    int error;
};

/* What is waited at most for others who are about to ask, as a part of what a sync takes, and in all. */
enum { COMPANY_SHARE = 2, COMPANY_NS_MAX = 2000000 };

/* Waits for as many as asked around the last sync: they are mostly back in a moment with their next file, and would
 * have to wait for a sync of their own. Under the sync lock, which is given up meanwhile. */
static void await_company(struct fs *fs)
{
    uint64_t ns = fs->sync_ns / COMPANY_SHARE < COMPANY_NS_MAX ? fs->sync_ns / COMPANY_SHARE : COMPANY_NS_MAX;
    uint64_t end_ns = env_now_ns(env_posix()) + ns, now_ns = 0;
    while (fs->sync_waiting < fs->sync_company && !fs->sync_stop && (now_ns = env_now_ns(env_posix())) < end_ns)
        condition_wait_ns(&fs->sync_wake, &fs->sync_lock, end_ns - now_ns);
}

/* Syncs for so many that asked. Under the sync lock, which is given up meanwhile. Returns 0 or an errno value. */
static int sync_for(struct fs *fs, unsigned served)
{
    fs->syncing = true;
    mutex_unlock(&fs->sync_lock);
    uint64_t start_ns = env_now_ns(env_posix());
    int error = fs_errno_of_change(fs, plsm_sync(fs->db));
    uint64_t end_ns = env_now_ns(env_posix());
    mutex_lock(&fs->sync_lock);
    fs->syncing = false;
    fs->sync_ns = end_ns - start_ns;
    fs->sync_company = served + fs->sync_waiting;
    return error;
}

static void answer_all(struct fs *fs, struct sync_waiter *waiters, int error)
{
    struct sync_waiter *deferred = NULL;
    mutex_lock(&fs->sync_lock);
    for (struct sync_waiter *next = NULL; waiters; waiters = next) {
        next = waiters->next;
        waiters->error = error;
        waiters->done = true;
        if (waiters->req) {
            waiters->next = deferred;
            deferred = waiters;
        }
    }
    condition_broadcast(&fs->sync_done);
    mutex_unlock(&fs->sync_lock);
    for (struct sync_waiter *next = NULL; deferred; deferred = next) {
        next = deferred->next;
        transport_resume(&deferred->ticket);
        fuse_reply_err(deferred->req, error);
        mem_free(deferred);
    }
}

/* Serves until it is told to stop and nobody waits. */
static void serve_waiters(void *arg)
{
    struct fs *fs = arg;
    mutex_lock(&fs->sync_lock);
    while (fs->sync_waiters || !fs->sync_stop) {
        if (!fs->sync_waiters || fs->syncing) {
            condition_wait(&fs->sync_wake, &fs->sync_lock);
            continue;
        }
        await_company(fs);
        struct sync_waiter *waiters = fs->sync_waiters;
        unsigned served = fs->sync_waiting;
        fs->sync_waiters = NULL;
        fs->sync_waiting = 0;
        int error = sync_for(fs, served);
        mutex_unlock(&fs->sync_lock);
        answer_all(fs, waiters, error);
        mutex_lock(&fs->sync_lock);
    }
    mutex_unlock(&fs->sync_lock);
}

/* Under the sync lock. */
static void enqueue(struct fs *fs, struct sync_waiter *waiter)
{
    waiter->next = fs->sync_waiters;
    fs->sync_waiters = waiter;
    fs->sync_waiting++;
    condition_signal(&fs->sync_wake);
}

/* Leaves the request to that thread; false: no memory, or the transport wants it answered by this one. */
static bool leave(struct fs *fs, fuse_req_t req)
{
    struct sync_waiter *waiter = mem_zalloc(sizeof *waiter);
    if (!waiter)
        return false;
    mutex_lock(&fs->sync_lock);
    bool waits = !fs->sync_stop && transport_defer(&waiter->ticket);
    if (waits) {
        waiter->req = req;
        enqueue(fs, waiter);
    }
    mutex_unlock(&fs->sync_lock);
    if (!waits)
        mem_free(waiter);
    return waits;
}

/* Syncs, or waits for a sync with others where there are any, and returns how that ended: who asks alone is served
 * without a hop to another thread and back, and so is who comes when that thread may have ended. */
static int sync_here(struct fs *fs)
{
    struct sync_waiter waiter = {0};
    mutex_lock(&fs->sync_lock);
    if (fs->sync_stop) {
        mutex_unlock(&fs->sync_lock);
        return fs_errno_of_change(fs, plsm_sync(fs->db));
    }
    if (fs->syncing || fs->sync_waiters || fs->sync_company > 1) {
        enqueue(fs, &waiter);
        while (!waiter.done)
            condition_wait(&fs->sync_done, &fs->sync_lock);
    } else {
        waiter.error = sync_for(fs, 1);
        if (fs->sync_waiters)
            condition_signal(&fs->sync_wake);
    }
    mutex_unlock(&fs->sync_lock);
    return waiter.error;
}

void sync_and_reply(struct fs *fs, fuse_req_t req)
{
    if (fs->options.read_only)
        fuse_reply_err(req, 0);
    else if (transport_stay() || !leave(fs, req))
        fuse_reply_err(req, sync_here(fs));
}

plsm_status sync_start(struct fs *fs)
{
    return env_thread_start(env_posix(), serve_waiters, fs, &fs->sync_thread);
}

void sync_end(struct fs *fs)
{
    mutex_lock(&fs->sync_lock);
    fs->sync_stop = true;
    condition_signal(&fs->sync_wake);
    mutex_unlock(&fs->sync_lock);
    env_thread_join(fs->sync_thread);
    fs->sync_thread = NULL;
}
