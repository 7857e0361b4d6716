/* Features of keys. Where tokens end is marked many bytes at a time, so that the rest costs by tokens, not by bytes.
 * Nothing branches on the bytes of a key but on how many tokens it has: wrong guesses would cost more than all else. */
#include <assert.h>
#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#include "learn/features.h"

#include "base/banned.h"

enum {
    WORD = sizeof(uint64_t),
    HEAD_STEP = 4,
    HEAD_SIZE_MAX = 32,
    HEADS_MAX = 5 + (HEAD_SIZE_MAX - WORD) / HEAD_STEP,
    TOKENS_MAX = FEATURE_KEY_SIZE_MAX + 1, /* with the empty ones between neighbouring borders */
    PAIRS_MAX = FEATURE_KEY_SIZE_MAX - 1,
    BORDERS = 64 /* bytes that are looked at together */
};
static_assert(FEATURES_MAX >= HEADS_MAX + TOKENS_MAX + PAIRS_MAX, "every kind fits");

const int8_t feature_weights[16] = {0, 1, 2, 4, 8, 16, 32, 64, -1, -2, -4, -8, -16, -32, -64, 0};

/* Odd multipliers without a pattern, one for each kind, so that one piece falls into unrelated cells. */
#define SPREAD UINT64_C(0x9e3779b97f4a7c15)
#define HEAD_MULTIPLIER UINT64_C(0xbb67ae8584caa73b)
#define TOKEN_MULTIPLIER UINT64_C(0x510e527fade682d1)
#define PAIR_MULTIPLIER UINT64_C(0x9b05688c2b3e6c1f)

/* The lowest 0 to 8 bytes of a word. */
static const uint64_t low_bytes[WORD + 1] = {
    0, 0xff, 0xffff, 0xffffff, 0xffffffff, 0xffffffffff, 0xffffffffffff, 0xffffffffffffff, 0xffffffffffffffff};

/* The part of a key that is looked at; at least FEATURE_BLOCK bytes can be read. */
struct text {
    const uint8_t *bytes;
    size_t size, readable;
};

static inline size_t at_most(size_t value, size_t limit)
{
    return value < limit ? value : limit;
}

/* The up to 8 bytes from `at`, which is in the text; zeros follow where no more can be read. */
static inline uint64_t load(const struct text *text, size_t at)
{
    size_t from = at_most(at, text->readable - WORD);
    return get_u64(text->bytes + from) >> 8 * (at - from);
}

/* --- borders --- */

static inline size_t readable_size(size_t size)
{
    return size < FEATURE_BLOCK ? FEATURE_BLOCK : size;
}

/* Clears the bits of bytes that are not in front of `size`. */
static inline uint64_t cut_borders(uint64_t borders, size_t size, size_t first)
{
    size_t bits = size - first;
    return bits < BORDERS ? borders & ((UINT64_C(1) << bits) - 1) : borders;
}

/* High bit of each byte whose low seven bits are >= `least`; other bits are of no meaning (byte-parallel comparison:
 * Lamport, "Multiple Byte Processing with Full-Word Instructions", CACM 1975). */
static inline uint64_t at_least(uint64_t word, unsigned least)
{
    return (word & UINT64_C(0x7f7f7f7f7f7f7f7f)) + UINT64_C(0x0101010101010101) * (0x80 - least);
}

uint64_t feature_borders_portable(const uint8_t *bytes, size_t size, size_t first)
{
    struct text text = {bytes, size, readable_size(size)};
    uint64_t borders = 0;
    for (size_t at = first; at < size && at < first + BORDERS; at += WORD) {
        uint64_t word = load(&text, at), lower = word | UINT64_C(0x2020202020202020);
        uint64_t letter = at_least(lower, 'a') & ~at_least(lower, 'z' + 1);
        uint64_t digit = at_least(word, '0') & ~at_least(word, '9' + 1);
        uint64_t border = ~(letter | digit | word) & UINT64_C(0x8080808080808080);
        borders |= (border >> 7) * UINT64_C(0x0102040810204080) >> 56 << (at - first); /* byte i to bit i */
    }
    return cut_borders(borders, size, first);
}

#if defined(__SSE2__) /* every x86-64 has it */
static inline uint64_t borders_sse2(const uint8_t *bytes, size_t size, size_t first)
{
    uint64_t borders = 0;
    size_t last = readable_size(size) - FEATURE_BLOCK;
    for (size_t at = first; at < size && at < first + BORDERS; at += FEATURE_BLOCK) {
        size_t from = at_most(at, last);
        __m128i block = _mm_loadu_si128((const __m128i *)(const void *)(bytes + from));
        /* Signed comparison, with each range moved to the bottom. */
        __m128i letter = _mm_add_epi8(_mm_or_si128(block, _mm_set1_epi8(0x20)), _mm_set1_epi8((char)(0x80 - 'a')));
        __m128i digit = _mm_add_epi8(block, _mm_set1_epi8((char)(0x80 - '0')));
        __m128i inside = _mm_or_si128(_mm_cmplt_epi8(letter, _mm_set1_epi8((char)(0x80 + 26))),
                                      _mm_cmplt_epi8(digit, _mm_set1_epi8((char)(0x80 + 10))));
        uint64_t border = ~(unsigned)_mm_movemask_epi8(_mm_or_si128(inside, block)) & 0xffff; /* block: above 127 */
        borders |= border >> (at - from) << (at - first);
    }
    return cut_borders(borders, size, first);
}

uint64_t feature_borders_sse2(const uint8_t *bytes, size_t size, size_t first)
{
    return borders_sse2(bytes, size, first);
}
#endif

static inline uint64_t borders_of(const struct text *text, size_t first)
{
#if defined(__SSE2__)
    return borders_sse2(text->bytes, text->size, first);
#else
    return feature_borders_portable(text->bytes, text->size, first);
#endif
}

/* --- kinds --- */

/* What is done with a feature: its cell is listed, or the weight of its cell is added up. One body for both, inlined
 * into each, so that training and reading cannot differ and neither pays for the other. */
struct sight {
    bool listing;
    uint16_t *cells;
    size_t count;
    const uint8_t *weights;
    unsigned mask;
    int32_t score;
};

#define INLINED static inline __attribute__((always_inline))

INLINED void see(struct sight *s, uint64_t product)
{
    unsigned cell = (unsigned)(product >> (64 - FEATURE_CELL_BITS));
    if (s->listing)
        s->cells[s->count++] = (uint16_t)cell;
    else
        s->score += feature_weights[s->weights[(cell & s->mask) / 2] >> cell % 2 * 4 & 15];
}

INLINED void see_heads(const struct text *text, struct sight *s)
{
    uint64_t hash = load(text, 0);
    static const uint8_t sizes[] = {2, 3, 4, 6, 8};
    for (size_t i = 0; i < sizeof sizes && sizes[i] <= text->size; i++)
        see(s, ((hash & low_bytes[sizes[i]]) + sizes[i]) * HEAD_MULTIPLIER);
    for (size_t at = WORD; at + HEAD_STEP <= text->size && at < HEAD_SIZE_MAX; at += HEAD_STEP) {
        hash = (hash ^ get_u32(text->bytes + at)) * SPREAD;
        hash ^= hash >> 32;
        see(s, hash * HEAD_MULTIPLIER);
    }
}

INLINED void see_token(const struct text *text, size_t from, size_t to, struct sight *s)
{
    size_t size = to - from;
    see(s, ((load(text, from) & low_bytes[at_most(size, WORD)]) + (size << 56)) * TOKEN_MULTIPLIER);
}

INLINED void see_tokens(const struct text *text, struct sight *s)
{
    size_t from = 0;
    uint64_t low = borders_of(text, 0), high = text->size > BORDERS ? borders_of(text, BORDERS) : 0;
    while (low | high) {
        size_t to = low ? (size_t)__builtin_ctzll(low) : BORDERS + (size_t)__builtin_ctzll(high);
        high &= low ? UINT64_MAX : high - 1;
        low &= low - 1;
        see_token(text, from, to, s);
        from = to + 1;
    }
    if (from < text->size)
        see_token(text, from, text->size, s);
}

INLINED void see_pairs(const struct text *text, struct sight *s)
{
    for (size_t i = 0; i + 1 < text->size; i++)
        see(s, get_u16(text->bytes + i) * PAIR_MULTIPLIER);
}

INLINED void see_kinds(plsm_slice key, unsigned kinds, struct sight *s)
{
    size_t size = at_most(key.size, FEATURE_KEY_SIZE_MAX);
    uint8_t padded[FEATURE_BLOCK] = {0};
    struct text text = {key.data, size, size};
    if (size < FEATURE_BLOCK) {
        for (size_t i = 0; i < size; i++) /* a memcpy of so few bytes takes longer */
            padded[i] = ((const uint8_t *)key.data)[i];
        text.bytes = padded;
        text.readable = FEATURE_BLOCK;
    }
    if (kinds & FEATURE_HEADS)
        see_heads(&text, s);
    if (kinds & FEATURE_TOKENS)
        see_tokens(&text, s);
    if (kinds & FEATURE_PAIRS)
        see_pairs(&text, s);
}

size_t features_list(plsm_slice key, unsigned kinds, uint16_t *cells)
{
    struct sight s = {.listing = true, .cells = cells};
    see_kinds(key, kinds, &s);
    return s.count;
}

int32_t features_score(plsm_slice key, unsigned kinds, const uint8_t *weights, unsigned cell_bits)
{
    struct sight s = {.weights = weights, .mask = (1u << cell_bits) - 1};
    see_kinds(key, kinds, &s);
    return s.score;
}
