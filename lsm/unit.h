/* A unit of a compressed run as it stands in the file: one page (page.h), packed.
 *
 * Units stand one behind the other at multiples of UNIT_ALIGN bytes, so that one lookup still is one read, of fewer
 * bytes. There are two forms. Most units hold a page of up to UNIT_PAGE_MAX bytes, packed as a whole:
 *
 *    0  -    the header as in page.h; its checksum is that of all bytes of the unit behind it, seeded with the run's
 *            salt xor the unit's offset in the file; codec (bits 0-6, enum codec) says how the stream is packed
 *   16  u32  bytes of the stream
 *   20  u32  bytes that it unpacks to: those of the page behind its header up to the last that is not 0
 *   24  -    the stream
 *    -  -    zeros to the end of the unit
 *
 * An entry that is too large for a page of the run stands alone in a unit that is split (bit 7 of codec): the first
 * block of its page stands as it is, so that it can be read alone, and is checked as in page.h, save that bytes 16 to
 * 23 are the checksum of the unit's bytes behind the block; there, from 4,096 on, follow size, unpacked size, stream
 * and zeros as above, for the other blocks.
 *
 * What does not get smaller is kept as it is (codec 0). */
#ifndef LSM_UNIT_H
#define LSM_UNIT_H

#include "base/codec.h"
#include "lsm/page.h"

enum {
    UNIT_ALIGN = 8, /* a run has u32 offsets: 32 GiB of it, of which 16 are used */
    UNIT_ALIGN_SHIFT = 3,
    UNIT_STREAM = 8,                                         /* bytes of a stream's two sizes */
    UNIT_PAGE_MAX = 32 << 10,                                /* of a page that is packed as a whole */
    UNIT_WHOLE_MAX = UNIT_PAGE_MAX + UNIT_STREAM,            /* such a unit's bytes; a larger one is split */
    UNIT_BLOCKS_MAX = 272,                                   /* of the largest entry: LSM_VALUE_MAX, LSM_KEY_MAX */
    UNIT_BYTES_MAX = UNIT_BLOCKS_MAX * PAGE_SIZE + UNIT_STREAM,
    UNIT_SPLIT = 0x80,
};

/* Appends the unit of a finished page to `out`, whose next byte will stand at an offset that gives `seed`. `whole_max`
 * are the most bytes of a page that is packed as a whole. *codec is what packs it in the end: the one that is asked
 * for, or none where that saves nothing. PLSM_NO_MEMORY. */
plsm_status unit_pack(struct codec_context *context, enum codec *codec, const struct codec_dictionary *dictionary,
                      plsm_slice page, size_t whole_max, uint64_t seed, struct buf *out);

/* Checks the checksums of a unit (when `checksummed`) and that what it says of itself can be; *page_size: bytes of its
 * page. PLSM_CORRUPT without a message. */
plsm_status unit_check(const uint8_t *unit, size_t size, uint64_t seed, bool checksummed, size_t *page_size);
/* Unpacks a unit that unit_check accepted into *page_size bytes at `page`, and verifies the page. `dictionary` is that
 * of its run, or NULL. PLSM_CORRUPT without a message, PLSM_UNSUPPORTED, PLSM_NO_MEMORY. */
plsm_status unit_unpack(struct codec_context *context, const struct codec_dictionary *dictionary, const uint8_t *unit,
                        size_t size, uint8_t *page, size_t page_size);
/* Verifies the first block of a split unit where it stands, as page_verify_head does, and makes it that of a page.
 * PLSM_CORRUPT without a message. */
plsm_status unit_head(uint8_t *block, uint64_t seed, bool checksummed, bool *complete);
static inline bool unit_is_split(const uint8_t *unit)
{
    return ((const struct page_header *)unit)->codec & UNIT_SPLIT;
}

#endif
