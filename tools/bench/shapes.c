#include "tools/bench/shapes.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/error.h"
#include "tools/bench/lines.h"
#include "tools/bench/permutation.h"

#include "base/banned.h"

typedef plsm_slice key_maker(const struct shape_set *set, uint64_t index, uint8_t *buffer);

/* How the keys of a shape are made. */
struct shape_maker {
    key_maker *key, *absent[SHAPE_ABSENT_COUNT];
    uint64_t missing, of; /* of how many numbers how many are missing; 0: none */
    uint64_t late_ms;     /* how late a measurement may be, at most; 0: never */
    bool trees;           /* lines are paths: some trees are held out */
};

struct shape_set {
    const struct shape *shape;
    uint64_t keys, seed, absent_counts[SHAPE_ABSENT_COUNT];
    struct permutation shuffle, universe;
    struct lines lines;
};

/* --- numbers ---------------------------------------------------------------------------------------------------- */

static plsm_slice binary_key(uint64_t number, uint8_t *buffer)
{
    put_be64(buffer, number);
    return slice(buffer, 8);
}

static plsm_slice counters_key(const struct shape_set *set, uint64_t index, uint8_t *buffer)
{
    return binary_key(index, buffer);
}

static plsm_slice counters_absent(const struct shape_set *set, uint64_t index, uint8_t *buffer)
{
    return binary_key(set->keys + index, buffer);
}

/* A bijection of the universe of numbers takes the indexes below `keys` to those that are there and the indexes behind
 * to those that are missing: a random subset of exactly the right size, with nothing stored. */
static plsm_slice gaps_key(const struct shape_set *set, uint64_t index, uint8_t *buffer)
{
    return binary_key(permutation_at(&set->universe, index), buffer);
}

static plsm_slice gaps_absent(const struct shape_set *set, uint64_t index, uint8_t *buffer)
{
    return binary_key(permutation_at(&set->universe, set->keys + index), buffer);
}

/* Eight decimal digits of a number below 10^8 as eight bytes, the first digit lowest. Splits all parts of the number at
 * once: two of four digits, four of two, eight of one. */
static uint64_t digits8(uint32_t number)
{
    uint64_t fours = number / 10000 | (uint64_t)(number % 10000) << 32;
    uint64_t hundreds = fours * 10486 >> 20 & 0x0000007f0000007f; /* 10486 / 2^20 is 1/100 for four digits */
    uint64_t twos = hundreds | (fours - hundreds * 100) << 16;
    uint64_t tens = twos * 103 >> 10 & 0x000f000f000f000f; /* 103 / 2^10 is 1/10 for two digits */
    return (tens | (twos - tens * 10) << 8) + 0x3030303030303030;
}

static plsm_slice decimal16(uint64_t number, uint8_t *buffer)
{
    put_u64(buffer, digits8((uint32_t)(number / 100000000)));
    put_u64(buffer + 8, digits8((uint32_t)(number % 100000000)));
    return slice(buffer, 16);
}

static plsm_slice decimal_key(const struct shape_set *set, uint64_t index, uint8_t *buffer)
{
    return decimal16(index * 10, buffer);
}

static plsm_slice decimal_absent(const struct shape_set *set, uint64_t index, uint8_t *buffer)
{
    return decimal16(index * 10 + 5, buffer);
}

/* --- hashes ----------------------------------------------------------------------------------------------------- */

/* YCSB's hash of a counter below 2^32, whose upper four bytes are zero: one multiplication does for all of them. No two
 * such counters have the same hash: see the test. */
static uint64_t ycsb_hash(uint32_t counter)
{
    const uint64_t prime = 1099511628211u, prime4 = prime * prime * (prime * prime);
    uint64_t hash = 0xcbf29ce484222325u;
    hash = (hash ^ (counter & 0xff)) * prime;
    hash = (hash ^ (counter >> 8 & 0xff)) * prime;
    hash = (hash ^ (counter >> 16 & 0xff)) * prime;
    hash = (hash ^ counter >> 24) * prime * prime4;
    return hash >> 63 ? -hash : hash;
}

/* A hash has up to 19 digits: up to 3, without leading zeros, then 16. */
static plsm_slice ycsb_of(uint32_t counter, uint8_t *buffer)
{
    const uint64_t unit = 10000000000000000;
    uint64_t hash = ycsb_hash(counter);
    uint32_t high = (uint32_t)(hash / unit), zeros = (high < 100) + (high < 10);
    uint32_t digits = (high / 100 | high / 10 % 10 << 8 | high % 10 << 16) + 0x303030;
    memcpy(buffer, "user", 4);
    put_u32(buffer + 4, digits >> zeros * 8);
    decimal16(hash % unit, buffer + 7 - zeros);
    if (__builtin_expect(high == 0, 0)) {
        int size = snprintf((char *)buffer, SHAPE_MADE_MAX, "user%llu", (unsigned long long)hash);
        return slice(buffer, (size_t)size);
    }
    return slice(buffer, 23 - zeros);
}

static plsm_slice ycsb_key(const struct shape_set *set, uint64_t index, uint8_t *buffer)
{
    return ycsb_of((uint32_t)index, buffer);
}

static plsm_slice ycsb_absent(const struct shape_set *set, uint64_t index, uint8_t *buffer)
{
    return ycsb_of((uint32_t)((uint64_t)SHAPE_KEYS_MAX + index), buffer);
}

struct hashes {
    uint64_t first, second;
};

/* SplitMix64's step is a bijection, so different indexes have different first hashes. */
static struct hashes hashes_of(uint64_t index, uint64_t seed)
{
    uint64_t state = index + (seed << 32), first = splitmix64(&state);
    return (struct hashes){first, splitmix64(&state)};
}

static plsm_slice random_of(uint64_t index, uint64_t seed, uint8_t *buffer)
{
    struct hashes hashes = hashes_of(index, seed);
    put_u64(buffer, hashes.first);
    put_u64(buffer + 8, hashes.second);
    return slice(buffer, 16);
}

static const uint64_t OTHER_INDEXES = UINT64_C(1) << 48; /* of absent keys: from here on */

static plsm_slice random_key(const struct shape_set *set, uint64_t index, uint8_t *buffer)
{
    return random_of(index, set->seed, buffer);
}

static plsm_slice random_absent(const struct shape_set *set, uint64_t index, uint8_t *buffer)
{
    return random_of(OTHER_INDEXES + index, set->seed, buffer);
}

/* Eight hex digits of four bytes, the high half of the first byte lowest. */
static uint64_t hex8(uint32_t bytes)
{
    uint64_t x = bytes;
    x = (x | x << 16) & 0x0000ffff0000ffff;
    x = (x | x << 8) & 0x00ff00ff00ff00ff;
    x = (x >> 4 | x << 8) & 0x0f0f0f0f0f0f0f0f;
    uint64_t letters = (x + 0x0606060606060606) >> 4 & 0x0101010101010101; /* 1 where the digit is above 9 */
    return x + 0x3030303030303030 + letters * ('a' - '0' - 10);
}

static plsm_slice hex_of(uint64_t index, uint64_t seed, uint8_t *buffer)
{
    struct hashes hashes = hashes_of(index, seed);
    put_u64(buffer, hex8((uint32_t)hashes.first));
    put_u64(buffer + 8, hex8((uint32_t)(hashes.first >> 32)));
    put_u64(buffer + 16, hex8((uint32_t)hashes.second));
    put_u64(buffer + 24, hex8((uint32_t)(hashes.second >> 32)));
    return slice(buffer, 32);
}

static plsm_slice hex_key(const struct shape_set *set, uint64_t index, uint8_t *buffer)
{
    return hex_of(index, set->seed, buffer);
}

static plsm_slice hex_absent(const struct shape_set *set, uint64_t index, uint8_t *buffer)
{
    return hex_of(OTHER_INDEXES + index, set->seed, buffer);
}

/* --- series ----------------------------------------------------------------------------------------------------- */

enum { SERIES_KEYS = 1000, SERIES_STEP_MS = 15000, SERIES_DAY_MS = 86400000 };
/* Of each SERIES_BLOCK + 1 measurements in a row one is missing, so that the place of any is known at once. */
enum { SERIES_BLOCK = 100, SERIES_BLOCKS = SERIES_KEYS / SERIES_BLOCK };
enum { SERIES_LATE_MS = 9 };
static const uint64_t SERIES_EPOCH_MS = 1700000000000; /* November 2023 */

struct series {
    uint64_t id, hash, begin_ms;
};

static struct series series_at(const struct shape_set *set, uint64_t number)
{
    struct hashes hashes = hashes_of(number, set->seed);
    struct series series = {.id = hashes.first, .hash = hashes.second};
    series.begin_ms = SERIES_EPOCH_MS + ((series.hash >> 32) * SERIES_DAY_MS >> 32);
    return series;
}

/* Evenly below `bound` for each of a series' numbers. */
static uint64_t series_draw(const struct series *series, uint64_t number, uint64_t bound)
{
    uint64_t mixed = (series->hash ^ number * 0x9e3779b97f4a7c15u) * 0xbf58476d1ce4e5b9u;
    mixed = (mixed ^ mixed >> 29) * 0x94d049bb133111ebu;
    return (mixed >> 32) * bound >> 32;
}

static plsm_slice series_moment(const struct series *series, uint64_t ms, uint8_t *buffer)
{
    put_be64(buffer, series->id);
    put_be64(buffer + 8, ms);
    return slice(buffer, 16);
}

/* Which of its series' measurements, missing ones counted, is the missing one of a block. */
static uint64_t missing_measurement(const struct series *series, uint64_t block)
{
    return block * (SERIES_BLOCK + 1) + series_draw(series, block, SERIES_BLOCK + 1);
}

static uint64_t measurement_at(const struct series *series, uint64_t key)
{
    uint64_t block = key / SERIES_BLOCK, measurement = key + block;
    return measurement + (measurement >= missing_measurement(series, block));
}

static uint64_t measured_ms(const struct shape_set *set, const struct series *series, uint64_t measurement)
{
    uint64_t late_ms = series_draw(series, SERIES_BLOCKS + measurement, set->shape->maker->late_ms + 1);
    return series->begin_ms + measurement * SERIES_STEP_MS + late_ms;
}

static plsm_slice series_key(const struct shape_set *set, uint64_t index, uint8_t *buffer)
{
    struct series series = series_at(set, index / SERIES_KEYS);
    uint64_t measurement = measurement_at(&series, index % SERIES_KEYS);
    return series_moment(&series, measured_ms(set, &series, measurement), buffer);
}

static plsm_slice series_missing(const struct shape_set *set, uint64_t index, uint8_t *buffer)
{
    struct series series = series_at(set, index / SERIES_BLOCKS);
    uint64_t measurement = missing_measurement(&series, index % SERIES_BLOCKS);
    return series_moment(&series, measured_ms(set, &series, measurement), buffer);
}

/* Later than any measurement can be late, and before the next. */
static plsm_slice series_between(const struct shape_set *set, uint64_t index, uint8_t *buffer)
{
    struct series series = series_at(set, index / SERIES_KEYS);
    uint64_t measurement = measurement_at(&series, index % SERIES_KEYS);
    uint64_t after = SERIES_LATE_MS + 1 + series_draw(&series, ~measurement, SERIES_STEP_MS - SERIES_LATE_MS - 1);
    return series_moment(&series, series.begin_ms + measurement * SERIES_STEP_MS + after, buffer);
}

/* --- lines of files --------------------------------------------------------------------------------------------- */

static plsm_slice lines_key(const struct shape_set *set, uint64_t index, uint8_t *buffer)
{
    return lines_at(&set->lines, LINES_SET, index);
}

static plsm_slice lines_left_out(const struct shape_set *set, uint64_t index, uint8_t *buffer)
{
    return lines_at(&set->lines, LINES_LEFT_OUT, index);
}

static plsm_slice lines_mistyped(const struct shape_set *set, uint64_t index, uint8_t *buffer)
{
    return lines_changed(&set->lines, index, SHAPE_KEY_MAX, buffer);
}

static plsm_slice lines_foreign(const struct shape_set *set, uint64_t index, uint8_t *buffer)
{
    return lines_at(&set->lines, LINES_HELD_OUT, index);
}

/* --- sets ------------------------------------------------------------------------------------------------------- */

/* File-scope literals: one maker beside each shape. */
#define MAKER(...) (&(const struct shape_maker){__VA_ARGS__})
const struct shape shapes[] = {
    {"counters", "numbers, none missing", .ordered = true,
     .maker = MAKER(.key = counters_key, .absent = {counters_absent})},
    {"counters10", "numbers, 10 % missing at random", .scattered = true,
     .maker = MAKER(.key = gaps_key, .absent = {gaps_absent}, .missing = 10, .of = 100)},
    {"counters75", "numbers, 75 % missing at random", .scattered = true,
     .maker = MAKER(.key = gaps_key, .absent = {gaps_absent}, .missing = 75, .of = 100)},
    {"ycsb", "\"user\" and the decimal hash of a counter, as YCSB makes them", .scattered = true,
     .maker = MAKER(.key = ycsb_key, .absent = {ycsb_absent})},
    {"random", "16 random bytes", .scattered = true, .maker = MAKER(.key = random_key, .absent = {random_absent})},
    {"hex", "32 random hex digits", .scattered = true, .maker = MAKER(.key = hex_key, .absent = {hex_absent})},
    {"series", "measurements of many series, every 15 s: the series' hash, then the time",
     .maker = MAKER(.key = series_key, .absent = {series_missing, series_between})},
    {"series_jitter", "the same, some milliseconds late",
     .maker = MAKER(.key = series_key, .absent = {series_missing, series_between}, .late_ms = SERIES_LATE_MS)},
    {"decimal", "16 decimal digits", .ordered = true, .maker = MAKER(.key = decimal_key, .absent = {decimal_absent})},
    {"words", "words of 20 languages", .ordered = true, .file = "words.txt",
     .maker = MAKER(.key = lines_key, .absent = {lines_left_out, lines_mistyped})},
    {"paths", "files of Debian's packages and their sources", .ordered = true, .file = "paths.txt",
     .maker = MAKER(.key = lines_key, .absent = {lines_left_out, lines_mistyped, lines_foreign}, .trees = true)},
    {0},
};

const struct shape *shape_find(const char *name)
{
    for (const struct shape *shape = shapes; shape->name; shape++)
        if (strcmp(shape->name, name) == 0)
            return shape;
    return NULL;
}

__attribute__((cold)) static plsm_status no_such_shape(const char *name)
{
    struct buf names = {0};
    plsm_status status = PLSM_OK;
    for (const struct shape *shape = shapes; shape->name && status == PLSM_OK; shape++)
        status = buf_printf(&names, "%s%s", shape == shapes ? "" : ", ", shape->name);
    if (status == PLSM_OK)
        status = fail(PLSM_INVALID, "%s: no such shape of keys; there are %.*s", name, (int)names.size,
                      (const char *)names.data);
    buf_free(&names);
    return status;
}

/* Where scripts/key-sets puts its files. */
static plsm_status default_directory(char *path, size_t size)
{
    const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    int length = 0;
    if (cache && *cache)
        length = snprintf(path, size, "%s/plsm-key-sets", cache);
    else if (home && *home)
        length = snprintf(path, size, "%s/.cache/plsm-key-sets", home);
    else
        return fail(PLSM_INVALID, "which directory has the files of scripts/key-sets? HOME is not set: name it");
    return length < (int)size ? PLSM_OK : fail(PLSM_INVALID, "the path is too long: %s", path);
}

static plsm_status open_lines(struct shape_set *set, const char *directory)
{
    char standard[PATH_MAX];
    if (!directory) {
        TRY(default_directory(standard, sizeof standard));
        directory = standard;
    }
    TRY(lines_read(&set->lines, directory, set->shape->file, SHAPE_KEY_MAX, set->shape->maker->trees, set->keys,
                   set->seed));
    set->absent_counts[SHAPE_ABSENT_OTHER] = set->lines.counts[LINES_LEFT_OUT];
    set->absent_counts[SHAPE_ABSENT_FOREIGN] = set->lines.counts[LINES_HELD_OUT];
    return PLSM_OK;
}

static void open_generated(struct shape_set *set)
{
    const struct shape_maker *maker = set->shape->maker;
    if (maker->missing) {
        uint64_t there = maker->of - maker->missing, missing = (set->keys * maker->missing + there - 1) / there;
        permutation_init(&set->universe, set->keys + missing, ~set->seed);
        set->absent_counts[SHAPE_ABSENT_OTHER] = missing;
    }
    if (maker->key == series_key) /* one of each block begun */
        set->absent_counts[SHAPE_ABSENT_OTHER] = (set->keys + SERIES_BLOCK - 1) / SERIES_BLOCK;
}

plsm_status shape_open(const char *name, uint64_t keys, uint64_t seed, const char *directory, struct shape_set **out)
{
    const struct shape *shape = shape_find(name);
    *out = NULL;
    if (!shape)
        return no_such_shape(name);
    if (keys < 1 || keys > SHAPE_KEYS_MAX)
        return fail(PLSM_INVALID, "%llu keys: a set has 1 to %d", (unsigned long long)keys, SHAPE_KEYS_MAX);
    struct shape_set *set = mem_zalloc(sizeof *set);
    if (!set)
        return fail(PLSM_NO_MEMORY, "no memory for a set of keys");
    set->shape = shape;
    set->keys = keys;
    set->seed = seed;
    for (int way = 0; way < SHAPE_ABSENT_COUNT; way++)
        set->absent_counts[way] = shape->maker->absent[way] ? keys : 0;
    permutation_init(&set->shuffle, keys, seed);
    plsm_status status = PLSM_OK;
    if (shape->file)
        status = open_lines(set, directory);
    else
        open_generated(set);
    if (status == PLSM_OK)
        *out = set;
    else
        shape_close(set);
    return status;
}

void shape_close(struct shape_set *set)
{
    if (!set)
        return;
    lines_free(&set->lines);
    mem_free(set);
}

const struct shape *shape_of(const struct shape_set *set)
{
    return set->shape;
}

uint64_t shape_count(const struct shape_set *set)
{
    return set->keys;
}

plsm_slice shape_key(const struct shape_set *set, uint64_t index, uint8_t buffer[SHAPE_MADE_MAX])
{
    INVARIANT(index < set->keys);
    return set->shape->maker->key(set, index, buffer);
}

uint64_t shape_absent_count(const struct shape_set *set, enum shape_absent way)
{
    return set->absent_counts[way];
}

plsm_slice shape_absent(const struct shape_set *set, enum shape_absent way, uint64_t index,
                        uint8_t buffer[SHAPE_KEY_MAX])
{
    INVARIANT(index < set->absent_counts[way]);
    return set->shape->maker->absent[way](set, index, buffer);
}

uint64_t shape_shuffled(const struct shape_set *set, uint64_t i)
{
    INVARIANT(i < set->keys);
    return permutation_at(&set->shuffle, i);
}
