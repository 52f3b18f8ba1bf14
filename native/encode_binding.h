/* Buffers and numbers of the bindings that write, checked before any kernel runs. */
#ifndef P2U_ENCODE_BINDING_H
#define P2U_ENCODE_BINDING_H

#include "binding.h"
#include "encode.h"

enum { MOST_BUFFERS = 16, BLOCK = 1 << 19 };

/* The buffers of a call, let go together. */
typedef struct {
    Py_buffer views[MOST_BUFFERS + MOST_TIERS];
    int count;
} buffers;

/* Each returns NULL, -1 or `low` - 1 with an exception set where something does not fit. */
void let_go_buffers(buffers *held);
u8 *take_buffer(buffers *held, PyObject *object, int writable, size_t least);
/* The same, and aligned for elements of 2, 4 or 8 bytes. */
void *take_array(buffers *held, PyObject *object, int writable, size_t count, size_t size);
int expect_arguments(Py_ssize_t count, Py_ssize_t wanted);
i64 take_number(PyObject *object, i64 low, i64 high);

#define P2U_METHOD(name) PyObject *name(PyObject *self, PyObject *const *args, Py_ssize_t count)
P2U_METHOD(p2u_py_search);
P2U_METHOD(p2u_py_rates);
P2U_METHOD(p2u_py_products);
P2U_METHOD(p2u_py_pool_counts);
P2U_METHOD(p2u_py_spread_tables);
P2U_METHOD(p2u_py_spread_costs);

#endif
