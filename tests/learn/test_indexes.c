/* Fences and learned models: exact for every key of every shape, near for every other, and safe on damaged bytes. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/checksum.h"
#include "base/error.h"
#include "learn/fences.h"
#include "learn/fences_private.h"
#include "learn/model.h"
#include "tests/harness/key_sets.h"
#include "tests/harness/pool.h"

#include "base/banned.h"

enum { SEED = 20240607, MODEL_BODY = 88, MODEL_SUM = 8, METADATA_MAX = 1024 };

/* --- both kinds of index behind one face --- */

struct index {
    struct fences *fences, *portable; /* the same, searched without vector instructions */
    struct model *model;
};

static plsm_status add_to_fences(void *arg, plsm_slice last, plsm_slice first)
{
    return fences_builder_add(arg, last, first);
}

static plsm_status tell_key(void *arg, plsm_slice key, size_t shared)
{
    return model_builder_key(arg, key, shared);
}

static plsm_status tell_page(void *arg, plsm_slice last)
{
    return model_builder_page(arg, last);
}

static plsm_status build_fences(const struct key_set *set, struct buf *out)
{
    struct fences_builder *b = fences_builder_create();
    if (!b)
        return PLSM_NO_MEMORY;
    plsm_status status = key_set_borders(set, add_to_fences, b);
    if (status == PLSM_OK)
        status = fences_builder_finish(b, out);
    fences_builder_destroy(b);
    return status;
}

/* PLSM_NOT_FOUND: none was made. */
static plsm_status build_model_within(const struct key_set *set, enum model_type type, size_t metadata_max,
                                      struct buf *out)
{
    struct model_builder *b = model_builder_create();
    struct model_wish wish = {
        .type = type, .metadata_max = metadata_max, .memory_max = SIZE_MAX, .error_pages_max = UINT32_MAX};
    bool built = false;
    if (!b)
        return PLSM_NO_MEMORY;
    plsm_status status = key_set_tell(set, tell_key, tell_page, b);
    if (status == PLSM_OK)
        status = model_builder_finish(b, &wish, set->count, 1234567890, out, &built);
    model_builder_destroy(b);
    return status == PLSM_OK && !built ? PLSM_NOT_FOUND : status;
}

static plsm_status build_model_type(const struct key_set *set, enum model_type type, struct buf *out)
{
    return build_model_within(set, type, SIZE_MAX, out);
}

static plsm_status build_model(const struct key_set *set, struct buf *out)
{
    return build_model_type(set, MODEL_AUTO, out);
}

/* The page for any string, found as a run finds it: where the page that is answered does not enclose it, a trie is
 * asked again with what that page shows. */
static uint32_t find_page(const struct model *model, const struct key_set *set, plsm_slice key)
{
    uint32_t page = model_find(model, key).page;
    struct model_info info;
    size_t first = 0, last = 0;
    model_get_info(model, &info);
    if (info.type != MODEL_TRIE || !key_set_page(set, page, &first, &last) ||
        (slice_compare(set->keys[first], key) <= 0 && slice_compare(set->keys[last], key) >= 0))
        return page;
    uint64_t leaf = model_leaf(model, key);
    while (first <= last && model_leaf(model, set->keys[first]) != leaf)
        first++;
    if (first > last)
        ck_abort_msg("no key of page %u comes to the leaf that led there", page);
    plsm_slice shown = set->keys[first];
    return model_edge(model, key, slice_common(shown, key), slice_compare(shown, key) < 0);
}

static void check_key(const struct index *index, const struct key_set *set, plsm_slice key, const char *what)
{
    struct page_range expected = key_set_expected(set, key);
    uint32_t fences_page = fences_find(index->fences, key), model_page = find_page(index->model, set, key);
    if (index->portable && fences_find(index->portable, key) != fences_page)
        ck_abort_msg("%s: the two ways to search fences differ", what);
    if (fences_page < expected.low || fences_page > expected.high)
        ck_abort_msg("%s: fences answer page %u instead of %u to %u", what, fences_page, expected.low, expected.high);
    if (model_page < expected.low || model_page > expected.high)
        ck_abort_msg("%s: the model answers page %u instead of %u to %u", what, model_page, expected.low,
                     expected.high);
}

static void check_present_keys(const struct index *index, const struct key_set *set, const char *what)
{
    uint64_t leaf_before = 0;
    for (size_t i = 0; i < set->count; i++) {
        if (i > 0 && slice_equal(set->keys[i], set->keys[i - 1]))
            continue;
        uint64_t leaf = model_leaf(index->model, set->keys[i]);
        if (leaf < leaf_before)
            ck_abort_msg("%s: key %zu comes to a leaf in front of that of the key before", what, i);
        leaf_before = leaf;
        uint32_t fences_page = fences_find(index->fences, set->keys[i]);
        uint32_t model_page = model_find(index->model, set->keys[i]).page;
        if (index->portable && fences_find(index->portable, set->keys[i]) != fences_page)
            ck_abort_msg("%s: key %zu: the two ways to search fences differ", what, i);
        if (fences_page != set->pages[i] || model_page != set->pages[i])
            ck_abort_msg("%s: key %zu is on page %u; fences say %u, the model says %u", what, i, set->pages[i],
                         fences_page, model_page);
    }
}

static void check_info(const struct index *index, const struct key_set *set, size_t block_size, const char *what)
{
    struct model_info info = {0};
    model_get_info(index->model, &info);
    ck_assert_uint_eq(fences_pages(index->fences), set->page_count);
    ck_assert_uint_eq(info.pages, set->page_count);
    ck_assert_uint_eq(info.training_samples, set->count);
    ck_assert_uint_eq(info.trained_wall_ns, 1234567890);
    ck_assert_uint_eq(info.block_bytes, block_size);
    ck_assert_uint_le(info.metadata_bytes, block_size);
    ck_assert_msg(info.training_accuracy_ppm >= 995000 && info.training_accuracy_ppm <= 1000000, "%s: %u", what,
                  info.training_accuracy_ppm);
    ck_assert_uint_le(info.validation_accuracy_ppm, 1000000);
}

/* Asks one kind of model and the fences for all keys of a set and for `absent` strings near them. */
static void check_model(const struct key_set *set, struct index *index, enum model_type type, size_t absent,
                        const char *what)
{
    struct buf bytes = {0};
    struct random random;
    uint8_t probe[9000];
    char name[160];
    snprintf(name, sizeof name, "%s, %s", what, model_type_name(type));
    random_seed(&random, SEED);
    ck_assert_msg(build_model_type(set, type, &bytes) == PLSM_OK, "%s: %s", name, plsm_message());
    ck_assert_msg(model_open(buf_slice(&bytes), &index->model) == PLSM_OK, "%s: %s", name, plsm_message());
    check_info(index, set, bytes.size, name);
    buf_free(&bytes); /* it has copied what it needs */
    check_present_keys(index, set, name);
    for (size_t i = 0; i < absent; i++)
        check_key(index, set, slice(probe, key_set_mutate(set, &random, probe, sizeof probe)), name);
    for (unsigned byte = 0; byte < 256; byte++) {
        memset(probe, (int)byte, 100);
        check_key(index, set, slice(probe, 1), name);
        check_key(index, set, slice(probe, 100), name);
    }
    model_close(index->model);
    index->model = NULL;
}

static void check_set(const struct key_set *set, size_t absent, const char *what)
{
    struct buf bytes = {0};
    struct index index = {0};
    ck_assert_msg(build_fences(set, &bytes) == PLSM_OK, "%s: %s", what, plsm_message());
    ck_assert_msg(fences_open(buf_slice(&bytes), &index.fences) == PLSM_OK, "%s: %s", what, plsm_message());
    ck_assert_msg(fences_open(buf_slice(&bytes), &index.portable) == PLSM_OK, "%s: %s", what, plsm_message());
    fences_use_portable(index.portable);
    buf_free(&bytes);
    for (enum model_type type = 0; type < MODEL_TYPES; type++)
        check_model(set, &index, type, absent, what);
    fences_close(index.fences);
    fences_close(index.portable);
}

/* --- exactness --- */

START_TEST(every_shape_is_exact)
{
    static const unsigned page_keys[] = {1, 3, 60};
    for (unsigned p = 0; p < 3; p++) {
        char what[100];
        size_t count = _i == KEYS_LONG ? 500 : 1000 + thinned(20000) * (size_t)p;
        snprintf(what, sizeof what, "%s, pages of up to %u, seed %d", key_shape_name((enum key_shape)_i), page_keys[p],
                 SEED + (int)p);
        struct key_set *set = key_set_create((enum key_shape)_i, count, page_keys[p], SEED + p);
        check_set(set, thinned(20000), what);
        key_set_destroy(set);
    }
}
END_TEST

START_TEST(small_sets_are_exact)
{
    for (size_t count = 1; count <= 40; count += count < 8 ? 1 : setting("TEST_THIN", 1)) {
        for (unsigned page_keys = 1; page_keys <= 3; page_keys++) {
            char what[100];
            uint64_t seed = SEED + count * 3 + page_keys;
            snprintf(what, sizeof what, "%s, %zu keys, pages of up to %u, seed %llu",
                     key_shape_name((enum key_shape)_i), count, page_keys, (unsigned long long)seed);
            struct key_set *set = key_set_create((enum key_shape)_i, count, page_keys, seed);
            check_set(set, 200, what);
            key_set_destroy(set);
        }
    }
}
END_TEST

START_TEST(a_large_set_is_exact)
{
    struct key_set *set = key_set_create((enum key_shape)_i, thinned(400000), 7, SEED);
    check_set(set, thinned(100000), key_shape_name((enum key_shape)_i));
    key_set_destroy(set);
}
END_TEST

/* One page whose only key is on many pages: as when one key has thousands of versions. */
START_TEST(a_key_over_many_pages_is_found_on_its_first)
{
    plsm_slice keys[7] = {slice_of("a"), slice_of("b"), slice_of("b"), slice_of("b"),
                          slice_of("b"), slice_of("b"), slice_of("c")};
    uint32_t pages[7] = {0, 0, 1, 2, 3, 4, 4};
    struct key_set set = {.keys = keys, .pages = pages, .count = 7, .page_count = 5};
    check_set(&set, 1000, "one key over many pages");
}
END_TEST

/* Heads that are the smallest and the largest number, many times, and keys that only their length tells apart. */
START_TEST(keys_of_one_byte_repeated_are_exact)
{
    static const uint8_t values[] = {0x00, 'x', 0xff};
    enum { KEYS = 300 };
    for (unsigned v = 0; v < 3; v++) {
        uint8_t bytes[KEYS];
        plsm_slice keys[KEYS];
        uint32_t pages[KEYS];
        memset(bytes, values[v], sizeof bytes);
        for (uint32_t i = 0; i < KEYS; i++) {
            keys[i] = slice(bytes, i + 1);
            pages[i] = i / (1 + v);
        }
        struct key_set set = {.keys = keys, .pages = pages, .count = KEYS, .page_count = pages[KEYS - 1] + 1};
        check_set(&set, 5000, "one byte repeated");
    }
}
END_TEST

/* --- what the model is made of --- */

static struct model_info info_of(enum key_shape shape, size_t count, unsigned page_keys)
{
    struct key_set *set = key_set_create(shape, count, page_keys, SEED);
    struct buf bytes = {0};
    struct model *model = NULL;
    struct model_info info = {0};
    ck_assert_int_eq(build_model_within(set, MODEL_AUTO, METADATA_MAX, &bytes), PLSM_OK);
    ck_assert_int_eq(model_open(buf_slice(&bytes), &model), PLSM_OK);
    model_get_info(model, &info);
    model_close(model);
    buf_free(&bytes);
    key_set_destroy(set);
    return info;
}

/* Shapes whose keys arithmetic can follow must be followed by it, and in the space that the project has promised
 * (0.08 bytes per key at 33 entries a page), with metadata below the budget of a run; otherwise the learned mode would
 * only be the traditional one in disguise. */
START_TEST(regular_and_random_keys_are_learned)
{
    static const enum key_shape shapes[] = {KEYS_COUNTERS, KEYS_COUNTERS_SPARSE, KEYS_DECIMALS, KEYS_RANDOM,
                                            KEYS_HEX,      KEYS_VERSIONS};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        struct model_info info = info_of(shapes[i], 200000, 65);
        ck_assert_msg(info.type == MODEL_PLR, "%s: not learned by codes", key_shape_name(shapes[i]));
        ck_assert_msg(info.block_bytes < 200000 * 8 / 100, "%s: %zu bytes", key_shape_name(shapes[i]),
                      info.block_bytes);
        ck_assert_msg(info.metadata_bytes <= METADATA_MAX, "%s: %zu bytes of metadata", key_shape_name(shapes[i]),
                      info.metadata_bytes);
        ck_assert_uint_eq(info.ties + info.separators, 0);
        ck_assert_uint_eq(info.training_accuracy_ppm, 1000000);
        ck_assert_uint_eq(info.validation_accuracy_ppm, 1000000);
    }
}
END_TEST

/* Keys with long shared prefixes: the trie, smaller than the traditional index in memory. */
START_TEST(words_and_paths_are_learned)
{
    static const enum key_shape shapes[] = {KEYS_WORDS, KEYS_PATHS, KEYS_NESTED, KEYS_DEEP_CLUSTERS};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        struct key_set *set = key_set_create(shapes[i], 100000, 65, SEED);
        struct buf fences_bytes = {0};
        struct fences *fences = NULL;
        struct model_info info = info_of(shapes[i], 100000, 65);
        ck_assert_int_eq(build_fences(set, &fences_bytes), PLSM_OK);
        ck_assert_int_eq(fences_open(buf_slice(&fences_bytes), &fences), PLSM_OK);
        ck_assert_uint_eq(info.separators, 0);
        ck_assert_uint_eq(info.training_accuracy_ppm, 1000000);
        ck_assert_msg(info.memory_bytes < fences_memory(fences), "%s, %s: %zu bytes, fences have %zu",
                      key_shape_name(shapes[i]), model_type_name(info.type), info.memory_bytes, fences_memory(fences));
        fences_close(fences);
        buf_free(&fences_bytes);
        key_set_destroy(set);
    }
}
END_TEST

/* Random keys, and among them a few that only their ends tell apart, behind more bytes than codes look at. */
static struct key_set *random_keys_with_a_cluster(void)
{
    enum { PREFIX = 100, CLUSTERED = 100 };
    struct key_set *set = key_set_create(KEYS_RANDOM, 200000, 33, SEED);
    size_t from = set->count / 3;
    uint8_t *bytes = mem_alloc(CLUSTERED * (PREFIX + 8));
    for (size_t i = 0; i < CLUSTERED; i++) { /* in place of some of the random keys, above the one before */
        uint8_t *key = bytes + i * (PREFIX + 8);
        memset(key, 0xff, PREFIX);
        memcpy(key, set->keys[from - 1].data, 12);
        put_be64(key + PREFIX, i);
        set->keys[from + i] = slice(key, PREFIX + 8);
    }
    return set;
}

START_TEST(accuracy_counts_answers_without_separators)
{
    struct key_set *set = random_keys_with_a_cluster();
    struct buf bytes = {0};
    struct model *model = NULL;
    struct model_info info = {0};
    uint64_t learned_keys = 0, border_keys = 0;
    ck_assert_int_eq(build_model_type(set, MODEL_PLR, &bytes), PLSM_OK);
    ck_assert_int_eq(model_open(buf_slice(&bytes), &model), PLSM_OK);
    model_get_info(model, &info);
    ck_assert_int_eq(info.type, MODEL_PLR);
    ck_assert_uint_gt(info.separators, 0);
    ck_assert_uint_lt(info.training_accuracy_ppm, 1000000);
    uint8_t *learned = calloc(set->page_count, 1);
    for (size_t i = 0; i < set->count; i++) {
        struct model_answer answer = model_find(model, set->keys[i]);
        ck_assert_uint_eq(answer.page, set->pages[i]);
        if (answer.learned)
            learned[answer.page] = 1;
    }
    uint64_t pages = 0;
    for (uint32_t page = 0; page < set->page_count; page++) {
        unsigned keys = 2 - (page == 0) - (page == set->page_count - 1);
        pages += learned[page];
        border_keys += keys;
        learned_keys += learned[page] * keys;
    }
    ck_assert_uint_eq(info.validation_accuracy_ppm, pages * 1000000 / set->page_count);
    ck_assert_uint_eq(info.training_accuracy_ppm, learned_keys * 1000000 / border_keys);
    free(learned);
    model_close(model);
    buf_free(&bytes);
    mem_free((void *)(uintptr_t)set->keys[set->count / 3].data);
    key_set_destroy(set);
}
END_TEST

/* A model that does not keep to what was wished is not made. */
START_TEST(budgets_are_kept)
{
    struct key_set *set = key_set_create(KEYS_RANDOM, 100000, 33, SEED);
    static const struct {
        size_t metadata_max, memory_max;
        uint32_t error_pages_max;
        bool built;
    } cases[] = {{SIZE_MAX, SIZE_MAX, UINT32_MAX, true},
                 {1024, SIZE_MAX, UINT32_MAX, true},
                 {SIZE_MAX, SIZE_MAX, 1, true},
                 {20, SIZE_MAX, UINT32_MAX, false},
                 {SIZE_MAX, 1000, UINT32_MAX, false}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        for (enum model_type type = 0; type < MODEL_TYPES; type++) {
            struct model_builder *b = model_builder_create();
            struct model_wish wish = {type, cases[i].metadata_max, cases[i].memory_max, cases[i].error_pages_max};
            struct buf out = {0};
            bool built = false;
            ck_assert_int_eq(key_set_tell(set, tell_key, tell_page, b), PLSM_OK);
            ck_assert_int_eq(model_builder_finish(b, &wish, set->count, 1, &out, &built), PLSM_OK);
            ck_assert_msg(built == cases[i].built, "case %zu, %s", i, model_type_name(type));
            ck_assert(built == (out.size > 0));
            buf_free(&out);
            model_builder_destroy(b);
        }
    }
    key_set_destroy(set);
}
END_TEST

/* A model that may take no more memory than fences is made for every ordinary kind of keys. */
START_TEST(models_are_smaller_than_fences)
{
    static const enum key_shape shapes[] = {KEYS_COUNTERS,        KEYS_COUNTERS_SPARSE, KEYS_DECIMALS,
                                            KEYS_DECIMALS_RAGGED, KEYS_RANDOM,          KEYS_HEX,
                                            KEYS_PATHS,           KEYS_WORDS,           KEYS_SERIES};
    struct key_set *set = key_set_create(shapes[_i], 33000, 33, SEED); /* about 2,000 pages: a small run */
    struct model_builder *b = model_builder_create();
    struct buf bytes = {0}, out = {0};
    struct fences *fences = NULL;
    struct model *model = NULL;
    struct model_info info;
    bool built = false;
    ck_assert_int_eq(build_fences(set, &bytes), PLSM_OK);
    ck_assert_int_eq(fences_open(buf_slice(&bytes), &fences), PLSM_OK);
    size_t expected = fences_memory_expected(fences_pages(fences), bytes.size), memory = fences_memory(fences);
    ck_assert_msg(expected < memory * 102 / 100 && expected > memory * 9 / 10, "%zu, %zu", expected, memory);
    struct model_wish wish = {MODEL_AUTO, 1024, expected, UINT32_MAX};
    ck_assert_int_eq(key_set_tell(set, tell_key, tell_page, b), PLSM_OK);
    ck_assert_int_eq(model_builder_finish(b, &wish, set->count, 1, &out, &built), PLSM_OK);
    ck_assert_msg(built, "%s: no model", key_shape_name(shapes[_i]));
    ck_assert_int_eq(model_open(buf_slice(&out), &model), PLSM_OK);
    model_get_info(model, &info);
    ck_assert_uint_le(info.memory_bytes, expected);
    model_close(model);
    fences_close(fences);
    model_builder_destroy(b);
    buf_free(&bytes);
    buf_free(&out);
    key_set_destroy(set);
}
END_TEST

/* --- misuse --- */

START_TEST(keys_out_of_order_are_refused)
{
    struct fences_builder *fences = fences_builder_create();
    struct model_builder *model = model_builder_create();
    struct model_wish wish = {MODEL_AUTO, SIZE_MAX, SIZE_MAX, UINT32_MAX};
    struct buf out = {0};
    bool built = true;
    plsm_slice none = slice(NULL, 0);
    ck_assert_int_eq(model_builder_finish(model, &wish, 1, 1, &out, &built), PLSM_INVALID);
    ck_assert_int_eq(model_builder_page(model, slice_of("b")), PLSM_INVALID); /* no key yet */
    ck_assert_int_eq(fences_builder_add(fences, none, slice_of("b")), PLSM_OK);
    ck_assert_int_eq(fences_builder_add(fences, slice_of("bd"), slice_of("bc")), PLSM_INVALID);
    ck_assert_int_eq(fences_builder_add(fences, slice_of("bcd"), slice_of("bc")), PLSM_INVALID);
    ck_assert_int_eq(fences_builder_add(fences, slice_of("c"), slice_of("d")), PLSM_OK);
    ck_assert_int_eq(fences_builder_add(fences, slice_of("c"), slice_of("cc")), PLSM_INVALID);
    ck_assert_int_eq(model_builder_key(model, slice_of("b"), 0), PLSM_OK);
    ck_assert_int_eq(model_builder_key(model, slice_of("b"), 1), PLSM_INVALID); /* the same again */
    ck_assert_int_eq(model_builder_key(model, slice_of("bd"), 1), PLSM_OK);
    ck_assert_int_eq(model_builder_finish(model, &wish, 2, 1, &out, &built), PLSM_INVALID); /* an open page */
    ck_assert_int_eq(model_builder_page(model, slice_of("bd")), PLSM_OK);
    ck_assert_int_eq(model_builder_key(model, slice_of("bc"), 1), PLSM_INVALID); /* below the last page */
    ck_assert_int_eq(model_builder_key(model, slice_of("bd"), 1), PLSM_INVALID); /* its last key */
    ck_assert_uint_eq(out.size, 0);
    fences_builder_destroy(fences);
    model_builder_destroy(model);
    fences_builder_destroy(NULL);
    model_builder_destroy(NULL);
    fences_close(NULL);
    model_close(NULL);
}
END_TEST

START_TEST(fences_without_pages_answer_zero)
{
    struct fences_builder *b = fences_builder_create();
    struct buf bytes = {0};
    struct fences *fences = NULL;
    ck_assert_int_eq(fences_builder_finish(b, &bytes), PLSM_OK);
    ck_assert_int_eq(fences_open(buf_slice(&bytes), &fences), PLSM_OK);
    ck_assert_uint_eq(fences_find(fences, slice_of("x")), 0);
    ck_assert_uint_eq(fences_find(fences, slice(NULL, 0)), 0);
    fences_close(fences);
    fences_builder_destroy(b);
    buf_free(&bytes);
}
END_TEST

/* --- damage --- */

static void reseal(struct buf *block)
{
    if (block->size >= MODEL_SUM)
        put_u64(block->data + block->size - MODEL_SUM, checksum(block->data, block->size - MODEL_SUM, 0));
}

/* Opens what may be damaged: an error, or answers within the pages. Copied to the very size, so that ASan sees every
 * byte read behind it. */
static plsm_status try_model(plsm_slice bytes, const struct key_set *set, uint64_t seed)
{
    uint8_t *copy = malloc(bytes.size + !bytes.size), probe[9000];
    struct model *model = NULL;
    struct random random;
    memcpy(copy, bytes.data, bytes.size);
    plsm_status status = model_open(slice(copy, bytes.size), &model);
    free(copy);
    ck_assert(status == PLSM_OK || status == PLSM_CORRUPT || status == PLSM_VERSION);
    ck_assert((status == PLSM_OK) == (model != NULL));
    random_seed(&random, seed);
    for (int i = 0; status == PLSM_OK && i < 60; i++) {
        struct model_info info = {0};
        plsm_slice key = i % 2 ? set->keys[random_below(&random, set->count)]
                               : slice(probe, key_set_mutate(set, &random, probe, sizeof probe));
        model_get_info(model, &info);
        bool above = random_below(&random, 2);
        struct model_probe begun;
        unsigned within = 0;
        model_begin(model, key, &begun);
        if (model_within(model, &begun, model_end(model, key, &begun).page, &within) && within >= MODEL_WITHIN)
            ck_abort_msg("seed %llu: a place behind the end of its page", (unsigned long long)seed);
        if (model_find(model, key).page >= info.pages ||
            (info.type == MODEL_TRIE &&
             (model_leaf(model, key), model_edge(model, key, random_below(&random, 20), above)) >= info.pages))
            ck_abort_msg("seed %llu: an answer behind the last page", (unsigned long long)seed);
    }
    model_close(model);
    return status;
}

static plsm_status try_fences(plsm_slice bytes, const struct key_set *set, uint64_t seed)
{
    uint8_t *copy = malloc(bytes.size + !bytes.size), probe[9000];
    struct fences *fences = NULL;
    struct random random;
    memcpy(copy, bytes.data, bytes.size);
    plsm_status status = fences_open(slice(copy, bytes.size), &fences);
    free(copy);
    ck_assert(status == PLSM_OK || status == PLSM_CORRUPT);
    random_seed(&random, seed);
    for (int i = 0; status == PLSM_OK && i < 60; i++) {
        plsm_slice key = i % 2 ? set->keys[random_below(&random, set->count)]
                               : slice(probe, key_set_mutate(set, &random, probe, sizeof probe));
        unsigned within = 0;
        uint32_t page = fences_find(fences, key);
        if (page >= fences_pages(fences) || (fences_within(fences, key, page, &within) && within >= FENCES_WITHIN))
            ck_abort_msg("seed %llu: an answer behind the last page", (unsigned long long)seed);
    }
    fences_close(fences);
    return status;
}

START_TEST(flipped_bytes_are_harmless)
{
    static const enum key_shape shapes[] = {KEYS_COUNTERS, KEYS_RANDOM,   KEYS_DECIMALS_RAGGED,
                                            KEYS_WORDS,    KEYS_VERSIONS, KEYS_DEEP_CLUSTERS};
    size_t survived = 0;
    struct key_set *set = key_set_create(shapes[_i], 2500, 9, SEED);
    struct buf model = {0}, fences = {0};
    ck_assert_int_eq(build_model(set, &model), PLSM_OK);
    ck_assert_int_eq(build_fences(set, &fences), PLSM_OK);
    for (size_t at = 0; at < model.size; at++) {
        uint8_t whole = model.data[at];
        for (unsigned bit = 0; bit < 8; bit++) {
            model.data[at] = (uint8_t)(whole ^ 1u << bit);
            if (bit == at % 8)
                ck_assert_int_ne(try_model(buf_slice(&model), set, at), PLSM_OK);
            reseal(&model);
            survived += try_model(buf_slice(&model), set, at * 8 + bit) == PLSM_OK;
        }
        model.data[at] = whole;
        reseal(&model);
    }
    ck_assert_int_eq(try_model(buf_slice(&model), set, 0), PLSM_OK);
    ck_assert_uint_gt(survived, model.size); /* or the flips above tested nothing but checks */
    for (size_t at = 0; at < fences.size; at++) {
        for (unsigned bit = 0; bit < 8; bit++) {
            fences.data[at] ^= (uint8_t)(1u << bit);
            try_fences(buf_slice(&fences), set, at * 8 + bit);
            fences.data[at] ^= (uint8_t)(1u << bit);
        }
    }
    buf_free(&model);
    buf_free(&fences);
    key_set_destroy(set);
}
END_TEST

START_TEST(cut_off_blocks_are_refused)
{
    struct key_set *set = key_set_create((enum key_shape)_i, 600, 5, SEED);
    struct buf model = {0}, fences = {0};
    ck_assert_int_eq(build_model(set, &model), PLSM_OK);
    ck_assert_int_eq(build_fences(set, &fences), PLSM_OK);
    for (size_t size = 0; size < fences.size; size++)
        ck_assert_int_eq(try_fences(slice(fences.data, size), set, size), PLSM_CORRUPT);
    size_t whole = model.size;
    for (size_t size = 0; size < whole; size++)
        ck_assert_int_ne(try_model(slice(model.data, size), set, size), PLSM_OK);
    while (model.size > MODEL_BODY + MODEL_SUM) { /* cut, with sizes and checksum made to fit */
        model.size--;
        put_u64(model.data + MODEL_BODY - 8, model.size - MODEL_BODY - MODEL_SUM);
        reseal(&model);
        ck_assert_int_ne(try_model(buf_slice(&model), set, model.size), PLSM_OK);
    }
    buf_free(&model);
    buf_free(&fences);
    key_set_destroy(set);
}
END_TEST

/* Several bytes at once become random: what single flips cannot reach. */
START_TEST(scrambled_bytes_are_harmless)
{
    struct key_set *set = key_set_create((enum key_shape)_i, 2000, 9, SEED);
    struct buf model = {0}, fences = {0}, copy = {0};
    struct random random;
    random_seed(&random, SEED);
    ck_assert_int_eq(build_model(set, &model), PLSM_OK);
    ck_assert_int_eq(build_fences(set, &fences), PLSM_OK);
    for (uint64_t round = 0; round < 1500; round++) {
        copy.size = 0;
        ck_assert_int_eq(buf_append(&copy, model.data, model.size), PLSM_OK);
        for (uint64_t i = 1 + random_below(&random, 6); i > 0; i--) {
            size_t near = random_below(&random, 2) ? 160 : model.size - MODEL_BODY;
            near = near < model.size - MODEL_BODY ? near : model.size - MODEL_BODY;
            copy.data[MODEL_BODY + random_below(&random, near)] = (uint8_t)random_next(&random);
        }
        reseal(&copy);
        try_model(buf_slice(&copy), set, round);
        copy.size = 0;
        ck_assert_int_eq(buf_append(&copy, fences.data, fences.size), PLSM_OK);
        for (uint64_t i = 1 + random_below(&random, 6); i > 0; i--)
            copy.data[random_below(&random, fences.size)] = (uint8_t)random_next(&random);
        try_fences(buf_slice(&copy), set, round);
    }
    buf_free(&copy);
    buf_free(&model);
    buf_free(&fences);
    key_set_destroy(set);
}
END_TEST

START_TEST(a_newer_version_is_named)
{
    struct key_set *set = key_set_create(KEYS_RANDOM, 500, 5, SEED);
    struct buf bytes = {0};
    struct model *model = NULL;
    ck_assert_int_eq(build_model(set, &bytes), PLSM_OK);
    put_u32(bytes.data + 4, 3);
    ck_assert_int_eq(model_open(buf_slice(&bytes), &model), PLSM_VERSION);
    ck_assert_ptr_nonnull(strstr(plsm_message(), "version 3"));
    ck_assert_ptr_null(model);
    buf_free(&bytes);
    key_set_destroy(set);
}
END_TEST

/* --- no memory --- */

START_TEST(failed_allocations_are_reported)
{
    struct key_set *set = key_set_create((enum key_shape)_i, 3000, 5, SEED);
    bool done = false;
    for (uint64_t nth = 1; !done; nth++) {
        struct buf model_bytes = {0}, fences_bytes = {0};
        struct index index = {0};
        mem_fail_at(nth);
        plsm_status status = build_model(set, &model_bytes);
        if (status == PLSM_OK)
            status = model_open(buf_slice(&model_bytes), &index.model);
        if (status == PLSM_OK)
            status = build_fences(set, &fences_bytes);
        if (status == PLSM_OK)
            status = fences_open(buf_slice(&fences_bytes), &index.fences);
        done = mem_count() < nth;
        mem_fail_at(0);
        ck_assert_int_eq(status, done ? PLSM_OK : PLSM_NO_MEMORY);
        if (done)
            check_present_keys(&index, set, "after failed allocations");
        model_close(index.model);
        fences_close(index.fences);
        buf_free(&model_bytes);
        buf_free(&fences_bytes);
    }
    key_set_destroy(set);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("indexes");
    TCase *exact = tcase_create("exact"), *learned = tcase_create("learned"), *safe = tcase_create("safe");
    tcase_set_timeout(exact, 240);
    tcase_set_timeout(learned, 120);
    tcase_set_timeout(safe, 240);
    tcase_add_loop_test(exact, every_shape_is_exact, 0, KEY_SHAPE_COUNT);
    tcase_add_loop_test(exact, small_sets_are_exact, 0, KEY_SHAPE_COUNT);
    tcase_add_loop_test(exact, a_large_set_is_exact, KEYS_RANDOM, KEYS_PATHS + 1);
    tcase_add_test(exact, a_key_over_many_pages_is_found_on_its_first);
    tcase_add_test(exact, keys_of_one_byte_repeated_are_exact);
    tcase_add_test(learned, regular_and_random_keys_are_learned);
    tcase_add_test(learned, words_and_paths_are_learned);
    tcase_add_test(learned, budgets_are_kept);
    tcase_add_loop_test(learned, models_are_smaller_than_fences, 0, 9);
    tcase_add_test(learned, accuracy_counts_answers_without_separators);
    tcase_add_test(safe, keys_out_of_order_are_refused);
    tcase_add_test(safe, fences_without_pages_answer_zero);
    tcase_add_loop_test(safe, flipped_bytes_are_harmless, 0, 6);
    tcase_add_loop_test(safe, cut_off_blocks_are_refused, 0, KEYS_LONG);
    tcase_add_loop_test(safe, scrambled_bytes_are_harmless, 0, KEYS_LONG);
    tcase_add_test(safe, a_newer_version_is_named);
    tcase_add_loop_test(safe, failed_allocations_are_reported, 0, KEYS_LONG);
    suite_add_tcase(suite, exact);
    suite_add_tcase(suite, learned);
    suite_add_tcase(suite, safe);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
