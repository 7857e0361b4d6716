/* Handles of open directories, and of files below .plsm: the kernel holds their addresses until it releases them. When
 * the end does not wait for that (a signal, while files are open), they are freed with the file system. Those of other
 * files are inodes, which have a list of their own (fs/inode.h). */
#ifndef FS_HANDLES_H
#define FS_HANDLES_H

struct fs;

/* The first member of what a handle is. */
struct handle {
    struct handle *next, **link; /* table lock */
    void (*destroy)(struct fs *fs, struct handle *handle);
};

/* Takes a handle into the list, and out of it; `destroy` frees one that is out of it. Take the table lock. */
void handle_add(struct fs *fs, struct handle *handle, void (*destroy)(struct fs *fs, struct handle *handle));
void handle_remove(struct fs *fs, struct handle *handle);
/* At the end, when nothing runs any more: destroys all. */
void handles_destroy_all(struct fs *fs);

#endif
