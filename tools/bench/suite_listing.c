/* Listings: names DIRECTORY/NAME, 1,000 of each directory, written in random order. What an engine without order has to
 * do to list them in order is in its figures. */
#include "base/error.h"
#include "tools/bench/permutation.h"
#include "tools/bench/subject.h"
#include "tools/text.h"

#include "base/banned.h"

enum { FIRST, PREFIX, HAS, HAS_NOT, ALL, FIGURES };
enum { OF_DIRECTORY = 1000, NAME_SIZE = 32, LISTINGS_MAX = 1000, LISTINGS_LEAST = 3 };

static const struct suite_figure figures[FIGURES] = {
    [FIRST] = {"first name of a directory", "us", BETTER_LESS, WORK_LIST},
    [PREFIX] = {"all names of a directory", "us", BETTER_LESS, WORK_LIST},
    [HAS] = {"whether a directory has names", "us", BETTER_LESS, WORK_LIST},
    [HAS_NOT] = {"the same of one that has not", "us", BETTER_LESS, WORK_LIST},
    [ALL] = {"everything, per name", "ns", BETTER_LESS, WORK_LIST},
};

struct names {
    uint64_t count, directories;
    struct permutation order;
};

static plsm_slice name_at(uint64_t i, char buffer[NAME_SIZE])
{
    int size = snprintf(buffer, NAME_SIZE, "%07llu/%03llu", (unsigned long long)(i / OF_DIRECTORY),
                        (unsigned long long)(i % OF_DIRECTORY));
    return slice(buffer, (size_t)size);
}

/* "0000042/"; the names behind the last directory are of none. */
static plsm_slice directory_at(uint64_t directory, char buffer[NAME_SIZE])
{
    return slice(buffer, (size_t)snprintf(buffer, NAME_SIZE, "%07llu/", (unsigned long long)directory));
}

static plsm_status write_all(struct subject *subject, const struct names *names)
{
    char buffer[NAME_SIZE];
    for (uint64_t i = 0; i < names->count; i++) {
        plsm_slice name = name_at(permutation_at(&names->order, i), buffer);
        TRY(subject_put(subject, name, name));
    }
    return subject_settle(subject);
}

/* Lists [first, end) by index, up to `most` of them, and checks that they are those. */
static plsm_status list(struct subject *subject, uint64_t first, uint64_t end, bool bounded, uint64_t most)
{
    char from[NAME_SIZE], to[NAME_SIZE], expected[NAME_SIZE], quoted[64];
    plsm_slice lower = {0}, upper = {0};
    plsm_iterator *it = NULL;
    uint64_t at = first;
    bool right = true;
    if (bounded) {
        lower = directory_at(first / OF_DIRECTORY, from);
        upper = directory_at(first / OF_DIRECTORY, to);
        to[upper.size - 1]++; /* behind all that begins like it */
    }
    TRY(plsm_iterator_create(subject->db, NULL, lower, upper, &it));
    for (plsm_iterator_first(it); right && plsm_iterator_valid(it) && at - first < most; plsm_iterator_next(it))
        right = at < end && slice_equal(plsm_iterator_key(it), name_at(at++, expected));
    plsm_status status = plsm_iterator_status(it);
    plsm_iterator_destroy(it);
    if (status != PLSM_OK)
        return status;
    uint64_t wanted = end - first < most ? end - first : most;
    return right && at - first == wanted ? PLSM_OK
                                         : fail(PLSM_CORRUPT, "wrong answer: a listing that should begin with %s",
                                                text_quote(quoted, sizeof quoted, name_at(first, expected)));
}

static plsm_status list_directory(struct subject *subject, const struct names *names, uint64_t directory, uint64_t most)
{
    uint64_t first = directory * OF_DIRECTORY, end = first + OF_DIRECTORY;
    return list(subject, first, end < names->count ? end : names->count, true, most);
}

static plsm_status has(struct subject *subject, uint64_t directory, bool there)
{
    char buffer[NAME_SIZE];
    bool found = !there;
    TRY(plsm_has_prefix(subject->db, NULL, directory_at(directory, buffer), &found));
    return found == there ? PLSM_OK
                          : fail(PLSM_CORRUPT, "wrong answer: whether there are names that begin with %s", buffer);
}

/* Directories at random, as many as half a second allows. */
static plsm_status measure_one(struct subject *subject, const struct names *names, int figure, double *us)
{
    struct random random;
    struct stopwatch watch;
    uint64_t done = 0;
    random_seed(&random, (uint64_t)figure);
    stopwatch_start(&watch);
    while (done < LISTINGS_MAX && (done < LISTINGS_LEAST || stopwatch_wall_ns(&watch) < 5e8)) {
        uint64_t directory = random_below(&random, names->directories);
        switch (figure) {
        case FIRST:
            TRY(list_directory(subject, names, directory, 1));
            break;
        case PREFIX:
            TRY(list_directory(subject, names, directory, UINT64_MAX));
            break;
        case HAS:
            TRY(has(subject, directory, true));
            break;
        default:
            TRY(has(subject, names->directories + directory, false));
        }
        done++;
    }
    *us = stopwatch_wall_ns(&watch) / (double)done / 1e3;
    return PLSM_OK;
}

static plsm_status measure(struct subject *subject, const struct names *names, double *out)
{
    struct stopwatch watch;
    TRY(write_all(subject, names));
    for (int figure = FIRST; figure < ALL; figure++)
        TRY(measure_one(subject, names, figure, &out[figure]));
    stopwatch_start(&watch);
    TRY(list(subject, 0, names->count, false, UINT64_MAX));
    out[ALL] = stopwatch_wall_ns(&watch) / (double)names->count;
    return PLSM_OK;
}

static plsm_status run(const struct errand *errand, const char *directory, double *out)
{
    const struct row_options *row = &errand->suite->plan->row;
    struct subject subject = {0};
    struct names names = {.count = errand->job->keys,
                          .directories = (errand->job->keys + OF_DIRECTORY - 1) / OF_DIRECTORY};
    permutation_init(&names.order, names.count, row->seed);
    plsm_status status = subject_open(&subject, errand, directory, "store", row->cache_bytes);
    if (status == PLSM_OK)
        status = measure(&subject, &names, out);
    plsm_status closed = subject_close(&subject);
    return status == PLSM_OK ? closed : status;
}

void suite_add_listing(struct suite *suite)
{
    struct suite_job *job = suite_add(
        suite, &(struct suite_job){.part = "listing",
                                   .about = "names DIRECTORY/NAME, 1,000 of each directory, written in random "
                                            "order, listed in order by iterators with bounds\n(an engine "
                                            "without order sorts); wall time",
                                   .figures = figures,
                                   .figure_count = FIGURES,
                                   .keys = suite_keys(suite),
                                   .run = run});
    snprintf(job->label, sizeof job->label, "%llu names", (unsigned long long)job->keys);
}
