/* The traditional index of a run: the smallest separator in front of each page, front-coded, and over them an array of
 * 8-byte prefixes that is searched first. Strong on purpose: it is what the learned index is compared with. */
#ifndef LEARN_FENCES_H
#define LEARN_FENCES_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"

/* --- building: one call per page, in order --- */
struct fences_builder;
struct fences_builder *fences_builder_create(void); /* NULL: no memory */
/* Of plain fences (learn/plain_fences.h), for index=classic; fences_open tells the kinds apart. */
struct fences_builder *fences_builder_create_plain(void); /* NULL: no memory */
void fences_builder_destroy(struct fences_builder *b); /* accepts NULL */
/* A new page starts with key `first`; `last` is the last key of the page before it (empty for page 0). The shortest
 * separator s with last < s <= first is kept. The keys are copied as far as needed. */
plsm_status fences_builder_add(struct fences_builder *b, plsm_slice last, plsm_slice first);
/* Appends the serialized index to `out`. */
plsm_status fences_builder_finish(struct fences_builder *b, struct buf *out);

/* --- reading --- */
struct fences;
/* Parses; copies what it needs (the bytes may go). PLSM_CORRUPT when they are malformed. */
plsm_status fences_open(plsm_slice bytes, struct fences **out);
void fences_close(struct fences *f); /* accepts NULL */
/* The last page whose separator is <= key; 0 when there is none. A key that is in the run is on that page, or its first
 * version is (later versions may continue on the next pages). Safe from any thread. */
uint32_t fences_find(const struct fences *f, plsm_slice key);
/* About where on a page that fences_find gave for the key it is: in 1 / FENCES_WITHIN of its keys, as far as they are
 * spread evenly between the separators in front and behind (the step of an interpolation search). A hint for what to
 * bring towards the cache. False: they do not tell. */
enum { FENCES_WITHIN = 256 };
bool fences_within(const struct fences *f, plsm_slice key, uint32_t page, unsigned *within);
uint32_t fences_pages(const struct fences *f);
bool fences_are_plain(const struct fences *f); /* learn/plain_fences.h */
size_t fences_memory(const struct fences *f); /* bytes it occupies */
/* About as many, of fences that are not plain, by the size of their serialized form: behind that, eight bytes per page,
 * and an eighth of these above them. */
static inline size_t fences_memory_expected(uint32_t pages, size_t serialized_size)
{
    return serialized_size + (size_t)pages * 9;
}

#endif
