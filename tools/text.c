/* See text.h. */
#include "tools/text.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <wchar.h>
#include <wctype.h>

#include "base/error.h"

#include "base/banned.h"

/* Three figures tell a size; a fourth is never read. */
char *text_bytes(char *out, uint64_t bytes)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    double value = (double)bytes;
    size_t unit = 0;
    while (value >= 1024 && unit + 1 < sizeof units / sizeof *units) {
        value /= 1024;
        unit++;
    }
    snprintf(out, TEXT_NUMBER_SIZE, unit == 0 ? "%.0f %s" : "%.1f %s", value, units[unit]);
    return out;
}

char *text_count(char *out, double count)
{
    if (count >= 999.5e3)
        snprintf(out, TEXT_NUMBER_SIZE, "%.2f M", count / 1e6);
    else if (count >= 999.5)
        snprintf(out, TEXT_NUMBER_SIZE, "%.1f k", count / 1e3);
    else
        snprintf(out, TEXT_NUMBER_SIZE, "%.0f", count);
    return out;
}

char *text_duration(char *out, uint64_t seconds)
{
    unsigned long long hours = seconds / 3600, minutes = seconds / 60 % 60, rest = seconds % 60;
    if (hours)
        snprintf(out, TEXT_NUMBER_SIZE, "%llu:%02llu:%02llu", hours, minutes, rest);
    else
        snprintf(out, TEXT_NUMBER_SIZE, "%llu:%02llu", minutes, rest);
    return out;
}

bool text_parse_number(const char *text, uint64_t base, uint64_t *out)
{
    static const char suffixes[] = "kmgt";
    char *end = NULL;
    if (!isdigit((unsigned char)*text)) /* strtoull would take a sign and spaces */
        return false;
    errno = 0;
    uint64_t value = strtoull(text, &end, 10);
    if (errno)
        return false;
    if (*end) {
        const char *suffix = strchr(suffixes, tolower((unsigned char)*end));
        if (!suffix || !*suffix || end[1])
            return false;
        for (const char *power = suffixes; power <= suffix; power++)
            if (__builtin_mul_overflow(value, base, &value))
                return false;
    }
    *out = value;
    return true;
}

/* How many bytes at `at` make a character that can be shown; 0: none. */
static size_t printable(const uint8_t *at, size_t size)
{
    mbstate_t state = {0};
    wchar_t character = 0;
    size_t used = mbrtowc(&character, (const char *)at, size, &state);
    return used > size || used == 0 || !iswprint((wint_t)character) ? 0 : used;
}

plsm_status text_escape_shown(struct buf *out, plsm_slice bytes)
{
    const uint8_t *at = bytes.data, *end = at + bytes.size;
    while (at < end) {
        const uint8_t *from = at;
        size_t size = 0;
        while (at < end && *at < 0x80)
            at++;
        TRY(text_escape(out, slice(from, (size_t)(at - from))));
        for (; at < end && *at >= 0x80; at += size ? size : 1) {
            size = printable(at, (size_t)(end - at));
            TRY(size ? buf_append(out, at, size) : buf_printf(out, "\\x%02x", *at));
        }
    }
    return PLSM_OK;
}
