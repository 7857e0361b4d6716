/* Numbers, slices, buffers, batches, messages, checksums, histograms, and allocations that fail when told to. */
#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <xxhash.h>

#include "base/alloc.h"
#include "base/batch.h"
#include "base/checksum.h"
#include "base/error.h"
#include "base/histogram.h"
#include "base/random.h"

#include "base/banned.h"

enum { SEED = 20240607 };

/* --- numbers --- */

static void check_varint(uint64_t value)
{
    uint8_t bytes[VARINT_SIZE_MAX];
    uint8_t *end = put_varint(bytes, value);
    size_t size = (size_t)(end - bytes);
    ck_assert_uint_eq(size, varint_size(value));
    uint64_t back = ~value;
    ck_assert_ptr_eq(get_varint(bytes, end, &back), end);
    ck_assert_uint_eq(back, value);
    for (size_t cut = 0; cut < size; cut++)
        ck_assert_ptr_null(get_varint(bytes, bytes + cut, &back));
}

START_TEST(varints_round_trip)
{
    for (unsigned bit = 0; bit < 64; bit++) {
        check_varint(UINT64_C(1) << bit);
        check_varint((UINT64_C(1) << bit) - 1);
    }
    check_varint(UINT64_MAX);
    struct random random;
    random_seed(&random, SEED);
    for (int i = 0; i < 100000; i++)
        check_varint(random_next(&random) >> random_below(&random, 64));
}
END_TEST

START_TEST(varints_refuse_more_than_64_bits)
{
    uint64_t value = 0;
    uint8_t tenth_too_big[] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2};
    ck_assert_ptr_null(get_varint(tenth_too_big, tenth_too_big + 10, &value));
    uint8_t eleven[] = {0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0};
    ck_assert_ptr_null(get_varint(eleven, eleven + 11, &value));
    ck_assert_ptr_null(get_varint(eleven, eleven, &value));
}
END_TEST

START_TEST(big_endian_sorts_as_numbers)
{
    struct random random;
    random_seed(&random, SEED);
    for (int i = 0; i < 10000; i++) {
        uint64_t a = random_next(&random) >> random_below(&random, 64), b = random_next(&random);
        uint8_t x[8], y[8];
        put_be64(x, a);
        put_be64(y, b);
        ck_assert_uint_eq(get_be64(x), a);
        ck_assert_int_eq(slice_compare(slice(x, 8), slice(y, 8)) < 0, a < b);
    }
}
END_TEST

/* --- slices --- */

START_TEST(slices_compare_bytewise)
{
    static const struct {
        const char *a, *b;
        int order;
        size_t common;
    } rows[] = {
        {"", "", 0, 0},
        {"", "a", -1, 0},
        {"a", "a", 0, 1},
        {"a", "ab", -1, 1},
        {"b", "ab", 1, 0},
        {"\xff", "a", 1, 0},
        {"abcdefgh", "abcdefgh", 0, 8},
        {"abcdefghi", "abcdefghj", -1, 8},
        {"abcdefgh1", "abcdefgi", -1, 7},
        {"0123456789abcdef!", "0123456789abcdef", 1, 16},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        plsm_slice a = slice_of(rows[i].a), b = slice_of(rows[i].b);
        int order = slice_compare(a, b);
        ck_assert_int_eq((order > 0) - (order < 0), rows[i].order);
        ck_assert_int_eq(slice_equal(a, b), rows[i].order == 0);
        ck_assert_uint_eq(slice_common(a, b), rows[i].common);
        ck_assert_uint_eq(slice_common(b, a), rows[i].common);
        ck_assert_int_eq(slice_starts_with(a, b), rows[i].common == b.size);
    }
    /* A slice of nothing may have no address. */
    ck_assert(slice_equal((plsm_slice){0}, slice_of("")));
    ck_assert_int_eq(slice_compare((plsm_slice){0}, (plsm_slice){0}), 0);
}
END_TEST

/* --- buffers --- */

START_TEST(buffers_grow_and_keep_their_bytes)
{
    struct buf buf = {0};
    for (uint32_t i = 0; i < 5000; i++) {
        ck_assert_int_eq(buf_append_u32(&buf, i), PLSM_OK);
        ck_assert_uint_le(buf.size, buf.capacity);
    }
    for (uint32_t i = 0; i < 5000; i++)
        ck_assert_uint_eq(get_u32(buf.data + 4 * i), i);
    buf.size = 0;
    ck_assert_int_eq(buf_printf(&buf, "%d %s", 7, "seven"), PLSM_OK);
    ck_assert_int_eq(buf_printf(&buf, "%s", ""), PLSM_OK);
    ck_assert_int_eq(buf_printf(&buf, "%0500d", 1), PLSM_OK);
    ck_assert_uint_eq(buf.size, 507);
    ck_assert_mem_eq(buf.data, "7 seven0000", 11);
    buf.size = 0;
    ck_assert_int_eq(buf_append_slice(&buf, slice_of("abc")), PLSM_OK);
    ck_assert_int_eq(buf_append_varint(&buf, 300), PLSM_OK);
    ck_assert_int_eq(buf_append_u64(&buf, 5), PLSM_OK);
    ck_assert_uint_eq(buf.size, 14);
    ck_assert_mem_eq(buf.data, "\3abc\xac\2\5\0\0\0\0\0\0\0", 14);
    buf_free(&buf);
    ck_assert_ptr_null(buf.data);
    buf_free(&buf);
}
END_TEST

START_TEST(buffers_survive_failed_growth)
{
    struct buf buf = {0};
    ck_assert_int_eq(buf_append(&buf, "kept", 4), PLSM_OK);
    struct buf before = buf;
    mem_fail_at(1);
    ck_assert_int_eq(buf_reserve(&buf, 100000), PLSM_NO_MEMORY);
    ck_assert_mem_eq(&buf, &before, sizeof buf);
    mem_fail_at(1);
    static const char zeros[1000];
    ck_assert_int_eq(buf_append_slice(&buf, slice(zeros, sizeof zeros)), PLSM_NO_MEMORY);
    ck_assert_uint_eq(buf.size, 4);
    mem_fail_at(0);
    ck_assert_int_eq(buf_reserve(&buf, SIZE_MAX), PLSM_NO_MEMORY);
    ck_assert_mem_eq(buf.data, "kept", 4);
    buf_free(&buf);
}
END_TEST

/* --- batches --- */

struct change {
    enum batch_kind kind;
    uint8_t keyspace;
    plsm_slice key, meta, value;
};

static const uint8_t *fill(struct random *random, uint8_t *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++)
        bytes[i] = (uint8_t)random_next(random);
    return bytes;
}

static struct change random_change(struct random *random, uint8_t *room)
{
    size_t key = random_below(random, 300), meta = random_below(random, 256), value = random_below(random, 40000);
    if (random_below(random, 2))
        value = random_below(random, 200);
    struct change change = {
        .kind = (enum batch_kind)random_below(random, BATCH_KIND_COUNT),
        .keyspace = (uint8_t)random_next(random),
        .key = slice(fill(random, room, key), key),
        .meta = slice(fill(random, room + 300, meta), meta),
        .value = slice(fill(random, room + 600, value), value),
    };
    if (change.kind == BATCH_DELETE)
        change.meta = change.value = (plsm_slice){0};
    return change;
}

enum { CHANGES = 50, ROOM = 41000 };

static void build(struct batch *batch, struct change *changes, uint8_t *room, uint64_t seed)
{
    struct random random;
    random_seed(&random, seed);
    for (int i = 0; i < CHANGES; i++) {
        struct change c = changes[i] = random_change(&random, room + (size_t)i * ROOM);
        ck_assert_int_eq(batch_add(batch, c.kind, c.keyspace, c.key, c.meta, c.value), PLSM_OK);
    }
}

START_TEST(batches_round_trip)
{
    uint8_t *room = malloc((size_t)CHANGES * ROOM);
    struct change changes[CHANGES];
    struct batch batch = {0};
    for (uint64_t seed = 1; seed <= 20; seed++) {
        batch_clear(&batch);
        build(&batch, changes, room, seed);
        ck_assert_uint_eq(batch.count, CHANGES);
        const uint8_t *at = batch.bytes.data, *end = at + batch.bytes.size;
        struct batch_change read = {0};
        for (int i = 0; i < CHANGES; i++) {
            ck_assert(batch_next(&at, end, &read));
            ck_assert_int_eq(read.kind, changes[i].kind);
            ck_assert_uint_eq(*(const uint8_t *)read.key.data, changes[i].keyspace);
            ck_assert(slice_equal(slice((const uint8_t *)read.key.data + 1, read.key.size - 1), changes[i].key));
            ck_assert(slice_equal(read.meta, changes[i].meta));
            ck_assert(slice_equal(read.value, changes[i].value));
        }
        ck_assert(!batch_next(&at, end, &read));
        ck_assert_ptr_eq(at, end);
    }
    batch_free(&batch);
    ck_assert_uint_eq(batch.count, 0);
    free(room);
}
END_TEST

/* Cut at every byte: whole changes are read, then the walk stops before the end, except exactly between two changes. */
START_TEST(batches_cut_short_are_noticed)
{
    struct batch batch = {0};
    ck_assert_int_eq(batch_add(&batch, BATCH_PUT, 1, slice_of("key"), slice_of("m"), slice_of("value")), PLSM_OK);
    size_t first = batch.bytes.size;
    ck_assert_int_eq(batch_add(&batch, BATCH_DELETE, 1, slice_of("gone"), slice_of(""), slice_of("")), PLSM_OK);
    size_t second = batch.bytes.size;
    ck_assert_int_eq(batch_add(&batch, BATCH_REFERENCE, 2, slice_of(""), slice_of(""), slice_of("")), PLSM_OK);
    for (size_t cut = 0; cut <= batch.bytes.size; cut++) {
        uint8_t *copy = malloc(cut ? cut : 1); /* of its exact size: ASan sees a read beyond it */
        memcpy(copy, batch.bytes.data, cut);
        const uint8_t *at = copy;
        struct batch_change read = {0};
        unsigned count = 0;
        while (batch_next(&at, copy + cut, &read))
            count++;
        ck_assert_uint_eq(count, (cut >= first) + (cut >= second) + (cut >= batch.bytes.size));
        ck_assert_int_eq(at == copy + cut, cut == 0 || cut == first || cut == second || cut == batch.bytes.size);
        free(copy);
    }
    batch_free(&batch);
}
END_TEST

/* Any bytes at all: the walk ends, and what it returns lies inside. */
START_TEST(batches_of_noise_stay_inside)
{
    struct random random;
    random_seed(&random, SEED);
    for (int i = 0; i < 50000; i++) {
        size_t size = random_below(&random, 64);
        uint8_t *bytes = malloc(size ? size : 1);
        fill(&random, bytes, size);
        for (size_t j = 0; j < size; j += 1 + random_below(&random, 8))
            bytes[j] &= 7; /* plausible kinds and sizes */
        const uint8_t *at = bytes, *end = bytes + size;
        struct batch_change read = {0};
        while (batch_next(&at, end, &read)) {
            ck_assert_uint_ge(read.key.size, 1);
            const uint8_t *value_end = (const uint8_t *)read.value.data + read.value.size;
            ck_assert(read.kind == BATCH_DELETE || (value_end <= end && (const uint8_t *)read.value.data >= bytes));
            ck_assert((const uint8_t *)read.key.data + read.key.size <= end);
        }
        ck_assert(at <= end);
        free(bytes);
    }
    uint8_t huge[] = {BATCH_PUT, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 0, 0};
    const uint8_t *at = huge;
    struct batch_change read = {0};
    ck_assert(!batch_next(&at, huge + sizeof huge, &read));
    ck_assert_ptr_eq(at, huge);
}
END_TEST

/* A put as a log has it whose value stays there: with a head and the key in front of the value. */
START_TEST(batches_hold_kept_values)
{
    uint8_t bytes[100] = {0}, *to = bytes;
    for (unsigned timed = 0; timed < 2; timed++) {
        *to++ = (uint8_t)(BATCH_PUT | BATCH_KEPT | (timed ? BATCH_TIMED : 0));
        if (timed)
            *to++ = 99;
        memcpy(to, "\3\1ab\1m\2................\5\5\5\5\5\5\5\5\1abxy", 36);
        to += 36;
    }
    for (size_t cut = 0; cut <= (size_t)(to - bytes); cut++) {
        uint8_t *copy = malloc(cut ? cut : 1);
        memcpy(copy, bytes, cut);
        const uint8_t *at = copy;
        struct batch_change read = {0};
        unsigned count = 0;
        for (; batch_next(&at, copy + cut, &read); count++) {
            ck_assert(read.kind == BATCH_PUT && read.kept && read.timed == (count == 1));
            ck_assert_uint_eq(read.expires_s, count == 1 ? 99 : 0);
            ck_assert(slice_equal(read.key, slice_of("\1ab")) && slice_equal(read.value, slice_of("xy")));
        }
        ck_assert_uint_eq(count, (cut >= 37) + (cut >= 75));
        free(copy);
    }
    for (unsigned kind = 1; kind < 256; kind++) { /* beside nothing else */
        const uint8_t *at = bytes;
        struct batch_change read = {0};
        bytes[0] = (uint8_t)kind;
        bool known =
            kind == BATCH_KEPT || kind == (BATCH_KEPT | BATCH_TIMED) || (kind < BATCH_KEPT && (kind & 12) == 0);
        ck_assert(known || !batch_next(&at, to, &read));
    }
}
END_TEST

START_TEST(batches_survive_failed_growth)
{
    struct batch batch = {0};
    ck_assert_int_eq(batch_add(&batch, BATCH_PUT, 1, slice_of("k"), slice_of(""), slice_of("v")), PLSM_OK);
    size_t size = batch.bytes.size;
    static const char large[100000];
    mem_fail_at(1);
    plsm_status status = batch_add(&batch, BATCH_PUT, 1, slice_of("k2"), slice_of(""), slice(large, sizeof large));
    mem_fail_at(0);
    ck_assert_int_eq(status, PLSM_NO_MEMORY);
    ck_assert_uint_eq(batch.bytes.size, size);
    ck_assert_uint_eq(batch.count, 1);
    batch_free(&batch);
}
END_TEST

/* --- messages --- */

START_TEST(messages_are_kept)
{
    ck_assert_int_eq(fail(PLSM_CORRUPT, "%s: page %d", "file", 7), PLSM_CORRUPT);
    ck_assert_str_eq(plsm_message(), "file: page 7");
    ck_assert_int_eq(fail_context(PLSM_IO, "open"), PLSM_IO);
    ck_assert_str_eq(plsm_message(), "open: file: page 7");
    ck_assert_int_eq(fail(PLSM_IO, "(%s)", plsm_message()), PLSM_IO);
    ck_assert_str_eq(plsm_message(), "(open: file: page 7)");
    char text[3000];
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    fail(PLSM_IO, "%s", text);
    ck_assert_uint_eq(strlen(plsm_message()), 1023);
    static const struct {
        int error;
        plsm_status status;
    } rows[] = {{ENOSPC, PLSM_NO_SPACE},  {EDQUOT, PLSM_QUOTA},     {EACCES, PLSM_PERMISSION},
                {EPERM, PLSM_PERMISSION}, {ENOMEM, PLSM_NO_MEMORY}, {ENOENT, PLSM_NOT_FOUND},
                {EROFS, PLSM_READ_ONLY},  {EIO, PLSM_IO},           {EISDIR, PLSM_IO}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        ck_assert_int_eq(fail_errno(rows[i].error, "p", "w"), rows[i].status);
    fail_errno(ENOSPC, "/a/b", "cannot write");
    ck_assert_str_eq(plsm_message(), "/a/b: cannot write: No space left on device");
    for (int i = 0; i <= PLSM_STATUS_COUNT; i++)
        for (int j = 0; j < i; j++)
            ck_assert_str_ne(plsm_status_name((plsm_status)i), plsm_status_name((plsm_status)j));
}
END_TEST

/* --- memory --- */

START_TEST(nth_allocation_fails_once)
{
    for (uint64_t nth = 1; nth <= 6; nth++) {
        mem_fail_at(nth);
        for (uint64_t i = 1; i <= 8; i++) {
            void *memory = i % 4 == 0   ? mem_alloc(10)
                           : i % 4 == 1 ? mem_zalloc(10)
                           : i % 4 == 2 ? mem_realloc(NULL, 10)
                                        : mem_map(10);
            ck_assert_int_eq(memory == NULL, i == nth);
            ck_assert_uint_eq(mem_count(), i);
            if (i % 4 == 3)
                mem_unmap(memory, 10);
            else
                mem_free(memory);
        }
    }
    mem_fail_at(0);
    ck_assert_uint_eq(mem_count(), 0);
    for (int i = 0; i < 100; i++)
        mem_free(mem_alloc(0)); /* 0 bytes are not a failure */
    ck_assert_uint_eq(mem_count(), 100);
    void *none = mem_alloc(0);
    ck_assert_ptr_nonnull(none);
    mem_free(none);
}
END_TEST

START_TEST(mapped_memory_is_zeroed_and_aligned)
{
    static const size_t sizes[] = {1, 4096, 100000, (2 << 20) - 1, 2 << 20, (2 << 20) + 1, 5 << 20};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        uint8_t *memory = mem_map(sizes[i]);
        ck_assert_ptr_nonnull(memory);
        ck_assert_uint_eq((uintptr_t)memory % (sizes[i] >= 2 << 20 ? 2 << 20 : 4096), 0);
        for (size_t at = 0; at < sizes[i]; at += 997)
            ck_assert_uint_eq(memory[at], 0);
        memset(memory, 0xab, sizes[i]);
        mem_unmap(memory, sizes[i]);
    }
    ck_assert_ptr_null(mem_map(SIZE_MAX));
    mem_unmap(NULL, 100);
}
END_TEST

/* --- checksums --- */

/* Of every size class: what the dispatch picks is what the library says. */
START_TEST(checksums_are_xxh3)
{
    static uint8_t bytes[20000];
    struct random random;
    random_seed(&random, SEED);
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)random_next(&random);
    for (size_t size = 0; size < sizeof bytes; size += size < 2200 ? 1 : 997) {
        uint64_t seed = size % 3 ? random_next(&random) : 0;
        ck_assert_uint_eq(checksum(bytes + size % 7, size - size % 7, seed),
                          XXH3_64bits_withSeed(bytes + size % 7, size - size % 7, seed));
        plsm_slice pieces[5] = {{NULL, 0}};
        size_t cut = random_below(&random, size + 1), next = cut + random_below(&random, size - cut + 1);
        pieces[1] = slice(bytes, cut);
        pieces[3] = slice(bytes + cut, next - cut);
        pieces[4] = slice(bytes + next, size - next);
        ck_assert_uint_eq(checksum_pieces(pieces, 5, seed), checksum(bytes, size, seed));
    }
}
END_TEST

/* Known answers: the format depends on these functions never changing. */
START_TEST(checksums_are_stable)
{
    ck_assert_uint_eq(checksum("", 0, 0),
                      UINT64_C(0x2d06800538d394c2)); /* XXH3-64 of nothing, from its specification */
    ck_assert_uint_eq(checksum("plsm", 4, 0), UINT64_C(0xbcfdcfdcf396033a));
    ck_assert_uint_eq(key_hash("plsm", 4), UINT64_C(0xcf89aea854f9433e));
    uint8_t page[4096];
    for (size_t i = 0; i < sizeof page; i++)
        page[i] = (uint8_t)(i * 7);
    ck_assert_uint_eq(checksum(page, sizeof page, 42), UINT64_C(0xc7e448f55101b62c));
    uint64_t right = checksum(page, sizeof page, 42);
    ck_assert_uint_ne(checksum(page, sizeof page, 43), right);
    for (size_t i = 0; i < sizeof page; i += 5) {
        page[i] ^= 1;
        ck_assert_uint_ne(checksum(page, sizeof page, 42), right);
        page[i] ^= 1;
    }
}
END_TEST

/* --- histograms --- */

START_TEST(histogram_of_small_values_is_exact)
{
    static struct histogram h;
    histogram_reset(&h);
    ck_assert_uint_eq(histogram_quantile(&h, 0.5), 0);
    ck_assert_uint_eq(histogram_mean(&h), 0);
    for (uint64_t i = 1; i <= 10; i++)
        histogram_add(&h, i);
    ck_assert_uint_eq(histogram_count(&h), 10);
    ck_assert_uint_eq(histogram_quantile(&h, 0), 1);
    ck_assert_uint_eq(histogram_quantile(&h, 0.1), 1);
    ck_assert_uint_eq(histogram_quantile(&h, 0.5), 5);
    ck_assert_uint_eq(histogram_quantile(&h, 0.51), 6);
    ck_assert_uint_eq(histogram_quantile(&h, 1), 10);
    ck_assert_uint_eq(histogram_mean(&h), 5);
    histogram_reset(&h);
    ck_assert_uint_eq(histogram_count(&h), 0);
    histogram_add(&h, UINT64_MAX);
    ck_assert_uint_eq(histogram_quantile(&h, 0.5), UINT64_MAX);
}
END_TEST

/* One value alone: its bucket's top is at least it and at most 6.25 % above. */
START_TEST(histogram_keeps_its_precision)
{
    static struct histogram h;
    struct random random;
    random_seed(&random, SEED);
    for (int i = 0; i < 3000; i++) {
        uint64_t value = random_next(&random) >> random_below(&random, 64);
        histogram_reset(&h);
        histogram_add(&h, value);
        uint64_t top = histogram_quantile(&h, 0.99);
        ck_assert_uint_ge(top, value);
        ck_assert_uint_le(top - value, value / 16);
    }
}
END_TEST

static int compare_u64(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

START_TEST(histogram_quantiles_follow_sorted_values)
{
    enum { COUNT = 20000 };
    static struct histogram h;
    static uint64_t values[COUNT];
    struct random random;
    random_seed(&random, SEED);
    histogram_reset(&h);
    for (int i = 0; i < COUNT; i++)
        histogram_add(&h, values[i] = random_next(&random) >> (24 + random_below(&random, 40)));
    qsort(values, COUNT, sizeof values[0], compare_u64);
    for (int percent = 1; percent <= 100; percent++) {
        uint64_t exact = values[COUNT / 100 * percent - 1], got = histogram_quantile(&h, percent / 100.0);
        ck_assert_uint_ge(got, exact);
        ck_assert_uint_le(got, exact + exact / 16);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("bytes");
    TCase *all = tcase_create("all");
    tcase_set_timeout(all, 120);
    tcase_add_test(all, varints_round_trip);
    tcase_add_test(all, varints_refuse_more_than_64_bits);
    tcase_add_test(all, big_endian_sorts_as_numbers);
    tcase_add_test(all, slices_compare_bytewise);
    tcase_add_test(all, buffers_grow_and_keep_their_bytes);
    tcase_add_test(all, buffers_survive_failed_growth);
    tcase_add_test(all, batches_round_trip);
    tcase_add_test(all, batches_cut_short_are_noticed);
    tcase_add_test(all, batches_of_noise_stay_inside);
    tcase_add_test(all, batches_hold_kept_values);
    tcase_add_test(all, batches_survive_failed_growth);
    tcase_add_test(all, messages_are_kept);
    tcase_add_test(all, nth_allocation_fails_once);
    tcase_add_test(all, mapped_memory_is_zeroed_and_aligned);
    tcase_add_test(all, checksums_are_stable);
    tcase_add_test(all, checksums_are_xxh3);
    tcase_add_test(all, histogram_of_small_values_is_exact);
    tcase_add_test(all, histogram_keeps_its_precision);
    tcase_add_test(all, histogram_quantiles_follow_sorted_values);
    suite_add_tcase(suite, all);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
