/* Compression: codecs and units by themselves, on bytes that nobody wrote; the page cache with frames of two sizes;
 * trees whose runs are packed in every way, one read per lookup. What is needed of libraries is taken as built. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/checksum.h"
#include "base/env_memory.h"
#include "base/random.h"
#include "lsm/db.h"
#include "tests/harness/statistic.h"
#include "base/banned.h"

enum { KEYS = 6000, LARGE_EVERY = 1500, VALUE_MAX = 90 << 10, SEED = 71 };

static const char *const words[] = {"amber", "birch", "cedar", "delta", "ember", "flint", "grove", "harbor"};

/* A value like JSON, a pure function of the number; some are larger than a page of any size. */
static size_t value_of(unsigned number, unsigned tag, char *out)
{
    uint64_t state = (uint64_t)number * 77 + tag, a = splitmix64(&state), b = splitmix64(&state);
    int size = snprintf(
        out, 400, "{\"id\":%u,\"tag\":%u,\"name\":\"%s %s\",\"mail\":\"%s.%s@example.com\",\"sum\":%llu}", number, tag,
        words[a % 8], words[a / 8 % 8], words[b % 8], words[b / 8 % 8], (unsigned long long)(b >> 32));
    size_t all = (size_t)size;
    if (number % LARGE_EVERY == 7) {
        all = (size_t)(5 + number / LARGE_EVERY * 20) << 10;
        for (size_t at = (size_t)size; at < all; at++)
            out[at] = number % (2 * LARGE_EVERY) == 7 ? (char)splitmix64(&state) : out[at - (size_t)size];
    }
    return all;
}

/* --- codecs ------------------------------------------------------------------------------------------------------- */

static bool built(enum codec codec)
{
    return codec_available(codec) == PLSM_OK;
}

static size_t fill(struct random *random, unsigned kind, uint8_t *data, size_t size)
{
    for (size_t i = 0; i < size; i++)
        data[i] = kind == 0   ? 0
                  : kind == 1 ? (uint8_t)random_next(random)
                              : (uint8_t)words[i / 8 % (kind == 2 ? 2 : 8)][i % 5];
    return size;
}

START_TEST(codecs_round_trip)
{
    static uint8_t raw[70000], packed[70000], back[70000];
    struct codec_context *context = codec_context_create();
    struct random random;
    random_seed(&random, SEED);
    for (unsigned codec = CODEC_NONE; codec < CODECS; codec++)
        for (unsigned round = 0; built((enum codec)codec) && round < 200; round++) {
            size_t size = fill(&random, round % 4, raw, random_below(&random, round % 8 ? 5000 : sizeof raw));
            size_t room = round % 3 ? sizeof packed : random_below(&random, size + 1), used = 0;
            ck_assert_int_eq(codec_compress(context, (enum codec)codec, NULL, slice(raw, size), packed, room, &used),
                             PLSM_OK);
            ck_assert_uint_le(used, room);
            if (used == 0 && size > 0)
                continue; /* no room */
            ck_assert_int_eq(codec_decompress(context, (enum codec)codec, NULL, slice(packed, used), back, size),
                             PLSM_OK);
            ck_assert(size == 0 || memcmp(raw, back, size) == 0);
            if (size > 0) /* another size is not what is there */
                ck_assert_int_eq(
                    codec_decompress(context, (enum codec)codec, NULL, slice(packed, used), back, size - 1),
                    PLSM_CORRUPT);
            if (size + 1 < sizeof back)
                ck_assert_int_eq(
                    codec_decompress(context, (enum codec)codec, NULL, slice(packed, used), back, size + 1),
                    PLSM_CORRUPT);
        }
    codec_context_destroy(context);
}
END_TEST

/* Whatever the bytes are: the size that was asked for, or refused. The sanitizers watch the bounds. */
START_TEST(codecs_on_damaged_bytes)
{
    struct codec_context *context = codec_context_create();
    struct random random;
    random_seed(&random, SEED + 1);
    uint8_t *raw = malloc(4000), *packed = malloc(8000);
    unsigned refused = 0;
    for (unsigned round = 0; round < 3000; round++) {
        enum codec codec = round % 2 ? CODEC_LZ4 : CODEC_ZSTD;
        size_t used = 0, size = fill(&random, 2 + round / 2 % 2, raw, 4000);
        if (!built(codec))
            continue;
        ck_assert_int_eq(codec_compress(context, codec, NULL, slice(raw, size), packed, 8000, &used), PLSM_OK);
        used = round % 5 ? used : random_below(&random, used);
        uint8_t *exact = malloc(used + 1), *out = malloc(size);
        memcpy(exact, packed, used);
        for (unsigned i = 0; used > 0 && i <= random_below(&random, 4); i++)
            exact[random_below(&random, used)] = (uint8_t)random_next(&random);
        plsm_status status = codec_decompress(context, codec, NULL, slice(exact, used), out, size);
        ck_assert(status == PLSM_OK || status == PLSM_CORRUPT);
        refused += status == PLSM_CORRUPT;
        free(exact);
        free(out);
    }
    ck_assert(refused > 300 || !built(CODEC_LZ4) || !built(CODEC_ZSTD));
    free(raw);
    free(packed);
    codec_context_destroy(context);
}
END_TEST

START_TEST(unknown_codecs_are_named)
{
    ck_assert_int_eq(codec_available((enum codec)CODECS), PLSM_UNSUPPORTED);
    ck_assert_ptr_nonnull(strstr(plsm_message(), "unknown to this program"));
    for (unsigned codec = CODEC_LZ4; codec < CODECS; codec++)
        if (!built((enum codec)codec))
            ck_assert_ptr_nonnull(strstr(plsm_message(), codec_name((enum codec)codec)));
}
END_TEST

START_TEST(what_a_dictionary_must_save)
{
    static const struct {
        uint64_t without, with;
        bool worth;
    } cases[] = {{1600, 1500, true}, {1600, 1501, false}, {1601, 1500, true}, {1601, 1501, false},
                 {0, 0, true},       {1, 1, false},       {1, 0, true},       {1000, 1200, false}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        ck_assert_int_eq(dictionary_is_worth(cases[i].without, cases[i].with), cases[i].worth);
}
END_TEST

/* --- units -------------------------------------------------------------------------------------------------------- */

/* A page of as many entries as fit into size_max, or one large entry. */
static void build_page(struct page_builder *builder, size_t size_max, unsigned first, bool large, struct buf *out)
{
    static char value[VALUE_MAX];
    char key[64];
    *builder = (struct page_builder){.size_max = size_max};
    for (unsigned i = first;; i++) {
        snprintf(key, sizeof key, "\1key-%07u", i);
        struct entry entry = {.key = slice_of(key), .kind = BATCH_PUT};
        size_t size = value_of(large ? i * LARGE_EVERY + 7 : i * LARGE_EVERY, 1, value);
        entry.value = slice(value, size);
        size_t shared = page_builder_empty(builder) ? 0 : slice_common(page_builder_last(builder), entry.key);
        if (!page_builder_fits(builder, &entry, shared))
            break;
        ck_assert_int_eq(page_builder_add(builder, &entry, key_hash(key, entry.key.size), shared, false), PLSM_OK);
        if (large)
            break;
    }
    ck_assert_int_eq(page_builder_finish(builder, 0, out), PLSM_OK);
    page_builder_free(builder);
}

struct unit_case {
    enum codec codec;
    size_t page_max;
    bool large;
    unsigned first;
};
static const struct unit_case unit_cases[] = {
    {CODEC_LZ4, 4096, false, 1},   {CODEC_LZ4, 16384, false, 3},  {CODEC_ZSTD, 8192, false, 5},
    {CODEC_ZSTD, 32768, false, 9}, {CODEC_NONE, 16384, false, 2}, {CODEC_ZSTD, 4096, true, 0},
    {CODEC_LZ4, 16384, true, 1},   {CODEC_ZSTD, 16384, true, 2},  {CODEC_LZ4, 16384, true, 3},
};
enum { UNIT_CASES = sizeof unit_cases / sizeof *unit_cases };

/* What a unit turns into, or the reason why not. */
static plsm_status open_unit(struct codec_context *context, plsm_slice unit, uint64_t seed, bool checksummed,
                             struct buf *page)
{
    size_t page_size = 0;
    uint8_t *exact = malloc(unit.size + 1); /* so that the sanitizers see the end */
    memcpy(exact, unit.data, unit.size);
    plsm_status status = unit_check(exact, unit.size, seed, checksummed, &page_size);
    page->size = 0;
    if (status == PLSM_OK)
        ck_assert_int_eq(buf_reserve(page, page_size), PLSM_OK);
    if (status == PLSM_OK)
        status = unit_unpack(context, NULL, exact, unit.size, page->data, page_size);
    page->size = page_size;
    free(exact);
    return status;
}

START_TEST(units_round_trip)
{
    const struct unit_case *c = &unit_cases[_i];
    struct page_builder builder;
    struct buf page = {0}, out = {0}, back = {0};
    struct codec_context *context = codec_context_create();
    enum codec codec = built(c->codec) ? c->codec : CODEC_NONE;
    build_page(&builder, c->page_max, c->first, c->large, &page);
    ck_assert_int_eq(buf_append(&out, "12345678", 8), PLSM_OK);
    ck_assert_int_eq(unit_pack(context, &codec, NULL, buf_slice(&page), c->page_max, 99, &out), PLSM_OK);
    plsm_slice unit = slice(out.data + 8, out.size - 8);
    ck_assert_uint_eq(unit.size % UNIT_ALIGN, 0);
    ck_assert_int_eq(unit_is_split(unit.data), page.size > c->page_max);
    if (codec != CODEC_NONE && !c->large)
        ck_assert_uint_lt(unit.size * 3, page.size * 2);
    ck_assert_int_eq(open_unit(context, unit, 99, true, &back), PLSM_OK);
    ck_assert_uint_eq(back.size, page.size);
    ck_assert_mem_eq(back.data + 24, page.data + 24, page.size - 24);
    ck_assert_int_eq(page_verify_unpacked(back.data, back.size), PLSM_OK);
    ck_assert_int_eq(open_unit(context, unit, 98, true, &back), PLSM_CORRUPT); /* of another place */
    if (unit_is_split(unit.data)) {
        static uint8_t head[PAGE_SIZE];
        bool complete = false;
        memcpy(head, unit.data, PAGE_SIZE);
        ck_assert_int_eq(unit_head(head, 99, true, &complete), PLSM_OK);
        ck_assert(complete);
        struct entry entry;
        page_entry(head, 0, &entry);
        ck_assert_uint_gt(entry.value.size, 4096);
    }
    buf_free(&page);
    buf_free(&out);
    buf_free(&back);
    codec_context_destroy(context);
}
END_TEST

/* Every byte of a unit changed: the checksum tells. Without it, the page that comes out is sound or refused. */
START_TEST(damaged_units)
{
    const struct unit_case *c = &unit_cases[_i];
    struct page_builder builder;
    struct buf page = {0}, out = {0}, back = {0};
    struct random random;
    struct codec_context *context = codec_context_create();
    enum codec codec = built(c->codec) ? c->codec : CODEC_NONE;
    random_seed(&random, SEED + 2);
    build_page(&builder, c->page_max, c->first, c->large, &page);
    ck_assert_int_eq(unit_pack(context, &codec, NULL, buf_slice(&page), c->page_max, 99, &out), PLSM_OK);
    size_t stride = 1 + out.size / 2000;
    for (size_t at = 0; at < out.size; at += at < 200 || at + 16 > out.size ? 1 : stride) {
        uint8_t was = out.data[at];
        out.data[at] = (uint8_t)(was ^ (1 + random_below(&random, 255)));
        ck_assert_msg(open_unit(context, buf_slice(&out), 99, true, &back) == PLSM_CORRUPT, "byte %zu", at);
        plsm_status status = open_unit(context, buf_slice(&out), 99, false, &back);
        ck_assert(status != PLSM_OK || page_verify_unpacked(back.data, back.size) == PLSM_OK);
        out.data[at] = was;
    }
    for (size_t size = 0; size < out.size; size += 1 + size / 50) {
        ck_assert_int_eq(open_unit(context, slice(out.data, size), 99, true, &back), PLSM_CORRUPT);
        (void)open_unit(context, slice(out.data, size), 99, false, &back);
    }
    buf_free(&page);
    buf_free(&out);
    buf_free(&back);
    codec_context_destroy(context);
}
END_TEST

/* --- the page cache ----------------------------------------------------------------------------------------------- */

enum { SLOTS = 300, CACHE_BYTES = 256 << 10, LARGE = 16 << 10 };

static void fill_frame(uint8_t *frame, size_t size, unsigned slot)
{
    memset(frame, (int)(slot % 251 + 1), size);
}

/* Both sizes, in turns and mixed: what is there is right, and together they keep to the bytes of the cache. */
START_TEST(frames_of_two_sizes)
{
    struct epoch *epoch = epoch_create();
    struct cache *cache = cache_create(CACHE_BYTES, LARGE, epoch);
    static cache_slot slots[SLOTS];
    struct random random;
    unsigned hits[2] = {0}, taken[2] = {0};
    random_seed(&random, SEED + 3);
    memset(slots, 0, sizeof slots);
    for (unsigned step = 0; step < 40000; step++) {
        /* Even slots are small pages, odd ones large; phases of one size alone, and of both. */
        unsigned phase = step / 5000 % 4, slot = (unsigned)random_below(&random, phase == 3 ? 20 : SLOTS) & ~1u;
        bool large = phase == 0 ? false : phase == 1 ? true : random_below(&random, 2);
        uint32_t number = 0;
        slot |= large;
        size_t size = large ? LARGE - random_below(&random, 2) * PAGE_SIZE : PAGE_SIZE;
        epoch_enter(epoch);
        const uint8_t *page = cache_lookup(cache, &slots[slot]);
        hits[large] += page != NULL;
        if (!page) {
            uint8_t *frame = large ? cache_take_sized(cache, size, &number) : cache_take(cache, &number);
            if (frame) {
                taken[large]++;
                fill_frame(frame, large ? LARGE : PAGE_SIZE, slot);
                page = random_below(&random, 50) ? cache_publish(cache, &slots[slot], number) : NULL;
                if (!page)
                    cache_drop(cache, number);
            }
        }
        for (size_t at = 0; page && at < (large ? LARGE : PAGE_SIZE); at += 500)
            ck_assert_uint_eq(page[at], slot % 251 + 1);
        epoch_exit(epoch);
        ck_assert_uint_le(cache_bytes(cache), CACHE_BYTES);
        if (step % 10000 == 9999) { /* a run goes */
            cache_forget(cache, slots, SLOTS / 2);
            for (unsigned i = 0; i < SLOTS / 2; i++)
                atomic_store(&slots[i], 0);
        }
    }
    ck_assert_uint_gt(hits[0], 1000);
    ck_assert_uint_gt(hits[1], 500);
    ck_assert_uint_gt(taken[0], 1000);
    ck_assert_uint_gt(taken[1], 1000);
    uint32_t number = 0;
    ck_assert_ptr_null(cache_take_sized(cache, LARGE + 1, &number));
    ck_assert_uint_eq(number, 0);
    cache_destroy(cache);
    epoch_destroy(epoch);
}
END_TEST

/* --- trees -------------------------------------------------------------------------------------------------------- */

static struct env *env;

struct tree_case {
    enum lsm_index index;
    enum codec codecs[LSM_GROUPS];
    uint32_t page, dictionary;
    uint64_t cache;
};
static const struct tree_case tree_cases[] = {
    {LSM_LEARNED, {CODEC_LZ4, CODEC_LZ4, CODEC_LZ4}, 16384, 0, 0},
    {LSM_LEARNED, {CODEC_ZSTD, CODEC_ZSTD, CODEC_ZSTD}, 4096, 4096, 64 << 10},
    {LSM_TRADITIONAL, {CODEC_ZSTD, CODEC_ZSTD, CODEC_ZSTD}, 32768, 0, 1 << 20},
    {LSM_TRADITIONAL, {CODEC_NONE, CODEC_LZ4, CODEC_ZSTD}, 8192, 1024, 128 << 10},
    {LSM_CLASSIC, {CODEC_ZSTD, CODEC_ZSTD, CODEC_ZSTD}, 16384, 2048, 0},
    {LSM_CLASSIC, {CODEC_LZ4, CODEC_NONE, CODEC_LZ4}, 16384, 0, 64 << 10},
};
enum { TREE_CASES = sizeof tree_cases / sizeof *tree_cases };

static bool tree_case_built(const struct tree_case *c)
{
    for (unsigned i = 0; i < LSM_GROUPS; i++)
        if (!built(c->codecs[i]))
            return false;
    return true;
}

static struct lsm *open_tree(const struct tree_case *c, const char *path)
{
    struct lsm_options o;
    struct lsm *db = NULL;
    lsm_options_default(&o);
    o.env = env;
    o.create = true;
    o.background = 0;
    o.index = c->index;
    o.buffer_size = 1 << 20;
    o.file_size = 96 << 10;
    o.size_ratio = 3;
    o.l0_compact = 2;
    o.cache_size = c->cache;
    o.compression_page = c->page;
    o.compression_dictionary = c->dictionary;
    for (unsigned i = 0; i < LSM_GROUPS; i++)
        o.groups[i].codec = c->codecs[i];
    ck_assert_msg(lsm_open(path, &o, &db) == PLSM_OK, "%s", plsm_message());
    return db;
}

static plsm_slice key_of(unsigned number, char *text)
{
    snprintf(text, 64, "\1user/%07u", number * 3);
    return slice_of(text);
}

static void put_all(struct lsm *db, unsigned tag, unsigned step)
{
    static char value[VALUE_MAX];
    char text[64];
    struct batch batch = {0};
    for (unsigned i = 0; i < KEYS; i += step) {
        plsm_slice key = key_of(i, text);
        plsm_slice rest = slice((const uint8_t *)key.data + 1, key.size - 1);
        ck_assert_int_eq(batch_add(&batch, BATCH_PUT, *(const uint8_t *)key.data, rest, (plsm_slice){0},
                                   slice(value, value_of(i, tag, value))),
                         PLSM_OK);
        if (i % 50 < step) {
            ck_assert_msg(lsm_write(db, &batch, NULL, NULL, false) == PLSM_OK, "%s", plsm_message());
            batch_free(&batch);
            batch = (struct batch){0};
        }
    }
    ck_assert_msg(lsm_write(db, &batch, NULL, NULL, false) == PLSM_OK, "%s", plsm_message());
    batch_free(&batch);
}

static unsigned tag_of(unsigned number, unsigned newest)
{
    return newest == 2 && number % 3 == 0 ? 2 : 1;
}

static void check_value(unsigned number, unsigned newest, plsm_slice value)
{
    static char expected[VALUE_MAX];
    ck_assert_uint_eq(value.size, value_of(number, tag_of(number, newest), expected));
    ck_assert(memcmp(value.data, expected, value.size) == 0);
}

static void check_gets(struct lsm *db, const struct lsm_snapshot *snapshot, unsigned newest)
{
    enum { TOGETHER = 40 };
    struct lsm_value value = {0}, values[TOGETHER];
    static char texts[TOGETHER][64];
    plsm_slice keys[TOGETHER];
    plsm_status statuses[TOGETHER];
    memset(values, 0, sizeof values);
    for (unsigned i = 0; i < KEYS; i++) {
        plsm_slice key = key_of(i, texts[0]);
        bool sizes_only = i % 4 == 3;
        ck_assert_msg(lsm_get(db, snapshot, key, sizes_only, &value) == PLSM_OK, "%s: %s", texts[0], plsm_message());
        if (sizes_only) {
            static char expected[VALUE_MAX];
            ck_assert_uint_eq(value.value_size, value_of(i, tag_of(i, newest), expected));
        } else {
            check_value(i, newest, value.value);
        }
        texts[0][key.size - 1] ^= 1;
        ck_assert_int_eq(lsm_get(db, snapshot, key, false, &value), PLSM_NOT_FOUND);
    }
    for (unsigned first = 0; first + TOGETHER <= KEYS; first += TOGETHER) {
        for (unsigned i = 0; i < TOGETHER; i++) /* apart, and some next to each other */
            keys[i] = key_of(i % 4 ? first + i : (first + i * 131) % KEYS, texts[i]);
        ck_assert_int_eq(lsm_multi_get(db, snapshot, keys, TOGETHER, false, values, statuses), PLSM_OK);
        for (unsigned i = 0; i < TOGETHER; i++)
            check_value(i % 4 ? first + i : (first + i * 131) % KEYS, newest, values[i].value);
    }
    for (unsigned i = 0; i < TOGETHER; i++)
        lsm_value_free(&values[i]);
    lsm_value_free(&value);
}

static void check_scans(struct lsm *db, unsigned newest)
{
    struct lsm_iterator *it = NULL;
    char text[64];
    unsigned number = 0;
    ck_assert_int_eq(lsm_iterator_create(db, NULL, (plsm_slice){0}, (plsm_slice){0}, &it), PLSM_OK);
    for (lsm_iterator_first(it); lsm_iterator_valid(it); lsm_iterator_next(it), number++) {
        ck_assert(slice_equal(lsm_iterator_entry(it)->key, key_of(number, text)));
        check_value(number, newest, lsm_iterator_entry(it)->value);
    }
    ck_assert_msg(lsm_iterator_status(it) == PLSM_OK && number == KEYS, "%u: %s", number, plsm_message());
    for (lsm_iterator_last(it); lsm_iterator_valid(it); lsm_iterator_previous(it)) {
        ck_assert(slice_equal(lsm_iterator_entry(it)->key, key_of(--number, text)));
        check_value(number, newest, lsm_iterator_entry(it)->value);
    }
    ck_assert_int_eq(lsm_iterator_status(it), PLSM_OK);
    ck_assert_uint_eq(number, 0);
    for (unsigned i = 1; i < KEYS; i += 97) {
        lsm_iterator_seek(it, key_of(i, text));
        check_value(i, newest, lsm_iterator_entry(it)->value);
        lsm_iterator_seek_before(it, key_of(i, text));
        check_value(i - 1, newest, lsm_iterator_entry(it)->value);
    }
    lsm_iterator_destroy(it);
}

static void note_problem(void *arg, const char *line)
{
    (void)arg;
    ck_abort_msg("%s", line);
}

static void check_tree(struct lsm *db, unsigned newest)
{
    check_gets(db, NULL, newest);
    check_scans(db, newest);
    ck_assert_msg(lsm_check(db, note_problem, NULL, NULL) == PLSM_OK, "%s", plsm_message());
}

/* Written, overwritten, compacted and opened again with the options of another case. */
START_TEST(trees)
{
    const struct tree_case *c = &tree_cases[_i], *next = &tree_cases[(_i + 1) % TREE_CASES];
    if (!tree_case_built(c) || !tree_case_built(next))
        return;
    env = env_memory_create(1);
    struct lsm *db = open_tree(c, "/s");
    put_all(db, 1, 1);
    ck_assert_int_eq(lsm_flush(db), PLSM_OK);
    struct lsm_snapshot *snapshot = lsm_snapshot_create(db);
    put_all(db, 2, 3);
    ck_assert_int_eq(lsm_flush(db), PLSM_OK);
    check_tree(db, 2);
    check_gets(db, snapshot, 1);
    lsm_snapshot_destroy(db, snapshot);
    bool has = false;
    ck_assert_int_eq(lsm_has_prefix(db, NULL, slice_of("\1user/"), &has), PLSM_OK);
    ck_assert(has);
    ck_assert_int_eq(lsm_compact(db, (plsm_slice){0}, (plsm_slice){0}), PLSM_OK);
    check_tree(db, 2);
    ck_assert(statistic(db, "compression.ratio") > (c->index == LSM_CLASSIC ? 1.4 : 1.6));
    ck_assert(statistic(db, "compression.files") > 0);
    ck_assert_int_eq(lsm_close(db), PLSM_OK);
    db = open_tree(next, "/s"); /* which reads it, and writes some of it anew */
    check_tree(db, 2);
    put_all(db, 2, 30);
    ck_assert_int_eq(lsm_flush(db), PLSM_OK);
    check_tree(db, 2);
    ck_assert_int_eq(lsm_compact(db, (plsm_slice){0}, (plsm_slice){0}), PLSM_OK);
    check_tree(db, 2);
    ck_assert_int_eq(lsm_close(db), PLSM_OK);
    env_memory_destroy(env);
}
END_TEST

/* Without a cache, a lookup of a key that is there is one read, of fewer bytes than a page. */
START_TEST(one_read_per_lookup)
{
    static const struct tree_case c = {LSM_LEARNED, {CODEC_LZ4, CODEC_LZ4, CODEC_LZ4}, 16384, 0, 0};
    struct lsm_value value = {0};
    char text[64];
    if (!tree_case_built(&c))
        return;
    env = env_memory_create(1);
    struct lsm *db = open_tree(&c, "/s");
    put_all(db, 1, 1);
    ck_assert_int_eq(lsm_compact(db, (plsm_slice){0}, (plsm_slice){0}), PLSM_OK);
    check_gets(db, NULL, 1);
    lsm_statistics_reset(db);
    for (unsigned i = 0; i < KEYS; i++)
        ck_assert_int_eq(lsm_get(db, NULL, key_of(i, text), false, &value), PLSM_OK);
    ck_assert(statistic(db, "io.reads") <= KEYS * 1.001);
    ck_assert(statistic(db, "io.read_bytes") < KEYS * 12000.0);
    ck_assert(statistic(db, "learn.block.accuracy") > 0.999);
    lsm_value_free(&value);
    ck_assert_int_eq(lsm_close(db), PLSM_OK);
    env_memory_destroy(env);
}
END_TEST

/* A dictionary is trained once and used by the runs that follow; the next opening reads it. */
START_TEST(dictionaries_are_shared)
{
    static const struct tree_case c = {LSM_LEARNED, {CODEC_ZSTD, CODEC_ZSTD, CODEC_ZSTD}, 4096, 4096, 1 << 20};
    if (!tree_case_built(&c))
        return;
    env = env_memory_create(1);
    struct lsm *db = open_tree(&c, "/s");
    put_all(db, 1, 1);
    put_all(db, 2, 3);
    ck_assert_int_eq(lsm_compact(db, (plsm_slice){0}, (plsm_slice){0}), PLSM_OK);
    check_tree(db, 2);
    ck_assert(statistic(db, "compression.files") > 1);
    double dictionaries = statistic(db, "compression.dictionaries");
    ck_assert_msg(dictionaries >= 1 && dictionaries < statistic(db, "compression.files"), "%g of %g", dictionaries,
                  statistic(db, "compression.files"));
    double ratio = statistic(db, "compression.ratio");
    ck_assert_int_eq(lsm_close(db), PLSM_OK);
    db = open_tree(&c, "/s");
    check_tree(db, 2);
    ck_assert(statistic(db, "compression.dictionaries") >= 1);
    ck_assert(statistic(db, "compression.dictionaries") <= dictionaries); /* the next one to write with may be gone */
    ck_assert(statistic(db, "compression.dictionary_bytes") <= 4096 * dictionaries);
    ck_assert(statistic(db, "compression.ratio") == ratio);
    ck_assert_int_eq(lsm_close(db), PLSM_OK);
    env_memory_destroy(env);
}
END_TEST

/* --- damage ------------------------------------------------------------------------------------------------------- */

static uint8_t *only_run(const char *path, size_t *size, struct run_footer **footer, struct run_extension **extension)
{
    uint8_t *data = NULL;
    ck_assert_int_eq(env_memory_content(env, path, &data, size), PLSM_OK);
    *footer = (struct run_footer *)(void *)(data + *size - sizeof **footer);
    *extension = (struct run_extension *)(void *)(data + *size - sizeof **footer - sizeof **extension);
    return data;
}

/* A unit that is damaged, and a run that needs a codec nobody knows. */
START_TEST(damage_is_told)
{
    static const struct tree_case c = {LSM_TRADITIONAL, {CODEC_LZ4, CODEC_LZ4, CODEC_LZ4}, 8192, 0, 0};
    struct run_footer *footer;
    struct run_extension *extension;
    struct lsm_value value = {0};
    char text[64];
    size_t size = 0;
    if (!tree_case_built(&c))
        return;
    env = env_memory_create(1);
    struct lsm *db = open_tree(&c, "/s");
    put_all(db, 1, 60); /* one run */
    ck_assert_int_eq(lsm_flush(db), PLSM_OK);
    ck_assert_int_eq(lsm_close(db), PLSM_OK);
    uint8_t *data = only_run("/s/run-00000001", &size, &footer, &extension);
    ck_assert_uint_eq(footer->codec, RUN_COMPRESSED);
    data[PAGE_SIZE + 100] ^= 1;
    db = open_tree(&c, "/s");
    ck_assert_int_eq(lsm_get(db, NULL, key_of(0, text), false, &value), PLSM_CORRUPT);
    ck_assert_ptr_nonnull(strstr(plsm_message(), "/s/run-00000001: page 0 at offset 4096: damaged"));
    ck_assert_int_eq(lsm_close(db), PLSM_OK);
    data[PAGE_SIZE + 100] ^= 1;
    extension->codecs |= 1u << 9;
    extension->checksum = checksum(extension, offsetof(struct run_extension, checksum), footer->salt);
    db = open_tree(&c, "/s");
    ck_assert_int_eq(lsm_get(db, NULL, key_of(0, text), false, &value), PLSM_UNSUPPORTED);
    ck_assert_ptr_nonnull(strstr(plsm_message(), "/s/run-00000001: compression 9 is unknown"));
    lsm_value_free(&value);
    ck_assert_int_eq(lsm_close(db), PLSM_OK);
    env_memory_destroy(env);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("compression");
    TCase *tcase = tcase_create("compression");
    tcase_set_timeout(tcase, 300);
    tcase_add_test(tcase, codecs_round_trip);
    tcase_add_test(tcase, codecs_on_damaged_bytes);
    tcase_add_test(tcase, unknown_codecs_are_named);
    tcase_add_test(tcase, what_a_dictionary_must_save);
    tcase_add_loop_test(tcase, units_round_trip, 0, UNIT_CASES);
    tcase_add_loop_test(tcase, damaged_units, 0, UNIT_CASES);
    tcase_add_test(tcase, frames_of_two_sizes);
    tcase_add_loop_test(tcase, trees, 0, TREE_CASES);
    tcase_add_test(tcase, one_read_per_lookup);
    tcase_add_test(tcase, dictionaries_are_shared);
    tcase_add_test(tcase, damage_is_told);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_set_fork_status(runner, CK_NOFORK);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
