/* Inside an edit: see edit.c. */
#ifndef STORE_EDIT_H
#define STORE_EDIT_H

#include "base/bytes.h"
#include "store/extents.h"

#define EDIT_MAGIC 0x65646974u

/* Six buffers, the batch that carries one piece to the tree and the value that brings one back: eight pieces in all. */
enum { EDIT_SLOTS = PLSM_EDIT_MEMORY / EXTENT_SIZE - 2 };

/* A buffered piece: EXTENT_SIZE bytes, zeros behind what the piece holds. */
struct edit_slot {
    uint8_t *data; /* NULL until first used */
    uint64_t index;
    uint64_t used_at; /* the edit's clock */
    bool used, dirty;
};

/* Pages of a piece that are to be laid over the rest of it: see edit_patch.c. */
enum { PATCH_PAGE = 4096, PATCH_PAGES = EXTENT_SIZE / PATCH_PAGE };
_Static_assert(PATCH_PAGES == 32, "a bit for each page in `present`");
struct patch {
    uint64_t index;
    uint32_t present;            /* a bit for each page that is there */
    uint8_t *pages[PATCH_PAGES]; /* PATCH_PAGE bytes, or NULL */
};
struct patches {
    struct patch **items; /* by index */
    size_t count, capacity;
};

/* Where an edit writes pieces to. */
struct staging {
    uint64_t id;         /* owned while it is not 0 */
    uint64_t generation; /* of the pieces; 0: none begun */
    bool marked;         /* the marker is in the tree, with `lowest` */
    uint64_t lowest;
    struct ranges touched; /* pieces of this generation in the tree */
    struct ranges written; /* those of them that are part of the content: what was cut off or punched is not */
    struct ranges replaced; /* pieces whose content is no longer the base's: written here, or punched */
};

struct plsm_edit {
    uint32_t magic;
    plsm *db;
    struct buf key;  /* the user's key */
    uint64_t shared; /* the shared value that is edited instead (shared.h); 0: none */
    uint64_t size;
    bool dirty;
    struct lifetime lifetime; /* of what is committed, where the caller says */

    bool large;       /* false: the content is in `small`, and all below is empty */
    struct buf small; /* at most PLSM_INLINE_MAX bytes */

    /* What was published when the edit was opened or last committed; base.id 0: nothing of it is left. Pieces that were
     * not written here, below base_limit, are read from it. */
    struct reference base;
    uint64_t base_limit;
    struct engine_snapshot *snapshot; /* where the base is read while its id is not owned; NULL: newest state */

    /* staging.id is base.id (in place), or base.id is 0 (fresh). */
    struct staging staging;
    struct edit_slot slots[EDIT_SLOTS];
    struct patches patches;
    uint64_t clock;
    struct engine_value loaded; /* the piece read last */
    struct batch batch;         /* carries one piece to the tree */
};

/* --- edit_staging.c --------------------------------------------------------------------------------------------- */

/* Takes an id and a generation, so that pieces may be written. */
plsm_status edit_begin(plsm_edit *edit);
/* Copies the content to a fresh id, because the base's id is written by another edit or the key left it. */
plsm_status edit_detach(plsm_edit *edit);
/* Reads a piece from the tree (not from the buffers) into edit->loaded; *found is false for a hole. */
plsm_status edit_load(plsm_edit *edit, uint64_t index, bool *found);
plsm_status edit_write_piece(plsm_edit *edit, uint64_t index, plsm_slice bytes);
/* Back to an empty small value: what was staged is deleted, the base let go. */
void edit_reset(plsm_edit *edit);

/* --- edit_space.c ----------------------------------------------------------------------------------------------- */

/* The first run of pieces that are there from index `from` on, as *start and *end; both UINT64_MAX: there is none. */
plsm_status edit_next_run(plsm_edit *edit, uint64_t from, uint64_t *start, uint64_t *end);

/* Zeroes [from, to) of a piece, if it is there. */
plsm_status edit_zero(plsm_edit *edit, uint64_t index, size_t from, size_t to);

/* --- edit.c ----------------------------------------------------------------------------------------------------- */

/* Fills EXTENT_SIZE bytes with a piece as it is in the tree; a hole gives zeros. */
plsm_status edit_fill(plsm_edit *edit, uint64_t index, uint8_t *data);
/* Writes EXTENT_SIZE bytes to the tree as a piece, without what is behind the end or zeros there. */
plsm_status edit_write_buffer(plsm_edit *edit, uint64_t index, const uint8_t *data);
/* Writes all dirty buffers and patches to the tree. */
plsm_status edit_flush_slots(plsm_edit *edit);
/* The buffer of a piece, with its content; a hole gives zeros. */
plsm_status edit_slot(plsm_edit *edit, uint64_t index, struct edit_slot **out);
/* Drops the buffers and patches of pieces [from, to), dirty or not. */
void edit_drop_slots(plsm_edit *edit, uint64_t from, uint64_t to);

/* --- edit_patch.c ----------------------------------------------------------------------------------------------- */

/* Keeps a write within one piece, which has no buffer. *taken is false when it is not of whole pages inside of the
 * value, or when there is no room: then it must go to a buffer. Fails only where making room does. */
plsm_status patch_write(plsm_edit *edit, uint64_t offset, const uint8_t *data, size_t size, bool *taken);
bool patch_has(const plsm_edit *edit, uint64_t index);
/* Whether it has every page, so that the piece below does not matter. */
bool patch_is_whole(const plsm_edit *edit, uint64_t index);
/* The first piece from `from` on that has one; UINT64_MAX: none. */
uint64_t patch_next(const plsm_edit *edit, uint64_t from);
/* Lays the pages of a piece over what was read of it: `size` bytes from `from` on. */
void patch_read(const plsm_edit *edit, uint64_t index, size_t from, uint8_t *data, size_t size);
/* Lays the pages of a piece over all of it and forgets them; returns whether there were any. */
bool patch_take(plsm_edit *edit, uint64_t index, uint8_t *data);
/* Writes the pieces that have a patch. What fails, and those behind it, keep theirs. */
plsm_status patches_apply(plsm_edit *edit);
void patches_drop(plsm_edit *edit, uint64_t from, uint64_t to);
void patches_free(plsm_edit *edit);

#endif
