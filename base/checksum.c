/* XXH3-64 of content and keys. */
#include "base/checksum.h"

#define XXH_INLINE_ALL /* keys are short: a call into a library would cost as much as the hash */
#include <xxhash.h>

#include "base/banned.h"

/* Not 0, so that a key's hash and the checksum of the same bytes under seed 0 are unrelated. Part of the format. */
#define KEY_SEED UINT64_C(0x706c736d6b657973)

uint64_t checksum(const void *data, size_t size, uint64_t seed)
{
    return XXH3_64bits_withSeed(data, size, seed);
}

uint64_t key_hash(const void *key, size_t size)
{
    return XXH3_64bits_withSeed(key, size, KEY_SEED);
}
