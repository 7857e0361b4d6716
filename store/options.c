/* One table holds what there is to know of an option: where its value goes, what is allowed, its default and its help.
 * Parser, help text and plsm_options_has are all made from it, so they cannot disagree. */
#include "store/options.h"

#include <limits.h>

#include "base/bytes.h"
#include "base/error.h"

#include "base/banned.h"

/* X(name, least, most, default, help): the default is written as a user would. For words `least` is the list of words,
 * each followed by a bar; the value is its position. A number whose default is a word takes that word too, and is then
 * STORE_NOT_GIVEN. Fractions are kept in parts per million. GROUP_* take one value, or three with slashes between:
 * level 0, the levels between, the last level. */
#define OPTIONS(NUMBER, WORD, FRACTION, GROUP_NUMBER, GROUP_WORD, GROUP_FRACTION)                                      \
    WORD(engine, "auto|lsm|appendlog|hybridlog|", "auto",                                                              \
         "storage engine: auto (the one the store has; lsm for a new one), lsm, appendlog, hybridlog")                 \
    WORD(index, "traditional|learned|classic|", "learned",                                                             \
         "how a page is found: traditional (fences) or learned (models); classic: the plain layout, for comparison")   \
    NUMBER(buffer_size, 64 << 10, UINT64_C(4) << 30, "64M", "bytes written to memory before they become a run")        \
    NUMBER(spill_above, 0, UINT64_C(1) << 40, "0",                                                                     \
           "bytes of a batch that goes into runs at once; 0: as buffer_size, but 1M at least")                         \
    NUMBER(memory, 0, UINT64_C(1) << 44, "0",                                                                          \
           "bytes for everything that is kept in memory; the cache has what the rest leaves; 0: no such limit")        \
    NUMBER(cache_size, 0, UINT64_C(1) << 40, "256M", "bytes of the page cache; 0: none")                               \
    NUMBER(size_ratio, 2, 64, "10", "how many times larger each level is than the one above")                          \
    NUMBER(file_size, 64 << 10, UINT64_C(4) << 30, "64M",                                                              \
           "bytes of a run, or of a segment of both logs (appendlog: to 1G)")                                          \
    WORD(policy, "leveled|tiered|lazy|auto|", "leveled",                                                               \
         "sorted runs a level may hold: leveled (one), tiered (size_ratio - 1), lazy (so many, but one on the "        \
         "last); auto: follows what is asked of the store")                                                            \
    NUMBER(runs_per_level, 0, 64, "0", "sorted runs on each level but the last; 0: as the policy says")                \
    NUMBER(runs_last_level, 0, 64, "0", "sorted runs on the last level; 0: as the policy says")                        \
    NUMBER(deletions_compact, 0, 100, "50", "percent of deletions above which a run is compacted early; 0: off")       \
    NUMBER(compact_age, 0, UINT32_MAX, "0", "seconds after which data is compacted down to the last level; 0: never")  \
    NUMBER(ttl, 0, UINT32_MAX, "0", "seconds after which values that are put expire, unless they say when; 0: never")  \
    NUMBER(compact_threads, 1, 16, "2", "parts that a large compaction is split into, in threads of their own")        \
    NUMBER(l0_compact, 1, 64, "4", "runs in level 0 that start a compaction")                                          \
    NUMBER(l0_slowdown, 1, 1024, "8", "runs in level 0 from which on writers are slowed down")                         \
    NUMBER(l0_stop, 2, 1024, "20", "runs in level 0 at which writers wait")                                            \
    NUMBER(filter_bits, 0, 16, "8", "bits of a filter's fingerprint on the last level, 4 to 16; 0: no filters")        \
    WORD(filter, "auto|small|fuse|blocked|", "auto",                                                                   \
         "kind of filter: auto (cheapest for the keys), small (slower), fuse (the traditional one), blocked (larger "  \
         "and faster)")                                                                                                \
    NUMBER(filter_young, 0, 1, "1", "1: one table answers for all runs above the last level; 0: each has a filter")    \
    FRACTION(base_fpr, 500000, "0", "false positives of filters on the last level, instead of filter_bits; 0: unset")  \
    NUMBER(background, 0, 1, "1", "1: flush and compact in threads of their own; 0: inside the writing call")          \
    WORD(log, "mapped|written|", "mapped",                                                                             \
         "how small records reach the log: stored to its mapped pages where that is safe, or written by a call each")  \
    NUMBER(redo, 0, 1, "1", "hybridlog: 1: writes go into a redo log; 0: they survive from the next flush or sync on") \
    NUMBER(separate_above, 0, 1 << 20, "4K", "values of so many bytes go into value logs beside the runs; 0: none")    \
    FRACTION(separate_garbage, 1000000, "0.5", "garbage of a value log above which the rest of it is written anew")    \
    FRACTION(merge_garbage, 1000000, "0.5", "appendlog: garbage of a segment above which it is merged")                \
    NUMBER(merge_from, 0, 23, "0", "appendlog: hour of the day (UTC) from which on merges may begin")                  \
    NUMBER(merge_to, 0, 23, "0", "appendlog: hour of the day (UTC) up to which they may; that of merge_from: always")  \
    NUMBER(manifest_size, 4 << 10, UINT64_C(1) << 30, "4M", "bytes at which the MANIFEST is rewritten")                \
    GROUP_WORD(model, "auto|linear|plr|neural|trie|none|", "auto",                                                     \
               "kind of model: auto, linear, plr (piecewise linear), neural, trie, none")                              \
    GROUP_NUMBER(model_embed, 0, 1, "1", "1: the model is a block of its run; 0: a file of its own beside it")         \
    GROUP_NUMBER(model_cache, 0, 1 << 20, "1000", "models kept in memory; 0: none, the traditional index serves")      \
    GROUP_NUMBER(model_update, 0, 1, "1", "1: train when runs are written; 0: only plsm retrain does")                 \
    GROUP_NUMBER(model_incremental, 0, 1, "1", "1: the model of a level follows its changes; 0: made at opening")      \
    GROUP_NUMBER(model_batch, 0, UINT32_MAX, "1000", "pages of a level that change before its model is renewed")       \
    GROUP_FRACTION(model_confidence, 1000000, "0.8", "a model that is right on a smaller part of its pages is unused") \
    GROUP_NUMBER(model_error, 4 << 10, UINT64_C(1) << 30, "256K", "bytes the raw prediction may be off, corrected")    \
    GROUP_NUMBER(multi_get, 0, 1, "1", "1: plsm_multi_get asks for many keys at a time; 0: one after the other")       \
    GROUP_WORD(compression, "none|lz4|zstd|", "none",                                                                  \
               "how pages of runs are packed: none, lz4, zstd (smaller, slower)")                                      \
    NUMBER(compression_page, 4 << 10, 32 << 10, "8K", "bytes that are packed together: a multiple of 4K")              \
    NUMBER(compression_dictionary, 0, 64 << 10, "8K", "bytes of a dictionary for zstd, where it pays; 0: none")        \
    NUMBER(multi_get_max, 1, 128, "100", "keys that plsm_multi_get asks for at a time")                                \
    NUMBER(model_run_bytes, 0, UINT32_MAX, "1K", "metadata of a run's model; a larger one is not used")                \
    NUMBER(model_level_bytes, 0, UINT32_MAX, "10K", "the model of a level; a larger one is not used")                  \
    NUMBER(model_store_bytes, 0, UINT32_MAX, "100K", "the models of all levels; what exceeds it is not used")          \
    NUMBER(train_every, 1, 1 << 20, "1", "flushes and compactions between two trainings")                              \
    FRACTION(validation_rate, 1000000, "0", "part of the lookups that is done again the traditional way and compared") \
    WORD(sim, "off|nvme|ssd|hdd|cloud|own|", "off",                                                                    \
         "device whose I/O is charged in the statistics: nvme, ssd, hdd, cloud; own: by the figures below; off: none") \
    NUMBER(sim_latency_us, 0, 60000000, "profile", "time of a random read; a figure given stands above the profile's") \
    NUMBER(sim_overhead_ns, 0, 60000000, "profile", "time per request that the device cannot overlap; sim=own: 0")     \
    NUMBER(sim_queue_depth, 1, 65536, "profile", "reads of one batch that the device overlaps; sim=own: 1")            \
    NUMBER(sim_discount_percent, 0, 100, "profile", "part of both times that a sequential read is spared; sim=own: 0") \
    NUMBER(sim_read_bandwidth, 1000000, UINT64_C(1) << 40, "profile", "bytes that the device reads per second")        \
    NUMBER(sim_write_bandwidth, 1000000, UINT64_C(1) << 40, "profile", "bytes that the device writes per second")      \
    NUMBER(sim_cache, 0, UINT64_C(1) << 40, "cache_size",                                                              \
           "bytes of memory beside it: pages, index and filters in all")                                               \
    NUMBER(sim_sleep, 0, 1, "0", "1: sleep for what is charged; 0: only count it")

struct option {
    const char *name;
    const char *words; /* NULL: a number */
    uint64_t least, most;
    const char *standard;
    size_t offset;
    bool fraction, grouped;
};

#define NUMBER_ROW(field, low, high, normal, help)                                                                     \
    {#field, NULL, (low), (high), normal, offsetof(struct store_options, field), false, false},
#define WORD_ROW(field, list, normal, help)                                                                            \
    {#field, list, 0, 0, normal, offsetof(struct store_options, field), false, false},
#define FRACTION_ROW(field, high, normal, help)                                                                        \
    {#field, NULL, 0, (high), normal, offsetof(struct store_options, field), true, false},
#define GROUP_NUMBER_ROW(field, low, high, normal, help)                                                               \
    {#field, NULL, (low), (high), normal, offsetof(struct store_options, field), false, true},
#define GROUP_WORD_ROW(field, list, normal, help)                                                                      \
    {#field, list, 0, 0, normal, offsetof(struct store_options, field), false, true},
#define GROUP_FRACTION_ROW(field, high, normal, help)                                                                  \
    {#field, NULL, 0, (high), normal, offsetof(struct store_options, field), true, true},

static const struct option table[] = {
    OPTIONS(NUMBER_ROW, WORD_ROW, FRACTION_ROW, GROUP_NUMBER_ROW, GROUP_WORD_ROW, GROUP_FRACTION_ROW)};
enum { OPTION_COUNT = sizeof table / sizeof table[0] };

#define HELP(field, normal, help) "  " #field "=" normal "\n        " help "\n"
#define NUMBER_HELP(field, low, high, normal, help) HELP(field, normal, help)
#define WORD_HELP(field, list, normal, help) HELP(field, normal, help)
#define FRACTION_HELP(field, high, normal, help) HELP(field, normal, help)

const char *plsm_options_help(void)
{
    return OPTIONS(
        NUMBER_HELP, WORD_HELP, FRACTION_HELP, NUMBER_HELP, WORD_HELP,
        FRACTION_HELP) "Sizes take the suffixes K, M, G and T (powers of 1024). The options model, "
                       "model_embed,\n"
                       "_cache, _update, _incremental, _batch, _confidence and _error, multi_get and compression take "
                       "one value, or\n"
                       "three for level 0, the levels between and the last level: model=none/plr/auto.\n";
}

static const struct option *find(const char *name, size_t name_size)
{
    for (size_t i = 0; i < OPTION_COUNT; i++)
        if (strlen(table[i].name) == name_size && memcmp(table[i].name, name, name_size) == 0)
            return &table[i];
    return NULL;
}

bool plsm_options_has(const char *name, size_t name_size)
{
    return find(name, name_size) != NULL;
}

/* How far a suffix shifts; 0 for none of ours. */
static unsigned suffix_shift(char letter)
{
    switch (letter) {
    case 'k':
    case 'K':
        return 10;
    case 'm':
    case 'M':
        return 20;
    case 'g':
    case 'G':
        return 30;
    case 't':
    case 'T':
        return 40;
    default:
        return 0;
    }
}

static bool is_digit(char letter)
{
    return letter >= '0' && letter <= '9';
}

static plsm_status parse_number(const struct option *option, plsm_slice text, uint64_t *out)
{
    const char *at = text.data, *end = at + text.size;
    uint64_t number = 0;
    unsigned digits = 0;
    bool good = true;
    if (!is_digit(*option->standard) && slice_equal(text, slice_of(option->standard))) {
        *out = STORE_NOT_GIVEN;
        return PLSM_OK;
    }
    for (; at < end && is_digit(*at); at++, digits++) {
        good = good && !__builtin_mul_overflow(number, 10u, &number) &&
               !__builtin_add_overflow(number, (uint64_t)(*at - '0'), &number);
    }
    if (at < end) {
        unsigned shift = suffix_shift(*at++);
        good = good && shift && number <= UINT64_MAX >> shift;
        number = good ? number << shift : 0;
    }
    if (!good || digits == 0 || at != end)
        return fail(PLSM_INVALID, "option %s=%.*s: not a number (suffixes are K, M, G, T)", option->name,
                    (int)(text.size < 100 ? text.size : 100), (const char *)text.data);
    if (number < option->least || number > option->most)
        return fail(PLSM_INVALID, "option %s=%.*s: must be between %llu and %llu", option->name,
                    (int)(text.size < 100 ? text.size : 100), (const char *)text.data,
                    (unsigned long long)option->least, (unsigned long long)option->most);
    *out = number;
    return PLSM_OK;
}

static plsm_status parse_word(const struct option *option, plsm_slice text, uint64_t *out)
{
    uint64_t position = 0;
    for (const char *word = option->words; *word; position++) {
        size_t size = (size_t)(strchr(word, '|') - word);
        if (slice_equal(slice(word, size), text)) {
            *out = position;
            return PLSM_OK;
        }
        word += size + 1;
    }
    return fail(PLSM_INVALID, "option %s=%.*s: must be one of %.*s", option->name,
                (int)(text.size < 100 ? text.size : 100), (const char *)text.data, (int)strlen(option->words) - 1,
                option->words);
}

/* Digits with at most one point, to millionths. */
static plsm_status parse_fraction(const struct option *option, plsm_slice text, uint64_t *out)
{
    enum { MILLION = 1000000 };
    const char *bytes = text.data;
    uint64_t number = 0, scale = 0; /* scale 0: in front of the point */
    bool good = text.size > 0 && text.size < 16;
    unsigned digits = 0;
    for (size_t i = 0; i < text.size && good; i++) {
        bool point = bytes[i] == '.' && scale == 0, digit = bytes[i] >= '0' && bytes[i] <= '9';
        good = point || digit;
        digits += digit;
        if (point)
            scale = MILLION;
        else if (scale == 0)
            number = number * 10 + (uint64_t)(bytes[i] - '0') * MILLION;
        else
            number += (uint64_t)(bytes[i] - '0') * (scale /= 10);
    }
    if (!good || digits == 0 || number > option->most)
        return fail(PLSM_INVALID, "option %s=%.*s: must be a fraction between 0 and %g", option->name,
                    (int)(text.size < 100 ? text.size : 100), (const char *)text.data, (double)option->most / MILLION);
    *out = number;
    return PLSM_OK;
}

static plsm_status parse_value(const struct option *option, plsm_slice text, uint64_t *out)
{
    if (option->words)
        return parse_word(option, text, out);
    return option->fraction ? parse_fraction(option, text, out) : parse_number(option, text, out);
}

static plsm_status set(const struct option *option, plsm_slice text, struct store_options *out)
{
    uint64_t *to = (uint64_t *)(void *)((char *)out + option->offset);
    const char *at = text.data, *end = at + text.size;
    unsigned count = 0;
    if (!option->grouped)
        return parse_value(option, text, to);
    for (bool more = true; more; count++) {
        const char *slash = memchr(at, '/', (size_t)(end - at));
        if (count == STORE_GROUPS)
            break;
        TRY(parse_value(option, slice(at, (size_t)((slash ? slash : end) - at)), &to[count]));
        more = slash != NULL;
        at = slash ? slash + 1 : end;
    }
    if (at != end || (count != 1 && count != STORE_GROUPS))
        return fail(PLSM_INVALID,
                    "option %s=%.*s: takes one value, or three for level 0, the levels between and the last level",
                    option->name, (int)(text.size < 100 ? text.size : 100), (const char *)text.data);
    for (; count < STORE_GROUPS; count++)
        to[count] = to[0];
    return PLSM_OK;
}

/* What no single option can know. */
static plsm_status check_together(const struct store_options *options)
{
    if (options->filter_bits > 0 && options->filter_bits < 4)
        return fail(PLSM_INVALID, "option filter_bits=%llu: must be 0 or between 4 and 16",
                    (unsigned long long)options->filter_bits);
    if (options->compression_page % 4096)
        return fail(PLSM_INVALID, "option compression_page=%llu: must be a multiple of 4096",
                    (unsigned long long)options->compression_page);
    if (options->compression_dictionary > 0 && options->compression_dictionary < 256)
        return fail(PLSM_INVALID, "option compression_dictionary=%llu: must be 0 or between 256 and 65536",
                    (unsigned long long)options->compression_dictionary);
    if (options->l0_slowdown < options->l0_compact || options->l0_stop <= options->l0_slowdown)
        return fail(PLSM_INVALID,
                    "options l0_compact=%llu, l0_slowdown=%llu, l0_stop=%llu: must not fall, and the last must be the "
                    "largest",
                    (unsigned long long)options->l0_compact, (unsigned long long)options->l0_slowdown,
                    (unsigned long long)options->l0_stop);
    if (options->memory > 0 && options->memory < STORE_MEMORY_LEAST)
        return fail(PLSM_INVALID, "option memory=%llu: must be 0 or at least 1M", (unsigned long long)options->memory);
    if (options->sim == STORE_SIM_OWN &&
        (options->sim_latency_us == STORE_NOT_GIVEN || options->sim_read_bandwidth == STORE_NOT_GIVEN ||
         options->sim_write_bandwidth == STORE_NOT_GIVEN))
        return fail(PLSM_INVALID, "option sim=own: needs sim_latency_us, sim_read_bandwidth and sim_write_bandwidth");
    return PLSM_OK;
}

plsm_status store_options_parse(const char *text, struct store_options *out)
{
    *out = (struct store_options){0};
    for (size_t i = 0; i < OPTION_COUNT; i++)
        INVARIANT(set(&table[i], slice_of(table[i].standard), out) == PLSM_OK);
    for (const char *at = text ? text : ""; *at;) {
        size_t size = strcspn(at, ",");
        size_t name_size = strcspn(at, "=,");
        if (size > 0) { /* an empty piece, as a trailing comma leaves it, is no offence */
            const struct option *option = find(at, name_size);
            if (!option)
                return fail(PLSM_INVALID, "unknown option \"%.*s\"", (int)(size < 200 ? size : 200), at);
            if (name_size == size)
                return fail(PLSM_INVALID, "option %s needs a value: %s=%s", option->name, option->name,
                            option->standard);
            TRY(set(option, slice(at + name_size + 1, size - name_size - 1), out));
            out->buffer_size_given |= option->offset == offsetof(struct store_options, buffer_size);
            out->cache_size_given |= option->offset == offsetof(struct store_options, cache_size);
        }
        at += size;
        at += *at == ',';
    }
    return check_together(out);
}

plsm_status plsm_options_check(const char *options)
{
    struct store_options parsed;
    return store_options_parse(options, &parsed);
}

const char *store_policy_name(const struct store_options *options)
{
    static const char *const names[] = {"leveled", "tiered", "lazy", "auto"};
    return names[options->policy];
}

const char *store_index_name(const struct store_options *options)
{
    static const char *const names[] = {"traditional", "learned", "classic"};
    return names[options->index];
}
