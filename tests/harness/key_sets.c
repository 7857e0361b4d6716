#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/error.h"
#include "tests/harness/key_sets.h"

#include "base/banned.h"

enum { KEY_SIZE_MAX = 8193 };

const char *key_shape_name(enum key_shape shape)
{
    static const char *const names[KEY_SHAPE_COUNT] = {
        [KEYS_COUNTERS] = "counters",     [KEYS_COUNTERS_SPARSE] = "sparse counters",
        [KEYS_DECIMALS] = "decimals",     [KEYS_DECIMALS_RAGGED] = "ragged decimals",
        [KEYS_RANDOM] = "random",         [KEYS_HEX] = "hex",
        [KEYS_PATHS] = "paths",           [KEYS_WORDS] = "words",
        [KEYS_SERIES] = "series",         [KEYS_NESTED] = "nested",
        [KEYS_EDGE_BYTES] = "edge bytes", [KEYS_LONG] = "long",
        [KEYS_SKEWED] = "skewed",         [KEYS_DEEP_CLUSTERS] = "deep clusters",
        [KEYS_VERSIONS] = "versions",     [KEYS_MIXED_SPACES] = "mixed spaces",
    };
    return names[shape];
}

static size_t make_edge_bytes(struct random *random, uint8_t *out)
{
    static const uint8_t edges[] = {0x00, 0x01, 0xfe, 0xff};
    size_t size = 1 + random_below(random, random_below(random, 8) ? 12 : 100);
    for (size_t i = 0; i < size; i++)
        out[i] = edges[random_below(random, sizeof edges)];
    return size;
}

static size_t make_words(struct random *random, uint8_t *out)
{
    static const char *const syllables[] = {"inter", "national", "ize", "un", "re", "ation", "er", "s", "able", "pre"};
    size_t size = 0;
    for (uint64_t i = 1 + random_below(random, 6); i > 0; i--) {
        const char *syllable = syllables[random_below(random, 10)];
        memcpy(out + size, syllable, strlen(syllable));
        size += strlen(syllable);
    }
    for (uint64_t i = random_below(random, 4); i > 0; i--)
        out[size++] = (uint8_t)('a' + random_below(random, 26));
    return size;
}

static size_t make_long(struct random *random, uint8_t *out)
{
    static const size_t depths[] = {0, 10, 70, 1000, 4095, 8180};
    size_t at = depths[random_below(random, 6)], size = at + 9 + random_below(random, KEY_SIZE_MAX - at - 8);
    memset(out, 'p', size);
    put_be64(out + at, random_next(random) >> random_below(random, 64));
    return size;
}

static size_t make_text(enum key_shape shape, uint64_t i, struct random *random, uint8_t *out)
{
    char *text = (char *)out;
    enum { ROOM = 200 };
    switch (shape) {
    case KEYS_DECIMALS:
        return (size_t)snprintf(text, ROOM, "key%016llu", (unsigned long long)i);
    case KEYS_DECIMALS_RAGGED:
        return (size_t)snprintf(text, ROOM, "user%llu", (unsigned long long)(i * 7));
    case KEYS_HEX:
        return (size_t)snprintf(text, ROOM, "%016llx%016llx", (unsigned long long)random_next(random),
                                (unsigned long long)random_next(random));
    default:
        return (size_t)snprintf(text, ROOM, "home/user%llu/project-%llu/src/file%llu.%s",
                                (unsigned long long)random_below(random, 9),
                                (unsigned long long)random_below(random, 70),
                                (unsigned long long)random_below(random, 100000), i % 3 ? "c" : "html");
    }
}

static size_t make_binary(enum key_shape shape, uint64_t i, struct random *random, uint8_t *out)
{
    switch (shape) {
    case KEYS_COUNTERS_SPARSE:
        i = i * 4 + random_below(random, 4);
        break;
    case KEYS_SKEWED:
        i = (UINT64_C(1) << (i % 64)) + i / 64;
        break;
    case KEYS_SERIES:
        put_be64(out, (i % 61) * 0x9e3779b97f4a7c15u);
        put_be64(out + 8, 1700000000000000000u + random_below(random, 86400000000000u));
        return 16;
    case KEYS_RANDOM:
        put_u64(out + 8, random_next(random));
        put_u64(out, random_next(random));
        return 16;
    case KEYS_VERSIONS:
        i /= 1 + 13 * (i % 2);
        break;
    default:
        break;
    }
    put_be64(out, i);
    return 8;
}

/* Writes key number `i` of its shape; they need not ascend or differ. */
static size_t make_key(enum key_shape shape, uint64_t i, struct random *random, uint8_t *out)
{
    static const char deep[] =
        "a cluster behind a prefix that is longer than a code can see: 64 bytes at least, and more";
    switch (shape) {
    case KEYS_DECIMALS:
    case KEYS_DECIMALS_RAGGED:
    case KEYS_HEX:
    case KEYS_PATHS:
        return make_text(shape, i, random, out);
    case KEYS_WORDS:
        return make_words(random, out);
    case KEYS_EDGE_BYTES:
        return make_edge_bytes(random, out);
    case KEYS_LONG:
        return make_long(random, out);
    case KEYS_NESTED:
        memset(out, 'a', 1 + i % 300);
        put_u64(out + 1 + i % 300, i / 300);
        return 1 + i % 300 + (i / 300 ? 2 : 0);
    case KEYS_DEEP_CLUSTERS:
        if (i % 2)
            return make_binary(KEYS_RANDOM, i, random, out);
        memcpy(out, deep, sizeof deep);
        put_be64(out + sizeof deep, i);
        return sizeof deep + 8;
    case KEYS_MIXED_SPACES:
        out[0] = (uint8_t)(i % 3);
        return 1 + (i % 3 == 0   ? make_binary(KEYS_COUNTERS, i, random, out + 1)
                    : i % 3 == 1 ? make_text(KEYS_PATHS, i, random, out + 1)
                                 : make_words(random, out + 1));
    default:
        return make_binary(shape, i, random, out);
    }
}

static int compare_keys(const void *a, const void *b)
{
    return slice_compare(*(const plsm_slice *)a, *(const plsm_slice *)b);
}

static void *must(void *memory)
{
    INVARIANT(memory);
    return memory;
}

struct key_set *key_set_create(enum key_shape shape, size_t count, unsigned page_keys_max, uint64_t seed)
{
    struct random random;
    struct key_set *set = must(mem_zalloc(sizeof *set));
    uint8_t key[KEY_SIZE_MAX + 64];
    random_seed(&random, seed);
    set->keys = must(mem_alloc(count * sizeof *set->keys));
    set->pages = must(mem_alloc(count * sizeof *set->pages));
    size_t *offsets = must(mem_alloc(count * sizeof *offsets));
    for (size_t i = 0; i < count; i++) {
        size_t size = make_key(shape, i, &random, key);
        if (set->bytes_size + size > set->bytes_capacity) {
            set->bytes_capacity = 2 * (set->bytes_capacity + size);
            set->bytes = must(mem_realloc(set->bytes, set->bytes_capacity));
        }
        memcpy(set->bytes + set->bytes_size, key, size);
        offsets[i] = set->bytes_size;
        set->keys[i].size = size;
        set->bytes_size += size;
    }
    for (size_t i = 0; i < count; i++)
        set->keys[i].data = set->bytes + offsets[i];
    mem_free(offsets);
    qsort(set->keys, count, sizeof *set->keys, compare_keys);
    for (size_t i = 0; i < count; i++)
        if (i == 0 || shape == KEYS_VERSIONS || !slice_equal(set->keys[i], set->keys[set->count - 1]))
            set->keys[set->count++] = set->keys[i];
    uint64_t left = 1 + random_below(&random, page_keys_max);
    for (size_t i = 0; i < set->count; i++) {
        if (left == 0) {
            left = 1 + random_below(&random, page_keys_max);
            set->page_count++;
        }
        left--;
        set->pages[i] = set->page_count;
    }
    set->page_count++;
    return set;
}

void key_set_destroy(struct key_set *set)
{
    if (!set)
        return;
    mem_free(set->keys);
    mem_free(set->pages);
    mem_free(set->bytes);
    mem_free(set);
}

size_t key_set_mutate(const struct key_set *set, struct random *random, uint8_t *out, size_t capacity)
{
    plsm_slice key = set->keys[random_below(random, set->count)];
    size_t size = key.size < capacity - 4 ? key.size : capacity - 4;
    memcpy(out, key.data, size);
    for (uint64_t changes = 1 + random_below(random, 3); changes > 0; changes--) {
        size_t at = random_below(random, size);
        switch (random_below(random, 7)) {
        case 0:
            out[at]++;
            break;
        case 1:
            out[at]--;
            break;
        case 2:
            out[at] = (uint8_t)random_next(random);
            break;
        case 3:
            size = 1 + at;
            break;
        case 4:
            out[size++] = 0;
            break;
        case 5:
            out[size - 1] = 0xff;
            break;
        default:
            memcpy(out + at, (const uint8_t *)set->keys[random_below(random, set->count)].data, 1);
            break;
        }
        size = size < capacity - 4 ? size : capacity - 4;
    }
    return size;
}

/* Keys below `key`; or, with `equal_too`, at or below it. */
static size_t count_below(const struct key_set *set, plsm_slice key, bool equal_too)
{
    size_t low = 0, high = set->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (slice_compare(set->keys[middle], key) < (equal_too ? 1 : 0))
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

struct page_range key_set_expected(const struct key_set *set, plsm_slice key)
{
    size_t below = count_below(set, key, false), up_to = count_below(set, key, true);
    if (below < up_to) /* present: the page of its first version */
        return (struct page_range){set->pages[below], set->pages[below]};
    /* From where the key below begins: models do not know where its further versions end. */
    size_t begins = below ? count_below(set, set->keys[below - 1], false) : 0;
    uint32_t high = below < set->count ? set->pages[below] : set->page_count - 1;
    return (struct page_range){below ? set->pages[begins] : 0, high};
}

plsm_status key_set_borders(const struct key_set *set,
                            plsm_status (*border)(void *arg, plsm_slice last, plsm_slice first), void *arg)
{
    for (size_t i = 0; i < set->count; i++)
        if (i == 0 || set->pages[i] != set->pages[i - 1])
            TRY(border(arg, i ? set->keys[i - 1] : slice(NULL, 0), set->keys[i]));
    return PLSM_OK;
}

plsm_status key_set_tell(const struct key_set *set, plsm_status (*key)(void *arg, plsm_slice key, size_t shared),
                         plsm_status (*page)(void *arg, plsm_slice last), void *arg)
{
    for (size_t i = 0; i < set->count; i++) {
        plsm_slice before = i ? set->keys[i - 1] : slice(NULL, 0);
        if (i > 0 && set->pages[i] != set->pages[i - 1])
            TRY(page(arg, before));
        if (i == 0 || !slice_equal(before, set->keys[i]))
            TRY(key(arg, set->keys[i], slice_common(before, set->keys[i])));
    }
    return page(arg, set->keys[set->count - 1]);
}

bool key_set_page(const struct key_set *set, uint32_t page, size_t *first, size_t *last)
{
    size_t low = 0, high = set->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (set->pages[middle] < page)
            low = middle + 1;
        else
            high = middle;
    }
    while (low > 0 && low < set->count && set->pages[low] == page && slice_equal(set->keys[low], set->keys[low - 1]))
        low++; /* begun before */
    if (low == set->count || set->pages[low] != page)
        return false;
    *first = low;
    while (low + 1 < set->count && set->pages[low + 1] == page)
        low++;
    *last = low;
    return true;
}
