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
    uint64_t expires_s; /* from this second since 1970 on it is as if it had been deleted; 0: never. Not of deletions */
    enum batch_kind kind;
    bool separated; /* the value is a pointer into a value log (value_log.h); of BATCH_PUT only */
};

/* Whether an entry's time has come at a second since 1970; at second 0, which never is, no entry's has. */
static inline bool entry_expired(const struct entry *entry, uint64_t now_s)
{
    return entry->expires_s - 1 < now_s; /* 0, never, becomes the latest time there is */
}

#endif
