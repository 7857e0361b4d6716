/* The socket of a mounted store: commands such as `plsm put` reach the daemon through it (base/wire.h), and the kernel
 * is told of what they change. It is in the store's directory and the owner's alone, by its mode and by asking the
 * kernel who is at the other end. A mount that reads only has none. */
#ifndef FS_SERVER_H
#define FS_SERVER_H

#include "fs/fs.h"

struct server;

/* Makes the socket, in place of what a killed daemon has left, and starts to serve. The store must be opened for
 * writing, so that nobody else serves it. PLSM_IO, PLSM_NO_MEMORY. */
plsm_status server_start(struct fs *fs, struct server **out);
/* Ends all connections when what they asked for is done, and removes the socket. Accepts NULL. */
void server_stop(struct server *server);
/* For .stats. */
void server_counts(const struct server *server, uint64_t *connections, uint64_t *requests);

#endif
