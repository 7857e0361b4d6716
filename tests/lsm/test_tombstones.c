/* Fragmented range tombstones against the plainest model there is: for each key the list of deletions that cover it. */
#include "lsm/tombstones.h"

#include <check.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/random.h"
#include "lsm/lsm.h"

#include "base/banned.h"

enum { POSITIONS = 40, DELETIONS = 60, SOURCES = 4, ROUNDS = 400 };

/* Two bytes and a half: keys of one keyspace, some a prefix of others. */
static uint8_t bytes[POSITIONS + 1][4];
static plsm_slice key_at(unsigned position)
{
    return slice(bytes[position], position % 3 == 2 ? 4 : position % 3 + 2);
}

static void make_keys(void)
{
    for (unsigned i = 0; i < POSITIONS + 1; i++) {
        bytes[i][0] = 1;
        bytes[i][1] = (uint8_t)(i / 3);
        bytes[i][2] = 0;
        bytes[i][3] = i % 3 == 2 ? 9 : 0;
    }
    for (unsigned i = 1; i < POSITIONS + 1; i++)
        ck_assert_int_lt(slice_compare(key_at(i - 1), key_at(i)), 0);
}

struct deletion {
    unsigned from, to, source;
    uint64_t seq, group; /* the first number of its group: nobody reads between these */
};

struct model {
    struct deletion deletions[DELETIONS];
    unsigned count;
};

/* The newest deletion that covers a position, of those up to `seq`. */
static uint64_t model_covering(const struct model *m, unsigned position, uint64_t seq)
{
    uint64_t newest = 0;
    for (unsigned i = 0; i < m->count; i++) {
        const struct deletion *d = &m->deletions[i];
        if (d->from <= position && position < d->to && d->seq <= seq && d->seq > newest)
            newest = d->seq;
    }
    return newest;
}

static struct deletion random_deletion(struct random *random, uint64_t seq)
{
    unsigned a = (unsigned)random_below(random, POSITIONS + 1), b = (unsigned)random_below(random, POSITIONS + 1);
    if (random_below(random, 3) == 0)
        b = a + 1 + (unsigned)random_below(random, 3);
    if (b > POSITIONS)
        b = POSITIONS;
    if (a == b)
        a = 0;
    if (a == b)
        b = 1;
    return (struct deletion){.from = a < b ? a : b, .to = a < b ? b : a, .seq = seq, .group = seq};
}

static void check_sorted(const struct tombstones *t)
{
    ck_assert_uint_le(t->count, t->capacity);
    for (size_t i = 0; i < t->count; i++) {
        ck_assert_int_lt(slice_compare(t->list[i].from, t->list[i].to), 0);
        if (i > 0)
            ck_assert_int_le(slice_compare(t->list[i - 1].to, t->list[i].from), 0);
        uint64_t seq = t->list[i].seq;
        for (const struct tombstone_older *o = t->list[i].older; o; o = o->older) {
            ck_assert_uint_lt(o->seq, seq);
            seq = o->seq;
        }
    }
}

/* What the writer does: groups of deletions, each on a copy of the list, which readers of older lists go on using. */
START_TEST(lists_that_grow_are_right_for_readers_at_any_time)
{
    for (uint64_t seed = 1; seed <= ROUNDS; seed++) {
        struct random random;
        struct model model = {0};
        struct arena arena = {0};
        const struct tombstones *published = NULL;
        uint64_t seq = 1;
        random_seed(&random, seed);
        while (model.count + 8 < DELETIONS) {
            uint64_t group = seq += 1 + random_below(&random, 3);
            size_t more = 1 + random_below(&random, 8);
            ck_assert_int_eq(arena_reserve(&arena, tombstones_bytes(published ? published->count : 0, more)), PLSM_OK);
            struct tombstones *draft = tombstones_copy(&arena, published, more);
            for (size_t i = 0; i < more; i++, seq++) {
                struct deletion d = random_deletion(&random, seq);
                model.deletions[model.count++] = d;
                ck_assert_int_eq(tombstones_add(draft, &arena, key_at(d.from), key_at(d.to), seq, 0, group), PLSM_OK);
            }
            published = draft;
            check_sorted(draft);
            for (unsigned i = 0; i < POSITIONS; i++) {
                uint64_t reader = random_below(&random, 2) ? seq : random_below(&random, seq + 1);
                for (unsigned d = 0; d < model.count; d++) /* readers stand at the end of a group */
                    if (model.deletions[d].seq > reader && model.deletions[d].seq <= reader + 8)
                        reader = seq;
                ck_assert_msg(tombstones_covering(published, key_at(i), reader) == model_covering(&model, i, reader),
                              "seed %lu", (unsigned long)seed);
            }
        }
        arena_free(&arena);
    }
}
END_TEST

/* --- merging ------------------------------------------------------------------------------------------------------ */

/* A list of one source, which the arena owns. */
static struct tombstones *list_of(const struct model *m, unsigned source, struct arena *arena)
{
    ck_assert_int_eq(arena_reserve(arena, tombstones_bytes(0, DELETIONS)), PLSM_OK);
    struct tombstones *t = tombstones_copy(arena, NULL, DELETIONS);
    for (unsigned i = 0; i < m->count; i++)
        if (m->deletions[i].source == source)
            ck_assert_int_eq(tombstones_add(t, arena, key_at(m->deletions[i].from), key_at(m->deletions[i].to),
                                            m->deletions[i].seq, 0, m->deletions[i].seq),
                             PLSM_OK);
    return t;
}

/* Encodes what is to be kept and reads it again. */
static struct tombstones *through_block(const struct tombstones *t)
{
    struct buf entries = {0}, block = {0};
    struct tombstones *read = NULL;
    uint64_t count = 0;
    for (size_t i = 0; i < t->count; i++)
        if (tombstone_kept(&t->list[i]) > 0) {
            ck_assert_int_eq(tombstone_encode(&entries, &t->list[i], t->list[i].from, t->list[i].to), PLSM_OK);
            count++;
        }
    ck_assert_int_eq(buf_append_varint(&block, count), PLSM_OK);
    ck_assert_int_eq(buf_append(&block, entries.data, entries.size), PLSM_OK);
    ck_assert_int_eq(tombstones_decode(buf_slice(&block), count, &read), count ? PLSM_OK : PLSM_CORRUPT);
    buf_free(&entries);
    buf_free(&block);
    return read;
}

/* A version as a source holds it: its number may have been set to 0, or to that of a deletion behind which it came. */
static void judge(const struct tombstone_merge *merge, const struct tombstones *kept, const struct model *model,
                  unsigned position, uint64_t seq, uint64_t stored, unsigned source)
{
    struct entry entry = {.key = key_at(position), .seq = stored, .kind = BATCH_PUT};
    bool gone = tombstone_judge(tombstones_find(&merge->list, entry.key), merge->cutoff, source, &entry);
    ck_assert_int_eq(gone, model_covering(model, position, merge->cutoff) > seq);
    if (gone)
        return;
    ck_assert_uint_le(entry.seq, seq);
    /* Every reader from the cutoff on gets the same answer from the new run as from the deletions as they came. */
    for (uint64_t reader = merge->cutoff; reader < 400; reader += 7) {
        uint64_t covering = kept ? tombstones_covering(kept, entry.key, reader) : 0;
        if (seq > reader)
            continue;
        ck_assert_uint_le(entry.seq, reader);
        ck_assert_int_eq(covering > entry.seq, model_covering(model, position, reader) > seq);
    }
}

START_TEST(merged_sources_answer_as_they_did_apart)
{
    for (uint64_t seed = 1; seed <= ROUNDS; seed++) {
        struct random random;
        struct model model = {0};
        struct arena arena = {0};
        struct tombstone_merge merge = {0};
        random_seed(&random, seed);
        merge.cutoff = random_below(&random, 400);
        for (unsigned i = 0; i < 30; i++) { /* newer sources have larger numbers */
            struct deletion d = random_deletion(&random, 10 * (i + 1));
            d.source = SOURCES - 1 - i * SOURCES / 30;
            model.deletions[model.count++] = d;
        }
        for (unsigned source = SOURCES; source-- > 0;)
            ck_assert_int_eq(tombstone_merge_add(&merge, list_of(&model, source, &arena), source), PLSM_OK);
        check_sorted(&merge.list);
        struct tombstones *kept = through_block(&merge.list);
        for (unsigned position = 0; position < POSITIONS; position++)
            for (unsigned i = 0; i < 30; i++) {
                const struct deletion *d = &model.deletions[random_below(&random, model.count)];
                uint64_t seq = d->seq + random_below(&random, 10); /* a version of the same source, perhaps behind it */
                bool settled = seq <= merge.cutoff;
                uint64_t stored = settled ? 0 : seq;
                for (unsigned k = 0; k < model.count; k++) /* of its own source: what its writer took care of */
                    if (settled && model.deletions[k].source == d->source && model.deletions[k].seq <= seq &&
                        model.deletions[k].from <= position && position < model.deletions[k].to)
                        stored = model.deletions[k].seq;
                judge(&merge, kept, &model, position, seq, stored, d->source);
            }
        mem_free(kept);
        tombstone_merge_free(&merge);
        arena_free(&arena);
    }
}
END_TEST

START_TEST(covered_stretches_are_told)
{
    for (uint64_t seed = 1; seed <= ROUNDS; seed++) {
        struct random random;
        struct model model = {0};
        struct arena arena = {0};
        struct tombstone_merge merge = {0};
        random_seed(&random, seed);
        merge.cutoff = 60 + random_below(&random, 60);
        for (unsigned i = 0; i < 12; i++) {
            struct deletion d = random_deletion(&random, 10 * (i + 1));
            d.source = 1 - i / 6;
            model.deletions[model.count++] = d;
        }
        for (unsigned source = 2; source-- > 0;)
            ck_assert_int_eq(tombstone_merge_add(&merge, list_of(&model, source, &arena), source), PLSM_OK);
        for (unsigned from = 0; from + 1 < POSITIONS; from++)
            for (unsigned to = from; to + 1 < POSITIONS; to++)
                for (unsigned source = 1; source <= 2; source++) {
                    /* Positions stand for all keys up to the next: deletions end at positions only. */
                    bool covered = true;
                    for (unsigned at = from; at <= to; at++) {
                        uint64_t newest = model_covering(&model, at, merge.cutoff);
                        covered &= newest > (source == 1 ? 60 : 0);
                    }
                    ck_assert_int_eq(tombstone_merge_covers(&merge, key_at(from), key_at(to), source), covered);
                }
        tombstone_merge_free(&merge);
        arena_free(&arena);
    }
}
END_TEST

/* --- bytes -------------------------------------------------------------------------------------------------------- */

START_TEST(damaged_blocks_are_refused_or_in_bounds)
{
    struct random random;
    struct model model = {0};
    struct arena arena = {0};
    struct buf block = {0};
    random_seed(&random, 7);
    for (unsigned i = 0; i < 20; i++)
        model.deletions[model.count++] = random_deletion(&random, 10 * (i + 1));
    struct tombstones *t = list_of(&model, 0, &arena);
    ck_assert_int_eq(buf_append_varint(&block, t->count), PLSM_OK);
    for (size_t i = 0; i < t->count; i++)
        ck_assert_int_eq(tombstone_encode(&block, &t->list[i], t->list[i].from, t->list[i].to), PLSM_OK);
    for (unsigned round = 0; round < 20000; round++) {
        size_t size = round < block.size ? round : block.size;
        uint8_t *copy = malloc(size + 1); /* of its exact size, for sanitizers */
        struct tombstones *read = NULL;
        memcpy(copy, block.data, size);
        if (size == block.size)
            copy[random_below(&random, size)] ^= (uint8_t)(1u << random_below(&random, 8));
        plsm_status status = tombstones_decode(slice(copy, size), t->count, &read);
        ck_assert(status == PLSM_OK || status == PLSM_CORRUPT);
        if (size < block.size)
            ck_assert_int_eq(status, PLSM_CORRUPT);
        if (read)
            check_sorted(read);
        mem_free(read);
        free(copy);
    }
    ck_assert_ptr_ne(t, NULL);
    buf_free(&block);
    arena_free(&arena);
}
END_TEST

START_TEST(ranges_lie_within_one_first_byte)
{
    static const struct {
        const char *from, *to;
        bool sound;
    } rows[] = {{"aa", "ab", true},  {"aa", "b", true},   {"aa", "ba", false}, {"aa", "c", false},
                {"aa", "aa", false}, {"ab", "aa", false}, {"a", "b", false},   {"aa", "", false}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        ck_assert_int_eq(
            tombstone_range_sound(slice(rows[i].from, strlen(rows[i].from)), slice(rows[i].to, strlen(rows[i].to))),
            rows[i].sound);
    ck_assert(slice_equal(tombstone_last_key(slice("ab\0", 3)), slice("ab", 2)));
    ck_assert(slice_equal(tombstone_last_key(slice("abc", 3)), slice("abc", 3)));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("tombstones");
    TCase *tests = tcase_create("tombstones");
    tcase_add_unchecked_fixture(tests, make_keys, NULL);
    tcase_set_timeout(tests, 120);
    tcase_add_test(tests, lists_that_grow_are_right_for_readers_at_any_time);
    tcase_add_test(tests, merged_sources_answer_as_they_did_apart);
    tcase_add_test(tests, covered_stretches_are_told);
    tcase_add_test(tests, damaged_blocks_are_refused_or_in_bounds);
    tcase_add_test(tests, ranges_lie_within_one_first_byte);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
