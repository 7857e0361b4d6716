/* What the tree stores under a key: one version of it. */
#ifndef LSM_ENTRY_H
#define LSM_ENTRY_H

#include <stdbool.h>
#include <stdint.h>

#include "base/batch.h"
#include "base/slice.h"

/* Versions are numbered by one counter of the store; a reader at sequence number s sees, of each key, the newest
 * version with seq at most s. 0 marks a version that every reader sees (set when no older snapshot can exist any
 * more). */
#define SEQ_MAX (UINT64_MAX >> 8)

enum { ENTRY_KINDS = BATCH_REFERENCE + 1 }; /* kinds of changes that make entries: deletions of ranges stand apart */

/* The slices belong to whoever filled the entry in; each such function says until when they are valid. */
struct entry {
    plsm_slice key, meta, value;
    uint64_t seq;
    enum batch_kind kind;
    bool separated; /* the value is a pointer into a value log (value_log.h); of BATCH_PUT only */
};

#endif
