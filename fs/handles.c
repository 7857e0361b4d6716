#include "fs/handles.h"

#include "fs/fs.h"
#include "base/banned.h"

void handle_add(struct fs *fs, struct handle *handle, void (*destroy)(struct fs *fs, struct handle *handle))
{
    handle->destroy = destroy;
    mutex_lock(&fs->nodes.lock);
    handle->next = fs->handles;
    handle->link = &fs->handles;
    if (fs->handles)
        fs->handles->link = &handle->next;
    fs->handles = handle;
    mutex_unlock(&fs->nodes.lock);
}

void handle_remove(struct fs *fs, struct handle *handle)
{
    mutex_lock(&fs->nodes.lock);
    *handle->link = handle->next;
    if (handle->next)
        handle->next->link = handle->link;
    mutex_unlock(&fs->nodes.lock);
}

void handles_destroy_all(struct fs *fs)
{
    while (fs->handles) {
        struct handle *handle = fs->handles;
        handle_remove(fs, handle);
        handle->destroy(fs, handle);
    }
}
