/* Status codes: the one error enum of the project.
 *
 * Every function that can fail returns a plsm_status. The code says what kind of failure it was; the sentence that
 * names the file, the offset and what to do about it is kept per thread and read with plsm_message(). */
#ifndef PLSM_STATUS_H
#define PLSM_STATUS_H

#ifdef __cplusplus
extern "C" {
#endif

#pragma GCC visibility push(default) /* part of plsm.h, while the library is compiled with hidden visibility */

typedef enum plsm_status {
    PLSM_OK = 0,
    PLSM_NOT_FOUND,   /* the key is not in the store (or not in the snapshot that was read) */
    PLSM_INVALID,     /* an argument or an option is not allowed: empty key, unknown option, wrong combination */
    PLSM_TOO_LARGE,   /* a key, value, meta or batch is above its limit */
    PLSM_NO_MEMORY,   /* an allocation failed; nothing was changed */
    PLSM_NO_SPACE,    /* the file system has no room; the old value is intact */
    PLSM_IO,          /* the operating system reported an I/O error */
    PLSM_CORRUPT,     /* a checksum or a structure on disk is wrong */
    PLSM_VERSION,     /* a file has a format version that this program does not know */
    PLSM_LOCKED,      /* another process has the store open for writing */
    PLSM_READ_ONLY,   /* a write to a store opened read-only, or one that turned read-only after a failed write */
    PLSM_EXISTS,      /* IF_ABSENT did not hold, or a store to be created is there already */
    PLSM_CONFLICT,    /* IF_EQUAL did not hold: the key has another value or none */
    PLSM_NO_STORE,    /* the directory does not exist or holds no store */
    PLSM_PERMISSION,  /* the operating system refused access */
    PLSM_UNSUPPORTED, /* this engine or this system cannot do it */
    PLSM_QUOTA,       /* as PLSM_NO_SPACE, and wherever that is named: the quota on the file system is used up */
    PLSM_STATUS_COUNT /* not a status: how many there are */
} plsm_status;

/* Returns a short English name of a status ("corrupt", "no space"); static, never NULL. */
const char *plsm_status_name(plsm_status status);

/* Returns the sentence that belongs to the last failure on the calling thread: it names the file or value and what to
 * do. Valid until the next failing call on this thread; never NULL, empty when nothing has failed yet. */
const char *plsm_message(void);

#pragma GCC visibility pop

#ifdef __cplusplus
}
#endif

#endif
