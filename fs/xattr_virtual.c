/* user.plsm.*: where the entry of a file stands in the tree, what its index had named, and a digest of its content. */
#include "base/alloc.h"
#include "base/bytes.h"
#include "base/digest.h"
#include "base/error.h"
#include "fs/xattr.h"
#include "base/banned.h"

enum { READ_SIZE = 128 << 10 };

enum place { LEVEL, RUN, PAGE, PREDICTION };

static plsm_status print_place(struct fs *fs, plsm_slice key, enum place what, struct buf *out)
{
    plsm_found found;
    plsm_status status = plsm_find(fs->db, key, &found);
    if (status != PLSM_OK) /* an engine without levels has no such attributes */
        return status == PLSM_UNSUPPORTED ? PLSM_NOT_FOUND : status;
    if (found.in_memory)
        return what == LEVEL ? buf_printf(out, "memory") : fail(PLSM_NOT_FOUND, "the entry is in no run yet");
    switch (what) {
    case LEVEL:
        return buf_printf(out, "%u", found.level);
    case RUN:
        return buf_printf(out, "%llu", (unsigned long long)found.file);
    case PAGE:
        return buf_printf(out, "%u", found.page);
    case PREDICTION:
        break;
    }
    return buf_printf(out, "%u %s", found.predicted, found.by_model ? "model" : "index");
}

/* Reads what is published, through an edit: that stays the same however long it takes. */
static plsm_status digest_content(struct fs *fs, plsm_slice key, uint64_t shared, struct digest *digest,
                                  uint8_t *buffer)
{
    plsm_edit *edit = NULL;
    size_t got = READ_SIZE;
    TRY(shared ? plsm_edit_open_shared(fs->db, shared, 0, &edit) : plsm_edit_open(fs->db, key, 0, &edit));
    plsm_status status = PLSM_OK;
    for (uint64_t at = 0; got == READ_SIZE && status == PLSM_OK; at += got) {
        status = plsm_edit_read(edit, at, buffer, READ_SIZE, &got);
        if (status == PLSM_OK)
            digest_add(digest, buffer, got);
    }
    plsm_edit_close(edit);
    return status;
}

static plsm_status print_sha256(struct fs *fs, plsm_slice key, uint64_t shared, bool no_value, struct buf *out)
{
    char text[DIGEST_TEXT];
    struct digest *digest = NULL;
    if (!shared && ((const char *)key.data)[key.size - 1] == '/')
        return fail(PLSM_NOT_FOUND, "a directory has no content");
    memset(text, '0', DIGEST_TEXT - 1); /* without a value it is the size that counts */
    if (!no_value) {
        uint8_t *buffer = mem_alloc(READ_SIZE);
        plsm_status status = buffer ? digest_create(&digest) : fail(PLSM_NO_MEMORY, "no memory for a digest");
        if (status == PLSM_OK)
            status = digest_content(fs, key, shared, digest, buffer);
        if (status == PLSM_OK)
            digest_finish(digest, text);
        else
            digest_destroy(digest);
        mem_free(buffer);
        TRY(status);
    }
    return buf_append(out, text, DIGEST_TEXT - 1);
}

plsm_status xattr_virtual(struct fs *fs, plsm_slice key, uint64_t shared, const char *name, bool no_value,
                          struct buf *out, bool *known)
{
    static const struct {
        const char *name;
        enum place what;
    } places[] = {{"level", LEVEL}, {"run", RUN}, {"page", PAGE}, {"prediction", PREDICTION}};
    name += sizeof XATTR_VIRTUAL_PREFIX - 1;
    *known = true;
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++)
        if (strcmp(name, places[i].name) == 0)
            return shared ? PLSM_NOT_FOUND : print_place(fs, key, places[i].what, out);
    if (strcmp(name, "sha256") == 0)
        return print_sha256(fs, key, shared, no_value, out);
    *known = false;
    return PLSM_OK;
}
