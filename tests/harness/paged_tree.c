/* The tree whose pages are known. See paged_tree.h. */
#include "tests/harness/paged_tree.h"

#include <check.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/env_memory.h"
#include "tests/harness/statistic.h"

#include "base/banned.h"

struct paged paged;

const struct simulation_options paged_device = {.read_latency_us = 100,
                                                .request_overhead_ns = 2000,
                                                .queue_depth = 8,
                                                .sequential_discount_percent = 90,
                                                .read_bytes_per_s = 1000000000,
                                                .write_bytes_per_s = 500000000,
                                                .cache_bytes = 8 << 20};

struct lsm_options paged_options(enum lsm_index index)
{
    struct lsm_options o;
    lsm_options_default(&o);
    o.env = paged.env;
    o.create = true;
    o.index = index;
    o.cache_size = 1 << 20; /* all pages: what the engine has in memory must make no difference */
    o.filter_bits = 16;
    o.filter_young = false;
    o.l0_compact = 64;
    o.l0_slowdown = o.l0_stop = 100;
    o.background = 0;
    o.simulate = true;
    o.simulation = paged_device;
    return o;
}

void paged_open(const struct lsm_options *o)
{
    ck_assert_msg(lsm_open("/s", o, &paged.db) == PLSM_OK, "%s", plsm_message());
}

plsm_slice paged_key(unsigned i, char *text)
{
    snprintf(text, 64, "\2key-%07u", i * 3);
    return slice_of(text);
}

void paged_put(plsm_slice key, plsm_slice bytes)
{
    struct batch batch = {0};
    ck_assert_int_eq(batch_add(&batch, BATCH_PUT, *(const uint8_t *)key.data,
                               slice((const uint8_t *)key.data + 1, key.size - 1), (plsm_slice){0}, bytes),
                     PLSM_OK);
    ck_assert_msg(lsm_write(paged.db, &batch, NULL, NULL, false) == PLSM_OK, "%s", plsm_message());
    batch_free(&batch);
}

void paged_fill(size_t value_bytes)
{
    char text[64], bytes[4096];
    memset(bytes, 'v', sizeof bytes);
    for (unsigned i = 0; i < PAGED_KEYS; i++)
        paged_put(paged_key(i, text), slice(bytes, value_bytes));
    ck_assert_int_eq(lsm_flush(paged.db), PLSM_OK);
}

void paged_start(const struct lsm_options *o)
{
    paged_open(o);
    paged_fill(PAGED_SMALL);
    lsm_statistics_reset(paged.db);
}

void paged_stop(void)
{
    lsm_value_free(&paged.value);
    ck_assert_int_eq(lsm_close(paged.db), PLSM_OK);
    env_memory_destroy(paged.env);
}

struct run *paged_run(size_t i)
{
    return paged.db->version->levels[0].runs[i];
}

struct run_body *paged_body(struct run *run)
{
    struct run_body *body = NULL;
    ck_assert_int_eq(run_open(run, &body), PLSM_OK);
    return body;
}

uint32_t paged_unit(unsigned i)
{
    char text[64];
    const struct run_traditional *t = NULL;
    ck_assert_int_eq(run_traditional(paged_run(0), paged_body(paged_run(0)), &t), PLSM_OK);
    return fences_find(t->fences, paged_key(i, text));
}

void paged_choose(unsigned *keys, unsigned count)
{
    uint32_t unit = UINT32_MAX;
    unsigned chosen = 0;
    for (unsigned i = PAGED_KEYS; i-- > 0 && chosen < count;)
        if (paged_unit(i) != unit) {
            unit = paged_unit(i);
            keys[chosen++] = i;
        }
    ck_assert_uint_eq(chosen, count);
}

struct simulated_account paged_account(enum simulation_side side)
{
    struct simulated_account out;
    simulated_account(paged.db->context.simulated, side, &out);
    return out;
}

static void charged(enum simulation_side side, uint64_t random, uint64_t sequential, uint64_t hits, uint64_t read_ns)
{
    struct simulation_totals t = paged_account(side).totals;
    ck_assert_msg(t.random == random && t.sequential == sequential && t.hits == hits && t.read_ns == read_ns &&
                      t.reads == random + sequential,
                  "side %d: random %" PRIu64 ", sequential %" PRIu64 ", hits %" PRIu64 ", ns %" PRIu64
                  " instead of %" PRIu64 ", %" PRIu64 ", %" PRIu64 ", %" PRIu64,
                  side, t.random, t.sequential, t.hits, t.read_ns, random, sequential, hits, read_ns);
}

void paged_charged(uint64_t random, uint64_t sequential, uint64_t hits, uint64_t read_ns)
{
    charged(SIM_ACTUAL, random, sequential, hits, read_ns);
    charged(SIM_TRADITIONAL, random, sequential, hits, read_ns);
    lsm_statistics_reset(paged.db);
}

void paged_get(plsm_slice key, plsm_status expected)
{
    ck_assert_int_eq(lsm_get(paged.db, NULL, key, false, &paged.value), expected);
}

double paged_statistic(const char *name)
{
    return statistic(paged.db, name);
}
