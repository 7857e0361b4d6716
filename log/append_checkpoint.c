/* Checkpoints: the sealed segments of a moment, with their hints. */
#include <stdio.h>

#include "base/error.h"
#include "log/append_db.h"
#include "base/banned.h"

static plsm_status tell(struct append *db, const struct segment *s, const char *kind, bool optional,
                        plsm_status (*each)(void *arg, const struct append_file *file), void *arg)
{
    char path[APPEND_PATH_MAX];
    segment_path(db, kind, s->number, path);
    struct append_file file = {.name = strrchr(path, '/') + 1,
                               .path = path,
                               .size = optional ? 0 : atomic_load(&s->size),
                               .identity = s->salt,
                               .optional = optional};
    if (!optional) /* behind the last record stands that of the clean close */
        TRY(env_size(s->file, &file.size));
    return each(arg, &file);
}

/* All sealed segments, held. PLSM_NO_MEMORY. */
static plsm_status hold_sealed(struct append *db, struct segment ***out, size_t *count)
{
    *count = 0;
    mutex_lock(&db->lock);
    *out = mem_alloc((db->segment_count + 1) * sizeof **out);
    for (size_t i = 0; *out && i < db->segment_count; i++)
        if (db->segments[i]->state == SEGMENT_SEALED) {
            (*out)[(*count)++] = db->segments[i];
            segment_reference(db->segments[i]);
        }
    mutex_unlock(&db->lock);
    return *out ? PLSM_OK : fail(PLSM_NO_MEMORY, "no memory for a checkpoint");
}

plsm_status append_checkpoint(struct append *db, plsm_status (*each)(void *arg, const struct append_file *file),
                              void *arg)
{
    struct segment **held = NULL;
    size_t count = 0;
    TRY(append_flush(db));
    TRY(hold_sealed(db, &held, &count));
    plsm_status status = PLSM_OK;
    for (size_t i = 0; i < count && status == PLSM_OK; i++) {
        status = tell(db, held[i], "segment", false, each, arg);
        if (status == PLSM_OK && held[i]->hinted)
            status = tell(db, held[i], "hint", true, each, arg);
    }
    char message[512];
    snprintf(message, sizeof message, "%s", plsm_message());
    for (size_t i = 0; i < count; i++)
        segment_release(held[i]);
    mem_free(held);
    return status == PLSM_OK ? PLSM_OK : fail(status, "%s", message);
}
