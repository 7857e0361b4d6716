/* Crashes behind every storage call of a life of shared values, small and large: what is opened then shows the state
 * after some number of steps, all of one, and plsm_check finds no link without its value, no wrong count, no value
 * without a name and no extents that belong to nothing. */
#include "../harness/store_fixture.h"

#include <stdio.h>

#include "base/alloc.h"
#include "base/checksum.h"

#include "base/banned.h"

enum { KEYS = 6, LARGE = 270000, STEPS_MAX = 40 };

static const char *const keys[KEYS] = {"a", "b", "c", "dir/", "dir/d", "e"};

struct state {
    struct {
        uint64_t sum, size, shared;
        uint32_t names;
        uint8_t meta;
        bool present;
    } keys[KEYS];
};

struct moment {
    uint64_t calls;
    struct state state;
};

static struct moment moments[STEPS_MAX + 1];
static int steps;
static struct env *env;
static plsm *db;

static struct state look(plsm *store)
{
    struct state state;
    memset(&state, 0, sizeof state); /* also what is between its members: states are compared as bytes */
    for (int i = 0; i < KEYS; i++) {
        plsm_value value = {0};
        size_t size = 0;
        plsm_status status = plsm_get(store, NULL, slice_of(keys[i]), &value);
        if (status != PLSM_NOT_FOUND)
            assert_ok(status);
        if (status == PLSM_OK) {
            uint8_t *data = fixture_read(store, NULL, keys[i], &size);
            state.keys[i].present = true;
            state.keys[i].sum = checksum(data, size, 0);
            state.keys[i].size = size;
            state.keys[i].shared = value.shared;
            state.keys[i].names = value.names;
            state.keys[i].meta = value.meta.size ? *(const uint8_t *)value.meta.data : 0;
            mem_free(data);
        }
        plsm_value_free(&value);
    }
    return state;
}

static void done(void)
{
    ck_assert_int_lt(steps, STEPS_MAX);
    moments[++steps] = (struct moment){env_memory_calls(env), look(db)};
}

static void put(const char *key, size_t size, uint64_t seed)
{
    uint8_t *data = mem_alloc(size);
    fixture_fill(data, size, seed);
    assert_ok(plsm_put(db, slice_of(key), slice(data, size), PLSM_SYNC));
    mem_free(data);
    done();
}

static void write_batch(plsm_batch *batch)
{
    assert_ok(plsm_write(db, batch, PLSM_SYNC));
    plsm_batch_destroy(batch);
    done();
}

static void link_keys(uint64_t shared, const char *from, const char *to, const char *meta)
{
    plsm_batch *batch = plsm_batch_create();
    if (from)
        assert_ok(plsm_batch_share(batch, slice_of(from), shared));
    assert_ok(plsm_batch_link(batch, shared, slice_of(to), slice_of(meta)));
    write_batch(batch);
}

static void move(const char *from, const char *to)
{
    plsm_batch *batch = plsm_batch_create();
    assert_ok(plsm_batch_move(batch, slice_of(from), slice_of(to)));
    write_batch(batch);
}

static void edit(uint64_t shared, uint64_t offset, size_t size, uint64_t cut, const char *meta)
{
    plsm_edit *open = NULL;
    uint8_t *data = mem_alloc(size);
    fixture_fill(data, size, offset);
    assert_ok(plsm_edit_open_shared(db, shared, 0, &open));
    assert_ok(plsm_edit_write(open, offset, data, size));
    if (cut)
        assert_ok(plsm_edit_truncate(open, cut));
    assert_ok(plsm_edit_commit(open, slice_of(meta), PLSM_SYNC));
    plsm_edit_close(open);
    mem_free(data);
    done();
}

static void remove_key(const char *key)
{
    assert_ok(plsm_delete(db, slice_of(key), PLSM_SYNC));
    done();
}

/* `size`: of the value that is shared. */
static void live(uint64_t shared, size_t size)
{
    put("a", size, size);
    link_keys(shared, "a", "b", "1");
    link_keys(shared, NULL, "dir/d", "2");
    edit(shared, size / 2, size / 2 + 100, 0, "3");
    move("a", "c");
    put("e", 100, 1);
    move("e", "b"); /* over one of the names */
    link_keys(shared, NULL, "b", "4");
    edit(shared, 10, 1000, 200, "5"); /* small in any case */
    edit(shared, 100, size, 0, "6");
    assert_ok(plsm_flush(db));
    plsm_batch *batch = plsm_batch_create(); /* a directory with one of the names is renamed */
    assert_ok(plsm_batch_move(batch, slice_of("dir/d"), slice_of("a")));
    assert_ok(plsm_batch_set_meta(batch, slice_of("a"), slice_of("7")));
    write_batch(batch);
    assert_ok(plsm_delete_range(db, slice_of("b"), slice_of("d"), PLSM_SYNC)); /* two of three */
    done();
    assert_ok(plsm_compact(db, slice(NULL, 0), slice(NULL, 0)));
    remove_key("a");
    ck_assert_uint_eq(fixture_count(db, PLSM_INODES), 0);
    ck_assert_uint_eq(fixture_count(db, PLSM_EXTENTS), 0);
}

static void crash_at(uint64_t call, enum env_crash kind)
{
    struct env *image = env_memory_crash(env, call, kind, call);
    plsm *store = fixture_open(image, 0, NULL);
    struct state found = look(store);
    int last = 0;
    bool matches = false;
    while (last < steps && moments[last].calls <= call)
        last++; /* the step under way may have been made; all before it were synced */
    for (int step = last > 0 ? last - 1 : 0; step <= last && !matches; step++)
        matches = memcmp(&found, &moments[step].state, sizeof found) == 0;
    ck_assert_msg(matches, "crash behind call %llu, kind %d: not as before or behind step %d", (unsigned long long)call,
                  kind, last);
    fixture_check(store);
    ck_assert_uint_eq(fixture_markers(store), 0);
    assert_ok(plsm_delete_range(store, slice(NULL, 0), slice(NULL, 0), PLSM_NONE));
    ck_assert_uint_eq(fixture_count(store, PLSM_INODES), 0);
    ck_assert_uint_eq(fixture_count(store, PLSM_EXTENTS), 0);
    assert_ok(plsm_close(store));
    env_memory_destroy(image);
}

START_TEST(crashes)
{
    uint64_t shared = 0;
    steps = 0;
    env = env_memory_create(1);
    db = fixture_open(env, PLSM_CREATE, NULL);
    assert_ok(plsm_new_id(db, &shared));
    assert_ok(plsm_sync(db));
    moments[0] = (struct moment){env_memory_calls(env), look(db)};
    live(shared, 3000);
    assert_ok(plsm_new_id(db, &shared));
    live(shared, LARGE);
    assert_ok(plsm_close(db));
    printf("links: %d steps, crashes behind calls %llu to %llu\n", steps, (unsigned long long)moments[0].calls,
           (unsigned long long)moments[steps].calls);
    for (uint64_t call = moments[0].calls; call <= moments[steps].calls; call++)
        for (int kind = 0; kind < ENV_CRASH_COUNT; kind++)
            crash_at(call, (enum env_crash)kind);
    env_memory_destroy(env);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {crashes};
    return fixture_run_engines("links_crash", tests, sizeof tests / sizeof tests[0]);
}
