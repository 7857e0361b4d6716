/* Serialized form, little-endian; searched as it is:
 *    0  u16  format, 2
 *    2  u16  0
 *    4  u32  pages, at least 1
 *    8  u32  offset[pages + 1]: where the fence of each page begins in the bytes that follow, and where the last ends
 *       -    the fences, each a page's first key
 *
 * Where a page begins with more versions of the key that the page before ends with, its fence is that key and a zero
 * byte, the smallest string above it: then a search for the key goes to the page on which its versions begin. */
#include "base/alloc.h"
#include "base/error.h"
#include "learn/plain_fences.h"

#include "base/banned.h"

enum { FORMAT = 2, HEADER_SIZE = 8 };

/* --- building --- */

void plain_fences_builder_free(struct plain_fences_builder *b)
{
    buf_free(&b->keys);
    buf_free(&b->offsets);
    *b = (struct plain_fences_builder){0};
}

plsm_status plain_fences_add(struct plain_fences_builder *b, plsm_slice last, plsm_slice first)
{
    int order = b->pages ? slice_compare(last, first) : -1;
    if (order > 0)
        return fail(PLSM_INVALID, "fences: page %u starts with a key below the last key before it", b->pages);
    if (b->keys.size + first.size > INT32_MAX - b->offsets.size)
        return fail(PLSM_TOO_LARGE, "fences: more than 2 GiB of keys in front of page %u", b->pages);
    TRY(buf_append_u32(&b->offsets, (uint32_t)b->keys.size));
    TRY(buf_append(&b->keys, first.data, first.size));
    if (order == 0)
        TRY(buf_append(&b->keys, "", 1));
    b->pages++;
    return PLSM_OK;
}

plsm_status plain_fences_finish(const struct plain_fences_builder *b, struct buf *out)
{
    INVARIANT(b->pages > 0);
    TRY(buf_reserve(out, HEADER_SIZE + b->offsets.size + sizeof(uint32_t) + b->keys.size));
    put_u16(out->data + out->size, FORMAT);
    put_u16(out->data + out->size + 2, 0);
    put_u32(out->data + out->size + 4, b->pages);
    out->size += HEADER_SIZE;
    TRY(buf_append(out, b->offsets.data, b->offsets.size));
    TRY(buf_append_u32(out, (uint32_t)b->keys.size));
    return buf_append(out, b->keys.data, b->keys.size);
}

/* --- reading --- */

bool plain_fences_recognise(plsm_slice bytes)
{
    return bytes.size >= HEADER_SIZE && get_u16(bytes.data) == FORMAT;
}

static inline plsm_slice fence(const struct plain_fences *f, uint32_t page)
{
    return slice(f->keys + f->offsets[page], f->offsets[page + 1] - f->offsets[page]);
}

/* Whether all fences lie inside the bytes and in order, on which find relies. */
static bool sound(const struct plain_fences *f, size_t keys_size)
{
    if (f->offsets[0] != 0 || f->offsets[f->pages] != keys_size)
        return false;
    for (uint32_t page = 0; page < f->pages; page++)
        if (f->offsets[page] > f->offsets[page + 1])
            return false;
    for (uint32_t page = 1; page < f->pages; page++)
        if (slice_compare(fence(f, page - 1), fence(f, page)) > 0)
            return false;
    return true;
}

plsm_status plain_fences_open(plsm_slice bytes, struct plain_fences *out)
{
    *out = (struct plain_fences){0};
    if (!plain_fences_recognise(bytes) || get_u16((const uint8_t *)bytes.data + 2) != 0)
        return fail(PLSM_CORRUPT, "fences: not of the plain format");
    uint32_t pages = get_u32((const uint8_t *)bytes.data + 4);
    size_t fixed = HEADER_SIZE + ((size_t)pages + 1) * sizeof(uint32_t);
    if (pages == 0 || fixed > bytes.size)
        return fail(PLSM_CORRUPT, "fences: those of %u pages do not fit %zu bytes", pages, bytes.size);
    struct plain_fences f = {.bytes = mem_alloc(bytes.size), .pages = pages, .bytes_size = bytes.size};
    if (!f.bytes)
        return fail(PLSM_NO_MEMORY, "fences: no memory for %u pages", pages);
    memcpy(f.bytes, bytes.data, bytes.size);
    f.offsets = (const uint32_t *)(const void *)(f.bytes + HEADER_SIZE);
    f.keys = f.bytes + fixed;
    if (!sound(&f, bytes.size - fixed)) {
        plain_fences_close(&f);
        return fail(PLSM_CORRUPT, "fences: malformed or out of order");
    }
    *out = f;
    return PLSM_OK;
}

void plain_fences_close(struct plain_fences *f)
{
    mem_free(f->bytes);
    *f = (struct plain_fences){0};
}

uint32_t plain_fences_find(const struct plain_fences *f, plsm_slice key)
{
    uint32_t low = 0, high = f->pages - 1; /* the answer is within [low, high] */
    while (low < high) {
        uint32_t middle = high - (high - low) / 2;
        if (slice_compare(fence(f, middle), key) <= 0)
            low = middle;
        else
            high = middle - 1;
    }
    return low;
}
