/* How far the kernel reads ahead on this mount. */
#ifndef FS_READAHEAD_H
#define FS_READAHEAD_H

#include <sys/types.h>

/* Lets the kernel read 1 MiB ahead, as much as one request holds, instead of the 128 KiB that it grants to any FUSE
 * mount: with an eighth of the requests, and of the wake-ups, a large file is read in about half the time. The limit
 * can be raised in sysfs only, by root; for others it stays. `device`: mountpoint_device of the mount. */
void readahead_widen(dev_t device);

#endif
