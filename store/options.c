/* One table holds what there is to know of an option: where its value goes, what is allowed, its default and its help.
 * Parser, help text and plsm_options_has are all made from it, so they cannot disagree. */
#include "store/options.h"

#include <limits.h>

#include "base/bytes.h"
#include "base/error.h"

#include "base/banned.h"

/* X(name, kind, least, most, default, help): the default is written as a user would. For words `least` is unused, and
 * `most` is the list of words, each followed by a bar; the value is its position. */
#define OPTIONS(NUMBER, WORD)                                                                                          \
    WORD(engine, "lsm|", "lsm", "storage engine: lsm")                                                                 \
    WORD(index, "traditional|learned|", "learned", "how a page is found: traditional (fences) or learned (models)")    \
    NUMBER(buffer_size, 64 << 10, UINT64_C(4) << 30, "64M", "bytes written to memory before they become a run")        \
    NUMBER(cache_size, 0, UINT64_C(1) << 40, "256M", "bytes of the page cache; 0: none")                               \
    NUMBER(size_ratio, 2, 64, "10", "how many times larger each level is than the one above")                          \
    NUMBER(file_size, 64 << 10, UINT64_C(4) << 30, "64M", "bytes at which compaction starts a new run")                \
    NUMBER(l0_compact, 1, 64, "4", "runs in level 0 that start a compaction")                                          \
    NUMBER(l0_slowdown, 1, 1024, "8", "runs in level 0 from which on writers are slowed down")                         \
    NUMBER(l0_stop, 2, 1024, "20", "runs in level 0 at which writers wait")                                            \
    NUMBER(filter_bits, 0, 16, "8", "bits of a filter's fingerprint on the last level, 4 to 16; 0: no filters")        \
    NUMBER(background, 0, 1, "1", "1: flush and compact in threads of their own; 0: inside the writing call")          \
    NUMBER(manifest_size, 4 << 10, UINT64_C(1) << 30, "4M", "bytes at which the MANIFEST is rewritten")

struct option {
    const char *name;
    const char *words; /* NULL: a number */
    uint64_t least, most;
    const char *standard;
    size_t offset;
};

#define NUMBER_ROW(field, low, high, normal, help)                                                                     \
    {#field, NULL, (low), (high), normal, offsetof(struct store_options, field)},
#define WORD_ROW(field, list, normal, help) {#field, list, 0, 0, normal, offsetof(struct store_options, field)},

static const struct option table[] = {OPTIONS(NUMBER_ROW, WORD_ROW)};
enum { OPTION_COUNT = sizeof table / sizeof table[0] };

#define NUMBER_HELP(field, low, high, normal, help) "  " #field "=" normal "\n        " help "\n"
#define WORD_HELP(field, list, normal, help) "  " #field "=" normal "\n        " help "\n"

const char *plsm_options_help(void)
{
    return OPTIONS(NUMBER_HELP, WORD_HELP) "Sizes take the suffixes K, M, G and T (powers of 1024).\n";
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

static plsm_status parse_number(const struct option *option, plsm_slice text, uint64_t *out)
{
    const char *at = text.data, *end = at + text.size;
    uint64_t number = 0;
    unsigned digits = 0;
    bool good = true;
    for (; at < end && *at >= '0' && *at <= '9'; at++, digits++) {
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

static plsm_status set(const struct option *option, plsm_slice text, struct store_options *out)
{
    uint64_t value = 0;
    TRY(option->words ? parse_word(option, text, &value) : parse_number(option, text, &value));
    memcpy((char *)out + option->offset, &value, sizeof value);
    return PLSM_OK;
}

/* What no single option can know. */
static plsm_status check_together(const struct store_options *options)
{
    if (options->filter_bits > 0 && options->filter_bits < 4)
        return fail(PLSM_INVALID, "option filter_bits=%llu: must be 0 or between 4 and 16",
                    (unsigned long long)options->filter_bits);
    if (options->l0_slowdown < options->l0_compact || options->l0_stop <= options->l0_slowdown)
        return fail(PLSM_INVALID,
                    "options l0_compact=%llu, l0_slowdown=%llu, l0_stop=%llu: must not fall, and the last must be the "
                    "largest",
                    (unsigned long long)options->l0_compact, (unsigned long long)options->l0_slowdown,
                    (unsigned long long)options->l0_stop);
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

const char *store_index_name(const struct store_options *options)
{
    return options->index == STORE_INDEX_LEARNED ? "learned" : "traditional";
}
