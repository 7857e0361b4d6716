/* Named values on stdout: as text for people, or as one JSON document. Names are written once, for both: "file_bytes"
 * is a name in JSON, and "file bytes" a label or the head of a column in text.
 *
 *     section  an object       in text lines of label and value, under the section's name
 *     list     an array        in text a table, a column per name
 *     row      an object in it in text a line of that table: values only
 *
 * An outline ends with outline_end, which tells whether memory sufficed; what it writes goes through tool_write. */
#ifndef TOOLS_OUTLINE_H
#define TOOLS_OUTLINE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"

enum { OUTLINE_DEPTH = 8, OUTLINE_COLUMNS = 24 };

struct outline {
    bool json;
    bool in_list; /* the values that come are cells */
    bool no_memory;
    const char *title; /* of the table */
    unsigned depth;    /* of JSON */
    char closing[OUTLINE_DEPTH];
    bool more[OUTLINE_DEPTH];   /* a comma is due */
    struct buf cells;           /* of the table: texts with their terminators, row by row, the head first */
    unsigned rows, columns, at; /* `at`: columns of this row so far */
    bool left[OUTLINE_COLUMNS]; /* the column is text */
};

void outline_start(struct outline *o, bool json);
/* False: there was no memory; a message has been set. */
bool outline_end(struct outline *o);

/* `name` NULL: without one (the document itself). In text `title` heads it; NULL: nothing does. */
void outline_section(struct outline *o, const char *name, const char *title);
void outline_section_end(struct outline *o);
void outline_list(struct outline *o, const char *name, const char *title);
void outline_list_end(struct outline *o);
void outline_row(struct outline *o);
void outline_row_end(struct outline *o);

void outline_number(struct outline *o, const char *name, uint64_t value);
void outline_integer(struct outline *o, const char *name, int64_t value);
/* With so many digits behind the point; null, or "-" in text, where it is not finite. */
void outline_real(struct outline *o, const char *name, double value, unsigned digits);
/* part / whole, in text in per cent; null, or "-", where the whole is 0. */
void outline_share(struct outline *o, const char *name, double part, double whole);
/* The same without per cent. */
void outline_ratio(struct outline *o, const char *name, double part, double whole, unsigned digits);
void outline_flag(struct outline *o, const char *name, bool value); /* in text "yes" or "no" */
/* NULL: null, or "-". */
void outline_text(struct outline *o, const char *name, const char *value);
/* Any bytes, with the escapes of base/text.h and \xHH for all bytes from 0x80 on; in text cut where it is long. */
void outline_bytes(struct outline *o, const char *name, plsm_slice value);
/* A moment in ns since 1970, as "2026-11-20T12:00:00Z"; null, or "-", where it is 0. */
void outline_moment(struct outline *o, const char *name, uint64_t wall_ns);

#endif
