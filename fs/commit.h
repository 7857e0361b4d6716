/* Changes of the store that do not come through the kernel: .plsm/batch and the socket of the store. The kernel keeps
 * names, attributes, contents, and that names are absent, for as long as it likes; so it is told what to drop.
 *
 * A name whose key has changed is as if another file had been renamed over it: who has the old one open goes on reading
 * it, and whoever looks the name up finds the new one. Only a file with unpublished content stays as it is: its writer
 * publishes over the change when it closes the file. A file with several names, or that had them (fs/link.h), goes on
 * under the others, with what its writer publishes; with the last one it goes as if it had been unlinked. Where nobody
 * tells who has a file open (fs/file.h), the first thousand of a batch are taken for open. Changes are written and the
 * nodes mended under the exclusive tree lock; the kernel is told afterwards, without any lock.
 *
 * Telling it waits for requests that the kernel has under way in the same directory, for instance a lookup, and these
 * wait for a thread of the loop. So threads of the loop never do it (fs/control.h has one that does). Lookups that
 * began before the change are over when the kernel has been told, and what they found is dropped; later ones see the
 * change.
 *
 * What is mounted on a directory below the mount stays there: a directory whose key has changed is expired, so that the
 * kernel asks for it again and keeps it as long as it is the same (Linux 6.2 and later; what was before detaches). All
 * names are outdated at once, see below, only where nothing is mounted below, as far as this mount namespace tells, or
 * where it is not known which names there are.
 *
 * That a name is absent the kernel knows from lookups alone. Which those were a Bloom filter remembers (B. H. Bloom,
 * 1970: two of 2^20 bits for each name), so that a batch of a million new keys sends no message. When there are very
 * many, the kernel (6.16 and later) is told at once to look all names up again, and the filter begins anew. */
#ifndef FS_COMMIT_H
#define FS_COMMIT_H

#include "base/bytes.h"
#include "fs/fs.h"

/* Remembers that the kernel was told of a name in `parent` that is not there. No lock needed. */
plsm_status absent_create(struct absent **out);
void absent_destroy(struct absent *absent); /* accepts NULL */
void absent_note(struct fs *fs, const struct node *parent, plsm_slice name);
/* Whether that may have happened: one in a thousand others, while there are fewer than 16,000, is taken for one. */
bool absent_may_be(const struct fs *fs, const struct node *parent, plsm_slice name);

/* All batches that are being put together from outside hold no more bytes than one may (PLSM_BATCH_MAX): accounts for
 * one that has grown to `bytes`. *charged is its own account, at first 0. PLSM_NO_MEMORY: they would hold more. */
plsm_status commit_charge(struct fs *fs, uint64_t *charged, uint64_t bytes);
void commit_discharge(struct fs *fs, uint64_t *charged);

/* What the kernel is to be told. Zero it to start. */
struct notices {
    struct notice *items;
    size_t count, capacity;
    struct buf names;
    bool incomplete; /* no memory for all: everything is to be looked up again */
};

/* Writes the batch, and what belongs to it (fs/xattr_sweep.h), which is added to it. What the kernel must be told is
 * added to *notices, also after a failure: then it is harmless. Errors as plsm_write. Takes the tree lock. */
plsm_status commit_batch(struct fs *fs, plsm_batch *batch, plsm_durability durability, struct notices *notices);
/* Commits an edit of `key`, likewise. */
plsm_status commit_edit(struct fs *fs, plsm_edit *edit, plsm_slice key, plsm_durability durability,
                        struct notices *notices);
/* Adds that a name in the directory `ino` is to be looked up again, and is dropped as soon as nobody has it open. */
void notices_add_name(struct notices *notices, uint64_t ino, plsm_slice name);
/* Tells the kernel, and frees them. Not from a thread of the loop, and without locks. */
void notices_send(struct fs *fs, struct notices *notices);
/* Frees them. */
void notices_drop(struct notices *notices);

#endif
