/* Serialized coder, little-endian:
 *    0  u16  prefix size
 *    2  u8   positions, 0 to 64
 *    3  u8   alphabets, 0 to 64
 *    4       the prefix
 *            one byte per position: which alphabet
 *            each alphabet:
 *            u8   bits 0-6: ranges of bytes; 0: a bit set follows instead. Bit 7: keys may end here
 *            u8 first, u8 last  of each range, ascending; or 32 bytes, byte b at bit b % 8 of byte b / 8
 *
 * The radix of a position is the number of bytes in its alphabet, plus one where keys may end. The product of all
 * radixes is at most 2^64. The last position has weight 1, each other the weight of the one behind times its radix. */
#include "base/alloc.h"
#include "base/error.h"
#include "learn/codes.h"

#include "base/banned.h"

enum {
    HEADER_SIZE = 4,
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
    unsigned used = 0, count = 0;
    unsigned __int128 product = 1;
    if (prefix.size > PREFIX_SIZE_MAX)
        return fail(PLSM_INVALID, "learned index: a prefix of %zu bytes is too long", prefix.size);
    for (; used < positions && used < CODE_POSITIONS_MAX; used++) {
        struct alphabet a = choose_alphabet(t, used);
        if (radix_of(&a) == 0 || product * radix_of(&a) > (unsigned __int128)1 << 64)
            break;
        product *= radix_of(&a);
        unsigned same = 0;
        while (same < count &&
               (a.ends != alphabets[same].ends || memcmp(a.bytes, alphabets[same].bytes, sizeof a.bytes) != 0))
            same++;
        if (same == count)
            alphabets[count++] = a;
        which[used] = (uint8_t)same;
    }
    uint8_t header[HEADER_SIZE] = {0, 0, (uint8_t)used, (uint8_t)count};
    put_u16(header, (uint16_t)prefix.size);
    TRY(buf_append(out, header, sizeof header));
    TRY(buf_append(out, prefix.data, prefix.size));
    TRY(buf_append(out, which, used));
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
            table->rank[byte] = (uint16_t)(rank > largest ? largest | CODE_OUTSIDE | CODE_ABOVE : rank | CODE_OUTSIDE);
    }
}

static enum code_field_kind kind_of(const struct alphabet *a)
{
    unsigned bytes = byte_count(a->bytes);
    if (a->ends || (bytes != 1 && bytes != 256))
        return CODE_FIELD_TABLE;
    return bytes == 1 ? CODE_FIELD_FIXED : CODE_FIELD_WIDE;
}

static unsigned lowest_byte(const uint64_t set[4])
{
    unsigned byte = 0;
    while (byte < 255 && !has_byte(set, byte))
        byte++;
    return byte;
}

/* Sorts positions by kind, and joins neighbours that need no table into fields of up to 8 bytes. */
static void make_fields(struct coder *c, const enum code_field_kind *kinds)
{
    unsigned count = 0;
    for (enum code_field_kind kind = 0; kind < CODE_FIELD_KINDS; kind++) {
        unsigned first = count;
        for (unsigned i = 0; i < c->positions; i++) {
            const struct code_position *position = &c->position[i];
            if (kinds[i] != kind)
                continue;
            struct code_field *before = count > first ? &c->field[count - 1] : NULL;
            if (kind != CODE_FIELD_TABLE && before && before->position + before->size == (int)i && before->size < 8) {
                before->size++;
                before->shift -= 8;
                before->weight = position->weight;
                before->expected = before->expected << 8 | position->only;
                continue;
            }
            struct code_field field = {
                .weight = position->weight, .expected = position->only, .position = (uint8_t)i, .size = 1, .shift = 56};
            if (kind == CODE_FIELD_TABLE)
                field.rank = position->table->rank;
            c->field[count++] = field;
        }
        c->fields[kind] = count - first;
    }
}

/* What a serialized coder says, before it is given memory. */
struct parsed {
    struct alphabet alphabets[CODE_POSITIONS_MAX];
    enum code_field_kind kinds[CODE_POSITIONS_MAX]; /* of the alphabets */
    uint64_t weights[CODE_POSITIONS_MAX];           /* of the positions */
    const uint8_t *prefix, *which;                  /* which alphabet each position has */
    size_t prefix_size;
    unsigned positions, alphabet_count, table_count;
};

static plsm_status weigh_positions(struct parsed *p)
{
    unsigned __int128 weight = 1;
    for (unsigned i = p->positions; i-- > 0;) {
        /* 2^64 is reached only where all positions in front of it have radix 1 and digit 0: its weight is not used. */
        p->weights[i] = (uint64_t)weight;
        weight *= radix_of(&p->alphabets[p->which[i]]);
        if (weight > (unsigned __int128)1 << 64)
            return malformed("alphabets do not fit into 64 bits");
    }
    return PLSM_OK;
}

static plsm_status parse(const uint8_t **at, const uint8_t *end, struct parsed *p)
{
    const uint8_t *from = *at;
    if (end - from < HEADER_SIZE)
        return malformed("the coder is cut off");
    p->prefix_size = get_u16(from);
    p->positions = from[2];
    p->alphabet_count = from[3];
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
        p->table_count += p->kinds[i] == CODE_FIELD_TABLE;
    }
    *at = from;
    return weigh_positions(p);
}

plsm_status coder_parse(const uint8_t **at, const uint8_t *end, struct coder *out)
{
    struct parsed p = {0};
    struct coder c = {0};
    const struct code_table *table_of[CODE_POSITIONS_MAX] = {NULL};
    enum code_field_kind kinds[CODE_POSITIONS_MAX];
    *out = c;
    TRY(parse(at, end, &p));
    c.positions = p.positions;
    c.memory_size = p.positions * (sizeof *c.position + sizeof *c.field) + p.table_count * sizeof(struct code_table) +
                    p.prefix_size + 1;
    c.memory = mem_alloc(c.memory_size);
    if (!c.memory)
        return fail(PLSM_NO_MEMORY, "learned index: no memory for its alphabets");
    c.position = (struct code_position *)c.memory; /* in falling order of alignment */
    c.field = (struct code_field *)(c.position + p.positions);
    struct code_table *table = (struct code_table *)(c.field + p.positions);
    for (unsigned i = 0; i < p.alphabet_count; i++) {
        if (p.kinds[i] == CODE_FIELD_TABLE) {
            fill_table(&p.alphabets[i], table);
            table_of[i] = table++;
        }
    }
    for (unsigned i = 0; i < p.positions; i++) {
        unsigned own = p.which[i];
        kinds[i] = p.kinds[own];
        c.position[i] = (struct code_position){.weight = p.weights[i], .table = table_of[own]};
        c.position[i].whole = kinds[i] == CODE_FIELD_WIDE;
        c.position[i].only = kinds[i] == CODE_FIELD_FIXED ? (uint8_t)lowest_byte(p.alphabets[own].bytes) : 0;
    }
    make_fields(&c, kinds);
    uint8_t *prefix = (uint8_t *)table;
    if (p.prefix_size)
        memcpy(prefix, p.prefix, p.prefix_size);
    c.prefix = slice(prefix, p.prefix_size);
    *out = c;
    return PLSM_OK;
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

/* The definition, digit by digit: for keys shorter than the window and keys with bytes outside the alphabets. */
static uint64_t code_by_digits(const struct coder *c, const uint8_t *bytes, size_t size)
{
    uint64_t code = 0;
    size_t positions = size < c->positions ? size : c->positions;
    for (size_t i = 0; i < positions; i++) {
        const struct code_position *position = &c->position[i];
        unsigned byte = bytes[i], rank = 0;
        if (position->table)
            rank = position->table->rank[byte];
        else if (position->whole)
            rank = byte;
        else if (byte != position->only)
            rank = byte < position->only ? CODE_OUTSIDE : CODE_OUTSIDE | CODE_ABOVE;
        code += (rank & CODE_RANK_MASK) * position->weight;
        if (rank & CODE_ABOVE)
            return code + (position->weight - 1); /* weight - 1 is the sum of the largest digits behind */
        if (rank & CODE_OUTSIDE)
            return code;
    }
    return code;
}

uint64_t coder_code(const struct coder *c, plsm_slice rest)
{
    const uint8_t *bytes = rest.data;
    uint8_t padded[CODE_POSITIONS_MAX + 8];
    if (rest.size < c->positions)
        return code_by_digits(c, bytes, rest.size);
    if (rest.size < c->positions + 8) { /* fields are loaded 8 bytes at a time */
        memcpy(padded, bytes, c->positions);
        memset(padded + c->positions, 0, 8);
        bytes = padded;
    }
    uint64_t code = 0, unexpected = 0;
    unsigned ranks = 0;
    const struct code_field *f = c->field, *end = f + c->fields[CODE_FIELD_TABLE];
    for (; f < end; f++) {
        unsigned rank = f->rank[bytes[f->position]];
        ranks |= rank; /* marked ranks spoil the code, which is then not used */
        code += rank * f->weight;
    }
    for (end += c->fields[CODE_FIELD_WIDE]; f < end; f++)
        code += (get_be64(bytes + f->position) >> f->shift) * f->weight;
    for (end += c->fields[CODE_FIELD_FIXED]; f < end; f++)
        unexpected |= (get_be64(bytes + f->position) >> f->shift) ^ f->expected;
    if (unexpected | (ranks & CODE_OUTSIDE))
        return code_by_digits(c, rest.data, rest.size);
    return code;
}
