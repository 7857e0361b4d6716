/* Groups of writes. See write_group.h. */
#include "lsm/write_group.h"

#include "base/batch.h"
#include "base/error.h"
#include "base/banned.h"

enum {
    AHEAD = 16, /* changes that are on their way into the memtable at a time */
    PACE = 4,   /* each takes a step when so many more have been added: long enough for memory to answer */
};

struct pending {
    struct batch_change change;
    struct memtable_approach approach;
};

static void add_change(struct write_group *g, const struct batch_change *change)
{
    if (__builtin_expect(change->kind == BATCH_DELETE_RANGE, 0)) {
        g->seq += g->begun;
        memtable_add_range(g->table, change->key, change->value, g->seq, g->first);
    } else {
        struct entry entry = {
            .key = change->key, .meta = change->meta, .value = change->value, .seq = g->seq, .kind = change->kind};
        memtable_add(g->table, &entry);
    }
    g->begun = true;
}

void write_group_add(struct write_group *g, plsm_slice batch)
{
    const uint8_t *at = batch.data, *end = at + batch.size;
    struct pending ring[AHEAD];
    size_t read = 0, added = 0;
    do {
        while (read < added + AHEAD && batch_next(&at, end, &ring[read % AHEAD].change))
            ring[read++ % AHEAD].approach = (struct memtable_approach){0};
        for (size_t i = added + AHEAD; read > added + 1 && i > added; i -= PACE)
            if (i - 1 < read)
                memtable_approach(g->table, ring[(i - 1) % AHEAD].change.key, &ring[(i - 1) % AHEAD].approach);
        if (added < read)
            add_change(g, &ring[added++ % AHEAD].change);
    } while (added < read);
    INVARIANT(at == end);
}
