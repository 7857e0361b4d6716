#include "tools/bench/stores.h"

#include "base/alloc.h"
#include "base/error.h"
#include "base/random.h"
#include "tools/bench/row.h"
#include "tools/progress.h"

#include "base/banned.h"

enum {
    MODEST_BUFFER = 256 << 10,
    LARGEST_BUFFER = 64 << 20, /* the store's default */
    MODEST_FILE = 1 << 20,
    LARGEST_FILE = 64 << 20,
    DATA_PER_BUFFER = 256, /* so that the tree has four levels: 4 buffers, 10 times that, 100 times that */
    DATA_PER_FILE = 32,
    LEVEL0_FILES = 3,     /* one less than start a compaction by default */
    LOAD_PIECE = 1 << 16, /* records between two looks at the progress */
};

/* --- names and options -------------------------------------------------------------------------------------------- */

void stores_init(struct stores *stores, const struct compare_plan *plan, const struct data *data, const char *directory)
{
    enum { SAMPLE = 1000, OVERHEAD = 8 };
    uint8_t buffer[SHAPE_MADE_MAX];
    uint64_t bytes = 0, sample = data->keys < SAMPLE ? data->keys : SAMPLE;
    *stores = (struct stores){.plan = plan, .data = data, .directory = directory};
    for (uint64_t i = 0; i < sample; i++)
        bytes += data_key(data, data_shuffled(data, i), buffer).size;
    stores->entry_bytes = bytes / sample + data->value_bytes + OVERHEAD;
}

void stores_free(struct stores *stores)
{
    stores_close(stores);
    mem_free(stores->young);
    *stores = (struct stores){0};
}

uint32_t stores_owner(const struct compare_plan *plan, uint32_t mode)
{
    for (uint32_t i = 0; i < plan->mode_count && strcmp(plan->modes[mode], "traditional") == 0; i++)
        if (strcmp(plan->modes[i], "learned") == 0)
            return i;
    return mode;
}

static uint64_t within(uint64_t bytes, uint64_t least, uint64_t most)
{
    return bytes < least ? least : bytes > most ? most : bytes;
}

uint64_t stores_buffer_bytes(const struct stores *stores)
{
    return within(stores->data->keys * stores->entry_bytes / DATA_PER_BUFFER, MODEST_BUFFER, LARGEST_BUFFER);
}

static plsm_status path_of(const struct stores *stores, const char *name, uint32_t mode, char path[PATH_MAX])
{
    int size = snprintf(path, PATH_MAX, "%s/%s-%s", stores->directory, name, stores->plan->modes[mode]);
    return size < PATH_MAX ? PLSM_OK : fail(PLSM_INVALID, "%s: the path is too long", stores->directory);
}

plsm_status stores_open_one(const struct stores *stores, const char *name, uint32_t mode, plsm_open_flags flags,
                            const char *forced, plsm **out)
{
    char path[PATH_MAX];
    struct buf text = {0};
    const struct compare_plan *plan = stores->plan;
    uint64_t file = within(stores->data->keys * stores->entry_bytes / DATA_PER_FILE, MODEST_FILE, LARGEST_FILE);
    TRY(path_of(stores, name, stores_owner(plan, mode), path));
    plsm_status status =
        buf_printf(&text, "index=%s,cache_size=%llu,buffer_size=%llu,file_size=%llu,%s,%s", plan->modes[mode],
                   (unsigned long long)plan->cache_bytes, (unsigned long long)stores_buffer_bytes(stores),
                   (unsigned long long)file, plan->options ? plan->options : "", forced ? forced : "");
    if (status == PLSM_OK)
        status = buf_append(&text, "", 1);
    if (status == PLSM_OK)
        status = plsm_open(path, flags, (const char *)text.data, out);
    buf_free(&text);
    return status;
}

/* --- loading ------------------------------------------------------------------------------------------------------ */

plsm_status stores_write(const struct stores *stores, plsm *db, uint64_t (*index_of)(const void *arg, uint64_t i),
                         const void *arg, uint64_t first, uint64_t count)
{
    uint8_t buffer[SHAPE_MADE_MAX];
    plsm_batch *batch = plsm_batch_create();
    plsm_status status = batch ? PLSM_OK : fail(PLSM_NO_MEMORY, "no memory for a batch");
    for (uint64_t i = first; i < first + count && status == PLSM_OK;) {
        plsm_batch_clear(batch);
        for (uint32_t in = 0; in < stores->plan->batch && i < first + count && status == PLSM_OK; in++, i++) {
            plsm_slice key = data_key(stores->data, index_of(arg, i), buffer);
            status = plsm_batch_put(batch, PLSM_NAMES, key, (plsm_slice){0}, data_value(stores->data, key, 0));
        }
        if (status == PLSM_OK)
            status = plsm_write(db, batch, PLSM_NONE);
    }
    plsm_batch_destroy(batch);
    return status;
}

static uint64_t in_random_order(const void *arg, uint64_t i)
{
    return data_scattered(arg, i);
}

static uint64_t in_list(const void *arg, uint64_t i)
{
    return ((const uint32_t *)arg)[i];
}

/* Writes `count` keys again, chosen at random, the same in every store; they are noted once. */
static plsm_status write_again(struct stores *stores, plsm *db, uint64_t at, uint64_t count)
{
    if (at + count > stores->young_capacity) {
        uint32_t *grown = mem_realloc(stores->young, (at + count) * sizeof *grown);
        if (!grown)
            return fail(PLSM_NO_MEMORY, "no memory for a list of keys");
        stores->young = grown;
        stores->young_capacity = at + count;
    }
    for (uint64_t i = at; i < at + count; i++) {
        uint64_t state = (stores->data->seed << 32) + i;
        stores->young[i] = (uint32_t)(splitmix64(&state) % stores->data->keys);
    }
    stores->young_count = stores->young_count > at + count ? stores->young_count : at + count;
    TRY(stores_write(stores, db, in_list, stores->young, at, count));
    return plsm_flush(db);
}

/* A compaction may have emptied level 0 just now; where options make it come earlier, less is written at a time. */
static plsm_status fill_level0(struct stores *stores, plsm *db)
{
    enum { TRIES = 16 };
    uint64_t count = stores_buffer_bytes(stores) / stores->entry_bytes / 2 + 1, at = 0;
    double files = 0;
    struct stats *stats = mem_alloc(sizeof *stats);
    plsm_status status = stats ? PLSM_OK : fail(PLSM_NO_MEMORY, "no memory for statistics");
    for (int i = 0; i < TRIES && status == PLSM_OK; i++) {
        stats_read(db, stats);
        bool fewer = i > 0 && stats_of_level(stats, 0, "files") <= files;
        files = stats_of_level(stats, 0, "files");
        if (files >= LEVEL0_FILES)
            break;
        count = fewer ? count / 2 + 1 : count;
        status = write_again(stores, db, at, count);
        at += count;
    }
    mem_free(stats);
    return status;
}

static plsm_status load_one(struct stores *stores, uint32_t mode)
{
    plsm *db = NULL;
    struct progress progress;
    TRY(stores_open_one(stores, "read", mode, PLSM_CREATE | PLSM_EXCLUSIVE, "background=0", &db));
    progress_start(&progress, "load", stores->data->keys, false);
    plsm_status status = PLSM_OK;
    for (uint64_t i = 0, all = stores->data->keys; i < all && status == PLSM_OK; i += LOAD_PIECE) {
        uint64_t count = all - i < LOAD_PIECE ? all - i : LOAD_PIECE;
        status = stores_write(stores, db, in_random_order, stores->data, i, count);
        progress_update(&progress, i + count);
    }
    progress_end(&progress);
    if (status == PLSM_OK)
        status = plsm_flush(db);
    if (status == PLSM_OK)
        status = fill_level0(stores, db);
    plsm_status closed = plsm_close(db);
    return status == PLSM_OK ? closed : status;
}

plsm_status stores_load(struct stores *stores)
{
    for (uint32_t mode = 0; mode < stores->plan->mode_count; mode++)
        if (stores_owner(stores->plan, mode) == mode)
            TRY(load_one(stores, mode));
    return PLSM_OK;
}

/* --- opening ------------------------------------------------------------------------------------------------------ */

plsm_status stores_open(struct stores *stores, const char *forced)
{
    for (uint32_t mode = 0; mode < stores->plan->mode_count; mode++)
        TRY(stores_open_one(stores, "read", mode, PLSM_READ, forced, &stores->db[mode]));
    return stores_open_one(stores, "read", 0, PLSM_READ, "cache_size=0", &stores->guide);
}

void stores_close(struct stores *stores)
{
    for (uint32_t mode = 0; mode < COMPARE_MODES_MAX; mode++) {
        plsm_close(stores->db[mode]); /* nothing was written: nothing can be lost */
        stores->db[mode] = NULL;
    }
    plsm_close(stores->guide);
    stores->guide = NULL;
}

void stores_remove(struct stores *stores)
{
    char path[PATH_MAX];
    stores_close(stores);
    for (uint32_t mode = 0; mode < stores->plan->mode_count; mode++)
        if (stores_owner(stores->plan, mode) == mode && path_of(stores, "read", mode, path) == PLSM_OK)
            rows_remove(path);
}

/* --- which key is where ------------------------------------------------------------------------------------------- */

/* Counts of keys found per level. */
struct found {
    double levels[STATS_LEVELS_MAX];
};

static void take_found(void *arg, const plsm_statistic *statistic)
{
    static const char front[] = "lsm.level.";
    struct found *out = arg;
    if (strncmp(statistic->name, front, sizeof front - 1) != 0)
        return;
    const char *digit = statistic->name + sizeof front - 1;
    if (strcmp(digit + 1, ".found") == 0 && *digit >= '0' && *digit <= '9')
        out->levels[*digit - '0'] = (double)statistic->integer;
}

/* The level that answers for a key; -1: none (memory), or it is not there. */
static int level_of(plsm *db, plsm_slice key, plsm_value *value)
{
    struct found before = {{0}}, after = {{0}};
    plsm_statistics(db, take_found, &before);
    if (plsm_get(db, NULL, key, value) != PLSM_OK)
        return -1;
    plsm_statistics(db, take_found, &after);
    for (int level = 0; level < STATS_LEVELS_MAX; level++)
        if (after.levels[level] > before.levels[level])
            return level;
    return -1;
}

static void classify_one(const struct stores *stores, uint64_t index, plsm_value *value, struct level_keys *out)
{
    uint8_t buffer[SHAPE_MADE_MAX];
    plsm_slice key = data_key(stores->data, index, buffer);
    int level = level_of(stores->db[0], key, value);
    for (uint32_t mode = 1; mode < stores->plan->mode_count && level >= 0; mode++)
        if (stores_owner(stores->plan, mode) == mode && level_of(stores->db[mode], key, value) != level)
            return;
    if (level >= 0 && out->count[level] < LEVEL_KEYS_MAX)
        out->list[level][out->count[level]++] = (uint32_t)index;
}

/* The keys written last live on the upper levels, and there are few of them: the farther back from the end of loading,
 * the fewer keys are tried. */
plsm_status stores_classify(const struct stores *stores, struct level_keys *out)
{
    enum { DENSE = 4096 };
    plsm_value value = {0};
    struct progress progress;
    *out = (struct level_keys){0};
    for (int level = 0; level < STATS_LEVELS_MAX; level++) {
        out->list[level] = mem_alloc(LEVEL_KEYS_MAX * sizeof *out->list[level]);
        if (!out->list[level])
            return fail(PLSM_NO_MEMORY, "no memory for lists of keys");
    }
    uint64_t every = stores->young_count / (4 * DENSE) + 1, keys = stores->data->keys;
    progress_start(&progress, "which key is on which level", keys, false);
    for (uint64_t i = 0; i < stores->young_count; i += every)
        classify_one(stores, stores->young[i], &value, out);
    for (uint64_t back = 1; back <= keys; back += 1 + back / DENSE) {
        classify_one(stores, data_scattered(stores->data, keys - back), &value, out);
        progress_update(&progress, back);
    }
    progress_end(&progress);
    plsm_value_free(&value);
    return PLSM_OK;
}

void level_keys_free(struct level_keys *keys)
{
    for (int level = 0; level < STATS_LEVELS_MAX; level++)
        mem_free(keys->list[level]);
    *keys = (struct level_keys){0};
}
