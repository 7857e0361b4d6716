/* The codec of attributes: sizes, round trips, and bytes that are not attributes. */
#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "base/bytes.h"
#include "base/random.h"
#include "fs/attr.h"

#include "base/banned.h"

static bool times_equal(struct timespec a, struct timespec b)
{
    return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
}

static bool attrs_equal(const struct attr *a, const struct attr *b)
{
    return a->ino == b->ino && a->mode == b->mode && a->uid == b->uid && a->gid == b->gid && a->rdev == b->rdev &&
           a->xattrs == b->xattrs && times_equal(a->mtime, b->mtime) && times_equal(a->ctime, b->ctime) &&
           times_equal(a->atime, b->atime);
}

START_TEST(test_sizes)
{
    struct timespec now = {1700000000, 123456789};
    struct attr attr = {.ino = 70000, .mode = 0100644, .mtime = now, .ctime = now, .atime = now}, back;
    uint8_t meta[ATTR_SIZE_MAX];
    ck_assert_uint_eq(attr_encode(&attr, meta), 2 + 3 + 8); /* root's */
    attr.uid = attr.gid = 1000;
    ck_assert_uint_eq(attr_encode(&attr, meta), 2 + 3 + 2 + 8); /* a user's */
    /* the worst case fits */
    attr = (struct attr){.ino = UINT64_MAX,
                         .mode = 0060421,
                         .uid = UINT32_MAX,
                         .gid = UINT32_MAX - 1,
                         .rdev = UINT64_MAX,
                         .xattrs = UINT64_MAX,
                         .mtime = {INT64_MIN, 999999999},
                         .ctime = {INT64_MAX, 0},
                         .atime = {0, 1}};
    size_t size = attr_encode(&attr, meta);
    ck_assert_uint_le(size, ATTR_SIZE_MAX);
    ck_assert_int_eq(attr_decode(slice(meta, size), &back), PLSM_OK);
    ck_assert(attrs_equal(&attr, &back));
}
END_TEST

/* The format is kept by stores: these bytes must mean this for ever. */
START_TEST(test_golden)
{
    static const uint8_t meta[] = {0x21, 0x07, 0x80, 0x80, 0x04, 0xe8, 0x07, 0x32, /* codes, ino, uid, gid */
                                   0x15, 0xcd, 0x5b, 0x07, 0x40, 0xfc, 0x54, 0x99, /* mtime */
                                   0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x80 /* ctime */};
    struct attr attr;
    ck_assert_int_eq(attr_decode(slice(meta, sizeof meta), &attr), PLSM_OK);
    ck_assert_uint_eq(attr.mode, 0100644);
    ck_assert_uint_eq(attr.ino, 65536);
    ck_assert_uint_eq(attr.uid, 1000);
    ck_assert_uint_eq(attr.gid, 50);
    ck_assert_int_eq(attr.mtime.tv_sec, 1700000000);
    ck_assert_int_eq(attr.mtime.tv_nsec, 123456789);
    ck_assert_int_eq(attr.ctime.tv_sec, 0);
    ck_assert_int_eq(attr.ctime.tv_nsec, 1);
    ck_assert(times_equal(attr.atime, attr.mtime));
    uint8_t again[ATTR_SIZE_MAX];
    ck_assert_uint_eq(attr_encode(&attr, again), sizeof meta);
    ck_assert_int_eq(memcmp(again, meta, sizeof meta), 0);
}
END_TEST

static struct timespec random_time(struct random *r)
{
    struct timespec t = {1700000000, 0};
    switch (random_below(r, 4)) {
    case 0:
        t.tv_sec = (int64_t)random_next(r);
        break;
    case 1:
        t.tv_sec = (int64_t)random_below(r, UINT64_C(4) << 33) - (INT64_C(2) << 33);
        break;
    case 2:
        t.tv_sec = (INT64_C(1) << 33) * (random_below(r, 2) ? 1 : -1) - (int64_t)random_below(r, 2);
        break;
    }
    if (random_below(r, 2))
        t.tv_nsec = (long)random_below(r, 1000000000);
    return t;
}

START_TEST(test_random)
{
    uint64_t seed = getenv("SEED") ? strtoull(getenv("SEED"), NULL, 0) : 1;
    static const uint32_t modes[] = {0100644, 0040755, 0120777, 0010644, 0060600, 0140700, 0106711};
    struct random r;
    random_seed(&r, seed);
    for (int round = 0; round < 30000; round++) {
        struct attr attr = {.ino = random_next(&r) >> random_below(&r, 64), .mtime = random_time(&r)}, back;
        attr.mode = random_below(&r, 2) ? modes[random_below(&r, 7)] : (uint32_t)random_below(&r, 65536);
        attr.uid = random_below(&r, 2) ? 0 : (uint32_t)(random_next(&r) >> (32 + random_below(&r, 32)));
        attr.gid = random_below(&r, 2) ? attr.uid : (uint32_t)(random_next(&r) >> (32 + random_below(&r, 32)));
        attr.ctime = random_below(&r, 2) ? attr.mtime : random_time(&r);
        attr.atime = random_below(&r, 2) ? attr.mtime : random_time(&r);
        attr.rdev = random_below(&r, 4) ? 0 : makedev(random_below(&r, 4096), random_below(&r, 1 << 20));
        uint8_t meta[ATTR_SIZE_MAX];
        size_t size = attr_encode(&attr, meta);
        ck_assert_int_eq(attr_decode(slice(meta, size), &back), PLSM_OK);
        ck_assert_msg(attrs_equal(&attr, &back), "seed %llu round %d", (unsigned long long)seed, round);
        /* every shorter one, and one more byte, is refused */
        uint8_t *exact = malloc(size + 1);
        memcpy(exact, meta, size);
        exact[size] = 0;
        for (size_t cut = 0; cut < size; cut++) {
            uint8_t *copy = malloc(cut + 1); /* so that the sanitizer sees reads behind the end */
            memcpy(copy + 1, meta, cut);
            ck_assert_int_ne(attr_decode(slice(copy + 1, cut), &back), PLSM_OK);
            free(copy);
        }
        ck_assert_int_eq(attr_decode(slice(exact, size + 1), &back), PLSM_CORRUPT);
        free(exact);
    }
}
END_TEST

/* Any bytes decode to an error or to attributes that encode. */
START_TEST(test_garbage)
{
    struct random r;
    random_seed(&r, 3);
    unsigned good = 0;
    for (int round = 0; round < 300000; round++) {
        uint8_t meta[40], again[ATTR_SIZE_MAX];
        struct attr attr;
        for (size_t i = 0; i < sizeof meta; i++)
            meta[i] = (uint8_t)random_next(&r);
        meta[0] = (uint8_t)(round % 16 ? 0x20 | (meta[0] & 31) : meta[0]);
        meta[1] &= round % 8 ? 63 | 128 : 255;
        if (attr_decode(slice(meta, random_below(&r, sizeof meta)), &attr) == PLSM_OK) {
            ck_assert_uint_le(attr_encode(&attr, again), ATTR_SIZE_MAX);
            good++;
        }
    }
    ck_assert_uint_gt(good, 100);
    static const uint8_t later[] = {0x41, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0}, flag[] = {0x21, 64, 1, 0, 0, 0, 0, 0, 0, 0, 0};
    struct attr attr;
    ck_assert_int_eq(attr_decode(slice(later, sizeof later), &attr), PLSM_VERSION);
    ck_assert_int_eq(attr_decode(slice(flag, sizeof flag), &attr), PLSM_VERSION);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("attr");
    TCase *tests = tcase_create("attr");
    tcase_set_timeout(tests, 120);
    tcase_add_test(tests, test_sizes);
    tcase_add_test(tests, test_golden);
    tcase_add_test(tests, test_random);
    tcase_add_test(tests, test_garbage);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
