#include "fs/readahead.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/banned.h"

static const char readahead_kib[] = "1024";

void readahead_widen(dev_t device)
{
    char path[128];
    snprintf(path, sizeof path, "/sys/class/bdi/%u:%u/read_ahead_kb", major(device), minor(device));
    int file = open(path, O_WRONLY | O_CLOEXEC);
    if (file < 0)
        return;
    ssize_t written = write(file, readahead_kib, sizeof readahead_kib - 1);
    (void)written; /* then it stays as it is */
    close(file);
}
