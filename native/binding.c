/* Buffers and numbers from Python, checked. */
#include "binding.h"

void release(held *h)
{
    while (h->count > 0)
        PyBuffer_Release(&h->views[--h->count]);
}

int hold(held *h, PyObject *object, int flags, p2u_bytes *out)
{
    if (h->count == MAX_BUFFERS) {
        PyErr_SetString(PyExc_ValueError, "too many buffers");
        return -1;
    }
    Py_buffer *view = &h->views[h->count];
    if (PyObject_GetBuffer(object, view, flags) < 0)
        return -1;
    h->count++;
    out->data = view->buf;
    out->length = (size_t)view->len;
    return 0;
}

int refuse(const char *what)
{
    PyErr_Format(PyExc_ValueError, "%s does not fit the block", what);
    return -1;
}

int to_size(PyObject *object, size_t most, size_t *out)
{
    size_t value = PyLong_AsSize_t(object);
    if (value == (size_t)-1 && PyErr_Occurred()) {
        if (PyErr_ExceptionMatches(PyExc_OverflowError)) /* below 0, or far too large */
            PyErr_Format(PyExc_ValueError, "expected 0 to %zu", most);
        return -1;
    }
    if (value > most) {
        PyErr_Format(PyExc_ValueError, "%zu is above %zu", value, most);
        return -1;
    }
    *out = value;
    return 0;
}

const p2u_format p2u_formats[P2U_FORMATS] = {
    {8, 52, -1022, 0x7fefffffffffffff}, {4, 23, -126, 0x7f7fffff}, {2, 10, -14, 0x7bff},
    {2, 7, -126, 0x7f7f},               {1, 3, -6, 0x7e},          {1, 2, -14, 0x7b},
};
enum { MAX_BLOCK = 1 << 19 };

int parse_shape(PyObject *const *args, p2u_block *b)
{
    size_t format, planes;
    if (to_size(args[0], P2U_FORMATS - 1, &format) < 0 || to_size(args[1], MAX_BLOCK, &b->weights) < 0
        || to_size(args[2], (size_t)1 << 48, &b->segment) < 0
        || to_size(args[3], MAX_PLANES, &planes) < 0)
        return -1;
    b->format = p2u_formats[format];
    b->planes = (int)planes;
    if (b->segment == 0 || 8 * b->planes > b->format.mantissa
        || b->format.mantissa - 8 * b->planes > 16)
        return refuse("segment or planes");
    return 0;
}
