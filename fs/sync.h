/* fsync: a thread of its own syncs the store and answers all that asked meanwhile at once. So as many writers as there
 * are share one sync, not as many as threads answer the kernel, and these go on answering others. Where the thread
 * that has the request had better wait itself (transport_stay), it syncs where nobody else asked around the last sync,
 * and waits for that other thread where somebody did: else the first one back would sync without the others. */
#ifndef FS_SYNC_H
#define FS_SYNC_H

#include <fuse_lowlevel.h>

#include "fs/fs.h"

/* At the beginning: starts the thread. PLSM_NO_MEMORY, PLSM_IO. */
plsm_status sync_start(struct fs *fs);

/* Answers an fsync once everything published so far survives power loss. Needs no lock. */
void sync_and_reply(struct fs *fs, fuse_req_t req);

/* At the end: answers what waits, ends the thread. Requests that still come, where the start has failed, are answered
 * by their own threads. */
void sync_end(struct fs *fs);

#endif
