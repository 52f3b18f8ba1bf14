/* Bindings of the kernels that read. Each returns False where a kernel declines: then the numpy
 * kernels do the work, or say what is wrong. ValueError is for callers that break the interface.
 */
#include "binding.h"

#include <stdlib.h>

#include "block.h"
#include "join.h"
#include "zstd.h"

/* Arguments 0..9: format, weights, segment, planes, sparse, symbols, steps, outlier index and words,
 * (width, payload) of each refinement layer one after the other in one tuple.
 */
enum { BLOCK_ARGUMENTS = 10 };

static int parse_digits(PyObject *layers, held *h, p2u_block *b)
{
    Py_ssize_t count = PyTuple_Check(layers) ? PyTuple_Size(layers) : -1;
    int total = 0;
    if (count < 0 || count % 2 || count / 2 > MAX_LOSSY)
        return refuse("the number of layers");
    b->tiers = (int)(count / 2);
    for (int t = 0; t < b->tiers; t++) {
        size_t width;
        if (to_size(PyTuple_GetItem(layers, 2 * t), 24, &width) < 0
            || hold(h, PyTuple_GetItem(layers, 2 * t + 1), PyBUF_SIMPLE, &b->digits[t]) < 0)
            return -1;
        b->widths[t] = (int)width;
        total += (int)width;
    }
    return total <= 24 ? 0 : refuse("the number of digits");
}

static int parse_block(PyObject *const *args, held *h, p2u_block *b)
{
    p2u_bytes symbols, steps, index, words;
    if (parse_shape(args, b) < 0
        || hold(h, args[5], PyBUF_SIMPLE, &symbols) < 0
        || hold(h, args[6], PyBUF_SIMPLE, &steps) < 0 || hold(h, args[7], PyBUF_SIMPLE, &index) < 0
        || hold(h, args[8], PyBUF_SIMPLE, &words) < 0 || parse_digits(args[9], h, b) < 0)
        return -1;
    b->sparse = PyObject_IsTrue(args[4]);
    if (b->sparse < 0)
        return -1;
    size_t segments = b->weights / b->segment + (b->weights % b->segment != 0);
    b->outliers = index.length / 4;
    if (symbols.length != b->weights || steps.length != 2 * segments || index.length % 4
        || words.length != b->outliers * (size_t)b->format.itemsize)
        return refuse("a base layer");
    b->past_caches = 1;
    b->symbols = symbols.data;
    b->steps = steps.data;
    b->outlier_index = index.data;
    b->outlier_words = words.data;
    return 0;
}

/* Room for the live symbols of a sparse block; nothing is needed elsewhere. */
static int scratch_for(const p2u_block *b, u8 **scratch)
{
    *scratch = NULL;
    if (!b->sparse)
        return 0;
    *scratch = malloc(b->weights + 8);
    if (!*scratch)
        PyErr_NoMemory();
    return *scratch ? 0 : -1;
}

static int parse_rest(PyObject *const *args, held *h, const p2u_block *b, p2u_rest *rest)
{
    if (!PyTuple_Check(args[1]) || PyTuple_Size(args[1]) != b->planes)
        return refuse("the number of planes");
    if (hold(h, args[0], PyBUF_SIMPLE, &rest->exponents) < 0
        || hold(h, args[2], PyBUF_SIMPLE, &rest->bits) < 0)
        return -1;
    for (int j = 0; j < b->planes; j++)
        if (hold(h, PyTuple_GetItem(args[1], j), PyBUF_SIMPLE, &rest->planes[j]) < 0)
            return -1;
    return 0;
}

static PyObject *merge(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    held h = {.count = 0};
    p2u_block block;
    p2u_rest rest;
    p2u_bytes out;
    u8 *scratch = NULL;
    PyObject *result = NULL;
    (void)self;
    if (count != BLOCK_ARGUMENTS + 4) {
        PyErr_SetString(PyExc_TypeError, "merge takes a block, exponents, planes, bits and out");
        return NULL;
    }
    if (parse_block(args, &h, &block) < 0
        || parse_rest(args + BLOCK_ARGUMENTS, &h, &block, &rest) < 0
        || hold(&h, args[BLOCK_ARGUMENTS + 3], PyBUF_WRITABLE, &out) < 0)
        goto end;
    if (out.length != block.weights * (size_t)block.format.itemsize) {
        refuse("the output");
        goto end;
    }
    if (scratch_for(&block, &scratch) < 0)
        goto end;
    int status;
    Py_BEGIN_ALLOW_THREADS
    status = p2u_merge(&block, &rest, (u8 *)out.data, scratch);
    Py_END_ALLOW_THREADS
    result = PyBool_FromLong(status == DONE);
end:
    free(scratch);
    release(&h);
    return result;
}

static PyObject *values(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    held h = {.count = 0};
    p2u_block block;
    p2u_bytes out;
    size_t target, delta0, delta1;
    u8 *scratch = NULL;
    PyObject *result = NULL;
    (void)self;
    if (count != BLOCK_ARGUMENTS + 4) {
        PyErr_SetString(PyExc_TypeError, "values takes a block, target, two deltas and out");
        return NULL;
    }
    PyObject *const *more = args + BLOCK_ARGUMENTS;
    if (parse_block(args, &h, &block) < 0 || to_size(more[0], TO_BF16, &target) < 0
        || to_size(more[1], 255, &delta0) < 0 || to_size(more[2], 255, &delta1) < 0
        || hold(&h, more[3], PyBUF_WRITABLE, &out) < 0)
        goto end;
    if (out.length != block.weights * (target == TO_F32 ? 4 : 2)) {
        refuse("the output");
        goto end;
    }
    if (scratch_for(&block, &scratch) < 0)
        goto end;
    int status;
    Py_BEGIN_ALLOW_THREADS
    status = p2u_values(&block, (int)target, (int)delta0, (int)delta1, (u8 *)out.data, scratch);
    Py_END_ALLOW_THREADS
    result = PyBool_FromLong(status == DONE);
end:
    free(scratch);
    release(&h);
    return result;
}

/* A row of the table of a chunk of base layers (7.3). */
enum { MEMBER_BYTES = 20 };

static int join_members(p2u_classes *from, p2u_bytes table, p2u_bytes classes, p2u_bytes out)
{
    u8 *to = (u8 *)out.data;
    size_t done = 0, unit_at = 0;
    if (table.length % MEMBER_BYTES)
        return DECLINED;
    for (size_t i = 0; i + MEMBER_BYTES <= table.length; i += MEMBER_BYTES) {
        const u8 *row = table.data + i;
        size_t weights = load32(row), unit = load32(row + 12), axis = load16(row + 18);
        if (unit == 0 || axis > 1 || weights > out.length - done
            || (axis && (weights == 0 || weights % unit)))
            return DECLINED;
        size_t units = weights / unit + (weights % unit != 0);
        if (units > classes.length - unit_at
            || p2u_join(from, weights, unit, (int)axis, classes.data + unit_at, to + done) != DONE)
            return DECLINED;
        done += weights;
        unit_at += units;
    }
    for (size_t c = 0; c < from->count; c++)
        if (from->used[c] != from->streams[c].length)
            return DECLINED;
    return done == out.length && unit_at == classes.length ? DONE : DECLINED;
}

static PyObject *join(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    held h = {.count = 0};
    p2u_classes from;
    p2u_bytes table, classes, out;
    PyObject *result = NULL;
    (void)self;
    if (count != 4 || !PyTuple_Check(args[0])) {
        PyErr_SetString(PyExc_TypeError, "join takes class streams, class numbers, table and out");
        return NULL;
    }
    /* A chunk may have more streams than a class number can name: empty ones, or it is damaged. */
    if (PyTuple_Size(args[0]) > MAX_CLASSES)
        Py_RETURN_FALSE;
    from.count = (size_t)PyTuple_Size(args[0]);
    memset(from.used, 0, sizeof from.used);
    for (size_t c = 0; c < from.count; c++)
        if (hold(&h, PyTuple_GetItem(args[0], (Py_ssize_t)c), PyBUF_SIMPLE, &from.streams[c]) < 0)
            goto end;
    if (hold(&h, args[1], PyBUF_SIMPLE, &classes) < 0 || hold(&h, args[2], PyBUF_SIMPLE, &table) < 0
        || hold(&h, args[3], PyBUF_WRITABLE, &out) < 0)
        goto end;
    int status;
    Py_BEGIN_ALLOW_THREADS
    status = join_members(&from, table, classes, out);
    Py_END_ALLOW_THREADS
    result = PyBool_FromLong(status == DONE);
end:
    release(&h);
    return result;
}

/* For tests alone: chunks are read by `read_block`, where nothing says which frames were declined. */
static PyObject *zstd_frame(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    held h = {.count = 0};
    p2u_bytes frame;
    size_t raw;
    u8 *out = NULL, *room = NULL;
    PyObject *result = NULL;
    (void)self;
    if (count != 2) {
        PyErr_SetString(PyExc_TypeError, "zstd_frame takes a frame and the size of what it holds");
        return NULL;
    }
    if (hold(&h, args[0], PyBUF_SIMPLE, &frame) < 0 || to_size(args[1], 1 << 26, &raw) < 0)
        goto end;
    /* Memory of exactly these sizes, so that a sanitizer sees the first byte beyond. */
    out = malloc(raw ? raw : 1);
    room = malloc(ZSTD_BLOCK_MOST);
    if (!out || !room) {
        PyErr_NoMemory();
        goto end;
    }
    int status;
    Py_BEGIN_ALLOW_THREADS
    status = p2u_zstd_frame(frame.data, frame.length, out, raw, room);
    Py_END_ALLOW_THREADS
    result = status == DONE ? PyBytes_FromStringAndSize((const char *)out, (Py_ssize_t)raw)
                            : Py_NewRef(Py_None);
end:
    free(out);
    free(room);
    release(&h);
    return result;
}

PyMethodDef p2u_decode_methods[] = {
    {"join", (PyCFunction)(void (*)(void))join, METH_FASTCALL, "Put symbols into C order."},
    {"merge", (PyCFunction)(void (*)(void))merge, METH_FASTCALL, "Rebuild a block exactly."},
    {"values", (PyCFunction)(void (*)(void))values, METH_FASTCALL, "Rebuild a block at a tier."},
    {"zstd_frame", (PyCFunction)(void (*)(void))zstd_frame, METH_FASTCALL,
     "Decode one zstd frame, for tests; None where it is declined."},
    {NULL, NULL, 0, NULL},
};
