/* The directories of the names, counted: for each prefix of a key that ends in '/', how many live keys there are below
 * it, down to PREFIX_DEPTH_MAX. So whether a directory has anything in it is one look into a hash table.
 *
 * Prefixes are compared whole; the hash only finds them. One thread changes the table at a time; any number read it,
 * each inside an epoch of the domain that was given. Prefixes that nothing is below any more go in prefixes_trim. */
#ifndef LOG_HYBRID_PREFIXES_H
#define LOG_HYBRID_PREFIXES_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/epoch.h"
#include "base/slice.h"
#include "base/status.h"

enum { PREFIX_DEPTH_MAX = 64 }; /* slashes: deeper ones are not counted, so that one key cannot take much memory */

struct prefix_table;
struct hybrid_prefixes {
    _Atomic(struct prefix_table *) table;
    struct epoch *epoch;
};

struct prefix_count {
    uint64_t live;  /* keys below it */
    uint64_t timed; /* of them, those that expire */
};

plsm_status prefixes_create(struct hybrid_prefixes *prefixes, struct epoch *epoch); /* PLSM_NO_MEMORY */
void prefixes_destroy(struct hybrid_prefixes *prefixes); /* nobody may be reading; accepts a zeroed one */

/* Makes sure that prefixes_count of the same key cannot fail until the next prefixes_trim. PLSM_NO_MEMORY. */
plsm_status prefixes_reserve(struct hybrid_prefixes *prefixes, plsm_slice key);
/* Before the reservations of a batch that makes up to `more` prefixes: makes the table larger where it is getting full,
 * and drops the prefixes that nothing is below. PLSM_NO_MEMORY. */
plsm_status prefixes_trim(struct hybrid_prefixes *prefixes, uint64_t more);
/* Adds to the counts of all prefixes of a key. False: one of them is not counted, or of nothing, and was left out. */
bool prefixes_count(struct hybrid_prefixes *prefixes, plsm_slice key, int live, int timed);
/* Of a prefix that ends in '/'; false: it is too deep to be counted. */
bool prefixes_get(const struct hybrid_prefixes *prefixes, plsm_slice prefix, struct prefix_count *out);
/* Calls `each` for every prefix that something is below, while nobody changes them. */
void prefixes_each(const struct hybrid_prefixes *prefixes,
                   void (*each)(void *arg, plsm_slice prefix, struct prefix_count count), void *arg);
uint64_t prefixes_bytes(const struct hybrid_prefixes *prefixes); /* of memory */

#endif
