/* XXH3-64 of content and keys. */
#include "base/checksum.h"

#define XXH_INLINE_ALL /* keys are short: a call into a library would cost as much as the hash */
#include <xxhash.h>

#include "base/banned.h"

/* Not 0, so that a key's hash and the checksum of the same bytes under seed 0 are unrelated. Part of the format. */
#define KEY_SEED UINT64_C(0x706c736d6b657973)

enum { SHORT_SIZE_MAX = 240 }; /* XXH3 uses vectors for more than that */

uint64_t checksum(const void *data, size_t size, uint64_t seed)
{
#if defined(__x86_64__)
    if (size > SHORT_SIZE_MAX && __builtin_cpu_supports("avx2"))
        return checksum_avx2(data, size, seed);
#endif
    return XXH3_64bits_withSeed(data, size, seed);
}

uint64_t checksum_pieces(const plsm_slice *pieces, size_t count, uint64_t seed)
{
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2"))
        return checksum_pieces_avx2(pieces, count, seed);
#endif
    XXH3_state_t state;
    XXH3_INITSTATE(&state);
    XXH3_64bits_reset_withSeed(&state, seed);
    for (size_t i = 0; i < count; i++)
        XXH3_64bits_update(&state, pieces[i].data, pieces[i].size);
    return XXH3_64bits_digest(&state);
}

uint64_t key_hash(const void *key, size_t size)
{
    return XXH3_64bits_withSeed(key, size, KEY_SEED);
}
