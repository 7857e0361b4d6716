/* Temporary directories of tests. */
#ifndef TESTS_HARNESS_TEMPORARY_H
#define TESTS_HARNESS_TEMPORARY_H

/* A new directory below TMPDIR (or /tmp); its path is to be given to temporary_destroy. Aborts when impossible. */
char *temporary_create(void);
/* Removes it with all that is in it, and frees the path. Accepts NULL. */
void temporary_destroy(char *path);

#endif
