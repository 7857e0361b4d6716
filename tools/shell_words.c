/* See shell_words.h. */
#include "tools/shell_words.h"

#include "base/error.h"

#include "base/banned.h"

static bool is_space(uint8_t byte)
{
    return byte == ' ' || byte == '\t';
}

/* Bytes that \ may stand in front of for themselves, beside those of base/text.h. */
static bool is_special(uint8_t byte)
{
    return byte == ' ' || byte == '"' || byte == '\'' || byte == '#';
}

/* Decodes the escape at `at` and appends what it stands for; *at moves behind it. */
static plsm_status take_escape(struct buf *out, const uint8_t **at, const uint8_t *end)
{
    const uint8_t *escape = *at;
    if (end - escape >= 2 && is_special(escape[1])) {
        *at += 2;
        return buf_append(out, escape + 1, 1);
    }
    size_t size = end - escape >= 2 && escape[1] == 'x' ? 4 : 2;
    if (size > (size_t)(end - escape))
        size = (size_t)(end - escape);
    *at += size;
    return text_unescape_all(out, slice(escape, size));
}

/* One word from its first byte on; *at moves behind its last one. */
static plsm_status take_word(struct shell_words *words, const uint8_t **at, const uint8_t *end)
{
    uint8_t quote = 0;
    while (*at < end && (quote || !is_space(**at))) {
        if (**at == '\\' && quote != '\'') {
            TRY(take_escape(&words->bytes, at, end));
            continue;
        }
        if (quote ? **at == quote : **at == '"' || **at == '\'') {
            quote = quote ? 0 : **at;
            ++*at;
            continue;
        }
        const uint8_t *from = *at;
        while (*at < end && !is_space(**at) && !is_special(**at) && **at != '\\')
            ++*at;
        *at += *at == from; /* one of these that is none here */
        TRY(buf_append(&words->bytes, from, (size_t)(*at - from)));
    }
    words->open = quote != 0;
    return PLSM_OK;
}

plsm_status shell_words_split(struct shell_words *words, plsm_slice line)
{
    const uint8_t *begin = line.data, *at = begin, *end = begin + line.size;
    words->bytes.size = 0;
    words->count = 0;
    words->open = words->word = false;
    for (;;) {
        while (at < end && is_space(*at))
            at++;
        if (at == end)
            return PLSM_OK;
        if (words->count == SHELL_WORDS_MAX)
            return fail(PLSM_INVALID, "too many words; a key or value with spaces goes into quotes");
        size_t i = words->count, from = words->bytes.size;
        words->list[i].at = (size_t)(at - begin);
        TRY(take_word(words, &at, end));
        words->list[i].from = from;
        words->list[i].size = words->bytes.size - from;
        words->count++;
        words->word = at == end;
    }
}

void shell_words_free(struct shell_words *words)
{
    buf_free(&words->bytes);
}

plsm_slice shell_word(const struct shell_words *words, size_t index)
{
    if (index >= words->count)
        return (plsm_slice){0};
    return slice(words->bytes.data + words->list[index].from, words->list[index].size);
}

plsm_status shell_word_quote(struct buf *out, plsm_slice bytes)
{
    const uint8_t *at = bytes.data, *end = at + bytes.size;
    if (bytes.size == 0)
        return buf_append(out, "\"\"", 2);
    while (at < end) {
        const uint8_t *from = at;
        while (at < end && !is_special(*at))
            at++;
        TRY(text_escape_shown(out, slice(from, (size_t)(at - from))));
        if (at < end) {
            const uint8_t escape[] = {'\\', *at++};
            TRY(buf_append(out, escape, sizeof escape));
        }
    }
    return PLSM_OK;
}

bool shell_parse_integer(plsm_slice text, int64_t least, int64_t most, int64_t *out)
{
    const char *at = text.data, *end = at + text.size;
    bool negative = at < end && *at == '-';
    int64_t number = 0;
    if (at < end && (*at == '-' || *at == '+'))
        at++;
    if (at == end)
        return false;
    for (; at < end; at++) {
        if (*at < '0' || *at > '9' || __builtin_mul_overflow(number, 10, &number) ||
            __builtin_sub_overflow(number, *at - '0', &number)) /* downwards: the least number has no positive */
            return false;
    }
    if (!negative && __builtin_sub_overflow(INT64_C(0), number, &number))
        return false;
    *out = number;
    return number >= least && number <= most;
}
