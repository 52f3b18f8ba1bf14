/* Helpers of the bindings that write. */
#include "encode_binding.h"

void let_go_buffers(buffers *held)
{
    for (int i = 0; i < held->count; i++)
        PyBuffer_Release(&held->views[i]);
}

/* The bytes of an object that has at least so many; NULL with an exception set if not. */
u8 *take_buffer(buffers *held, PyObject *object, int writable, size_t least)
{
    Py_buffer *view = &held->views[held->count];
    if (PyObject_GetBuffer(object, view, writable ? PyBUF_WRITABLE : PyBUF_SIMPLE) < 0)
        return NULL;
    held->count++;
    if ((size_t)view->len < least) {
        PyErr_Format(PyExc_ValueError, "expected a buffer of at least %zu bytes, got %zd", least,
                     view->len);
        return NULL;
    }
    return view->buf;
}

int expect_arguments(Py_ssize_t count, Py_ssize_t wanted)
{
    if (count == wanted)
        return 0;
    PyErr_Format(PyExc_TypeError, "expected %zd arguments, got %zd", wanted, count);
    return -1;
}

/* An integer between limits; low - 1 with an exception set if it is none. */
i64 take_number(PyObject *object, i64 low, i64 high)
{
    long long value = PyLong_AsLongLong(object);
    if (value == -1 && PyErr_Occurred())
        return low - 1;
    if (value < low || value > high) {
        PyErr_Format(PyExc_ValueError, "expected %lld to %lld, got %lld", (long long)low,
                     (long long)high, value);
        return low - 1;
    }
    return value;
}

void *take_array(buffers *held, PyObject *object, int writable, size_t count, size_t size)
{
    void *array = take_buffer(held, object, writable, count * size);
    if (array && (uintptr_t)array % size) {
        PyErr_SetString(PyExc_ValueError, "a buffer is not aligned");
        return NULL;
    }
    return array;
}
