/* Bindings of codes in lanes. */
#include "lanes.h"
#include "encode_binding.h"

enum { MOST_TABLE_BITS = 16 };
static const i64 MOST_CODES = (i64)1 << 40;

/* packed, bits, block, table or None, count, out: a word of each code */
static P2U_METHOD(lanes_words)
{
    (void)self;
    buffers held = {.count = 0};
    PyObject *result = NULL;
    if (expect_arguments(count, 6) < 0)
        return NULL;
    i64 bits = take_number(args[1], 1, LANES_MOST_BITS);
    i64 block = bits < 1 ? 0 : take_number(args[2], LANES_GROUP, MOST_CODES);
    i64 codes = block < LANES_GROUP ? -1 : take_number(args[4], 0, MOST_CODES);
    if (codes < 0)
        return NULL;
    if (block % LANES_GROUP || (args[3] != Py_None && bits > MOST_TABLE_BITS)) {
        PyErr_SetString(PyExc_ValueError, "a block of whole groups, and a table of 16 bits at most");
        return NULL;
    }
    const u32 *table = NULL;
    const u8 *packed = take_buffer(&held, args[0], 0, p2u_lanes_bytes((size_t)codes, (int)bits));
    if (packed && args[3] != Py_None)
        table = take_array(&held, args[3], 0, (size_t)1 << bits, 4);
    u32 *out = packed && (table || args[3] == Py_None)
        ? take_array(&held, args[5], 1, (size_t)codes, 4) : NULL;
    if (!out)
        goto done;
    Py_BEGIN_ALLOW_THREADS
    p2u_lanes_words(packed, (size_t)codes, (int)bits, (size_t)block, table, out);
    Py_END_ALLOW_THREADS
    result = Py_NewRef(Py_None);
done:
    let_go_buffers(&held);
    return result;
}

/* codes, bits, count, out: one block */
static P2U_METHOD(lanes_pack)
{
    (void)self;
    buffers held = {.count = 0};
    PyObject *result = NULL;
    if (expect_arguments(count, 4) < 0)
        return NULL;
    i64 bits = take_number(args[1], 1, LANES_MOST_BITS);
    i64 codes = bits < 1 ? -1 : take_number(args[2], 0, MOST_CODES);
    if (codes < 0)
        return NULL;
    const u32 *from = take_array(&held, args[0], 0, (size_t)codes, 4);
    u8 *out = from
        ? take_buffer(&held, args[3], 1, p2u_lanes_bytes((size_t)codes, (int)bits)) : NULL;
    if (!out)
        goto done;
    Py_BEGIN_ALLOW_THREADS
    p2u_lanes_pack(from, (size_t)codes, (int)bits, out);
    Py_END_ALLOW_THREADS
    result = Py_NewRef(Py_None);
done:
    let_go_buffers(&held);
    return result;
}

/* values, count, largest, mantissa, emin, width, out: a code for each */
static P2U_METHOD(small_codes)
{
    (void)self;
    buffers held = {.count = 0};
    PyObject *result = NULL;
    p2u_small_float form;
    if (expect_arguments(count, 7) < 0)
        return NULL;
    i64 codes = take_number(args[1], 0, MOST_CODES);
    double largest = codes < 0 ? 0 : PyFloat_AsDouble(args[2]);
    if (codes < 0 || (largest == -1.0 && PyErr_Occurred()))
        return NULL;
    i64 mantissa = take_number(args[3], 1, 22);
    i64 emin = mantissa < 1 ? -127 : take_number(args[4], -126, 126);
    i64 width = emin < -126 ? 0 : take_number(args[5], mantissa + 2, LANES_MOST_BITS);
    if (mantissa < 1 || emin < -126 || width < mantissa + 2)
        return NULL;
    form = (p2u_small_float){(int)mantissa, (int)emin, (int)width, (float)largest};
    const float *values = take_array(&held, args[0], 0, (size_t)codes, 4);
    u32 *out = values ? take_array(&held, args[6], 1, (size_t)codes, 4) : NULL;
    if (!out)
        goto done;
    Py_BEGIN_ALLOW_THREADS
    p2u_small_codes(values, (size_t)codes, &form, out);
    Py_END_ALLOW_THREADS
    result = Py_NewRef(Py_None);
done:
    let_go_buffers(&held);
    return result;
}

PyMethodDef p2u_lanes_methods[] = {
    {"lanes_words", (PyCFunction)(void (*)(void))lanes_words, METH_FASTCALL, "Unpack codes."},
    {"lanes_pack", (PyCFunction)(void (*)(void))lanes_pack, METH_FASTCALL, "Pack codes."},
    {"small_codes", (PyCFunction)(void (*)(void))small_codes, METH_FASTCALL, "Codes of values."},
    {NULL, NULL, 0, NULL},
};
