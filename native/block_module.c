/* Binding of the way from stored chunks to values, in one call. */
#include "binding.h"

#include <stdlib.h>

#include "chunk.h"
#include "zstd.h"

enum { MAX_LAYERS = MAX_LOSSY + 2 };

typedef struct {
    p2u_chunk *chunks; /* large, and few: memory for them is asked for */
    int count;
} layers;

/* Codec and chunk of each layer, one after the other in one tuple; 1 if one is of another kind. */
static int parse_layers(PyObject *all, held *h, layers *out)
{
    Py_ssize_t count = PyTuple_Check(all) ? PyTuple_Size(all) : -1;
    if (count < 2 || count % 2 || count / 2 > MAX_LAYERS)
        return refuse("the number of layers");
    out->count = (int)(count / 2);
    out->chunks = malloc((size_t)out->count * sizeof *out->chunks);
    if (!out->chunks) {
        PyErr_NoMemory();
        return -1;
    }
    for (int i = 0; i < out->count; i++) {
        size_t codec;
        p2u_bytes stored;
        if (to_size(PyTuple_GetItem(all, 2 * i), 255, &codec) < 0
            || hold(h, PyTuple_GetItem(all, 2 * i + 1), PyBUF_SIMPLE, &stored) < 0)
            return -1;
        if (p2u_open_chunk((int)codec, stored, &out->chunks[i]) != DONE)
            return 1;
    }
    return 0;
}

enum { TO_EXACT = 3 };

typedef struct {
    p2u_block block;
    layers *layers;
    size_t target, delta0, delta1;
    p2u_bytes memory;
    p2u_scratch scratch; /* what is left of it */
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

/* Arguments: format, weights, segment, planes, widths, layers, target, two deltas, scratch, out, past caches. */
static int parse_job(PyObject *const *args, held *h, job *j)
{
    p2u_block *b = &j->block;
    p2u_bytes out;
    if (parse_shape(args, b) < 0 || parse_widths(args[4], b) < 0)
        return -1;
    int status = parse_layers(args[5], h, j->layers);
    if (status)
        return status;
    if (to_size(args[6], TO_EXACT, &j->target) < 0 || to_size(args[7], 255, &j->delta0) < 0
        || to_size(args[8], 255, &j->delta1) < 0
        || hold(h, args[9], PyBUF_WRITABLE, &j->memory) < 0
        || hold(h, args[10], PyBUF_WRITABLE, &out) < 0)
        return -1;
    b->past_caches = PyObject_IsTrue(args[11]);
    if (b->past_caches < 0)
        return -1;
    size_t size = j->target == TO_EXACT ? (size_t)b->format.itemsize : j->target == TO_F32 ? 4 : 2;
    if (out.length != b->weights * size)
        return refuse("the output");
    j->scratch = (p2u_scratch){(u8 *)j->memory.data, j->memory.length, NULL};
    j->scratch.room = p2u_take(&j->scratch, ZSTD_BLOCK_MOST);
    if (!j->scratch.room)
        return refuse("the scratch memory");
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
    if (count != 12) {
        PyErr_SetString(PyExc_TypeError, "read_block takes 12 arguments");
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
    ALLOW(j.memory.data, j.memory.length);
    if (h)
        release(h);
    free(h);
    free(all.chunks);
    return result;
}

PyMethodDef p2u_block_methods[] = {
    {"read_block", (PyCFunction)(void (*)(void))read_block, METH_FASTCALL,
     "Rebuild a block from chunks that hold nothing else."},
    {NULL, NULL, 0, NULL},
};
