/* Partitioned filters: no key is ever denied, misses pass as rarely as promised, foreign misses save what they should,
 * where nothing can be saved nothing is claimed, and the policy that gives bits to classes. */
#include <check.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/checksum.h"
#include "base/error.h"
#include "base/random.h"
#include "learn/features.h"
#include "learn/partitioned.h"
#include "tests/harness/key_sets.h"
#include "tests/harness/path_trees.h"

#include "base/banned.h"

enum {
    SEED = 20261127,
    RUN_KEYS = 60000,
    SMALL_RUN_KEYS = 20000,
    KNOWN_MISSES = 4000,
    NEW_MISSES = 60000, /* 230 that pass */
    BITS = 8
};

/* --- policy --- */

static bool plan_is(const struct partition_plan *plan, unsigned classes, const unsigned *bits, unsigned directory_bits)
{
    bool same = plan->classes == classes && plan->directory_bits == directory_bits;
    for (unsigned c = 0; c < classes; c++)
        same = same && plan->bits[c] == bits[c];
    return same;
}

START_TEST(bits_follow_the_policy)
{
    static const struct {
        struct partition_counts counts;
        unsigned bits;
        unsigned classes, expected[3], directory_bits;
        bool worth;
    } rows[] = {
        /* the example in partitioned.h */
        {{.classes = 2, .keys = {90000, 10000}, .misses = {9, 989}, .classifier_size = 1000}, 8, 2, {2, 10}, 0, true},
        /* hardly a miss where most keys are: no filter there */
        {{.classes = 2, .keys = {90000, 10000}, .misses = {0, 998}, .classifier_size = 1000}, 8, 2, {0, 9}, 0, true},
        /* classes that mean nothing: the plan goes without them */
        {{.classes = 2, .keys = {50000, 50000}, .misses = {499, 499}, .classifier_size = 1000}, 8, 1, {8}, 0, false},
        {{.classes = 1, .keys = {100000}, .misses = {998}}, 8, 1, {8}, 0, false},
        /* a class without keys says no; the other gets what it would have had with a tenth of the misses */
        {{.classes = 2, .keys = {100000, 0}, .misses = {98, 900}, .classifier_size = 1000}, 8, 2, {5, 255}, 0, true},
        {{.classes = 3, .keys = {60000, 30000, 10000}, .misses = {9, 200, 789}, .classifier_size = 1000},
         8,
         3,
         {2, 8, 11},
         0,
         true},
        /* most misses come to directories that are not there */
        {{.classes = 1, .keys = {100000}, .misses = {9}, .misses_beside = {989}, .directories = 10000},
         8,
         1,
         {2},
         8,
         true},
        {{.classes = 1, .keys = {100000}, .misses_beside = {998}, .directories = 10000}, 8, 1, {0}, 9, true},
        /* half of them do: that saves less than a bit */
        {{.classes = 1, .keys = {100000}, .misses = {499}, .misses_beside = {499}, .directories = 10000},
         8,
         1,
         {8},
         8,
         false},
        /* a budget of 6 % lets much pass */
        {{.classes = 2, .keys = {90000, 10000}, .misses = {9, 989}, .classifier_size = 1000}, 4, 2, {0, 5}, 0, true},
        /* with 16 bits there is no more to give to the second class */
        {{.classes = 2, .keys = {90000, 10000}, .misses = {9, 989}, .classifier_size = 1000}, 16, 1, {16}, 0, false},
        /* too few keys for the bytes of a classifier; too few misses to trust; no keys */
        {{.classes = 2, .keys = {900, 100}, .misses = {9, 989}, .classifier_size = 1000}, 8, 1, {8}, 0, false},
        {{.classes = 2, .keys = {90000, 10000}, .misses = {0, 127}, .classifier_size = 1000}, 4, 2, {0, 5}, 0, false},
        {{.classes = 2, .misses = {9, 989}, .classifier_size = 1000}, 8, 1, {255}, 0, false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct partition_plan plan;
        partition_plan(&rows[i].counts, rows[i].bits, &plan);
        ck_assert_msg(plan_is(&plan, rows[i].classes, rows[i].expected, rows[i].directory_bits) &&
                          plan.worth == rows[i].worth,
                      "row %zu: %u classes of %u, %u, %u bits, %u for directories, worth %d", i, plan.classes,
                      plan.bits[0], plan.bits[1], plan.bits[2], plan.directory_bits, plan.worth);
        ck_assert(plan.false_positive_rate <= ldexp(1, -(int)rows[i].bits));
    }
}
END_TEST

/* Whatever the counts: within the budget, never larger than one class with the plain number of bits, and an empty class
 * alone says no. */
START_TEST(any_counts_are_planned)
{
    struct random random;
    random_seed(&random, SEED);
    for (int i = 0; i < 3000; i++) {
        struct partition_counts counts = {.classes = 1 + (unsigned)random_below(&random, CLASSIFIER_CLASSES_MAX),
                                          .classifier_size = 2000};
        unsigned bits = FILTER_BITS_MIN + (unsigned)random_below(&random, 13);
        uint64_t keys = 0;
        counts.directories = random_below(&random, 2) ? random_below(&random, 20000) : 0;
        for (unsigned c = 0; c < counts.classes; c++) {
            counts.keys[c] = random_below(&random, 4) ? random_next(&random) >> (45 + random_below(&random, 19)) : 0;
            counts.misses[c] = (uint32_t)(random_below(&random, 4) ? random_next(&random) >> (54 + c) : 0);
            counts.misses_beside[c] = counts.directories ? (uint32_t)random_below(&random, 1000) : 0;
            keys += counts.keys[c];
        }
        struct partition_plan plan;
        partition_plan(&counts, bits, &plan);
        uint64_t whole = partitioned_header_size(1) + filter_size(keys, bits);
        whole += counts.directories ? filter_size(counts.directories, bits) : 0;
        ck_assert(plan.false_positive_rate <= ldexp(1, -(int)bits));
        ck_assert_msg(plan.size <= whole, "%" PRIu64 " bytes, in one class %" PRIu64, plan.size, whole);
        ck_assert(plan.classes == 1 || plan.classes == counts.classes);
        ck_assert(counts.directories ? plan.directory_bits >= bits : plan.directory_bits == 0);
        for (unsigned c = 0; c < plan.classes; c++)
            ck_assert_int_eq(plan.bits[c] == PARTITION_NEVER, (plan.classes == 1 ? keys : counts.keys[c]) == 0);
    }
}
END_TEST

/* --- runs --- */

/* What a writer has, and what is asked in vain. */
struct run {
    plsm_slice *keys; /* not owned */
    uint64_t *hashes, *directories;
    uint8_t *classes;
    struct buf classifier;
    struct partitioned_input input;
};

/* All prefixes of the keys that end in '/', each once, as keys in order give them. */
static size_t gather_directories(const plsm_slice *keys, size_t count, uint64_t *out)
{
    size_t found = 0;
    for (size_t i = 0; i < count; i++) {
        const uint8_t *bytes = keys[i].data, *end = bytes + keys[i].size;
        const uint8_t *from = bytes + (i ? slice_common(keys[i - 1], keys[i]) : 0);
        while (from < end && (from = memchr(from, '/', (size_t)(end - from)))) {
            from++;
            out[found++] = key_hash(bytes, (size_t)(from - bytes));
        }
    }
    return found;
}

static size_t count_slashes(const plsm_slice *keys, size_t count)
{
    size_t slashes = 0;
    for (size_t i = 0; i < count; i++)
        for (size_t at = 0; at < keys[i].size; at++)
            slashes += ((const uint8_t *)keys[i].data)[at] == '/';
    return slashes;
}

/* Keys in order; two thirds of the misses train the classifier when there is to be one, the rest is held out. */
static struct run run_create(plsm_slice *keys, size_t count, const plsm_slice *misses, size_t miss_count, bool classes,
                             bool directories)
{
    struct run run = {.keys = keys, .hashes = malloc((count + 1) * sizeof *run.hashes)};
    size_t trained = miss_count / 3 * 2;
    for (size_t i = 0; i < count; i++)
        run.hashes[i] = key_hash(keys[i].data, keys[i].size);
    run.input = (struct partitioned_input){.hashes = run.hashes,
                                           .count = count,
                                           .misses = misses + trained,
                                           .miss_count = miss_count - trained,
                                           .bits = BITS};
    if (classes) {
        struct random random;
        plsm_slice *sample = malloc(KNOWN_MISSES * sizeof *sample);
        random_seed(&random, SEED);
        for (size_t i = 0; i < KNOWN_MISSES; i++)
            sample[i] = keys[random_below(&random, count)];
        struct classifier_samples samples = {sample, misses, KNOWN_MISSES, trained};
        ck_assert_msg(classifier_train(&samples, BITS, count, &run.classifier) == PLSM_OK, "%s", plsm_message());
        free(sample);
    }
    if (run.classifier.size) {
        struct classifier classifier;
        ck_assert_int_eq(classifier_open(buf_slice(&run.classifier), &classifier), PLSM_OK);
        run.classes = malloc(count);
        for (size_t i = 0; i < count; i++)
            run.classes[i] = (uint8_t)classifier_class(&classifier, keys[i]);
        run.input.classes = run.classes;
        run.input.classifier = buf_slice(&run.classifier);
    }
    if (directories) {
        run.directories = malloc((count_slashes(keys, count) + 1) * sizeof *run.directories);
        run.input.directories = run.directories;
        run.input.directory_count = gather_directories(keys, count, run.directories);
    }
    return run;
}

static void run_free(struct run *run)
{
    free(run->hashes);
    free(run->directories);
    free(run->classes);
    buf_free(&run->classifier);
}

static bool ask(const struct partitioned *filter, plsm_slice key)
{
    struct partitioned_query query;
    partitioned_query_init(&query, key, key_hash(key.data, key.size));
    partitioned_prefetch(filter, &query);
    return partitioned_may_contain(filter, &query);
}

/* Builds by `plan`, checks that no key is denied, in any way of asking, and returns the opened filter. */
static struct partitioned build(const struct run *run, const struct partition_plan *plan, struct buf *out)
{
    struct partitioned filter;
    ck_assert_msg(partitioned_build(&run->input, plan, out) == PLSM_OK, "%s", plsm_message());
    ck_assert_msg(partitioned_open(buf_slice(out), &filter) == PLSM_OK, "%s", plsm_message());
    ck_assert_uint_eq(filter.classes, plan->classes);
    for (size_t i = 0; i < run->input.count; i++) {
        plsm_slice directory = partitioned_directory(run->keys[i]);
        unsigned class = filter.classes > 1 ? run->classes[i] : 0;
        if (!ask(&filter, run->keys[i]))
            ck_abort_msg("key %zu of %zu is denied", i, run->input.count);
        ck_assert(partitioned_class_may_contain(&filter, class, run->hashes[i]));
        ck_assert(directory.size == 0 ||
                  partitioned_may_have_directory(&filter, key_hash(directory.data, directory.size)));
    }
    return filter;
}

static double rate(const struct partitioned *filter, const plsm_slice *misses, size_t count)
{
    size_t passed = 0;
    for (size_t i = 0; i < count; i++)
        passed += ask(filter, misses[i]);
    return (double)passed / (double)count;
}

/* --- what it is worth --- */

/* A run of one tree and what is asked of it in vain: some of it known, most of it new. */
struct contest {
    struct path_list keys, drawn, misses;
};

static struct contest contest_create(struct path_tree misses_from, size_t key_count, size_t new_misses)
{
    struct contest c = {.keys = path_list_create((struct path_tree){0, SEED}, key_count, 1, SEED)};
    c.drawn = path_list_create(misses_from, KNOWN_MISSES + new_misses, 1, SEED + 9);
    c.misses = path_list_without(&c.drawn, &c.keys);
    ck_assert_uint_gt(c.misses.count, (KNOWN_MISSES + new_misses) / 2);
    path_list_sort(&c.keys);
    return c;
}

/* For tests that ask no more of it than to be a run with foreign misses. */
static struct contest small_contest_create(void)
{
    return contest_create((struct path_tree){1, SEED + 1}, SMALL_RUN_KEYS, KNOWN_MISSES);
}

static void contest_free(struct contest *c)
{
    path_list_free(&c->keys);
    path_list_free(&c->drawn);
    path_list_free(&c->misses);
}

enum { CLASSES = 1, DIRECTORIES = 2 };

/* Bytes of the partitioned filter as a share of the plain one's; checks the rate on new misses. */
static double compete(const struct contest *c, unsigned stages, struct partition_plan *plan)
{
    struct buf bytes = {0}, plain = {0};
    struct run run =
        run_create(c->keys.keys, c->keys.count, c->misses.keys, KNOWN_MISSES, stages & CLASSES, stages & DIRECTORIES);
    size_t hashes = run.input.count + run.input.directory_count;
    uint64_t *all = malloc(hashes * sizeof *all);
    memcpy(all, run.hashes, run.input.count * sizeof *all);
    if (run.input.directory_count)
        memcpy(all + run.input.count, run.directories, run.input.directory_count * sizeof *all);
    ck_assert_int_eq(filter_build(all, hashes, BITS, &plain), PLSM_OK);
    ck_assert_int_eq(partitioned_plan(&run.input, plan), PLSM_OK);
    struct partitioned filter = build(&run, plan, &bytes);
    ck_assert_uint_eq(bytes.size, plan->size);
    ck_assert_uint_eq(plain.size, plan->plain_size);
    /* New misses pass as those held out do, but for chance: by it a class may have been thought rarer than it is. */
    double passed = rate(&filter, c->misses.keys + KNOWN_MISSES, c->misses.count - KNOWN_MISSES);
    ck_assert_msg(passed < 1.35 * ldexp(1, -BITS), "%.3f %% of new misses pass, expected %.3f %%", 100 * passed,
                  100 * plan->false_positive_rate);
    double share = (double)bytes.size / (double)plain.size;
    printf("stages %u: %.3f of the plain filter, %.3f %% pass, classifier of %zu bytes\n", stages, share, 100 * passed,
           run.classifier.size);
    buf_free(&bytes);
    buf_free(&plain);
    free(all);
    run_free(&run);
    return share;
}

START_TEST(foreign_misses_save_a_quarter)
{
    static const struct {
        struct path_tree from;
        bool stages[4]; /* by which a quarter is saved */
    } rows[] = {
        {{1, SEED}, {[1] = true, [3] = true}},                 /* other names in the same packages */
        {{1, SEED + 1}, {[1] = true, [2] = true, [3] = true}}, /* another tree under the same root */
        {{0, SEED + 1}, {[2] = true, [3] = true}},             /* the same names in other packages */
    };
    for (unsigned i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct contest c = contest_create(rows[i].from, RUN_KEYS, NEW_MISSES);
        for (unsigned stages = 1; stages <= 3; stages++) {
            struct partition_plan plan;
            double share = compete(&c, stages, &plan);
            ck_assert_msg(!rows[i].stages[stages] || (share < 0.75 && plan.worth),
                          "misses %u, stages %u: %.3f of the plain filter", i, stages, share);
        }
        contest_free(&c);
    }
}
END_TEST

/* The other half of the same tree: nothing is promised, so the run keeps its plain filter. */
START_TEST(misses_of_the_same_tree_save_nothing)
{
    struct contest c = contest_create((struct path_tree){0, SEED}, RUN_KEYS, NEW_MISSES);
    for (unsigned stages = 1; stages <= 3; stages++) {
        struct partition_plan plan;
        double share = compete(&c, stages, &plan);
        ck_assert_msg(!plan.worth && share > 0.95, "stages %u: %.3f of the plain filter", stages, share);
    }
    contest_free(&c);
}
END_TEST

/* Keys and misses of one shape, every other one each: nothing is claimed where keys look random, and wherever something
 * is claimed the rate holds. The filter is built either way. */
START_TEST(no_key_of_any_shape_is_denied)
{
    enum key_shape shape = (enum key_shape)_i;
    enum { COUNT = 30000 };
    struct key_set *set = key_set_create(shape, COUNT, 30, SEED);
    plsm_slice *keys = malloc(set->count * sizeof *keys), *misses = malloc(set->count * sizeof *misses);
    size_t count = 0, miss_count = 0;
    struct random random;
    random_seed(&random, SEED);
    for (size_t i = 0; i < set->count; i++) {
        if (i > 0 && slice_equal(set->keys[i], set->keys[i - 1]))
            continue;
        bool key = random_below(&random, 2) || count == 0;
        (key ? keys : misses)[key ? count++ : miss_count++] = set->keys[i];
    }
    for (size_t i = miss_count; i > 1; i--) { /* any order but theirs */
        size_t other = random_below(&random, i);
        plsm_slice swap = misses[i - 1];
        misses[i - 1] = misses[other];
        misses[other] = swap;
    }
    size_t known = miss_count < KNOWN_MISSES ? miss_count : KNOWN_MISSES;
    for (unsigned stages = 0; stages <= 3; stages++) {
        struct partition_plan plan;
        struct buf bytes = {0};
        struct run run = run_create(keys, count, misses, known, stages & CLASSES, stages & DIRECTORIES);
        ck_assert_int_eq(partitioned_plan(&run.input, &plan), PLSM_OK);
        build(&run, &plan, &bytes);
        ck_assert_uint_eq(bytes.size, plan.size);
        bool random_looking = shape == KEYS_RANDOM || shape == KEYS_HEX || shape == KEYS_DECIMALS;
        ck_assert_msg(!random_looking || (!plan.worth && run.classifier.size == 0), "%s: something is claimed",
                      key_shape_name(shape));
        buf_free(&bytes);
        run_free(&run);
    }
    free(keys);
    free(misses);
    key_set_destroy(set);
}
END_TEST

/* --- any classifier, any plan --- */

/* A classifier of random weights and thresholds. */
static void put_nonsense(struct random *random, struct buf *out)
{
    unsigned cell_bits = 10 + (unsigned)random_below(random, 4), thresholds = 1 + (unsigned)random_below(random, 7);
    uint8_t header[4] = {1, (uint8_t)(1 + random_below(random, FEATURE_KINDS_ALL)), (uint8_t)cell_bits,
                         (uint8_t)thresholds};
    ck_assert_int_eq(buf_append(out, header, sizeof header), PLSM_OK);
    for (unsigned i = 0; i < thresholds; i++)
        ck_assert_int_eq(buf_append_u32(out, (uint32_t)((int32_t)i * 30 - 100)), PLSM_OK);
    for (unsigned i = 0; i < (1u << cell_bits) / 2 / 8; i++)
        ck_assert_int_eq(buf_append_u64(out, random_next(random)), PLSM_OK);
}

/* A run whose classifier is nonsense; the lists stay the contest's. */
static struct run nonsense_run(const struct contest *c, size_t count, struct random *random)
{
    struct run run = run_create(c->keys.keys, count, c->misses.keys, KNOWN_MISSES, false, random_below(random, 2));
    struct classifier classifier;
    put_nonsense(random, &run.classifier);
    ck_assert_msg(classifier_open(buf_slice(&run.classifier), &classifier) == PLSM_OK, "%s", plsm_message());
    run.classes = malloc(count + 1);
    for (size_t i = 0; i < count; i++)
        run.classes[i] = (uint8_t)classifier_class(&classifier, run.keys[i]);
    run.input.classes = run.classes;
    run.input.classifier = buf_slice(&run.classifier);
    return run;
}

START_TEST(nonsense_denies_no_key)
{
    struct contest c = small_contest_create();
    struct random random;
    random_seed(&random, SEED);
    for (int i = 0; i < 150; i++) {
        struct run run = nonsense_run(&c, i == 0 ? 0 : 1 + random_below(&random, 3000), &random);
        struct partition_plan plan;
        struct buf bytes = {0};
        run.input.bits = FILTER_BITS_MIN + (unsigned)random_below(&random, 13);
        ck_assert_int_eq(partitioned_plan(&run.input, &plan), PLSM_OK);
        bool held[CLASSIFIER_CLASSES_MAX] = {false};
        for (size_t k = 0; k < run.input.count; k++)
            held[run.classes[k]] = true;
        if (i % 2) { /* any plan will do */
            plan.classes = 1 + run.classifier.data[3];
            for (unsigned class = 0; class < plan.classes; class ++)
                plan.bits[class] = held[class] ? (uint8_t)random_below(&random, FILTER_BITS_MAX + 1) : PARTITION_NEVER;
        }
        struct partitioned filter = build(&run, &plan, &bytes);
        rate(&filter, c.misses.keys, 1000);
        buf_free(&bytes);
        run_free(&run);
    }
    contest_free(&c);
}
END_TEST

START_TEST(impossible_plans_and_input_are_refused)
{
    struct contest c = small_contest_create();
    struct run run = run_create(c.keys.keys, c.keys.count, c.misses.keys, KNOWN_MISSES, true, true);
    struct partition_plan plan, wrong;
    struct buf bytes = {0};
    ck_assert_int_eq(partitioned_plan(&run.input, &plan), PLSM_OK);
    ck_assert_uint_gt(plan.classes, 1);
    wrong = plan;
    wrong.bits[0] = PARTITION_NEVER; /* would deny keys */
    ck_assert_int_eq(partitioned_build(&run.input, &wrong, &bytes), PLSM_INVALID);
    wrong = plan;
    wrong.bits[1] = 17;
    ck_assert_int_eq(partitioned_build(&run.input, &wrong, &bytes), PLSM_INVALID);
    wrong = plan;
    wrong.classes = 2 + (plan.classes == 2);
    ck_assert_int_eq(partitioned_build(&run.input, &wrong, &bytes), PLSM_INVALID);
    size_t directories = run.input.directory_count;
    run.input.directory_count = 0; /* would deny every path */
    ck_assert_int_eq(partitioned_build(&run.input, &plan, &bytes), PLSM_INVALID);
    run.input.directory_count = directories;
    uint8_t class = run.classes[7];
    run.classes[7] = CLASSIFIER_CLASSES_MAX;
    ck_assert_int_eq(partitioned_plan(&run.input, &wrong), PLSM_INVALID);
    ck_assert_int_eq(partitioned_build(&run.input, &plan, &bytes), PLSM_INVALID);
    run.classes[7] = class;
    run.input.bits = 3;
    ck_assert_int_eq(partitioned_plan(&run.input, &wrong), PLSM_INVALID);
    run.input.bits = 17;
    ck_assert_int_eq(partitioned_plan(&run.input, &wrong), PLSM_INVALID);
    run.input.bits = BITS;
    run.classifier.data[0] ^= 1;
    ck_assert_int_eq(partitioned_plan(&run.input, &wrong), PLSM_CORRUPT);
    ck_assert_uint_eq(bytes.size, 0);
    buf_free(&bytes);
    run_free(&run);
    contest_free(&c);
}
END_TEST

/* Of a miss that was cut in the name of its directory only a directory above is known: that one being there says
 * nothing. One that was cut behind it counts as a whole one does. */
START_TEST(cut_misses_promise_nothing)
{
    enum { COUNT = 2000, SPACE = 200 };
    char *bytes = malloc(2 * COUNT * SPACE);
    plsm_slice keys[COUNT], misses[COUNT];
    uint64_t hashes[COUNT], directories[COUNT + 2];
    for (size_t i = 0; i < COUNT; i++) {
        char *key = bytes + 2 * SPACE * i, *miss = key + SPACE;
        keys[i] = slice(key, (size_t)snprintf(key, SPACE, "\1run/%05zu", i));
        hashes[i] = key_hash(keys[i].data, keys[i].size);
        misses[i] = slice(miss, (size_t)snprintf(miss, SPACE, "\1run/%0150zu/name", i));
    }
    struct partitioned_input input = {.hashes = hashes,
                                      .count = COUNT,
                                      .misses = misses,
                                      .miss_count = COUNT,
                                      .bits = BITS,
                                      .directories = directories};
    input.directory_count = gather_directories(keys, COUNT, directories);
    struct partition_plan plan;
    ck_assert_uint_eq(input.directory_count, 1);
    ck_assert_int_eq(partitioned_plan(&input, &plan), PLSM_OK);
    ck_assert(plan.worth && plan.bits[0] == PARTITION_ALWAYS);
    for (size_t i = 0; i < COUNT; i++)
        misses[i].size = CLASSIFIER_KEY_SIZE_MAX;
    ck_assert_int_eq(partitioned_plan(&input, &plan), PLSM_OK);
    ck_assert(!plan.worth && plan.bits[0] == BITS);
    free(bytes);
}
END_TEST

START_TEST(a_key_is_classified_once_for_all_filters_of_a_classifier)
{
    struct contest c = small_contest_create();
    struct run run = run_create(c.keys.keys, c.keys.count, c.misses.keys, KNOWN_MISSES, true, false);
    struct partition_plan plan;
    struct buf bytes = {0};
    ck_assert_int_eq(partitioned_plan(&run.input, &plan), PLSM_OK);
    struct partitioned filter = build(&run, &plan, &bytes), other = filter;
    ck_assert_uint_gt(plan.classes, 1);
    struct partitioned_query query;
    partitioned_query_init(&query, run.keys[5], run.hashes[5]);
    ck_assert(partitioned_may_contain(&filter, &query));
    ck_assert_ptr_eq(query.classified_by, filter.classifier.weights);
    ck_assert_uint_eq(query.class, run.classes[5]);
    ck_assert(partitioned_may_contain(&other, &query));
    /* Another classifier: the class is found anew. */
    other.classifier.weights = run.classifier.data + 4 + 4 * (size_t)run.classifier.data[3];
    query.class = CLASSIFIER_CLASSES_MAX;
    ck_assert(partitioned_may_contain(&other, &query));
    ck_assert_uint_eq(query.class, run.classes[5]);
    buf_free(&bytes);
    run_free(&run);
    contest_free(&c);
}
END_TEST

START_TEST(the_same_input_gives_the_same_bytes)
{
    struct contest c = small_contest_create();
    struct run run = run_create(c.keys.keys, c.keys.count, c.misses.keys, KNOWN_MISSES, true, true);
    struct partition_plan a, b;
    struct buf first = {0}, second = {0};
    ck_assert_int_eq(buf_append(&second, "front", 5), PLSM_OK);
    ck_assert_int_eq(partitioned_plan(&run.input, &a), PLSM_OK);
    ck_assert_int_eq(partitioned_plan(&run.input, &b), PLSM_OK);
    ck_assert_int_eq(partitioned_build(&run.input, &a, &first), PLSM_OK);
    ck_assert_int_eq(partitioned_build(&run.input, &b, &second), PLSM_OK);
    ck_assert_uint_eq(second.size, first.size + 5);
    ck_assert(memcmp(second.data, "front", 5) == 0 && memcmp(second.data + 5, first.data, first.size) == 0);
    buf_free(&first);
    buf_free(&second);
    run_free(&run);
    contest_free(&c);
}
END_TEST

START_TEST(directories_end_at_the_last_slash)
{
    static const char *const rows[][2] = {{"a/b/c", "a/b/"}, {"a/b/", "a/b/"}, {"abc", ""}, {"/", "/"}, {"", ""}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        ck_assert(slice_equal(partitioned_directory(slice_of(rows[i][0])), slice_of(rows[i][1])));
    ck_assert_uint_eq(partitioned_directory(slice(NULL, 0)).size, 0);
}
END_TEST

/* --- safety --- */

/* Opens bytes that may be damaged, copied to their very size for ASan: an error, or answers without a stray read. */
static bool try_open(const uint8_t *bytes, size_t size, const plsm_slice *keys)
{
    uint8_t *copy = malloc(size + !size);
    struct partitioned filter;
    memcpy(copy, bytes, size);
    plsm_status status = partitioned_open(slice(copy, size), &filter);
    ck_assert(status == PLSM_OK || status == PLSM_CORRUPT);
    for (size_t i = 0; status == PLSM_OK && i < 20; i++) {
        ask(&filter, keys[i]);
        partitioned_class_may_contain(&filter, (unsigned)i, i * 0x9e3779b97f4a7c15u);
        partitioned_may_have_directory(&filter, i * 0x9e3779b97f4a7c15u);
    }
    free(copy);
    return status == PLSM_OK;
}

START_TEST(damage_is_harmless)
{
    struct contest c = small_contest_create();
    struct random random;
    random_seed(&random, SEED);
    for (unsigned round = 0; round < 3; round++) {
        struct run run = nonsense_run(&c, 300, &random);
        struct partition_plan plan;
        struct buf bytes = {0};
        ck_assert_int_eq(partitioned_plan(&run.input, &plan), PLSM_OK);
        if (round > 0) { /* the policy would not have so small a run classified */
            plan.classes = 1 + run.classifier.data[3];
            for (unsigned class = 0; class < plan.classes; class ++)
                plan.bits[class] = PARTITION_NEVER;
            for (size_t k = 0; k < run.input.count; k++)
                plan.bits[run.classes[k]] = (uint8_t)(run.classes[k] * 3 % (FILTER_BITS_MAX + 1));
        }
        build(&run, &plan, &bytes);
        size_t header = partitioned_header_size(plan.classes);
        for (size_t at = 0; at < bytes.size; at += at < header ? 1 : 1 + random_below(&random, 60)) {
            uint8_t whole = bytes.data[at];
            for (unsigned value = 0; value < 256; value += at < header ? 1 : 1 + (unsigned)random_below(&random, 90)) {
                bytes.data[at] = (uint8_t)value;
                bool opened = try_open(bytes.data, bytes.size, c.misses.keys);
                ck_assert_msg(at >= header || value == whole || !opened, "byte %zu may not be %u", at, value);
            }
            bytes.data[at] = whole;
        }
        for (size_t size = 0; size < bytes.size; size++)
            ck_assert(!try_open(bytes.data, size, c.misses.keys));
        ck_assert_int_eq(buf_append(&bytes, "", 1), PLSM_OK);
        ck_assert(!try_open(bytes.data, bytes.size, c.misses.keys));
        buf_free(&bytes);
        run_free(&run);
    }
    contest_free(&c);
}
END_TEST

START_TEST(failed_allocations_are_reported)
{
    struct contest c = small_contest_create();
    struct run run = run_create(c.keys.keys, c.keys.count, c.misses.keys, KNOWN_MISSES, true, true);
    struct partition_plan plan;
    bool done = false;
    for (uint64_t nth = 1; !done; nth++) {
        struct buf bytes = {0};
        mem_fail_at(nth);
        plsm_status status = partitioned_plan(&run.input, &plan);
        if (status == PLSM_OK)
            status = partitioned_build(&run.input, &plan, &bytes);
        done = mem_count() < nth;
        mem_fail_at(0);
        ck_assert_int_eq(status, done ? PLSM_OK : PLSM_NO_MEMORY);
        ck_assert_uint_eq(bytes.size == 0, !done);
        buf_free(&bytes);
    }
    run_free(&run);
    contest_free(&c);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("partitioned");
    TCase *policy = tcase_create("policy"), *worth = tcase_create("worth"), *safe = tcase_create("safe");
    tcase_set_timeout(policy, 60);
    tcase_set_timeout(worth, 240);
    tcase_set_timeout(safe, 240);
    tcase_add_test(policy, bits_follow_the_policy);
    tcase_add_test(policy, any_counts_are_planned);
    tcase_add_test(worth, foreign_misses_save_a_quarter);
    tcase_add_test(worth, misses_of_the_same_tree_save_nothing);
    tcase_add_loop_test(worth, no_key_of_any_shape_is_denied, 0, KEY_SHAPE_COUNT);
    tcase_add_test(safe, nonsense_denies_no_key);
    tcase_add_test(safe, impossible_plans_and_input_are_refused);
    tcase_add_test(safe, cut_misses_promise_nothing);
    tcase_add_test(safe, a_key_is_classified_once_for_all_filters_of_a_classifier);
    tcase_add_test(safe, the_same_input_gives_the_same_bytes);
    tcase_add_test(safe, directories_end_at_the_last_slash);
    tcase_add_test(safe, damage_is_harmless);
    tcase_add_test(safe, failed_allocations_are_reported);
    suite_add_tcase(suite, policy);
    suite_add_tcase(suite, worth);
    suite_add_tcase(suite, safe);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
