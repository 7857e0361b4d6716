/* See cache_policy.h. */
#include "lsm/cache_policy.h"

#include "base/banned.h"

enum {
    PROBATION_PART = 10, /* of the pages are on probation */
    STEPS_MAX = 64,      /* marks that one eviction wipes off in the main part: it holds a lock */
};

void policy_init(struct cache_policy *p, struct policy_frame *frames, _Atomic uint8_t *used,
                 struct policy_ghost *ghosts, uint32_t ghost_count, uint32_t frame_count)
{
    *p = (struct cache_policy){.frames = frames, .used = used, .ghosts = ghosts, .ghost_count = ghost_count};
    p->counts[FRAME_UNUSED] = frame_count;
}

static bool is_list(enum frame_list list)
{
    return list > FRAME_TAKEN;
}

static void unlink_frame(struct cache_policy *p, struct policy_frame *frame)
{
    enum frame_list list = frame->list;
    if (frame->previous)
        p->frames[frame->previous].next = frame->next;
    else
        p->heads[list] = frame->next;
    if (frame->next)
        p->frames[frame->next].previous = frame->previous;
    else
        p->tails[list] = frame->previous;
}

void policy_move(struct cache_policy *p, uint32_t number, enum frame_list list)
{
    struct policy_frame *frame = &p->frames[number];
    if (is_list(frame->list))
        unlink_frame(p, frame);
    p->counts[frame->list]--;
    frame->list = (uint8_t)list;
    p->counts[list]++;
    if (!is_list(list))
        return;
    frame->next = 0;
    frame->previous = p->tails[list];
    if (frame->previous)
        p->frames[frame->previous].next = number;
    else
        p->heads[list] = number;
    p->tails[list] = number;
}

static bool take_mark(struct cache_policy *p, uint32_t number)
{
    bool marked = atomic_load_explicit(&p->used[number], memory_order_relaxed);
    if (marked)
        atomic_store_explicit(&p->used[number], 0, memory_order_relaxed);
    return marked;
}

static struct policy_ghost *ghost_of(struct cache_policy *p, uint32_t tag)
{
    return &p->ghosts[(uint64_t)(tag * UINT32_C(2654435761)) * p->ghost_count >> 32];
}

/* Remembered as long as the main part could keep a page: until as many others as it has have left probation. */
static bool remembered(struct cache_policy *p, uint32_t tag)
{
    struct policy_ghost *ghost = ghost_of(p, tag);
    bool found = ghost->tag == tag && p->time - ghost->time <= policy_pages(p);
    if (found)
        ghost->tag = 0;
    return found;
}

void policy_admit(struct cache_policy *p, uint32_t number, uint64_t identity)
{
    uint32_t tag = (uint32_t)(identity * UINT64_C(0x9e3779b97f4a7c15) >> 32) | 1;
    p->frames[number].tag = tag;
    take_mark(p, number);
    policy_move(p, number, remembered(p, tag) ? FRAME_MAIN : FRAME_NEW);
}

static uint32_t leave_probation(struct cache_policy *p)
{
    while (p->counts[FRAME_NEW] > p->counts[FRAME_TRIAL] || !p->heads[FRAME_TRIAL]) {
        take_mark(p, p->heads[FRAME_NEW]);
        policy_move(p, p->heads[FRAME_NEW], FRAME_TRIAL);
    }
    uint32_t number = p->heads[FRAME_TRIAL];
    if (take_mark(p, number)) {
        policy_move(p, number, FRAME_MAIN);
        return 0;
    }
    uint32_t tag = p->frames[number].tag;
    *ghost_of(p, tag) = (struct policy_ghost){tag, ++p->time};
    return number;
}

uint32_t policy_victim(struct cache_policy *p)
{
    for (unsigned steps = 0;;) {
        uint32_t probation = p->counts[FRAME_NEW] + p->counts[FRAME_TRIAL];
        uint32_t number = p->heads[FRAME_MAIN];
        if (probation > 0 && probation >= policy_pages(p) / PROBATION_PART) {
            number = leave_probation(p);
            if (number)
                return number;
        } else if (!number || !take_mark(p, number) || ++steps == STEPS_MAX) {
            return number;
        } else {
            policy_move(p, number, FRAME_MAIN);
        }
    }
}
