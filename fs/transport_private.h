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
    /* Makes the ticket of a request that is answered later; false, or NULL: it must be answered at once. */
    bool (*defer)(struct channel *channel, struct transport_ticket *ticket);
    /* Notes that the thread is about to wait for long; NULL: that would keep others waiting. */
    void (*stay)(struct channel *channel);
    uint8_t *memory; /* for transport_reply_memory */
    size_t memory_size;
};

/* One thread. */
struct worker {
    struct transport *transport;
    void (*run)(struct worker *worker);
    struct env_thread *thread;
    unsigned index;
    bool added;        /* by transport_add_worker */
    int error;         /* of one that was added: why it could not register, and so ends; its report */
    int fd;            /* /dev/fuse */
    struct ring *ring; /* over io_uring; owned */
    pid_t tid;         /* 0: it has not begun, or has ended; transport lock */
    mutex lock;        /* of what its entries are told by other threads */
    condition wake;    /* that a request is answered, or all are told to end */
};

/* A processor's queue. */
struct ring_queue {
    _Atomic unsigned threads; /* that have an entry of it */
    _Atomic unsigned waiting; /* of them, for long */
    /* Where an entry is added while the kernel keeps requests back, since none was free, it goes on keeping them until
     * a reply fetches them. How many were added; how many were when a reply last fetched nothing. */
    _Atomic unsigned added, settled;
};

struct transport {
    struct fuse_session *session;
    struct transport_options options;
    bool uring;           /* chosen */
    unsigned threads;     /* that serve requests */
    size_t payload_bytes; /* what a message may carry at most beside its headers */
    int switch_fd;        /* the kernel's switch, locked while it is turned on; -1: left alone */

    struct worker *workers; /* owned */
    _Atomic unsigned worker_count; /* changed under the lock */
    unsigned workers_max;
    mutex spare_lock;      /* of who adds a worker; taken before the lock */
    uint64_t add_after_ns; /* after a failure none is added before then; spare lock */
    bool add_failed;       /* that was told of; spare lock */

    mutex lock;
    condition change; /* a worker reported or ended, or all are told to end */
    unsigned running; /* workers that were started, have not ended, and do not wait for an answer at the end; lock */
    unsigned reports; /* workers whose entries are registered, or cannot be; lock */
    struct ring_queue *queues; /* of the processors; owned */
    bool may_add;              /* all have been started, and more may be; lock */
    _Atomic bool stop;
};

/* Hands one message to libfuse, with `channel` for its reply. */
void transport_handle(struct transport *transport, struct channel *channel, void *message, size_t size);

enum {
    /* Threads with rings of a processor that are there for whatever comes: while one works on a request, the next from
     * the same processor goes to the other. Measured on 2 processors with the thinnest file system, one client: reads
     * of cached files 42 us, with one thread each 64; creation 127 and 154 (all on a busy machine); three are no better
     * than two. Two clients: the same. */
    URING_WORKING = 2,
    URING_PER_PROCESSOR = URING_WORKING + 1, /* and one that waits */
    /* More are started when they wait too, so many of a processor and so many in all. From the beginning they would be
     * woken for nothing, since the kernel has threads that sleep take requests before it lets these queue: a creation
     * costs 22 us of processor time with 2 threads, 32 with 10 (8 clients, 2 processors). */
    URING_WAITING = 8,
    URING_SPARE = 64,
};

/* One thread more with a ring, of the queues that this one serves; returns when it does, or when there cannot be one,
 * which is told of once, and not tried again at once. Any thread that has a request in hand. */
void transport_add_worker(const struct worker *like);

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
 * left or all are told to end. One that was added and has none registered ends at once, and sets `error`. */
void ring_run(struct worker *worker);
/* The reply to a request that was put off is in its entry: its thread goes on. */
void ring_answered(struct channel *channel);

#endif
