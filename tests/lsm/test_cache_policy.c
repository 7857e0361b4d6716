/* Which page leaves the cache: hit rates on traces, beside a clock (what the cache had before) and LRU. */
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "lsm/cache_policy.h"

#include "base/banned.h"

enum { PAGES = 40000, FRAMES = 4000, OPS = 400000, WARM = 100000, KEYS_PER_PAGE = 30 };

/* --- traces: page numbers ----------------------------------------------------------------------------------------- */

static uint32_t trace[OPS], shuffled[PAGES];
static double zipf_sums[PAGES];

static void zipf_init(double theta, struct random *random)
{
    double sum = 0;
    for (uint32_t i = 0; i < PAGES; i++) {
        sum += 1 / pow(i + 1, theta);
        zipf_sums[i] = sum;
        shuffled[i] = i;
    }
    for (uint32_t i = PAGES - 1; i > 0; i--) {
        uint32_t other = (uint32_t)random_below(random, i + 1), was = shuffled[i];
        shuffled[i] = shuffled[other];
        shuffled[other] = was;
    }
}

static uint32_t zipf_draw(struct random *random)
{
    double at = (double)(random_next(random) >> 11) / 9007199254740992.0 * zipf_sums[PAGES - 1];
    uint32_t low = 0, high = PAGES - 1;
    while (low < high) {
        uint32_t middle = (low + high) / 2;
        if (zipf_sums[middle] < at)
            low = middle + 1;
        else
            high = middle;
    }
    return shuffled[low];
}

enum kind { ZIPF, ZIPF_SWEEP, ZIPF_KEYS_SWEEP, LOOP, SHIFT, KINDS };
static const char *const names[] = {"zipf 0.99", "zipf + sweep by pages", "zipf + sweep by keys",
                                    "loop 1.5 x the cache", "zipf that moves"};

static void make_trace(enum kind kind)
{
    struct random random;
    uint32_t swept = 0, loop = FRAMES + FRAMES / 2;
    random_seed(&random, 42);
    zipf_init(0.99, &random);
    for (uint32_t i = 0; i < OPS; i++) {
        uint32_t page = zipf_draw(&random);
        if (kind == ZIPF_SWEEP && i % 2) /* each of the other pages once, and again from the front */
            page = PAGES + swept++ % PAGES;
        if (kind == ZIPF_KEYS_SWEEP && i % 2)
            page = PAGES + swept++ / KEYS_PER_PAGE % PAGES;
        if (kind == LOOP)
            page = i % loop;
        if (kind == SHIFT) /* what is popular changes five times */
            page = (page + i / (OPS / 5) * (PAGES / 5)) % PAGES;
        trace[i] = page;
    }
}

/* --- caches ------------------------------------------------------------------------------------------------------- */

static uint32_t frame_of[2 * PAGES], page_in[FRAMES + 1];

static void forget_all(void)
{
    memset(frame_of, 0, sizeof frame_of);
    memset(page_in, 0, sizeof page_in);
}

static double run_ours(void)
{
    static struct policy_frame frames[FRAMES + 1];
    static _Atomic uint8_t used[FRAMES + 1];
    static struct policy_ghost ghosts[FRAMES];
    struct cache_policy p;
    uint32_t hits = 0, filled = 0;
    memset(frames, 0, sizeof frames);
    memset((void *)used, 0, sizeof used);
    memset(ghosts, 0, sizeof ghosts);
    policy_init(&p, frames, used, ghosts, FRAMES, FRAMES);
    forget_all();
    for (uint32_t i = 0; i < OPS; i++) {
        uint32_t page = trace[i], frame = frame_of[page];
        if (frame) {
            hits += i >= WARM;
            atomic_store(&used[frame], 1);
            continue;
        }
        frame = filled < FRAMES ? ++filled : policy_victim(&p);
        frame_of[page_in[frame]] = 0;
        policy_move(&p, frame, FRAME_TAKEN);
        page_in[frame] = page;
        frame_of[page] = frame;
        policy_admit(&p, frame, page);
        ck_assert_uint_eq(policy_pages(&p) + p.counts[FRAME_UNUSED], FRAMES);
    }
    return (double)hits / (OPS - WARM);
}

/* With a mark also for the lookup that brought a page in, as it was. */
static double run_clock(void)
{
    static uint8_t used[FRAMES + 1];
    uint32_t hits = 0, hand = 0;
    memset(used, 0, sizeof used);
    forget_all();
    for (uint32_t i = 0; i < OPS; i++) {
        uint32_t page = trace[i], frame = frame_of[page];
        hits += frame && i >= WARM;
        while (!frame) {
            hand = hand % FRAMES + 1;
            if (used[hand]) {
                used[hand] = 0;
                continue;
            }
            frame_of[page_in[hand]] = 0;
            page_in[hand] = page;
            frame_of[page] = frame = hand;
        }
        used[frame] = 1;
    }
    return (double)hits / (OPS - WARM);
}

static double run_lru(void)
{
    static uint32_t next[FRAMES + 1], previous[FRAMES + 1];
    uint32_t hits = 0;
    forget_all();
    for (uint32_t i = 0; i <= FRAMES; i++) { /* a ring through 0 */
        next[i] = (i + 1) % (FRAMES + 1);
        previous[i] = (i + FRAMES) % (FRAMES + 1);
    }
    for (uint32_t i = 0; i < OPS; i++) {
        uint32_t page = trace[i], frame = frame_of[page];
        hits += frame && i >= WARM;
        if (!frame) {
            frame = previous[0];
            frame_of[page_in[frame]] = 0;
            page_in[frame] = page;
            frame_of[page] = frame;
        }
        next[previous[frame]] = next[frame];
        previous[next[frame]] = previous[frame];
        next[frame] = next[0];
        previous[frame] = 0;
        previous[next[0]] = frame;
        next[0] = frame;
    }
    return (double)hits / (OPS - WARM);
}

/* Page 0 shares its number with "none", so pages are one higher than they are drawn. */
START_TEST(hit_rates)
{
    /* What our policy must reach: in parts of the clock's rate, and as such. */
    static const struct {
        double of_clock, least;
    } wanted[KINDS] = {[ZIPF] = {1.05, 0.73},
                       [ZIPF_SWEEP] = {1.15, 0.33},
                       [ZIPF_KEYS_SWEEP] = {1.02, 0.83},
                       [LOOP] = {0, 0.4},
                       [SHIFT] = {1.0, 0.68}};
    printf("%-24s %8s %8s %8s\n", "hit rate, cache of 10 %", "ours", "clock", "LRU");
    for (unsigned kind = 0; kind < KINDS; kind++) {
        make_trace((enum kind)kind);
        for (uint32_t i = 0; i < OPS; i++)
            trace[i] = trace[i] + 1 < 2 * PAGES ? trace[i] + 1 : 1;
        double ours = run_ours(), clock = run_clock(), lru = run_lru();
        printf("%-24s %8.4f %8.4f %8.4f\n", names[kind], ours, clock, lru);
        ck_assert_msg(ours >= clock * wanted[kind].of_clock && ours >= wanted[kind].least, "%s: %.4f, clock %.4f",
                      names[kind], ours, clock);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("cache_policy");
    TCase *tcase = tcase_create("cache_policy");
    tcase_set_timeout(tcase, 300);
    tcase_add_test(tcase, hit_rates);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
