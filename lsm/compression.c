/* Shared by compressed runs. See compression.h. */
#include "lsm/compression.h"

#include "base/alloc.h"
#include "base/error.h"
#include "base/sync.h"
#include "base/banned.h"

enum {
    KEYSPACES = 4,     /* by the last bits of the first byte; more than there are */
    RUNS_BETWEEN = 32, /* that are written with one dictionary, or without, until the next is trained */
};

struct dictionary {
    uint32_t references; /* under the lock */
    struct dictionary *next;
    struct codec_dictionary *codec;
    struct buf bytes;
};

/* The dictionary that is in use for writing. */
struct current {
    struct dictionary *dictionary; /* NULL: none is worth it, or not tried yet */
    uint32_t left;                 /* runs to be written until the next is trained */
    uint8_t keyspace;
};

struct compression {
    mutex lock; /* guards all below; a leaf */
    struct codec_context **idle;
    size_t idle_count, idle_capacity;
    struct dictionary *dictionaries;
    struct current current[KEYSPACES];
};

struct compression *compression_create(void)
{
    struct compression *c = mem_zalloc(sizeof *c);
    if (c)
        mutex_init(&c->lock);
    return c;
}

/* Under the lock. */
static void let_go(struct compression *c, struct dictionary *d)
{
    if (!d || --d->references > 0)
        return;
    struct dictionary **link = &c->dictionaries;
    while (*link != d)
        link = &(*link)->next;
    *link = d->next;
    struct mem_account *before = mem_account_use(NULL); /* shared by all that have it: charged to none of them */
    codec_dictionary_destroy(d->codec);
    buf_free(&d->bytes);
    mem_free(d);
    mem_account_use(before);
}

void compression_destroy(struct compression *c)
{
    if (!c)
        return;
    for (unsigned i = 0; i < KEYSPACES; i++)
        let_go(c, c->current[i].dictionary);
    INVARIANT(!c->dictionaries);
    for (size_t i = 0; i < c->idle_count; i++)
        codec_context_destroy(c->idle[i]);
    mem_free(c->idle);
    mutex_destroy(&c->lock);
    mem_free(c);
}

struct codec_context *compression_take(struct compression *c)
{
    struct codec_context *context = NULL;
    mutex_lock(&c->lock);
    if (c->idle_count)
        context = c->idle[--c->idle_count];
    mutex_unlock(&c->lock);
    return context ? context : codec_context_create();
}

void compression_give(struct compression *c, struct codec_context *context)
{
    if (!context)
        return;
    mutex_lock(&c->lock);
    if (c->idle_count == c->idle_capacity) {
        size_t capacity = c->idle_capacity ? 2 * c->idle_capacity : 4;
        struct mem_account *before = mem_account_use(NULL);
        struct codec_context **grown = mem_realloc(c->idle, capacity * sizeof(struct codec_context *));
        mem_account_use(before);
        if (grown) {
            c->idle = grown;
            c->idle_capacity = capacity;
        }
    }
    if (c->idle_count < c->idle_capacity) {
        c->idle[c->idle_count++] = context;
        context = NULL;
    }
    mutex_unlock(&c->lock);
    codec_context_destroy(context);
}

plsm_slice dictionary_bytes(const struct dictionary *d)
{
    return buf_slice(&d->bytes);
}

const struct codec_dictionary *dictionary_codec(const struct dictionary *d)
{
    return d ? d->codec : NULL;
}

/* A new one in the list, with one reference. Under the lock, charged to nobody. */
static plsm_status add(struct compression *c, plsm_slice bytes, struct dictionary **out)
{
    struct dictionary *d = mem_zalloc(sizeof *d);
    if (!d)
        return fail(PLSM_NO_MEMORY, "no memory for a dictionary");
    plsm_status status = buf_append(&d->bytes, bytes.data, bytes.size);
    if (status == PLSM_OK)
        status = codec_dictionary_create(bytes, &d->codec);
    if (status != PLSM_OK) {
        buf_free(&d->bytes);
        mem_free(d);
        return status;
    }
    d->references = 1;
    d->next = c->dictionaries;
    c->dictionaries = *out = d;
    return PLSM_OK;
}

/* Under the lock. */
static plsm_status find_or_add(struct compression *c, plsm_slice bytes, struct dictionary **out)
{
    for (struct dictionary *d = c->dictionaries; d; d = d->next)
        if (slice_equal(buf_slice(&d->bytes), bytes)) {
            d->references++;
            *out = d;
            return PLSM_OK;
        }
    struct mem_account *before = mem_account_use(NULL);
    plsm_status status = add(c, bytes, out);
    mem_account_use(before);
    return status;
}

plsm_status compression_dictionary(struct compression *c, plsm_slice bytes, struct dictionary **out)
{
    *out = NULL;
    mutex_lock(&c->lock);
    plsm_status status = find_or_add(c, bytes, out);
    mutex_unlock(&c->lock);
    return status;
}

void compression_dictionary_unref(struct compression *c, struct dictionary *d)
{
    if (!d)
        return;
    mutex_lock(&c->lock);
    let_go(c, d);
    mutex_unlock(&c->lock);
}

enum dictionary_advice compression_advise(struct compression *c, uint8_t keyspace, struct dictionary **out)
{
    enum dictionary_advice advice = DICTIONARY_TRAIN;
    struct current *current = &c->current[keyspace % KEYSPACES];
    *out = NULL;
    mutex_lock(&c->lock);
    if (current->left > 0 && current->keyspace == keyspace) {
        current->left--;
        advice = current->dictionary ? DICTIONARY_USE : DICTIONARY_NONE;
        *out = current->dictionary;
        if (*out)
            (*out)->references++;
    }
    mutex_unlock(&c->lock);
    return advice;
}

plsm_status compression_learned(struct compression *c, uint8_t keyspace, plsm_slice bytes, struct dictionary **out)
{
    plsm_status status = PLSM_OK;
    struct current *current = &c->current[keyspace % KEYSPACES];
    *out = NULL;
    mutex_lock(&c->lock);
    if (bytes.size)
        status = find_or_add(c, bytes, out);
    if (status == PLSM_OK && *out)
        status = codec_dictionary_write((*out)->codec);
    if (status == PLSM_OK) {
        let_go(c, current->dictionary);
        *current = (struct current){.dictionary = *out, .left = RUNS_BETWEEN, .keyspace = keyspace};
        if (*out)
            (*out)->references++;
    } else {
        let_go(c, *out);
        *out = NULL;
    }
    mutex_unlock(&c->lock);
    return status;
}

void compression_count(struct compression *c, uint64_t *dictionaries, uint64_t *bytes)
{
    *dictionaries = *bytes = 0;
    mutex_lock(&c->lock);
    for (const struct dictionary *d = c->dictionaries; d; d = d->next) {
        ++*dictionaries;
        *bytes += d->bytes.size;
    }
    mutex_unlock(&c->lock);
}
