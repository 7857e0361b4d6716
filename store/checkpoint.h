/* Directories of checkpoints.
 *
 *   DIRECTORY/LOCK             locked by whoever changes it
 *   DIRECTORY/NAME.checkpoint  a list: text, in lines that end with a newline
 *   DIRECTORY/files/DIGEST     contents, by their SHA-256 in hexadecimal
 *   DIRECTORY/scratch/         what is under way; may be removed when nobody holds the lock
 *
 *   plsm checkpoint 1                        magic and version of the format
 *   name NAME
 *   time NANOSECONDS                         since 1970
 *   engine ENGINE
 *   file DIGEST SIZE IDENTITY NAME           for each file of the store: decimal; 0: the engine gave it no identity
 *   end DIGEST                               SHA-256 of all lines before
 *
 * A list gets its name when all its files are there and synced, so it is whole or absent. Contents that no list names
 * are garbage of a checkpoint that failed: the next one, or a removal, takes them away. */
#ifndef STORE_CHECKPOINT_H
#define STORE_CHECKPOINT_H

#include "base/bytes.h"
#include "base/digest.h"
#include "base/env.h"
#include "store/engine.h"

enum { CHECKPOINT_PATH = 4096, CHECKPOINT_FILE_NAME = 255 };

struct checkpoint_file {
    char digest[DIGEST_TEXT];
    char name[CHECKPOINT_FILE_NAME + 1];
    uint64_t size, identity;
};

struct checkpoint_list {
    char name[PLSM_CHECKPOINT_NAME_MAX + 1];
    char engine[32];
    uint64_t time_ns;
    struct checkpoint_file *files;
    size_t count, capacity;
};

/* --- lists (checkpoint_list.c) ---------------------------------------------------------------------------------- */

bool checkpoint_name_allowed(const char *name);
plsm_status checkpoint_list_add(struct checkpoint_list *list, const struct checkpoint_file *file);
void checkpoint_list_free(struct checkpoint_list *list);
plsm_status checkpoint_list_encode(const struct checkpoint_list *list, struct buf *out);
/* `path` is for messages. PLSM_CORRUPT: it is no list, or altered; PLSM_VERSION. */
plsm_status checkpoint_list_decode(plsm_slice text, const char *path, struct checkpoint_list *out);
/* What callers are told of a list. */
void checkpoint_list_info(const struct checkpoint_list *list, plsm_checkpoint_info *out);

/* --- directories (checkpoint_directory.c) ------------------------------------------------------------------------ */

struct checkpoint_directory {
    struct env *env;
    const char *path;
    struct env_lock *lock; /* NULL: only read */
    struct checkpoint_list *lists; /* oldest first */
    size_t count, capacity;
    plsm_status damaged; /* of a list that could not be read; PLSM_OK: none */
    char message[512];
};

/* Reads the lists; with `create` makes what is missing and takes the lock. Errors as plsm_checkpoint and
 * plsm_checkpoints have them. */
plsm_status checkpoint_directory_open(struct env *env, const char *path, bool create, struct checkpoint_directory *out);
void checkpoint_directory_close(struct checkpoint_directory *d);
const struct checkpoint_list *checkpoint_directory_find(const struct checkpoint_directory *d, const char *name);
/* DIRECTORY/files/DIGEST. PLSM_INVALID: it is too long. */
plsm_status checkpoint_content_path(const struct checkpoint_directory *d, const char *digest, char *out);
/* PLSM_INVALID: it is too long. */
plsm_status checkpoint_path(char *out, const char *directory, const char *name);
/* Writes a new file and syncs it; `text` is all of it. */
plsm_status checkpoint_write(struct env *env, const char *path, plsm_slice text);
/* Removes contents that no list names, and what is in scratch. Needs the lock, and that no list is damaged. */
plsm_status checkpoint_directory_clean(struct checkpoint_directory *d);

/* --- contents (checkpoint_content.c) ----------------------------------------------------------------------------- */

struct checkpoint_progress {
    void (*each)(void *arg, uint64_t done, uint64_t bytes);
    void *arg;
    uint64_t done, bytes;
};

/* Reads a file; its digest and size; with `to` also copies it there and syncs the copy. */
plsm_status checkpoint_read_file(struct env *env, const char *path, const char *to,
                                 struct checkpoint_progress *progress, char digest[DIGEST_TEXT], uint64_t *size);
/* Gives a file of known content the name `to` as well, or copies it: *linked tells. An error when its digest or size
 * are not those of `file`. PLSM_CORRUPT. */
plsm_status checkpoint_bring(struct env *env, const char *from, const char *to, bool copy,
                             const struct checkpoint_file *file, struct checkpoint_progress *progress, bool *linked);

/* --- the functions of plsm.h on any environment, for tests ------------------------------------------------------ */

plsm_status checkpoints_in(struct env *env, const char *directory,
                           void (*each)(void *arg, const plsm_checkpoint_info *info), void *arg);
plsm_status checkpoint_remove_in(struct env *env, const char *directory, const char *name);
plsm_status checkpoint_check_in(struct env *env, const char *directory, const char *name,
                                void (*report)(void *arg, const char *line), void *arg);
plsm_status restore_in(struct env *env, const char *directory, const plsm_restore_options *options, const char *path,
                       plsm_checkpoint_info *out);

#endif
