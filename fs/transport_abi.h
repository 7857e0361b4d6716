/* The kernel's interface of FUSE over io_uring, which headers older than Linux 6.14 lack. Source: the documented user
 * interface of Linux 6.14, include/uapi/linux/fuse.h (protocol 7.42) and Documentation/filesystems/fuse-io-uring.rst.
 * The names are our own, so that newer headers do not collide.
 *
 * Each processor has a queue of entries: pairs of a header and a buffer for the payload, registered once, each by a
 * command of io_uring (IORING_OP_URING_CMD, SQEs of 128 bytes, whose addr is an array of these two as struct iovec, and
 * len 2). The command completes when a request lies in the entry. The next command on it hands the reply over and
 * waits for the next request. All queues of all processors that the machine may ever have must have an entry before the
 * kernel sends the first request this way; till then it waits with all of them. FORGET, INTERRUPT and notifications
 * stay on /dev/fuse. */
#ifndef FS_TRANSPORT_ABI_H
#define FS_TRANSPORT_ABI_H

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

/* In the 64 flags of INIT: the kernel offers it, and the reply takes it. The upper half stands in flags2. */
#define RING_OFFERED_FLAGS2 (UINT32_C(1) << (41 - 32))

enum ring_operation { /* cmd_op of the SQE */
    RING_REGISTER = 1,
    RING_COMMIT_AND_FETCH = 2,
};

enum { RING_HEADER_BYTES = 128 }; /* kept for each of the two headers of a message */

/* Where the payload of a message ends, and by which number the kernel knows the request. */
struct ring_message {
    uint64_t flags;
    uint64_t commit_id;
    uint32_t payload_bytes;
    uint32_t padding;
    uint64_t reserved;
};
static_assert(sizeof(struct ring_message) == 32, "as in the kernel");
static_assert(offsetof(struct ring_message, commit_id) == 8, "as in the kernel");
static_assert(offsetof(struct ring_message, payload_bytes) == 16, "as in the kernel");

struct ring_header {
    uint8_t in_out[RING_HEADER_BYTES];    /* struct fuse_in_header; in the reply struct fuse_out_header */
    uint8_t operation[RING_HEADER_BYTES]; /* struct fuse_read_in and the like; of some requests nothing */
    struct ring_message message;
};
static_assert(sizeof(struct ring_header) == 288, "as in the kernel");
static_assert(offsetof(struct ring_header, operation) == 128, "as in the kernel");
static_assert(offsetof(struct ring_header, message) == 256, "as in the kernel");

/* In the command area of the SQE. */
struct ring_command {
    uint64_t flags;
    uint64_t commit_id;
    uint16_t queue;
    uint8_t padding[6];
};
static_assert(sizeof(struct ring_command) == 24, "as in the kernel");
static_assert(offsetof(struct ring_command, commit_id) == 8, "as in the kernel");
static_assert(offsetof(struct ring_command, queue) == 16, "as in the kernel");

#endif
