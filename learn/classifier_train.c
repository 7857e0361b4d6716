/* Training a classifier: logistic regression by stochastic gradient descent with a rate of its own for each weight
 * (Duchi, Hazan, Singer, "Adaptive Subgradient Methods", JMLR 2011), then weights rounded to powers of two, then
 * thresholds that minimise the bits of the partition.
 *
 * Floating point, but additions, multiplications, divisions and square roots alone, which IEEE 754 defines to the last
 * bit: the same samples give the same bytes. The logistic function is replaced by x / (1 + |x|) for that reason. */
#include <math.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/random.h"
#include "learn/classifier.h"
#include "learn/classifier_format.h"
#include "learn/features.h"
#include "learn/partitioned.h"

#include "base/banned.h"

enum {
    CELLS_MAX = 1 << CLASSIFIER_CELL_BITS_MAX,
    NEGATIVE_CODES = 7, /* from the code of a weight to that of its negative */
    EPOCHS = 4,         /* more of them learn the samples by heart: 20 cost 10 % of the gain on paths */
    BINS = 64,
    LEVELS_MAX = CLASSIFIER_CLASSES_MAX,
    SEARCH_STEPS = 40,
};
static const float weight_rate = 0.1f, bias_rate = 0.05f; /* 0.3 and 1.0 were worse, for the same reason */

/* The sets of kinds that are tried, from the one that takes least time to the one that takes most. */
static const uint8_t kind_sets[] = {
    FEATURE_HEADS,                  /* misses elsewhere in the order of keys */
    FEATURE_HEADS | FEATURE_TOKENS, /* other names in the same places */
    FEATURE_HEADS | FEATURE_PAIRS,  /* keys without tokens: other words, other bytes */
};

/* --- features of samples --- */

/* The cells of a list of keys. */
struct cell_lists {
    uint16_t *cells;
    uint32_t *starts; /* of each key in `cells`, and the end */
    size_t count;
};

static void cell_lists_free(struct cell_lists *lists)
{
    mem_free(lists->cells);
    mem_free(lists->starts);
    *lists = (struct cell_lists){0};
}

static plsm_status cell_lists_build(const plsm_slice *keys, size_t count, unsigned kinds, struct cell_lists *out)
{
    uint16_t cells[FEATURES_MAX];
    size_t total = 0;
    *out = (struct cell_lists){.count = count};
    for (size_t i = 0; i < count; i++)
        total += features_list(keys[i], kinds, cells);
    out->cells = mem_alloc((total + 1) * sizeof *out->cells);
    out->starts = mem_alloc((count + 1) * sizeof *out->starts);
    if (!out->cells || !out->starts)
        return fail(PLSM_NO_MEMORY, "classifier: no memory for the features of %zu keys", count);
    total = 0;
    for (size_t i = 0; i < count; i++) {
        size_t more = features_list(keys[i], kinds, cells);
        memcpy(out->cells + total, cells, more * sizeof *cells);
        out->starts[i] = (uint32_t)total;
        total += more;
    }
    out->starts[count] = (uint32_t)total;
    return PLSM_OK;
}

/* --- weights --- */

struct trainer {
    const struct classifier_samples *samples;
    struct cell_lists keys, misses; /* of the samples, with the kinds at hand */
    unsigned bits;                  /* of the plain filter */
    uint64_t run_keys;
    unsigned kinds, cell_bits; /* of the classifier at hand */
    float weights[CELLS_MAX];
    float squares[CELLS_MAX];          /* sums of the squared gradients of each weight */
    uint8_t codes[CELLS_MAX];          /* the weights as they are written */
    uint32_t *order;                   /* of the samples trained on: keys, then misses, each counted from 0 */
    int32_t *key_scores, *miss_scores; /* of the samples held out */
    size_t held_out_keys, held_out_misses;
    int32_t *sorted; /* all of these scores */
};

/* One step towards `target` (1 for a miss, 0 for a key). `importance` makes up for lists of unequal length. */
static void descend(struct trainer *t, const struct cell_lists *lists, size_t number, float target, float importance,
                    float *bias)
{
    unsigned mask = (1u << t->cell_bits) - 1;
    const uint16_t *start = lists->cells + lists->starts[number], *end = lists->cells + lists->starts[number + 1];
    float score = *bias;
    for (const uint16_t *cell = start; cell < end; cell++)
        score += t->weights[*cell & mask];
    float answer = 0.5f + 0.5f * score / (1 + fabsf(score));
    float gradient = (target - answer) * importance, square = gradient * gradient;
    *bias += bias_rate * gradient;
    for (const uint16_t *cell = start; cell < end; cell++) {
        unsigned at = *cell & mask;
        t->squares[at] += square;
        t->weights[at] += weight_rate * gradient / sqrtf(1 + t->squares[at]);
    }
}

static void shuffle(uint32_t *order, size_t count, struct random *random)
{
    for (size_t i = count; i > 1; i--) {
        size_t other = random_below(random, i);
        uint32_t swap = order[i - 1];
        order[i - 1] = order[other];
        order[other] = swap;
    }
}

/* Every fourth sample chooses thresholds, kinds and size; the others train weights. */
static inline bool held_out(size_t number)
{
    return number % 4 == 3;
}

static void train_weights(struct trainer *t)
{
    size_t keys = t->keys.count, misses = t->misses.count, count = 0;
    float key_importance = (float)(keys + misses) / (2 * (float)keys);
    float miss_importance = (float)(keys + misses) / (2 * (float)misses);
    float bias = 0;
    struct random random;
    random_seed(&random, 0x706c736d); /* any constant: the same samples give the same weights */
    memset(t->weights, 0, sizeof t->weights);
    memset(t->squares, 0, sizeof t->squares);
    for (size_t i = 0; i < keys; i++)
        if (!held_out(i))
            t->order[count++] = (uint32_t)i;
    for (size_t i = 0; i < misses; i++)
        if (!held_out(i))
            t->order[count++] = (uint32_t)(keys + i);
    for (unsigned epoch = 0; epoch < EPOCHS; epoch++) {
        shuffle(t->order, count, &random);
        for (size_t i = 0; i < count; i++) {
            size_t number = t->order[i];
            if (number < keys)
                descend(t, &t->keys, number, 0, key_importance, &bias);
            else
                descend(t, &t->misses, number - keys, 1, miss_importance, &bias);
        }
    }
}

/* The half byte whose weight is nearest to `weight`, which is at most CLASSIFIER_WEIGHT_MAX. */
static uint8_t weight_code(float weight)
{
    float size = fabsf(weight);
    uint8_t code = size >= 0.5f;
    for (float border = 1.5f; size >= border && border < CLASSIFIER_WEIGHT_MAX; border *= 2)
        code++;
    return (uint8_t)(code + (code && weight < 0 ? NEGATIVE_CODES : 0));
}

static void round_weights(struct trainer *t)
{
    size_t cells = (size_t)1 << t->cell_bits;
    float largest = 0;
    for (size_t i = 0; i < cells; i++)
        largest = fmaxf(largest, fabsf(t->weights[i]));
    float scale = largest > 0 ? CLASSIFIER_WEIGHT_MAX / largest : 0;
    for (size_t i = 0; i < cells; i++)
        t->codes[i] = weight_code(t->weights[i] * scale);
}

/* Writes the scores of the held-out samples of a list, as the classifier will compute them; returns how many. */
static size_t score_held_out(const struct trainer *t, const struct cell_lists *lists, int32_t *scores)
{
    unsigned mask = (1u << t->cell_bits) - 1;
    size_t count = 0;
    for (size_t number = 0; number < lists->count; number++) {
        if (!held_out(number))
            continue;
        int32_t score = 0;
        for (uint32_t i = lists->starts[number]; i < lists->starts[number + 1]; i++)
            score += feature_weights[t->codes[lists->cells[i] & mask]];
        scores[count++] = score;
    }
    return count;
}

/* --- thresholds --- */

/* Scores of the held-out samples in bins of about equal size. */
struct bins {
    unsigned count;
    int32_t starts[BINS]; /* the smallest score of each; the first takes all below as well */
    double keys[BINS];    /* shares of the keys */
    double misses[BINS];  /* shares of the misses */
};

static int compare_scores(const void *a, const void *b)
{
    int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
    return (x > y) - (x < y);
}

static unsigned bin_of(const struct bins *bins, int32_t score)
{
    unsigned bin = bins->count - 1;
    while (bin > 0 && score < bins->starts[bin])
        bin--;
    return bin;
}

static void fill_bins(struct trainer *t, struct bins *bins)
{
    size_t keys = score_held_out(t, &t->keys, t->key_scores), misses = score_held_out(t, &t->misses, t->miss_scores);
    memcpy(t->sorted, t->key_scores, keys * sizeof *t->sorted);
    memcpy(t->sorted + keys, t->miss_scores, misses * sizeof *t->sorted);
    qsort(t->sorted, keys + misses, sizeof *t->sorted, compare_scores);
    t->held_out_keys = keys;
    t->held_out_misses = misses;
    *bins = (struct bins){0};
    for (unsigned i = 0; i < BINS; i++) {
        int32_t start = t->sorted[(keys + misses) * i / BINS];
        if (bins->count == 0 || start > bins->starts[bins->count - 1])
            bins->starts[bins->count++] = start;
    }
    for (unsigned i = 0; i < bins->count; i++) /* a miss more in each class than was seen, as the policy assumes */
        bins->misses[i] = (double)CLASSIFIER_CLASSES_MAX / bins->count;
    for (size_t i = 0; i < keys; i++)
        bins->keys[bin_of(bins, t->key_scores[i])] += 1;
    for (size_t i = 0; i < misses; i++)
        bins->misses[bin_of(bins, t->miss_scores[i])] += 1;
    for (unsigned i = 0; i < bins->count; i++) {
        bins->keys[i] /= (double)keys;
        bins->misses[i] /= (double)(misses + CLASSIFIER_CLASSES_MAX);
    }
}

/* The numbers of fingerprint bits among which thresholds are sought, ascending. They need not be possible: what a class
 * gets is decided in the run (partition_plan), where misses may be a little more than here. So there are small steps
 * near 0, for classes that may just go without a filter, and steps around `bits`. */
static unsigned levels_for(unsigned bits, uint8_t levels[LEVELS_MAX])
{
    const unsigned wanted[LEVELS_MAX] = {0, bits / 8, bits / 4, bits / 2, bits * 3 / 4, bits, bits + 2, bits + 4};
    unsigned count = 1;
    levels[0] = 0;
    for (unsigned i = 1; i < LEVELS_MAX; i++) {
        unsigned level = wanted[i] < FILTER_BITS_MAX ? wanted[i] : FILTER_BITS_MAX;
        if (level > levels[count - 1])
            levels[count++] = (uint8_t)level;
    }
    return count;
}

/* An assignment of levels to bins. */
struct assignment {
    uint8_t level[BINS];
    double bits, passed; /* fingerprint bits per key; share of the misses that pass */
};

/* The assignment, never descending, with the least bits + price * passed: dynamic programming over bins and levels. */
static void assign(const struct bins *bins, const uint8_t *levels, unsigned level_count, double price,
                   struct assignment *out)
{
    double cost[LEVELS_MAX] = {0};
    uint8_t from[BINS][LEVELS_MAX] = {{0}};
    for (unsigned i = 0; i < bins->count; i++) {
        unsigned best = 0; /* of the levels up to this one, in the bin before */
        double next[LEVELS_MAX] = {0};
        for (unsigned l = 0; l < level_count; l++) {
            if (cost[l] < cost[best])
                best = l;
            from[i][l] = (uint8_t)best;
            next[l] = cost[best] + bins->keys[i] * levels[l] + price * bins->misses[i] * ldexp(1, -levels[l]);
        }
        memcpy(cost, next, sizeof cost);
    }
    unsigned level = 0;
    for (unsigned l = 1; l < level_count; l++)
        if (cost[l] < cost[level])
            level = l;
    *out = (struct assignment){0};
    for (unsigned i = bins->count; i-- > 0; level = from[i][level]) {
        out->level[i] = levels[level];
        out->bits += bins->keys[i] * levels[level];
        out->passed += bins->misses[i] * ldexp(1, -levels[level]);
    }
}

/* Thresholds between the classes of the best partition that lets 2^-bits of the misses pass; returns how many. */
static unsigned choose_thresholds(const struct bins *bins, unsigned bits,
                                  int32_t thresholds[CLASSIFIER_CLASSES_MAX - 1])
{
    uint8_t levels[LEVELS_MAX];
    unsigned level_count = levels_for(bits, levels), count = 0;
    double low = 1.0 / 1024, high = ldexp(1, 40); /* a price at which none passes, and one at which all do */
    struct assignment best, tried;
    assign(bins, levels, level_count, high, &best);
    for (unsigned step = 0; step < SEARCH_STEPS; step++) {
        double price = sqrt(low * high);
        assign(bins, levels, level_count, price, &tried);
        if (tried.passed <= ldexp(1, -(int)bits)) {
            best = tried;
            high = price;
        } else {
            low = price;
        }
    }
    for (unsigned i = 1; i < bins->count; i++)
        if (best.level[i] != best.level[i - 1])
            thresholds[count++] = bins->starts[i];
    return count;
}

/* --- choice --- */

static unsigned class_of(const int32_t *thresholds, unsigned count, int32_t score)
{
    unsigned class = 0;
    for (unsigned i = 0; i < count; i++)
        class += score >= thresholds[i];
    return class;
}

/* Bytes of the filters of a run with this classifier, by the samples held out; UINT64_MAX: not worth having. */
static uint64_t weigh(const struct trainer *t, const int32_t *thresholds, unsigned count)
{
    size_t keys = t->held_out_keys, misses = t->held_out_misses;
    struct partition_counts counts = {.classes = count + 1,
                                      .classifier_size = CLASSIFIER_HEADER_SIZE + 4 * (uint64_t)count +
                                                         ((uint64_t)1 << t->cell_bits) / 2};
    struct partition_plan plan;
    for (size_t i = 0; i < keys; i++)
        counts.keys[class_of(thresholds, count, t->key_scores[i])]++;
    for (size_t i = 0; i < misses; i++)
        counts.misses[class_of(thresholds, count, t->miss_scores[i])]++;
    /* A key more in each class than was seen: a class without keys is only certain in the run itself. */
    for (unsigned c = 0; c < counts.classes; c++)
        counts.keys[c] =
            (uint64_t)((double)(counts.keys[c] + 1) / (double)(keys + counts.classes) * (double)t->run_keys);
    partition_plan(&counts, t->bits, &plan);
    return plan.worth && plan.classes > 1 ? plan.size : UINT64_MAX;
}

static plsm_status write_classifier(const struct trainer *t, const int32_t *thresholds, unsigned count, struct buf *out)
{
    size_t cells = (size_t)1 << t->cell_bits, size = CLASSIFIER_HEADER_SIZE + 4 * (size_t)count + cells / 2;
    if (buf_reserve(out, size))
        return fail(PLSM_NO_MEMORY, "classifier: no memory for its %zu bytes", size);
    uint8_t *at = out->data + out->size;
    out->size += size;
    *at++ = CLASSIFIER_FORMAT;
    *at++ = (uint8_t)t->kinds;
    *at++ = (uint8_t)t->cell_bits;
    *at++ = (uint8_t)count;
    for (unsigned i = 0; i < count; i++, at += 4)
        put_u32(at, (uint32_t)thresholds[i]);
    for (size_t i = 0; i < cells; i += 2)
        *at++ = (uint8_t)(t->codes[i] | t->codes[i + 1] << 4);
    return PLSM_OK;
}

/* Trains with one set of kinds, with tables of one size after the other while that pays, and keeps in `best` what is
 * smaller than *best_size. A set after the first takes more time for every key, so it must save 1 % of a plain filter
 * to be taken. */
static plsm_status try_kinds(struct trainer *t, unsigned kinds, struct buf *best, uint64_t *best_size)
{
    const struct classifier_samples *s = t->samples;
    uint64_t margin = filter_size(t->run_keys, t->bits) / 100;
    uint64_t limit = *best_size == UINT64_MAX ? UINT64_MAX : *best_size > margin ? *best_size - margin : 0;
    t->kinds = kinds;
    plsm_status status = cell_lists_build(s->keys, s->key_count, kinds, &t->keys);
    if (status == PLSM_OK)
        status = cell_lists_build(s->misses, s->miss_count, kinds, &t->misses);
    for (t->cell_bits = CLASSIFIER_CELL_BITS_MAX; status == PLSM_OK && t->cell_bits >= CLASSIFIER_CELL_BITS_MIN;
         t->cell_bits--) {
        struct bins bins;
        int32_t thresholds[CLASSIFIER_CLASSES_MAX - 1];
        train_weights(t);
        round_weights(t);
        fill_bins(t, &bins);
        unsigned count = choose_thresholds(&bins, t->bits, thresholds);
        uint64_t size = count ? weigh(t, thresholds, count) : UINT64_MAX;
        if (size >= limit)
            break;
        limit = *best_size = size;
        best->size = 0;
        status = write_classifier(t, thresholds, count, best);
    }
    cell_lists_free(&t->keys);
    cell_lists_free(&t->misses);
    return status;
}

plsm_status classifier_train(const struct classifier_samples *samples, unsigned bits, uint64_t run_keys,
                             struct buf *out)
{
    size_t keys = samples->key_count, misses = samples->miss_count;
    if (bits < FILTER_BITS_MIN || bits > FILTER_BITS_MAX)
        return fail(PLSM_INVALID, "classifier: %u fingerprint bits; %d to %d are possible", bits, FILTER_BITS_MIN,
                    FILTER_BITS_MAX);
    if (keys > CLASSIFIER_SAMPLES_MAX || misses > CLASSIFIER_SAMPLES_MAX)
        return fail(PLSM_INVALID, "classifier: %zu keys and %zu misses are too many to learn from", keys, misses);
    if (keys < CLASSIFIER_SAMPLES_MIN || misses < CLASSIFIER_SAMPLES_MIN)
        return PLSM_OK;
    struct trainer *t = mem_zalloc(sizeof *t);
    struct buf best = {0};
    uint64_t best_size = UINT64_MAX;
    plsm_status status = PLSM_OK;
    if (!t)
        return fail(PLSM_NO_MEMORY, "classifier: no memory to train one");
    t->samples = samples;
    t->bits = bits;
    t->run_keys = run_keys;
    t->order = mem_alloc((keys + misses) * sizeof *t->order);
    t->sorted = mem_alloc((keys + misses) * sizeof *t->sorted);
    t->key_scores = mem_alloc(keys * sizeof *t->key_scores);
    t->miss_scores = mem_alloc(misses * sizeof *t->miss_scores);
    if (!t->order || !t->sorted || !t->key_scores || !t->miss_scores)
        status = fail(PLSM_NO_MEMORY, "classifier: no memory to train one");
    for (size_t i = 0; i < sizeof kind_sets && status == PLSM_OK; i++)
        status = try_kinds(t, kind_sets[i], &best, &best_size);
    if (status == PLSM_OK && best.size && buf_append(out, best.data, best.size))
        status = fail(PLSM_NO_MEMORY, "classifier: no memory for its %zu bytes", best.size);
    mem_free(t->order);
    mem_free(t->sorted);
    mem_free(t->key_scores);
    mem_free(t->miss_scores);
    mem_free(t);
    buf_free(&best);
    return status;
}
