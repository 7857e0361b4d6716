/* The list of a checkpoint. Format: checkpoint.h. */
#include "store/checkpoint.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>

#include "base/alloc.h"
#include "base/error.h"

#include "base/banned.h"

#define FIRST_LINE "plsm checkpoint "
enum { VERSION = 1 };

bool checkpoint_name_allowed(const char *name)
{
    size_t size = strlen(name);
    if (size == 0 || size > PLSM_CHECKPOINT_NAME_MAX || *name == '.')
        return false;
    for (const char *c = name; *c; c++)
        if (!isalnum((unsigned char)*c) && !strchr("._-", *c))
            return false;
    return true;
}

plsm_status checkpoint_list_add(struct checkpoint_list *list, const struct checkpoint_file *file)
{
    if (list->count == list->capacity) {
        size_t capacity = list->capacity ? 2 * list->capacity : 16;
        struct checkpoint_file *grown = mem_realloc(list->files, capacity * sizeof *grown);
        if (!grown)
            return fail(PLSM_NO_MEMORY, "no memory for the list of a checkpoint");
        list->files = grown;
        list->capacity = capacity;
    }
    list->files[list->count++] = *file;
    return PLSM_OK;
}

void checkpoint_list_free(struct checkpoint_list *list)
{
    mem_free(list->files);
    *list = (struct checkpoint_list){0};
}

plsm_status checkpoint_list_encode(const struct checkpoint_list *list, struct buf *out)
{
    char digest[DIGEST_TEXT];
    TRY(buf_printf(out, FIRST_LINE "%d\nname %s\ntime %" PRIu64 "\nengine %s\n", VERSION, list->name, list->time_ns,
                   list->engine));
    for (size_t i = 0; i < list->count; i++) {
        const struct checkpoint_file *file = &list->files[i];
        TRY(buf_printf(out, "file %s %" PRIu64 " %" PRIu64 " %s\n", file->digest, file->size, file->identity,
                       file->name));
    }
    TRY(digest_of(buf_slice(out), digest));
    return buf_printf(out, "end %s\n", digest);
}

/* --- reading ------------------------------------------------------------------------------------------------------ */

struct text {
    const char *at, *end;
};

/* Takes `word` and a blank from the text. */
static bool take_word(struct text *text, const char *word)
{
    size_t size = strlen(word);
    bool there = (size_t)(text->end - text->at) > size && memcmp(text->at, word, size) == 0 && text->at[size] == ' ';
    text->at += there ? size + 1 : 0;
    return there;
}

/* Takes what stands in front of `stop`, of 1 to `most` bytes, none of them a NUL, and that one too. */
static bool take_until(struct text *text, char stop, char *out, size_t most)
{
    const char *found = memchr(text->at, stop, (size_t)(text->end - text->at));
    size_t size = found ? (size_t)(found - text->at) : 0;
    if (!found || size == 0 || size > most || memchr(text->at, 0, size))
        return false;
    memcpy(out, text->at, size);
    out[size] = 0;
    text->at = found + 1;
    return true;
}

static bool take_number(struct text *text, char stop, uint64_t *out)
{
    char digits[24];
    if (!take_until(text, stop, digits, 20))
        return false;
    *out = 0;
    for (const char *c = digits; *c; c++)
        if (*c < '0' || *c > '9' || __builtin_mul_overflow(*out, 10, out) ||
            __builtin_add_overflow(*out, (uint64_t)(*c - '0'), out))
            return false;
    return true;
}

static bool take_digest(struct text *text, char stop, char digest[DIGEST_TEXT])
{
    return take_until(text, stop, digest, DIGEST_TEXT - 1) &&
           strspn(digest, "0123456789abcdef") == (size_t)(DIGEST_TEXT - 1);
}

/* Names of files must not lead out of the directory that they are made in. */
static bool take_file(struct text *text, struct checkpoint_file *out)
{
    return take_digest(text, ' ', out->digest) && take_number(text, ' ', &out->size) &&
           take_number(text, ' ', &out->identity) && take_until(text, '\n', out->name, CHECKPOINT_FILE_NAME) &&
           !strchr(out->name, '/') && *out->name != '.';
}

static plsm_status take_lines(struct text *text, const char *path, struct checkpoint_list *out)
{
    uint64_t version = 0;
    struct checkpoint_file file;
    if (!take_word(text, "plsm") || !take_word(text, "checkpoint") || !take_number(text, '\n', &version))
        return fail(PLSM_CORRUPT, "%s: is no list of a checkpoint", path);
    if (version != VERSION)
        return fail(PLSM_VERSION, "%s: has format version %" PRIu64 ", this program knows version %d", path, version,
                    VERSION);
    bool good = take_word(text, "name") && take_until(text, '\n', out->name, PLSM_CHECKPOINT_NAME_MAX) &&
                checkpoint_name_allowed(out->name) && take_word(text, "time") &&
                take_number(text, '\n', &out->time_ns) && take_word(text, "engine") &&
                take_until(text, '\n', out->engine, sizeof out->engine - 1);
    while (good && text->at < text->end) {
        good = take_word(text, "file") && take_file(text, &file);
        if (good)
            TRY(checkpoint_list_add(out, &file));
    }
    return good ? PLSM_OK : fail(PLSM_CORRUPT, "%s: cannot be understood", path);
}

plsm_status checkpoint_list_decode(plsm_slice all, const char *path, struct checkpoint_list *out)
{
    enum { END_LINE = 4 + DIGEST_TEXT };
    char told[DIGEST_TEXT], digest[DIGEST_TEXT];
    const char *data = all.data;
    *out = (struct checkpoint_list){0};
    if (all.size <= END_LINE)
        return fail(PLSM_CORRUPT, "%s: is no list of a checkpoint", path);
    struct text end = {data + all.size - END_LINE, data + all.size}, text = {data, data + all.size - END_LINE};
    if (!take_word(&end, "end") || !take_digest(&end, '\n', told))
        return fail(PLSM_CORRUPT, "%s: its last line is missing: it is no list of a checkpoint, or was cut", path);
    TRY(digest_of(slice(data, all.size - END_LINE), digest));
    if (strcmp(told, digest) != 0)
        return fail(PLSM_CORRUPT, "%s: was altered: its digest is not that of its last line", path);
    plsm_status status = take_lines(&text, path, out);
    if (status != PLSM_OK)
        checkpoint_list_free(out);
    return status;
}

void checkpoint_list_info(const struct checkpoint_list *list, plsm_checkpoint_info *out)
{
    *out = (plsm_checkpoint_info){.time_ns = list->time_ns, .files = list->count};
    snprintf(out->name, sizeof out->name, "%s", list->name);
    snprintf(out->engine, sizeof out->engine, "%s", list->engine);
    for (size_t i = 0; i < list->count; i++)
        out->bytes += list->files[i].size;
}
