/* Reading a classifier.
 *
 * Serialized form, little-endian:
 *    0  u8   format, 1
 *    1  u8   kinds of features (learn/features.h), not 0
 *    2  u8   cells, as a power of two: 10 to 13
 *    3  u8   thresholds, 1 to 7
 *    4  i32  each threshold, ascending
 *            then cells / 2 bytes: the weight of cell 2 i in the low half of byte i, of cell 2 i + 1 in the high half.
 *            A half 0 is weight 0; 1 to 7 are 1, 2, 4, ... 64; 8 to 14 are -1, -2, -4, ... -64; 15 is 0, not written.
 * Weights are powers of two because what tells keys apart has weights far larger than the rest, and both count:
 * measured, 8,192 cells of 4 bits are as good as 8,192 of 8 bits, and better than 4,096 of 8. */
#include <assert.h>

#include "base/error.h"
#include "learn/classifier.h"
#include "learn/classifier_format.h"
#include "learn/features.h"

#include "base/banned.h"

static_assert((int)CLASSIFIER_KEY_SIZE_MAX == (int)FEATURE_KEY_SIZE_MAX, "the same limit under two names");
static_assert(CLASSIFIER_SIZE_MAX ==
                  CLASSIFIER_HEADER_SIZE + 4 * (CLASSIFIER_CLASSES_MAX - 1) + (1 << CLASSIFIER_CELL_BITS_MAX) / 2,
              "its largest form");
static_assert((int)CLASSIFIER_CELL_BITS_MAX <= (int)FEATURE_CELL_BITS, "features name cells finely enough");

plsm_status classifier_open(plsm_slice bytes, struct classifier *out)
{
    const uint8_t *at = bytes.data;
    *out = (struct classifier){0};
    if (bytes.size < CLASSIFIER_HEADER_SIZE)
        return fail(PLSM_CORRUPT, "classifier: %zu bytes are less than its header", bytes.size);
    unsigned format = at[0], features = at[1], cell_bits = at[2], thresholds = at[3];
    if (format != CLASSIFIER_FORMAT)
        return fail(PLSM_CORRUPT, "classifier: unknown format %u (this program knows %d)", format, CLASSIFIER_FORMAT);
    if (features == 0 || features > FEATURE_KINDS_ALL || cell_bits < CLASSIFIER_CELL_BITS_MIN ||
        cell_bits > CLASSIFIER_CELL_BITS_MAX || thresholds < 1 || thresholds >= CLASSIFIER_CLASSES_MAX)
        return fail(PLSM_CORRUPT, "classifier: features %u, 2^%u cells, %u thresholds", features, cell_bits,
                    thresholds);
    size_t size = CLASSIFIER_HEADER_SIZE + 4 * (size_t)thresholds + ((size_t)1 << cell_bits) / 2;
    if (bytes.size != size)
        return fail(PLSM_CORRUPT, "classifier: %zu bytes instead of %zu", bytes.size, size);
    struct classifier c = {.weights = at + CLASSIFIER_HEADER_SIZE + 4 * (size_t)thresholds,
                           .features = features,
                           .cell_bits = cell_bits,
                           .classes = thresholds + 1};
    for (unsigned i = 0; i < CLASSIFIER_CLASSES_MAX - 1; i++) /* those there are not are never reached */
        c.thresholds[i] = i < thresholds ? (int32_t)get_u32(at + CLASSIFIER_HEADER_SIZE + 4 * (size_t)i) : INT32_MAX;
    for (unsigned i = 1; i < thresholds; i++)
        if (c.thresholds[i] <= c.thresholds[i - 1])
            return fail(PLSM_CORRUPT, "classifier: thresholds do not ascend");
    *out = c;
    return PLSM_OK;
}

unsigned classifier_class(const struct classifier *classifier, plsm_slice key)
{
    int32_t score = features_score(key, classifier->features, classifier->weights, classifier->cell_bits);
    unsigned class = 0;
    for (unsigned i = 0; i < CLASSIFIER_CLASSES_MAX - 1; i++)
        class += score >= classifier->thresholds[i];
    return class;
}
