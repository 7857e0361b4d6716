/* Keys that are the lines of a file: a sample of them is the set, the rest is asked for in vain.
 *
 * Lines are in bytewise order. Some directories may be held out as a whole: of the tree that a path is in, its first
 * four directories (fewer when it has fewer), a hash tells whether it is one of the 1 of 16 held out. Of all other
 * lines the set is a random sample. */
#ifndef TOOLS_BENCH_LINES_H
#define TOOLS_BENCH_LINES_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"

enum lines_part { LINES_SET, LINES_LEFT_OUT, LINES_HELD_OUT, LINES_PARTS };
enum { LINES_TREE_DIRECTORIES = 4, LINES_HELD_OUT_OF = 16 };

struct lines {
    uint8_t *bytes;   /* of the whole file; each line ends in '\n' */
    uint32_t *starts; /* of lines, part after part, each in order */
    uint64_t counts[LINES_PARTS];
    uint64_t seed;
};

/* Reads DIRECTORY/FILE and chooses `keys` lines as the set; `size_max` is the longest line allowed. Errors as
 * shape_open. Free with lines_free, also after a failure. */
plsm_status lines_read(struct lines *lines, const char *directory, const char *file, size_t size_max, bool trees,
                       uint64_t keys, uint64_t seed);
void lines_free(struct lines *lines); /* accepts a zeroed one */

/* The line with this index of a part, below its count; valid until lines_free. */
plsm_slice lines_at(const struct lines *lines, enum lines_part part, uint64_t index);
/* The line of the set with one character replaced by a character of a line near it, so that the result is not in the
 * set; at most `size_max` bytes, in `buffer`. A character is one of UTF-8, or a byte where the text is not UTF-8. Where
 * no such change is found it becomes '\n'. */
plsm_slice lines_changed(const struct lines *lines, uint64_t index, size_t size_max, uint8_t *buffer);

#endif
