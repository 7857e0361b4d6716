/* The command line of mount.plsm: what is taken, passed on, defaulted and refused. */
#include <check.h>
#include <string.h>

#include "fs/options.h"

#include "base/banned.h"

static plsm_status parse(struct mount_options *out, const char *const *arguments)
{
    char *argv[16] = {(char *)(uintptr_t) "mount.plsm"};
    int argc = 1;
    for (; arguments[argc - 1]; argc++)
        argv[argc] = (char *)(uintptr_t)arguments[argc - 1];
    return mount_options_parse(argc, argv, out);
}
#define PARSE(out, ...) parse((out), (const char *const[]){__VA_ARGS__, NULL})

START_TEST(test_accepted)
{
    struct mount_options o;
    ck_assert_int_eq(PARSE(&o, "s", "d"), PLSM_OK);
    ck_assert_str_eq(o.store, "s");
    ck_assert_str_eq(o.directory, "d");
    ck_assert(!o.foreground && !o.read_only && !o.create && !o.show_control && !o.allow_other && !o.publish_write);
    ck_assert_uint_eq(o.publish_interval_ns, UINT64_C(30000000000));
    ck_assert_str_eq((char *)o.store_options.data, "buffer_size=8M,cache_size=16M");
    ck_assert_str_eq((char *)o.kernel_options.data, "");
    mount_options_free(&o);
    /* as mount(8) calls it */
    ck_assert_int_eq(PARSE(&o, "s", "d", "-s", "-n", "-v", "-o",
                           "rw,nodev,nosuid,index=traditional,_netdev,nofail,user=me,x-systemd.automount,relatime"),
                     PLSM_OK);
    ck_assert_str_eq((char *)o.kernel_options.data, "nodev,nosuid");
    ck_assert_str_eq((char *)o.store_options.data, "index=traditional,buffer_size=8M,cache_size=16M");
    mount_options_free(&o);
    ck_assert_int_eq(
        PARSE(&o, "-fo", "ro,cache_size=1G,,threads=3,publish_interval=0,show_control,allow_other,create,transport=dev",
              "--", "-s", "-d"),
        PLSM_OK);
    ck_assert(o.foreground && o.read_only && o.create && o.show_control && o.allow_other);
    ck_assert_uint_eq(o.transport.threads, 3);
    ck_assert_int_eq(o.transport.kind, TRANSPORT_DEV);
    ck_assert_uint_eq(o.publish_interval_ns, 0);
    ck_assert_str_eq((char *)o.store_options.data, "cache_size=1G,buffer_size=8M");
    ck_assert_str_eq(o.store, "-s");
    ck_assert_str_eq(o.directory, "-d");
    mount_options_free(&o);
    ck_assert_int_eq(PARSE(&o, "s", "d", "-o", "publish=write"), PLSM_OK);
    ck_assert(o.publish_write);
    mount_options_free(&o);
    ck_assert_int_eq(PARSE(&o, "s", "d", "-o", "publish=write,publish=close"), PLSM_OK);
    ck_assert(!o.publish_write);
    mount_options_free(&o);
    ck_assert_int_eq(PARSE(&o, "s", "d", "-o", "memory=64M"), PLSM_OK); /* then sizes follow from it */
    ck_assert_str_eq((char *)o.store_options.data, "memory=64M");
    mount_options_free(&o);
    ck_assert_int_eq(PARSE(&o, "s", "d"), PLSM_OK);
    ck_assert_uint_eq(o.uid, OPTION_ID_UNSET);
    ck_assert_uint_eq(o.gid, OPTION_ID_UNSET);
    ck_assert_uint_eq(o.file_mask, 022);
    ck_assert_uint_eq(o.directory_mask, 022);
    ck_assert(!o.xattr && !o.sync && !o.dirsync && !o.remount && !o.debug);
    mount_options_free(&o);
    ck_assert_int_eq(PARSE(&o, "-d", "s", "d", "-o", "uid=1000,gid=4294967294,umask=077,fmask=0137,sync,dirsync,xattr"),
                     PLSM_OK);
    ck_assert_uint_eq(o.uid, 1000);
    ck_assert_uint_eq(o.gid, UINT32_MAX - 1);
    ck_assert_uint_eq(o.file_mask, 0137);
    ck_assert_uint_eq(o.directory_mask, 077);
    ck_assert(o.xattr && o.sync && o.dirsync && o.debug && o.foreground);
    ck_assert_str_eq((char *)o.kernel_options.data, "sync,dirsync");
    mount_options_free(&o);
    ck_assert_int_eq(PARSE(&o, "s", "d", "-o", "ro,sync,rw,async"), PLSM_OK); /* the last one counts */
    ck_assert(!o.read_only && !o.sync);
    mount_options_free(&o);
    /* as mount(8) calls it for "mount -o remount,ro DIRECTORY" */
    ck_assert_int_eq(PARSE(&o, "s", "d", "-o", "ro,remount,nosuid,user_id=0,group_id=0,max_read=4096,subtype=plsm"),
                     PLSM_OK);
    ck_assert(o.remount && o.read_only);
    ck_assert_str_eq((char *)o.kernel_options.data, "nosuid");
    mount_options_free(&o);
    ck_assert_int_eq(PARSE(&o, "-h"), PLSM_OK);
    ck_assert(o.help);
    mount_options_free(&o);
    ck_assert_int_eq(PARSE(&o, "--version"), PLSM_OK);
    ck_assert(o.version);
    mount_options_free(&o);
}
END_TEST

START_TEST(test_refused)
{
    static const struct {
        const char *option, *message;
    } rows[] = {
        {"frobnicate", "unknown option: frobnicate"},
        {"frobnicate=1", "unknown option: frobnicate"},
        {"rofl", "unknown option: rofl"},
        {"ro=1", "ro=1: takes no value"},
        {"threads", "threads: needs a value"},
        {"threads=0", "from 1 to 64"},
        {"threads=65", "from 1 to 64"},
        {"threads=1x", "must be a number"},
        {"transport", "transport: needs a value"},
        {"transport=pigeon", "must be auto, uring or dev"},
        {"publish_interval=", "must be a number"},
        {"publish", "needs a value"},
        {"publish=open", "must be close or write"},
        {"publish_interval=99999999999", "must be a number"},
        {"cache_size=much", "cache_size"},
        {"index=psychic", "index"},
        {"buffer_siz=1M", "unknown option"},
        {"=x", "unknown option"},
        {"uid", "needs a value"},
        {"uid=me", "must be a number"},
        {"gid=4294967295", "must be a number"},
        {"uid=99999999999", "must be a number"},
        {"umask=8", "octal number from 0 to 777"},
        {"umask=1000", "octal number"},
        {"dmask=-1", "octal number"},
        {"fmask=", "octal number"},
        {"xattr=1", "takes no value"},
        {"user_id=0", "unknown option: user_id"},
    };
    struct mount_options o;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        ck_assert_int_eq(PARSE(&o, "-o", rows[i].option, "s", "d"), PLSM_INVALID);
        ck_assert_msg(strstr(plsm_message(), rows[i].message), "%s: %s", rows[i].option, plsm_message());
        mount_options_free(&o);
    }
    ck_assert_int_eq(PARSE(&o, "s"), PLSM_INVALID);
    mount_options_free(&o);
    ck_assert_int_eq(PARSE(&o, "s", "d", "e"), PLSM_INVALID);
    mount_options_free(&o);
    ck_assert_int_eq(PARSE(&o, "s", "d", "-o"), PLSM_INVALID);
    mount_options_free(&o);
    ck_assert_int_eq(PARSE(&o, "s", "d", "-q"), PLSM_INVALID);
    ck_assert_ptr_nonnull(strstr(plsm_message(), "-q"));
    mount_options_free(&o);
    ck_assert_int_eq(PARSE(&o, "", "d"), PLSM_INVALID);
    mount_options_free(&o);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("options");
    TCase *tests = tcase_create("options");
    tcase_add_test(tests, test_accepted);
    tcase_add_test(tests, test_refused);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
