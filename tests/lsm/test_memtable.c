/* The memtable against a sorted array. */
#include <check.h>
#include <stdio.h>

#include "base/alloc.h"
#include "lsm/memtable.h"
#include "lsm/memtable_private.h"
#include "tests/harness/memtable_model.h"

#include "base/banned.h"

static uint8_t expected_bytes[8 << 20], entry_bytes[8 << 20];

static void check_version(const struct entry *got, plsm_slice key, const struct memtable_model_version *want)
{
    ck_assert(slice_equal(got->key, key));
    ck_assert_uint_eq(got->seq, want->seq);
    ck_assert_int_eq(got->kind, want->kind);
    ck_assert_uint_eq(got->meta.size, want->meta_size);
    ck_assert_uint_eq(got->value.size, want->value_size);
    memtable_model_content(want->seq, expected_bytes, want->meta_size + want->value_size);
    ck_assert(slice_equal(got->meta, slice(expected_bytes, want->meta_size)));
    ck_assert(slice_equal(got->value, slice(expected_bytes + want->meta_size, want->value_size)));
}

static void fill_entry(struct entry *entry, plsm_slice key, uint64_t seq, struct random *r)
{
    size_t meta = random_below(r, 4) ? 0 : random_below(r, 256), value = random_below(r, 60);
    uint64_t shape = random_below(r, 1000);
    if (shape == 0)
        value = random_below(r, 5 << 20);
    enum batch_kind kind = (enum batch_kind)random_below(r, ENTRY_KINDS);
    if (kind == BATCH_DELETE)
        meta = value = 0;
    memtable_model_content(seq, entry_bytes, meta + value);
    *entry = (struct entry){.key = key,
                            .meta = slice(entry_bytes, meta),
                            .value = slice(entry_bytes + meta, value),
                            .seq = seq,
                            .kind = kind};
}

/* --- comparing ---------------------------------------------------------------------------------------------------- */

static void check_here(const struct memtable_iterator *it, const struct memtable_model *model, size_t at, bool versions)
{
    if (at >= model->count) {
        ck_assert(!memtable_iterator_valid(it));
        return;
    }
    const struct memtable_model_key *k = &model->keys[at];
    ck_assert(memtable_iterator_valid(it));
    ck_assert(slice_equal(memtable_iterator_key(it), memtable_model_slice(k)));
    if (!versions)
        return;
    const void *cursor = NULL;
    struct entry entry;
    for (size_t i = k->count; i-- > 0;) {
        ck_assert(memtable_iterator_version(it, &cursor, &entry));
        check_version(&entry, memtable_model_slice(k), &k->versions[i]);
    }
    ck_assert(!memtable_iterator_version(it, &cursor, &entry));
    ck_assert(!memtable_iterator_version(it, &cursor, &entry));
}

/* Where a memtable_walk is in the model. */
struct walked {
    const struct memtable_model *model;
    size_t key, left; /* versions of the key that are left */
    uint64_t seen;
    uint64_t stop_at; /* versions until it is stopped */
};

static plsm_status check_visit(void *arg, struct entry *entry, bool newest)
{
    struct walked *w = arg;
    if (w->seen++ == w->stop_at)
        return PLSM_IO;
    ck_assert(newest == (w->left == 0));
    if (newest && w->seen > 1)
        w->key++;
    ck_assert_uint_lt(w->key, w->model->count);
    const struct memtable_model_key *k = &w->model->keys[w->key];
    w->left = (newest ? k->count : w->left) - 1;
    check_version(entry, memtable_model_slice(k), &k->versions[w->left]);
    return PLSM_OK;
}

static void check_whole_walk(const struct memtable *m, const struct memtable_model *model)
{
    struct walked w = {.model = model, .stop_at = UINT64_MAX};
    ck_assert_int_eq(memtable_walk(m, check_visit, &w), PLSM_OK);
    ck_assert_uint_eq(w.seen, model->versions);
    ck_assert_uint_eq(w.left, 0);
    if (model->versions == 0)
        return;
    w = (struct walked){.model = model, .stop_at = model->versions / 2};
    ck_assert_int_eq(memtable_walk(m, check_visit, &w), PLSM_IO);
    ck_assert_uint_eq(w.seen, model->versions / 2 + 1);
}

static void check_walks(const struct memtable *m, const struct memtable_model *model)
{
    check_whole_walk(m, model);
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

static void check_probe(struct random *r, const struct memtable *m, const struct memtable_model *model,
                        uint64_t seq_max)
{
    static uint8_t bytes[MEMTABLE_MODEL_KEY_ROOM];
    plsm_slice key = slice(bytes, memtable_model_make_key(r, model, bytes));
    size_t at = memtable_model_find(model, key);
    bool present = at < model->count && slice_equal(memtable_model_slice(&model->keys[at]), key);

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
static void add_batch(struct random *r, struct memtable *m, struct memtable_model *model, uint64_t *seq)
{
    static struct planned {
        uint8_t key[MEMTABLE_MODEL_KEY_ROOM];
        size_t size;
        uint64_t seq;
        struct random rest; /* what the entry holds follows from it */
    } plan[BATCH_ENTRIES_MAX];
    size_t count = 1 + random_below(r, random_below(r, 2) ? 3 : BATCH_ENTRIES_MAX), bytes = 0;
    struct entry entry;
    for (struct planned *p = plan; p < plan + count; p++) {
        p->size = memtable_model_make_key(r, model, p->key);
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
        memtable_model_add(model, &entry);
    }
}

START_TEST(random_operations)
{
    uint64_t seed = 1000 + (uint64_t)_i;
    printf("memtable: seed %llu\n", (unsigned long long)seed);
    struct random r;
    random_seed(&r, seed);
    struct memtable *m = memtable_create(NULL);
    ck_assert_ptr_nonnull(m);
    struct memtable_model model = {0};
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
    memtable_model_free(&model);
    memtable_unref(m);
}
END_TEST

static void add_one(struct memtable *m, struct memtable_model *model, plsm_slice key, uint64_t seq)
{
    struct entry entry = {.key = key, .seq = seq, .kind = BATCH_PUT};
    uint8_t value[16];
    memtable_model_content(seq, value, sizeof value);
    entry.value = slice(value, sizeof value);
    ck_assert_int_eq(memtable_reserve(m, 1, key.size + sizeof value), PLSM_OK);
    memtable_add(m, &entry);
    memtable_model_add(model, &entry);
}

START_TEST(empty_key_and_null)
{
    struct memtable *m = memtable_create(NULL);
    struct memtable_model model = {0};
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
    memtable_model_free(&model);
    memtable_unref(m);
}
END_TEST

/* Every byte as a branch of one node, in random order, so that it passes through all sizes; checked at every step, with
 * an iterator that was there before each step. */
START_TEST(node_growth)
{
    struct random r;
    random_seed(&r, 7 + (uint64_t)_i);
    struct memtable *m = memtable_create(NULL);
    struct memtable_model model = {0};
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
        struct memtable_model old = {0};
        for (size_t k = 0; k < before; k++)
            memtable_model_add(&old, &(struct entry){.key = memtable_model_slice(&model.keys[k])});
        add_one(m, &model, slice(key, _i % 2 ? 3 : 2), (uint64_t)i);
        check_walks(m, &model);
        for (; memtable_iterator_valid(&it); memtable_iterator_next(&it)) {
            size_t at = memtable_model_find(&old, memtable_iterator_key(&it));
            met += at < old.count && slice_equal(memtable_model_slice(&old.keys[at]), memtable_iterator_key(&it));
        }
        ck_assert_uint_eq(met, before);
        memtable_iterator_destroy(&it);
        memtable_model_free(&old);
    }
    memtable_model_free(&model);
    memtable_unref(m);
}
END_TEST

/* A path of 3,000 branches, each a key that is a prefix of the next. */
/* Each key beside the one before: the next addition begins where the last one ended, and that place must still be in
 * the tree, whatever grew, parted or was skipped. Every so often a key from elsewhere. */
START_TEST(neighbours)
{
    enum { KEY_MAX = 12 };
    struct random r;
    random_seed(&r, 300 + (uint64_t)_i);
    struct memtable *m = memtable_create(NULL);
    struct memtable_model model = {0};
    uint8_t key[KEY_MAX] = {0};
    size_t size = KEY_MAX;
    for (uint64_t seq = 1; seq < 6000; seq++) {
        uint64_t way = random_below(&r, 8);
        size_t at = random_below(&r, size ? size : 1);
        if (way == 0) /* shorter, or longer */
            size = random_below(&r, KEY_MAX + 1);
        else if (way == 1)
            key[at] = (uint8_t)random_below(&r, _i % 2 ? 256 : 3);
        else /* the next number, as in keys that are written in order */
            for (at = size; at-- > 0 && ++key[at] == 0;)
                ;
        add_one(m, &model, slice(key, size), seq);
    }
    ck_assert_uint_gt(model.count, 1000);
    check_walks(m, &model);
    memtable_model_free(&model);
    memtable_unref(m);
}
END_TEST

START_TEST(deep_path)
{
    enum { DEPTH = 3000 };
    static uint8_t key[DEPTH];
    struct memtable *m = memtable_create(NULL);
    struct memtable_model model = {0};
    memset(key, 'z', sizeof key);
    for (size_t size = DEPTH; size-- > 0;)
        add_one(m, &model, slice(key, size), DEPTH - size);
    check_walks(m, &model);
    mem_fail_at(1);
    struct walked walked = {.model = &model, .stop_at = UINT64_MAX};
    ck_assert_int_eq(memtable_walk(m, check_visit, &walked), PLSM_NO_MEMORY);
    mem_fail_at(0);

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
    memtable_model_free(&model);
    memtable_unref(m);
}
END_TEST

START_TEST(ordinary_paths_allocate_nothing)
{
    struct memtable *m = memtable_create(NULL);
    struct memtable_model model = {0};
    struct random r;
    random_seed(&r, 99);
    for (uint64_t i = 0; i < 3000; i++) {
        uint8_t key[16];
        add_one(m, &model, slice(key, memtable_model_random_bytes(&r, key, sizeof key)), i);
    }
    mem_fail_at(0);
    check_walks(m, &model);
    ck_assert_uint_eq(mem_count(), 0);
    memtable_model_free(&model);
    memtable_unref(m);
}
END_TEST

/* Every reservation is refused once before it is granted. */
START_TEST(reserve_fails)
{
    struct random r;
    random_seed(&r, 5);
    mem_fail_at(1);
    ck_assert_ptr_null(memtable_create(NULL));
    struct memtable *m = memtable_create(NULL);
    struct memtable_model model = {0};
    static uint8_t key[MEMTABLE_MODEL_KEY_ROOM], value[700000];
    unsigned refused = 0;
    for (uint64_t seq = 1; seq < 400; seq++) {
        plsm_slice name = slice(key, memtable_model_make_key(&r, &model, key));
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
        memtable_model_content(seq, value, size);
        struct entry entry = {.key = name, .value = slice(value, size), .seq = seq};
        memtable_add(m, &entry);
        memtable_model_add(&model, &entry);
    }
    ck_assert_uint_gt(refused, 5);
    ck_assert_int_eq(memtable_reserve(m, SIZE_MAX, 1), PLSM_NO_MEMORY);
    ck_assert_int_eq(memtable_reserve(m, 1, SIZE_MAX), PLSM_NO_MEMORY);
    ck_assert_int_eq(memtable_reserve(m, 1, SIZE_MAX / 5), PLSM_NO_MEMORY);
    check_walks(m, &model);
    memtable_model_free(&model);
    memtable_unref(m);
}
END_TEST

/* --- reservations that just suffice ------------------------------------------------------------------------------- */

enum { TIGHT_NODES = 300 };

static void add_to_node(struct memtable *m, unsigned node, unsigned branch)
{
    uint8_t key[] = {(uint8_t)(node >> 8), (uint8_t)node, (uint8_t)branch};
    struct entry entry = {.key = slice(key, sizeof key), .seq = branch};
    memtable_add(m, &entry);
}

/* Adds a branch to each of many nodes that are full, with nothing in the arena but what is reserved for that. */
START_TEST(reservation_is_an_upper_bound)
{
    static const unsigned children[] = {0, 1, 2, 4, 16, 48, 255};
    unsigned full = children[_i];
    struct memtable *m = memtable_create(NULL);
    ck_assert_int_eq(memtable_reserve(m, (full + 1) * TIGHT_NODES, 3 * (full + 1) * TIGHT_NODES), PLSM_OK);
    for (unsigned node = 0; node < TIGHT_NODES; node++)
        for (unsigned branch = 0; branch < full; branch++)
            add_to_node(m, node, branch);

    struct arena_chunk *spare = m->arena.spare;
    size_t chunk_bytes = m->arena.chunk_bytes;
    m->arena.end = m->arena.at;
    m->arena.spare = NULL;
    m->arena.chunk_bytes = 0; /* the next chunk is as small as can be */
    ck_assert_int_eq(memtable_reserve(m, TIGHT_NODES, 3 * TIGHT_NODES), PLSM_OK);
    ck_assert_ptr_nonnull(m->arena.spare);
    for (unsigned node = 0; node < TIGHT_NODES; node++)
        add_to_node(m, node, full);
    ck_assert_ptr_null(m->arena.spare);
    m->arena.spare = spare;
    m->arena.chunk_bytes += chunk_bytes;

    struct entry entry;
    for (unsigned i = 0; i < (full + 1) * TIGHT_NODES; i++) {
        uint8_t key[] = {(uint8_t)(i / (full + 1) >> 8), (uint8_t)(i / (full + 1)), (uint8_t)(i % (full + 1))};
        ck_assert(memtable_get(m, slice(key, 3), SEQ_MAX, &entry));
    }
    memtable_unref(m);
}
END_TEST

/* --- memory that memtables hand on -------------------------------------------------------------------------------- */

/* Large enough for several chunks of the common size. */
static struct memtable *filled(struct arena_pool *pool)
{
    enum { ENTRIES = 200, VALUE = 100000 };
    static uint8_t value[VALUE];
    struct memtable *m = memtable_create(pool);
    for (uint32_t i = 0; i < ENTRIES; i++) {
        uint8_t key[4];
        put_u32(key, i);
        memset(value, (int)i, sizeof value);
        struct entry entry = {.key = slice(key, sizeof key), .value = slice(value, sizeof value), .seq = 1};
        ck_assert_int_eq(memtable_reserve(m, 1, sizeof key + sizeof value), PLSM_OK);
        memtable_add(m, &entry);
    }
    for (uint32_t i = 0; i < ENTRIES; i++) {
        struct entry entry;
        uint8_t key[4];
        put_u32(key, i);
        ck_assert(memtable_get(m, slice(key, sizeof key), SEQ_MAX, &entry));
        memset(value, (int)i, sizeof value);
        ck_assert(slice_equal(entry.value, slice(value, sizeof value)));
    }
    return m;
}

START_TEST(chunks_go_through_the_pool)
{
    struct arena_pool pool;
    arena_pool_init(&pool, 9 << 20);
    struct memtable *first = filled(&pool), *second = filled(&pool);
    ck_assert_uint_eq(arena_pool_bytes(&pool), 0);
    memtable_unref(first);
    ck_assert_uint_eq(arena_pool_bytes(&pool), 8 << 20); /* two chunks of 4 MiB fit, the others are freed */
    memtable_unref(second);
    ck_assert_uint_eq(arena_pool_bytes(&pool), 8 << 20);
    first = filled(&pool);
    ck_assert_uint_eq(arena_pool_bytes(&pool), 0);
    memtable_unref(first);
    arena_pool_destroy(&pool);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("memtable");
    TCase *tests = tcase_create("memtable");
    tcase_set_timeout(tests, 300);
    tcase_add_test(tests, empty_key_and_null);
    tcase_add_loop_test(tests, node_growth, 0, 4);
    tcase_add_loop_test(tests, neighbours, 0, 4);
    tcase_add_test(tests, deep_path);
    tcase_add_test(tests, ordinary_paths_allocate_nothing);
    tcase_add_test(tests, reserve_fails);
    tcase_add_test(tests, chunks_go_through_the_pool);
    tcase_add_loop_test(tests, reservation_is_an_upper_bound, 0, 7);
    tcase_add_loop_test(tests, random_operations, 0, 8);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_set_fork_status(runner, CK_NOFORK);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? 1 : 0;
}
