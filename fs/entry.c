#include "fs/entry.h"

#include <errno.h>

#include "base/bytes.h"
#include "base/error.h"
#include "fs/control.h"
#include "fs/inode.h"
#include "base/banned.h"

bool name_reserved(const struct node *parent, const char *name)
{
    return !parent->parent && (strcmp(name, CONTROL_STATS) == 0 || strcmp(name, CONTROL_DIRECTORY) == 0);
}

plsm_slice prefix_end(plsm_slice prefix, uint8_t *out)
{
    const uint8_t *bytes = prefix.data;
    size_t size = prefix.size;
    while (size > 0 && bytes[size - 1] == 0xff)
        size--;
    if (size > 0) {
        memcpy(out, bytes, size);
        out[size - 1]++;
    }
    return slice(out, size);
}

size_t component_start(plsm_slice directory)
{
    const char *slash = directory.size ? memrchr(directory.data, '/', directory.size) : NULL;
    return slash ? (size_t)(slash + 1 - (const char *)directory.data) : 0;
}

/* Looks up entry->key as a directory: its own entry, or any key below it. */
static plsm_status find_directory(struct fs *fs, struct entry *entry, plsm_value *value)
{
    plsm_read_options options = {.snapshot = fs->snapshot, .no_value = true};
    plsm_slice key = path_slice(&entry->key);
    bool below = false;
    entry->node_flags = NODE_DIRECTORY;
    plsm_status status = plsm_get(fs->db, &options, key, value);
    if (status == PLSM_OK) {
        entry->size = value->size;
        entry->no_meta = value->meta.size == 0;
        return inode_decode(fs, key, value->meta, true, &entry->attr);
    }
    if (status == PLSM_NOT_FOUND)
        status = plsm_has_prefix(fs->db, &options, key, &below);
    if (status == PLSM_OK && !below)
        return PLSM_NOT_FOUND;
    entry->node_flags |= NODE_IMPLIED;
    entry->no_meta = true;
    inode_default(fs, key, true, &entry->attr);
    return status;
}

/* Looks up entry->key as a file, then as a directory. */
static plsm_status find_plain(struct fs *fs, struct entry *entry, enum name_kind kind, plsm_value *value)
{
    plsm_read_options options = {.snapshot = fs->snapshot, .no_value = true};
    plsm_slice key = path_slice(&entry->key);
    plsm_status status = PLSM_OK;
    if (key.size > entry->parent_size) {
        status = plsm_get(fs->db, &options, key, value);
        if (status == PLSM_OK && kind == NAME_PLAIN) {
            entry->node_flags = 0;
            entry->size = value->size;
            entry->no_meta = value->meta.size == 0;
            TRY(inode_decode(fs, key, value->meta, false, &entry->attr));
            entry->shared = value->shared;
            entry->attr.other_names = value->names - 1;
            entry->attr.holes = value->size - value->stored;
            entry->attr.expires_s = value->expires_s;
            return PLSM_OK;
        }
        /* "a%2F." stays a name of the directory when the file beside it goes, for programs that have read it. */
        if (status != PLSM_OK && status != PLSM_NOT_FOUND)
            return status;
    }
    entry->key.bytes[entry->key.size++] = '/';
    status = entry->key.size <= PLSM_KEY_MAX ? find_directory(fs, entry, value) : PLSM_NOT_FOUND;
    if (status != PLSM_OK)
        entry->key.size--;
    return status;
}

plsm_status entry_exists(struct fs *fs, plsm_slice key, bool *exists)
{
    plsm_value value = {0};
    plsm_read_options options = {.snapshot = fs->snapshot, .no_value = true};
    plsm_status status = plsm_get(fs->db, &options, key, &value);
    plsm_value_free(&value);
    *exists = status == PLSM_OK;
    return status == PLSM_NOT_FOUND ? PLSM_OK : status;
}

/* Whether any component that starts with this piece is cut right behind it. */
static plsm_status find_piece(struct fs *fs, struct entry *entry)
{
    plsm_slice key = path_slice(&entry->key);
    size_t start = component_start(key);
    uint8_t end[PLSM_KEY_MAX];
    plsm_iterator *it = NULL;
    plsm_read_options options = {.snapshot = fs->snapshot, .no_value = true};
    plsm_status status = PLSM_OK;
    bool found = false;
    TRY(plsm_iterator_create(fs->db, &options, key, prefix_end(key, end), &it));
    for (plsm_iterator_first(it); plsm_iterator_valid(it) && !found && status == PLSM_OK; plsm_iterator_next(it)) {
        plsm_slice at = plsm_iterator_key(it);
        const char *bytes = at.data, *slash = memchr(bytes + key.size, '/', at.size - key.size);
        size_t component_end = slash ? (size_t)(slash - bytes) : at.size;
        plsm_slice component = slice(bytes + start, component_end - start);
        found = escape_cut_at(component, start == 0, false, key.size - start);
        /* A directory may be cut for another reason: that a file has the same name. */
        if (!found && slash && escape_cut_at(component, start == 0, true, key.size - start))
            status = entry_exists(fs, slice(bytes, component_end), &found);
    }
    if (status == PLSM_OK)
        status = plsm_iterator_status(it);
    plsm_iterator_destroy(it);
    entry->node_flags = NODE_DIRECTORY | NODE_SYNTHETIC;
    inode_synthetic_attr(fs, key, &entry->attr);
    return status != PLSM_OK ? status : found ? PLSM_OK : PLSM_NOT_FOUND;
}

/* Whether a decoded name is what its piece shows as in this directory. */
static bool is_canonical(plsm_slice directory, const struct raw_name *raw, plsm_slice name)
{
    struct shown_name shown;
    size_t start = component_start(directory);
    bool beside = raw->kind == NAME_BESIDE;
    uint8_t component[PLSM_KEY_MAX + NAME_SIZE_MAX];
    if (raw->kind == NAME_PIECE)
        return true; /* find_piece sees to that, and it can never be made */
    if (raw->size == 0 && !beside)
        return false;
    escape_encode(slice(raw->bytes, raw->size), directory.size == 0, beside, &shown);
    if (shown.kind != raw->kind || !slice_equal(slice(shown.bytes, shown.size), name))
        return false;
    if (start == directory.size)
        return true;
    /* In a synthetic directory there are only components that are cut there. */
    memcpy(component, (const uint8_t *)directory.data + start, directory.size - start);
    memcpy(component + directory.size - start, raw->bytes, raw->size);
    return escape_cut_at(slice(component, directory.size - start + raw->size), start == 0, beside,
                         directory.size - start);
}

static plsm_status find_value(struct fs *fs, struct entry *entry, plsm_value *value)
{
    plsm_slice key = path_slice(&entry->key);
    plsm_read_options options = {.snapshot = fs->snapshot, .no_value = true};
    if (key.size == 0 || entry->key.bytes[key.size - 1] != '/')
        return PLSM_NOT_FOUND;
    TRY(plsm_get(fs->db, &options, key, value));
    inode_value_attr(fs, key, &entry->attr);
    entry->node_flags = NODE_VALUE;
    entry->size = value->size;
    return value->size ? PLSM_OK : PLSM_NOT_FOUND;
}

int entry_find(struct fs *fs, struct node *parent, const char *name, struct entry *out, bool *creatable)
{
    struct raw_name raw = {0};
    plsm_value value = {0};
    plsm_slice shown = slice_of(name);
    plsm_status status = PLSM_OK;
    if (shown.size > NAME_SIZE_MAX || node_path(parent, &out->key) != PLSM_OK)
        return ENAMETOOLONG;
    escape_decode(shown, !parent->parent, &raw);
    out->parent_size = out->key.size;
    out->node_flags = 0;
    out->no_meta = false;
    out->size = out->shared = 0;
    bool canonical = raw.kind == NAME_VALUE || is_canonical(path_slice(&out->key), &raw, shown);
    if (creatable)
        *creatable = canonical && raw.kind == NAME_PLAIN;
    if (!canonical)
        return ENOENT;
    memcpy(out->key.bytes + out->key.size, raw.bytes, raw.size);
    out->key.size += raw.size;
    if (out->key.size > PLSM_KEY_MAX)
        return ENAMETOOLONG;
    if (raw.kind == NAME_VALUE)
        status = find_value(fs, out, &value);
    else if (raw.kind == NAME_PIECE)
        status = find_piece(fs, out);
    else
        status = find_plain(fs, out, raw.kind, &value);
    plsm_value_free(&value);
    return status == PLSM_NOT_FOUND ? ENOENT : fs_errno(fs, status);
}

plsm_status entry_empty_directory(struct fs *fs, plsm_slice key, bool *empty)
{
    uint8_t end[PLSM_KEY_MAX];
    plsm_iterator *it = NULL;
    plsm_read_options options = {.snapshot = fs->snapshot, .no_value = true};
    TRY(plsm_iterator_create(fs->db, &options, key, prefix_end(key, end), &it));
    plsm_iterator_first(it);
    if (plsm_iterator_valid(it) && slice_equal(plsm_iterator_key(it), key) && plsm_iterator_size(it) == 0)
        plsm_iterator_next(it);
    *empty = !plsm_iterator_valid(it);
    plsm_status status = plsm_iterator_status(it);
    plsm_iterator_destroy(it);
    return status;
}
