/* Seed 002: keys and values are integers of 32 bits, dense (0, 1, 2, ... in random order) or sparse (anywhere). */
#include "base/bytes.h"
#include "base/error.h"
#include "tools/bench/permutation.h"
#include "tools/bench/subject.h"

#include "base/banned.h"

enum { PUT, GET, ABSENT, RANGE, FILES, FIGURES };
enum { RANGE_ENTRIES = 100, RANGES_OF = 100, LOOKUPS_MAX = 1000000 };

static const struct suite_figure figures[FIGURES] = {
    [PUT] = {"put", "ns", BETTER_LESS, WORK_WRITE_MANY},
    [GET] = {"get", "ns", BETTER_LESS, WORK_READ},
    [ABSENT] = {"get of an absent key", "ns", BETTER_LESS, WORK_ABSENT},
    [RANGE] = {"range of 100 entries", "us", BETTER_LESS, WORK_LIST},
    [FILES] = {"bytes on disk per key", "", BETTER_LESS, WORK_SPACE},
};

struct integers {
    uint64_t count;
    bool sparse;
    struct permutation order, spread; /* of the keys there are; of all integers of 32 bits */
};

static void integers_init(struct integers *n, uint64_t count, bool sparse, uint64_t seed)
{
    *n = (struct integers){.count = count, .sparse = sparse};
    permutation_init(&n->order, count, seed);
    permutation_init(&n->spread, UINT64_C(1) << 32, seed + 1);
}

/* The key with this index; from `count` on they are absent. Big-endian, so that their order is that of the numbers. */
static plsm_slice key_at(const struct integers *n, uint64_t index, uint8_t buffer[4])
{
    put_u32(buffer, __builtin_bswap32((uint32_t)(n->sparse ? permutation_at(&n->spread, index) : index)));
    return slice(buffer, 4);
}

/* The value of a key tells whose it is. */
static uint32_t value_of(plsm_slice key)
{
    return get_u32(key.data) * 2654435761u;
}

static plsm_status write_all(struct subject *subject, const struct integers *n)
{
    uint8_t buffer[4];
    for (uint64_t i = 0; i < n->count; i++) {
        plsm_slice key = key_at(n, permutation_at(&n->order, i), buffer);
        uint32_t value = value_of(key);
        TRY(subject_put(subject, key, slice(&value, sizeof value)));
    }
    return subject_push(subject);
}

static plsm_status wrong(plsm_slice key)
{
    return fail(PLSM_CORRUPT, "wrong answer: key %u", __builtin_bswap32(get_u32(key.data)));
}

static plsm_status read_some(struct subject *subject, const struct integers *n, uint64_t count, bool absent)
{
    uint8_t buffer[4];
    struct random random;
    random_seed(&random, 7);
    for (uint64_t i = 0; i < count; i++) {
        uint64_t index = random_below(&random, n->count);
        plsm_slice key = key_at(n, absent ? n->count + index : index, buffer);
        plsm_status status = subject_get(subject, key);
        if (status != PLSM_OK && status != PLSM_NOT_FOUND)
            return status;
        bool right = absent ? status == PLSM_NOT_FOUND
                            : status == PLSM_OK && subject->value.value.size == sizeof(uint32_t) &&
                                  get_u32(subject->value.value.data) == value_of(key);
        if (!right)
            return wrong(key);
    }
    return PLSM_OK;
}

static plsm_status read_range(struct subject *subject, const struct integers *n, uint64_t index)
{
    uint8_t buffer[4];
    uint32_t before = 0, got = 0;
    plsm_iterator *it = NULL;
    plsm_slice from = key_at(n, index, buffer), key = from;
    TRY(plsm_iterator_create(subject->db, NULL, from, (plsm_slice){0}, &it));
    for (plsm_iterator_first(it); plsm_iterator_valid(it) && got < RANGE_ENTRIES; plsm_iterator_next(it)) {
        key = plsm_iterator_key(it);
        uint32_t number = key.size == 4 ? __builtin_bswap32(get_u32(key.data)) : 0;
        plsm_slice value = plsm_iterator_value(it);
        bool right = key.size == 4 && (got ? number > before : slice_equal(key, from)) &&
                     value.size == sizeof(uint32_t) && get_u32(value.data) == value_of(key);
        if (!right)
            break;
        before = number;
        got++;
    }
    bool ended = !plsm_iterator_valid(it) || got == RANGE_ENTRIES;
    plsm_status status = plsm_iterator_status(it);
    plsm_iterator_destroy(it);
    return status != PLSM_OK ? status : ended && got > 0 ? PLSM_OK : wrong(from);
}

/* As many as a second allows, ten at least: where there is no order each sorts all names. */
static plsm_status read_ranges(struct subject *subject, const struct integers *n, double *us)
{
    struct random random;
    struct stopwatch watch;
    uint64_t most = n->count / RANGES_OF + 10, done = 0;
    random_seed(&random, 8);
    stopwatch_start(&watch);
    while (done < most && (done < 10 || stopwatch_wall_ns(&watch) < 1e9)) {
        TRY(read_range(subject, n, random_below(&random, n->count)));
        done++;
    }
    *us = stopwatch_wall_ns(&watch) / (double)done / 1e3;
    return PLSM_OK;
}

static plsm_status measure(struct subject *subject, const struct integers *n, double *out)
{
    struct stopwatch watch;
    uint64_t lookups = n->count < LOOKUPS_MAX ? n->count : LOOKUPS_MAX;
    stopwatch_start(&watch);
    TRY(write_all(subject, n));
    out[PUT] = stopwatch_wall_ns(&watch) / (double)n->count;
    TRY(subject_settle(subject));
    TRY(read_some(subject, n, lookups, false)); /* caches are filled */
    stopwatch_start(&watch);
    TRY(read_some(subject, n, lookups, false));
    out[GET] = stopwatch_wall_ns(&watch) / (double)lookups;
    stopwatch_start(&watch);
    TRY(read_some(subject, n, lookups, true));
    out[ABSENT] = stopwatch_wall_ns(&watch) / (double)lookups;
    return read_ranges(subject, n, &out[RANGE]);
}

static plsm_status run(const struct errand *errand, const char *directory, double *out)
{
    const struct row_options *row = &errand->suite->plan->row;
    struct subject subject = {0};
    struct integers n;
    integers_init(&n, errand->job->keys, errand->job->sparse, row->seed);
    plsm_status status = subject_open(&subject, errand, directory, "store", row->cache_bytes);
    if (status == PLSM_OK)
        status = measure(&subject, &n, out);
    plsm_status closed = subject_close(&subject);
    out[FILES] = subject_files(&subject) / (double)n.count;
    return status == PLSM_OK ? closed : status;
}

void suite_add_integers(struct suite *suite)
{
    for (int sparse = 0; sparse < 2; sparse++) {
        struct suite_job *job = suite_add(
            suite,
            &(struct suite_job){.part = "integers",
                                .about = "seed 002: keys and values are integers of 32 bits, written once in random "
                                         "order, then looked up; a range begins\nat a random key; wall time",
                                .figures = figures,
                                .figure_count = FIGURES,
                                .keys = suite_keys(suite),
                                .sparse = sparse,
                                .run = run});
        snprintf(job->label, sizeof job->label, "%s, %llu keys", sparse ? "sparse" : "dense",
                 (unsigned long long)job->keys);
    }
}
