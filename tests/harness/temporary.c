#include "tests/harness/temporary.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/banned.h"

char *temporary_create(void)
{
    const char *parent = getenv("TMPDIR");
    char *path = NULL;
    if (asprintf(&path, "%s/plsm-test-XXXXXX", parent && *parent ? parent : "/tmp") < 0 || !mkdtemp(path)) {
        perror("cannot make a temporary directory");
        abort();
    }
    return path;
}

static int remove_one(const char *path, const struct stat *stat, int kind, struct FTW *walk)
{
    (void)stat;
    (void)kind;
    (void)walk;
    return remove(path);
}

void temporary_destroy(char *path)
{
    if (path)
        nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    free(path);
}
