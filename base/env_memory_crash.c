/* What a crash leaves of a file system in memory.
 *
 * The journal is replayed up to the crash. For each node that gives two things: its durable state (bytes as of its last
 * sync; names as of its directory's last sync_dir) and the list of changes since then, in order. The kind of crash then
 * decides which of those changes survive:
 *   files: a prefix of the changes; the last append of it may be cut at any byte. In REORDER, sectors of what survived
 *     are then lost one by one. Bytes that were synced and not cut off since are never touched.
 *   files that are written over (ENV_LOG_OVER): what they held stands where nothing was appended, or what was is lost;
 *   logs (ENV_LOG): zeros may follow, as far as a reader could have seen any since the last sync; after KEEP they do.
 *   directories: KEEP all, DROP none, TORN a prefix per directory, REORDER any subset.
 * A file and its name are independent: syncing a file does not make its name durable. A rename is one change, and so is
 * an exchange; a link is a change of the directory of the new name. Between two directories a rename is a change of
 * each, which may survive apart so far as that leaves the file with a name: with only the new directory synced both
 * names may show, and syncing only the old one makes the new name durable too. What had several names are files of the
 * same bytes in the image: nothing that has a second name is written again.
 *
 * Each decision is drawn from the seed and the number of the node or entry it is about, so that the same crash gives
 * the same image and one decision does not shift the others. */
#include <stdlib.h>
#include <string.h>

#include "base/env_memory_journal.h"
#include "base/error.h"

#include "base/banned.h"

enum { SECTOR = 512 };

enum side { OLD_NAME, NEW_NAME }; /* of a rename; other changes are NEW_NAME, whatever they are */

struct durable_name {
    const char *text; /* in the journal */
    const struct node *node;
};

/* One node during the replay. */
struct shadow {
    /* files: durable content */
    struct content content;
    /* files opened with ENV_LOG or ENV_LOG_OVER: has space taken in advance; had it at some time since the last sync */
    bool ahead, was_ahead;
    /* directories: durable names */
    struct durable_name *names;
    size_t name_count, name_capacity;
    /* changes since the last sync: entry * 2 + side + 1; 0 is the end */
    size_t first, last;
    bool visited;
};

struct replay {
    const struct memory_env *env;
    enum env_crash kind;
    uint64_t seed;
    size_t end;             /* entries to replay */
    struct shadow *shadows; /* by node */
    size_t *next;           /* by change: the next one of the same node */
    bool *survives;         /* by change, of directories */
    bool *forced;           /* by entry: a rename between directories whose old directory was synced */
    struct memory_env *image;
    bool no_memory;
};

static struct random decision(const struct replay *replay, uint64_t what, uint64_t number)
{
    uint64_t state = replay->seed ^ what << 56 ^ number * UINT64_C(0x9e3779b97f4a7c15);
    struct random random;
    random_seed(&random, splitmix64(&state));
    return random;
}

static const struct journal_entry *entry_of(const struct replay *replay, size_t change)
{
    return &replay->env->journal[(change - 1) / 2];
}

static bool is_rename_between(const struct journal_entry *entry)
{
    return entry->op == JOURNAL_RENAME && entry->dir != entry->dir_to;
}

/* --- directories --- */

static struct durable_name *find_durable(struct shadow *dir, const char *text)
{
    for (size_t i = 0; i < dir->name_count; i++)
        if (strcmp(dir->names[i].text, text) == 0)
            return &dir->names[i];
    return NULL;
}

static void drop_durable(struct shadow *dir, struct durable_name *name)
{
    if (name)
        *name = dir->names[--dir->name_count];
}

static void set_durable(struct replay *replay, struct shadow *dir, const char *text, const struct node *node)
{
    struct durable_name *name = find_durable(dir, text);
    if (!name && dir->name_count == dir->name_capacity) {
        size_t capacity = dir->name_capacity ? dir->name_capacity * 2 : 16;
        struct durable_name *names = realloc(dir->names, capacity * sizeof *names);
        if (!names) {
            replay->no_memory = true;
            return;
        }
        dir->names = names;
        dir->name_capacity = capacity;
    }
    if (!name)
        name = &dir->names[dir->name_count++];
    *name = (struct durable_name){text, node};
}

/* Takes away the name that a file has here: `text`, or where an earlier rename of it did not survive, whatever it is.
 */
static bool drop_node(struct shadow *dir, const struct node *node, const char *text)
{
    struct durable_name *name = find_durable(dir, text);
    size_t i = 0;
    while (i < dir->name_count && dir->names[i].node != node)
        i++;
    bool there = i < dir->name_count;
    drop_durable(dir, name && name->node == node ? name : there ? &dir->names[i] : NULL);
    return there;
}

static void apply_exchange(struct replay *replay, struct shadow *dir, const struct journal_entry *entry)
{
    bool one = drop_node(dir, entry->node, entry->name), other = drop_node(dir, entry->node_to, entry->name_to);
    if (one)
        set_durable(replay, dir, entry->name_to, entry->node);
    if (other)
        set_durable(replay, dir, entry->name, entry->node_to);
}

/* Applies one change of a directory's names to its durable names. */
static void apply_change(struct replay *replay, struct shadow *dir, size_t change)
{
    const struct journal_entry *entry = entry_of(replay, change);
    bool old_side = (change - 1) % 2 == OLD_NAME;
    switch (entry->op) {
    case JOURNAL_CREATE:
    case JOURNAL_MAKE_DIR:
        set_durable(replay, dir, entry->name, entry->node);
        break;
    case JOURNAL_REMOVE:
        drop_durable(dir, find_durable(dir, entry->name));
        break;
    case JOURNAL_RENAME:
        if (old_side || !is_rename_between(entry))
            drop_node(dir, entry->node, entry->name);
        if (!old_side)
            set_durable(replay, dir, entry->name_to, entry->node);
        break;
    case JOURNAL_LINK:
        set_durable(replay, dir, entry->name_to, entry->node);
        break;
    case JOURNAL_EXCHANGE:
        apply_exchange(replay, dir, entry);
        break;
    default:
        INVARIANT(!"a change of names");
    }
}

static void replay_sync_dir(struct replay *replay, struct shadow *dir)
{
    for (size_t change = dir->first; change; change = replay->next[change - 1]) {
        apply_change(replay, dir, change);
        if ((change - 1) % 2 == OLD_NAME)
            replay->forced[(change - 1) / 2] = true;
    }
    dir->first = dir->last = 0;
}

/* --- replay --- */

static void add_change(struct replay *replay, const struct node *node, size_t entry, enum side side)
{
    struct shadow *shadow = &replay->shadows[node->id];
    size_t change = entry * 2 + side + 1;
    if (shadow->last)
        replay->next[shadow->last - 1] = change;
    else
        shadow->first = change;
    shadow->last = change;
}

/* The content of a file behind one of its changes. */
static void content_after(const struct journal_entry *entry, struct content *content)
{
    if (entry->op == JOURNAL_APPEND) {
        content->storage = entry->storage;
        content->size = entry->offset + entry->size;
        return;
    }
    content->size = entry->op == JOURNAL_TRUNCATE ? entry->size : 0;
    content->under = entry->op == JOURNAL_OVER ? (struct under){entry->storage, entry->size} : (struct under){0};
}

static void set_ahead(struct shadow *file, bool ahead)
{
    file->ahead = ahead;
    file->was_ahead |= ahead;
}

static void replay_entry(struct replay *replay, size_t number)
{
    const struct journal_entry *entry = &replay->env->journal[number];
    struct shadow *shadow = &replay->shadows[entry->node->id];
    switch (entry->op) {
    case JOURNAL_CREATE:
        set_ahead(shadow, entry->ahead);
        add_change(replay, entry->dir, number, NEW_NAME);
        break;
    case JOURNAL_MAKE_DIR:
    case JOURNAL_REMOVE:
    case JOURNAL_EXCHANGE:
        add_change(replay, entry->dir, number, NEW_NAME);
        break;
    case JOURNAL_LINK:
        add_change(replay, entry->dir_to, number, NEW_NAME);
        break;
    case JOURNAL_RENAME:
        if (is_rename_between(entry))
            add_change(replay, entry->dir, number, OLD_NAME);
        add_change(replay, entry->dir_to, number, NEW_NAME);
        break;
    case JOURNAL_EMPTY:
    case JOURNAL_OVER:
    case JOURNAL_TRUNCATE:
        set_ahead(shadow, entry->ahead);
        add_change(replay, entry->node, number, NEW_NAME);
        break;
    case JOURNAL_APPEND:
        add_change(replay, entry->node, number, NEW_NAME);
        break;
    case JOURNAL_SYNC:
        shadow->was_ahead = shadow->ahead;
        for (size_t change = shadow->first; change; change = replay->next[change - 1])
            content_after(entry_of(replay, change), &shadow->content);
        shadow->first = shadow->last = 0;
        break;
    case JOURNAL_SYNC_DIR:
        replay_sync_dir(replay, shadow);
        break;
    }
}

/* Decides for every unsynced change of names. */
static void decide_names(struct replay *replay)
{
    for (size_t i = 0; i < replay->env->node_count; i++) {
        struct shadow *dir = &replay->shadows[i];
        if (!replay->env->nodes[i]->is_dir || !dir->first)
            continue;
        size_t count = 0, left = 0;
        for (size_t change = dir->first; change; change = replay->next[change - 1])
            count++;
        struct random random = decision(replay, 1, i);
        left = random_below(&random, count + 1);
        for (size_t change = dir->first; change; change = replay->next[change - 1]) {
            size_t entry = (change - 1) / 2;
            random = decision(replay, 2, entry); /* of the entry: both sides of a rename draw the same */
            bool survives = replay->kind == ENV_CRASH_KEEP || (replay->kind == ENV_CRASH_TORN && left > 0) ||
                            (replay->kind == ENV_CRASH_REORDER && random_next(&random) >> 63);
            replay->survives[change - 1] = survives || ((change - 1) % 2 == NEW_NAME && replay->forced[entry]);
            left -= left > 0;
        }
    }
}

/* A file whose new name did not survive keeps the old one. */
static bool keeps_old_name(const struct replay *replay, size_t change)
{
    if ((change - 1) % 2 != OLD_NAME)
        return false;
    const struct shadow *dir = &replay->shadows[entry_of(replay, change)->dir_to->id];
    for (size_t at = dir->first; at; at = replay->next[at - 1])
        if (at == change + 1) /* its other side */
            return !replay->survives[at - 1];
    return false; /* synced */
}

/* --- building the image --- */

/* Chooses the prefix of a file's changes that survived. *stable: bytes that no crash can touch. */
static struct content surviving_content(const struct replay *replay, const struct node *node, size_t *stable)
{
    const struct shadow *file = &replay->shadows[node->id];
    struct content content = file->content;
    *stable = content.size;
    uint64_t all = 0; /* an append counts its bytes, a cut counts 1 */
    for (size_t change = file->first; change; change = replay->next[change - 1]) {
        const struct journal_entry *entry = entry_of(replay, change);
        all += entry->op == JOURNAL_APPEND ? entry->size : 1;
    }
    uint64_t left = replay->kind == ENV_CRASH_DROP ? 0 : all;
    struct random random = decision(replay, 3, node->id);
    if (replay->kind == ENV_CRASH_TORN || replay->kind == ENV_CRASH_REORDER) {
        uint64_t choice = random_below(&random, 4); /* the ends are worth more than their share */
        left = choice == 0 ? all : choice == 1 ? 0 : random_below(&random, all + 1);
    }
    for (size_t change = file->first; change && left > 0; change = replay->next[change - 1]) {
        const struct journal_entry *entry = entry_of(replay, change);
        uint64_t weight = entry->op == JOURNAL_APPEND ? entry->size : 1;
        content_after(entry, &content);
        if (weight > left) { /* an append in part */
            content.size = entry->offset + (size_t)left;
            break;
        }
        left -= weight;
        if (content.size < *stable)
            *stable = content.size;
    }
    return content;
}

/* Damages what a crash may damage in a copy of a file's content: bytes behind `stable`. */
static void damage(const struct replay *replay, const struct node *node, const struct content *content, uint8_t *data,
                   size_t stable)
{
    size_t size = content->size;
    struct random random = decision(replay, 4, node->id);
    if (size <= stable)
        return;
    if (replay->kind == ENV_CRASH_TORN && random_next(&random) >> 63) {
        size_t from = (size - 1) / SECTOR * SECTOR;
        from += random_below(&random, size - from);
        for (size_t i = from < stable ? stable : from; i < size; i++)
            data[i] = (uint8_t)random_next(&random);
    } else if (replay->kind == ENV_CRASH_REORDER) {
        static const uint64_t eighths_lost[] = {4, 1, 7, 0};
        uint64_t lost = eighths_lost[random_below(&random, 4)];
        for (size_t from = stable; from < size;) {
            size_t to = (from / SECTOR + 1) * SECTOR < size ? (from / SECTOR + 1) * SECTOR : size;
            if (random_below(&random, 8) < lost)
                memory_copy(&(struct content){.under = content->under}, from, data + from, to - from);
            from = to;
        }
    }
}

/* How many zeros stand behind the `size` bytes that survived. */
static size_t zeros_behind(const struct replay *replay, const struct node *node, size_t size)
{
    const struct shadow *file = &replay->shadows[node->id];
    struct content content = file->content;
    for (size_t change = file->first; change; change = replay->next[change - 1])
        content_after(entry_of(replay, change), &content);
    size_t seen = memory_seen_size(content.size);
    struct random random = decision(replay, 5, node->id);
    bool there = replay->kind == ENV_CRASH_KEEP ? file->ahead : file->was_ahead && random_next(&random) >> 63;
    return there && seen > size ? seen - size : 0;
}

static bool build_file(struct replay *replay, const struct node *node, struct node *file, const char *path)
{
    size_t stable = 0;
    struct content content = surviving_content(replay, node, &stable);
    size_t size = memory_whole_size(&content);
    size_t whole = size + zeros_behind(replay, node, size);
    char *shared_path = replay->image->journal[replay->image->entry_count - 1].path; /* of its creation */
    uint8_t *data = malloc(whole + 1);
    bool done = data != NULL;
    if (done && whole > 0) {
        memory_copy(&content, 0, data, whole);
        damage(replay, node, &content, data, stable);
        done = memory_append(replay->image, file, shared_path, data, whole);
    }
    free(data);
    return done && memory_sync(replay->image, file, path);
}

static char *join(const char *dir, const char *name)
{
    size_t dir_size = strlen(dir), name_size = strlen(name);
    char *path = malloc(dir_size + name_size + 2);
    if (!path)
        return NULL;
    memcpy(path, dir, dir_size);
    path[dir_size] = '/';
    memcpy(path + dir_size + 1, name, name_size + 1);
    return path;
}

/* Fills directory `to` of the image with what survived of `node`. */
static bool build_dir(struct replay *replay, const struct node *node, struct node *to, const char *path)
{
    struct shadow *dir = &replay->shadows[node->id];
    dir->visited = true; /* renames that survived in part could put a directory at two places, or into itself */
    for (size_t change = dir->first; change; change = replay->next[change - 1])
        if (replay->survives[change - 1] && !keeps_old_name(replay, change))
            apply_change(replay, dir, change);
    bool done = !replay->no_memory;
    for (size_t i = 0; done && i < dir->name_count; i++) {
        const struct node *from = dir->names[i].node;
        if (from->is_dir && replay->shadows[from->id].visited)
            continue;
        char *below = join(path, dir->names[i].text);
        struct node *made = below ? memory_add(replay->image, to, below, from->is_dir) : NULL;
        done = made && (from->is_dir ? build_dir(replay, from, made, below) : build_file(replay, from, made, below));
        free(below);
    }
    return done && memory_sync(replay->image, to, *path ? path : "/");
}

struct env *env_memory_crash(struct env *base, uint64_t calls, enum env_crash kind, uint64_t seed)
{
    struct memory_env *env = (struct memory_env *)base;
    struct env *image = env_memory_create(seed);
    struct replay replay = {.env = env, .kind = kind, .seed = seed, .image = (struct memory_env *)image};
    bool done = false;
    mutex_lock(&env->lock);
    uint64_t all = env->entry_count - env->base_count;
    if (image)
        env_memory_set_wall_s(image, atomic_load_explicit(&env->wall_s, memory_order_relaxed));
    replay.end = env->base_count + (size_t)(calls < all ? calls : all);
    replay.shadows = calloc(env->node_count, sizeof *replay.shadows);
    replay.next = calloc(replay.end * 2 + 1, sizeof *replay.next);
    replay.survives = calloc(replay.end * 2 + 1, sizeof *replay.survives);
    replay.forced = calloc(replay.end + 1, sizeof *replay.forced);
    if (!image || !replay.shadows || !replay.next || !replay.survives || !replay.forced)
        goto done;
    for (size_t i = 0; i < replay.end && !replay.no_memory; i++)
        replay_entry(&replay, i);
    decide_names(&replay);
    done = !replay.no_memory && build_dir(&replay, env->nodes[0], replay.image->nodes[0], "");
    if (done)
        replay.image->base_count = replay.image->entry_count;
done:
    for (size_t i = 0; replay.shadows && i < env->node_count; i++)
        free(replay.shadows[i].names);
    mutex_unlock(&env->lock);
    free(replay.shadows);
    free(replay.next);
    free(replay.survives);
    free(replay.forced);
    if (!done) {
        env_memory_destroy(image);
        image = NULL;
    }
    return image;
}
