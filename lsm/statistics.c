/* Statistics: what the tree is and what it did, under the names of the project. All are measured but for two, which are
 * estimated from what is counted of runs and memtables, as nothing is read for them: keys, and live bytes.
 *
 * The keys. From the oldest to the newest, what a memtable, a run of level 0 or a level adds to the keys below it: each
 * of its deletions takes one of them away, as long as there are any, and each of its puts is a key more. So two things
 * are counted wrong: a put of a key that is there below counts once more, and the deletion of one that is not takes
 * another one away; a deletion of a range takes none. Both are right again once the levels in question are merged, and
 * the estimate is exact where there is one sorted run without them, or one memtable alone. Pieces of large values are
 * entries as all others are.
 *
 * Live bytes are those of all puts, by the share of keys among these. */
#include "lsm/db.h"

#include <stdio.h>

#include "base/banned.h"

typedef void each_statistic(void *arg, const char *name, bool is_real, uint64_t integer, double real);

struct telling {
    struct lsm *db;
    const struct view *view;
    each_statistic *each;
    void *arg;
};

static void tell(const struct telling *t, const char *name, uint64_t value)
{
    t->each(t->arg, name, false, value, 0.0);
}

static void tell_ratio(const struct telling *t, const char *name, double over, double under)
{
    t->each(t->arg, name, true, 0, under > 0 ? over / under : 0.0);
}

static uint64_t count(const struct telling *t, enum counter which)
{
    return counter_read(&t->db->counters, which);
}

/* Sums over all runs. */
struct totals {
    uint64_t files, bytes, entries, expiring, ranges, filter_keys, filter_bytes;
    uint64_t index_bytes, index_entries, run_metadata_max, router_max, routers;
    uint64_t loaded, with_model;
    uint64_t largest_bytes; /* of the largest sorted run: what the others take is over and above */
    uint64_t values_files, values_bytes, values_garbage_bytes;
    uint64_t packed_runs, packed_raw, packed_stored; /* of the loaded ones: compressed; bytes of their pages */
    uint64_t memberships[MEMBERSHIP_KINDS];          /* files by what tells whether they may hold a key */
    struct young_runs_info young;
};

/* Memory of what is loaded of a run, and whether a model serves it. Inside an epoch bracket. */
static void add_run(struct totals *sum, const struct run *run)
{
    const struct run_facts *f = &run->facts;
    struct run_body *body = atomic_load_explicit(&((struct run *)run)->body, memory_order_acquire);
    sum->files++;
    sum->bytes += f->file_size;
    sum->entries += f->entries;
    sum->expiring += f->expiring;
    sum->ranges += f->ranges;
    if (!body)
        return;
    struct run_model *model = atomic_load_explicit(&body->model, memory_order_acquire);
    sum->loaded++;
    if (body->compressed) {
        sum->packed_runs++;
        sum->packed_raw += body->extension.raw_bytes;
        sum->packed_stored += body->footer.blocks[RUN_FENCES].offset - PAGE_SIZE; /* pages end where fences begin */
    }
    sum->with_model += model != NULL;
    sum->index_bytes += run_index_bytes(body);
    sum->index_entries += f->entries;
    sum->filter_bytes += run_membership_bytes(body);
    sum->filter_keys += f->filter_keys;
    const struct run_membership *membership = atomic_load_explicit(&body->membership, memory_order_acquire);
    if (membership && !membership->none)
        sum->memberships[membership->membership.kind]++;
    if (model && model->info.metadata_bytes > sum->run_metadata_max)
        sum->run_metadata_max = model->info.metadata_bytes;
}

static struct totals add_up(const struct telling *t)
{
    struct totals sum = {0};
    const struct version *version = t->view->version;
    for (unsigned level = 0; level < LSM_LEVELS; level++) {
        uint64_t router = version->levels[level].router ? router_bytes(version->levels[level].router) : 0;
        epoch_enter(t->db->epoch); /* models come and go */
        for (size_t i = 0; i < version->levels[level].count; i++)
            add_run(&sum, version->levels[level].runs[i]);
        epoch_exit(t->db->epoch);
        sum.routers += router;
        sum.router_max = router > sum.router_max ? router : sum.router_max;
    }
    if (t->db->young)
        young_runs_get_info(t->db->young, &sum.young);
    sum.filter_bytes += sum.young.bytes;
    sum.index_bytes += sum.routers;
    sum.largest_bytes = version_largest_bytes(version, true);
    sum.values_files = version->values_count;
    for (size_t i = 0; i < version->values_count; i++) {
        sum.values_bytes += version->values[i].log->file_size;
        sum.values_garbage_bytes += version_garbage_bytes(&version->values[i]);
    }
    return sum;
}

static void tell_levels(const struct telling *t)
{
    char name[64];
    for (unsigned level = 0; level < LSM_LEVELS; level++) {
        const struct level *l = &t->view->version->levels[level];
        uint64_t keys = 0;
        for (size_t i = 0; i < l->count; i++)
            keys += l->runs[i]->facts.entries;
        snprintf(name, sizeof name, "lsm.level.%u.files", level);
        tell(t, name, l->count);
        snprintf(name, sizeof name, "lsm.level.%u.keys", level);
        tell(t, name, keys);
        snprintf(name, sizeof name, "lsm.level.%u.bytes", level);
        tell(t, name, l->bytes);
        snprintf(name, sizeof name, "lsm.level.%u.found", level);
        tell(t, name, count(t, COUNT_FOUND + level));
    }
}

struct estimate {
    uint64_t keys, puts, bytes; /* so far; all puts, and their bytes */
};

static void estimate_add(struct estimate *e, uint64_t puts, uint64_t deletions)
{
    e->keys = (e->keys > deletions ? e->keys - deletions : 0) + puts;
    e->puts += puts;
}

/* Adds the runs [first, end) of a level, no two of which have a key in common. */
static void estimate_add_runs(struct estimate *e, const struct level *level, size_t first, size_t end)
{
    uint64_t puts = 0, deletions = 0;
    for (size_t i = first; i < end; i++) {
        const struct run_facts *f = &level->runs[i]->facts;
        puts += f->entries - f->deletions;
        deletions += f->deletions;
        e->bytes += f->value_bytes;
        if (f->entries > 0)
            e->bytes += (uint64_t)((double)f->key_bytes * (double)(f->entries - f->deletions) / (double)f->entries);
    }
    estimate_add(e, puts, deletions);
}

static void estimate_add_table(struct estimate *e, const struct memtable *table)
{
    struct memtable_keys keys = memtable_keys(table);
    estimate_add(e, keys.put, keys.deleted);
    e->bytes += keys.bytes;
}

static struct estimate estimate_keys(const struct view *view)
{
    struct estimate e = {0};
    const struct level *young = &view->version->levels[0];
    for (unsigned level = LSM_LEVELS - 1; level > 0; level--)
        estimate_add_runs(&e, &view->version->levels[level], 0, view->version->levels[level].count);
    for (size_t end = young->count, first = end; end > 0; end = first) { /* parts of one flush together */
        for (first = end - 1;
             first > 0 && young->runs[first - 1]->facts.seq_max == young->runs[end - 1]->facts.seq_max;)
            first--;
        estimate_add_runs(&e, young, first, end);
    }
    for (unsigned i = view->table_count; i-- > 0;)
        estimate_add_table(&e, view->tables[i]);
    return e;
}

static void tell_store(const struct telling *t, const struct totals *sum)
{
    struct estimate e = estimate_keys(t->view);
    uint64_t buffered = 0;
    for (unsigned i = 0; i < t->view->table_count; i++)
        buffered += memtable_bytes(t->view->tables[i]);
    tell(t, "store.keys", e.keys);
    tell(t, "store.bytes_live", e.puts ? (uint64_t)((double)e.bytes * (double)e.keys / (double)e.puts) : 0);
    tell(t, "store.bytes_disk", sum->bytes + sum->values_bytes);
    tell(t, "store.files", sum->files);
    tell(t, "lsm.memtables", t->view->table_count);
    tell(t, "lsm.memtable_bytes", buffered);
}

/* What memory was charged with (budget.h), huge pages and all: more than what the indexes and filters themselves take
 * (learn.bytes.*), or the pages in use (cache.bytes). */
static void tell_memory(const struct telling *t)
{
    static const char *const users[BUDGET_USERS] = {[BUDGET_MEMTABLES] = "mem.memtables",
                                                    [BUDGET_FILTERS] = "mem.filters",
                                                    [BUDGET_INDEX] = "mem.index",
                                                    [BUDGET_ITERATORS] = "mem.iterators",
                                                    [BUDGET_COMPACTION] = "mem.compaction"};
    struct budget *b = &t->db->budget;
    if (b->bytes > 0)
        budget_settle(b);
    tell(t, "mem.budget", b->bytes);
    tell(t, "mem.bytes", budget_total(b));
    tell(t, "mem.cache", cache_resident(t->db->cache));
    for (unsigned i = 0; i < BUDGET_USERS; i++)
        tell(t, users[i], budget_used(b, (enum budget_user)i));
    tell(t, "mem.unused", mem_unused());
}

static void tell_work(const struct telling *t, const struct totals *sum)
{
    double user = (double)(count(t, COUNT_LOG_BYTES) + count(t, COUNT_LOADED_BYTES));
    double written = (double)(count(t, COUNT_WRITE_BYTES) + count(t, COUNT_LOG_BYTES));
    tell_ratio(t, "lsm.write_amplification", written, user);
    tell_ratio(t, "lsm.space_amplification", (double)(sum->bytes + sum->values_bytes), (double)sum->largest_bytes);
    tell(t, "lsm.sorted_runs", version_sorted_runs(t->view->version));
    mutex_lock(&t->db->lock);
    struct tier_policy policy = tier_policy(&t->db->options);
    uint64_t changes = t->db->follow.changes;
    mutex_unlock(&t->db->lock);
    tell(t, "lsm.runs_per_level", policy.runs_per_level);
    tell(t, "lsm.runs_last_level", policy.runs_last_level);
    tell(t, "lsm.policy_changes", changes);
    tell(t, "values.files", sum->values_files);
    tell(t, "values.bytes", sum->values_bytes);
    tell(t, "values.garbage_bytes", sum->values_garbage_bytes);
    tell(t, "values.rewritten_bytes", count(t, COUNT_REWRITTEN_BYTES));
    tell(t, "values.kept_bytes", count(t, COUNT_KEPT_BYTES));
    tell(t, "lsm.flushes", count(t, COUNT_FLUSHES));
    tell(t, "lsm.flush_bytes", count(t, COUNT_FLUSH_BYTES));
    tell(t, "lsm.bulk_loads", count(t, COUNT_BULK_LOADS));
    tell(t, "lsm.bulk_bytes", count(t, COUNT_BULK_BYTES));
    tell(t, "lsm.spilled_batches", count(t, COUNT_SPILLS));
    tell(t, "lsm.compactions", count(t, COUNT_COMPACTIONS));
    tell(t, "lsm.compact_bytes", count(t, COUNT_COMPACT_BYTES));
    tell(t, "lsm.compact_read_bytes", count(t, COUNT_COMPACT_READ_BYTES));
    tell(t, "lsm.compactions_beside", count(t, COUNT_COMPACTIONS_BESIDE));
    tell(t, "lsm.compaction_parts", count(t, COUNT_COMPACTION_PARTS));
    tell(t, "lsm.trivial_moves", count(t, COUNT_TRIVIAL_MOVES));
    tell(t, "lsm.range_deletions", sum->ranges);
    tell(t, "lsm.files_covered", count(t, COUNT_RUNS_COVERED));
    tell(t, "lsm.expiring", sum->expiring);
    tell(t, "lsm.expired", count(t, COUNT_EXPIRED));
    tell(t, "lsm.stall_ms", count(t, COUNT_STALL_NS) / 1000000);
    tell(t, "lsm.log_bytes", count(t, COUNT_LOG_BYTES));
    tell(t, "lsm.log_syncs", count(t, COUNT_SYNCS));
}

/* Found, and how many of them by the first answer of a model alone. */
static double found(const struct telling *t)
{
    return (double)counter_read_levels(&t->db->counters, COUNT_FOUND);
}

static void tell_learned(const struct telling *t, const struct totals *sum)
{
    bool learned = t->db->options.index == LSM_LEARNED;
    double all = found(t), otherwise = (double)counter_read_levels(&t->db->counters, COUNT_FOUND_OTHERWISE);
    double lookups = (double)count(t, COUNT_RUN_LOOKUPS);
    tell_ratio(t, "learn.level.accuracy", all - (double)count(t, COUNT_LEVEL_WRONG), all);
    tell_ratio(t, "learn.file.accuracy", all - (double)count(t, COUNT_FILE_WRONG), all);
    tell_ratio(t, "learn.block.accuracy", learned ? all - otherwise : 0, all);
    tell_ratio(t, "learn.fallback_rate", (double)count(t, COUNT_MODEL_FALLBACK), lookups);
    tell(t, "learn.fallbacks", count(t, COUNT_MODEL_FALLBACK));
    tell_ratio(t, "learn.train_ns_per_key", (double)count(t, COUNT_TRAIN_NS), (double)count(t, COUNT_TRAIN_KEYS));
    tell(t, "learn.train_ns", count(t, COUNT_TRAIN_NS));
    tell(t, "learn.unfiltered", count(t, COUNT_UNFILTERED));
    tell(t, "learn.validated", count(t, COUNT_VALIDATED));
    tell(t, "learn.validation_wrong", count(t, COUNT_VALIDATION_WRONG));
    tell(t, "learn.files", sum->with_model);
    tell(t, "learn.files_loaded", sum->loaded);
    tell(t, "learn.bytes.index", sum->index_bytes);
    tell(t, "learn.bytes.filter", sum->filter_bytes);
    tell(t, "learn.bytes.sst_max", sum->run_metadata_max);
    tell(t, "learn.bytes.level_max", sum->router_max);
    tell(t, "learn.bytes.global", sum->routers);
    tell_ratio(t, "learn.index_bits_per_key", 8.0 * (double)sum->index_bytes, (double)sum->index_entries);
}

static void tell_filters(const struct telling *t, const struct totals *sum)
{
    /* Of those that a filter was asked for. */
    double all = found(t) - (double)count(t, COUNT_UNFILTERED_FOUND), probes = (double)count(t, COUNT_FILTER_PROBES),
           lookups = (double)count(t, COUNT_RUN_LOOKUPS) - (double)count(t, COUNT_UNFILTERED);
    tell_ratio(t, "filter.bits_per_key", 8.0 * (double)sum->filter_bytes, (double)sum->filter_keys);
    tell_ratio(t, "filter.false_positive_rate", lookups > all ? lookups - all : 0, probes - all);
    tell(t, "filter.false_negatives", count(t, COUNT_FILTER_MISSED));
    tell(t, "filter.probes", count(t, COUNT_FILTER_PROBES));
    tell(t, "filter.fallbacks", count(t, COUNT_MEMBERSHIP_FALLBACK));
    tell_ratio(t, "filter.build_ns_per_key", (double)count(t, COUNT_FILTER_NS), (double)count(t, COUNT_FILTER_KEYS));
    for (unsigned kind = 0; kind < MEMBERSHIP_KINDS; kind++) {
        char name[64];
        snprintf(name, sizeof name, "filter.files.%s", membership_kind_name((enum membership_kind)kind));
        tell(t, name, sum->memberships[kind]);
    }
    tell(t, "filter.young.files", sum->young.runs);
    tell(t, "filter.young.keys", sum->young.entries);
    tell(t, "filter.young.bytes", sum->young.bytes);
    tell(t, "filter.young.probes", count(t, COUNT_YOUNG_PROBES));
    if (t->db->samples) {
        struct samples_info samples;
        samples_get_info(t->db->samples, &samples);
        tell(t, "filter.samples.keys", samples.keys);
        tell(t, "filter.samples.misses", samples.misses);
        tell(t, "filter.samples.trainings", samples.trainings);
    }
}

/* Of the runs that are loaded; what packing and unpacking came to since the store was opened. */
static void tell_compression(const struct telling *t, const struct totals *sum)
{
    uint64_t dictionaries = 0, dictionary_bytes = 0;
    compression_count(t->db->context.compression, &dictionaries, &dictionary_bytes);
    tell(t, "compression.files", sum->packed_runs);
    tell(t, "compression.bytes_raw", sum->packed_raw);
    tell(t, "compression.bytes_stored", sum->packed_stored);
    tell_ratio(t, "compression.ratio", (double)sum->packed_raw, (double)sum->packed_stored);
    tell(t, "compression.written_raw", count(t, COUNT_COMPRESS_RAW_BYTES));
    tell(t, "compression.written_stored", count(t, COUNT_COMPRESS_STORED_BYTES));
    tell(t, "compression.cpu_ns", count(t, COUNT_COMPRESS_NS));
    tell(t, "compression.unpacked", count(t, COUNT_UNPACKED));
    tell(t, "compression.unpacked_bytes", count(t, COUNT_UNPACKED_BYTES));
    tell(t, "compression.dictionaries", dictionaries);
    tell(t, "compression.dictionary_bytes", dictionary_bytes);
}

static void tell_io(const struct telling *t)
{
    double hits = (double)count(t, COUNT_CACHE_HITS), misses = (double)count(t, COUNT_CACHE_MISSES);
    tell(t, "cache.hits", count(t, COUNT_CACHE_HITS));
    tell(t, "cache.misses", count(t, COUNT_CACHE_MISSES));
    tell_ratio(t, "cache.hit_rate", hits, hits + misses);
    tell(t, "cache.bytes", cache_bytes(t->db->cache));
    tell(t, "cache.bytes_max", cache_bytes_max(t->db->cache));
    tell(t, "io.reads", count(t, COUNT_READS));
    tell(t, "io.read_bytes", count(t, COUNT_READ_BYTES));
    tell(t, "io.writes", count(t, COUNT_WRITES) + count(t, COUNT_LOG_WRITES));
    tell(t, "io.write_bytes", count(t, COUNT_WRITE_BYTES) + count(t, COUNT_LOG_BYTES));
    tell_ratio(t, "io.pages_per_get", (double)count(t, COUNT_GET_PAGES), (double)count(t, COUNT_GETS));
    tell(t, "io.gets", count(t, COUNT_GETS));
    tell(t, "io.gets_found", count(t, COUNT_GETS_FOUND));
    tell(t, "io.scans", count(t, COUNT_SCANS));
    tell(t, "io.scan_entries", count(t, COUNT_SCAN_ENTRIES));
}

static void tell_side(const struct telling *t, const char *prefix, const struct simulated_account *account)
{
    const struct simulation_totals *totals = &account->totals;
    const struct {
        const char *name;
        uint64_t value;
    } lines[] = {{"reads", totals->reads},
                 {"random", totals->random},
                 {"sequential", totals->sequential},
                 {"blocks", totals->blocks},
                 {"hits", totals->hits},
                 {"read_ms", totals->read_ns / 1000000},
                 {"metadata_bytes", account->metadata_bytes}};
    char name[64];
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        snprintf(name, sizeof name, "%s%s", prefix, lines[i].name);
        tell(t, name, lines[i].value);
    }
}

static void tell_simulation(const struct telling *t)
{
    struct simulated_account actual, traditional;
    simulated_account(t->db->context.simulated, SIM_ACTUAL, &actual);
    simulated_account(t->db->context.simulated, SIM_TRADITIONAL, &traditional);
    tell_side(t, "sim.", &actual);
    tell(t, "sim.writes", actual.totals.writes);
    tell(t, "sim.write_bytes", actual.totals.write_bytes);
    tell(t, "sim.write_ms", actual.totals.write_ns / 1000000);
    tell_side(t, "sim.traditional_", &traditional);
    double spent = (double)actual.totals.read_ns, would = (double)traditional.totals.read_ns;
    tell_ratio(t, "sim.saved_read_ms", would - spent, 1e6); /* below 0: the mode in use costs more */
    tell_ratio(t, "sim.saved_percent", 100 * (would - spent), would);
}

void lsm_statistics(struct lsm *db, each_statistic *each, void *arg)
{
    struct view *view = view_acquire(db);
    struct telling t = {.db = db, .view = view, .each = each, .arg = arg};
    struct totals sum = add_up(&t);
    tell_store(&t, &sum);
    tell_memory(&t);
    tell_levels(&t);
    tell_work(&t, &sum);
    tell_learned(&t, &sum);
    tell_filters(&t, &sum);
    tell_compression(&t, &sum);
    tell_io(&t);
    tell_simulation(&t);
    view_release(view);
}

void lsm_statistics_reset(struct lsm *db)
{
    counters_reset(&db->counters);
    if (db->context.simulated)
        simulation_reset(db->context.simulated->simulation);
}

const char *lsm_simulated_device(const struct lsm *db)
{
    return db->context.simulated ? simulation_profile_name(&db->options.simulation) : "off";
}
