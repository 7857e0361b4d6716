/* Looking inside: statistics, and the check of everything that can be checked. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "base/alloc.h"
#include "log/hybrid_private.h"

#include "base/banned.h"

enum {
    PROBLEMS_MAX = 100,
    PROGRESS_RECORDS = 1 << 14,
    ROUNDS = 3, /* through what is appended meanwhile, before writers wait */
};

/* --- checking ----------------------------------------------------------------------------------------------------- */

struct checking {
    struct hybrid *db;
    void (*report)(void *arg, const char *line);
    void (*progress)(void *arg, uint64_t done, uint64_t all);
    void *arg;
    uint64_t begin, done, all, records, problems;
    uint64_t live, names, names_timed; /* counted again, with the directories: */
    struct hybrid_prefixes prefixes;
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

/* As count_record does when the store is opened. */
static plsm_status count_again(struct checking *c, const struct hybrid_record *record)
{
    struct record_sizes sizes = record_sizes(record);
    plsm_slice key = record_key(record);
    bool was_live = replaces_address(record->replaces) >= c->begin, is_live = sizes.kind != BATCH_DELETE;
    bool was_timed = was_live && record->replaces & REPLACES_TIMED, is_timed = is_live && sizes.timed;
    int live = (int)is_live - (int)was_live, timed = (int)is_timed - (int)was_timed;
    c->live += (uint64_t)(int64_t)live;
    if (!is_name(key) || (live == 0 && timed == 0))
        return PLSM_OK;
    c->names += (uint64_t)(int64_t)live;
    c->names_timed += (uint64_t)(int64_t)timed;
    if (live > 0) {
        TRY(prefixes_trim(&c->prefixes, PREFIX_DEPTH_MAX));
        TRY(prefixes_reserve(&c->prefixes, key));
    }
    (void)prefixes_count(&c->prefixes, key, live, timed); /* what is missing is told by comparing */
    return PLSM_OK;
}

/* Every record must be found by its key, or a newer one of the same key. */
static plsm_status check_record(void *arg, const struct hybrid_record *record, uint64_t address)
{
    struct checking *c = arg;
    struct found found;
    plsm_slice key = record_key(record);
    TRY(count_again(c, record));
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

static void compare_count(struct checking *c, const char *what, uint64_t there, uint64_t kept)
{
    if (there != kept)
        problem(c, "%s: %" PRIu64 " %s are counted, but the log holds %" PRIu64, c->db->path, kept, what, there);
}

/* Of a directory, in the store's counts and in those that were made again. */
static void compare_directory(struct checking *c, plsm_slice prefix, struct prefix_count kept,
                              struct prefix_count there)
{
    char name[64] = "";
    for (size_t i = 1; i < prefix.size && i < sizeof name; i++) { /* behind the keyspace */
        uint8_t byte = ((const uint8_t *)prefix.data)[i];
        name[i - 1] = byte >= ' ' && byte < 0x7f ? (char)byte : '?';
    }
    if (kept.live != there.live || kept.timed != there.timed)
        problem(c,
                "%s: below %s %" PRIu64 " keys are counted, of which %" PRIu64 " expire, but the log holds %" PRIu64
                " and %" PRIu64,
                c->db->path, name, kept.live, kept.timed, there.live, there.timed);
}

static void compare_kept(void *arg, plsm_slice prefix, struct prefix_count kept)
{
    struct checking *c = arg;
    struct prefix_count there;
    (void)prefixes_get(&c->prefixes, prefix, &there);
    compare_directory(c, prefix, kept, there);
}

static void compare_missing(void *arg, plsm_slice prefix, struct prefix_count there)
{
    struct checking *c = arg;
    struct prefix_count kept;
    (void)prefixes_get(&c->db->prefixes, prefix, &kept);
    if (kept.live == 0) /* others were compared already */
        compare_directory(c, prefix, kept, there);
}

/* Under write_lock. */
static void compare_counts(struct checking *c)
{
    const struct hybrid *db = c->db;
    epoch_enter(db->epoch);
    compare_count(c, "entries", c->live, counted(&db->live));
    compare_count(c, "names", c->names, counted(&db->names));
    compare_count(c, "names that expire", c->names_timed, counted(&db->names_timed));
    prefixes_each(&db->prefixes, compare_kept, c);
    prefixes_each(&c->prefixes, compare_missing, c);
    epoch_exit(db->epoch);
}

/* Reads the log through while writers go on, then what they have appended meanwhile; the last of it, which is little,
 * and the counts while they wait, so that all is of one moment. */
static plsm_status check_log(struct checking *c)
{
    struct hybrid *db = c->db;
    uint64_t from = c->begin;
    plsm_status status = PLSM_OK;
    for (unsigned i = 0; i < ROUNDS && status == PLSM_OK; i++) {
        write_lock_enter(db);
        uint64_t tail = address_of(&db->tail);
        make_read_only(db, tail);
        write_lock_exit(db);
        status = hybrid_scan(db, from, tail, check_record, c);
        from = tail;
    }
    write_lock_enter(db);
    if (status == PLSM_OK)
        status = hybrid_scan(db, from, address_of(&db->tail), check_record, c);
    if (status == PLSM_OK)
        compare_counts(c);
    write_lock_exit(db);
    return status;
}

plsm_status hybrid_check(struct hybrid *db, void (*report)(void *arg, const char *line),
                         void (*progress)(void *arg, uint64_t done, uint64_t all), void *arg)
{
    struct checking c = {.db = db, .report = report, .progress = progress, .arg = arg};
    plsm_status status = PLSM_OK;
    mutex_lock(&db->checkpoint_lock); /* no segment goes */
    if (!db->options.read_only)
        status = take_recovery_point(db, false);
    c.begin = address_of(&db->begin);
    c.all = counted(&db->log_bytes);
    if (status == PLSM_OK || status == PLSM_READ_ONLY)
        status = prefixes_create(&c.prefixes, db->epoch);
    if (status == PLSM_OK)
        status = check_log(&c);
    if (status == PLSM_CORRUPT)
        problem(&c, "%s", plsm_message());
    mutex_unlock(&db->checkpoint_lock);
    prefixes_destroy(&c.prefixes);
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

static void tell_memory(struct hybrid *db, const struct telling *t)
{
    uint64_t hits = counted(&db->counters.cache_hits), misses = counted(&db->counters.cache_misses);
    uint64_t cached = counted(&db->cache.bytes), directories, others, names;
    write_lock_enter(db); /* the writer's own */
    uint64_t log = db->pages_end - address_of(&db->head), index = index_bytes(&db->index), used = db->index.used;
    directories = prefixes_bytes(&db->prefixes);
    others = key_order_bytes(&db->others);
    names = key_order_bytes(&db->name_order.keys);
    write_lock_exit(db);
    tell(t, "mem.budget", db->options.memory_of_all ? db->options.memory : 0);
    uint64_t listings = listings_bytes(db);
    tell(t, "mem.bytes", log + index + cached + directories + others + names + listings);
    tell(t, "hybrid.memory.log", log);
    tell(t, "hybrid.memory.index", index);
    tell(t, "hybrid.memory.directories", directories);
    tell(t, "hybrid.memory.other_keys", others);
    tell(t, "hybrid.memory.names_in_order", names);
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
    tell(&t, "hybrid.returned_pages", counted(&c->returned_pages));
    tell(&t, "io.reads", counted(&c->reads));
    tell(&t, "io.read_bytes", counted(&c->read_bytes));
    tell(&t, "io.writes", counted(&c->writes));
    tell(&t, "io.write_bytes", counted(&c->write_bytes));
    tell(&t, "hybrid.changes.in_place", counted(&db->in_place));
    tell(&t, "hybrid.changes.appended", counted(&db->appended));
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
    atomic_store_explicit(&db->in_place, 0, memory_order_relaxed);
    atomic_store_explicit(&db->appended, 0, memory_order_relaxed);
}
