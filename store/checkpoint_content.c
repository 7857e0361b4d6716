/* Contents of checkpoints: read, named by their digest, copied or linked. */
#include "store/checkpoint.h"

#include <inttypes.h>

#include "base/alloc.h"
#include "base/error.h"

#include "base/banned.h"

enum { PIECE = 1 << 20 };

struct copying {
    struct env_file *from, *to; /* to NULL: only read */
    struct digest *digest;
    uint8_t *buffer;
};

static plsm_status copy_all(struct copying *c, struct checkpoint_progress *progress, uint64_t *size)
{
    size_t got = PIECE;
    for (*size = 0; got == PIECE; *size += got) {
        TRY(env_read_some(c->from, *size, c->buffer, PIECE, &got));
        digest_add(c->digest, c->buffer, got);
        if (c->to && got > 0)
            TRY(env_append(c->to, c->buffer, got));
        if (progress)
            progress->done += got;
        if (progress && progress->each)
            progress->each(progress->arg, progress->done, progress->bytes);
    }
    return c->to ? env_sync(c->to) : PLSM_OK;
}

plsm_status checkpoint_read_file(struct env *env, const char *path, const char *to,
                                 struct checkpoint_progress *progress, char digest[DIGEST_TEXT], uint64_t *size)
{
    struct copying c = {.buffer = mem_alloc(PIECE)};
    plsm_status status = c.buffer ? digest_create(&c.digest) : fail(PLSM_NO_MEMORY, "no memory to copy %s", path);
    if (status == PLSM_OK)
        status = env_open(env, path, ENV_READ, &c.from);
    if (status == PLSM_OK && to)
        status = env_open(env, to, ENV_APPEND, &c.to);
    if (status == PLSM_OK)
        status = copy_all(&c, progress, size);
    if (status == PLSM_OK)
        digest_finish(c.digest, digest);
    else
        digest_destroy(c.digest);
    env_close(c.from);
    env_close(c.to);
    mem_free(c.buffer);
    return status;
}

plsm_status checkpoint_bring(struct env *env, const char *from, const char *to, bool copy,
                             const struct checkpoint_file *file, struct checkpoint_progress *progress, bool *linked)
{
    char digest[DIGEST_TEXT];
    uint64_t size = 0;
    plsm_status status = copy ? PLSM_UNSUPPORTED : env_link(env, from, to);
    *linked = status == PLSM_OK;
    if (status != PLSM_OK && status != PLSM_UNSUPPORTED)
        return status;
    TRY(checkpoint_read_file(env, from, *linked ? NULL : to, progress, digest, &size));
    if (size != file->size || strcmp(digest, file->digest) != 0)
        return fail(PLSM_CORRUPT, "%s: was altered: its %" PRIu64 " bytes have the digest %s, not %s", from, size,
                    digest, file->digest);
    return PLSM_OK;
}
