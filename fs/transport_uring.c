/* FUSE over io_uring: the rings of the threads (fs/transport_abi.h says what the kernel wants). */
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <syslog.h>
#include <unistd.h>

#if defined(HAVE_LIBURING)
#include <liburing.h>
#endif
#include <linux/fuse.h>

#include "base/alloc.h"
#include "base/error.h"
#include "fs/transport_abi.h"
#include "fs/transport_private.h"
#include "base/banned.h"

unsigned ring_queues(void)
{
    static const char path[] = "/sys/devices/system/cpu/possible"; /* "0-3", "0", "0,2-5" */
    char text[256] = "";
    unsigned count = 0, first = 0, last = 0;
    FILE *file = fopen(path, "re");
    if (file && fgets(text, sizeof text, file)) {
        for (const char *at = text; sscanf(at, "%u", &first) == 1;) {
            last = first;
            sscanf(at, "%*u-%u", &last);
            count += last >= first ? last - first + 1 : 0;
            at += strcspn(at, ",");
            at += *at == ',';
        }
    }
    if (file)
        fclose(file);
    long configured = sysconf(_SC_NPROCESSORS_CONF);
    return count ? count : configured > 0 ? (unsigned)configured : 1;
}

#if defined(HAVE_LIBURING)

enum {
    PAGE = 4096,
    /* One is enough: while a thread works on a request of its only entry of a queue, the next one goes to an entry of
     * another thread, or waits; a second entry here would make it wait for this thread even where another is free. */
    ENTRIES_PER_QUEUE = 1,
};

/* An entry of a queue. Its memory: a page with the header at its beginning, and behind it the payload. The request is
 * put together for libfuse right in front of its payload, in the rest of that page, so that the payload stays. */
struct entry {
    struct channel channel; /* first, so that a channel is an entry */
    struct worker *worker;
    struct ring_header *header;
    uint8_t *payload;
    size_t payload_bytes;
    struct iovec vectors[2];
    uint16_t queue;
    uint32_t operation; /* what was asked of the kernel last */
    uint64_t commit_id;
    bool refused;  /* it is not registered */
    bool stays;    /* the thread may wait for long with the request in it */
    bool deferred; /* which is answered by another thread */
    bool answered; /* it is; lock of the worker */
};
static_assert(sizeof(struct ring_header) + sizeof(struct fuse_in_header) + RING_HEADER_BYTES <= PAGE,
              "the header and a request's beginning fit into a page");

struct ring {
    struct io_uring uring;
    bool usable; /* uring is one */
    uint8_t *memory;
    size_t memory_bytes;
    unsigned count, alive; /* entries; those that the kernel has or may have again */
    struct entry entries[];
};

static bool make_uring(struct io_uring *uring, unsigned entries)
{
    /* Completions are worked on when the thread asks for them, as it always does soon: no interrupt for each. */
    struct io_uring_params best = {.flags = IORING_SETUP_SQE128 | IORING_SETUP_SUBMIT_ALL | IORING_SETUP_COOP_TASKRUN};
    return io_uring_queue_init_params(entries, uring, &best) == 0;
}

bool ring_possible(void)
{
    struct io_uring uring;
    if (!make_uring(&uring, 1))
        return false;
    io_uring_queue_exit(&uring);
    return true;
}

/* The reply goes into the entry; the kernel is told when the thread is done with the request. */
static ssize_t reply_in_entry(struct channel *channel, const struct iovec *parts, int count)
{
    struct entry *entry = (struct entry *)channel;
    struct fuse_out_header out;
    size_t size = 0;
    memcpy(&out, parts[0].iov_base, sizeof out);
    for (int i = 1; i < count; i++) {
        if (parts[i].iov_len > entry->payload_bytes - size) {
            out.error = -EIO;
            size = 0;
            break;
        }
        if (parts[i].iov_base != entry->payload + size)
            memmove(entry->payload + size, parts[i].iov_base, parts[i].iov_len);
        size += parts[i].iov_len;
    }
    memcpy(entry->header->in_out, &out, sizeof out);
    entry->header->message.payload_bytes = (uint32_t)size;
    return (ssize_t)out.len;
}

/* Sees to it that two threads go on while this one waits. */
static void stay_in_entry(struct channel *channel)
{
    struct entry *entry = (struct entry *)channel;
    struct ring_queue *queue = &entry->worker->transport->queues[entry->queue];
    if (entry->stays)
        return;
    entry->stays = true;
    unsigned waiting = atomic_fetch_add(&queue->waiting, 1) + 1;
    if (waiting + URING_WORKING > queue->threads && waiting <= URING_WAITING)
        transport_add_worker(entry->worker);
}

/* The thread waits once the function that got the request has returned: where two others are there that fetch whatever
 * comes, and nothing is kept back from them. */
static bool defer_in_entry(struct channel *channel, struct transport_ticket *ticket)
{
    struct entry *entry = (struct entry *)channel;
    struct ring_queue *queue = &entry->worker->transport->queues[entry->queue];
    stay_in_entry(channel);
    ticket->waits = channel;
    entry->deferred = queue->waiting + URING_WORKING <= queue->threads && queue->settled == queue->added;
    return entry->deferred;
}

void ring_answered(struct channel *channel)
{
    struct entry *entry = (struct entry *)channel;
    struct worker *worker = entry->worker;
    mutex_lock(&worker->lock);
    entry->answered = true;
    mutex_unlock(&worker->lock);
    condition_signal(&worker->wake);
}

/* Waits until the request in the entry is answered. Who waits at the end is not waited for before transport_destroy:
 * what answers may be ended between. */
static void await_answer(struct worker *worker, struct entry *entry)
{
    struct transport *transport = worker->transport;
    bool at_end = false;
    mutex_lock(&worker->lock);
    while (!entry->answered) {
        if (transport->stop && !at_end) {
            at_end = true;
            mutex_lock(&transport->lock);
            transport->running--;
            condition_broadcast(&transport->change);
            mutex_unlock(&transport->lock);
        }
        condition_wait(&worker->wake, &worker->lock);
    }
    entry->deferred = entry->answered = false;
    mutex_unlock(&worker->lock);
    if (at_end) {
        mutex_lock(&transport->lock);
        transport->running++;
        mutex_unlock(&transport->lock);
    }
}

plsm_status ring_create(struct worker *worker)
{
    const struct transport *transport = worker->transport;
    unsigned queues = ring_queues(), served = 0;
    for (unsigned queue = worker->index % queues; queue < queues; queue += transport->threads)
        served++;
    unsigned count = served * ENTRIES_PER_QUEUE;
    size_t stride = PAGE + (transport->payload_bytes + PAGE - 1) / PAGE * PAGE;
    struct ring *ring = mem_zalloc(sizeof *ring + count * sizeof ring->entries[0]);
    if (!ring)
        return fail(PLSM_NO_MEMORY, "no memory for the entries of a ring");
    worker->ring = ring;
    ring->memory_bytes = count * stride;
    ring->memory = mem_map(ring->memory_bytes);
    if (!ring->memory)
        return fail(PLSM_NO_MEMORY, "no memory for the entries of a ring: %zu bytes", ring->memory_bytes);
    mem_small_pages(ring->memory, ring->memory_bytes); /* most is used by large reads and writes alone */
    ring->usable = make_uring(&ring->uring, count);
    if (!ring->usable)
        return fail(PLSM_UNSUPPORTED, "io_uring: no ring for a thread");
    for (unsigned queue = worker->index % queues; queue < queues; queue += transport->threads) {
        for (unsigned i = 0; i < ENTRIES_PER_QUEUE; i++) {
            struct entry *entry = &ring->entries[ring->count];
            uint8_t *memory = ring->memory + ring->count * stride;
            *entry =
                (struct entry){.channel = {.reply = reply_in_entry, .defer = defer_in_entry, .stay = stay_in_entry},
                               .worker = worker,
                               .header = (struct ring_header *)memory,
                               .payload = memory + PAGE,
                               .payload_bytes = transport->payload_bytes,
                               .queue = (uint16_t)queue,
                               .operation = RING_REGISTER};
            entry->vectors[0] = (struct iovec){entry->header, sizeof *entry->header};
            entry->vectors[1] = (struct iovec){entry->payload, entry->payload_bytes};
            ring->count++;
        }
    }
    return PLSM_OK;
}

void ring_destroy(struct ring *ring)
{
    if (!ring)
        return;
    if (ring->usable)
        io_uring_queue_exit(&ring->uring); /* the kernel gets its entries back */
    if (ring->memory)
        mem_unmap(ring->memory, ring->memory_bytes);
    mem_free(ring);
}

/* Asks the kernel to take a registration or a reply, and to bring the next request; sent with the next wait. */
static void queue_operation(struct worker *worker, struct entry *entry)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&worker->ring->uring);
    INVARIANT(sqe); /* there is one for each entry */
    memset(sqe, 0, 2 * sizeof *sqe);
    sqe->opcode = IORING_OP_URING_CMD;
    sqe->fd = worker->fd;
    sqe->cmd_op = entry->operation;
    sqe->user_data = (uintptr_t)entry;
    if (entry->operation == RING_REGISTER) {
        sqe->addr = (uintptr_t)entry->vectors;
        sqe->len = 2;
    }
    struct ring_command command = {.commit_id = entry->commit_id, .queue = entry->queue};
    memcpy((uint8_t *)sqe + offsetof(struct io_uring_sqe, cmd), &command, sizeof command);
}

static void reply_empty(struct entry *entry, uint64_t unique, int error)
{
    struct fuse_out_header out = {.len = sizeof out, .error = error, .unique = unique};
    reply_in_entry(&entry->channel, &(struct iovec){&out, sizeof out}, 1);
    entry->channel.unique = 0;
}

/* Puts the request in an entry together and has it answered. */
static void serve(struct worker *worker, struct entry *entry)
{
    struct ring_header *header = entry->header;
    struct fuse_in_header in;
    memcpy(&in, header->in_out, sizeof in);
    size_t payload = header->message.payload_bytes;
    size_t operation = in.len - sizeof in - payload;
    entry->commit_id = header->message.commit_id;
    entry->operation = RING_COMMIT_AND_FETCH;
    if (payload > entry->payload_bytes || in.len < sizeof in + payload || operation > RING_HEADER_BYTES) {
        reply_empty(entry, in.unique, -EIO);
        syslog(LOG_ERR, "request of kind %u and %u bytes, %zu of them payload, is not understood", in.opcode, in.len,
               payload);
    } else {
        uint8_t *message = entry->payload - operation - sizeof in;
        memcpy(message, &in, sizeof in);
        memcpy(message + sizeof in, header->operation, operation);
        entry->channel.unique = in.unique;
        entry->channel.memory = payload ? NULL : entry->payload;
        entry->channel.memory_size = payload ? 0 : entry->payload_bytes;
        transport_handle(worker->transport, &entry->channel, message, in.len);
        if (entry->deferred)
            await_answer(worker, entry);
        /* Most come through /dev/fuse, but not that of a name that the kernel could not enter when it read a directory.
         * Nobody waits for an answer, but with one the kernel ends the request. */
        if (in.opcode == FUSE_FORGET)
            reply_empty(entry, in.unique, 0);
        worker->transport->queues[entry->queue].waiting -= entry->stays;
        entry->stays = false;
        INVARIANT(entry->channel.unique == 0); /* answered: the rule of fs/transport.h */
    }
    queue_operation(worker, entry);
}

/* Takes what has completed. */
static void take(struct worker *worker)
{
    struct ring *ring = worker->ring;
    struct io_uring_cqe *cqe = NULL;
    while (io_uring_peek_cqe(&ring->uring, &cqe) == 0) {
        struct entry *entry = io_uring_cqe_get_data(cqe);
        int result = cqe->res;
        io_uring_cqe_seen(&ring->uring, cqe);
        if (result == 0) {
            serve(worker, entry);
        } else if (result == -EAGAIN || result == -EINTR) {
            queue_operation(worker, entry);
        } else { /* ENOTCONN: unmounted */
            ring->alive--;
            if (result != -ENOTCONN && result != -ECONNABORTED && result != -ECANCELED)
                syslog(LOG_ERR, "FUSE over io_uring, processor %u: %s", entry->queue, strerror(-result));
        }
    }
}

/* Marks and counts the entries that were to be registered and are not: a refusal is there at once. *error: why the last
 * is not. */
static unsigned mark_refused(struct ring *ring, int *error)
{
    struct io_uring_cqe *cqe = NULL;
    unsigned head = 0, refused = 0;
    io_uring_for_each_cqe(&ring->uring, head, cqe)
    {
        if (cqe->res < 0 && cqe->res != -EAGAIN && cqe->res != -EINTR) {
            ((struct entry *)io_uring_cqe_get_data(cqe))->refused = true;
            refused++;
            *error = -cqe->res;
        }
    }
    return refused;
}

/* Where entries were added: hands the reply over, and sees whether it fetches a request that was kept back. */
static void settle(struct worker *worker)
{
    struct ring *ring = worker->ring;
    struct ring_queue *queue = &worker->transport->queues[ring->entries[0].queue];
    struct io_uring_cqe *cqe = NULL;
    unsigned added = queue->added;
    if (ring->count == 1 && queue->settled != added && ring->entries[0].operation == RING_COMMIT_AND_FETCH &&
        io_uring_submit(&ring->uring) == 1 && io_uring_peek_cqe(&ring->uring, &cqe) != 0)
        queue->settled = added;
}

/* Pins the thread to the first of its processors that it may run on, where there are as many threads as processors: a
 * reply that has to wake another processor costs several times as much. */
static void pin(const struct worker *worker)
{
    unsigned queues = ring_queues();
    cpu_set_t allowed, one;
    if (sched_getaffinity(0, sizeof allowed, &allowed) != 0 ||
        worker->transport->threads < (unsigned)CPU_COUNT(&allowed))
        return;
    for (unsigned cpu = worker->index % queues; cpu < queues && cpu < CPU_SETSIZE; cpu += worker->transport->threads) {
        if (CPU_ISSET(cpu, &allowed)) {
            CPU_ZERO(&one);
            CPU_SET(cpu, &one);
            sched_setaffinity(0, sizeof one, &one); /* where it is refused, it runs where it may */
            return;
        }
    }
}

/* Hands the registrations over and returns how many were taken. *error becomes why not all were. A thread that was
 * added can do without: it does not try again where the system lacks something. */
static unsigned submit_registrations(struct worker *worker, int *error)
{
    struct ring *ring = worker->ring;
    unsigned submitted = 0;
    for (unsigned i = 0; i < ring->count; i++)
        queue_operation(worker, &ring->entries[i]);
    while (submitted < ring->count && *error == 0) {
        int now = io_uring_submit(&ring->uring);
        bool again = now == -EINTR || (!worker->added && (now == -EAGAIN || now == -EBUSY));
        *error = now < 0 && !again ? -now : 0;
        submitted += now > 0 ? (unsigned)now : 0;
    }
    return submitted;
}

/* Registers the entries and says which queues have one now; false: none has, and one that was added is to end. */
static bool register_entries(struct worker *worker)
{
    struct transport *transport = worker->transport;
    struct ring *ring = worker->ring;
    int broken = 0, error = 0;
    ring->alive = submit_registrations(worker, &broken);
    if (broken && !worker->added)
        syslog(LOG_ERR, "io_uring: %s", strerror(broken));
    unsigned refused = mark_refused(ring, &error);
    bool gone = worker->added && refused == ring->alive;
    mutex_lock(&transport->lock);
    worker->error = !gone ? 0 : broken ? broken : error;
    transport->stop = transport->stop || (broken && !worker->added);
    for (unsigned i = 0; i < ring->count && !gone; i++) {
        struct ring_queue *queue = &transport->queues[ring->entries[i].queue];
        queue->added += worker->added && !ring->entries[i].refused;
        queue->threads += !ring->entries[i].refused;
    }
    transport->reports++;
    condition_broadcast(&transport->change);
    mutex_unlock(&transport->lock);
    if (!gone)
        take(worker); /* requests that have come already */
    return !gone;
}

void ring_run(struct worker *worker)
{
    struct ring *ring = worker->ring;
    pin(worker);
    if (!register_entries(worker))
        return;
    while (ring->alive > 0 && !worker->transport->stop) {
        settle(worker);
        int result = io_uring_submit_and_wait(&ring->uring, 1);
        if (result < 0 && result != -EINTR && result != -EAGAIN && result != -EBUSY) {
            syslog(LOG_ERR, "io_uring: %s", strerror(-result));
            break;
        }
        take(worker);
    }
    io_uring_submit(&ring->uring); /* the last replies */
}

#else

bool ring_possible(void)
{
    return false;
}

plsm_status ring_create(struct worker *worker)
{
    return fail(PLSM_UNSUPPORTED, "this program was built without liburing");
}

void ring_destroy(struct ring *ring) {}

void ring_run(struct worker *worker) {}

void ring_answered(struct channel *channel) {}

#endif
