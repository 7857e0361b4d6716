/* Training a learned index; the block's layout is in model.c.
 *
 * While the run is written, two things are kept. For codes: the two keys around each border between pages, front-coded,
 * as far as a code can look at them. How far that is depends on the prefix that all keys share, which is known only at
 * the end; but it can only get shorter, so a key is kept up to CODE_POSITIONS_MAX bytes behind what is shared so far.
 * For a trie: where neighbouring keys part ways, of each page only what a way to its borders can meet. That is, going
 * from a border into the page, each place that is shallower than all before it; so two short lists a page.
 *
 *   depths inside a page:  | 9 7 8 7 4 6 5 4 8 |   from the left: 9 7 4   from the right: 8 4   kept: 9 7 4 4 8
 *
 * At the end both families are made, codes first, the trie where codes have ties, each is asked for the border keys it
 * was trained on, as it will be read, and timed. A model that errs would be a bug; it is not written. */
#include "base/alloc.h"
#include "base/checksum.h"
#include "base/env.h"
#include "base/error.h"
#include "learn/codes.h"
#include "learn/model.h"
#include "learn/model_format.h"
#include "learn/plr.h"
#include "learn/separators.h"
#include "learn/ties.h"
#include "learn/trie.h"

#include "base/banned.h"

struct model_builder {
    struct separators_builder separators; /* one per border */
    struct buf keys;                      /* front-coded: last, first, last, first, ... of the borders, cut */
    struct buf previous;                  /* the last one of those */
    struct buf first;                     /* the first key of the run */
    struct buf last;                      /* the last key of the page before */
    struct buf events;                    /* struct trie_event of finished pages */
    struct trie_event *inside;            /* events inside of this page */
    uint32_t *rising;                     /* which of them are seen from the right; room for as many */
    uint32_t inside_count, inside_capacity;
    struct buf skips;   /* u32, see model.c */
    size_t shared;      /* bytes that all keys so far share */
    size_t told_apart;  /* bytes needed to tell the keys around a border apart; the largest so far */
    uint32_t pages;     /* with a new key on them */
    uint32_t page_keys; /* new ones on this page so far */
    bool deep;          /* some key parts from its neighbour behind what an event can say */
};

struct model_builder *model_builder_create(void)
{
    return mem_zalloc(sizeof(struct model_builder));
}

void model_builder_destroy(struct model_builder *b)
{
    if (!b)
        return;
    separators_builder_free(&b->separators);
    struct buf *bufs[] = {&b->keys, &b->previous, &b->first, &b->last, &b->events, &b->skips};
    for (size_t i = 0; i < sizeof bufs / sizeof *bufs; i++)
        buf_free(bufs[i]);
    mem_free(b->inside);
    mem_free(b->rising);
    mem_free(b);
}

/* --- what is told ------------------------------------------------------------------------------------------------- */

static plsm_status keep_key(struct model_builder *b, plsm_slice key)
{
    size_t size = key.size < b->shared + CODE_POSITIONS_MAX ? key.size : b->shared + CODE_POSITIONS_MAX;
    const uint8_t *bytes = key.data;
    size_t common = slice_common(buf_slice(&b->previous), slice(bytes, size));
    TRY(buf_append_varint(&b->keys, common));
    TRY(buf_append_slice(&b->keys, slice(bytes + common, size - common)));
    b->previous.size = common;
    return buf_append(&b->previous, bytes + common, size - common);
}

static struct trie_event event_at(plsm_slice key, size_t shared, bool border)
{
    return (struct trie_event){
        .depth = (uint16_t)shared, .byte = ((const uint8_t *)key.data)[shared], .border = border};
}

/* The border in front of a key that is the first new one on its page. */
static plsm_status add_border(struct model_builder *b, plsm_slice key)
{
    plsm_slice last = buf_slice(&b->last);
    size_t size = separator_size(last, key);
    if (size == 0 || size > key.size)
        return fail(PLSM_INVALID, "learned index: page %u starts with a key that is not above the last before it",
                    b->pages);
    TRY(separators_add(&b->separators, key, size));
    TRY(keep_key(b, last));
    TRY(keep_key(b, key));
    b->told_apart = size > b->told_apart ? size : b->told_apart;
    struct trie_event event = event_at(key, size - 1, true);
    return buf_append(&b->events, &event, sizeof event);
}

static plsm_status grow_inside(struct model_builder *b)
{
    uint32_t capacity = b->inside_capacity ? 2 * b->inside_capacity : 128;
    struct trie_event *inside = mem_realloc(b->inside, capacity * sizeof *inside);
    if (inside)
        b->inside = inside;
    uint32_t *rising = inside ? mem_realloc(b->rising, capacity * sizeof *rising) : NULL;
    if (rising)
        b->rising = rising;
    if (!rising)
        return fail(PLSM_NO_MEMORY, "learned index: no memory for the keys of a page");
    b->inside_capacity = capacity;
    return PLSM_OK;
}

/* A further key of the page: an event inside it. */
static inline plsm_status add_inside(struct model_builder *b, plsm_slice key, size_t shared)
{
    if (b->inside_count == b->inside_capacity)
        TRY(grow_inside(b));
    b->inside[b->inside_count++] = event_at(key, shared, false);
    return PLSM_OK;
}

plsm_status model_builder_key(struct model_builder *b, plsm_slice key, size_t shared)
{
    bool first_of_run = b->pages == 0 && b->page_keys == 0;
    if (shared >= key.size)
        return fail(PLSM_INVALID, "learned index: a key of %zu bytes shares %zu with the one before", key.size, shared);
    b->deep |= shared > UINT16_MAX;
    if (first_of_run) {
        TRY(buf_append(&b->first, key.data, key.size));
        b->shared = key.size;
    } else if (b->page_keys == 0) {
        TRY(add_border(b, key));
    } else {
        TRY(add_inside(b, key, shared));
    }
    if (shared < b->shared && !first_of_run)
        b->shared = shared; /* what neighbours share bounds what all share */
    b->page_keys++;
    return PLSM_OK;
}

/* Moves the events of this page behind those of the pages before. The shallowest one is the end of both lists, or its
 * first and last of several are. */
static plsm_status finish_events(struct model_builder *b)
{
    const struct trie_event *inside = b->inside;
    uint32_t shallowest = UINT32_MAX, behind = 0, rising_count = 0;
    for (uint32_t i = 0; i < b->inside_count; i++)
        if (inside[i].depth < shallowest) {
            shallowest = inside[i].depth;
            behind = i + 1;
            TRY(buf_append(&b->events, &inside[i], sizeof inside[i]));
        }
    shallowest = UINT32_MAX;
    for (uint32_t i = b->inside_count; i > behind; i--)
        if (inside[i - 1].depth < shallowest) {
            shallowest = inside[i - 1].depth;
            b->rising[rising_count++] = i - 1;
        }
    while (rising_count > 0)
        TRY(buf_append(&b->events, &inside[b->rising[--rising_count]], sizeof inside[0]));
    b->inside_count = 0;
    return PLSM_OK;
}

plsm_status model_builder_page(struct model_builder *b, plsm_slice last)
{
    if (b->page_keys == 0) {
        if (b->pages == 0)
            return fail(PLSM_INVALID, "learned index: a run begins with a page without keys");
        return buf_append_u32(&b->skips, b->pages);
    }
    TRY(finish_events(b));
    b->last.size = 0;
    TRY(buf_append(&b->last, last.data, last.size));
    b->pages++;
    b->page_keys = 0;
    return PLSM_OK;
}

/* --- walking what was kept ---------------------------------------------------------------------------------------- */

struct kept {
    const uint8_t *at, *end;
    struct buf key;
};

static struct kept kept_start(const struct model_builder *b)
{
    return (struct kept){b->keys.data, b->keys.data + b->keys.size, {0}};
}

static plsm_status kept_next(struct kept *k)
{
    uint64_t common = 0, more = 0;
    k->at = get_varint(k->at, k->end, &common);
    k->at = get_varint(k->at, k->end, &more);
    k->key.size = common;
    k->at += more;
    return buf_append(&k->key, k->at - more, more);
}

/* --- codes -------------------------------------------------------------------------------------------------------- */

/* A model in the making. */
struct training {
    struct model_builder *b;
    plsm_slice prefix;
    struct coder coder;
    struct plr_borders borders;           /* those that first words tell apart */
    struct tie *ties;                     /* those that second words do */
    struct separators_builder separators; /* the others */
    struct buf separator_ranks;           /* varints, see model.c */
    struct buf body;
    uint32_t tie_count, first_separator_rank, last_separator_rank;
    uint32_t mixed_pages; /* those that only separators tell from their neighbours */
    uint32_t dimensions, parameters, metadata;
    uint32_t training_accuracy, validation_accuracy; /* parts per million */
    enum model_type type;
};

static void training_free(struct training *t)
{
    coder_free(&t->coder);
    mem_free(t->borders.low);
    mem_free(t->borders.high);
    mem_free(t->ties);
    separators_builder_free(&t->separators);
    buf_free(&t->separator_ranks);
    buf_free(&t->body);
}

static plsm_slice behind_prefix(plsm_slice key, size_t prefix)
{
    return slice((const uint8_t *)key.data + prefix, key.size - prefix);
}

static plsm_status train_coder(struct training *t)
{
    const struct model_builder *b = t->b;
    struct kept kept = kept_start(b);
    struct code_training alphabets;
    plsm_status status = PLSM_OK;
    code_training_start(&alphabets);
    code_training_note(&alphabets, behind_prefix(buf_slice(&b->first), t->prefix.size));
    code_training_note(&alphabets, behind_prefix(buf_slice(&b->last), t->prefix.size));
    while (status == PLSM_OK && kept.at < kept.end) {
        status = kept_next(&kept);
        if (status == PLSM_OK)
            code_training_note(&alphabets, behind_prefix(buf_slice(&kept.key), t->prefix.size));
    }
    buf_free(&kept.key);
    TRY(status);
    /* Positions that tell no border apart would only cost time. */
    size_t positions = b->told_apart > t->prefix.size ? b->told_apart - t->prefix.size : 0;
    unsigned most = positions < CODE_POSITIONS_MAX ? (unsigned)positions : CODE_POSITIONS_MAX;
    size_t start = t->body.size;
    TRY(code_training_finish(&alphabets, t->prefix, most, &t->body));
    const uint8_t *at = t->body.data + start;
    TRY(coder_parse(&at, t->body.data + t->body.size, &t->coder));
    t->dimensions = t->coder.positions;
    return PLSM_OK;
}

/* The two words of a key's code. */
struct words {
    uint64_t first, second;
};

static struct words words_of(const struct coder *coder, plsm_slice key)
{
    enum code_state state = CODE_WITHIN;
    struct words w = {.first = coder_code(coder, key, &state)};
    w.second = coder_code_next(coder, key, state);
    return w;
}

/* Puts one border where it belongs. `separator` is its separator. */
static plsm_status sort_border(struct training *t, struct words low, struct words high, plsm_slice separator)
{
    struct plr_borders *borders = &t->borders;
    if (low.first < high.first) {
        borders->low[borders->count] = low.first;
        borders->high[borders->count++] = high.first;
        return PLSM_OK;
    }
    INVARIANT(low.first == high.first && low.second <= high.second);
    if (low.second < high.second) {
        t->ties[t->tie_count++] = (struct tie){low.first, low.second, high.second, borders->count};
        return PLSM_OK;
    }
    uint32_t rank = borders->count + t->tie_count;
    bool new_group = t->separators.count == 0 || t->last_separator_rank != rank;
    t->mixed_pages += new_group ? 2 : 1;
    if (t->separators.count == 0)
        t->first_separator_rank = rank;
    TRY(buf_append_varint(&t->separator_ranks, rank - t->last_separator_rank));
    t->last_separator_rank = rank;
    return separators_add(&t->separators, separator, separator.size);
}

static plsm_status sort_borders(struct training *t)
{
    const struct model_builder *b = t->b;
    struct kept kept = kept_start(b);
    struct buf whole = {0}; /* the separator at hand */
    const uint8_t *at = b->separators.coded.data, *end = at + b->separators.coded.size;
    plsm_status status = PLSM_NO_MEMORY;
    t->borders.low = mem_alloc(b->pages * sizeof *t->borders.low);
    t->borders.high = mem_alloc(b->pages * sizeof *t->borders.high);
    t->ties = mem_alloc(b->pages * sizeof *t->ties);
    if (!t->borders.low || !t->borders.high || !t->ties)
        goto done;
    for (uint32_t i = 0; i < b->separators.count; i++) {
        struct separator s = {0};
        if ((status = kept_next(&kept)))
            goto done;
        struct words low = words_of(&t->coder, buf_slice(&kept.key));
        if ((status = kept_next(&kept)))
            goto done;
        struct words high = words_of(&t->coder, buf_slice(&kept.key));
        at = separator_decode(at, end, 1, &s);
        INVARIANT(at && s.shared <= whole.size);
        whole.size = s.shared;
        if ((status = buf_append(&whole, s.suffix, s.suffix_size)) ||
            (status = sort_border(t, low, high, buf_slice(&whole))))
            goto done;
    }
    status = PLSM_OK;
done:
    buf_free(&kept.key);
    buf_free(&whole);
    return status;
}

static uint32_t parts_per_million(uint64_t part, uint64_t whole)
{
    return whole ? (uint32_t)(part * 1000000 / whole) : 1000000;
}

/* Pages that no separator has a part in. Each page has two border keys, but the run's ends have one. */
static void measure_accuracy(struct training *t)
{
    uint64_t pages = t->b->pages, keys = 2 * (pages - 1), mixed_keys = 2 * (uint64_t)t->mixed_pages;
    if (t->separators.count > 0)
        mixed_keys -= (t->first_separator_rank == 0) + (t->last_separator_rank == t->borders.count + t->tie_count);
    t->validation_accuracy = parts_per_million(pages - t->mixed_pages, pages);
    t->training_accuracy = parts_per_million(keys - mixed_keys, keys);
}

enum { OTHER_METADATA = 64 }; /* headers of the parts of a body, together at most */

/* The model over first words in the wished shape, or the next to it that follows these borders. PLSM_TOO_LARGE: none
 * does. */
static plsm_status train_plr(struct training *t, const struct model_wish *wish)
{
    struct plr plr = {0};
    size_t start = t->body.size, fixed = MODEL_HEADER_SIZE + MODEL_CHECKSUM_SIZE + start + OTHER_METADATA;
    struct plr_limits limits = {.segment_bytes_max = wish->metadata_max > fixed ? wish->metadata_max - fixed : 0,
                                .error_pages_max = wish->error_pages_max};
    plsm_status status = PLSM_TOO_LARGE;
    t->type = MODEL_PLR;
    if (wish->type == MODEL_LINEAR || wish->type == MODEL_NEURAL) {
        status = plr_train(&t->borders, wish->type == MODEL_LINEAR ? PLR_LINE : PLR_NETWORK, &limits, &t->body);
        t->type = status == PLSM_OK ? wish->type : MODEL_PLR;
    }
    if (status == PLSM_TOO_LARGE)
        status = plr_train(&t->borders, PLR_SEGMENTS, &limits, &t->body);
    if (status != PLSM_OK)
        return status;
    const uint8_t *at = t->body.data + start;
    TRY(plr_parse(&at, t->body.data + t->body.size, &plr));
    t->parameters = 4 * plr.segments + 3 * plr.network.units + plr.borders + 2 * plr.exceptions + t->tie_count +
                    t->separators.count;
    t->metadata = (uint32_t)(t->body.size - plr.correction_bytes);
    plr_free(&plr);
    return PLSM_OK;
}

/* Makes the body of a block of codes. *fits false: these keys are not for codes. */
static plsm_status train_codes(struct training *t, const struct model_wish *wish, bool *fits)
{
    enum { BORDERS_PER_SEPARATOR_MIN = 1000 }; /* more would be the traditional index in disguise */
    *fits = false;
    TRY(train_coder(t));
    TRY(sort_borders(t));
    if (t->separators.count > t->b->separators.count / BORDERS_PER_SEPARATOR_MIN)
        return PLSM_OK;
    plsm_status status = train_plr(t, wish);
    if (status == PLSM_OK)
        status = buf_append(&t->body, &(uint8_t){t->tie_count > 0}, 1);
    if (status == PLSM_OK && t->tie_count > 0)
        status = ties_build(t->ties, t->tie_count, t->borders.count, &t->body);
    if (status == PLSM_TOO_LARGE)
        return PLSM_OK;
    TRY(status);
    TRY(buf_append_varint(&t->body, t->separators.count));
    TRY(buf_append(&t->body, t->separator_ranks.data, t->separator_ranks.size));
    if (t->separators.count > 0)
        TRY(separators_finish(&t->separators, &t->body));
    measure_accuracy(t);
    *fits = true;
    return PLSM_OK;
}

static plsm_status train_trie(struct training *t)
{
    const struct model_builder *b = t->b;
    size_t start = t->body.size;
    TRY(trie_build((const struct trie_event *)(const void *)b->events.data, b->events.size / sizeof(struct trie_event),
                   &t->body));
    const uint8_t *at = t->body.data + start;
    struct trie trie;
    TRY(trie_parse(&at, t->body.data + t->body.size, &trie));
    t->type = MODEL_TRIE;
    t->parameters = 2 * trie.nodes;
    t->training_accuracy = t->validation_accuracy = 1000000;
    return PLSM_OK;
}

/* --- blocks ------------------------------------------------------------------------------------------------------- */

static plsm_status append_block(const struct training *t, uint64_t entries, uint64_t wall_ns, struct buf *out)
{
    const struct buf *skips = &t->b->skips;
    size_t body = skips->size + t->body.size, start = out->size;
    uint8_t header[MODEL_HEADER_SIZE] = {0};
    uint32_t skip_count = (uint32_t)(skips->size / sizeof(uint32_t));
    put_u32(header, MODEL_MAGIC);
    put_u32(header + MODEL_VERSION, MODEL_FORMAT);
    put_u32(header + MODEL_TYPE, t->type);
    put_u32(header + MODEL_DIMENSIONS, t->type == MODEL_TRIE ? 0 : t->dimensions);
    put_u32(header + MODEL_PARAMETERS, t->parameters);
    put_u32(header + MODEL_PAGES, t->b->pages + skip_count);
    put_u64(header + MODEL_SAMPLES, entries);
    put_u32(header + MODEL_TRAINING_ACCURACY, t->training_accuracy);
    put_u32(header + MODEL_VALIDATION_ACCURACY, t->validation_accuracy);
    put_u64(header + MODEL_TRAINED_WALL_NS, wall_ns);
    put_u64(header + MODEL_UPDATED_WALL_NS, wall_ns);
    put_u32(header + MODEL_SKIPS, skip_count);
    put_u32(header + MODEL_METADATA, t->metadata + MODEL_HEADER_SIZE + MODEL_CHECKSUM_SIZE);
    put_u64(header + MODEL_BODY_SIZE, body);
    TRY(buf_append(out, header, sizeof header));
    TRY(buf_append(out, skips->data, skips->size));
    TRY(buf_append(out, t->body.data, t->body.size));
    return buf_append_u64(out, checksum(out->data + start, out->size - start, 0));
}

/* Enters what is known only once the block was tried out. */
static void seal(struct buf *block, uint64_t train_ns, uint32_t find_ns_times_16)
{
    size_t summed = block->size - MODEL_CHECKSUM_SIZE;
    put_u64(block->data + MODEL_TRAINING_NS, train_ns);
    put_u32(block->data + MODEL_FIND_NS, find_ns_times_16);
    put_u64(block->data + summed, checksum(block->data, summed, 0));
}

/* Asks the finished model, as it will be read, for both keys of every border, and takes the time. Of keys that were not
 * kept whole only what codes say counts: tries and separators look behind what was kept. An error would be a bug in
 * training. *usable false: it errs, or takes more memory than it may. */
static plsm_status try_out(const struct model_builder *b, const struct buf *block, size_t memory_max, bool *usable,
                           uint32_t *find_ns_times_16)
{
    struct kept kept = kept_start(b);
    struct model *model = NULL;
    struct model_info info;
    const uint32_t *skips = (const uint32_t *)(const void *)b->skips.data;
    uint32_t skip = 0, skip_count = (uint32_t)(b->skips.size / sizeof *skips);
    struct env *env = env_posix();
    plsm_status status = model_open(buf_slice(block), &model);
    if (status != PLSM_OK)
        return status;
    model_get_info(model, &info);
    *usable = info.memory_bytes <= memory_max;
    uint64_t asked = 0, start_ns = env_now_ns(env);
    for (uint32_t i = 0; status == PLSM_OK && kept.at < kept.end; i++) {
        status = kept_next(&kept);
        uint32_t page = (i + 1) / 2; /* last of page 0, first of page 1, last of page 1, ... */
        while (skip < skip_count && skips[skip] <= page)
            skip++;
        if (status != PLSM_OK)
            break;
        struct model_answer answer = model_find(model, buf_slice(&kept.key));
        bool whole = kept.key.size < b->shared + CODE_POSITIONS_MAX;
        asked++;
        if ((whole || (info.type != MODEL_TRIE && answer.learned)) && answer.page != page + skip)
            *usable = false;
    }
    uint64_t took_ns = env_now_ns(env) - start_ns;
    *find_ns_times_16 = asked ? (uint32_t)(took_ns * 16 / asked) : 0;
    buf_free(&kept.key);
    model_close(model);
    return status;
}

/* --- finishing ---------------------------------------------------------------------------------------------------- */

/* A block that may be written. */
struct candidate {
    struct buf block;
    uint32_t find_ns_times_16;
    bool usable, tied; /* tied: first words do not tell all borders apart */
};

static plsm_status make_candidate(struct model_builder *b, const struct model_wish *wish, bool trie, uint64_t entries,
                                  uint64_t wall_ns, struct candidate *out)
{
    struct training t = {.b = b, .prefix = slice(b->first.data, b->shared)};
    bool fits = trie && !b->deep;
    plsm_status status = PLSM_OK;
    if (trie)
        status = fits ? train_trie(&t) : PLSM_OK;
    else
        status = train_codes(&t, wish, &fits);
    if (status == PLSM_OK && fits)
        status = append_block(&t, entries, wall_ns, &out->block);
    if (status == PLSM_OK && fits) {
        size_t metadata = get_u32(out->block.data + MODEL_METADATA);
        fits = metadata <= wish->metadata_max;
    }
    if (status == PLSM_OK && fits)
        status = try_out(b, &out->block, wish->memory_max, &out->usable, &out->find_ns_times_16);
    out->tied = t.borders.count < b->separators.count;
    training_free(&t);
    return status;
}

/* Whether codes are to be taken where both could be: the smaller, unless the larger is not much larger and much faster.
 * Example: 100 KB at 90 ns win over 120 KB at 80 ns, and lose against 120 KB at 60 ns. */
static bool codes_win(const struct candidate *codes, const struct candidate *trie)
{
    const double larger_at_most = 1.3, faster_at_least = 1.4;
    if (!codes->usable || !trie->usable)
        return codes->usable;
    bool codes_smaller = codes->block.size <= trie->block.size;
    const struct candidate *small = codes_smaller ? codes : trie, *large = codes_smaller ? trie : codes;
    bool large_wins = (double)large->block.size <= larger_at_most * (double)small->block.size &&
                      (double)small->find_ns_times_16 >= faster_at_least * (double)large->find_ns_times_16;
    return large_wins != codes_smaller;
}

plsm_status model_builder_finish(struct model_builder *b, const struct model_wish *wish, uint64_t entries,
                                 uint64_t wall_ns, struct buf *out, bool *built)
{
    struct candidate codes = {0}, trie = {0};
    struct env *env = env_posix();
    uint64_t start_ns = env_now_ns(env);
    plsm_status status = PLSM_OK;
    *built = false;
    if (b->pages == 0 || b->page_keys > 0)
        return fail(PLSM_INVALID, "learned index: a run without pages, or with an unfinished one");
    if (wish->type != MODEL_TRIE)
        status = make_candidate(b, wish, false, entries, wall_ns, &codes);
    /* Where first words tell all borders apart, a trie is larger and slower. */
    if (status == PLSM_OK && (!codes.usable || (wish->type == MODEL_AUTO && codes.tied)))
        status = make_candidate(b, wish, true, entries, wall_ns, &trie);
    if (status != PLSM_OK || (!codes.usable && !trie.usable))
        goto done;
    struct candidate *best = codes_win(&codes, &trie) ? &codes : &trie;
    seal(&best->block, env_now_ns(env) - start_ns, best->find_ns_times_16);
    status = buf_append(out, best->block.data, best->block.size);
    *built = status == PLSM_OK;
done:
    buf_free(&codes.block);
    buf_free(&trie.block);
    return status;
}
