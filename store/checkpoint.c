/* Writing checkpoints, listing, checking and removing them. */
#include "store/checkpoint.h"

#include <inttypes.h>
#include <stdio.h>
#include <time.h>

#include "base/error.h"
#include "store/internal.h"

#include "base/banned.h"

struct writing {
    struct checkpoint_directory directory;
    struct checkpoint_list list;
    struct checkpoint_progress progress;
    plsm_checkpoint_info info;
    bool copy;
};

/* --- contents ----------------------------------------------------------------------------------------------------- */

/* The same file in an earlier checkpoint; NULL: none, or nobody can know. */
static const struct checkpoint_file *known_file(const struct writing *w, const struct engine_file *file)
{
    const struct checkpoint_directory *d = &w->directory;
    for (size_t i = d->count; i > 0 && file->identity != 0; i--)
        for (size_t j = 0; j < d->lists[i - 1].count; j++) {
            const struct checkpoint_file *known = &d->lists[i - 1].files[j];
            if (known->identity == file->identity && strcmp(known->name, file->name) == 0)
                return known;
        }
    return NULL;
}

/* Whether the content is there, whole as far as its size tells. */
static plsm_status content_there(const struct writing *w, const struct checkpoint_file *file, bool *out)
{
    char path[CHECKPOINT_PATH];
    struct env_file *content = NULL;
    uint64_t size = 0;
    *out = false;
    TRY(checkpoint_content_path(&w->directory, file->digest, path));
    plsm_status status = env_open(w->directory.env, path, ENV_READ, &content);
    if (status == PLSM_NOT_FOUND)
        return PLSM_OK;
    if (status == PLSM_OK)
        status = env_size(content, &size);
    env_close(content);
    *out = status == PLSM_OK && size == file->size;
    return status;
}

/* Brings in the content of a file that is known nowhere: by a link, or a copy that gets its name when it is whole. */
static plsm_status bring_new(struct writing *w, const char *path, struct checkpoint_file *file)
{
    char scratch[CHECKPOINT_PATH], content[CHECKPOINT_PATH];
    struct env *env = w->directory.env;
    bool there = false;
    TRY(checkpoint_path(scratch, w->directory.path, "scratch/content"));
    plsm_status linked = w->copy ? PLSM_UNSUPPORTED : env_link(env, path, scratch);
    if (linked != PLSM_OK && linked != PLSM_UNSUPPORTED)
        return linked;
    TRY(checkpoint_read_file(env, path, linked == PLSM_OK ? NULL : scratch, &w->progress, file->digest, &file->size));
    TRY(content_there(w, file, &there));
    if (there)
        return env_remove(env, scratch);
    TRY(checkpoint_content_path(&w->directory, file->digest, content));
    TRY(env_rename(env, scratch, content));
    w->info.new_files++;
    if (linked == PLSM_OK)
        w->info.linked_bytes += file->size;
    else
        w->info.copied_bytes += file->size;
    return PLSM_OK;
}

/* Has the engine write a file, and brings it in. */
static plsm_status make_new(struct writing *w, const struct engine_file *file, struct checkpoint_file *out)
{
    char directory[CHECKPOINT_PATH], path[CHECKPOINT_PATH], scratch[CHECKPOINT_PATH];
    bool copy = w->copy;
    TRY(checkpoint_path(directory, w->directory.path, "scratch"));
    TRY(file->make(file, directory));
    TRY(checkpoint_path(path, directory, file->name));
    w->copy = true; /* it is written, whoever puts it where it belongs */
    plsm_status status = bring_new(w, path, out);
    w->copy = copy;
    TRY(status);
    TRY(checkpoint_path(scratch, directory, file->name));
    return env_remove(w->directory.env, scratch);
}

static plsm_status take_file(void *arg, const struct engine_file *file)
{
    struct writing *w = arg;
    struct checkpoint_file entry = {.identity = file->identity};
    const struct checkpoint_file *known = known_file(w, file);
    bool there = false;
    if (known)
        TRY(content_there(w, known, &there));
    if (there) {
        entry = *known;
        return checkpoint_list_add(&w->list, &entry);
    }
    snprintf(entry.name, sizeof entry.name, "%s", file->name);
    w->progress.bytes += file->size;
    plsm_status status = file->path ? bring_new(w, file->path, &entry) : make_new(w, file, &entry);
    if (status == PLSM_NOT_FOUND && file->optional)
        return PLSM_OK;
    TRY(status);
    if (file->size > 0 && entry.size != file->size)
        return fail(PLSM_CORRUPT, "%s: has %" PRIu64 " bytes instead of %" PRIu64, file->path, entry.size, file->size);
    return checkpoint_list_add(&w->list, &entry);
}

/* --- the checkpoint ----------------------------------------------------------------------------------------------- */

/* The list gets its name last, when all that it names is on the disk. */
static plsm_status publish(struct writing *w)
{
    char path[CHECKPOINT_PATH], scratch[CHECKPOINT_PATH], name[PLSM_CHECKPOINT_NAME_MAX + 16];
    struct env *env = w->directory.env;
    struct buf text = {0};
    TRY(checkpoint_path(path, w->directory.path, "files"));
    TRY(env_sync_dir(env, path));
    snprintf(name, sizeof name, "%s.checkpoint", w->list.name);
    TRY(checkpoint_path(path, w->directory.path, name));
    TRY(checkpoint_path(scratch, w->directory.path, "scratch/list"));
    plsm_status status = checkpoint_list_encode(&w->list, &text);
    if (status == PLSM_OK)
        status = checkpoint_write(env, scratch, buf_slice(&text));
    buf_free(&text);
    TRY(status);
    TRY(env_rename(env, scratch, path));
    TRY(env_sync_dir(env, w->directory.path));
    return env_sync_parent(env, w->directory.path); /* it may have been made for this one */
}

/* Chooses a name by the time: later ones sort behind. */
static void name_by_time(struct writing *w)
{
    struct tm when;
    time_t seconds = (time_t)(w->list.time_ns / 1000000000);
    unsigned milliseconds = (unsigned)(w->list.time_ns / 1000000 % 1000);
    char text[32] = "";
    if (gmtime_r(&seconds, &when))
        strftime(text, sizeof text, "%Y-%m-%dT%H-%M-%S", &when);
    do
        snprintf(w->list.name, sizeof w->list.name, "%s.%03uZ", text, milliseconds++ % 1000);
    while (checkpoint_directory_find(&w->directory, w->list.name));
}

static plsm_status write_checkpoint(struct writing *w, plsm *db, const plsm_checkpoint_options *options)
{
    struct checkpoint_directory *d = &w->directory;
    if (d->damaged != PLSM_OK) /* what it needs would be taken for garbage */
        return fail(d->damaged, "%s", d->message);
    TRY(checkpoint_directory_clean(d));
    w->list.time_ns = env_wall_ns(db->env);
    snprintf(w->list.engine, sizeof w->list.engine, "%s", db->engine->name);
    if (options->name)
        snprintf(w->list.name, sizeof w->list.name, "%s", options->name);
    else
        name_by_time(w);
    if (checkpoint_directory_find(d, w->list.name))
        return fail(PLSM_EXISTS, "%s: there is a checkpoint %s already", d->path, w->list.name);
    TRY(db->engine->checkpoint(db->tree, take_file, w));
    return publish(w);
}

plsm_status plsm_checkpoint(plsm *db, const char *directory, const plsm_checkpoint_options *options,
                            plsm_checkpoint_info *out)
{
    static const plsm_checkpoint_options none;
    INVARIANT(db->magic == STORE_MAGIC);
    options = options ? options : &none;
    TRY(refuse_writes(db));
    if (!db->engine->checkpoint)
        return fail(PLSM_UNSUPPORTED, "the engine %s has no checkpoints", db->engine->name);
    if (options->name && !checkpoint_name_allowed(options->name))
        return fail(PLSM_INVALID,
                    "'%.80s' is no name for a checkpoint: 1 to %u letters, digits, '.', '_', '-', no '.' in front",
                    options->name, PLSM_CHECKPOINT_NAME_MAX);
    struct writing w = {.copy = options->copy, .progress = {.each = options->progress, .arg = options->arg}};
    TRY(checkpoint_directory_open(db->env, directory, true, &w.directory));
    plsm_status status = write_checkpoint(&w, db, options);
    if (out) {
        checkpoint_list_info(&w.list, out);
        out->new_files = w.info.new_files;
        out->copied_bytes = w.info.copied_bytes;
        out->linked_bytes = w.info.linked_bytes;
    }
    checkpoint_list_free(&w.list);
    checkpoint_directory_close(&w.directory);
    return status;
}

/* --- those that are there ----------------------------------------------------------------------------------------- */

plsm_status checkpoints_in(struct env *env, const char *directory,
                           void (*each)(void *arg, const plsm_checkpoint_info *info), void *arg)
{
    struct checkpoint_directory d;
    plsm_checkpoint_info info;
    TRY(checkpoint_directory_open(env, directory, false, &d));
    for (size_t i = 0; i < d.count; i++) {
        checkpoint_list_info(&d.lists[i], &info);
        each(arg, &info);
    }
    plsm_status status = d.damaged == PLSM_OK ? PLSM_OK : fail(d.damaged, "%s", d.message);
    checkpoint_directory_close(&d);
    return status;
}

static plsm_status remove_list(struct checkpoint_directory *d, const char *name)
{
    char path[CHECKPOINT_PATH], file_name[PLSM_CHECKPOINT_NAME_MAX + 16];
    if (d->damaged != PLSM_OK)
        return fail(d->damaged, "%s", d->message);
    struct checkpoint_list *list = (struct checkpoint_list *)(uintptr_t)checkpoint_directory_find(d, name);
    if (!list)
        return fail(PLSM_NOT_FOUND, "%s: there is no checkpoint '%.80s'", d->path, name);
    snprintf(file_name, sizeof file_name, "%s.checkpoint", list->name);
    TRY(checkpoint_path(path, d->path, file_name));
    TRY(env_remove(d->env, path));
    TRY(env_sync_dir(d->env, d->path));
    list->count = 0; /* it needs nothing any more */
    return checkpoint_directory_clean(d);
}

plsm_status checkpoint_remove_in(struct env *env, const char *directory, const char *name)
{
    struct checkpoint_directory d;
    TRY(checkpoint_directory_open(env, directory, false, &d)); /* it must be there: nothing is made */
    checkpoint_directory_close(&d);
    TRY(checkpoint_directory_open(env, directory, true, &d));
    plsm_status status = remove_list(&d, name);
    checkpoint_directory_close(&d);
    return status;
}

struct checking {
    const struct checkpoint_directory *directory;
    void (*report)(void *arg, const char *line);
    void *arg;
    uint64_t problems;
};

static void tell_problem(struct checking *c)
{
    c->problems++;
    if (c->report)
        c->report(c->arg, plsm_message());
}

/* A problem of a file is told, and the next one's turn comes. */
static plsm_status check_list(struct checking *c, const struct checkpoint_list *list)
{
    char path[CHECKPOINT_PATH], digest[DIGEST_TEXT];
    uint64_t size = 0;
    for (size_t i = 0; i < list->count; i++) {
        const struct checkpoint_file *file = &list->files[i];
        TRY(checkpoint_content_path(c->directory, file->digest, path));
        plsm_status status = checkpoint_read_file(c->directory->env, path, NULL, NULL, digest, &size);
        if (status == PLSM_NO_MEMORY)
            return status;
        if (status == PLSM_OK && (size != file->size || strcmp(digest, file->digest) != 0))
            status = fail(PLSM_CORRUPT, "%s: was altered", path);
        if (status != PLSM_OK) {
            fail(status, "checkpoint %s, file %s: %s", list->name, file->name, plsm_message());
            tell_problem(c);
        }
    }
    return PLSM_OK;
}

plsm_status checkpoint_check_in(struct env *env, const char *directory, const char *name,
                                void (*report)(void *arg, const char *line), void *arg)
{
    struct checkpoint_directory d;
    TRY(checkpoint_directory_open(env, directory, false, &d));
    struct checking c = {.directory = &d, .report = report, .arg = arg};
    plsm_status status = PLSM_OK;
    if (name && !checkpoint_directory_find(&d, name))
        status = fail(PLSM_NOT_FOUND, "%s: there is no checkpoint '%.80s'", directory, name);
    for (size_t i = 0; i < d.count && status == PLSM_OK; i++)
        if (!name || strcmp(d.lists[i].name, name) == 0)
            status = check_list(&c, &d.lists[i]);
    if (status == PLSM_OK && !name && d.damaged != PLSM_OK) {
        fail(d.damaged, "%s", d.message);
        tell_problem(&c);
    }
    checkpoint_directory_close(&d);
    if (status == PLSM_OK && c.problems > 0)
        status = fail(PLSM_CORRUPT, "%s: %" PRIu64 " problems", directory, c.problems);
    return status;
}

plsm_status plsm_checkpoints(const char *directory, void (*each)(void *arg, const plsm_checkpoint_info *info),
                             void *arg)
{
    return checkpoints_in(env_posix(), directory, each, arg);
}

plsm_status plsm_checkpoint_remove(const char *directory, const char *name)
{
    return checkpoint_remove_in(env_posix(), directory, name);
}

plsm_status plsm_checkpoint_check(const char *directory, const char *name, void (*report)(void *arg, const char *line),
                                  void *arg)
{
    return checkpoint_check_in(env_posix(), directory, name, report, arg);
}
