/* The hybrid log: what an opening left on the disk comes back into memory, and is what it was. */
#include <unistd.h>

#include "base/checksum.h"
#include "base/random.h"
#include "log/hybrid_private.h"
#include "tests/harness/pool.h"
#include "tests/harness/temporary.h"
#include "tests/log/hybrid_fixture.h"

#include "base/banned.h"

enum {
    PAGE = 256 << 10, /* with the least memory, and what that is: */
    MEMORY = 3 << 19,
    MEMORY_PAGES = 5, /* of the log */
    READS_FOR_PAGE = 4,
    SOME = 3000,     /* entries, which fit into the memory */
    MANY = 30000,    /* and which do not */
    EXTRA = 1000000, /* a key that is none of these */
};

static void put_some(unsigned from, unsigned to)
{
    for (unsigned i = from; i < to; i++)
        put_number(i, 0);
}

static void open_with(uint64_t memory, uint64_t file_size)
{
    struct hybrid_options options = options_of(env);
    options.memory = memory;
    options.file_size = file_size;
    must(hybrid_open("/s", &options, &db));
}

/* Of a store that takes no recovery point and does not compact, which waits for readers, too. */
static void open_quiet(bool background)
{
    struct hybrid_options options = options_of(env);
    options.background = background;
    options.buffer_size = 64 << 20;
    options.garbage_ppm = 1000000;
    must(hybrid_open("/s", &options, &db));
}

static void start_quiet(bool background)
{
    env = env_memory_create(1);
    open_quiet(background);
    put_some(0, SOME);
    must(hybrid_close(db));
    open_quiet(background);
}

/* Reads all, some of them from the disk alone, and writes, which is when pages come back without a thread. */
static void read_some(unsigned from, unsigned to)
{
    for (unsigned i = from; i < to; i++) {
        expect(NULL, i, 0);
        if (i % READS_FOR_PAGE == 0)
            put_number(EXTRA, i);
    }
}

static uint64_t misses_of_reading(unsigned from, unsigned to)
{
    uint64_t before = statistic_of("cache.misses");
    read_some(from, to);
    return statistic_of("cache.misses") - before;
}

/* Reads of files that were not of a record. */
static uint64_t page_reads(void)
{
    return statistic_of("io.reads") - statistic_of("cache.misses");
}

/* Until a page comes back that did not for some time, though reads had asked for it. */
static void read_until_returned(void)
{
    for (unsigned i = 0; statistic_of("hybrid.returned_pages") == 0; i++) {
        ck_assert_uint_lt(i, 100);
        usleep(100000);
        read_some(0, SOME);
    }
}

static unsigned count_entries(void)
{
    struct hybrid_iterator *it = NULL;
    unsigned count = 0;
    must(hybrid_iterator_create(db, NULL, slice(NULL, 0), slice(NULL, 0), false, &it));
    for (const struct hybrid_entry *e = hybrid_iterator_first(it); e; e = hybrid_iterator_next(it))
        count++;
    must(hybrid_iterator_status(it));
    hybrid_iterator_destroy(it);
    return count;
}

/* One lookup takes no memory for pages; who reads on has all in memory soon, as if it had never been closed. */
START_TEST(reads_bring_pages_back)
{
    start();
    put_some(0, SOME);
    reopen();
    uint64_t log = statistic_of("hybrid.memory.log");
    expect(NULL, 7, 0);
    put_number(EXTRA, 0);
    ck_assert_uint_eq(statistic_of("hybrid.returned_pages"), 0);
    ck_assert_uint_le(statistic_of("hybrid.memory.log"), log + PAGE);
    struct hybrid_snapshot *snapshot = hybrid_snapshot_create(db);
    read_some(0, SOME);
    ck_assert_uint_ge(statistic_of("hybrid.returned_pages"), 3);
    ck_assert_uint_eq(misses_of_reading(0, SOME), 0);
    for (unsigned i = 0; i < SOME; i++)
        expect(snapshot, i, 0);
    hybrid_snapshot_destroy(db, snapshot);
    ck_assert_uint_eq(count_entries(), SOME + 1);
    for (unsigned i = 0; i < SOME; i += 2)
        delete_number(i);
    for (unsigned i = 1; i < SOME; i += 2)
        put_number(i, 1);
    ck_assert_uint_eq(count_entries(), SOME / 2 + 1);
    must(hybrid_compact(db));
    for (unsigned i = 1; i < SOME; i += 2)
        expect(NULL, i, 1);
    expect_none(0);
    stop();
}
END_TEST

static void expect_in_budget(void)
{
    uint64_t log = statistic_of("hybrid.memory.log");
    ck_assert_uint_le(log, MEMORY - MEMORY / 8);
    ck_assert_uint_le(log + statistic_of("cache.bytes"), MEMORY);
}

/* Of a store that is larger than the memory the newest part comes back, no more than the memory is for. */
START_TEST(memory_is_enough)
{
    struct random random;
    start();
    put_some(0, MANY);
    reopen();
    random_seed(&random, 1);
    for (unsigned i = 0; i < MANY; i++) {
        expect(NULL, (unsigned)random_below(&random, MANY), 0);
        if (i % READS_FOR_PAGE == 0)
            put_number(EXTRA, i);
        if (i % 64 == 0)
            expect_in_budget();
    }
    uint64_t returned = statistic_of("hybrid.returned_pages");
    ck_assert_uint_ge(returned, 4);
    ck_assert_uint_ge(statistic_of("hybrid.memory.log"), MEMORY - MEMORY / 8 - PAGE + 1);
    read_some(0, MANY);
    ck_assert_uint_eq(statistic_of("hybrid.returned_pages"), returned); /* all that may */
    ck_assert_uint_lt(counted(&db->returns_due), PAGE);
    for (unsigned i = 0; i < MANY; i++) { /* and they leave again */
        put_number(i, 1);
        if (i % 64 == 0)
            expect_in_budget();
    }
    for (unsigned i = 0; i < MANY; i++)
        expect(NULL, i, 1);
    stop();
}
END_TEST

/* Reads of what could not be in memory bring nothing back. */
START_TEST(old_reads_bring_nothing)
{
    start();
    put_some(0, MANY);
    reopen();
    read_some(0, MANY / 4);
    ck_assert_uint_eq(statistic_of("hybrid.returned_pages"), 0);
    stop();
}
END_TEST

/* Pages of memory that hold several segments, with parts between them that were never written, and smaller pages. What
 * may cross the border of a page stays where it is. */
START_TEST(pages_of_other_sizes)
{
    enum { OPENINGS = 6, EACH = 700, LARGE = 64 << 20 };
    env = env_memory_create(1);
    for (unsigned i = 0; i < OPENINGS; i++) {
        open_with(i % 2 ? 16 << 20 : MEMORY, 4 << 20);
        put_some(i * EACH, (i + 1) * EACH);
        must(hybrid_close(db));
    }
    open_with(LARGE, 4 << 20);
    for (unsigned i = 0; i < 3; i++)
        read_some(0, OPENINGS * EACH);
    ck_assert_uint_ge(statistic_of("hybrid.returned_pages"), 1);
    ck_assert_uint_eq(misses_of_reading(0, OPENINGS * EACH), 0);
    ck_assert_uint_eq(count_entries(), OPENINGS * EACH + 1);
    put_some(OPENINGS * EACH, 12 * EACH);
    must(hybrid_compact(db));
    must(hybrid_close(db));
    open_with(MEMORY, 4 << 20);
    uint64_t before = page_reads();
    read_some(0, 12 * EACH);
    ck_assert_uint_eq(statistic_of("hybrid.returned_pages"), 0);
    ck_assert_uint_eq(page_reads(), before);
    ck_assert_uint_gt(counted(&db->return_least), 0); /* nor is it tried again */
    ck_assert_uint_eq(count_entries(), 12 * EACH + 1);
    stop();
}
END_TEST

/* Where a text stands in the files of segments; *segment is that file's beginning. */
static uint8_t *find_text(const char *text, uint8_t **segment)
{
    for (unsigned i = 1; i < 100; i++) {
        char path[64];
        size_t size;
        snprintf(path, sizeof path, "/s/hybrid-segment-%06u", i);
        if (env_memory_content(env, path, segment, &size) != PLSM_OK)
            continue;
        uint8_t *at = memmem(*segment, size, text, strlen(text));
        if (at)
            return at;
    }
    ck_abort_msg("%s is nowhere", text);
}

/* A damaged page does not come back, its other records are read one by one; when it is whole again it does. */
START_TEST(damage_does_not_come_back)
{
    char text[40];
    uint8_t *segment;
    start();
    put_some(0, SOME);
    reopen();
    unsigned damaged = SOME - 10;
    snprintf(text, sizeof text, "dir%u/key%u", damaged % 7, damaged);
    uint8_t *byte = find_text(text, &segment) + strlen(text) + 10, before = *byte;
    *byte ^= 0x40;
    for (unsigned i = 0; i < SOME; i++)
        if (i != damaged) {
            expect(NULL, i, 0);
            put_number(EXTRA, i);
        }
    ck_assert_int_eq(hybrid_get(db, NULL, name_of(damaged, text), false, false, &value), PLSM_CORRUPT);
    ck_assert_uint_eq(statistic_of("hybrid.returned_pages"), 0);
    *byte = before;
    read_until_returned();
    stop();
}
END_TEST

/* Two keys that share an entry of the index. */
static int compare_hashes(const void *left, const void *right)
{
    const uint64_t *a = left, *b = right;
    return (*a > *b) - (*a < *b);
}

static void find_pair(unsigned *first, unsigned *second)
{
    enum { TRIED = 1 << 19, SHARED_BITS = INDEX_BITS_LEAST + INDEX_TAG_BITS, NUMBER_BITS = 64 - SHARED_BITS };
    uint64_t *hashes = malloc(TRIED * sizeof *hashes);
    char text[40];
    for (unsigned i = 0; i < TRIED; i++) {
        plsm_slice name = name_of(EXTRA + 1 + i, text);
        hashes[i] = key_hash(name.data, name.size) << NUMBER_BITS | i;
    }
    qsort(hashes, TRIED, sizeof *hashes, compare_hashes);
    unsigned i = 1;
    while (i < TRIED && hashes[i] >> NUMBER_BITS != hashes[i - 1] >> NUMBER_BITS)
        i++;
    ck_assert_uint_lt(i, TRIED);
    *first = EXTRA + 1 + (unsigned)(hashes[i - 1] & ((1 << NUMBER_BITS) - 1));
    *second = EXTRA + 1 + (unsigned)(hashes[i] & ((1 << NUMBER_BITS) - 1));
    free(hashes);
}

/* A value that looks like a record of a key, and one that leads out of its page. */
static plsm_slice make_lie(plsm_slice key, uint8_t *bytes)
{
    struct hybrid_record *lie = (struct hybrid_record *)(void *)(bytes + 16);
    memcpy(bytes, "here is the lie:", 16);
    *lie = (struct hybrid_record){.room = HYBRID_VALUE_MAX};
    atomic_init(&lie->sizes, sizes_pack((struct record_sizes){.value = HYBRID_VALUE_MAX, .key = (uint16_t)key.size}));
    memcpy(lie->key, key.data, key.size);
    return slice(bytes, 16 + RECORD_HEAD + key.size);
}

/* Has the record of a key lead to the lie, with a checksum that is right. */
static void lead_to_lie(unsigned number)
{
    char text[40];
    uint8_t *segment, *other;
    snprintf(text, sizeof text, "dir%u/key%u", number % 7, number);
    struct hybrid_record *record = (struct hybrid_record *)(void *)(find_text(text, &segment) - 1 - RECORD_HEAD);
    uint8_t *lie = find_text("here is the lie:", &other) + 16;
    ck_assert_ptr_eq(segment, other);
    uint64_t start = get_u64(segment + 24), salt = get_u64(segment + 16);
    uint64_t lie_at = start + (uint64_t)(lie - segment) - SEGMENT_HEAD;
    ck_assert_uint_gt(lie_at % PAGE, PAGE / 2);
    record->previous = lie_at;
    record->checksum = record_checksum(record, start + (uint64_t)((uint8_t *)record - segment) - SEGMENT_HEAD, salt);
}

/* What a record leads to need be none: it is found out, also in memory. */
START_TEST(links_are_not_trusted)
{
    _Alignas(8) uint8_t bytes[VALUE_MAX];
    char text[40];
    unsigned first, second;
    find_pair(&first, &second);
    start();
    put_number(first, 0);
    put_some(0, SOME / 4);
    plsm_slice lie = make_lie(name_of(first, text), bytes);
    put(slice("\1aeiou", 6), slice(bytes, 0)); /* with its meta the value begins at a multiple of 8: */
    put(slice("\1lie", 4), lie);
    put_number(second, 0);
    must(hybrid_close(db));
    lead_to_lie(second);
    open_it();
    read_some(0, SOME / 4);
    expect(NULL, second, 0);
    ck_assert_uint_ge(statistic_of("hybrid.returned_pages"), 1);
    ck_assert_int_eq(hybrid_get(db, NULL, name_of(first, text), false, false, &value), PLSM_CORRUPT);
    must(hybrid_close(db));
    env_memory_destroy(env);
}
END_TEST

/* A segment without a byte behind the others, which only a crafted recovery point names. */
static void add_empty_segment(void)
{
    struct hybrid_state state = {0};
    struct state_segment segments[64];
    struct hybrid_segment *segment = NULL;
    bool renamed;
    uint64_t number = 1;
    while (state_read(env, "/s", number, &state) != PLSM_OK)
        ck_assert_uint_lt(++number, 100);
    ck_assert_uint_lt(state.count, 64);
    memcpy(segments, state.segments, state.count * sizeof segments[0]);
    must(hybrid_segment_create(env, "/s", state.store, state.next_segment, state.tail, PAGE_BITS_MIN, &segment));
    segments[state.count] = (struct state_segment){state.next_segment, state.tail, state.tail, segment->salt};
    struct hybrid_state crafted = state;
    crafted.segments = segments;
    crafted.count++;
    crafted.next_segment++;
    crafted.number++;
    must(state_write(env, "/s", &crafted, &renamed));
    hybrid_segment_free(segment);
    state_free(&state);
}

/* It takes no part in its page, which comes back. */
START_TEST(empty_segments_are_passed)
{
    start();
    put_some(0, SOME);
    must(hybrid_close(db));
    add_empty_segment();
    open_quiet(false);
    read_some(0, SOME);
    ck_assert_uint_ge(statistic_of("hybrid.returned_pages"), 3);
    ck_assert_uint_eq(misses_of_reading(0, SOME), 0);
    must(hybrid_close(db));
    env_memory_destroy(env);
}
END_TEST

static plsm_status no_thread(struct env *where, void (*run)(void *arg), void *arg, struct env_thread **out)
{
    return PLSM_NO_MEMORY;
}

/* Who writes needs one. */
START_TEST(read_only_needs_no_thread)
{
    start();
    put_some(0, SOME);
    must(hybrid_close(db));
    const struct env_ops *whole = env->ops;
    struct env_ops lacking = *whole;
    lacking.thread_start = no_thread;
    env->ops = &lacking;
    struct hybrid_options options = options_of(env);
    options.background = true;
    ck_assert_int_eq(hybrid_open("/s", &options, &db), PLSM_NO_MEMORY);
    options.read_only = true;
    must(hybrid_open("/s", &options, &db));
    for (unsigned i = 0; i < SOME; i++)
        expect(NULL, i, 0);
    must(hybrid_close(db));
    env->ops = whole;
    env_memory_destroy(env);
}
END_TEST

/* --- who looks at the place of a page meanwhile ---------------------------------------------------------------- */

/* Without a background nobody waits for readers, and what is in vain is not tried often: it reads a page. */
START_TEST(readers_are_not_waited_for)
{
    start_quiet(false);
    uint64_t before = page_reads();
    epoch_enter(db->epoch);
    read_some(0, SOME);
    epoch_exit(db->epoch);
    ck_assert_uint_eq(statistic_of("hybrid.returned_pages"), 0);
    ck_assert_uint_le(page_reads(), before + 8);
    ck_assert_uint_eq(counted(&db->returns_due), PAGE);
    read_until_returned();
    stop();
}
END_TEST

static bool has_frame(uint64_t address)
{
    return db->frames[(address >> db->page_bits) & (PAGES_TABLE - 1)] != NULL;
}

static bool is_placed(uint64_t address)
{
    mutex_lock(&db->write_lock);
    bool placed = has_frame(address);
    mutex_unlock(&db->write_lock);
    return placed;
}

static uint64_t pages_in_memory(void)
{
    return (db->pages_end - address_of(&db->head)) / PAGE;
}

/* Of a store whose memory holds so many pages the newest below them is about to come back: it waits for this thread,
 * which is in an epoch. *extra: entries behind EXTRA. */
static void begin_return(unsigned pages, unsigned *extra)
{
    start_quiet(true);
    epoch_enter(db->epoch);
    for (*extra = 0; pages_in_memory() < pages; ++*extra)
        put_number(EXTRA + *extra, 0);
    for (unsigned i = 0; !is_placed(address_of(&db->head) - PAGE); i++) {
        ck_assert_uint_lt(i, 10000);
        expect(NULL, SOME - 1 - i % SOME, 0);
        usleep(1000);
    }
}

/* When none is coming back, the pages from head on are in their places, and no others. */
static void expect_frames(void)
{
    bool returning = true;
    for (unsigned i = 0; returning; i++) {
        ck_assert_uint_lt(i, 10000);
        usleep(1000);
        mutex_lock(&db->write_lock);
        returning = db->returning;
        unsigned frames = 0;
        for (uint64_t page = 0; page < PAGES_TABLE; page++)
            frames += db->frames[page] != NULL;
        bool all = frames == pages_in_memory();
        for (uint64_t at = address_of(&db->head); at < db->pages_end; at += PAGE)
            all = all && has_frame(at);
        mutex_unlock(&db->write_lock);
        ck_assert(all || returning);
    }
}

/* The page that came back in vain is not there; what it holds, and all else, is read as before. */
static void end_return(unsigned extra)
{
    epoch_exit(db->epoch);
    expect_frames();
    ck_assert_uint_eq(statistic_of("hybrid.returned_pages"), 0);
    for (unsigned i = 0; i < SOME; i++)
        expect(NULL, i, 0);
    for (unsigned i = 0; i < extra; i++)
        expect(NULL, EXTRA + i, 0);
    expect_frames();
    stop();
}

/* The page behind it has left meanwhile, although there is memory for more again. */
START_TEST(pages_are_passed_by_head)
{
    unsigned extra;
    begin_return(0, &extra);
    for (uint64_t head = address_of(&db->head); address_of(&db->head) == head; extra++)
        put_number(EXTRA + extra, 0);
    mutex_lock(&db->write_lock);
    db->options.memory *= 2;
    share_memory(db);
    mutex_unlock(&db->write_lock);
    end_return(extra);
}
END_TEST

/* A page of writers has taken the memory meanwhile. */
START_TEST(pages_of_writers_come_first)
{
    unsigned extra;
    begin_return(MEMORY_PAGES - 1, &extra);
    for (; pages_in_memory() < MEMORY_PAGES; extra++)
        put_number(EXTRA + extra, 0);
    end_return(extra);
}
END_TEST

/* --- threads ------------------------------------------------------------------------------------------------------ */

/* A failed check ends the test program only in the thread that runs it; in others it is an INVARIANT that does. */
static atomic_bool done;
enum { COLD = 2000, HOT = 200 }; /* keys that nobody changes; behind them those that are changed */

static void read_beside(void *arg)
{
    struct hybrid_value seen = {0};
    struct random random;
    random_seed(&random, (uintptr_t)arg);
    while (!atomic_load(&done)) {
        char text[40];
        uint8_t bytes[VALUE_MAX];
        unsigned number = (unsigned)random_below(&random, COLD + HOT);
        INVARIANT(hybrid_get(db, NULL, name_of(number, text), false, false, &seen) == PLSM_OK);
        INVARIANT(get_u32(seen.value.data) == number);
        unsigned round = get_u32((const uint8_t *)seen.value.data + 4);
        INVARIANT(number >= COLD || round == 0);
        INVARIANT(slice_equal(seen.value, value_of(number, round, bytes)));
    }
    mem_free(seen.memory);
}

/* All of one moment: what is changed together, HOT keys in turns, has rounds that differ by one at most. */
static void snapshot_beside(void *arg)
{
    struct hybrid_value seen = {0};
    while (!atomic_load(&done)) {
        struct hybrid_snapshot *snapshot = hybrid_snapshot_create(db);
        unsigned last = UINT32_MAX;
        for (unsigned number = COLD; number < COLD + HOT; number++) {
            char text[40];
            INVARIANT(hybrid_get(db, snapshot, name_of(number, text), false, false, &seen) == PLSM_OK);
            unsigned round = get_u32((const uint8_t *)seen.value.data + 4);
            INVARIANT(last == UINT32_MAX || round == last || round + 1 == last);
            last = round;
        }
        hybrid_snapshot_destroy(db, snapshot);
    }
    mem_free(seen.memory);
}

/* Writes, so that pages leave, and compacts, so that they are below the beginning of the log. */
static void write_and_compact(unsigned *round)
{
    for (unsigned i = 0; i < 10; i++) {
        ++*round;
        for (unsigned number = COLD; number < COLD + HOT; number++)
            put_number(number, *round);
        if (i % 4 == 0)
            must(hybrid_compact(db));
    }
}

/* Pages come back and leave while others read, write, take snapshots and compact. */
START_TEST(pages_come_and_go)
{
    enum { READERS = 2 };
    struct env_thread *threads[READERS + 1];
    char *directory = temporary_create(), path[4200];
    unsigned round = 0;
    uint64_t returned = 0;
    snprintf(path, sizeof path, "%s/store", directory);
    struct hybrid_options options = options_of(env_posix());
    options.background = true;
    must(hybrid_open(path, &options, &db));
    put_some(0, COLD + HOT);
    for (unsigned opening = 0; opening < thinned(8); opening++) {
        must(hybrid_close(db));
        must(hybrid_open(path, &options, &db));
        atomic_store(&done, false);
        for (uintptr_t i = 0; i < READERS; i++)
            must(env_thread_start(env_posix(), read_beside, (void *)(opening * READERS + i), &threads[i]));
        must(env_thread_start(env_posix(), snapshot_beside, NULL, &threads[READERS]));
        for (unsigned i = 0; i < 100 && statistic_of("hybrid.returned_pages") == 0; i++)
            usleep(1000);
        write_and_compact(&round);
        returned += statistic_of("hybrid.returned_pages");
        atomic_store(&done, true);
        for (unsigned i = 0; i <= READERS; i++)
            env_thread_join(threads[i]);
        for (unsigned i = 0; i < COLD; i++)
            expect(NULL, i, 0);
        must(hybrid_check(db, NULL, NULL, NULL));
    }
    ck_assert_uint_gt(returned, thinned(8) / 2);
    must(hybrid_close(db));
    mem_free(value.memory);
    value = (struct hybrid_value){0};
    temporary_destroy(directory);
}
END_TEST

/* Who only reads has a thread for it too, which changes no file. */
START_TEST(read_only_stores_have_pages)
{
    char *directory = temporary_create(), path[4200], command[8600];
    snprintf(path, sizeof path, "%s/store", directory);
    struct hybrid_options options = options_of(env_posix());
    must(hybrid_open(path, &options, &db));
    put_some(0, SOME);
    must(hybrid_close(db));
    snprintf(command, sizeof command, "cd %s && ls -l store > before", directory);
    ck_assert_int_eq(system(command), 0);
    options.read_only = options.background = true;
    must(hybrid_open(path, &options, &db));
    while (statistic_of("hybrid.returned_pages") < 3) {
        for (unsigned i = 0; i < SOME; i++)
            expect(NULL, i, 0);
        struct hybrid_snapshot *snapshot = hybrid_snapshot_create(db);
        expect(snapshot, 1, 0);
        hybrid_snapshot_destroy(db, snapshot);
    }
    must(hybrid_close(db));
    snprintf(command, sizeof command, "cd %s && ls -l store | cmp - before", directory);
    ck_assert_int_eq(system(command), 0);
    mem_free(value.memory);
    value = (struct hybrid_value){0};
    temporary_destroy(directory);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {
        reads_bring_pages_back,     memory_is_enough,         old_reads_bring_nothing,     pages_of_other_sizes,
        damage_does_not_come_back,  links_are_not_trusted,    empty_segments_are_passed,   read_only_needs_no_thread,
        readers_are_not_waited_for, pages_are_passed_by_head, pages_of_writers_come_first, pages_come_and_go,
        read_only_stores_have_pages};
    return run_tests("hybrid_return", tests, sizeof tests / sizeof tests[0]);
}
