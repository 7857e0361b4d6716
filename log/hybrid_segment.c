/* Segment files; the format stands in hybrid_segment.h. */
#include "log/hybrid_segment.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/alloc.h"
#include "base/error.h"
#include "log/hybrid_cache.h"

#include "base/banned.h"

enum { GUESS_BYTES = 1024 /* read for a record whose size is not known yet: most are smaller */ };

struct head {
    uint8_t magic[8];
    uint32_t version, page_bits;
    uint64_t salt, start, store, checksum;
};
_Static_assert(sizeof(struct head) == SEGMENT_HEAD, "format");
_Static_assert(offsetof(struct head, page_bits) == 12 && offsetof(struct head, start) == 24, "format");
_Static_assert(offsetof(struct head, checksum) == 40, "format");
_Static_assert(SEGMENT_HEAD % RECORD_ALIGN == 0, "format");

enum { PAGE_BITS_LEAST = 18, PAGE_BITS_MOST = 26 };

static struct hybrid_segment *segment_alloc(struct env *env, const char *directory, uint64_t number)
{
    size_t size = strlen(directory) + sizeof "/hybrid-segment-" + 20;
    struct hybrid_segment *segment = mem_zalloc(sizeof *segment + size);
    if (!segment)
        return NULL;
    segment->env = env;
    segment->number = number;
    snprintf(segment->path, size, "%s/" HYBRID_MARK "segment-%06" PRIu64, directory, number);
    return segment;
}

void hybrid_segment_free(struct hybrid_segment *segment)
{
    if (!segment)
        return;
    env_close(atomic_load(&segment->file));
    mem_free(segment);
}

plsm_status hybrid_segment_create(struct env *env, const char *directory, uint64_t store, uint64_t number,
                                  uint64_t start, uint32_t page_bits, struct hybrid_segment **out)
{
    struct hybrid_segment *segment = segment_alloc(env, directory, number);
    struct env_file *file = NULL;
    *out = NULL;
    if (!segment)
        return fail(PLSM_NO_MEMORY, "%s: no memory for a segment", directory);
    segment->start = segment->synced = start;
    segment->page_bits = page_bits;
    segment->store = store;
    segment->appended_to = true;
    atomic_init(&segment->end, start);
    env_random(env, &segment->salt, sizeof segment->salt);
    struct head head = {
        .version = SEGMENT_VERSION, .page_bits = page_bits, .salt = segment->salt, .start = start, .store = store};
    memcpy(head.magic, SEGMENT_MAGIC, sizeof head.magic);
    head.checksum = checksum(&head, offsetof(struct head, checksum), 0);
    plsm_status status = env_open(env, segment->path, ENV_APPEND, &file);
    if (status == PLSM_OK)
        status = env_append(file, &head, sizeof head);
    atomic_init(&segment->file, file);
    if (status != PLSM_OK) {
        char reason[512];
        snprintf(reason, sizeof reason, "%s", plsm_message());
        if (file)
            env_remove(env, segment->path);
        hybrid_segment_free(segment);
        return fail(status, "%s", reason);
    }
    *out = segment;
    return PLSM_OK;
}

static plsm_status read_head(struct hybrid_segment *segment, struct env_file *file)
{
    struct head head;
    uint64_t size = 0;
    TRY(env_size(file, &size));
    if (size < sizeof head)
        return fail(PLSM_CORRUPT, "%s: has %" PRIu64 " bytes, less than a segment's head; restore it from a backup",
                    segment->path, size);
    TRY(env_read(file, 0, &head, sizeof head));
    if (memcmp(head.magic, SEGMENT_MAGIC, sizeof head.magic) != 0)
        return fail(PLSM_CORRUPT, "%s: offset 0: is no segment; restore it from a backup", segment->path);
    if (head.version != SEGMENT_VERSION)
        return fail(PLSM_VERSION, "%s: has format version %" PRIu32 ", this program knows version %d; use a newer plsm",
                    segment->path, head.version, SEGMENT_VERSION);
    if (head.checksum != checksum(&head, offsetof(struct head, checksum), 0) || head.start % RECORD_ALIGN ||
        head.start < ADDRESS_FIRST || head.start >= ADDRESS_MAX || head.page_bits < PAGE_BITS_LEAST ||
        head.page_bits > PAGE_BITS_MOST)
        return fail(PLSM_CORRUPT, "%s: offset 0: the head of the segment is damaged; restore it from a backup",
                    segment->path);
    segment->salt = head.salt;
    segment->store = head.store;
    segment->start = head.start;
    segment->page_bits = head.page_bits;
    atomic_init(&segment->end, head.start + (size - sizeof head));
    segment->synced = head.start + (size - sizeof head);
    return PLSM_OK;
}

plsm_status hybrid_segment_open(struct env *env, const char *directory, uint64_t number, struct hybrid_segment **out)
{
    struct hybrid_segment *segment = segment_alloc(env, directory, number);
    struct env_file *file = NULL;
    *out = NULL;
    if (!segment)
        return fail(PLSM_NO_MEMORY, "%s: no memory for a segment", directory);
    plsm_status status = env_open(env, segment->path, ENV_READ, &file);
    if (status == PLSM_NOT_FOUND)
        status = fail(PLSM_CORRUPT, "%s: the segment is missing; restore it from a backup", segment->path);
    atomic_init(&segment->file, file);
    if (status == PLSM_OK)
        status = read_head(segment, file);
    if (status != PLSM_OK)
        hybrid_segment_free(segment);
    else
        *out = segment;
    return status;
}

plsm_status hybrid_segment_append(struct hybrid_segment *segment, const void *bytes, uint64_t size)
{
    struct env_file *file = atomic_load(&segment->file);
    plsm_status status = env_append(file, bytes, size);
    if (status == PLSM_OK) {
        atomic_store_explicit(&segment->end, hybrid_segment_end(segment) + size, memory_order_release);
        return PLSM_OK;
    }
    char reason[512];
    snprintf(reason, sizeof reason, "%s", plsm_message());
    if (env_truncate(file, hybrid_segment_offset(segment, hybrid_segment_end(segment))) != PLSM_OK)
        status = PLSM_IO; /* what is to come must not stand behind a piece of this */
    return fail(status, "%s", reason);
}

plsm_status hybrid_segment_read(struct hybrid_segment *segment, uint64_t address, void *to, uint64_t size)
{
    struct env_file *file = atomic_load_explicit(&segment->file, memory_order_acquire);
    return env_read(file, hybrid_segment_offset(segment, address), to, size);
}

plsm_status hybrid_segment_damaged(const struct hybrid_segment *segment, uint64_t address)
{
    return fail(PLSM_CORRUPT,
                "%s: the record at offset %" PRIu64 " is damaged; run plsm check, restore the file from a backup",
                segment->path, hybrid_segment_offset(segment, address));
}

/* How many segments begin below an address. */
static size_t count_below(const struct hybrid_segments *list, uint64_t address)
{
    size_t low = 0, high = list->count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (list->at[middle]->start < address)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

struct hybrid_segment *hybrid_segments_find(const struct hybrid_segments *list, uint64_t address)
{
    size_t below = count_below(list, address + 1);
    struct hybrid_segment *segment = below ? list->at[below - 1] : NULL;
    return segment && address < hybrid_segment_end(segment) ? segment : NULL;
}

struct hybrid_segment *hybrid_segments_from(const struct hybrid_segments *list, uint64_t address)
{
    size_t below = count_below(list, address);
    return below < list->count ? list->at[below] : NULL;
}

plsm_status hybrid_segment_read_record(struct hybrid_segment *segment, uint64_t address, struct cached_record **out)
{
    _Alignas(8) uint8_t guess[GUESS_BYTES];
    const struct hybrid_record *head = (const struct hybrid_record *)(const void *)guess;
    uint64_t left = hybrid_segment_end(segment) - address, got = left < sizeof guess ? left : sizeof guess;
    *out = NULL;
    if (left < RECORD_HEAD)
        return hybrid_segment_damaged(segment, address);
    TRY(hybrid_segment_read(segment, address, guess, got));
    if (!record_sane(head) || record_size(head) > left)
        return hybrid_segment_damaged(segment, address);
    uint64_t size = record_size(head);
    struct cached_record *record = cached_record_create(address, size);
    if (!record)
        return fail(PLSM_NO_MEMORY, "no memory for a record of %" PRIu64 " bytes", size);
    memcpy(record->bytes, guess, size < got ? size : got);
    plsm_status status =
        size > got ? hybrid_segment_read(segment, address + got, record->bytes + got, size - got) : PLSM_OK;
    struct hybrid_record *whole = (struct hybrid_record *)(void *)record->bytes;
    if (status == PLSM_OK && (!record_sane(whole) || record_size(whole) != size ||
                              whole->checksum != record_checksum(whole, address, segment->salt)))
        status = hybrid_segment_damaged(segment, address);
    if (status == PLSM_OK)
        *out = record;
    else
        mem_free(record);
    return status;
}
