#include "tools/bench/files.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <unistd.h>

#include "base/env.h"
#include "base/error.h"
#include "tools/text.h"

#include "base/banned.h"

enum { DESCRIPTORS = 16, BLOCK = 512 };

/* A walk hands nothing of its caller's on. */
static uint64_t walked_bytes;
static plsm_status walked_status;

static int add_bytes(const char *path, const struct stat *info, int type, struct FTW *walk)
{
    (void)path, (void)walk;
    if (type == FTW_F)
        walked_bytes += (uint64_t)info->st_blocks * BLOCK;
    return 0;
}

uint64_t files_bytes(const char *directory)
{
    walked_bytes = 0;
    nftw(directory, add_bytes, DESCRIPTORS, FTW_PHYS);
    return walked_bytes;
}

/* Dirty pages are not dropped, so the file is synced first. */
static int forget_one(const char *path, const struct stat *info, int type, struct FTW *walk)
{
    (void)info, (void)walk;
    if (type != FTW_F)
        return 0;
    int file = open(path, O_RDONLY | O_CLOEXEC);
    int error = file < 0 || fdatasync(file) != 0 ? errno : posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED);
    if (error)
        walked_status = fail_errno(error, path, "drop from the page cache");
    if (file >= 0)
        close(file);
    return error;
}

plsm_status files_forget(const char *directory)
{
    walked_status = PLSM_OK;
    int result = nftw(directory, forget_one, DESCRIPTORS, FTW_PHYS);
    if (result != 0 && walked_status == PLSM_OK)
        return fail_errno(errno, directory, "walk through");
    return walked_status;
}

plsm_status files_need(const char *directory, uint64_t bytes)
{
    struct env_space space = {0};
    char wanted[TEXT_NUMBER_SIZE], there[TEXT_NUMBER_SIZE];
    TRY(env_space(env_posix(), directory, &space));
    if (space.bytes_free >= bytes)
        return PLSM_OK;
    return fail(PLSM_NO_SPACE, "%s: this may need %s, and %s are free; choose another place with --dir or fewer keys",
                directory, text_bytes(wanted, bytes), text_bytes(there, space.bytes_free));
}
