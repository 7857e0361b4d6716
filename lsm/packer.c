/* Pages into units. See packer.h. */
#include "lsm/packer.h"

#include "base/alloc.h"
#include "base/error.h"
#include "lsm/compression.h"
#include "lsm/unit.h"
#include "base/banned.h"

enum {
    SAMPLE_BYTES = 512 << 10, /* of pages that a dictionary is trained on: more makes it no better and takes longer */
    SAMPLE_PIECE = 2 << 10,   /* they are given to the trainer in pieces of this size: a few entries each */
    SAMPLES_PER_BYTE = 8,     /* so many times its own size, at least, a dictionary is trained on */
};

struct packer {
    const struct run_context *context;
    struct codec_context *codec_context;
    enum codec codec;
    size_t page_max, dictionary_max;
    bool begun, waiting;           /* the first page was seen; they wait for a dictionary */
    uint8_t keyspace;              /* of the first page */
    struct buf pages;              /* those that wait */
    struct dictionary *dictionary; /* NULL: none */
    struct packer_sums sums;
};

plsm_status packer_create(const struct run_context *context, enum lsm_group group, struct packer **out)
{
    const struct lsm_options *options = context->options;
    struct packer *p = mem_zalloc(sizeof *p);
    *out = p;
    if (!p)
        return fail(PLSM_NO_MEMORY, "no memory to write a run");
    p->context = context;
    p->codec = options->groups[group].codec;
    p->page_max = context->index == LSM_CLASSIC ? PAGE_SIZE : options->compression_page;
    p->dictionary_max = p->codec == CODEC_ZSTD ? options->compression_dictionary : 0;
    p->codec_context = compression_take(context->compression);
    if (!p->codec_context)
        return fail(PLSM_NO_MEMORY, "no memory to write a run");
    return PLSM_OK;
}

void packer_destroy(struct packer *p)
{
    if (!p)
        return;
    compression_give(p->context->compression, p->codec_context);
    compression_dictionary_unref(p->context->compression, p->dictionary);
    buf_free(&p->pages);
    mem_free(p);
}

size_t packer_page_max(const struct packer *p)
{
    return p->page_max;
}

uint64_t packer_waiting(const struct packer *p)
{
    return p->pages.size;
}

void packer_get_sums(const struct packer *p, struct packer_sums *out)
{
    *out = p->sums;
    out->dictionary = p->dictionary ? dictionary_bytes(p->dictionary) : (plsm_slice){0};
}

static plsm_status pack(struct packer *p, plsm_slice page, const struct packer_target *target)
{
    uint64_t offset = target->written + target->out->size, place = offset >> UNIT_ALIGN_SHIFT;
    const uint8_t *data = page.data;
    enum codec codec = p->codec;
    size_t raw = page.size;
    if (place > UINT32_MAX / 2) /* half of it, so that the last unit surely ends below */
        return fail(PLSM_UNSUPPORTED, "a compressed run above 16 GiB: choose a smaller file_size or buffer_size");
    TRY(buf_append_u32(target->offsets, (uint32_t)place));
    TRY(unit_pack(p->codec_context, &codec, dictionary_codec(p->dictionary), page, p->page_max, target->salt ^ offset,
                  target->out));
    while (raw > 0 && data[raw - 1] == 0)
        raw--;
    p->sums.raw_bytes += raw;
    p->sums.codecs |= UINT32_C(1) << codec;
    return PLSM_OK;
}

/* The page that begins at `at` of those that wait. */
static plsm_slice waiting_page(const struct packer *p, size_t at)
{
    return slice(p->pages.data + at, page_bytes(p->pages.data + at));
}

/* What the pages that wait are packed. */
static plsm_status measure(struct packer *p, const struct codec_dictionary *dictionary, uint64_t *bytes)
{
    struct buf scratch = {0};
    plsm_status status = PLSM_OK;
    *bytes = 0;
    for (size_t at = 0; at < p->pages.size && status == PLSM_OK; at += waiting_page(p, at).size) {
        enum codec codec = p->codec;
        scratch.size = 0;
        status = unit_pack(p->codec_context, &codec, dictionary, waiting_page(p, at), p->page_max, 0, &scratch);
        *bytes += scratch.size;
    }
    buf_free(&scratch);
    return status;
}

/* Trains a dictionary on the pages that wait, into `bytes`; leaves it empty when they give none that is worth it. */
static plsm_status train(struct packer *p, struct buf *bytes)
{
    enum { PIECES_MAX = 2 * SAMPLE_BYTES / SAMPLE_PIECE };
    static const size_t piece = SAMPLE_PIECE;
    unsigned count = (unsigned)(p->pages.size / SAMPLE_PIECE);
    struct codec_dictionary *dictionary = NULL;
    uint64_t with = 0, without = 0;
    count = count < PIECES_MAX ? count : PIECES_MAX;
    size_t *sizes = mem_alloc((count + 1) * sizeof *sizes);
    if (!sizes)
        return fail(PLSM_NO_MEMORY, "no memory to train a dictionary");
    for (unsigned i = 0; i < count; i++)
        sizes[i] = piece;
    plsm_status status = codec_train(p->pages.data, sizes, count, p->dictionary_max, bytes);
    if (status == PLSM_OK)
        status = codec_dictionary_create(buf_slice(bytes), &dictionary);
    if (status == PLSM_CORRUPT) /* of bytes that were made just now */
        status = fail(PLSM_NO_MEMORY, "no memory for a dictionary");
    if (status == PLSM_OK)
        status = codec_dictionary_write(dictionary);
    if (status == PLSM_OK)
        status = measure(p, NULL, &without);
    if (status == PLSM_OK)
        status = measure(p, dictionary, &with);
    if (status == PLSM_NOT_FOUND || (status == PLSM_OK && !dictionary_is_worth(without, with))) {
        status = PLSM_OK;
        bytes->size = 0;
    }
    codec_dictionary_destroy(dictionary);
    mem_free(sizes);
    return status;
}

/* Enough pages have been seen to settle the dictionary: packs all that wait. */
static plsm_status settle(struct packer *p, const struct packer_target *target)
{
    struct buf bytes = {0};
    bool enough = p->pages.size >= SAMPLES_PER_BYTE * p->dictionary_max; /* otherwise the next run tries again */
    plsm_status status = enough ? train(p, &bytes) : PLSM_OK;
    if (status == PLSM_OK && enough)
        status = compression_learned(p->context->compression, p->keyspace, buf_slice(&bytes), &p->dictionary);
    buf_free(&bytes);
    for (size_t at = 0; at < p->pages.size && status == PLSM_OK; at += waiting_page(p, at).size)
        status = pack(p, waiting_page(p, at), target);
    p->waiting = false;
    buf_free(&p->pages);
    return status;
}

static plsm_status take_page(struct packer *p, plsm_slice page, uint8_t keyspace, const struct packer_target *target)
{
    if (!p->begun) {
        p->begun = true;
        p->keyspace = keyspace;
        p->waiting = p->dictionary_max > 0 &&
                     compression_advise(p->context->compression, keyspace, &p->dictionary) == DICTIONARY_TRAIN;
    }
    if (!p->waiting)
        return pack(p, page, target);
    TRY(buf_append(&p->pages, page.data, page.size));
    return p->pages.size >= SAMPLE_BYTES ? settle(p, target) : PLSM_OK;
}

/* Counts what a step took and made. */
static void count(const struct packer *p, uint64_t start_ns, uint64_t raw_before, uint64_t stored)
{
    struct counters *counters = p->context->counters;
    counter_add(counters, COUNT_COMPRESS_NS, env_cpu_ns(p->context->env) - start_ns);
    counter_add(counters, COUNT_COMPRESS_RAW_BYTES, p->sums.raw_bytes - raw_before);
    counter_add(counters, COUNT_COMPRESS_STORED_BYTES, stored);
}

plsm_status packer_page(struct packer *p, plsm_slice page, uint8_t keyspace, const struct packer_target *target)
{
    uint64_t start_ns = env_cpu_ns(p->context->env), raw = p->sums.raw_bytes;
    size_t size = target->out->size;
    TRY(take_page(p, page, keyspace, target));
    count(p, start_ns, raw, target->out->size - size);
    return PLSM_OK;
}

plsm_status packer_finish(struct packer *p, const struct packer_target *target)
{
    uint64_t start_ns = env_cpu_ns(p->context->env), raw = p->sums.raw_bytes;
    size_t size = target->out->size;
    if (!p->waiting)
        return PLSM_OK;
    TRY(settle(p, target));
    count(p, start_ns, raw, target->out->size - size);
    return PLSM_OK;
}
