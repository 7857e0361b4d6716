/* Mutated indexes, filters and memberships: refused, or answering with a page of the run; never a crash or a read out
 * of bounds.
 *
 * Checksums stand in front of these parsers in a store, so a mutated store hardly reaches them. Here they are fed
 * directly, and the checksum of the LIDX block is made right again behind each mutation.
 *
 * FUZZ_SECONDS: how long (60); FUZZ_SEED. */
#include <stdio.h>
#include <stdlib.h>

#include "base/bytes.h"
#include "base/checksum.h"
#include "base/random.h"
#include "learn/classifier.h"
#include "learn/fences.h"
#include "learn/filter.h"
#include "learn/membership.h"
#include "learn/model.h"
#include "learn/ribbon.h"
#include "tests/harness/fuzz.h"
#include "tests/harness/path_trees.h"
#include "tests/harness/workload.h"

#include "base/banned.h"

enum { KINDS = 8, SHAPES = 4, PAGES = 300, MODEL_CHECKSUM = 8, TREE_KEYS = 1500, TREE_MISSES = 3000 };
enum { GROUP = 2000, ROUND_SECONDS = 60 };
enum kind { FENCES, PLAIN_FENCES, MODEL, FILTER, BLOOM, BLOCKED, RIBBON, MEMBERSHIP };

static struct buf blocks[KINDS][SHAPES];
static struct buf plain_bytes;                               /* a filter that mutated memberships are opened over */
static struct path_list tree_keys, tree_others, tree_misses; /* the misses share the bytes of the others */

/* --- blocks of different shapes ----------------------------------------------------------------------------------- */

/* Key number `i` of a shape, ascending. */
static plsm_slice shape_key(unsigned shape, unsigned i, char *buffer)
{
    int size = 0;
    switch (shape) {
    case 0:
        size = snprintf(buffer, 300, "%016u", i * 40);
        break;
    case 1: /* squares: gaps that grow */
        put_be64(buffer, UINT64_C(0x0100000000000000) + (uint64_t)i * i * i);
        size = 8;
        break;
    case 2: /* long shared prefixes, some borders told apart only far behind */
        size =
            snprintf(buffer, 300, "usr/share/%c/%0*d/%u", 'a' + (char)(i / 100), 40 + (int)(i / 100) * 40, 1, 1000 + i);
        break;
    default: /* the awkward ones */
        return workload_key(workload_at_rank(i));
    }
    return slice(buffer, (size_t)size);
}

static void must(plsm_status status)
{
    if (status != PLSM_OK) {
        fprintf(stderr, "cannot make a block: %s\n", plsm_message());
        exit(EXIT_FAILURE);
    }
}

static void make_blocks(unsigned shape)
{
    struct fences_builder *fences = fences_builder_create(), *plain = fences_builder_create_plain();
    struct model_builder *model = model_builder_create();
    static const enum model_type types[SHAPES] = {MODEL_AUTO, MODEL_NEURAL, MODEL_PLR, MODEL_TRIE};
    struct model_wish wish = {types[shape], SIZE_MAX, SIZE_MAX, UINT32_MAX};
    bool built = false;
    uint64_t hashes[PAGES];
    char buffers[2][300];
    plsm_slice last = slice(NULL, 0);
    for (unsigned page = 0; page < PAGES; page++) {
        plsm_slice first = shape_key(shape, page, buffers[page % 2]);
        must(fences_builder_add(fences, last, first));
        must(fences_builder_add(plain, last, first));
        must(model_builder_key(model, first, slice_common(last, first)));
        must(model_builder_page(model, first));
        hashes[page] = key_hash(first.data, first.size);
        last = first;
    }
    must(fences_builder_finish(fences, &blocks[FENCES][shape]));
    must(fences_builder_finish(plain, &blocks[PLAIN_FENCES][shape]));
    must(bloom_build(hashes, PAGES >> 2 * shape, &blocks[BLOOM][shape]));
    must(blocked_build(hashes, PAGES >> 2 * shape, 8 + 5 * shape, &blocks[BLOCKED][shape]));
    must(model_builder_finish(model, &wish, PAGES, 1, &blocks[MODEL][shape], &built));
    must(filter_build(hashes, PAGES, 4 + shape * 4, &blocks[FILTER][shape]));
    must(ribbon_build(hashes, shape == 0 ? 9 : PAGES, shape == 0 ? 16 : 4 + shape, &blocks[RIBBON][shape]));
    fences_builder_destroy(fences);
    fences_builder_destroy(plain);
    model_builder_destroy(model);
}

/* Exact sets of numbers without and with gaps, a ribbon between them, and a filter partitioned by directories and
 * classes. */
static void make_membership(unsigned shape)
{
    bool tree = shape == SHAPES - 1;
    struct buf classifier = {0}, filter = {0};
    struct membership_built built;
    struct classifier_samples samples = {
        .keys = tree_keys.keys, .misses = tree_misses.keys, .key_count = 500, .miss_count = 1000};
    if (tree) {
        must(classifier_train(&samples, 8, TREE_KEYS, &classifier));
        path_list_sort(&tree_keys);
    }
    struct membership_wish wish = {
        .bits = 8, .small = shape == 1, .tailored = tree, .classifier = buf_slice(&classifier)};
    struct membership_builder *b = membership_builder_create(&wish);
    char buffers[2][300];
    plsm_slice before = slice(NULL, 0);
    for (unsigned i = 0; i < (tree ? TREE_KEYS : PAGES); i++) {
        plsm_slice key =
            tree ? tree_keys.keys[i] : shape_key(shape == 1, shape == 2 ? 3 * i + i / 7 : i, buffers[i % 2]);
        must(membership_builder_add(b, key, key_hash(key.data, key.size), slice_common(before, key), tree));
        before = key;
    }
    must(membership_builder_finish(b, tree_misses.keys + 1000, tree ? 1000 : 0, &filter, &blocks[MEMBERSHIP][shape],
                                   &built));
    if (blocks[MEMBERSHIP][shape].size == 0) {
        fprintf(stderr, "shape %u: a plain filter serves\n", shape);
        exit(EXIT_FAILURE);
    }
    membership_builder_destroy(b);
    if (tree)
        plain_bytes = filter;
    else
        buf_free(&filter);
    buf_free(&classifier);
}

static void make_trees(void)
{
    tree_keys = path_list_create((struct path_tree){0, 1}, TREE_KEYS, 1, 1);
    tree_others = path_list_create((struct path_tree){1, 2}, TREE_MISSES, 1, 2);
    tree_misses = path_list_without(&tree_others, &tree_keys);
}

/* --- one mutated block -------------------------------------------------------------------------------------------- */

static void mutate(struct random *random, uint8_t *data, size_t *size)
{
    for (uint64_t left = 1 + random_below(random, 5); left > 0 && *size > 0; left--) {
        /* Headers decide most: half of the mutations go there. */
        size_t at = random_below(random, random_below(random, 2) && *size > 96 ? 96 : *size);
        switch (random_below(random, 6)) {
        case 0:
            data[at] ^= (uint8_t)(1u << random_below(random, 8));
            break;
        case 1:
            data[at] = (uint8_t)random_next(random);
            break;
        case 2:
            data[at] = random_below(random, 2) ? 0xff : 0x80;
            break;
        case 3:
            memset(data + at, random_below(random, 2) ? 0xff : 0, *size - at < 8 ? *size - at : 8);
            break;
        case 4:
            memmove(data + random_below(random, at + 1), data + at, *size - at);
            break;
        default:
            *size = random_below(random, 8) ? *size : at;
        }
    }
}

/* Asks for keys of the shape and of others; an answer out of range is wrong. */
static bool ask_pages(const struct fences *fences, const struct model *model, uint32_t pages)
{
    char buffer[300];
    for (unsigned i = 0; i < 2 * PAGES; i++) {
        plsm_slice key = shape_key(i % SHAPES, i / 2, buffer);
        uint32_t page = fences ? fences_find(fences, key) : model_find(model, key).page;
        if (page >= pages)
            return false;
    }
    return true;
}

/* All hashes together must get the answers that they get one by one. */
static bool ask_filter(const struct filter *filter)
{
    uint64_t hashes[200];
    size_t missing = 0;
    for (uint64_t i = 0; i < 200; i++) {
        hashes[i] = i * UINT64_C(0x9e3779b97f4a7c15);
        missing += !filter_may_contain(filter, hashes[i]);
    }
    return filter_missing(filter, hashes, 200) == missing;
}

/* And vector instructions what plain ones say. */
static bool ask_ribbon(struct ribbon *ribbon)
{
    uint64_t hashes[200];
    size_t missing = 0;
    for (uint64_t i = 0; i < 200; i++) {
        hashes[i] = i * UINT64_C(0x9e3779b97f4a7c15);
        missing += !ribbon_may_contain(ribbon, hashes[i]);
    }
    ribbon->vectors = false;
    return ribbon_missing(ribbon, hashes, 200) == missing;
}

static void ask_membership(const struct membership *m)
{
    char buffer[300];
    for (unsigned i = 0; i < 300; i++) {
        plsm_slice key = i % 5 ? tree_misses.keys[i] : shape_key(i % SHAPES, i, buffer);
        struct partitioned_query query;
        uint64_t hash = key_hash(key.data, key.size);
        membership_query_init(&query, key, hash);
        membership_prefetch(m, &query);
        (void)membership_may_contain(m, &query);
        (void)membership_may_have_directory(m, key, hash);
    }
}

static bool try_block(enum kind kind, plsm_slice bytes)
{
    bool right = true;
    struct fences *fences = NULL;
    struct model *model = NULL;
    struct model_info info;
    struct filter filter;
    struct ribbon ribbon;
    struct membership membership;
    switch (kind) {
    case FENCES:
    case PLAIN_FENCES:
        if (fences_open(bytes, &fences) == PLSM_OK)
            right = fences_pages(fences) == 0 || ask_pages(fences, NULL, fences_pages(fences));
        fences_close(fences);
        break;
    case MODEL:
        if (model_open(bytes, &model) == PLSM_OK) {
            model_get_info(model, &info);
            right = ask_pages(NULL, model, info.pages);
        }
        model_close(model);
        break;
    case FILTER:
    case BLOOM:
    case BLOCKED:
        if (filter_open(bytes, &filter) == PLSM_OK)
            right = ask_filter(&filter);
        break;
    case MEMBERSHIP:
        if (filter_open(buf_slice(&plain_bytes), &filter) == PLSM_OK &&
            membership_open(bytes, &filter, &membership) == PLSM_OK)
            ask_membership(&membership);
        break;
    default:
        if (ribbon_open(bytes, &ribbon) == PLSM_OK)
            right = ask_ribbon(&ribbon);
    }
    return right;
}

static bool run_round(uint64_t seed, uint64_t round, char *failure, size_t length)
{
    struct random random;
    random_seed(&random, seed * UINT64_C(0x9e3779b97f4a7c15) + round);
    enum kind kind = (enum kind)random_below(&random, KINDS);
    const struct buf *block = &blocks[kind][random_below(&random, SHAPES)];
    size_t size = block->size;
    uint8_t *data = malloc(size + 1);
    if (!data)
        abort();
    memcpy(data, block->data, size);
    mutate(&random, data, &size);
    if (kind == MODEL && size >= MODEL_CHECKSUM)
        put_u64(data + size - MODEL_CHECKSUM, checksum(data, size - MODEL_CHECKSUM, 0));
    /* An allocation of exactly this size, so that a sanitizer sees the first byte read behind it. */
    uint8_t *exact = malloc(size ? size : 1);
    if (!exact)
        abort();
    memcpy(exact, data, size);
    bool right = try_block(kind, slice(exact, size));
    if (!right)
        snprintf(failure, length, "round %lu: an answer out of range", (unsigned long)round);
    free(exact);
    free(data);
    return right;
}

int main(void)
{
    workload_init();
    make_trees();
    for (unsigned shape = 0; shape < SHAPES; shape++) {
        make_blocks(shape);
        make_membership(shape);
    }
    int code = fuzz_run("mutated blocks", run_round, GROUP, ROUND_SECONDS);
    for (unsigned kind = 0; kind < KINDS; kind++)
        for (unsigned shape = 0; shape < SHAPES; shape++)
            buf_free(&blocks[kind][shape]);
    buf_free(&plain_bytes);
    path_list_free(&tree_misses);
    path_list_free(&tree_others);
    path_list_free(&tree_keys);
    return code;
}
