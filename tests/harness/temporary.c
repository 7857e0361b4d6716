#include "tests/harness/temporary.h"

#include <ftw.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/vfs.h>
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

bool temporary_maps_logs(const char *path)
{
    struct statfs kind;
    if (statfs(path, &kind) != 0) {
        perror(path);
        abort();
    }
    return kind.f_type == EXT4_SUPER_MAGIC || kind.f_type == TMPFS_MAGIC;
}
