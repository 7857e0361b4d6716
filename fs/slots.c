#include "fs/slots.h"

#include <assert.h>
#include <string.h>

#if defined(__SANITIZE_ADDRESS__)
#define POISON 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define POISON 1
#endif
#endif
#ifdef POISON
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(memory, size) ((void)(memory), (void)(size))
#define ASAN_UNPOISON_MEMORY_REGION(memory, size) ((void)(memory), (void)(size))
#endif

#include "base/alloc.h"
#include "base/error.h"
#include "base/banned.h"

static_assert(sizeof(struct slot_region) <= 4096, "the head of a region takes a page");

enum { DISCARD_STEP = 64 /* blocks between two times that others may have the lock */ };

/* --- blocks ------------------------------------------------------------------------------------------------------- */

static uint8_t *block_memory(const struct slots *slots, uint32_t number)
{
    return slots->regions[number / SLOT_BLOCKS] + (size_t)(number % SLOT_BLOCKS) * SLOT_BLOCK;
}

static struct slot_block *block_at(const struct slots *slots, uint32_t number)
{
    return &slot_region(slots->regions[number / SLOT_BLOCKS])->blocks[number % SLOT_BLOCKS];
}

static void list_add(const struct slots *slots, uint32_t *list, uint32_t number)
{
    struct slot_block *block = block_at(slots, number);
    block->previous = 0;
    block->next = *list;
    if (*list)
        block_at(slots, *list)->previous = number;
    *list = number;
}

static void list_remove(const struct slots *slots, uint32_t *list, uint32_t number)
{
    const struct slot_block *block = block_at(slots, number);
    if (block->next)
        block_at(slots, block->next)->previous = block->previous;
    if (block->previous)
        block_at(slots, block->previous)->next = block->next;
    else
        *list = block->next;
}

/* Adds a region, whose blocks are free; false: no memory. */
static bool add_region(struct slots *slots)
{
    uint8_t *memory = slots->region_count < SLOT_REGIONS ? mem_map(SLOT_REGION) : NULL;
    if (!memory)
        return false;
    mem_small_pages(memory, SLOT_REGION); /* only what is used is to be resident */
    struct slot_region *region = slot_region(memory);
    region->owner = slots;
    region->number = slots->region_count;
    slots->regions[slots->region_count++] = memory;
    ASAN_POISON_MEMORY_REGION(memory + SLOT_BLOCK, SLOT_REGION - SLOT_BLOCK);
    for (uint32_t i = SLOT_BLOCKS - 1; i > 0; i--)
        list_add(slots, &slots->discarded, region->number * SLOT_BLOCKS + i);
    return true;
}

/* Makes a free block one of slots of this size, with room; 0: no memory. */
static uint32_t take_block(struct slots *slots, uint16_t units)
{
    if (!slots->free && !slots->discarded && !add_region(slots))
        return 0;
    uint32_t *list = slots->free ? &slots->free : &slots->discarded, number = *list;
    slots->free_count -= slots->free != 0;
    slots->used_count++;
    list_remove(slots, list, number);
    struct slot_block *block = block_at(slots, number);
    block->units = units;
    block->used = block->begun = block->freed = 0;
    list_add(slots, &slots->with_room[units], number);
    return number;
}

/* --- slots -------------------------------------------------------------------------------------------------------- */

plsm_status slots_init(struct slots *slots)
{
    *slots = (struct slots){.regions = mem_map(SLOT_REGIONS * sizeof *slots->regions)};
    return slots->regions ? PLSM_OK : PLSM_NO_MEMORY;
}

void slots_destroy(struct slots *slots)
{
    for (uint32_t i = 0; i < slots->region_count; i++) {
        ASAN_UNPOISON_MEMORY_REGION(slots->regions[i], SLOT_REGION);
        mem_unmap(slots->regions[i], SLOT_REGION);
    }
    mem_unmap(slots->regions, SLOT_REGIONS * sizeof *slots->regions);
    *slots = (struct slots){0};
}

static bool is_full(const struct slot_block *block)
{
    return !block->freed && (block->begun + 1) * block->units * SLOT_UNIT > SLOT_BLOCK;
}

/* A free slot says in its first two bytes where the next one begins, in units and counted from 1. */
void *slot_make(struct slots *slots, size_t size)
{
    uint16_t units = (uint16_t)((size + SLOT_UNIT - 1) / SLOT_UNIT);
    INVARIANT(units > 0 && units < SLOT_SIZES);
    uint32_t number = slots->with_room[units] ? slots->with_room[units] : take_block(slots, units);
    if (!number)
        return NULL;
    struct slot_block *block = block_at(slots, number);
    uint8_t *slot = block_memory(slots, number);
    slot += block->freed ? (size_t)(block->freed - 1) * SLOT_UNIT : (size_t)block->begun * units * SLOT_UNIT;
    ASAN_UNPOISON_MEMORY_REGION(slot, (size_t)units * SLOT_UNIT);
    if (block->freed)
        memcpy(&block->freed, slot, sizeof block->freed);
    else
        block->begun++;
    block->used++;
    if (is_full(block))
        list_remove(slots, &slots->with_room[units], number);
    return slot;
}

void slot_free(struct slots *slots, void *slot)
{
    struct slot_region *region = slot_region(slot);
    size_t offset = (uintptr_t)slot & (SLOT_REGION - 1);
    struct slot_block *block = &region->blocks[offset / SLOT_BLOCK];
    uint32_t number = region->number * SLOT_BLOCKS + (uint32_t)(offset / SLOT_BLOCK);
    INVARIANT(region->owner == slots && block->used > 0);
    if (is_full(block))
        list_add(slots, &slots->with_room[block->units], number);
    memcpy(slot, &block->freed, sizeof block->freed);
    block->freed = (uint16_t)(offset % SLOT_BLOCK / SLOT_UNIT + 1);
    ASAN_POISON_MEMORY_REGION(slot, block->units * (size_t)SLOT_UNIT);
    if (--block->used > 0)
        return;
    list_remove(slots, &slots->with_room[block->units], number);
    block->units = 0;
    list_add(slots, &slots->free, number);
    slots->free_count++;
    slots->used_count--;
}

void slots_discard(struct slots *slots, mutex *lock)
{
    uint32_t numbers[DISCARD_STEP];
    for (size_t count = DISCARD_STEP; count == DISCARD_STEP;) {
        mutex_lock(lock);
        for (count = 0; count < DISCARD_STEP && slots->free; count++) {
            numbers[count] = slots->free;
            list_remove(slots, &slots->free, numbers[count]);
            slots->free_count--;
        }
        mutex_unlock(lock);
        for (size_t i = 0; i < count; i++) /* in no list: nobody else takes it */
            mem_discard(block_memory(slots, numbers[i]), SLOT_BLOCK);
        mutex_lock(lock);
        for (size_t i = 0; i < count; i++)
            list_add(slots, &slots->discarded, numbers[i]);
        mutex_unlock(lock);
    }
}

size_t slots_bytes(const struct slots *slots)
{
    return (slots->used_count + slots->free_count) * SLOT_BLOCK + slots->region_count * sizeof(struct slot_region);
}
