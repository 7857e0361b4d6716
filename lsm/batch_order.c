/* Sorting a batch by key: "multikey quicksort" with cached pieces of keys (Bentley and Sedgewick, "Fast Algorithms for
 * Sorting and Searching Strings", SODA 1997; Ng and Kakehi, "Cache Efficient Radix Sort for String Sorting", 2007).
 *
 * All changes of a part that is being sorted have the same key up to a depth. From there on each has a piece of its key
 * at hand, as a number: seven bytes, with zeros behind a key that ends, and below them how many bytes these are, or 8
 * where the key goes on. So numbers are ordered as the keys are, and where two are the same the keys are, too, unless
 * they go on: then the next piece decides. A key is read once for every seven bytes that it shares with another one. */
#include "lsm/batch_order.h"

#include "base/alloc.h"
#include "base/error.h"
#include "base/banned.h"

enum {
    PIECE = 7,
    GOES_ON = PIECE + 1,
    FEW = 12,  /* places that are sorted by insertion */
    AHEAD = 8, /* changes that are asked for before they are needed */
};

static struct batch_change change_at(const struct batch_order *o, uint32_t at)
{
    const uint8_t *from = o->bytes + at;
    struct batch_change change;
    INVARIANT(batch_next(&from, o->end, &change));
    return change;
}

/* The key, which is all that is read of it. */
static plsm_slice key_at(const struct batch_order *o, uint32_t at)
{
    const uint8_t *from = o->bytes + at;
    uint64_t size = 0;
    unsigned timed = *from++ & BATCH_TIMED;
    if (timed)
        from = get_varint(from, o->end, &size);
    from = get_varint(from, o->end, &size);
    return slice(from, (size_t)size);
}

static uint64_t word_of(plsm_slice key, size_t depth)
{
    const uint8_t *from = (const uint8_t *)key.data + depth;
    size_t left = key.size - depth;
    uint8_t bytes[8] = {0};
    if (left > PIECE)
        return (get_be64(from) & ~UINT64_C(0xff)) | GOES_ON;
    memcpy(bytes, from, left);
    return get_be64(bytes) | left;
}

static bool goes_on(uint64_t word)
{
    return (word & 0xff) == GOES_ON;
}

/* --- sorting ------------------------------------------------------------------------------------------------------ */

static void exchange(struct batch_place *a, struct batch_place *b)
{
    struct batch_place place = *a;
    *a = *b;
    *b = place;
}

/* Of two changes of one key the later one comes first. */
static bool comes_before(const struct batch_order *o, const struct batch_place *a, const struct batch_place *b,
                         size_t depth)
{
    if (a->word != b->word)
        return a->word < b->word;
    int order = 0;
    if (goes_on(a->word)) {
        plsm_slice x = key_at(o, a->at), y = key_at(o, b->at);
        depth += PIECE;
        order = slice_compare(slice((const uint8_t *)x.data + depth, x.size - depth),
                              slice((const uint8_t *)y.data + depth, y.size - depth));
    }
    return order ? order < 0 : a->at > b->at;
}

static void sort_few(const struct batch_order *o, struct batch_place *places, size_t count, size_t depth)
{
    for (size_t i = 1; i < count; i++) {
        struct batch_place place = places[i];
        size_t j = i;
        for (; j > 0 && comes_before(o, &place, &places[j - 1], depth); j--)
            places[j] = places[j - 1];
        places[j] = place;
    }
}

static uint64_t middle_of(uint64_t a, uint64_t b, uint64_t c)
{
    uint64_t low = a < b ? a : b, high = a < b ? b : a;
    return c < low ? low : c > high ? high : c;
}

/* A number of the part, not far from the middle in most cases, whatever the order of the batch is. */
static uint64_t pivot_of(const struct batch_place *places, size_t count, uint64_t *random)
{
    uint64_t words[3];
    for (unsigned i = 0; i < 3; i++) {
        *random = *random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        words[i] = places[(*random >> 33) % count].word;
    }
    return middle_of(words[0], words[1], words[2]);
}

/* What has the same number as all around it: the next pieces, or the last change in front where the keys are the same.
 * Returns whether there is something to sort yet. */
static bool go_on(const struct batch_order *o, struct batch_place *places, size_t count, size_t depth)
{
    if (!goes_on(places[0].word)) {
        for (size_t i = 1; i < count; i++)
            if (places[i].at > places[0].at)
                exchange(&places[0], &places[i]);
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        __builtin_prefetch(o->bytes + places[i + AHEAD < count ? i + AHEAD : i].at);
        places[i].word = word_of(key_at(o, places[i].at), depth);
    }
    return true;
}

/* A part of the places, whose keys are the same up to `depth`. */
struct part {
    struct batch_place *places;
    size_t count, depth;
};

static void sort(const struct batch_order *o, struct part part, uint64_t *random);

/* Sorts all of three parts but the largest, which is returned: so calls are nested as deep as the number of changes
 * has bits. */
static struct part sort_smaller(const struct batch_order *o, struct part parts[3], uint64_t *random)
{
    unsigned largest = 0;
    for (unsigned i = 1; i < 3; i++)
        largest = parts[i].count > parts[largest].count ? i : largest;
    for (unsigned i = 0; i < 3; i++)
        if (i != largest)
            sort(o, parts[i], random);
    return parts[largest];
}

static void sort(const struct batch_order *o, struct part part, uint64_t *random)
{
    while (part.count > FEW) {
        struct batch_place *places = part.places;
        uint64_t pivot = pivot_of(places, part.count, random);
        size_t below = 0, at = 0, above = part.count;
        while (at < above) {
            if (places[at].word < pivot)
                exchange(&places[below++], &places[at++]);
            else if (places[at].word > pivot)
                exchange(&places[at], &places[--above]);
            else
                at++;
        }
        struct part parts[3] = {{places, below, part.depth},
                                {places + below, above - below, part.depth + PIECE},
                                {places + above, part.count - above, part.depth}};
        if (parts[1].count == 1 || !go_on(o, parts[1].places, parts[1].count, parts[1].depth))
            parts[1].count = 0;
        part = sort_smaller(o, parts, random);
    }
    sort_few(o, part.places, part.count, part.depth);
}

/* --- the order ---------------------------------------------------------------------------------------------------- */

/* Looks through the batch: whether its keys ascend, and how many bytes all of them share. */
static bool look_through(struct batch_order *o, size_t *shared)
{
    const uint8_t *at = o->bytes;
    struct batch_change change;
    plsm_slice first = {0}, before = {0};
    bool ascending = true;
    while (batch_next(&at, o->end, &change)) {
        if (change.kind == BATCH_DELETE_RANGE)
            continue;
        if (o->count++ == 0) {
            first = change.key;
            *shared = change.key.size;
        } else {
            ascending = ascending && slice_compare(before, change.key) < 0;
            size_t common = slice_common(first, change.key);
            *shared = common < *shared ? common : *shared;
        }
        before = change.key;
    }
    INVARIANT(at == o->end);
    return ascending;
}

plsm_status batch_order_start(const struct batch *batch, struct batch_order *out)
{
    struct batch_order *o = out;
    size_t shared = 0, filled = 0;
    uint64_t random = 1;
    INVARIANT(batch->bytes.size <= UINT32_MAX);
    *o = (struct batch_order){.bytes = batch->bytes.data, .at = batch->bytes.data};
    o->end = o->bytes + batch->bytes.size;
    if (look_through(o, &shared))
        return PLSM_OK;
    o->places = mem_alloc(o->count * sizeof *o->places);
    if (!o->places)
        return fail(PLSM_NO_MEMORY, "no memory to sort a batch of %zu changes", o->count);
    const uint8_t *from = o->bytes, *at = from;
    struct batch_change change;
    for (; batch_next(&at, o->end, &change); from = at)
        if (change.kind != BATCH_DELETE_RANGE)
            o->places[filled++] = (struct batch_place){word_of(change.key, shared), (uint32_t)(from - o->bytes)};
    sort(o, (struct part){o->places, o->count, shared}, &random);
    return PLSM_OK;
}

bool batch_order_next(struct batch_order *o, struct batch_change *change, uint32_t *at)
{
    while (!o->places) {
        *at = (uint32_t)(o->at - o->bytes);
        if (!batch_next(&o->at, o->end, change))
            return false;
        if (change->kind != BATCH_DELETE_RANGE)
            return true;
    }
    while (o->next < o->count) {
        const uint8_t *soon = o->bytes + o->places[o->next + AHEAD < o->count ? o->next + AHEAD : o->next].at;
        __builtin_prefetch(soon);
        __builtin_prefetch(soon + 64);
        *at = o->places[o->next++].at;
        *change = change_at(o, *at);
        if (slice_equal(change->key, o->last)) /* an earlier change of the same key */
            continue;
        o->last = change->key;
        return true;
    }
    return false;
}

void batch_order_bounds(const struct batch_order *o, plsm_slice *smallest, plsm_slice *largest)
{
    INVARIANT(o->count > 0);
    if (o->places) {
        *smallest = key_at(o, o->places[0].at);
        *largest = key_at(o, o->places[o->count - 1].at);
        return;
    }
    const uint8_t *at = o->bytes;
    struct batch_change change;
    smallest->size = 0;
    while (batch_next(&at, o->end, &change)) {
        if (change.kind == BATCH_DELETE_RANGE)
            continue;
        *largest = change.key;
        if (smallest->size == 0)
            *smallest = change.key;
    }
}

void batch_order_end(struct batch_order *o)
{
    mem_free(o->places);
    o->places = NULL;
}
