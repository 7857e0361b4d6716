/* Compression. See codec.h. */
#include "base/codec.h"

#include <string.h>

#ifdef HAVE_LZ4
#include <lz4.h>
#endif
#ifdef HAVE_ZSTD
#include <zdict.h>
#include <zstd.h>
#endif

#include "base/alloc.h"
#include "base/error.h"
#include "base/banned.h"

/* zstd's level. A page is packed at every flush and compaction, so what costs time must pay for itself: of values like
 * JSON, 16 KiB at once, level 3 saves 1 % more than level 1 and takes a quarter more time. */
enum { ZSTD_LEVEL = 1 };

struct codec_context {
    uint8_t *scratch;
    size_t scratch_size;
#ifdef HAVE_LZ4
    void *lz4;
#endif
#ifdef HAVE_ZSTD
    ZSTD_CCtx *zstd_out;
    ZSTD_DCtx *zstd_in;
#endif
};

struct codec_dictionary {
#ifdef HAVE_ZSTD
    ZSTD_CDict *out; /* NULL until it is readied for writing */
    ZSTD_DDict *in;
#endif
    size_t size;
    uint8_t bytes[];
};

const char *codec_name(enum codec codec)
{
    static const char *const names[CODECS] = {"none", "lz4", "zstd"};
    return (unsigned)codec < CODECS ? names[codec] : "unknown";
}

plsm_status codec_available(enum codec codec)
{
    switch (codec) {
    case CODEC_NONE:
        return PLSM_OK;
    case CODEC_LZ4:
#ifdef HAVE_LZ4
        return PLSM_OK;
#else
        break;
#endif
    case CODEC_ZSTD:
#ifdef HAVE_ZSTD
        return PLSM_OK;
#else
        break;
#endif
    default:
        return fail(PLSM_UNSUPPORTED, "compression %u is unknown to this program; use a newer plsm", (unsigned)codec);
    }
    return fail(PLSM_UNSUPPORTED,
                "compression %s: this program was built without lib%s; install lib%s-dev and build it "
                "again",
                codec_name(codec), codec_name(codec), codec_name(codec));
}

/* A context goes from one thread to the next: it is charged to none of the accounts that they use. */
struct codec_context *codec_context_create(void)
{
    struct mem_account *before = mem_account_use(NULL);
    struct codec_context *context = mem_zalloc(sizeof *context);
    mem_account_use(before);
    return context;
}

void codec_context_destroy(struct codec_context *context)
{
    if (!context)
        return;
    struct mem_account *before = mem_account_use(NULL);
#ifdef HAVE_LZ4
    mem_free(context->lz4);
#endif
#ifdef HAVE_ZSTD
    ZSTD_freeCCtx(context->zstd_out);
    ZSTD_freeDCtx(context->zstd_in);
#endif
    mem_free(context->scratch);
    mem_free(context);
    mem_account_use(before);
}

uint8_t *codec_scratch(struct codec_context *context, size_t size)
{
    if (size > context->scratch_size || !context->scratch) {
        struct mem_account *before = mem_account_use(NULL);
        mem_free(context->scratch);
        context->scratch_size = 0;
        context->scratch = mem_alloc(size);
        mem_account_use(before);
        if (context->scratch)
            context->scratch_size = size;
    }
    return context->scratch;
}

/* --- LZ4 ---------------------------------------------------------------------------------------------------------- */

#ifdef HAVE_LZ4
static plsm_status lz4_compress(struct codec_context *context, plsm_slice bytes, uint8_t *out, size_t capacity,
                                size_t *size)
{
    if (bytes.size > LZ4_MAX_INPUT_SIZE || capacity > INT32_MAX)
        return fail(PLSM_TOO_LARGE, "%zu bytes are too many to compress at once", bytes.size);
    struct mem_account *before = mem_account_use(NULL);
    if (!context->lz4)
        context->lz4 = mem_alloc((size_t)LZ4_sizeofState());
    mem_account_use(before);
    if (!context->lz4)
        return fail(PLSM_NO_MEMORY, "no memory to compress");
    int packed = LZ4_compress_fast_extState(context->lz4, bytes.data, (char *)out, (int)bytes.size, (int)capacity, 1);
    *size = packed > 0 ? (size_t)packed : 0;
    return PLSM_OK;
}

static plsm_status lz4_decompress(plsm_slice bytes, uint8_t *out, size_t size)
{
    if (bytes.size > INT32_MAX || size > INT32_MAX)
        return PLSM_CORRUPT;
    int got = LZ4_decompress_safe(bytes.data, (char *)out, (int)bytes.size, (int)size);
    return got >= 0 && (size_t)got == size ? PLSM_OK : PLSM_CORRUPT;
}
#endif

/* --- zstd --------------------------------------------------------------------------------------------------------- */

#ifdef HAVE_ZSTD
static ZSTD_CCtx *zstd_out_create(void)
{
    ZSTD_CCtx *cctx = ZSTD_createCCtx();
    if (cctx && !ZSTD_isError(ZSTD_CCtx_setParameter(cctx, ZSTD_c_contentSizeFlag, 0)) &&
        !ZSTD_isError(ZSTD_CCtx_setParameter(cctx, ZSTD_c_dictIDFlag, 0)) &&
        !ZSTD_isError(ZSTD_CCtx_setParameter(cctx, ZSTD_c_compressionLevel, ZSTD_LEVEL)))
        return cctx;
    ZSTD_freeCCtx(cctx);
    return NULL;
}

static plsm_status zstd_compress(struct codec_context *context, const struct codec_dictionary *dictionary,
                                 plsm_slice bytes, uint8_t *out, size_t capacity, size_t *size)
{
    if (!context->zstd_out)
        context->zstd_out = zstd_out_create();
    ZSTD_CCtx *cctx = context->zstd_out;
    /* What did not fit the last time is still under way. */
    if (!cctx || ZSTD_isError(ZSTD_CCtx_reset(cctx, ZSTD_reset_session_only)) ||
        ZSTD_isError(ZSTD_CCtx_refCDict(cctx, dictionary ? dictionary->out : NULL)))
        return fail(PLSM_NO_MEMORY, "no memory to compress");
    size_t packed = ZSTD_compress2(cctx, out, capacity, bytes.data, bytes.size);
    *size = ZSTD_isError(packed) ? 0 : packed;
    return PLSM_OK;
}

static plsm_status zstd_decompress(struct codec_context *context, const struct codec_dictionary *dictionary,
                                   plsm_slice bytes, uint8_t *out, size_t size)
{
    if (!context->zstd_in)
        context->zstd_in = ZSTD_createDCtx();
    if (!context->zstd_in)
        return fail(PLSM_NO_MEMORY, "no memory to decompress");
    size_t got = dictionary
                     ? ZSTD_decompress_usingDDict(context->zstd_in, out, size, bytes.data, bytes.size, dictionary->in)
                     : ZSTD_decompressDCtx(context->zstd_in, out, size, bytes.data, bytes.size);
    return got == size ? PLSM_OK : PLSM_CORRUPT;
}
#endif

plsm_status codec_dictionary_create(plsm_slice bytes, struct codec_dictionary **out)
{
    *out = NULL;
#ifdef HAVE_ZSTD
    struct codec_dictionary *dictionary = mem_zalloc(sizeof *dictionary + bytes.size);
    if (!dictionary)
        return fail(PLSM_NO_MEMORY, "no memory for a dictionary");
    dictionary->size = bytes.size;
    memcpy(dictionary->bytes, bytes.data, bytes.size);
    /* What does not begin like a dictionary would be taken for plain text: not what was written. */
    if (ZDICT_getDictID(dictionary->bytes, bytes.size))
        dictionary->in = ZSTD_createDDict(dictionary->bytes, bytes.size);
    if (!dictionary->in) {
        mem_free(dictionary);
        return fail(PLSM_CORRUPT, "%zu bytes are no dictionary", bytes.size);
    }
    *out = dictionary;
    return PLSM_OK;
#else
    return codec_available(CODEC_ZSTD);
#endif
}

plsm_status codec_dictionary_write(struct codec_dictionary *dictionary)
{
#ifdef HAVE_ZSTD
    if (!dictionary->out)
        dictionary->out = ZSTD_createCDict(dictionary->bytes, dictionary->size, ZSTD_LEVEL);
    return dictionary->out ? PLSM_OK : fail(PLSM_NO_MEMORY, "no memory for a dictionary");
#else
    return codec_available(CODEC_ZSTD);
#endif
}

void codec_dictionary_destroy(struct codec_dictionary *dictionary)
{
    if (!dictionary)
        return;
#ifdef HAVE_ZSTD
    ZSTD_freeCDict(dictionary->out);
    ZSTD_freeDDict(dictionary->in);
#endif
    mem_free(dictionary);
}

plsm_status codec_train(const uint8_t *samples, const size_t *sizes, unsigned count, size_t capacity, struct buf *out)
{
#ifdef HAVE_ZSTD
    TRY(buf_reserve(out, capacity));
    size_t made = ZDICT_trainFromBuffer(out->data + out->size, capacity, samples, sizes, count);
    if (ZDICT_isError(made))
        return PLSM_NOT_FOUND;
    out->size += made;
    return PLSM_OK;
#else
    return codec_available(CODEC_ZSTD);
#endif
}

/* --- both --------------------------------------------------------------------------------------------------------- */

plsm_status codec_compress(struct codec_context *context, enum codec codec, const struct codec_dictionary *dictionary,
                           plsm_slice bytes, uint8_t *out, size_t capacity, size_t *size)
{
    *size = 0;
    switch (codec) {
#ifdef HAVE_LZ4
    case CODEC_LZ4:
        return lz4_compress(context, bytes, out, capacity, size);
#endif
#ifdef HAVE_ZSTD
    case CODEC_ZSTD:
        return zstd_compress(context, dictionary, bytes, out, capacity, size);
#endif
    default:
        TRY(codec_available(codec));
        if (bytes.size <= capacity) {
            memcpy(out, bytes.data, bytes.size);
            *size = bytes.size;
        }
        return PLSM_OK;
    }
}

plsm_status codec_decompress(struct codec_context *context, enum codec codec, const struct codec_dictionary *dictionary,
                             plsm_slice bytes, uint8_t *out, size_t size)
{
    switch (codec) {
#ifdef HAVE_LZ4
    case CODEC_LZ4:
        return lz4_decompress(bytes, out, size);
#endif
#ifdef HAVE_ZSTD
    case CODEC_ZSTD:
        return zstd_decompress(context, dictionary, bytes, out, size);
#endif
    default:
        TRY(codec_available(codec));
        if (bytes.size != size)
            return PLSM_CORRUPT;
        memcpy(out, bytes.data, size);
        return PLSM_OK;
    }
}
