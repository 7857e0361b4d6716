/* Temporary directories of tests. */
#ifndef TESTS_HARNESS_TEMPORARY_H
#define TESTS_HARNESS_TEMPORARY_H

#include <stdbool.h>

/* A new directory below TMPDIR (or /tmp); its path is to be given to temporary_destroy. Aborts when impossible. */
char *temporary_create(void);
/* Removes it with all that is in it, and frees the path. Accepts NULL. */
void temporary_destroy(char *path);
/* Whether logs in a directory are mapped: those of base/env_posix are on some file systems. */
bool temporary_maps_logs(const char *path);

#endif
