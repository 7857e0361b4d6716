/* What the two layouts of a page share: how an entry is coded, and the steps of a builder. Private to page.c and
 * page_classic.c. */
#ifndef LSM_PAGE_PRIVATE_H
#define LSM_PAGE_PRIVATE_H

#include "lsm/page.h"

/* Reads an entry at `at` (format in page.h; its key is what is stored of it); returns the byte behind its key and meta,
 * or NULL when they do not end before `end`. The value is not looked at. */
const uint8_t *page_entry_parse(const uint8_t *at, const uint8_t *end, struct entry *entry);
/* Whether an entry keeps the limits on which its users rely (buffers for keys have LSM_KEY_MAX bytes); `shared` bytes
 * of its key are stored elsewhere. */
bool page_entry_sound(const struct entry *entry, size_t shared);
/* Whether the value, which is there whole, is a pointer where it should be one. */
bool page_value_sound(const struct entry *entry);
/* Bytes of an entry beside its key and the key's size. */
static inline size_t page_entry_other(const struct entry *entry)
{
    return 1 + (entry->kind == BATCH_DELETE ? 0 : varint_size(entry->value.size) + entry->value.size) +
           (entry->meta.size ? 1 + entry->meta.size : 0) + (entry->seq ? varint_size(entry->seq) : 0) +
           (entry->expires_s ? varint_size(entry->expires_s) : 0);
}
/* Writes a staged entry at `to`, without the first `shared` bytes of its key; returns the byte behind it. */
uint8_t *page_entry_write(uint8_t *to, const struct page_staged *staged, size_t shared);

/* By how many bytes an entry makes a classic page larger that holds what the builder has; `shared` as in page.h. */
size_t page_classic_growth(const struct page_builder *b, const struct entry *entry, size_t shared);
/* Writes the builder's entries as a classic page of PAGE_SIZE bytes, into which they fit. */
void page_classic_write(const struct page_builder *b, uint64_t seed, uint8_t *page);
/* Checks the structure of a classic page whose header and checksum are right. PLSM_CORRUPT. */
plsm_status page_classic_verify(const uint8_t *page);

#endif
