/* Seed 003: so many distinct keys of 1 to 4 random bytes and as many values of 0 to 4, chosen by each of three
 * distributions in turn, 10^6 writes and then 10^6 reads of the same keys; one store for all three, as there. What is
 * chosen is drawn before the clock starts. What each read should give is known, and compared while the clock runs. */
#include <math.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/error.h"
#include "tools/bench/distribution.h"
#include "tools/bench/published.h"
#include "tools/bench/subject.h"

#include "base/banned.h"

enum { BYTES_MAX = 4, COLUMNS = 4 }; /* of each distribution: writes, reads, processor time of both */

static const struct suite_figure figures[DISTRIBUTIONS * COLUMNS] = {
    {"Zipfian, writes", "s", BETTER_LESS, WORK_WRITE_MANY},   {"Zipfian, reads", "s", BETTER_LESS, WORK_READ},
    {"Zipfian, writes, CPU", "s", BETTER_NEITHER, WORK_NONE}, {"Zipfian, reads, CPU", "s", BETTER_NEITHER, WORK_NONE},
    {"HotSet, writes", "s", BETTER_LESS, WORK_WRITE_MANY},    {"HotSet, reads", "s", BETTER_LESS, WORK_READ},
    {"HotSet, writes, CPU", "s", BETTER_NEITHER, WORK_NONE},  {"HotSet, reads, CPU", "s", BETTER_NEITHER, WORK_NONE},
    {"Uniform, writes", "s", BETTER_LESS, WORK_WRITE_MANY},   {"Uniform, reads", "s", BETTER_LESS, WORK_READ},
    {"Uniform, writes, CPU", "s", BETTER_NEITHER, WORK_NONE}, {"Uniform, reads, CPU", "s", BETTER_NEITHER, WORK_NONE},
};

struct item {
    uint8_t size, bytes[BYTES_MAX];
};

struct table {
    uint64_t items, ops;
    struct item *keys, *values;
    uint32_t *same;  /* of each key: the first one with its bytes */
    uint32_t *holds; /* of each key that is the first with its bytes: the value written last; UINT32_MAX: none */
    uint32_t *key_of, *value_of; /* of each operation */
};

static plsm_slice item_slice(const struct item *item)
{
    return slice(item->bytes, item->size);
}

static void draw_item(struct item *item, struct random *random, unsigned least)
{
    uint64_t bits = random_next(random);
    item->size = (uint8_t)(least + random_below(random, BYTES_MAX + 1 - least));
    for (unsigned i = 0; i < item->size; i++)
        item->bytes[i] = (uint8_t)(bits >> 8 * i);
}

/* --- keys that are equal ----------------------------------------------------------------------------------------- */

/* A key as a number: its bytes, its size, and behind them its place. */
static int compare_numbers(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static plsm_status find_same(struct table *table)
{
    enum { PLACE_BITS = 28 }; /* beside 32 bits of bytes and 3 of size */
    _Static_assert(SUITE_KEYS_MAX == 1 << PLACE_BITS, "places fit");
    uint64_t *numbers = mem_alloc(table->items * sizeof *numbers), mask = (UINT64_C(1) << PLACE_BITS) - 1;
    if (!numbers)
        return fail(PLSM_NO_MEMORY, "no memory for the keys of a table");
    for (uint64_t i = 0; i < table->items; i++) {
        uint32_t bytes = 0;
        memcpy(&bytes, table->keys[i].bytes, table->keys[i].size);
        numbers[i] = ((uint64_t)bytes << 3 | table->keys[i].size) << PLACE_BITS | i;
    }
    qsort(numbers, table->items, sizeof *numbers, compare_numbers);
    for (uint64_t i = 0, first = 0; i < table->items; i++) {
        if (numbers[i] >> PLACE_BITS != numbers[first] >> PLACE_BITS)
            first = i;
        table->same[numbers[i] & mask] = (uint32_t)(numbers[first] & mask);
    }
    mem_free(numbers);
    return PLSM_OK;
}

static plsm_status table_init(struct table *table, uint64_t items, uint64_t ops, uint64_t seed)
{
    struct random random;
    *table = (struct table){.items = items, .ops = ops};
    table->keys = mem_zalloc(items * sizeof *table->keys);
    table->values = mem_zalloc(items * sizeof *table->values);
    table->same = mem_alloc(items * sizeof *table->same);
    table->holds = mem_alloc(items * sizeof *table->holds);
    table->key_of = mem_alloc(ops * sizeof *table->key_of);
    table->value_of = mem_alloc(ops * sizeof *table->value_of);
    if (!table->keys || !table->values || !table->same || !table->holds || !table->key_of || !table->value_of)
        return fail(PLSM_NO_MEMORY, "no memory for the keys of a table");
    random_seed(&random, seed);
    for (uint64_t i = 0; i < items; i++)
        draw_item(&table->keys[i], &random, 1);
    for (uint64_t i = 0; i < items; i++)
        draw_item(&table->values[i], &random, 0);
    memset(table->holds, 0xff, items * sizeof *table->holds);
    return find_same(table);
}

static void table_free(struct table *table)
{
    mem_free(table->keys);
    mem_free(table->values);
    mem_free(table->same);
    mem_free(table->holds);
    mem_free(table->key_of);
    mem_free(table->value_of);
}

static void draw(struct table *table, enum distribution_kind kind, uint64_t seed)
{
    struct distribution d;
    distribution_init(&d, kind, table->items, seed);
    for (uint64_t i = 0; i < table->ops; i++)
        table->key_of[i] = (uint32_t)distribution_next(&d);
    for (uint64_t i = 0; i < table->ops; i++)
        table->value_of[i] = (uint32_t)distribution_next(&d);
}

/* --- measuring --------------------------------------------------------------------------------------------------- */

static plsm_status write_all(struct subject *subject, const struct table *table)
{
    for (uint64_t i = 0; i < table->ops; i++)
        TRY(subject_put(subject, item_slice(&table->keys[table->key_of[i]]),
                        item_slice(&table->values[table->value_of[i]])));
    return subject_push(subject);
}

static plsm_status read_all(struct subject *subject, const struct table *table)
{
    for (uint64_t i = 0; i < table->ops; i++) {
        const struct item *right = &table->values[table->holds[table->same[table->key_of[i]]]];
        TRY(subject_get(subject, item_slice(&table->keys[table->key_of[i]])));
        if (!slice_equal(subject->value.value, item_slice(right)))
            return fail(PLSM_CORRUPT, "wrong answer: read %llu is not what was written last", (unsigned long long)i);
    }
    return PLSM_OK;
}

static plsm_status measure(struct subject *subject, struct table *table, double *out)
{
    struct stopwatch watch;
    stopwatch_start(&watch);
    TRY(write_all(subject, table));
    out[0] = stopwatch_wall_ns(&watch) / 1e9;
    out[2] = stopwatch_cpu_ns(&watch) / 1e9;
    for (uint64_t i = 0; i < table->ops; i++)
        table->holds[table->same[table->key_of[i]]] = table->value_of[i];
    stopwatch_start(&watch);
    TRY(read_all(subject, table));
    out[1] = stopwatch_wall_ns(&watch) / 1e9;
    out[3] = stopwatch_cpu_ns(&watch) / 1e9;
    return PLSM_OK;
}

static uint64_t ops_of(const struct bench_plan *plan)
{
    return plan->row.ops ? plan->row.ops : PUBLISHED_OPS;
}

static plsm_status run(const struct errand *errand, const char *directory, double *out)
{
    const struct bench_plan *plan = errand->suite->plan;
    struct table table = {0};
    struct subject subject = {0};
    plsm_status status = table_init(&table, errand->job->keys, ops_of(plan), plan->row.seed);
    if (status == PLSM_OK)
        status = subject_open(&subject, errand, directory, "store", plan->row.cache_bytes);
    for (int kind = 0; kind < DISTRIBUTIONS && status == PLSM_OK; kind++) {
        draw(&table, (enum distribution_kind)kind, plan->row.seed + 1);
        status = measure(&subject, &table, out + kind * COLUMNS);
    }
    plsm_status closed = subject_close(&subject);
    table_free(&table);
    return status == PLSM_OK ? closed : status;
}

/* --- telling ----------------------------------------------------------------------------------------------------- */

double suite_published(const struct suite *suite, const struct suite_job *job, const struct contender *contender,
                       uint32_t figure)
{
    if (job->figures != figures || figure % COLUMNS > 1)
        return NAN;
    double seconds =
        published_s(contender->engine, job->keys, (enum distribution_kind)(figure / COLUMNS), figure % COLUMNS == 1);
    return seconds * (double)ops_of(suite->plan) / PUBLISHED_OPS;
}

static void tell_cell(const struct suite *suite, const struct suite_job *job, uint32_t c, uint32_t figure)
{
    const struct contender *contender = &suite->contenders[c];
    double wall = suite_median(suite, job, c, figure), cpu = suite_median(suite, job, c, figure + 2);
    double published = suite_published(suite, job, contender, figure);
    tool_print("%.1e %-7s %-20s %9.3fs %9.3fs", (double)ops_of(suite->plan), figure % COLUMNS ? "reads" : "writes",
               contender_name(contender), wall, cpu);
    if (isnan(published))
        tool_print("  %-10s %10s %8s  -\n", "-", "-", "-");
    else
        tool_print("  %-10s %9.3fs %7.1fx  %s\n", published_engine(contender->engine), published, published / wall,
                   published / wall >= SUITE_BEATEN ? "yes" : "no");
}

static void tell(const struct suite *suite, const struct suite_job *job)
{
    tool_print("\nnumber of distinct choices for keys and values: %llu\n", (unsigned long long)job->keys);
    tool_print("%-15s %-20s %10s %10s  %-10s %10s %8s  %.0fx\n", "", "engine", "wall", "CPU", "published", "wall",
               "ratio", SUITE_BEATEN);
    for (int kind = 0; kind < DISTRIBUTIONS; kind++) {
        tool_print("distribution:   %s\n", distribution_names[kind]);
        for (uint32_t c = 0; c < suite->contender_count; c++)
            for (uint32_t column = 0; column < 2; column++)
                tell_cell(suite, job, c, (uint32_t)kind * COLUMNS + column);
    }
}

void suite_add_table(struct suite *suite)
{
    const struct bench_plan *plan = suite->plan;
    for (uint32_t i = 0; i < plan->key_count; i++) {
        struct suite_job *job = suite_add(
            suite,
            &(struct suite_job){
                .part = "table",
                .about = "seed 003: keys of 1 to 4 random bytes, values of 0 to 4; writes, then reads of the same "
                         "keys; one store for the\nthree distributions. Wall is what the seed published, beside "
                         "it here with its ratio",
                .figures = figures,
                .figure_count = DISTRIBUTIONS * COLUMNS,
                .keys = plan->key_list[i],
                .all = true,
                .run = run,
                .tell = tell});
        snprintf(job->label, sizeof job->label, "%llu keys", (unsigned long long)job->keys);
    }
}
