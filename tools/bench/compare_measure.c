/* What is measured of one set of keys, in which order. */
#include <math.h>

#include "base/alloc.h"
#include "base/error.h"
#include "tools/bench/compare_writes.h"
#include "tools/bench/contest.h"

#include "base/banned.h"

enum {
    RANGE_PER_GET = 20,  /* a range of 100 entries takes as long as about so many gets */
    SMALL_CACHE_OF = 10, /* a small cache holds one in so many bytes of the data */
    SMALL_CACHE_LEAST = 256 << 10,
};

/* One set being measured. */
struct session {
    struct stores stores;
    struct level_keys levels;
    struct compare_row row; /* what all rows share */
    void (*each)(void *arg, const struct compare_row *row);
    void *arg;
};

static const struct compare_plan *plan_of(const struct session *s)
{
    return s->stores.plan;
}

/* --- rows --------------------------------------------------------------------------------------------------------- */

/* The row of a lane, ratios over the same in mode `name`. */
static void tell_lane(struct session *s, const struct contest *contest, uint32_t lane, const char *operation,
                      const char *name)
{
    struct compare_row row = s->row;
    int against = contest_find(contest, name, contest->lanes[lane].kind);
    compare_row_clear(&row);
    contest_row(contest, lane, against, &row);
    row.operation = operation;
    row.against = against >= 0 ? name : NULL;
    s->each(s->arg, &row);
}

static const char *reference(const struct compare_plan *plan)
{
    return compare_reference(plan);
}

/* All modes, one kind of question. */
static plsm_status measure(struct session *s, const char *operation, enum probe_kind kind, struct choice *choice,
                           uint64_t slice, unsigned level)
{
    struct contest contest;
    contest_init(&contest, &s->stores, operation, &kind, 1, choice, slice);
    contest.level = level;
    plsm_status status = contest_run(&contest);
    for (uint32_t lane = 0; lane < contest.lane_count && status == PLSM_OK; lane++)
        tell_lane(s, &contest, lane, operation, reference(plan_of(s)));
    contest_free(&contest);
    return status;
}

static plsm_status measure_choice(struct session *s, const char *operation, enum choice_kind kind)
{
    struct choice choice;
    choice_init(&choice, kind, s->stores.data, s->stores.data->seed);
    plsm_status status = PLSM_OK;
    if (kind == CHOICE_SEQUENTIAL)
        status = plsm_iterator_create(s->stores.guide, NULL, (plsm_slice){0}, (plsm_slice){0}, &choice.it);
    if (status == PLSM_OK)
        status = measure(s, operation, PROBE_GET, &choice, plan_of(s)->ops, 0);
    choice_free(&choice);
    return status;
}

static plsm_status measure_absent(struct session *s, const char *operation, enum shape_absent way)
{
    struct choice choice;
    if (shape_absent_count(s->stores.data->set, way) == 0)
        return PLSM_OK;
    choice_init(&choice, CHOICE_ABSENT, s->stores.data, s->stores.data->seed);
    choice.way = way;
    return measure(s, operation, PROBE_GET, &choice, plan_of(s)->ops, 0);
}

/* The same keys one by one and many at a time, in the same rounds: each way against the other modes, and against single
 * gets of its own mode. */
static plsm_status measure_many(struct session *s)
{
    static const enum probe_kind kinds[] = {PROBE_GET, PROBE_MANY_16, PROBE_MANY_100};
    static const char *const names[] = {"get", "multi_get_16", "multi_get_100"};
    static const char *const gains[] = {NULL, "multi_get_16_to_get", "multi_get_100_to_get"};
    struct choice choice;
    struct contest contest;
    uint32_t modes = plan_of(s)->mode_count;
    choice_init(&choice, CHOICE_UNIFORM, s->stores.data, s->stores.data->seed + 1);
    contest_init(&contest, &s->stores, "many gets at a time", kinds, 3, &choice, plan_of(s)->ops);
    plsm_status status = contest_run(&contest);
    for (uint32_t lane = modes; lane < contest.lane_count && status == PLSM_OK; lane++)
        tell_lane(s, &contest, lane, names[lane / modes], reference(plan_of(s)));
    for (uint32_t lane = modes; lane < contest.lane_count && status == PLSM_OK; lane++) {
        struct compare_row row = s->row;
        compare_row_clear(&row);
        contest_row(&contest, lane, (int)(lane % modes), &row);
        row.operation = gains[lane / modes];
        row.against = "get";
        s->each(s->arg, &row);
    }
    contest_free(&contest);
    return status;
}

/* Keys that live on one level; and where the indexes of the deepest one lead, with nothing read. */
static plsm_status measure_levels(struct session *s)
{
    static const char *const names[STATS_LEVELS_MAX] = {"get_level_0", "get_level_1", "get_level_2", "get_level_3",
                                                        "get_level_4", "get_level_5", "get_level_6", "get_level_7"};
    struct choice choice;
    plsm_status status = stores_classify(&s->stores, &s->levels);
    int deepest = -1;
    for (int level = 0; level < STATS_LEVELS_MAX && names[level] && status == PLSM_OK; level++) {
        if (s->levels.count[level] < LEVEL_KEYS_LEAST)
            continue;
        deepest = level;
        choice_init(&choice, CHOICE_LIST, s->stores.data, s->stores.data->seed);
        choice.list = s->levels.list[level];
        choice.list_count = s->levels.count[level];
        status = measure(s, names[level], PROBE_GET, &choice, plan_of(s)->ops, 0);
    }
    if (status == PLSM_OK && deepest >= 0)
        status = measure(s, "predict_file", PROBE_FIND_FILE, &choice, plan_of(s)->ops, (unsigned)deepest);
    if (status == PLSM_OK && deepest >= 0)
        status = measure(s, "predict_page", PROBE_FIND_PAGE, &choice, plan_of(s)->ops, (unsigned)deepest);
    level_keys_free(&s->levels);
    return status;
}

static plsm_status measure_ranges(struct session *s)
{
    struct choice choice;
    choice_init(&choice, CHOICE_UNIFORM, s->stores.data, s->stores.data->seed);
    return measure(s, "range_100", PROBE_RANGE, &choice, plan_of(s)->ops / RANGE_PER_GET, 0);
}

/* --- memory ------------------------------------------------------------------------------------------------------- */

static const struct {
    enum figure figure;
    const char *statistic;
} memory_figures[] = {
    {FIGURE_INDEX_BYTES, "learn.bytes.index"},
    {FIGURE_FILTER_BYTES, "learn.bytes.filter"},
    {FIGURE_CACHE_BYTES, "mem.cache"},
    {FIGURE_MEMTABLE_BYTES, "mem.memtables"},
    {FIGURE_MEMORY_BYTES, "mem.bytes"},
    {FIGURE_INDEX_BITS, "learn.index_bits_per_key"},
    {FIGURE_FILTER_BITS, "filter.bits_per_key"},
    {FIGURE_FILE_MODEL_BYTES, "learn.bytes.sst_max"},
    {FIGURE_LEVEL_MODEL_BYTES, "learn.bytes.level_max"},
    {FIGURE_STORE_MODEL_BYTES, "learn.bytes.global"},
    {FIGURE_DISK_BYTES, "store.bytes_disk"},
    {FIGURE_FILES, "store.files"},
    {FIGURE_LEVEL_ACCURACY, "learn.level.accuracy"},
    {FIGURE_FILE_ACCURACY, "learn.file.accuracy"},
    {FIGURE_BLOCK_ACCURACY, "learn.block.accuracy"},
    {FIGURE_FALLBACK_RATE, "learn.fallback_rate"},
};

/* Behind a read of every key: everything that is ever loaded is there, and the rates are over all keys. */
static plsm_status tell_memory(struct session *s)
{
    struct stats *stats = mem_alloc(sizeof *stats);
    if (!stats)
        return fail(PLSM_NO_MEMORY, "no memory for statistics");
    for (uint32_t mode = 0; mode < plan_of(s)->mode_count; mode++) {
        struct compare_row row = s->row;
        compare_row_clear(&row);
        stats_read(s->stores.db[mode], stats);
        for (size_t i = 0; i < sizeof memory_figures / sizeof *memory_figures; i++)
            row.figures[memory_figures[i].figure] = stats_get(stats, memory_figures[i].statistic);
        row.figures[FIGURE_LEVELS] = stats_levels(stats);
        if (strcmp(plan_of(s)->modes[mode], "learned") != 0)
            row.figures[FIGURE_BLOCK_ACCURACY] = NAN; /* no model answered */
        row.operation = "memory";
        row.mode = plan_of(s)->modes[mode];
        row.table = TABLE_MEMORY;
        s->each(s->arg, &row);
    }
    mem_free(stats);
    return PLSM_OK;
}

/* --- all of it ---------------------------------------------------------------------------------------------------- */

static plsm_status measure_warm(struct session *s)
{
    TRY(stores_open(&s->stores, NULL));
    TRY(compare_read_all(&s->stores));
    TRY(tell_memory(s));
    TRY(measure_choice(s, "get_uniform", CHOICE_UNIFORM));
    TRY(measure_choice(s, "get_zipf", CHOICE_ZIPF));
    TRY(measure_choice(s, "get_hot", CHOICE_HOT));
    TRY(measure_choice(s, "get_sequential", CHOICE_SEQUENTIAL));
    TRY(measure_absent(s, "get_absent", SHAPE_ABSENT_OTHER));
    TRY(measure_absent(s, "get_absent_changed", SHAPE_ABSENT_CHANGED));
    TRY(measure_absent(s, "get_absent_foreign", SHAPE_ABSENT_FOREIGN));
    TRY(measure_levels(s));
    TRY(measure_many(s));
    TRY(measure_ranges(s));
    stores_close(&s->stores);
    return PLSM_OK;
}

/* Pages come from the kernel, which has them in memory unless there are more than that. */
static plsm_status measure_cold(struct session *s)
{
    TRY(stores_open(&s->stores, "cache_size=0"));
    s->row.cache_bytes = 0;
    TRY(measure_choice(s, "get_uncached", CHOICE_UNIFORM));
    TRY(measure_absent(s, "absent_uncached", SHAPE_ABSENT_OTHER));
    stores_close(&s->stores);
    return PLSM_OK;
}

static plsm_status measure_small_cache(struct session *s)
{
    char forced[64];
    uint64_t bytes = s->stores.data->keys * s->stores.entry_bytes / SMALL_CACHE_OF;
    s->row.cache_bytes = bytes < SMALL_CACHE_LEAST ? SMALL_CACHE_LEAST : bytes;
    snprintf(forced, sizeof forced, "cache_size=%llu", (unsigned long long)s->row.cache_bytes);
    TRY(stores_open(&s->stores, forced));
    TRY(compare_read_all(&s->stores));
    TRY(measure_choice(s, "get_small_cache", CHOICE_UNIFORM));
    TRY(measure_choice(s, "zipf_small_cache", CHOICE_ZIPF));
    stores_close(&s->stores);
    return PLSM_OK;
}

static plsm_status measure_all(struct session *s)
{
    TRY(stores_load(&s->stores));
    TRY(measure_warm(s));
    TRY(measure_cold(s));
    TRY(measure_small_cache(s));
    stores_remove(&s->stores);
    s->row.cache_bytes = plan_of(s)->cache_bytes;
    s->row.table = TABLE_WRITES;
    return compare_writes(&s->stores, &s->row, s->each, s->arg);
}

plsm_status compare_set(const struct compare_plan *plan, const struct data *data, const char *directory,
                        void (*each)(void *arg, const struct compare_row *row), void *arg)
{
    struct session s = {
        .row = {.shape = shape_of(data->set)->name,
                .keys = data->keys,
                .seed = data->seed,
                .cache_bytes = plan->cache_bytes,
                .value_bytes = data->value_bytes},
        .each = each,
        .arg = arg,
    };
    stores_init(&s.stores, plan, data, directory);
    plsm_status status = measure_all(&s);
    level_keys_free(&s.levels);
    stores_free(&s.stores);
    return status;
}
