/* How a command speaks to the daemon that has a store mounted: frames over a stream socket named "socket" in the
 * directory of the store (fs/server.c answers, tools/remote.c asks).
 *
 * A frame, all numbers little-endian:
 *   offset  size
 *        0     4  bytes of the body, at most WIRE_BODY_MAX
 *        4     1  request: what is asked (enum wire_request); answer: a plsm_status
 *        5     1  request: flags, WIRE_SYNC or 0; answer: 0
 *        6     2  0
 *        8     -  the body
 *
 * Each request has one answer, in order. Its body is empty, or the sentence of a failure. Requests and their bodies:
 *   HELLO        8 bytes "plsmwire", u32 version. The first one; another version is answered with PLSM_VERSION
 *   CHANGES      changes, one behind the other, which are added to the batch of the connection:
 *                  u8 kind (enum change_kind of base/changes.h), u16 key size, u32 value size, the key, the value
 *   COMMIT       empty; the batch is written, all or nothing, and begins anew, also after a failure
 *   EDIT_OPEN    a key: what comes is its new value
 *   EDIT_WRITE   bytes, behind those before
 *   EDIT_COMMIT  empty; publishes the value
 *   HAS          a key; PLSM_OK or PLSM_NOT_FOUND
 *   FLUSH        empty
 *   COMPACT      u16 size of the first bound, the first bound, the second: as plsm_compact
 *   RETRAIN      u8: 1 for all runs
 *
 * After bytes that are no such thing the connection ends. So it does when a frame that has begun takes WIRE_FRAME_MS,
 * and when nothing comes for WIRE_IDLE_MS. What was not committed is forgotten then. */
#ifndef BASE_WIRE_H
#define BASE_WIRE_H

#include <assert.h>

#include "base/bytes.h"
#include "base/changes.h"

#define WIRE_SOCKET "socket"
#define WIRE_MAGIC "plsmwire"

enum {
    WIRE_VERSION = 1,
    WIRE_HEAD_SIZE = 8,
    WIRE_HELLO_SIZE = 8 + 4,
    WIRE_CHANGE_SIZE = 1 + 2 + 4, /* in front of its key and value */
    WIRE_BODY_MAX = 2 << 20,
    WIRE_FRAME_MS = 30000,
    WIRE_IDLE_MS = 3600000,
};
static_assert(sizeof WIRE_MAGIC == 8 + 1, "the magic is 8 bytes");

enum wire_request {
    WIRE_HELLO = 1,
    WIRE_CHANGES,
    WIRE_COMMIT,
    WIRE_EDIT_OPEN,
    WIRE_EDIT_WRITE,
    WIRE_EDIT_COMMIT,
    WIRE_HAS,
    WIRE_FLUSH,
    WIRE_COMPACT,
    WIRE_RETRAIN,
    WIRE_REQUESTS
};
enum { WIRE_SYNC = 1 };

struct wire_head {
    uint32_t body_size;
    uint8_t what, flags;
};

void wire_head_put(uint8_t to[WIRE_HEAD_SIZE], const struct wire_head *head);
/* PLSM_CORRUPT: no head of a frame. */
plsm_status wire_head_get(const uint8_t from[WIRE_HEAD_SIZE], struct wire_head *out);

plsm_status wire_change_append(struct buf *body, const struct change *change);
/* Walks the changes of a body: true and *change while there is one, which stands in the body. False at the end, with
 * body->size 0, or with more where the rest is no change. */
bool wire_change_next(plsm_slice *body, struct change *change);

#endif
