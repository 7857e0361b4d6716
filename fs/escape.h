/* Keys as file names, both ways, without loss and without collisions.
 *
 * A key is cut at its slashes. "a/b" is the file `b` in the directory `a`; the key "a/" is the directory's own entry.
 * Any byte may stand in a key, but not every piece between slashes is a file name. Such pieces show under escapes;
 * all other names show as they are, also those that contain '%' ("100%", "foo%20bar").
 *
 *   shown           stands for
 *   %00             a NUL byte
 *   %2E  %2E.       the names "." and ".."; in the root also %2Estats and %2Eplsm for keys that have reserved names
 *   NAME%2F.        the directory NAME where the key "NAME" exists as well: the file keeps the plain name. (Where it
 *                   does not exist this is listed as NAME, but found under this name too: the file may have been there
 *                   when a program read its name.) With an empty NAME it is the empty piece of keys such as
 *                   "a//b" or "/x", which is always a directory
 *   %2F%value       in a directory: the value of the directory's own key, when it is not empty (read-only)
 *   LONG%           a directory that holds the rest of a piece which is too long for a file name (over 255 bytes as
 *                   shown, or over 251 for a directory NAME%2F.); 241 to 243 bytes with the final '%'. No slash is
 *                   between LONG and what is in it. So a name of that length that really ends in '%' is cut as well
 *   %25...          a '%' that would otherwise be taken for the beginning of one of the above: one "25" is inserted
 *                   behind a '%' which is followed by any number of "25" and then by the rest of an escape; it is
 *                   removed when reading. So "%00" as three bytes shows as %2500, and "%2500" as %252500
 *
 * Names that users type are read the same way; a name that does not stand for itself (what it decodes to shows as
 * another name) cannot be created: EINVAL. */
#ifndef FS_ESCAPE_H
#define FS_ESCAPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/slice.h"

enum { NAME_SIZE_MAX = 255 };

/* What a shown name stands for in its directory. */
enum name_kind {
    NAME_PLAIN,  /* a file or a directory */
    NAME_BESIDE, /* NAME%2F.: the directory beside a file of the same name */
    NAME_PIECE,  /* LONG%: a synthetic directory */
    NAME_VALUE,  /* %2F%value; the raw name is empty */
};

struct raw_name {
    enum name_kind kind;
    size_t size;
    uint8_t bytes[NAME_SIZE_MAX];
};

/* Reads a shown name of 1 to NAME_SIZE_MAX bytes. `in_root`: the reserved names are special. */
void escape_decode(plsm_slice shown, bool in_root, struct raw_name *out);

struct shown_name {
    enum name_kind kind; /* never NAME_VALUE */
    size_t raw_size;     /* how many bytes of the piece it stands for: all, or fewer when kind is NAME_PIECE */
    size_t size;
    char bytes[NAME_SIZE_MAX + 1]; /* with a terminating 0 */
};

/* Shows (what is left of) a piece of a key in its directory. `beside`: as a directory where the file exists as well. An
 * empty piece can only be shown with `beside`. */
void escape_encode(plsm_slice piece, bool in_root, bool beside, struct shown_name *out);

/* Whether a piece of a key (from its beginning) is cut so that one of the cuts is behind its first `at` bytes: then its
 * rest is in the synthetic directory that ends there. */
bool escape_cut_at(plsm_slice piece, bool in_root, bool beside, size_t at);

#define NAME_OF_VALUE "%2F%value"

#endif
