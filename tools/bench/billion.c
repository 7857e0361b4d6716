/* Keys and values of 8 bytes: what is left beside them is what the store itself takes. Keys are numbers, big-endian, of
 * each four in a row one at random, so that they can be made in their order. Every answer is checked. */
#include "tools/bench/billion.h"

#include <limits.h>
#include <math.h>

#include "base/alloc.h"
#include "base/env.h"
#include "base/error.h"
#include "base/histogram.h"
#include "tools/bench/clock.h"
#include "tools/bench/data.h"
#include "tools/bench/files.h"
#include "tools/bench/report.h"
#include "tools/bench/stats.h"
#include "tools/progress.h"
#include "tools/text.h"

#include "base/banned.h"

enum {
    VALUE_BYTES = 8,
    PROGRESS_EVERY = 1024,
    UPDATE_BATCH = 1000,
    UPDATES_OF = 100, /* one key in so many is written again */
    /* 18 at rest were measured with 10^7 keys; compactions of what is changed hold old files and new ones. */
    ROOM_PER_KEY = 40,
};
static const uint64_t ROOM = UINT64_C(512) << 20, LOOKUPS = 1000000;

uint64_t billion_bytes(uint64_t keys)
{
    return keys * ROOM_PER_KEY + ROOM;
}

/* What is told, in this order. Those that the store knows itself stand under its names. */
enum figure {
    LOAD_KEYS_PER_S,
    LOAD_CPU_NS,
    LOAD_BYTES_PER_KEY,
    UPDATE_KEYS_PER_S,
    UPDATE_CPU_NS,
    OPEN_MS,
    FILES_BYTES,
    BYTES_PER_KEY,
    RESIDENT_BYTES,
    GET_NS,
    GET_P50_NS,
    GET_P99_NS,
    GET_P9999_NS,
    ABSENT_NS,
    ABSENT_P99_NS,
    STORE_FIGURES /* from here on */
};
static const char *const names[] = {
    "load_keys_per_s", "load_cpu_ns_per_key", "load_bytes_per_key", "update_keys_per_s", "update_cpu_ns_per_key",
    "open_ms", "files_bytes", "bytes_per_key", "resident_bytes", "get_cpu_ns", "get_p50_ns", "get_p99_ns",
    "get_p9999_ns", "absent_cpu_ns", "absent_p99_ns",
    /* of the store, over the lookups of keys that are there */
    "mem.bytes", "mem.index", "mem.filters", "learn.index_bits_per_key", "filter.bits_per_key", "learn.level.accuracy",
    "learn.file.accuracy", "learn.block.accuracy", "learn.fallback_rate", "io.pages_per_get", "cache.hit_rate",
    "lsm.write_amplification"};
enum { FIGURES = sizeof names / sizeof *names };
/* What those of our own mean, for people. */
static const char *const abouts[STORE_FIGURES] = {
    [LOAD_KEYS_PER_S] = "a bulk load in the order of keys, then plsm_flush",
    [LOAD_CPU_NS] = "of the whole process, until the background is done",
    [LOAD_BYTES_PER_KEY] = "of files, behind the load",
    [UPDATE_KEYS_PER_S] = "one key in 100, at random, in batches of 1,000, then plsm_flush",
    [UPDATE_CPU_NS] = "of the whole process, until the background is done",
    [OPEN_MS] = "of a store that was closed",
    [FILES_BYTES] = "at rest",
    [BYTES_PER_KEY] = "of files, at rest; 16 are the key and the value",
    [RESIDENT_BYTES] = "of the process, behind the gets",
    [GET_NS] = "keys that are there, at random, as many to fill caches before",
    [GET_P50_NS] = "of one get in 16, wall time, as those below",
    [ABSENT_NS] = "keys between those that are there, likewise",
};
_Static_assert(sizeof names / sizeof *names > STORE_FIGURES, "names are in the order of the figures");

struct billion {
    const struct row_options *options;
    struct data data;
    char path[PATH_MAX];
    plsm *db;
    double *figures;
    struct stats stats;
    struct histogram latency;
};

static plsm_status open_store(struct billion *b)
{
    char options[512];
    const char *more = b->options->options;
    int size = snprintf(options, sizeof options, "cache_size=%llu%s%s", (unsigned long long)b->options->cache_bytes,
                        more ? "," : "", more ? more : "");
    if (size >= (int)sizeof options)
        return fail(PLSM_INVALID, "the options are too long");
    return plsm_open(b->path, PLSM_CREATE, options, &b->db);
}

static plsm_status close_store(struct billion *b)
{
    plsm *db = b->db;
    b->db = NULL;
    return db ? plsm_close(db) : PLSM_OK;
}

/* --- keys --------------------------------------------------------------------------------------------------------- */

enum { KEY_BYTES = 8, NUMBERS_OF_KEY = 4 };

/* Which of the four numbers the index stands for is there. */
static uint64_t place_of(const struct billion *b, uint64_t index)
{
    uint64_t state = b->data.seed ^ index * 0x9e3779b97f4a7c15u;
    return splitmix64(&state) % NUMBERS_OF_KEY;
}

static plsm_slice key_at(const struct billion *b, uint64_t index, bool absent, uint8_t buffer[KEY_BYTES])
{
    uint64_t place = place_of(b, index);
    place = absent ? (place + 1 + index % (NUMBERS_OF_KEY - 1)) % NUMBERS_OF_KEY : place;
    put_be64(buffer, index * NUMBERS_OF_KEY + place);
    return slice(buffer, KEY_BYTES);
}

/* --- writing ------------------------------------------------------------------------------------------------------ */

struct phase {
    uint64_t wall_ns, cpu_ns;
};

static void phase_begin(struct phase *phase)
{
    *phase = (struct phase){env_now_ns(env_posix()), clock_process_cpu_ns()};
}

/* Of `count` operations: a second how many, and CPU ns of each, background work included. */
static plsm_status phase_end(const struct billion *b, const struct phase *phase, uint64_t count, double *per_s,
                             double *cpu_ns)
{
    TRY(plsm_flush(b->db));
    *per_s = (double)count / ((double)(env_now_ns(env_posix()) - phase->wall_ns) / 1e9);
    clock_wait_until_idle();
    *cpu_ns = (double)(clock_process_cpu_ns() - phase->cpu_ns) / (double)count;
    return PLSM_OK;
}

static plsm_status put_sorted(struct billion *b, plsm_bulk *bulk, struct progress *progress)
{
    uint8_t buffer[KEY_BYTES];
    for (uint64_t i = 0; i < b->data.keys; i++) {
        plsm_slice key = key_at(b, i, false, buffer);
        TRY(plsm_bulk_put(bulk, PLSM_NAMES, key, (plsm_slice){0}, data_value(&b->data, key, 0)));
        if (i % PROGRESS_EVERY == 0)
            progress_update(progress, i);
    }
    return plsm_bulk_finish(bulk);
}

/* All keys into an empty store, in their order, synced. */
static plsm_status load_sorted(struct billion *b, struct progress *progress)
{
    plsm_bulk *bulk = NULL;
    TRY(plsm_bulk_create(b->db, &bulk));
    plsm_status status = put_sorted(b, bulk, progress);
    plsm_bulk_destroy(bulk);
    return status;
}

static plsm_status update(struct billion *b, plsm_batch *batch, uint64_t count, struct progress *progress)
{
    uint8_t buffer[KEY_BYTES];
    struct random random;
    random_seed(&random, b->data.seed + 1);
    for (uint64_t i = 0; i < count;) {
        plsm_batch_clear(batch);
        for (uint32_t n = 0; n < UPDATE_BATCH && i < count; n++, i++) {
            plsm_slice key = key_at(b, random_below(&random, b->data.keys), false, buffer);
            TRY(plsm_batch_put(batch, PLSM_NAMES, key, (plsm_slice){0}, data_value(&b->data, key, 1)));
        }
        TRY(plsm_write(b->db, batch, PLSM_NONE));
        progress_update(progress, i);
    }
    return PLSM_OK;
}

static plsm_status write_all(struct billion *b)
{
    struct phase phase;
    struct progress progress;
    double *f = b->figures;
    uint64_t keys = b->data.keys, updates = (keys + UPDATES_OF - 1) / UPDATES_OF;
    plsm_batch *batch = plsm_batch_create();
    if (!batch)
        return fail(PLSM_NO_MEMORY, "no memory for a batch");
    progress_start(&progress, "load", keys, false);
    phase_begin(&phase);
    plsm_status status = load_sorted(b, &progress);
    progress_end(&progress);
    if (status == PLSM_OK)
        status = phase_end(b, &phase, keys, &f[LOAD_KEYS_PER_S], &f[LOAD_CPU_NS]);
    f[LOAD_BYTES_PER_KEY] = (double)files_bytes(b->path) / (double)keys;
    progress_start(&progress, "update", updates, false);
    phase_begin(&phase);
    if (status == PLSM_OK)
        status = update(b, batch, updates, &progress);
    progress_end(&progress);
    if (status == PLSM_OK)
        status = phase_end(b, &phase, updates, &f[UPDATE_KEYS_PER_S], &f[UPDATE_CPU_NS]);
    plsm_batch_destroy(batch);
    return status;
}

/* --- reading ------------------------------------------------------------------------------------------------------ */

static plsm_status look_up(struct billion *b, plsm_slice key, bool absent, plsm_value *value)
{
    char quoted[64];
    plsm_status status = plsm_get(b->db, NULL, key, value);
    if (status != PLSM_OK && status != PLSM_NOT_FOUND)
        return status;
    bool right =
        absent ? status == PLSM_NOT_FOUND : status == PLSM_OK && data_version(&b->data, key, value->value) >= 0;
    return right ? PLSM_OK : fail(PLSM_CORRUPT, "wrong answer: key %s", text_quote(quoted, sizeof quoted, key));
}

/* Lookups are timed by themselves as often as reads of a workload are. */
static plsm_status look_up_many(struct billion *b, uint64_t count, uint64_t seed, bool absent, double *cpu_ns)
{
    uint8_t buffer[KEY_BYTES];
    struct random random;
    plsm_value value = {0};
    plsm_status status = PLSM_OK;
    random_seed(&random, seed);
    histogram_reset(&b->latency);
    uint64_t cpu = clock_thread_cpu_ns();
    for (uint64_t i = 0; i < count && status == PLSM_OK; i++) {
        uint64_t index = random_below(&random, b->data.keys);
        plsm_slice key = key_at(b, index, absent, buffer);
        uint64_t begun = i % latency_every(WORKLOAD_READ) == 0 ? env_now_ns(env_posix()) : 0;
        status = look_up(b, key, absent, &value);
        if (begun)
            histogram_add(&b->latency, env_now_ns(env_posix()) - begun);
    }
    *cpu_ns = (double)(clock_thread_cpu_ns() - cpu) / (double)count;
    plsm_value_free(&value);
    return status;
}

/* The store is opened anew, so that it reads what is in its files, and is asked as often untimed. */
static plsm_status read_all(struct billion *b)
{
    double *f = b->figures, unused = 0;
    uint64_t count = b->options->ops ? b->options->ops : b->data.keys < LOOKUPS ? b->data.keys : LOOKUPS;
    plsm_status status = close_store(b);
    uint64_t begun = env_now_ns(env_posix());
    if (status == PLSM_OK)
        status = open_store(b);
    TRY(status);
    f[OPEN_MS] = (double)(env_now_ns(env_posix()) - begun) / 1e6;
    clock_wait_until_idle();
    f[FILES_BYTES] = (double)files_bytes(b->path);
    f[BYTES_PER_KEY] = f[FILES_BYTES] / (double)b->data.keys;
    TRY(look_up_many(b, count, 11, true, &unused));
    TRY(look_up_many(b, count, 12, true, &f[ABSENT_NS]));
    f[ABSENT_P99_NS] = (double)histogram_quantile(&b->latency, 0.99);
    TRY(look_up_many(b, count, 13, false, &unused));
    plsm_statistics_reset(b->db);
    TRY(look_up_many(b, count, 14, false, &f[GET_NS]));
    f[GET_P50_NS] = (double)histogram_quantile(&b->latency, 0.5);
    f[GET_P99_NS] = (double)histogram_quantile(&b->latency, 0.99);
    f[GET_P9999_NS] = (double)histogram_quantile(&b->latency, 0.9999);
    f[RESIDENT_BYTES] = (double)clock_memory().resident_bytes;
    stats_read(b->db, &b->stats);
    for (int i = STORE_FIGURES; i < FIGURES; i++)
        if (strcmp(names[i], "lsm.write_amplification") != 0)
            f[i] = stats_get(&b->stats, names[i]);
    return PLSM_OK;
}

/* --- the command -------------------------------------------------------------------------------------------------- */

static plsm_status run(struct billion *b)
{
    TRY(open_store(b));
    TRY(write_all(b));
    stats_read(b->db, &b->stats); /* of the writes, before it is opened anew */
    b->figures[FIGURES - 1] = stats_get(&b->stats, names[FIGURES - 1]);
    TRY(read_all(b));
    return close_store(b);
}

static plsm_status work(void *arg, const char *directory, void *result)
{
    const struct row_options *options = arg;
    struct billion *b = mem_zalloc(sizeof *b);
    if (!b)
        return fail(PLSM_NO_MEMORY, "no memory for the benchmark");
    b->options = options;
    b->figures = result;
    snprintf(b->path, sizeof b->path, "%s/store", directory);
    plsm_status status = data_init(&b->data, "counters", options->keys, 0, VALUE_BYTES, options->seed);
    if (status == PLSM_OK)
        status = run(b);
    data_free(&b->data);
    mem_free(b);
    return status;
}

static void print_figures(const struct bench_plan *plan, const double *figures)
{
    if (plan->json)
        tool_print("{\"workload\":\"billion\",\"keys\":%llu,\"value_bytes\":%d,\"cache_bytes\":%llu",
                   (unsigned long long)plan->row.keys, VALUE_BYTES, (unsigned long long)plan->row.cache_bytes);
    for (int i = 0; i < FIGURES; i++) {
        char text[32] = "null";
        if (isfinite(figures[i]))
            snprintf(text, sizeof text, "%.*f", figures[i] < 100 ? 4 : 0, figures[i]);
        if (plan->json)
            tool_print(",\"%s\":%s", names[i], text);
        else
            tool_print("%-26s %16s  %s\n", names[i], text,
                       i >= STORE_FIGURES ? "as in .stats, over the gets"
                       : abouts[i]        ? abouts[i]
                                          : "");
    }
    if (plan->json)
        tool_print("}\n");
}

enum tool_exit bench_billion(const struct tool *tool, const struct bench_plan *plan)
{
    char needed[TEXT_NUMBER_SIZE], cache[TEXT_NUMBER_SIZE];
    double figures[FIGURES] = {0};
    const char *directory = rows_directory(plan->directory);
    if (!plan->json) {
        report_machine("");
        tool_print("%llu keys of 8 bytes with values of 8; needs up to %s in %s; cache of %s\n\n",
                   (unsigned long long)plan->row.keys, text_bytes(needed, billion_bytes(plan->row.keys)), directory,
                   text_bytes(cache, plan->row.cache_bytes));
        tool_flush();
    }
    struct row_options row = plan->row;
    plsm_status status = files_need(directory, billion_bytes(row.keys));
    if (status == PLSM_OK)
        status = rows_apart(work, &row, figures, sizeof figures);
    if (status != PLSM_OK)
        return tool_error(tool, status);
    print_figures(plan, figures);
    return tool_output_end(tool, TOOL_OK);
}
