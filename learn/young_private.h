/* The inside of the table over the young runs (young.h), shared by young.c and young_sweep.c. Private to learn/ and its
 * tests.
 *
 * A bucket is one cache line of eight 64-bit words, with 20 lanes for entries:
 *
 *   words 0-4                  20 fingerprints of 16 bits, lane i in word i / 4; 0: the lane is empty
 *   words 5, 6, low half of 7  20 tags of 8 bits: run slot (bits 0-5), step (bits 6-7)
 *   high half of 7             32 overflow bits
 *
 * A hash names its home bucket (high bits) and its fingerprint (low bits). The fingerprint names three more buckets of
 * the same group, at fixed distances (exclusive or) from home, and one of the 32 overflow bits. An entry stands in one
 * of these four buckets; its step, 0 to 3, tells in which. Every bucket before it on this path has the entry's overflow
 * bit set. So a search starts at home and goes on only while the overflow bit of its fingerprint is set: at the design
 * load 2 to 5 % of the entries are not at home, and 2.7 % of the searches for absent keys read a second line (at a load
 * of 70 %: 0.8 and 0.4 %).
 *
 * A new entry takes the first of its buckets that has room. When all four are full, an entry of another key moves from
 * one of them to a later bucket of its own path. When runs are swept out, entries move nearer to home again.
 * Fingerprint, step and bucket give back the home of an entry, and with it the overflow bits that it needs: so a sweep
 * finds out which can be cleared. (Without all this nearly every overflow bit would be set after some generations of
 * runs.) A group is small enough for the L2 cache, as a sweep jumps about in it, and large enough to average out the
 * load where many keys are in several runs at once.
 *
 * Concurrency: one writer, readers without locks. "Needed" is an entry whose slot a reader may ask for (young.h).
 *   1. A needed entry was entered before the reader's version was published: release and acquire of the version make
 *      the entry and its overflow bits visible to the reader. Entries are swept when nobody needs them any more.
 *   2. Between the two, an entry may move to a later step (move_away). The writer stores the copy, then the overflow
 *      bits in front of it, then empties the old lane; only then may the lane be used again. All these are release
 *      stores. The reader looks at the steps in ascending order, and within a bucket reads the fingerprints, then the
 *      tags of those that are equal, then the overflow bits: acquire loads. When it meets the old lane before it
 *      changed, the entry is there. When it meets it after - it misses the fingerprint, or reads the tag of the lane's
 *      next entry - it has synchronized with a store behind that of the overflow bits: it finds them set in this bucket
 *      and those behind it, goes on, and sees the copy. So it must not stop at an equal fingerprint.
 *   3. Or it moves to an earlier step (bring_nearer), which 2 does not cover: a reader could have passed the new place
 *      before the copy was there, and come to the old one after it was emptied, or after an overflow bit on the way was
 *      cleared. So the writer stores the copies, then adds one to `returns`, then empties the old lanes and clears
 *      overflow bits. A reader loads `returns` before and after its search and repeats the search when they differ. If
 *      it met anything stored behind an addition, it has synchronized with it: either it had loaded the new value
 *      before the search, and then the copies were visible in time, or it loads a new value after the search.
 *   4. An overflow bit is cleared only if no entry that is left needs it, and one store replaces all 32 bits of a
 *      bucket: a needed one is never clear in between.
 *   5. The writer's stores change whole words of which most lanes stay as they are; it is alone, so nothing gets lost.
 * What a reader may see of lanes that change - a fingerprint with the tag of the entry before it or after it - sets
 * bits of slots it does not know, or is a false positive.
 * On x86-64 a reader loads the fingerprints by vectors. That is not atomic as C has it; processors load each aligned
 * 8 bytes of a vector at once and keep loads in order, and the compiler is told to. ThreadSanitizer gets the portable
 * way, where every access is an atomic one to a whole word. */
#ifndef LEARN_YOUNG_PRIVATE_H
#define LEARN_YOUNG_PRIVATE_H

#if defined(__SSE2__) && !defined(__SANITIZE_THREAD__)
#define YOUNG_SSE2 1
#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#undef YOUNG_SSE2
#endif
#endif
#endif
#ifdef YOUNG_SSE2
#include <emmintrin.h>
#endif
#include <assert.h>
#include <stdatomic.h>

#include "learn/young.h"

/* For tests: from now on this table is searched without vector instructions; the answers must be the same. Before it is
 * shared between threads. */
void young_use_portable(struct young *young);

enum {
    LANES = 20,
    ALL_LANES = (1 << LANES) - 1,
    WORD_LANES = 4, /* fingerprints in a word */
    FINGERPRINT_WORDS = 5,
    TAG_WORD = 5, /* the first with tags */
    WORD_TAGS = 8,
    OVERFLOW_WORD = 7,
    OVERFLOW_SHIFT = 32, /* in that word */
    STEPS = 4,
    STEP_SHIFT = 6, /* in a tag */
    SLOT_MASK = YOUNG_SLOTS - 1,
    STEP_MASK = 0xff ^ SLOT_MASK,
    GROUP_BITS = 10,
    GROUP = 1 << GROUP_BITS, /* buckets: 64 KiB */
    AWAY_LANE_BITS = 5,      /* a lane in struct sweep's away */
};

struct bucket {
    _Atomic uint64_t words[8];
};
static_assert(sizeof(struct bucket) == 64, "a bucket is a cache line");
static_assert(LANES == FINGERPRINT_WORDS * WORD_LANES, "the fingerprints fill their words");
static_assert(LANES * 8 == (OVERFLOW_WORD - TAG_WORD) * 64 + OVERFLOW_SHIFT, "the tags fill theirs");
static_assert(LANES <= 1 << AWAY_LANE_BITS && GROUP_BITS + AWAY_LANE_BITS <= 16, "a bucket and a lane fit 16 bits");
static_assert(YOUNG_SLOTS == 1 << STEP_SHIFT && STEPS << STEP_SHIFT == 256, "slot and step fill a tag");

struct young {
    uint32_t bucket_count;    /* a multiple of GROUP */
    bool vectors;             /* compare with SSE2 */
    _Atomic uint64_t returns; /* see Concurrency; here because every search reads this line, and it rarely changes */

    /* A line of its own: readers write it, rarely, and must not take away the one above from each other. */
    _Alignas(64) _Atomic uint64_t probes_further;

    /* The writer's; others read the first two for statistics. */
    _Alignas(64) _Atomic uint64_t entries;
    _Atomic uint64_t slots;             /* in use */
    uint64_t slot_entries[YOUNG_SLOTS]; /* of each slot in use */
    struct sweep {                      /* scratch, about the group that is being swept */
        uint32_t overflow[GROUP];       /* per bucket: the overflow bits that are needed */
        uint8_t room[GROUP];            /* per bucket: it has an empty lane */
        /* Entries that are not at home: bucket in the group << AWAY_LANE_BITS | lane. The last is only written. */
        uint16_t away[GROUP * LANES + 1];
    } sweep;

    _Alignas(64) struct bucket buckets[];
};

/* --- words and lanes --- */

/* Between two accesses of one thread another may do anything. A test that wants to choose what defines this. */
#ifndef YOUNG_INTERLEAVE
#define YOUNG_INTERLEAVE(is_store) ((void)0)
#endif

static inline uint64_t load_word(const struct bucket *bucket, unsigned word)
{
    YOUNG_INTERLEAVE(false);
    return atomic_load_explicit(&bucket->words[word], memory_order_acquire);
}

static inline void store_word(struct bucket *bucket, unsigned word, uint64_t value)
{
    YOUNG_INTERLEAVE(true);
    atomic_store_explicit(&bucket->words[word], value, memory_order_release);
}

static inline uint64_t load_returns(const struct young *young)
{
    YOUNG_INTERLEAVE(false);
    return atomic_load_explicit(&young->returns, memory_order_acquire);
}

static inline void add_return(struct young *young)
{
    YOUNG_INTERLEAVE(true);
    uint64_t returns = atomic_load_explicit(&young->returns, memory_order_relaxed);
    atomic_store_explicit(&young->returns, returns + 1, memory_order_release);
}

#ifdef YOUNG_SSE2
static inline __m128i equal_fingerprints(const struct bucket *bucket, unsigned from_word, uint32_t fingerprint)
{
    const __m128i *eight = (const void *)&bucket->words[from_word];
    return _mm_cmpeq_epi16(_mm_load_si128(eight), _mm_set1_epi16((short)fingerprint));
}

static inline uint32_t equal_bytes(const struct bucket *bucket, unsigned from_word, unsigned mask, unsigned value)
{
    const __m128i *sixteen = (const void *)&bucket->words[from_word];
    __m128i masked = _mm_and_si128(_mm_load_si128(sixteen), _mm_set1_epi8((char)mask));
    return (uint32_t)_mm_movemask_epi8(_mm_cmpeq_epi8(masked, _mm_set1_epi8((char)value)));
}
#endif

/* Bit 15 of each part of 16 bits that is 0; no carry leaves a part. */
static inline uint64_t zero_parts(uint64_t word)
{
    const uint64_t low = UINT64_C(0x7fff7fff7fff7fff);
    return ~(((word & low) + low) | word) & ~low;
}

/* Bit 7 of each byte that is 0. */
static inline uint64_t zero_bytes(uint64_t word)
{
    const uint64_t low = UINT64_C(0x7f7f7f7f7f7f7f7f);
    return ~(((word & low) + low) | word) & ~low;
}

/* The lanes with a fingerprint, a bit each; with fingerprint 0 the empty ones. Loads nothing but fingerprints, before
 * anything that is loaded later. */
static inline uint32_t lanes_equal(const struct young *young, const struct bucket *bucket, uint32_t fingerprint)
{
#ifdef YOUNG_SSE2
    if (young->vectors) {
        YOUNG_INTERLEAVE(false);
        __m128i low =
            _mm_packs_epi16(equal_fingerprints(bucket, 0, fingerprint), equal_fingerprints(bucket, 2, fingerprint));
        __m128i high = _mm_packs_epi16(equal_fingerprints(bucket, 4, fingerprint), _mm_setzero_si128());
        atomic_signal_fence(memory_order_acquire);
        return (uint32_t)_mm_movemask_epi8(low) | ((uint32_t)_mm_movemask_epi8(high) & 0xf) << 16;
    }
#endif
    uint32_t lanes = 0;
    for (unsigned word = 0; word < FINGERPRINT_WORDS; word++) {
        uint64_t equal = zero_parts(load_word(bucket, word) ^ fingerprint * UINT64_C(0x0001000100010001)) >> 15;
        /* The product has bits 0, 16, 32, 48 of `equal` side by side. */
        lanes |= (uint32_t)(equal * UINT64_C(0x0001000200040008) >> 48 & 0xf) << word * WORD_LANES;
    }
    return lanes;
}

/* The lanes whose tag, masked, has a value. Empty lanes have tags too, of their last entries. */
static inline uint32_t lanes_tagged(const struct young *young, const struct bucket *bucket, unsigned mask,
                                    unsigned value)
{
#ifdef YOUNG_SSE2
    if (young->vectors) /* the tags begin in the middle of the vector that begins with word 4 */
        return (equal_bytes(bucket, 4, mask, value) >> 8 | equal_bytes(bucket, 6, mask, value) << 8) & ALL_LANES;
#endif
    uint32_t lanes = 0;
    for (unsigned word = TAG_WORD; word <= OVERFLOW_WORD; word++) {
        const uint64_t each = UINT64_C(0x0101010101010101);
        uint64_t equal = zero_bytes((load_word(bucket, word) & mask * each) ^ value * each) >> 7;
        /* The highest byte of the product has bits 0, 8, ..., 56 of `equal`. */
        lanes |= (uint32_t)(equal * UINT64_C(0x0102040810204080) >> 56) << (word - TAG_WORD) * WORD_TAGS;
    }
    return lanes & ALL_LANES;
}

static inline unsigned first_lane(uint32_t lanes)
{
    return (unsigned)__builtin_ctz(lanes);
}

static inline uint32_t fingerprint_at(const struct bucket *bucket, unsigned lane)
{
    return load_word(bucket, lane / WORD_LANES) >> lane % WORD_LANES * 16 & 0xffff;
}

static inline uint32_t tag_at(const struct bucket *bucket, unsigned lane)
{
    return load_word(bucket, TAG_WORD + lane / WORD_TAGS) >> lane % WORD_TAGS * 8 & 0xff;
}

static inline uint32_t tag_of(unsigned slot, unsigned step)
{
    return slot | step << STEP_SHIFT;
}

static inline void store_fingerprint(struct bucket *bucket, unsigned lane, uint64_t fingerprint)
{
    unsigned word = lane / WORD_LANES, shift = lane % WORD_LANES * 16;
    store_word(bucket, word, (load_word(bucket, word) & ~(UINT64_C(0xffff) << shift)) | fingerprint << shift);
}

static inline void store_entry(struct bucket *bucket, unsigned lane, uint32_t fingerprint, uint32_t tag)
{
    unsigned word = TAG_WORD + lane / WORD_TAGS, shift = lane % WORD_TAGS * 8;
    store_word(bucket, word, (load_word(bucket, word) & ~(UINT64_C(0xff) << shift)) | (uint64_t)tag << shift);
    store_fingerprint(bucket, lane, fingerprint);
}

/* --- paths --- */

/* A fingerprint spread over 64 bits: the highest 5 choose the overflow bit, 10 more each the bucket of a step. */
static inline uint64_t spread_of(uint32_t fingerprint)
{
    return fingerprint * UINT64_C(0x9e3779b97f4a7c15);
}

/* What home's number is changed by (exclusive or) for a step. The two lowest bits are the step: four buckets that
 * differ. Groups are aligned, so all are in home's group, and the same leads back from the bucket to home. */
static inline uint32_t distance(uint64_t spread, unsigned step)
{
    uint32_t chosen = (uint32_t)(spread >> (59 - GROUP_BITS * step)) & (GROUP - 1) & ~(uint32_t)(STEPS - 1);
    return step ? chosen | step : 0;
}

static inline uint32_t overflow_bit(uint64_t spread)
{
    return 1u << (spread >> 59);
}

static inline uint32_t overflow_of(const struct bucket *bucket)
{
    return (uint32_t)(load_word(bucket, OVERFLOW_WORD) >> OVERFLOW_SHIFT);
}

#endif
