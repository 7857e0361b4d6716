/* How many bits each class of a partitioned filter gets. The policy and its worked example stand in partitioned.h. */
#include <math.h>

#include "learn/partitioned.h"

#include "base/banned.h"

/* What a plan is made from. */
struct spending {
    const struct partition_counts *counts;
    uint64_t sizes[CLASSIFIER_CLASSES_MAX][FILTER_BITS_MAX + 1]; /* bytes of each class with so many bits */
    double share[CLASSIFIER_CLASSES_MAX];                        /* of the misses: what reaches each class */
};

static double pass_rate(unsigned bits)
{
    return ldexp(1, -(int)bits);
}

/* The step down that saves most bytes for each false positive it adds, among those within the budget; false when there
 * is none. */
static bool step_down(const struct spending *s, double budget, struct partition_plan *plan)
{
    unsigned best_class = 0, best_bits = 0;
    double best_value = 0;
    for (unsigned c = 0; c < plan->classes; c++) {
        unsigned from = plan->bits[c];
        for (unsigned to = from == PARTITION_NEVER ? 0 : from; to-- > 0;) {
            double added = s->share[c] * (pass_rate(to) - pass_rate(from));
            if (plan->false_positive_rate + added > budget)
                break; /* still fewer bits add still more */
            double value = (double)(s->sizes[c][from] - s->sizes[c][to]) / added;
            if (value > best_value) {
                best_value = value;
                best_class = c;
                best_bits = to;
            }
        }
    }
    if (best_value == 0)
        return false;
    uint8_t *bits = &plan->bits[best_class];
    plan->false_positive_rate += s->share[best_class] * (pass_rate(best_bits) - pass_rate(*bits));
    plan->size -= s->sizes[best_class][*bits] - s->sizes[best_class][best_bits];
    *bits = (uint8_t)best_bits;
    return true;
}

/* The plan for one number of directory bits (0: no filter of directories). */
static void plan_with(struct spending *s, unsigned bits, unsigned directory_bits, struct partition_plan *plan)
{
    const struct partition_counts *counts = s->counts;
    double misses = 0, beside = directory_bits ? pass_rate(directory_bits) : 1;
    *plan = (struct partition_plan){.classes = counts->classes,
                                    .directory_bits = (uint8_t)directory_bits,
                                    .size = partitioned_header_size(counts->classes) + counts->classifier_size};
    if (directory_bits)
        plan->size += filter_size(counts->directories, directory_bits);
    for (unsigned c = 0; c < counts->classes; c++)
        misses += 1.0 + counts->misses[c] + counts->misses_beside[c];
    for (unsigned c = 0; c < counts->classes; c++) {
        s->share[c] = (1.0 + counts->misses[c] + beside * counts->misses_beside[c]) / misses;
        plan->bits[c] = counts->keys[c] ? FILTER_BITS_MAX : PARTITION_NEVER;
        plan->false_positive_rate += counts->keys[c] ? s->share[c] * pass_rate(FILTER_BITS_MAX) : 0;
        plan->size += counts->keys[c] ? s->sizes[c][FILTER_BITS_MAX] : 0;
    }
    while (step_down(s, pass_rate(bits), plan))
        ;
}

/* The best plan for these classes over all numbers of directory bits. */
static void plan_classes(const struct partition_counts *counts, unsigned bits, struct partition_plan *out)
{
    struct spending spending = {.counts = counts};
    for (unsigned c = 0; c < counts->classes; c++)
        for (unsigned b = FILTER_BITS_LEAST; b <= FILTER_BITS_MAX; b++)
            spending.sizes[c][b] = filter_size(counts->keys[c], b);
    plan_with(&spending, bits, counts->directories ? bits : 0, out);
    for (unsigned d = bits + 1; counts->directories && d <= FILTER_BITS_MAX; d++) {
        struct partition_plan plan;
        plan_with(&spending, bits, d, &plan);
        if (plan.size < out->size)
            *out = plan;
    }
}

void partition_plan(const struct partition_counts *counts, unsigned bits, struct partition_plan *out)
{
    struct partition_counts whole = {.classes = 1, .directories = counts->directories};
    struct partition_plan plan;
    for (unsigned c = 0; c < counts->classes; c++) {
        whole.keys[0] += counts->keys[c];
        whole.misses[0] += counts->misses[c];
        whole.misses_beside[0] += counts->misses_beside[c];
    }
    plan_classes(&whole, bits, out);
    if (counts->classes > 1) {
        plan_classes(counts, bits, &plan);
        if (plan.size < out->size)
            *out = plan;
    }
    out->plain_size = filter_size(whole.keys[0] + whole.directories, bits);
    out->worth = whole.misses[0] + whole.misses_beside[0] >= PARTITION_MISSES_MIN &&
                 out->size * 100 <= out->plain_size * (100 - PARTITION_GAIN_PERCENT);
}
