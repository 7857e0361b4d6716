/* Groups of writes. See write_group.h. */
#include "lsm/write_group.h"

#include "base/batch.h"
#include "base/error.h"
#include "base/banned.h"

void write_group_add(struct write_group *g, plsm_slice batch)
{
    const uint8_t *at = batch.data, *end = at + batch.size;
    struct batch_change change;
    while (batch_next(&at, end, &change)) {
        if (__builtin_expect(change.kind == BATCH_DELETE_RANGE, 0)) {
            g->seq += g->begun;
            memtable_add_range(g->table, change.key, change.value, g->seq, g->first);
        } else {
            struct entry entry = {
                .key = change.key, .meta = change.meta, .value = change.value, .seq = g->seq, .kind = change.kind};
            memtable_add(g->table, &entry);
        }
        g->begun = true;
    }
    INVARIANT(at == end);
}
