/* The command line of mount.plsm, by hand or from mount(8). */
#ifndef FS_OPTIONS_H
#define FS_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "fs/transport.h"

struct mount_options {
    const char *store, *directory; /* from argv */
    bool foreground, debug, help, version;
    bool read_only, create, show_control, xattr;
    bool remount;       /* change the flags of a mount that is there */
    bool sync, dirsync; /* changes are durable before they are answered: all of them, or those of names */
    bool allow_other; /* asked for; root gets it in any case */
    bool publish_write; /* each write is published, not what is there when the file is closed */
    uint64_t publish_interval_ns; /* 0: never */
    struct transport_options transport;
    /* Of entries without attributes of their own (fs/inode.h). */
    uint32_t uid, gid;                  /* OPTION_ID_UNSET: of who mounts */
    uint32_t file_mask, directory_mask; /* permissions that they lack */
    const char *of_a_mount;    /* an option only good with remount; NULL: none given; static */
    struct buf store_options;  /* for plsm_open, terminated; owned */
    struct buf kernel_options; /* for libfuse, terminated; owned */
};

#define OPTION_ID_UNSET UINT32_MAX

/* Reads the command line. PLSM_INVALID: a message that names what is wrong. Free with mount_options_free in any case.
 * */
plsm_status mount_options_parse(int argc, char **argv, struct mount_options *out);
void mount_options_free(struct mount_options *options);

/* The text for --help, without the options of the store. */
extern const char mount_usage[];

#endif
