/* Simulated I/O: what the reads and writes of the store would cost on another device, and what traditional mode would
 * have paid for the same calls.
 *
 * The engine reports which blocks it wants (not which it reads: whether a block is in memory is decided here, by a
 * cache of the simulation's own) and the simulation charges time for it. There are two sides: SIM_ACTUAL gets the
 * blocks that the store in its present mode asked for, SIM_TRADITIONAL those that the traditional index would have
 * asked for. Each has a cache that replays its own accesses, so the difference is measured and not the result of a
 * formula. The memory of index and filters is taken out of each side's cache (simulation_set_metadata): a smaller index
 * leaves more room for data.
 *
 * What is charged
 * - A call whose blocks are all in the side's cache costs nothing. Otherwise the call is one request, from its first
 *   missing block to its last; cached blocks between the two are read along, as one read call does.
 * - A request is sequential when it goes on where a stream of the same run stands, or when only cached blocks lie
 *   between. A stream begins with a random request, and each call that goes on with it moves it to its end, hit or
 *   miss: cached blocks in the middle of a scan do not turn it into seeks. A side follows the SIMULATION_STREAMS most
 *   recently used streams of point reads and as many of scans; a scan may go on from a point read (a seek), not the
 *   other way round. Only forward: neither drives nor kernels read ahead backward.
 * - Blocks that point reads miss enter the cache; scans use what is there and read around it, as in the engine.
 * - Writes are charged by bandwidth alone and equally on both sides: a store of this kind appends, and small appends
 *   are merged on their way to the device. Waiting for a sync is not charged; written blocks do not enter the caches.
 *
 * Each call is charged as if the device had nothing else to do: threads do not wait for each other, and the totals are
 * the sums of all threads' times, not elapsed time.
 *
 * Nothing sleeps unless asked to. Then the calls of SIM_ACTUAL and the writes sleep for what they are charged. The
 * kernel oversleeps by about 50 us, as long as a fast device takes to read. So less than SIMULATION_SLEEP_NS_MIN is
 * owed until it adds up, what was overslept is taken off what is owed, and any thread sleeps for all: single calls are
 * not exact, the time of many is.
 *
 * All functions may be called from any number of threads. Each side has one mutex around everything: threads queue for
 * it, which a measuring mode may. */
#ifndef LSM_SIMULATE_H
#define LSM_SIMULATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/env.h"

enum {
    SIMULATION_STREAMS = 32,         /* more than the runs that a merging scan reads side by side */
    SIMULATION_SLEEP_NS_MIN = 50000, /* about what the kernel oversleeps */
    SIMULATION_QUEUE_DEPTH_MAX = 65536,
};
#define SIMULATION_BYTES_PER_S_MIN UINT64_C(1000000)

/* Each side has a cache of `cache_bytes` on the same device. */
struct simulation_options {
    uint32_t read_latency_us;     /* of a random read, until its first byte; at most 60 s */
    uint32_t request_overhead_ns; /* per request, also among many: what the queue cannot overlap; at most 60 ms */
    uint32_t queue_depth;         /* how many reads of one batch overlap; 1 to SIMULATION_QUEUE_DEPTH_MAX */
    uint32_t sequential_discount_percent; /* how much of latency and overhead a sequential read is spared; 0 to 100 */
    uint64_t read_bytes_per_s;            /* at least SIMULATION_BYTES_PER_S_MIN */
    uint64_t write_bytes_per_s;           /* likewise */
    uint64_t cache_bytes;                 /* for data, index and filters together; rounded down to blocks; 0: none */
    bool sleep;                           /* for what is charged to SIM_ACTUAL */
};

/* Sets the figures of the device to those of a built-in profile; cache_bytes and sleep stay. PLSM_INVALID, with the
 * names there are in the message. The profiles are typical devices of their class, not the best:
 *
 *     name   latency us  overhead ns  depth  discount %  read MB/s  write MB/s
 *     nvme           51          100    128          90      3,500       1,700
 *     ssd            69          700     32          73        560         530
 *     hdd        11,560            0      2          99        200         200
 *     cloud         677      292,000     64          97        131         131
 *
 * Latency, overhead and depth are fitted so that simulation_cost_ns gives the 4 KiB random reads per second that are
 * published for queue depth 1 and for the deepest queue. Where the figures come from:
 * nvme   Samsung 970 EVO Plus 1 TB (data sheet): 19,000 reads/s at depth 1, 600,000 with 4 threads at depth 32;
 *        3,500 MB/s read; 1,700 MB/s written once its write cache is full. Discount: the Intel P4500 takes 10 us for a
 *        sequential and 85 us for a random 4 KiB read (data sheet), transfer (1.3 us) included.
 * ssd    Samsung 870 EVO, SATA (data sheet): 13,000 reads/s at depth 1, 98,000 at depth 32; 560 and 530 MB/s.
 *        Discount: Intel S4500, 36 us sequential and 110 us random (data sheet), transfer (8.2 us) included.
 * hdd    Western Digital Ultrastar DC HC310, 7,200 rpm (OEM specification): average seek 7.4 ms, half a turn 4.16 ms.
 *        Sorting a deep queue nearly doubles the reads/s of such drives: depth 2. 200 MB/s is typical of the middle
 *        tracks. What follows is read ahead into the drive's buffer: discount 99 %.
 * cloud  Amazon EBS gp3 as it comes (documentation): 3,000 requests/s, which is the overhead; 125 MiB/s; latency of
 *        "single-digit milliseconds", taken as 1 ms in all. Adjacent requests are merged: 97 % means that one block of
 *        the 32 (128 KiB) that Linux reads ahead pays for all. */
plsm_status simulation_profile_find(const char *name, struct simulation_options *options);
/* The name of the profile whose figures these are; "own" when there is none. Static. */
const char *simulation_profile_name(const struct simulation_options *options);
/* PLSM_INVALID when a figure is outside of the limits above; the message names it. */
plsm_status simulation_options_check(const struct simulation_options *options);

/* What one read of `blocks` blocks of 4 KiB costs that is one of `batch` (at least 1) issued together. Pure.
 *
 *     fixed = read_latency / min(batch, queue_depth) + request_overhead    (sequential: less the discount)
 *     cost  = fixed + blocks * 4,096 / read_bytes_per_s
 *
 * So a batch larger than the queue keeps it full, and its reads finish at the rate that the queue allows.
 *
 * Worked example: latency 100 us, overhead 2 us, depth 8, discount 90 %, 1 GB/s. A random block alone costs 100,000 +
 * 2,000 + 4,096 = 106,096 ns; a sequential one 10,200 + 4,096 = 14,296; 64 sequential blocks in one request 10,200 +
 * 262,144 = 272,344. Of four random blocks read together each costs 25,000 + 2,000 + 4,096 = 31,096, all of them
 * 124,384 instead of 424,384; of 8 or more together each 12,500 + 2,000 + 4,096 = 18,596. */
uint64_t simulation_cost_ns(const struct simulation_options *options, uint64_t blocks, bool sequential, uint64_t batch);
/* What writing `bytes` costs: bytes / write_bytes_per_s. Pure. */
uint64_t simulation_write_ns(const struct simulation_options *options, uint64_t bytes);

enum simulation_side { SIM_ACTUAL, SIM_TRADITIONAL, SIM_SIDES };
enum simulation_kind { SIM_POINT, SIM_SCAN, SIM_KINDS };

struct simulation;

/* Two empty sides. The options are copied and must have passed simulation_options_check; `env` (for sleeping) must
 * outlive it. Takes 48 bytes per block of cache_bytes, resident as the caches fill. NULL: no memory. */
struct simulation *simulation_create(const struct simulation_options *options, struct env *env);
void simulation_destroy(struct simulation *simulation); /* accepts NULL */

/* `block_count` blocks of 4 KiB of a run (none: nothing happens) that are wanted in one piece. */
struct simulation_place {
    uint64_t run, first_block, block_count;
};

/* The side wants these blocks now. */
void simulation_read(struct simulation *simulation, enum simulation_side side, uint64_t run, uint64_t first_block,
                     uint64_t block_count, enum simulation_kind kind);
/* The side wants the blocks of `count` independent point reads, all issued before the first is waited for: those that
 * miss the cache are one batch of the device. */
void simulation_read_batch(struct simulation *simulation, enum simulation_side side,
                           const struct simulation_place *places, size_t count);
/* `bytes` are written; charged to both sides (in learned mode a run is larger by its model, well below 1 %). */
void simulation_write(struct simulation *simulation, uint64_t bytes);
/* A run is removed: its blocks and streams leave both sides. O(blocks in the caches). */
void simulation_forget(struct simulation *simulation, uint64_t run);
/* The side's mode keeps `bytes` of index and filter in memory: so much less of cache_bytes is left for data, and blocks
 * beyond that are evicted. 0 at the start. */
void simulation_set_metadata(struct simulation *simulation, enum simulation_side side, uint64_t bytes);

struct simulation_totals {
    uint64_t reads; /* charged requests: random + sequential */
    uint64_t random, sequential;
    uint64_t blocks; /* transferred by them */
    uint64_t hits;   /* blocks wanted and not transferred: blocks + hits is what was asked for */
    uint64_t read_ns;
    uint64_t writes, write_bytes;
    uint64_t write_ns; /* of all write_bytes at once, so that small writes do not lose by rounding */
};
void simulation_totals(struct simulation *simulation, enum simulation_side side, struct simulation_totals *out);
/* Zeroes the totals of both sides. Caches and streams stay as they are. */
void simulation_reset(struct simulation *simulation);

#endif
