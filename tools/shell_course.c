/* The commands p g r d l s of `plsm shell`. Their output is what the course asks for and nothing else, so that it can
 * be compared with that of other programs: a miss and an empty range are blank lines. */
#include "tools/shell_course.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/error.h"
#include "tools/progress.h"
#include "tools/shell.h"

#include "base/banned.h"

enum { BATCH_PAIRS = 4096, BLOCK_SIZE = 1 << 20 };
_Static_assert(BLOCK_SIZE % COURSE_PAIR_SIZE == 0, "a block has whole pairs");

static plsm_status parse_integer(const struct shell_words *words, size_t index, int32_t *out)
{
    char quoted[64];
    int64_t number = 0;
    if (!shell_parse_integer(shell_word(words, index), INT32_MIN, INT32_MAX, &number))
        return fail(PLSM_INVALID, "%s is no 32-bit integer; other keys and values: put, get, range, remove",
                    text_quote(quoted, sizeof quoted, shell_word(words, index)));
    *out = (int32_t)number;
    return PLSM_OK;
}

static plsm_status parse_bound(const struct shell_words *words, size_t index, int64_t *out)
{
    char quoted[64];
    if (shell_parse_integer(shell_word(words, index), INT64_MIN, INT64_MAX, out))
        return PLSM_OK;
    return fail(PLSM_INVALID, "%s is no integer; ranges of other keys: range",
                text_quote(quoted, sizeof quoted, shell_word(words, index)));
}

static plsm_status run_put(struct shell *shell, const struct shell_words *words)
{
    uint8_t key[COURSE_KEY_SIZE], value[COURSE_VALUE_SIZE];
    int32_t k = 0, v = 0;
    TRY(parse_integer(words, 1, &k));
    TRY(parse_integer(words, 2, &v));
    TRY(target_change(&shell->target, CHANGE_PUT, course_key(key, k), course_value(value, v)));
    return target_commit(&shell->target, tool_durability(shell->tool));
}

static plsm_status run_get(struct shell *shell, const struct shell_words *words)
{
    uint8_t key[COURSE_KEY_SIZE];
    int32_t k = 0;
    TRY(parse_integer(words, 1, &k));
    plsm_status status = plsm_get(shell->db, NULL, course_key(key, k), &shell->value);
    if (status == PLSM_NOT_FOUND) {
        tool_print("\n");
        return PLSM_OK;
    }
    TRY(status);
    if (shell->value.size != COURSE_VALUE_SIZE)
        return fail(PLSM_INVALID, "the value of %d is no 32-bit integer", k);
    tool_print("%d\n", course_value_of(shell->value.value));
    return PLSM_OK;
}

static plsm_status run_delete(struct shell *shell, const struct shell_words *words)
{
    uint8_t key[COURSE_KEY_SIZE];
    int32_t k = 0;
    TRY(parse_integer(words, 1, &k));
    TRY(target_change(&shell->target, CHANGE_DELETE, course_key(key, k), (plsm_slice){0}));
    return target_commit(&shell->target, tool_durability(shell->tool));
}

static plsm_status run_range(struct shell *shell, const struct shell_words *words)
{
    uint8_t keys[2][COURSE_KEY_SIZE];
    int64_t low = 0, high = 0;
    plsm_iterator *it = NULL;
    bool more = false;
    TRY(parse_bound(words, 1, &low));
    TRY(parse_bound(words, 2, &high));
    if (low >= high) {
        tool_print("\n");
        return PLSM_OK;
    }
    TRY(plsm_iterator_create(shell->db, NULL, course_bound(keys[0], low), course_bound(keys[1], high), &it));
    for (plsm_iterator_first(it); plsm_iterator_valid(it) && !shell_interrupted(); plsm_iterator_next(it)) {
        plsm_slice key = plsm_iterator_key(it), value = plsm_iterator_value(it);
        if (!course_is_pair(key, plsm_iterator_size(it)))
            continue;
        if (!tool_print("%s%d:%d", more ? " " : "", course_key_of(key), course_value_of(value)))
            break;
        more = true;
    }
    plsm_status status = plsm_iterator_status(it);
    plsm_iterator_destroy(it);
    tool_print("\n");
    return status;
}

/* --- l: pairs from a file ----------------------------------------------------------------------------------------- */

struct course_load {
    struct shell *shell;
    int fd;
    const char *path;
    uint64_t size, done;   /* bytes */
    uint64_t stored_pairs; /* in the store */
    uint8_t *block;
};

/* Puts all pairs of a block into the store, in its order. */
static plsm_status load_block(struct course_load *load, size_t size)
{
    struct target *target = &load->shell->target;
    uint8_t key[COURSE_KEY_SIZE];
    for (const uint8_t *at = load->block, *end = at + size; at < end; at += COURSE_PAIR_SIZE) {
        TRY(target_change(target, CHANGE_PUT, course_key(key, (int32_t)get_u32(at)), slice(at + 4, COURSE_VALUE_SIZE)));
        size_t pairs = target->count;
        if (pairs < BATCH_PAIRS && at + COURSE_PAIR_SIZE < end)
            continue;
        TRY(target_commit(target, tool_durability(load->shell->tool)));
        load->stored_pairs += pairs;
    }
    return PLSM_OK;
}

/* Reads a whole block, or what is left of the file. */
static plsm_status read_block(struct course_load *load, size_t *got)
{
    size_t wanted = load->size - load->done < BLOCK_SIZE ? (size_t)(load->size - load->done) : BLOCK_SIZE;
    for (*got = 0; *got < wanted;) {
        ssize_t part = read(load->fd, load->block + *got, wanted - *got);
        if (part < 0 && errno == EINTR)
            continue;
        if (part < 0)
            return fail_errno(errno, load->path, "read");
        if (part == 0)
            return fail(PLSM_IO, "%s: became shorter while it was read", load->path);
        *got += (size_t)part;
    }
    return PLSM_OK;
}

static plsm_status load_all(struct course_load *load, struct progress *progress)
{
    while (load->done < load->size && !shell_interrupted()) {
        size_t got = 0;
        TRY(read_block(load, &got));
        TRY(load_block(load, got));
        load->done += got;
        progress_update(progress, load->done);
    }
    return PLSM_OK;
}

static plsm_status open_file(struct course_load *load)
{
    struct stat file = {0};
    load->fd = open(load->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a pipe without a writer must not keep us */
    if (load->fd < 0)
        return fail_errno(errno, load->path, "open");
    if (fstat(load->fd, &file) != 0)
        return fail_errno(errno, load->path, "stat");
    if (!S_ISREG(file.st_mode))
        return fail(PLSM_INVALID, "%s: is no regular file", load->path);
    load->size = (uint64_t)file.st_size;
    if (load->size % COURSE_PAIR_SIZE)
        return fail(PLSM_INVALID,
                    "%s: its %llu bytes are no pairs of 32-bit integers: that would be a multiple of 8; nothing is "
                    "loaded",
                    load->path, (unsigned long long)load->size);
    return PLSM_OK;
}

static plsm_status run_load(struct shell *shell, const struct shell_words *words)
{
    char path[PATH_MAX];
    plsm_slice name = shell_word(words, 1);
    const char *home = getenv("HOME");
    bool below_home = home && slice_starts_with(name, slice("~/", 2));
    int size = snprintf(path, sizeof path, "%s%.*s", below_home ? home : "", (int)name.size - (below_home ? 1 : 0),
                        (const char *)name.data + (below_home ? 1 : 0));
    if (name.size == 0 || size < 0 || (size_t)size >= sizeof path || memchr(name.data, '\0', name.size))
        return fail(PLSM_INVALID, "that is no name of a file");
    struct course_load load = {.shell = shell, .fd = -1, .path = path, .block = mem_alloc(BLOCK_SIZE)};
    struct progress progress;
    plsm_status status = load.block ? open_file(&load) : fail(PLSM_NO_MEMORY, "no memory to read a file");
    progress_start(&progress, "l", load.size, true);
    progress.enabled = progress.enabled && shell->interactive;
    if (status == PLSM_OK) {
        status = load_all(&load, &progress);
        progress_end(&progress);
        if (status != PLSM_OK || load.done < load.size)
            shell_say(shell, "the first %llu pairs are stored", (unsigned long long)load.stored_pairs);
        else if (shell->interactive)
            tool_print("%llu pairs\n", (unsigned long long)load.stored_pairs);
    }
    if (load.fd >= 0)
        close(load.fd);
    mem_free(load.block);
    return status == PLSM_NOT_FOUND ? PLSM_IO : status; /* of a file, not of a key */
}

/* --- s: what there is --------------------------------------------------------------------------------------------- */

/* L0 is the memory (C0 of the paper), L1 level 0 of the tree. */
enum { LEVELS = 16, GONE = 255 };

struct dump {
    struct shell *shell;
    plsm_iterator *it;
    struct buf levels; /* a byte for each pair in the order of keys: on which level it is, or GONE */
    uint64_t counts[LEVELS];
    bool flat; /* the engine has no levels */
};

/* Where the newest entry of a key is: older ones on deeper levels, which compaction drops, are not looked for. */
static plsm_status find_level(struct dump *dump, plsm_slice key, uint8_t *level)
{
    plsm_found found = {0};
    plsm_status status = dump->flat ? PLSM_UNSUPPORTED : plsm_find(dump->shell->db, key, &found);
    if (status == PLSM_UNSUPPORTED)
        dump->flat = true;
    else if (status == PLSM_NOT_FOUND) /* it has expired */
        *level = GONE;
    else if (status != PLSM_OK)
        return status;
    if (dump->flat)
        *level = 1;
    else if (status == PLSM_OK)
        *level = found.in_memory ? 0 : found.level + 1 < LEVELS ? (uint8_t)(found.level + 1) : LEVELS - 1;
    return PLSM_OK;
}

static plsm_status count_levels(struct dump *dump)
{
    plsm_iterator *it = dump->it;
    for (plsm_iterator_first(it); plsm_iterator_valid(it) && !shell_interrupted(); plsm_iterator_next(it)) {
        uint8_t level = GONE;
        if (!course_is_pair(plsm_iterator_key(it), plsm_iterator_size(it)))
            continue;
        TRY(find_level(dump, plsm_iterator_key(it), &level));
        TRY(buf_append(&dump->levels, &level, 1));
        if (level != GONE)
            dump->counts[level]++;
    }
    return plsm_iterator_status(it);
}

static void print_counts(const struct dump *dump)
{
    uint64_t pairs = 0;
    bool more = false;
    for (unsigned level = 0; level < LEVELS; level++)
        pairs += dump->counts[level];
    tool_print("Logical Pairs: %llu\n", (unsigned long long)pairs);
    for (unsigned level = 0; level < LEVELS; level++)
        if (dump->counts[level]) {
            tool_print("%sLVL%u: %llu", more ? ", " : "", level, (unsigned long long)dump->counts[level]);
            more = true;
        }
    tool_print("\n");
}

/* The iterator goes by the moment it was made, so it meets the same pairs each time. */
static plsm_status print_level(struct dump *dump, unsigned level, uint64_t most)
{
    plsm_iterator *it = dump->it;
    uint64_t count = 0;
    size_t i = 0;
    if (most > dump->counts[level])
        most = dump->counts[level];
    for (plsm_iterator_first(it); count < most && plsm_iterator_valid(it) && !shell_interrupted();
         plsm_iterator_next(it)) {
        plsm_slice key = plsm_iterator_key(it), value = plsm_iterator_value(it);
        if (!course_is_pair(key, plsm_iterator_size(it)) || dump->levels.data[i++] != level)
            continue;
        tool_print("%s%d:%d:L%u", count ? " " : "", course_key_of(key), course_value_of(value), level);
        count++;
    }
    if (count > 0)
        tool_print("\n");
    return plsm_iterator_status(it);
}

static plsm_status run_stats(struct shell *shell, const struct shell_words *words)
{
    struct dump dump = {.shell = shell};
    int64_t most = INT64_MAX;
    if (words->count > 1 && !shell_parse_integer(shell_word(words, 1), 0, INT64_MAX, &most))
        return fail(PLSM_INVALID, "what follows s is how many pairs of each level to print");
    TRY(plsm_iterator_create(shell->db, NULL, slice("\0", 1), slice("\1", 1), &dump.it));
    plsm_status status = count_levels(&dump);
    if (status == PLSM_OK && !shell_interrupted())
        print_counts(&dump);
    for (unsigned level = 0; level < LEVELS && status == PLSM_OK && !shell_interrupted(); level++)
        if (dump.counts[level])
            status = print_level(&dump, level, (uint64_t)most);
    plsm_iterator_destroy(dump.it);
    buf_free(&dump.levels);
    return status;
}

const struct shell_command shell_course_table[] = {
    {.name = "p", .arguments = "K V", .summary = "put", .least = 2, .most = 2, .run = run_put},
    {.name = "g",
     .arguments = "K",
     .summary = "get: the value, or a blank line",
     .least = 1,
     .most = 1,
     .reads = true,
     .run = run_get},
    {.name = "r",
     .arguments = "LOW HIGH",
     .summary = "the pairs K:V with LOW <= K < HIGH, on one line",
     .least = 2,
     .most = 2,
     .reads = true,
     .run = run_range},
    {.name = "d", .arguments = "K", .summary = "delete", .least = 1, .most = 1, .run = run_delete},
    {.name = "l",
     .arguments = "FILE",
     .summary = "load a binary file: K, V, K, V, ... in 4 bytes each, little-endian",
     .least = 1,
     .most = 1,
     .rest = true,
     .takes = {SHELL_FILE},
     .run = run_load},
    {.name = "s",
     .arguments = "[N]",
     .summary = "how many pairs, how many on each level, and these as K:V:LEVEL (N of each)",
     .most = 1,
     .reads = true,
     .run = run_stats},
    {0},
};
