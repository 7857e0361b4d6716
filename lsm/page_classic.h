/* Data pages in the classic layout, that of LevelDB's blocks: keys delta-coded against the key before, whole keys at
 * restart points, binary search over these and a walk from there. index=classic writes it, so that the packed layout
 * (page.h) and what is learned over it can be compared with it; every mode reads both. The layout, in bytes:
 *
 *    0       header as in page.h: span 1, prefix size 0, byte 15 is PAGE_CLASSIC
 *   16       the entries, one right behind the other, in key order, versions of one key newest first; each:
 *              varint  shared: bytes of its key that are those of the key before; 0 at a restart point
 *              -       an entry as in page.h; in the place of its key what follows the shared bytes
 *    -       zeros
 *   to 4096  u16 restart[(count + 15) / 16]: offsets of entries 0, 16, 32, ...
 *
 * An entry that is too large for one block stands alone in a packed unit. page.h has the functions that work on both
 * layouts; these here are what they come to, and a way to bring a page into the packed layout.
 *
 * Source: LevelDB, table/block_builder.cc and doc/table_format.md, for the idea; the entry's header is the packed
 * one's. */
#ifndef LSM_PAGE_CLASSIC_H
#define LSM_PAGE_CLASSIC_H

#include "lsm/page.h"

enum {
    PAGE_RESTART_INTERVAL = 16, /* entries from one restart point to the next, as in LevelDB */
    PAGE_EXPANDED_SIZE = PAGE_RESTART_INTERVAL * PAGE_SIZE,
};

/* All of these need a page that page_verify accepted. */

/* page_find, page_seek and page_compare for a classic page. What is known of a key is rebuilt and compared as a whole,
 * entry by entry. */
unsigned page_classic_find(const uint8_t *page, plsm_slice key, unsigned from, struct entry *entry);
unsigned page_classic_seek(const uint8_t *page, plsm_slice key);
int page_classic_compare(const uint8_t *page, unsigned slot, plsm_slice key);
/* The key of a slot, copied into `buffer`, which has PAGE_SIZE bytes. */
plsm_slice page_classic_key(const uint8_t *page, unsigned slot, uint8_t *buffer);

/* Writes the same entries, in the same slots, in the packed layout at `out`, which has PAGE_EXPANDED_SIZE bytes: for
 * cursors, so that they need to know one layout only. The result has no checksum, and its fingerprints are 0: it is for
 * all functions of page.h but page_verify and page_find. It always fits, and so do its offsets in 16 bits; the proof
 * stands in page_classic.c. */
void page_classic_expand(const uint8_t *page, uint8_t *out);

#endif
