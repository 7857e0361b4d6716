#include "tools/bench/distribution.h"

#include "base/banned.h"

const char *const distribution_names[DISTRIBUTIONS] = {"Zipfian", "HotSet", "Uniform"};

void distribution_init(struct distribution *d, enum distribution_kind kind, uint64_t items, uint64_t seed)
{
    *d = (struct distribution){.kind = kind, .items = items};
    random_seed(&d->random, seed);
    zipf_init(&d->zipf, items, 0.99);
}

uint64_t hotset_begin(uint64_t items, uint32_t range)
{
    uint64_t size = items / HOTSET_RANGES, larger = items % HOTSET_RANGES;
    return range * size + (range < larger ? range : larger);
}

static uint64_t next_hotset(struct distribution *d)
{
    if (d->drawn == HOTSET_DRAWS) {
        d->hot = (d->hot + 1) % HOTSET_RANGES;
        d->drawn = 0;
    }
    d->drawn++;
    uint32_t range = d->hot;
    if (random_below(&d->random, HOTSET_COLD_OF) == 0) {
        range = (uint32_t)random_below(&d->random, HOTSET_RANGES - 1);
        range += range >= d->hot;
    }
    uint64_t begin = hotset_begin(d->items, range), end = hotset_begin(d->items, range + 1);
    return begin + random_below(&d->random, end - begin);
}

uint64_t distribution_next(struct distribution *d)
{
    switch (d->kind) {
    case DISTRIBUTION_ZIPFIAN:
        return zipf_next(&d->zipf, &d->random);
    case DISTRIBUTION_HOTSET:
        return next_hotset(d);
    default:
        return random_below(&d->random, d->items);
    }
}
