/* Lists of numbers, as those of the files in a directory. */
#ifndef BASE_NUMBER_LIST_H
#define BASE_NUMBER_LIST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Zero: empty. */
struct number_list {
    uint64_t *at;
    size_t count, capacity;
    bool no_memory; /* some are missing */
};

/* `list` is a struct number_list: this is a callback, too, of what tells numbers one by one. */
void number_list_add(void *list, uint64_t number);
void number_list_free(struct number_list *list);   /* leaves it empty */
void number_list_sort(struct number_list *list);   /* ascending */
bool number_list_has(const struct number_list *list, uint64_t number); /* of a sorted one */
/* Of a sorted one the highest; 0: it is empty. */
static inline uint64_t number_list_last(const struct number_list *list)
{
    return list->count > 0 ? list->at[list->count - 1] : 0;
}

/* For qsort and bsearch of uint64_t, ascending. */
int number_compare(const void *a, const void *b);

#endif
