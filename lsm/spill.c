/* Spilling: a batch that a memtable would not hold goes into runs at once.
 *
 * In memory such a batch costs several times its bytes: its record in the log, a memtable that is as large as it with
 * nodes for every key, the filter and the indexes of the one run that this becomes. None of that counts as long as
 * batches are small. A large one is sorted where it is instead (batch_order.h), written as runs of the usual size, and
 * comes in as a bulk load does (bulk.c): by one record of the MANIFEST, newer than all that was written before. So it
 * is there as a whole or not at all, also after a crash, which leaves files that the next opening removes; it is
 * durable when it returns, whatever was asked for; and it costs 16 bytes of memory for each change, or none where its
 * keys come in order, beside what writing a run takes.
 *
 * The runs are written while others write, and only bringing them in is done at the head of the queue. But what depends
 * on the state (lsm_prepare) is known there alone: of that, all is done by the leader, and everybody waits. This is so
 * not only of conditions and moves: once a store holds values in extents, every batch of names must look at what it
 * replaces (store/resolve.h).
 *
 * Of changes of one key the last one counts. What a deletion of a range in the batch hides of the batch itself is left
 * out; for the rest these deletions go into runs of their own, older by their number than the entries. Both stand on
 * level 0, where the order of numbers is the order of the runs.
 *
 * Room: as any write, a batch leaves free what is kept for writing (space.c), unless it frees space. Where nothing is
 * packed it is known before how much that takes, and a batch that does not fit is refused before anything is written;
 * else its files are given up once they take more. What has been written comes in, whoever took the room meanwhile. */
#include "lsm/spill.h"

#include "base/error.h"
#include "lsm/arena.h"
#include "lsm/batch_order.h"
#include "lsm/bulk.h"
#include "lsm/output.h"
#include "base/banned.h"

#define SPILL_LEAST (UINT64_C(1) << 20)

enum { ADDED_SHARE = 16 }; /* of a batch: what indexes, filters and ends of pages add */

uint64_t spill_above(const struct lsm_options *options)
{
    if (options->spill_above)
        return options->spill_above;
    return options->buffer_size > SPILL_LEAST ? options->buffer_size : SPILL_LEAST;
}

/* Bytes of values of a batch that would stay in the log: they take no memory. */
static uint64_t kept_bytes(const struct lsm *db, const struct batch *batch)
{
    const uint8_t *at = batch->bytes.data, *end = at + batch->bytes.size;
    struct batch_change change;
    uint64_t bytes = 0;
    if (batch->value_max < db->kept_above)
        return 0;
    while (batch_next(&at, end, &change))
        if (change.kind == BATCH_PUT && change.value.size >= db->kept_above)
            bytes += change.value.size;
    return bytes;
}

bool spill_is_worth(const struct lsm *db, const struct batch *batch)
{
    return batch->bytes.size - kept_bytes(db, batch) >= db->options.spill_above;
}

struct spill {
    struct lsm *db;
    const struct batch *batch;
    struct batch_order order;
    struct batch ranges;       /* its deletions of ranges */
    struct arena arena;        /* of: */
    struct tombstones *covers; /* the same; their numbers are the offsets in the batch. NULL: there are none */
    struct bulk_batch of;
    struct lsm_bulk *bulk;
    uint64_t unlooked_bytes; /* of entries since the free space was looked at, */
    uint64_t look_bytes;     /* and after how many it is to be; UINT64_MAX: never, for the batch frees space */
};

static void end(struct spill *s)
{
    struct mem_account *before = budget_enter(&s->db->budget, BUDGET_COMPACTION);
    batch_order_end(&s->order);
    arena_free(&s->arena);
    batch_free(&s->ranges);
    budget_leave(before);
    lsm_bulk_destroy(s->bulk);
}

static plsm_status collect_ranges(struct spill *s)
{
    const uint8_t *from = s->batch->bytes.data, *at = from, *behind = at + s->batch->bytes.size;
    struct batch_change change;
    if (s->batch->ranges == 0)
        return PLSM_OK;
    TRY(arena_reserve(&s->arena, tombstones_bytes(0, s->batch->ranges)));
    s->covers = tombstones_copy(&s->arena, NULL, s->batch->ranges);
    for (; batch_next(&at, behind, &change); from = at) {
        const uint8_t *key = change.key.data;
        if (change.kind != BATCH_DELETE_RANGE)
            continue;
        TRY(batch_add(&s->ranges, change.kind, key[0], slice(key + 1, change.key.size - 1), change.meta, change.value));
        TRY(tombstones_add(s->covers, &s->arena, change.key, change.value, (uint64_t)(from - s->batch->bytes.data), 0,
                           0));
    }
    return PLSM_OK;
}

/* Sorts the batch. */
static plsm_status begin(struct spill *s)
{
    if (s->batch->bytes.size > LSM_BATCH_BYTES_MAX)
        return fail(PLSM_TOO_LARGE, "a batch of %zu bytes is above the limit of %llu", s->batch->bytes.size,
                    (unsigned long long)LSM_BATCH_BYTES_MAX);
    struct mem_account *before = budget_enter(&s->db->budget, BUDGET_COMPACTION);
    plsm_status status = collect_ranges(s);
    if (status == PLSM_OK)
        status = batch_order_start(s->batch, &s->order);
    budget_leave(before);
    TRY(status);
    s->of = (struct bulk_batch){.bytes = s->batch->bytes.size, .changes = s->batch->count, .ranges = &s->ranges};
    if (s->order.count > 0)
        batch_order_bounds(&s->order, &s->of.smallest, &s->of.largest);
    return bulk_create_of_batch(s->db, &s->of, &s->bulk);
}

/* Gives the batch up where `bytes` more would take room that is kept. */
static plsm_status look_for_room(struct spill *s, uint64_t bytes)
{
    bool there = false;
    TRY(space_has_for(s->db, bytes, &there));
    if (there)
        return PLSM_OK;
    if (batch_frees_space(s->batch)) {
        s->look_bytes = UINT64_MAX;
        return PLSM_OK;
    }
    return fail(PLSM_NO_SPACE, "%s: a batch of %zu bytes does not fit beside what is kept for deleting and merging",
                s->db->path, s->batch->bytes.size);
}

/* About how many bytes the runs will take at most; 0: nobody knows, since they are packed. */
static uint64_t bytes_expected(const struct spill *s)
{
    for (unsigned group = 0; group < LSM_GROUPS; group++)
        if (s->db->options.groups[group].codec != CODEC_NONE)
            return 0;
    return s->batch->bytes.size + s->batch->bytes.size / ADDED_SHARE;
}

static plsm_status add(struct spill *s, struct entry *entry)
{
    s->unlooked_bytes += entry->key.size + entry->meta.size + entry->value.size;
    if (s->unlooked_bytes >= s->look_bytes) {
        TRY(look_for_room(s, 0));
        s->unlooked_bytes = 0;
    }
    return bulk_add(s->bulk, entry);
}

/* Writes the runs. The memtables were flushed, so that it is known for which level. */
static plsm_status fill(struct spill *s)
{
    struct batch_change change;
    uint64_t now_s = db_now_s(s->db);
    uint32_t at = 0;
    TRY(begin(s));
    while (batch_order_next(&s->order, &change, &at)) {
        struct entry entry = {.key = change.key,
                              .meta = change.meta,
                              .value = change.value,
                              .expires_s = change.expires_s,
                              .kind = change.kind};
        if (s->covers && tombstones_covering(s->covers, change.key, SEQ_MAX) > at)
            continue;
        if (entry.expires_s)
            output_expire(s->db, now_s, &entry);
        TRY(add(s, &entry));
    }
    return PLSM_OK;
}

/* Before anything is written. The leader's. */
static plsm_status check_room(struct spill *s)
{
    TRY(leader_await_levels(s->db));
    TRY(space_look(s->db));
    TRY(space_check(s->db, s->batch));
    s->look_bytes = s->db->space_every_bytes;
    return look_for_room(s, bytes_expected(s));
}

/* Is an lsm_prepare. */
static plsm_status may_begin(void *arg, struct lsm *db, const struct batch **batch)
{
    (void)db;
    *batch = NULL;
    return check_room(arg);
}

plsm_status spill_write(struct lsm *db, const struct batch *batch)
{
    struct spill s = {.db = db, .batch = batch};
    plsm_status status = lsm_write(db, NULL, may_begin, &s, false);
    if (status == PLSM_OK)
        status = lsm_flush(db);
    if (status == PLSM_OK)
        status = fill(&s);
    if (status == PLSM_OK)
        status = lsm_bulk_finish(s.bulk, NULL, NULL);
    end(&s);
    return status;
}

plsm_status spill_leading(struct lsm *db, const struct batch *batch)
{
    struct spill s = {.db = db, .batch = batch};
    plsm_status status = check_room(&s);
    if (status == PLSM_OK)
        status = bulk_flush_leading(db);
    if (status == PLSM_OK)
        status = fill(&s);
    if (status == PLSM_OK)
        status = bulk_finish_leading(s.bulk);
    end(&s);
    return status;
}
