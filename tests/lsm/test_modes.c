/* Every mode opens, reads, checks and compacts what every other one wrote, also several layouts in one level.
 *
 * A store holds small and large values, metas, deletions, references, versions, directories. It is written in one mode,
 * opened, read and written on in a second, compacted and read in a third. The model-based tests change modes at random;
 * here each triple is certain, and what a run looks like on disk is looked at. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/checksum.h"
#include "base/env_memory.h"
#include "base/random.h"
#include "learn/blocked.h"
#include "lsm/cursor.h"
#include "lsm/db.h"
#include "lsm/page_classic.h"
#include "tests/harness/statistic.h"
#include "base/banned.h"

enum { MODES = 3, KEYS = 3000, DIRECTORY_KEYS = 30, FILTER_FUSE = 1 };

static const char *const mode_names[MODES] = {"traditional", "learned", "classic"};

static struct env *env;
static uint8_t filler[40000];

/* Of stores that are opened from now on. */
static enum lsm_filter filter_kind;

/* What each key should hold: how often it was written; 0: it is not there. */
static uint32_t generations[KEYS];

static struct lsm *open_tree(enum lsm_index index)
{
    struct lsm_options o;
    struct lsm *db = NULL;
    lsm_options_default(&o);
    o.env = env;
    o.create = true;
    o.index = index;
    o.filter = filter_kind;
    o.buffer_size = 64 << 20;
    o.cache_size = 256 << 10; /* fewer pages than there are */
    o.file_size = 100 << 10;
    o.background = 0;
    ck_assert_msg(lsm_open("/s", &o, &db) == PLSM_OK, "%s", plsm_message());
    return db;
}

/* Paths, so that there are directories and long shared prefixes. */
static plsm_slice key_of(unsigned i, char *text)
{
    snprintf(text, 100, "\1usr/share/part-%03u/file-%u", i / DIRECTORY_KEYS, 1000 + i);
    return slice_of(text);
}

static struct entry content_of(unsigned i, uint32_t generation)
{
    size_t sizes[] = {0, 10, 100, 130, 700, i % 100 ? 60 : 30000};
    uint32_t at = i * 7 + generation;
    return (struct entry){.kind = at % 11 ? BATCH_PUT : BATCH_REFERENCE,
                          .meta = slice(filler + at % 1000, at % 5 ? 0 : at % 200),
                          .value = slice(filler + at % 5000, at % 11 ? sizes[at % 6] : 24)};
}

static void write_key(struct lsm *db, unsigned i, bool remove)
{
    struct batch batch = {0};
    char text[100];
    plsm_slice key = key_of(i, text);
    generations[i] = remove ? 0 : generations[i] + 1;
    struct entry content = content_of(i, generations[i]);
    enum batch_kind kind = remove ? BATCH_DELETE : content.kind;
    ck_assert_int_eq(
        batch_add(&batch, kind, LSM_DIRECTORY_BYTE, slice(text + 1, key.size - 1), content.meta, content.value),
        PLSM_OK);
    if (lsm_write(db, &batch, NULL, NULL, false) != PLSM_OK)
        ck_abort_msg("%s", plsm_message());
    batch_free(&batch);
}

/* Writes some keys, deletes some, and flushes twice, under snapshots, so that versions lie within runs and in several.
 */
static void write_some(struct lsm *db, unsigned step)
{
    struct lsm_snapshot *snapshots[4];
    for (unsigned i = 0; i < 4; i++) {
        for (unsigned k = i + step % 3; k < KEYS; k += 1 + i * i)
            write_key(db, k, (k + step) % 9 == 4);
        snapshots[i] = lsm_snapshot_create(db);
        if (i % 2)
            ck_assert_msg(lsm_flush(db) == PLSM_OK, "%s", plsm_message());
    }
    for (unsigned i = 0; i < 4; i++)
        lsm_snapshot_destroy(db, snapshots[i]);
}

/* --- reading everything ------------------------------------------------------------------------------------------- */

static void check_gets(struct lsm *db)
{
    struct lsm_value value = {0};
    char text[100];
    for (unsigned i = 0; i < KEYS; i++) {
        plsm_slice key = key_of(i, text);
        struct entry expected = content_of(i, generations[i]);
        for (int no_value = 0; no_value < 2; no_value++) {
            plsm_status status = lsm_get(db, NULL, key, no_value, &value);
            if (status != (generations[i] ? PLSM_OK : PLSM_NOT_FOUND))
                ck_abort_msg("%s: %s", text, plsm_status_name(status));
            if (status != PLSM_OK)
                continue;
            bool whole = !no_value || value.kind == BATCH_REFERENCE;
            if (value.kind != expected.kind || value.value_size != expected.value.size ||
                !slice_equal(value.meta, expected.meta) || (whole && !slice_equal(value.value, expected.value)))
                ck_abort_msg("%s: another content", text);
        }
        text[key.size] = '+'; /* one behind it, and one inside the directory that is before all */
        if (lsm_get(db, NULL, slice(text, key.size + 1), false, &value) != PLSM_NOT_FOUND ||
            lsm_get(db, NULL, slice(text, key.size - 9), false, &value) != PLSM_NOT_FOUND)
            ck_abort_msg("an absent key beside %u was found", i);
    }
    lsm_value_free(&value);
}

/* The same for many at a time, present and absent ones mixed. */
static void check_multi_gets(struct lsm *db)
{
    enum { MANY = 50 };
    static char texts[MANY][100];
    struct lsm_value values[MANY] = {0};
    plsm_slice keys[MANY];
    plsm_status statuses[MANY];
    for (unsigned first = 0; first + MANY <= KEYS; first += MANY) {
        for (unsigned i = 0; i < MANY; i++)
            keys[i] = key_of(first + i * 7 % MANY, texts[i]);
        ck_assert_int_eq(lsm_multi_get(db, NULL, keys, MANY, first % 3 == 0, values, statuses), PLSM_OK);
        for (unsigned i = 0; i < MANY; i++) {
            unsigned number = first + i * 7 % MANY;
            struct entry expected = content_of(number, generations[number]);
            if (statuses[i] != (generations[number] ? PLSM_OK : PLSM_NOT_FOUND) ||
                (statuses[i] == PLSM_OK &&
                 (values[i].value_size != expected.value.size || !slice_equal(values[i].meta, expected.meta))))
                ck_abort_msg("%s: %s, or another content", texts[i], plsm_status_name(statuses[i]));
        }
    }
    for (unsigned i = 0; i < MANY; i++)
        lsm_value_free(&values[i]);
}

static unsigned next_there(unsigned i)
{
    while (i < KEYS && generations[i] == 0)
        i++;
    return i;
}

static int before_there(int i)
{
    while (i >= 0 && generations[i] == 0)
        i--;
    return i;
}

/* The iterator stands on key number `i` and its content; `i` of KEYS or -1: nowhere. */
static void check_place(struct lsm_iterator *it, int i)
{
    char text[100];
    bool there = i >= 0 && i < KEYS;
    if (lsm_iterator_status(it) != PLSM_OK || lsm_iterator_valid(it) != there)
        ck_abort_msg("at %d: %s", i, lsm_iterator_status(it) ? plsm_message() : there ? "nowhere" : "somewhere");
    if (!there)
        return;
    const struct entry *entry = lsm_iterator_entry(it);
    struct entry expected = content_of((unsigned)i, generations[i]);
    if (!slice_equal(entry->key, key_of((unsigned)i, text)) || entry->kind != expected.kind ||
        !slice_equal(entry->value, expected.value) || !slice_equal(entry->meta, expected.meta))
        ck_abort_msg("at %d: another entry", i);
}

static void check_iterator(struct lsm *db)
{
    struct lsm_iterator *it = NULL;
    char text[100];
    ck_assert_int_eq(lsm_iterator_create(db, NULL, (plsm_slice){0}, (plsm_slice){0}, &it), PLSM_OK);
    lsm_iterator_first(it);
    for (unsigned i = next_there(0); i < KEYS; i = next_there(i + 1)) {
        check_place(it, (int)i);
        lsm_iterator_next(it);
    }
    check_place(it, KEYS);
    lsm_iterator_last(it);
    for (int i = before_there(KEYS - 1); i >= 0; i = before_there(i - 1)) {
        check_place(it, i);
        lsm_iterator_previous(it);
    }
    check_place(it, -1);
    for (unsigned i = 0; i < KEYS; i += 5) {
        plsm_slice key = key_of(i, text);
        int here = (int)next_there(i);
        lsm_iterator_seek(it, key);
        check_place(it, here);
        if (here < KEYS) {
            lsm_iterator_next(it);
            check_place(it, (int)next_there((unsigned)here + 1));
            lsm_iterator_seek(it, key);
            lsm_iterator_previous(it);
            check_place(it, before_there(here - 1));
        }
        lsm_iterator_seek_before(it, key);
        check_place(it, before_there((int)i - 1));
        text[key.size] = '\0'; /* between this key and the next */
        lsm_iterator_seek(it, slice(text, key.size + 1));
        check_place(it, (int)next_there(i + 1));
    }
    lsm_iterator_destroy(it);
}

static void check_directories(struct lsm *db)
{
    char text[100];
    for (unsigned i = 0; i < KEYS / DIRECTORY_KEYS + 5; i++) {
        bool found = false, expected = next_there(i * DIRECTORY_KEYS) < (i + 1) * DIRECTORY_KEYS;
        expected = expected && i < KEYS / DIRECTORY_KEYS;
        snprintf(text, sizeof text, "\1usr/share/part-%03u/", i);
        ck_assert_int_eq(lsm_has_prefix(db, NULL, slice_of(text), &found), PLSM_OK);
        ck_assert_msg(found == expected, "%s", text + 1);
    }
}

static void print_problem(void *arg, const char *line)
{
    (void)arg;
    fprintf(stderr, "check: %s\n", line);
}

static void check_everything(struct lsm *db)
{
    check_gets(db);
    check_multi_gets(db);
    check_iterator(db);
    check_directories(db);
    ck_assert_msg(lsm_check(db, print_problem, NULL, NULL) == PLSM_OK, "%s", plsm_message());
}

/* --- runs --------------------------------------------------------------------------------------------------------- */

/* Calls `each` for every run; returns how many there are. */
static unsigned each_run(struct lsm *db, void (*each)(struct run *run, void *arg), void *arg)
{
    unsigned count = 0;
    for (unsigned level = 0; level < LSM_LEVELS; level++)
        for (size_t i = 0; i < db->version->levels[level].count; i++, count++)
            each(db->version->levels[level].runs[i], arg);
    return count;
}

/* A run looks as the mode says that wrote it: pages, fences, filter, model. */
static void check_layout(struct run *run, void *arg)
{
    enum lsm_index index = *(enum lsm_index *)arg;
    char path[100];
    uint8_t *data = NULL;
    size_t size = 0;
    unsigned classic_pages = 0, packed_pages = 0;
    snprintf(path, sizeof path, "/s/run-%08llu", (unsigned long long)run->facts.number);
    ck_assert_int_eq(env_memory_content(env, path, &data, &size), PLSM_OK);
    const struct run_footer *footer = (const struct run_footer *)(const void *)(data + size - sizeof *footer);
    for (size_t at = PAGE_SIZE; at < footer->blocks[RUN_FENCES].offset; at += page_bytes(data + at)) {
        classic_pages += page_is_classic(data + at);
        packed_pages += !page_is_classic(data + at) && page_bytes(data + at) == PAGE_SIZE;
    }
    ck_assert_uint_gt(index == LSM_CLASSIC ? classic_pages : packed_pages, 0);
    ck_assert_uint_eq(index == LSM_CLASSIC ? packed_pages : classic_pages, 0);
    ck_assert_uint_eq(get_u16(data + footer->blocks[RUN_FENCES].offset), index == LSM_CLASSIC ? 2 : 1);
    bool blocked = atomic_load(&run->level) == 0 || (index == LSM_LEARNED && filter_kind == LSM_FILTER_BLOCKED);
    unsigned format = blocked ? BLOCKED_FORMAT : FILTER_FUSE;
    ck_assert_uint_eq(data[footer->blocks[RUN_FILTER].offset], index == LSM_CLASSIC ? BLOOM_FORMAT : format);
    ck_assert_uint_eq(footer->blocks[RUN_MODEL].size > 0, index == LSM_LEARNED);
}

static void start(void)
{
    struct random random;
    random_seed(&random, 11);
    for (size_t i = 0; i < sizeof filler; i++)
        filler[i] = (uint8_t)random_next(&random);
    memset(generations, 0, sizeof generations);
    filter_kind = LSM_FILTER_AUTO;
    env = env_memory_create(1);
}

/* --- tests -------------------------------------------------------------------------------------------------------- */

START_TEST(every_mode_reads_every_other)
{
    enum lsm_index first = (enum lsm_index)(_i / MODES / MODES), second = (enum lsm_index)(_i / MODES % MODES),
                   third = (enum lsm_index)(_i % MODES);
    start();
    struct lsm *db = open_tree(first);
    write_some(db, 0);
    each_run(db, check_layout, &first);
    ck_assert_int_eq(lsm_close(db), PLSM_OK);

    db = open_tree(second);
    check_everything(db);
    write_some(db, 1); /* now runs of both lie over each other */
    check_everything(db);
    ck_assert_int_eq(lsm_close(db), PLSM_OK);

    db = open_tree(third);
    check_everything(db);
    ck_assert_msg(lsm_compact(db, slice_of("\1usr/share/part-030/"), slice_of("\1usr/share/part-050/")) == PLSM_OK,
                  "%s", plsm_message());
    check_everything(db);
    write_key(db, 0, false);
    write_key(db, KEYS - 1, false); /* everything has to be merged */
    ck_assert_msg(lsm_compact(db, (plsm_slice){0}, (plsm_slice){0}) == PLSM_OK, "%s", plsm_message());
    check_everything(db);
    ck_assert_int_eq(lsm_close(db), PLSM_OK);
    env_memory_destroy(env);
}
END_TEST

/* After a full compaction all runs are of the mode that did it, whatever they were made from. */
START_TEST(compaction_writes_its_own_layout)
{
    enum lsm_index from = (enum lsm_index)(_i / MODES), to = (enum lsm_index)(_i % MODES);
    start();
    struct lsm *db = open_tree(from);
    write_some(db, 0);
    ck_assert_int_eq(lsm_close(db), PLSM_OK);
    db = open_tree(to);
    write_some(db, 1);
    ck_assert_msg(lsm_compact(db, (plsm_slice){0}, (plsm_slice){0}) == PLSM_OK, "%s", plsm_message());
    ck_assert_msg(each_run(db, check_layout, &to) > 1, "%s to %s", mode_names[from], mode_names[to]);
    check_everything(db);
    ck_assert_int_eq(lsm_close(db), PLSM_OK);
    env_memory_destroy(env);
}
END_TEST

/* In learned mode a classic run is served by its fences, each time a fallback; in the others nothing is missed. */
START_TEST(classic_runs_are_fallbacks_of_learned_mode)
{
    start();
    struct lsm *db = open_tree(LSM_CLASSIC);
    write_some(db, 0);
    check_gets(db);
    ck_assert_double_eq(statistic(db, "learn.fallbacks"), 0);
    ck_assert_double_eq(statistic(db, "learn.files"), 0);
    ck_assert_int_eq(lsm_close(db), PLSM_OK);
    for (int mode = 0; mode < MODES; mode++) {
        db = open_tree((enum lsm_index)mode);
        check_gets(db);
        ck_assert_double_eq(statistic(db, "learn.files"), 0);
        ck_assert_double_eq(statistic(db, "learn.fallback_rate"), mode == LSM_LEARNED ? 1 : 0);
        ck_assert_double_eq(statistic(db, "filter.false_negatives"), 0);
        ck_assert_int_eq(lsm_close(db), PLSM_OK);
    }
    env_memory_destroy(env);
}
END_TEST

/* Trains a model over a run, as retraining would, and gives it to the run. */
static void give_model(struct run *run, void *arg)
{
    struct cursor_options options = {.seq = SEQ_MAX, .all_versions = true, .bulk = true};
    struct cursor cursor = {0};
    struct run_body *body = NULL;
    struct buf block = {0}, last = {0};
    struct model_builder *builder = model_builder_create();
    struct model_wish wish = run_model_wish(run->context, run->group, 0);
    uint32_t unit = 0;
    bool built = false;
    wish.type = *(enum model_type *)arg;
    ck_assert_int_eq(run_open(run, &body), PLSM_OK);
    ck_assert_int_eq(cursor_open_runs(&cursor, &run, 1, &options), PLSM_OK);
    for (cursor_first(&cursor); cursor.valid; cursor_next(&cursor)) {
        plsm_slice key = cursor.entry.key;
        if (cursor.unit != unit)
            ck_assert_int_eq(model_builder_page(builder, buf_slice(&last)), PLSM_OK);
        unit = cursor.unit;
        if (!slice_equal(buf_slice(&last), key) &&
            model_builder_key(builder, key, slice_common(buf_slice(&last), key)) != PLSM_OK)
            ck_abort_msg("%s", plsm_message());
        last.size = 0;
        if (buf_append(&last, key.data, key.size) != PLSM_OK)
            ck_abort_msg("%s", plsm_message());
    }
    ck_assert_int_eq(cursor.status, PLSM_OK);
    ck_assert_int_eq(model_builder_page(builder, buf_slice(&last)), PLSM_OK);
    ck_assert_int_eq(model_builder_finish(builder, &wish, run->facts.entries, 1, &block, &built), PLSM_OK);
    ck_assert(built);
    ck_assert_int_eq(run_model_replace(run, body, buf_slice(&block), false), PLSM_OK);
    ck_assert_int_eq(atomic_load(&body->model_state), MODEL_THERE);
    model_builder_destroy(builder);
    cursor_close(&cursor);
    buf_free(&block);
    buf_free(&last);
}

/* Models know nothing of layouts: should a classic run be given one, it serves there as well. */
START_TEST(retraining_models_classic_runs)
{
    start();
    struct lsm *db = open_tree(LSM_CLASSIC);
    write_some(db, 0);
    ck_assert_int_eq(lsm_compact(db, (plsm_slice){0}, (plsm_slice){0}), PLSM_OK);
    ck_assert_int_eq(lsm_close(db), PLSM_OK);
    db = open_tree(LSM_LEARNED);
    ck_assert_msg(lsm_retrain(db, false, NULL, NULL) == PLSM_OK, "%s", plsm_message());
    lsm_statistics_reset(db);
    check_everything(db);
    ck_assert_double_gt(statistic(db, "learn.files"), 0);
    ck_assert_double_lt(statistic(db, "learn.fallback_rate"), 0.5);
    ck_assert_int_eq(lsm_close(db), PLSM_OK);
    for (int mode = 0; mode < MODES; mode++) { /* models in files of their own now lie beside the runs */
        db = open_tree((enum lsm_index)mode);
        check_everything(db);
        ck_assert_int_eq(statistic(db, "learn.files") > 0, mode == LSM_LEARNED);
        ck_assert_int_eq(lsm_close(db), PLSM_OK);
    }
    env_memory_destroy(env);
}
END_TEST

START_TEST(a_model_may_serve_a_classic_run)
{
    static const enum model_type types[] = {MODEL_AUTO, MODEL_TRIE, MODEL_PLR};
    enum model_type type = types[_i / 2];
    start();
    struct lsm *db = open_tree(LSM_CLASSIC);
    write_some(db, 0);
    if (_i % 2) /* without versions */
        ck_assert_int_eq(lsm_compact(db, (plsm_slice){0}, (plsm_slice){0}), PLSM_OK);
    ck_assert_int_eq(lsm_close(db), PLSM_OK);
    db = open_tree(LSM_LEARNED);
    ck_assert_uint_gt(each_run(db, give_model, &type), 0);
    lsm_statistics_reset(db);
    check_everything(db);
    ck_assert_double_gt(statistic(db, "learn.block.accuracy"), type == MODEL_PLR ? 0 : 0.99);
    if (_i % 2)
        ck_assert_double_lt(statistic(db, "learn.fallback_rate"), 0.5);
    ck_assert_int_eq(lsm_close(db), PLSM_OK);
    env_memory_destroy(env);
}
END_TEST

/* On every level; and once a compaction ran without that option, no more. */
START_TEST(filters_are_blocked_as_told)
{
    enum lsm_index learned = LSM_LEARNED;
    start();
    for (unsigned i = 0; i < 2; i++) {
        filter_kind = i ? LSM_FILTER_AUTO : LSM_FILTER_BLOCKED;
        struct lsm *db = open_tree(learned);
        write_some(db, i);
        if (i == 0)
            each_run(db, check_layout, &learned);
        ck_assert_msg(lsm_compact(db, (plsm_slice){0}, (plsm_slice){0}) == PLSM_OK, "%s", plsm_message());
        ck_assert_uint_gt(each_run(db, check_layout, &learned), 1);
        check_everything(db);
        ck_assert_double_eq(statistic(db, "filter.false_negatives"), 0);
        ck_assert_int_eq(lsm_close(db), PLSM_OK);
    }
    env_memory_destroy(env);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("modes");
    TCase *tcase = tcase_create("modes");
    tcase_set_timeout(tcase, 300);
    tcase_add_loop_test(tcase, every_mode_reads_every_other, 0, MODES * MODES * MODES);
    tcase_add_loop_test(tcase, compaction_writes_its_own_layout, 0, MODES * MODES);
    tcase_add_test(tcase, classic_runs_are_fallbacks_of_learned_mode);
    tcase_add_test(tcase, retraining_models_classic_runs);
    tcase_add_test(tcase, filters_are_blocked_as_told);
    tcase_add_loop_test(tcase, a_model_may_serve_a_classic_run, 0, 6);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_set_fork_status(runner, CK_NOFORK);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
