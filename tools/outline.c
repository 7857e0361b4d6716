/* See outline.h. A table is gathered until its list ends, as only then the widths of its columns are known. */
#include "tools/outline.h"

#include <math.h>
#include <stdio.h>
#include <time.h>

#include "base/error.h"
#include "tools/text.h"
#include "tools/tool.h"

#include "base/banned.h"

enum { LABEL_WIDTH = 34, KEY_TEXT = 64 };

void outline_start(struct outline *o, bool json)
{
    *o = (struct outline){.json = json};
}

bool outline_end(struct outline *o)
{
    INVARIANT(o->depth == 0);
    if (o->json)
        tool_print("\n");
    buf_free(&o->cells);
    if (o->no_memory)
        fail(PLSM_NO_MEMORY, "no memory for a table");
    return !o->no_memory;
}

/* --- JSON --------------------------------------------------------------------------------------------------------- */

static void json_indent(const struct outline *o)
{
    tool_print("\n%*s", (int)(2 * o->depth), "");
}

/* What stands in front of a value. */
static void json_name(struct outline *o, const char *name)
{
    if (o->depth > 0) {
        if (o->more[o->depth - 1])
            tool_print(",");
        o->more[o->depth - 1] = true;
        json_indent(o);
    }
    if (name)
        tool_print("\"%s\": ", name);
}

static void json_open(struct outline *o, const char *name, char opening)
{
    INVARIANT(o->depth < OUTLINE_DEPTH);
    json_name(o, name);
    tool_print("%c", opening);
    o->closing[o->depth] = opening == '{' ? '}' : ']';
    o->more[o->depth++] = false;
}

static void json_close(struct outline *o)
{
    INVARIANT(o->depth > 0);
    bool any = o->more[--o->depth];
    if (any)
        json_indent(o);
    tool_print("%c", o->closing[o->depth]);
}

/* `text` in quotes; bytes that JSON does not take as they are, are escaped. */
static void json_quote(plsm_slice text)
{
    const uint8_t *bytes = text.data;
    tool_print("\"");
    for (size_t i = 0; i < text.size; i++) {
        if (bytes[i] == '"' || bytes[i] == '\\')
            tool_print("\\%c", bytes[i]);
        else if (bytes[i] < 0x20)
            tool_print("\\u%04x", bytes[i]);
        else
            tool_write(&bytes[i], 1);
    }
    tool_print("\"");
}

/* --- tables ------------------------------------------------------------------------------------------------------- */

static void add_cell(struct outline *o, const char *text)
{
    if (buf_append(&o->cells, text, strlen(text) + 1) != PLSM_OK)
        o->no_memory = true;
}

/* The name as it is shown in text. */
static const char *label(const char *name, char *out, size_t size)
{
    size_t length = strlen(name) < size - 1 ? strlen(name) : size - 1;
    for (size_t i = 0; i < length; i++)
        out[i] = name[i] == '_' ? ' ' : name[i];
    out[length] = '\0';
    return out;
}

/* Width in columns: UTF-8 bytes behind the first of a character take none. */
static size_t width_of(const char *text)
{
    size_t width = 0;
    for (; *text; text++)
        width += ((unsigned char)*text & 0xc0) != 0x80;
    return width;
}

static void print_cell(const char *text, size_t width, bool left, bool last)
{
    size_t own = width_of(text), fill = width > own ? width - own : 0;
    if (left)
        tool_print("%s%*s", text, last ? 0 : (int)fill, "");
    else
        tool_print("%*s%s", (int)fill, "", text);
}

static void print_table(const struct outline *o)
{
    size_t widths[OUTLINE_COLUMNS] = {0};
    const char *text = (const char *)o->cells.data;
    for (unsigned i = 0; i < o->rows * o->columns; i++, text += strlen(text) + 1) {
        size_t width = width_of(text);
        if (width > widths[i % o->columns])
            widths[i % o->columns] = width;
    }
    text = (const char *)o->cells.data;
    for (unsigned row = 0; row < o->rows; row++) {
        tool_print("  ");
        for (unsigned column = 0; column < o->columns; column++, text += strlen(text) + 1) {
            bool last = column + 1 == o->columns;
            print_cell(text, widths[column], o->left[column], last);
            tool_print(last ? "\n" : "  ");
        }
    }
}

/* --- sections, lists, rows ---------------------------------------------------------------------------------------- */

static void print_title(const char *title)
{
    if (title)
        tool_print("%s\n", title);
}

void outline_section(struct outline *o, const char *name, const char *title)
{
    if (o->json)
        json_open(o, name, '{');
    else
        print_title(title);
}

void outline_section_end(struct outline *o)
{
    if (o->json)
        json_close(o);
}

void outline_list(struct outline *o, const char *name, const char *title)
{
    if (o->json) {
        json_open(o, name, '[');
        return;
    }
    o->title = title;
    o->in_list = true;
    o->cells.size = 0;
    o->rows = o->columns = o->at = 0;
}

void outline_list_end(struct outline *o)
{
    if (o->json) {
        json_close(o);
        return;
    }
    if (o->rows > 0 && !o->no_memory) {
        print_title(o->title);
        print_table(o);
    }
    o->in_list = false;
}

/* In text the cells of the first row are gathered behind those of the head, which its names make. */
void outline_row(struct outline *o)
{
    if (o->json)
        json_open(o, NULL, '{');
    o->at = 0;
}

/* The first row was gathered as name, value, name, value: sorts it into two rows. */
static void split_first_row(struct outline *o)
{
    struct buf sorted = {0};
    for (unsigned part = 0; part < 2; part++) {
        const char *text = (const char *)o->cells.data;
        for (unsigned i = 0; i < 2 * o->at; i++, text += strlen(text) + 1)
            if (i % 2 == part && buf_append(&sorted, text, strlen(text) + 1) != PLSM_OK)
                o->no_memory = true;
    }
    buf_free(&o->cells);
    o->cells = sorted;
}

void outline_row_end(struct outline *o)
{
    if (o->json) {
        json_close(o);
        return;
    }
    if (o->rows == 0) {
        o->columns = o->at;
        o->rows = 1;
        if (!o->no_memory)
            split_first_row(o);
    }
    INVARIANT(o->at == o->columns);
    o->rows++;
}

/* --- values ------------------------------------------------------------------------------------------------------- */

/* A value whose text has been made. */
static void put(struct outline *o, const char *name, const char *text, bool left)
{
    char shown[64];
    if (!o->in_list) {
        tool_print("  %-*s %s\n", LABEL_WIDTH, label(name, shown, sizeof shown), text);
        return;
    }
    INVARIANT(o->at < OUTLINE_COLUMNS);
    if (o->rows == 0) {
        add_cell(o, label(name, shown, sizeof shown));
        o->left[o->at] = left;
    }
    o->at++;
    add_cell(o, text);
}

static void put_plain(struct outline *o, const char *name, const char *json, const char *text)
{
    if (o->json) {
        json_name(o, name);
        tool_print("%s", json);
    } else {
        put(o, name, text, false);
    }
}

void outline_number(struct outline *o, const char *name, uint64_t value)
{
    char text[TEXT_NUMBER_SIZE];
    snprintf(text, sizeof text, "%llu", (unsigned long long)value);
    put_plain(o, name, text, text);
}

void outline_integer(struct outline *o, const char *name, int64_t value)
{
    char text[TEXT_NUMBER_SIZE];
    snprintf(text, sizeof text, "%lld", (long long)value);
    put_plain(o, name, text, text);
}

void outline_real(struct outline *o, const char *name, double value, unsigned digits)
{
    char text[64], exact[64];
    if (!isfinite(value)) {
        put_plain(o, name, "null", "-");
        return;
    }
    snprintf(text, sizeof text, "%.*f", (int)digits, value);
    snprintf(exact, sizeof exact, "%.9g", value);
    put_plain(o, name, exact, text);
}

void outline_share(struct outline *o, const char *name, double part, double whole)
{
    char text[64], exact[64];
    if (!(whole > 0)) {
        put_plain(o, name, "null", "-");
        return;
    }
    /* Rounded, but what is not 0 or all does not look so. */
    double percent = 100 * part / whole;
    if (percent > 0 && percent < 0.005)
        snprintf(text, sizeof text, "<0.01 %%");
    else if (percent < 100 && percent > 99.995)
        snprintf(text, sizeof text, ">99.99 %%");
    else
        snprintf(text, sizeof text, "%.2f %%", percent);
    snprintf(exact, sizeof exact, "%.9g", part / whole);
    put_plain(o, name, exact, text);
}

void outline_ratio(struct outline *o, const char *name, double part, double whole, unsigned digits)
{
    outline_real(o, name, whole > 0 ? part / whole : NAN, digits);
}

void outline_flag(struct outline *o, const char *name, bool value)
{
    put_plain(o, name, value ? "true" : "false", value ? "yes" : "no");
}

void outline_text(struct outline *o, const char *name, const char *value)
{
    if (o->json) {
        json_name(o, name);
        if (value)
            json_quote(slice_of(value));
        else
            tool_print("null");
    } else {
        put(o, name, value ? value : "-", true);
    }
}

/* With escapes for all bytes that are not printable ASCII. */
static plsm_status escape_all(struct buf *out, plsm_slice value)
{
    const uint8_t *bytes = value.data;
    TRY(text_escape(out, value));
    for (size_t i = 0; i < value.size; i++)
        if (bytes[i] >= 0x80) { /* rare: start over, byte by byte */
            out->size = 0;
            for (i = 0; i < value.size; i++)
                TRY(bytes[i] < 0x80 ? text_escape(out, slice(&bytes[i], 1)) : buf_printf(out, "\\x%02x", bytes[i]));
        }
    return PLSM_OK;
}

void outline_bytes(struct outline *o, const char *name, plsm_slice value)
{
    struct buf escaped = {0};
    if (escape_all(&escaped, value) != PLSM_OK || buf_append(&escaped, "", 1) != PLSM_OK) {
        o->no_memory = true;
    } else if (o->json) {
        json_name(o, name);
        json_quote(slice(escaped.data, escaped.size - 1));
    } else {
        if (escaped.size > KEY_TEXT)
            memcpy(escaped.data + KEY_TEXT - 4, "...", 4);
        put(o, name, (const char *)escaped.data, true);
    }
    buf_free(&escaped);
}

void outline_moment(struct outline *o, const char *name, uint64_t wall_ns)
{
    char text[32] = "";
    time_t seconds = (time_t)(wall_ns / 1000000000);
    struct tm when = {0};
    if (wall_ns > 0)
        strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&seconds, &when));
    outline_text(o, name, *text ? text : NULL);
}
