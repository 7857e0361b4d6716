/* Building exact sets: keys are taken apart as they stream by, their numbers cut into runs.
 *
 * The first keys are kept whole. When there are enough of them, each way of taking keys apart is tried on them and the
 * cheapest stays; it must fit every later key, but for numbers that turn out to be shorter. From then on only
 * differences of numbers are kept, equal ones together.
 *
 * A run is extended as long as that is estimated to cost less than to start another one; its step is the greatest
 * common divisor of its differences. Where steps change, or a large gap follows many numbers, a new run starts. */
#include "base/alloc.h"
#include "base/error.h"
#include "learn/exact.h"
#include "learn/exact_build.h"
#include "learn/exact_format.h"

#include "base/banned.h"

enum {
    SAMPLE_KEYS = 1024,
    SAMPLE_SIZE = 256 << 10,    /* or so many bytes, where keys are long */
    SUFFIX_MIN = 4,             /* a shorter one stays part of a binary number: the step absorbs it */
    GROUP_BITS = 32,            /* a slot and its share of empty ones */
    LIMIT_FRACTION = 256,       /* the limit's unit is this part of a bit */
    BITS_PER_KEY_MAX = 1 << 20, /* far beyond any use; keeps the limit's arithmetic in 64 bits */
    LISTED_PER_BLOCK = 64,
    REPEAT_MAX = 1 << 30,
};

struct exact_builder {
    struct exact_numbers numbers;
    struct buf sample; /* the first keys, each behind its length; freed once the form is chosen */
    uint64_t limit;    /* bits per key, in LIMIT_FRACTIONs */
    size_t last_at;    /* of the last key in the sample */
    size_t size_min;   /* of the keys in the sample */
    size_t ending;     /* bytes that all of them end with */
    unsigned sample_keys;
    uint64_t missed; /* keys that the set denied once it was built */
    bool alive, sampling;
};

/* --- estimates --- */

static unsigned log2_floor(uint64_t value)
{
    return 63 - (unsigned)__builtin_clzll(value | 1);
}

/* The logarithm of a number above 0 in units of 2^-24, linear between powers of two: up to 0.09 too small. It must not
 * jump: multiplied with many numbers, a jump would make a run look dear to extend. */
static uint64_t log2_fine(uint64_t value)
{
    unsigned zeros = (unsigned)__builtin_clzll(value);
    return (uint64_t)(63 - zeros) << 24 | (value << zeros << 1 >> 40);
}

unsigned exact_block_log2(uint64_t listed, uint64_t span)
{
    unsigned log2 = log2_floor(LISTED_PER_BLOCK * span / listed * 3 / 2); /* 3/2: to the nearest, or nearly */
    return log2 < EXACT_BLOCK_LOG2_MIN   ? EXACT_BLOCK_LOG2_MIN
           : log2 > EXACT_BLOCK_LOG2_MAX ? EXACT_BLOCK_LOG2_MAX
                                         : log2;
}

uint64_t exact_position_bits(uint64_t count, uint64_t span)
{
    uint64_t listed = count < span - count ? count : span - count;
    if (listed == 0)
        return 0;
    uint64_t least_blocks = span >> EXACT_BLOCK_LOG2_MAX, blocks = listed / LISTED_PER_BLOCK;
    uint64_t bits = (listed * ((2 << 24) + log2_fine(span) - log2_fine(listed)) >> 24) +
                    24 * (blocks > least_blocks ? blocks : least_blocks) + 16;
    return bits < span ? bits : span;
}

/* Of the set so far. */
static uint64_t estimated_bits(const struct exact_numbers *n)
{
    uint64_t groups = n->groups.size / sizeof(struct exact_group);
    return n->closed_bits + EXACT_RUN_BITS + n->open_bits + groups * GROUP_BITS +
           8 * (n->prefixes.size - groups * n->common);
}

/* Is the set larger than it may be? The first keys may cost more by as much as SAMPLE_KEYS may cost in all. */
static bool over_limit(const struct exact_numbers *n, uint64_t limit)
{
    return estimated_bits(n) * LIMIT_FRACTION > limit * (n->keys + SAMPLE_KEYS);
}

/* --- numbers --- */

static void numbers_free(struct exact_numbers *n)
{
    buf_free(&n->suffix);
    buf_free(&n->prefixes);
    buf_free(&n->groups);
    buf_free(&n->runs);
    buf_free(&n->tokens);
    *n = (struct exact_numbers){0};
}

/* Forgets all keys, keeps the buffers. */
static plsm_status numbers_start(struct exact_numbers *n, const struct exact_form *form)
{
    struct exact_numbers empty = {.form = *form,
                                  .number_mask = exact_number_mask(form->alphabet, form->width),
                                  .suffix = n->suffix,
                                  .prefixes = n->prefixes,
                                  .groups = n->groups,
                                  .runs = n->runs,
                                  .tokens = n->tokens,
                                  .same_length = true};
    *n = empty;
    n->suffix.size = n->prefixes.size = n->groups.size = n->runs.size = n->tokens.size = 0;
    TRY(buf_append(&n->suffix, form->suffix.data, form->suffix.size));
    n->form.suffix = buf_slice(&n->suffix);
    return PLSM_OK;
}

static const uint8_t *prefix_at_hand(const struct exact_numbers *n)
{
    return n->prefixes.data + n->prefixes.size - n->prefix_size;
}

static uint64_t greatest_common_divisor(uint64_t a, uint64_t b)
{
    while (b > 0) {
        uint64_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

/* Lets the open run take in the token, unless a new run is cheaper. */
static bool extend_run(struct exact_numbers *n)
{
    struct exact_run *run = &n->open;
    uint64_t step = run->step ? run->step : n->delta, scale = 1, stride = n->delta;
    if (step > 1) { /* divisions are most of what a token costs */
        stride = n->delta / step;
        if (stride * step != n->delta) {
            step = greatest_common_divisor(n->delta, step);
            scale = run->step / step;
            stride = n->delta / step;
        }
    }
    if (scale > UINT32_MAX || stride > UINT32_MAX)
        return false;
    unsigned __int128 span = (unsigned __int128)(run->span - 1) * scale + (unsigned __int128)stride * n->repeat + 1;
    if (span > UINT32_MAX)
        return false;
    uint64_t bits = exact_position_bits(run->count + n->repeat, (uint64_t)span);
    if (bits > n->open_bits + EXACT_RUN_BITS)
        return false;
    run->step = step;
    run->span = (uint32_t)span;
    run->count += (uint32_t)n->repeat;
    n->open_bits = bits;
    return true;
}

static void open_run(struct exact_numbers *n, uint64_t start)
{
    n->open = (struct exact_run){.start = start, .tokens_at = n->tokens.size, .span = 1, .count = 1};
    n->open_bits = 0;
}

static plsm_status close_run(struct exact_numbers *n)
{
    n->closed_bits += EXACT_RUN_BITS + n->open_bits;
    return buf_append(&n->runs, &n->open, sizeof n->open);
}

/* Gives the token to the open run, or starts one with its first number. */
static plsm_status end_token(struct exact_numbers *n)
{
    while (n->repeat > 0) {
        if (extend_run(n)) {
            TRY(buf_reserve(&n->tokens, 2 * VARINT_SIZE_MAX));
            uint8_t *to = n->tokens.data + n->tokens.size;
            n->tokens.size = (size_t)(put_varint(put_varint(to, n->delta), n->repeat) - n->tokens.data);
            n->repeat = 0;
        } else {
            TRY(close_run(n));
            n->repeat--;
            open_run(n, n->last - n->delta * n->repeat);
        }
    }
    return PLSM_OK;
}

/* The order of a key and the last one that was added; as memcmp. */
static int compare_to_last(const struct exact_numbers *n, plsm_slice key)
{
    uint8_t number[EXACT_WIDTH_MAX];
    exact_write_number(n->form.alphabet, n->form.width, n->last, number);
    const plsm_slice parts[] = {slice(prefix_at_hand(n), n->prefix_size), slice(number, n->form.width), n->form.suffix};
    for (unsigned i = 0; i < 3; i++) {
        plsm_slice head = slice(key.data, key.size < parts[i].size ? key.size : parts[i].size);
        int order = slice_compare(head, parts[i]);
        if (order != 0)
            return order;
        key = slice((const uint8_t *)key.data + parts[i].size, key.size - parts[i].size);
    }
    return key.size > 0;
}

/* Reads a number of more than one word of text: only the last word where the digits in front are those of the number
 * before. */
static inline bool read_long_number(struct exact_numbers *n, const uint8_t *bytes, size_t end, uint64_t *number)
{
    size_t front_size = n->form.width - 8;
    const uint8_t *front = bytes + end - n->form.width;
    uint64_t part = 0;
    if (n->front_size != front_size || !exact_bytes_equal(front, n->front, front_size)) {
        n->front_size = 0;
        if (!exact_read_number(n->form.alphabet, n->form.width - 8, n->number_mask, bytes, end - 8, &n->front_value))
            return false;
        memcpy(n->front, front, front_size);
        n->front_size = front_size;
    }
    uint64_t word = get_u64(bytes + end - 8);
    bool decimal = n->form.alphabet == EXACT_DECIMAL;
    if (decimal ? !exact_read_decimal(word, &part)
                : !exact_read_hex(word, n->form.alphabet == EXACT_HEX_LOWER ? 'a' : 'A', &part))
        return false;
    *number = (decimal ? n->front_value * 100000000 : n->front_value << 32) + part;
    return true;
}

static inline bool read_number(struct exact_numbers *n, plsm_slice key, uint64_t *number)
{
    const uint8_t *bytes = key.data;
    size_t end = key.size - n->form.suffix.size;
    bool is_long = n->form.alphabet != EXACT_BINARY && n->form.width > 8;
    return (is_long ? read_long_number(n, bytes, end, number)
                    : exact_read_number(n->form.alphabet, n->form.width, n->number_mask, bytes, end, number)) &&
           exact_bytes_equal(bytes + end, n->form.suffix.data, n->form.suffix.size);
}

/* Adds a key whose prefix is another than the last one's, or that does not fit. */
static plsm_status add_to_new_group(struct exact_numbers *n, plsm_slice key)
{
    size_t fixed = n->form.width + n->form.suffix.size;
    uint64_t number = 0;
    if (n->keys > 0 && compare_to_last(n, key) <= 0)
        return fail(PLSM_INVALID, "exact set: key %llu is not above the one before", (unsigned long long)n->keys);
    if (key.size < fixed || !read_number(n, key, &number))
        return PLSM_UNSUPPORTED;
    plsm_slice prefix = slice(key.data, key.size - fixed);
    if (n->keys > 0) {
        TRY(end_token(n));
        TRY(close_run(n));
        size_t common = slice_common(slice(n->prefixes.data, n->common), prefix);
        n->common = common;
        n->same_length = n->same_length && prefix.size == n->prefix_size;
    } else {
        n->common = prefix.size;
    }
    struct exact_group group = {.prefix_at = n->prefixes.size,
                                .prefix_size = (uint32_t)prefix.size,
                                .first_run = (uint32_t)(n->runs.size / sizeof(struct exact_run))};
    TRY(buf_append(&n->groups, &group, sizeof group));
    TRY(buf_append(&n->prefixes, prefix.data, prefix.size));
    n->prefix_size = prefix.size;
    n->key_size = key.size;
    n->last = number;
    n->delta = n->repeat = 0;
    n->keys++;
    open_run(n, number);
    return PLSM_OK;
}

/* PLSM_UNSUPPORTED: the key does not fit, or the set gets too large. */
static plsm_status numbers_add(struct exact_numbers *n, plsm_slice key, uint64_t limit)
{
    uint64_t number = 0;
    if (key.size == n->key_size && exact_bytes_equal(key.data, prefix_at_hand(n), n->prefix_size) &&
        read_number(n, key, &number) && number > n->last) {
        uint64_t delta = number - n->last;
        n->keys++;
        if (delta == n->delta && n->repeat < REPEAT_MAX) {
            n->last = number;
            n->repeat++;
            return PLSM_OK;
        }
        TRY(end_token(n));
        n->last = number;
        n->delta = delta;
        n->repeat = 1;
    } else {
        TRY(add_to_new_group(n, key));
    }
    return over_limit(n, limit) ? PLSM_UNSUPPORTED : PLSM_OK;
}

/* --- the first keys --- */

/* Calls numbers_add for all of them. */
static plsm_status replay_sample(struct exact_builder *b)
{
    const uint8_t *at = b->sample.data, *end = at + b->sample.size;
    while (at < end) {
        uint64_t size = 0;
        at = get_varint(at, end, &size);
        TRY(numbers_add(&b->numbers, slice(at, size), b->limit));
        at += size;
    }
    return PLSM_OK;
}

/* How many digits stand in front of the last `suffix` bytes of every key in the sample; at most as many as fit. */
static unsigned digits_in_all(const struct exact_builder *b, enum exact_alphabet alphabet, size_t suffix)
{
    const uint8_t *at = b->sample.data, *end = at + b->sample.size;
    size_t width = exact_width_max(alphabet);
    while (at < end) {
        uint64_t size = 0;
        at = get_varint(at, end, &size);
        size_t digits = 0;
        while (digits < width && digits + suffix < size && exact_is_digit(alphabet, at[size - suffix - digits - 1]))
            digits++;
        width = digits;
        at += size;
    }
    return (unsigned)width;
}

/* How keys look in this alphabet; a binary number takes in what all keys end with, unless `with_suffix`. False when
 * there is no such form. */
static bool find_form(const struct exact_builder *b, enum exact_alphabet alphabet, bool with_suffix,
                      struct exact_form *form)
{
    uint64_t size = 0;
    const uint8_t *first = get_varint(b->sample.data, b->sample.data + b->sample.size, &size);
    size_t suffix = b->ending < b->size_min ? b->ending : b->size_min - 1;
    if (alphabet == EXACT_BINARY) {
        if (with_suffix && suffix < SUFFIX_MIN)
            return false;
        suffix = with_suffix ? suffix : 0;
    }
    /* Digits that do not change belong to the number as well: they may change later. */
    while (alphabet != EXACT_BINARY && suffix > 0 && exact_is_digit(alphabet, first[size - suffix]))
        suffix--;
    *form = (struct exact_form){.alphabet = alphabet,
                                .width = digits_in_all(b, alphabet, suffix),
                                .suffix = slice(first + size - suffix, suffix)};
    return form->width > 0;
}

/* Tries all forms on the sample, and leaves the numbers as the cheapest has them. PLSM_UNSUPPORTED when all cost too
 * much. */
static plsm_status choose_form(struct exact_builder *b)
{
    static const struct {
        enum exact_alphabet alphabet;
        bool with_suffix;
    } candidates[] = {{EXACT_BINARY, false},
                      {EXACT_BINARY, true},
                      {EXACT_DECIMAL, false},
                      {EXACT_HEX_LOWER, false},
                      {EXACT_HEX_UPPER, false}};
    struct exact_form best = {0};
    uint64_t best_bits = UINT64_MAX;
    if (b->sample_keys == 1)
        b->ending = 0; /* one key ends as itself, which means nothing */
    for (size_t i = 0; i < sizeof candidates / sizeof *candidates; i++) {
        struct exact_form form;
        if (!find_form(b, candidates[i].alphabet, candidates[i].with_suffix, &form))
            continue;
        TRY(numbers_start(&b->numbers, &form));
        plsm_status status = replay_sample(b);
        if (status != PLSM_OK && status != PLSM_UNSUPPORTED)
            return status;
        if (status == PLSM_OK && estimated_bits(&b->numbers) < best_bits) {
            best_bits = estimated_bits(&b->numbers);
            best = form;
        }
    }
    if (best_bits == UINT64_MAX)
        return PLSM_UNSUPPORTED;
    TRY(numbers_start(&b->numbers, &best));
    TRY(replay_sample(b));
    buf_free(&b->sample);
    b->sampling = false;
    return PLSM_OK;
}

static plsm_status add_to_sample(struct exact_builder *b, plsm_slice key)
{
    const uint8_t *bytes = key.data, *first = b->sample.data;
    if (b->sample_keys > 0) {
        uint64_t size = 0;
        const uint8_t *last = get_varint(first + b->last_at, first + b->sample.size, &size);
        if (slice_compare(slice(last, size), key) >= 0)
            return fail(PLSM_INVALID, "exact set: key %u is not above the one before", b->sample_keys);
        first = get_varint(first, first + b->sample.size, &size);
        size_t same = 0, longest = key.size < b->ending ? key.size : b->ending;
        while (same < longest && first[size - 1 - same] == bytes[key.size - 1 - same])
            same++;
        b->ending = same;
        b->size_min = key.size < b->size_min ? key.size : b->size_min;
    } else {
        b->ending = b->size_min = key.size;
    }
    b->last_at = b->sample.size;
    b->sample_keys++;
    TRY(buf_append_slice(&b->sample, key));
    return b->sample_keys == SAMPLE_KEYS || b->sample.size >= SAMPLE_SIZE ? choose_form(b) : PLSM_OK;
}

/* --- keys with shorter numbers --- */

/* Adds the keys of `from` again, in order. */
static plsm_status replay_numbers(struct exact_builder *b, const struct exact_numbers *from, struct buf *key)
{
    const struct exact_group *groups = (const void *)from->groups.data;
    const struct exact_run *runs = (const void *)from->runs.data;
    size_t group_count = from->groups.size / sizeof *groups, run_count = from->runs.size / sizeof *runs;
    for (size_t group = 0; group < group_count; group++) {
        size_t end = group + 1 < group_count ? groups[group + 1].first_run : run_count;
        size_t prefix_size = groups[group].prefix_size;
        key->size = 0;
        TRY(buf_append(key, from->prefixes.data + groups[group].prefix_at, prefix_size));
        TRY(buf_reserve(key, from->form.width + from->form.suffix.size));
        key->size += from->form.width;
        TRY(buf_append(key, from->form.suffix.data, from->form.suffix.size));
        for (size_t run = groups[group].first_run; run < end; run++) {
            struct exact_cursor c = exact_cursor_at_start(from, &runs[run]);
            for (; c.left > 0; exact_cursor_skip(&c, 1)) {
                uint64_t number = runs[run].start + c.next * runs[run].step;
                exact_write_number(from->form.alphabet, from->form.width, number, key->data + prefix_size);
                TRY(numbers_add(&b->numbers, buf_slice(key), b->limit));
            }
        }
    }
    return PLSM_OK;
}

/* What was taken for the first digits of the number may have been the end of a prefix, as in host10170000 when
 * host2170000 comes. Makes numbers as short as the one of `key`, which did not fit; the first digits then are part of
 * prefixes. Numbers only get shorter, so this happens a few times at most. */
static plsm_status narrow_numbers(struct exact_builder *b, plsm_slice key)
{
    struct exact_form form = b->numbers.form;
    const uint8_t *bytes = key.data;
    size_t suffix = form.suffix.size, digits = 0;
    while (digits < form.width && digits + suffix < key.size &&
           exact_is_digit(form.alphabet, bytes[key.size - suffix - digits - 1]))
        digits++;
    if (digits == 0 || digits == form.width)
        return PLSM_UNSUPPORTED;
    form.width = (unsigned)digits;
    struct exact_numbers old = b->numbers;
    struct buf scratch = {0};
    b->numbers = (struct exact_numbers){0};
    plsm_status status = end_token(&old);
    if (status == PLSM_OK)
        status = close_run(&old);
    if (status == PLSM_OK)
        status = numbers_start(&b->numbers, &form);
    if (status == PLSM_OK)
        status = replay_numbers(b, &old, &scratch);
    if (status == PLSM_OK)
        status = numbers_add(&b->numbers, key, b->limit);
    buf_free(&scratch);
    numbers_free(&old);
    return status;
}

/* --- the builder --- */

struct exact_builder *exact_builder_create(double bits_per_key_max)
{
    struct exact_builder *b = mem_zalloc(sizeof *b);
    if (!b)
        return NULL;
    double bits = bits_per_key_max > 0 ? bits_per_key_max : 0;
    b->limit = (uint64_t)((bits < BITS_PER_KEY_MAX ? bits : BITS_PER_KEY_MAX) * LIMIT_FRACTION);
    b->alive = b->sampling = true;
    return b;
}

void exact_builder_destroy(struct exact_builder *b)
{
    if (!b)
        return;
    numbers_free(&b->numbers);
    buf_free(&b->sample);
    mem_free(b);
}

bool exact_builder_alive(const struct exact_builder *b)
{
    return b->alive;
}

/* What does not fit is no error. */
static plsm_status __attribute__((noinline)) give_up(struct exact_builder *b, plsm_status why)
{
    numbers_free(&b->numbers);
    buf_free(&b->sample);
    b->alive = false;
    return why == PLSM_UNSUPPORTED ? PLSM_OK : why;
}

/* Adds a key that goes on with evenly spaced decimal numbers, of which only the last word is new. False: it is none,
 * and nothing has happened. Nothing goes on before numbers are taken apart, or after that was given up. */
static inline bool goes_on(struct exact_numbers *n, plsm_slice key, size_t shared)
{
    uint64_t part = 0, front = n->form.width > 8 ? n->front_value * 100000000 : 0;
    if (key.size != n->key_size || shared + 8 < key.size || n->repeat - 1 >= REPEAT_MAX - 1 ||
        n->form.alphabet != EXACT_DECIMAL || n->form.width < 8 || n->form.suffix.size > 0 ||
        !exact_read_decimal(get_u64((const uint8_t *)key.data + key.size - 8), &part) || front + part <= n->last ||
        front + part - n->last != n->delta)
        return false;
    n->last += n->delta;
    n->repeat++;
    n->keys++;
    return true;
}

/* Apart, so that those which go on save nothing for it. */
static __attribute__((noinline)) plsm_status take_in(struct exact_builder *b, plsm_slice key)
{
    plsm_status status = key.size == 0 ? fail(PLSM_INVALID, "exact set: an empty key")
                         : b->sampling ? add_to_sample(b, key)
                                       : numbers_add(&b->numbers, key, b->limit);
    if (status == PLSM_UNSUPPORTED && b->numbers.keys > 0 && !b->sampling)
        status = narrow_numbers(b, key);
    return status == PLSM_OK ? status : give_up(b, status);
}

plsm_status exact_builder_add(struct exact_builder *b, plsm_slice key, size_t shared)
{
    return !b->alive || goes_on(&b->numbers, key, shared) ? PLSM_OK : take_in(b, key);
}

plsm_status exact_builder_finish(struct exact_builder *b, struct buf *out, bool *built)
{
    struct exact_numbers *n = &b->numbers;
    *built = false;
    if (!b->alive || (b->sampling && b->sample_keys == 0))
        return PLSM_OK;
    plsm_status status = b->sampling ? choose_form(b) : PLSM_OK;
    if (status == PLSM_OK)
        status = end_token(n);
    if (status == PLSM_OK)
        status = close_run(n);
    size_t start = out->size;
    struct exact set;
    if (status == PLSM_OK)
        status = exact_encode(n, b->limit * n->keys / LIMIT_FRACTION, out, built);
    if (status != PLSM_OK)
        return give_up(b, status);
    if (*built) {
        status = exact_open(slice(out->data + start, out->size - start), &set);
        b->missed = status == PLSM_OK ? exact_count_missing(n, &set) : n->keys;
        *built = b->missed == 0;
        out->size = *built ? out->size : start;
    }
    return PLSM_OK;
}

uint64_t exact_builder_missed(const struct exact_builder *b)
{
    return b->missed;
}
