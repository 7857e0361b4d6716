/* Checksums and hashes of content: XXH3-64 (libxxhash), 75 ns for 4 KiB where zlib's crc32 needs 1,084. */
#ifndef BASE_CHECKSUM_H
#define BASE_CHECKSUM_H

#include <stddef.h>
#include <stdint.h>

#include "base/slice.h"

/* The checksum of `size` bytes. `seed` ties it to its place (file salt, page number), so that a block found elsewhere
 * does not validate. */
uint64_t checksum(const void *data, size_t size, uint64_t seed);
/* The same of pieces, as if they stood behind each other. */
uint64_t checksum_pieces(const plsm_slice *pieces, size_t count, uint64_t seed);

#if defined(__x86_64__)
/* Private to checksum.c: the same values, for processors with AVX2. */
uint64_t checksum_avx2(const void *data, size_t size, uint64_t seed);
uint64_t checksum_pieces_avx2(const plsm_slice *pieces, size_t count, uint64_t seed);
#endif

/* The hash of a key for filters and fingerprints: the same for every run and every version of the format. */
uint64_t key_hash(const void *key, size_t size);

#endif
