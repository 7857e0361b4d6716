#include "tools/bench/lines.h"

#include <limits.h>
#include <stdio.h>

#include "base/alloc.h"
#include "base/checksum.h"
#include "base/env.h"
#include "base/error.h"
#include "base/random.h"
#include "tools/bench/permutation.h"

#include "base/banned.h"

/* --- reading ---------------------------------------------------------------------------------------------------- */

/* What is known of the file while it is read. */
struct reading {
    const char *directory;
    char path[PATH_MAX];
    size_t size;      /* of the bytes, with a '\n' at the end of the last line */
    uint64_t count;   /* of lines */
    uint32_t *starts; /* of all lines, in order */
    uint8_t *parts;   /* of each line: enum lines_part */
};

__attribute__((cold)) static plsm_status unfit(const struct reading *reading, uint64_t line, const char *what)
{
    return fail(PLSM_CORRUPT, "%s: line %llu %s; make it again: scripts/key-sets %s", reading->path,
                (unsigned long long)line + 1, what, reading->directory);
}

static plsm_status read_bytes(struct lines *lines, struct reading *reading)
{
    struct env_file *file = NULL;
    uint64_t size = 0;
    plsm_status status = env_open(env_posix(), reading->path, ENV_READ, &file);
    if (status == PLSM_NOT_FOUND)
        return fail(status, "%s: there is no such file; make it: scripts/key-sets %s", reading->path,
                    reading->directory);
    if (status == PLSM_OK)
        status = env_size(file, &size);
    if (status == PLSM_OK && size >= UINT32_MAX)
        status = fail(PLSM_TOO_LARGE, "%s: 4 GiB or more", reading->path);
    if (status == PLSM_OK && size == 0)
        status = fail(PLSM_CORRUPT, "%s: the file is empty; make it again: scripts/key-sets %s", reading->path,
                      reading->directory);
    if (status == PLSM_OK && !(lines->bytes = mem_alloc(size + 1)))
        status = fail(PLSM_NO_MEMORY, "%s: no memory for its %llu bytes", reading->path, (unsigned long long)size);
    if (status == PLSM_OK)
        status = env_read(file, 0, lines->bytes, size);
    env_close(file);
    TRY(status);
    if (lines->bytes[size - 1] != '\n')
        lines->bytes[size++] = '\n';
    reading->size = size;
    return PLSM_OK;
}

static plsm_slice line_from(const struct lines *lines, uint32_t start)
{
    const uint8_t *line = lines->bytes + start;
    return slice(line, (size_t)((const uint8_t *)rawmemchr(line, '\n') - line));
}

/* Finds where lines start, and checks that they are fit to be keys. */
static plsm_status find_lines(const struct lines *lines, struct reading *reading, size_t size_max)
{
    const uint8_t *end = lines->bytes + reading->size;
    for (const uint8_t *at = lines->bytes; at < end; at = (const uint8_t *)rawmemchr(at, '\n') + 1)
        reading->count++;
    reading->starts = mem_alloc(reading->count * sizeof *reading->starts);
    reading->parts = mem_zalloc(reading->count);
    if (!reading->starts || !reading->parts)
        return fail(PLSM_NO_MEMORY, "%s: no memory for its %llu lines", reading->path,
                    (unsigned long long)reading->count);
    plsm_slice last = {0};
    uint32_t start = 0;
    for (uint64_t i = 0; i < reading->count; i++) {
        plsm_slice line = line_from(lines, start);
        if (line.size == 0)
            return unfit(reading, i, "is empty");
        if (line.size > size_max)
            return unfit(reading, i, "is too long for a key");
        if (i > 0 && slice_compare(last, line) >= 0)
            return unfit(reading, i, "does not come after the one before it");
        reading->starts[i] = start;
        start += (uint32_t)line.size + 1;
        last = line;
    }
    return PLSM_OK;
}

/* The tree that a path is in: of "usr/share/doc/bash/README" it is "usr/share/doc/bash", of "usr/bin/env" "usr/bin", of
 * "init" "". */
static plsm_slice tree_of(plsm_slice path)
{
    const uint8_t *bytes = path.data;
    size_t size = 0;
    for (size_t i = 0, directories = 0; i < path.size && directories < LINES_TREE_DIRECTORIES; i++)
        if (bytes[i] == '/') {
            size = i;
            directories++;
        }
    return slice(bytes, size);
}

/* Says of each line which part it is in; reading->parts is zero, LINES_SET, at first. */
static plsm_status choose(struct lines *lines, struct reading *reading, bool trees, uint64_t keys)
{
    uint64_t held_out = 0;
    for (uint64_t i = 0; trees && i < reading->count; i++) {
        plsm_slice tree = tree_of(line_from(lines, reading->starts[i]));
        if (checksum(tree.data, tree.size, lines->seed) % LINES_HELD_OUT_OF == 0) {
            reading->parts[i] = LINES_HELD_OUT;
            held_out++;
        }
    }
    uint64_t others = reading->count - held_out;
    if (keys > others)
        return fail(PLSM_INVALID, "%s: %llu of its lines can be keys, fewer than the %llu asked for", reading->path,
                    (unsigned long long)others, (unsigned long long)keys);
    lines->counts[LINES_SET] = keys;
    lines->counts[LINES_LEFT_OUT] = others - keys;
    lines->counts[LINES_HELD_OUT] = held_out;
    if (others == keys)
        return PLSM_OK;
    /* The n-th of the others is left out when the bijection takes it behind the first `keys`. */
    struct permutation sample;
    permutation_init(&sample, others, lines->seed);
    for (uint64_t i = 0, n = 0; i < reading->count; i++)
        if (reading->parts[i] != LINES_HELD_OUT && permutation_at(&sample, n++) >= keys)
            reading->parts[i] = LINES_LEFT_OUT;
    return PLSM_OK;
}

/* Orders the starts of lines by their parts. */
static plsm_status arrange(struct lines *lines, const struct reading *reading)
{
    lines->starts = mem_alloc(reading->count * sizeof *lines->starts);
    if (!lines->starts)
        return fail(PLSM_NO_MEMORY, "%s: no memory for its %llu lines", reading->path,
                    (unsigned long long)reading->count);
    uint64_t next[LINES_PARTS] = {0};
    for (int part = 1; part < LINES_PARTS; part++)
        next[part] = next[part - 1] + lines->counts[part - 1];
    for (uint64_t i = 0; i < reading->count; i++)
        lines->starts[next[reading->parts[i]]++] = reading->starts[i];
    return PLSM_OK;
}

plsm_status lines_read(struct lines *lines, const char *directory, const char *file, size_t size_max, bool trees,
                       uint64_t keys, uint64_t seed)
{
    struct reading reading = {.directory = directory};
    *lines = (struct lines){.seed = seed};
    if (snprintf(reading.path, sizeof reading.path, "%s/%s", directory, file) >= (int)sizeof reading.path)
        return fail(PLSM_INVALID, "the path is too long: %s", directory);
    plsm_status status = read_bytes(lines, &reading);
    if (status == PLSM_OK)
        status = find_lines(lines, &reading, size_max);
    if (status == PLSM_OK)
        status = choose(lines, &reading, trees, keys);
    if (status == PLSM_OK)
        status = arrange(lines, &reading);
    mem_free(reading.starts);
    mem_free(reading.parts);
    return status;
}

void lines_free(struct lines *lines)
{
    mem_free(lines->bytes);
    mem_free(lines->starts);
    *lines = (struct lines){0};
}

/* --- keys ------------------------------------------------------------------------------------------------------- */

plsm_slice lines_at(const struct lines *lines, enum lines_part part, uint64_t index)
{
    for (int before = 0; before < (int)part; before++)
        index += lines->counts[before];
    return line_from(lines, lines->starts[index]);
}

static bool in_set(const struct lines *lines, plsm_slice key)
{
    uint64_t low = 0, high = lines->counts[LINES_SET];
    while (low < high) {
        uint64_t middle = low + (high - low) / 2;
        int order = slice_compare(lines_at(lines, LINES_SET, middle), key);
        if (order == 0)
            return true;
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return false;
}

static bool continues(uint8_t byte)
{
    return (byte & 0xc0) == 0x80; /* not the first of a UTF-8 character */
}

/* Any character of a line. */
static plsm_slice any_character(plsm_slice line, struct random *random)
{
    const uint8_t *bytes = line.data;
    size_t first = random_below(random, line.size), end = first + 1;
    while (first > 0 && continues(bytes[first]))
        first--;
    while (end < line.size && continues(bytes[end]))
        end++;
    return slice(bytes + first, end - first);
}

static plsm_slice replace(plsm_slice key, plsm_slice old, plsm_slice new, uint8_t *buffer)
{
    size_t before = (size_t)((const uint8_t *)old.data - (const uint8_t *)key.data), behind = before + old.size;
    memcpy(buffer, key.data, before);
    memcpy(buffer + before, new.data, new.size);
    memcpy(buffer + before + new.size, (const uint8_t *)key.data + behind, key.size - behind);
    return slice(buffer, before + new.size + key.size - behind);
}

/* A line of the set not far from the one with this index, so that it is likely to be of the same language, or of the
 * same part of the tree. */
static plsm_slice neighbour(const struct lines *lines, uint64_t index, struct random *random)
{
    enum { DISTANCE = 1000 };
    uint64_t count = lines->counts[LINES_SET], first = index > DISTANCE ? index - DISTANCE : 0;
    uint64_t end = count - index > DISTANCE ? index + DISTANCE : count;
    return lines_at(lines, LINES_SET, first + random_below(random, end - first));
}

plsm_slice lines_changed(const struct lines *lines, uint64_t index, size_t size_max, uint8_t *buffer)
{
    enum { TRIES = 16 };
    plsm_slice key = lines_at(lines, LINES_SET, index), old = {0};
    struct random random;
    random_seed(&random, lines->seed ^ index * 0x9e3779b97f4a7c15u);
    for (int i = 0; i < TRIES; i++) {
        old = any_character(key, &random);
        plsm_slice new = any_character(neighbour(lines, index, &random), &random);
        if (key.size - old.size + new.size > size_max)
            continue;
        plsm_slice changed = replace(key, old, new, buffer);
        if (!in_set(lines, changed))
            return changed;
    }
    return replace(key, old, slice("\n", 1), buffer); /* no line has it */
}
