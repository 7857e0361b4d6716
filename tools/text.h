/* Text for people: sizes, counts and durations, and the escapes of the record format (base/text.h). */
#ifndef TOOLS_TEXT_H
#define TOOLS_TEXT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/text.h"

enum { TEXT_NUMBER_SIZE = 32 };
/* "17 B", "1.5 MiB". `out` has TEXT_NUMBER_SIZE bytes. Returns out. */
char *text_bytes(char *out, uint64_t bytes);
/* "950", "12.3 k", "1.25 M". Likewise. */
char *text_count(char *out, double count);
/* "0:07", "1:02:03" from seconds. Likewise. */
char *text_duration(char *out, uint64_t seconds);

/* A whole number with an optional suffix k, m, g or t (any case, powers of `base`: 1000 or 1024). */
bool text_parse_number(const char *text, uint64_t base, uint64_t *out);

/* Appends `bytes` to `out` as text_escape does, and as \xHH also those from 0x80 on that make no character which can be
 * shown in the locale (setlocale(3), LC_CTYPE): for terminals. It reads back as what text_escape writes. */
plsm_status text_escape_shown(struct buf *out, plsm_slice bytes);

#endif
