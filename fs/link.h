/* Hard links: several names of one file.
 *
 * In the store. A file with one name is the entry of its key. When it gets a second one, its content and attributes
 * move to a shared value (plsm_batch_share and plsm_batch_link in store/plsm.h; the format: store/shared.h), under
 * an identifier of its own, and both names become links to that, in one batch. How many there are is counted there.
 * With one name left the value stays shared; the last name takes it along. So names, content and count are right after
 * every crash. A file that is unlinked but open keeps its content in the edit that has it open, as files with one name
 * do; the next process does not find it.
 *
 * In memory. What the kernel knows as one inode must be one node, so a shared value has a single node, which is found
 * by the identifier and not by a name, below `shared` of the table (node_is_shared). The names have none. link(2) on a
 * file with one name turns its node into that (node_share): the kernel goes on using it, and everything that is open
 * with it. From then on its attributes and content are read and published by the identifier (fs/inode.c), so it does
 * not matter which of its names are left, are known to the kernel, or have been renamed. A name that goes takes the
 * node along only when attr.other_names is 0. That number is right in an inode that is loaded: it changes under the
 * exclusive tree lock, together with the store. */
#ifndef FS_LINK_H
#define FS_LINK_H

#include "fs/entry.h"
#include "fs/inode.h"

/* The node of an entry in `parent`; NULL: the kernel does not know it. Exclusive tree lock. */
struct node *entry_node(struct fs *fs, struct node *parent, const struct entry *entry);

/* Before a name goes in `batch`, or is moved over: when the file has others, its ctime becomes `now`, in the same
 * batch. `inode` is its inode, loaded; NULL: it has none. Exclusive tree lock, without the inode's. */
plsm_status touch_other_names(const struct entry *entry, struct inode *inode, struct timespec now, plsm_batch *batch);

/* What a directory adds to attr.other_names: 1, for its own ".", and 1 for each directory in it, as find(1) and tests
 * of conformance expect. They are counted in the store, up to LINKS_COST_MAX (one for each entry looked at,
 * LINKS_COST_SEEK for each directory skipped); where that does not do, where names are long, and in a store without
 * order, which would look at all names for it, it is 0, so that the link count is 1, which says that they are not
 * counted. It is no number that has to be kept right in the entry: keys put through the library make directories, too.
 * 0 of files and of what is gone. Tree lock.
 *
 * The kernel asks after each change in a directory, and counting passes over all that was deleted there and not yet
 * compacted away: so answers are kept, by the hash of the path, until a directory in it comes or goes. What expires may
 * take a directory with it without a word, so nothing is kept once the mount has met such an entry. */
enum { LINKS_COST_MAX = 256, LINKS_COST_SEEK = 4 };
uint32_t count_directories(struct fs *fs, const struct node *node);
/* A directory has come into, or gone from, the directory of this node; NULL: it may be any. After that is written and
 * before anybody is told. Tree lock. */
void directories_changed(struct fs *fs, const struct node *node);

#endif
