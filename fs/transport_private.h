/* What the files of the transport share. */
#ifndef FS_TRANSPORT_PRIVATE_H
#define FS_TRANSPORT_PRIVATE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "base/sync.h"
#include "fs/transport.h"

struct ring;

/* A way back for one request, in the hands of one thread. */
struct channel {
    uint64_t unique; /* the request's number; 0: answered, or one that is not answered */
    /* Hands over a reply, whose first part is its header. As writev(2). */
    ssize_t (*reply)(struct channel *channel, const struct iovec *parts, int count);
    uint8_t *memory; /* for transport_reply_memory */
    size_t memory_size;
};

/* One thread. */
struct worker {
    struct transport *transport;
    void (*run)(struct worker *worker);
    struct env_thread *thread;
    unsigned index;
    int fd;            /* /dev/fuse */
    struct ring *ring; /* over io_uring; owned */
    pid_t tid;         /* 0: it has not begun, or has ended; transport lock */
};

struct transport {
    struct fuse_session *session;
    struct transport_options options;
    bool uring;           /* chosen */
    unsigned threads;     /* that serve requests */
    size_t payload_bytes; /* what a message may carry at most beside its headers */
    int switch_fd;        /* the kernel's switch, locked while it is turned on; -1: left alone */

    struct worker *workers; /* owned */
    unsigned worker_count;

    mutex lock;
    condition change;   /* a worker reported or ended, or all are told to end */
    unsigned running;   /* workers that were started and have not ended; lock */
    unsigned reports;   /* workers whose entries are registered, or cannot be; lock */
    bool *queue_served; /* which processors' queues have an entry; lock; owned */
    _Atomic bool stop;
};

/* Hands one message to libfuse, with `channel` for its reply. */
void transport_handle(struct transport *transport, struct channel *channel, void *message, size_t size);

/* fs/transport_uring.c */

/* How many queues the kernel has: one for each processor that there may ever be. */
unsigned ring_queues(void);
/* Whether this program and this kernel can have such rings at all. */
bool ring_possible(void);
/* Makes the ring of a worker, with entries of the queues that it serves, not yet registered. PLSM_NO_MEMORY,
 * PLSM_UNSUPPORTED. */
plsm_status ring_create(struct worker *worker);
void ring_destroy(struct ring *ring); /* accepts NULL */
/* The life of a worker that has one: registers its entries, reports (transport.reports), serves until there is none
 * left or all are told to end. */
void ring_run(struct worker *worker);

#endif
