#include "tools/bench/choice.h"

#include "base/error.h"

#include "base/banned.h"

void choice_init(struct choice *choice, enum choice_kind kind, const struct data *data, uint64_t seed)
{
    *choice = (struct choice){.kind = kind};
    random_seed(&choice->random, seed);
    zipf_init(&choice->zipf, data->keys, 0.99);
}

void choice_free(struct choice *choice)
{
    plsm_iterator_destroy(choice->it);
    choice->it = NULL;
}

/* The index of a key that is there. */
static uint64_t next_index(struct choice *choice, const struct data *data)
{
    uint64_t hot = (data->keys + CHOICE_HOT_OF - 1) / CHOICE_HOT_OF;
    switch (choice->kind) {
    case CHOICE_ZIPF:
        return data_shuffled(data, zipf_next(&choice->zipf, &choice->random));
    case CHOICE_HOT:
        return data_shuffled(data, random_below(&choice->random, hot));
    case CHOICE_LIST:
        return choice->list[random_below(&choice->random, choice->list_count)];
    default:
        return random_below(&choice->random, data->keys);
    }
}

/* Keys in their order are known only to a store. What it says is checked against the values that they should have. */
static plsm_status fill_in_order(struct choice *choice, const struct data *data, uint64_t count, struct questions *q)
{
    for (uint64_t i = 0; i < count; i++) {
        if (!plsm_iterator_valid(choice->it))
            plsm_iterator_first(choice->it);
        if (!plsm_iterator_valid(choice->it))
            return fail(PLSM_CORRUPT, "wrong answer: an iterator over all keys gives none");
        TRY(questions_add_of(q, data, plsm_iterator_key(choice->it), false));
        plsm_iterator_next(choice->it);
    }
    return plsm_iterator_status(choice->it);
}

plsm_status choice_fill(struct choice *choice, const struct data *data, uint64_t count, struct questions *q)
{
    uint8_t buffer[SHAPE_KEY_MAX];
    plsm_status status = PLSM_OK;
    questions_clear(q);
    if (choice->kind == CHOICE_SEQUENTIAL)
        status = fill_in_order(choice, data, count, q);
    for (; status == PLSM_OK && q->count < count;) {
        if (choice->kind == CHOICE_ABSENT) {
            uint64_t index = random_below(&choice->random, shape_absent_count(data->set, choice->way));
            status = questions_add_of(q, data, shape_absent(data->set, choice->way, index, buffer), true);
        } else {
            status = questions_add_of(q, data, data_key(data, next_index(choice, data), buffer), false);
        }
    }
    questions_done(q);
    return status;
}
