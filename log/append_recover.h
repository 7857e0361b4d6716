/* What opening an append log finds. See append_recover.c. */
#ifndef LOG_APPEND_RECOVER_H
#define LOG_APPEND_RECOVER_H

#include "log/append_found.h"

/* Reads the inventory, which is zero before the first use, anew. PLSM_NO_STORE: there is no such directory;
 * PLSM_CORRUPT, PLSM_NO_MEMORY, PLSM_IO. */
plsm_status append_inventory_read(const struct append *db, struct inventory *out);
void append_inventory_free(struct inventory *inventory);

/* Reads what there is, into db->segments and the directory: what counts no more is among the garbage then, and what was
 * not closed cleanly is SEGMENT_TORN. Beside a writer the inventory is read anew. PLSM_CORRUPT, PLSM_VERSION, PLSM_IO,
 * PLSM_NO_MEMORY. */
plsm_status append_recover(struct append *db, struct inventory *inventory);

#endif
