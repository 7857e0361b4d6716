/* Classic pages: what the builder packs is found, sought, compared and expanded as it was, at every border; bytes that
 * no builder wrote are refused or answered within the page. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/checksum.h"
#include "base/error.h"
#include "base/random.h"
#include "lsm/lsm.h"
#include "lsm/page_classic.h"

#include "base/banned.h"

enum { SEED = 20240607, ENTRIES_MAX = 2000, ARENA_SIZE = 64 << 20, PAGE_SEED = 77 };

/* --- entries ------------------------------------------------------------------------------------------------------ */

static struct entry entries[ENTRIES_MAX];
static unsigned entry_count;
static uint8_t *arena;
static size_t arena_size;

static plsm_slice keep(const void *data, size_t size)
{
    ck_assert_uint_le(arena_size + size, ARENA_SIZE);
    uint8_t *at = arena + arena_size;
    if (size)
        memcpy(at, data, size);
    arena_size += size;
    return slice(at, size);
}

static void add_entry(plsm_slice key, enum batch_kind kind, size_t meta_size, size_t value_size, uint64_t seq)
{
    static uint8_t filler[70000];
    if (entry_count == ENTRIES_MAX)
        return;
    memset(filler, (int)(entry_count % 251) + 1, sizeof filler);
    entries[entry_count++] = (struct entry){.key = keep(key.data, key.size),
                                            .meta = keep(filler, meta_size),
                                            .value = keep(filler, kind == BATCH_DELETE ? 0 : value_size),
                                            .seq = seq,
                                            .kind = kind};
}

static void start(void)
{
    if (!arena)
        arena = malloc(ARENA_SIZE);
    arena_size = 0;
    entry_count = 0;
}

static int by_key(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;
    int order = slice_compare(x->key, y->key);
    return order ? order : (y->seq > x->seq) - (y->seq < x->seq); /* newest first */
}

/* A key of a few letters, so that prefixes, whole prefixes and equal keys are frequent. */
static plsm_slice random_key(struct random *random, uint8_t *buffer, size_t size_max)
{
    size_t size = 1 + random_below(random, size_max);
    for (size_t i = 0; i < size; i++)
        buffer[i] = (uint8_t)(random_below(random, 4) ? 'a' : random_below(random, 256));
    return slice(buffer, size);
}

/* Kinds of sets; all sorted, versions of a key newest first. */
enum shape { SHORT_KEYS, VERSIONS, TINY, COUNTERS, NESTED, LONG_SHARED, LONG_KEYS, MIXED, SHAPES };

static void make(enum shape shape, unsigned count, struct random *random)
{
    static uint8_t buffer[LSM_KEY_MAX];
    start();
    memset(buffer, 'k', sizeof buffer);
    for (unsigned i = 0; i < count; i++) {
        enum batch_kind kind = (enum batch_kind)random_below(random, ENTRY_KINDS);
        size_t meta = random_below(random, 3) ? 0 : random_below(random, LSM_META_MAX + 1);
        size_t value = random_below(random, random_below(random, 4) ? 20 : 300);
        uint64_t seq = random_below(random, 3) ? 0 : 1 + random_next(random) % SEQ_MAX;
        switch (shape) {
        case SHORT_KEYS:
            add_entry(random_key(random, buffer, 12), kind, meta, value, seq);
            break;
        case VERSIONS: /* few keys, many versions */
            add_entry(slice(buffer, 1 + random_below(random, 5)), kind, 0, value, 1 + random_next(random) % SEQ_MAX);
            break;
        case TINY: /* as many to a page as can be */
            put_be64(buffer, i);
            add_entry(slice(buffer, 8), BATCH_DELETE, 0, 0, 0);
            break;
        case COUNTERS:
            put_be64(buffer, i * UINT64_C(7));
            add_entry(slice(buffer, 8), BATCH_PUT, 0, 100, 0);
            break;
        case NESTED: /* each a prefix of the next */
            add_entry(slice(buffer, 1 + i % 1000), kind, meta, value % 10, seq);
            break;
        case LONG_SHARED: /* 3,900 bytes that all share */
            put_be64(buffer + 3900, i);
            add_entry(slice(buffer, 3908), BATCH_PUT, 0, i % 3, seq);
            break;
        case LONG_KEYS: /* up to the limit: units of several blocks among them */
            put_be64(buffer + 10, random_next(random));
            add_entry(slice(buffer, 18 + random_below(random, LSM_KEY_MAX - 17)), kind, meta, value, seq);
            break;
        default:
            put_be64(buffer, i / 3);
            add_entry(slice(buffer, i % 50 ? 8 + i % 3 : 6000), kind, meta, i % 31 ? value : 65000, seq);
        }
    }
    qsort(entries, entry_count, sizeof *entries, by_key);
}

/* --- building and comparing --------------------------------------------------------------------------------------- */

static void check_equal(const struct entry *got, plsm_slice key, const struct entry *expected, unsigned slot)
{
    if (!slice_equal(key, expected->key) || !slice_equal(got->meta, expected->meta) ||
        !slice_equal(got->value, expected->value) || got->seq != expected->seq || got->kind != expected->kind)
        ck_abort_msg("slot %u: another entry", slot);
}

static int sign(int order)
{
    return (order > 0) - (order < 0);
}

/* What a sorted array answers. */
static unsigned expected_seek(const struct entry *all, unsigned count, plsm_slice key)
{
    unsigned slot = 0;
    while (slot < count && slice_compare(all[slot].key, key) < 0)
        slot++;
    return slot;
}

static void check_key(const uint8_t *page, const uint8_t *expanded, const struct entry *all, unsigned count,
                      plsm_slice key)
{
    uint64_t hash = key_hash(key.data, key.size);
    unsigned seek = expected_seek(all, count, key);
    if (page_seek(page, key) != seek || page_seek(expanded, key) != seek)
        ck_abort_msg("sought slot %u: got %u, expanded %u", seek, page_seek(page, key), page_seek(expanded, key));
    for (unsigned slot = seek, from = 0;; from = ++slot) { /* all versions, as a lookup goes through them */
        struct entry entry;
        bool there = slot < count && slice_equal(all[slot].key, key);
        unsigned found = page_find(page, key, hash, from, &entry);
        if (found != (there ? slot : count))
            ck_abort_msg("from %u: found %u instead of %u of %u", from, found, there ? slot : count, count);
        if (!there)
            return;
        check_equal(&entry, key, &all[slot], slot);
    }
}

static void check_expanded(const uint8_t *expanded, const struct entry *all, unsigned count)
{
    ck_assert_uint_eq(page_count(expanded), count);
    ck_assert(!page_is_classic(expanded));
    ck_assert_uint_eq(page_bytes(expanded), PAGE_EXPANDED_SIZE);
    ck_assert_uint_eq(page_prefix(expanded).size, 0);
    for (unsigned slot = 0; slot < count; slot++) {
        struct entry entry;
        page_entry(expanded, slot, &entry);
        check_equal(&entry, entry.key, &all[slot], slot);
    }
}

/* One page against the entries it was made of. */
static void check_page(const uint8_t *page, const struct entry *all, unsigned count, struct random *random)
{
    uint8_t buffer[LSM_KEY_MAX], *expanded = malloc(PAGE_EXPANDED_SIZE); /* exactly, for ASan */
    page_classic_expand(page, expanded);
    check_expanded(expanded, all, count);
    for (unsigned slot = 0; slot < count; slot++) {
        plsm_slice key = all[slot].key, other = all[random_below(random, count)].key;
        if (!slice_equal(page_classic_key(page, slot, buffer), key))
            ck_abort_msg("slot %u: another key", slot);
        int order = sign(slice_compare(key, other));
        if (sign(page_compare(page, slot, other)) != order || sign(page_compare(expanded, slot, other)) != order)
            ck_abort_msg("slot %u: compares wrongly", slot);
        check_key(page, expanded, all, count, key);
        memcpy(buffer, key.data, key.size);
        check_key(page, expanded, all, count, slice(buffer, key.size - 1)); /* may be empty */
        buffer[random_below(random, key.size)] ^= (uint8_t)(1 + random_below(random, 255));
        check_key(page, expanded, all, count, slice(buffer, key.size));
        if (key.size < LSM_KEY_MAX) {
            buffer[key.size] = 0;
            check_key(page, expanded, all, count, slice(buffer, key.size + 1));
        }
    }
    free(expanded);
}

/* What the builder is to be told about the next key. */
static size_t shared_with_last(const struct page_builder *builder, plsm_slice key)
{
    return page_builder_empty(builder) ? 0 : slice_common(page_builder_last(builder), key);
}

/* Packs the entries as a run's writer does and hands every unit on; returns how many classic pages there were. */
static unsigned build(void (*each)(const uint8_t *page, const struct entry *all, unsigned count, struct random *random),
                      struct random *random)
{
    struct page_builder builder = {.layout = PAGE_CLASSIC};
    struct buf out = {0};
    unsigned first = 0, classic = 0;
    for (unsigned i = 0; i <= entry_count; i++) {
        size_t shared = i < entry_count ? shared_with_last(&builder, entries[i].key) : 0;
        if (i == entry_count || !page_builder_fits(&builder, &entries[i], shared)) {
            uint64_t seed = PAGE_SEED + first;
            ck_assert(slice_equal(page_builder_first(&builder), entries[first].key));
            ck_assert(slice_equal(page_builder_last(&builder), entries[i - 1].key));
            ck_assert_int_eq(page_builder_finish(&builder, seed, &out), PLSM_OK);
            ck_assert(page_builder_empty(&builder));
            uint8_t *unit = malloc(out.size);
            memcpy(unit, out.data, out.size);
            ck_assert_int_eq(page_verify(unit, out.size, seed, true), PLSM_OK);
            ck_assert_int_eq(page_verify(unit, out.size, seed + 1, true), PLSM_CORRUPT);
            ck_assert_uint_eq(page_count(unit), i - first);
            if (page_is_classic(unit)) {
                ck_assert_uint_eq(out.size, PAGE_SIZE);
                each(unit, entries + first, i - first, random);
                classic++;
            } else { /* what is too large stands alone, packed */
                struct entry entry;
                ck_assert_uint_eq(i - first, 1);
                ck_assert_uint_eq(page_find(unit, entries[first].key,
                                            key_hash(entries[first].key.data, entries[first].key.size), 0, &entry),
                                  0);
                check_equal(&entry, entries[first].key, &entries[first], 0);
            }
            free(unit);
            out.size = 0;
            first = i;
        }
        if (i < entry_count)
            ck_assert_int_eq(page_builder_add(&builder, &entries[i], key_hash(entries[i].key.data, entries[i].key.size),
                                              shared, i % 3 == 1),
                             PLSM_OK);
    }
    page_builder_free(&builder);
    buf_free(&out);
    return classic;
}

START_TEST(what_was_built_is_found)
{
    static const unsigned counts[] = {1, 2, 15, 16, 17, 31, 32, 33, 47, 48, 49, 400, 1500};
    struct random random;
    random_seed(&random, SEED + (uint64_t)_i);
    for (unsigned c = 0; c < sizeof counts / sizeof *counts; c++) {
        make((enum shape)_i, counts[c], &random);
        unsigned pages = build(check_page, &random);
        ck_assert(_i == LONG_KEYS || counts[c] == 1 || pages > 0);
    }
}
END_TEST

static unsigned counted;

static void count_entries(const uint8_t *page, const struct entry *all, unsigned count, struct random *random)
{
    (void)page, (void)all, (void)random;
    counted = count > counted ? count : counted;
}

/* Pages are filled to the last byte: of deletions with 8-byte counters there are 4 bytes each, a whole key and an
 * offset every 16. */
START_TEST(pages_are_full)
{
    struct random random;
    random_seed(&random, SEED);
    make(TINY, 1800, &random);
    counted = 0;
    build(count_entries, &random);
    unsigned group = 16 * 4 + 7 + 2; /* shared, flags, size and a byte; 7 bytes more at the restart point */
    unsigned full = (PAGE_SIZE - PAGE_HEADER) / group * 16;
    ck_assert_uint_ge(counted, full);
    ck_assert_uint_lt(counted, full + 16);
}
END_TEST

/* Where restart points are, byte by byte. */
static void check_restarts(const uint8_t *page, const struct entry *all, unsigned count, struct random *random)
{
    (void)random;
    unsigned restarts = (count + 15) / 16;
    for (unsigned i = 0; i < restarts; i++) {
        size_t at = get_u16(page + PAGE_SIZE - 2 * (restarts - i));
        struct entry entry;
        ck_assert_uint_eq(page[at], 0); /* nothing shared */
        page_entry_fast(page + at + 1, page + PAGE_SIZE, &entry);
        ck_assert(slice_equal(entry.key, all[16 * i].key));
    }
    if (restarts > 0)
        ck_assert_uint_eq(get_u16(page + PAGE_SIZE - 2 * restarts), PAGE_HEADER);
}

START_TEST(restart_points_are_where_they_should_be)
{
    struct random random;
    random_seed(&random, SEED);
    for (unsigned count = 1; count <= 40; count++) {
        make(COUNTERS, count, &random);
        build(check_restarts, &random);
    }
}
END_TEST

/* The page that grows most: 16 entries that share a key as long as a page allows. */
START_TEST(the_largest_expansion_fits)
{
    static uint8_t key[PAGE_SIZE];
    struct random random;
    random_seed(&random, SEED);
    memset(key, 'x', sizeof key);
    unsigned pages = 0;
    for (size_t size = 3900; size < PAGE_SIZE; size++) {
        start();
        for (unsigned i = 0; i < 16; i++)
            add_entry(slice(key, size), BATCH_DELETE, 0, 0, 0);
        pages += build(check_page, &random);
    }
    ck_assert_uint_gt(pages, 100);
    start();
    for (unsigned i = 0; i < 16; i++) /* 64,208 bytes of keys */
        add_entry(slice(key, 4013), BATCH_DELETE, 0, 0, 0);
    ck_assert_uint_eq(build(check_page, &random), 1);
}
END_TEST

START_TEST(no_memory_for_a_page)
{
    struct random random;
    random_seed(&random, SEED);
    make(COUNTERS, 30, &random);
    bool done = false;
    for (uint64_t nth = 1; !done; nth++) {
        struct page_builder builder = {.layout = PAGE_CLASSIC};
        struct buf out = {0};
        plsm_status status = PLSM_OK;
        mem_fail_at(nth);
        for (unsigned i = 0; i < entry_count && status == PLSM_OK; i++)
            status = page_builder_add(&builder, &entries[i], 0, shared_with_last(&builder, entries[i].key), false);
        if (status == PLSM_OK)
            status = page_builder_finish(&builder, PAGE_SEED, &out);
        done = mem_count() < nth;
        mem_fail_at(0);
        ck_assert_int_eq(status, done ? PLSM_OK : PLSM_NO_MEMORY);
        page_builder_free(&builder);
        buf_free(&out);
    }
}
END_TEST

/* --- hostile bytes ------------------------------------------------------------------------------------------------ */

/* Whether a page is taken, by structure alone. Then everything is asked of it: answers in bounds, nothing read outside
 * (the page has its very size, for ASan). */
static bool try_page(const uint8_t *bytes, struct random *random)
{
    static uint8_t buffer[PAGE_SIZE], expanded[PAGE_EXPANDED_SIZE];
    uint8_t *page = malloc(PAGE_SIZE);
    memcpy(page, bytes, PAGE_SIZE);
    plsm_status status = page_verify(page, PAGE_SIZE, 0, false);
    if (status == PLSM_OK && page_is_classic(page)) {
        unsigned count = page_count(page);
        page_classic_expand(page, expanded);
        for (unsigned i = 0; i < 8; i++) {
            unsigned slot = (unsigned)random_below(random, count), from = (unsigned)random_below(random, count + 1);
            struct entry entry;
            plsm_slice key = page_classic_key(page, slot, buffer);
            page_entry(expanded, slot, &entry);
            if (!slice_equal(entry.key, key) || page_compare(page, slot, key) != 0)
                ck_abort_msg("slot %u: one page, two keys", slot);
            unsigned found = page_find(page, key, 0, from, &entry), sought = page_seek(page, key);
            if (found > count || sought > count || page_seek(expanded, key) > count)
                ck_abort_msg("slots %u and %u of %u", found, sought, count);
        }
    } else if (status != PLSM_OK && status != PLSM_CORRUPT) {
        ck_abort_msg("a damaged page: %s", plsm_status_name(status));
    }
    free(page);
    return status == PLSM_OK;
}

static unsigned taken, tried;

static void damage(const uint8_t *page, const struct entry *all, unsigned count, struct random *random)
{
    uint8_t copy[PAGE_SIZE];
    (void)all, (void)count;
    memcpy(copy, page, PAGE_SIZE);
    for (size_t at = 8; at < PAGE_SIZE; at++) {
        static const uint8_t extremes[] = {0, 1, 0x7f, 0x80, 0xff};
        for (unsigned i = 0; i < 6; i++) {
            copy[at] = i < 5 ? extremes[i] : (uint8_t)random_next(random);
            taken += try_page(copy, random);
            tried++;
        }
        copy[at] = page[at];
    }
    for (unsigned round = 0; round < 2000; round++) {
        for (uint64_t i = 1 + random_below(random, 5); i > 0; i--)
            copy[8 + random_below(random, random_below(random, 2) ? 40 : PAGE_SIZE - 8)] = (uint8_t)random_next(random);
        taken += try_page(copy, random);
        tried++;
        memcpy(copy, page, PAGE_SIZE);
    }
}

START_TEST(damage_is_harmless)
{
    static const enum shape shapes[] = {SHORT_KEYS, VERSIONS, COUNTERS, NESTED, LONG_SHARED};
    struct random random;
    random_seed(&random, SEED + (uint64_t)_i);
    make(shapes[_i], shapes[_i] == LONG_SHARED ? 16 : 60, &random);
    taken = tried = 0;
    build(damage, &random);
    ck_assert_uint_gt(taken, 0); /* values and keys may change */
    ck_assert_uint_lt(taken, tried);
}
END_TEST

/* Entries of random sizes behind a right header: what bit flips do not reach. */
START_TEST(invented_pages_are_harmless)
{
    struct random random;
    random_seed(&random, SEED);
    unsigned good = 0;
    for (unsigned round = 0; round < 30000; round++) {
        uint8_t page[PAGE_SIZE];
        unsigned count = 1 + (unsigned)random_below(&random, random_below(&random, 4) ? 40 : 1500), made = 0;
        struct page_header h = {.span = 1, .layout = PAGE_CLASSIC};
        size_t restarts = PAGE_SIZE - 2 * ((size_t)count + 15) / 16, at = PAGE_HEADER, key_size = 0;
        uint64_t odd = random_below(&random, 3) ? 1000000 : 30; /* how rarely something is wrong */
        for (size_t i = 0; i < PAGE_SIZE; i++)
            page[i] = (uint8_t)random_next(&random);
        for (; made < count && at + 40 < restarts; made++) {
            size_t shared = made % 16 == 0 ? 0 : random_below(&random, key_size + 1);
            size_t rest = !shared + random_below(&random, random_below(&random, 8) ? 6 : 30);
            shared += random_below(&random, odd) == 0;
            if (made % 16 == 0)
                put_u16(page + restarts + made / 16 * 2, (uint16_t)(at - (random_below(&random, odd) == 0)));
            uint8_t *to = put_varint(page + at, shared);
            *to++ = random_below(&random, odd) ? BATCH_PUT : (uint8_t)random_next(&random);
            to = put_varint(to, rest);
            *to++ = (uint8_t)random_below(&random, 4); /* of the value */
            at = (size_t)(to - page) + rest + to[-1];
            key_size = shared + rest;
        }
        /* Fewer than planned have restart points in another place. */
        size_t true_restarts = (made + 15) / 16, planned = ((size_t)count + 15) / 16;
        memmove(page + PAGE_SIZE - 2 * true_restarts, page + PAGE_SIZE - 2 * planned, 2 * true_restarts);
        h.count = (uint16_t)(random_below(&random, odd) ? made : random_next(&random));
        memcpy(page, &h, sizeof h);
        good += try_page(page, &random);
    }
    ck_assert_uint_gt(good, 1000);
    ck_assert_uint_lt(good, 29000);
}
END_TEST

/* Each rule of the layout, broken alone. */
START_TEST(every_rule_is_checked)
{
    struct random random;
    struct page_builder builder = {.layout = PAGE_CLASSIC};
    struct buf out = {0};
    char key[32];
    random_seed(&random, SEED);
    for (unsigned i = 0; i < 20; i++) { /* entries of 3 + key + 3 bytes, restart points 0 and 16 */
        snprintf(key, sizeof key, "key%02u", i);
        struct entry entry = {.key = slice_of(key), .value = slice_of("val"), .kind = BATCH_PUT};
        size_t shared = shared_with_last(&builder, entry.key);
        ck_assert_int_eq(page_builder_add(&builder, &entry, 0, shared, false), PLSM_OK);
    }
    ck_assert_int_eq(page_builder_finish(&builder, 0, &out), PLSM_OK);
    page_builder_free(&builder);
    uint8_t *page = out.data;
    ck_assert(try_page(page, &random));
    size_t second = PAGE_HEADER + 4 + 5 + 3; /* shared 4, one byte follows */
    size_t restart = get_u16(page + PAGE_SIZE - 2), last = restart + 12 + 2 * 8;
    ck_assert_uint_eq(page[second], 4);
    ck_assert_uint_eq(page[restart], 0);
    const struct {
        const char *what;
        size_t at;
        unsigned value, size;
    } rows[] = {
        {"no entries", 8, 0, 2},
        {"fewer entries: the restart points are elsewhere", 8, 16, 2},
        {"more entries than there are", 8, 21, 2},
        {"more restart points than bytes", 8, 65535, 2},
        {"a common prefix", 10, 1, 2},
        {"a span of 0", 12, 0, 2},
        {"a span of 2", 12, 2, 2},
        {"a codec", 14, 1, 1},
        {"an unknown layout", 15, 2, 1},
        {"the first restart point elsewhere", PAGE_SIZE - 4, PAGE_HEADER + 1, 2},
        {"the second restart point elsewhere", PAGE_SIZE - 2, (unsigned)restart - 1, 2},
        {"a restart point outside", PAGE_SIZE - 2, 65535, 2},
        {"a shared length at a restart point", restart, 1, 1},
        {"a shared length at the first entry", PAGE_HEADER, 1, 1},
        {"more shared than the key before has", second, 6, 1},
        {"a shared length that does not end", last, 0xff, 1},
        {"a kind that does not exist", second + 1, 3, 1},
        {"a key that reaches over the entries behind", second + 2, 0x7f, 1},
        {"a value that ends among the entries behind", second + 3, 4, 1},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        uint8_t copy[PAGE_SIZE];
        memcpy(copy, page, PAGE_SIZE);
        if (rows[i].size == 2)
            put_u16(copy + rows[i].at, (uint16_t)rows[i].value);
        else
            copy[rows[i].at] = (uint8_t)rows[i].value;
        ck_assert_msg(!try_page(copy, &random), "%s: taken", rows[i].what);
    }
    /* An empty key; a shared length longer than it need be; an entry that reaches into the restart points. */
    uint8_t copy[PAGE_SIZE] = {0};
    put_u16(copy + 8, 1);
    put_u16(copy + 12, 1);
    copy[15] = PAGE_CLASSIC;
    put_u16(copy + PAGE_SIZE - 2, PAGE_HEADER);
    copy[17] = BATCH_DELETE;
    ck_assert(!try_page(copy, &random));
    copy[18] = 1;
    ck_assert(try_page(copy, &random));
    memcpy(copy + 16, "\x80\0\1\1", 4);
    ck_assert(!try_page(copy, &random));
    memcpy(copy + 16, "\0\1\1\0", 4);
    ck_assert(try_page(copy, &random));
    put_varint(copy + 18, PAGE_SIZE - 20 - 2);
    ck_assert(try_page(copy, &random)); /* a key up to the restart points */
    put_varint(copy + 18, PAGE_SIZE - 20 - 1);
    ck_assert(!try_page(copy, &random));
    /* Of packed pages: no other layout than the two. */
    struct entry entry = {.key = slice_of("key"), .kind = BATCH_DELETE};
    builder = (struct page_builder){0};
    out.size = 0;
    ck_assert_int_eq(page_builder_add(&builder, &entry, 0, 0, true), PLSM_OK);
    ck_assert_int_eq(page_builder_finish(&builder, 0, &out), PLSM_OK);
    page_builder_free(&builder);
    for (unsigned layout = 0; layout < 256; layout++) {
        out.data[15] = (uint8_t)layout;
        ck_assert_uint_eq(try_page(out.data, &random), layout == PAGE_PACKED);
    }
    buf_free(&out);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("classic pages");
    TCase *right = tcase_create("right"), *safe = tcase_create("safe");
    tcase_set_timeout(right, 120);
    tcase_set_timeout(safe, 240);
    tcase_add_loop_test(right, what_was_built_is_found, 0, SHAPES);
    tcase_add_test(right, pages_are_full);
    tcase_add_test(right, restart_points_are_where_they_should_be);
    tcase_add_test(right, the_largest_expansion_fits);
    tcase_add_test(right, no_memory_for_a_page);
    tcase_add_loop_test(safe, damage_is_harmless, 0, 5);
    tcase_add_test(safe, invented_pages_are_harmless);
    tcase_add_test(safe, every_rule_is_checked);
    suite_add_tcase(suite, right);
    suite_add_tcase(suite, safe);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
