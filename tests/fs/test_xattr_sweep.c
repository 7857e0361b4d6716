/* Records of extended attributes whose files went without the mount: which go, and which stay. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/bytes.h"
#include "base/error.h"
#include "fs/inode.h"
#include "fs/link.h"
#include "fs/xattr.h"
#include "fs/xattr_sweep.h"
#include "tests/harness/temporary.h"
#include "base/banned.h"

static struct fs fs;
static char *directory;

static void ok(plsm_status status)
{
    ck_assert_msg(status == PLSM_OK, "%s", plsm_message());
}

static void start(void)
{
    fs = (struct fs){.default_file_mode = 0100644, .default_directory_mode = 0040755};
    directory = temporary_create();
    ok(plsm_open(directory, PLSM_CREATE, NULL, &fs.db));
    ok(node_table_init(&fs.nodes));
}

static void stop(void)
{
    node_table_destroy(&fs.nodes);
    ok(plsm_close(fs.db));
    temporary_destroy(directory);
}

static plsm_slice record_key(uint64_t id, const char *name, uint8_t *to)
{
    size_t prefix = strlen(XATTR_RECORDS), size = strlen(name);
    memcpy(to, XATTR_RECORDS, prefix);
    put_be64(to + prefix, id);
    memcpy(to + prefix + 8, name, size);
    return slice(to, prefix + 8 + size);
}

/* A file with so many attributes, whose records have this id; 0: it has none. */
static void make(const char *key, uint64_t ino, uint64_t id, unsigned attributes)
{
    plsm_batch *batch = plsm_batch_create();
    struct attr attr = {.ino = ino, .mode = 0100644, .xattrs = id};
    uint8_t meta[ATTR_SIZE_MAX], bytes[64];
    char name[32];
    ok(plsm_batch_put(batch, PLSM_NAMES, slice_of(key), slice(meta, attr_encode(&attr, meta)), slice_of("content")));
    for (unsigned i = 0; i < attributes; i++) {
        snprintf(name, sizeof name, "user.%u", i);
        ok(plsm_batch_put(batch, PLSM_INTERNAL, record_key(id, name, bytes), slice(NULL, 0), slice_of("value")));
    }
    ok(plsm_write(fs.db, batch, PLSM_NONE));
    plsm_batch_destroy(batch);
}

static unsigned records_of(uint64_t id)
{
    plsm_read_options options = {.keyspace = PLSM_INTERNAL};
    plsm_iterator *it = NULL;
    uint8_t from[64], to[64];
    unsigned count = 0;
    ok(plsm_iterator_create(fs.db, &options, record_key(id, "", from), record_key(id + 1, "", to), &it));
    for (plsm_iterator_first(it); plsm_iterator_valid(it); plsm_iterator_next(it))
        count++;
    ok(plsm_iterator_status(it));
    plsm_iterator_destroy(it);
    return count;
}

static void expect_swept(uint64_t expected)
{
    struct xattr_sweep *sweep = NULL;
    uint64_t removed = 0;
    ok(xattr_sweep_start(&fs, &sweep));
    ck_assert(sweep || expected == 0);
    if (sweep)
        ok(xattr_sweep_wait(sweep, &removed));
    xattr_sweep_end(sweep);
    ck_assert_uint_eq(removed, expected);
}

START_TEST(test_sweep)
{
    start();
    expect_swept(0);
    for (uint64_t i = 0; i < 100; i++) {
        char key[32];
        snprintf(key, sizeof key, "d/file-%llu", (unsigned long long)i);
        make(key, 1000 + i, i % 2 ? 1000 + i : 5000 + i, 1 + i % 3);
    }
    expect_swept(0);
    ok(plsm_put(fs.db, slice_of("d/file-1"), slice_of("new"), PLSM_NONE));
    ok(plsm_delete(fs.db, slice_of("d/file-2"), PLSM_NONE));
    ok(plsm_delete_range(fs.db, slice_of("d/file-3"), slice_of("d/file-31"), PLSM_NONE)); /* 3, 30 */
    make("d/file-7", 1007, 0, 0); /* by its inode number they may be its own some day */
    expect_swept(4);
    ck_assert_uint_eq(records_of(1001), 0);
    ck_assert_uint_eq(records_of(5002), 0);
    ck_assert_uint_eq(records_of(1003), 0);
    ck_assert_uint_eq(records_of(5030), 0);
    ck_assert_uint_eq(records_of(1031), 2);
    ck_assert_uint_eq(records_of(1007), 2);
    ck_assert_uint_eq(records_of(5098), 3);
    expect_swept(0);
    ok(plsm_delete_range(fs.db, slice(NULL, 0), slice(NULL, 0), PLSM_NONE));
    expect_swept(96);
    expect_swept(0);
    stop();
}
END_TEST

/* The meta of a directory, of the root, and of a file with several names hold ids as well. */
START_TEST(test_sweep_others)
{
    struct attr attr = {.ino = 1, .mode = 0040755, .xattrs = 1};
    uint8_t meta[ATTR_SIZE_MAX], bytes[64];
    plsm_batch *batch = plsm_batch_create();
    start();
    make("first", 2000, 2000, 2);
    ok(plsm_batch_share(batch, slice_of("first"), 77));
    ok(plsm_batch_link(batch, 77, slice_of("second"),
                       slice(meta, attr_encode(&(struct attr){.ino = 2000, .mode = 0100644, .xattrs = 2000}, meta))));
    ok(plsm_write(fs.db, batch, PLSM_NONE));
    plsm_batch_clear(batch);
    ok(plsm_batch_put(batch, PLSM_INTERNAL, slice_of(ROOT_KEY), slice(meta, attr_encode(&attr, meta)), slice(NULL, 0)));
    ok(plsm_batch_put(batch, PLSM_INTERNAL, record_key(1, "user.root", bytes), slice(NULL, 0), slice_of("1")));
    attr.ino = attr.xattrs = 3000;
    ok(plsm_batch_put(batch, PLSM_NAMES, slice_of("d/"), slice(meta, attr_encode(&attr, meta)), slice(NULL, 0)));
    ok(plsm_batch_put(batch, PLSM_INTERNAL, record_key(3000, "user.d", bytes), slice(NULL, 0), slice_of("1")));
    ok(plsm_write(fs.db, batch, PLSM_NONE));
    expect_swept(0);
    ok(plsm_delete(fs.db, slice_of("first"), PLSM_NONE));
    expect_swept(0);
    ok(plsm_delete(fs.db, slice_of("second"), PLSM_NONE));
    ok(plsm_delete(fs.db, slice_of("d/"), PLSM_NONE));
    expect_swept(2);
    ck_assert_uint_eq(records_of(1), 1);
    plsm_batch_destroy(batch);
    stop();
}
END_TEST

/* A meta that a later version has written: nobody can tell what it holds, so nothing is removed. */
START_TEST(test_sweep_unknown)
{
    struct xattr_sweep *sweep = NULL;
    plsm_batch *batch = plsm_batch_create();
    uint64_t removed = 0;
    start();
    make("gone", 2000, 2000, 1);
    ok(plsm_delete(fs.db, slice_of("gone"), PLSM_NONE));
    ok(plsm_batch_put(batch, PLSM_NAMES, slice_of("new"), slice("\xff\xff\xff", 3), slice(NULL, 0)));
    ok(plsm_write(fs.db, batch, PLSM_NONE));
    ok(xattr_sweep_start(&fs, &sweep));
    ck_assert_int_ne(xattr_sweep_wait(sweep, &removed), PLSM_OK);
    xattr_sweep_end(sweep);
    ck_assert_uint_eq(records_of(2000), 1);
    plsm_batch_destroy(batch);
    stop();
}
END_TEST

START_TEST(test_drop_replaced)
{
    plsm_batch *batch = plsm_batch_create();
    start();
    for (uint64_t id = 1; id <= 8; id++) {
        char key[2] = {(char)('a' + id - 1), 0};
        make(key, id, id, 2);
    }
    ok(plsm_batch_put(batch, PLSM_NAMES, slice_of("a"), slice(NULL, 0), slice_of("new")));
    ok(plsm_batch_delete(batch, PLSM_NAMES, slice_of("b")));
    ok(plsm_batch_delete_range(batch, PLSM_NAMES, slice_of("d"), slice_of("f")));
    ok(plsm_batch_put(batch, PLSM_NAMES, slice_of("absent"), slice(NULL, 0), slice_of("new")));
    ok(xattr_drop_replaced(&fs, batch));
    ok(plsm_write(fs.db, batch, PLSM_NONE));
    for (uint64_t id = 1; id <= 8; id++)
        ck_assert_uint_eq(records_of(id), id == 1 || id == 2 || id == 4 || id == 5 ? 0 : 2);
    plsm_batch_clear(batch);
    ok(plsm_batch_delete_range(batch, PLSM_NAMES, slice_of("g"), slice(NULL, 0)));
    ok(xattr_drop_replaced(&fs, batch));
    ok(plsm_write(fs.db, batch, PLSM_NONE));
    for (uint64_t id = 1; id <= 8; id++)
        ck_assert_uint_eq(records_of(id), id == 3 || id == 6 ? 2 : 0);
    plsm_batch_clear(batch);
    ok(xattr_drop_of(&fs, slice_of("c"), batch));
    ck_assert_uint_eq(plsm_batch_count(batch), 2);
    plsm_batch_destroy(batch);
    stop();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("xattr_sweep");
    TCase *tests = tcase_create("tests");
    tcase_add_test(tests, test_sweep);
    tcase_add_test(tests, test_sweep_others);
    tcase_add_test(tests, test_sweep_unknown);
    tcase_add_test(tests, test_drop_replaced);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_set_fork_status(runner, CK_NOFORK);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
