/* What looking inside a store tells: the structs of the functions plsm_inspect_* in store/plsm.h, which includes this
 * file. Engines fill them in. What they hold is copied or static, but for slices: each says until when it is valid. */
#ifndef PLSM_INSPECT_H
#define PLSM_INSPECT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/slice.h"

enum {
    PLSM_INSPECT_LEVELS = 7,
    PLSM_INSPECT_KINDS = 8,     /* of models, of memberships: no more than these */
    PLSM_INSPECT_MESSAGE = 256, /* bytes of a message with its terminator */
    /* Buckets of errors in pages. The middle one is for 0, those behind it for 1, 2, 3 to 4, 5 to 8 and so on, the last
     * for all above 2^18; those in front of it the same below 0. */
    PLSM_INSPECT_ERRORS = 2 * 20 + 1,
};

/* How to look; zero for all defaults. */
typedef struct plsm_inspect_options {
    uint64_t keys; /* to sample; 0: 10,000 */
    uint64_t seed; /* of the choice: the same seed and the same store give the same keys */
    bool absent;   /* plsm_inspect_profile: look keys up that are not there */
} plsm_inspect_options;

/* A part of a run, on disk and in memory. */
typedef struct plsm_part_info {
    uint64_t disk_bytes;                /* 0: the run has none */
    uint64_t memory_bytes;              /* once it is loaded; 0: it cannot be used */
    bool serves;                        /* lookups ask it first, with the options the store was opened with */
    bool damaged;                       /* or of a version that this program does not know */
    char problem[PLSM_INSPECT_MESSAGE]; /* why it is not used; empty: nothing to say */
} plsm_part_info;

/* The model of a run, or of a level. */
typedef struct plsm_model_info {
    const char *type;                      /* "linear", "plr", "neural", "trie"; NULL: none that can be read. Static */
    bool beside;                           /* it is in a file of its own: retrained, or model_embed=0 */
    uint32_t segments, units, nodes;       /* of a piecewise linear model, of a network, of a trie */
    uint32_t dimensions, parameters;       /* key positions it looks at; numbers it consists of */
    uint32_t exceptions;                   /* borders between pages that need a code of their own */
    uint32_t borders, ties, separators;    /* between pages; codes alike, told apart by more of the key; by a key */
    uint32_t error_pages_max;              /* how far the raw prediction, in front of its correction, may be off */
    uint64_t memory_bytes, metadata_bytes; /* all of it; what does not grow with the pages */
    uint64_t training_keys;                /* entries that it was trained on */
    uint64_t trained_wall_ns, train_ns;    /* when, since 1970; how long that took */
    double find_ns;                        /* of a prediction, measured after training */
    uint32_t training_accuracy_ppm;        /* border keys that it alone puts on their page, per million */
    uint32_t validation_accuracy_ppm;      /* pages on which that holds for every key */
} plsm_model_info;

/* A run as its file and the MANIFEST describe it. */
typedef struct plsm_run_info {
    uint64_t number;
    unsigned level;
    unsigned keyspace;            /* enum plsm_keyspace: runs do not mix them */
    plsm_slice smallest, largest; /* keys; valid during the call */
    uint64_t entries, deletions;  /* deletions are entries too */
    uint64_t key_bytes, value_bytes, file_bytes, pages;
    uint64_t page_bytes;        /* of the file: its pages; some take several blocks */
    uint64_t page_raw_bytes;    /* the same before they were compressed; page_bytes when they were not */
    const char *compression;    /* of its pages: "none", "lz4", "zstd", "zstd+dictionary". Static */
    uint64_t filter_keys;       /* keys and directories that its filter was made of */
    uint64_t fingerprint_bytes; /* in its pages, to find keys by */
    const char *layout;         /* of its pages: "packed", "classic"; NULL: not known. Static */
    bool versions;              /* some key has several entries */
    uint64_t range_deletions;   /* pieces of deleted ranges */
    uint64_t value_logs;        /* that it points into */
    uint64_t value_log_bytes;   /* records there that it points to; value_bytes counts the values themselves */
    bool damaged;               /* header or footer: what follows is not known */
    char problem[PLSM_INSPECT_MESSAGE];

    uint64_t job;                           /* the first run that the same flush or compaction wrote */
    bool merged;                            /* a compaction wrote it; of format 1: it is below level 0 */
    uint64_t write_us, train_us, filter_us; /* processor time: all of writing it; of that, for model and filters */
    plsm_part_info model_block, model_file; /* the model in the run; in the file beside it */
    plsm_part_info fences;                  /* the traditional index */
    plsm_part_info filter;                  /* the traditional filter */
    plsm_part_info membership;              /* what was made to serve in place of it */
    plsm_part_info young;                   /* its share of the table over young runs: serves where it is in there */
    plsm_model_info model;                  /* of model_file or else of model_block */
    const char *filter_kind;                /* "fuse", "bloom", "blocked"; NULL: none that can be read. Static */
    const char *membership_kind;            /* "exact", "partitioned", "ribbon"; without one, the filter's. Static */
    bool membership_template;               /* with a check of size and common bytes in front */
} plsm_run_info;

/* A value log: a file of large values beside the runs. */
typedef struct plsm_value_log_info {
    uint64_t number;
    uint64_t bytes, live_bytes; /* of records; those of them that runs point to: the rest is garbage */
    uint64_t runs;              /* that point there */
} plsm_value_log_info;

/* Predictions against the truth. */
typedef struct plsm_error_histogram {
    uint64_t keys[PLSM_INSPECT_ERRORS]; /* by how many pages the answer is too far */
    uint64_t pages_max, pages_sum;      /* of the absolute errors */
} plsm_error_histogram;

/* A page of a run, and what the model says of the keys that begin on it. */
typedef struct plsm_page_info {
    uint64_t page;
    uint64_t keys;        /* that begin here: others have only further versions here */
    plsm_slice first_key; /* of them; valid during the call; empty when there is none */
    bool raw;             /* the model makes a raw prediction; what follows is 0 where it does not */
    uint64_t code;        /* the number that the first key is to the model */
    double raw_page;      /* where that puts the key, in pages */
    int64_t raw_error_pages_min, raw_error_pages_max; /* of all keys */
    uint32_t segments;    /* of the model that begin here, from this code to that of the next page */
    bool tied;            /* the last key before has the same code */
    uint64_t answer_page; /* of the model, for the first key */
    uint64_t keys_wrong;  /* that the model puts on another page */
} plsm_page_info;

/* Keys that something was asked for that tells whether a run may hold them. */
typedef struct plsm_membership_info {
    uint64_t present, denied;       /* keys of the run; denied must be 0 */
    uint64_t absent, passed;        /* keys made from them that are not in the run; that it did not tell */
    uint64_t misses, misses_passed; /* the same for keys that the store was asked for in vain, as far as sampled */
} plsm_membership_info;

/* What asking for every key of a run came to. */
typedef struct plsm_keys_info {
    uint64_t keys, entries;          /* read; an entry more for each further version of a key */
    uint64_t keys_answered;          /* by a model; 0: there is none */
    uint64_t keys_learned;           /* of those: without a look at separators */
    uint64_t raw_keys;               /* for which there is a raw prediction */
    plsm_error_histogram raw_errors; /* of it, in front of its correction */
    plsm_error_histogram errors;     /* of the answer; all but the middle must be 0 */
    uint64_t borders, borders_tied;  /* between pages; those of them on both sides of which the code is the same */
    plsm_membership_info membership, filter, young; /* young: the table over young runs, for this run */
} plsm_keys_info;

/* How many runs have something of a kind. */
typedef struct plsm_kind_count {
    const char *kind; /* static; NULL: no more kinds */
    uint64_t runs;
} plsm_kind_count;

/* A level of the tree. */
typedef struct plsm_level_info {
    unsigned level;
    uint64_t runs, runs_damaged;       /* damaged: the run, or a part of it */
    uint64_t runs_young, runs_classic; /* in the table over young runs; with pages in the classic layout */
    uint64_t entries, deletions, file_bytes, pages, filter_keys;
    plsm_kind_count models[PLSM_INSPECT_KINDS]; /* "none" among them */
    plsm_kind_count memberships[PLSM_INSPECT_KINDS];
    /* Sums of memory: of the parts that serve, and of the traditional ones whether they serve or not. */
    uint64_t model_bytes, fences_bytes, membership_bytes, filter_bytes;
    uint64_t young_bytes; /* of the table over young runs, which serves in place of filters; its share */
    uint64_t traditional_index_bytes, traditional_filter_bytes;
    uint64_t metadata_bytes_max; /* of a run's model */
    uint64_t worst_run;          /* that whose model has the lowest validation accuracy; 0: none has one */
    uint32_t worst_run_accuracy_ppm;

    plsm_model_info router; /* the model of the level, over the bounds of its runs; type NULL: none */
    uint64_t router_bounds, router_bounds_wrong; /* bounds it was asked for; answers that name another run */
    uint64_t router_keys, router_keys_wrong;     /* the same for sampled keys */
    uint64_t keys, keys_right;                   /* sampled from its runs; put on their page by the model alone */
    uint64_t pages_damaged;                      /* that could not be sampled from */

    /* Of the lookups of plsm_lookup_info: keys found on this level, and by the first answer of the run's model. */
    uint64_t found, found_first;
} plsm_level_info;

/* The table over young runs: what one probe tells of all runs above the last level. It is in memory only. Runs are
 * entered when they are written; those that a store had when it was opened once lookups pay for reading their keys. */
typedef struct plsm_young_info {
    uint64_t tables; /* more than one only while an old one empties */
    uint64_t runs, entries, bytes;
} plsm_young_info;

/* What lookups of sampled keys came to. */
typedef struct plsm_lookup_info {
    uint64_t keys, found, found_in_memory; /* asked for; found at all; in a memtable */
    uint64_t damaged;                      /* lookups that met damage: neither found nor not */
    uint64_t level_wrong, file_wrong;      /* found on another level, in another run than that asked first */
    uint64_t router_wrong;                 /* the model of a level named a run that does not enclose the key */
    uint64_t run_lookups, fallbacks;       /* that reached the index of a run; of those, without help of a model */
    uint64_t filter_probes, young_probes;  /* filters asked; of these, the table over young runs */
    uint64_t pages;                        /* looked at */
    plsm_young_info young;                 /* that table, as it is afterwards */
} plsm_lookup_info;

/* The steps of a lookup. */
typedef enum plsm_step {
    PLSM_STEP_VIEW,       /* which memtables and runs there are; leaving again */
    PLSM_STEP_MEMTABLES,  /* looking into them */
    PLSM_STEP_HASH,       /* of the key */
    PLSM_STEP_YOUNG,      /* which young runs may hold the key? */
    PLSM_STEP_CHOICE,     /* of the run of a level: by its model or by bounds */
    PLSM_STEP_MEMBERSHIP, /* may the run hold the key? */
    PLSM_STEP_MODEL,      /* the prediction */
    PLSM_STEP_LOCATE,     /* its correction to a page; without a model, a search of the fences */
    PLSM_STEP_PAGE,       /* getting that page from the cache or the file */
    PLSM_STEP_SEARCH,     /* finding the key on it */
    PLSM_STEP_COPY,       /* of the value to the caller */
    PLSM_STEPS
} plsm_step;

typedef struct plsm_step_info {
    uint64_t lookups; /* that took the step */
    double mean_ns;   /* per lookup of those; less what the clock cost */
    double median_ns;
} plsm_step_info;

/* Where the time of lookups goes. */
typedef struct plsm_profile {
    const char *index; /* "learned", "traditional", "classic": how pages were found. Static */
    uint64_t keys;     /* looked up; fewer than asked for where the store does not have, or does not lack, so many */
    uint64_t found;
    uint64_t damaged;     /* runs, pages and lookups that damage left no answer of; they are in none of the figures */
    double clock_ns;      /* what a time stamp costs; taken off each step */
    double get_ns;        /* of an ordinary lookup of the same keys, without stamps; see lsm/profile.c */
    plsm_step_info total; /* of the lookups in steps */
    uint64_t interrupted; /* of them: left out of all times, as the thread lost its processor meanwhile */
    plsm_step_info all[PLSM_STEPS];                         /* on all levels */
    plsm_step_info levels[PLSM_INSPECT_LEVELS][PLSM_STEPS]; /* where the step belongs to a level */
    uint64_t pages, pages_read;                             /* looked at; of those, read from the file */
    uint64_t run_lookups, fallbacks;                        /* as in plsm_lookup_info */
    uint64_t answers_differ;                                /* from those of ordinary lookups: must be 0 */
} plsm_profile;

#endif
