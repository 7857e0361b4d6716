/* The table of nodes: paths, lookups and forgets in any order, names that move and go, against a simple model. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/env.h"
#include "base/random.h"
#include "fs/node.h"

#include "base/banned.h"

static void check_path(const struct node *node, const char *expected)
{
    struct path path;
    ck_assert_int_eq(node_path(node, &path), PLSM_OK);
    ck_assert_msg(slice_equal(path_slice(&path), slice_of(expected)), "%.*s, not %s", (int)path.size,
                  (const char *)path.bytes, expected);
}

static struct node *enter(struct node_table *table, struct node *parent, const char *piece)
{
    size_t size = strlen(piece);
    return node_enter(table, parent, slice(piece, size), size && piece[size - 1] == '/' ? NODE_DIRECTORY : 0);
}

START_TEST(test_paths)
{
    struct node_table table;
    ck_assert_int_eq(node_table_init(&table), PLSM_OK);
    struct node *a = enter(&table, &table.root, "a/"), *b = enter(&table, a, "b/"), *f = enter(&table, b, "f");
    check_path(&table.root, "");
    check_path(a, "a/");
    check_path(f, "a/b/f");
    ck_assert_ptr_eq(enter(&table, b, "f"), f);
    ck_assert_uint_eq(f->lookups, 2);
    ck_assert_ptr_ne(enter(&table, &table.root, "a"), a); /* the file beside the directory */
    /* a directory moves, and what is in it with it */
    tree_exclude(&table);
    node_move(&table, b, &table.root, node_piece(slice_of("c/")), 2);
    ck_assert_ptr_null(node_find(&table, a, slice_of("b/"), 0));
    ck_assert_ptr_eq(node_find(&table, &table.root, slice_of("c/"), 0), b);
    check_path(f, "c/f");
    /* a name that is gone keeps its node, and the name can be given again */
    node_remove(&table, f);
    ck_assert_ptr_null(node_find(&table, b, slice_of("f"), 0));
    struct node *g = enter(&table, b, "f");
    ck_assert_ptr_ne(g, f);
    tree_unexclude(&table);
    check_path(f, "c/f");
    node_forget(&table, f, 2);
    node_forget(&table, b, 1); /* still holds g */
    check_path(g, "c/f");
    node_forget(&table, g, 1);
    node_table_destroy(&table);
}
END_TEST

START_TEST(test_synthetic)
{
    struct node_table table;
    ck_assert_int_eq(node_table_init(&table), PLSM_OK);
    struct node *file = enter(&table, &table.root, "long"), *other = enter(&table, &table.root, "other");
    struct node *synthetic = node_enter(&table, &table.root, slice_of("long"), NODE_DIRECTORY | NODE_SYNTHETIC);
    ck_assert_ptr_ne(file, synthetic);
    tree_exclude(&table);
    ck_assert_ptr_eq(node_find(&table, &table.root, slice_of("long"), 0), file);
    ck_assert_ptr_eq(node_find(&table, &table.root, slice_of("long"), NODE_DIRECTORY | NODE_SYNTHETIC), synthetic);
    /* the file goes and another gets its name, beside the directory that has the same piece */
    node_remove(&table, file);
    ck_assert_ptr_null(node_find(&table, &table.root, slice_of("long"), 0));
    node_move(&table, other, &table.root, node_piece(slice_of("long")), 4);
    ck_assert_ptr_eq(node_find(&table, &table.root, slice_of("long"), 0), other);
    ck_assert_ptr_eq(node_find(&table, &table.root, slice_of("long"), NODE_SYNTHETIC), synthetic);
    tree_unexclude(&table);
    node_forget(&table, file, 1);
    node_forget(&table, other, 1);
    node_forget(&table, synthetic, 1);
    ck_assert_uint_eq(table.count, 0);
    node_table_destroy(&table);
}
END_TEST

START_TEST(test_long_path)
{
    struct node_table table;
    struct path path;
    char piece[251];
    ck_assert_int_eq(node_table_init(&table), PLSM_OK);
    memset(piece, 'x', sizeof piece);
    piece[250] = '/';
    struct node *node = &table.root;
    for (int i = 0; i < 32; i++)
        node = node_enter(&table, node, slice(piece, 251), NODE_DIRECTORY);
    ck_assert_int_eq(node_path(node, &path), PLSM_OK);
    ck_assert_uint_eq(path.size, 32 * 251);
    struct node *last = node_enter(&table, node, slice(piece, PLSM_KEY_MAX - 32 * 251), 0);
    ck_assert_int_eq(node_path(last, &path), PLSM_OK);
    ck_assert_uint_eq(path.size, PLSM_KEY_MAX);
    last = node_enter(&table, node, slice(piece, PLSM_KEY_MAX - 32 * 251 + 1), 0);
    ck_assert_int_eq(node_path(last, &path), PLSM_TOO_LARGE);
    node_table_destroy(&table);
}
END_TEST

/* Pieces that do not fit behind their node: of any size, and given by a move. */
START_TEST(test_long_pieces)
{
    enum { SIZE = 8000 };
    static char piece[SIZE];
    struct node_table table;
    memset(piece, 'y', SIZE);
    ck_assert_int_eq(node_table_init(&table), PLSM_OK);
    for (int directory = 0; directory < 2; directory++)
        for (size_t size = 0; size <= SIZE; size += size < 600 ? 1 : 1850) {
            struct node *node = node_enter(&table, &table.root, slice(piece, size), directory ? NODE_DIRECTORY : 0);
            for (size_t other = 0; other <= SIZE; other = 3 * other + 1) {
                ck_assert(slice_equal(node_name(node), slice(piece, size)));
                ck_assert_ptr_eq(node_find(&table, &table.root, slice(piece, size), 0), node);
                if (other == size)
                    continue;
                tree_exclude(&table);
                node_move(&table, node, &table.root, node_piece(slice(piece, other)), other);
                ck_assert(slice_equal(node_name(node), slice(piece, other)));
                ck_assert_ptr_null(node_find(&table, &table.root, slice(piece, size), 0));
                ck_assert_ptr_eq(node_find(&table, &table.root, slice(piece, other), 0), node);
                ck_assert(table.away_bytes == 0 || table.away_bytes == other);
                node_move(&table, node, &table.root, node_piece(slice(piece, size)), size);
                tree_unexclude(&table);
            }
            node_forget(&table, node, 1);
            ck_assert_uint_eq(table.away_bytes, 0);
        }
    ck_assert_uint_eq(table.slots.used_count, 0);
    node_table_destroy(&table);
}
END_TEST

START_TEST(test_no_memory)
{
    static char piece[8000];
    bool enough = false;
    uint64_t nth = 1;
    for (; !enough; nth++) {
        struct node_table table;
        mem_fail_at(nth);
        plsm_status status = node_table_init(&table);
        if (status != PLSM_OK) {
            ck_assert_int_eq(status, PLSM_NO_MEMORY);
            continue;
        }
        struct node *file = enter(&table, &table.root, "f");
        struct node *other = node_enter(&table, &table.root, slice(piece, sizeof piece), 0);
        mem_fail_at(0);
        enough = file && other;
        ck_assert_uint_eq(table.count, (file != NULL) + (other != NULL));
        ck_assert_uint_eq(table.root.children, table.count);
        file = enter(&table, &table.root, "f");
        other = node_enter(&table, &table.root, slice(piece, sizeof piece), 0);
        check_path(file, "f");
        ck_assert(slice_equal(node_name(other), slice(piece, sizeof piece)));
        node_table_destroy(&table);
    }
    ck_assert_uint_gt(nth, 4); /* the table, its regions, a region, the long piece */
}
END_TEST

/* A tree of up to 3 levels, entered, moved, removed and forgotten at random. The model knows each live node's path. */
enum { MODEL_NODES = 300 };
struct model_node {
    struct node *node;
    int parent; /* -1: the root */
    unsigned lookups;
    bool directory, gone;
    char piece[64];
};

static void model_path(const struct model_node *model, int at, char *out, size_t room)
{
    size_t used = 0;
    out[0] = 0;
    for (; at >= 0; at = model[at].parent) {
        size_t size = strlen(model[at].piece);
        ck_assert_uint_lt(used + size, room);
        memmove(out + size, out, used + 1);
        memcpy(out, model[at].piece, size);
        used += size;
    }
}

static bool model_has_children(const struct model_node *model, int at)
{
    for (int i = 0; i < MODEL_NODES; i++)
        if (model[i].node && model[i].parent == at)
            return true;
    return false;
}

static int model_find(const struct model_node *model, int parent, const char *piece)
{
    for (int i = 0; i < MODEL_NODES; i++)
        if (model[i].node && !model[i].gone && model[i].parent == parent && strcmp(model[i].piece, piece) == 0)
            return i;
    return -1;
}

static int model_depth(const struct model_node *model, int at)
{
    int depth = 0;
    for (; at >= 0; at = model[at].parent)
        depth++;
    return depth;
}

START_TEST(test_random)
{
    static struct model_node model[MODEL_NODES];
    uint64_t seed = getenv("SEED") ? strtoull(getenv("SEED"), NULL, 0) : 1;
    struct random r;
    struct node_table table;
    random_seed(&r, seed);
    ck_assert_int_eq(node_table_init(&table), PLSM_OK);
    for (int round = 0; round < 100000; round++) {
        int at = (int)random_below(&r, MODEL_NODES), parent = (int)random_below(&r, MODEL_NODES + 1) - 1;
        bool parent_fits = parent < 0 || (parent != at && model[parent].node && model[parent].directory &&
                                          !model[parent].gone && model_depth(model, parent) < 3);
        struct node *parent_node = parent < 0 ? &table.root : model[parent].node;
        char piece[64];
        bool directory = random_below(&r, 2);
        int name = (int)random_below(&r, 20);
        snprintf(piece, sizeof piece, "%0*d%s", 3 * name + 1, name, directory ? "/" : "");
        switch (random_below(&r, 5)) {
        case 0:
        case 1: /* look up */
            if (!parent_fits)
                break;
            int known = model_find(model, parent, piece);
            if (known < 0 && model[at].node)
                break;
            struct node *node = enter(&table, parent_node, piece);
            if (known < 0) {
                model[at] = (struct model_node){.node = node, .parent = parent, .directory = directory};
                memcpy(model[at].piece, piece, sizeof piece);
                known = at;
            }
            ck_assert_ptr_eq(node, model[known].node);
            model[known].lookups++;
            break;
        case 2: /* forget some; what has children stays */
            if (!model[at].node || !model[at].lookups)
                break;
            unsigned count = 1 + (unsigned)random_below(&r, model[at].lookups);
            if (count == model[at].lookups && model_has_children(model, at))
                break;
            model[at].lookups -= count;
            node_forget(&table, model[at].node, count);
            if (!model[at].lookups)
                model[at].node = NULL;
            break;
        case 3: /* rename, where nothing is */
            if (!model[at].node || model[at].gone || model[at].directory || !parent_fits || directory ||
                model_find(model, parent, piece) >= 0)
                break;
            tree_exclude(&table);
            node_move(&table, model[at].node, parent_node, node_piece(slice_of(piece)), strlen(piece));
            tree_unexclude(&table);
            model[at].parent = parent;
            memcpy(model[at].piece, piece, sizeof piece);
            break;
        case 4: /* remove */
            if (!model[at].node || model[at].gone || model_has_children(model, at) || random_below(&r, 4))
                break;
            tree_exclude(&table);
            node_remove(&table, model[at].node);
            tree_unexclude(&table);
            model[at].gone = true;
            break;
        }
        if (model[at].node) {
            char expected[256];
            model_path(model, at, expected, sizeof expected);
            check_path(model[at].node, expected);
        }
    }
    size_t live = 0;
    for (int i = 0; i < MODEL_NODES; i++)
        live += model[i].node && !model[i].gone;
    ck_assert_uint_eq(table.count, live);
    ck_assert_uint_gt(live, 20);
    for (bool again = true; again;) { /* children first, as the kernel does */
        again = false;
        for (int i = 0; i < MODEL_NODES; i++)
            if (model[i].node && !model_has_children(model, i)) {
                node_forget(&table, model[i].node, model[i].lookups);
                model[i].node = NULL;
                again = true;
            }
    }
    ck_assert_uint_eq(table.count, 0);
    node_table_destroy(&table);
}
END_TEST

/* Many threads look the same names up and forget them; one of them renames meanwhile. */
struct worker {
    struct node_table *table;
    uint64_t seed;
    struct env_thread *thread;
};

static void work(void *arg)
{
    struct worker *worker = arg;
    struct random r;
    random_seed(&r, worker->seed);
    for (int i = 0; i < 20000; i++) {
        struct path path;
        char piece[16];
        snprintf(piece, sizeof piece, "d%d/", (int)random_below(&r, 4));
        tree_share(worker->table);
        struct node *directory = enter(worker->table, &worker->table->root, piece);
        snprintf(piece, sizeof piece, "f%d", (int)random_below(&r, 100));
        struct node *file = enter(worker->table, directory, piece);
        if (node_path(file, &path) != PLSM_OK || path.size < 5)
            abort();
        tree_unshare(worker->table);
        if (random_below(&r, 10) == 0) {
            tree_exclude(worker->table);
            if (!(file->flags & NODE_GONE))
                node_remove(worker->table, file);
            tree_unexclude(worker->table);
        }
        node_forget(worker->table, file, 1);
        node_forget(worker->table, directory, 1);
    }
}

START_TEST(test_threads)
{
    struct node_table table;
    struct worker workers[4];
    ck_assert_int_eq(node_table_init(&table), PLSM_OK);
    for (unsigned i = 0; i < 4; i++) {
        workers[i] = (struct worker){.table = &table, .seed = i};
        ck_assert_int_eq(env_thread_start(env_posix(), work, &workers[i], &workers[i].thread), PLSM_OK);
    }
    for (unsigned i = 0; i < 4; i++)
        env_thread_join(workers[i].thread);
    ck_assert_uint_eq(table.count, 0);
    ck_assert_uint_eq(table.root.children, 0);
    node_table_destroy(&table);
}
END_TEST

/* Threads that have the tree lock, alone or not, for so long that others go to sleep over it, or for a moment. */
struct lock_worker {
    struct node_table *table;
    uint64_t seed;
    unsigned *first, *second, done; /* the first two are equal whenever nobody has the lock alone */
    struct env_thread *thread;
};

static void work_with_lock(void *arg)
{
    struct lock_worker *worker = arg;
    struct random r;
    random_seed(&r, worker->seed);
    for (int i = 0; i < 3000; i++) {
        bool alone = random_below(&r, 3) == 0;
        (alone ? tree_exclude : tree_share)(worker->table);
        unsigned first = *worker->first;
        if (random_below(&r, 30) == 0)
            env_sleep_ns(env_posix(), 100000);
        if (*worker->second != first)
            abort();
        if (alone) {
            *worker->first = first + 1;
            *worker->second = first + 1;
            worker->done++;
        }
        (alone ? tree_unexclude : tree_unshare)(worker->table);
    }
}

START_TEST(test_tree_lock)
{
    struct node_table table;
    struct lock_worker workers[6];
    unsigned first = 0, second = 0, done = 0;
    ck_assert_int_eq(node_table_init(&table), PLSM_OK);
    for (unsigned i = 0; i < 6; i++) {
        workers[i] = (struct lock_worker){.table = &table, .seed = i, .first = &first, .second = &second};
        ck_assert_int_eq(env_thread_start(env_posix(), work_with_lock, &workers[i], &workers[i].thread), PLSM_OK);
    }
    for (unsigned i = 0; i < 6; i++) {
        env_thread_join(workers[i].thread);
        done += workers[i].done;
    }
    ck_assert_uint_eq(first, done);
    ck_assert_uint_eq(second, done);
    ck_assert_uint_eq(atomic_load(&table.tree.state), 0);
    ck_assert_uint_eq(atomic_load(&table.tree.sleepers), 0);
    node_table_destroy(&table);
}
END_TEST

/* Memory goes back to the system while threads enter nodes, in rounds of more than node_trim waits for, and forget
 * them, but for some at the beginning: others in each block would keep all blocks. */
enum { TRIM_ROUNDS = 12, ROUND_NODES = 20000, ROUND_KEEPS = 200, NAME_SIZE = 640 };
struct trim_worker {
    struct node_table *table;
    int number;
    struct node *nodes[ROUND_NODES];
    struct env_thread *thread;
};
struct trimmer {
    struct node_table *table;
    _Atomic bool stop;
    struct env_thread *thread;
};

/* Of lengths that lie in different blocks, and some too long for a slot. */
static void trim_name(char name[NAME_SIZE], int worker, int round, int i)
{
    snprintf(name, NAME_SIZE, "%0*d.%d.%d", i % 1000 == 0 ? 600 : 5 + i % 40, i, worker, round);
}

static void enter_and_forget(void *arg)
{
    struct trim_worker *worker = arg;
    struct path path;
    char name[NAME_SIZE];
    for (int round = 0; round < TRIM_ROUNDS; round++) {
        for (int i = 0; i < ROUND_NODES; i++) {
            trim_name(name, worker->number, round, i);
            if (!(worker->nodes[i] = node_enter(worker->table, &worker->table->root, slice_of(name), 0)))
                abort();
        }
        for (int i = 0; i < ROUND_NODES; i++) {
            trim_name(name, worker->number, round, i);
            if (node_path(worker->nodes[i], &path) != PLSM_OK || !slice_equal(path_slice(&path), slice_of(name)))
                abort();
            if (i >= ROUND_KEEPS)
                node_forget(worker->table, worker->nodes[i], 1);
        }
    }
}

static void trim(void *arg)
{
    struct trimmer *trimmer = arg;
    while (!atomic_load(&trimmer->stop))
        node_trim(trimmer->table);
}

START_TEST(test_trim_beside)
{
    enum { WORKERS = 3 };
    static struct trim_worker workers[WORKERS];
    struct node_table table;
    struct trimmer trimmer = {.table = &table};
    char name[NAME_SIZE];
    size_t kept = 0;
    ck_assert_int_eq(node_table_init(&table), PLSM_OK);
    ck_assert_int_eq(env_thread_start(env_posix(), trim, &trimmer, &trimmer.thread), PLSM_OK);
    for (int w = 0; w < WORKERS; w++) {
        workers[w].table = &table;
        workers[w].number = w;
        ck_assert_int_eq(env_thread_start(env_posix(), enter_and_forget, &workers[w], &workers[w].thread), PLSM_OK);
    }
    for (int w = 0; w < WORKERS; w++)
        env_thread_join(workers[w].thread);
    atomic_store(&trimmer.stop, true);
    env_thread_join(trimmer.thread);
    ck_assert_uint_lt(table.freed, ROUND_NODES * TRIM_ROUNDS); /* of three times as many: it did go back */
    for (int w = 0; w < WORKERS; w++)
        for (int round = 0; round < TRIM_ROUNDS; round++)
            for (int i = 0; i < ROUND_NODES; i++) {
                trim_name(name, w, round, i);
                struct node *node = node_hold(&table, &table.root, slice_of(name), 0);
                ck_assert_msg(!node == (i >= ROUND_KEEPS), "%s", name);
                if (!node)
                    continue;
                check_path(node, name);
                ck_assert_uint_eq(node->lookups, 2);
                kept++;
            }
    ck_assert_uint_eq(node_count(&table), kept);
    node_table_destroy(&table);
}
END_TEST

/* A million files that were listed are to cost less than 100 MB, also where names are long. */
START_TEST(test_small)
{
    enum { NODES = 100000 };
    static const struct {
        int name_size, most;
    } cases[] = {{8, 40}, {20, 50}, {40, 70}, {60, 90}};
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        struct node_table table;
        char piece[64];
        ck_assert_int_eq(node_table_init(&table), PLSM_OK);
        for (int i = 0; i < NODES; i++) {
            snprintf(piece, sizeof piece, "%0*d", cases[c].name_size, i);
            ck_assert_ptr_nonnull(node_enter(&table, &table.root, slice_of(piece), 0));
        }
        ck_assert_uint_lt(node_bytes(&table) / NODES, cases[c].most);
        ck_assert_uint_gt(node_bytes(&table) / NODES, cases[c].name_size + 20);
        node_table_destroy(&table);
    }
}
END_TEST

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__) /* which have allocators of their own */
static long resident_pages(void)
{
    long all = 0, resident = 0;
    FILE *file = fopen("/proc/self/statm", "re");
    ck_assert(file && fscanf(file, "%ld %ld", &all, &resident) == 2);
    fclose(file);
    return resident;
}

/* Also where a node that stays lies behind those that go. */
START_TEST(test_memory_comes_back)
{
    enum { NODES = 200000 };
    static struct node *nodes[NODES + 1];
    struct node_table table;
    char piece[64];
    long first = resident_pages();
    ck_assert_int_eq(node_table_init(&table), PLSM_OK);
    for (int i = 0; i <= NODES; i++) {
        snprintf(piece, sizeof piece, "%060d", i);
        nodes[i] = node_enter(&table, &table.root, slice_of(piece), 0);
        ck_assert_ptr_nonnull(nodes[i]);
    }
    long before = resident_pages(), took = (before - first) * 4096 / NODES;
    ck_assert_msg(took < 108, "%ld bytes for each node, and 8 for its place in the array", took);
    for (int i = 0; i < NODES; i++)
        node_forget(&table, nodes[i], 1);
    node_trim(&table);
    long back = (before - resident_pages()) * 4096 / NODES;
    ck_assert_msg(back > 75, "%ld bytes for each node came back", back);
    ck_assert_ptr_eq(node_hold(&table, &table.root, slice_of(piece), 0), nodes[NODES]);
    node_table_destroy(&table);
}
END_TEST
#endif

int main(void)
{
    Suite *suite = suite_create("node");
    TCase *tests = tcase_create("node");
    tcase_set_timeout(tests, 120);
    tcase_add_test(tests, test_paths);
    tcase_add_test(tests, test_synthetic);
    tcase_add_test(tests, test_long_path);
    tcase_add_test(tests, test_long_pieces);
    tcase_add_test(tests, test_no_memory);
    tcase_add_test(tests, test_random);
    tcase_add_test(tests, test_threads);
    tcase_add_test(tests, test_tree_lock);
    tcase_add_test(tests, test_trim_beside);
    tcase_add_test(tests, test_small);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
    tcase_add_test(tests, test_memory_comes_back);
#endif
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_set_fork_status(runner, CK_NOFORK);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
