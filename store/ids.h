/* Identifiers that are given once and never again; see ids.c. */
#ifndef STORE_IDS_H
#define STORE_IDS_H

#include "base/sync.h"

struct ids {
    mutex lock;
    uint64_t next, end; /* what may be given without another reservation: [next, end) */
};

void ids_init(struct ids *ids);
void ids_destroy(struct ids *ids);

#endif
