/* Choosing and building what tells whether a run may hold a key. The layout stands in membership.c.
 *
 * The exact set is made while keys stream by and gives up by itself where it would be larger than the plain filter; so
 * where it is there, it is smaller and makes no errors: it is taken. Otherwise a partitioned filter, if held-out misses
 * say that it saves something; otherwise a ribbon where memory is dear, or the plain filter alone. */
#include "learn/membership.h"

#include "base/alloc.h"
#include "base/checksum.h"
#include "base/error.h"
#include "learn/membership_format.h"

#include "base/banned.h"

struct membership_builder {
    struct membership_wish wish;
    struct classifier classifier;
    bool classified;
    struct exact_builder *exact; /* NULL: not wished */
    struct buf hashes;           /* u64 each: of the keys; in the end the salted ones of directories as well */
    struct buf classes;          /* u8 for each key; empty without a classifier */
    struct buf directories;      /* u64 each */
    struct key_template template;
    uint64_t first[TEMPLATE_WORDS]; /* of the first key */
    uint64_t count;                 /* of keys */
};

struct membership_builder *membership_builder_create(const struct membership_wish *wish)
{
    /* What the plain filter will cost, nearly; an exact set that needs as much makes no errors at least. */
    double bits_per_key = 1.13 * (double)wish->bits;
    struct membership_builder *b = mem_zalloc(sizeof *b);
    if (!b)
        return NULL;
    b->wish = *wish;
    b->wish.tailored = wish->tailored && !wish->fuse_only;
    if (!wish->fuse_only) {
        b->exact = exact_builder_create(wish->gapless ? bits_per_key / EXACT_GAPLESS_PART : bits_per_key);
        b->classified = wish->classifier.size && classifier_open(wish->classifier, &b->classifier) == PLSM_OK;
        if (!b->exact) {
            mem_free(b);
            b = NULL;
        }
    }
    return b;
}

void membership_builder_destroy(struct membership_builder *b)
{
    if (!b)
        return;
    exact_builder_destroy(b->exact);
    buf_free(&b->hashes);
    buf_free(&b->classes);
    buf_free(&b->directories);
    mem_free(b);
}

/* --- the template --- */

static uint32_t whole_words(plsm_slice key)
{
    return key.size / 8 < TEMPLATE_WORDS ? (uint32_t)(key.size / 8) : TEMPLATE_WORDS;
}

static void template_start(struct membership_builder *b, plsm_slice key)
{
    b->template = (struct key_template){
        .size_min = (uint32_t)key.size, .size_max = (uint32_t)key.size, .words = whole_words(key)};
    for (uint32_t i = 0; i < b->template.words; i++)
        b->first[i] = get_u64((const uint8_t *)key.data + 8 * i);
}

/* `mask` has the differing bits while keys stream by. Words that the key shares with the one before add nothing. */
static inline void template_add(struct membership_builder *b, plsm_slice key, size_t shared)
{
    struct key_template *t = &b->template;
    if (key.size < t->size_min) {
        t->size_min = (uint32_t)key.size;
        t->words = whole_words(key) < t->words ? whole_words(key) : t->words;
    }
    t->size_max = key.size > t->size_max ? (uint32_t)key.size : t->size_max;
    for (uint32_t i = (uint32_t)(shared / 8); i < t->words; i++)
        t->mask[i] |= get_u64((const uint8_t *)key.data + 8 * i) ^ b->first[i];
}

static void template_finish(struct membership_builder *b)
{
    struct key_template *t = &b->template;
    for (uint32_t i = 0; i < TEMPLATE_WORDS; i++) {
        uint64_t same = 0;
        for (unsigned bit = 0; i < t->words && bit < 64; bit += 8)
            same |= (t->mask[i] >> bit & 0xff) == 0 ? UINT64_C(0xff) << bit : 0;
        t->mask[i] = same;
        t->value[i] = b->first[i] & same;
    }
}

/* Misses may be cut (learn/classifier.h): the size of a long one is not known. */
static bool template_is_worth(const struct key_template *template, const plsm_slice *misses, size_t count)
{
    size_t turned_away = 0;
    for (size_t i = 0; i < count; i++)
        turned_away += misses[i].size < CLASSIFIER_KEY_SIZE_MAX && !template_admits(template, misses[i]);
    return count >= TEMPLATE_MISSES_MIN && turned_away * 100 >= count * TEMPLATE_PERCENT_MIN;
}

/* --- keys --- */

plsm_status membership_directory_hashes(plsm_slice key, size_t shared, uint64_t salt, struct buf *out)
{
    const uint8_t *bytes = key.data, *end = bytes + key.size;
    const uint8_t *from = bytes + shared;
    while (from < end && (from = memchr(from, '/', (size_t)(end - from)))) {
        from++;
        TRY(buf_append_u64(out, key_hash(bytes, (size_t)(from - bytes)) ^ salt));
    }
    return PLSM_OK;
}

/* Room for more hashes: where there are many, for as many as are expected, within limits. Growing step by step touches
 * more than twice as much memory, and what is fresh from the kernel costs more than what is put there. */
static plsm_status grow_hashes(struct membership_builder *b)
{
    enum { MANY = 1 << 16, TIMES_MAX = 8 };
    uint64_t most = b->count > MANY ? TIMES_MAX * b->count : 1, more = 1;
    if (b->wish.keys > b->count)
        more = b->wish.keys - b->count + 1; /* this one is counted */
    return buf_reserve(&b->hashes, (size_t)(more < most ? more : most) * sizeof(uint64_t));
}

/* Neighbours in order share most of their bytes: a call for the few that are left would take longer than a look. */
static inline bool has_slash(const uint8_t *bytes, size_t size)
{
    enum { FEW = 4 };
    if (size > FEW)
        return memchr(bytes, '/', size) != NULL;
    bool has = false;
    for (size_t i = 0; i < size; i++)
        has |= bytes[i] == '/';
    return has;
}

plsm_status membership_builder_add(struct membership_builder *b, plsm_slice key, uint64_t hash, size_t shared,
                                   bool directories)
{
    if (b->count++ == 0)
        template_start(b, key);
    else
        template_add(b, key, shared);
    if (b->hashes.capacity - b->hashes.size < sizeof hash)
        TRY(grow_hashes(b));
    put_u64(b->hashes.data + b->hashes.size, hash);
    b->hashes.size += sizeof hash;
    if (directories && has_slash((const uint8_t *)key.data + shared, key.size - shared))
        TRY(membership_directory_hashes(key, shared, 0, &b->directories));
    if (b->classified) {
        uint8_t class = (uint8_t)classifier_class(&b->classifier, key);
        TRY(buf_append(&b->classes, &class, 1));
    }
    return b->exact ? exact_builder_add(b->exact, key, shared) : PLSM_OK;
}

/* --- what is made of them --- */

static const uint64_t *hashes_of(const struct buf *bytes)
{
    return (const uint64_t *)(const void *)bytes->data;
}

/* Header and template; kind as it will be. */
static plsm_status put_header(const struct membership_builder *b, enum membership_kind kind, bool with_template,
                              struct buf *out)
{
    uint8_t header[MEMBERSHIP_HEADER_SIZE] = {(uint8_t)kind, with_template};
    put_u16(header + MEMBERSHIP_VERSION, MEMBERSHIP_FORMAT);
    if (with_template) {
        put_u32(header + MEMBERSHIP_WORDS, b->template.words);
        put_u32(header + MEMBERSHIP_SIZE_MIN, b->template.size_min);
        put_u32(header + MEMBERSHIP_SIZE_MAX, b->template.size_max);
        for (unsigned i = 0; i < TEMPLATE_WORDS; i++) {
            put_u64(header + MEMBERSHIP_MASKS + 8 * i, b->template.mask[i]);
            put_u64(header + MEMBERSHIP_VALUES + 8 * i, b->template.value[i]);
        }
    }
    return buf_append(out, header, sizeof header);
}

/* Appends the exact set; *built false: there is none. */
static plsm_status put_exact(struct membership_builder *b, struct buf *out, struct membership_built *result,
                             bool *built)
{
    size_t start = out->size;
    *built = false;
    if (!b->exact || !exact_builder_alive(b->exact))
        return PLSM_OK;
    TRY(put_header(b, MEMBERSHIP_EXACT, false, out));
    TRY(exact_builder_finish(b->exact, out, built));
    result->missed += exact_builder_missed(b->exact);
    if (!*built)
        out->size = start;
    return PLSM_OK;
}

/* Keys and directories that a partitioned filter denies. */
static uint64_t missing_in_partitioned(const struct membership_builder *b, plsm_slice bytes)
{
    struct partitioned p;
    const uint64_t *hashes = hashes_of(&b->hashes), *directories = hashes_of(&b->directories);
    uint64_t missing = 0;
    if (partitioned_open(bytes, &p) != PLSM_OK)
        return b->count;
    for (uint64_t i = 0; i < b->count; i++)
        missing += !partitioned_class_may_contain(&p, b->classified ? b->classes.data[i] : 0, hashes[i]);
    for (size_t i = 0; p.has_directories && i < b->directories.size / sizeof *directories; i++)
        missing += !partitioned_may_have_directory(&p, directories[i]);
    return missing;
}

static plsm_status put_partitioned(struct membership_builder *b, const plsm_slice *misses, size_t miss_count,
                                   bool with_template, struct buf *out, struct membership_built *result, bool *built)
{
    struct partitioned_input input = {.hashes = hashes_of(&b->hashes),
                                      .count = b->count,
                                      .misses = misses,
                                      .miss_count = miss_count,
                                      .bits = b->wish.bits};
    struct partition_plan plan;
    size_t start = out->size;
    *built = false;
    if (!b->wish.tailored || miss_count < PARTITION_MISSES_MIN)
        return PLSM_OK;
    if (b->classified) {
        input.classes = b->classes.data;
        input.classifier = b->wish.classifier;
    }
    if (b->directories.size) {
        input.directories = hashes_of(&b->directories);
        input.directory_count = b->directories.size / sizeof(uint64_t);
    }
    TRY(partitioned_plan(&input, &plan));
    if (!plan.worth)
        return PLSM_OK;
    TRY(put_header(b, MEMBERSHIP_PARTITIONED, with_template, out));
    TRY(partitioned_build(&input, &plan, out));
    uint64_t missing = missing_in_partitioned(
        b, slice(out->data + start + MEMBERSHIP_HEADER_SIZE, out->size - start - MEMBERSHIP_HEADER_SIZE));
    result->missed += missing;
    result->planned_false_positives = plan.false_positive_rate;
    *built = missing == 0;
    if (!*built)
        out->size = start;
    return PLSM_OK;
}

/* The filter that traditional mode uses. */
static plsm_status put_filter(struct membership_builder *b, struct buf *out, struct membership_built *result)
{
    size_t start = out->size, count = b->hashes.size / sizeof(uint64_t);
    uint64_t *hashes = (uint64_t *)(void *)b->hashes.data;
    struct filter filter;
    if (b->wish.bloom)
        TRY(bloom_build(hashes, count, out));
    else if (b->wish.blocked)
        TRY(blocked_build(hashes, count, blocked_bits_for(b->wish.bits), out));
    else
        TRY(filter_build(hashes, count, b->wish.bits, out));
    TRY(filter_open(slice(out->data + start, out->size - start), &filter));
    size_t missing = filter_missing(&filter, hashes, count);
    result->missed += missing;
    if (missing)
        out->size = start;
    return PLSM_OK;
}

static plsm_status put_ribbon(struct membership_builder *b, bool with_template, struct buf *out,
                              struct membership_built *result, bool *built)
{
    size_t start = out->size, count = b->hashes.size / sizeof(uint64_t);
    uint64_t *hashes = (uint64_t *)(void *)b->hashes.data;
    struct ribbon ribbon;
    *built = false;
    TRY(put_header(b, MEMBERSHIP_RIBBON, with_template, out));
    size_t inside = out->size;
    TRY(ribbon_build(hashes, count, b->wish.bits, out));
    TRY(ribbon_open(slice(out->data + inside, out->size - inside), &ribbon));
    size_t missing = ribbon_missing(&ribbon, hashes, count);
    result->missed += missing;
    *built = missing == 0;
    if (!*built)
        out->size = start;
    return PLSM_OK;
}

static plsm_status enter_directories(struct membership_builder *b)
{
    const uint64_t *directories = hashes_of(&b->directories);
    for (size_t i = 0; i < b->directories.size / sizeof *directories; i++)
        TRY(buf_append_u64(&b->hashes, directories[i] ^ MEMBERSHIP_DIRECTORY_SALT));
    return PLSM_OK;
}

plsm_status membership_builder_finish(struct membership_builder *b, const plsm_slice *misses, size_t miss_count,
                                      struct buf *filter, struct buf *membership, struct membership_built *built)
{
    bool done = false;
    *built = (struct membership_built){.kind = MEMBERSHIP_FUSE};
    template_finish(b);
    bool with_template = b->wish.tailored && template_is_worth(&b->template, misses, miss_count);
    TRY(put_exact(b, membership, built, &done));
    if (done) {
        built->kind = MEMBERSHIP_EXACT;
        with_template = false; /* it has all that by itself */
    } else {
        TRY(put_partitioned(b, misses, miss_count, with_template, membership, built, &done));
        if (done)
            built->kind = MEMBERSHIP_PARTITIONED;
    }
    /* From here on the order of the hashes is not that of the classes any more. */
    TRY(enter_directories(b));
    built->hashes = b->hashes.size / sizeof(uint64_t);
    TRY(put_filter(b, filter, built));
    if (!done && b->wish.small && !b->wish.fuse_only) {
        TRY(put_ribbon(b, with_template, membership, built, &done));
        if (done)
            built->kind = MEMBERSHIP_RIBBON;
    }
    with_template = with_template && (done || filter->size > 0);
    if (!done && with_template)
        TRY(put_header(b, MEMBERSHIP_FUSE, true, membership));
    built->has_template = with_template;
    return PLSM_OK;
}

const uint64_t *membership_builder_hashes(const struct membership_builder *b, size_t *count)
{
    *count = b->hashes.size / sizeof(uint64_t);
    return hashes_of(&b->hashes);
}
