/* Simulated I/O of a store without models: whatever is asked of it, both sides must be charged the same. So what is
 * replayed for traditional mode is what traditional mode does. With models: the answers are those of a store without
 * simulated I/O.
 *
 * Random operations on small stores with small caches, values of several blocks and versions over several pages. */
#include <check.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/checksum.h"
#include "base/env_memory.h"
#include "base/random.h"
#include "lsm/db.h"

#include "base/banned.h"

enum { KEYS = 1500, SNAPSHOTS = 6, MANY = 80, VALUE_MAX = 20000 };

struct store {
    struct env *env;
    struct lsm *db;
    struct lsm_options options;
    struct lsm_snapshot *snapshots[SNAPSHOTS]; /* NULL: none taken */
    struct random random;
    struct lsm_value values[MANY];
    uint64_t answers; /* a checksum of all */
};

static void open_store(struct store *store)
{
    ck_assert_msg(lsm_open("/s", &store->options, &store->db) == PLSM_OK, "%s", plsm_message());
}

static void drop_snapshots(struct store *store)
{
    for (unsigned i = 0; i < SNAPSHOTS; i++) {
        lsm_snapshot_destroy(store->db, store->snapshots[i]);
        store->snapshots[i] = NULL;
    }
}

static void close_store(struct store *store)
{
    drop_snapshots(store);
    ck_assert_int_eq(lsm_close(store->db), PLSM_OK);
}

static uint64_t below(struct store *store, uint64_t bound)
{
    return random_below(&store->random, bound);
}

/* Directories with keys in them; every third key is never written. A few keys are asked for half of the time. */
static plsm_slice some_key(struct store *store, char *text, bool writes)
{
    uint64_t i = below(store, below(store, 2) ? 8 : KEYS);
    if (writes)
        i -= i % 3 == 2;
    snprintf(text, 64, "\1dir%" PRIu64 "/%s%05" PRIu64, i % 7, i % 5 ? "key" : "", i);
    return slice_of(text);
}

static size_t some_size(struct store *store)
{
    uint64_t kind = below(store, 40);
    return kind == 0 ? below(store, VALUE_MAX) : kind < 4 ? below(store, 3000) : below(store, 150);
}

static void note(struct store *store, const void *data, size_t size)
{
    store->answers = checksum(data, size, store->answers);
}

static void note_status(struct store *store, plsm_status status)
{
    ck_assert_msg(status == PLSM_OK || status == PLSM_NOT_FOUND, "%s", plsm_message());
    note(store, &status, sizeof status);
}

static void write_some(struct store *store)
{
    static uint8_t bytes[VALUE_MAX];
    char text[64];
    struct batch batch = {0};
    for (uint64_t left = 1 + below(store, 30); left > 0; left--) {
        plsm_slice key = some_key(store, text, true);
        memset(bytes, (int)below(store, 256), 64);
        enum batch_kind kind = below(store, 8) ? BATCH_PUT : BATCH_DELETE;
        ck_assert_int_eq(batch_add(&batch, kind, LSM_DIRECTORY_BYTE, slice(text + 1, key.size - 1), (plsm_slice){0},
                                   slice(bytes, some_size(store))),
                         PLSM_OK);
    }
    ck_assert_msg(lsm_write(store->db, &batch, NULL, NULL, false) == PLSM_OK, "%s", plsm_message());
    batch_free(&batch);
}

static const struct lsm_snapshot *some_snapshot(struct store *store)
{
    return below(store, 3) ? NULL : store->snapshots[below(store, SNAPSHOTS)];
}

static void get_some(struct store *store)
{
    char text[64];
    for (uint64_t left = 1 + below(store, 20); left > 0; left--) {
        plsm_slice key = some_key(store, text, false);
        plsm_status status = lsm_get(store->db, some_snapshot(store), key, below(store, 2), &store->values[0]);
        note_status(store, status);
        if (status == PLSM_OK)
            note(store, store->values[0].value.data, store->values[0].value.size);
    }
}

static void get_many(struct store *store)
{
    char texts[MANY][64];
    plsm_slice keys[MANY];
    plsm_status statuses[MANY];
    size_t count = 1 + below(store, MANY);
    for (size_t i = 0; i < count; i++)
        keys[i] = some_key(store, texts[i], false);
    ck_assert_int_eq(
        lsm_multi_get(store->db, some_snapshot(store), keys, count, below(store, 2), store->values, statuses), PLSM_OK);
    for (size_t i = 0; i < count; i++) {
        note_status(store, statuses[i]);
        if (statuses[i] == PLSM_OK)
            note(store, store->values[i].value.data, store->values[i].value.size);
    }
}

static void note_entry(struct store *store, const struct lsm_iterator *it, bool no_value)
{
    bool valid = lsm_iterator_valid(it);
    ck_assert_int_eq(lsm_iterator_status(it), PLSM_OK);
    note(store, &valid, sizeof valid);
    if (!valid)
        return;
    const struct entry *entry = lsm_iterator_entry(it);
    note(store, entry->key.data, entry->key.size);
    if (!no_value)
        note(store, entry->value.data, entry->value.size);
}

static void place_iterator(struct store *store, struct lsm_iterator *it)
{
    char text[64];
    switch (below(store, 6)) {
    case 0:
        lsm_iterator_first(it);
        break;
    case 1:
        lsm_iterator_last(it);
        break;
    case 2:
        lsm_iterator_seek_before(it, some_key(store, text, false));
        break;
    default:
        lsm_iterator_seek(it, some_key(store, text, false));
        break;
    }
}

static void iterate(struct store *store)
{
    char from[64], to[64];
    struct lsm_iterator *it = NULL;
    bool no_value = below(store, 2), bounded = below(store, 2);
    plsm_slice none = {0}, a = some_key(store, from, false), b = some_key(store, to, false);
    if (slice_compare(a, b) > 0) {
        plsm_slice swap = a;
        a = b;
        b = swap;
    }
    plsm_status (*create)(struct lsm *, const struct lsm_snapshot *, plsm_slice, plsm_slice, struct lsm_iterator **) =
        no_value ? lsm_iterator_create_no_value : lsm_iterator_create;
    ck_assert_int_eq(
        create(store->db, some_snapshot(store), bounded ? a : none, bounded && below(store, 2) ? b : none, &it),
        PLSM_OK);
    for (uint64_t places = 1 + below(store, 4); places > 0; places--) {
        place_iterator(store, it);
        note_entry(store, it, no_value);
        bool forward = below(store, 3);
        for (uint64_t left = below(store, below(store, 6) ? 20 : KEYS); left > 0 && lsm_iterator_valid(it); left--) {
            if (below(store, 30) == 0)
                forward = !forward;
            if (forward)
                lsm_iterator_next(it);
            else
                lsm_iterator_previous(it);
            note_entry(store, it, no_value);
        }
    }
    lsm_iterator_destroy(it);
}

static void ask_prefix(struct store *store)
{
    char text[64];
    bool there = false;
    plsm_slice key = some_key(store, text, false);
    key.size = below(store, 2) ? strlen("\1dir0/") : 1 + below(store, key.size);
    ck_assert_int_eq(lsm_has_prefix(store->db, some_snapshot(store), key, &there), PLSM_OK);
    note(store, &there, sizeof there);
}

static void maintain(struct store *store)
{
    unsigned slot = (unsigned)below(store, SNAPSHOTS);
    plsm_slice none = {0};
    switch (below(store, 12)) {
    case 0:
        ck_assert_int_eq(lsm_compact(store->db, none, none), PLSM_OK);
        break;
    case 1:
        close_store(store);
        open_store(store);
        break;
    case 2:
    case 3:
        ck_assert_int_eq(lsm_flush(store->db), PLSM_OK);
        break;
    case 4:
        ck_assert_msg(lsm_check(store->db, NULL, NULL, NULL) == PLSM_OK, "%s", plsm_message());
        break;
    default:
        lsm_snapshot_destroy(store->db, store->snapshots[slot]);
        store->snapshots[slot] = lsm_snapshot_create(store->db);
        break;
    }
}

static void step(struct store *store)
{
    static void (*const kinds[])(struct store *) = {write_some, write_some, get_some,   get_some, get_many,
                                                    get_many,   iterate,    ask_prefix, maintain};
    kinds[below(store, sizeof kinds / sizeof kinds[0])](store);
}

static void start_store(struct store *store, uint64_t seed)
{
    *store = (struct store){.env = env_memory_create(seed)};
    random_seed(&store->random, seed);
    struct lsm_options *o = &store->options;
    lsm_options_default(o);
    o->env = store->env;
    o->create = true;
    o->background = 0;
    o->buffer_size = 64 << 10;
    o->file_size = 64 << 10;
    o->l0_compact = 2 + (uint32_t)below(store, 3);
    o->size_ratio = 3;
    o->filter_bits = below(store, 4) ? 4 : 0; /* many false positives */
    o->cache_size = (uint64_t[]){0, 16 << 10, 1 << 20}[below(store, 3)];
    o->simulation.cache_bytes = (uint64_t[]){0, 64 << 10, 400 << 10, 32 << 20}[below(store, 4)];
    for (unsigned i = 0; i < LSM_GROUPS; i++)
        o->groups[i].batch_prediction = below(store, 2);
    uint64_t cache_bytes = o->simulation.cache_bytes;
    ck_assert_int_eq(simulation_profile_find(below(store, 2) ? "nvme" : "hdd", &o->simulation), PLSM_OK);
    ck_assert_uint_eq(o->simulation.cache_bytes, cache_bytes);
}

static void end_store(struct store *store)
{
    close_store(store);
    for (unsigned i = 0; i < MANY; i++)
        lsm_value_free(&store->values[i]);
    env_memory_destroy(store->env);
}

/* Both sides the same; returns how much they were charged. */
static uint64_t compare_sides(const struct store *store, unsigned long at)
{
    struct simulated_account a, t;
    simulated_account(store->db->context.simulated, SIM_ACTUAL, &a);
    simulated_account(store->db->context.simulated, SIM_TRADITIONAL, &t);
    ck_assert_msg(memcmp(&a.totals, &t.totals, sizeof a.totals) == 0,
                  "step %lu: reads %" PRIu64 "/%" PRIu64 ", random %" PRIu64 "/%" PRIu64 ", blocks %" PRIu64 "/%" PRIu64
                  ", hits %" PRIu64 "/%" PRIu64 ", ns %" PRIu64 "/%" PRIu64,
                  at, a.totals.reads, t.totals.reads, a.totals.random, t.totals.random, a.totals.blocks,
                  t.totals.blocks, a.totals.hits, t.totals.hits, a.totals.read_ns, t.totals.read_ns);
    ck_assert_uint_eq(a.metadata_bytes, t.metadata_bytes);
    return a.totals.reads;
}

enum { SEEDS = 40, STEPS = 400 };

static void run_equal(uint64_t seed, enum lsm_index index)
{
    struct store store;
    uint64_t reads = 0;
    start_store(&store, seed);
    store.options.simulate = true;
    store.options.index = index;
    store.options.filter_young = false; /* each run has its own filter, as in traditional mode */
    store.options.filter = LSM_FILTER_FUSE;
    for (unsigned i = 0; i < LSM_GROUPS; i++)
        store.options.groups[i].model = LSM_MODEL_NONE;
    open_store(&store);
    for (unsigned i = 0; i < STEPS; i++) {
        step(&store);
        uint64_t now = compare_sides(&store, i);
        reads = now > reads ? now : reads;
    }
    ck_assert_uint_gt(reads, 20);
    end_store(&store);
}

START_TEST(traditional_mode_is_charged_alike)
{
    run_equal(1000 + (uint64_t)_i, _i % 4 ? LSM_TRADITIONAL : LSM_CLASSIC);
}
END_TEST

START_TEST(learned_mode_without_models_is_charged_alike)
{
    run_equal(2000 + (uint64_t)_i, LSM_LEARNED);
}
END_TEST

static uint64_t answers_of(uint64_t seed, bool simulate)
{
    struct store store;
    start_store(&store, seed);
    store.options.simulate = simulate;
    open_store(&store);
    for (unsigned i = 0; i < STEPS; i++)
        step(&store);
    end_store(&store);
    return store.answers;
}

START_TEST(answers_are_those_without_it)
{
    uint64_t seed = 3000 + (uint64_t)_i;
    ck_assert_msg(answers_of(seed, true) == answers_of(seed, false), "seed %" PRIu64, seed);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("simulated sides");
    TCase *tcase = tcase_create("sides");
    tcase_set_timeout(tcase, 300);
    tcase_add_loop_test(tcase, traditional_mode_is_charged_alike, 0, SEEDS);
    tcase_add_loop_test(tcase, learned_mode_without_models_is_charged_alike, 0, SEEDS / 4);
    tcase_add_loop_test(tcase, answers_are_those_without_it, 0, SEEDS / 4);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
