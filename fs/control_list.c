/* Listings of control directories: names that are few are gathered when the directory is opened; the keys of a range
 * are
 * read from the store answer by answer. */
#include <errno.h>

#include "base/alloc.h"
#include "base/error.h"
#include "fs/control_private.h"
#include "fs/ops.h"
#include "base/banned.h"

struct control_listing {
    struct handle handle;
    mutex lock;
    enum control_kind kind;
    struct buf names; /* of few: each with its terminator */
    bool no_memory;
    struct range range;
    /* Where the listing of a range goes on at a cookie: behind this key. Two of them, as the kernel may ask again from
     * within the last answer; further back it is counted from the start. */
    struct place {
        uint64_t cookie;
        struct path key; /* empty: the beginning */
    } last, before;
};

/* One answer on its way. */
struct answer {
    fuse_req_t req;
    char *data;
    size_t size, capacity;
    bool plus;
};

static bool add(struct answer *answer, const char *name, const struct attr *attr, uint64_t size, uint64_t cookie)
{
    struct fuse_entry_param entry = {0}; /* no identifier: the kernel looks names up that it wants to know more of */
    char *to = answer->data + answer->size;
    size_t room = answer->capacity - answer->size;
    attr_to_stat(attr, size, &entry.attr);
    size_t needed = answer->plus ? fuse_add_direntry_plus(answer->req, to, room, name, &entry, (off_t)cookie)
                                 : fuse_add_direntry(answer->req, to, room, name, &entry.attr, (off_t)cookie);
    if (needed > room)
        return false;
    answer->size += needed;
    return true;
}

/* ".", ".." have the cookies 1 and 2. */
static bool add_dots(struct control *control, struct answer *answer, uint64_t cookie)
{
    struct attr attr;
    control_fixed_attr(control, CONTROL_TOP, slice(NULL, 0), &attr);
    return (cookie >= 1 || add(answer, ".", &attr, 0, 1)) && (cookie >= 2 || add(answer, "..", &attr, 0, 2));
}

static void gather(void *arg, const char *name)
{
    struct control_listing *listing = arg;
    if (buf_append(&listing->names, name, strlen(name) + 1) != PLSM_OK)
        listing->no_memory = true;
}

static void fill_few(struct control *control, struct control_listing *listing, struct answer *answer, uint64_t cookie)
{
    struct attr attr;
    uint64_t at = 2;
    bool directories = listing->kind == CONTROL_SNAPSHOTS;
    for (size_t i = 0; i < listing->names.size; at++) {
        const char *name = (const char *)listing->names.data + i;
        i += strlen(name) + 1;
        if (at < cookie)
            continue;
        control_fixed_attr(control, CONTROL_LEVEL, slice_of(name), &attr);
        bool directory = directories || (listing->kind == CONTROL_TOP && control_top_is_directory(name));
        attr.mode = directory ? S_IFDIR | 0500 : attr.mode;
        if (!add(answer, name, &attr, 0, at + 1))
            return;
    }
}

static plsm_status fill_range(struct control *control, struct control_listing *listing, struct answer *answer,
                              uint64_t cookie)
{
    const struct range *range = &listing->range;
    plsm_read_options options = {.no_value = true};
    plsm_iterator *it = NULL;
    struct place *place = cookie >= listing->last.cookie ? &listing->last : &listing->before, *here = NULL;
    char name[NAME_SIZE_MAX + 1];
    struct attr attr;
    bool room = true;
    if (cookie < place->cookie || place->cookie == 0)
        *place = (struct place){.cookie = 2};
    uint64_t at = place->cookie;
    TRY(plsm_iterator_create(control->fs->db, &options, slice(range->from, range->from_size),
                             slice(range->to, range->to_size), &it));
    if (place->key.size == 0)
        plsm_iterator_first(it);
    else
        plsm_iterator_seek(it, path_slice(&place->key));
    if (place->key.size && plsm_iterator_valid(it) && slice_equal(plsm_iterator_key(it), path_slice(&place->key)))
        plsm_iterator_next(it);
    here = &listing->last;
    listing->before = *place;
    for (; plsm_iterator_valid(it) && room; plsm_iterator_next(it)) {
        plsm_slice key = plsm_iterator_key(it);
        if (at >= cookie) {
            range_name(key, name);
            range_attr(control, key, plsm_iterator_meta(it), &attr);
            room = add(answer, name, &attr, plsm_iterator_size(it), at + 1);
        }
        if (!room)
            break;
        at++;
        here->cookie = at;
        here->key.size = key.size;
        memcpy(here->key.bytes, key.data, key.size);
        if (at == cookie)
            listing->before = *here;
    }
    plsm_status status = plsm_iterator_status(it);
    plsm_iterator_destroy(it);
    return status;
}

static void free_listing(struct fs *fs, struct handle *handle)
{
    struct control_listing *listing = (struct control_listing *)handle;
    mutex_destroy(&listing->lock);
    buf_free(&listing->names);
    mem_free(listing);
}

void control_opendir(fuse_req_t req, struct node *node, struct fuse_file_info *fi)
{
    struct fs *fs = fs_of(req);
    struct control *control = fs->control;
    struct control_listing *listing = mem_zalloc(sizeof *listing);
    plsm_status status = PLSM_OK;
    if (!listing) {
        fuse_reply_err(req, ENOMEM);
        return;
    }
    mutex_init(&listing->lock);
    handle_add(fs, &listing->handle, free_listing);
    listing->kind = control_kind(control, node);
    if (listing->kind == CONTROL_TOP)
        control_top_list(gather, listing);
    else if (listing->kind == CONTROL_LEVELS)
        status = control_levels_list(control, gather, listing);
    else if (listing->kind == CONTROL_SNAPSHOTS)
        snapshots_list(control, gather, listing);
    else if (listing->kind == CONTROL_RANGE)
        range_parse(control_name(node), &listing->range);
    if (status == PLSM_OK && listing->no_memory)
        status = PLSM_NO_MEMORY;
    fi->fh = (uintptr_t)listing;
    if (status != PLSM_OK)
        fuse_reply_err(req, fs_errno(fs, status));
    if (status == PLSM_OK && fuse_reply_open(req, fi) == 0)
        return;
    handle_remove(fs, &listing->handle);
    free_listing(fs, &listing->handle);
}

void control_readdir(fuse_req_t req, struct node *node, size_t size, off_t offset, struct fuse_file_info *fi, bool plus)
{
    struct fs *fs = fs_of(req);
    struct control_listing *listing = (struct control_listing *)(uintptr_t)fi->fh;
    struct answer answer = {.req = req, .data = mem_alloc(size ? size : 1), .capacity = size, .plus = plus};
    uint64_t cookie = (uint64_t)offset;
    plsm_status status = answer.data ? PLSM_OK : fail(PLSM_NO_MEMORY, "no memory for a listing");
    mutex_lock(&listing->lock);
    if (status == PLSM_OK && add_dots(fs->control, &answer, cookie)) {
        cookie = cookie > 2 ? cookie : 2;
        if (listing->kind == CONTROL_RANGE)
            status = fill_range(fs->control, listing, &answer, cookie);
        else
            fill_few(fs->control, listing, &answer, cookie);
    }
    mutex_unlock(&listing->lock);
    if (status != PLSM_OK && answer.size == 0)
        fuse_reply_err(req, fs_errno(fs, status));
    else
        fuse_reply_buf(req, answer.data, answer.size);
    mem_free(answer.data);
}

void control_releasedir(fuse_req_t req, struct fuse_file_info *fi)
{
    struct control_listing *listing = (struct control_listing *)(uintptr_t)fi->fh;
    handle_remove(fs_of(req), &listing->handle);
    free_listing(fs_of(req), &listing->handle);
    fuse_reply_err(req, 0);
}
