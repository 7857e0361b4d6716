/* Pieces of large values in the tree. The whole design stands at the head of extents.c. */
#ifndef STORE_EXTENTS_H
#define STORE_EXTENTS_H

#include "store/internal.h"
#include "store/ranges.h"

/* Adds the put of one piece, or its deletion, to a batch. */
plsm_status extents_add_put(struct batch *batch, uint64_t id, uint64_t index, uint64_t generation, plsm_slice bytes);
plsm_status extents_add_delete(struct batch *batch, uint64_t id, uint64_t index, uint64_t generation);
/* Adds the record of a published value. */
plsm_status extents_add_record(struct batch *batch, const struct reference *reference);
/* Adds the marker of an edit that writes no piece below index `lowest`, or its deletion. */
plsm_status extents_add_marker(struct batch *batch, uint64_t id, uint64_t generation, uint64_t lowest);
plsm_status extents_delete_marker(struct batch *batch, uint64_t id, uint64_t generation);
/* Adds what turns a published value into an orphan: its record goes, its marker comes. */
plsm_status extents_add_orphan(struct batch *batch, const struct reference *reference);

/* The published state of an id, whatever name it has; PLSM_NOT_FOUND. */
plsm_status extents_published(plsm *db, uint64_t id, struct reference *out);
/* Reads the piece of exactly this generation in the newest state; PLSM_CORRUPT when it is not there. */
plsm_status extents_get(plsm *db, uint64_t id, uint64_t index, uint64_t generation, struct engine_value *out);
/* Reads piece `index` of a published value as `snapshot` (NULL: newest state) has it. *found is false for a hole. */
plsm_status extents_load(plsm *db, const struct engine_snapshot *snapshot, const struct reference *reference,
                         uint64_t index, struct engine_value *out, bool *found);
/* The first run of pieces of a published value, as `snapshot` (NULL: newest state) has it, from index `from` on and
 * below `limit`: [*start, *end). Both UINT64_MAX: there is none. */
plsm_status extents_next_run(plsm *db, const struct engine_snapshot *snapshot, const struct reference *reference,
                             uint64_t from, uint64_t limit, uint64_t *start, uint64_t *end);
/* Reads [offset, offset + size) of a published value, which must lie inside of it. */
plsm_status extents_read(plsm *db, const struct engine_snapshot *snapshot, const struct reference *reference,
                         uint64_t offset, uint8_t *data, size_t size);

/* Whether the marker of an edit with this generation, or of an orphan, stands for an id. */
plsm_status extents_has_markers(plsm *db, const struct engine_snapshot *snapshot, uint64_t id, uint64_t generation,
                                bool *edit, bool *orphan);

/* Adds the deletion of every published piece of `reference` (newest state) whose index is at or above `limit`, or below
 * it and in `rewritten`. *deleted counts them. */
plsm_status extents_add_superseded(plsm *db, const struct reference *reference, uint64_t limit,
                                   const struct ranges *rewritten, struct batch *batch, uint64_t *deleted);
/* Deletes the pieces of an unpublished generation, whose indices are in `touched`, then the marker of its edit. */
plsm_status extents_abandon(plsm *db, uint64_t id, uint64_t generation, const struct ranges *touched);
/* Deletes the pieces of an orphan, then its marker. What fails is left to the next open. */
void extents_retire(plsm *db, const struct reference *reference);
/* Finishes what a crash has left; at a writable open. Sets db->references. */
plsm_status extents_recover(plsm *db);

#endif
