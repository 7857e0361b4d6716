/* Units of compressed runs. The forms stand in unit.h. */
#include "lsm/unit.h"

#include "base/alloc.h"
#include "base/checksum.h"
#include "base/error.h"
#include "lsm/lsm.h"
#include "base/banned.h"

_Static_assert(1 << UNIT_ALIGN_SHIFT == UNIT_ALIGN, "offsets are counted in what units are aligned to");
_Static_assert(UNIT_BLOCKS_MAX *PAGE_SIZE > LSM_VALUE_MAX + LSM_KEY_MAX + LSM_META_MAX + 2 * PAGE_SIZE,
               "the largest entry has a unit");

enum { CHECKSUM = sizeof(uint64_t) };

static const struct page_header *header(const uint8_t *unit)
{
    return (const struct page_header *)unit;
}

/* Where the stream's sizes stand. */
static size_t stream_offset(const uint8_t *unit)
{
    return unit_is_split(unit) ? PAGE_SIZE : PAGE_HEADER;
}

/* --- packing ------------------------------------------------------------------------------------------------------ */

/* Appends a stream and the zeros behind it. */
static plsm_status put_stream(struct codec_context *context, enum codec *codec,
                              const struct codec_dictionary *dictionary, plsm_slice bytes, struct buf *out)
{
    const uint8_t *data = bytes.data;
    size_t raw = bytes.size, packed = 0, start = out->size;
    while (raw > 0 && data[raw - 1] == 0)
        raw--;
    TRY(buf_reserve(out, UNIT_STREAM + raw + UNIT_ALIGN));
    uint8_t *to = out->data + start + UNIT_STREAM;
    /* A sixteenth less at least: what is only a little smaller is not worth unpacking. */
    if (*codec != CODEC_NONE)
        TRY(codec_compress(context, *codec, dictionary, slice(data, raw), to, raw - raw / 16, &packed));
    if (packed == 0) {
        *codec = CODEC_NONE;
        packed = raw;
        memcpy(to, data, raw);
    }
    put_u32(out->data + start, (uint32_t)packed);
    put_u32(out->data + start + 4, (uint32_t)raw);
    out->size = start + UNIT_STREAM + packed;
    while ((out->size - start) % UNIT_ALIGN)
        out->data[out->size++] = 0;
    return PLSM_OK;
}

plsm_status unit_pack(struct codec_context *context, enum codec *codec, const struct codec_dictionary *dictionary,
                      plsm_slice page, size_t whole_max, uint64_t seed, struct buf *out)
{
    const uint8_t *data = page.data;
    size_t start = out->size, front = page.size <= whole_max ? PAGE_HEADER : PAGE_SIZE;
    bool split = front == PAGE_SIZE;
    INVARIANT(whole_max <= UNIT_PAGE_MAX && page.size <= (size_t)UNIT_BLOCKS_MAX * PAGE_SIZE);
    TRY(buf_append(out, data, front));
    TRY(put_stream(context, codec, dictionary, slice(data + front, page.size - front), out));
    uint8_t *unit = out->data + start;
    unit[offsetof(struct page_header, codec)] = (uint8_t)((unsigned)*codec | (split ? UNIT_SPLIT : 0));
    if (split)
        put_u64(unit + PAGE_HEADER, checksum(unit + PAGE_SIZE, out->size - start - PAGE_SIZE, ~seed));
    size_t end = split ? PAGE_SIZE : out->size - start;
    put_u64(unit, checksum(unit + CHECKSUM, end - CHECKSUM, seed));
    return PLSM_OK;
}

/* --- unpacking ---------------------------------------------------------------------------------------------------- */

plsm_status unit_check(const uint8_t *unit, size_t size, uint64_t seed, bool checksummed, size_t *page_size)
{
    if (size < PAGE_HEADER + UNIT_STREAM || size > UNIT_BYTES_MAX)
        return PLSM_CORRUPT;
    const struct page_header *h = header(unit);
    bool split = unit_is_split(unit);
    if (split && size < PAGE_SIZE + UNIT_STREAM)
        return PLSM_CORRUPT;
    size_t end = split ? PAGE_SIZE : size;
    if (checksummed && h->checksum != checksum(unit + CHECKSUM, end - CHECKSUM, seed))
        return PLSM_CORRUPT;
    if (checksummed && split && get_u64(unit + PAGE_HEADER) != checksum(unit + PAGE_SIZE, size - PAGE_SIZE, ~seed))
        return PLSM_CORRUPT;
    size_t at = stream_offset(unit), room = (size_t)h->span * PAGE_SIZE;
    size_t front = split ? PAGE_SIZE : PAGE_HEADER;
    if (room == 0 || room > (split ? UNIT_BLOCKS_MAX * PAGE_SIZE : UNIT_PAGE_MAX) || (split && h->span < 2))
        return PLSM_CORRUPT;
    if (get_u32(unit + at) > size - at - UNIT_STREAM || get_u32(unit + at + 4) > room - front)
        return PLSM_CORRUPT;
    *page_size = room;
    return PLSM_OK;
}

plsm_status unit_unpack(struct codec_context *context, const struct codec_dictionary *dictionary, const uint8_t *unit,
                        size_t size, uint8_t *page, size_t page_size)
{
    size_t at = stream_offset(unit), packed = get_u32(unit + at), raw = get_u32(unit + at + 4);
    INVARIANT(packed <= size - at - UNIT_STREAM && at + raw <= page_size); /* unit_check looked */
    enum codec codec = (enum codec)(header(unit)->codec & ~UNIT_SPLIT);
    memcpy(page, unit, at);
    page[offsetof(struct page_header, codec)] = CODEC_NONE;
    TRY(codec_decompress(context, codec, dictionary, slice(unit + at + UNIT_STREAM, packed), page + at, raw));
    memset(page + at + raw, 0, page_size - at - raw);
    return page_verify_unpacked(page, page_size);
}

plsm_status unit_head(uint8_t *block, uint64_t seed, bool checksummed, bool *complete)
{
    const struct page_header *h = header(block);
    if (checksummed && h->checksum != checksum(block + CHECKSUM, PAGE_SIZE - CHECKSUM, seed))
        return PLSM_CORRUPT;
    if (!unit_is_split(block) || h->span < 2 || h->span > UNIT_BLOCKS_MAX)
        return PLSM_CORRUPT;
    block[offsetof(struct page_header, codec)] = CODEC_NONE;
    return page_verify_head(block, (size_t)h->span * PAGE_SIZE, seed, false, complete);
}
