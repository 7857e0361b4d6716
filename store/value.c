#include "store/value.h"

#include <stddef.h>

#include "base/bytes.h"
#include "base/error.h"

#include "base/banned.h"

_Static_assert(offsetof(struct reference, size) == 8 && offsetof(struct reference, generation) == 16 &&
                   offsetof(struct reference, extents) == 24 && offsetof(struct reference, uniform) == 32,
               "the struct is laid out as its bytes are");

void reference_encode(const struct reference *reference, uint8_t out[REFERENCE_SIZE])
{
    memcpy(out, reference, REFERENCE_SIZE);
}

plsm_status reference_decode(plsm_slice bytes, struct reference *out)
{
    if (bytes.size != REFERENCE_SIZE)
        return fail(PLSM_CORRUPT, "a reference to extents has %zu bytes instead of %d; run plsm check", bytes.size,
                    REFERENCE_SIZE);
    struct reference read;
    memcpy(&read, bytes.data, REFERENCE_SIZE);
    if (read.id == 0 || read.generation == 0 || read.size > PLSM_VALUE_MAX || read.extents > extents_of(read.size) ||
        read.uniform > read.generation)
        return fail(
            PLSM_CORRUPT,
            "a reference to extents makes no sense: id %llu, size %llu, generation %llu, %llu extents; run plsm "
            "check",
            (unsigned long long)read.id, (unsigned long long)read.size, (unsigned long long)read.generation,
            (unsigned long long)read.extents);
    *out = read;
    return PLSM_OK;
}
