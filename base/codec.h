/* Compression: LZ4 and zstd behind one door.
 *
 * Each library is optional when this is built (HAVE_LZ4, HAVE_ZSTD): what was built without one can neither write nor
 * read what it makes, and says so by name. Blocks are raw LZ4 blocks and zstd frames without size, checksum and
 * dictionary number: who keeps them knows all three. Decompression is bounded by the room that is given and never
 * reads behind its input, whatever the bytes are. */
#ifndef BASE_CODEC_H
#define BASE_CODEC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"

/* The numbers stand in files. */
enum codec { CODEC_NONE, CODEC_LZ4, CODEC_ZSTD, CODECS };

const char *codec_name(enum codec codec); /* static: "none", "lz4", "zstd" */
/* PLSM_UNSUPPORTED, with the name of the missing library in the message, where this was built without it. */
plsm_status codec_available(enum codec codec);

/* What one thread at a time needs to work: states of the libraries, made at their first use, and scratch memory. */
struct codec_context;
struct codec_context *codec_context_create(void);         /* NULL: no memory */
void codec_context_destroy(struct codec_context *context); /* accepts NULL */
/* At least `size` bytes of scratch; what was there is lost when it grows. NULL: no memory. */
uint8_t *codec_scratch(struct codec_context *context, size_t size);

/* Bytes that both sides know beforehand (zstd only), digested once. Many threads may use one. */
struct codec_dictionary;
/* `bytes` is copied. PLSM_CORRUPT: they are no dictionary; PLSM_NO_MEMORY. */
plsm_status codec_dictionary_create(plsm_slice bytes, struct codec_dictionary **out);
void codec_dictionary_destroy(struct codec_dictionary *dictionary); /* accepts NULL */
/* Readies it for compressing too, which takes several times its size; not by two threads at once. PLSM_NO_MEMORY. */
plsm_status codec_dictionary_write(struct codec_dictionary *dictionary);

/* Compresses `bytes` into at most `capacity` bytes at `out`; *size 0: it does not fit. `dictionary` may be NULL; it
 * must have been readied for writing. PLSM_NO_MEMORY. */
plsm_status codec_compress(struct codec_context *context, enum codec codec, const struct codec_dictionary *dictionary,
                           plsm_slice bytes, uint8_t *out, size_t capacity, size_t *size);
/* The way back: exactly `size` bytes at `out`. PLSM_CORRUPT without a message: that is not what the bytes hold.
 * PLSM_UNSUPPORTED, PLSM_NO_MEMORY. */
plsm_status codec_decompress(struct codec_context *context, enum codec codec,
                             const struct codec_dictionary *dictionary, plsm_slice bytes, uint8_t *out, size_t size);

/* Makes a dictionary of at most `capacity` bytes out of samples that stand one behind the other, `count` of them, and
 * appends it to `out`. PLSM_NOT_FOUND: they have nothing in common, or are too few. PLSM_NO_MEMORY.
 * Source: zstd's fast COVER (Liao, Petri, Moffat and Wirth, "Effective Construction of Relative Lempel-Ziv
 * Dictionaries", WWW 2016). */
plsm_status codec_train(const uint8_t *samples, const size_t *sizes, unsigned count, size_t capacity, struct buf *out);

#endif
