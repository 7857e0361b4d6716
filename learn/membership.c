/* Reading memberships, which look like this (little-endian):
 *    0  u8   kind (enum membership_kind)
 *    1  u8   1: there is a template
 *    2  u16  version, 1
 *    4  u32  whole words within every key, 0 to 4
 *    8  u32  size of the shortest key, of the longest
 *   16  u64  4 masks: ones in the bytes that all keys have in common
 *   48  u64  4 words: those bytes, zeros elsewhere
 *   80       the exact set, the ribbon or the partitioned filter; nothing for a fuse filter, which is the plain one
 *            beside it
 * Without a template, 4 to 79 are zeros. Word i is bytes 8 i to 8 i + 7 of a key, the first the lowest. */
#include "learn/membership.h"

#include "base/error.h"
#include "learn/membership_format.h"

#include "base/banned.h"

static const char *const kind_names[MEMBERSHIP_KINDS] = {"fuse", "ribbon", "exact", "partitioned"};

const char *membership_kind_name(enum membership_kind kind)
{
    return kind_names[kind];
}

bool template_admits(const struct key_template *template, plsm_slice key)
{
    const uint8_t *bytes = key.data;
    if (key.size < template->size_min || key.size > template->size_max)
        return false;
    uint64_t other = 0;
    for (uint32_t i = 0; i < template->words; i++)
        other |= (get_u64(bytes + 8 * i) ^ template->value[i]) & template->mask[i];
    return other == 0;
}

static plsm_status open_template(const uint8_t *bytes, struct key_template *out)
{
    out->words = get_u32(bytes + MEMBERSHIP_WORDS);
    out->size_min = get_u32(bytes + MEMBERSHIP_SIZE_MIN);
    out->size_max = get_u32(bytes + MEMBERSHIP_SIZE_MAX);
    for (unsigned i = 0; i < TEMPLATE_WORDS; i++) {
        out->mask[i] = get_u64(bytes + MEMBERSHIP_MASKS + 8 * i);
        out->value[i] = get_u64(bytes + MEMBERSHIP_VALUES + 8 * i);
    }
    if (out->words > TEMPLATE_WORDS || out->size_min < 8 * out->words)
        return fail(PLSM_CORRUPT, "membership: a template of %u words for keys of %u bytes", out->words, out->size_min);
    return PLSM_OK;
}

enum membership_kind membership_kind_of(plsm_slice bytes)
{
    const uint8_t *kind = bytes.data;
    return bytes.size >= MEMBERSHIP_HEADER_SIZE && *kind < MEMBERSHIP_KINDS ? *kind : MEMBERSHIP_KINDS;
}

plsm_status membership_open(plsm_slice bytes, const struct filter *filter, struct membership *out)
{
    const uint8_t *at = bytes.data;
    plsm_slice inside = slice(at + MEMBERSHIP_HEADER_SIZE, bytes.size - MEMBERSHIP_HEADER_SIZE);
    *out = (struct membership){.kind = membership_kind_of(bytes)};
    if (bytes.size >= MEMBERSHIP_HEADER_SIZE && get_u16(at + MEMBERSHIP_VERSION) > MEMBERSHIP_FORMAT)
        return fail(PLSM_VERSION, "membership: has version %u, this program knows version %u",
                    get_u16(at + MEMBERSHIP_VERSION), MEMBERSHIP_FORMAT);
    if (out->kind == MEMBERSHIP_KINDS || get_u16(at + MEMBERSHIP_VERSION) != MEMBERSHIP_FORMAT ||
        at[MEMBERSHIP_HAS_TEMPLATE] > 1)
        return fail(PLSM_CORRUPT, "membership: malformed");
    out->has_template = at[MEMBERSHIP_HAS_TEMPLATE];
    if (out->has_template)
        TRY(open_template(at, &out->template));
    switch (out->kind) {
    case MEMBERSHIP_RIBBON:
        return ribbon_open(inside, &out->ribbon);
    case MEMBERSHIP_EXACT:
        return exact_open(inside, &out->exact);
    case MEMBERSHIP_PARTITIONED:
        return partitioned_open(inside, &out->partitioned);
    default:
        if (!filter)
            return fail(PLSM_CORRUPT, "membership: there is no filter that it is about");
        out->filter = *filter;
        return PLSM_OK;
    }
}

void membership_of_filter(const struct filter *filter, struct membership *out)
{
    *out = (struct membership){.kind = MEMBERSHIP_FUSE};
    out->filter = *filter;
}

bool membership_may_contain(const struct membership *m, struct partitioned_query *query)
{
    if (m->has_template && !template_admits(&m->template, query->key))
        return false;
    switch (m->kind) {
    case MEMBERSHIP_RIBBON:
        return ribbon_may_contain(&m->ribbon, query->hash);
    case MEMBERSHIP_EXACT:
        return exact_contains(&m->exact, query->key);
    case MEMBERSHIP_PARTITIONED:
        return partitioned_may_contain(&m->partitioned, query);
    default:
        return filter_may_contain(&m->filter, query->hash);
    }
}

void membership_prefetch(const struct membership *m, struct partitioned_query *query)
{
    switch (m->kind) {
    case MEMBERSHIP_RIBBON:
        ribbon_prefetch(&m->ribbon, query->hash);
        break;
    case MEMBERSHIP_EXACT:
        exact_prefetch(&m->exact, query->key);
        break;
    case MEMBERSHIP_PARTITIONED:
        partitioned_prefetch(&m->partitioned, query);
        break;
    default:
        filter_prefetch(&m->filter, query->hash);
    }
}

bool membership_may_have_directory(const struct membership *m, plsm_slice prefix, uint64_t hash)
{
    switch (m->kind) {
    case MEMBERSHIP_RIBBON:
        return ribbon_may_contain(&m->ribbon, hash ^ MEMBERSHIP_DIRECTORY_SALT);
    case MEMBERSHIP_EXACT:
        return exact_has_prefix(&m->exact, prefix);
    case MEMBERSHIP_PARTITIONED:
        return !m->partitioned.has_directories || partitioned_may_have_directory(&m->partitioned, hash);
    default:
        return filter_may_contain(&m->filter, hash ^ MEMBERSHIP_DIRECTORY_SALT);
    }
}
