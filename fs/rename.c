/* Rename: one batch of moves, so that it happens as a whole or not at all, also for a directory with all that is in it.
 * A directory with more than a batch should hold is moved by its prefix (plsm_move_prefix), as atomically; before that
 * the directories in it that exist only by what lies below them get an entry with the attributes that they show
 * anyway. Under the exclusive tree lock. */
#include <errno.h>
#include <linux/fs.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/error.h"
#include "fs/inode.h"
#include "fs/link.h"
#include "fs/ops.h"
#include "fs/remove.h"
#include "fs/xattr.h"
#include "base/banned.h"

/* Where entries wait while two names are exchanged: moved there and away within one batch, so nobody ever sees it. A
 * name cannot hold NUL, so no user's key is likely to start so; if one does, the exchange is refused (EBUSY). */
#define EXCHANGE_PREFIX "\0exchange\0"

enum {
    RENAME_BATCH_MAX = 64 << 20, /* bytes of names and values */
    STEP_BYTES = 1 << 20,        /* of the batches that give directories an entry before */
};

/* One side of a rename. */
struct side {
    struct node *parent;
    const char *name;
    struct entry entry;
    int error;         /* of entry_find: 0 or ENOENT */
    struct node *node; /* NULL: there is none, or the kernel does not know it */
    uint32_t removed;  /* from below the node, before this */
    char *piece;       /* its new name, for node_move; owned until moved */
    size_t piece_size;
    struct inode *in_the_way; /* of hold_place, for finish_gone; NULL: nothing is */
};

struct renaming {
    struct fs *fs;
    struct side from, to;
    bool exchange, name_too_long;
    bool large; /* too much for a batch: `large_target` is where the directory goes */
    struct path large_target;
    uint64_t content_bytes; /* of what the batch moves */
    uint32_t moves;         /* of that batch: each leaves a deletion of the old name */
    struct timespec now;
    plsm_batch *batch;
    plsm_slice through;                   /* where entries wait, in the second half of an exchange; empty otherwise */
    struct path source, target, previous; /* of the entry that is carried, and the key before it */
};

static bool is_directory(const struct side *side)
{
    return side->entry.node_flags & NODE_DIRECTORY;
}

/* --- moving one entry --------------------------------------------------------------------------------------------- */

/* Sets `out` to `prefix` followed by what `key` has behind its first `skip` bytes. */
static plsm_status join(struct renaming *r, plsm_slice prefix, plsm_slice key, size_t skip, struct path *out)
{
    size_t rest = key.size - skip;
    if (prefix.size + rest > PLSM_KEY_MAX) {
        r->name_too_long = true;
        return fail(PLSM_TOO_LARGE, "a key would have %zu bytes; the limit is %u", prefix.size + rest, PLSM_KEY_MAX);
    }
    memcpy(out->bytes, prefix.data, prefix.size);
    memcpy(out->bytes + prefix.size, (const uint8_t *)key.data + skip, rest);
    out->size = prefix.size + rest;
    return PLSM_OK;
}

/* Moves what has the key `key`, below a prefix of `skip` bytes, to the same place below `target`. `meta` is as in the
 * store. `there`: the key exists; otherwise it is a directory that only its content implies. What has made-up
 * attributes gets them written down now: its inode number came from the old key. */
static plsm_status carry(struct renaming *r, plsm_slice key, size_t skip, plsm_slice target, bool there,
                         plsm_slice meta)
{
    struct attr attr;
    uint8_t encoded[ATTR_SIZE_MAX];
    TRY(join(r, target, key, skip, &r->target));
    if (r->through.size) { /* the second half of an exchange: it waits there, and has its meta */
        TRY(join(r, r->through, key, skip, &r->source));
        return plsm_batch_move(r->batch, path_slice(&r->source), path_slice(&r->target));
    }
    if (meta.size == 0) {
        inode_default(r->fs, key, ((const char *)key.data)[key.size - 1] == '/', &attr);
        meta = slice(encoded, attr_encode(&attr, encoded));
        if (!there)
            return plsm_batch_put(r->batch, PLSM_NAMES, path_slice(&r->target), meta, slice(NULL, 0));
        TRY(plsm_batch_set_meta(r->batch, key, meta));
    }
    r->moves++;
    return plsm_batch_move(r->batch, key, path_slice(&r->target));
}

/* Carries the directories on the way to `key` that have no entry of their own. `key` follows r->previous in the store's
 * order, and a directory's own key precedes all that is below it. */
static plsm_status carry_implied(struct renaming *r, plsm_slice key, size_t skip, plsm_slice target)
{
    const char *bytes = key.data;
    size_t common = slice_common(key, path_slice(&r->previous));
    for (size_t i = skip - 1; i + 1 < key.size; i++)
        if (bytes[i] == '/' && i + 1 > common)
            TRY(carry(r, slice(bytes, i + 1), skip, target, false, slice(NULL, 0)));
    return PLSM_OK;
}

/* From how many bytes of names and values on what is moved is too much for a batch: as many as the store would not take
 * into memory. */
static uint64_t large_from(const struct renaming *r)
{
    plsm_abilities abilities;
    plsm_get_abilities(r->fs->db, &abilities);
    if (!abilities.bulk_loads || r->exchange)
        return UINT64_MAX;
    bool known = abilities.spills_above > 0 && abilities.spills_above < RENAME_BATCH_MAX;
    return known ? abilities.spills_above : RENAME_BATCH_MAX;
}

/* Moves everything that starts with the key of a directory; with r->large the batch is of no use, as it is too much. */
static plsm_status carry_tree(struct renaming *r, plsm_slice prefix, plsm_slice target)
{
    uint8_t end[PLSM_KEY_MAX];
    plsm_iterator *it = NULL;
    uint64_t large = large_from(r);
    plsm_read_options options = {.no_value = true};
    plsm_status status = plsm_iterator_create(r->fs->db, &options, prefix, prefix_end(prefix, end), &it);
    r->previous.size = 0;
    if (status == PLSM_OK)
        plsm_iterator_first(it);
    for (; status == PLSM_OK && plsm_iterator_valid(it); plsm_iterator_next(it)) {
        plsm_slice key = plsm_iterator_key(it);
        status = carry_implied(r, key, prefix.size, target);
        if (status == PLSM_OK)
            status = carry(r, key, prefix.size, target, true, plsm_iterator_meta(it));
        memcpy(r->previous.bytes, key.data, key.size);
        r->previous.size = key.size;
        r->content_bytes += plsm_iterator_large(it) ? 0 : plsm_iterator_size(it);
        uint64_t bytes = plsm_batch_bytes(r->batch) + r->content_bytes;
        if (status == PLSM_OK && bytes >= large) {
            r->large = true;
            break;
        }
        if (status == PLSM_OK && bytes > PLSM_BATCH_MAX)
            status = fail(PLSM_TOO_LARGE, "the directory holds too much to be renamed in one step");
    }
    if (status == PLSM_OK)
        status = plsm_iterator_status(it);
    plsm_iterator_destroy(it);
    return status;
}

/* Moves a file, or a directory with all in it. */
static plsm_status carry_side(struct renaming *r, struct side *side, plsm_slice target)
{
    plsm_slice key = path_slice(&side->entry.key);
    struct attr attr = side->entry.attr;
    uint64_t size = 0;
    uint8_t meta[ATTR_SIZE_MAX];
    if (is_directory(side))
        return carry_tree(r, key, target);
    if (!r->through.size) {
        if (side->node)
            inode_overlay(r->fs, side->node, &attr, &size);
        attr.ctime = r->now;
        TRY(plsm_batch_set_meta(r->batch, key, slice(meta, attr_encode(&attr, meta))));
    }
    return carry(r, key, key.size, target, true, slice(meta, 1));
}

/* --- what is allowed ---------------------------------------------------------------------------------------------- */

/* The key that a side has with the type of the other: what is moved there gets it. */
static void target_key(const struct side *side, bool directory, struct path *out)
{
    out->size = side->entry.key.size;
    memcpy(out->bytes, side->entry.key.bytes, out->size);
    bool has_slash = !side->error && is_directory(side);
    if (directory && !has_slash)
        out->bytes[out->size++] = '/';
    else if (!directory && has_slash)
        out->size--;
}

static int check_target(struct renaming *r, unsigned flags, bool creatable)
{
    struct side *from = &r->from, *to = &r->to;
    bool empty = true;
    if (to->error == ENOENT)
        return flags & RENAME_EXCHANGE ? ENOENT : creatable ? 0 : EINVAL;
    if (flags & RENAME_NOREPLACE)
        return EEXIST;
    if (to->entry.node_flags & (NODE_SYNTHETIC | NODE_VALUE))
        return EPERM;
    if (flags & RENAME_EXCHANGE)
        return 0;
    if (is_directory(from) != is_directory(to))
        return is_directory(to) ? EISDIR : ENOTDIR;
    if (is_directory(to)) {
        plsm_status status = entry_empty_directory(r->fs, path_slice(&to->entry.key), &empty);
        if (status != PLSM_OK)
            return fs_errno(r->fs, status);
    }
    return empty ? 0 : ENOTEMPTY;
}

static int find_sides(struct renaming *r, unsigned flags)
{
    struct side *from = &r->from, *to = &r->to;
    bool creatable = false;
    if (flags & ~(unsigned)(RENAME_NOREPLACE | RENAME_EXCHANGE))
        return EINVAL;
    if (name_reserved(from->parent, from->name) || name_reserved(to->parent, to->name))
        return EPERM;
    from->error = entry_find(r->fs, from->parent, from->name, &from->entry, NULL);
    if (from->error)
        return from->error;
    to->error = entry_find(r->fs, to->parent, to->name, &to->entry, &creatable);
    if (to->error && to->error != ENOENT)
        return to->error;
    if (to->error && atomic_load(&r->fs->expires)) {
        plsm_status status = remove_vanished_file(r->fs, to->parent, &to->entry);
        if (status != PLSM_OK)
            return fs_errno(r->fs, status);
    }
    if (from->entry.node_flags & (NODE_SYNTHETIC | NODE_VALUE))
        return EPERM;
    /* The kernel refuses to move a directory into itself too. */
    if ((is_directory(from) && slice_starts_with(path_slice(&to->entry.key), path_slice(&from->entry.key)) &&
         to->entry.key.size > from->entry.key.size) ||
        (flags & RENAME_EXCHANGE && !to->error && is_directory(to) && from->entry.key.size > to->entry.key.size &&
         slice_starts_with(path_slice(&from->entry.key), path_slice(&to->entry.key))))
        return EINVAL;
    return check_target(r, flags, creatable);
}

/* --- doing it ----------------------------------------------------------------------------------------------------- */

/* Prepares the node's new name: what `key` has behind the directory it is in. */
static plsm_status prepare_piece(struct side *side, const struct path *key, size_t directory_size)
{
    side->piece_size = key->size - directory_size;
    side->piece = node_piece(slice(key->bytes + directory_size, side->piece_size));
    return side->piece ? PLSM_OK : fail(PLSM_NO_MEMORY, "no memory for a name");
}

static plsm_status fill_exchange(struct renaming *r, plsm_slice target)
{
    struct path back;
    plsm_slice waiting = slice(EXCHANGE_PREFIX, sizeof EXCHANGE_PREFIX - 1);
    bool taken = false;
    TRY(keep_directory(r->fs, r->to.parent, r->batch));
    TRY(plsm_has_prefix(r->fs->db, NULL, waiting, &taken));
    if (taken)
        return fail(PLSM_LOCKED, "a key starts with the bytes that exchanging two names needs");
    target_key(&r->from, is_directory(&r->to), &back);
    TRY(prepare_piece(&r->to, &back, r->from.entry.parent_size));
    TRY(carry_side(r, &r->from, waiting));
    TRY(carry_side(r, &r->to, path_slice(&back)));
    r->through = waiting; /* the batch is not written yet: the old keys still tell what waits */
    return carry_side(r, &r->from, target);
}

static plsm_status fill_batch(struct renaming *r)
{
    struct path target;
    TRY(keep_directory(r->fs, r->from.parent, r->batch));
    target_key(&r->to, is_directory(&r->from), &target);
    TRY(prepare_piece(&r->from, &target, r->to.entry.parent_size));
    if (r->exchange)
        return fill_exchange(r, path_slice(&target));
    TRY(carry_side(r, &r->from, path_slice(&target))); /* replaces a file or an empty directory that is there */
    if (!r->large)
        return PLSM_OK;
    r->large_target.size = target.size;
    memcpy(r->large_target.bytes, target.bytes, target.size);
    r->moves = 1; /* the range of the old names */
    plsm_batch_clear(r->batch);
    return keep_directory(r->fs, r->from.parent, r->batch);
}

/* Whether there is a node that is known by the name of this side. */
static bool is_named(const struct side *side)
{
    return side->node && !node_is_shared(side->node);
}

/* --- a directory that holds much ---------------------------------------------------------------------------------- */

/* Writes `batch` once it is large enough, or in any case with `all`. */
static plsm_status write_step(struct renaming *r, plsm_batch *batch, bool all)
{
    if (plsm_batch_count(batch) == 0 || (!all && plsm_batch_bytes(batch) < STEP_BYTES))
        return PLSM_OK;
    TRY(plsm_write(r->fs->db, batch, PLSM_NONE));
    plsm_batch_clear(batch);
    return PLSM_OK;
}

/* Gives the directories on the way to `key` that have no entry of their own one, as carry_implied. */
static plsm_status write_down_implied(struct renaming *r, plsm_slice key, size_t skip, plsm_batch *batch)
{
    struct attr attr;
    uint8_t meta[ATTR_SIZE_MAX];
    const char *bytes = key.data;
    size_t common = slice_common(key, path_slice(&r->previous));
    for (size_t i = skip - 1; i + 1 < key.size; i++) {
        if (bytes[i] != '/' || i + 1 <= common)
            continue;
        inode_default(r->fs, slice(bytes, i + 1), true, &attr);
        TRY(plsm_batch_put(batch, PLSM_NAMES, slice(bytes, i + 1), slice(meta, attr_encode(&attr, meta)),
                           slice(NULL, 0)));
    }
    return PLSM_OK;
}

static plsm_status write_down_tree(struct renaming *r, plsm_slice prefix, plsm_batch *batch)
{
    uint8_t end[PLSM_KEY_MAX];
    plsm_iterator *it = NULL;
    plsm_read_options options = {.no_value = true};
    plsm_status status = plsm_iterator_create(r->fs->db, &options, prefix, prefix_end(prefix, end), &it);
    r->previous.size = 0;
    if (status == PLSM_OK)
        plsm_iterator_first(it);
    for (; status == PLSM_OK && plsm_iterator_valid(it); plsm_iterator_next(it)) {
        plsm_slice key = plsm_iterator_key(it);
        status = write_down_implied(r, key, prefix.size, batch);
        if (status == PLSM_OK)
            status = write_step(r, batch, false);
        memcpy(r->previous.bytes, key.data, key.size);
        r->previous.size = key.size;
    }
    if (status == PLSM_OK)
        status = plsm_iterator_status(it);
    plsm_iterator_destroy(it);
    return status == PLSM_OK ? write_step(r, batch, true) : status;
}

/* Is a plsm_move_meta. */
static size_t made_up_meta(void *arg, plsm_slice key, uint8_t meta[PLSM_META_MAX])
{
    const struct renaming *r = arg;
    struct attr attr;
    static_assert(ATTR_SIZE_MAX <= PLSM_META_MAX, "attributes fit a meta");
    inode_default(r->fs, key, ((const char *)key.data)[key.size - 1] == '/', &attr);
    return attr_encode(&attr, meta);
}

static plsm_status move_large(struct renaming *r)
{
    plsm_slice prefix = path_slice(&r->from.entry.key);
    plsm_batch *steps = plsm_batch_create();
    plsm_status status = steps ? write_down_tree(r, prefix, steps) : fail(PLSM_NO_MEMORY, "no memory for a batch");
    plsm_batch_destroy(steps);
    if (status == PLSM_OK)
        status = plsm_move_prefix(r->fs->db, prefix, path_slice(&r->large_target), r->batch, made_up_meta, r);
    r->name_too_long = status == PLSM_TOO_LARGE;
    return status;
}

/* --- the nodes ---------------------------------------------------------------------------------------------------- */

/* What a batch deleted behind the kernel may still have a node in the place that a side moves to: a directory, or a
 * file that somebody writes, which would come again when it is closed. It goes when the names have been written. */
static plsm_status hold_place(struct renaming *r, struct side *side, const struct side *other)
{
    if (!is_named(side))
        return PLSM_OK;
    struct node *node = node_find(&r->fs->nodes, other->parent, slice(side->piece, side->piece_size), 0);
    if (!node || node == side->node || node == other->node)
        return PLSM_OK;
    side->in_the_way = inode_get(r->fs, node);
    return side->in_the_way ? PLSM_OK : fail(PLSM_NO_MEMORY, "no memory for an inode");
}

static plsm_status hold_places(struct renaming *r)
{
    TRY(hold_place(r, &r->from, &r->to));
    return r->exchange ? hold_place(r, &r->to, &r->from) : PLSM_OK;
}

/* The names are written: tells the nodes. */
static void move_nodes(struct renaming *r)
{
    struct node_table *nodes = &r->fs->nodes;
    bool back = r->exchange && is_named(&r->to);
    if (back)
        node_remove(nodes, r->to.node); /* out of the way, and back under its new name */
    if (is_named(&r->from)) {
        node_move(nodes, r->from.node, r->to.parent, r->from.piece, r->from.piece_size);
        r->from.piece = NULL;
    }
    if (back) {
        node_restore(nodes, r->to.node, r->from.parent, r->to.piece, r->to.piece_size);
        r->to.piece = NULL;
    }
}

/* Deletions stay where they are in the store while directories move: those below the old place of one count above it
 * from now on, and those below one that it replaces count below itself. */
static void count_removed(struct renaming *r)
{
    struct side *from = &r->from, *to = &r->to;
    bool known = from->node && is_directory(from);
    if (r->exchange) { /* both names stay */
        if (known && to->node && is_directory(to)) {
            from->node->removed = to->removed;
            to->node->removed = from->removed;
        }
        return;
    }
    names_removed(from->parent, r->moves);
    if (!r->large) /* else the range takes them along */
        names_removed(from->parent, from->removed);
    if (known)
        from->node->removed = to->removed;
    else
        names_removed(to->parent, to->removed);
}

/* The entry has its own key now, and a new ctime. Files have that in the store already. */
static void touch_renamed(struct renaming *r, const struct side *side)
{
    if (!side->node)
        return;
    atomic_fetch_and(&side->node->flags, (uint8_t)~NODE_IMPLIED);
    /* A directory's new ctime waits to be written. */
    struct inode *inode = is_directory(side) ? inode_get(r->fs, side->node) : inode_get_existing(r->fs, side->node);
    if (!inode)
        return;
    mutex_lock(&inode->lock);
    if (is_directory(side) && inode_load(r->fs, inode) == PLSM_OK)
        inode_touch(r->fs, inode, false);
    else if (inode->loaded)
        inode->attr.ctime = r->now;
    mutex_unlock(&inode->lock);
    inode_put(r->fs, inode);
}

/* Publishes what was written to a file, under its old name. Programs replace a file by writing another and renaming it:
 * the value that goes must not do so before the one that comes is in the store. When that cannot be written, the rename
 * fails and both names stay as they are. */
static plsm_status publish_side(struct renaming *r, const struct side *side)
{
    plsm_status status = PLSM_OK;
    if (!side->node || is_directory(side))
        return PLSM_OK;
    struct inode *inode = inode_get_existing(r->fs, side->node);
    if (!inode)
        return PLSM_OK;
    mutex_lock(&inode->lock);
    if (inode_content_dirty(inode))
        status = inode_publish(r->fs, inode);
    mutex_unlock(&inode->lock);
    inode_put(r->fs, inode);
    return status;
}

static void find_node(struct renaming *r, struct side *side)
{
    side->node = entry_node(r->fs, side->parent, &side->entry);
    side->removed = side->node && is_directory(side) ? side->node->removed : 0;
}

static int run(struct renaming *r)
{
    struct inode *replaced = NULL;
    plsm_status status = PLSM_OK;
    struct side *from = &r->from, *to = &r->to;
    if (!to->error && from->entry.shared && from->entry.shared == to->entry.shared)
        return 0; /* two names of one file: POSIX wants both to stay */
    /* One name. The kernel sees to it, but not when a batch has the name looked up again between its two looks. */
    if (!to->error && slice_equal(path_slice(&from->entry.key), path_slice(&to->entry.key)))
        return 0;
    find_node(r, from);
    if (!to->error)
        find_node(r, to);
    if (!to->error)
        status = publish_side(r, from);
    if (status == PLSM_OK && r->exchange)
        status = publish_side(r, to);
    if (status != PLSM_OK)
        return fs_errno_of_change(r->fs, status);
    if (!r->exchange)
        status = prepare_gone(r->fs, to->node, &to->entry, &replaced);
    if (status == PLSM_OK && !to->error && !r->exchange)
        status = touch_other_names(&to->entry, replaced, r->now, r->batch);
    if (status == PLSM_OK)
        status = fill_batch(r);
    if (status == PLSM_OK)
        status = hold_places(r);
    if (status == PLSM_OK && !r->exchange && !to->error && to->entry.attr.other_names == 0)
        status = xattr_delete_all(r->fs, to->entry.attr.xattrs, r->batch);
    if (status == PLSM_OK)
        status = r->large ? move_large(r) : plsm_write(r->fs->db, r->batch, r->fs->names_durability);
    finish_gone(r->fs, replaced, status == PLSM_OK);
    finish_gone(r->fs, from->in_the_way, status == PLSM_OK);
    finish_gone(r->fs, to->in_the_way, status == PLSM_OK);
    if (status == PLSM_TOO_LARGE)
        return r->name_too_long ? ENAMETOOLONG : EXDEV; /* too much for one batch: mv(1) copies instead */
    if (status != PLSM_OK)
        return fs_errno_of_change(r->fs, status);
    move_nodes(r);
    count_removed(r);
    if (is_directory(from) || (r->exchange && is_directory(to)))
        directories_changed(r->fs, NULL); /* and all below it have other paths */
    touch_renamed(r, from);
    directory_kept(from->parent);
    touch_directory(r->fs, from->parent);
    if (r->exchange) {
        touch_renamed(r, to);
        directory_kept(to->parent);
    }
    if (to->parent != from->parent)
        touch_directory(r->fs, to->parent);
    return 0;
}

static void begin(struct renaming *r, struct fs *fs, unsigned flags)
{
    r->fs = fs;
    r->exchange = flags & RENAME_EXCHANGE;
    r->name_too_long = r->large = false;
    r->content_bytes = 0;
    r->moves = 0;
    r->now = inode_now();
    r->batch = plsm_batch_create();
    r->through = slice(NULL, 0);
}

/* The rest is filled where it is needed. */
static void begin_side(struct side *side, struct node *parent, const char *name)
{
    side->parent = parent;
    side->name = name;
    side->node = NULL;
    side->removed = 0;
    side->piece = NULL;
    side->in_the_way = NULL;
}

void fs_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t new_parent, const char *new_name,
               unsigned flags)
{
    struct fs *fs = fs_of(req);
    struct renaming r; /* 51 KiB, of six keys: too large to be zeroed for nothing */
    int error = ENOMEM;
    begin(&r, fs, flags);
    begin_side(&r.from, node_of(fs, parent), name);
    begin_side(&r.to, node_of(fs, new_parent), new_name);
    if (r.batch) {
        tree_exclude(&fs->nodes);
        error = find_sides(&r, flags);
        if (!error)
            error = run(&r);
        tree_unexclude(&fs->nodes);
    }
    fuse_reply_err(req, error);
    plsm_batch_destroy(r.batch);
    mem_free(r.from.piece);
    mem_free(r.to.piece);
}
