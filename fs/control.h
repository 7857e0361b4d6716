/* The control surface: .stats and .plsm in the root of the mount.
 *
 *   .stats               statistics, a "name value" per line; writing "reset" zeroes the counters
 *   .plsm/stats.json     the same as one JSON object
 *   .plsm/metrics        the same in the text format of OpenMetrics
 *   .plsm/ctl            commands, one per line: flush, compact [FROM [TO]], retrain [all], reset, checkpoint DIRECTORY
 *                        [NAME]. The write returns when they are done. Reading it lists them and how the last ones went
 *   .plsm/batch          changes (base/changes.h), committed together when the process that opened it closes it, with
 *                        the last of its copies; those of other processes do not count, but for the last one of all,
 *                        of which failures are logged. What a process wrote that a signal ended is refused
 *                        (control_close.c). fsync commits too. Reading it tells the format
 *   .plsm/batch.error    why the last batch was refused; empty: it was not
 *   .plsm/levels/        what the analyzers see: levels and each run, as text and JSON
 *   .plsm/range/A..B/    the keys in [A, B), each a read-only file; an empty bound is open
 *   .plsm/range/A..B.tsv the same as records, as `plsm dump` writes them, of one moment
 *   .plsm/snapshots/     mkdir NAME takes a snapshot, rmdir drops it; inside is the mount, read-only, as it was then.
 *                        They last until the file system is unmounted
 *
 * The two names are reserved: making, removing and renaming them is EPERM. Listings of the root leave them out unless
 * the mount has show_control. They belong to whoever mounted, modes 0400 to 0700, so that nobody else but root gets at
 * them, also with allow_other.
 *
 * Texts are made at lookup, so that stat tells the exact size of what a following open reads (tar and rsync rely on
 * it). Where files are opened, an open takes over that text while it is younger than a second, and what reads from them
 * bypasses the kernel's cache. The size of a .tsv is counted, which takes as long as reading it: there at lookup, and
 * when it is asked for and over a second old. Its times change with its content, while it is among the last that were
 * counted; those of directories are of the mount.
 *
 * Where files are not opened (fs/file.h) each lookup of a file makes a node of its own, with its text or value as it
 * was then; the kernel forgets it with the last close, or at once when nobody opens it, but for the figures and
 * batch.error, which it keeps until the next lookup. A .tsv is counted, and is of the moment, when its attributes are
 * first looked at, as each open does. What a close came to nobody would hear, so each write to batch commits the lines
 * that it ends, as a batch of its own, and returns what became of them; a line without an end waits for the next write
 * or fsync, or is refused with the last close. A refused write refuses those behind it until fsync. Writes come through
 * the kernel's cache, which may cut one in two at the first 4 KiB of the file that it reaches, unless it begins with
 * such, and cuts at 1 MiB. Each write to ctl holds whole commands, but for what such a cut leaves: that waits likewise.
 *
 * Names in range/ are escaped: in the name of an entry "/" is %2F, "%" is %25, NUL is %00, "." and ".." as a whole are
 * %2E and %2E%2E. What is then over 255 bytes is cut, and ends in %~ and 16 hexadecimal digits, a hash of the key.
 * In bounds any byte may be written as %XX. "." must be where a bound holds "..", and in a final ".tsv" of the bound
 * TO.
 * "%00.." is everything.
 *
 * Threads: anything here may be called by any thread of the loop. What takes long runs in threads of its own, which
 * answer the request when it is done: commands of ctl one after the other in one, messages to the kernel (fs/commit.h)
 * in another, sizes of ranges in a third. Where files are not opened a fourth has the kernel drop names: that waits for
 * the lookups in the same directory, and batches should not wait for those. No lookup waits for the size of a range
 * then: who kills the daemon while it waits for one would leave a process that does not end. */
#ifndef FS_CONTROL_H
#define FS_CONTROL_H

#include <stdint.h>

#include "fs/attr.h"
#include "fs/fs.h"

struct fuse_lowlevel_ops;

#define CONTROL_STATS ".stats"
#define CONTROL_DIRECTORY ".plsm"

/* Before the session is made; PLSM_NO_MEMORY. */
plsm_status control_create(struct fs *fs);
/* Starts its threads. */
plsm_status control_start(struct fs *fs);
/* Ends those that send messages to the kernel, while the loop still answers: such a message waits for lookups that are
 * under way, and what waits so keeps the connection open as long as nobody answers them. */
void control_stop_notices(struct fs *fs);
/* Ends them, when the loop has ended: what waits is refused. Accepts what was never started. */
void control_stop(struct fs *fs);
/* Frees everything; the snapshots with it. */
void control_destroy(struct fs *fs);

/* Attributes and size of one of the two names, for listings. */
plsm_status control_stat(struct fs *fs, const char *name, struct attr *attr, uint64_t *size);

/* How many nodes there are beside those of the mount: of .plsm and of views of snapshots; and what they take. */
size_t control_node_count(struct control *control);
size_t control_node_bytes(struct control *control);
/* As node_trim, of these. */
void control_trim(struct control *control);

/* The operations of a mount, with those on control nodes sent here, and all others to `inner`. One mount a process. */
struct fuse_lowlevel_ops control_route(const struct fuse_lowlevel_ops *inner);

#endif
