/* The sorted array that the memtable is compared with. */
#include "tests/harness/memtable_model.h"

#include <stdlib.h>

#include "base/banned.h"

enum { KEY_SIZE_MAX = 8193 };

size_t memtable_model_find(const struct memtable_model *model, plsm_slice key)
{
    size_t low = 0, high = model->count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (slice_compare(memtable_model_slice(&model->keys[middle]), key) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

void memtable_model_add(struct memtable_model *model, const struct entry *entry)
{
    size_t at = memtable_model_find(model, entry->key);
    if (at == model->count || !slice_equal(memtable_model_slice(&model->keys[at]), entry->key)) {
        if (model->count == model->capacity) {
            model->capacity = 2 * model->capacity + 64;
            model->keys = realloc(model->keys, model->capacity * sizeof *model->keys);
        }
        memmove(&model->keys[at + 1], &model->keys[at], (model->count - at) * sizeof *model->keys);
        model->keys[at] = (struct memtable_model_key){.key = malloc(entry->key.size + 1), .size = entry->key.size};
        if (entry->key.size)
            memcpy(model->keys[at].key, entry->key.data, entry->key.size);
        model->count++;
    }
    struct memtable_model_key *k = &model->keys[at];
    k->versions = realloc(k->versions, (k->count + 1) * sizeof *k->versions);
    k->versions[k->count++] =
        (struct memtable_model_version){entry->seq, entry->kind, entry->meta.size, entry->value.size};
    model->versions++;
}

void memtable_model_free(struct memtable_model *model)
{
    for (size_t i = 0; i < model->count; i++) {
        free(model->keys[i].key);
        free(model->keys[i].versions);
    }
    free(model->keys);
    *model = (struct memtable_model){0};
}

void memtable_model_content(uint64_t seq, uint8_t *bytes, size_t size)
{
    struct random r;
    random_seed(&r, seq);
    for (size_t i = 0; i < size; i += 8) {
        uint64_t word = random_next(&r);
        memcpy(bytes + i, &word, size - i < 8 ? size - i : 8);
    }
}

/* --- keys made to hurt -------------------------------------------------------------------------------------------- */

static const uint8_t hard_bytes[] = {0x00, 0x01, 0x7f, 0x80, 0xff, 'a'};

size_t memtable_model_random_bytes(struct random *r, uint8_t *key, size_t size)
{
    for (size_t i = 0; i < size; i++)
        key[i] = (uint8_t)random_next(r);
    return size;
}

size_t memtable_model_make_key(struct random *r, const struct memtable_model *model, uint8_t *key)
{
    switch (random_below(r, 9)) {
    case 0: { /* short, few bytes: prefixes of each other */
        size_t size = random_below(r, 7);
        for (size_t i = 0; i < size; i++)
            key[i] = hard_bytes[random_below(r, sizeof hard_bytes)];
        return size;
    }
    case 1: /* one dense node, two deep */
        key[0] = 'd';
        key[1] = (uint8_t)(random_below(r, 3) * 127);
        key[2] = (uint8_t)random_next(r);
        return 3;
    case 2: /* a long common prefix */
        memset(key, 'p', 300);
        key[random_below(r, 300)] = 'q';
        return 300 + memtable_model_random_bytes(r, key + 300, random_below(r, 3));
    case 3: /* a counter */
        key[0] = 'c';
        put_be64(key + 1, random_below(r, 3000));
        return 9;
    case 4: /* the longest keys, parting anywhere */
        if (random_below(r, 20))
            return memtable_model_random_bytes(r, key, 2);
        memset(key, 0xff, KEY_SIZE_MAX);
        key[random_below(r, KEY_SIZE_MAX)] = (uint8_t)random_next(r);
        return random_below(r, 2) ? KEY_SIZE_MAX : random_below(r, KEY_SIZE_MAX);
    case 5:
    case 6: { /* a key that is there, or one that it starts with, or that starts with it */
        if (!model->count)
            return 0;
        const struct memtable_model_key *k = &model->keys[random_below(r, model->count)];
        memcpy(key, k->key, k->size);
        size_t shape = random_below(r, 4), size = k->size;
        if (shape == 0)
            size = random_below(r, size + 1);
        if (shape == 1 && size < 500)
            size += memtable_model_random_bytes(r, key + size, random_below(r, 5));
        if (shape == 2 && size)
            key[random_below(r, size)] ^= (uint8_t)(1u << random_below(r, 8));
        return size;
    }
    default:
        return memtable_model_random_bytes(r, key, 16);
    }
}
