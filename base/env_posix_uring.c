/* Reads of several pieces at once, through io_uring (Axboe, "Efficient IO with io_uring", 2019) by way of liburing.
 *
 * Each thread that needs it gets a ring of its own at the first use, and keeps it until it ends. Where there is no
 * liburing, or the kernel refuses (too old, switched off, forbidden in a container), pieces stay to be read one by one;
 * it is asked once per thread. */
#include "base/env_posix_private.h"

#include <pthread.h>
#include <stdbool.h>
#include <string.h>

#if defined(HAVE_LIBURING)
#include <liburing.h>
#endif

#include "base/alloc.h"
#include "base/error.h"

#include "base/banned.h"

#if defined(HAVE_LIBURING)

enum { DEPTH = 64 };

struct own_ring {
    struct io_uring ring;
    bool usable;
};

static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_key_t key;
static _Thread_local struct own_ring *own;

static void ring_free(void *value)
{
    struct own_ring *r = value;
    if (r->usable)
        io_uring_queue_exit(&r->ring);
    mem_free(r);
    own = NULL;
}

static void make_key(void)
{
    int error = pthread_key_create(&key, ring_free);
    INVARIANT(error == 0);
}

/* The calling thread's ring; NULL when there can be none. */
static struct own_ring *my_ring(void)
{
    if (own)
        return own->usable ? own : NULL;
    struct own_ring *r = mem_zalloc(sizeof *r);
    if (!r)
        return NULL;
    pthread_once(&once, make_key);
    r->usable = io_uring_queue_init(DEPTH, &r->ring, 0) == 0;
    int error = pthread_setspecific(key, r);
    INVARIANT(error == 0);
    own = r;
    return r->usable ? r : NULL;
}

/* Takes back what was submitted: whole reads are done, all others are left to be read by themselves. */
static void reap(struct own_ring *r, struct env_piece *pieces, unsigned submitted)
{
    for (unsigned i = 0; i < submitted; i++) {
        struct io_uring_cqe *cqe = NULL;
        int error = 0;
        do
            error = io_uring_wait_cqe(&r->ring, &cqe);
        while (error == -EINTR);
        INVARIANT(error == 0); /* the kernel owes as many answers as it took requests */
        struct env_piece *p = &pieces[(size_t)io_uring_cqe_get_data64(cqe)];
        if (cqe->res >= 0 && (size_t)cqe->res == p->size)
            p->status = PLSM_OK;
        io_uring_cqe_seen(&r->ring, cqe);
        posix_descriptor_unpin(p->file);
    }
}

/* Up to DEPTH pieces. */
static void read_some(struct own_ring *r, struct env_piece *pieces, size_t count)
{
    unsigned queued = 0;
    for (size_t i = 0; i < count; i++) {
        int fd = -1;
        if (pieces[i].size > UINT32_MAX || posix_descriptor_pin(pieces[i].file, &fd) != PLSM_OK)
            continue; /* reading it by itself will say why */
        struct io_uring_sqe *sqe = io_uring_get_sqe(&r->ring);
        INVARIANT(sqe); /* there are DEPTH of them, and the ring is empty */
        io_uring_prep_read(sqe, fd, pieces[i].data, (unsigned)pieces[i].size, pieces[i].offset);
        io_uring_sqe_set_data64(sqe, i);
        queued++;
    }
    unsigned submitted = 0;
    while (submitted < queued) {
        int now = io_uring_submit(&r->ring);
        if (now == -EINTR || now == -EAGAIN || now == -EBUSY)
            continue;
        INVARIANT(now > 0);
        submitted += (unsigned)now;
    }
    reap(r, pieces, submitted);
}

void posix_read_many(struct env *env, struct env_piece *pieces, size_t count)
{
    (void)env;
    struct own_ring *r = my_ring();
    for (size_t done = 0; r && done < count; done += DEPTH)
        read_some(r, pieces + done, count - done < DEPTH ? count - done : DEPTH);
}

#else

void posix_read_many(struct env *env, struct env_piece *pieces, size_t count)
{
    (void)env, (void)pieces, (void)count;
}

#endif
