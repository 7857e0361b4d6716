/* Where on its page a key is, as models and fences guess it: near for keys that are spread evenly, never outside. */
#include <check.h>
#include <stdlib.h>

#include "learn/fences.h"
#include "learn/model.h"
#include "tests/harness/key_sets.h"

#include "base/banned.h"

enum { SEED = 20261127, KEYS = 60000, PAGE_KEYS = 65 };
_Static_assert((int)MODEL_WITHIN == (int)FENCES_WITHIN, "both answer in the same parts");

static plsm_status tell_key(void *arg, plsm_slice key, size_t shared)
{
    return model_builder_key(arg, key, shared);
}

static plsm_status tell_page(void *arg, plsm_slice last)
{
    return model_builder_page(arg, last);
}

static plsm_status add_border(void *arg, plsm_slice last, plsm_slice first)
{
    return fences_builder_add(arg, last, first);
}

static struct model *make_model(const struct key_set *set, enum model_type type)
{
    struct model_builder *b = model_builder_create();
    struct model_wish wish = {
        .type = type, .metadata_max = SIZE_MAX, .memory_max = SIZE_MAX, .error_pages_max = UINT32_MAX};
    struct model *model = NULL;
    struct buf bytes = {0};
    bool built = false;
    ck_assert_ptr_nonnull(b);
    ck_assert_int_eq(key_set_tell(set, tell_key, tell_page, b), PLSM_OK);
    ck_assert_int_eq(model_builder_finish(b, &wish, set->count, 1, &bytes, &built), PLSM_OK);
    ck_assert(built);
    ck_assert_int_eq(model_open(buf_slice(&bytes), &model), PLSM_OK);
    model_builder_destroy(b);
    buf_free(&bytes);
    return model;
}

static struct fences *make_fences(const struct key_set *set)
{
    struct fences_builder *b = fences_builder_create();
    struct fences *fences = NULL;
    struct buf bytes = {0};
    ck_assert_ptr_nonnull(b);
    ck_assert_int_eq(key_set_borders(set, add_border, b), PLSM_OK);
    ck_assert_int_eq(fences_builder_finish(b, &bytes), PLSM_OK);
    ck_assert_int_eq(fences_open(buf_slice(&bytes), &fences), PLSM_OK);
    fences_builder_destroy(b);
    buf_free(&bytes);
    return fences;
}

/* How many keys get a guess, and by how many 256ths of a page these are off on average. */
struct sum {
    size_t told;
    double off;
};

static void add(struct sum *sum, unsigned within, double is)
{
    ck_assert_uint_lt(within, MODEL_WITHIN);
    sum->told++;
    sum->off += (double)within > is ? (double)within - is : is - (double)within;
}

/* Guesses for all keys of pages that hold 8 or more. */
static size_t guess_all(const struct key_set *set, const struct model *model, const struct fences *fences,
                        struct sum *by_model, struct sum *by_fences)
{
    size_t first = 0, last = 0, asked = 0;
    for (uint32_t page = 0; page < set->page_count; page++) {
        if (!key_set_page(set, page, &first, &last) || last - first < 8)
            continue;
        for (size_t i = first; i <= last; i++, asked++) {
            double is = ((double)(i - first) + 0.5) * MODEL_WITHIN / (double)(last - first + 1);
            struct model_probe probe;
            unsigned within = 0;
            model_begin(model, set->keys[i], &probe);
            uint32_t answer = model_end(model, set->keys[i], &probe).page;
            if (model_within(model, &probe, answer, &within))
                add(by_model, within, is);
            if (fences_within(fences, set->keys[i], fences_find(fences, set->keys[i]), &within))
                add(by_fences, within, is);
        }
    }
    return asked;
}

/* Of n random keys on a page one is off by 4/5 of sqrt(n) / 2 on average, a twelfth of the page or less here; counters
 * are where they should be, but for the gap between pages. Decimal digits as bytes are no even numbers: codes know
 * that, heads do not. */
START_TEST(guesses_are_near)
{
    static const struct {
        enum key_shape shape;
        enum model_type type;
        double off_max, fences_off_max; /* 256ths */
    } rows[] = {
        {KEYS_RANDOM, MODEL_PLR, 22, 30},  {KEYS_RANDOM, MODEL_LINEAR, 22, 30},  {KEYS_RANDOM, MODEL_NEURAL, 22, 30},
        {KEYS_COUNTERS, MODEL_PLR, 8, 16}, {KEYS_COUNTERS, MODEL_LINEAR, 8, 16}, {KEYS_DECIMALS, MODEL_PLR, 40, 64},
    };
    struct key_set *set = key_set_create(rows[_i].shape, KEYS, PAGE_KEYS, SEED);
    struct model *model = make_model(set, rows[_i].type);
    struct fences *fences = make_fences(set);
    struct sum by_model = {0}, by_fences = {0};
    size_t asked = guess_all(set, model, fences, &by_model, &by_fences);
    ck_assert_uint_gt(asked, KEYS / 2);
    ck_assert_msg(by_model.told == asked && by_model.off / (double)asked <= rows[_i].off_max,
                  "row %d, seed %d: %zu of %zu keys told, off by %.1f", _i, SEED, by_model.told, asked,
                  by_model.off / (double)asked);
    ck_assert_msg(by_fences.told >= asked * 9 / 10 && by_fences.off / (double)by_fences.told <= rows[_i].fences_off_max,
                  "row %d, seed %d: fences tell %zu of %zu keys, off by %.1f", _i, SEED, by_fences.told, asked,
                  by_fences.off / (double)by_fences.told);
    model_close(model);
    fences_close(fences);
    key_set_destroy(set);
}
END_TEST

/* Keys of every shape, and strings near them: a guess is on the page, or there is none. */
START_TEST(guesses_are_on_the_page)
{
    struct key_set *set = key_set_create((enum key_shape)_i, _i == KEYS_LONG ? 500 : 5000, 20, SEED);
    struct model *model = make_model(set, MODEL_AUTO);
    struct fences *fences = make_fences(set);
    struct random random;
    uint8_t key[9000];
    random_seed(&random, SEED);
    for (int i = 0; i < 20000; i++) {
        plsm_slice probe_key = slice(key, key_set_mutate(set, &random, key, sizeof key));
        struct model_probe probe;
        unsigned within = 0;
        model_begin(model, probe_key, &probe);
        if (model_within(model, &probe, model_end(model, probe_key, &probe).page, &within))
            ck_assert_uint_lt(within, MODEL_WITHIN);
        if (fences_within(fences, probe_key, fences_find(fences, probe_key), &within))
            ck_assert_uint_lt(within, FENCES_WITHIN);
    }
    model_close(model);
    fences_close(fences);
    key_set_destroy(set);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("within");
    TCase *all = tcase_create("within");
    tcase_set_timeout(all, 120);
    tcase_add_loop_test(all, guesses_are_near, 0, 6);
    tcase_add_loop_test(all, guesses_are_on_the_page, 0, KEY_SHAPE_COUNT);
    suite_add_tcase(suite, all);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
