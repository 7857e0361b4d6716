/* Values that stay in the write-ahead log: large ones are written once.
 *
 * A large value costs its bytes twice when it goes into the log first and into a value log at the flush. Here the
 * record of the log holds it as a record of a value log (value_log.c), the memtable holds a pointer to it, and the
 * flush makes the log itself a value log: it is cut to its length, synced, and gets a second name, values-NUMBER (a
 * hard link), which the MANIFEST names together with the runs that point into it. So the bytes of large values are
 * written once, and never copied in memory. (WiscKey, FAST 2016, section 3.3.2, has the same idea from the other side:
 * its value log needs no write-ahead log.)
 *
 * Nothing about durability changes: value and pointer are one record of the log, with its checksum and its place in the
 * order of syncs; replaying takes the values out of it as if they had not been marked. A log that this process did not
 * write is never made a value log, since nobody knows how its syncs ended: what it holds is flushed into value logs of
 * its own. Nor is a log of which most would be garbage at once, or where the file system cannot give a file a second
 * name: its values are copied. */
#ifndef LSM_KEPT_H
#define LSM_KEPT_H

#include "lsm/db.h"

/* Values of at least so many bytes stay in the log; SIZE_MAX: none does. 16 times separate_above, which is where
 * writing them twice begins to cost more than a read from a file where one from memory would have done, but not more
 * than 64 KiB; never less than separate_above. None where value logs are compressed: what is in a log is not. Pure.
 * Examples: separate_above 4 KiB: 64 KiB; 16 bytes: 256; 32 KiB: 64 KiB; 1 MiB: 1 MiB; 0: none. */
size_t kept_above(const struct lsm_options *options);
/* Whether a log of `bytes`, of which `live` belong to records that runs would point to, is worth to become a value log:
 * not when it would be collected at once, and at least half of it. Pure.
 * Examples, garbage_ppm 200,000: 80 of 100 bytes: yes, 79: no; 1,000,000: 50: yes, 49: no. */
bool kept_is_worth(uint64_t live, uint64_t bytes, uint32_t garbage_ppm);

/* What a record of the log is made of when values stay in it. */
struct kept_record {
    struct buf parts; /* plsm_slice: into the batches and into `heads` */
    struct buf heads; /* what stands in front of each value */
    uint64_t values, value_bytes; /* how many stay, and their bytes */
};
/* Makes the parts of the next record of `log` from batches: all values of `above` bytes and more stay in it. Memory of
 * *out is used again. PLSM_NO_MEMORY. */
plsm_status kept_record_make(const struct reclog_writer *log, size_t above, const plsm_slice *batches, size_t count,
                             struct kept_record *out);
static inline const plsm_slice *kept_record_parts(const struct kept_record *record, size_t *count)
{
    *count = record->parts.size / sizeof(plsm_slice);
    return (const plsm_slice *)(const void *)record->parts.data;
}
void kept_record_free(struct kept_record *record);

/* Makes the log of a memtable that is to be flushed a value log, if it is worth it and possible: it is added to the
 * edit, and *number is what runs are to call it; 0: its values must be copied. Errors as reclog_settle, and
 * PLSM_NO_MEMORY. */
plsm_status kept_take_over(struct lsm *db, const struct memlog *memlog, struct edit *edit, uint64_t *number);

#endif
