/* The file of a run: one sorted, immutable sequence of entries. Written by run_writer.c, read by run.c.
 *
 *   block 0            header: magic, version, run number, salt, checksum; zeros to 4,096
 *   units              data pages (page.h), each a multiple of 4 KiB, in key order; in a compressed run (codec 1 in the
 *                      footer) packed, each a multiple of 8 bytes (unit.h)
 *   blocks             in this order, each 8-byte aligned, with offset, size and checksum in the footer:
 *     fences             the traditional index (learn/fences.h, learn/plain_fences.h): always there
 *     filter             the traditional filter (learn/filter.h, bloom.h, blocked.h): keys and, where the first key
 *                        byte is LSM_DIRECTORY_BYTE, their directories (learn/membership.h); size 0 when the store
 *                        keeps none
 *     offsets            u32 per unit and one more: where each starts, in 4 KiB; size 0 when all units are one block;
 *                        in a compressed run always there, in 8 bytes
 *     model              the LIDX block (learn/model.h); its checksum is inside; size 0 when there is none
 *     bounds             smallest key, largest key of the entries: varint size and bytes each
 *     membership         what serves in place of the filter (learn/membership.h); size 0: the filter itself
 *     ranges             deletions of ranges (tombstones.h); this one and the next are named by the extension, and not
 *                        there, size 0, where a run has none
 *     values             which value logs the entries point into, and how much (run_values in run.h)
 *     dictionary         what all units of a compressed run are packed with (base/codec.h)
 *   extension          directly in front of the footer: struct run_extension; runs of version 1 have none
 *   footer             the last 256 bytes: struct run_footer
 *
 * Numbers are little-endian. The salt ties pages to this file: a page of another run, or of an older file in the same
 * place on the disk, does not validate. */
#ifndef LSM_RUN_FORMAT_H
#define LSM_RUN_FORMAT_H

#include <stdint.h>

#include "lsm/page.h"

#define RUN_MAGIC "PLSMRUN" /* 8 bytes with the terminator */
#define RUN_FOOTER_MAGIC "PLSMEND"
/* What the version before did not have: 2: the extension, the codec. 3: blocked filters (learn/blocked.h), entries that
 * expire (page.h). */
enum { RUN_VERSION = 3, RUN_VERSION_OLDEST = 1 };

struct run_file_header {
    char magic[8];
    uint32_t version, reserved;
    uint64_t number, salt;
    uint64_t checksum; /* of the bytes before */
};
_Static_assert(sizeof(struct run_file_header) == 40, "run header layout");

enum run_codec { RUN_PLAIN, RUN_COMPRESSED, RUN_CODECS };

enum run_block { RUN_FENCES, RUN_FILTER, RUN_OFFSETS, RUN_MODEL, RUN_BOUNDS, RUN_BLOCKS };

struct run_block_place {
    uint64_t offset, size, checksum; /* the checksum is seeded with the salt */
};

struct run_footer {
    struct run_block_place blocks[RUN_BLOCKS];
    uint64_t number, salt;
    uint64_t entries, deletions;
    uint64_t key_bytes, value_bytes; /* of all entries, meta counted with the values */
    uint64_t filter_keys;
    uint64_t seq_max; /* largest sequence number among the entries before they were set to 0 */
    uint32_t units;
    uint32_t versions; /* 1: some key has several entries */
    uint32_t version, codec; /* enum run_codec */
    char magic[8];
    struct run_block_place membership;
    uint32_t job;                           /* number of the first run that the same flush or compaction wrote */
    uint32_t write_us, train_us, filter_us; /* processor time: all of writing it; of that, for model and filters */
    uint64_t checksum;                      /* of the bytes before, seeded with the salt */
};
_Static_assert(sizeof(struct run_footer) == 256, "run footer layout");

/* Blocks that only some runs have; size 0: not there. */
struct run_extension {
    struct run_block_place ranges;     /* deletions of ranges: tombstones.h */
    struct run_block_place dictionary; /* of the codec */
    struct run_block_place values;     /* which value logs the entries point into: for each, by number, two varints: its
                                          number and the bytes of the records pointed to */
    uint64_t raw_bytes; /* of the pages of a compressed run before they were packed, without zeros at their ends */
    uint32_t codecs;    /* a bit (1 << enum codec) for each that its units are packed with */
    uint32_t merged;    /* 1: a compaction wrote it; 0: a flush */
    uint64_t expiring;  /* puts that expire (page.h); 0 before version 3 */
    uint64_t due_s;     /* as in run_facts (run.h); likewise */
    uint64_t reserved[2];
    uint64_t checksum; /* of the bytes before, seeded with the salt */
};
_Static_assert(sizeof(struct run_extension) == 128, "run extension layout");

#endif
