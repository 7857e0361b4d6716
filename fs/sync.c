#include "fs/sync.h"

#include "base/alloc.h"
#include "base/env.h"
#include "fs/ops.h"
#include "fs/transport.h"
#include "base/banned.h"

struct sync_waiter {
    struct sync_waiter *next;
    fuse_req_t req;
    struct transport_ticket ticket;
};

/* What is waited at most for others who are about to ask, as a part of what a sync takes, and in all. */
enum { COMPANY_SHARE = 2, COMPANY_NS_MAX = 2000000 };

/* Waits for as many as asked around the last sync: they are mostly back in a moment with their next file, and would
 * have to wait for a sync of their own. Under the sync lock, which is given up meanwhile. */
static void await_company(struct fs *fs, unsigned company, uint64_t sync_ns)
{
    uint64_t ns = sync_ns / COMPANY_SHARE < COMPANY_NS_MAX ? sync_ns / COMPANY_SHARE : COMPANY_NS_MAX;
    uint64_t end_ns = env_now_ns(env_posix()) + ns, now_ns = 0;
    while (fs->sync_waiting < company && !fs->sync_stop && (now_ns = env_now_ns(env_posix())) < end_ns)
        condition_wait_ns(&fs->sync_wake, &fs->sync_lock, end_ns - now_ns);
}

static void answer_all(struct sync_waiter *waiters, int error)
{
    for (struct sync_waiter *next = NULL; waiters; waiters = next) {
        next = waiters->next;
        transport_resume(&waiters->ticket);
        fuse_reply_err(waiters->req, error);
        mem_free(waiters);
    }
}

/* Serves until it is told to stop and nobody waits. */
static void serve_waiters(void *arg)
{
    struct fs *fs = arg;
    unsigned company = 1;
    uint64_t sync_ns = 0;
    mutex_lock(&fs->sync_lock);
    while (fs->sync_waiters || !fs->sync_stop) {
        if (!fs->sync_waiters) {
            condition_wait(&fs->sync_wake, &fs->sync_lock);
            continue;
        }
        await_company(fs, company, sync_ns);
        struct sync_waiter *waiters = fs->sync_waiters;
        unsigned served = fs->sync_waiting;
        fs->sync_waiters = NULL;
        fs->sync_waiting = 0;
        mutex_unlock(&fs->sync_lock);
        uint64_t start_ns = env_now_ns(env_posix());
        int error = fs_errno_of_change(fs, plsm_sync(fs->db));
        sync_ns = env_now_ns(env_posix()) - start_ns;
        mutex_lock(&fs->sync_lock);
        company = served + fs->sync_waiting;
        mutex_unlock(&fs->sync_lock);
        answer_all(waiters, error);
        mutex_lock(&fs->sync_lock);
    }
    mutex_unlock(&fs->sync_lock);
}

/* Whether there is a thread to serve those who wait. Under the sync lock. */
static bool has_thread(struct fs *fs)
{
    return fs->sync_thread || env_thread_start(env_posix(), serve_waiters, fs, &fs->sync_thread) == PLSM_OK;
}

/* Whether the request waits now; false: no memory, no thread, or the transport wants its answer at once. */
static bool enqueue(struct fs *fs, fuse_req_t req)
{
    struct sync_waiter *waiter = mem_alloc(sizeof *waiter);
    if (!waiter)
        return false;
    mutex_lock(&fs->sync_lock);
    bool waits = has_thread(fs) && transport_defer(&waiter->ticket);
    if (waits) {
        waiter->req = req;
        waiter->next = fs->sync_waiters;
        fs->sync_waiters = waiter;
        fs->sync_waiting++;
        condition_signal(&fs->sync_wake);
    }
    mutex_unlock(&fs->sync_lock);
    if (!waits)
        mem_free(waiter);
    return waits;
}

void sync_and_reply(struct fs *fs, fuse_req_t req)
{
    if (fs->options.read_only)
        fuse_reply_err(req, 0);
    else if (!enqueue(fs, req))
        fuse_reply_err(req, fs_errno_of_change(fs, plsm_sync(fs->db)));
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
