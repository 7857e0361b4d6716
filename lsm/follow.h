/* policy=auto: which policy a store follows, by what is asked of it.
 *
 * The operations since the last look, and half of what the looks before it saw, are priced by the cost model (cost.h)
 * under each policy. A change is dear, since most of the store is written anew for it, so it comes slowly: a look is
 * taken when a quarter as many operations were counted as the store has entries, and another policy is taken up when
 * two looks in a row found it a tenth cheaper. The other options of the tree stay as they are. Nothing of this is kept
 * on disk: an opened store goes on with the policy that its runs look like. */
#ifndef LSM_FOLLOW_H
#define LSM_FOLLOW_H

#include "lsm/compaction.h"
#include "lsm/cost.h"

/* What has been counted, as running totals. */
struct follow_totals {
    uint64_t puts, lookups, found, scans, scan_entries;
};

struct follow {
    bool on;                 /* the option says so */
    struct follow_totals at; /* at the last look */
    double puts, present, absent, scans, scan_entries; /* seen by it, older ones for less */
    enum lsm_policy wanted;  /* what that look found cheapest */
    uint64_t changes;        /* of the policy */
};

/* The policy whose next compaction of this version reads least, of several such the first of leveled, lazy, tiered:
 * that of whoever wrote it, mostly. Pure but for memory: PLSM_NO_MEMORY. */
plsm_status follow_first(const struct version *version, const struct lsm_options *options, uint64_t now_s,
                         enum lsm_policy *out);
/* Whether enough was counted since the last look: at least FOLLOW_OPS_LEAST operations, a step of a scan being one, and
 * a quarter of `entries`. Counters that were set back count as they stand. Pure. */
enum { FOLLOW_OPS_LEAST = 20000 };
bool follow_due(const struct follow *follow, const struct follow_totals *now, uint64_t entries);
/* A look: takes in what was counted; returns the policy to follow from here on. `entries` and `bytes` of the store are
 * above 0. Pure. Example: leveled, 1 M entries of 116 bytes, buffers of 1 MiB, size_ratio 10, and only puts: leveled at
 * the first look, tiered at the second. */
enum lsm_policy follow_look(struct follow *follow, const struct follow_totals *now, const struct lsm_options *options,
                            uint64_t entries, uint64_t bytes);

#endif
