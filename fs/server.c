#include "fs/server.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <syslog.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/env.h"
#include "base/error.h"
#include "base/wire.h"
#include "fs/commit.h"
#include "store/changes.h"
#include "base/banned.h"

enum { CONNECTIONS_MAX = 16 };

struct connection {
    struct server *server;
    struct env_thread *thread;
    _Atomic bool ended; /* the thread can be joined */
    int fd;
    bool greeted;
    plsm_batch *batch;
    uint64_t charged;
    plsm_status failed; /* of changes to the batch: it cannot be committed */
    char failure[512];
    plsm_edit *edit;
    struct path edit_key;
    uint64_t edit_size;
    struct buf body;
};

struct server {
    struct fs *fs;
    int fd, stop_fd, directory_fd;
    struct env_thread *thread;
    struct connection *connections[CONNECTIONS_MAX]; /* of the listening thread */
    _Atomic uint64_t accepted, requests;
};

/* --- requests ----------------------------------------------------------------------------------------------------- */

static plsm_status take_changes(struct connection *connection, plsm_slice body)
{
    struct change change;
    if (!connection->batch && !(connection->batch = plsm_batch_create()))
        return PLSM_NO_MEMORY;
    if (connection->failed != PLSM_OK)
        return fail(connection->failed, "%s", connection->failure);
    plsm_status status = PLSM_OK;
    while (status == PLSM_OK && wire_change_next(&body, &change))
        status = changes_add(connection->batch, &change);
    if (status == PLSM_OK && body.size > 0)
        status = fail(PLSM_CORRUPT, "what came over the socket of the store is no change");
    if (status == PLSM_OK)
        status = commit_charge(connection->server->fs, &connection->charged, plsm_batch_bytes(connection->batch));
    if (status != PLSM_OK) {
        connection->failed = status;
        snprintf(connection->failure, sizeof connection->failure, "%s", plsm_message());
    }
    return status;
}

static void drop_batch(struct connection *connection)
{
    commit_discharge(connection->server->fs, &connection->charged);
    plsm_batch_destroy(connection->batch);
    connection->batch = NULL;
    connection->failed = PLSM_OK;
}

static plsm_status commit(struct connection *connection, plsm_durability durability)
{
    struct fs *fs = connection->server->fs;
    struct notices notices = {0};
    plsm_status status = PLSM_OK;
    if (connection->failed != PLSM_OK)
        status = fail(connection->failed, "%s", connection->failure);
    else if (connection->batch)
        status = commit_batch(fs, connection->batch, durability, &notices);
    notices_send(fs, &notices);
    drop_batch(connection);
    return status;
}

static plsm_status open_edit(struct connection *connection, plsm_slice key)
{
    plsm_edit_close(connection->edit);
    connection->edit = NULL;
    connection->edit_size = 0;
    TRY(plsm_edit_open(connection->server->fs->db, key, PLSM_EDIT_NEW, &connection->edit));
    memcpy(connection->edit_key.bytes, key.data, key.size);
    connection->edit_key.size = key.size;
    return PLSM_OK;
}

static plsm_status write_edit(struct connection *connection, plsm_slice body)
{
    if (!connection->edit)
        return fail(PLSM_INVALID, "no value is being written");
    TRY(plsm_edit_write(connection->edit, connection->edit_size, body.data, body.size));
    connection->edit_size += body.size;
    return PLSM_OK;
}

static plsm_status finish_edit(struct connection *connection, plsm_durability durability)
{
    struct fs *fs = connection->server->fs;
    struct notices notices = {0};
    if (!connection->edit)
        return fail(PLSM_INVALID, "no value is being written");
    plsm_status status = commit_edit(fs, connection->edit, path_slice(&connection->edit_key), durability, &notices);
    notices_send(fs, &notices);
    plsm_edit_close(connection->edit);
    connection->edit = NULL;
    return status;
}

static plsm_status has_key(struct connection *connection, plsm_slice key)
{
    plsm_value value = {0};
    plsm_read_options options = {.no_value = true};
    plsm_status status = plsm_get(connection->server->fs->db, &options, key, &value);
    plsm_value_free(&value);
    return status;
}

static plsm_status compact(struct connection *connection, plsm_slice body)
{
    const uint8_t *bytes = body.data;
    if (body.size < 2 || get_u16(bytes) > body.size - 2)
        return fail(PLSM_CORRUPT, "what came over the socket of the store is no range");
    size_t from = get_u16(bytes);
    return plsm_compact(connection->server->fs->db, slice(bytes + 2, from),
                        slice(bytes + 2 + from, body.size - 2 - from));
}

static plsm_status greet(struct connection *connection, plsm_slice body)
{
    const uint8_t *bytes = body.data;
    if (body.size != WIRE_HELLO_SIZE || memcmp(bytes, WIRE_MAGIC, 8) != 0)
        return fail(PLSM_CORRUPT, "what came over the socket of the store is no greeting");
    if (get_u32(bytes + 8) != WIRE_VERSION)
        return fail(PLSM_VERSION, "the daemon speaks version %d, the command version %u; use those of one release",
                    WIRE_VERSION, get_u32(bytes + 8));
    connection->greeted = true;
    return PLSM_OK;
}

static plsm_status serve_request(struct connection *connection, const struct wire_head *head, plsm_slice body)
{
    plsm *db = connection->server->fs->db;
    plsm_durability durability = head->flags & WIRE_SYNC ? PLSM_SYNC : PLSM_NONE;
    if (!connection->greeted)
        return head->what == WIRE_HELLO ? greet(connection, body) : fail(PLSM_CORRUPT, "no greeting came first");
    switch (head->what) {
    case WIRE_CHANGES:
        return take_changes(connection, body);
    case WIRE_COMMIT:
        return commit(connection, durability);
    case WIRE_EDIT_OPEN:
        return open_edit(connection, body);
    case WIRE_EDIT_WRITE:
        return write_edit(connection, body);
    case WIRE_EDIT_COMMIT:
        return finish_edit(connection, durability);
    case WIRE_HAS:
        return has_key(connection, body);
    case WIRE_FLUSH:
        return plsm_flush(db);
    case WIRE_COMPACT:
        return compact(connection, body);
    case WIRE_RETRAIN:
        return plsm_retrain(db, body.size == 1 && *(const uint8_t *)body.data == 1, NULL, NULL);
    default:
        return fail(PLSM_CORRUPT, "the daemon does not know request %u", head->what);
    }
}

/* --- a connection ------------------------------------------------------------------------------------------------- */

/* Receives exactly `size` bytes within `wait_ms` for the first and WIRE_FRAME_MS for all others; false: it ended. */
static bool receive(struct connection *connection, uint8_t *to, size_t size, int wait_ms)
{
    uint64_t limit_ns = env_now_ns(env_posix()) + (uint64_t)WIRE_FRAME_MS * 1000000;
    for (size_t got = 0; got < size;) {
        struct pollfd polled[2] = {{.fd = connection->fd, .events = POLLIN},
                                   {.fd = connection->server->stop_fd, .events = POLLIN}};
        int ready = poll(polled, 2, wait_ms);
        if (ready < 0 && errno == EINTR)
            continue;
        if (ready <= 0 || polled[1].revents)
            return false;
        ssize_t more = recv(connection->fd, to + got, size - got, MSG_DONTWAIT);
        if (more < 0 && (errno == EINTR || errno == EAGAIN))
            continue;
        if (more <= 0)
            return false;
        uint64_t now_ns = env_now_ns(env_posix());
        if (got == 0)
            limit_ns = now_ns + (uint64_t)WIRE_FRAME_MS * 1000000;
        if (now_ns >= limit_ns)
            return false;
        got += (size_t)more;
        wait_ms = (int)((limit_ns - now_ns) / 1000000) + 1;
    }
    return true;
}

static bool answer(struct connection *connection, plsm_status status)
{
    uint8_t frame[WIRE_HEAD_SIZE + 1024];
    const char *message = status == PLSM_OK || status == PLSM_NOT_FOUND ? "" : plsm_message();
    size_t size = strlen(message) < 1024 ? strlen(message) : 1024, sent = 0;
    struct wire_head head = {.body_size = (uint32_t)size, .what = (uint8_t)status};
    wire_head_put(frame, &head);
    memcpy(frame + WIRE_HEAD_SIZE, message, size);
    while (sent < WIRE_HEAD_SIZE + size) {
        ssize_t more = send(connection->fd, frame + sent, WIRE_HEAD_SIZE + size - sent, MSG_NOSIGNAL);
        if (more < 0 && errno == EINTR)
            continue;
        if (more <= 0) /* also when it takes nothing for WIRE_FRAME_MS */
            return false;
        sent += (size_t)more;
    }
    return true;
}

/* One request. False: the connection is at its end. */
static bool serve_one(struct connection *connection)
{
    uint8_t bytes[WIRE_HEAD_SIZE];
    struct wire_head head;
    struct buf *body = &connection->body;
    if (!receive(connection, bytes, sizeof bytes, WIRE_IDLE_MS))
        return false;
    plsm_status status = wire_head_get(bytes, &head);
    body->size = 0;
    if (status == PLSM_OK)
        status = buf_reserve(body, head.body_size + 1);
    if (status == PLSM_OK && !receive(connection, body->data, head.body_size, WIRE_FRAME_MS))
        return false;
    bool framed = status == PLSM_OK;
    if (framed)
        status = serve_request(connection, &head, slice(body->data, head.body_size));
    connection->server->requests++;
    return answer(connection, status) && framed && connection->greeted && status != PLSM_CORRUPT;
}

static void serve(void *arg)
{
    struct connection *connection = arg;
    while (serve_one(connection))
        continue;
    drop_batch(connection);
    plsm_edit_close(connection->edit);
    buf_free(&connection->body);
    close(connection->fd);
    connection->ended = true;
}

/* --- listening ---------------------------------------------------------------------------------------------------- */

/* Whether the process at the other end belongs to the owner of the mount, or to root. */
static bool permitted(const struct server *server, int fd)
{
    struct ucred peer = {0};
    socklen_t size = sizeof peer;
    return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 &&
           (peer.uid == server->fs->owner || peer.uid == 0);
}

/* Gives a new connection a thread, if there is room. */
static void accept_one(struct server *server)
{
    struct timeval limit = {.tv_sec = WIRE_FRAME_MS / 1000};
    int fd = accept4(server->fd, NULL, NULL, SOCK_CLOEXEC), slot = 0;
    if (fd < 0)
        return;
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    while (slot < CONNECTIONS_MAX && server->connections[slot])
        slot++;
    struct connection *connection =
        slot < CONNECTIONS_MAX && permitted(server, fd) ? mem_zalloc(sizeof *connection) : NULL;
    if (!connection) {
        close(fd);
        return;
    }
    connection->server = server;
    connection->fd = fd;
    if (env_thread_start(env_posix(), serve, connection, &connection->thread) != PLSM_OK) {
        close(fd);
        mem_free(connection);
        return;
    }
    server->accepted++;
    server->connections[slot] = connection;
}

/* Frees connections that have ended, or, with `all`, waits for their end. */
static void reap(struct server *server, bool all)
{
    for (int i = 0; i < CONNECTIONS_MAX; i++) {
        struct connection *connection = server->connections[i];
        if (!connection || (!all && !connection->ended))
            continue;
        env_thread_join(connection->thread);
        mem_free(connection);
        server->connections[i] = NULL;
    }
}

static void listen_for_clients(void *arg)
{
    enum { REAP_MS = 1000 };
    struct server *server = arg;
    for (;;) {
        struct pollfd polled[2] = {{.fd = server->fd, .events = POLLIN}, {.fd = server->stop_fd, .events = POLLIN}};
        int ready = poll(polled, 2, REAP_MS);
        reap(server, false);
        if (ready > 0 && polled[1].revents)
            break;
        if (ready > 0 && polled[0].revents)
            accept_one(server);
    }
    reap(server, true);
}

/* The socket's address by way of a descriptor of its directory: paths of sockets have at most 107 bytes. */
static void socket_address(int directory_fd, struct sockaddr_un *out)
{
    *out = (struct sockaddr_un){.sun_family = AF_UNIX};
    snprintf(out->sun_path, sizeof out->sun_path, "/proc/self/fd/%d/%s", directory_fd, WIRE_SOCKET);
}

static plsm_status make_socket(struct server *server)
{
    struct sockaddr_un address;
    const char *store = server->fs->options.store;
    server->directory_fd = open(store, O_PATH | O_DIRECTORY | O_CLOEXEC);
    server->stop_fd = eventfd(0, EFD_CLOEXEC);
    server->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (server->directory_fd < 0 || server->stop_fd < 0 || server->fd < 0)
        return fail_errno(errno, store, "make a socket");
    /* This process has the store's lock: whatever has the name is of one that was killed. */
    if (unlinkat(server->directory_fd, WIRE_SOCKET, 0) != 0 && errno != ENOENT)
        return fail_errno(errno, store, "remove an old socket");
    socket_address(server->directory_fd, &address);
    mode_t before = umask(0177);
    int bound = bind(server->fd, (struct sockaddr *)&address, sizeof address);
    umask(before);
    if (bound != 0 || listen(server->fd, CONNECTIONS_MAX) != 0)
        return fail_errno(errno, store, "bind a socket");
    return PLSM_OK;
}

static void free_server(struct server *server)
{
    const int fds[] = {server->fd, server->stop_fd, server->directory_fd};
    for (int i = 0; i < 3; i++)
        if (fds[i] >= 0)
            close(fds[i]);
    mem_free(server);
}

plsm_status server_start(struct fs *fs, struct server **out)
{
    struct server *server = mem_zalloc(sizeof *server);
    if (!server)
        return fail(PLSM_NO_MEMORY, "no memory for the socket");
    server->fs = fs;
    server->fd = server->stop_fd = server->directory_fd = -1;
    plsm_status status = make_socket(server);
    if (status == PLSM_OK)
        status = env_thread_start(env_posix(), listen_for_clients, server, &server->thread);
    if (status != PLSM_OK) {
        free_server(server);
        return status;
    }
    *out = server;
    return PLSM_OK;
}

void server_stop(struct server *server)
{
    uint64_t one = 1;
    if (!server)
        return;
    unlinkat(server->directory_fd, WIRE_SOCKET, 0);
    if (write(server->stop_fd, &one, sizeof one) != sizeof one)
        syslog(LOG_ERR, "the socket of the store does not end: %s", strerror(errno));
    env_thread_join(server->thread);
    free_server(server);
}

void server_counts(const struct server *server, uint64_t *connections, uint64_t *requests)
{
    *connections = server ? server->accepted : 0;
    *requests = server ? server->requests : 0;
}
