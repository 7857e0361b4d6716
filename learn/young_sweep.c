/* Taking runs out of the table over the young runs. See young.h, and young_private.h for how it works.
 *
 * A sweep goes through the table group by group. In each: empty the lanes of the slots that go, and list the entries
 * that are not at home; copy those that have room nearer to home now, and note the overflow bits that they need where
 * they will be; add one to `returns`; empty the old lanes of what was copied, and store the overflow bits. The lists
 * spare a branch per bucket and purpose that no processor can predict: half of the time. */
#include <string.h>

#include "learn/young_private.h"

#include "base/banned.h"

/* Empties lanes; which ones they are cannot be predicted, so there is no branch for each. */
static void empty_lanes(struct bucket *bucket, uint32_t lanes)
{
    static const uint64_t parts[] = {
        0x0000000000000000, 0x000000000000ffff, 0x00000000ffff0000, 0x00000000ffffffff,
        0x0000ffff00000000, 0x0000ffff0000ffff, 0x0000ffffffff0000, 0x0000ffffffffffff,
        0xffff000000000000, 0xffff00000000ffff, 0xffff0000ffff0000, 0xffff0000ffffffff,
        0xffffffff00000000, 0xffffffff0000ffff, 0xffffffffffff0000, 0xffffffffffffffff,
    };
    for (unsigned word = 0; word < FINGERPRINT_WORDS; word++, lanes >>= WORD_LANES)
        store_word(bucket, word, load_word(bucket, word) & ~parts[lanes % (1 << WORD_LANES)]);
}

/* Empties the lanes of `slots` in one bucket of a group, and appends the entries that are not at home to the list of
 * so far `listed`; returns how many there are then. */
static uint32_t sweep_bucket(struct young *young, struct bucket *bucket, uint32_t in_group, uint64_t slots,
                             uint32_t listed)
{
    uint16_t *away = young->sweep.away;
    uint32_t empty = lanes_equal(young, bucket, 0), gone = 0;
    uint32_t lanes = ~lanes_tagged(young, bucket, STEP_MASK, 0) & ALL_LANES; /* a vector load: before the stores */
    for (; slots; slots &= slots - 1)
        gone |= lanes_tagged(young, bucket, SLOT_MASK, (unsigned)__builtin_ctzll(slots));
    if (gone &= ~empty)
        empty_lanes(bucket, gone);
    empty |= gone;
    young->sweep.room[in_group] = empty != 0;
    /* Most often there is one or none: written either way, counted if there is one. */
    lanes &= ~empty;
    away[listed] = (uint16_t)(in_group << AWAY_LANE_BITS | first_lane(lanes | 1u << LANES));
    listed += lanes != 0;
    for (lanes &= lanes - 1; lanes; lanes &= lanes - 1)
        away[listed++] = (uint16_t)(in_group << AWAY_LANE_BITS | first_lane(lanes));
    return listed;
}

/* Copies an entry to the first bucket on its path that has room, if it comes before the one it is in; false if not.
 * Notes the overflow bits that the entry needs. */
static bool bring_nearer(struct young *young, struct bucket *group, uint32_t in_group, unsigned lane)
{
    uint32_t fingerprint = fingerprint_at(&group[in_group], lane), tag = tag_at(&group[in_group], lane);
    uint64_t spread = spread_of(fingerprint);
    uint32_t home = in_group ^ distance(spread, tag >> STEP_SHIFT);
    for (unsigned step = 0; step < tag >> STEP_SHIFT; step++) {
        uint32_t nearer = home ^ distance(spread, step);
        if (young->sweep.room[nearer]) {
            uint32_t empty = lanes_equal(young, &group[nearer], 0);
            store_entry(&group[nearer], first_lane(empty), fingerprint, tag_of(tag & SLOT_MASK, step));
            young->sweep.room[nearer] = (empty & (empty - 1)) != 0;
            return true;
        }
        young->sweep.overflow[nearer] |= overflow_bit(spread);
    }
    return false;
}

static void sweep_group(struct young *young, struct bucket *group, uint64_t slots)
{
    struct sweep *sweep = &young->sweep;
    uint32_t listed = 0, returned = 0;
    memset(sweep->overflow, 0, sizeof sweep->overflow);
    for (uint32_t i = 0; i < GROUP; i++)
        listed = sweep_bucket(young, &group[i], i, slots, listed);
    for (uint32_t i = 0; i < listed; i++) {
        uint16_t away = sweep->away[i];
        sweep->away[returned] = away; /* the list becomes that of what was copied */
        returned += bring_nearer(young, group, away >> AWAY_LANE_BITS, away % (1 << AWAY_LANE_BITS));
    }
    if (returned)
        add_return(young);
    for (uint32_t i = 0; i < returned; i++)
        store_fingerprint(&group[sweep->away[i] >> AWAY_LANE_BITS], sweep->away[i] % (1 << AWAY_LANE_BITS), 0);
    for (uint32_t i = 0; i < GROUP; i++) {
        uint64_t word = load_word(&group[i], OVERFLOW_WORD);
        uint64_t fresh = (uint64_t)sweep->overflow[i] << OVERFLOW_SHIFT | (word & UINT32_MAX);
        if (fresh != word)
            store_word(&group[i], OVERFLOW_WORD, fresh);
    }
}

void young_remove(struct young *young, uint64_t slots)
{
    uint64_t in_use = atomic_load_explicit(&young->slots, memory_order_relaxed);
    uint64_t entries = atomic_load_explicit(&young->entries, memory_order_relaxed);
    slots &= in_use;
    if (!slots)
        return;
    for (uint32_t number = 0; number < young->bucket_count; number += GROUP)
        sweep_group(young, &young->buckets[number], slots);
    for (uint64_t left = slots; left; left &= left - 1)
        entries -= young->slot_entries[__builtin_ctzll(left)];
    atomic_store_explicit(&young->entries, entries, memory_order_relaxed);
    atomic_store_explicit(&young->slots, in_use & ~slots, memory_order_relaxed);
}
