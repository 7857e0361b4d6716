/* Segments: the files that the hybrid log is written to, "hybrid-segment-NUMBER". All numbers are little-endian.
 *
 *      0  u8[8]  magic "plsmhseg"
 *      8  u32    format version: 1
 *     12  u32    page bits: no record crosses an address that is a multiple of 2 to this
 *     16  u64    salt: random for each file
 *     24  u64    start: the address of the first record
 *     32  u64    store, as in recovery points (hybrid_state.h); 0: it was written before stores had a number
 *     40  u64    checksum (XXH3-64) of bytes 0 to 39
 *     48  the log from `start` on (hybrid_record.h)
 *
 * A segment is written once, from its creation to its end, by one process. How far it counts the recovery point tells
 * (hybrid_state.h): what stands behind that was not promised to be there, and is not read. */
#ifndef LOG_HYBRID_SEGMENT_H
#define LOG_HYBRID_SEGMENT_H

#include <stdatomic.h>

#include "base/env.h"
#include "base/epoch.h"
#include "log/hybrid_record.h"

enum { SEGMENT_VERSION = 1, SEGMENT_HEAD = 48, SEGMENT_PATH = 4096 };
#define SEGMENT_MAGIC "plsmhseg"

struct hybrid_segment {
    struct env *env;
    uint64_t number, start, salt, store;
    uint32_t page_bits;
    _Atomic uint64_t end;           /* address behind its last byte */
    _Atomic(struct env_file *) file;
    bool appended_to;  /* the file was opened to be appended to */
    uint64_t synced;   /* address up to which it survives power loss */
    char path[];
};

/* The segments in the order of their addresses; replaced as a whole, and read inside an epoch. */
struct hybrid_segments {
    struct epoch_node node;
    size_t count;
    struct hybrid_segment *at[];
};

/* Creates the file of a segment that begins at `start`. Nothing is synced. On failure nothing is left. */
plsm_status hybrid_segment_create(struct env *env, const char *directory, uint64_t store, uint64_t number,
                                  uint64_t start, uint32_t page_bits, struct hybrid_segment **out);
/* Opens one to be read. PLSM_CORRUPT (also where the file is missing), PLSM_VERSION, PLSM_IO, PLSM_NO_MEMORY. */
plsm_status hybrid_segment_open(struct env *env, const char *directory, uint64_t number, struct hybrid_segment **out);
void hybrid_segment_free(struct hybrid_segment *segment); /* closes the file; accepts NULL */

/* Appends a piece of the log. After a failure the file is what it was, or the status is PLSM_IO. */
plsm_status hybrid_segment_append(struct hybrid_segment *segment, const void *bytes, uint64_t size);
/* Exactly `size` bytes of the log from an address on. */
plsm_status hybrid_segment_read(struct hybrid_segment *segment, uint64_t address, void *to, uint64_t size);
static inline uint64_t hybrid_segment_offset(const struct hybrid_segment *segment, uint64_t address)
{
    return SEGMENT_HEAD + (address - segment->start);
}
static inline uint64_t hybrid_segment_end(const struct hybrid_segment *segment)
{
    return atomic_load_explicit(&((struct hybrid_segment *)(uintptr_t)segment)->end, memory_order_acquire);
}
/* PLSM_CORRUPT, with its message. */
plsm_status hybrid_segment_damaged(const struct hybrid_segment *segment, uint64_t address);

/* The segment that holds an address; NULL: none. */
struct hybrid_segment *hybrid_segments_find(const struct hybrid_segments *list, uint64_t address);
/* The first segment that begins at an address or behind it; NULL: none. */
struct hybrid_segment *hybrid_segments_from(const struct hybrid_segments *list, uint64_t address);

/* Inside an epoch: reads the record at an address of a segment into memory of its own, and checks it. */
struct cached_record;
plsm_status hybrid_segment_read_record(struct hybrid_segment *segment, uint64_t address, struct cached_record **out);

#endif
