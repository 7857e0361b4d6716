/* The choice of a transport, its threads, and the loop over /dev/fuse. */
#include "fs/transport.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <syslog.h>
#include <unistd.h>

#include <fuse_lowlevel.h>
#include <linux/fuse.h>

#include "base/alloc.h"
#include "base/env.h"
#include "base/error.h"
#include "fs/transport_abi.h"
#include "fs/transport_private.h"
#include "base/banned.h"

static const char switch_path[] = "/sys/module/fuse/parameters/enable_uring";

enum {
    HEADER_ROOM = 4096,       /* for what stands in front of the payload, as libfuse reckons it */
    PAYLOAD_MAX = 256 * 4096, /* the most that libfuse 3.14 negotiates */
    PAGES_UNSAID = 32,        /* of a message, where the reply to INIT does not say how many */
    KICK_NS = 20000000,       /* between two signals to threads that are to end */
    ADD_AGAIN_S = 5,          /* after a failure to add a thread */
};

/* --- replies ------------------------------------------------------------------------------------------------------ */

/* What the thread has in hand. */
static _Thread_local struct channel *in_hand;

/* libfuse's way to the kernel: replies to the request in hand, notifications, and answers to interrupts. */
static ssize_t write_parts(int fd, struct iovec *parts, int count, void *userdata)
{
    struct channel *channel = in_hand;
    struct fuse_out_header out;
    memcpy(&out, parts[0].iov_base, sizeof out);
    if (!channel || channel->unique == 0 || out.unique != channel->unique)
        return writev(fd, parts, count);
    channel->unique = 0;
    return channel->reply(channel, parts, count);
}

static ssize_t read_message(int fd, void *data, size_t size, void *userdata)
{
    return read(fd, data, size);
}

void transport_handle(struct transport *transport, struct channel *channel, void *message, size_t size)
{
    struct fuse_buf buffer = {.mem = message, .size = size};
    in_hand = channel;
    fuse_session_process_buf(transport->session, &buffer);
    in_hand = NULL;
}

void *transport_reply_memory(size_t size)
{
    return in_hand && in_hand->unique && size <= in_hand->memory_size ? in_hand->memory : NULL;
}

/* --- later replies ------------------------------------------------------------------------------------------------ */

struct late_channel {
    struct channel channel; /* first, so that a channel is one of these */
    struct transport_ticket ticket;
};

static ssize_t reply_late(struct channel *channel, const struct iovec *parts, int count)
{
    const struct transport_ticket *ticket = &((struct late_channel *)channel)->ticket;
    if (!ticket->waits)
        return writev(ticket->fd, parts, count);
    ssize_t written = ticket->waits->reply(ticket->waits, parts, count);
    ring_answered(ticket->waits);
    return written;
}

bool transport_defer(struct transport_ticket *ticket)
{
    struct channel *channel = in_hand;
    if (!channel || channel->unique == 0 || !channel->defer)
        return false;
    *ticket = (struct transport_ticket){.unique = channel->unique};
    if (!channel->defer(channel, ticket))
        return false;
    channel->unique = 0;
    return true;
}

bool transport_stay(void)
{
    return in_hand && in_hand->stay && (in_hand->stay(in_hand), true);
}

void transport_resume(const struct transport_ticket *ticket)
{
    static _Thread_local struct late_channel resumed;
    resumed = (struct late_channel){
        .channel = {.unique = ticket->unique, .reply = reply_late},
        .ticket = *ticket,
    };
    in_hand = &resumed.channel;
}

/* --- /dev/fuse ---------------------------------------------------------------------------------------------------- */

struct device_channel {
    struct channel channel; /* first, so that a channel is one of these */
    int fd;
};

static ssize_t reply_to_device(struct channel *channel, const struct iovec *parts, int count)
{
    return writev(((struct device_channel *)channel)->fd, parts, count);
}

static bool defer_of_device(struct channel *channel, struct transport_ticket *ticket)
{
    ticket->fd = ((struct device_channel *)channel)->fd;
    return true;
}

static bool is_answered(uint32_t opcode)
{
    return opcode != FUSE_FORGET && opcode != FUSE_BATCH_FORGET && opcode != FUSE_INTERRUPT &&
           opcode != FUSE_NOTIFY_REPLY;
}

/* Reads requests and has them answered, until the mount is gone or all are told to end. */
static void run_device(struct worker *worker)
{
    struct transport *transport = worker->transport;
    size_t size = HEADER_ROOM + transport->payload_bytes;
    struct device_channel channel = {
        .channel = {.reply = reply_to_device, .defer = defer_of_device},
        .fd = worker->fd,
    };
    uint8_t *message = mem_map(size);
    if (!message) {
        syslog(LOG_ERR, "no memory for a thread's requests");
        return;
    }
    mem_small_pages(message, size);
    while (!transport->stop) {
        ssize_t got = read(worker->fd, message, size);
        struct fuse_in_header in;
        if (got < 0 && (errno == EINTR || errno == EAGAIN || errno == ENOENT)) /* ENOENT: it was interrupted */
            continue;
        if (got < (ssize_t)sizeof in) {
            if (got >= 0 || errno != ENODEV) /* ENODEV: unmounted */
                syslog(LOG_ERR, "reading /dev/fuse: %s", got < 0 ? strerror(errno) : "too short");
            break;
        }
        memcpy(&in, message, sizeof in);
        channel.channel.unique = is_answered(in.opcode) ? in.unique : 0;
        transport_handle(transport, &channel.channel, message, (size_t)got);
        INVARIANT(channel.channel.unique == 0); /* answered: the rule of fs/transport.h */
    }
    mem_unmap(message, size);
}

/* A way of its own to the same mount, with a queue of its own for what is to be answered. */
static int clone_device(int fd)
{
    uint32_t original = (uint32_t)fd;
    int clone = open("/dev/fuse", O_RDWR | O_CLOEXEC);
    if (clone >= 0 && ioctl(clone, FUSE_DEV_IOC_CLONE, &original) == 0)
        return clone;
    if (clone >= 0)
        close(clone);
    return -1;
}

/* --- the kernel's switch ------------------------------------------------------------------------------------------ */

/* Turns the switch on where it is off; it is locked until turn_back, so that two mounts that begin at the same time do
 * not take it from each other. */
static plsm_status turn_on(struct transport *transport)
{
    char was = 0;
    int fd = open(switch_path, O_RDWR | O_CLOEXEC);
    if (fd < 0) {
        int error = errno;
        if (error == ENOENT)
            return fail(PLSM_UNSUPPORTED, "transport=uring: this kernel has no FUSE over io_uring (Linux 6.14 has)");
        fd = open(switch_path, O_RDONLY | O_CLOEXEC);
        bool on = fd >= 0 && read(fd, &was, 1) == 1 && was == 'Y';
        if (fd >= 0)
            close(fd);
        return on ? PLSM_OK
                  : fail(PLSM_UNSUPPORTED,
                         "transport=uring: FUSE over io_uring is switched off; as root: echo Y > %s (%s)", switch_path,
                         strerror(error));
    }
    while (flock(fd, LOCK_EX) != 0 && errno == EINTR)
        continue;
    if (pread(fd, &was, 1, 0) == 1 && was == 'Y') {
        close(fd);
        return PLSM_OK;
    }
    if (pwrite(fd, "Y", 1, 0) != 1) {
        int error = errno;
        close(fd);
        return fail(PLSM_UNSUPPORTED, "transport=uring: %s: %s", switch_path, strerror(error));
    }
    transport->switch_fd = fd;
    return PLSM_OK;
}

static void turn_back(struct transport *transport)
{
    if (transport->switch_fd < 0)
        return;
    if (pwrite(transport->switch_fd, "N", 1, 0) != 1)
        syslog(LOG_WARNING, "%s stays on: %s", switch_path, strerror(errno));
    close(transport->switch_fd);
    transport->switch_fd = -1;
}

/* --- INIT --------------------------------------------------------------------------------------------------------- */

struct init_channel {
    struct channel channel; /* first */
    struct transport *transport;
    int fd;
    int error;       /* of the reply, or of sending it */
    uint32_t flags;  /* to be added to the reply */
    bool take_uring; /* it is offered, and to be taken */
};

/* Adds to libfuse's reply that io_uring is wanted, and reads off how large messages may be. */
static ssize_t reply_to_init(struct channel *channel, const struct iovec *parts, int count)
{
    struct init_channel *init = (struct init_channel *)channel;
    struct fuse_out_header header;
    struct fuse_init_out out = {0};
    memcpy(&header, parts[0].iov_base, sizeof header);
    init->error = -header.error;
    size_t size = count > 1 ? parts[1].iov_len : 0;
    memcpy(&out, count > 1 ? parts[1].iov_base : &out, size < sizeof out ? size : sizeof out);
    uint32_t pages = out.flags & FUSE_MAX_PAGES ? out.max_pages : PAGES_UNSAID;
    size_t most = (size_t)pages * (size_t)sysconf(_SC_PAGESIZE);
    init->transport->payload_bytes = FUSE_MIN_READ_BUFFER;
    if (init->transport->payload_bytes < out.max_write)
        init->transport->payload_bytes = out.max_write;
    if (init->transport->payload_bytes < most)
        init->transport->payload_bytes = most;
    if (size < sizeof out)
        init->take_uring = false;
    out.flags |= init->error == 0 ? init->flags : 0;
    if (init->take_uring && init->error == 0) {
        out.flags |= FUSE_INIT_EXT;
        out.flags2 |= RING_OFFERED_FLAGS2;
    }
    struct iovec answer[2] = {parts[0], {&out, size}};
    ssize_t written = writev(init->fd, answer, count > 1 ? 2 : 1);
    if (written < 0)
        init->error = errno;
    return written;
}

/* What the kernel says in INIT; older ones say less. */
static struct fuse_init_in read_offer(const void *message, size_t size)
{
    struct fuse_init_in init = {0};
    size -= sizeof(struct fuse_in_header);
    memcpy(&init, (const uint8_t *)message + sizeof(struct fuse_in_header), size < sizeof init ? size : sizeof init);
    return init;
}

/* So many for each processor that this process may run on. */
static unsigned threads_for(unsigned per_processor)
{
    cpu_set_t allowed;
    int count = sched_getaffinity(0, sizeof allowed, &allowed) == 0 ? CPU_COUNT(&allowed) : 0;
    unsigned threads = (count > 0 ? (unsigned)count : 1) * per_processor;
    return threads < TRANSPORT_THREADS_MAX ? threads : TRANSPORT_THREADS_MAX;
}

static plsm_status answer_init(struct transport *transport, int fd, void *message, size_t size)
{
    struct init_channel init = {.channel.reply = reply_to_init, .transport = transport, .fd = fd, .error = EPROTO};
    struct fuse_in_header in = {0};
    ssize_t got = 0;
    do
        got = read(fd, message, size);
    while (got < 0 && (errno == EINTR || errno == EAGAIN));
    if (got < (ssize_t)sizeof in)
        return fail(PLSM_IO, "the kernel did not begin the mount: %s", got < 0 ? strerror(errno) : "too short");
    memcpy(&in, message, sizeof in);
    struct fuse_init_in offer = read_offer(message, (size_t)got);
    bool offered = offer.flags & FUSE_INIT_EXT && offer.flags2 & RING_OFFERED_FLAGS2;
    init.flags = offer.flags & transport->options.init_flags;
    init.take_uring = offered && transport->options.kind != TRANSPORT_DEV && ring_possible();
    if (transport->options.kind == TRANSPORT_URING && !init.take_uring)
        return fail(PLSM_UNSUPPORTED, "transport=uring: %s",
                    offered ? "io_uring is forbidden here, or this program was built without liburing"
                            : "the kernel does not offer FUSE over io_uring");
    init.channel.unique = in.unique;
    transport_handle(transport, &init.channel, message, (size_t)got);
    transport->uring = init.take_uring;
    if (transport->uring && transport->options.threads == 0)
        transport->threads = threads_for(URING_PER_PROCESSOR);
    return init.error == 0
               ? PLSM_OK
               : fail(PLSM_IO, "the kernel and libfuse do not understand each other: %s", strerror(init.error));
}

plsm_status transport_create(struct fuse_session *session, const struct transport_options *options,
                             struct transport **out)
{
    struct transport *transport = mem_zalloc(sizeof *transport);
    *out = transport;
    if (!transport)
        return fail(PLSM_NO_MEMORY, "no memory for the transport");
    transport->session = session;
    transport->options = *options;
    transport->threads = options->threads ? options->threads : threads_for(1);
    transport->switch_fd = -1;
    mutex_init(&transport->lock);
    mutex_init(&transport->spare_lock);
    condition_init(&transport->change);
    plsm_status status = options->kind == TRANSPORT_URING ? turn_on(transport) : PLSM_OK;
    if (status != PLSM_OK) {
        transport_destroy(transport);
        *out = NULL;
    }
    return status;
}

plsm_status transport_open(struct transport *transport)
{
    static const struct fuse_custom_io io = {.writev = write_parts, .read = read_message};
    int fd = fuse_session_fd(transport->session);
    size_t size = HEADER_ROOM + PAYLOAD_MAX;
    void *message = mem_alloc(size);
    plsm_status status = PLSM_OK;
    if (!message || fuse_session_custom_io(transport->session, &io, fd) != 0)
        status = fail(PLSM_NO_MEMORY, "no memory for the transport");
    if (status == PLSM_OK)
        status = answer_init(transport, fd, message, size);
    mem_free(message);
    turn_back(transport);
    return status;
}

/* --- threads ------------------------------------------------------------------------------------------------------ */

/* Only has to interrupt a wait. */
static void on_kick(int number)
{
    (void)number;
}

static void run_worker(void *arg)
{
    struct worker *worker = arg;
    struct transport *transport = worker->transport;
    sigset_t kick;
    sigemptyset(&kick);
    sigaddset(&kick, SIGUSR2);
    pthread_sigmask(SIG_UNBLOCK, &kick, NULL);
    mutex_lock(&transport->lock);
    worker->tid = gettid();
    mutex_unlock(&transport->lock);
    worker->run(worker);
    mutex_lock(&transport->lock);
    worker->tid = 0;
    transport->running--;
    transport->worker_count -= worker->error != 0; /* whoever added it drops it */
    condition_broadcast(&transport->change);
    mutex_unlock(&transport->lock);
}

static void drop_worker(struct worker *worker)
{
    ring_destroy(worker->ring);
    if (worker->fd != fuse_session_fd(worker->transport->session))
        close(worker->fd);
    condition_destroy(&worker->wake);
    mutex_destroy(&worker->lock);
}

/* By one thread at a time. */
static plsm_status start_worker(struct transport *transport, unsigned index, void (*run)(struct worker *worker))
{
    struct worker *worker = &transport->workers[transport->worker_count];
    *worker = (struct worker){.transport = transport, .run = run, .index = index, .added = transport->may_add};
    mutex_init(&worker->lock);
    condition_init(&worker->wake);
    worker->fd = fuse_session_fd(transport->session);
    if (index > 0 && !transport->uring) {
        int clone = clone_device(worker->fd);
        worker->fd = clone >= 0 ? clone : worker->fd; /* sharing one serves as well, if slower */
    }
    plsm_status status = run == ring_run ? ring_create(worker) : PLSM_OK;
    if (status == PLSM_OK) {
        mutex_lock(&transport->lock);
        transport->running++;
        transport->worker_count++;
        mutex_unlock(&transport->lock);
        status = env_thread_start(env_posix(), run_worker, worker, &worker->thread);
        if (status == PLSM_OK)
            return PLSM_OK;
        mutex_lock(&transport->lock);
        transport->running--;
        transport->worker_count--;
        mutex_unlock(&transport->lock);
    }
    drop_worker(worker);
    return status;
}

/* Under the spare lock. Where the thread cannot register, it is gone as if it had never been. */
static plsm_status add_worker(struct transport *transport, unsigned index)
{
    mutex_lock(&transport->lock);
    unsigned reports = transport->reports;
    struct worker *worker = &transport->workers[transport->worker_count];
    mutex_unlock(&transport->lock);
    TRY(start_worker(transport, index, ring_run));
    mutex_lock(&transport->lock);
    while (transport->reports == reports)
        condition_wait(&transport->change, &transport->lock);
    int error = worker->error;
    mutex_unlock(&transport->lock);
    if (error == 0)
        return PLSM_OK;
    env_thread_join(worker->thread);
    drop_worker(worker);
    return fail(PLSM_IO, "io_uring takes no entry: %s", strerror(error));
}

void transport_add_worker(const struct worker *like)
{
    struct transport *transport = like->transport;
    mutex_lock(&transport->spare_lock);
    mutex_lock(&transport->lock);
    bool room = transport->may_add && !transport->stop && transport->worker_count < transport->workers_max;
    mutex_unlock(&transport->lock);
    if (room && env_now_ns(env_posix()) >= transport->add_after_ns && add_worker(transport, like->index) != PLSM_OK) {
        if (!transport->add_failed)
            syslog(LOG_WARNING, "no thread is added for requests that wait: %s", plsm_message());
        transport->add_failed = true;
        transport->add_after_ns = env_now_ns(env_posix()) + ADD_AGAIN_S * UINT64_C(1000000000);
    }
    mutex_unlock(&transport->spare_lock);
}

/* Waits until no thread runs. When one has ended, for whatever reason, the others are told to. */
static void end_workers(struct transport *transport, bool now)
{
    mutex_lock(&transport->lock);
    while (transport->running > 0) {
        if (now || transport->stop || transport->running < transport->worker_count) {
            transport->stop = true;
            /* Again and again: one may have looked at `stop` before, and go to sleep after the signal. */
            for (unsigned i = 0; i < transport->worker_count; i++) {
                if (transport->workers[i].tid)
                    tgkill(getpid(), transport->workers[i].tid, SIGUSR2);
                condition_signal(&transport->workers[i].wake);
            }
            condition_wait_ns(&transport->change, &transport->lock, KICK_NS);
        } else {
            condition_wait(&transport->change, &transport->lock);
        }
    }
    mutex_unlock(&transport->lock);
}

static void drop_workers(struct transport *transport)
{
    for (unsigned i = 0; i < transport->worker_count; i++)
        env_thread_join(transport->workers[i].thread);
    for (unsigned i = 0; i < transport->worker_count; i++)
        drop_worker(&transport->workers[i]);
    transport->worker_count = 0;
}

/* Starts the threads with rings. *served: each queue has an entry, so that the kernel sends requests this way. */
static plsm_status start_rings(struct transport *transport, bool *served)
{
    unsigned queues = ring_queues();
    *served = true;
    transport->queues = mem_zalloc(queues * sizeof transport->queues[0]);
    if (!transport->queues)
        return fail(PLSM_NO_MEMORY, "no memory for the transport");
    for (unsigned i = 0; i < transport->threads; i++)
        TRY(start_worker(transport, i, ring_run));
    mutex_lock(&transport->lock);
    while (transport->reports < transport->threads)
        condition_wait(&transport->change, &transport->lock);
    for (unsigned i = 0; i < queues; i++)
        *served = *served && transport->queues[i].threads > 0;
    bool stopped = transport->stop;
    mutex_unlock(&transport->lock);
    return stopped ? fail(PLSM_IO, "io_uring takes no commands; see the system's log") : PLSM_OK;
}

plsm_status transport_start(struct transport *transport)
{
    struct sigaction kick = {.sa_handler = on_kick};
    sigaction(SIGUSR2, &kick, NULL);
    transport->workers_max = transport->threads + 1;
    if (transport->uring && transport->options.threads == 0)
        transport->workers_max += URING_SPARE;
    transport->workers = mem_zalloc(transport->workers_max * sizeof transport->workers[0]);
    if (!transport->workers)
        return fail(PLSM_NO_MEMORY, "no memory for the threads");
    if (transport->uring) {
        bool served = false;
        plsm_status status = start_rings(transport, &served);
        if (status == PLSM_OK && served) {
            TRY(start_worker(transport, transport->threads, run_device));
            mutex_lock(&transport->lock);
            transport->may_add = transport->options.threads == 0;
            mutex_unlock(&transport->lock);
            return PLSM_OK;
        }
        if (status != PLSM_OK)
            return status; /* the kernel waits for rings and would send nothing through /dev/fuse */
        /* It refused an entry, and so knows that there will be no rings. */
        syslog(LOG_WARNING, "FUSE over io_uring does not work here; /dev/fuse serves");
        end_workers(transport, true);
        drop_workers(transport);
        transport->stop = transport->uring = false;
    }
    for (unsigned i = 0; i < transport->threads; i++)
        TRY(start_worker(transport, i, run_device));
    return PLSM_OK;
}

void transport_wait(struct transport *transport)
{
    end_workers(transport, false);
}

void transport_stop(struct transport *transport)
{
    mutex_lock(&transport->lock);
    transport->stop = true;
    condition_broadcast(&transport->change);
    mutex_unlock(&transport->lock);
}

void transport_destroy(struct transport *transport)
{
    if (!transport)
        return;
    end_workers(transport, true);
    drop_workers(transport);
    turn_back(transport);
    mem_free(transport->workers);
    mem_free(transport->queues);
    condition_destroy(&transport->change);
    mutex_destroy(&transport->spare_lock);
    mutex_destroy(&transport->lock);
    mem_free(transport);
}

const char *transport_name(const struct transport *transport)
{
    return transport->uring ? "uring" : "dev";
}

unsigned transport_threads(const struct transport *transport)
{
    return transport->worker_count - transport->uring; /* one reads /dev/fuse */
}
