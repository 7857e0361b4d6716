/* See text.h for the escapes. */
#include "base/text.h"

#include "base/error.h"
#include "base/banned.h"

enum { ESCAPE_SIZE_MAX = 4, STRETCH = 4096 };

/* The escape of one byte into `to`, or 0 when it stands for itself. */
static size_t escape_byte(uint8_t byte, char to[ESCAPE_SIZE_MAX])
{
    static const char digits[] = "0123456789abcdef";
    to[0] = '\\';
    switch (byte) {
    case '\t':
        to[1] = 't';
        return 2;
    case '\n':
        to[1] = 'n';
        return 2;
    case '\\':
        to[1] = '\\';
        return 2;
    case 0:
        to[1] = '0';
        return 2;
    default:
        if (byte >= 0x20 && byte != 0x7f)
            return 0;
        to[1] = 'x';
        to[2] = digits[byte >> 4];
        to[3] = digits[byte & 15];
        return 4;
    }
}

plsm_status text_escape(struct buf *out, plsm_slice bytes)
{
    const uint8_t *data = bytes.data;
    for (size_t i = 0; i < bytes.size;) {
        /* Room for the longest escape of each byte of a stretch, so that the inner loop has nothing to ask. */
        size_t end = bytes.size - i > STRETCH ? i + STRETCH : bytes.size;
        TRY(buf_reserve(out, (end - i) * ESCAPE_SIZE_MAX));
        uint8_t *to = out->data + out->size;
        for (; i < end; i++) {
            char escape[ESCAPE_SIZE_MAX];
            size_t size = data[i] >= 0x20 && data[i] != 0x7f && data[i] != '\\' ? 0 : escape_byte(data[i], escape);
            *to = data[i];
            if (__builtin_expect(size > 0, 0))
                memcpy(to, escape, size);
            to += size > 0 ? size : 1;
        }
        out->size = (size_t)(to - out->data);
    }
    return PLSM_OK;
}

char *text_quote(char *out, size_t size, plsm_slice bytes)
{
    const uint8_t *data = bytes.data;
    size_t used = 0;
    for (size_t i = 0; i < bytes.size; i++) {
        char escape[ESCAPE_SIZE_MAX];
        size_t length = escape_byte(data[i], escape);
        if (used + ESCAPE_SIZE_MAX + sizeof "..." > size) {
            memcpy(out + used, "...", 3);
            used += 3;
            break;
        }
        if (length == 0)
            out[used++] = (char)data[i];
        else
            memcpy(out + used, escape, length);
        used += length;
    }
    out[used] = '\0';
    return out;
}

/* Where the decoder stands within an escape. */
enum { PLAIN = 0, AFTER_BACKSLASH, AFTER_X, AFTER_DIGIT };

static int hex_value(uint8_t byte)
{
    if (byte >= '0' && byte <= '9')
        return byte - '0';
    byte |= 0x20;
    return byte >= 'a' && byte <= 'f' ? byte - 'a' + 10 : -1;
}

/* One byte inside an escape: TEXT_BYTES when it is complete, TEXT_END when it goes on, TEXT_BAD. */
static enum text_event unescape_byte(struct text_unescape *decoder, uint8_t byte, plsm_slice *bytes)
{
    int digit = hex_value(byte);
    switch (decoder->state) {
    case AFTER_BACKSLASH:
        if (byte == 'x') {
            decoder->state = AFTER_X;
            return TEXT_END;
        }
        if (byte == '-' || byte == '~' || byte == '!' || byte == '=') {
            decoder->state = PLAIN;
            decoder->byte = byte;
            *bytes = slice(&decoder->byte, 1);
            return TEXT_MARK;
        }
        if (byte != 't' && byte != 'n' && byte != '\\' && byte != '0')
            return TEXT_BAD;
        decoder->byte = byte == 't' ? '\t' : byte == 'n' ? '\n' : byte == '0' ? '\0' : '\\';
        break;
    case AFTER_X:
        if (digit < 0)
            return TEXT_BAD;
        decoder->byte = (uint8_t)(digit << 4);
        decoder->state = AFTER_DIGIT;
        return TEXT_END;
    default:
        if (digit < 0)
            return TEXT_BAD;
        decoder->byte |= (uint8_t)digit;
        break;
    }
    decoder->state = PLAIN;
    *bytes = slice(&decoder->byte, 1);
    return TEXT_BYTES;
}

enum text_event text_unescape_next(struct text_unescape *decoder, const uint8_t **at, const uint8_t *end,
                                   plsm_slice *bytes)
{
    while (*at < end) {
        if (decoder->state != PLAIN) {
            enum text_event event = unescape_byte(decoder, *(*at)++, bytes);
            if (event != TEXT_END)
                return event;
            continue;
        }
        /* Most text needs no decoding: hand out all of it up to the next special byte at once. */
        const uint8_t *start = *at, *stop = start;
        while (stop < end && *stop != '\t' && *stop != '\n' && *stop != '\\')
            stop++;
        if (stop > start) {
            *bytes = slice(start, (size_t)(stop - start));
            *at = stop;
            return TEXT_BYTES;
        }
        *at = stop + 1;
        if (*stop == '\\')
            decoder->state = AFTER_BACKSLASH;
        else
            return *stop == '\t' ? TEXT_TAB : TEXT_NEWLINE;
    }
    return TEXT_END;
}

bool text_unescape_complete(const struct text_unescape *decoder)
{
    return decoder->state == PLAIN;
}

plsm_status text_unescape_all(struct buf *out, plsm_slice text)
{
    struct text_unescape decoder = {0};
    const uint8_t *at = text.data, *end = at + text.size;
    for (;;) {
        plsm_slice bytes = {0};
        switch (text_unescape_next(&decoder, &at, end, &bytes)) {
        case TEXT_END:
            if (!text_unescape_complete(&decoder))
                return fail(PLSM_INVALID, "%.*s: ends within an escape", (int)text.size, (const char *)text.data);
            return PLSM_OK;
        case TEXT_BYTES:
            TRY(buf_append(out, bytes.data, bytes.size));
            break;
        case TEXT_TAB:
            TRY(buf_append(out, "\t", 1));
            break;
        case TEXT_NEWLINE:
            TRY(buf_append(out, "\n", 1));
            break;
        case TEXT_MARK:
        case TEXT_BAD:
            return fail(PLSM_INVALID, "%.*s: an escape is none of \\t \\n \\\\ \\0 \\xHH", (int)text.size,
                        (const char *)text.data);
        }
    }
}
