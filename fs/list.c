/* Listings: range scans in key order, with cookies that are ordinals.
 *
 * An open directory keeps, for the entries it has told, where in the keys the listing goes on behind each: a mark. The
 * kernel asks again from within the last answer (what did not fit into a caller's buffer it throws away), and programs
 * may seek to any older cookie. While the marks take less than MARKS_BYTES every cookie has one; beyond that every
 * second of the older ones is dropped, again and again, and a cookie between two marks is found by counting from the
 * one before it. Marks are keys, not positions, so entries that come and go do not move them: what is there during the
 * whole listing is told once. (In a directory with so many entries that marks were dropped, changes between a mark and
 * the cookie of a backward seek move that seek by as many entries.)
 *
 * Each answer is a scan of the newest state. The kernel keeps changes of a directory and its listing apart, so
 * attributes told with the names are right when it takes them in. Memory is bounded whatever a directory holds: by the
 * marks, and by listed_nodes_max. */
#include <errno.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/error.h"
#include "fs/control.h"
#include "fs/handles.h"
#include "fs/inode.h"
#include "fs/ops.h"
#include "fs/sync.h"
#include "base/banned.h"

enum {
    MARKS_BYTES = 1 << 20,
    LISTED_NODES_MAX = 1 << 21, /* 130 MB with names of 40 bytes, and some 2 GB in the kernel */
    LISTED_NODE_BYTES = 128,    /* of the budget for each, where there is one: more than all but long names take */
    LISTED_PART = 8,            /* of the budget that they may have */
};

struct mark {
    uint64_t cookie;
    uint32_t offset, size; /* in `keys`: what follows the directory's key where the listing goes on */
};

struct listing {
    struct handle handle;
    mutex lock;
    struct mark *marks; /* by cookie */
    size_t count, capacity;
    struct buf keys;
};

/* One entry of a listing on its way out. */
struct listed {
    struct shown_name name;
    struct attr attr;
    uint64_t size, shared; /* as in struct entry */
    uint8_t node_flags;
    uint32_t piece_size; /* bytes of the key behind the directory's: the piece of its node */
    struct path resume;  /* the key where the listing goes on */
};

struct scan {
    struct fs *fs;
    struct path directory;
    uint32_t publications; /* publications_in the directory, before the iterator was made */
    plsm_iterator *it;
    struct listed entry;
    uint8_t piece[PLSM_KEY_MAX + 1];
};

/* --- marks -------------------------------------------------------------------------------------------------------- */

static void drop_half(struct listing *listing)
{
    struct buf keys = {0};
    size_t kept = 0, recent = listing->count - listing->count / 4;
    if (buf_reserve(&keys, listing->keys.size) != PLSM_OK)
        return;
    for (size_t i = 0; i < listing->count; i++) {
        struct mark mark = listing->marks[i];
        if (i % 2 && i < recent)
            continue;
        memcpy(keys.data + keys.size, listing->keys.data + mark.offset, mark.size);
        mark.offset = (uint32_t)keys.size;
        keys.size += mark.size;
        listing->marks[kept++] = mark;
    }
    listing->count = kept;
    buf_free(&listing->keys);
    listing->keys = keys;
}

/* How many marks are not behind `cookie`. */
static size_t marks_until(const struct listing *listing, uint64_t cookie)
{
    size_t low = 0, high = listing->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (listing->marks[middle].cookie <= cookie)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* The last mark that is not behind `cookie`; {0, empty}, the beginning of the scan, when there is none. */
static struct mark find_mark(const struct listing *listing, uint64_t cookie)
{
    size_t until = marks_until(listing, cookie);
    return until ? listing->marks[until - 1] : (struct mark){0};
}

/* Remembers where the listing goes on at a cookie. Without memory it does not: then the cookie is found by counting. */
static void set_mark(struct listing *listing, uint64_t cookie, plsm_slice resume)
{
    size_t until = marks_until(listing, cookie);
    if (until > 0 && listing->marks[until - 1].cookie == cookie) {
        struct mark mark = listing->marks[until - 1];
        if (slice_equal(slice(listing->keys.data + mark.offset, mark.size), resume))
            return;
        /* Told again after a backward seek, and something has changed: from here on cookies have a new meaning. */
        listing->count = until - 1;
        listing->keys.size = mark.offset;
    } else if (until < listing->count) {
        /* Read again (rewinddir) where marks were dropped. What is told now may be removed before the next call, as
         * "rm -r" does, so it needs marks of its own; the older ones behind it go. */
        listing->keys.size = listing->marks[until].offset;
        listing->count = until;
    }
    if (listing->keys.size + listing->count * sizeof *listing->marks + resume.size > MARKS_BYTES)
        drop_half(listing);
    if (listing->count == listing->capacity) {
        size_t capacity = listing->capacity ? listing->capacity * 2 : 64;
        struct mark *marks = mem_realloc(listing->marks, capacity * sizeof *marks);
        if (!marks)
            return;
        listing->marks = marks;
        listing->capacity = capacity;
    }
    uint32_t offset = (uint32_t)listing->keys.size;
    if (buf_append(&listing->keys, resume.data, resume.size) == PLSM_OK)
        listing->marks[listing->count++] = (struct mark){cookie, offset, (uint32_t)resume.size};
}

/* --- the scan ----------------------------------------------------------------------------------------------------- */

/* Whether a long component before this one, and with the same beginning, has told their synthetic directory already. */
static plsm_status told_before(struct scan *scan, plsm_slice key, size_t cut, bool *told)
{
    plsm_iterator *it = NULL;
    plsm_read_options options = {.snapshot = scan->fs->snapshot, .no_value = true};
    size_t start = component_start(path_slice(&scan->directory));
    plsm_status status = PLSM_OK;
    *told = false;
    TRY(plsm_iterator_create(scan->fs->db, &options, slice(key.data, cut), key, &it));
    for (plsm_iterator_first(it); plsm_iterator_valid(it) && !*told && status == PLSM_OK; plsm_iterator_next(it)) {
        plsm_slice other = plsm_iterator_key(it);
        const char *bytes = other.data, *slash = memchr(bytes + cut, '/', other.size - cut);
        size_t end = slash ? (size_t)(slash - bytes) : other.size;
        bool beside = false;
        if (slash)
            status = entry_exists(scan->fs, slice(bytes, end), &beside);
        *told = status == PLSM_OK && escape_cut_at(slice(bytes + start, end - start), start == 0, beside, cut - start);
    }
    if (status == PLSM_OK)
        status = plsm_iterator_status(it);
    plsm_iterator_destroy(it);
    return status;
}

/* Fills the entry for the value of the directory's own key. */
static void fill_value(struct scan *scan, plsm_slice key)
{
    struct listed *entry = &scan->entry;
    entry->name = (struct shown_name){.size = strlen(NAME_OF_VALUE)};
    memcpy(entry->name.bytes, NAME_OF_VALUE, sizeof NAME_OF_VALUE);
    inode_value_attr(scan->fs, key, &entry->attr);
    entry->size = plsm_iterator_size(scan->it);
    entry->node_flags = NODE_VALUE;
    entry->piece_size = 0;
}

/* Fills scan->entry from the key under the iterator. *shown: whether it shows in this directory at all. */
static plsm_status fill_listed(struct scan *scan, bool *shown)
{
    struct fs *fs = scan->fs;
    struct listed *entry = &scan->entry;
    plsm_slice key = plsm_iterator_key(scan->it), directory = path_slice(&scan->directory);
    const char *bytes = key.data, *slash = memchr(bytes + directory.size, '/', key.size - directory.size);
    size_t start = component_start(directory), end = slash ? (size_t)(slash - bytes) : key.size;
    bool synthetic = start < directory.size, beside = false, told = false;

    /* Behind this entry: the next key, or the next that is not below this directory ('0' follows '/'). */
    memcpy(entry->resume.bytes, bytes, end);
    entry->resume.bytes[end] = slash ? '0' : 0;
    entry->resume.size = end + 1;
    entry->shared = 0;
    *shown = true;
    if (key.size == directory.size) {
        fill_value(scan, key);
        *shown = !synthetic && entry->size > 0;
        return PLSM_OK;
    }
    if (slash && end > directory.size)
        TRY(entry_exists(fs, slice(bytes, end), &beside));
    else if (slash)
        beside = true; /* an empty piece, as in "a//b" */
    if (synthetic && !escape_cut_at(slice(bytes + start, end - start), start == 0, beside, directory.size - start)) {
        *shown = false;
        return PLSM_OK;
    }
    escape_encode(slice(bytes + directory.size, end - directory.size), directory.size == 0, beside, &entry->name);
    if (entry->name.kind == NAME_PIECE) {
        size_t cut = directory.size + entry->name.raw_size;
        TRY(told_before(scan, key, cut, &told));
        *shown = !told;
        inode_synthetic_attr(fs, slice(bytes, cut), &entry->attr);
        entry->node_flags = NODE_DIRECTORY | NODE_SYNTHETIC;
        entry->size = 0;
        entry->piece_size = (uint32_t)entry->name.raw_size;
        return PLSM_OK;
    }
    bool own = !slash || end + 1 == key.size; /* the iterator is at the entry's own key */
    entry->node_flags = slash ? NODE_DIRECTORY | (own ? 0 : NODE_IMPLIED) : 0;
    entry->size = own ? plsm_iterator_size(scan->it) : 0;
    entry->piece_size = (uint32_t)(end + (slash != NULL) - directory.size);
    TRY(inode_decode(fs, slice(bytes, end + (slash != NULL)), own ? plsm_iterator_meta(scan->it) : slice(NULL, 0),
                     slash != NULL, &entry->attr));
    entry->attr.holes = own ? entry->size - plsm_iterator_stored(scan->it) : 0;
    if (own && !slash) {
        entry->shared = plsm_iterator_shared(scan->it);
        entry->attr.other_names = plsm_iterator_names(scan->it) - 1;
    }
    entry->attr.expires_s = own && !slash ? plsm_iterator_expires(scan->it) : 0;
    return PLSM_OK;
}

/* Moves the iterator to the first key that shows, and fills scan->entry; *found false: the end. */
static plsm_status scan_next(struct scan *scan, bool *found)
{
    *found = false;
    while (plsm_iterator_valid(scan->it)) {
        TRY(fill_listed(scan, found));
        if (*found) {
            plsm_slice key = plsm_iterator_key(scan->it);
            memcpy(scan->piece, (const uint8_t *)key.data + scan->directory.size, scan->entry.piece_size);
        }
        if (scan->entry.resume.bytes[scan->entry.resume.size - 1] == 0)
            plsm_iterator_next(scan->it);
        else
            plsm_iterator_seek(scan->it, path_slice(&scan->entry.resume));
        if (*found)
            return PLSM_OK;
    }
    return plsm_iterator_status(scan->it);
}

static plsm_status scan_open(struct scan *scan, plsm_slice from)
{
    uint8_t end[PLSM_KEY_MAX];
    plsm_slice directory = path_slice(&scan->directory);
    plsm_read_options options = {.snapshot = scan->fs->snapshot, .no_value = true};
    TRY(plsm_iterator_create(scan->fs->db, &options, directory, prefix_end(directory, end), &scan->it));
    if (from.size == 0) {
        plsm_iterator_first(scan->it);
        return PLSM_OK;
    }
    memcpy(scan->entry.resume.bytes, directory.data, directory.size);
    memcpy(scan->entry.resume.bytes + directory.size, from.data, from.size);
    scan->entry.resume.size = directory.size + from.size;
    /* A final 0 says behind this key; it may make the key longer than keys can be, so it is not sought itself. */
    if (scan->entry.resume.bytes[scan->entry.resume.size - 1] == 0) {
        scan->entry.resume.size--;
        plsm_iterator_seek(scan->it, path_slice(&scan->entry.resume));
        if (plsm_iterator_valid(scan->it) && slice_equal(plsm_iterator_key(scan->it), path_slice(&scan->entry.resume)))
            plsm_iterator_next(scan->it);
        return plsm_iterator_status(scan->it);
    }
    plsm_iterator_seek(scan->it, path_slice(&scan->entry.resume));
    return plsm_iterator_status(scan->it);
}

/* --- answers ------------------------------------------------------------------------------------------------------ */

struct answer {
    fuse_req_t req;
    struct fs *fs;
    struct node *node;
    bool plus;
    bool names_only; /* plus, but no nodes any more */
    char *data;
    size_t size, capacity;
};

/* Adds a name; false: no room. */
static bool add(struct answer *answer, const char *name, const struct fuse_entry_param *entry, uint64_t cookie)
{
    char *to = answer->data + answer->size;
    size_t room = answer->capacity - answer->size;
    size_t needed = answer->plus ? fuse_add_direntry_plus(answer->req, to, room, name, entry, (off_t)cookie)
                                 : fuse_add_direntry(answer->req, to, room, name, &entry->attr, (off_t)cookie);
    if (needed > room)
        return false;
    answer->size += needed;
    return true;
}

/* Adds an entry of the scan; with its attributes, the kernel then knows its node. */
static int add_listed(struct answer *answer, const struct scan *scan, uint64_t cookie, bool *room)
{
    const struct listed *listed = &scan->entry;
    struct fuse_entry_param entry = {0}; /* no identifier: the kernel does not take it in */
    if (!answer->plus || answer->names_only) {
        attr_to_stat(&listed->attr, listed->size, &entry.attr);
        *room = add(answer, listed->name.bytes, &entry, cookie);
        return 0;
    }
    struct stored_entry stored = {.piece = slice(scan->piece, listed->piece_size),
                                  .node_flags = listed->node_flags,
                                  .attr = listed->attr,
                                  .size = listed->size,
                                  .shared = listed->shared,
                                  .publications = scan->publications};
    int error = fill_entry(answer->fs, answer->node, &stored, &entry);
    if (error)
        return error;
    *room = add(answer, listed->name.bytes, &entry, cookie);
    if (!*room)
        inode_forget(answer->fs, node_of(answer->fs, entry.ino), 1);
    return 0;
}

/* The entries that are not in the store, by cookie: ".", "..", .stats and .plsm where they show. */
static int add_dots(struct answer *answer, uint64_t *cookie, uint64_t dots, bool *room)
{
    static const char *const names[] = {".", "..", CONTROL_STATS, CONTROL_DIRECTORY};
    for (; *cookie < dots && *room; *cookie += *room) {
        struct fuse_entry_param entry = {0}; /* no identifier: the kernel does not take these in */
        struct node *node = *cookie == 1 && answer->node->parent ? node_parent(answer->node) : answer->node;
        struct attr attr;
        uint64_t size = 0;
        plsm_status status = *cookie >= 2 ? control_stat(answer->fs, names[*cookie], &attr, &size)
                                          : inode_stat(answer->fs, node, &attr, &size);
        if (status == PLSM_NOT_FOUND) /* listed after it was removed: empty */
            return ENOENT;
        if (status != PLSM_OK)
            return fs_errno(answer->fs, status);
        attr_to_stat(&attr, size, &entry.attr);
        *room = add(answer, names[*cookie], &entry, *cookie + 1);
    }
    return 0;
}

/* Fills the answer from `cookie` on; the listing is locked and the tree lock shared. */
static int fill_answer(struct answer *answer, struct listing *listing, uint64_t cookie, struct scan *scan)
{
    uint64_t dots = !answer->node->parent && answer->fs->options.show_control ? 4 : 2;
    bool room = true, found = true;
    if (answer->node->flags & NODE_GONE)
        return 0;
    int error = add_dots(answer, &cookie, dots, &room);
    if (error || !room)
        return error;
    if (node_path(answer->node, &scan->directory) != PLSM_OK)
        return ENAMETOOLONG;
    struct mark mark = find_mark(listing, cookie);
    uint64_t at = mark.size ? mark.cookie : dots;
    scan->publications = publications_in(answer->fs, answer->node);
    plsm_status status =
        scan_open(scan, slice(listing->keys.data ? listing->keys.data + mark.offset : NULL, mark.size));
    while (status == PLSM_OK && room && !error) {
        status = scan_next(scan, &found);
        if (status != PLSM_OK || !found)
            break;
        if (at++ < cookie)
            continue;
        error = add_listed(answer, scan, at, &room);
        if (room && !error) {
            const struct path *resume = &scan->entry.resume;
            set_mark(listing, at, slice(resume->bytes + scan->directory.size, resume->size - scan->directory.size));
        }
    }
    plsm_iterator_destroy(scan->it);
    return error ? error : fs_errno(answer->fs, status);
}

static void note_budget(void *arg, const plsm_statistic *statistic)
{
    uint64_t *budget = arg;
    if (strcmp(statistic->name, "mem.budget") == 0)
        *budget = statistic->integer;
}

size_t list_nodes_max(plsm *db)
{
    uint64_t budget = 0;
    plsm_statistics(db, note_budget, &budget);
    uint64_t most = budget / LISTED_PART / LISTED_NODE_BYTES;
    return budget > 0 && most < LISTED_NODES_MAX ? most : LISTED_NODES_MAX;
}

/* Those of views count too: the kernel knows all in one. */
static bool too_many_nodes(struct fs *mount)
{
    return node_count(&mount->nodes) + control_node_count(mount->control) > mount->listed_nodes_max;
}

void list_directory(struct fs *fs, fuse_req_t req, struct node *node, size_t size, off_t offset,
                    struct fuse_file_info *fi, bool plus)
{
    struct listing *listing = (struct listing *)(uintptr_t)fi->fh;
    struct answer answer = {
        .req = req, .fs = fs, .node = node, .plus = plus, .data = mem_alloc(size), .capacity = size};
    answer.names_only = too_many_nodes(fs->mount ? fs->mount : fs);
    struct scan *scan = mem_zalloc(sizeof *scan);
    int error = ENOMEM;
    if (answer.data && scan) {
        scan->fs = fs;
        tree_share(&fs->nodes);
        mutex_lock(&listing->lock);
        error = fill_answer(&answer, listing, (uint64_t)offset, scan);
        mutex_unlock(&listing->lock);
        tree_unshare(&fs->nodes);
    }
    /* What is in the answer counts as known to the kernel, so an error behind it is told at the next call. */
    if (error && answer.size == 0)
        fuse_reply_err(req, error);
    else
        fuse_reply_buf(req, answer.data, answer.size);
    mem_free(answer.data);
    mem_free(scan);
}

void fs_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *fi)
{
    list_directory(fs_of(req), req, node_of(fs_of(req), ino), size, offset, fi, false);
}

void fs_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *fi)
{
    list_directory(fs_of(req), req, node_of(fs_of(req), ino), size, offset, fi, true);
}

static void free_listing(struct fs *fs, struct handle *handle)
{
    struct listing *listing = (struct listing *)handle;
    mutex_destroy(&listing->lock);
    mem_free(listing->marks);
    buf_free(&listing->keys);
    mem_free(listing);
}

bool open_listing(fuse_req_t req, struct fuse_file_info *fi)
{
    struct fs *fs = fs_of(req);
    struct listing *listing = mem_zalloc(sizeof *listing);
    if (!listing) {
        fuse_reply_err(req, ENOMEM);
        return false;
    }
    mutex_init(&listing->lock);
    handle_add(fs, &listing->handle, free_listing);
    fi->fh = (uintptr_t)listing;
    if (fuse_reply_open(req, fi) == 0)
        return true;
    handle_remove(fs, &listing->handle);
    free_listing(fs, &listing->handle);
    return false;
}

void fs_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    open_listing(req, fi);
}

void fs_releasedir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    struct listing *listing = (struct listing *)(uintptr_t)fi->fh;
    handle_remove(fs_of(req), &listing->handle);
    free_listing(fs_of(req), &listing->handle);
    fuse_reply_err(req, 0);
}

void fs_fsyncdir(fuse_req_t req, fuse_ino_t ino, int data_only, struct fuse_file_info *fi)
{
    struct fs *fs = fs_of(req);
    plsm_status status = PLSM_NO_MEMORY;
    tree_share(&fs->nodes);
    struct inode *inode = inode_get(fs, node_of(fs, ino));
    if (inode) {
        mutex_lock(&inode->lock);
        status = inode_publish(fs, inode);
        mutex_unlock(&inode->lock);
        inode_put(fs, inode);
    }
    tree_unshare(&fs->nodes);
    if (status == PLSM_OK)
        sync_and_reply(fs, req);
    else
        fuse_reply_err(req, fs_errno_of_change(fs, status));
}
