/* The learned index of a run, as it is read; model_build.c makes it.
 *
 *   key --codes.c--> first word --plr.c--> rank among the borders that first words tell apart
 *       + ties.c: ties at or below the key
 *       + separators at or below the key, of the borders that second words do not tell apart either
 *   or
 *   key --trie.c--> rank among all borders
 *       + pages on which no key begins, in front of the key's --> page
 *
 * The page of a key is how many borders are at or below it, so the kinds of borders can be counted apart and added.
 * Pages that hold only further versions of a key begun before are no place to look for any key: they have no border,
 * and are counted in at the end.
 *
 * LIDX block, little-endian:
 *    0  u32  magic, "LIDX"
 *    4  u32  version, 2
 *    8  u32  model type (enum model_type), not MODEL_AUTO
 *   12  u32  feature dimensions: key positions that the codes look at; 0 for a trie
 *   16  u32  parameters: numbers in the model: 4 per segment, 3 per unit of a network, 1 per cut, 2 per exception, 1
 *   per tie, 1 per separator, 2
 *            per node of a trie
 *   20  u32  pages
 *   24  u64  training samples: entries of the run
 *   32  u32  training accuracy, parts per million: border keys (two per border) that the model alone, without a look
 *            at separators, puts on their page; verified on the finished model before it is written
 *   36  u32  validation accuracy, parts per million: pages on which that holds for every key, seen or not
 *   40  u64  training timestamp, ns since 1970
 *   48  u64  last update, ns since 1970
 *   56  u64  how long training took, ns
 *   64  u32  a lookup, measured after training: ns times 16
 *   68  u32  pages on which no key begins
 *   72  u32  metadata: bytes of the block that do not grow with the pages: header, alphabets, segments or weights
 *   76  u32  0
 *   80  u64  size of the body
 *   88       the body:
 *              u32 per page on which no key begins: how many pages with one are in front of it; never descending
 *            then MODEL_TRIE: a trie (trie.c); all others:
 *              a coder (codes.c), a piecewise linear model (plr.c),
 *              u8   1: ties (ties.c) follow; 0: there are none
 *              varint  borders that have separators
 *              varint  for each: how many more other borders are in front of it than in front of the one before
 *              a separator list of them (separators.c); absent when there are none
 *   end-8  u64  checksum: XXH3-64 over everything before it */
#include "learn/model.h"

#include <assert.h>

#include "base/alloc.h"
#include "base/checksum.h"
#include "base/error.h"
#include "learn/fences.h"
#include "learn/model_format.h"
#include "learn/ties.h"
#include "learn/trie.h"

#include "base/banned.h"

static_assert(MODEL_RESERVED + 4 == MODEL_BODY_SIZE && MODEL_BODY_SIZE + 8 == MODEL_HEADER_SIZE, "no gaps");

struct model {
    struct coder coder;
    struct plr plr;
    struct ties ties; /* zeroed where there are none */
    struct trie trie;
    uint8_t *trie_bytes; /* what it points into */
    size_t trie_size;
    struct fences *separators; /* of borders that codes do not tell apart; may be NULL */
    uint32_t *separator_ranks; /* per such border: others in front of it; ascending */
    uint32_t *skips;           /* pages on which no key begins: how many others are in front; never descending */
    uint32_t separator_count, skip_count, pages;
    struct model_info info;
};

const char *model_type_name(enum model_type type)
{
    static const char *const names[MODEL_TYPES] = {"auto", "linear", "plr", "neural", "trie"};
    return type < MODEL_TYPES ? names[type] : "unknown";
}

static plsm_status malformed(const char *what)
{
    return fail(PLSM_CORRUPT, "learned index: %s; rebuild it with plsm retrain", what);
}

/* --- opening ------------------------------------------------------------------------------------------------------ */

static plsm_status check_header(plsm_slice bytes)
{
    const uint8_t *at = bytes.data;
    if (bytes.size < MODEL_HEADER_SIZE + MODEL_CHECKSUM_SIZE)
        return malformed("the block is cut off");
    if (get_u32(at) != MODEL_MAGIC)
        return malformed("the magic is not LIDX");
    /* The version comes before the checksum: another format may put it elsewhere. */
    if (get_u32(at + MODEL_VERSION) != MODEL_FORMAT)
        return fail(PLSM_VERSION, "learned index: version %u; this program knows %d; rebuild it with plsm retrain",
                    get_u32(at + MODEL_VERSION), MODEL_FORMAT);
    size_t summed = bytes.size - MODEL_CHECKSUM_SIZE;
    if (checksum(at, summed, 0) != get_u64(at + summed))
        return malformed("the checksum is wrong");
    if (get_u64(at + MODEL_BODY_SIZE) != summed - MODEL_HEADER_SIZE)
        return malformed("the body has another size than the header says");
    if (get_u32(at + MODEL_PAGES) == 0 || get_u32(at + MODEL_SKIPS) >= get_u32(at + MODEL_PAGES))
        return malformed("there are no pages");
    return PLSM_OK;
}

static plsm_status parse_skips(struct model *m, const uint8_t **at, const uint8_t *end)
{
    uint32_t last = 0;
    if (m->skip_count > (size_t)(end - *at) / 4)
        return malformed("pages without keys are cut off");
    if (m->skip_count == 0)
        return PLSM_OK;
    m->skips = mem_alloc(m->skip_count * sizeof *m->skips);
    if (!m->skips)
        return fail(PLSM_NO_MEMORY, "learned index: no memory for %u pages", m->skip_count);
    for (uint32_t i = 0; i < m->skip_count; i++, *at += 4) {
        m->skips[i] = get_u32(*at);
        if (m->skips[i] < last || m->skips[i] > m->pages - m->skip_count)
            return malformed("pages without keys are out of order");
        last = m->skips[i];
    }
    return PLSM_OK;
}

static plsm_status parse_separators(struct model *m, const uint8_t *at, const uint8_t *end)
{
    uint64_t count = 0, rank = 0, others = (uint64_t)m->plr.borders + m->ties.count;
    at = get_varint(at, end, &count);
    if (!at || count > (size_t)(end - at) || count + others != (uint64_t)m->pages - m->skip_count - 1)
        return malformed("borders and pages do not fit together");
    m->separator_count = (uint32_t)count;
    if (count == 0)
        return at == end ? PLSM_OK : malformed("there are bytes behind the model");
    m->separator_ranks = mem_alloc(count * sizeof *m->separator_ranks);
    if (!m->separator_ranks)
        return fail(PLSM_NO_MEMORY, "learned index: no memory for %u borders", m->separator_count);
    for (uint64_t i = 0; i < count; i++) {
        uint64_t more = 0;
        at = get_varint(at, end, &more);
        if (!at || more > others - rank)
            return malformed("separators are cut off or out of range");
        rank += more;
        m->separator_ranks[i] = (uint32_t)rank;
    }
    TRY(fences_open(slice(at, (size_t)(end - at)), &m->separators));
    return fences_pages(m->separators) == m->separator_count + 1 ? PLSM_OK : malformed("borders lack separators");
}

static plsm_status parse_codes(struct model *m, const uint8_t *at, const uint8_t *end)
{
    TRY(coder_parse(&at, end, &m->coder));
    TRY(plr_parse(&at, end, &m->plr));
    if (at == end || *at > 1)
        return malformed("the block is cut off");
    if (*at++)
        TRY(ties_parse(&at, end, m->plr.borders, &m->ties));
    return parse_separators(m, at, end);
}

static plsm_status parse_trie(struct model *m, const uint8_t *at, const uint8_t *end)
{
    size_t size = (size_t)(end - at);
    m->trie_bytes = mem_alloc(size);
    if (!m->trie_bytes)
        return fail(PLSM_NO_MEMORY, "learned index: no memory for %zu bytes", size);
    memcpy(m->trie_bytes, at, size);
    m->trie_size = size;
    const uint8_t *from = m->trie_bytes;
    TRY(trie_parse(&from, from + size, &m->trie));
    if (from != m->trie_bytes + size)
        return malformed("there are bytes behind the model");
    return (uint64_t)m->trie.borders + 1 + m->skip_count == m->pages
               ? PLSM_OK
               : malformed("borders and pages do not fit together");
}

static plsm_status parse_body(struct model *m, const uint8_t *at, const uint8_t *end)
{
    TRY(parse_skips(m, &at, end));
    switch (m->info.type) {
    case MODEL_LINEAR:
    case MODEL_PLR:
    case MODEL_NEURAL:
        return parse_codes(m, at, end);
    case MODEL_TRIE:
        return parse_trie(m, at, end);
    default:
        return malformed("the model type is unknown");
    }
}

static void fill_info(struct model *m, plsm_slice bytes)
{
    const uint8_t *at = bytes.data;
    struct model_info *info = &m->info;
    info->pages = m->pages;
    info->segments = m->plr.segments;
    info->units = m->plr.network.units;
    info->exceptions = m->plr.exceptions;
    info->ties = m->ties.count;
    info->separators = m->separator_count;
    info->nodes = m->trie.nodes;
    info->skips = m->skip_count;
    info->error_pages = m->plr.borders ? 1u << (m->plr.window_log2 - 1) : 0;
    info->dimensions = get_u32(at + MODEL_DIMENSIONS);
    info->parameters = get_u32(at + MODEL_PARAMETERS);
    info->training_samples = get_u64(at + MODEL_SAMPLES);
    info->trained_wall_ns = get_u64(at + MODEL_TRAINED_WALL_NS);
    info->updated_wall_ns = get_u64(at + MODEL_UPDATED_WALL_NS);
    info->train_ns = get_u64(at + MODEL_TRAINING_NS);
    info->find_ns_times_16 = get_u32(at + MODEL_FIND_NS);
    info->training_accuracy_ppm = get_u32(at + MODEL_TRAINING_ACCURACY);
    info->validation_accuracy_ppm = get_u32(at + MODEL_VALIDATION_ACCURACY);
    info->block_bytes = bytes.size;
    info->metadata_bytes = get_u32(at + MODEL_METADATA);
    info->memory_bytes = sizeof *m + coder_memory(&m->coder) + plr_memory(&m->plr) + m->ties.memory_size +
                         m->trie_size + (size_t)m->skip_count * sizeof *m->skips +
                         (size_t)m->separator_count * sizeof *m->separator_ranks +
                         (m->separators ? fences_memory(m->separators) : 0);
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
    m->skip_count = get_u32(at + MODEL_SKIPS);
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
    ties_free(&m->ties);
    fences_close(m->separators);
    mem_free(m->trie_bytes);
    mem_free(m->separator_ranks);
    mem_free(m->skips);
    mem_free(m);
}

void model_get_info(const struct model *m, struct model_info *out)
{
    *out = m->info;
}

/* --- answers ------------------------------------------------------------------------------------------------------ */

/* How many of `count` ascending numbers are below `limit`. */
static uint32_t count_below(const uint32_t *numbers, uint32_t count, uint32_t limit)
{
    const uint32_t *base = numbers;
    if (count == 0)
        return 0;
    while (count > 1) {
        uint32_t half = count / 2;
        base += base[half - 1] < limit ? half : 0;
        count -= half;
    }
    return (uint32_t)(base - numbers) + (*base < limit);
}

/* From the number of the page among those on which a key begins. */
static inline struct model_answer answer(const struct model *m, uint64_t rank, bool learned)
{
    if (__builtin_expect(m->skip_count > 0, 0))
        rank += count_below(m->skips, m->skip_count, rank + 1 < UINT32_MAX ? (uint32_t)rank + 1 : UINT32_MAX);
    return (struct model_answer){rank < m->pages ? (uint32_t)rank : m->pages - 1, learned};
}

/* The key lies outside of what the codes know. */
static void decide(const struct model *m, uint32_t page, struct model_probe *probe)
{
    probe->decided = true;
    probe->reach = 0;
    probe->guess = page < m->pages ? page : m->pages - 1;
}

void model_begin(const struct model *m, plsm_slice key, struct model_probe *probe)
{
    probe->decided = false;
    if (m->pages == 1) {
        decide(m, 0, probe);
        return;
    }
    if (m->info.type == MODEL_TRIE) {
        probe->guess = trie_begin(&m->trie, key, &probe->trie);
        probe->reach = 0;
        return;
    }
    plsm_slice prefix = m->coder.prefix;
    if (key.size == 0 || !slice_starts_with(key, prefix)) {
        decide(m, slice_compare(key, prefix) <= 0 ? 0 : m->pages, probe);
        return;
    }
    plr_begin(&m->plr, coder_code(&m->coder, key, &probe->state), &probe->plr);
    uint64_t about = (probe->plr.low + probe->plr.high) / 2;
    probe->reach = (uint32_t)(probe->plr.high - about);
    if (m->plr.borders + 1 != m->pages)
        about = about * m->pages / (m->plr.borders + 1);
    probe->guess = about < m->pages ? (uint32_t)about : m->pages - 1;
}

struct model_answer model_end(const struct model *m, plsm_slice key, const struct model_probe *probe)
{
    if (probe->decided)
        return (struct model_answer){probe->guess, true};
    if (m->info.type == MODEL_TRIE)
        return answer(m, trie_end(&m->trie, key, &probe->trie), true);
    uint32_t rank = plr_end(&m->plr, &probe->plr);
    if (m->ties.count > 0)
        rank += ties_below(&m->ties, rank, &m->coder, key, probe->plr.code, probe->state);
    if (m->separator_count == 0)
        return answer(m, rank, true);
    uint32_t below = count_below(m->separator_ranks, m->separator_count, rank);
    if (below == m->separator_count || m->separator_ranks[below] != rank)
        return answer(m, (uint64_t)rank + below, true);
    /* The borders behind that rank are in question; their separators count them all. */
    return answer(m, (uint64_t)rank + fences_find(m->separators, key), false);
}

bool model_within(const struct model *m, const struct model_probe *probe, uint32_t page, unsigned *within)
{
    /* Only where all borders are told apart by first words is the page the rank. */
    if (probe->decided || m->info.type == MODEL_TRIE || m->plr.borders + 1 != m->pages)
        return false;
    *within = plr_within(&m->plr, &probe->plr, page);
    return true;
}

struct model_answer model_find(const struct model *m, plsm_slice key)
{
    struct model_probe probe;
    model_begin(m, key, &probe);
    return model_end(m, key, &probe);
}

uint64_t model_leaf(const struct model *m, plsm_slice key)
{
    return m->info.type == MODEL_TRIE ? trie_leaf(&m->trie, key) : 0;
}

uint32_t model_edge(const struct model *m, plsm_slice key, size_t shared, bool above)
{
    return answer(m, trie_edge(&m->trie, key, shared, above), true).page;
}

bool model_raw_position(const struct model *m, plsm_slice key, uint64_t *code, uint64_t *position)
{
    enum code_state state = CODE_WITHIN;
    *code = *position = 0;
    if (m->info.type == MODEL_TRIE || m->pages == 1)
        return false;
    if (!slice_starts_with(key, m->coder.prefix)) {
        bool above = slice_compare(key, m->coder.prefix) > 0;
        *code = above ? UINT64_MAX : 0;
        *position = above ? (uint64_t)(m->pages - 1) << 16 : 0;
        return true;
    }
    *code = coder_code(&m->coder, key, &state);
    *position = plr_raw_position(&m->plr, *code);
    return true;
}

bool model_segment(const struct model *m, uint32_t number, uint64_t *code)
{
    if (number >= m->plr.segments)
        return false;
    *code = m->plr.segment[number].start;
    return true;
}
