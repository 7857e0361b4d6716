/* Ties, built and read.
 *
 * Groups have ties of one first word each. From a rank two array loads lead to its groups, of which there is rarely
 * more than one; where the key's first word is the group's, its second word decides among the group's ties.
 *
 * Serialized form, little-endian:
 *    0  u32  ties
 *    4  u32  groups
 *    8  u64  0
 *   16       u64 per group: first word, ascending
 *            u64 per tie: second words from here on are behind it; ascending within a group
 *            u32 per group: ties in front of it, ascending
 *            u32 per group: other borders in front of it, never descending */
#include "learn/ties.h"

#include "base/alloc.h"
#include "base/error.h"

#include "base/banned.h"

enum { HEADER_SIZE = 16, GROUP_SIZE = 8 + 4 + 4, CUT_SIZE = 8, RANKS_PER_BASE = 64 };

/* --- building --- */

static plsm_status append_groups(const struct tie *ties, size_t count, struct buf *out, uint32_t *groups)
{
    struct buf firsts = {0}, ranks = {0};
    plsm_status status = PLSM_OK;
    uint32_t base = 0; /* groups in front of the 64 ranks at hand */
    *groups = 0;
    for (size_t i = 0; i < count && status == PLSM_OK; i++) {
        if (i > 0 && ties[i].code == ties[i - 1].code)
            continue;
        if (i == 0 || ties[i].rank / RANKS_PER_BASE != ties[i - 1].rank / RANKS_PER_BASE)
            base = *groups;
        if (*groups - base >= UINT16_MAX)
            status = PLSM_TOO_LARGE;
        if (status == PLSM_OK)
            status = buf_append_u64(out, ties[i].code);
        if (status == PLSM_OK)
            status = buf_append_u32(&firsts, (uint32_t)i);
        if (status == PLSM_OK)
            status = buf_append_u32(&ranks, ties[i].rank);
        ++*groups;
    }
    for (size_t i = 0; i < count && status == PLSM_OK; i++)
        status = buf_append_u64(out, ties[i].high);
    if (status == PLSM_OK)
        status = buf_append(out, firsts.data, firsts.size);
    if (status == PLSM_OK)
        status = buf_append(out, ranks.data, ranks.size);
    buf_free(&firsts);
    buf_free(&ranks);
    return status;
}

plsm_status ties_build(const struct tie *ties, size_t count, uint32_t ranks, struct buf *out)
{
    uint8_t header[HEADER_SIZE] = {0};
    uint32_t groups = 0;
    size_t start = out->size;
    if (count > INT32_MAX)
        return PLSM_TOO_LARGE;
    plsm_status status = buf_append(out, header, sizeof header);
    if (status == PLSM_OK)
        status = append_groups(ties, count, out, &groups);
    if (status != PLSM_OK) {
        out->size = start;
        return status;
    }
    put_u32(out->data + start, (uint32_t)count);
    put_u32(out->data + start + 4, groups);
    return PLSM_OK;
}

/* --- reading --- */

static plsm_status malformed(const char *what)
{
    return fail(PLSM_CORRUPT, "learned index: ties: %s; rebuild it with a compaction", what);
}

/* From the ranks of groups to the groups of ranks. */
static plsm_status index_ranks(struct ties *t, const uint8_t *ranks, uint32_t *base, uint16_t *offset)
{
    uint32_t group = 0;
    for (uint32_t rank = 0; rank <= t->ranks + 1; rank++) {
        while (group < t->groups && get_u32(ranks + 4 * (size_t)group) < rank)
            group++;
        if (rank % RANKS_PER_BASE == 0)
            base[rank / RANKS_PER_BASE] = group;
        if (group - base[rank / RANKS_PER_BASE] > UINT16_MAX)
            return malformed("too many for a rank");
        offset[rank] = (uint16_t)(group - base[rank / RANKS_PER_BASE]);
    }
    return PLSM_OK;
}

static plsm_status check_order(const struct ties *t, const uint8_t *ranks)
{
    for (uint32_t i = 0; i < t->groups; i++) {
        bool ascends = i == 0 ? t->group_first[0] == 0
                              : t->group_code[i] > t->group_code[i - 1] && t->group_first[i] > t->group_first[i - 1] &&
                                    get_u32(ranks + 4 * (size_t)i) >= get_u32(ranks + 4 * (size_t)i - 4);
        if (!ascends || t->group_first[i] >= t->count || get_u32(ranks + 4 * (size_t)i) > t->ranks)
            return malformed("groups are out of order");
    }
    return t->groups > 0 || t->count == 0 ? PLSM_OK : malformed("no group has them");
}

plsm_status ties_parse(const uint8_t **at, const uint8_t *end, uint32_t ranks, struct ties *out)
{
    const uint8_t *from = *at;
    struct ties t = {.ranks = ranks};
    *out = (struct ties){0};
    if (end - from < HEADER_SIZE)
        return malformed("cut off");
    t.count = get_u32(from);
    t.groups = get_u32(from + 4);
    uint64_t body = (uint64_t)t.groups * GROUP_SIZE + (uint64_t)t.count * CUT_SIZE;
    if (get_u64(from + 8) != 0 || t.groups > t.count || (uint64_t)(end - from) < HEADER_SIZE + body)
        return malformed("cut off, or counts do not fit");
    from += HEADER_SIZE;
    size_t bases = ((size_t)ranks + 1) / RANKS_PER_BASE + 1, offsets = (size_t)ranks + 2;
    t.memory_size = ((size_t)t.groups + t.count) * 8 + ((size_t)t.groups + 1 + bases) * 4 + offsets * 2;
    t.memory = mem_alloc(t.memory_size);
    if (!t.memory)
        return fail(PLSM_NO_MEMORY, "learned index: no memory for %u ties", t.count);
    uint64_t *codes = (uint64_t *)t.memory, *cuts = codes + t.groups; /* in falling order of alignment */
    uint32_t *firsts = (uint32_t *)(cuts + t.count), *base = firsts + t.groups + 1;
    uint16_t *offset = (uint16_t *)(base + bases);
    size_t words = ((size_t)t.groups + t.count) * 8;
    const uint8_t *group_ranks = from + words + (size_t)t.groups * 4;
    memcpy(codes, from, words);
    memcpy(firsts, from + words, (size_t)t.groups * 4);
    firsts[t.groups] = t.count;
    t.group_code = codes;
    t.group_first = firsts;
    t.rank_base = base;
    t.rank_offset = offset;
    t.cuts = cuts;
    plsm_status status = check_order(&t, group_ranks);
    if (status == PLSM_OK)
        status = index_ranks(&t, group_ranks, base, offset);
    if (status != PLSM_OK) {
        ties_free(&t);
        return status;
    }
    *out = t;
    *at = from + body;
    return PLSM_OK;
}

void ties_free(struct ties *t)
{
    mem_free(t->memory);
    *t = (struct ties){0};
}

/* How many of the cuts [first, last) are at or below a second word. */
static uint32_t cuts_below(const struct ties *t, uint32_t first, uint32_t last, uint64_t word)
{
    while (first < last) {
        uint32_t middle = first + (last - first) / 2;
        if (t->cuts[middle] <= word)
            first = middle + 1;
        else
            last = middle;
    }
    return first;
}

uint32_t ties_below(const struct ties *t, uint32_t rank, const struct coder *coder, plsm_slice key, uint64_t code,
                    enum code_state state)
{
    uint32_t group = t->rank_base[rank / RANKS_PER_BASE] + t->rank_offset[rank];
    uint32_t end = t->rank_base[(rank + 1) / RANKS_PER_BASE] + t->rank_offset[rank + 1];
    while (group < end && t->group_code[group] < code)
        group++;
    if (group == end || t->group_code[group] != code)
        return t->group_first[group];
    return cuts_below(t, t->group_first[group], t->group_first[group + 1], coder_code_next(coder, key, state));
}
