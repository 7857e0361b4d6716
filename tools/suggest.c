/* See suggest.h. */
#include "tools/suggest.h"

#include "base/banned.h"

enum { LETTERS_MAX = 31, FAR = 255 };

static unsigned least(unsigned a, unsigned b)
{
    return a < b ? a : b;
}

/* rows[i][j]: of the first i letters of a and the first j of b. */
unsigned suggest_distance(plsm_slice a, plsm_slice b)
{
    unsigned rows[LETTERS_MAX + 1][LETTERS_MAX + 1];
    const char *x = a.data, *y = b.data;
    if (a.size > LETTERS_MAX || b.size > LETTERS_MAX)
        return FAR;
    for (size_t i = 0; i <= a.size; i++)
        for (size_t j = 0; j <= b.size; j++) {
            if (i == 0 || j == 0) {
                rows[i][j] = (unsigned)(i + j);
                continue;
            }
            rows[i][j] = least(rows[i - 1][j] + 1, rows[i][j - 1] + 1);
            rows[i][j] = least(rows[i][j], rows[i - 1][j - 1] + (x[i - 1] != y[j - 1]));
            if (i > 1 && j > 1 && x[i - 1] == y[j - 2] && x[i - 2] == y[j - 1])
                rows[i][j] = least(rows[i][j], rows[i - 2][j - 2] + 1);
        }
    return rows[a.size][b.size];
}

bool suggest_fits(plsm_slice word, plsm_slice name, unsigned *distance)
{
    *distance = suggest_distance(word, name);
    return *distance <= 2 && *distance * 2 <= least((unsigned)word.size, (unsigned)name.size);
}
