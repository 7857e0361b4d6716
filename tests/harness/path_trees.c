#include <stdio.h>
#include <stdlib.h>

#include "base/checksum.h"
#include "base/random.h"
#include "tests/harness/path_trees.h"

#include "base/banned.h"

enum { PACKAGES = 2000, PATH_SIZE_MAX = 300 };

/* One of `count` words, the first ones far more often: what is common is what a model can learn. */
static const char *pick(struct random *random, const char *const *words, size_t count)
{
    double draw = (double)(random_next(random) >> 11) * 0x1p-53;
    return words[(size_t)(draw * draw * (double)count)];
}

static const char *const syllables[] = {"lib",  "gtk",  "net", "perl", "qt",    "data", "x",  "mono", "graph", "media",
                                        "ruby", "core", "py",  "kde",  "boost", "go",   "fs", "ssl",  "term",  "font"};
static const char *const parts[2][10] = {
    {"html", "examples", "api", "images", "classes", "search", "js", "en", "reference", "static"},
    {"locale", "themes", "pixmaps", "plugins", "scalable", "de", "48x48", "actions", "modules", "po"}};
static const char *const names[2][10] = {
    {"index", "class", "struct", "inherit", "members", "README", "changelog", "copyright", "tutorial", "functions"},
    {"icon", "button", "module", "messages", "default", "config", "theme", "template", "plugin", "main"}};
static const char *const endings[2][5] = {{"html", "png", "gz", "js", "map"}, {"svg", "py", "so", "mo", "xml"}};

static const char *any_syllable(struct random *random)
{
    return syllables[random_below(random, 20)];
}

/* A package's name and where it lies depend on its number alone. */
static size_t put_package(struct path_tree tree, uint64_t number, char *out, size_t capacity)
{
    static const char *const sections[] = {"share/doc", "lib", "share", "include"};
    struct random random;
    random_seed(&random, tree.seed * PACKAGES + number);
    const char *section = sections[random_below(&random, 4)];
    const char *first = any_syllable(&random); /* one after the other: arguments are evaluated in any order */
    const char *second = any_syllable(&random);
    unsigned version = (unsigned)random_below(&random, 1000);
    return (size_t)snprintf(out, capacity, "usr/%s/%s%s%u", section, first, second, version);
}

static size_t put_path(struct path_tree tree, struct random *random, char *out, size_t capacity)
{
    double draw = (double)(random_next(random) >> 11) * 0x1p-53;
    uint64_t package = (uint64_t)(draw * draw * draw * draw * PACKAGES);
    size_t size = put_package(tree, package, out, capacity);
    for (uint64_t depth = random_below(random, 4); depth > 0; depth--)
        size += (size_t)snprintf(out + size, capacity - size, "/%s", pick(random, parts[tree.dialect], 10));
    size += (size_t)snprintf(out + size, capacity - size, "/%s_", pick(random, names[tree.dialect], 10));
    for (uint64_t words = random_below(random, 8) ? 1 + random_below(random, 3) : 15; words > 0; words--) {
        const char *word = any_syllable(random);
        unsigned number = (unsigned)random_below(random, 100);
        size += (size_t)snprintf(out + size, capacity - size, "%s%u", word, number);
    }
    return size + (size_t)snprintf(out + size, capacity - size, ".%s", pick(random, endings[tree.dialect], 5));
}

/* An open-addressed set of hashes; 64 bits do not collide in a test. */
struct hash_set {
    uint64_t *slots, mask;
};

static struct hash_set hash_set_create(size_t count)
{
    struct hash_set set = {.mask = 1};
    while (set.mask < 2 * count)
        set.mask *= 2;
    set.slots = calloc(set.mask, sizeof *set.slots);
    set.mask--;
    return set;
}

/* False when it was in the set. */
static bool hash_set_add(struct hash_set *set, plsm_slice key)
{
    uint64_t hash = key_hash(key.data, key.size) | 1, at = hash >> 8 & set->mask;
    while (set->slots[at] && set->slots[at] != hash)
        at = (at + 1) & set->mask;
    bool added = set->slots[at] == 0;
    set->slots[at] = hash;
    return added;
}

struct path_list path_list_create(struct path_tree tree, size_t count, uint8_t first, uint64_t seed)
{
    struct path_list list = {.keys = malloc((count + 1) * sizeof *list.keys), .bytes = malloc(count * 100 + 1000)};
    struct hash_set seen = hash_set_create(count);
    struct random random;
    size_t used = 0;
    random_seed(&random, seed);
    for (size_t tries = 0; tries < 2 * count && list.count < count && used < count * 100; tries++) {
        char path[PATH_SIZE_MAX];
        size_t size = 1 + put_path(tree, &random, path, sizeof path);
        plsm_slice key = slice(list.bytes + used, size);
        list.bytes[used] = first;
        memcpy(list.bytes + used + 1, path, size - 1);
        if (!hash_set_add(&seen, key))
            continue;
        list.keys[list.count++] = key;
        used += size;
    }
    free(seen.slots);
    return list;
}

struct path_list path_list_without(const struct path_list *list, const struct path_list *other)
{
    struct path_list result = {.keys = malloc((list->count + 1) * sizeof *result.keys)};
    struct hash_set seen = hash_set_create(list->count + other->count);
    for (size_t i = 0; i < other->count; i++)
        hash_set_add(&seen, other->keys[i]);
    for (size_t i = 0; i < list->count; i++)
        if (hash_set_add(&seen, list->keys[i]))
            result.keys[result.count++] = list->keys[i];
    free(seen.slots);
    return result;
}

static int compare_keys(const void *a, const void *b)
{
    return slice_compare(*(const plsm_slice *)a, *(const plsm_slice *)b);
}

void path_list_sort(struct path_list *list)
{
    qsort(list->keys, list->count, sizeof *list->keys, compare_keys);
}

void path_list_free(struct path_list *list)
{
    free(list->keys);
    free(list->bytes);
    *list = (struct path_list){0};
}
