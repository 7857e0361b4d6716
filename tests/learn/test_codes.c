/* Codes never contradict the order of keys, and the piecewise linear model puts every border where it belongs.
 *
 * PLSM_TEST_CODE_PAIRS sets how many random pairs of strings are compared (10,000,000 unless set). */
#include <check.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/random.h"
#include "learn/codes.h"
#include "learn/plr.h"

#include "tests/harness/pool.h"

#include "base/banned.h"

enum { SEED = 20240607, STRING_MAX = 90, PAIRS_PER_CODER = 20000 };

struct string {
    size_t size;
    uint8_t bytes[STRING_MAX];
};

static plsm_slice slice_string(const struct string *s)
{
    return slice(s->bytes, s->size);
}

/* --- codes --- */

/* Bytes of one style: dense ranges, sparse ones, everything, only the ends of the range. */
static uint8_t random_byte(struct random *random, unsigned style)
{
    static const uint8_t ends[] = {0, 1, 2, 0x7f, 0x80, 0xfd, 0xfe, 0xff};
    switch (style % 6) {
    case 0:
        return (uint8_t)random_next(random);
    case 1:
        return (uint8_t)('0' + random_below(random, 10));
    case 2:
        return ends[random_below(random, 8)];
    case 3:
        return (uint8_t)(0x40 + 3 * random_below(random, 20));
    case 4:
        return 'c';
    default:
        return random_below(random, 50) ? 'm' : (uint8_t)random_next(random);
    }
}

/* What a coder is trained on: per position a style, and lengths that vary or do not. */
struct population {
    unsigned styles[STRING_MAX];
    size_t size_min, size_spread;
};

static struct string draw(struct random *random, const struct population *p)
{
    struct string s = {.size = p->size_min + random_below(random, p->size_spread)};
    for (size_t i = 0; i < s.size; i++)
        s.bytes[i] = random_byte(random, p->styles[i]);
    return s;
}

/* Something near `s`: what a key that was not trained on may look like. */
static struct string disturb(struct random *random, struct string s)
{
    for (uint64_t changes = random_below(random, 4); changes > 0; changes--) {
        size_t at = s.size ? random_below(random, s.size) : 0;
        switch (random_below(random, 6)) {
        case 0:
            s.bytes[at]++;
            break;
        case 1:
            s.bytes[at]--;
            break;
        case 2:
            s.bytes[at] = random_byte(random, (unsigned)random_next(random) % 6);
            break;
        case 3:
            s.size = at;
            break;
        case 4:
            if (s.size < STRING_MAX)
                s.bytes[s.size++] = random_byte(random, 2);
            break;
        default:
            while (s.size < STRING_MAX && random_below(random, 4))
                s.bytes[s.size++] = random_byte(random, 0);
            break;
        }
    }
    return s;
}

static struct population random_population(struct random *random)
{
    struct population p = {.size_min = random_below(random, 20), .size_spread = 1};
    unsigned style = (unsigned)random_below(random, 6);
    for (size_t i = 0; i < STRING_MAX; i++) {
        if (random_below(random, 3) == 0)
            style = (unsigned)random_below(random, 6);
        p.styles[i] = style;
    }
    if (random_below(random, 2))
        p.size_spread = 1 + random_below(random, STRING_MAX - p.size_min);
    return p;
}

/* A key as coders take it: the prefix, then a string. */
struct key {
    size_t size;
    uint8_t bytes[6 + STRING_MAX];
};

static plsm_slice key_of(struct key *key, plsm_slice prefix, plsm_slice rest)
{
    memcpy(key->bytes, prefix.data, prefix.size);
    memcpy(key->bytes + prefix.size, rest.data, rest.size);
    key->size = prefix.size + rest.size;
    return slice(key->bytes, key->size);
}

struct words {
    uint64_t first, second;
};

static struct words code_of(const struct coder *coder, plsm_slice rest)
{
    struct key key;
    enum code_state state = CODE_WITHIN;
    plsm_slice whole = key_of(&key, coder->prefix, rest);
    struct words w = {.first = coder_code(coder, whole, &state)};
    w.second = coder_code_next(coder, whole, state);
    return w;
}

static int compare_words(struct words a, struct words b)
{
    if (a.first != b.first)
        return a.first < b.first ? -1 : 1;
    return (a.second > b.second) - (a.second < b.second);
}

/* Both ways to code. */
struct coders {
    struct coder coder, portable;
};

static void coders_free(struct coders *c)
{
    coder_free(&c->coder);
    coder_free(&c->portable);
}

static struct coders parse_coders(const struct buf *bytes)
{
    struct coders c = {0};
    const uint8_t *at = bytes->data, *again = at;
    ck_assert_msg(coder_parse(&at, at + bytes->size, &c.coder) == PLSM_OK, "%s", plsm_message());
    ck_assert_int_eq(coder_parse_portable(&again, again + bytes->size, &c.portable), PLSM_OK);
    ck_assert_ptr_eq(at, bytes->data + bytes->size);
    ck_assert_ptr_eq(at, again);
    for (int w = 0; w < CODE_WORDS; w++)
        ck_assert_uint_eq(c.portable.word[w].fields[CODE_FIELD_DIGITS], 0);
    return c;
}

static struct coders train_coder(struct random *random, const struct population *p, unsigned positions)
{
    struct code_training training;
    struct buf bytes = {0};
    size_t prefix_size = random_below(random, 3) * 3; /* loads go backward: how much is in front matters */
    code_training_start(&training);
    for (uint64_t i = 1 + random_below(random, random_below(random, 2) ? 5 : 500); i > 0; i--) {
        struct string s = draw(random, p);
        code_training_note(&training, slice_string(&s));
    }
    plsm_slice prefix = slice("prefix", prefix_size);
    ck_assert_int_eq(code_training_finish(&training, prefix, positions, &bytes), PLSM_OK);
    struct coders coders = parse_coders(&bytes);
    ck_assert(slice_equal(coders.coder.prefix, prefix));
    buf_free(&bytes);
    return coders;
}

/* Pairs of strings that agree up to somewhere, where most mistakes would be. */
static void check_pairs(struct random *random, const struct coders *coders, const struct population *p, uint64_t seed,
                        uint64_t pairs, uint64_t *distinct)
{
    for (uint64_t i = 0; i < pairs; i++) {
        struct string a = draw(random, p), b = random_below(random, 2) ? draw(random, p) : a;
        if (random_below(random, 4))
            a = disturb(random, a);
        if (random_below(random, 4))
            b = disturb(random, b);
        if (random_below(random, 2)) {
            size_t same = random_below(random, 1 + (a.size < b.size ? a.size : b.size));
            memcpy(b.bytes, a.bytes, same);
        }
        int order = slice_compare(slice_string(&a), slice_string(&b));
        struct words code_a = code_of(&coders->coder, slice_string(&a)),
                     code_b = code_of(&coders->coder, slice_string(&b));
        int codes = compare_words(code_a, code_b);
        if ((order < 0 && codes > 0) || (order > 0 && codes < 0) || (order == 0 && codes != 0))
            ck_abort_msg("seed %" PRIu64 ", pair %" PRIu64 ": order %d but codes %" PRIx64 ".%" PRIx64 " and %" PRIx64
                         ".%" PRIx64,
                         seed, i, order, code_a.first, code_a.second, code_b.first, code_b.second);
        if (compare_words(code_a, code_of(&coders->portable, slice_string(&a))) != 0)
            ck_abort_msg("seed %" PRIu64 ", pair %" PRIu64 ": the two ways to code differ", seed, i);
        *distinct += code_a.first != code_b.first;
    }
}

START_TEST(codes_never_contradict_the_order)
{
    const char *wanted = getenv("PLSM_TEST_CODE_PAIRS");
    uint64_t pairs = wanted ? strtoull(wanted, NULL, 10) : thinned(10000000), distinct = 0, digits = 0, seconds = 0;
    for (uint64_t done = 0, seed = SEED; done < pairs; done += PAIRS_PER_CODER, seed++) {
        struct random random;
        random_seed(&random, seed);
        struct population p = random_population(&random);
        struct coders coders = train_coder(&random, &p, 1 + (unsigned)random_below(&random, CODE_POSITIONS_MAX));
        check_pairs(&random, &coders, &p, seed, PAIRS_PER_CODER, &distinct);
        digits += coders.coder.word[0].fields[CODE_FIELD_DIGITS];
        seconds += coders.coder.word[1].last > coders.coder.word[1].first;
        coders_free(&coders);
    }
    ck_assert_uint_gt(distinct, pairs / 4); /* a code that is always the same would pass otherwise */
    ck_assert_uint_gt(seconds, 10);
#if defined(__x86_64__)
    ck_assert_uint_gt(digits, 10);
#endif
}
END_TEST

/* The definition, written down a second time in the plainest way: digits in a list, then summed up. */
static struct words code_by_definition(const bool alphabet[][256], const bool *ends, const struct coder *coder,
                                       plsm_slice rest)
{
    unsigned __int128 code = 0, first = 0;
    enum { EXACT, LEAST, LARGEST } then = EXACT;
    for (unsigned i = 0; i < coder->positions; i++) {
        if (i == coder->word[1].first) {
            first = code;
            code = 0;
        }
        unsigned radix = ends[i], rank = ends[i], digit = 0;
        bool present = false, larger = false;
        for (unsigned byte = 0; byte < 256; byte++)
            radix += alphabet[i][byte];
        if (then == EXACT && i < rest.size) {
            unsigned own = ((const uint8_t *)rest.data)[i];
            for (unsigned byte = 0; byte < own; byte++)
                rank += alphabet[i][byte];
            for (unsigned byte = own + 1; byte < 256; byte++)
                larger |= alphabet[i][byte];
            present = alphabet[i][own];
            digit = present || larger ? rank : radix - 1;
            then = present ? EXACT : larger ? LEAST : LARGEST;
        } else if (then == EXACT) {
            then = LEAST;
        } else {
            digit = then == LEAST ? 0 : radix - 1;
        }
        code = code * radix + digit;
    }
    if (coder->positions == coder->word[1].first) {
        first = code;
        code = 0;
    }
    ck_assert(code <= UINT64_MAX && first <= UINT64_MAX);
    return (struct words){(uint64_t)first, (uint64_t)code};
}

/* Alphabets small enough not to be rounded up, so that the definition above can know them. */
START_TEST(codes_are_as_defined)
{
    for (uint64_t seed = SEED; seed < SEED + 300; seed++) {
        static bool alphabet[CODE_POSITIONS_MAX][256];
        bool ends[CODE_POSITIONS_MAX] = {false};
        struct random random;
        struct code_training training;
        struct buf bytes = {0};
        random_seed(&random, seed);
        memset(alphabet, 0, sizeof alphabet);
        code_training_start(&training);
        uint8_t step = (uint8_t)(5 + random_below(&random, 40));
        size_t longest = 1 + random_below(&random, 50), shortest = longest - random_below(&random, longest);
        for (unsigned i = 0; i < 200; i++) {
            struct string s = {.size = i ? shortest + random_below(&random, longest - shortest + 1) : longest};
            for (size_t k = 0; k < s.size; k++) {
                s.bytes[k] = (uint8_t)(step * random_below(&random, k % 5 ? 3 : 1 + k));
                alphabet[k][s.bytes[k]] = true;
            }
            for (size_t k = s.size; k < longest; k++)
                ends[k] = true;
            code_training_note(&training, slice_string(&s));
        }
        ck_assert_int_eq(code_training_finish(&training, slice_of(""), (unsigned)longest, &bytes), PLSM_OK);
        struct coders coders = parse_coders(&bytes);
        ck_assert_uint_ge(coders.coder.positions, 1);
        for (unsigned i = 0; i < 2000; i++) {
            struct string s = {.size = random_below(&random, longest + 10)};
            for (size_t k = 0; k < s.size; k++)
                s.bytes[k] = (uint8_t)(step * random_below(&random, 4) + !random_below(&random, 8));
            struct words expected = code_by_definition(alphabet, ends, &coders.coder, slice_string(&s));
            struct words code = code_of(&coders.coder, slice_string(&s));
            if (compare_words(code, expected) != 0 ||
                compare_words(code_of(&coders.portable, slice_string(&s)), expected) != 0)
                ck_abort_msg("seed %" PRIu64 ", string %u: code %" PRIx64 ".%" PRIx64 " instead of %" PRIx64
                             ".%" PRIx64,
                             seed, i, code.first, code.second, expected.first, expected.second);
        }
        coders_free(&coders);
        buf_free(&bytes);
    }
}
END_TEST

START_TEST(random_bytes_use_all_64_bits)
{
    struct random random;
    struct population p = {.size_min = 16, .size_spread = 1};
    struct string low = {.size = 16}, high = {.size = 16};
    random_seed(&random, SEED);
    struct code_training training;
    struct buf bytes = {0};
    struct coder coder = {0};
    code_training_start(&training);
    for (int i = 0; i < 5000; i++) {
        struct string s = draw(&random, &p);
        code_training_note(&training, slice_string(&s));
    }
    ck_assert_int_eq(code_training_finish(&training, slice_of(""), CODE_POSITIONS_MAX, &bytes), PLSM_OK);
    const uint8_t *at = bytes.data;
    ck_assert_int_eq(coder_parse(&at, at + bytes.size, &coder), PLSM_OK);
    memset(high.bytes, 0xff, sizeof high.bytes);
    ck_assert_uint_eq(coder.positions, 16);
    for (int w = 0; w < CODE_WORDS; w++) {
        ck_assert_uint_eq(coder.word[w].fields[CODE_FIELD_WIDE], 1);
        ck_assert_uint_eq(coder.word[w].fields[CODE_FIELD_TABLE], 0);
    }
    struct words lowest = code_of(&coder, slice_string(&low)), highest = code_of(&coder, slice_string(&high));
    ck_assert(lowest.first == 0 && lowest.second == 0);
    ck_assert(highest.first == UINT64_MAX && highest.second == UINT64_MAX);
    struct string some = draw(&random, &p);
    struct words code = code_of(&coder, slice_string(&some));
    ck_assert(code.first == get_be64(some.bytes) && code.second == get_be64(some.bytes + 8));
    coder_free(&coder);
    buf_free(&bytes);
}
END_TEST

/* Keys of every size in memory of just that size, for ASan, with a window that ends in one byte that is taken whole. */
START_TEST(no_byte_behind_a_key_is_read)
{
    struct code_training training;
    struct buf bytes = {0};
    struct coder coder = {0};
    struct random random;
    random_seed(&random, SEED);
    code_training_start(&training);
    for (unsigned i = 0; i < 3000; i++) {
        struct string s = {.size = 9};
        put_be64(s.bytes + 1, random_next(&random));
        s.bytes[0] = 'a';
        s.bytes[1] = (uint8_t)('b' + i % 7);
        code_training_note(&training, slice_string(&s));
    }
    ck_assert_int_eq(code_training_finish(&training, slice_of(""), 3, &bytes), PLSM_OK);
    const uint8_t *at = bytes.data;
    ck_assert_int_eq(coder_parse(&at, at + bytes.size, &coder), PLSM_OK);
    ck_assert_uint_gt(coder.word[0].fields[CODE_FIELD_WIDE], 0);
    ck_assert_uint_gt(coder.word[0].fields[CODE_FIELD_TABLE], 0);
    ck_assert_uint_gt(coder.word[0].fields[CODE_FIELD_FIXED], 0);
    uint64_t before = 0;
    for (size_t size = 1; size < 40; size++) {
        uint8_t *key = malloc(size);
        memset(key, 'c', size);
        key[0] = 'a';
        enum code_state state = CODE_WITHIN;
        uint64_t code = coder_code(&coder, slice(key, size), &state);
        ck_assert_uint_eq(coder_code_next(&coder, slice(key, size), state), 0); /* there is none */
        ck_assert_uint_ge(code, before);
        ck_assert(size <= 3 || code == before); /* the window is 3 */
        before = code;
        free(key);
    }
    coder_free(&coder);
    buf_free(&bytes);
}
END_TEST

/* --- the piecewise linear model --- */

enum gaps { GAPS_EVEN, GAPS_RANDOM, GAPS_SKEWED, GAPS_TOUCHING, GAPS_TINY, GAPS_EXTREME, GAPS_BURSTS, GAPS_COUNT };

static uint64_t random_gap(struct random *random, enum gaps gaps)
{
    switch (gaps) {
    case GAPS_EVEN:
        return 1000;
    case GAPS_RANDOM:
        return 1 + random_below(random, UINT64_C(1) << 44);
    case GAPS_SKEWED:
        return 1 + (random_next(random) >> (18 + random_below(random, 46)));
    case GAPS_TOUCHING:
        return random_below(random, 2);
    case GAPS_TINY:
        return 1;
    case GAPS_BURSTS: /* crooked clusters far apart: many segments in few buckets */
        return random_below(random, 4000) ? 1 + (random_next(random) >> (44 + random_below(random, 20)))
                                          : UINT64_C(1) << 58;
    default:
        return random_below(random, 500) ? 1 : UINT64_C(1) << 54;
    }
}

/* Borders with such gaps between low and high and between one border and the next. */
static struct plr_borders random_borders(struct random *random, enum gaps gaps, uint32_t count)
{
    struct plr_borders b = {mem_alloc(count * 8 + 1), mem_alloc(count * 8 + 1), 0};
    uint64_t code = gaps == GAPS_EXTREME ? 0 : random_below(random, 1000);
    for (; b.count < count; b.count++) {
        uint64_t between = random_gap(random, gaps), across = random_gap(random, gaps);
        across += across == 0;
        if (code > UINT64_MAX - between - across)
            break;
        b.low[b.count] = code + between;
        b.high[b.count] = code = code + between + across;
    }
    return b;
}

START_TEST(ranks_are_exact_at_all_borders)
{
    static const uint32_t counts[] = {0, 1, 2, 3, 10, 100, 5000, 100000};
    for (unsigned c = 0; c < sizeof counts / sizeof *counts; c++) {
        struct random random;
        uint64_t seed = SEED + c;
        random_seed(&random, seed);
        struct plr_borders b = random_borders(&random, (enum gaps)_i, counts[c]);
        struct buf bytes = {0};
        struct plr plr = {0};
        ck_assert_int_eq(plr_train(&b, PLR_SEGMENTS, &(struct plr_limits){SIZE_MAX, UINT32_MAX}, &bytes), PLSM_OK);
        const uint8_t *at = bytes.data;
        ck_assert_msg(plr_parse(&at, at + bytes.size, &plr) == PLSM_OK, "%s", plsm_message());
        ck_assert_ptr_eq(at, bytes.data + bytes.size);
        ck_assert_uint_eq(plr.borders, b.count);
        for (uint32_t i = 0; i < b.count; i++) {
            uint32_t low = plr_rank(&plr, b.low[i]), high = plr_rank(&plr, b.high[i]);
            uint64_t next = i + 1 < b.count ? b.low[i + 1] : UINT64_MAX;
            uint64_t inside = b.high[i] + random_below(&random, next - b.high[i] + (next != UINT64_MAX));
            uint32_t after = plr_rank(&plr, inside);
            if (low != i || high != i + 1 || after != i + 1)
                ck_abort_msg("gaps %d, seed %" PRIu64 ", border %u: ranks %u, %u, %u", _i, seed, i + 1, low, high,
                             after);
        }
        ck_assert_uint_eq(plr_rank(&plr, 0), b.count && b.high[0] == 0 ? 1 : 0);
        ck_assert_uint_eq(plr_rank(&plr, UINT64_MAX), b.count);
        plr_free(&plr);
        buf_free(&bytes);
        mem_free(b.low);
        mem_free(b.high);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("codes");
    TCase *codes = tcase_create("codes"), *ranks = tcase_create("ranks");
    tcase_set_timeout(codes, 600);
    tcase_set_timeout(ranks, 120);
    tcase_add_test(codes, codes_never_contradict_the_order);
    tcase_add_test(codes, codes_are_as_defined);
    tcase_add_test(codes, random_bytes_use_all_64_bits);
    tcase_add_test(codes, no_byte_behind_a_key_is_read);
    tcase_add_loop_test(ranks, ranks_are_exact_at_all_borders, 0, GAPS_COUNT);
    suite_add_tcase(suite, codes);
    suite_add_tcase(suite, ranks);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
