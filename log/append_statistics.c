/* Statistics of the append log. Names are stable; those it shares with the LSM tree mean the same. */
#include "log/append_db.h"
#include "base/banned.h"

struct sums {
    uint64_t segments, unsealed, hinted, bytes, live, tombstones;
};

static void sum_up(struct append *db, struct sums *out)
{
    *out = (struct sums){0};
    mutex_lock(&db->lock);
    for (size_t i = 0; i < db->segment_count; i++) {
        const struct segment *s = db->segments[i];
        bool sealed = s->state == SEGMENT_SEALED;
        out->segments++;
        out->unsealed += !sealed;
        out->hinted += sealed && s->hinted;
        out->bytes += atomic_load(&s->size);
        out->live += atomic_load(&s->live);
        out->tombstones += sealed ? s->tombstones : 0;
    }
    mutex_unlock(&db->lock);
}

void append_statistics(struct append *db,
                       void (*each)(void *arg, const char *name, bool is_real, uint64_t integer, double real),
                       void *arg)
{
    struct sums sums;
    sum_up(db, &sums);
    uint64_t read_bytes = append_counted(db, APPEND_READ_BYTES), reads = append_counted(db, APPEND_READS);
    uint64_t missed = append_counted(db, APPEND_GETS_MISSED), asked; /* in this order: those are among these */
    asked = append_counted(db, APPEND_GETS);
    uint64_t written = atomic_load(&db->write_bytes), user = atomic_load(&db->user_bytes);
    uint64_t memory = (uint64_t)atomic_load(&db->account.bytes), keys = key_tree_count(db->tree);
    mutex_lock(&db->directory);
    uint64_t snapshots = db->snapshots, versions = db->chained_count;
    mutex_unlock(&db->directory);
    const struct {
        const char *name;
        uint64_t value;
    } integers[] = {
        {"store.keys", keys},
        {"store.bytes_live", sums.live},
        {"store.bytes_disk", sums.bytes},
        {"mem.bytes", memory},
        {"io.reads", reads},
        {"io.read_bytes", read_bytes},
        {"io.writes", atomic_load(&db->write_calls)},
        {"io.write_bytes", written},
        {"io.syncs", atomic_load(&db->syncs)},
        {"io.gets", asked},
        {"io.gets_found", asked > missed ? asked - missed : 0},
        {"io.scans", append_counted(db, APPEND_SCANS)},
        {"io.scan_entries", append_counted(db, APPEND_SCAN_ENTRIES)},
        {"log.changes", atomic_load(&db->puts)},
        {"log.user_bytes", user},
        {"log.segments", sums.segments},
        {"log.segments_unsealed", sums.unsealed},
        {"log.hints", sums.hinted},
        {"log.hints_used", atomic_load(&db->hints_used)},
        {"log.hints_missing", atomic_load(&db->hints_missing)},
        {"log.hints_damaged", atomic_load(&db->hints_damaged)},
        {"log.hints_foreign", atomic_load(&db->hints_foreign)},
        {"log.segments_scanned", atomic_load(&db->segments_scanned)},
        {"log.bytes_dead", sums.bytes > sums.live ? sums.bytes - sums.live : 0},
        {"log.bytes_tombstones", sums.tombstones},
        {"log.merges", atomic_load(&db->merges)},
        {"log.merged_bytes", atomic_load(&db->merged_bytes)},
        {"log.expired", atomic_load(&db->expired)},
        {"log.snapshots", snapshots},
        {"log.keys_versioned", versions},
        {"log.stall_ms", atomic_load(&db->stall_ns) / 1000000},
        {"log.open_us", db->open_ns / 1000},
    };
    for (size_t i = 0; i < sizeof integers / sizeof *integers; i++)
        each(arg, integers[i].name, false, integers[i].value, 0);
    each(arg, "log.write_amplification", true, 0, user ? (double)written / (double)user : 0);
    each(arg, "log.space_amplification", true, 0, sums.live ? (double)sums.bytes / (double)sums.live : 0);
    each(arg, "log.memory_per_key", true, 0, keys ? (double)memory / (double)keys : 0);
}

void append_statistics_reset(struct append *db)
{
    for (unsigned i = 0; i < APPEND_STRIPES; i++)
        for (unsigned k = 0; k < APPEND_COUNTERS; k++)
            atomic_store(&db->stripes[i].values[k], 0);
    _Atomic uint64_t *const counters[] = {&db->puts,         &db->user_bytes, &db->write_calls,
                                          &db->write_bytes,  &db->syncs,      &db->merges,
                                          &db->merged_bytes, &db->expired,    &db->stall_ns};
    for (size_t i = 0; i < sizeof counters / sizeof *counters; i++)
        atomic_store(counters[i], 0);
}
