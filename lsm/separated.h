/* Reading values that stand in value logs. */
#ifndef LSM_SEPARATED_H
#define LSM_SEPARATED_H

#include "lsm/version.h"

/* Readies the read of the value that an entry of `version` points to: all of *out but the record's memory, which must
 * have *size bytes. `key` is the entry's whole key. PLSM_CORRUPT: there is no such value log. */
plsm_status separated_find(const struct version *version, plsm_slice key, const struct entry *entry,
                           struct value_read *out, size_t *size);
/* Tells simulated I/O, where there is any, that these are read together. */
void separated_charge(const struct value_read *reads, unsigned count, enum simulation_kind kind);
/* Reads the value that an entry of `version` points to. The record is appended to `buf`; *value is inside. Errors as
 * value_read. */
plsm_status separated_read(const struct version *version, plsm_slice key, const struct entry *entry,
                           enum simulation_kind kind, struct buf *buf, plsm_slice *value);
/* Gives such an entry its value, as if it had not been separated; its key must be whole. With `no_value` nothing is
 * read: only the value's size is right then, and its data is NULL. */
plsm_status separated_resolve(const struct version *version, struct entry *entry, bool no_value,
                              enum simulation_kind kind, struct buf *buf);

#endif
