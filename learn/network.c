/* Reading and evaluating a monotone network; network_train.c fits it.
 *
 * Serialized form, little-endian:
 *    0  u32  borders it was trained on
 *    4  u8   units, 0 to 64
 *    5  3 bytes  0
 *    8  u64  bias, in fine steps: 2^-20 of a page
 *   16       each unit:
 *            u8      e, 0 to 63: hinge and run are multiples of 2^e codes
 *            u32     weight: bits 0-23 times 2^-(bits 24-31, 0 to 63): fine steps per step of the unit's input, which
 *                    is clamp(code - hinge, 0, run), shifted right so that the largest one has 32 bits at most
 *            varint  run / 2^e; a run that goes on behind the last code of all ends with it
 *            varint  hinge / 2^e, minus (the hinge of the unit before) / 2^e rounded down
 *
 * The bias and the most that each unit can add sum up to no more than 2 pages per border. */
#include <assert.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "base/alloc.h"
#include "base/error.h"
#include "learn/network.h"
#include "learn/network_format.h"
#include "learn/network_private.h"

#include "base/banned.h"

enum { FACTOR_WEIGHT_SHIFT = 32, FACTOR_INPUT_SHIFT = 40, FACTOR_SHIFT_MASK = 0xff };
static_assert(NETWORK_WEIGHT_BITS <= 32 && FACTOR_WEIGHT_SHIFT >= 32, "one multiplication takes 32 bits of a factor");
/* Units give less than 2^56 each, and the bias is at most 2^53. */
static_assert(NETWORK_UNITS_MAX <= 64 && NETWORK_INPUT_BITS + NETWORK_WEIGHT_BITS <= 56, "sums stay within 64 bits");
static_assert(NETWORK_UNITS_MAX % NETWORK_LANES == 0, "all units fill whole vectors");

/* Codes as signed numbers of the same order. */
static inline int64_t to_signed(uint64_t code)
{
    return (int64_t)(code ^ (uint64_t)1 << 63);
}

static plsm_status malformed(const char *what)
{
    return fail(PLSM_CORRUPT, "learned index: %s; rebuild it with a compaction", what);
}

static bool have_vectors(void)
{
#if defined(__x86_64__)
    return __builtin_cpu_supports("avx2");
#else
    return false;
#endif
}

static plsm_status parse_header(const uint8_t *at, const uint8_t *end, struct network *net)
{
    if (end - at < NETWORK_HEADER_SIZE)
        return malformed("the network is cut off");
    net->borders = get_u32(at);
    net->units = at[4];
    net->bias = get_u64(at + 8);
    if (net->units > NETWORK_UNITS_MAX || at[5] != 0 || get_u16(at + 6) != 0)
        return malformed("the network has an impossible size");
    net->lanes = (net->units + NETWORK_LANES - 1) / NETWORK_LANES * NETWORK_LANES;
    net->vectors = have_vectors();
    return PLSM_OK;
}

static plsm_status reserve(struct network *net)
{
    if (net->lanes == 0)
        return PLSM_OK;
    net->memory = mem_zalloc(network_memory(net));
    if (!net->memory)
        return fail(PLSM_NO_MEMORY, "learned index: no memory for %zu bytes", network_memory(net));
    net->hinges = (const int64_t *)net->memory;
    net->ends = net->hinges + net->lanes;
    net->factors = (const uint64_t *)(net->ends + net->lanes);
    return PLSM_OK;
}

/* Reads unit number `unit`, behind the one whose hinge is *hinge; adds the most it can give to *top. */
static plsm_status parse_unit(struct network *net, uint32_t unit, const uint8_t **at, const uint8_t *end,
                              uint64_t *hinge, uint64_t *top)
{
    const uint8_t *from = *at;
    if (end - from < NETWORK_UNIT_SIZE)
        return malformed("the network is cut off");
    unsigned grid_shift = from[0], weight_shift = from[4];
    uint32_t weight = get_u32(from + 1) & ((1u << NETWORK_WEIGHT_BITS) - 1);
    uint64_t run = 0, more = 0;
    if (grid_shift > NETWORK_GRID_SHIFT_MAX || weight_shift > NETWORK_WEIGHT_SHIFT_MAX)
        return malformed("a unit of the network has an impossible shift");
    from = get_varint(from + NETWORK_UNIT_SIZE, end, &run);
    from = from ? get_varint(from, end, &more) : NULL;
    if (!from)
        return malformed("the network is cut off");
    if (run > UINT64_MAX >> grid_shift || more > (UINT64_MAX >> grid_shift) - (*hinge >> grid_shift))
        return malformed("a unit of the network lies beyond all codes");
    *hinge = ((*hinge >> grid_shift) + more) << grid_shift;
    run <<= grid_shift;
    run = run < UINT64_MAX - *hinge ? run : UINT64_MAX - *hinge;
    unsigned input_shift = network_input_shift(run);
    *top += network_output(run >> input_shift, weight, weight_shift);
    net->memory[unit] = (uint64_t)to_signed(*hinge);
    net->memory[net->lanes + unit] = (uint64_t)to_signed(*hinge + run);
    net->memory[2 * net->lanes + unit] =
        weight | (uint64_t)weight_shift << FACTOR_WEIGHT_SHIFT | (uint64_t)input_shift << FACTOR_INPUT_SHIFT;
    *at = from;
    return PLSM_OK;
}

plsm_status network_parse(const uint8_t **at, const uint8_t *end, struct network *out)
{
    const uint8_t *from = *at;
    struct network net = {0};
    *out = net;
    TRY(parse_header(from, end, &net));
    from += NETWORK_HEADER_SIZE;
    uint64_t limit = (2 * (uint64_t)net.borders) << NETWORK_FINE_BITS, hinge = 0, top = net.bias;
    if (net.bias > limit)
        return malformed("the network starts too high");
    plsm_status status = reserve(&net);
    for (uint32_t unit = 0; status == PLSM_OK && unit < net.units; unit++)
        status = parse_unit(&net, unit, &from, end, &hinge, &top);
    if (status == PLSM_OK && top > limit)
        status = malformed("the network ends too high");
    if (status) {
        network_free(&net);
        return status;
    }
    *out = net;
    *at = from;
    return PLSM_OK;
}

void network_free(struct network *net)
{
    mem_free(net->memory);
    *net = (struct network){0};
}

size_t network_memory(const struct network *net)
{
    return net->lanes * (sizeof *net->hinges + sizeof *net->ends + sizeof *net->factors);
}

static uint64_t sum_portable(const struct network *net, uint64_t code)
{
    int64_t at = to_signed(code);
    uint64_t sum = 0;
    for (uint32_t i = 0; i < net->units; i++) {
        int64_t hinge = net->hinges[i], end = net->ends[i], clamped = at > hinge ? at : hinge;
        clamped = clamped < end ? clamped : end;
        uint64_t factor = net->factors[i], input = (uint64_t)clamped - (uint64_t)hinge;
        input >>= factor >> FACTOR_INPUT_SHIFT;
        sum += network_output(input, (uint32_t)factor, factor >> FACTOR_WEIGHT_SHIFT & FACTOR_SHIFT_MASK);
    }
    return sum;
}

#if defined(__x86_64__)
__attribute__((target("avx2"))) static uint64_t sum_avx2(const struct network *net, uint64_t code)
{
    const __m256i at = _mm256_set1_epi64x(to_signed(code)), mask = _mm256_set1_epi64x(FACTOR_SHIFT_MASK);
    __m256i sum = _mm256_setzero_si256();
    for (uint32_t i = 0; i < net->lanes; i += NETWORK_LANES) {
        __m256i hinge = _mm256_loadu_si256((const void *)(net->hinges + i));
        __m256i end = _mm256_loadu_si256((const void *)(net->ends + i));
        __m256i factor = _mm256_loadu_si256((const void *)(net->factors + i));
        __m256i clamped = _mm256_blendv_epi8(hinge, at, _mm256_cmpgt_epi64(at, hinge));
        clamped = _mm256_blendv_epi8(clamped, end, _mm256_cmpgt_epi64(clamped, end));
        __m256i weight_shift = _mm256_and_si256(_mm256_srli_epi64(factor, FACTOR_WEIGHT_SHIFT), mask);
        __m256i input = _mm256_sub_epi64(clamped, hinge);
        input = _mm256_srlv_epi64(input, _mm256_srli_epi64(factor, FACTOR_INPUT_SHIFT));
        sum = _mm256_add_epi64(sum, _mm256_srlv_epi64(_mm256_mul_epu32(input, factor), weight_shift));
    }
    __m128i half = _mm_add_epi64(_mm256_castsi256_si128(sum), _mm256_extracti128_si256(sum, 1));
    return (uint64_t)_mm_cvtsi128_si64(half) + (uint64_t)_mm_extract_epi64(half, 1);
}
#endif

void network_use_portable(struct network *net)
{
    net->vectors = false;
}

uint64_t network_position(const struct network *net, uint64_t code)
{
#if defined(__x86_64__)
    if (net->vectors)
        return (net->bias + sum_avx2(net, code)) >> NETWORK_GUARD_BITS;
#endif
    return (net->bias + sum_portable(net, code)) >> NETWORK_GUARD_BITS;
}

static uint64_t distance(uint64_t a, uint64_t b)
{
    return a > b ? a - b : b - a;
}

void network_error(const struct network *net, const struct plr_borders *borders, uint32_t *largest_error_pages)
{
    uint64_t largest = 0;
    for (uint32_t i = 0; i < borders->count; i++) {
        uint64_t page = (i + (uint64_t)1) << NETWORK_FRACTION_BITS;
        uint64_t low = distance(network_position(net, borders->low[i]), page);
        uint64_t high = distance(network_position(net, borders->high[i]), page);
        largest = low > largest ? low : largest;
        largest = high > largest ? high : largest;
    }
    *largest_error_pages = (uint32_t)((largest + (1u << NETWORK_FRACTION_BITS) - 1) >> NETWORK_FRACTION_BITS);
}
