/* .plsm/range: parts of the store by their keys. Names are described in control.h. */
#include <stdio.h>

#include "base/alloc.h"
#include "base/checksum.h"
#include "base/env.h"
#include "base/error.h"
#include "base/text.h"
#include "fs/control_private.h"
#include "fs/entry.h"
#include "fs/inode.h"
#include "base/banned.h"

static const char digits[] = "0123456789ABCDEF";
enum { LONG_SHOWN = 220, HASH_SIZE = 2 + 16 }; /* %~ and digits */

/* --- names -------------------------------------------------------------------------------------------------------- */

static int digit(char c)
{
    const char *at = c ? strchr(digits, c) : NULL;
    return at ? (int)(at - digits) : -1;
}

/* Reads %XX escapes; false when a '%' begins none. `out` has room for shown.size bytes. */
static bool unescape(plsm_slice shown, uint8_t *out, size_t *size)
{
    const char *bytes = shown.data;
    *size = 0;
    for (size_t i = 0; i < shown.size; i++) {
        if (bytes[i] != '%') {
            out[(*size)++] = (uint8_t)bytes[i];
            continue;
        }
        if (shown.size - i < 3 || digit(bytes[i + 1]) < 0 || digit(bytes[i + 2]) < 0)
            return false;
        out[(*size)++] = (uint8_t)(digit(bytes[i + 1]) << 4 | digit(bytes[i + 2]));
        i += 2;
    }
    return true;
}

bool range_parse(plsm_slice name, struct range *out)
{
    static const char tsv[] = ".tsv";
    const char *bytes = name.data;
    size_t size = name.size, suffix = sizeof tsv - 1;
    out->tsv = size > suffix && memcmp(bytes + size - suffix, tsv, suffix) == 0;
    size -= out->tsv ? suffix : 0;
    const char *dots = size ? memmem(bytes, size, "..", 2) : NULL;
    if (!dots)
        return false;
    size_t from = (size_t)(dots - bytes);
    return unescape(slice(bytes, from), out->from, &out->from_size) &&
           unescape(slice(dots + 2, size - from - 2), out->to, &out->to_size);
}

size_t range_name(plsm_slice key, char *out)
{
    const char *bytes = key.data;
    bool dots = slice_equal(key, slice_of(".")) || slice_equal(key, slice_of(".."));
    size_t size = 0, long_at = 0;
    for (size_t i = 0; i < key.size; i++) {
        bool escaped = dots || bytes[i] == '/' || bytes[i] == '%' || bytes[i] == 0;
        if (size + (escaped ? 3 : 1) > NAME_SIZE_MAX) { /* too long: its beginning, and a hash of all of it */
            snprintf(out + long_at, HASH_SIZE + 1, "%%~%016llX", (unsigned long long)key_hash(key.data, key.size));
            return long_at + HASH_SIZE;
        }
        if (escaped) {
            out[size++] = '%';
            out[size++] = digits[(uint8_t)bytes[i] >> 4];
            out[size++] = digits[bytes[i] & 15];
        } else {
            out[size++] = bytes[i];
        }
        long_at = size <= LONG_SHOWN ? size : long_at;
    }
    out[size] = 0;
    return size;
}

/* Whether a key is in the range, and the name is what it shows as. */
static bool is_named(const struct range *range, plsm_slice key, plsm_slice name)
{
    char shown[NAME_SIZE_MAX + 1];
    return slice_compare(key, slice(range->from, range->from_size)) >= 0 &&
           (range->to_size == 0 || slice_compare(key, slice(range->to, range->to_size)) < 0) &&
           slice_equal(slice(shown, range_name(key, shown)), name);
}

void range_attr(struct control *control, plsm_slice key, plsm_slice meta, struct attr *attr)
{
    bool directory = key.size && ((const char *)key.data)[key.size - 1] == '/';
    if (inode_decode(control->fs, key, meta, directory, attr) != PLSM_OK)
        inode_default(control->fs, key, directory, attr); /* its content can be read all the same */
    attr->ino = key_hash(key.data, key.size) >> 2 | UINT64_C(1) << 61;
    attr->mode = S_IFREG | 0400;
    attr->rdev = 0;
    attr->uid = control->fs->owner;
    attr->gid = control->fs->owner_group;
}

/* Goes through the keys that begin as a cut name says, for the one that has its hash. */
static plsm_status find_cut(struct control *control, const struct range *range, plsm_slice name, struct path *key)
{
    uint8_t end[PLSM_KEY_MAX];
    plsm_iterator *it = NULL;
    plsm_read_options options = {.no_value = true};
    bool found = false;
    if (!unescape(slice(name.data, name.size - HASH_SIZE), key->bytes, &key->size))
        return PLSM_NOT_FOUND;
    TRY(plsm_iterator_create(control->fs->db, &options, path_slice(key), prefix_end(path_slice(key), end), &it));
    for (plsm_iterator_first(it); plsm_iterator_valid(it) && !found; plsm_iterator_next(it)) {
        plsm_slice at = plsm_iterator_key(it);
        found = is_named(range, at, name);
        if (found) {
            memcpy(key->bytes, at.data, at.size);
            key->size = at.size;
        }
    }
    plsm_status status = plsm_iterator_status(it);
    plsm_iterator_destroy(it);
    return status != PLSM_OK ? status : found ? PLSM_OK : PLSM_NOT_FOUND;
}

plsm_status range_find(struct control *control, plsm_slice range_text, plsm_slice name, struct path *key,
                       struct attr *attr, uint64_t *size)
{
    struct range range;
    plsm_value value = {0};
    plsm_read_options options = {.no_value = true};
    const char *bytes = name.data;
    if (!range_parse(range_text, &range))
        return PLSM_NOT_FOUND;
    if (name.size > HASH_SIZE && memcmp(bytes + name.size - HASH_SIZE, "%~", 2) == 0)
        TRY(find_cut(control, &range, name, key));
    else if (!unescape(name, key->bytes, &key->size) || !is_named(&range, path_slice(key), name))
        return PLSM_NOT_FOUND;
    plsm_status status = plsm_get(control->fs->db, &options, path_slice(key), &value);
    if (status == PLSM_OK) {
        range_attr(control, path_slice(key), value.meta, attr);
        *size = value.size;
    }
    plsm_value_free(&value);
    return status;
}

/* --- all of it as records ----------------------------------------------------------------------------------------- */

enum { WINDOW_SIZE = 1 << 20, PIECE_SIZE = 256 << 10 };

/* A range on its way out as text: the last bytes that were made are kept, as a reader may ask for some again; who goes
 * further back begins from the start. Memory is the window and a record, or a piece of a large value. */
struct control_stream {
    struct control *control;
    plsm_snapshot *snapshot; /* so that a second start, and large values, are of the same moment */
    plsm_iterator *it;
    struct range range;
    struct buf made;   /* text from `offset` on */
    uint64_t offset;   /* of the first byte in `made` */
    uint64_t large_at; /* how much of a large value has been made; its size: all of it */
    bool in_large, end;
    uint8_t *piece; /* of a large value */
};

static plsm_status rewind_stream(struct control_stream *stream)
{
    plsm_read_options options = {.snapshot = stream->snapshot};
    const struct range *range = &stream->range;
    plsm_iterator_destroy(stream->it);
    stream->it = NULL;
    stream->made.size = 0;
    stream->offset = 0;
    stream->in_large = stream->end = false;
    TRY(plsm_iterator_create(stream->control->fs->db, &options, slice(range->from, range->from_size),
                             slice(range->to, range->to_size), &stream->it));
    plsm_iterator_first(stream->it);
    return PLSM_OK;
}

/* A piece of the large value under the iterator. */
static plsm_status make_piece(struct control_stream *stream)
{
    plsm_read_options options = {.snapshot = stream->snapshot};
    size_t got = 0;
    if (!stream->piece && !(stream->piece = mem_alloc(PIECE_SIZE)))
        return fail(PLSM_NO_MEMORY, "no memory to read a large value");
    TRY(plsm_read(stream->control->fs->db, &options, plsm_iterator_key(stream->it), stream->large_at, stream->piece,
                  PIECE_SIZE, &got));
    stream->large_at += got;
    if (stream->large_at < plsm_iterator_size(stream->it) && got == 0)
        return fail(PLSM_CORRUPT, "a value ends at byte %llu of %llu; run plsm check",
                    (unsigned long long)stream->large_at, (unsigned long long)plsm_iterator_size(stream->it));
    return text_escape(&stream->made, slice(stream->piece, got));
}

/* Makes some text more, behind what there is. */
static plsm_status make_more(struct control_stream *stream)
{
    if (stream->in_large) {
        TRY(make_piece(stream));
        if (stream->large_at < plsm_iterator_size(stream->it))
            return PLSM_OK;
    } else {
        if (!plsm_iterator_valid(stream->it)) {
            stream->end = true;
            return plsm_iterator_status(stream->it);
        }
        TRY(text_escape(&stream->made, plsm_iterator_key(stream->it)));
        TRY(buf_append(&stream->made, "\t", 1));
        stream->in_large = plsm_iterator_large(stream->it);
        stream->large_at = 0;
        if (stream->in_large)
            return PLSM_OK;
        TRY(text_escape(&stream->made, plsm_iterator_value(stream->it)));
    }
    stream->in_large = false;
    TRY(buf_append(&stream->made, "\n", 1));
    plsm_iterator_next(stream->it);
    return PLSM_OK;
}

/* Drops text in front of `offset` when there is much, but for a part of the window. */
static void drop_old(struct control_stream *stream, uint64_t offset)
{
    uint64_t old = offset > stream->offset ? offset - stream->offset : 0;
    size_t drop = old > stream->made.size ? stream->made.size : (size_t)old;
    if (drop < WINDOW_SIZE)
        return;
    drop -= WINDOW_SIZE / 4;
    memmove(stream->made.data, stream->made.data + drop, stream->made.size - drop);
    stream->made.size -= drop;
    stream->offset += drop;
}

plsm_status control_stream_open(struct control *control, plsm_slice name, struct control_stream **out)
{
    struct control_stream *stream = mem_zalloc(sizeof *stream);
    if (!stream)
        return fail(PLSM_NO_MEMORY, "no memory for a range");
    stream->control = control;
    stream->snapshot = plsm_snapshot_create(control->fs->db);
    plsm_status status = stream->snapshot ? PLSM_OK : PLSM_NO_MEMORY;
    if (status == PLSM_OK && !range_parse(name, &stream->range))
        status = fail(PLSM_NOT_FOUND, "no range");
    if (status == PLSM_OK)
        status = rewind_stream(stream);
    if (status != PLSM_OK) {
        control_stream_close(stream);
        return status;
    }
    *out = stream;
    return PLSM_OK;
}

plsm_status control_stream_count(struct control_stream *stream, fuse_req_t req, uint64_t *size, uint64_t *hash)
{
    plsm_status status = PLSM_OK;
    *size = *hash = 0;
    while (status == PLSM_OK && !stream->end) {
        status = make_more(stream);
        if (stream->made.size < WINDOW_SIZE && !stream->end)
            continue;
        *hash = checksum(stream->made.data, stream->made.size, *hash);
        *size += stream->made.size;
        stream->made.size = 0;
        if (status == PLSM_OK && !stream->end && (fuse_req_interrupted(req) || stream->control->counts.stop))
            status = fail(PLSM_INVALID, "nobody waits for the size of a range any more");
    }
    buf_free(&stream->made);
    stream->offset = UINT64_MAX; /* whoever reads begins anew */
    return status;
}

plsm_status control_stream_read(struct control_stream *stream, uint64_t offset, uint8_t *data, size_t size, size_t *got)
{
    *got = 0;
    if (offset < stream->offset)
        TRY(rewind_stream(stream));
    while (!stream->end && stream->offset + stream->made.size < offset + size) {
        drop_old(stream, offset);
        TRY(make_more(stream));
    }
    uint64_t skip = offset - stream->offset;
    if (skip >= stream->made.size)
        return PLSM_OK;
    size_t left = stream->made.size - (size_t)skip;
    *got = size < left ? size : left;
    memcpy(data, stream->made.data + skip, *got);
    return PLSM_OK;
}

void control_stream_close(struct control_stream *stream)
{
    if (!stream)
        return;
    plsm_iterator_destroy(stream->it);
    plsm_snapshot_destroy(stream->control->fs->db, stream->snapshot);
    buf_free(&stream->made);
    mem_free(stream->piece);
    mem_free(stream);
}

/* --- its size and times ------------------------------------------------------------------------------------------- */

/* Where a range is kept; else the place of the one that was counted longest ago. Lock held. */
static struct counted_range *find_counted(struct control *control, uint64_t name_hash)
{
    struct counted_range *oldest = control->counted;
    for (int i = 0; i < COUNTED_RANGES; i++) {
        struct counted_range *at = &control->counted[i];
        if (at->made_ns && at->name_hash == name_hash)
            return at;
        if (at->made_ns < oldest->made_ns)
            oldest = at;
    }
    return oldest;
}

plsm_status control_stat_tsv(struct control *control, fuse_req_t req, plsm_slice name, bool fresh,
                             struct control_stream *stream, struct attr *attr, uint64_t *size)
{
    struct counted_range now = {.name_hash = key_hash(name.data, name.size)};
    mutex_lock(&control->lock);
    struct counted_range last = *find_counted(control, now.name_hash);
    mutex_unlock(&control->lock);
    bool known = last.made_ns && last.name_hash == now.name_hash;
    if (stream || fresh || !known || env_now_ns(env_posix()) - last.made_ns >= YOUNG_NS) {
        struct control_stream *own = NULL;
        plsm_status status = stream ? PLSM_OK : control_stream_open(control, name, &own);
        if (status == PLSM_OK)
            status = control_stream_count(stream ? stream : own, req, &now.size, &now.hash);
        control_stream_close(own);
        TRY(status);
        bool same = known && last.size == now.size && last.hash == now.hash;
        now.changed_wall_ns = same ? last.changed_wall_ns : env_wall_ns(env_posix());
        now.made_ns = env_now_ns(env_posix());
        last = now;
        mutex_lock(&control->lock);
        *find_counted(control, now.name_hash) = now;
        mutex_unlock(&control->lock);
    }
    *size = last.size;
    control_set_times(attr, last.changed_wall_ns);
    return PLSM_OK;
}
