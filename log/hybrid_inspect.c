/* Looking inside: statistics, and the check of everything that can be checked. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "base/alloc.h"
#include "log/hybrid_private.h"

#include "base/banned.h"

enum { PROBLEMS_MAX = 100, PROGRESS_RECORDS = 1 << 14 };

/* --- checking ----------------------------------------------------------------------------------------------------- */

struct checking {
    struct hybrid *db;
    void (*report)(void *arg, const char *line);
    void (*progress)(void *arg, uint64_t done, uint64_t all);
    void *arg;
    uint64_t begin, done, all, records, live, problems;
};

static void problem(struct checking *c, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void problem(struct checking *c, const char *format, ...)
{
    char line[1024];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    if (c->report && c->problems < PROBLEMS_MAX)
        c->report(c->arg, line);
    c->problems++;
}

/* Every record must be found by its key, or a newer one of the same key. */
static plsm_status check_record(void *arg, const struct hybrid_record *record, uint64_t address)
{
    struct checking *c = arg;
    struct found found;
    plsm_slice key = record_key(record);
    bool was_live = replaces_address(record->replaces) >= c->begin;
    c->live += record_sizes(record).kind != BATCH_DELETE;
    c->live -= was_live;
    c->done += record_size(record);
    if (c->progress && c->records++ % PROGRESS_RECORDS == 0)
        c->progress(c->arg, c->done < c->all ? c->done : c->all, c->all);
    if (record->previous >= address || replaces_address(record->replaces) >= address)
        problem(c, "%s: the record at address %" PRIu64 " of the log follows a later one", c->db->path, address);
    if (record_sizes(record).kind == BATCH_DELETE)
        return PLSM_OK; /* nothing need lead to it */
    TRY(find_record(c->db, moment_now(c->db), key_hash(key.data, key.size), key, &found));
    if (!found.record || found.address < address)
        problem(c, "%s: the index does not lead to the record at address %" PRIu64 " of the log", c->db->path, address);
    return PLSM_OK;
}

plsm_status hybrid_check(struct hybrid *db, void (*report)(void *arg, const char *line),
                         void (*progress)(void *arg, uint64_t done, uint64_t all), void *arg)
{
    struct checking c = {.db = db, .report = report, .progress = progress, .arg = arg};
    plsm_status status = PLSM_OK;
    mutex_lock(&db->checkpoint_lock); /* no segment goes */
    if (!db->options.read_only)
        status = take_recovery_point(db, false);
    write_lock_enter(db);
    uint64_t tail = address_of(&db->tail), live = counted(&db->live);
    c.begin = address_of(&db->begin);
    c.all = counted(&db->log_bytes);
    make_read_only(db, tail);
    write_lock_exit(db);
    if (status == PLSM_OK || status == PLSM_READ_ONLY)
        status = hybrid_scan(db, c.begin, tail, check_record, &c);
    if (status == PLSM_CORRUPT)
        problem(&c, "%s", plsm_message());
    else if (status == PLSM_OK && c.live != live)
        problem(&c, "%s: the log holds %" PRIu64 " entries, but %" PRIu64 " are counted", db->path, c.live, live);
    mutex_unlock(&db->checkpoint_lock);
    if (progress)
        progress(arg, c.all, c.all);
    if (status == PLSM_OK && c.problems)
        status = fail(PLSM_CORRUPT, "%s: %" PRIu64 " problems were found", db->path, c.problems);
    return status;
}

/* --- statistics --------------------------------------------------------------------------------------------------- */

typedef void each_statistic(void *arg, const char *name, bool is_real, uint64_t integer, double real);

struct telling {
    each_statistic *each;
    void *arg;
};

static void tell(const struct telling *t, const char *name, uint64_t value)
{
    t->each(t->arg, name, false, value, 0.0);
}

static void tell_ratio(const struct telling *t, const char *name, uint64_t over, uint64_t under)
{
    t->each(t->arg, name, true, 0, under > 0 ? (double)over / (double)under : 0.0);
}

static void tell_log(const struct hybrid *db, const struct telling *t)
{
    uint64_t segments = 0, disk = 0;
    epoch_enter(db->epoch);
    const struct hybrid_segments *list = hybrid_segments_of(db);
    for (size_t i = 0; i < list->count; i++, segments++)
        disk += hybrid_segment_offset(list->at[i], hybrid_segment_end(list->at[i]));
    epoch_exit(db->epoch);
    uint64_t all = counted(&db->log_bytes), live = counted(&db->live_bytes);
    tell(t, "store.keys", counted(&db->live));
    tell(t, "store.bytes_live", live);
    tell(t, "store.bytes_disk", disk);
    tell(t, "store.files", segments);
    tell(t, "hybrid.segments", segments);
    tell(t, "hybrid.log_bytes", all);
    tell(t, "hybrid.garbage_bytes", garbage_bytes(db));
    tell(t, "hybrid.address.begin", address_of(&db->begin));
    tell(t, "hybrid.address.head", address_of(&db->head));
    tell(t, "hybrid.address.read_only", address_of(&db->read_only));
    tell(t, "hybrid.address.tail", address_of(&db->tail));
    tell_ratio(t, "hybrid.space_amplification", all, live);
}

static void tell_memory(const struct hybrid *db, const struct telling *t)
{
    uint64_t hits = counted(&db->counters.cache_hits), misses = counted(&db->counters.cache_misses);
    uint64_t cached = counted(&db->cache.bytes), directories, others;
    mutex_lock(&((struct hybrid *)(uintptr_t)db)->write_lock); /* the writer's own */
    uint64_t log = db->pages_end - address_of(&db->head), index = index_bytes(&db->index), used = db->index.used;
    directories = prefixes_bytes(&db->prefixes);
    others = other_memory(db) - index - directories;
    mutex_unlock(&((struct hybrid *)(uintptr_t)db)->write_lock);
    tell(t, "mem.budget", db->options.memory_of_all ? db->options.memory : 0);
    uint64_t listings = listings_bytes((struct hybrid *)(uintptr_t)db);
    tell(t, "mem.bytes", log + index + cached + directories + others + listings);
    tell(t, "hybrid.memory.log", log);
    tell(t, "hybrid.memory.index", index);
    tell(t, "hybrid.memory.directories", directories);
    tell(t, "hybrid.memory.other_keys", others);
    tell(t, "hybrid.memory.listings", listings);
    tell(t, "hybrid.index.entries", used);
    tell(t, "cache.hits", hits);
    tell(t, "cache.misses", misses);
    tell_ratio(t, "cache.hit_rate", hits, hits + misses);
    tell(t, "cache.bytes", cached);
}

void hybrid_statistics(struct hybrid *db, each_statistic *each, void *arg)
{
    const struct telling t = {each, arg};
    const struct hybrid_counters *c = &db->counters;
    tell_log(db, &t);
    tell_memory(db, &t);
    tell(&t, "io.reads", counted(&c->reads));
    tell(&t, "io.read_bytes", counted(&c->read_bytes));
    tell(&t, "io.writes", counted(&c->writes));
    tell(&t, "io.write_bytes", counted(&c->write_bytes));
    tell(&t, "hybrid.changes.in_place", counted(&c->in_place));
    tell(&t, "hybrid.changes.appended", counted(&c->appended));
    tell(&t, "hybrid.changes.deletions", counted(&c->deletions));
    tell(&t, "hybrid.unsaved_bytes", counted(&db->unsaved_bytes));
    tell(&t, "hybrid.recovery_points", counted(&c->recovery_points));
    tell(&t, "hybrid.recovery_points_ms", counted(&c->recovery_point_ns) / 1000000);
    tell(&t, "hybrid.compaction.segments", counted(&c->compacted_segments));
    tell(&t, "hybrid.compaction.records", counted(&c->copied_records));
    tell(&t, "hybrid.compaction.bytes", counted(&c->copied_bytes));
    tell(&t, "hybrid.sorted_listings", counted(&c->sorted_listings));
    tell(&t, "hybrid.sorted_names", counted(&c->sorted_names));
    tell(&t, "hybrid.write_wait_us_max", counted(&c->write_wait_ns_max) / 1000);
}

void hybrid_statistics_reset(struct hybrid *db)
{
    _Atomic uint64_t *all = (_Atomic uint64_t *)(void *)&db->counters;
    for (size_t i = 0; i < sizeof db->counters / sizeof *all; i++)
        atomic_store_explicit(&all[i], 0, memory_order_relaxed);
}
