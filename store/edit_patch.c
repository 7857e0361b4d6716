/* Patches: whole pages written into pieces of a large value, kept until there are many of them.
 *
 * A program that writes a page here and a page there would else have a piece of 128 KiB read and written for each of
 * them. Pages of one piece are gathered instead and written with it once: at the commit, or when all edits of the store
 * have PATCH_PAGES_MAX of them.
 *
 * A piece has a buffer or a patch, never both: writes go to the buffer where there is one, and a new buffer takes the
 * patch over. */
#include "base/alloc.h"
#include "store/edit.h"

#include "base/banned.h"

enum { PATCH_PAGES_MAX = PLSM_EDITS_MEMORY / PATCH_PAGE };

/* The place of the patch of a piece, or where it belongs. */
static size_t place(const struct patches *patches, uint64_t index)
{
    size_t low = 0, high = patches->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (patches->items[middle]->index < index)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static struct patch *find(const struct patches *patches, uint64_t index)
{
    size_t at = place(patches, index);
    return at < patches->count && patches->items[at]->index == index ? patches->items[at] : NULL;
}

bool patch_has(const plsm_edit *edit, uint64_t index)
{
    return find(&edit->patches, index) != NULL;
}

bool patch_is_whole(const plsm_edit *edit, uint64_t index)
{
    const struct patch *patch = find(&edit->patches, index);
    return patch && patch->present == UINT32_MAX;
}

uint64_t patch_next(const plsm_edit *edit, uint64_t from)
{
    size_t at = place(&edit->patches, from);
    return at < edit->patches.count ? edit->patches.items[at]->index : UINT64_MAX;
}

/* Frees and removes the patches at [from, to) of the list. */
static void drop(plsm_edit *edit, size_t from, size_t to)
{
    struct patches *patches = &edit->patches;
    for (size_t i = from; i < to; i++) {
        struct patch *patch = patches->items[i];
        atomic_fetch_sub_explicit(&edit->db->patch_pages, (uint64_t)__builtin_popcount(patch->present),
                                  memory_order_relaxed);
        for (size_t page = 0; page < PATCH_PAGES; page++)
            mem_free(patch->pages[page]);
        mem_free(patch);
    }
    if (to > from)
        memmove(patches->items + from, patches->items + to, (patches->count - to) * sizeof *patches->items);
    patches->count -= to - from;
}

void patches_drop(plsm_edit *edit, uint64_t from, uint64_t to)
{
    if (edit->patches.count > 0)
        drop(edit, place(&edit->patches, from), place(&edit->patches, to));
}

void patches_free(plsm_edit *edit)
{
    patches_drop(edit, 0, UINT64_MAX);
    mem_free(edit->patches.items);
    edit->patches = (struct patches){0};
}

/* Copies the pages that meet [from, from + size) of their piece to `data`, which has the bytes of that range. */
static void lay(const struct patch *patch, size_t from, uint8_t *data, size_t size)
{
    for (size_t page = from / PATCH_PAGE; page * PATCH_PAGE < from + size; page++) {
        size_t start = page * PATCH_PAGE, end = start + PATCH_PAGE;
        if (!patch->pages[page])
            continue;
        size_t first = start > from ? start : from, last = end < from + size ? end : from + size;
        memcpy(data + (first - from), patch->pages[page] + (first - start), last - first);
    }
}

void patch_read(const plsm_edit *edit, uint64_t index, size_t from, uint8_t *data, size_t size)
{
    const struct patch *patch = find(&edit->patches, index);
    if (patch)
        lay(patch, from, data, size);
}

bool patch_take(plsm_edit *edit, uint64_t index, uint8_t *data)
{
    struct patch *patch = find(&edit->patches, index);
    if (!patch)
        return false;
    lay(patch, 0, data, EXTENT_SIZE);
    patches_drop(edit, index, index + 1);
    return true;
}

plsm_status patches_apply(plsm_edit *edit)
{
    struct patches *patches = &edit->patches;
    plsm_status status = PLSM_OK;
    size_t done = 0;
    if (patches->count == 0)
        return PLSM_OK;
    uint8_t *data = mem_alloc(EXTENT_SIZE);
    if (!data)
        return fail(PLSM_NO_MEMORY, "no memory for a buffer of %d bytes", EXTENT_SIZE);
    for (; done < patches->count; done++) {
        const struct patch *patch = patches->items[done];
        status = patch->present == UINT32_MAX ? PLSM_OK : edit_fill(edit, patch->index, data);
        if (status != PLSM_OK)
            break;
        lay(patch, 0, data, EXTENT_SIZE);
        status = edit_write_buffer(edit, patch->index, data);
        if (status != PLSM_OK)
            break;
    }
    drop(edit, 0, done);
    mem_free(data);
    return status;
}

/* Finds or makes the patch of a piece. NULL: no memory. */
static struct patch *get(struct patches *patches, uint64_t index)
{
    size_t at = place(patches, index);
    if (at < patches->count && patches->items[at]->index == index)
        return patches->items[at];
    if (patches->count == patches->capacity) {
        size_t capacity = patches->capacity ? 2 * patches->capacity : 16;
        struct patch **items = mem_realloc(patches->items, capacity * sizeof *items);
        if (!items)
            return NULL;
        patches->items = items;
        patches->capacity = capacity;
    }
    struct patch *patch = mem_zalloc(sizeof *patch);
    if (!patch)
        return NULL;
    patch->index = index;
    memmove(patches->items + at + 1, patches->items + at, (patches->count - at) * sizeof *patches->items);
    patches->items[at] = patch;
    patches->count++;
    return patch;
}

/* Makes sure that `count` pages more may be kept. */
static plsm_status make_room(plsm_edit *edit, uint64_t count, bool *room)
{
    *room = atomic_load_explicit(&edit->db->patch_pages, memory_order_relaxed) + count <= PATCH_PAGES_MAX;
    if (*room || edit->patches.count == 0)
        return PLSM_OK;
    TRY(patches_apply(edit));
    *room = atomic_load_explicit(&edit->db->patch_pages, memory_order_relaxed) + count <= PATCH_PAGES_MAX;
    return PLSM_OK;
}

plsm_status patch_write(plsm_edit *edit, uint64_t offset, const uint8_t *data, size_t size, bool *taken)
{
    *taken = false;
    if (offset % PATCH_PAGE || size % PATCH_PAGE || offset + size > edit->size)
        return PLSM_OK;
    TRY(make_room(edit, size / PATCH_PAGE, taken));
    struct patch *patch = *taken ? get(&edit->patches, offset / EXTENT_SIZE) : NULL;
    size_t page = offset % EXTENT_SIZE / PATCH_PAGE;
    *taken = patch != NULL;
    for (size_t done = 0; *taken && done < size; done += PATCH_PAGE, page++) {
        if (!patch->pages[page]) {
            patch->pages[page] = mem_alloc(PATCH_PAGE);
            *taken = patch->pages[page] != NULL; /* else a buffer takes over what there is, and the rest */
            if (!*taken)
                break;
            patch->present |= 1u << page;
            atomic_fetch_add_explicit(&edit->db->patch_pages, 1, memory_order_relaxed);
        }
        memcpy(patch->pages[page], data + done, PATCH_PAGE);
    }
    return PLSM_OK;
}
