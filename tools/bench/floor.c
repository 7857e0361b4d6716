#include "tools/bench/floor.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/checksum.h"
#include "base/env.h"
#include "base/error.h"
#include "tools/bench/clock.h"
#include "tools/bench/permutation.h"
#include "tools/bench/report.h"

#include "base/banned.h"

const struct floor_line floor_lines[FLOOR_COUNT] = {
    [FLOOR_L2] = {"l2_hit_ns", "dependent load, second-level cache"},
    [FLOOR_L3] = {"l3_hit_ns", "dependent load, third-level cache"},
    [FLOOR_L3_16] = {"l3_hit_16_ns", "the same, 16 in flight, each"},
    [FLOOR_DRAM] = {"dram_miss_ns", "dependent load, memory, pages of 4 KiB"},
    [FLOOR_DRAM_16] = {"dram_miss_16_ns", "the same, 16 in flight, each"},
    [FLOOR_DRAM_HUGE] = {"dram_miss_huge_ns", "dependent load, memory, huge pages"},
    [FLOOR_DRAM_HUGE_16] = {"dram_miss_huge_16_ns", "the same, 16 in flight, each"},
    [FLOOR_COPY] = {"copy_gb_per_s", "copying memory"},
    [FLOOR_CHECKSUM] = {"xxh3_4k_ns", "XXH3-64 of 4 KiB"},
    [FLOOR_WRITE] = {"write_128_ns", "write call of 128 bytes"},
    [FLOOR_MAP_NEW] = {"map_append_128_ns", "128 bytes into a mapped file, new pages"},
    [FLOOR_MAP_AGAIN] = {"map_again_128_ns", "128 bytes into a mapped file, pages written before"},
    [FLOOR_SYNC] = {"fdatasyncs_per_s", "128 bytes written over others and fdatasync"},
    [FLOOR_READ] = {"read_4k_ns", "read call of 4 KiB from the page cache, at random"},
    [FLOOR_READ_DIRECT] = {"read_4k_direct_ns", "read call of 4 KiB past the page cache, at random"},
    [FLOOR_CLOCK] = {"clock_ns", "reading the clock"},
};

enum {
    IN_FLIGHT = 16,
    STEPS = 4096,         /* between two looks at the clock */
    L2_BYTES = 256 << 10, /* far above the first-level cache, below the second-level one of any processor in use */
    L3_BYTES = 4 << 20,   /* above most second-level caches, below the third-level one */
    MAP_BYTES = 16 << 20,
    SYNC_BYTES = 1 << 20, /* written over again and again */
    RECORD = 128,
    PAGE = 4096,
    HUGE = 2 << 20,
};

/* Processor time, so that neighbours who take the processor away do not count; what waits for a device is timed by the
 * clock. */
static uint64_t used(void)
{
    return clock_thread_cpu_ns();
}

static uint64_t now(void)
{
    return env_now_ns(env_posix());
}

/* --- memory ------------------------------------------------------------------------------------------------------- */

struct node {
    struct node *next;
    uint8_t rest[FLOOR_LINE - sizeof(struct node *)];
};
_Static_assert(sizeof(struct node) == FLOOR_LINE, "a node is a line");

void floor_make_chain(void *memory, size_t bytes, uint64_t seed)
{
    struct node *nodes = memory;
    struct permutation order;
    uint64_t count = bytes / FLOOR_LINE;
    permutation_init(&order, count, seed);
    struct node *node = &nodes[permutation_at(&order, 0)];
    for (uint64_t i = 1; i <= count; i++, node = node->next)
        node->next = &nodes[permutation_at(&order, i % count)];
}

/* Follows `chains` chains at once, begun far apart on the same cycle, and returns ns per load. */
static double chase(struct node *nodes, size_t bytes, int chains, uint64_t effort_ns)
{
    struct node *at[IN_FLIGHT] = {0};
    uint64_t count = bytes / FLOOR_LINE, loads = 0, begun = 0, ended = 0;
    for (int c = 0; c < chains; c++)
        at[c] = &nodes[count / (uint64_t)chains * (uint64_t)c];
    /* What fits into a cache is in it after one round. */
    for (struct node *first = at[0]->next; bytes <= L3_BYTES && first != at[0];)
        first = first->next;
    begun = used();
    do {
        if (chains == 1) {
            struct node *node = at[0];
            for (int step = 0; step < STEPS; step++)
                node = node->next;
            at[0] = node;
        } else {
            for (int step = 0; step < STEPS / IN_FLIGHT; step++)
                for (int c = 0; c < IN_FLIGHT; c++)
                    at[c] = at[c]->next;
        }
        __asm__ volatile("" : : "r"(at) : "memory");
        loads += STEPS;
        ended = used();
    } while (ended - begun < effort_ns);
    return (double)(ended - begun) / (double)loads;
}

static void *map_memory(size_t bytes, int advice)
{
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        return NULL;
    madvise(memory, bytes, advice); /* where it cannot be had, pages are as they come */
    return memory;
}

static plsm_status measure_chain(size_t bytes, int advice, uint64_t effort_ns, double *one, double *many)
{
    bytes = (bytes + HUGE - 1) / HUGE * HUGE;
    void *memory = map_memory(bytes, advice);
    if (!memory)
        return fail(PLSM_NO_MEMORY, "no memory for a chain of %zu bytes", bytes);
    floor_make_chain(memory, bytes, 1);
    *one = chase(memory, bytes, 1, effort_ns);
    if (many)
        *many = chase(memory, bytes, IN_FLIGHT, effort_ns);
    munmap(memory, bytes);
    return PLSM_OK;
}

/* Small chains lie in one huge page where there are some, so that only the caches matter. */
static plsm_status measure_cache(size_t bytes, uint64_t effort_ns, double *one, double *many)
{
    void *memory = map_memory(2 * (size_t)L3_BYTES, MADV_HUGEPAGE);
    if (!memory)
        return fail(PLSM_NO_MEMORY, "no memory for a chain");
    floor_make_chain(memory, bytes, 1);
    *one = chase(memory, bytes, 1, effort_ns);
    if (many)
        *many = chase(memory, bytes, IN_FLIGHT, effort_ns);
    munmap(memory, 2 * (size_t)L3_BYTES);
    return PLSM_OK;
}

static plsm_status measure_copy(size_t bytes, uint64_t effort_ns, double *gb_per_s)
{
    uint8_t *memory = map_memory(bytes, MADV_HUGEPAGE);
    size_t half = bytes / 2, copied = 0;
    if (!memory)
        return fail(PLSM_NO_MEMORY, "no memory to copy");
    memset(memory, 1, bytes);
    uint64_t begun = used(), ended = begun;
    do {
        memcpy(memory, memory + half, half);
        __asm__ volatile("" : : "r"(memory) : "memory");
        copied += half;
        ended = used();
    } while (ended - begun < effort_ns);
    *gb_per_s = (double)copied / (double)(ended - begun);
    munmap(memory, bytes);
    return PLSM_OK;
}

static void measure_processor(uint64_t effort_ns, struct floors *out)
{
    uint8_t page[PAGE];
    uint64_t begun = used(), ended = begun, count = 0, sum = 0;
    memset(page, 7, sizeof page);
    do {
        for (int i = 0; i < 64; i++)
            sum += checksum(page, sizeof page, sum);
        count += 64;
        ended = used();
    } while (ended - begun < effort_ns);
    __asm__ volatile("" : : "r"(sum));
    out->values[FLOOR_CHECKSUM] = (double)(ended - begun) / (double)count;
    count = 0;
    begun = used();
    do {
        for (int i = 0; i < 64; i++)
            sum += now();
        count += 64;
        ended = used();
    } while (ended - begun < effort_ns);
    __asm__ volatile("" : : "r"(sum));
    out->values[FLOOR_CLOCK] = (double)(ended - begun) / (double)count;
}

/* --- files -------------------------------------------------------------------------------------------------------- */

/* A write of `size` bytes that wrote `done`: what ends early met the end of the space. */
static plsm_status written(ssize_t done, size_t size)
{
    return done == (ssize_t)size ? PLSM_OK : fail_errno(done < 0 ? errno : ENOSPC, "a file", "write");
}

static plsm_status append(int file, const void *data, size_t size)
{
    return written(write(file, data, size), size);
}

/* Over space that was written and synced before: neither blocks nor a size have to be made known with the bytes. */
static plsm_status write_over(int file, uint64_t effort_ns, double *per_s)
{
    uint8_t record[RECORD] = {0};
    uint64_t count = 0;
    for (off_t at = 0; at < SYNC_BYTES; at += RECORD)
        TRY(written(pwrite(file, record, RECORD, at), RECORD));
    if (fsync(file) != 0)
        return fail_errno(errno, "a file", "sync");
    uint64_t begun = now(), ended = begun;
    do {
        TRY(written(pwrite(file, record, RECORD, (off_t)(count * RECORD % SYNC_BYTES)), RECORD));
        if (fdatasync(file) != 0)
            return fail_errno(errno, "a file", "sync");
        count++;
        ended = now();
    } while (ended - begun < effort_ns);
    *per_s = 1e9 * (double)count / (double)(ended - begun);
    return PLSM_OK;
}

/* Of a file that is there, opened anew: what appends would append with an offset, too. */
static plsm_status measure_syncs(const char *path, uint64_t effort_ns, double *per_s)
{
    int file = open(path, O_WRONLY | O_CLOEXEC);
    plsm_status status = file >= 0 ? write_over(file, effort_ns, per_s) : fail_errno(errno, path, "open");
    if (file >= 0)
        close(file);
    return status;
}

static plsm_status measure_writes(int file, uint64_t effort_ns, struct floors *out)
{
    uint8_t record[RECORD] = {0};
    uint64_t begun = used(), ended = begun, count = 0;
    do {
        for (int i = 0; i < 64; i++)
            TRY(append(file, record, sizeof record));
        count += 64;
        ended = used();
    } while (ended - begun < effort_ns);
    out->values[FLOOR_WRITE] = (double)(ended - begun) / (double)count;
    return PLSM_OK;
}

static plsm_status measure_map(int file, struct floors *out)
{
    uint8_t record[RECORD] = {0};
    if (ftruncate(file, 0) != 0 || ftruncate(file, MAP_BYTES) != 0)
        return fail_errno(errno, "a file", "resize");
    uint8_t *map = mmap(NULL, MAP_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (map == MAP_FAILED)
        return fail_errno(errno, "a file", "map");
    for (int pass = 0; pass < 2; pass++) {
        uint64_t begun = used();
        for (size_t at = 0; at < MAP_BYTES; at += RECORD)
            memcpy(map + at, record, RECORD);
        out->values[pass ? FLOOR_MAP_AGAIN : FLOOR_MAP_NEW] = (double)(used() - begun) / (MAP_BYTES / RECORD);
    }
    munmap(map, MAP_BYTES);
    return PLSM_OK;
}

static plsm_status measure_reads(int file, void *page, uint64_t pages, uint64_t seed, uint64_t effort_ns,
                                 uint64_t (*clock)(void), double *ns)
{
    struct random random;
    uint64_t begun = clock(), ended = begun, count = 0;
    random_seed(&random, seed);
    do {
        for (int i = 0; i < 16; i++)
            if (pread(file, page, PAGE, (off_t)(random_below(&random, pages) * PAGE)) != PAGE)
                return fail_errno(errno ? errno : EIO, "a file", "read");
        count += 16;
        ended = clock();
    } while (ended - begun < effort_ns);
    *ns = (double)(ended - begun) / (double)count;
    return PLSM_OK;
}

/* Whether a file is nowhere but in memory: such file systems take O_DIRECT as well (since Linux 6.6), and copy. */
static bool is_in_memory(int file)
{
    struct statfs info;
    return fstatfs(file, &info) == 0 && (info.f_type == TMPFS_MAGIC || info.f_type == RAMFS_MAGIC);
}

/* A file system that has no direct reads refuses to open, or to read. */
static void measure_direct(const char *path, void *page, uint64_t pages, uint64_t seed, uint64_t effort_ns, double *ns)
{
    int file = open(path, O_RDONLY | O_DIRECT | O_CLOEXEC);
    *ns = -1;
    if (file >= 0 && (is_in_memory(file) || measure_reads(file, page, pages, seed, effort_ns, now, ns) != PLSM_OK))
        *ns = -1;
    if (file >= 0)
        close(file);
}

static plsm_status fill(int file, void *page, uint64_t pages)
{
    for (uint64_t i = 0; i < pages; i++)
        TRY(append(file, page, PAGE));
    return fdatasync(file) == 0 ? PLSM_OK : fail_errno(errno, "a file", "sync");
}

static plsm_status measure_files(const char *directory, uint64_t bytes, uint64_t effort_ns, struct floors *out)
{
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/floor", directory);
    uint8_t *page = map_memory(PAGE, MADV_NORMAL);
    int file = open(path, O_RDWR | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600);
    plsm_status status = page && file >= 0 ? PLSM_OK : fail_errno(errno, path, "make a file");
    if (status == PLSM_OK)
        status = measure_writes(file, effort_ns, out);
    if (status == PLSM_OK)
        status = measure_syncs(path, 4 * effort_ns, &out->values[FLOOR_SYNC]);
    if (status == PLSM_OK)
        status = measure_map(file, out);
    if (status == PLSM_OK && ftruncate(file, 0) != 0)
        status = fail_errno(errno, path, "resize");
    if (status == PLSM_OK)
        status = fill(file, page, bytes / PAGE);
    if (status == PLSM_OK)
        status = measure_reads(file, page, bytes / PAGE, 1, effort_ns, used, &out->values[FLOOR_READ]);
    if (status == PLSM_OK)
        measure_direct(path, page, bytes / PAGE, 1, effort_ns, &out->values[FLOOR_READ_DIRECT]);
    if (file >= 0)
        close(file);
    if (page)
        munmap(page, PAGE);
    return status;
}

plsm_status floor_measure(const char *directory, uint64_t bytes, uint64_t effort_ns, struct floors *out)
{
    double *v = out->values;
    for (int i = 0; i < FLOOR_COUNT; i++)
        v[i] = -1;
    TRY(measure_cache(L2_BYTES, effort_ns, &v[FLOOR_L2], NULL));
    TRY(measure_cache(L3_BYTES, effort_ns, &v[FLOOR_L3], &v[FLOOR_L3_16]));
    TRY(measure_chain(bytes, MADV_NOHUGEPAGE, effort_ns, &v[FLOOR_DRAM], &v[FLOOR_DRAM_16]));
    TRY(measure_chain(bytes, MADV_HUGEPAGE, effort_ns, &v[FLOOR_DRAM_HUGE], &v[FLOOR_DRAM_HUGE_16]));
    TRY(measure_copy(bytes, effort_ns, &v[FLOOR_COPY]));
    measure_processor(effort_ns, out);
    return measure_files(directory, bytes, effort_ns, out);
}

/* --- a device ----------------------------------------------------------------------------------------------------- */

static const uint64_t DEVICE_EFFORT_NS = 300000000;

struct reader {
    const char *path;
    uint64_t pages, seed;
    struct env_thread *thread;
    double ns;
};

static void reader_main(void *arg)
{
    struct reader *reader = arg;
    void *page = map_memory(PAGE, MADV_NORMAL);
    reader->ns = -1;
    if (!page)
        return;
    measure_direct(reader->path, page, reader->pages, reader->seed, DEVICE_EFFORT_NS, &reader->ns);
    munmap(page, PAGE);
}

/* Every page another one, of which no device can make less. */
static plsm_status fill_with_noise(int file, uint64_t bytes)
{
    enum { PIECE = 1 << 20 };
    uint64_t *piece = map_memory(PIECE, MADV_NORMAL), state = bytes;
    plsm_status status = piece ? PLSM_OK : fail(PLSM_NO_MEMORY, "no memory to write a file");
    for (uint64_t done = 0; done < bytes && status == PLSM_OK; done += PIECE) {
        for (size_t i = 0; i < PIECE / sizeof *piece; i++)
            piece[i] = splitmix64(&state);
        status = append(file, piece, PIECE);
    }
    if (piece)
        munmap(piece, PIECE);
    if (status == PLSM_OK && fdatasync(file) != 0)
        status = fail_errno(errno, "a file", "sync");
    return status;
}

static plsm_status read_at_once(const char *path, uint64_t pages, uint32_t threads, double *ns)
{
    struct reader *readers = mem_zalloc(threads * sizeof *readers);
    plsm_status status = readers ? PLSM_OK : fail(PLSM_NO_MEMORY, "no memory for %u threads", threads);
    uint32_t started = 0;
    for (; started < threads && status == PLSM_OK; started++) {
        readers[started] = (struct reader){.path = path, .pages = pages, .seed = started + 1};
        status = env_thread_start(env_posix(), reader_main, &readers[started], &readers[started].thread);
    }
    double sum = 0;
    bool known = true;
    for (uint32_t t = 0; t < started; t++) {
        env_thread_join(readers[t].thread);
        known = known && readers[t].ns > 0;
        sum += readers[t].ns;
    }
    *ns = known ? sum / threads : -1;
    mem_free(readers);
    return status;
}

static int make_file(const char *path)
{
    return open(path, O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC, 0600);
}

/* What there is no space for cannot be measured, which is no error. */
static plsm_status unless_full(plsm_status status, double *ns)
{
    if (status != PLSM_OK)
        *ns = -1;
    return status == PLSM_NO_SPACE || status == PLSM_QUOTA ? PLSM_OK : status;
}

plsm_status floor_device_read(const char *path, uint64_t bytes, uint32_t threads, double *ns)
{
    const uint64_t least = UINT64_C(1) << 20, most = UINT64_C(4) << 30;
    uint64_t size = (bytes < least ? least : bytes > most ? most : bytes) / least * least;
    int file = make_file(path);
    *ns = -1;
    if (file < 0)
        return unless_full(fail_errno(errno, path, "make a file"), ns);
    bool known = !is_in_memory(file);
    plsm_status status = known ? fill_with_noise(file, size) : PLSM_OK;
    close(file);
    if (status == PLSM_OK && known)
        status = read_at_once(path, size / PAGE, threads, ns);
    unlink(path);
    return unless_full(status, ns);
}

plsm_status floor_device_sync(const char *path, double *ns)
{
    double syncs_per_s = 0;
    int file = make_file(path);
    if (file < 0)
        return unless_full(fail_errno(errno, path, "make a file"), ns);
    close(file);
    plsm_status status = measure_syncs(path, DEVICE_EFFORT_NS, &syncs_per_s);
    *ns = 1e9 / syncs_per_s;
    unlink(path);
    return unless_full(status, ns);
}

/* --- the command -------------------------------------------------------------------------------------------------- */

/* Eight times the largest third-level cache in common use. */
static const uint64_t CHAIN_BYTES = UINT64_C(256) << 20, EFFORT_NS = 200000000;

static plsm_status work_dram(void *arg, const char *directory, void *result)
{
    (void)arg, (void)directory;
    return measure_chain(CHAIN_BYTES, MADV_HUGEPAGE, EFFORT_NS, result, NULL);
}

plsm_status floor_dram_miss(double *ns)
{
    return rows_apart(work_dram, NULL, ns, sizeof *ns);
}

static plsm_status work_all(void *arg, const char *directory, void *result)
{
    const struct bench_plan *plan = arg;
    return floor_measure(directory, plan->memory_bytes ? plan->memory_bytes : CHAIN_BYTES, EFFORT_NS, result);
}

static void print_floors(const struct bench_plan *plan, const struct floors *floors)
{
    if (!plan->json)
        report_machine("");
    for (int i = 0; i < FLOOR_COUNT; i++) {
        double value = floors->values[i];
        char text[REPORT_FIGURE_SIZE] = "-";
        if (value >= 0)
            snprintf(text, sizeof text, "%.2f", value);
        if (plan->json)
            tool_print("%s\"%s\":%s", i == 0 ? "{" : ",", floor_lines[i].name, value < 0 ? "null" : text);
        else
            tool_print("%-22s %12s  %s\n", floor_lines[i].name, text, floor_lines[i].about);
    }
    if (plan->json)
        tool_print("}\n");
}

enum tool_exit bench_floor(const struct tool *tool, const struct bench_plan *plan)
{
    struct floors floors;
    struct bench_plan copy = *plan;
    plsm_status status = rows_apart(work_all, &copy, &floors, sizeof floors);
    if (status != PLSM_OK)
        return tool_error(tool, status);
    print_floors(plan, &floors);
    return tool_output_end(tool, TOOL_OK);
}
