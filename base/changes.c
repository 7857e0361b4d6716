/* Most lines lie within one piece of text and have no escape: they are handed out where they stand. The others are put
 * together byte by byte by the decoder. */
#include "base/changes.h"

#include "base/error.h"
#include "base/banned.h"

enum change_kind change_kind_of(uint8_t mark)
{
    switch (mark) {
    case '-':
        return CHANGE_DELETE;
    case '~':
        return CHANGE_DELETE_RANGE;
    case '!':
        return CHANGE_IF_ABSENT;
    default:
        return CHANGE_IF_EQUAL;
    }
}

bool change_has_value(enum change_kind kind)
{
    return kind != CHANGE_DELETE && kind != CHANGE_IF_ABSENT;
}

static plsm_status bad_line(const struct change_parser *parser, plsm_status status, const char *what)
{
    return fail(status, "line %llu: %s", (unsigned long long)parser->lines + 1, what);
}

/* Hands out a whole line. */
static plsm_status hand_out(struct change_parser *parser, const struct change *change, bool has_tab,
                            plsm_status (*each)(void *arg, const struct change *change), void *arg)
{
    bool wants_tab = change_has_value(change->kind);
    if (wants_tab && !has_tab)
        return bad_line(parser, PLSM_INVALID, "no tab behind the key");
    if (!wants_tab && has_tab)
        return bad_line(parser, PLSM_INVALID, "a tab behind a key that has no value here");
    if (change->key.size == 0 && change->kind != CHANGE_DELETE_RANGE)
        return bad_line(parser, PLSM_INVALID, "the key is empty");
    plsm_status status = each(arg, change);
    if (status != PLSM_OK)
        return fail(status, "line %llu: %s", (unsigned long long)parser->lines + 1, plsm_message());
    parser->lines++;
    return PLSM_OK;
}

static plsm_status add_bytes(struct change_parser *parser, plsm_slice bytes)
{
    struct buf *to = parser->in_value ? &parser->value : &parser->key;
    parser->begun = true;
    if (parser->size_max && to->size + bytes.size > parser->size_max)
        return bad_line(parser, PLSM_TOO_LARGE, parser->in_value ? "the value is too large" : "the key is too large");
    return buf_append(to, bytes.data, bytes.size);
}

static plsm_status end_line(struct change_parser *parser, plsm_status (*each)(void *arg, const struct change *change),
                            void *arg)
{
    struct change change = {.kind = parser->kind, .key = buf_slice(&parser->key), .value = buf_slice(&parser->value)};
    if (!parser->begun)
        return bad_line(parser, PLSM_INVALID, "it is empty");
    TRY(hand_out(parser, &change, parser->in_value, each, arg));
    parser->key.size = parser->value.size = 0;
    parser->kind = CHANGE_PUT;
    parser->begun = parser->in_value = false;
    return PLSM_OK;
}

/* Decodes up to the end of the text or, with `one_line`, of the line. */
static plsm_status decode(struct change_parser *parser, const uint8_t **at, const uint8_t *end, bool one_line,
                          plsm_status (*each)(void *arg, const struct change *change), void *arg)
{
    for (;;) {
        plsm_slice bytes = {0};
        switch (text_unescape_next(&parser->decoder, at, end, &bytes)) {
        case TEXT_END:
            parser->begun = parser->begun || !text_unescape_complete(&parser->decoder);
            return PLSM_OK;
        case TEXT_BYTES:
            TRY(add_bytes(parser, bytes));
            break;
        case TEXT_TAB: /* the first one separates; further ones are part of the value */
            if (parser->in_value)
                TRY(add_bytes(parser, slice("\t", 1)));
            parser->begun = parser->in_value = true;
            break;
        case TEXT_NEWLINE:
            TRY(end_line(parser, each, arg));
            if (one_line)
                return PLSM_OK;
            break;
        case TEXT_MARK:
            if (parser->key.size > 0 || parser->in_value || parser->kind != CHANGE_PUT)
                return bad_line(parser, PLSM_INVALID, "a mark stands at the head of a line only");
            parser->kind = change_kind_of(*(const uint8_t *)bytes.data);
            parser->begun = true;
            break;
        case TEXT_BAD:
            return bad_line(parser, PLSM_INVALID, "an escape is none of \\t \\n \\\\ \\0 \\xHH");
        }
    }
}

plsm_status changes_parse(struct change_parser *parser, plsm_slice text,
                          plsm_status (*each)(void *arg, const struct change *change), void *arg)
{
    const uint8_t *at = text.data, *end = at + text.size;
    if (parser->begun && text.size > 0)
        TRY(decode(parser, &at, end, true, each, arg));
    while (at < end) {
        const uint8_t *newline = memchr(at, '\n', (size_t)(end - at));
        size_t size = (size_t)((newline ? newline : end) - at);
        const uint8_t *tab = size ? memchr(at, '\t', size) : NULL;
        if (!newline || !tab || memchr(at, '\\', size) ||
            (parser->size_max && size > parser->size_max)) { /* the decoder finds what is wrong */
            TRY(decode(parser, &at, end, newline != NULL, each, arg));
            continue;
        }
        struct change change = {.key = slice(at, (size_t)(tab - at)),
                                .value = slice(tab + 1, (size_t)(newline - tab) - 1)};
        TRY(hand_out(parser, &change, true, each, arg));
        at = newline + 1;
    }
    return PLSM_OK;
}

plsm_status changes_parse_end(struct change_parser *parser, plsm_status (*each)(void *arg, const struct change *change),
                              void *arg)
{
    if (!text_unescape_complete(&parser->decoder))
        return bad_line(parser, PLSM_INVALID, "it ends within an escape");
    return parser->begun ? end_line(parser, each, arg) : PLSM_OK;
}

void changes_free(struct change_parser *parser)
{
    buf_free(&parser->key);
    buf_free(&parser->value);
    *parser = (struct change_parser){0};
}
