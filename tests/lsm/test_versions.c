/* Files of other format versions: older ones are read, newer ones refused by name, before anything in them is taken for
 * damage. */
#include <check.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/checksum.h"
#include "base/env_memory.h"
#include "lsm/db.h"
#include "lsm/run_format.h"
#include "base/banned.h"

enum { KEYS = 2000 };

static struct env *env;
static struct lsm *db;
static char path[300];

static plsm_status open_store(void)
{
    struct lsm_options o;
    lsm_options_default(&o);
    o.env = env;
    o.create = true;
    o.background = 0;
    return lsm_open("/s", &o, &db);
}

static plsm_slice key_of(unsigned number)
{
    static char key[16];
    snprintf(key, sizeof key, "k%07u", number);
    return slice_of(key);
}

/* A store with one run, that of a flush; closed. */
static void make_store(void)
{
    struct batch batch = {0};
    env = env_memory_create(1);
    ck_assert_int_eq(open_store(), PLSM_OK);
    for (unsigned i = 0; i < KEYS; i++)
        ck_assert_int_eq(batch_add(&batch, BATCH_PUT, 1, key_of(i), (plsm_slice){0}, slice_of("value")), PLSM_OK);
    ck_assert_int_eq(lsm_write(db, &batch, NULL, NULL, false), PLSM_OK);
    batch_free(&batch);
    ck_assert_int_eq(lsm_flush(db), PLSM_OK);
    ck_assert_int_eq(lsm_close(db), PLSM_OK);
}

static void note_path(void *arg, const char *name)
{
    const char *wanted = arg;
    if (strncmp(name, wanted, strlen(wanted)) == 0 && !strchr(name, '.'))
        snprintf(path, sizeof path, "/s/%s", name);
}

/* The content of the file whose name begins so. */
static uint8_t *content_of(const char *beginning, size_t *size)
{
    uint8_t *data = NULL;
    path[0] = 0;
    ck_assert_int_eq(env_list(env, "/s", note_path, (void *)(uintptr_t)beginning), PLSM_OK);
    ck_assert_int_ne(path[0], 0);
    ck_assert_int_eq(env_memory_content(env, path, &data, size), PLSM_OK);
    return data;
}

static void set_run_version(uint32_t version)
{
    size_t size = 0;
    uint8_t *data = content_of("run-", &size), *end = data + size - sizeof(struct run_footer);
    uint64_t salt = get_u64(data + offsetof(struct run_file_header, salt));
    put_u32(data + offsetof(struct run_file_header, version), version);
    put_u64(data + offsetof(struct run_file_header, checksum),
            checksum(data, offsetof(struct run_file_header, checksum), 0));
    put_u32(end + offsetof(struct run_footer, version), version);
    put_u64(end + offsetof(struct run_footer, checksum), checksum(end, offsetof(struct run_footer, checksum), salt));
}

static plsm_status look_up(void)
{
    struct lsm_value value = {0};
    uint8_t bytes[16] = {1};
    plsm_slice key = key_of(7);
    memcpy(bytes + 1, key.data, key.size);
    plsm_status status = lsm_get(db, NULL, slice(bytes, key.size + 1), false, &value);
    if (status == PLSM_OK)
        lsm_value_free(&value);
    return status;
}

START_TEST(runs)
{
    make_store();
    size_t size = 0;
    const uint8_t *data = content_of("run-", &size);
    ck_assert_uint_eq(get_u32(data + offsetof(struct run_file_header, version)), RUN_VERSION);
    /* What programs that know up to 2 would take for damage. */
    struct run_footer footer;
    memcpy(&footer, data + size - sizeof footer, sizeof footer);
    ck_assert_uint_gt(footer.blocks[RUN_FILTER].size, 0);
    ck_assert_uint_eq(data[footer.blocks[RUN_FILTER].offset], 17);
    ck_assert_uint_ge(footer.version, 3);

    static const struct {
        uint32_t version;
        plsm_status status;
    } cases[] = {{RUN_VERSION, PLSM_OK}, {2, PLSM_OK}, {RUN_VERSION + 1, PLSM_VERSION}, {0, PLSM_VERSION}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        set_run_version(cases[i].version);
        ck_assert_int_eq(open_store(), PLSM_OK);
        ck_assert_int_eq(look_up(), cases[i].status);
        if (cases[i].status != PLSM_OK) {
            char named[64];
            snprintf(named, sizeof named, "run format version %u, this program knows version 1 to 3", cases[i].version);
            ck_assert_msg(strstr(plsm_message(), named) && strstr(plsm_message(), "/s/run-"), "%s", plsm_message());
        }
        ck_assert_int_eq(lsm_close(db), PLSM_OK);
    }
    env_memory_destroy(env);
}
END_TEST

/* The MANIFEST and the log: both headers (base/reclog.c). */
static void set_log_version(const char *beginning, uint32_t version)
{
    size_t size = 0;
    uint8_t *data = content_of(beginning, &size);
    for (unsigned at = 0; at <= 512; at += 512) {
        put_u32(data + at + 8, version);
        put_u64(data + at + 24, checksum(data + at, 24, at));
    }
}

START_TEST(logs)
{
    static const char *const beginnings[] = {"manifest-", "log-"};
    for (unsigned i = 0; i < 2; i++) {
        make_store();
        size_t size = 0;
        ck_assert_uint_eq(get_u32(content_of(beginnings[i], &size) + 8), RECLOG_VERSION);
        for (uint32_t version = 1; version <= RECLOG_VERSION; version++) {
            set_log_version(beginnings[i], version);
            ck_assert_int_eq(open_store(), PLSM_OK);
            ck_assert_int_eq(look_up(), PLSM_OK);
            ck_assert_int_eq(lsm_close(db), PLSM_OK);
        }
        set_log_version(beginnings[i], 5);
        ck_assert_int_eq(open_store(), PLSM_VERSION);
        ck_assert_msg(strstr(plsm_message(), "format version 5, this program knows version 1 to 4"), "%s",
                      plsm_message());
        env_memory_destroy(env);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("versions");
    TCase *tcase = tcase_create("versions");
    tcase_add_test(tcase, runs);
    tcase_add_test(tcase, logs);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
