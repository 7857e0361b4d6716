/* Serialized coder, little-endian:
 *    0  u16  prefix size
 *    2  u8   positions of the first word
 *    3  u8   positions of the second word; both together 0 to 64
 *    4  u8   alphabets, 0 to 64
 *    5       the prefix
 *            one byte per position: which alphabet
 *            each alphabet:
 *            u8   bits 0-6: ranges of bytes; 0: a bit set follows instead. Bit 7: keys may end here
 *            u8 first, u8 last  of each range, ascending; or 32 bytes, byte b at bit b % 8 of byte b / 8
 *
 * The radix of a position is the number of bytes in its alphabet, plus one where keys may end. The product of the
 * radixes of a word is at most 2^64. Its last position has weight 1, each other the weight of the one behind times its
 * radix. */
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "base/alloc.h"
#include "base/error.h"
#include "learn/codes.h"

#include "base/banned.h"

enum {
    HEADER_SIZE = 5,
    PREFIX_SIZE_MAX = UINT16_MAX,
    BIT_SET_SIZE = 32,
    ENDS_HERE = 0x80,
    FULL_ENOUGH = 192, /* alphabets this large become full: a fraction of a bit is lost, a table is saved */
};

struct alphabet {
    uint64_t bytes[4];
    bool ends;
};

static inline bool has_byte(const uint64_t set[4], unsigned byte)
{
    return set[byte / 64] >> (byte % 64) & 1;
}

static inline void add_byte(uint64_t set[4], unsigned byte)
{
    set[byte / 64] |= (uint64_t)1 << (byte % 64);
}

static unsigned byte_count(const uint64_t set[4])
{
    unsigned count = 0;
    for (int i = 0; i < 4; i++)
        count += (unsigned)__builtin_popcountll(set[i]);
    return count;
}

static unsigned radix_of(const struct alphabet *a)
{
    return byte_count(a->bytes) + a->ends;
}

/* --- learning --- */

void code_training_start(struct code_training *t)
{
    *t = (struct code_training){.shortest = SIZE_MAX};
}

void code_training_note(struct code_training *t, plsm_slice rest)
{
    const uint8_t *bytes = rest.data;
    size_t positions = rest.size < CODE_POSITIONS_MAX ? rest.size : CODE_POSITIONS_MAX;
    for (size_t i = 0; i < positions; i++)
        add_byte(t->seen[i], bytes[i]);
    if (rest.size < t->shortest)
        t->shortest = rest.size;
}

/* The alphabet for a position: what was seen there, rounded up where that is nearly everything, as keys that were not
 * seen will fill the gaps. */
static struct alphabet choose_alphabet(const struct code_training *t, unsigned position)
{
    struct alphabet a = {.ends = t->shortest <= position};
    memcpy(a.bytes, t->seen[position], sizeof a.bytes);
    unsigned count = byte_count(a.bytes), low = 0, high = 255;
    if (count == 0)
        return a;
    if (count >= FULL_ENOUGH) {
        memset(a.bytes, 0xff, sizeof a.bytes);
        return a;
    }
    while (!has_byte(a.bytes, low))
        low++;
    while (!has_byte(a.bytes, high))
        high--;
    if (count > 2 && count >= (high - low + 1) / 4 * 3)
        for (unsigned byte = low; byte <= high; byte++)
            add_byte(a.bytes, byte);
    return a;
}

static plsm_status append_alphabet(const struct alphabet *a, struct buf *out)
{
    uint8_t ranges[1 + 2 * 128], *at = ranges + 1;
    for (unsigned byte = 0; byte < 256; byte++) {
        if (!has_byte(a->bytes, byte))
            continue;
        *at++ = (uint8_t)byte;
        while (byte < 255 && has_byte(a->bytes, byte + 1))
            byte++;
        *at++ = (uint8_t)byte;
    }
    size_t size = (size_t)(at - ranges - 1);
    ranges[0] = (uint8_t)((size <= BIT_SET_SIZE ? size / 2 : 0) | (a->ends ? ENDS_HERE : 0));
    if (size > 0 && size <= BIT_SET_SIZE)
        return buf_append(out, ranges, 1 + size);
    TRY(buf_append(out, ranges, 1));
    return buf_append(out, a->bytes, BIT_SET_SIZE); /* little-endian words: byte b is at bit b of the whole */
}

plsm_status code_training_finish(const struct code_training *t, plsm_slice prefix, unsigned positions, struct buf *out)
{
    struct alphabet alphabets[CODE_POSITIONS_MAX];
    uint8_t which[CODE_POSITIONS_MAX];
    unsigned used[CODE_WORDS] = {0}, all = 0, count = 0, word = 0;
    unsigned __int128 product = 1;
    if (prefix.size > PREFIX_SIZE_MAX)
        return fail(PLSM_INVALID, "learned index: a prefix of %zu bytes is too long", prefix.size);
    for (; all < positions && all < CODE_POSITIONS_MAX; all++, used[word]++) {
        struct alphabet a = choose_alphabet(t, all);
        if (byte_count(a.bytes) == 0) /* no key goes on here */
            break;
        if (product * radix_of(&a) > (unsigned __int128)1 << 64) {
            if (++word == CODE_WORDS)
                break;
            product = 1;
        }
        product *= radix_of(&a);
        unsigned same = 0;
        while (same < count &&
               (a.ends != alphabets[same].ends || memcmp(a.bytes, alphabets[same].bytes, sizeof a.bytes) != 0))
            same++;
        if (same == count)
            alphabets[count++] = a;
        which[all] = (uint8_t)same;
    }
    uint8_t header[HEADER_SIZE] = {0, 0, (uint8_t)used[0], (uint8_t)used[1], (uint8_t)count};
    put_u16(header, (uint16_t)prefix.size);
    TRY(buf_append(out, header, sizeof header));
    TRY(buf_append(out, prefix.data, prefix.size));
    TRY(buf_append(out, which, all));
    for (unsigned i = 0; i < count; i++)
        TRY(append_alphabet(&alphabets[i], out));
    return PLSM_OK;
}

/* --- reading a coder --- */

static plsm_status malformed(const char *what)
{
    return fail(PLSM_CORRUPT, "learned index: %s; rebuild it with a compaction", what);
}

static const uint8_t *parse_alphabet(const uint8_t *at, const uint8_t *end, struct alphabet *out)
{
    *out = (struct alphabet){0};
    if (at >= end)
        return NULL;
    unsigned ranges = *at & (ENDS_HERE - 1);
    out->ends = *at++ & ENDS_HERE;
    if ((size_t)(end - at) < (ranges ? 2 * (size_t)ranges : BIT_SET_SIZE))
        return NULL;
    if (ranges == 0) {
        memcpy(out->bytes, at, BIT_SET_SIZE);
        return at + BIT_SET_SIZE;
    }
    for (; ranges > 0; ranges--, at += 2)
        for (unsigned byte = at[0]; byte <= at[1]; byte++)
            add_byte(out->bytes, byte);
    return at;
}

static void fill_table(const struct alphabet *a, struct code_table *table)
{
    unsigned rank = a->ends, largest = radix_of(a) - 1;
    for (unsigned byte = 0; byte < 256; byte++) {
        if (has_byte(a->bytes, byte))
            table->rank[byte] = (uint16_t)rank++;
        else
            table->rank[byte] =
                (uint16_t)(rank > largest ? largest | CODE_OUTSIDE | CODE_ABOVE_ALL : rank | CODE_OUTSIDE);
    }
}

static unsigned lowest_byte(const uint64_t set[4])
{
    unsigned byte = 0;
    while (byte < 255 && !has_byte(set, byte))
        byte++;
    return byte;
}

static bool have_vectors(void)
{
#if defined(__x86_64__)
    return __builtin_cpu_supports("sse4.1") && __builtin_cpu_supports("ssse3");
#else
    return false;
#endif
}

/* Describes an alphabet for vector instructions; false when it has too many bytes or ranges. */
static bool describe_digits(const struct alphabet *a, struct code_digits *out)
{
    enum { RADIX_MAX = 127 }; /* it is a signed byte there */
    unsigned radix = byte_count(a->bytes), rank = 0;
    if (a->ends || radix < 2 || radix > RADIX_MAX)
        return false;
    *out =
        (struct code_digits){.radix = (uint8_t)radix, .radix2 = radix * radix, .radix4 = radix * radix * radix * radix};
    for (unsigned byte = 0; byte < 256; byte++) {
        if (!has_byte(a->bytes, byte))
            continue;
        if (out->ranges == CODE_DIGIT_RANGES)
            return false;
        unsigned low = byte;
        while (byte < 255 && has_byte(a->bytes, byte + 1))
            byte++;
        out->low[out->ranges] = (uint8_t)low;
        out->span[out->ranges] = (uint8_t)(byte - low);
        out->rank[out->ranges++] = (uint8_t)rank;
        rank += byte - low + 1;
    }
    return true;
}

static enum code_field_kind kind_of(const struct alphabet *a)
{
    unsigned bytes = byte_count(a->bytes);
    if (a->ends || (bytes != 1 && bytes != 256))
        return CODE_FIELD_TABLE;
    return bytes == 1 ? CODE_FIELD_FIXED : CODE_FIELD_WIDE;
}

/* What a serialized coder says, before it is given memory. */
struct parsed {
    struct alphabet alphabets[CODE_POSITIONS_MAX];
    enum code_field_kind kinds[CODE_POSITIONS_MAX]; /* of the alphabets */
    uint64_t weights[CODE_POSITIONS_MAX];           /* of the positions */
    const uint8_t *prefix, *which;                  /* which alphabet each position has */
    size_t prefix_size;
    unsigned words[CODE_WORDS]; /* positions of each */
    uint64_t largest[CODE_WORDS];
    unsigned positions, alphabet_count;
};

static plsm_status weigh_positions(struct parsed *p, unsigned first, unsigned last, uint64_t *largest)
{
    unsigned __int128 weight = 1;
    for (unsigned i = last; i-- > first;) {
        /* 2^64 is reached only where all positions in front of it have radix 1 and digit 0: its weight is not used. */
        p->weights[i] = (uint64_t)weight;
        weight *= radix_of(&p->alphabets[p->which[i]]);
        if (weight > (unsigned __int128)1 << 64)
            return malformed("alphabets do not fit into 64 bits");
    }
    *largest = (uint64_t)(weight - 1);
    return PLSM_OK;
}

static plsm_status parse(const uint8_t **at, const uint8_t *end, struct parsed *p)
{
    const uint8_t *from = *at;
    if (end - from < HEADER_SIZE)
        return malformed("the coder is cut off");
    p->prefix_size = get_u16(from);
    p->words[0] = from[2];
    p->words[1] = from[3];
    p->positions = p->words[0] + p->words[1];
    p->alphabet_count = from[4];
    from += HEADER_SIZE;
    if (p->positions > CODE_POSITIONS_MAX || p->alphabet_count > CODE_POSITIONS_MAX ||
        (size_t)(end - from) < p->prefix_size + p->positions)
        return malformed("the coder is cut off");
    p->prefix = from;
    p->which = from + p->prefix_size;
    from = p->which + p->positions;
    for (unsigned i = 0; i < p->positions; i++)
        if (p->which[i] >= p->alphabet_count)
            return malformed("a position has no alphabet");
    for (unsigned i = 0; i < p->alphabet_count; i++) {
        from = parse_alphabet(from, end, &p->alphabets[i]);
        if (!from || radix_of(&p->alphabets[i]) == 0)
            return malformed("an alphabet is cut off or empty");
        p->kinds[i] = kind_of(&p->alphabets[i]);
    }
    *at = from;
    TRY(weigh_positions(p, 0, p->words[0], &p->largest[0]));
    return weigh_positions(p, p->words[0], p->positions, &p->largest[1]);
}

/* --- fields --- */

/* Where the parts of a coder go in its memory. */
struct places {
    struct code_field *field;
    const struct code_table *table_of[CODE_POSITIONS_MAX];   /* by alphabet; NULL */
    const struct code_digits *digits_of[CODE_POSITIONS_MAX]; /* by alphabet; NULL */
};

enum { DIGITS_MIN = 4, DIGITS_MAX = 16, BYTES_MAX = 8 };

/* How many positions from `i` on make one field of `kind`; 0: that one is of another kind. */
static unsigned field_size(const struct parsed *p, const struct places *places, enum code_field_kind kind, unsigned i,
                           unsigned last)
{
    unsigned own = p->which[i], size = 1;
    bool digits = places->digits_of[own] != NULL;
    if (digits) {
        while (size < DIGITS_MAX && i + size < last && p->which[i + size] == own)
            size++;
        digits = size >= DIGITS_MIN;
    }
    if (kind == CODE_FIELD_DIGITS)
        return digits ? size : 0;
    if (digits || p->kinds[own] != kind)
        return 0;
    size = 1;
    while (kind != CODE_FIELD_TABLE && size < BYTES_MAX && i + size < last && p->kinds[p->which[i + size]] == kind)
        size++;
    return size;
}

/* Sorts the positions of a word by kind, and joins neighbours into fields. */
static void make_word(const struct parsed *p, struct places *places, const struct code_position *position,
                      unsigned first, unsigned last, struct code_word *word)
{
    word->field = places->field;
    word->first = first;
    word->last = last;
    for (enum code_field_kind kind = 0; kind < CODE_FIELD_KINDS; kind++)
        for (unsigned i = first, size = 0; i < last; i += size) {
            size = field_size(p, places, kind, i, last);
            if (size == 0) { /* all that would be joined is of another kind */
                for (enum code_field_kind other = 0; size == 0; other++)
                    size = field_size(p, places, other, i, last);
                continue;
            }
            struct code_field field = {.weight = position[i + size - 1].weight,
                                       .end = (uint16_t)(p->prefix_size + i + size),
                                       .size = (uint8_t)size};
            field.from = field.end > BYTES_MAX ? field.end - BYTES_MAX : 0;
            field.drop = (uint8_t)(8 * (field.from + BYTES_MAX - field.end));
            word->padded |= kind == CODE_FIELD_DIGITS && field.end < DIGITS_MAX;
            if (kind == CODE_FIELD_DIGITS)
                field.digits = places->digits_of[p->which[i]];
            else if (kind == CODE_FIELD_TABLE)
                field.rank = position[i].table->rank;
            for (unsigned j = 0; kind == CODE_FIELD_FIXED && j < size; j++)
                field.expected = field.expected << 8 | position[i + j].only;
            *places->field++ = field;
            word->fields[kind]++;
        }
}

static plsm_status make_coder(const struct parsed *p, bool vectors, struct coder *out)
{
    struct coder c = {.positions = p->positions};
    struct places places = {0};
    struct code_digits digits[CODE_POSITIONS_MAX];
    bool described[CODE_POSITIONS_MAX];
    unsigned tables = 0, digit_count = 0;
    for (unsigned i = 0; i < p->alphabet_count; i++) {
        tables += p->kinds[i] == CODE_FIELD_TABLE;
        described[i] = vectors && describe_digits(&p->alphabets[i], &digits[digit_count]);
        digit_count += described[i];
    }
    c.memory_size = p->positions * (sizeof *c.position + sizeof *places.field) + digit_count * sizeof *digits +
                    tables * sizeof(struct code_table) + p->prefix_size + 1;
    c.memory = mem_alloc(c.memory_size);
    if (!c.memory)
        return fail(PLSM_NO_MEMORY, "learned index: no memory for its alphabets");
    c.position = (struct code_position *)c.memory; /* in falling order of alignment */
    places.field = (struct code_field *)(c.position + p->positions);
    struct code_digits *digits_at = (struct code_digits *)(places.field + p->positions);
    struct code_table *table = (struct code_table *)(digits_at + digit_count);
    memcpy(digits_at, digits, digit_count * sizeof *digits);
    for (unsigned i = 0; i < p->alphabet_count; i++) {
        if (p->kinds[i] == CODE_FIELD_TABLE) {
            fill_table(&p->alphabets[i], table);
            places.table_of[i] = table++;
        }
        if (described[i])
            places.digits_of[i] = digits_at++;
    }
    for (unsigned i = 0; i < p->positions; i++) {
        unsigned own = p->which[i];
        c.position[i] = (struct code_position){.weight = p->weights[i], .table = places.table_of[own]};
        c.position[i].whole = p->kinds[own] == CODE_FIELD_WIDE;
        c.position[i].only = p->kinds[own] == CODE_FIELD_FIXED ? (uint8_t)lowest_byte(p->alphabets[own].bytes) : 0;
    }
    for (unsigned w = 0, first = 0; w < CODE_WORDS; first += p->words[w++]) {
        make_word(p, &places, c.position, first, first + p->words[w], &c.word[w]);
        c.word[w].largest = p->largest[w];
    }
    uint8_t *prefix = (uint8_t *)table;
    if (p->prefix_size)
        memcpy(prefix, p->prefix, p->prefix_size);
    c.prefix = slice(prefix, p->prefix_size);
    *out = c;
    return PLSM_OK;
}

static plsm_status parse_coder(const uint8_t **at, const uint8_t *end, bool vectors, struct coder *out)
{
    struct parsed p = {0};
    *out = (struct coder){0};
    TRY(parse(at, end, &p));
    return make_coder(&p, vectors, out);
}

plsm_status coder_parse(const uint8_t **at, const uint8_t *end, struct coder *out)
{
    return parse_coder(at, end, have_vectors(), out);
}

plsm_status coder_parse_portable(const uint8_t **at, const uint8_t *end, struct coder *out)
{
    return parse_coder(at, end, false, out);
}

void coder_free(struct coder *c)
{
    mem_free(c->memory);
    *c = (struct coder){0};
}

size_t coder_memory(const struct coder *c)
{
    return c->memory_size;
}

/* --- coding --- */

/* The definition, digit by digit: for keys that end inside the word and keys with bytes outside the alphabets. */
static uint64_t code_by_digits(const struct coder *c, const struct code_word *word, plsm_slice key,
                               enum code_state *state)
{
    uint64_t code = 0;
    const uint8_t *bytes = (const uint8_t *)key.data + c->prefix.size;
    size_t size = key.size - c->prefix.size;
    *state = CODE_WITHIN;
    for (unsigned i = word->first; i < word->last; i++) {
        const struct code_position *position = &c->position[i];
        if (i >= size) {
            *state = CODE_BELOW;
            return code;
        }
        unsigned byte = bytes[i], rank = 0;
        if (position->table)
            rank = position->table->rank[byte];
        else if (position->whole)
            rank = byte;
        else if (byte != position->only)
            rank = byte < position->only ? CODE_OUTSIDE : CODE_OUTSIDE | CODE_ABOVE_ALL;
        code += (rank & CODE_RANK_MASK) * position->weight;
        if (rank & CODE_ABOVE_ALL) {
            *state = CODE_ABOVE;
            return code + (position->weight - 1); /* weight - 1 is the sum of the largest digits behind */
        }
        if (rank & CODE_OUTSIDE) {
            *state = CODE_BELOW;
            return code;
        }
    }
    return code;
}

#if defined(__x86_64__)
/* The number that `size` digits in front of `end` make: bytes to ranks by ranges, then pairs of digits to digits of
 * twice the size, as decimal numbers are often read. *outside becomes not 0 when some byte is no digit. */
__attribute__((target("ssse3,sse4.1"))) static uint64_t code_digits(const struct code_digits *d, const uint8_t *end,
                                                                    unsigned size, unsigned *outside)
{
    /* The first of 16 lanes that are digits; those in front of it are other bytes of the key. */
    const __m128i lanes = _mm_setr_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    __m128i used = _mm_cmpgt_epi8(lanes, _mm_set1_epi8((char)(15 - (int)size)));
    __m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)(end - 16)), ranks = _mm_setzero_si128();
    __m128i inside = _mm_setzero_si128();
    for (unsigned i = 0; i < d->ranges; i++) {
        __m128i step = _mm_sub_epi8(bytes, _mm_set1_epi8((char)d->low[i]));
        __m128i in = _mm_cmpeq_epi8(_mm_min_epu8(step, _mm_set1_epi8((char)d->span[i])), step);
        ranks = _mm_or_si128(ranks, _mm_and_si128(in, _mm_add_epi8(step, _mm_set1_epi8((char)d->rank[i]))));
        inside = _mm_or_si128(inside, in);
    }
    *outside |= (unsigned)_mm_movemask_epi8(_mm_andnot_si128(inside, used));
    ranks = _mm_and_si128(ranks, used);
    __m128i pairs = _mm_maddubs_epi16(ranks, _mm_set1_epi16((short)(1 << 8 | d->radix)));
    __m128i fours = _mm_madd_epi16(pairs, _mm_set1_epi32((int)(1u << 16 | d->radix2)));
    uint64_t radix4 = d->radix4;
    uint64_t number = (uint32_t)_mm_extract_epi32(fours, 0) * radix4 + (uint32_t)_mm_extract_epi32(fours, 1);
    number = number * radix4 + (uint32_t)_mm_extract_epi32(fours, 2);
    return number * radix4 + (uint32_t)_mm_extract_epi32(fours, 3);
}
#else
static uint64_t code_digits(const struct code_digits *d, const uint8_t *end, unsigned size, unsigned *outside)
{
    (void)d, (void)end, (void)size, (void)outside;
    INVARIANT(!"a coder has fields for vector instructions where there are none");
    return 0;
}
#endif

/* The bytes of a field as a number, in a key of 8 bytes at least. */
static inline uint64_t field_bytes(const struct code_field *f, const uint8_t *key)
{
    return get_be64(key + f->from) >> f->drop & (UINT64_MAX >> (64 - 8 * f->size));
}

static inline uint64_t word_code(const struct coder *c, const struct code_word *word, plsm_slice key,
                                 enum code_state *state)
{
    const uint8_t *bytes = key.data, *eight = bytes;
    uint8_t padded[DIGITS_MAX + DIGITS_MAX], longer[BYTES_MAX] = {0};
    if (__builtin_expect(key.size < c->prefix.size + word->last, 0))
        return code_by_digits(c, word, key, state);
    if (word->padded) {
        /* Loads that would begin in front of the key end within its first DIGITS_MAX bytes. */
        memset(padded, 0, DIGITS_MAX);
        memcpy(padded + DIGITS_MAX, key.data, key.size < DIGITS_MAX ? key.size : DIGITS_MAX);
    }
    if (__builtin_expect(key.size < BYTES_MAX, 0)) { /* no field reaches behind the key */
        copy_short(longer, bytes, key.size);
        eight = longer;
    }
    uint64_t code = 0, unexpected = 0;
    unsigned ranks = 0, outside = 0;
    const struct code_field *f = word->field, *end = f + word->fields[CODE_FIELD_DIGITS];
    for (; f < end; f++)
        code += f->weight * code_digits(f->digits, f->end < DIGITS_MAX ? padded + DIGITS_MAX + f->end : bytes + f->end,
                                        f->size, &outside);
    for (end += word->fields[CODE_FIELD_TABLE]; f < end; f++) {
        unsigned rank = f->rank[bytes[f->end - 1]];
        ranks |= rank; /* marked ranks spoil the code, which is then not used */
        code += rank * f->weight;
    }
    for (end += word->fields[CODE_FIELD_WIDE]; f < end; f++)
        code += f->weight * field_bytes(f, eight);
    for (end += word->fields[CODE_FIELD_FIXED]; f < end; f++)
        unexpected |= field_bytes(f, eight) ^ f->expected;
    if (__builtin_expect((unexpected | outside | (ranks & CODE_OUTSIDE)) != 0, 0))
        return code_by_digits(c, word, key, state);
    *state = CODE_WITHIN;
    return code;
}

uint64_t coder_code(const struct coder *c, plsm_slice key, enum code_state *state)
{
    return word_code(c, &c->word[0], key, state);
}

uint64_t coder_code_next(const struct coder *c, plsm_slice key, enum code_state state)
{
    if (state != CODE_WITHIN)
        return state == CODE_BELOW ? 0 : c->word[1].largest;
    return word_code(c, &c->word[1], key, &state);
}
