/* Names of a range in their order, which iterators of one moment share. Collecting and sorting them takes a look at the
 * whole log; who lists a directory comes again for each part of it, and at last to hear that there is no more, mostly
 * with little written meanwhile. So the last one is kept while it is asked for, a second or two: it serves as it is
 * where nothing was written, and otherwise with what was, which stands at the end of the log. */
#include "base/alloc.h"
#include "log/hybrid_private.h"

#include "base/banned.h"

void listings_init(struct hybrid_listings *listings)
{
    mutex_init(&listings->lock);
}

static void listing_free(struct hybrid_listing *listing)
{
    if (!listing)
        return;
    live_entries_free(&listing->entries);
    mem_free(listing);
}

void listings_destroy(struct hybrid_listings *listings)
{
    listing_free(listings->last);
    listings->last = NULL;
    mutex_destroy(&listings->lock);
}

/* One user less; returns what is to be freed then. Under the lock. */
static struct hybrid_listing *drop(struct hybrid_listing *listing)
{
    return listing && --listing->users == 0 ? listing : NULL;
}

static struct hybrid_listing *listing_create(const struct hybrid_snapshot *snapshot, plsm_slice from, plsm_slice to)
{
    struct hybrid_listing *listing = mem_zalloc(sizeof *listing + from.size + to.size);
    if (!listing)
        return NULL;
    listing->at = snapshot->at;
    listing->commits = snapshot->commits;
    listing->from = slice(listing->bounds, from.size);
    listing->to = slice(listing->bounds + from.size, to.size);
    if (from.size)
        memcpy(listing->bounds, from.data, from.size);
    if (to.size)
        memcpy(listing->bounds + from.size, to.data, to.size);
    return listing;
}

/* The last one, if it is of this range, and of a moment from which the log tells all up to a snapshot. */
static struct hybrid_listing *take_last(struct hybrid *db, const struct hybrid_snapshot *snapshot, plsm_slice from,
                                        plsm_slice to)
{
    struct hybrid_listings *listings = &db->listings;
    mutex_lock(&listings->lock);
    struct hybrid_listing *last = listings->last;
    if (last && (last->at > snapshot->at || last->commits > snapshot->commits || last->at < snapshot->begin ||
                 !slice_equal(last->from, from) || !slice_equal(last->to, to)))
        last = NULL;
    if (last) {
        last->users++;
        last->used_ns = env_now_ns(db->env);
    }
    mutex_unlock(&listings->lock);
    return last;
}

/* Keeps one in place of the last. */
static void keep(struct hybrid *db, struct hybrid_listing *listing)
{
    struct hybrid_listings *listings = &db->listings;
    listing->users = 2;
    listing->used_ns = env_now_ns(db->env);
    mutex_lock(&listings->lock);
    struct hybrid_listing *gone = drop(listings->last);
    listings->last = listing;
    mutex_unlock(&listings->lock);
    listing_free(gone);
}

void listing_release(struct hybrid *db, struct hybrid_listing *listing)
{
    mutex_lock(&db->listings.lock);
    struct hybrid_listing *gone = drop(listing);
    mutex_unlock(&db->listings.lock);
    listing_free(gone);
}

plsm_status listing_take(struct hybrid *db, const struct hybrid_snapshot *snapshot, plsm_slice from, plsm_slice to,
                         struct hybrid_listing **out)
{
    struct hybrid_listing *last = take_last(db, snapshot, from, to), *listing = NULL;
    plsm_status status = PLSM_OK;
    uint64_t since = last ? last->at : snapshot->begin;
    if (last && last->commits == snapshot->commits) {
        *out = last;
        return PLSM_OK;
    }
    if (!(listing = listing_create(snapshot, from, to)))
        status = fail(PLSM_NO_MEMORY, "no memory for a listing");
    else if (last)
        status = collect_changed(db, snapshot, from, to, &last->entries, last->at, &listing->entries);
    else
        status = collect_live(db, snapshot, from, to, &listing->entries);
    listing_release(db, last);
    if (status != PLSM_OK) {
        listing_free(listing);
        return status;
    }
    if (!last) {
        count_add(&db->counters.sorted_listings, 1);
        count_add(&db->counters.sorted_names, listing->entries.count);
    }
    name_order_count(db, snapshot->at, snapshot->at - since);
    keep(db, listing);
    *out = listing;
    return PLSM_OK;
}

void listings_forget(struct hybrid *db, uint64_t unused_ns)
{
    struct hybrid_listings *listings = &db->listings;
    struct hybrid_listing *gone = NULL;
    mutex_lock(&listings->lock);
    if (listings->last && env_now_ns(db->env) - listings->last->used_ns >= unused_ns) {
        gone = drop(listings->last);
        listings->last = NULL;
    }
    mutex_unlock(&listings->lock);
    listing_free(gone);
}

uint64_t listings_bytes(struct hybrid *db)
{
    struct hybrid_listings *listings = &db->listings;
    mutex_lock(&listings->lock);
    uint64_t bytes = listings->last ? live_entries_bytes(&listings->last->entries) : 0;
    mutex_unlock(&listings->lock);
    return bytes;
}
