/* One table tells what each mount option does. What is neither in it nor an option of the store is refused. */
#include "fs/options.h"

#include <errno.h>
#include <stdlib.h>

#include "base/error.h"
#include "store/plsm.h"
#include "base/banned.h"

const char mount_usage[] =
    "usage: mount.plsm [-o OPTION[,OPTION...]] STORE DIRECTORY\n"
    "Mounts the plsm store in the directory STORE on DIRECTORY: file names are keys, contents are values.\n"
    "End it with: fusermount3 -u DIRECTORY (or umount as root).\n"
    "\n"
    "  -f             stay in the foreground; messages go to standard error too\n"
    "  -d             the same, and tell each request of the kernel\n"
    "  -h, --help     this text\n"
    "  -V, --version  the version\n"
    "  -s -n -v       accepted, as mount(8) passes them\n"
    "\n"
    "Options of the mount (-o):\n"
    "  create                make the store when there is none\n"
    "  ro, rw                read-only (also beside a process that writes), or read and write (default)\n"
    "  remount               change ro, rw and the flags below of the mount that is there\n"
    "  publish=close|write   when what is written to a file becomes the value of its key: when it is closed or\n"
    "                        synced (default), or with each write, which then saves a message at closing\n"
    "  publish_interval=30   seconds after which what a program has written to a file that it keeps open is\n"
    "                        published in the store; 0: only when it is closed or synced\n"
    "  sync, dirsync         what is changed survives power loss before the call returns: all, or names only\n"
    "  xattr                 keep extended attributes, and show user.plsm.* (where a file stands, its digest)\n"
    "  uid=N gid=N           owner of what has none in the store (default: who mounts)\n"
    "  umask=022             permissions that such files and directories lack; fmask=, dmask=: of one kind\n"
    "  show_control          list .stats and .plsm in the root (they are there in any case)\n"
    "  transport=auto        how requests come: uring (FUSE over io_uring), dev (/dev/fuse), auto (the former where\n"
    "                        the kernel offers it); uring turns the kernel's switch on where root mounts\n"
    "  threads=N             N threads answer the kernel (default: one per processor; with uring 3 to 10)\n"
    "  allow_other           let other users in too (root's mounts do so anyway)\n"
    "  default_permissions   always the case; accepted\n"
    "  dev nodev suid nosuid exec noexec noatime relatime user nofail ...   as mount(8) says\n"
    "\n"
    "Options of the store (-o); a mount has the defaults buffer_size=8M,cache_size=16M:\n";

enum action {
    IGNORED,     /* accepted, without a meaning here */
    KERNEL,      /* passed on to libfuse, which makes mount flags of it */
    FLAG,        /* sets a bool */
    NO_FLAG,     /* clears it */
    KERNEL_FLAG, /* sets a bool and is passed on */
    KERNEL_NO_FLAG,
    SECONDS,      /* a number of seconds */
    THREAD_COUNT, /* a number of threads */
    ID,           /* a number of a user or group */
    MASK,         /* permissions, octal */
    MASK_BOTH,    /* those of files and of directories */
    PUBLISH,      /* close or write */
    TRANSPORT,    /* the name of one */
    OF_A_MOUNT,   /* what mount(8) found in the mount table: only with remount */
};

static const struct mount_option {
    const char *name;
    enum action action;
    size_t offset; /* of the member, in struct mount_options */
} table[] = {
    {"create", FLAG, offsetof(struct mount_options, create)},
    {"show_control", FLAG, offsetof(struct mount_options, show_control)},
    {"allow_other", FLAG, offsetof(struct mount_options, allow_other)},
    {"xattr", FLAG, offsetof(struct mount_options, xattr)},
    {"ro", FLAG, offsetof(struct mount_options, read_only)},
    {"rw", NO_FLAG, offsetof(struct mount_options, read_only)},
    {"remount", FLAG, offsetof(struct mount_options, remount)},
    {"default_permissions", IGNORED, 0},
    {"publish", PUBLISH, 0},
    {"publish_interval", SECONDS, 0},
    {"threads", THREAD_COUNT, 0},
    {"transport", TRANSPORT, 0},
    {"uid", ID, offsetof(struct mount_options, uid)},
    {"gid", ID, offsetof(struct mount_options, gid)},
    {"umask", MASK_BOTH, 0},
    {"fmask", MASK, offsetof(struct mount_options, file_mask)},
    {"dmask", MASK, offsetof(struct mount_options, directory_mask)},
    {"dev", KERNEL, 0},
    {"nodev", KERNEL, 0},
    {"suid", KERNEL, 0},
    {"nosuid", KERNEL, 0},
    {"exec", KERNEL, 0},
    {"noexec", KERNEL, 0},
    {"sync", KERNEL_FLAG, offsetof(struct mount_options, sync)},
    {"async", KERNEL_NO_FLAG, offsetof(struct mount_options, sync)},
    {"dirsync", KERNEL_FLAG, offsetof(struct mount_options, dirsync)},
    {"noatime", KERNEL, 0},
    /* Reading changes no times here, so these mean nothing; the rest is for mount(8) and fstab(5). */
    {"atime", IGNORED, 0},
    {"relatime", IGNORED, 0},
    {"norelatime", IGNORED, 0},
    {"strictatime", IGNORED, 0},
    {"nostrictatime", IGNORED, 0},
    {"diratime", IGNORED, 0},
    {"nodiratime", IGNORED, 0},
    {"lazytime", IGNORED, 0},
    {"nolazytime", IGNORED, 0},
    {"defaults", IGNORED, 0},
    {"auto", IGNORED, 0},
    {"noauto", IGNORED, 0},
    {"nofail", IGNORED, 0},
    {"_netdev", IGNORED, 0},
    {"user", IGNORED, 0},
    {"nouser", IGNORED, 0},
    {"users", IGNORED, 0},
    {"nousers", IGNORED, 0},
    {"owner", IGNORED, 0},
    {"noowner", IGNORED, 0},
    {"group", IGNORED, 0},
    {"nogroup", IGNORED, 0},
    {"uhelper", IGNORED, 0},
    {"helper", IGNORED, 0},
    {"silent", IGNORED, 0},
    {"loud", IGNORED, 0},
    {"user_id", OF_A_MOUNT, 0},
    {"group_id", OF_A_MOUNT, 0},
    {"max_read", OF_A_MOUNT, 0},
    {"fsname", OF_A_MOUNT, 0},
    {"subtype", OF_A_MOUNT, 0},
};

static const struct mount_option *find(plsm_slice name)
{
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++)
        if (slice_equal(slice_of(table[i].name), name))
            return &table[i];
    return NULL;
}

static plsm_status append_option(struct buf *list, plsm_slice option)
{
    if (list->size > 0)
        TRY(buf_append(list, ",", 1));
    return buf_append(list, option.data, option.size);
}

/* A number in that base, 8 or 10, from `least` to `most`. */
static plsm_status parse_number(plsm_slice option, plsm_slice value, unsigned base, uint64_t least, uint64_t most,
                                uint64_t *out)
{
    const char *digits = value.data, last = (char)('0' + base - 1);
    bool good = value.size > 0 && value.size <= 10;
    *out = 0;
    for (size_t i = 0; i < value.size && good; i++) {
        good = digits[i] >= '0' && digits[i] <= last;
        *out = *out * base + (uint64_t)(digits[i] - '0');
    }
    if (good && *out >= least && *out <= most)
        return PLSM_OK;
    return fail(PLSM_INVALID,
                base == 8 ? "option %.*s: must be an octal number from %llo to %llo"
                          : "option %.*s: must be a number from %llu to %llu",
                (int)option.size, (const char *)option.data, (unsigned long long)least, (unsigned long long)most);
}

static plsm_status parse_transport(plsm_slice value, enum transport_kind *out)
{
    static const char *const names[] = {
        [TRANSPORT_AUTO] = "auto", [TRANSPORT_URING] = "uring", [TRANSPORT_DEV] = "dev"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (slice_equal(slice_of(names[i]), value)) {
            *out = (enum transport_kind)i;
            return PLSM_OK;
        }
    }
    return fail(PLSM_INVALID, "option transport: must be auto, uring or dev");
}

static plsm_status apply_value(const struct mount_option *known, plsm_slice option, plsm_slice value,
                               struct mount_options *out)
{
    uint64_t number = 0;
    switch (known->action) {
    case SECONDS:
        TRY(parse_number(option, value, 10, 0, 86400, &number));
        out->publish_interval_ns = number * 1000000000;
        break;
    case PUBLISH:
        out->publish_write = slice_equal(value, slice_of("write"));
        if (!out->publish_write && !slice_equal(value, slice_of("close")))
            return fail(PLSM_INVALID, "option %.*s: must be close or write", (int)option.size,
                        (const char *)option.data);
        break;
    case THREAD_COUNT:
        TRY(parse_number(option, value, 10, 1, TRANSPORT_THREADS_MAX, &number));
        out->transport.threads = (unsigned)number;
        break;
    case TRANSPORT:
        return parse_transport(value, &out->transport.kind);
    case ID:
        TRY(parse_number(option, value, 10, 0, UINT32_MAX - 1, &number));
        *(uint32_t *)((char *)out + known->offset) = (uint32_t)number;
        break;
    case MASK:
        TRY(parse_number(option, value, 8, 0, 0777, &number));
        *(uint32_t *)((char *)out + known->offset) = (uint32_t)number;
        break;
    default:
        TRY(parse_number(option, value, 8, 0, 0777, &number));
        out->file_mask = out->directory_mask = (uint32_t)number;
        break;
    }
    return PLSM_OK;
}

static plsm_status apply(const struct mount_option *known, plsm_slice option, plsm_slice value, bool has_value,
                         struct mount_options *out)
{
    bool *flag = (bool *)((char *)out + known->offset);
    bool takes_value = known->action >= SECONDS && known->action <= TRANSPORT;
    if (takes_value != has_value && known->action != IGNORED && known->action != OF_A_MOUNT)
        return fail(PLSM_INVALID, "option %.*s: %s", (int)option.size, (const char *)option.data,
                    takes_value ? "needs a value" : "takes no value");
    if (takes_value)
        return apply_value(known, option, value, out);
    switch (known->action) {
    case FLAG:
        *flag = true;
        break;
    case NO_FLAG:
        *flag = false;
        break;
    case KERNEL:
        return append_option(&out->kernel_options, option);
    case KERNEL_FLAG:
    case KERNEL_NO_FLAG:
        *flag = known->action == KERNEL_FLAG;
        return append_option(&out->kernel_options, option);
    case OF_A_MOUNT:
        out->of_a_mount = out->of_a_mount ? out->of_a_mount : known->name;
        break;
    default:
        break;
    }
    return PLSM_OK;
}

static plsm_status parse_option(plsm_slice option, struct mount_options *out)
{
    const char *equals = option.size ? memchr(option.data, '=', option.size) : NULL;
    plsm_slice name = option, value = {0};
    if (equals) {
        name.size = (size_t)(equals - (const char *)option.data);
        value = slice(equals + 1, option.size - name.size - 1);
    }
    const struct mount_option *known = find(name);
    if (known)
        return apply(known, option, value, equals != NULL, out);
    if (plsm_options_has(name.data, name.size))
        return append_option(&out->store_options, option);
    /* What programs keep for themselves in fstab(5): x-systemd.automount and the like. */
    if (slice_starts_with(name, slice_of("x-")) || slice_starts_with(name, slice_of("X-")) ||
        slice_starts_with(name, slice_of("comment")))
        return PLSM_OK;
    return fail(PLSM_INVALID, "unknown option: %.*s", (int)name.size, (const char *)name.data);
}

static plsm_status parse_list(const char *list, struct mount_options *out)
{
    while (*list) {
        size_t size = strcspn(list, ",");
        if (size > 0)
            TRY(parse_option(slice(list, size), out));
        list += size + (list[size] == ',');
    }
    return PLSM_OK;
}

/* One argument that starts with '-'; *used: how many arguments it took. */
static plsm_status parse_dash(char **argv, struct mount_options *out, int *used)
{
    const char *arg = argv[0];
    *used = 1;
    if (strcmp(arg, "--help") == 0) {
        out->help = true;
        return PLSM_OK;
    }
    if (strcmp(arg, "--version") == 0) {
        out->version = true;
        return PLSM_OK;
    }
    for (const char *letter = arg + 1; *letter; letter++) {
        switch (*letter) {
        case 'f':
            out->foreground = true;
            break;
        case 'd':
            out->foreground = out->debug = true;
            break;
        case 'h':
            out->help = true;
            break;
        case 'V':
            out->version = true;
            break;
        case 's':
        case 'n':
        case 'v':
            break;
        case 'o':
        case 't': {
            const char *value = letter[1] ? letter + 1 : argv[1];
            *used = letter[1] ? 1 : 2;
            if (!value)
                return fail(PLSM_INVALID, "-%c needs a value", *letter);
            return *letter == 'o' ? parse_list(value, out) : PLSM_OK;
        }
        default:
            return fail(PLSM_INVALID, "unknown option: -%s", arg[0] == '-' && arg[1] == '-' ? arg + 1 : letter);
        }
    }
    return PLSM_OK;
}

static plsm_status parse_arguments(int argc, char **argv, struct mount_options *out)
{
    bool only_names = false;
    for (int i = 1; i < argc;) {
        int used = 1;
        if (!only_names && strcmp(argv[i], "--") == 0)
            only_names = true;
        else if (!only_names && argv[i][0] == '-' && argv[i][1])
            TRY(parse_dash(argv + i, out, &used));
        else if (!out->store)
            out->store = argv[i];
        else if (!out->directory)
            out->directory = argv[i];
        else
            return fail(PLSM_INVALID, "too many arguments: %s", argv[i]);
        i += used;
    }
    if (out->help || out->version)
        return PLSM_OK;
    if (out->of_a_mount && !out->remount)
        return fail(PLSM_INVALID, "unknown option: %s", out->of_a_mount);
    if (!out->store || !out->directory || !*out->store || !*out->directory)
        return fail(PLSM_INVALID, "%s is missing", out->store && *out->store ? "DIRECTORY" : "STORE");
    return PLSM_OK;
}

static bool is_given(const struct buf *list, const char *name)
{
    size_t name_size = strlen(name);
    for (size_t i = 0; i + name_size < list->size; i++)
        if ((i == 0 || list->data[i - 1] == ',') && memcmp(list->data + i, name, name_size) == 0 &&
            list->data[i + name_size] == '=')
            return true;
    return false;
}

/* Adds an option when the user gave none of that name, and no budget from which its value follows. */
static plsm_status default_option(struct buf *list, const char *name, const char *value)
{
    if (is_given(list, name) || is_given(list, "memory"))
        return PLSM_OK;
    return buf_printf(list, "%s%s=%s", list->size ? "," : "", name, value);
}

plsm_status mount_options_parse(int argc, char **argv, struct mount_options *out)
{
    *out = (struct mount_options){.publish_interval_ns = UINT64_C(30) * 1000000000,
                                  .uid = OPTION_ID_UNSET,
                                  .gid = OPTION_ID_UNSET,
                                  .file_mask = 022,
                                  .directory_mask = 022};
    TRY(parse_arguments(argc, argv, out));
    TRY(default_option(&out->store_options, "buffer_size", "8M"));
    TRY(default_option(&out->store_options, "cache_size", "16M"));
    TRY(buf_append(&out->store_options, "", 1));
    TRY(buf_append(&out->kernel_options, "", 1));
    return plsm_options_check((const char *)out->store_options.data);
}

void mount_options_free(struct mount_options *options)
{
    buf_free(&options->store_options);
    buf_free(&options->kernel_options);
}
