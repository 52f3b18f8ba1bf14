/* Small helpers for bindings: buffers in and out, arguments checked before any kernel runs. */
#ifndef P2U_BINDING_H
#define P2U_BINDING_H

/* The stable ABI of Python 3.11, the first that has buffers: one wheel serves all later Pythons. */
#define Py_LIMITED_API 0x030B0000
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "common.h"

/* Tables of functions, one per group of kernels; module.c joins them. */
extern PyMethodDef p2u_decode_methods[];
extern PyMethodDef p2u_encode_methods[];

#endif
