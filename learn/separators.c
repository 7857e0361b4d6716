/* Front coding (incremental encoding, as in LevelDB's blocks), with the lengths of most separators in a single byte.
 *
 * Serialized list, little-endian:
 *    0  u16  format, 1
 *    2  u16  separators per group, 16
 *    4  u32  count
 *    8  u32  prefix size
 *   12       the prefix that all separators share and that is cut from them
 *        then each separator:
 *        u8   high half: bytes shared with the separator before, low half: bytes that follow; 15 in a half: 15 plus
 *             the varint below. The first of a group shares 0.
 *        varint if the high half is 15, varint if the low half is 15
 *        the bytes that follow */
#include <assert.h>

#include "base/alloc.h"
#include "base/error.h"
#include "learn/separators.h"

#include "base/banned.h"

enum { FORMAT = 1, HEADER_SIZE = 12, HALF_MAX = 15 };
static_assert(SEPARATOR_SIZE_MAX >= 8192 + 2, "the longest key with its keyspace byte and a zero must fit");

size_t separator_size(plsm_slice last, plsm_slice first)
{
    size_t common = slice_common(last, first);
    if (common == first.size)
        return last.size == first.size ? first.size + 1 : 0;
    if (common < last.size && ((const uint8_t *)last.data)[common] > ((const uint8_t *)first.data)[common])
        return 0;
    return common + 1;
}

static plsm_status append_coded(struct buf *out, size_t shared, const uint8_t *suffix, size_t suffix_size)
{
    TRY(buf_reserve(out, 1 + 2 * VARINT_SIZE_MAX + suffix_size));
    uint8_t *at = out->data + out->size;
    size_t high = shared < HALF_MAX ? shared : HALF_MAX, low = suffix_size < HALF_MAX ? suffix_size : HALF_MAX;
    *at++ = (uint8_t)(high << 4 | low);
    if (high == HALF_MAX)
        at = put_varint(at, shared - HALF_MAX);
    if (low == HALF_MAX)
        at = put_varint(at, suffix_size - HALF_MAX);
    if (suffix_size)
        memcpy(at, suffix, suffix_size);
    out->size = (size_t)(at + suffix_size - out->data);
    return PLSM_OK;
}

static bool decode_half(const uint8_t **at, const uint8_t *end, unsigned half, uint32_t *size)
{
    *size = half;
    if (half < HALF_MAX)
        return true;
    uint64_t more = 0;
    *at = get_varint(*at, end, &more);
    *size = (uint32_t)(HALF_MAX + more);
    return *at && more <= SEPARATOR_SIZE_MAX - HALF_MAX;
}

const uint8_t *separator_decode(const uint8_t *at, const uint8_t *end, unsigned in_group, struct separator *out)
{
    if (at >= end)
        return NULL;
    unsigned halves = *at++;
    if (!decode_half(&at, end, halves >> 4, &out->shared) || !decode_half(&at, end, halves & 15, &out->suffix_size) ||
        out->suffix_size > (size_t)(end - at) || out->shared + out->suffix_size > SEPARATOR_SIZE_MAX ||
        (in_group == 0 && out->shared != 0))
        return NULL;
    out->suffix = at;
    return at + out->suffix_size;
}

plsm_status separators_add(struct separators_builder *b, plsm_slice prefix, size_t size)
{
    if (size > SEPARATOR_SIZE_MAX)
        return fail(PLSM_INVALID, "separator %u: %zu bytes are too long", b->count, size);
    struct buf *previous = &b->previous;
    TRY(buf_reserve(previous, size));
    size_t kept = size < prefix.size ? size : prefix.size;
    size_t shared = slice_common(buf_slice(previous), slice(prefix.data, kept));
    if (shared == kept && size > kept && shared < previous->size && previous->data[shared] == 0)
        shared++; /* the zero byte behind it is shared as well */
    bool smaller = shared == size
                       ? previous->size > size
                       : shared < previous->size &&
                             previous->data[shared] > (shared < kept ? ((const uint8_t *)prefix.data)[shared] : 0);
    if (smaller)
        return fail(PLSM_INVALID, "separator %u: keys are not in order", b->count);
    if (kept > shared)
        memcpy(previous->data + shared, (const uint8_t *)prefix.data + shared, kept - shared);
    if (size > kept)
        previous->data[kept] = 0;
    TRY(append_coded(&b->coded, shared, previous->data + shared, size - shared));
    previous->size = size;
    b->common = b->count == 0 ? size : shared < b->common ? shared : b->common;
    b->count++;
    return PLSM_OK;
}

plsm_status separators_finish(const struct separators_builder *b, struct buf *out)
{
    struct buf whole = {0}; /* the separator at hand */
    plsm_status status = PLSM_OK;
    size_t cut = b->count ? b->common : 0;
    if ((status = buf_reserve(out, HEADER_SIZE + cut + b->coded.size)) || (status = buf_reserve(&whole, 1)))
        goto done;
    put_u16(out->data + out->size, FORMAT);
    put_u16(out->data + out->size + 2, SEPARATOR_GROUP);
    put_u32(out->data + out->size + 4, b->count);
    put_u32(out->data + out->size + 8, (uint32_t)cut);
    out->size += HEADER_SIZE;
    if ((status = buf_append(out, b->previous.data, cut)))
        goto done;
    const uint8_t *at = b->coded.data, *end = at + b->coded.size;
    for (uint32_t i = 0; i < b->count; i++) {
        struct separator s = {0};
        at = separator_decode(at, end, i ? 1 : 0, &s);
        INVARIANT(at && s.shared <= whole.size);
        whole.size = s.shared;
        if ((status = buf_append(&whole, s.suffix, s.suffix_size)))
            goto done;
        size_t from = i % SEPARATOR_GROUP ? s.shared : cut; /* the common prefix is shared by all but the first */
        if ((status = append_coded(out, from - cut, whole.data + from, whole.size - from)))
            goto done;
    }
done:
    buf_free(&whole);
    return status;
}

void separators_builder_free(struct separators_builder *b)
{
    buf_free(&b->coded);
    buf_free(&b->previous);
    *b = (struct separators_builder){0};
}

plsm_status separators_parse(plsm_slice bytes, struct separators *out)
{
    const uint8_t *at = bytes.data;
    *out = (struct separators){0};
    if (bytes.size < HEADER_SIZE)
        return fail(PLSM_CORRUPT, "separators: %zu bytes are less than the header", bytes.size);
    if (get_u16(at) != FORMAT || get_u16(at + 2) != SEPARATOR_GROUP)
        return fail(PLSM_CORRUPT, "separators: format %u with groups of %u is not known", get_u16(at), get_u16(at + 2));
    uint32_t count = get_u32(at + 4), prefix_size = get_u32(at + 8);
    /* Each takes a byte at least, so a count is bounded by the bytes there are and what is allocated for it too. */
    if (prefix_size > SEPARATOR_SIZE_MAX || prefix_size > bytes.size - HEADER_SIZE ||
        count > bytes.size - HEADER_SIZE - prefix_size)
        return fail(PLSM_CORRUPT, "separators: %u of them behind a prefix of %u bytes do not fit %zu bytes", count,
                    prefix_size, bytes.size);
    *out = (struct separators){.prefix = at + HEADER_SIZE,
                               .coded = at + HEADER_SIZE + prefix_size,
                               .end = at + bytes.size,
                               .count = count,
                               .prefix_size = prefix_size};
    return PLSM_OK;
}
