/* What lookups of one key and of many share. */
#ifndef LSM_READ_H
#define LSM_READ_H

#include "lsm/db.h"

/* Copies what was found into the caller's value. PLSM_NO_MEMORY. */
plsm_status read_copy_out(const struct entry *entry, bool no_value, struct lsm_value *out);
/* The run of an ordered level that may hold the key, whose key_head is `head`; NULL when there is none. */
struct run *read_run_of_level(const struct level *level, const struct run_question *q, uint64_t head);
/* A key was in no run: some are kept as samples. */
static inline void read_note_miss(struct lsm *db, plsm_slice key)
{
    if (db->samples && samples_want_miss(db->samples))
        samples_miss(db->samples, key);
}

#endif
