/* plsm_edit: a value opened for reading and writing at offsets.
 *
 * Small content is one buffer. Beyond PLSM_INLINE_MAX it becomes pieces of EXTENT_SIZE, of which a few are buffered
 * here; the buffer used longest ago makes room, and is written to the tree first when it is dirty. A whole piece that
 * is written or read at once passes by the buffers. Single pages are gathered: edit_patch.c. Which id and generation
 * pieces go to is edit_staging.c's matter, and publishing is edit_commit.c's. */
#include "store/edit.h"

#include "base/alloc.h"
#include "store/shared.h"

#include "base/banned.h"

/* --- buffers ---------------------------------------------------------------------------------------------------- */

static struct edit_slot *slot_find(plsm_edit *edit, uint64_t index)
{
    for (size_t i = 0; i < EDIT_SLOTS; i++) {
        struct edit_slot *slot = &edit->slots[i];
        if (slot->used && slot->index == index) {
            slot->used_at = ++edit->clock;
            return slot;
        }
    }
    return NULL;
}

/* How many bytes of a buffer must be written: what is missing at the end of a piece is zeros anyway. */
static size_t without_zeros(const uint8_t *data, size_t size)
{
    while (size >= 8 && get_u64(data + size - 8) == 0)
        size -= 8;
    while (size > 0 && data[size - 1] == 0)
        size--;
    return size;
}

plsm_status edit_write_buffer(plsm_edit *edit, uint64_t index, const uint8_t *data)
{
    uint64_t left = edit->size - index * EXTENT_SIZE;
    return edit_write_piece(edit, index,
                            slice(data, without_zeros(data, left < EXTENT_SIZE ? (size_t)left : EXTENT_SIZE)));
}

static plsm_status slot_flush(plsm_edit *edit, struct edit_slot *slot)
{
    if (!slot->used || !slot->dirty)
        return PLSM_OK;
    TRY(edit_write_buffer(edit, slot->index, slot->data));
    slot->dirty = false;
    return PLSM_OK;
}

plsm_status edit_flush_slots(plsm_edit *edit)
{
    TRY(patches_apply(edit));
    for (size_t i = 0; i < EDIT_SLOTS; i++)
        TRY(slot_flush(edit, &edit->slots[i]));
    return PLSM_OK;
}

/* A buffer for a piece that has none; its bytes are undefined. */
static plsm_status slot_take(plsm_edit *edit, uint64_t index, struct edit_slot **out)
{
    struct edit_slot *best = &edit->slots[0];
    for (size_t i = 0; i < EDIT_SLOTS && best->used; i++) {
        struct edit_slot *slot = &edit->slots[i];
        if (!slot->used || slot->used_at < best->used_at)
            best = slot;
    }
    TRY(slot_flush(edit, best));
    if (!best->data) {
        best->data = mem_alloc(EXTENT_SIZE);
        if (!best->data)
            return fail(PLSM_NO_MEMORY, "no memory for a buffer of %d bytes", EXTENT_SIZE);
    }
    best->used = true;
    best->dirty = false;
    best->index = index;
    best->used_at = ++edit->clock;
    *out = best;
    return PLSM_OK;
}

plsm_status edit_fill(plsm_edit *edit, uint64_t index, uint8_t *data)
{
    bool found = false;
    TRY(edit_load(edit, index, &found));
    size_t size = found ? edit->loaded.value.size : 0;
    if (size)
        memcpy(data, edit->loaded.value.data, size);
    memset(data + size, 0, EXTENT_SIZE - size);
    return PLSM_OK;
}

plsm_status edit_slot(plsm_edit *edit, uint64_t index, struct edit_slot **out)
{
    struct edit_slot *slot = slot_find(edit, index);
    if (!slot) {
        TRY(slot_take(edit, index, &slot));
        plsm_status status = patch_is_whole(edit, index) ? PLSM_OK : edit_fill(edit, index, slot->data);
        if (status) {
            slot->used = false;
            return status;
        }
        slot->dirty = patch_take(edit, index, slot->data);
    }
    *out = slot;
    return PLSM_OK;
}

void edit_drop_slots(plsm_edit *edit, uint64_t from, uint64_t to)
{
    for (size_t i = 0; i < EDIT_SLOTS; i++)
        if (edit->slots[i].used && edit->slots[i].index >= from && edit->slots[i].index < to)
            edit->slots[i].used = edit->slots[i].dirty = false;
    patches_drop(edit, from, to);
}

/* A small value turns into pieces: all of it is piece 0. */
static plsm_status become_large(plsm_edit *edit)
{
    if (edit->large)
        return PLSM_OK;
    if (edit->size > 0) {
        struct edit_slot *slot = NULL;
        TRY(slot_take(edit, 0, &slot));
        memcpy(slot->data, edit->small.data, (size_t)edit->size);
        memset(slot->data + edit->size, 0, EXTENT_SIZE - (size_t)edit->size);
        slot->dirty = true;
    }
    buf_free(&edit->small);
    edit->large = true;
    return PLSM_OK;
}

/* --- opening and closing ---------------------------------------------------------------------------------------- */

/* Reads the shared value `shared`, or when that is 0 the key; what this links to is edited from now on. */
static plsm_status get_entry(plsm_edit *edit, const struct engine_snapshot *snapshot, uint64_t shared,
                             struct engine_value *value)
{
    plsm *db = edit->db;
    struct store_key whole;
    struct sharing sharing = {0};
    if (shared)
        return shared_get(db, snapshot, shared, false, value, &sharing);
    key_join(&whole, PLSM_NAMES, buf_slice(&edit->key));
    TRY(shared_follow(db, snapshot, key_slice(&whole), false, value, &sharing));
    edit->shared = sharing.id;
    return PLSM_OK;
}

/* Takes over what the key, or the shared value, holds. */
static plsm_status load_base(plsm_edit *edit, uint64_t shared)
{
    plsm *db = edit->db;
    struct engine_value value = {0};
    plsm_status status = get_entry(edit, NULL, shared, &value);
    if (status == PLSM_OK && value.kind == BATCH_REFERENCE) {
        /* Reference and pieces must be of one moment: take a snapshot and look again. */
        edit->snapshot = db->engine->snapshot_create(db->tree);
        status = edit->snapshot ? get_entry(edit, edit->snapshot, shared, &value)
                                : fail(PLSM_NO_MEMORY, "no memory for a snapshot");
    }
    if (status)
        goto done;
    if (value.kind == BATCH_REFERENCE) {
        status = reference_decode(value.value, &edit->base);
        edit->base_limit = extents_of(edit->base.size);
        edit->size = edit->base.size;
        edit->large = true;
    } else {
        status = buf_append(&edit->small, value.value.data, value.value.size);
        edit->size = value.value.size;
    }
done:
    engine_value_free(&value);
    return status;
}

/* Opens a key, or the shared value `shared` when that is not 0. */
static plsm_status open_edit(plsm *db, plsm_slice key, uint64_t shared, plsm_edit_flags flags, plsm_edit **out)
{
    INVARIANT(db->magic == STORE_MAGIC);
    if (flags & PLSM_EDIT_NEW)
        TRY(refuse_writes(db));
    plsm_edit *edit = mem_zalloc(sizeof *edit);
    if (!edit)
        return fail(PLSM_NO_MEMORY, "no memory to open a value");
    edit->magic = EDIT_MAGIC;
    edit->db = db;
    edit->shared = shared;
    plsm_status status = buf_append(&edit->key, key.data, key.size);
    if (status == PLSM_OK && flags & PLSM_EDIT_NEW)
        edit->dirty = true;
    else if (status == PLSM_OK)
        status = load_base(edit, shared);
    if (status) {
        plsm_edit_close(edit);
        return status;
    }
    *out = edit;
    return PLSM_OK;
}

plsm_status plsm_edit_open(plsm *db, plsm_slice key, plsm_edit_flags flags, plsm_edit **out)
{
    TRY(key_check(PLSM_NAMES, key));
    return open_edit(db, key, 0, flags, out);
}

plsm_status plsm_edit_open_shared(plsm *db, uint64_t shared, plsm_edit_flags flags, plsm_edit **out)
{
    if (shared == 0)
        return fail(PLSM_INVALID, "no shared value has the identifier 0");
    return open_edit(db, slice(NULL, 0), shared, flags, out);
}

void plsm_edit_close(plsm_edit *edit)
{
    if (!edit)
        return;
    INVARIANT(edit->magic == EDIT_MAGIC);
    edit_reset(edit);
    buf_free(&edit->key);
    edit->magic = 0;
    mem_free(edit);
}

uint64_t plsm_edit_size(const plsm_edit *edit)
{
    return edit->size;
}

bool plsm_edit_dirty(const plsm_edit *edit)
{
    return edit->dirty;
}

void plsm_edit_set_expires(plsm_edit *edit, uint64_t expires_s)
{
    INVARIANT(edit->magic == EDIT_MAGIC);
    edit->lifetime = (struct lifetime){.timed = true, .expires_s = expires_s};
}

plsm_status plsm_edit_set_key(plsm_edit *edit, plsm_slice key)
{
    INVARIANT(edit->magic == EDIT_MAGIC);
    TRY(key_check(PLSM_NAMES, key));
    if (key.size > edit->key.size)
        TRY(buf_reserve(&edit->key, key.size - edit->key.size));
    edit->key.size = 0;
    edit->shared = 0;
    return buf_append(&edit->key, key.data, key.size);
}

void plsm_edit_set_shared(plsm_edit *edit, uint64_t shared)
{
    INVARIANT(edit->magic == EDIT_MAGIC && shared != 0);
    edit->shared = shared;
}

/* --- reading and writing ---------------------------------------------------------------------------------------- */

/* Reads a part of one piece that has no buffer, past the buffers. */
static plsm_status read_past(plsm_edit *edit, uint64_t index, size_t from, uint8_t *data, size_t size)
{
    bool found = false;
    TRY(edit_load(edit, index, &found));
    size_t there = found && edit->loaded.value.size > from ? edit->loaded.value.size - from : 0;
    if (there > size)
        there = size;
    if (there)
        memcpy(data, (const uint8_t *)edit->loaded.value.data + from, there);
    memset(data + there, 0, size - there);
    patch_read(edit, index, from, data, size);
    return PLSM_OK;
}

/* Reads a part of one piece. */
static plsm_status read_part(plsm_edit *edit, uint64_t offset, uint8_t *data, size_t size)
{
    uint64_t index = offset / EXTENT_SIZE, left = edit->size - index * EXTENT_SIZE;
    size_t from = (size_t)(offset % EXTENT_SIZE);
    struct edit_slot *slot = slot_find(edit, index);
    bool whole = from == 0 && size == (left < EXTENT_SIZE ? (size_t)left : EXTENT_SIZE);
    if (!slot && (whole || patch_has(edit, index)))
        return read_past(edit, index, from, data, size);
    if (!slot)
        TRY(edit_slot(edit, index, &slot));
    memcpy(data, slot->data + from, size);
    return PLSM_OK;
}

plsm_status plsm_edit_read(plsm_edit *edit, uint64_t offset, void *data, size_t size, size_t *got)
{
    INVARIANT(edit->magic == EDIT_MAGIC);
    *got = 0;
    if (offset >= edit->size)
        return PLSM_OK;
    if (size > edit->size - offset)
        size = (size_t)(edit->size - offset);
    if (!edit->large && size > 0)
        memcpy(data, edit->small.data + offset, size);
    for (size_t done = 0, part; edit->large && done < size; done += part) {
        size_t room = EXTENT_SIZE - (size_t)((offset + done) % EXTENT_SIZE);
        part = size - done < room ? size - done : room;
        TRY(read_part(edit, offset + done, (uint8_t *)data + done, part));
    }
    *got = size;
    return PLSM_OK;
}

/* Sets the size of a small value; new bytes are zeros. */
static plsm_status resize_small(plsm_edit *edit, size_t size)
{
    if (size > edit->small.size) {
        TRY(buf_reserve(&edit->small, size - edit->small.size));
        memset(edit->small.data + edit->small.size, 0, size - edit->small.size);
    }
    edit->small.size = size;
    edit->size = size;
    return PLSM_OK;
}

/* Writes a part of one piece. */
static plsm_status write_part(plsm_edit *edit, uint64_t offset, const uint8_t *data, size_t size)
{
    uint64_t index = offset / EXTENT_SIZE;
    if (size == EXTENT_SIZE) {
        TRY(edit_write_piece(edit, index, slice(data, size)));
        edit_drop_slots(edit, index, index + 1);
    } else {
        bool taken = false;
        struct edit_slot *slot = slot_find(edit, index);
        if (!slot)
            TRY(patch_write(edit, offset, data, size, &taken));
        if (!taken) {
            TRY(edit_slot(edit, index, &slot));
            memcpy(slot->data + offset % EXTENT_SIZE, data, size);
            slot->dirty = true;
        }
    }
    if (edit->size < offset + size)
        edit->size = offset + size;
    return PLSM_OK;
}

static plsm_status refuse_size(uint64_t size)
{
    return fail(PLSM_TOO_LARGE, "a value would have %llu bytes: the limit is %llu", (unsigned long long)size,
                (unsigned long long)PLSM_VALUE_MAX);
}

plsm_status plsm_edit_write(plsm_edit *edit, uint64_t offset, const void *data, size_t size)
{
    INVARIANT(edit->magic == EDIT_MAGIC);
    TRY(refuse_writes(edit->db));
    if (size == 0)
        return PLSM_OK;
    if (size > PLSM_VALUE_MAX || offset > PLSM_VALUE_MAX - size)
        return refuse_size(offset > UINT64_MAX - size ? UINT64_MAX : offset + size);
    if (!edit->large && offset + size <= PLSM_INLINE_MAX) {
        if (offset + size > edit->size)
            TRY(resize_small(edit, (size_t)(offset + size)));
        memcpy(edit->small.data + offset, data, size);
        edit->dirty = true;
        return PLSM_OK;
    }
    TRY(become_large(edit));
    edit->dirty = true; /* also when a part fails: those before it are written */
    for (size_t done = 0, part; done < size; done += part) {
        size_t room = EXTENT_SIZE - (size_t)((offset + done) % EXTENT_SIZE);
        part = size - done < room ? size - done : room;
        TRY(write_part(edit, offset + done, (const uint8_t *)data + done, part));
    }
    return PLSM_OK;
}

/* Cuts pieces off. The one that is cut through gets zeros behind its new end, so that growing again finds them. */
static plsm_status cut(plsm_edit *edit, uint64_t size)
{
    uint64_t end = extents_of(size);
    size_t kept = (size_t)(size % EXTENT_SIZE);
    if (kept)
        TRY(edit_zero(edit, end - 1, kept, EXTENT_SIZE));
    edit_drop_slots(edit, end, UINT64_MAX);
    ranges_remove(&edit->staging.written, end, UINT64_MAX);
    if (edit->base_limit > end)
        edit->base_limit = end;
    edit->size = size;
    return PLSM_OK;
}

plsm_status plsm_edit_truncate(plsm_edit *edit, uint64_t size)
{
    INVARIANT(edit->magic == EDIT_MAGIC);
    TRY(refuse_writes(edit->db));
    if (size > PLSM_VALUE_MAX)
        return refuse_size(size);
    if (size == edit->size)
        return PLSM_OK;
    if (!edit->large && size <= PLSM_INLINE_MAX)
        TRY(resize_small(edit, (size_t)size));
    else if (size == 0)
        edit_reset(edit); /* what comes now goes to a fresh id: the old value stays as it is until the commit */
    else if (size < edit->size)
        TRY(cut(edit, size));
    else
        TRY(become_large(edit));
    edit->size = size;
    edit->dirty = true;
    return PLSM_OK;
}
