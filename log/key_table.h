/* A hash table of the nodes of a key tree.
 *
 * Buckets are cache lines of eight words: an address and, in the 16 bits that addresses do not use, a tag of the key's
 * hash, so that nearly every node that is looked at is the right one (as the index of FASTER, Chandramouli et al.
 * 2018). What does not fit a bucket stands in the next one. Buckets are in regions of at most some thousand; a region
 * that is full is written anew, larger, or as two, so that no change takes longer than that (extendible hashing, Fagin
 * et al. 1979).
 *
 * Threads: as the key tree. */
#ifndef LOG_KEY_TABLE_H
#define LOG_KEY_TABLE_H

#include "log/key_tree.h"

struct key_directory;

struct key_table {
    struct epoch *epoch;
    struct mem_account *account;
    _Atomic(struct key_directory *) directory;
};

bool key_table_init(struct key_table *table, struct epoch *epoch, struct mem_account *account); /* false: no memory */
void key_table_destroy(struct key_table *table); /* accepts a zeroed one */

/* Fetches the bucket of a hash into the cache; and then, from there, the node that is likely to be of the key, if there
 * is one. */
void key_table_prefetch(const struct key_table *table, uint64_t hash);
bool key_table_prefetch_node(const struct key_table *table, uint64_t hash);
struct key_node *key_table_find(const struct key_table *table, plsm_slice key, uint64_t hash);

/* False: no memory, nothing changed. */
bool key_table_add(struct key_table *table, struct key_node *node, uint64_t hash);
void key_table_remove(struct key_table *table, const struct key_node *node, uint64_t hash);
/* Makes an empty table as large as it should be for so many keys. */
bool key_table_prepare(struct key_table *table, uint64_t keys);
uint64_t key_table_count(const struct key_table *table);

#endif
