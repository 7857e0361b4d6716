/* Mutated records of the append log and the hybrid log, with checksums that are right again: refused, or answered in
 * some way; never a crash, a read out of bounds, a hang or a write that is lost.
 *
 * In a mutated store (fuzz_store) the checksums catch nearly everything before the parsers see it. Here a few places of
 * one record are changed, often to numbers near their limits, and then all checksums over them are made right: of
 * entries and records of segments, of their heads, of hints, of batches in redo logs, of recovery points, of records of
 * the hybrid log. The store is opened (by a writer or a reader), read through, checked, written to and opened again.
 * Beside that the key tree, which the append log finds its keys by, is compared with a list.
 *
 * FUZZ_SECONDS: how long (60); FUZZ_SEED; FUZZ_ROUND: that one alone, in this process; FUZZ_KIND: one of the kinds. */
#include <stdlib.h>

#include "base/alloc.h"
#include "base/checksum.h"
#include "base/env_memory.h"
#include "base/epoch.h"
#include "base/random.h"
#include "log/append_format.h"
#include "log/hybrid_record.h"
#include "log/key_tree.h"
#include "store/internal.h"
#include "tests/harness/fuzz.h"
#include "tests/harness/pool.h"
#include "tests/harness/replay.h"

#include "base/banned.h"

#define STORE "/store"

enum { FILES_MAX = 64, GROUP = 64, ROUND_SECONDS = 30, STORES = 8, MUTATIONS_MAX = 4 };
enum { TREE_KEYS = 300, TREE_STEPS = 900 };
enum kind { SEGMENT, HINT, REDO, STATE, HYBRID_SEGMENT, TREE, KINDS };
static const char *const kind_files[KINDS] = {"segment-", "hint-", "hybrid-redo-", "hybrid-", "hybrid-segment-", NULL};

struct subject {
    const char *options;
    struct env *env;
    uint64_t calls;
    char files[FILES_MAX][100];
    size_t file_count;
};
static struct subject subjects[STORES];

/* --- the stores --------------------------------------------------------------------------------------------------- */

static void note_file(void *arg, const char *name)
{
    struct subject *subject = arg;
    if (subject->file_count < FILES_MAX)
        snprintf(subject->files[subject->file_count++], sizeof subject->files[0], STORE "/%s", name);
}

/* Half of them are append logs. */
static void subject_create(struct subject *subject, unsigned number)
{
    static const size_t operations[] = {30, 150, 400, 900};
    static const char *const options[] = {"engine=appendlog,file_size=64K,merge_garbage=0.3,background=0",
                                          "engine=hybridlog,background=0,buffer_size=64K,file_size=64K,cache_size=64K"};
    size_t count = operations[number / 2 % 4];
    *subject = (struct subject){.options = options[number % 2]};
    struct env *env = env_memory_create(number);
    struct model *model = model_create();
    struct op *ops = workload_create(&workload_writes, 300 + number, count);
    struct replay replay = {.clock = env};
    bool passed = replay_start(&replay, env, STORE, subject->options, model);
    for (size_t i = 0; i < count && passed; i++)
        passed = replay_step(&replay, &ops[i]);
    if (!passed) {
        fprintf(stderr, "cannot make store %u: %s\n", number, replay.failure);
        exit(EXIT_FAILURE);
    }
    subject->env = env_memory_crash(env, env_memory_calls(env), ENV_CRASH_KEEP, 1);
    subject->calls = env_memory_calls(subject->env);
    replay_destroy(&replay);
    model_destroy(model);
    env_memory_destroy(env);
    free(ops);
    if (env_list(subject->env, STORE, note_file, subject) != PLSM_OK)
        exit(EXIT_FAILURE);
}

/* A file of a kind; NULL: there is none. */
static const char *pick_file(const struct subject *subject, enum kind kind, struct random *random)
{
    const char *found[FILES_MAX], *rest;
    size_t count = 0;
    for (size_t i = 0; i < subject->file_count; i++)
        if (env_file_number(subject->files[i] + sizeof STORE, kind_files[kind], &rest) > 0 && !*rest)
            found[count++] = subject->files[i];
    return count > 0 ? found[random_below(random, count)] : NULL;
}

/* --- changing bytes ----------------------------------------------------------------------------------------------- */

/* A number near a limit. */
static uint64_t awkward(struct random *random)
{
    static const uint64_t limits[] = {0,          UINT64_MAX,        UINT64_C(1) << 63, UINT64_C(1) << 62,
                                      UINT32_MAX, UINT64_C(1) << 48, INT32_MAX,         UINT16_MAX,
                                      8193,       1 << 20,           1 << 30,           UINT64_C(1) << 60};
    uint64_t number = limits[random_below(random, sizeof limits / sizeof *limits)];
    return number + random_below(random, 5) - 2;
}

static void change_some(uint8_t *data, size_t size, struct random *random)
{
    if (size == 0)
        return;
    size_t at = random_below(random, 3) ? random_below(random, size < 48 ? size : 48) : random_below(random, size);
    uint8_t number[VARINT_SIZE_MAX];
    size_t left = size - at, length = left < 8 ? left : 8;
    switch (random_below(random, 6)) {
    case 0:
        data[at] ^= (uint8_t)(1u << random_below(random, 8));
        break;
    case 1:
        data[at] = (uint8_t)random_next(random);
        break;
    case 2: /* a fixed number */
        put_u64(number, awkward(random));
        memcpy(data + (length == 8 ? at & ~(size_t)7 : at), number, length);
        break;
    case 3: /* one that takes as many bytes as it likes */
        length = (size_t)(put_varint(number, awkward(random)) - number);
        memcpy(data + at, number, length < left ? length : left);
        break;
    case 4:
        memset(data + at, random_below(random, 2) ? 0xff : 0, random_below(random, length) + 1);
        break;
    default:
        memmove(data + random_below(random, size - length + 1), data + at, length);
    }
}

/* --- record logs -------------------------------------------------------------------------------------------------- */

enum { LOG_SALT = 16, RECORD_LENGTH = 8, RECORD_CHECK = 12, RECORD_SYNCED = 16, RECORD_USER = 24 };

/* The record behind `at` of a log (base/reclog.c); its size with padding, or 0: there is none. */
static size_t record_at(const uint8_t *data, size_t size, size_t at)
{
    if (at + APPEND_RECORD_HEAD > size)
        return 0;
    uint32_t length = get_u32(data + at + RECORD_LENGTH) & INT32_MAX;
    size_t whole = APPEND_RECORD_HEAD + ((size_t)length + 7) / 8 * 8;
    uint32_t check = (uint32_t)checksum(data + at + RECORD_LENGTH, 4, ~(get_u64(data + LOG_SALT) ^ at));
    return check == get_u32(data + at + RECORD_CHECK) && whole <= size - at ? whole : 0;
}

static void seal_record(uint8_t *data, size_t at, size_t whole)
{
    uint64_t salt = get_u64(data + LOG_SALT);
    put_u64(data + at, checksum(data + at + 8, whole - 8, salt ^ at));
}

/* Makes the checksums of the entries of a record right, as far as they can still be told from each other. */
static void seal_entries(uint8_t *data, size_t at, size_t end, uint64_t salt)
{
    struct append_entry e;
    while (at < end && append_entry_parse(slice(data + at, end - at), &e) && e.size <= end - at) {
        bool apart = e.value_size > APPEND_VALUE_APART;
        size_t meta_and_key = e.key.size + e.meta.size;
        if (apart)
            put_u64(data + at + e.head_size - meta_and_key - 8, checksum(e.value.data, e.value.size, salt ^ at));
        put_u32(data + at, (uint32_t)checksum(data + at + 4, (apart ? e.head_size : e.size) - 4, salt ^ at));
        at += e.size;
    }
}

static void seal_head(uint8_t *payload, size_t size)
{
    if (size < APPEND_HEAD_SIZE)
        return;
    put_u64(payload + 40, checksum(payload + APPEND_HEAD_SIZE, size - APPEND_HEAD_SIZE, get_u64(payload + 16)));
    put_u64(payload + 48, checksum(payload, 48, get_u64(payload + 8)));
}

/* Changes a record of a segment of the append log, or of a redo log. */
static void change_log(uint8_t *data, size_t size, bool is_segment, struct random *random)
{
    size_t records = 0, at = APPEND_RECORDS_AT, whole;
    for (; (whole = record_at(data, size, at)) > 0; at += whole)
        records++;
    if (records == 0)
        return;
    size_t wanted = random_below(random, 3) ? random_below(random, records) : 0;
    for (at = APPEND_RECORDS_AT; wanted > 0; wanted--)
        at += record_at(data, size, at);
    whole = record_at(data, size, at);
    uint8_t *payload = data + at + APPEND_RECORD_HEAD;
    size_t length = get_u32(data + at + RECORD_LENGTH) & INT32_MAX;
    uint64_t salt = get_u64(data + APPEND_RECORDS_AT + APPEND_RECORD_HEAD + 16);
    if (random_below(random, 6) == 0)
        put_u64(data + at + RECORD_USER, random_below(random, 2) ? awkward(random) : random_below(random, 3));
    else
        change_some(payload, length, random);
    if (is_segment && at == APPEND_RECORDS_AT)
        seal_head(payload, length);
    else if (is_segment && get_u64(data + at + RECORD_USER) != 0)
        seal_entries(data, at + APPEND_RECORD_HEAD, at + APPEND_RECORD_HEAD + length, salt);
    seal_record(data, at, whole);
}

/* --- other files -------------------------------------------------------------------------------------------------- */

static void change_hint(uint8_t *data, size_t size, struct random *random)
{
    enum { HEAD = 160, BODY_CHECKSUM = 144, CHECKSUM = 152, SALT = 32, NUMBER = 24 };
    if (size < HEAD)
        return;
    if (random_below(random, 3) == 0)
        change_some(data + 40, BODY_CHECKSUM - 40, random);
    else
        change_some(data + HEAD, size - HEAD, random);
    put_u64(data + BODY_CHECKSUM, checksum(data + HEAD, size - HEAD, get_u64(data + SALT)));
    put_u64(data + CHECKSUM, checksum(data, CHECKSUM, get_u64(data + NUMBER)));
}

static void change_state(uint8_t *data, size_t size, uint64_t number, struct random *random)
{
    if (size < 32)
        return;
    change_some(data + 12, size - 20, random);
    put_u64(data + size - 8, checksum(data, size - 8, number));
}

/* A record of a hybrid log: what leads on from it, its sizes, its key, its content. */
static void change_hybrid_segment(uint8_t *data, size_t size, struct random *random)
{
    enum { HEAD = 48 };
    uint64_t salt = get_u64(data + 16), start = get_u64(data + 24);
    size_t records = 0, at, whole = 0;
    for (unsigned pass = 0; pass < 2; pass++) {
        size_t wanted = pass ? random_below(random, records ? records : 1) : SIZE_MAX;
        for (at = HEAD; at + RECORD_HEAD <= size; at += whole) {
            struct hybrid_record *record = (struct hybrid_record *)(void *)(data + at);
            if (record->previous == RECORD_PAD || !record_sane(record) || record_size(record) > size - at)
                break;
            whole = record_size(record);
            if (pass == 0)
                records++;
            else if (wanted-- == 0)
                break;
        }
    }
    if (records == 0)
        return;
    struct hybrid_record *record = (struct hybrid_record *)(void *)(data + at);
    if (at + RECORD_HEAD > size || whole > size - at)
        return;
    change_some((uint8_t *)record, random_below(random, 2) ? RECORD_HEAD : whole, random);
    if (record_sane(record) && record_size(record) <= size - at)
        record->checksum = record_checksum(record, start + (at - HEAD), salt);
}

/* Changes one file in some places. */
static void change_file(struct env *image, const char *path, enum kind kind, struct random *random)
{
    uint8_t *there, *data;
    size_t size;
    const char *rest;
    if (env_memory_content(image, path, &there, &size) != PLSM_OK || !(data = malloc(size + 1)))
        abort();
    memcpy(data, there, size);
    for (uint64_t left = 1 + random_below(random, MUTATIONS_MAX); left > 0; left--) {
        if (kind == SEGMENT || kind == REDO)
            change_log(data, size, kind == SEGMENT, random);
        else if (kind == HINT)
            change_hint(data, size, random);
        else if (kind == STATE)
            change_state(data, size, env_file_number(path + sizeof STORE, "hybrid-", &rest), random);
        else
            change_hybrid_segment(data, size, random);
    }
    memcpy(there, data, size);
    free(data);
}

/* --- using a store ------------------------------------------------------------------------------------------------ */

static const plsm_slice none;

static bool is_answer(plsm_status status, char *failure, size_t size, const char *what)
{
    if (status == PLSM_OK || status == PLSM_NOT_FOUND || status == PLSM_CORRUPT || status == PLSM_VERSION ||
        status == PLSM_READ_ONLY || status == PLSM_NO_SPACE)
        return true;
    snprintf(failure, size, "%s: %s: %s", what, plsm_status_name(status), plsm_message());
    return false;
}

/* Every key in order, and each by itself. */
static bool read_through(plsm *db, char *failure, size_t size)
{
    plsm_iterator *it = NULL;
    plsm_value value = {0};
    struct buf last = {0};
    bool right = true;
    plsm_status status = plsm_iterator_create(db, NULL, none, none, &it);
    if (status != PLSM_OK)
        return is_answer(status, failure, size, "iterator");
    for (plsm_iterator_first(it); plsm_iterator_valid(it) && right; plsm_iterator_next(it)) {
        plsm_slice key = plsm_iterator_key(it);
        right = last.size == 0 || slice_compare(buf_slice(&last), key) < 0;
        if (!right)
            snprintf(failure, size, "keys out of order");
        last.size = 0;
        right = right && buf_append(&last, key.data, key.size) == PLSM_OK &&
                is_answer(plsm_get(db, NULL, key, &value), failure, size, "get");
    }
    right = right && is_answer(plsm_iterator_status(it), failure, size, "iterator");
    for (plsm_iterator_last(it); plsm_iterator_valid(it) && right; plsm_iterator_previous(it))
        ;
    plsm_iterator_destroy(it);
    plsm_value_free(&value);
    buf_free(&last);
    return right;
}

static plsm_status open_again(struct env *image, const char *options, plsm **db)
{
    plsm_status status = plsm_close(*db);
    *db = NULL;
    return status == PLSM_OK ? plsm_open_env(image, STORE, 0, options, db) : status;
}

/* What is written now must be there, whatever was there before. */
static bool write_some(struct env *image, const char *options, plsm **db, char *failure, size_t size)
{
    static const char *const keys[] = {"a", "a key behind the damage", "z"};
    plsm_value value = {0};
    bool written[3], right = true;
    for (unsigned i = 0; i < 3; i++)
        written[i] = plsm_put(*db, slice_of(keys[i]), slice_of(keys[i]), i ? PLSM_SYNC : PLSM_NONE) == PLSM_OK;
    for (unsigned pass = 0; pass < 3 && right && *db; pass++) {
        for (unsigned i = 0; i < 3 && right; i++) {
            plsm_status status = plsm_get(*db, NULL, slice_of(keys[i]), &value);
            right = !written[i] || status == PLSM_CORRUPT ||
                    (status == PLSM_OK && slice_equal(value.value, slice_of(keys[i])));
        }
        if (!right)
            snprintf(failure, size, "what was written behind the damage is lost (pass %u)", pass);
        if (pass == 0)
            plsm_compact(*db, none, none);
        if (pass == 1 && right)
            right = is_answer(open_again(image, options, db), failure, size, "opening again");
    }
    plsm_value_free(&value);
    return right;
}

/* --- the key tree ------------------------------------------------------------------------------------------------- */

struct listed {
    struct key_node *node;
    plsm_slice key;
    uint64_t word;
};

static size_t make_key(struct random *random, uint8_t *out)
{
    size_t size = 1 + random_below(random, random_below(random, 4) ? 5 : 40);
    for (size_t i = 0; i < size; i++)
        out[i] = (uint8_t) "\0\1a\377"[random_below(random, 4)];
    return size;
}

static size_t place_in(const struct listed *list, size_t count, plsm_slice key)
{
    size_t at = 0;
    while (at < count && slice_compare(list[at].key, key) < 0)
        at++;
    return at;
}

/* What a walk from a key on shows is what the list has there. */
static bool walks_along(const struct key_tree *tree, const struct listed *list, size_t count, plsm_slice key, bool up)
{
    struct key_node *nodes[7];
    size_t at = place_in(list, count, key);
    size_t got = up ? key_tree_ascend(tree, key, false, nodes, 7) : key_tree_descend(tree, key, nodes, 7);
    if (got == 0 || got > 7)
        return got == 0 && (up ? at == count : at == 0);
    for (size_t i = 0; i < got; i++) {
        if (up ? at + i >= count : at < i + 1)
            return false;
        if (nodes[i] != list[up ? at + i : at - 1 - i].node)
            return false;
    }
    return true;
}

static bool change_tree(struct key_tree *tree, struct listed *list, size_t *count, uint8_t *bytes,
                        struct random *random)
{
    size_t size = make_key(random, bytes);
    plsm_slice key = slice(bytes, size);
    size_t at = place_in(list, *count, key);
    struct key_node *node = key_tree_find(tree, key);
    bool there = at < *count && slice_equal(list[at].key, key);
    if (there != (node != NULL) || (there && (node != list[at].node || atomic_load(&node->word) != list[at].word)))
        return false;
    if (there && random_below(random, 2)) {
        if (!key_tree_remove(tree, node))
            return false;
        memmove(list + at, list + at + 1, (--*count - at) * sizeof *list);
    } else if (!there && *count < TREE_KEYS) {
        uint64_t word = random_next(random) & ~UINT64_C(1);
        memmove(list + at + 1, list + at, ((*count)++ - at) * sizeof *list);
        node = key_tree_add(tree, key, word);
        if (!node)
            return false;
        list[at] = (struct listed){node, key_node_key(node), word};
    }
    return walks_along(tree, list, *count, key, true) && walks_along(tree, list, *count, key, false);
}

static bool run_tree(struct random *random, char *failure, size_t size)
{
    static struct listed list[TREE_KEYS + 1];
    uint8_t bytes[64];
    size_t count = 0;
    bool right = true;
    struct epoch *epoch = epoch_create();
    struct key_tree *tree = epoch ? key_tree_create(epoch, NULL) : NULL;
    for (unsigned i = 0; tree && i < TREE_STEPS && right; i++) {
        epoch_enter(epoch);
        right = change_tree(tree, list, &count, bytes, random);
        epoch_exit(epoch);
        if (i % 100 == 0)
            right = right && key_tree_check(tree) && key_tree_count(tree) == count;
    }
    key_tree_destroy(tree);
    epoch_destroy(epoch);
    if (!right)
        snprintf(failure, size, "the tree is not what the list is");
    return right;
}

/* --- rounds ------------------------------------------------------------------------------------------------------- */

static bool run_store(enum kind kind, struct random *random, uint64_t round, char *failure, size_t size)
{
    const struct subject *subject =
        &subjects[2 * random_below(random, STORES / 2) + (kind == SEGMENT || kind == HINT ? 0 : 1)];
    const char *path = pick_file(subject, kind, random);
    if (!path)
        return true;
    struct env *image = env_memory_crash(subject->env, subject->calls, ENV_CRASH_KEEP, round);
    change_file(image, path, kind, random);
    plsm *db = NULL;
    bool reads = random_below(random, 4) == 0;
    plsm_status status = plsm_open_env(image, STORE, reads ? PLSM_READ : 0, subject->options, &db);
    bool right = status == PLSM_NO_STORE || is_answer(status, failure, size, "opening");
    if (db && right)
        right =
            read_through(db, failure, size) && is_answer(plsm_check(db, NULL, NULL, NULL), failure, size, "checking");
    if (db && right && !reads)
        right = write_some(image, subject->options, &db, failure, size);
    plsm_close(db);
    env_memory_destroy(image);
    return right;
}

static bool run_round(uint64_t seed, uint64_t round, char *failure, size_t size)
{
    struct random random;
    char why[900] = "";
    random_seed(&random, seed * UINT64_C(0x9e3779b97f4a7c15) + round);
    enum kind kind = (enum kind)setting("FUZZ_KIND", random_below(&random, KINDS));
    bool right = kind == TREE ? run_tree(&random, why, sizeof why) : run_store(kind, &random, round, why, sizeof why);
    if (!right)
        snprintf(failure, size, "round %lu, kind %d: %s", (unsigned long)round, (int)kind, why);
    return right;
}

int main(void)
{
    for (unsigned i = 0; i < STORES; i++)
        subject_create(&subjects[i], i);
    return fuzz_run("mutated stores and rounds of key trees", run_round, GROUP, ROUND_SECONDS);
}
