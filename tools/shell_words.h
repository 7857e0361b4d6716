/* Lines of `plsm shell` cut into words.
 *
 * Spaces and tabs separate words. Quotes of either kind hold them together: "a b", 'a b', a" "b are one word; "" is an
 * empty one. Outside of single quotes, where every byte stands for itself, these are escapes: those of base/text.h
 * (\t \n \\ \0 \xHH), and \ in front of a space, a quote or # for that byte. So any bytes can be written in a line. */
#ifndef TOOLS_SHELL_WORDS_H
#define TOOLS_SHELL_WORDS_H

#include "tools/text.h"

enum { SHELL_WORDS_MAX = 4 }; /* one more than any command has */

/* Zero it to start, use it again and again, free it with shell_words_free. */
struct shell_words {
    struct buf bytes; /* of all words, decoded */
    struct {
        size_t at;         /* where the word begins in the line, its quote included */
        size_t from, size; /* in `bytes` */
    } list[SHELL_WORDS_MAX];
    size_t count;
    bool open; /* the line ends within quotes */
    bool word; /* it ends within a word: there is no space behind the last one */
};

/* PLSM_INVALID: a bad escape, or more than SHELL_WORDS_MAX words; PLSM_NO_MEMORY. */
plsm_status shell_words_split(struct shell_words *words, plsm_slice line);
void shell_words_free(struct shell_words *words);

/* Word `index`, valid until the words are split anew; empty where there are not so many. */
plsm_slice shell_word(const struct shell_words *words, size_t index);

/* Appends `bytes` to `out` as one word that reads back, without quotes but for an empty one. What the locale has no
 * printable character for is written \xHH. */
plsm_status shell_word_quote(struct buf *out, plsm_slice bytes);

/* A whole number in decimal digits with or without a sign; false: it is none, or not within the limits. */
bool shell_parse_integer(plsm_slice text, int64_t least, int64_t most, int64_t *out);

#endif
