/* Packing the pages of one run that is being written: which dictionary, if any, and pages into units (unit.h). */
#ifndef LSM_PACKER_H
#define LSM_PACKER_H

#include "lsm/run.h"

struct packer;

/* Where finished units go. */
struct packer_target {
    struct buf *out;
    uint64_t written; /* offset in the file at which `out` will stand */
    uint64_t salt;
    struct buf *offsets; /* gets a u32 for each unit: its offset, in UNIT_ALIGN */
};

/* For a run of a level group whose codec is not CODEC_NONE. PLSM_NO_MEMORY. */
plsm_status packer_create(const struct run_context *context, enum lsm_group group, struct packer **out);
void packer_destroy(struct packer *p); /* accepts NULL */
/* How large the builder may make pages. */
size_t packer_page_max(const struct packer *p);
/* Takes a finished page (page_builder_finish); `keyspace` is the first byte of its first key. Pages wait until it is
 * settled which dictionary serves. PLSM_NO_MEMORY, PLSM_UNSUPPORTED (the run grows above what offsets can name). */
plsm_status packer_page(struct packer *p, plsm_slice page, uint8_t keyspace, const struct packer_target *target);
/* The last page has been taken. */
plsm_status packer_finish(struct packer *p, const struct packer_target *target);
uint64_t packer_waiting(const struct packer *p); /* bytes of pages that wait */

/* Afterwards: bytes of all pages, without what is 0 at their ends; a bit (1 << enum codec) for each codec in use; the
 * dictionary, empty without one. */
struct packer_sums {
    uint64_t raw_bytes;
    uint32_t codecs;
    plsm_slice dictionary;
};
void packer_get_sums(const struct packer *p, struct packer_sums *out);

#endif
