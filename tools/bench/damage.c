/* A model block is found as any program would that knows its form, which is part of the format (learn/model.c): at a
 * multiple of 8, the magic "LIDX", a version, at 80 the size of the body that follows at 88, behind it a checksum over
 * all before. */
#include "tools/bench/damage.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/checksum.h"
#include "base/env.h"
#include "base/error.h"
#include "base/random.h"

#include "base/banned.h"

enum { VERSION_AT = 4, BODY_SIZE_AT = 80, HEADER_SIZE = 88, CHECKSUM_SIZE = 8, STEP = 8, LIES = 16 };

const char *damage_name(enum damage damage)
{
    static const char *const names[DAMAGES] = {
        [DAMAGE_BYTE] = "a byte of each model changed",
        [DAMAGE_CUT] = "each model cut in half",
        [DAMAGE_GONE] = "all models gone",
        [DAMAGE_VERSION] = "models of a future version",
        [DAMAGE_EXCHANGED] = "models of other files",
        [DAMAGE_LIE] = "wrong models with right checksums",
    };
    return names[damage];
}

/* --- finding ------------------------------------------------------------------------------------------------------ */

/* The size of a block that begins at `at`; 0: there is none. */
static size_t block_size(const uint8_t *at, size_t left)
{
    if (left < HEADER_SIZE + CHECKSUM_SIZE || memcmp(at, "LIDX", 4) != 0)
        return 0;
    uint64_t body = get_u64(at + BODY_SIZE_AT);
    if (body > left - HEADER_SIZE - CHECKSUM_SIZE)
        return 0;
    size_t summed = HEADER_SIZE + (size_t)body;
    return checksum(at, summed, 0) == get_u64(at + summed) ? summed + CHECKSUM_SIZE : 0;
}

static plsm_status add_block(struct damage_list *list, const char *path, uint64_t offset, const uint8_t *bytes,
                             size_t size)
{
    if (list->count == list->capacity) {
        size_t capacity = list->capacity ? 2 * list->capacity : 16;
        struct damage_block *grown = mem_realloc(list->blocks, capacity * sizeof *grown);
        if (!grown)
            return fail(PLSM_NO_MEMORY, "no memory for a list of models");
        list->blocks = grown;
        list->capacity = capacity;
    }
    struct damage_block *block = &list->blocks[list->count];
    *block = (struct damage_block){.path = mem_alloc(strlen(path) + 1), .offset = offset, .size = size};
    block->bytes = mem_alloc(size);
    list->count++;
    if (!block->path || !block->bytes)
        return fail(PLSM_NO_MEMORY, "no memory for a model");
    memcpy(block->path, path, strlen(path) + 1);
    memcpy(block->bytes, bytes, size);
    return PLSM_OK;
}

static plsm_status search_file(struct damage_list *list, const char *path)
{
    struct env_file *file = NULL;
    uint64_t size = 0;
    uint8_t *bytes = NULL;
    TRY(env_open(env_posix(), path, ENV_READ, &file));
    plsm_status status = env_size(file, &size);
    if (status == PLSM_OK) {
        bytes = mem_alloc((size_t)size);
        status =
            bytes ? env_read(file, 0, bytes, (size_t)size) : fail(PLSM_NO_MEMORY, "%s: no memory to read it", path);
    }
    for (size_t at = 0; status == PLSM_OK && at < size; at += STEP) {
        size_t found = block_size(bytes + at, (size_t)size - at);
        if (found)
            status = add_block(list, path, at, bytes + at, found);
    }
    mem_free(bytes);
    env_close(file);
    return status;
}

struct search {
    struct damage_list *list;
    const char *directory, *prefix;
    plsm_status status;
};

static void look_at(void *arg, const char *name)
{
    struct search *search = arg;
    char path[PATH_MAX];
    if (search->status != PLSM_OK || strncmp(name, search->prefix, strlen(search->prefix)) != 0)
        return;
    if (snprintf(path, sizeof path, "%s/%s", search->directory, name) < (int)sizeof path)
        search->status = search_file(search->list, path);
}

plsm_status damage_find(const char *directory, const char *prefix, struct damage_list *out)
{
    struct search search = {out, directory, prefix, PLSM_OK};
    TRY(env_list(env_posix(), directory, look_at, &search));
    return search.status;
}

void damage_free(struct damage_list *list)
{
    for (size_t i = 0; i < list->count; i++) {
        mem_free(list->blocks[i].path);
        mem_free(list->blocks[i].bytes);
    }
    mem_free(list->blocks);
    *list = (struct damage_list){0};
}

/* --- damaging ----------------------------------------------------------------------------------------------------- */

static plsm_status write_at(const struct damage_block *block, const uint8_t *bytes)
{
    FILE *file = fopen(block->path, "r+b");
    if (!file)
        return fail_errno(errno, block->path, "open");
    bool good = fseek(file, (long)block->offset, SEEK_SET) == 0 && fwrite(bytes, 1, block->size, file) == block->size;
    int error = errno;
    if ((fclose(file) != 0 || !good))
        return fail_errno(error ? error : EIO, block->path, "write");
    return PLSM_OK;
}

static void make_right(uint8_t *bytes, size_t size)
{
    size_t summed = size - CHECKSUM_SIZE;
    put_u64(bytes + summed, checksum(bytes, summed, 0));
}

/* The next block of the same size, which may be the block itself. */
static const struct damage_block *another(const struct damage_list *list, size_t i)
{
    for (size_t j = 1; j < list->count; j++) {
        const struct damage_block *other = &list->blocks[(i + j) % list->count];
        if (other->size == list->blocks[i].size)
            return other;
    }
    return &list->blocks[i];
}

static void spoil(const struct damage_list *list, size_t i, enum damage damage, struct random *random, uint8_t *bytes)
{
    size_t size = list->blocks[i].size, body = size - HEADER_SIZE - CHECKSUM_SIZE;
    switch (damage) {
    case DAMAGE_BYTE:
        bytes[random_below(random, size)] ^= (uint8_t)(1 + random_below(random, 255));
        break;
    case DAMAGE_CUT:
        memset(bytes + size / 2, 0, size - size / 2);
        break;
    case DAMAGE_GONE:
        memset(bytes, 0, size);
        break;
    case DAMAGE_VERSION:
        put_u32(bytes + VERSION_AT, get_u32(bytes + VERSION_AT) + 1);
        make_right(bytes, size);
        break;
    case DAMAGE_EXCHANGED:
        memcpy(bytes, another(list, i)->bytes, size);
        break;
    default:
        for (int lie = 0; lie < LIES && body > 0; lie++)
            bytes[HEADER_SIZE + random_below(random, body)] ^= (uint8_t)(1 + random_below(random, 255));
        make_right(bytes, size);
        break;
    }
}

plsm_status damage_apply(const struct damage_list *list, enum damage damage, uint64_t seed)
{
    struct random random;
    random_seed(&random, seed);
    for (size_t i = 0; i < list->count; i++) {
        const struct damage_block *block = &list->blocks[i];
        uint8_t *bytes = mem_alloc(block->size);
        if (!bytes)
            return fail(PLSM_NO_MEMORY, "no memory for a model");
        memcpy(bytes, block->bytes, block->size);
        spoil(list, i, damage, &random, bytes);
        plsm_status status = write_at(block, bytes);
        mem_free(bytes);
        TRY(status);
    }
    return PLSM_OK;
}

plsm_status damage_mend(const struct damage_list *list)
{
    for (size_t i = 0; i < list->count; i++)
        TRY(write_at(&list->blocks[i], list->blocks[i].bytes));
    return PLSM_OK;
}
