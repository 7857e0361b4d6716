#include "edit_model.h"

#include "base/alloc.h"
#include "base/checksum.h"

#include "base/banned.h"

const char *edit_model_key(int key)
{
    static const char *const names[MODEL_KEYS] = {"alpha", "beta/1", "beta/2", "gamma"};
    return names[key];
}

static plsm_slice key_of(int key)
{
    return slice_of(edit_model_key(key));
}

static void *buffer(void)
{
    void *data = mem_zalloc(MODEL_SIZE_MAX);
    ck_assert_ptr_nonnull(data);
    return data;
}

void edit_model_create(struct edit_model *model, plsm *db, uint64_t seed, size_t size_max)
{
    *model = (struct edit_model){.db = db, .size_max = size_max};
    random_seed(&model->random, seed);
    for (int i = 0; i < MODEL_KEYS; i++)
        model->keys[i].data = buffer();
    for (int i = 0; i < MODEL_EDITS; i++)
        model->edits[i].value.data = buffer();
}

void edit_model_destroy(struct edit_model *model)
{
    for (int i = 0; i < MODEL_EDITS; i++) {
        plsm_edit_close(model->edits[i].edit);
        mem_free(model->edits[i].value.data);
    }
    for (int i = 0; i < MODEL_KEYS; i++)
        mem_free(model->keys[i].data);
}

static void copy_value(struct model_value *to, const struct model_value *from)
{
    memcpy(to->data, from->data, MODEL_SIZE_MAX);
    to->size = from->size;
    to->present = from->present;
    to->meta = from->meta;
    to->large = from->large;
    to->pieces = from->pieces;
}

static void clear_value(struct model_value *value)
{
    memset(value->data, 0, MODEL_SIZE_MAX);
    value->size = 0;
    value->present = false;
    value->meta = 0;
    value->large = false;
    value->pieces = 0;
}

/* The pieces that [from, to) lies in, or with `whole` those that lie in it. */
static uint32_t pieces_of(size_t from, size_t to, bool whole)
{
    size_t first = whole ? (from + EXTENT_SIZE - 1) / EXTENT_SIZE : from / EXTENT_SIZE;
    size_t end = whole ? to / EXTENT_SIZE : (to + EXTENT_SIZE - 1) / EXTENT_SIZE;
    return first < end ? ((1u << end) - 1) & ~((1u << first) - 1) : 0;
}

/* The value is about to reach up to `end`. */
static void grow(struct model_value *value, size_t end)
{
    if (!value->large && end > PLSM_INLINE_MAX) {
        value->large = true;
        value->pieces = value->size > 0;
    }
}

static uint64_t stored(const struct model_value *value)
{
    uint64_t pieces = (uint64_t)__builtin_popcount(value->pieces);
    return value->large ? stored_of(pieces, value->size) : value->size;
}

static uint64_t below(struct edit_model *model, uint64_t bound)
{
    return random_below(&model->random, bound);
}

static plsm_durability durability(struct edit_model *model)
{
    model->changed = true;
    model->synced = below(model, 3) == 0;
    return model->synced ? PLSM_SYNC : PLSM_NONE;
}

/* A size or an offset: often near where something changes. */
static size_t place(struct edit_model *model)
{
    size_t near = (size_t)(below(model, model->size_max / EXTENT_SIZE + 1) * EXTENT_SIZE);
    size_t at = 0;
    switch (below(model, 6)) {
    case 0:
        at = (size_t)below(model, 5000);
        break;
    case 1:
        at = near;
        break;
    case 2:
        at = near + (size_t)below(model, 9) - 4;
        break;
    case 3:
        at = PLSM_INLINE_MAX - 2 + (size_t)below(model, 5);
        break;
    default:
        at = (size_t)below(model, model->size_max + 1);
        break;
    }
    return at <= model->size_max ? at : model->size_max;
}

static void open_edit(struct edit_model *model, struct model_edit *e)
{
    e->key = (int)below(model, MODEL_KEYS);
    struct model_value *published = &model->keys[e->key];
    if (below(model, 4) == 0) {
        assert_ok(plsm_edit_open(model->db, key_of(e->key), PLSM_EDIT_NEW, &e->edit));
        clear_value(&e->value);
        ck_assert(plsm_edit_dirty(e->edit));
    } else if (!published->present) {
        assert_status(plsm_edit_open(model->db, key_of(e->key), 0, &e->edit), PLSM_NOT_FOUND);
    } else {
        assert_ok(plsm_edit_open(model->db, key_of(e->key), 0, &e->edit));
        copy_value(&e->value, published);
        ck_assert(!plsm_edit_dirty(e->edit));
    }
}

static void write_edit(struct edit_model *model, struct model_edit *e)
{
    static uint8_t data[MODEL_SIZE_MAX];
    size_t offset = place(model);
    if (below(model, 3) == 0) /* append */
        offset = e->value.size;
    size_t size = below(model, 3) ? (size_t)below(model, 10000) : (size_t)below(model, 400000);
    if (below(model, 8) == 0) {
        offset -= offset % EXTENT_SIZE;
        size = EXTENT_SIZE * (1 + (size_t)below(model, 4));
    }
    if (below(model, 3) == 0) { /* whole pages */
        offset -= offset % 4096;
        size = 4096 * (1 + (size_t)below(model, 5));
    }
    if (size > model->size_max - offset)
        size = model->size_max - offset;
    fixture_fill(data, size, random_next(&model->random));
    assert_ok(plsm_edit_write(e->edit, offset, data, size));
    memcpy(e->value.data + offset, data, size);
    if (size > 0)
        grow(&e->value, offset + size);
    if (e->value.large && size > 0)
        e->value.pieces |= pieces_of(offset, offset + size, false);
    if (size > 0 && e->value.size < offset + size)
        e->value.size = offset + size;
}

static void truncate_edit(struct edit_model *model, struct model_edit *e)
{
    size_t size = below(model, 6) == 0 ? 0 : place(model);
    assert_ok(plsm_edit_truncate(e->edit, size));
    if (size < e->value.size)
        memset(e->value.data + size, 0, e->value.size - size);
    grow(&e->value, size);
    e->value.pieces &= pieces_of(0, size, false);
    e->value.large = e->value.large && size > 0;
    e->value.size = size;
}

static void punch_edit(struct edit_model *model, struct model_edit *e)
{
    size_t offset = place(model), end = below(model, 4) ? place(model) : model->size_max + 1000;
    if (end < offset) {
        size_t swap = end;
        end = offset;
        offset = swap;
    }
    assert_ok(plsm_edit_punch(e->edit, offset, end - offset));
    if (end >= e->value.size) /* nothing is behind the last piece */
        end = (e->value.size + EXTENT_SIZE - 1) / EXTENT_SIZE * EXTENT_SIZE;
    if (offset < e->value.size) {
        size_t bytes_end = end < e->value.size ? end : e->value.size;
        memset(e->value.data + offset, 0, bytes_end - offset);
        e->value.pieces &= ~pieces_of(offset, end, true);
    }
}

/* Where data and holes are said to be. */
static void seek_edit(struct edit_model *model, struct model_edit *e)
{
    uint64_t stored_bytes = 0;
    size_t offset = place(model), size = e->value.size;
    assert_ok(plsm_edit_stored(e->edit, &stored_bytes));
    ck_assert_uint_eq(stored_bytes, stored(&e->value));
    for (int hole = 0; hole < 2; hole++) {
        uint64_t found = 0;
        size_t expected = offset;
        while (expected < size && (e->value.large ? !(e->value.pieces >> expected / EXTENT_SIZE & 1) : 0) != hole)
            expected = (expected / EXTENT_SIZE + 1) * EXTENT_SIZE;
        if (expected > size)
            expected = size;
        if (offset >= size || (expected == size && !hole)) {
            assert_status(plsm_edit_seek(e->edit, offset, hole, &found), PLSM_NOT_FOUND);
            continue;
        }
        assert_ok(plsm_edit_seek(e->edit, offset, hole, &found));
        ck_assert_uint_eq(found, e->value.large || !hole ? expected : size);
    }
}

static void read_edit(struct edit_model *model, struct model_edit *e)
{
    static uint8_t data[MODEL_SIZE_MAX];
    bool all = below(model, 3) == 0;
    size_t offset = all ? 0 : place(model), size = all ? MODEL_SIZE_MAX : (size_t)below(model, 300000), got = 0;
    ck_assert_uint_eq(plsm_edit_size(e->edit), e->value.size);
    assert_ok(plsm_edit_read(e->edit, offset, data, size, &got));
    size_t expected = offset >= e->value.size ? 0 : e->value.size - offset;
    if (expected > size)
        expected = size;
    ck_assert_uint_eq(got, expected);
    bool differs = memcmp(data, e->value.data + offset, got) != 0;
    for (size_t i = 0; differs && i < got; i++)
        ck_assert_msg(data[i] == e->value.data[offset + i], "%s: byte %zu is %d instead of %d", edit_model_key(e->key),
                      offset + i, data[i], e->value.data[offset + i]);
}

static void commit_edit(struct edit_model *model, struct model_edit *e)
{
    uint8_t meta = (uint8_t)below(model, 256);
    if (below(model, 8) == 0) {
        e->key = (int)below(model, MODEL_KEYS);
        assert_ok(plsm_edit_set_key(e->edit, key_of(e->key)));
    }
    assert_ok(plsm_edit_commit(e->edit, slice(&meta, 1), durability(model)));
    ck_assert(!plsm_edit_dirty(e->edit));
    e->value.present = true;
    e->value.large = e->value.size > PLSM_INLINE_MAX;
    e->value.pieces = e->value.large ? e->value.pieces : 0;
    e->value.meta = meta;
    copy_value(&model->keys[e->key], &e->value);
    model->committed_large += e->value.size > PLSM_INLINE_MAX;
}

static void move_key(struct edit_model *model)
{
    int from = (int)below(model, MODEL_KEYS), to = (int)below(model, MODEL_KEYS);
    plsm_batch *batch = plsm_batch_create();
    assert_ok(plsm_batch_move(batch, key_of(from), key_of(to)));
    if (!model->keys[from].present) {
        assert_status(plsm_write(model->db, batch, PLSM_NONE), PLSM_CONFLICT);
    } else {
        assert_ok(plsm_write(model->db, batch, durability(model)));
        if (from != to) {
            copy_value(&model->keys[to], &model->keys[from]);
            clear_value(&model->keys[from]);
        }
        for (int i = 0; i < MODEL_EDITS; i++) { /* as a mount does: open files follow the rename, or do not */
            if (model->edits[i].edit && model->edits[i].key == from && below(model, 2)) {
                model->edits[i].key = to;
                assert_ok(plsm_edit_set_key(model->edits[i].edit, key_of(to)));
            }
        }
    }
    plsm_batch_destroy(batch);
}

static void change_meta(struct edit_model *model)
{
    int key = (int)below(model, MODEL_KEYS);
    uint8_t meta = (uint8_t)below(model, 256);
    plsm_batch *batch = plsm_batch_create();
    assert_ok(plsm_batch_set_meta(batch, key_of(key), slice(&meta, 1)));
    if (model->keys[key].present) {
        assert_ok(plsm_write(model->db, batch, durability(model)));
        model->keys[key].meta = meta;
    } else {
        assert_status(plsm_write(model->db, batch, PLSM_NONE), PLSM_CONFLICT);
    }
    plsm_batch_destroy(batch);
}

static void put_key(struct edit_model *model)
{
    int key = (int)below(model, MODEL_KEYS);
    uint8_t meta = (uint8_t)below(model, 256);
    plsm_batch *batch = plsm_batch_create();
    assert_ok(plsm_batch_put(batch, PLSM_NAMES, key_of(key), slice(&meta, 1), slice("tiny", 4)));
    assert_ok(plsm_write(model->db, batch, durability(model)));
    plsm_batch_destroy(batch);
    clear_value(&model->keys[key]);
    memcpy(model->keys[key].data, "tiny", 4);
    model->keys[key].size = 4;
    model->keys[key].present = true;
    model->keys[key].meta = meta;
}

static void delete_key(struct edit_model *model)
{
    int key = (int)below(model, MODEL_KEYS);
    assert_ok(plsm_delete(model->db, key_of(key), durability(model)));
    clear_value(&model->keys[key]);
}

void edit_model_step(struct edit_model *model)
{
    struct model_edit *e = &model->edits[below(model, MODEL_EDITS)];
    model->changed = model->synced = false;
    uint64_t what = below(model, 100);
    if (what < 3) {
        delete_key(model);
    } else if (what < 6) {
        put_key(model);
    } else if (what < 10) {
        move_key(model);
    } else if (what < 12) {
        change_meta(model);
    } else if (!e->edit) {
        open_edit(model, e);
    } else if (what < 45) {
        write_edit(model, e);
    } else if (what < 53) {
        truncate_edit(model, e);
    } else if (what < 59) {
        punch_edit(model, e);
    } else if (what < 63) {
        seek_edit(model, e);
    } else if (what < 75) {
        read_edit(model, e);
    } else if (what < 90) {
        commit_edit(model, e);
    } else {
        plsm_edit_close(e->edit);
        e->edit = NULL;
    }
}

struct model_digest edit_model_digest(const struct edit_model *model)
{
    struct model_digest digest;
    memset(&digest, 0, sizeof digest);
    for (int i = 0; i < MODEL_KEYS; i++) {
        const struct model_value *value = &model->keys[i];
        if (!value->present)
            continue;
        digest.keys[i].present = 1;
        digest.keys[i].meta = value->meta;
        digest.keys[i].size = value->size;
        digest.keys[i].stored = stored(value);
        digest.keys[i].sum = checksum(value->data, value->size, 0);
    }
    return digest;
}

struct model_digest edit_store_digest(plsm *db)
{
    struct model_digest digest;
    memset(&digest, 0, sizeof digest);
    for (int i = 0; i < MODEL_KEYS; i++) {
        size_t size = 0;
        uint8_t *data = fixture_read(db, NULL, edit_model_key(i), &size);
        if (!data)
            continue;
        plsm_value found = {0};
        assert_ok(plsm_get(db, NULL, key_of(i), &found));
        ck_assert_int_eq(found.large, size > PLSM_INLINE_MAX);
        digest.keys[i].present = 1;
        digest.keys[i].meta = found.meta.size ? *(const uint8_t *)found.meta.data : 0;
        digest.keys[i].size = size;
        digest.keys[i].stored = found.stored;
        digest.keys[i].sum = checksum(data, size, 0);
        plsm_value_free(&found);
        mem_free(data);
    }
    return digest;
}

void edit_model_verify(struct edit_model *model)
{
    struct model_digest expected = edit_model_digest(model), found = edit_store_digest(model->db);
    for (int i = 0; i < MODEL_KEYS; i++)
        ck_assert_msg(memcmp(&expected.keys[i], &found.keys[i], sizeof expected.keys[i]) == 0,
                      "%s: present %d/%d, size %llu/%llu, stored %llu/%llu, meta %d/%d or the content differs",
                      edit_model_key(i), expected.keys[i].present, found.keys[i].present,
                      (unsigned long long)expected.keys[i].size, (unsigned long long)found.keys[i].size,
                      (unsigned long long)expected.keys[i].stored, (unsigned long long)found.keys[i].stored,
                      expected.keys[i].meta, found.keys[i].meta);
}
