/* Binding of the way from stored chunks to values, in one call. */
#include "binding.h"

#include <stdlib.h>

#include "chunk.h"
#include "huffman.h"

/* Which streams of a chunk the zstd library has to decode: a tuple of numbers, None if the chunk is
 * not one of a single member.
 */
static PyObject *streams_to_help(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    p2u_chunk chunk;
    held h = {.count = 0};
    p2u_bytes stored;
    size_t codec;
    u8 numbers[MAX_STREAMS][2];
    (void)self;
    if (count != 2) {
        PyErr_SetString(PyExc_TypeError, "streams_to_help takes a codec and a chunk");
        return NULL;
    }
    if (to_size(args[0], 255, &codec) < 0 || hold(&h, args[1], PyBUF_SIMPLE, &stored) < 0)
        return NULL;
    Py_ssize_t found = -1;
    if (p2u_open_chunk((int)codec, stored, &chunk) == DONE) {
        found = 0;
        for (int i = 0; i < chunk.count; i++) {
            const p2u_stream *s = &chunk.streams[i];
            if (s->packed && !p2u_is_literal_frame(s->stored.data, s->stored.length, s->raw))
                store16(numbers[found++], (u16)i);
        }
    }
    release(&h);
    if (found < 0)
        Py_RETURN_NONE;
    PyObject *all = PyTuple_New(found);
    for (Py_ssize_t i = 0; all && i < found; i++) {
        PyObject *number = PyLong_FromLong(load16(numbers[i]));
        if (!number || PyTuple_SetItem(all, i, number) < 0)
            Py_CLEAR(all);
    }
    return all;
}

enum { MAX_LAYERS = MAX_LOSSY + 2 };

typedef struct {
    p2u_chunk *chunks; /* large, and few: memory for them is asked for */
    int count;
} layers;

/* (codec, chunk, (stream, bytes, ...)) of each layer, one after the other in one tuple. */
static int parse_layer(PyObject *all, Py_ssize_t at, held *h, p2u_chunk *chunk)
{
    size_t codec;
    p2u_bytes stored;
    PyObject *helped = PyTuple_GetItem(all, at + 2);
    if (!helped || to_size(PyTuple_GetItem(all, at), 255, &codec) < 0
        || hold(h, PyTuple_GetItem(all, at + 1), PyBUF_SIMPLE, &stored) < 0)
        return -1;
    if (p2u_open_chunk((int)codec, stored, chunk) != DONE)
        return 1;
    Py_ssize_t count = PyTuple_Check(helped) ? PyTuple_Size(helped) : -1;
    if (count < 0 || count % 2)
        return refuse("the streams");
    for (Py_ssize_t i = 0; i < count; i += 2) {
        size_t number;
        p2u_bytes data;
        if (to_size(PyTuple_GetItem(helped, i), MAX_STREAMS - 1, &number) < 0
            || hold(h, PyTuple_GetItem(helped, i + 1), PyBUF_SIMPLE, &data) < 0)
            return -1;
        if ((int)number >= chunk->count || data.length != chunk->streams[number].raw)
            return refuse("a stream");
        chunk->streams[number].data = data.data;
    }
    return 0;
}

static int parse_layers(PyObject *all, held *h, layers *out)
{
    Py_ssize_t count = PyTuple_Check(all) ? PyTuple_Size(all) : -1;
    if (count < 3 || count % 3 || count / 3 > MAX_LAYERS)
        return refuse("the number of layers");
    out->count = (int)(count / 3);
    out->chunks = malloc((size_t)out->count * sizeof *out->chunks);
    if (!out->chunks) {
        PyErr_NoMemory();
        return -1;
    }
    for (int i = 0; i < out->count; i++) {
        int status = parse_layer(all, 3 * i, h, &out->chunks[i]);
        if (status)
            return status;
    }
    return 0;
}

enum { TO_EXACT = 3 };

typedef struct {
    p2u_block block;
    layers *layers;
    size_t target, delta0, delta1;
    p2u_scratch scratch;
    u8 *out;
} job;

/* What the lossy layers hold, up to the tier wanted. */
static int open_lossy(job *j)
{
    p2u_block *b = &j->block;
    layers *l = j->layers;
    int lossy = l->count - (j->target == TO_EXACT);
    if (lossy - 1 != b->tiers || p2u_base_from(&l->chunks[0], b, &j->scratch) != DONE)
        return DECLINED;
    for (int t = 0; t < b->tiers; t++)
        if (p2u_digits_from(&l->chunks[1 + t], &b->digits[t], &j->scratch) != DONE)
            return DECLINED;
    return DONE;
}

static int run(job *j)
{
    p2u_block *b = &j->block;
    p2u_rest rest;
    if (open_lossy(j) != DONE)
        return DECLINED;
    u8 *live = b->sparse ? p2u_take(&j->scratch, b->weights + 8) : NULL;
    if (b->sparse && !live)
        return DECLINED;
    if (j->target != TO_EXACT)
        return p2u_values(b, (int)j->target, (int)j->delta0, (int)j->delta1, j->out, live);
    if (p2u_rest_from(&j->layers->chunks[1 + b->tiers], b->planes, &rest, &j->scratch) != DONE)
        return DECLINED;
    return p2u_merge(b, &rest, j->out, live);
}

static int parse_widths(PyObject *widths, p2u_block *b)
{
    Py_ssize_t count = PyTuple_Check(widths) ? PyTuple_Size(widths) : -1;
    size_t total = 0;
    if (count < 0 || count > MAX_LOSSY)
        return refuse("the number of layers");
    b->tiers = (int)count;
    for (int t = 0; t < b->tiers; t++) {
        size_t width;
        if (to_size(PyTuple_GetItem(widths, t), 24, &width) < 0)
            return -1;
        b->widths[t] = (int)width;
        total += width;
    }
    return total <= 24 ? 0 : refuse("the number of digits");
}

/* Arguments: format, weights, segment, planes, widths, layers, target, two deltas, scratch, out. */
static int parse_job(PyObject *const *args, held *h, job *j)
{
    p2u_block *b = &j->block;
    p2u_bytes scratch, out;
    if (parse_shape(args, b) < 0 || parse_widths(args[4], b) < 0)
        return -1;
    int status = parse_layers(args[5], h, j->layers);
    if (status)
        return status;
    if (to_size(args[6], TO_EXACT, &j->target) < 0 || to_size(args[7], 255, &j->delta0) < 0
        || to_size(args[8], 255, &j->delta1) < 0
        || hold(h, args[9], PyBUF_WRITABLE, &scratch) < 0
        || hold(h, args[10], PyBUF_WRITABLE, &out) < 0)
        return -1;
    size_t size = j->target == TO_EXACT ? (size_t)b->format.itemsize : j->target == TO_F32 ? 4 : 2;
    if (out.length != b->weights * size)
        return refuse("the output");
    j->scratch = (p2u_scratch){(u8 *)scratch.data, scratch.length};
    j->out = (u8 *)out.data;
    return 0;
}

static PyObject *read_block(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    held *h = malloc(sizeof *h);
    layers all = {NULL, 0};
    job j = {.layers = &all};
    PyObject *result = NULL;
    (void)self;
    if (!h) {
        PyErr_NoMemory();
        goto end;
    }
    h->count = 0;
    if (count != 11) {
        PyErr_SetString(PyExc_TypeError, "read_block takes 11 arguments");
        goto end;
    }
    int status = parse_job(args, h, &j);
    if (status < 0)
        goto end;
    if (status == 0) {
        Py_BEGIN_ALLOW_THREADS
        status = run(&j);
        Py_END_ALLOW_THREADS
    }
    result = PyBool_FromLong(status == DONE);
end:
    if (h)
        release(h);
    free(h);
    free(all.chunks);
    return result;
}

PyMethodDef p2u_block_methods[] = {
    {"read_block", (PyCFunction)(void (*)(void))read_block, METH_FASTCALL,
     "Rebuild a block from chunks that hold nothing else."},
    {"streams_to_help", (PyCFunction)(void (*)(void))streams_to_help, METH_FASTCALL,
     "Return which streams of a chunk are not plain Huffman code."},
    {NULL, NULL, 0, NULL},
};
