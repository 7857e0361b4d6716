/* Training a learned index from the keys at page borders; the block's layout is in model.c.
 *
 * While the run is written, two things are kept per border: its separator, front-coded, and the two keys around it as
 * far as a code can look at them. How far that is depends on the prefix that all keys share, which is known only at the
 * end; but it can only get shorter, so a key is kept up to CODE_POSITIONS_MAX bytes behind what is shared so far. */
#include "base/alloc.h"
#include "base/checksum.h"
#include "base/env.h"
#include "base/error.h"
#include "learn/codes.h"
#include "learn/model.h"
#include "learn/model_format.h"
#include "learn/plr.h"
#include "learn/separators.h"

#include "base/banned.h"

struct model_builder {
    struct separators_builder separators; /* one per border */
    struct buf keys;                      /* front-coded: last, first, last, first, ... of the borders, cut */
    struct buf previous;                  /* the last one of those */
    struct buf first;                     /* the first key of the run */
    size_t shared;                        /* bytes that all keys so far share */
    size_t told_apart;                    /* bytes needed to tell the keys around a border apart; the largest so far */
    uint32_t pages;
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
    buf_free(&b->keys);
    buf_free(&b->previous);
    buf_free(&b->first);
    mem_free(b);
}

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

plsm_status model_builder_add(struct model_builder *b, plsm_slice last, plsm_slice first)
{
    if (first.size == 0 || (b->pages > 0 && last.size == 0))
        return fail(PLSM_INVALID, "learned index: page %u starts or ends with an empty key", b->pages);
    if (b->pages == 0) {
        TRY(buf_append(&b->first, first.data, first.size));
        b->shared = first.size;
        b->pages = 1;
        return PLSM_OK;
    }
    size_t size = separator_size(last, first);
    if (size == 0)
        return fail(PLSM_INVALID, "learned index: page %u starts with a key below the last one before it", b->pages);
    TRY(separators_add(&b->separators, first, size));
    TRY(keep_key(b, last));
    TRY(keep_key(b, first));
    size_t shared = slice_common(slice(b->first.data, b->shared), first);
    b->shared = shared < b->shared ? shared : b->shared;
    if (size <= first.size && size > b->told_apart)
        b->told_apart = size;
    b->pages++;
    return PLSM_OK;
}

/* Walks what keep_key wrote. */
struct kept {
    const uint8_t *at, *end;
    struct buf key;
};

static plsm_status kept_next(struct kept *k)
{
    uint64_t common = 0, more = 0;
    k->at = get_varint(k->at, k->end, &common);
    k->at = get_varint(k->at, k->end, &more);
    k->key.size = common;
    k->at += more;
    return buf_append(&k->key, k->at - more, more);
}

static plsm_slice behind_prefix(plsm_slice key, size_t prefix)
{
    return slice((const uint8_t *)key.data + prefix, key.size - prefix);
}

/* Scratch of finish. */
struct training {
    struct model_builder *b;
    plsm_slice prefix;
    struct coder coder;
    struct plr plr;
    struct plr_borders borders;         /* those that codes tell apart */
    struct separators_builder collided; /* the others */
    struct buf collided_ranks;          /* varints, see model.c */
    struct buf body;
    uint32_t first_collided_rank, last_collided_rank;
    uint32_t mixed_pages; /* those whose rank has several pages */
    uint32_t dimensions, parameters;
    uint32_t training_accuracy, validation_accuracy; /* parts per million */
};

static void training_free(struct training *t)
{
    coder_free(&t->coder);
    plr_free(&t->plr);
    mem_free(t->borders.low);
    mem_free(t->borders.high);
    separators_builder_free(&t->collided);
    buf_free(&t->collided_ranks);
    buf_free(&t->body);
}

static plsm_status train_coder(struct training *t, plsm_slice last)
{
    struct model_builder *b = t->b;
    struct kept kept = {b->keys.data, b->keys.data + b->keys.size, {0}};
    struct code_training alphabets;
    plsm_status status = PLSM_OK;
    code_training_start(&alphabets);
    code_training_note(&alphabets, behind_prefix(buf_slice(&b->first), t->prefix.size));
    code_training_note(&alphabets, behind_prefix(last, t->prefix.size));
    while (kept.at < kept.end) {
        if ((status = kept_next(&kept)))
            goto done;
        if (kept.key.size < t->prefix.size) {
            status = fail(PLSM_INVALID, "learned index: keys are not in order");
            goto done;
        }
        code_training_note(&alphabets, behind_prefix(buf_slice(&kept.key), t->prefix.size));
    }
    /* Positions that tell no border apart would only cost time. */
    size_t positions = b->told_apart > t->prefix.size ? b->told_apart - t->prefix.size : 0;
    unsigned most = positions < CODE_POSITIONS_MAX ? (unsigned)positions : CODE_POSITIONS_MAX;
    if ((status = code_training_finish(&alphabets, t->prefix, most, &t->body)))
        goto done;
    const uint8_t *at = t->body.data;
    if ((status = coder_parse(&at, at + t->body.size, &t->coder)))
        goto done;
    t->dimensions = t->coder.positions;
done:
    buf_free(&kept.key);
    return status;
}

/* Puts one border where it belongs. `separator` is its separator. */
static plsm_status sort_border(struct training *t, uint64_t low, uint64_t high, plsm_slice separator)
{
    struct plr_borders *borders = &t->borders;
    uint64_t before = borders->count ? borders->high[borders->count - 1] : 0;
    if (low < before || high < low)
        return fail(PLSM_INVALID, "learned index: keys are not in order");
    if (low < high) {
        borders->low[borders->count] = low;
        borders->high[borders->count++] = high;
        return PLSM_OK;
    }
    bool new_group = t->collided.count == 0 || t->last_collided_rank != borders->count;
    t->mixed_pages += new_group ? 2 : 1;
    if (t->collided.count == 0)
        t->first_collided_rank = borders->count;
    TRY(buf_append_varint(&t->collided_ranks, borders->count - t->last_collided_rank));
    t->last_collided_rank = borders->count;
    return separators_add(&t->collided, separator, separator.size);
}

static plsm_status sort_borders(struct training *t)
{
    struct model_builder *b = t->b;
    struct kept kept = {b->keys.data, b->keys.data + b->keys.size, {0}};
    struct buf whole = {0};
    const uint8_t *at = b->separators.coded.data, *end = at + b->separators.coded.size;
    plsm_status status = PLSM_NO_MEMORY;
    t->borders.low = mem_alloc(b->pages * sizeof *t->borders.low);
    t->borders.high = mem_alloc(b->pages * sizeof *t->borders.high);
    if (!t->borders.low || !t->borders.high)
        goto done;
    for (uint32_t i = 0; i < b->separators.count; i++) {
        struct separator s = {0};
        if ((status = kept_next(&kept)))
            goto done;
        uint64_t low = coder_code(&t->coder, behind_prefix(buf_slice(&kept.key), t->prefix.size));
        if ((status = kept_next(&kept)))
            goto done;
        uint64_t high = coder_code(&t->coder, behind_prefix(buf_slice(&kept.key), t->prefix.size));
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

/* Asks the finished model, as it will be read, for every border. False would be a bug in fitting; such a model is not
 * written. */
static bool verify(const struct training *t)
{
    for (uint32_t i = 0; i < t->borders.count; i++)
        if (plr_rank(&t->plr, t->borders.low[i]) != i || plr_rank(&t->plr, t->borders.high[i]) != i + 1)
            return false;
    return true;
}

static uint32_t parts_per_million(uint64_t part, uint64_t whole)
{
    return whole ? (uint32_t)(part * 1000000 / whole) : 1000000;
}

/* Pages that are alone in their rank need no separators. Each page has two border keys, but the run's ends have one. */
static void measure_accuracy(struct training *t)
{
    uint64_t pages = t->b->pages, keys = 2 * (pages - 1), mixed_keys = 2 * (uint64_t)t->mixed_pages;
    if (t->collided.count > 0)
        mixed_keys -= (t->first_collided_rank == 0) + (t->last_collided_rank == t->borders.count);
    t->validation_accuracy = parts_per_million(pages - t->mixed_pages, pages);
    t->training_accuracy = parts_per_million(keys - mixed_keys, keys);
}

/* Makes the body of a MODEL_PLR block. */
static plsm_status train(struct training *t, plsm_slice last)
{
    TRY(train_coder(t, last));
    TRY(sort_borders(t));
    size_t coder_size = t->body.size;
    TRY(plr_train(&t->borders, &t->body));
    const uint8_t *at = t->body.data + coder_size;
    TRY(plr_parse(&at, t->body.data + t->body.size, &t->plr));
    TRY(buf_append_varint(&t->body, t->collided.count));
    TRY(buf_append(&t->body, t->collided_ranks.data, t->collided_ranks.size));
    if (t->collided.count > 0)
        TRY(separators_finish(&t->collided, &t->body));
    t->parameters = 3 * t->plr.segments + t->plr.borders + 2 * t->plr.exceptions + t->collided.count;
    measure_accuracy(t);
    return PLSM_OK;
}

static plsm_status append_block(const struct training *t, enum model_type type, plsm_slice body, uint64_t entries,
                                uint64_t wall_ns, uint64_t train_ns, struct buf *out)
{
    TRY(buf_reserve(out, MODEL_HEADER_SIZE + body.size + MODEL_CHECKSUM_SIZE));
    uint8_t *at = out->data + out->size;
    bool learned = type == MODEL_PLR;
    put_u32(at, MODEL_MAGIC);
    put_u32(at + MODEL_VERSION, MODEL_FORMAT);
    put_u32(at + MODEL_TYPE, type);
    put_u32(at + MODEL_DIMENSIONS, learned ? t->dimensions : 0);
    put_u32(at + MODEL_PARAMETERS, learned ? t->parameters : t->b->separators.count);
    put_u32(at + MODEL_PAGES, t->b->pages);
    put_u64(at + MODEL_SAMPLES, entries);
    put_u32(at + MODEL_TRAINING_ACCURACY, learned ? t->training_accuracy : 0);
    put_u32(at + MODEL_VALIDATION_ACCURACY, learned ? t->validation_accuracy : 0);
    put_u64(at + MODEL_TRAINED_WALL_NS, wall_ns);
    put_u64(at + MODEL_UPDATED_WALL_NS, wall_ns);
    put_u64(at + MODEL_TRAINING_NS, train_ns);
    put_u64(at + MODEL_BODY_SIZE, body.size);
    memcpy(at + MODEL_HEADER_SIZE, body.data, body.size);
    size_t summed = MODEL_HEADER_SIZE + body.size;
    put_u64(at + summed, checksum(at, summed, 0));
    out->size += summed + MODEL_CHECKSUM_SIZE;
    return PLSM_OK;
}

plsm_status model_builder_finish(struct model_builder *b, plsm_slice last, uint64_t entries, uint64_t wall_ns,
                                 struct buf *out)
{
    struct training t = {.b = b};
    struct buf list = {0};
    struct env *env = env_posix();
    uint64_t start_ns = env_now_ns(env);
    plsm_status status = PLSM_OK;
    if (b->pages == 0)
        return fail(PLSM_INVALID, "learned index: a run without pages");
    if (slice_compare(last, buf_slice(&b->first)) < 0 || slice_compare(last, buf_slice(&b->previous)) < 0)
        return fail(PLSM_INVALID, "learned index: keys are not in order");
    size_t shared = slice_common(slice(b->first.data, b->shared), last);
    t.prefix = slice(b->first.data, shared < b->shared ? shared : b->shared);
    if ((status = separators_finish(&b->separators, &list)) || (status = train(&t, last)))
        goto done;
    bool learned = t.body.size <= list.size && verify(&t);
    status = append_block(&t, learned ? MODEL_PLR : MODEL_SEPARATORS, buf_slice(learned ? &t.body : &list), entries,
                          wall_ns, env_now_ns(env) - start_ns, out);
done:
    training_free(&t);
    buf_free(&list);
    return status;
}
