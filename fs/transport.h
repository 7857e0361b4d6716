/* How requests come from the kernel and replies go back: FUSE over io_uring where the kernel offers it (Linux 6.14 and
 * later, module parameter enable_uring of fuse), /dev/fuse otherwise. Knows of libfuse's session, of nothing else of a
 * file system, so that any of them can use it:
 *
 *     transport_create(session, &options, &transport);
 *     fuse_session_mount(session, directory);
 *     transport_open(transport);      answers INIT; from here on no fork
 *     transport_start(transport);     the mount works
 *     transport_wait(transport);      until it is unmounted, or transport_stop
 *     transport_destroy(transport);   before fuse_session_unmount, which waits for nobody then
 *     fuse_session_unmount(session);
 *
 * Over io_uring each thread has a ring with an entry of the queue of each processor it serves, and is pinned to one of
 * them, so that a reply wakes its caller on the processor where both are. A processor has as many entries as threads,
 * and the kernel takes the one used last: a thread that waits for a disk keeps nobody waiting while another is free.
 * Only the thread that took a request from its ring can hand the reply over, and fetches the next one with it: so a
 * thread keeps its request to the end, also where another one answers it. There are three of a processor, and where
 * more wait for long, others are added, so that two go on: up to ten of a processor, 64 in all, for as long as the
 * mount is there, and none where `threads` says how many. (Several entries for each thread would tie requests to one
 * that waits.) One thread more reads /dev/fuse, for FORGET and INTERRUPT. Over /dev/fuse each thread reads a clone of
 * the device (FUSE_DEV_IOC_CLONE), so that they do not share a queue of replies.
 *
 * One rule for the file system: a request is answered by the thread that it is handed to, before its function returns,
 * unless transport_defer allowed otherwise. Notifications (fuse_lowlevel_notify_*) may be sent by any thread. SIGUSR2
 * is the transport's: the threads that start it must block it. */
#ifndef FS_TRANSPORT_H
#define FS_TRANSPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

struct channel;
struct fuse_session;
struct transport;

enum transport_kind {
    TRANSPORT_AUTO, /* io_uring where it is offered */
    TRANSPORT_URING,
    TRANSPORT_DEV,
};

struct transport_options {
    enum transport_kind kind;
    /* 0: one for each processor that the process may run on; over io_uring three, and more where they wait */
    unsigned threads;
    /* Flags (FUSE_* of linux/fuse.h) added to the reply to INIT where the kernel offers them: libfuse 3.14 takes
     * FUSE_CAP_PARALLEL_DIROPS and FUSE_CAP_HANDLE_KILLPRIV for wishes and does not pass them on. */
    uint32_t init_flags;
};

enum { TRANSPORT_THREADS_MAX = 64 };

/* Prepares a session, before it is mounted. With TRANSPORT_URING the kernel's switch is turned on where it is off and
 * the process may do so, until transport_open has returned: the kernel looks at it only when a mount begins.
 * PLSM_NO_MEMORY; PLSM_UNSUPPORTED: with TRANSPORT_URING, where it cannot be, with what to do about it. */
plsm_status transport_create(struct fuse_session *session, const struct transport_options *options,
                             struct transport **out);
/* After the mount: answers INIT, the kernel's first message, and chooses. PLSM_IO: there was none, or libfuse and the
 * kernel do not understand each other. PLSM_UNSUPPORTED: with TRANSPORT_URING, where the kernel did not offer it.
 * PLSM_NO_MEMORY. */
plsm_status transport_open(struct transport *transport);
/* Starts the threads. PLSM_NO_MEMORY, PLSM_IO; threads that were started end at transport_destroy. */
plsm_status transport_start(struct transport *transport);
/* Returns when all of them have ended. */
void transport_wait(struct transport *transport);
/* Makes the threads end once they have answered what they have. Any thread, any time after transport_create. */
void transport_stop(struct transport *transport);
/* Ends what still runs. Accepts NULL. */
void transport_destroy(struct transport *transport);

/* What was chosen, from transport_open on: "uring" or "dev"; threads: those that serve requests, from transport_start
 * on. */
const char *transport_name(const struct transport *transport);
unsigned transport_threads(const struct transport *transport);

/* A request that is answered later. */
struct transport_ticket {
    uint64_t unique;
    int fd;                /* over /dev/fuse */
    struct channel *waits; /* over io_uring: whose thread waits for the answer */
};
/* Takes the request that the calling thread has in hand away from it: any thread may answer it later, before
 * transport_destroy, after it has called transport_resume with this ticket. The function that got the request returns
 * soon all the same. False: the calling thread must answer it. So it is over io_uring where fewer than two threads of
 * the processor would be left, or one was added just now: should the answer depend on what others ask, two go on.
 * (Where a thread serves several processors, since the process may run on less than a third of those there may ever be,
 * that stays so once one was added for them: nobody finds out when it has come into use.) */
bool transport_defer(struct transport_ticket *ticket);
/* Whether the calling thread had better wait itself than defer, as over io_uring, where it waits with its request all
 * the same: for nothing that depends on what others ask. Other threads then go on meanwhile; but requests that come in
 * a burst, while all threads of their processor are taken and others are being added, stay with the kernel until a
 * reply fetches them, at the worst for as long as one of those takes that wait. */
bool transport_stay(void);
/* The next reply of the calling thread is to that request. What it has in hand itself must be answered before. */
void transport_resume(const struct transport_ticket *ticket);

/* Memory for a reply of at most `size` bytes to the request that the calling thread has in hand, valid until it is
 * answered: a reply that begins there is not copied once more on its way into the ring. NULL: there is none, since the
 * request itself is there, for its size, or since there is no ring. */
void *transport_reply_memory(size_t size);

#endif
