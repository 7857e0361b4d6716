/* What all compressed runs of a store share: states of the codecs, and dictionaries.
 *
 * A state belongs to one thread at a time and is given back; there are as many as threads were at work at once.
 *
 * A dictionary stands in each run that was packed with it, and once in memory, digested, however many runs have it.
 * Training one takes about as long as packing 20 MiB, so it is trained on the first pages of one run, used for the
 * following ones of the same keyspace (the first byte of the key), and made anew after a number of them. Where it saves
 * too little to be worth the time it takes, none is used as long. */
#ifndef LSM_COMPRESSION_H
#define LSM_COMPRESSION_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/codec.h"

struct compression;
struct compression *compression_create(void);      /* NULL: no memory */
void compression_destroy(struct compression *c);   /* accepts NULL; all dictionaries must have been let go */

/* A state to work with; NULL: no memory. */
struct codec_context *compression_take(struct compression *c);
void compression_give(struct compression *c, struct codec_context *context); /* accepts NULL */

/* A dictionary in memory: one reference for each that got it below. */
struct dictionary;
plsm_slice dictionary_bytes(const struct dictionary *d);
const struct codec_dictionary *dictionary_codec(const struct dictionary *d); /* accepts NULL: NULL */
/* The dictionary of these bytes. PLSM_CORRUPT (of one that is none), PLSM_NO_MEMORY. */
plsm_status compression_dictionary(struct compression *c, plsm_slice bytes, struct dictionary **out);
void compression_dictionary_unref(struct compression *c, struct dictionary *d); /* accepts NULL */

/* For a run of a keyspace that is about to be written: DICTIONARY_USE with *out, DICTIONARY_NONE, or DICTIONARY_TRAIN:
 * train one and tell. */
enum dictionary_advice { DICTIONARY_NONE, DICTIONARY_USE, DICTIONARY_TRAIN };
enum dictionary_advice compression_advise(struct compression *c, uint8_t keyspace, struct dictionary **out);
/* What came of it: *out NULL: nothing that is worth it; PLSM_OK with a dictionary to write with. PLSM_NO_MEMORY. */
plsm_status compression_learned(struct compression *c, uint8_t keyspace, plsm_slice bytes, struct dictionary **out);

/* Whether a dictionary is worth it that makes `with` bytes out of pages that are `without` bytes otherwise: it must
 * save a sixteenth. Of values like JSON it saves a fifth in pages of 4 KiB, where packing even gets faster, a tenth in
 * 8 KiB and a sixteenth in 16 KiB, where packing takes a third longer. Example: 1,600 without, 1,500 with: yes;
 * 1,501: no. */
static inline bool dictionary_is_worth(uint64_t without, uint64_t with)
{
    return with + (without + 15) / 16 <= without;
}

/* Dictionaries in memory, and their bytes. */
void compression_count(struct compression *c, uint64_t *dictionaries, uint64_t *bytes);

#endif
