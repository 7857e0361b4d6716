#include "base/number_list.h"

#include <stdlib.h>

#include "base/alloc.h"
#include "base/banned.h"

enum { CAPACITY_FIRST = 64 };

void number_list_add(void *list, uint64_t number)
{
    struct number_list *n = list;
    if (n->count == n->capacity) {
        size_t capacity = n->capacity ? 2 * n->capacity : CAPACITY_FIRST;
        uint64_t *grown = mem_realloc(n->at, capacity * sizeof *grown);
        n->no_memory = n->no_memory || !grown;
        if (!grown)
            return;
        n->at = grown;
        n->capacity = capacity;
    }
    n->at[n->count++] = number;
}

void number_list_free(struct number_list *list)
{
    mem_free(list->at);
    *list = (struct number_list){0};
}

int number_compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

void number_list_sort(struct number_list *list)
{
    if (list->count > 1)
        qsort(list->at, list->count, sizeof *list->at, number_compare);
}

bool number_list_has(const struct number_list *list, uint64_t number)
{
    return list->count > 0 && bsearch(&number, list->at, list->count, sizeof number, number_compare);
}
