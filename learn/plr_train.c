/* Fitting: for each window size the fewest segments that a greedy cone finds (the swing filter of Elmeleegy et al.,
 * VLDB 2009, also known from FITing-Tree), then the window and the width of the cuts that make the model smallest.
 *
 * A wider window needs fewer segments, but its cuts are coarser for the same number of bits, and more borders become
 * exceptions. Worked example, 300,000 pages of 33 random keys: window of 4 pages, cuts of 16 bits: a step is 1/16384
 * of a page, two neighbouring keys share one with probability 33/16384, which makes 600 exceptions (7 KB); the cuts
 * take 600 KB.
 *
 * Slopes are found in floating point, but every border is then put through the integer arithmetic that readers use,
 * and a segment ends where that would leave the window. */
#include <math.h>

#include "base/alloc.h"
#include "base/error.h"
#include "learn/plr.h"
#include "learn/plr_format.h"

#include "base/banned.h"

struct segment {
    uint64_t start, base;
    uint32_t slope;
    uint8_t shift;
};

/* One candidate model. */
struct fit {
    struct buf segments;           /* of struct segment */
    const struct network *network; /* instead of segments; NULL */
    plsm_slice network_bytes;
    unsigned window_log2, cut_bits;
    uint64_t limit; /* base behind the last segment */
    uint64_t size;  /* serialized; UINT64_MAX: it does not fit */
};

/* The fine positions between which both codes of border `number` must come out; a step of slack at either end. */
static uint64_t band_low(const struct fit *f, uint64_t number)
{
    return (number << (PLR_FINE_BITS - f->window_log2)) + 1;
}

static uint64_t band_high(const struct fit *f, uint64_t number)
{
    return (number << (PLR_FINE_BITS - f->window_log2)) + ((uint64_t)1 << PLR_FINE_BITS) - 2;
}

static void set_slope(struct segment *s, double slope)
{
    int exponent = 0;
    double mantissa = ldexp(frexp(slope, &exponent), PLR_MANTISSA_BITS);
    int shift = PLR_MANTISSA_BITS - exponent;
    if (shift > PLR_SHIFT_MAX) {
        mantissa = ldexp(mantissa, PLR_SHIFT_MAX - shift);
        shift = PLR_SHIFT_MAX;
    }
    if (shift < 0) { /* steeper than can be said: the segment will end early */
        mantissa = UINT32_MAX;
        shift = 0;
    }
    s->slope = (uint32_t)mantissa;
    s->shift = (uint8_t)shift;
}

static uint64_t position_in(const struct segment *s, uint64_t code)
{
    return plr_position(code - s->start, s->base, UINT64_MAX, s->slope, s->shift);
}

static bool in_band(const struct fit *f, uint64_t number, uint64_t position)
{
    return position >= band_low(f, number) && position <= band_high(f, number);
}

/* A cone of slopes from the start of a segment through the bands of all borders so far. */
struct cone {
    double low, high;
};

static void narrow(struct cone *cone, const struct fit *f, const struct segment *s, uint64_t code, uint64_t number)
{
    double run = (double)(code - s->start);
    double low = ((double)band_low(f, number) - (double)s->base) / run;
    double high = ((double)band_high(f, number) - (double)s->base) / run;
    cone->low = low > cone->low ? low : cone->low;
    cone->high = high < cone->high ? high : cone->high;
}

/* Makes the segment that starts with the low code of border index `from`; returns the first border it does not cover.
 * `reached` is the position of the last code before it, below which it must not start. */
static uint32_t make_segment(const struct fit *f, const struct plr_borders *b, uint32_t from, uint64_t reached,
                             struct segment *out)
{
    struct segment s = {.start = b->low[from]};
    uint64_t low = band_low(f, from + (uint64_t)1), high = band_high(f, from + (uint64_t)1);
    if (from > 0 && b->high[from - 1] == s.start)
        high = band_high(f, from); /* the start is a code of the border before as well */
    s.base = (low + high) / 2;
    s.base = s.base > reached ? s.base : reached;
    struct cone cone = {0, INFINITY};
    uint32_t end = from;
    while (end < b->count) {
        struct cone next = cone;
        uint64_t number = end + (uint64_t)1;
        if (end > from)
            narrow(&next, f, &s, b->low[end], number);
        narrow(&next, f, &s, b->high[end], number);
        if (next.low > next.high)
            break;
        cone = next;
        end++;
    }
    if (end > from)
        set_slope(&s, (cone.low + cone.high) / 2);
    for (uint32_t i = from; i < end; i++) {
        if (in_band(f, i + (uint64_t)1, position_in(&s, b->low[i])) &&
            in_band(f, i + (uint64_t)1, position_in(&s, b->high[i])))
            continue;
        end = i;
    }
    if (end == from) { /* rounding left nothing: flat, which is right for one border */
        s.slope = 0;
        end = from + 1;
    }
    *out = s;
    return end;
}

/* Segments for all borders; f->size becomes UINT64_MAX when that would take more than `most`. */
static plsm_status fit_segments(struct fit *f, const struct plr_borders *b, uint32_t most)
{
    uint64_t reached = 0;
    uint32_t count = 0;
    for (uint32_t from = 0; from < b->count;) {
        struct segment s = {0};
        if (count++ == most) {
            f->size = UINT64_MAX;
            return PLSM_OK;
        }
        from = make_segment(f, b, from, reached, &s);
        reached = position_in(&s, b->high[from - 1]);
        TRY(buf_append(&f->segments, &s, sizeof s));
    }
    f->limit = ((uint64_t)b->count + ((uint64_t)1 << f->window_log2)) << (PLR_FINE_BITS - f->window_log2);
    return PLSM_OK;
}

/* Fine positions of ascending codes. */
struct walk {
    const struct fit *fit;
    const struct segment *at, *end;
    uint64_t limit;
};

static struct walk walk_start(const struct fit *f)
{
    const struct segment *first = (const struct segment *)f->segments.data;
    return (struct walk){f, first, first + f->segments.size / sizeof *first, f->limit};
}

static uint64_t walk_position(struct walk *w, uint64_t code)
{
    if (w->fit->network)
        return plr_network_position(w->fit->network, code, w->fit->window_log2);
    while (w->at + 1 < w->end && w->at[1].start <= code)
        w->at++;
    uint64_t next_base = w->at + 1 < w->end ? w->at[1].base : w->limit;
    return plr_position(code - w->at->start, w->at->base, next_base, w->at->slope, w->at->shift);
}

/* Chooses the width of the cuts that makes this fit smallest. Two positions share a step of 2^k fine ones exactly if
 * they do not differ at bit k or above. */
static void choose_cut_bits(struct fit *f, const struct plr_borders *b)
{
    uint64_t differ_first_at[PLR_FINE_BITS + 1] = {0}, exceptions = 0;
    struct walk walk = walk_start(f);
    for (uint32_t i = 0; i < b->count; i++) {
        uint64_t low = walk_position(&walk, b->low[i]), difference = low ^ walk_position(&walk, b->high[i]);
        unsigned bit = difference ? 63 - (unsigned)__builtin_clzll(difference) : 0;
        if (difference)
            differ_first_at[bit < PLR_FINE_BITS ? bit : PLR_FINE_BITS]++;
        else
            exceptions++;
    }
    uint64_t segment_bytes = f->segments.size / sizeof(struct segment) * PLR_SEGMENT_SIZE + f->network_bytes.size;
    f->size = UINT64_MAX;
    for (unsigned shift = 0; shift <= PLR_FINE_BITS - PLR_CUT_BITS_MIN; shift++) {
        unsigned bits = PLR_FINE_BITS - shift;
        exceptions += shift ? differ_first_at[shift - 1] : 0;
        uint64_t size = PLR_HEADER_SIZE + segment_bytes + ((uint64_t)b->count * bits + 7) / 8 + PLR_CUT_PADDING +
                        exceptions * PLR_EXCEPTION_SIZE;
        if (bits >= f->window_log2 && size < f->size) {
            f->size = size;
            f->cut_bits = bits;
        }
    }
}

static plsm_status append_segments(const struct fit *f, struct buf *out)
{
    struct walk all = walk_start(f);
    for (const struct segment *s = all.at; s < all.end; s++)
        TRY(buf_append_u64(out, s->start));
    for (const struct segment *s = all.at; s < all.end; s++)
        TRY(buf_append_u64(out, s->base));
    for (const struct segment *s = all.at; s < all.end; s++)
        TRY(buf_append_u32(out, s->slope));
    for (const struct segment *s = all.at; s < all.end; s++)
        TRY(buf_append(out, &s->shift, 1));
    return PLSM_OK;
}

/* Cuts into `cuts` (zeroed), exceptions into the two lists. */
static plsm_status make_cuts(const struct fit *f, const struct plr_borders *b, uint8_t *cuts, struct buf *codes,
                             struct buf *numbers)
{
    unsigned shift = PLR_FINE_BITS - f->cut_bits, page_shift = f->cut_bits - f->window_log2;
    struct walk walk = walk_start(f);
    for (uint32_t i = 0; i < b->count; i++) {
        uint64_t low = walk_position(&walk, b->low[i]) >> shift, high = walk_position(&walk, b->high[i]) >> shift;
        uint64_t cut = (low < high ? low + 1 : low) - ((i + (uint64_t)1) << page_shift);
        INVARIANT(cut < (uint64_t)1 << f->cut_bits);
        if (low == high) {
            TRY(buf_append_u64(codes, b->high[i]));
            TRY(buf_append_u32(numbers, i + 1));
        }
        uint64_t bit = (uint64_t)i * f->cut_bits;
        put_u64(cuts + (bit >> 3), get_u64(cuts + (bit >> 3)) | cut << (bit & 7));
    }
    return PLSM_OK;
}

static plsm_status append_fit(const struct fit *f, const struct plr_borders *b, struct buf *out)
{
    struct buf codes = {0}, numbers = {0};
    plsm_status status = PLSM_NO_MEMORY;
    size_t cut_size = ((size_t)b->count * f->cut_bits + 7) / 8 + PLR_CUT_PADDING;
    uint8_t *cuts = mem_zalloc(cut_size);
    uint8_t header[PLR_HEADER_SIZE] = {0};
    if (!cuts || (status = make_cuts(f, b, cuts, &codes, &numbers)))
        goto done;
    put_u32(header, b->count);
    put_u32(header + 4, (uint32_t)(f->segments.size / sizeof(struct segment)));
    put_u32(header + 8, (uint32_t)(numbers.size / 4));
    header[12] = (uint8_t)f->window_log2;
    header[13] = (uint8_t)f->cut_bits;
    header[14] = f->network != NULL;
    if ((status = buf_append(out, header, sizeof header)) ||
        (status = buf_append(out, f->network_bytes.data, f->network_bytes.size)) ||
        (status = append_segments(f, out)) || (status = buf_append(out, codes.data, codes.size)) ||
        (status = buf_append(out, numbers.data, numbers.size)) || (status = buf_append(out, cuts, cut_size)))
        goto done;
done:
    mem_free(cuts);
    buf_free(&codes);
    buf_free(&numbers);
    return status ? fail(status, "learned index: no memory to train it") : PLSM_OK;
}

/* Fits one window size; fit->size is UINT64_MAX when the shape does not allow it. */
static plsm_status fit_window(const struct plr_borders *borders, enum plr_shape shape, unsigned window_log2,
                              struct fit *fit)
{
    *fit = (struct fit){.window_log2 = window_log2};
    TRY(fit_segments(fit, borders, shape == PLR_LINE ? 1 : UINT32_MAX));
    if (fit->size != UINT64_MAX)
        choose_cut_bits(fit, borders);
    return PLSM_OK;
}

/* Which window to take, of those tried: its log2, or 0 for none. Models of nearly the same size differ by how many cuts
 * a lookup has to go through, so it is the smallest window whose model is within 1/32 of the smallest of all, if its
 * segments fit `segment_bytes_max`; where none does, of those whose segments fit the one that makes the smallest model.
 * Example: windows 2, 4, 8, 16 make 40, 33.5, 33, 34 KB with 9 KB, 2.5 KB, 700 B, 200 B of segments: with 1 KB it is 8,
 * with 4 KB it is 4, with 500 B it is 16. Pure. */
static unsigned choose_window(const uint64_t *sizes, const uint64_t *segment_bytes, size_t segment_bytes_max)
{
    uint64_t smallest = UINT64_MAX;
    unsigned chosen = 0;
    for (unsigned w = PLR_WINDOW_LOG2_MIN; w <= PLR_WINDOW_LOG2_MAX; w++)
        smallest = sizes[w] < smallest ? sizes[w] : smallest;
    for (unsigned w = PLR_WINDOW_LOG2_MIN; w <= PLR_WINDOW_LOG2_MAX; w++) {
        if (sizes[w] == UINT64_MAX || segment_bytes[w] > segment_bytes_max)
            continue;
        if (sizes[w] - smallest <= smallest / 32)
            return w;
        if (chosen == 0 || sizes[w] < sizes[chosen])
            chosen = w;
    }
    return chosen;
}

/* A network is trained first; its window is what its error asks for. */
static plsm_status train_network(const struct plr_borders *borders, const struct plr_limits *limits, struct buf *out)
{
    struct buf bytes = {0};
    struct network network = {0};
    struct fit fit = {.network = &network, .window_log2 = PLR_WINDOW_LOG2_MIN};
    uint32_t error_pages = 0;
    plsm_status status = borders->count > 0 ? network_train(borders, &bytes) : PLSM_TOO_LARGE;
    const uint8_t *at = bytes.data;
    if (status == PLSM_OK)
        status = network_parse(&at, at + bytes.size, &network);
    if (status != PLSM_OK)
        goto done;
    network_error(&network, borders, &error_pages); /* every border is asked */
    /* A position may be off by as much to either side, and must stay inside the window. */
    while (fit.window_log2 <= PLR_WINDOW_LOG2_MAX && 1u << (fit.window_log2 - 1) <= error_pages)
        fit.window_log2++;
    fit.network_bytes = buf_slice(&bytes);
    if (fit.window_log2 > PLR_WINDOW_LOG2_MAX || error_pages > limits->error_pages_max ||
        bytes.size > limits->segment_bytes_max) {
        status = PLSM_TOO_LARGE;
        goto done;
    }
    choose_cut_bits(&fit, borders);
    status = append_fit(&fit, borders, out);
done:
    network_free(&network);
    buf_free(&bytes);
    return status;
}

plsm_status plr_train(const struct plr_borders *borders, enum plr_shape shape, const struct plr_limits *limits,
                      struct buf *out)
{
    if (shape == PLR_NETWORK)
        return train_network(borders, limits, out);
    size_t segment_bytes_max = limits->segment_bytes_max;
    uint64_t sizes[PLR_WINDOW_LOG2_MAX + 1], segment_bytes[PLR_WINDOW_LOG2_MAX + 1] = {0}, smallest = UINT64_MAX;
    struct fit fit = {0};
    for (unsigned w = 0; w <= PLR_WINDOW_LOG2_MAX; w++)
        sizes[w] = UINT64_MAX;
    for (unsigned w = PLR_WINDOW_LOG2_MIN; w <= PLR_WINDOW_LOG2_MAX; w++) {
        if (1u << (w - 1) > limits->error_pages_max)
            break;
        plsm_status status = fit_window(borders, shape, w, &fit);
        sizes[w] = fit.size;
        segment_bytes[w] = fit.segments.size / sizeof(struct segment) * PLR_SEGMENT_SIZE;
        buf_free(&fit.segments);
        TRY(status);
        /* A window that does not pay any more will not pay when doubled. */
        if (sizes[w] != UINT64_MAX && sizes[w] > smallest && segment_bytes[w] <= segment_bytes_max)
            break;
        smallest = sizes[w] < smallest ? sizes[w] : smallest;
    }
    unsigned window_log2 = choose_window(sizes, segment_bytes, segment_bytes_max);
    if (window_log2 == 0)
        return PLSM_TOO_LARGE;
    plsm_status status = fit_window(borders, shape, window_log2, &fit);
    if (status == PLSM_OK)
        status = append_fit(&fit, borders, out);
    buf_free(&fit.segments);
    return status;
}
