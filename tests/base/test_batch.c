/* The encoding of batches: what is put in comes out, one change by itself as among others. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "base/batch.h"
#include "base/random.h"

#include "base/banned.h"

enum { CHANGES = 3000, KEY_MAX = 8192, VALUE_MAX = 20000 };

static uint8_t bytes[KEY_MAX + UINT8_MAX + VALUE_MAX];

static size_t some_size(struct random *r, size_t most)
{
    size_t below = (size_t[]){3, 20, 300, most + 1}[random_below(r, 4)];
    return random_below(r, below < most + 1 ? below : most + 1);
}

static struct batch_change some_change(struct random *r)
{
    static const enum batch_kind kinds[] = {BATCH_PUT, BATCH_DELETE, BATCH_REFERENCE, BATCH_DELETE_RANGE};
    struct batch_change change = {.kind = kinds[random_below(r, BATCH_KIND_COUNT)]};
    change.key = slice(bytes + random_below(r, 50), 1 + some_size(r, KEY_MAX - 1));
    if (change.kind == BATCH_DELETE)
        return change;
    change.value = slice(bytes + random_below(r, 50), some_size(r, VALUE_MAX));
    if (change.kind == BATCH_DELETE_RANGE)
        return change;
    change.meta = slice(bytes + random_below(r, 50), some_size(r, UINT8_MAX));
    change.timed = random_below(r, 2);
    change.expires_s = change.timed ? random_next(r) >> random_below(r, 64) : 0;
    return change;
}

static plsm_status add(struct batch *batch, uint8_t keyspace, const struct batch_change *c)
{
    return c->timed ? batch_add_timed(batch, c->kind, keyspace, c->key, c->meta, c->value, c->expires_s)
                    : batch_add(batch, c->kind, keyspace, c->key, c->meta, c->value);
}

/* `whole` has the key with its keyspace byte. */
static void check_same(const struct batch_change *whole, uint8_t keyspace, const struct batch_change *change)
{
    ck_assert_int_eq(whole->kind, change->kind);
    ck_assert_int_eq(whole->timed, change->timed);
    ck_assert_uint_eq(whole->expires_s, change->expires_s);
    ck_assert_uint_eq(*(const uint8_t *)whole->key.data, keyspace);
    ck_assert(slice_equal(slice((const uint8_t *)whole->key.data + 1, whole->key.size - 1), change->key));
    ck_assert(slice_equal(whole->meta, change->meta));
    ck_assert(slice_equal(whole->value, change->value));
}

/* Whether batch_next_put takes the next change: then it is the same that batch_next tells. */
static bool is_plain_put(const uint8_t *at, const uint8_t *end)
{
    plsm_slice key = {0}, value = {0};
    struct batch_change change;
    const uint8_t *put = at, *next = at;
    bool is_put = batch_next_put(&put, end, &key, &value), is_change = batch_next(&next, end, &change);
    ck_assert_ptr_eq(put, is_put ? next : at);
    if (!is_put)
        return false;
    ck_assert(is_change && change.kind == BATCH_PUT && !change.timed && !change.kept && change.meta.size == 0);
    ck_assert(change.key.data == key.data && change.key.size == key.size);
    ck_assert(change.value.data == value.data && change.value.size == value.size);
    return true;
}

START_TEST(what_goes_in_comes_out)
{
    struct random r;
    struct batch batch = {0};
    static struct batch_change changes[CHANGES];
    uint32_t plain_puts = 0;
    random_seed(&r, 1);
    for (uint32_t i = 0; i < CHANGES; i++) {
        changes[i] = some_change(&r);
        ck_assert_int_eq(add(&batch, (uint8_t)i, &changes[i]), PLSM_OK);
    }
    ck_assert_uint_eq(batch.count, CHANGES);
    const uint8_t *at = batch.bytes.data, *end = at + batch.bytes.size;
    for (uint32_t i = 0; i < CHANGES; i++) {
        struct batch_change change;
        const struct batch_change *c = &changes[i];
        bool plain = c->kind == BATCH_PUT && !c->timed && c->meta.size == 0 && c->key.size < 127;
        ck_assert_int_eq(is_plain_put(at, end), plain);
        plain_puts += plain;
        ck_assert(batch_next(&at, end, &change));
        check_same(&change, (uint8_t)i, &changes[i]);
    }
    ck_assert_uint_gt(plain_puts, 0);
    ck_assert(at == end && !is_plain_put(at, end));
    batch_free(&batch);
}
END_TEST

/* Byte by byte what batch_add writes, and told as batch_next tells it; nothing is written behind the room asked for. */
START_TEST(one_by_itself)
{
    struct random r;
    struct batch batch = {0};
    random_seed(&r, 2);
    for (uint32_t i = 0; i < CHANGES; i++) {
        struct batch_change change = some_change(&r), encoded = change, read;
        size_t room = BATCH_CHANGE_BYTES + change.key.size + change.meta.size + change.value.size;
        uint8_t *to = malloc(room);
        size_t size = batch_encode(to, (uint8_t)i, &encoded);
        batch_clear(&batch);
        ck_assert_int_eq(add(&batch, (uint8_t)i, &change), PLSM_OK);
        ck_assert(slice_equal(slice(to, size), buf_slice(&batch.bytes)));
        check_same(&encoded, (uint8_t)i, &change);
        const uint8_t *at = to;
        ck_assert(batch_next(&at, to + size, &read));
        ck_assert(at == to + size);
        ck_assert_ptr_eq(read.key.data, encoded.key.data);
        if (change.kind != BATCH_DELETE) {
            ck_assert_ptr_eq(read.meta.data, encoded.meta.data);
            ck_assert_ptr_eq(read.value.data, encoded.value.data);
        }
        free(to);
    }
    batch_free(&batch);
}
END_TEST

/* Cut anywhere, and of bytes that are no batch: nothing is read behind the end (as AddressSanitizer sees). */
START_TEST(plain_puts_of_noise)
{
    struct random r;
    unsigned plain_puts = 0;
    random_seed(&r, 4);
    for (int i = 0; i < 50000; i++) {
        size_t size = random_below(&r, 24);
        uint8_t *noise = malloc(size ? size : 1);
        for (size_t j = 0; j < size; j++)
            noise[j] = (uint8_t)(random_below(&r, 8) ? random_below(&r, 6) : random_next(&r));
        plain_puts += is_plain_put(noise, noise + size);
        free(noise);
    }
    ck_assert_uint_gt(plain_puts, 100);
}
END_TEST

/* With just the room that the header asks for a batch stays where it is, so that a value may come from it. */
START_TEST(what_has_room_is_not_moved)
{
    struct batch batch = {0};
    struct batch_change change = {0};
    plsm_slice key = slice("k", 1), none = {0};
    ck_assert_int_eq(buf_reserve(&batch.bytes, 8000), PLSM_OK);
    ck_assert_int_eq(batch_add(&batch, BATCH_PUT, 'n', key, none, slice(bytes, batch.bytes.capacity / 2)), PLSM_OK);
    const uint8_t *data = batch.bytes.data, *at = data;
    size_t capacity = batch.bytes.capacity, room = capacity - batch.bytes.size;
    ck_assert(batch_next(&at, data + batch.bytes.size, &change));
    plsm_slice value = slice(change.value.data, room - BATCH_CHANGE_BYTES - key.size);
    ck_assert_int_eq(batch_add(&batch, BATCH_PUT, 'n', key, none, value), PLSM_OK);
    ck_assert_ptr_eq(batch.bytes.data, data);
    ck_assert_uint_eq(batch.bytes.capacity, capacity); /* else it may have been moved, and was not by chance */
    ck_assert(batch_next(&at, data + batch.bytes.size, &change));
    ck_assert(slice_equal(change.value, value));
    batch_free(&batch);
}
END_TEST

int main(void)
{
    struct random r;
    random_seed(&r, 3);
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)random_next(&r);
    Suite *suite = suite_create("batch");
    TCase *tests = tcase_create("batch");
    tcase_add_test(tests, what_goes_in_comes_out);
    tcase_add_test(tests, one_by_itself);
    tcase_add_test(tests, plain_puts_of_noise);
    tcase_add_test(tests, what_has_room_is_not_moved);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? 1 : 0;
}
