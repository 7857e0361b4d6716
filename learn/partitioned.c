/* Building and asking a partitioned filter.
 *
 * Serialized form, little-endian:
 *    0  u32  magic "PART": a plain filter does not begin so
 *    4  u8   format, 1
 *    5  u8   classes, 1 to 8
 *    6  u16  0
 *    8  u64  bytes of the classifier; 0 with one class
 *   16  u64  bytes of the filter of directories; 0: there is none
 *   24  u64  for each class: bytes of its filter; 0: no filter, the answer is maybe; 2^64 - 1: no key, the answer is no
 *            then the classifier (learn/classifier.c), the filter of directories and the filters of the classes
 *            (learn/filter.c), in this order, without gaps. */
#include <assert.h>

#include "base/alloc.h"
#include "base/checksum.h"
#include "base/error.h"
#include "learn/partitioned.h"

#include "base/banned.h"

enum {
    MAGIC = 'P' | 'A' << 8 | 'R' << 16 | 'T' << 24,
    FORMAT = 1,
    CLASSIFIER_SIZE_AT = 8,
    DIRECTORIES_SIZE_AT = 16,
    CLASS_SIZES_AT = 24,
    SEPARATOR = '/',
};
static const uint64_t size_of_never = UINT64_MAX;
static_assert(CLASS_SIZES_AT % sizeof(uint64_t) == 0, "sizes are aligned where the block is");

size_t partitioned_header_size(unsigned classes)
{
    return CLASS_SIZES_AT + classes * sizeof(uint64_t);
}

plsm_slice partitioned_directory(plsm_slice key)
{
    const uint8_t *slash = key.size ? memrchr(key.data, SEPARATOR, key.size) : NULL;
    return slice(key.data, slash ? (size_t)(slash + 1 - (const uint8_t *)key.data) : 0);
}

/* --- planning --- */

/* The directories of the misses: an open-addressed table of their hashes. */
struct miss_directories {
    struct miss_directory {
        uint64_t hash;
        bool used, in_run;
    } * slots;
    uint64_t mask;
};

static struct miss_directory *slot_of(const struct miss_directories *table, uint64_t hash)
{
    uint64_t at = hash & table->mask;
    while (table->slots[at].used && table->slots[at].hash != hash)
        at = (at + 1) & table->mask;
    return &table->slots[at];
}

static uint64_t directory_hash(plsm_slice key)
{
    plsm_slice directory = partitioned_directory(key);
    return key_hash(directory.data, directory.size);
}

/* Enters the directories of all misses and marks those that the run has. */
static plsm_status look_for_directories(const struct partitioned_input *input, struct miss_directories *out)
{
    uint64_t slots = 2;
    while (slots < 2 * (uint64_t)input->miss_count)
        slots *= 2;
    out->mask = slots - 1;
    out->slots = mem_zalloc(slots * sizeof *out->slots);
    if (!out->slots)
        return fail(PLSM_NO_MEMORY, "filter: no memory to look for %zu directories", input->miss_count);
    for (size_t i = 0; i < input->miss_count; i++)
        if (partitioned_directory(input->misses[i]).size) {
            uint64_t hash = directory_hash(input->misses[i]);
            *slot_of(out, hash) = (struct miss_directory){.hash = hash, .used = true};
        }
    for (size_t i = 0; i < input->directory_count; i++) {
        struct miss_directory *slot = slot_of(out, input->directories[i]);
        slot->in_run = slot->used;
    }
    return PLSM_OK;
}

static plsm_status check_input(const struct partitioned_input *input, struct classifier *classifier)
{
    unsigned classes = 1;
    if (input->bits < FILTER_BITS_MIN || input->bits > FILTER_BITS_MAX)
        return fail(PLSM_INVALID, "filter: %u fingerprint bits; %d to %d are possible", input->bits, FILTER_BITS_MIN,
                    FILTER_BITS_MAX);
    *classifier = (struct classifier){.classes = classes};
    if (input->classes)
        TRY(classifier_open(input->classifier, classifier));
    for (size_t i = 0; input->classes && i < input->count; i++)
        if (input->classes[i] >= classifier->classes)
            return fail(PLSM_INVALID, "filter: key %zu has class %u of %u", i, input->classes[i], classifier->classes);
    return PLSM_OK;
}

plsm_status partitioned_plan(const struct partitioned_input *input, struct partition_plan *out)
{
    struct classifier classifier = {0};
    struct miss_directories table = {0};
    TRY(check_input(input, &classifier));
    struct partition_counts counts = {.classes = classifier.classes,
                                      .directories = input->directory_count,
                                      .classifier_size = input->classes ? input->classifier.size : 0};
    if (counts.directories)
        TRY(look_for_directories(input, &table));
    for (size_t i = 0; i < input->count; i++)
        counts.keys[input->classes ? input->classes[i] : 0]++;
    for (size_t i = 0; i < input->miss_count; i++) {
        plsm_slice miss = input->misses[i];
        unsigned class = input->classes ? classifier_class(&classifier, miss) : 0;
        /* Of a miss that was cut this may be a directory above its own: if even that is not in the run, nor is that. */
        bool beside =
            counts.directories && partitioned_directory(miss).size && !slot_of(&table, directory_hash(miss))->in_run;
        (beside ? counts.misses_beside : counts.misses)[class]++;
    }
    partition_plan(&counts, input->bits, out);
    mem_free(table.slots);
    return PLSM_OK;
}

/* --- building --- */

/* Appends what `plan` says for one class, over the hashes of its keys (of all keys when there is one class), and notes
 * its size at `note`, an offset in `out`. */
static plsm_status put_class(const struct partitioned_input *input, const struct partition_plan *plan, unsigned class,
                             uint64_t *scratch, size_t note, struct buf *out)
{
    size_t count = 0, start = out->size;
    uint64_t size = 0;
    for (size_t i = 0; i < input->count; i++) {
        scratch[count] = input->hashes[i];
        count += plan->classes == 1 || input->classes[i] == class;
    }
    if (plan->bits[class] == PARTITION_NEVER) {
        if (count)
            return fail(PLSM_INVALID, "filter: class %u is planned without keys but has %zu", class, count);
        size = size_of_never;
    } else if (plan->bits[class] != PARTITION_ALWAYS) {
        TRY(filter_build(scratch, count, plan->bits[class], out));
        size = out->size - start;
    }
    put_u64(out->data + note, size);
    return PLSM_OK;
}

static plsm_status put_directories(const struct partitioned_input *input, const struct partition_plan *plan,
                                   uint64_t *scratch, size_t note, struct buf *out)
{
    size_t start = out->size;
    if (plan->directory_bits == 0)
        return PLSM_OK;
    if (input->directory_count == 0)
        return fail(PLSM_INVALID, "filter: a filter of directories is planned, but there are none");
    memcpy(scratch, input->directories, input->directory_count * sizeof *scratch);
    TRY(filter_build(scratch, input->directory_count, plan->directory_bits, out));
    put_u64(out->data + note, out->size - start);
    return PLSM_OK;
}

plsm_status partitioned_build(const struct partitioned_input *input, const struct partition_plan *plan, struct buf *out)
{
    size_t start = out->size, header_size = partitioned_header_size(plan->classes);
    size_t most = input->count > input->directory_count ? input->count : input->directory_count;
    struct classifier classifier = {0};
    uint64_t *scratch = NULL;
    TRY(check_input(input, &classifier));
    if (plan->classes != 1 && plan->classes != classifier.classes)
        return fail(PLSM_INVALID, "filter: a plan for %u classes, a classifier of %u", plan->classes,
                    classifier.classes);
    plsm_status status = buf_reserve(out, header_size + input->classifier.size);
    if (status == PLSM_OK && !(scratch = mem_alloc((most + 1) * sizeof *scratch))) /* one is written behind the last */
        status = fail(PLSM_NO_MEMORY, "filter: no memory to sort %zu keys into classes", most);
    if (status)
        goto done;
    uint8_t *header = out->data + start;
    memset(header, 0, header_size);
    put_u32(header, MAGIC);
    header[4] = FORMAT;
    header[5] = (uint8_t)plan->classes;
    out->size += header_size;
    if (plan->classes > 1) {
        put_u64(header + CLASSIFIER_SIZE_AT, input->classifier.size);
        if ((status = buf_append(out, input->classifier.data, input->classifier.size)))
            goto done;
    }
    status = put_directories(input, plan, scratch, start + DIRECTORIES_SIZE_AT, out);
    for (unsigned c = 0; c < plan->classes && status == PLSM_OK; c++)
        status = put_class(input, plan, c, scratch, start + CLASS_SIZES_AT + c * sizeof(uint64_t), out);
done:
    if (status)
        out->size = start;
    mem_free(scratch);
    return status;
}

/* --- reading --- */

/* Cuts the next `size` bytes off `rest`; PLSM_CORRUPT when there are not so many. */
static plsm_status take(plsm_slice *rest, uint64_t size, plsm_slice *part)
{
    if (size > rest->size)
        return fail(PLSM_CORRUPT, "filter: a part of %llu bytes where %zu are left", (unsigned long long)size,
                    rest->size);
    *part = slice(rest->data, (size_t)size);
    *rest = slice((const uint8_t *)rest->data + size, rest->size - (size_t)size);
    return PLSM_OK;
}

static plsm_status open_class(uint64_t size, plsm_slice *rest, struct filter *filter, uint8_t *bits)
{
    plsm_slice part = {0};
    if (size == 0 || size == size_of_never) {
        *bits = size ? PARTITION_NEVER : PARTITION_ALWAYS;
        return PLSM_OK;
    }
    TRY(take(rest, size, &part));
    TRY(filter_open(part, filter));
    *bits = (uint8_t)filter->bits;
    return PLSM_OK;
}

plsm_status partitioned_open(plsm_slice bytes, struct partitioned *out)
{
    const uint8_t *at = bytes.data;
    struct partitioned p = {0};
    plsm_slice part = {0}, rest = bytes;
    *out = p;
    if (bytes.size < CLASS_SIZES_AT || get_u32(at) != MAGIC)
        return fail(PLSM_CORRUPT, "filter: not a partitioned one");
    if (at[4] != FORMAT)
        return fail(PLSM_CORRUPT, "filter: unknown partitioned format %u (this program knows %d)", at[4], FORMAT);
    p.classes = at[5];
    uint64_t classifier_size = get_u64(at + CLASSIFIER_SIZE_AT), directories_size = get_u64(at + DIRECTORIES_SIZE_AT);
    if (p.classes < 1 || p.classes > CLASSIFIER_CLASSES_MAX || get_u16(at + 6) != 0 ||
        (p.classes == 1) != (classifier_size == 0))
        return fail(PLSM_CORRUPT, "filter: %u classes with a classifier of %llu bytes", p.classes,
                    (unsigned long long)classifier_size);
    TRY(take(&rest, partitioned_header_size(p.classes), &part));
    TRY(take(&rest, classifier_size, &part));
    if (p.classes > 1)
        TRY(classifier_open(part, &p.classifier));
    if (p.classes > 1 && p.classifier.classes != p.classes)
        return fail(PLSM_CORRUPT, "filter: %u classes, but the classifier has %u", p.classes, p.classifier.classes);
    TRY(take(&rest, directories_size, &part));
    if (directories_size)
        TRY(filter_open(part, &p.directories));
    p.has_directories = directories_size != 0;
    for (unsigned c = 0; c < p.classes; c++)
        TRY(open_class(get_u64(at + CLASS_SIZES_AT + c * sizeof(uint64_t)), &rest, &p.filters[c], &p.bits[c]));
    if (rest.size != 0)
        return fail(PLSM_CORRUPT, "filter: %zu bytes behind its parts", rest.size);
    *out = p;
    return PLSM_OK;
}

void partitioned_query_init(struct partitioned_query *query, plsm_slice key, uint64_t hash)
{
    *query = (struct partitioned_query){.key = key, .hash = hash};
}

/* Whether the key has a directory; then query->directory_hash is known. */
static bool has_directory(struct partitioned_query *query)
{
    if (!query->directory_sought) {
        plsm_slice directory = partitioned_directory(query->key);
        query->directory_sought = true;
        query->has_directory = directory.size > 0;
        if (query->has_directory)
            query->directory_hash = key_hash(directory.data, directory.size);
    }
    return query->has_directory;
}

static unsigned class_of(const struct partitioned *filter, struct partitioned_query *query)
{
    if (filter->classes == 1)
        return 0;
    if (query->classified_by != filter->classifier.weights) {
        query->class = classifier_class(&filter->classifier, query->key);
        query->classified_by = filter->classifier.weights;
    }
    return query->class;
}

bool partitioned_class_may_contain(const struct partitioned *filter, unsigned class, uint64_t hash)
{
    if (class >= filter->classes || filter->bits[class] == PARTITION_NEVER)
        return false;
    return filter->bits[class] == PARTITION_ALWAYS || filter_may_contain(&filter->filters[class], hash);
}

bool partitioned_may_have_directory(const struct partitioned *filter, uint64_t directory_hash)
{
    return !filter->has_directories || filter_may_contain(&filter->directories, directory_hash);
}

bool partitioned_may_contain(const struct partitioned *filter, struct partitioned_query *query)
{
    if (filter->has_directories && has_directory(query) &&
        !filter_may_contain(&filter->directories, query->directory_hash))
        return false;
    return partitioned_class_may_contain(filter, class_of(filter, query), query->hash);
}

void partitioned_prefetch(const struct partitioned *filter, struct partitioned_query *query)
{
    if (filter->has_directories && has_directory(query)) {
        filter_prefetch(&filter->directories, query->directory_hash);
        return;
    }
    unsigned class = class_of(filter, query);
    if (filter->bits[class] != PARTITION_ALWAYS && filter->bits[class] != PARTITION_NEVER)
        filter_prefetch(&filter->filters[class], query->hash);
}
