/* Who may write extents of an id: at most one open edit at a time. See extents.c for what this is needed for. */
#ifndef STORE_OWNERS_H
#define STORE_OWNERS_H

#include "base/sync.h"
#include "store/value.h"

struct owner;

enum { OWNER_BUCKETS = 64 };

struct owners {
    mutex lock; /* guards everything below */
    struct owner *buckets[OWNER_BUCKETS];
    uint64_t count;
};

void owners_init(struct owners *owners);
void owners_destroy(struct owners *owners);

/* Takes the id for the caller. *taken is false when somebody has it, or when pieces of an abandoned generation could
 * not be removed from it. */
plsm_status owners_take(struct owners *owners, uint64_t id, bool *taken);
/* Gives it back. `tainted`: pieces of an unpublished generation are still there, so the id must not be written in place
 * until the next open has removed them. Returns true when the id was retired meanwhile: the caller then deletes the
 * extents of *retired. */
bool owners_release(struct owners *owners, uint64_t id, bool tainted, struct reference *retired);
/* Tells that an id is no longer referred to. True: nobody has it open, the caller deletes its extents now; false: its
 * owner will, on release. */
bool owners_retire(struct owners *owners, const struct reference *reference);
/* How many ids are held at this moment. */
uint64_t owners_count(struct owners *owners);

#endif
