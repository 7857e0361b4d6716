/* What somebody may have meant who typed a word that is none. */
#ifndef TOOLS_SUGGEST_H
#define TOOLS_SUGGEST_H

#include <stdbool.h>

#include "base/bytes.h"

/* How many letters to insert, remove, change, or swap with their neighbour to make one word of the other (the "optimal
 * string alignment" distance); 255 where a word has over 31 letters. "gte" and "get": 1. */
unsigned suggest_distance(plsm_slice a, plsm_slice b);

/* Whether `word` is a likely slip for `name`: a letter or two are wrong, and not most of them. */
bool suggest_fits(plsm_slice word, plsm_slice name, unsigned *distance);

#endif
