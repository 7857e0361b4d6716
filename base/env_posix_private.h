/* What the files of the POSIX backend share. */
#ifndef BASE_ENV_POSIX_PRIVATE_H
#define BASE_ENV_POSIX_PRIVATE_H

#include "base/env.h"

/* Makes sure that a file has a descriptor, *fd, that stays open until it is unpinned. PLSM_IO. */
plsm_status posix_descriptor_pin(struct env_file *file, int *fd);
void posix_descriptor_unpin(struct env_file *file);

/* Reads pieces through io_uring where the kernel has it (env_ops.read_many). */
void posix_read_many(struct env *env, struct env_piece *pieces, size_t count);

#endif
