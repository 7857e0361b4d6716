/* The memtable against a sorted array, alone and with readers beside the writer. */
#include <check.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/random.h"
#include "lsm/memtable.h"

enum { KEY_MAX = 8193 };

/* --- the model ---------------------------------------------------------------------------------------------------- */

struct model_version {
    uint64_t seq;
    enum batch_kind kind;
    size_t meta_size, value_size;
};

struct model_key {
    uint8_t *key;
    size_t size;
    struct model_version *versions; /* oldest first */
    size_t count;
};

struct model {
    struct model_key *keys;
    size_t count, capacity;
    uint64_t versions;
};

static plsm_slice model_slice(const struct model_key *k)
{
    return slice(k->key, k->size);
}

/* The position of the first key >= `key`. */
static size_t model_find(const struct model *model, plsm_slice key)
{
    size_t low = 0, high = model->count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (slice_compare(model_slice(&model->keys[middle]), key) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static void model_add(struct model *model, const struct entry *entry)
{
    size_t at = model_find(model, entry->key);
    if (at == model->count || !slice_equal(model_slice(&model->keys[at]), entry->key)) {
        if (model->count == model->capacity) {
            model->capacity = 2 * model->capacity + 64;
            model->keys = realloc(model->keys, model->capacity * sizeof *model->keys);
        }
        memmove(&model->keys[at + 1], &model->keys[at], (model->count - at) * sizeof *model->keys);
        model->keys[at] = (struct model_key){.key = malloc(entry->key.size + 1), .size = entry->key.size};
        if (entry->key.size)
            memcpy(model->keys[at].key, entry->key.data, entry->key.size);
        model->count++;
    }
    struct model_key *k = &model->keys[at];
    k->versions = realloc(k->versions, (k->count + 1) * sizeof *k->versions);
    k->versions[k->count++] = (struct model_version){entry->seq, entry->kind, entry->meta.size, entry->value.size};
    model->versions++;
}

static void model_free(struct model *model)
{
    for (size_t i = 0; i < model->count; i++) {
        free(model->keys[i].key);
        free(model->keys[i].versions);
    }
    free(model->keys);
    *model = (struct model){0};
}

/* --- entries ------------------------------------------------------------------------------------------------------ */

/* Content of a version: bytes that follow from its sequence number, so that the model need not keep them. */
static void content(uint64_t seq, uint8_t *bytes, size_t size)
{
    struct random r;
    random_seed(&r, seq);
    for (size_t i = 0; i < size; i += 8) {
        uint64_t word = random_next(&r);
        memcpy(bytes + i, &word, size - i < 8 ? size - i : 8);
    }
}

static uint8_t expected_bytes[8 << 20], entry_bytes[8 << 20];

static void check_version(const struct entry *got, plsm_slice key, const struct model_version *want)
{
    ck_assert(slice_equal(got->key, key));
    ck_assert_uint_eq(got->seq, want->seq);
    ck_assert_int_eq(got->kind, want->kind);
    ck_assert_uint_eq(got->meta.size, want->meta_size);
    ck_assert_uint_eq(got->value.size, want->value_size);
    content(want->seq, expected_bytes, want->meta_size + want->value_size);
    ck_assert(slice_equal(got->meta, slice(expected_bytes, want->meta_size)));
    ck_assert(slice_equal(got->value, slice(expected_bytes + want->meta_size, want->value_size)));
}

static void fill_entry(struct entry *entry, plsm_slice key, uint64_t seq, struct random *r)
{
    size_t meta = random_below(r, 4) ? 0 : random_below(r, 256), value = random_below(r, 60);
    uint64_t shape = random_below(r, 1000);
    if (shape == 0)
        value = random_below(r, 5 << 20);
    enum batch_kind kind = (enum batch_kind)random_below(r, BATCH_KIND_COUNT);
    if (kind == BATCH_DELETE)
        meta = value = 0;
    content(seq, entry_bytes, meta + value);
    *entry = (struct entry){key, slice(entry_bytes, meta), slice(entry_bytes + meta, value), seq, kind};
}

/* --- keys made to hurt -------------------------------------------------------------------------------------------- */

static const uint8_t hard_bytes[] = {0x00, 0x01, 0x7f, 0x80, 0xff, 'a'};

static size_t random_bytes(struct random *r, uint8_t *key, size_t size)
{
    for (size_t i = 0; i < size; i++)
        key[i] = (uint8_t)random_next(r);
    return size;
}

static size_t make_key(struct random *r, const struct model *model, uint8_t *key)
{
    switch (random_below(r, 9)) {
    case 0: { /* short, few bytes: prefixes of each other */
        size_t size = random_below(r, 7);
        for (size_t i = 0; i < size; i++)
            key[i] = hard_bytes[random_below(r, sizeof hard_bytes)];
        return size;
    }
    case 1: /* one dense node, two deep */
        key[0] = 'd';
        key[1] = (uint8_t)(random_below(r, 3) * 127);
        key[2] = (uint8_t)random_next(r);
        return 3;
    case 2: /* a long common prefix */
        memset(key, 'p', 300);
        key[random_below(r, 300)] = 'q';
        return 300 + random_bytes(r, key + 300, random_below(r, 3));
    case 3: /* a counter */
        key[0] = 'c';
        put_be64(key + 1, random_below(r, 3000));
        return 9;
    case 4: /* the longest keys, parting anywhere */
        if (random_below(r, 20))
            return random_bytes(r, key, 2);
        memset(key, 0xff, KEY_MAX);
        key[random_below(r, KEY_MAX)] = (uint8_t)random_next(r);
        return random_below(r, 2) ? KEY_MAX : random_below(r, KEY_MAX);
    case 5:
    case 6: { /* a key that is there, or one that it starts with, or that starts with it */
        if (!model->count)
            return 0;
        const struct model_key *k = &model->keys[random_below(r, model->count)];
        memcpy(key, k->key, k->size);
        size_t shape = random_below(r, 4), size = k->size;
        if (shape == 0)
            size = random_below(r, size + 1);
        if (shape == 1 && size < 500)
            size += random_bytes(r, key + size, random_below(r, 5));
        if (shape == 2 && size)
            key[random_below(r, size)] ^= (uint8_t)(1u << random_below(r, 8));
        return size;
    }
    default:
        return random_bytes(r, key, 16);
    }
}

/* --- comparing ---------------------------------------------------------------------------------------------------- */

static void check_here(const struct memtable_iterator *it, const struct model *model, size_t at, bool versions)
{
    if (at >= model->count) {
        ck_assert(!memtable_iterator_valid(it));
        return;
    }
    const struct model_key *k = &model->keys[at];
    ck_assert(memtable_iterator_valid(it));
    ck_assert(slice_equal(memtable_iterator_key(it), model_slice(k)));
    if (!versions)
        return;
    const void *cursor = NULL;
    struct entry entry;
    for (size_t i = k->count; i-- > 0;) {
        ck_assert(memtable_iterator_version(it, &cursor, &entry));
        check_version(&entry, model_slice(k), &k->versions[i]);
    }
    ck_assert(!memtable_iterator_version(it, &cursor, &entry));
    ck_assert(!memtable_iterator_version(it, &cursor, &entry));
}

static void check_walks(const struct memtable *m, const struct model *model)
{
    struct memtable_iterator it;
    memtable_iterator_init(&it, m);
    ck_assert(!memtable_iterator_valid(&it));
    memtable_iterator_next(&it);
    memtable_iterator_previous(&it);
    ck_assert(!memtable_iterator_valid(&it));

    memtable_iterator_first(&it);
    for (size_t i = 0; i <= model->count; i++) {
        check_here(&it, model, i, true);
        memtable_iterator_next(&it);
    }
    memtable_iterator_last(&it);
    for (size_t i = model->count; i-- > 0;) {
        check_here(&it, model, i, false);
        memtable_iterator_previous(&it);
    }
    check_here(&it, model, SIZE_MAX, false);
    memtable_iterator_destroy(&it);
    ck_assert_uint_eq(memtable_count(m), model->versions);
}

static void check_probe(struct random *r, const struct memtable *m, const struct model *model, uint64_t seq_max)
{
    static uint8_t bytes[KEY_MAX + 1000];
    plsm_slice key = slice(bytes, make_key(r, model, bytes));
    size_t at = model_find(model, key);
    bool present = at < model->count && slice_equal(model_slice(&model->keys[at]), key);

    struct entry entry;
    uint64_t seq = random_below(r, 2) ? SEQ_MAX : random_below(r, seq_max + 1);
    size_t visible = present ? model->keys[at].count : 0;
    while (visible && model->keys[at].versions[visible - 1].seq > seq)
        visible--;
    ck_assert_int_eq(memtable_get(m, key, seq, &entry), visible > 0);
    if (visible)
        check_version(&entry, key, &model->keys[at].versions[visible - 1]);

    struct memtable_iterator it;
    memtable_iterator_init(&it, m);
    if (random_below(r, 2)) {
        memtable_iterator_seek(&it, key);
    } else {
        memtable_iterator_seek_before(&it, key);
        at--; /* below 0: the largest number, where nothing is */
    }
    check_here(&it, model, at, true);
    for (int step = 0; step < 12 && at < model->count; step++) {
        bool forward = random_below(r, 2);
        (forward ? memtable_iterator_next : memtable_iterator_previous)(&it);
        at += forward ? 1 : (size_t)-1;
        check_here(&it, model, at, false);
    }
    memtable_iterator_destroy(&it);
}

/* --- alone -------------------------------------------------------------------------------------------------------- */

enum { BATCH_ENTRIES_MAX = 300 };

/* Adds up to BATCH_ENTRIES_MAX entries with exactly the room that they ask for. */
static void add_batch(struct random *r, struct memtable *m, struct model *model, uint64_t *seq)
{
    static struct planned {
        uint8_t key[KEY_MAX + 1000];
        size_t size;
        uint64_t seq;
        struct random rest; /* what the entry holds follows from it */
    } plan[BATCH_ENTRIES_MAX];
    size_t count = 1 + random_below(r, random_below(r, 2) ? 3 : BATCH_ENTRIES_MAX), bytes = 0;
    struct entry entry;
    for (struct planned *p = plan; p < plan + count; p++) {
        p->size = make_key(r, model, p->key);
        p->seq = *seq += random_below(r, 3);
        random_seed(&p->rest, random_next(r));
        struct random rest = p->rest;
        fill_entry(&entry, slice(p->key, p->size), p->seq, &rest);
        bytes += entry.key.size + entry.meta.size + entry.value.size;
    }
    ck_assert_int_eq(memtable_reserve(m, count, bytes), PLSM_OK);
    for (struct planned *p = plan; p < plan + count; p++) {
        fill_entry(&entry, slice(p->key, p->size), p->seq, &p->rest);
        memtable_add(m, &entry);
        model_add(model, &entry);
    }
}

START_TEST(random_operations)
{
    uint64_t seed = 1000 + (uint64_t)_i;
    printf("memtable: seed %llu\n", (unsigned long long)seed);
    struct random r;
    random_seed(&r, seed);
    struct memtable *m = memtable_create();
    ck_assert_ptr_nonnull(m);
    struct model model = {0};
    uint64_t seq = 0;
    check_walks(m, &model);
    for (int batch = 0; batch < 40; batch++) {
        add_batch(&r, m, &model, &seq);
        if (batch < 5 || batch % 10 == 9)
            check_walks(m, &model);
        for (int probe = 0; probe < 100; probe++)
            check_probe(&r, m, &model, seq);
    }
    ck_assert_uint_gt(model.count, 1000);
    ck_assert_uint_ge(memtable_bytes(m), model.count * 32);
    model_free(&model);
    memtable_unref(m);
}
END_TEST

static void add_one(struct memtable *m, struct model *model, plsm_slice key, uint64_t seq)
{
    struct entry entry = {.key = key, .seq = seq, .kind = BATCH_PUT};
    uint8_t value[16];
    content(seq, value, sizeof value);
    entry.value = slice(value, sizeof value);
    ck_assert_int_eq(memtable_reserve(m, 1, key.size + sizeof value), PLSM_OK);
    memtable_add(m, &entry);
    model_add(model, &entry);
}

START_TEST(empty_key_and_null)
{
    struct memtable *m = memtable_create();
    struct model model = {0};
    add_one(m, &model, slice(NULL, 0), 1);
    check_walks(m, &model);
    add_one(m, &model, slice_of("x"), 2);
    add_one(m, &model, slice_of("xyz"), 3);
    add_one(m, &model, slice(NULL, 0), 4);
    check_walks(m, &model);
    struct entry entry;
    ck_assert(memtable_get(m, slice(NULL, 0), 3, &entry));
    ck_assert_uint_eq(entry.seq, 1);
    ck_assert(!memtable_get(m, slice_of("xy"), SEQ_MAX, &entry));
    struct memtable_iterator it;
    memtable_iterator_init(&it, m);
    memtable_iterator_seek(&it, slice(NULL, 0));
    check_here(&it, &model, 0, true);
    memtable_iterator_seek_before(&it, slice(NULL, 0));
    ck_assert(!memtable_iterator_valid(&it));
    memtable_iterator_destroy(&it);
    memtable_unref(NULL);
    model_free(&model);
    memtable_unref(m);
}
END_TEST

/* Every byte as a branch of one node, in random order, so that it passes through all sizes; checked at every step, with
 * an iterator that was there before each step. */
START_TEST(node_growth)
{
    struct random r;
    random_seed(&r, 7 + (uint64_t)_i);
    struct memtable *m = memtable_create();
    struct model model = {0};
    uint8_t order[256];
    for (int i = 0; i < 256; i++) {
        size_t other = random_below(&r, (uint64_t)i + 1);
        order[i] = order[other];
        order[other] = (uint8_t)i;
    }
    for (int i = 0; i < 256; i++) {
        struct memtable_iterator it;
        memtable_iterator_init(&it, m);
        memtable_iterator_first(&it);
        size_t before = model.count, met = 0;
        uint8_t key[] = {'k', order[i], 'v'};
        struct model old = {0};
        for (size_t k = 0; k < before; k++)
            model_add(&old, &(struct entry){.key = model_slice(&model.keys[k])});
        add_one(m, &model, slice(key, _i % 2 ? 3 : 2), (uint64_t)i);
        check_walks(m, &model);
        for (; memtable_iterator_valid(&it); memtable_iterator_next(&it)) {
            size_t at = model_find(&old, memtable_iterator_key(&it));
            met += at < old.count && slice_equal(model_slice(&old.keys[at]), memtable_iterator_key(&it));
        }
        ck_assert_uint_eq(met, before);
        memtable_iterator_destroy(&it);
        model_free(&old);
    }
    model_free(&model);
    memtable_unref(m);
}
END_TEST

/* A path of 3,000 branches, each a key that is a prefix of the next. */
START_TEST(deep_path)
{
    enum { DEPTH = 3000 };
    static uint8_t key[DEPTH];
    struct memtable *m = memtable_create();
    struct model model = {0};
    memset(key, 'z', sizeof key);
    for (size_t size = DEPTH; size-- > 0;)
        add_one(m, &model, slice(key, size), DEPTH - size);
    check_walks(m, &model);

    struct memtable_iterator it;
    memtable_iterator_init(&it, m);
    for (uint64_t nth = 1; nth <= 3; nth++) {
        mem_fail_at(nth);
        memtable_iterator_last(&it);
        mem_fail_at(0);
        if (!it.failed) /* the path that an earlier round made is long enough */
            break;
        ck_assert(!memtable_iterator_valid(&it));
        memtable_iterator_next(&it);
        ck_assert(!memtable_iterator_valid(&it));
    }
    memtable_iterator_seek(&it, slice(key, 100));
    ck_assert(!it.failed);
    check_here(&it, &model, 100, true);
    memtable_iterator_destroy(&it);
    memtable_iterator_init(&it, m);
    mem_fail_at(1);
    memtable_iterator_seek(&it, slice(key, DEPTH - 1));
    mem_fail_at(0);
    ck_assert(it.failed && !memtable_iterator_valid(&it));
    memtable_iterator_destroy(&it);
    model_free(&model);
    memtable_unref(m);
}
END_TEST

START_TEST(ordinary_paths_allocate_nothing)
{
    struct memtable *m = memtable_create();
    struct model model = {0};
    struct random r;
    random_seed(&r, 99);
    for (uint64_t i = 0; i < 3000; i++) {
        uint8_t key[16];
        add_one(m, &model, slice(key, random_bytes(&r, key, sizeof key)), i);
    }
    mem_fail_at(0);
    check_walks(m, &model);
    ck_assert_uint_eq(mem_count(), 0);
    model_free(&model);
    memtable_unref(m);
}
END_TEST

/* Every reservation is refused once before it is granted. */
START_TEST(reserve_fails)
{
    struct random r;
    random_seed(&r, 5);
    mem_fail_at(1);
    ck_assert_ptr_null(memtable_create());
    struct memtable *m = memtable_create();
    struct model model = {0};
    static uint8_t key[KEY_MAX + 1000], value[700000];
    unsigned refused = 0;
    for (uint64_t seq = 1; seq < 400; seq++) {
        plsm_slice name = slice(key, make_key(&r, &model, key));
        size_t size = random_below(&r, sizeof value);
        mem_fail_at(1);
        plsm_status status = memtable_reserve(m, 1, name.size + size);
        mem_fail_at(0);
        if (status != PLSM_OK) {
            ck_assert_int_eq(status, PLSM_NO_MEMORY);
            refused++;
            check_probe(&r, m, &model, seq);
            ck_assert_uint_eq(memtable_count(m), model.versions);
            if (random_below(&r, 2)) /* the caller may give up: smaller ones must still work */
                size = 0;
            ck_assert_int_eq(memtable_reserve(m, 1, name.size + size), PLSM_OK);
        }
        content(seq, value, size);
        struct entry entry = {.key = name, .value = slice(value, size), .seq = seq};
        memtable_add(m, &entry);
        model_add(&model, &entry);
    }
    ck_assert_uint_gt(refused, 5);
    ck_assert_int_eq(memtable_reserve(m, SIZE_MAX, 1), PLSM_NO_MEMORY);
    ck_assert_int_eq(memtable_reserve(m, 1, SIZE_MAX), PLSM_NO_MEMORY);
    ck_assert_int_eq(memtable_reserve(m, 1, SIZE_MAX / 5), PLSM_NO_MEMORY);
    check_walks(m, &model);
    model_free(&model);
    memtable_unref(m);
}
END_TEST

/* --- with readers beside the writer ------------------------------------------------------------------------------- */

enum { RACE_KEYS = 6000, RACE_WRITES = 30000 };

/* The writes are known beforehand: number s (from 1 on) writes key race.key_of[s] and tells so by `done`. Readers know
 * from that what they must see. */
static struct {
    struct memtable *table;
    struct model_key keys[RACE_KEYS]; /* in order; versions = the writes to it */
    unsigned key_of[RACE_WRITES + 1];
    unsigned distinct[RACE_WRITES + 1]; /* keys written by the first s writes */
    _Atomic uint64_t done;
    uint64_t seed;
} race;

static void race_prepare(uint64_t seed)
{
    struct random r;
    random_seed(&r, seed);
    struct model model = {0};
    static uint8_t key[KEY_MAX + 1000];
    while (model.count < RACE_KEYS) {
        struct entry entry = {.key = slice(key, make_key(&r, &model, key))};
        if (model_find(&model, entry.key) == model.count ||
            !slice_equal(model_slice(&model.keys[model_find(&model, entry.key)]), entry.key))
            model_add(&model, &entry);
    }
    memcpy(race.keys, model.keys, sizeof race.keys);
    free(model.keys);
    for (unsigned k = 0; k < RACE_KEYS; k++)
        race.keys[k].count = 0;
    for (uint64_t s = 1; s <= RACE_WRITES; s++) {
        unsigned k = race.key_of[s] = (unsigned)random_below(&r, RACE_KEYS);
        race.distinct[s] = race.distinct[s - 1] + !race.keys[k].count;
        race.keys[k].versions = realloc(race.keys[k].versions, (race.keys[k].count + 1) * sizeof(struct model_version));
        race.keys[k].versions[race.keys[k].count++].seq = s;
    }
    race.seed = seed;
    atomic_store(&race.done, 0);
    race.table = memtable_create();
}

static void *race_write(void *arg)
{
    for (uint64_t s = 1; s <= RACE_WRITES; s++) {
        uint8_t value[24];
        content(s, value, sizeof value);
        struct entry entry = {
            .key = model_slice(&race.keys[race.key_of[s]]), .value = slice(value, sizeof value), .seq = s};
        if (memtable_reserve(race.table, 1, entry.key.size + sizeof value) != PLSM_OK)
            abort();
        memtable_add(race.table, &entry);
        atomic_store_explicit(&race.done, s, memory_order_release);
    }
    return NULL;
}

/* The write that a reader at `seq` must see of a key; 0 for none. */
static uint64_t race_expected(const struct model_key *k, uint64_t seq)
{
    uint64_t newest = 0;
    for (size_t i = 0; i < k->count && k->versions[i].seq <= seq; i++)
        newest = k->versions[i].seq;
    return newest;
}

static void race_check_entry(const struct entry *entry, uint64_t s)
{
    uint8_t value[24];
    content(s, value, sizeof value);
    if (entry->seq != s || !slice_equal(entry->value, slice(value, sizeof value)) ||
        !slice_equal(entry->key, model_slice(&race.keys[race.key_of[s]]))) {
        fprintf(stderr, "seed %llu: write %llu expected, %llu found\n", (unsigned long long)race.seed,
                (unsigned long long)s, (unsigned long long)entry->seq);
        abort();
    }
}

static void *race_get(void *arg)
{
    struct random r;
    random_seed(&r, race.seed + 77);
    for (uint64_t s = 0; s < RACE_WRITES;) {
        s = atomic_load_explicit(&race.done, memory_order_acquire);
        for (int i = 0; i < 50; i++) {
            const struct model_key *k = &race.keys[random_below(&r, RACE_KEYS)];
            uint64_t at = random_below(&r, s + 1), want = race_expected(k, at);
            struct entry entry;
            bool found = memtable_get(race.table, model_slice(k), at, &entry);
            if (found != (want != 0))
                abort();
            if (found)
                race_check_entry(&entry, want);
        }
    }
    return NULL;
}

/* One walk at the newest moment: all keys written by then, in order, each with the right version. */
static void race_walk(struct memtable_iterator *it, bool forward)
{
    uint64_t s = atomic_load_explicit(&race.done, memory_order_acquire);
    unsigned met = 0;
    plsm_slice previous = {0};
    bool any = false;
    (forward ? memtable_iterator_first : memtable_iterator_last)(it);
    for (; memtable_iterator_valid(it); (forward ? memtable_iterator_next : memtable_iterator_previous)(it)) {
        plsm_slice key = memtable_iterator_key(it);
        int order = slice_compare(previous, key);
        if (any && (forward ? order >= 0 : order <= 0))
            abort();
        previous = key;
        any = true;
        const void *cursor = NULL;
        struct entry entry;
        uint64_t newer = UINT64_MAX;
        while (memtable_iterator_version(it, &cursor, &entry)) {
            if (entry.seq >= newer)
                abort();
            newer = entry.seq;
            if (entry.seq > s)
                continue;
            race_check_entry(&entry, race_expected(&race.keys[race.key_of[entry.seq]], s));
            met++;
            break;
        }
    }
    if (it->failed || met != race.distinct[s])
        abort();
}

static void *race_iterate(void *arg)
{
    struct memtable_iterator it;
    memtable_iterator_init(&it, race.table);
    for (bool forward = true; atomic_load_explicit(&race.done, memory_order_acquire) < RACE_WRITES; forward = !forward)
        race_walk(&it, forward);
    race_walk(&it, true);
    race_walk(&it, false);
    memtable_iterator_destroy(&it);
    memtable_unref(race.table);
    return NULL;
}

START_TEST(readers_beside_writer)
{
    race_prepare(4000 + (uint64_t)_i);
    printf("memtable: race seed %llu\n", (unsigned long long)race.seed);
    void *(*const runs[])(void *) = {race_write, race_get, race_get, race_iterate};
    pthread_t threads[4];
    memtable_ref(race.table);
    for (int i = 0; i < 4; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, runs[i], NULL), 0);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    memtable_unref(race.table);
    for (unsigned k = 0; k < RACE_KEYS; k++) {
        free(race.keys[k].key);
        free(race.keys[k].versions);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("memtable");
    TCase *tests = tcase_create("memtable");
    tcase_set_timeout(tests, 300);
    tcase_add_test(tests, empty_key_and_null);
    tcase_add_loop_test(tests, node_growth, 0, 4);
    tcase_add_test(tests, deep_path);
    tcase_add_test(tests, ordinary_paths_allocate_nothing);
    tcase_add_test(tests, reserve_fails);
    tcase_add_loop_test(tests, random_operations, 0, 8);
    tcase_add_loop_test(tests, readers_beside_writer, 0, 2);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_set_fork_status(runner, CK_NOFORK);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? 1 : 0;
}
