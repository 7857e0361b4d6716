/* Which page leaves the cache. Pure: numbers and lists, no memory of pages, no locks, no time.
 *
 * Pages that come in are on probation: a tenth of the cache, in the order in which they came. Half-way through, the
 * mark of a page is wiped off, since the lookups that brought it in often ask for its other keys too and that says
 * nothing about later; a page that was used in the second half moves to the main part, the others leave and are
 * remembered for as long as the main part could keep a page. One that comes back while it is remembered goes to the
 * main part at once.
 * The main part is a clock (Corbato 1968): who is marked stays for another round. So a sweep over many pages, also one
 * by point reads with many keys per page, passes through the tenth and leaves the rest alone.
 *
 * The queues and the ghosts are those of 2Q (Johnson and Shasha, VLDB 1994) and S3-FIFO (Yang et al., SOSP 2023); that
 * early uses do not count is 2Q's correlated reference period. Hits only mark a page, and only when it is not marked
 * yet. Hit rates beside other policies: tests/lsm/test_cache_policy.c. */
#ifndef LSM_CACHE_POLICY_H
#define LSM_CACHE_POLICY_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* Where a frame is. The first two are no lists: frames there are only counted. */
enum frame_list {
    FRAME_UNUSED, /* ever */
    FRAME_TAKEN,  /* in the hands of a thread that fills it */
    FRAME_FREE_SMALL,
    FRAME_FREE_LARGE,
    FRAME_BARE_SMALL, /* its memory was given back */
    FRAME_BARE_LARGE,
    FRAME_LIMBO, /* evicted; readers may still look at it */
    FRAME_NEW,   /* on probation, first half */
    FRAME_TRIAL, /* second half */
    FRAME_MAIN,
    FRAME_LISTS
};

struct cache_policy {
    struct policy_frame {
        uint32_t next, previous; /* in its list; 0: none */
        uint32_t tag;            /* of the page in it */
        uint8_t list;
    } * frames;              /* numbered from 1 */
    _Atomic uint8_t *used;   /* marks, of frame n at n */
    struct policy_ghost {
        uint32_t tag, time;
    } * ghosts; /* a table, indexed by hash; tag 0: empty */
    uint32_t ghost_count;
    uint32_t time; /* pages that left probation unused, ever */
    uint32_t heads[FRAME_LISTS], tails[FRAME_LISTS], counts[FRAME_LISTS];
};

/* Bytes of the arrays for each frame, one more frame than there are: the caller allocates them, zeroed. */
enum { CACHE_POLICY_BYTES = sizeof(struct policy_frame) + 1 + sizeof(struct policy_ghost) };

/* All frames UNUSED; `ghosts` > 0. */
void policy_init(struct cache_policy *p, struct policy_frame *frames, _Atomic uint8_t *used,
                 struct policy_ghost *ghosts, uint32_t ghost_count, uint32_t frame_count);
/* Puts a frame at the end of a list. */
void policy_move(struct cache_policy *p, uint32_t frame, enum frame_list list);
/* A page came into a frame (FRAME_TAKEN); `identity` tells pages apart. To FRAME_NEW, or FRAME_MAIN. */
void policy_admit(struct cache_policy *p, uint32_t frame, uint64_t identity);
/* The frame whose page should leave, still in its list; 0: there are no pages. If it cannot leave, move it. */
uint32_t policy_victim(struct cache_policy *p);
/* Frames with pages. */
static inline uint32_t policy_pages(const struct cache_policy *p)
{
    return p->counts[FRAME_NEW] + p->counts[FRAME_TRIAL] + p->counts[FRAME_MAIN];
}

#endif
