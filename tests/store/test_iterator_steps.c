/* Iterators that step forward are served ahead: many steps in a row, turned round anywhere, over all kinds of entries
 * and sources, beside writes, against arrays that say what has to be seen. */
#include "../harness/store_fixture.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/random.h"

#include "base/banned.h"

enum { KEYS = 1500, ROUNDS = 40, PATHS = 12, VALUE_MAX = 6000, KEY_ROOM = 200 };

/* What is written under a key: its value is made from the key's number and this. 0: nothing. */
struct world {
    uint32_t versions[KEYS];
};

/* What all keys begin with. Below the long ones a page's prefix has 49 bytes or more, and whole keys up to 64 or more:
 * what moves several keys at once has room for so many. */
static const char *const directories[] = {
    "",
    "a/directory/of/two/and/fifty/bytes/to/the/end/of/it/",
    "a/directory/of/two/and/sixty/bytes/to/the/slash/at/the/end/it/",
};
enum { DIRECTORIES = sizeof directories / sizeof directories[0] };
static const char *directory;

/* In the order of their numbers. Some are long, some share all of their first bytes, some are short. */
static plsm_slice key_of(unsigned i, char *buffer)
{
    int size = 0;
    if (i < KEYS / 3)
        size = snprintf(buffer, KEY_ROOM, "%sa%05u", directory, i);
    else if (i < KEYS / 2)
        size = snprintf(buffer, KEY_ROOM, "%sdirectory/with/a/long/name/%05u", directory, i);
    else if (i < 2 * KEYS / 3)
        size = snprintf(buffer, KEY_ROOM, "%se%05u%0*u", directory, i, i % 3 ? 10 : 100, i);
    else
        size = snprintf(buffer, KEY_ROOM, "%sf%06u", directory, i);
    return slice(buffer, (size_t)size);
}

struct made {
    plsm_slice value, meta;
    uint64_t expires_s;
};

/* Most are small and plain. */
static struct made make(unsigned i, uint32_t version)
{
    static uint8_t bytes[VALUE_MAX];
    static const char meta[] = "meta of an entry";
    uint64_t seed = (uint64_t)i << 32 | version, mixed = splitmix64(&seed);
    unsigned kind = mixed % 32;
    size_t size = kind == 0 ? 5000 : kind == 1 ? 128 + mixed / 32 % 200 : mixed / 32 % 100;
    for (size_t at = 0; at < size; at++)
        bytes[at] = (uint8_t)(mixed >> at % 56);
    return (struct made){.value = slice(bytes, size),
                         .meta = slice(meta, kind == 2 ? sizeof meta : 0),
                         .expires_s = kind == 3 ? UINT32_MAX : 0};
}

static void write_some(plsm *db, struct world *world, struct random *random, unsigned count)
{
    char key[KEY_ROOM], to[KEY_ROOM];
    plsm_batch *batch = plsm_batch_create();
    for (unsigned n = 0; n < count; n++) {
        unsigned i = (unsigned)random_below(random, KEYS), what = (unsigned)random_below(random, 200);
        if (what == 0 && i + 1 < KEYS) {
            unsigned end = i + 1 + (unsigned)random_below(random, KEYS - i - 1);
            end = end < i + 40 ? end : i + 40;
            end = end < KEYS ? end : KEYS - 1;
            if (end > i)
                assert_ok(plsm_batch_delete_range(batch, PLSM_NAMES, key_of(i, key), key_of(end, to)));
            for (unsigned j = i; j < end; j++)
                world->versions[j] = 0;
        } else if (what < 40) {
            assert_ok(plsm_batch_delete(batch, PLSM_NAMES, key_of(i, key)));
            world->versions[i] = 0;
        } else {
            world->versions[i] = 1 + (uint32_t)random_below(random, 1000);
            struct made made = make(i, world->versions[i]);
            assert_ok(made.expires_s
                          ? plsm_batch_put_expiring(batch, key_of(i, key), made.meta, made.value, made.expires_s)
                          : plsm_batch_put(batch, PLSM_NAMES, key_of(i, key), made.meta, made.value));
        }
    }
    assert_ok(plsm_write(db, batch, PLSM_NONE));
    plsm_batch_destroy(batch);
}

/* The first key from `at` on, or the last one before it, that is there within [from, to); -1: none. */
static int seek_in(const struct world *world, int at, int from, int to, bool backward)
{
    int i = backward ? at - 1 : at;
    i = !backward && i < from ? from : backward && i >= to ? to - 1 : i;
    while (i >= from && i < to && world->versions[i] == 0)
        i += backward ? -1 : 1;
    return i >= from && i < to ? i : -1;
}

static void compare(const plsm_iterator *it, const struct world *world, int at, bool no_value)
{
    char buffer[KEY_ROOM];
    assert_ok(plsm_iterator_status(it));
    ck_assert_int_eq(plsm_iterator_valid(it), at >= 0);
    if (at < 0)
        return;
    plsm_slice key = key_of((unsigned)at, buffer);
    struct made made = make((unsigned)at, world->versions[at]);
    if (!slice_equal(plsm_iterator_key(it), key))
        ck_abort_msg("stands on %.*s, not on %s", (int)plsm_iterator_key(it).size,
                     (const char *)plsm_iterator_key(it).data, buffer);
    ck_assert_uint_eq(plsm_iterator_size(it), made.value.size);
    ck_assert_uint_eq(plsm_iterator_stored(it), made.value.size);
    ck_assert(slice_equal(plsm_iterator_value(it), no_value ? slice(NULL, 0) : made.value));
    ck_assert(slice_equal(plsm_iterator_meta(it), made.meta));
    ck_assert_uint_eq(plsm_iterator_expires(it), made.expires_s);
    ck_assert(!plsm_iterator_large(it) && plsm_iterator_names(it) == 1 && plsm_iterator_shared(it) == 0);
}

/* One iterator on its way, while others write. */
static void wander(plsm *db, struct world *world, struct random *random)
{
    const struct world then = *world;
    char first[KEY_ROOM], last[KEY_ROOM], key[KEY_ROOM];
    int from = 0, to = KEYS, at = -1;
    bool bounded = random_below(random, 2), no_value = random_below(random, 4) == 0;
    plsm_read_options options = {.no_value = no_value};
    plsm_iterator *it = NULL;
    if (bounded) {
        from = (int)random_below(random, KEYS);
        to = from + (int)random_below(random, (uint64_t)(KEYS - from));
    }
    plsm_slice open = {0};
    assert_ok(plsm_iterator_create(db, &options, bounded ? key_of((unsigned)from, first) : open,
                                   bounded ? key_of((unsigned)to, last) : open, &it));
    for (unsigned move = 0; move < 20; move++) {
        unsigned what = (unsigned)random_below(random, 16), steps = 0;
        bool backward = what == 1 || what == 3 || (what >= 4 && what < 7);
        if (what < 2 || (what >= 4 && at < 0)) {
            (backward ? plsm_iterator_last : plsm_iterator_first)(it);
            at = seek_in(&then, backward ? to : from, from, to, backward);
        } else if (what < 4) {
            at = (int)random_below(random, KEYS);
            (backward ? plsm_iterator_seek_before : plsm_iterator_seek)(it, key_of((unsigned)at, key));
            at = seek_in(&then, at, from, to, backward);
        } else {
            steps = 1 + (unsigned)random_below(random, backward ? 5 : 120);
        }
        compare(it, &then, at, no_value);
        for (; steps > 0 && at >= 0; steps--) {
            (backward ? plsm_iterator_previous : plsm_iterator_next)(it);
            at = seek_in(&then, backward ? at : at + 1, from, to, backward);
            compare(it, &then, at, no_value);
        }
        if (random_below(random, 8) == 0)
            write_some(db, world, random, 20);
    }
    plsm_iterator_destroy(it);
}

static const char *const option_sets[] = {
    "background=0,buffer_size=256K,file_size=128K",
    "background=0,buffer_size=256K,policy=tiered,size_ratio=9,l0_compact=8,l0_slowdown=12,l0_stop=20",
    "background=0,buffer_size=256K,index=classic,l0_compact=8,l0_slowdown=12,l0_stop=20",
    "background=0,buffer_size=256K,cache_size=0,index=traditional",
    "background=0,buffer_size=256K,separate_above=1K,l0_compact=6,sim=ssd",
};
enum { OPTION_SETS = sizeof option_sets / sizeof option_sets[0] };

START_TEST(steps)
{
    struct random random;
    const char *options = option_sets[_i % OPTION_SETS];
    directory = directories[_i / OPTION_SETS];
    random_seed(&random, 7 + (uint64_t)_i);
    printf("below \"%s\", options %s, seed %d\n", directory, options, 7 + _i);
    struct env *env = env_memory_create(1);
    plsm *db = fixture_open(env, PLSM_CREATE, options);
    struct world *world = mem_zalloc(sizeof *world);
    for (unsigned round = 0; round < ROUNDS; round++) {
        write_some(db, world, &random, round == 0 ? 1000 : 150);
        if (round % 3 == 0)
            assert_ok(plsm_flush(db));
        if (round == ROUNDS / 2)
            assert_ok(plsm_compact(db, slice(NULL, 0), slice(NULL, 0)));
        for (unsigned path = 0; path < PATHS; path++)
            wander(db, world, &random);
    }
    fixture_check(db);
    assert_ok(plsm_close(db));
    env_memory_destroy(env);
    mem_free(world);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("iterator steps");
    TCase *steps_case = tcase_create("steps");
    tcase_set_timeout(steps_case, 0);
    tcase_add_loop_test(steps_case, steps, 0, DIRECTORIES * OPTION_SETS);
    suite_add_tcase(suite, steps_case);
    SRunner *runner = srunner_create(suite);
    srunner_set_fork_status(runner, CK_NOFORK);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
