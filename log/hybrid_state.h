/* Recovery points: what the log is at one moment, in a file "hybrid-NUMBER". All numbers are little-endian.
 *
 *      0  u8[8]  magic "plsmhsta"
 *      8  u32    format version: 2; 1 has no bytes 64 to 71
 *     12  u32    segments
 *     16  u64    begin: address of the first record that counts
 *     24  u64    tail: address behind the last one
 *     32  u64    redo: number of the first redo log whose batches are not in the log (hybrid_redo.h)
 *     40  u64    next segment: no segment ever had this number or a larger one
 *     48  u64    live entries
 *     56  u64    of them, names
 *     64  u64    store: random for each store; its segments and redo logs have it too
 *     72  for each segment, in the order of addresses, 32 bytes:
 *           0  u64  number
 *           8  u64  start: address of its first byte, as in its head
 *          16  u64  end: address behind the last byte of it that counts
 *          24  u64  salt, as in its head
 *         u64    checksum (XXH3-64) of all before, seeded with the number in the name
 *
 * It is written under another name, synced and renamed, and those before it are removed: so the newest one is whole, or
 * damaged. Only then is what it does not need any more removed. */
#ifndef LOG_HYBRID_STATE_H
#define LOG_HYBRID_STATE_H

#include "base/env.h"

enum { STATE_VERSION = 2, STATE_VERSION_OLDEST = 1 };
#define STATE_MAGIC "plsmhsta"
/* Of a file: no store comes to so many; none is made where there are half as many. */
#define HYBRID_NUMBER_MAX (UINT64_C(1) << 60)

struct state_segment {
    uint64_t number, start, end, salt;
};

struct hybrid_state {
    uint64_t number; /* 0: there is none */
    uint64_t begin, tail, redo, next_segment, live, names;
    uint64_t store; /* 0: it was written before stores had a number */
    struct state_segment *segments;
    uint32_t count;
};

/* Writes it under its number, durable. PLSM_NO_SPACE, PLSM_IO, PLSM_NO_MEMORY: it is not there. *renamed tells, also
 * after an error, that it may be there. */
plsm_status state_write(struct env *env, const char *directory, const struct hybrid_state *state, bool *renamed);
/* PLSM_CORRUPT, PLSM_VERSION, PLSM_IO, PLSM_NO_MEMORY. */
plsm_status state_read(struct env *env, const char *directory, uint64_t number, struct hybrid_state *out);
void state_free(struct hybrid_state *state); /* leaves it zeroed */
/* Writes the path of a recovery point, of `size` bytes at most. */
void state_path(const char *directory, uint64_t number, char *out, size_t size);

#endif
