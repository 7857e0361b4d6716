#include "tests/harness/workload.h"

#include <stdlib.h>

#include "base/random.h"

#include "base/banned.h"

static const char *const kind_names[OP_COUNT] = {
    "put",
    "delete",
    "delete_range",
    "batch_put",
    "batch_delete",
    "batch_delete_range",
    "batch_move",
    "set_meta",
    "link",
    "if_absent",
    "if_equal",
    "batch_write",
    "bulk",
    "move_prefix",
    "sync",
    "flush",
    "compact",
    "reopen",
    "get",
    "read",
    "has_prefix",
    "snapshot_open",
    "snapshot_close",
    "iterator_open",
    "iterator_close",
    "first",
    "last",
    "seek",
    "seek_before",
    "next",
    "previous",
    "scan",
    "advance",
};

const struct workload_profile workload_everything = {
    .weight = {[OP_PUT] = 300,
               [OP_DELETE] = 80,
               [OP_DELETE_RANGE] = 24,
               [OP_BATCH_PUT] = 160,
               [OP_BATCH_DELETE] = 40,
               [OP_BATCH_DELETE_RANGE] = 16,
               [OP_BATCH_MOVE] = 12,
               [OP_BATCH_SET_META] = 12,
               [OP_BATCH_LINK] = 6,
               [OP_BATCH_IF_ABSENT] = 4,
               [OP_BATCH_IF_EQUAL] = 4,
               [OP_BATCH_WRITE] = 40,
               [OP_BULK] = 8,
               [OP_MOVE_PREFIX] = 8,
               [OP_SYNC] = 6,
               [OP_FLUSH] = 8,
               [OP_COMPACT] = 6,
               [OP_REOPEN] = 4,
               [OP_GET] = 200,
               [OP_READ] = 30,
               [OP_HAS_PREFIX] = 60,
               [OP_SNAPSHOT_OPEN] = 10,
               [OP_SNAPSHOT_CLOSE] = 8,
               [OP_ITERATOR_OPEN] = 20,
               [OP_ITERATOR_CLOSE] = 8,
               [OP_ITERATOR_FIRST] = 10,
               [OP_ITERATOR_LAST] = 10,
               [OP_ITERATOR_SEEK] = 40,
               [OP_ITERATOR_SEEK_BEFORE] = 40,
               [OP_ITERATOR_NEXT] = 120,
               [OP_ITERATOR_PREVIOUS] = 120,
               [OP_SCAN] = 4,
               [OP_ADVANCE] = 12},
    .keys = WORKLOAD_KEYS,
    .sync_percent = 4,
    .life_percent = 30,
    .large_percent = 2,
    .value_max = 100 << 10,
};

const struct workload_profile workload_writes = {
    .weight = {[OP_PUT] = 300,
               [OP_DELETE] = 80,
               [OP_DELETE_RANGE] = 16,
               [OP_BATCH_PUT] = 240,
               [OP_BATCH_DELETE] = 60,
               [OP_BATCH_DELETE_RANGE] = 16,
               [OP_BATCH_MOVE] = 10,
               [OP_BATCH_SET_META] = 10,
               [OP_BATCH_LINK] = 8,
               [OP_BATCH_WRITE] = 60,
               [OP_BULK] = 14,
               [OP_MOVE_PREFIX] = 4,
               [OP_SYNC] = 10,
               [OP_FLUSH] = 8,
               [OP_COMPACT] = 8,
               [OP_REOPEN] = 2,
               [OP_ADVANCE] = 12},
    .keys = 160,
    .sync_percent = 8,
    .life_percent = 30,
    .large_percent = 1,
    .value_max = 6 << 10,
};

/* --- the key space ------------------------------------------------------------------------------------------------ */

static uint8_t key_bytes[WORKLOAD_KEYS][PLSM_KEY_MAX];
static uint16_t key_size[WORKLOAD_KEYS], rank_of[WORKLOAD_KEYS], at_rank[WORKLOAD_KEYS];
static bool initialized;

plsm_keyspace workload_keyspace(unsigned number)
{
    /* Part of the last kind of keys. They begin with 't', so an iterator can leave out what the store itself has there.
     */
    return number % 16 == 15 ? PLSM_INODES : PLSM_NAMES;
}

/* Keys of zero and 0xff bytes only: the bits of `i` behind its leading one. */
static size_t make_extreme_key(unsigned i, uint8_t *key)
{
    size_t size = 0;
    for (int bit = 30 - __builtin_clz(i); bit >= 0; bit--)
        key[size++] = i >> bit & 1 ? 0xff : 0x00;
    return size;
}

/* Long keys that share nearly everything, with sizes around the limits of pages, of one-byte lengths and of keys. */
static size_t make_long_key(unsigned i, uint8_t *key)
{
    static const uint16_t sizes[] = {255, 256, 1000, 2048, 4000, 4095, 4096, 4097, 8000, 8191, 8192};
    size_t size = sizes[i % (sizeof sizes / sizeof *sizes)];
    memset(key, 'L', size);
    key[size - 1] = (uint8_t)('0' + i);
    if (i % 3 == 0)
        key[size / 2] = 0;
    return size;
}

static size_t make_key(unsigned number, uint8_t *key)
{
    unsigned i = number / 8;
    char text[64];
    int length = 0;
    struct random random;
    switch (number % 8) {
    case 0: /* each a prefix of the next */
        memset(key, 'a', i + 1);
        return i + 1;
    case 1:
        return make_extreme_key(i + 2, key);
    case 2:
        length = snprintf(text, sizeof text, "usr/include/d%u/f%u.h", i % 5, i);
        break;
    case 3: /* directories and files of one name, and names around '/' in the order of bytes */
        length = snprintf(text, sizeof text, i % 3 ? "usr/include/d%u.%u/" : "usr/include/d%u/%u", i % 5, i);
        break;
    case 4:
        length = snprintf(text, sizeof text, "%016u", i * 7);
        break;
    case 5:
        put_be64(key, UINT64_C(0x4000000000000000) + (uint64_t)i * i * 977);
        return 8;
    case 6:
        return make_long_key(i, key);
    default:
        random_seed(&random, number);
        key[0] = 't';
        key[1] = (uint8_t)number;
        key[2] = (uint8_t)(number >> 8);
        for (unsigned n = 3; n < 3 + i; n++)
            key[n] = (uint8_t)random_next(&random);
        return 3 + i;
    }
    memcpy(key, text, (size_t)length);
    return (size_t)length;
}

static int compare_keys(plsm_keyspace keyspace, plsm_slice key, unsigned number)
{
    if (keyspace != workload_keyspace(number))
        return keyspace < workload_keyspace(number) ? -1 : 1;
    return slice_compare(key, slice(key_bytes[number], key_size[number]));
}

static int compare_numbers(const void *a, const void *b)
{
    uint16_t number = *(const uint16_t *)a;
    return compare_keys(workload_keyspace(number), slice(key_bytes[number], key_size[number]), *(const uint16_t *)b);
}

void workload_init(void)
{
    if (initialized)
        return;
    for (unsigned i = 0; i < WORKLOAD_KEYS; i++) {
        key_size[i] = (uint16_t)make_key(i, key_bytes[i]);
        at_rank[i] = (uint16_t)i;
    }
    qsort(at_rank, WORKLOAD_KEYS, sizeof *at_rank, compare_numbers);
    for (unsigned rank = 0; rank < WORKLOAD_KEYS; rank++) {
        rank_of[at_rank[rank]] = (uint16_t)rank;
        if (rank > 0 && compare_numbers(&at_rank[rank - 1], &at_rank[rank]) >= 0) {
            fprintf(stderr, "workload keys %u and %u are equal\n", at_rank[rank - 1], at_rank[rank]);
            abort();
        }
    }
    initialized = true;
}

plsm_slice workload_key(unsigned number)
{
    return slice(key_bytes[number], key_size[number]);
}

unsigned workload_at_rank(unsigned rank)
{
    return at_rank[rank];
}

unsigned workload_rank(unsigned number)
{
    return rank_of[number];
}

unsigned workload_lower_bound(plsm_keyspace keyspace, plsm_slice key)
{
    unsigned low = 0, high = WORKLOAD_KEYS;
    while (low < high) {
        unsigned middle = (low + high) / 2;
        if (compare_keys(keyspace, key, at_rank[middle]) > 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

plsm_slice workload_probe(unsigned number, unsigned change, uint8_t *buffer)
{
    plsm_slice key = workload_key(number);
    memcpy(buffer, key.data, key.size);
    size_t size = key.size;
    switch (change) {
    case 0:
        break;
    case 1:
        if (size < PLSM_KEY_MAX)
            buffer[size++] = 0;
        break;
    case 2:
        size--;
        break;
    case 3:
        size = 1;
        break;
    case 4:
        while (size > 0 && buffer[size - 1] != '/')
            size--;
        size = size ? size : key.size;
        break;
    default:
        size = 0;
    }
    return slice(buffer, size);
}

/* The key `steps` ranks behind one, or empty when it is in another keyspace. */
static plsm_slice key_behind(unsigned number, unsigned steps)
{
    unsigned rank = rank_of[number] + steps;
    bool there = rank < WORKLOAD_KEYS && workload_keyspace(at_rank[rank]) == workload_keyspace(number);
    return there ? workload_key(at_rank[rank]) : slice(NULL, 0);
}

void workload_range(const struct op *op, uint8_t *buffers, plsm_slice *from, plsm_slice *to)
{
    bool name = workload_keyspace(op->key) == PLSM_NAMES;
    unsigned change = name && op->slot >= 2 ? op->meta_size % 6 : 0;
    *from = workload_probe(op->key, change, buffers);
    *to = key_behind(op->key, 1 + op->seed % 5);
    if (name && op->slot == 3 && op->seed % 4 == 0)
        *to = workload_probe(op->other, op->size % 6, buffers + PLSM_KEY_MAX + 1);
    if (!name) /* the store has keys of its own there, below these */
        *to = to->size ? *to : slice("u", 1);
}

/* Keys of zero and 0xff bytes, of which the shorter ones are all there, by their first one or two bytes. */
static const struct {
    unsigned bits, from, to;
} moves[] = {{1, 1, 0}, {2, 3, 2}, {2, 3, 1}, {2, 3, 0}, {2, 2, 1}, {2, 2, 0}, {2, 1, 0}};
enum { MOVES = sizeof moves / sizeof *moves };

void workload_prefixes(const struct op *op, plsm_slice *from, plsm_slice *to)
{
    static const uint8_t bytes[4][2] = {{0, 0}, {0, 0xff}, {0xff, 0}, {0xff, 0xff}};
    unsigned move = op->seed % MOVES, bits = moves[move].bits;
    *from = slice(bytes[moves[move].from << (2 - bits)], bits);
    *to = slice(bytes[moves[move].to << (2 - bits)], bits);
}

bool workload_moved(const struct op *op, unsigned key, unsigned *to)
{
    unsigned move = op->seed % MOVES, bits = moves[move].bits, number = key / 8 + 2;
    unsigned length = 31 - (unsigned)__builtin_clz(number); /* of the key: see make_extreme_key */
    if (key % 8 != 1 || length < bits || (number >> (length - bits)) != (1u << bits | moves[move].from))
        return false;
    *to = 8 * (number - ((moves[move].from - moves[move].to) << (length - bits)) - 2) + 1;
    return true;
}

bool workload_moves_with(const struct op *op)
{
    return op->slot % 2 == 0 && op->other % 8 != 1;
}

uint64_t workload_shared(unsigned number)
{
    return (UINT64_C(1) << 48) + number; /* no counter of a test comes that far */
}

/* --- values ------------------------------------------------------------------------------------------------------- */

/* The eight bytes at position 8 * n. One value in seven is all zeros, as sectors are that a crash lost; two are text of
 * few words, which can be compressed. */
static uint64_t fill_word(uint32_t seed, uint64_t n)
{
    static const char words[][9] = {"{\"name\":", "\"amber\",", "\"value\":", " 123456,",
                                    " 987654}",   "\"tags\": ", "[\"one\", ", "\"two\"]} "};
    if (seed % 7 == 0)
        return 0;
    uint64_t state = ((uint64_t)seed << 32) + n, word = splitmix64(&state);
    if (seed % 7 < 3)
        memcpy(&word, words[word % 8], sizeof word);
    return word;
}

void workload_fill_at(uint32_t seed, uint64_t offset, uint8_t *data, size_t size)
{
    for (size_t at = 0; at < size; at += 8) {
        uint64_t word = fill_word(seed, (offset + at) / 8);
        memcpy(data + at, &word, size - at < 8 ? size - at : 8);
    }
}

void workload_fill(uint32_t seed, uint8_t *data, size_t size)
{
    workload_fill_at(seed, 0, data, size);
}

bool workload_matches(uint32_t seed, plsm_slice bytes)
{
    const uint8_t *data = bytes.data;
    for (size_t at = 0; at < bytes.size; at += 8) {
        uint64_t word = fill_word(seed, at / 8);
        if (memcmp(data + at, &word, bytes.size - at < 8 ? bytes.size - at : 8) != 0)
            return false;
    }
    return true;
}

/* --- the list ----------------------------------------------------------------------------------------------------- */

/* Sizes: mostly small, some zero, some around a page, a few up to the limit. */
static uint32_t pick_size(struct random *random, uint32_t max)
{
    uint32_t size;
    switch (random_below(random, 10)) {
    case 0:
        size = 0;
        break;
    case 1:
        size = 4000 + (uint32_t)random_below(random, 200);
        break;
    case 2:
        size = (uint32_t)random_below(random, max + 1);
        break;
    default:
        size = (uint32_t)random_below(random, 200);
    }
    return size < max ? size : max;
}

/* By the seed of the value, so that no other choice depends on it. */
static uint8_t pick_life(uint32_t seed, unsigned percent)
{
    uint64_t state = seed, chance = splitmix64(&state);
    if (chance % 100 >= percent)
        return 0;
    switch (chance >> 8 & 15) {
    case 0:
        return 1;
    case 1:
        return WORKLOAD_FOREVER;
    default:
        return (uint8_t)(2 + (chance >> 16) % 30);
    }
}

uint64_t workload_expires(const struct op *op, uint64_t clock_s, uint64_t tick_s)
{
    return op->life == 0 || op->life == WORKLOAD_FOREVER ? 0 : clock_s + (op->life - 1u) * tick_s;
}

size_t workload_bulk(const struct op *op, struct op puts[WORKLOAD_BATCH])
{
    unsigned first = workload_rank(op->key), last = workload_rank(op->other), step = 1 + op->meta_size % 4u;
    size_t count = 0;
    if (first > last) {
        first = workload_rank(op->other);
        last = workload_rank(op->key);
    }
    for (unsigned rank = first; rank <= last && count < WORKLOAD_BATCH; rank += step) {
        struct random random;
        random_seed(&random, op->seed + rank);
        uint32_t size = pick_size(&random, op->size);
        puts[count++] = (struct op){.kind = OP_BATCH_PUT,
                                    .key = at_rank[rank],
                                    .meta_size = (uint8_t)random_below(&random, 2) ? 0 : (uint8_t)(rank % 40),
                                    .size = size,
                                    .seed = (uint32_t)random_next(&random)};
        if (op->life && workload_keyspace(at_rank[rank]) == PLSM_NAMES)
            puts[count - 1].life = pick_life(puts[count - 1].seed, 30);
    }
    return count;
}

/* The key itself, or the one before it when it is not in the names. */
static uint16_t name_near(uint16_t number)
{
    return workload_keyspace(number) == PLSM_NAMES ? number : (uint16_t)(number - 1);
}

static void fill_op(struct op *op, const struct workload_profile *profile, struct random *random)
{
    /* Half of the operations go to an eighth of the keys, so that keys are overwritten and deleted again and again. */
    unsigned hot = profile->keys / 8 ? profile->keys / 8 : 1;
    op->key = (uint16_t)random_below(random, random_below(random, 2) ? hot : profile->keys);
    op->other = (uint16_t)random_below(random, profile->keys);
    op->seed = (uint32_t)random_next(random);
    op->size = pick_size(random, profile->value_max);
    op->sync = random_below(random, 100) < profile->sync_percent;
    op->slot = (uint8_t)random_below(random, WORKLOAD_SLOTS);
    bool named = workload_keyspace(op->key) == PLSM_NAMES;
    if (op->kind == OP_BULK || (named && (op->kind == OP_PUT || op->kind == OP_BATCH_PUT)))
        op->life = pick_life(op->seed, profile->life_percent);
    switch (op->kind) {
    case OP_PUT:
        if (workload_keyspace(op->key) == PLSM_NAMES && random_below(random, 100) < profile->large_percent)
            op->size = PLSM_INLINE_MAX + 1 + (uint32_t)random_below(random, WORKLOAD_VALUE_MAX - PLSM_INLINE_MAX);
        break;
    case OP_BATCH_MOVE: /* names only; a move onto itself means nothing */
        op->key = name_near(op->key);
        op->other = name_near(op->other);
        if (op->other == op->key)
            op->other = name_near((uint16_t)((op->key + 2) % profile->keys));
        break;
    case OP_BATCH_LINK: /* with a meta unlike all others: by it who looks at the store knows that it was made */
        op->key = name_near(op->key);
        op->other = name_near(op->other);
        op->meta_size = (uint8_t)(8 + random_below(random, PLSM_META_SHARED_MAX - 7));
        op->seed = (op->seed - op->seed % 7 + 3) ^ 0x5a5a5a5au;
        break;
    case OP_BATCH_SET_META:
        op->key = name_near(op->key);
        /* fallthrough */
    case OP_BATCH_PUT:
        op->meta_size = random_below(random, 2) ? 0 : (uint8_t)random_below(random, PLSM_META_MAX + 1);
        break;
    case OP_DELETE_RANGE:
    case OP_BATCH_DELETE_RANGE:
        op->meta_size = (uint8_t)random_below(random, 6);
        break;
    case OP_BATCH_IF_EQUAL:
        if (random_below(random, 4))
            op->size = op->seed = 0;
        break;
    case OP_COMPACT:
        op->slot = (uint8_t)random_below(random, 2);
        break;
    case OP_MOVE_PREFIX:
        op->meta_size = 0;
        break;
    case OP_BULK: /* `size` is the most that a value may have */
        op->size = profile->value_max;
        op->meta_size = (uint8_t)random_below(random, 4);
        break;
    case OP_GET:
    case OP_READ:
    case OP_HAS_PREFIX:
    case OP_ITERATOR_OPEN:
    case OP_ITERATOR_SEEK:
    case OP_ITERATOR_SEEK_BEFORE:
    case OP_SCAN:
        op->sync = (uint8_t)random_below(random, WORKLOAD_SLOTS * 2); /* the snapshot to read, half the time none */
        op->meta_size = (uint8_t)random_below(random, 6);
        break;
    default:
        break;
    }
}

struct op *workload_create(const struct workload_profile *profile, uint64_t seed, size_t count)
{
    workload_init();
    struct op *ops = calloc(count, sizeof *ops);
    if (!ops)
        abort();
    uint64_t weights = 0;
    for (unsigned kind = 0; kind < OP_COUNT; kind++)
        weights += profile->weight[kind];
    struct random random;
    random_seed(&random, seed);
    for (size_t i = 0; i < count; i++) {
        uint64_t pick = random_below(&random, weights);
        unsigned kind = 0;
        while (pick >= profile->weight[kind])
            pick -= profile->weight[kind++];
        ops[i].kind = (uint8_t)kind;
        fill_op(&ops[i], profile, &random);
    }
    return ops;
}

/* --- printing ----------------------------------------------------------------------------------------------------- */

static void print_key(FILE *out, unsigned number)
{
    plsm_slice key = workload_key(number);
    const uint8_t *bytes = key.data;
    fprintf(out, " key %u%s \"", number, workload_keyspace(number) == PLSM_INODES ? " (inodes)" : "");
    for (size_t i = 0; i < key.size && i < 24; i++)
        fprintf(out, bytes[i] >= ' ' && bytes[i] < 127 && bytes[i] != '"' ? "%c" : "\\x%02x", bytes[i]);
    fprintf(out, key.size > 24 ? "...\" (%zu bytes)" : "\"", key.size);
}

void workload_print_op(FILE *out, size_t number, const struct op *op)
{
    fprintf(out, "  %4zu %-14s", number, kind_names[op->kind]);
    if (op->kind <= OP_BATCH_IF_EQUAL || op->kind == OP_GET || op->kind == OP_READ || op->kind == OP_HAS_PREFIX ||
        op->kind == OP_COMPACT || op->kind == OP_BULK || op->kind == OP_ITERATOR_OPEN || op->kind == OP_ITERATOR_SEEK ||
        op->kind == OP_ITERATOR_SEEK_BEFORE)
        print_key(out, op->key);
    if (op->kind == OP_BATCH_MOVE || op->kind == OP_BATCH_LINK || op->kind == OP_COMPACT || op->kind == OP_BULK ||
        op->kind == OP_MOVE_PREFIX || op->kind == OP_ITERATOR_OPEN)
        print_key(out, op->other);
    fprintf(out, "   {%u, %u, %u, %u, %u, %u, %u, %uu, %u}\n", op->kind, op->slot, op->sync, op->meta_size, op->key,
            op->other, op->size, op->seed, op->life);
}

void workload_print(FILE *out, const struct op *ops, size_t count)
{
    fprintf(out, "operations: number, name, key, {kind, slot, sync, meta_size, key, other, size, seed, life}\n");
    for (size_t i = 0; i < count; i++)
        workload_print_op(out, i, &ops[i]);
}
