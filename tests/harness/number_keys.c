#include "tests/harness/number_keys.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/error.h"
#include "base/random.h"
#include "learn/exact.h"

#include "base/banned.h"

plsm_slice key_list_at(const struct key_list *keys, size_t i)
{
    size_t start = i ? keys->ends[i - 1] : 0;
    return slice(keys->bytes.data + start, keys->ends[i] - start);
}

void key_list_add(struct key_list *keys, plsm_slice key)
{
    if (keys->count == keys->room) {
        keys->room = keys->room ? 2 * keys->room : 64;
        keys->ends = realloc(keys->ends, keys->room * sizeof *keys->ends);
    }
    INVARIANT(buf_append(&keys->bytes, key.data, key.size) == PLSM_OK);
    keys->ends[keys->count++] = keys->bytes.size;
}

void key_list_free(struct key_list *keys)
{
    buf_free(&keys->bytes);
    free(keys->ends);
    *keys = (struct key_list){0};
}

static int compare_slices(const void *a, const void *b)
{
    return slice_compare(*(const plsm_slice *)a, *(const plsm_slice *)b);
}

void key_list_sort(struct key_list *keys)
{
    struct key_list sorted = {0};
    plsm_slice *list = malloc((keys->count + 1) * sizeof *list);
    for (size_t i = 0; i < keys->count; i++)
        list[i] = key_list_at(keys, i);
    qsort(list, keys->count, sizeof *list, compare_slices);
    for (size_t i = 0; i < keys->count; i++)
        if (i == 0 || !slice_equal(list[i], list[i - 1]))
            key_list_add(&sorted, list[i]);
    free(list);
    key_list_free(keys);
    *keys = sorted;
}

size_t key_list_below(const struct key_list *keys, plsm_slice key)
{
    size_t low = 0, high = keys->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (slice_compare(key_list_at(keys, middle), key) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* --- what sets of known shapes cost ------------------------------------------------------------------------------- */

static void make_series(enum number_shape shape, size_t count, struct random *random, struct key_list *keys)
{
    uint8_t key[80];
    for (size_t series = 0; series < count / 500; series++) {
        size_t size = 0;
        uint64_t id = series * UINT64_C(0x9e3779b97f4a7c15),
                 time = UINT64_C(1700000000000) + random_below(random, 15000);
        for (size_t i = 0; i < 500; i++, time += 15000) {
            if (random_below(random, 100) == 0)
                continue;
            if (shape == NUMBERS_SERIES_TEXT) {
                size = (size_t)snprintf((char *)key, sizeof key, "N%s/host%zu:%013" PRIu64,
                                        series % 2 ? "temperature" : "cpu", series, time);
            } else {
                key[0] = 'N';
                put_be64(key + 1, id);
                put_be64(key + 9, time);
                memset(key + 17, 0xaa, 12);
                size = shape == NUMBERS_SERIES_MARKED ? 17 + 12 : 17;
            }
            key_list_add(keys, slice(key, size));
        }
    }
    key_list_sort(keys);
}

static uint64_t shape_number(enum number_shape shape, size_t i, uint64_t last, struct random *random)
{
    uint64_t next = last + 1;
    switch (shape) {
    case NUMBERS_MISSING_1:
        return next + (random_below(random, 100) == 0);
    case NUMBERS_MISSING_10:
    case NUMBERS_MISSING_75:
        while (random_below(random, 100) < (shape == NUMBERS_MISSING_10 ? 10 : 75))
            next++;
        return next;
    case NUMBERS_EVERY_15000TH:
        return last + 15000;
    case NUMBERS_CLUSTERS:
        return i % 50 == 0 ? last + 1000000 + random_below(random, 1000000) : next;
    case NUMBERS_COUNTERS_HALF_DENSE: /* half of them in a row, then gaps as far as they can be */
        return i < 10000 ? next : last + 1 + random_below(random, 7);
    default:
        return next;
    }
}

void key_list_fill(struct key_list *keys, enum number_shape shape, size_t count, uint64_t seed)
{
    struct random random;
    uint8_t key[80] = "N";
    uint64_t number = 123456;
    random_seed(&random, seed + shape);
    if (shape == NUMBERS_SERIES || shape == NUMBERS_SERIES_TEXT || shape == NUMBERS_SERIES_MARKED) {
        make_series(shape, count, &random, keys);
        return;
    }
    for (size_t i = 0; i < count; i++) {
        size_t size = 9, room = sizeof key - 1;
        char *text = (char *)key + 1;
        number = shape_number(shape, i, number, &random);
        put_be64(key + 1, number);
        if (shape == NUMBERS_DECIMALS)
            size = 1 + (size_t)snprintf(text, room, "key%016" PRIu64, number);
        else if (shape == NUMBERS_FILE_NAMES)
            size = 1 + (size_t)snprintf(text, room, "photos/img%08" PRIu64 ".jpeg", number);
        else if (shape == NUMBERS_HEX_LOWER)
            size = 1 + (size_t)snprintf(text, room, "obj-%012" PRIx64, number);
        else if (shape == NUMBERS_HEX_UPPER)
            size = 1 + (size_t)snprintf(text, room, "%016" PRIX64, number);
        else if (shape == NUMBERS_DIGESTS)
            size = 1 + (size_t)snprintf(text, room, "%016" PRIx64, random_next(&random));
        key_list_add(keys, slice(key, size));
    }
    key_list_sort(keys);
}

size_t key_list_shared(const struct key_list *keys, size_t i)
{
    return i > 0 ? slice_common(key_list_at(keys, i - 1), key_list_at(keys, i)) : 0;
}

bool key_list_build(const struct key_list *keys, double bits_per_key, struct buf *out)
{
    struct exact_builder *b = exact_builder_create(bits_per_key);
    struct buf bytes = {0};
    bool built = true;
    for (size_t i = 0; i < keys->count; i++)
        INVARIANT(exact_builder_add(b, key_list_at(keys, i), key_list_shared(keys, i)) == PLSM_OK);
    INVARIANT(exact_builder_finish(b, &bytes, &built) == PLSM_OK);
    INVARIANT(exact_builder_alive(b) || !built);
    INVARIANT(built == (bytes.size > 0));
    INVARIANT(!built || (double)bytes.size * 8 <= bits_per_key * (double)keys->count);
    exact_builder_destroy(b);
    *out = (struct buf){malloc(bytes.size + 1), bytes.size, bytes.size};
    if (built) {
        out->data = realloc(out->data, bytes.size);
        memcpy(out->data, bytes.data, bytes.size);
    }
    buf_free(&bytes);
    return built;
}
