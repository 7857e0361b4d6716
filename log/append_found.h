/* What opening a store finds in its directory, and what it concludes from that: which segments count, what was lost in
 * a crash, and what only damage can have brought about. */
#ifndef LOG_APPEND_FOUND_H
#define LOG_APPEND_FOUND_H

#include "base/number_list.h"
#include "log/append_hint.h"

struct inventory {
    struct number_list segments, hints, temporary; /* the first two sorted */
    bool foreign;
};

/* What opening knows of a segment. */
struct found {
    struct segment *segment;
    struct hint hint;
    struct segment_scan scan;
    bool from_hint;
    bool merged; /* a merge wrote it */
    bool lost;   /* changes that were made before those in it are */
};

/* All take the `found` in the order of their numbers, and `replaced`, the numbers of those that others replace. */

/* A segment that was read, and that has a hint: it was closed cleanly once, so it must be whole. PLSM_CORRUPT. */
plsm_status found_check_hint(struct append *db, const struct found *f);
/* The newest segment tells which others there were, and so do hints. `newest_hint`: the highest number of one that was
 * there before the segments were listed. PLSM_CORRUPT, PLSM_NO_MEMORY. */
plsm_status found_check_missing(const struct append *db, const struct found *found, size_t count,
                                const struct inventory *inventory, const struct number_list *replaced,
                                uint64_t newest_hint);
/* Sets `lost`. PLSM_CORRUPT: something is lost in front of what was synced; PLSM_NO_MEMORY. */
plsm_status found_mark_lost(struct found *found, size_t count, const struct number_list *replaced);
/* The last one of those that were written to must have what merges went by. Behind found_mark_lost. PLSM_CORRUPT. */
plsm_status found_check_merged(const struct found *found, size_t count, const struct number_list *replaced);
/* Sets the state of segments of which nobody knows that their close is on the disk. */
void found_mark_unsure(struct found *found, size_t count, const struct inventory *inventory);

#endif
