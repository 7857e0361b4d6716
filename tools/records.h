/* Writing entries to stdout as records, for scan and dump. */
#ifndef TOOLS_RECORDS_H
#define TOOLS_RECORDS_H

#include "tools/tool.h"

struct records {
    plsm *db;
    bool null;      /* KEY NUL VALUE NUL instead of KEY tab VALUE newline with escapes */
    bool shown;     /* on a terminal: see text_escape_shown */
    bool keys_only; /* no value and no separator before it */
    struct buf text;
    uint64_t bytes; /* of keys and values written so far */
};

/* Writes the entry where `it` stands; values of any size, large ones piece by piece. *stopped is set when stdout
 * takes no more: end then, it is no error of the store. PLSM_INVALID: the entry holds a NUL and `null` is set. */
plsm_status records_write(struct records *records, const plsm_iterator *it, bool *stopped);
/* Writes a large value alone, piece by piece, behind what records->text holds. *gone: it has expired meanwhile, nothing
 * was written and the text is empty. */
plsm_status records_write_large(struct records *records, plsm_slice key, uint64_t size, bool *stopped, bool *gone);
void records_free(struct records *records);

#endif
