/* Reading the piecewise linear model; plr_train.c fits it.
 *
 * Positions are fixed-point numbers of pages: a page is 2^(28 - window_log2) fine steps, so that a window of
 * 2^window_log2 pages is 2^28 of them. A code's fine position is that of a straight line per segment, cut off where the
 * next segment starts, and so never descends as codes ascend. Border j is at `j pages + its cut`, the cut being at
 * least 0 and less than a window; codes whose position, in steps of 2^(16 - cut_bits) fine ones, is at or above that
 * are behind the border. Borders whose two sides share one step are exceptions: there the code itself decides.
 *
 *      position                          . - '           Codes up to low must come out below the cut, codes from high
 *         ^                  cut of j --.-'              on not below. Both ends are within the window, as the line
 *   j + window |             . - ' |    |                may be wrong by half a window. As positions never descend,
 *              |       . - '       |    |                what holds for the two border codes holds for all others.
 *   j pages    |  . '             low  high  > code
 *
 * Serialized form, little-endian:
 *    0  u32  borders
 *    4  u32  segments
 *    8  u32  exceptions
 *   12  u8   window_log2, 1 to 12
 *   13  u8   cut_bits, 4 to 28, at least window_log2
 *   14  u8   1: a network instead of segments; 0
 *   15  u8   0
 *   16       the network (network.c), or
 *            u64 per segment: its first code, ascending
 *            u64 per segment: fine position at its start, never descending
 *            u32 per segment: slope in fine steps per code, times 2^shift
 *            u8  per segment: shift, 0 to 95
 *            u64 per exception: first code behind the border
 *            u32 per exception: border number, ascending
 *            cut_bits bits per border, border 1 first, lowest bit first, filled up to a byte, + 8 zero bytes */
#include <assert.h>

#include "base/alloc.h"
#include "base/error.h"
#include "learn/plr.h"
#include "learn/plr_format.h"

#include "base/banned.h"

static_assert(7 + PLR_FINE_BITS <= 64, "a cut is read with one 64-bit load");

static plsm_status malformed(const char *what)
{
    return fail(PLSM_CORRUPT, "learned index: %s; rebuild it with a compaction", what);
}

static plsm_status parse_header(const uint8_t *at, const uint8_t *end, struct plr *p)
{
    if (end - at < PLR_HEADER_SIZE)
        return malformed("the model is cut off");
    p->borders = get_u32(at);
    p->segments = get_u32(at + 4);
    p->exceptions = get_u32(at + 8);
    p->window_log2 = at[12];
    p->cut_bits = at[13];
    if (p->window_log2 < PLR_WINDOW_LOG2_MIN || p->window_log2 > PLR_WINDOW_LOG2_MAX ||
        p->cut_bits < PLR_CUT_BITS_MIN || p->cut_bits > PLR_FINE_BITS || p->cut_bits < p->window_log2 || at[14] > 1 ||
        at[15] != 0)
        return malformed("the model's window or cuts have an impossible size");
    p->is_network = at[14];
    if (p->borders > INT32_MAX || p->segments > p->borders || p->exceptions > p->borders ||
        (p->is_network ? p->segments != 0 || p->borders == 0 : p->borders > 0 && p->segments == 0))
        return malformed("the model's counts do not fit together");
    p->fine_shift = PLR_FINE_BITS - p->cut_bits;
    p->page_shift = p->cut_bits - p->window_log2;
    p->window = 1u << p->window_log2;
    p->cut_mask = (1u << p->cut_bits) - 1;
    return PLSM_OK;
}

static uint64_t cut_bytes(const struct plr *p)
{
    return ((uint64_t)p->borders * p->cut_bits + 7) / 8 + PLR_CUT_PADDING;
}

/* What evaluation and the segment search rely on. */
static plsm_status check_segments(const struct plr *p, uint64_t limit)
{
    const struct plr_segment *s = p->segment;
    for (uint32_t i = 0; i < p->segments; i++) {
        if (i > 0 && s[i].start <= s[i - 1].start)
            return malformed("segments are not in order");
        if (s[i].base > limit || (i > 0 && s[i].base < s[i - 1].base) || s[i].shift > PLR_SHIFT_MAX)
            return malformed("segments do not ascend");
    }
    return PLSM_OK;
}

/* A first step of the segment search in the manner of RadixSpline (Kipf et al. 2020): buckets by the upper bits of the
 * code, several per segment so that most hold one at most. */
static void fill_buckets(struct plr *p, uint32_t *first)
{
    uint32_t bucket = 0, largest = 0;
    for (uint32_t i = 0; i < p->segments; i++) {
        uint64_t own = (p->segment[i].start - p->segment[0].start) >> p->bucket_shift;
        while (bucket <= own)
            first[bucket++] = i;
        uint32_t in_bucket = i + 1 - first[own];
        largest = in_bucket > largest ? in_bucket : largest;
    }
    while (bucket <= p->buckets)
        first[bucket++] = p->segments;
    p->search_stride = largest ? 1u << (31 - __builtin_clz(largest)) : 0;
}

static void size_buckets(struct plr *p, uint64_t first_start, uint64_t last_start)
{
    enum { PER_SEGMENT = 4 };
    uint64_t range = last_start - first_start;
    p->bucket_shift = 0;
    while (range >> p->bucket_shift >= PER_SEGMENT * (uint64_t)p->segments)
        p->bucket_shift++;
    p->buckets = (uint32_t)(range >> p->bucket_shift) + 1;
}

/* What stands behind the header and the network: arrays, into one piece of memory. */
static plsm_status parse_arrays(const uint8_t **at, const uint8_t *end, struct plr *p)
{
    const uint8_t *from = *at;
    uint64_t segment_bytes = (uint64_t)p->segments * PLR_SEGMENT_SIZE;
    uint64_t exception_bytes = (uint64_t)p->exceptions * PLR_EXCEPTION_SIZE, body = cut_bytes(p);
    if ((uint64_t)(end - from) < segment_bytes + exception_bytes + body)
        return malformed("the model is cut off");
    if (p->segments)
        size_buckets(p, get_u64(from), get_u64(from + 8 * ((size_t)p->segments - 1)));
    if (p->segments && get_u64(from) > get_u64(from + 8 * ((size_t)p->segments - 1)))
        return malformed("segments are not in order");
    /* In falling order of alignment. */
    size_t bucket_bytes = ((size_t)p->buckets + 1) * sizeof *p->bucket_first;
    size_t segments_size = ((size_t)p->segments + 1) * sizeof *p->segment;
    p->memory_size = segments_size + exception_bytes + bucket_bytes + body;
    p->correction_bytes = exception_bytes + body;
    p->memory = mem_alloc(p->memory_size);
    if (!p->memory)
        return fail(PLSM_NO_MEMORY, "learned index: no memory for %zu bytes", p->memory_size);
    struct plr_segment *segment = (struct plr_segment *)p->memory;
    uint64_t *codes = (uint64_t *)(segment + p->segments + 1);
    uint32_t *numbers = (uint32_t *)(codes + p->exceptions), *bucket_first = numbers + p->exceptions;
    uint8_t *cuts = (uint8_t *)(bucket_first + p->buckets + 1);
    size_t count = p->segments;
    for (size_t i = 0; i < count; i++)
        segment[i] = (struct plr_segment){.start = get_u64(from + 8 * i),
                                          .base = get_u64(from + 8 * (count + i)),
                                          .slope = get_u32(from + 16 * count + 4 * i),
                                          .shift = from[20 * count + i]};
    /* Behind the last segment: above the windows of all borders. */
    uint64_t limit = ((uint64_t)p->borders + p->window) << (PLR_FINE_BITS - p->window_log2);
    segment[count] = (struct plr_segment){.start = UINT64_MAX, .base = limit};
    from += segment_bytes;
    if (p->exceptions) {
        memcpy(codes, from, 8 * (size_t)p->exceptions);
        memcpy(numbers, from + 8 * (size_t)p->exceptions, 4 * (size_t)p->exceptions);
    }
    from += exception_bytes;
    memcpy(cuts, from, body);
    from += body;
    p->segment = segment;
    p->exception_codes = codes;
    p->exception_borders = numbers;
    p->bucket_first = bucket_first;
    p->cuts = cuts;
    TRY(check_segments(p, limit));
    fill_buckets(p, bucket_first);
    *at = from;
    return PLSM_OK;
}

plsm_status plr_parse(const uint8_t **at, const uint8_t *end, struct plr *out)
{
    const uint8_t *from = *at;
    struct plr p = {0};
    *out = p;
    TRY(parse_header(from, end, &p));
    from += PLR_HEADER_SIZE;
    plsm_status status = p.is_network ? network_parse(&from, end, &p.network) : PLSM_OK;
    if (status == PLSM_OK && p.is_network && p.network.borders != p.borders)
        status = malformed("the network is of other borders");
    if (status == PLSM_OK)
        status = parse_arrays(&from, end, &p);
    if (status != PLSM_OK) {
        plr_free(&p);
        return status;
    }
    *out = p;
    *at = from;
    return PLSM_OK;
}

void plr_free(struct plr *p)
{
    network_free(&p->network);
    mem_free(p->memory);
    *p = (struct plr){0};
}

size_t plr_memory(const struct plr *p)
{
    return p->memory_size + network_memory(&p->network);
}

/* The last segment that starts at or before `code`, which is not below the first. The number of steps is the same for
 * all codes, and what they find is no branch: how many segments a bucket has could not be predicted. */
static inline uint32_t find_segment(const struct plr *p, uint64_t code)
{
    uint64_t bucket = (code - p->segment[0].start) >> p->bucket_shift;
    if (bucket >= p->buckets)
        return p->segments - 1;
    uint32_t found = p->bucket_first[bucket] - 1; /* all before the bucket do; bucket 0 may begin with -1 */
    uint32_t last = p->segments - 1;
    for (uint32_t stride = p->search_stride; stride > 0; stride /= 2) {
        uint32_t next = found + stride, inside = next < last ? next : last;
        found = p->segment[inside].start <= code ? inside : found;
    }
    return found;
}

static inline uint32_t load_cut(const struct plr *p, uint64_t bit)
{
    return (uint32_t)(get_u64(p->cuts + (bit >> 3)) >> (bit & 7)) & p->cut_mask;
}

/* Where border `number` is, in steps. */
static inline uint64_t cut_of(const struct plr *p, uint64_t number)
{
    return (number << p->page_shift) + load_cut(p, (number - 1) * p->cut_bits);
}

/* Position and cut agree: the code is in the step that border `number` is in. Is it in front of it all the same? */
static bool excepted(const struct plr *p, uint64_t number, uint64_t code)
{
    uint32_t low = 0, high = p->exceptions;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (p->exception_borders[middle] < number)
            low = middle + 1;
        else
            high = middle;
    }
    return low < p->exceptions && p->exception_borders[low] == number && code < p->exception_codes[low];
}

/* False: in front of all borders. */
static inline bool find_position(const struct plr *p, uint64_t code, uint64_t *position)
{
    if (p->is_network) {
        *position = plr_network_position(&p->network, code, p->window_log2);
        return true;
    }
    if (p->segments == 0 || code < p->segment[0].start)
        return false;
    const struct plr_segment *s = &p->segment[find_segment(p, code)];
    *position = plr_position(code - s->start, s->base, s[1].base, s->slope, s->shift);
    return true;
}

void plr_begin(const struct plr *p, uint64_t code, struct plr_probe *probe)
{
    uint64_t position = 0;
    *probe = (struct plr_probe){.code = code};
    if (!find_position(p, code, &position))
        return;
    /* Border j can be at or below the step only if j pages are; and it must be if j pages and a window are. */
    probe->step = position >> p->fine_shift;
    uint64_t high = probe->step >> p->page_shift, low = high > p->window ? high - p->window : 0;
    probe->high = high < p->borders ? high : p->borders;
    probe->low = low < probe->high ? low : probe->high;
    const uint8_t *first = p->cuts + (probe->low * p->cut_bits >> 3);
    __builtin_prefetch(first);
    __builtin_prefetch(first + ((probe->high - probe->low) * p->cut_bits >> 3));
}

uint32_t plr_end(const struct plr *p, const struct plr_probe *probe)
{
    uint64_t rank = probe->low, left = probe->high - rank, step = probe->step;
    /* Cuts ascend. No branch depends on what they are: all windows of a size take the same steps. */
    while (left > 4) {
        uint64_t half = left / 2;
        rank += half & -(uint64_t)(cut_of(p, rank + half) <= step);
        left -= half;
    }
    uint64_t bit = rank * p->cut_bits;
    int64_t ahead = (int64_t)(step - ((rank + 1) << p->page_shift)), page = (int64_t)1 << p->page_shift;
    for (; left > 0; left--) {
        rank += (int64_t)load_cut(p, bit) <= ahead;
        bit += p->cut_bits;
        ahead -= page;
    }
    if (p->exceptions > 0)
        while (rank > 0 && cut_of(p, rank) == step && excepted(p, rank, probe->code))
            rank--;
    return (uint32_t)rank;
}

uint32_t plr_rank(const struct plr *p, uint64_t code)
{
    struct plr_probe probe;
    plr_begin(p, code, &probe);
    return plr_end(p, &probe);
}

unsigned plr_within(const struct plr *p, const struct plr_probe *probe, uint32_t rank)
{
    uint64_t page = (uint64_t)1 << p->page_shift;
    if (p->borders == 0)
        return PLR_WITHIN / 2;
    /* In front of the first border and behind the last there is about a page. */
    uint64_t high = rank < p->borders ? cut_of(p, rank + (uint64_t)1) : cut_of(p, rank) + page;
    uint64_t low = rank > 0 ? cut_of(p, rank) : high > page ? high - page : 0;
    if (probe->step <= low)
        return 0;
    if (probe->step >= high)
        return PLR_WITHIN - 1;
    return (unsigned)((probe->step - low) * PLR_WITHIN / (high - low));
}

uint64_t plr_raw_position(const struct plr *p, uint64_t code)
{
    enum { RAW_BITS = 16 };
    uint64_t fine = 0, half = (uint64_t)1 << (PLR_FINE_BITS - 1);
    if (!find_position(p, code, &fine))
        return 0;
    /* The band of a border is the window behind it: its middle is the prediction. */
    fine = fine > half ? fine - half : 0;
    unsigned page_bits = PLR_FINE_BITS - p->window_log2;
    return page_bits > RAW_BITS ? fine >> (page_bits - RAW_BITS) : fine << (RAW_BITS - page_bits);
}
