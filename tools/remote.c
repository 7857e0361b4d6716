#include "tools/remote.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/wire.h"
#include "base/banned.h"

enum { BATCH_BYTES = 1 << 20 };

struct remote {
    int fd;
    struct buf changes, answer;
};

static plsm_status lost(void)
{
    return fail(PLSM_IO, "the daemon that has the store mounted does not answer (any more)");
}

static plsm_status send_all(struct remote *remote, const void *data, size_t size)
{
    const uint8_t *bytes = data;
    while (size > 0) {
        ssize_t sent = send(remote->fd, bytes, size, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent <= 0)
            return lost();
        bytes += sent;
        size -= (size_t)sent;
    }
    return PLSM_OK;
}

static plsm_status receive_all(struct remote *remote, void *data, size_t size)
{
    uint8_t *bytes = data;
    while (size > 0) {
        ssize_t got = recv(remote->fd, bytes, size, 0);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return lost();
        bytes += got;
        size -= (size_t)got;
    }
    return PLSM_OK;
}

/* A request and its answer. */
static plsm_status ask(struct remote *remote, enum wire_request what, uint8_t flags, plsm_slice body)
{
    uint8_t bytes[WIRE_HEAD_SIZE];
    struct wire_head head = {.body_size = (uint32_t)body.size, .what = (uint8_t)what, .flags = flags};
    wire_head_put(bytes, &head);
    TRY(send_all(remote, bytes, sizeof bytes));
    TRY(send_all(remote, body.data, body.size));
    TRY(receive_all(remote, bytes, sizeof bytes));
    TRY(wire_head_get(bytes, &head));
    remote->answer.size = 0;
    TRY(buf_reserve(&remote->answer, head.body_size + 1));
    TRY(receive_all(remote, remote->answer.data, head.body_size));
    if (head.what == PLSM_OK)
        return PLSM_OK;
    if (head.what >= PLSM_STATUS_COUNT)
        return fail(PLSM_VERSION, "the daemon answers with the unknown status %u", head.what);
    return fail((plsm_status)head.what, "%.*s", (int)head.body_size, (const char *)remote->answer.data);
}

/* Connects through a descriptor of the directory: paths of sockets have at most 107 bytes. */
static plsm_status connect_to(const char *store, int *out)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int directory = open(store, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (directory < 0)
        return fail_errno(errno, store, "open");
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), error = fd < 0 ? errno : 0;
    snprintf(address.sun_path, sizeof address.sun_path, "/proc/self/fd/%d/%s", directory, WIRE_SOCKET);
    if (!error && connect(fd, (struct sockaddr *)&address, sizeof address) != 0)
        error = errno;
    close(directory);
    if (!error) {
        *out = fd;
        return PLSM_OK;
    }
    if (fd >= 0)
        close(fd);
    if (error == ECONNREFUSED)
        error = ENOENT; /* of a daemon that was killed */
    return fail_errno(error, store, "connect to the daemon of");
}

plsm_status remote_open(const char *store, struct remote **out)
{
    uint8_t hello[WIRE_HELLO_SIZE];
    struct remote *remote = mem_zalloc(sizeof *remote);
    if (!remote)
        return fail(PLSM_NO_MEMORY, "no memory for a connection");
    plsm_status status = connect_to(store, &remote->fd);
    if (status != PLSM_OK) {
        mem_free(remote);
        return status;
    }
    memcpy(hello, WIRE_MAGIC, 8);
    put_u32(hello + 8, WIRE_VERSION);
    status = ask(remote, WIRE_HELLO, 0, slice(hello, sizeof hello));
    if (status != PLSM_OK) {
        remote_close(remote);
        return status;
    }
    *out = remote;
    return PLSM_OK;
}

void remote_close(struct remote *remote)
{
    if (!remote)
        return;
    close(remote->fd);
    buf_free(&remote->changes);
    buf_free(&remote->answer);
    mem_free(remote);
}

static plsm_status send_changes(struct remote *remote)
{
    plsm_status status = remote->changes.size ? ask(remote, WIRE_CHANGES, 0, buf_slice(&remote->changes)) : PLSM_OK;
    remote->changes.size = 0;
    return status;
}

plsm_status remote_change(struct remote *remote, const struct change *change)
{
    if (change->key.size > PLSM_KEY_MAX)
        return fail(PLSM_TOO_LARGE, "a key of %zu bytes: the limit is %u", change->key.size, PLSM_KEY_MAX);
    if (change->value.size > PLSM_INLINE_MAX)
        return fail(PLSM_TOO_LARGE, "a value of %zu bytes: in a batch the limit is %u", change->value.size,
                    PLSM_INLINE_MAX);
    if (remote->changes.size + change->key.size + change->value.size > BATCH_BYTES)
        TRY(send_changes(remote));
    return wire_change_append(&remote->changes, change);
}

plsm_status remote_commit(struct remote *remote, plsm_durability durability)
{
    plsm_status status = send_changes(remote);
    if (status != PLSM_OK) {
        char message[512]; /* the commit only drops the batch then, and says the same */
        snprintf(message, sizeof message, "%s", plsm_message());
        ask(remote, WIRE_COMMIT, 0, (plsm_slice){0});
        return fail(status, "%s", message);
    }
    return ask(remote, WIRE_COMMIT, durability == PLSM_SYNC ? WIRE_SYNC : 0, (plsm_slice){0});
}

plsm_status remote_edit_open(struct remote *remote, plsm_slice key)
{
    return key.size > PLSM_KEY_MAX ? fail(PLSM_TOO_LARGE, "the key is over %u bytes", PLSM_KEY_MAX)
                                   : ask(remote, WIRE_EDIT_OPEN, 0, key);
}

plsm_status remote_edit_write(struct remote *remote, plsm_slice bytes)
{
    while (bytes.size > 0) {
        size_t size = bytes.size < BATCH_BYTES ? bytes.size : BATCH_BYTES;
        TRY(ask(remote, WIRE_EDIT_WRITE, 0, slice(bytes.data, size)));
        bytes = slice((const uint8_t *)bytes.data + size, bytes.size - size);
    }
    return PLSM_OK;
}

plsm_status remote_edit_commit(struct remote *remote, plsm_durability durability)
{
    return ask(remote, WIRE_EDIT_COMMIT, durability == PLSM_SYNC ? WIRE_SYNC : 0, (plsm_slice){0});
}

plsm_status remote_has(struct remote *remote, plsm_slice key)
{
    return key.size > PLSM_KEY_MAX ? fail(PLSM_TOO_LARGE, "the key is over %u bytes", PLSM_KEY_MAX)
                                   : ask(remote, WIRE_HAS, 0, key);
}

plsm_status remote_flush(struct remote *remote)
{
    return ask(remote, WIRE_FLUSH, 0, (plsm_slice){0});
}

plsm_status remote_compact(struct remote *remote, plsm_slice from, plsm_slice to)
{
    uint8_t head[2];
    struct buf body = {0};
    if (from.size > PLSM_KEY_MAX || to.size > PLSM_KEY_MAX)
        return fail(PLSM_TOO_LARGE, "a bound is over %u bytes", PLSM_KEY_MAX);
    put_u16(head, (uint16_t)from.size);
    plsm_status status = buf_append(&body, head, sizeof head);
    if (status == PLSM_OK)
        status = buf_append(&body, from.data, from.size);
    if (status == PLSM_OK)
        status = buf_append(&body, to.data, to.size);
    if (status == PLSM_OK)
        status = ask(remote, WIRE_COMPACT, 0, buf_slice(&body));
    buf_free(&body);
    return status;
}

plsm_status remote_retrain(struct remote *remote, bool all)
{
    uint8_t byte = all;
    return ask(remote, WIRE_RETRAIN, 0, slice(&byte, 1));
}
