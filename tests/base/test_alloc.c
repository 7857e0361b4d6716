/* Memory: large allocations, accounts, the failing hook. */
#include <check.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/random.h"
#include "tests/harness/resident.h"

#include "base/banned.h"

#if defined(__SANITIZE_ADDRESS__)
enum { HUGE_PAGES = 0 }; /* malloc gives everything then */
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
enum { HUGE_PAGES = 0 };
#else
enum { HUGE_PAGES = 1 };
#endif
#else
enum { HUGE_PAGES = 1 };
#endif

enum { PLACES = 200, ROUNDS = 3000, KIB = 1 << 10, MIB = 1 << 20 };

struct piece {
    uint8_t *memory;
    size_t size;
    uint8_t fill;
};

static size_t draw_size(struct random *random)
{
    switch (random_below(random, 4)) {
    case 0:
        return random_below(random, 4 * KIB);
    case 1:
        return random_below(random, 256 * KIB);
    case 2:
        return 64 * KIB * (1 + random_below(random, 16)) - random_below(random, 2);
    default:
        return random_below(random, 3 * MIB);
    }
}

static void check_fill(const struct piece *piece, size_t size)
{
    for (size_t i = 0; i < size; i += 997)
        ck_assert_uint_eq(piece->memory[i], piece->fill);
    if (size > 0)
        ck_assert_uint_eq(piece->memory[size - 1], piece->fill);
}

/* All kinds of sizes beside each other: nothing overlaps, zeroed memory is zero, the account comes back to zero. */
START_TEST(all_sizes)
{
    static struct piece pieces[PLACES];
    struct mem_account account = {0};
    struct random random;
    uint64_t seed = 20261126, bytes = 0;
    random_seed(&random, seed);
    mem_account_use(&account);
    for (unsigned round = 0; round < ROUNDS / (HUGE_PAGES ? 1 : 4); round++) {
        struct piece *piece = &pieces[random_below(&random, PLACES)];
        size_t size = draw_size(&random);
        check_fill(piece, piece->size);
        bool grow = random_below(&random, 3) == 0;
        if (grow) {
            size_t kept = size < piece->size ? size : piece->size;
            piece->memory = mem_realloc(piece->memory, size);
            ck_assert_ptr_nonnull(piece->memory);
            check_fill(piece, kept);
        } else {
            bool zeroed = random_below(&random, 2);
            mem_free(piece->memory);
            piece->memory = zeroed ? mem_zalloc(size) : mem_alloc(size);
            ck_assert_ptr_nonnull(piece->memory);
            for (size_t i = 0; zeroed && i < size; i++)
                ck_assert_uint_eq(piece->memory[i], 0);
        }
        bytes += size - piece->size;
        piece->size = size;
        piece->fill = (uint8_t)round;
        memset(piece->memory, piece->fill, size);
        ck_assert_int_ge(account.bytes, (int64_t)bytes);
        ck_assert_int_le(account.bytes, (int64_t)(bytes + bytes / 4 + PLACES * 64));
    }
    if (HUGE_PAGES)
        ck_assert_uint_gt(mem_unused(), 0);
    for (unsigned i = 0; i < PLACES; i++)
        mem_free(pieces[i].memory);
    mem_account_use(NULL);
    ck_assert_int_eq(account.bytes, 0);
    ck_assert_uint_le(mem_unused(), 2 * MIB);
}
END_TEST

/* What is large is where a huge page can be; what is larger than one begins with one. */
START_TEST(alignment)
{
    uint8_t *large = mem_alloc(100 * KIB), *larger = mem_alloc(5 * MIB);
    ck_assert(large && larger);
    if (HUGE_PAGES) {
        ck_assert_uint_eq((uintptr_t)large % (4 * KIB), 0);
        ck_assert_uint_eq((uintptr_t)larger % (2 * MIB), 0);
    }
    mem_free(large);
    mem_free(larger);
}
END_TEST

static unsigned changes;

static void note_change(struct mem_account *account)
{
    (void)account;
    changes++;
}

START_TEST(accounts_nest)
{
    struct mem_account outer = {.changed = note_change}, inner = {0};
    changes = 0;
    ck_assert_ptr_null(mem_account_use(&outer));
    void *a = mem_alloc(1000);
    struct mem_account *before = mem_account_use(&inner);
    ck_assert_ptr_eq(before, &outer);
    void *b = mem_map(8192);
    ck_assert_int_eq(inner.bytes, 8192);
    mem_account_use(NULL);
    void *c = mem_alloc(1000);
    mem_free(c);
    mem_account_use(&inner);
    mem_unmap(b, 8192);
    ck_assert_int_eq(inner.bytes, 0);
    mem_account_use(before);
    ck_assert_int_ge(outer.bytes, 1000);
    ck_assert_uint_eq(changes, 1);
    a = mem_realloc(a, 300 * KIB);
    ck_assert_int_ge(outer.bytes, 300 * KIB);
    ck_assert_int_le(outer.bytes, 310 * KIB);
    mem_free(a);
    ck_assert_int_eq(outer.bytes, 0);
    ck_assert_ptr_eq(mem_account_use(NULL), &outer);
    mem_free(NULL);
}
END_TEST

/* Its pages move, nothing is copied: what nobody touched is not there behind it either. */
START_TEST(growing)
{
    enum { STEPS = 6 };
    struct mem_account account = {0};
    size_t size = 3 * MIB;
    mem_account_use(&account);
    uint8_t *memory = mem_alloc(size);
    memory[0] = 1;
    memory[size - 1] = 2;
    uint64_t before = resident_bytes();
    for (unsigned i = 0; i < STEPS; i++) {
        memory = mem_realloc(memory, 2 * size);
        ck_assert_ptr_nonnull(memory);
        ck_assert(memory[0] == 1 && memory[size - 1] == i + 2);
        ck_assert(!HUGE_PAGES || (uintptr_t)memory % (2 * MIB) == 0);
        size *= 2;
        memory[size - 1] = (uint8_t)(i + 3);
    }
    ck_assert_int_ge(account.bytes, (int64_t)size);
    if (HUGE_PAGES)
        ck_assert_uint_lt(resident_bytes(), before + (STEPS + 2) * 2 * MIB);
    mem_free(memory);
    ck_assert_int_eq(account.bytes, 0);
    mem_account_use(NULL);
}
END_TEST

/* Where the kernel does not move them they are copied, and nothing is lost. */
START_TEST(not_moved)
{
    enum { SIZE = 4 * MIB };
    const struct rlimit limit = {SIZE, SIZE};
    uint8_t *memory = mem_alloc(SIZE);
    memset(memory, 7, SIZE);
    if (geteuid() == 0)
        ck_assert_int_eq(setuid(65534), 0); /* whom the limit binds */
    if (setrlimit(RLIMIT_MEMLOCK, &limit) != 0 || mlock(memory, SIZE) != 0)
        return;
    uint8_t *grown = mem_realloc(memory, 2 * SIZE);
    ck_assert_ptr_nonnull(grown);
    ck_assert(grown[0] == 7 && grown[SIZE - 1] == 7);
    memset(grown, 8, 2 * SIZE);
    grown = mem_realloc(grown, 4 * SIZE);
    ck_assert(grown[0] == 8 && grown[2 * SIZE - 1] == 8);
    mem_free(grown);
}
END_TEST

/* A realloc that fails leaves everything as it was. */
START_TEST(failing)
{
    struct mem_account account = {0};
    mem_account_use(&account);
    uint8_t *memory = mem_alloc(70 * KIB);
    memset(memory, 7, 70 * KIB);
    int64_t bytes = account.bytes;
    mem_fail_at(1);
    ck_assert_ptr_null(mem_realloc(memory, 700 * KIB));
    ck_assert_int_eq(account.bytes, bytes);
    mem_fail_at(1);
    ck_assert_ptr_null(mem_alloc(1 * MIB));
    mem_fail_at(0);
    ck_assert_int_eq(account.bytes, bytes);
    ck_assert_uint_eq(memory[70 * KIB - 1], 7);
    mem_free(memory);
    mem_account_use(NULL);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("alloc");
    TCase *tcase = tcase_create("alloc");
    tcase_set_timeout(tcase, 300);
    tcase_add_test(tcase, all_sizes);
    tcase_add_test(tcase, alignment);
    tcase_add_test(tcase, accounts_nest);
    tcase_add_test(tcase, growing);
    tcase_add_test(tcase, not_moved);
    tcase_add_test(tcase, failing);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
