/* What a plsm_batch holds. */
#ifndef STORE_BATCH_H
#define STORE_BATCH_H

#include "base/batch.h"
#include "base/bytes.h"
#include "store/plsm.h"

#define BATCH_MAGIC 0x62617463u

/* A change that depends on what is in the store when the batch is written: no plain change, so it stands apart. */
enum special_kind { SPECIAL_MOVE, SPECIAL_SET_META, SPECIAL_SHARE, SPECIAL_LINK, SPECIAL_SET_META_SHARED };
enum { SPECIAL_ID_SIZE = 8 };
enum condition_kind { CONDITION_ABSENT, CONDITION_EQUAL };

struct special {
    enum special_kind kind;
    uint32_t position;        /* plain changes before it */
    /* Offsets into `bytes`: the source or the key, or nothing; the target, or the u64 identifier of a shared value,
     * the meta, or the one and then the other. */
    size_t first, second;
    uint32_t first_size, second_size;
};

struct batch_condition {
    enum condition_kind kind;
    uint8_t keyspace;
    uint32_t key_size, value_size;
    size_t key, value; /* offsets into `bytes` */
};

struct plsm_batch {
    uint32_t magic;
    struct batch changes;      /* plain puts and deletes, in order */
    struct buf specials;       /* of struct special, in order */
    struct buf conditions;     /* of struct batch_condition */
    struct buf bytes;          /* keys and values of the two above */
    bool names;                /* a plain change is in the keyspace of names */
    bool links;                /* makes links: references are to be expected */
};

/* Whether meta and value are within the limits of an entry: PLSM_TOO_LARGE. */
plsm_status batch_check_entry(plsm_slice meta, plsm_slice value);

static inline size_t batch_special_count(const plsm_batch *batch)
{
    return batch->specials.size / sizeof(struct special);
}

static inline size_t batch_condition_count(const plsm_batch *batch)
{
    return batch->conditions.size / sizeof(struct batch_condition);
}

#endif
