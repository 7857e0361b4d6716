/* The files of a store, seen from outside. */
#ifndef TOOLS_BENCH_FILES_H
#define TOOLS_BENCH_FILES_H

#include <stdint.h>

#include "base/status.h"

/* Bytes that the files below `directory` take on the device: blocks, so what a sparse file has not filled is not
 * counted. Not from several threads at once. */
uint64_t files_bytes(const char *directory);
/* Syncs every file below `directory` and asks the kernel to drop what it caches of it. For stores that are closed: what
 * is mapped stays. PLSM_IO. Not from several threads at once. */
plsm_status files_forget(const char *directory);
/* PLSM_NO_SPACE, with a message that says both sizes, when the file system of `directory` has fewer bytes free. */
plsm_status files_need(const char *directory, uint64_t bytes);

#endif
