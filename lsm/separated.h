/* Reading values that stand in value logs. */
#ifndef LSM_SEPARATED_H
#define LSM_SEPARATED_H

#include "lsm/db.h"

/* Readies the read of the value that an entry points to, in `log` (NULL: the entry points to none that there is): all
 * of *out but the record's memory, which must have *size bytes. `key` is the entry's whole key. PLSM_CORRUPT: there is
 * no such value log. */
plsm_status separated_find(struct value_log *log, plsm_slice key, const struct entry *entry, struct value_read *out,
                           size_t *size);
/* Tells simulated I/O, where there is any, that these are read together. */
void separated_charge(const struct value_read *reads, unsigned count, enum simulation_kind kind);
/* Reads the value that an entry points to, in `log` as above. The record is appended to `buf`; *value is inside. Errors
 * as value_read. */
plsm_status separated_read(struct value_log *log, plsm_slice key, const struct entry *entry, enum simulation_kind kind,
                           struct buf *buf, plsm_slice *value);
/* Gives such an entry of a view its value, as if it had not been separated; its key must be whole. With `no_value`
 * nothing is read: only the value's size is right then, and its data is NULL. */
plsm_status separated_resolve(const struct view *view, struct entry *entry, bool no_value, enum simulation_kind kind,
                              struct buf *buf);
/* The value log that an entry of a view points into; NULL: there is none. */
static inline struct value_log *separated_log(const struct view *view, const struct entry *entry)
{
    return view_value_log(view, value_pointer_of(entry).log);
}

#endif
