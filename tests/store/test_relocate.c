/* Moves of all names below a prefix: what is refused, what is replaced, and what goes along. That a crash leaves all or
 * nothing, tests/crash shows. */
#include <stdio.h>

#include "base/alloc.h"
#include "tests/harness/store_fixture.h"

#include "base/banned.h"

enum { NOW = 1000, LARGE = 400 << 10, PIECES = 4 };

static struct env *env;
static plsm *db;

static void start(const char *options)
{
    env = env_memory_create(1);
    env_memory_set_wall_s(env, NOW);
    db = fixture_open(env, PLSM_CREATE, options);
}

static void stop(void)
{
    fixture_check(db);
    assert_ok(plsm_close(db));
    env_memory_destroy(env);
}

static void put_large(const char *key, uint64_t seed, uint64_t expires_s)
{
    uint8_t *data = mem_alloc(LARGE);
    fixture_fill(data, LARGE, seed);
    assert_ok(plsm_put_expiring(db, slice_of(key), slice(data, LARGE), expires_s, PLSM_NONE));
    mem_free(data);
}

static void expect_large(const char *key, uint64_t seed)
{
    size_t size = 0;
    uint8_t *found = fixture_read(db, NULL, key, &size), *data = mem_alloc(LARGE);
    fixture_fill(data, LARGE, seed);
    ck_assert_ptr_nonnull(found);
    ck_assert_uint_eq(size, LARGE);
    ck_assert(memcmp(found, data, LARGE) == 0);
    mem_free(found);
    mem_free(data);
}

static plsm_status move(const char *from, const char *to, const plsm_batch *with)
{
    return plsm_move_prefix(db, slice_of(from), slice_of(to), with, NULL, NULL);
}

START_TEST(refused)
{
    static char longest[PLSM_KEY_MAX + 1];
    plsm_batch *with = plsm_batch_create();
    start(FIXTURE_OPTIONS);
    fixture_put(db, "a/1", "one");
    assert_status(move("a/", "a/b/", NULL), PLSM_INVALID);
    assert_status(move("a/", "a", NULL), PLSM_INVALID);
    assert_status(move("a/", "a/", NULL), PLSM_INVALID);
    assert_status(move("", "b/", NULL), PLSM_INVALID);
    memset(longest, 'x', PLSM_KEY_MAX);
    assert_status(move("a/", longest, NULL), PLSM_TOO_LARGE);
    assert_ok(plsm_batch_put(with, PLSM_NAMES, slice_of("b/2"), slice(NULL, 0), slice_of("2")));
    assert_status(move("a/", "b/", with), PLSM_INVALID);
    plsm_batch_clear(with);
    assert_ok(plsm_batch_if_absent(with, PLSM_NAMES, slice_of("c")));
    assert_status(move("a/", "b/", with), PLSM_INVALID);
    plsm_batch_clear(with);
    assert_ok(plsm_batch_delete_range(with, PLSM_NAMES, slice_of("c"), slice_of("d")));
    assert_status(move("a/", "b/", with), PLSM_INVALID);
    fixture_expect(db, "a/1", "one");
    ck_assert_uint_eq(fixture_count(db, PLSM_NAMES), 1);
    plsm_batch_destroy(with);
    stop();
}
END_TEST

static size_t give_meta(void *arg, plsm_slice key, uint8_t meta[PLSM_META_MAX])
{
    ++*(unsigned *)arg;
    memcpy(meta, key.data, key.size);
    return key.size;
}

/* Small and large values, replaced ones of both kinds, names with one value, and a change beside. */
START_TEST(goes_along)
{
    plsm_batch *batch = plsm_batch_create();
    plsm_value value = {0};
    unsigned asked = 0;
    start(FIXTURE_OPTIONS);
    fixture_put(db, "a/1", "one");
    fixture_put(db, "a0", "beside");
    fixture_put(db, "b/1", "replaced");
    put_large("a/2", 2, 0);
    put_large("b/2", 3, 0);
    put_large("b/3", 4, 0);
    put_large("other", 5, 0);
    assert_ok(plsm_batch_share(batch, slice_of("a/1"), 77));
    assert_ok(plsm_batch_link(batch, 77, slice_of("a/4"), slice_of("meta")));
    assert_ok(plsm_write(db, batch, PLSM_NONE));
    plsm_batch_clear(batch);
    assert_ok(plsm_batch_put(batch, PLSM_NAMES, slice_of("other"), slice(NULL, 0), slice_of("small")));
    assert_ok(plsm_move_prefix(db, slice_of("a/"), slice_of("b/"), batch, give_meta, &asked));
    ck_assert_uint_eq(asked, 1); /* the large one: what names share has a meta of its own */
    ck_assert_uint_eq(fixture_count(db, PLSM_NAMES), 6);
    ck_assert_uint_eq(fixture_count(db, PLSM_EXTENTS), 2 * PIECES);
    expect_large("b/2", 2);
    expect_large("b/3", 4);
    fixture_expect(db, "a0", "beside");
    fixture_expect(db, "other", "small");
    fixture_expect(db, "b/1", "one");
    assert_ok(plsm_get(db, NULL, slice_of("b/4"), &value));
    ck_assert_uint_eq(value.names, 2);
    ck_assert(slice_equal(value.meta, slice_of("meta")));
    assert_ok(plsm_get(db, NULL, slice_of("b/2"), &value));
    ck_assert(slice_equal(value.meta, slice_of("a/2")));
    plsm_value_free(&value);
    plsm_batch_destroy(batch);
    assert_ok(move("nothing/", "there/", NULL));
    stop();
}
END_TEST

/* What expires keeps its time under the new name; what has is not moved, and gives its space back. */
START_TEST(expires)
{
    start(FIXTURE_OPTIONS);
    put_large("a/late", 1, NOW + 20);
    put_large("a/soon", 2, NOW + 10);
    put_large("b/soon", 3, 0);
    assert_ok(plsm_flush(db));
    env_memory_set_wall_s(env, NOW + 10);
    atomic_store(&db->next_expiry_s, UINT64_MAX); /* as if it expired behind the look, in front of the move */
    assert_ok(move("a/", "b/", NULL));
    expect_large("b/late", 1);
    expect_large("b/soon", 3);
    ck_assert_uint_eq(fixture_count(db, PLSM_EXTENTS), 2 * PIECES);
    fixture_check(db);
    env_memory_set_wall_s(env, NOW + 20);
    assert_ok(plsm_close(db));
    db = fixture_open(env, 0, FIXTURE_OPTIONS);
    ck_assert_uint_eq(fixture_count(db, PLSM_EXTENTS), PIECES);
    ck_assert_uint_eq(fixture_markers(db), 0);
    stop();
}
END_TEST

static struct {
    struct env_ops ops;
    const struct env_ops *own;
    uint64_t now_s;
} ticking;

/* A second goes by with each look. */
static uint64_t tick(struct env *of)
{
    (void)of;
    return ticking.now_s++ * 1000000000;
}

/* A time comes while names are moved, before or behind any look at the clock: nothing is left that nobody has. */
START_TEST(expires_meanwhile)
{
    for (unsigned looks = 0; looks < 20; looks++) {
        start(FIXTURE_OPTIONS);
        put_large("a/soon", 2, NOW + 20);
        put_large("b/soon", 3, 0);
        ticking.own = env->ops;
        ticking.ops = *env->ops;
        ticking.ops.wall_ns = tick;
        ticking.now_s = NOW + 20 - looks;
        env->ops = &ticking.ops;
        assert_ok(move("a/", "b/", NULL));
        env->ops = ticking.own;
        env_memory_set_wall_s(env, NOW + 100);
        assert_ok(plsm_close(db));
        db = fixture_open(env, 0, FIXTURE_OPTIONS);
        uint64_t names = fixture_count(db, PLSM_NAMES);
        if (names > 0)
            expect_large("b/soon", 3);
        ck_assert_uint_eq(fixture_count(db, PLSM_EXTENTS), names * PIECES);
        ck_assert_uint_eq(fixture_markers(db), 0);
        stop();
    }
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {refused, goes_along, expires, expires_meanwhile};
    return fixture_run("relocate", tests, sizeof tests / sizeof tests[0]);
}
