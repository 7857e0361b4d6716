/* The append log on mapped files of which pages are lost: what reads and writes say then, and what goes on. Files are
 * cut short while they are mapped, on a real file system. And what a read costs where nothing is mapped. */
#include <check.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/env_fault.h"
#include "base/env_memory.h"
#include "base/error.h"
#include "log/append_db.h"
#include "tests/harness/temporary.h"

#include "base/banned.h"

enum { KEYS = 2000, VALUE = 100, SEGMENT = 64 << 10, CUT = 4096, FAR = 300 }; /* FAR: a key behind CUT in segment 1 */

#define must(call) ck_assert_msg((call) == PLSM_OK, "%s: %s", #call, plsm_message())

static char directory[64];
static struct env_ops hooked;
static struct env env = {&hooked};
static struct append *db;

static void open_log(struct env *base, const char *path, bool mapped)
{
    struct append_options o;
    append_options_default(&o);
    o.env = base;
    o.create = true;
    o.mapped = mapped;
    o.segment_size = SEGMENT;
    o.background = false;
    o.merge_garbage_ppm = 1000000; /* merges are asked for */
    must(append_open(path, &o, &db));
}

static plsm_slice key_of(unsigned number, char out[16])
{
    snprintf(out, 16, "\1k%06u", number);
    return slice(out, 8);
}

static void value_of(unsigned number, char out[VALUE])
{
    memset(out, 'a' + number % 26, VALUE);
}

static plsm_status put(unsigned number, plsm_slice value, uint64_t expires_s, bool sync)
{
    char key[16];
    struct batch batch = {0};
    plsm_slice whole = key_of(number, key);
    must(batch_add_timed(&batch, BATCH_PUT, 1, slice(key + 1, whole.size - 1), slice_of("meta"), value, expires_s));
    plsm_status status = append_write(db, &batch, NULL, NULL, sync);
    batch_free(&batch);
    return status;
}

static plsm_status put_some(unsigned from, unsigned to)
{
    char value[VALUE];
    plsm_status status = PLSM_OK;
    for (unsigned i = from; i < to && status == PLSM_OK; i++) {
        value_of(i, value);
        status = put(i, slice(value, VALUE), 0, false);
    }
    return status;
}

/* What reading a key says; what is found is right. */
static plsm_status get(unsigned number, unsigned flags)
{
    char key[16], value[VALUE];
    struct append_value found = {0};
    plsm_status status = append_get(db, NULL, key_of(number, key), flags, &found);
    value_of(number, value);
    if (status == PLSM_OK) {
        ck_assert_uint_eq(found.value_size, VALUE);
        ck_assert(slice_equal(found.meta, slice_of("meta")));
        ck_assert(flags & APPEND_NO_VALUE || slice_equal(found.value, slice(value, VALUE)));
    }
    mem_free(found.memory);
    return status;
}

static void cut(const char *kind, unsigned number, long size)
{
    char path[96];
    snprintf(path, sizeof path, "%s/%s-%06u", directory, kind, number);
    ck_assert_int_eq(truncate(path, size), 0);
}

static void says(const char *text)
{
    ck_assert_msg(strstr(plsm_message(), text), "no %s: %s", text, plsm_message());
}

static void setup(void)
{
    snprintf(directory, sizeof directory, "/tmp/plsm-append-lost-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(directory));
    signal(SIGBUS, SIG_DFL); /* sanitizers handle it */
    env_posix_catch_lost_pages();
    hooked = *env_posix()->ops;
    open_log(&env, directory, true);
    must(put_some(0, KEYS));
}

static void remove_one(void *arg, const char *name)
{
    char path[400];
    snprintf(path, sizeof path, "%s/%s", directory, name);
    unlink(path);
}

static void teardown(void)
{
    append_close(db);
    env_list(env_posix(), directory, remove_one, NULL);
    ck_assert_int_eq(rmdir(directory), 0);
}

/* --- reading ------------------------------------------------------------------------------------------------------ */

START_TEST(gets_name_the_file)
{
    ck_assert(db->segments[0]->map);
    cut("segment", 1, CUT);
    for (unsigned flags = 0; flags <= APPEND_NO_VALUE; flags++) {
        ck_assert_int_eq(get(FAR, flags), PLSM_CORRUPT);
        says("segment-000001");
        must(get(1, flags)); /* in what is left of that segment */
        must(get(KEYS - 1, flags));
    }
    must(put_some(KEYS, KEYS + 10));
    must(append_sync(db));
    must(get(KEYS + 5, 0));
    must(put_some(FAR, FAR + 1)); /* what is written again is there again */
    must(get(FAR, 0));
}
END_TEST

START_TEST(gets_of_many_name_the_file)
{
    char keys[3][16];
    plsm_status statuses[3];
    struct append_value found[3] = {0};
    plsm_slice wanted[3] = {key_of(1, keys[0]), key_of(FAR, keys[1]), key_of(KEYS - 1, keys[2])};
    cut("segment", 1, CUT);
    ck_assert_int_eq(append_multi_get(db, NULL, wanted, 3, 0, found, statuses), PLSM_CORRUPT);
    says("segment-000001");
    must(statuses[0]);
    ck_assert_int_eq(statuses[1], PLSM_CORRUPT);
    must(statuses[2]);
    for (unsigned i = 0; i < 3; i++)
        mem_free(found[i].memory);
}
END_TEST

START_TEST(scans_end_with_the_error)
{
    struct append_iterator *it = NULL;
    unsigned count = 0, there = 0;
    while (append_place_offset(directory_place(db, key_tree_find(db->tree, key_of(there, (char[16]){0})), UINT64_MAX)) <
           CUT - 200)
        there++;
    cut("segment", 1, CUT);
    must(append_iterator_create(db, NULL, slice(NULL, 0), slice(NULL, 0), 0, &it));
    for (const struct append_shown *shown = append_iterator_first(it); shown; shown = append_iterator_next(it), count++)
        ck_assert_int_eq(*(const char *)shown->value.data, 'a' + (int)count % 26);
    ck_assert_int_eq(append_iterator_status(it), PLSM_CORRUPT);
    says("segment-000001");
    ck_assert_uint_ge(count, there);
    append_iterator_destroy(it);
}
END_TEST

START_TEST(pins_name_the_file_or_know_of_it)
{
    char key[16];
    struct append_pin early, late;
    must(append_get_pinned(db, NULL, key_of(FAR, key), &early));
    ck_assert(!append_pin_lost(&early));
    cut("segment", 1, CUT);
    ck_assert_int_eq(((const volatile char *)early.value.data)[0], 0);
    ck_assert(append_pin_lost(&early));
    ck_assert_int_eq(append_get_pinned(db, NULL, key_of(FAR, key), &late), PLSM_CORRUPT);
    says("segment-000001");
    must(append_get_pinned(db, NULL, key_of(1, key), &late));
    ck_assert(!append_pin_lost(&late)); /* a copy */
    append_unpin(db, &early);
    append_unpin(db, &late);
    ck_assert(!append_pin_lost(&late));
}
END_TEST

START_TEST(prefixes_name_the_file)
{
    bool found = false;
    char key[16];
    must(put(KEYS, slice_of("x"), UINT32_MAX, false)); /* its time has to be looked for */
    must(append_has_prefix(db, NULL, key_of(KEYS, key), &found));
    ck_assert(found);
    cut("segment", (unsigned)db->active->number, CUT);
    ck_assert_int_eq(append_has_prefix(db, NULL, key_of(KEYS, key), &found), PLSM_CORRUPT);
    says("segment-");
}
END_TEST

/* Merges read by calls: they fail, and the store goes on. */
START_TEST(merges_leave_what_they_cannot_read)
{
    must(put_some(0, 50));
    must(append_flush(db));
    cut("segment", 1, CUT);
    ck_assert_int_eq(append_compact(db), PLSM_CORRUPT);
    says("segment-000001");
    must(put_some(KEYS, 2 * KEYS));
    must(get(KEYS, 0));
    must(get(KEYS - 1, 0));
    ck_assert_int_eq(get(FAR, 0), PLSM_CORRUPT);
    ck_assert_int_eq(append_check(db, NULL, NULL, NULL), PLSM_CORRUPT);
}
END_TEST

/* --- opening ------------------------------------------------------------------------------------------------------ */

static unsigned cut_after, cut_hint; /* mapping the hint with the first number the other one is cut */

static plsm_status cutting_map(struct env_file *file, uint64_t size, atomic_bool *lost, const void **out)
{
    plsm_status status = env_posix()->ops->map(file, size, lost, out);
    const char *rest = "";
    uint64_t number = env_file_number(strrchr(env_path(file), '/') + 1, "hint-", &rest);
    if (number == cut_after && cut_after)
        cut("hint", cut_hint, 0);
    return status;
}

static plsm_status open_closed(void)
{
    struct append_options o;
    hooked.map = cutting_map;
    append_options_default(&o);
    o.env = &env;
    o.segment_size = SEGMENT;
    o.background = false;
    db = NULL;
    return append_open(directory, &o, &db);
}

static plsm_status open_again(void)
{
    must(append_close(db));
    return open_closed();
}

START_TEST(a_hint_that_is_lost_is_made_again)
{
    cut_after = cut_hint = 2;
    must(open_again());
    ck_assert_uint_eq(db->hints_damaged, 1);
    for (unsigned i = 0; i < KEYS; i++)
        must(get(i, 0));
}
END_TEST

/* Its checksum was right, and then its keys are read again. */
START_TEST(a_hint_that_is_lost_late_opens_nothing)
{
    cut_after = 2;
    cut_hint = 1;
    ck_assert_int_eq(open_again(), PLSM_IO);
    says("hint-000001");
    cut_after = 0;
    open_log(&env, directory, true); /* the next time it is found damaged */
    ck_assert_uint_eq(db->hints_damaged, 1);
    for (unsigned i = 0; i < KEYS; i++)
        must(get(i, 0));
}
END_TEST

/* Merges all; the number of a segment that this made. */
static unsigned merge_all(void)
{
    uint64_t newest = 0;
    must(put_some(0, KEYS));
    must(append_flush(db));
    must(append_compact(db));
    for (size_t i = 0; i < db->segment_count; i++)
        if (db->segments[i]->state == SEGMENT_SEALED && db->segments[i]->number > newest)
            newest = db->segments[i]->number;
    return (unsigned)newest;
}

/* Gives the files of a segment a second name, or their first one back. */
static void keep(unsigned number, bool back)
{
    static const char *const kinds[] = {"segment", "hint"};
    for (unsigned i = 0; i < 2; i++) {
        char path[96], kept[96];
        snprintf(path, sizeof path, "%s/%s-%06u", directory, kinds[i], number);
        snprintf(kept, sizeof kept, "%s.%s", directory, kinds[i]);
        ck_assert_int_eq(back ? rename(kept, path) : link(path, kept), 0);
    }
}

/* Of a segment that is replaced, and had replaced others: which ones is read again behind the checksum. */
START_TEST(a_hint_that_is_lost_late_of_what_was_replaced)
{
    unsigned first = merge_all();
    keep(first, false);
    cut_after = merge_all();
    cut_hint = first;
    ck_assert_uint_gt(cut_after, first);
    must(append_close(db));
    keep(first, true);
    ck_assert_int_eq(open_closed(), PLSM_IO);
    char name[32];
    snprintf(name, sizeof name, "hint-%06u", first);
    says(name);
    cut_after = 0;
    open_log(&env, directory, true);
    for (unsigned i = 0; i < KEYS; i++)
        must(get(i, 0));
}
END_TEST

/* --- writing ------------------------------------------------------------------------------------------------------ */

START_TEST(a_write_to_a_lost_page_turns_it_read_only)
{
    unsigned next = KEYS;
    plsm_status status = PLSM_OK;
    if (!temporary_maps_logs(directory))
        return;
    cut("segment", (unsigned)db->active->number, 0);
    while (status == PLSM_OK && next < KEYS + 100)
        status = put(next++, slice_of("x"), 0, _i);
    ck_assert_int_eq(status, PLSM_IO);
    says("segment-");
    ck_assert_int_eq(get(next - 1, 0), PLSM_NOT_FOUND);
    ck_assert_int_eq(put(next, slice_of("x"), 0, false), PLSM_READ_ONLY);
    ck_assert_int_eq(append_sync(db), PLSM_READ_ONLY);
    ck_assert(append_is_read_only(db));
    must(get(1, 0));
    must(get(FAR, 0));
}
END_TEST

/* --- what a read costs -------------------------------------------------------------------------------------------- */

START_TEST(a_get_is_one_read_of_the_disk)
{
    struct env *memory = env_memory_create(1), *counting = env_fault_create(memory);
    struct append *mapped = db;
    char key[16], *large = calloc(1, APPEND_VALUE_MAX);
    struct append_value found = {0};
    open_log(counting, "/s", false);
    must(put_some(0, KEYS));
    must(put(KEYS, slice(large, APPEND_VALUE_MAX), 0, false));
    must(put(KEYS + 1, slice_of(""), UINT32_MAX, false));
    must(append_flush(db));
    for (unsigned i = 0; i < KEYS + 4; i++) {
        env_fault_disarm(counting);
        plsm_status status = append_get(db, NULL, key_of(i, key), i % 2 ? APPEND_NO_VALUE : 0, &found);
        ck_assert_int_eq(status, i < KEYS + 2 ? PLSM_OK : PLSM_NOT_FOUND);
        ck_assert_uint_eq(env_fault_calls(counting, ENV_CALL_READ), i < KEYS + 2);
        ck_assert_uint_eq(env_fault_calls(counting, ENV_CALL_ANY), i < KEYS + 2); /* and nothing else */
    }
    mem_free(found.memory);
    must(append_close(db));
    env_fault_destroy(counting);
    env_memory_destroy(memory);
    free(large);
    db = mapped;
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("append_lost");
    TCase *tests = tcase_create("append_lost");
    tcase_set_timeout(tests, 120);
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, gets_name_the_file);
    tcase_add_test(tests, gets_of_many_name_the_file);
    tcase_add_test(tests, scans_end_with_the_error);
    tcase_add_test(tests, pins_name_the_file_or_know_of_it);
    tcase_add_test(tests, prefixes_name_the_file);
    tcase_add_test(tests, merges_leave_what_they_cannot_read);
    tcase_add_test(tests, a_hint_that_is_lost_is_made_again);
    tcase_add_test(tests, a_hint_that_is_lost_late_opens_nothing);
    tcase_add_test(tests, a_hint_that_is_lost_late_of_what_was_replaced);
    tcase_add_loop_test(tests, a_write_to_a_lost_page_turns_it_read_only, 0, 2);
    tcase_add_test(tests, a_get_is_one_read_of_the_disk);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? 1 : 0;
}
