/* Small helpers for bindings: buffers in and out, arguments checked before any kernel runs. */
#ifndef P2U_BINDING_H
#define P2U_BINDING_H

/* The stable ABI of Python 3.11, the first that has buffers: one wheel serves all later Pythons. */
#define Py_LIMITED_API 0x030B0000
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "block.h"

/* Tables of functions, one per group of kernels; module.c joins them. */
extern PyMethodDef p2u_block_methods[];
extern PyMethodDef p2u_decode_methods[];
extern PyMethodDef p2u_encode_methods[], p2u_difference_methods[];
extern PyMethodDef p2u_guard_methods[], p2u_lanes_methods[];

enum { MAX_BUFFERS = 300 };

/* Buffers that are held while a kernel runs. */
typedef struct {
    Py_buffer views[MAX_BUFFERS];
    int count;
} held;

/* In the order of FORMATS in p2uformat/floats.py. */
enum { P2U_FORMATS = 6 };
extern const p2u_format p2u_formats[P2U_FORMATS];

/* These return -1 with an exception set where something does not fit. */
int hold(held *h, PyObject *object, int flags, p2u_bytes *out);
void release(held *h);
int refuse(const char *what);
int to_size(PyObject *object, size_t most, size_t *out);

/* Format, weights, segment and planes, the first four arguments of each kernel of a block. */
int parse_shape(PyObject *const *args, p2u_block *block);

#endif
