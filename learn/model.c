/* The learned index of a run, as it is read; model_build.c makes it.
 *
 *   key --codes.c--> 64-bit code --plr.c--> rank among the borders that codes tell apart
 *       --collided borders in front, by number--> page   or, where collided borders follow that rank,
 *       --separators of the collided borders--> page
 *
 * A border between two pages is collided when the codes of the keys on both sides are equal: such borders are no part
 * of the piecewise linear model, and their separators are kept. The page of a key is the number of borders at or below
 * it, so both kinds can be counted apart and added.
 *
 * LIDX block, little-endian:
 *    0  u32  magic, "LIDX"
 *    4  u32  version, 1
 *    8  u32  model type (enum model_type)
 *   12  u32  feature dimensions: key positions that the code looks at
 *   16  u32  parameters: numbers in the model: 3 per segment, 1 per cut, 2 per exception, 1 per collided border; with
 *            MODEL_SEPARATORS, separators
 *   20  u32  pages
 *   24  u64  training samples: entries of the run
 *   32  u32  training accuracy, parts per million: border keys (two per border) that the arithmetic alone puts on their
 *            page, without a look at separators; verified on the finished model before it is written
 *   36  u32  validation accuracy, parts per million: pages on which that holds for every key, seen or not
 *   40  u64  training timestamp, ns since 1970
 *   48  u64  last update, ns since 1970: as above until a model can be updated in place
 *   56  u64  how long training took, ns
 *   64  u64  size of the body
 *   72       the body. MODEL_SEPARATORS: a separator list (separators.c), one separator per border.
 *            MODEL_PLR: coder (codes.c), piecewise linear model (plr.c), then
 *              varint  collided borders
 *              varint  for each: how many more borders of the piecewise linear model are in front of it than in front
 *                      of the collided border before
 *              a separator list of them; absent when there are none
 *   end-8  u64  checksum: XXH3-64 over everything before it */
#include <assert.h>

#include "base/alloc.h"
#include "base/checksum.h"
#include "base/error.h"
#include "learn/codes.h"
#include "learn/fences.h"
#include "learn/model.h"
#include "learn/model_format.h"
#include "learn/plr.h"

#include "base/banned.h"

static_assert(MODEL_TRAINING_NS + 8 == MODEL_BODY_SIZE && MODEL_BODY_SIZE + 8 == MODEL_HEADER_SIZE, "no gaps");

struct model {
    struct coder coder;
    struct plr plr;
    struct fences *separators; /* of all borders, or of the collided ones; may be NULL */
    uint32_t *collided_ranks;  /* per collided border: borders of plr in front of it; ascending */
    uint32_t collided, pages;
    struct model_info info;
};

static plsm_status malformed(const char *what)
{
    return fail(PLSM_CORRUPT, "learned index: %s; rebuild it with a compaction", what);
}

static plsm_status check_header(plsm_slice bytes)
{
    const uint8_t *at = bytes.data;
    if (bytes.size < MODEL_HEADER_SIZE + MODEL_CHECKSUM_SIZE)
        return malformed("the block is cut off");
    if (get_u32(at) != MODEL_MAGIC)
        return malformed("the magic is not LIDX");
    /* The version comes before the checksum: a later format may put it elsewhere. */
    if (get_u32(at + MODEL_VERSION) != MODEL_FORMAT)
        return fail(PLSM_VERSION, "learned index: version %u; this program knows %d", get_u32(at + MODEL_VERSION),
                    MODEL_FORMAT);
    size_t summed = bytes.size - MODEL_CHECKSUM_SIZE;
    if (checksum(at, summed, 0) != get_u64(at + summed))
        return malformed("the checksum is wrong");
    if (get_u64(at + MODEL_BODY_SIZE) != summed - MODEL_HEADER_SIZE)
        return malformed("the body has another size than the header says");
    if (get_u32(at + MODEL_PAGES) == 0)
        return malformed("there are no pages");
    return PLSM_OK;
}

static plsm_status parse_collided(struct model *m, const uint8_t *at, const uint8_t *end)
{
    uint64_t count = 0, rank = 0;
    at = get_varint(at, end, &count);
    if (!at || count > (size_t)(end - at) || count != (uint64_t)m->pages - 1 - m->plr.borders)
        return malformed("borders and pages do not fit together");
    m->collided = (uint32_t)count;
    if (count == 0)
        return at == end ? PLSM_OK : malformed("there are bytes behind the model");
    m->collided_ranks = mem_alloc(count * sizeof *m->collided_ranks);
    if (!m->collided_ranks)
        return fail(PLSM_NO_MEMORY, "learned index: no memory for %u borders", m->collided);
    for (uint64_t i = 0; i < count; i++) {
        uint64_t more = 0;
        at = get_varint(at, end, &more);
        if (!at || more > m->plr.borders - rank)
            return malformed("collided borders are cut off or out of range");
        rank += more;
        m->collided_ranks[i] = (uint32_t)rank;
    }
    TRY(fences_open(slice(at, (size_t)(end - at)), &m->separators));
    return fences_pages(m->separators) == m->collided + 1 ? PLSM_OK : malformed("collided borders lack separators");
}

static plsm_status parse_body(struct model *m, const uint8_t *at, const uint8_t *end)
{
    if (m->info.type == MODEL_SEPARATORS) {
        TRY(fences_open(slice(at, (size_t)(end - at)), &m->separators));
        return fences_pages(m->separators) == m->pages ? PLSM_OK : malformed("pages and separators differ in number");
    }
    if (m->info.type != MODEL_PLR)
        return malformed("the model type is unknown");
    TRY(coder_parse(&at, end, &m->coder));
    TRY(plr_parse(&at, end, &m->plr));
    return parse_collided(m, at, end);
}

static void fill_info(struct model *m, plsm_slice bytes)
{
    const uint8_t *at = bytes.data;
    struct model_info *info = &m->info;
    info->pages = m->pages;
    info->segments = m->plr.segments;
    info->ambiguous_borders = m->collided;
    info->error_pages = m->info.type == MODEL_PLR ? 1u << (m->plr.window_log2 - 1) : 0;
    info->training_samples = get_u64(at + MODEL_SAMPLES);
    info->trained_wall_ns = get_u64(at + MODEL_TRAINED_WALL_NS);
    info->train_ns = get_u64(at + MODEL_TRAINING_NS);
    info->training_accuracy_ppm = get_u32(at + MODEL_TRAINING_ACCURACY);
    info->validation_accuracy_ppm = get_u32(at + MODEL_VALIDATION_ACCURACY);
    info->block_bytes = bytes.size;
    info->memory_bytes = sizeof *m + coder_memory(&m->coder) + m->plr.memory_size +
                         m->collided * sizeof *m->collided_ranks + (m->separators ? fences_memory(m->separators) : 0);
}

plsm_status model_open(plsm_slice bytes, struct model **out)
{
    *out = NULL;
    TRY(check_header(bytes));
    const uint8_t *at = bytes.data;
    struct model *m = mem_zalloc(sizeof *m);
    if (!m)
        return fail(PLSM_NO_MEMORY, "learned index: no memory to open it");
    m->info.type = (enum model_type)get_u32(at + MODEL_TYPE);
    m->pages = get_u32(at + MODEL_PAGES);
    plsm_status status = parse_body(m, at + MODEL_HEADER_SIZE, at + bytes.size - MODEL_CHECKSUM_SIZE);
    if (status) {
        model_close(m);
        return status;
    }
    fill_info(m, bytes);
    *out = m;
    return PLSM_OK;
}

void model_close(struct model *m)
{
    if (!m)
        return;
    coder_free(&m->coder);
    plr_free(&m->plr);
    fences_close(m->separators);
    mem_free(m->collided_ranks);
    mem_free(m);
}

/* How many collided borders have fewer than `rank` others in front. */
static uint32_t collided_below(const struct model *m, uint32_t rank)
{
    const uint32_t *base = m->collided_ranks;
    uint32_t count = m->collided;
    while (count > 1) {
        uint32_t half = count / 2;
        base += base[half - 1] < rank ? half : 0;
        count -= half;
    }
    return (uint32_t)(base - m->collided_ranks) + (*base < rank);
}

static inline struct model_answer answer(const struct model *m, uint64_t page, bool learned)
{
    return (struct model_answer){page < m->pages ? (uint32_t)page : m->pages - 1, learned};
}

struct model_answer model_find(const struct model *m, plsm_slice key)
{
    if (m->pages == 1)
        return answer(m, 0, true);
    if (m->info.type == MODEL_SEPARATORS)
        return answer(m, fences_find(m->separators, key), false);
    plsm_slice prefix = m->coder.prefix;
    if (key.size == 0 || !slice_starts_with(key, prefix))
        return answer(m, slice_compare(key, prefix) <= 0 ? 0 : m->pages, true);
    uint64_t code = coder_code(&m->coder, slice((const uint8_t *)key.data + prefix.size, key.size - prefix.size));
    uint32_t rank = plr_rank(&m->plr, code);
    if (m->collided == 0)
        return answer(m, rank, true);
    uint32_t below = collided_below(m, rank);
    if (below == m->collided || m->collided_ranks[below] != rank)
        return answer(m, (uint64_t)rank + below, true);
    /* The collided borders behind that rank are in question; their separators count them all. */
    return answer(m, (uint64_t)rank + fences_find(m->separators, key), false);
}

void model_get_info(const struct model *m, struct model_info *out)
{
    *out = m->info;
}
