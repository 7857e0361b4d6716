#include "base/wire.h"

#include "base/error.h"
#include "base/banned.h"

void wire_head_put(uint8_t to[WIRE_HEAD_SIZE], const struct wire_head *head)
{
    put_u32(to, head->body_size);
    to[4] = head->what;
    to[5] = head->flags;
    put_u16(to + 6, 0);
}

plsm_status wire_head_get(const uint8_t from[WIRE_HEAD_SIZE], struct wire_head *out)
{
    *out = (struct wire_head){.body_size = get_u32(from), .what = from[4], .flags = from[5]};
    if (out->body_size > WIRE_BODY_MAX || out->flags & ~WIRE_SYNC || get_u16(from + 6) != 0)
        return fail(PLSM_CORRUPT, "what came over the socket of the store is no frame");
    return PLSM_OK;
}

plsm_status wire_change_append(struct buf *body, const struct change *change)
{
    uint8_t head[WIRE_CHANGE_SIZE];
    INVARIANT(change->key.size <= UINT16_MAX && change->value.size <= UINT32_MAX);
    TRY(buf_reserve(body, sizeof head + change->key.size + change->value.size));
    head[0] = (uint8_t)change->kind;
    put_u16(head + 1, (uint16_t)change->key.size);
    put_u32(head + 3, (uint32_t)change->value.size);
    INVARIANT(buf_append(body, head, sizeof head) == PLSM_OK); /* room was reserved */
    INVARIANT(buf_append(body, change->key.data, change->key.size) == PLSM_OK);
    INVARIANT(buf_append(body, change->value.data, change->value.size) == PLSM_OK);
    return PLSM_OK;
}

bool wire_change_next(plsm_slice *body, struct change *change)
{
    const uint8_t *bytes = body->data;
    if (body->size < WIRE_CHANGE_SIZE || bytes[0] > CHANGE_IF_EQUAL)
        return false;
    size_t key_size = get_u16(bytes + 1), value_size = get_u32(bytes + 3), left = body->size - WIRE_CHANGE_SIZE;
    if (key_size > left || value_size > left - key_size)
        return false;
    change->kind = (enum change_kind)bytes[0];
    change->key = slice(bytes + WIRE_CHANGE_SIZE, key_size);
    change->value = slice(bytes + WIRE_CHANGE_SIZE + key_size, value_size);
    *body = slice(bytes + WIRE_CHANGE_SIZE + key_size + value_size, left - key_size - value_size);
    return true;
}
