/* Seeded lists of operations on a store, over a small key space made to be awkward.
 *
 * An operation is a plain struct that names its key by number and its value by size and seed, so a list can be
 * replayed, cut, shrunk and printed. Batches are several operations: changes collect until OP_BATCH_WRITE, so that
 * a shrinking list can lose single changes. */
#ifndef TESTS_HARNESS_WORKLOAD_H
#define TESTS_HARNESS_WORKLOAD_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "base/bytes.h"
#include "store/plsm.h"

enum op_kind {
    OP_PUT,
    OP_DELETE,
    OP_DELETE_RANGE, /* see workload_range */
    OP_BATCH_PUT, /* the first of the batch operations: kept next to each other */
    OP_BATCH_DELETE,
    OP_BATCH_DELETE_RANGE,
    OP_BATCH_MOVE, /* key -> other */
    OP_BATCH_SET_META,
    OP_BATCH_LINK, /* key is shared under workload_shared(key), and other links to it */
    OP_BATCH_IF_ABSENT,
    OP_BATCH_IF_EQUAL, /* size 0 and seed 0: to the value that is there; otherwise to one that is not */
    OP_BATCH_WRITE,
    /* A bulk load of up to WORKLOAD_BATCH keys from key to other, in their order, with every 1 + meta_size % 4 th of
     * them. slot 0: written and finished; 1: written and dropped; otherwise written and left open: the next OP_BULK
     * finishes it and does nothing else. */
    OP_BULK,
    OP_MOVE_PREFIX, /* see workload_prefixes and workload_moves_with */
    OP_SYNC,
    OP_FLUSH,
    OP_COMPACT, /* [key, other) when slot is 1, everything when it is 0 */
    OP_REOPEN,
    OP_GET,
    OP_READ, /* at an offset: size is the offset, seed the length */
    OP_HAS_PREFIX,
    OP_SNAPSHOT_OPEN,
    OP_SNAPSHOT_CLOSE,
    OP_ITERATOR_OPEN,
    OP_ITERATOR_CLOSE,
    OP_ITERATOR_FIRST,
    OP_ITERATOR_LAST,
    OP_ITERATOR_SEEK,
    OP_ITERATOR_SEEK_BEFORE,
    OP_ITERATOR_NEXT,
    OP_ITERATOR_PREVIOUS,
    OP_SCAN, /* the whole store, forward and backward */
    OP_ADVANCE, /* time goes on by 1 + seed % 6 ticks */
    OP_COUNT
};

enum {
    WORKLOAD_KEYS = 320,  /* the key space, numbered from 0 */
    WORKLOAD_SLOTS = 4,   /* snapshots and iterators open at once; as a snapshot's slot this means "the newest state" */
    WORKLOAD_BATCH = 64,  /* changes of one batch at most */
    WORKLOAD_VALUE_MAX = 300 << 10,
};

struct op {
    uint8_t kind;
    uint8_t slot;      /* snapshot or iterator */
    uint8_t sync;      /* writes: PLSM_SYNC */
    uint8_t meta_size; /* puts and set_meta; for bounds and prefixes: how the key is changed (workload_probe) */
    uint16_t key, other;
    uint32_t size, seed; /* of the value */
    uint8_t life;        /* puts of names: see workload_expires; of an OP_BULK not 0: its puts have lives, too */
};

/* What is likely: a weight per kind, 0 for never. */
struct workload_profile {
    unsigned weight[OP_COUNT];
    unsigned keys;          /* how much of the key space is used */
    unsigned sync_percent;  /* of the writes */
    unsigned life_percent;  /* of the puts of names: say when they expire */
    unsigned large_percent; /* of the single puts: values above PLSM_INLINE_MAX */
    uint32_t value_max;     /* of the others; most are much smaller */
};
extern const struct workload_profile workload_everything; /* all kinds of operations */
extern const struct workload_profile workload_writes;     /* for crash tests: writes, flushes, compactions */

/* `count` operations, to be freed with free(). The same seed and profile give the same list. */
struct op *workload_create(const struct workload_profile *profile, uint64_t seed, size_t count);

/* A key of the key space; static bytes. Call workload_init before the first thread starts. */
void workload_init(void);
plsm_slice workload_key(unsigned number);
plsm_keyspace workload_keyspace(unsigned number); /* most are PLSM_NAMES */
/* The key space in order of (keyspace, key): the number at a rank, the rank of a number, and the first rank whose key
 * is at least `key` (WORKLOAD_KEYS when there is none). */
unsigned workload_at_rank(unsigned rank);
unsigned workload_rank(unsigned number);
unsigned workload_lower_bound(plsm_keyspace keyspace, plsm_slice key);

/* A key beside a key of the space, for bounds, seeks and prefixes: `change` 0 the key itself, 1 with a zero byte
 * behind, 2 without its last byte, 3 only its first byte, 4 up to its last '/' (or the key itself), others: empty.
 * Written into `buffer` (PLSM_KEY_MAX + 1 bytes). */
plsm_slice workload_probe(unsigned number, unsigned change, uint8_t *buffer);

/* The range that an operation deletes: mostly a few keys, sometimes many, open, or turned round (then none). The bounds
 * are written into `buffers` (two keys). */
void workload_range(const struct op *op, uint8_t *buffers, plsm_slice *from, plsm_slice *to);
/* When a put with a life expires, by a clock with seconds per tick: that many ticks less one from now, so with a life
 * of 1 at once; 0: with WORKLOAD_FOREVER, which says so. A put without a life (0) does not say. */
enum { WORKLOAD_FOREVER = 255 };
uint64_t workload_expires(const struct op *op, uint64_t clock_s, uint64_t tick_s);
/* The puts of an OP_BULK, in key order; returns how many. */
size_t workload_bulk(const struct op *op, struct op puts[WORKLOAD_BATCH]);

/* An OP_MOVE_PREFIX: the prefixes, static; where a key goes by it (false: it stays); whether `other` is put in the same
 * step. What begins with the first prefix is a key of the space with the second one, too. */
void workload_prefixes(const struct op *op, plsm_slice *from, plsm_slice *to);
bool workload_moved(const struct op *op, unsigned key, unsigned *to);
bool workload_moves_with(const struct op *op);

/* Under which identifier an OP_BATCH_LINK shares a key. Where the key is a name of another shared value already, or the
 * value has moved to another key, the batch is refused. */
uint64_t workload_shared(unsigned number);

/* The bytes of a value or meta: a pure function of seed and position. Some seeds give zeros only, some text. */
void workload_fill(uint32_t seed, uint8_t *data, size_t size);
/* The same for the part that begins at `offset`, a multiple of 8. */
void workload_fill_at(uint32_t seed, uint64_t offset, uint8_t *data, size_t size);
bool workload_matches(uint32_t seed, plsm_slice bytes);

void workload_print_op(FILE *out, size_t number, const struct op *op);
void workload_print(FILE *out, const struct op *ops, size_t count);

#endif
