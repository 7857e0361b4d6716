/* Writing an exact set from the runs that its keys were cut into. The layout stands at the top of exact.c; a run
 * becomes a segment. */
#include <stdlib.h>

#include "base/alloc.h"
#include "base/checksum.h"
#include "base/error.h"
#include "learn/exact_build.h"
#include "learn/exact_format.h"

#include "base/banned.h"

enum {
    TAG_BITS_MIN = 4,     /* of a slot: spares most comparisons with prefixes of other groups */
    BITMAP_PER_CENT = 70, /* blocks must be this much smaller than a bitmap, which takes one cache miss less */
    BLOCK_WORDS = (1 << EXACT_BLOCK_LOG2_MAX) / 64,
};

/* The runs of one prefix that came without another between them. */
struct stretch {
    plsm_slice prefix;
    uint32_t first, end; /* runs */
};

struct record {
    uint64_t start;
    uint32_t last, class;
    uint64_t at;
};

struct class
{
    uint64_t step;
    unsigned block_log2;
};

struct encoder {
    const struct exact_numbers *numbers;
    struct stretch *stretches; /* in order of prefix */
    size_t stretch_count;
    struct buf groups;     /* plsm_slice: the prefixes, each once */
    struct buf firsts;     /* uint32_t: the first segment of each group */
    struct buf records;    /* struct record */
    struct buf classes;    /* struct class */
    uint32_t *class_slots; /* a hash table over them: number + 1, or 0 */
    size_t class_slot_count;
    uint32_t class;    /* the last one used */
    struct buf ends;   /* uint32_t: where each block of a segment ends, behind the directory */
    struct buf blocks; /* of one segment */
    struct buf data;
    uint64_t words[BLOCK_WORDS]; /* the positions of one block */
    bool sampled;
};

/* --- positions --- */

static void set_bits(uint64_t *words, uint64_t first, uint64_t count)
{
    for (uint64_t end = first + count; first < end;) {
        uint64_t in_word = 64 - first % 64 < end - first ? 64 - first % 64 : end - first;
        words[first / 64] |= UINT64_MAX >> (64 - in_word) << (first % 64);
        first += in_word;
    }
}

/* Sets a bit for each taken position from `first` to `first + size`; returns how many there are. */
static uint64_t fill_words(uint64_t *words, struct exact_cursor *c, uint64_t first, uint64_t size)
{
    uint64_t before = c->left;
    memset(words, 0, (size + 63) / 64 * 8);
    while (c->left > 0 && c->next < first + size) {
        uint64_t room = first + size - c->next, count = 1;
        if (c->stride == 1)
            count = c->in_token < room ? c->in_token : room;
        set_bits(words, c->next - first, count);
        exact_cursor_skip(c, count);
    }
    return before - c->left;
}

/* --- a segment's data --- */

/* Bits of a list: `count` positions below `size` with so many low bits. */
static uint64_t list_bits(uint64_t count, uint64_t size, unsigned low_bits)
{
    return count * (low_bits + 1) + ((size - 1) >> low_bits) + 1;
}

static unsigned best_low_bits(uint64_t count, uint64_t size)
{
    unsigned best = 0;
    for (unsigned low_bits = 1; low_bits <= EXACT_BLOCK_LOG2_MAX; low_bits++)
        if (list_bits(count, size, low_bits) < list_bits(count, size, best))
            best = low_bits;
    return best;
}

static void put_list(uint8_t *block, uint64_t block_size, const uint64_t *words, uint64_t size, bool missing,
                     unsigned low_bits)
{
    block[0] = (uint8_t)(low_bits | (missing ? EXACT_OF_MISSING : 0));
    uint64_t rank = 0;
    for (uint64_t base = 0; base < size; base += 64) {
        uint64_t word = missing ? ~words[base / 64] : words[base / 64];
        if (size - base < 64)
            word &= (UINT64_C(1) << (size - base)) - 1;
        for (; word > 0; word &= word - 1, rank++) {
            uint64_t position = base + (unsigned)__builtin_ctzll(word), high = 8 + (position >> low_bits) + rank;
            block[high / 8] |= (uint8_t)(1u << (high % 8));
            uint64_t low = position & ((UINT64_C(1) << low_bits) - 1), bit = 8 * block_size - (rank + 1) * low_bits;
            put_u64(block + bit / 8, get_u64(block + bit / 8) | low << (bit % 8));
        }
    }
}

/* Appends the block whose `size` positions are in e->words, `count` of them taken. */
static plsm_status append_block(struct encoder *e, uint64_t count, uint64_t size)
{
    if (count == size)
        return PLSM_OK;
    bool missing = count > size - count;
    uint64_t listed = missing ? size - count : count;
    unsigned low_bits = best_low_bits(listed, size);
    uint64_t block_size = 1 + (list_bits(listed, size, low_bits) + 7) / 8, bitmap_size = 1 + (size + 7) / 8;
    bool is_bitmap = block_size >= bitmap_size;
    block_size = is_bitmap ? bitmap_size : block_size;
    TRY(buf_reserve(&e->blocks, block_size + 8)); /* put_list writes whole words */
    uint8_t *block = e->blocks.data + e->blocks.size;
    memset(block, 0, block_size + 8);
    if (is_bitmap) {
        block[0] = EXACT_IS_BITMAP;
        memcpy(block + 1, e->words, block_size - 1);
    } else {
        put_list(block, block_size, e->words, size, missing, low_bits);
    }
    e->blocks.size += block_size;
    return PLSM_OK;
}

static void put_field(uint8_t **to, uint64_t value, unsigned size)
{
    put_u64(*to, value); /* what is too much is written over by the next field or the padding */
    *to += size;
}

static plsm_status append_blocks(struct encoder *e, const struct exact_run *run, unsigned block_log2)
{
    struct exact_cursor cursor = exact_cursor_at_start(e->numbers, run);
    uint64_t block_positions = UINT64_C(1) << block_log2;
    e->blocks.size = e->ends.size = 0;
    for (uint64_t first = 0; first < run->span; first += block_positions) {
        uint64_t size = run->span - first < block_positions ? run->span - first : block_positions;
        uint64_t count = fill_words(e->words, &cursor, first, size);
        TRY(append_block(e, count, size));
        if (e->blocks.size > UINT32_MAX)
            return PLSM_UNSUPPORTED;
        TRY(buf_append_u32(&e->ends, (uint32_t)e->blocks.size));
    }
    uint64_t entries = e->ends.size / sizeof(uint32_t) - 1, total = 0;
    unsigned entry_size = 1;
    while (entry_size < 4 && exact_directory_entry_size(e->blocks.size + entries * entry_size) != entry_size)
        entry_size++;
    total = e->blocks.size + entries * entry_size;
    TRY(buf_reserve(&e->data, total + 8));
    uint8_t *to = e->data.data + e->data.size;
    for (uint64_t i = 0; i < entries; i++)
        put_field(&to, get_u32(e->ends.data + i * sizeof(uint32_t)), entry_size);
    memcpy(to, e->blocks.data, e->blocks.size);
    e->data.size += total;
    return PLSM_OK;
}

static plsm_status append_bitmap(struct encoder *e, const struct exact_run *run)
{
    struct exact_cursor cursor = exact_cursor_at_start(e->numbers, run);
    for (uint64_t first = 0; first < run->span; first += 64 * BLOCK_WORDS) {
        uint64_t size = run->span - first < 64 * BLOCK_WORDS ? run->span - first : 64 * BLOCK_WORDS;
        fill_words(e->words, &cursor, first, size);
        TRY(buf_append(&e->data, e->words, (size + 7) / 8));
    }
    return PLSM_OK;
}

/* --- segments --- */

static plsm_status use_class(struct encoder *e, uint64_t step, unsigned block_log2)
{
    const struct class *classes = (const void *)e->classes.data;
    uint64_t count = e->classes.size / sizeof *classes, mask = e->class_slot_count - 1;
    uint64_t slot = (step * UINT64_C(0x9e3779b97f4a7c15) >> 32) + block_log2;
    for (; e->class_slots[slot & mask]; slot++) {
        e->class = e->class_slots[slot & mask] - 1;
        if (classes[e->class].step == step && classes[e->class].block_log2 == block_log2)
            return PLSM_OK;
    }
    struct class class = {step, block_log2};
    e->class = (uint32_t)count;
    e->class_slots[slot & mask] = e->class + 1;
    return buf_append(&e->classes, &class, sizeof class);
}

/* Without data the blocks do not matter, and for a single number the step does not either: the class used last often
 * does, and saves one. */
static bool last_class_fits(const struct encoder *e, const struct exact_run *run)
{
    const struct class *classes = (const void *)e->classes.data;
    return run->count == run->span && e->classes.size > 0 && (run->span == 1 || classes[e->class].step == run->step);
}

static plsm_status append_segment(struct encoder *e, const struct exact_run *run)
{
    uint64_t listed = run->count < run->span - run->count ? run->count : run->span - run->count;
    uint64_t at = e->data.size;
    unsigned block_log2 = 0;
    if (listed > 0) {
        if (exact_position_bits(run->count, run->span) * 100 < (uint64_t)run->span * BITMAP_PER_CENT) {
            block_log2 = exact_block_log2(listed, run->span);
            TRY(append_blocks(e, run, block_log2));
        }
        if (block_log2 == 0 || (e->data.size - at) * 8 > run->span) {
            block_log2 = 0;
            e->data.size = at;
            TRY(append_bitmap(e, run));
        }
    }
    if (!last_class_fits(e, run))
        TRY(use_class(e, run->step ? run->step : 1, block_log2));
    struct record record = {run->start, run->span - 1, e->class, at};
    return buf_append(&e->records, &record, sizeof record);
}

static int compare_stretches(const void *a, const void *b)
{
    const struct stretch *left = a, *right = b;
    int order = slice_compare(left->prefix, right->prefix);
    return order ? order : (left->first > right->first) - (left->first < right->first);
}

/* Brings the runs of each prefix together, those of the prefixes into order. */
static plsm_status order_stretches(struct encoder *e)
{
    const struct exact_numbers *n = e->numbers;
    const struct exact_group *groups = (const void *)n->groups.data;
    size_t count = n->groups.size / sizeof *groups, runs = n->runs.size / sizeof(struct exact_run);
    e->stretches = mem_alloc(count * sizeof *e->stretches);
    if (!e->stretches)
        return PLSM_NO_MEMORY;
    for (size_t i = 0; i < count; i++) {
        size_t end = i + 1 < count ? groups[i + 1].first_run : runs;
        e->stretches[i] = (struct stretch){slice(n->prefixes.data + groups[i].prefix_at, groups[i].prefix_size),
                                           groups[i].first_run, (uint32_t)end};
    }
    if (!n->same_length)
        qsort(e->stretches, count, sizeof *e->stretches, compare_stretches);
    e->stretch_count = count;
    return PLSM_OK;
}

static plsm_status append_segments(struct encoder *e, uint64_t bits_max)
{
    const struct exact_run *runs = (const void *)e->numbers->runs.data;
    uint32_t in_group = 0;
    for (size_t i = 0; i < e->stretch_count; i++) {
        const struct stretch *s = &e->stretches[i];
        if (i == 0 || !slice_equal(s->prefix, s[-1].prefix)) {
            uint32_t first = (uint32_t)(e->records.size / sizeof(struct record));
            TRY(buf_append(&e->groups, &s->prefix, sizeof s->prefix));
            TRY(buf_append(&e->firsts, &first, sizeof first));
            in_group = 0;
        }
        for (uint32_t run = s->first; run < s->end; run++) {
            TRY(append_segment(e, &runs[run]));
            if (e->data.size > UINT32_MAX || e->data.size * 8 > bits_max)
                return PLSM_UNSUPPORTED;
        }
        in_group += s->end - s->first;
        e->sampled = e->sampled || in_group > 2 * EXACT_SAMPLE_STRIDE;
    }
    return PLSM_OK;
}

/* --- the set --- */

/* Sizes and counts of what is written. */
struct shape {
    uint64_t start_base, prefixes_size;
    uint32_t groups, segments, classes, slots, samples, hint_buckets, rest_min, rest_max;
    unsigned start_size, span_size, at_size, class_size, slot_size, offset_size, first_size, index_bits, hint_shift;
};

static unsigned bytes_for(uint64_t value)
{
    return value == 0 ? 0 : (71 - (unsigned)__builtin_clzll(value)) / 8;
}

static struct shape find_shape(const struct encoder *e)
{
    const struct exact_numbers *n = e->numbers;
    const plsm_slice *groups = (const void *)e->groups.data;
    const struct record *records = (const void *)e->records.data;
    struct shape s = {.start_base = UINT64_MAX,
                      .groups = (uint32_t)(e->groups.size / sizeof *groups),
                      .segments = (uint32_t)(e->records.size / sizeof *records),
                      .classes = (uint32_t)(e->classes.size / sizeof(struct class)),
                      .rest_min = UINT32_MAX};
    for (uint32_t i = 0; i < s.groups; i++) {
        uint32_t rest = (uint32_t)(groups[i].size - n->common);
        s.prefixes_size += rest;
        s.rest_min = rest < s.rest_min ? rest : s.rest_min;
        s.rest_max = rest > s.rest_max ? rest : s.rest_max;
    }
    uint64_t start_max = 0, last_max = 0;
    for (uint32_t i = 0; i < s.segments; i++) {
        s.start_base = records[i].start < s.start_base ? records[i].start : s.start_base;
        start_max = records[i].start > start_max ? records[i].start : start_max;
        last_max = records[i].last > last_max ? records[i].last : last_max;
    }
    s.start_size = bytes_for(start_max - s.start_base);
    s.span_size = bytes_for(last_max);
    s.at_size = bytes_for(records[s.segments - 1].at);
    s.class_size = bytes_for(s.classes - 1);
    s.samples = e->sampled ? (s.segments - 1) / EXACT_SAMPLE_STRIDE + 1 : 0;
    if (s.samples > 0 && s.groups == 1) {
        s.hint_buckets = exact_hint_buckets(s.samples);
        while ((start_max - s.start_base) >> s.hint_shift >= s.hint_buckets)
            s.hint_shift++;
    }
    if (s.rest_min < s.rest_max)
        s.offset_size = bytes_for(s.prefixes_size);
    if (s.groups > 1) {
        s.slots = s.groups + s.groups / 2 + 1;
        s.index_bits = 64 - (unsigned)__builtin_clzll(s.groups);
        s.slot_size = (s.index_bits + TAG_BITS_MIN + 7) / 8;
        if (s.groups != s.segments)
            s.first_size = bytes_for(s.segments - 1);
    }
    return s;
}

static uint64_t shape_size(const struct shape *s, const struct encoder *e)
{
    return EXACT_HEADER_SIZE + 8 * (uint64_t)s->samples + (s->hint_buckets ? 4 * ((uint64_t)s->hint_buckets + 1) : 0) +
           (uint64_t)s->classes * EXACT_CLASS_SIZE + e->numbers->common + e->numbers->form.suffix.size +
           (uint64_t)s->slots * s->slot_size + (s->offset_size ? ((uint64_t)s->groups + 1) * s->offset_size : 0) +
           s->prefixes_size + (uint64_t)s->groups * s->first_size +
           (uint64_t)s->segments * (s->start_size + s->span_size + s->at_size + s->class_size) + e->data.size +
           EXACT_PADDING_SIZE;
}

static uint8_t *put_header(uint8_t *to, const struct shape *s, const struct encoder *e)
{
    const struct exact_numbers *n = e->numbers;
    memset(to, 0, EXACT_HEADER_SIZE);
    to[0] = EXACT_FORMAT;
    to[EXACT_ALPHABET] = (uint8_t)n->form.alphabet;
    to[EXACT_WIDTH] = (uint8_t)n->form.width;
    to[EXACT_START_SIZE] = (uint8_t)s->start_size;
    to[EXACT_SPAN_SIZE] = (uint8_t)s->span_size;
    to[EXACT_AT_SIZE] = (uint8_t)s->at_size;
    to[EXACT_CLASS_INDEX_SIZE] = (uint8_t)s->class_size;
    to[EXACT_SLOT_SIZE] = (uint8_t)s->slot_size;
    put_u64(to + EXACT_KEYS, n->keys);
    put_u64(to + EXACT_START_BASE, s->start_base);
    put_u64(to + EXACT_DATA_SIZE, e->data.size);
    put_u64(to + EXACT_PREFIXES_SIZE, s->prefixes_size);
    put_u32(to + EXACT_GROUPS, s->groups);
    put_u32(to + EXACT_SEGMENTS, s->segments);
    put_u32(to + EXACT_CLASSES, s->classes);
    put_u32(to + EXACT_SLOTS, s->slots);
    put_u32(to + EXACT_COMMON_SIZE, (uint32_t)n->common);
    put_u32(to + EXACT_SUFFIX_SIZE, (uint32_t)n->form.suffix.size);
    put_u32(to + EXACT_REST_MIN, s->rest_min);
    put_u32(to + EXACT_REST_MAX, s->rest_max);
    to[EXACT_OFFSET_SIZE] = (uint8_t)s->offset_size;
    to[EXACT_FIRST_SIZE] = (uint8_t)s->first_size;
    to[EXACT_INDEX_BITS] = (uint8_t)s->index_bits;
    to[EXACT_SAMPLED] = s->samples > 0;
    to[EXACT_HINT_SHIFT] = (uint8_t)s->hint_shift;
    return to + EXACT_HEADER_SIZE;
}

static uint8_t *put_bytes(uint8_t *to, const void *data, size_t size)
{
    if (size > 0)
        memcpy(to, data, size);
    return to + size;
}

static uint8_t *put_slots(uint8_t *to, const struct shape *s, const struct encoder *e)
{
    const plsm_slice *groups = (const void *)e->groups.data;
    memset(to, 0, (size_t)s->slots * s->slot_size);
    for (uint32_t i = 0; i < s->groups && s->slots > 0; i++) {
        size_t common = e->numbers->common;
        uint64_t hash = key_hash((const uint8_t *)groups[i].data + common, groups[i].size - common);
        uint64_t slot = (uint64_t)(((unsigned __int128)hash * s->slots) >> 64);
        uint64_t tag = hash & ((UINT64_C(1) << (8 * s->slot_size - s->index_bits)) - 1);
        uint64_t entry = tag << s->index_bits | (i + UINT64_C(1));
        while (exact_load(to + slot * s->slot_size, s->slot_size) != 0)
            slot = slot + 1 == s->slots ? 0 : slot + 1;
        memcpy(to + slot * s->slot_size, &entry, s->slot_size);
    }
    return to + (size_t)s->slots * s->slot_size;
}

static uint8_t *put_groups(uint8_t *to, const struct shape *s, const struct encoder *e)
{
    const plsm_slice *groups = (const void *)e->groups.data;
    size_t common = e->numbers->common;
    uint64_t offset = 0;
    for (uint32_t i = 0; s->offset_size && i <= s->groups; i++) {
        put_field(&to, offset, s->offset_size);
        offset += i < s->groups ? groups[i].size - common : 0;
    }
    for (uint32_t i = 0; i < s->groups; i++)
        to = put_bytes(to, (const uint8_t *)groups[i].data + common, groups[i].size - common);
    for (uint32_t i = 0; i < s->groups; i++)
        put_field(&to, get_u32(e->firsts.data + i * sizeof(uint32_t)), s->first_size);
    return to;
}

static uint8_t *put_samples(uint8_t *to, const struct shape *s, const struct encoder *e)
{
    const struct record *records = (const void *)e->records.data;
    for (uint32_t i = 0; i < s->samples; i++)
        put_field(&to, records[i * EXACT_SAMPLE_STRIDE].start, 8);
    uint32_t below = 0;
    for (uint64_t bucket = 0; s->hint_buckets && bucket <= s->hint_buckets; bucket++) {
        while (below < s->samples &&
               (records[below * EXACT_SAMPLE_STRIDE].start - s->start_base) >> s->hint_shift < bucket)
            below++;
        put_field(&to, below, 4);
    }
    return to;
}

static uint8_t *put_set(uint8_t *to, const struct shape *s, const struct encoder *e)
{
    const struct exact_numbers *n = e->numbers;
    const struct record *records = (const void *)e->records.data;
    const struct class *classes = (const void *)e->classes.data;
    to = put_header(to, s, e);
    to = put_samples(to, s, e);
    for (uint32_t i = 0; i < s->classes; i++) {
        unsigned shift = (unsigned)__builtin_ctzll(classes[i].step);
        put_field(&to, exact_inverse(classes[i].step >> shift), 8);
        put_field(&to, shift, 1);
        put_field(&to, classes[i].block_log2, 1);
    }
    to = put_bytes(to, e->stretches[0].prefix.data, n->common);
    to = put_bytes(to, n->form.suffix.data, n->form.suffix.size);
    to = put_slots(to, s, e);
    to = put_groups(to, s, e);
    for (uint32_t i = 0; i < s->segments; i++) {
        put_field(&to, records[i].start - s->start_base, s->start_size);
        put_field(&to, records[i].last, s->span_size);
        put_field(&to, records[i].at, s->at_size);
        put_field(&to, records[i].class, s->class_size);
    }
    to = put_bytes(to, e->data.data, e->data.size);
    put_field(&to, 0, EXACT_PADDING_SIZE);
    return to;
}

static plsm_status encode(struct encoder *e, uint64_t bits_max, struct buf *out)
{
    size_t runs = e->numbers->runs.size / sizeof(struct exact_run);
    for (e->class_slot_count = 2; e->class_slot_count < 2 * runs;)
        e->class_slot_count *= 2;
    e->class_slots = mem_zalloc(e->class_slot_count * sizeof *e->class_slots);
    if (!e->class_slots)
        return PLSM_NO_MEMORY;
    TRY(order_stretches(e));
    TRY(append_segments(e, bits_max));
    struct shape shape = find_shape(e);
    uint64_t size = shape_size(&shape, e);
    if (size * 8 > bits_max)
        return PLSM_UNSUPPORTED;
    TRY(buf_reserve(out, size + 8)); /* the last field written is a whole word too */
    uint8_t *start = out->data + out->size, *end = put_set(start, &shape, e);
    INVARIANT((uint64_t)(end - start) == size);
    out->size += size;
    return PLSM_OK;
}

plsm_status exact_encode(const struct exact_numbers *n, uint64_t bits_max, struct buf *out, bool *built)
{
    struct encoder *e = mem_zalloc(sizeof *e);
    plsm_status status = PLSM_NO_MEMORY;
    if (e) {
        e->numbers = n;
        status = encode(e, bits_max, out);
        mem_free(e->stretches);
        mem_free(e->class_slots);
        buf_free(&e->groups);
        buf_free(&e->firsts);
        buf_free(&e->records);
        buf_free(&e->classes);
        buf_free(&e->ends);
        buf_free(&e->blocks);
        buf_free(&e->data);
        mem_free(e);
    }
    *built = status == PLSM_OK;
    if (status == PLSM_NO_MEMORY)
        return fail(PLSM_NO_MEMORY, "exact set: no memory for %llu keys", (unsigned long long)n->keys);
    return status == PLSM_UNSUPPORTED ? PLSM_OK : status;
}
