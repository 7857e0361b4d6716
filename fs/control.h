/* The control file .stats in the root: one "name value" per line, from the store and from this mount. Writing "reset"
 * into it zeroes the counters.
 *
 * Its text is taken as a snapshot at each lookup, so that stat tells the exact size of what a following open reads (tar
 * and rsync rely on it); an open takes over that snapshot when it is younger than SNAPSHOT_NS. It belongs to whoever
 * mounted, mode 0600; the kernel checks that. Its name and `.plsm` are reserved. Thread-safe, no lock needed. */
#ifndef FS_CONTROL_H
#define FS_CONTROL_H

#include <stddef.h>
#include <stdint.h>

#include "fs/attr.h"
#include "fs/fs.h"

#define CONTROL_STATS ".stats"
#define CONTROL_DIRECTORY ".plsm"
/* The kernel's identifier of the control file: no node has this address. */
enum { CONTROL_NODE = 2, CONTROL_INO = 2 };

/* Takes a snapshot and gives the attributes that show it. PLSM_NO_MEMORY. */
plsm_status control_lookup(struct fs *fs, struct attr *attr, uint64_t *size);
/* The attributes for the newest snapshot. */
plsm_status control_stat(struct fs *fs, struct attr *attr, uint64_t *size);
/* A handle; NULL: no memory. Close it with control_release (accepts NULL). */
struct control_text *control_open(struct fs *fs);
void control_release(struct fs *fs, struct control_text *text);
/* What is at `offset`, up to `size` bytes; valid until the handle is released. */
plsm_slice control_read(const struct control_text *text, uint64_t offset, size_t size);
/* At the end: frees the newest snapshot. */
void control_destroy(struct fs *fs);
/* 0, or EINVAL for anything but "reset". */
int control_write(struct fs *fs, plsm_slice data);

#endif
