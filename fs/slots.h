/* Memory for nodes (fs/node.h): very many small pieces of about the same sizes, which malloc would round up and put a
 * head in front of.
 *
 * A slot is some multiple of 8 bytes. It stays where it is, and besides its address it has a number of 32 bits, by
 * which others name it in half the space. Memory comes in regions of 2 MiB, each aligned to its size, so that the head
 * of the region, and whose it is, is found from any address in it; at most 2^14 regions, 32 GiB. The first block of a
 * region is its head; each of the others has slots of one size or is free.
 *
 *     number of a slot    region << 18 | offset in the region / 8     (0 to SLOT_NUMBERS - 1: of no slot)
 *     number of a block   region << 7 | offset in the region / 16 KiB (0: of no block)
 *
 * Nothing here is locked: who makes and frees slots does that. Finding the address of a slot by its number, and the
 * other way round, needs no lock while the slot is in use. */
#ifndef FS_SLOTS_H
#define FS_SLOTS_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "base/sync.h"

enum {
    SLOT_REGION = 2 << 20,
    SLOT_BLOCK = 16 << 10,
    SLOT_BLOCKS = SLOT_REGION / SLOT_BLOCK,
    SLOT_REGIONS = 1 << 14,
    SLOT_UNIT = 8,
    SLOT_SIZE_MAX = 512,
    SLOT_SIZES = SLOT_SIZE_MAX / SLOT_UNIT + 1,
    SLOT_NUMBERS = SLOT_BLOCK / SLOT_UNIT, /* whatever is below is free for other uses */
};

struct slot_block {
    uint32_t next, previous; /* of those with room for its size, or of the free ones; numbers of blocks */
    uint16_t units;          /* of a slot; 0: the block is free */
    uint16_t used;           /* slots */
    uint16_t begun;          /* slots that are or were used: the others follow them */
    uint16_t freed;          /* where the first of them that is free begins, in units from 1; 0: none is */
};

struct slot_region {
    struct slots *owner;
    uint32_t number;
    struct slot_block blocks[SLOT_BLOCKS];
};

struct slots {
    uint8_t **regions;
    uint32_t region_count;
    uint32_t with_room[SLOT_SIZES]; /* lists of blocks by units of their slots */
    uint32_t free, discarded;       /* lists of free blocks: resident ones, and others */
    size_t free_count, used_count;  /* blocks: free and resident; with slots in use */
};

/* PLSM_NO_MEMORY without a message. */
plsm_status slots_init(struct slots *slots);
void slots_destroy(struct slots *slots); /* accepts zeroed ones; frees all slots */
/* A slot of at least so many bytes, up to SLOT_SIZE_MAX, not zeroed; NULL: no memory. */
void *slot_make(struct slots *slots, size_t size);
void slot_free(struct slots *slots, void *slot);
/* Gives the memory of free blocks back to the system. `lock` is that of the slots, not held. */
void slots_discard(struct slots *slots, mutex *lock);
/* Bytes that are taken from the system. */
size_t slots_bytes(const struct slots *slots);

static inline struct slot_region *slot_region(const void *slot)
{
    return (struct slot_region *)((uintptr_t)slot & ~(uintptr_t)(SLOT_REGION - 1));
}

static inline uint32_t slot_number(const void *slot)
{
    return slot_region(slot)->number * (SLOT_REGION / SLOT_UNIT) + ((uintptr_t)slot & (SLOT_REGION - 1)) / SLOT_UNIT;
}

static inline void *slot_at(const struct slots *slots, uint32_t number)
{
    return slots->regions[number / (SLOT_REGION / SLOT_UNIT)] + number % (SLOT_REGION / SLOT_UNIT) * SLOT_UNIT;
}

/* How many bytes a slot has. */
static inline size_t slot_size(const void *slot)
{
    return slot_region(slot)->blocks[((uintptr_t)slot & (SLOT_REGION - 1)) / SLOT_BLOCK].units * (size_t)SLOT_UNIT;
}

#endif
